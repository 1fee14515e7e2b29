"""How well a radio hears: the strengths and qualities of what came in, counted.

Source: Silicon Labs UG100, `incomingMessageHandler` (lastHopRssi in dBm, lastHopLqi 0 to 255). A
count a value takes 512 numbers however long a night is, and gives the medians at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Signal(NamedTuple):
    """Medians of what was heard."""

    rssi_dbm: int
    lqi: int


class SignalCounts:
    """Counts of one radio. `lqi` and `rssi_dbm` of a message as they come; a negative RSSI counts
    from the end of its list, as Python's lists do."""

    __slots__ = ("lqis", "rssis")

    def __init__(self) -> None:
        self.rssis = [0] * 256
        self.lqis = [0] * 256

    def medians(self) -> Signal | None:
        """None where nothing was heard."""
        if not any(self.lqis):
            return None
        rssi = _median((*self.rssis[128:], *self.rssis[:128])) - 128
        return Signal(rssi, _median(self.lqis))


def _median(counts: Sequence[int]) -> int:
    """The index at which half of them are passed; of two the lower."""
    half = (sum(counts) + 1) // 2
    passed = 0
    for index, count in enumerate(counts):
        passed += count
        if passed >= half:
            return index
    raise ValueError("nothing was counted")
