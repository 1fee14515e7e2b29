"""A stick as a sniffer: every frame of a channel goes to the host, and nothing is acted on.

Source: Silicon Labs UG100, 12 (mfglibStart, mfglibSetChannel, mfglibEnd, mfglibRxHandler). Only
listening is there: tones and streams are for a laboratory's aerials. Started inside a network, or
twice, it is refused; what a stick does then is not public (docs/open-points.md).
"""

from __future__ import annotations

from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee.events import PacketHeard, Status

FIRST_CHANNEL, LAST_CHANNEL = 11, 26
_FCS_OCTETS = 2


def start(session: Session, request: Fields) -> Fields:
    stack = session.stack
    if stack.is_up or session.eavesdrops:
        return {"status": Status.INVALID_CALL}
    session.eavesdrops = True

    def heard(psdu: bytes) -> None:
        # The host gets two octets in the place of the FCS, which are none.
        stack.tell_later(PacketHeard(psdu[:-_FCS_OCTETS] + bytes(_FCS_OCTETS)))

    stack.mac.eavesdrop(heard if request["rxCallback"] else _deaf)
    return {"status": Status.OK}


def set_channel(session: Session, request: Fields) -> Fields:
    channel = request["channel"]
    if not session.eavesdrops:
        return {"status": Status.INVALID_CALL}
    if not FIRST_CHANNEL <= channel <= LAST_CHANNEL:
        return {"status": Status.INVALID_PARAMETER}
    session.stack.mac.channel = channel
    return {"status": Status.OK}


def end(session: Session, _request: Fields) -> Fields:
    if not session.eavesdrops:
        return {"status": Status.INVALID_CALL}
    session.eavesdrops = False
    session.stack.mac.eavesdrop(None)
    return {"status": Status.OK}


def _deaf(_psdu: bytes) -> None:
    """Nobody asked for packets."""


COMMANDS: dict[str, Handler] = {
    "mfglibStart": start,
    "mfglibSetChannel": set_channel,
    "mfglibEnd": end,
}
