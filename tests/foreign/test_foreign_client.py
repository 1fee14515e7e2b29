"""A device that shares no code with the bench meets our hub; whole updates are in the matrix."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from foreign_client.defects import DEFECTS
from foreign_rig import OLD, TESTS, foreign_rig, make_image

from emulator.zigbee import ota

OTHER = 0x00DB1234567890A4
CLIENT = TESTS / "foreign_client"
MAY_IMPORT = {"bellows", "zigpy", "cryptography", "foreign_client"} | set(sys.stdlib_module_names)


@pytest.mark.real_clock
async def test_a_device_that_is_not_ours_loads_an_image_from_our_hub(tmp_path: Path) -> None:
    image = make_image(2048)
    async with foreign_rig(tmp_path, image) as rig:
        await rig.admit()
        await rig.power_on()
        await rig.until(lambda: rig.tunnel_openings)
        assert await rig.read_version() == OLD
        await rig.update(image)
        await rig.until(lambda: rig.sent(ota.UpgradeEndRequest))
        assert [one.status for one in rig.sent(ota.UpgradeEndRequest)] == [0]
        assert rig.complaints == []
    assert (tmp_path / "device" / "image.ota").read_bytes() == image.data


def test_the_foreign_device_shares_no_code_with_the_bench() -> None:
    modules = sorted(CLIENT.glob("*.py"))
    assert len(modules) > 5
    foreign: set[str] = set()
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                foreign |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name} imports from where it stands"
                foreign.add(str(node.module))
            elif isinstance(node, ast.Name | ast.Attribute):
                name = node.id if isinstance(node, ast.Name) else node.attr
                assert name not in ("__import__", "import_module"), f"{path.name} imports by name"
    assert {name.partition(".")[0] for name in foreign} <= MAY_IMPORT


def test_the_table_of_defects_is_the_same_in_every_place() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|", (CLIENT / "README.md").read_text(), re.M)
    listed = subprocess.run(
        [sys.executable, "-m", "foreign_client", "--list-defects"],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [tuple(line.split(maxsplit=1)) for line in listed.stdout.splitlines()]
    assert len(lines) >= 20
    assert rows == lines == list(DEFECTS.items())


def test_every_defect_has_its_hook() -> None:
    """A name nobody asks for would be a defect in the table alone."""
    text = "".join(path.read_text() for path in CLIENT.glob("*.py") if path.stem != "defects")
    assert [name for name in DEFECTS if f'"{name}"' not in text] == []


@pytest.mark.real_clock
async def test_what_it_cannot_start_with_is_one_sentence(tmp_path: Path) -> None:
    async with foreign_rig(tmp_path) as rig:
        for use in ("ds", "ka"):
            mine, other = (tmp_path / "keys" / f"{e:016x}-{use}.key" for e in (rig.eui64, OTHER))
            other.write_bytes(mine.read_bytes())
        for option, value, sentence in (
            ("--keys", "nowhere", "No such file or directory: 'nowhere/"),
            ("--radio", "tcp://127.0.0.1:9", "127.0.0.1"),
            ("--eui64", f"{OTHER:016X}", "the stick is "),
        ):
            rig.said.clear()
            rig.arguments = (option, value)
            await rig.power_on()
            await rig.until(lambda: any("foreign_client: " in line for line in rig.said))
            await rig.kill()
            (line,) = [line for line in rig.said if not line.startswith("runs ")]
            assert line.startswith("foreign_client: ")
            assert sentence in line
