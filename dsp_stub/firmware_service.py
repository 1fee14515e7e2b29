"""Update PPMID Firmware (11.4): one image for a list of PPMIDs or bridges.

Source: MP170 (legal text of 11.4), SECMP0007 (GBCS versions); which code says what stands in
docs/open-points.md where the public text has only the name. The file is judged first, then each
device; a device that is refused goes into one of the lists, and the others go ahead.

    of the file                                            code
    -----------------------------------------------------  -------
    it reads, its sizes agree, ids are no wildcards        E110402
    not larger than the limit                              E110405
    FirmwareVersion is the version of its header           E110402
    its hash is on the CPL, Current, with that version     E110401
    its specification and GBCS may be maintained today     E110401

    of each device                                         list
    -----------------------------------------------------  --------------------------
    in the inventory, a PPMID, the user's to update        InvalidDeviceID
    of a status that takes firmware, on a hub              NotCommissionedDeviceID
    of the model on the CPL, hardware in the header's      NotApplicableFirmwareDeviceID
      range, SMETS2 or later
    GBCS version of it and of its CHF is high enough       InvalidGBCSVersion
    no update in progress                                  OtherRequestInProgress
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from dsp_stub.cpl import CplEntry, image_hash
from dsp_stub.desk import ACCEPTED, Desk, Refusal
from dsp_stub.requests import RequestId, UpdateFirmware, UpdatePpmidFirmware
from dsp_stub.responses import FirmwareWarning
from dsp_stub.smi import (
    ENDED,
    DeviceStatus,
    DeviceType,
    PpmidVariant,
    SmiDevice,
    is_smets1,
    version_numbers,
)
from dsp_stub.users import User
from firmware_images.checks import check_image
from firmware_images.errors import ImageError
from firmware_images.image import FirmwareImage, read_image


class FirmwareCodes(NamedTuple):
    """What a service that sends images answers, and for which types of device they are."""

    types: tuple[DeviceType, ...]
    not_on_list: str
    bad_image: str
    nobody_left: str
    too_large: str
    partly: str


PPMID_CODES = FirmwareCodes(
    (DeviceType.PPMID,), "E110401", "E110402", "E110403", "E110405", "W110401"
)
# What waits to be joined to a meter: never a bridge's end (MP170), and a PPMID's only where there
# is no meter.
_UNCOMMISSIONED = (DeviceStatus.WHITELISTED, DeviceStatus.INSTALLED_NOT_COMMISSIONED)


def update_ppmid_firmware(
    desk: Desk, user: User, request_id: RequestId, body: UpdatePpmidFirmware, now: datetime
) -> tuple[str, FirmwareWarning | None]:
    """11.4: the updates begin, in the order of the list; who was refused is in the warning."""
    image = acceptable_image(desk, body, PPMID_CODES)
    digest = image_hash(image, desk.options.cpl_hash)
    entries = current_entries(desk, image, digest, PPMID_CODES, now)
    refused: dict[str, list[int]] = {}
    taken: list[SmiDevice] = []
    for device_id in body.devices:
        device = desk.inventory.get(device_id)
        name = _list_for(desk, user, device, image, entries)
        if name is None:
            assert device is not None
            taken.append(device)
        else:
            refused.setdefault(name, []).append(device_id)
    warning = None
    if refused:
        warning = FirmwareWarning(**{name: tuple(ids) for name, ids in refused.items()})
    if not taken:
        sentence = "no device of the list can be updated"
        raise Refusal(PPMID_CODES.nobody_left, sentence, warning)
    start_updates(desk, request_id, image, taken, now)
    return (ACCEPTED if warning is None else PPMID_CODES.partly), warning


def acceptable_image(
    desk: Desk, body: UpdateFirmware | UpdatePpmidFirmware, codes: FirmwareCodes
) -> FirmwareImage:
    """The file of a request, when it can be one. Raises Refusal."""
    try:
        image = read_image(body.firmware_image)
    except ImageError as error:
        raise Refusal(codes.bad_image, str(error)) from None
    limit = desk.options.size_limit()
    size_bytes = limit.measured_bytes(image)
    if size_bytes > limit.limit_bytes:
        sentence = f"the {limit.scope} has {size_bytes} bytes, the limit is {limit.limit_bytes}"
        raise Refusal(codes.too_large, sentence)
    for finding in check_image(image.data, limit=limit):
        if finding.severity == "error":
            raise Refusal(codes.bad_image, finding.sentence)
    version = f"{image.header.file_version:08X}"
    if body.firmware_version.upper() != version:
        sentence = f"FirmwareVersion is {body.firmware_version}, the image's header says {version}"
        raise Refusal(codes.bad_image, sentence)
    return image


def current_entries(
    desk: Desk, image: FirmwareImage, digest: str, codes: FirmwareCodes, now: datetime
) -> Sequence[CplEntry]:
    """What the Central Products List has for a file that may be sent today. Raises Refusal when
    that is nothing."""
    header = image.header
    entries = [
        entry
        for entry in desk.cpl.with_hash(digest)
        if entry.is_current
        and entry.device_type in codes.types
        and entry.firmware_version == f"{header.file_version:08X}"
        and entry.manufacturer == f"{header.manufacturer_code:04X}"
    ]
    if not entries:
        sentence = (
            f"no Current entry of the Central Products List has version "
            f"{header.file_version:08X} of manufacturer {header.manufacturer_code:04X} "
            f"with hash {digest}"
        )
        raise Refusal(codes.not_on_list, sentence)
    why_not = [
        desk.applicability.why_not_maintained(
            entry.smets_chts_version, entry.gbcs_version, now.date()
        )
        for entry in entries
    ]
    maintained = [entry for entry, why in zip(entries, why_not, strict=True) if why is None]
    if not maintained:
        raise Refusal(codes.not_on_list, "; ".join(dict.fromkeys(filter(None, why_not))))
    return maintained


def _list_for(
    desk: Desk,
    user: User,
    device: SmiDevice | None,
    image: FirmwareImage,
    entries: Sequence[CplEntry],
) -> str | None:
    """The list a device goes into, None when it can be updated."""
    if device is None or device.device_type is not DeviceType.PPMID:
        return "invalid_device_ids"
    responsible = desk.responsible(device)
    if responsible and user.eui64 not in responsible:
        return "invalid_device_ids"
    if not _takes_firmware(desk, device):
        return "not_commissioned_device_ids"
    if not is_applicable(device, image, entries):
        return "not_applicable_firmware_device_ids"
    if not has_gbcs_version(desk, device):
        return "invalid_gbcs_version"
    if desk.updates.open_update(device.device_id) is not None:
        return "other_request_in_progress"
    return None


def _takes_firmware(desk: Desk, device: SmiDevice) -> bool:
    if device.status in ENDED or device.chf is None:
        return False
    if device.status is DeviceStatus.COMMISSIONED:
        return True
    if desk.options.commissioned == "strict" or device.status not in _UNCOMMISSIONED:
        return False
    return device.ppmid_variant is not PpmidVariant.PPMID or not _has_joined_meter(desk, device)


def _has_joined_meter(desk: Desk, device: SmiDevice) -> bool:
    """Whether there is a meter on the HAN that a PPMID could have been joined to.

    A meter that stands in the inventory alone, without a hub's device log, is none of the HAN.
    """
    assert device.chf is not None
    meters = (DeviceType.ESME, DeviceType.GSME)
    return any(one.device_type in meters for one in desk.inventory.devices_on(device.chf))


def has_gbcs_version(desk: Desk, device: SmiDevice) -> bool:
    """Whether the device and its hub are of a version that takes firmware so (SECMP0007)."""
    chf = None if device.chf is None else desk.inventory.get(device.chf)
    versions = (device.gbcs_version, None if chf is None else chf.gbcs_version)
    least = version_numbers(desk.options.least_gbcs_version)
    return all(version is not None and version_numbers(version) >= least for version in versions)


def is_applicable(device: SmiDevice, image: FirmwareImage, entries: Sequence[CplEntry]) -> bool:
    """Whether the file is for the model and the hardware of a device."""
    hardware_version = int(device.model[4:], 16)
    return (
        image.header.fits_hardware(hardware_version)
        and any(
            (entry.device_type, entry.manufacturer, entry.model)
            == (device.device_type, device.manufacturer, device.model)
            for entry in entries
        )
        and not is_smets1(device.smets_chts_version)
    )


def start_updates(
    desk: Desk,
    request_id: RequestId,
    image: FirmwareImage,
    devices: Sequence[SmiDevice],
    now: datetime,
) -> None:
    """Begin the updates; each hub gets the image once, with those of its devices."""
    deadline = now + timedelta(seconds=desk.options.in_progress_timeout_s)
    desk.updates.keep_image(image.sha256, image.data)
    by_hub: dict[int, list[int]] = {}
    for device in devices:
        assert device.chf is not None
        by_hub.setdefault(device.chf, []).append(device.device_id)
    for hub, device_ids in by_hub.items():
        references = [
            desk.updates.start(
                str(request_id),
                device_id,
                hub,
                image.sha256,
                image.header.file_version,
                now,
                deadline,
            )
            for device_id in device_ids
        ]
        desk.outbox.add_offer(hub, references[0], tuple(device_ids), image.sha256, now)
