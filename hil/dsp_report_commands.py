"""`hanbench dsp report`: what a DSP knows of bridges and their updates, as CSV or JSON.

Source: MP170, annex A, R3 to R5: records for suppliers, the DCC and AltHANCo. Nothing but `import`
changes anything, so a report can be made while the DSP runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dsp_stub.althan_inventory import DISCREPANCY_COLUMNS, AltHanInventory, read_bridges
from dsp_stub.errors import DspValueError
from dsp_stub.reports import COLUMNS, Reports
from dsp_stub.row_files import Row, write_rows
from hil.cpl_list_commands import data_option, day_option, opened, read_file, the_day, write_file
from hil.errors import RequestError

_EUI64 = re.compile(r"[0-9A-Fa-f]{16}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){7}")

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
_output_option = click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write to FILE instead, as JSON if it is called so.",
)
_month_option = click.option(
    "--month",
    metavar="YYYY-MM",
    type=click.DateTime(["%Y-%m"]),
    help="Of that month only.",
)


@click.group("report")
def report_group() -> None:
    """Reports of a DSP: devices, attempts, homes out of step, discrepancies."""


def _report(name: str, *options: Callable[..., Any]) -> Callable[..., Any]:
    """A subcommand that prints or writes the rows its function makes."""

    def decorate(function: Callable[..., Iterable[Row]]) -> Callable[..., Any]:
        columns = COLUMNS.get(name.removesuffix("i"), DISCREPANCY_COLUMNS)

        def command(folder: Path, output: Path | None, *, as_json: bool, **arguments: Any) -> None:
            with opened(folder) as store:
                rows = list(function(Reports(store), AltHanInventory(store), **arguments))
            if output is None:
                click.echo(write_rows(columns, rows, as_json=as_json), nl=False)
                return
            as_json = as_json or output.suffix.lower() == ".json"
            write_file(output, write_rows(columns, rows, as_json=as_json))
            click.echo(f"{len(rows)} rows in {click.format_filename(output)}")

        command.__doc__ = function.__doc__
        for option in (*options, _output_option, _json_option, data_option):
            command = option(command)
        report_group.command(name)(command)
        return function

    return decorate


def _text(month: datetime | None) -> str | None:
    return None if month is None else month.strftime("%Y-%m")


@_report("devices", click.option("--all", "every", is_flag=True, help="Not the bridges alone."))
def _devices(reports: Reports, _: AltHanInventory, every: bool) -> Iterable[Row]:
    """Deployed versions: a row a device, with its last update."""
    return reports.devices(every=every)


@_report("attempts", _month_option)
def _attempts(reports: Reports, _: AltHanInventory, month: datetime | None) -> Iterable[Row]:
    """Every update of a device, with its outcome."""
    return reports.attempts(_text(month))


@_report("log", click.option("--device", metavar="EUI64", help="Of that device, all its lives."))
def _log(reports: Reports, _: AltHanInventory, device: str | None) -> Iterable[Row]:
    """The log of attempts, from which nothing is ever taken."""
    if device is not None and not _EUI64.fullmatch(device):
        raise RequestError(f"{device!r} is no EUI-64")
    return reports.log(None if device is None else int(device.replace("-", ""), 16))


@_report("monthly", _month_option)
def _monthly(reports: Reports, _: AltHanInventory, month: datetime | None) -> Iterable[Row]:
    """How a month's updates went: numbers and success rate. Default: the month that runs."""
    return reports.monthly(_text(month) or datetime.now(UTC).strftime("%Y-%m"))


@_report("esi-034")
def _esi_034(reports: Reports, _: AltHanInventory) -> Iterable[Row]:
    """Every device with firmware, with its SMETS Variant Type."""
    return reports.esi_034()


@_report("esi-034i", _month_option)
def _esi_034i(reports: Reports, _: AltHanInventory, month: datetime | None) -> Iterable[Row]:
    """As esi-034, of the devices something happened to."""
    return reports.esi_034(_text(month), incremental=True)


@_report("out-of-step")
def _out_of_step(reports: Reports, _: AltHanInventory) -> Iterable[Row]:
    """Bridges that are behind the CPL, home by home, with the class of cause."""
    return reports.out_of_step()


@_report("replace", day_option)
def _replace(reports: Reports, _: AltHanInventory, day: datetime | None) -> Iterable[Row]:
    """Devices that must be updated or replaced before a day: their maintenance validity ends."""
    return reports.replace(the_day(day))


@_report("discrepancies")
def _discrepancies(_: Reports, althan: AltHanInventory) -> Iterable[Row]:
    """Where AltHANCo's inventory, as imported last, and the DCC's do not agree."""
    return althan.discrepancies()


@report_group.command("import")
@data_option
@click.argument("file", type=click.Path(path_type=Path))
def import_command(folder: Path, file: Path) -> None:
    """Take AltHANCo's inventory over from FILE, CSV or JSON: the whole file, or nothing."""
    shown = click.format_filename(file)
    try:
        bridges = read_bridges(read_file(file), as_json=file.suffix.lower() == ".json")
    except DspValueError as error:
        raise RequestError(f"{shown}, {error}") from None
    with opened(folder) as store:
        althan = AltHanInventory(store)
        althan.replace(bridges)
        count = len(list(althan.discrepancies()))
    click.echo(f"{len(bridges)} bridges from {shown}, {count} discrepancies")
