"""Forming, joining, leaving, scanning, and who is where.

Source: Silicon Labs UG100, chapter 6 (networking).
"""

from __future__ import annotations

from emulator.ncp.commands.configuration import CONFIG_ADDRESS_TABLE_SIZE
from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee.events import NodeType, Status
from emulator.zigbee.joining import JoinRequest
from emulator.zigbee.state import UNKNOWN_EUI64, Network

_NO_NETWORK, _JOINING, _JOINED, _JOINED_NO_PARENT = 0, 1, 2, 3
_UNKNOWN_NODE = 0xFFFF
_ENERGY_SCAN = 0
_HAVE_NETWORK_KEY = 0x0200
_MAX_ADDRESSES = 64


def network_state(session: Session, _request: Fields) -> Fields:
    stack = session.stack
    if stack.joining.is_busy and not stack.is_up:
        return {"status": _JOINING}
    if stack.polling.parent_lost:
        return {"status": _JOINED_NO_PARENT}
    return {"status": _JOINED if stack.is_up else _NO_NETWORK}


def get_network_parameters(session: Session, _request: Fields) -> Fields:
    network = session.stack.state.network
    if network is None or not session.stack.is_up:
        return {"status": Status.NOT_JOINED}
    return {
        "status": Status.OK,
        "nodeType": network.node_type.value,
        "parameters": {
            "extendedPanId": network.extended_pan_id,
            "panId": network.pan_id,
            "radioTxPower": network.tx_power_dbm,
            "radioChannel": network.channel,
            "joinMethod": 0,
            "nwkManagerId": network.manager,
            "nwkUpdateId": network.update_id,
            "channels": network.channels,
        },
    }


def get_node_id(session: Session, _request: Fields) -> Fields:
    up = session.stack.is_up
    return {"nodeId": session.stack.short_address if up else 0xFFFE}


def get_eui64(session: Session, _request: Fields) -> Fields:
    return {"eui64": session.stack.state.eui64}


def form_network(session: Session, request: Fields) -> Fields:
    parameters = request["parameters"]
    security = session.security
    stack = session.stack
    if security is None:
        return {"status": Status.INVALID_CALL}
    if not 11 <= parameters["radioChannel"] <= 26:
        return {"status": Status.INVALID_PARAMETER}
    key = security.network_key
    if not security.bitmask & _HAVE_NETWORK_KEY:
        key = stack.random_bits(128).to_bytes(16, "big")
    network = Network(
        parameters["panId"],
        parameters["extendedPanId"],
        parameters["radioChannel"],
        NodeType.COORDINATOR,
        0x0000,
        key,
        security.network_key_sequence,
        tx_power_dbm=parameters["radioTxPower"],
        manager=parameters["nwkManagerId"],
        update_id=parameters["nwkUpdateId"],
        channels=parameters["channels"],
    )
    stack.state.preconfigured_key = security.preconfigured_key
    stack.state.security_bitmask = security.bitmask
    return {"status": stack.form(network)}


def join_network(session: Session, request: Fields) -> Fields:
    parameters = request["parameters"]
    security = session.security
    if security is None:
        return {"status": Status.INVALID_CALL}
    try:
        node_type = NodeType(request["nodeType"])
    except ValueError:
        return {"status": Status.INVALID_PARAMETER}
    if node_type is NodeType.COORDINATOR:
        return {"status": Status.INVALID_PARAMETER}
    stack = session.stack
    stack.state.preconfigured_key = security.preconfigured_key
    stack.state.security_bitmask = security.bitmask
    join = JoinRequest(
        parameters["radioChannel"],
        parameters["extendedPanId"],
        node_type,
        parameters["radioTxPower"],
    )
    return {"status": stack.joining.join(join)}


def start_scan(session: Session, request: Fields) -> Fields:
    return {
        "status": session.stack.joining.start_scan(
            request["channelMask"],
            request["duration"],
            energy=request["scanType"] == _ENERGY_SCAN,
        )
    }


