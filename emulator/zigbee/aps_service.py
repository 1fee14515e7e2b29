"""The APS data service of one stack: acknowledged unicasts, retries, duplicates, link-key security.

Source: ZigBee specification 05-3474, 2.2.8.4 (transmission, acknowledgement, duplicate rejection),
2.2.8.4.5 (fragments), 4.4.1 (security). What a fragment carries is not put together here: EZSP
leaves that to the host, which acknowledges each fragment itself (`acknowledge_fragment`).

    state of an outgoing unicast   event                    next      effect
    -----------------------------  -----------------------  --------  ---------------------
    WAITING                        acknowledgement          (gone)    MessageSent(OK)
    WAITING                        apscAckWaitDuration      WAITING   again, new counters
    WAITING                        the same, fourth time    (gone)    MessageSent(failed)
"""

from __future__ import annotations

from functools import partial
from struct import Struct
from typing import TYPE_CHECKING

from emulator.medium.timing import Cancellable
from emulator.zigbee import aps, nwk, zdo
from emulator.zigbee.aps import ApsError, ApsFrame
from emulator.zigbee.aps_command_service import ApsCommands
from emulator.zigbee.duplicates import RecentMessages
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_FORCE_ROUTE_DISCOVERY,
    OPTION_FRAGMENT,
    OPTION_RETRY,
    Aps,
    MessageKind,
    MessageReceived,
    MessageSent,
    Status,
)
from emulator.zigbee.key_ring import KeyRing
from emulator.zigbee.mac_link import SendResult
from emulator.zigbee.security import FrameKey, SecurityError
from emulator.zigbee.state import COUNTER_STEP, CounterExhausted

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

ACK_WAIT_US = 1_600_000  # apscAckWaitDuration at the default network depth
MAX_RETRIES = 3  # apscMaxFrameRetries
MAX_UNICASTS = 10  # APS_UNICAST_MESSAGE_COUNT, EmberZNet's default
FRAGMENT_OVERHEAD_OCTETS = 2

_DATA_UNACKED = aps.TYPE_DATA | aps.DELIVERY_UNICAST
_HEADER = aps.HEADER
_TYPE_COMMAND = aps.TYPE_COMMAND
_TYPE_ACK = aps.TYPE_ACK
_ACK_REQUEST = aps.ACK_REQUEST
_SECURITY = aps.SECURITY
_DELIVERY_GROUP = aps.DELIVERY_GROUP
_UNICAST = MessageKind.UNICAST
_OK = Status.OK
_new = tuple.__new__
# What fits a frame to a neighbour whatever its options are.
_SURE_OCTETS = aps.MAX_PAYLOAD_OCTETS - aps.SECURITY_OCTETS - FRAGMENT_OVERHEAD_OCTETS
_STEPS = -COUNTER_STEP  # the bits that change when a counter comes to its next step
_GROUP_HEADER = Struct("<BHHHBB")  # control, group, cluster, profile, source endpoint, counter


class _Unicast:
    """A unicast that waits for its acknowledgement."""

    __slots__ = ("aps", "destination", "due_us", "key", "payload", "retries", "slot", "tag")

    def __init__(
        self, destination: int, parameters: Aps, payload: bytes, tag: int, key: FrameKey | None
    ) -> None:
        self.destination = destination
        self.aps = parameters
        self.payload = payload
        self.tag = tag
        self.key = key
        self.retries = 0
        self.due_us = 0
        self.slot = destination << 16 | parameters.sequence << 8 | parameters.group & 0xFF


