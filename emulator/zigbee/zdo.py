"""What a node answers for itself: its addresses, its descriptors, its endpoints.

Source: ZigBee specification 05-3474, 2.4 (device profile), 2.3.2 (descriptors). The first octet of
every payload is the transaction sequence number, the second of every response a status.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING

from emulator.zigbee import aps, zdo_management
from emulator.zigbee.events import Aps, NodeType

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

PROFILE = 0x0000
NWK_ADDRESS = 0x0000
IEEE_ADDRESS = 0x0001
NODE_DESCRIPTOR = 0x0002
POWER_DESCRIPTOR = 0x0003
SIMPLE_DESCRIPTOR = 0x0004
ACTIVE_ENDPOINTS = 0x0005
MATCH_DESCRIPTOR = 0x0006
DEVICE_ANNOUNCE = 0x0013
MGMT_LEAVE = 0x0034
MGMT_PERMIT_JOINING = 0x0036
RESPONSE = 0x8000

SUCCESS = 0x00
INVALID_REQUEST_TYPE = 0x80
DEVICE_NOT_FOUND = 0x81
INVALID_ENDPOINT = 0x82
NOT_ACTIVE = 0x83
NOT_SUPPORTED = 0x84
INSUFFICIENT_SPACE = 0x8A

_ANNOUNCE = Struct("<BHQB")
_LEAVE_REJOIN = 0x80
_STACK_COMPLIANCE_REVISION = 22
_MAX_BUFFER_OCTETS = 82
_MAX_TRANSFER_OCTETS = 1594  # what one APS message can hold in fragments


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One application on a node (2.3.2.5, simple descriptor)."""

    endpoint: int
    profile: int
    device_id: int
    device_version: int
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...]

    def simple_descriptor(self) -> bytes:
        """The descriptor as Simple_Desc_rsp carries it."""
        return b"".join(
            (
                _SIMPLE.pack(self.endpoint, self.profile, self.device_id, self.device_version),
                _clusters(self.input_clusters),
                _clusters(self.output_clusters),
            )
        )


_SIMPLE = Struct("<BHHB")


def _clusters(clusters: tuple[int, ...]) -> bytes:
    return bytes((len(clusters),)) + b"".join(c.to_bytes(2, "little") for c in clusters)


_ROUTER = 0x02  # device type, a bit of the MAC capability


def capability(node_type: NodeType) -> int:
    """The MAC capability octet of a node: mains and always on, or a sleeper."""
    return {
        NodeType.COORDINATOR: 0x8F,
        NodeType.ROUTER: 0x8E,
        NodeType.END_DEVICE: 0x8C,
        NodeType.SLEEPY_END_DEVICE: 0x80,
        NodeType.MOBILE_END_DEVICE: 0x80,
    }[node_type]


def device_announce(stack: Stack) -> bytes:
    """The payload of Device_annce (2.4.3.1.11)."""
    network = stack.state.network
    assert network is not None
    return _ANNOUNCE.pack(
        stack.random_bits(8),
        network.short_address,
        stack.state.eui64,
        capability(network.node_type),
    )


def match_request(
    sequence: int, address: int, profile: int, cluster: int, *, is_server: bool
) -> bytes:
    """The payload of Match_Desc_req (2.4.3.1.7): which endpoints serve a cluster, or use it."""
    lists = ((cluster,), ()) if is_server else ((), (cluster,))
    return _MATCH.pack(sequence, address, profile) + b"".join(map(_clusters, lists))


def first_match(response: bytes) -> int | None:
    """The first endpoint that a Match_Desc_rsp tells (2.4.4.2.7), None when it tells none."""
    # Sequence, status, address, number of endpoints, endpoints.
    found = len(response) > 5 and response[1] == SUCCESS and response[4]
    return response[5] if found else None


