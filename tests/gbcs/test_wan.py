"""What crosses the SM WAN: the same on both sides, and nothing it must not say."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import fields

import pytest
from gbcs_rig import U64
from hypothesis import given, settings
from hypothesis import strategies as st

from gbcs.errors import GbcsError, GbcsValueError
from gbcs.wan import (
    MAX_IMAGE_BYTES,
    CommandForDevice,
    DeliveryOutcome,
    DeliveryResult,
    DeviceLogEntry,
    DeviceType,
    ImageOffer,
    MessageFromDevice,
    WanMessage,
    parse_message,
    serialise,
)

FRAMES = st.binary(min_size=1, max_size=200)
MESSAGES: st.SearchStrategy[WanMessage] = st.one_of(
    st.builds(CommandForDevice, U64, U64, U64, FRAMES),
    st.builds(MessageFromDevice, U64, U64, FRAMES),
    st.builds(
        ImageOffer,
        U64,
        U64,
        st.lists(U64, min_size=1, max_size=6, unique=True).map(tuple),
        st.binary(min_size=1, max_size=400),
    ),
    st.builds(DeliveryOutcome, U64, U64, U64, st.sampled_from(DeliveryResult)),
    st.builds(DeviceLogEntry, U64, U64, st.sampled_from(DeviceType)),
)

HUB, DEVICE = 0x00DB1234567890A2, 0x00DB1234567890A4
# Ours, version 1, written by hand after the table in gbcs/wan.py.
GOLDEN: list[tuple[str, WanMessage]] = [
    (
        "4842574D0101" + "00DB1234567890A2" + "00DB1234567890A4"
        "0000000000000007" + "0003" + "DF0901",
        CommandForDevice(HUB, DEVICE, 7, b"\xdf\x09\x01"),
    ),
    ("4842574D0102" + "00DB1234567890A2" + "00DB1234567890A4" + "0001" + "DF",
     MessageFromDevice(HUB, DEVICE, b"\xdf")),
    ("4842574D0103" + "00DB1234567890A2" + "0000000000000008" + "01" + "00DB1234567890A4"
     "00000002" + "1EF1"
     "742A5E51D09A650D0A4279572FB8E7D8281D62396F3F7C43BDC82AF52396937F",
     ImageOffer(HUB, 8, (DEVICE,), b"\x1e\xf1")),
    ("4842574D0104" + "00DB1234567890A2" + "00DB1234567890A4" + "0000000000000007" + "02",
     DeliveryOutcome(HUB, DEVICE, 7, DeliveryResult.UNREACHABLE)),
    ("4842574D0105" + "00DB1234567890A2" + "00DB1234567890A4" + "05",
     DeviceLogEntry(HUB, DEVICE, DeviceType.PPMID)),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "message"), GOLDEN)
def test_messages_have_the_octets_that_are_written_down(octets: str, message: WanMessage) -> None:
    assert serialise(message).hex().upper() == octets
    assert parse_message(bytes.fromhex(octets)) == message


@settings(deadline=None)
@given(MESSAGES)
def test_a_message_arrives_as_it_was_sent(message: WanMessage) -> None:
    octets = serialise(message)
    assert parse_message(octets) == message
    assert serialise(parse_message(octets)) == octets


@settings(deadline=None)
@given(st.binary(max_size=100), MESSAGES, st.data())
def test_hostile_messages_are_refused_with_our_error_only(
    octets: bytes, message: WanMessage, data: st.DataObject
) -> None:
    altered = bytearray(serialise(message))
    altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    for hostile in (octets, b"HBWM\x01" + octets, bytes(altered)):
        with contextlib.suppress(GbcsError):
            assert serialise(parse_message(hostile)) == hostile


@pytest.mark.parametrize("golden", GOLDEN)
def test_a_message_cut_off_or_too_long_is_refused(golden: tuple[str, WanMessage]) -> None:
    octets = bytes.fromhex(golden[0])
    for wrong in (*(octets[:end] for end in range(len(octets))), octets + b"\0"):
        with pytest.raises(GbcsError):
            parse_message(wrong)


@pytest.mark.parametrize(
    ("at", "octet", "field"),
    [(0, 0, "mark"), (4, 2, "version"), (5, 0, "kind"), (5, 6, "kind"), (22, 7, "device_type")],
)
def test_a_message_we_do_not_know_is_refused_with_the_place(
    at: int, octet: int, field: str
) -> None:
    octets = bytearray.fromhex(GOLDEN[4][0])
    octets[at] = octet
    with pytest.raises(GbcsError) as caught:
        parse_message(bytes(octets))
    assert (caught.value.field, caught.value.offset) == (field, at)


def test_an_offer_that_names_a_device_twice_or_none_is_refused() -> None:
    octets = bytes.fromhex(GOLDEN[2][0])
    none = octets[:22] + b"\0" + octets[31:]
    twice = octets[:22] + b"\2" + 2 * octets[23:31] + octets[31:]
    for wrong in (none, twice):
        with pytest.raises(GbcsError):
            parse_message(wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CommandForDevice(HUB, 2**64, 1, b"\0"),
        lambda: CommandForDevice(HUB, DEVICE, 1, b""),
        lambda: MessageFromDevice(HUB, DEVICE, bytes(0x10000)),
        lambda: ImageOffer(HUB, 1, (), b"\0"),
        lambda: ImageOffer(HUB, 1, (DEVICE, DEVICE), b"\0"),
        lambda: ImageOffer(HUB, 1, (DEVICE,), b"\0", bytes(31)),
        lambda: ImageOffer(HUB, 1, (DEVICE,), bytes(MAX_IMAGE_BYTES + 1)),
    ],
)
def test_a_message_that_cannot_be_is_refused_when_it_is_made(
    make: Callable[[], WanMessage],
) -> None:
    with pytest.raises(GbcsValueError):
        make()


def test_no_message_has_room_for_a_variant_or_a_key() -> None:
    names = {
        field.name
        for kind in (
            CommandForDevice,
            MessageFromDevice,
            ImageOffer,
            DeliveryOutcome,
            DeviceLogEntry,
        )
        for field in fields(kind)
    }
    assert names == {
        "hub", "device", "reference", "frame", "devices", "image", "sha256", "result",
            "device_type",
    }  # fmt: skip
