"""The sequence charts of a report, as SVG: who told whom what, and when.

Source: ours. Colours are names of the report's style sheet, so that a drawing follows the page into
the dark and on to paper. Every text that comes from outside is escaped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

from hil.figures import duration, moment

Lifeline = Literal["user", "DSP", "hub", "device"]
LIFELINES: tuple[Lifeline, ...] = ("user", "DSP", "hub", "device")


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
    # Its steps are links, so to a screen reader it is a group and no image.
    parts = [
        f'<svg class="sequence" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="group" '
        f'aria-label="sequence of the update of {escape(device_id)}">'
    ]
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


def _text(text: str, most: int) -> Markup:
    """Escaped, and cut to what there is room for: the whole is in the title."""
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")
