"""`hanbench radio`: emulated EZSP sticks that share one air, for any host.

Source: DESIGN, "What it promises to the outside" (command line).
"""

from __future__ import annotations

import asyncio
import json
import re
from urllib.parse import urlsplit

import click

from emulator.medium.air import Medium
from emulator.ncp.ncp import Ncp
from emulator.ncp.tcp import RemoteHostRefused, TcpLine, serve_tcp
from emulator.zigbee.state import StackState
from hil.clock import RealClock, run_real
from hil.errors import BenchBroke, RequestError
from hil.fault_wiring import apply_faults
from hil.faults import parse_fault
from hil.run_command import EzspChoice
from hil.seeds import ROOT_MAX, Seeds
from hil.serving import interruption

_EUI64_PREFIX = 0x02484E42 << 32
_TCP = re.compile(r"tcp://[^/]+:\d+")


@click.command("radio", short_help="Emulated EZSP sticks that share one air, for any host.")
@click.option(
    "--listen",
    "urls",
    multiple=True,
    required=True,
    metavar="URL",
    help="tcp://HOST:PORT, port 0 for any; one stick for each time this is given.",
)
@click.option(
    "--ezsp", type=EzspChoice(), default="14", show_default=True, help="4 to 14 or 16 to 19."
)
@click.option("--seed", type=click.IntRange(0, ROOT_MAX), default=1, show_default=True)
@click.option("--fault", "faults", multiple=True, metavar="TEXT", help='Such as "loss 10 %".')
@click.option(
    "--allow-remote", is_flag=True, help="Listen beyond this machine: ASH asks nobody who he is."
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object per stick and line.")
def radio_command(
    urls: tuple[str, ...],
    ezsp: str,
    seed: int,
    faults: tuple[str, ...],
    allow_remote: bool,
    as_json: bool,
) -> None:
    """Serve emulated EZSP sticks on one air until interrupted; one line per stick as it is ready.

    Blank sticks: what a host forms lives until this ends.
    """
    places = [_place(url) for url in urls]
    parsed = [parse_fault(words) for words in faults]

    async def serve() -> None:
        clock = RealClock(asyncio.get_running_loop())
        seeds = Seeds(seed)
        medium = Medium(clock, seeds.stream("air").getrandbits)
        lines: list[TcpLine] = []
        interrupted = interruption()  # before anybody is told that there is something to interrupt
        try:
            sticks: dict[str, Ncp] = {}
            eui64s: dict[str, int] = {}
            for number in range(len(places)):
                name = f"stick-{number + 1}"
                eui64s[name] = _EUI64_PREFIX | int.from_bytes(
                    seeds.derive(f"EUI-64 {name}", 4), "big"
                )
                sticks[name] = Ncp(
                    name,
                    StackState(eui64s[name]).to_json(),
                    medium,
                    clock,
                    seeds.stream(f"stick {name}").getrandbits,
                    ezsp_version=int(ezsp),
                )
            apply_faults(parsed, medium, sticks)
            for (host, port), (name, stick) in zip(places, sticks.items(), strict=True):
                line = await _listen(host, port, stick, allow_remote)
                lines.append(line)
                _announce(name, line.url, eui64s[name], int(ezsp), as_json=as_json)
            await interrupted.wait()
        finally:
            for line in lines:
                await line.close()
            clock.close()

    run_real(serve)


def _place(url: str) -> tuple[str, int]:
    if not _TCP.fullmatch(url):
        raise RequestError(f"{url!r} is not how to listen: say tcp://HOST:PORT")
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or port is None:
        raise RequestError(f"{url!r} has no port from 0 to 65535")
    return parts.hostname, port


async def _listen(host: str, port: int, stick: Ncp, allow_remote: bool) -> TcpLine:
    try:
        return await serve_tcp(host, port, stick, allow_remote=allow_remote)
    except RemoteHostRefused:
        raise RequestError(
            f"{host} is not this machine: say --allow-remote if anybody may reach the stick"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchBroke(f"tcp://{host}:{port} cannot be listened on: {reason}") from None


def _announce(name: str, url: str, eui64: int, ezsp: int, *, as_json: bool) -> None:
    if as_json:
        line = json.dumps({"stick": name, "url": url, "eui64": f"{eui64:016X}", "ezsp": ezsp})
    else:
        line = f"{name}  {url}  EUI-64 {eui64:016X}  EZSP {ezsp}"
    click.echo(line)
