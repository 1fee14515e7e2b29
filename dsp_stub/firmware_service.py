"""Update PPMID Firmware (11.4): one image for a list of PPMIDs or bridges; and what 11.1 shares.

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
    what `update_targets` asks of it                       one of its four
    no update in progress                                  OtherRequestInProgress
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from dsp_stub.campaigns import CampaignState
from dsp_stub.cpl import CplEntry, image_hash
from dsp_stub.desk import ACCEPTED, Desk, Quarantined, Refusal
from dsp_stub.requests import RequestId, UpdateFirmware, UpdatePpmidFirmware
from dsp_stub.responses import FirmwareWarning, MeterFirmwareWarning, QuarantinedRequest
from dsp_stub.smi import DeviceType
from dsp_stub.update_targets import SLICE, Target, list_for
from dsp_stub.users import User
from firmware_images.checks import check_image
from firmware_images.errors import ImageError
from firmware_images.image import FirmwareImage, read_image


class FirmwareCodes(NamedTuple):
    """What a service that sends images answers, and for which types of device they are."""

    service: str
    types: tuple[DeviceType, ...]
    warning: type[FirmwareWarning]
    not_on_list: str
    bad_image: str
    nobody_left: str
    too_large: str
    partly: str


PPMID_CODES = FirmwareCodes(
    "11.4",
    (DeviceType.PPMID,),
    FirmwareWarning,
    "E110401",
    "E110402",
    "E110403",
    "E110405",
    "W110401",
)
METER_CODES = FirmwareCodes(
    "11.1",
    (DeviceType.ESME, DeviceType.GSME, DeviceType.HCALCS),
    MeterFirmwareWarning,
    "E110101",
    "E110102",
    "E110103",
    "E110105",
    "W110101",
)
CODES = {codes.service: codes for codes in (PPMID_CODES, METER_CODES)}


class Judged(NamedTuple):
    """What is to be done about a request, as far as its devices do not have another update.

    `digest` is the hash that the Central Products List has of the image.
    """

    codes: FirmwareCodes
    image: FirmwareImage
    digest: str
    devices: Sequence[int]
    refused: dict[str, list[int]]

    def warning(self) -> FirmwareWarning | None:
        """The lists of those that are refused, if any are."""
        if not self.refused:
            return None
        return self.codes.warning(**{name: tuple(ids) for name, ids in self.refused.items()})


# -- judging: nothing changes ------------------------------------------------------------------


def judge(
    desk: Desk, user: User, body: UpdatePpmidFirmware, now: datetime
) -> Generator[None, None, Judged]:
    """11.4: look at the image and at every device, a slice a step."""
    image = acceptable_image(desk, body, PPMID_CODES)
    digest = image_hash(image, desk.options.cpl_hash)
    return (yield from judge_devices(desk, user, body, image, digest, PPMID_CODES, now))


def judge_devices(
    desk: Desk,
    user: User,
    body: UpdateFirmware | UpdatePpmidFirmware,
    image: FirmwareImage,
    digest: str,
    codes: FirmwareCodes,
    now: datetime,
) -> Generator[None, None, Judged]:
    """Which devices of a request can have its image."""
    entries = current_entries(desk, image, digest, codes, now)
    lists: dict[Target | None, str | None] = {}
    refused: dict[str, list[int]] = {}
    taken: list[int] = []
    for begin in range(0, len(body.devices), SLICE):
        if begin:
            yield
        part = body.devices[begin : begin + SLICE]
        targets = desk.targets.of(part)
        for target in set(targets).difference(lists):
            lists[target] = list_for(target, user.eui64, image, entries, codes.types, desk.options)
        if all(lists[target] is None for target in set(targets)):
            taken += part
            continue
        for device_id, target in zip(part, targets, strict=True):
            name = lists[target]
            (taken if name is None else refused.setdefault(name, [])).append(device_id)
    return Judged(codes, image, digest, taken, refused)


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


# -- accepting ---------------------------------------------------------------------------------


def begin_campaign(
    desk: Desk, request_id: RequestId, judged: Judged, now: datetime
) -> tuple[str, FirmwareWarning | None]:
    """The updates begin, in the order of the list; who was refused is in the warning."""
    codes, taken = judged.codes, judged.devices
    busy = desk.updates.open_devices(taken) | desk.campaigns.waiting_devices()
    busy.intersection_update(taken)
    if busy:
        judged.refused["other_request_in_progress"] = [one for one in taken if one in busy]
        taken = [one for one in taken if one not in busy]
    warning = judged.warning()
    if not taken:
        raise Refusal(codes.nobody_left, "no device of the list can be updated", warning)
    _accept(desk, request_id, judged, taken, now)
    return (ACCEPTED if warning is None else codes.partly), warning


def _accept(
    desk: Desk, request_id: RequestId, judged: Judged, devices: Sequence[int], now: datetime
) -> None:
    """Above the threshold of its user's volume, for each service alone, a campaign waits for an
    operator."""
    options, user, image = desk.options, request_id.originator, judged.image
    service = judged.codes.service
    desk.updates.keep_image(image.sha256, image.data)
    since = now - timedelta(seconds=options.anomaly_window_s)
    threshold = options.anomaly_threshold
    volume = len(devices) + (desk.campaigns.volume(user, service, since) if threshold else 0)
    state = CampaignState.STARTING
    if threshold and volume > threshold:
        state = CampaignState.QUARANTINED
        desk.alert((user,), desk.codes.quarantined_request, QuarantinedRequest(request_id), now)
        detail = f"with its {len(devices)} devices the volume is {volume}, above {threshold}"
        desk.updates.record(now, str(request_id), None, state, detail)
        desk.events.append(Quarantined(str(request_id), detail))
    # The service level ends with the N39, which no meter leads to.
    due_at = now + timedelta(seconds=options.service_level_s)
    desk.campaigns.accept(
        str(request_id),
        user,
        service,
        image.sha256,
        judged.digest,
        image.header.file_version,
        devices,
        desk.targets.hubs_of(devices),
        state,
        now,
        now + timedelta(seconds=options.in_progress_timeout_s),
        due_at if judged.codes is PPMID_CODES else None,
    )
