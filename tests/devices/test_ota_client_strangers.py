"""What a device answers to what is no part of an update: attributes, noise, the unprotected."""

from __future__ import annotations

import pytest
from ota_rig import (
    KIND,
    MAKER,
    NEW,
    OLD,
    ClientRig,
    default_response,
    kinds,
    read,
)

from emulator.devices.ota_client import (
    Anomaly,
    State,
)
from emulator.zigbee import ota, zcl
from emulator.zigbee.ota import Attribute
from emulator.zigbee.zcl import Status


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
