"""Manufacturing tokens: what a maker burns into a stick once, and what it reads when blank.

Source: Silicon Labs UG100, chapter 5 (getMfgToken, setMfgToken); AN961 (a custom EUI-64 can be
written where it reads all ones, and no second time without erasing the chip). A backup restored
onto another stick depends on it: the network's trust centre keeps its address.
"""

from __future__ import annotations

from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee.events import Status

TOKEN_STRING = 0x01
TOKEN_BOARD_NAME = 0x02
TOKEN_CUSTOM_EUI64 = 0x0C
_EUI64_OCTETS = 8
_TOKENS = {
    TOKEN_STRING: b"hanbench".ljust(16, b"\xff"),
    TOKEN_BOARD_NAME: b"emulated stick".ljust(16, b"\xff"),
}
_UNBURNT = b"\xff" * 16


def get_mfg_token(session: Session, request: Fields) -> Fields:
    number = request["tokenId"]
    if number == TOKEN_CUSTOM_EUI64:
        burnt = session.stack.state.custom_eui64
        octets = _UNBURNT[:_EUI64_OCTETS] if burnt is None else burnt.to_bytes(8, "little")
        return {"tokenData": octets}
    return {"tokenData": _TOKENS.get(number, _UNBURNT)}


def set_mfg_token(session: Session, request: Fields) -> Fields:
    """Burn the custom EUI-64; the stick has that address from its next start on."""
    if request["tokenId"] != TOKEN_CUSTOM_EUI64:
        return {"status": Status.NOT_FOUND}
    octets = request["tokenData"]
    if len(octets) != _EUI64_OCTETS or octets == _UNBURNT[:_EUI64_OCTETS]:
        return {"status": Status.INVALID_PARAMETER}
    state = session.stack.state
    if state.custom_eui64 is not None:
        return {"status": Status.INVALID_CALL}
    state.custom_eui64 = int.from_bytes(octets, "little")
    session.stack.save()
    return {"status": Status.OK}


COMMANDS: dict[str, Handler] = {
    "getMfgToken": get_mfg_token,
    "setMfgToken": set_mfg_token,
}
