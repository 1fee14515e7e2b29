"""What campaigns do by themselves, a step at a time: start, end, be late, be cancelled.

Source: MP170 (NF1: two downloads a device and year; SLA; every update has one end), DESIGN ("one
transaction" a step). Each step does a slice and says whether there was anything to do; between two
of them others have their turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter

from dsp_stub.campaigns import Campaign, CampaignState
from dsp_stub.cpl import CplEntry
from dsp_stub.desk import Desk, Flagged, Refusal
from dsp_stub.firmware_service import CODES, PPMID_CODES, current_entries
from dsp_stub.requests import RequestId
from dsp_stub.responses import CspFirmwareDeliveryStatus
from dsp_stub.update_targets import list_for
from dsp_stub.updates import Update, UpdateState
from firmware_images.image import read_image
from gbcs.wan import MAX_DEVICES

DOWNLOADS_A_YEAR = 2
_YEAR = timedelta(days=365)
# Users are told of each, which takes a signature.
ENDS_A_STEP = 50


def step(desk: Desk, now: datetime) -> bool:
    """The next slice of the oldest campaign that has one."""
    campaign = desk.campaigns.unfinished()
    if campaign is None:
        return False
    match campaign.state:
        case CampaignState.CANCELLING:
            _cancel(desk, campaign, now)
        case _:
            _place(desk, campaign, now)
    return True


def _place(desk: Desk, campaign: Campaign, now: datetime) -> None:
    """Begin the updates of a slice; each hub gets the image once, with those of its devices."""
    devices: Sequence[int]
    hubs: Sequence[int]
    devices, hubs = desk.campaigns.next_devices(campaign)
    count = len(devices)
    if campaign.state is CampaignState.RELEASED:
        devices, hubs = _still_fit(desk, campaign, devices, hubs, now)
    else:
        devices, hubs = _still_there(desk, campaign, devices, hubs, now)
    if campaign.service == PPMID_CODES.service:
        _warn_of_downloads(desk, devices, now)
    references = desk.updates.start(
        campaign.request_id,
        devices,
        hubs,
        campaign.image_sha256,
        campaign.firmware_version,
        campaign.accepted_at,
        campaign.deadline,
        now,
    )
    triples = zip(hubs, devices, references, strict=True)
    for hub, group in groupby(triples, key=itemgetter(0)):
        offered = list(group)
        for begin in range(0, len(offered), MAX_DEVICES):
            part = offered[begin : begin + MAX_DEVICES]
            desk.outbox.add_offer(
                hub,
                part[0][2],
                tuple(device for _, device, _ in part),
                campaign.image_sha256,
                campaign.request_id,
                now,
                campaign.deadline,
            )
    if desk.campaigns.placed(campaign, count):
        desk.campaigns.set_state(campaign, CampaignState.STARTED)


def _still_fit(
    desk: Desk,
    campaign: Campaign,
    devices: Sequence[int],
    hubs: Sequence[int],
    now: datetime,
) -> tuple[Sequence[int], Sequence[int]]:
    """Those that could be updated even now that the quarantine is over; the others are refused."""
    codes = CODES[campaign.service]
    image = read_image(desk.updates.image(campaign.image_sha256))
    entries: Sequence[CplEntry] = ()
    not_on_list = None
    try:
        entries = current_entries(desk, image, campaign.image_hash, codes, now)
    except Refusal as refusal:
        not_on_list = str(refusal)
    busy = desk.updates.open_devices(devices)
    busy |= desk.campaigns.waiting_devices(apart_from=campaign.id)
    fit: list[tuple[int, int]] = []
    unfit: list[tuple[int, int, str]] = []
    targets = desk.targets.of(devices)
    for device, hub, target in zip(devices, hubs, targets, strict=True):
        why = not_on_list or list_for(
            target, campaign.originator, image, entries, codes.types, desk.options
        )
        if why is None and device in busy:
            why = "other_request_in_progress"
        if why is None:
            fit.append((device, hub))
        else:
            unfit.append((device, hub, why))
    _end_unplaced(desk, campaign, unfit, UpdateState.REFUSED, now)
    return [device for device, _ in fit], [hub for _, hub in fit]


def _still_there(
    desk: Desk,
    campaign: Campaign,
    devices: Sequence[int],
    hubs: Sequence[int],
    now: datetime,
) -> tuple[Sequence[int], Sequence[int]]:
    """Those that were not decommissioned between the answer and their turn."""
    targets = desk.targets.of(devices)
    if all(target is not None and target.is_there for target in targets):
        return devices, hubs
    there: list[tuple[int, int]] = []
    gone: list[tuple[int, int, str]] = []
    for device, hub, target in zip(devices, hubs, targets, strict=True):
        if target is not None and target.is_there:
            there.append((device, hub))
        else:
            gone.append((device, hub, "the device was decommissioned"))
    _end_unplaced(desk, campaign, gone, UpdateState.CANCELLED, now)
    return [device for device, _ in there], [hub for _, hub in there]


def _end_unplaced(
    desk: Desk,
    campaign: Campaign,
    ended: Sequence[tuple[int, int, str]],
    state: UpdateState,
    now: datetime,
) -> None:
    """A row, and with it an end, for devices that are not updated after all."""
    desk.updates.end_unplaced(
        campaign.request_id,
        ended,
        campaign.image_sha256,
        campaign.firmware_version,
        campaign.accepted_at,
        state,
        now,
    )


def _warn_of_downloads(desk: Desk, devices: Sequence[int], now: datetime) -> None:
    for device, count in desk.updates.downloads(devices, now - _YEAR).items():
        if count >= DOWNLOADS_A_YEAR:
            detail = f"download {count + 1} within a year, {DOWNLOADS_A_YEAR} are provided for"
            desk.flag(device, "downloads-of-a-year", detail, now)


# -- ends ----------------------------------------------------------------------------------------


def _cancel(desk: Desk, campaign: Campaign, now: datetime) -> None:
    """Devices without a row get one that has ended; offers that still wait here are taken back."""
    if campaign.placed < campaign.device_count:
        devices, hubs = desk.campaigns.next_devices(campaign)
        ended = [(device, hub, "") for device, hub in zip(devices, hubs, strict=True)]
        _end_unplaced(desk, campaign, ended, UpdateState.CANCELLED, now)
        desk.campaigns.placed(campaign, len(devices))
        return
    taken_back = desk.outbox.take_back_offers(campaign.request_id, ENDS_A_STEP)
    for devices in taken_back:
        for device in devices:
            update = desk.updates.open_update(device)
            if update is not None and update.request_id == campaign.request_id:
                end_undelivered(desk, update, UpdateState.CANCELLED, now, "cancelled")
    if not taken_back:
        desk.campaigns.set_state(campaign, CampaignState.CANCELLED)


def end_overdue(desk: Desk, now: datetime) -> bool:
    """Updates whose time is up, quarantines too; whether there was anything to end."""
    quarantined = desk.campaigns.overdue_quarantine(now)
    for campaign in quarantined:
        desk.campaigns.set_state(campaign, CampaignState.CANCELLING)
    updates = desk.updates.overdue(now, ENDS_A_STEP)
    for update in updates:
        if update.state is UpdateState.REQUESTED:
            end_undelivered(desk, update, UpdateState.TIMED_OUT, now, "no hub took it in time")
        else:
            desk.updates.move(update, UpdateState.TIMED_OUT, now, "no end was heard of")
    return bool(quarantined or updates)


def end_undelivered(
    desk: Desk, update: Update, state: UpdateState, now: datetime, detail: str
) -> None:
    """An update whose image never reached the hub is over, and users are told so."""
    desk.updates.move(update, state, now, detail)
    tell_delivery(desk, update, now, delivered=False)


def tell_delivery(desk: Desk, update: Update, now: datetime, *, delivered: bool) -> None:
    """CSPFirmwareDeliveryStatus: whether the image reached the hub."""
    status = CspFirmwareDeliveryStatus(
        RequestId.parse(update.request_id),
        update.hub,
        update.device,
        f"{update.firmware_version:08X}",
        now,
        delivered,
    )
    codes = desk.codes
    code = codes.firmware_delivered if delivered else codes.firmware_not_delivered
    device = desk.inventory.get(update.device)
    desk.alert(() if device is None else desk.audience(device, update), code, status, now)


# -- service level -------------------------------------------------------------------------------


def look_at_service_level(desk: Desk, now: datetime) -> bool:
    """Flag the devices of a campaign that should have been updated by now, and are not."""
    campaign = desk.campaigns.past_target(now)
    if campaign is None:
        return False
    if campaign.state in (CampaignState.STARTING, CampaignState.RELEASED):
        return False  # its devices are not all there yet
    desk.campaigns.looked_at(campaign)
    late = desk.updates.note_late(campaign.request_id, now)
    target_s = desk.options.service_level_s
    if late:
        detail = (
            f"{len(late)} of {campaign.device_count} devices of {campaign.request_id} without an "
            f"N39 after {target_s} s"
        )
        desk.events.append(Flagged(late[0], "service-level-missed", detail))
    return True
