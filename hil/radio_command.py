"""`hanbench radio`: emulated EZSP sticks that share one air, for any host.

Source: DESIGN, "What it promises to the outside" (command line).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import click

from emulator.medium.zep import PORT as ZEP_PORT
from hil.clock import run_real
from hil.errors import RequestError
from hil.run_command import EzspChoice
from hil.seeds import ROOT_MAX
from hil.serving import host_and_port, interruption
from hil.sticks import PROFILES, Profile, ServedStick, StickOptions, serve_sticks

_EUI64 = re.compile(r"[0-9A-Fa-f]{16}")


@click.command("radio", short_help="Emulated EZSP sticks that share one air, for any host.")
@click.option(
    "--listen",
    "urls",
    multiple=True,
    required=True,
    metavar="URL",
    help="tcp://HOST:PORT, port 0 for any, or pty://NAME; one stick for each time this is given.",
)
@click.option(
    "--ezsp", type=EzspChoice(), default="14", show_default=True, help="4 to 14 or 16 to 19."
)
@click.option(
    "--eui64",
    "eui64s",
    multiple=True,
    metavar="[STICK=]HEX",
    help="Of stick-1, stick-2, … in order, or of the one named.",
)
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="[STICK=]FILE",
    help="A stick's memory, in order or by name: read if it exists, kept up to date.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="[STICK=]PROFILE",
    help=f"What a stick without a file is: {', '.join(PROFILES)}.  [default: blank]",
)
@click.option("--strict", is_flag=True, help="Refuse what real firmware refuses.")
@click.option(
    "--no-cbke",
    is_flag=True,
    help="Key establishment and signatures are a stub, as in most sticks.",
)
@click.option("--seed", type=click.IntRange(0, ROOT_MAX), default=1, show_default=True)
@click.option("--fault", "faults", multiple=True, metavar="TEXT", help='Such as "loss 10 %".')
@click.option(
    "--pcap", type=click.Path(path_type=Path), metavar="FILE", help="Every frame, as pcapng."
)
@click.option(
    "--zep",
    is_flag=False,
    flag_value=f"127.0.0.1:{ZEP_PORT}",
    metavar="[HOST:PORT]",
    help=f"Every frame, live, for Wireshark.  [without a place: 127.0.0.1:{ZEP_PORT}]",
)
@click.option(
    "--allow-remote",
    is_flag=True,
    help="Serve or send beyond this machine: ASH asks nobody who he is.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object per stick and line.")
def radio_command(
    urls: tuple[str, ...],
    ezsp: str,
    eui64s: tuple[str, ...],
    states: tuple[str, ...],
    profiles: tuple[str, ...],
    strict: bool,
    no_cbke: bool,
    seed: int,
    faults: tuple[str, ...],
    pcap: Path | None,
    zep: str | None,
    allow_remote: bool,
    as_json: bool,
) -> None:
    """Serve emulated sticks on one air until interrupted; one line per stick when they are ready.

    A stick without --state forgets everything when this ends.
    """
    for url in urls:
        if url.startswith("mem:"):
            raise RequestError(f"{url!r} is for hosts in one process: say tcp:// or pty://")
    eui64_of = _by_stick("--eui64", eui64s, len(urls))
    state_of = _by_stick("--state", states, len(urls))
    profile_of = _by_stick("--profile", profiles, len(urls))
    options = [
        StickOptions(
            url,
            None if eui64_of[number] is None else _eui64(eui64_of[number] or ""),
            None if state_of[number] is None else Path(state_of[number] or ""),
            _profile(profile_of[number] or PROFILES[0]),
        )
        for number, url in enumerate(urls)
    ]

    async def serve() -> None:
        interrupted = interruption()  # before anybody is told that there is something to interrupt
        async with serve_sticks(
            *options,
            ezsp=int(ezsp),
            seed=seed,
            strict=strict,
            cbke=not no_cbke,
            faults=faults,
            pcap=pcap,
            zep=None if zep is None else host_and_port(zep),
            allow_remote=allow_remote,
        ) as sticks:
            for stick in sticks:
                _announce(stick, int(ezsp), as_json=as_json)
            waiting = [
                asyncio.create_task(interrupted.wait()),
                broken := asyncio.create_task(sticks.broken()),
            ]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                raise broken.result()
            broken.cancel()

    run_real(serve)


def _by_stick(option: str, values: Sequence[str], sticks: int) -> list[str | None]:
    """One value per stick: those that name one to it, the others in order."""
    names = [f"stick-{number + 1}" for number in range(sticks)]
    found: list[str | None] = [None] * sticks
    number = 0
    for text in values:
        name, equals, value = text.partition("=")
        if equals and re.fullmatch(r"stick-\d+", name):
            if name not in names:
                raise RequestError(f"{option} {text}: there is {', '.join(names)}")
            place = names.index(name)
        else:
            place, value = number, text
            number += 1
            if place >= sticks:
                raise RequestError(f"{option} {text}: there are only {sticks} sticks for it")
        if found[place] is not None:
            raise RequestError(f"{option} {text}: {names[place]} has one already")
        found[place] = value
    return found


def _eui64(text: str) -> int:
    digits = text.replace(":", "")
    if not _EUI64.fullmatch(digits) or int(digits, 16) in (0, 2**64 - 1):
        raise RequestError(f"--eui64 {text}: an EUI-64 is 16 hex digits, such as 02484E4200000001")
    return int(digits, 16)


def _profile(text: str) -> Profile:
    if text not in PROFILES:
        raise RequestError(f"--profile {text}: there is {', '.join(PROFILES)}")
    return cast(Profile, text)


def _announce(stick: ServedStick, ezsp: int, *, as_json: bool) -> None:
    if as_json:
        facts = {"stick": stick.name, "url": stick.url, "eui64": f"{stick.eui64:016X}"}
        line = json.dumps(facts | {"ezsp": ezsp})
    else:
        line = f"{stick.name}  {stick.url}  EUI-64 {stick.eui64:016X}  EZSP {ezsp}"
    click.echo(line)
