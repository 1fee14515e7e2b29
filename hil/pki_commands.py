"""`hanbench pki`: make a test SMKI, take devices and organisations in, take certificates back.

Source: DESIGN, "What it promises to the outside" (command line, exit codes). What is in the folder
is said by `pki_folder` and `key_folder`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from gbcs.smki import DEFAULT_VALIDITY
from hil.bench_file import FIRST_EPOCH, LAST_EPOCH
from hil.errors import RequestError
from hil.key_folder import load_certificate
from hil.pki_folder import MAX_DAYS, Settings, create_pki, open_pki
from hil.pki_issue import issue_command
from hil.seeds import ROOT_MAX

DEFAULT_EPOCH = "2026-01-01T00:00:00Z"


@click.group("pki")
def pki_group() -> None:
    """Test certificates: a TEST ONLY SMKI, and who is taken into it."""


def _moment(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not FIRST_EPOCH <= moment < LAST_EPOCH:
        problem = f"{text!r} is not a time from 2000 to 2099 with its zone, such as {DEFAULT_EPOCH}"
        raise click.BadParameter(problem)
    return moment.astimezone(UTC).replace(microsecond=0)


@pki_group.command("create")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(0, ROOT_MAX), default=1, show_default=True)
@click.option(
    "--epoch",
    metavar="TIME",
    default=DEFAULT_EPOCH,
    show_default=True,
    callback=_moment,
    help="When the certificates begin.",
)
@click.option(
    "--days",
    type=click.IntRange(1, MAX_DAYS),
    default=DEFAULT_VALIDITY.days,
    show_default=True,
    help="How long those of organisations are valid.",
)
def create_command(folder: Path, seed: int, epoch: datetime, days: int) -> None:
    """Fill DIR, new or empty, with a TEST ONLY SMKI: authorities, organisations, two devices,
    revocation lists; and with the authorities of ZigBee key establishment.

    The same seed, epoch and days give the same files.
    """
    pki, count = create_pki(folder, Settings(seed, epoch, days))
    click.echo(f"{pki.shown}: TEST ONLY, {count} certificates and their keys from seed {seed}")


@pki_group.command("revoke")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument(
    "certificates", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--at", metavar="TIME", callback=_moment, help="Since when; now unless said.")
def revoke_command(folder: Path, certificates: tuple[Path, ...], at: datetime | None) -> None:
    """Put certificates on the revocation list of their authority in DIR.

    A DSP that is started on DIR refuses what is signed with a revoked certificate. What is on a
    list stays there.
    """
    pki = open_pki(folder)
    since = at or datetime.now(UTC).replace(microsecond=0)
    read = {click.format_filename(path): load_certificate(path) for path in certificates}
    for shown, certificate in read.items():  # all of them, or none
        try:
            pki.list_of(certificate)
        except RequestError as error:
            raise RequestError(f"{shown} is not revoked: {error}") from None
    for shown, certificate in read.items():
        name, is_new = pki.revoke(certificate, since)
        said = "is on" if is_new else "was already on"
        click.echo(f"{shown} {said} {name}, serial {certificate.serial:X}")


pki_group.add_command(issue_command)
