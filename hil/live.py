"""What a reader sees while a run goes on: a screen on a terminal, elsewhere a line per event.

Source: DESIGN, "What it promises to the outside" (long jobs show progress; with `--json` nothing
but the document is on standard output). It is fed the events that `events.jsonl` gets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.text import Text

from hil.evidence import Event
from hil.figures import duration
from hil.live_layout import run_lines
from hil.live_screen import OnScreen, Screen, can_draw
from hil.live_state import Premises, RunState
from hil.live_words import Transfer, device_of, is_news, number, words_of
from hil.verdict import Clock

_LINE_EVERY_PERCENT = 10


class LiveConsole(Console):
    """A console whose reader may go away (`| head`): rich would end the program, and the run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        if self.file is sys.stdout:  # or Python fails once more when it flushes it at the end
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())


class Watcher(Protocol):
    """Whoever is shown what happens on a bench."""

    def show(self, event: Event) -> None:
        """One event, the same as goes to the evidence."""

    def each_second(self, loop: asyncio.AbstractEventLoop) -> AbstractContextManager[None]:
        """A clock goes on where nothing happens."""


class Lines:
    """A line per event, and per ten percent of a transfer."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._transfers: dict[str, Transfer] = {}
        self._told_percent: dict[str, int] = {}
        self._is_read = True

    def show(self, event: Event, wall_s: float) -> None:
        if not is_news(event):
            return
        kind, device_id = event.get("type"), device_of(event)
        transfer = self._transfers.setdefault(device_id, Transfer())
        transfer.take(event, wall_s)
        if kind == "transfer-started":
            self._told_percent[device_id] = 0
        if kind != "progress" or self._is_due(device_id, transfer.percent):
            words = words_of(event, transfer, self._clock)
            time_s = number(event, "time_s")
            self.print(f"{duration(time_s):>8}  {device_id or 'run':<10} {words}")

    def print(self, line: str) -> None:
        """One line, as long as anybody reads them."""
        if not self._is_read:
            return
        try:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        except OSError:
            self._is_read = False

    def _is_due(self, device_id: str, percent: int) -> bool:
        """A line each ten percent; the last of them is what `transfer-done` says."""
        step = percent - percent % _LINE_EVERY_PERCENT
        if step <= self._told_percent.get(device_id, 0) or percent >= 100:
            return False
        self._told_percent[device_id] = step
        return True


class Live(OnScreen):
    """Shows a run. `console` decides by being a terminal or not; `silent` shows nothing at all.

    `plain` has lines on a terminal too, where others write on it. As a context manager it leaves
    the terminal in order, whatever happened.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        console: Console | None = None,
        silent: bool = False,
        plain: bool = False,
        premises: Premises | None = None,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self._silent = silent
        self._wall = wall
        console = console or LiveConsole()
        self._lines = Lines(console, clock)
        self._struck: Callable[[], Mapping[str, int]] = dict
        if can_draw(console) and not plain and not silent:
            self._state = RunState(premises or Premises(clock), wall())
            self._screen = Screen(console, self._drawn, wall)

    def show(self, event: Event) -> None:
        """Show one event, the same as goes to the evidence."""
        if self._silent:
            return
        if self._screen is None:
            self._lines.show(event, self._wall())
        else:
            self._state.take(event, self._wall())
            self._screen.draw(at_once=event.get("type") == "run-ended")

    def _drawn(self, width: int, height: int) -> list[Text]:
        self._state.struck(self._struck())
        return run_lines(self._state, self._wall(), width, height)

    def ask_struck(self, struck: Callable[[], Mapping[str, int]]) -> None:
        """Where to ask how often the faults have struck."""
        self._struck = struck
