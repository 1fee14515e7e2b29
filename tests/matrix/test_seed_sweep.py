"""Whatever the seed, three devices are updated; and the same seed is the same run to the octet."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import cast

import pytest

from hil.bench_file import Bench
from hil.clock import VirtualLoop, run_virtual
from hil.evidence import Evidence
from hil.images import device_images
from hil.live import Live
from hil.scenario import Scenario
from hil.verdict import Verdict
from hil.wiring import quiet_hosts

SEEDS = range(400 if os.environ.get("HANBENCH_MATRIX") == "full" else 30)
KINDS = ("ppmid", "bridge-1", "bridge-2")
IMAGE_BYTES = 2048


def run(seed: int, folder: Path) -> Verdict:
    bench = Bench.model_validate(
        {
            "seed": seed,
            "device": [
                {"id": kind, "kind": kind, "image_size_bytes": IMAGE_BYTES} for kind in KINDS
            ],
        }
    )
    quiet_hosts()
    images = device_images(bench)

    async def on_loop() -> Verdict:
        clock = cast(VirtualLoop, asyncio.get_running_loop())
        scenario = Scenario(bench, images, clock, evidence, live)
        await scenario.run()
        return scenario.verdict(wall_s=0.0)

    with Evidence(folder, epoch=bench.epoch) as evidence, Live("virtual", silent=True) as live:
        return run_virtual(on_loop)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", SEEDS)
def test_any_seed_passes_and_repeats_to_the_octet(seed: int, tmp_path: Path) -> None:
    one, other = run(seed, tmp_path / "one"), run(seed, tmp_path / "other")
    failed = [check for check in one.checks if check.verdict == "fail"]
    outcomes = {device.device_id: device.outcome for device in one.devices}
    assert outcomes == dict.fromkeys(KINDS, "activated"), failed
    assert one.verdict == "pass", failed
    assert one.trace_hash is not None
    assert one.trace_hash == other.trace_hash
    assert one.virtual_s == other.virtual_s
    files, others = evidence(tmp_path / "one"), evidence(tmp_path / "other")
    assert list(files) == list(others)
    assert [name for name in files if files[name] != others[name]] == []


def evidence(folder: Path) -> dict[str, bytes]:
    """Every file of a run that was not closed: none says how long it took."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.matrix
def test_different_seeds_are_different_runs(tmp_path: Path) -> None:
    hashes = {run(seed, tmp_path / str(seed)).trace_hash for seed in range(3)}
    assert len(hashes) == 3
