"""Programs that people run against a stick take an emulated one for real: bellows, zigpy, the
flasher.

bellows 1.2.1 still lists `scan` and answers that zigpy's scans have replaced it.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from foreign_device import MANUFACTURER, MODEL, foreign_device
from sticks import RELEASES, Stick, ask, sticks, sweep, sweep_transports, tool

pytestmark = pytest.mark.real_clock

JOIN_LIMIT_S = 120.0
VERSIONS = list(RELEASES)
# bellows in the same process does much of it on every version (test_bellows_every_version.py).
default_version = sweep(VERSIONS, quick=(14,))


class Info(NamedTuple):
    """What `zigpy radio … info` says of a stick's network."""

    pan_id: int
    extended_pan_id: int
    channel: int
    eui64: int
    node: int
    key: str


def zigpy(stick: Stick, *words: str | Path) -> str:
    return ask(tool("zigpy"), "radio", "ezsp", stick.url, *map(str, words))


def info(stick: Stick) -> Info:
    said = zigpy(stick, "info")

    def value(name: str) -> str:
        found = re.search(rf"^{name}:\s+(\S.*)$", said, re.MULTILINE)
        assert found is not None, said
        return found[1]

    def number(name: str) -> int:
        return int(value(name).replace(":", ""), 16)

    return Info(
        number("PAN ID"),
        number("Extended PAN ID"),
        int(value("Channel")),
        number("Device IEEE"),
        number("Device NWK"),
        value("Network key"),
    )


@sweep_transports(VERSIONS, quick=[(14, "pty")])
def test_zigpy_and_bellows_form_a_network_and_read_it_back(version: int, transport: str) -> None:
    with sticks(1, version, transport) as [stick]:
        zigpy(stick, "form")
        formed = info(stick)
        assert (formed.eui64, formed.node) == (stick.eui64, 0x0000)
        told = ask(tool("bellows"), "-d", stick.url, "info").lower()
    assert stick.eui64_text in told
    assert f"panid=0x{formed.pan_id:04x}" in told
    assert "joined_network" in told
    assert f"emberznet version: {RELEASES[version]}" in told


@pytest.mark.matrix
@default_version
def test_a_backup_restored_onto_another_stick_is_the_same_network(
    version: int, tmp_path: Path
) -> None:
    burn = "--i-understand-i-can-update-eui64-only-once-and-i-still-want-to-do-it"
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    with sticks(2, version) as [old, new]:
        zigpy(old, "form")
        zigpy(old, "backup", burn, first)
        zigpy(new, "restore", first)
        assert info(new) == info(old)
        zigpy(new, "backup", second)
    one, other = (json.loads(path.read_text()) for path in (first, second))
    for document in (one, other):
        del document["metadata"]
    counters = [document["network_key"].pop("frame_counter") for document in (one, other)]
    if version > 4:  # where bellows does not restore it
        # No counter is used twice: zigpy asks for this distance, and some were used since.
        assert counters[1] >= counters[0] + 5000
    del one["stack_specific"]["ezsp"][burn.removeprefix("--").replace("-", "_")]
    if version == 4:  # whose trust centre hashes no link key: nothing else is in there
        assert one.pop("stack_specific") == {"ezsp": {}}
        assert other.pop("stack_specific") == {}
    assert one == other


@pytest.mark.matrix
@default_version
def test_a_scan_finds_the_network_of_another_stick(version: int) -> None:
    with sticks(2, version) as [one, other]:
        for stick in (one, other):
            zigpy(stick, "form")
        there = info(one)
        said = zigpy(other, "network-scan", "-n", "0", "-c", str(there.channel))
        networks = re.findall(r"channel: (\d+), network: 0x(\w{4}) \(([\w:]+)\)", said)
        assert [
            (int(channel), int(pan_id, 16), int(extended.replace(":", ""), 16))
            for channel, pan_id, extended in networks
        ] == [(there.channel, there.pan_id, there.extended_pan_id)]
        said = zigpy(other, "energy-scan", "-n", "0")
        found = re.findall(r"^ - .(\d+).*?([\d.]+)%", said.replace("]", " "), re.MULTILINE)
        assert [int(channel) for channel, _ in found] == list(range(11, 27))
        assert all(0 < float(share) < 100 for _, share in found)


@pytest.mark.matrix
@default_version
async def test_a_device_joins_while_zigpy_permits_and_is_interviewed(version: int) -> None:
    with sticks(2, version) as [hub, other]:
        zigpy(hub, "form")
        network = info(hub)
        words = ("-v", "radio", "ezsp", hub.url, "permit", "-t", "250")
        permit = await asyncio.create_subprocess_exec(
            tool("zigpy"), *words, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with foreign_device(other.url) as device, asyncio.timeout(JOIN_LIMIT_S):
                await device.join(network.channel, network.extended_pan_id)
                await said(permit, f"({other.eui64_text}) joined the network")
                await said(permit, f"Read model '{MODEL}' and manufacturer '{MANUFACTURER}'")
        finally:
            permit.kill()
            await permit.wait()


async def said(host: asyncio.subprocess.Process, words: str) -> None:
    """Wait until a host says `words`; fails when it ends before."""
    assert host.stderr is not None
    while line := await host.stderr.readline():
        if words in line.decode():
            return
    raise AssertionError(f"the host ended and never said {words!r}")


@sweep_transports(VERSIONS, quick=[(4, "tcp"), (14, "pty")])
def test_the_flasher_takes_it_for_a_running_ezsp_stick(version: int, transport: str) -> None:
    with sticks(1, version, transport) as [stick]:
        flasher = tool("universal-silabs-flasher")
        said = ask(flasher, "--device", stick.url, "--probe-methods", "ezsp:115200", "probe")
    assert "ApplicationType.EZSP" in said
    assert RELEASES[version] in said
