"""ZCL frames as a peer reads them: wrong octets are named, answers find their question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import zcl_witness
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import AttributeRecord, DataType, Layout, Status, ZclFrame

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)

plain_frames = st.builds(
    lambda control, tsn, command, payload: ZclFrame(control & 0xF9, tsn, command, payload),
    U8,
    U8,
    U8,
    st.binary(max_size=80),
)
manufacturer_frames = st.builds(
    lambda frame, code: frame._replace(
        frame_control=frame.frame_control | zcl.MANUFACTURER_SPECIFIC, manufacturer_code=code
    ),
    plain_frames,
    U16,
)
values = st.sampled_from(list(DataType)).flatmap(
    lambda kind: st.tuples(
        st.just(int(kind)), st.integers(0, (1 << 8 * zcl._TYPE_OCTETS[kind]) - 1)
    )
)
records = st.one_of(
    st.builds(lambda number, value: AttributeRecord(number, 0, *value), U16, values),
    st.builds(lambda number, status: AttributeRecord(number, status), U16, st.integers(1, 0xFF)),
)


@given(st.one_of(plain_frames, manufacturer_frames))
def test_a_frame_survives_being_sent(frame: ZclFrame) -> None:
    assert zcl.parse(zcl.build(frame)) == frame


@given(st.lists(records, max_size=12))
def test_attributes_read_are_those_reported(answer: list[AttributeRecord]) -> None:
    payload = zcl.build_read_attributes_response(answer)
    assert zcl.parse_read_attributes_response(payload) == tuple(answer)


@given(st.lists(U16, max_size=20))
def test_attributes_asked_for_are_those_wanted(ids: list[int]) -> None:
    assert zcl.parse_read_attributes(zcl.build_read_attributes(ids)) == tuple(ids)


@given(st.builds(zcl.DefaultResponse, U8, U8))
def test_a_default_response_survives_being_sent(response: zcl.DefaultResponse) -> None:
    payload = zcl.build_default_response(response)
    assert zcl.parse_default_response(payload) == response


@pytest.mark.parametrize(
    "parse",
    [
        zcl.parse,
        zcl.parse_default_response,
        zcl.parse_read_attributes,
        zcl.parse_read_attributes_response,
    ],
)
@given(data=st.binary(max_size=60))
def test_no_octets_bring_a_reader_down(parse: Callable[[bytes], object], data: bytes) -> None:
    offset = 0
    try:
        parse(data)
    except zcl.ZclError as error:
        offset = error.offset
    assert 0 <= offset <= len(data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", r"at least 3 octets, this frame 0 \(octet 0\)"),
        (b"\x01\x05", r"at least 3 octets, this frame 2 \(octet 2\)"),
        (b"\x05\x21\x12\x05", r"has 5 octets, this frame 4 \(octet 4\)"),
        (b"\x02\x05\x00", r"frame type 2 is reserved \(octet 0\)"),
    ],
)
def test_a_frame_that_is_none_says_where_it_ends(data: bytes, sentence: str) -> None:
    with pytest.raises(zcl.ZclError, match=sentence):
        zcl.parse(data)


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"\x00", r"ends inside a record \(octet 0\)"),
        (b"\x02\x00\x00", r"0x0002 has no data type known here \(octet 3\)"),
        (b"\x02\x00\x00\x42\x00", r"0x0002 has no data type known here \(octet 3\)"),
        (b"\x02\x00\x00\x23\x01\x02", r"0x0002 ends inside its value \(octet 4\)"),
    ],
)
def test_a_broken_attribute_is_named(payload: bytes, sentence: str) -> None:
    with pytest.raises(zcl.ZclError, match=sentence):
        zcl.parse_read_attributes_response(payload)


def test_a_payload_cut_short_names_the_field_it_ends_in() -> None:
    layout = Layout("Example", first="B", second="H", third="I")
    with pytest.raises(zcl.ZclError, match=r"Example ends at octet 2, inside second \(octet 1\)"):
        layout.unpack(b"\x01\x02")
    with pytest.raises(zcl.ZclError, match=r"Example has 8 octets, not 7 \(octet 7\)"):
        layout.unpack_all(bytes(8))


def test_a_value_too_large_for_its_field_is_the_callers_error() -> None:
    layout = Layout("Example", first="B", second="H")
    with pytest.raises(zcl.ZclValueError, match="Example: second cannot be 65536"):
        layout.pack(1, 65536)
    with pytest.raises(zcl.ZclValueError, match="second cannot be None"):
        layout.pack(1, None)


@pytest.mark.parametrize(
    "frame",
    [
        ZclFrame(0x02, 1, 2, b""),
        ZclFrame(0x01, 1, 2, b"", 0x1021),
        ZclFrame(0x05, 1, 2, b""),
        ZclFrame(0x01, 256, 2, b""),
        ZclFrame(0x05, 1, 2, b"", 0x10000),
    ],
)
def test_a_frame_that_cannot_be_is_not_built(frame: ZclFrame) -> None:
    with pytest.raises(zcl.ZclValueError):
        zcl.build(frame)


@pytest.mark.parametrize(
    "record",
    [
        AttributeRecord(2, 0),
        AttributeRecord(2, 0, DataType.UINT8, 256),
        AttributeRecord(2, 0, DataType.UINT16, -1),
        AttributeRecord(2, 0, 0x42, 1),
        AttributeRecord(0x10000, 0x86),
    ],
)
def test_an_attribute_that_cannot_be_is_not_built(record: AttributeRecord) -> None:
    with pytest.raises(zcl.ZclValueError):
        zcl.build_read_attributes_response([record])
    with pytest.raises(zcl.ZclValueError):
        zcl.build_read_attributes([0x10000])


def test_an_answer_goes_back_with_the_number_of_its_question() -> None:
    # By hand from 2.4.1 and 2.5.12: global, from the server, no default response; 0x98 to 0x03.
    request = zcl.parse(bytes.fromhex("012A03"))
    answer = zcl.default_response_to(request, Status.NO_IMAGE_AVAILABLE)
    assert answer == bytes.fromhex("182A0B0398")
    # From the client, to a manufacturer's command: the code is kept.
    request = zcl.parse(bytes.fromhex("0D 2110 2A 07"))
    answer = zcl.default_response_to(request, Status.UNSUP_MANUF_CLUSTER_COMMAND)
    assert answer == bytes.fromhex("14 2110 2A 0B 0783")


@pytest.mark.parametrize(
    ("octets", "status"),
    [("01012A", 0x81), ("00012A", 0x82), ("052110012A", 0x83), ("042110012A", 0x84)],
)
def test_what_is_not_supported_is_refused_by_its_kind(octets: str, status: int) -> None:
    assert zcl.unsupported(zcl.parse(bytes.fromhex(octets))) == status


def test_a_default_response_is_recognised_so_that_it_is_never_answered() -> None:
    assert zcl.parse(bytes.fromhex("18010B0600")).is_default_response
    assert zcl.parse(bytes.fromhex("1C2110010B0600")).is_default_response
    assert not zcl.parse(bytes.fromhex("19010B0600")).is_default_response


def test_an_unknown_attribute_does_not_spoil_the_others() -> None:
    request = ZclFrame(zcl.SERVER_TO_CLIENT, 9, zcl.READ_ATTRIBUTES, bytes.fromhex("02000A00"))
    answer = zcl.read_attributes_response_to(request, {2: (DataType.UINT32, 0x01020304)})
    # By hand from 2.5.2: record (id, status, type, value), then (id, status).
    assert answer == bytes.fromhex("100901 02000023 04030201 0A0086")


def test_a_long_answer_stays_within_one_frame() -> None:
    request = ZclFrame(8, 9, zcl.READ_ATTRIBUTES, zcl.build_read_attributes(range(40)))
    table = {number: (DataType.EUI64, number) for number in range(40)}
    answer = zcl.read_attributes_response_to(request, table)
    assert zcl.MAX_UNFRAGMENTED_OCTETS - 12 < len(answer) <= zcl.MAX_UNFRAGMENTED_OCTETS
    assert len(zcl.parse_read_attributes_response(zcl.parse(answer).payload)) == 5


def test_a_status_without_a_name_is_still_said() -> None:
    assert zcl.status_name(0x98) == "NO_IMAGE_AVAILABLE"
    assert zcl.status_name(0xC3) == "status 0xC3"


def test_tshark_reads_general_commands(tmp_path: Path) -> None:
    request = ZclFrame(zcl.SERVER_TO_CLIENT, 9, zcl.READ_ATTRIBUTES, bytes.fromhex("02000600"))
    answer = zcl.read_attributes_response_to(
        request, {2: (DataType.UINT32, 0xDCACDCAC), 6: (DataType.ENUM8, 1)}
    )
    refusal = zcl.default_response_to(zcl.parse(bytes.fromhex("012A03")), 0x98)
    frames = [zcl.build(request), answer, refusal]
    asked, told, refused = zcl_witness.decode(ota.CLUSTER_ID, frames, tmp_path)
    assert "Command: Read Attributes (0x00)" in asked
    assert "Attribute: Current File Version (0x0002)" in asked
    assert "Status: Success (0x00)" in told
    assert "0xdcacdcac" in told
    assert "Command: Default Response (0x0b)" in refused
    assert "Ota No Image Available (0x98)" in refused
