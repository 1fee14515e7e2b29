"""In the matrix, and wherever HANBENCH_WITNESS is set, tshark reads every capture that a run or a
stick in this process wrote. Where it is not installed nothing is read, and no number is told.

The test that made the capture fails at its end when tshark finds a malformed frame in it. A frame
that a fault damaged is allowed to be one: it has a comment that names the fault; and so are those
of tests marked `hostile`, which put on the air what is none.
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from tshark_support import read_by_tshark

from hil import sticks
from hil.scenario import Scenario

_FIELDS = {"number": "frame.number", "malformed": "_ws.malformed", "comment": "frame.comment"}

_BAD = {"number", "malformed"}  # and no comment

_captures: list[tuple[Path, Callable[[], list[bytes]]]] = []  # and the keys of its air
_read = pytest.StashKey[tuple[int, int]]()  # captures, frames


def pytest_configure(config: pytest.Config) -> None:
    wanted = any(name in os.environ for name in ("HANBENCH_WITNESS", "HANBENCH_MATRIX"))
    if not wanted or shutil.which("tshark") is None:
        return
    config.stash[_read] = (0, 0)
    _record_runs()
    _record_sticks()


def _record_runs() -> None:
    plain = Scenario.__init__
    bound = inspect.signature(plain).bind

    @functools.wraps(plain)
    def recording(self: Scenario, *arguments: object, **options: object) -> None:
        plain(self, *arguments, **options)  # type: ignore[arg-type]
        evidence = bound(self, *arguments, **options).arguments["evidence"]
        path = evidence.folder / "air.pcapng"
        lines = self.wiring.keys.wireshark
        _captures.append((path, lambda: _keys(lines())))

    Scenario.__init__ = recording  # type: ignore[method-assign]


def _record_sticks() -> None:
    plain = sticks._open_capture

    @functools.wraps(plain)
    def recording(path: Path) -> object:
        file = plain(path)
        _captures.append((path, list))
        return file

    sticks._open_capture = recording  # type: ignore[assignment]


def _keys(lines: str) -> list[bytes]:
    return [bytes.fromhex(line.split(",")[0].strip('"')) for line in lines.splitlines()]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    yield
    while _captures:
        path, keys = _captures.pop()
        if path.exists():
            frames = read_by_tshark(path, _FIELDS, *keys())
            captures, total = item.config.stash[_read]
            item.config.stash[_read] = (captures + 1, total + len(frames))
            hostile = item.get_closest_marker("hostile") is not None
            bad = [] if hostile else [one for one in frames if one.keys() == _BAD]
            assert not bad, f"tshark finds {bad[0]} of {path} malformed, and {len(bad) - 1} more"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells how much was read; its controller adds up."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and _read in session.config.stash:
        output["captures_read"] = session.config.stash[_read]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:  # noqa: ARG001 - xdist's names
    config = node.config  # type: ignore[attr-defined]
    output = getattr(node, "workeroutput", {})  # none where the worker crashed
    if "captures_read" in output:
        captures, frames = output["captures_read"]
        before = config.stash.get(_read, (0, 0))
        config.stash[_read] = (before[0] + captures, before[1] + frames)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if _read in config.stash and not hasattr(config, "workerinput"):
        captures, frames = config.stash[_read]
        terminalreporter.write_line(f"tshark read {captures} captures, {frames} frames")
