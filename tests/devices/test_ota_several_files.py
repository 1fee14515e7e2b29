"""A device whose firmware is two files: the first is of no use without the second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ota_rig import DEVICE, IDENTITY, KIND, NEW, OLD, ClientRig, make_image, read
from test_ota_pair import Device, Home, codes

from emulator.devices.flash import Flash, FlashContents, Slot
from emulator.devices.ota_client import Activate, OtaClient, State
from emulator.devices.ota_parts import Part
from emulator.devices.ota_personalities import PERSONALITIES
from emulator.devices.ota_rules import OtaClientParameters
from emulator.devices.ota_server import OtaServerParameters, ResponseCode
from emulator.zigbee import ota, zcl
from emulator.zigbee.ota import Attribute
from emulator.zigbee.zcl import Status

SECOND = KIND + 1
SERVER = OtaServerParameters(ids_mismatch_ends_offer=False)
each = pytest.mark.parametrize("make", PERSONALITIES)


class TwoFiles(Device):
    """A device with a second processor, whose memory is its own."""

    def __init__(self, home: Home, parameters: OtaClientParameters | None = None) -> None:
        self.second = Flash(FlashContents.factory(OLD), home.pool)
        self.problem: str | None = None
        super().__init__(home, DEVICE, replace(IDENTITY, eui64=DEVICE), parameters)

    def _new_client(self) -> OtaClient:
        return OtaClient(
            self.identity,
            self.flash,
            self.parameters,
            verify=lambda flash: self.problem if flash is self.second else None,
            random_bits=self.home.random_bits,
            further=[Part(SECOND, self.second)],
        )

    def restart(self) -> None:
        self.second = Flash(self.second.contents, self.home.pool)
        self.second.boot()
        super().restart()

    def act(self, outputs: list[Any]) -> None:
        if any(isinstance(output, Activate) for output in outputs):
            self.second.mark_bootable()
        super().act(outputs)


def two_files(make: str = "ember", **options: Any) -> tuple[Home, TwoFiles]:
    home = Home(server=SERVER, **options)
    device = TwoFiles(home, PERSONALITIES[make])
    home.devices[DEVICE] = device
    device.start()
    return home, device


FIRST_FILE, SECOND_FILE = make_image(5000), make_image(3000, image_type=SECOND, version=NEW + 7)


def load_first(home: Home) -> None:
    home.offer(FIRST_FILE)
    home.run_until(lambda: home.outcomes)


@each
def test_a_file_of_no_use_without_another_is_activated_with_it_and_not_before(make: str) -> None:
    home, device = two_files(make)
    load_first(home)
    for _ in range(30):
        home.step()
    assert codes(home) == [ResponseCode.SUCCESS]
    assert device.flash.is_complete
    assert (device.flash.running.file_version, device.second.running.file_version) == (OLD, OLD)
    home.offer(SECOND_FILE)
    home.run_until(lambda: device.flash.running.file_version == NEW)
    assert codes(home) == [ResponseCode.SUCCESS] * 2
    assert device.flash.read(Slot.RUNNING) == FIRST_FILE.data
    assert device.second.read(Slot.RUNNING) == SECOND_FILE.data
    assert [one.file_version for one in device.events if isinstance(one, Activate)] == [NEW]


def test_a_device_that_waits_for_more_says_so_and_asks_for_the_next_type() -> None:
    home, device = two_files()
    load_first(home)
    home.run_until(lambda: device.client.state is State.WAITING)
    request = zcl.build_read_attributes([Attribute.IMAGE_UPGRADE_STATUS])
    (answer,) = device.client.receive(bytes((0x08, 0x55, 0x00)) + request, home.now)
    record = zcl.parse_read_attributes_response(answer.payload[3:])[0]  # type: ignore[union-attr]
    assert record.value == ota.ImageUpgradeStatus.WAIT_FOR_MORE
    asked = [
        ota.parse_query_next_image_request(frame[3:]).image_type
        for _, to_server, frame in home.log
        if to_server and frame[0] & 3 == 1 and frame[2] == ota.QUERY_NEXT_IMAGE_REQUEST
    ]
    assert asked == [KIND, SECOND]
    ends = [frame[3] for _, to, frame in home.log if to and frame[2] == ota.UPGRADE_END_REQUEST]
    assert ends == [Status.REQUIRE_MORE_IMAGE]


def test_an_answer_that_is_lost_costs_one_more_word_and_no_second_outcome() -> None:
    home, device = two_files()
    lost: list[bytes] = []

    def drop(to_server: bool, frame: bytes) -> bool:
        is_it = not to_server and frame[2:4] == bytes((zcl.DEFAULT_RESPONSE, 6))
        if is_it and not lost:
            lost.append(frame)
            return True
        return False

    home.drop = drop
    load_first(home)
    home.offer(SECOND_FILE)
    home.run_until(lambda: device.flash.running.file_version == NEW)
    assert lost
    assert codes(home) == [ResponseCode.SUCCESS] * 2


@pytest.mark.parametrize("at", [0, 1500, 3000])
def test_a_restart_between_the_files_loads_neither_of_them_again(at: int) -> None:
    home, device = two_files()
    load_first(home)
    home.offer(SECOND_FILE)
    home.run_until(lambda: device.second.is_filling and device.second.written_bytes >= at)
    before = len(device.offsets)
    device.restart()
    home.run_until(lambda: device.flash.running.file_version == NEW)
    asked = device.offsets[before:]
    assert len(asked) <= -(-3000 // 56)
    assert device.second.read(Slot.RUNNING) == SECOND_FILE.data


def test_a_second_file_that_is_wrong_activates_nothing_and_may_come_again() -> None:
    home, device = two_files()
    device.problem = "the maker did not sign it"
    load_first(home)
    home.offer(SECOND_FILE)
    home.run_until(lambda: len(home.outcomes) == 2)
    assert codes(home) == [ResponseCode.SUCCESS, ResponseCode.FILE_TRANSFER_FAILURE]
    assert device.flash.is_complete
    assert not device.second.is_filling
    device.problem = None
    home.offer(SECOND_FILE)
    home.run_until(lambda: device.flash.running.file_version == NEW)
    assert device.second.running.file_version == NEW + 7


def test_a_server_that_never_answers_is_asked_for_the_next_file_all_the_same() -> None:
    second = Flash(FlashContents.factory(OLD))
    rig = ClientRig(make_image(300))
    rig.client = OtaClient(
        IDENTITY, rig.flash, rig.parameters, verify=lambda _: None, further=[Part(SECOND, second)]
    )
    rig.begin()
    rig.serve()
    assert rig.state is State.ASKING_MORE
    assert read(rig, Attribute.IMAGE_UPGRADE_STATUS) == ota.ImageUpgradeStatus.WAIT_FOR_MORE
    for _ in range(rig.parameters.max_errors - 1):
        rig.expire()
        assert rig.last.command == ota.UPGRADE_END_REQUEST
    rig.expire()
    assert rig.last.command == ota.QUERY_NEXT_IMAGE_REQUEST
    assert ota.parse_query_next_image_request(rig.last.payload).image_type == SECOND
