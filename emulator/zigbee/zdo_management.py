"""What a node tells a network manager: its neighbour table and its routing table.

Source: ZigBee specification 05-3474, 2.4.3.3.2 and 2.4.4.3.2 (Mgmt_Lqi), 2.4.3.3.3 and 2.4.4.3.3
(Mgmt_Rtg). Both tables are told in parts: a request names the entry to begin with.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from emulator.zigbee.nwk_commands import ManyToOne

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

MGMT_LQI = 0x0031
MGMT_RTG = 0x0032

_SUCCESS = 0x00
_HEAD = Struct("<BBBB")  # status, entries in the table, first index here, entries here
_NEIGHBOUR = Struct("<QQHBBBB")  # PAN, EUI-64, address, kinds, permit joining, depth, LQI
_ROUTE = Struct("<HBH")  # destination, status and flags, next hop
_NEIGHBOURS_IN_FRAME = 3  # of 22 octets
_ROUTES_IN_FRAME = 14

_COORDINATOR, _ROUTER, _END_DEVICE = 0, 1, 2
_RX_ON = 1 << 2
_RELATION_PARENT, _RELATION_CHILD, _RELATION_SIBLING = 0 << 4, 1 << 4, 2 << 4
_JOINING_UNKNOWN = 2
_LQI = 255
_UNKNOWN_EUI64 = bytes(8)
_ROUTE_MEMORY_CONSTRAINED = 1 << 3
_ROUTE_MANY_TO_ONE = 1 << 4
_ROUTE_RECORD_REQUIRED = 1 << 5


def answer_lqi(stack: Stack, payload: bytes, broadcast: bool) -> bytes | None:
    """Mgmt_Lqi_rsp: the routers this node hears, and the end devices that are its children."""
    start = payload[1]
    if broadcast:
        return None
    network = stack.state.network
    assert network is not None
    entries = []
    heard = stack.neighbours.heard
    children = [address for address in sorted(heard) if address in stack.routing.end_devices]
    for address in [*(address for address, _ in stack.neighbours.routers()), *children]:
        kind = _COORDINATOR if address == 0 else _ROUTER
        relation = _RELATION_SIBLING
        if address in stack.routing.end_devices:
            kind, relation = _END_DEVICE, _RELATION_CHILD
        elif address == network.parent:
            relation = _RELATION_PARENT
        eui64 = stack.eui64_of(address) or _UNKNOWN_EUI64
        entries.append(
            _NEIGHBOUR.pack(
                network.extended_pan_id,
                int.from_bytes(eui64, "little"),
                address,
                kind | _RX_ON | relation,
                _JOINING_UNKNOWN,
                0 if address == 0 else 1,
                _LQI,
            )
        )
    return _part(entries, start, _NEIGHBOURS_IN_FRAME)


def answer_rtg(stack: Stack, payload: bytes, broadcast: bool) -> bytes | None:
    """Mgmt_Rtg_rsp: every route, all of them active."""
    start = payload[1]
    if broadcast:
        return None
    entries = []
    for route in stack.routing.routes:
        flags = 0
        if route.many_to_one is not ManyToOne.NO:
            flags |= _ROUTE_MANY_TO_ONE
        if route.many_to_one is ManyToOne.WITHOUT_ROUTE_RECORDS:
            flags |= _ROUTE_MEMORY_CONSTRAINED
        if route.record_needed:
            flags |= _ROUTE_RECORD_REQUIRED
        entries.append(_ROUTE.pack(route.destination, flags, route.next_hop))
    return _part(entries, start, _ROUTES_IN_FRAME)


def _part(entries: list[bytes], start: int, most: int) -> bytes:
    part = entries[start : start + most]
    return _HEAD.pack(_SUCCESS, len(entries), start, len(part)) + b"".join(part)
