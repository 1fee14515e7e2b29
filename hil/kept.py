"""Power that lasts, for hubs and devices that are processes of their own: what they store is in a
folder before anybody is told.

Source: DESIGN, sentence 10; `emulator.devices.nonvolatile` has the operations. After each of them
whatever is not in the folder yet is written there in one transaction.

    kept                 under the names                      when
    -------------------  -----------------------------------  ----------------------------------
    a record             its name                             it says something else
    a slot of the flash  "slot 0 page 00000" and so on, each  a page was written or erased
                         with what shows that it is whole
    another part         names that begin as it says          it says so
    an image             "image" and "image digest"           its record says that it is whole
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Protocol

from emulator.devices.flash import FlashContents, StoredPages
from emulator.devices.image_store import StoreContents
from emulator.devices.nonvolatile import PowerCut, Record, Steady
from hil.errors import BenchBroke, RequestError
from hil.state_folder import StateFolder

_CHECK_OCTETS = 4
_IMAGE, _DIGEST = "image", "image digest"

Changes = Mapping[str, bytes | None]


class _Part(Protocol):
    def changes(self) -> Changes:
        """What the folder does not have yet."""


class Kept(Steady):
    """The power of one process, and what was stored with it.

    `on_lost(reason)` is told when the folder takes nothing more: nothing is stored or said then.
    Without a folder all of it is in memory, and ends with the process.
    """

    def __init__(self, folder: StateFolder | None, on_lost: Callable[[str], object]) -> None:
        self._folder = folder
        self._on_lost = on_lost
        self._parts: list[_Part] = []
        self.is_off = False

    def operate(self, name: str, do: Callable[[], object], _tear: Callable[[], object]) -> None:
        """Carry out one operation, here and in the folder. Raises PowerCut when that fails."""
        if self.is_off:
            raise PowerCut(f"nothing is kept any more, so not {name}")
        do()
        if self._folder is None:
            return
        changes: dict[str, bytes | None] = {}
        for part in self._parts:
            changes.update(part.changes())
        try:
            self._folder.write(changes)
        except BenchBroke as error:
            self.is_off = True
            self._on_lost(str(error))
            raise PowerCut(str(error)) from None

    def adopt(self, prefix: str, part: _Part) -> list[tuple[str, bytes]]:
        """Keep one more part; what is there of it, under names with this prefix."""
        self._parts.append(part)
        return [] if self._folder is None else self._folder.read_all(prefix)

    def _read(self, name: str) -> bytes | None:
        return None if self._folder is None else self._folder.read(name)

    def record(self, name: str) -> Record:
        """The record of this name, as it was kept; an empty one when it never was."""
        held = self._read(name)
        record = Record(held)
        self._parts.append(_KeptRecord(name, record, held))
        return record

    def flash(self, file_version: int) -> FlashContents:
        """The flash of a device, or one from the factory with this version."""
        held = self._read("flash")
        contents = FlashContents.factory(file_version)
        if held is not None:
            contents = FlashContents(Record(held), (self._slot(0), self._slot(1)))
            contents.state  # noqa: B018 - one that does not read is told of here
        self._parts.append(_KeptRecord("flash", contents.record, held))
        for number, stored in enumerate(contents.slots):
            self._parts.append(_KeptSlot(number, stored))
        return contents

    def _slot(self, number: int) -> StoredPages:
        stored = StoredPages()
        rows = [] if self._folder is None else self._folder.read_all(f"slot {number} page ")
        for _, octets in rows:
            stored.checks.append(int.from_bytes(octets[:_CHECK_OCTETS], "little"))
            stored.pages.append(octets[_CHECK_OCTETS:])
        return stored

    def image(self) -> StoreContents:
        """The image slot of a hub."""
        digest, data = self._read(_DIGEST), self._read(_IMAGE)
        contents = StoreContents()
        if digest is not None and data is not None:
            if hashlib.sha256(data).digest() != digest:
                assert self._folder is not None
                raise RequestError(f"{self._folder.shown}: the image in it is damaged")
            contents = StoreContents(Record(digest), data, len(data))
        self._parts.append(_KeptImage(contents))
        return contents


class _KeptRecord:
    def __init__(self, name: str, record: Record, kept: bytes | None) -> None:
        self._name = name
        self._record = record
        self._kept = kept

    def changes(self) -> Changes:
        body = self._record.read()
        if body == self._kept:
            return {}
        self._kept = body
        return {self._name: body}


class _KeptSlot:
    def __init__(self, number: int, stored: StoredPages) -> None:
        self._number = number
        self._stored = stored
        self._kept = list(stored.pages)

    def changes(self) -> Changes:
        pages, kept = self._stored.pages, self._kept
        same = 0
        while same < min(len(pages), len(kept)) and pages[same] is kept[same]:
            same += 1
        if same == len(pages) == len(kept):
            return {}
        changes: dict[str, bytes | None] = {self._name(at): None for at in range(same, len(kept))}
        for at in range(same, len(pages)):
            check = self._stored.checks[at].to_bytes(_CHECK_OCTETS, "little")
            changes[self._name(at)] = check + pages[at]
        kept[same:] = pages[same:]
        return changes

    def _name(self, page: int) -> str:
        return f"slot {self._number} page {page:05}"


class _KeptImage:
    def __init__(self, contents: StoreContents) -> None:
        self._contents = contents
        self._kept = contents.record.read() or b""

    def changes(self) -> Changes:
        digest = self._contents.record.read() or b""
        if digest == self._kept:
            return {}
        self._kept = digest
        if not digest:
            return {_DIGEST: None, _IMAGE: None}
        return {_DIGEST: digest, _IMAGE: self._contents.data}
