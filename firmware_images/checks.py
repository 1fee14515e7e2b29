"""What is wrong with a firmware file, one sentence per fault, before anybody sends it.

Source: ZigBee Cluster Library, OTA Upgrade Cluster, "OTA File Format"; MP170 ("no more than
750KB"). The same checks serve the head end, the hub and whoever builds an image.

Tolerated on purpose: further header octets (a later edition may add fields; the body begins behind
them), any header string, any body, a file smaller than one block, a hardware range of one version.
What only holds between a file and something else (the version of a request, the hash of the CPL,
the version a device runs) is judged where that other thing is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from firmware_images.errors import ImageError, ImageValueError
from firmware_images.header import (
    FILE_IDENTIFIER_OCTETS,
    HARDWARE_BYTE_ORDER,
    ByteOrder,
    OtaHeader,
    header_fields,
)
from firmware_images.image import FirmwareImage, SubElement, read_image
from firmware_images.samples import ProductIdentity

Severity = Literal["error", "warning", "note"]
Unit = Literal["kib", "kb"]
Scope = Literal["file", "body"]

UPGRADE_IMAGE = 0x0000
SIGNATURE_SUITE_1 = 0x0001
SIGNATURE_SUITE_2 = 0x0005
# Tag: octets of data. Signatures are signer EUI-64 and r||s, the integrity code is AES-MMO.
ELEMENT_OCTETS = {0x0001: 50, 0x0002: 48, 0x0003: 16, 0x0005: 80, 0x0006: 74}
LAST_ZIGBEE_ELEMENT = 0x0006
FIRST_MANUFACTURER_ELEMENT = 0xF000

WILDCARD_CODE = 0xFFFF  # of manufacturer codes and image types
WILDCARD_FILE_VERSION = 0xFFFFFFFF
FIRST_RESERVED_IMAGE_TYPE = 0xFFC0
LAST_SECURITY_CREDENTIAL_VERSION = 3  # SE 1.2, cryptographic suite 2
ZIGBEE_STACK_VERSIONS = range(3)  # 2006, 2007, PRO; above are IP and Thread

# A meter's image (DUIS 11.1) ends in the supplier's authorisation: its length, then r||s.
AUTHORISATION_MARK = b"\x00\x40"
AUTHORISATION_OCTETS = 2 + 64
METER_IMAGE_TYPES = (0x0000,)  # ESME, as published; those of GSME and HCALCS are not


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about a file. An error forbids sending it."""

    severity: Severity
    field: str
    offset: int
    sentence: str


# A request can carry 10 240 000 octets (DUIS), and one more than the limit has to be refused.
MAX_LIMIT_KB = 9_999


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """MP170's "no more than 750KB".

    The text says neither what a KB is nor of what. Default: 1024, since the DUIS schema's own cap
    of 10 240 000 is 10 000 x 1024; the whole file, since that is what a hub stores
    (docs/open-points.md, "750 KB").
    """

    limit_kb: int = 750
    unit: Unit = "kib"
    scope: Scope = "file"

    def __post_init__(self) -> None:
        if self.limit_kb < 1:
            raise ImageValueError(f"a limit of {self.limit_kb} KB admits no file")
        if self.unit not in ("kib", "kb"):
            raise ImageValueError(f"unit {self.unit!r} is neither kib nor kb")
        if self.scope not in ("file", "body"):
            raise ImageValueError(f"scope {self.scope!r} is neither file nor body")

    @property
    def limit_bytes(self) -> int:
        return self.limit_kb * (1024 if self.unit == "kib" else 1000)

    def measured_bytes(self, image: FirmwareImage) -> int:
        """What of a file the limit is for."""
        skipped = image.header.header_length if self.scope == "body" else 0
        return len(image.data) - skipped

    @property
    def warn_above_bytes(self) -> int:
        """Above this a reader who takes a KB for 1000 would refuse the file."""
        return self.limit_kb * 1000


DEFAULT_LIMIT = SizeLimit()


