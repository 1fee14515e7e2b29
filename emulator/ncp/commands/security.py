"""Security of a network: what the host sets before it forms or joins, and the keys it reads back.

Source: Silicon Labs UG100, chapter 9 (security) and the security manager frames of EZSP 12 and
later (0x105 to 0x116); `getKey` is what EZSP 4 to 12 have for them.
"""

from __future__ import annotations

from emulator.ncp.commands.session import Fields, Handler, InitialSecurity, Session
from emulator.zigbee.events import Status

_CURRENT_BITS = 0x00FF  # bits that EmberInitial- and EmberCurrentSecurityBitmask share
_HAVE_TRUST_CENTER_LINK_KEY = 0x0010
_KEY_NETWORK = 1  # SecurityManagerKeyType
_NEXT_KEY_INDEX = 1  # 0 is the network key in use
_KEY_TC_LINK = 2
_EMBER_TC_LINK = 1  # EmberKeyType
_EMBER_NETWORK = 3
_EMBER_NEXT_NETWORK = 4
_HAS_SEQUENCE = 0x0001  # EmberKeyStructBitmask
_HAS_OUTGOING_COUNTER = 0x0002
_HAS_PARTNER = 0x0008


def set_initial_security_state(session: Session, request: Fields) -> Fields:
    state = request["state"]
    if session.stack.is_up:
        return {"status": Status.INVALID_CALL}
    session.security = InitialSecurity(
        state["bitmask"],
        state["preconfiguredKey"],
        state["networkKey"],
        state["networkKeySequenceNumber"],
        state["preconfiguredTrustCenterEui64"],
    )
    return {"status": Status.OK}


def get_current_security_state(session: Session, _request: Fields) -> Fields:
    state = session.stack.state
    if state.network is None:
        return {"status": Status.NOT_JOINED}
    bitmask = state.security_bitmask & _CURRENT_BITS
    if state.preconfigured_key is not None:
        bitmask |= _HAVE_TRUST_CENTER_LINK_KEY
    return {
        "status": Status.OK,
        "state": {"bitmask": bitmask, "trustCenterLongAddress": state.network.trust_center_eui64},
    }


def export_key(session: Session, request: Fields) -> Fields:
    state = session.stack.state
    kind = request["context"]["core_key_type"]
    key: bytes | None = None
    if kind == _KEY_NETWORK and state.network is not None:
        is_next = request["context"]["key_index"] == _NEXT_KEY_INDEX
        key = state.network.next_key if is_next else state.network.key
    elif kind == _KEY_TC_LINK:
        key = state.preconfigured_key
    if key is None:
        return {"status": Status.NOT_FOUND}
    return {"status": Status.OK, "key": key, "context": request["context"]}


def get_key(session: Session, request: Fields) -> Fields:
    stack = session.stack
    state = stack.state
    kind = request["keyType"]
    if kind == _EMBER_NETWORK and state.network is not None:
        key: Fields = {
            "bitmask": _HAS_SEQUENCE | _HAS_OUTGOING_COUNTER,
            "key": state.network.key,
            "sequenceNumber": state.network.key_sequence,
            "outgoingFrameCounter": stack.nwk_counter.next_value,
        }
    elif (
        kind == _EMBER_NEXT_NETWORK
        and state.network is not None
        and state.network.next_key is not None
    ):
        key = {
            "bitmask": _HAS_SEQUENCE,
            "key": state.network.next_key,
            "sequenceNumber": state.network.next_key_sequence,
        }
    elif kind == _EMBER_TC_LINK and state.preconfigured_key is not None:
        key = {
            "bitmask": _HAS_OUTGOING_COUNTER,
            "key": state.preconfigured_key,
            "outgoingFrameCounter": stack.aps_counter.next_value,
        }
        if state.network is not None:
            key["bitmask"] |= _HAS_PARTNER
            key["partnerEUI64"] = state.network.trust_center_eui64
    else:
        return {"status": Status.NOT_FOUND}
    return {"status": Status.OK, "keyStruct": {"type": kind, **key}}


def get_network_key_info(session: Session, _request: Fields) -> Fields:
    network = session.stack.state.network
    info: Fields = {"network_key_set": False}
    if network is not None:
        info = {
            "network_key_set": True,
            "network_key_sequence_number": network.key_sequence,
            "network_key_frame_counter": session.stack.nwk_counter.next_value,
            "alternate_network_key_set": network.next_key is not None,
            "alt_network_key_sequence_number": network.next_key_sequence,
        }
    return {"status": Status.OK, "network_key_info": info}


COMMANDS: dict[str, Handler] = {
    "setInitialSecurityState": set_initial_security_state,
    "getCurrentSecurityState": get_current_security_state,
    "exportKey": export_key,
    "getKey": get_key,
    "getNetworkKeyInfo": get_network_key_info,
}