class ApsService(KeyRing):
    """Sends and receives messages between endpoints for one stack, under the keys it holds."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self._heard = stack.neighbours.heard
        self._counter = stack.random_bits(8)
        self._waiting: dict[int, _Unicast] = {}
        self._watch: Cancellable | None = None
        self._watch_us = 0
        self._now_us = stack.clock.now_us
        self._recent = RecentMessages()
        self.commands = ApsCommands(stack, self)
        self.command_handlers = self.commands.handlers
        self.extended_timeouts: set[bytes | None] = set()  # EUI-64s of those that sleep, as octets

    def clear(self) -> None:
        """Forget everything under way; nobody is told."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._waiting.clear()
        self._recent.clear()
        self.unconfirmed = None

    def close(self) -> None:
        """Power off."""
        self.clear()
        self.transient_keys.close()

    # -- sending -------------------------------------------------------------------------------

    def max_payload_octets(self, options: int, destination: int | None = None) -> int:
        """The longest payload of one frame with `options`, and with its source route if any."""
        octets = aps.MAX_PAYLOAD_OCTETS
        if destination is not None and destination not in self._heard:
            octets -= self._stack.routing.overhead_octets(destination)
        if options & OPTION_ENCRYPTION:
            octets -= aps.SECURITY_OCTETS
        if options & OPTION_FRAGMENT:
            octets -= FRAGMENT_OVERHEAD_OCTETS
        return octets

    def send_unicast(
        self, destination: int, parameters: Aps, payload: bytes, tag: int
    ) -> tuple[Status, int]:
        """Send a message; its APS counter. MessageSent follows when the status is OK.

        Fragments of one message after the first carry its counter in `parameters.sequence`.
        """
        stack = self._stack
        options = parameters.options
        if not stack.is_up:
            return Status.NOT_JOINED, 0
        if destination >= nwk.LOWEST_BROADCAST:
            return Status.INVALID_PARAMETER, 0
        if (len(payload) > _SURE_OCTETS or destination not in self._heard) and len(
            payload
        ) > self.max_payload_octets(options, destination):
            return Status.MESSAGE_TOO_LONG, 0
        if options & OPTION_FORCE_ROUTE_DISCOVERY:
            stack.routing.forget(destination)
        if options & OPTION_FRAGMENT and parameters.group & 0xFF:
            counter = parameters.sequence
        else:  # one that no message still waiting for this node has
            self._counter = counter = (self._counter + 1) & 0xFF
            while destination << 16 | counter << 8 in self._waiting:
                self._counter = counter = (counter + 1) & 0xFF
        profile, cluster, source_endpoint, destination_endpoint, _, group, _ = parameters
        parameters = _new(
            Aps, (profile, cluster, source_endpoint, destination_endpoint, options, group, counter)
        )
        if destination == stack.mac.short_address:
            self._loop_back(parameters, payload, tag)
            return Status.OK, counter
        if len(self._waiting) >= MAX_UNICASTS:
            return Status.MAX_MESSAGE_LIMIT_REACHED, 0
        key = None
        if options & OPTION_ENCRYPTION:
            partner = self._partners.get(destination) or self.partner(destination)
            if partner is None:
                return Status.KEY_NOT_FOUND, 0
            key = partner.frame_key
        unicast = _Unicast(destination, parameters, payload, tag, key)
        if options & (OPTION_RETRY | OPTION_FRAGMENT):
            self._waiting[unicast.slot] = unicast
            self._transmit(unicast)
        else:
            self._transmit_once(unicast)
        return _OK, counter

    def _transmit(self, unicast: _Unicast) -> None:
        stack = self._stack
        frame = self._frame(unicast, aps.ACK_REQUEST)
        if frame is not None:
            again = partial(self._frame, unicast, aps.ACK_REQUEST)
            stack.send_nwk(unicast.destination, frame, None, again)
        wait_us = ACK_WAIT_US
        node = unicast.destination
        extended = self.extended_timeouts
        if node in stack.mac.sleepers or (extended and stack.eui64_of(node) in extended):
            wait_us += stack.mac.held.persistence_us  # a parent may hold the message
        unicast.due_us = due_us = self._now_us() + wait_us
        if self._watch is None or due_us < self._watch_us:
            if self._watch is not None:
                self._watch.cancel()
            self._watch_us = due_us
            self._watch = stack.clock.call_at_us(due_us, self._look_at_waiting)

    def _look_at_waiting(self) -> None:
        """One timer watches all acknowledgements; most came long before it looks."""
        clock = self._stack.clock
        now_us = clock.now_us()
        # `_watch` stays set meanwhile: what is sent now must not set it past what is due earlier.
        self._watch_us = now_us
        for unicast in [one for one in self._waiting.values() if one.due_us <= now_us]:
            self._unheard(unicast)
        self._watch = None
        if self._waiting:
            self._watch_us = due_us = min(unicast.due_us for unicast in self._waiting.values())
            self._watch = clock.call_at_us(due_us, self._look_at_waiting)

    def _transmit_once(self, unicast: _Unicast) -> None:
        def done(result: SendResult) -> None:
            sent = result is SendResult.OK
            self._tell_sent(unicast, Status.OK if sent else Status.DELIVERY_FAILED)

        frame = self._frame(unicast, 0)
        if frame is not None:
            self._stack.send_nwk(unicast.destination, frame, done, partial(self._frame, unicast, 0))
        else:
            clock = self._stack.clock
            clock.call_at_us(clock.now_us(), done, SendResult.COUNTER_ERROR)

    def _frame(self, unicast: _Unicast, ack_request: int) -> bytes | None:
        parameters = unicast.aps
        control = _DATA_UNACKED | ack_request
        if unicast.key is not None:
            control |= aps.SECURITY
        fragment = parameters.options & OPTION_FRAGMENT
        if fragment:
            control |= aps.EXTENDED_HEADER
        header = _HEADER.pack(
            control,
            parameters.destination_endpoint,
            parameters.cluster,
            parameters.profile,
            parameters.source_endpoint,
            parameters.sequence,
        )
        if fragment:
            index = parameters.group & 0xFF
            if index:
                header += bytes((aps.FRAGMENT_PART, index))
            else:
                header += bytes((aps.FRAGMENT_FIRST, parameters.group >> 8))
        return self._protect(unicast.key, header, unicast.payload)

    def _protect(self, key: FrameKey | None, header: bytes, payload: bytes) -> bytes | None:
        """The frame under `key`, None when the frame counter is used up."""
        if key is None:
            return header + payload
        stack = self._stack
        try:
            counter = stack.aps_counter.take()
        except CounterExhausted:
            return None
        return aps.seal(key, header, counter, stack.eui64_octets, payload)

    def _unheard(self, unicast: _Unicast) -> None:
        if self._waiting.get(unicast.slot) is not unicast:
            return
        self._stack.routing.unacknowledged(unicast.destination)
        unicast.retries += 1
        if unicast.retries <= MAX_RETRIES:
            if unicast.key is not None:
                partner = self.partner(unicast.destination)
                if partner is not None:  # the key may have been replaced meanwhile
                    unicast.key = partner.frame_key
            self._transmit(unicast)
            return
        del self._waiting[unicast.slot]
        self._stack.routing.concentrator.delivery_failed()
        self._tell_sent(unicast, Status.DELIVERY_FAILED)

    def _tell_sent(self, unicast: _Unicast, status: Status) -> None:
        ended = (status, _UNICAST, unicast.destination, unicast.aps, unicast.tag)
        self._stack.on_event(_new(MessageSent, ended))

    def send_broadcast(
        self, destination: int, parameters: Aps, payload: bytes, tag: int, radius: int = 0
    ) -> tuple[Status, int]:
        """Broadcast a message to 0xFFFC..0xFFFF; it cannot carry link-key security.

        A radius of 0 is as far as a frame goes.
        """
        header = _HEADER.pack(
            aps.TYPE_DATA | aps.DELIVERY_BROADCAST,
            parameters.destination_endpoint,
            parameters.cluster,
            parameters.profile,
            parameters.source_endpoint,
            self._counter + 1 & 0xFF,
        )
        kind = MessageKind.BROADCAST
        sent = self._broadcast(kind, destination, parameters, header, payload, tag, radius)
        if (
            sent[0] is Status.OK
            and parameters.profile == zdo.PROFILE
            and parameters.destination_endpoint == 0
        ):
            stack = self._stack
            zdo.answer(stack, stack.short_address, parameters, payload, broadcast=True)
        return sent

    def send_multicast(
        self, destination: int, parameters: Aps, payload: bytes, tag: int, radius: int = 0
    ) -> tuple[Status, int]:
        """Broadcast a message for the endpoints that are in the group `parameters.group`."""
        header = _GROUP_HEADER.pack(
            aps.TYPE_DATA | aps.DELIVERY_GROUP,
            parameters.group,
            parameters.cluster,
            parameters.profile,
            parameters.source_endpoint,
            self._counter + 1 & 0xFF,
        )
        kind = MessageKind.MULTICAST
        return self._broadcast(kind, destination, parameters, header, payload, tag, radius)

    def _broadcast(
        self,
        kind: MessageKind,
        destination: int,
        parameters: Aps,
        header: bytes,
        payload: bytes,
        tag: int,
        radius: int,
    ) -> tuple[Status, int]:
        stack = self._stack
        if not stack.is_up:
            return Status.NOT_JOINED, 0
        if destination < nwk.LOWEST_BROADCAST:
            return Status.INVALID_PARAMETER, 0
        if len(header) + len(payload) > nwk.MAX_PAYLOAD_OCTETS:
            return Status.MESSAGE_TOO_LONG, 0
        self._counter = counter = (self._counter + 1) & 0xFF
        parameters = parameters._replace(sequence=counter)

        def done(result: SendResult) -> None:
            status = Status.OK if result is SendResult.OK else Status.DELIVERY_FAILED
            self._stack.on_event(MessageSent(status, kind, destination, parameters, tag))

        stack.send_nwk(
            destination,
            header + payload,
            done,
            radius=min(radius, nwk.MAX_RADIUS) or nwk.MAX_RADIUS,
        )
        return Status.OK, counter

    def send_device_announce(self, payload: bytes) -> None:
        """Broadcast Device Announce; the host is not told how that went."""
        self._counter = counter = (self._counter + 1) & 0xFF
        control = aps.TYPE_DATA | aps.DELIVERY_BROADCAST
        header = _HEADER.pack(control, 0, zdo.DEVICE_ANNOUNCE, zdo.PROFILE, 0, counter)
        self._stack.send_nwk(nwk.BROADCAST_RX_ON, header + payload)

    def send_zdo(self, destination: int, cluster: int, payload: bytes) -> None:
        """Send a ZDO answer, acknowledged by the radio alone; the host is not told of it."""
        self._counter = counter = (self._counter + 1) & 0xFF
        parameters = Aps(zdo.PROFILE, cluster, 0, 0, 0, 0, counter)
        if destination == self._stack.mac.short_address:
            clock = self._stack.clock
            clock.call_at_us(clock.now_us(), self._receive_looped, parameters, payload)
            return
        header = _HEADER.pack(_DATA_UNACKED, 0, cluster, zdo.PROFILE, 0, counter)
        self._stack.send_nwk(destination, header + payload)

    def _loop_back(self, parameters: Aps, payload: bytes, tag: int) -> None:
        clock = self._stack.clock
        clock.call_at_us(clock.now_us(), self._receive_looped, parameters, payload, tag)

    def _receive_looped(self, parameters: Aps, payload: bytes, tag: int | None = None) -> None:
        stack = self._stack
        own = stack.mac.short_address
        if not stack.is_up:
            return
        if tag is not None:
            kind = MessageKind.UNICAST
            stack.on_event(MessageSent(Status.OK, kind, own, parameters, tag))
        self._deliver(parameters, payload, own, MessageKind.UNICAST)

    # -- receiving -----------------------------------------------------------------------------

    def receive(self, frame: bytes, source: int, broadcast: bool) -> None:
        """An APS frame came in under the network key."""
        try:
            if frame and frame[0] & 0x03 == _TYPE_COMMAND:
                self.commands.receive(frame, source)
                return
            header = aps.parse(frame)
            control = header.control
            if control & _SECURITY:
                payload = self._open(frame, header, source)
                if payload is None:
                    return
            else:
                payload = frame[header.header_octets :]
        except (ApsError, SecurityError):
            self._stack.undecodable += 1
            return
        kind = control & 0x03
        if kind == _TYPE_ACK:
            self._acknowledged(source, header)
        elif kind == aps.TYPE_DATA:
            self._receive_data(header, payload, source, broadcast)

    def _open(self, frame: bytes, header: ApsFrame, source: int) -> bytes | None:
        partner = self._partners.get(source) or self.partner(source)
        if partner is None:
            self._stack.undecodable += 1
            return None
        eui64, key, frame_key = partner
        at = header.header_octets
        counter = aps.counter_of(frame, at)
        if counter < key.incoming_counter:
            self._stack.replays_rejected += 1
            return None
        payload = aps.open_sealed(frame_key, frame, at, eui64)
        before = key.incoming_counter
        key.incoming_counter = after = counter + 1
        if (before ^ after) & _STEPS:  # as in `heard`, without a call for every message
            self.keep_counter(key)
        return payload

    def _acknowledged(self, source: int, header: ApsFrame) -> None:
        unicast = self._waiting.get(source << 16 | header.counter << 8 | header.block)
        if unicast is None or unicast.aps.cluster != header.cluster:
            return
        if (unicast.key is not None) != bool(header.control & aps.SECURITY):
            return  # only who shares the key may say that a protected message arrived
        del self._waiting[unicast.slot]
        ended = (_OK, _UNICAST, unicast.destination, unicast.aps, unicast.tag)
        self._stack.on_event(_new(MessageSent, ended))

    def _receive_data(self, header: ApsFrame, payload: bytes, source: int, broadcast: bool) -> None:
        control = header.control
        fragment = header.fragmentation
        if control & _ACK_REQUEST and not fragment and not broadcast:
            self._acknowledge(header, source)
        if not fragment and self._recent.is_repeated(source, header.counter, self._now_us()):
            return  # of fragments the host must know: it acknowledges them
        options = 0
        if control & _ACK_REQUEST:
            options |= OPTION_RETRY
        if control & _SECURITY:
            options |= OPTION_ENCRYPTION
        group = header.group
        if fragment:
            options |= OPTION_FRAGMENT
            first = fragment == aps.FRAGMENT_FIRST
            group = header.block << 8 if first else header.block
        parameters = _new(
            Aps,
            (
                header.profile,
                header.cluster,
                header.source_endpoint,
                header.destination_endpoint,
                options,
                group,
                header.counter,
            ),
        )
        if control & _DELIVERY_GROUP == _DELIVERY_GROUP:
            for endpoint in self._stack.groups.get(group, ()):
                member = parameters._replace(destination_endpoint=endpoint)
                self._deliver(member, payload, source, MessageKind.MULTICAST)
            return
        kind = MessageKind.BROADCAST if broadcast else _UNICAST
        self._deliver(parameters, payload, source, kind)

    def _deliver(self, parameters: Aps, payload: bytes, source: int, kind: MessageKind) -> None:
        stack = self._stack
        if parameters.profile == zdo.PROFILE and parameters.destination_endpoint == 0:
            broadcast = kind is MessageKind.BROADCAST
            if not zdo.answer(stack, source, parameters, payload, broadcast=broadcast):
                return
        elif (
            parameters.destination_endpoint not in stack.endpoints
            and parameters.destination_endpoint != 0xFF
            and kind is not MessageKind.MULTICAST
        ):
            return
        eui64 = stack.eui64_of(source)
        sender = None if eui64 is None else int.from_bytes(eui64, "little")
        stack.on_event(_new(MessageReceived, (kind, parameters, source, sender, payload)))

    def _acknowledge(self, header: ApsFrame, source: int) -> None:
        control = aps.TYPE_ACK | header.control & aps.SECURITY
        octets = _HEADER.pack(
            control,
            header.source_endpoint,
            header.cluster,
            header.profile,
            header.destination_endpoint,
            header.counter,
        )
        self._send_ack(source, octets, bool(control & aps.SECURITY))

    def acknowledge_fragment(self, destination: int, parameters: Aps) -> Status:
        """Acknowledge one fragment: `parameters.group` is ACK bits << 8 | index (EZSP)."""
        if not self._stack.is_up:
            return Status.NOT_JOINED
        secured = parameters.options & OPTION_ENCRYPTION
        control = aps.TYPE_ACK | aps.EXTENDED_HEADER | (aps.SECURITY if secured else 0)
        index = parameters.group & 0xFF
        octets = _HEADER.pack(
            control,
            parameters.destination_endpoint,
            parameters.cluster,
            parameters.profile,
            parameters.source_endpoint,
            parameters.sequence,
        ) + bytes((aps.FRAGMENT_PART if index else aps.FRAGMENT_FIRST, index))
        self._send_ack(destination, octets + bytes((parameters.group >> 8,)), bool(secured))
        return Status.OK

    def _send_ack(self, destination: int, header: bytes, secured: bool) -> None:
        key = None
        if secured:
            partner = self._partners.get(destination) or self.partner(destination)
            if partner is None:
                return
            key = partner.frame_key
        frame = self._protect(key, header, b"")
        if frame is not None:
            self._stack.send_nwk(destination, frame)
