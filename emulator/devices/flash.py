"""The program memory of one device: the running image, and a spare slot that a download fills.

Source: ours, after dual-slot boot loaders: what runs is the old image or the new, never neither.

    spare    event                        spare    effect
    -------  ---------------------------  -------  --------------------------------------------
    any      begin                        FILLING  the slot is erased
    FILLING  write                        FILLING  octets behind those stored; a full page is kept
    FILLING  mark_bootable, all stored    MARKED   none
    MARKED   boot                         IDLE     the slots change places, the new image runs
    MARKED   boot, no file header stored  IDLE     none, the old image runs
    MARKED   boot, boot_verify objects    IDLE     none, the old image runs
    any      erase                        IDLE     the slot is erased

The running slot is touched by `boot` alone. Everything that outlives a restart is in
`FlashContents`; octets of a page that was not full when the device stopped are lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from firmware_images.errors import ImageError
from firmware_images.header import parse_header

PAGE_BYTES = 4096

# A slot holds the largest image there may be: 750 KB over the whole file, read as 750 * 1024
# (docs/open-points.md, "750 KB").
SLOT_SIZE_BYTES = 750 * 1024


class FlashError(ValueError):
    """The caller used the flash in a way it cannot be used."""


class _SharedPage:
    __slots__ = ("holders", "page")

    def __init__(self, page: bytes) -> None:
        self.page = page
        self.holders = 0


class PagePool:
    """Pages of all devices of a run by content: what many store is one object in memory."""

    def __init__(self) -> None:
        self._pages: dict[bytes, _SharedPage] = {}

    def __len__(self) -> int:
        return len(self._pages)

    def hold(self, page: bytes) -> bytes:
        """The one object with these octets, held once more."""
        shared = self._pages.get(page)
        if shared is None:
            shared = self._pages[page] = _SharedPage(page)
        shared.holders += 1
        return shared.page

    def release(self, pages: Iterable[bytes]) -> None:
        """Give pages back; the last holder's release forgets a page."""
        for page in pages:
            shared = self._pages.get(page)
            if shared is None:
                continue  # from contents that were stored with another pool
            shared.holders -= 1
            if shared.holders <= 0:
                del self._pages[page]


class Slot(Enum):
    RUNNING = auto()
    SPARE = auto()


class SpareState(Enum):
    IDLE = auto()
    FILLING = auto()
    MARKED = auto()


@dataclass(frozen=True, slots=True)
class RunningImage:
    """What runs. An image from the factory is known by its version alone."""

    file_version: int
    size_bytes: int = 0
    sha256: str | None = None


@dataclass(slots=True)
class FlashContents:
    """Everything that outlives a restart; only `Flash` changes it."""

    running: RunningImage
    running_pages: list[bytes] = field(default_factory=list)
    spare_state: SpareState = SpareState.IDLE
    spare_size_bytes: int = 0
    spare_pages: list[bytes] = field(default_factory=list)

    @classmethod
    def factory(cls, file_version: int) -> FlashContents:
        """As the device is delivered: a version runs, its octets are not kept."""
        return cls(RunningImage(file_version))


