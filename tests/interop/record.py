"""`python tests/interop/record.py [NAME…]`: record anew what each host says to a stick.

Source: ours. Real programs on real TCP lines; the sticks are in this process, where octets are
written down. What hosts draw by chance comes from a seed, so no key in a log is anybody's: logs
are only made on sticks that this script made. Look through `git diff` before keeping what changed.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    _TESTS = Path(__file__).parents[1]
    sys.path[:0] = [str(_TESTS.parent), str(_TESTS)]

from foreign_device import foreign_device
from herdsman_host import CHANNEL, EXTENDED_PAN_ID, herdsman
from serial_log import FOLDER, SerialEvent, SerialLog, Tap, make_sticks
from sticks import ask

from emulator.ncp.tcp import serve_tcp
from hil.clock import RealClock, run_real

SEED = 1
PERMIT_S = 5
# A Python program with its chance drawn from a seed: module and function, then its arguments.
_SEEDED = """
import os, random, sys
random.seed(1)
os.urandom = random.SystemRandom.randbytes = random.Random(1).randbytes
chance = random.Random(2)
random.SystemRandom.getrandbits = lambda self, bits: chance.getrandbits(bits)
module, function, *sys.argv[1:] = sys.argv[1:]
getattr(__import__(module, fromlist=[function]), function)()
"""

Host = Callable[[Sequence[str], Path], Awaitable[None]]


async def python(module: str, function: str, *words: str) -> str:
    words = (sys.executable, "-c", _SEEDED, module, function, *words)
    return await asyncio.to_thread(ask, *words, is_tidy=False)


async def zigpy(*words: str) -> str:
    return await python("zigpy_cli.__main__", "cli", *words)


async def zigpy_forms(urls: Sequence[str], _folder: Path) -> None:
    for words in ("form", "info"):
        await zigpy("radio", "ezsp", urls[0], words)


async def zigpy_restores(urls: Sequence[str], folder: Path) -> None:
    backup = str(folder / "backup.json")
    for words in (["form"], ["backup", backup], ["restore", backup]):
        await zigpy("radio", "ezsp", urls[0], *words)


async def zigpy_lets_in(urls: Sequence[str], _folder: Path) -> None:
    await zigpy("radio", "ezsp", urls[0], "form")
    said = await zigpy("radio", "ezsp", urls[0], "info")
    channel = re.search(r"^Channel: +(\d+)", said, re.MULTILINE)
    pan = re.search(r"^Extended PAN ID: +(\S+)", said, re.MULTILINE)
    assert channel is not None
    assert pan is not None
    async with asyncio.TaskGroup() as tasks, foreign_device(urls[1]) as device:
        permit = tasks.create_task(zigpy("radio", "ezsp", urls[0], "permit", "-t", str(PERMIT_S)))
        await device.join(int(channel[1]), int(pan[1].replace(":", ""), 16))
        await permit


async def zigpy_scans(urls: Sequence[str], _folder: Path) -> None:
    for url in urls:
        await zigpy("radio", "ezsp", url, "form")
    await zigpy("radio", "ezsp", urls[1], "network-scan", "-n", "0", "-c", "15")
    await zigpy("radio", "ezsp", urls[1], "energy-scan", "-n", "0")


async def bellows(urls: Sequence[str], _folder: Path) -> None:
    await zigpy("radio", "ezsp", urls[0], "form")
    await python("bellows.cli.main", "main", "-d", urls[0], "info")


async def flasher(urls: Sequence[str], _folder: Path) -> None:
    probe = ("--probe-methods", "ezsp:115200", "probe")
    await python("universal_silabs_flasher.__main__", "main", "--device", urls[0], *probe)


async def herdsman_lets_in(urls: Sequence[str], folder: Path) -> None:
    async with herdsman(urls[0], folder, is_seeded=True) as controller:
        await controller.do("start")
        await controller.do("backup")
        await controller.do("permit", seconds=60)
        async with foreign_device(urls[1]) as device:
            await device.join(CHANNEL, EXTENDED_PAN_ID)
            await controller.until(event="deviceInterview", status="successful")
            await device.report(2150)
            await controller.until(event="message", type="attributeReport")
        await controller.do("stop")
    async with herdsman(urls[0], folder, is_seeded=True) as controller:
        await controller.do("start")
        await controller.do("stop")


RECORDINGS: dict[str, tuple[Host, int, int]] = {
    **{f"zigpy-form-{version}": (zigpy_forms, version, 1) for version in (4, 8, 13, 19)},
    "zigpy-restore-14": (zigpy_restores, 14, 1),
    "zigpy-permit-14": (zigpy_lets_in, 14, 2),
    "zigpy-scan-14": (zigpy_scans, 14, 2),
    "bellows-14": (bellows, 14, 1),
    "flasher-14": (flasher, 14, 1),
    **{f"herdsman-{version}": (herdsman_lets_in, version, 2) for version in (13, 14, 18)},
}


async def record(name: str) -> SerialLog:
    host, ezsp, lines = RECORDINGS[name]
    events: list[SerialEvent] = []
    clock = RealClock(asyncio.get_running_loop())
    sticks = make_sticks(clock, lines, ezsp, SEED)
    served = [
        await serve_tcp("127.0.0.1", 0, Tap(stick, line, clock, events.append))
        for line, stick in enumerate(sticks)
    ]
    try:
        with tempfile.TemporaryDirectory() as folder:
            await host([line.url for line in served], Path(folder))
    finally:
        for line in served:
            await line.close()
        clock.close()
    return SerialLog([host.__name__], ezsp, SEED, lines, _joined(events))


def _joined(events: list[SerialEvent]) -> list[SerialEvent]:
    """With what one side said in several portions as one."""
    joined: list[SerialEvent] = []
    for event in events:
        if joined and event.octets and joined[-1][1:3] == event[1:3]:
            event = event._replace(octets=joined.pop().octets + event.octets)
        joined.append(event)
    return joined


def main() -> None:
    names = sys.argv[1:] or list(RECORDINGS)
    for name in names:
        log = run_real(lambda name=name: record(name))  # type: ignore[misc]
        path = FOLDER / f"{name}.jsonl"
        log.write(path)
        print(json.dumps({"log": name, "events": len(log.events), "octets": path.stat().st_size}))


if __name__ == "__main__":
    main()
