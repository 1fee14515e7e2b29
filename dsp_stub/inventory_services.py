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
"""

from __future__ import annotations

from datetime import datetime

from dsp_stub.desk import ACCEPTED, SUCCESS, Desk, Refusal
from dsp_stub.inventory import presence
from dsp_stub.requests import DevicePrenotification, ReadInventory
from dsp_stub.responses import DspInventory, InventoryDevice
from dsp_stub.schema import SchemaProfile
from dsp_stub.smi import ENDED, TYPE_2, DeviceStatus, DeviceType, PpmidVariant, Premises, SmiDevice
from dsp_stub.users import User


def prenotify(
    desk: Desk, user: User, body: DevicePrenotification, _now: datetime
) -> tuple[str, None]:
    """12.2: a device is announced, and Pending from then on if its type has a status."""
    held = desk.inventory.get(body.device_id)
    if held is not None and held.status not in ENDED:
        raise Refusal("E120201", f"device {body.device_id:016X} is in the inventory already")
    device_type = DeviceType(body.device_type)
    if device_type is DeviceType.GPF:
        raise Refusal("E120207", "a GPF comes with its CHF and is not pre-notified")
    _require_items(desk, body, device_type)
    if device_type in TYPE_2:
        gbcs_version = None
    else:
        gbcs_version = _approved_gbcs_version(desk, body, device_type)
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
    desk.inventory.add(device)
    return ACCEPTED, None


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
    for entry in desk.cpl.find(
        device_type=device_type,
        manufacturer=body.manufacturer,
        model=body.model,
        firmware_version=body.firmware_version,
    ):
        if entry.is_current and entry.smets_chts_version == body.smets_chts_version:
            return entry.gbcs_version
    sentence = (
        f"{device_type} {body.manufacturer} {body.model} with firmware {body.firmware_version} "
        f"and {body.smets_chts_version} is not on the Central Products List as Current"
    )
    raise Refusal("E120203", sentence)


def read(desk: Desk, _user: User, body: ReadInventory, _now: datetime) -> tuple[str, DspInventory]:
    """8.2: the devices of one premises; of a device that is on none yet, that device alone."""
    if body.device_id is not None:
        device = desk.inventory.get(body.device_id)
        if device is not None and device.premises is None:
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
