"""How a file comes into a device, row by row of the table of `ota_download`.

Numbers such as "2.2 #7" are rows of the list of malformed images the project keeps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ota_rig import (
    DEVICE,
    KIND,
    MAKER,
    NEW,
    OLD,
    ClientRig,
    default_response,
    end_of,
    kinds,
    make_image,
    request_of,
)

from emulator.devices.flash import RunningImage, Slot
from emulator.devices.ota_client import (
    DownloadDone,
    DownloadFailed,
    DownloadProgress,
    DownloadStarted,
    State,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status
from firmware_images.image import FirmwareImage

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
