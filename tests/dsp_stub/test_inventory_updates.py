"""Decommission Device (8.3) and Update Inventory (8.4) over HTTP: each code, and what changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from dsp_rig import (
    BRIDGE,
    DISTRIBUTOR_EUI64,
    EPOCH,
    ESME,
    GPF,
    HUB,
    INSTALL_CODE,
    NEW,
    OLD,
    OTHER_HUB,
    OTHER_SUPPLIER_EUI64,
    PPMID,
    STRANGER,
    Device,
    Rig,
    found_as,
    made_image,
    running,
    sign,
    smi_device,
)

from dsp_stub.cpl import CplEntry
from dsp_stub.future_dated import MAX_WAITING, FutureDated, FutureDatedRequest, Schedule
from dsp_stub.inventory_requests import (
    Change,
    DecommissionDevice,
    DeleteDevice,
    DeviceDetails,
    NewDeviceStatus,
    NewHubStatus,
    NewMpxn,
    UpdateInventory,
)
from dsp_stub.options import DspFile, Options, furnish_registrations
from dsp_stub.registrations import Registration, Registrations
from dsp_stub.requests import (
    DevicePrenotification,
    ReadFirmwareVersion,
    ReadInventory,
    RequestId,
    UpdateHanDeviceLog,
    UpdatePpmidFirmware,
)
from dsp_stub.responses import (
    CommandFailure,
    DeviceStatusChangeEvent,
    DspInventory,
    DspScheduleRemoval,
    InventoryDevice,
    Response,
    ResponseMessage,
    UpdateHanDeviceLogResult,
)
from dsp_stub.smi import DeviceStatus, DeviceType, PpmidVariant, Premises, SmiDevice
from dsp_stub.statuses import BY_UPDATE_CH, BY_UPDATE_EXCEPT_CH
from dsp_stub.store import Store
from gbcs.smki import SUPPLIER_EUI64
from gbcs.wan import CommandForDevice

pytestmark = [pytest.mark.real_clock, pytest.mark.requirement("MP170-SR84", "good", "bad")]

GSME, IHD, PENDING_HUB, PENDING_GPF = 0x00DB1234567890C1, 0xC2, 0x00DB1234567890C3, 0xC4
MPAN, NEW_MPAN, MPRN = "1312345678111", "1312345678222", "9876543210"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(None) as rig:
        yield rig


def meter(device_id: int = ESME, device_type: DeviceType = DeviceType.ESME, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "device_type": device_type,
        "status": DeviceStatus.COMMISSIONED,
        "date_commissioned": "2026-01-01",
        "ppmid_variant": None,
        "esme_variant": "BDE" if device_type is DeviceType.ESME else None,
    }
    return smi_device(device_id, **(fields | changes))


def ihd(**changes: Any) -> SmiDevice:
    fields: dict[str, Any] = {
        "device_type": DeviceType.IHD,
        "status": None,
        "manufacturer": "GEO",
        "model": "Trio",
        "firmware_version": None,
        "gbcs_version": None,
        "ppmid_variant": None,
        "prenotified_by": SUPPLIER_EUI64,
    }
    return smi_device(IHD, **(fields | changes))


def prenotification(device_id: int = STRANGER, **changes: Any) -> DevicePrenotification:
    fields: dict[str, Any] = {
        "device_id": device_id,
        "manufacturer": "121D",
        "model": "00841111",
        "device_type": "PPMID",
        "smets_chts_version": "PPMIDTS V4.4",
        "firmware_version": f"{OLD:08X}",
        "ppmid_variant": "PPMID",
    }
    return DevicePrenotification(**(fields | changes))


async def announce(rig: Rig, device_id: int = STRANGER, **how: Any) -> SmiDevice:
    assert (await rig.ask("12.2", prenotification(device_id), **how)).response_code == "I99"
    return held(rig, device_id)


def held(rig: Rig, device_id: int) -> SmiDevice:
    device = rig.desk.inventory.get(device_id)
    assert device is not None
    return device


async def change(rig: Rig, device_id: int, what: Change, **how: Any) -> str:
    answer = await rig.ask("8.4", UpdateInventory(device_id, what), **how)
    return answer.response_code


async def refused(rig: Rig, code: str, device_id: int, what: Change, **how: Any) -> None:
    before = rig.smi()
    homes = rig.desk.inventory.all_premises()
    assert await change(rig, device_id, what, **how) == code
    assert (rig.smi(), rig.desk.inventory.all_premises()) == (before, homes)


# -- status ------------------------------------------------------------------------------------


async def test_which_status_of_a_device_8_4_may_change(rig: Rig) -> None:
    for old, new in product(DeviceStatus, ("Pending", "InstalledNotCommissioned")):
        found_as(rig.store, BRIDGE, status=old)
        may = (old, DeviceStatus(new)) in BY_UPDATE_EXCEPT_CH
        assert await change(rig, BRIDGE, NewDeviceStatus(new)) == ("I99" if may else "E080406")
        assert held(rig, BRIDGE).status == (new if may else old)


async def test_which_status_of_a_hub_8_4_may_change(rig: Rig) -> None:
    statuses = ("Commissioned", "InstalledNotCommissioned", "Withdrawn")
    for old, new in product(DeviceStatus, statuses):
        found_as(rig.store, HUB, status=old)
        may = (old, DeviceStatus(new)) in BY_UPDATE_CH
        assert await change(rig, HUB, NewHubStatus(new)) == ("I99" if may else "E080412")
        assert held(rig, HUB).status == (new if may else old)


def test_the_transitions_of_8_4_are_those_of_the_legal_text() -> None:
    assert {
        ("Pending", "InstalledNotCommissioned"),
        ("Whitelisted", "Pending"),
    } == BY_UPDATE_EXCEPT_CH
    assert {
        ("Pending", "InstalledNotCommissioned"),
        ("InstalledNotCommissioned", "Commissioned"),
        ("Pending", "Commissioned"),
        ("Commissioned", "Withdrawn"),
    } == BY_UPDATE_CH


@pytest.mark.parametrize(
    ("chf", "new", "gpf", "becomes"),
    [
        ("Pending", "InstalledNotCommissioned", "Pending", "InstalledNotCommissioned"),
        ("InstalledNotCommissioned", "Commissioned", "InstalledNotCommissioned", None),
        ("Pending", "Commissioned", "Pending", "InstalledNotCommissioned"),
        ("Commissioned", "Withdrawn", "Commissioned", "Withdrawn"),
        ("Commissioned", "Withdrawn", "InstalledNotCommissioned", "Withdrawn"),
    ],
)
async def test_a_gpf_follows_its_hub(
    rig: Rig, chf: str, new: str, gpf: str, becomes: str | None
) -> None:
    with rig.store.transaction():
        found_as(rig.store, HUB, date_commissioned=None)
        found_as(rig.store, HUB, status=chf)
    found_as(rig.store, GPF, status=gpf)
    assert await change(rig, HUB, NewHubStatus(new)) == "I99"
    assert held(rig, GPF).status == (becomes or gpf)
    is_commissioned = new == "Commissioned"
    was_commissioned = chf == "Commissioned"
    date = held(rig, HUB).date_commissioned
    assert date == ("2026-01-01" if is_commissioned or was_commissioned else None)


@pytest.mark.requirement("MP170-SR84", "bad")
@pytest.mark.parametrize(
    ("code", "device_id", "what"),
    [
        ("E19", STRANGER, NewDeviceStatus("Pending")),
        ("E19", STRANGER, NewHubStatus("Withdrawn")),
        ("E080405", HUB, NewDeviceStatus("Pending")),
        ("E080405", IHD, NewDeviceStatus("Pending")),
        ("E080405", GPF, NewDeviceStatus("Pending")),
        ("E080405", GPF, NewHubStatus("Withdrawn")),
        ("E080405", GPF, DeviceDetails(model="00841111")),
        ("E080405", GPF, DeleteDevice()),
        ("E080405", GPF, NewMpxn(import_mpxn=MPAN)),
        ("E080411", BRIDGE, NewHubStatus("Withdrawn")),
        ("E080411", IHD, NewHubStatus("Withdrawn")),
    ],
)
async def test_a_status_that_is_not_one_of_the_type_is_refused(
    rig: Rig, code: str, device_id: int, what: Change
) -> None:
    rig.desk.inventory.add(ihd())
    await refused(rig, code, device_id, what)


@pytest.mark.parametrize("user", [OTHER_SUPPLIER_EUI64, DISTRIBUTOR_EUI64])
async def test_only_the_responsible_supplier_changes_a_status(rig: Rig, user: int) -> None:
    for device_id, what in ((BRIDGE, NewDeviceStatus("Pending")), (HUB, NewHubStatus("Withdrawn"))):
        await refused(rig, "E080410", device_id, what, user=user)
        assert await change(rig, device_id, what) == "I99"


async def test_a_recovered_device_is_judged_by_its_status_before(rig: Rig) -> None:
    for status in (DeviceStatus.RECOVERY, DeviceStatus.RECOVERED):
        rig.desk.inventory.set_status(BRIDGE, status)
    assert await change(rig, BRIDGE, NewDeviceStatus("Pending")) == "I99"
    assert held(rig, BRIDGE).status is DeviceStatus.PENDING


async def test_details_of_a_recovered_device_are_judged_by_its_status_before(rig: Rig) -> None:
    await announce(rig)
    right = DeviceDetails(ppmid_variant="AltHAN Bridge 1")
    found_as(rig.store, STRANGER, status="Recovered", before_recovery="Whitelisted")
    await refused(rig, "E080407", STRANGER, right)
    found_as(rig.store, STRANGER, status="Recovered", before_recovery="Pending")
    assert await change(rig, STRANGER, right) == "I99"


# -- withdrawing a hub -------------------------------------------------------------------------


async def test_withdrawing_a_hub_cancels_what_waits_for_its_devices(rig: Rig) -> None:
    rig.desk.future_dated.add_schedule(Schedule(7, OTHER_SUPPLIER_EUI64, BRIDGE))
    rig.desk.future_dated.add_schedule(Schedule(8, SUPPLIER_EUI64, HUB))
    rig.desk.future_dated.add_schedule(Schedule(9, SUPPLIER_EUI64, STRANGER))
    later = ReadFirmwareVersion("2026-01-02T00:00:00Z")
    answer = await rig.ask("11.2", later, target=PPMID)
    assert answer.response_code == "I99"
    assert not rig.wan[HUB].messages, "it waits"
    assert await change(rig, HUB, NewHubStatus("Withdrawn")) == "I99"
    await rig.alert(CommandFailure)
    await rig.quiet()
    assert rig._alerts(CommandFailure) == [CommandFailure(answer.request_id, PPMID)]  # type: ignore[arg-type]
    removals = [
        (user, response.message.dcc_alert_code, response.message.alert)  # type: ignore[union-attr]
        for user, response in rig.told
        if isinstance(getattr(response.message, "alert", None), DspScheduleRemoval)
    ]
    assert sorted(removals, key=str) == [
        (SUPPLIER_EUI64, "N37", DspScheduleRemoval(HUB, 8)),
        (OTHER_SUPPLIER_EUI64, "N37", DspScheduleRemoval(BRIDGE, 7)),
    ]
    codes = [r.message.dcc_alert_code for _, r in rig.told if hasattr(r.message, "dcc_alert_code")]
    assert sorted(codes) == ["N36", "N37", "N37"]
    rig.now = EPOCH + timedelta(days=2)
    rig.dsp.handle_timeout(rig.now)
    assert not rig.wan[HUB].messages, "nothing is carried out any more"
    assert rig.desk.future_dated.delete_schedules([STRANGER]) == [
        Schedule(9, SUPPLIER_EUI64, STRANGER)
    ]


async def test_a_future_dated_request_is_carried_out_when_it_is_due(rig: Rig) -> None:
    later = ReadFirmwareVersion("2026-01-02T00:00:00Z")
    answer = await rig.ask("11.2", later, target=PPMID)
    due = EPOCH + timedelta(days=1)
    assert rig.dsp.next_timeout(rig.now) == due
    rig.dsp.handle_timeout(due - timedelta(seconds=1))
    assert rig.dsp.next_for_hub(HUB, due) is None
    rig.now = due
    rig.dsp.handle_timeout(due)
    rig.server.deliver(b"")
    command = rig.wan[HUB].take(CommandForDevice)
    rig.from_device(PPMID, Device(PPMID).answer(command.frame))
    response = await rig.response(str(answer.request_id))
    assert response.response_code == "I0"


@pytest.mark.parametrize(
    ("time", "code"),
    [
        ("2026-02-01T00:00:00Z", "E12"),
        ("9999-12-31T23:59:59Z", "E12"),
        ("2025-12-31T00:00:00Z", "I99"),
    ],
)
async def test_how_far_ahead_a_request_may_be_dated(rig: Rig, time: str, code: str) -> None:
    answer = await rig.ask("11.2", ReadFirmwareVersion(time), target=PPMID)
    assert answer.response_code == code
    assert len(rig.wan[HUB].messages) == (code == "I99"), "what lies behind is done at once"


async def test_when_the_device_is_gone_by_then_its_user_is_told(rig: Rig) -> None:
    later = ReadFirmwareVersion("2026-01-02T00:00:00Z")
    answer = await rig.ask("11.2", later, target=PPMID)
    rig.desk.inventory.set_status(PPMID, DeviceStatus.DECOMMISSIONED)
    rig.now = EPOCH + timedelta(days=1)
    rig.dsp.handle_timeout(rig.now)
    rig.server.deliver(b"")
    response = await rig.response(str(answer.request_id))
    assert response.response_code == "E19"


async def test_requests_that_wait_have_an_end(rig: Rig) -> None:
    with rig.store.transaction() as connection:
        connection.executemany(
            "INSERT INTO future_dated VALUES (?, '11.2', '00', '2026-02-01')",
            [(str(number),) for number in range(MAX_WAITING)],
        )
    answer = await rig.ask("11.2", ReadFirmwareVersion("2026-01-02T00:00:00Z"), target=PPMID)
    assert answer.response_code == "E12"


def test_a_request_waits_across_a_restart(tmp_path: Path) -> None:

    request = FutureDatedRequest(RequestId(1, 2, 3), "11.2", 2, EPOCH)
    with Store(tmp_path / "dsp.sqlite") as store:
        FutureDated(store).hold(request)
    with Store(tmp_path / "dsp.sqlite") as store:
        assert FutureDated(store).due(EPOCH) == [request]


# -- details -----------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-R11", "good")
async def test_a_variant_is_corrected_while_the_device_is_pending(rig: Rig) -> None:
    await announce(rig)
    details = DeviceDetails(ppmid_variant="AltHAN Bridge 2")
    assert await change(rig, STRANGER, details) == "I99"
    assert held(rig, STRANGER).ppmid_variant is PpmidVariant.BRIDGE_2


async def test_details_that_the_cpl_has_are_taken_with_its_gbcs_version(rig: Rig) -> None:
    announced = await announce(rig)
    rig.desk.cpl.add(_entry(model="00842222", gbcs_version="4.2"))
    details = DeviceDetails(model="00842222", firmware_version=f"{NEW:08X}")
    assert await change(rig, STRANGER, details) == "I99"
    assert held(rig, STRANGER) == replace(
        announced, model="00842222", firmware_version=f"{NEW:08X}", gbcs_version="4.2"
    )


def _entry(**changes: Any) -> CplEntry:
    fields: dict[str, Any] = {
        "device_type": DeviceType.PPMID,
        "manufacturer": "121D",
        "model": "00841111",
        "firmware_version": f"{NEW:08X}",
        "smets_chts_version": "PPMIDTS V4.4",
        "gbcs_version": "4.1",
    }
    return CplEntry(**(fields | changes))


@pytest.mark.requirement("MP170-SR84", "bad")
@pytest.mark.parametrize(
    ("code", "details"),
    [
        ("E080408", {}),
        ("E080409", {"model": "00849999"}),
        ("E080409", {"model": "model"}),
        ("E080409", {"manufacturer": "FFFF"}),
        ("E080409", {"firmware_version": "99999999"}),
        ("E080409", {"smets_chts_version": "PPMIDTS V9.9"}),
        ("E080409", {"esme_variant": "A"}),
    ],
)
async def test_details_that_cannot_be_are_refused(
    rig: Rig, code: str, details: dict[str, str]
) -> None:
    await announce(rig)
    await refused(rig, code, STRANGER, DeviceDetails(**details))


@pytest.mark.requirement("MP170-R11", "bad")
async def test_a_variant_on_a_device_that_is_no_ppmid_is_refused(rig: Rig) -> None:
    rig.desk.cpl.add(_entry(device_type=DeviceType.HCALCS, model="00851111"))
    body = prenotification(
        device_type="HCALCS", model="00851111", firmware_version=f"{NEW:08X}", ppmid_variant=None
    )
    assert (await rig.ask("12.2", body)).response_code == "I99"
    await refused(rig, "E080409", STRANGER, DeviceDetails(ppmid_variant="PPMID"))


@pytest.mark.parametrize(("gbcs_version", "code"), [("3.2", "E080409"), ("4.0", "I99")])
async def test_a_variant_with_apc_is_not_for_devices_before_gbcs_4(
    rig: Rig, gbcs_version: str, code: str
) -> None:
    rig.desk.cpl.add(_entry(device_type=DeviceType.ESME, gbcs_version=gbcs_version))
    body = prenotification(
        device_type="ESME", firmware_version=f"{NEW:08X}", ppmid_variant=None, esme_variant="AD"
    )
    assert (await rig.ask("12.2", body)).response_code == "I99"
    assert await change(rig, STRANGER, DeviceDetails(esme_variant="ADF")) == code


@pytest.mark.requirement("MP170-EARLY", "bad")
@pytest.mark.parametrize("what", [DeviceDetails(ppmid_variant="PPMID"), DeleteDevice()])
async def test_what_is_not_pending_is_neither_corrected_nor_deleted(rig: Rig, what: Change) -> None:
    await announce(rig)
    for status in list(DeviceStatus)[1:]:
        found_as(rig.store, STRANGER, status=status)
        await refused(rig, "E080407", STRANGER, what)


@pytest.mark.requirement("MP170-EARLY", "bad")
@pytest.mark.parametrize("what", [DeviceDetails(ppmid_variant="PPMID"), DeleteDevice()])
async def test_only_who_announced_a_device_corrects_or_deletes_it(rig: Rig, what: Change) -> None:
    await announce(rig, user=OTHER_SUPPLIER_EUI64)
    await refused(rig, "E080410", STRANGER, what)
    await refused(rig, "E080407", STRANGER + 1, what)
    assert await change(rig, STRANGER, what, user=OTHER_SUPPLIER_EUI64) == "I99"


async def test_a_user_of_any_role_may_correct_what_it_announced(rig: Rig) -> None:
    await announce(rig, user=DISTRIBUTOR_EUI64)
    details = DeviceDetails(ppmid_variant="AltHAN Bridge 4")
    assert await change(rig, STRANGER, details, user=DISTRIBUTOR_EUI64) == "I99"


async def test_a_type_2_device_is_corrected_and_deleted_at_any_time(rig: Rig) -> None:
    rig.desk.inventory.add(ihd())
    details = DeviceDetails(manufacturer="Chameleon", model="IHD 7")
    assert await change(rig, IHD, details) == "I99"
    assert held(rig, IHD) == ihd(manufacturer="Chameleon", model="IHD 7")
    await refused(rig, "E080409", IHD, DeviceDetails(firmware_version="00010000"))
    assert await change(rig, IHD, DeleteDevice()) == "I99"
    assert rig.desk.inventory.get(IHD) is None
    assert IHD not in [one.device_id for one in rig.desk.inventory.devices_on(HUB)]


async def test_the_details_of_a_hub_are_its_gpfs_too(rig: Rig) -> None:
    await announce_hub(rig)
    rig.desk.cpl.add(_hub_entry(model="00CF0202"))
    assert await change(rig, PENDING_HUB, DeviceDetails(model="00CF0202")) == "I99"
    assert held(rig, PENDING_HUB).model == held(rig, PENDING_GPF).model == "00CF0202"


def _hub_entry(**changes: Any) -> CplEntry:
    fields = {
        "device_type": DeviceType.CHF,
        "model": "00CF0101",
        "firmware_version": "00010000",
        "smets_chts_version": "CHTS V1.5",
    }
    return _entry(**(fields | changes))


async def announce_hub(rig: Rig, device_id: int = PENDING_HUB) -> None:
    if not rig.desk.cpl.find(device_type=DeviceType.CHF):
        rig.desk.cpl.add(_hub_entry())
    body = prenotification(
        device_id,
        device_type="CHF",
        model="00CF0101",
        firmware_version="00010000",
        smets_chts_version="CHTS V1.5",
        associated_gpf=PENDING_GPF,
        ppmid_variant=None,
    )
    assert (await rig.ask("12.2", body)).response_code == "I99"


async def test_a_hub_is_announced_with_its_gpf_and_deleted_with_it(rig: Rig) -> None:
    await announce_hub(rig)
    gpf = held(rig, PENDING_GPF)
    assert (gpf.device_type, gpf.status, gpf.chf) == ("GPF", "Pending", PENDING_HUB)
    body = prenotification(
        PENDING_HUB + 0x100,
        device_type="CHF",
        model="00CF0101",
        firmware_version="00010000",
        smets_chts_version="CHTS V1.5",
        associated_gpf=PENDING_GPF,
        ppmid_variant=None,
    )
    assert (await rig.ask("12.2", body)).response_code == "E120201", "the GPF has its hub"
    assert await change(rig, PENDING_HUB, DeleteDevice()) == "I99"
    assert rig.desk.inventory.get(PENDING_HUB) is rig.desk.inventory.get(PENDING_GPF) is None
    await announce_hub(rig)
    assert held(rig, PENDING_GPF).status is DeviceStatus.PENDING


async def test_a_deleted_device_is_gone_and_may_be_announced_anew(rig: Rig) -> None:
    await announce(rig)
    assert await change(rig, STRANGER, DeleteDevice()) == "I99"
    answer = await rig.ask("8.2", ReadInventory(device_id=STRANGER))
    assert answer.response_code == "E080201"
    assert await change(rig, STRANGER, DeleteDevice()) == "E080407"
    assert (await announce(rig)).status is DeviceStatus.PENDING
    assert len(rig.desk.inventory.lives(STRANGER)) == 2


async def test_under_duis_5_4_there_is_no_variant_to_correct() -> None:
    async with running(None, Options(profile="duis-5.4")) as rig:
        body = prenotification(ppmid_variant=None)
        assert (await rig.ask("12.2", body)).response_code == "I99"
        await refused(rig, "E100", STRANGER, DeviceDetails(ppmid_variant="PPMID"))
        assert await change(rig, STRANGER, DeviceDetails(model="00841111")) == "I99"


LAX = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"
 targetNamespace="http://www.dccinterface.co.uk/ServiceUserGateway"><xs:element name="Request"/>
 <xs:element name="Response"/></xs:schema>"""


