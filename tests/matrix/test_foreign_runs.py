"""`hanbench run` on a device that is not ours: an update with a verdict, and an end in any case."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from foreign_client.defects import DEFECTS
from foreign_verify import PATIENCE_S, on_bench, verify

pytestmark = [pytest.mark.matrix, pytest.mark.real_clock]

QUICK = os.environ.get("HANBENCH_MATRIX") == "quick"
LONG = pytest.mark.skipif(QUICK, reason="half a minute each, on the real clock")
HOSTILE = tuple(DEFECTS)[list(DEFECTS).index("sends-broken-frames") :]
PATIENCE = ("--patience", str(PATIENCE_S))


async def test_a_run_updates_a_device_under_test(tmp_path: Path) -> None:
    told = await on_bench("run", tmp_path)
    assert told.exit_code == 0, told.said
    (device,) = told.verdict["devices"]
    assert (device["outcome"], device["version_after"]) == ("activated", "00010200")
    assert device["read_back"]["equals_smi"]
    assert told.broken == []
    assert told.verdict["clock"] == "real"


@LONG
@pytest.mark.parametrize(
    ("defect", "outcome"),
    [
        ("never-downloads", "timed-out"),
        ("never-activates", "transferred-unconfirmed"),
        ("no-alert", "transferred-unconfirmed"),
        ("alert-bad-signature", "transferred-unconfirmed"),
        ("alert-result-inverted", "activation-failed"),
        ("alert-wrong-version", "activation-failed"),
    ],
)
async def test_a_run_of_a_defective_device_ends_with_its_outcome(
    defect: str, outcome: str, tmp_path: Path
) -> None:
    told = await on_bench("run", tmp_path, [defect], options=PATIENCE)
    assert told.exit_code == 1, told.said
    (device,) = told.verdict["devices"]
    assert device["outcome"] == outcome, device
    assert "Traceback" not in told.said


@LONG
async def test_a_device_that_says_everything_it_should_not_ends_in_a_verdict(
    tmp_path: Path,
) -> None:
    """All of the suites, and a run, with every hostile defect at once. A run is of one update,
    which may well succeed beside all that."""
    verified = await verify(tmp_path / "verify", *HOSTILE)
    ran = await on_bench("run", tmp_path / "run", HOSTILE, options=PATIENCE)
    assert verified.exit_code == 1, verified.said
    assert ran.exit_code in (0, 1), ran.said
    assert "Traceback" not in verified.said + ran.said
    assert {"MP170-R6", "MP170-R10"} <= set(verified.broken)
    for folder in ("verify/evidence/tests/bench", "run/evidence"):
        events = (tmp_path / folder / "events.jsonl").read_text()
        for kind in ("malformed", "unsupported", "unexpected"):
            assert f'"kind": "{kind}"' in events, folder
        assert '"reason": "SYNTAX"' in events, folder
