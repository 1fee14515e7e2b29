"""`hanbench cpl`: what a person at a terminal, and a script, get to see."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dsp_stub.cpl import Cpl, CplEntry, CplStatus
from dsp_stub.options import DATABASE_FILE
from dsp_stub.smi import DeviceType
from dsp_stub.store import Store
from firmware_images.header import OtaHeader
from firmware_images.image import FirmwareImage, build_image
from firmware_images.samples import PRODUCTS
from hil.cpl_commands import cpl_group, load_dsp_file
from hil.errors import RequestError

BODY = b"my own firmware"
BODY_HASH = hashlib.sha256(BODY).hexdigest()


def add(folder: Path, *arguments: object) -> Result:
    return CliRunner().invoke(
        cpl_group, ["add", "--data", str(folder), *map(str, arguments)], prog_name="hanbench"
    )


def added(folder: Path, *arguments: object) -> str:
    result = add(folder, *arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def refused(result: Result, words: str) -> None:
    """In one sentence, with exit code 2, before anything was printed."""
    assert isinstance(result.exception, RequestError), result.exception
    assert result.exception.exit_code == 2
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.output == ""


def entries(folder: Path) -> tuple[CplEntry, ...]:
    with Store(folder / DATABASE_FILE) as store:
        return Cpl(store).find()


def write_image(path: Path, kind: str | None = "ppmid", version: int = 0x00010200) -> FirmwareImage:
    """A file of a built-in product, or of ids that are nobody's."""
    manufacturer_code, image_type, low, high = 0x1234, 0x0B01, 0x0203, 0x0207
    if kind is not None:
        product = PRODUCTS[kind]
        manufacturer_code, image_type = product.manufacturer_code, product.image_type
        low = high = product.hardware_version
    header = OtaHeader(
        manufacturer_code=manufacturer_code,
        image_type=image_type,
        file_version=version,
        minimum_hardware_version=low,
        maximum_hardware_version=high,
    )
    image = build_image(header, BODY)
    path.write_bytes(image.data)
    return image


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "dsp"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new.ota"


# -- from an image -----------------------------------------------------------------------------


def test_an_image_becomes_an_entry_shown_as_the_list_writes_it(data: Path, file: Path) -> None:
    write_image(file)
    assert added(data, "--from-image", file) == (
        "PPMID 12:1D, 00:84, 11, 11, 00:01:02:00, PPMIDTS V4.4, GBCS 4.1: Current\n"
        f"hash {BODY_HASH}\n"
    )
    (entry,) = entries(data)
    assert entry == CplEntry(
        device_type=DeviceType.PPMID,
        manufacturer="121D",
        model="00841111",
        firmware_version="00010200",
        smets_chts_version="PPMIDTS V4.4",
        gbcs_version="4.1",
        image_hash=BODY_HASH,
        status=CplStatus.CURRENT,
    )


def test_a_script_gets_the_entry_as_one_document(data: Path, file: Path) -> None:
    write_image(file, "bridge-2")
    assert json.loads(added(data, "--from-image", file, "--json")) == {
        "device_type": "PPMID",
        "manufacturer": "A17A",
        "model": "0A020202",
        "firmware_version": "00010200",
        "smets_chts_version": "PPMIDTS V4.4",
        "gbcs_version": "4.1",
        "image_hash": BODY_HASH,
        "status": "Current",
        "certificates": [],
    }


@pytest.mark.parametrize("kind", PRODUCTS)
def test_the_image_of_a_built_in_product_has_its_model(data: Path, file: Path, kind: str) -> None:
    write_image(file, kind)
    added(data, "--from-image", file)
    assert entries(data)[0].model == PRODUCTS[kind].model


def test_another_makers_image_has_its_type_and_lowest_hardware_as_model(
    data: Path, file: Path
) -> None:
    write_image(file, None)
    added(data, "--from-image", file)
    assert (entries(data)[0].manufacturer, entries(data)[0].model) == ("1234", "0B010203")


