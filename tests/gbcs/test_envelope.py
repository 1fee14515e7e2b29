"""Frames: read and built again, and refused with the place of what is wrong."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from gbcs_rig import gbcs_frames
from hypothesis import given, settings
from hypothesis import strategies as st

from gbcs.envelope import (
    Cra,
    Frame,
    OtherInformation,
    build_frame,
    parse_frame,
    signature_input,
)
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.streams import MAX_LENGTH

# Written by hand after the layout tables of GBCS: a CS08 command from the ACB for a user.
COMMAND = bytes.fromhex(
    "DD 0000000000 00 46 11 00000000"
    "DF 09 01 0000000000000514 08 90B3D51F30000002 08 00DB1234567890A4 00"
    "12 0129 90B3D51F30010000 00000000000003E8 02 0500 00 000102030405060708090A0B"
)
COMMAND_FIELDS = Frame(
    cra=Cra.COMMAND,
    originator_counter=1300,
    originator=0x90B3D51F30000002,
    recipient=0x00DB1234567890A4,
    other_information=OtherInformation(0x0129, 0x90B3D51F30010000, 1000),
    payload=b"\x05\x00",
    mac=bytes(range(12)),
)


def test_fields_are_read_and_built_where_the_standard_puts_them() -> None:
    received = parse_frame(COMMAND)
    assert received.frame == COMMAND_FIELDS
    assert build_frame(COMMAND_FIELDS) == COMMAND
    assert received.grouping == COMMAND[13:-12]
    assert received.signature_input == COMMAND[14:-13] == signature_input(COMMAND_FIELDS)
    assert received.payload_offset == 63
    spans = {span.name: (span.offset, span.length) for span in received.spans}
    assert spans["originator"] == (25, 8)
    assert spans["mac"] == (66, 12)


def test_every_octet_of_a_frame_belongs_to_one_field() -> None:
    end = 0
    for span in parse_frame(COMMAND).spans:
        assert span.offset == end
        end += span.length
    assert end == len(COMMAND)


def test_published_frames_are_built_again_octet_for_octet(published: dict[str, bytes]) -> None:
    for name, octets in published.items():
        received = parse_frame(octets)
        assert build_frame(received.frame) == octets, name
        assert received.frame.octet_count() == len(octets), name


def test_published_frames_say_what_their_index_says(
    published: dict[str, bytes], published_index: list[dict[str, str]]
) -> None:
    for row in published_index:
        frame = parse_frame(published[row["file"]]).frame
        assert frame.message_code == int(row["message_code"], 16), row["file"]
        assert frame.originator_counter == int(row["originator_counter"])
        assert (frame.originator, frame.recipient) == (
            int(row["originator"], 16),
            int(row["recipient"], 16),
        )
        party = frame.other_information.supplementary_remote_party_id
        assert party == (int(row["supp_remote_party_id"], 16) if party is not None else None)
        assert frame.date_time.hex() == row["date_time_hex"]
        assert len(frame.payload) == int(row["payload_len"])
        assert bool(frame.signature) == (row["signature"] == "Y")
        assert (frame.mac is not None) == (row["mac"] == "Y")


@settings(deadline=None)
@given(gbcs_frames())
def test_a_frame_that_is_built_reads_back_the_same(frame: Frame) -> None:
    octets = build_frame(frame)
    received = parse_frame(octets)
    assert received.frame == frame
    assert frame.octet_count() == len(octets)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_hostile_octets_are_refused_with_our_error_only(octets: bytes) -> None:
    for hostile in (octets, COMMAND[:14] + octets, COMMAND[13:43] + octets):
        with contextlib.suppress(GbcsError):
            parse_frame(hostile)


@settings(deadline=None)
@given(st.data())
def test_a_frame_with_altered_octets_is_refused_with_our_error_only(data: st.DataObject) -> None:
    octets = bytearray(COMMAND)
    for at, octet in data.draw(
        st.lists(st.tuples(st.integers(0, len(octets) - 1), st.integers(0, 255)), max_size=4)
    ):
        octets[at] = octet
    with contextlib.suppress(GbcsError):
        frame = parse_frame(bytes(octets)).frame
        assert parse_frame(build_frame(frame)).frame == frame


def test_a_cut_off_frame_is_never_taken_for_whole() -> None:
    for end in range(len(COMMAND)):
        with pytest.raises(GbcsError):
            parse_frame(COMMAND[:end])
    with pytest.raises(GbcsError):
        parse_frame(COMMAND + b"\0")


@pytest.mark.parametrize(
    ("at", "octets", "field", "offset"),
    [
        (0, "DE", "grouping tag", 0),
        (1, "01", "empty fields", 1),  # a block of a longer frame
        (3, "01", "empty fields", 1),
        (6, "01", "key info", 6),
        (7, "45", "length", 7),
        (8, "31", "security control", 8),
        (12, "01", "invocation counter", 9),
        (14, "08", "transaction id length", 14),
        (15, "04", "cra flag", 15),
        (24, "07", "originator length", 24),
        (42, "01", "date time", 42),
        (43, "03", "payload", 47),
        (62, "80", "payload", 62),  # indefinite length
        (62, "84", "payload", 62),
        (65, "01", "signature", 65),
    ],
)
def test_a_broken_frame_is_refused_with_the_place(
    at: int, octets: str, field: str, offset: int
) -> None:
    new = bytes.fromhex(octets)
    with pytest.raises(GbcsError) as caught:
        parse_frame(COMMAND[:at] + new + COMMAND[at + len(new) :])
    assert (caught.value.field, caught.value.offset) == (field, offset)
    assert f"at offset {offset}" in str(caught.value)


def test_long_lengths_are_read_and_short_ones_written() -> None:
    # The payload's length 02 as 82 0002, the originator's 08 as 81 08; the MAC header counts them.
    bare = COMMAND[13:-12]
    long = bare[:11] + b"\x81\x08" + bare[12:49] + b"\x82\x00\x02" + bare[50:]
    received = parse_frame(long)
    assert received.frame == replace(COMMAND_FIELDS, mac=None)
    assert build_frame(received.frame) == bare
    # What was sent is what is protected.
    assert received.grouping == long
    assert received.signature_input == long[1:-1]


@settings(deadline=None)
@given(gbcs_frames(), st.data())
def test_a_frame_is_built_again_with_whatever_lengths_it_had(
    frame: Frame, data: st.DataObject
) -> None:
    shortest = parse_frame(build_frame(frame))
    assert shortest.lengths == ()
    count = 6 + (frame.signature is not None) + (frame.mac is not None)
    forms = tuple(data.draw(st.lists(st.sampled_from([1, 2, 3]), min_size=count, max_size=count)))
    try:
        octets = build_frame(frame, forms)
    except GbcsValueError:
        return  # a length of more than a form holds
    received = parse_frame(octets)
    assert received.frame == frame
    assert build_frame(received.frame, received.lengths) == octets
    assert received.lengths in ((), forms)


def test_lengths_that_do_not_fit_a_frame_are_refused() -> None:
    bare = replace(COMMAND_FIELDS, mac=None)
    with pytest.raises(GbcsValueError, match="fewer lengths"):
        build_frame(bare, (1,) * 8)
    with pytest.raises(GbcsValueError, match="does not fit"):
        build_frame(replace(bare, payload=bytes(200)), (1,) * 7)


def test_a_pre_command_ends_behind_its_payload() -> None:
    octets = COMMAND[13:-13]
    received = parse_frame(octets)
    assert received.frame.signature is None
    assert build_frame(received.frame) == octets


def test_a_mac_over_no_signature_length_is_refused() -> None:
    octets = bytearray(COMMAND[:65] + COMMAND[66:])
    octets[7] -= 1
    with pytest.raises(GbcsError, match="signature"):
        parse_frame(bytes(octets))


@pytest.mark.parametrize("length", [2, 10, 18, 26])
def test_each_form_of_other_information_has_its_own_length(length: int) -> None:
    octets = bytes(range(length))
    bare = bytearray(COMMAND[13:43] + bytes([length]) + octets + COMMAND[62:66])
    other = parse_frame(bytes(bare)).frame.other_information
    there = [
        other.supplementary_remote_party_id,
        other.supplementary_remote_party_counter,
        other.supplementary_originator_counter,
    ]
    assert sum(value is not None for value in there) == (length - 2) // 8
    assert other.message_code == 0x0001


@pytest.mark.parametrize("other", ["", "01", "012930", "0129" + 16 * "00" + "300500"])
def test_other_information_of_another_length_is_refused(other: str) -> None:
    octets = bytes.fromhex(other)
    bare = COMMAND[13:43] + bytes([len(octets)]) + octets + COMMAND[62:66]
    with pytest.raises(GbcsError) as caught:
        parse_frame(bare)
    assert (caught.value.field, caught.value.offset) == ("other information", 30)


def test_a_key_agreement_certificate_follows_party_and_counter(
    published: dict[str, bytes],
) -> None:
    octets = published["ECS21b_4.14_URP_SUCCESS_COMMAND_GBCS.HEX"]
    other = parse_frame(octets).frame.other_information
    assert other.supplementary_remote_party_counter == 1004
    assert other.key_agreement_certificate[:2] == b"\x30\x82"
    assert len(other.key_agreement_certificate) == 424 - 18


@pytest.mark.parametrize(
    "change",
    [
        {"originator_counter": 2**64},
        {"originator": -1},
        {"date_time": b"\0"},
        {"signature": bytes(63)},
        {"mac": bytes(11)},
        {"signature": None},
        {"payload": bytes(MAX_LENGTH)},
        {"payload": bytes(MAX_LENGTH + 1)},
    ],
)
def test_a_frame_that_cannot_be_is_refused_when_it_is_made(change: dict[str, object]) -> None:
    with pytest.raises(GbcsValueError):
        replace(COMMAND_FIELDS, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        (0x10000,),
        (1, None, 5),
        (1, 5, None, 5),
        (1, 2**64),
        (1, 5, None, None, b"\x30\x00"),
        (1, 5, 6, None, b"\x30\x08" + bytes(7)),
        (1, 5, 6, None, b"\x30\x06" + bytes(6)),  # it would read as a counter
    ],
)
def test_other_information_that_cannot_be_is_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(GbcsValueError):
        OtherInformation(*arguments)  # type: ignore[arg-type]


def test_a_frame_above_the_longest_is_refused() -> None:
    frame = replace(COMMAND_FIELDS, payload=b"", mac=None)
    largest = replace(frame, payload=bytes(MAX_LENGTH - frame.octet_count() - 2))
    octets = build_frame(largest)
    assert len(octets) == MAX_LENGTH
    assert parse_frame(octets).frame == largest
    with pytest.raises(GbcsValueError, match="at most"):
        replace(largest, payload=largest.payload + b"\0")
    with pytest.raises(GbcsError, match="at most"):
        parse_frame(octets + b"\0")
