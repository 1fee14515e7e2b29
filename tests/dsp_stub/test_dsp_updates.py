"""From a request to N39 and back, and what a device's or hub's message does to the inventory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dsp_rig import (
    BRIDGE,
    EPOCH,
    HUB,
    INSTALL_CODE,
    NEW,
    OLD,
    OTHER_HUB,
    PPMID,
    STRANGER,
    Device,
    Rig,
    cpl_entry,
    made_image,
    running,
)

from dsp_stub.desk import Flagged, SecurityEvent
from dsp_stub.options import Options
from dsp_stub.requests import (
    DevicePrenotification,
    ReadFirmwareVersion,
    RequestId,
    UpdateHanDeviceLog,
    UpdatePpmidFirmware,
)
from dsp_stub.responses import (
    CommsHubAlert,
    CspFirmwareDeliveryStatus,
    DccAlertMessage,
    FirmwareVersionMismatch,
    GbcsPayload,
    PpmidAlert,
    ResponseMessage,
    UpdateHanDeviceLogResult,
)
from dsp_stub.smi import DeviceStatus
from dsp_stub.updates import UpdateState
from gbcs.codes import parse_payload
from gbcs.device_log import AddDeviceResult, DlmsResult, parse_add_device
from gbcs.envelope import parse_frame
from gbcs.firmware import FirmwareVersion, ReadResult, TransferResult
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64
from gbcs.wan import CommandForDevice, DeliveryResult, DeviceLogEntry, DeviceType

pytestmark = pytest.mark.real_clock


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig


@pytest.fixture
def ppmid() -> Device:
    return Device(PPMID)


@pytest.fixture
def hub() -> Device:
    return Device(HUB, counter=4000)


async def begin(rig: Rig, *devices: int) -> str:
    """Ask for an update the hub then takes; its RequestID."""
    image = made_image()
    body = UpdatePpmidFirmware(image.data, f"{NEW:08X}", devices or (PPMID,))
    answer = await rig.ask("11.4", body)
    assert answer.response_code == "I99"
    offer = rig.take_offer()
    assert offer.image == image.data
    await rig.alert(CspFirmwareDeliveryStatus)
    return str(answer.request_id)


def version(rig: Rig, device_id: int = PPMID) -> str | None:
    device = rig.desk.inventory.get(device_id)
    assert device is not None
    return device.firmware_version


def state(rig: Rig, device_id: int = PPMID) -> UpdateState | None:
    update = rig.desk.updates.last(device_id)
    return None if update is None else update.state


def reasons(rig: Rig, kind: type[Any]) -> list[str]:
    return [event.reason for event in rig.events if isinstance(event, kind)]


def alert_codes(rig: Rig) -> list[str]:
    messages = [one.message for _, one in rig.told]
    return [one.dcc_alert_code for one in messages if isinstance(one, DccAlertMessage)]


async def nothing_happened(rig: Rig, reason: str) -> None:
    """No N39, the inventory as before, and a security event with this reason."""
    await rig.quiet()
    assert not rig._alerts(PpmidAlert)
    assert version(rig) == f"{OLD:08X}"
    assert reasons(rig, SecurityEvent) == [reason]
    logged = rig.store.connection.execute("SELECT reason FROM security_log").fetchall()
    assert logged == [(reason,)]


async def prenotify(rig: Rig) -> None:
    body = DevicePrenotification(
        device_id=STRANGER,
        manufacturer="121D",
        model="00841111",
        device_type="PPMID",
        smets_chts_version="PPMIDTS V4.4",
        firmware_version=f"{OLD:08X}",
        ppmid_variant="PPMID",
    )
    assert (await rig.ask("12.2", body)).response_code == "I99"


# -- the way there and back --------------------------------------------------------------------


@pytest.mark.requirement("MP170-R2", "good")
@pytest.mark.requirement("MP170-R6", "good")
@pytest.mark.requirement("MP170-N39", "good")
async def test_an_update_from_its_request_to_n39(rig: Rig, ppmid: Device, hub: Device) -> None:
    request_id = await begin(rig)
    assert state(rig) is UpdateState.STORED
    rig.from_device(HUB, hub.transferred(PPMID, TransferResult.FILE_TRANSFER_SUCCESS))
    comms_hub = await rig.alert(CommsHubAlert)
    assert comms_hub.comms_hub_device_id == HUB
    assert comms_hub.alert_code == 0x8F8A
    assert comms_hub.firmware_transfer.device_id == PPMID
    assert str(comms_hub.firmware_transfer.update_firmware_request_id) == request_id
    assert comms_hub.firmware_transfer.response_code == "FileTransferSuccess"
    assert version(rig) == f"{OLD:08X}", "a transfer is no activation"

    rig.from_device(PPMID, ppmid.activated())
    n39 = await rig.alert(PpmidAlert)
    assert n39.device_id == PPMID
    assert n39.device_alert_code == 0x8F8B
    assert n39.firmware_upgrade.firmware_version == f"{NEW:08X}"
    assert n39.firmware_upgrade.succeeded
    assert version(rig) == f"{NEW:08X}"
    assert state(rig) is UpdateState.ACTIVATED
    assert not [event for event in rig.events if isinstance(event, SecurityEvent | Flagged)]

    answer = await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
    assert answer.response_code == "I99"
    ppmid.version = NEW
    command = rig.wan[HUB].take(CommandForDevice)
    assert command.device == PPMID
    rig.from_device(PPMID, ppmid.answer(command.frame))
    response = await rig.response(str(answer.request_id))
    assert response.response_code == "I0"
    assert str(response.response_id) == str(
        RequestId(PPMID, SUPPLIER_EUI64, answer.request_id.counter)
    )
    assert isinstance(response.message, ResponseMessage)
    assert isinstance(response.message.content, GbcsPayload)
    frame = parse_frame(response.message.content.octets).frame
    read = parse_payload(frame.message_code, frame.cra, frame.payload)
    assert read == FirmwareVersion(NEW, ReadResult.READ_SUCCESS)
    assert frame.originator == PPMID
    assert frame.recipient == ACB_EUI64
    await rig.quiet()
    assert {user for user, _ in rig.told} == {SUPPLIER_EUI64}
    codes = [
        one.message.dcc_alert_code
        for _, one in rig.told
        if isinstance(one.message, DccAlertMessage)
    ]
    assert codes == ["N60", "N62", "N39"]


async def test_a_device_is_let_in_by_the_hub_and_whitelisted_when_it_says_so(
    rig: Rig, hub: Device
) -> None:
    await prenotify(rig)
    addition = UpdateHanDeviceLog(
        device_id=STRANGER,
        request_type="Add",
        join_time_period_s=90,
        install_code=INSTALL_CODE,
    )
    answer = await rig.ask("8.11", addition, target=HUB)
    assert answer.response_code == "I99"
    await rig.quiet()
    assert rig.wan[HUB].take(DeviceLogEntry) == DeviceLogEntry(HUB, STRANGER, DeviceType.PPMID)
    command = rig.wan[HUB].take(CommandForDevice)
    assert command.device == HUB
    told = parse_add_device(parse_frame(command.frame).frame.payload)
    assert (told.device, told.key, told.join_timeout_s) == (STRANGER, INSTALL_CODE, 90)
    assert rig.desk.inventory.get(STRANGER).status is DeviceStatus.PENDING

    rig.from_device(HUB, hub.answer(command.frame))
    result = await rig.alert(UpdateHanDeviceLogResult)
    assert str(result.request_id) == str(answer.request_id)
    device = rig.desk.inventory.get(STRANGER)
    assert (device.status, device.chf, device.premises) == (DeviceStatus.WHITELISTED, HUB, 1)
    codes = [
        one.message.dcc_alert_code
        for _, one in rig.told
        if isinstance(one.message, DccAlertMessage)
    ]
    assert codes == ["N24"]


async def test_a_hub_that_has_no_room_leaves_the_device_pending(rig: Rig, hub: Device) -> None:
    await prenotify(rig)
    hub.log_result = lambda number: AddDeviceResult(number, register_device=DlmsResult.OTHER_REASON)
    addition = UpdateHanDeviceLog(
        device_id=STRANGER,
        request_type="Add",
        join_time_period_s=90,
        install_code=INSTALL_CODE,
    )
    await rig.ask("8.11", addition, target=HUB)
    command = rig.wan[HUB].take(CommandForDevice)
    rig.from_device(HUB, hub.answer(command.frame))
    await rig.alert(UpdateHanDeviceLogResult)
    device = rig.desk.inventory.get(STRANGER)
    assert (device.status, device.chf) == (DeviceStatus.PENDING, None)


# -- alerts that are true and say something else -----------------------------------------------


@pytest.mark.requirement("MP170-R6", "good")
@pytest.mark.requirement("MP170-N39", "good")
async def test_a_failed_activation_leaves_the_inventory_and_frees_the_device(
    rig: Rig, ppmid: Device, hub: Device
) -> None:
    await begin(rig)
    rig.from_device(HUB, hub.transferred(PPMID, TransferResult.FILE_TRANSFER_SUCCESS))
    rig.from_device(PPMID, ppmid.activated(result=1))
    n39 = await rig.alert(PpmidAlert)
    assert not n39.firmware_upgrade.succeeded
    assert version(rig) == f"{OLD:08X}"
    assert state(rig) is UpdateState.ACTIVATION_FAILED
    await begin(rig)


@pytest.mark.requirement("MP170-R6", "bad")
@pytest.mark.parametrize("is_listed", [True, False])
async def test_a_version_that_was_not_sent_is_a_mismatch(
    rig: Rig, ppmid: Device, is_listed: bool
) -> None:
    await begin(rig)
    other = 0x00010300
    if is_listed:
        rig.desk.cpl.add(cpl_entry("ppmid", other))
    rig.from_device(PPMID, ppmid.activated(version=other))
    n39 = await rig.alert(PpmidAlert)
    assert n39.firmware_upgrade.firmware_version == f"{other:08X}", "as the device said it"
    mismatch = await rig.alert(FirmwareVersionMismatch)
    assert (mismatch.firmware_version_smi, mismatch.firmware_version_device) == (
        f"{OLD:08X}",
        f"{other:08X}",
    )
    assert version(rig) == f"{other if is_listed else OLD:08X}"
    assert "alert-of-another-version" in reasons(rig, Flagged)


@pytest.mark.requirement("MP170-R6", "bad")
async def test_a_second_alert_for_one_update_is_flagged_and_raises_no_second_n39(
    rig: Rig, ppmid: Device, hub: Device
) -> None:
    await begin(rig)
    rig.from_device(HUB, hub.transferred(PPMID, TransferResult.FILE_TRANSFER_SUCCESS))
    rig.from_device(PPMID, ppmid.activated())
    rig.from_device(PPMID, ppmid.activated())
    await rig.alert(PpmidAlert)
    await rig.quiet()
    assert len(rig._alerts(PpmidAlert)) == 1
    assert reasons(rig, Flagged) == ["alert-out-of-turn"]


async def test_an_alert_before_the_hub_is_done_is_believed_and_flagged(
    rig: Rig, ppmid: Device
) -> None:
    await begin(rig)
    rig.from_device(PPMID, ppmid.activated())
    await rig.alert(PpmidAlert)
    assert version(rig) == f"{NEW:08X}"
    assert reasons(rig, Flagged) == ["alert-out-of-turn"]


@pytest.mark.requirement("MP170-SLOT", "bad")
@pytest.mark.requirement("MP170-BUSY", "good")
@pytest.mark.parametrize(
    ("result", "name", "ended"),
    [
        (TransferResult.FIRMWARE_IMAGE_DISCARDED, "FirmwareImageDiscarded", "discarded"),
        (TransferResult.HARDWARE_VERSION_MISMATCH, "HardwareVersionMismatch", "hardware-mismatch"),
        (TransferResult.FILE_TRANSFER_FAILURE, "FileTransferFailure", "transfer-failed"),
    ],
)
async def test_a_failed_transfer_is_told_and_frees_the_device(
    rig: Rig, hub: Device, result: TransferResult, name: str, ended: str
) -> None:
    await begin(rig)
    rig.from_device(HUB, hub.transferred(PPMID, result))
    alert = await rig.alert(CommsHubAlert)
    assert alert.alert_code == 0x8F89
    assert alert.firmware_transfer.response_code == name
    assert state(rig) == ended
    assert version(rig) == f"{OLD:08X}"
    await begin(rig)


@pytest.mark.parametrize("result", [DeliveryResult.REFUSED, DeliveryResult.UNKNOWN_DEVICE])
async def test_an_image_the_hub_did_not_take_is_told_and_frees_the_device(
    rig: Rig, result: DeliveryResult
) -> None:
    image = made_image()
    body = UpdatePpmidFirmware(image.data, f"{NEW:08X}", (PPMID,))
    await rig.ask("11.4", body)
    offer = rig.wan[HUB].messages[0]
    rig.outcome(PPMID, offer.reference, result)
    status = await rig.alert(CspFirmwareDeliveryStatus)
    assert not status.succeeded
    assert state(rig) is UpdateState.NOT_DELIVERED


async def test_one_image_goes_to_a_hub_once_for_all_of_its_devices(rig: Rig) -> None:
    from dsp_rig import smi_device

    rig.desk.inventory.add(smi_device(STRANGER))
    rig.desk.inventory.add(smi_device(STRANGER + 1, chf=OTHER_HUB, premises=None))
    image = made_image()
    devices = (PPMID, STRANGER, STRANGER + 1)
    answer = await rig.ask("11.4", UpdatePpmidFirmware(image.data, f"{NEW:08X}", devices))
    assert answer.response_code == "I99"
    assert rig.take_offer().devices == (PPMID, STRANGER)
    assert rig.take_offer(OTHER_HUB).devices == (STRANGER + 1,)


# -- what proves nothing -----------------------------------------------------------------------


@pytest.mark.requirement("MP170-R6", "bad")
async def test_a_forged_alert_is_discarded(rig: Rig, ppmid: Device) -> None:
    await begin(rig)
    frame = bytearray(ppmid.activated())
    frame[-1] ^= 1
    rig.from_device(PPMID, bytes(frame))
    await nothing_happened(rig, "PROTECTION")
    assert state(rig) is UpdateState.STORED


@pytest.mark.requirement("MP170-R6", "bad")
async def test_an_alert_signed_by_another_device_is_discarded(rig: Rig) -> None:
    await begin(rig)
    impostor = Device(BRIDGE)
    impostor.endpoint._eui64 = PPMID
    rig.from_device(PPMID, impostor.activated())
    await nothing_happened(rig, "PROTECTION")


@pytest.mark.requirement("MP170-R6", "bad")
async def test_a_replayed_alert_is_discarded(rig: Rig, ppmid: Device, hub: Device) -> None:
    await begin(rig)
    frame = ppmid.activated()
    rig.from_device(HUB, hub.transferred(PPMID, TransferResult.FILE_TRANSFER_SUCCESS))
    rig.from_device(PPMID, frame)
    await rig.alert(PpmidAlert)
    await begin(rig)
    rig.from_device(PPMID, frame)
    await rig.quiet()
    assert len(rig._alerts(PpmidAlert)) == 1
    assert reasons(rig, SecurityEvent) == ["REPLAY"]
    assert state(rig) is UpdateState.STORED


@pytest.mark.requirement("MP170-R6", "bad")
@pytest.mark.parametrize("place", ["other hub", "other device", "unknown hub"])
async def test_an_alert_from_where_the_device_is_not_is_discarded(
    rig: Rig, ppmid: Device, place: str
) -> None:
    await begin(rig)
    frame = ppmid.activated()
    match place:
        case "other hub":
            rig.from_device(PPMID, frame, OTHER_HUB)
        case "other device":
            rig.from_device(BRIDGE, frame)
        case _:
            rig.from_device(PPMID, frame, STRANGER)
    await nothing_happened(rig, "FOREIGN")
    rig.from_device(PPMID, frame)
    await rig.alert(PpmidAlert)


@pytest.mark.requirement("MP170-R6", "bad")
async def test_a_hub_cannot_speak_for_another_hubs_device(rig: Rig) -> None:
    await begin(rig)
    other = Device(OTHER_HUB)
    rig.from_device(
        OTHER_HUB, other.transferred(PPMID, TransferResult.FILE_TRANSFER_FAILURE), OTHER_HUB
    )
    await nothing_happened(rig, "FOREIGN")
    assert state(rig) is UpdateState.STORED


@pytest.mark.parametrize("octets", [b"\x00", b"\xdf\x09", bytes(200)])
async def test_what_is_no_frame_is_a_security_event(rig: Rig, octets: bytes) -> None:
    rig.from_device(PPMID, octets)
    await nothing_happened(rig, "SYNTAX")


async def test_what_is_no_wan_message_is_a_security_event(rig: Rig) -> None:
    rig.server.deliver(b"HBWM\x01\x63")
    await nothing_happened(rig, "WAN")


async def test_a_response_nobody_asked_for_is_discarded(rig: Rig, ppmid: Device) -> None:
    await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
    command = rig.wan[HUB].take(CommandForDevice)
    frame = ppmid.answer(command.frame)
    rig.from_device(PPMID, frame)
    rig.from_device(PPMID, frame)
    await rig.quiet()
    assert reasons(rig, SecurityEvent) == ["UNEXPECTED"]


@pytest.mark.requirement("MP170-R7", "bad")
async def test_a_response_with_a_wrong_mac_is_discarded_and_the_user_hears_of_no_answer(
    rig: Rig, ppmid: Device
) -> None:
    ppmid.version = NEW
    answer = await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
    command = rig.wan[HUB].take(CommandForDevice)
    frame = bytearray(ppmid.answer(command.frame))
    frame[-1] ^= 1
    rig.from_device(PPMID, bytes(frame))
    await nothing_happened(rig, "PROTECTION")
    rig.now += timedelta(seconds=1801)
    rig.server.pump()
    response = await rig.response(str(answer.request_id))
    assert response.response_code == "E21"
    assert version(rig) == f"{OLD:08X}"


# -- reading a version -------------------------------------------------------------------------


@pytest.mark.requirement("MP170-R7", "good", "bad")
@pytest.mark.requirement("CPL-MISMATCH", "good")
@pytest.mark.parametrize("is_listed", [True, False])
async def test_the_inventory_follows_a_version_read_if_it_is_on_the_cpl(
    rig: Rig, ppmid: Device, is_listed: bool
) -> None:
    ppmid.version = NEW if is_listed else 0x0A0B0C0D
    await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
    rig.from_device(PPMID, ppmid.answer(rig.wan[HUB].take(CommandForDevice).frame))
    await rig.alert(FirmwareVersionMismatch)
    assert version(rig) == f"{NEW if is_listed else OLD:08X}"


@pytest.mark.requirement("MP170-R7", "bad")
async def test_a_failed_read_is_passed_on_and_changes_nothing(rig: Rig, ppmid: Device) -> None:
    ppmid.version = None
    answer = await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
    rig.from_device(PPMID, ppmid.answer(rig.wan[HUB].take(CommandForDevice).frame))
    assert (await rig.response(str(answer.request_id))).response_code == "I0"
    await rig.quiet()
    assert version(rig) == f"{OLD:08X}"
    assert not rig._alerts(FirmwareVersionMismatch)


@pytest.mark.requirement("MP170-R7", "bad")
async def test_a_command_the_hub_could_not_hand_over_is_told_at_once(rig: Rig) -> None:
    answer = await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
    command = rig.wan[HUB].take(CommandForDevice)
    rig.outcome(PPMID, command.reference, DeliveryResult.UNREACHABLE)
    assert (await rig.response(str(answer.request_id))).response_code == "E20"


# -- what lasts --------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-BUSY", "good")
async def test_an_update_nobody_ever_ends_frees_the_device_at_last(tmp_path: Path) -> None:
    async with running(tmp_path, Options(in_progress_timeout_s=3600)) as rig:
        await begin(rig)
        rig.now += timedelta(seconds=3601)
        rig.server.pump()
        assert state(rig) is UpdateState.TIMED_OUT
        await begin(rig)


async def test_a_callback_that_is_not_taken_is_told_again_in_order(
    rig: Rig, ppmid: Device, hub: Device
) -> None:
    rig.refuse_callbacks = 1
    image = made_image()
    await rig.ask("11.4", UpdatePpmidFirmware(image.data, f"{NEW:08X}", (PPMID,)))
    rig.take_offer()
    await rig.quiet()
    assert not rig.told
    rig.from_device(HUB, hub.transferred(PPMID, TransferResult.FILE_TRANSFER_SUCCESS))
    rig.from_device(PPMID, ppmid.activated())
    await rig.quiet()
    assert not rig.told, "nothing overtakes what was not taken"
    rig.now += timedelta(seconds=2)
    rig.server.pump()
    await rig.alert(PpmidAlert)
    kinds = [type(one.message.alert) for _, one in rig.told]
    assert kinds == [CspFirmwareDeliveryStatus, CommsHubAlert, PpmidAlert]


async def test_a_dsp_started_again_knows_everything_and_sends_what_it_owed(tmp_path: Path) -> None:
    ppmid = Device(PPMID)
    async with running(tmp_path) as rig:
        await begin(rig)
        answer = await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
        command = rig.wan[HUB].take(CommandForDevice)
        callback = rig.desk.users.get(SUPPLIER_EUI64).callback.rsplit("/", 1)[0]
        await rig.server.stop()
        rig.store.close()
        rig.open(callback)
        rig.url = await rig.server.start("127.0.0.1", 0)
        rig.server.connect_hub(HUB, rig.wan[HUB])
        assert state(rig) is UpdateState.STORED
        rig.from_device(PPMID, ppmid.answer(command.frame))
        assert (await rig.response(str(answer.request_id))).response_code == "I0"
        again = await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
        assert again.response_code == "I99"
        later = rig.wan[HUB].take(CommandForDevice)
        counters = [parse_frame(one.frame).frame.originator_counter for one in (command, later)]
        assert counters[1] > counters[0], "a counter is never used twice"


async def test_a_message_for_a_hub_that_is_not_there_waits_for_it(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        del rig.server._hubs[HUB]
        await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
        await rig.quiet()
        assert not rig.wan[HUB].messages
        rig.now += timedelta(seconds=2)
        rig.server.connect_hub(HUB, rig.wan[HUB])
        assert rig.wan[HUB].take(CommandForDevice).device == PPMID


async def test_the_alert_tells_the_devices_own_time(rig: Rig, ppmid: Device) -> None:
    await begin(rig)
    rig.from_device(PPMID, ppmid.activated(time=EPOCH + timedelta(hours=5)))
    assert (await rig.alert(PpmidAlert)).timestamp == EPOCH + timedelta(hours=5)
