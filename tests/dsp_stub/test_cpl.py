"""The Central Products List: seven parameters, two statuses, nothing amended."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp_stub.cpl import (
    Cpl,
    CplEntry,
    CplStatus,
    from_cpl_text,
    image_hash,
    to_cpl_text,
)
from dsp_stub.errors import DspValueError
from dsp_stub.smi import DeviceType
from dsp_stub.store import Store
from firmware_images.header import OtaHeader
from firmware_images.image import FirmwareImage, build_image, read_image

HASH = hashlib.sha256(b"image").hexdigest()
# Sheet 4.3 of the project's facts: both published samples hold the same manufacturer image.
PUBLISHED_HASH = "7542f475e3f12eae887d81e32c46d313741d67076b13caec2f82e00ba5e1bb36"

OTHER = {
    "manufacturer": "121E",
    "model": "00851111",
    "firmware_version": "00010201",
    "smets_chts_version": "SMETS V1.2",
    "gbcs_version": "4.2",
}


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as opened:
        yield opened


@pytest.fixture
def cpl(store: Store) -> Cpl:
    return Cpl(store)


def entry(**changes: Any) -> CplEntry:
    known: dict[str, Any] = {
        "device_type": DeviceType.PPMID,
        "manufacturer": "121D",
        "model": "00841111",
        "firmware_version": "00010200",
        "smets_chts_version": "PPMIDTS V4.4",
        "gbcs_version": "4.1",
        "image_hash": HASH,
    }
    return CplEntry(**(known | changes))


# -- the list ----------------------------------------------------------------------------------


def test_a_new_list_knows_nothing(cpl: Cpl) -> None:
    assert cpl.find() == cpl.with_hash(HASH) == ()
    assert not cpl.is_known(DeviceType.PPMID, "121D", "00841111", "00010200")
    assert cpl.get(entry().identity) is None


def hexadecimal(count: int, letters: str = "0123456789ABCDEF") -> st.SearchStrategy[str]:
    return st.text(letters, min_size=count, max_size=count)


ENTRIES = st.builds(
    CplEntry,
    device_type=st.sampled_from(["ESME", "GSME", "CHF", "HCALCS", "PPMID"]).map(DeviceType),
    manufacturer=hexadecimal(4),
    model=hexadecimal(8),
    firmware_version=hexadecimal(8),
    smets_chts_version=st.text(min_size=1, max_size=20).filter(str.isprintable),
    gbcs_version=st.lists(st.integers(0, 99), min_size=2, max_size=4).map(
        lambda parts: ".".join(map(str, parts))
    ),
    image_hash=st.none() | hexadecimal(64, "0123456789abcdef"),
    status=st.sampled_from(CplStatus),
)


@given(st.lists(ENTRIES, unique_by=lambda one: one.identity, max_size=5))
def test_entries_are_read_as_they_were_added_and_in_that_order(entries: list[CplEntry]) -> None:
    with Store(None) as store:
        cpl = Cpl(store)
        for one in entries:
            cpl.add(one)
        assert cpl.find() == tuple(entries)
        for one in entries:
            assert cpl.get(one.identity) == one
            assert cpl.is_known(one.device_type, one.manufacturer, one.model, one.firmware_version)


@pytest.mark.requirement("CPL-ENTRY", "good")
@pytest.mark.parametrize(
    "changes",
    [
        {"manufacturer": "121E"},
        {"model": "00851111"},
        {"model": "00841211"},
        {"model": "00841112"},
        {"firmware_version": "00010201"},
        {"smets_chts_version": "SMETS V1.2"},
        {"gbcs_version": "4.2"},
    ],
)
def test_entries_that_differ_in_one_of_seven_parameters_are_two(
    cpl: Cpl, changes: dict[str, str]
) -> None:
    cpl.add(entry())
    cpl.add(entry(**changes))
    assert cpl.find() == (entry(), entry(**changes))


@pytest.mark.requirement("CPL-ENTRY", "bad")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image_hash": None},
        {"device_type": DeviceType.HCALCS},
        {"status": CplStatus.REMOVED},
    ],
)
def test_an_entry_equal_in_all_seven_is_refused_by_name(cpl: Cpl, changes: dict[str, Any]) -> None:
    cpl.add(entry())
    with pytest.raises(DspValueError) as caught:
        cpl.add(entry(**changes))
    assert str(caught.value) == (
        "the CPL has 12:1D, 00:84, 11, 11, 00:01:02:00, PPMIDTS V4.4, GBCS 4.1 already, Current, "
        "and no entry is amended"
    )
    assert cpl.find() == (entry(),)


@pytest.mark.requirement("CPL-ENTRY", "good", "bad")
def test_a_removed_entry_stays_and_does_not_come_back(cpl: Cpl) -> None:
    cpl.add(entry())
    cpl.add(entry(**OTHER))
    removed = entry(status=CplStatus.REMOVED)
    assert cpl.remove(entry().identity) == removed
    assert cpl.find() == (removed, entry(**OTHER))
    assert not removed.is_current
    assert cpl.is_known(DeviceType.PPMID, "121D", "00841111", "00010200")
    with pytest.raises(DspValueError, match="already, Removed, and no entry is amended"):
        cpl.add(entry())
    with pytest.raises(DspValueError, match=r"12:1D.* is Removed from the CPL already"):
        cpl.remove(entry().identity)
    assert cpl.find() == (removed, entry(**OTHER))


def test_what_was_never_on_the_list_is_not_removed(cpl: Cpl) -> None:
    cpl.add(entry())
    with pytest.raises(DspValueError, match="the CPL has no 12:1E"):
        cpl.remove(entry(**OTHER).identity)
    assert cpl.find() == (entry(),)


@pytest.mark.requirement("CPL-ENTRY", "bad")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cpl SET image_hash = 'other'",
        "UPDATE cpl SET image_hash = NULL, status = 'Removed'",
        "UPDATE cpl SET firmware_version = '00010300', status = 'Removed'",
        "UPDATE cpl SET device_type = 'ESME', status = 'Removed'",
        "UPDATE cpl SET status = 'Current'",
        "DELETE FROM cpl",
        "INSERT OR REPLACE INTO cpl SELECT manufacturer, model_id, hardware_version, "
        "hardware_revision, firmware_version, smets_chts_version, gbcs_version, device_type, "
        "'other', status, certificates FROM cpl",
    ],
)
def test_the_database_itself_amends_no_entry(store: Store, cpl: Cpl, statement: str) -> None:
    cpl.add(entry())
    with pytest.raises(sqlite3.IntegrityError, match="an entry of the CPL"):
        store.connection.execute(statement)
    assert cpl.find() == (entry(),)


def test_an_entry_is_found_by_any_of_its_values(cpl: Cpl) -> None:
    one, other = entry(), entry(**OTHER, device_type=DeviceType.HCALCS, image_hash=None)
    cpl.add(one)
    cpl.add(other)
    for name, value in (OTHER | {"device_type": DeviceType.HCALCS}).items():
        assert cpl.find(**{name: value}) == (other,)  # type: ignore[arg-type]
    assert cpl.find(manufacturer="121D", firmware_version="00010201") == ()
    for text in ("", "%", "121d", "12:1D", "1' OR '1' = '1", "1" * 10_000):
        assert cpl.find(manufacturer=text) == cpl.find(model=text) == ()


def test_models_that_share_an_image_are_all_found_by_its_hash(cpl: Cpl) -> None:
    one, other = entry(), entry(**OTHER)
    for added in (one, other, entry(gbcs_version="9.9", image_hash=None)):
        cpl.add(added)
    assert cpl.with_hash(HASH) == (one, other)
    assert cpl.with_hash(HASH.upper()) == ()


def test_the_list_is_there_after_a_restart(tmp_path: Path) -> None:
    with Store(tmp_path / "dsp.sqlite") as store:
        Cpl(store).add(entry())
    with Store(tmp_path / "dsp.sqlite") as store:
        assert Cpl(store).find() == (entry(),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device_type": DeviceType.CAD}, "a CAD has no entry in the CPL"),
        ({"device_type": DeviceType.GPF}, "a GPF has no entry in the CPL, the CHF"),
        ({"manufacturer": "12:1D"}, "manufacturer '12:1D' is not 4 digits"),
        ({"model": "0084111"}, "model '0084111' is not 8 digits"),
        ({"firmware_version": "0001020a"}, "firmware_version '0001020a' is not 8 digits"),
        ({"smets_chts_version": ""}, "smets_chts_version '' is not 1 to 20"),
        ({"smets_chts_version": "V" * 21}, "is not 1 to 20"),
        ({"smets_chts_version": "a\tb"}, "is not 1 to 20"),
        ({"gbcs_version": "4"}, "gbcs_version '4' is not one"),
        ({"gbcs_version": "4.x"}, "gbcs_version '4.x' is not one"),
        ({"gbcs_version": "4.1\n"}, "is not one"),
        ({"image_hash": HASH.upper()}, "is not 64 digits 0 to 9, a to f"),
        ({"image_hash": ""}, "is not 64 digits"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DspValueError) as caught:
        entry(**changes)
    assert words in str(caught.value)


# -- forms -------------------------------------------------------------------------------------


def test_the_parts_of_a_model() -> None:
    one = entry(model="ABCD1234")
    assert (one.model_id, one.hardware_version, one.hardware_revision) == ("ABCD", "12", "34")


@pytest.mark.requirement("CPL-ENTRY", "good")
@given(st.binary(min_size=1, max_size=8))
def test_the_forms_of_list_and_request_lead_to_each_other(octets: bytes) -> None:
    digits = octets.hex().upper()
    assert to_cpl_text(digits) == octets.hex(":").upper()
    assert from_cpl_text(octets.hex(":")) == from_cpl_text(to_cpl_text(digits)) == digits


@given(st.text(max_size=12) | st.text("0123456789abcDEF:", max_size=8))
def test_a_text_of_any_form_is_read_or_refused(text: str) -> None:
    try:
        digits = from_cpl_text(text)
    except DspValueError:
        return
    assert to_cpl_text(digits) == text.upper()


@pytest.mark.parametrize("text", ["", "121D", "12:1", "12:1D:", ":12", "12 1D", "12:1D\n", "1২:1D"])
def test_a_text_that_is_no_octets_with_colons_is_refused(text: str) -> None:
    with pytest.raises(DspValueError, match="is not octets with colons"):
        from_cpl_text(text)


@pytest.mark.parametrize("digits", ["", "121", "12:1D", "121d", "12 D"])
def test_digits_that_are_no_octets_are_refused(digits: str) -> None:
    with pytest.raises(DspValueError, match="is not octets in digits"):
        to_cpl_text(digits)


# -- hashes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["11.1_UPDATE_FIRMWARE", "11.4_UPDATE_PPMID_FIRMWARE"])
def test_the_published_samples_have_the_hash_of_their_manufacturer_image(
    vectors: Path, name: str
) -> None:
    image = read_image((vectors / "duis" / f"{name}_SAMPLE.ota").read_bytes())
    assert image_hash(image) == PUBLISHED_HASH
    assert image_hash(image, "whole-file") == image.sha256 != PUBLISHED_HASH


def image(image_type: int, body: bytes) -> FirmwareImage:
    return build_image(OtaHeader(manufacturer_code=1, image_type=image_type, file_version=1), body)


def test_what_ends_a_meters_file_is_no_part_of_its_hash() -> None:
    authorised = b"firmware" + b"\x00\x40" + bytes(64)
    assert image_hash(image(0x0000, authorised)) == hashlib.sha256(b"firmware").hexdigest()
    # Of a PPMID the same octets are firmware, and so is anything in a meter's that only ends so.
    assert image_hash(image(0x0084, authorised)) == hashlib.sha256(authorised).hexdigest()
    short = bytes(60) + b"\x00\x40\x00"
    for body in (authorised[:-1], authorised + b"\0", b"\x00\x40", short):
        assert image_hash(image(0x0000, body)) == hashlib.sha256(body).hexdigest()


def test_the_header_is_no_part_of_the_hash_unless_the_file_is_hashed() -> None:
    one = image(0x0084, b"firmware")
    other = image(0x0085, b"firmware")
    assert image_hash(one) == image_hash(other)
    assert image_hash(one, "whole-file") != image_hash(other, "whole-file")
    assert image_hash(one, "whole-file") == hashlib.sha256(one.data).hexdigest()
