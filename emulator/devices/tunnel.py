"""The tunnel that carries GBCS messages between hub and device: both halves.

Source: Smart Energy profile 07-5356-21, D.6 (Tunnelling cluster); GBCS 10.2.2 (protocol GB-HRGP,
no flow control, 1500 octets; the hub opens to devices that are always on). A message is the data
of one Transfer Data as it is.

The hub's half, `TunnelClient`:

    state    event                                     next     effect
    -------  ----------------------------------------  -------  ----------------------------------
    any      open                                      OPENING  Request Tunnel
    CLOSED   send                                      OPENING  Request Tunnel, message kept
    OPENING  timeout                                   OPENING  Request Tunnel, up to the last
    OPENING  timeout of the last, answer not allowed   CLOSED   TunnelDown, messages refused
    OPENING  busy, no more ids                         BACKING  none
    OPENING  success                                   OPEN     TunnelUp, messages kept are sent
    OPENING  closure notification                      OPENING  remembered: it overtook a success
    OPENING  success, of a tunnel closed already       OPENING  Request Tunnel
    BACKING  timeout                                   OPENING  Request Tunnel
    OPEN     send                                      OPEN     Transfer Data
    OPEN     Transfer Data                             OPEN     MessageReceived
    OPEN     error: no such tunnel, wrong device       OPENING  TunnelDown, Request Tunnel; what was
                                                                just sent is sent once more
    OPEN     error: no tunnel, of the one before       OPEN     what was just sent into that one is
                                                                sent once more in this
    OPEN     error: overflow                           OPEN     MessageRefused
    OPEN     closure notification                      CLOSED   TunnelDown

The device's half, `TunnelServer`, which begins without a tunnel after every restart:

    state    event                                     next     effect
    -------  ----------------------------------------  -------  ----------------------------------
    any      Request Tunnel that is allowed            OPEN     a new id, TunnelUp, messages kept
    any      Request Tunnel that is not                same     response with the reason
    CLOSED   send                                      CLOSED   message kept
    OPEN     send                                      OPEN     Transfer Data
    OPEN     Transfer Data                             OPEN     MessageReceived
    any      Transfer Data for another tunnel          same     error: no such tunnel
    OPEN     Close Tunnel                              CLOSED   TunnelDown
    OPEN     error: no such tunnel                     CLOSED   TunnelDown, closure notification;
                                                                what was just sent is kept
    OPEN     error: no tunnel, of the one before       OPEN     as at the hub
    CLOSED   disown                                    CLOSED   closure notification

The device has one tunnel: a new request of its hub takes the place of the old one, since a hub
that was restarted knows none to close. Each half serves one peer; the shell drops other senders.
A message may be given a handle, by which whoever sent it hears which frame carries it, or that none
will.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from emulator.zigbee import tunnelling, zcl
from emulator.zigbee.tunnelling import TransferStatus, TunnelStatus
from emulator.zigbee.zcl import DataType, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelParameters:
    protocol_id: int = tunnelling.PROTOCOL_GB_HRGP
    manufacturer_code: int = tunnelling.NO_MANUFACTURER
    max_bytes: int = tunnelling.MAX_TRANSFER_BYTES
    retry_s: float = 10.0
    max_attempts: int = 5
    busy_retry_s: float = 180.0
    # Messages kept until there is a tunnel, as many as the hub keeps for a sleeping meter.
    queue_limit: int = 5
    # An error that comes later than this is not about a message sent before.
    resend_within_s: float = 10.0


class SendZcl(NamedTuple):
    """Send to the peer: APS-encrypted unicast on the Tunnelling cluster, in fragments if long.

    `handle` is that of the message it carries; None for a message without, and for all else.
    """

    payload: bytes
    handle: int | None = None


CLOSED_BY_DEVICE = "closed by the device"


@dataclass(frozen=True, slots=True)
class TunnelUp:
    tunnel_id: int
    max_bytes: int  # what the peer takes in one message


@dataclass(frozen=True, slots=True)
class TunnelDown:
    reason: str


@dataclass(frozen=True, slots=True)
class MessageReceived:
    data: bytes


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """A message given to `send` that will not reach the peer."""

    reason: str
    handle: int | None = None


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something came that should not have; nothing changed."""

    kind: str
    detail: str


Output = SendZcl | TunnelUp | TunnelDown | MessageReceived | MessageRefused | Anomaly


