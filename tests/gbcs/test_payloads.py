"""Payloads of CS08, CS09, CCS08 and CCS01."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from gbcs_rig import TIMES, U64
from hypothesis import given, settings
from hypothesis import strategies as st

from gbcs.codes import Payload, build_payload, parse_payload, required_protection, use_case
from gbcs.device_log import (
    AddDevice,
    AddDeviceResult,
    invoke_id,
    parse_add_device,
    parse_add_device_result,
)
from gbcs.envelope import Cra, parse_frame
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.firmware import (
    ActivateImageResult,
    FirmwareActivation,
    FirmwareTransfer,
    FirmwareVersion,
    ReadFirmwareVersion,
    ReadResult,
    TransferResult,
    parse_firmware_activation,
    parse_firmware_transfer,
    parse_firmware_version,
    parse_read_firmware_version,
    transfer_alert,
)

NEW_YEAR = datetime(2015, 1, 1, tzinfo=UTC)
U32 = st.integers(0, 2**32 - 1)

# RTDS 4.5.0: CS08 success and failure, CS09 0x8F8B, CCS08 0x8F8A, CCS01 success and error; the
# content octets alone.
GOLDEN: list[tuple[str, int, Cra, Payload]] = [
    ("0500", 0x0129, Cra.COMMAND, ReadFirmwareVersion()),
    ("300904040123ABCD020100", 0x0129, Cra.RESPONSE, FirmwareVersion(0x0123ABCD)),
    ("3009040400000000020101", 0x0129, Cra.RESPONSE, FirmwareVersion(0, ReadResult.READ_FAILURE)),
    (
        "301F0203008F8B180F32303135303130313030303030305A04041234ABCD020100",
        0x012B,
        Cra.ALERT,
        FirmwareActivation(NEW_YEAR, 0x1234ABCD, ActivateImageResult.ACTIVATION_SUCCESS),
    ),
    (
        "30290203008F8A180F32303135303130313030303030305A040800DB1234567890A404040123ABCD020100",
        0x0128,
        Cra.ALERT,
        FirmwareTransfer(
            0x8F8A,
            NEW_YEAR,
            0x00DB1234567890A4,
            0x0123ABCD,
            TransferResult.FILE_TRANSFER_SUCCESS,
        ),
    ),
    (
        "D920000516000303006800001E0300FF0102006800001E0300FF0302006800001E0300FF02030204090800DB"
        "1234567890A01601091030313233343536373839414243444546160012005A03FF",
        0x0001,
        Cra.COMMAND,
        AddDevice(1302, 0x00DB1234567890A0, b"0123456789ABCDEF", 90),
    ),
    ("DA200005170000030000000303000201" + "02FA", 0x0001, Cra.RESPONSE,
     AddDeviceResult(1303, 0, 1, 250)),
]  # fmt: skip

PAYLOADS: st.SearchStrategy[Payload] = st.one_of(
    st.builds(FirmwareVersion, U32, st.sampled_from(ReadResult)),
    st.builds(FirmwareActivation, TIMES, U32, st.sampled_from(ActivateImageResult)),
    st.builds(
        FirmwareTransfer,
        st.sampled_from([0x8F89, 0x8F8A]),
        TIMES,
        U64,
        U32,
        st.sampled_from(TransferResult),
    ),
    st.builds(
        AddDevice,
        st.integers(0, 2**24 - 1),
        U64,
        st.binary(min_size=6, max_size=16),
        st.integers(0, 0xFFFF),
        st.integers(0, 255),
        st.integers(0, 255),
        st.booleans(),
    ),
    st.builds(AddDeviceResult, st.integers(0, 2**24 - 1), *[st.integers(0, 255)] * 3),
)
PARSERS: dict[type, Callable[[bytes], Payload]] = {
    ReadFirmwareVersion: parse_read_firmware_version,
    FirmwareVersion: parse_firmware_version,
    FirmwareActivation: parse_firmware_activation,
    FirmwareTransfer: parse_firmware_transfer,
    AddDevice: parse_add_device,
    AddDeviceResult: parse_add_device_result,
}


@pytest.mark.parametrize(("octets", "code", "cra", "payload"), GOLDEN)
def test_payloads_are_read_and_built_as_published(
    octets: str, code: int, cra: Cra, payload: Payload
) -> None:
    assert parse_payload(code, cra, bytes.fromhex(octets)) == payload
    assert build_payload(payload).hex().upper() == octets


def test_every_published_payload_that_is_read_is_built_again(published: dict[str, bytes]) -> None:
    read = set()
    for name, octets in published.items():
        received = parse_frame(octets)
        frame = received.frame
        payload = parse_payload(frame.message_code, frame.cra, frame.payload)
        if payload is not None:
            assert build_payload(payload) == frame.payload, name
            read.add(use_case(frame.message_code))
    assert {"CS08", "CS09", "CCS08", "CCS01"} <= read


def test_every_published_code_is_called_what_its_file_is(
    published_index: list[dict[str, str]],
) -> None:
    for row in published_index:
        name = use_case(int(row["message_code"], 16))
        assert name is not None
        # RTDS calls general alerts after the language of the meter: GNCA-DLMS.
        assert row["use_case"].startswith(name), row["file"]


def test_an_unknown_code_leaves_the_payload_as_octets() -> None:
    assert parse_payload(0x012A, Cra.COMMAND, b"\x05\x00") is None
    assert use_case(0x012A) is None
    assert required_protection(0x012A, Cra.COMMAND) is None


@settings(deadline=None)
@given(PAYLOADS)
def test_a_payload_that_is_built_reads_back_the_same(payload: Payload) -> None:
    assert PARSERS[type(payload)](build_payload(payload)) == payload


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_hostile_payloads_are_refused_with_our_error_only(octets: bytes) -> None:
    for parse in PARSERS.values():
        with contextlib.suppress(GbcsError):
            parse(octets)


@settings(deadline=None)
@given(st.sampled_from(GOLDEN), st.data())
def test_altered_payloads_are_refused_with_our_error_only(
    golden: tuple[str, int, Cra, Payload], data: st.DataObject
) -> None:
    octets = bytearray.fromhex(golden[0])
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(GbcsError):
        parse_payload(golden[1], golden[2], bytes(octets))


@pytest.mark.parametrize("golden", GOLDEN)
def test_a_payload_cut_off_or_too_long_is_refused(golden: tuple[str, int, Cra, Payload]) -> None:
    octets = bytes.fromhex(golden[0])
    for wrong in (*(octets[:end] for end in range(len(octets))), octets + b"\0"):
        with pytest.raises(GbcsError):
            parse_payload(golden[1], golden[2], wrong)


ALERT = GOLDEN[3][0]


@pytest.mark.parametrize(
    ("old", "new", "field", "offset"),
    [
        ("008F8B", "008F8A", "alert code", 2),  # CS09 with the alert of CCS08
        ("0203008F8B", "020300008B", "alert code", 2),  # an INTEGER not in its shortest form
        ("0203008F8B", "0403008F8B", "alert code", 2),
        ("5A0404", "300404", "execution date time", 7),  # no Z
        ("303130313030303030305A", "313330313030303030305A", "execution date time", 7),  # month 13
        ("32303135", "30303030", "execution date time", 7),  # year 0
        ("04041234ABCD", "04031234ABCD", "firmware version", 24),
        ("020100", "020102", "result", 30),
        ("301F", "301E", "length", 1),
    ],
)
def test_a_wrong_activation_alert_is_refused_with_the_place(
    old: str, new: str, field: str, offset: int
) -> None:
    octets = bytes.fromhex(ALERT.replace(old, new, 1))
    with pytest.raises(GbcsError) as caught:
        parse_firmware_activation(octets)
    assert caught.value.field == field
    assert caught.value.offset == offset


def test_an_offset_counts_from_the_start_of_the_frame() -> None:
    octets = bytes.fromhex(ALERT.replace("020100", "020107"))
    with pytest.raises(GbcsError) as caught:
        parse_payload(0x012B, Cra.ALERT, octets, base=34)
    assert caught.value.offset == 34 + 30


def test_long_lengths_in_a_payload_are_read() -> None:
    octets = bytes.fromhex("3082000A" + "0481040123ABCD" + "020100")
    assert parse_firmware_version(octets) == FirmwareVersion(0x0123ABCD)


def test_a_null_with_content_is_refused() -> None:
    with pytest.raises(GbcsError, match="NULL"):
        parse_read_firmware_version(b"\x05\x01")


@pytest.mark.parametrize("result", TransferResult)
def test_a_transfer_alert_has_the_code_of_its_result(result: TransferResult) -> None:
    alert = transfer_alert(1, 2, result, NEW_YEAR)
    assert alert.alert_code == (0x8F89 if result else 0x8F8A)
    assert alert.code_fits_result
    other = FirmwareTransfer(alert.alert_code ^ 0x03, NEW_YEAR, 1, 2, result)
    assert not other.code_fits_result


def test_the_invoke_id_is_the_low_part_of_the_counter() -> None:
    assert invoke_id(0x0102030405) == 0x030405


def test_a_key_is_not_shown_where_its_message_is() -> None:
    command = AddDevice(1, 2, b"0123456789ABCDEF", 90)
    assert "0123" not in repr(command)
    assert command.key.hex() not in repr(command)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FirmwareVersion(2**32),
        lambda: FirmwareActivation(datetime(2026, 1, 1), 1, ActivateImageResult.ACTIVATION_SUCCESS),
        lambda: FirmwareActivation(
            NEW_YEAR, 1, ActivateImageResult.ACTIVATION_SUCCESS, alert_code=0x8F8A
        ),
        lambda: FirmwareTransfer(0x8F8B, NEW_YEAR, 1, 1, TransferResult.FILE_TRANSFER_SUCCESS),
        lambda: AddDevice(1, 1, bytes(17), 90),
        lambda: AddDevice(1, 1, bytes(16), 0x10000),
        lambda: AddDeviceResult(1, 256),
    ],
)
def test_a_payload_that_cannot_be_is_refused_when_it_is_made(make: Callable[[], Payload]) -> None:
    with pytest.raises(GbcsValueError):
        make()
