"""APS frames: golden octets, round trips, sealed frames, size budget, and hostile octets."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.zigbee import aps, mac, nwk
from emulator.zigbee.aps import ApsError, ApsFrame, TransportKey
from emulator.zigbee.security import FrameKey, SecurityError, key_load_key, key_transport_key

OCTETS = bytes.fromhex("AA4689C70BE0FAF0C9BE534ABD9F4CDC")
KEY = FrameKey(OCTETS)
EUI64 = bytes.fromhex("A2 90 78 56 34 12 DB 00")

# By hand from ZigBee 05-3474, 2.2.5.1 and 4.5.1: data, secured, acknowledgement asked; endpoint 1,
# cluster 0x0019, profile 0x0109, endpoint 1, counter 9; link key's control, counter 8198.
HEADER = bytes.fromhex("60 01 19 00 09 01 01 09")
ON_AIR = HEADER + bytes.fromhex("00 06 20 00 00")
AUTHENTICATED = HEADER + bytes.fromhex("05 06 20 00 00")
NONCE = bytes.fromhex("A2 90 78 56 34 12 DB 00 06 20 00 00 05")


def test_a_message_under_a_link_key_is_laid_out_as_the_standard_says() -> None:
    frame = aps.seal(KEY, HEADER, 8198, EUI64, b"payload")
    assert frame[:13].hex(" ") == ON_AIR.hex(" ")
    assert frame[13:] == AESCCM(OCTETS, tag_length=4).encrypt(NONCE, b"payload", AUTHENTICATED)


def psdu_octets(header: bytes, payload: bytes) -> int:
    """The length on the air of a message under both keys, MAC and FCS included."""
    message = aps.seal(KEY, header, 1, EUI64, payload)
    frame = nwk.seal_data(KEY, 1, 0, 30, 1, 1, EUI64, 0, message)
    return mac.DATA_HEADER_OCTETS + len(frame) + mac.FCS_OCTETS


def test_frames_of_a_transfer_have_the_sizes_the_budget_counts_on() -> None:
    # 3 ZCL header, 14 Image Block Response before its data, 14 Image Block Request
    assert psdu_octets(HEADER, bytes(3 + 14 + 56)) == 127
    assert psdu_octets(HEADER, bytes(3 + 14)) == 71
    assert psdu_octets(HEADER, bytes(3 + 14 + 2)) == 73
    assert psdu_octets(HEADER, bytes(3 + 14 + 8)) == 79
    assert psdu_octets(HEADER, bytes(3 + 14 + 10)) == 81
    assert psdu_octets(HEADER, b"") == 54  # the acknowledgement of either
    assert len(mac.build_ack(0)) == 5
    assert aps.MAX_PAYLOAD_OCTETS == 127 - 11 - 26 - 8


endpoints = st.integers(0, 255)
clusters = st.integers(0, 0xFFFF)


@st.composite
def aps_frames(draw: st.DrawFn) -> ApsFrame:
    kind = draw(st.sampled_from([aps.TYPE_DATA, aps.TYPE_ACK]))
    delivery = draw(
        st.sampled_from([aps.DELIVERY_UNICAST, aps.DELIVERY_BROADCAST, aps.DELIVERY_GROUP])
    )
    control = kind | delivery
    control |= draw(st.sampled_from([0, aps.SECURITY])) | draw(st.sampled_from([0, 0x40]))
    addressed = True
    if kind == aps.TYPE_ACK and draw(st.booleans()):
        control |= aps.ACK_FORMAT
        addressed = False
    group = destination = cluster = profile = source = 0
    octets = 2
    if addressed:
        if delivery == aps.DELIVERY_GROUP:
            group, octets = draw(clusters), octets + 2
        else:
            destination, octets = draw(endpoints), octets + 1
        cluster, profile, source = draw(clusters), draw(clusters), draw(endpoints)
        octets += 5
    fragmentation = block = ack_bits = 0
    if draw(st.booleans()):
        control |= aps.EXTENDED_HEADER
        fragmentation = draw(st.integers(0, 2))
        octets += 1
        if fragmentation:
            block, octets = draw(endpoints), octets + 1
            if kind == aps.TYPE_ACK:
                ack_bits, octets = draw(endpoints), octets + 1
    return ApsFrame(
        control,
        destination,
        group,
        cluster,
        profile,
        source,
        draw(endpoints),
        fragmentation,
        block,
        ack_bits,
        octets,
    )


@given(header=aps_frames(), payload=st.binary(max_size=60))
def test_what_was_built_is_read_back(header: ApsFrame, payload: bytes) -> None:
    octets = aps.build_header(header)
    assert len(octets) == header.header_octets
    read = aps.parse(octets + payload)
    assert read == header
    assert (read.frame_type, read.delivery) == (header.control & 3, header.control & 0x0C)


@given(header=aps_frames(), counter=st.integers(0, 2**32 - 1), payload=st.binary(max_size=73))
def test_what_was_sealed_opens_to_the_same(header: ApsFrame, counter: int, payload: bytes) -> None:
    octets = aps.build_header(header)
    frame = aps.seal(KEY, octets, counter, EUI64, payload)
    at = aps.parse(frame).header_octets
    assert aps.counter_of(frame, at) == counter
    assert aps.open_sealed(KEY, frame, at, EUI64) == payload
    assert len(frame) == len(octets) + aps.SECURITY_OCTETS + len(payload)
    with pytest.raises(SecurityError):
        aps.open_sealed(KEY, frame, at, bytes(8))


@settings(max_examples=60)
@given(payload=st.binary(max_size=73), data=st.data())
def test_a_sealed_message_changed_by_one_bit_does_not_open(
    payload: bytes, data: st.DataObject
) -> None:
    frame = bytearray(aps.seal(KEY, HEADER, 8198, EUI64, payload))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    octets = bytes(frame)
    try:
        header = aps.parse(octets)
        aps.counter_of(octets, header.header_octets)
    except ApsError:
        return
    if bit // 8 == 8 and bit % 8 < 3:
        return  # the level on the air means nothing: it is put back before the MIC is checked
    with pytest.raises(SecurityError):
        aps.open_sealed(KEY, octets, header.header_octets, EUI64)


@given(frame=st.binary(max_size=100))
def test_hostile_octets_raise_aps_error_or_read(frame: bytes) -> None:
    for octets in (frame, ON_AIR[:8] + frame, b"\x80" + frame):
        try:
            header = aps.parse(octets)
            assert 2 <= header.header_octets <= len(octets)
            aps.counter_of(octets, header.header_octets)
            aps.open_sealed(KEY, octets, header.header_octets, EUI64)
        except (ApsError, SecurityError):
            pass


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        ("", "empty"),
        ("40 01 19 00 09 01 01", "8 octets"),
        ("01 09 05 01 02 03 04 05 06", "type 1"),
        ("03 09 05 01 02 03 04 05 06", "type 3"),
        ("44 01 19 00 09 01 01 09", "mode 1"),
        ("08 01 19 00 09", "past the end"),
        ("0C 01", "past the end"),
        ("12", "past the end"),
        ("C0 01 19 00 09 01 01 09", "past the end"),
        ("C0 01 19 00 09 01 01 09 01", "past the end"),
        ("82 01 19 00 09 01 01 09 01 00", "past the end"),
        ("C0 01 19 00 09 01 01 09 03 00 00", "fragmentation 3"),
    ],
)
def test_a_header_nobody_sends_is_named(octets: str, sentence: str) -> None:
    with pytest.raises(ApsError, match=sentence):
        aps.parse(bytes.fromhex(octets))


def test_a_message_under_another_kind_of_key_is_named() -> None:
    with pytest.raises(ApsError, match="0x30"):
        aps.counter_of(HEADER + b"\x30" + bytes(12), 8)
    with pytest.raises(ApsError, match="MIC"):
        aps.counter_of(ON_AIR + bytes(3), 8)


LINK_KEY = b"ZigBeeAlliance09"
NETWORK = TransportKey(bytes(range(16)), 3, 0x0011223344556677, 0x00DB1234567890A2)


def transport() -> FrameKey:
    return FrameKey(key_transport_key(LINK_KEY))


def test_transport_key_is_laid_out_as_the_standard_says() -> None:
    frame = aps.seal_transport_key(transport(), NETWORK, 0x42, 0x01020304)
    # 4.4.10.1: command, secured; counter; key-transport key, extended nonce; counter; EUI-64
    clear = bytes.fromhex("21 42 30 04 03 02 01 A2 90 78 56 34 12 DB 00")
    assert frame[:15].hex(" ") == clear.hex(" ")
    nonce = EUI64 + bytes.fromhex("04 03 02 01 35")
    authenticated = clear[:2] + b"\x35" + clear[3:]
    payload = bytes.fromhex("05 01") + bytes(range(16)) + b"\x03"
    payload += bytes.fromhex("77 66 55 44 33 22 11 00 A2 90 78 56 34 12 DB 00")
    aead = AESCCM(bytes.fromhex("4BAB0F173E1434A2D572E1C1EF478782"), tag_length=4)
    assert frame[15:] == aead.encrypt(nonce, payload, authenticated)


@given(
    command=st.builds(
        TransportKey,
        st.binary(min_size=16, max_size=16),
        endpoints,
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
    ),
    counter=st.integers(0, 2**32 - 1),
)
def test_a_joiner_reads_the_key_that_was_sent(command: TransportKey, counter: int) -> None:
    frame = aps.seal_transport_key(transport(), command, 1, counter)
    assert aps.open_transport_key(transport(), frame) == (command, counter)
    for wrong in (LINK_KEY, key_load_key(LINK_KEY), key_transport_key(bytes(16))):
        with pytest.raises(SecurityError):
            aps.open_transport_key(FrameKey(wrong), frame)


@given(bit=st.integers(0, 8 * 54 - 1))
def test_a_transported_key_changed_by_one_bit_is_not_taken(bit: int) -> None:
    frame = bytearray(aps.seal_transport_key(transport(), NETWORK, 0x42, 0x01020304))
    assert len(frame) == 54
    frame[bit // 8] ^= 1 << bit % 8
    if bit // 8 == 2 and bit % 8 < 3:
        return  # the level on the air means nothing
    with pytest.raises((ApsError, SecurityError)):
        aps.open_transport_key(transport(), bytes(frame))


@given(frame=st.binary(max_size=100))
def test_hostile_key_transports_raise_only_our_errors(frame: bytes) -> None:
    for octets in (frame, bytes.fromhex("21 42 30") + frame, bytes.fromhex("21 42 38") + frame):
        with pytest.raises((ApsError, SecurityError)):
            aps.open_transport_key(transport(), octets)


def test_the_transport_of_a_link_key_is_not_taken_for_a_network_key() -> None:
    source = NETWORK.source_eui64.to_bytes(8, "little")
    clear = bytes.fromhex("21 42 30 01 00 00 00") + source
    nonce = source + bytes.fromhex("01 00 00 00 35")
    payload = bytes.fromhex("05 03") + bytes(16) + bytes(9)
    sealed = transport().seal(nonce, payload, clear[:2] + b"\x35" + clear[3:])
    with pytest.raises(ApsError, match="network key"):
        aps.open_transport_key(transport(), clear + sealed)
