"""What the payload of an APS frame is, in the words of the field.

Source: ZigBee Cluster Library 07-5123-06, 2.5 and chapter 11 (OTA Upgrade); Smart Energy profile
07-5356-21, D.6 (Tunnelling); ZigBee specification 05-3474, 2.4 (device profile). Names of commands
are the documents', without their spaces; values are those a reader looks for, versions and
identifiers in hexadecimal.

A payload that breaks its form is said to: what the air carries is for the reader to judge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from emulator.zigbee import ota, tunnelling, zcl, zdo
from emulator.zigbee.zcl import ZclError, ZclFrame, status_name
from gbcs.codes import use_case
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError


class Words(NamedTuple):
    """The layer or cluster, and what it says."""

    layer: str
    what: str


CLUSTERS = {
    0x0000: "Basic",
    0x000A: "Time",
    ota.CLUSTER_ID: "OTA",
    0x0700: "Price",
    0x0702: "Metering",
    tunnelling.CLUSTER_ID: "Tunnelling",
    0x0800: "KeyEstablishment",
}

_ZDO = {
    zdo.NWK_ADDRESS: "NWK_addr",
    zdo.IEEE_ADDRESS: "IEEE_addr",
    zdo.NODE_DESCRIPTOR: "Node_Desc",
    zdo.POWER_DESCRIPTOR: "Power_Desc",
    zdo.SIMPLE_DESCRIPTOR: "Simple_Desc",
    zdo.ACTIVE_ENDPOINTS: "Active_EP",
    zdo.MATCH_DESCRIPTOR: "Match_Desc",
    0x0021: "Bind",
    0x0022: "Unbind",
    0x0031: "Mgmt_Lqi",
    0x0034: "Mgmt_Leave",
    zdo.MGMT_PERMIT_JOINING: "Mgmt_Permit_Joining",
}
_ZDO_STATUS = {
    zdo.SUCCESS: "SUCCESS",
    zdo.INVALID_REQUEST_TYPE: "INV_REQUESTTYPE",
    zdo.DEVICE_NOT_FOUND: "DEVICE_NOT_FOUND",
    zdo.INVALID_ENDPOINT: "INVALID_EP",
    zdo.NOT_ACTIVE: "NOT_ACTIVE",
    zdo.NOT_SUPPORTED: "NOT_SUPPORTED",
    zdo.INSUFFICIENT_SPACE: "INSUFFICIENT_SPACE",
}


def cluster_name(cluster: int) -> str:
    return CLUSTERS.get(cluster, f"cluster {cluster:04X}")


def zdo_name(cluster: int) -> str:
    if cluster == zdo.DEVICE_ANNOUNCE:
        return "Device_annce"
    name = _ZDO.get(cluster & ~zdo.RESPONSE, f"cluster {cluster:04X}")
    return name + ("_rsp" if cluster & zdo.RESPONSE else "_req")


def zdo_words(cluster: int, payload: bytes) -> Words:
    """A message of the device profile; of a response its status."""
    name = zdo_name(cluster)
    if cluster & zdo.RESPONSE and len(payload) > 1:
        status = payload[1]
        name += f" {_ZDO_STATUS.get(status, f'status 0x{status:02X}')}"
    return Words("ZDO", name)


def zcl_words(cluster: int, payload: bytes) -> Words:
    """A ZCL frame, whole."""
    layer = cluster_name(cluster)
    try:
        frame = zcl.parse(payload)
        if not frame.is_cluster_command:
            return Words(layer, _general(frame))
        known = _known(cluster, frame)
        if known is None:
            return Words(layer, f"command 0x{frame.command:02X}, {len(payload)} octets")
        name, words = known
        try:
            return Words(layer, f"{name} {words(frame.payload)}".rstrip())
        except ZclError as error:
            return Words(layer, f"{name}, malformed: {error}")
    except ZclError as error:
        return Words(layer, f"malformed: {error}")


def zcl_head(cluster: int, payload: bytes) -> Words:
    """A ZCL frame of which only the first fragment is there."""
    layer = cluster_name(cluster)
    try:
        frame = zcl.parse(payload)
        known = _known(cluster, frame)
        if known is None:
            return Words(layer, f"command 0x{frame.command:02X}")
        name, _ = known
        if name == "TransferData":
            name += f" tunnel {tunnelling.parse_transfer_data(frame.payload).tunnel_id}"
        return Words(layer, name)
    except ZclError as error:
        return Words(layer, f"malformed: {error}")


def _general(frame: ZclFrame) -> str:
    """A command that every cluster has."""
    match frame.command:
        case zcl.READ_ATTRIBUTES:
            ids = zcl.parse_read_attributes(frame.payload)
            return "ReadAttributes " + " ".join(f"{attribute:04X}" for attribute in ids)
        case zcl.READ_ATTRIBUTES_RESPONSE:
            records = zcl.parse_read_attributes_response(frame.payload)
            return "ReadAttributesResponse " + ", ".join(
                f"{record.attribute_id:04X} "
                + (status_name(record.status) if record.value is None else f"= {record.value}")
                for record in records
            )
        case zcl.DEFAULT_RESPONSE:
            response = zcl.parse_default_response(frame.payload)
            return f"DefaultResponse to 0x{response.command:02X}, {status_name(response.status)}"
        case command:
            return f"general command 0x{command:02X}"


# -- OTA Upgrade ---------------------------------------------------------------------------------


def _file(manufacturer: int | None, image_type: int | None, version: int | None) -> str:
    """Which file: manufacturer, image type and version, as far as they are given."""
    parts = (
        "" if manufacturer is None else f"manufacturer {manufacturer:04X}",
        "" if image_type is None else f"type {image_type:04X}",
        "" if version is None else f"version {version:08X}",
    )
    return " ".join(filter(None, parts))


def _notify(payload: bytes) -> str:
    command = ota.parse_image_notify(payload)
    file = _file(command.manufacturer_code, command.image_type, command.file_version)
    return f"{file} jitter {command.query_jitter}".strip()


def _query(payload: bytes) -> str:
    command = ota.parse_query_next_image_request(payload)
    words = _file(command.manufacturer_code, command.image_type, command.current_file_version)
    if command.hardware_version is not None:
        words += f" hardware {command.hardware_version:04X}"
    return words


def _query_answer(payload: bytes) -> str:
    answer = ota.parse_query_next_image_response(payload)
    if answer.image_size_bytes is None:
        return status_name(answer.status)
    file = _file(answer.manufacturer_code, answer.image_type, answer.file_version)
    return f"{status_name(answer.status)} {file}, {answer.image_size_bytes} octets"


def _block_request(payload: bytes) -> str:
    command = ota.parse_image_block_request(payload)
    words = f"{command.file_offset:08X} {command.maximum_data_size} octets"
    if command.minimum_block_period is not None:
        words += f", block period {command.minimum_block_period}"
    return words


def _page_request(payload: bytes) -> str:
    command = ota.parse_image_page_request(payload)
    return f"{command.file_offset:08X} {command.page_size} octets"


def _block_answer(payload: bytes) -> str:
    match ota.parse_image_block_response(payload):
        case ota.ImageBlockResponse() as answer:
            return f"{answer.file_offset:08X} {len(answer.data)} octets"
        case ota.ImageBlockWait() as wait:
            delay_s = wait.request_time_s - wait.current_time_s
            return f"WAIT_FOR_DATA, ask again in {delay_s} s"
        case ota.ImageBlockRefused() as refused:
            return status_name(refused.status)


def _end_request(payload: bytes) -> str:
    command = ota.parse_upgrade_end_request(payload)
    file = _file(command.manufacturer_code, command.image_type, command.file_version)
    return f"{status_name(command.status)} {file}".strip()


def _end_answer(payload: bytes) -> str:
    answer = ota.parse_upgrade_end_response(payload)
    file = _file(answer.manufacturer_code, answer.image_type, answer.file_version)
    if answer.upgrade_time_s == ota.WAIT_FOR_UPGRADE_COMMAND:
        return f"{file}, wait for another"
    return f"{file}, upgrade in {answer.upgrade_time_s - answer.current_time_s} s"


def _file_request(payload: bytes) -> str:
    command = ota.parse_query_device_specific_file_request(payload)
    return _file(command.manufacturer_code, command.image_type, command.file_version)


def _file_answer(payload: bytes) -> str:
    return status_name(ota.parse_query_device_specific_file_response(payload).status)


# -- Tunnelling ----------------------------------------------------------------------------------


def _named(value: int, names: type[tunnelling.TunnelStatus | tunnelling.TransferStatus]) -> str:
    try:
        return names(value).name
    except ValueError:
        return f"status {value}"


def _request_tunnel(payload: bytes) -> str:
    command = tunnelling.parse_request_tunnel(payload)
    most = command.maximum_incoming_transfer_size
    return f"protocol {command.protocol_id}, at most {most} octets"


def _request_tunnel_answer(payload: bytes) -> str:
    answer = tunnelling.parse_request_tunnel_response(payload)
    status = _named(answer.tunnel_status, tunnelling.TunnelStatus)
    if answer.tunnel_status != tunnelling.TunnelStatus.SUCCESS:
        return status
    most = answer.maximum_incoming_transfer_size
    return f"{status}, tunnel {answer.tunnel_id}, at most {most} octets"


def _transfer(payload: bytes) -> str:
    transfer = tunnelling.parse_transfer_data(payload)
    words = f"tunnel {transfer.tunnel_id}, {len(transfer.data)} octets"
    message = gbcs_words(transfer.data)
    return words if message is None else f"{words}: {message}"


def gbcs_words(data: bytes) -> str | None:
    """The GBCS message in a tunnel, None when it is none."""
    try:
        frame = parse_frame(data).frame
    except GbcsError:
        return None
    name = use_case(frame.message_code) or f"message code {frame.message_code:04X}"
    return f"GBCS {name} {frame.cra.name.lower()}, counter {frame.originator_counter}"


def _transfer_error(payload: bytes) -> str:
    error = tunnelling.parse_transfer_data_error(payload)
    status = _named(error.transfer_data_status, tunnelling.TransferStatus)
    return f"tunnel {error.tunnel_id}, {status}"


def _octets_left(payload: bytes) -> str:
    answer = tunnelling.parse_ack_transfer_data(payload)
    return f"tunnel {answer.tunnel_id}, {answer.octets_left} octets left"


def _tunnel_id(payload: bytes) -> str:
    return f"tunnel {tunnelling.parse_close_tunnel(payload).tunnel_id}"


def _nothing(_payload: bytes) -> str:
    return ""


_Row = tuple[str, Callable[[bytes], str]]

# By cluster and who speaks (True: the server), by command.
_COMMANDS: dict[tuple[int, bool], dict[int, _Row]] = {
    (ota.CLUSTER_ID, False): {
        ota.QUERY_NEXT_IMAGE_REQUEST: ("QueryNextImageRequest", _query),
        ota.IMAGE_BLOCK_REQUEST: ("ImageBlockRequest", _block_request),
        ota.IMAGE_PAGE_REQUEST: ("ImagePageRequest", _page_request),
        ota.UPGRADE_END_REQUEST: ("UpgradeEndRequest", _end_request),
        ota.QUERY_DEVICE_SPECIFIC_FILE_REQUEST: ("QueryDeviceSpecificFileRequest", _file_request),
    },
    (ota.CLUSTER_ID, True): {
        ota.IMAGE_NOTIFY: ("ImageNotify", _notify),
        ota.QUERY_NEXT_IMAGE_RESPONSE: ("QueryNextImageResponse", _query_answer),
        ota.IMAGE_BLOCK_RESPONSE: ("ImageBlockResponse", _block_answer),
        ota.UPGRADE_END_RESPONSE: ("UpgradeEndResponse", _end_answer),
        ota.QUERY_DEVICE_SPECIFIC_FILE_RESPONSE: ("QueryDeviceSpecificFileResponse", _file_answer),
    },
    (tunnelling.CLUSTER_ID, False): {
        tunnelling.REQUEST_TUNNEL: ("RequestTunnel", _request_tunnel),
        tunnelling.CLOSE_TUNNEL: ("CloseTunnel", _tunnel_id),
        tunnelling.TRANSFER_DATA_TO_SERVER: ("TransferData", _transfer),
        tunnelling.TRANSFER_DATA_ERROR_TO_SERVER: ("TransferDataError", _transfer_error),
        tunnelling.ACK_TRANSFER_DATA_TO_SERVER: ("AckTransferData", _octets_left),
        tunnelling.READY_DATA_TO_SERVER: ("ReadyData", _octets_left),
        tunnelling.GET_SUPPORTED_TUNNEL_PROTOCOLS: ("GetSupportedTunnelProtocols", _nothing),
    },
    (tunnelling.CLUSTER_ID, True): {
        tunnelling.REQUEST_TUNNEL_RESPONSE: ("RequestTunnelResponse", _request_tunnel_answer),
        tunnelling.TRANSFER_DATA_TO_CLIENT: ("TransferData", _transfer),
        tunnelling.TRANSFER_DATA_ERROR_TO_CLIENT: ("TransferDataError", _transfer_error),
        tunnelling.ACK_TRANSFER_DATA_TO_CLIENT: ("AckTransferData", _octets_left),
        tunnelling.READY_DATA_TO_CLIENT: ("ReadyData", _octets_left),
        tunnelling.SUPPORTED_TUNNEL_PROTOCOLS_RESPONSE: (
            "SupportedTunnelProtocolsResponse",
            _nothing,
        ),
        tunnelling.TUNNEL_CLOSURE_NOTIFICATION: ("TunnelClosureNotification", _tunnel_id),
    },
}


def _known(cluster: int, frame: ZclFrame) -> _Row | None:
    """The row of a cluster's own command; a manufacturer's has none."""
    if frame.manufacturer_code is not None or not frame.is_cluster_command:
        return None
    return _COMMANDS.get((cluster, frame.is_from_server), {}).get(frame.command)
