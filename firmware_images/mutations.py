"""What `firmware_images.damage` does to a file, one function a kind.

Source: the sheet "Malformed or hostile images" of this bench; ZigBee Cluster Library, "OTA File
Format" (offsets); DUIS 11.1 sample (a meter's authorisation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from firmware_images.checks import (
    AUTHORISATION_MARK,
    AUTHORISATION_OCTETS,
    LAST_SECURITY_CREDENTIAL_VERSION,
    WILDCARD_FILE_VERSION,
)
from firmware_images.errors import ImageValueError
from firmware_images.header import HARDWARE_VERSIONS_PRESENT, MIN_HEADER_OCTETS, OtaHeader
from firmware_images.image import FirmwareImage, build_image
from firmware_images.samples import TRAILER_OCTETS, RandomBits, split_trailer

Mutate = Callable[["Undamaged"], bytes]

# Where the header has what is overwritten in place.
_VERSION, _LENGTH, _FIELD_CONTROL, _TOTAL_SIZE = (4, 2), (6, 2), (8, 2), (52, 4)
# The most that fits one frame with APS security: what a last block is measured by.
BLOCK_OCTETS = 56
_EXTRA_HEADER_OCTETS = 13
_CONTAINER = b"NGIS" + bytes(60)
_KIB_64 = 0x10000


@dataclass(frozen=True, slots=True)
class Undamaged:
    """A file that reads, chance, and the version that the device for it runs, where known."""

    image: FirmwareImage
    random_bits: RandomBits
    running: int | None

    @property
    def header(self) -> OtaHeader:
        return self.image.header

    @property
    def data(self) -> bytes:
        return self.image.data

    @property
    def trailer(self) -> bytes:
        """The built-in maker's trailer, empty where there is none."""
        signed = split_trailer(self.data)
        return b"" if signed is None else self.data[-TRAILER_OCTETS:]

    @property
    def content(self) -> bytes:
        """What is between header and trailer."""
        return bytes(self.image.body[: len(self.image.body) - len(self.trailer)])

    def octets(self, count: int) -> bytes:
        """So many random ones."""
        return self.random_bits(8 * count).to_bytes(count, "little") if count else b""

    def patched(self, place: tuple[int, int], value: int) -> bytes:
        """The file with one header field overwritten and nothing else."""
        return _overwritten(self.data, place, value)

    def with_header(self, **fields: object) -> bytes:
        """The same body behind another header, the total image size right."""
        header = replace(self.header, **fields)  # type: ignore[arg-type]
        return build_image(header, self.image.body).data

    def with_content(self, content: bytes) -> bytes:
        """Another content between header and trailer, the total image size right."""
        return build_image(self.header, content + self.trailer).data

    def redrawn(self, octets: bytes | memoryview) -> bytes:
        """Other octets for these, as many of them."""
        drawn = self.octets(len(octets))
        return bytes([drawn[0] ^ 1]) + drawn[1:] if drawn == octets else drawn

    def of_size(self, size_bytes: int) -> bytes:
        """The file cut or drawn out to this size, header and trailer as they are."""
        octets = size_bytes - self.header.header_length - len(self.trailer)
        if octets < 1:
            raise ImageValueError(f"no file with this header and trailer has {size_bytes} bytes")
        content = self.content[:octets]
        return self.with_content(content + self.octets(octets - len(content)))


def _overwritten(data: bytes, place: tuple[int, int], value: int) -> bytes:
    offset, octets = place
    return data[:offset] + value.to_bytes(octets, "little") + data[offset + octets :]


# Header.


def _first_octets(file: Undamaged, octets: int) -> bytes:
    return file.data[:octets]


EMPTY: dict[str, Mutate] = {
    "none": partial(_first_octets, octets=0),
    "one-short": partial(_first_octets, octets=MIN_HEADER_OCTETS - 1),
}


def magic(file: Undamaged) -> bytes:
    return file.data[3::-1] + file.data[4:]


def _patched(file: Undamaged, place: tuple[int, int], value: int) -> bytes:
    return file.patched(place, value)


HEADER_VERSION: dict[str, Mutate] = {
    "thread": partial(_patched, place=_VERSION, value=0x0200),
    "minor": partial(_patched, place=_VERSION, value=0x0101),
    "ffff": partial(_patched, place=_VERSION, value=0xFFFF),
}
HEADER_LENGTH_SHORT: dict[str, Mutate] = {
    "55": partial(_patched, place=_LENGTH, value=MIN_HEADER_OCTETS - 1),
    "0": partial(_patched, place=_LENGTH, value=0),
}


