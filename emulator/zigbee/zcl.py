"""ZCL frames: the header, default responses, the reading of attributes.

Source: ZigBee Cluster Library 07-5123-06, 2.4 (frame format), 2.5.1 and 2.5.2 (read attributes),
2.5.12 (default response), 2.6.2 (data types), 2.6.3 (status).

Trailing octets are an error in every payload here and in the clusters built on this module; the
few exceptions are named where they are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

SMART_ENERGY_PROFILE_ID = 0x0109

# Frame control (2.4.1.1).
CLUSTER_COMMAND = 0x01
MANUFACTURER_SPECIFIC = 0x04
SERVER_TO_CLIENT = 0x08
DISABLE_DEFAULT_RESPONSE = 0x10
_FRAME_TYPE_MASK = 0x03
_HIGHEST_FRAME_TYPE = 1

REQUEST = CLUSTER_COMMAND
RESPONSE = CLUSTER_COMMAND | SERVER_TO_CLIENT | DISABLE_DEFAULT_RESPONSE
NOTIFY = CLUSTER_COMMAND | SERVER_TO_CLIENT

# Commands every cluster has (2.5).
READ_ATTRIBUTES = 0x00
READ_ATTRIBUTES_RESPONSE = 0x01
DEFAULT_RESPONSE = 0x0B

HEADER_OCTETS = 3
_HEADER = Struct("<BBB")
_MANUFACTURER_HEADER = Struct("<BHBB")

# An APS payload that needs no fragments under APS security (127 - 11 MAC - 26 NWK - 17 APS).
MAX_UNFRAGMENTED_OCTETS = 73


class Status(IntEnum):
    SUCCESS = 0x00
    FAILURE = 0x01
    NOT_AUTHORIZED = 0x7E
    MALFORMED_COMMAND = 0x80
    UNSUP_CLUSTER_COMMAND = 0x81
    UNSUP_GENERAL_COMMAND = 0x82
    UNSUP_MANUF_CLUSTER_COMMAND = 0x83
    UNSUP_MANUF_GENERAL_COMMAND = 0x84
    INVALID_FIELD = 0x85
    UNSUPPORTED_ATTRIBUTE = 0x86
    INVALID_VALUE = 0x87
    INSUFFICIENT_SPACE = 0x89
    DUPLICATE_EXISTS = 0x8A
    NOT_FOUND = 0x8B
    TIMEOUT = 0x94
    ABORT = 0x95
    INVALID_IMAGE = 0x96
    WAIT_FOR_DATA = 0x97
    NO_IMAGE_AVAILABLE = 0x98
    REQUIRE_MORE_IMAGE = 0x99
    NOTIFICATION_PENDING = 0x9A


class DataType(IntEnum):
    """The data types that the attributes read here have."""

    UINT8 = 0x20
    UINT16 = 0x21
    UINT32 = 0x23
    ENUM8 = 0x30
    EUI64 = 0xF0


_TYPE_OCTETS: dict[int, int] = {
    DataType.UINT8: 1,
    DataType.UINT16: 2,
    DataType.UINT32: 4,
    DataType.ENUM8: 1,
    DataType.EUI64: 8,
}


class ZclError(Exception):
    """A received frame or payload that breaks the cluster library's rules, and where."""

    def __init__(self, sentence: str, offset: int) -> None:
        super().__init__(f"{sentence} (octet {offset})")
        self.offset = offset


class ZclValueError(ValueError):
    """The caller asked for a frame that cannot be: a value its field does not hold."""


def status_name(status: int) -> str:
    """The name of a status for a sentence; a number where it has none."""
    try:
        return Status(status).name
    except ValueError:
        return f"status 0x{status:02X}"


