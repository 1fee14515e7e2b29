"""`hanbench verify` on a device that is not ours: the foreign client in a process of its own.

The sticks of `hanbench radio` are served here; verify is a process, and so is the device, which the
bench file's power commands start and kill. What the device knows of the DCC is what `hanbench pki
issue` wrote for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from foreign_rig import INSTALL_CODE, NEW, NEWER, OFF_S, OLD, TESTS, make_image

from firmware_images.samples import identity
from hil.cli import cli
from hil.sticks import ServedStick, serve_sticks

SIZE_BYTES = 1024
PATIENCE_S = 20.0
CLAIMS = {
    "ember": ("verifies-images", "resumes"),
    "ti": ("verifies-images", "block-period"),
    "nxp": ("verifies-images", "resumes"),
}


@dataclass(frozen=True)
class Verified:
    """What `hanbench verify` said, or `hanbench run`."""

    exit_code: int
    verdict: Mapping[str, Any]
    said: str

    @property
    def failed(self) -> dict[str, str]:
        """Why each test failed that did."""
        tests = self.verdict["suites"]
        return {test["id"]: test["detail"] for test in tests if test["outcome"] == "failed"}

    @property
    def broken(self) -> list[str]:
        """The requirements that a device did not show."""
        return [row["id"] for row in self.verdict["requirements"] if row["verdict"] == "fail"]


def write_bench(
    folder: Path,
    sticks: Sequence[ServedStick],
    personality: str,
    arguments: Sequence[str],
    claims: Sequence[str],
) -> Path:
    """The bench file, the images, and what the device has of the DCC."""
    product = identity("ppmid")
    eui64 = f"{sticks[1].eui64:016X}"
    for name, version in (("new", NEW), ("back", NEWER)):
        (folder / f"{name}.ota").write_bytes(make_image(SIZE_BYTES, version).data)
    runner = CliRunner()
    for words in (
        ("pki", "create", folder / "dcc"),
        ("pki", "issue", folder / "dcc", "--eui64", eui64, "--out", folder / "keys"),
    ):
        outcome = runner.invoke(cli, [*map(str, words)])
        assert outcome.exit_code == 0, outcome.output
    words = [
        *(sys.executable, "-m", "foreign_client"),
        *("--radio", sticks[1].url, "--data", folder / "device", "--keys", folder / "keys"),
        *("--eui64", eui64, "--install-code", INSTALL_CODE.hex(), "--version", f"{OLD:08X}"),
        *("--manufacturer", f"{product.manufacturer_code:04X}"),
        *("--image-type", f"{product.image_type:04X}"),
        *("--hardware", f"{product.hardware_version:04X}"),
        *("--channels", "15", "--activation-s", OFF_S, "--personality", personality),
        *arguments,
    ]
    command = shlex.join(map(str, words))
    log, pid = folder / "device.log", folder / "device.pid"
    on = f"PYTHONPATH={TESTS} {command} >>{log} 2>&1 & echo $! >{pid}"
    off = f"kill -9 $(cat {pid})"
    path = folder / "bench.toml"
    path.write_text(
        f"""
[hub]
radio = "{sticks[0].url}"

[radios]
transmit = true
channels = [15]

[[device]]
id = "dut"
kind = "ppmid"
dut = true
eui64 = "{eui64}"
install_code = "{INSTALL_CODE.hex()}"
certificates = "keys"
version = "{OLD:08X}"
image = "new.ota"
image_back = "back.ota"
claims = {json.dumps(claims)}
power = {{ on = {json.dumps(on)}, off = {json.dumps(off)} }}
"""
    )
    return path


async def verify(
    folder: Path,
    *defects: str,
    personality: str = "ember",
    options: Sequence[str] = (),
    arguments: Sequence[str] = (),
    claims: Sequence[str] = (),
    patience_s: float = PATIENCE_S,
) -> Verified:
    """Run the suites against the device with these defects, which claims this beside its usual."""
    asked = ("--patience", str(patience_s), *options)
    return await on_bench("verify", folder, defects, personality, asked, arguments, claims)


async def on_bench(
    command: str,
    folder: Path,
    defects: Sequence[str] = (),
    personality: str = "ember",
    options: Sequence[str] = (),
    arguments: Sequence[str] = (),
    claims: Sequence[str] = (),
) -> Verified:
    """A command of hanbench that takes a bench file, with the device on that bench."""
    folder.mkdir(parents=True, exist_ok=True)
    wrong = [word for defect in defects for word in ("--defect", defect)]
    async with serve_sticks(*("tcp://127.0.0.1:0",) * 2, ezsp=14) as sticks:
        claimed = [*CLAIMS[personality], *claims]
        bench = write_bench(folder, sticks, personality, [*wrong, *arguments], claimed)
        words = [command, bench, "--evidence", folder / "evidence"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hil.cli", *map(str, words), *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER_COUNT": "1"},
        )
        said, _ = await process.communicate()
    path = folder / "evidence" / "verdict.json"
    text = said.decode(errors="replace")
    assert path.is_file(), text
    return Verified(process.returncode or 0, json.loads(path.read_text()), text)