class State(Enum):
    CLOSED = auto()
    OPENING = auto()
    BACKING = auto()
    OPEN = auto()


class _Message(NamedTuple):
    data: bytes
    handle: int | None = None
    is_resent: bool = False


class _Sent(NamedTuple):
    at_s: float
    tunnel_id: int
    message: _Message


class _Half(ABC):
    """What both halves have: the tunnel, messages kept for it, and the way in for frames."""

    _CONTROL: int
    _IS_CLIENT: bool
    _TRANSFER_DATA: int
    _TRANSFER_DATA_ERROR: int

    def __init__(self, parameters: TunnelParameters | None = None) -> None:
        self.state = State.CLOSED
        self._parameters = parameters or TunnelParameters()
        self._tsn = 0
        self._tunnel_id = tunnelling.NO_TUNNEL_ID
        self._peer_max_bytes = self._parameters.max_bytes
        limit = self._parameters.queue_limit
        self._queue: deque[_Message] = deque(maxlen=limit)
        self._sent: deque[_Sent] = deque(maxlen=limit)

    def receive(self, payload: bytes, now: float, secured: bool = True) -> list[Output]:
        """A ZCL frame from the peer; `secured` says that APS security protected it."""
        if not secured:
            return [Anomaly("unsecured", f"{len(payload)} octets without APS security")]
        try:
            frame = zcl.parse(payload)
        except zcl.ZclError as error:
            return [Anomaly("malformed", str(error))]
        if frame.is_from_server is not self._IS_CLIENT:
            return [Anomaly("unexpected", f"command 0x{frame.command:02X} in the wrong direction")]
        try:
            handled = self._handle(frame, now)
        except zcl.ZclError as error:
            anomaly, status = Anomaly("malformed", str(error)), Status.MALFORMED_COMMAND
        else:
            if handled is not None:
                return handled
            anomaly = Anomaly("unsupported", f"command 0x{frame.command:02X}")
            status = zcl.unsupported(frame)
        if frame.is_default_response:
            return [anomaly]
        return [SendZcl(zcl.default_response_to(frame, status)), anomaly]

    def _handle(self, frame: zcl.ZclFrame, now: float) -> list[Output] | None:
        """Take a frame by its command; None for one that is not supported."""
        if frame.manufacturer_code is not None:
            return None
        if frame.is_cluster_command:
            return self._handle_command(frame, now)
        if frame.command == zcl.READ_ATTRIBUTES:
            return [SendZcl(zcl.read_attributes_response_to(frame, self._attributes()))]
        if frame.command != zcl.DEFAULT_RESPONSE:
            return None
        command, status = zcl.parse_default_response(frame.payload)
        if status == Status.SUCCESS:
            return []
        return [Anomaly("refused", f"{zcl.status_name(status)} to command 0x{command:02X}")]

    @abstractmethod
    def _handle_command(self, frame: zcl.ZclFrame, now: float) -> list[Output] | None:
        """Take a command of the cluster; None for one this half does not support."""

    def _attributes(self) -> dict[int, zcl.AttributeValue]:
        return {}

    def _is_current(self, tunnel_id: int) -> bool:
        return self.state is State.OPEN and tunnel_id == self._tunnel_id

    def _command(
        self, command: int, body: tunnelling.TunnelCommand, tsn: int | None = None
    ) -> SendZcl:
        if tsn is None:
            self._tsn = tsn = self._tsn + 1 & 0xFF
        return SendZcl(bytes((self._CONTROL, tsn, command)) + tunnelling.build(body))

    def _keep(self, message: _Message) -> list[Output]:
        if len(self._queue) == self._queue.maxlen:
            reason = f"{len(self._queue)} messages wait for a tunnel already"
            return [MessageRefused(reason, message.handle)]
        self._queue.append(message)
        return []

    def _transfer(self, message: _Message, now: float) -> Output:
        octets, most = len(message.data), self._peer_max_bytes
        if octets > most:
            reason = f"{octets} octets are more than the {most} the peer takes"
            return MessageRefused(reason, message.handle)
        self._sent.append(_Sent(now, self._tunnel_id, message))
        data = tunnelling.TransferData(self._tunnel_id, message.data)
        return self._command(self._TRANSFER_DATA, data)._replace(handle=message.handle)

    def _established(self, tunnel_id: int, peer_max_bytes: int, now: float) -> list[Output]:
        self.state = State.OPEN
        self._tunnel_id, self._peer_max_bytes = tunnel_id, peer_max_bytes
        kept = list(self._queue)
        self._queue.clear()
        sent = [self._transfer(message, now) for message in kept]
        return [TunnelUp(tunnel_id, peer_max_bytes), *sent]

    def _receive_data(self, frame: zcl.ZclFrame) -> list[Output]:
        tunnel_id, data = tunnelling.parse_transfer_data(frame.payload)
        if not self._is_current(tunnel_id):
            status = TransferStatus.NO_SUCH_TUNNEL
        elif len(data) > self._parameters.max_bytes:
            status = TransferStatus.DATA_OVERFLOW
        else:
            return [MessageReceived(data)]
        error = tunnelling.TransferDataError(tunnel_id, status)
        detail = f"{len(data)} octets for tunnel {tunnel_id}: {status.name}"
        answer = self._command(self._TRANSFER_DATA_ERROR, error, frame.tsn)
        return [answer, Anomaly("refused-data", detail)]

    def _receive_error(self, frame: zcl.ZclFrame, now: float) -> list[Output]:
        tunnel_id, status = tunnelling.parse_transfer_data_error(frame.payload)
        if not self._is_current(tunnel_id):
            if status == TransferStatus.NO_SUCH_TUNNEL and self.state is State.OPEN:
                again = self._resend(tunnel_id, now)
                if again:
                    return again
            return [Anomaly("unexpected", f"error for tunnel {tunnel_id}, which is not in use")]
        if status == TransferStatus.DATA_OVERFLOW:
            return [MessageRefused("the peer has no room for the message")]
        if status not in (TransferStatus.NO_SUCH_TUNNEL, TransferStatus.WRONG_DEVICE):
            return [Anomaly("unexpected", f"transfer status {status}")]
        if not self._sent:
            return [Anomaly("unexpected", f"error for tunnel {tunnel_id}, nothing was sent")]
        return self._lose_tunnel("the peer knows no such tunnel", now)

    def _lose_tunnel(self, reason: str, now: float) -> list[Output]:
        """The tunnel is gone; what was sent just before is kept to be sent once more."""
        self.state = State.CLOSED
        outputs: list[Output] = [TunnelDown(reason)]
        for sent_s, tunnel_id, message in self._sent:
            if tunnel_id != self._tunnel_id:
                continue
            if message.is_resent:
                outputs.append(MessageRefused(f"{reason}, twice", message.handle))
            elif now - sent_s <= self._parameters.resend_within_s:
                outputs += self._keep(message._replace(is_resent=True))
        self._sent.clear()
        return outputs

    def _resend(self, tunnel_id: int, now: float) -> list[Output]:
        """What went into a tunnel that another has taken the place of, once more in that one."""
        lost = [sent for sent in self._sent if sent.tunnel_id == tunnel_id]
        for sent in lost:
            self._sent.remove(sent)
        return [
            self._transfer(sent.message._replace(is_resent=True), now)
            for sent in lost
            if not sent.message.is_resent and now - sent.at_s <= self._parameters.resend_within_s
        ]


