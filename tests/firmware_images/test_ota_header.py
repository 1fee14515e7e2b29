"""The OTA header: read as published, kept as found, refused where its layout is uncertain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.errors import ImageError, ImageValueError
from firmware_images.header import (
    OtaHeader,
    build_header,
    header_fields,
    parse_header,
)

# Octets 0 to 59 of the published DUIS 11.4 sample image (duis-templates, 11.4_UPDATE_PPMID_...).
PUBLISHED = bytes.fromhex(
    "1EF1EE0B 0001 3C00 0400 1D12 8400 DCACDCAC 0200"
    "4920616D2061204746492050504D4944206669726D7761726520696D61676520"
    "27010000 1111 1112".replace(" ", "")
)

U16 = st.integers(0, 0xFFFF)
OPTIONAL_U8 = st.none() | st.integers(0, 0xFF)
OPTIONAL_EUI64 = st.none() | st.integers(0, 2**64 - 1)


@st.composite
def headers(draw: st.DrawFn) -> OtaHeader:
    hardware = draw(st.none() | st.tuples(U16, U16))
    low, high = hardware if hardware is not None else (None, None)
    return OtaHeader(
        manufacturer_code=draw(U16),
        image_type=draw(U16),
        file_version=draw(st.integers(0, 2**32 - 1)),
        stack_version=draw(U16),
        header_string=draw(st.binary(min_size=32, max_size=32)),
        total_image_size_bytes=draw(st.integers(0, 2**32 - 1)),
        reserved_field_control=draw(U16) & ~7,
        security_credential_version=draw(OPTIONAL_U8),
        upgrade_file_destination=draw(OPTIONAL_EUI64),
        minimum_hardware_version=low,
        maximum_hardware_version=high,
        further_octets=draw(st.binary(max_size=40)),
    )


def test_the_published_header_is_read_as_other_tools_read_it() -> None:
    header = parse_header(PUBLISHED)
    assert header == OtaHeader(
        manufacturer_code=0x121D,
        image_type=0x0084,
        file_version=0xACDCACDC,
        stack_version=2,
        header_string=b"I am a GFI PPMID firmware image ",
        total_image_size_bytes=295,
        minimum_hardware_version=0x1111,
        maximum_hardware_version=0x1211,
    )
    assert header.field_control == 0x0004
    assert header.header_length == 60
    assert header.header_text == "I am a GFI PPMID firmware image "


def test_the_published_header_is_built_octet_for_octet() -> None:
    assert build_header(parse_header(PUBLISHED)) == PUBLISHED


def test_optional_fields_stand_in_the_order_of_their_bits() -> None:
    # Laid out by hand from the field table: credential version, destination EUI-64, hardware.
    header = OtaHeader(
        manufacturer_code=1,
        image_type=2,
        file_version=3,
        security_credential_version=3,
        upgrade_file_destination=0x0011223344556677,
        minimum_hardware_version=0x0102,
        maximum_hardware_version=0x0304,
        further_octets=b"\xaa",
    )
    octets = build_header(header)
    assert octets[6:10] == bytes.fromhex("4600 0700")
    assert octets[56:] == bytes.fromhex("03 7766554433221100 0201 0403 AA")
    assert [(field.name, field.offset) for field in header_fields(header)[-5:]] == [
        ("security credential version", 56),
        ("upgrade file destination", 57),
        ("minimum hardware version", 65),
        ("maximum hardware version", 67),
        ("further header octets", 69),
    ]


@given(headers())
def test_a_header_survives_being_written_and_read(header: OtaHeader) -> None:
    octets = build_header(header)
    assert len(octets) == header.header_length
    assert parse_header(octets) == header
    assert parse_header(octets + b"body") == header


@given(headers())
def test_the_field_table_covers_the_header_without_a_gap(header: OtaHeader) -> None:
    octets = build_header(header)
    offset = 0
    for field in header_fields(header):
        assert field.offset == offset
        found = octets[offset : offset + field.length]
        if isinstance(field.value, bytes):
            assert found == field.value
        else:
            assert int.from_bytes(found, "little") == field.value
        offset += field.length
    assert offset == len(octets)


@given(st.binary(max_size=200))
def test_noise_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^noise: "):
        parse_header(data, "noise")


@given(st.binary(min_size=50, max_size=100))
def test_noise_behind_the_identifier_is_a_header_or_an_image_error(tail: bytes) -> None:
    data = PUBLISHED[:6] + tail
    place: int | None = None
    try:
        header = parse_header(data)
    except ImageError as error:
        place = error.offset
    else:
        assert build_header(header) == data[: header.header_length]
    assert place in (None, 6, len(data))


@given(st.integers(0, 59), st.integers(0, 255))
def test_one_changed_octet_is_read_back_or_refused(offset: int, value: int) -> None:
    data = bytearray(PUBLISHED)
    data[offset] = value
    refused_at: int | None = None
    try:
        header = parse_header(bytes(data))
    except ImageError as error:
        refused_at = error.offset
    else:
        assert build_header(header) == data[: header.header_length]
    # Field control and header length also decide whether the header hangs together.
    assert refused_at in (None, 0, 4, 6)


@pytest.mark.parametrize("octets", range(60))
def test_a_header_cut_short_is_refused(octets: int) -> None:
    with pytest.raises(ImageError):
        parse_header(PUBLISHED[:octets])


def test_a_header_is_read_from_the_first_octets_of_a_download() -> None:
    with pytest.raises(ImageError):
        parse_header(PUBLISHED[:56])
    assert parse_header(memoryview(PUBLISHED)).file_version == 0xACDCACDC


@pytest.mark.parametrize("version", [0x0200, 0x0101, 0xFFFF, 0x0000])
def test_a_header_of_another_version_is_refused(version: int) -> None:
    data = PUBLISHED[:4] + version.to_bytes(2, "little") + PUBLISHED[6:]
    with pytest.raises(
        ImageError, match=f"header version at offset 4 is 0x{version:04X}"
    ) as raised:
        parse_header(data)
    assert (raised.value.field, raised.value.offset) == ("header version", 4)


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (0, "the least is 56"),
        (55, "the least is 56"),
        (56, "field control 0x0004 need 60"),
        (59, "field control 0x0004 need 60"),
        (61, "the file has 60"),
        (0xFFFF, "the file has 60"),
    ],
)
def test_a_header_length_that_cannot_be_is_refused(length: int, reason: str) -> None:
    data = PUBLISHED[:6] + length.to_bytes(2, "little") + PUBLISHED[8:]
    with pytest.raises(
        ImageError, match=f"header length at offset 6 says {length} octets"
    ) as raised:
        parse_header(data)
    assert reason in str(raised.value)


def test_unknown_bits_and_octets_do_not_move_the_known_fields() -> None:
    known = parse_header(PUBLISHED)
    data = PUBLISHED[:6] + bytes.fromhex("4500 04F0") + PUBLISHED[10:] + b"extra octets"[:9]
    header = parse_header(data)
    assert header == replace(known, reserved_field_control=0xF000, further_octets=b"extra oct")
    assert build_header(header) == data


@pytest.mark.parametrize(
    "wrong",
    [
        {"manufacturer_code": 0x10000},
        {"image_type": -1},
        {"file_version": 2**32},
        {"total_image_size_bytes": 2**32},
        {"security_credential_version": 256},
        {"upgrade_file_destination": 2**64},
        {"header_version": 0x0200},
        {"reserved_field_control": 0x0004},
        {"header_string": b"short"},
        {"minimum_hardware_version": None},
        {"further_octets": bytes(0x10000)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_header_that_cannot_be_built_cannot_be_made(wrong: dict[str, int]) -> None:
    header = parse_header(PUBLISHED)
    with pytest.raises(ImageValueError):
        replace(header, **wrong)  # type: ignore[arg-type]


def test_a_device_at_either_end_of_the_hardware_range_gets_the_image() -> None:
    header = replace(
        parse_header(PUBLISHED), minimum_hardware_version=0x0100, maximum_hardware_version=0x0102
    )
    assert [v for v in range(0x00FF, 0x0104) if header.fits_hardware(v)] == [0x100, 0x101, 0x102]


def test_the_published_hardware_range_has_two_readings() -> None:
    header = parse_header(PUBLISHED)
    assert header.hardware_range() == range(0x1111, 0x1212)
    assert header.hardware_range("big") == range(0x1111, 0x1113)
    assert header.fits_hardware(0x1200)
    assert not header.fits_hardware(0x1200, "big")


def test_a_file_without_hardware_versions_is_for_any_hardware() -> None:
    header = OtaHeader(manufacturer_code=1, image_type=2, file_version=3)
    assert header.hardware_range() is None
    assert header.fits_hardware(0xFFFF)


def test_a_header_string_cannot_drive_a_terminal() -> None:
    text = b"\x1b[2J\xff\xc3\xa9 ok"
    header = OtaHeader(
        manufacturer_code=1, image_type=2, file_version=3, header_string=text.ljust(32, b"\0")
    )
    assert header.header_text == "\\x1b[2J\\xff\\xc3\\xa9 ok"
