"""The 46 kinds of damage: each another file, each the same for a seed, each what its name says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.checks import check_image
from firmware_images.damage import DAMAGE_NAMES, DAMAGES, damage_image, find_damage
from firmware_images.errors import ImageError, ImageValueError
from firmware_images.header import parse_header
from firmware_images.image import FirmwareImage, read_image
from firmware_images.samples import (
    identity,
    maker_key,
    seeded_image,
    sign_again,
    split_trailer,
    verify_maker,
)

RUNNING, NEW = 0x00010100, 0x00010200
CASES = [(kind.name, variant) for kind in DAMAGES.values() for variant in kind.variants]
cases = pytest.mark.parametrize(("name", "variant"), CASES)
KEY = maker_key(random.Random("maker").getrandbits)


def image(size_bytes: int = 4096, kind: str = "ppmid") -> FirmwareImage:
    return seeded_image(
        identity(kind),
        file_version=NEW,
        size_bytes=size_bytes,
        random_bits=random.Random(size_bytes).getrandbits,
        maker_key=KEY,
    )


def damaged(name: str, variant: str | None = None, *, seed: int = 1, data: bytes = b"") -> bytes:
    return damage_image(
        data or image().data,
        name,
        variant,
        random_bits=random.Random(seed).getrandbits,
        running=RUNNING,
    )


def error_of(data: bytes, **who: int) -> str:
    """The field of the first error that the checks find; empty when there is none."""
    findings = [one for one in check_image(data, **who) if one.severity == "error"]
    return findings[0].field if findings else ""


def test_there_are_46_kinds_in_the_order_of_the_sheet() -> None:
    assert [kind.number for kind in DAMAGES.values()] == list(range(1, 47))
    assert (DAMAGE_NAMES[0], DAMAGE_NAMES[36], DAMAGE_NAMES[45]) == (
        "empty",
        "flipped-bit",
        "other-body",
    )
    assert all(len(kind.what) <= 60 for kind in DAMAGES.values())


@cases
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(500, 5000))
def test_a_damaged_file_is_another_file_and_the_same_for_the_same_seed(
    name: str, variant: str, seed: int, size: int
) -> None:
    original = image(size).data
    once = damaged(name, variant, seed=seed, data=original)
    assert once != original
    assert damaged(name, variant, seed=seed, data=original) == once


@cases
def test_the_published_sample_can_be_damaged_too(
    name: str, variant: str, ppmid_sample: bytes
) -> None:
    if variant == "maker":
        with pytest.raises(ImageValueError, match="no maker's trailer"):
            damaged(name, variant, data=ppmid_sample)
    else:
        assert damaged(name, variant, data=ppmid_sample) != ppmid_sample


# What the checks of a head end or a hub say first; kinds not here are no error to them.
FIELDS = {
    "empty": "file",
    "magic": "file identifier",
    "header-version": "header version",
    "header-length-short": "header length",
    "header-length-fields": "header length",
    "header-length-beyond": "header length",
    "size-less": "total image size",
    "size-more": "total image size",
    "size-zero": "total image size",
    "size-huge": "total image size",
    "size-without-header": "total image size",
    "version-wildcard": "file version",
    "hardware-inverted": "minimum hardware version",
    "credential-version": "security credential version",
    "container": "file identifier",
    "cut-short": "total image size",
}


@cases
def test_the_checks_name_the_field_that_was_damaged_and_no_other(name: str, variant: str) -> None:
    expected = "file" if (name, variant) == ("size-cap", "over") else FIELDS.get(name, "")
    assert error_of(damaged(name, variant)) == expected


ELEMENTS = [name for name in DAMAGE_NAMES if name.startswith("element-")]


@pytest.mark.parametrize("name", ELEMENTS)
def test_strict_checks_find_what_is_wrong_with_sub_elements(name: str) -> None:
    errors = [one for one in check_image(damaged(name), strict=True) if one.severity == "error"]
    assert bool(errors) == (name not in ("element-reserved", "element-manufacturer"))


def test_strict_checks_find_misplaced_and_doubled_signatures() -> None:
    for name in ("signature-not-last", "signature-both"):
        (error,) = [
            one for one in check_image(damaged(name), strict=True) if one.severity == "error"
        ]
        assert "signature" in error.sentence


@pytest.mark.parametrize("part", ["first", "middle", "last"])
def test_a_flipped_bit_is_one_bit_of_the_body(part: str) -> None:
    original = image().data
    changed = damaged("flipped-bit", part)
    places = [at for at, octet in enumerate(original) if octet != changed[at]]
    assert len(changed) == len(original)
    assert len(places) == 1
    assert (original[places[0]] ^ changed[places[0]]).bit_count() == 1
    begin, end = {"first": (60, 116), "middle": (2050, 2150), "last": (4040, 4096)}[part]
    assert begin <= places[0] < end


def test_sizes_are_what_the_variant_says() -> None:
    sizes = {"kib": 768_000, "kb": 750_000, "over": 768_001}
    assert {one: len(damaged("size-cap", one)) for one in sizes} == sizes
    rests = {"none": 0, "one": 1, "all-but-one": 55}
    assert {one: len(damaged("tail", one)) % 56 for one in rests} == rests
    assert len(damaged("tail", "small")) == 57
    assert len(damaged("beyond-64-kib", "edge")) == 65536


def test_versions_are_set_against_the_one_that_runs() -> None:
    assert parse_header(damaged("version-running")).file_version == RUNNING
    assert parse_header(damaged("version-older")).file_version == RUNNING - 1


def test_a_file_of_an_unknown_header_field_keeps_its_body() -> None:
    extended = read_image(damaged("header-length-extra"))
    assert extended.header.header_length == 69
    assert extended.header.field_control == 0
    assert extended.body == image().body


def test_hardware_bounds_are_inclusive_and_an_excluded_range_excludes() -> None:
    low = parse_header(damaged("hardware-bounds", "lower"))
    high = parse_header(damaged("hardware-bounds", "upper"))
    assert (low.minimum_hardware_version, high.maximum_hardware_version) == (0x1111, 0x1111)
    assert low.maximum_hardware_version != high.minimum_hardware_version
    assert not parse_header(damaged("hardware-excluded")).fits_hardware(0x1111)


def test_what_the_maker_made_otherwise_can_be_signed_again() -> None:
    for name in ("header-string", "tail", "erased-body", "manufacturer-code"):
        data = damaged(name)
        assert verify_maker(data, KEY.public_key()) is not None
        assert verify_maker(sign_again(data, KEY), KEY.public_key()) is None
    with pytest.raises(ImageValueError, match="no maker's trailer ends the 4095 bytes"):
        sign_again(damaged("size-more"), KEY)


def test_a_foreign_makers_signature_is_a_good_one_of_somebody_else() -> None:
    data = damaged("signature-foreign", "maker")
    assert data[:-64] == image().data[:-64]
    assert split_trailer(data) is not None
    assert verify_maker(data, KEY.public_key()) is not None
    foreign = maker_key(random.Random(1).getrandbits)
    assert verify_maker(data, foreign.public_key()) is None


@given(name=st.text(max_size=12), variant=st.none() | st.text(max_size=5), data=st.binary())
def test_whatever_is_asked_for_only_our_errors_come(
    name: str, variant: str | None, data: bytes
) -> None:
    with pytest.raises((ImageError, ImageValueError)):
        damage_image(data, name, variant, random_bits=random.Random(1).getrandbits)


def test_what_cannot_be_done_is_said() -> None:
    bits = random.Random(1).getrandbits
    with pytest.raises(ImageValueError, match="no damage is called 'bent'; there are empty, magic"):
        find_damage("bent")
    with pytest.raises(ImageValueError, match="has no variant 'x'; there are ff, 00"):
        damaged("erased-body", "x")
    with pytest.raises(ImageValueError, match="the version that the device runs"):
        damage_image(image().data, "version-older", random_bits=bits)
    with pytest.raises(ImageValueError, match="no version is older than 00000001"):
        damage_image(image().data, "version-older", random_bits=bits, running=1)
    with pytest.raises(ImageValueError, match="no body"):
        damage_image(image().data[:60], "magic", random_bits=bits)
    plain = read_image(damaged("header-length-extra"))
    with pytest.raises(ImageValueError, match="says no hardware versions"):
        damaged("hardware-bounds", data=plain.data)
    with pytest.raises(ImageValueError, match="has 65536 bytes already"):
        damaged("beyond-64-kib", data=image(65536).data)
    with pytest.raises(ImageValueError, match="throughout already"):
        damaged("erased-body", data=damaged("erased-body"))