def test_an_image_without_hardware_versions_needs_a_model(data: Path, file: Path) -> None:
    header = OtaHeader(manufacturer_code=0x1234, image_type=0x0B01, file_version=2)
    file.write_bytes(build_image(header, BODY).data)
    refused(add(data, "--from-image", file), "has no hardware versions, so --model is needed")
    added(data, "--from-image", file, "--model", "abcd0001")
    assert entries(data)[0].model == "ABCD0001"


def test_what_the_image_does_not_say_can_be_said(data: Path, file: Path) -> None:
    image = write_image(file)
    said = ("--type", "HCALCS", "--smets-version", "HCALCSTS V5.2", "--gbcs-version", "4.2")
    hashed = ("--hash-scope", "whole-file", "--manufacturer", "121d", "--model", "99991111")
    added(data, "--from-image", file, *said, *hashed)
    (entry,) = entries(data)
    assert entry.device_type is DeviceType.HCALCS
    assert (entry.smets_chts_version, entry.gbcs_version) == ("HCALCSTS V5.2", "4.2")
    assert entry.model == "99991111"
    assert entry.image_hash == image.sha256


def test_what_is_hashed_follows_the_options_of_the_folder(data: Path, file: Path) -> None:
    image = write_image(file)
    data.mkdir()
    (data / "dsp.toml").write_text('[options]\ncpl_hash = "whole-file"\n')
    added(data, "--from-image", file)
    scope = ("--hash-scope", "manufacturer-image", "--smets-version", "PPMIDTS V4.5")
    added(data, "--from-image", file, *scope)
    assert [entry.image_hash for entry in entries(data)] == [image.sha256, BODY_HASH]


def test_one_firmware_may_stand_there_for_two_specifications(data: Path, file: Path) -> None:
    write_image(file)
    added(data, "--from-image", file)
    added(data, "--from-image", file, "--smets-version", "PPMIDTS V4.5")
    assert len(entries(data)) == 2


def test_an_entry_that_is_there_is_refused_and_stays(data: Path, file: Path) -> None:
    write_image(file)
    added(data, "--from-image", file)
    before = entries(data)
    write_image(tmp := file.with_name("other.ota"))
    tmp.write_bytes(tmp.read_bytes()[:-1] + b"!")
    for again in (file, tmp):
        refused(
            add(data, "--from-image", again),
            "the CPL has 12:1D, 00:84, 11, 11, 00:01:02:00, PPMIDTS V4.4, GBCS 4.1 already, "
            "Current, and no entry is amended",
        )
    assert entries(data) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--manufacturer", "A17A"), "new.ota is of manufacturer 121D, not A17A"),
        (("--model", "00841112"), "model 00841112 has a hardware version outside the range of"),
        (("--model", "0084"), "model '0084' is not 8 digits"),
        (("--model", "zz"), "model 'ZZ' is not 8 digits"),
        (("--firmware-version", "00010200"), "--firmware-version goes with --initial only"),
        (("--kind", "ppmid"), "--kind goes with --initial only"),
        (("--initial",), "--from-image FILE is needed, or --initial"),
        (("--type", "HCALCS"), "--smets-version is needed for type HCALCS"),
        (("--smets-version", ""), "smets_chts_version '' is not 1 to 20 characters"),
        (("--gbcs-version", "four"), "gbcs_version 'four' is not one such as"),
    ],
)
def test_what_does_not_fit_the_image_is_refused(
    data: Path, file: Path, options: tuple[str, ...], words: str
) -> None:
    write_image(file)
    refused(add(data, "--from-image", file, *options), words)
    assert not data.exists()


def test_a_file_that_is_no_image_is_named(data: Path, file: Path, tmp_path: Path) -> None:
    refused(add(data, "--from-image", file), "new.ota cannot be read: No such file")
    refused(add(data, "--from-image", tmp_path), "cannot be read: Is a directory")
    file.write_bytes(b"nothing to do with firmware" * 10)
    refused(add(data, "--from-image", file), "new.ota: file identifier at offset 0")
    assert not data.exists()