@pytest.mark.parametrize(
    ("service", "body", "old", "new"),
    [
        ("8.4", UpdateInventory(BRIDGE, NewDeviceStatus("Pending")), "Pending", "Commissioned"),
        ("8.4", UpdateInventory(HUB, NewHubStatus("Withdrawn")), "Withdrawn", "Pending"),
        ("8.4", UpdateInventory(ESME, NewMpxn(import_mpxn=NEW_MPAN)), NEW_MPAN, "A" * 13),
        (
            "8.4",
            UpdateInventory(BRIDGE, DeviceDetails(ppmid_variant="AltHAN Bridge 2")),
            "Bridge 2",
            "Bridge 9",
        ),
        ("12.2", prenotification(), ">PPMID</sr:DeviceType", ">TOASTER</sr:DeviceType"),
        ("12.2", prenotification(ppmid_variant="AltHAN Bridge 2"), "Bridge 2", "Bridge 9"),
    ],
)
async def test_what_a_lax_schema_lets_through_is_refused_all_the_same(
    tmp_path: Path, service: str, body: Any, old: str, new: str
) -> None:
    lax = tmp_path / "lax.xsd"
    lax.write_text(LAX)
    async with running(None, Options(xsd=str(lax))) as rig:
        rig.desk.inventory.add(meter())
        before = rig.smi()
        octets = rig.request(service, body)
        assert octets.decode().count(old) == 1
        answer = await rig.post(sign(octets.replace(old.encode(), new.encode())))
        assert answer.response_code == "E100"
        assert rig.smi() == before


