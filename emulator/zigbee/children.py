"""A parent's half: the end devices it answers for, what it holds for them, when it forgets them.

Source: ZigBee specification 05-3474, 3.6.1.10 (leaving), 3.6.10 (ageing of end devices). A stranger
that polls is told to leave and come back, as EmberZNet does. Only what comes under the network key
proves a newcomer. How children come in is in newcomers.py.

    child     event                              next     effect
    --------  ---------------------------------  -------  -------------------------------------
    (none)    it associates                      UNPROVEN ChildJoined
    (none)    it rejoins under the network key   PROVEN   ChildJoined
    (none)    it rejoins without                 UNPROVEN ChildJoined
    (none)    Data Request                       (none)   Leave with request and rejoin
    UNPROVEN  anything under the network key     PROVEN
    UNPROVEN  10 s over, or denied               (none)   ChildJoined(joining=False)
    PROVEN    Data Request, End Device Timeout   PROVEN   its timeout begins anew
    PROVEN    timeout over, Leave, heard
              behind another parent, removed     (none)   ChildJoined(joining=False)
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from emulator.medium.timing import Cancellable
from emulator.zigbee import rejoin_commands
from emulator.zigbee.events import ChildJoined, ChildPolled, NodeType
from emulator.zigbee.mac_link import SendResult
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.rejoin_commands import (
    TIMEOUTS_S,
    TimeoutResponse,
    TimeoutStatus,
)
from emulator.zigbee.state import Child

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

MAX_CHILDREN = 32  # EZSP_CONFIG_MAX_END_DEVICE_CHILDREN, EmberZNet's default
DEFAULT_TIMEOUT = 8  # index of TIMEOUTS_S: 256 minutes
PROOF_US = 10_000_000


class Children:
    """The child table of one stack, and what its MAC needs to know of it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.max_children = MAX_CHILDREN
        self.timeout = DEFAULT_TIMEOUT  # of a child that has not asked for one, and asked for here
        self.tells_of_polls = False
        self._due_us: dict[int, int] = {}  # short address of every child: when it is forgotten
        self._unproven: set[int] = set()
        self._watch: Cancellable | None = None
        self._watch_us = 0
        stack.mac.on_poll = self._polled
        stack.command_handlers[rejoin_commands.COMMAND_TIMEOUT_REQUEST] = self._timeout_asked

    def load(self) -> None:
        """The stack has come up: the children it remembers begin their timeouts."""
        self.clear()
        if not self.is_parent:
            self._stack.state.children.clear()
            return
        for child in self._stack.state.children:
            if child is not None:
                self._begin(child)

    def clear(self) -> None:
        """No network, or no power: nobody is a child here; what is stored stays."""
        self._due_us.clear()
        self._unproven.clear()
        self._stack.mac.forget_children()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    @property
    def is_parent(self) -> bool:
        """Whether this node may have children."""
        network = self._stack.state.network
        return network is not None and not network.node_type.is_end_device

    # -- the table -----------------------------------------------------------------------------

    @property
    def addresses(self) -> Container[int]:
        """The short addresses of all children, as they come and go."""
        return self._due_us

    @property
    def count(self) -> int:
        """How many children there are."""
        return len(self._due_us)

    @property
    def has_room(self) -> bool:
        """Whether one more end device may become a child."""
        return self.count < self.max_children

    def has(self, short_address: int) -> bool:
        """Whether a child has this short address."""
        return short_address in self._due_us

    def at(self, index: int) -> Child | None:
        """The child at an index of the table."""
        table = self._stack.state.children
        return table[index] if index < len(table) else None

    def remaining_ms(self, child: Child) -> int:
        """How long until a child is forgotten if it keeps silent."""
        due_us = self._due_us.get(child.short_address, 0)
        return max(0, due_us - self._stack.clock.now_us()) // 1000

    def of_eui64(self, eui64: int) -> Child | None:
        """The child with this EUI-64."""
        return next((c for c in self._stack.state.children if c and c.eui64 == eui64), None)

    def of_address(self, short_address: int) -> Child | None:
        """The child with this short address."""
        if short_address not in self._due_us:
            return None
        return next(
            (c for c in self._stack.state.children if c and c.short_address == short_address), None
        )

    def put(self, index: int, child: Child) -> None:
        """The host restores a child at an index of the table."""
        table = self._stack.state.children
        old = self.at(index)
        if old is not None:
            self._forget(old)
        table.extend([None] * (index + 1 - len(table)))
        table[index] = child
        self._stack.save()
        if self._stack.is_up:
            self._begin(child)

    def add(self, eui64: int, short_address: int, node_type: NodeType, *, proven: bool) -> None:
        table = self._stack.state.children
        child = Child(eui64, short_address, node_type, TIMEOUTS_S[self.timeout])
        known = self.of_eui64(eui64)
        if known is not None:
            index = table.index(known)
            self._forget(known)
        else:
            index = next((i for i, entry in enumerate(table) if entry is None), len(table))
        if index == len(table):
            table.append(None)
        table[index] = child
        self._begin(child)
        if not proven:
            self._unproven.add(short_address)
            self._set_due(short_address, PROOF_US)
        self._stack.save()
        self._stack.on_event(ChildJoined(index, True, short_address, eui64, node_type))

    def _begin(self, child: Child) -> None:
        if child.node_type.sleeps:
            self._stack.mac.sleepers.add(child.short_address)
        self._set_due(child.short_address, child.timeout_s * 1_000_000)

    def _forget(self, child: Child) -> None:
        mac_link = self._stack.mac
        mac_link.sleepers.discard(child.short_address)
        mac_link.held.drop(child.short_address)
        self._stack.neighbours.forget(child.short_address)
        self._due_us.pop(child.short_address, None)
        self._unproven.discard(child.short_address)

    def remove(self, child: Child) -> None:
        """It is no child of this node any more; it is not told."""
        self._forget(child)
        table = self._stack.state.children
        index = table.index(child)
        table[index] = None
        self._stack.save()
        self._stack.on_event(
            ChildJoined(index, False, child.short_address, child.eui64, child.node_type)
        )

    # -- ageing --------------------------------------------------------------------------------

    def _set_due(self, short_address: int, wait_us: int) -> None:
        self._due_us[short_address] = due_us = self._stack.clock.now_us() + wait_us
        if self._watch is None or due_us < self._watch_us:
            self._set_watch(due_us)

    def _set_watch(self, due_us: int) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch_us = due_us
        self._watch = self._stack.clock.call_at_us(due_us, self._look)

    def _look(self) -> None:
        """One timer watches all children; most were heard long before it looks."""
        now_us = self._stack.clock.now_us()
        for short_address in [one for one, due_us in self._due_us.items() if due_us <= now_us]:
            child = self.of_address(short_address)
            if child is not None:
                self.remove(child)
        self._watch = None
        if self._due_us:
            self._set_watch(min(self._due_us.values()))

    def _polled(self, short_address: int) -> bool:
        stack = self._stack
        if not stack.is_up or not self.is_parent:
            return False
        if short_address not in self._due_us:
            if short_address in stack.mac.sleepers:
                return False  # it rejoins, and asks at its old address for the new one
            options = rejoin_commands.LEAVE_REQUEST | rejoin_commands.LEAVE_REJOIN
            stack.send_command(short_address, rejoin_commands.leave(options))
            return True
        if short_address not in self._unproven:
            child = self.of_address(short_address)
            assert child is not None
            self._set_due(short_address, child.timeout_s * 1_000_000)
        if self.tells_of_polls:
            stack.on_event(ChildPolled(short_address, stack.mac.held.count(short_address) > 0))
        return False

    def proven(self, short_address: int) -> None:
        """A frame of a child came under the network key."""
        child = self.of_address(short_address)
        if child is not None:
            self._unproven.discard(short_address)
            self._set_due(short_address, child.timeout_s * 1_000_000)

    def announced(self, short_address: int, eui64: int, *, is_router: bool = False) -> None:
        """A node announced itself: a child at another address has another parent, and a router is
        nobody's child: who associated in its name was another.
        """
        child = self.of_eui64(eui64)
        if child is None:
            return
        if child.short_address == short_address and not is_router:
            self.proven(short_address)
        else:
            self.remove(child)

    def heard_behind_another(self, short_address: int) -> None:
        """A frame of this source came by way of another node: whose child it is now."""
        child = self.of_address(short_address)
        if child is not None:
            self.remove(child)

    def _timeout_asked(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        stack = self._stack
        child = self.of_address(header.source)
        if child is None or mac_source != header.source:
            return
        try:
            timeout = rejoin_commands.parse_timeout_request(command)
        except NwkError:
            stack.undecodable += 1
            return
        status = TimeoutStatus.OK
        if timeout < len(TIMEOUTS_S):
            if child.timeout_s != TIMEOUTS_S[timeout]:
                child.timeout_s = TIMEOUTS_S[timeout]
                stack.save()
        else:
            status = TimeoutStatus.INCORRECT_VALUE
        self.proven(header.source)
        information = rejoin_commands.PARENT_TAKES_POLLS | rejoin_commands.PARENT_TAKES_REQUESTS
        stack.send_command(
            header.source,
            rejoin_commands.timeout_response(TimeoutResponse(status, information)),
            destination_eui64=child.eui64,
        )

    # -- letting go ----------------------------------------------------------------------------

    def dismiss(self, eui64: int) -> None:
        """The trust centre does not let a newcomer in; it waits for a key in vain."""
        child = self.of_eui64(eui64)
        if child is not None and child.short_address in self._unproven:
            self.remove(child)

    def remove_device(self, eui64: int) -> None:
        """The trust centre wants a node to go: a newcomer waits in vain, a child or a
        router next to this node leaves.
        """
        self.dismiss(eui64)
        child = self.of_eui64(eui64)
        if child is not None:
            self.request_leave(child, rejoin=False)
            return
        router = self._stack.short_of(eui64)
        if router is not None:
            leave = rejoin_commands.leave(rejoin_commands.LEAVE_REQUEST)
            self._stack.send_command(router, leave, destination_eui64=eui64)

    def request_leave(self, child: Child, *, rejoin: bool) -> None:
        """Tell a child to leave; it is one until it has heard that. One that never asks for what
        waits for it is gone when that expires.
        """
        options = rejoin_commands.LEAVE_REQUEST | (rejoin_commands.LEAVE_REJOIN if rejoin else 0)

        def done(result: SendResult) -> None:
            if result is SendResult.OK or not rejoin:
                self.left(child.short_address, child.eui64, rejoins=rejoin)

        self._stack.send_command(
            child.short_address,
            rejoin_commands.leave(options),
            done,
            destination_eui64=child.eui64,
        )

    def left(self, short_address: int, eui64: int, *, rejoins: bool) -> None:
        """A node said that it leaves."""
        child = self.of_eui64(eui64)
        if child is not None and child.short_address == short_address:
            self.remove(child)
        if not rejoins:
            self._stack.admission.left(short_address, eui64, was_child=child is not None)

    def hold_broadcast(self, frame: bytes) -> None:
        """A NWK frame for all, also for those asleep: each gets it when it asks."""
        for short_address in sorted(self._stack.mac.sleepers):
            self._stack.mac.send_data(short_address, frame)
