"""Reports: deployed versions, attempts and outcomes, homes out of step, AltHANCo's inventory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from dsp_rig import (
    BRIDGE,
    EPOCH,
    HUB,
    NEW,
    OLD,
    OTHER_HUB,
    PPMID,
    STRANGER,
    Device,
    Rig,
    cpl_entry,
    found_as,
    made_image,
    running,
    smi_device,
)
from hypothesis import given
from hypothesis import strategies as st

from dsp_stub.althan_inventory import COLUMNS as BRIDGE_COLUMNS
from dsp_stub.althan_inventory import AltHanBridge, AltHanInventory, read_bridges
from dsp_stub.applicability import Period, Specification
from dsp_stub.cpl import CplStatus
from dsp_stub.errors import DspValueError
from dsp_stub.reports import COLUMNS, Reports, label
from dsp_stub.requests import (
    DecommissionDevice,
    ReadFirmwareVersion,
    ReadInventory,
    UpdatePpmidFirmware,
)
from dsp_stub.responses import DspInventory, PpmidAlert, ResponseMessage
from dsp_stub.row_files import read_rows, write_rows
from dsp_stub.smi import DeviceStatus, DeviceType, PpmidVariant
from gbcs.firmware import TransferResult
from gbcs.smki import SUPPLIER_EUI64
from gbcs.wan import CommandForDevice, DeliveryResult, ImageOffer

pytestmark = [pytest.mark.real_clock, pytest.mark.requirement("MP170-R4", "good")]

SECOND = STRANGER


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(None) as rig:
        yield rig


async def start(rig: Rig, device: int = BRIDGE, kind: str = "bridge-1") -> str:
    body = UpdatePpmidFirmware(made_image(kind).data, f"{NEW:08X}", (device,))
    answer = await rig.ask("11.4", body)
    assert answer.response_code == "I99"
    return str(answer.request_id)


def only(rows: Any) -> dict[str, str]:
    (row,) = rows
    found: dict[str, str] = row
    return found


# -- deployed versions -------------------------------------------------------------------------


@pytest.mark.requirement("MP170-R11", "good")
async def test_a_bridge_is_reported_with_all_that_is_known_of_it(rig: Rig) -> None:
    await start(rig)
    assert only(Reports(rig.store).devices()) == {
        "device_id": f"{BRIDGE:016X}",
        "device_type": "PPMID",
        "variant": "AltHAN Bridge 1",
        "label": "Alt HAN bridge 1",
        "manufacturer": "A17A",
        "model": "0A010101",
        "status": "Whitelisted",
        "firmware_version": f"{OLD:08X}",
        "cpl_status": "Active",
        "chf": f"{HUB:016X}",
        "premises": "1",
        "mpxn": "1312345678111",
        "last_attempt_at": "2026-01-01T00:00:01.000000Z",
        "last_attempt_version": f"{NEW:08X}",
        "last_attempt_outcome": "requested",
    }


@pytest.mark.requirement("MP170-R11", "good", "bad")
@pytest.mark.parametrize("variant", [*PpmidVariant, None])
def test_a_bridge_is_never_called_a_ppmid(variant: PpmidVariant | None) -> None:
    device = smi_device(1, ppmid_variant=variant)
    number = None if variant in (None, PpmidVariant.PPMID) else variant[-1]
    assert label(device) == ("PPMID" if number is None else f"Alt HAN bridge {number}")


async def test_every_device_is_reported_where_every_one_is_asked_for(rig: Rig) -> None:
    types = [row["device_type"] for row in Reports(rig.store).devices(every=True)]
    assert sorted(types) == ["CHF", "CHF", "GPF", "PPMID", "PPMID"]


async def test_esi_rows_have_the_variant_of_every_device_with_firmware(rig: Rig) -> None:
    rows = {row["device_id"]: row for row in Reports(rig.store).esi_034()}
    assert rows[f"{BRIDGE:016X}"]["smets_variant_type"] == "AltHAN Bridge 1"
    assert rows[f"{PPMID:016X}"]["smets_variant_type"] == "PPMID"
    assert rows[f"{HUB:016X}"]["smets_variant_type"] == ""
    assert len(rows) == 5


async def test_the_incremental_esi_report_has_what_something_happened_to(rig: Rig) -> None:
    reports = Reports(rig.store)
    assert list(reports.esi_034("2026-01", incremental=True)) == []
    await start(rig)
    assert only(reports.esi_034("2026-01", incremental=True))["device_id"] == f"{BRIDGE:016X}"
    assert list(reports.esi_034("2026-02", incremental=True)) == []


@pytest.mark.requirement("MP170-R5", "good")
async def test_read_inventory_report_and_device_tell_the_same_version(rig: Rig) -> None:
    device = Device(BRIDGE)
    await start(rig)
    rig.take_offer()
    device.version = NEW
    rig.from_device(BRIDGE, device.activated())
    await rig.alert(PpmidAlert)
    answer = await rig.ask("8.2", ReadInventory(device_id=BRIDGE))
    assert isinstance(answer.message, ResponseMessage)
    assert isinstance(answer.message.content, DspInventory)
    (read,) = [one for one in answer.message.content.devices if one.device_id == BRIDGE]
    asked = await rig.ask("11.2", ReadFirmwareVersion(), target=BRIDGE)
    rig.from_device(BRIDGE, device.answer(rig.wan[HUB].take(CommandForDevice).frame))
    await rig.response(str(asked.request_id))
    row = only(Reports(rig.store).devices())
    assert read.device_firmware_version == row["firmware_version"] == f"{NEW:08X}"
    assert row["last_attempt_outcome"] == "activated"


# -- attempts ----------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-R3", "good")
async def test_an_attempt_is_reported_with_its_outcome(rig: Rig) -> None:
    request_id = await start(rig)
    rig.take_offer()
    reports = Reports(rig.store)
    assert only(reports.attempts())["outcome"] == "in progress"
    rig.now = EPOCH + timedelta(hours=1)
    rig.from_device(BRIDGE, Device(BRIDGE).activated())
    assert only(reports.attempts()) == {
        "request_id": request_id,
        "user": f"{SUPPLIER_EUI64:016X}",
        "device_id": f"{BRIDGE:016X}",
        "variant": "AltHAN Bridge 1",
        "chf": f"{HUB:016X}",
        "firmware_version": f"{NEW:08X}",
        "image_sha256": made_image("bridge-1").sha256,
        "started_at": "2026-01-01T00:00:01.000000Z",
        "ended_at": "2026-01-01T01:00:00.000000Z",
        "outcome": "activated",
    }
    assert list(reports.attempts("2026-02")) == []
    assert only(reports.attempts("2026-01"))["request_id"] == request_id


@pytest.mark.requirement("MP170-R3", "good")
@pytest.mark.requirement("MP170-REUSE", "good")
async def test_an_attempt_keeps_the_variant_of_its_life(rig: Rig) -> None:
    await start(rig)
    assert (await rig.ask("8.3", DecommissionDevice(BRIDGE))).response_code == "I99"
    rig.desk.inventory.add(
        smi_device(BRIDGE, ppmid_variant=PpmidVariant.BRIDGE_4, status=DeviceStatus.PENDING)
    )
    reports = Reports(rig.store)
    assert only(reports.attempts())["variant"] == "AltHAN Bridge 1"
    assert only(reports.devices())["variant"] == "AltHAN Bridge 4"
    lives = [(row["life"], row["event"]) for row in reports.log(BRIDGE)]
    assert lives == [("1", "requested"), ("1", "decommissioned"), ("1", "cancelled")]
    assert list(reports.log(STRANGER)) == []
    assert len(list(reports.log())) == 3


async def test_a_month_is_cut_by_its_beginning_and_has_a_success_rate(rig: Rig) -> None:
    rig.desk.inventory.add(smi_device(SECOND, "bridge-1"))
    await start(rig)
    rig.take_offer()
    rig.from_device(BRIDGE, Device(BRIDGE).activated())
    await start(rig, PPMID, "ppmid")
    rig.take_offer()
    rig.from_device(PPMID, Device(PPMID).activated(result=1))
    await start(rig, SECOND)
    rig.now = EPOCH + timedelta(days=20)
    rows = list(Reports(rig.store).monthly("2026-01"))
    counts = [
        (row["variant"], row["attempts"], row["activated"], row["failed"], row["in_progress"])
        for row in rows
    ]
    assert counts == [
        ("AltHAN Bridge 1", "2", "1", "0", "1"),
        ("PPMID", "1", "0", "1", "0"),
        ("all", "3", "1", "1", "1"),
    ]
    assert [row["success_rate_percent"] for row in rows] == ["100.0", "0.0", "50.0"]
    (empty,) = Reports(rig.store).monthly("2026-02")
    assert (empty["attempts"], empty["success_rate_percent"]) == ("0", "")


# -- out of step -------------------------------------------------------------------------------


def transferred(result: TransferResult) -> Callable[[Rig], None]:
    def happen(rig: Rig) -> None:
        rig.take_offer()
        rig.from_device(HUB, Device(HUB).transferred(BRIDGE, result))

    return happen


def not_delivered(rig: Rig) -> None:
    offer: ImageOffer = rig.wan[HUB].take(ImageOffer)
    rig.outcome(BRIDGE, offer.reference, DeliveryResult.REFUSED)


def activated(result: int) -> Callable[[Rig], None]:
    def happen(rig: Rig) -> None:
        rig.take_offer()
        rig.from_device(BRIDGE, Device(BRIDGE).activated(result=result))

    return happen


def timed_out(before: Callable[[Rig], object]) -> Callable[[Rig], None]:
    def happen(rig: Rig) -> None:
        before(rig)
        rig.dsp.handle_timeout(EPOCH + timedelta(days=8))

    return happen


SUCCESS = transferred(TransferResult.FILE_TRANSFER_SUCCESS)


@pytest.mark.parametrize(
    ("happen", "cause"),
    [
        (None, "missed"),
        (lambda _: None, "in progress"),
        (not_delivered, "WAN"),
        (timed_out(lambda _: None), "WAN"),
        (transferred(TransferResult.FILE_TRANSFER_FAILURE), "HAN"),
        (timed_out(lambda rig: rig.take_offer()), "HAN"),
        (transferred(TransferResult.FIRMWARE_IMAGE_DISCARDED), "CH"),
        (transferred(TransferResult.HARDWARE_VERSION_MISMATCH), "device"),
        (activated(1), "device"),
        (timed_out(SUCCESS), "device"),
    ],
)
async def test_a_bridge_that_is_behind_is_reported_with_the_class_of_cause(
    rig: Rig, happen: Callable[[Rig], None] | None, cause: str
) -> None:
    rig.desk.inventory.add(smi_device(SECOND, "bridge-1", firmware_version=f"{NEW:08X}"))
    if happen is not None:
        await start(rig)
        happen(rig)
    row = only(Reports(rig.store).out_of_step())
    assert (row["device_id"], row["cause"]) == (f"{BRIDGE:016X}", cause)
    assert (row["firmware_version"], row["newest_version"]) == (f"{OLD:08X}", f"{NEW:08X}")
    assert (row["in_step_in_home"], row["bridges_in_home"]) == ("1", "2")
    assert (row["premises"], row["chf"]) == ("1", f"{HUB:016X}")


async def test_a_bridge_that_goes_back_to_an_old_version_is_behind_by_itself(rig: Rig) -> None:
    await start(rig)
    activated(0)(rig)
    assert list(Reports(rig.store).out_of_step()) == []
    rig.desk.inventory.set_firmware_version(BRIDGE, f"{OLD:08X}")
    assert only(Reports(rig.store).out_of_step())["cause"] == "device"


async def test_what_is_removed_from_the_cpl_is_nothing_to_be_in_step_with(rig: Rig) -> None:
    rig.desk.cpl.remove(cpl_entry("bridge-1", NEW).identity)
    assert list(Reports(rig.store).out_of_step()) == []


async def test_a_ppmid_and_a_bridge_that_is_gone_are_out_of_no_step(rig: Rig) -> None:
    assert only(Reports(rig.store).out_of_step())["device_id"] == f"{BRIDGE:016X}"
    assert (await rig.ask("8.3", DecommissionDevice(BRIDGE))).response_code == "I99"
    assert list(Reports(rig.store).out_of_step()) == []


# -- to be updated or replaced -----------------------------------------------------------------


@pytest.mark.requirement("CPL-MVP", "good")
async def test_devices_are_named_before_their_maintenance_validity_ends(rig: Rig) -> None:
    always, ending = Period(date(2021, 11, 4)), Period(date(2021, 11, 4), date(2026, 6, 30))
    old = Specification("PPMIDTS V4.4", always, ending, (("4.1", always),))
    new = Specification("PPMIDTS V4.5", always, always, (("4.2", always),))
    rig.desk.applicability.replace([old, new])
    reports = Reports(rig.store)
    assert list(reports.replace(date(2026, 6, 30))) == []
    rows = {row["device_id"]: row for row in reports.replace(date(2026, 7, 1))}
    assert sorted(rows) == sorted([f"{PPMID:016X}", f"{BRIDGE:016X}"])
    assert rows[f"{BRIDGE:016X}"]["maintained_until"] == "2026-06-30"
    assert {row["action"] for row in rows.values()} == {"replace"}
    later = replace(
        cpl_entry("bridge-1", NEW + 1, made_image("bridge-1", NEW + 1)),
        smets_chts_version="PPMIDTS V4.5",
        gbcs_version="4.2",
    )
    rig.desk.cpl.add(later)
    rig.desk.cpl.add(replace(later, firmware_version="0FFFFFFF", status=CplStatus.REMOVED))
    rows = {row["device_id"]: row for row in reports.replace(date(2026, 7, 1))}
    assert rows[f"{BRIDGE:016X}"]["action"] == f"update to {NEW + 1:08X}"
    assert rows[f"{PPMID:016X}"]["action"] == "replace"


# -- AltHANCo's inventory ----------------------------------------------------------------------

HEADING = "device_id,variant,manufacturer,model,firmware_version\n"
LINE = "00DB1234567890B1,AltHAN Bridge 1,A17A,0A010101,00010100\n"


@pytest.mark.requirement("MP170-R3", "good")
async def test_where_two_inventories_agree_there_is_no_discrepancy(rig: Rig) -> None:
    althan = AltHanInventory(rig.store)
    althan.replace(read_bridges(HEADING + LINE, as_json=False))
    assert list(althan.discrepancies()) == []


@pytest.mark.requirement("MP170-R3", "good")
async def test_discrepancies_are_listed_item_by_item(rig: Rig) -> None:
    rig.desk.inventory.add(smi_device(SECOND, "bridge-1"))
    other = LINE.replace("Bridge 1", "Bridge 2").replace("00010100", "00010200")
    unknown = LINE.replace("00DB1234567890B1", "00-DB-12-34-56-78-90-A4")
    althan = AltHanInventory(rig.store)
    althan.replace(read_bridges(HEADING + other + unknown, as_json=False))
    said = [tuple(row.values()) for row in althan.discrepancies()]
    assert said == [
        (f"{PPMID:016X}", "no bridge at the DCC", "", "", ""),
        (f"{BRIDGE:016X}", "differs", "variant", "AltHAN Bridge 2", "AltHAN Bridge 1"),
        (f"{BRIDGE:016X}", "differs", "firmware_version", "00010200", "00010100"),
        (f"{SECOND:016X}", "not at AltHANCo", "", "", ""),
    ]
    althan.replace([])
    assert [row["discrepancy"] for row in althan.discrepancies()] == ["not at AltHANCo"] * 2


@pytest.mark.requirement("MP170-R3", "bad")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (LINE + LINE, "line 3: device 00DB1234567890B1 is there twice"),
        (LINE + LINE.replace("00DB", "00-DB-"), "line 3: device_id .* is no EUI-64"),
        (LINE.replace("Bridge 1", "Bridge 5"), "line 2: variant 'AltHAN Bridge 5' is none of"),
        (LINE.replace("AltHAN Bridge 1", "PPMID"), "line 2: variant 'PPMID' is none of"),
        (LINE.replace("A17A", "a17a"), "line 2: manufacturer 'a17a' is not 4 digits"),
        (LINE.replace("00010100", ""), "line 2: firmware_version is missing"),
        (LINE.replace("A17A,", ""), "line 2: has 4 columns, not 5"),
    ],
)
def test_a_line_of_althanco_that_is_wrong_is_named(line: str, words: str) -> None:
    with pytest.raises(DspValueError, match=words):
        read_bridges(HEADING + line, as_json=False)


BRIDGES = st.builds(
    AltHanBridge,
    st.integers(0, 2**64 - 1),
    st.sampled_from([one for one in PpmidVariant if one is not PpmidVariant.PPMID]),
    *(st.text("0123456789ABCDEF", min_size=n, max_size=n) for n in (4, 8, 8)),
)


@given(st.lists(BRIDGES, unique_by=lambda one: one.device_id, max_size=4), st.booleans())
def test_bridges_are_read_as_they_were_written(bridges: list[AltHanBridge], as_json: bool) -> None:
    rows = [
        dict(zip(BRIDGE_COLUMNS, (f"{one.device_id:016X}", *_texts(one)), strict=True))
        for one in bridges
    ]
    text = write_rows(BRIDGE_COLUMNS, rows, as_json=as_json)
    assert read_bridges(text, as_json=as_json) == bridges


def _texts(one: AltHanBridge) -> tuple[str, ...]:
    return one.variant, one.manufacturer, one.model, one.firmware_version


@given(st.text(max_size=120), st.booleans())
def test_any_text_is_an_inventory_or_refused(text: str, as_json: bool) -> None:
    try:
        read_bridges(text, as_json=as_json)
    except DspValueError:
        return


# -- columns -----------------------------------------------------------------------------------


async def test_every_report_has_its_columns_and_no_other(rig: Rig) -> None:
    rig.desk.inventory.add(
        smi_device(
            7,
            device_type=DeviceType.ESME,
            status=DeviceStatus.COMMISSIONED,
            date_commissioned="2026-01-01",
            ppmid_variant=None,
            esme_variant="A",
        )
    )
    await start(rig)
    found_as(rig.store, OTHER_HUB, smets_chts_version="PPMIDTS V4.4", gbcs_version="9.9")
    reports = Reports(rig.store)
    rows = {
        "devices": list(reports.devices(every=True)),
        "attempts": list(reports.attempts()),
        "log": list(reports.log()),
        "monthly": list(reports.monthly("2026-01")),
        "esi-034": list(reports.esi_034()),
        "out-of-step": list(reports.out_of_step()),
        "replace": list(reports.replace(date(2026, 1, 1))),
    }
    assert rows.keys() == COLUMNS.keys()
    for name, found in rows.items():
        assert found, name
        for row in found:
            assert set(row) == set(COLUMNS[name]), name
            assert all(isinstance(value, str) for value in row.values())
        for as_json in (False, True):
            text = write_rows(COLUMNS[name], found, as_json=as_json)
            read = read_rows(text, COLUMNS[name], as_json=as_json, most=99, optional=COLUMNS[name])
            assert [row for _, row in read] == [
                {column: row.get(column, "") for column in COLUMNS[name]} for row in found
            ]
        assert json.loads(text)
