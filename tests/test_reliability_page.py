"""The page about reliability says what the sweeps do."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from reliability_table import SIZES

SCRIPT = Path(__file__).parents[1] / "docs" / "reliability.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reliability", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_sweeps_make_of_it(script: ModuleType) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run docs/reliability.py"


def test_every_row_has_runs(script: ModuleType) -> None:
    page = script.page()
    for row in ("R1", "R2", "R3", "R7", "R8", "R9"):
        section = page.split(f"## {row}: ")[1].split("\n## ")[0]
        runs = re.findall(r"\| ([\d ]+(?: / [\d ]+){3}) \|", section)
        assert runs, row
        for numbers in runs:
            counts = [int(one.replace(" ", "")) for one in numbers.split("/")]
            assert len(counts) == len(SIZES)
            assert counts[-1] > 0
            assert counts == sorted(counts) or row == "R1"  # `make test` cuts smaller updates
    assert "46 kinds of damage" in page