def check_image(
    data: bytes,
    *,
    limit: SizeLimit = DEFAULT_LIMIT,
    identity: ProductIdentity | None = None,
    device_eui64: int | None = None,
    strict: bool = False,
    hardware_byte_order: ByteOrder = HARDWARE_BYTE_ORDER,
    name: str = "image",
) -> list[Finding]:
    """Everything there is to say about a file, errors first.

    `identity` and `device_eui64` are whom it is meant for, where that is known. `strict` makes
    errors of what is wrong with its sub-elements.
    """
    try:
        image = read_image(data, name)
    except ImageError as error:
        findings = list(_unreadable(data, error, limit))
    else:
        findings = [
            *_check_sizes(image, limit),
            *_check_ids(image.header, name),
            *_check_field_control(image.header, name),
            *_check_hardware(image.header, name, hardware_byte_order),
            *_check_destination(image.header, name, device_eui64),
            *_check_body(image),
            *_check_elements(image, strict),
        ]
        if identity is not None:
            findings += _check_identity(image.header, name, identity, hardware_byte_order)
    return sorted(findings, key=lambda finding: _RANK[finding.severity])


def require_acceptable(
    data: bytes,
    *,
    limit: SizeLimit = DEFAULT_LIMIT,
    identity: ProductIdentity | None = None,
    device_eui64: int | None = None,
    strict: bool = False,
    hardware_byte_order: ByteOrder = HARDWARE_BYTE_ORDER,
    name: str = "image",
) -> FirmwareImage:
    """The image in `data`, or an ImageError with the first error `check_image` finds."""
    for finding in check_image(
        data,
        limit=limit,
        identity=identity,
        device_eui64=device_eui64,
        strict=strict,
        hardware_byte_order=hardware_byte_order,
        name=name,
    ):
        if finding.severity == "error":
            problem = finding.sentence.removeprefix(f"{name}: ")
            raise ImageError(name, finding.field, finding.offset, problem)
    return read_image(data, name)


_RANK = {"error": 0, "warning": 1, "note": 2}


def _unreadable(data: bytes, error: ImageError, limit: SizeLimit) -> Iterator[Finding]:
    sentence = str(error)
    if error.field == "file identifier":
        if data.startswith(FILE_IDENTIFIER_OCTETS[::-1]):
            sentence += " (its octets are in the wrong order)"
        elif (offset := data.find(FILE_IDENTIFIER_OCTETS)) > 0:
            sentence += f" (one stands at offset {offset}, behind a container)"
    yield Finding("error", error.field, error.offset, sentence)
    if limit.scope == "file":
        yield from _over_limit(error.name, "file", 0, "the file has", len(data), limit)


def _check_sizes(image: FirmwareImage, limit: SizeLimit) -> Iterator[Finding]:
    name, header = image.name, image.header
    size_bytes, said = len(image.data), header.total_image_size_bytes
    skipped = header.header_length if limit.scope == "body" else 0
    part = "file" if limit.scope == "file" else "body"
    yield from _over_limit(name, part, skipped, f"the {part} has", size_bytes - skipped, limit)
    if said != size_bytes:
        sentence = (
            f"{name}: total image size at offset 52 says {said} bytes, the file has {size_bytes}"
        )
        if said == size_bytes - header.header_length:
            sentence += f", so its {header.header_length} header octets were left out"
        yield Finding("error", "total image size", 52, sentence)
    if said > size_bytes:
        said_of = "total image size at offset 52 promises"
        for finding in _over_limit(name, "total image size", 52, said_of, said - skipped, limit):
            if finding.severity == "error":
                yield finding


def _over_limit(
    name: str, field: str, offset: int, what: str, size_bytes: int, limit: SizeLimit
) -> Iterator[Finding]:
    scope = "the whole file" if limit.scope == "file" else "what follows the header"
    if size_bytes > limit.limit_bytes:
        unit = "KiB" if limit.unit == "kib" else "kB"
        sentence = (
            f"{name}: {what} {size_bytes} bytes, the limit is {limit.limit_bytes} "
            f"({limit.limit_kb} {unit} for {scope})"
        )
        yield Finding("error", field, offset, sentence)
    elif size_bytes > limit.warn_above_bytes:
        sentence = (
            f"{name}: {what} {size_bytes} bytes, over {limit.warn_above_bytes}, "
            "the limit if a KB is 1000 bytes"
        )
        yield Finding("warning", field, offset, sentence)


