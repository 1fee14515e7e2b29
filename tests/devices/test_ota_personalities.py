"""Every make of client against one hub: its blocks, its pauses, its unit of time, its pages."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from ota_rig import (
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
    read,
)
from test_ota_pair import Device, Home, codes

from emulator.devices.flash import PAGE_BYTES, Slot
from emulator.devices.ota_client import Anomaly, DownloadFailed, FindServer, State
from emulator.devices.ota_personalities import (
    EMBER,
    EMBER_PAGES,
    NXP,
    NXP_PRODUCTION,
    PERSONALITIES,
    SLEEPY,
    TI,
    TI_SECONDS,
    XBEE,
)
from emulator.devices.ota_server import OtaServerError, OtaServerParameters, ResponseCode
from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status

each = pytest.mark.parametrize("make", PERSONALITIES)
SIZE = 3 * PAGE_BYTES + 57


def block_requests(home: Home) -> list[tuple[float, ota.ImageBlockRequest]]:
    return [
        (now, ota.parse_image_block_request(frame[3:]))
        for now, to_server, frame in home.log
        if to_server and frame[0] & 3 == 1 and frame[2] == ota.IMAGE_BLOCK_REQUEST
    ]


def commands(home: Home, *, to_server: bool) -> list[int]:
    return [
        frame[2]
        for _, direction, frame in home.log
        if direction == to_server and frame[0] & 3 == zcl.CLUSTER_COMMAND
    ]


def updated(
    make: str, server: OtaServerParameters | None = None, **how: Any
) -> tuple[Home, Device]:
    home = Home(server=server, **how)
    device = home.add(parameters=PERSONALITIES[make])
    image = make_image(SIZE)
    home.offer(image)
    home.run_until_seen(NEW)
    assert device.flash.read(Slot.RUNNING) == image.data
    assert codes(home) == [ResponseCode.SUCCESS]
    return home, device


@each
@pytest.mark.parametrize("pages", [False, True])
def test_every_make_loads_the_whole_image_from_a_hub_with_or_without_pages(
    make: str, pages: bool
) -> None:
    home, device = updated(make, OtaServerParameters(serve_pages=pages))
    if make == "ember-pages" and pages:
        assert device.offsets == []
        assert commands(home, to_server=True).count(ota.IMAGE_PAGE_REQUEST) == -(-SIZE // 1024)
    else:
        most = min(56, PERSONALITIES[make].max_data_size)
        assert device.offsets == list(range(0, SIZE, most))


@each
@pytest.mark.parametrize("seed", range(3))
def test_every_make_gets_there_over_a_lossy_air(make: str, seed: int) -> None:
    patient = replace(PERSONALITIES[make], max_errors=1000)
    home = Home(server=OtaServerParameters(serve_pages=True), loss=0.2, repeat=0.1, seed=seed)
    device = home.add(parameters=patient)
    image = make_image(SIZE)
    home.offer(image)
    home.run_until_seen(NEW)
    assert device.flash.read(Slot.RUNNING) == image.data
    assert codes(home) == [ResponseCode.SUCCESS]


@each
def test_a_make_resumes_after_a_power_cut_if_it_does_that_and_else_begins_again(make: str) -> None:
    home = Home()
    device = home.add(parameters=PERSONALITIES[make])
    home.offer(make_image(SIZE))
    while device.flash.written_bytes < 2 * PAGE_BYTES + 100:
        home.step()
    device.offsets.clear()
    device.restart()
    home.run_until_seen(NEW)
    assert device.flash.read(Slot.RUNNING) == make_image(SIZE).data
    assert device.offsets[0] == (2 * PAGE_BYTES if PERSONALITIES[make].resume else 0)
    assert codes(home) == [ResponseCode.SUCCESS]


@pytest.mark.parametrize("unit", ["ms", "s", "discover"])
@pytest.mark.parametrize(("make", "takes_s_for"), [("ti", "ms"), ("ti-seconds", "s"), ("nxp", "s")])
def test_a_minimum_block_period_is_given_in_the_unit_that_the_device_takes_it_in(
    make: str, takes_s_for: str, unit: str
) -> None:
    parameters = OtaServerParameters(minimum_block_period_ms=2000, block_period_unit=unit)
    home = Home(server=parameters)
    device = home.add(parameters=PERSONALITIES[make])
    home.offer(make_image(2000))
    home.run_until(lambda: len(device.offsets) > 8)
    requests = block_requests(home)[-3:]
    pause_s = requests[-1][0] - requests[-2][0]
    told = requests[-1][1].minimum_block_period
    if unit in (takes_s_for, "discover"):
        assert told == (2000 if takes_s_for == "ms" else 2)
        assert pause_s == pytest.approx(2.0, abs=0.1)
    elif make == "nxp":  # it has a longest pause, and the hub does not insist
        assert (told, pause_s) == (5, pytest.approx(5.0, abs=0.1))
    else:
        assert told == (2 if takes_s_for == "ms" else 2000)
    assert codes(home) == []


def test_five_devices_are_tested_for_their_unit_at_a_time_and_no_more() -> None:
    rig = ServerRig(minimum_block_period_ms=2000, block_period_unit="discover")
    waits = []
    for number in range(6):
        rig.offer(number)
        request = ota.ImageBlockRequest(MAKER, KIND, NEW, 0, 56, None, 0)
        rig.receive(ota.IMAGE_BLOCK_REQUEST, request, eui64=number)
        waits.append(rig.answer(ota.IMAGE_BLOCK_RESPONSE).payload[0] == Status.WAIT_FOR_DATA)
    assert waits == [True] * 5 + [False]
    rig.now += 121.0
    rig.receive(ota.IMAGE_BLOCK_REQUEST, request, eui64=5)
    assert rig.answer(ota.IMAGE_BLOCK_RESPONSE).payload[0] == Status.WAIT_FOR_DATA


def test_production_pacing_takes_ten_to_twenty_seconds_a_block_and_is_no_failure() -> None:
    home = Home(server=OtaServerParameters(stall_timeout_s=60.0))
    device = home.add(parameters=NXP_PRODUCTION)
    home.offer(make_image(2000))
    home.run_until_seen(NEW)
    times = [now for now, _ in block_requests(home)]
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert all(10.0 <= pause < 20.1 for pause in pauses)
    assert len(set(pauses)) > 10
    assert codes(home) == [ResponseCode.SUCCESS]
    assert device.offsets == list(range(0, 2000, 48))


# -- pages ---------------------------------------------------------------------------------


def page(offset: int = 0, size: int = 280, most: int = 56, spacing_ms: int = 0) -> Any:
    return ota.ImagePageRequest(MAKER, KIND, NEW, offset, most, size, spacing_ms)


def ready(**parameters: Any) -> ServerRig:
    rig = ServerRig(serve_pages=True, **parameters)
    rig.offer()
    rig.query()
    return rig


def test_a_page_is_sent_block_by_block_with_the_number_of_its_request() -> None:
    rig = ready()
    rig.receive(ota.IMAGE_PAGE_REQUEST, page(56, 150, spacing_ms=40))
    number, octets = rig.tsn, rig.data
    times = [rig.now]
    while len(octets) < 150:
        rig.expire()
        if not rig.answers:
            continue
        assert rig.answers[0].tsn == number
        octets += rig.data
        times.append(rig.now)
    assert octets == rig.image.data[56:206]
    assert times == pytest.approx([0.0, 0.04, 0.08])


@pytest.mark.parametrize(("asked_ms", "gets_s"), [(0, 0.010), (9, 0.010), (250, 0.250)])
def test_a_page_is_never_sent_closer_than_ten_milliseconds(asked_ms: int, gets_s: float) -> None:
    rig = ready()
    rig.receive(ota.IMAGE_PAGE_REQUEST, page(spacing_ms=asked_ms))
    rig.expire()
    assert rig.now == pytest.approx(gets_s)


def test_a_page_ends_with_the_file_and_with_the_next_request_of_its_device() -> None:
    rig = ready()
    rig.receive(ota.IMAGE_PAGE_REQUEST, page(960, 5000))
    assert rig.data == rig.image.data[960:]
    rig.expire()
    assert rig.answers == []  # nothing but a timer that came too soon
    rig.receive(ota.IMAGE_PAGE_REQUEST, page())
    rig.block(560)
    assert rig.data == rig.image.data[560:616]
    rig.now += 60.0
    rig.note(rig.server.handle_timeout(rig.now))
    assert rig.answers == []


def test_one_page_is_sent_at_a_time_and_who_asks_meanwhile_waits() -> None:
    rig = ready()
    rig.offer(OTHER)
    rig.receive(ota.IMAGE_PAGE_REQUEST, page(0, 560, spacing_ms=1000))
    rig.receive(ota.IMAGE_PAGE_REQUEST, page(), eui64=OTHER)
    wait = ota.parse_image_block_response(rig.answer(ota.IMAGE_BLOCK_RESPONSE).payload)
    assert wait == ota.ImageBlockWait(0, 9)


def test_a_page_of_a_displaced_image_stops_and_the_outcome_is_told() -> None:
    rig = ready()
    rig.receive(ota.IMAGE_PAGE_REQUEST, page(0, 560, spacing_ms=1000))
    rig.store.put(make_image(700))
    rig.expire()
    assert rig.answers == []
    assert rig.codes == [ResponseCode.IMAGE_DISCARDED]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (page(1000), Status.INVALID_FIELD),
        (page(size=0), Status.MALFORMED_COMMAND),
        (page(most=0), Status.MALFORMED_COMMAND),
        (page()._replace(file_version=NEW + 1), Status.NO_IMAGE_AVAILABLE),
    ],
)
def test_a_page_that_cannot_be_is_refused(request_: Any, status: Status) -> None:
    rig = ready()
    rig.receive(ota.IMAGE_PAGE_REQUEST, request_)
    assert rig.refusal == (ota.IMAGE_PAGE_REQUEST, status)
    rig.block(0)
    assert len(rig.data) == 56


def test_a_lost_block_of_a_page_is_asked_for_alone_and_pages_go_on() -> None:
    home = Home(server=OtaServerParameters(serve_pages=True))
    device = home.add(parameters=EMBER_PAGES)
    image = make_image(3000)
    home.offer(image)
    home.run_until(lambda: device.flash.written_bytes >= 480)
    home.loss = 1.0
    home.run_until(lambda: len([one for one in home.log if not one[1]]) > 16)
    home.loss = 0.0
    home.run_until_seen(NEW)
    assert device.flash.read(Slot.RUNNING) == image.data
    assert len(device.offsets) == 1
    assert device.offsets[0] % 48 == 0


def test_a_hub_without_pages_is_asked_for_none_after_it_said_so() -> None:
    home, device = updated("ember-pages")
    assert commands(home, to_server=True).count(ota.IMAGE_PAGE_REQUEST) == 1
    assert device.offsets == list(range(0, SIZE, 48))


# -- waiting -------------------------------------------------------------------------------


def test_a_hub_that_serves_nobody_for_an_hour_loses_no_update() -> None:
    home = Home()
    device = home.add(parameters=EMBER)
    home.offer(make_image(6000))
    home.run_until(lambda: len(device.offsets) == 20)
    home.server.suspend(home.now + 3600.0)
    home.run_until_seen(NEW)
    assert home.now > 3600.0
    assert len(device.offsets) < 130  # it asks again when it was told to
    assert codes(home) == [ResponseCode.SUCCESS]


def test_more_devices_than_are_served_at_a_time_wait_for_their_turn() -> None:
    home = Home(server=OtaServerParameters(max_transfers=2))
    for number in range(4):
        home.add(number, parameters=EMBER)
        home.offer(make_image(3000), number)
    home.run_until_seen(NEW)
    assert codes(home) == [ResponseCode.SUCCESS] * 4
    waited = [
        frame for _, to_server, frame in home.log if not to_server and frame[2:4] == b"\x05\x97"
    ]
    assert waited


def test_a_make_that_knows_no_waiting_counts_it_as_an_error() -> None:
    rig = ClientRig(max_errors=3, honours_wait=False)
    rig.begin()
    for _ in range(3):
        rig.receive(ota.IMAGE_BLOCK_RESPONSE, ota.ImageBlockWait(0, 100))
        if rig.last.command == ota.UPGRADE_END_REQUEST:
            break
        rig.expire()
    end = ota.parse_upgrade_end_request(rig.last.payload)
    assert end.status == Status.ABORT
    assert XBEE.honours_wait is False


# -- flash and battery ---------------------------------------------------------------------


def test_a_device_that_erases_slowly_is_late_at_every_sector_and_loses_nothing() -> None:
    home = Home()
    device = home.add(parameters=replace(EMBER, erase_s=2.0, sector_bytes=4096))
    home.offer(make_image(SIZE))
    home.run_until_seen(NEW)
    times = [now for now, _ in block_requests(home)]
    late = [
        offset
        for offset, sooner, later in zip(device.offsets[1:], times, times[1:], strict=False)
        if later - sooner > 2.0
    ]
    assert late == [4144, 8232, 12320]  # the first block behind each sector's end
    query = next(now for now, _, frame in home.log if frame[0] == 1 and frame[2] == 1)
    assert times[0] - query > 2.0


def test_a_device_with_a_low_battery_does_not_ask() -> None:
    home = Home()
    device = home.add(parameters=SLEEPY)
    device.is_battery_low = True
    home.offer(make_image())
    home.run_until(lambda: kinds(device.events))
    assert kinds(device.events) == ["battery-low"]
    assert commands(home, to_server=True) == []
    device.is_battery_low = False
    home.run_until_seen(NEW)
    assert codes(home) == [ResponseCode.SUCCESS]


def test_a_battery_that_runs_low_in_a_download_ends_it_with_abort() -> None:
    home = Home()
    device = home.add(parameters=SLEEPY)
    home.offer(make_image(6000))
    home.run_until(lambda: len(device.offsets) == 50)
    device.is_battery_low = True
    home.run_until(lambda: home.outcomes)
    assert codes(home) == [ResponseCode.FILE_TRANSFER_FAILURE]
    (failed,) = [event for event in device.events if isinstance(event, DownloadFailed)]
    assert (failed.status, failed.reason) == (Status.ABORT, "the battery is low")
    assert device.flash.running.file_version == OLD


# -- attributes, discovery -----------------------------------------------------------------


def test_the_attributes_say_what_was_downloaded_and_what_runs() -> None:
    rig = ClientRig(cluster_revision=2, verify_s=5.0)
    rig.begin()
    assert read(rig, 0x0005, 0xFFFD) == [0xFFFF, 2]
    rig.serve()
    assert read(rig, 0x0005, 0xFFFD) == [2, 2]
    home, device = updated("ember")
    device.client.start(home.now)
    body = zcl.build_read_attributes([ota.Attribute.IMAGE_STAMP])
    frame = bytes((zcl.SERVER_TO_CLIENT, 7, zcl.READ_ATTRIBUTES)) + body
    (answer,) = device.client.receive(frame, home.now)
    (record,) = zcl.parse_read_attributes_response(answer.payload[3:])  # type: ignore[union-attr]
    assert record.value is not None


def test_a_server_that_is_silent_for_ten_queries_is_looked_for_anew() -> None:
    rig = ClientRig()
    rig.start()
    events: list[Any] = []
    while not events:
        events += rig.expire()
    assert isinstance(events[0], Anomaly)
    assert events[1:] == [FindServer()]
    assert len(rig.sent) == 10
    assert rig.state is State.WAITING


# -- what a hub offers, and when it is activated -------------------------------------------


@pytest.mark.parametrize(
    ("policy", "running", "is_offered"),
    [
        ("newer", OLD, True),
        ("newer", NEW + 1, False),
        ("older", OLD, False),
        ("older", NEW + 1, True),
        ("different", NEW + 1, True),
        ("newer", ota.ANY_FILE_VERSION, True),
    ],
)
def test_the_version_policy_says_who_is_offered_an_image(
    policy: Any, running: int, is_offered: bool
) -> None:
    rig = ServerRig(version_policy=policy)
    rig.offer()
    rig.query(running)
    status = rig.answer(ota.QUERY_NEXT_IMAGE_RESPONSE).payload[0]
    assert status == (Status.SUCCESS if is_offered else Status.NO_IMAGE_AVAILABLE)
    assert rig.codes == ([] if is_offered else [ResponseCode.FILE_TRANSFER_FAILURE])


def file_query(eui64: int = DEVICE, **changes: int) -> Any:
    query = ota.QueryDeviceSpecificFileRequest(eui64, MAKER, KIND, NEW, 2)
    return query._replace(**changes)


@pytest.mark.parametrize("version", [NEW, ota.ANY_FILE_VERSION])
def test_a_file_for_one_device_is_found_by_that_device(version: int) -> None:
    rig = ServerRig(make_image(upgrade_file_destination=DEVICE))
    rig.offer()
    rig.receive(ota.QUERY_DEVICE_SPECIFIC_FILE_REQUEST, file_query(file_version=version))
    payload = rig.answer(ota.QUERY_DEVICE_SPECIFIC_FILE_RESPONSE).payload
    found = ota.parse_query_device_specific_file_response(payload)
    assert found == ota.QueryDeviceSpecificFileResponse(0, MAKER, KIND, NEW, 1000)
    rig.block(0)
    assert len(rig.data) == 56


@pytest.mark.parametrize(
    ("destination", "query"),
    [
        (None, file_query()),
        (DEVICE, file_query(OTHER)),
        (DEVICE, file_query(image_type=KIND + 1)),
        (DEVICE, file_query(file_version=NEW + 1)),
    ],
)
def test_a_file_for_one_device_is_found_by_no_other_and_by_no_other_name(
    destination: int | None, query: Any
) -> None:
    rig = ServerRig(make_image(upgrade_file_destination=destination))
    rig.offer()
    rig.receive(ota.QUERY_DEVICE_SPECIFIC_FILE_REQUEST, query)
    assert rig.answer(ota.QUERY_DEVICE_SPECIFIC_FILE_RESPONSE).payload == b"\x98"
    assert rig.codes == []


def test_a_device_left_waiting_is_released_by_a_second_word() -> None:
    rig = ServerRig(upgrade_time_s=ota.WAIT_FOR_UPGRADE_COMMAND)
    with pytest.raises(OtaServerError, match="loaded nothing it could activate"):
        rig.server.release(DEVICE)
    rig.transfer()
    rig.end()
    payload = rig.answer(ota.UPGRADE_END_RESPONSE).payload
    assert ota.parse_upgrade_end_response(payload).upgrade_time_s == 0xFFFFFFFF
    rig.note(rig.server.release(DEVICE))
    released = ota.parse_upgrade_end_response(rig.answer(ota.UPGRADE_END_RESPONSE).payload)
    assert released == ota.UpgradeEndResponse(MAKER, KIND, NEW, 0, 0)


def test_a_file_nobody_loads_leaves_the_slot_after_its_time() -> None:
    rig = ServerRig(discard_after_s=3600.0)
    rig.offer()
    rig.query()
    rig.now = 3000.0
    rig.block(0)
    while rig.store.slot is not None:
        rig.expire()
    assert rig.now == 6600.0
    assert rig.codes == [ResponseCode.IMAGE_DISCARDED]
    rig.block(56)
    assert rig.is_abort


def test_a_device_that_asked_for_another_product_is_not_offered_what_does_not_fit() -> None:
    rig = ServerRig()
    rig.query(image_type=KIND + 1)
    held = make_image(500, version=7)
    rig.store.put(held)
    rig.offer()
    assert rig.codes == [ResponseCode.HARDWARE_VERSION_MISMATCH]
    assert rig.store.slot is not None
    assert rig.store.slot.data is held.data
    rig.query(hardware=0x2000, image_type=KIND)
    rig.offer()
    assert rig.codes == [ResponseCode.HARDWARE_VERSION_MISMATCH] * 2
    rig.query()
    rig.offer()
    assert rig.store.slot.data is rig.image.data


def test_a_request_taken_before_changes_nothing_however_far_it_is() -> None:
    rig = ServerRig()
    for _ in range(3):
        rig.note(rig.server.offer(DEVICE, rig.image, rig.now, 5))
    rig.query()
    rig.end()
    assert rig.codes == [ResponseCode.SUCCESS]
    rig.note(rig.server.offer(DEVICE, rig.image, rig.now, 5))
    assert rig.answers == []
    rig.note(rig.server.offer(DEVICE, rig.image, rig.now, 6))
    assert len(rig.answers) == 1


def test_makes_differ_in_what_the_sheet_says_they_differ_in() -> None:
    assert [make.max_data_size for make in (EMBER, TI, NXP)] == [63, 32, 48]
    assert [make.block_timeout_s for make in (EMBER, TI, NXP)] == [3.0, 5.0, 5.0]
    assert (TI.resume, EMBER.resume, TI.max_end_requests) == (False, True, 2)
    assert (TI.block_period_unit_s, TI_SECONDS.block_period_unit_s) == (0.001, 1.0)
    assert NXP_PRODUCTION.max_errors == 240
    assert IDENTITY.eui64 == DEVICE
