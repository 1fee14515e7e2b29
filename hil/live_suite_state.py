"""What the screen of `hanbench verify` shows: tests and what their benches tell in, rows out.

Source: ours. Nothing is drawn here, and no text leaves that could move a cursor. A requirement is
shown so far when a test of it has passed and none has failed, as `suite_results` has it at the end.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hil.evidence import Event
from hil.live_state import Premises, RunState
from hil.live_words import number, printable
from hil.verdict import SuiteTest

MAX_TESTS = 2000
MAX_STEPS = 100
_MAX_DONE = 100

Mark = Literal["waiting", "now", "passed", "failed"]


class Planned(NamedTuple):
    """A test as it is declared."""

    id: str
    title: str = ""
    requirements: Sequence[str] = ()
    steps: Sequence[str] = ()


class Done(NamedTuple):
    """A test that is over."""

    id: str
    title: str
    outcome: str
    detail: str


@dataclass(slots=True)
class Running:
    """A test that goes on."""

    id: str
    title: str
    began_s: float
    steps: list[str] = field(default_factory=list)
    outcomes: dict[int, str] = field(default_factory=dict)  # by the number of a step, from 1

    def marked(self) -> list[tuple[Mark, str]]:
        """Its steps, and how far it is: the first that has not been gone through is now."""
        marks: list[tuple[Mark, str]] = []
        is_reached = False
        for at, text in enumerate(self.steps, 1):
            outcome = self.outcomes.get(at)
            if outcome is not None:
                mark: Mark = "failed" if outcome == "failed" else "passed"
            else:
                mark = "waiting" if is_reached else "now"
                is_reached = True
            marks.append((mark, text))
        return marks


class SuiteState:
    """Everything a screen shows of the tests of a bench."""

    def __init__(self, premises: Premises, began_s: float) -> None:
        self.premises = premises
        self.began_s = began_s  # by the clock of the machine
        self.run = RunState(premises, began_s)  # of the bench that told something last
        self.tests = 0
        self.running: dict[str, Running] = {}
        self.counts: Counter[str] = Counter()
        self.done: deque[Done] = deque(maxlen=_MAX_DONE)
        self.is_over = False
        self._planned: dict[str, Planned] = {}
        self._outcomes: dict[str, set[str]] = {}  # of each requirement's tests

    def plan(self, tests: Iterable[Planned]) -> None:
        """The tests that will be run."""
        for test in tests:
            if len(self._planned) < MAX_TESTS:
                self._planned[test.id] = test
        self.tests = len(self._planned)

    def begin(self, test_id: str, wall_s: float) -> Running:
        """A test begins."""
        planned = self._planned.get(test_id, Planned(test_id))
        while len(self.running) >= MAX_TESTS:
            del self.running[next(iter(self.running))]
        steps = [printable(text) for text in planned.steps[:MAX_STEPS]]
        running = Running(printable(test_id), printable(planned.title), wall_s, steps)
        self.running[test_id] = running
        return running

    def take(self, event: Event, wall_s: float) -> None:
        """An event of the bench of the test that goes on: its step, or what devices do."""
        match event.get("type"):
            case "step":
                at = int(number(event, "number"))
                for running in self.running.values():
                    if 1 <= at <= len(running.steps):
                        running.outcomes[at] = str(event.get("outcome"))
            case "run-started":  # a bench of its own
                self.run = RunState(self.premises, wall_s)
        self.run.take(event, wall_s)

    def end(self, test: SuiteTest) -> Done:
        """A test is over."""
        self.running.pop(test.id, None)
        self.counts[test.outcome] += 1
        for requirement in test.requirements:
            self._outcomes.setdefault(requirement, set()).add(test.outcome)
        title = f"{test.title}, {test.device}" if test.device else test.title
        done = Done(printable(test.id), printable(title), test.outcome, printable(test.detail))
        self.done.append(done)
        return done

    @property
    def ended(self) -> int:
        return self.counts.total()

    @property
    def shown(self) -> int:
        """Requirements of which a test has passed and none has failed."""
        sets = self._outcomes.values()
        return sum("passed" in outcomes and "failed" not in outcomes for outcomes in sets)

    @property
    def failed(self) -> int:
        """Requirements of which a test has failed."""
        return sum("failed" in outcomes for outcomes in self._outcomes.values())
