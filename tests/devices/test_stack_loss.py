"""However an air loses frames, a thousand blocks arrive whole; of one that loses nearly all, the
DSP is told once that it did not work.

Source: performance-and-reliability sheet, R7. The losses hold from the first frame of the run, so
joining and tunnels go through them too. Straight on stacks; a part through sticks and their hosts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from bench_support import (
    HUB_EUI64,
    NEW,
    OLD,
    STACK,
    bench,
    house,
    make_image,
)
from reliability_table import SIZE, SIZES, Runs, Sweep
from wan_rig import premises

from emulator.devices.device import DeviceUp
from emulator.devices.ota_server import QuerySeen, ResponseCode, TransferOutcome
from emulator.medium.faults import AckLoss, AirFault, BurstLoss, Loss
from gbcs.firmware import FIRMWARE_TRANSFER_FAILED, FirmwareTransfer, TransferResult

SEED_COUNTS = {"quick": 2, "full": 50, "soak": 500}
STICK_SEED_COUNTS = {"quick": 1, "full": 2, "soak": 2}
SEEDS, STICK_SEEDS = SEED_COUNTS[SIZE], STICK_SEED_COUNTS[SIZE]
EUI64 = 0x02484E4200000010
DEVICE = f"device-{EUI64:X}"
BLOCKS = 1000
IMAGE_BYTES = BLOCKS * 56
DAY_S = 24 * 3600.0

LOSSES: dict[str, Callable[[float], AirFault]] = {
    "frames": Loss,
    "acknowledgements": AckLoss,
    "bursts": BurstLoss,
    "to the device": lambda chance: Loss(chance, listener=DEVICE),
    "to the hub": lambda chance: Loss(chance, listener="hub"),
}
# Of no loss there is one kind.
CASES = [("frames", 0), *((kind, percent) for kind in LOSSES for percent in (5, 10, 20, 30, 40))]


PERCENTS = (0, 5, 10, 20, 30, 40)  # through sticks
DEAD_SEEDS = 2  # of an air of which nothing at all is heard


def reliability() -> tuple[Sweep, ...]:
    sizes = SIZES[1:]
    what = f"{min(PERCENTS)} to {max(PERCENTS)} % lost, {', '.join(LOSSES)}: {BLOCKS} blocks"
    whole = "the image arrives whole, one success"
    return (
        Sweep(
            "R7",
            f"{what}, straight on stacks",
            Runs(len(LOSSES), *(SEED_COUNTS[size] * len(CASES) for size in sizes)),
            whole,
        ),
        Sweep(
            "R7",
            f"{what}, through sticks and their hosts",
            Runs(0, *(STICK_SEED_COUNTS[size] * len(LOSSES) * len(PERCENTS) for size in sizes)),
            whole,
        ),
        Sweep(
            "R7",
            "95 or 100 % lost from the hundredth block on",
            Runs(1, *(SEED_COUNTS[size] + DEAD_SEEDS for size in sizes)),
            "one CCS08 with result 3, and nobody spins",
        ),
    )


async def update(kind: str, percent: int, seed: int, ezsp: Any) -> None:
    losses = (LOSSES[kind](percent / 100),) if percent else ()
    async with bench(ezsp=ezsp, seed=seed, losses=losses) as made:
        home = await house(made)
        await home.add(EUI64)
        await made.until(lambda: home.told(QuerySeen), DAY_S)
        image = make_image(IMAGE_BYTES)
        home.hub.update(image, [EUI64])
        await made.until(lambda: len(home.told_by(EUI64, DeviceUp)) > 1, DAY_S)
        before, after = home.told_by(EUI64, DeviceUp)
        assert (before.file_version, after.file_version) == (OLD, NEW)
        assert after.sha256 == image.sha256
        # The device's next query, if nothing before, tells the hub that it worked.
        await made.until(lambda: home.told(TransferOutcome), DAY_S)
        await asyncio.sleep(3600)
        (outcome,) = home.told(TransferOutcome)
        assert outcome.response_code is ResponseCode.SUCCESS


@pytest.mark.parametrize("kind", LOSSES)
async def test_a_thousand_blocks_arrive_whole_although_two_of_five_frames_do_not(
    kind: str,
) -> None:
    await update(kind, 40, 0, STACK)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize(("kind", "percent"), CASES)
async def test_a_lossy_air_delays_an_update_and_never_falsifies_it(
    kind: str, percent: int, seed: int
) -> None:
    await update(kind, percent, seed, STACK)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(STICK_SEEDS))
@pytest.mark.parametrize("percent", PERCENTS)
@pytest.mark.parametrize("kind", LOSSES)
async def test_and_no_more_through_sticks_and_their_hosts(
    kind: str, percent: int, seed: int
) -> None:
    await update(kind, percent, seed, 14)


# -- a dead air ----------------------------------------------------------------------------------

FRAMES_PER_S = 400  # what a transfer at full speed has; more than that is no transfer
EVENTS_PER_S = 1.0


async def dying_update(percent: int, seed: int, ezsp: Any = STACK) -> None:
    """Nearly nothing is heard any more from the hundredth block on."""
    async with bench(ezsp=ezsp, seed=seed) as made:
        there = await premises(made, EUI64)
        device = await there.add(EUI64)
        home = there.home
        there.offer(make_image(IMAGE_BYTES), EUI64)
        await made.until(lambda: _written_bytes(device) >= IMAGE_BYTES // 10)
        made.medium.set_faults((Loss(percent / 100),))
        began_s = made.loop.time()
        events = len(home.hub_events) + len(home.device_events[EUI64])
        while not there.alerts(HUB_EUI64):
            frames = len(made.frames)
            await asyncio.sleep(60)
            assert len(made.frames) - frames < 60 * FRAMES_PER_S, "somebody spins"
            assert made.loop.time() - began_s < 7 * DAY_S, "nobody gives up"
        await asyncio.sleep(7200)  # nothing comes after that
        events = len(home.hub_events) + len(home.device_events[EUI64]) - events
        assert events < EVENTS_PER_S * (made.loop.time() - began_s), "somebody spins"
        (alert,) = there.alerts(HUB_EUI64)
        assert isinstance(alert, FirmwareTransfer)
        assert (alert.alert_code, alert.device, alert.result) == (
            FIRMWARE_TRANSFER_FAILED,
            EUI64,
            TransferResult.FILE_TRANSFER_FAILURE,
        )
        (outcome,) = home.told(TransferOutcome)
        assert outcome.response_code is ResponseCode.FILE_TRANSFER_FAILURE
        assert [up.file_version for up in home.told_by(EUI64, DeviceUp)] == [OLD]


def _written_bytes(device: Any) -> int:
    return int(device._firmware.flash.written_bytes)


async def test_a_transfer_over_a_dead_air_ends_with_one_alert_and_nobody_spins() -> None:
    await dying_update(95, 0)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("percent", "seed"),
    [*((95, seed) for seed in range(SEEDS)), *((100, seed) for seed in range(DEAD_SEEDS))],
)
async def test_whenever_the_air_dies_there_is_one_alert_and_nobody_spins(
    percent: int, seed: int
) -> None:
    await dying_update(percent, seed)
