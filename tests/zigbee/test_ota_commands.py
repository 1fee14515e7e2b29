"""OTA Upgrade commands as a peer reads them, with every combination of their optional fields."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zcl_witness
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee import ota, zcl
from emulator.zigbee.zcl import Status

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)
U64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)
FAILURES = st.integers(1, 0xFF)

Parser = Callable[[bytes], Any]


def made(kind: type[Any], *fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(*fields).map(lambda values: kind(*values))


def found_or_status(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(made(kind, st.just(0), U16, U16, U32, U32), made(kind, FAILURES))


COMMANDS: dict[Parser, st.SearchStrategy[Any]] = {
    ota.parse_image_notify: st.one_of(
        made(ota.ImageNotify, U8),
        made(ota.ImageNotify, U8, U16),
        made(ota.ImageNotify, U8, U16, U16),
        made(ota.ImageNotify, U8, U16, U16, U32),
    ),
    ota.parse_query_next_image_request: made(
        ota.QueryNextImageRequest, U16, U16, U32, st.none() | U16
    ),
    ota.parse_query_next_image_response: found_or_status(ota.QueryNextImageResponse),
    ota.parse_image_block_request: made(
        ota.ImageBlockRequest, U16, U16, U32, U32, U8, st.none() | U64, st.none() | U16
    ),
    ota.parse_image_page_request: made(
        ota.ImagePageRequest, U16, U16, U32, U32, U8, U16, U16, st.none() | U64
    ),
    ota.parse_image_block_response: st.one_of(
        made(ota.ImageBlockResponse, U16, U16, U32, U32, st.binary(max_size=255)),
        made(ota.ImageBlockWait, U32, U32, st.none() | U16),
        made(ota.ImageBlockRefused, FAILURES.filter(lambda s: s != Status.WAIT_FOR_DATA)),
    ),
    ota.parse_upgrade_end_request: st.one_of(
        made(ota.UpgradeEndRequest, U8, U16, U16, U32), made(ota.UpgradeEndRequest, FAILURES)
    ),
    ota.parse_upgrade_end_response: made(ota.UpgradeEndResponse, U16, U16, U32, U32, U32),
    ota.parse_query_device_specific_file_request: made(
        ota.QueryDeviceSpecificFileRequest, U64, U16, U16, U32, U16
    ),
    ota.parse_query_device_specific_file_response: found_or_status(
        ota.QueryDeviceSpecificFileResponse
    ),
}
BY_NAME = {parse.__name__.removeprefix("parse_"): parse for parse in COMMANDS}

# By hand from the layouts of the cluster library; tshark reads them below.
GOLDEN: list[tuple[int, ota.OtaCommand, str]] = [
    (0x00, ota.ImageNotify(100, 0x121D, 0x0084, 0xDCACDCAC), "0364 1D12 8400 ACDCACDC"),
    (0x01, ota.QueryNextImageRequest(0x121D, 0x0084, 1, 0x1111), "01 1D12 8400 01000000 1111"),
    (
        0x02,
        ota.QueryNextImageResponse(0, 0x121D, 0x0084, 2, 768_000),
        "00 1D12 8400 02000000 00B80B00",
    ),
    (
        0x03,
        ota.ImageBlockRequest(0x121D, 0x0084, 2, 0x10000, 56, 0x00DB1234567890A4, 250),
        "03 1D12 8400 02000000 00000100 38 A490785634 12DB00 FA00",
    ),
    (
        0x04,
        ota.ImagePageRequest(0x121D, 0x0084, 2, 0, 56, 1024, 50),
        "00 1D12 8400 02000000 00000000 38 0004 3200",
    ),
    (
        0x05,
        ota.ImageBlockResponse(0x121D, 0x0084, 2, 0, bytes.fromhex("1EF1EE0B")),
        "00 1D12 8400 02000000 00000000 04 1EF1EE0B",
    ),
    (0x05, ota.ImageBlockWait(0, 60, 1000), "97 00000000 3C000000 E803"),
    (0x05, ota.ImageBlockRefused(), "95"),
    (0x06, ota.UpgradeEndRequest(0, 0x121D, 0x0084, 2), "00 1D12 8400 02000000"),
    (
        0x07,
        ota.UpgradeEndResponse(0xFFFF, 0xFFFF, 0xFFFFFFFF, 0, 0xFFFFFFFF),
        "FFFF FFFF FFFFFFFF 00000000 FFFFFFFF",
    ),
    (
        0x08,
        ota.QueryDeviceSpecificFileRequest(0x00DB1234567890A4, 0x121D, 0xFFC0, 2, 2),
        "A490785634 12DB00 1D12 C0FF 02000000 0200",
    ),
    (0x09, ota.QueryDeviceSpecificFileResponse(0x98), "98"),
]


@pytest.mark.parametrize("name", BY_NAME)
@given(data=st.data())
def test_a_command_survives_being_sent(name: str, data: st.DataObject) -> None:
    parse = BY_NAME[name]
    command = data.draw(COMMANDS[parse])
    assert parse(ota.build(command)) == command


@pytest.mark.parametrize("name", BY_NAME)
@given(payload=st.binary(max_size=40))
def test_no_octets_bring_a_reader_down(name: str, payload: bytes) -> None:
    offset = 0
    try:
        BY_NAME[name](payload)
    except zcl.ZclError as error:
        offset = error.offset
    assert 0 <= offset <= len(payload)


@pytest.mark.parametrize("name", BY_NAME)
@given(data=st.data())
def test_a_command_cut_short_or_with_octets_behind_it_is_refused(
    name: str, data: st.DataObject
) -> None:
    parse = BY_NAME[name]
    payload = ota.build(data.draw(COMMANDS[parse]))
    end = data.draw(st.integers(0, len(payload) - 1))
    is_status_alone = name == "upgrade_end_request" and end == 1 and payload[0]
    is_wait = name == "image_block_response" and payload[0] == Status.WAIT_FOR_DATA and end == 9
    if not (is_status_alone or is_wait):
        with pytest.raises(zcl.ZclError):
            parse(payload[:end])
    is_complete = len(payload) > 1 or name != "upgrade_end_request"
    is_short_wait = name == "image_block_response" and len(payload) == 9
    with pytest.raises(zcl.ZclError):
        parse(payload + bytes(1 if is_complete or is_short_wait else 3))


@pytest.mark.parametrize(
    ("command_id", "command", "octets"), GOLDEN, ids=[type(row[1]).__name__ for row in GOLDEN]
)
def test_the_octets_on_the_air_are_those_of_the_library(
    command_id: int, command: ota.OtaCommand, octets: str
) -> None:
    assert command_id in range(10)
    assert ota.build(command) == bytes.fromhex(octets)


def test_tshark_reads_every_command(tmp_path: Path) -> None:
    to_client = {0x00, 0x02, 0x05, 0x07, 0x09}
    frames = [
        bytes((zcl.RESPONSE if number in to_client else zcl.REQUEST, 7, number))
        + ota.build(command)
        for number, command, _ in GOLDEN
    ]
    trees = zcl_witness.decode(ota.CLUSTER_ID, frames, tmp_path)
    expected = [
        ("Image Notify", "Query Jitter", "File Version: 0xdcacdcac"),
        ("Query Next Image Request", "Hardware Version: 0x1111", "File Version: 0x00000001"),
        ("Query Next Image Response", "Image Size: 768000", "File Version: 0x00000002"),
        ("Image Block Request", "File Offset: 65536", "Minimum Block Period: 250"),
        ("Image Page Request", "Page Size: 1024", "Response Spacing"),
        ("Image Block Response", "Data Size: 4", "Image Data: 1e:f1:ee:0b"),
        ("Image Block Response", "Ota Wait For Data (0x97)", "Request Time: 1 minute from now"),
        ("Image Block Response", "Abort (0x95)", ""),
        ("Upgrade End Request", "Success (0x00)", "File Version: 0x00000002"),
        ("Upgrade End Response", "Upgrade Time: Wait for upgrade command", "0xffffffff"),
        ("Query Specific File Request", "Ieee Address: 0x00db1234567890a4", "Stack"),
        ("Query Specific File Response", "Ota No Image Available (0x98)", ""),
    ]
    assert len(trees) == len(expected)
    for tree, (name, *fields) in zip(trees, expected, strict=True):
        assert f"Command: {name}" in tree
        for field in fields:
            assert field in tree


def test_a_payload_cut_short_names_the_field() -> None:
    with pytest.raises(zcl.ZclError, match=r"Image Block Request ends at octet 10, inside file_o"):
        ota.parse_image_block_request(bytes(10))
    with pytest.raises(zcl.ZclError, match=r"ends at octet 14, inside minimum_block_period"):
        ota.parse_image_block_request(b"\x02" + bytes(13))
    with pytest.raises(zcl.ZclError, match=r"says 5 data octets and has fewer \(octet 17\)"):
        ota.parse_image_block_response(bytes(13) + b"\x05abc")
    with pytest.raises(zcl.ZclError, match=r"payload type 4, 3 is the last \(octet 0\)"):
        ota.parse_image_notify(bytes((4, 100)))


@pytest.mark.parametrize(("field_control", "octets"), [(0, 14), (1, 22), (2, 16), (3, 24)])
def test_optional_fields_are_looked_for_where_field_control_says(
    field_control: int, octets: int
) -> None:
    # The minimum lengths of the library; reserved bits shift nothing.
    for reserved in (0x00, 0x80, 0xFC):
        payload = bytes((field_control | reserved,)) + bytes(octets - 1)
        request = ota.parse_image_block_request(payload)
        assert (request.request_node_address is not None) == bool(field_control & 1)
        assert (request.minimum_block_period is not None) == bool(field_control & 2)


def test_a_failed_upgrade_may_end_with_a_status_alone_but_a_good_one_may_not() -> None:
    assert ota.parse_upgrade_end_request(b"\x96") == ota.UpgradeEndRequest(0x96)
    with pytest.raises(zcl.ZclError):
        ota.parse_upgrade_end_request(b"\x00")


@pytest.mark.parametrize(
    "command",
    [
        ota.ImageNotify(100, 0x121D, None, 5),
        ota.ImageNotify(256),
        ota.QueryNextImageResponse(0),
        ota.QueryNextImageRequest(0x121D, 0x84, 1, 0x10000),
        ota.ImageBlockResponse(1, 2, 3, 4, bytes(256)),
        ota.ImageBlockRefused(Status.SUCCESS),
        ota.UpgradeEndRequest(0),
        ota.UpgradeEndRequest(0x96, 1, None, 2),
        ota.UpgradeEndResponse(1, 2, 3, 4, -1),
        ota.QueryDeviceSpecificFileRequest(1 << 64, 1, 2, 3, 4),
    ],
    ids=repr,
)
def test_a_command_that_cannot_be_is_not_built(command: ota.OtaCommand) -> None:
    with pytest.raises(zcl.ZclValueError):
        ota.build(command)
