"""`hanbench dsp`: the stub DSP as a service of its own.

Source: DESIGN, "What it promises to the outside". Its folder holds `dsp.toml` (users, codes,
options), `pki/` (certificates, and the private keys of the Access Control Broker) and the database.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from dsp_stub.desk import (
    Answered,
    CredentialsTold,
    Desk,
    DspEvent,
    Flagged,
    Quarantined,
    SecurityEvent,
)
from dsp_stub.errors import DspValueError
from dsp_stub.http import DspServer
from dsp_stub.options import (
    DATABASE_FILE,
    OPTIONS_FILE,
    PKI_FOLDER,
    DspFile,
    furnish,
    furnish_registrations,
)
from dsp_stub.service import Dsp
from dsp_stub.store import Store
from dsp_stub.users import User, UserRole, Users
from gbcs.certificates import CertificateStore, parse_pem_certificate
from gbcs.chain import Authorities
from gbcs.errors import GbcsError
from gbcs.protection import KeyUse
from hil.clock import run_real
from hil.cpl_commands import load_dsp_file
from hil.dsp_report_commands import report_group
from hil.errors import BenchBroke, RequestError
from hil.key_folder import load_authorities, load_keys
from hil.serving import host_and_port, interruption, require_loopback

DEFAULT_PORT = 8079  # of DCC Boxed
LOOK_S = 2.0


@click.group(
    "dsp",
    short_help="Serve the stub DSP: DUIS requests in, signed answers out.",
    invoke_without_command=True,
)
@click.option(
    "--listen",
    "address",
    metavar="HOST:PORT",
    default=f"127.0.0.1:{DEFAULT_PORT}",
    show_default=True,
)
@click.option(
    "--data",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="dsp.toml (users, codes, options), pki/ and the database.",
)
@click.option("--allow-remote", is_flag=True, help="Listen beyond this machine.")
@click.pass_context
def dsp_command(
    context: click.Context, address: str, folder: Path | None, allow_remote: bool
) -> None:
    """Serve the stub DSP until interrupted; one line per request, with the reason of a refusal.

    Requests signed with a certificate on a revocation list of DIR/pki are refused; the lists are
    read at the start.

    What DIR needs: `hanbench pki create DIR/pki`, and a dsp.toml with a [[user]] table of `eui64`,
    `role` ("IS", "GS", ...) and `callback` (an http URL of this machine) for each user; homes that
    stand in the inventory from the start are [[premises]] tables.
    """
    if context.invoked_subcommand is not None:
        return
    if folder is None:
        raise click.UsageError("Missing option '--data'.")
    host, port = host_and_port(address)
    require_loopback(host, allow_remote)
    file = load_dsp_file(folder)
    keys = _load_pki(folder / PKI_FOLDER)
    users = _users(folder, file, load_authorities(folder / PKI_FOLDER))
    acb = _broker(folder, keys)
    try:
        with Store(folder / DATABASE_FILE) as store:
            options = file.options
            if options.xsd is not None:
                options = options.model_copy(update={"xsd": folder / options.xsd})
            desk = Desk(store, users, keys, acb, options, file.codes)
            with store.transaction():
                furnish(desk.inventory, file.premises, _utc_now().date().isoformat())
                furnish_registrations(desk.registrations, desk.future_dated, file)
            run_real(lambda: _serve(Dsp(desk, _show), host, port, len(file.users), folder))
    except DspValueError as error:
        raise RequestError(str(error)) from None


dsp_command.add_command(report_group)


async def _serve(dsp: Dsp, host: str, port: int, users: int, folder: Path) -> None:
    server = DspServer(dsp, _utc_now)
    interrupted = interruption()
    try:
        url = await server.start(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchBroke(f"{host}:{port} cannot be listened on: {reason}") from None
    shown = click.format_filename(folder)
    click.echo(f"dsp  {url}  {users} user(s), ACB {dsp.desk.acb:016X}, data in {shown}")
    for _ in dsp.desk.targets.warm():
        await asyncio.sleep(0)
    try:
        while not interrupted.is_set():
            # What `hanbench campaign` wrote is seen without a message.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await interrupted.wait()
            server.pump()
    finally:
        await server.stop()


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _show(event: DspEvent) -> None:
    now = _utc_now().strftime("%H:%M:%S")
    match event:
        case Answered():
            reason = f": {event.sentence}" if event.sentence else ""
            service, request_id = event.service or "-", event.request_id or "no RequestID"
            click.echo(f"{now}  {service:<5} {request_id}  {event.code}{reason}")
        case SecurityEvent():
            device = "-" if event.device is None else f"{event.device:016X}"
            click.echo(f"{now}  security  {device}  {event.reason}: {event.detail}")
        case Flagged():
            click.echo(f"{now}  flagged  {event.device:016X}  {event.reason}: {event.detail}")
        case CredentialsTold():
            click.echo(f"{now}  {event.use_case:<5} {event.device:016X}  {event.detail}")
        case Quarantined():
            click.echo(f"{now}  quarantined  {event.request_id}: {event.detail}")


def _load_pki(folder: Path) -> CertificateStore:
    if not folder.is_dir():
        shown = click.format_filename(folder)
        raise RequestError(f"{shown} is not there: make one with `hanbench pki create {shown}`")
    return load_keys(folder)


def _broker(folder: Path, keys: CertificateStore) -> int:
    """The Access Control Broker whose private keys are there."""
    for eui64 in keys.access_control_brokers():
        uses = (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT, KeyUse.XML_SIGNATURE)
        if all(keys.private_key(eui64, use) is not None for use in uses):
            return eui64
    shown = click.format_filename(folder / PKI_FOLDER)
    raise RequestError(f"{shown} has no Access Control Broker with private keys ds, ka and xml-ds")


def _users(folder: Path, file: DspFile, authorities: Authorities | None) -> Users:
    options = click.format_filename(folder / OPTIONS_FILE)
    users = []
    for table in file.users:
        path = folder / table.certificate_file
        shown = click.format_filename(path)
        try:
            certificate = parse_pem_certificate(path.read_bytes())
            role = UserRole(table.role)
            user = User(table.eui64, role, certificate, table.callback, table.suspended)
            users.append(user)
        except OSError as error:
            raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
        except GbcsError as error:
            raise RequestError(f"{shown}: {error}") from None
        except DspValueError as error:
            raise RequestError(f"{options}: {error}") from None
    try:
        return Users(users, authorities)
    except DspValueError as error:
        raise RequestError(f"{options}: {error}") from None