def answer(stack: Stack, source: int, message: Aps, payload: bytes, *, broadcast: bool) -> bool:
    """Answer a ZDO message as far as the stack does; whether the host is to see it.

    A malformed request is not answered, as EmberZNet does not.
    """
    cluster = message.cluster
    if cluster & RESPONSE:
        return True
    if cluster == DEVICE_ANNOUNCE:
        return _hear_announce(stack, payload)
    handler = _HANDLERS.get(cluster)
    try:
        if handler is not None:
            response = handler(stack, payload, broadcast)
        else:
            response = None if broadcast else bytes((NOT_SUPPORTED,))
    except (StructError, IndexError):
        response = None
    if response is not None and payload:
        if len(response) >= aps.MAX_PAYLOAD_OCTETS:
            # Only lists grow so long, and they all begin with status, address and length.
            response = bytes((INSUFFICIENT_SPACE,)) + response[1:3] + b"\x00"
        stack.aps.send_zdo(source, cluster | RESPONSE, payload[:1] + response)
    return stack.passes_zdo_requests


def _hear_announce(stack: Stack, payload: bytes) -> bool:
    try:
        _, short_address, eui64, capabilities = _ANNOUNCE.unpack(payload)
    except StructError:
        return False
    if not 0x0001 <= short_address <= 0xFFF7:
        return False  # the coordinator's address and broadcasts are nobody's to claim
    if eui64 != stack.state.eui64:
        stack.routing.conflicts.claimed(short_address, eui64.to_bytes(8, "little"))
        stack.learn(short_address, eui64)
        stack.children.announced(short_address, eui64, is_router=bool(capabilities & _ROUTER))
    return True


_Handler = Callable[["Stack", bytes, bool], bytes | None]


def _nwk_address(stack: Stack, payload: bytes, broadcast: bool) -> bytes | None:
    (eui64,) = _EUI64.unpack_from(payload, 1)
    if eui64 != stack.state.eui64:
        return None if broadcast else _address_response(DEVICE_NOT_FOUND, eui64, 0xFFFF)
    return _address_response(SUCCESS, eui64, stack.short_address)


def _ieee_address(stack: Stack, payload: bytes, broadcast: bool) -> bytes | None:
    (short,) = _SHORT.unpack_from(payload, 1)
    if short != stack.short_address:
        return None if broadcast else _address_response(DEVICE_NOT_FOUND, 0, short)
    return _address_response(SUCCESS, stack.state.eui64, short)


def _address_response(status: int, eui64: int, short: int) -> bytes:
    return bytes((status,)) + _EUI64.pack(eui64) + _SHORT.pack(short)


def _about_me(stack: Stack, payload: bytes) -> bytes | None:
    """The NWK address of interest, None when it is not this node's."""
    (short,) = _SHORT.unpack_from(payload, 1)
    return payload[1:3] if short == stack.short_address else None


def _node_descriptor(stack: Stack, payload: bytes, broadcast: bool) -> bytes | None:
    if _about_me(stack, payload) is None:
        return None if broadcast else bytes((DEVICE_NOT_FOUND,)) + payload[1:3]
    network = stack.state.network
    assert network is not None
    logical = {NodeType.COORDINATOR: 0, NodeType.ROUTER: 1}.get(network.node_type, 2)
    server_mask = _STACK_COMPLIANCE_REVISION << 9
    if network.node_type is NodeType.COORDINATOR:
        server_mask |= 0x0041  # primary trust centre, network manager
    descriptor = _NODE.pack(
        logical,
        0x40,  # 2.4 GHz
        capability(network.node_type),
        stack.manufacturer_code,
        _MAX_BUFFER_OCTETS,
        _MAX_TRANSFER_OCTETS,
        server_mask,
        _MAX_TRANSFER_OCTETS,
        0,
    )
    return bytes((SUCCESS,)) + payload[1:3] + descriptor


def _power_descriptor(stack: Stack, payload: bytes, broadcast: bool) -> bytes | None:
    if _about_me(stack, payload) is None:
        return None if broadcast else bytes((DEVICE_NOT_FOUND,)) + payload[1:3]
    network = stack.state.network
    power = b"\x10\xc1"  # receiver on when idle, mains available and in use, full
    if network is not None and network.node_type.sleeps:
        power = b"\x41\xc4"  # receiver on periodically, disposable battery, full
    return bytes((SUCCESS,)) + payload[1:3] + power