# -- metering points ---------------------------------------------------------------------------


async def meters(rig: Rig) -> None:
    rig.desk.inventory.add(meter())
    rig.desk.inventory.add(meter(GSME, DeviceType.GSME))
    rig.desk.registrations.put(Registration(NEW_MPAN, SUPPLIER_EUI64, DISTRIBUTOR_EUI64))


async def points(rig: Rig, device_id: int) -> dict[str, str | None]:
    answer = await rig.ask("8.2", ReadInventory(device_id=device_id))
    assert isinstance(answer.message, ResponseMessage)
    assert isinstance(answer.message.content, DspInventory)
    (found,) = [one for one in answer.message.content.devices if one.device_id == device_id]
    return {
        "import": found.import_mpxn,
        "secondary": found.secondary_import_mpan,
        "export": found.export_mpan,
    }


@pytest.mark.parametrize(
    ("device_id", "what", "expected"),
    [
        (ESME, NewMpxn(import_mpxn=NEW_MPAN), {"import": NEW_MPAN}),
        (ESME, NewMpxn(secondary_import_mpan=NEW_MPAN), {"import": MPAN, "secondary": NEW_MPAN}),
        (ESME, NewMpxn(export_mpan=NEW_MPAN), {"import": MPAN, "export": NEW_MPAN}),
        (GSME, NewMpxn(import_mpxn=MPRN), {"import": MPRN}),
    ],
)
async def test_a_metering_point_is_associated_with_a_meter(
    rig: Rig, device_id: int, what: NewMpxn, expected: dict[str, str]
) -> None:
    await meters(rig)
    assert await change(rig, device_id, what) == "I99"
    found = await points(rig, device_id)
    assert {name: point for name, point in found.items() if point is not None} == expected
    home = rig.desk.inventory.premises(1)
    assert home.import_mpxn == (NEW_MPAN if what.import_mpxn == NEW_MPAN else MPAN)