def length_for_fields(file: Undamaged) -> bytes:
    control = file.header.field_control | HARDWARE_VERSIONS_PRESENT
    return _overwritten(file.patched(_FIELD_CONTROL, control), _LENGTH, MIN_HEADER_OCTETS)


def extra_octets(file: Undamaged) -> bytes:
    return file.with_header(
        security_credential_version=None,
        upgrade_file_destination=None,
        minimum_hardware_version=None,
        maximum_hardware_version=None,
        further_octets=file.octets(_EXTRA_HEADER_OCTETS),
    )


def _length_past_end(file: Undamaged) -> bytes:
    return file.patched(_LENGTH, min(len(file.data) + 1, 0xFFFF))


LENGTH_BEYOND: dict[str, Mutate] = {
    "by-one": _length_past_end,
    "ffff": partial(_patched, place=_LENGTH, value=0xFFFF),
}


def reserved_bit(file: Undamaged) -> bytes:
    return file.patched(_FIELD_CONTROL, file.header.field_control ^ 0x8000)


def manufacturer_code(file: Undamaged) -> bytes:
    return file.with_header(manufacturer_code=file.header.manufacturer_code ^ 1)


def image_type(file: Undamaged) -> bytes:
    return file.with_header(image_type=file.header.image_type ^ 1)


def file_version(file: Undamaged) -> bytes:
    return file.with_header(file_version=_next_version(file))


def _next_version(file: Undamaged) -> int:
    # The last real version is followed by the one before it.
    version = file.header.file_version
    return version + 1 if version + 1 < WILDCARD_FILE_VERSION else version - 1


def _running(file: Undamaged) -> int:
    if file.running is None:
        raise ImageValueError("this damage is about the version that the device runs")
    return file.running


def version_running(file: Undamaged) -> bytes:
    return file.with_header(file_version=_running(file))


def version_older(file: Undamaged) -> bytes:
    running = _running(file)
    if running < 2:
        raise ImageValueError(f"no version is older than {running:08X}")
    return file.with_header(file_version=running - 1)


def _with_version(file: Undamaged, version: int) -> bytes:
    return file.with_header(file_version=version)


VERSION_WILDCARD: dict[str, Mutate] = {
    "ffffffff": partial(_with_version, version=WILDCARD_FILE_VERSION),
    "zero": partial(_with_version, version=0),
}


def header_string(file: Undamaged) -> bytes:
    return file.with_header(header_string=bytes(range(0xE0, 0x100)))


def destination(file: Undamaged) -> bytes:
    # Locally administered and drawn: nobody's device.
    other = file.random_bits(56) | 0x02 << 56
    return file.with_header(upgrade_file_destination=other)


def credential_version(file: Undamaged) -> bytes:
    return file.with_header(security_credential_version=LAST_SECURITY_CREDENTIAL_VERSION + 1)


# Hardware. A file says of its device's hardware that it is the range's lower bound.


def _hardware(file: Undamaged) -> int:
    low = file.header.minimum_hardware_version
    if low is None:
        raise ImageValueError("the file says no hardware versions")
    return low


def _with_hardware(file: Undamaged, low: int, high: int) -> bytes:
    return file.with_header(minimum_hardware_version=low, maximum_hardware_version=high)


def inverted(file: Undamaged) -> bytes:
    hardware = _hardware(file)
    high = max(hardware, 1)
    return _with_hardware(file, high, high - 1)


def excluded(file: Undamaged) -> bytes:
    high = file.header.maximum_hardware_version
    low = _hardware(file)
    if high is not None and high < 0xFFFF:
        return _with_hardware(file, high + 1, 0xFFFF)
    return _with_hardware(file, 0, low - 1) if low else _with_hardware(file, 1, 1)


def _lower_bound(file: Undamaged) -> bytes:
    # Further than the range went, so that the file is another one.
    high = (file.header.maximum_hardware_version or 0) + 1
    return _with_hardware(file, _hardware(file), min(high, 0xFFFF))


def _upper_bound(file: Undamaged) -> bytes:
    hardware = _hardware(file)
    return _with_hardware(file, max(hardware - 1, 0), hardware)


BOUNDS: dict[str, Mutate] = {"lower": _lower_bound, "upper": _upper_bound}


# Size.


def trailing_octet(file: Undamaged) -> bytes:
    return file.data + file.octets(1)