class TunnelClient(_Half):
    """The hub's half for one device."""

    _CONTROL = zcl.REQUEST
    _IS_CLIENT = True
    _TRANSFER_DATA = tunnelling.TRANSFER_DATA_TO_SERVER
    _TRANSFER_DATA_ERROR = tunnelling.TRANSFER_DATA_ERROR_TO_SERVER

    def __init__(self, parameters: TunnelParameters | None = None) -> None:
        super().__init__(parameters)
        self._deadline: float | None = None
        self._attempts = 0
        self._closed_early: int | None = None  # a tunnel whose closure came before its success

    def next_timeout(self) -> float | None:
        return self._deadline

    def open(self, now: float) -> list[Output]:
        """Open a tunnel, or another one: after the device joined, and after it was restarted."""
        self._attempts = 0
        return [self._request(now)]

    def send(self, message: bytes, now: float, handle: int | None = None) -> list[Output]:
        """Send a message, now or when there is a tunnel."""
        if self.state is State.OPEN:
            return [self._transfer(_Message(message, handle), now)]
        refused = self._keep(_Message(message, handle))
        if self.state is State.CLOSED:
            return [*refused, *self.open(now)]
        return refused

    def _request(self, now: float) -> SendZcl:
        parameters = self._parameters
        self.state, self._deadline = State.OPENING, now + parameters.retry_s
        self._attempts += 1
        request = tunnelling.RequestTunnel(
            parameters.protocol_id, parameters.manufacturer_code, False, parameters.max_bytes
        )
        return self._command(tunnelling.REQUEST_TUNNEL, request)

    def handle_timeout(self, now: float) -> list[Output]:
        if self._deadline is None or now < self._deadline:
            return []
        if self.state is State.OPENING and self._attempts >= self._parameters.max_attempts:
            return self._give_up(f"{self._attempts} requests for a tunnel without an answer")
        return [self._request(now)]

    def _give_up(self, reason: str) -> list[Output]:
        self.state, self._deadline = State.CLOSED, None
        refused = [MessageRefused(reason, message.handle) for message in self._queue]
        self._queue.clear()
        return [TunnelDown(reason), *refused]

    def _handle_command(self, frame: zcl.ZclFrame, now: float) -> list[Output] | None:
        match frame.command:
            case tunnelling.REQUEST_TUNNEL_RESPONSE:
                return self._receive_response(frame, now)
            case tunnelling.TRANSFER_DATA_TO_CLIENT:
                return self._receive_data(frame)
            case tunnelling.TRANSFER_DATA_ERROR_TO_CLIENT:
                return self._receive_error(frame, now)
            case tunnelling.TUNNEL_CLOSURE_NOTIFICATION:
                return self._receive_closure(frame)
        return None

    def _lose_tunnel(self, reason: str, now: float) -> list[Output]:
        return [*super()._lose_tunnel(reason, now), *self.open(now)]

    def _receive_response(self, frame: zcl.ZclFrame, now: float) -> list[Output]:
        response = tunnelling.parse_request_tunnel_response(frame.payload)
        if self.state is not State.OPENING:
            return [Anomaly("unexpected", "Request Tunnel Response that nothing waits for")]
        match response.tunnel_status:
            case TunnelStatus.SUCCESS:
                closed, self._closed_early = self._closed_early, None
                if response.tunnel_id == closed:
                    return [self._request(now)]
                self._deadline = None
                size = response.maximum_incoming_transfer_size
                return self._established(response.tunnel_id, size, now)
            case TunnelStatus.BUSY | TunnelStatus.NO_MORE_TUNNEL_IDS:
                self._attempts = 0  # it answers: it is asked for as long as it takes
                self.state, self._deadline = State.BACKING, now + self._parameters.busy_retry_s
                return []
            case TunnelStatus.PROTOCOL_NOT_SUPPORTED:
                return self._give_up("the device does not support the protocol")
            case TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED:
                return self._give_up("the device does not support tunnels without flow control")
        return self._give_up(f"the device answered tunnel status {response.tunnel_status}")

    def _receive_closure(self, frame: zcl.ZclFrame) -> list[Output]:
        (tunnel_id,) = tunnelling.parse_tunnel_closure_notification(frame.payload)
        if not self._is_current(tunnel_id):
            if self.state is State.OPENING:
                self._closed_early = tunnel_id
            return [Anomaly("unexpected", f"closure of tunnel {tunnel_id}, which is not in use")]
        self.state = State.CLOSED
        return [TunnelDown(CLOSED_BY_DEVICE)]