def _simple_descriptor(stack: Stack, payload: bytes, broadcast: bool) -> bytes | None:
    status = SUCCESS
    descriptor = b""
    number = payload[3]
    if _about_me(stack, payload) is None:
        if broadcast:
            return None
        status = DEVICE_NOT_FOUND
    elif not 1 <= number <= 254:
        status = INVALID_ENDPOINT
    elif number not in stack.endpoints:
        status = NOT_ACTIVE
    else:
        descriptor = stack.endpoints[number].simple_descriptor()
    return bytes((status,)) + payload[1:3] + bytes((len(descriptor),)) + descriptor


def _active_endpoints(stack: Stack, payload: bytes, broadcast: bool) -> bytes | None:
    if _about_me(stack, payload) is None:
        return None if broadcast else bytes((DEVICE_NOT_FOUND,)) + payload[1:3] + b"\x00"
    numbers = bytes(sorted(stack.endpoints))
    return bytes((SUCCESS,)) + payload[1:3] + bytes((len(numbers),)) + numbers


def _match_descriptor(stack: Stack, payload: bytes, _broadcast: bool) -> bytes | None:
    profile, at = _SHORT.unpack_from(payload, 3)[0], 5
    wanted: list[set[int]] = []
    for _ in range(2):
        count = payload[at]
        end = at + 1 + 2 * count
        clusters = {_SHORT.unpack_from(payload, c)[0] for c in range(at + 1, end, 2)}
        wanted.append(clusters)
        at = end
    matching = bytes(
        number
        for number, endpoint in sorted(stack.endpoints.items())
        if endpoint.profile == profile
        and (wanted[0] & set(endpoint.input_clusters) or wanted[1] & set(endpoint.output_clusters))
    )
    own = _SHORT.pack(stack.short_address)
    return bytes((SUCCESS,)) + own + bytes((len(matching),)) + matching if matching else None


def _leave(stack: Stack, payload: bytes, _broadcast: bool) -> bytes | None:
    (eui64,) = _EUI64.unpack_from(payload, 1)
    rejoin = bool(payload[9] & _LEAVE_REJOIN)
    clock = stack.clock
    child = stack.children.of_eui64(eui64)
    if eui64 in (0, stack.state.eui64):
        network = stack.state.network
        if network is None or network.node_type is NodeType.COORDINATOR:
            return bytes((NOT_SUPPORTED,))
        # Later, so that the answer goes out first.
        clock.call_at_us(clock.now_us(), partial(stack.leave, rejoin=rejoin))
    elif child is not None:
        clock.call_at_us(
            clock.now_us(), partial(stack.children.request_leave, child, rejoin=rejoin)
        )
    else:
        return bytes((DEVICE_NOT_FOUND,))
    return bytes((SUCCESS,))


def _permit_joining(stack: Stack, payload: bytes, broadcast: bool) -> bytes | None:
    stack.joining.permit(payload[1])
    return None if broadcast else bytes((SUCCESS,))


_EUI64 = Struct("<Q")
_MATCH = Struct("<BHH")
_SHORT = Struct("<H")
_NODE = Struct("<BBBHBHHHB")

_HANDLERS: dict[int, _Handler] = {
    NWK_ADDRESS: _nwk_address,
    IEEE_ADDRESS: _ieee_address,
    NODE_DESCRIPTOR: _node_descriptor,
    POWER_DESCRIPTOR: _power_descriptor,
    SIMPLE_DESCRIPTOR: _simple_descriptor,
    ACTIVE_ENDPOINTS: _active_endpoints,
    MATCH_DESCRIPTOR: _match_descriptor,
    MGMT_LEAVE: _leave,
    MGMT_PERMIT_JOINING: _permit_joining,
    zdo_management.MGMT_LQI: zdo_management.answer_lqi,
    zdo_management.MGMT_RTG: zdo_management.answer_rtg,
}
