"""`hanbench cpl list|import|export|remove|notices|eligible|applicability`: the list as a whole.

Source: DESIGN, "What it promises to the outside"; CPL guidance (the list and the tables beside it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from dsp_stub.applicability import Applicability
from dsp_stub.assurance import notices
from dsp_stub.campaigns import Campaigns
from dsp_stub.cpl import Cpl, CplIdentity
from dsp_stub.cpl_admission import EligibleProduct, Epcl, Submitter, remove_entry
from dsp_stub.cpl_files import (
    export_cpl,
    export_tables,
    read_cpl,
    read_tables,
)
from dsp_stub.errors import DspValueError
from dsp_stub.inventory import Inventory
from dsp_stub.options import DATABASE_FILE
from dsp_stub.row_files import MAX_FILE_CHARACTERS
from dsp_stub.smi import require_digits
from dsp_stub.store import Store
from dsp_stub.updates import Updates
from hil.cpl_commands import cpl_group, entry_document, load_dsp_file, panel_of
from hil.errors import RequestError

__all__ = ["cpl_group", "data_option", "day_option", "opened", "read_file", "write_file"]

data_option = click.option(
    "--data",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the DSP.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document, nothing else."
)
day_option = click.option(
    "--on",
    "day",
    metavar="YYYY-MM-DD",
    type=click.DateTime(["%Y-%m-%d"]),
    help="As it is on that day; default: today.",
)


@cpl_group.command("list")
@data_option
@click.option("--status", type=click.Choice(["Current", "Removed"]), help="Only those.")
@json_option
def list_command(folder: Path, status: str | None, as_json: bool) -> None:
    """Show the list."""
    with opened(folder) as store:
        entries = [one for one in Cpl(store).find() if status is None or one.status == status]
    if as_json:
        click.echo(json.dumps([entry_document(entry) for entry in entries], indent=2))
        return
    for entry in entries:
        hashed = "" if entry.image_hash is None else f", hash {entry.image_hash[:16]}..."
        click.echo(f"{entry.status:<8} {entry.device_type:<6} {entry.identity}{hashed}")
    click.echo(f"{len(entries)} entries")


@cpl_group.command("export")
@data_option
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), required=True)
def export_command(folder: Path, output: Path) -> None:
    """Write the list to FILE, as JSON if it is called so, else as CSV."""
    with opened(folder) as store:
        entries = Cpl(store).find()
    write_file(output, export_cpl(entries, as_json=_is_json(output)))
    click.echo(f"{len(entries)} entries in {click.format_filename(output)}")


@cpl_group.command("import")
@data_option
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--submitted-by",
    "submitter",
    type=click.Choice(["dcc", "party"]),
    default="party",
    show_default=True,
    help="Who asks for the entries; SMETS1 is the DCC's alone.",
)
@click.option("--skip-held", is_flag=True, help="Leave out what is on the list just so.")
def import_command(folder: Path, file: Path, submitter: Submitter, skip_held: bool) -> None:
    """Add the entries of FILE, CSV or JSON: all of them, or none when one line is wrong."""
    shown = click.format_filename(file)
    today = datetime.now(UTC).date()
    dsp_file = load_dsp_file(folder)
    added = 0
    try:
        entries = read_cpl(read_file(file), as_json=_is_json(file))
    except DspValueError as error:
        raise RequestError(f"{shown}, {error}") from None
    with opened(folder) as store:
        panel = panel_of(store, dsp_file)
        with store.transaction():
            for place, entry in entries:
                if skip_held and panel.cpl.get(entry.identity) == entry:
                    continue
                try:
                    panel.admit(entry, submitter, today)
                except DspValueError as error:
                    raise RequestError(f"{shown}, {place}: {error}") from None
                added += 1
    click.echo(f"{added} entries added from {shown}, {len(entries) - added} were there")


@cpl_group.command("remove")
@data_option
@click.option("--manufacturer", metavar="HEX", required=True)
@click.option("--model", metavar="HEX", required=True)
@click.option("--firmware-version", metavar="HEX", required=True)
@click.option("--smets-version", metavar="TEXT", required=True)
@click.option("--gbcs-version", metavar="TEXT", required=True)
def remove_command(
    folder: Path,
    manufacturer: str,
    model: str,
    firmware_version: str,
    smets_version: str,
    gbcs_version: str,
) -> None:
    """Set an entry to Removed. Updates that were accepted go on, and are flagged."""
    model = model.upper()
    identity = CplIdentity(
        manufacturer.upper(),
        model[:4],
        model[4:6],
        model[6:],
        firmware_version.upper(),
        smets_version,
        gbcs_version,
    )
    with opened(folder) as store, store.transaction():
        accepted = remove_entry(
            Cpl(store),
            Updates(store),
            Campaigns(store),
            Inventory(store),
            identity,
            datetime.now(UTC),
        )
    click.echo(f"{identity}: Removed")
    for device in accepted:
        click.echo(f"flagged: the update of {device:016X} to it was accepted and goes on")


@cpl_group.command("notices")
@data_option
@day_option
@json_option
def notices_command(folder: Path, day: datetime | None, as_json: bool) -> None:
    """Whose certificates expire within 12 or 6 months, or have expired; nothing is removed."""
    with opened(folder) as store:
        found = notices(Cpl(store).find(), the_day(day))
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "entry": entry_document(one.entry),
                "certificate": str(one.certificate),
                "expires": one.certificate.expires.isoformat(),
                "within_months": one.months,
            }
            for one in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for one in found:
        when = f"within {one.months} months" if one.months else "has expired"
        click.echo(f"{one.certificate.expires}  {when:<16} {one.certificate}: {one.entry.identity}")
    click.echo(f"{len(found)} notices")


@cpl_group.command("eligible")
@data_option
@click.option("--manufacturer", metavar="HEX")
@click.option("--model", metavar="HEX")
@click.option("--firmware-version", metavar="HEX")
def eligible_command(folder: Path, **product: str | None) -> None:
    """Show the EPCL, or put a SMETS1 product on it."""
    values = [None if value is None else value.upper() for value in product.values()]
    with opened(folder) as store:
        epcl = Epcl(store)
        if any(values):
            for (name, value), digits in zip(product.items(), (4, 8, 8), strict=True):
                require_digits(name, (value or "").upper(), digits)
            epcl.add(EligibleProduct(*(value or "" for value in values)))
        for one in epcl.all():
            click.echo(f"{one.manufacturer}  {one.model}  {one.firmware_version}")


@cpl_group.command("applicability")
@data_option
@click.option("--import", "source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path))
def applicability_command(folder: Path, source: Path | None, output: Path | None) -> None:
    """Show the Applicability Tables, put those of FILE in their place, or write them to FILE."""
    with opened(folder) as store:
        tables = Applicability(store)
        if source is not None:
            shown = click.format_filename(source)
            try:
                tables.replace(read_tables(read_file(source), as_json=_is_json(source)))
            except DspValueError as error:
                raise RequestError(f"{shown}, {error}") from None
        specifications = tables.all()
    if output is not None:
        write_file(output, export_tables(specifications, as_json=_is_json(output)))
    for one in specifications:
        gbcs = ", ".join(f"{version} ({period})" for version, period in one.gbcs)
        click.echo(f"{one.version}: IVP {one.installation}; MVP {one.maintenance}; GBCS {gbcs}")


# -- files and days ----------------------------------------------------------------------------


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """The database of a DSP's folder; what it refuses is the caller's mistake."""
    try:
        with Store(folder / DATABASE_FILE) as store:
            yield store
    except DspValueError as error:
        raise RequestError(str(error)) from None


def the_day(day: datetime | None) -> date:
    return datetime.now(UTC).date() if day is None else day.date()


def read_file(path: Path) -> str:
    shown = click.format_filename(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read(MAX_FILE_CHARACTERS + 1)
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    except ValueError:
        raise RequestError(f"{shown} is no text in UTF-8") from None


def write_file(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        shown = click.format_filename(path)
        raise RequestError(f"{shown} cannot be written: {error.strerror}") from None


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"
