"""What a reader sees while a run goes on: a bar per device, or a line per event.

Source: DESIGN, "What it promises to the outside" (long jobs show progress; with `--json` nothing
but the document is on standard output). It is fed the events that `events.jsonl` gets.

Percent, rate and time left are those of the octets the hub has served, in the time of the run's
clock, which is named beside them; nothing is smoothed to look better, and a bar that is full only
says that the transfer is over: the outcome is a word of its own.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from hil import figures
from hil.evidence import Event
from hil.figures import duration
from hil.verdict import Clock

_WINDOW = 11  # samples, one a percent: rates are those of the last tenth of an image
_LINE_EVERY_PERCENT = 10
_REFRESH_S = 0.1


# In the evidence, and no news to who watches: their outcome is told.
_UNSHOWN = frozenset({"wan", "gbcs"})
# On a terminal a line above the bars: a bar is one device's, and tells how far its update is.
_LINES = frozenset({"radio", "anomaly", "duis", "gbcs-discarded"})


class _Sample(NamedTuple):
    time_s: float
    wall_s: float
    offset_bytes: int
    blocks: int


class Track:
    """One device's transfer as its progress events tell it."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.offset_bytes = 0
        self._samples: deque[_Sample] = deque(maxlen=_WINDOW)

    @property
    def percent(self) -> int:
        """Whole percents that have arrived: 100 is all of it, and not before."""
        return 100 * self.offset_bytes // self.size_bytes if self.size_bytes else 0

    def start(self, size_bytes: int, time_s: float, wall_s: float) -> None:
        self._samples.clear()
        self.move(0, size_bytes, 0, time_s, wall_s)

    def move(
        self, offset_bytes: int, size_bytes: int, blocks: int, time_s: float, wall_s: float
    ) -> None:
        if self._samples and offset_bytes < self._samples[-1].offset_bytes:
            self._samples.clear()  # begun anew: what was before says nothing of what comes
        self.offset_bytes, self.size_bytes = offset_bytes, size_bytes
        self._samples.append(_Sample(time_s, wall_s, offset_bytes, blocks))

    def pace(self, clock: Clock) -> str:
        """Rate and time left, in words; empty as long as there is nothing to tell them from."""
        if len(self._samples) < 2:
            return ""
        first, last = self._samples[0], self._samples[-1]
        took_s, octets = last.time_s - first.time_s, last.offset_bytes - first.offset_bytes
        if took_s <= 0 or octets <= 0:
            return ""
        rate = octets / took_s
        block_rate = (last.blocks - first.blocks) / took_s
        words = f"{_grouped(rate)} octets/s, {block_rate:.1f} blocks/s"
        left = self.size_bytes - self.offset_bytes
        if left:
            words += f", {duration(left / rate)} left"
        words += f" ({clock}"
        if left and clock == "virtual":
            words += f", {duration(left * (last.wall_s - first.wall_s) / octets)} here"
        return words + ")"


class LiveConsole(Console):
    """A console whose reader may go away (`| head`): rich would end the program, and the run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        if self.file is sys.stdout:  # or Python fails once more when it flushes it at the end
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())


class Live:
    """Shows a run. `console` decides by being a terminal or not; `silent` shows nothing at all.

    As a context manager it leaves the terminal in order, whatever happened.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        console: Console | None = None,
        silent: bool = False,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._silent = silent
        self._wall = wall
        self._console = console or LiveConsole()
        self._tracks: dict[str, Track] = {}
        self._told_percent: dict[str, int] = {}
        self._bars = _Bars(self._console, wall) if self._console.is_terminal else None

    def show(self, event: Event) -> None:
        """Show one event, the same as goes to the evidence."""
        if self._silent:
            return
        try:
            self._show(event)
        except OSError:
            self._silent = True

    def _show(self, event: Event) -> None:
        kind, device_id = str(event.get("type")), _device_of(event)
        if kind in _UNSHOWN or event.get("kind") == "request":
            return
        time_s = _number(event, "time_s")
        track = self._tracks.setdefault(device_id, Track())
        if kind == "transfer-started":
            track.start(int(_number(event, "size_bytes")), time_s, self._wall())
            self._told_percent[device_id] = 0
        elif kind in ("progress", "transfer-done"):
            offset = "offset_bytes" if kind == "progress" else "bytes"
            size = int(_number(event, "size_bytes")) or track.size_bytes
            blocks = int(_number(event, "blocks"))
            track.move(int(_number(event, offset)), size, blocks, time_s, self._wall())
        words = _words(event, track, self._clock, in_full=self._bars is None)
        if self._bars is not None:
            self._bars.show(kind, device_id, track.percent, words)
        elif kind != "progress" or self._is_due(device_id, track.percent):
            line = f"{duration(time_s):>8}  {device_id or 'run':<10} {words}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _is_due(self, device_id: str, percent: int) -> bool:
        """A line each ten percent; the last of them is what `transfer-done` says."""
        step = percent - percent % _LINE_EVERY_PERCENT
        if step <= self._told_percent.get(device_id, 0) or percent >= 100:
            return False
        self._told_percent[device_id] = step
        return True

    def __enter__(self) -> Self:
        if self._bars is not None and not self._silent:
            self._bars.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            with contextlib.suppress(OSError):
                self._bars.progress.stop()