async def test_the_network_operator_is_told_of_a_new_metering_point(rig: Rig) -> None:
    await meters(rig)
    assert await change(rig, ESME, NewMpxn(export_mpan=NEW_MPAN)) == "I99"
    alert = await rig.alert(DeviceStatusChangeEvent)
    assert alert == DeviceStatusChangeEvent(ESME, MPAN, None, NEW_MPAN, "BDE")
    assert [user for user, _ in rig.told] == [DISTRIBUTOR_EUI64]
    assert rig.told[0][1].message.dcc_alert_code == "N16"  # type: ignore[union-attr]


async def test_without_a_network_operator_on_record_nobody_is_told(rig: Rig) -> None:
    await meters(rig)
    assert await change(rig, GSME, NewMpxn(import_mpxn=MPRN)) == "I99"
    await rig.quiet()
    assert rig.told == []


@pytest.mark.requirement("MP170-SR84", "bad")
@pytest.mark.parametrize(
    ("device_id", "what"),
    [
        (ESME, NewMpxn(import_mpxn=MPRN)),
        (GSME, NewMpxn(import_mpxn=NEW_MPAN)),
        (GSME, NewMpxn(secondary_import_mpan=NEW_MPAN)),
        (GSME, NewMpxn(export_mpan=NEW_MPAN)),
        (PPMID, NewMpxn(import_mpxn=NEW_MPAN)),
        (HUB, NewMpxn(import_mpxn=NEW_MPAN)),
    ],
)
async def test_a_metering_point_that_does_not_suit_is_refused(
    rig: Rig, device_id: int, what: NewMpxn
) -> None:
    await meters(rig)
    await refused(rig, "E080413", device_id, what)


