"""Bugs that OTA stacks have had in the field, and what this hub and this client do instead.

Source: section 9 of this bench's ZigBee sheet, which names the public thread of each. Cases 1 to 29
are those; 30 to 46 are the bench's own, of a GB home. A test's docstring begins with its number;
`ELSEWHERE` are cases whose test needs another rig, `PARTLY` says what of a case is not there. Cases
that concern a server run with every make of client.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench_support import bench, house
from bench_support import make_image as bench_image
from ota_rig import (
    DAY_S,
    DEVICE,
    IDENTITY,
    KIND,
    MAKER,
    NEW,
    OLD,
    OTHER,
    ClientRig,
    ServerRig,
    kinds,
    make_image,
    request_of,
)
from test_ota_pair import Device, Home, codes

from emulator.devices.flash import Flash, FlashContents, Slot
from emulator.devices.image_store import ImageStore, StoreContents
from emulator.devices.nonvolatile import Record
from emulator.devices.ota_client import OtaClient, State
from emulator.devices.ota_personalities import EMBER, PERSONALITIES
from emulator.devices.ota_server import (
    OtaServer,
    OtaServerParameters,
    ResponseCode,
    TransferOutcome,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import MAX_UNFRAGMENTED_OCTETS, Status
from firmware_images.damage import damage_image

TESTS = Path(__file__).parents[1]
ON_THE_AIR = "devices/test_field_bugs_on_the_air.py"
ELSEWHERE = {
    9: "devices/test_damaged_images.py::"
    "test_sub_elements_are_judged_by_a_strict_device_and_by_no_other",
    36: "devices/test_hub_and_device.py::"
    "test_a_firmware_command_without_link_key_is_as_if_it_was_never_sent",
    35: "zigbee/test_stack.py::test_a_captured_frame_sent_again_is_rejected_by_its_counter",
    33: f"{ON_THE_AIR}::test_a_network_key_that_is_switched_does_not_cost_a_block",
    34: f"{ON_THE_AIR}::test_a_link_key_that_is_established_anew_does_not_end_a_transfer",
    37: f"{ON_THE_AIR}::"
    "test_a_device_whose_hub_was_swapped_is_not_served_by_the_new_one_until_it_is_asked_to",
    39: f"{ON_THE_AIR}::test_a_device_with_another_short_address_goes_on_where_it_was",
}
# What of a case nothing here can bring about; the rest of it is tested.
PARTLY = {
    34: "hub and device do not ask for key establishment themselves: the test's hosts do",
    41: "a duty cycle: the air is 2.4 GHz, the test suspends the server as one would",
}

each = pytest.mark.parametrize("make", PERSONALITIES)
SIZE = 5000
SUCCESS = [ResponseCode.SUCCESS]


class Case:
    """A home with one device of a make, and an image on offer."""

    def __init__(
        self,
        make: str = "ember",
        *,
        size: int = SIZE,
        server: OtaServerParameters | None = None,
        **changes: Any,
    ) -> None:
        self.parameters = replace(PERSONALITIES[make], **changes)
        self.image = make_image(size)
        self.home = Home(server=server)
        self.device: Device = self.home.add(parameters=self.parameters)
        self.home.offer(self.image)

    @property
    def block(self) -> int:
        return min(56, self.parameters.max_data_size)

    def until_written(self, octets: int) -> None:
        self.home.run_until(lambda: self.device.flash.written_bytes >= octets)

    def finish(self) -> None:
        """The image that was offered runs, and the hub counts one success."""
        self.home.run_until_seen(NEW)
        assert self.device.flash.read(Slot.RUNNING) == self.image.data
        assert codes(self.home) == SUCCESS

    @contextmanager
    def losing(self, command: int, *, to_server: bool, count: int = 1) -> Iterator[list[float]]:
        """Lose the next frames of this command; yields the times at which that happened."""
        lost: list[float] = []

        def drop(direction: bool, frame: bytes) -> bool:
            is_it = direction == to_server and frame[0] & 3 == 1 and frame[2] == command
            if is_it and len(lost) < count:
                lost.append(self.home.now)
                return True
            return False

        self.home.drop = drop
        yield lost
        self.home.drop = lambda _to_server, _frame: False

    def times_of(self, command: int) -> list[float]:
        return [
            now
            for now, to_server, frame in self.home.log
            if to_server and frame[0] & 3 == 1 and frame[2] == command
        ]


# -- the field's ---------------------------------------------------------------------------


@each
def test_one_lost_block_costs_one_block_and_does_not_begin_the_file_again(make: str) -> None:
    """1: esp-zigbee-sdk#833"""
    case = Case(make)
    case.until_written(2000)
    offset, before = case.device.flash.written_bytes, len(case.device.offsets)
    with case.losing(ota.IMAGE_BLOCK_RESPONSE, to_server=False) as lost:
        case.home.run_until(lambda: lost)
        case.finish()
    asked = case.device.offsets[before:]
    assert min(asked) >= offset - case.block
    assert len(case.device.offsets) == -(-SIZE // case.block) + 1


@each
def test_an_answer_that_was_acknowledged_and_dropped_stalls_for_one_timeout(make: str) -> None:
    """2: esp-zigbee-sdk#860"""
    case = Case(make)
    case.until_written(1000)
    with case.losing(ota.IMAGE_BLOCK_RESPONSE, to_server=False) as lost:
        case.home.run_until(lambda: lost)
    asked = len(case.device.offsets)
    case.home.run_until(lambda: len(case.device.offsets) > asked)
    assert case.home.now - lost[0] <= 2 * case.parameters.block_timeout_s + 0.1
    case.finish()


@each
@pytest.mark.parametrize("at", [0, 1000, 4900])
def test_a_dropped_block_never_shifts_what_follows(make: str, at: int) -> None:
    """3: esp-zigbee-sdk#892"""
    case = Case(make)
    case.until_written(at)
    with case.losing(ota.IMAGE_BLOCK_RESPONSE, to_server=False, count=2):
        case.finish()


@each
def test_a_block_with_a_stale_sequence_number_is_not_stored(make: str) -> None:
    """4: esp-zigbee-sdk#895"""
    rig = ClientRig(client_parameters=replace(PERSONALITIES[make], page_bytes=0))
    rig.begin()
    if rig.last.command != ota.IMAGE_BLOCK_REQUEST:
        rig.expire()
    for stored in (32, 64, 96):
        rig.block(32)
        assert rig.flash.written_bytes == stored
        if request_of(rig).file_offset != stored:
            rig.expire()  # it paces itself
    written = rig.flash.written_bytes
    junk = ota.ImageBlockResponse(MAKER, KIND, NEW, written, b"\xee" * 16)
    for back in (1, 7, 100):
        rig.receive(ota.IMAGE_BLOCK_RESPONSE, junk, tsn=rig.last.tsn - back - 20 & 0xFF)
    assert rig.flash.written_bytes == written


@each
def test_a_server_has_no_offset_of_its_own(make: str) -> None:
    """5: esp-zigbee-sdk#763"""
    parameters = PERSONALITIES[make]
    rig = ServerRig(make_image(SIZE))
    rig.offer()
    rig.query()
    most, expected = parameters.max_data_size, min(56, parameters.max_data_size)
    node = DEVICE if parameters.announce_eui64 else None
    period = 0 if parameters.announce_block_period else None
    for offset in (0, 0, 0, 4990, 3000, 56, 3000, 1, 4999, 0):
        request = ota.ImageBlockRequest(MAKER, KIND, NEW, offset, most, node, period)
        rig.receive(ota.IMAGE_BLOCK_REQUEST, request)
        assert rig.data == rig.image.data[offset : offset + expected]


@each
def test_after_an_update_the_device_asks_with_the_new_version(make: str) -> None:
    """6: esp-zigbee-sdk#100"""
    case = Case(make)
    case.finish()
    assert case.home.versions_seen == {DEVICE: [OLD, NEW]}
    for _ in range(50):
        case.home.step()
    assert codes(case.home) == SUCCESS
    assert case.device.flash.running.file_version == NEW


@pytest.mark.parametrize("most", [0, 1, 12, 32, 40, 48, 50, 56, 63, 64, 128, 255])
def test_no_maximum_data_size_makes_a_frame_too_long(most: int) -> None:
    """7: esp-zigbee-sdk#201, #162"""
    rig = ServerRig(make_image(SIZE))
    rig.offer()
    rig.query()
    rig.block(0, most)
    if most == 0:
        assert rig.refusal == (ota.IMAGE_BLOCK_REQUEST, Status.MALFORMED_COMMAND)
        return
    assert len(rig.data) == min(most, 56)
    (answer,) = rig.answers
    assert zcl.HEADER_OCTETS + len(answer.payload) <= MAX_UNFRAGMENTED_OCTETS


@each
def test_a_device_begins_to_load_as_soon_as_it_was_offered_an_image(make: str) -> None:
    """8: esp-zigbee-sdk#588"""
    case = Case(make)
    case.home.run_until(lambda: case.device.flash.written_bytes)
    (query,) = case.times_of(ota.QUERY_NEXT_IMAGE_REQUEST)
    first = min(case.times_of(ota.IMAGE_BLOCK_REQUEST) + case.times_of(ota.IMAGE_PAGE_REQUEST))
    assert first - query < 1.0


@each
@pytest.mark.parametrize("times", [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0, 5)])
def test_an_end_response_of_wildcards_is_for_this_image(make: str, times: tuple[int, int]) -> None:
    """10: esp-zigbee-sdk#466"""
    rig = finished_client(make)
    ids = {"manufacturer_code": 0xFFFF, "image_type": 0xFFFF, "file_version": 0xFFFFFFFF}
    rig.finish(*times, **ids)
    is_wait = times[1] == ota.WAIT_FOR_UPGRADE_COMMAND
    assert rig.state is (State.HOLDING if is_wait else State.COUNTDOWN)


