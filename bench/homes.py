"""`real_time_homes`: homes on the real clock, sticks at TCP ports, blocks as fast as a radio's.

Source: ours; the pace is the air's own: an emulated air on the real clock takes as long for a frame
as a real one does.

Two processes, as a user of `hanbench radio` has them: one serves the sticks of all homes, each home
on an air of its own, the other runs a hub on zigpy and a bridge on bellows for each. All join and
transfer at once. A repeat is ten seconds in the middle of one transfer that goes on and on, so the
seven repeats of a judged figure are over a minute of it.

    cpu        processor time of both processes / two cores for as long
    pace       blocks that arrived / those of as many real radios, at 21.06 ms a block
    again      DATA frames that any stick sent again, since the transfers began: what a host that
               could not keep up would cause first
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

from bench.judge import Benchmark, BenchmarkError, Line, Measure
from bench.pair import BLOCK_BYTES, BRIDGE, HUB, IMAGE_BYTES, Hosts, make_image, make_sticks
from emulator.ncp.ncp import Ncp
from emulator.ncp.tcp import serve_tcp
from hil.clock import RealClock, run_real
from hil.wiring import quiet_hosts

_HOMES, _TOY_HOMES = 20, 2
_WINDOW_S, _TOY_WINDOW_S = 10.0, 0.5
_CORES = 2
_REAL_BLOCK_S = 0.02106
_START_TIMEOUT_S = 120.0


class _Child:
    """One of the two processes: a line of JSON at its start, and one for each line it is sent."""

    def __init__(self, what: str, argument: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.homes", what],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        weakref.finalize(self, _end, self._process)
        self.ask(argument)

    def ask(self, argument: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(argument) + "\n")
        self._process.stdin.flush()

    def told(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError("a process of the homes ended: see what it said above")
        return json.loads(line)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        process.communicate(timeout=30)  # it ends with its standard input


def _prepare(toy: bool) -> Measure:
    homes, window_s = (_TOY_HOMES, _TOY_WINDOW_S) if toy else (_HOMES, _WINDOW_S)
    sticks = _Child("sticks", homes)
    hosts = _Child("hosts", sticks.told())
    hosts.told()  # everybody's transfer is under way
    sticks.ask("mark")
    again_before = sticks.told()["again"]

    def mark() -> tuple[float, dict[str, float], dict[str, float]]:
        for child in (sticks, hosts):
            child.ask("mark")
        return perf_counter(), sticks.told(), hosts.told()

    def measure() -> Mapping[str, float]:
        began_s, sticks_before, hosts_before = mark()
        sleep(window_s)
        ended_s, sticks_after, hosts_after = mark()
        wall_s = ended_s - began_s
        if hosts_after["ended"]:
            raise BenchmarkError("a transfer was over before the measurement: ask for less repeats")
        sticks_s = sticks_after["cpu_s"] - sticks_before["cpu_s"]
        hosts_s = hosts_after["cpu_s"] - hosts_before["cpu_s"]
        blocks = (hosts_after["bytes"] - hosts_before["bytes"]) / BLOCK_BYTES
        return {
            "cpu": 100 * (sticks_s + hosts_s) / (_CORES * wall_s),
            "pace": blocks / homes * _REAL_BLOCK_S / wall_s,
            "again": sticks_after["again"] - again_before,
            "sticks block": 1e6 * sticks_s / blocks,
            "hosts block": 1e6 * hosts_s / blocks,
        }

    return measure


REAL_TIME_HOMES = Benchmark(
    "real_time_homes",
    f"{_HOMES} homes, sticks on TCP, hubs on zigpy, bridges on bellows, {_WINDOW_S:g} s each",
    (
        Line("cpu", f"per cent of {_CORES} cores", at_most=65),
        Line("pace", "blocks / those of real radios", at_least=0.85),
        Line("again", "ASH frames sent again", at_most=0),
        Line("sticks block", "us of processor a block: both sticks and the air"),
        Line("hosts block", "us of processor a block: both hosts"),
    ),
    _prepare,
)


# -- the two processes ---------------------------------------------------------------------


async def _lines() -> asyncio.StreamReader:
    """Standard input, line by line, beside whatever else the loop does."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _tell(told: object) -> None:
    print(json.dumps(told), flush=True)


async def _serve_sticks() -> None:
    lines = await _lines()
    homes = json.loads(await lines.readline())
    clock = RealClock(asyncio.get_running_loop())
    sticks: list[Ncp] = []
    urls: list[tuple[str, ...]] = []
    served = []
    for home in range(homes):
        pair = make_sticks(clock, seed=home)
        sticks += pair
        ports = [await serve_tcp("127.0.0.1", 0, stick) for stick in pair]
        served += ports
        urls.append((ports[HUB].url, ports[BRIDGE].url))
    _tell(urls)
    while await lines.readline():
        _tell({"cpu_s": process_time(), "again": _sent_again(sticks)})
    for port in served:
        await port.close()
    clock.close()


def _sent_again(sticks: list[Ncp]) -> int:
    """DATA frames sent again, both ways: what a host repeats, its stick takes for a duplicate."""
    return sum(
        stick.ash.retransmissions + stick.ash.duplicates + stick.ash.naks_received
        for stick in sticks
    )


async def _run_hosts() -> None:
    quiet_hosts()
    lines = await _lines()
    image = make_image(IMAGE_BYTES)
    homes = [Hosts(urls, image) for urls in json.loads(await lines.readline())]
    await asyncio.gather(*(home.join() for home in homes))
    for home in homes:
        home.hub.update(image, [home.device.eui64])
    for home in homes:
        await home.require(_has_blocks(home), _START_TIMEOUT_S, "start its download")
    _tell("under way")
    while await lines.readline():
        _tell(
            {
                "cpu_s": process_time(),
                "bytes": sum(map(_written_bytes, homes)),
                "ended": sum(home.has_ended for home in homes),
            }
        )
    for home in homes:
        await home.stop()


def _written_bytes(home: Hosts) -> int:
    firmware = home.device._firmware
    return 0 if firmware is None else firmware.flash.written_bytes


def _has_blocks(home: Hosts) -> Any:
    return lambda: home.is_under_way and _written_bytes(home) > 0


if __name__ == "__main__":
    run_real({"sticks": _serve_sticks, "hosts": _run_hosts}[sys.argv[1]])
