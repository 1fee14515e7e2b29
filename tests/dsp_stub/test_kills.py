"""A DSP that is killed under load loses nothing it acknowledged and does nothing twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kill_rig import KillRig

pytestmark = [
    pytest.mark.real_clock,
    pytest.mark.requirement("MP170-R5", "bad"),
    pytest.mark.requirement("MP170-N39", "good"),
    pytest.mark.requirement("MP170-ADT", "good"),
]

KILLS = 20
SEEDS = {"quick": range(2, 4), "full": range(2, 12), "soak": range(2, 52)}


async def killed(folder: Path, seed: int) -> None:
    rig = KillRig(folder, count=120, seed=seed)
    assert await rig.run(KILLS) == []
    history = rig.history
    assert history.kills == KILLS + 1
    assert history.lost_answers, "no request was under way when it was killed"
    assert len(history.accepted) > KILLS
    assert not history.refused


@pytest.mark.matrix
async def test_a_dsp_that_is_killed_under_load_loses_nothing_and_does_nothing_twice(
    tmp_path: Path,
) -> None:
    await killed(tmp_path, seed=1)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", SEEDS[os.environ.get("HANBENCH_MATRIX", "quick")])
async def test_a_dsp_that_is_killed_two_hundred_times_loses_nothing(
    tmp_path: Path, seed: int
) -> None:
    await killed(tmp_path, seed)
