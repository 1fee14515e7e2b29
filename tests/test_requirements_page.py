"""The page about requirements says which tests show them, and each row has both its sides."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hil.requirements import TITLES
from hil.suite_results import NOT_SHOWN

SCRIPT = Path(__file__).parents[1] / "docs" / "requirements.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("requirements_page", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_markers_make_of_it(script: ModuleType) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run docs/requirements.py"


def test_every_row_is_shown_on_both_sides_or_said_to_be_missing(script: ModuleType) -> None:
    sides = {(one.id, one.side) for one in script.shown()}
    asked = script.verified()
    wanted = {
        (name, side)
        for name in TITLES
        if name not in script.LATER and not (name in script.PARTLY and name in asked)
        for side in script.SIDES
        if side == "good" or name not in script.GOOD_ONLY
    }
    assert wanted <= sides, wanted - sides
    there = {name for name, _ in sides} | set(asked)
    assert not there & set(script.LATER), "it is there after all"


def test_what_no_conformance_test_asks_is_what_verify_says_it_cannot_show(
    script: ModuleType,
) -> None:
    assert set(TITLES) - set(script.verified()) == set(NOT_SHOWN)
    assert set(script.LATER) <= set(NOT_SHOWN)


def test_a_marker_that_names_no_row_or_no_side_is_refused(script: ModuleType) -> None:
    for mark in ('"MP170-R99", "good"', '"MP170-R6"', '"MP170-R6", "ugly"'):
        module = f"@pytest.mark.requirement({mark})\ndef test_it(): ...\n"
        with pytest.raises(script.MarkerError, match=r"test_x\.py::test_it"):
            list(script._of_module("test_x.py", script.ast.parse(module)))
