"""`hanbench` as processes: those that serve until they are told to stop, and those that end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from click.testing import CliRunner, Result

from hil.cli import cli

HANBENCH = (sys.executable, "-m", "hil.cli")
PATIENCE_S = 90.0


def hanbench(*words: object, input: bytes = b"") -> Result:
    """A command in this process: those that end by themselves."""
    return CliRunner().invoke(cli, [*map(str, words)], input=input)


class Process:
    """A `hanbench` that serves until it is told to stop."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [*HANBENCH, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            text=True,
        )
        self.said: list[str] = []
        self.errors = ""
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._err)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _err(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()

    def line_with(self, pattern: str, within_s: float = PATIENCE_S) -> re.Match[str]:
        """The next line in which the pattern is found."""
        try:
            while (line := self._lines.get(timeout=within_s)) is not None:
                if (found := re.search(pattern, line)) is not None:
                    return found
        except Empty:
            raise AssertionError(f"{pattern!r} did not come in {within_s:g} s: {self}") from None
        raise AssertionError(f"{pattern!r} never came: {self}")

    def __str__(self) -> str:
        return "".join(self.said[-20:]) + self.errors

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it, and wait for its end; its exit code, negative for a signal's."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        code = self.process.wait(timeout=PATIENCE_S)
        self._join()
        assert "Traceback" not in self.errors, self.errors
        return code

    def kill(self) -> None:
        """As if the power went."""
        self.process.kill()
        self.process.wait()
        self._join()

    def _join(self) -> None:
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def running(*words: object) -> Iterator[Process]:
    process = Process(*words)
    try:
        yield process
    finally:
        if process.process.returncode is None:
            process.kill()