def permit_joining(session: Session, request: Fields) -> Fields:
    if not session.stack.is_up:
        return {"status": Status.INVALID_CALL}
    session.stack.joining.permit(request["duration"])
    return {"status": Status.OK}


def token_factory_reset(session: Session, request: Fields) -> Fields:
    stack = session.stack
    state = stack.state
    if stack.is_up:
        stack.forget_network()  # a stack cannot go on in a network whose keys it has lost
    state.network = None
    state.preconfigured_key = None
    state.security_bitmask = 0
    state.devices.clear()
    state.children.clear()
    state.link_keys = [None] * len(state.link_keys)
    if not request["excludeOutgoingFC"]:
        stack.nwk_counter.restart(0)
        stack.aps_counter.restart(0)
    stack.aps.keys_changed()
    stack.save()
    return {}


def lookup_node_id(session: Session, request: Fields) -> Fields:
    short = session.stack.short_of(request["eui64"])
    if short is None:
        for eui64, node in session.addresses.values():
            if eui64 == request["eui64"]:
                short = node
    if short is None:
        return {"status": Status.NOT_FOUND, "nodeId": _UNKNOWN_NODE}
    return {"status": Status.OK, "nodeId": short}


def lookup_eui64(session: Session, request: Fields) -> Fields:
    eui64 = session.stack.eui64_of(request["nodeId"])
    if eui64 is None:
        return {"status": Status.NOT_FOUND, "eui64": UNKNOWN_EUI64}
    return {"status": Status.OK, "eui64": int.from_bytes(eui64, "little")}


def replace_address_table_entry(session: Session, request: Fields) -> Fields:
    index = request["addressTableIndex"]
    size = session.configuration.get(CONFIG_ADDRESS_TABLE_SIZE, 8)
    if index >= min(size, _MAX_ADDRESSES):
        return {"status": Status.INVALID_PARAMETER}
    old = session.addresses.get(index, (UNKNOWN_EUI64, _UNKNOWN_NODE))
    session.addresses[index] = (request["newEui64"], request["newId"])
    return {"status": Status.OK, "oldEui64": old[0], "oldId": old[1], "oldExtendedTimeout": False}


def get_address_table_node(session: Session, request: Fields) -> Fields:
    entry = session.addresses.get(request["addressTableIndex"])
    return {"nodeId": _UNKNOWN_NODE if entry is None else _node_of(session, entry)}


def _node_of(session: Session, entry: tuple[int, int]) -> int:
    """The node id of an address table entry: a device that took another address is followed."""
    known = session.stack.short_of(entry[0])
    return entry[1] if known is None else known


def get_address_table_eui64(session: Session, request: Fields) -> Fields:
    entry = session.addresses.get(request["addressTableIndex"])
    return {"eui64": UNKNOWN_EUI64 if entry is None else entry[0]}


def get_address_table_info(session: Session, request: Fields) -> Fields:
    entry = session.addresses.get(request["index"])
    if entry is None:
        return {"status": Status.NOT_FOUND, "nwk": _UNKNOWN_NODE, "eui64": UNKNOWN_EUI64}
    return {"status": Status.OK, "nwk": _node_of(session, entry), "eui64": entry[0]}


COMMANDS: dict[str, Handler] = {
    "networkState": network_state,
    "getNetworkParameters": get_network_parameters,
    "getNodeId": get_node_id,
    "getEui64": get_eui64,
    "formNetwork": form_network,
    "joinNetwork": join_network,
    "startScan": start_scan,
    "permitJoining": permit_joining,
    "tokenFactoryReset": token_factory_reset,
    "lookupNodeIdByEui64": lookup_node_id,
    "lookupEui64ByNodeId": lookup_eui64,
    "replaceAddressTableEntry": replace_address_table_entry,
    "getAddressTableRemoteNodeId": get_address_table_node,
    "getAddressTableRemoteEui64": get_address_table_eui64,
    "getAddressTableInfo": get_address_table_info,
}
