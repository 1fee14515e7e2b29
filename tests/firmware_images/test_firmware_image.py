"""A firmware file: shared as it is, its body opaque unless read as sub-elements."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.errors import ImageError, ImageValueError
from firmware_images.header import OtaHeader, build_header
from firmware_images.image import (
    MAX_FILE_BYTES,
    FirmwareImage,
    SubElement,
    build_image,
    join_elements,
    read_image,
)

HEADER = OtaHeader(manufacturer_code=0xA17A, image_type=0x0A01, file_version=2)
# SHA-256 of the manufacturer image inside both published samples (spec sheet 4.3).
PUBLISHED_BODY_SHA256 = "7542f475e3f12eae887d81e32c46d313741d67076b13caec2f82e00ba5e1bb36"


def image_of(body: bytes) -> FirmwareImage:
    return build_image(HEADER, body)


def test_the_published_ppmid_image_is_kept_octet_for_octet(ppmid_sample: bytes) -> None:
    image = read_image(ppmid_sample, "ppmid.ota")
    assert image.data is ppmid_sample
    assert build_image(image.header, image.body).data == ppmid_sample
    assert hashlib.sha256(image.body).hexdigest() == PUBLISHED_BODY_SHA256
    assert (image.header.total_image_size_bytes, len(image.data)) == (295, 295)
    assert image.sha256.startswith("eb9bc914")
    assert image.sha256.endswith("47c32")


def test_the_published_meter_image_is_kept_octet_for_octet(meter_sample: bytes) -> None:
    image = read_image(meter_sample)
    assert build_image(image.header, image.body).data == meter_sample
    assert hashlib.sha256(image.body[:-66]).hexdigest() == PUBLISHED_BODY_SHA256
    assert image.header.image_type == 0
    assert image.sha256.startswith("c47fb1a4")


def test_a_raw_body_is_no_reason_to_refuse_a_file(ppmid_sample: bytes) -> None:
    image = read_image(ppmid_sample, "ppmid.ota")
    with pytest.raises(ImageError, match=r"^ppmid\.ota: sub-element at offset 60 ") as raised:
        image.elements()
    assert raised.value.offset == 60


def test_a_fleet_does_not_multiply_the_octets_of_an_image() -> None:
    data = image_of(bytes(1000)).data
    image = read_image(data)
    assert image.data is data
    assert image.body.obj is data


@given(st.binary(max_size=300))
def test_the_size_field_counts_the_whole_file(body: bytes) -> None:
    image = image_of(body)
    assert image.header.total_image_size_bytes == len(image.data) == 56 + len(body)
    assert read_image(image.data) == image
    assert bytes(image.body) == body


def test_a_file_beyond_memory_is_never_made() -> None:
    with pytest.raises(ImageValueError):
        image_of(bytes(MAX_FILE_BYTES - 55))


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), min_size=0, max_size=6))
def test_sub_elements_are_found_where_they_were_put(elements: list[tuple[int, bytes]]) -> None:
    image = image_of(join_elements(elements))
    found = image.elements()
    assert [
        (element.tag, image.data[element.offset : element.offset + element.length])
        for element in found
    ] == elements


def test_sub_elements_are_laid_out_as_the_format_says() -> None:
    # By hand from the format: tag u16, length u32, data; an unknown tag before the image.
    image = image_of(bytes.fromhex("00F0 02000000 ABCD 0000 03000000 010203"))
    assert image.elements() == (SubElement(0xF000, 62, 2), SubElement(0x0000, 70, 3))
    assert [element.tag_offset for element in image.elements()] == [56, 64]
    assert join_elements([(0xF000, b"\xab\xcd"), (0, b"\x01\x02\x03")]) == bytes(image.body)


@pytest.mark.parametrize(
    ("body", "offset", "reason"),
    [
        (join_elements([(0, b"image")]) + b"\0", 67, "has 1 octets of its 6-octet head"),
        (join_elements([(0, b"image")]) + bytes(5), 67, "has 5 octets of its 6-octet head"),
        (join_elements([(0, b"image")])[:-1], 56, "says 5 octets, the file has 4 left"),
        (bytes.fromhex("0000 FFFFFFFF") + b"image", 56, "says 4294967295 octets"),
        (join_elements([(0, b"x")] * 7), 98, "is one more than the 6 allowed"),
    ],
)
def test_a_broken_sub_element_is_named_with_its_place(
    body: bytes, offset: int, reason: str
) -> None:
    with pytest.raises(ImageError) as raised:
        image_of(body).elements()
    assert raised.value.offset == offset
    assert f"sub-element at offset {offset}" in str(raised.value)
    assert reason in str(raised.value)


def test_a_body_of_zeros_is_not_read_as_thousands_of_elements() -> None:
    with pytest.raises(ImageError):
        image_of(bytes(600_000)).elements()


@given(st.binary(max_size=120))
def test_hostile_files_raise_image_errors_only(tail: bytes) -> None:
    for data in (tail, build_header(HEADER) + tail, build_header(HEADER)[:8] + tail):
        try:
            image = read_image(data, "hostile")
            elements = image.elements()
        except ImageError as error:
            named, ends = error.name, [error.offset]
        else:
            named, ends = image.name, [element.offset + element.length for element in elements]
        assert named == "hostile"
        assert all(0 <= end <= len(data) for end in ends)


def test_a_tag_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageValueError):
        join_elements([(0x10000, b"")])