class Layout:
    """The fixed fields at the head of a payload: one precompiled struct, and names for complaints.

    `fields` maps names to struct codes, in order.
    """

    __slots__ = ("_codes", "_names", "_pack", "_unpack_from", "octets", "what")

    def __init__(self, what: str, **fields: str) -> None:
        self.what = what
        self._names = tuple(fields)
        self._codes = tuple(fields.values())
        whole = Struct("<" + "".join(self._codes))
        self._pack = whole.pack
        self._unpack_from = whole.unpack_from
        self.octets = whole.size

    def pack(self, *values: int | None) -> bytes:
        try:
            return self._pack(*values)
        except StructError:
            raise self._unfit(values) from None

    def unpack(self, payload: bytes) -> tuple[int, ...]:
        """The fields `payload` begins with; more may follow."""
        try:
            return self._unpack_from(payload)
        except StructError:
            raise self._too_short(len(payload)) from None

    def unpack_all(self, payload: bytes) -> tuple[int, ...]:
        """The fields of a payload that holds nothing else."""
        values = self.unpack(payload)
        expect_end(self.what, payload, self.octets)
        return values

    def _too_short(self, length: int) -> ZclError:
        start = 0
        for name, code in zip(self._names, self._codes, strict=True):
            end = start + Struct("<" + code).size
            if end > length:
                return ZclError(f"{self.what} ends at octet {length}, inside {name}", start)
            start = end
        return ZclError(f"{self.what} ends at octet {length}", start)  # pragma: no cover

    def _unfit(self, values: tuple[int | None, ...]) -> ZclValueError:
        for name, code, value in zip(self._names, self._codes, values, strict=True):
            try:
                Struct("<" + code).pack(value)
            except StructError:
                return ZclValueError(f"{self.what}: {name} cannot be {value!r}")
        return ZclValueError(f"{self.what}: {values!r} does not fit")  # pragma: no cover


def expect_end(what: str, payload: bytes, octets: int) -> None:
    """Raise ZclError when something follows the `octets` that belong to the payload."""
    if len(payload) > octets:
        raise ZclError(f"{what} has {len(payload)} octets, not {octets}", octets)


class ZclFrame(NamedTuple):
    """A frame taken apart; `payload` is what follows the header."""

    frame_control: int
    tsn: int
    command: int
    payload: bytes
    manufacturer_code: int | None = None

    @property
    def is_cluster_command(self) -> bool:
        return self.frame_control & _FRAME_TYPE_MASK == CLUSTER_COMMAND

    @property
    def is_default_response(self) -> bool:
        """Whether it must not be answered, lest two nodes answer each other without end."""
        return not self.is_cluster_command and self.command == DEFAULT_RESPONSE

    @property
    def is_from_server(self) -> bool:
        return self.frame_control & SERVER_TO_CLIENT != 0


def parse(data: bytes) -> ZclFrame:
    """Raises ZclError."""
    if len(data) < HEADER_OCTETS:
        raise ZclError(f"a ZCL header has at least 3 octets, this frame {len(data)}", len(data))
    control = data[0]
    if control & _FRAME_TYPE_MASK > _HIGHEST_FRAME_TYPE:
        raise ZclError(f"ZCL frame type {control & _FRAME_TYPE_MASK} is reserved", 0)
    if not control & MANUFACTURER_SPECIFIC:
        return ZclFrame(control, data[1], data[2], data[HEADER_OCTETS:])
    if len(data) < _MANUFACTURER_HEADER.size:
        sentence = f"a manufacturer-specific ZCL header has 5 octets, this frame {len(data)}"
        raise ZclError(sentence, len(data))
    _, manufacturer_code, tsn, command = _MANUFACTURER_HEADER.unpack_from(data)
    return ZclFrame(control, tsn, command, data[_MANUFACTURER_HEADER.size :], manufacturer_code)


def build(frame: ZclFrame) -> bytes:
    """Raises ZclValueError."""
    control, tsn, command, payload, manufacturer_code = frame
    if control & _FRAME_TYPE_MASK > _HIGHEST_FRAME_TYPE:
        raise ZclValueError(f"frame control 0x{control:02X} has a reserved frame type")
    if (control & MANUFACTURER_SPECIFIC != 0) != (manufacturer_code is not None):
        raise ZclValueError("manufacturer code and manufacturer-specific bit go together")
    try:
        if manufacturer_code is None:
            return _HEADER.pack(control, tsn, command) + payload
        return _MANUFACTURER_HEADER.pack(control, manufacturer_code, tsn, command) + payload
    except StructError:
        raise ZclValueError(f"no ZCL header holds {frame[:3]} and {manufacturer_code}") from None


class DefaultResponse(NamedTuple):
    """What became of a command that has no other answer."""

    command: int
    status: int


_DEFAULT_RESPONSE = Layout("Default Response", command="B", status="B")


def parse_default_response(payload: bytes) -> DefaultResponse:
    return DefaultResponse(*_DEFAULT_RESPONSE.unpack_all(payload))


def build_default_response(response: DefaultResponse) -> bytes:
    return _DEFAULT_RESPONSE.pack(*response)


def default_response_to(frame: ZclFrame, status: int) -> bytes:
    """The whole frame that answers `frame` with `status`, under its sequence number."""
    return _answer(frame, DEFAULT_RESPONSE, _DEFAULT_RESPONSE.pack(frame.command, status))


