"""The hub's memory for firmware files: one slot, and the newest file has it.

Source: mission 001 (MP170), "CH will share its (GSME) block": equal priority, each newcomer may
overwrite the one held. Which of two meter and bridge images goes first is not public
(docs/open-points.md, "image slot").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from firmware_images.header import OtaHeader

MAX_IMAGE_BYTES = 750 * 1024  # docs/open-points.md, "750 KB"


class ImageStoreError(ValueError):
    """The file cannot be stored; the slot is as before."""


class Image(Protocol):
    """What `firmware_images.image.FirmwareImage` offers of a file."""

    @property
    def data(self) -> bytes: ...

    @property
    def header(self) -> OtaHeader: ...


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A file as the hub holds it. `data` is the object it was given, shared and never copied.

    What is served has the size of the file, whatever its header says: that the two agree is for
    the checks before the store.
    """

    data: bytes
    header: OtaHeader

    @property
    def ids(self) -> tuple[int, int, int]:
        """Manufacturer, image type and file version: what a block request names a file by."""
        header = self.header
        return header.manufacturer_code, header.image_type, header.file_version

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def is_same_file(self, data: bytes) -> bool:
        return self.data is data or self.data == data


class ImageStore:
    """One slot. Two files are the same when their octets are, not when their identifiers are."""

    def __init__(self, limit_bytes: int = MAX_IMAGE_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._slot: StoredImage | None = None

    @property
    def slot(self) -> StoredImage | None:
        return self._slot

    def put(self, image: Image) -> StoredImage | None:
        """Store a file; returns the one that had to go, None when none had."""
        size_bytes = len(image.data)
        if not 0 < size_bytes <= self.limit_bytes:
            limit = f"the limit is {self.limit_bytes}"
            raise ImageStoreError(f"image has {size_bytes} bytes, {limit}")
        held = self._slot
        if held is not None and held.is_same_file(image.data):
            return None
        self._slot = StoredImage(image.data, image.header)
        return held

    def find(
        self, manufacturer_code: int, image_type: int, file_version: int
    ) -> StoredImage | None:
        """The file of that name, if it is the one held."""
        held = self._slot
        if held is None or held.ids != (manufacturer_code, image_type, file_version):
            return None
        return held

    def clear(self) -> StoredImage | None:
        """Empty the slot; returns what was in it."""
        held, self._slot = self._slot, None
        return held
