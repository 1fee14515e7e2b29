"""Messages but for sendUnicast, which has a path of its own in ezsp.py.

Source: Silicon Labs UG100, chapter 8 (messaging). Fields are named as in the tables, which changed
names and order with EZSP 14.
"""

from __future__ import annotations

from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee.events import OPTION_FRAGMENT, Aps, Status
from emulator.zigbee.nwk import BROADCAST_RX_ON

_MAX_EXTENDED_TIMEOUTS = 256  # more devices than a hub has


def _aps(frame: Fields) -> Aps:
    return Aps(
        frame["profileId"],
        frame["clusterId"],
        frame["sourceEndpoint"],
        frame["destinationEndpoint"],
        frame["options"],
        frame["groupId"],
        frame["sequence"],
    )


def send_broadcast(session: Session, request: Fields) -> Fields:
    status, sequence = session.stack.aps.send_broadcast(
        request["destination"],
        _aps(request["aps_frame"] if "aps_frame" in request else request["apsFrame"]),
        request["message"] if "message" in request else request["messageContents"],
        request["message_tag"] if "message_tag" in request else request["messageTag"],
        request["radius"],
    )
    return {"status": status, "sequence": sequence}


def send_multicast(session: Session, request: Fields) -> Fields:
    """A message to a group. Before EZSP 14 it goes to all that are awake; `nonmemberRadius` and
    aliases have no meaning here.
    """
    status, sequence = session.stack.aps.send_multicast(
        request.get("broadcast_addr") or BROADCAST_RX_ON,
        _aps(request["aps_frame"] if "aps_frame" in request else request["apsFrame"]),
        request["message"] if "message" in request else request["messageContents"],
        request["message_tag"] if "message_tag" in request else request["messageTag"],
        request["hops"],
    )
    return {"status": status, "sequence": sequence}


def send_reply(session: Session, request: Fields) -> Fields:
    """The acknowledgement of a fragment: what a host sends with the option FRAGMENT set."""
    parameters = _aps(request["apsFrame"])
    if not parameters.options & OPTION_FRAGMENT:
        return {"status": Status.INVALID_CALL}
    return {"status": session.stack.aps.acknowledge_fragment(request["sender"], parameters)}


def maximum_payload_length(session: Session, _request: Fields) -> Fields:
    return {"apsLength": session.stack.aps.max_payload_octets(0)}


def _octets(request: Fields) -> bytes:
    eui64: int = request["remoteEui64"]
    return eui64.to_bytes(8, "little")


def get_extended_timeout(session: Session, request: Fields) -> Fields:
    extended = _octets(request) in session.stack.aps.extended_timeouts
    # EZSP 13 says it with a flag, 14 with a status whose failure means the normal interval.
    status = Status.OK if extended else Status.NOT_FOUND
    return {"extendedTimeout": extended, "status": status}


def set_extended_timeout(session: Session, request: Fields) -> Fields:
    timeouts = session.stack.aps.extended_timeouts
    if request["extendedTimeout"]:
        if len(timeouts) >= _MAX_EXTENDED_TIMEOUTS:
            return {"status": Status.TABLE_FULL}
        timeouts.add(_octets(request))
    else:
        timeouts.discard(_octets(request))
    return {"status": Status.OK}


COMMANDS: dict[str, Handler] = {
    "sendBroadcast": send_broadcast,
    "sendMulticast": send_multicast,
    "sendReply": send_reply,
    "maximumPayloadLength": maximum_payload_length,
    "getExtendedTimeout": get_extended_timeout,
    "setExtendedTimeout": set_extended_timeout,
}
