"""One firmware file: its header, and a body nobody on the way reads.

Source: ZigBee Cluster Library, OTA Upgrade Cluster, "OTA File Format" (header, sub-elements).

The body is opaque: the published samples carry raw octets without a sub-element. Reading it as
sub-elements is a second reading that some makers' files allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from firmware_images.errors import ImageError, ImageValueError
from firmware_images.header import OtaHeader, build_header, parse_header

# No limit of the HAN: it keeps a wrong path or a slip in a size from filling the memory.
MAX_FILE_BYTES = 64 * 1024 * 1024

ELEMENT_HEADER_OCTETS = 6  # tag u16, length u32
# The table of the most common client holds six; a body of zeros would else be 128 000 elements.
MAX_ELEMENTS = 6


class SubElement(NamedTuple):
    """Where one sub-element lies: `offset` is that of its data, from the start of the file."""

    tag: int
    offset: int
    length: int

    @property
    def tag_offset(self) -> int:
        return self.offset - ELEMENT_HEADER_OCTETS


@dataclass(frozen=True, slots=True)
class FirmwareImage:
    """A file and what its header says; made by `read_image` or `build_image`.

    `data` is shared, never copied: every hub and device of a run holds the same object.
    """

    data: bytes
    header: OtaHeader
    sha256: str  # of the whole file, lower-case hexadecimal digits
    name: str = "image"

    @property
    def body(self) -> memoryview:
        """Everything behind the header."""
        return memoryview(self.data)[self.header.header_length :]

    def elements(self, max_elements: int = MAX_ELEMENTS) -> tuple[SubElement, ...]:
        """The body read as sub-elements, or an ImageError where that reading fails."""
        elements: list[SubElement] = []
        offset, end = self.header.header_length, len(self.data)
        while offset < end:
            if len(elements) == max_elements:
                raise self._element_error(offset, f"is one more than the {max_elements} allowed")
            if end - offset < ELEMENT_HEADER_OCTETS:
                raise self._element_error(offset, f"has {end - offset} octets of its 6-octet head")
            tag = int.from_bytes(self.data[offset : offset + 2], "little")
            length = int.from_bytes(self.data[offset + 2 : offset + 6], "little")
            data_offset = offset + ELEMENT_HEADER_OCTETS
            if length > end - data_offset:
                problem = (
                    f"(tag 0x{tag:04X}) says {length} octets, the file has {end - data_offset} left"
                )
                raise self._element_error(offset, problem)
            elements.append(SubElement(tag, data_offset, length))
            offset = data_offset + length
        return tuple(elements)

    def _element_error(self, offset: int, problem: str) -> ImageError:
        return ImageError(
            self.name, "sub-element", offset, f"sub-element at offset {offset} {problem}"
        )


def read_image(data: bytes, name: str = "image") -> FirmwareImage:
    """The image in `data`. Only the header is judged here; `firmware_images.checks` judges all."""
    return FirmwareImage(data, parse_header(data, name), hashlib.sha256(data).hexdigest(), name)


def build_image(header: OtaHeader, body: bytes | memoryview, name: str = "image") -> FirmwareImage:
    """The file of `header` and `body`; the total image size is set here."""
    size_bytes = header.header_length + len(body)
    if size_bytes > MAX_FILE_BYTES:
        raise ImageValueError(f"a file of {size_bytes} bytes is over {MAX_FILE_BYTES}")
    header = replace(header, total_image_size_bytes=size_bytes)
    data = b"".join((build_header(header), body))
    return FirmwareImage(data, header, hashlib.sha256(data).hexdigest(), name)


def join_elements(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """A body of sub-elements, each given as (tag, data)."""
    parts: list[bytes] = []
    for tag, data in elements:
        if not 0 <= tag <= 0xFFFF:
            raise ImageValueError(f"tag {tag:#x} does not fit in 2 octets")
        parts += (tag.to_bytes(2, "little"), len(data).to_bytes(4, "little"), data)
    return b"".join(parts)
