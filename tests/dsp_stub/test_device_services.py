"""Device logs read, changed and restored, versions read: commands, answers, and what follows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from command_rig import (
    CAD,
    ESME,
    GPF,
    GSME,
    HCALCS,
    HUB,
    OTHER_GPF,
    OTHER_HUB,
    PPMID,
    Bench,
    answer,
    content_of,
    endpoint,
    meter,
    payload_of,
)
from dsp_rig import (
    BRIDGE,
    INSTALL_CODE,
    NEW,
    OTHER_SUPPLIER_EUI64,
    STRANGER,
    cpl_entry,
    smi_device,
)

from dsp_stub.desk import Flagged
from dsp_stub.registrations import Registration
from dsp_stub.requests import (
    ReadDeviceLog,
    ReadFirmwareVersion,
    ReadInventory,
    RestoreHanDeviceLog,
    UpdateHanDeviceLog,
)
from dsp_stub.responses import (
    DeviceLogRestored,
    FirmwareVersionMismatch,
    GbcsPayload,
    PpmidRemoval,
    UpdateHanDeviceLogResult,
)
from dsp_stub.smi import DeviceStatus, DeviceType
from dsp_stub.updates import UpdateState
from gbcs.codes import parse_payload
from gbcs.device_log import (
    REMOVE_DEVICE,
    RESTORE_LOG,
    AddDeviceResult,
    DlmsResult,
    LinkKeyHash,
    RemoveDevice,
    RemoveDeviceResult,
    RestoreLog,
    RestoreLogResult,
)
from gbcs.envelope import parse_frame
from gbcs.hub_log import DEVICE_LOG_CHANGED_ALERT, DeviceLogChanged, LogBackup
from gbcs.meter_versions import GasMeterVersion, MeterVersion, VersionAttribute
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64
from gbcs.use_cases import add_device, answering
from gbcs.wan import DeviceLogEntry

NOW = bytes.fromhex("07EA0101FF000000008000FF")
HASHES = (LinkKeyHash(PPMID, bytes(range(16))), LinkKeyHash(BRIDGE, b""))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def remove(device_id: int = PPMID, **changes: Any) -> UpdateHanDeviceLog:
    return UpdateHanDeviceLog(device_id, "Remove", **changes)


def add(device_id: int, **changes: Any) -> UpdateHanDeviceLog:
    return UpdateHanDeviceLog(device_id, "Add", 90, INSTALL_CODE, **changes)


def removing(result: DlmsResult = DlmsResult.SUCCESS) -> Any:
    return answering(0x0002, lambda command: RemoveDeviceResult(command.invoke_id, result))


# -- 8.11 Remove -------------------------------------------------------------------------------


def test_a_device_struck_off_is_on_no_hub_and_may_be_added_again(bench: Bench) -> None:
    asked = bench.ask(remove(), HUB, 1)
    assert asked.response_code == "I99"
    command = bench.command()
    frame = parse_frame(command.frame).frame
    assert REMOVE_DEVICE.parse(frame.payload) == RemoveDevice(frame.originator_counter, PPMID)
    assert bench.device(PPMID).chf == HUB, "asked is not done"
    hub = endpoint(HUB, removing(), add_device(lambda one: AddDeviceResult(one.invoke_id)))
    bench.receive(HUB, answer(hub, command.frame))
    assert bench.response().response_code == "I0"
    assert bench.alert_codes() == ["N24", "N43"]
    assert bench.alerts(UpdateHanDeviceLogResult)[0].request_id == asked.request_id
    assert bench.alerts(PpmidRemoval) == [PpmidRemoval(PPMID, HUB)]
    device = bench.device(PPMID)
    assert (device.chf, device.premises, device.status) == (None, None, DeviceStatus.PENDING)
    assert bench.code(remove(), HUB, 1) == "E081102"

    assert bench.code(add(PPMID), HUB, 1) == "I99"
    entry, added = bench.messages()
    assert isinstance(entry, DeviceLogEntry)
    bench.receive(HUB, answer(hub, added.frame))  # type: ignore[union-attr]
    assert bench.device(PPMID).chf == HUB
    assert bench.status(PPMID) is DeviceStatus.WHITELISTED


def test_a_device_that_was_commissioned_keeps_its_status_and_may_come_back(bench: Bench) -> None:
    assert bench.code(add(ESME), HUB, 1) == "E081101", "it is on the hub"
    bench.ask(remove(ESME), HUB, 1)
    bench.receive(HUB, answer(endpoint(HUB, removing()), bench.command().frame))
    assert bench.status(ESME) is DeviceStatus.COMMISSIONED
    assert not bench.alerts(PpmidRemoval), "it is no PPMID"
    assert bench.code(add(ESME, import_mpxn="1312345678111"), HUB, 1) == "I99"


def test_a_hub_that_would_not_strike_off_changes_nothing(bench: Bench) -> None:
    bench.ask(remove(), HUB, 1)
    hub = endpoint(HUB, removing(DlmsResult.HARDWARE_FAULT))
    bench.receive(HUB, answer(hub, bench.command().frame))
    assert bench.alert_codes() == ["N25"]
    assert bench.device(PPMID).chf == HUB
    assert bench.status(PPMID) is DeviceStatus.WHITELISTED


def test_a_removal_nobody_answers_is_told_as_one_that_failed(bench: Bench) -> None:
    bench.ask(remove(), HUB, 1)
    due = bench.dsp.next_timeout(bench.now)
    assert due is not None
    bench.now = due
    bench.dsp.handle_timeout(due)
    assert bench.response().response_code == "E21"
    assert bench.alert_codes() == ["N25"]


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("E081102", remove(STRANGER)),
        ("E081104", remove(GPF)),
        ("E081104", remove(OTHER_HUB)),
        ("E081105", remove(join_time_period_s=90, install_code=INSTALL_CODE)),
        ("E081106", add(STRANGER, import_mpxn="1312345678111")),
    ],
)
def test_a_change_of_a_log_that_cannot_be_is_refused(
    bench: Bench, code: str, body: UpdateHanDeviceLog
) -> None:
    bench.desk.inventory.add(smi_device(STRANGER, status=DeviceStatus.PENDING, chf=None))
    assert bench.code(body, HUB, 1) == code
    assert bench.is_quiet()


MPAN, OTHER_MPAN, EXPORT_MPAN, MPRN = (
    "1312345678111", "1312345678999", "1312345678333", "9876543210",
)  # fmt: skip


def new_meter(bench: Bench, kind: DeviceType = DeviceType.ESME, **changes: Any) -> None:
    """A meter that was announced and is on no hub yet; its home has an import MPAN."""
    fields: dict[str, Any] = {
        "device_type": kind,
        "status": DeviceStatus.PENDING,
        "chf": None,
        "premises": None,
        "ppmid_variant": None,
        "esme_variant": "A" if kind is DeviceType.ESME else None,
    }
    bench.desk.inventory.add(smi_device(STRANGER, **(fields | changes)))


def let_in(bench: Bench, result: DlmsResult = DlmsResult.SUCCESS, hub: int = HUB) -> None:
    """What the hub answers to the 8.11 that waits for it."""
    end = endpoint(hub, add_device(lambda one: AddDeviceResult(one.invoke_id, result)))
    bench.receive(hub, answer(end, bench.command(hub).frame), hub)


def told_points(bench: Bench, device_id: int = STRANGER) -> dict[str, str]:
    """The metering points 8.2 tells of a device."""
    found = content_of(bench.ask(ReadInventory(device_id=device_id), ACB_EUI64, 8))
    (device,) = [one for one in found.devices if one.device_id == device_id]
    points = {
        "ImportMPxN": device.import_mpxn,
        "SecondaryImportMPAN": device.secondary_import_mpan,
        "ExportMPAN": device.export_mpan,
    }
    return {item: mpxn for item, mpxn in points.items() if mpxn is not None}


def homes(bench: Bench) -> Any:
    return bench.desk.inventory.all_premises()


def test_a_metering_point_other_than_that_of_the_home_is_refused(bench: Bench) -> None:
    new_meter(bench)
    assert bench.code(add(STRANGER, import_mpxn=OTHER_MPAN), HUB, 1) == "E081107"
    assert bench.is_quiet()
    assert bench.code(add(STRANGER, import_mpxn=MPAN), HUB, 1) == "I99"


@pytest.mark.parametrize(
    ("kind", "variant", "points"),
    [
        (DeviceType.ESME, "A", {"import_mpxn": MPRN}),
        (DeviceType.ESME, "A", {"import_mpxn": MPAN, "secondary_import_mpan": OTHER_MPAN}),
        (DeviceType.ESME, "AG", {"import_mpxn": MPAN, "export_mpan": EXPORT_MPAN}),
        (DeviceType.GSME, None, {"import_mpxn": OTHER_MPAN}),
        (DeviceType.GSME, None, {"import_mpxn": MPRN, "export_mpan": EXPORT_MPAN}),
    ],
)
def test_a_metering_point_that_a_meter_cannot_have_is_refused(
    bench: Bench, kind: DeviceType, variant: str | None, points: dict[str, str]
) -> None:
    new_meter(bench, kind, esme_variant=variant)
    before = homes(bench)
    assert bench.code(add(STRANGER, **points), HUB, 1) == "E081106"
    assert bench.is_quiet()
    assert homes(bench) == before


@pytest.mark.requirement("MP170-SR82", "good")
@pytest.mark.parametrize(
    ("kind", "variant", "points", "told"),
    [
        (DeviceType.GSME, None, {"import_mpxn": MPRN}, {"ImportMPxN": MPRN}),
        (
            DeviceType.ESME, "BD",
            {"secondary_import_mpan": OTHER_MPAN, "export_mpan": EXPORT_MPAN},
            {
                "ImportMPxN": MPAN,
                "SecondaryImportMPAN": OTHER_MPAN,
                "ExportMPAN": EXPORT_MPAN,
            },
        ),
    ],
)  # fmt: skip
def test_what_a_meter_is_added_with_is_told_by_8_2_once_the_hub_has_let_it_in(
    bench: Bench,
    kind: DeviceType,
    variant: str | None,
    points: dict[str, str],
    told: dict[str, str],
) -> None:
    new_meter(bench, kind, esme_variant=variant)
    before = homes(bench)
    assert bench.code(add(STRANGER, **points), HUB, 1) == "I99"
    assert homes(bench) == before, "asked is not done"
    let_in(bench)
    assert bench.status(STRANGER) is DeviceStatus.WHITELISTED
    assert told_points(bench) == told
    if kind is DeviceType.GSME:
        assert told_points(bench, ESME) == {"ImportMPxN": MPAN}, "a home has both"
    (found,) = bench.desk.inventory.find_premises(mpxn=next(iter(points.values())))
    assert found.id == 1


@pytest.mark.requirement("MP170-SR82", "bad")
def test_a_meter_that_is_not_let_in_leaves_no_metering_point(bench: Bench) -> None:
    new_meter(bench, DeviceType.GSME)
    before = homes(bench)
    assert bench.code(add(STRANGER, import_mpxn=MPRN), HUB, 1) == "I99"
    let_in(bench, DlmsResult.OTHER_REASON)
    assert bench.alert_codes() == ["N25"]
    assert homes(bench) == before
    assert bench.code(add(STRANGER, import_mpxn=MPRN), HUB, 1) == "I99"
    due = bench.dsp.next_timeout(bench.now)
    assert due is not None
    bench.now = due
    bench.dsp.handle_timeout(due)
    assert bench.response().response_code == "E21"
    assert homes(bench) == before


def test_a_metering_point_of_another_supplier_is_not_the_users_to_bring(bench: Bench) -> None:
    new_meter(bench, DeviceType.GSME)
    bench.desk.registrations.put(Registration(MPRN, OTHER_SUPPLIER_EUI64))
    assert bench.code(add(STRANGER, import_mpxn=MPRN), HUB, 1) == "E081107"
    assert bench.is_quiet()
    bench.desk.registrations.put(Registration(MPRN, SUPPLIER_EUI64))
    assert bench.code(add(STRANGER, import_mpxn=MPRN), HUB, 1) == "I99"


def test_a_metering_point_recorded_meanwhile_stays_and_the_other_is_flagged(bench: Bench) -> None:
    new_meter(bench, DeviceType.GSME)
    assert bench.code(add(STRANGER, import_mpxn=MPRN), HUB, 1) == "I99"
    bench.desk.inventory.set_mpxn(1, "import_mprn", "1234567890")
    let_in(bench)
    assert told_points(bench) == {"ImportMPxN": "1234567890"}
    assert [one.reason for one in bench.events if isinstance(one, Flagged)] == [
        "metering-point-not-recorded"
    ]


def test_at_a_hub_without_premises_a_metering_point_has_nowhere_to_go(bench: Bench) -> None:
    new_meter(bench, DeviceType.GSME, prenotified_by=SUPPLIER_EUI64)
    before = homes(bench)
    assert bench.code(add(STRANGER, import_mpxn=MPRN), OTHER_HUB, 1) == "I99"
    let_in(bench, hub=OTHER_HUB)
    assert bench.device(STRANGER).chf == OTHER_HUB
    assert homes(bench) == before


# -- 8.9 ---------------------------------------------------------------------------------------


def test_a_hub_tells_its_log_with_the_message_of_its_version(bench: Bench) -> None:
    assert bench.code(ReadDeviceLog(), HUB, 1) == "I99"
    assert parse_frame(bench.command().frame).frame.message_code == 0x010F
    assert bench.code(ReadDeviceLog(True), HUB, 1) == "I99"
    assert parse_frame(bench.command().frame).frame.message_code == 0x00FE
    bench.desk.inventory.set_firmware_version(HUB, "00010000", gbcs_version="1.1")
    assert bench.code(ReadDeviceLog(), HUB, 1) == "I99"
    assert parse_frame(bench.command().frame).frame.message_code == 0x0004


@pytest.mark.parametrize("device", [ESME, GSME, GPF, HCALCS, PPMID, BRIDGE])
def test_a_device_tells_whom_it_is_joined_with_and_no_security_details(
    bench: Bench, device: int
) -> None:
    assert bench.code(ReadDeviceLog(), device, 1) == "I99"
    assert parse_frame(bench.command().frame).frame.message_code == 0x0013
    assert bench.code(ReadDeviceLog(True), device, 1) == "E080901"


@pytest.mark.parametrize("body", [ReadDeviceLog(False, "2027-01-01T00:00:00Z"), ReadDeviceLog])
def test_a_later_time_is_not_offered_where_the_dsp_would_have_to_wait(
    bench: Bench, body: Any
) -> None:
    later = body if isinstance(body, ReadDeviceLog) else ReadFirmwareVersion("2027-01-01T00:00:00Z")
    assert bench.code(later, PPMID, 1) == "E12"


# -- 8.12.1 ------------------------------------------------------------------------------------


def told_log(bench: Bench, hub: Any) -> None:
    backup = LogBackup(NOW, 0x0140, HASHES)
    payload = DEVICE_LOG_CHANGED_ALERT.build(DeviceLogChanged(1, 0x8F12, NOW, backup))
    bench.receive(HUB, hub.alert(0x0018, payload))


def test_a_hub_takes_the_place_of_another_with_the_log_that_told_last(bench: Bench) -> None:
    told_log(bench, endpoint(HUB, counter=4000))
    assert not bench.told(), "hashes of keys are for the DCC alone"
    asked = bench.ask(RestoreHanDeviceLog(HUB), OTHER_HUB, 1)
    assert asked.response_code == "I99"
    command = bench.command(OTHER_HUB)
    frame = parse_frame(command.frame).frame
    assert RESTORE_LOG.parse(frame.payload) == RestoreLog(frame.originator_counter, 0x0140, HASHES)
    assert bench.device(PPMID).chf == HUB
    new = endpoint(OTHER_HUB, answering(0x0003, lambda one: RestoreLogResult(one.invoke_id)))
    bench.receive(OTHER_HUB, answer(new, command.frame), OTHER_HUB)
    assert bench.response().response_code == "I0"
    restored = DeviceLogRestored("2026-01-01Z", HUB, OTHER_HUB, GPF, OTHER_GPF)
    assert bench.alerts() == [restored]
    assert bench.alert_codes() == ["N26"]
    for device_id in (ESME, GSME, HCALCS, PPMID, BRIDGE, CAD):
        device = bench.device(device_id)
        assert (device.chf, device.premises) == (OTHER_HUB, 1)
    assert bench.device(GPF).chf == HUB, "a GPF stays with its hub"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (UpdateState.REQUESTED, UpdateState.DISCARDED),
        (UpdateState.STORED, UpdateState.DISCARDED),
        (UpdateState.TRANSFERRED, UpdateState.TRANSFERRED),  # the device has it
    ],
)
def test_what_the_old_hub_has_not_transferred_is_discarded(
    bench: Bench, before: UpdateState, after: UpdateState
) -> None:
    told_log(bench, endpoint(HUB, counter=4000))
    updates, then, sha256 = bench.desk.updates, bench.now, "00" * 32
    deadline = then + timedelta(days=7)
    with bench.store.transaction():
        updates.keep_image(sha256, b"an image")
        updates.start("a request", [PPMID], [HUB], sha256, NEW, then, deadline, then)
        update = updates.last(PPMID)
        assert update is not None
        updates.move(update, before, then)
    bench.ask(RestoreHanDeviceLog(HUB), OTHER_HUB, 1)
    new = endpoint(OTHER_HUB, answering(0x0003, lambda one: RestoreLogResult(one.invoke_id)))
    bench.receive(OTHER_HUB, answer(new, bench.command(OTHER_HUB).frame), OTHER_HUB)
    update = updates.last(PPMID)
    assert update is not None
    assert update.state is after


def test_a_hub_that_would_not_restore_has_no_devices(bench: Bench) -> None:
    told_log(bench, endpoint(HUB, counter=4000))
    bench.ask(RestoreHanDeviceLog(HUB), OTHER_HUB, 1)
    failed = answering(
        0x0003, lambda one: RestoreLogResult(one.invoke_id, DlmsResult.TEMPORARY_FAILURE)
    )
    command = bench.command(OTHER_HUB)
    bench.receive(OTHER_HUB, answer(endpoint(OTHER_HUB, failed), command.frame), OTHER_HUB)
    assert bench.response().response_code == "I0"
    assert not bench.alerts()
    assert bench.device(PPMID).chf == HUB


def test_a_restoration_that_cannot_be_is_refused(bench: Bench) -> None:
    assert bench.code(RestoreHanDeviceLog(STRANGER), OTHER_HUB, 1) == "E081202"
    assert bench.code(RestoreHanDeviceLog(ESME), OTHER_HUB, 1) == "E081202"
    assert bench.code(RestoreHanDeviceLog(HUB), HUB, 1) == "E081205"
    assert bench.code(RestoreHanDeviceLog(OTHER_HUB), HUB, 1) == "E081205"
    assert bench.code(RestoreHanDeviceLog(HUB), OTHER_HUB, 1) == "E081204"
    told_log(bench, endpoint(HUB, counter=4000))
    assert bench.code(RestoreHanDeviceLog(HUB), OTHER_HUB, 1) == "I99"


def test_a_forged_or_replayed_log_is_not_kept(bench: Bench) -> None:
    hub = endpoint(HUB, counter=4000)
    backup = LogBackup(NOW, 0x0140, HASHES)
    payload = DEVICE_LOG_CHANGED_ALERT.build(DeviceLogChanged(1, 0x8F12, NOW, backup))
    frame = hub.alert(0x0018, payload)
    bench.receive(HUB, frame[:-1] + bytes([frame[-1] ^ 1]))
    assert bench.desk.device_logs.last(HUB) is None
    bench.receive(HUB, frame)
    kept = bench.desk.device_logs.last(HUB)
    assert kept == payload
    bench.receive(HUB, frame)
    assert bench.reasons() == ["PROTECTION", "REPLAY"]


# -- 11.2 --------------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-R7", "good")
@pytest.mark.requirement("CPL-MISMATCH", "good")
@pytest.mark.parametrize("is_known", [False, True])
def test_a_hub_that_runs_another_version_is_told_and_the_inventory_follows_the_cpl(
    bench: Bench, is_known: bool
) -> None:
    if is_known:
        entry = cpl_entry("ppmid", NEW)
        hub = bench.device(HUB)
        bench.desk.cpl.add(
            type(entry)(
                device_type=DeviceType.CHF, manufacturer=hub.manufacturer, model=hub.model,
                firmware_version=f"{NEW:08X}", smets_chts_version="CHTS V1.5",
                gbcs_version="4.1", image_hash=None,
            )
        )  # fmt: skip
    bench.ask(ReadFirmwareVersion(), HUB, 1)
    chf = endpoint(HUB, answering(0x0059, lambda one: MeterVersion(one.invoke_id, NEW)))
    frame = answer(chf, bench.command().frame)
    bench.receive(HUB, frame)
    assert content_of(bench.response()) == GbcsPayload(frame)
    assert len(bench.alerts(FirmwareVersionMismatch)) == 1
    expected = f"{NEW:08X}" if is_known else "00010000"
    assert bench.device(HUB).firmware_version == expected


def test_a_gas_meter_is_asked_in_its_own_way(bench: Bench) -> None:
    bench.ask(ReadFirmwareVersion(), GSME, 1)
    gsme = meter(GSME, answering(0x0084, lambda _: GasMeterVersion(VersionAttribute(0, NEW))))
    frame = answer(gsme, bench.command().frame)
    bench.receive(GSME, frame)
    received = parse_frame(payload_of(bench.response())).frame
    assert parse_payload(received.message_code, received.cra, received.payload) == (
        GasMeterVersion(VersionAttribute(0, NEW))
    )
    assert bench.device(GSME).firmware_version == "00010000"
