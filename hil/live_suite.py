"""What a reader sees while `hanbench verify` runs: a screen on a terminal, elsewhere lines.

Source: ours. It is a plugin of pytest: pytest tells it of the tests, and their bench of itself.
pytest's own words are kept back meanwhile, for they would tear the screen; those of failures are
printed in full when it is over. Where others run the tests (`-n`) there are no steps to be seen,
only which tests go on and how each has ended. Without a terminal lines are printed where time is
that of the machine: on the virtual clock pytest is done before anybody has read them.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import pytest
from rich.console import Console
from rich.text import Text

from hil.evidence import Event
from hil.live import Lines, LiveConsole
from hil.live_screen import OnScreen, Screen, can_draw
from hil.live_state import Premises
from hil.live_suite_layout import counted, suite_lines
from hil.live_suite_state import Planned, SuiteState
from hil.pytest_plugin import WATCHER, declaration_of
from hil.suite_results import test_of

_LINES: Final = frozenset(
    {"step", "action", "joined", "transfer-started", "progress", "transfer-done", "restarted"}
)
_FAILURES: Final = re.compile(r"^=+ (ERRORS|FAILURES|short test summary info) =+$", re.MULTILINE)


class LiveSuite(OnScreen):
    """Shows the tests of a bench. As a context manager it leaves the terminal in order."""

    def __init__(
        self,
        premises: Premises,
        *,
        console: Console | None = None,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        # Not rich's own choice of the moment: pytest has another `sys.stdout` while a test runs.
        console = console or LiveConsole(file=sys.stdout)
        self._wall = wall
        self.state = SuiteState(premises, wall())
        self._lines = Lines(console, premises.clock)
        if can_draw(console):
            self._screen = Screen(console, self._drawn, wall, redirect=False)

    @staticmethod
    def is_for(premises: Premises, console: Console | None = None) -> bool:
        """Whether there is more to show than what pytest says of itself."""
        return premises.clock == "real" or can_draw(console or LiveConsole())

    def _drawn(self, width: int, height: int) -> list[Text]:
        return suite_lines(self.state, self._wall(), width, height)

    def _draw(self, *, at_once: bool = False) -> None:
        if self._screen is not None:
            self._screen.draw(at_once=at_once)

    # -- the bench -----------------------------------------------------------------------------

    def show(self, event: Event) -> None:
        """Show one event of a bench, the same as goes to its evidence."""
        self.state.take(event, self._wall())
        if self._screen is not None:
            self._screen.draw()
        elif event.get("type") in _LINES:
            self._lines.show(event, self._wall())

    # -- pytest --------------------------------------------------------------------------------

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[WATCHER] = self

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.state.plan(map(_planned, session.items))
        self._draw(at_once=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: Sequence[str]) -> None:  # noqa: ARG002
        """Each worker has found the same tests."""
        self.state.plan(Planned(_name(nodeid)) for nodeid in ids)
        self._draw(at_once=True)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        running = self.state.begin(_name(nodeid), self._wall())
        if self._screen is None:
            self._lines.print(f"{running.id}: {running.title}")
        self._draw()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if getattr(report, "hanbench", None) is None or _name(report.nodeid) not in (
            self.state.running
        ):
            return  # a second report of one test is of its teardown
        test = test_of(report)
        done = self.state.end(test)
        if self._screen is None:
            detail = f": {done.detail}" if done.detail else ""
            self._lines.print(f"{done.outcome}{detail}; {counted(self.state)}")
        self._draw()

    # -- the terminal --------------------------------------------------------------------------

    def __exit__(self, *_: object) -> None:
        self.state.is_over = True
        super().__exit__()


def failures(said: str) -> str:
    """What pytest said of failures, from all that it said."""
    found = _FAILURES.search(said)
    return "" if found is None else said[found.start() :]


def _name(nodeid: str) -> str:
    """A test as the verdict names it."""
    return nodeid.rpartition("/")[2]


def _planned(item: pytest.Item) -> Planned:
    declared = declaration_of(item)
    if declared is None:
        return Planned(_name(item.nodeid))
    return Planned(_name(item.nodeid), declared.title, declared.requirements, declared.steps)
