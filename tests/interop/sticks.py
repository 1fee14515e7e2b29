"""Emulated sticks as processes of their own, on TCP and on PTYs, for programs that are not ours.

Source: `hanbench radio`, the command a stranger would use.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from bench_support import start_hanbench

# Releases of EmberZNet that speak these versions of EZSP.
RELEASES = {
    4: "5.7.4",
    5: "5.10.0",
    6: "6.0.0",
    7: "6.6.3",
    8: "6.10.3",
    9: "7.1.3",
    10: "7.2.0",
    11: "7.2.2",
    12: "7.3.0",
    13: "7.4.3",
    14: "8.0.0",
    16: "8.1.0",
    17: "8.2.0",
    18: "8.2.2",
    19: "9.1.0",
}
_FOLDER = Path(sys.executable).parent
TRANSPORTS = ("tcp", "pty")


class Stick(NamedTuple):
    """What a host must be told: where the stick is, and who it is."""

    url: str
    eui64: int

    @property
    def eui64_text(self) -> str:
        """As hosts write it."""
        return ":".join(re.findall("..", f"{self.eui64:016x}"))


def sweep(versions: Sequence[int], quick: Sequence[int]) -> pytest.MarkDecorator:
    """Parametrise `version`: `quick` in every run, the rest in the matrix."""
    return pytest.mark.parametrize(
        "version",
        [
            version if version in quick else pytest.param(version, marks=pytest.mark.matrix)
            for version in versions
        ],
    )


def sweep_transports(
    versions: Sequence[int], quick: Sequence[tuple[int, str]]
) -> pytest.MarkDecorator:
    """Parametrise `version` and `transport`: `quick` in every run, the rest in the matrix."""
    return pytest.mark.parametrize(
        ("version", "transport"),
        [
            pair if pair in quick else pytest.param(*pair, marks=pytest.mark.matrix)
            for pair in itertools.product(versions, TRANSPORTS)
        ],
    )


@contextlib.contextmanager
def sticks(count: int, version: int, transport: str = "tcp") -> Iterator[list[Stick]]:
    """So many blank sticks on one air, on TCP or PTYs; their clean end is checked."""
    with tempfile.TemporaryDirectory() as folder:
        urls = ["tcp://127.0.0.1:0"] * count
        if transport == "pty":
            urls = [f"pty://{folder}/stick-{number}" for number in range(count)]
        listen = [word for url in urls for word in ("--listen", url)]
        process = start_hanbench("radio", *listen, "--ezsp", version, "--json")
        assert process.stdout is not None
        try:
            told = [json.loads(process.stdout.readline()) for _ in urls]
            yield [Stick(one["url"], int(one["eui64"], 16)) for one in told]
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=30)
            assert (process.returncode, err) == (0, "")


def tool(name: str) -> str:
    """The program, beside this Python or on the path; skips when it is not installed."""
    found = shutil.which(name, path=str(_FOLDER)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def ask(*words: str, is_tidy: bool = True) -> str:
    """Run a host to its end, which must be a good one; all that it said.

    An untidy one may be in the middle of a command as it ends, and bellows tells of that.
    """
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not is_tidy or "Traceback" not in said
    return said
