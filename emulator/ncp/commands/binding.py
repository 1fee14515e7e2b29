"""The binding table, and where a message goes that is sent by way of a table.

Source: Silicon Labs UG100, chapters 7 (binding) and 8 (EmberOutgoingMessageType). The table is the
host's: a stick keeps what it is told and binds nothing by itself.
"""

from __future__ import annotations

from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee import nwk
from emulator.zigbee.events import Status

CONFIG_BINDING_TABLE_SIZE = 0x04
DEFAULT_BINDING_TABLE_SIZE = 0
MAX_BINDING_TABLE_SIZE = 127  # EMBER_MAX_BINDING_TABLE_SIZE

OUTGOING_VIA_ADDRESS_TABLE = 1
OUTGOING_VIA_BINDING = 2

_UNUSED, _UNICAST = 0, 1  # EmberBindingType
_UNKNOWN_NODE = 0xFFFF
_EMPTY = {
    "type": _UNUSED,
    "local": 0,
    "clusterId": 0,
    "remote": 0,
    "identifier": 0,
    "networkIndex": 0,
}


def _size(session: Session) -> int:
    size = session.configuration.get(CONFIG_BINDING_TABLE_SIZE, DEFAULT_BINDING_TABLE_SIZE)
    return min(size, MAX_BINDING_TABLE_SIZE)


def _unicast(session: Session, index: int) -> Fields | None:
    entry = session.bindings.get(index)
    return entry if entry is not None and entry["type"] == _UNICAST else None


def set_binding(session: Session, request: Fields) -> Fields:
    index = request["index"]
    if index >= _size(session):
        return {"status": Status.INVALID_INDEX}
    session.bindings[index] = {**_EMPTY, **request["value"]}
    session.binding_nodes.pop(index, None)
    return {"status": Status.OK}


def get_binding(session: Session, request: Fields) -> Fields:
    index = request["index"]
    if index >= _size(session):
        return {"status": Status.INVALID_INDEX, "value": _EMPTY}
    return {"status": Status.OK, "value": session.bindings.get(index, _EMPTY)}


def delete_binding(session: Session, request: Fields) -> Fields:
    index = request["index"]
    if index >= _size(session):
        return {"status": Status.INVALID_INDEX}
    session.bindings.pop(index, None)
    session.binding_nodes.pop(index, None)
    return {"status": Status.OK}


def clear_binding_table(session: Session, _request: Fields) -> Fields:
    session.bindings.clear()
    session.binding_nodes.clear()
    return {"status": Status.OK}


def binding_is_active(_session: Session, _request: Fields) -> Fields:
    """Whether messages that use the binding are under way; the stick keeps no account of that."""
    return {"active": False}


def get_binding_remote_node(session: Session, request: Fields) -> Fields:
    node = _binding_node(session, request["index"])
    return {"nodeId": _UNKNOWN_NODE if node is None else node}


def set_binding_remote_node(session: Session, request: Fields) -> Fields:
    if _unicast(session, request["index"]) is not None:
        session.binding_nodes[request["index"]] = request["nodeId"]
    return {}


def _binding_node(session: Session, index: int) -> int | None:
    entry = _unicast(session, index)
    if entry is None:
        return None
    known = session.stack.short_of(entry["identifier"])
    return session.binding_nodes.get(index) if known is None else known


def _address_table_node(session: Session, index: int) -> int | None:
    entry = session.addresses.get(index)
    if entry is None:
        return None
    eui64, node = entry
    known = session.stack.short_of(eui64)  # the device may have another address by now
    if known is not None:
        return known
    return node if node < nwk.LOWEST_BROADCAST else None


def destination_of(session: Session, kind: int, index: int) -> int | None:
    """The node that an entry of the address table or of the binding table names, if any."""
    if kind == OUTGOING_VIA_ADDRESS_TABLE:
        return _address_table_node(session, index)
    if kind == OUTGOING_VIA_BINDING:
        return _binding_node(session, index)
    return None


COMMANDS: dict[str, Handler] = {
    "setBinding": set_binding,
    "getBinding": get_binding,
    "deleteBinding": delete_binding,
    "clearBindingTable": clear_binding_table,
    "bindingIsActive": binding_is_active,
    "getBindingRemoteNodeId": get_binding_remote_node,
    "setBindingRemoteNodeId": set_binding_remote_node,
}
