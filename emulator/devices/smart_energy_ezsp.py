"""The Smart Energy port: bellows' EZSP with messages of profile 0x0109 read and written here.

Source: Silicon Labs UG100, 8 (messaging frames); ZigBee specification 05-3474, 2.2.8.4.5
(fragments). zigpy ignores the profile, bellows sends no fragments and on EZSP 14 and later loses
incoming ones; so three frames of this profile never reach bellows' tables: `incomingMessageHandler`
and `messageSentHandler` on their way in, `sendUnicast` (and `sendReply`, which acknowledges a
fragment) on their way out. Everything else is bellows' business, untouched.

Importing this module replaces `bellows.ash.time` by an object whose `monotonic()` is the running
loop's `time()`: bellows adapts its ACK timeout by it, which must follow the clock of the run.

    an outgoing message   event                       next         effect
    --------------------  --------------------------  -----------  -----------------------------
    QUEUED                its turn                    SENDING      sendUnicast (first block)
    SENDING               refused by the stick        (gone)       Sent(tag, False)
    SENDING               accepted                    UNDER_WAY
    UNDER_WAY             delivered, blocks left      QUEUED       the next block
    UNDER_WAY             delivered, none left        (gone)       Sent(tag, True)
    UNDER_WAY             not delivered               (gone)       Sent(tag, False)
    any                   the stick is lost           (gone)       Sent(tag, False)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from struct import pack
from typing import Any

import bellows.ash
from bellows.ash import DataFrame
from bellows.ezsp import EZSP
from bellows.ezsp.protocol import EZSP_CMD_TIMEOUT

from emulator.devices import rfc2217
from emulator.devices import smart_energy_frames as frames
from emulator.devices.node import (
    MATCH_TIMEOUT_S,
    MAX_QUEUED_FRAMES,
    MAX_UNDER_WAY,
    SMART_ENERGY_PROFILE,
    Frame,
    NodeError,
    OnEvent,
    QueueFull,
    Received,
    Routed,
    Sent,
)
from emulator.devices.signal_counts import Heard, Signal, SignalCounts
from emulator.devices.smart_energy_frames import Block, Layout
from emulator.zigbee import zdo
from emulator.zigbee.events import OPTION_ENCRYPTION, OPTION_FRAGMENT, OPTION_RETRY
from emulator.zigbee.fragments import Reassembler, split
from emulator.zigbee.routing import source_route_octets

OPTION_ENABLE_ROUTE_DISCOVERY = 0x0100

MAX_PAYLOAD_BYTES = 82  # one frame under NWK security
APS_SECURITY_BYTES = 9
FRAGMENT_BYTES = 2
MAX_ROUTED = 64  # nodes whose relays are remembered
_MANY = -1  # in the place of a short address
SENT_TIMEOUT_S = 40.0  # a stick tells after 4 x (1.6 + 7.68) s at the latest, of a sleeper

_SEND_PRIORITY = -1  # bellows' own for sendUnicast: what keeps the stick alive goes first
# The profile of EmberApsFrame, as it stands on the line.
_PROFILE = SMART_ENERGY_PROFILE.to_bytes(2, "little")

# Profile and cluster, as they stand beside each other in EmberApsFrame.
_MATCH_RESPONSE = pack("<HH", zdo.PROFILE, zdo.RESPONSE | zdo.MATCH_DESCRIPTOR)
_MATCH_TAG = 0  # never the tag of a message of ours: nobody waits for its end


class _LoopTime:
    """Stands in for the `time` module where bellows measures its ACK timeout."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()


bellows.ash.time = _LoopTime


class _Outgoing:
    __slots__ = (
        "blocks",
        "cluster",
        "counter",
        "deadline",
        "destination_endpoint",
        "index",
        "nwk",
        "options",
        "source_endpoint",
        "tag",
    )

    def __init__(
        self,
        tag: int,
        nwk: int,
        cluster: int,
        source_endpoint: int,
        destination_endpoint: int,
        options: int,
        blocks: list[bytes],
    ) -> None:
        self.tag = tag
        self.nwk = nwk
        self.cluster = cluster
        self.source_endpoint = source_endpoint
        self.destination_endpoint = destination_endpoint
        self.options = options
        self.blocks = blocks
        self.index = 0
        self.counter = 0
        self.deadline = 0.0