def finished_client(make: str) -> ClientRig:
    """A client that has everything and has said so."""
    image = make_image(300)
    flash = Flash(FlashContents.factory(OLD))
    flash.begin(300)
    flash.write(0, image.data)
    parameters = replace(PERSONALITIES[make], resume=True, verify_s=0.0)
    rig = ClientRig(image, flash=flash, client_parameters=parameters)
    rig.start()
    assert rig.state is State.ENDING
    return rig


@each
def test_a_request_that_comes_while_the_last_answer_is_under_way_is_answered(make: str) -> None:
    """11: zigbee-herdsman#1852, PR#1846"""
    rig = ServerRig(make_image(SIZE))
    rig.offer()
    rig.query()
    most = PERSONALITIES[make].max_data_size
    for offset in range(0, 20 * most, most):  # not a moment between them
        rig.block(offset, most)
        assert rig.data == rig.image.data[offset : offset + min(most, 56)]


@each
def test_a_device_that_sent_nonsense_is_served_all_the_same(make: str) -> None:
    """12: zigbee-herdsman PR#1758"""
    case = Case(make)
    case.until_written(1000)
    for junk in (b"\x01\x42\x03", b"\x01\x43\x03\x00\x01", b"\x01\x44\x20", b"\x01"):
        case.home.act(case.home.server.receive(DEVICE, junk, case.home.now))
    case.finish()


