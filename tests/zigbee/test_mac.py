"""MAC frames: golden octets, round trips, and what hostile octets may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee import mac
from emulator.zigbee.mac import Beacon, MacError, MacFrame, build, fcs, parse, parse_beacon

# By hand from IEEE 802.15.4-2006, 7.2 and 7.3; every one is decoded by tshark with a correct FCS.
BEACON_REQUEST = bytes.fromhex("03 08 2A FF FF FF FF 07")
ASSOCIATION_REQUEST = bytes.fromhex("23 C8 01 62 1A 00 00 FF FF 77 66 55 44 33 22 11 00 01 8E")
DATA_REQUEST = bytes.fromhex("63 C8 02 62 1A 00 00 77 66 55 44 33 22 11 00 04")
ASSOCIATION_RESPONSE = bytes.fromhex(
    "63 CC 03 62 1A 77 66 55 44 33 22 11 00 A2 90 78 56 34 12 DB 00 02 34 12 00"
)
ACK_7 = bytes.fromhex("02 00 07 07 C1")  # with the FCS tshark calls correct


def slow_fcs(frame: bytes) -> bytes:
    """The FCS bit by bit, as 7.2.1.9 writes it: x^16 + x^12 + x^5 + 1, lowest bit first."""
    register = 0
    for octet in frame:
        for bit in range(8):
            feedback = (register ^ octet >> bit) & 1
            register >>= 1
            if feedback:
                register ^= 0x8408
    return register.to_bytes(2, "little")


@given(frame=st.binary(max_size=127))
def test_the_fcs_is_that_of_the_standard(frame: bytes) -> None:
    assert fcs(frame) == slow_fcs(frame)


def test_the_fcs_of_known_frames() -> None:
    # CRC-16/KERMIT's published check value, and the example of 7.2.1.9
    assert fcs(b"123456789") == bytes.fromhex("8921")
    assert fcs(bytes.fromhex("02 00 56")) == slow_fcs(bytes.fromhex("02 00 56"))
    assert mac.build_ack(7) == ACK_7


def test_an_acknowledgement_has_five_octets_and_says_whether_more_is_pending() -> None:
    assert len(mac.build_ack(0)) == 5
    assert mac.ACKS[7] == ACK_7
    assert len(set(mac.ACKS)) == 256
    pending = parse(mac.build_ack(7, frame_pending=True))
    assert (pending.frame_type, pending.frame_pending, pending.sequence) == (2, True, 7)
    assert not parse(ACK_7).frame_pending


@pytest.mark.parametrize(
    ("octets", "frame"),
    [
        (
            BEACON_REQUEST,
            MacFrame(3, False, False, 0x2A, 0xFFFF, 0xFFFF, False, None, None, False, b"\x07"),
        ),
        (
            ASSOCIATION_REQUEST,
            MacFrame(
                3, True, False, 1, 0x1A62, 0, False, 0xFFFF, 0x0011223344556677, True, b"\x01\x8e"
            ),
        ),
        (
            DATA_REQUEST,
            MacFrame(3, True, False, 2, 0x1A62, 0, False, 0x1A62, 0x0011223344556677, True, b"\4"),
        ),
        (
            ASSOCIATION_RESPONSE,
            MacFrame(
                3,
                True,
                False,
                3,
                0x1A62,
                0x0011223344556677,
                True,
                0x1A62,
                0x00DB1234567890A2,
                True,
                bytes.fromhex("02 34 12 00"),
            ),
        ),
    ],
)
def test_the_frames_of_a_join_are_the_octets_of_the_standard(
    octets: bytes, frame: MacFrame
) -> None:
    assert build(frame).hex(" ") == (octets + slow_fcs(octets)).hex(" ")
    assert parse(build(frame)) == frame


@st.composite
def mac_frames(draw: st.DrawFn) -> MacFrame:
    def address() -> tuple[int | None, int | None, bool]:
        kind = draw(st.sampled_from(["none", "short", "extended"]))
        if kind == "none":
            return None, None, False
        extended = kind == "extended"
        pan = draw(st.sampled_from([0x1A62, 0x1A63, 0xFFFF]))
        return pan, draw(st.integers(0, 2**64 - 1 if extended else 0xFFFF)), extended

    return MacFrame(
        draw(st.integers(0, 3)),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(0, 255)),
        *address(),
        *address(),
        draw(st.binary(max_size=90)),
    )


@given(frame=mac_frames())
def test_what_was_built_is_read_back(frame: MacFrame) -> None:
    assert parse(build(frame)) == frame


@given(frame=mac_frames(), data=st.data())
def test_a_frame_changed_by_one_bit_is_dropped(frame: MacFrame, data: st.DataObject) -> None:
    octets = bytearray(build(frame))
    bit = data.draw(st.integers(0, 8 * len(octets) - 1))
    octets[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MacError):
        parse(bytes(octets))


@given(octets=st.binary(max_size=127))
def test_hostile_octets_raise_mac_error_or_read(octets: bytes) -> None:
    for psdu in (octets, octets + fcs(octets)):
        try:
            frame = parse(psdu)
        except MacError:
            continue
        assert len(frame.payload) <= len(psdu) - 5


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        ("", "at least 5"),
        ("03 08", "at least 5"),
        ("0B 08 2A FF FF FF FF 07", "security"),
        ("07 08 2A FF FF FF FF 07", "type 7"),
        ("03 04 2A FF FF FF FF 07", "mode 1"),
        ("03 08 2A FF FF FF", "past the end"),
        ("43 08 2A FF FF FF FF 07", "compressed"),
        ("41 80 2A FF FF FF FF 07", "compressed"),
    ],
)
def test_a_frame_no_radio_sends_is_named(octets: str, sentence: str) -> None:
    frame = bytes.fromhex(octets)
    with pytest.raises(MacError, match=sentence):
        parse(frame + fcs(frame))


# By hand from ZigBee 05-3474, 3.6.7 and figure 3.49: permit joining, coordinator, profile 2,
# version 2, router and end device capacity, depth 0, extended PAN id, no offset, update 5.
BEACON = bytes.fromhex("FF CF 00 00 00 22 84 A3 90 78 56 34 12 DB 00 FF FF FF 05")


def test_a_beacon_is_the_octets_of_the_standard() -> None:
    beacon = Beacon(True, True, 2, True, 0, True, 0x00DB1234567890A3, 5)
    assert mac.build_beacon(beacon).hex(" ") == BEACON.hex(" ")
    assert parse_beacon(BEACON) == beacon


@given(
    beacon=st.builds(
        Beacon,
        st.booleans(),
        st.booleans(),
        st.integers(0, 15),
        st.booleans(),
        st.integers(0, 15),
        st.booleans(),
        st.integers(0, 2**64 - 1),
        st.integers(0, 255),
    )
)
def test_what_a_beacon_says_is_read_back(beacon: Beacon) -> None:
    assert parse_beacon(mac.build_beacon(beacon)) == beacon


@given(payload=st.binary(max_size=40))
def test_hostile_beacons_raise_mac_error_or_read(payload: bytes) -> None:
    for octets in (payload, payload[:2] + bytes(3) + payload[:14]):
        try:
            parse_beacon(octets)
        except MacError:
            continue
        assert len(octets) == len(BEACON)


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_beacon_of_another_protocol_is_no_zigbee_beacon(at: int) -> None:
    octets = bytearray(BEACON)
    octets[at] = 1
    with pytest.raises(MacError):
        parse_beacon(bytes(octets))
