"""What the hub answers and what becomes of an offer, row by row of the table of `ota_offer`."""

from __future__ import annotations

from typing import Any

import pytest
from ota_rig import (
    DEVICE,
    HARDWARE,
    KIND,
    MAKER,
    NEW,
    OLD,
    events_of,
    frames_of,
    make_image,
)

from emulator.devices.image_store import ImageStore, ImageStoreError
from emulator.devices.ota_server import (
    Anomaly,
    OtaServer,
    OtaServerError,
    OtaServerParameters,
    QuerySeen,
    ResponseCode,
    SendZcl,
    State,
    TransferOutcome,
    TransferProgress,
    TransferStarted,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status
from firmware_images.image import FirmwareImage

OTHER = DEVICE + 1
DAY_S = 24 * 3600.0


class ServerRig:
    """A server and a hand that plays the devices."""

    def __init__(self, image: FirmwareImage | None = None, **parameters: Any) -> None:
        self.image = image or make_image()
        self.store = ImageStore()
        self.server = OtaServer(self.store, OtaServerParameters(**parameters))
        self.now = 0.0
        self.tsn = 0
        self.answers: list[zcl.ZclFrame] = []
        self.outcomes: list[TransferOutcome] = []

    def note(self, outputs: list[Any]) -> list[Any]:
        self.answers = frames_of(outputs)
        events = events_of(outputs)
        self.outcomes += [event for event in events if isinstance(event, TransferOutcome)]
        return events

    def offer(self, eui64: int = DEVICE, image: FirmwareImage | None = None) -> list[Any]:
        return self.note(self.server.offer(eui64, image or self.image, self.now))

    def expire(self) -> list[Any]:
        due = self.server.next_timeout()
        assert due is not None, "nothing is due"
        self.now = max(self.now, due)
        return self.note(self.server.handle_timeout(self.now))

    def receive(
        self,
        number: int,
        command: ota.OtaCommand | bytes,
        *,
        eui64: int = DEVICE,
        control: int = zcl.REQUEST,
        secured: bool = True,
    ) -> list[Any]:
        self.tsn = (self.tsn + 1) & 0xFF
        body = command if isinstance(command, bytes) else ota.build(command)
        payload = bytes((control, self.tsn, number)) + body
        events = self.note(self.server.receive(eui64, payload, self.now, secured))
        assert all(answer.tsn == self.tsn for answer in self.answers)
        return events

    def query(self, version: int = OLD, hardware: int | None = HARDWARE, **ids: int) -> list[Any]:
        query = ota.QueryNextImageRequest(MAKER, KIND, version, hardware)._replace(**ids)
        return self.receive(ota.QUERY_NEXT_IMAGE_REQUEST, query, eui64=DEVICE)

    def block(
        self, offset: int, most: int = 56, *, version: int = NEW, eui64: int = DEVICE
    ) -> list[Any]:
        request = ota.ImageBlockRequest(MAKER, KIND, version, offset, most)
        return self.receive(ota.IMAGE_BLOCK_REQUEST, request, eui64=eui64)

    def end(self, status: int = 0, version: int = NEW) -> list[Any]:
        end = ota.UpgradeEndRequest(status, MAKER, KIND, version)
        return self.receive(ota.UPGRADE_END_REQUEST, end)

    def default_response(self, command: int, status: int) -> list[Any]:
        body = zcl.build_default_response(zcl.DefaultResponse(command, status))
        return self.receive(zcl.DEFAULT_RESPONSE, body, control=0x10)

    def transfer(self) -> None:
        """As far as the last block."""
        self.offer()
        self.query()
        for offset in range(0, len(self.image.data), 56):
            self.block(offset)

    @property
    def data(self) -> bytes:
        """The octets in the answer to a block request."""
        answer = ota.parse_image_block_response(self.answer(ota.IMAGE_BLOCK_RESPONSE).payload)
        assert isinstance(answer, ota.ImageBlockResponse)
        return answer.data

    def answer(self, number: int) -> zcl.ZclFrame:
        (answer,) = self.answers
        assert (answer.command, answer.frame_control) == (number, zcl.RESPONSE)
        return answer

    @property
    def refusal(self) -> tuple[int, int]:
        """Command and status of the default response that was the answer."""
        (answer,) = self.answers
        assert answer.is_default_response
        command, status = zcl.parse_default_response(answer.payload)
        return command, status

    @property
    def is_abort(self) -> bool:
        return self.answer(ota.IMAGE_BLOCK_RESPONSE).payload == b"\x95"

    @property
    def codes(self) -> list[ResponseCode]:
        return [outcome.response_code for outcome in self.outcomes]


def kinds(events: list[Any]) -> list[str]:
    return [event.kind for event in events if isinstance(event, Anomaly)]


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


# Ends.


@pytest.mark.parametrize("status", [0x95, 0x96, 0x99, 0x01])
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
    assert kinds(rig.end()) == ["early-end"]
    assert rig.codes == [ResponseCode.SUCCESS]


def test_a_failure_left_over_from_an_earlier_offer_does_not_end_the_new_one() -> None:
    rig = ServerRig()
    rig.offer()
    assert kinds(rig.end(0x96)) == ["early-end"]
    assert rig.refusal == (ota.UPGRADE_END_REQUEST, Status.SUCCESS)
    assert rig.outcomes == []


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
