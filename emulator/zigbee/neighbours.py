"""The nodes a node hears itself, and the Link Status by which routers tell whom they hear.

Source: ZigBee specification 05-3474, 3.4.8 and 3.6.3.4 (Link Status), 3.6.3.1 (link cost). Every
link of this air is as good as another, so the cost of one is 1; a router that does not name this
node in two Link Status does not hear it, and its requests are not listened to.

    a router heard before   event                            next      effect
    ----------------------  -------------------------------  --------  ---------------------
    (none)                  a frame of its own or passed on  KNOWN     sent to directly
    KNOWN                   Link Status                      KNOWN     costs, age 0
    KNOWN                   nwkRouterAgeLimit periods over   (none)    a route is looked for
    KNOWN                   it acknowledges nothing          (none)    a route is looked for
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.medium.timing import Cancellable
from emulator.zigbee import nwk, nwk_commands
from emulator.zigbee.events import NodeType
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.nwk_commands import Link

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

LINK_STATUS_PERIOD_US = 15_000_000  # nwkLinkStatusPeriod
AGE_LIMIT = 3  # nwkRouterAgeLimit
NEIGHBOUR_TABLE_SIZE = 16
MAX_HEARD = 64  # routers and others, whatever the table a host sees is configured to
MAX_LINKS_IN_FRAME = 26
LINK_COST = 1
_UNLISTED_LIMIT = 2


class Neighbour:
    """A node heard directly."""

    __slots__ = ("age", "is_named", "is_router", "outgoing_cost", "unlisted")

    def __init__(self) -> None:
        self.is_router = False  # it sent a Link Status, or asked for a route
        self.age = 0  # Link Status periods since its last one
        self.outgoing_cost = 0  # what it says it costs to reach it, 0 for unknown
        self.is_named = False  # whether the Link Status of it under way names this node
        self.unlisted = 0  # Link Status of it in a row that do not


class Neighbours:
    """Who is heard. `heard` is asked for every frame sent: whoever is in it is one hop away."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._timer: Cancellable | None = None
        self.heard: dict[int, Neighbour] = {}
        self.table_size = NEIGHBOUR_TABLE_SIZE
        self.period_us = LINK_STATUS_PERIOD_US
        self.is_router = False
        stack.command_handlers[nwk_commands.LINK_STATUS] = self._receive

    def come_up(self) -> None:
        network = self._stack.state.network
        assert network is not None
        self.clear()
        self.is_router = network.node_type in (NodeType.COORDINATOR, NodeType.ROUTER)
        if network.node_type is not NodeType.COORDINATOR and network.parent < nwk.LOWEST_BROADCAST:
            self.heard[network.parent] = Neighbour()
        if self.is_router and self.period_us:
            self._send_later()

    def clear(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.heard.clear()

    # -- who is heard --------------------------------------------------------------------------

    def hear(self, address: int) -> None:
        """A frame came from `address` itself. An end device speaks to its parent alone."""
        heard = self.heard
        if not self.is_router or address in heard or address >= nwk.LOWEST_BROADCAST:
            return
        if len(heard) >= MAX_HEARD:
            del heard[next(iter(heard))]
        heard[address] = Neighbour()
        self._stack.routing.way_found(address)

    def forget(self, address: int) -> None:
        """It does not answer, or it left. An end device keeps to its parent all the same."""
        if self.is_router:
            self.heard.pop(address, None)

    def routers(self) -> list[tuple[int, Neighbour]]:
        """The routers heard, as many as the neighbour table holds, by address."""
        routers = [entry for entry in self.heard.items() if entry[1].is_router]
        return sorted(routers, key=lambda entry: entry[0])[: self.table_size]

    def link_cost(self, address: int) -> int | None:
        """What it costs to reach a neighbour that just asked; None when it cannot hear us."""
        neighbour = self.heard.get(address)
        if neighbour is None or neighbour.unlisted >= _UNLISTED_LIMIT:
            return None
        neighbour.is_router = True
        return LINK_COST

    # -- Link Status ---------------------------------------------------------------------------

    def _send_later(self) -> None:
        clock = self._stack.clock
        # A quarter of the period as jitter: routers that started together do not speak together.
        jitter_us = self._stack.random_bits(12) * self.period_us >> 14
        when_us = clock.now_us() + self.period_us * 7 // 8 + jitter_us
        self._timer = clock.call_at_us(when_us, self._send)

    def _send(self) -> None:
        stack = self._stack
        if not stack.is_up:
            return
        for address, neighbour in list(self.heard.items()):
            if neighbour.is_router:
                neighbour.age += 1
                if neighbour.age > AGE_LIMIT:
                    stack.routing.hop_failed(address)
        links = [
            Link(address, LINK_COST, neighbour.outgoing_cost)
            for address, neighbour in self.routers()
        ]
        for part in nwk_commands.split_links(links, MAX_LINKS_IN_FRAME):
            stack.send_command(nwk.BROADCAST_ROUTERS, nwk_commands.build_link_status(part))
        self._send_later()

    def _receive(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        child = self._stack.children.of_address(header.source)
        if child is not None and mac_source == header.source:
            self._stack.children.remove(child)  # end devices send none: another was taken for it
        neighbour = self.heard.get(header.source)
        if neighbour is None or mac_source != header.source or not self.is_router:
            return
        try:
            status = nwk_commands.parse_link_status(command)
        except NwkError:
            self._stack.undecodable += 1
            return
        neighbour.is_router = True
        neighbour.age = 0
        if status.first:
            neighbour.is_named = False
        own = self._stack.short_address
        for link in status.links:
            if link.address == own:
                neighbour.outgoing_cost = link.incoming_cost
                neighbour.is_named = True
        if neighbour.is_named:
            neighbour.unlisted = 0
        elif status.last and len(status.links) < NEIGHBOUR_TABLE_SIZE:
            # A full table may have no room for this node, which is heard all the same.
            neighbour.outgoing_cost = 0
            neighbour.unlisted += 1
