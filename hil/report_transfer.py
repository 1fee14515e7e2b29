"""How an image went across, as the frames of the air show it: block by block, and how fast.

Source: ours. A trace is made while the frames go by, and is bounded however long the run was:

    what                  bound
    --------------------  -----------------------------------------------------------------------
    the path of offsets   2 000 points; each time it is full every other one goes
    rates and latencies   480 slices of time; when they do not suffice, two become one
    repeats and pauses    the first 200 of each are placed, all are counted

A block is asked for again when its request comes after one for the same offset or a later one; a
retransmission of the MAC, which is the same frame once more, is a retry instead. A pause is more
than a second, and five times what is usual, between two blocks. The latency of a block is from
its first request to its data, both as they begin on the air. Of reconstructed frames the retries
are not known: there is none, and in their place are the blocks asked for again, by time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hil.air_log import AGAIN, AirFrame
from hil.air_names import COORDINATOR

MAX_POINTS = 2_000
MAX_SLICES = 480
MAX_PLACED = 200
FIRST_SLICE_S = 0.25
LONGEST_PAUSE_S = 1.0
USUAL_TIMES = 5
_STEP = 1.05  # of the histogram that quantiles are told from


class Slice(NamedTuple):
    """A slice of time: how many values fell into it, their sum, the least and the greatest."""

    start_s: float
    values: int
    total: float
    low: float
    high: float


class Slices:
    """Values by time, in slices of one width."""

    def __init__(self) -> None:
        self.width_s = FIRST_SLICE_S
        self._rows: dict[int, list[float]] = {}

    def add(self, time_s: float, value: float = 1.0) -> None:
        index = int(max(0.0, time_s) / self.width_s)
        while index >= MAX_SLICES:
            self._widen()
            index //= 2
        self._merge(self._rows, index, [1, value, value, value])

    def widen_to(self, width_s: float) -> None:
        """Make the slices as wide as those of another."""
        while self.width_s < width_s:
            self._widen()

    def _widen(self) -> None:
        self.width_s *= 2
        wider: dict[int, list[float]] = {}
        for index, row in self._rows.items():
            self._merge(wider, index // 2, row)
        self._rows = wider

    @staticmethod
    def _merge(rows: dict[int, list[float]], index: int, row: list[float]) -> None:
        there = rows.get(index)
        if there is None:
            rows[index] = row
        else:
            count, total, low, high = there
            rows[index] = [count + row[0], total + row[1], min(low, row[2]), max(high, row[3])]

    def rows(self) -> list[Slice]:
        """Those that hold something, in order."""
        return [
            Slice(index * self.width_s, int(count), total, low, high)
            for index, (count, total, low, high) in sorted(self._rows.items())
        ]


class Moment(NamedTuple):
    """Something at a time: a block asked for again, with its offset; a pause, with how long."""

    time_s: float
    value: float


@dataclass(frozen=True, slots=True)
class Trace:
    """One device's transfers. `path` is (time, offset of the data that arrived); latencies in
    milliseconds, the last of each quantile's name its share in percent."""

    device_id: str
    blocks: int
    octets: int
    repeats: int
    pauses: int
    retries: int
    spent_s: float
    latency_ms: Mapping[str, float]
    path: Sequence[Moment]
    asked_again: Sequence[Moment]
    paused: Sequence[Moment]
    slice_s: float
    throughput: Sequence[Moment]
    retry_rate: Sequence[Moment]
    latency: Sequence[Moment]
    latency_worst: Sequence[Moment]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Trace:
        """Out of `air.json`. Raises KeyError, TypeError and ValueError."""
        values: dict[str, Any] = {name: document[name] for name in cls.__slots__}
        for name in LISTS:
            values[name] = [Moment(float(at), float(value)) for at, value in document[name]]
        return cls(**values)


LISTS = (
    "path",
    "asked_again",
    "paused",
    "throughput",
    "retry_rate",
    "latency",
    "latency_worst",
)


@dataclass
class _Device:
    """One device while the frames go by."""

    waiting: tuple[int, float] | None = None  # the offset asked for, and when first
    furthest: int = -1
    last_s: float | None = None
    usual_s: float = 0.0
    blocks: int = 0
    octets_sum: int = 0
    repeats: int = 0
    retries: int = 0
    pauses: int = 0
    spent_s: float = 0.0
    path: list[Moment] = field(default_factory=list)
    stride: int = 1
    asked_again: list[Moment] = field(default_factory=list)
    paused: list[Moment] = field(default_factory=list)
    octets: Slices = field(default_factory=Slices)
    retried: Slices = field(default_factory=Slices)
    latency: Slices = field(default_factory=Slices)
    histogram: Counter[int] = field(default_factory=Counter)
    worst_s: float = 0.0


