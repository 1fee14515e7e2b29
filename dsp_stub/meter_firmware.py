"""Update Firmware (11.1): one image for a list of meters or HCALCSs, authorised by their supplier.

Source: DUIS 11.1 and its published sample: behind the manufacturer image stand 00 40 and r||s, the
supplier's signature over that image and nothing else. SECMP0007 for the GBCS versions of an HCALCS
and of its hub. Which code says what stands in docs/open-points.md where the public text has only
the name. The file is judged first, then each device.

    of the file                                            code
    -----------------------------------------------------  -------
    as a file of 11.4                                      E110102, E110105
    it ends in the supplier's authorisation, which holds   E110106
    the hash of what was authorised is on the CPL          E110101

    of each device                                         list
    -----------------------------------------------------  --------------------------
    in the inventory, a meter or an HCALCS, the user's     InvalidDeviceID
    Commissioned, on a hub                                 NotCommissionedDeviceID
    of the model on the CPL, hardware in the range         NotApplicableFirmwareDeviceID
    an HCALCS: GBCS version of it and of its CHF           InvalidGBCSVersion
    no update in progress                                  OtherRequestInProgress

A list of PPMIDs alone is not for this service (E11); when nobody else is left, E110103. The update
ends when the device tells that it verified the image, or would not have it; that it runs is the end
of an 11.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from dsp_stub.cpl import CplEntry, image_hash
from dsp_stub.desk import ACCEPTED, Desk, Refusal
from dsp_stub.firmware_service import (
    FirmwareCodes,
    acceptable_image,
    current_entries,
    has_gbcs_version,
    is_applicable,
    start_updates,
)
from dsp_stub.requests import RequestId, UpdateFirmware
from dsp_stub.responses import MeterFirmwareWarning
from dsp_stub.smi import DeviceStatus, DeviceType, SmiDevice
from dsp_stub.users import User
from firmware_images.checks import AUTHORISATION_MARK, AUTHORISATION_OCTETS
from firmware_images.image import FirmwareImage
from gbcs.protection import KeyUse, is_signed

METER_CODES = FirmwareCodes(
    (DeviceType.ESME, DeviceType.GSME, DeviceType.HCALCS),
    "E110101",
    "E110102",
    "E110103",
    "E110105",
    "W110101",
)
NOT_AUTHORISED = "E110106"
NOT_FOR_PPMIDS = "E11"


def update_firmware(
    desk: Desk, user: User, request_id: RequestId, body: UpdateFirmware, now: datetime
) -> tuple[str, MeterFirmwareWarning | None]:
    """11.1: the updates begin, in the order of the list; who was refused is in the warning."""
    image = acceptable_image(desk, body, METER_CODES)
    digest = _authorised_hash(desk, user, image)
    if desk.options.cpl_hash == "whole-file":
        digest = image_hash(image, "whole-file")
    entries = current_entries(desk, image, digest, METER_CODES, now)
    refused: dict[str, list[int]] = {}
    taken: list[SmiDevice] = []
    devices = [desk.inventory.get(device_id) for device_id in body.devices]
    for device_id, device in zip(body.devices, devices, strict=True):
        name = _list_for(desk, user, device, image, entries)
        if name is None:
            assert device is not None
            taken.append(device)
        else:
            refused.setdefault(name, []).append(device_id)
    warning = None
    if refused:
        warning = MeterFirmwareWarning(**{name: tuple(ids) for name, ids in refused.items()})
    if not taken:
        all_ppmids = all(one is not None and one.device_type is DeviceType.PPMID for one in devices)
        code = NOT_FOR_PPMIDS if all_ppmids else METER_CODES.nobody_left
        raise Refusal(code, "no device of the list can be updated", warning)
    start_updates(desk, request_id, image, taken, now)
    return (ACCEPTED if warning is None else METER_CODES.partly), warning


def _authorised_hash(desk: Desk, user: User, image: FirmwareImage) -> str:
    """The hash of what the user authorised, as the device will compute it."""
    body = image.body
    at = len(body) - AUTHORISATION_OCTETS
    if at <= 0 or bytes(body[at : at + len(AUTHORISATION_MARK)]) != AUTHORISATION_MARK:
        raise Refusal(NOT_AUTHORISED, "the image does not end in an authorising signature")
    key = desk.keys.public_key(user.eui64, KeyUse.DIGITAL_SIGNATURE)
    signature = bytes(body[at + len(AUTHORISATION_MARK) :])
    if key is None or not is_signed(signature, bytes(body[:at]), key):
        raise Refusal(NOT_AUTHORISED, "the authorising signature is not that of the user")
    return hashlib.sha256(body[:at]).hexdigest()


def _list_for(
    desk: Desk,
    user: User,
    device: SmiDevice | None,
    image: FirmwareImage,
    entries: Sequence[CplEntry],
) -> str | None:
    """The list a device goes into, None when it can be updated."""
    if device is None or device.device_type not in METER_CODES.types:
        return "invalid_device_ids"
    responsible = desk.responsible(device)
    if responsible and user.eui64 not in responsible:
        return "invalid_device_ids"
    if device.status is not DeviceStatus.COMMISSIONED or device.chf is None:
        return "not_commissioned_device_ids"
    if not is_applicable(device, image, entries):
        return "not_applicable_firmware_device_ids"
    if device.device_type is DeviceType.HCALCS and not has_gbcs_version(desk, device):
        return "invalid_gbcs_version"
    if desk.updates.open_update(device.device_id) is not None:
        return "other_request_in_progress"
    return None
