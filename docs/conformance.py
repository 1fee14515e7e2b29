"""Writes `conformance.md` beside it: the tests of `hanbench verify`, and which defect trips which.

Source: what the tests of `hil/suites` declare, and the table of defects of the foreign client
(`tests/defect_table.py`), each row of which `make matrix` shows. Run `python docs/conformance.py`;
a test says when that is due.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from hil.conformance import Declaration
from hil.requirements import TITLES
from hil.suite_results import NOT_SHOWN, suites_folder

PAGE = Path(__file__).with_name("conformance.md")
TESTS = Path(__file__).parents[1] / "tests"

_HEAD = """\
# What `hanbench verify` asks of a device

Made by `python docs/conformance.py` from what the tests declare and from the table of defects; do
not edit. `hanbench verify --list` tells the same of the tests, with their needs.
"""


def declarations() -> dict[str, Declaration]:
    """What each test of the suites declares, by the name of the test."""
    found: dict[str, Declaration] = {}
    for path in sorted(suites_folder().glob("test_*.py")):
        module = importlib.import_module(f"hil.suites.{path.stem}")
        for name, test in vars(module).items():
            for mark in getattr(test, "pytestmark", []):
                if mark.name == "conformance":
                    found[name] = mark.args[0]
    return found


def page() -> str:
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    findings: dict[str, Any] = importlib.import_module("defect_table").FINDINGS
    defects: dict[str, str] = importlib.import_module("foreign_client.defects").DEFECTS
    declared = declarations()
    parts = [_HEAD, "## Tests\n", "| test | requirements | needs | steps |", "|---|---|---|---|"]
    for name, one in declared.items():
        needs = ", ".join((*one.needs, *(f"claim {claim}" for claim in one.claims)))
        parts.append(
            f"| {one.title} (`{name}`) | {', '.join(one.requirements)} | {needs or '-'} "
            f"| {len(one.steps)} |"
        )
    parts += ["", "Not asked, with the reason:", "", "| requirement | why |", "|---|---|"]
    parts += [f"| {name}: {TITLES[name]} | {why} |" for name, why in NOT_SHOWN.items()]
    parts += [
        "\n## Requirements and the defects that trip them\n",
        f"`tests/foreign_client` shares no code with the bench, and has {len(defects)} defects. "
        "Each is found by the test beside it, which the good device passes.\n",
        "| requirement | defects |",
        "|---|---|",
    ]
    by_requirement: dict[str, list[str]] = {}
    for defect, finding in findings.items():
        for name in finding.requirements:
            by_requirement.setdefault(name, []).append(f"`{defect}`")
    parts += [
        f"| {name} | {', '.join(by_requirement[name])} |"
        for name in TITLES
        if name in by_requirement
    ]
    parts += ["", "| defect | what it is | found by |", "|---|---|---|"]
    parts += [
        f"| `{defect}` | {words} | {declared[findings[defect].test].title} |"
        for defect, words in defects.items()
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
