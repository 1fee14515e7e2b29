"""A terminal with a person's eyes: what a program on a real PTY shows, as pyte draws it, or what
a console of rich in this process writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyte

from hil.live import LiveConsole

ROOT = Path(__file__).parents[1]


def _at_the_table() -> None:
    """The terminal is this process's own: Ctrl-C on it, and that it is closed, arrive here."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGHUP):  # who runs in the background has them ignored
        signal.signal(number, signal.SIG_DFL)


class Paper(io.StringIO):
    """A terminal in this process: what is written to it is drawn."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, lines, history=5000)
        self.screen.set_mode(pyte.modes.LNM)  # no driver makes CR LF of LF here
        self._stream = pyte.Stream(self.screen)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._stream.feed(text)
        return super().write(text)

    def console(self) -> LiveConsole:
        return LiveConsole(
            file=self,
            force_terminal=True,
            color_system=None,
            width=self.screen.columns,
            height=self.screen.lines,
            _environ={"TERM": "xterm"},
        )

    @property
    def text(self) -> str:
        """What is on the screen now."""
        return shown(self.screen)


def shown(screen: pyte.Screen) -> str:
    return "\n".join(line.rstrip() for line in screen.display).rstrip()


class Terminal:
    """A program on a PTY of this size."""

    def __init__(
        self, *command: object, columns: int = 80, lines: int = 24, folder: Path = ROOT
    ) -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=5000)
        self._stream = pyte.ByteStream(self.screen)
        self.octets = b""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        environment |= {"TERM": "xterm", "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)}
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_at_the_table,
            cwd=folder,
            env=environment,
        )
        os.close(slave)

    @classmethod
    def hanbench(cls, *words: object, **options: Any) -> Terminal:
        return cls(sys.executable, "-m", "hil.cli", *words, **options)

    def read(self, until: Callable[[Terminal], bool] = lambda _: False, limit_s: float = 60) -> int:
        """Read until a condition holds or the program is done; its exit code, -1 while it runs."""
        end_s = time.monotonic() + limit_s
        while not until(self):
            assert time.monotonic() < end_s, self.text
            ready, _, _ = select.select([self.master], [], [], 1.0)
            if not ready:
                continue
            try:
                octets = os.read(self.master, 65536)
            except OSError:  # the other end is closed
                octets = b""
            if not octets:
                return self.process.wait(10)
            self.octets += octets
            self._stream.feed(octets)
        return -1

    @property
    def text(self) -> str:
        """What is on the screen now."""
        return shown(self.screen)

    def resize(self, columns: int, lines: int) -> None:
        """Somebody pulls at the window."""
        self.screen.resize(lines, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def is_quiet(self, for_s: float) -> bool:
        """Whether nothing more is written in this time."""
        return not select.select([self.master], [], [], for_s)[0]

    def type(self, octets: bytes) -> None:
        """Somebody presses keys."""
        os.write(self.master, octets)

    @property
    def scrollback(self) -> str:
        """What has gone over its upper edge."""
        rows = (
            "".join(line[at].data for at in range(self.screen.columns)).rstrip()
            for line in self.screen.history.top
        )
        return "\n".join(rows)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.master)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
