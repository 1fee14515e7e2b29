"""What the hub answers one device, row by row of the table of `ota_offer`."""

from __future__ import annotations

from typing import Any

import pytest
from ota_rig import (
    DEVICE,
    KIND,
    MAKER,
    NEW,
    OLD,
    OTHER,
    ServerRig,
    kinds,
    make_image,
)

from emulator.devices.ota_server import (
    OtaServerError,
    QuerySeen,
    ResponseCode,
    TransferOutcome,
    TransferProgress,
    TransferStarted,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status

# The update that goes well.


def test_an_update_runs_from_the_offer_to_its_outcome() -> None:
    rig = ServerRig()
    assert rig.offer() == []
    (notify,) = rig.answers
    assert (notify.frame_control, notify.command) == (zcl.NOTIFY, ota.IMAGE_NOTIFY)
    assert ota.parse_image_notify(notify.payload) == ota.ImageNotify(100, MAKER, KIND, NEW)
    assert rig.query() == [QuerySeen(DEVICE, OLD)]
    response = ota.parse_query_next_image_response(rig.answer(0x02).payload)
    assert response == ota.QueryNextImageResponse(0, MAKER, KIND, NEW, 1000)
    assert rig.block(0) == [
        TransferStarted(DEVICE, NEW, 1000),
        TransferProgress(DEVICE, 56, 1000, 1),
    ]
    assert rig.data == rig.image.data[:56]
    for offset in range(56, 1000, 56):
        rig.block(offset)
        assert rig.data == rig.image.data[offset : offset + 56]
    assert rig.end() == [
        TransferOutcome(DEVICE, NEW, ResponseCode.SUCCESS, "1000 bytes, verified by the device")
    ]
    end = ota.parse_upgrade_end_response(rig.answer(0x07).payload)
    assert end == ota.UpgradeEndResponse(MAKER, KIND, NEW, 0, 0)
    assert rig.query(version=NEW) == [QuerySeen(DEVICE, NEW)]
    assert rig.answer(0x02).payload == b"\x98"


def test_the_upgrade_time_can_be_left_to_a_later_command() -> None:
    rig = ServerRig(current_time_s=0xFFFFFFFF, upgrade_time_s=0xFFFFFFFF)
    rig.transfer()
    rig.end()
    response = ota.parse_upgrade_end_response(rig.answer(0x07).payload)
    assert response[3:] == (0xFFFFFFFF, 0xFFFFFFFF)


def test_progress_is_told_once_for_each_percent() -> None:
    rig = ServerRig(make_image(20_000))
    rig.offer()
    rig.query()
    events: list[Any] = []
    for offset in range(0, 20_000, 56):
        events += rig.block(offset) + rig.block(offset)
    told = [event for event in events if isinstance(event, TransferProgress)]
    assert [event.offset_bytes * 100 // 20_000 for event in told] == list(range(1, 101))
    assert [event.blocks for event in told] == [-(-event.offset_bytes // 56) for event in told]


# Blocks.


def test_any_offset_is_served_however_often_and_in_whatever_order() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    for offset in (0, 112, 112, 56, 0, 999, 944, 500, 1):
        rig.block(offset)
        assert rig.data == rig.image.data[offset : offset + 56]


@pytest.mark.parametrize("most", [1, 12, 32, 40, 48, 50, 56, 63, 64, 128, 255])
def test_a_block_is_never_larger_than_asked_for_or_than_fits(most: int) -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    for _ in range(2):
        rig.block(3, most)
        assert rig.data == rig.image.data[3 : 3 + min(most, 56)]


def test_a_device_behind_routers_gets_smaller_blocks() -> None:
    rig = ServerRig()
    rig.server.set_max_data(DEVICE, 48)
    rig.offer()
    rig.query()
    rig.block(0)
    assert len(rig.data) == 48
    rig.server.set_max_data(DEVICE, 42)
    rig.block(48)
    assert len(rig.data) == 42


@pytest.mark.parametrize("octets", [0, 256, -1])
def test_a_block_size_that_cannot_be_is_refused(octets: int) -> None:
    with pytest.raises(OtaServerError, match="1 to 255 octets"):
        ServerRig().server.set_max_data(DEVICE, octets)


@pytest.mark.parametrize("offset", [1000, 1001, 0xFFFFFFFF])
def test_beyond_the_end_there_is_no_block(offset: int) -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    for _ in range(2):  # before and during the transfer
        assert kinds(rig.block(offset)) == ["wrong-offset"]
        assert rig.refusal == (ota.IMAGE_BLOCK_REQUEST, Status.INVALID_FIELD)
        rig.block(0)


def test_a_request_for_no_octets_is_malformed() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    for _ in range(2):
        rig.block(0, most=0)
        assert rig.refusal == (ota.IMAGE_BLOCK_REQUEST, Status.MALFORMED_COMMAND)
        rig.block(0)


@pytest.mark.parametrize("changes", [{"request_node_address": 9}, {"minimum_block_period": 250}])
def test_optional_fields_of_a_block_request_change_nothing(changes: dict[str, int]) -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    request = ota.ImageBlockRequest(MAKER, KIND, NEW, 56, 56)._replace(**changes)
    rig.receive(ota.IMAGE_BLOCK_REQUEST, request)
    assert rig.data == rig.image.data[56:112]


def test_an_image_the_hub_does_not_hold_is_not_available() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    for ids in ({"version": NEW + 1}, {"version": OLD}):
        rig.block(0, **ids)
        assert rig.refusal == (ota.IMAGE_BLOCK_REQUEST, Status.NO_IMAGE_AVAILABLE)
    rig.block(0, eui64=OTHER)
    assert rig.refusal == (ota.IMAGE_BLOCK_REQUEST, Status.NO_IMAGE_AVAILABLE)


def test_after_the_hub_restarted_a_device_goes_on_without_a_query() -> None:
    rig = ServerRig()
    rig.offer()
    assert rig.block(504) == [
        TransferStarted(DEVICE, NEW, 1000),
        TransferProgress(DEVICE, 560, 1000, 1),
    ]
    assert rig.data == rig.image.data[504:560]
    rig.now = 600.0
    assert rig.note(rig.server.handle_timeout(rig.now)) == []
    assert rig.answers == []


# Queries.


def test_a_device_without_an_offer_is_not_authorised_but_seen() -> None:
    rig = ServerRig()
    assert rig.query() == [QuerySeen(DEVICE, OLD)]
    assert rig.answer(0x02).payload == b"\x7e"


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ({"hardware": 0x1110}, "hardware 1110 is outside the range of the image"),
        ({"hardware": 0x1113}, "hardware 1113 is outside the range of the image"),
        ({"manufacturer_code": 1}, "the device asks for manufacturer 0001 type 0084"),
        ({"image_type": 1}, "the device asks for manufacturer 121D type 0001"),
    ],
)
def test_an_image_for_other_hardware_ends_as_a_mismatch(ids: dict[str, int], sentence: str) -> None:
    rig = ServerRig()
    rig.offer()
    rig.query(**ids)
    assert rig.answer(0x02).payload == b"\x98"
    assert rig.outcomes == [
        TransferOutcome(DEVICE, NEW, ResponseCode.HARDWARE_VERSION_MISMATCH, sentence)
    ]
    rig.query()
    assert rig.answer(0x02).payload == b"\x98"
    assert len(rig.outcomes) == 1


@pytest.mark.parametrize("hardware", [0x1111, 0x1112, None])
def test_hardware_at_the_bounds_or_unknown_fits(hardware: int | None) -> None:
    rig = ServerRig()
    rig.offer()
    rig.query(hardware=hardware)
    assert rig.answer(0x02).payload[0] == Status.SUCCESS


def test_a_device_with_several_image_types_may_ask_for_each() -> None:
    rig = ServerRig(ids_mismatch_ends_offer=False)
    rig.offer()
    rig.query(image_type=1)
    assert rig.answer(0x02).payload == b"\x98"
    assert rig.outcomes == []
    rig.query()
    assert rig.answer(0x02).payload[0] == Status.SUCCESS


def test_a_device_that_runs_the_version_already_ends_the_offer() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query(version=NEW)
    assert rig.answer(0x02).payload == b"\x98"
    assert rig.codes == [ResponseCode.FILE_TRANSFER_FAILURE]


def test_a_device_whose_last_words_were_lost_is_a_success_when_it_runs_the_version() -> None:
    rig = ServerRig()
    rig.transfer()
    rig.query(version=NEW)
    assert rig.codes == [ResponseCode.SUCCESS]


def test_an_older_image_is_offered_as_told_and_left_to_the_device() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query(version=NEW + 7)
    assert rig.answer(0x02).payload[0] == Status.SUCCESS


def test_a_file_for_one_device_is_not_offered_to_another() -> None:
    rig = ServerRig(make_image(upgrade_file_destination=DEVICE))
    rig.offer(OTHER)
    assert rig.answers == []
    assert rig.codes == [ResponseCode.HARDWARE_VERSION_MISMATCH]
    rig.offer(DEVICE)
    assert len(rig.answers) == 1


@pytest.mark.parametrize("status", [Status.INSUFFICIENT_SPACE, Status.INVALID_FIELD])
def test_a_device_that_refuses_the_image_ends_the_offer(status: int) -> None:
    rig = ServerRig()
    rig.offer()
    assert kinds(rig.default_response(ota.QUERY_NEXT_IMAGE_RESPONSE, status)) == ["refused"]
    rig.query()
    rig.default_response(ota.QUERY_NEXT_IMAGE_RESPONSE, status)
    assert rig.codes == [ResponseCode.FILE_TRANSFER_FAILURE]
    assert rig.answers == []


# Ends.


@pytest.mark.parametrize("status", [0x95, 0x96, 0x01])
@pytest.mark.parametrize("alone", [False, True])
def test_a_device_that_gives_up_is_a_transfer_failure_once(status: int, alone: bool) -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(0)
    for _ in range(3):
        command = ota.UpgradeEndRequest(status)
        if not alone:
            command = ota.UpgradeEndRequest(status, MAKER, KIND, NEW)
        rig.receive(ota.UPGRADE_END_REQUEST, command)
        assert rig.refusal == (ota.UPGRADE_END_REQUEST, Status.SUCCESS)
    (outcome,) = rig.outcomes
    assert outcome.response_code is ResponseCode.FILE_TRANSFER_FAILURE
    assert zcl.status_name(status) in outcome.reason


def test_a_device_that_needs_another_file_has_taken_this_one() -> None:
    rig = ServerRig()
    rig.transfer()
    for _ in range(3):
        rig.end(Status.REQUIRE_MORE_IMAGE)
        assert rig.refusal == (ota.UPGRADE_END_REQUEST, Status.SUCCESS)
    (outcome,) = rig.outcomes
    assert outcome.response_code is ResponseCode.SUCCESS
    assert "needs another file" in outcome.reason


def test_a_repeated_end_is_answered_the_same_and_counted_once() -> None:
    rig = ServerRig()
    rig.transfer()
    answers = set()
    for _ in range(10):
        rig.end()
        answers.add(rig.answer(0x07).payload)
    assert len(answers) == 1
    assert rig.codes == [ResponseCode.SUCCESS]


def test_the_end_of_an_unknown_version_is_no_outcome() -> None:
    rig = ServerRig()
    rig.end()
    assert rig.refusal == (ota.UPGRADE_END_REQUEST, Status.NO_IMAGE_AVAILABLE)
    rig.transfer()
    for status in (0, 0x96):
        assert kinds(rig.end(status, version=NEW + 1)) == ["wrong-image"]
        assert rig.refusal == (ota.UPGRADE_END_REQUEST, Status.NO_IMAGE_AVAILABLE)
    assert rig.outcomes == []


def test_an_end_before_all_was_served_is_noted() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(0)
    events = rig.end()
    assert kinds(events) == ["early-end"]
    (outcome,) = [event for event in events if isinstance(event, TransferOutcome)]
    assert "bytes served, and the device says that it has all" in outcome.reason
    assert rig.codes == [ResponseCode.SUCCESS]


def test_a_failure_left_over_from_an_earlier_offer_does_not_end_the_new_one() -> None:
    rig = ServerRig()
    rig.offer()
    assert kinds(rig.end(0x96)) == ["early-end"]
    assert rig.refusal == (ota.UPGRADE_END_REQUEST, Status.SUCCESS)
    assert rig.outcomes == []
