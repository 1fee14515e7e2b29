"""The header every firmware file begins with ("ZSE OTA Header").

Source: ZigBee Cluster Library, OTA Upgrade Cluster, "OTA File Format". All integers little-endian.

A header that parses is built again byte for byte: reserved field control bits and further octets
up to the header length are kept, not understood. `parse_header` refuses what makes the place of a
field or of the body uncertain; what merely cannot be right is found by `firmware_images.checks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from construct import Bytes, If, Int8ul, Int16ul, Int32ul, Int64ul, Struct, this

from firmware_images.errors import ImageError, ImageValueError

FILE_IDENTIFIER = 0x0BEEF11E
FILE_IDENTIFIER_OCTETS = FILE_IDENTIFIER.to_bytes(4, "little")
# The only version with this layout: 0x0200 is the Thread variant. An unknown minor version is
# refused too, since nothing says what it may add (docs/open-points.md, "header version").
HEADER_VERSION = 0x0100
HEADER_STRING_OCTETS = 32
MIN_HEADER_OCTETS = 56
MAX_HEADER_OCTETS = 0xFFFF

SECURITY_CREDENTIAL_VERSION_PRESENT = 0x0001
DEVICE_SPECIFIC_FILE = 0x0002
HARDWARE_VERSIONS_PRESENT = 0x0004
KNOWN_FIELD_CONTROL = 0x0007

ByteOrder = Literal["little", "big"]
# The published samples carry 11 11 11 12 as their hardware range: 0x1111..0x1211 by the rule of
# the format, 0x1111..0x1112 if the author wrote version and revision as two octets. The format
# decides (docs/open-points.md, "byte order of hardware versions").
HARDWARE_BYTE_ORDER: ByteOrder = "little"

_FIXED = Struct(
    "file_identifier" / Int32ul,
    "header_version" / Int16ul,
    "header_length" / Int16ul,
    "field_control" / Int16ul,
    "manufacturer_code" / Int16ul,
    "image_type" / Int16ul,
    "file_version" / Int32ul,
    "stack_version" / Int16ul,
    "header_string" / Bytes(HEADER_STRING_OCTETS),
    "total_image_size_bytes" / Int32ul,
)
_OPTIONAL = Struct(
    "security_credential_version"
    / If(this._.field_control & SECURITY_CREDENTIAL_VERSION_PRESENT, Int8ul),
    "upgrade_file_destination" / If(this._.field_control & DEVICE_SPECIFIC_FILE, Int64ul),
    "minimum_hardware_version" / If(this._.field_control & HARDWARE_VERSIONS_PRESENT, Int16ul),
    "maximum_hardware_version" / If(this._.field_control & HARDWARE_VERSIONS_PRESENT, Int16ul),
    "further_octets" / Bytes(this._.further_octets_length),
)


class HeaderField(NamedTuple):
    """One field as it stands in the file."""

    name: str
    offset: int
    length: int
    value: int | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OtaHeader:
    """The fields of one header. One that exists can be built; a wrong value is refused here.

    Both hardware versions are there or neither is. `reserved_field_control` holds bits 3 to 15 as
    found; the three known bits follow from which optional fields are there.
    """

    manufacturer_code: int
    image_type: int
    file_version: int
    stack_version: int = 2  # ZigBee PRO
    header_string: bytes = bytes(HEADER_STRING_OCTETS)
    total_image_size_bytes: int = 0
    header_version: int = HEADER_VERSION
    reserved_field_control: int = 0
    security_credential_version: int | None = None
    upgrade_file_destination: int | None = None
    minimum_hardware_version: int | None = None
    maximum_hardware_version: int | None = None
    further_octets: bytes = b""

    def __post_init__(self) -> None:
        for attribute, octets in _INTEGER_OCTETS.items():
            value = getattr(self, attribute)
            if value is not None and not 0 <= value < 1 << 8 * octets:
                raise ImageValueError(f"{attribute} {value:#x} does not fit in {octets} octet(s)")
        if self.header_version != HEADER_VERSION:
            raise ImageValueError(f"header_version {self.header_version:#06x} is not 0x0100")
        if self.reserved_field_control & KNOWN_FIELD_CONTROL:
            raise ImageValueError("reserved_field_control holds bits 3 to 15 only")
        if len(self.header_string) != HEADER_STRING_OCTETS:
            raise ImageValueError(f"header_string has {len(self.header_string)} octets, not 32")
        if (self.minimum_hardware_version is None) != (self.maximum_hardware_version is None):
            raise ImageValueError("one hardware version without the other")
        if self.header_length > MAX_HEADER_OCTETS:
            raise ImageValueError(f"the header would have {self.header_length} octets, over 65535")

    @property
    def field_control(self) -> int:
        control = self.reserved_field_control
        if self.security_credential_version is not None:
            control |= SECURITY_CREDENTIAL_VERSION_PRESENT
        if self.upgrade_file_destination is not None:
            control |= DEVICE_SPECIFIC_FILE
        if self.minimum_hardware_version is not None:
            control |= HARDWARE_VERSIONS_PRESENT
        return control

    @property
    def header_length(self) -> int:
        """Octets up to the body, optional and further ones included."""
        return known_header_octets(self.field_control) + len(self.further_octets)

    @property
    def header_text(self) -> str:
        """The header string for reading: padding dropped, anything unprintable escaped."""
        text = self.header_string.rstrip(b"\0").decode("ascii", "backslashreplace")
        return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)

    def hardware_range(self, byte_order: ByteOrder = HARDWARE_BYTE_ORDER) -> range | None:
        """The hardware versions the file is for, both bounds included; None when for any."""
        low, high = self.minimum_hardware_version, self.maximum_hardware_version
        if low is None or high is None:
            return None
        if byte_order == "big":
            low, high = _swapped(low), _swapped(high)
        return range(low, high + 1)

    def fits_hardware(
        self, hardware_version: int, byte_order: ByteOrder = HARDWARE_BYTE_ORDER
    ) -> bool:
        admitted = self.hardware_range(byte_order)
        return admitted is None or hardware_version in admitted


_INTEGER_OCTETS = {
    "manufacturer_code": 2,
    "image_type": 2,
    "file_version": 4,
    "stack_version": 2,
    "total_image_size_bytes": 4,
    "header_version": 2,
    "reserved_field_control": 2,
    "security_credential_version": 1,
    "upgrade_file_destination": 8,
    "minimum_hardware_version": 2,
    "maximum_hardware_version": 2,
}


def _swapped(value: int) -> int:
    return value >> 8 | (value & 0xFF) << 8


def known_header_octets(field_control: int) -> int:
    """How long a header with these optional fields is before any further octets."""
    octets = MIN_HEADER_OCTETS
    if field_control & SECURITY_CREDENTIAL_VERSION_PRESENT:
        octets += 1
    if field_control & DEVICE_SPECIFIC_FILE:
        octets += 8
    if field_control & HARDWARE_VERSIONS_PRESENT:
        octets += 4
    return octets


def parse_header(data: bytes | memoryview, name: str = "image") -> OtaHeader:
    """The header `data` begins with; what follows it is not looked at and need not be there."""
    if len(data) < MIN_HEADER_OCTETS:
        problem = f"{len(data)} octets are no OTA file, its header alone has {MIN_HEADER_OCTETS}"
        raise ImageError(name, "file", len(data), problem)
    fixed = _FIXED.parse(bytes(data[:MIN_HEADER_OCTETS]))
    if fixed.file_identifier != FILE_IDENTIFIER:
        found = bytes(data[:4]).hex(" ").upper()
        problem = f"file identifier at offset 0 is {found}, not 1E F1 EE 0B"
        raise ImageError(name, "file identifier", 0, problem)
    if fixed.header_version != HEADER_VERSION:
        problem = f"header version at offset 4 is 0x{fixed.header_version:04X}, not 0x0100"
        raise ImageError(name, "header version", 4, problem)
    known = known_header_octets(fixed.field_control)
    _check_header_length(fixed, known, len(data), name)
    optional = _OPTIONAL.parse(
        bytes(data[MIN_HEADER_OCTETS : fixed.header_length]),
        field_control=fixed.field_control,
        further_octets_length=fixed.header_length - known,
    )
    return OtaHeader(
        manufacturer_code=fixed.manufacturer_code,
        image_type=fixed.image_type,
        file_version=fixed.file_version,
        stack_version=fixed.stack_version,
        header_string=fixed.header_string,
        total_image_size_bytes=fixed.total_image_size_bytes,
        header_version=fixed.header_version,
        reserved_field_control=fixed.field_control & ~KNOWN_FIELD_CONTROL,
        security_credential_version=optional.security_credential_version,
        upgrade_file_destination=optional.upgrade_file_destination,
        minimum_hardware_version=optional.minimum_hardware_version,
        maximum_hardware_version=optional.maximum_hardware_version,
        further_octets=optional.further_octets,
    )


def _check_header_length(fixed: Any, known: int, available: int, name: str) -> None:
    length = fixed.header_length
    if length < MIN_HEADER_OCTETS:
        problem = f"header length at offset 6 says {length} octets, the least is 56"
    elif length < known:
        control = f"0x{fixed.field_control:04X}"
        problem = (
            f"header length at offset 6 says {length} octets, "
            f"the optional fields of field control {control} need {known}"
        )
    elif length > available:
        problem = f"header length at offset 6 says {length} octets, the file has {available}"
    else:
        return
    raise ImageError(name, "header length", 6, problem)


def build_header(header: OtaHeader) -> bytes:
    values = {attribute: getattr(header, attribute) for attribute in _INTEGER_OCTETS} | {
        "file_identifier": FILE_IDENTIFIER,
        "header_length": header.header_length,
        "field_control": header.field_control,
        "header_string": header.header_string,
        "further_octets": header.further_octets,
    }
    fixed: bytes = _FIXED.build(values)
    optional: bytes = _OPTIONAL.build(
        values,
        field_control=header.field_control,
        further_octets_length=len(header.further_octets),
    )
    return fixed + optional


def header_fields(header: OtaHeader) -> tuple[HeaderField, ...]:
    """Every field in file order with its place, optional ones only where they are there."""
    rows: list[tuple[str, int, int | bytes | None]] = [
        ("file identifier", 4, FILE_IDENTIFIER),
        ("header version", 2, header.header_version),
        ("header length", 2, header.header_length),
        ("field control", 2, header.field_control),
        ("manufacturer code", 2, header.manufacturer_code),
        ("image type", 2, header.image_type),
        ("file version", 4, header.file_version),
        ("stack version", 2, header.stack_version),
        ("header string", HEADER_STRING_OCTETS, header.header_string),
        ("total image size", 4, header.total_image_size_bytes),
        ("security credential version", 1, header.security_credential_version),
        ("upgrade file destination", 8, header.upgrade_file_destination),
        ("minimum hardware version", 2, header.minimum_hardware_version),
        ("maximum hardware version", 2, header.maximum_hardware_version),
        ("further header octets", len(header.further_octets), header.further_octets or None),
    ]
    fields: list[HeaderField] = []
    offset = 0
    for name, length, value in rows:
        if value is not None:
            fields.append(HeaderField(name, offset, length, value))
            offset += length
    return tuple(fields)
