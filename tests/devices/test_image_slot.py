"""One image block for all: whatever takes it, and whenever, nobody gets a mix (MP170-SLOT).

Source: MP170: bridges and PPMIDs (11.4) share the hub's block with GSME and HCALCS (11.1), equal
priority, the newer overwrites. Every ordered pair of kinds, at every tenth block of the transfer.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from ota_rig import DEVICE, IDENTITY, NEW, OTHER, make_image
from reliability_table import Runs, Sweep
from test_ota_pair import Home

from emulator.devices.flash import Slot
from emulator.devices.ota_client import DownloadFailed, OtaClientIdentity
from emulator.devices.ota_server import ResponseCode
from emulator.zigbee.zcl import Status
from firmware_images.image import FirmwareImage

# Manufacturer and image type; those of meters and switches are not public.
KINDS = {
    "ppmid": (0x121D, 0x0084),
    "bridge-1": (0xA17A, 0x0A01),
    "bridge-4": (0xA17A, 0x0A04),
    "gsme": (0x121D, 0x0010),
    "hcalcs": (0x121D, 0x0020),
}
PAIRS = list(itertools.permutations(KINDS, 2))
BLOCKS = 61


def reliability() -> tuple[Sweep, ...]:
    phases = len(range(0, BLOCKS, 10))
    return (
        Sweep(
            "R9",
            f"the one image slot overwritten at every tenth block, {len(PAIRS)} pairs of kinds",
            Runs(*[len(PAIRS) * phases] * 4),
            "the loser discarded once, each gets its own image whole",
        ),
        Sweep(
            "R9",
            f"a newer image of the same kind at every tenth block, {len(KINDS)} kinds",
            Runs(*[len(KINDS) * phases] * 4),
            "the older discarded once, the newer runs",
        ),
    )


def image_for(kind: str, blocks: int, version: int = NEW) -> FirmwareImage:
    maker, image_type = KINDS[kind]
    size_bytes = blocks * 56 - 3
    return make_image(size_bytes, version=version, manufacturer_code=maker, image_type=image_type)


def who(kind: str) -> OtaClientIdentity:
    maker, image_type = KINDS[kind]
    return replace(IDENTITY, manufacturer_code=maker, image_type=image_type)


@pytest.mark.requirement("MP170-SLOT", "good", "bad")
@pytest.mark.parametrize("pair", PAIRS, ids="-by-".join)
def test_whoever_loses_the_slot_is_stopped_told_of_once_and_never_gets_a_mix(
    pair: tuple[str, str],
) -> None:
    first, second = (image_for(kind, BLOCKS - at) for at, kind in enumerate(pair))
    for served in range(0, BLOCKS, 10):
        home = Home()
        loser, winner = home.add(DEVICE, who(pair[0])), home.add(OTHER, who(pair[1]))
        home.offer(first, DEVICE)
        home.run_until(lambda: len(loser.offsets) > served)  # noqa: B023
        home.offer(second, OTHER)
        home.run_until(lambda: winner.flash.running.file_version == NEW)  # noqa: B023
        home.run_until(lambda: len(home.outcomes) == 2)  # noqa: B023
        assert winner.flash.read(Slot.RUNNING) == second.data
        outcomes = [(one.eui64, one.response_code) for one in home.outcomes]
        assert outcomes == [
            (DEVICE, ResponseCode.IMAGE_DISCARDED),
            (OTHER, ResponseCode.SUCCESS),
        ]
        (failed,) = [event for event in loser.events if isinstance(event, DownloadFailed)]
        assert failed.status in (Status.ABORT, Status.NO_IMAGE_AVAILABLE)
        assert not loser.flash.is_filling
        # and offered again it loads all of it
        home.offer(first, DEVICE)
        home.run_until(lambda: loser.flash.running.file_version == NEW)  # noqa: B023
        assert loser.flash.read(Slot.RUNNING) == first.data


@pytest.mark.requirement("MP170-SLOT", "good", "bad")
@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_image_of_the_same_kind_takes_the_slot_from_the_older(kind: str) -> None:
    older, newer = image_for(kind, BLOCKS), image_for(kind, BLOCKS - 1, NEW + 1)
    for served in range(0, BLOCKS, 10):
        home = Home()
        device = home.add(DEVICE, who(kind))
        home.offer(older)
        home.run_until(lambda: len(device.offsets) > served)  # noqa: B023
        home.offer(newer)
        home.run_until_seen(NEW + 1)
        assert device.flash.read(Slot.RUNNING) == newer.data
        assert [one.response_code for one in home.outcomes] == [
            ResponseCode.IMAGE_DISCARDED,
            ResponseCode.SUCCESS,
        ]
