"""The program memory of one device: the running image, and a spare slot that a download fills.

Source: ours, after dual-slot boot loaders: what runs is the old image or the new, never neither,
and a new one that does not come up makes room for the old one again.

    spare     event                        spare     effect
    --------  ---------------------------  --------  ------------------------------------------
    any       begin                        FILLING   the slot is erased
    FILLING   write                        FILLING   octets behind those stored; full pages are kept
    FILLING   mark_bootable, all stored    MARKED    none
    MARKED    boot                         FALLBACK  the slots change roles, the new image runs
    MARKED    boot, no file header stored  IDLE      none, the old image runs
    MARKED    boot, boot_verify objects    IDLE      none, the old image runs
    FALLBACK  confirm                      IDLE      none, the new image runs for good
    FALLBACK  boot                         FALLBACK  one trial less
    FALLBACK  boot after the last trial    IDLE      the slots change roles, the old image runs
    any       erase                        IDLE      the slot is erased

What runs is changed by `boot` alone. Everything that outlives a restart is in `FlashContents`, and
each change to it is one operation of the power supply (`nonvolatile`); octets of a page that was
not full when the device stopped are lost, and so is a page that was torn.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from emulator.devices.nonvolatile import STEADY, Power, Record
from firmware_images.errors import ImageError
from firmware_images.header import parse_header

PAGE_BYTES = 4096

# A slot holds the largest image there may be: 750 KB over the whole file, read as 750 * 1024
# (docs/open-points.md, "750 KB").
SLOT_SIZE_BYTES = 750 * 1024

# How often a new image may start without `confirm`: a power cut is no proof that it is bad.
TRIALS = 3


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
    FALLBACK = auto()  # it holds the image before the one that runs on trial


class RunningImage(NamedTuple):
    """What runs. An image from the factory is known by its version alone."""

    file_version: int
    size_bytes: int = 0
    sha256: str | None = None


class FlashState(NamedTuple):
    """What the boot loader and the firmware have to know of the two slots."""

    running: RunningImage
    running_slot: int = 0
    spare_state: SpareState = SpareState.IDLE
    spare_size_bytes: int = 0
    previous: RunningImage | None = None  # in the spare slot, as long as it is FALLBACK
    trials: int = 0

    def octets(self) -> bytes:
        running, slot, spare, size_bytes, previous, trials = self
        return json.dumps((running, slot, spare.name, size_bytes, previous, trials)).encode()

    @classmethod
    def parse(cls, octets: bytes) -> FlashState:
        running, slot, spare, size_bytes, previous, trials = json.loads(octets)
        kept = None if previous is None else RunningImage(*previous)
        return cls(RunningImage(*running), slot, SpareState[spare], size_bytes, kept, trials)


@dataclass(slots=True)
class StoredPages:
    """The pages of one slot, and beside each what shows that it was written whole."""

    pages: list[bytes] = field(default_factory=list)
    checks: list[int] = field(default_factory=list)

    def intact(self) -> list[bytes]:
        """The pages before the first that is torn."""
        for at, (page, check) in enumerate(zip(self.pages, self.checks, strict=True)):
            if zlib.crc32(page) != check:
                return self.pages[:at]
        return self.pages


@dataclass(slots=True)
class FlashContents:
    """Everything that outlives a restart; only `Flash` changes it."""

    record: Record
    slots: tuple[StoredPages, StoredPages] = field(
        default_factory=lambda: (StoredPages(), StoredPages())
    )

    @classmethod
    def factory(cls, file_version: int) -> FlashContents:
        """As the device is delivered: a version runs, its octets are not kept."""
        return cls(Record(FlashState(RunningImage(file_version)).octets()))

    @property
    def state(self) -> FlashState:
        octets = self.record.read()
        assert octets is not None  # it was written in the factory, and a torn one has another copy
        return FlashState.parse(octets)


class Flash:
    """Both slots of one device, built anew from its contents after every restart."""

    __slots__ = (
        "_hash",
        "_pool",
        "_power",
        "_state",
        "_tail",
        "_written",
        "contents",
        "slot_size_bytes",
    )

    def __init__(
        self,
        contents: FlashContents,
        pool: PagePool | None = None,
        *,
        slot_size_bytes: int = SLOT_SIZE_BYTES,
        power: Power = STEADY,
    ) -> None:
        self.contents = contents
        self.slot_size_bytes = slot_size_bytes
        self._pool = PagePool() if pool is None else pool
        self._power = power
        self._state = contents.state
        self._tail = bytearray()
        self._hash = hashlib.sha256()
        self._written = 0
        if self.is_filling:
            for page in self._spare.intact():
                self._hash.update(page)
                self._written += len(page)

    @property
    def running(self) -> RunningImage:
        return self._state.running

    @property
    def spare_state(self) -> SpareState:
        return self._state.spare_state

    @property
    def is_filling(self) -> bool:
        """A download began and was neither marked nor erased."""
        return self._state.spare_state is SpareState.FILLING

    @property
    def is_on_trial(self) -> bool:
        """A new image runs, and was not confirmed yet."""
        return self._state.spare_state is SpareState.FALLBACK

    @property
    def size_bytes(self) -> int:
        """How many octets the spare slot is to hold."""
        return self._state.spare_size_bytes

    @property
    def written_bytes(self) -> int:
        """How many octets of the download are stored: the offset of the next one."""
        return self._written

    @property
    def is_complete(self) -> bool:
        return self.is_filling and self._written == self._state.spare_size_bytes

    @property
    def _spare(self) -> StoredPages:
        return self.contents.slots[1 - self._state.running_slot]

    def _keep(self, name: str, state: FlashState) -> None:
        """Have the record say `state`; what is in memory says it when that is done."""
        self.contents.record.write(self._power, name, state.octets())
        self._state = state

    def _forget_spare(self, name: str) -> None:
        """What is in the spare slot is of no more use to anybody."""
        state = self._state
        self._keep(name, FlashState(state.running, state.running_slot))
        self._tail.clear()
        self._hash = hashlib.sha256()
        self._written = 0

    def begin(self, size_bytes: int) -> None:
        """Erase the spare slot for a file of `size_bytes`."""
        if not 0 < size_bytes <= self.slot_size_bytes:
            raise FlashError(f"{size_bytes} bytes do not fit a slot of {self.slot_size_bytes}")
        self.erase()
        state = self._state._replace(spare_state=SpareState.FILLING, spare_size_bytes=size_bytes)
        self._keep("spare: begin", state)

    def erase(self) -> None:
        self._forget_spare("spare: forget")
        stored = self._spare
        if stored.pages:
            pages = stored.pages
            self._power.operate(
                "spare: erase",
                lambda: self._drop_pages(stored, len(pages)),
                lambda: self._drop_pages(stored, len(pages) // 2),
            )

    def _drop_pages(self, stored: StoredPages, count: int) -> None:
        self._pool.release(stored.pages[:count])
        del stored.pages[:count], stored.checks[:count]

    def write(self, offset: int, data: bytes) -> None:
        """Store octets behind those already stored; `offset` says where the caller thinks it is."""
        end = offset + len(data)
        size_bytes = self._state.spare_size_bytes
        if offset != self._written or end > size_bytes or not self.is_filling:
            raise self._misplaced(offset, len(data))
        tail = self._tail
        tail += data
        self._written = end
        if len(tail) >= PAGE_BYTES or end == size_bytes:
            self._store_pages(end == size_bytes)

    def _misplaced(self, offset: int, octets: int) -> FlashError:
        if not self.is_filling:
            return FlashError("no download has begun")
        if offset != self._written:
            return FlashError(f"offset {offset} is not the next one, {self._written}")
        return FlashError(f"{octets} octets at {offset} run past the end at {self.size_bytes}")

    def _store_pages(self, is_last: bool) -> None:
        tail = self._tail
        number = (self._written - len(tail)) // PAGE_BYTES
        stored = 0
        while len(tail) - stored >= PAGE_BYTES or (is_last and stored < len(tail)):
            page = self._pool.hold(bytes(tail[stored : stored + PAGE_BYTES]))
            self._store_page(number, page)
            self._hash.update(page)
            stored += len(page)
            number += 1
        del tail[:stored]

    def _store_page(self, number: int, page: bytes) -> None:
        """Write one page in the place of whatever was left there, torn."""
        stored = self._spare

        def put(octets: bytes) -> None:
            self._pool.release(stored.pages[number:])
            del stored.pages[number:], stored.checks[number:]
            stored.pages.append(octets)
            stored.checks.append(zlib.crc32(page))

        half = len(page) // 2
        torn = page[:half] + b"\xff" * (len(page) - half)
        if torn == page:  # erased octets written halfway are no different from those written
            torn = page[:half]
        self._power.operate(f"spare: page {number}", lambda: put(page), lambda: put(torn))

    def sha256(self) -> str:
        """Of the octets of the download stored so far, as hexadecimal digits."""
        digest = self._hash.copy()
        digest.update(self._tail)
        return digest.hexdigest()

    def read(self, slot: Slot) -> bytes:
        """The octets of a slot, joined now; nothing is kept of an image from the factory."""
        if slot is Slot.RUNNING:
            return b"".join(self.contents.slots[self._state.running_slot].pages)
        if not self.is_filling:
            return b"".join(self._spare.pages)
        return self.head(self._written)

    def head(self, octets: int) -> bytes:
        """The first octets of a download, as many of `octets` as are stored."""
        tail = self._tail
        # A page that was torn is still there until it is written again.
        whole = (self._written - len(tail)) // PAGE_BYTES if tail else -(-octets // PAGE_BYTES)
        pages = self._spare.pages[: min(whole, -(-octets // PAGE_BYTES))]
        return b"".join((*pages, tail))[: min(octets, self._written)]

    def mark_bootable(self) -> None:
        """Have the next `boot` run the spare slot."""
        if not self.is_complete:
            raise FlashError(f"{self._written} of {self.size_bytes} bytes are no image to boot")
        self._keep("spare: mark", self._state._replace(spare_state=SpareState.MARKED))

    def boot(self, boot_verify: BootVerify | None = None) -> RunningImage:
        """What a boot loader does: run the marked slot if there is one, and say what runs.

        `boot_verify` is its own judgement of the marked image: None, or what is wrong with it.
        """
        state = self._state
        if state.spare_state is SpareState.MARKED:
            candidate = self._bootable()
            if candidate is None or (boot_verify is not None and boot_verify(self) is not None):
                self._forget_spare("boot: refuse")
            else:
                self._swap("boot: swap", candidate, previous=state.running)
        elif state.spare_state is SpareState.FALLBACK:
            if state.trials and state.previous is not None:
                self._keep("boot: trial", state._replace(trials=state.trials - 1))
            elif state.previous is not None:
                self._swap("boot: revert", state.previous, previous=None)
        return self._state.running

    def _bootable(self) -> RunningImage | None:
        """The marked image, None when it is not whole or no firmware file."""
        pages = self._spare.intact()
        data = b"".join(pages)
        try:
            header = parse_header(data)
        except ImageError:
            return None
        size_bytes = self._state.spare_size_bytes
        if len(data) != size_bytes:
            return None
        return RunningImage(header.file_version, size_bytes, hashlib.sha256(data).hexdigest())

    def _swap(self, name: str, running: RunningImage, previous: RunningImage | None) -> None:
        slot = 1 - self._state.running_slot
        if previous is None:
            self._keep(name, FlashState(running, slot))
        else:
            # The start that follows is the first trial.
            fallback = SpareState.FALLBACK
            self._keep(name, FlashState(running, slot, fallback, 0, previous, TRIALS - 1))
        self._written = 0

    def confirm(self) -> None:
        """The new image does what it should: it is not given up any more."""
        if self.is_on_trial:
            self._keep("boot: confirm", FlashState(self._state.running, self._state.running_slot))


BootVerify = Callable[[Flash], str | None]
