"""Networks in which not everybody hears everybody: lines, rings and grids of nodes."""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

from air_support import NETWORK_KEY, Air, StackHost, network

from emulator.zigbee import nwk
from emulator.zigbee.events import NodeType, Status
from emulator.zigbee.nwk import NwkFrame
from emulator.zigbee.security import FrameKey
from emulator.zigbee.state import Child, LinkKey, StackState

HUB_EUI64 = 0x00DB1234567890A2
KEY = FrameKey(NETWORK_KEY)


def node_eui64(number: int) -> int:
    return HUB_EUI64 + number if number == 0 else 0x0011223344550000 + number


def short_address(number: int) -> int:
    return 0x1000 * number + number


def pair_key(one: int, other: int) -> bytes:
    """The link key that two nodes share."""
    return bytes((min(one, other), max(one, other))) * 8


def stored_node(
    number: int, count: int, parent: int, node_type: NodeType = NodeType.ROUTER
) -> StackState:
    """What node `number` of `count` remembers: the network, its parent, a link key with everybody
    else.
    """
    state = StackState(node_eui64(number))
    joined = network()
    joined.trust_center_eui64 = HUB_EUI64
    joined.short_address = short_address(number)
    if number:
        joined.node_type = node_type
        joined.parent = short_address(parent)
    state.network = joined
    state.link_keys = [
        LinkKey(node_eui64(other), pair_key(number, other))
        for other in range(count)
        if other != number
    ]
    state.devices = {
        short_address(other): node_eui64(other) for other in range(1, count) if other != number
    }
    return state


class Mesh:
    """Nodes that hear each other as `links` says; node 0 is the coordinator."""

    def __init__(
        self,
        count: int,
        links: Collection[tuple[int, int]],
        *,
        air: Air | None = None,
        types: dict[int, NodeType] | None = None,
        link_status: bool = True,
    ) -> None:
        self.air = air or Air(1)
        self.nodes: list[StackHost] = []
        states: list[StackState] = []
        for number in range(count):
            before = [min(link) for link in links if max(link) == number]
            parent = max(before, default=0)
            node_type = (types or {}).get(number, NodeType.ROUTER)
            states.append(stored_node(number, count, parent, node_type))
            if node_type.is_end_device:
                child = Child(node_eui64(number), short_address(number), node_type, 15_360)
                states[parent].children.append(child)
        for number, state in enumerate(states):
            host = StackHost(self.air, f"node-{number}", state.eui64, state)
            if not link_status:
                host.stack.neighbours.period_us = 0
            self.nodes.append(host)
        heard = {frozenset(link) for link in links}
        for one, other in combinations(range(count), 2):
            if frozenset((one, other)) not in heard:
                self.air.medium.separate(f"node-{one}", f"node-{other}")
        for host in self.nodes:
            assert host.stack.resume() is Status.OK
        self.air.clock.run_until(lambda: all(host.stack.is_up for host in self.nodes), 10)
        # An end device may have more to say before it is at home.
        self.air.clock.run_for(1 if types else 0.01)

    def run(self, seconds: float) -> None:
        self.air.clock.run_for(seconds)

    def deliver(self, source: int, destination: int, payload: bytes = b"over the hills") -> None:
        """Send, and wait until it was acknowledged end to end."""
        one, other = self.nodes[source], self.nodes[destination]
        told = len(one.sent())
        assert one.send(other, payload, tag=told) is Status.OK
        self.air.clock.run_until(lambda: len(one.sent()) > told, 10)
        assert one.sent()[-1].status is Status.OK
        assert other.received()[-1] == payload


def line(count: int, **options: object) -> Mesh:
    """Each node hears the one before it and the one behind it."""
    return Mesh(count, [(at, at + 1) for at in range(count - 1)], **options)  # type: ignore[arg-type]


def ring(count: int, **options: object) -> Mesh:
    """A line whose ends hear each other."""
    return Mesh(count, [(at, (at + 1) % count) for at in range(count)], **options)  # type: ignore[arg-type]


def opened(psdu: bytes) -> tuple[NwkFrame, bytes] | None:
    """Header and payload of a secured NWK frame on the air, None for any other frame."""
    if psdu[0] & 7 != 1:
        return None
    frame = psdu[9:-2]
    header = nwk.parse(frame)
    if not header.secured:
        return None
    _, eui64, _ = nwk.parse_auxiliary(frame, header.header_octets)
    return header, nwk.open_sealed(KEY, frame, header.header_octets, eui64)


def commands(air: Air, identifier: int) -> list[tuple[NwkFrame, bytes]]:
    """Every NWK command of one kind on the air, what the MAC layer sent again only once."""
    found = []
    for psdu in dict.fromkeys(psdu for _, psdu in air.frames):
        frame = opened(psdu)
        if frame and frame[0].frame_type == nwk.TYPE_COMMAND and frame[1][0] == identifier:
            found.append(frame)
    return found