@pytest.mark.parametrize(
    ("variant", "what"),
    [
        ("A", NewMpxn(secondary_import_mpan=NEW_MPAN)),
        ("AG", NewMpxn(export_mpan=NEW_MPAN)),
    ],
)
async def test_which_points_an_esme_takes_depends_on_its_variant(
    rig: Rig, variant: str, what: NewMpxn
) -> None:
    rig.desk.inventory.add(meter(esme_variant=variant))
    await refused(rig, "E080413", ESME, what)


async def test_a_meter_at_no_premises_takes_no_metering_point(rig: Rig) -> None:
    rig.desk.inventory.add(meter(premises=None))
    await refused(rig, "E080413", ESME, NewMpxn(import_mpxn=NEW_MPAN))


async def test_in_which_statuses_a_meter_takes_a_metering_point(rig: Rig) -> None:
    await meters(rig)
    for status in DeviceStatus:
        found_as(rig.store, ESME, status=status)
        takes = status in ("Whitelisted", "InstalledNotCommissioned", "Commissioned")
        code = await change(rig, ESME, NewMpxn(import_mpxn=NEW_MPAN))
        assert code == ("I99" if takes else "E080414")


async def test_only_the_registered_supplier_changes_a_metering_point(rig: Rig) -> None:
    await meters(rig)
    other = {"user": OTHER_SUPPLIER_EUI64}
    new = NewMpxn(import_mpxn=NEW_MPAN)
    await refused(rig, "E080415", ESME, new, **other)
    await refused(rig, "E080410", ESME, new, user=DISTRIBUTOR_EUI64)
    rig.desk.registrations.put(Registration(NEW_MPAN, OTHER_SUPPLIER_EUI64))
    await refused(rig, "E080415", ESME, new)
    rig.desk.registrations.put(Registration(MPAN, OTHER_SUPPLIER_EUI64))
    await refused(rig, "E080415", ESME, new)
    assert await change(rig, ESME, new, **other) == "I99"


