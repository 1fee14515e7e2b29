"""What survives when the power goes, and the operations at which it may go.

Source: ours, after how flash and EEPROM are written: an operation that a power cut interrupts is
done, not begun, or torn. Every change to what outlives a restart is one named operation of
`Supply`, so a test can cut the power at each of them. A page that is torn holds its first half
and erased octets; a record is kept in two copies, so a torn one leaves the record before it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from enum import Enum, auto
from struct import Struct
from typing import NamedTuple

_HEAD = Struct("<II")  # sequence, octets of the body
_CHECK = Struct("<I")


class PowerCut(Exception):
    """The power went during an operation; what is not stored is gone."""


class CutMode(Enum):
    BEFORE = auto()
    TORN = auto()
    AFTER = auto()


class Cut(NamedTuple):
    """At which operation the power goes, counted from 1, and how far that operation came."""

    operation: int
    mode: CutMode


class Supply:
    """The power of one device or hub, with the names of the operations it has carried so far.

    `on_gone(why)` is told when it goes, before that is raised. Nothing is stored after that.
    """

    __slots__ = ("_cut", "_on_gone", "is_off", "operations")

    def __init__(
        self, cut: Cut | None = None, on_gone: Callable[[str], object] | None = None
    ) -> None:
        self.operations: list[str] = []
        self.is_off = False
        self._cut = cut
        self._on_gone = on_gone

    def operate(self, name: str, do: Callable[[], object], tear: Callable[[], object]) -> None:
        """Carry out one operation. Raises PowerCut when it is the one the power goes at."""
        if self.is_off:
            raise PowerCut(f"no power for {name}")
        self.operations.append(name)
        cut = self._cut
        if cut is None or cut.operation != len(self.operations):
            do()
            return
        if cut.mode is CutMode.AFTER:
            do()
        elif cut.mode is CutMode.TORN:
            tear()
        why = f"at operation {cut.operation}, {name}"
        self.go(why)
        raise PowerCut(why)

    def go(self, why: str) -> None:
        """The power goes now, between two operations unless one of them says so."""
        if self.is_off:
            return
        self.is_off = True
        if self._on_gone is not None:
            self._on_gone(why)


class Steady:
    """Power that never goes and counts nothing: whoever runs without faults shares one."""

    __slots__ = ()
    is_off = False

    def operate(self, _name: str, do: Callable[[], object], _tear: Callable[[], object]) -> None:
        do()


STEADY = Steady()
Power = Supply | Steady


class Record:
    """One record that is changed as a whole: the older of two copies is overwritten."""

    __slots__ = ("_copies",)

    def __init__(self, body: bytes | None = None) -> None:
        self._copies = [b"", b""]
        if body is not None:
            self._copies[0] = _sealed(1, body)

    def read(self) -> bytes | None:
        """What was written last, None when nothing ever was."""
        newest = max(map(_opened, self._copies), key=lambda copy: copy[0])
        return newest[1]

    def write(self, power: Power, name: str, body: bytes) -> None:
        sequences = [_opened(copy)[0] for copy in self._copies]
        older = sequences.index(min(sequences))
        sealed = _sealed(max(sequences) + 1, body)

        def keep(octets: bytes) -> None:
            self._copies[older] = octets

        power.operate(name, lambda: keep(sealed), lambda: keep(sealed[: len(sealed) // 2]))


def _sealed(sequence: int, body: bytes) -> bytes:
    octets = _HEAD.pack(sequence, len(body)) + body
    return octets + _CHECK.pack(zlib.crc32(octets))


def _opened(copy: bytes) -> tuple[int, bytes | None]:
    """Sequence and body of a copy; 0 and None for one that was never written, or torn."""
    if len(copy) < _HEAD.size + _CHECK.size:
        return 0, None
    octets, check = copy[: -_CHECK.size], copy[-_CHECK.size :]
    sequence, size = _HEAD.unpack_from(octets)
    if size != len(octets) - _HEAD.size or _CHECK.pack(zlib.crc32(octets)) != check:
        return 0, None
    return sequence, octets[_HEAD.size :]
