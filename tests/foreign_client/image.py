"""Whether a loaded file is an image for this device, whole and undamaged.

Source: ZigBee OTA Upgrade cluster 095264, 6.3 (header). The maker's own rule, beyond the standard:
the last 32 octets of a file are the SHA-256 of all before them.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

HEADER_OCTETS = 56  # without optional fields
_MAGIC, _VERSION = 0x0BEEF11E, 0x0100
_CREDENTIALS, _DESTINATION, _HARDWARE = 0x01, 0x02, 0x04


class Identity(NamedTuple):
    """What the device is and what images are for it."""

    manufacturer: int
    image_type: int
    hardware: int
    eui64: int


def fault_in_header(head: bytes, identity: Identity, version: int, size: int) -> str | None:
    """What is wrong with the first octets of a file that was offered as this; None if nothing."""
    magic, header_version, length, _, manufacturer, image_type, file_version = struct.unpack_from(
        "<IHHHHHI", head
    )
    (total,) = struct.unpack_from("<I", head, 52)
    if magic != _MAGIC or header_version != _VERSION:
        return "this is no OTA file"
    if not HEADER_OCTETS <= length <= total:
        return f"a header of {length} octets in a file of {total}"
    if (manufacturer, image_type) != (identity.manufacturer, identity.image_type):
        return f"an image for {manufacturer:04X}-{image_type:04X}"
    if file_version != version or total != size:
        return f"version {file_version:08X} of {total} octets was not what was offered"
    return None


def fault_in_file(file: bytes, identity: Identity, version: int, size: int) -> str | None:
    """What is wrong with a whole file; None if nothing."""
    if len(file) != size or size < HEADER_OCTETS + 32:
        return f"{len(file)} octets of {size}"
    fault = fault_in_header(file, identity, version, size)
    if fault is not None:
        return fault
    control, at = struct.unpack_from("<H", file, 8)[0], HEADER_OCTETS
    at += 1 if control & _CREDENTIALS else 0
    if control & _DESTINATION:
        (destination,) = struct.unpack_from("<Q", file, at)
        at += 8
        if destination != identity.eui64:
            return f"an image for {destination:016X}"
    if control & _HARDWARE:
        low, high = struct.unpack_from("<HH", file, at)
        if not low <= identity.hardware <= high:
            return f"an image for hardware {low:04X} to {high:04X}"
    if hashlib.sha256(file[:-32]).digest() != file[-32:]:
        return "the hash at its end is another"
    return None