class Flash:
    """Both slots of one device, built anew from its contents after every restart."""

    __slots__ = ("_hash", "_pool", "_tail", "_written", "contents", "slot_size_bytes")

    def __init__(
        self,
        contents: FlashContents,
        pool: PagePool | None = None,
        *,
        slot_size_bytes: int = SLOT_SIZE_BYTES,
    ) -> None:
        self.contents = contents
        self.slot_size_bytes = slot_size_bytes
        self._pool = PagePool() if pool is None else pool
        self._tail = bytearray()
        self._hash = hashlib.sha256()
        self._written = 0
        if contents.spare_state is SpareState.FILLING:
            for page in contents.spare_pages:
                self._hash.update(page)
                self._written += len(page)

    @property
    def running(self) -> RunningImage:
        return self.contents.running

    @property
    def is_filling(self) -> bool:
        """A download began and was neither marked nor erased."""
        return self.contents.spare_state is SpareState.FILLING

    @property
    def size_bytes(self) -> int:
        """How many octets the spare slot is to hold."""
        return self.contents.spare_size_bytes

    @property
    def written_bytes(self) -> int:
        """How many octets of the download are stored: the offset of the next one."""
        return self._written

    @property
    def is_complete(self) -> bool:
        return self.is_filling and self._written == self.contents.spare_size_bytes

    def begin(self, size_bytes: int) -> None:
        """Erase the spare slot for a file of `size_bytes`."""
        if not 0 < size_bytes <= self.slot_size_bytes:
            raise FlashError(f"{size_bytes} bytes do not fit a slot of {self.slot_size_bytes}")
        self.erase()
        self.contents.spare_size_bytes = size_bytes
        self.contents.spare_state = SpareState.FILLING

    def erase(self) -> None:
        contents = self.contents
        contents.spare_state = SpareState.IDLE
        self._pool.release(contents.spare_pages)
        contents.spare_pages = []
        contents.spare_size_bytes = 0
        self._tail.clear()
        self._hash = hashlib.sha256()
        self._written = 0

    def write(self, offset: int, data: bytes) -> None:
        """Store octets behind those already stored; `offset` says where the caller thinks it is."""
        end = offset + len(data)
        contents = self.contents
        if offset != self._written or end > contents.spare_size_bytes or not self.is_filling:
            raise self._misplaced(offset, len(data))
        tail = self._tail
        tail += data
        self._written = end
        if len(tail) >= PAGE_BYTES or end == contents.spare_size_bytes:
            self._store_pages(end == contents.spare_size_bytes)

    def _misplaced(self, offset: int, octets: int) -> FlashError:
        if not self.is_filling:
            return FlashError("no download has begun")
        if offset != self._written:
            return FlashError(f"offset {offset} is not the next one, {self._written}")
        return FlashError(f"{octets} octets at {offset} run past the end at {self.size_bytes}")

    def _store_pages(self, is_last: bool) -> None:
        tail = self._tail
        stored = 0
        while len(tail) - stored >= PAGE_BYTES or (is_last and stored < len(tail)):
            page = self._pool.hold(bytes(tail[stored : stored + PAGE_BYTES]))
            self._hash.update(page)
            self.contents.spare_pages.append(page)
            stored += len(page)
        del tail[:stored]

    def sha256(self) -> str:
        """Of the octets of the download stored so far, as hexadecimal digits."""
        digest = self._hash.copy()
        digest.update(self._tail)
        return digest.hexdigest()

    def read(self, slot: Slot) -> bytes:
        """The octets of a slot, joined now; nothing is kept of an image from the factory."""
        if slot is Slot.RUNNING:
            return b"".join(self.contents.running_pages)
        return b"".join((*self.contents.spare_pages, self._tail))

    def head(self, octets: int) -> bytes:
        """The first octets of the spare slot, as many of `octets` as are stored."""
        pages = self.contents.spare_pages[: -(-octets // PAGE_BYTES)]
        return b"".join((*pages, self._tail))[:octets]

    def mark_bootable(self) -> None:
        """Have the next `boot` run the spare slot."""
        if not self.is_complete:
            raise FlashError(f"{self._written} of {self.size_bytes} bytes are no image to boot")
        self.contents.spare_state = SpareState.MARKED

    def boot(self, boot_verify: BootVerify | None = None) -> RunningImage:
        """What a boot loader does: run the marked slot if there is one, and say what runs.

        `boot_verify` is its own judgement of the marked image: None, or what is wrong with it.
        """
        contents = self.contents
        if contents.spare_state is not SpareState.MARKED:
            return contents.running
        digest = hashlib.sha256()
        for page in contents.spare_pages:
            digest.update(page)
        contents.spare_state = SpareState.IDLE
        self._written = 0
        try:
            header = parse_header(b"".join(contents.spare_pages))
        except ImageError:
            return contents.running
        if boot_verify is not None and boot_verify(self) is not None:
            return contents.running
        size_bytes = contents.spare_size_bytes
        contents.running = RunningImage(header.file_version, size_bytes, digest.hexdigest())
        pages = contents.spare_pages, contents.running_pages
        contents.running_pages, contents.spare_pages = pages
        contents.spare_size_bytes = 0
        return contents.running


BootVerify = Callable[[Flash], str | None]
