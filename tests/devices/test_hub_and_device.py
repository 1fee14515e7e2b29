"""A hub and its devices on emulated sticks: whole updates, and what happens when they go wrong."""

from __future__ import annotations

import asyncio
import gc

import bench_support
import pytest
from bench_support import HUB_EUI64, NEW, OLD, House, bench, house, make_image, of_kind

from emulator.devices import models, tunnel
from emulator.devices.device import DeviceLeft, DeviceLost, DeviceUp
from emulator.devices.hub import DeviceJoined, DeviceTunnel, HubLost
from emulator.devices.image_store import ImageStoreError
from emulator.devices.node import Frame
from emulator.devices.ota_personalities import PERSONALITIES
from emulator.devices.ota_server import (
    OtaServerParameters,
    QuerySeen,
    ResponseCode,
    TransferOutcome,
)
from emulator.medium.air import Loss

EUI64 = 0x02484E4200000010
SECOND = EUI64 + 1
KIB_4 = 4096
versions = pytest.mark.parametrize("ezsp", [13, 14])


def tunnels_up(home: House, eui64: int) -> list[tunnel.TunnelUp]:
    told = [one.output for one in home.told(DeviceTunnel) if one.eui64 == eui64]
    return of_kind(told, tunnel.TunnelUp)


def messages_at_hub(home: House, eui64: int) -> list[bytes]:
    told = [one.output for one in home.told(DeviceTunnel) if one.eui64 == eui64]
    return [one.data for one in of_kind(told, tunnel.MessageReceived)]


async def ready(home: House, *devices: int) -> None:
    await home.bench.until(lambda: all(tunnels_up(home, eui64) for eui64 in devices), 1800)
    await home.bench.until(
        lambda: {one.eui64 for one in home.told(QuerySeen)} >= set(devices), limit_s=1800
    )


async def updated(home: House, eui64: int) -> DeviceUp:
    """The device as it is after its restart, when the hub knows it too."""
    await home.bench.until(
        lambda: any(
            one.eui64 == eui64 and one.current_version == NEW for one in home.told(QuerySeen)
        ),
        limit_s=7200,
    )
    up = [one for one in home.told_by(eui64, DeviceUp) if one.restarted]
    assert len(up) == 1
    first: DeviceUp = up[0]
    return first


@versions
@pytest.mark.parametrize("loss", [0.0, 0.2])
async def test_a_device_runs_the_file_that_was_sent_and_only_after_a_restart(
    ezsp: int, loss: float
) -> None:
    async with bench(ezsp=ezsp, losses=(Loss(loss),) if loss else ()) as made:
        home = await house(made)
        await home.add(EUI64)
        await ready(home, EUI64)
        (before,) = home.told_by(EUI64, DeviceUp)
        assert (before.file_version, before.restarted) == (OLD, False)
        image = make_image(KIB_4)
        home.hub.update(image, [EUI64])
        up = await updated(home, EUI64)
        assert (up.file_version, up.sha256) == (NEW, image.sha256)
        (outcome,) = home.told(TransferOutcome)
        assert (outcome.eui64, outcome.response_code) == (EUI64, ResponseCode.SUCCESS)
        blocks = [
            one
            for one in made.opened()
            if one.frame.cluster == models.OTA_UPGRADE and not one.is_acknowledgement
        ]
        assert blocks
        assert all(one.frame.control & 0x20 for one in blocks)  # APS security
        assert home.told(HubLost) == []


