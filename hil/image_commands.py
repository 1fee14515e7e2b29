"""`hanbench image`: look at firmware files, judge them, make them.

Source: DESIGN, "What it promises to the outside" (command line, exit codes).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table

from firmware_images.checks import Finding, SizeLimit, check_image
from firmware_images.damage import DAMAGES, damage_image, find_damage
from firmware_images.errors import ImageError, ImageValueError
from firmware_images.header import HEADER_STRING_OCTETS, HeaderField, OtaHeader, header_fields
from firmware_images.image import MAX_FILE_BYTES, FirmwareImage, build_image, read_image
from firmware_images.samples import (
    KINDS,
    TRAILER_OCTETS,
    identity,
    identity_of_image,
    image_stream,
    maker_key,
    maker_key_stream,
    seeded_image,
    sign_again,
    split_trailer,
)
from hil.seeds import ROOT_MAX, Seeds

FILES = click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document, nothing else.")
DEFAULT_SIZE_BYTES = 64 * 1024
DECIMAL_FIELDS = ("header length", "total image size", "security credential version")


class ImageCommandError(click.ClickException):
    """A file, an option or an image is wrong."""

    exit_code = 2


def _hex(octets: int) -> Callable[[str], int]:
    """An option's integer, written as exactly so many octets in hexadecimal, 0x or not."""

    def convert(text: str) -> int:
        digits = text.lower().removeprefix("0x")
        if len(digits) != 2 * octets or not set(digits) <= set("0123456789abcdef"):
            raise click.BadParameter(f"{text!r} is not {2 * octets} hexadecimal digits")
        return int(digits, 16)

    return convert


@click.group("image")
def image_group() -> None:
    """Firmware files: inspect, check, build, damage."""


@image_group.command("inspect")
@FILES
@AS_JSON
def inspect_command(files: tuple[Path, ...], as_json: bool) -> None:
    """Say what is in each FILE."""
    images = [_read_image(path) for path in files]
    if as_json:
        _print_json([_description(image) for image in images])
        return
    console = Console(markup=False, highlight=False, emoji=False)
    for image in images:
        _print_image(console, image)


