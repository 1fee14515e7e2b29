"""Writes `reliability.md` beside it: what the fault sweeps cover, and what every run ends with.

Source: the tables by which the tests themselves run (`reliability()` of a test module, the courses
of `power_rig`, the fates of `damage_table`). Run `python docs/reliability.py`; a test says when
that is due.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("reliability.md")
TESTS = Path(__file__).parents[1] / "tests"

_ROWS = {
    "R1": "Power cuts",
    "R2": "Power cuts of the largest update",
    "R3": "Double power cuts",
    "R7": "Radio loss",
    "R8": "Frames repeated, overtaken, late",
    "R9": "Updates at once",
    "R10": "Damaged images",
}
_HEAD = """\
# Reliability

Made by `python docs/reliability.py` from the tables by which the tests run; do not edit.

Every run ends in an assertion, so a number of runs is the number of runs that ended so. The four
numbers are those of `make test`, `make matrix-quick`, `make matrix` and `make soak`; 0 means that a
sweep is not part of it. The rows have the names of the fault matrix this bench is built to.

What is asserted after each power cut, and where it applies after any other fault:

| invariant | |
|---|---|
| I1 | an update that was taken has exactly one outcome at the DSP |
| I2 | a device runs its old image or the new one, whole, never a mix |
| I3 | an activation alert is delivered, and counts once |
| I4 | a request for a device whose update is in progress does not disturb it |
| I5, I6 | no counter goes back, none is used twice: NWK and GBCS, over every power cut |
| I7 | no exception reaches the loop, no task is left over |
| I8 | the same seed gives the same frames |
"""


def page() -> str:
    for folder in (TESTS, TESTS / "devices", TESTS / "matrix"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    sweeps = [sweep for module in _modules() for sweep in module.reliability()]
    parts = [_HEAD]
    for row, title in _ROWS.items():
        lines = [
            f"| {one.what} | {' / '.join(map(_grouped, one.runs))} | {one.ends} |"
            for one in sweeps
            if one.row == row
        ]
        table = "| what | runs | each ends with |\n|---|---|---|\n" + "\n".join(lines) + "\n\n"
        text = _damaged_images() if row == "R10" else table
        parts.append(
            f"## {row}: {title}\n\n{text}{_courses() if row == 'R1' else ''}".rstrip() + "\n"
        )
    return "\n".join(parts)


def _modules() -> list[Any]:
    """The test modules that have something to say here."""
    named = [
        path.stem
        for path in sorted(TESTS.rglob("test_*.py"))
        if "\ndef reliability(" in path.read_text(encoding="utf-8")
    ]
    return [importlib.import_module(name) for name in named]


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _courses() -> str:
    """The eight courses of a power cut, and what the DSP is told in each."""
    rig: Any = importlib.import_module("power_rig")
    running: Any = importlib.import_module("test_power_cuts_in_operation")
    lines = [
        "| course | writes of device, hub | CCS08 | CS09 | runs in the end |",
        "|---|---|---|---|---|",
    ]
    for course in rig.SCENARIOS:
        writes = running.WRITES[course.name]
        transfers = ", ".join(f"result {result}" for _, result in course.transfers)
        activations = ", ".join(f"result {result}" for _, result in course.activations) or "none"
        runs = "the old image" if course.runs == rig.OLD else "the new image"
        counts = f"{writes['device']}, {writes['hub']}"
        lines.append(f"| {course.name} | {counts} | {transfers} | {activations} | {runs} |")
    return "\n".join(lines) + "\n"


def _damaged_images() -> str:
    """How many of the damaged images ended how, at each of three places."""
    table: Any = importlib.import_module("damage_table")
    fates = [table.fate(name, variant) for name, variant in table.CASES]
    kinds = len({name for name, _ in table.CASES})
    lines = [
        f"{kinds} kinds of damage in {len(fates)} variants, each at three places, in `make test`. "
        "The device goes on running what it ran until it activates a file.",
        "",
        "| place | ends |",
        "|---|---|",
    ]
    for place, title in (
        ("dsp", "11.4 at the DSP"),
        ("hub", "offer at the hub"),
        ("device", "served to the device as it is"),
    ):
        counted = Counter(getattr(fate, place) for fate in fates)
        ends = ", ".join(f"{count} {end}" for end, count in sorted(counted.items()))
        lines.append(f"| {title} | {ends} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
