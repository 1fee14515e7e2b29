"""Hosts that are none of ours take an emulated stick for a real one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_support import start_hanbench

pytestmark = pytest.mark.real_clock

_FOLDER = Path(sys.executable).parent
# Releases of EmberZNet that speak these versions of EZSP.
RELEASES = {
    4: "5.7.4",
    5: "5.10.0",
    6: "6.0.0",
    7: "6.6.3",
    8: "6.10.3",
    9: "7.1.3",
    10: "7.2.0",
    11: "7.2.2",
    12: "7.3.0",
    13: "7.4.3",
    14: "8.0.0",
    16: "8.1.0",
    17: "8.2.0",
    18: "8.2.2",
    19: "9.1.0",
}
versions = pytest.mark.parametrize("version", RELEASES)
# bellows in the same process does the same on every version (test_bellows_every_version.py).
some_versions = pytest.mark.parametrize(
    "version",
    [
        version if version in (4, 13, 14) else pytest.param(version, marks=pytest.mark.matrix)
        for version in RELEASES
    ],
)


def tool(name: str) -> str:
    """The program, beside this Python or on the path; skips when it is not installed."""
    found = shutil.which(name, path=str(_FOLDER)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def ask(*words: str) -> str:
    """Run a host to its end, which must be a good one; all that it said."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    return said


@pytest.fixture
def stick(version: int) -> Iterator[dict[str, Any]]:
    process = start_hanbench("radio", "--listen", "tcp://127.0.0.1:0", "--ezsp", version, "--json")
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")


def eui64_of(stick: dict[str, Any]) -> str:
    return ":".join(re.findall("..", stick["eui64"])).lower()


@some_versions
def test_zigpy_and_bellows_form_a_network_and_read_it_back(
    version: int, stick: dict[str, Any]
) -> None:
    zigpy, bellows = tool("zigpy"), tool("bellows")
    url = stick["url"]
    ask(zigpy, "radio", "ezsp", url, "form")
    said = ask(zigpy, "radio", "ezsp", url, "info")
    assert eui64_of(stick) in said.lower()
    assert re.search(r"PAN ID:\s+0x[0-9A-Fa-f]{4}", said)
    assert "0x0000" in said  # its own address: it is the coordinator
    pan_id = re.search(r"PAN ID:\s+0x([0-9A-Fa-f]{4})", said)
    assert pan_id is not None
    told = ask(bellows, "-d", url, "info")
    assert eui64_of(stick) in told.lower()
    assert pan_id[1].lower() in told.lower()
    assert "JOINED_NETWORK" in told
    assert f"EmberZNet version: {RELEASES[version]}" in told


@versions
def test_the_flasher_takes_it_for_a_running_ezsp_stick(version: int, stick: dict[str, Any]) -> None:
    flasher = tool("universal-silabs-flasher")
    said = ask(flasher, "--device", stick["url"], "--probe-methods", "ezsp:115200", "probe")
    assert "ApplicationType.EZSP" in said
    assert RELEASES[version] in said
