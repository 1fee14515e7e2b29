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
    what `update_targets` asks of it                       one of its four
    no update in progress                                  OtherRequestInProgress

A list of PPMIDs alone is not for this service (E11); when nobody else is left, E110103. The update
ends when the device tells that it verified the image, or would not have it; that it runs is the end
of an 11.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from datetime import datetime

from dsp_stub.cpl import image_hash
from dsp_stub.desk import Desk, Refusal
from dsp_stub.firmware_service import METER_CODES, Judged, acceptable_image, judge_devices
from dsp_stub.requests import UpdateFirmware
from dsp_stub.smi import DeviceType
from dsp_stub.users import User
from firmware_images.checks import AUTHORISATION_MARK, AUTHORISATION_OCTETS
from firmware_images.image import FirmwareImage
from gbcs.protection import KeyUse, is_signed

NOT_AUTHORISED = "E110106"
NOT_FOR_PPMIDS = "E11"


def judge(
    desk: Desk, user: User, body: UpdateFirmware, now: datetime
) -> Generator[None, None, Judged]:
    """11.1: look at the image and at every device, a slice a step. Changes nothing."""
    image = acceptable_image(desk, body, METER_CODES)
    digest = _authorised_hash(desk, user, image)
    if desk.options.cpl_hash == "whole-file":
        digest = image_hash(image, "whole-file")
    judged = yield from judge_devices(desk, user, body, image, digest, METER_CODES, now)
    if not judged.devices and all(
        target is not None and target.device_type is DeviceType.PPMID
        for target in desk.targets.of(body.devices)
    ):
        sentence = "no device of the list can be updated"
        raise Refusal(NOT_FOR_PPMIDS, sentence, judged.warning())
    return judged


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
