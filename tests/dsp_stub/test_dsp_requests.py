"""Requests over HTTP that must be refused, each with its code, and nothing changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
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
    Rig,
    cpl_entry,
    found_as,
    made_image,
    running,
    sign,
    smi_device,
)

from dsp_stub import desk as desk_module
from dsp_stub.options import Codes, Options
from dsp_stub.requests import (
    Body,
    DevicePrenotification,
    ReadFirmwareVersion,
    ReadInventory,
    UpdateHanDeviceLog,
    UpdatePpmidFirmware,
)
from dsp_stub.responses import DspInventory, FirmwareWarning, ResponseMessage
from dsp_stub.smi import DeviceStatus, DeviceType
from dsp_stub.users import Users
from firmware_images.image import FirmwareImage, read_image
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64

pytestmark = pytest.mark.real_clock


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig


def update(
    image: FirmwareImage | None = None, *devices: int, version: str | None = None
) -> UpdatePpmidFirmware:
    image = image or made_image()
    text = version or f"{image.header.file_version:08X}"
    return UpdatePpmidFirmware(image.data, text, devices or (PPMID,))


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


def add(device_id: int = STRANGER, **changes: Any) -> UpdateHanDeviceLog:
    fields: dict[str, Any] = {
        "device_id": device_id,
        "request_type": "Add",
        "join_time_period_s": 90,
        "install_code": INSTALL_CODE,
    }
    return UpdateHanDeviceLog(**(fields | changes))


def changed(image: FirmwareImage) -> FirmwareImage:
    data = bytearray(image.data)
    data[-100] ^= 1
    return read_image(bytes(data))


def warning(response: Any) -> FirmwareWarning:
    assert isinstance(response.message, ResponseMessage)
    assert isinstance(response.message.content, FirmwareWarning)
    return response.message.content


async def refused(rig: Rig, code: str, octets: bytes, path: str | None = None) -> Any:
    """Post it; the code is this one, the inventory is as before, and nothing leaves for a hub."""
    before = rig.smi()
    answer = await rig.post(octets, path)
    assert answer.response_code == code
    assert rig.smi() == before
    assert not any(end.messages for end in rig.wan.values())
    assert rig.desk.updates.open_update(PPMID) is None
    return answer


def suspend(rig: Rig, eui64: int) -> None:
    """As if the DSP had been started anew with another dsp.toml."""
    users = [rig.desk.users.get(one) for one in rig.desk.users.eui64s]
    rig.desk.users = Users(
        replace(one, is_suspended=one.eui64 == eui64) for one in users if one is not None
    )


# -- before a service sees it ------------------------------------------------------------------


async def test_an_altered_signature_value_is_refused(rig: Rig) -> None:
    octets = rig.request("11.4", update())
    start = octets.index(b"SignatureValue>") + len(b"SignatureValue>")
    letter = b"A" if octets[start : start + 1] != b"A" else b"B"
    await refused(rig, "E40", octets[:start] + letter + octets[start + 1 :])


async def test_a_value_altered_after_signing_is_refused(rig: Rig) -> None:
    octets = rig.request("12.2", prenotification())
    await refused(rig, "E40", octets.replace(b"00841111", b"00841112"))


async def test_a_request_without_a_signature_is_refused(rig: Rig) -> None:
    octets = rig.request("8.2", ReadInventory(device_id=PPMID))
    start, end = octets.index(b"<ds:Signature"), octets.index(b"</ds:Signature>")
    await refused(rig, "E40", octets[:start] + octets[end + len(b"</ds:Signature>") :])


async def test_another_users_signature_is_refused(rig: Rig) -> None:
    octets = rig.request("11.4", update())
    await refused(rig, "E40", sign(octets, OTHER_SUPPLIER_EUI64))


async def test_a_certificate_that_is_not_valid_any_more_is_refused(rig: Rig) -> None:
    rig.now = EPOCH + timedelta(days=31)
    await refused(rig, "E40", rig.request("12.2", prenotification()))


async def test_time_checks_can_be_switched_off(tmp_path: Path) -> None:
    async with running(tmp_path, Options(check_certificate_times=False)) as rig:
        rig.now = EPOCH + timedelta(days=31)
        assert (await rig.ask("12.2", prenotification())).response_code == "I99"


async def test_an_originator_who_is_no_user_is_told_so_whoever_signed(rig: Rig) -> None:
    octets = rig.request("11.2", ReadFirmwareVersion(), target=PPMID)
    supplier, acb = b"90-B3-D5-1F-30-01-00-00", b"90-B3-D5-1F-30-00-00-02"
    assert octets.count(supplier) == 1
    await refused(rig, "E1", sign(octets.replace(supplier, acb)))
    assert int(acb.replace(b"-", b""), 16) == ACB_EUI64


@pytest.mark.requirement("MP170-R2", "bad")
async def test_a_role_that_may_not_update_firmware_is_refused(rig: Rig) -> None:
    await refused(rig, "E2", rig.request("11.4", update(), user=DISTRIBUTOR_EUI64))


async def test_a_suspended_user_is_refused_whatever_it_asks_for(rig: Rig) -> None:
    suspend(rig, SUPPLIER_EUI64)
    for service, body in (("11.4", update()), ("8.2", ReadInventory(device_id=PPMID))):
        await refused(rig, "E3", rig.request(service, body))
    octets = rig.request("11.2", ReadFirmwareVersion(), target=PPMID)
    await refused(rig, "E3", octets, "/api/v1/serviceS")
    await refused(rig, "E40", sign(octets, OTHER_SUPPLIER_EUI64), "/api/v1/serviceS")
    other = {"user": OTHER_SUPPLIER_EUI64}
    answer = await rig.ask("8.2", ReadInventory(device_id=PPMID), **other)
    assert answer.response_code == "I0", "others go on"


async def test_what_a_suspended_user_had_dated_ahead_is_not_carried_out(rig: Rig) -> None:
    later = ReadFirmwareVersion("2026-01-02T00:00:00Z")
    answer = await rig.ask("11.2", later, target=PPMID)
    suspend(rig, SUPPLIER_EUI64)
    rig.now = EPOCH + timedelta(days=1)
    rig.dsp.handle_timeout(rig.now)
    rig.server.deliver(b"")
    response = await rig.response(str(answer.request_id))
    assert response.response_code == "E3", "it is still told what became of it"
    assert not rig.wan[HUB].messages


async def test_a_request_at_the_wrong_address_is_refused(rig: Rig) -> None:
    await refused(rig, "E13", rig.request("11.4", update()), "/api/v1/serviceS")
    await refused(rig, "E13", rig.request("11.4", update()), "/api/v1/serviceT")


async def test_a_command_variant_that_is_not_the_services_is_refused(rig: Rig) -> None:
    octets = rig.request("8.2", ReadInventory(device_id=PPMID), variant=1)
    await refused(rig, "E12", octets, "/api/v1/serviceS")


async def test_a_service_of_the_dccs_own_has_no_command_to_hand_back(rig: Rig) -> None:
    for variant, path in ((2, "/api/v1/serviceD"), (3, "/api/v1/serviceS")):
        octets = rig.request("8.2", ReadInventory(device_id=PPMID), variant=variant)
        await refused(rig, "E17", octets, path)


async def test_an_accepted_request_again_is_refused_and_changes_nothing_more(rig: Rig) -> None:
    octets = rig.request("12.2", prenotification())
    assert (await rig.post(octets)).response_code == "I99"
    await refused(rig, "E42", octets)
    assert len([one for one in rig.smi() if one.device_id == STRANGER]) == 1


async def test_a_refused_request_may_be_mended_and_sent_again(rig: Rig) -> None:
    bad = rig.request("12.2", prenotification(model="00841112"), counter=77)
    await refused(rig, "E120203", bad)
    good = rig.request("12.2", prenotification(), counter=77)
    assert (await rig.post(good)).response_code == "I99"


@pytest.mark.parametrize(
    "doctype",
    [
        b"<!DOCTYPE Request>",
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        b'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
    ],
)
async def test_a_document_type_declaration_is_refused(rig: Rig, doctype: bytes) -> None:
    octets = rig.request("8.2", ReadInventory(device_id=PPMID))
    declaration, rest = octets.split(b"?>", 1) if octets.startswith(b"<?xml") else (b"", octets)
    declaration = declaration + b"?>" if declaration else b""
    await refused(rig, "E100", declaration + doctype + rest, "/api/v1/serviceD")


@pytest.mark.parametrize("octets", [b"", b"not xml", b"<a/>", b"\x00" * 100, b"<sr:Request"])
async def test_what_is_no_request_gets_a_signed_answer_all_the_same(
    rig: Rig, octets: bytes
) -> None:
    answer = await refused(rig, "E100", octets, "/api/v1/serviceD")
    assert answer.request_id is None


async def test_codes_are_what_the_options_say(tmp_path: Path) -> None:
    codes = Codes(bad_signature="E41", replay="E50", doctype="E48")
    async with running(tmp_path, codes=codes) as rig:
        octets = rig.request("12.2", prenotification())
        await rig.post(octets)
        await refused(rig, "E50", octets)
        await refused(rig, "E41", octets.replace(b"00841111", b"00841112"))
        await refused(rig, "E48", b"<!DOCTYPE a><a/>", "/api/v1/serviceD")


async def test_a_refusal_is_on_record_with_its_reason(rig: Rig) -> None:
    await refused(rig, "E2", rig.request("11.4", update(), user=DISTRIBUTOR_EUI64))
    rows = rig.store.connection.execute("SELECT service, code, detail FROM refusals").fetchall()
    assert rows == [("11.4", "E2", "a user in role ED may not send 11.4")]


async def test_refusals_do_not_pile_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "MAX_REFUSALS", 5)
    for number in range(12):
        rig.dsp.answer("/api/v1/serviceD", b"<a/>" + b" " * number, EPOCH)
        rig.dsp.receive(bytes(number), EPOCH)
    table = rig.store.connection.execute("SELECT id FROM refusals ORDER BY id").fetchall()
    assert [number for (number,) in table] == [8, 9, 10, 11, 12]
    assert not rig.store.connection.execute("SELECT * FROM attempts").fetchall()


async def test_what_a_refusal_keeps_of_a_long_sentence_has_an_end(rig: Rig) -> None:
    name = b"a" * 100_000
    rig.dsp.answer("/api/v1/serviceD", b"<" + name + b"/>", EPOCH)
    ((length,),) = rig.store.connection.execute("SELECT LENGTH(detail) FROM refusals")
    assert length <= desk_module.MAX_SENTENCE_CHARACTERS


# -- 11.4 --------------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-R12", "bad")
async def test_a_fresh_dsp_refuses_every_image(rig: Rig) -> None:
    for entry in rig.desk.cpl.find():
        rig.desk.cpl.remove(entry.identity)
    await refused(rig, "E110401", rig.request("11.4", update()))


@pytest.mark.requirement("MP170-R12", "bad")
async def test_one_byte_changed_is_an_unknown_hash(rig: Rig) -> None:
    await refused(rig, "E110401", rig.request("11.4", update(changed(made_image()))))


@pytest.mark.requirement("MP170-SIZE", "good", "bad")
@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (Options(), 768_000),
        (Options(unit="kb"), 750_000),
        (Options(image_limit_kb=2, unit="kib"), 2048),
    ],
)
async def test_an_image_one_byte_over_the_limit_is_refused_and_at_the_limit_is_not(
    tmp_path: Path, options: Options, limit: int
) -> None:
    async with running(tmp_path, options) as rig:
        large = made_image(size_bytes=limit + 1)
        await refused(rig, "E110405", rig.request("11.4", update(large)))
        exact = made_image(size_bytes=limit)
        answer = await rig.ask("11.4", update(exact))
        assert answer.response_code == ("I99" if limit == 2048 else "E110401")


@pytest.mark.requirement("MP170-R12", "bad")
async def test_a_version_text_unlike_the_header_is_refused(rig: Rig) -> None:
    await refused(rig, "E110402", rig.request("11.4", update(version="00000000")))


@pytest.mark.parametrize("octets", [b"\x00", b"\x1e\xf1\xee\x0b", bytes(300)])
async def test_what_is_no_image_is_refused(rig: Rig, octets: bytes) -> None:
    body = UpdatePpmidFirmware(octets, f"{NEW:08X}", (PPMID,))
    await refused(rig, "E110402", rig.request("11.4", body))


async def test_a_file_cut_short_is_refused(rig: Rig) -> None:
    body = UpdatePpmidFirmware(made_image().data[:-1], f"{NEW:08X}", (PPMID,))
    await refused(rig, "E110402", rig.request("11.4", body))


@pytest.mark.requirement("MP170-R12", "bad")
async def test_an_entry_that_is_removed_is_refused(rig: Rig) -> None:
    rig.desk.cpl.remove(cpl_entry("ppmid", NEW).identity)
    await refused(rig, "E110401", rig.request("11.4", update()))


@pytest.mark.requirement("MP170-R2", "bad")
async def test_an_unknown_device_is_listed_and_the_others_go_ahead(rig: Rig) -> None:
    answer = await rig.ask("11.4", update(None, STRANGER, PPMID))
    assert answer.response_code == "W110401"
    assert warning(answer).lists() == {"InvalidDeviceIDList": (STRANGER,)}
    assert rig.take_offer().devices == (PPMID,)


@pytest.mark.requirement("MP170-R2", "bad")
async def test_when_no_device_is_left_nothing_is_sent(rig: Rig) -> None:
    answer = await refused(rig, "E110403", rig.request("11.4", update(None, STRANGER, HUB)))
    assert warning(answer).lists() == {"InvalidDeviceIDList": (STRANGER, HUB)}


@pytest.mark.requirement("MP170-R2", "bad")
async def test_a_device_of_another_model_is_listed(rig: Rig) -> None:
    answer = await rig.ask("11.4", update(None, BRIDGE, PPMID))
    assert answer.response_code == "W110401"
    assert warning(answer).lists() == {"NotApplicableFirmwareDeviceIDList": (BRIDGE,)}


@pytest.mark.requirement("MP170-BUSY", "bad")
async def test_a_device_whose_update_is_in_progress_is_listed_and_goes_on(rig: Rig) -> None:
    assert (await rig.ask("11.4", update())).response_code == "I99"
    first = rig.desk.updates.open_update(PPMID)
    rig.take_offer()
    answer = await rig.ask("11.4", update())
    assert answer.response_code == "E110403"
    assert warning(answer).lists() == {"OtherRequestInProgressList": (PPMID,)}
    now = rig.desk.updates.open_update(PPMID)
    assert first is not None
    assert now is not None
    assert now.id == first.id


@pytest.mark.requirement("MP0007-GBCS", "bad")
async def test_a_hub_whose_gbcs_version_is_too_low_stops_it(rig: Rig) -> None:
    rig.desk.inventory.set_firmware_version(HUB, "00010000", gbcs_version="4.0")
    answer = await refused(rig, "E110403", rig.request("11.4", update()))
    assert warning(answer).lists() == {"InvalidGBCSVersionList": (PPMID,)}


async def test_gbcs_versions_are_numbers_not_texts(rig: Rig) -> None:
    rig.desk.inventory.set_firmware_version(HUB, "00010000", gbcs_version="4.10")
    assert (await rig.ask("11.4", update())).response_code == "I99"


@pytest.mark.requirement("MP170-STATUS", "good", "bad")
@pytest.mark.parametrize(
    ("status", "relaxed", "strict"),
    [
        (DeviceStatus.WHITELISTED, "I99", "E110403"),
        (DeviceStatus.INSTALLED_NOT_COMMISSIONED, "I99", "E110403"),
        (DeviceStatus.PENDING, "E110403", "E110403"),
        (DeviceStatus.SUSPENDED, "E110403", "E110403"),
        (DeviceStatus.DECOMMISSIONED, "E110403", "E110403"),
        (DeviceStatus.WITHDRAWN, "E110403", "E110403"),
    ],
)
@pytest.mark.parametrize("option", ["relaxed", "strict"])
async def test_which_statuses_take_firmware(
    tmp_path: Path, status: DeviceStatus, relaxed: str, strict: str, option: Any
) -> None:
    async with running(tmp_path, Options(commissioned=option)) as rig:
        found_as(rig.store, BRIDGE, status=status)
        answer = await rig.ask("11.4", update(made_image("bridge-1"), BRIDGE))
        assert answer.response_code == (relaxed if option == "relaxed" else strict)
        if answer.response_code == "E110403":
            assert warning(answer).lists() == {"NotCommissionedDeviceIDList": (BRIDGE,)}


@pytest.mark.requirement("MP170-STATUS", "good", "bad")
async def test_a_ppmid_beside_a_meter_must_be_commissioned_and_a_bridge_need_not(rig: Rig) -> None:
    rig.desk.inventory.add(
        smi_device(
            ESME,
            device_type=DeviceType.ESME,
            status=DeviceStatus.COMMISSIONED,
            date_commissioned="2026-01-01",
            ppmid_variant=None,
            esme_variant="A",
        )
    )
    answer = await rig.ask("11.4", update())
    assert warning(answer).lists() == {"NotCommissionedDeviceIDList": (PPMID,)}
    answer = await rig.ask("11.4", update(made_image("bridge-1"), BRIDGE))
    assert answer.response_code == "I99"


@pytest.mark.requirement("MP170-R2", "bad")
async def test_somebody_elses_device_is_not_the_users_to_update(rig: Rig) -> None:
    answer = await refused(rig, "E110403", rig.request("11.4", update(), user=OTHER_SUPPLIER_EUI64))
    assert warning(answer).lists() == {"InvalidDeviceIDList": (PPMID,)}


# -- 12.2, 8.2 ---------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-SR122", "good")
async def test_a_prenotified_device_is_pending_with_its_variant(rig: Rig) -> None:
    body = prenotification(manufacturer="A17A", model="0A010101", ppmid_variant="AltHAN Bridge 1")
    assert (await rig.ask("12.2", body)).response_code == "I99"
    answer = await rig.ask("8.2", ReadInventory(device_id=STRANGER))
    assert answer.response_code == "I0"
    assert isinstance(answer.message, ResponseMessage)
    assert isinstance(answer.message.content, DspInventory)
    (device,) = answer.message.content.devices
    assert (device.device_status, device.ppmid_variant) == ("Pending", "AltHAN Bridge 1")


@pytest.mark.requirement("MP170-R11", "good")
async def test_the_variant_is_taken_from_the_request_not_from_the_cpl(rig: Rig) -> None:
    body = prenotification(ppmid_variant="AltHAN Bridge 3")
    assert (await rig.ask("12.2", body)).response_code == "I99"
    device = rig.desk.inventory.get(STRANGER)
    assert device is not None
    assert device.ppmid_variant == "AltHAN Bridge 3"


@pytest.mark.requirement("MP170-SR122", "bad")
@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("E120201", {"device_id": PPMID}),
        ("E120203", {"model": "00841112"}),
        ("E120203", {"firmware_version": "00010101"}),
        ("E120203", {"smets_chts_version": "PPMIDTS V9.9"}),
        ("E120204", {"ppmid_variant": None}),
        ("E120204", {"firmware_version": None}),
        ("E120204", {"smets_chts_version": None}),
        ("E120204", {"esme_variant": "A"}),
        ("E120204", {"device_type": "HCALCS"}),
        ("E120207", {"device_type": "GPF", "ppmid_variant": None}),
    ],
)
async def test_a_wrong_prenotification_is_refused(
    rig: Rig, code: str, changes: dict[str, Any]
) -> None:
    await refused(rig, code, rig.request("12.2", prenotification(**changes)))


@pytest.mark.requirement("MP170-SR122", "bad")
async def test_under_duis_5_4_there_is_no_variant(tmp_path: Path) -> None:
    async with running(tmp_path, Options(profile="duis-5.4")) as rig:
        await refused(rig, "E100", rig.request("12.2", prenotification()))
        assert (await rig.ask("12.2", prenotification(ppmid_variant=None))).response_code == "I99"
        answer = await rig.ask("8.2", ReadInventory(device_id=STRANGER))
        assert isinstance(answer.message, ResponseMessage)
        assert isinstance(answer.message.content, DspInventory)
        assert answer.message.content.devices[0].ppmid_variant is None


@pytest.mark.requirement("MP170-SR82", "bad")
async def test_an_inventory_that_names_no_premises_is_refused(rig: Rig) -> None:
    await refused(rig, "E080201", rig.request("8.2", ReadInventory(uprn="999")))


@pytest.mark.requirement("MP170-SR82", "good")
async def test_the_inventory_of_a_home_has_its_hub_first(rig: Rig) -> None:
    answer = await rig.ask("8.2", ReadInventory(mpxn="1312345678111"))
    assert isinstance(answer.message, ResponseMessage)
    assert isinstance(answer.message.content, DspInventory)
    devices = answer.message.content.devices
    assert [one.device_type for one in devices] == ["CHF", "GPF", "PPMID", "PPMID"]
    assert {one.ppmid_variant for one in devices} == {None, "PPMID", "AltHAN Bridge 1"}


# -- 8.11, 11.2 --------------------------------------------------------------------------------


async def pending(rig: Rig, device_id: int = STRANGER) -> None:
    answer = await rig.ask("12.2", prenotification(device_id))
    assert answer.response_code == "I99"


@pytest.mark.parametrize(
    ("code", "target", "body"),
    [
        ("E19", STRANGER + 1, add()),
        ("E11", PPMID, add()),
        ("E4", HUB, add()),
        ("E081101", HUB, add(STRANGER + 1)),
        ("E081101", HUB, add(PPMID)),
        ("E081104", HUB, add(OTHER_HUB)),
        ("E081105", HUB, add(install_code=None, join_time_period_s=None)),
        ("E12", HUB, add(execution_date_time="2027-01-01T00:00:00Z")),
    ],
)
async def test_an_addition_that_cannot_be_is_refused(
    rig: Rig, code: str, target: int, body: Body
) -> None:
    await pending(rig)
    how: dict[str, Any] = {"user": OTHER_SUPPLIER_EUI64} if code == "E4" else {}
    await refused(rig, code, rig.request("8.11", body, target=target, **how))


@pytest.mark.requirement("MP170-SIX", "good", "bad")
async def test_the_seventh_type_1_device_of_a_hub_is_refused(rig: Rig) -> None:
    for number in range(3):
        rig.desk.inventory.add(smi_device(0x1000 + number))
    for number, code in enumerate(("I99", "E081111")):
        await pending(rig, STRANGER + number)
        answer = await rig.ask("8.11", add(STRANGER + number), target=HUB)
        assert answer.response_code == code, "one that waits for its answer counts too"


@pytest.mark.parametrize(("code", "target"), [("E19", STRANGER), ("E11", GPF)])
async def test_a_version_read_from_who_has_none_to_read_is_refused(
    rig: Rig, code: str, target: int
) -> None:
    await refused(rig, code, rig.request("11.2", ReadFirmwareVersion(), target=target))


async def test_a_version_read_by_somebody_else_is_refused(rig: Rig) -> None:
    octets = rig.request("11.2", ReadFirmwareVersion(), target=PPMID, user=OTHER_SUPPLIER_EUI64)
    await refused(rig, "E4", octets)


async def test_a_device_on_no_hub_cannot_be_read(rig: Rig) -> None:
    await pending(rig)
    await refused(rig, "E5", rig.request("11.2", ReadFirmwareVersion(), target=STRANGER))


async def test_the_schema_of_the_profile_is_asked_first(rig: Rig) -> None:
    octets = rig.request("12.2", prenotification())
    broken = octets.replace(b"<sr:DeviceType>PPMID", b"<sr:DeviceType>TOASTER")
    answer = await refused(rig, "E100", broken)
    assert answer.request_id is not None, "the answer names the request"


def test_requests_never_show_an_install_code() -> None:
    assert INSTALL_CODE.hex() not in repr(add()).lower()
    assert repr(INSTALL_CODE) not in repr(replace(add(), join_time_period_s=91))
