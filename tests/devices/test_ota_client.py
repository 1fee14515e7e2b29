"""What a device does with an update, row by row of the tables of `ota_client` and `ota_download`.

Numbers in names such as "2.2 #7" are rows of the list of malformed images the project keeps.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from ota_rig import (
    DEVICE,
    HARDWARE,
    IDENTITY,
    KIND,
    MAKER,
    NEW,
    OLD,
    ClientRig,
    make_image,
)

from emulator.devices.flash import PAGE_BYTES, Flash, FlashContents, RunningImage, Slot
from emulator.devices.ota_client import (
    Activate,
    Anomaly,
    DownloadDone,
    DownloadFailed,
    DownloadProgress,
    DownloadStarted,
    State,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.ota import Attribute
from emulator.zigbee.zcl import Status
from firmware_images.image import FirmwareImage


def kinds(events: list[Any]) -> list[str]:
    return [event.kind for event in events if isinstance(event, Anomaly)]


def default_response(frame: zcl.ZclFrame) -> zcl.DefaultResponse:
    assert frame.is_default_response
    return zcl.parse_default_response(frame.payload)


def request_of(rig: ClientRig) -> ota.ImageBlockRequest:
    assert rig.last.command == ota.IMAGE_BLOCK_REQUEST
    return ota.parse_image_block_request(rig.last.payload)


def end_of(rig: ClientRig) -> ota.UpgradeEndRequest:
    assert rig.last.command == ota.UPGRADE_END_REQUEST
    return ota.parse_upgrade_end_request(rig.last.payload)


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


# Blocks that are not the one wanted.


def test_an_unanswered_block_is_asked_for_again_with_a_fresh_number() -> None:
    rig = ClientRig()
    rig.begin()
    rig.block()
    first = rig.last
    assert rig.client.next_timeout() == rig.now + 3.0
    rig.expire()
    assert rig.last is first
    assert rig.client.next_timeout() == rig.now + 2.0
    rig.expire()
    assert rig.last.tsn != first.tsn
    assert rig.last.payload == first.payload
    rig.serve()
    assert rig.flash.read(Slot.SPARE) == rig.image.data


def test_an_answer_later_than_the_timeout_still_counts() -> None:
    rig = ClientRig()
    rig.begin()
    rig.block()
    first = rig.last.tsn
    rig.expire()
    rig.block()  # while backing off
    assert request_of(rig).file_offset == 112
    rig.expire()
    rig.expire()
    assert (rig.last.tsn - first) & 0xFF == 2
    rig.block(tsn=rig.last.tsn - 1)  # to the try before
    assert request_of(rig).file_offset == 168


def test_ten_unanswered_tries_end_the_download_with_abort() -> None:
    rig = ClientRig()
    rig.begin()
    rig.block()
    events: list[Any] = []
    while rig.state is State.DOWNLOADING:
        events += rig.expire()
    requests = [f for f in rig.sent if f.command == ota.IMAGE_BLOCK_REQUEST]
    assert len(requests) == 1 + 10
    (failed,) = events
    assert failed.status == Status.ABORT
    assert failed.reason == "10 requests in a row for offset 56, the last: no answer"
    assert end_of(rig).status == Status.ABORT
    assert not rig.flash.is_filling


def test_one_answer_ends_a_run_of_errors() -> None:
    rig = ClientRig()
    rig.begin()
    for _ in range(5):
        for _ in range(9):
            rig.expire()
            rig.expire()
        rig.block()
    assert rig.state is State.DOWNLOADING


@pytest.mark.parametrize(
    "answer",
    [
        ota.ImageBlockResponse(MAKER, KIND, NEW, 0, bytes(56)),
        ota.ImageBlockResponse(MAKER, KIND, NEW, 112, bytes(56)),
        ota.ImageBlockResponse(MAKER, KIND, NEW + 1, 56, bytes(56)),
        ota.ImageBlockResponse(MAKER, KIND + 1, NEW, 56, bytes(56)),
        ota.ImageBlockResponse(MAKER + 1, KIND, NEW, 56, bytes(56)),
    ],
)
def test_a_block_of_another_place_or_file_is_not_stored(answer: ota.ImageBlockResponse) -> None:
    rig = ClientRig()
    rig.begin()
    rig.block()
    deadline = rig.client.next_timeout()
    assert kinds(rig.receive(ota.IMAGE_BLOCK_RESPONSE, answer)) == ["wrong-block"]
    assert rig.flash.written_bytes == 56
    assert rig.client.next_timeout() == deadline


@pytest.mark.parametrize(
    ("size", "status"),
    [(57, Status.INVALID_VALUE), (64, Status.INVALID_VALUE), (0, Status.MALFORMED_COMMAND)],
)
def test_a_block_of_a_wrong_size_is_refused_and_asked_for_again(size: int, status: int) -> None:
    rig = ClientRig()
    rig.begin()
    assert kinds(rig.block(size)) == ["wrong-size"]
    assert default_response(rig.last) == (ota.IMAGE_BLOCK_RESPONSE, status)
    assert rig.flash.written_bytes == 0
    rig.expire()
    rig.expire()
    assert request_of(rig).file_offset == 0


def test_a_block_beyond_the_end_is_refused() -> None:
    rig = ClientRig(make_image(70))
    rig.begin()
    rig.block()
    long = ota.ImageBlockResponse(MAKER, KIND, NEW, 56, bytes(15))
    assert kinds(rig.receive(ota.IMAGE_BLOCK_RESPONSE, long)) == ["wrong-size"]
    assert default_response(rig.last) == (ota.IMAGE_BLOCK_RESPONSE, Status.MALFORMED_COMMAND)
    assert rig.flash.written_bytes == 56


def test_a_block_that_says_another_size_than_it_has_is_refused() -> None:
    rig = ClientRig()
    rig.begin()
    for said, octets in ((56, 55), (55, 56), (255, 56)):
        head = ota.build(ota.ImageBlockResponse(MAKER, KIND, NEW, 0, b""))[:-1]
        events = rig.receive(ota.IMAGE_BLOCK_RESPONSE, head + bytes((said,)) + bytes(octets))
        assert kinds(events) == ["malformed"]
        assert default_response(rig.sent.pop()).status == Status.MALFORMED_COMMAND
        assert rig.flash.written_bytes == 0


def test_a_block_with_a_number_never_used_is_not_stored() -> None:
    rig = ClientRig()
    rig.begin()
    rig.block()
    assert kinds(rig.block(tsn=rig.last.tsn - 1)) == ["unexpected"]
    assert kinds(rig.block(tsn=rig.last.tsn + 1)) == ["unexpected"]
    assert rig.flash.written_bytes == 56


def test_block_data_under_the_number_of_another_command_is_not_stored() -> None:
    # Section 9 #29: a public hub emulator answers 0x03 with 0x02 and 0x06 with 0x07.
    rig = ClientRig()
    rig.begin()
    block = ota.ImageBlockResponse(MAKER, KIND, NEW, 0, rig.image.data[:56])
    assert kinds(rig.receive(0x02, block)) == ["malformed"]
    assert rig.flash.written_bytes == 0


def test_a_block_without_the_disable_default_response_bit_is_stored() -> None:
    rig = ClientRig()
    rig.begin()
    block = ota.ImageBlockResponse(MAKER, KIND, NEW, 0, rig.image.data[:56])
    rig.receive(ota.IMAGE_BLOCK_RESPONSE, block, control=zcl.NOTIFY)
    assert rig.flash.written_bytes == 56


# Waiting, pacing, refusals.


@pytest.mark.parametrize(
    ("current_s", "request_s", "pause_s"),
    [
        (0, 60, 60.0),
        (1000, 1060, 60.0),
        (1060, 1000, 300.0),
        (0, 7200, 3600.0),
        (0, 0, 1.0),
        (5, 5, 1.0),
    ],
)
def test_a_device_told_to_wait_waits_as_long_as_told(
    current_s: int, request_s: int, pause_s: float
) -> None:
    rig = ClientRig()
    rig.begin()
    rig.receive(ota.IMAGE_BLOCK_RESPONSE, ota.ImageBlockWait(current_s, request_s))
    assert rig.client.next_timeout() == rig.now + pause_s
    rig.expire()
    assert request_of(rig).file_offset == 0


def test_hours_of_waiting_are_no_errors() -> None:
    rig = ClientRig()
    rig.begin()
    for _ in range(300):
        rig.receive(ota.IMAGE_BLOCK_RESPONSE, ota.ImageBlockWait(0, 60))
        rig.expire()
    rig.serve()
    assert rig.state is State.ENDING


def test_being_told_to_wait_ends_a_run_of_errors() -> None:
    rig = ClientRig()
    rig.begin()
    for _ in range(3):
        for _ in range(9):
            rig.expire()
            rig.expire()
        rig.receive(ota.IMAGE_BLOCK_RESPONSE, ota.ImageBlockWait(0, 60))
        rig.expire()
    assert rig.state is State.DOWNLOADING


def test_a_refusal_of_a_block_already_here_does_not_end_a_pause_between_blocks() -> None:
    rig = ClientRig(min_block_period=500)
    rig.begin()
    rig.block()
    assert kinds(rig.default_response(ota.IMAGE_BLOCK_REQUEST, Status.ABORT)) == ["unexpected"]
    rig.expire()
    assert request_of(rig).file_offset == 56


@pytest.mark.parametrize(("unit_s", "pause_s"), [(0.001, 0.5), (1.0, 500.0)])
def test_a_block_period_paces_every_later_request(unit_s: float, pause_s: float) -> None:
    rig = ClientRig(block_period_unit_s=unit_s, announce_block_period=True)
    rig.begin()
    assert request_of(rig).minimum_block_period == 0
    rig.receive(ota.IMAGE_BLOCK_RESPONSE, ota.ImageBlockWait(0, 0, 500))
    for _ in range(3):
        assert rig.client.next_timeout() == rig.now + pause_s
        rig.expire()
        assert request_of(rig).minimum_block_period == 500
        rig.block()
    assert rig.flash.written_bytes == 168


def test_a_slow_device_paces_itself_and_says_who_it_is() -> None:
    rig = ClientRig(
        make_image(200), min_block_period=15, block_period_unit_s=1.0, announce_eui64=True
    )
    rig.begin()
    assert request_of(rig).request_node_address == DEVICE
    while rig.state is State.DOWNLOADING:
        rig.block()
        if rig.state is State.DOWNLOADING:
            rig.expire()
    assert rig.now == 45.0
    assert rig.flash.read(Slot.SPARE) == rig.image.data


@pytest.mark.parametrize("status", [0x98, 0x95, 0x7E, 0x8B])
def test_a_final_refusal_ends_the_download_and_is_not_reported_back(status: int) -> None:
    rig = ClientRig()
    rig.begin()
    rig.block()
    (failed,) = rig.default_response(ota.IMAGE_BLOCK_REQUEST, status)
    assert failed.status == status
    assert "at offset 56" in failed.reason
    assert rig.state is State.WAITING
    assert not rig.flash.is_filling
    assert rig.last.command == ota.IMAGE_BLOCK_REQUEST


def test_abort_in_the_middle_lets_the_same_version_be_loaded_later() -> None:
    rig = ClientRig()
    rig.begin()
    rig.block()
    (failed,) = rig.receive(ota.IMAGE_BLOCK_RESPONSE, ota.ImageBlockRefused())
    assert failed.status == Status.ABORT
    rig.notify()
    assert rig.offer() == [DownloadStarted(NEW, 1000)]
    assert request_of(rig).file_offset == 0
    rig.serve()
    assert rig.flash.read(Slot.SPARE) == rig.image.data


def test_a_passing_refusal_is_an_error_like_silence() -> None:
    rig = ClientRig()
    rig.begin()
    for _ in range(9):
        assert rig.default_response(ota.IMAGE_BLOCK_REQUEST, Status.MALFORMED_COMMAND) == []
        assert rig.client.next_timeout() == rig.now + 2.0
        late = rig.default_response(ota.IMAGE_BLOCK_REQUEST, Status.MALFORMED_COMMAND)
        assert kinds(late) == ["unexpected"]
        rig.expire()
    (failed,) = rig.default_response(ota.IMAGE_BLOCK_REQUEST, Status.MALFORMED_COMMAND)
    assert failed.reason.endswith("the last: MALFORMED_COMMAND")
    assert end_of(rig).status == Status.ABORT


def test_a_default_response_to_something_else_changes_nothing() -> None:
    rig = ClientRig()
    rig.begin()
    tsn = rig.last.tsn
    assert rig.default_response(ota.IMAGE_BLOCK_REQUEST, Status.SUCCESS) == []
    assert rig.default_response(ota.UPGRADE_END_REQUEST, Status.SUCCESS) == []
    assert kinds(rig.default_response(ota.UPGRADE_END_REQUEST, Status.ABORT)) == ["unexpected"]
    stale = rig.default_response(ota.IMAGE_BLOCK_REQUEST, Status.ABORT, tsn=tsn - 1)
    assert kinds(stale) == ["unexpected"]
    assert rig.state is State.DOWNLOADING


# The file itself.


def damaged(offset: int, octets: str, **fields: Any) -> FirmwareImage:
    image = make_image(1000, **fields)
    new = bytes.fromhex(octets)
    data = image.data[:offset] + new + image.data[offset + len(new) :]
    return replace(image, data=data)


@pytest.mark.parametrize(
    ("image", "blocks", "sentence"),
    [
        (damaged(0, "0BEEF11E"), 1, "file identifier at offset 0"),  # 2.2 #2
        (damaged(4, "0002"), 1, "header version at offset 4"),  # #3
        (damaged(4, "0101"), 1, "header version"),
        (damaged(4, "FFFF"), 1, "header version"),
        (damaged(6, "0000"), 1, "header length at offset 6"),  # #4
        (damaged(6, "3700"), 1, "header length at offset 6"),
        (damaged(6, "3800"), 1, "optional fields of field control 0x0004 need 60"),  # #5
        (damaged(6, "FFFF"), 1, "header length"),  # #7
        (damaged(6, "E903"), 1, "header length"),
        (damaged(52, "E7030000"), 2, "total image size in the file header is 999"),  # #9
        (damaged(52, "E9030000"), 2, "total image size in the file header is 1001"),  # #10
        (damaged(52, "AC030000"), 2, "total image size in the file header is 940"),  # #13
        (damaged(10, "2110"), 2, "manufacturer code in the file header is 1021"),  # #15
        (damaged(12, "8500"), 2, "image type in the file header is 0085"),  # #16
        (damaged(14, "03000000"), 2, "file version in the file header is 00000003"),  # #17
        (damaged(56, "12111111"), 2, "for hardware 1112 to 1111"),  # #21
        (damaged(56, "12111311"), 2, "for hardware 1112 to 1113, this device is 1111"),  # #22
        (make_image(1000, upgrade_file_destination=5), 2, "for the device 00000000000"),  # #24
        (make_image(1000, security_credential_version=4), 2, "credential version 4"),  # #25
    ],
)
def test_a_wrong_file_header_stops_the_download_as_soon_as_it_is_there(
    image: FirmwareImage, blocks: int, sentence: str
) -> None:
    rig = ClientRig(image)
    rig.begin()
    *progress, failed = [event for _ in range(blocks) for event in rig.block()]
    assert all(isinstance(event, DownloadProgress) for event in progress)
    assert isinstance(failed, DownloadFailed)
    assert sentence in failed.reason
    assert end_of(rig).status == Status.INVALID_IMAGE
    assert not rig.flash.is_filling
    assert rig.flash.running == RunningImage(OLD)


@pytest.mark.parametrize(
    "image",
    [
        make_image(1000, further_octets=bytes(9)),  # 2.2 #6
        damaged(8, "04 80"),  # #8
        make_image(1000, minimum_hardware_version=0x1111, maximum_hardware_version=0x1111),  # 23
        make_image(1000, upgrade_file_destination=DEVICE),
        make_image(1000, security_credential_version=3),
        make_image(1000, minimum_hardware_version=None, maximum_hardware_version=None),
        make_image(1000, header_string=b"\xff" * 32),  # #39
        make_image(60),  # #40, a header and no body
    ],
)
def test_an_odd_but_good_file_is_loaded(image: FirmwareImage) -> None:
    rig = ClientRig(image)
    rig.begin()
    events = rig.serve()
    assert isinstance(events[-1], DownloadDone)
    assert rig.flash.read(Slot.SPARE) == image.data


def test_a_file_shorter_than_a_header_is_refused() -> None:  # 2.2 #1
    rig = ClientRig()
    rig.ask()
    rig.offer(image_size_bytes=40)
    block = ota.ImageBlockResponse(MAKER, KIND, NEW, 0, rig.image.data[:40])
    (failed,) = rig.receive(ota.IMAGE_BLOCK_RESPONSE, block)
    assert failed.status == Status.INVALID_IMAGE
    assert "40 octets are no OTA file" in failed.reason


def test_a_long_header_is_judged_when_all_of_it_is_there() -> None:
    rig = ClientRig(make_image(2000, further_octets=bytes(500), upgrade_file_destination=5))
    rig.begin()
    events: list[Any] = []
    while not any(isinstance(event, DownloadFailed) for event in events):
        events += rig.block()
    assert 568 <= len([f for f in rig.sent if f.command == ota.IMAGE_BLOCK_REQUEST]) * 56 < 624


@pytest.mark.parametrize("verify_s", [0.0, 31.0])
def test_a_file_that_fails_verification_is_erased_and_reported(verify_s: float) -> None:
    rig = ClientRig(problem="the maker's signature does not fit", verify_s=verify_s)
    rig.begin()
    events = rig.serve()
    if verify_s:
        assert rig.state is State.VERIFYING
        assert rig.client.next_timeout() == rig.now + verify_s
        events += rig.expire()
    assert events[-1] == DownloadFailed(Status.INVALID_IMAGE, "the maker's signature does not fit")
    assert end_of(rig).status == Status.INVALID_IMAGE
    assert not rig.flash.is_filling
    assert rig.flash.boot() == RunningImage(OLD)


def test_the_report_of_a_failure_is_repeated_until_it_is_heard() -> None:
    rig = ClientRig(problem="bad")
    rig.begin()
    rig.serve()
    rig.expire()
    assert end_of(rig).status == Status.INVALID_IMAGE
    assert rig.sent[-1].tsn != rig.sent[-2].tsn
    rig.default_response(ota.UPGRADE_END_REQUEST, Status.SUCCESS, tsn=rig.sent[-2].tsn)
    assert rig.state is State.WAITING
    assert rig.client.next_timeout() == rig.now + 300.0


def test_the_report_of_a_failure_ends_when_nobody_hears_it() -> None:
    rig = ClientRig(problem="bad")
    rig.begin()
    rig.serve()
    while rig.state is State.REPORTING:
        rig.expire()
    assert len([f for f in rig.sent if f.command == ota.UPGRADE_END_REQUEST]) == 10
    assert rig.state is State.WAITING


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


# Everything else that may arrive.


def read(rig: ClientRig, *attributes: int) -> Any:
    body = zcl.build_read_attributes(attributes)
    rig.receive(zcl.READ_ATTRIBUTES, body, tsn=0x55, control=zcl.SERVER_TO_CLIENT)
    assert rig.last.tsn == 0x55
    records = zcl.parse_read_attributes_response(rig.sent.pop().payload)
    values = [record.value if record.status == 0 else record.status for record in records]
    return values if len(values) > 1 else values[0]


def test_the_attributes_tell_how_far_the_update_is() -> None:
    table = (Attribute.IMAGE_UPGRADE_STATUS, Attribute.FILE_OFFSET, 0x0004)
    rig = ClientRig(verify_s=10.0)
    rig.ask()
    assert read(rig, *table) == [0, 0xFFFFFFFF, 0xFFFFFFFF]
    rig.offer()
    rig.block()
    assert read(rig, *table) == [1, 56, 0xFFFFFFFF]
    rig.serve()
    assert read(rig, *table) == [2, 1000, NEW]
    rig.expire()
    rig.finish(0, 0xFFFFFFFF)
    assert read(rig, *table) == [3, 1000, NEW]
    rig.sent.append(zcl.ZclFrame(1, 0, 0, b""))
    rig.finish(0, 100)
    assert read(rig, *table) == [4, 1000, NEW]


def test_the_attributes_tell_what_the_device_is() -> None:
    rig = ClientRig(min_block_period=7)
    rig.start()
    rig.sent.append(zcl.ZclFrame(1, 0, 0, b""))
    assert read(rig, 0, 2, 3, 7, 8) == [1, OLD, 2, MAKER, KIND]
    assert read(rig, 9, 0x0A, 0x0B, 0x0C) == [7, Status.UNSUPPORTED_ATTRIBUTE, 0, 0]


@pytest.mark.parametrize("number", [0, 2, 5, 7, zcl.READ_ATTRIBUTES])
def test_what_is_not_protected_is_neither_believed_nor_answered(number: int) -> None:
    rig = ClientRig()
    rig.begin()
    before = len(rig.sent)
    block = ota.ImageBlockResponse(MAKER, KIND, NEW, 0, rig.image.data[:56])
    assert kinds(rig.receive(number, block, secured=False)) == ["unsecured"]
    assert len(rig.sent) == before
    assert rig.flash.written_bytes == 0


@pytest.mark.parametrize(
    ("control", "number", "status"),
    [
        (0x09, 0x2A, Status.UNSUP_CLUSTER_COMMAND),
        (0x09, ota.QUERY_DEVICE_SPECIFIC_FILE_RESPONSE, Status.UNSUP_CLUSTER_COMMAND),
        (0x08, 0x02, Status.UNSUP_GENERAL_COMMAND),
        (0x08, zcl.READ_ATTRIBUTES_RESPONSE, Status.UNSUP_GENERAL_COMMAND),
    ],
)
def test_a_command_the_device_does_not_know_is_refused(
    control: int, number: int, status: Status
) -> None:
    rig = ClientRig()
    rig.begin()
    assert kinds(rig.receive(number, b"", tsn=9, control=control)) == ["unsupported"]
    assert default_response(rig.last) == (number, status)
    assert rig.last.tsn == 9
    assert rig.state is State.DOWNLOADING


def test_a_makers_own_command_is_refused_as_such() -> None:
    rig = ClientRig()
    rig.start()
    outputs = rig.client.receive(bytes.fromhex("0D 2110 09 00 0364"), 0.0)
    rig.note(outputs)
    assert default_response(rig.last).status == Status.UNSUP_MANUF_CLUSTER_COMMAND
    assert rig.last.manufacturer_code == 0x1021


@pytest.mark.parametrize("octets", ["", "19", "0219", "1A0000", "010900", "180B0B", "1C21100B0B00"])
def test_noise_is_noted_and_never_answered(octets: str) -> None:
    rig = ClientRig()
    rig.begin()
    before = len(rig.sent)
    (event,) = rig.note(rig.client.receive(bytes.fromhex(octets), rig.now))
    assert isinstance(event, Anomaly)
    assert len(rig.sent) == before


def test_a_malformed_answer_is_refused_and_changes_nothing() -> None:
    rig = ClientRig()
    rig.begin()
    deadline = rig.client.next_timeout()
    for number in (2, 5, 7):
        assert kinds(rig.receive(number, b"\x00\x01")) == ["malformed"]
        assert default_response(rig.sent.pop()) == (number, Status.MALFORMED_COMMAND)
    assert kinds(rig.receive(zcl.READ_ATTRIBUTES, b"\x00", control=8)) == ["malformed"]
    assert rig.client.next_timeout() == deadline