@versions
async def test_two_devices_are_offered_one_file_and_each_gets_all_of_it(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        home = await house(made)
        await home.add(EUI64)
        await home.add(SECOND)
        await ready(home, EUI64, SECOND)
        image = make_image(KIB_4)
        home.hub.update(image, [EUI64, SECOND])
        for eui64 in (EUI64, SECOND):
            assert (await updated(home, eui64)).sha256 == image.sha256
        outcomes = home.told(TransferOutcome)
        assert {one.eui64 for one in outcomes} == {EUI64, SECOND}
        assert {one.response_code for one in outcomes} == {ResponseCode.SUCCESS}


@pytest.mark.parametrize(
    ("make", "server"),
    [
        ("ember", OtaServerParameters()),
        ("ember-pages", OtaServerParameters(serve_pages=True)),
        ("ember-pages", OtaServerParameters()),
        ("ti", OtaServerParameters(minimum_block_period_ms=200, block_period_unit="discover")),
        ("nxp", OtaServerParameters(minimum_block_period_ms=1000, block_period_unit="discover")),
        ("telink", OtaServerParameters(upgrade_time_s=30)),
        ("sleepy", OtaServerParameters(max_transfers=1)),
    ],
)
async def test_every_make_of_client_updates_through_real_hosts(
    make: str, server: OtaServerParameters
) -> None:
    async with bench() as made:
        home = await house(made, parameters=server)
        await home.add(EUI64, parameters=PERSONALITIES[make])
        await ready(home, EUI64)
        image = make_image(KIB_4)
        home.hub.update(image, [EUI64])
        assert (await updated(home, EUI64)).sha256 == image.sha256
        (outcome,) = home.told(TransferOutcome)
        assert outcome.response_code is ResponseCode.SUCCESS


async def test_a_displaced_image_is_discarded_and_the_device_keeps_what_it_runs() -> None:
    async with bench() as made:
        home = await house(made)
        device = await home.add(EUI64)
        await home.add(SECOND)
        await ready(home, EUI64, SECOND)
        home.hub.update(make_image(KIB_4 * 4), [EUI64])
        await asyncio.sleep(3)  # some blocks
        assert home.told(TransferOutcome) == []
        home.hub.update(make_image(KIB_4, salt=1), [SECOND])
        await made.until(lambda: home.told(TransferOutcome), limit_s=7200)
        (outcome,) = [one for one in home.told(TransferOutcome) if one.eui64 == EUI64]
        assert outcome.response_code is ResponseCode.IMAGE_DISCARDED
        await asyncio.sleep(3600)
        assert [one.restarted for one in home.told_by(EUI64, DeviceUp)] == [False]
        assert device._firmware is not None
        assert device._firmware.flash.running.file_version == OLD
        # and it takes the file when it is offered again
        image = make_image(KIB_4 * 4)
        home.hub.update(image, [EUI64])
        assert (await updated(home, EUI64)).sha256 == image.sha256


async def test_an_image_over_the_limit_is_refused_and_nothing_is_offered() -> None:
    async with bench() as made:
        home = await house(made, limit=KIB_4)
        await home.add(EUI64)
        await ready(home, EUI64)
        with pytest.raises(ImageStoreError, match="the limit is 4096"):
            home.hub.update(make_image(KIB_4 + 1), [EUI64])
        await asyncio.sleep(1000)
        assert home.told(TransferOutcome) == []
        image = make_image(KIB_4)
        home.hub.update(image, [EUI64])
        assert (await updated(home, EUI64)).sha256 == image.sha256


async def test_a_file_the_maker_did_not_sign_is_not_activated() -> None:
    async with bench() as made:
        home = await house(made)
        await home.add(EUI64, verify=lambda _flash: "not the maker's")
        await ready(home, EUI64)
        home.hub.update(make_image(KIB_4), [EUI64])
        await made.until(lambda: home.told(TransferOutcome), limit_s=7200)
        (outcome,) = home.told(TransferOutcome)
        assert outcome.response_code is not ResponseCode.SUCCESS
        await asyncio.sleep(600)
        assert [one.restarted for one in home.told_by(EUI64, DeviceUp)] == [False]


@versions
async def test_a_tunnel_is_there_again_after_the_restart(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        home = await house(made)
        device = await home.add(EUI64)
        await ready(home, EUI64)
        assert len(tunnels_up(home, EUI64)) == 1
        home.hub.send_through_tunnel(EUI64, b"to device")
        await made.until(lambda: home.told_by(EUI64, tunnel.MessageReceived))
        device.send_through_tunnel(b"c" * 1500)
        await made.until(lambda: messages_at_hub(home, EUI64) == [b"c" * 1500])
        home.hub.update(make_image(KIB_4), [EUI64])
        await updated(home, EUI64)
        await made.until(lambda: len(tunnels_up(home, EUI64)) == 2)
        home.hub.send_through_tunnel(EUI64, b"again")
        device.send_through_tunnel(b"and back")
        await made.until(lambda: messages_at_hub(home, EUI64)[1:] == [b"and back"])
        received = [one.data for one in home.told_by(EUI64, tunnel.MessageReceived)]
        assert received == [b"to device", b"again"]


@versions
async def test_a_firmware_command_without_link_key_is_as_if_it_was_never_sent(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        home = await house(made)
        device = await home.add(EUI64)
        await ready(home, EUI64)
        queries = len(home.told(QuerySeen))
        firmware = device._firmware
        assert firmware is not None
        # Image Notify to the device; Query Next Image Request to the hub: as the library has them
        notify = bytes.fromhex("09 01 00 03 64 1D 12 84 00 00 02 01 00")
        query = bytes.fromhex("01 02 01 00 1D 12 84 00 00 01 01 00")
        frames = len(made.frames)
        home.hub.node.send(Frame(EUI64, models.OTA_UPGRADE, 1, 1, notify, False))
        firmware.node.send(Frame(HUB_EUI64, models.OTA_UPGRADE, 1, 1, query, False))
        await asyncio.sleep(1)
        sent = [
            one
            for one in made.opened()[-(len(made.frames) - frames) :]
            if one.frame.cluster == models.OTA_UPGRADE and not one.is_acknowledgement
        ]
        assert len([one for one in sent if not one.frame.control & 0x20]) == 2
        assert [one for one in sent if one.frame.control & 0x20] == []
        assert len(home.told(QuerySeen)) == queries


@versions
async def test_a_device_whose_stick_is_pulled_out_says_so_and_the_others_go_on(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        home = await house(made)
        await home.add(EUI64)
        await home.add(SECOND)
        await ready(home, EUI64, SECOND)
        image = make_image(KIB_4)
        home.hub.update(image, [EUI64, SECOND])
        await asyncio.sleep(1)
        made.lines.unplug(f"device-{EUI64:X}")
        await made.until(lambda: home.told_by(EUI64, DeviceLost))
        assert f"device-{EUI64:X}" in home.told_by(EUI64, DeviceLost)[0].reason
        assert (await updated(home, SECOND)).sha256 == image.sha256
        assert home.told(HubLost) == []


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.3, 0.7, 1.5])
async def test_a_stick_pulled_out_at_any_moment_of_joining_is_told_once_and_not_hung_on(
    after_s: float,
) -> None:
    async with bench() as made:
        problems: list[dict[str, object]] = []
        made.loop.set_exception_handler(lambda _loop, context: problems.append(context))
        home = await house(made)
        await home.add(EUI64)
        await asyncio.sleep(after_s)
        made.lines.unplug(f"device-{EUI64:X}")
        await made.until(lambda: home.told_by(EUI64, DeviceLost), limit_s=120)
        assert len(home.told_by(EUI64, DeviceLost)) == 1
        await home.devices[EUI64].power_off()
        gc.collect()
        await asyncio.sleep(0)
        assert problems == []


async def test_a_device_that_leaves_before_the_hub_has_answered_does_not_hang_on() -> None:
    async with bench() as made:
        home = await house(made)
        await home.add(EUI64)
        await made.until(lambda: home.told_by(EUI64, DeviceUp))
        made.medium.set_faults((Loss(1.0),))
        made.sticks[f"device-{EUI64:X}"].stack.leave()
        await made.until(lambda: home.told_by(EUI64, DeviceLeft), limit_s=60)
        made.medium.set_faults(())
        await home.hub.permit(EUI64, 600)
        await ready(home, EUI64)
        assert home.told_by(EUI64, DeviceLost) == []


async def test_a_hub_whose_stick_is_pulled_out_says_so() -> None:
    async with bench() as made:
        home = await house(made)
        await home.add(EUI64)
        await ready(home, EUI64)
        home.hub.update(make_image(KIB_4), [EUI64])
        await asyncio.sleep(1)
        made.lines.unplug("hub")
        await made.until(lambda: home.told(HubLost))
        assert "hub" in home.told(HubLost)[0].reason


async def test_a_device_let_in_twice_does_not_lose_its_tunnel() -> None:
    async with bench() as made:
        home = await house(made)
        device = await home.add(EUI64)
        await ready(home, EUI64)
        await home.hub.admit(EUI64, bench_support.link_key(EUI64), 60)
        device.send_through_tunnel(b"still here")
        await made.until(lambda: messages_at_hub(home, EUI64) == [b"still here"])


async def test_a_stranger_on_the_network_is_no_device_of_the_hub() -> None:
    async with bench() as made:
        home = await house(made)
        await home.hub.node.permit(EUI64, bench_support.link_key(EUI64), 3600)
        stranger = await bench_support.device_node(made, EUI64)
        await stranger.node.join(
            bench_support.CHANNEL, bench_support.EXTENDED_PAN_ID, bench_support.link_key(EUI64)
        )
        query = bytes.fromhex("01 02 01 00 1D 12 84 00 00 01 01 00")
        stranger.node.send(Frame(HUB_EUI64, models.OTA_UPGRADE, 1, 1, query))
        stranger.node.send(Frame(HUB_EUI64, models.TUNNELLING, 1, 3, b"\x09\x01\x01\0\0x"))
        await asyncio.sleep(10)
        assert home.told(DeviceJoined, QuerySeen, DeviceTunnel, HubLost) == []
