"""Requests about inventory and device log, from signed XML to frames on the air and back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from run_support import BRIDGE, NEW, OLD, PPMID, bench, session

from dsp_stub.han_requests import JoinServiceNonCritical
from dsp_stub.inventory_requests import (
    DecommissionDevice,
    DeviceDetails,
    NewDeviceStatus,
    UpdateInventory,
)
from dsp_stub.requests import DevicePrenotification, UpdateHanDeviceLog
from emulator.devices.device import DeviceLeft
from gbcs.device_log import RemoveDeviceResult
from hil.session import Session, is_settled, payload_of
from hil.track import Track

LIMIT_S = 7200.0


async def let_in(home: Session, track: Track) -> None:
    """12.2 and 8.11, and the device is there with its tunnel."""
    await home.switch_on(track)
    assert (await home.prenotify(track)).code == "I99"
    await added(home, track)
    home.let_join(track)
    assert await home.until(lambda: track.tunnel_up, LIMIT_S)


async def added(home: Session, track: Track) -> None:
    answer, is_in = await home.add_to_log(track)
    assert (answer.code, is_in) == ("I99", True)


async def struck_off(home: Session, track: Track) -> None:
    """8.11 Remove, and the hub's answer."""
    body = UpdateHanDeviceLog(track.eui64, "Remove")
    answer = await home.ask("8.11", body, target=home.wiring.hub.node.eui64)
    assert answer.code == "I99"
    response, _ = await home.response(answer.request_id)
    assert response is not None
    payload = payload_of(response)
    assert isinstance(payload, RemoveDeviceResult)
    assert payload.unregister_device == 0


async def updated(home: Session, track: Track) -> None:
    """11.4, and everything up to the read-back tells the new version."""
    answer = await home.ask_update(track.image.image, (track.eui64,))
    assert answer.code == "I99"
    assert await home.progress_until(lambda: is_settled(track), [track])
    assert track.upgrade is not None
    assert track.upgrade.succeeded
    await home.read_back(track)
    assert track.read_back is not None
    assert track.read_back.version == track.smi_version == NEW
    assert track.read_back.equals_smi


@pytest.mark.requirement("MP170-R5", "good")
async def test_a_device_struck_off_is_gone_from_the_air_and_updatable_once_it_is_back(
    tmp_path: Path,
) -> None:
    async with session(bench(BRIDGE), tmp_path) as home:
        track = home.tracks["bridge-1"]
        await let_in(home, track)
        left: list[object] = []
        device = home.wiring.devices["bridge-1"]
        tell = device._on_event
        device._on_event = lambda event: (left.append(event), tell(event))  # type: ignore[assignment]
        await struck_off(home, track)
        assert await home.until(lambda: any(isinstance(e, DeviceLeft) for e in left), 60)
        code = (await home.ask_update(track.image.image, (track.eui64,))).code
        assert code == "E110403", "a device on no hub takes no firmware"
        row = await home.read_inventory(track)
        assert row is not None
        assert row.device_firmware_version == OLD
        # Struck off before it was installed, it is announced anew.
        if row.device_status != "Pending":
            change = UpdateInventory(track.eui64, NewDeviceStatus("Pending"))
            assert (await home.ask("8.4", change)).code == "I99"
        track.tunnel_up = False
        await added(home, track)
        assert await home.until(lambda: track.tunnel_up, LIMIT_S)
        await updated(home, track)


@pytest.mark.requirement("MP170-EARLY", "good", "bad")
async def test_a_bridge_labelled_a_ppmid_is_corrected_while_it_is_on_the_air(
    tmp_path: Path,
) -> None:
    async with session(bench(BRIDGE), tmp_path) as home:
        track = home.tracks["bridge-1"]
        await let_in(home, track)
        wrong = DeviceDetails(ppmid_variant="AltHAN Bridge 2")
        refused = await home.ask("8.4", UpdateInventory(track.eui64, wrong))
        assert refused.code == "E080407", "it is Whitelisted"
        back = UpdateInventory(track.eui64, NewDeviceStatus("Pending"))
        assert (await home.ask("8.4", back)).code == "I99"
        assert (await home.ask("8.4", UpdateInventory(track.eui64, wrong))).code == "I99"
        await added(home, track)  # the hub has it in its log, and keeps its key
        row = await home.read_inventory(track)
        assert row is not None
        assert (row.ppmid_variant, row.device_status) == ("AltHAN Bridge 2", "Whitelisted")
        await updated(home, track)
        assert track.smi_variant == "AltHAN Bridge 2"


@pytest.mark.requirement("MP170-REUSE", "good", "bad")
async def test_a_device_is_reused_with_another_variant_and_updated_in_its_new_life(
    tmp_path: Path,
) -> None:
    async with session(bench(BRIDGE), tmp_path) as home:
        track = home.tracks["bridge-1"]
        await let_in(home, track)
        assert (await home.prenotify(track)).code == "E120201", "it is in use"
        assert (await home.ask("8.3", DecommissionDevice(track.eui64))).code == "I99"
        code = (await home.ask_update(track.image.image, (track.eui64,))).code
        assert code == "E110403", "a decommissioned device takes no firmware"
        assert (await home.prenotify(track)).code == "I99"
        await added(home, track)
        await updated(home, track)


@pytest.mark.requirement("MP170-JOIN", "bad")
async def test_a_bridge_is_refused_a_join_and_nothing_of_it_is_on_the_air(tmp_path: Path) -> None:
    async with session(bench(PPMID, BRIDGE), tmp_path) as home:
        ppmid, bridge = home.tracks["ppmid"], home.tracks["bridge-1"]
        await let_in(home, ppmid)
        await let_in(home, bridge)
        before = len(list((tmp_path / "wan").iterdir()))
        join = await home.ask("8.7.2", JoinServiceNonCritical(ppmid.eui64), target=bridge.eui64)
        assert join.code == "E080721"
        assert len(list((tmp_path / "wan").iterdir())) == before


@pytest.mark.requirement("MP170-SR122", "bad")
async def test_a_device_that_was_refused_at_12_2_is_not_let_in(tmp_path: Path) -> None:
    async with session(bench(BRIDGE), tmp_path) as home:
        track = home.tracks["bridge-1"]
        await home.switch_on(track)
        body = DevicePrenotification(
            device_id=track.eui64,
            manufacturer="A17A",
            model="0A010101",
            device_type="PPMID",
            smets_chts_version="PPMIDTS V4.4",
            firmware_version=OLD,
        )
        assert (await home.ask("12.2", body)).code == "E120204"
        answer, is_in = await home.add_to_log(track)
        assert (answer.code, is_in) == ("E081101", False)
        home.let_join(track)
        await asyncio.sleep(120)
        assert not track.joined
        assert len(home.wiring.hub.device_log) == 0
