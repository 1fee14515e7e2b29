"""The plots of a report, as SVG: values over time, a line for each device or run.

Source: ours. Colours and dashes are names of the report's style sheet, so that a plot follows the
page into the dark and on to paper; no line is told from another by its colour alone, it has its own
dashes and its name at its end. Every text that comes from outside is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

from hil.figures import duration, grouped, moment

SERIES = 6
"""Colours and dashes there are; a plot of more lines begins anew with them."""
MAX_DRAWN = 1_500
"""Points of a line; of more, each of so many stretches is drawn by its least and its greatest."""


class Point(NamedTuple):
    time_s: float
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """One line. `color` counts from 0; the line is broken where the next point is `gap_s` away.
    `faint` is for what belongs to another line of the same name."""

    name: str
    points: Sequence[Point]
    color: int
    gap_s: float = math.inf
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a moment, drawn across the plot."""

    time_s: float
    label: str
    event_id: int


@dataclass(frozen=True, slots=True)
class Dots:
    """Single points on the plot, a cross each."""

    points: Sequence[Point]
    label: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time that is shaded."""

    start_s: float
    took_s: float
    label: str


_WIDTH = 1036
_HEIGHT = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 112, 20, 34
_NAME_GAP = 15
_NAME_CHARACTERS = 14
_MINUTE_S, _HOUR_S = 60, 3600
_TIME_STEPS_S = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(_MINUTE_S * count for count in (1, 2, 5, 10, 15, 30)),
    *(_HOUR_S * count for count in (1, 2, 6, 12, 24)),
)


def plot(
    series: Sequence[Series],
    marks: Iterable[Mark] = (),
    *,
    title: str,
    unit: str,
    steps: bool = False,
    dots: Sequence[Dots] = (),
    spans: Sequence[Span] = (),
    until_s: float | None = None,
) -> Markup:
    """Values over time, from 0 to `until_s` where it is given. `steps` keeps a value up to the next
    point, as a rate does."""
    marks = list(marks)
    points = [point for line in series for point in line.points]
    points += [point for some in dots for point in some.points]
    times = [point.time_s for point in points] + [mark.time_s for mark in marks]
    times += [] if until_s is None else [0.0, until_s]
    scale = _Scale(min(times, default=0.0), max(times, default=1.0), points)
    # What has links in it is no image to a screen reader, but a group.
    role = "group" if marks else "img"
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="{role}" '
        f'aria-label="{escape(title)}">',
        *(_span(span, scale) for span in spans),
        *_axes(scale, unit),
        *(_mark(mark, scale) for mark in marks),
    ]
    ends = []
    for line in series:
        if line.points:
            color = line.color % SERIES
            faint = " faint" if line.faint else ""
            path = _path(line, scale, steps)
            parts.append(f'<path class="line c{color}{faint}" d="{path}"/>')
            if not line.faint:
                ends.append((scale.y(line.points[-1].value), color, line.name))
    parts += [_dots(some, scale) for some in dots if some.points]
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
        return _LEFT + min(1.0, max(0.0, share)) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value / self.top * (_HEIGHT - _BOTTOM - _TOP)


def _axes(scale: _Scale, unit: str) -> Iterable[str]:
    for value in _ticks(0, scale.top, 5):
        y = scale.y(value)
        text = grouped(value) if scale.top >= 5 else f"{value:g}"
        yield (
            f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" '
            f'y2="{y:.1f}"/><text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" '
            f'text-anchor="end">{text}</text>'
        )
    for value in _ticks(scale.start_s, scale.end_s, 8, _TIME_STEPS_S):
        x = scale.x(value)
        yield (
            f'<text class="axis" x="{x:.1f}" y="{_HEIGHT - 12}" text-anchor="middle">'
            f"{duration(value)}</text>"
        )
    yield f'<text class="axis" x="{_LEFT}" y="11">{escape(unit)}</text>'


def _mark(mark: Mark, scale: _Scale) -> str:
    x = scale.x(mark.time_s)
    return (
        f'<a href="#e{mark.event_id}"><g class="anomaly"><title>event {mark.event_id}, '
        f"{moment(mark.time_s)}: {escape(mark.label)}</title>"
        f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<path class="mark" d="M{x - 4.5:.1f} {_TOP}h9l-4.5 7z"/></g></a>'
    )


def _span(span: Span, scale: _Scale) -> str:
    left, right = scale.x(span.start_s), scale.x(span.start_s + span.took_s)
    return (
        f'<rect class="span" x="{left:.1f}" y="{_TOP}" width="{max(1.0, right - left):.1f}" '
        f'height="{_HEIGHT - _BOTTOM - _TOP}"><title>{escape(span.label)}</title></rect>'
    )


def _dots(some: Dots, scale: _Scale) -> str:
    path = "".join(
        f"M{scale.x(point.time_s) - 3.5:.1f} {scale.y(point.value) - 3.5:.1f}l7 7m0 -7l-7 7"
        for point in some.points
    )
    return f'<path class="cross" d="{path}"><title>{escape(some.label)}</title></path>'


def _path(line: Series, scale: _Scale, steps: bool) -> str:
    parts: list[str] = []
    last: Point | None = None
    for point in thinned(line.points):
        x, y = scale.x(point.time_s), scale.y(point.value)
        if last is None or point.time_s - last.time_s > line.gap_s:
            if last is not None and steps:
                parts.append(f"H{scale.x(last.time_s + line.gap_s):.1f}")
            parts.append(f"M{x:.1f} {y:.1f}")
        elif steps:
            parts.append(f"H{x:.1f}V{y:.1f}")
        else:
            parts.append(f"L{x:.1f} {y:.1f}")
        last = point
    if last is not None and (steps or len(line.points) == 1):
        parts.append("h2")  # or a single point would be nothing
    return "".join(parts)


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most so many points, and no peak of them lost."""
    if len(points) <= MAX_DRAWN:
        return points
    size = math.ceil(2 * len(points) / MAX_DRAWN)
    kept: list[Point] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        ends = {min(stretch, key=_value), max(stretch, key=_value)}
        kept += sorted(ends)
    return kept


def _value(point: Point) -> float:
    return point.value


def _names(ends: list[tuple[float, int, str]]) -> list[str]:
    """The names of the lines at their ends, moved apart where they would lie on each other."""
    parts = []
    free = float(_HEIGHT - _BOTTOM)
    x = _WIDTH - _RIGHT + 10
    for end, color, name in sorted(ends, reverse=True):
        y = min(end, free)
        free = y - _NAME_GAP
        cut = name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"
        parts.append(
            f'<text class="name c{color}" x="{x}" y="{y + 4:.1f}">{escape(cut)}'
            f"<title>{escape(name)}</title></text>"
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
