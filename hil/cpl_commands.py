"""`hanbench cpl`: put firmware on the Central Products List of a DSP's folder.

Source: DESIGN, "What it promises to the outside" (command line, exit codes); "Sentences that keep
it real", 7 (no code path adds an entry from a request: this command is the one that does).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from dsp_stub.applicability import Applicability
from dsp_stub.assurance import AssuranceCertificate
from dsp_stub.cpl import Cpl, CplEntry, HashScope, image_hash
from dsp_stub.cpl_admission import Epcl, Panel, Submitter
from dsp_stub.errors import DspValueError
from dsp_stub.options import DATABASE_FILE, OPTIONS_FILE, DspFile, contradictions
from dsp_stub.smi import DeviceType
from dsp_stub.store import Store
from firmware_images.errors import ImageError
from firmware_images.image import MAX_FILE_BYTES, FirmwareImage, read_image
from firmware_images.samples import KINDS, PRODUCTS, identity_of_image
from hil.errors import RequestError
from hil.toml_file import load_toml

DEFAULT_SMETS_VERSION = "PPMIDTS V4.4"  # the first PPMIDs that take firmware over the air
DEFAULT_GBCS_VERSION = "4.1"
TYPES = ("PPMID", "HCALCS", "ESME", "GSME", "CHF")


@click.group("cpl")
def cpl_group() -> None:
    """The Central Products List of a DSP."""


@cpl_group.command("add")
@click.option(
    "--data",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the DSP; made if there is none.",
)
@click.option(
    "--from-image",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The OTA file the entry is for.",
)
@click.option("--initial", is_flag=True, help="A version devices are delivered with: no file.")
@click.option("--firmware-version", metavar="HEX", help="With --initial: 8 digits.")
@click.option("--kind", type=click.Choice(KINDS), help="With --initial: a built-in product.")
@click.option("--manufacturer", metavar="HEX", help="4 digits; an image says its own.")
@click.option("--model", metavar="HEX", help="8 digits: model, hardware version and revision.")
@click.option("--type", "type_name", type=click.Choice(TYPES), default="PPMID", show_default=True)
@click.option(
    "--smets-version", metavar="TEXT", help=f"Default, for a PPMID: {DEFAULT_SMETS_VERSION}"
)
@click.option("--gbcs-version", metavar="TEXT", default=DEFAULT_GBCS_VERSION, show_default=True)
@click.option(
    "--hash-scope",
    type=click.Choice(["manufacturer-image", "whole-file"]),
    help="What is hashed; default: what dsp.toml says.",
)
@click.option(
    "--submitted-by",
    "submitter",
    type=click.Choice(["dcc", "party"]),
    default="party",
    show_default=True,
    help="Who asks for the entry; SMETS1 is the DCC's alone.",
)
@click.option(
    "--certificate",
    "certificates",
    metavar="TEXT",
    multiple=True,
    help='An assurance certificate, such as "ZigBee 2030-12-31 ZIG-123".',
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, nothing else.")
def add_command(
    folder: Path,
    file: Path | None,
    initial: bool,
    smets_version: str | None,
    gbcs_version: str,
    type_name: str,
    submitter: Submitter,
    certificates: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Add a Current entry to the list in DIR.

    What is added stays: an entry is never amended.
    """
    device_type = DeviceType(type_name)
    if smets_version is None:
        if device_type is not DeviceType.PPMID:
            _refuse(f"--smets-version is needed for type {device_type}")
        smets_version = DEFAULT_SMETS_VERSION
    if initial is (file is not None):
        _refuse("--from-image FILE is needed, or --initial with --firmware-version")
    dsp_file = load_dsp_file(folder)
    if file is None:
        described = _initial(**options)
    else:
        described = _from_image(file, dsp_file.options.cpl_hash, **options)
    try:
        entry = CplEntry(
            device_type=device_type,
            smets_chts_version=smets_version,
            gbcs_version=gbcs_version,
            certificates=tuple(map(AssuranceCertificate.parse, certificates)),
            **described,
        )
        with Store(folder / DATABASE_FILE) as store:
            panel_of(store, dsp_file).admit(entry, submitter, datetime.now(UTC).date())
    except DspValueError as error:
        _refuse(str(error))
    _print(entry, as_json)


