"""How a node finds the next hop to a node it does not hear: route discovery and repair.

Source: ZigBee specification 05-3474, 3.6.3.3 (where a frame goes), 3.6.3.5 (route discovery),
3.6.3.6 (maintenance), 3.4.1 to 3.4.3 and 3.4.5 (commands). Links are taken for symmetrical, as the
PRO stack profile says (nwkSymLink): a request leaves a route to its originator behind it.

    a destination  event                              next       effect
    -------------  ---------------------------------  ---------  --------------------------------
    UNKNOWN        a frame for it                     SOUGHT     Route Request, the frame waits
    SOUGHT         nwkcRREQRetryInterval over         SOUGHT     Route Request again, twice
    SOUGHT         Route Reply, or heard from it      KNOWN      the frames leave in their order
    SOUGHT         DISCOVERY_US over                  UNKNOWN    the frames fail
    KNOWN          a better Route Reply               KNOWN      the next hop changes
    KNOWN          next hop silent, Network Status,   UNKNOWN
                   no APS acknowledgement

A Route Request goes from router to router, each adds what its link costs, and passes on only what
is cheaper than before. The destination, or its parent, replies along the way the request came.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, NamedTuple

from emulator.medium.timing import Cancellable
from emulator.zigbee import nwk, nwk_commands
from emulator.zigbee.address_conflicts import AddressConflicts
from emulator.zigbee.concentrator import Concentrator
from emulator.zigbee.events import ManyToOneRequest, NetworkStatusHeard, RouteRecordHeard
from emulator.zigbee.mac_link import Done, SendResult
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.nwk_commands import (
    ManyToOne,
    NetworkStatusCode,
    RouteRecord,
    RouteReply,
    RouteRequest,
)
from emulator.zigbee.routing_tables import (
    REQUEST_MEMORY_US,
    Request,
    Requests,
    Routes,
    SourceRoutes,
)

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

REQUEST_ATTEMPTS = 3  # nwkcInitialRREQRetries
REQUEST_INTERVAL_US = 254_000  # nwkcRREQRetryInterval
DISCOVERY_US = 1_500_000  # shorter than apscAckWaitDuration: the next try looks anew
JITTER_UNIT_US = 2_000  # 2 x nwkcMinRREQJitter; 1 to 64 of them
MAX_DISCOVERIES = 8
MAX_WAITING_FRAMES = 16

_NO_RELAYS: tuple[int, ...] = ()
_SOURCE_ROUTE_OCTETS = 2  # relay count and index
_RELAY_OCTETS = 2


class Way(NamedTuple):
    """The next hop, and the relays of a source route, the one nearest to the destination first."""

    next_hop: int
    relays: tuple[int, ...] = _NO_RELAYS


class _Waiting(NamedTuple):
    send: Callable[[], object]
    done: Done | None


class _Discovery:
    __slots__ = ("attempts", "timer", "until_us", "waiting")

    def __init__(self, until_us: int) -> None:
        self.attempts = 0
        self.until_us = until_us
        self.timer: Cancellable | None = None
        self.waiting: list[_Waiting] = []


class Routing:
    """Finds ways for one stack's frames, and helps others to find theirs."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._request_id = stack.random_bits(8)
        self._discoveries: dict[int, _Discovery] = {}
        self.routes = Routes()
        self.requests = Requests()
        self.source_routes = SourceRoutes()
        self.concentrator = Concentrator(stack)
        self.conflicts = AddressConflicts(stack)
        self.end_devices: Container[int] = ()
        """Addresses of this node's own end device children: it answers requests for them."""
        stack.command_handlers[nwk_commands.ROUTE_REPLY] = self._receive_reply
        stack.command_handlers[nwk_commands.NETWORK_STATUS] = self._receive_status
        stack.command_handlers[nwk_commands.ROUTE_RECORD] = self._receive_record

    def come_up(self) -> None:
        self.clear()
        self.concentrator.come_up()

    def clear(self) -> None:
        for discovery in self._discoveries.values():
            if discovery.timer is not None:
                discovery.timer.cancel()
        self._discoveries.clear()
        self.concentrator.stop()
        self.routes.clear()
        self.requests.clear()
        self.source_routes.clear()

    # -- ways ----------------------------------------------------------------------------------

    def way_to(self, destination: int, octets: int) -> Way | None:
        """The way for a message with `octets` of NWK payload, None when it has to be looked for.

        What does not fit with its relays beside it takes the routing table's way. A concentrator
        is told first by which way its answers may come.
        """
        if destination not in self._stack.neighbours.heard:
            relays = self.source_routes.get(destination)
            if relays and octets + source_route_octets(relays) <= nwk.MAX_PAYLOAD_OCTETS:
                return Way(relays[-1], relays)
        next_hop = self.hop_to(destination)
        if next_hop is None:
            return None
        if next_hop != destination:
            route = self.routes.get(destination)
            if route is not None and route.record_needed:
                route.record_needed = route.many_to_one is ManyToOne.WITHOUT_ROUTE_RECORDS
                record = nwk_commands.build_route_record(RouteRecord(()))
                self._stack.send_command(destination, record, radius=nwk.MAX_RADIUS)
        return Way(next_hop)

    def hop_to(self, destination: int) -> int | None:
        """The next hop towards `destination` without a source route, None when it is not known."""
        neighbours = self._stack.neighbours
        if destination in neighbours.heard or destination in self.end_devices:
            return destination
        if not neighbours.is_router:
            network = self._stack.state.network
            assert network is not None
            return network.parent
        route = self.routes.get(destination)
        if route is not None:
            return route.next_hop
        return destination if self.source_routes.get(destination) == () else None

    def overhead_octets(self, destination: int) -> int:
        """How many octets the source route to `destination` takes from what a frame can hold."""
        if destination in self._stack.neighbours.heard or not self._stack.neighbours.is_router:
            return 0
        relays = self.source_routes.get(destination)
        return 0 if relays is None else source_route_octets(relays)

    def forget(self, address: int) -> None:
        """Forget all ways to a node: it left, it has another address, or a host wants a new way."""
        self._stack.neighbours.forget(address)
        self.routes.forget(address)
        self.source_routes.forget(address)

    def hop_failed(self, next_hop: int) -> None:
        """A neighbour acknowledges nothing, or was not heard for long."""
        if next_hop in self.end_devices:
            return  # it sleeps, or will come back: only its parent can reach it
        self._stack.neighbours.forget(next_hop)
        self.routes.forget_through(next_hop)
        if self.source_routes.get(next_hop) == ():
            self.source_routes.forget(next_hop)

    def unacknowledged(self, destination: int) -> None:
        """No APS acknowledgement came: a way of several hops may be broken where nobody tells."""
        if destination not in self._stack.neighbours.heard:
            self.routes.forget(destination)
            self.source_routes.forget(destination)

    # -- finding a route -----------------------------------------------------------------------

    def discover(self, destination: int, send: Callable[[], object], done: Done | None) -> None:
        """Look for a way to `destination`; `send()` when it is found, else `done(NO_ACK)`."""
        stack = self._stack
        discovery = self._discoveries.get(destination)
        waiting = sum(len(other.waiting) for other in self._discoveries.values())
        if waiting >= MAX_WAITING_FRAMES or (
            discovery is None and len(self._discoveries) >= MAX_DISCOVERIES
        ):
            if done is not None:
                stack.clock.call_at_us(stack.clock.now_us(), done, SendResult.QUEUE_FULL)
            return
        begin = discovery is None
        if discovery is None:
            discovery = _Discovery(stack.clock.now_us() + DISCOVERY_US)
            self._discoveries[destination] = discovery
        discovery.waiting.append(_Waiting(send, done))
        if begin:
            self._ask(destination)

    def _ask(self, destination: int) -> None:
        discovery = self._discoveries.get(destination)
        if discovery is None:
            return
        clock = self._stack.clock
        now_us = clock.now_us()
        if now_us >= discovery.until_us:
            del self._discoveries[destination]
            for waiting in discovery.waiting:
                if waiting.done is not None:
                    waiting.done(SendResult.NO_ACK)
            return
        if discovery.attempts < REQUEST_ATTEMPTS:
            discovery.attempts += 1
            self.send_request(destination)
            next_us = min(now_us + REQUEST_INTERVAL_US, discovery.until_us)
        else:
            next_us = discovery.until_us
        discovery.timer = clock.call_at_us(next_us, self._ask, destination)

    def send_request(
        self,
        destination: int,
        many_to_one: ManyToOne = ManyToOne.NO,
        radius: int = nwk.MAX_RADIUS,
    ) -> None:
        """Broadcast a Route Request of this node's own."""
        stack = self._stack
        self._request_id = request_id = (self._request_id + 1) & 0xFF
        if many_to_one is ManyToOne.NO:
            now_us = stack.clock.now_us()
            own = stack.short_address
            request = Request(request_id, own, 0, now_us + REQUEST_MEMORY_US)
            self.requests.put(own, destination, request, now_us, is_own=True)
        command = nwk_commands.build_route_request(
            RouteRequest(request_id, destination, 0, many_to_one)
        )
        stack.send_command(nwk.BROADCAST_ROUTERS, command, radius=radius)

    def way_found(self, destination: int) -> None:
        """There is a way to `destination` now: what waited for it leaves."""
        discovery = self._discoveries.pop(destination, None)
        if discovery is None:
            return
        if discovery.timer is not None:
            discovery.timer.cancel()
        for waiting in discovery.waiting:
            waiting.send()

    # -- others' requests ----------------------------------------------------------------------

    def receive_request(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        """A Route Request came by: reply, pass it on, or let it be."""
        stack = self._stack
        own = stack.short_address
        originator = header.source
        if not stack.neighbours.is_router or originator == own:
            return
        try:
            asked = nwk_commands.parse_route_request(command)
        except NwkError:
            stack.undecodable += 1
            return
        link_cost = stack.neighbours.link_cost(mac_source)
        if link_cost is None or asked.path_cost + link_cost > 0xFF:
            return
        cost = asked.path_cost + link_cost
        now_us = stack.clock.now_us()
        request = self.requests.get(originator, asked.destination, now_us)
        if request is not None and request.request_id == asked.request_id:
            if cost >= request.cost:
                return
            request.sender, request.cost = mac_source, cost
        elif request is not None and (asked.request_id - request.request_id) & 0x80:
            return  # a late copy of an earlier one
        else:
            until_us = now_us + REQUEST_MEMORY_US
            request = Request(asked.request_id, mac_source, cost, until_us)
            key = (originator, asked.destination)
            if not self.requests.put(*key, request, now_us, is_own=False):
                return
        self._keep_way_back(header, asked, mac_source, cost)
        if asked.destination == own or asked.destination in self.end_devices:
            if asked.many_to_one is ManyToOne.NO:
                self._reply(request, header, asked.destination)
            return
        if stack.relaying.is_on and header.radius > 1 and not request.is_waiting:
            request.is_waiting = True
            wait_us = (1 + stack.random_bits(6)) * JITTER_UNIT_US
            stack.clock.call_at_us(now_us + wait_us, self._pass_on, request, header, asked)

    def _keep_way_back(
        self, header: NwkFrame, asked: RouteRequest, mac_source: int, cost: int
    ) -> None:
        stack = self._stack
        originator = header.source
        if asked.many_to_one is not ManyToOne.NO:
            route = self.routes.put(originator, mac_source)
            route.many_to_one = asked.many_to_one
            route.record_needed = True
            stack.on_event(ManyToOneRequest(originator, header.source_ieee, cost))
        elif originator not in stack.neighbours.heard:
            self.routes.put(originator, mac_source)
        self.way_found(originator)

    def _pass_on(self, request: Request, header: NwkFrame, asked: RouteRequest) -> None:
        request.is_waiting = False
        if self._stack.is_up:
            command = nwk_commands.build_route_request(asked._replace(path_cost=request.cost))
            onward = header._replace(radius=header.radius - 1)
            self._stack.forward(onward, command, nwk.BROADCAST_ALL)

    def _reply(self, request: Request, header: NwkFrame, responder: int) -> None:
        stack = self._stack
        eui64 = stack.eui64_of(responder)
        responder_ieee = None if eui64 is None else int.from_bytes(eui64, "little")
        reply = RouteReply(
            request.request_id, header.source, responder, 0, header.source_ieee, responder_ieee
        )
        command = nwk_commands.build_route_reply(reply)
        stack.send_command(request.sender, command, radius=nwk.MAX_RADIUS)

    def _receive_reply(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        stack = self._stack
        try:
            reply = nwk_commands.parse_route_reply(command)
        except NwkError:
            stack.undecodable += 1
            return
        now_us = stack.clock.now_us()
        request = self.requests.get(reply.originator, reply.responder, now_us)
        cost = reply.path_cost + 1
        if (
            header.destination != stack.short_address
            or request is None
            or request.request_id != reply.request_id
            or mac_source == request.sender
            or mac_source not in stack.neighbours.heard
            or cost >= request.reply_cost
        ):
            return
        request.reply_cost = cost
        stack.learn_address(reply.responder, reply.responder_ieee)
        if reply.responder not in stack.neighbours.heard:
            self.routes.put(reply.responder, mac_source)
        if reply.originator == stack.short_address:
            self.way_found(reply.responder)
            return
        stack.learn_address(reply.originator, reply.originator_ieee)
        onward = nwk_commands.build_route_reply(reply._replace(path_cost=cost))
        stack.send_command(request.sender, onward, radius=header.radius - 1)

    # -- what others tell ----------------------------------------------------------------------

    def _receive_status(self, command: bytes, header: NwkFrame, _mac_source: int) -> None:
        stack = self._stack
        try:
            status, address = nwk_commands.parse_network_status(command)
        except NwkError:
            stack.undecodable += 1
            return
        if status == NetworkStatusCode.ADDRESS_CONFLICT:
            self.conflicts.told(address)
            return
        if header.destination != stack.short_address:
            return
        self.routes.forget(address)
        self.source_routes.forget(address)
        self.concentrator.route_failed()
        stack.on_event(NetworkStatusHeard(status, address))

    def tell_failure(self, header: NwkFrame, status: NetworkStatusCode) -> None:
        """Tell who sent a frame that it could not be passed on, where a way to it is known."""
        command = nwk_commands.build_network_status(
            nwk_commands.NetworkStatus(status, header.destination)
        )
        if self.hop_to(header.source) is not None:
            self._stack.send_command(header.source, command, radius=nwk.MAX_RADIUS)

    def _receive_record(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        stack = self._stack
        source = header.source
        try:
            relays = nwk_commands.parse_route_record(command).relays
        except NwkError:
            stack.undecodable += 1
            return
        nodes = (source, *relays, stack.short_address)
        if header.destination != nodes[-1] or nodes[-2] != mac_source or not are_a_way(nodes):
            return
        if self.concentrator.keeps_records:
            self.source_routes.put(source, relays)
            self.way_found(source)
        stack.on_event(RouteRecordHeard(source, header.source_ieee, relays))


def are_a_way(nodes: tuple[int, ...]) -> bool:
    """Whether a frame can go from the first node to the last: no address twice, all of nodes."""
    return len(set(nodes)) == len(nodes) and max(nodes) < nwk.LOWEST_BROADCAST


def source_route_octets(relays: tuple[int, ...]) -> int:
    """What a source route takes of a frame (3.3.1.9: count, index, relays); nothing without one."""
    return _SOURCE_ROUTE_OCTETS + _RELAY_OCTETS * len(relays) if relays else 0


def hops(octets: int) -> int:
    """How far it is by a source route that takes so many octets of a frame."""
    return 1 + (octets - _SOURCE_ROUTE_OCTETS) // _RELAY_OCTETS if octets else 1
