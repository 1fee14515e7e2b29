"""zigbee-herdsman as a process, driven by lines of JSON.

Source: herdsman.cjs; its version is pinned in package-lock.json. `npm ci` in this folder installs
it; a test that needs it is skipped, with the reason, where it is not there.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
LIMIT_S = 180.0
NETWORK = {
    "panID": 0x1A62,
    "extendedPanID": [0xD7, 0x61, 0xAD, 0x92, 0xD2, 0x2C, 0x26, 0x18],
    "channelList": [15],
    "networkKey": list(range(0x10, 0x20)),
}
EXTENDED_PAN_ID = 0x18262CD292AD61D7
CHANNEL = 15


def node() -> str:
    """The Node.js to run it with; skips, with the reason, where herdsman cannot be run."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node.js is not installed")
    reason = _why_not(found)
    if reason:
        pytest.skip(reason)
    return found


@cache
def _why_not(node: str) -> str:
    if not (FOLDER / "node_modules" / "zigbee-herdsman").is_dir():
        return "zigbee-herdsman is not installed: npm ci --prefix tests/interop"
    loads = ("-e", "require('zigbee-herdsman')")
    done = subprocess.run([node, *loads], cwd=FOLDER, capture_output=True, text=True, check=False)
    return f"this Node.js does not load zigbee-herdsman: {done.stderr}" if done.returncode else ""


class Herdsman:
    """One controller on one stick."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            async with self._news:
                self.told.append(json.loads(line))
                self._news.notify_all()
        async with self._news:
            self.told.append({"ended": True})
            self._news.notify_all()

    async def until(self, since: int = 0, **fields: Any) -> dict[str, Any]:
        """The first line from number `since` on that has these fields."""

        def found() -> dict[str, Any] | None:
            for line in self.told[since:]:
                if all(line.get(key) == value for key, value in fields.items()):
                    return line
                assert "failed" not in line, line
                assert "ended" not in line, self.told
            return None

        async with asyncio.timeout(LIMIT_S), self._news:
            await self._news.wait_for(lambda: found() is not None)
        line = found()
        assert line is not None
        return line

    async def do(self, what: str, **options: Any) -> Any:
        """Have it do something; what came out of it."""
        assert self._process.stdin is not None
        since = len(self.told)
        self._process.stdin.write(json.dumps({"do": what, **options}).encode() + b"\n")
        return (await self.until(since, done=what)).get("result")

    def logged(self) -> list[dict[str, Any]]:
        """Its warnings and errors."""
        return [line for line in self.told if "log" in line]

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader


@asynccontextmanager
async def herdsman(url: str, folder: Path, *, is_seeded: bool = False) -> AsyncIterator[Herdsman]:
    """A controller on the stick at `url` whose database and backup are in `folder`; seeded, the
    keys it draws are always the same."""
    options = {
        "path": url,
        "database": str(folder / "database.db"),
        "backup": str(folder / "backup.json"),
        "network": NETWORK,
        "seeded": is_seeded,
    }
    process = await asyncio.create_subprocess_exec(
        node(),
        str(FOLDER / "herdsman.cjs"),
        json.dumps(options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    controller = Herdsman(process)
    try:
        yield controller
    finally:
        await controller.close()
