"""The services that end at the inventory: Device Pre-notification (12.2), Read Inventory (8.2).

Source: MP170, annex B (legal text of 12.2 and 8.2): an optional item of a pre-notification is there
exactly where the type of the device has it.

    item               types that must have it, and no other may
    -----------------  ------------------------------------------
    FirmwareVersion    all but IHD, CAD
    SMETSCHTSVersion   all but CAD
    ESMEVariant        ESME
    AssociatedGPF      CHF
    PPMIDVariant       PPMID, where the profile has it

A variant of ESME with F or G belongs to GBCS 4.0 and later only.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from dsp_stub.cpl import approved_entry
from dsp_stub.desk import ACCEPTED, SUCCESS, Desk, Refusal
from dsp_stub.inventory import presence
from dsp_stub.requests import DevicePrenotification, ReadInventory
from dsp_stub.responses import DspInventory, InventoryDevice
from dsp_stub.schema import SchemaProfile
from dsp_stub.smi import (
    ENDED,
    TYPE_2,
    DeviceStatus,
    DeviceType,
    PpmidVariant,
    Premises,
    SmiDevice,
    needs_gbcs_4,
    version_numbers,
)
from dsp_stub.users import User


def prenotify(
    desk: Desk, user: User, body: DevicePrenotification, _now: datetime
) -> tuple[str, None]:
    """12.2: a device is announced, and Pending from then on if its type has a status."""
    held = desk.inventory.get(body.device_id)
    if held is not None and held.status not in ENDED:
        raise Refusal("E120201", f"device {body.device_id:016X} is in the inventory already")
    try:
        device_type = DeviceType(body.device_type)
    except ValueError as error:  # which a schema of the user's let through
        raise Refusal(desk.codes.schema_, str(error)) from None
    if device_type is DeviceType.GPF:
        raise Refusal("E120207", "a GPF comes with its CHF and is not pre-notified")
    _require_items(desk, body, device_type)
    gbcs_version = None
    if device_type not in TYPE_2:
        gbcs_version = _approved_gbcs_version(desk, body, device_type)
        if needs_gbcs_4(body.esme_variant) and version_numbers(gbcs_version) < (4, 0):
            sentence = f"ESMEVariant {body.esme_variant} is not applicable to GBCS {gbcs_version}"
            raise Refusal("E120204", sentence)
    try:
        device = SmiDevice(
            device_id=body.device_id,
            device_type=device_type,
            status=None if device_type in TYPE_2 else DeviceStatus.PENDING,
            manufacturer=body.manufacturer,
            model=body.model,
            firmware_version=body.firmware_version,
            smets_chts_version=body.smets_chts_version,
            gbcs_version=gbcs_version,
            esme_variant=body.esme_variant,
            ppmid_variant=None if body.ppmid_variant is None else PpmidVariant(body.ppmid_variant),
            associated_gpf=body.associated_gpf,
            prenotified_by=user.eui64,
        )
    except ValueError as error:
        raise Refusal(desk.codes.schema_, str(error)) from None
    desk.inventory.add(device)
    if device.associated_gpf is not None:
        _announce_gpf(desk, device)
    return ACCEPTED, None


def _announce_gpf(desk: Desk, chf: SmiDevice) -> None:
    """A GPF is announced with its CHF, whose details it shares."""
    assert chf.associated_gpf is not None
    held = desk.inventory.get(chf.associated_gpf)
    if held is not None and held.status not in ENDED:
        raise Refusal("E120201", f"device {held.device_id:016X} is in the inventory already")
    gpf = replace(
        chf,
        device_id=chf.associated_gpf,
        device_type=DeviceType.GPF,
        associated_gpf=None,
        chf=chf.device_id,
    )
    desk.inventory.add(gpf)


def _require_items(desk: Desk, body: DevicePrenotification, device_type: DeviceType) -> None:
    has_variant = device_type is DeviceType.PPMID and desk.profile is SchemaProfile.MP170
    wanted = {
        "FirmwareVersion": (body.firmware_version, device_type not in TYPE_2),
        "SMETSCHTSVersion": (body.smets_chts_version, device_type is not DeviceType.CAD),
        "ESMEVariant": (body.esme_variant, device_type is DeviceType.ESME),
        "AssociatedGPFDeviceID": (body.associated_gpf, device_type is DeviceType.CHF),
        "PPMIDVariant": (body.ppmid_variant, has_variant),
    }
    for item, (value, belongs) in wanted.items():
        if (value is not None) is not belongs:
            problem = "is missing" if belongs else "does not belong"
            raise Refusal("E120204", f"{item} {problem} in the pre-notification of a {device_type}")


def _approved_gbcs_version(desk: Desk, body: DevicePrenotification, device_type: DeviceType) -> str:
    """The GBCS version the Central Products List has for what is announced."""
    entry = approved_entry(
        desk.cpl,
        device_type,
        body.manufacturer,
        body.model,
        body.firmware_version,
        body.smets_chts_version,
    )
    if entry is not None:
        return entry.gbcs_version
    sentence = (
        f"{device_type} {body.manufacturer} {body.model} with firmware {body.firmware_version} "
        f"and {body.smets_chts_version} is not on the Central Products List as Current"
    )
    raise Refusal("E120203", sentence)


def read(desk: Desk, _user: User, body: ReadInventory, _now: datetime) -> tuple[str, DspInventory]:
    """8.2: the devices of one premises; of a device that is at none, or none any more, that device
    alone."""
    if body.device_id is not None:
        device = desk.inventory.get(body.device_id)
        is_gone = device is not None and device.status is DeviceStatus.DECOMMISSIONED
        if device is not None and (device.premises is None or is_gone):
            return SUCCESS, _answer(desk, (device,), None)
    found = desk.inventory.find_premises(
        uprn=body.uprn,
        device_id=body.device_id,
        mpxn=body.mpxn,
        post_code=body.post_code,
        address_identifier=body.address_identifier,
    )
    if len(found) != 1:
        raise Refusal("E080201", f"the request names {len(found)} premises, not one")
    (premises,) = found
    devices = desk.inventory.devices_at(premises.id)
    if not devices:
        raise Refusal("E080202", "no devices are at the premises")
    return SUCCESS, _answer(desk, devices, premises)


def _answer(desk: Desk, devices: tuple[SmiDevice, ...], premises: Premises | None) -> DspInventory:
    items = (presence(device, premises, desk.cpl) for device in devices)
    return DspInventory(tuple(map(InventoryDevice.from_items, items)))