@image_group.command("check")
@FILES
@click.option("--limit", "limit_kb", type=click.IntRange(min=1), default=750, show_default=True)
@click.option("--unit", type=click.Choice(["kib", "kb"]), default="kib", show_default=True)
@click.option("--scope", type=click.Choice(["file", "body"]), default="file", show_default=True)
@click.option("--kind", type=click.Choice(KINDS), help="The product the files are meant for.")
@click.option("--strict", is_flag=True, help="Hold the body to the sub-element format.")
@AS_JSON
@click.pass_context
def check_command(
    ctx: click.Context,
    files: tuple[Path, ...],
    limit_kb: int,
    unit: Any,
    scope: Any,
    kind: str | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Say what is wrong with each FILE; exit code 1 when it must not be sent."""
    limit = SizeLimit(limit_kb, unit, scope)
    product = None if kind is None else identity(kind)
    results = []
    for path in files:
        data, name = _read(path), _shown(path)
        findings = check_image(data, limit=limit, identity=product, strict=strict, name=name)
        results.append((name, len(data), findings))
    if as_json:
        _print_json([_judgement(*result) for result in results])
    else:
        for result in results:
            _print_judgement(*result)
    if any(_fails(findings) for _, _, findings in results):
        ctx.exit(1)


@image_group.command("build")
@click.option("--kind", type=click.Choice(KINDS), help="The product the image is for.")
@click.option("--version", "file_version", type=_hex(4), required=True)
@click.option("--size", "size_bytes", type=int, help="Size of the file in bytes; default 65536.")
@click.option("--seed", type=click.IntRange(0, ROOT_MAX), help="Root of all chance; default 1.")
@click.option("--body", type=click.Path(path_type=Path), help="A body of your own, taken as is.")
@click.option("--manufacturer", type=_hex(2), help="With --body, instead of --kind.")
@click.option("--image-type", type=_hex(2), help="With --body, instead of --kind.")
@click.option("--hw-min", type=_hex(2), help="With --body: lowest hardware version.")
@click.option("--hw-max", type=_hex(2), help="With --body: highest hardware version.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--force", is_flag=True, help="Overwrite the output if it is there.")
@AS_JSON
def build_command(output: Path, force: bool, as_json: bool, **options: Any) -> None:
    """Write an image: seeded and signed by the built-in maker, or around a body of your own."""
    _require_writable(output, force)
    try:
        image = _seeded(**options) if options["body"] is None else _around_body(**options)
    except ImageValueError as error:
        _refuse(str(error))
    _write(output, image.data)
    if as_json:
        _print_json(_description(image) | {"file": _shown(output)})
    else:
        click.echo(
            f"{_shown(output)}: {len(image.data)} bytes, "
            f"version {image.header.file_version:08X}, sha256 {image.sha256}"
        )


@image_group.command("damage")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--list", "show_list", is_flag=True, help="The kinds of damage there are.")
@click.option("--kind", metavar="NAME[:VARIANT]", help="What is to be wrong with the file.")
@click.option("--seed", type=click.IntRange(0, ROOT_MAX), default=1, show_default=True)
@click.option("--running", type=_hex(4), help="The version that the device runs.")
@click.option("--sign", is_flag=True, help="Have the seed's built-in maker sign it again.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: beside FILE.")
@click.option("--force", is_flag=True, help="Overwrite the output if it is there.")
@AS_JSON
def damage_command(
    file: Path | None,
    show_list: bool,
    kind: str | None,
    seed: int,
    running: int | None,
    sign: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a copy of FILE with one thing wrong; which one, --kind says, and --list what there is.

    The same seed gives the same octets.
    """
    if show_list:
        if file is not None or kind is not None:
            _refuse("--list shows what there is; it takes no FILE and no --kind")
        _list_damages(as_json)
        return
    if file is None or kind is None:
        _refuse("FILE and --kind are needed; --list shows the kinds")
    name, _, variant = kind.partition(":")
    data = _damaged(_read_image(file), name, variant or None, Seeds(seed), running, sign)
    if output is None:
        output = file.with_name(f"{file.stem}.{kind.replace(':', '.')}{file.suffix}")
    _require_writable(output, force)
    _write(output, data)
    if as_json:
        document = {"file": _shown(output), "size_bytes": len(data), "kind": name}
        _print_json(document | {"variant": variant or find_damage(name).default_variant})
    else:
        click.echo(f"{_shown(output)}: {len(data)} bytes, {name}: {find_damage(name).what}")


def _damaged(
    image: FirmwareImage,
    name: str,
    variant: str | None,
    seeds: Seeds,
    running: int | None,
    sign: bool,
) -> bytes:
    random_bits = seeds.stream(f"damage {name}").getrandbits
    try:
        data = damage_image(image.data, name, variant, random_bits=random_bits, running=running)
        if sign:
            maker = maker_key_stream(image.header.manufacturer_code)
            data = sign_again(data, maker_key(seeds.stream(maker).getrandbits))
    except ImageValueError as error:
        sentence = str(error)
        if "the device runs" in sentence:
            sentence += ": --running says it"
        _refuse(sentence)
    return data


def _list_damages(as_json: bool) -> None:
    if as_json:
        _print_json(
            [
                {
                    "number": kind.number,
                    "name": kind.name,
                    "what": kind.what,
                    "variants": list(kind.variants),
                }
                for kind in DAMAGES.values()
            ]
        )
        return
    for kind in DAMAGES.values():
        click.echo(f"{kind.number:2}  {kind.name:23} {kind.what}")
        if len(kind.variants) > 1:
            click.echo(f"    {'':23} variants: {', '.join(kind.variants)}")


def _seeded(
    *,
    kind: str | None,
    file_version: int,
    size_bytes: int | None,
    seed: int | None,
    **of_own_bodies: Any,
) -> FirmwareImage:
    for option, value in of_own_bodies.items():
        if value is not None:
            _refuse(f"--{option.replace('_', '-')} goes with --body only")
    if kind is None:
        _refuse("--kind is needed, or --body with --manufacturer and --image-type")
    product = identity(kind)
    seeds = Seeds(1 if seed is None else seed)
    return seeded_image(
        product,
        file_version=file_version,
        size_bytes=DEFAULT_SIZE_BYTES if size_bytes is None else size_bytes,
        random_bits=seeds.stream(image_stream(kind)).getrandbits,
        maker_key=maker_key(seeds.stream(maker_key_stream(product.manufacturer_code)).getrandbits),
    )


def _around_body(
    *,
    kind: str | None,
    file_version: int,
    size_bytes: int | None,
    seed: int | None,
    body: Path,
    manufacturer: int | None,
    image_type: int | None,
    hw_min: int | None,
    hw_max: int | None,
) -> FirmwareImage:
    if size_bytes is not None or seed is not None:
        _refuse("--size and --seed do not go with --body, which is taken as it is")
    if kind is not None:
        if (manufacturer, image_type, hw_min, hw_max) != (None,) * 4:
            _refuse("--kind says what --manufacturer, --image-type, --hw-min, --hw-max would")
        product = identity(kind)
        manufacturer, image_type = product.manufacturer_code, product.image_type
        hw_min = hw_max = product.hardware_version
    if manufacturer is None or image_type is None:
        _refuse("--body needs --kind, or --manufacturer and --image-type")
    if (hw_min is None) != (hw_max is None):
        _refuse("--hw-min and --hw-max go together")
    header = OtaHeader(
        manufacturer_code=manufacturer,
        image_type=image_type,
        file_version=file_version,
        header_string=b"hanbench".ljust(HEADER_STRING_OCTETS, b"\0"),
        minimum_hardware_version=hw_min,
        maximum_hardware_version=hw_max,
    )
    return build_image(header, _read(body))


def _refuse(sentence: str) -> NoReturn:
    raise ImageCommandError(sentence)


def _shown(path: Path) -> str:
    return click.format_filename(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ImageCommandError(f"{_shown(path)} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        _refuse(f"{_shown(path)} is no image, it has more than {MAX_FILE_BYTES} bytes")
    return data


def _read_image(path: Path) -> FirmwareImage:
    try:
        return read_image(_read(path), _shown(path))
    except ImageError as error:
        raise ImageCommandError(str(error)) from None


def _require_writable(path: Path, force: bool) -> None:
    try:
        if path.is_dir():
            _refuse(f"{_shown(path)} is a folder; -o names a file")
        if path.exists() and not force:
            _refuse(f"{_shown(path)} is there already; --force overwrites it")
    except OSError as error:
        raise ImageCommandError(f"{_shown(path)} cannot be written: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    """Write beside, then rename: whoever reads `path` sees the old file or all of the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            beside.write_bytes(data)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise ImageCommandError(f"{_shown(path)} cannot be written: {error.strerror}") from None


def _print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2))


def _description(image: FirmwareImage) -> dict[str, object]:
    try:
        elements: list[dict[str, int]] | None = [e._asdict() for e in image.elements()]
    except ImageError:
        elements = None
    return {
        "file": image.name,
        "size_bytes": len(image.data),
        "sha256": image.sha256,
        "file_version": f"{image.header.file_version:08X}",
        "fields": [
            field._asdict()
            | ({"value": field.value.hex().upper()} if isinstance(field.value, bytes) else {})
            for field in header_fields(image.header)
        ],
        "elements": elements,
        "maker_trailer": split_trailer(image.data) is not None,
        "fits": identity_of_image(image.header),
    }


def _print_image(console: Console, image: FirmwareImage) -> None:
    table = Table(title=image.name, title_justify="left")
    table.add_column("offset", justify="right")
    table.add_column("octets", justify="right")
    table.add_column("field")
    table.add_column("value", overflow="fold")
    for field in header_fields(image.header):
        table.add_row(str(field.offset), str(field.length), field.name, _value(field, image.header))
    for row in _body_rows(image):
        table.add_row(*row)
    if split_trailer(image.data) is not None:
        offset = len(image.data) - TRAILER_OCTETS
        table.add_row(str(offset), str(TRAILER_OCTETS), "maker's trailer", "there, not verified")
    console.print(table)
    kind = identity_of_image(image.header)
    console.print("fits: ", kind or "no product of the built-in bench", sep="")
    console.print("sha256: ", image.sha256, sep="", soft_wrap=True)


def _value(field: HeaderField, header: OtaHeader) -> str:
    if field.name == "header string":
        return header.header_text
    if isinstance(field.value, bytes):
        return field.value.hex(" ").upper()
    if field.name in DECIMAL_FIELDS:
        return str(field.value)
    return f"{field.value:0{2 * field.length}X}"


def _body_rows(image: FirmwareImage) -> list[Sequence[str]]:
    try:
        elements = image.elements()
    except ImageError:
        return [(str(image.header.header_length), str(len(image.body)), "opaque body", "")]
    if not elements:
        return [(str(image.header.header_length), "0", "no body", "")]
    return [
        (str(element.offset), str(element.length), "sub-element data", f"tag {element.tag:04X}")
        for element in elements
    ]


def _fails(findings: list[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def _judgement(name: str, size_bytes: int, findings: list[Finding]) -> dict[str, object]:
    return {
        "file": name,
        "size_bytes": size_bytes,
        "verdict": "fail" if _fails(findings) else "pass",
        "findings": [
            {
                "severity": finding.severity,
                "field": finding.field,
                "offset": finding.offset,
                "sentence": finding.sentence,
            }
            for finding in findings
        ],
    }


def _print_judgement(name: str, size_bytes: int, findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(f"{finding.severity}: {finding.sentence}")
    outcome = "must not be sent" if _fails(findings) else "may be sent"
    click.echo(f"{name}: {size_bytes} bytes, {outcome}")