def missing_octet(file: Undamaged) -> bytes:
    return file.data[:-1]


def size_zero(file: Undamaged) -> bytes:
    return file.patched(_TOTAL_SIZE, 0)


def size_huge(file: Undamaged) -> bytes:
    return file.patched(_TOTAL_SIZE, 0xFFFFFFFF)


def size_of_body(file: Undamaged) -> bytes:
    return file.patched(_TOTAL_SIZE, len(file.image.body))


def _of_size(file: Undamaged, size_bytes: int) -> bytes:
    if size_bytes == len(file.data):
        raise ImageValueError(f"the file has {size_bytes} bytes already")
    return file.of_size(size_bytes)


SIZE_CAP: dict[str, Mutate] = {
    "kib": partial(_of_size, size_bytes=750 * 1024),
    "kb": partial(_of_size, size_bytes=750 * 1000),
    "over": partial(_of_size, size_bytes=750 * 1024 + 1),
}
BEYOND_64_KIB: dict[str, Mutate] = {
    "edge": partial(_of_size, size_bytes=_KIB_64),
    "past": partial(_of_size, size_bytes=_KIB_64 + BLOCK_OCTETS + 1),
}


def _with_rest(file: Undamaged, rest: int) -> bytes:
    """The next larger size that leaves `rest` octets for a last block."""
    size_bytes = len(file.data) + 1
    return file.of_size(size_bytes + (rest - size_bytes) % BLOCK_OCTETS)


def _less_than_a_block(file: Undamaged) -> bytes:
    """The smallest file there can be: the least header, no trailer, one octet."""
    header = replace(
        file.header,
        security_credential_version=None,
        upgrade_file_destination=None,
        minimum_hardware_version=None,
        maximum_hardware_version=None,
        further_octets=b"",
    )
    return build_image(header, file.octets(1)).data


TAIL: dict[str, Mutate] = {
    "none": partial(_with_rest, rest=0),
    "one": partial(_with_rest, rest=1),
    "all-but-one": partial(_with_rest, rest=BLOCK_OCTETS - 1),
    "small": _less_than_a_block,
}


# Body.


def _flipped(file: Undamaged, part: int) -> bytes:
    """One drawn bit of the first, the middle or the last block of the body."""
    begin, end = file.header.header_length, len(file.data)
    starts = (begin, (begin + end) // 2, max(begin, end - BLOCK_OCTETS))
    start = starts[part]
    octets = min(BLOCK_OCTETS, end - start)
    bit = file.random_bits(16) % (8 * octets)
    offset = start + bit // 8
    changed = file.data[offset] ^ 1 << bit % 8
    return file.data[:offset] + bytes([changed]) + file.data[offset + 1 :]


FLIPPED_BIT: dict[str, Mutate] = {
    "first": partial(_flipped, part=0),
    "middle": partial(_flipped, part=1),
    "last": partial(_flipped, part=2),
}


def _filled(file: Undamaged, octet: int) -> bytes:
    content = bytes([octet]) * len(file.content)
    if content == file.content:
        raise ImageValueError(f"the body is {octet:02X} throughout already")
    return file.with_content(content)


ERASED_BODY: dict[str, Mutate] = {
    "ff": partial(_filled, octet=0xFF),
    "00": partial(_filled, octet=0),
}


def other_body(file: Undamaged) -> bytes:
    return file.data[: file.header.header_length] + file.redrawn(file.image.body)


def first_half(file: Undamaged) -> bytes:
    return file.data[: (file.header.header_length + len(file.data)) // 2]


def container(file: Undamaged) -> bytes:
    return _CONTAINER + file.data


def authorisation(file: Undamaged) -> bytes:
    octets = AUTHORISATION_OCTETS - len(AUTHORISATION_MARK)
    body = bytes(file.image.body) + AUTHORISATION_MARK + file.octets(octets)
    return build_image(file.header, body).data


def _newcomer(file: Undamaged, **fields: int) -> bytes:
    header = replace(file.header, **fields)  # type: ignore[arg-type]
    content = file.redrawn(file.content)
    return build_image(header, content + file.trailer).data


def _newer(file: Undamaged) -> bytes:
    return _newcomer(file, file_version=_next_version(file))


def _of_other_type(file: Undamaged) -> bytes:
    return _newcomer(file, image_type=file.header.image_type ^ 1)


NEWCOMER: dict[str, Mutate] = {"newer": _newer, "other-type": _of_other_type}
