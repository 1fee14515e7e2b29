"""The hub's memory for firmware files: one slot, and the newest file has it.

Source: mission 001 (MP170), "CH will share its (GSME) block": equal priority, each newcomer may
overwrite the one held. Which of two meter and bridge images goes first is not public
(docs/open-points.md, "image slot").

A file is written page by page, each page one operation of the power supply, and counts when the
record behind them says so: what a power cut left half stored is not there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from emulator.devices.nonvolatile import STEADY, Power, Record
from firmware_images.header import OtaHeader
from firmware_images.image import read_image

MAX_IMAGE_BYTES = 750 * 1024  # docs/open-points.md, "750 KB"
PAGE_BYTES = 4096


class ImageStoreError(ValueError):
    """The file cannot be stored; the slot is as before."""


class Image(Protocol):
    """What `firmware_images.image.FirmwareImage` offers of a file."""

    @property
    def data(self) -> bytes: ...

    @property
    def header(self) -> OtaHeader: ...

    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A file as the hub holds it. `data` is the object it was given, shared and never copied.

    What is served has the size of the file, whatever its header says: that the two agree is for
    the checks before the store.
    """

    data: bytes
    header: OtaHeader
    sha256: str

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


@dataclass(slots=True)
class StoreContents:
    """Everything of the slot that outlives a restart; only `ImageStore` changes it.

    `record` holds the SHA-256 of a file that is stored whole. Of `data` the first `written_bytes`
    octets are stored: the object is shared with whoever holds the same file.
    """

    record: Record = field(default_factory=Record)
    data: bytes = b""
    written_bytes: int = 0


class ImageStore:
    """One slot. Two files are the same when their octets are, not when their identifiers are."""

    def __init__(
        self,
        limit_bytes: int = MAX_IMAGE_BYTES,
        contents: StoreContents | None = None,
        power: Power = STEADY,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.contents = StoreContents() if contents is None else contents
        self._power = power
        self._slot = self._restored()

    def _restored(self) -> StoredImage | None:
        contents = self.contents
        digest = contents.record.read()
        if not digest or contents.written_bytes != len(contents.data):
            return None
        image = read_image(contents.data)
        if bytes.fromhex(image.sha256) != digest:
            return None
        return StoredImage(image.data, image.header, image.sha256)

    @property
    def slot(self) -> StoredImage | None:
        return self._slot

    def takes(self, octets: int) -> bool:
        """Whether a file of this size fits the slot."""
        return 0 < octets <= self.limit_bytes

    def put(self, image: Image) -> StoredImage | None:
        """Store a file; returns the one that had to go, None when none had."""
        size_bytes = len(image.data)
        if not self.takes(size_bytes):
            limit = f"the limit is {self.limit_bytes}"
            raise ImageStoreError(f"image has {size_bytes} bytes, {limit}")
        held = self._slot
        if held is not None and held.is_same_file(image.data):
            return None
        self.clear()
        self._write(image.data)
        digest = hashlib.sha256(image.data)
        self.contents.record.write(self._power, "image: keep", digest.digest())
        self._slot = StoredImage(image.data, image.header, digest.hexdigest())
        return held

    def _write(self, data: bytes) -> None:
        contents = self.contents
        contents.data, contents.written_bytes = data, 0

        def reach(octets: int) -> None:
            contents.written_bytes = octets

        for number, begin in enumerate(range(0, len(data), PAGE_BYTES)):
            end = min(begin + PAGE_BYTES, len(data))
            self._power.operate(
                f"image: page {number}",
                partial(reach, end),
                partial(reach, (begin + end) // 2),
            )

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
        held = self._slot
        if self.contents.record.read():
            self.contents.record.write(self._power, "image: forget", b"")
        self._slot = None
        return held
