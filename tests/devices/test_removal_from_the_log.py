"""CCS02: a device is struck off the hub's log, over the WAN, and is gone from the HAN."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bench_support import HUB_EUI64, STACK, bench, make_image, of_kind
from wan_rig import USER, Premises, joined, premises

from emulator.devices.device import DeviceLeft, DeviceLost
from emulator.devices.ezsp_node import Role
from emulator.devices.ota_server import QuerySeen, TransferStarted
from emulator.medium.faults import Loss
from gbcs.codes import CCS02_REMOVE_DEVICE
from gbcs.device_log import REMOVE_DEVICE, DlmsResult, RemoveDevice, RemoveDeviceResult
from gbcs.firmware import FIRMWARE_TRANSFER_FAILED, FirmwareTransfer, TransferResult
from gbcs.wan import DeliveryResult

EUI64 = 0x02484E4200000010
SECOND = EUI64 + 1
EVERY_WAY = pytest.mark.parametrize("ezsp", [4, 7, 8, 12, 13, 14, 19, STACK])


def ccs02(there: Premises, device: int) -> int:
    payload = REMOVE_DEVICE.build(RemoveDevice(1, device))
    return there.send(HUB_EUI64, there.acb.command(CCS02_REMOVE_DEVICE, HUB_EUI64, payload, USER))


async def struck_off(there: Premises, device: int) -> DlmsResult:
    """What CCS02 answers."""
    before = len(there.responses(HUB_EUI64))
    assert there.result(ccs02(there, device)) is DeliveryResult.DELIVERED
    payload = (await there.answer(HUB_EUI64, before)).payload
    assert isinstance(payload, RemoveDeviceResult)
    return DlmsResult(payload.unregister_device)


@EVERY_WAY
@pytest.mark.parametrize("role", [Role.ROUTER, Role.SLEEPY])
async def test_a_device_struck_off_leaves_and_joins_only_when_it_is_let_in_again(
    ezsp: Any, role: Role
) -> None:
    async with bench(ezsp=ezsp) as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64, role=role)
        await there.add(SECOND)
        stack = made.sticks[f"device-{EUI64:X}"].stack
        hub = made.sticks["hub"].stack
        assert await struck_off(there, EUI64) == DlmsResult.SUCCESS
        assert list(there.home.hub.device_log) == [SECOND]
        await made.until(lambda: there.home.told_by(EUI64, DeviceLeft), 60)
        assert stack.state.network is None
        assert hub.state.link_key_of(EUI64) is None
        assert hub.state.link_key_of(SECOND) is not None
        tunnels = there.tunnels(EUI64)
        await asyncio.sleep(60)  # it tries
        assert there.tunnels(EUI64) == tunnels
        there.name(EUI64)
        assert (await there.registered(EUI64)).succeeded
        await made.until(lambda: there.tunnels(EUI64) > tunnels, 600)
        assert joined(there.home) == {EUI64, SECOND}
        assert there.home.told_by(EUI64, DeviceLost) == []
        assert there.rejected() == []


async def test_who_is_not_in_the_log_is_not_struck_off_and_nobody_else_is() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        assert await struck_off(there, SECOND) == DlmsResult.OTHER_REASON
        assert list(there.home.hub.device_log) == [EUI64]
        assert await struck_off(there, EUI64) == DlmsResult.SUCCESS
        assert await struck_off(there, EUI64) == DlmsResult.OTHER_REASON


async def test_the_update_of_a_device_struck_off_has_one_outcome_and_the_others_go_on() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        await there.add(SECOND)
        there.offer(make_image(8192), EUI64, SECOND)
        await made.until(lambda: len(there.home.told(TransferStarted)) == 2, 7200)
        assert await struck_off(there, EUI64) == DlmsResult.SUCCESS
        await made.until(lambda: there.alerts(SECOND), 7200)
        transfers = {
            (one.device, one.alert_code, one.result)
            for one in of_kind(there.alerts(HUB_EUI64), FirmwareTransfer)
        }
        assert (
            EUI64,
            FIRMWARE_TRANSFER_FAILED,
            TransferResult.FIRMWARE_IMAGE_DISCARDED,
        ) in transfers
        assert {device for device, *_ in transfers} == {EUI64, SECOND}
        assert len(of_kind(there.alerts(HUB_EUI64), FirmwareTransfer)) == 2


async def test_what_waits_for_a_device_struck_off_is_unreachable() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        made.medium.set_faults((Loss(1.0),))
        commands = [there.cs08(EUI64) for _ in range(3)]
        assert await struck_off(there, EUI64) == DlmsResult.SUCCESS
        assert [there.result(one) for one in commands] == [DeliveryResult.UNREACHABLE] * 3
        assert there.result(there.cs08(EUI64)) is DeliveryResult.UNKNOWN_DEVICE


async def test_a_device_that_does_not_hear_it_is_heard_no_more_either() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        made.medium.set_faults((Loss(1.0),))
        assert await struck_off(there, EUI64) == DlmsResult.SUCCESS
        await asyncio.sleep(30)
        made.medium.set_faults(())
        queries = len(there.home.told(QuerySeen))
        await asyncio.sleep(3600)
        assert there.home.told_by(EUI64, DeviceLeft) == []
        assert len(there.home.told(QuerySeen)) == queries
        assert there.home.device_events[EUI64], "it was there"
