"""What the traces of a run amount to: plots for the eye, and a table of figures beside them.

Source: ours. Where the capture cannot be opened, or there is none, offset and throughput are those
of the progress events, a point a percent, and what only frames tell is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from hil.figures import duration, grouped
from hil.report_air import RECONSTRUCTED
from hil.report_plots import Dots, Mark, Point, Series, Span, plot
from hil.report_sequence import offsets, rates
from hil.report_transfer import Moment, Trace

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot, its heading and what a reader has to know of it."""

    title: str
    chart: Markup
    note: str


class Named(NamedTuple):
    """A trace under the name its line has."""

    name: str
    trace: Trace


class FigureRow(NamedTuple):
    """The figures of one device's transfer, as text."""

    name: str
    blocks: str
    octets_s: str
    repeats: str
    pauses: str
    longest_pause: str
    retries: str
    median: str
    p95: str
    worst: str


def figure_rows(named: Sequence[Named], *, reconstructed: bool = False) -> list[FigureRow]:
    return [_figure_row(name, trace, reconstructed) for name, trace in named]


def _figure_row(name: str, trace: Trace, reconstructed: bool) -> FigureRow:
    latency = trace.latency_ms
    longest = max((pause.value for pause in trace.paused), default=0.0)
    return FigureRow(
        name,
        grouped(trace.blocks),
        grouped(mean_rate(trace)),
        grouped(trace.repeats),
        grouped(trace.pauses),
        duration(longest) if trace.pauses else "none",
        "not known" if reconstructed else grouped(trace.retries),
        *(f"{latency.get(key, 0.0):.1f}" for key in ("p50", "p95", "max")),
    )


def mean_rate(trace: Trace) -> float:
    """Octets a second, from the first block's arrival to the last's."""
    return trace.octets / trace.spent_s if trace.spent_s > 0 else 0.0


def anomaly_marks(events: Sequence[Event]) -> list[Mark]:
    return [
        Mark(event["time_s"], f"{event['kind']} {event.get('device_id', '')}", event["id"])
        for event in events
        if event["type"] == "anomaly"
    ]


def drawings(
    named: Sequence[Named], marks: Sequence[Mark], *, reconstructed: bool = False
) -> list[Drawing]:
    """What the frames tell. The lines of several runs lie over each other, each from its start."""
    told = f", {RECONSTRUCTED}" if reconstructed else ""
    lost, its_unit = "retries per second over time", "retries/s"
    what_is_lost = "Frames sent once more since nobody acknowledged them"
    latency = "From the request for a block to its data"
    if reconstructed:
        lost, its_unit = "blocks asked for again per second over time", "blocks/s"
        what_is_lost = "Retries are not known to a host; these are the blocks asked for again"
        latency += ", as the hub's host heard the one and its stick took the other"
    again = [Dots(_points(trace.asked_again), f"{name}: asked for again") for name, trace in named]
    spans = [
        Span(pause.time_s, pause.value, f"{name}: nothing for {duration(pause.value)}")
        for name, trace in named
        for pause in trace.paused
    ]
    repeats = sum(trace.repeats for _, trace in named)
    pauses = sum(trace.pauses for _, trace in named)
    slice_s = max((trace.slice_s for _, trace in named), default=0.0)
    ends = [
        moments[-1].time_s
        for _, trace in named
        for moments in (trace.path, trace.retry_rate)
        if moments
    ]
    until_s = max(ends, default=0.0)
    each = f"in slices of {slice_s:g} s"
    return [
        Drawing(
            f"Block timeline{told}",
            plot(
                _lines(named, "path"),
                marks,
                title=f"block timeline: which offset of the image arrived when{told}",
                unit="offset, octets",
                dots=again,
                spans=spans,
                until_s=until_s,
            ),
            f"Blocks asked for again, marked by a cross: {grouped(repeats)}. Pauses, shaded: "
            f"{grouped(pauses)}.",
        ),
        Drawing(
            f"Throughput{told}",
            plot(
                _lines(named, "throughput"), marks, title="throughput over time",
                unit="octets/s", steps=True, until_s=until_s,
            ),
            f"Octets of the image that arrived, {each}; the first and the last slice of a "
            "transfer are not full.",
        ),
        Drawing(
            f"Loss{told}",
            plot(
                _lines(named, "retry_rate"), marks, title=f"{lost}{told}",
                unit=its_unit, steps=True, until_s=until_s,
            ),
            f"{what_is_lost}, a second, {each}.",
        ),
        Drawing(
            f"Block latency{told}",
            plot(
                [
                    *_lines(named, "latency_worst", faint=True),
                    *_lines(named, "latency"),
                ],
                marks, title=f"block latency over time{told}", unit="ms", until_s=until_s,
            ),
            f"{latency}: the mean, and fainter the worst, {each}.",
        ),
    ]  # fmt: skip


def _lines(named: Sequence[Named], what: str, *, faint: bool = False) -> list[Series]:
    return [
        Series(
            name,
            _points(getattr(trace, what)),
            color,
            gap_s=max(trace.slice_s * 1.01, _break_s(trace) if what == "path" else 0.0),
            faint=faint,
        )
        for color, (name, trace) in enumerate(named)
    ]


def _break_s(trace: Trace) -> float:
    """How far apart two points of the path are parts of one transfer."""
    pauses = [pause.value for pause in trace.paused]
    usual = trace.spent_s / max(1, len(trace.path))
    return max(20 * usual, max(pauses, default=0.0) * 1.01, 5.0)


def _points(moments: Sequence[Moment]) -> list[Point]:
    return [Point(at, value) for at, value in moments]


def event_drawings(events: Sequence[Event], drawn: Sequence[str]) -> list[Drawing]:
    """What the progress events tell; nothing when nothing was transferred."""
    points = {device_id: offsets(events, device_id) for device_id in drawn}
    if not any(points.values()):
        return []
    marks = anomaly_marks(events)
    moved = [Series(name, points[name], color) for color, name in enumerate(drawn)]
    speed = [Series(name, rates(points[name]), color) for color, name in enumerate(drawn)]
    note = "From the progress events, a point a percent: no frame of the air could be read."
    return [
        Drawing(
            "Block timeline",
            plot(moved, marks, title="file offset over time", unit="offset, octets"),
            note,
        ),
        Drawing(
            "Throughput",
            plot(speed, marks, title="throughput over time", unit="octets/s", steps=True),
            note,
        ),
    ]
