"""The page about conformance says what the tests declare and what trips them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "conformance.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conformance_page", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_tests_make_of_it(script: ModuleType) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run docs/conformance.py"


def test_every_test_of_a_suite_declares_itself(script: ModuleType) -> None:
    declared = script.declarations()
    assert len(declared) > 40
    assert all(one.steps and one.requirements for one in declared.values())
