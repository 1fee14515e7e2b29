"""`hanbench report`: the report of a run, made again from its evidence; two runs compared.

Source: DESIGN, "What it promises to the outside" (command line).
"""

from __future__ import annotations

from pathlib import Path

import click

from hil.report import render_again, write_page
from hil.report_rows import REPORT

_RENDER = "of"


class _ReportGroup(click.Group):
    """A group whose first word may be a folder: then it is the report of that."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [_RENDER, *args]
        return super().parse_args(ctx, args)


@click.group("report", cls=_ReportGroup, short_help="The report of a run, once more; two compared.")
def report_group() -> None:
    """`hanbench report DIR` makes report.html again from the evidence in DIR."""


@report_group.command(_RENDER, short_help="The report of DIR; `report DIR` will do.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def render_command(folder: Path) -> None:
    """Make report.html again from the evidence in DIR alone, also of a run that was interrupted."""
    click.echo(write_page(folder / REPORT, render_again(folder)))