class _Bars:
    """The bars of a terminal. They are drawn when something happened: there is no thread."""

    def __init__(self, console: Console, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._drawn_s = wall()
        self._tasks: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            auto_refresh=False,
        )

    def show(self, kind: str, device_id: str, percent: int, words: str) -> None:
        if kind in _LINES or not device_id:
            line = f"{device_id or 'run'}: {words}"
            self.progress.console.print(line, markup=False, highlight=False)
        else:
            task = self._tasks.get(device_id)
            if task is None:
                task = self.progress.add_task(device_id, total=100, words="")
                self._tasks[device_id] = task
            self.progress.update(task, completed=percent, words=words)
        now_s = self._wall()
        if kind != "progress" or now_s - self._drawn_s >= _REFRESH_S:
            self._drawn_s = now_s
            self.progress.refresh()


def _device_of(event: Event) -> str:
    """The device an event is about, or the several."""
    devices = event.get("device_ids")
    if isinstance(devices, list):
        return ", ".join(map(str, devices))
    return str(event.get("device_id") or "")


def _words(event: Event, track: Track, clock: Clock, *, in_full: bool) -> str:
    """What an event says, in one line that no device can break with what it sends."""
    text = {
        name: "unknown" if value is None else _printable(str(value))
        for name, value in event.items()
    }
    detail = f": {text['detail']}" if text.get("detail") else ""
    match text.get("type"):
        case "run-started":
            return f"started, seed {text.get('seed')}, {clock} time"
        case "radio":
            return f"radio {text.get('url')}{detail}"
        case "channel-chosen":
            return f"channel {text.get('channel')} is the quietest of those allowed"
        case "network-formed":
            return f"network formed, PAN id {text.get('pan_id')}, channel {text.get('channel')}"
        case "joined":
            return f"joined as {text.get('node_id')}"
        case "tunnel":
            return f"tunnel {text.get('state')}{detail}"
        case "duis":
            return _duis_words(text, detail)
        case "gbcs-discarded":
            return f"{text.get('where')} discards a frame, {text.get('reason')}{detail}"
        case "image-offered":
            return f"image {text.get('version')} offered"
        case "transfer-started":
            return f"asks for image {text.get('version')}"
        case "progress":
            share = f"{track.percent} %"
            if in_full:
                share += f", {_grouped(track.offset_bytes)} of {_grouped(track.size_bytes)} octets"
            return ", ".join(part for part in (share, track.pace(clock)) if part)
        case "transfer-done":
            octets = _grouped(track.offset_bytes)
            return f"{octets} octets transferred in {text.get('blocks')} blocks, not active yet"
        case "restarted":
            return f"restarted, runs {text.get('version')}"
        case "outcome":
            before, after = text.get("version_before"), text.get("version_after")
            return f"{text.get('outcome')}, {before} -> {after}{detail}"
        case "anomaly":
            return f"anomaly, {text.get('kind')}{detail}"
        case "run-ended":
            took_s = duration(_number(event, "virtual_s"))
            here_s = duration(_number(event, "wall_s"))
            return f"{text.get('verdict')}, after {took_s} of {clock} time, {here_s} here{detail}"
        case kind:
            return f"{kind}{detail}"


def _duis_words(text: dict[str, str], detail: str) -> str:
    """One DUIS message: what was asked and answered, or what the DCC says."""
    code = text.get("code", "")
    match text.get("kind"):
        case "acknowledgement":
            return (
                f"{text.get('service')} {'refused' if code[:1] == 'E' else 'taken'}, {code}{detail}"
            )
        case "response":
            return f"{text.get('service')} answered, {code}{detail}"
        case _:
            return f"alert {code}{detail}"


def _number(event: Event, name: str) -> float:
    value = event.get(name)
    return value if isinstance(value, int | float) else 0


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _grouped(number: float) -> str:
    """With a gap that every terminal and every grep knows."""
    return figures.grouped(number, " ")
