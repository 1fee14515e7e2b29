"""What a host and its stick tell each other of messages on the air.

Source: Silicon Labs UG100, 8 (messaging frames). Commands and callbacks go by one after the other;
a command is a message on the air only when the stick has taken it, and that answer has the APS
counter of `sendUnicast`.

    seen                               becomes
    ---------------------------------  -----------------------------------------------------------
    sendUnicast, sendReply             kept under its sequence number until it is answered
    an answer that refuses it          nothing
    an answer that takes it            a message sent, or the acknowledgement of a fragment
    incomingMessageHandler             a message received
    incomingRouteRecordHandler         a Route Record received
    anything else, or cut off          nothing
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from emulator.devices import smart_energy_frames as frames
from emulator.devices.smart_energy_frames import Layout
from emulator.zigbee.events import OPTION_FRAGMENT, Aps, MessageKind

ROUTE_RECORD = 0x0059
_NUMBERS = (frames.SEND_UNICAST, frames.SEND_REPLY, frames.INCOMING, frames.SENT, ROUTE_RECORD)
_ROUTE_RECORD = Struct("<HQBbB")  # source, its EUI-64, LQI, RSSI, how many relays
_NO_EUI64 = (0, 0xFFFFFFFFFFFFFFFF)
_KINDS = frozenset(int(kind) for kind in MessageKind)
_UNICAST_REPLY = 1  # a sender's sendReply with something to say


class HostMessage(NamedTuple):
    """A message, or one fragment of it. `command` is the frame of EZSP that told of it; `eui64` is
    the peer's. What was sent has no LQI and no RSSI."""

    command: str
    kind: MessageKind
    nwk: int
    eui64: int | None
    aps: Aps
    payload: bytes
    lqi: int | None = None
    rssi_dbm: int | None = None

    @property
    def is_sent(self) -> bool:
        return self.lqi is None

    @property
    def acknowledges_fragment(self) -> bool:
        return self.command == "sendReply"


class HostRouteRecord(NamedTuple):
    """By which relays a message will come, the one nearest to its sender first."""

    command: str
    nwk: int
    eui64: int | None
    relays: tuple[int, ...]
    lqi: int
    rssi_dbm: int


OnHostMessage = Callable[[HostMessage | HostRouteRecord], object]


class HostMessages:
    """One line between a host and its stick, in one version of EZSP."""

    def __init__(self, version: int) -> None:
        self._layout = Layout(version, _NUMBERS)
        self._asked: dict[int, HostMessage] = {}  # by sequence number: 256 at the most

    def told(self, command: bytes) -> None:
        """The host gives its stick a command."""
        layout = self._layout
        frame_id = layout.frame_of(command)
        at = layout.body_at
        try:
            if frame_id == frames.SEND_UNICAST:
                message = self._send_unicast(command, at)
            elif frame_id == frames.SEND_REPLY:
                message = _send_reply(command, at)
            else:
                return
        except StructError:
            return
        if message is not None:
            self._asked[command[0]] = message

    def heard(self, frame: bytes) -> HostMessage | HostRouteRecord | None:
        """The stick says something: what that is on the air, None for nothing."""
        layout = self._layout
        frame_id = layout.frame_of(frame)
        at = layout.body_at
        try:
            if frame_id == frames.INCOMING:
                return self._incoming(frame, at)
            if frame_id == ROUTE_RECORD:
                return _route_record(frame, at)
        except StructError:
            return None
        if frame_id in (frames.SEND_UNICAST, frames.SEND_REPLY):
            return self._answered(frame, at)
        return None

    def _send_unicast(self, command: bytes, at: int) -> HostMessage | None:
        layout = self._layout.send_unicast
        kind, nwk, *aps, _tag, length = layout.unpack_from(command, at)
        payload = command[at + layout.size :]
        if kind != frames.DIRECT or len(payload) != length:
            return None
        return HostMessage("sendUnicast", MessageKind.UNICAST, nwk, None, Aps(*aps), payload)

    def _answered(self, frame: bytes, at: int) -> HostMessage | None:
        message = self._asked.pop(frame[0], None)
        end = at + self._layout.status_octets
        if message is None or len(frame) < end or any(frame[at:end]):
            return None
        later = message.aps.options & OPTION_FRAGMENT and message.aps.group & 0xFF
        if message.acknowledges_fragment or later or len(frame) == end:
            return message  # the counter is what the host said
        return message._replace(aps=message.aps._replace(sequence=frame[end]))

    def _incoming(self, frame: bytes, at: int) -> HostMessage | None:
        eui64 = None
        if self._layout.is_v14:
            layout = frames.INCOMING_V14
            kind, *aps, nwk, eui64, _, _, lqi, rssi, _, length = layout.unpack_from(frame, at)
        else:
            layout = frames.INCOMING_V4
            kind, *aps, lqi, rssi, nwk, _, _, length = layout.unpack_from(frame, at)
        payload = frame[at + layout.size :]
        if len(payload) != length:
            return None
        if kind == _UNICAST_REPLY:
            kind = MessageKind.UNICAST
        if kind not in _KINDS:
            return None  # what the node hears of itself, and what is no message
        if eui64 in _NO_EUI64:
            eui64 = None
        name = "incomingMessageHandler"
        return HostMessage(name, MessageKind(kind), nwk, eui64, Aps(*aps), payload, lqi, rssi)


def _send_reply(command: bytes, at: int) -> HostMessage | None:
    layout = frames.SEND_REPLY_BODY
    nwk, *aps, length = layout.unpack_from(command, at)
    payload = command[at + layout.size :]
    message = HostMessage("sendReply", MessageKind.UNICAST, nwk, None, Aps(*aps), payload)
    # Of a message that is no fragment it would be an answer, which nobody here gives that way.
    return message if message.aps.options & OPTION_FRAGMENT and len(payload) == length else None


def _route_record(frame: bytes, at: int) -> HostRouteRecord | None:
    nwk, eui64, lqi, rssi, count = _ROUTE_RECORD.unpack_from(frame, at)
    relays = Struct(f"<{count}H").unpack_from(frame, at + _ROUTE_RECORD.size)
    known = None if eui64 in _NO_EUI64 else eui64
    return HostRouteRecord("incomingRouteRecordHandler", nwk, known, relays, lqi, rssi)
