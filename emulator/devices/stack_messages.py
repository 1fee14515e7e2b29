"""Smart Energy messages straight on a stack: a queue, and messages longer than a frame.

Source: ZigBee specification 05-3474, 2.2.8.4 (acknowledged transmission), 2.2.8.4.5 (fragments);
`smart_energy_ezsp` is the same through a stick, whose sizes and limits are kept here.

    an outgoing message   event                       next         effect
    --------------------  --------------------------  -----------  -----------------------------
    (new)                 few are under way           UNDER_WAY    its first block leaves
    (new)                 many are                    QUEUED
    QUEUED                another has ended           UNDER_WAY    its first block leaves
    UNDER_WAY             refused by the stack        (gone)       Sent(tag, False), later
    UNDER_WAY             delivered, blocks left      UNDER_WAY    the next block leaves
    UNDER_WAY             delivered, none left        (gone)       Sent(tag, True)
    UNDER_WAY             not delivered               (gone)       Sent(tag, False)
    any                   the network is down         (gone)       Sent(tag, False)
"""

from __future__ import annotations

from collections import deque

from emulator.devices.node import (
    MAX_QUEUED_FRAMES,
    MAX_UNDER_WAY,
    SMART_ENERGY_PROFILE,
    Frame,
    OnEvent,
    QueueFull,
    Received,
    Sent,
)
from emulator.zigbee.aps_service import FRAGMENT_OVERHEAD_OCTETS
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_FRAGMENT,
    OPTION_RETRY,
    Aps,
    MessageReceived,
    MessageSent,
    Status,
)
from emulator.zigbee.fragments import Reassembler, split
from emulator.zigbee.stack import Stack

_PLAIN = OPTION_RETRY
_ENCRYPTED = OPTION_RETRY | OPTION_ENCRYPTION
_OK = Status.OK
_new = tuple.__new__  # past their own constructors NamedTuples cost half


class _Outgoing:
    """A message that waits, or one of several blocks."""

    __slots__ = ("blocks", "frame", "index", "nwk", "options", "sequence", "tag")

    def __init__(self, tag: int, nwk: int, frame: Frame, options: int, blocks: list[bytes]) -> None:
        self.tag = tag
        self.nwk = nwk
        self.frame = frame
        self.options = options
        self.blocks = blocks
        self.index = 0
        self.sequence = 0


class StackMessages:
    """The messages of profile 0x0109 of one stack; `Received` and `Sent` go to `on_event`, never
    from inside `submit`.
    """

    def __init__(self, stack: Stack, on_event: OnEvent) -> None:
        self._stack = stack
        self._aps = stack.aps
        self._on_event = on_event
        self._queue: deque[_Outgoing] = deque()
        self._under_way: dict[int, _Outgoing | None] = {}  # None: it is one frame, and all is said
        self._tag = 0
        self._reassembler = Reassembler()

    def submit(self, nwk: int, frame: Frame) -> int:
        """Send a message to the node at `nwk`, in fragments when it is longer than a frame; its
        tag. Raises QueueFull, and FragmentError for what no number of fragments can hold.
        """
        under_way = self._under_way
        _, cluster, source_endpoint, destination_endpoint, payload, encrypted = frame
        options = _ENCRYPTED if encrypted else _PLAIN
        self._tag = tag = self._tag + 1
        if len(under_way) < MAX_UNDER_WAY:
            # In one frame, unless the stack says that it is too long for one.
            ends = source_endpoint, destination_endpoint
            address = _new(Aps, (SMART_ENERGY_PROFILE, cluster, *ends, options, 0, 0))
            status, _ = self._aps.send_unicast(nwk, address, payload, tag)
            if status is not Status.MESSAGE_TOO_LONG:
                under_way[tag] = None
                if status is not _OK:
                    self._refused(tag)
                return tag
        room = self._aps.max_payload_octets(options, nwk)
        if len(self._queue) + len(under_way) >= MAX_QUEUED_FRAMES:
            raise QueueFull(f"{MAX_QUEUED_FRAMES} messages wait for the radio already")
        blocks = [payload]
        if len(payload) > room:
            options |= OPTION_FRAGMENT
            blocks = split(payload, room - FRAGMENT_OVERHEAD_OCTETS)
        message = _Outgoing(tag, nwk, frame, options, blocks)
        if len(under_way) < MAX_UNDER_WAY:
            self._begin(message)
        else:
            self._queue.append(message)
        return tag

    def _begin(self, message: _Outgoing) -> None:
        self._under_way[message.tag] = message
        self._send_block(message)

    def _send_block(self, message: _Outgoing) -> None:
        frame, options, index = message.frame, message.options, message.index
        address = Aps(
            SMART_ENERGY_PROFILE,
            frame.cluster,
            frame.source_endpoint,
            frame.destination_endpoint,
            options,
            len(message.blocks) << 8 | index if options & OPTION_FRAGMENT else 0,
            message.sequence,
        )
        status, message.sequence = self._aps.send_unicast(
            message.nwk, address, message.blocks[index], message.tag
        )
        if status is not _OK:
            self._refused(message.tag)

    def _refused(self, tag: int) -> None:
        clock = self._stack.clock
        clock.call_at_us(clock.now_us(), self._finish, tag, False)

    def sent(self, event: MessageSent) -> None:
        """A unicast of this stack has ended; those of others are let be."""
        status, _, _, address, tag = event
        if tag not in self._under_way or address.profile != SMART_ENERGY_PROFILE:
            return
        message = self._under_way[tag]
        delivered = status is _OK
        if delivered and message is not None and message.index + 1 < len(message.blocks):
            message.index += 1
            self._send_block(message)
        else:
            self._finish(tag, delivered)

    def _finish(self, tag: int, delivered: bool) -> None:
        if tag not in self._under_way:
            return
        del self._under_way[tag]
        if self._queue:
            self._begin(self._queue.popleft())
        self._on_event(_new(Sent, (tag, delivered)))

    def fail(self) -> None:
        """The network is down: the stack will tell of no message any more."""
        tags = [*self._under_way, *(message.tag for message in self._queue)]
        self._under_way.clear()
        self._queue.clear()
        for tag in tags:
            self._on_event(Sent(tag, False))

    def received(self, event: MessageReceived, peer: int) -> None:
        """A message of this profile came in from `peer`, or one block of it."""
        _, (_, cluster, source_endpoint, destination_endpoint, options, _, _), _, _, payload = event
        if options & OPTION_FRAGMENT:
            whole = self._take_block(event)
            if whole is None:
                return
            payload = whole
        encrypted = bool(options & OPTION_ENCRYPTION)
        message = (peer, cluster, source_endpoint, destination_endpoint, payload, encrypted)
        self._on_event(_new(Received, message))

    def _take_block(self, event: MessageReceived) -> bytes | None:
        """Acknowledge a block as it deserves; the message when this was the last of it."""
        block = event.aps
        index = block.group & 0xFF
        taken = self._reassembler.receive(
            event.source,
            block.sequence,
            block.group >> 8,
            index,
            event.payload,
            self._stack.clock.now_us() * 1e-6,
        )
        if taken.acknowledge:
            # Addressed the way back, as every reply is.
            reply = block._replace(
                source_endpoint=block.destination_endpoint,
                destination_endpoint=block.source_endpoint,
                group=0xFF00 | index,
            )
            self._aps.acknowledge_fragment(event.source, reply)
        return taken.message
