"""Every way a file can be wrong that shows in the file alone: found by name, or let pass.

The numbers in the ids are the rows of the table of malformed images these cases were taken from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.checks import (
    Finding,
    Scope,
    SizeLimit,
    Unit,
    check_image,
    require_acceptable,
)
from firmware_images.errors import ImageError, ImageValueError
from firmware_images.header import OtaHeader, build_header
from firmware_images.image import build_image, join_elements
from firmware_images.samples import identity

BRIDGE = identity("bridge-1")
HEADER = OtaHeader(
    manufacturer_code=BRIDGE.manufacturer_code,
    image_type=BRIDGE.image_type,
    file_version=2,
    minimum_hardware_version=BRIDGE.hardware_version,
    maximum_hardware_version=BRIDGE.hardware_version,
)
GOOD = build_image(HEADER, join_elements([(0, b"firmware" * 20)])).data

Mutation = Callable[[bytes], bytes]


def put(offset: int, octets: str) -> Mutation:
    value = bytes.fromhex(octets)
    return lambda data: data[:offset] + value + data[offset + len(value) :]


def rebuilt(**changes: object) -> Mutation:
    header = replace(HEADER, **changes)  # type: ignore[arg-type]
    return lambda data: build_image(header, data[HEADER.header_length :]).data


def body(octets: bytes) -> Mutation:
    return lambda _: build_image(HEADER, octets).data


def said(change: int) -> Mutation:
    return lambda data: put(52, (len(data) + change).to_bytes(4, "little").hex())(data)


def errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]


@pytest.mark.requirement("MP170-R1", "good")
def test_a_good_image_gives_no_reason_to_speak() -> None:
    assert check_image(GOOD, identity=BRIDGE, strict=True) == []
    assert require_acceptable(GOOD, identity=BRIDGE, strict=True).data is GOOD


REFUSED: list[tuple[str, Mutation, str, int, str]] = [
    ("1-empty", lambda _: b"", "file", 0, "0 octets are no OTA file"),
    ("1-short", lambda data: data[:55], "file", 55, "55 octets are no OTA file"),
    ("2-swapped", put(0, "0BEEF11E"), "file identifier", 0, "octets are in the wrong order"),
    ("2-wrong", put(0, "00000000"), "file identifier", 0, "is 00 00 00 00, not 1E F1 EE 0B"),
    ("3-thread", put(4, "0002"), "header version", 4, "is 0x0200"),
    ("3-minor", put(4, "0101"), "header version", 4, "is 0x0101"),
    ("3-ffff", put(4, "FFFF"), "header version", 4, "is 0xFFFF"),
    ("4-zero", put(6, "0000"), "header length", 6, "says 0 octets, the least is 56"),
    ("4-55", put(6, "3700"), "header length", 6, "says 55 octets, the least is 56"),
    ("5-no-room", put(6, "3800"), "header length", 6, "says 56 octets, the optional fields"),
    ("7-ffff", put(6, "FFFF"), "header length", 6, "says 65535 octets, the file has 226"),
    ("9-trailing", said(-1), "total image size", 52, "says 225 bytes, the file has 226"),
    ("10-short", said(+1), "total image size", 52, "says 227 bytes, the file has 226"),
    ("11-zero", put(52, "00000000"), "total image size", 52, "says 0 bytes"),
    ("12-huge", put(52, "FFFFFFFF"), "total image size", 52, "says 4294967295 bytes"),
    ("13-no-header", said(-60), "total image size", 52, "its 60 header octets were left out"),
    ("15-maker", put(10, "1D12"), "manufacturer code", 10, "is 121D, bridge-1 has A17A"),
    ("15-wildcard", put(10, "FFFF"), "manufacturer code", 10, "is the wildcard FFFF"),
    ("16-type", put(12, "020A"), "image type", 12, "is 0A02, bridge-1 has 0A01"),
    ("16-wildcard", put(12, "FFFF"), "image type", 12, "is the wildcard FFFF"),
    ("20-wildcard", put(14, "FFFFFFFF"), "file version", 14, "is FFFFFFFF, never a real one"),
    ("20-zero", put(14, "00000000"), "file version", 14, "is 00000000, never a real one"),
    ("21-hw", put(56, "02010101"), "minimum hardware version", 56, "0102, above the maximum 0101"),
    ("22-hw", put(56, "02010501"), "minimum hardware version", 56, "are 0102 to 0105, bridge-1"),
    (
        "24-destination",
        rebuilt(upgrade_file_destination=0x1122334455667788),
        "upgrade file destination",
        56,
        "is 1122334455667788, not 0000000000000001",
    ),
    (
        "25-credential",
        rebuilt(security_credential_version=4),
        "security credential version",
        56,
        "is 4, the last known is 3",
    ),
    ("42-container", lambda data: b"NGIS" * 5 + data, "file identifier", 0, "stands at offset 20"),
]


@pytest.mark.requirement("MP170-R1", "bad")
@pytest.mark.parametrize(
    ("mutation", "field", "offset", "words"),
    [pytest.param(*case[1:], id=case[0]) for case in REFUSED],
)
def test_a_wrong_file_is_refused_by_name(
    mutation: Mutation, field: str, offset: int, words: str
) -> None:
    data = mutation(GOOD)
    found = errors(check_image(data, identity=BRIDGE, device_eui64=1, name="b.ota"))
    assert (found[0].field, found[0].offset) == (field, offset)
    assert found[0].sentence.startswith("b.ota: ")
    assert words in found[0].sentence
    assert "\n" not in found[0].sentence
    with pytest.raises(ImageError) as raised:
        require_acceptable(data, identity=BRIDGE, device_eui64=1, name="b.ota")
    assert str(raised.value) == found[0].sentence
    assert (raised.value.name, raised.value.offset) == ("b.ota", offset)


LET_PASS: list[tuple[str, Mutation, str, str]] = [
    ("6-further", rebuilt(further_octets=bytes(9)), "note", "further header octets"),
    ("8-reserved", rebuilt(reserved_field_control=0x8000), "warning", "field control"),
    ("24-anyone", rebuilt(upgrade_file_destination=7), "warning", "upgrade file destination"),
    ("38-erased", body(b"\xff" * 99), "note", "body"),
    ("38-zeros", body(bytes(99)), "note", "body"),
    ("40-no-body", body(b""), "warning", "body"),
    (
        "45-meter",
        body(b"x" * 99 + b"\x00\x40" + b"s" * 64),
        "warning",
        "body",
    ),
    ("stack", rebuilt(stack_version=3), "warning", "stack version"),
]


@pytest.mark.parametrize(
    ("mutation", "severity", "field"), [pytest.param(*case[1:], id=case[0]) for case in LET_PASS]
)
def test_an_odd_file_is_spoken_of_and_let_pass(
    mutation: Mutation, severity: str, field: str
) -> None:
    data = mutation(GOOD)
    findings = check_image(data, identity=BRIDGE)
    assert errors(findings) == []
    assert (severity, field) in [(finding.severity, finding.field) for finding in findings]
    assert require_acceptable(data, identity=BRIDGE).data is data


SILENT: list[tuple[str, Mutation]] = [
    ("23-hw-exact", rebuilt(minimum_hardware_version=0x0101, maximum_hardware_version=0x0101)),
    ("23-hw-low-end", rebuilt(minimum_hardware_version=0x0101, maximum_hardware_version=0x0200)),
    ("23-hw-high-end", rebuilt(minimum_hardware_version=0x0001, maximum_hardware_version=0x0101)),
    ("23-no-hw", rebuilt(minimum_hardware_version=None, maximum_hardware_version=None)),
    ("25-credential-3", rebuilt(security_credential_version=3)),
    ("39-string", rebuilt(header_string=b"\xff\xfe\x80" * 10 + b"no")),
]


@pytest.mark.parametrize("mutation", [pytest.param(m, id=name) for name, m in SILENT])
def test_a_usual_file_is_let_pass_in_silence(mutation: Mutation) -> None:
    assert check_image(mutation(GOOD), identity=BRIDGE, strict=True) == []


def test_a_file_for_one_device_is_for_that_device() -> None:
    data = rebuilt(upgrade_file_destination=0x0011223344556677)(GOOD)
    assert check_image(data, device_eui64=0x0011223344556677) == []


@pytest.mark.parametrize("size_bytes", [57, 61, 62, 112, 113, 167, 0x10000, 0x10001, 0x1FFFE])
def test_a_file_of_any_size_below_the_limit_is_let_pass(size_bytes: int) -> None:
    # Rows 40 and 41: less than a block, whole blocks, one octet over, across 64 KiB.
    header = replace(HEADER, minimum_hardware_version=None, maximum_hardware_version=None)
    data = build_image(header, b"\x5a" * (size_bytes - 56)).data
    assert errors(check_image(data)) == []


UPGRADE_IMAGE = (0x0000, b"firmware")
SIGNATURE_1 = (0x0001, bytes(50))
SIGNATURE_2 = (0x0005, bytes(80))
BROKEN_BODIES: list[tuple[str, bytes, int, str]] = [
    ("26-overrun", join_elements([UPGRADE_IMAGE])[:-1], 60, "says 8 octets, the file has 7 left"),
    ("27-empty", join_elements([(0, b"")]), 60, "upgrade image at offset 60 is empty"),
    ("28-two", join_elements([UPGRADE_IMAGE] * 2), 74, "is a second upgrade image"),
    ("31-seven", join_elements([(0xF000, b"")] * 7), 96, "is one more than the 6 allowed"),
    ("32-trailing", join_elements([UPGRADE_IMAGE]) + bytes(5), 74, "has 5 octets of its 6-octet"),
    ("34-appended", join_elements([SIGNATURE_1, UPGRADE_IMAGE]), 60, "is not the last"),
    ("35-suites", join_elements([UPGRADE_IMAGE, SIGNATURE_1, SIGNATURE_2]), 130, "another suite"),
    ("length", join_elements([UPGRADE_IMAGE, (3, bytes(15))]), 74, "has 15 octets, not 16"),
    ("no-image", join_elements([(0xF000, b"x")]), 60, "is an upgrade image"),
]


@pytest.mark.parametrize(
    ("octets", "offset", "words"), [pytest.param(*case[1:], id=case[0]) for case in BROKEN_BODIES]
)
def test_a_broken_body_is_a_note_and_an_error_when_strict(
    octets: bytes, offset: int, words: str
) -> None:
    data = build_image(HEADER, octets).data
    lenient = [f for f in check_image(data) if f.field == "sub-element"]
    assert [(f.severity, f.offset) for f in lenient] == [("note", offset)]
    strict = errors(check_image(data, strict=True))
    assert [f.offset for f in strict] == [offset]
    assert words in strict[0].sentence
    assert require_acceptable(data).data is data
    with pytest.raises(ImageError, match=r"sub-element|upgrade image|signature"):
        require_acceptable(data, strict=True)


@pytest.mark.parametrize("tag", [0x0007, 0x0100, 0xEFFF])
def test_a_reserved_element_before_the_image_is_skipped_with_a_note(tag: int) -> None:
    data = build_image(HEADER, join_elements([(tag, b"x"), UPGRADE_IMAGE])).data
    (finding,) = check_image(data, strict=True)
    assert finding.severity == "note"
    assert finding.sentence == f"image: sub-element at offset 60 has the reserved tag 0x{tag:04X}"


def test_a_makers_own_element_and_one_signature_at_the_end_are_nothing_odd() -> None:
    elements = [(0xF000, b"x"), UPGRADE_IMAGE, (0x0006, bytes(74)), SIGNATURE_2]
    assert check_image(build_image(HEADER, join_elements(elements)).data, strict=True) == []


LIMITS: list[tuple[Unit, Scope, int]] = [
    ("kib", "file", 768_000),
    ("kb", "file", 750_000),
    ("kib", "body", 768_060),
    ("kb", "body", 750_060),
]


@pytest.mark.requirement("MP170-SIZE", "good", "bad")
@pytest.mark.parametrize(("unit", "scope", "cap"), LIMITS)
def test_one_byte_over_the_limit_is_refused_and_one_under_is_not(
    unit: Unit, scope: Scope, cap: int
) -> None:
    limit = SizeLimit(750, unit, scope)
    for size_bytes, refused in ((cap - 1, False), (cap, False), (cap + 1, True)):
        data = build_image(HEADER, b"\x5a" * (size_bytes - 60)).data
        found = errors(check_image(data, limit=limit))
        assert bool(found) == refused
        if found:
            counted = size_bytes - (60 if scope == "body" else 0)
            assert f"the {scope} has {counted} bytes" in found[0].sentence
            assert f"the limit is {limit.limit_bytes}" in found[0].sentence


@pytest.mark.parametrize(
    ("size_bytes", "severities"),
    [
        (749_999, set()),
        (750_000, set()),
        (750_001, {"warning"}),
        (767_999, {"warning"}),
        (768_000, {"warning"}),
        (768_001, {"error"}),
    ],
)
def test_the_default_limit_warns_whoever_counts_in_thousands(
    size_bytes: int, severities: set[str]
) -> None:
    data = build_image(HEADER, b"\x5a" * (size_bytes - 60)).data
    found = [f for f in check_image(data) if f.field == "file"]
    assert {finding.severity for finding in found} == severities
    assert len(found) == len(severities)


def test_a_size_field_over_the_limit_is_named_beside_the_mismatch() -> None:
    found = errors(check_image(put(52, "FFFFFFFF")(GOOD)))
    assert [finding.offset for finding in found] == [52, 52]
    assert "promises 4294967295 bytes, the limit is 768000" in found[1].sentence


def test_the_sentence_names_file_field_place_and_both_numbers() -> None:
    data = build_image(HEADER, b"\x5a" * (768_000 - 60)).data
    (found,) = errors(check_image(said(+1)(data), name="bridge1.ota"))[:1]
    assert found.sentence == (
        "bridge1.ota: total image size at offset 52 says 768001 bytes, the file has 768000"
    )


def test_a_huge_file_that_is_no_image_is_over_the_limit_as_well() -> None:
    found = errors(check_image(bytes(768_001)))
    assert [finding.field for finding in found] == ["file identifier", "file"]


@pytest.mark.parametrize(
    "wrong", [{"limit_kb": 0}, {"unit": "mb"}, {"scope": "image"}], ids=lambda w: next(iter(w))
)
def test_a_limit_that_means_nothing_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ImageValueError):
        SizeLimit(**wrong)  # type: ignore[arg-type]


def test_the_published_ppmid_image_may_be_sent(ppmid_sample: bytes) -> None:
    findings = check_image(ppmid_sample, identity=identity("ppmid"))
    assert [finding.severity for finding in findings] == ["note"]
    assert "the body is opaque" in findings[0].sentence


def test_the_published_meter_image_is_for_no_bridge(meter_sample: bytes) -> None:
    assert [f.field for f in errors(check_image(meter_sample, identity=BRIDGE))] == [
        "manufacturer code",
        "image type",
        "minimum hardware version",
    ]
    (authorisation,) = [f for f in check_image(meter_sample) if f.field == "body"]
    assert (authorisation.severity, authorisation.offset) == ("note", 295)


def test_hardware_is_compared_in_the_byte_order_asked_for(ppmid_sample: bytes) -> None:
    product = replace(identity("ppmid"), hardware_version=0x1200)
    assert errors(check_image(ppmid_sample, identity=product)) == []
    assert len(errors(check_image(ppmid_sample, identity=product, hardware_byte_order="big"))) == 1


@given(st.binary(max_size=100), st.booleans())
def test_hostile_files_end_in_findings_and_never_in_a_crash(tail: bytes, strict: bool) -> None:
    for data in (tail, GOOD[:6] + tail, GOOD[:56] + tail, build_header(HEADER) + tail):
        findings = check_image(data, identity=BRIDGE, strict=strict)
        assert all(0 <= finding.offset <= len(data) for finding in findings)
        if errors(findings):
            with pytest.raises(ImageError):
                require_acceptable(data, identity=BRIDGE, strict=strict)
        else:
            require_acceptable(data, identity=BRIDGE, strict=strict)
