"""What a hub and a device that are processes of their own have in common.

Source: DESIGN, "What it promises to the outside" (`hanbench hub`, `hanbench device`). Their keys
are those of a folder as `hanbench pki create` and `pki issue` write it, their EUI-64 is that of the
stick, and both know the network by the seed it is made from.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from emulator.devices.gbcs_half import GbcsIdentity, Identify
from emulator.devices.node import NetworkSettings
from gbcs.certificates import Certificate, CertificateStore
from gbcs.endpoint import DeviceKeys, TrustCells
from gbcs.errors import GbcsValueError
from gbcs.protection import KeyUse
from gbcs.smki import RECOVERY_EUI64
from hil.errors import RequestError
from hil.key_folder import ROOT, load_certificate, load_keys
from hil.radio_options import CHANNEL, FIRST_CHANNEL, LAST_CHANNEL
from hil.seeds import Seeds
from hil.state_folder import StateFolder


def channel_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--channel",
        type=click.IntRange(FIRST_CHANNEL, LAST_CHANNEL),
        default=CHANNEL,
        show_default=True,
        help="Of the hub's network.",
    )(command)


def network_settings(seed: int, channel: int) -> NetworkSettings:
    """The network a hub forms from a seed."""
    seeds = Seeds(seed)
    return NetworkSettings(
        channel,
        seeds.pan_id(),
        int.from_bytes(seeds.extended_pan_id(), "big"),
        seeds.network_key(),
        seeds.derive("trust centre seed", 16),
    )


def identities(folder: Path, whose: str, state: StateFolder | None) -> Identify:
    """Who the process is, once the stick has told its EUI-64. Raises RequestError for a folder
    that has no Access Control Broker; what is returned raises it too."""
    keys = load_keys(folder)
    brokers = keys.access_control_brokers()
    if not brokers:
        shown = click.format_filename(folder)
        raise RequestError(f"{shown} has no certificates of an Access Control Broker")
    root = load_certificate(folder / f"{ROOT}.pem") if (folder / f"{ROOT}.pem").exists() else None
    return partial(_identity, folder, whose, state, keys, brokers[0], root)


def _identity(
    folder: Path,
    whose: str,
    state: StateFolder | None,
    keys: CertificateStore,
    broker: int,
    root: Certificate | None,
    eui64: int,
) -> GbcsIdentity:
    if state is not None:
        state.claim(eui64)
    uses = (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT)
    own = [keys.private_key(eui64, use) for use in uses]
    cells = [keys.certificate(broker, use) for use in uses]
    shown = click.format_filename(folder)
    if own[0] is None or own[1] is None:
        raise RequestError(
            f"{shown} has no keys of the {whose} {eui64:016X}: see `hanbench pki issue`"
        )
    if cells[0] is None or cells[1] is None:
        raise RequestError(f"{shown} has not both certificates of the ACB {broker:016X}")
    recovery = keys.certificate(RECOVERY_EUI64, KeyUse.DIGITAL_SIGNATURE)
    try:
        trust = TrustCells(cells[0], cells[1], recovery, root)
    except GbcsValueError as error:
        raise RequestError(f"{shown}: {error}") from None
    known = [keys.certificate(eui64, use) for use in uses]
    return GbcsIdentity(
        DeviceKeys(own[0], own[1]),
        trust,
        tuple(certificate for certificate in known if certificate is not None),
        secrets.randbits,  # from a seed, a restart would draw the same keys again
    )


class Loss:
    """The first reason why a process cannot go on."""

    def __init__(self) -> None:
        self._told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def tell(self, reason: str) -> None:
        if not self._told.done():
            self._told.set_result(reason)

    @property
    def reason(self) -> str | None:
        return self._told.result() if self._told.done() else None

    async def until(self, *others: Coroutine[Any, Any, object]) -> None:
        """Wait for it, or for one of the others to end; all are cancelled then. Raises what one of
        them raised."""
        tasks: list[asyncio.Future[Any]] = [asyncio.create_task(other) for other in others]
        await asyncio.wait([self._told, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


def utc_now() -> datetime:
    return datetime.now(UTC)


def say(text: str) -> None:
    click.echo(f"{utc_now():%H:%M:%S}  {text}")
