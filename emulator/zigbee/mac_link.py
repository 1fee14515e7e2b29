"""The MAC sublayer of one node: CSMA-CA, acknowledgements, retries, duplicates, sleep and polls.

Source: IEEE 802.15.4-2006, 7.5.1.4 (CSMA-CA), 7.5.6 (transmission, acknowledgement, retransmission,
indirect transmission), 7.5.1.3 (inter-frame spacing).

    state      event                     next       effect
    ---------  ------------------------  ---------  ------------------------------------------
    IDLE       frame queued              BACKOFF    wait 0..2^BE-1 unit back-offs, then CCA
    BACKOFF    CCA busy                  BACKOFF    BE + 1, up to macMaxBE
    BACKOFF    CCA busy, fifth time      IDLE       done(CHANNEL_ACCESS_FAILURE)
    BACKOFF    CCA clear                 SENDING    transmit after the turnaround
    SENDING    end, no ACK asked         IDLE       done(OK)
    SENDING    ACK with its sequence     IDLE       done(OK)
    SENDING    ACK wait over             BACKOFF    again, the same sequence
    SENDING    ACK wait over, 4th time   IDLE       done(NO_ACK)

A sleeper's receiver is on while a frame of its own is under way, and after a Data Request whose ACK
says that something is pending, until that comes or macMaxFrameTotalWaitTime is over.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from struct import Struct

from emulator.medium.air import Medium
from emulator.medium.timing import (
    ACK_OCTETS,
    ACK_WAIT_US,
    CCA_US,
    LIFS_US,
    MAX_BE,
    MAX_CSMA_BACKOFFS,
    MAX_FRAME_RETRIES,
    MIN_BE,
    SIFS_MAX_OCTETS,
    SIFS_US,
    TURNAROUND_US,
    UNIT_BACKOFF_US,
    Cancellable,
    RandomBits,
    Scheduler,
    air_us,
)
from emulator.zigbee import mac
from emulator.zigbee.data_poll import DataPoll, Polled
from emulator.zigbee.held_frames import (
    TRANSACTION_PERSISTENCE_US,
    Done,
    HeldFrame,
    HeldFrames,
    SendResult,
)
from emulator.zigbee.mac import MacError, MacFrame

__all__ = ["TRANSACTION_PERSISTENCE_US", "Done", "MacLink", "SendResult"]

MAX_QUEUED_FRAMES = 32
MAX_INDIRECT_FRAMES = 16
MAX_REMEMBERED_SOURCES = 64
# A sender's last try follows its first within four times (37 ms of back-offs, frame, ACK wait).
# Longer memory would take a new frame for an old one after 256 frames to other nodes.
DUPLICATE_MEMORY_US = 200_000

_ACK_AIR_US = air_us(ACK_OCTETS)
_DATA = Struct("<HBHHH")
# Looked up for every frame: a module's own names cost half of another's.
_TYPE_DATA = mac.TYPE_DATA
_TYPE_ACK = mac.TYPE_ACK
_SHORT_DATA = frozenset((0x61, 0x41, 0x71, 0x51))
_BROADCAST = mac.BROADCAST
_ACK_REQUEST = mac.ACK_REQUEST
_ACKS = mac.ACKS
_fcs = mac.fcs
_REVERSED = mac.REVERSED_BITS
_OK = SendResult.OK


class MacCounters:
    """What happened on the air since power-on, as real radios count it."""

    __slots__ = (
        "cca_failures",
        "received_broadcasts",
        "received_unicasts",
        "sent_broadcasts",
        "unicast_failures",
        "unicast_retries",
        "unicasts_acknowledged",
    )

    def __init__(self) -> None:
        self.received_broadcasts = 0
        self.received_unicasts = 0
        self.sent_broadcasts = 0
        self.unicasts_acknowledged = 0
        self.unicast_retries = 0
        self.unicast_failures = 0
        self.cca_failures = 0


class _Outgoing:
    __slots__ = ("ack_request", "done", "max_retries", "psdu", "sequence")

    def __init__(self, psdu: bytes, sequence: int, ack_request: bool, done: Done | None) -> None:
        self.psdu = psdu
        self.sequence = sequence
        self.ack_request = ack_request
        self.done = done
        self.max_retries = MAX_FRAME_RETRIES


class MacLink:
    """Sends and receives frames for one node on one medium.

    `receive_data(payload, source, destination)` is called for data frames with short addresses in
    this PAN, `receive_other(frame)` for beacons and commands.

    As a parent it holds the frames for the short addresses in `sleepers` until they are asked for.
    `on_poll(short address)` hears each Data Request and answers whether something that is not held
    here will follow; `renew(payload)` makes a payload that has waited anew before it goes out.
    """

    def __init__(
        self,
        name: str,
        eui64: int,
        medium: Medium,
        clock: Scheduler,
        random_bits: RandomBits,
        *,
        receive_data: Callable[[bytes, int, int], object],
        receive_other: Callable[[MacFrame], object],
    ) -> None:
        self.eui64 = eui64
        self.pan_id = mac.BROADCAST
        self.short_address = mac.BROADCAST
        self.counters = MacCounters()
        # Bound once: each is looked up several times a frame.
        self._now_us = clock.now_us
        self._call_at_us = clock.call_at_us
        self._random_bits = random_bits
        self._medium = medium
        self._receive_data = receive_data
        self._receive_other = receive_other
        self._transceiver = medium.attach(name, self._receive)
        self._sequence = random_bits(8)
        self._queue: deque[_Outgoing] = deque()
        self._current: _Outgoing | None = None
        self._backoffs = 0
        self._exponent = MIN_BE
        self._retries = 0
        self._ack_timer: Cancellable | None = None
        self._free_at_us = 0
        # Short addresses as they are, EUI-64s inverted: the last sequence, until when it counts.
        self._heard: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._indirect: OrderedDict[tuple[int, bool], tuple[_Outgoing, Cancellable]] = OrderedDict()
        self._closed = False
        self.sleepers: set[int] = set()
        self.held = HeldFrames(clock)
        self.on_poll: Callable[[int], bool] = _knows_nobody
        self.renew: Callable[[bytes], bytes] = _as_it_is
        self._sleeps = False
        self._data_poll = DataPoll(clock)

    # -- configuration -------------------------------------------------------------------------

    @property
    def channel(self) -> int | None:
        """The channel listened on, 11 to 26, or None while the radio is off."""
        return self._transceiver.channel

    @channel.setter
    def channel(self, channel: int | None) -> None:
        self._transceiver.channel = channel

    @property
    def sleeps(self) -> bool:
        """Whether the receiver is off while nothing is under way."""
        return self._sleeps

    @sleeps.setter
    def sleeps(self, sleeps: bool) -> None:
        self._sleeps = sleeps
        self._transceiver.receive = self._receive_if_awake if sleeps else self._receive

    def eavesdrop(self, heard: Callable[[bytes], object] | None) -> None:
        """Hand every frame of the channel to `heard`, and act on none; None ends that, and switches
        the receiver off."""
        self._transceiver.receive = heard or self._receive
        if heard is None:
            self._transceiver.channel = None

    def forget_children(self) -> None:
        """This node is nobody's parent any more."""
        for address in sorted(self.sleepers):
            self.held.drop(address)
        self.sleepers.clear()

    def close(self) -> None:
        """Power off: nothing queued is sent, nothing is heard, no `done` is called any more."""
        if self._closed:
            return
        self._closed = True
        self._queue.clear()
        self._current = None
        for _, timer in self._indirect.values():
            timer.cancel()
        self._indirect.clear()
        self.held.clear()
        self._data_poll.clear()
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        self._transceiver.channel = None
        self._medium.detach(self._transceiver)

    # -- sending -------------------------------------------------------------------------------

    def send_data(self, destination: int, payload: bytes, done: Done | None = None) -> None:
        """Queue a data frame with short addresses; a broadcast asks for no acknowledgement."""
        self._sequence = sequence = (self._sequence + 1) & 0xFF
        unicast = destination < mac.NO_SHORT_ADDRESS
        control = mac.DATA_ACKED if unicast else mac.DATA_UNACKED
        octets = (
            _DATA.pack(control, sequence, self.pan_id, destination, self.short_address) + payload
        )
        if destination in self.sleepers:
            self.held.hold(HeldFrame(destination, octets, sequence, done))
            return
        outgoing = _Outgoing(octets + _fcs(octets), sequence, unicast, done)
        if self._current is None and not self._queue:
            self._start(outgoing)
        else:
            self._enqueue(outgoing)

    def send(self, frame: MacFrame, done: Done | None = None) -> None:
        """Queue any other frame; its sequence number is set here."""
        self._enqueue(self._numbered(frame, done))

    def poll(self, parent: int, polled: Polled) -> None:
        """Ask `parent` for one frame; one poll at a time."""
        self._data_poll.start(polled)
        request = MacFrame(
            mac.TYPE_COMMAND,
            True,
            False,
            0,
            self.pan_id,
            parent,
            False,
            self.pan_id,
            self.short_address,
            False,
            bytes((mac.COMMAND_DATA_REQUEST,)),
        )
        self.send(request, self._data_poll.request_ended)

    @property
    def is_polling(self) -> bool:
        """Whether a Data Request is under way, or what it was told of."""
        return self._data_poll.is_under_way

    def send_indirect(self, frame: MacFrame, done: Done | None = None) -> None:
        """Hold `frame` until its destination asks with a Data Request, or it expires."""
        assert frame.destination is not None
        outgoing = self._numbered(frame, done)
        address = (frame.destination, frame.destination_extended)
        if address in self._indirect:
            _, timer = self._indirect.pop(address)
            timer.cancel()
        elif len(self._indirect) >= MAX_INDIRECT_FRAMES:
            self._refuse(outgoing)
            return
        expiry = self._call_at_us(
            self._now_us() + TRANSACTION_PERSISTENCE_US, self._expire, address
        )
        self._indirect[address] = (outgoing, expiry)

    def _numbered(self, frame: MacFrame, done: Done | None) -> _Outgoing:
        numbered = frame._replace(sequence=self._next_sequence())
        return _Outgoing(mac.build(numbered), numbered.sequence, frame.ack_request, done)

    def _next_sequence(self) -> int:
        self._sequence = sequence = (self._sequence + 1) & 0xFF
        return sequence

    def _expire(self, address: tuple[int, bool]) -> None:
        outgoing, _ = self._indirect.pop(address)
        self._finish(outgoing, SendResult.EXPIRED)

    def _enqueue(self, outgoing: _Outgoing) -> None:
        if len(self._queue) >= MAX_QUEUED_FRAMES:
            self._refuse(outgoing)
            return
        if self._current is None:
            self._start(outgoing)
        else:
            self._queue.append(outgoing)

    def _refuse(self, outgoing: _Outgoing) -> None:
        # Later: who sends must not hear the end of it before the call has returned.
        self._call_at_us(self._now_us(), self._finish, outgoing, SendResult.QUEUE_FULL)

    def _start(self, outgoing: _Outgoing) -> None:
        self._current = outgoing
        self._retries = 0
        self._backoffs = 0
        self._exponent = MIN_BE
        # `_back_off` once more, without its call: every frame begins here.
        from_us = self._now_us()
        if from_us < self._free_at_us:
            from_us = self._free_at_us
        wait_us = self._random_bits(MIN_BE) * UNIT_BACKOFF_US + CCA_US
        self._call_at_us(from_us + wait_us, self._assess, outgoing)

    def _start_csma(self) -> None:
        self._backoffs = 0
        self._exponent = MIN_BE
        self._back_off()

    def _back_off(self) -> None:
        now_us = self._now_us()
        if now_us < self._free_at_us:
            now_us = self._free_at_us
        wait_us = self._random_bits(self._exponent) * UNIT_BACKOFF_US + CCA_US
        self._call_at_us(now_us + wait_us, self._assess, self._current)

    def _assess(self, outgoing: _Outgoing) -> None:
        if outgoing is not self._current or self._closed:
            return
        now_us = self._now_us()
        if now_us < self._free_at_us:
            self._back_off()  # an acknowledgement of our own came in between
            return
        if self._transceiver.channel_busy():
            self._backoffs += 1
            if self._backoffs > MAX_CSMA_BACKOFFS:
                self.counters.cca_failures += 1
                self._complete(SendResult.CHANNEL_ACCESS_FAILURE)
                return
            self._exponent = min(self._exponent + 1, MAX_BE)
            self._back_off()
            return
        if self._transceiver.channel is None:
            self._complete(SendResult.CHANNEL_ACCESS_FAILURE)
            return
        end_us = self._transceiver.transmit(outgoing.psdu, now_us + TURNAROUND_US)
        if outgoing.ack_request:
            self._ack_timer = self._call_at_us(end_us + ACK_WAIT_US, self._ack_missed, outgoing)
        else:
            self._call_at_us(end_us, self._sent_unacknowledged, outgoing)

    def _sent_unacknowledged(self, outgoing: _Outgoing) -> None:
        if outgoing is self._current and not self._closed:
            self.counters.sent_broadcasts += 1
            self._space(self._now_us(), len(outgoing.psdu))
            self._complete(_OK)

    def _ack_missed(self, outgoing: _Outgoing) -> None:
        if outgoing is not self._current or self._closed:
            return
        self._ack_timer = None
        self._retries += 1
        if self._retries > outgoing.max_retries:
            self.counters.unicast_failures += 1
            self._complete(SendResult.NO_ACK)
        else:
            self.counters.unicast_retries += 1
            self._start_csma()

    def _complete(self, result: SendResult) -> None:
        outgoing = self._current
        assert outgoing is not None
        if self._queue:
            self._start(self._queue.popleft())
        else:
            self._current = None
        if outgoing.done is not None:
            outgoing.done(result)

    def _finish(self, outgoing: _Outgoing, result: SendResult) -> None:
        if outgoing.done is not None and not self._closed:
            outgoing.done(result)

    def _space(self, end_us: int, octets: int) -> None:
        self._free_at_us = end_us + (LIFS_US if octets > SIFS_MAX_OCTETS else SIFS_US)

    # -- receiving -----------------------------------------------------------------------------

    def _receive_if_awake(self, psdu: bytes) -> None:
        if self._current is not None or self._now_us() < self._data_poll.awake_until_us:
            self._receive(psdu)

    def _receive(self, psdu: bytes) -> None:
        first = psdu[0]
        if first in _SHORT_DATA:
            if len(psdu) > 11 and psdu[1] == 0x88:
                self._receive_short_data(psdu)
            return
        kind = first & 0x07
        if kind == _TYPE_ACK:
            timer = self._ack_timer
            if timer is None:
                return
            current = self._current
            if current is not None and (
                psdu == _ACKS[current.sequence] or self._says_more(psdu, current.sequence)
            ):
                timer.cancel()
                self._ack_timer = None
                self.counters.unicasts_acknowledged += 1
                spacing_us = LIFS_US if len(current.psdu) > SIFS_MAX_OCTETS else SIFS_US
                self._free_at_us = self._now_us() + spacing_us
                self._complete(_OK)
            return
        if kind == _TYPE_DATA:
            return
        try:
            frame = mac.parse(psdu)
        except MacError:
            return  # a radio drops what fails its FCS, and what no ZigBee node sends
        if self._is_for_me(frame):
            self._receive_rare(frame, len(psdu))

    def _says_more(self, psdu: bytes, sequence: int) -> bool:
        """Whether `psdu` acknowledges `sequence` and says that a frame follows; so noted."""
        if psdu != mac.build_ack(sequence, frame_pending=True):
            return False
        self._data_poll.frame_follows()
        return True

    def _receive_short_data(self, psdu: bytes) -> None:
        control, sequence, pan, destination, source = _DATA.unpack_from(psdu)
        if pan != self.pan_id:
            return
        if destination != self.short_address and destination != _BROADCAST:
            return
        if crc_hqx(psdu.translate(_REVERSED), 0):
            return  # over a frame and its FCS the remainder is 0 (`mac.fcs`)
        # `_acknowledge` and `_is_duplicate` once more, without their calls: every frame comes by.
        now_us = self._now_us()
        unicast = destination != _BROADCAST
        if unicast and control & _ACK_REQUEST:
            start_us = now_us + TURNAROUND_US
            self._transceiver.transmit(_ACKS[sequence], start_us)
            spacing_us = LIFS_US if len(psdu) > SIFS_MAX_OCTETS else SIFS_US
            self._free_at_us = start_us + _ACK_AIR_US + spacing_us
        heard = self._heard
        last = heard.get(source)
        if last is not None and last[0] == sequence and now_us < last[1]:
            return
        heard[source] = (sequence, now_us + DUPLICATE_MEMORY_US)
        if last is None and len(heard) > MAX_REMEMBERED_SOURCES:
            heard.popitem(last=False)
        if unicast:
            self.counters.received_unicasts += 1
        else:
            self.counters.received_broadcasts += 1
        self._receive_data(psdu[9:-2], source, destination)
        if self._data_poll.is_under_way and unicast:
            self._data_poll.heard(bool(control & mac.FRAME_PENDING))

    def _receive_rare(self, frame: MacFrame, octets: int) -> None:
        source = None if frame.source is None else (frame.source, frame.source_extended)
        if (
            frame.frame_type == mac.TYPE_COMMAND
            and frame.payload[:1] == bytes((mac.COMMAND_DATA_REQUEST,))
            and source is not None
        ):
            self._receive_data_request(frame, source, octets)
            return
        if frame.ack_request and frame.destination not in (None, mac.BROADCAST):
            self._acknowledge(mac.ACKS[frame.sequence], octets)
        if source is None or not self._is_duplicate(source, frame.sequence):
            self._receive_other(frame)
        if self._data_poll.is_under_way and frame.frame_type == mac.TYPE_COMMAND:
            self._data_poll.heard(frame.frame_pending)

    def _receive_data_request(self, frame: MacFrame, source: tuple[int, bool], octets: int) -> None:
        """Somebody asks for a frame: the ACK says whether there is one, and it follows."""
        address, extended = source
        taken = None
        will_follow = False
        if not extended:
            will_follow = self.on_poll(address)
            taken = self.held.take(address)
        pending = source in self._indirect
        if frame.ack_request and frame.destination not in (None, mac.BROADCAST):
            follows = pending or taken is not None or will_follow
            self._acknowledge(mac.build_ack(frame.sequence, frame_pending=follows), octets)
        if taken is not None:
            self._release(*taken)
        if not self._is_duplicate(source, frame.sequence) and pending:
            outgoing, expiry = self._indirect.pop(source)
            expiry.cancel()
            self._enqueue(outgoing)

    def _release(self, held: HeldFrame, more: bool) -> None:
        if not held.is_renewed:  # once: a repetition must be known for one
            held.is_renewed = True
            at = mac.DATA_HEADER_OCTETS
            held.octets = held.octets[:at] + self.renew(held.octets[at:])
        octets = held.octets
        if more:
            octets = bytes((octets[0] | mac.FRAME_PENDING,)) + octets[1:]
        done = partial(self.held.sent, held)
        outgoing = _Outgoing(octets + mac.fcs(octets), held.sequence, True, done)
        outgoing.max_retries = 0
        if self._current is None:
            self._start(outgoing)
        else:
            self._queue.appendleft(outgoing)  # its child does not listen for long

    def _is_for_me(self, frame: MacFrame) -> bool:
        if frame.frame_type == mac.TYPE_BEACON:
            return True
        if frame.destination_extended:
            return frame.destination == self.eui64
        return frame.destination == mac.BROADCAST or (
            frame.destination == self.short_address and frame.destination_pan == self.pan_id
        )

    def _acknowledge(self, ack: bytes, octets: int) -> None:
        start_us = self._now_us() + TURNAROUND_US
        self._transceiver.transmit(ack, start_us)
        self._space(start_us + _ACK_AIR_US, octets)

    def _is_duplicate(self, source: tuple[int, bool], sequence: int) -> bool:
        address, extended = source
        key = ~address if extended else address
        heard = self._heard
        now_us = self._now_us()
        last = heard.get(key)
        if last is not None and last[0] == sequence and now_us < last[1]:
            return True
        heard[key] = (sequence, now_us + DUPLICATE_MEMORY_US)
        if len(heard) > MAX_REMEMBERED_SOURCES:
            heard.popitem(last=False)
        return False


def _knows_nobody(_address: int) -> bool:
    """Who is no parent promises nothing to those that ask."""
    return False


def _as_it_is(payload: bytes) -> bytes:
    """Nothing about a payload grows old."""
    return payload