async def test_where_none_is_recorded_any_supplier_may_add_one(rig: Rig) -> None:
    await meters(rig)
    new = NewMpxn(import_mpxn=MPRN)
    assert await change(rig, GSME, new, user=OTHER_SUPPLIER_EUI64) == "I99"


# -- 8.3 ---------------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-REUSE", "good")
async def test_which_devices_8_3_decommissions(rig: Rig) -> None:
    for old in DeviceStatus:
        found_as(rig.store, BRIDGE, status=old)
        over = old in ("Decommissioned", "Withdrawn", "Recovered")
        answer = await rig.ask("8.3", DecommissionDevice(BRIDGE))
        assert answer.response_code == ("E080302" if over else "I99")
        assert held(rig, BRIDGE).status is (old if over else DeviceStatus.DECOMMISSIONED)


@pytest.mark.requirement("MP170-REUSE", "bad")
@pytest.mark.parametrize(
    ("code", "device_id", "how"),
    [
        ("E19", STRANGER, {}),
        ("E4", BRIDGE, {"user": OTHER_SUPPLIER_EUI64}),
        ("E2", BRIDGE, {"user": DISTRIBUTOR_EUI64}),
        ("E080301", GPF, {}),
        ("E080301", IHD, {}),
    ],
)
async def test_a_decommissioning_that_cannot_be_is_refused(
    rig: Rig, code: str, device_id: int, how: dict[str, int]
) -> None:
    rig.desk.inventory.add(ihd())
    before = rig.smi()
    assert (await rig.ask("8.3", DecommissionDevice(device_id), **how)).response_code == code
    assert rig.smi() == before


@pytest.mark.requirement("MP170-REUSE", "good")
async def test_a_hub_takes_its_gpf_with_it(rig: Rig) -> None:
    assert (await rig.ask("8.3", DecommissionDevice(HUB))).response_code == "I99"
    assert held(rig, GPF).status is DeviceStatus.DECOMMISSIONED


@pytest.mark.requirement("MP170-REUSE", "good")
async def test_a_decommissioned_device_is_gone_from_its_home_and_can_still_be_read(
    rig: Rig,
) -> None:
    assert (await rig.ask("8.3", DecommissionDevice(BRIDGE))).response_code == "I99"
    home = await read(rig, ReadInventory(uprn="123"))
    assert BRIDGE not in [one.device_id for one in home]
    (alone,) = await read(rig, ReadInventory(device_id=BRIDGE))
    assert (alone.device_id, alone.device_status) == (BRIDGE, "Decommissioned")


async def read(rig: Rig, body: ReadInventory) -> tuple[InventoryDevice, ...]:
    answer: Response = await rig.ask("8.2", body)
    assert isinstance(answer.message, ResponseMessage)
    assert isinstance(answer.message.content, DspInventory)
    return answer.message.content.devices


@pytest.mark.requirement("MP170-REUSE", "good")
async def test_a_device_is_reused_with_a_new_variant_and_its_old_log_stays(rig: Rig) -> None:
    body = UpdatePpmidFirmware(made_image("bridge-1").data, f"{NEW:08X}", (BRIDGE,))
    assert (await rig.ask("11.4", body)).response_code == "I99"
    again = prenotification(
        BRIDGE, manufacturer="A17A", model="0A010101", ppmid_variant="AltHAN Bridge 3"
    )
    assert (await rig.ask("12.2", again)).response_code == "E120201", "it is still in use"
    assert (await rig.ask("8.3", DecommissionDevice(BRIDGE))).response_code == "I99"
    assert rig.desk.updates.open_update(BRIDGE) is None, "its update is over"
    assert (await rig.ask("12.2", again)).response_code == "I99"
    new = held(rig, BRIDGE)
    assert (new.status, new.ppmid_variant) == ("Pending", "AltHAN Bridge 3")
    assert new.chf is None
    old, now = rig.desk.inventory.lives(BRIDGE)
    assert (old.status, old.ppmid_variant, old.chf) == ("Decommissioned", "AltHAN Bridge 1", HUB)
    assert now == new
    log = rig.store.connection.execute(
        "SELECT event, life FROM attempts WHERE device = ? ORDER BY id", (f"{BRIDGE:016X}",)
    ).fetchall()
    assert log == [("requested", 1), ("decommissioned", 1), ("cancelled", 1)]


