"""`hanbench report`: the report of a run, made again from its evidence; two runs compared.

Source: DESIGN, "What it promises to the outside" (command line).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from hil.errors import RequestError
from hil.redact import redact as redacted_copy
from hil.report import render_again, write_page
from hil.report_compare import compare, read_side, render_comparison, text_lines
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
@click.option("--redact", is_flag=True, help="Copy the evidence to --out, with nobody named in it.")
@click.option("--out", type=click.Path(path_type=Path), help="A new or empty folder.")
def render_command(folder: Path, redact: bool, out: Path | None) -> None:
    """Make report.html again from the evidence in DIR alone, also of a run that was interrupted.
    With --redact, a copy of all the evidence with pseudonyms instead of EUI-64s, URLs and hosts."""
    if redact != (out is not None):
        raise RequestError("--redact and --out go together: the evidence itself is never changed")
    if out is not None:
        click.echo(redacted_copy(folder, out))
        return
    click.echo(write_page(folder / REPORT, render_again(folder)))


@report_group.command("compare", short_help="Two runs beside each other: 1 if B is worse.")
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), help="Write the page too, with plots.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, nothing else.")
def compare_command(a: Path, b: Path, html: Path | None, as_json: bool) -> None:
    """What changed from the run in A to the run in B. Exit code 0: the same or better; 1: worse,
    that is, something passed in A and does not in B. Figures judge nothing."""
    comparison = compare(read_side(a), read_side(b))
    if html is not None:
        write_page(html, render_comparison(comparison))
    if as_json:
        click.echo(json.dumps(comparison.document(), indent=2))
    else:
        click.echo("\n".join(text_lines(comparison)))
    sys.exit(1 if comparison.worse else 0)