@pytest.mark.parametrize("node", [None, DEVICE])
@pytest.mark.parametrize("period", [None, 0, 500])
@pytest.mark.parametrize("hardware", [None, 0x1111])
def test_every_combination_of_optional_fields_is_understood(
    node: int | None, period: int | None, hardware: int | None
) -> None:
    """13: zigbee-herdsman PR#1408"""
    rig = ServerRig()
    rig.offer()
    rig.query(hardware=hardware)
    assert rig.answer(ota.QUERY_NEXT_IMAGE_RESPONSE).payload[0] == Status.SUCCESS
    request = ota.ImageBlockRequest(MAKER, KIND, NEW, 112, 48, node, period)
    rig.receive(ota.IMAGE_BLOCK_REQUEST, request)
    assert rig.data == rig.image.data[112:160]


@each
@pytest.mark.parametrize("hardware", [0x1110, 0x1113, 0xFFFF])
def test_the_hardware_version_is_that_of_the_query_and_nothing_else_is_asked(
    make: str, hardware: int
) -> None:
    """14: zigbee-herdsman-converters#9356"""
    home = Home()
    identity = replace(IDENTITY, hardware_version=hardware)
    home.add(identity=identity, parameters=PERSONALITIES[make])
    home.offer(make_image())
    home.run_until(lambda: home.outcomes)
    assert codes(home) == [ResponseCode.HARDWARE_VERSION_MISMATCH]
    asked = {frame[2] for _, to_server, frame in home.log if not to_server}
    assert asked <= {ota.IMAGE_NOTIFY, ota.QUERY_NEXT_IMAGE_RESPONSE, zcl.DEFAULT_RESPONSE}


