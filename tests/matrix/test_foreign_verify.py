"""`hanbench verify` passes a good device of any make, and names a requirement for each bad one.

The good device goes through the same test beside the defective one, each in a home of its own: most
of the time nothing happens in either.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from defect_table import DEVICE_MODULES, FINDINGS
from foreign_client.defects import DEFECTS
from foreign_verify import CLAIMS, Verified, verify

from hil.suites import test_bad_images, test_commands, test_manners, test_update

pytestmark = [pytest.mark.matrix, pytest.mark.real_clock]

QUICK = os.environ.get("HANBENCH_MATRIX") == "quick"
SLICE = ["takes-unprotected-notify"] if QUICK else list(FINDINGS)


def test_every_defect_has_a_row() -> None:
    assert list(FINDINGS) == list(DEFECTS)


def test_no_requirement_of_a_device_is_without_a_defect_that_breaks_it() -> None:
    modules = (test_update, test_bad_images, test_manners, test_commands)
    assert tuple(module.__name__.rpartition(".")[2] for module in modules) == DEVICE_MODULES
    shown = {
        name
        for module in modules
        for test in vars(module).values()
        for mark in getattr(test, "pytestmark", [])
        if mark.name == "requirement"
        for name in mark.args
    }
    broken = {name for finding in FINDINGS.values() for name in finding.requirements}
    assert broken == shown


@pytest.fixture(scope="module")
def good() -> dict[tuple[str, str], Verified]:
    """What the good device did in each test, once for all defects that show in it."""
    return {}


async def good_run(
    runs: dict[tuple[str, str], Verified], test: str, personality: str, folder: Path
) -> Verified:
    key = test, personality
    if key not in runs:
        runs[key] = await verify(folder, personality=personality, options=("-k", test))
    return runs[key]


@pytest.mark.parametrize("defect", SLICE)
async def test_a_defect_is_named_by_its_requirement(
    defect: str, good: dict[tuple[str, str], Verified], tmp_path: Path
) -> None:
    test, requirements, personality = FINDINGS[defect]
    async with asyncio.TaskGroup() as tasks:
        reference = tasks.create_task(good_run(good, test, personality, tmp_path / "good"))
        bad = await verify(tmp_path / "bad", defect, personality=personality, options=("-k", test))
    assert bad.exit_code == 1, bad.said
    assert [(one["name"], one["ezsp"]) for one in bad.verdict["radios"]] == [("hub", 14)]
    assert sorted(bad.broken) == sorted(requirements)
    assert [name.partition("::")[2] for name in bad.failed] == [f"{test}[dut]"]
    (row,) = [one for one in bad.verdict["suites"] if one["outcome"] == "failed"]
    assert f"-k '{test}[dut]'" in row["repeat"]
    assert "failed" in [one["outcome"] for one in row["steps"]]
    device = reference.result()
    assert device.exit_code == 0, device.said


@pytest.mark.skipif(QUICK, reason="the whole suites on the real clock take more than a minute")
@pytest.mark.parametrize("personality", CLAIMS)
async def test_a_good_device_of_any_make_passes(personality: str, tmp_path: Path) -> None:
    told = await verify(tmp_path, personality=personality)
    assert told.exit_code == 0, told.said
    assert told.failed == {}
    outcomes = [one["outcome"] for one in told.verdict["suites"]]
    assert outcomes.count("passed") >= 20
    assert told.verdict["clock"] == "real"


@pytest.mark.skipif(QUICK, reason="two rounds of two updates each")
async def test_up_and_back_again_stops_at_the_first_failure(tmp_path: Path) -> None:
    """A device that takes lower versions too goes on for ever; one that only claims to stops it."""
    claims = ["downgrade"]
    told = await verify(
        tmp_path / "goes", "takes-older-image", options=("--repeat", "2"), claims=claims
    )
    assert told.exit_code == 0, told.said
    told = await verify(tmp_path / "stops", options=("--repeat", "3"), claims=claims)
    assert told.exit_code == 1
    (detail,) = told.failed.values()
    assert detail.startswith("round 2: 00010200")
