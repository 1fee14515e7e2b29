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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from hil.evidence import Event
from hil.figures import duration
from hil.live_layout import run_lines
from hil.live_screen import Screen, can_draw
from hil.live_state import Premises, RunState
from hil.live_words import Transfer, device_of, is_news, number, words_of
from hil.verdict import Clock

_LINE_EVERY_PERCENT = 10
TICK_S = 1.0


class LiveConsole(Console):
    """A console whose reader may go away (`| head`): rich would end the program, and the run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        if self.file is sys.stdout:  # or Python fails once more when it flushes it at the end
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())


class Live:
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
        tick_s: float = TICK_S,
    ) -> None:
        self._clock = clock
        self._silent = silent
        self._wall = wall
        self._tick_s = tick_s
        self._console = console or LiveConsole()
        self._transfers: dict[str, Transfer] = {}
        self._told_percent: dict[str, int] = {}
        self._struck: Callable[[], Mapping[str, int]] = dict
        self._screen: Screen | None = None
        if can_draw(self._console) and not plain and not silent:
            self._state = RunState(premises or Premises(clock), wall())
            self._screen = Screen(self._console, self._lines_of_screen, wall)

    def show(self, event: Event) -> None:
        """Show one event, the same as goes to the evidence."""
        if self._silent:
            return
        if self._screen is None:
            self._print(event)
        else:
            self._state.take(event, self._wall())
            self._screen.draw(at_once=event.get("type") == "run-ended")

    def _lines_of_screen(self, width: int, height: int) -> list[Text]:
        self._state.struck(self._struck())
        return run_lines(self._state, self._wall(), width, height)

    def _print(self, event: Event) -> None:
        if not is_news(event):
            return
        kind, device_id, time_s = event.get("type"), device_of(event), number(event, "time_s")
        transfer = self._transfers.setdefault(device_id, Transfer())
        transfer.take(event, self._wall())
        if kind == "transfer-started":
            self._told_percent[device_id] = 0
        if kind != "progress" or self._is_due(device_id, transfer.percent):
            words = words_of(event, transfer, self._clock)
            line = f"{duration(time_s):>8}  {device_id or 'run':<10} {words}"
            try:
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            except OSError:  # nobody reads it any more
                self._silent = True

    def _is_due(self, device_id: str, percent: int) -> bool:
        """A line each ten percent; the last of them is what `transfer-done` says."""
        step = percent - percent % _LINE_EVERY_PERCENT
        if step <= self._told_percent.get(device_id, 0) or percent >= 100:
            return False
        self._told_percent[device_id] = step
        return True

    def ask_struck(self, struck: Callable[[], Mapping[str, int]]) -> None:
        """Where to ask how often the faults have struck."""
        self._struck = struck

    @contextlib.contextmanager
    def each_second(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """On the clock of the machine time goes by on the screen when nothing happens."""
        timer: asyncio.TimerHandle | None = None

        def tick() -> None:
            nonlocal timer
            timer = loop.call_later(self._tick_s, tick)
            if self._screen is not None:
                self._screen.draw()

        tick()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def __enter__(self) -> Self:
        if self._screen is not None:
            self._screen.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._screen is not None:
            self._screen.__exit__()
