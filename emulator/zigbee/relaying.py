"""What a router does with frames that are not for it, or not for it alone: it passes them on.

Source: ZigBee specification 05-3474, 3.6.3.3 (relaying unicasts, with and without a source route),
3.6.5 (broadcasts), 3.6.3.6 (failures). Every hop opens a frame and secures it anew, with its own
counter and EUI-64; what is kept is the NWK header, its radius one less.

    a unicast     event                            next       effect
    ------------  -------------------------------  ---------  ---------------------------------
    (none)        its next hop is known            UNDER_WAY  handed to the MAC layer
    (none)        it is not                        SOUGHT     the relay looks for a route
    SOUGHT        found                            UNDER_WAY  handed to the MAC layer
    SOUGHT        not found                        (gone)     Network Status to its sender
    UNDER_WAY     acknowledged by the next hop     (gone)
    UNDER_WAY     not, nwkcUnicastRetries left     UNDER_WAY  again, secured anew
    UNDER_WAY     not, none left                   (gone)     Network Status to its sender

A broadcast is repeated once, after a jitter, by each router; who has heard it does so no second
time, and nobody waits for others to repeat it (no passive acknowledgement).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from emulator.zigbee import nwk, nwk_commands
from emulator.zigbee.mac_link import SendResult
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.nwk_commands import ManyToOne, NetworkStatusCode, RouteRecord
from emulator.zigbee.routing import are_a_way

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

RELAY_RETRIES = 3  # nwkcUnicastRetries
RELAY_RETRY_DELAY_US = 50_000  # nwkcUnicastRetryDelay
JITTER_UNIT_US = 1_000  # a broadcast waits 0 to 63 of them, nwkcMaxBroadcastJitter
MAX_RELAYED = 16  # unicasts passed on at a time
MAX_REPEATS = 16  # broadcasts that wait for their jitter


class Relaying:
    """Passes on what others send by way of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._under_way = 0
        self._repeats = 0
        self.is_enabled = True
        """A host may forbid it (CONFIG_DISABLE_RELAY)."""

    @property
    def is_on(self) -> bool:
        """Whether this node passes frames on: end devices never do."""
        return self.is_enabled and self._stack.neighbours.is_router

    def clear(self) -> None:
        self._under_way = self._repeats = 0

    # -- broadcasts ----------------------------------------------------------------------------

    def repeat(self, header: NwkFrame, payload: bytes) -> None:
        """A broadcast heard for the first time: say it once more, a little later."""
        if not self.is_on or header.radius <= 1 or header.control & nwk.MULTICAST:
            return
        if self._repeats >= MAX_REPEATS:
            return
        self._repeats += 1
        stack = self._stack
        when_us = stack.clock.now_us() + stack.random_bits(6) * JITTER_UNIT_US
        onward = header._replace(radius=header.radius - 1)
        stack.clock.call_at_us(when_us, self._repeat, onward, payload)

    def _repeat(self, onward: NwkFrame, payload: bytes) -> None:
        if self._stack.is_up and self._repeats:
            self._repeats -= 1
            self._stack.forward(onward, payload, nwk.BROADCAST_ALL)

    # -- unicasts ------------------------------------------------------------------------------

    def relay(self, header: NwkFrame, payload: bytes, mac_source: int) -> None:
        """A unicast for another node was handed to this one: hand it to the next."""
        own = self._stack.short_address
        ends = (header.source, header.destination)
        if (
            not self.is_on
            or header.radius <= 1
            or header.control & nwk.MULTICAST
            or own in ends
            or self._under_way >= MAX_RELAYED
        ):
            return
        onward = header._replace(radius=header.radius - 1)
        next_hop = None
        if header.relays:
            at = header.relay_index
            if not are_a_way((*ends, *header.relays)) or header.relays[at] != own:
                return
            next_hop = header.relays[at - 1] if at else header.destination
            onward = onward._replace(relay_index=max(at - 1, 0))
        elif header.frame_type == nwk.TYPE_COMMAND and payload[:1] == _RECORD:
            try:
                before = nwk_commands.parse_route_record(payload).relays
            except NwkError:
                self._stack.undecodable += 1
                return
            nodes = (header.source, *before)
            if nodes[-1] != mac_source or not are_a_way((*nodes, own, header.destination)):
                return
            if len(before) >= nwk_commands.MAX_RELAYS:
                return
            payload = nwk_commands.build_route_record(RouteRecord((*before, own)))
        self._under_way += 1
        self._hand_on(onward, payload, next_hop, RELAY_RETRIES)

    def _hand_on(
        self, onward: NwkFrame, payload: bytes, next_hop: int | None, retries: int
    ) -> None:
        stack = self._stack
        if not stack.is_up:
            return
        hop = next_hop
        if hop is None:
            hop = stack.routing.hop_to(onward.destination)
            if hop is None:
                go_on = partial(self._hand_on, onward, payload, None, retries)
                stack.routing.discover(onward.destination, go_on, partial(self._not_found, onward))
                return
        if onward.destination in stack.routing.end_devices:
            # It may sleep for seconds: its frame waits in the MAC, and nothing waits for it here.
            self._end()
            stack.forward(onward, payload, hop)
            return
        ended = partial(self._handed_on, onward, payload, next_hop, hop, retries)
        stack.forward(onward, payload, hop, ended)

    def _not_found(self, onward: NwkFrame, _result: SendResult) -> None:
        self._end()
        self._stack.routing.tell_failure(onward, NetworkStatusCode.NO_ROUTE_AVAILABLE)

    def _handed_on(
        self,
        onward: NwkFrame,
        payload: bytes,
        next_hop: int | None,
        hop: int,
        retries: int,
        result: SendResult,
    ) -> None:
        stack = self._stack
        if not stack.is_up:
            return
        if result in (SendResult.OK, SendResult.EXPIRED):
            self._end()
        elif retries:
            when_us = stack.clock.now_us() + RELAY_RETRY_DELAY_US
            again = (onward, payload, next_hop, retries - 1)
            stack.clock.call_at_us(when_us, self._hand_on, *again)
        else:
            self._end()
            self._failed(onward, hop)

    def _failed(self, onward: NwkFrame, hop: int) -> None:
        routing = self._stack.routing
        status = NetworkStatusCode.NON_TREE_LINK_FAILURE
        if onward.relays:
            status = NetworkStatusCode.SOURCE_ROUTE_FAILURE
        else:
            route = routing.routes.get(onward.destination)
            if route is not None and route.many_to_one is not ManyToOne.NO:
                status = NetworkStatusCode.MANY_TO_ONE_ROUTE_FAILURE
        routing.hop_failed(hop)
        routing.tell_failure(onward, status)

    def _end(self) -> None:
        if self._under_way:
            self._under_way -= 1


_RECORD = bytes((nwk_commands.ROUTE_RECORD,))
