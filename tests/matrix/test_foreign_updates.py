"""A device that is not ours is updated by the bench's hub and DSP, whoever made its stack."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from foreign_rig import NEW, NEWER, OLD, ForeignRig, foreign_rig, make_image

from emulator.zigbee import ota

pytestmark = [pytest.mark.matrix, pytest.mark.real_clock]

QUICK = os.environ.get("HANBENCH_MATRIX") == "quick"
# Each of the two layouts of its callbacks at its ends; 14 is what the others run on.
EZSP_VERSIONS = (19,) if QUICK else (8, 13, 16, 19)


async def update(rig: ForeignRig, folder: Path, before: int = OLD) -> None:
    """From 12.2 to 8.2; everything that a good device does, and nothing held against it."""
    image = rig.images[0]
    await rig.admit()
    await rig.power_on()
    await rig.until(lambda: rig.tunnel_openings)
    assert await rig.read_version() == before
    await rig.update(image)
    await rig.until(lambda: rig.n39)
    assert rig.succeeded == [True]
    assert await rig.read_version() == image.header.file_version
    assert await rig.read_inventory() == image.header.file_version
    assert [one.status for one in rig.sent(ota.UpgradeEndRequest)] == [0]
    assert rig.complaints == []
    assert rig.tap.unreadable == []
    assert (folder / "device" / "image.ota").read_bytes() == image.data


@pytest.mark.parametrize(("personality", "block_octets"), [("ember", 56), ("ti", 32), ("nxp", 48)])
async def test_every_personality_completes_an_update(
    personality: str, block_octets: int, tmp_path: Path
) -> None:
    async with foreign_rig(tmp_path, make_image(4096)) as rig:
        rig.personality = personality
        await update(rig, tmp_path)
    blocks = [one.body for one in rig.tap.heard if isinstance(one.body, ota.ImageBlockResponse)]
    assert {len(one.data) for one in blocks[:-1]} == {block_octets}
    assert (rig.sent(ota.ImageBlockRequest)[0].minimum_block_period is None) is (
        personality != "ti"
    )


@pytest.mark.parametrize("ezsp", EZSP_VERSIONS)
async def test_whatever_its_stick_speaks(ezsp: int, tmp_path: Path) -> None:
    async with foreign_rig(tmp_path, make_image(1024), ezsp=ezsp) as rig:
        await update(rig, tmp_path)


async def test_a_bridge_is_updated_like_a_ppmid(tmp_path: Path) -> None:
    image = make_image(1024, kind="bridge-1")
    async with foreign_rig(tmp_path, image, kind="bridge-1") as rig:
        await update(rig, tmp_path)


async def test_its_stick_may_be_a_terminal(tmp_path: Path) -> None:
    places = "tcp://127.0.0.1:0", "pty://foreign"
    async with foreign_rig(tmp_path, make_image(1024), places=places) as rig:
        assert not rig.radio.startswith("tcp")
        await update(rig, tmp_path)


async def test_two_updates_one_after_the_other(tmp_path: Path) -> None:
    async with foreign_rig(tmp_path, make_image(1024, NEW), make_image(1024, NEWER)) as rig:
        await update(rig, tmp_path)
        await rig.update(rig.images[1])
        await rig.until(lambda: len(rig.n39) == 2)
        assert rig.succeeded == [True, True]
        assert await rig.read_version() == NEWER
        assert await rig.read_inventory() == NEWER
        assert rig.complaints == []


@pytest.mark.parametrize(("personality", "begun"), [("ember", 1), ("ti", 2)])
async def test_ti_begins_again_and_ember_goes_on_after_a_power_cut(
    personality: str, begun: int, tmp_path: Path
) -> None:
    async with foreign_rig(tmp_path, make_image(1024)) as rig:
        rig.personality = personality
        rig.arguments = ("--pace-s", "0.1")
        await rig.admit()
        await rig.power_on()
        await rig.until(lambda: rig.tunnel_openings)
        await rig.update(rig.images[0])
        await rig.until(lambda: len(rig.sent(ota.ImageBlockRequest)) > 5)
        await rig.cut_power()
        await rig.until(lambda: rig.n39)
        assert rig.succeeded == [True]
        offsets = [one.file_offset for one in rig.sent(ota.ImageBlockRequest)]
        assert offsets.count(0) == begun


@pytest.mark.parametrize("percent", [5] if QUICK else [5, 15])
async def test_a_lossy_air_delays_it_and_no_more(percent: int, tmp_path: Path) -> None:
    faults = (f"loss {percent} %",)
    async with foreign_rig(tmp_path, make_image(1024), faults=faults) as rig:
        await update(rig, tmp_path)


async def test_an_alert_that_could_not_be_sent_is_sent_after_the_next_start(
    tmp_path: Path,
) -> None:
    """The power is cut while the new image starts: the alert was on the disk before."""
    async with foreign_rig(tmp_path, make_image(1024)) as rig:
        await rig.admit()
        await rig.power_on()
        await rig.until(lambda: rig.tunnel_openings)
        await rig.update(rig.images[0])
        await rig.until(lambda: f"runs {NEW:08X}" in rig.said)
        assert not rig.alerts
        await rig.cut_power()
        await rig.until(lambda: rig.n39)
        assert rig.succeeded == [True]
        assert await rig.read_version() == NEW
        assert len(rig.alerts) == 1
        assert rig.complaints == []


async def test_power_cuts_all_the_way_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """Before the first block, in the midst, after the last one, and once it runs the new image."""
    async with foreign_rig(tmp_path, make_image(1024)) as rig:
        rig.arguments = ("--pace-s", "0.1")
        await rig.admit()
        await rig.power_on()
        await rig.until(lambda: rig.tunnel_openings)
        await rig.update(rig.images[0])
        for done in (
            lambda: len(rig.sent(ota.QueryNextImageRequest)) > 1,
            lambda: len(rig.sent(ota.ImageBlockRequest)) > 9,
            lambda: rig.sent(ota.UpgradeEndRequest),
            lambda: f"runs {NEW:08X}" in rig.said,
        ):
            await rig.until(done)
            await rig.cut_power()
        await rig.until(lambda: rig.n39)
        assert await rig.read_version() == NEW
        assert rig.succeeded == [True]
        assert len(rig.alerts) == 1
        assert rig.complaints == []
    assert (tmp_path / "device" / "image.ota").read_bytes() == rig.images[0].data
