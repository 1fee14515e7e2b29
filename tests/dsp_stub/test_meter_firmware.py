"""Firmware of meters and HCALCSs: authorised, sent, verified by the device, activated."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from command_rig import (
    ESME,
    GSME,
    HCALCS,
    HUB,
    PPMID,
    Bench,
    answer,
    content_of,
    endpoint,
    meter,
    payload_of,
    signed,
)
from dsp_rig import (
    BRIDGE,
    DISTRIBUTOR_EUI64,
    EPOCH,
    NEW,
    OTHER_HUB,
    OTHER_SUPPLIER_EUI64,
    STRANGER,
    cpl_entry,
    device_keys,
    found_as,
    made_image,
    organisation,
    running,
)
from test_credential_services import alert_to_supplier

from dsp_stub.campaigns import CampaignState
from dsp_stub.cpl import CplEntry
from dsp_stub.desk import Flagged
from dsp_stub.options import Options
from dsp_stub.requests import (
    ActivateFirmware,
    SignedPreCommand,
    UpdateFirmware,
    UpdatePpmidFirmware,
)
from dsp_stub.responses import (
    CommsHubAlert,
    FirmwareDistributionFailure,
    FutureDatedDeviceAlert,
    MeterFirmwareWarning,
    QuarantinedRequest,
)
from dsp_stub.service_level import service_level
from dsp_stub.smi import DeviceStatus, DeviceType
from dsp_stub.updates import UpdateState
from firmware_images.header import OtaHeader
from firmware_images.image import FirmwareImage, build_image
from gbcs.alerts import (
    FIRMWARE_RECEIPT,
    GAS_FIRMWARE_RECEIPT,
    FirmwareReceipt,
    GasFirmwareReceipt,
)
from gbcs.firmware import (
    FUTURE_FIRMWARE_ACTIVATION,
    ActivationOutcome,
    ActivationResult,
    FirmwareActivated,
    FutureFirmwareActivation,
    TransferResult,
    build_firmware_transfer,
    transfer_alert,
)
from gbcs.protection import KeyUse, sign
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64
from gbcs.use_cases import answering
from gbcs.wan import CommandForDevice, ImageOffer

NOW = bytes.fromhex("07EA0101FF000000008000FF")
BODY = b"a meter's own firmware " * 20
HASH = hashlib.sha256(BODY).digest()
MODELS = {ESME: "0E5E0101", GSME: "0E5F0101", HCALCS: "0AC10101"}
TYPES = {ESME: DeviceType.ESME, GSME: DeviceType.GSME, HCALCS: DeviceType.HCALCS}
SMETS = {ESME: "ESMETS V5.1", GSME: "GSMETS V5.1", HCALCS: "HCALCSTS V5.1"}


def image(
    body: bytes = BODY, *, signer: int = SUPPLIER_EUI64, trailer: bytes | None = None, **fields: Any
) -> FirmwareImage:
    header = OtaHeader(
        **(
            {
                "manufacturer_code": 0xFFF0,
                "image_type": 0x0001,
                "file_version": NEW,
                "minimum_hardware_version": 0x0101,
                "maximum_hardware_version": 0x0101,
            }
            | fields
        )
    )
    key = organisation(signer, KeyUse.DIGITAL_SIGNATURE)[1]
    authorisation = b"\x00\x40" + sign(body, key) if trailer is None else trailer
    return build_image(header, body + authorisation)


def update(*devices: int, file: FirmwareImage | None = None, version: str = "") -> UpdateFirmware:
    file = file or image()
    return UpdateFirmware(file.data, version or f"{NEW:08X}", devices or (HCALCS,))


def entry(device_id: int) -> CplEntry:
    return CplEntry(
        device_type=TYPES[device_id],
        manufacturer="FFF0",
        model=MODELS[device_id],
        firmware_version=f"{NEW:08X}",
        smets_chts_version=SMETS[device_id],
        gbcs_version="4.1",
        image_hash=HASH.hex(),
    )


@pytest.fixture
def bench() -> Bench:
    return furnished(Bench())


def furnished(bench: Bench) -> Bench:
    for device_id in MODELS:
        bench.desk.cpl.add(entry(device_id))
    bench.desk.inventory.set_status(
        HCALCS, DeviceStatus.COMMISSIONED, date_commissioned="2026-01-01"
    )
    return bench


def code(bench: Bench, body: UpdateFirmware, **how: Any) -> str:
    return bench.code(body, ACB_EUI64, 8, **how)


def state(bench: Bench, device: int) -> UpdateState | None:
    found = bench.desk.updates.last(device)
    return None if found is None else found.state


# -- the file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("device", [ESME, GSME, HCALCS])
def test_an_authorised_image_is_offered_whole_to_the_hub(bench: Bench, device: int) -> None:
    assert code(bench, update(device)) == "I99"
    (offer,) = bench.messages()
    assert isinstance(offer, ImageOffer)
    assert (offer.devices, offer.image) == ((device,), image().data)
    assert state(bench, device) is UpdateState.REQUESTED


@pytest.mark.parametrize(
    ("expected", "body"),
    [
        ("E110101", update(file=image(BODY + b"!"))),
        ("E110101", update(file=image(manufacturer_code=0xFFF1))),
        ("E110102", UpdateFirmware(b"\x1e\xf1\xee\x0b", f"{NEW:08X}", (HCALCS,))),
        ("E110102", UpdateFirmware(image().data[:-1], f"{NEW:08X}", (HCALCS,))),
        ("E110102", update(version="00000000")),
        ("E110105", update(file=image(bytes(768_000)))),
        ("E110106", update(file=image(trailer=b""))),
        ("E110106", update(file=image(trailer=b"\x00\x40" + bytes(64)))),
        ("E110106", update(file=image(signer=OTHER_SUPPLIER_EUI64))),
        ("E110106", update(file=image(trailer=b"\x00\x3f" + bytes(63)))),
    ],
)
def test_a_file_that_cannot_be_sent_is_refused(
    bench: Bench, expected: str, body: UpdateFirmware
) -> None:
    assert code(bench, body) == expected
    assert bench.is_quiet()


def test_the_authorisation_is_over_the_manufacturer_image_alone(bench: Bench) -> None:
    key = organisation(SUPPLIER_EUI64, KeyUse.DIGITAL_SIGNATURE)[1]
    good = image()
    header_too = good.data[: good.header.header_length] + BODY
    wrong = image(trailer=b"\x00\x40" + sign(header_too, key))
    assert code(bench, update(file=wrong)) == "E110106"
    assert code(bench, update(file=good)) == "I99"


def test_with_the_whole_file_on_the_cpl_its_hash_is_the_files() -> None:
    bench = Bench(Options(cpl_hash="whole-file"))
    bench.desk.inventory.set_status(
        HCALCS, DeviceStatus.COMMISSIONED, date_commissioned="2026-01-01"
    )
    assert code(bench, update()) == "E110101"
    bench.desk.cpl.add(
        CplEntry(
            device_type=DeviceType.HCALCS, manufacturer="FFF0", model=MODELS[HCALCS],
            firmware_version=f"{NEW:08X}", smets_chts_version=SMETS[HCALCS], gbcs_version="4.1",
            image_hash=image().sha256,
        )
    )  # fmt: skip
    assert code(bench, update()) == "I99"


# -- the devices -------------------------------------------------------------------------------


def lists(bench: Bench, body: UpdateFirmware, expected: str) -> dict[str, tuple[int, ...]]:
    response = bench.ask(body, ACB_EUI64, 8)
    assert response.response_code == expected
    content = content_of(response)
    assert isinstance(content, MeterFirmwareWarning)
    return content.lists()


def test_who_is_refused_is_listed_and_the_others_go_ahead(bench: Bench) -> None:
    bench.store.connection.execute(
        "UPDATE devices SET status = 'InstalledNotCommissioned' WHERE device_id = ?",
        (f"{GSME:016X}",),
    )
    assert lists(bench, update(STRANGER, HUB, PPMID, GSME, HCALCS), "W110101") == {
        "InvalidDeviceIDList": (STRANGER, HUB, PPMID),
        "NotCommissionedDeviceIDList": (GSME,),
    }
    (offer,) = bench.messages()
    assert isinstance(offer, ImageOffer)
    assert offer.devices == (HCALCS,)
    assert lists(bench, update(HCALCS, ESME), "W110101") == {
        "OtherRequestInProgressList": (HCALCS,)
    }
    assert lists(bench, update(HCALCS, ESME), "E110103") == {
        "OtherRequestInProgressList": (HCALCS, ESME)
    }


def test_hardware_outside_the_range_of_the_file_is_listed(bench: Bench) -> None:
    file = image(minimum_hardware_version=0x0102, maximum_hardware_version=0x0102)
    assert lists(bench, update(HCALCS, file=file), "E110103") == {
        "NotApplicableFirmwareDeviceIDList": (HCALCS,)
    }


@pytest.mark.requirement("MP0007-GBCS", "good", "bad")
@pytest.mark.parametrize("low", [HUB, HCALCS])
def test_an_hcalcs_or_its_hub_below_gbcs_4_1_is_listed_and_a_meter_is_not(
    bench: Bench, low: int
) -> None:
    bench.desk.inventory.set_firmware_version(low, "00010000", gbcs_version="4.0")
    assert lists(bench, update(HCALCS), "E110103") == {"InvalidGBCSVersionList": (HCALCS,)}
    assert code(bench, update(ESME)) == "I99"
    bench.desk.inventory.set_firmware_version(low, "00010000", gbcs_version="4.1")
    assert code(bench, update(HCALCS)) == "I99"


@pytest.mark.requirement("MP170-JOIN", "bad")
def test_a_list_of_bridges_and_ppmids_alone_is_not_for_this_service(bench: Bench) -> None:
    assert code(bench, update(BRIDGE)) == "E11"
    assert code(bench, update(BRIDGE, PPMID)) == "E11"
    assert code(bench, update(BRIDGE, STRANGER)) == "E110103"
    assert lists(bench, update(BRIDGE, HCALCS), "W110101") == {"InvalidDeviceIDList": (BRIDGE,)}


def test_somebody_elses_meter_is_not_the_users_to_update(bench: Bench) -> None:
    file = image(signer=OTHER_SUPPLIER_EUI64)
    assert code(bench, update(file=file), user=OTHER_SUPPLIER_EUI64) == "E110103"
    assert code(bench, update(file=file), user=DISTRIBUTOR_EUI64) == "E2"


@pytest.mark.requirement("MP170-ADT", "good", "bad")
def test_above_the_threshold_of_11_1_alone_it_waits_and_is_judged_again_as_an_11_1() -> None:
    bench = furnished(Bench(Options(anomaly_threshold=1)))
    bench.desk.cpl.add(cpl_entry("ppmid", NEW, made_image()))
    ppmid = UpdatePpmidFirmware(made_image().data, f"{NEW:08X}", (PPMID,))
    bench.desk.inventory.attach(ESME, OTHER_HUB, 1)
    bench.desk.inventory.attach(GSME, OTHER_HUB, 1)
    found_as(bench.store, PPMID, status=DeviceStatus.COMMISSIONED)
    assert bench.code(ppmid, ACB_EUI64, 8) == "I99"
    assert code(bench, update(HCALCS)) == "I99"
    assert len(bench.messages()) == 2, "an 11.4 does not count for an 11.1"
    waiting = bench.ask(update(ESME, GSME), ACB_EUI64, 8)
    assert waiting.response_code == "I99"
    assert bench.alerts(QuarantinedRequest)[0].request_id == waiting.request_id
    assert bench.messages(OTHER_HUB) == []
    found_as(bench.store, GSME, status=DeviceStatus.SUSPENDED)
    bench.desk.campaigns.ask_for(str(waiting.request_id), CampaignState.RELEASED)
    bench.dsp.handle_timeout(bench.now)
    (offer,) = bench.messages(OTHER_HUB)
    assert isinstance(offer, ImageOffer)
    assert (offer.devices, state(bench, GSME)) == ((ESME,), UpdateState.REFUSED)


@pytest.mark.requirement("MP170-SLA", "good")
def test_a_meters_update_is_not_in_the_service_level_of_ppmids(bench: Bench) -> None:
    assert code(bench, update(ESME)) == "I99"
    bench.now += timedelta(days=3)
    bench.dsp.handle_timeout(bench.now)
    assert service_level(bench.store, 60, bench.now).devices == 0
    assert not [one for one in bench.events if isinstance(one, Flagged)]


def test_an_image_of_a_meter_is_none_for_a_ppmid(bench: Bench) -> None:
    body = UpdatePpmidFirmware(image().data, f"{NEW:08X}", (PPMID,))
    assert bench.code(body, ACB_EUI64, 8) == "E110401"


# -- to its end --------------------------------------------------------------------------------


def receipt(alert_code: int, *, gas: bool = False) -> bytes:
    if gas:
        return GAS_FIRMWARE_RECEIPT.build(GasFirmwareReceipt(0, alert_code, 1, HASH))
    return FIRMWARE_RECEIPT.build(FirmwareReceipt(1, alert_code, NOW, HASH))


@pytest.mark.parametrize(("device", "code_of_receipt"), [(ESME, 0x00CE), (GSME, 0x00CF)])
def test_a_meter_that_verified_the_image_is_done_and_then_activates_it(
    bench: Bench, device: int, code_of_receipt: int
) -> None:
    assert code(bench, update(device)) == "I99"
    bench.messages()
    outcome = ActivationOutcome(ActivationResult.SUCCESS, NEW)
    metering = meter(device, answering(0x0012, lambda _: FirmwareActivated(outcome)))
    payload = receipt(0x8F72, gas=device == GSME)
    frame = alert_to_supplier(metering, code_of_receipt, payload)
    bench.receive(device, frame)
    assert bench.device_alerts() == [0x8F72]
    assert state(bench, device) is UpdateState.DISTRIBUTED
    assert bench.device(device).firmware_version == "00010000", "it does not run yet"

    command = bench.critical(ActivateFirmware(HASH), device)
    bench.receive(device, answer(metering, command.frame))
    assert bench.device(device).firmware_version == f"{NEW:08X}"
    assert code(bench, update(device)) == "I99", "the device is free again"


def test_a_meter_that_would_not_have_the_image_is_told(bench: Bench) -> None:
    request = bench.ask(update(ESME), ACB_EUI64, 8)
    frame = alert_to_supplier(meter(ESME), 0x00CE, receipt(0x8F1C))
    bench.receive(ESME, frame)
    assert request.request_id is not None
    assert bench.alerts() == [FirmwareDistributionFailure(request.request_id, (ESME,))]
    assert bench.alert_codes() == ["N22"]
    assert bench.device_alerts() == [0x8F1C]
    assert state(bench, ESME) is UpdateState.VERIFICATION_FAILED


def test_a_receipt_nobody_waits_for_is_handed_on_and_flagged(bench: Bench) -> None:
    bench.receive(ESME, alert_to_supplier(meter(ESME), 0x00CE, receipt(0x8F72)))
    assert bench.device_alerts() == [0x8F72]
    assert [getattr(one, "reason", None) for one in bench.events] == ["alert-out-of-turn"]


def test_a_forged_receipt_ends_nothing(bench: Bench) -> None:
    assert code(bench, update(ESME)) == "I99"
    frame = alert_to_supplier(meter(ESME), 0x00CE, receipt(0x8F72))
    bench.receive(ESME, frame[:-1] + bytes([frame[-1] ^ 1]))
    stolen = alert_to_supplier(meter(GSME), 0x00CE, receipt(0x8F72))
    bench.receive(ESME, stolen)
    assert bench.reasons() == ["PROTECTION", "FOREIGN"]
    assert state(bench, ESME) is UpdateState.REQUESTED
    assert not bench.told()


def test_an_hcalcs_is_told_of_by_its_hub_and_over_when_it_is_activated(bench: Bench) -> None:
    assert code(bench, update(HCALCS)) == "I99"
    transfer = transfer_alert(HCALCS, NEW, TransferResult.FILE_TRANSFER_SUCCESS, EPOCH)
    bench.receive(HUB, endpoint(HUB).alert(0x0128, build_firmware_transfer(transfer)))
    assert bench.alerts(CommsHubAlert)[0].firmware_transfer.device_id == HCALCS
    assert state(bench, HCALCS) is UpdateState.TRANSFERRED
    outcome = ActivationOutcome(ActivationResult.SUCCESS, NEW)
    hcalcs = meter(HCALCS, answering(0x0012, lambda _: FirmwareActivated(outcome)))
    command = bench.critical(ActivateFirmware(HASH), HCALCS)
    bench.receive(HCALCS, answer(hcalcs, command.frame))
    assert state(bench, HCALCS) is UpdateState.ACTIVATED
    assert bench.device(HCALCS).firmware_version == f"{NEW:08X}"


@pytest.mark.parametrize("result", [ActivationResult.NO_IMAGE_HELD, ActivationResult.HASH_MISMATCH])
def test_an_activation_that_failed_changes_nothing(bench: Bench, result: ActivationResult) -> None:
    outcome = ActivationOutcome(result, NEW)
    esme = meter(ESME, answering(0x0012, lambda _: FirmwareActivated(outcome)))
    bench.receive(ESME, answer(esme, bench.critical(ActivateFirmware(HASH), ESME).frame))
    assert bench.response().response_code == "I0"
    assert bench.device(ESME).firmware_version == "00010000"


@pytest.mark.parametrize("succeeds", [True, False])
def test_an_activation_for_later_is_told_when_its_time_came(bench: Bench, succeeds: bool) -> None:
    esme = meter(ESME, answering(0x0012, lambda _: FirmwareActivated()))
    body = ActivateFirmware(HASH, "2026-01-15T09:00:00Z")
    command = bench.critical(body, ESME)
    counter = bench.counter
    bench.receive(ESME, answer(esme, command.frame))
    assert bench.device(ESME).firmware_version == "00010000"
    result = ActivationResult.SUCCESS if succeeds else ActivationResult.ACTIVATION_FAILURE
    alert_code = 0x8F66 if succeeds else 0x8F67
    outcome = ActivationOutcome(result, NEW)
    alert = FutureFirmwareActivation(alert_code, EPOCH, counter, outcome)
    payload = FUTURE_FIRMWARE_ACTIVATION.build(alert)
    frame = alert_to_supplier(esme, 0x00CA, payload)
    bench.receive(ESME, frame)
    told = bench.response()
    assert content_of(told) == FutureDatedDeviceAlert(alert_code, frame)
    assert told.request_id is not None
    assert told.request_id.counter == counter
    expected = f"{NEW:08X}" if succeeds else "00010000"
    assert bench.device(ESME).firmware_version == expected


@pytest.mark.real_clock
async def test_over_http_an_activation_goes_from_its_transform_to_the_users_port(
    tmp_path: Path,
) -> None:
    outcome = ActivationOutcome(ActivationResult.SUCCESS, NEW)
    esme = meter(ESME, answering(0x0012, lambda _: FirmwareActivated(outcome)))
    async with running(tmp_path) as rig:
        rig.desk.inventory.add(Bench().device(ESME))
        rig.desk.cpl.add(entry(ESME))
        for certificate in (
            *device_keys(ESME)[1],
            organisation(SUPPLIER_EUI64, KeyUse.DIGITAL_SIGNATURE)[0],
        ):
            rig.desk.keys.add(certificate)
        transform = rig.request("11.3", ActivateFirmware(HASH), target=ESME, variant=4)
        pre_command = await rig.post(transform, "/api/v1/serviceT")
        assert pre_command.request_id is not None

        body = SignedPreCommand(signed(payload_of(pre_command)))
        counter = pre_command.request_id.counter
        send = rig.request("11.3", body, target=ESME, variant=5, counter=counter)
        assert (await rig.post(send, "/api/v1/serviceS")).response_code == "I99"

        command = rig.wan[HUB].take(CommandForDevice)
        frame = answer(esme, command.frame)
        rig.refuse_callbacks = 1
        rig.from_device(ESME, frame)
        await rig.quiet()
        assert not rig.told, "the user's port would not have it"
        rig.now += timedelta(seconds=2)
        rig.server.pump()
        told = await rig.response(str(pre_command.request_id))
        assert told.response_code == "I0"
        assert payload_of(told) == frame
        (device,) = [one for one in rig.smi() if one.device_id == ESME]
        assert device.firmware_version == f"{NEW:08X}"