def unsupported(frame: ZclFrame) -> Status:
    """The status with which a frame is answered that the receiver does not know (2.5.12.2)."""
    if frame.manufacturer_code is not None:
        if frame.is_cluster_command:
            return Status.UNSUP_MANUF_CLUSTER_COMMAND
        return Status.UNSUP_MANUF_GENERAL_COMMAND
    if frame.is_cluster_command:
        return Status.UNSUP_CLUSTER_COMMAND
    return Status.UNSUP_GENERAL_COMMAND


def _answer(frame: ZclFrame, command: int, payload: bytes) -> bytes:
    control = DISABLE_DEFAULT_RESPONSE | frame.frame_control & MANUFACTURER_SPECIFIC
    if not frame.is_from_server:
        control |= SERVER_TO_CLIENT
    return build(ZclFrame(control, frame.tsn, command, payload, frame.manufacturer_code))


class AttributeRecord(NamedTuple):
    """One attribute in a Read Attributes Response; type and value only with SUCCESS."""

    attribute_id: int
    status: int
    data_type: int | None = None
    value: int | None = None


AttributeValue = tuple[DataType, int]


def parse_read_attributes(payload: bytes) -> tuple[int, ...]:
    """The identifiers asked for."""
    if len(payload) % 2:
        raise ZclError("Read Attributes ends inside an identifier", len(payload) - 1)
    return Struct(f"<{len(payload) // 2}H").unpack(payload)


def build_read_attributes(attribute_ids: Iterable[int]) -> bytes:
    ids = tuple(attribute_ids)
    try:
        return Struct(f"<{len(ids)}H").pack(*ids)
    except StructError:
        raise ZclValueError(f"Read Attributes: {ids} are no attribute identifiers") from None


_RECORD = Layout("Read Attributes Response", attribute_id="H", status="B")


def parse_read_attributes_response(payload: bytes) -> tuple[AttributeRecord, ...]:
    records: list[AttributeRecord] = []
    offset = 0
    while offset < len(payload):
        if len(payload) - offset < _RECORD.octets:
            raise ZclError("Read Attributes Response ends inside a record", offset)
        attribute_id, status = _RECORD.unpack(payload[offset : offset + _RECORD.octets])
        offset += _RECORD.octets
        if status != Status.SUCCESS:
            records.append(AttributeRecord(attribute_id, status))
            continue
        octets = _TYPE_OCTETS.get(payload[offset]) if offset < len(payload) else None
        if octets is None:
            sentence = f"attribute 0x{attribute_id:04X} has no data type known here"
            raise ZclError(sentence, offset)
        data_type, value = payload[offset], payload[offset + 1 : offset + 1 + octets]
        if len(value) < octets:
            raise ZclError(f"attribute 0x{attribute_id:04X} ends inside its value", offset + 1)
        offset += 1 + octets
        number = int.from_bytes(value, "little")
        records.append(AttributeRecord(attribute_id, status, data_type, number))
    return tuple(records)


def build_read_attributes_response(records: Iterable[AttributeRecord]) -> bytes:
    return b"".join(map(_build_record, records))


def _build_record(record: AttributeRecord) -> bytes:
    head = _RECORD.pack(record.attribute_id, record.status)
    if record.status != Status.SUCCESS:
        return head
    octets = _TYPE_OCTETS.get(-1 if record.data_type is None else record.data_type)
    value = record.value
    if octets is None or value is None or not 0 <= value < 1 << 8 * octets:
        name = f"attribute 0x{record.attribute_id:04X}"
        raise ZclValueError(f"{name}: {value!r} is no value of data type {record.data_type!r}")
    return head + bytes((record.data_type or 0,)) + value.to_bytes(octets, "little")


def read_attributes_response_to(frame: ZclFrame, attributes: Mapping[int, AttributeValue]) -> bytes:
    """The whole frame that answers a Read Attributes; what is not in `attributes` is unsupported.

    As 2.5.1.3 has it, records that no longer fit in one frame are left out. Raises ZclError.
    """
    payload = b""
    for attribute_id in parse_read_attributes(frame.payload):
        known = attributes.get(attribute_id)
        if known is None:
            record = AttributeRecord(attribute_id, Status.UNSUPPORTED_ATTRIBUTE)
        else:
            record = AttributeRecord(attribute_id, Status.SUCCESS, *known)
        octets = _build_record(record)
        if HEADER_OCTETS + len(payload) + len(octets) > MAX_UNFRAGMENTED_OCTETS:
            break
        payload += octets
    return _answer(frame, READ_ATTRIBUTES_RESPONSE, payload)
