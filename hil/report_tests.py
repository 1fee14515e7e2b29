"""What a report shows of conformance tests: which test had which outcome on which device, step by
step, and one update of each device, drawn.

Source: ours, after the Matter test harness (steps are declared, so they are shown whether they were
reached or not). Tests of one name are one row: a test that runs for each of three devices has three
outcomes. Each test's bench has a page of its own beside its evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hil.errors import RequestError
from hil.report_rows import REPORT, Link, Linker, read_events
from hil.report_verdict import SuiteTest
from hil.verdict import UnderTest

MAX_TESTS = 500
MAX_STEPS = 100
"""Of one test of the suites."""


class Variant(NamedTuple):
    """A test with one choice of its parameters: where on the page it is, and what came of it."""

    number: int
    label: str
    outcome: str


@dataclass(frozen=True, slots=True)
class TestGroup:
    """Tests of one name."""

    name: str
    title: str
    requirements: Sequence[str]
    variants: Sequence[Variant]


@dataclass(frozen=True, slots=True)
class TestRow:
    """One test; `steps` have their evidence as links, `page` is that of its bench."""

    number: int
    label: str
    test: SuiteTest
    steps: Sequence[tuple[Any, Sequence[Link]]]
    left_out: int
    page: str | None


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device that tests were run on, and how many passed and failed of those that ran."""

    device: UnderTest
    passed: int
    failed: int


def grouped_tests(tests: Sequence[SuiteTest]) -> list[TestGroup]:
    """In the order of their first."""
    found: dict[str, list[tuple[int, SuiteTest]]] = {}
    for number, test in enumerate(tests[:MAX_TESTS], 1):
        found.setdefault(test.id.partition("[")[0], []).append((number, test))
    return [
        TestGroup(
            name,
            group[0][1].title or name,
            group[0][1].requirements,
            [Variant(number, label_of(test), test.outcome) for number, test in group],
        )
        for name, group in found.items()
    ]


def label_of(test: SuiteTest) -> str:
    """The parameters in the name of a test, such as its device."""
    return test.id.partition("[")[2].removesuffix("]")


def test_rows(folder: Path, tests: Sequence[SuiteTest], linker: Linker) -> list[TestRow]:
    return [
        TestRow(
            number,
            label_of(test),
            test,
            [
                (step, [linker.link(pointer) for pointer in step.evidence])
                for step in test.steps[:MAX_STEPS]
            ],
            max(0, len(test.steps) - MAX_STEPS),
            _page_of(folder, test),
        )
        for number, test in enumerate(tests[:MAX_TESTS], 1)
    ]


def _page_of(folder: Path, test: SuiteTest) -> str | None:
    """The page of a test's bench, where it has one."""
    name = f"{test.folder}/{REPORT}"
    inside = test.folder and (folder / name).resolve().is_relative_to(folder.resolve())
    return name if inside and (folder / name).is_file() else None


def device_rows(devices: Iterable[UnderTest], tests: Sequence[SuiteTest]) -> list[DeviceRow]:
    def count(device: UnderTest, outcome: str) -> int:
        return sum(test.device == device.device_id and test.outcome == outcome for test in tests)

    return [DeviceRow(one, count(one, "passed"), count(one, "failed")) for one in devices]


def drawn_benches(
    folder: Path, tests: Sequence[SuiteTest], devices: Iterable[UnderTest]
) -> dict[str, Path]:
    """For each device the folder of a test in which its image went across, one that passed where
    there is one."""
    found = {}
    by_outcome = sorted(tests, key=lambda test: test.outcome != "passed")
    for device in devices:
        mine = (test for test in by_outcome if test.device == device.device_id)
        bench = next((one for one in _benches(folder, mine) if _went_across(one, device)), None)
        if bench is not None:
            found[device.device_id] = bench
    return found


def _benches(folder: Path, tests: Iterable[SuiteTest]) -> Iterable[Path]:
    names = dict.fromkeys(test.folder for test in tests if _page_of(folder, test) is not None)
    return (folder / name for name in names)


def _went_across(bench: Path, device: UnderTest) -> bool:
    try:
        events = read_events(bench)
    except RequestError:
        return False
    return any(
        event["type"] == "transfer-done" and event.get("device_id") == device.device_id
        for event in events
    )
