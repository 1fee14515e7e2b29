"""What the hub does by itself, for several devices, and with what it does not expect."""

from __future__ import annotations

from typing import Any

import pytest
from ota_rig import (
    DAY_S,
    DEVICE,
    KIND,
    MAKER,
    NEW,
    OTHER,
    ServerRig,
    kinds,
    make_image,
)

from emulator.devices.image_store import ImageStoreError
from emulator.devices.ota_server import (
    Anomaly,
    OtaServerError,
    ResponseCode,
    SendZcl,
    State,
    TransferOutcome,
    TransferStarted,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status

# Notifications and time.


def test_a_sleeping_device_is_notified_six_times_and_then_waited_for() -> None:
    rig = ServerRig()
    rig.offer()
    times = []
    events: list[Any] = []
    for _ in range(6):
        assert len(rig.answers) == 1
        times.append(rig.now)
        events += rig.expire()
    assert times == [600.0 * n for n in range(6)]
    assert kinds(events) == ["not-asked"]
    assert rig.answers == []
    rig.query()
    assert rig.answer(0x02).payload[0] == Status.SUCCESS


def test_a_device_that_asked_is_not_notified_again() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.expire()
    assert rig.answers == []
    assert rig.server.next_timeout() == DAY_S


def test_a_later_offer_is_notified_in_time_while_an_earlier_one_is_loaded() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.expire()
    assert rig.server.next_timeout() == DAY_S
    rig.offer(OTHER)
    assert rig.server.next_timeout() == rig.now + 600.0


def test_a_refused_notification_fails_nothing() -> None:
    rig = ServerRig()
    rig.offer()
    for status in (Status.SUCCESS, Status.FAILURE):
        assert rig.default_response(ota.IMAGE_NOTIFY, status) == []
    assert rig.server.state(DEVICE) is State.OFFERED


def test_a_device_that_vanishes_fails_a_day_after_its_last_new_block() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(0)
    rig.now = 50_000.0
    rig.block(56)
    rig.now = 60_000.0
    rig.block(0)
    events: list[Any] = []
    while not rig.outcomes:
        events += rig.expire()
    assert rig.now == 50_000.0 + DAY_S
    (outcome,) = rig.outcomes
    assert outcome.response_code is ResponseCode.FILE_TRANSFER_FAILURE
    assert outcome.reason == "112 of 1000 bytes served, nothing new for 86400 s"
    assert rig.server.next_timeout() is None
    rig.block(112)
    assert rig.is_abort


def test_a_transfer_of_many_days_is_no_failure_while_it_moves() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    for offset in range(0, 1000, 56):
        rig.now += DAY_S - 1
        rig.note(rig.server.handle_timeout(rig.now))
        rig.block(offset)
    rig.end()
    assert rig.codes == [ResponseCode.SUCCESS]


def test_a_device_that_begins_again_after_a_query_makes_progress() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(944)
    rig.now = DAY_S - 1
    rig.query()
    assert rig.block(0)[0] == TransferStarted(DEVICE, NEW, 1000)
    rig.now = DAY_S
    rig.note(rig.server.handle_timeout(rig.now))
    assert rig.outcomes == []


def test_half_an_hour_between_last_block_and_end_is_no_failure() -> None:
    rig = ServerRig()
    rig.transfer()
    rig.now += 3600.0
    rig.note(rig.server.handle_timeout(rig.now))
    rig.end()
    assert rig.codes == [ResponseCode.SUCCESS]


# One slot.


def test_an_overwritten_image_is_discarded_once_and_its_device_stopped() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(0)
    newer = make_image(version=NEW + 1)
    rig.offer(OTHER, newer)
    assert rig.outcomes == [
        TransferOutcome(
            DEVICE, NEW, ResponseCode.IMAGE_DISCARDED, "another image took its place in the hub"
        )
    ]
    for _ in range(3):
        rig.block(56)
        assert rig.is_abort
    rig.query()
    assert rig.answer(0x02).payload == b"\x98"
    rig.end()
    assert rig.refusal == (ota.UPGRADE_END_REQUEST, Status.ABORT)
    assert len(rig.outcomes) == 1


@pytest.mark.parametrize("what", ["block", "query", "end", "sweep", "timeout"])
def test_a_slot_filled_behind_the_servers_back_discards_at_the_next_occasion(what: str) -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(0)
    rig.store.put(make_image(version=NEW + 1))
    if what == "block":
        rig.block(56)
        assert rig.is_abort
    elif what == "query":
        rig.query()
        assert rig.answer(0x02).payload == b"\x98"
    elif what == "end":
        rig.end()
        assert rig.refusal == (ota.UPGRADE_END_REQUEST, Status.ABORT)
    elif what == "sweep":
        rig.note(rig.server.sweep())
    else:
        rig.expire()
    assert rig.codes == [ResponseCode.IMAGE_DISCARDED]
    assert rig.note(rig.server.sweep()) == []


def test_two_files_of_one_name_never_become_one() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(0)
    impostor = make_image(1001)  # the same identifiers, other octets
    rig.offer(DEVICE, impostor)
    assert rig.codes == [ResponseCode.IMAGE_DISCARDED]
    rig.block(56)
    assert rig.is_abort
    rig.end()
    assert rig.refusal == (ota.UPGRADE_END_REQUEST, Status.ABORT)
    rig.query()
    rig.block(0)
    assert rig.data == impostor.data[:56]


def test_a_device_that_never_asked_again_stays_stopped_over_several_offers() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(0)
    rig.offer(DEVICE, make_image(1001))
    rig.offer(DEVICE, make_image(1002))
    rig.offer(DEVICE, rig.image)
    assert rig.codes == [ResponseCode.IMAGE_DISCARDED] * 3
    rig.block(56)
    assert rig.is_abort


def test_a_device_stopped_stays_stopped_when_the_newer_file_is_offered_twice() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(0)
    impostor = make_image(1001)
    rig.offer(DEVICE, impostor)
    while len(rig.outcomes) < 2:
        rig.expire()
    rig.offer(DEVICE, impostor)
    rig.block(56)
    assert rig.is_abort


def test_the_same_file_offered_again_after_a_failure_goes_on_where_it_was() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(0)
    while not rig.outcomes:
        rig.expire()
    rig.offer()
    rig.block(56)
    assert rig.data == rig.image.data[56:112]


def test_the_same_offer_twice_is_one() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    assert rig.offer() == []
    assert rig.answers == []
    assert rig.server.state(DEVICE) is State.ASKED


def test_two_devices_load_one_image_side_by_side() -> None:
    rig = ServerRig()
    rig.offer(DEVICE)
    rig.offer(OTHER)
    for eui64 in (DEVICE, OTHER):
        for offset in range(0, 1000, 56):
            rig.block(offset, eui64=eui64)
            assert rig.data == rig.image.data[offset : offset + 56]
    assert rig.outcomes == []


# Limits and what else may arrive.


def test_an_image_above_the_limit_is_neither_stored_nor_offered() -> None:
    rig = ServerRig()
    with pytest.raises(ImageStoreError, match="768001 bytes"):
        rig.offer(DEVICE, make_image(768_001))
    assert rig.server.state(DEVICE) is None
    assert rig.store.slot is None


def test_a_hub_serves_no_more_devices_than_its_log_holds() -> None:
    rig = ServerRig(max_devices=2)
    rig.offer(1)
    rig.offer(2)
    with pytest.raises(OtaServerError, match="2 devices are known already"):
        rig.offer(3, make_image(2000))
    assert rig.store.slot is not None
    assert rig.store.slot.size_bytes == 1000
    rig.offer(1)
    rig.server.set_max_data(1, 50)
    rig.server.set_max_data(2, 50)
    rig.server.set_max_data(2, 48)
    with pytest.raises(OtaServerError, match="2 devices are known already"):
        rig.server.set_max_data(3, 50)
    rig.note(rig.server.remove_device(1))
    rig.offer(3)


def test_a_removed_device_gets_its_outcome_and_nothing_more() -> None:
    rig = ServerRig()
    assert rig.server.remove_device(DEVICE) == []
    rig.offer()
    rig.note(rig.server.remove_device(DEVICE))
    assert rig.codes == [ResponseCode.IMAGE_DISCARDED]
    rig.query()
    assert rig.answer(0x02).payload == b"\x7e"


def test_page_requests_and_device_specific_files_are_refused_politely() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    page = ota.ImagePageRequest(MAKER, KIND, NEW, 0, 56, 1024, 50)
    assert kinds(rig.receive(ota.IMAGE_PAGE_REQUEST, page)) == ["unsupported"]
    assert rig.refusal == (ota.IMAGE_PAGE_REQUEST, Status.UNSUP_CLUSTER_COMMAND)
    request = ota.QueryDeviceSpecificFileRequest(DEVICE, MAKER, 0xFFC0, 0xFFFFFFFF, 2)
    assert rig.receive(ota.QUERY_DEVICE_SPECIFIC_FILE_REQUEST, request) == []
    assert rig.answer(ota.QUERY_DEVICE_SPECIFIC_FILE_RESPONSE).payload == b"\x98"
    rig.block(0)
    assert rig.data == rig.image.data[:56]


@pytest.mark.parametrize("number", [0x01, 0x03, 0x06, 0x08])
@pytest.mark.parametrize("body", [b"", b"\x00\x01\x02", bytes(60)])
def test_a_malformed_request_is_refused_and_the_next_good_one_served(
    number: int, body: bytes
) -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    rig.block(0)
    assert kinds(rig.receive(number, body)) == ["malformed"]
    assert rig.refusal == (number, Status.MALFORMED_COMMAND)
    rig.block(56)
    assert rig.data == rig.image.data[56:112]


@pytest.mark.parametrize("number", [0x01, 0x03, 0x06, zcl.READ_ATTRIBUTES])
def test_what_is_not_protected_is_neither_believed_nor_answered(number: int) -> None:
    rig = ServerRig()
    rig.offer()
    assert kinds(rig.receive(number, bytes(14), secured=False)) == ["unsecured"]
    assert rig.answers == []
    assert rig.server.state(DEVICE) is State.OFFERED


@pytest.mark.parametrize(
    ("control", "number", "status"),
    [
        (0x01, 0x2A, Status.UNSUP_CLUSTER_COMMAND),
        (0x01, ota.IMAGE_BLOCK_RESPONSE, Status.UNSUP_CLUSTER_COMMAND),
        (0x00, 0x02, Status.UNSUP_GENERAL_COMMAND),
    ],
)
def test_a_command_the_hub_does_not_know_is_refused(
    control: int, number: int, status: Status
) -> None:
    rig = ServerRig()
    assert kinds(rig.receive(number, b"", control=control)) == ["unsupported"]
    assert rig.refusal == (number, status)


def test_reading_the_servers_attributes_finds_none() -> None:
    rig = ServerRig()
    body = zcl.build_read_attributes([0, 0xFFFD])
    assert rig.receive(zcl.READ_ATTRIBUTES, body, control=0x00) == []
    (answer,) = rig.answers
    records = zcl.parse_read_attributes_response(answer.payload)
    assert {record.status for record in records} == {Status.UNSUPPORTED_ATTRIBUTE}


@pytest.mark.parametrize("octets", ["", "01", "0201", "190103", "100B0B", "10010B06", "1421100B0B"])
def test_noise_is_noted_and_never_answered(octets: str) -> None:
    rig = ServerRig()
    rig.offer()
    (event,) = rig.server.receive(DEVICE, bytes.fromhex(octets), 0.0)
    assert isinstance(event, Anomaly)
    assert not isinstance(event, SendZcl)


def test_a_refusal_nobody_expects_is_noted() -> None:
    rig = ServerRig()
    rig.offer()
    rig.query()
    events = rig.default_response(ota.IMAGE_BLOCK_RESPONSE, Status.INVALID_VALUE)
    assert kinds(events) == ["refused"]
    assert kinds(rig.default_response(ota.QUERY_NEXT_IMAGE_RESPONSE, 0x80)) == ["refused"]
    assert rig.outcomes == []
