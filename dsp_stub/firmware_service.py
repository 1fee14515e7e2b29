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

    of each device                                         list
    -----------------------------------------------------  --------------------------
    what `targets` asks of it                              one of its four
    no update in progress                                  OtherRequestInProgress
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from dsp_stub.campaigns import CampaignState
from dsp_stub.cpl import CplEntry, image_hash
from dsp_stub.desk import ACCEPTED, Desk, Quarantined, Refusal
from dsp_stub.requests import RequestId, UpdatePpmidFirmware
from dsp_stub.responses import FirmwareWarning, QuarantinedRequest
from dsp_stub.smi import DeviceType
from dsp_stub.targets import SLICE, Target, list_for
from dsp_stub.users import User
from firmware_images.checks import check_image
from firmware_images.errors import ImageError
from firmware_images.image import FirmwareImage, read_image

PARTLY_ACCEPTED = "W110401"


class Judged(NamedTuple):
    """What is to be done about an 11.4, as far as its devices do not have another update."""

    image: FirmwareImage
    devices: Sequence[int]
    refused: dict[str, list[int]]


def judge(desk: Desk, user: User, body: UpdatePpmidFirmware) -> Generator[None, None, Judged]:
    """Look at the image and at every device, a slice a step. Changes nothing."""
    image = acceptable_image(desk, body)
    entries = current_entries(desk, image)
    lists: dict[Target | None, str | None] = {}
    refused: dict[str, list[int]] = {}
    taken: list[int] = []
    for begin in range(0, len(body.devices), SLICE):
        if begin:
            yield
        part = body.devices[begin : begin + SLICE]
        targets = desk.targets.of(part)
        for target in set(targets).difference(lists):
            lists[target] = list_for(target, user.eui64, image, entries, desk.options)
        if all(lists[target] is None for target in set(targets)):
            taken += part
            continue
        for device_id, target in zip(part, targets, strict=True):
            name = lists[target]
            (taken if name is None else refused.setdefault(name, [])).append(device_id)
    return Judged(image, taken, refused)


def begin_campaign(
    desk: Desk, request_id: RequestId, judged: Judged, now: datetime
) -> tuple[str, FirmwareWarning | None]:
    """11.4: the updates begin, in the order of the list; who was refused is in the warning."""
    refused = judged.refused
    busy = desk.updates.open_devices(judged.devices) | desk.campaigns.waiting_devices()
    busy.intersection_update(judged.devices)
    taken = judged.devices
    if busy:
        refused["other_request_in_progress"] = [one for one in taken if one in busy]
        taken = [one for one in taken if one not in busy]
    warning = None
    if refused:
        warning = FirmwareWarning(**{name: tuple(ids) for name, ids in refused.items()})
    if not taken:
        raise Refusal("E110403", "no device of the list can be updated", warning)
    start_updates(desk, request_id, judged.image, taken, desk.targets.hubs_of(taken), now)
    return (ACCEPTED if warning is None else PARTLY_ACCEPTED), warning


def acceptable_image(desk: Desk, body: UpdatePpmidFirmware) -> FirmwareImage:
    try:
        image = read_image(body.firmware_image)
    except ImageError as error:
        raise Refusal("E110402", str(error)) from None
    limit = desk.options.size_limit()
    size_bytes = limit.measured_bytes(image)
    if size_bytes > limit.limit_bytes:
        sentence = f"the {limit.scope} has {size_bytes} bytes, the limit is {limit.limit_bytes}"
        raise Refusal("E110405", sentence)
    for finding in check_image(image.data, limit=limit):
        if finding.severity == "error":
            raise Refusal("E110402", finding.sentence)
    version = f"{image.header.file_version:08X}"
    if body.firmware_version.upper() != version:
        sentence = f"FirmwareVersion is {body.firmware_version}, the image's header says {version}"
        raise Refusal("E110402", sentence)
    return image


def current_entries(desk: Desk, image: FirmwareImage) -> Sequence[CplEntry]:
    digest = image_hash(image, desk.options.cpl_hash)
    header = image.header
    entries = [
        entry
        for entry in desk.cpl.with_hash(digest)
        if entry.is_current
        and entry.device_type == DeviceType.PPMID
        and entry.firmware_version == f"{header.file_version:08X}"
        and entry.manufacturer == f"{header.manufacturer_code:04X}"
    ]
    if not entries:
        sentence = (
            f"no Current entry of the Central Products List has version "
            f"{header.file_version:08X} of manufacturer {header.manufacturer_code:04X} "
            f"with hash {digest}"
        )
        raise Refusal("E110401", sentence)
    return entries


def start_updates(
    desk: Desk,
    request_id: RequestId,
    image: FirmwareImage,
    devices: Sequence[int],
    hubs: Sequence[int],
    now: datetime,
) -> None:
    """Accept the campaign; above the threshold of its user's volume it waits for an operator."""
    options, user = desk.options, request_id.originator
    desk.updates.keep_image(image.sha256, image.data)
    since = now - timedelta(seconds=options.anomaly_window_s)
    threshold = options.anomaly_threshold
    volume = len(devices) + (desk.campaigns.volume(user, since) if threshold else 0)
    state = CampaignState.STARTING
    if threshold and volume > threshold:
        state = CampaignState.QUARANTINED
        desk.alert((user,), desk.codes.quarantined_request, QuarantinedRequest(request_id), now)
        detail = f"with its {len(devices)} devices the volume is {volume}, above {threshold}"
        desk.updates.record(now, str(request_id), None, state, detail)
        desk.events.append(Quarantined(str(request_id), detail))
    desk.campaigns.accept(
        str(request_id),
        user,
        image.sha256,
        image.header.file_version,
        devices,
        hubs,
        state,
        now,
        now + timedelta(seconds=options.in_progress_timeout_s),
        now + timedelta(seconds=options.service_level_s),
    )
