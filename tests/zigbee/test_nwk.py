"""NWK frames: golden octets, round trips, sealed frames, and hostile octets."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.zigbee import nwk
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.security import FrameKey, SecurityError

OCTETS = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
KEY = FrameKey(OCTETS)
EUI64 = bytes.fromhex("A2 90 78 56 34 12 DB 00")

# By hand from ZigBee 05-3474, 3.3.1 and 4.5.1: data, version 2, discover route, secured; to 0x1234
# from 0x0000, radius 30, sequence 7; security control, counter 4101, EUI-64, key sequence 0.
HEADER = bytes.fromhex("48 02 34 12 00 00 1E 07")
ON_AIR = HEADER + bytes.fromhex("28 05 10 00 00 A2 90 78 56 34 12 DB 00 00")
AUTHENTICATED = HEADER + bytes.fromhex("2D 05 10 00 00 A2 90 78 56 34 12 DB 00 00")
NONCE = bytes.fromhex("A2 90 78 56 34 12 DB 00 05 10 00 00 2D")


def test_a_secured_frame_is_laid_out_as_the_standard_says() -> None:
    frame = nwk.seal_data(KEY, 0x1234, 0x0000, 30, 7, 4101, EUI64, 0, b"payload")
    assert frame[:22].hex(" ") == ON_AIR.hex(" ")
    # nonce and authenticated octets with the security level put back, by another path
    assert frame[22:] == AESCCM(OCTETS, tag_length=4).encrypt(NONCE, b"payload", AUTHENTICATED)
    assert len(frame) == 26 + len(b"payload")


def test_a_frame_with_any_header_is_sealed_the_same_way() -> None:
    frame = nwk.seal(KEY, HEADER, 4101, EUI64, 0, b"payload")
    assert frame == nwk.seal_data(KEY, 0x1234, 0x0000, 30, 7, 4101, EUI64, 0, b"payload")


class Sealed(NamedTuple):
    header: NwkFrame
    counter: int
    source_eui64: bytes
    key_sequence: int
    payload: bytes


addresses = st.integers(0, 0xFFFF)
euis = st.none() | st.integers(0, 2**64 - 1)


@st.composite
def nwk_frames(draw: st.DrawFn) -> NwkFrame:
    control = draw(st.sampled_from([0, 1])) | nwk.PROTOCOL_VERSION
    control |= draw(st.sampled_from([0, nwk.DISCOVER_ROUTE]))
    control |= draw(st.sampled_from([0, nwk.SECURITY]))
    destination_ieee, source_ieee = draw(euis), draw(euis)
    relays = tuple(draw(st.lists(addresses, max_size=6)))
    control |= nwk.DESTINATION_IEEE if destination_ieee is not None else 0
    control |= nwk.SOURCE_IEEE if source_ieee is not None else 0
    control |= nwk.SOURCE_ROUTE if relays else 0
    octets = 8 + 8 * (destination_ieee is not None) + 8 * (source_ieee is not None)
    octets += 2 + 2 * len(relays) if relays else 0
    return NwkFrame(
        control,
        draw(addresses),
        draw(addresses),
        draw(st.integers(0, 255)),
        draw(st.integers(0, 255)),
        destination_ieee,
        source_ieee,
        relays,
        octets,
    )


sealed_frames = st.builds(
    Sealed,
    nwk_frames(),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=8, max_size=8),
    st.integers(0, 255),
    st.binary(max_size=82),
)


@given(header=nwk_frames(), payload=st.binary(max_size=60))
def test_what_was_built_is_read_back(header: NwkFrame, payload: bytes) -> None:
    octets = nwk.build_header(header)
    assert len(octets) == header.header_octets
    read = nwk.parse(octets + payload)
    assert read == header
    assert read.frame_type == header.control & 3
    assert read.secured == bool(header.control & nwk.SECURITY)


@given(sealed=sealed_frames)
def test_what_was_sealed_opens_to_the_same(sealed: Sealed) -> None:
    octets = nwk.build_header(sealed.header)
    frame = nwk.seal(
        KEY, octets, sealed.counter, sealed.source_eui64, sealed.key_sequence, sealed.payload
    )
    at = nwk.parse(frame).header_octets
    assert nwk.parse_auxiliary(frame, at) == (
        sealed.counter,
        sealed.source_eui64,
        sealed.key_sequence,
    )
    assert nwk.open_sealed(KEY, frame, at, sealed.source_eui64) == sealed.payload
    assert len(frame) == len(octets) + 18 + len(sealed.payload)
    with pytest.raises(SecurityError):
        nwk.open_sealed(FrameKey(bytes(16)), frame, at, sealed.source_eui64)


@settings(max_examples=60)
@given(payload=st.binary(max_size=82), data=st.data())
def test_a_sealed_frame_changed_by_one_bit_does_not_open(
    payload: bytes, data: st.DataObject
) -> None:
    frame = bytearray(nwk.seal_data(KEY, 0x1234, 0, 30, 7, 4101, EUI64, 0, payload))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    octets = bytes(frame)
    try:
        header = nwk.parse(octets)
        auxiliary = nwk.parse_auxiliary(octets, header.header_octets)
    except NwkError:
        return
    if bit // 8 == 8 and bit % 8 < 3:
        return  # the level on the air means nothing: it is put back before the MIC is checked
    with pytest.raises(SecurityError):
        nwk.open_sealed(KEY, octets, header.header_octets, auxiliary.source_eui64)


@given(frame=st.binary(max_size=116))
def test_hostile_octets_raise_nwk_error_or_read(frame: bytes) -> None:
    versioned = bytes((frame[0] & 0xC3 | nwk.PROTOCOL_VERSION,)) + frame[1:] if frame else frame
    for octets in (frame, versioned, ON_AIR[:12] + frame):
        try:
            header = nwk.parse(octets)
            assert 8 <= header.header_octets <= len(octets)
            auxiliary = nwk.parse_auxiliary(octets, header.header_octets)
            nwk.open_sealed(KEY, octets, header.header_octets, auxiliary.source_eui64)
        except (NwkError, SecurityError):
            pass


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        ("", "8 octets"),
        ("48 02 34 12 00 00 1E", "8 octets"),
        ("44 02 34 12 00 00 1E 07", "version 1"),
        ("08 08 34 12 00 00 1E 07 01 02 03", "EUI-64"),
        ("08 10 34 12 00 00 1E 07 01 02 03", "EUI-64"),
        ("08 04 34 12 00 00 1E 07", "source route"),
        ("08 04 34 12 00 00 1E 07 02 01 11 11", "source route"),
        ("08 01 34 12 00 00 1E 07", "past the end"),
    ],
)
def test_a_header_cut_short_is_named(octets: str, sentence: str) -> None:
    with pytest.raises(NwkError, match=sentence):
        nwk.parse(bytes.fromhex(octets))


def test_a_frame_under_another_key_than_the_networks_is_named() -> None:
    frame = ON_AIR[:8] + b"\x00" + ON_AIR[9:] + bytes(4)  # a link key's security control
    with pytest.raises(NwkError, match="0x00"):
        nwk.parse_auxiliary(frame, 8)
    with pytest.raises(NwkError, match="MIC"):
        nwk.parse_auxiliary(ON_AIR + bytes(3), 8)
