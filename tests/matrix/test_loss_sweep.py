"""A lossy air delays an update and never falsifies it; a dead one ends it with a word.

A 4 KiB image goes from a hub on zigpy to a bridge on bellows, every frame lost with the chance
named, at each listener by itself.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import process_time
from typing import Any, cast

import pytest
from reliability_table import SIZE, SIZES, Runs, Sweep

from hil.bench_file import Bench
from hil.clock import VirtualLoop, run_virtual
from hil.evidence import Evidence
from hil.images import device_images
from hil.live import Live
from hil.scenario import Scenario
from hil.verdict import Verdict
from hil.wiring import quiet_hosts

SEED_COUNTS = {"quick": 12, "full": 50, "soak": 50}
SEEDS = range(SEED_COUNTS[SIZE])
FEW = 5  # of them for an air that is dead
DIES_AT_PERCENT = (5, 50, 95)
LOSSES_PERCENT = (0, 10, 20, 30, 40)
IMAGE_BYTES = 4096
DEAD_RUN_S = 30.0  # of processor time: a run that spins takes all there is


def reliability() -> tuple[Sweep, ...]:
    percents = ", ".join(map(str, LOSSES_PERCENT))
    runs = [0, *(SEED_COUNTS[size] * len(LOSSES_PERCENT) for size in SIZES[1:])]
    dead = [0, *[FEW * (1 + len(DIES_AT_PERCENT))] * 3]
    return (
        Sweep(
            "R7",
            f"{percents} % of all frames lost, from 12.2 to the read-back, 4 KiB, through sticks",
            Runs(*runs),
            "activated, hash equal",
        ),
        Sweep(
            "R7",
            f"nothing heard from the start, or from {', '.join(map(str, DIES_AT_PERCENT))} % of "
            "the file on",
            Runs(*dead),
            "not attempted, timed out or failed, and nobody spins",
        ),
    )


def bench_of(seed: int, loss_percent: int) -> Bench:
    device = {"id": "bridge-1", "kind": "bridge-1", "image_size_bytes": IMAGE_BYTES}
    return Bench.model_validate(
        {
            "seed": seed,
            "device": [device],
            "faults": [f"loss {loss_percent} %"] if loss_percent else [],
        }
    )


def run(bench: Bench, folder: Path, *, die_at_percent: int | None = None) -> Verdict:
    """One run; with `die_at_percent` nothing is heard any more from there on."""
    quiet_hosts()
    images = device_images(bench)

    async def on_loop() -> Verdict:
        clock = cast(VirtualLoop, asyncio.get_running_loop())
        scenario = Scenario(bench, images, clock, evidence, live)
        if die_at_percent is not None:
            asyncio.get_running_loop().create_task(_die(scenario, die_at_percent), name="death")
        await scenario.run()
        verdict = scenario.verdict(wall_s=0.0)
        scenario.end(verdict.verdict, wall_s=0.0)
        return verdict

    live = Live("virtual", silent=True)
    with Evidence(folder, epoch=bench.epoch) as evidence, live:
        return run_virtual(on_loop)


async def _die(scenario: Scenario, percent: int) -> None:
    air = scenario.wiring.air
    assert air is not None
    [track] = scenario.tracks.values()
    while track.offset_bytes * 100 < percent * IMAGE_BYTES:
        await asyncio.sleep(0.05)
    for name in ("hub", "bridge-1"):
        air.medium.separate(name, "bridge-1" if name == "hub" else "hub")


def events_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.matrix
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss_percent", LOSSES_PERCENT)
def test_an_update_over_a_lossy_air_arrives_whole(
    loss_percent: int, seed: int, tmp_path: Path
) -> None:
    bench = bench_of(seed, loss_percent)
    verdict = run(bench, tmp_path / "evidence")
    [device] = verdict.devices
    wrong = [event for event in events_of(tmp_path / "evidence") if event["type"] == "anomaly"]
    assert device.outcome == "activated", wrong
    assert device.version_after == "00010200"
    # `activated` is given only when the SHA-256 of what runs is that of the file.
    assert device.sha256 == device_images(bench)["bridge-1"].image.sha256
    assert device.bytes == IMAGE_BYTES
    # Alerts and the read-back go through a tunnel over the same air.
    assert [alert.dcc_alert for alert in device.alerts if alert.verified][-1:] == ["N39"]
    assert device.read_back is not None
    assert device.read_back.equals_smi
    assert verdict.verdict == "pass", [
        row.id for row in verdict.requirements if row.verdict == "fail"
    ]


@pytest.mark.matrix
@pytest.mark.parametrize("seed", SEEDS[:FEW])
def test_a_device_that_hears_nothing_is_not_attempted_and_nobody_spins(
    seed: int, tmp_path: Path
) -> None:
    began_s = process_time()
    verdict = run(bench_of(seed, 100), tmp_path / "evidence")
    [device] = verdict.devices
    assert (verdict.verdict, device.outcome) == ("fail", "not-attempted")
    assert verdict.virtual_s < 3600
    assert process_time() - began_s < DEAD_RUN_S


@pytest.mark.matrix
@pytest.mark.parametrize("seed", SEEDS[:FEW])
@pytest.mark.parametrize("percent", DIES_AT_PERCENT)
def test_a_transfer_that_dies_under_way_ends_with_a_word_and_nobody_spins(
    percent: int, seed: int, tmp_path: Path
) -> None:
    began_s = process_time()
    verdict = run(bench_of(seed, 0), tmp_path / "evidence", die_at_percent=percent)
    [device] = verdict.devices
    assert verdict.verdict == "fail"
    assert device.outcome in ("timed-out", "transfer-failed")
    assert verdict.virtual_s < 2 * 24 * 3600
    assert process_time() - began_s < DEAD_RUN_S
