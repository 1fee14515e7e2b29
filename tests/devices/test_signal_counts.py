"""Medians of what a radio heard, from counts alone."""

from __future__ import annotations

from statistics import median_low

from hypothesis import given
from hypothesis import strategies as st

from emulator.devices.signal_counts import SignalCounts


def test_who_heard_nothing_has_no_median() -> None:
    assert SignalCounts().medians() is None


@given(st.lists(st.tuples(st.integers(-128, 127), st.integers(0, 255)), min_size=1))
def test_the_medians_are_those_of_all_that_was_heard(heard: list[tuple[int, int]]) -> None:
    counts = SignalCounts()
    for rssi, lqi in heard:
        counts.rssis[rssi] += 1
        counts.lqis[lqi] += 1
    signal = counts.medians()
    assert signal is not None
    assert signal.rssi_dbm == median_low(rssi for rssi, _ in heard)
    assert signal.lqi == median_low(lqi for _, lqi in heard)
