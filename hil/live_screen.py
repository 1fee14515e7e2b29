"""The shell of a screen: when it is drawn on a terminal, and how the terminal is left.

Source: rich's `Live`, without its thread: a screen is drawn when something happened, ten times a
second at the most, and once a second where time goes by without anything. It stays in the
scrollback as it was last; while somebody is asked something it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from hil.asking import watching

REFRESH_S: Final = 0.1
TICK_S: Final = 1.0
_GONE: Final = (OSError, ValueError)  # the terminal is closed, or the file that it was
# Of the time that goes into drawing, however slow the terminal is.
_SHARE: Final = 0.02

_ASCII: Final = str.maketrans("━─…", "#-~")

Draw = Callable[[int, int], list[Text]]
"""The lines for so many columns and lines."""


def can_draw(console: Console) -> bool:
    """Whether it is a terminal on which a line can be drawn anew, whatever the environment wants:
    FORCE_COLOR makes rich take a file of CI for one."""
    return console.file.isatty() and not console.is_dumb_terminal


class Screen:
    """One screen. As a context manager it has the terminal, and gives it back."""

    def __init__(
        self, console: Console, lines: Draw, wall: Callable[[], float], *, redirect: bool = True
    ) -> None:
        self._console = console
        self._redirect = redirect  # what others print goes above it
        self._lines = lines
        self._wall = wall
        self._next_s = wall()
        self._size = console.size
        self._live: Live | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Screen:
        self._stack.enter_context(watching(self.paused))
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._stop(keep=True)

    def draw(self, *, at_once: bool = False) -> None:
        """Something has happened, or a second has gone by."""
        began_s = self._wall()
        if self._live is None or (began_s < self._next_s and not at_once):
            return
        group = self._group()  # a mistake of ours is raised, and only what the terminal does is not
        try:
            self._resized()
            self._live.update(group, refresh=True)
        except _GONE:
            self._stop(keep=False)
        took_s = self._wall() - began_s
        self._next_s = began_s + max(REFRESH_S, took_s / _SHARE)

    @contextlib.contextmanager
    def each_second(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """On this loop time goes by on the screen when nothing happens."""
        timer: asyncio.TimerHandle | None = None

        def tick() -> None:
            nonlocal timer
            timer = loop.call_later(TICK_S, tick)
            self.draw()

        tick()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The terminal is somebody else's meanwhile."""
        was_on = self._live is not None
        self._stop(keep=False)
        try:
            yield
        finally:
            if was_on:
                self._start()

    def _start(self) -> None:
        self._size = self._console.size
        self._live = Live(
            self._group(),
            console=self._console,
            auto_refresh=False,
            redirect_stdout=self._redirect,
            redirect_stderr=self._redirect and sys.stderr.isatty(),
        )
        with contextlib.suppress(*_GONE):
            self._live.start(refresh=True)

    def _stop(self, *, keep: bool) -> None:
        live, self._live = self._live, None
        if live is None:
            return
        live.transient = not keep
        with contextlib.suppress(*_GONE):
            if keep:
                live.update(self._group())
            live.stop()

    def _resized(self) -> None:
        """Lines of another width are somewhere else than rich believes: begin on a clean page."""
        if self._console.size != self._size:
            self._stop(keep=False)
            self._console.clear()
            self._start()

    def _measure(self) -> None:
        """Ask the console's own terminal: the standard streams may be somebody else's by now."""
        with contextlib.suppress(*_GONE, AttributeError):
            size = os.get_terminal_size(self._console.file.fileno())
            if size.columns and size.lines:
                self._console.size = (size.columns, size.lines)

    def _group(self) -> Group:
        self._measure()
        width, height = self._console.size
        return Group(*(self._shown(line) for line in self._lines(width, height - 1)))

    def _shown(self, line: Text) -> Text:
        """In characters the terminal has."""
        line.end = "\n"
        encoding = self._console.encoding
        if not encoding.lower().startswith("utf"):
            plain = line.plain.translate(_ASCII)
            line.plain = plain.encode(encoding, "replace").decode(encoding)
        return line


class OnScreen:
    """Whoever is shown on a screen, or in lines where `_screen` is none. As a context manager it
    leaves the terminal in order, whatever happened."""

    _screen: Screen | None = None

    def each_second(self, loop: asyncio.AbstractEventLoop) -> AbstractContextManager[None]:
        """On the clock of the machine time goes by on the screen when nothing happens."""
        return contextlib.nullcontext() if self._screen is None else self._screen.each_second(loop)

    def __enter__(self) -> Self:
        if self._screen is not None:
            self._screen.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._screen is not None:
            self._screen.__exit__()
