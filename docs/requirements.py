"""Writes `requirements.md` beside it: which tests show which requirement, on its good and bad side.

Source: the `requirement(id, "good", "bad")` markers of the tests, read without running them. The
good side is what must hold; the bad side is the bad input beside it and what it gets. Run
`python docs/requirements.py`; a test says when that is due.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hil.requirements import TITLES

PAGE = Path(__file__).with_name("requirements.md")
TESTS = Path(__file__).parents[1] / "tests"
SUITES = Path(__file__).parents[1] / "hil" / "suites"
SIDES = ("good", "bad")

# Rows whose list of requirements names no bad input.
GOOD_ONLY = ("MP170-R4", "MP170-N39", "CPL-MISMATCH")

# What is not there yet, and why.
LATER = {
    "MP170-SOLUTIONS": "the three named benches come with MP170-R9 and MP170-R10",
    "MP170-NF2": "fleets with a load profile are not built",
    "MP0038-OFF": "a PPMID has no other interface yet",
    "MP0038-ON": "a PPMID has no other interface yet",
}
PARTLY = {
    "MP170-R1": "the signed bundle (`image release`) is not built",
    "MP170-R9": "shown of a PPMID and bridges 1 and 2, in every order; bridges 3 and 4, benches "
    "of the three solutions and traffic relayed over Alt HAN are not built",
    "MP170-R10": "shown of reads of other devices of the home and of the manners of who loads; "
    "nothing is relayed over Alt HAN yet, and the battery bridge is not built",
    "MP170-R11": "the web page is not built",
    "MP170-REPORTING": "shown of a device that reports for itself; the other way "
    '(`reporting = "hub"`) is not built',
    "MP170-CAD": "the bridge is a CAD in the inventory alone: none that joins as one is emulated, "
    "and what of option 2's list is shown is not said",
}

_HEAD = """\
# Requirements and their tests

Made by `python docs/requirements.py` from the markers of the tests; do not edit.

The *good* side of a requirement is what must hold, the *bad* side the bad input beside it and what
it gets. A run shows some of them too, with evidence: its `verdict.json` says which. What
`hanbench verify` asks is listed apart: its tests are of the bench and of devices under test
([conformance.md](conformance.md)).
"""


class Shown(NamedTuple):
    """A test, a class of tests or a whole module that shows one side of one requirement."""

    id: str
    side: str
    test: str


class MarkerError(ValueError):
    """A marker that names no requirement, or no side of it."""


def shown() -> list[Shown]:
    """Every side of every requirement that a marker names, in the order of the files."""
    found: list[Shown] = []
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.requirement(" in text:
            found += _of_module(path.relative_to(TESTS).as_posix(), ast.parse(text))
    return found


def verified() -> dict[str, list[str]]:
    """The conformance tests of each requirement."""
    found: dict[str, list[str]] = {}
    for path in sorted(SUITES.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "conformance":
                    for one in decorator.args:
                        assert isinstance(one, ast.Constant)
                        found.setdefault(str(one.value), []).append(f"{path.name}::{node.name}")
    return found


def page() -> str:
    tests: dict[tuple[str, str], list[str]] = {}
    for one in shown():
        tests.setdefault((one.id, one.side), []).append(one.test)
    asked = verified()
    parts = [_HEAD, _summary(tests, asked)]
    for name, title in TITLES.items():
        lines = [f"## {name}: {title}", ""]
        if name in LATER:
            lines.append(f"Not there yet: {LATER[name]}.")
        if name in PARTLY:
            lines += [f"Not all of it: {PARTLY[name]}.", ""]
        for side in SIDES:
            listed = tests.get((name, side), [])
            if listed:
                lines += [f"{side.capitalize()}:", "", *(f"- `{test}`" for test in listed), ""]
        if name in asked:
            lines += ["`hanbench verify`:", "", *(f"- `{test}`" for test in asked[name]), ""]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def _summary(tests: dict[tuple[str, str], list[str]], asked: dict[str, list[str]]) -> str:
    lines = ["| requirement | good | bad | verify | state |", "|---|---|---|---|---|"]
    for name in TITLES:
        good, bad = (len(tests.get((name, side), [])) for side in SIDES)
        no_bad = name in GOOD_ONLY and not bad
        state = "not there yet" if name in LATER else "partly" if name in PARTLY else "shown"
        link = f"[{name}](#{_anchor(name)})"
        lines.append(
            f"| {link} | {good or '-'} | {'none named' if no_bad else bad or '-'} "
            f"| {len(asked.get(name, [])) or '-'} | {state} |"
        )
    return "\n".join(lines) + "\n"


def _anchor(name: str) -> str:
    text = f"{name}: {TITLES[name]}".lower()
    return "".join(c for c in text.replace(" ", "-") if c.isalnum() or c in "-_")


def _of_module(name: str, module: ast.Module) -> Iterator[Shown]:
    for node in module.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                for decorator in node.decorator_list:
                    yield from _named(decorator, f"{name}::{node.name}")
            case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
                yield from _named(value, name)
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                yield from _named(value, f"{name}::{target}")


def _named(node: ast.expr, test: str) -> Iterator[Shown]:
    """The markers in an expression: a decorator, a list of marks, a mark applied to a class."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.requirement":
            words = [one.value for one in call.args if isinstance(one, ast.Constant)]
            name, *sides = map(str, words)
            if name not in TITLES or not sides or not set(sides) <= set(SIDES):
                raise MarkerError(f"{test}: requirement({', '.join(map(repr, words))})")
            for side in sides:
                yield Shown(name, side, test)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
