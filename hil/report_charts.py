"""The drawings of a report, as SVG: who told whom what, and how the image went across.

Source: ours. Colours are names of the report's style sheet, so that a drawing follows the page into
the dark and on to paper. Every text that comes from outside is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from markupsafe import Markup, escape

from hil.figures import duration, grouped, moment

SERIES = 6
"""Colours there are for devices; a drawing of more says so."""

Lifeline = Literal["user", "DSP", "hub", "device"]
LIFELINES: tuple[Lifeline, ...] = ("user", "DSP", "hub", "device")


# -- the sequence ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a sequence: an arrow, or a note where `source` is `target`.

    `style` is arrow, alert, refused, wan, han, gbcs, transfer, note, good, bad or anomaly;
    `event_id` is linked.
    """

    time_s: float
    source: Lifeline
    target: Lifeline
    label: str
    event_id: int
    style: str = "arrow"
    end_s: float | None = None


_TIME_WIDTH = 92
_LANE = 250
_ROW = 34
_TALL_ROW = 58
_HEAD = 44
_WIDTH = _TIME_WIDTH + _LANE * len(LIFELINES)
_LABEL_CHARACTERS = 38  # what fits between two lifelines
_CHARACTERS_PER_LANE = 38


def sequence_chart(steps: Sequence[Step], device_id: str) -> Markup:
    """Lifelines of user, DSP, hub and one device, and what went between them, in order."""
    heights = [_TALL_ROW if step.end_s is not None else _ROW for step in steps]
    height = _HEAD + sum(heights) + 16
    parts = [_open(_WIDTH, height, "sequence", f"sequence of the update of {device_id}")]
    for lifeline in LIFELINES:
        x = _x(lifeline)
        name = device_id if lifeline == "device" else lifeline
        parts.append(
            f'<line class="life" x1="{x}" y1="{_HEAD - 10}" x2="{x}" y2="{height - 6}"/>'
            f'<rect class="head" x="{x - 62}" y="4" width="124" height="28" rx="6"/>'
            f'<text class="head" x="{x}" y="23">{_text(name, 16)}</text>'
        )
    top = _HEAD
    for step, row in zip(steps, heights, strict=True):
        parts.append(_step(step, top, row))
        top += row
    return Markup("".join((*parts, "</svg>")))


def _x(lifeline: Lifeline) -> int:
    return _TIME_WIDTH + _LANE // 2 + _LANE * LIFELINES.index(lifeline)


def _step(step: Step, top: int, height: int) -> str:
    middle = top + height / 2 + 6
    parts = [
        f'<a href="#e{step.event_id}"><g class="{step.style}">',
        f"<title>event {step.event_id}, {moment(step.time_s)}: {escape(step.label)}</title>",
        f'<text class="time" x="{_TIME_WIDTH - 8}" y="{middle + 4:g}">{moment(step.time_s)}</text>',
    ]
    start, end = _x(step.source), _x(step.target)
    if start == end:
        parts.append(_note(step, start, middle))
    else:
        parts.append(_arrow(step, start, end, middle, height))
    return "".join((*parts, "</g></a>"))


def _note(step: Step, x: int, y: float) -> str:
    """A word beside a lifeline; to its left at the last one, where there is more room."""
    is_last = x == _x(LIFELINES[-1])
    text_x, anchor = (x - 12, "end") if is_last else (x + 12, "start")
    mark = (
        f'<path class="mark" d="M{x - 5} {y - 5:g}l10 10m0 -10l-10 10"/>'
        if step.style in ("bad", "anomaly")
        else f'<circle class="mark" cx="{x}" cy="{y:g}" r="5"/>'
    )
    label = _text(step.label, 2 * _CHARACTERS_PER_LANE)
    return (
        f'{mark}<text class="note" text-anchor="{anchor}" x="{text_x}" y="{y + 4:g}">{label}</text>'
    )


def _arrow(step: Step, start: int, end: int, y: float, height: int) -> str:
    side = 1 if end > start else -1
    lanes = abs(end - start) // _LANE
    label = _text(step.label, _LABEL_CHARACTERS + _CHARACTERS_PER_LANE * (lanes - 1))
    text_x = (start + end) / 2
    if step.end_s is not None:
        top, half = y - 4, 9
        tip = end - side * 16
        took = duration(step.end_s - step.time_s)
        return (
            f'<path class="thick" d="M{start} {top - half}H{tip}v-6L{end} {top}L{tip} '
            f'{top + half + 6}v-6H{start}z"/>'
            f'<text x="{text_x:g}" y="{top + 4:g}">{label}</text>'
            f'<text class="time" x="{_TIME_WIDTH - 8}" y="{y + height / 2 - 8:g}">+ {took}</text>'
        )
    dots = "".join(
        f'<circle class="via" cx="{_x(lifeline)}" cy="{y:g}" r="3"/>'
        for lifeline in LIFELINES
        if min(start, end) < _x(lifeline) < max(start, end)
    )
    return (
        f'<line x1="{start}" y1="{y:g}" x2="{end - side * 7}" y2="{y:g}"/>'
        f'<path class="tip" d="M{end} {y:g}l{-side * 9} -4.5v9z"/>{dots}'
        f'<text x="{text_x:g}" y="{y - 6:g}">{label}</text>'
    )


