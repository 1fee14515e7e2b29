"""Campaigns: long lists, quarantine, cancellation, deadlines, late ones, and one end for each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dsp_rig import (
    BRIDGE,
    HUB,
    NEW,
    OTHER_HUB,
    OTHER_SUPPLIER_EUI64,
    PPMID,
    STRANGER,
    Device,
    Rig,
    made_image,
    running,
    smi_device,
)

from dsp_stub.campaigns import SLICE, CampaignState
from dsp_stub.cpl_admission import remove_entry
from dsp_stub.desk import Flagged, Quarantined
from dsp_stub.errors import DspValueError
from dsp_stub.firmware_service import PPMID_CODES
from dsp_stub.options import Options
from dsp_stub.requests import DecommissionDevice, UpdatePpmidFirmware
from dsp_stub.responses import (
    CspFirmwareDeliveryStatus,
    FirmwareWarning,
    PpmidAlert,
    QuarantinedRequest,
    Response,
    ResponseMessage,
)
from dsp_stub.service_level import percentile, service_level
from dsp_stub.smi import DeviceStatus, DeviceType, Premises
from dsp_stub.update_targets import list_for
from dsp_stub.updates import UpdateState
from gbcs.firmware import TransferResult
from gbcs.smki import SUPPLIER_EUI64
from gbcs.wan import DeliveryResult, ImageOffer

pytestmark = pytest.mark.real_clock

FIRST, MANY = 0x00DB_7000_0000_0000, 3 * SLICE + 17


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig


class TakenBackError(Exception):
    """What a transaction did is not to be."""


def update_of(*devices: int, version: int = NEW) -> UpdatePpmidFirmware:
    return UpdatePpmidFirmware(made_image().data, f"{version:08X}", devices)


def furnish_many(rig: Rig, count: int = MANY, hubs: int | None = None) -> tuple[int, ...]:
    """Devices on hubs of their own, or so many to each of a few."""
    devices = tuple(FIRST + number for number in range(count))
    with rig.store.transaction():
        for number, device in enumerate(devices):
            hub = OTHER_HUB if hubs else FIRST + (1 << 40) + number
            rig.desk.inventory.add(
                smi_device(device, chf=hub, premises=None, prenotified_by=SUPPLIER_EUI64)
            )
            if hub != OTHER_HUB:
                rig.desk.inventory.add(
                    smi_device(
                        hub,
                        device_type=DeviceType.CHF,
                        ppmid_variant=None,
                        chf=None,
                        premises=None,
                    )
                )
    return devices


def states(rig: Rig) -> dict[int, str]:
    rows = rig.store.connection.execute("SELECT device, state FROM updates ORDER BY id").fetchall()
    assert len({device for device, _ in rows}) == len(rows), "one row, and so one end, for each"
    return {int(device, 16): state for device, state in rows}


def flags(rig: Rig, reason: str) -> list[Flagged]:
    return [one for one in rig.events if isinstance(one, Flagged) and one.reason == reason]


def work_off(rig: Rig) -> None:
    while rig.desk.campaigns.unfinished() is not None:
        rig.dsp.handle_timeout(rig.now)


def warning(answer: Response) -> FirmwareWarning:
    assert isinstance(answer.message, ResponseMessage)
    assert isinstance(answer.message.content, FirmwareWarning)
    return answer.message.content


# -- long lists ----------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-R2", "good")
async def test_a_long_list_begins_at_once_and_each_device_has_its_update_in_the_end(
    rig: Rig,
) -> None:
    devices = furnish_many(rig)
    answer = await rig.ask("11.4", update_of(*devices))
    assert answer.response_code == "I99"
    work_off(rig)
    assert states(rig) == dict.fromkeys(devices, "requested")
    assert list(states(rig)) == list(devices), "in the order of the list"
    offers = rig.store.connection.execute("SELECT destination FROM outbox").fetchall()
    assert len(set(offers)) == MANY
    requested = rig.store.connection.execute(
        "SELECT COUNT(*) FROM attempts WHERE event = 'requested'"
    ).fetchone()
    assert requested == (MANY,)
    campaign = rig.desk.campaigns.find(str(answer.request_id))
    assert campaign is not None
    assert (campaign.state, campaign.placed) == (CampaignState.STARTED, MANY)


@pytest.mark.requirement("MP170-BUSY", "good", "bad")
async def test_a_second_request_names_the_devices_of_the_first_even_before_all_have_their_rows(
    rig: Rig,
) -> None:
    devices = furnish_many(rig)
    first = await rig.ask("11.4", update_of(*devices))
    again = await rig.ask("11.4", update_of(devices[-1], PPMID))
    work_off(rig)
    assert (first.response_code, again.response_code) == ("I99", "W110401")
    assert warning(again).other_request_in_progress == (devices[-1],)
    assert states(rig)[PPMID] == "requested"


async def test_devices_of_one_hub_stand_in_one_offer_wherever_they_are_in_the_list(
    rig: Rig,
) -> None:
    many = furnish_many(rig)
    rig.desk.inventory.add(smi_device(STRANGER))
    answer = await rig.ask("11.4", update_of(PPMID, *many, STRANGER))
    assert answer.response_code == "I99"
    work_off(rig)
    assert rig.take_offer().devices == (PPMID, STRANGER)


async def test_more_devices_on_a_hub_than_an_offer_may_have_are_several_offers(rig: Rig) -> None:
    devices = furnish_many(rig, 300, hubs=1)
    await rig.ask("11.4", update_of(*devices))
    work_off(rig)
    rig.server.pump()
    offers = [one for one in rig.wan[OTHER_HUB].messages if isinstance(one, ImageOffer)]
    assert [device for offer in offers for device in offer.devices] == list(devices)
    for offer in offers:
        for device in offer.devices:
            rig.outcome(device, offer.reference, DeliveryResult.DELIVERED, OTHER_HUB)
    assert set(states(rig).values()) == {"stored"}


@pytest.mark.requirement("MP170-R2", "bad")
async def test_each_device_of_a_long_list_that_does_not_fit_is_in_the_list_that_says_why(
    rig: Rig,
) -> None:
    devices = furnish_many(rig)
    inventory = rig.desk.inventory
    inventory.set_status(devices[3], DeviceStatus.SUSPENDED)
    inventory.set_status(devices[-2], DeviceStatus.PENDING)
    old_hub = inventory.get(devices[10])
    assert old_hub is not None
    assert old_hub.chf is not None
    inventory.set_firmware_version(old_hub.chf, "00010000", gbcs_version="4.0")
    listed = (*devices, BRIDGE, 0x1234, HUB)
    answer = await rig.ask("11.4", update_of(*listed))
    assert answer.response_code == "W110401"
    assert warning(answer) == FirmwareWarning(
        invalid_device_ids=(0x1234, HUB),
        not_commissioned_device_ids=(devices[3], devices[-2]),
        not_applicable_firmware_device_ids=(BRIDGE,),
        invalid_gbcs_version=(devices[10],),
    )
    work_off(rig)
    refused = {devices[3], devices[10], devices[-2]}
    assert set(states(rig)) == set(devices) - refused


async def test_a_device_decommissioned_before_its_turn_is_sent_nothing(rig: Rig) -> None:
    devices = furnish_many(rig)
    await rig.ask("11.4", update_of(*devices))
    gone = devices[-1]
    assert gone not in states(rig), "its turn has not come"
    assert (await rig.ask("8.3", DecommissionDevice(gone))).response_code == "I99"
    work_off(rig)
    began = dict.fromkeys(devices[:-1], "requested")
    assert states(rig) == began | {gone: "cancelled"}
    offered = rig.store.connection.execute("SELECT COUNT(*) FROM outbox WHERE kind = 'offer'")
    assert offered.fetchone() == (len(devices) - 1,)


# -- what is known of devices is never stale -----------------------------------------------------


async def test_what_changes_in_the_inventory_counts_in_the_next_request(rig: Rig) -> None:
    targets, inventory = rig.desk.targets, rig.desk.inventory
    image = made_image()
    entries = rig.desk.cpl.find(device_type=DeviceType.PPMID, firmware_version=f"{NEW:08X}")

    def refused(device: int) -> str | None:
        (target,) = targets.of([device])
        return list_for(target, SUPPLIER_EUI64, image, entries, PPMID_CODES.types, rig.desk.options)

    assert refused(PPMID) is None
    inventory.set_status(PPMID, DeviceStatus.SUSPENDED)
    assert refused(PPMID) == "not_commissioned_device_ids"
    inventory.set_status(PPMID, DeviceStatus.WHITELISTED)
    assert refused(PPMID) is None
    inventory.set_firmware_version(HUB, "00010000", gbcs_version="4.0")
    assert refused(PPMID) == "invalid_gbcs_version"
    inventory.set_firmware_version(HUB, "00010001", gbcs_version="4.10")
    assert refused(PPMID) is None
    meter = smi_device(
        0x77, device_type=DeviceType.ESME, ppmid_variant=None, esme_variant="A", premises=None
    )
    inventory.add(meter)
    assert refused(PPMID) == "not_commissioned_device_ids", "there is a meter to be joined to"
    inventory.set_status(0x77, DeviceStatus.COMMISSIONED, date_commissioned="2026-01-01")
    assert refused(PPMID) == "not_commissioned_device_ids"
    inventory.set_status(0x77, DeviceStatus.DECOMMISSIONED)
    assert refused(PPMID) is None, "a meter that is out of use is on no HAN"
    inventory.set_details(PPMID, smets_chts_version="SMETS V1.2")
    assert refused(PPMID) == "not_applicable_firmware_device_ids"
    inventory.set_details(PPMID, smets_chts_version="PPMIDTS V4.4")
    assert refused(PPMID) is None
    assert targets.hubs_of([PPMID]) == [HUB]
    inventory.attach(PPMID, OTHER_HUB, 1)
    assert targets.hubs_of([PPMID]) == [OTHER_HUB]
    inventory.add_premises(Premises(id=2, uprn="9", responsible=(OTHER_SUPPLIER_EUI64,)))
    inventory.attach(PPMID, HUB, 2)
    assert refused(PPMID) == "invalid_device_ids"
    inventory.attach(PPMID, HUB, 1)
    inventory.delete(HUB)
    assert refused(PPMID) == "invalid_gbcs_version", "of its hub nothing is known"
    inventory.delete(PPMID)
    assert refused(PPMID) == "invalid_device_ids"


async def test_what_is_taken_back_was_never_known(rig: Rig) -> None:
    (before,) = rig.desk.targets.of([PPMID])

    with suppress(TakenBackError), rig.store.transaction():
        rig.desk.inventory.set_status(PPMID, DeviceStatus.SUSPENDED)
        (inside,) = rig.desk.targets.of([PPMID])
        assert inside is not None
        assert inside.status is DeviceStatus.SUSPENDED
        raise TakenBackError
    assert rig.desk.targets.of([PPMID]) == [before]


async def test_what_another_process_writes_is_seen(rig: Rig, tmp_path: Path) -> None:
    from dsp_stub.inventory import Inventory
    from dsp_stub.store import Store

    rig.desk.targets.of([PPMID])
    with Store(tmp_path / "dsp.sqlite") as other:
        Inventory(other).set_status(PPMID, DeviceStatus.SUSPENDED)
    (target,) = rig.desk.targets.of([PPMID])
    assert target is not None
    assert target.status is DeviceStatus.SUSPENDED


# -- anomaly detection ---------------------------------------------------------------------------


@pytest.mark.requirement("MP170-ADT", "good", "bad")
class TestAnomaly:
    async def quarantined(self, rig: Rig, *devices: int) -> str:
        answer = await rig.ask("11.4", update_of(*devices))
        assert answer.response_code == "I99"
        alert = await rig.alert(QuarantinedRequest)
        assert alert.request_id == answer.request_id
        await rig.quiet()
        return str(answer.request_id)

    async def test_over_the_threshold_nothing_leaves_and_the_user_is_told(
        self, tmp_path: Path
    ) -> None:
        async with running(tmp_path, Options(anomaly_threshold=1)) as rig:
            first = await rig.ask("11.4", update_of(PPMID))
            rig.desk.inventory.add(smi_device(STRANGER))
            await self.quarantined(rig, STRANGER)
            assert first.response_code == "I99"
            assert set(states(rig)) == {PPMID}
            assert rig.take_offer().devices == (PPMID,)
            assert [type(one) for one in rig.events].count(Quarantined) == 1

    async def test_bridges_and_ppmids_count_together(self, tmp_path: Path) -> None:
        async with running(tmp_path, Options(anomaly_threshold=1)) as rig:
            await rig.ask("11.4", update_of(PPMID))
            bridge = made_image("bridge-1")
            body = UpdatePpmidFirmware(bridge.data, f"{NEW:08X}", (BRIDGE,))
            await rig.ask("11.4", body)
            await rig.alert(QuarantinedRequest)
            assert set(states(rig)) == {PPMID}

    async def test_what_is_older_than_the_window_counts_no_more(self, tmp_path: Path) -> None:
        options = Options(anomaly_threshold=1, anomaly_window_s=3600)
        async with running(tmp_path, options) as rig:
            await rig.ask("11.4", update_of(PPMID))
            rig.take_offer()
            rig.desk.inventory.add(smi_device(STRANGER))
            rig.now += timedelta(seconds=3600)
            answer = await rig.ask("11.4", update_of(STRANGER))
            assert answer.response_code == "I99"
            assert rig.take_offer().devices == (STRANGER,)

    async def test_what_is_let_go_begins_and_what_fits_no_more_is_refused(
        self, tmp_path: Path
    ) -> None:
        async with running(tmp_path, Options(anomaly_threshold=1)) as rig:
            rig.desk.inventory.add(smi_device(STRANGER))
            request_id = await self.quarantined(rig, PPMID, STRANGER)
            rig.desk.inventory.set_status(STRANGER, DeviceStatus.SUSPENDED)
            rig.desk.campaigns.ask_for(request_id, CampaignState.RELEASED)
            rig.server.pump()
            assert states(rig) == {PPMID: "requested", STRANGER: "refused"}
            assert rig.take_offer().devices == (PPMID,)

    async def test_what_is_let_go_is_refused_when_its_image_is_on_the_list_no_more(
        self, tmp_path: Path
    ) -> None:
        async with running(tmp_path, Options(anomaly_threshold=1)) as rig:
            rig.desk.inventory.add(smi_device(STRANGER))
            request_id = await self.quarantined(rig, PPMID, STRANGER)
            for entry in rig.desk.cpl.find(firmware_version=f"{NEW:08X}"):
                rig.desk.cpl.remove(entry.identity)
            rig.desk.campaigns.ask_for(request_id, CampaignState.RELEASED)
            rig.server.pump()
            assert states(rig) == {PPMID: "refused", STRANGER: "refused"}
            rows = rig.store.connection.execute(
                "SELECT DISTINCT detail FROM attempts WHERE event = 'refused'"
            ).fetchall()
            assert rows[0][0].startswith("E110401: no Current entry")
            assert not rig.wan[HUB].messages

    async def test_what_nobody_lets_go_ends_with_its_time(self, tmp_path: Path) -> None:
        options = Options(anomaly_threshold=1, in_progress_timeout_s=3600)
        async with running(tmp_path, options) as rig:
            rig.desk.inventory.add(smi_device(STRANGER))
            await self.quarantined(rig, PPMID, STRANGER)
            rig.now += timedelta(seconds=3601)
            rig.server.pump()
            work_off(rig)
            assert set(states(rig).values()) == {"cancelled"}
            again = await rig.ask("11.4", update_of(PPMID))
            assert again.response_code == "I99"

    async def test_what_is_let_go_gives_way_to_what_began_meanwhile(self, tmp_path: Path) -> None:
        async with running(tmp_path, Options(anomaly_threshold=MANY)) as rig:
            devices = furnish_many(rig)
            request_id = await self.quarantined(rig, PPMID, *devices)
            other = (*devices[::-1][: SLICE + 5],)
            assert (await rig.ask("11.4", update_of(*other))).response_code == "I99"
            rig.desk.campaigns.ask_for(request_id, CampaignState.RELEASED)
            work_off(rig)
            rows = rig.store.connection.execute("SELECT device, state FROM updates").fetchall()
            began = [int(device, 16) for device, state in rows if state != "refused"]
            assert sorted(began) == sorted((PPMID, *devices)), "each is updated once"
            refused = [int(device, 16) for device, state in rows if state == "refused"]
            assert sorted(refused) == sorted(other)


@pytest.mark.requirement("CPL-CERT", "bad")
async def test_devices_that_wait_for_their_turn_are_flagged_too_when_their_image_is_removed(
    rig: Rig,
) -> None:
    devices = furnish_many(rig)
    assert (await rig.ask("11.4", update_of(PPMID, *devices))).response_code == "I99"
    desk = rig.desk
    assert desk.campaigns.waiting_for(NEW), "some have no row yet"
    assert not desk.campaigns.waiting_for(NEW + 1)
    (held,) = desk.cpl.find(manufacturer="121D", firmware_version=f"{NEW:08X}")
    accepted = remove_entry(
        desk.cpl, desk.updates, desk.campaigns, desk.inventory, held.identity, rig.now
    )
    assert sorted(accepted) == sorted((PPMID, *devices))
    work_off(rig)
    assert states(rig) == dict.fromkeys((PPMID, *devices), "requested"), "all go on"
    flagged = rig.store.connection.execute(
        "SELECT device FROM attempts WHERE event = 'cpl-entry-removed'"
    ).fetchall()
    assert sorted(int(device, 16) for (device,) in flagged) == sorted(accepted)
    assert (await rig.ask("11.4", update_of(*devices))).response_code == "E110401"


# -- cancelling ----------------------------------------------------------------------------------


async def test_a_cancelled_campaign_ends_for_every_device_no_hub_has(rig: Rig) -> None:
    devices = furnish_many(rig)
    answer = await rig.ask("11.4", update_of(PPMID, *devices))
    rig.take_offer()
    rig.desk.campaigns.ask_for(str(answer.request_id), CampaignState.CANCELLING)
    work_off(rig)
    assert states(rig) == {PPMID: "stored", **dict.fromkeys(devices, "cancelled")}
    assert rig.desk.campaigns.find(str(answer.request_id)).state is CampaignState.CANCELLED  # type: ignore[union-attr]
    (waiting,) = rig.store.connection.execute(
        "SELECT COUNT(*) FROM outbox WHERE kind = 'offer'"
    ).fetchone()
    assert waiting == 0
    again = await rig.ask("11.4", update_of(*devices))
    assert again.response_code == "I99"


async def test_who_was_offered_nothing_is_told_that_nothing_was_delivered(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        del rig.server._hubs[HUB]
        answer = await rig.ask("11.4", update_of(PPMID))
        rig.desk.campaigns.ask_for(str(answer.request_id), CampaignState.CANCELLING)
        work_off(rig)
        rig.server.pump()
        status = await rig.alert(CspFirmwareDeliveryStatus)
        assert (status.target_device_id, status.succeeded) == (PPMID, False)


async def test_only_what_is_quarantined_is_let_go_and_nothing_is_cancelled_twice(rig: Rig) -> None:
    answer = await rig.ask("11.4", update_of(PPMID))
    campaigns, request_id = rig.desk.campaigns, str(answer.request_id)
    with pytest.raises(DspValueError, match="is started: only one that is quarantined can be rel"):
        campaigns.ask_for(request_id, CampaignState.RELEASED)
    campaigns.ask_for(request_id, CampaignState.CANCELLING)
    with pytest.raises(DspValueError, match="is cancelling"):
        campaigns.ask_for(request_id, CampaignState.CANCELLING)
    with pytest.raises(DspValueError, match="there is no campaign"):
        campaigns.ask_for("x", CampaignState.CANCELLING)


# -- hubs that cannot be reached, and time -------------------------------------------------------


async def test_a_hub_that_could_not_reach_the_device_is_asked_again(rig: Rig) -> None:
    await rig.ask("11.4", update_of(PPMID))
    offer = rig.wan[HUB].take(ImageOffer)
    rig.outcome(PPMID, offer.reference, DeliveryResult.UNREACHABLE)
    assert states(rig) == {PPMID: "requested"}
    assert not rig.wan[HUB].messages, "not at once"
    rig.now += timedelta(seconds=301)
    rig.server.pump()
    assert rig.take_offer().devices == (PPMID,)
    assert states(rig) == {PPMID: "stored"}
    assert (await rig.alert(CspFirmwareDeliveryStatus)).succeeded


async def test_an_offer_no_hub_took_in_time_is_over_and_never_leaves(tmp_path: Path) -> None:
    async with running(tmp_path, Options(in_progress_timeout_s=3600)) as rig:
        del rig.server._hubs[HUB]
        await rig.ask("11.4", update_of(PPMID))
        rig.now += timedelta(seconds=3601)
        rig.server.pump()
        status = await rig.alert(CspFirmwareDeliveryStatus)
        assert not status.succeeded
        assert states(rig) == {PPMID: "timed-out"}
        rig.server.connect_hub(HUB, rig.wan[HUB])
        assert not rig.wan[HUB].messages


async def test_many_deadlines_at_one_time_end_all_of_them(tmp_path: Path) -> None:
    async with running(tmp_path, Options(in_progress_timeout_s=3600)) as rig:
        devices = furnish_many(rig, 120)
        await rig.ask("11.4", update_of(*devices))
        work_off(rig)
        rig.now += timedelta(seconds=3601)
        steps = 0
        while rig.desk.updates.next_deadline() is not None:
            rig.dsp.handle_timeout(rig.now)
            steps += 1
        assert set(states(rig).values()) == {"timed-out"}
        assert steps > 1, "a step is short"


@pytest.mark.requirement("MP170-R6", "good")
async def test_an_activation_after_the_deadline_is_true_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, Options(in_progress_timeout_s=3600)) as rig:
        await rig.ask("11.4", update_of(PPMID))
        rig.take_offer()
        rig.now += timedelta(seconds=3601)
        rig.server.pump()
        assert states(rig) == {PPMID: "timed-out"}
        rig.from_device(PPMID, Device(PPMID).activated())
        await rig.alert(PpmidAlert)
        device = rig.desk.inventory.get(PPMID)
        assert device is not None
        assert device.firmware_version == f"{NEW:08X}"
        assert states(rig) == {PPMID: "timed-out"}, "an end is an end"
        assert flags(rig, "alert-out-of-turn")


# -- twice a year, and how long it takes ---------------------------------------------------------


async def update_whole(rig: Rig, device: Device, result: int = 1) -> None:
    await rig.ask("11.4", update_of(PPMID))
    rig.take_offer()
    rig.now += timedelta(seconds=600)
    rig.from_device(PPMID, device.activated(result=result))


@pytest.mark.requirement("MP170-NF1", "bad")
async def test_the_third_download_of_a_year_is_flagged_and_goes_ahead(rig: Rig) -> None:
    ppmid = Device(PPMID)
    for _ in range(2):
        await update_whole(rig, ppmid)
    assert not flags(rig, "downloads-of-a-year")
    await rig.ask("11.4", update_of(PPMID))
    (flag,) = flags(rig, "downloads-of-a-year")
    assert "download 3 within a year" in flag.detail
    assert rig.take_offer().devices == (PPMID,)


@pytest.mark.requirement("MP170-NF1", "good")
async def test_what_never_reached_the_device_or_is_a_year_ago_is_no_download(rig: Rig) -> None:
    hub = Device(HUB, counter=4000)
    await update_whole(rig, Device(PPMID))
    for _ in range(3):
        await rig.ask("11.4", update_of(PPMID))
        rig.take_offer()
        rig.from_device(HUB, hub.transferred(PPMID, TransferResult.FIRMWARE_IMAGE_DISCARDED))
    rig.now += timedelta(days=1)
    await rig.ask("11.4", update_of(PPMID))
    assert not flags(rig, "downloads-of-a-year")


@pytest.mark.requirement("MP170-SLA", "good")
async def test_the_service_level_is_the_time_from_the_request_to_n39(rig: Rig) -> None:
    ppmid = Device(PPMID)
    for _ in range(2):
        await update_whole(rig, ppmid)
    await rig.ask("11.4", update_of(PPMID))
    level = service_level(rig.store, 500, rig.now)
    assert (level.devices, level.told, level.late) == (3, 2, 2)
    assert level.percentiles_s == dict.fromkeys((50, 90, 95, 99, 100), 600.0)
    assert service_level(rig.store, 700, rig.now).late == 0


@pytest.mark.requirement("MP170-SLA", "bad")
async def test_a_target_that_passes_without_n39_is_flagged_once(tmp_path: Path) -> None:
    async with running(tmp_path, Options(service_level_s=3600)) as rig:
        rig.desk.inventory.add(smi_device(STRANGER))
        await rig.ask("11.4", update_of(PPMID, STRANGER))
        rig.take_offer()
        rig.from_device(PPMID, Device(PPMID).activated())
        rig.now += timedelta(seconds=3601)
        rig.server.pump()
        rig.server.pump()
        (flag,) = flags(rig, "service-level-missed")
        assert flag.detail.startswith("1 of 2 devices")
        assert rig.store.connection.execute(
            "SELECT device FROM attempts WHERE event = 'service-level-missed'"
        ).fetchall() == [(f"{STRANGER:016X}",)]


@pytest.mark.parametrize(
    ("rank", "expected"), [(1, 1.0), (50, 5.0), (51, 6.0), (90, 9.0), (95, 10.0), (100, 10.0)]
)
def test_a_percentile_is_by_nearest_rank(rank: int, expected: float) -> None:
    assert percentile([float(value) for value in range(1, 11)], rank) == expected
    assert percentile([7.0], rank) == 7.0


@pytest.mark.requirement("MP170-N39", "good")
async def test_progress_is_told_for_each_device(rig: Rig) -> None:
    rig.desk.inventory.add(smi_device(STRANGER))
    answer = await rig.ask("11.4", update_of(PPMID, STRANGER))
    rig.take_offer()
    rig.from_device(PPMID, Device(PPMID).activated())
    found: dict[int, Any] = {
        one.device: one.state for one in rig.desk.updates.of_request(str(answer.request_id))
    }
    assert found == {PPMID: UpdateState.ACTIVATED, STRANGER: UpdateState.STORED}