def test_a_device_file_without_end_does_not_fill_the_memory(data: Path) -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no /dev/zero here")
    refused(add(data, "--from-image", "/dev/zero"), "/dev/zero is no image, it has more than")


# -- without an image --------------------------------------------------------------------------


def test_a_version_devices_come_with_has_no_hash(data: Path) -> None:
    shown = added(data, "--initial", "--firmware-version", "0001020a", "--kind", "bridge-1")
    assert shown == (
        "PPMID A1:7A, 0A:01, 01, 01, 00:01:02:0A, PPMIDTS V4.4, GBCS 4.1: Current\n"
        "hash none, it is never sent over the air\n"
    )
    meter = ("--type", "ESME", "--smets-version", "SMETS V5.1", "--firmware-version", "00000001")
    added(data, "--initial", *meter, "--manufacturer", "121d", "--model", "00010203")
    assert [(entry.device_type, entry.image_hash) for entry in entries(data)] == [
        ("PPMID", None),
        ("ESME", None),
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--from-image FILE is needed, or --initial with --firmware-version"),
        (("--initial",), "--initial needs --firmware-version"),
        (("--initial", "--firmware-version", "00000001"), "needs --manufacturer and --model, or"),
        (
            ("--initial", "--firmware-version", "00000001", "--manufacturer", "121D"),
            "--initial needs --manufacturer and --model, or --kind",
        ),
        (
            ("--initial", "--firmware-version", "00000001", "--kind", "ppmid", "--model", "0"),
            "--kind says what --manufacturer and --model would",
        ),
        (
            ("--initial", "--firmware-version", "1", "--kind", "ppmid"),
            "firmware_version '1' is not 8 digits",
        ),
        (
            ("--initial", "--firmware-version", "1", "--hash-scope", "whole-file"),
            "--hash-scope goes with --from-image only",
        ),
    ],
)
def test_too_little_or_too_much_said_is_refused(
    data: Path, options: tuple[str, ...], words: str
) -> None:
    refused(add(data, *options), words)
    assert not data.exists()


# -- the folder --------------------------------------------------------------------------------

INITIAL = ("--initial", "--firmware-version", "00010200", "--kind", "ppmid")


def test_a_new_folder_is_for_its_owner_alone(data: Path) -> None:
    added(data, *INITIAL)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert [path.name for path in data.iterdir()] == [DATABASE_FILE]
    assert stat.S_IMODE((data / DATABASE_FILE).stat().st_mode) == 0o600


def test_an_entry_can_be_added_while_a_dsp_has_the_database_open(data: Path) -> None:
    with Store(data / DATABASE_FILE) as store:
        assert Cpl(store).find() == ()
        added(data, *INITIAL)
        assert len(Cpl(store).find()) == 1


def test_a_folder_that_cannot_be_one_is_named(data: Path, tmp_path: Path) -> None:
    data.write_text("a file")
    refused(add(data, *INITIAL), "cannot be")
    refused(add(tmp_path / ("a" * 300), *INITIAL), "cannot be read: File name too long")


def test_a_database_of_something_else_is_named_and_left_alone(data: Path) -> None:
    data.mkdir()
    (data / DATABASE_FILE).write_text("notes " * 1000)
    refused(add(data, *INITIAL), "dsp.sqlite cannot be opened: file is not a database")
    assert (data / DATABASE_FILE).read_text() == "notes " * 1000


def test_a_wrong_dsp_toml_is_named_with_its_line(data: Path) -> None:
    data.mkdir()
    (data / "dsp.toml").write_text('[options]\ncpl_hsh = "whole-file"\n')
    refused(add(data, *INITIAL), "dsp.toml, line 2: options.cpl_hsh is not a key")
    assert not (data / DATABASE_FILE).exists()


def test_a_folder_without_dsp_toml_has_every_default(tmp_path: Path) -> None:
    assert load_dsp_file(tmp_path).options.cpl_hash == "manufacturer-image"
    assert load_dsp_file(tmp_path / "none").users == ()
