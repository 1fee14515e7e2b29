"""The ten commands of the OTA Upgrade cluster.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade): attributes, commands.

`build` makes the payload behind the ZCL header, each `parse_*` takes one apart. Field control bits
follow from which optional fields are there; reserved ones are ignored when parsing. A payload must
end where its last field does. The one exception is the Upgrade End Request of a failed upgrade,
which some clients send as a status alone.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple

from emulator.zigbee.zcl import Layout, Status, ZclError, ZclValueError, expect_end

CLUSTER_ID = 0x0019

IMAGE_NOTIFY = 0x00
QUERY_NEXT_IMAGE_REQUEST = 0x01
QUERY_NEXT_IMAGE_RESPONSE = 0x02
IMAGE_BLOCK_REQUEST = 0x03
IMAGE_PAGE_REQUEST = 0x04
IMAGE_BLOCK_RESPONSE = 0x05
UPGRADE_END_REQUEST = 0x06
UPGRADE_END_RESPONSE = 0x07
QUERY_DEVICE_SPECIFIC_FILE_REQUEST = 0x08
QUERY_DEVICE_SPECIFIC_FILE_RESPONSE = 0x09

ANY_MANUFACTURER = 0xFFFF
ANY_IMAGE_TYPE = 0xFFFF
ANY_FILE_VERSION = 0xFFFFFFFF
WAIT_FOR_UPGRADE_COMMAND = 0xFFFFFFFF
"""As upgrade time: the client waits until it is told by another Upgrade End Response."""

NO_FILE_OFFSET = 0xFFFFFFFF
UNKNOWN_EUI64 = 0xFFFFFFFFFFFFFFFF
UNKNOWN_STACK_VERSION = 0xFFFF
STACK_VERSION_PRO = 0x0002

# A whole frame, ZCL header included, of an Image Block Request without optional fields and of the
# head of an Image Block Response with data: frame control, sequence number, command, field control
# or status, manufacturer, type, version, offset, maximum data size or data size.
BLOCK_FRAME = Struct("<BBBBHHIIB")


class Attribute(IntEnum):
    """Attributes of the client."""

    UPGRADE_SERVER_ID = 0x0000
    FILE_OFFSET = 0x0001
    CURRENT_FILE_VERSION = 0x0002
    CURRENT_ZIGBEE_STACK_VERSION = 0x0003
    DOWNLOADED_FILE_VERSION = 0x0004
    DOWNLOADED_ZIGBEE_STACK_VERSION = 0x0005
    IMAGE_UPGRADE_STATUS = 0x0006
    MANUFACTURER_ID = 0x0007
    IMAGE_TYPE_ID = 0x0008
    MINIMUM_BLOCK_PERIOD = 0x0009
    IMAGE_STAMP = 0x000A
    UPGRADE_ACTIVATION_POLICY = 0x000B
    UPGRADE_TIMEOUT_POLICY = 0x000C
    CLUSTER_REVISION = 0xFFFD


class ImageUpgradeStatus(IntEnum):
    NORMAL = 0
    DOWNLOAD_IN_PROGRESS = 1
    DOWNLOAD_COMPLETE = 2
    WAITING_TO_UPGRADE = 3
    COUNT_DOWN = 4
    WAIT_FOR_MORE = 5
    WAITING_TO_UPGRADE_VIA_EXTERNAL_EVENT = 6


class ImageNotify(NamedTuple):
    """A hint that an image waits. The payload type is how many of the last three are given."""

    query_jitter: int
    manufacturer_code: int | None = None
    image_type: int | None = None
    file_version: int | None = None


class QueryNextImageRequest(NamedTuple):
    manufacturer_code: int
    image_type: int
    current_file_version: int
    hardware_version: int | None = None


class QueryNextImageResponse(NamedTuple):
    """All fields with SUCCESS, the status alone otherwise."""

    status: int
    manufacturer_code: int | None = None
    image_type: int | None = None
    file_version: int | None = None
    image_size_bytes: int | None = None


class ImageBlockRequest(NamedTuple):
    """`minimum_block_period` has no unit here: milliseconds or seconds, by cluster revision."""

    manufacturer_code: int
    image_type: int
    file_version: int
    file_offset: int
    maximum_data_size: int
    request_node_address: int | None = None
    minimum_block_period: int | None = None


class ImagePageRequest(NamedTuple):
    manufacturer_code: int
    image_type: int
    file_version: int
    file_offset: int
    maximum_data_size: int
    page_size: int
    response_spacing_ms: int
    request_node_address: int | None = None


class ImageBlockResponse(NamedTuple):
    """Status SUCCESS: octets of the file."""

    manufacturer_code: int
    image_type: int
    file_version: int
    file_offset: int
    data: bytes


class ImageBlockWait(NamedTuple):
    """Status WAIT_FOR_DATA: ask again later, and from now on with this pause between blocks."""

    current_time_s: int
    request_time_s: int
    minimum_block_period: int | None = None


class ImageBlockRefused(NamedTuple):
    """Status ABORT, or one that has no business here, alone."""

    status: int = Status.ABORT


class UpgradeEndRequest(NamedTuple):
    """All fields; from some clients a status other than SUCCESS comes alone."""

    status: int
    manufacturer_code: int | None = None
    image_type: int | None = None
    file_version: int | None = None


class UpgradeEndResponse(NamedTuple):
    manufacturer_code: int
    image_type: int
    file_version: int
    current_time_s: int
    upgrade_time_s: int


class QueryDeviceSpecificFileRequest(NamedTuple):
    request_node_address: int
    manufacturer_code: int
    image_type: int
    file_version: int
    zigbee_stack_version: int


class QueryDeviceSpecificFileResponse(NamedTuple):
    """All fields with SUCCESS, the status alone otherwise."""

    status: int
    manufacturer_code: int | None = None
    image_type: int | None = None
    file_version: int | None = None
    image_size_bytes: int | None = None


ImageBlockAnswer = ImageBlockResponse | ImageBlockWait | ImageBlockRefused

_HARDWARE_VERSION_PRESENT = 0x01
_NODE_ADDRESS_PRESENT = 0x01
_BLOCK_PERIOD_PRESENT = 0x02

_IDS = {"manufacturer_code": "H", "image_type": "H", "file_version": "I"}
_NODE = {"request_node_address": "Q"}
_PERIOD = {"minimum_block_period": "H"}
_BLOCK = {"field_control": "B", **_IDS, "file_offset": "I", "maximum_data_size": "B"}
_PAGE = {**_BLOCK, "page_size": "H", "response_spacing_ms": "H"}
_WAIT = {"status": "B", "current_time_s": "I", "request_time_s": "I"}
_QUERY = {
    "field_control": "B",
    "manufacturer_code": "H",
    "image_type": "H",
    "current_file_version": "I",
}

# Indexed by payload type, and by the known bits of field control.
_IMAGE_NOTIFY = tuple(
    Layout("Image Notify", payload_type="B", query_jitter="B", **dict(list(_IDS.items())[:count]))
    for count in range(4)
)
_QUERY_REQUEST = tuple(
    Layout("Query Next Image Request", **_QUERY, **optional)
    for optional in ({}, {"hardware_version": "H"})
)
_BLOCK_REQUEST = tuple(
    Layout("Image Block Request", **_BLOCK, **optional)
    for optional in ({}, _NODE, _PERIOD, {**_NODE, **_PERIOD})
)
_PAGE_REQUEST = tuple(Layout("Image Page Request", **_PAGE, **optional) for optional in ({}, _NODE))
_BLOCK_RESPONSE = Layout("Image Block Response", status="B", **_IDS, file_offset="I", data_size="B")
_BLOCK_WAIT = Layout("Image Block Response", **_WAIT)
_BLOCK_WAIT_PERIOD = Layout("Image Block Response", **_WAIT, **_PERIOD)
_STATUS = Layout("Image Block Response", status="B")
_END_REQUEST = Layout("Upgrade End Request", status="B", **_IDS)
_END_STATUS = Layout("Upgrade End Request", status="B")
_END_RESPONSE = Layout("Upgrade End Response", **_IDS, current_time_s="I", upgrade_time_s="I")
_FILE_REQUEST = Layout(
    "Query Device Specific File Request", **_NODE, **_IDS, zigbee_stack_version="H"
)


class _QueryAnswer:
    """The form that the responses to both queries share."""

    def __init__(self, what: str) -> None:
        self._found = Layout(what, status="B", **_IDS, image_size_bytes="I")
        self._status = Layout(what, status="B")

    def parse(self, payload: bytes) -> tuple[int, ...]:
        (status,) = self._status.unpack(payload)
        layout = self._found if status == Status.SUCCESS else self._status
        return layout.unpack_all(payload)

    def build(self, response: QueryNextImageResponse | QueryDeviceSpecificFileResponse) -> bytes:
        if response.status == Status.SUCCESS:
            return self._found.pack(*response)
        return self._status.pack(response.status)


_QUERY_RESPONSE = _QueryAnswer("Query Next Image Response")
_FILE_RESPONSE = _QueryAnswer("Query Device Specific File Response")


def parse_image_notify(payload: bytes) -> ImageNotify:
    """A jitter outside 1 to 100 is left for the receiver to judge: it counts in broadcasts only."""
    payload_type, _ = _IMAGE_NOTIFY[0].unpack(payload)
    if payload_type >= len(_IMAGE_NOTIFY):
        raise ZclError(f"Image Notify has payload type {payload_type}, 3 is the last", 0)
    return ImageNotify(*_IMAGE_NOTIFY[payload_type].unpack_all(payload)[1:])


def _build_image_notify(command: ImageNotify) -> bytes:
    given = [value for value in command if value is not None]
    payload_type = len(given) - 1
    if payload_type < 0 or list(command[: len(given)]) != given:
        raise ZclValueError(f"Image Notify: a field before the last one is missing in {command}")
    return _IMAGE_NOTIFY[payload_type].pack(payload_type, *given)


def parse_query_next_image_request(payload: bytes) -> QueryNextImageRequest:
    present = _field_control(payload) & _HARDWARE_VERSION_PRESENT
    return QueryNextImageRequest(*_QUERY_REQUEST[present].unpack_all(payload)[1:])


def _build_query_next_image_request(command: QueryNextImageRequest) -> bytes:
    if command.hardware_version is None:
        return _QUERY_REQUEST[0].pack(0, *command[:-1])
    return _QUERY_REQUEST[1].pack(_HARDWARE_VERSION_PRESENT, *command)


def parse_query_next_image_response(payload: bytes) -> QueryNextImageResponse:
    return QueryNextImageResponse(*_QUERY_RESPONSE.parse(payload))


def parse_image_block_request(payload: bytes) -> ImageBlockRequest:
    present = _field_control(payload) & (_NODE_ADDRESS_PRESENT | _BLOCK_PERIOD_PRESENT)
    _, maker, kind, version, offset, most, *optional = _BLOCK_REQUEST[present].unpack_all(payload)
    node = optional.pop(0) if present & _NODE_ADDRESS_PRESENT else None
    period = optional.pop() if present & _BLOCK_PERIOD_PRESENT else None
    return ImageBlockRequest(maker, kind, version, offset, most, node, period)


def _build_image_block_request(command: ImageBlockRequest) -> bytes:
    present, optional = 0, []
    if command.request_node_address is not None:
        present |= _NODE_ADDRESS_PRESENT
        optional.append(command.request_node_address)
    if command.minimum_block_period is not None:
        present |= _BLOCK_PERIOD_PRESENT
        optional.append(command.minimum_block_period)
    return _BLOCK_REQUEST[present].pack(present, *command[:5], *optional)


def parse_image_page_request(payload: bytes) -> ImagePageRequest:
    present = _field_control(payload) & _NODE_ADDRESS_PRESENT
    return ImagePageRequest(*_PAGE_REQUEST[present].unpack_all(payload)[1:])


def _build_image_page_request(command: ImagePageRequest) -> bytes:
    if command.request_node_address is None:
        return _PAGE_REQUEST[0].pack(0, *command[:-1])
    return _PAGE_REQUEST[1].pack(_NODE_ADDRESS_PRESENT, *command)


def parse_image_block_response(payload: bytes) -> ImageBlockAnswer:
    (status,) = _STATUS.unpack(payload)
    if status == Status.SUCCESS:
        _, manufacturer, image_type, version, offset, size = _BLOCK_RESPONSE.unpack(payload)
        end = _BLOCK_RESPONSE.octets + size
        if len(payload) < end:
            sentence = f"Image Block Response says {size} data octets and has fewer"
            raise ZclError(sentence, len(payload))
        expect_end(_BLOCK_RESPONSE.what, payload, end)
        data = payload[_BLOCK_RESPONSE.octets :]
        return ImageBlockResponse(manufacturer, image_type, version, offset, data)
    if status == Status.WAIT_FOR_DATA:
        layout = _BLOCK_WAIT if len(payload) <= _BLOCK_WAIT.octets else _BLOCK_WAIT_PERIOD
        return ImageBlockWait(*layout.unpack_all(payload)[1:])
    return ImageBlockRefused(*_STATUS.unpack_all(payload))


def _build_image_block_response(command: ImageBlockResponse) -> bytes:
    *ids, data = command
    return _BLOCK_RESPONSE.pack(Status.SUCCESS, *ids, len(data)) + data


def _build_image_block_wait(command: ImageBlockWait) -> bytes:
    if command.minimum_block_period is None:
        return _BLOCK_WAIT.pack(Status.WAIT_FOR_DATA, *command[:-1])
    return _BLOCK_WAIT_PERIOD.pack(Status.WAIT_FOR_DATA, *command)


def _build_image_block_refused(command: ImageBlockRefused) -> bytes:
    if command.status in (Status.SUCCESS, Status.WAIT_FOR_DATA):
        raise ZclValueError(f"Image Block Response: status {command.status} does not come alone")
    return _STATUS.pack(command.status)


def parse_upgrade_end_request(payload: bytes) -> UpgradeEndRequest:
    (status,) = _END_STATUS.unpack(payload)
    if len(payload) == _END_STATUS.octets and status != Status.SUCCESS:
        return UpgradeEndRequest(status)
    return UpgradeEndRequest(*_END_REQUEST.unpack_all(payload))


def _build_upgrade_end_request(command: UpgradeEndRequest) -> bytes:
    if command.status != Status.SUCCESS and command[1:] == (None, None, None):
        return _END_STATUS.pack(command.status)
    return _END_REQUEST.pack(*command)


def parse_upgrade_end_response(payload: bytes) -> UpgradeEndResponse:
    return UpgradeEndResponse(*_END_RESPONSE.unpack_all(payload))


def parse_query_device_specific_file_request(payload: bytes) -> QueryDeviceSpecificFileRequest:
    return QueryDeviceSpecificFileRequest(*_FILE_REQUEST.unpack_all(payload))


def parse_query_device_specific_file_response(payload: bytes) -> QueryDeviceSpecificFileResponse:
    return QueryDeviceSpecificFileResponse(*_FILE_RESPONSE.parse(payload))


def _field_control(payload: bytes) -> int:
    # An empty payload is reported by the layout that is then applied.
    return payload[0] if payload else 0


_BUILDERS: dict[type[Any], Callable[[Any], bytes]] = {
    ImageNotify: _build_image_notify,
    QueryNextImageRequest: _build_query_next_image_request,
    QueryNextImageResponse: _QUERY_RESPONSE.build,
    ImageBlockRequest: _build_image_block_request,
    ImagePageRequest: _build_image_page_request,
    ImageBlockResponse: _build_image_block_response,
    ImageBlockWait: _build_image_block_wait,
    ImageBlockRefused: _build_image_block_refused,
    UpgradeEndRequest: _build_upgrade_end_request,
    UpgradeEndResponse: lambda command: _END_RESPONSE.pack(*command),
    QueryDeviceSpecificFileRequest: lambda command: _FILE_REQUEST.pack(*command),
    QueryDeviceSpecificFileResponse: _FILE_RESPONSE.build,
}

OtaCommand = (
    ImageNotify
    | QueryNextImageRequest
    | QueryNextImageResponse
    | ImageBlockRequest
    | ImagePageRequest
    | ImageBlockAnswer
    | UpgradeEndRequest
    | UpgradeEndResponse
    | QueryDeviceSpecificFileRequest
    | QueryDeviceSpecificFileResponse
)


def build(command: OtaCommand) -> bytes:
    """The payload of a command. Raises ZclValueError when a value does not fit its field."""
    return _BUILDERS[type(command)](command)
