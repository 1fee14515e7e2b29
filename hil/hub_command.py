"""`hanbench hub`: one Communications Hub as a process of its own, on any stick.

Source: DESIGN, "What it promises to the outside" (command line). Its radio is a serial URL, its WAN
a WebSocket to `hanbench dsp`, its EUI-64 that of the stick; its keys are those of a folder of
`hanbench pki`. What of GBCS must outlive a restart, the counters and the alerts not yet sent, is in
the file of `--memory`; the device log is entered anew by 8.11.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from emulator.devices.gbcs_half import GbcsIdentity, GbcsMemory
from emulator.devices.hub import DeviceJoined, FrameDiscarded, Hub, HubEvent, HubLost
from emulator.devices.node import NetworkSettings, NodeError
from emulator.devices.nonvolatile import Record, Steady
from emulator.devices.ota_server import Anomaly, TransferOutcome, TransferStarted
from emulator.devices.zigpy_node import ZigpyNode
from firmware_images.checks import MAX_LIMIT_KB
from gbcs.certificates import CertificateStore
from gbcs.endpoint import DeviceKeys, TrustCells
from gbcs.protection import KeyUse
from hil.clock import run_real
from hil.errors import BenchBroke, RequestError
from hil.key_folder import load_keys
from hil.radio_options import CHANNEL
from hil.seeds import ROOT_MAX, Seeds
from hil.serving import interruption, require_loopback
from hil.wan_client import WanClient
from hil.wiring import quiet_hosts

_FILE_MODE = 0o600
DEFAULT_SLOT_KB = 750


@click.command("hub", short_help="One hub on a stick, its WAN a link to hanbench dsp.")
@click.option("--radio", required=True, metavar="URL", help="/dev/ttyUSB0, tcp://HOST:PORT, …")
@click.option("--wan", "wan_url", required=True, metavar="URL", help="ws://HOST:PORT of the DSP.")
@click.option(
    "--keys",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The hub's certificates and keys, and those of the Access Control Broker.",
)
@click.option(
    "--memory",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Counters and alerts: read if it exists, kept up to date.",
)
@click.option("--seed", type=click.IntRange(0, ROOT_MAX), default=1, show_default=True)
@click.option(
    "--slot-kb",
    type=click.IntRange(1, MAX_LIMIT_KB),
    default=DEFAULT_SLOT_KB,
    show_default=True,
    help="Room for an image, in KiB.",
)
@click.option("--take-over", is_flag=True, help="Let the stick forget the network it knows.")
@click.option("--allow-remote", is_flag=True, help="Talk to a DSP that is not on this machine.")
def hub_command(
    radio: str,
    wan_url: str,
    folder: Path,
    memory: Path | None,
    seed: int,
    slot_kb: int,
    take_over: bool,
    allow_remote: bool,
) -> None:
    """Be one Communications Hub until interrupted: form a network on the stick, and do what the
    DSP says. One line for everything that happens.

    The link to the DSP is made again when it breaks. Its EUI-64 must stand in the DSP's inventory
    as a CHF, and in DIR with its keys (`hanbench pki issue`).
    """
    parts = urlsplit(wan_url)
    if parts.scheme not in ("ws", "http") or not parts.hostname or parts.path not in ("", "/"):
        raise RequestError(
            f"{wan_url!r} is no DSP: say ws://HOST:PORT, such as ws://127.0.0.1:8079"
        )
    require_loopback(parts.hostname, allow_remote)
    keys = load_keys(folder)
    brokers = keys.access_control_brokers()
    if not brokers:
        shown = click.format_filename(folder)
        raise RequestError(f"{shown} has no certificates of an Access Control Broker")
    seeds = Seeds(seed)
    settings = NetworkSettings(
        CHANNEL,
        seeds.pan_id(),
        int.from_bytes(seeds.extended_pan_id(), "big"),
        seeds.network_key(),
        seeds.derive("trust centre seed", 16),
    )
    quiet_hosts()
    run_real(
        lambda: _serve(
            radio,
            wan_url,
            partial(_identity, folder, keys, brokers[0]),
            GbcsMemory() if memory is None else load_memory(memory),
            settings,
            slot_kb * 1024,
            take_over=take_over,
        )
    )


async def _serve(
    radio: str,
    wan_url: str,
    identity: Callable[[int], GbcsIdentity],
    memory: GbcsMemory,
    settings: NetworkSettings,
    slot_bytes: int,
    *,
    take_over: bool,
) -> None:
    interrupted = interruption()
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_event(event: HubEvent) -> None:
        if isinstance(event, HubLost) and not lost.done():
            lost.set_result(event.reason)
        _show(event)

    client: WanClient | None = None
    hub = Hub(
        radio,
        partial(ZigpyNode, take_over=take_over),
        on_event,
        image_limit_bytes=slot_bytes,
        identity=identity,
        memory=memory,
        wan=lambda message: None if client is None else client.send(message),
        utc_now=_utc_now,
    )
    client = WanClient(wan_url, hub.deliver, lambda what: _say(f"wan  {what}"))
    try:
        await hub.start(settings)
        eui64 = hub.node.eui64
        click.echo(f"hub  {eui64:016X}  {radio}  PAN {settings.pan_id:04X} channel {CHANNEL}")
        link = asyncio.create_task(client.run(eui64), name="hub's link to the DSP")
        waiting = asyncio.create_task(interrupted.wait(), name="interruption")
        ends: set[asyncio.Future[Any]] = {link, waiting, lost}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in (link, waiting):
            task.cancel()
        await asyncio.gather(link, waiting, return_exceptions=True)
    except NodeError as error:
        raise BenchBroke(str(error)) from None
    finally:
        await hub.stop()
    if lost.done():
        raise BenchBroke(f"the hub lost its radio: {lost.result()}")


def _identity(folder: Path, keys: CertificateStore, broker: int, eui64: int) -> GbcsIdentity:
    uses = (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT)
    own = [keys.private_key(eui64, use) for use in uses]
    cells = [keys.certificate(broker, use) for use in uses]
    shown = click.format_filename(folder)
    if own[0] is None or own[1] is None:
        raise RequestError(f"{shown} has no keys of the hub {eui64:016X}: see `hanbench pki issue`")
    if cells[0] is None or cells[1] is None:
        raise RequestError(f"{shown} has not both certificates of the ACB {broker:016X}")
    known = [keys.certificate(eui64, use) for use in uses]
    return GbcsIdentity(
        DeviceKeys(own[0], own[1]),
        TrustCells(cells[0], cells[1]),
        tuple(certificate for certificate in known if certificate is not None),
        secrets.randbits,  # from a seed, a restart would draw the same keys again
    )


# -- what outlives a restart ---------------------------------------------------------------------


class _KeptInFile(Steady):
    """Power that lasts: what a record holds is in a file before anybody is told."""

    __slots__ = ("_path", "_record")

    def __init__(self, path: Path, record: Record) -> None:
        self._path = path
        self._record = record

    def operate(self, _name: str, do: Callable[[], object], _tear: Callable[[], object]) -> None:
        do()
        fresh = self._path.with_name(f".{self._path.name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._record.read() or b"")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_memory(path: Path) -> GbcsMemory:
    """What a hub went with, kept in this file from now on."""
    try:
        body = path.read_bytes() if path.exists() else None
        record = Record(body or None)
        return GbcsMemory.restarted(record, _KeptInFile(path, record))
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise RequestError(f"{path}: this is no memory of a hub") from None


# -- what is told --------------------------------------------------------------------------------


def _show(event: HubEvent) -> None:
    match event:
        case DeviceJoined():
            _say(f"joined  {event.eui64:016X} as {event.node_id:04X}")
        case FrameDiscarded():
            _say(f"discarded  {event.eui64:016X}  {event.reason.name}: {event.detail}")
        case TransferStarted():
            _say(f"transfer  {event.eui64:016X}  {event.file_version:08X} begins")
        case TransferOutcome():
            said = event.response_code.name.lower().replace("_", " ")
            _say(f"transfer  {event.eui64:016X}  {event.file_version:08X}  {said}: {event.reason}")
        case Anomaly():
            _say(f"anomaly  {event.eui64:016X}  {event.kind}: {event.detail}")


def _say(text: str) -> None:
    click.echo(f"{_utc_now():%H:%M:%S}  {text}")


def _utc_now() -> datetime:
    return datetime.now(UTC)