def panel_of(store: Store, file: DspFile) -> Panel:
    """Who keeps the list of a DSP."""
    required = file.options.assurance == "required"
    return Panel(Cpl(store), Epcl(store), Applicability(store), required)


def load_dsp_file(folder: Path) -> DspFile:
    """The `dsp.toml` of a DSP's folder; without one, every default."""
    path = folder / OPTIONS_FILE
    try:
        is_there = path.exists()
    except OSError as error:
        _refuse(f"{click.format_filename(path)} cannot be read: {error.strerror}")
    return load_toml(path, DspFile, contradictions) if is_there else DspFile()


def _initial(
    *,
    firmware_version: str | None,
    kind: str | None,
    manufacturer: str | None,
    model: str | None,
    hash_scope: HashScope | None,
) -> dict[str, Any]:
    if hash_scope is not None:
        _refuse("--hash-scope goes with --from-image only")
    if firmware_version is None:
        _refuse("--initial needs --firmware-version")
    if kind is not None:
        if (manufacturer, model) != (None, None):
            _refuse("--kind says what --manufacturer and --model would")
        product = PRODUCTS[kind]
        manufacturer, model = f"{product.manufacturer_code:04X}", product.model
    if manufacturer is None or model is None:
        _refuse("--initial needs --manufacturer and --model, or --kind")
    return {
        "manufacturer": manufacturer.upper(),
        "model": model.upper(),
        "firmware_version": firmware_version.upper(),
    }


def _from_image(
    file: Path,
    default_scope: HashScope,
    *,
    firmware_version: str | None,
    kind: str | None,
    manufacturer: str | None,
    model: str | None,
    hash_scope: HashScope | None,
) -> dict[str, Any]:
    for option, value in (("--firmware-version", firmware_version), ("--kind", kind)):
        if value is not None:
            _refuse(f"{option} goes with --initial only, an image says it")
    image = _read_image(file)
    header = image.header
    code = f"{header.manufacturer_code:04X}"
    if manufacturer is not None and manufacturer.upper() != code:
        _refuse(f"{image.name} is of manufacturer {code}, not {manufacturer.upper()}")
    return {
        "manufacturer": code,
        "model": _default_model(image) if model is None else _model(image, model.upper()),
        "firmware_version": f"{header.file_version:08X}",
        "image_hash": image_hash(image, hash_scope or default_scope),
    }


def _default_model(image: FirmwareImage) -> str:
    """The built-in product's, else image type and lowest hardware version."""
    header = image.header
    kind = identity_of_image(header)
    if kind is not None:
        return PRODUCTS[kind].model
    if header.minimum_hardware_version is None:
        _refuse(f"{image.name} has no hardware versions, so --model is needed")
    return f"{header.image_type:04X}{header.minimum_hardware_version:04X}"


def _model(image: FirmwareImage, model: str) -> str:
    """A model given by hand; what is no model is refused with the rest of the entry."""
    try:
        hardware_version = int(model[4:], 16)
    except ValueError:
        return model
    if not image.header.fits_hardware(hardware_version):
        _refuse(f"model {model} has a hardware version outside the range of {image.name}")
    return model


def _read_image(path: Path) -> FirmwareImage:
    shown = click.format_filename(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        _refuse(f"{shown} cannot be read: {error.strerror}")
    if len(data) > MAX_FILE_BYTES:
        _refuse(f"{shown} is no image, it has more than {MAX_FILE_BYTES} bytes")
    try:
        return read_image(data, shown)
    except ImageError as error:
        _refuse(str(error))


def entry_document(entry: CplEntry) -> dict[str, Any]:
    """An entry as this command writes it in JSON: digits as in DUIS."""
    return {
        "device_type": entry.device_type,
        "manufacturer": entry.manufacturer,
        "model": entry.model,
        "firmware_version": entry.firmware_version,
        "smets_chts_version": entry.smets_chts_version,
        "gbcs_version": entry.gbcs_version,
        "image_hash": entry.image_hash,
        "status": entry.status,
        "certificates": list(map(str, entry.certificates)),
    }


def _print(entry: CplEntry, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(entry_document(entry), indent=2))
        return
    click.echo(f"{entry.device_type} {entry.identity}: {entry.status}")
    click.echo(f"hash {entry.image_hash or 'none, it is never sent over the air'}")


def _refuse(sentence: str) -> NoReturn:
    raise RequestError(sentence)
