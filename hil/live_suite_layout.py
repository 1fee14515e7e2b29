"""The tests of a bench as lines of a terminal, so many columns wide and so many lines high.

Source: ours. What goes on has its place first, then the devices of its bench, then the tests that
are over; of a test's steps those around the one that goes on are shown.
"""

from __future__ import annotations

from typing import Final

from rich.text import Text

from hil.figures import duration
from hil.live_layout import device_lines, fitted, spread, title
from hil.live_suite_state import Mark, Running, SuiteState

_MARKS: Final[dict[Mark, str]] = {"waiting": " ", "now": ">", "passed": "x", "failed": "!"}
_STYLES: Final = {"passed": "green", "failed": "red"}
_MIN_DEVICES: Final = 3


def suite_lines(state: SuiteState, wall_s: float, width: int, height: int) -> list[Text]:
    """The whole screen of `hanbench verify`, `height` lines at the most."""
    lines = _head(state, wall_s, width)
    foot = f"{'ended' if state.is_over else 'Ctrl-C stops'}, evidence in {state.run.folder}"
    room = height - len(lines) - 1
    if room < 1:
        return lines[: max(height, 0)]
    lines += _running(state, wall_s, width, max(1, room // 2))
    room = height - len(lines) - 1
    if room > _MIN_DEVICES and state.run.devices and state.running:
        lines.append(title(f"its bench, {_time(state)}", width))
        lines += device_lines(state.run, width, room // 2)
        room = height - len(lines) - 1
    if room > 1 and state.done:
        lines.append(title("done", width))
        for done in list(state.done)[1 - room :]:
            words = f"  {done.outcome:<8} {done.title or done.id}"
            words += f": {done.detail}" if done.detail else ""
            lines.append(fitted(words, width, _STYLES.get(done.outcome, "")))
    return [*lines, fitted(foot, width, "dim")]


def counted(state: SuiteState) -> str:
    """How far it is, in words."""
    of_all = f" of {state.tests}" if state.tests else ""
    counts = state.counts
    words = [f"{counts[name]} {name}" for name in ("passed", "failed", "skipped") if counts[name]]
    tests = f"{state.ended}{of_all} tests" + (f": {', '.join(words)}" if words else "")
    failed = f", {state.failed} failed" if state.failed else ""
    return f"{tests}; requirements: {state.shown} shown{failed}"


def _head(state: SuiteState, wall_s: float, width: int) -> list[Text]:
    name = f"hanbench verify  {state.run.bench}, seed {state.run.seed}"
    first = spread(name, duration(max(0.0, wall_s - state.began_s)), width)
    first.stylize("bold")
    return [first, fitted(counted(state), width, "red" if state.counts["failed"] else "")]


def _time(state: SuiteState) -> str:
    clock = "virtual" if state.run.clock == "virtual" else "real"
    return f"{duration(state.run.time_s)} of {clock} time"


def _running(state: SuiteState, wall_s: float, width: int, room: int) -> list[Text]:
    """The tests that go on, the only one with its steps."""
    running = list(state.running.values())
    if len(running) == 1:
        return _one(running[0], wall_s, width, room)
    lines = [title("running", width)] if running and room > 1 else []
    for one in running[: room - len(lines)]:
        lines.append(spread(f"  {one.title or one.id}", duration(wall_s - one.began_s), width))
    return lines


def _one(one: Running, wall_s: float, width: int, room: int) -> list[Text]:
    lines = [title(one.id, width)]
    if one.title:
        lines.append(spread(one.title, duration(max(0.0, wall_s - one.began_s)), width))
    marked = one.marked()
    left = max(0, room - len(lines))
    now = next((at for at, (mark, _) in enumerate(marked) if mark == "now"), len(marked))
    first = max(0, min(now - left // 2, len(marked) - left))
    for mark, text in marked[first : first + left]:
        style = "red" if mark == "failed" else "bold" if mark == "now" else ""
        lines.append(fitted(f"  [{_MARKS[mark]}] {text}", width, style))
    return lines[:room]
