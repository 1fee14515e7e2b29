"""Keys: what the host sets before it forms or joins, the key table, transient keys, exports.

Source: Silicon Labs UG100, chapter 9 (security) and the security manager frames of EZSP 12 and
later (0x105 to 0x116).
"""

from __future__ import annotations

from emulator.ncp.commands.session import Fields, Handler, InitialSecurity, Session
from emulator.zigbee.events import Status
from emulator.zigbee.state import LinkKey

_CURRENT_BITS = 0x00FF  # bits that EmberInitial- and EmberCurrentSecurityBitmask share
_HAVE_TRUST_CENTER_LINK_KEY = 0x0010
_KEY_NETWORK = 1  # SecurityManagerKeyType
_KEY_TC_LINK = 2
_NOT_IN_TABLE = 0xFF
_MAX_TRANSIENT_KEYS = 32


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
        key = state.network.key
    elif kind == _KEY_TC_LINK:
        key = state.preconfigured_key
    if key is None:
        return {"status": Status.NOT_FOUND}
    return {"status": Status.OK, "key": key, "context": request["context"]}


def get_network_key_info(session: Session, _request: Fields) -> Fields:
    network = session.stack.state.network
    info: Fields = {"network_key_set": False}
    if network is not None:
        info = {
            "network_key_set": True,
            "network_key_sequence_number": network.key_sequence,
            "network_key_frame_counter": session.stack.nwk_counter.next_value,
        }
    return {"status": Status.OK, "network_key_info": info}


def import_link_key(session: Session, request: Fields) -> Fields:
    stack = session.stack
    table = stack.state.link_keys
    index = request["index"]
    if index >= len(table):
        return {"status": Status.INVALID_PARAMETER}
    known = stack.aps.link_key(request["address"])
    incoming = 0
    if known is not None and known.key == request["key"]:
        incoming = known.incoming_counter  # the same key: what was received stays received
    table[index] = LinkKey(request["address"], request["key"], incoming)
    stack.aps.keys_changed()
    stack.save()
    return {"status": Status.OK}


def import_transient_key(session: Session, request: Fields) -> Fields:
    stack = session.stack
    transient = stack.aps.transient_keys
    if len(transient) >= _MAX_TRANSIENT_KEYS and request["eui64"] not in transient:
        return {"status": Status.TABLE_FULL}
    transient[request["eui64"]] = request["plaintext_key"]
    stack.aps.keys_changed()
    return {"status": Status.OK}


def export_transient_key(session: Session, request: Fields) -> Fields:
    key = session.stack.aps.transient_keys.get(request["eui64"])
    if key is None:
        return {"status": Status.NOT_FOUND}
    return {"status": Status.OK, "plaintext_key": key}


def clear_transient_keys(session: Session, _request: Fields) -> Fields:
    session.stack.aps.transient_keys.clear()
    session.stack.aps.keys_changed()
    return {}


def export_link_key(session: Session, request: Fields) -> Fields:
    table = session.stack.state.link_keys
    index = request["index"]
    entry = table[index] if index < len(table) else None
    if entry is None:
        return {"status": Status.NOT_FOUND}
    return {
        "status": Status.OK,
        "eui64": entry.eui64,
        "context": {"eui64": entry.eui64, "key_index": index},
        "plaintext_key": entry.key,
        "key_data": {
            "bitmask": 0,
            "outgoing_frame_counter": session.stack.aps_counter.next_value,
            "incoming_frame_counter": entry.incoming_counter,
        },
    }


def find_key_table_entry(session: Session, request: Fields) -> Fields:
    for index, entry in enumerate(session.stack.state.link_keys):
        if entry is not None and entry.eui64 == request["address"]:
            return {"index": index}
    return {"index": _NOT_IN_TABLE}


def erase_key_table_entry(session: Session, request: Fields) -> Fields:
    table = session.stack.state.link_keys
    index = request["index"]
    if index >= len(table) or table[index] is None:
        return {"status": Status.NOT_FOUND}
    table[index] = None
    session.stack.aps.keys_changed()
    session.stack.save()
    return {"status": Status.OK}


def clear_key_table(session: Session, _request: Fields) -> Fields:
    state = session.stack.state
    state.link_keys = [None] * len(state.link_keys)
    session.stack.aps.keys_changed()
    session.stack.save()
    return {"status": Status.OK}


COMMANDS: dict[str, Handler] = {
    "setInitialSecurityState": set_initial_security_state,
    "getCurrentSecurityState": get_current_security_state,
    "exportKey": export_key,
    "getNetworkKeyInfo": get_network_key_info,
    "importLinkKey": import_link_key,
    "importTransientKey": import_transient_key,
    "exportTransientKeyByEui": export_transient_key,
    "clearTransientLinkKeys": clear_transient_keys,
    "exportLinkKeyByIndex": export_link_key,
    "findKeyTableEntry": find_key_table_entry,
    "eraseKeyTableEntry": erase_key_table_entry,
    "clearKeyTable": clear_key_table,
}
