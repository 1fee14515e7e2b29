"""The products and their seeded images: distinct, repeatable, signed over every octet."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.checks import check_image
from firmware_images.errors import ImageValueError
from firmware_images.header import parse_header
from firmware_images.image import FirmwareImage
from firmware_images.samples import (
    KINDS,
    MAKER_MARK,
    TRAILER_OCTETS,
    identity,
    identity_of_image,
    image_stream,
    maker_key,
    maker_key_stream,
    seeded_image,
    split_trailer,
    verify_maker,
)

KEY = maker_key(random.Random(1).getrandbits)
PUBLIC_KEY = KEY.public_key()


def sample(kind: str = "bridge-1", size_bytes: int = 4096, seed: int = 2) -> FirmwareImage:
    return seeded_image(
        identity(kind),
        file_version=0x00000002,
        size_bytes=size_bytes,
        random_bits=random.Random(seed).getrandbits,
        maker_key=KEY,
    )


def test_the_ppmid_is_the_one_of_the_published_sample(ppmid_sample: bytes) -> None:
    assert identity_of_image(parse_header(ppmid_sample)) == "ppmid"
    assert identity_of_image(parse_header(ppmid_sample), "big") == "ppmid"
    assert check_image(ppmid_sample, identity=identity("ppmid"))[0].severity == "note"


def test_a_meters_image_fits_no_product(meter_sample: bytes) -> None:
    assert identity_of_image(parse_header(meter_sample)) is None


@pytest.mark.requirement("MP170-R1", "good")
def test_no_two_products_would_take_the_same_image() -> None:
    assert KINDS == ("ppmid", "bridge-1", "bridge-2", "bridge-3", "bridge-4")
    for kind in KINDS:
        image = sample(kind)
        assert identity_of_image(image.header) == kind
        assert identity_of_image(image.header, "big") == kind
        for other in KINDS:
            findings = check_image(image.data, identity=identity(other))
            refused = any(finding.severity == "error" for finding in findings)
            assert refused == (other != kind)


def test_an_image_for_other_hardware_fits_no_product(ppmid_sample: bytes) -> None:
    data = ppmid_sample[:56] + bytes.fromhex("1211 1311") + ppmid_sample[60:]
    assert identity_of_image(parse_header(data)) is None


def test_a_model_ends_in_its_hardware_version() -> None:
    for kind in KINDS:
        product = identity(kind)
        assert len(product.model) == 8
        assert int(product.model[4:], 16) == product.hardware_version


def test_an_unknown_product_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ImageValueError, match="bridge-4"):
        identity("bridge-5")


@pytest.mark.parametrize("size_bytes", [133, 4096, 65_536, 750_000, 768_000, 768_001])
def test_an_image_has_exactly_the_size_asked_for(size_bytes: int) -> None:
    image = sample(size_bytes=size_bytes)
    assert len(image.data) == size_bytes == image.header.total_image_size_bytes
    assert verify_maker(image.data, PUBLIC_KEY) is None


@pytest.mark.parametrize("size_bytes", [-1, 0, 132, 1 << 40])
def test_an_image_without_room_or_end_is_refused(size_bytes: int) -> None:
    with pytest.raises(ImageValueError, match=f"not {size_bytes}"):
        sample(size_bytes=size_bytes)


def test_one_seed_gives_one_image() -> None:
    first = sample()
    assert sample().data == first.data
    assert sample(seed=3).data != first.data
    # Pinned on the first build: python's Mersenne Twister, this layout and RFC 6979 decide it.
    assert first.sha256.startswith("3479ccebd204")


def test_streams_are_named_alike_wherever_an_image_is_made() -> None:
    assert maker_key_stream(0xA17A) == "maker key A17A"
    assert image_stream("bridge-1") == "image bridge-1"


def test_a_key_is_drawn_once_and_from_the_whole_range() -> None:
    asked: list[int] = []

    def zeros(bits: int) -> int:
        asked.append(bits)
        return 0

    # Scalar 1: the public key is the base point of P-256 (SP 800-186, 3.2.1.3).
    point = maker_key(zeros).public_key().public_numbers()
    assert point.x == 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
    assert point.y == 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5
    assert asked == [320]
    assert maker_key(lambda bits: (1 << bits) - 1).private_numbers().private_value > 1


def test_the_maker_signs_every_octet_before_the_mark() -> None:
    data = sample().data
    assert data[-TRAILER_OCTETS:].startswith(MAKER_MARK)
    r, s = data[-64:-32], data[-32:]
    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    PUBLIC_KEY.verify(der, data[:-TRAILER_OCTETS], ec.ECDSA(SHA256()))


@pytest.mark.requirement("MP170-R1", "bad")
@given(st.integers(0, 4095), st.integers(1, 255))
def test_one_changed_octet_anywhere_is_noticed(offset: int, change: int) -> None:
    data = bytearray(sample().data)
    data[offset] ^= change
    assert verify_maker(bytes(data), PUBLIC_KEY) is not None


def test_a_cut_a_padded_and_a_foreign_image_are_told_apart_from_a_genuine_one() -> None:
    data = sample().data
    stranger = maker_key(random.Random(99).getrandbits).public_key()
    sentences = [
        verify_maker(data[:-1], PUBLIC_KEY),
        verify_maker(data + b"\0", PUBLIC_KEY),
        verify_maker(data, stranger),
        verify_maker(b"", PUBLIC_KEY),
    ]
    assert sentences == [
        "no maker's trailer ends the 4095 bytes of the image",
        "no maker's trailer ends the 4097 bytes of the image",
        "the maker's signature does not fit the first 4024 bytes of the image",
        "no maker's trailer ends the 0 bytes of the image",
    ]


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(63) + b"\1"])
def test_a_signature_out_of_range_is_a_wrong_signature(signature: bytes) -> None:
    data = sample().data[:-64] + signature
    assert "does not fit" in (verify_maker(data, PUBLIC_KEY) or "")


def test_a_trailer_is_found_without_copying_the_image() -> None:
    data = sample().data
    parts = split_trailer(memoryview(data))
    assert parts is not None
    signed, signature = parts
    assert signed.obj is data
    assert len(signed) + len(MAKER_MARK) + len(signature) == len(data)
    assert verify_maker(memoryview(data), PUBLIC_KEY) is None


def test_a_published_image_has_no_maker_trailer(ppmid_sample: bytes) -> None:
    assert split_trailer(ppmid_sample) is None


@given(st.binary(max_size=160))
def test_noise_carries_no_maker_trailer(data: bytes) -> None:
    assert split_trailer(data) is None
    signed, signature = split_trailer(data + MAKER_MARK + bytes(64)) or (None, None)
    assert signed is not None
    assert (bytes(signed), signature) == (data, bytes(64))


def test_blocks_of_an_image_differ_from_each_other() -> None:
    body = bytes(sample().body)[:-TRAILER_OCTETS]
    blocks = [body[offset : offset + 56] for offset in range(0, len(body), 56)]
    assert all(a != b for a, b in pairwise(sorted(blocks)))
