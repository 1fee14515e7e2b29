"""A hub and its DSP: whom it lets in, what it carries, what it tells, and what cannot harm it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from functools import partial

import pytest
from bench_support import (
    HUB_EUI64,
    KIND,
    NEW,
    OLD,
    SETTINGS,
    bench,
    house,
    make_image,
    of_kind,
)
from wan_rig import USER, Premises, identity, install_code, joined, premises

from emulator.devices import ota_server
from emulator.devices.device_log import MAX_DEVICES
from emulator.devices.hub import FrameDiscarded, Hub, HubLost
from emulator.devices.hub_wan import MAX_NAMED, MAX_WAITING_COMMANDS
from emulator.devices.nonvolatile import Record
from emulator.devices.ota_server import (
    OtaServerParameters,
    QuerySeen,
    ResponseCode,
    TransferOutcome,
)
from emulator.devices.zigpy_node import ZigpyNode
from gbcs.acb import Alert, Response
from gbcs.device_log import AddDevice, DlmsResult, build_add_device
from gbcs.endpoint import Reason
from gbcs.firmware import (
    FIRMWARE_TRANSFER_FAILED,
    FIRMWARE_TRANSFER_SUCCEEDED,
    FirmwareTransfer,
    FirmwareVersion,
    TransferResult,
)
from gbcs.wan import (
    CommandForDevice,
    DeliveryOutcome,
    DeliveryResult,
    DeviceLogEntry,
    DeviceType,
    ImageOffer,
    MessageFromDevice,
    WanMessage,
    serialise,
)

EUI64 = 0x02484E4200000010
SECOND, THIRD = EUI64 + 1, EUI64 + 2
KIB_4 = 4096
LIMIT = 16 * 1024
versions = pytest.mark.parametrize("ezsp", [13, 14])


def discarded(there: Premises) -> list[tuple[int, Reason]]:
    return [(one.eui64, one.reason) for one in there.home.told(FrameDiscarded)]


# -- the device log ------------------------------------------------------------------------


@versions
async def test_a_device_the_dsp_lets_in_joins_and_the_dsp_hears_that_it_may(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        there = await premises(made, EUI64)
        there.name(EUI64)
        reference = there.ccs01(EUI64)
        assert there.result(reference) is DeliveryResult.DELIVERED
        assert there.frames(HUB_EUI64) == []  # the radio has not let it in yet
        response = await there.answer(HUB_EUI64, 0)
        assert (response.device, response.user) == (HUB_EUI64, USER)
        assert joined(there.home) == set()
        await there.home.add(EUI64, admit=False)
        await made.until(lambda: joined(there.home) == {EUI64})
        assert {eui64: peer.device_type for eui64, peer in there.home.hub.device_log.items()} == {
            EUI64: DeviceType.PPMID
        }
        assert there.rejected() == []


async def test_a_device_that_was_not_named_before_is_not_let_in() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        result = await there.registered(EUI64)
        assert result.register_device == DlmsResult.OTHER_REASON
        assert len(there.home.hub.device_log) == 0
        await there.home.add(EUI64, admit=False)
        await asyncio.sleep(120)
        assert joined(there.home) == set()
        there.name(EUI64)  # which lets nobody in by itself
        await asyncio.sleep(120)
        assert joined(there.home) == set()
        assert len(there.home.hub.device_log) == 0
        assert (await there.registered(EUI64)).succeeded
        await made.until(lambda: joined(there.home) == {EUI64})


async def test_a_full_device_log_takes_nobody_more_and_loses_nobody() -> None:
    devices = [EUI64 + number for number in range(MAX_DEVICES + 1)]
    async with bench() as made:
        there = await premises(made, EUI64)
        for device in devices:
            there.name(device)
        for device in devices[:MAX_DEVICES]:
            assert (await there.registered(device)).succeeded
        assert (await there.registered(devices[-1])).register_device == DlmsResult.OTHER_REASON
        assert list(there.home.hub.device_log) == devices[:MAX_DEVICES]
        assert (await there.registered(devices[0])).succeeded  # one that is in it has its place


async def test_a_device_let_in_again_keeps_its_key_whatever_the_command_says() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        assert (await there.registered(EUI64, bytes(16), 60)).succeeded
        assert await there.version(EUI64) == FirmwareVersion(OLD)
        # and joins with it anew
        device = there.home.devices[EUI64]
        await device.power_off()
        assert device._firmware is None
        device.build.network = Record()
        tunnels = there.tunnels(EUI64)
        await device.power_on()
        device.begin()
        await made.until(lambda: there.tunnels(EUI64) > tunnels, 120)
        assert await there.version(EUI64) == FirmwareVersion(OLD)


@pytest.mark.parametrize("timeout_s", [0, 3601, 0xFFFF])
async def test_a_time_to_join_that_the_radio_cannot_keep_is_refused(timeout_s: int) -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        there.name(EUI64)
        result = await there.registered(EUI64, timeout_s=timeout_s)
        assert result.register_device == result.join_timeout == DlmsResult.OTHER_REASON
        assert len(there.home.hub.device_log) == 0


async def test_a_device_may_join_for_as_long_as_the_command_says() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        for device in (EUI64, SECOND):
            there.name(device)
        assert (await there.registered(EUI64, timeout_s=20)).succeeded
        await asyncio.sleep(30)
        await there.home.add(EUI64, admit=False)
        await asyncio.sleep(60)
        assert joined(there.home) == set()
        assert (await there.registered(EUI64, timeout_s=20)).succeeded
        await made.until(lambda: joined(there.home) == {EUI64}, 20)


async def test_a_refusal_is_told_at_once_and_opens_joining_for_nobody() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        there.name(EUI64)
        assert (await there.registered(EUI64, timeout_s=20)).succeeded
        await asyncio.sleep(30)
        there.ccs01(SECOND)  # which nobody named
        assert len(there.frames(HUB_EUI64)) == 2
        await there.home.add(EUI64, admit=False)
        await asyncio.sleep(60)
        assert joined(there.home) == set()


async def test_an_install_code_of_a_length_there_is_none_of_is_refused() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        there.name(EUI64)
        for code in (bytes(7), bytes(15)):
            assert (await there.registered(EUI64, code)).register_device == DlmsResult.OTHER_REASON
        assert len(there.home.hub.device_log) == 0


async def test_a_key_of_another_type_is_refused_and_joining_stays_closed_if_so_asked() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        there.name(EUI64)

        async def result(**changes: int) -> int:
            before = len(of_kind(there.judged, Response))
            command = AddDevice(1, EUI64, install_code(EUI64), 60, **changes)  # type: ignore[arg-type]
            frame = there.acb.command(0x0001, HUB_EUI64, build_add_device(command), USER)
            there.send(HUB_EUI64, frame)
            payload = (await there.answer(HUB_EUI64, before)).payload
            found: int = payload.register_device  # type: ignore[union-attr]
            return found

        assert await result(key_type=2) == DlmsResult.OTHER_REASON
        assert len(there.home.hub.device_log) == 0
        assert await result(enable_joining=False) == DlmsResult.SUCCESS
        assert list(there.home.hub.device_log) == [EUI64]
        await there.home.add(EUI64, admit=False)
        await asyncio.sleep(60)
        assert joined(there.home) == set()


async def test_a_radio_that_does_not_take_its_part_leaves_the_command_unanswered() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        there.name(EUI64)
        made.lines.unplug("hub")
        await made.until(lambda: there.home.told(HubLost))
        reference = there.ccs01(EUI64)
        await made.until(lambda: there.home.told(ota_server.Anomaly), 60)
        assert there.result(reference) is DeliveryResult.DELIVERED
        assert there.frames(HUB_EUI64) == []
        (anomaly,) = there.home.told(ota_server.Anomaly)
        assert (anomaly.eui64, anomaly.kind) == (EUI64, "not let in")


async def test_more_devices_named_than_there_can_be_forget_the_first() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        for number in range(MAX_NAMED + 1):
            there.name(EUI64 + number)
        assert not (await there.registered(EUI64)).succeeded
        assert (await there.registered(EUI64 + MAX_NAMED)).succeeded


async def test_a_command_to_the_hub_sent_twice_is_answered_once() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        there.name(EUI64)
        frame = there.acb.add_device(HUB_EUI64, EUI64, install_code(EUI64), 60, USER)
        there.send(HUB_EUI64, frame)
        await there.answer(HUB_EUI64, 0)
        there.send(HUB_EUI64, frame)
        await asyncio.sleep(10)
        assert len(there.frames(HUB_EUI64)) == 1
        assert discarded(there) == [(HUB_EUI64, Reason.COUNTER)]


# -- commands for devices ------------------------------------------------------------------


async def test_a_command_for_a_device_that_is_not_in_the_log_goes_nowhere() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        there.name(EUI64)
        assert there.result(there.cs08(EUI64)) is DeliveryResult.UNKNOWN_DEVICE
        assert len(there.home.hub.device_log) == 0


async def test_a_device_that_never_joined_is_unreachable_and_one_too_many_refused() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        there.name(EUI64)
        assert (await there.registered(EUI64)).succeeded
        most = 1 + MAX_WAITING_COMMANDS
        references = [there.cs08(EUI64) for _ in range(most + 1)]
        told = [there.result(one) for one in references]
        assert told == [None] * most + [DeliveryResult.REFUSED]
        await made.until(lambda: there.result(references[0]), 120)
        told = [there.result(one) for one in references[:most]]
        assert told == [DeliveryResult.UNREACHABLE] * most


async def test_a_command_for_a_device_that_fell_silent_is_unreachable_and_told_once() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        made.sticks[f"device-{EUI64:X}"].stack.leave()
        reference = there.cs08(EUI64)
        await made.until(lambda: there.result(reference) is not None, 120)
        assert there.result(reference) is DeliveryResult.UNREACHABLE


async def test_commands_to_one_device_do_not_overtake_each_other() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        most = 1 + MAX_WAITING_COMMANDS
        references = [there.cs08(EUI64) for _ in range(most + 3)]
        told = [there.result(one) for one in references]
        assert told == [None] * most + [DeliveryResult.REFUSED] * 3
        await made.until(lambda: len(there.responses(EUI64)) == most, 120)
        told = [there.result(one) for one in references[:most]]
        assert told == [DeliveryResult.DELIVERED] * most
        assert there.discarded(EUI64) == []
        assert there.rejected() == []


async def test_a_command_for_a_radio_that_was_lost_is_unreachable_at_once() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        made.lines.unplug("hub")
        await made.until(lambda: there.home.told(HubLost))
        assert there.result(there.cs08(EUI64)) is DeliveryResult.UNREACHABLE


async def test_a_command_longer_than_a_tunnel_carries_is_refused() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        there.name(SECOND)
        assert (await there.registered(SECOND)).succeeded  # and never joins: it has no tunnel
        for device in (EUI64, SECOND):
            assert there.result(there.send(device, bytes(1501))) is DeliveryResult.REFUSED
        reference = there.send(EUI64, bytes(1500))
        await made.until(lambda: there.result(reference) is DeliveryResult.DELIVERED)


async def test_what_a_device_sends_is_forwarded_though_it_is_no_frame() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        device = await there.add(EUI64)
        device.send_through_tunnel(b"no frame at all")
        await made.until(lambda: there.frames(EUI64) == [b"no frame at all"])
        device.send_through_tunnel(b"")  # which no WAN message can carry
        await made.until(lambda: discarded(there) == [(EUI64, Reason.SYNTAX)])
        assert there.frames(EUI64) == [b"no frame at all"]


async def test_a_command_sent_into_a_lost_tunnel_is_told_once_and_still_answered() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        firmware = there.home.devices[EUI64]._firmware
        assert firmware is not None
        firmware.tunnel.close()  # and nobody tells the hub
        reference = there.cs08(EUI64)
        assert (await there.answer(EUI64, 0)).payload == FirmwareVersion(OLD)
        assert there.result(reference) is DeliveryResult.DELIVERED


# -- images --------------------------------------------------------------------------------


async def test_an_offer_reaches_those_in_the_log_and_names_the_others() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        image = make_image(KIB_4)
        reference = there.offer(image, EUI64, THIRD)
        assert there.results(reference) == {
            EUI64: DeliveryResult.DELIVERED,
            THIRD: DeliveryResult.UNKNOWN_DEVICE,
        }
        await made.until(lambda: there.alerts(EUI64), 7200)
        (alert,) = there.alerts(HUB_EUI64)
        assert (alert.device, alert.alert_code) == (EUI64, FIRMWARE_TRANSFER_SUCCEEDED)


async def test_an_offer_for_strangers_only_leaves_the_slot_alone() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        there.offer(make_image(KIB_4), EUI64)
        reference = there.offer(make_image(KIB_4, salt=1), SECOND, THIRD)
        assert set(there.results(reference).values()) == {DeliveryResult.UNKNOWN_DEVICE}
        await made.until(lambda: there.alerts(EUI64), 7200)
        (alert,) = there.alerts(HUB_EUI64)
        assert alert.result is TransferResult.FILE_TRANSFER_SUCCESS


@pytest.mark.parametrize("octets", [b"no image", bytes(LIMIT), b"\x1e\xf1\xee\x0b"])
async def test_a_file_that_is_no_image_is_refused_for_each_device(octets: bytes) -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        reference = there.offer(octets, EUI64, SECOND)
        assert there.results(reference) == dict.fromkeys((EUI64, SECOND), DeliveryResult.REFUSED)
        assert {one.kind for one in there.home.told(ota_server.Anomaly)} == {"image refused"}
        await asyncio.sleep(600)
        assert there.home.told(TransferOutcome) == []


async def test_an_offer_to_more_devices_than_the_server_keeps_is_refused_and_told() -> None:
    async with bench() as made:
        parameters = OtaServerParameters(max_devices=1)
        there = await premises(made, EUI64, SECOND, parameters=parameters)
        await there.add(EUI64)
        await there.add(SECOND)
        there.offer(make_image(4 * KIB_4), EUI64)
        reference = there.offer(make_image(KIB_4, salt=1), SECOND)
        assert there.results(reference) == {SECOND: DeliveryResult.REFUSED}
        await made.until(lambda: there.alerts(EUI64), 7200)  # the WAN still carries what follows
        assert [one.device for one in there.alerts(HUB_EUI64)] == [EUI64]


async def test_a_command_answered_by_another_command_lets_both_devices_in() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        for device in (EUI64, SECOND):
            there.name(device)
        answered: list[int] = []

        def send_another() -> None:
            if not answered:
                answered.append(0)
                there.ccs01(SECOND, timeout_s=30)

        there.on_message = send_another
        there.ccs01(EUI64)
        await made.until(lambda: len(there.frames(HUB_EUI64)) == 2, 60)
        await asyncio.sleep(60)
        await there.home.add(EUI64, admit=False)
        await made.until(lambda: joined(there.home) == {EUI64}, 60)


async def test_an_image_over_the_limit_is_refused_and_the_one_in_the_slot_stays() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, limit=LIMIT)
        await there.add(EUI64)
        kept = there.offer(make_image(LIMIT), EUI64)
        reference = there.offer(make_image(LIMIT + 1), EUI64)
        assert there.results(kept) == {EUI64: DeliveryResult.DELIVERED}
        assert there.results(reference) == {EUI64: DeliveryResult.REFUSED}
        await made.until(lambda: there.alerts(EUI64), 7200)
        (alert,) = there.alerts(HUB_EUI64)
        assert alert.result is TransferResult.FILE_TRANSFER_SUCCESS


@pytest.mark.requirement("MP170-SLOT", "bad")
async def test_an_image_overtaken_by_a_newer_one_is_told_once_as_discarded() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        await there.add(SECOND)
        there.offer(make_image(4 * KIB_4), EUI64)
        await asyncio.sleep(3)  # some blocks
        reference = there.offer(make_image(KIB_4, salt=1), SECOND)
        (alert,) = there.alerts(HUB_EUI64)
        assert alert == FirmwareTransfer(
            FIRMWARE_TRANSFER_FAILED,
            alert.execution_date_time,
            EUI64,
            NEW,
            TransferResult.FIRMWARE_IMAGE_DISCARDED,
        )
        # the DSP hears first that the newer one arrived
        told = [type(one) for one in there.from_hub[-2:]]
        assert told == [DeliveryOutcome, MessageFromDevice]
        assert there.results(reference) == {SECOND: DeliveryResult.DELIVERED}
        await asyncio.sleep(3600)
        of_first = [one for one in there.alerts(HUB_EUI64) if one.device == EUI64]
        assert of_first == [alert]
        assert there.alerts(EUI64) == []


async def test_an_image_that_fits_no_device_is_refused_before_it_takes_the_slot() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        await there.add(SECOND, image_type=KIND + 1)
        await made.until(
            lambda: {one.eui64 for one in there.home.told(QuerySeen)} == {EUI64, SECOND}
        )
        there.offer(make_image(4 * KIB_4), EUI64)
        await asyncio.sleep(3)  # some blocks
        reference = there.offer(make_image(KIB_4, salt=1), SECOND)
        (alert,) = there.alerts(HUB_EUI64)
        assert (alert.device, alert.result) == (SECOND, TransferResult.HARDWARE_VERSION_MISMATCH)
        assert there.results(reference) == {SECOND: DeliveryResult.DELIVERED}
        await made.until(lambda: there.alerts(EUI64), 7200)  # the one under way goes on
        of_first = [one for one in there.alerts(HUB_EUI64) if one.device == EUI64]
        assert [one.result for one in of_first] == [TransferResult.FILE_TRANSFER_SUCCESS]


async def test_an_offer_repeated_by_the_dsp_starts_nothing_again() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        image = make_image(KIB_4)
        offer = ImageOffer(HUB_EUI64, 77, (EUI64,), image.data)
        there.deliver(offer)
        there.deliver(offer)
        await made.until(lambda: there.alerts(EUI64), 7200)
        there.deliver(offer)
        assert [there.results(77)] == [{EUI64: DeliveryResult.DELIVERED}]
        await asyncio.sleep(3600)
        (alert,) = there.alerts(HUB_EUI64)
        assert alert.result is TransferResult.FILE_TRANSFER_SUCCESS


async def test_a_file_that_was_damaged_on_its_way_is_refused_before_anybody_is_notified() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        image = make_image(KIB_4)
        broken = image.data[:-1] + bytes([image.data[-1] ^ 1])
        there.deliver(ImageOffer(HUB_EUI64, 78, (EUI64,), broken, bytes.fromhex(image.sha256)))
        assert there.results(78) == {EUI64: DeliveryResult.REFUSED}
        (anomaly,) = there.home.told(ota_server.Anomaly)
        assert (anomaly.kind, anomaly.detail) == (
            "image refused",
            "the file is not the one that was sent",
        )


async def test_one_image_for_several_devices_is_one_object_in_the_hub() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        await there.add(SECOND)
        there.offer(make_image(KIB_4), EUI64, SECOND)
        offers = there.home.hub.ota._offers
        assert offers[EUI64].image.data is offers[SECOND].image.data
        await made.until(lambda: there.alerts(EUI64) and there.alerts(SECOND), 7200)
        assert {one.device for one in there.alerts(HUB_EUI64)} == {EUI64, SECOND}
        assert len(there.alerts(HUB_EUI64)) == 2


async def test_every_outcome_of_a_transfer_is_one_alert_with_its_own_counter() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        there.offer(make_image(KIB_4), EUI64)
        await made.until(lambda: there.alerts(EUI64), 7200)
        there.offer(make_image(KIB_4, version=NEW + 1), EUI64)
        there.offer(make_image(KIB_4, version=NEW + 2), EUI64)
        await made.until(lambda: len(there.alerts(EUI64)) == 2, 7200)
        outcomes = there.home.told(TransferOutcome)
        alerts = there.alerts(HUB_EUI64)
        assert [(one.eui64, one.file_version, int(one.response_code)) for one in outcomes] == [
            (one.device, one.firmware_version, int(one.result)) for one in alerts
        ]
        assert [one.response_code for one in outcomes] == [
            ResponseCode.SUCCESS,
            ResponseCode.IMAGE_DISCARDED,
            ResponseCode.SUCCESS,
        ]
        counters = [one.counter for one in of_kind(there.judged, Alert) if one.device == HUB_EUI64]
        assert counters == [1, 2, 3, 4, 5]  # two are about the device log
        assert there.memories[HUB_EUI64].endpoint.originator_counter == 5


async def test_a_hub_made_again_knows_which_commands_it_has_taken() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        there.name(EUI64)
        frame = there.acb.add_device(HUB_EUI64, EUI64, install_code(EUI64), 60, USER)
        there.send(HUB_EUI64, frame)
        await there.answer(HUB_EUI64, 0)
        await there.home.hub.stop()
        there.home.hub = Hub(
            made.lines.add("hub-again", made.sticks["hub"]),
            partial(ZigpyNode, take_over=True),
            there.home.hub_events.append,
            image_limit_bytes=LIMIT,
            identity=identity,
            wan=there.take,
            memory=there.memories[HUB_EUI64],
        )
        made.closing(there.home.hub.stop)
        await there.home.hub.start(SETTINGS)
        there.name(EUI64)
        there.send(HUB_EUI64, frame)
        assert discarded(there) == [(HUB_EUI64, Reason.COUNTER)]
        assert len(there.home.hub.device_log) == 0
        assert (await there.registered(EUI64)).succeeded


# -- what cannot harm it -------------------------------------------------------------------


def messages(there: Premises) -> list[WanMessage]:
    image = make_image(200).data
    return [
        CommandForDevice(HUB_EUI64, EUI64, 1, there.acb.read_firmware_version(EUI64, USER)),
        CommandForDevice(HUB_EUI64, HUB_EUI64, 2, b"no frame"),
        ImageOffer(HUB_EUI64, 3, (SECOND,), image),
        DeviceLogEntry(HUB_EUI64, THIRD, DeviceType.PPMID),
        MessageFromDevice(HUB_EUI64, EUI64, b"frame"),
        DeliveryOutcome(HUB_EUI64, EUI64, 4, DeliveryResult.DELIVERED),
    ]


async def test_octets_that_are_no_wan_message_raise_nothing_and_change_nothing() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        memory = replace(there.memories[HUB_EUI64])
        chance = random.Random(7)
        seen = len(there.from_hub)
        hostile = [b"", b"HBWM", bytes(100), chance.randbytes(1000)]
        for message in messages(there):
            whole = serialise(message)
            hostile += [whole[:cut] for cut in range(0, len(whole), 7)]
            hostile += [whole + b"\0", whole[:5] + b"\x09" + whole[6:]]
        for octets in hostile:
            there.home.hub.deliver(octets)
        assert discarded(there) == [(HUB_EUI64, Reason.SYNTAX)] * len(hostile)
        assert len(there.from_hub) == seen
        assert there.memories[HUB_EUI64] == memory
        assert list(there.home.hub.device_log) == [EUI64]
        assert await there.version(EUI64) == FirmwareVersion(OLD)


async def test_messages_with_any_octet_changed_let_nobody_in_and_are_answered_once() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        chance = random.Random(8)
        for message in messages(there):
            whole = serialise(message)
            for at in range(len(whole)):
                changed = bytearray(whole)
                changed[at] ^= 1 << chance.randrange(8)
                there.home.hub.deliver(bytes(changed))
        await asyncio.sleep(300)
        assert list(there.home.hub.device_log) == [EUI64]
        assert there.home.told(HubLost) == []
        assert len(there.frames(EUI64)) == 1  # the frame was whole where only the reference was not
        assert there.alerts(HUB_EUI64) == []
        assert await there.version(EUI64) == FirmwareVersion(OLD)


async def test_a_command_to_let_a_device_in_with_any_bit_changed_lets_nobody_in() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        there.name(EUI64)
        frame = there.acb.add_device(HUB_EUI64, EUI64, install_code(EUI64), 60, USER)
        endpoint = there.memories[HUB_EUI64].endpoint
        for bit in range(8 * len(frame)):
            changed = bytearray(frame)
            changed[bit // 8] ^= 1 << bit % 8
            there.send(HUB_EUI64, bytes(changed))
        await asyncio.sleep(10)
        reasons = [reason for _, reason in discarded(there)]
        assert len(reasons) == 8 * len(frame)
        assert set(reasons) == {
            Reason.SYNTAX,
            Reason.RECIPIENT,
            Reason.CRA,
            Reason.MESSAGE_CODE,
            Reason.ORIGINATOR,
            Reason.MAC,
        }
        assert there.frames(HUB_EUI64) == []
        assert there.memories[HUB_EUI64].endpoint == endpoint
        assert len(there.home.hub.device_log) == 0
        there.send(HUB_EUI64, frame)
        assert (await there.answer(HUB_EUI64, 0)).payload.succeeded  # type: ignore[union-attr]


async def test_messages_for_another_hub_or_for_the_dsp_are_not_acted_on() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        there.deliver(DeviceLogEntry(HUB_EUI64 + 1, EUI64, DeviceType.PPMID))
        there.deliver(MessageFromDevice(HUB_EUI64, EUI64, b"frame"))
        there.deliver(DeliveryOutcome(HUB_EUI64, EUI64, 4, DeliveryResult.DELIVERED))
        assert discarded(there) == [
            (HUB_EUI64, Reason.RECIPIENT),
            (HUB_EUI64, Reason.MESSAGE_CODE),
            (HUB_EUI64, Reason.MESSAGE_CODE),
        ]
        assert there.from_hub == []
        assert not (await there.registered(EUI64)).succeeded


async def test_a_hub_without_identity_refuses_commands_and_carries_the_rest() -> None:
    async with bench() as made:
        there = Premises(made, (EUI64,))
        there.home = await house(made, wan=there.take)
        assert there.result(there.ccs01(EUI64)) is DeliveryResult.REFUSED
        await there.home.add(EUI64, **there.gbcs_options(EUI64))
        await made.until(lambda: there.tunnels(EUI64), 600)
        assert await there.version(EUI64) == FirmwareVersion(OLD)
        there.offer(make_image(KIB_4), EUI64)
        await made.until(lambda: there.alerts(EUI64), 7200)
        assert there.frames(HUB_EUI64) == []
