"""How well a radio hears: the strengths and qualities of what came in, counted.

Source: Silicon Labs UG100, `incomingMessageHandler` (lastHopRssi in dBm, lastHopLqi 0 to 255). A
count a value takes 512 numbers however long a night is, and gives the medians at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Signal(NamedTuple):
    """Medians of what was heard."""

    rssi_dbm: int
    lqi: int


class Span(NamedTuple):
    """Between what a value was, and what it was on average."""

    greatest: int
    average: int
    least: int


class Heard(NamedTuple):
    """How one node of the network was heard."""

    rssi_dbm: Span
    lqi: Span


class SignalCounts:
    """Counts of one radio, or of one node that it hears. `lqi` and `rssi_dbm` of a message as they
    come; a negative RSSI counts from the end of its list, as Python's lists do."""

    __slots__ = ("lqis", "rssis")

    def __init__(self) -> None:
        self.rssis = [0] * 256
        self.lqis = [0] * 256

    def medians(self) -> Signal | None:
        """None where nothing was heard."""
        if not any(self.lqis):
            return None
        rssi = _median(self._rssis_in_order()) - 128
        return Signal(rssi, _median(self.lqis))

    def spans(self) -> Heard | None:
        """None where nothing was heard."""
        if not any(self.lqis):
            return None
        rssi = Span(*(value - 128 for value in _span(self._rssis_in_order())))
        return Heard(rssi, _span(self.lqis))

    def _rssis_in_order(self) -> list[int]:
        return [*self.rssis[128:], *self.rssis[:128]]

    @classmethod
    def together(cls, all_counts: Iterable[SignalCounts]) -> SignalCounts:
        """What was heard of several nodes."""
        total = cls()
        for counts in all_counts:
            total.rssis = [sum(both) for both in zip(total.rssis, counts.rssis, strict=True)]
            total.lqis = [sum(both) for both in zip(total.lqis, counts.lqis, strict=True)]
        return total


def _median(counts: Sequence[int]) -> int:
    """The index at which half of them are passed; of two the lower."""
    half = (sum(counts) + 1) // 2
    passed = 0
    for index, count in enumerate(counts):
        passed += count
        if passed >= half:
            return index
    raise ValueError("nothing was counted")


def _span(counts: Sequence[int]) -> Span:
    values = [index for index, count in enumerate(counts) if count]
    total = sum(index * counts[index] for index in values)
    return Span(values[-1], round(total / sum(counts)), values[0])