@pytest.mark.requirement("MP170-REUSE", "good")
async def test_decommissioning_cancels_what_waits_for_the_device(rig: Rig) -> None:
    later = ReadFirmwareVersion("2026-01-02T00:00:00Z")
    answer = await rig.ask("11.2", later, target=BRIDGE)
    assert (await rig.ask("8.3", DecommissionDevice(BRIDGE))).response_code == "I99"
    assert await rig.alert(CommandFailure) == CommandFailure(answer.request_id, BRIDGE)  # type: ignore[arg-type]


# -- bridges labelled by mistake ---------------------------------------------------------------


async def let_in(rig: Rig, device_id: int) -> None:
    rig.wan[HUB].messages.clear()
    body = UpdateHanDeviceLog(device_id, "Add", 90, INSTALL_CODE)
    count = len(rig._alerts(UpdateHanDeviceLogResult)) + 1
    assert (await rig.ask("8.11", body, target=HUB)).response_code == "I99"
    command = rig.wan[HUB].take(CommandForDevice)
    hub = Device(HUB, counter=5000)
    rig.from_device(HUB, hub.answer(command.frame))
    await rig.alert(UpdateHanDeviceLogResult, count)


@pytest.mark.requirement("MP170-EARLY", "good")
async def test_a_whitelisted_bridge_with_a_wrong_label_is_corrected(rig: Rig) -> None:
    await announce(rig)
    await let_in(rig, STRANGER)
    assert held(rig, STRANGER).status is DeviceStatus.WHITELISTED
    right = DeviceDetails(ppmid_variant="AltHAN Bridge 1")
    await refused(rig, "E080407", STRANGER, right)
    pending = NewDeviceStatus("Pending")
    await refused(rig, "E080410", STRANGER, pending, user=OTHER_SUPPLIER_EUI64)
    assert await change(rig, STRANGER, pending) == "I99"
    await refused(rig, "E080410", STRANGER, right, user=OTHER_SUPPLIER_EUI64)
    assert await change(rig, STRANGER, right) == "I99"
    await let_in(rig, STRANGER)
    corrected = held(rig, STRANGER)
    assert (corrected.status, corrected.ppmid_variant) == ("Whitelisted", "AltHAN Bridge 1")


@pytest.mark.requirement("MP170-EARLY", "good")
async def test_a_full_hub_lets_a_corrected_bridge_back_in(rig: Rig) -> None:
    for number in range(4):
        rig.desk.inventory.add(smi_device(0x1000 + number))
    assert await change(rig, BRIDGE, NewDeviceStatus("Pending")) == "I99"
    await let_in(rig, BRIDGE)
    assert held(rig, BRIDGE).status is DeviceStatus.WHITELISTED


@pytest.mark.requirement("MP170-EARLY", "good")
async def test_a_row_from_before_the_variant_is_read_as_a_ppmid(rig: Rig) -> None:
    found_as(rig.store, BRIDGE, ppmid_variant=None)
    found = await read(rig, ReadInventory(device_id=BRIDGE))
    assert [one.ppmid_variant for one in found if one.device_id == BRIDGE] == ["PPMID"]


@pytest.mark.requirement("MP170-EARLY", "good", "bad")
async def test_a_commissioned_bridge_with_a_wrong_label_is_reused_not_corrected(rig: Rig) -> None:
    await announce(rig)
    found_as(rig.store, STRANGER, status="Commissioned", date_commissioned="2026-01-01")
    await refused(rig, "E080407", STRANGER, DeviceDetails(ppmid_variant="AltHAN Bridge 1"))
    await refused(rig, "E080406", STRANGER, NewDeviceStatus("Pending"))
    assert (await rig.ask("8.3", DecommissionDevice(STRANGER))).response_code == "I99"
    body = prenotification(ppmid_variant="AltHAN Bridge 1")
    assert (await rig.ask("12.2", body)).response_code == "I99"
    assert held(rig, STRANGER).ppmid_variant is PpmidVariant.BRIDGE_1


# -- premises ----------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-SR82", "good", "bad")
async def test_seventeen_devices_are_read_and_an_eighteenth_is_not_let_in(rig: Rig) -> None:
    for number in range(13):
        rig.desk.inventory.add(ihd_at(0x1000 + number, HUB))
    assert len(await read(rig, ReadInventory(uprn="123"))) == 17
    rig.desk.inventory.add(ihd_at(0x2000, None))
    await announce(rig)
    body = UpdateHanDeviceLog(STRANGER, "Add", 90, INSTALL_CODE)
    assert (await rig.ask("8.11", body, target=HUB)).response_code == "E081111"


def ihd_at(device_id: int, hub: int | None) -> SmiDevice:
    return replace(ihd(), device_id=device_id, chf=hub, premises=1 if hub else None)


@pytest.mark.requirement("MP170-SR82", "bad")
async def test_an_eighteenth_device_is_not_found_at_premises_either(rig: Rig) -> None:
    for number in range(13):
        rig.desk.inventory.add(ihd_at(0x1000 + number, HUB))
    with pytest.raises(ValueError, match="premises 1 have 17 devices"):
        rig.desk.inventory.add(ihd_at(0x2000, HUB))
    rig.desk.inventory.add(ihd_at(0x2000, None))
    with pytest.raises(ValueError, match="premises 1 have 17 devices"):
        rig.desk.inventory.attach(0x2000, HUB, 1)


