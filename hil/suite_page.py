"""The page of one bench of tests, beside the evidence it was made from.

Source: ours. What a report of a run tells of its run, this tells of the tests on one bench: their
steps, the sequence, the transfer, the frames, the events. The keys are gone when the tests are, so
it is made when the bench is switched off. Its `verdict.json` is what the page is made of again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hil.air_log import AirKeys
from hil.environment import write_environment
from hil.evidence import Evidence
from hil.junit import render_junit
from hil.report import write_report
from hil.report_rows import JUNIT
from hil.suite_results import requirements_of, scope_of
from hil.verdict import SuiteStep, SuiteTest, Verdict

if TYPE_CHECKING:
    from hil.bench_up import BenchUp


def write_suite_page(up: BenchUp, evidence: Evidence, again: str) -> Path:
    """Write the page and the verdict of a bench that is switched off, which ends its evidence; the
    path of the page. `again` runs its tests again. Raises BenchBroke."""
    session, tests = up.session, [_inside(test) for test in up.tests]
    rows = [row for row in requirements_of(tests) if any(row.id in t.requirements for t in tests)]
    air = session.wiring.air
    verdict = Verdict(
        seed=up.seed,
        clock=up.file.resolve_clock(),
        trace_hash=None
        if air is None or up.file.resolve_clock() == "real"
        else air.trace.hexdigest(),
        wall_s=round(time.perf_counter() - up.began_s, 3),
        virtual_s=round(session.witness.time_s(), 6),
        devices=(),
        scope=scope_of(rows),
        requirements=rows,
        radios=up.radios,
        suites=tests,
        under_test=up.under_test(),
    )
    session.witness.tell(
        "run-ended",
        verdict=verdict.verdict,
        wall_s=verdict.wall_s,
        virtual_s=verdict.virtual_s,
    )
    repeat = tests[0].repeat if len(tests) == 1 else again
    write_environment(evidence, repeat)
    keys = AirKeys.from_wireshark(session.wiring.keys.wireshark())
    page = write_report(evidence.folder, verdict, keys, repeat=repeat)
    evidence.write(JUNIT, render_junit(verdict))
    evidence.write_verdict(verdict)
    return page


def _inside(test: SuiteTest) -> SuiteTest:
    """The test with its pointers as seen from the folder of its bench."""

    def seen(pointers: Iterable[str]) -> list[str]:
        return [pointer.removeprefix(f"{test.folder}/") for pointer in pointers]

    steps = [
        SuiteStep(step.text, step.outcome, step.time_s, seen(step.evidence)) for step in test.steps
    ]
    return replace(test, steps=steps, folder="")
