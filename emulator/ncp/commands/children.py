"""End devices: polling, rejoining, the child table, and the settings they depend on.

Source: Silicon Labs UG100, chapter 4 (configuration) and 6 (networking). Fields are named as in the
tables: the child's data became a structure with EZSP 7.
"""

from __future__ import annotations

from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee.events import NodeType, Status
from emulator.zigbee.rejoin_commands import TIMEOUTS_S
from emulator.zigbee.state import UNKNOWN_EUI64, Child

CONFIG_MAX_END_DEVICE_CHILDREN = 0x11
CONFIG_INDIRECT_TRANSMISSION_TIMEOUT = 0x12
CONFIG_END_DEVICE_POLL_TIMEOUT = 0x13
CONFIG_END_DEVICE_POLL_TIMEOUT_SHIFT = 0x1B
DEFAULTS = {
    CONFIG_MAX_END_DEVICE_CHILDREN: 32,
    CONFIG_INDIRECT_TRANSMISSION_TIMEOUT: 7680,
    CONFIG_END_DEVICE_POLL_TIMEOUT: 8,  # 256 minutes
    CONFIG_END_DEVICE_POLL_TIMEOUT_SHIFT: 6,
}
POLICY_POLL_HANDLER = 0x03
POLL_HANDLER_CALLBACK = 0x31
VALUE_KEEP_ALIVE_SUPPORT_MODE = 0x3F
_MAX_CHILDREN = 64
# Up to EZSP 6 a child's timeout is a number of seconds, shifted; since then an exponent.
_FIRST_WITH_TIMEOUT_EXPONENT = 7

_PARENT_INFO_IN_TOKEN = 0x01  # EmberNetworkInitBitmask
_REJOIN_ON_REBOOT = 0x02
_LEAVE_WITH_REJOIN = 0x20  # SlZigbeeLeaveNetworkOption
# EmberEventUnits; the others mean a single poll.
_UNITS_US = {1: 1_000, 2: 250_000, 3: 60_000_000}
_MAX_INTERVAL = 32767
_UNKNOWN_NODE = 0xFFFF


def configure(session: Session, number: int, value: int) -> Status:
    """A setting above takes effect; whether it may."""
    stack = session.stack
    if number == CONFIG_MAX_END_DEVICE_CHILDREN:
        if value > _MAX_CHILDREN:
            return Status.TABLE_FULL
        stack.children.max_children = value
    elif number == CONFIG_INDIRECT_TRANSMISSION_TIMEOUT:
        stack.mac.held.persistence_us = value * 1000
    else:
        settings = {**DEFAULTS, **session.configuration, number: value}
        timeout = settings[CONFIG_END_DEVICE_POLL_TIMEOUT]
        if session.version < _FIRST_WITH_TIMEOUT_EXPONENT:
            seconds = timeout << min(settings[CONFIG_END_DEVICE_POLL_TIMEOUT_SHIFT], 16)
            timeout = next((i for i, one in enumerate(TIMEOUTS_S) if one >= seconds), 14)
        if timeout >= len(TIMEOUTS_S):
            return Status.INVALID_PARAMETER
        stack.children.timeout = timeout
    return Status.OK


def poll_for_data(session: Session, request: Fields) -> Fields:
    interval = request["interval"]
    if interval > _MAX_INTERVAL:
        return {"status": Status.INVALID_PARAMETER}
    interval_us = interval * _UNITS_US.get(request["units"], 0)
    return {"status": session.stack.polling.start(interval_us, request["failureLimit"])}


def find_and_rejoin(session: Session, request: Fields) -> Fields:
    network = session.stack.state.network
    if network is None:
        return {"status": Status.INVALID_CALL}
    mask = request["channelMask"]
    channels = [channel for channel in range(11, 27) if mask >> channel & 1]
    status = session.stack.rejoining.start(
        channels or [network.channel], secured=bool(request["haveCurrentNetworkKey"])
    )
    return {"status": status}


def network_init(session: Session, request: Fields) -> Fields:
    # EZSP 4 and 5 have no options in networkInit, a structure of one in networkInitExtended.
    options = int(request.get("networkInitBitmask") or request.get("networkInitStruct") or 0)
    rejoin = not options & _PARENT_INFO_IN_TOKEN or bool(options & _REJOIN_ON_REBOOT)
    return {"status": session.stack.resume(rejoin=rejoin)}


def leave_network(session: Session, request: Fields) -> Fields:
    rejoin = bool(request.get("options", 0) & _LEAVE_WITH_REJOIN)
    return {"status": session.stack.leave(rejoin=rejoin)}


def get_child_data(session: Session, request: Fields) -> Fields:
    child = session.stack.children.at(request["index"])
    if child is None:
        return {"status": Status.NOT_JOINED}  # hosts take any other status as a child
    data = {
        "eui64": child.eui64,
        "type": child.node_type.value,
        "id": child.short_address,
        "phy": 0,
        "power": 0,
        "timeout": _timeout_of(child),
        "timeout_remaining": session.stack.children.remaining_ms(child),
    }
    return {
        "status": Status.OK,
        "childId": child.short_address,
        "childEui64": child.eui64,
        "childType": child.node_type.value,
        "childData": data,
        "child_data": data,
    }


def _timeout_of(child: Child) -> int:
    return TIMEOUTS_S.index(child.timeout_s) if child.timeout_s in TIMEOUTS_S else 0


def set_child_data(session: Session, request: Fields) -> Fields:
    data = request["child_data"]
    children = session.stack.children
    if request["index"] >= children.max_children:
        return {"status": Status.INVALID_INDEX}
    timeout = data["timeout"]
    try:
        node_type = NodeType(data["type"])
    except ValueError:
        return {"status": Status.INVALID_PARAMETER}
    if not node_type.is_end_device or timeout >= len(TIMEOUTS_S):
        return {"status": Status.INVALID_PARAMETER}
    child = Child(data["eui64"], data["id"], node_type, TIMEOUTS_S[timeout])
    children.put(request["index"], child)
    return {"status": Status.OK}


def child_id(session: Session, request: Fields) -> Fields:
    child = session.stack.children.at(request["childIndex"])
    return {"childId": _UNKNOWN_NODE if child is None else child.short_address}


def get_parent_child_parameters(session: Session, _request: Fields) -> Fields:
    stack = session.stack
    network = stack.state.network
    parent = _UNKNOWN_NODE
    if network is not None and network.node_type is not NodeType.COORDINATOR:
        parent = network.parent
    eui64 = stack.eui64_of(parent)
    return {
        "childCount": stack.children.count,
        "parentEui64": UNKNOWN_EUI64 if eui64 is None else int.from_bytes(eui64, "little"),
        "parentNodeId": parent,
    }


COMMANDS: dict[str, Handler] = {
    "pollForData": poll_for_data,
    "findAndRejoinNetwork": find_and_rejoin,
    "networkInit": network_init,
    "networkInitExtended": network_init,
    "leaveNetwork": leave_network,
    "getChildData": get_child_data,
    "setChildData": set_child_data,
    "childId": child_id,
    "getParentChildParameters": get_parent_child_parameters,
}