class TunnelServer(_Half):
    """The device's half towards its hub."""

    _CONTROL = zcl.RESPONSE
    _IS_CLIENT = False
    _TRANSFER_DATA = tunnelling.TRANSFER_DATA_TO_CLIENT
    _TRANSFER_DATA_ERROR = tunnelling.TRANSFER_DATA_ERROR_TO_CLIENT

    def __init__(self, parameters: TunnelParameters | None = None) -> None:
        super().__init__(parameters)
        self._next_id = 0

    def next_timeout(self) -> float | None:
        """None: Close Tunnel Timeout is without end, and only the hub repeats anything."""
        return None

    def handle_timeout(self, now: float) -> list[Output]:  # noqa: ARG002 - the shape of all cores
        return []

    def send(self, message: bytes, now: float, handle: int | None = None) -> list[Output]:
        """Send a message, now or when the hub has opened a tunnel."""
        if self.state is State.OPEN:
            return [self._transfer(_Message(message, handle), now)]
        return self._keep(_Message(message, handle))

    def close(self) -> list[Output]:
        """Close the tunnel and tell the hub."""
        if self.state is not State.OPEN:
            return []
        self.state = State.CLOSED
        closure = tunnelling.TunnelClosureNotification(self._tunnel_id)
        return [
            self._command(tunnelling.TUNNEL_CLOSURE_NOTIFICATION, closure),
            TunnelDown("closed by this device"),
        ]

    def disown(self, tunnel_id: int) -> list[Output]:
        """Tell the hub that a tunnel from before this device was restarted is no more."""
        if self.state is State.OPEN:
            return []
        closure = tunnelling.TunnelClosureNotification(tunnel_id)
        return [self._command(tunnelling.TUNNEL_CLOSURE_NOTIFICATION, closure)]

    def _lose_tunnel(self, reason: str, now: float) -> list[Output]:
        """The hub is told: it may have opened the tunnel only after it refused what was in it."""
        return [*super()._lose_tunnel(reason, now), *self.disown(self._tunnel_id)]

    def _attributes(self) -> dict[int, zcl.AttributeValue]:
        timeout = (DataType.UINT16, tunnelling.NEVER_CLOSED)
        return {tunnelling.CLOSE_TUNNEL_TIMEOUT_ATTRIBUTE: timeout}

    def _handle_command(self, frame: zcl.ZclFrame, now: float) -> list[Output] | None:
        match frame.command:
            case tunnelling.REQUEST_TUNNEL:
                return self._receive_request(frame, now)
            case tunnelling.CLOSE_TUNNEL:
                return self._receive_close(frame)
            case tunnelling.TRANSFER_DATA_TO_SERVER:
                return self._receive_data(frame)
            case tunnelling.TRANSFER_DATA_ERROR_TO_SERVER:
                return self._receive_error(frame, now)
            case tunnelling.GET_SUPPORTED_TUNNEL_PROTOCOLS:
                return [self._supported(frame)]
        return None

    def _receive_request(self, frame: zcl.ZclFrame, now: float) -> list[Output]:
        request = tunnelling.parse_request_tunnel(frame.payload)
        parameters = self._parameters
        protocol = request.protocol_id, request.manufacturer_code
        if protocol != (parameters.protocol_id, parameters.manufacturer_code):
            status = TunnelStatus.PROTOCOL_NOT_SUPPORTED
        elif request.flow_control_support:
            status = TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED
        else:
            tunnel_id, self._next_id = self._next_id, (self._next_id + 1) % tunnelling.NO_TUNNEL_ID
            answer = self._respond(frame, tunnel_id, TunnelStatus.SUCCESS)
            size = request.maximum_incoming_transfer_size
            return [answer, *self._established(tunnel_id, size, now)]
        detail = f"protocol {protocol[0]} of manufacturer {protocol[1]:04X}: {status.name}"
        answer = self._respond(frame, tunnelling.NO_TUNNEL_ID, status)
        return [answer, Anomaly("refused-tunnel", detail)]

    def _respond(self, frame: zcl.ZclFrame, tunnel_id: int, status: TunnelStatus) -> SendZcl:
        size = self._parameters.max_bytes
        response = tunnelling.RequestTunnelResponse(tunnel_id, status, size)
        return self._command(tunnelling.REQUEST_TUNNEL_RESPONSE, response, frame.tsn)

    def _receive_close(self, frame: zcl.ZclFrame) -> list[Output]:
        (tunnel_id,) = tunnelling.parse_close_tunnel(frame.payload)
        if not self._is_current(tunnel_id):
            anomaly = Anomaly("unexpected", f"Close Tunnel {tunnel_id}, which is not in use")
            return [SendZcl(zcl.default_response_to(frame, Status.NOT_FOUND)), anomaly]
        self.state = State.CLOSED
        success = SendZcl(zcl.default_response_to(frame, Status.SUCCESS))
        return [success, TunnelDown("closed by the hub")]

    def _supported(self, frame: zcl.ZclFrame) -> SendZcl:
        (offset,) = tunnelling.parse_get_supported_tunnel_protocols(frame.payload)
        parameters = self._parameters
        protocol = tunnelling.TunnelProtocol(parameters.manufacturer_code, parameters.protocol_id)
        protocols = () if offset else (protocol,)
        response = tunnelling.SupportedTunnelProtocolsResponse(True, protocols)
        return self._command(tunnelling.SUPPORTED_TUNNEL_PROTOCOLS_RESPONSE, response, frame.tsn)
