"""The metering points of a home: which of them a meter may have, and where each is recorded.

Source: DUIS, UpdateMPxN (8.4) and AddDeviceToCHFWhitelist (8.11); MP170, annex B, 3.8.106.4. What
8.11 does with them is not public: it records those the home has none of yet, once the hub has let
the meter in, and 8.4 alone replaces one.

    item                 field of Premises           of
    -------------------  --------------------------  -----------------------------------
    ImportMPxN           import_mpxn or import_mprn  ESME (13 digits), GSME (fewer)
    SecondaryImportMPAN  secondary_import_mpan       twin element ESME
    ExportMPAN           export_mpan                 every ESME but an SAPC
"""

from __future__ import annotations

from datetime import datetime

from dsp_stub.columns import eui64_text
from dsp_stub.desk import Desk
from dsp_stub.inventory import mpxns_of
from dsp_stub.smi import (
    MPAN_DIGITS,
    DeviceType,
    MeteringPoints,
    Premises,
    SmiDevice,
    is_twin_element,
    may_export,
)
from dsp_stub.users import User


def suits(device: SmiDevice, item: str, mpxn: str) -> bool:
    """Whether a device may have a metering point as this item."""
    if device.device_type is DeviceType.GSME:
        return item == "ImportMPxN" and len(mpxn) < MPAN_DIGITS
    if device.device_type is not DeviceType.ESME or len(mpxn) != MPAN_DIGITS:
        return False
    variant = device.esme_variant
    if item == "SecondaryImportMPAN":
        return is_twin_element(variant)
    return item == "ImportMPxN" or may_export(variant)


def field_of(device: SmiDevice, item: str, premises: Premises) -> str:
    """The field of the premises a metering point goes into: a home has one, or an MPAN and an
    MPRN."""
    if item != "ImportMPxN":
        return "secondary_import_mpan" if item == "SecondaryImportMPAN" else "export_mpan"
    first = premises.import_mpxn
    is_esme = device.device_type is DeviceType.ESME
    is_ours = first is not None and (len(first) == MPAN_DIGITS) is is_esme
    return "import_mpxn" if is_ours or (first is None and is_esme) else "import_mprn"


def why_not_of(
    desk: Desk, user: User, device: SmiDevice, premises: Premises, item: str, mpxn: str
) -> str | None:
    """Why a home has no such metering point for a new meter; None when it has, or may get it."""
    held = mpxns_of(device, premises)[item]
    if held is not None:
        return None if held == mpxn else f"the {item} of the premises is {held}, not {mpxn}"
    registration = desk.registrations.get(mpxn)
    if registration is None or registration.supplier == user.eui64:
        return None
    return f"user {eui64_text(user.eui64)} is not the Registered Supplier of {mpxn}"


def record(desk: Desk, device_id: int, points: MeteringPoints, now: datetime) -> None:
    """Associate what a meter was added with, where its home has no such metering point yet."""
    device = desk.inventory.get(device_id)
    if device is None or device.premises is None:
        return
    for item, mpxn in points:
        premises = desk.inventory.premises(device.premises)
        held = mpxns_of(device, premises)[item]
        if held is None:
            desk.inventory.set_mpxn(premises.id, field_of(device, item, premises), mpxn)
        elif held != mpxn:
            detail = f"{item} {mpxn} was not recorded: the premises have {held} meanwhile"
            desk.flag(device_id, "metering-point-not-recorded", detail, now)