def _check_ids(header: OtaHeader, name: str) -> Iterator[Finding]:
    if header.manufacturer_code == WILDCARD_CODE:
        sentence = f"{name}: manufacturer code at offset 10 is the wildcard FFFF"
        yield Finding("error", "manufacturer code", 10, sentence)
    if header.image_type == WILDCARD_CODE:
        sentence = f"{name}: image type at offset 12 is the wildcard FFFF"
        yield Finding("error", "image type", 12, sentence)
    elif header.image_type >= FIRST_RESERVED_IMAGE_TYPE:
        sentence = (
            f"{name}: image type at offset 12 is {header.image_type:04X}, "
            "FFC0 and above are no firmware"
        )
        yield Finding("warning", "image type", 12, sentence)
    if header.file_version in (0, WILDCARD_FILE_VERSION):
        # Zero as well: every device runs something newer, or does not know what it runs.
        sentence = (
            f"{name}: file version at offset 14 is {header.file_version:08X}, never a real one"
        )
        yield Finding("error", "file version", 14, sentence)
    if header.stack_version not in ZIGBEE_STACK_VERSIONS:
        sentence = f"{name}: stack version at offset 18 is {header.stack_version}, not a ZigBee one"
        yield Finding("warning", "stack version", 18, sentence)


def _check_field_control(header: OtaHeader, name: str) -> Iterator[Finding]:
    offsets = {field.name: field.offset for field in header_fields(header)}
    if header.reserved_field_control:
        sentence = (
            f"{name}: field control at offset 8 is {header.field_control:04X}, "
            "its bits 3 to 15 mean nothing known"
        )
        yield Finding("warning", "field control", 8, sentence)
    credential = header.security_credential_version
    if credential is not None and credential > LAST_SECURITY_CREDENTIAL_VERSION:
        offset = offsets["security credential version"]
        sentence = (
            f"{name}: security credential version at offset {offset} is {credential}, "
            f"the last known is {LAST_SECURITY_CREDENTIAL_VERSION}"
        )
        yield Finding("error", "security credential version", offset, sentence)
    if header.further_octets:
        offset = offsets["further header octets"]
        sentence = (
            f"{name}: {len(header.further_octets)} header octets at offset {offset} "
            "belong to no known field"
        )
        yield Finding("note", "further header octets", offset, sentence)


def _check_hardware(header: OtaHeader, name: str, byte_order: ByteOrder) -> Iterator[Finding]:
    admitted = header.hardware_range(byte_order)
    if admitted is not None and not admitted:
        offset = _offset(header, "minimum hardware version")
        sentence = (
            f"{name}: minimum hardware version at offset {offset} is {admitted.start:04X}, "
            f"above the maximum {admitted.stop - 1:04X}"
        )
        yield Finding("error", "minimum hardware version", offset, sentence)


def _check_destination(header: OtaHeader, name: str, device_eui64: int | None) -> Iterator[Finding]:
    destination = header.upgrade_file_destination
    if destination is None or destination == device_eui64:
        return
    offset = _offset(header, "upgrade file destination")
    sentence = f"{name}: upgrade file destination at offset {offset} is {destination:016X}, "
    if device_eui64 is None:
        yield Finding(
            "warning", "upgrade file destination", offset, sentence + "no other device may have it"
        )
    else:
        yield Finding(
            "error", "upgrade file destination", offset, sentence + f"not {device_eui64:016X}"
        )