class SmartEnergyEzsp(EZSP):
    """bellows' EZSP for one stick, with `submit` beside it; `Received` and `Sent` go to `on_event`.

    `peer_of(short address, EUI-64)` names the sender of a message, None for a stranger, whose
    messages are dropped; the EUI-64 is None where EZSP does not tell it (before 14).
    """

    def __init__(
        self,
        device_config: dict[str, Any],
        application: Any = None,
        *,
        peer_of: Callable[[int, int | None], int | None],
        on_event: OnEvent,
        on_lost: Callable[[str], object],
    ) -> None:
        super().__init__(device_config, application)
        self._peer_of = peer_of
        self._on_event = on_event
        self._on_lost = on_lost
        self._outgoing: deque[_Outgoing | bytes] = deque()
        self._under_way: dict[int, _Outgoing] = {}
        self._messages = 0
        self._lost = False
        self._tag = 0
        self._sending: _Outgoing | None = None
        self._matches: dict[int, asyncio.Future[int | None]] = {}
        self._ash: Any = None
        self._layout = Layout(self._ezsp_version)
        self._idle: asyncio.Future[None] | None = None
        self._answer: asyncio.Future[int] | None = None
        self._answer_due = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._sender: asyncio.Task[None] | None = None
        self._reassembler = Reassembler()
        self._signals: dict[int, SignalCounts] = {}  # of each short address
        self._routed: dict[int, int] = {}  # short address: octets of its source route
        self._loop = asyncio.get_running_loop()

    async def connect(self, *, use_thread: bool = False) -> None:
        """As bellows does, in this thread: the port is written to past its thread-safe proxy."""
        if use_thread:
            raise ValueError("the Smart Energy port lives in the loop of its application")
        if str(self._config["path"]).startswith(rfc2217.SCHEME):
            rfc2217.register()
        await super().connect(use_thread=False)
        self._ash = self._gw._obj._transport
        self.add_callback(self._told)
        self._layout = Layout(self._ezsp_version)
        self._sender = self._loop.create_task(self._send_all(), name="Smart Energy port")

    # -- sending -------------------------------------------------------------------------------

    def submit(self, nwk: int, frame: Frame) -> int:
        """Queue a frame for the node at `nwk`, in fragments when it is longer than one; its tag.

        Raises QueueFull, FragmentError for a message no number of fragments can hold, and
        NodeError when the stick is lost.
        """
        if self._lost:
            raise NodeError("the radio was lost")
        if self._messages >= MAX_QUEUED_FRAMES:
            raise QueueFull(f"{MAX_QUEUED_FRAMES} messages wait for the radio already")
        options = OPTION_RETRY | OPTION_ENABLE_ROUTE_DISCOVERY
        room = MAX_PAYLOAD_BYTES
        if self._routed:
            room -= self._routed.get(nwk, 0)
        if frame.encrypted:
            options |= OPTION_ENCRYPTION
            room -= APS_SECURITY_BYTES
        payload = frame.payload
        if len(payload) <= room:
            blocks = [payload]
        else:
            blocks = split(payload, room - FRAGMENT_BYTES)
            options |= OPTION_FRAGMENT
        self._tag = tag = self._tag % 255 + 1
        while tag in self._under_way:
            self._tag = tag = self._tag % 255 + 1
        self._messages += 1
        self._queue(
            _Outgoing(
                tag,
                nwk,
                frame.cluster,
                frame.source_endpoint,
                frame.destination_endpoint,
                options,
                blocks,
            )
        )
        return tag

    def _queue(self, item: _Outgoing | bytes, *, first: bool = False) -> None:
        if first:
            self._outgoing.appendleft(item)
        else:
            self._outgoing.append(item)
        self._wake()

    def _wake(self) -> None:
        """Something may be sent: the sender looks at the queue again."""
        idle = self._idle
        if idle is not None:
            self._idle = None
            if not idle.done():
                idle.set_result(None)

    async def _send_all(self) -> None:
        """Hand what is queued to the stick, one command at a time, for as long as it answers."""
        outgoing = self._outgoing
        try:
            while True:
                if not outgoing or (
                    len(self._under_way) >= MAX_UNDER_WAY and self._must_wait(outgoing[0])
                ):
                    self._idle = self._loop.create_future()
                    await self._idle
                    continue
                item = outgoing.popleft()
                if isinstance(item, bytes):
                    await self._exchange(frames.SEND_REPLY, item)
                else:
                    self._sending = item
                    if await self._exchange(frames.SEND_UNICAST, self._begin(item)):
                        self._finish(item.tag, False)
        except Exception as error:
            # Whatever bellows raises for a stick that does not answer, nothing more will go out.
            self._fail(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    def _must_wait(self, item: _Outgoing | bytes) -> bool:
        """Whether so much is under way that a new message has to wait for an old one to end."""
        if isinstance(item, bytes):
            return False
        if item.tag in self._under_way:
            return False  # the next block of one of them
        return len(self._under_way) >= MAX_UNDER_WAY

    def _begin(self, message: _Outgoing) -> bytes:
        """The body of the sendUnicast for a message's current block; it is under way now."""
        block = message.blocks[message.index]
        fragmented = message.options & OPTION_FRAGMENT
        message.deadline = self._loop.time() + SENT_TIMEOUT_S
        if self._expiry is None:
            self._expiry = self._loop.call_at(message.deadline, self._expire)
        self._under_way[message.tag] = message
        body = self._layout.send_unicast.pack(
            frames.DIRECT,
            message.nwk,
            SMART_ENERGY_PROFILE,
            message.cluster,
            message.source_endpoint,
            message.destination_endpoint,
            message.options,
            len(message.blocks) << 8 | message.index if fragmented else 0,
            message.counter,
            message.tag,
            len(block),
        )
        return body + block

    async def _exchange(self, frame_id: int, body: bytes) -> int:
        """One command among bellows' own; the status of its response."""
        protocol = self._protocol
        semaphore = protocol._send_semaphore
        if semaphore.value > 0 and not semaphore.num_waiting:
            semaphore._value -= 1  # nobody is in the way: no coroutine to find that out
        else:
            await semaphore.acquire(priority=_SEND_PRIORITY)
        try:
            sequence = protocol._seq
            self._answer = future = self._loop.create_future()
            protocol._awaiting[sequence] = (frame_id, None, future)
            protocol._seq = (sequence + 1) % 256
            command = self._layout.command(sequence, frame_id, body)
            # What `Gateway.send_data` comes to, without a task and a shield for every frame: this
            # task is cancelled only when the line is closed anyhow.
            await self._ash._send_data_frame(
                DataFrame(frm_num=None, re_tx=None, ack_num=None, ezsp_frame=command)
            )
            self._answer_due = self._loop.time() + EZSP_CMD_TIMEOUT
            if self._watch is None:
                self._watch = self._loop.call_at(self._answer_due, self._look_at_answer)
            status: int = await future
            return status
        finally:
            self._answer = None
            semaphore.release()

    def _look_at_answer(self) -> None:
        """One timer watches all answers: a command whose time is up fails."""
        self._watch = None
        if self._answer is None or self._answer.done():
            return
        if self._loop.time() < self._answer_due:
            self._watch = self._loop.call_at(self._answer_due, self._look_at_answer)
        else:
            self._answer.set_exception(TimeoutError("the radio does not answer"))

    def _delivered(self, tag: int, ok: bool) -> None:
        message = self._under_way.get(tag)
        if message is None:
            return
        if ok and message.index + 1 < len(message.blocks):
            message.index += 1
            self._queue(message, first=True)
        else:
            self._finish(tag, ok)

    def _finish(self, tag: int, delivered: bool) -> None:
        if self._under_way.pop(tag, None) is None:
            return
        self._messages -= 1
        self._on_event(Sent(tag, delivered))
        if self._outgoing:
            self._wake()

    def _expire(self) -> None:
        """Give up messages whose end the stick never told; one timer watches all of them."""
        self._expiry = None
        now = self._loop.time()
        for tag in [tag for tag, sent in self._under_way.items() if now >= sent.deadline]:
            self._finish(tag, False)
        if self._under_way:
            due = min(sent.deadline for sent in self._under_way.values())
            self._expiry = self._loop.call_at(due, self._expire)

    def _fail(self, reason: str) -> None:
        """Nothing more can be sent: every message fails, and the owner hears why, once."""
        if self._lost:
            return
        self._lost = True
        tags = [item.tag for item in self._outgoing if isinstance(item, _Outgoing)]
        self._outgoing.clear()
        tags += [tag for tag in self._under_way if tag not in tags]
        self._under_way.clear()
        self._messages = 0
        for tag in tags:
            self._on_event(Sent(tag, False))
        self._on_lost(reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """The line is gone: nothing under way will be told of any more."""
        self._fail(f"its line was closed: {exc!r}")
        super().connection_lost(exc)

    async def disconnect(self) -> None:
        """Let go of the stick."""
        self._lost = True
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        for timer in (self._watch, self._expiry):
            if timer is not None:
                timer.cancel()
        self._watch = self._expiry = None
        self._outgoing.clear()
        self._under_way.clear()
        self._messages = 0
        await super().disconnect()

    async def find_endpoint(self, nwk: int, cluster: int, *, is_server: bool) -> int | None:
        """The first endpoint of a node that serves `cluster` (or uses it), by Match_Desc_req.

        None when the node does not answer in time, or has none.
        """
        self._tag = sequence = self._tag % 255 + 1
        request = zdo.match_request(
            sequence, nwk, SMART_ENERGY_PROFILE, cluster, is_server=is_server
        )
        body = self._layout.send_unicast.pack(
            frames.DIRECT,
            nwk,
            zdo.PROFILE,
            zdo.MATCH_DESCRIPTOR,
            0,
            0,
            OPTION_RETRY | OPTION_ENABLE_ROUTE_DISCOVERY,
            0,
            0,
            _MATCH_TAG,
            len(request),
        )
        future: asyncio.Future[int | None] = self._loop.create_future()
        self._matches[sequence] = future
        try:
            if await self._exchange(frames.SEND_UNICAST, body + request):
                return None
            async with asyncio.timeout(MATCH_TIMEOUT_S):
                return await future
        except TimeoutError:
            return None
        finally:
            del self._matches[sequence]

    def _matched(self, data: bytes) -> None:
        """A Match_Desc_rsp came in."""
        block = self._layout.parse_incoming(data)
        response = b"" if block is None else block.payload
        if len(response) >= 5:
            future = self._matches.get(response[0])
            if future is not None and not future.done():
                future.set_result(zdo.first_match(response))

    # -- receiving -----------------------------------------------------------------------------

    def frame_received(self, data: bytes) -> None:
        """An EZSP frame from the stick: this port's own are taken out, bellows gets the rest."""
        layout = self._layout
        frame_id = layout.frame_of(data)
        if frame_id is not None:
            if frame_id == frames.INCOMING:
                if data[layout.profile_of_incoming] == _PROFILE:
                    self._incoming(data)
                    return
                if self._matches and data[layout.cluster_of_incoming] == _MATCH_RESPONSE:
                    self._matched(data)
            elif frame_id == frames.SENT:
                sent = layout.parse_sent(data)
                if sent is not None:
                    self._delivered(*sent)
                    return
            elif self._answered(data, frame_id):
                return
        super().frame_received(data)

    def _told(self, name: str, arguments: list[Any]) -> None:
        """A Route Record: the stick sends by these relays from now on, if it keeps records."""
        if name != "incomingRouteRecordHandler":
            return
        nwk, eui64, _, _, relays = arguments
        if nwk not in self._routed and len(self._routed) >= MAX_ROUTED:
            del self._routed[next(iter(self._routed))]
        self._routed[nwk] = octets = source_route_octets(relays)
        peer = self._peer_of(nwk, int.from_bytes(eui64.serialize(), "little"))
        if peer is not None:
            self._on_event(Routed(peer, octets))

    def _answered(self, data: bytes, frame_id: int) -> bool:
        """Whether `data` answers a command of this port (bellows' own have a schema)."""
        awaiting = self._protocol._awaiting
        waiting = awaiting.get(data[0])
        if waiting is None or waiting[1] is not None:
            return False
        del awaiting[data[0]]
        future = waiting[2]
        if not future.done():
            at = self._layout.body_at
            end = at + self._layout.status_octets
            status = int.from_bytes(data[at:end], "little")
            sending = self._sending
            if frame_id == frames.SEND_UNICAST and sending is not None and not sending.index:
                # Here and not where it is awaited: the block's end may come in before that goes on.
                sending.counter = data[end] if len(data) > end else 0
            future.set_result(status)
        return True

    def _incoming(self, data: bytes) -> None:
        block = self._layout.parse_incoming(data)
        if block is None:
            return
        nwk, eui64, cluster, source_endpoint, destination_endpoint, options, _, _, payload, *_ = (
            block
        )
        signals = self._signals.get(nwk) or self._new_signals(nwk)
        signals.lqis[block.lqi] += 1
        signals.rssis[block.rssi_dbm] += 1
        if options & OPTION_FRAGMENT:
            whole = self._take_block(block)
            if whole is None:
                return
            payload = whole
        peer = self._peer_of(nwk, eui64)
        if peer is None:
            return
        encrypted = bool(options & OPTION_ENCRYPTION)
        self._on_event(
            Received(peer, cluster, source_endpoint, destination_endpoint, payload, encrypted)
        )

    def _new_signals(self, nwk: int) -> SignalCounts:
        """Counts for one more node; those of a network too large for that share some."""
        key = nwk if len(self._signals) < MAX_ROUTED else _MANY
        return self._signals.setdefault(key, SignalCounts())

    def signal(self) -> Signal | None:
        """How well the radio has heard."""
        return SignalCounts.together(self._signals.values()).medians()

    def heard(self, nwk: int) -> Heard | None:
        """How it has heard this node."""
        counts = self._signals.get(nwk)
        return None if counts is None else counts.spans()

    def _take_block(self, block: Block) -> bytes | None:
        """Acknowledge a block as it deserves; the message when this was the last of it."""
        index = block.group & 0xFF
        now = self._loop.time()
        taken = self._reassembler.receive(
            block.nwk, block.counter, block.group >> 8, index, block.payload, now
        )
        if taken.acknowledge:
            # Addressed the way back, as every reply is.
            body = frames.SEND_REPLY_BODY.pack(
                block.nwk,
                SMART_ENERGY_PROFILE,
                block.cluster,
                block.destination_endpoint,
                block.source_endpoint,
                block.options,
                0xFF00 | index,
                block.counter,
                0,
            )
            self._queue(body)
        return taken.message
