"""The commands of the Tunnelling cluster, which carries GBCS messages on the HAN.

Source: Smart Energy profile 07-5356-21, D.6 (Tunnelling cluster); GBCS 10.2.2 (the GB values).

`build` makes the payload behind the ZCL header, each `parse_*` takes one apart. Commands that go
both ways have the same payload in both directions under two numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from emulator.zigbee.zcl import Layout, ZclError, expect_end

CLUSTER_ID = 0x0704

# Commands to the server.
REQUEST_TUNNEL = 0x00
CLOSE_TUNNEL = 0x01
TRANSFER_DATA_TO_SERVER = 0x02
TRANSFER_DATA_ERROR_TO_SERVER = 0x03
ACK_TRANSFER_DATA_TO_SERVER = 0x04
READY_DATA_TO_SERVER = 0x05
GET_SUPPORTED_TUNNEL_PROTOCOLS = 0x06
# Commands to the client.
REQUEST_TUNNEL_RESPONSE = 0x00
TRANSFER_DATA_TO_CLIENT = 0x01
TRANSFER_DATA_ERROR_TO_CLIENT = 0x02
ACK_TRANSFER_DATA_TO_CLIENT = 0x03
READY_DATA_TO_CLIENT = 0x04
SUPPORTED_TUNNEL_PROTOCOLS_RESPONSE = 0x05
TUNNEL_CLOSURE_NOTIFICATION = 0x06

CLOSE_TUNNEL_TIMEOUT_ATTRIBUTE = 0x0000
NEVER_CLOSED = 0xFFFF

PROTOCOL_GB_HRGP = 6
NO_MANUFACTURER = 0xFFFF
MAX_TRANSFER_BYTES = 1500  # GBCS 10.2.2
NO_TUNNEL_ID = 0xFFFF


class TunnelStatus(IntEnum):
    """What became of a Request Tunnel."""

    SUCCESS = 0
    BUSY = 1
    NO_MORE_TUNNEL_IDS = 2
    PROTOCOL_NOT_SUPPORTED = 3
    FLOW_CONTROL_NOT_SUPPORTED = 4


class TransferStatus(IntEnum):
    """Why data was not taken."""

    NO_SUCH_TUNNEL = 0
    WRONG_DEVICE = 1
    DATA_OVERFLOW = 2


class RequestTunnel(NamedTuple):
    protocol_id: int
    manufacturer_code: int
    flow_control_support: bool
    maximum_incoming_transfer_size: int


class RequestTunnelResponse(NamedTuple):
    tunnel_id: int
    tunnel_status: int
    maximum_incoming_transfer_size: int


class CloseTunnel(NamedTuple):
    tunnel_id: int


class TransferData(NamedTuple):
    tunnel_id: int
    data: bytes


class TransferDataError(NamedTuple):
    tunnel_id: int
    transfer_data_status: int


class AckTransferData(NamedTuple):
    tunnel_id: int
    octets_left: int


class ReadyData(NamedTuple):
    tunnel_id: int
    octets_left: int


class GetSupportedTunnelProtocols(NamedTuple):
    protocol_offset: int


class TunnelProtocol(NamedTuple):
    manufacturer_code: int
    protocol_id: int


class SupportedTunnelProtocolsResponse(NamedTuple):
    protocol_list_complete: bool
    protocols: tuple[TunnelProtocol, ...]


class TunnelClosureNotification(NamedTuple):
    tunnel_id: int


_REQUEST_TUNNEL = Layout(
    "Request Tunnel",
    protocol_id="B",
    manufacturer_code="H",
    flow_control_support="B",
    maximum_incoming_transfer_size="H",
)
_REQUEST_TUNNEL_RESPONSE = Layout(
    "Request Tunnel Response",
    tunnel_id="H",
    tunnel_status="B",
    maximum_incoming_transfer_size="H",
)
_CLOSE_TUNNEL = Layout("Close Tunnel", tunnel_id="H")
_TRANSFER_DATA = Layout("Transfer Data", tunnel_id="H")
_TRANSFER_DATA_ERROR = Layout("Transfer Data Error", tunnel_id="H", transfer_data_status="B")
_ACK_TRANSFER_DATA = Layout("Ack Transfer Data", tunnel_id="H", octets_left="H")
_READY_DATA = Layout("Ready Data", tunnel_id="H", octets_left="H")
_GET_SUPPORTED = Layout("Get Supported Tunnel Protocols", protocol_offset="B")
_SUPPORTED = Layout(
    "Supported Tunnel Protocols Response", protocol_list_complete="B", protocol_count="B"
)
_PROTOCOL = Layout("Supported Tunnel Protocols Response", manufacturer_code="H", protocol_id="B")
_CLOSURE = Layout("Tunnel Closure Notification", tunnel_id="H")


def parse_request_tunnel(payload: bytes) -> RequestTunnel:
    protocol, manufacturer, flow_control, size = _REQUEST_TUNNEL.unpack_all(payload)
    return RequestTunnel(protocol, manufacturer, _boolean(flow_control, "Request Tunnel", 3), size)


def parse_request_tunnel_response(payload: bytes) -> RequestTunnelResponse:
    return RequestTunnelResponse(*_REQUEST_TUNNEL_RESPONSE.unpack_all(payload))


def parse_close_tunnel(payload: bytes) -> CloseTunnel:
    return CloseTunnel(*_CLOSE_TUNNEL.unpack_all(payload))


def parse_transfer_data(payload: bytes) -> TransferData:
    """The data are the rest of the payload; none at all is allowed."""
    (tunnel_id,) = _TRANSFER_DATA.unpack(payload)
    return TransferData(tunnel_id, payload[_TRANSFER_DATA.octets :])


def parse_transfer_data_error(payload: bytes) -> TransferDataError:
    return TransferDataError(*_TRANSFER_DATA_ERROR.unpack_all(payload))


def parse_ack_transfer_data(payload: bytes) -> AckTransferData:
    return AckTransferData(*_ACK_TRANSFER_DATA.unpack_all(payload))


def parse_ready_data(payload: bytes) -> ReadyData:
    return ReadyData(*_READY_DATA.unpack_all(payload))


def parse_get_supported_tunnel_protocols(payload: bytes) -> GetSupportedTunnelProtocols:
    return GetSupportedTunnelProtocols(*_GET_SUPPORTED.unpack_all(payload))


def parse_supported_tunnel_protocols_response(payload: bytes) -> SupportedTunnelProtocolsResponse:
    complete, count = _SUPPORTED.unpack(payload)
    end = _SUPPORTED.octets + count * _PROTOCOL.octets
    if len(payload) < end:
        raise ZclError(f"{_SUPPORTED.what} says {count} protocols and has fewer", len(payload))
    expect_end(_SUPPORTED.what, payload, end)
    protocols = tuple(
        TunnelProtocol(*_PROTOCOL.unpack(payload[at : at + _PROTOCOL.octets]))
        for at in range(_SUPPORTED.octets, end, _PROTOCOL.octets)
    )
    return SupportedTunnelProtocolsResponse(_boolean(complete, _SUPPORTED.what, 0), protocols)


def parse_tunnel_closure_notification(payload: bytes) -> TunnelClosureNotification:
    return TunnelClosureNotification(*_CLOSURE.unpack_all(payload))


def _boolean(value: int, what: str, offset: int) -> bool:
    if value > 1:
        raise ZclError(f"{what} has {value} where a boolean stands", offset)
    return value == 1


def _build_transfer_data(command: TransferData) -> bytes:
    return _TRANSFER_DATA.pack(command.tunnel_id) + command.data


def _build_supported(command: SupportedTunnelProtocolsResponse) -> bytes:
    head = _SUPPORTED.pack(command.protocol_list_complete, len(command.protocols))
    return head + b"".join(_PROTOCOL.pack(*protocol) for protocol in command.protocols)


_BUILDERS: dict[type[Any], Callable[[Any], bytes]] = {
    RequestTunnel: lambda command: _REQUEST_TUNNEL.pack(*command),
    RequestTunnelResponse: lambda command: _REQUEST_TUNNEL_RESPONSE.pack(*command),
    CloseTunnel: lambda command: _CLOSE_TUNNEL.pack(*command),
    TransferData: _build_transfer_data,
    TransferDataError: lambda command: _TRANSFER_DATA_ERROR.pack(*command),
    AckTransferData: lambda command: _ACK_TRANSFER_DATA.pack(*command),
    ReadyData: lambda command: _READY_DATA.pack(*command),
    GetSupportedTunnelProtocols: lambda command: _GET_SUPPORTED.pack(*command),
    SupportedTunnelProtocolsResponse: _build_supported,
    TunnelClosureNotification: lambda command: _CLOSURE.pack(*command),
}

TunnelCommand = (
    RequestTunnel
    | RequestTunnelResponse
    | CloseTunnel
    | TransferData
    | TransferDataError
    | AckTransferData
    | ReadyData
    | GetSupportedTunnelProtocols
    | SupportedTunnelProtocolsResponse
    | TunnelClosureNotification
)


def build(command: TunnelCommand) -> bytes:
    """The payload of a command. Raises ZclValueError when a value does not fit its field."""
    return _BUILDERS[type(command)](command)
