"""The page about frames says what the definitions say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "gbcs_frames.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gbcs_frames", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_definitions_make_of_it(script: ModuleType) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), (
        "run python docs/gbcs_frames.py"
    )


def test_the_table_on_the_page_has_every_use_case_asked_for(script: ModuleType) -> None:
    page = script.page()
    codes = [
        *range(0x0001, 0x0005), 0x0008, *range(0x000A, 0x0011), 0x0012, 0x0013, 0x0018, 0x0059,
        0x0084, 0x00AB, 0x00AF, 0x00CA, 0x00CB, 0x00CE, 0x00CF, 0x00FE, *range(0x0100, 0x010A),
        0x010F, 0x0128, 0x0129, 0x012B, 0x1000, 0x1001,
    ]  # fmt: skip
    for code in codes:
        assert f"| 0x{code:04X} |" in page