@pytest.mark.requirement("MP170-SIX", "good", "bad")
async def test_a_device_log_has_room_for_fifteen(rig: Rig) -> None:
    for number in range(14):
        rig.desk.inventory.add(replace(ihd_at(0x1000 + number, OTHER_HUB), premises=None))
    for device_id, code in ((STRANGER, "I99"), (STRANGER + 1, "E081111")):
        await announce(rig, device_id)
        body = UpdateHanDeviceLog(device_id, "Add", 90, INSTALL_CODE)
        answer = await rig.ask("8.11", body, target=OTHER_HUB)
        assert answer.response_code == code, "one that waits for its answer counts too"


@pytest.mark.requirement("MP170-SR82", "good")
async def test_a_supplier_reads_a_home_it_is_not_responsible_for(rig: Rig) -> None:
    body = ReadInventory(uprn="123")
    for user in (OTHER_SUPPLIER_EUI64, DISTRIBUTOR_EUI64):
        assert (await rig.ask("8.2", body, user=user)).response_code == "I0"


@pytest.mark.requirement("MP170-SR82", "bad")
async def test_premises_without_devices_and_premises_that_share_an_address(rig: Rig) -> None:

    address: dict[str, Any] = {"post_code": "AB1 2CD", "address_identifier": "1 High St"}
    rig.desk.inventory.add_premises(Premises(id=2, **address))
    upper: dict[str, Any] = {"post_code": "ab1 2cd", "address_identifier": "1 HIGH ST"}
    answer = await rig.ask("8.2", ReadInventory(**upper))
    assert answer.response_code == "E080202"
    rig.desk.inventory.add_premises(Premises(id=3, **upper))
    answer = await rig.ask("8.2", ReadInventory(**address))
    assert answer.response_code == "E080201"


# -- 12.2: eight types, five items -------------------------------------------------------------

ITEMS = {
    "firmware_version": "00010000",
    "smets_chts_version": "PPMIDTS V4.4",
    "esme_variant": "AD",
    "associated_gpf": PENDING_GPF,
    "ppmid_variant": "AltHAN Bridge 1",
}
HAS = {
    "ESME": {"firmware_version", "smets_chts_version", "esme_variant"},
    "GSME": {"firmware_version", "smets_chts_version"},
    "CHF": {"firmware_version", "smets_chts_version", "associated_gpf"},
    "HCALCS": {"firmware_version", "smets_chts_version"},
    "PPMID": {"firmware_version", "smets_chts_version", "ppmid_variant"},
    "IHD": {"smets_chts_version"},
    "CAD": set(),
}


@pytest.mark.requirement("MP170-SR122", "good", "bad")
@pytest.mark.parametrize("item", ITEMS)
async def test_an_item_is_there_exactly_where_the_type_has_it(rig: Rig, item: str) -> None:
    for number, device_type in enumerate((*HAS, "GPF")):
        await one_cell(rig, device_type, item, STRANGER + number)


async def one_cell(rig: Rig, device_type: str, item: str, device_id: int) -> None:
    model = f"AA0000{device_id & 0xFF:02X}"
    if device_type not in ("IHD", "CAD", "GPF"):
        listed = {"firmware_version": "00010000", "model": model}
        rig.desk.cpl.add(_entry(device_type=DeviceType(device_type), **listed))
    has = HAS.get(device_type, set())
    right: dict[str, Any] = {name: value for name, value in ITEMS.items() if name in has}
    wrong = {name: value for name, value in right.items() if name != item}
    if item not in has:
        wrong[item] = ITEMS[item]
    for items, code in ((wrong, "E120204"), (right, "I99")):
        body = DevicePrenotification(
            device_id=device_id,
            manufacturer="121D",
            model=model,
            device_type=device_type,
            **items,
        )
        answer = await rig.ask("12.2", body)
        assert answer.response_code == ("E120207" if device_type == "GPF" else code)
    if device_type != "GPF":
        status = None if device_type in ("IHD", "CAD") else "Pending"
        assert held(rig, device_id).status == status


@pytest.mark.requirement("MP170-SR122", "good", "bad")
async def test_who_may_be_announced_again(rig: Rig) -> None:
    for status in DeviceStatus:
        found_as(rig.store, PPMID, status=status)
        answer = await rig.ask("12.2", prenotification(PPMID))
        over = status in ("Decommissioned", "Withdrawn")
        assert answer.response_code == ("I99" if over else "E120201")


@pytest.mark.requirement("MP170-SR122", "good", "bad")
async def test_an_esme_with_apc_is_not_announced_before_gbcs_4(rig: Rig) -> None:
    rig.desk.cpl.add(_entry(device_type=DeviceType.ESME, gbcs_version="3.2"))
    body = prenotification(
        device_type="ESME", firmware_version=f"{NEW:08X}", ppmid_variant=None, esme_variant="AF"
    )
    assert (await rig.ask("12.2", body)).response_code == "E120204"


# -- as found ----------------------------------------------------------------------------------


def test_registrations_and_schedules_are_found_in_the_file(tmp_path: Path) -> None:

    file = DspFile.model_validate_json(
        json.dumps(
            {
                "registration": [
                    {
                        "mpxn": MPAN,
                        "supplier": f"{SUPPLIER_EUI64:016X}",
                        "network_operator": f"{DISTRIBUTOR_EUI64:016X}",
                    }
                ],
                "schedule": [
                    {"id": 3, "owner": f"{SUPPLIER_EUI64:016X}", "device": f"{PPMID:016X}"}
                ],
            }
        )
    )
    with Store(tmp_path / "dsp.sqlite") as store:
        registrations, future_dated = Registrations(store), FutureDated(store)
        for _ in range(2):
            furnish_registrations(registrations, future_dated, file)
        assert registrations.get(MPAN) == Registration(MPAN, SUPPLIER_EUI64, DISTRIBUTOR_EUI64)
        assert registrations.get(NEW_MPAN) is None
        schedule = Schedule(3, SUPPLIER_EUI64, PPMID)
        assert future_dated.delete_schedules([PPMID, OTHER_HUB]) == [schedule]
