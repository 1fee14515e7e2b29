"""What a device does with an update, row by row of the table of `ota_client`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from ota_rig import (
    HARDWARE,
    IDENTITY,
    KIND,
    MAKER,
    NEW,
    OLD,
    ClientRig,
    default_response,
    end_of,
    kinds,
    make_image,
    read,
    request_of,
)

from emulator.devices.flash import PAGE_BYTES, Flash, FlashContents, RunningImage, Slot
from emulator.devices.ota_client import (
    Activate,
    DownloadDone,
    DownloadFailed,
    DownloadProgress,
    DownloadStarted,
    State,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.ota import Attribute
from emulator.zigbee.zcl import Status

# The update that goes well.


def test_an_update_runs_from_query_to_activation() -> None:
    rig = ClientRig()
    assert rig.start() == []
    rig.expire()
    query = ota.parse_query_next_image_request(rig.last.payload)
    assert query == ota.QueryNextImageRequest(MAKER, KIND, OLD, HARDWARE)
    assert rig.offer() == [DownloadStarted(NEW, 1000)]
    assert request_of(rig) == ota.ImageBlockRequest(MAKER, KIND, NEW, 0, 56)
    events = rig.serve()
    sha256 = hashlib.sha256(rig.image.data).hexdigest()
    assert events[-1] == DownloadDone(sha256)
    assert end_of(rig) == ota.UpgradeEndRequest(Status.SUCCESS, MAKER, KIND, NEW)
    assert rig.finish() == []
    assert rig.state is State.COUNTDOWN
    assert rig.expire() == [Activate(NEW)]
    assert rig.client.next_timeout() is None
    assert Flash(rig.flash.contents).boot() == RunningImage(NEW, 1000, sha256)


@pytest.mark.parametrize("size", [61, 112, 113, 56 * 90, 56 * 90 + 1, 0x10000 + 55])
def test_every_octet_of_any_size_is_asked_for_once(size: int) -> None:
    rig = ClientRig(make_image(size))
    rig.begin()
    rig.serve()
    requests = [f for f in rig.sent if f.command == ota.IMAGE_BLOCK_REQUEST]
    offsets = [ota.parse_image_block_request(f.payload).file_offset for f in requests]
    assert offsets == list(range(0, size, 56))
    assert rig.flash.read(Slot.SPARE) == rig.image.data


def test_progress_is_told_once_for_each_percent() -> None:
    rig = ClientRig(make_image(20_000))
    rig.begin()
    events = [event for event in rig.serve() if isinstance(event, DownloadProgress)]
    assert [event.offset_bytes * 100 // 20_000 for event in events] == list(range(1, 101))


def test_the_first_query_waits_for_the_delay_given() -> None:
    rig = ClientRig()
    rig.start(delay_s=77.0)
    assert rig.client.next_timeout() == 77.0
    assert rig.client.handle_timeout(76.9) == []
    assert rig.client.start(0.0) == []
    assert rig.client.next_timeout() == 77.0


def test_short_blocks_are_taken_as_they_come() -> None:
    rig = ClientRig(make_image(500))
    rig.begin()
    for size in (1, 12, 55, 56, 40, 2):
        rig.block(size)
    assert request_of(rig).file_offset == 166
    rig.serve()
    assert rig.flash.read(Slot.SPARE) == rig.image.data


# Image Notify and queries.


def test_a_notification_is_followed_by_a_query_at_once() -> None:
    rig = ClientRig()
    rig.start(delay_s=300.0)
    rig.sent.append(zcl.ZclFrame(1, 0, 0, b""))
    rig.notify()
    answer, query = rig.sent[-2:]
    assert default_response(answer) == (ota.IMAGE_NOTIFY, Status.SUCCESS)
    assert query.command == ota.QUERY_NEXT_IMAGE_REQUEST
    rig.notify()
    assert default_response(rig.last) == (ota.IMAGE_NOTIFY, Status.SUCCESS)
    assert rig.state is State.QUERYING


@pytest.mark.parametrize("ending", ["no image", "default response", "silence"])
def test_a_notification_that_crosses_the_answer_of_a_query_is_not_forgotten(ending: str) -> None:
    rig = ClientRig()
    rig.start()
    rig.expire()
    query = rig.last
    rig.notify()  # there is an image now; what the hub answered had left before
    if ending == "no image":
        none = ota.QueryNextImageResponse(Status.NO_IMAGE_AVAILABLE)
        rig.receive(ota.QUERY_NEXT_IMAGE_RESPONSE, none, tsn=query.tsn)
    elif ending == "default response":
        rig.default_response(query.command, Status.NO_IMAGE_AVAILABLE, tsn=query.tsn)
    else:
        rig.expire()
    assert rig.state is State.QUERYING
    assert rig.last.command == ota.QUERY_NEXT_IMAGE_REQUEST
    assert rig.last.tsn != query.tsn
    rig.expire()  # and once only: nobody notified again
    assert rig.state is State.WAITING


def test_a_notification_for_anything_is_followed_by_a_query() -> None:
    rig = ClientRig()
    rig.start(delay_s=300.0)
    for notify in (ota.ImageNotify(0), ota.ImageNotify(100, 1, 2, OLD)):
        rig.client.stop()
        rig.start(delay_s=300.0)
        rig.receive(ota.IMAGE_NOTIFY, notify, tsn=1)  # no default response wanted
        assert rig.last.command == ota.QUERY_NEXT_IMAGE_REQUEST


def test_a_notification_during_a_download_neither_restarts_nor_stops_it() -> None:
    rig = ClientRig()
    rig.begin()
    rig.block()
    before, deadline = rig.last, rig.client.next_timeout()
    rig.notify()
    assert default_response(rig.last) == (ota.IMAGE_NOTIFY, Status.FAILURE)
    assert rig.client.next_timeout() == deadline
    rig.sent.append(before)
    rig.serve()
    assert rig.state is State.ENDING


def test_a_malformed_notification_is_dropped_without_a_word() -> None:
    rig = ClientRig()
    rig.start(delay_s=300.0)
    assert kinds(rig.receive(ota.IMAGE_NOTIFY, b"\x03\x64\x1d", tsn=1)) == ["malformed"]
    assert rig.sent == []
    assert rig.state is State.WAITING


@pytest.mark.parametrize("status", [0x98, 0x7E, 0x95, 0x42])
def test_a_device_without_an_image_asks_again_five_minutes_later(status: int) -> None:
    rig = ClientRig()
    rig.ask()
    assert rig.receive(ota.QUERY_NEXT_IMAGE_RESPONSE, ota.QueryNextImageResponse(status)) == []
    assert rig.client.next_timeout() == rig.now + 300.0
    rig.expire()
    assert rig.last.command == ota.QUERY_NEXT_IMAGE_REQUEST


def test_a_default_response_to_a_query_means_no_image() -> None:
    rig = ClientRig()
    rig.ask()
    assert rig.default_response(ota.QUERY_NEXT_IMAGE_REQUEST, Status.FAILURE) == []
    assert rig.state is State.WAITING


def test_a_silent_server_is_reported_after_ten_queries_and_still_asked() -> None:
    rig = ClientRig()
    rig.start()
    events = []
    for _ in range(40):
        events += rig.expire()
    assert kinds(events) == ["server-silent"] * 2
    assert len({frame.tsn for frame in rig.sent}) == len(rig.sent) == 20


def test_an_answer_to_a_query_given_up_is_not_taken() -> None:
    rig = ClientRig()
    rig.ask()
    rig.expire()
    assert kinds(rig.offer()) == ["unexpected"]
    rig.expire()
    stale = rig.sent[-2].tsn
    response = ota.QueryNextImageResponse(0, MAKER, KIND, NEW, 1000)
    assert kinds(rig.receive(ota.QUERY_NEXT_IMAGE_RESPONSE, response, tsn=stale)) == ["unexpected"]
    assert rig.state is State.QUERYING


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"manufacturer_code": 0x1021}, Status.INVALID_FIELD),
        ({"image_type": 0x0085}, Status.INVALID_FIELD),
        ({"image_size_bytes": 0}, Status.INVALID_FIELD),
        ({"image_size_bytes": 768_001}, Status.INSUFFICIENT_SPACE),
        ({"image_size_bytes": 0xFFFFFFFF}, Status.INSUFFICIENT_SPACE),
        ({"file_version": 0xFFFFFFFF}, Status.INVALID_FIELD),
        ({"file_version": 0}, Status.INVALID_FIELD),
    ],
)
def test_an_offer_the_device_cannot_use_is_refused_before_a_block_moves(
    changes: dict[str, int], status: Status
) -> None:
    rig = ClientRig()
    rig.ask()
    (failed,) = rig.offer(**changes)
    assert isinstance(failed, DownloadFailed)
    assert failed.status == status
    assert default_response(rig.last) == (ota.QUERY_NEXT_IMAGE_RESPONSE, status)
    assert rig.state is State.WAITING


def test_an_image_of_exactly_the_slot_is_taken() -> None:
    rig = ClientRig()
    rig.ask()
    assert rig.offer(image_size_bytes=768_000) == [DownloadStarted(NEW, 768_000)]


def test_the_version_that_runs_is_not_loaded_again() -> None:
    rig = ClientRig()
    rig.ask()
    assert rig.offer(file_version=OLD) == []
    assert rig.state is State.WAITING
    assert rig.last.command == ota.QUERY_NEXT_IMAGE_REQUEST


def test_an_older_image_is_refused_unless_downgrades_are_allowed() -> None:
    identity = replace(IDENTITY, file_version=NEW + 1)
    rig = ClientRig(identity=identity)
    rig.ask()
    (failed,) = rig.offer()
    assert failed.reason == "version 00000002 is older than 00000003, which runs"
    assert end_of(rig) == ota.UpgradeEndRequest(Status.INVALID_IMAGE, MAKER, KIND, NEW)
    assert rig.state is State.REPORTING
    rig = ClientRig(identity=identity, allow_downgrade=True)
    assert rig.begin() == [DownloadStarted(NEW, 1000)]


# The end of an upgrade.


def complete(**parameters: Any) -> ClientRig:
    rig = ClientRig(**parameters)
    rig.begin()
    rig.serve()
    assert rig.state is State.ENDING
    return rig


@pytest.mark.parametrize(
    ("current_s", "upgrade_s", "countdown_s"),
    [
        (0, 0, 3.0),
        (0, 60, 60.0),
        (700_000_000, 700_000_060, 60.0),
        (700_000_060, 700_000_000, 3600.0),
        (0, 90_000, 3600.0),
    ],
)
def test_the_upgrade_happens_when_the_server_says(
    current_s: int, upgrade_s: int, countdown_s: float
) -> None:
    rig = complete()
    rig.finish(current_s, upgrade_s)
    assert rig.client.next_timeout() == rig.now + countdown_s
    assert rig.expire() == [Activate(NEW)]


def test_wildcards_in_the_end_response_count_as_this_image() -> None:
    rig = complete()
    rig.finish(manufacturer_code=0xFFFF, image_type=0xFFFF, file_version=0xFFFFFFFF)
    assert rig.state is State.COUNTDOWN


@pytest.mark.parametrize("ids", [{"file_version": 9}, {"image_type": 9}, {"manufacturer_code": 9}])
def test_the_end_of_another_image_activates_nothing(ids: dict[str, int]) -> None:
    rig = complete()
    assert kinds(rig.finish(**ids)) == ["unexpected"]
    assert rig.state is State.ENDING


def test_a_device_told_to_wait_for_a_command_waits_and_asks_every_hour() -> None:
    rig = complete()
    rig.finish(0xFFFFFFFF, 0xFFFFFFFF)
    assert rig.state is State.HOLDING
    for _ in range(30):
        assert rig.client.next_timeout() == rig.now + 3600.0
        rig.expire()
        assert end_of(rig).status == Status.SUCCESS
    rig.finish(0, 0)
    assert rig.expire() == [Activate(NEW)]


def test_a_later_command_may_put_the_upgrade_off_again() -> None:
    rig = complete()
    rig.finish(0, 60)
    rig.finish(0, 0xFFFFFFFF)
    assert rig.state is State.HOLDING
    rig.finish(0, 1000)
    assert rig.client.next_timeout() == rig.now + 1000.0


def test_the_end_of_an_upgrade_is_repeated_every_ten_minutes() -> None:
    rig = complete()
    for _ in range(9):
        assert rig.client.next_timeout() == rig.now + 600.0
        assert rig.expire() == []
        assert end_of(rig).status == Status.SUCCESS
    assert kinds(rig.expire()) == ["server-silent"]
    assert rig.expire() == [Activate(NEW)]


def test_by_the_other_timeout_policy_the_device_asks_on_without_an_answer() -> None:
    rig = complete(activate_without_answer=False)
    events: list[Any] = []
    for _ in range(35):
        events += rig.expire()
    assert kinds(events) == ["server-silent"] * 3
    assert rig.state is State.ENDING
    rig.finish()
    assert rig.expire() == [Activate(NEW)]


def test_a_device_activated_by_other_means_refuses_the_servers_time() -> None:
    rig = complete(activate_by_server=False)
    rig.finish(0, 0)
    assert default_response(rig.last) == (ota.UPGRADE_END_RESPONSE, Status.NOT_AUTHORIZED)
    assert rig.state is State.HOLDING
    assert read(rig, Attribute.IMAGE_UPGRADE_STATUS) == 6


def test_a_server_that_takes_the_image_back_at_the_end_is_obeyed() -> None:
    rig = complete()
    assert rig.default_response(ota.UPGRADE_END_REQUEST, Status.SUCCESS) == []
    (failed,) = rig.default_response(ota.UPGRADE_END_REQUEST, Status.ABORT)
    assert failed == DownloadFailed(Status.ABORT, "the server answered ABORT to the complete file")
    assert rig.state is State.WAITING
    assert not rig.flash.is_filling


def test_an_unasked_end_response_activates_nothing() -> None:
    rig = ClientRig()
    rig.begin()
    rig.block()
    assert kinds(rig.finish(file_version=0xFFFFFFFF)) == ["unexpected"]
    assert rig.state is State.DOWNLOADING


def test_nothing_moves_once_the_device_is_to_restart() -> None:
    rig = complete()
    rig.finish()
    rig.expire()
    rig.notify()
    assert default_response(rig.last) == (ota.IMAGE_NOTIFY, Status.FAILURE)
    assert kinds(rig.finish()) == ["unexpected"]
    assert rig.client.handle_timeout(rig.now + 1e6) == []


# Restarts.


def test_a_restarted_device_goes_on_where_its_flash_ends_without_a_query() -> None:
    image = make_image(3 * PAGE_BYTES)
    rig = ClientRig(image)
    rig.begin()
    while rig.flash.written_bytes < 2 * PAGE_BYTES:
        rig.block()
    again = ClientRig(image, flash=Flash(rig.flash.contents))
    assert again.start() == [DownloadStarted(NEW, len(image.data), 2 * PAGE_BYTES)]
    assert request_of(again).file_offset == 2 * PAGE_BYTES
    events = again.serve()
    assert events[-1] == DownloadDone(hashlib.sha256(image.data).hexdigest())


def test_a_device_whose_network_comes_back_goes_on() -> None:
    rig = ClientRig()
    rig.begin()
    rig.block()
    rig.block()
    rig.client.stop()
    assert rig.client.next_timeout() is None
    assert kinds(rig.notify()) == ["unexpected"]
    assert rig.start() == [DownloadStarted(NEW, 1000, 112)]
    rig.serve()
    assert rig.flash.read(Slot.SPARE) == rig.image.data


def test_a_device_restarted_before_activation_verifies_again_and_ends_again() -> None:
    rig = complete()
    rig.finish(0, 60)
    again = ClientRig(rig.image, flash=Flash(rig.flash.contents))
    events = again.start()
    assert [type(event) for event in events] == [DownloadStarted, DownloadDone]
    assert end_of(again).status == Status.SUCCESS


def test_after_activation_the_next_query_carries_the_new_version() -> None:
    rig = complete()
    rig.finish()
    rig.expire()
    flash = Flash(rig.flash.contents)
    identity = replace(IDENTITY, file_version=flash.boot().file_version)
    again = ClientRig(flash=flash, identity=identity)
    again.ask()
    query = ota.parse_query_next_image_request(again.last.payload)
    assert query.current_file_version == NEW
    assert flash.read(Slot.RUNNING) == rig.image.data


def test_the_image_before_the_update_stays_stored_until_the_next_download() -> None:
    first = make_image(2000)
    flash = Flash(FlashContents.factory(OLD))
    for image in (first, make_image(3000, version=NEW + 1)):
        flash.begin(len(image.data))
        flash.write(0, image.data)
        flash.mark_bootable()
        flash.boot()
    rig = ClientRig(flash=flash, identity=replace(IDENTITY, file_version=NEW + 1))
    rig.start()
    assert flash.read(Slot.SPARE) == first.data


@pytest.mark.parametrize("case", ["no resume", "other product", "no header", "runs already"])
def test_a_part_that_is_of_no_use_is_erased(case: str) -> None:
    image = make_image(3 * PAGE_BYTES)
    flash = Flash(FlashContents.factory(OLD))
    flash.begin(len(image.data))
    flash.write(0, bytes(PAGE_BYTES) if case == "no header" else image.data[:PAGE_BYTES])
    identity = IDENTITY
    if case == "other product":
        identity = replace(IDENTITY, image_type=KIND + 1)
    elif case == "runs already":
        identity = replace(IDENTITY, file_version=NEW)
    rig = ClientRig(image, flash=flash, identity=identity, resume=case != "no resume")
    assert rig.start() == []
    assert rig.state is State.WAITING
    assert not flash.is_filling
