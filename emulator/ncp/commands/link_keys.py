"""Link keys: the key table and the transient keys of joiners, by the frames of every EZSP version.

Source: Silicon Labs UG100, chapter 9 (security). EZSP 4 to 12 write the table by
`setKeyTableEntry` and `addOrUpdateKeyTableEntry`, EZSP 12 and later by `importLinkKey`; transient
keys came with EZSP 5. The table keeps its entries over a reset, its configured size it does not.
"""

from __future__ import annotations

from emulator.ncp.commands.configuration import key_table_size, size_key_table
from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee.events import Status
from emulator.zigbee.state import LinkKey

_APPLICATION_LINK_KEY = 5  # EmberKeyType
_TABLE_ENTRY = 0x0002 | 0x0004 | 0x0008 | 0x0010  # both counters, a partner; authorised
_TRANSIENT_ENTRY = 0x0004 | 0x0008
_NOT_IN_TABLE = 0xFF
_MAX_TRANSIENT_KEYS = 32


# -- the key table -------------------------------------------------------------------------------


def _table(session: Session) -> list[LinkKey | None]:
    """The key table, as long as it is configured to be, or as what it kept needs."""
    size_key_table(session, key_table_size(session))
    return session.stack.state.link_keys


def _changed(session: Session) -> None:
    session.stack.aps.keys_changed()
    session.stack.save()


def _write(session: Session, index: int, partner: int, key: bytes) -> None:
    known = session.stack.aps.link_key(partner)
    incoming = 0
    if known is not None and known.key == key:
        incoming = known.incoming_counter  # the same key: what was received stays received
    _table(session)[index] = LinkKey(partner, key, incoming)
    _changed(session)


def import_link_key(session: Session, request: Fields) -> Fields:
    if request["index"] >= len(_table(session)):
        return {"status": Status.INVALID_PARAMETER}
    _write(session, request["index"], request["address"], request["key"])
    return {"status": Status.OK}


def set_key_table_entry(session: Session, request: Fields) -> Fields:
    if request["index"] >= len(_table(session)):
        return {"status": Status.INVALID_INDEX}
    _write(session, request["index"], request["address"], request["keyData"])
    return {"status": Status.OK}


def add_or_update_key_table_entry(session: Session, request: Fields) -> Fields:
    free = None
    for index, entry in enumerate(_table(session)):
        if entry is not None and entry.eui64 == request["address"]:
            _write(session, index, request["address"], request["keyData"])
            return {"status": Status.OK}
        if entry is None and free is None:
            free = index
    if free is None:
        return {"status": Status.TABLE_FULL}
    _write(session, free, request["address"], request["keyData"])
    return {"status": Status.OK}


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


def get_key_table_entry(session: Session, request: Fields) -> Fields:
    """EZSP 4 to 12: bellows stops at an index that is refused and skips one that is erased."""
    table = _table(session)
    index = request["index"]
    if index >= len(table):
        return {"status": Status.INVALID_INDEX}
    entry = table[index]
    if entry is None:
        return {"status": Status.ENTRY_ERASED}
    return {
        "status": Status.OK,
        "keyStruct": {
            "bitmask": _TABLE_ENTRY,
            "type": _APPLICATION_LINK_KEY,
            "key": entry.key,
            "outgoingFrameCounter": session.stack.aps_counter.next_value,
            "incomingFrameCounter": entry.incoming_counter,
            "partnerEUI64": entry.eui64,
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
    _changed(session)
    return {"status": Status.OK}


def clear_key_table(session: Session, _request: Fields) -> Fields:
    state = session.stack.state
    state.link_keys = [None] * len(state.link_keys)
    _changed(session)
    return {"status": Status.OK}


# -- transient keys ------------------------------------------------------------------------------


def _keep_transient(session: Session, partner: int, key: bytes) -> Fields:
    transient = session.stack.aps.transient_keys
    if len(transient) >= _MAX_TRANSIENT_KEYS and partner not in transient:
        return {"status": Status.TABLE_FULL}
    transient[partner] = key
    session.stack.aps.keys_changed()
    return {"status": Status.OK}


def import_transient_key(session: Session, request: Fields) -> Fields:
    return _keep_transient(session, request["eui64"], request["plaintext_key"])


def add_transient_link_key(session: Session, request: Fields) -> Fields:
    return _keep_transient(session, request["partner"], request["transientKey"])


def export_transient_key(session: Session, request: Fields) -> Fields:
    key = session.stack.aps.transient_keys.get(request["eui64"])
    if key is None:
        return {"status": Status.NOT_FOUND}
    return {"status": Status.OK, "plaintext_key": key}


def _transient_entry(session: Session, partner: int) -> Fields:
    """Both forms of the structure, under the names of EZSP 5 to 7 and of EZSP 8 to 12."""
    transient = session.stack.aps.transient_keys
    key, remaining_s = transient[partner], transient.remaining_s(partner)
    entry = {
        "eui64": partner,
        "keyData": key,
        "countdownTimerMs": remaining_s * 1000,
        "bitmask": _TRANSIENT_ENTRY,
        "remainingTimeSeconds": remaining_s,
    }
    fields = dict.fromkeys(("transientKeyData", "keyStruct", "transient_key_data"), entry)
    return {"status": Status.OK, **fields}


def get_transient_link_key(session: Session, request: Fields) -> Fields:
    partner = request["eui"] if "eui" in request else request["eui64"]
    if partner not in session.stack.aps.transient_keys:
        return {"status": Status.NOT_FOUND}
    return _transient_entry(session, partner)


def get_transient_key_table_entry(session: Session, request: Fields) -> Fields:
    partners = list(session.stack.aps.transient_keys)
    if request["index"] >= len(partners):
        return {"status": Status.NOT_FOUND}
    return _transient_entry(session, partners[request["index"]])


def clear_transient_keys(session: Session, _request: Fields) -> Fields:
    session.stack.aps.transient_keys.clear()
    session.stack.aps.keys_changed()
    return {}


COMMANDS: dict[str, Handler] = {
    "importLinkKey": import_link_key,
    "setKeyTableEntry": set_key_table_entry,
    "addOrUpdateKeyTableEntry": add_or_update_key_table_entry,
    "exportLinkKeyByIndex": export_link_key,
    "getKeyTableEntry": get_key_table_entry,
    "findKeyTableEntry": find_key_table_entry,
    "eraseKeyTableEntry": erase_key_table_entry,
    "clearKeyTable": clear_key_table,
    "importTransientKey": import_transient_key,
    "addTransientLinkKey": add_transient_link_key,
    "exportTransientKeyByEui": export_transient_key,
    "getTransientLinkKey": get_transient_link_key,
    "getTransientKeyTableEntry": get_transient_key_table_entry,
    "clearTransientLinkKeys": clear_transient_keys,
}
