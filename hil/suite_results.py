"""What conformance tests have shown: from pytest's reports to a verdict per requirement.

Source: DESIGN (`verdict.json`); the requirements are those of `hil.requirements`.

    a requirement is   when
    -----------------  -------------------------------------------------------------------------
    fail               a test of it failed
    pass               one passed, and none failed
    not-run            each was skipped, none was asked for, or there is none (`NOT_SHOWN`)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from hil.evidence import Evidence
from hil.requirements import TITLES
from hil.verdict import RadioVerdict, Requirement, SuiteStep, SuiteTest, UnderTest

NOT_SHOWN = {
    "MP170-SOLUTIONS": "bridges 3 and 4, of which two of them consist, are not emulated yet",
    "MP170-NF2": "volumes are those of fleets",
    "MP0038-OFF": "no PPMID with another interface is emulated yet",
    "MP0038-ON": "no PPMID with another interface is emulated yet",
}
"""What no test of a suite shows, and why."""

_MAX_DETAIL = 500


class Collector:
    """A plugin of pytest that keeps what the verdict needs. Works for workers of xdist as well."""

    def __init__(self, evidence: Evidence | None) -> None:
        self.tests: list[SuiteTest] = []
        self.items: list[pytest.Item] = []
        self.broke: list[tuple[int, str]] = []
        self.radios: dict[str, RadioVerdict] = {}
        self.under_test: dict[str, UnderTest] = {}
        self._evidence = evidence
        self._done: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        code = getattr(report, "hanbench_exit", None)
        if code is not None:
            self.broke.append((int(code), str(report.longrepr).strip().splitlines()[0]))
        told = getattr(report, "hanbench", None)
        if told is None or report.nodeid in self._done:
            return  # a second report of one test is of its teardown
        self._done.add(report.nodeid)
        document = json.loads(told)
        for radio in document["radios"]:
            self.radios[radio["name"]] = RadioVerdict(**radio)
        for device in document["under_test"]:
            self.under_test.setdefault(device["device_id"], UnderTest(**device))
        test = test_of(report)
        self.tests.append(test)
        if self._evidence is not None:
            time_s = round(sum(step.time_s for step in test.steps), 6)
            self._evidence.record(
                {
                    "type": "test",
                    "time_s": time_s,
                    "test": test.id,
                    "outcome": test.outcome,
                    "detail": test.detail,
                }
            )


def test_of(report: pytest.TestReport) -> SuiteTest:
    """What the plugin told of a test, as the verdict has it."""
    document = json.loads(report.hanbench)
    outcome: Literal["passed", "failed", "skipped"] = report.outcome
    name = report.nodeid.rpartition("/")[2]
    return SuiteTest(
        id=name,
        title=document["title"],
        requirements=document["requirements"],
        claims=document["claims"],
        steps=[SuiteStep(**step) for step in document["steps"]],
        outcome=outcome,
        detail=_detail(report)[:_MAX_DETAIL],
        repeat=document["repeat"],
        device=document["device"],
        folder=document["folder"],
    )


def _detail(report: pytest.TestReport) -> str:
    """Why it failed or was skipped, in a sentence."""
    if report.outcome == "passed":
        return ""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash: Any = getattr(report.longrepr, "reprcrash", None)
    text = str(report.longrepr) if crash is None else str(crash.message)
    first = next((line for line in text.strip().splitlines() if line.strip()), "failed")
    return first.removeprefix("AssertionError: ").strip()


def requirements_of(tests: Sequence[SuiteTest]) -> list[Requirement]:
    """Every requirement there is, those that tests were run of first."""
    rows = [_row(name, tests) for name in TITLES]
    return sorted(rows, key=lambda row: row.verdict == "not-run")


def scope_of(requirements: Iterable[Requirement]) -> tuple[str, ...]:
    """What the tests that ran set out to show."""
    return tuple(row.id for row in requirements if row.verdict != "not-run")


def _row(name: str, tests: Sequence[SuiteTest]) -> Requirement:
    mine = [test for test in tests if name in test.requirements]
    evidence = dict.fromkeys(
        pointer for test in mine for step in test.steps for pointer in step.evidence
    )
    outcomes = {test.outcome for test in mine}
    if "failed" in outcomes:
        return Requirement(name, "fail", tuple(evidence))
    if "passed" in outcomes:
        return Requirement(name, "pass", tuple(evidence))
    reasons = dict.fromkeys(test.detail for test in mine if test.detail)
    reason = "; ".join(reasons) or NOT_SHOWN.get(name, "no test of it was asked for")
    return Requirement(name, "not-run", (), reason)


def suites_folder() -> Path:
    """Where the tests of the wheel are."""
    return Path(__file__).parent / "suites"
