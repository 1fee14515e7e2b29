"""The pytest plugin, as whoever writes tests of their own meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]

# Whoever uses it has no conftest of ours, and perhaps not the plugins this suite runs with.
OPTIONS = ("-p", "no:cacheprovider", "-p", "no:looptime", "-q")

TWO = """
import pytest

@pytest.mark.requirement("MP170-R2")
async def test_a_bridge_is_updated(bridge):
    assert await bridge.update() == "activated"
    assert await bridge.read_version() == await bridge.read_inventory() == "00010200"

def test_what_is_no_coroutine(bench, hub):
    assert bench.seed == 7
    assert hub.node.eui64
"""

FAILS = """
async def test_awaits_what_never_comes(bench, ppmid):
    await ppmid.admit()
    await bench.until(lambda: False, "the PPMID sings")
"""

ASYNCIO = """
import asyncio

import pytest

@pytest.fixture
def hub():
    return 42

async def test_of_somebody_else(hub):
    await asyncio.sleep(0)
    assert hub == 42

async def test_of_ours(ppmid):
    await asyncio.sleep(3600)
"""


def test_ten_lines_update_a_bridge(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TWO)
    result = pytester.runpytest_inprocess(
        *OPTIONS, "--hanbench-seed=7", "--junitxml=out.xml", "--hanbench-evidence=kept"
    )
    result.assert_outcomes(passed=2)
    root = ElementTree.parse(pytester.path / "out.xml").getroot()
    (properties, _) = root.iter("properties")
    found = {one.get("name"): one.get("value") for one in properties}
    assert found["hanbench.seed"] == "7"
    assert found["hanbench.stick.hub"] == "emulated, EZSP 14"
    assert str(found["hanbench.image.bridge-1"]).startswith("00010200 sha256 ")
    assert (pytester.path / "kept/tests/test_a_bridge_is_updated/air.pcapng").is_file()


def test_a_failure_shows_what_was_awaited_and_the_last_frames(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAILS)
    result = pytester.runpytest_inprocess(*OPTIONS, "--hanbench-patience=100")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*awaited for 100 s, and it has not come: the PPMID sings*",
            "*the last messages on the air:*",
            "* ppmid -> hub *OTA QueryNextImageRequest manufacturer 121D*",
            "*hanbench evidence*",
        ]
    )


def test_it_lives_beside_pytest_asyncio_and_other_peoples_fixtures(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(ASYNCIO)
    result = pytester.runpytest_inprocess(
        *OPTIONS, "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"
    )
    result.assert_outcomes(passed=2)


def test_what_was_not_asked_for_is_deselected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TWO)
    result = pytester.runpytest_inprocess(*OPTIONS, "--hanbench-requirement=MP170-R7")
    result.assert_outcomes(deselected=2)


@pytest.mark.matrix
def test_the_last_failures_are_run_again_and_two_workers_share_the_tests(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_one=FAILS, test_two=TWO.replace("== 7", "== 1"))
    result = pytester.runpytest_subprocess("-q", "-n", "2", "--hanbench-patience=100")
    result.assert_outcomes(passed=2, failed=1)
    result = pytester.runpytest_subprocess("-q", "--lf", "--hanbench-patience=100")
    result.assert_outcomes(failed=1)


def test_a_wrong_bench_file_is_one_sentence(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TWO)
    path = pytester.path / "lab.toml"
    path.write_text("seed = true")
    result = pytester.runpytest_inprocess(*OPTIONS, f"--hanbench-bench={path}")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*line 1: seed is true, but it must be*"])


def test_who_does_not_use_it_imports_nothing_of_the_bench() -> None:
    code = (
        "import sys, json, hil.pytest_plugin;"
        "print(json.dumps([m for m in sys.modules if m.split('.')[0] in"
        " ('hil', 'dsp_stub', 'emulator', 'gbcs', 'zigpy', 'bellows', 'lxml', 'aiohttp')]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(told) == ["hil", "hil.pytest_plugin"]


def test_the_suites_are_in_the_package() -> None:
    import hil.suites

    folder = Path(hil.suites.__file__).parent
    assert (folder / "pytest.ini").is_file()
    assert len(list(folder.glob("test_*.py"))) > 5
