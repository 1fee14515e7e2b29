"""Every fault at many points of a transfer, and every fault of the air with many seeds.

The quick version of R6, R7 and R8 of the reliability sheet: 4 KiB from a hub on zigpy to a device
on bellows. A transfer completes with the right file, or a typed word comes within 60 s.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest
from bench_support import NEW, bench, make_image
from fault_support import EUI64, IMAGE_BYTES, WORD_WITHIN_S, transfer
from reliability_table import SIZE, SIZES, Runs, Sweep

from emulator.devices.device import DeviceLost, DeviceUp
from emulator.devices.hub import HubLost
from hil.bench_file import Bench
from hil.clock import VirtualLoop, run_virtual
from hil.evidence import Evidence
from hil.images import device_images
from hil.live import Live
from hil.scenario import Scenario
from hil.verdict import Verdict
from hil.wiring import quiet_hosts

pytestmark = pytest.mark.matrix

FULL = SIZE in ("full", "soak")
SEED_COUNTS = {"quick": 2, "full": 10, "soak": 10}
# A transfer of 4 KiB has 75 blocks, each a DATA frame of the host and three of its stick.
POINTS = range(1, 61, 2 if FULL else 15)
SEEDS = range(SEED_COUNTS[SIZE])

LINE = (
    "bad CRC",
    "lost response",
    "lost host DATA",
    "lost host ACK",
    "NAK",
    "ERROR frame",
    "unsolicited RSTACK",
    "no answer",
    "invalidCommand",
    "XOFF before a frame",
    "XOFF inside a frame",
    "CANCEL before a frame",
    "repeated FLAGs",
    "SUBSTITUTE inside a frame",
    "garbage before a frame",
    "truncated payload",
    "closed line",
)
OUTAGES = ("dead UART for 3 s", "power cut for 3 s")


@pytest.mark.parametrize("end", ["hub", "device"])
@pytest.mark.parametrize("kind", [*LINE, *OUTAGES])
async def test_a_transfer_completes_or_a_word_comes_wherever_the_fault_strikes(
    kind: str, end: str
) -> None:
    for point in POINTS:
        words = f"{kind} at the {point}th frame"
        async with bench(seed=point) as made:
            # `transfer` fails when nothing was told of within 60 s of the strike.
            home, took_s = await transfer(made, words, end)
            assert took_s <= WORD_WITHIN_S
            for up in home.told_by(EUI64, DeviceUp):
                if up.restarted:
                    assert (up.file_version, up.sha256) == (NEW, make_image(IMAGE_BYTES).sha256)
            lost = home.told(HubLost) + home.told_by(EUI64, DeviceLost)
            assert len(lost) <= 1, words


@pytest.mark.parametrize("percent", [5, 10])
@pytest.mark.parametrize("end", ["hub", "device"])
@pytest.mark.parametrize(
    "kind",
    [
        "bad CRC",
        "lost response",
        "lost host DATA",
        "lost host ACK",
        "NAK",
        "SUBSTITUTE inside a frame",
        "garbage before a frame",
    ],
)
async def test_a_transfer_over_a_bad_line_completes(kind: str, end: str, percent: int) -> None:
    """Unless five of a frame's copies in a row are lost: then ASH gives up, and says so."""
    gave_up = 0
    for seed in SEEDS:
        async with bench(seed=seed) as made:
            home, _ = await transfer(made, f"{kind} {percent} %", end, limit_s=600)
            up = [one for one in home.told_by(EUI64, DeviceUp) if one.restarted]
            if up:
                (running,) = [(one.file_version, one.sha256) for one in up]
                assert running == (NEW, make_image(IMAGE_BYTES).sha256)
            else:
                (lost,) = home.told(HubLost) + home.told_by(EUI64, DeviceLost)
                assert "ERROR_EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT" in lost.reason
                gave_up += 1
    assert gave_up <= (len(SEEDS) // 5 if percent == 10 else 0)


# -- the air -----------------------------------------------------------------------------------

AIR = (
    *(f"loss of acknowledgements {percent} %" for percent in (10, 20, 30, 40)),
    *(f"bursty loss {percent} % of 20 frames" for percent in (10, 20, 30)),
    *(f"loss {percent} % from hub to bridge-1" for percent in (10, 20, 30, 40)),
    *(f"loss {percent} % from bridge-1 to hub" for percent in (10, 20, 30, 40)),
    *(f"damage {percent} %" for percent in (10, 20, 30, 40)),
    *(f"duplicate {percent} %" for percent in (20, 100)),
    *(f"duplicate 50 % by {by} ms" for by in (100, 250, 1000, 30_000)),
    *(f"delay {percent} % by {by} ms" for percent in (5, 20) for by in (2, 20, 200, 3000, 30_000)),
    *(f"interference from {start} s for 5 s" for start in (0.1, 1, 1.5, 2)),
    *(f"radio off on bridge-1 from {start} s for 5 s" for start in (1, 1.5, 2)),
    *(f"radio off on hub from {start} s for 5 s" for start in (1, 1.5, 2)),
)


def reliability() -> tuple[Sweep, ...]:
    late = [words for words in AIR if words.startswith(("duplicate", "delay"))]
    sweeps = []
    for row, words, what in (
        ("R7", [one for one in AIR if one not in late], "frames lost in bursts, one way, damaged"),
        ("R8", late, "frames heard twice or late, by up to 30 s"),
    ):
        runs = [0, *(SEED_COUNTS[size] * len(words) for size in SIZES[1:])]
        text = f"{what}: {len(words)} kinds, 4 KiB, through sticks"
        sweeps.append(Sweep(row, text, Runs(*runs), "activated, hash equal"))
    return tuple(sweeps)


def run(words: str, seed: int, folder: Path) -> tuple[Verdict, str]:
    """The verdict of one run, and the hash its device should have."""
    quiet_hosts()
    device = {"id": "bridge-1", "kind": "bridge-1", "image_size_bytes": IMAGE_BYTES}
    made = Bench.model_validate({"seed": seed, "device": [device], "faults": [words]})
    images = device_images(made)

    async def on_loop() -> Verdict:
        clock = cast(VirtualLoop, asyncio.get_running_loop())
        scenario = Scenario(made, images, clock, evidence, live)
        await scenario.run()
        verdict = scenario.verdict(wall_s=0.0)
        scenario.end(verdict.verdict, wall_s=0.0)
        return verdict

    live = Live("virtual", silent=True)
    with Evidence(folder, epoch=made.epoch) as evidence, live:
        return run_virtual(on_loop), images["bridge-1"].image.sha256


@pytest.mark.parametrize("words", AIR)
def test_an_update_over_a_faulty_air_arrives_whole(words: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        verdict, sha256 = run(words, seed, tmp_path / f"evidence-{seed}")
        (device,) = verdict.devices
        assert (device.outcome, device.sha256) == ("activated", sha256), f"seed {seed}"
        assert verdict.verdict == "pass", f"seed {seed}"
