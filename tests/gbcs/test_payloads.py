"""Payloads: read and built as published, refused with the place of what is wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from payload_strategies import KINDS, payloads_of

from gbcs.axdr import invoke_id, read_date_time
from gbcs.codes import (
    MESSAGES,
    Payload,
    build_payload,
    parse_payload,
    read_payload,
    required_protection,
    use_case,
)
from gbcs.credentials import CellUsage, ReplacementMode
from gbcs.device_log import (
    AddDevice,
    AddDeviceResult,
    DlmsResult,
)
from gbcs.envelope import Cra, parse_frame
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.firmware import (
    ActivateImageResult,
    ActivationOutcome,
    ActivationResult,
    FirmwareActivated,
    FirmwareActivation,
    FirmwareTransfer,
    FirmwareVersion,
    ReadFirmwareVersion,
    ReadResult,
    TransferResult,
    parse_firmware_activation,
    parse_firmware_version,
    parse_read_firmware_version,
    transfer_alert,
)
from gbcs.hub_log import HanStatus
from gbcs.meter_versions import VersionAttribute

NEW_YEAR = datetime(2015, 1, 1, tzinfo=UTC)

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

# RTDS 4.5.0: content octets of published frames that are not among the vectors of every reader.
PUBLISHED = {
    "CCS05CCS04 command": (
        0x0004, Cra.COMMAND, "D920000514000101006800001E0300FF040100",
    ),
    "CCS05CCS04 response": (
        0x0004,
        Cra.RESPONSE,
        "DA200005140000010102020E090800DB1234567890A00408C80FDD0FCE0F9C1102112711F7090C07DE0C1F03"
        "173200008000FF11011100116411011101020E090800DB1234567890A10408C80FDE0FCA0FB31101116011CD"
        "090C07DE0C1F03172800008000FF11011100116411011101010100",
    ),
    "CCS06 failure": (0x010F, Cra.RESPONSE, "DA2000051500000100010101"),
    "CCS07 command": (
        0x00FE, Cra.COMMAND, "D920000514000203006800001E0300FF0403006800001E0301FF04020000",
    ),
    "CCS07 response": (
        0x00FE,
        Cra.RESPONSE,
        "DA200005140000020203090C07DF0101FF000000008000FF0908000102030405060701020202090800DB1234"
        "567890A0091083FED3407A939723A5C639B26916D5060202090800DB1234567890A1091083FED3407A939723"
        "A5C639B26916D5050203090C07DF0101FF000000008000FF0908000102030405060701020202090800DB1234"
        "567890A3091000112233445566778899A1A2A3A4A5A60202090800DB1234567890A40910A1A2A3A4A5A60011"
        "22334455667788990203000300",
    ),
    "CCS07 failure": (0x00FE, Cra.RESPONSE, "DA20000515000002000002030103FA"),
    "GCS38 command": (0x0084, Cra.COMMAND, "01090101070200050000000602"),
    "GCS38 response": (0x0084, Cra.RESPONSE, "010901010702000C08000106020041040123ABCD"),
    "GCS38 failure": (0x0084, Cra.RESPONSE, "01090101070200060800010602C0"),
    "CS06 for later": (
        0x0012,
        Cra.COMMAND,
        "30370420AA758690730934FF0685AA758690730934FF0685657788990011223344556677020203E9180F3230"
        "3330303131353039303030305A",
    ),
    "CS06 accepted for later": (0x0012, Cra.RESPONSE, "0500"),
    "CS06 failure": (0x0012, Cra.RESPONSE, "300902010104040123ABCF"),
    "CS06 alert": (
        0x00CA,
        Cra.ALERT,
        "30250203008F66180F32303330303131353039303030305A020203E9300902010004040123ABCF",
    ),
    "CS02a failure": (
        0x0008,
        Cra.RESPONSE,
        "302F30250201040A0100020100301A301803020308040890B3D51F3000000204084A9CE02C39AB910B300602"
        "01030A0119",
    ),
    "CS02b accepted for later": (0x0102, Cra.RESPONSE, "30020500"),
    "CS02b alert": (
        0x00CB,
        Cra.ALERT,
        "308200DE0203008F66180F32303330303131353030303030305A308200C4020203E902010230123010020102"
        "02010030083006020100020100308200A530343007020102030207800A0100040890B3D51F30010000040844"
        "899792D196F4B8040890B3D51F30010000040843046B4FB7C4F11B30343007020102030203080A0100040890"
        "B3D51F300100000408405B8C62687D8F70040890B3D51F300100000408429667C1B8BB1E343037300A020102"
        "030203080201010A0100040890B3D51F30010000040841FB49221588C570040890B3D51F3001000004084EB0"
        "7A1BCA0DD58C",
    ),
    "GCA": (0x1000, Cra.ALERT, "0F200007D0000202128F30090C07DF0101FF000000008000FF"),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_content_is_built_again_octet_for_octet(name: str) -> None:
    code, cra, text = PUBLISHED[name]
    reading = read_payload(code, cra, bytes.fromhex(text))
    assert reading is not None
    assert build_payload(reading.value, reading.lengths).hex().upper() == text


def published_value(name: str) -> Any:
    code, cra, text = PUBLISHED[name]
    return parse_payload(code, cra, bytes.fromhex(text))


def test_what_published_content_says_is_in_its_fields() -> None:
    hub = published_value("CCS05CCS04 response")
    assert [device.average_rssi for device in hub.devices] == [-50, -54]
    assert [device.least_lqi for device in hub.devices] == [0xF7, 0xCD]
    assert read_date_time(hub.devices[0].last_communication) == datetime(
        2014, 12, 31, 23, 50, tzinfo=UTC
    )
    assert published_value("CCS06 failure") == HanStatus(1301, None, DlmsResult.HARDWARE_FAULT)
    logs = published_value("CCS07 response")
    assert logs.historic_log.devices[1].device == 0x00DB1234567890A4
    assert published_value("CCS07 failure").historic_log_result is DlmsResult.OTHER_REASON
    assert published_value("GCS38 response").attribute.firmware_version == 0x0123ABCD
    assert published_value("GCS38 failure").attribute == VersionAttribute(0xC0)
    assert published_value("CS06 alert").outcome == ActivationOutcome(
        ActivationResult.SUCCESS, 0x0123ABCF
    )
    assert published_value("CS06 accepted for later") == FirmwareActivated()
    alert = published_value("CS02b alert")
    assert alert.outcome.mode is ReplacementMode.SUPPLIER_BY_SUPPLIER
    assert alert.outcome.floors[0].specialist[0].sequence_number == 0
    assert [outcome.cell.cell_usage for outcome in alert.outcome.replacements] == [
        CellUsage.MANAGEMENT, CellUsage.MANAGEMENT, CellUsage.PREPAYMENT_TOP_UP,
    ]  # fmt: skip
    assert published_value("GCA").alert_code == 0x8F30


def test_long_lengths_are_kept_and_written_again_only_where_they_are_asked_for() -> None:
    code, cra, text = PUBLISHED["CS02b alert"]
    reading = read_payload(code, cra, bytes.fromhex(text))
    assert reading is not None
    assert set(reading.lengths) == {1, 3}
    short = build_payload(reading.value)
    assert short.hex().upper().startswith("3081DC")
    again = read_payload(code, cra, short)
    assert again is not None
    assert (again.value, again.lengths) == (reading.value, ())
    with pytest.raises(GbcsValueError, match="fewer lengths"):
        build_payload(reading.value, (*reading.lengths, 1))
    with pytest.raises(GbcsValueError, match="does not fit"):
        build_payload(reading.value, (1,))


def test_a_cell_usage_that_is_the_default_is_not_written_out() -> None:
    octets = bytes.fromhex("3011300A020104030203080201003003020104")
    with pytest.raises(GbcsError, match="authorising cell cell usage"):
        parse_payload(0x0008, Cra.COMMAND, octets)


def test_every_field_of_a_payload_knows_where_it_stands() -> None:
    code, cra, text = PUBLISHED["CS02a failure"]
    octets = bytes.fromhex(text)
    reading = read_payload(code, cra, octets, 50)
    assert reading is not None
    spans = {span.name: span for span in reading.spans}
    span = spans["parties[0].cells[0].subject_key_id"]
    at = span.offset - 50
    assert octets[at : at + span.length].hex().upper() == "04084A9CE02C39AB910B"
    assert spans["parties[1].status"].length == 3


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
        reading = read_payload(frame.message_code, frame.cra, frame.payload)
        if reading is not None:
            assert build_payload(reading.value, reading.lengths) == frame.payload, name
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


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_payload_that_is_built_reads_back_the_same(kind: type[Any]) -> None:
    (definition,) = {row.definition for row in MESSAGES.values() if kind in row.definition.kinds}

    @settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
    @given(payloads_of(kind))
    def check(payload: Any) -> None:
        octets = build_payload(payload)
        reading = definition.read(octets, 100)
        assert reading.value == payload
        assert reading.lengths == ()
        assert all(100 <= span.offset < 100 + len(octets) for span in reading.spans)

    check()


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_hostile_payloads_are_refused_with_our_error_only(octets: bytes) -> None:
    for row in MESSAGES.values():
        with contextlib.suppress(GbcsError):
            assert row.definition.build(row.definition.parse(octets)) is not None


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
        parse_read_firmware_version(b"\x05\x01\x00")


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