class TransferReader:
    """Takes every frame of a capture in order. `epoch_us` is the start of the run on its clock."""

    def __init__(self, epoch_us: int, *, reconstructed: bool = False) -> None:
        self._epoch_us = epoch_us
        self._reconstructed = reconstructed
        self._devices: dict[str, _Device] = {}

    def take(self, frame: AirFrame) -> None:
        time_s = (frame.time_us - self._epoch_us) / 1e6
        if frame.what.endswith(AGAIN):
            if self._reconstructed:
                return
            name = frame.destination if frame.source == COORDINATOR else frame.source
            device = self._devices.get(name)
            if device is not None:
                device.retries += 1
                device.retried.add(time_s)
            return
        if frame.block is None or frame.layer != "OTA" or _is_relayed(frame):
            return
        if frame.block.begins:
            self._asked(self._of(frame.source), frame.block.offset, time_s)
        else:
            octets = int(frame.what.split()[2])
            self._arrived(self._of(frame.destination), frame.block.offset, octets, time_s)

    def _of(self, name: str) -> _Device:
        return self._devices.setdefault(name, _Device())

    def _asked(self, device: _Device, offset: int, time_s: float) -> None:
        if offset == 0 and device.furthest > 0:
            device.furthest, device.last_s = -1, None  # another image, or this one from its start
        if offset > device.furthest:
            device.furthest = offset
            device.waiting = offset, time_s
            return
        device.repeats += 1
        if self._reconstructed:
            device.retried.add(time_s)
        if len(device.asked_again) < MAX_PLACED:
            device.asked_again.append(Moment(time_s, offset))
        if device.waiting is None or device.waiting[0] != offset:
            device.waiting = offset, time_s

    def _arrived(self, device: _Device, offset: int, octets: int, time_s: float) -> None:
        device.furthest = max(device.furthest, offset)
        device.octets.add(time_s, octets)
        if device.waiting is not None and device.waiting[0] == offset:
            took_s = max(0.0, time_s - device.waiting[1])
            device.waiting = None
            device.latency.add(time_s, took_s * 1e3)
            device.histogram[_bin(took_s)] += 1
            device.worst_s = max(device.worst_s, took_s)
        if device.last_s is not None:
            spacing_s = time_s - device.last_s
            if device.usual_s and spacing_s > max(LONGEST_PAUSE_S, USUAL_TIMES * device.usual_s):
                device.pauses += 1
                if len(device.paused) < MAX_PLACED:
                    device.paused.append(Moment(device.last_s, spacing_s))
            else:
                device.usual_s += (spacing_s - device.usual_s) / min(device.blocks, 64)
            device.spent_s += spacing_s
        device.last_s = time_s
        if device.blocks % device.stride == 0:
            device.path.append(Moment(time_s, offset))
            if len(device.path) > MAX_POINTS:
                device.path, device.stride = device.path[::2], device.stride * 2
        device.blocks += 1
        device.octets_sum += octets

    def traces(self) -> list[Trace]:
        """What was seen of each device that was sent a block."""
        return [_trace(name, one) for name, one in self._devices.items() if one.blocks]


def _trace(name: str, device: _Device) -> Trace:
    width_s = max(each.width_s for each in (device.octets, device.retried, device.latency))
    for each in (device.octets, device.retried, device.latency):
        each.widen_to(width_s)
    octets, latency = device.octets.rows(), device.latency.rows()
    # No retry is a figure too, as long as blocks went across.
    retries = {row.start_s: 0 for row in octets}
    last_s = octets[-1].start_s if octets else 0.0
    retries |= {
        row.start_s: row.values for row in device.retried.rows() if row.start_s <= last_s
    }  # those of its later messages are counted, and would only stretch the plot
    return Trace(
        device_id=name,
        blocks=device.blocks,
        octets=device.octets_sum,
        repeats=device.repeats,
        pauses=device.pauses,
        retries=device.retries,
        spent_s=device.spent_s,
        latency_ms={
            **{f"p{share}": _quantile(device.histogram, share) for share in (50, 95, 99)},
            "max": device.worst_s * 1e3,
        },
        path=device.path,
        asked_again=device.asked_again,
        paused=device.paused,
        slice_s=width_s,
        throughput=[Moment(row.start_s, row.total / width_s) for row in octets],
        retry_rate=[Moment(at, count / width_s) for at, count in sorted(retries.items())],
        latency=[Moment(row.start_s, row.total / row.values) for row in latency],
        latency_worst=[Moment(row.start_s, row.high) for row in latency],
    )


def _bin(took_s: float) -> int:
    return math.floor(math.log(max(took_s, 1e-6)) / math.log(_STEP))


def _quantile(histogram: Counter[int], share: int) -> float:
    """In milliseconds, to five percent."""
    wanted = sum(histogram.values()) * share / 100
    seen = 0
    for key in sorted(histogram):
        seen += histogram[key]
        if seen >= wanted:
            return float(_STEP ** (key + 0.5)) * 1e3
    return 0.0


def _is_relayed(frame: AirFrame) -> bool:
    """Whether this is a later hop of a frame that its sender has sent before."""
    return "(hop " in frame.what and f"(hop {frame.source} ->" not in frame.what