@each
def test_most_of_an_hour_between_last_block_and_end_is_no_failure(make: str) -> None:
    """15: zigbee-herdsman-converters#6657"""
    case = Case(make, size=600, verify_s=3590.0)
    case.finish()
    (end,) = case.times_of(ota.UPGRADE_END_REQUEST)
    assert end > 3590.0


@each
@pytest.mark.parametrize("octets", ["1", "5"])
def test_octets_behind_the_last_sub_element_are_served_and_hang_nobody(
    make: str, octets: str
) -> None:
    """16: zigbee-herdsman-converters PR#987"""
    image = make_image(600)
    data = damage_image(
        image.data, "element-trailing", octets, random_bits=lambda bits: 1 << bits - 1
    )
    for strict in (False, True):
        parameters = replace(PERSONALITIES[make], strict_elements=strict)
        home = Home()
        device = home.add(parameters=parameters)
        home.offer(replace(image, data=data, header=make_image(len(data)).header))
        home.run_until(lambda: home.outcomes)  # noqa: B023
        failure = ResponseCode.FILE_TRANSFER_FAILURE
        assert codes(home) == ([failure] if strict else SUCCESS)
        assert device.offsets[-1] < len(data)


@each
@pytest.mark.parametrize("percent", [97, 98, 99])
def test_a_silence_near_the_end_is_outlived(make: str, percent: int) -> None:
    """17: zigbee2mqtt#2921 and ten more"""
    case = Case(make)
    case.until_written(SIZE * percent // 100)
    with case.losing(ota.IMAGE_BLOCK_RESPONSE, to_server=False, count=4):
        case.finish()


@each
def test_a_file_found_wrong_at_its_last_octet_is_a_failed_transfer_told_once(make: str) -> None:
    """17: zigbee2mqtt#22819 (INVALID at 99 %)"""
    case = Case(make, size=600)
    case.device.client = OtaClient(
        IDENTITY, case.device.flash, case.parameters, verify=lambda _: "the last octet is wrong"
    )
    case.device.start()
    case.home.run_until(lambda: case.home.outcomes)
    assert codes(case.home) == [ResponseCode.FILE_TRANSFER_FAILURE]
    assert case.device.flash.running.file_version == OLD


@pytest.mark.parametrize("sizes", [(50, 12), (56, 12, 1), (1,), (3, 250, 17), (62, 50)])
def test_blocks_of_any_sizes_in_any_order_make_up_the_file(sizes: tuple[int, ...]) -> None:
    """18: zigbee-OTA#328, #356"""
    rig = ServerRig(make_image(SIZE))
    rig.offer()
    rig.query()
    octets, turn = b"", 0
    while len(octets) < SIZE:
        rig.block(len(octets), sizes[turn % len(sizes)])
        octets += rig.data
        turn += 1
    assert octets == rig.image.data


@each
@pytest.mark.parametrize("size", [64 * 20, 61, 62, 117, 56 * 20, 48 * 20 + 1])
def test_a_file_of_any_size_is_neither_padded_nor_refused(make: str, size: int) -> None:
    """19: zigpy#497, #525, #599"""
    case = Case(make, size=size)
    case.finish()
    assert case.device.flash.running.size_bytes == size


@each
def test_a_notification_refused_or_lost_does_not_fail_a_sleeper(make: str) -> None:
    """19: zigpy#1552, #1891"""
    case = Case(make, size=600, query_interval_s=7000.0)
    case.home.act(case.home.server.receive(DEVICE, b"\x00\x01\x0b\x00\x01", case.home.now))
    with case.losing(ota.IMAGE_NOTIFY, to_server=False, count=6):
        case.home.run_until(lambda: case.home.now > 6500.0 or case.device.offsets)
        case.finish()


@each
@pytest.mark.parametrize(("low", "high"), [(0x1111, 0x1111), (0x1000, 0x1111), (0x1111, 0x2000)])
def test_a_hardware_range_has_both_its_bounds(make: str, low: int, high: int) -> None:
    """19: zigpy#1566"""
    image = make_image(600, minimum_hardware_version=low, maximum_hardware_version=high)
    home = Home()
    home.add(parameters=PERSONALITIES[make])
    home.offer(image)
    home.run_until_seen(NEW)
    assert codes(home) == SUCCESS


def test_a_device_that_needs_blocks_of_exactly_48_gets_them() -> None:
    """20: zigpy PR#1781"""
    case = Case("telink", size=48 * 30)
    case.finish()
    sizes = {frame[16] for _, to, frame in case.home.log if not to and frame[2:4] == b"\x05\x00"}
    assert sizes == {48}


@each
def test_half_a_minute_of_checking_before_the_end_is_no_failure(make: str) -> None:
    """20: zigpy PR#1861"""
    Case(make, size=600, verify_s=31.0).finish()


@each
def test_no_frame_of_a_transfer_needs_fragments(make: str) -> None:
    """21: deconz-rest-plugin#810"""
    case = Case(make, server=OtaServerParameters(serve_pages=True))
    case.finish()
    assert max(len(frame) for _, _, frame in case.home.log) <= MAX_UNFRAGMENTED_OCTETS


@each
def test_a_transfer_stopped_for_a_night_goes_on(make: str) -> None:
    """21: deconz-ota-plugin#11, #22, #52"""
    case = Case(make)
    case.until_written(2500)
    case.device.client.stop()
    case.home.now += 10 * 3600.0
    case.device.restart()
    case.finish()


@each
def test_the_last_short_block_is_served_and_nothing_behind_it(make: str) -> None:
    """22: zsmartsystems#450, #1078, #1241"""
    case = Case(make, size=56 * 10 + 3)
    case.until_written(500)
    with case.losing(ota.IMAGE_BLOCK_RESPONSE, to_server=False, count=1):
        case.finish()
    rig = ServerRig()
    rig.offer()
    rig.query()
    for offset in (1000, 1001, 0xFFFFFFFF):
        rig.block(offset, PERSONALITIES[make].max_data_size)
        assert rig.refusal == (ota.IMAGE_BLOCK_REQUEST, Status.INVALID_FIELD)


async def test_the_longest_block_fills_a_frame_to_its_last_octet_and_no_further() -> None:
    """23: zigbee-on-host#135"""
    async with bench() as made:
        home = await house(made)
        await home.add(0x02484E4200000010, parameters=EMBER)  # asks for 63
        home.hub.update(bench_image(4096), [0x02484E4200000010])
        await made.until(lambda: home.told(TransferOutcome), 3600)
        assert max(map(len, made.frames)) == 127
        (outcome,) = home.told(TransferOutcome)
        assert outcome.response_code is ResponseCode.SUCCESS


@each
def test_a_route_that_gets_longer_in_the_middle_makes_the_blocks_smaller(make: str) -> None:
    """24: sprut/Hub#228"""
    case = Case(make)
    case.until_written(2000)
    case.home.server.set_max_data(DEVICE, 42)  # six relays
    seen = len(case.home.log)
    case.finish()
    blocks = [frame for _, to, frame in case.home.log[seen + 2 :] if not to and frame[2] == 5]
    assert max(frame[16] for frame in blocks if frame[3] == 0) == min(42, case.block)


@each
@pytest.mark.parametrize("erase_s", [0.5, 3.5])
def test_a_device_busy_erasing_is_late_and_still_gets_every_octet(
    make: str, erase_s: float
) -> None:
    """25: xbee-python PR#246"""
    case = Case(make, size=9000, erase_s=erase_s, sector_bytes=2048)
    case.until_written(4000)
    with case.losing(ota.IMAGE_BLOCK_RESPONSE, to_server=False):
        case.finish()
    assert case.home.now > 5 * erase_s


def test_a_sleeper_that_hears_answers_late_or_not_at_all_gets_there() -> None:
    """26: b-parasite PR#192, bellows PR#159"""
    parameters = PERSONALITIES["sleepy"]
    home = Home(delay_s=14.0, seed=4)  # longer than it waits, at times
    device = home.add(parameters=replace(parameters, max_errors=100))
    image = make_image(2000)
    home.offer(image)
    home.run_until_seen(NEW)
    assert device.flash.read(Slot.RUNNING) == image.data
    assert codes(home) == SUCCESS


@pytest.mark.parametrize(
    ("running", "offered"), [(0x7FFFFFFF, 0x80000000), (0x00FFFFFF, 0x01000000), (1, 0xFFFFFFFE)]
)
def test_versions_are_whole_numbers_without_a_sign(running: int, offered: int) -> None:
    """27: silabs-firmware-builder#116, zigpy-cli#22"""
    home = Home()
    home.add(identity=replace(IDENTITY, file_version=running))
    home.offer(make_image(600, version=offered))
    home.run_until_seen(offered)
    assert home.versions_seen == {DEVICE: [running, offered]}


@each
def test_a_device_told_to_wait_goes_on_where_it_was_whether_it_knows_waiting_or_not(
    make: str,
) -> None:
    """28: XBee manual"""
    case = Case(make)
    case.until_written(2000)
    case.home.server.suspend(case.home.now + 20.0)
    case.finish()


@each
@pytest.mark.parametrize("number", [0x02, 0x04, 0x07, 0x09])
def test_block_data_under_another_commands_number_is_not_stored(make: str, number: int) -> None:
    """29: a public CH emulator"""
    rig = ClientRig(client_parameters=replace(PERSONALITIES[make], erase_s=0.0, page_bytes=0))
    rig.begin()
    block = ota.ImageBlockResponse(MAKER, KIND, NEW, 0, rig.image.data[:32])
    rig.receive(number, block)
    assert rig.flash.written_bytes == 0
    assert rig.state is State.DOWNLOADING


# -- the bench's own -----------------------------------------------------------------------


@each
def test_an_image_aborted_and_offered_again_is_loaded_whole(make: str) -> None:
    """30"""
    case = Case(make)
    case.until_written(2000)
    case.home.offer(make_image(700, version=NEW + 5), OTHER)  # takes the slot
    case.home.run_until(lambda: case.home.outcomes)
    case.home.devices.pop(OTHER, None)
    case.home.offer(case.image)
    case.home.run_until_seen(NEW)
    assert case.device.flash.read(Slot.RUNNING) == case.image.data
    assert [one.response_code for one in case.home.outcomes if one.eui64 == DEVICE] == [
        ResponseCode.IMAGE_DISCARDED,
        ResponseCode.SUCCESS,
    ]


@each
def test_two_devices_of_different_makes_share_one_slot_side_by_side(make: str) -> None:
    """31"""
    case = Case(make)
    other = case.home.add(OTHER, parameters=EMBER)
    case.home.offer(case.image, OTHER)
    case.home.run_until_seen(NEW)
    for device in (case.device, other):
        assert device.flash.read(Slot.RUNNING) == case.image.data
    assert codes(case.home) == SUCCESS * 2


@each
@pytest.mark.parametrize("at", [100, 2500, SIZE])
def test_a_hub_that_restarts_goes_on_from_what_it_stored_and_the_device_does_not_ask_again(
    make: str, at: int
) -> None:
    """32"""
    case = Case(make, verify_s=30.0)
    stored, offers = StoreContents(), Record()
    case.home.server = OtaServer(ImageStore(contents=stored), record=offers)
    case.home.offer(case.image)
    case.until_written(at)
    case.home.server = OtaServer(ImageStore(contents=stored), record=offers)
    case.home.act(case.home.server.start(case.home.now))
    case.home.versions_seen.clear()
    case.finish()
    assert case.home.versions_seen == {DEVICE: [NEW]}


@each
def test_a_device_taken_out_of_the_hubs_log_gets_nothing_more(make: str) -> None:
    """38: as far as the server goes; by CCS02 it goes in test_removal_from_the_log"""
    case = Case(make)
    case.until_written(2000)
    case.home.act(case.home.server.remove_device(DEVICE))
    assert codes(case.home) == [ResponseCode.IMAGE_DISCARDED]
    written = case.device.flash.written_bytes
    case.home.run_until(lambda: not case.device.flash.is_filling)
    assert case.device.flash.written_bytes <= written + case.block
    for _ in range(20):
        case.home.step()
    assert codes(case.home) == [ResponseCode.IMAGE_DISCARDED]
    assert case.device.flash.running.file_version == OLD


@each
@pytest.mark.parametrize("step_s", [-3600, 3600, -1])
def test_a_step_of_the_hubs_clock_does_not_put_the_activation_off(make: str, step_s: int) -> None:
    """40"""
    clock = {"s": 800_000_000}
    case = Case(make, size=600)
    parameters = OtaServerParameters(upgrade_time_s=60)
    case.home.server = OtaServer(ImageStore(), parameters, clock=lambda: clock["s"])
    case.home.offer(case.image)
    case.until_written(300)
    clock["s"] += step_s
    case.finish()
    (end,) = case.times_of(ota.UPGRADE_END_REQUEST)
    restart = case.times_of(ota.QUERY_NEXT_IMAGE_REQUEST)[-1]
    assert 60.0 <= restart - end < 63.0


@each
def test_a_hub_that_may_not_send_for_a_while_is_waited_for_and_no_block_is_lost(make: str) -> None:
    """41"""
    case = Case(make)
    case.until_written(1000)
    before, now = len(case.device.offsets), case.home.now
    case.home.server.suspend(now + 30.0)
    case.finish()
    served = [
        at
        for at, to_server, frame in case.home.log
        if not to_server and now < at and frame[2:4] == bytes((ota.IMAGE_BLOCK_RESPONSE, 0))
    ]
    assert min(served) >= now + 30.0
    assert min(case.device.offsets[before:]) >= 1000 - case.block


@pytest.mark.parametrize("make", [make for make, one in PERSONALITIES.items() if one.honours_wait])
def test_hours_of_waiting_end_in_success(make: str) -> None:
    """42"""
    case = Case(make)
    case.until_written(1000)
    for _ in range(5):
        case.home.server.suspend(case.home.now + 3500.0)
        end_s = case.home.now + 3600.0
        case.home.run_until(lambda: case.home.now > end_s or case.home.outcomes)  # noqa: B023
    case.finish()


@each
def test_an_end_nobody_answers_is_repeated_and_then_the_device_goes_ahead(make: str) -> None:
    """43"""
    case = Case(make, size=600)
    with case.losing(ota.UPGRADE_END_RESPONSE, to_server=False, count=100):
        case.home.run_until_seen(NEW)
    assert len(case.times_of(ota.UPGRADE_END_REQUEST)) == case.parameters.max_end_requests
    assert codes(case.home) == SUCCESS


@each
def test_an_end_said_twice_is_one_outcome(make: str) -> None:
    """44"""
    case = Case(make, size=600)
    with case.losing(ota.UPGRADE_END_RESPONSE, to_server=False, count=1):
        case.finish()
    assert len(case.times_of(ota.UPGRADE_END_REQUEST)) == 2


def test_the_end_of_a_version_nobody_offered_is_no_outcome() -> None:
    """45"""
    rig = ServerRig()
    rig.transfer()
    assert kinds(rig.end(version=NEW + 1)) == ["wrong-image"]
    assert rig.codes == []
    rig.end()
    assert rig.codes == SUCCESS


@each
def test_a_device_that_vanishes_at_forty_percent_is_a_failed_transfer_a_day_later(
    make: str,
) -> None:
    """46"""
    case = Case(make)
    case.until_written(SIZE * 2 // 5)
    case.device.client.stop()
    gone_s = case.home.now
    case.home.run_until(lambda: case.home.outcomes)
    assert codes(case.home) == [ResponseCode.FILE_TRANSFER_FAILURE]
    assert case.home.now - gone_s == pytest.approx(DAY_S, abs=30.0)


# -- the list itself -----------------------------------------------------------------------


def cases_of(path: Path) -> dict[str, int]:
    """Test functions of a module, with the number their docstring begins with."""
    numbers = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[:5] == "test_":
            text = ast.get_docstring(node) or ""
            number = text.split(":")[0].split()[0] if text else ""
            numbers[node.name] = int(number) if number.isdigit() else 0
    return numbers


def test_every_case_has_a_test_here_or_elsewhere() -> None:
    here = set(cases_of(Path(__file__)).values()) - {0}
    assert here | set(ELSEWHERE) == set(range(1, 47))
    assert set(PARTLY) <= here | set(ELSEWHERE)


@pytest.mark.parametrize("where", ELSEWHERE.values())
def test_a_case_tested_elsewhere_is_tested_there(where: str) -> None:
    module, _, name = where.partition("::")
    assert name in cases_of(TESTS / module)