def _check_identity(
    header: OtaHeader, name: str, identity: ProductIdentity, byte_order: ByteOrder
) -> Iterator[Finding]:
    kind = identity.kind
    if header.manufacturer_code != identity.manufacturer_code:
        sentence = (
            f"{name}: manufacturer code at offset 10 is {header.manufacturer_code:04X}, "
            f"{kind} has {identity.manufacturer_code:04X}"
        )
        yield Finding("error", "manufacturer code", 10, sentence)
    if header.image_type != identity.image_type:
        sentence = (
            f"{name}: image type at offset 12 is {header.image_type:04X}, "
            f"{kind} has {identity.image_type:04X}"
        )
        yield Finding("error", "image type", 12, sentence)
    admitted = header.hardware_range(byte_order)
    if admitted and identity.hardware_version not in admitted:
        offset = _offset(header, "minimum hardware version")
        sentence = (
            f"{name}: hardware versions at offset {offset} are {admitted.start:04X} to "
            f"{admitted.stop - 1:04X}, {kind} has {identity.hardware_version:04X}"
        )
        yield Finding("error", "minimum hardware version", offset, sentence)


def _check_body(image: FirmwareImage) -> Iterator[Finding]:
    offset = image.header.header_length
    octets = len(image.data) - offset
    if not octets:
        sentence = f"{image.name}: nothing follows the header at offset {offset}"
        yield Finding("warning", "body", offset, sentence)
        return
    for erased in (b"\xff", b"\x00"):
        if image.data[-1:] == erased and image.data.count(erased, offset) == octets:
            sentence = (
                f"{image.name}: body at offset {offset} is {erased.hex().upper()} throughout, "
                "as erased flash is"
            )
            yield Finding("note", "body", offset, sentence)
    trailer = len(image.data) - AUTHORISATION_OCTETS
    if trailer >= offset and image.data.startswith(AUTHORISATION_MARK, trailer):
        meter = image.header.image_type in METER_IMAGE_TYPES
        sentence = f"{image.name}: octets at offset {trailer} look like a supplier's authorisation"
        if not meter:
            sentence += ", which only an image for a meter carries"
        yield Finding("note" if meter else "warning", "body", trailer, sentence)


def _check_elements(image: FirmwareImage, strict: bool) -> Iterator[Finding]:
    severity: Severity = "error" if strict else "note"
    try:
        elements = image.elements()
    except ImageError as error:
        sentence = str(error) if strict else f"{error}, so the body is opaque"
        yield Finding(severity, error.field, error.offset, sentence)
        return
    for offset, problem in _element_problems(elements, image.header.header_length):
        sentence = f"{image.name}: {problem}"
        yield Finding(severity, "sub-element", offset, sentence)
    for element in elements:
        if LAST_ZIGBEE_ELEMENT < element.tag < FIRST_MANUFACTURER_ELEMENT:
            sentence = (
                f"{image.name}: sub-element at offset {element.tag_offset} "
                f"has the reserved tag 0x{element.tag:04X}"
            )
            yield Finding("note", "sub-element", element.tag_offset, sentence)


def _element_problems(
    elements: tuple[SubElement, ...], body_offset: int
) -> Iterator[tuple[int, str]]:
    images = [element for element in elements if element.tag == UPGRADE_IMAGE]
    if not images:
        yield body_offset, f"no sub-element from offset {body_offset} on is an upgrade image"
    for element in images:
        if element.length == 0:
            yield element.tag_offset, f"upgrade image at offset {element.tag_offset} is empty"
    if len(images) > 1:
        offset = images[1].tag_offset
        yield offset, f"sub-element at offset {offset} is a second upgrade image"
    for element in elements:
        octets = ELEMENT_OCTETS.get(element.tag)
        if octets is not None and element.length != octets:
            yield (
                element.tag_offset,
                f"sub-element at offset {element.tag_offset} (tag 0x{element.tag:04X}) "
                f"has {element.length} octets, not {octets}",
            )
    signatures = [
        element for element in elements if element.tag in (SIGNATURE_SUITE_1, SIGNATURE_SUITE_2)
    ]
    if len({element.tag for element in signatures}) > 1:
        offset = signatures[1].tag_offset
        yield offset, f"signature at offset {offset} is of another suite than the one before it"
    if signatures and elements[-1] not in signatures:
        offset = signatures[-1].tag_offset
        yield offset, f"signature at offset {offset} is not the last sub-element"


def _offset(header: OtaHeader, name: str) -> int:
    return next(field.offset for field in header_fields(header) if field.name == name)