# -- plots over time -----------------------------------------------------------------------------


class Point(NamedTuple):
    time_s: float
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """One device's line. `color` counts from 0."""

    name: str
    points: Sequence[Point]
    color: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a moment, drawn across the plot."""

    time_s: float
    label: str
    event_id: int


_PLOT_WIDTH = 1036
_PLOT_HEIGHT = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 112, 16, 34
_NAME_GAP = 15
_MINUTE_S, _HOUR_S = 60, 3600
_TIME_STEPS_S = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(_MINUTE_S * count for count in (1, 2, 5, 10, 15, 30)),
    *(_HOUR_S * count for count in (1, 2, 6, 12, 24)),
)


def plot(
    series: Sequence[Series], marks: Iterable[Mark], *, title: str, unit: str, steps: bool = False
) -> Markup:
    """Values over time, a line per device, and what happened in between. `steps` keeps a value
    up to the next point, as a rate does."""
    points = [point for line in series for point in line.points]
    marks = list(marks)
    times = [point.time_s for point in points] + [mark.time_s for mark in marks]
    scale = _Scale(min(times, default=0.0), max(times, default=1.0), points)
    parts = [_open(_PLOT_WIDTH, _PLOT_HEIGHT, "plot", title)]
    for value in _ticks(0, scale.top, 5):
        y = scale.y(value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_PLOT_WIDTH - _RIGHT}" '
            f'y2="{y:.1f}"/><text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" '
            f'text-anchor="end">{grouped(value)}</text>'
        )
    for value in _ticks(scale.start_s, scale.end_s, 8, _TIME_STEPS_S):
        x = scale.x(value)
        parts.append(
            f'<text class="axis" x="{x:.1f}" y="{_PLOT_HEIGHT - 12}" text-anchor="middle">'
            f"{duration(value)}</text>"
        )
    parts.append(f'<text class="axis" x="{_LEFT}" y="11">{escape(unit)}</text>')
    for mark in marks:
        x = scale.x(mark.time_s)
        parts.append(
            f'<a href="#e{mark.event_id}"><g class="anomaly"><title>event {mark.event_id}, '
            f"{moment(mark.time_s)}: {escape(mark.label)}</title>"
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_PLOT_HEIGHT - _BOTTOM}"/>'
            f'<path class="mark" d="M{x - 4.5:.1f} {_TOP}h9l-4.5 7z"/></g></a>'
        )
    ends = []
    for line in series:
        if line.points:
            color = line.color % SERIES
            parts.append(f'<path class="line c{color}" d="{_path(line.points, scale, steps)}"/>')
            ends.append((scale.y(line.points[-1].value), color, line.name))
    parts += _names(ends)
    return Markup("".join((*parts, "</svg>")))


class _Scale:
    """From seconds and values to the drawing's units."""

    def __init__(self, start_s: float, end_s: float, points: Sequence[Point]) -> None:
        self.start_s = start_s
        self.end_s = end_s if end_s > start_s else start_s + 1
        self.top = max((point.value for point in points), default=0.0) * 1.05 or 1.0

    def x(self, time_s: float) -> float:
        share = (time_s - self.start_s) / (self.end_s - self.start_s)
        return _LEFT + share * (_PLOT_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _PLOT_HEIGHT - _BOTTOM - value / self.top * (_PLOT_HEIGHT - _BOTTOM - _TOP)


def _path(points: Sequence[Point], scale: _Scale, steps: bool) -> str:
    parts = []
    for number, point in enumerate(points):
        x, y = scale.x(point.time_s), scale.y(point.value)
        if number == 0:
            parts.append(f"M{x:.1f} {y:.1f}")
        elif steps:
            parts.append(f"H{x:.1f}V{y:.1f}")
        else:
            parts.append(f"L{x:.1f} {y:.1f}")
    return "".join(parts)


def _names(ends: list[tuple[float, int, str]]) -> list[str]:
    """The names of the lines at their ends, moved apart where they would lie on each other."""
    parts = []
    free = float(_PLOT_HEIGHT - _BOTTOM)
    x = _PLOT_WIDTH - _RIGHT + 10
    for end, color, name in sorted(ends, reverse=True):
        y = min(end, free)
        free = y - _NAME_GAP
        parts.append(
            f'<text class="name c{color}" x="{x}" y="{y + 4:.1f}">{_text(name, 14)}</text>'
        )
    return parts


def _ticks(start: float, end: float, most: int, steps: Sequence[float] = ()) -> list[float]:
    """Round values from start to end, at most so many; of these steps, where one is wide enough."""
    raw = (end - start) / most
    step = next((step for step in steps if step >= raw), None)
    if step is None:
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= raw)
    first = math.ceil(start / step)
    return [number * step for number in range(first, math.floor(end / step + 1e-9) + 1)]


def _open(width: int, height: int, name: str, title: str) -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width} {height}" width="{width}" '
        f'role="img" aria-label="{escape(title)}">'
    )


def _text(text: str, most: int) -> Markup:
    """Escaped, and cut to what there is room for: the whole is in the title."""
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")
