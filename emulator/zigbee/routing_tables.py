"""What a node knows of ways through its network: routes, requests it saw, ways from a concentrator.

Source: ZigBee specification 05-3474, 3.6.3.2 (routing and route discovery tables), 3.6.3.4 (the
route record table of a concentrator). All tables have a size; sizes are EmberZNet's defaults until
a host sets its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from emulator.zigbee.nwk_commands import MAX_RELAYS, ManyToOne

ROUTE_TABLE_SIZE = 16
DISCOVERY_TABLE_SIZE = 8
SOURCE_ROUTE_TABLE_SIZE = 2

REQUEST_MEMORY_US = 2_000_000
"""A request has crossed the network long before: every hop waits 128 ms at most."""


class Route:
    """The next hop towards one destination."""

    __slots__ = ("destination", "many_to_one", "next_hop", "record_needed")

    def __init__(self, destination: int, next_hop: int) -> None:
        self.destination = destination
        self.next_hop = next_hop
        self.many_to_one = ManyToOne.NO
        self.record_needed = False


class Routes:
    """Routing table; when it is full, the route longest unused makes room."""

    def __init__(self) -> None:
        self.size = ROUTE_TABLE_SIZE
        self._routes: OrderedDict[int, Route] = OrderedDict()

    def __len__(self) -> int:
        return len(self._routes)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def clear(self) -> None:
        self._routes.clear()

    def get(self, destination: int) -> Route | None:
        """The route to `destination`, in use now."""
        route = self._routes.get(destination)
        if route is not None:
            self._routes.move_to_end(destination)
        return route

    def put(self, destination: int, next_hop: int) -> Route:
        """Remember the way; whether `destination` is a concentrator stays what it was."""
        route = self._routes.get(destination)
        if route is None:
            while self._routes and len(self._routes) >= self.size:
                self._routes.popitem(last=False)
            route = self._routes[destination] = Route(destination, next_hop)
        route.next_hop = next_hop
        self._routes.move_to_end(destination)
        return route

    def forget(self, destination: int) -> None:
        self._routes.pop(destination, None)

    def forget_through(self, next_hop: int) -> None:
        """Forget every route by way of a node that does not answer any more."""
        for route in [route for route in self._routes.values() if route.next_hop == next_hop]:
            del self._routes[route.destination]


class Request:
    """A Route Request this node sent or passed on: where it came from, and at what cost."""

    __slots__ = ("cost", "is_waiting", "reply_cost", "request_id", "sender", "until_us")

    def __init__(self, request_id: int, sender: int, cost: int, until_us: int) -> None:
        self.request_id = request_id
        self.sender = sender
        self.cost = cost
        self.until_us = until_us
        self.reply_cost = 0xFF  # of the best reply yet
        self.is_waiting = False  # to be passed on, after its jitter


class Requests:
    """Route discovery table: one request for each pair of originator and destination."""

    def __init__(self) -> None:
        self.size = DISCOVERY_TABLE_SIZE
        self._requests: OrderedDict[tuple[int, int], Request] = OrderedDict()

    def clear(self) -> None:
        self._requests.clear()

    def get(self, originator: int, destination: int, now_us: int) -> Request | None:
        request = self._requests.get((originator, destination))
        return request if request is not None and now_us < request.until_us else None

    def put(
        self, originator: int, destination: int, request: Request, now_us: int, *, is_own: bool
    ) -> bool:
        """Remember a request; False when the table is full of others still under way. One of this
        node's own takes the place of the oldest then.
        """
        key = (originator, destination)
        if key not in self._requests and len(self._requests) >= self.size:
            past = [key for key, old in self._requests.items() if now_us >= old.until_us]
            for old in past:
                del self._requests[old]
            if not past and not is_own:
                return False
            if not past and self._requests:
                self._requests.popitem(last=False)
        self._requests[key] = request
        return True


class SourceRoutes:
    """The ways from a concentrator, as a tree: of every node, the next one closer to it.

    That is the form in which EmberZNet keeps them and tells a host of them. It has no rings: what
    is put last leads to the concentrator, and all else leads there or into that.
    """

    def __init__(self) -> None:
        self.size = SOURCE_ROUTE_TABLE_SIZE
        self._closer: OrderedDict[int, int | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._closer)

    def clear(self) -> None:
        self._closer.clear()

    def put(self, destination: int, relays: tuple[int, ...]) -> bool:
        """Remember the way to `destination`, the relay nearest to it first; False when it has
        more nodes than the table has room for.
        """
        chain = (destination, *relays)
        if len(chain) > self.size:
            return False
        closer = self._closer
        for node, next_closer in zip(chain, (*relays, None), strict=True):
            closer[node] = next_closer
            closer.move_to_end(node)
        while len(closer) > self.size:
            closer.popitem(last=False)
        return True

    def get(self, destination: int) -> tuple[int, ...] | None:
        """The relays to `destination`, the one nearest to it first; None when no way is known."""
        relays: list[int] = []
        node = destination
        while node in self._closer and len(relays) <= MAX_RELAYS:
            closer = self._closer[node]
            if closer is None:
                return tuple(relays)
            relays.append(closer)
            node = closer
        return None

    def forget(self, node: int) -> None:
        """Forget the way to `node`, and with it all ways that go by it."""
        self._closer.pop(node, None)

    def entries(self) -> list[tuple[int, int | None]]:
        """Every node and the index of the one closer, as EZSP tells it."""
        index = {node: at for at, node in enumerate(self._closer)}
        return [
            (node, None if closer is None else index.get(closer))
            for node, closer in self._closer.items()
        ]
