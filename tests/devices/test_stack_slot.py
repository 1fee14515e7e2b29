"""The hub's one image slot over the air: whoever takes it, and at whatever block, the DSP hears of
the loser once, and nobody runs a mix (MP170-SLOT).

Source: DESIGN, sentence 9; MP170, as in `test_image_slot`, whose kinds and pairs these are. There
the cores meet by hand, here a DSP offers, straight on stacks.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bench_support import HUB_EUI64, OLD, STACK, bench
from test_image_slot import BLOCKS, KINDS, PAIRS, image_for
from wan_rig import Premises, premises

from emulator.devices.device import Device, DeviceUp
from emulator.devices.ota_client import DownloadFailed
from emulator.zigbee.zcl import Status
from firmware_images.image import FirmwareImage
from gbcs.firmware import (
    FIRMWARE_TRANSFER_FAILED,
    FIRMWARE_TRANSFER_SUCCEEDED,
    TransferResult,
)

LOSER = 0x02484E4200000010
WINNER = LOSER + 1
FIRST_VERSION = 0x00010200
BLOCK_OCTETS = 56
PAIR_OF_TWO_SERVICES = ("bridge-1", "gsme")  # one by SR 11.4, one by 11.1


class Told:
    """What the DSP heard of transfers, alert by alert."""

    def __init__(self, there: Premises) -> None:
        self._there = there
        self._seen = 0

    def next(self) -> list[tuple[int, int, TransferResult]]:
        """Of every CCS08 since the last call: the device, the alert code, the result."""
        alerts = self._there.alerts(HUB_EUI64)[self._seen :]
        self._seen += len(alerts)
        return sorted((one.device, one.alert_code, one.result) for one in alerts)


async def device_of(there: Premises, eui64: int, kind: str) -> Device:
    maker, image_type = KINDS[kind]
    return await there.add(eui64, manufacturer_code=maker, image_type=image_type)


def running(there: Premises, eui64: int) -> DeviceUp:
    up: DeviceUp = there.home.told_by(eui64, DeviceUp)[-1]
    return up


async def until_running(there: Premises, eui64: int, image: FirmwareImage) -> None:
    await there.bench.until(lambda: running(there, eui64).sha256 == image.sha256, 7200)


def stored_blocks(device: Device) -> int:
    firmware: Any = device._firmware
    flash = firmware.flash
    return flash.written_bytes // BLOCK_OCTETS if flash.is_filling else -1


async def overwritten(pair: tuple[str, str]) -> None:
    """At every tenth block of the first kind's transfer the second kind's file takes the slot."""
    async with bench(ezsp=STACK) as made:
        there = await premises(made, LOSER, WINNER)
        told = Told(there)
        loser = await device_of(there, LOSER, pair[0])
        await device_of(there, WINNER, pair[1])
        await asyncio.sleep(60)
        for number, served in enumerate(range(0, BLOCKS, 10)):
            first, second = (
                image_for(kind, BLOCKS - at, FIRST_VERSION + number) for at, kind in enumerate(pair)
            )
            failures = len(there.home.told_by(LOSER, DownloadFailed))
            there.offer(first, LOSER)
            while stored_blocks(loser) < served:
                await asyncio.sleep(0.002)
            assert stored_blocks(loser) == served
            there.offer(second, WINNER)
            await until_running(there, WINNER, second)
            await made.until(lambda n=failures: len(there.home.told_by(LOSER, DownloadFailed)) > n)  # type: ignore[misc]
            (failed,) = there.home.told_by(LOSER, DownloadFailed)[failures:]
            assert failed.status in (Status.ABORT, Status.NO_IMAGE_AVAILABLE)
            assert running(there, LOSER).file_version == OLD
            await asyncio.sleep(3600)  # and nobody is told of anything more
            assert told.next() == [
                (LOSER, FIRMWARE_TRANSFER_FAILED, TransferResult.FIRMWARE_IMAGE_DISCARDED),
                (WINNER, FIRMWARE_TRANSFER_SUCCEEDED, TransferResult.FILE_TRANSFER_SUCCESS),
            ]
        # Offered again, the loser loads all of it.
        there.offer(first, LOSER)
        await until_running(there, LOSER, first)


@pytest.mark.requirement("MP170-SLOT", "good", "bad")
async def test_whoever_loses_the_slot_is_told_of_once_and_runs_no_mix() -> None:
    await overwritten(PAIR_OF_TWO_SERVICES)


@pytest.mark.requirement("MP170-SLOT", "good", "bad")
@pytest.mark.matrix
@pytest.mark.parametrize(
    "pair", [pair for pair in PAIRS if pair != PAIR_OF_TWO_SERVICES], ids="-by-".join
)
async def test_whatever_kind_takes_the_slot_from_whatever_other(pair: tuple[str, str]) -> None:
    await overwritten(pair)
