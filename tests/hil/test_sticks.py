"""Sticks as a library: a pytest run of somebody else's, on any clock, in a few lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bellows.ezsp
import pytest
from bench_support import HUB_EUI64

from emulator.medium.pcapng import read_pcapng
from emulator.zigbee.state import StackState
from hil.clock import VirtualLoop
from hil.errors import BenchBroke, RequestError
from hil.sticks import StickOptions, serve_sticks

PATIENCE_S = 20.0


@asynccontextmanager
async def host(url: str) -> AsyncIterator[Any]:
    ezsp = bellows.ezsp.EZSP({"path": url, "baudrate": 115200, "flow_control": None})
    await ezsp.connect(use_thread=False)
    try:
        yield ezsp
    finally:
        await ezsp.disconnect()


async def test_sticks_in_memory_work_on_the_virtual_clock() -> None:
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
    async with serve_sticks("mem://hub", "mem://meter", ezsp=13) as sticks:
        assert [stick.name for stick in sticks] == ["stick-1", "stick-2"]
        assert len(sticks) == 2
        for stick in sticks:
            async with host(stick.url) as ezsp:
                assert ezsp.ezsp_version == 13
                (eui64,) = await ezsp.getEui64()
                assert int.from_bytes(eui64.serialize(), "little") == stick.eui64
    with pytest.raises(FileNotFoundError):
        async with host(sticks[0].url):
            pass


async def test_runs_side_by_side_have_airs_of_their_own() -> None:
    async with serve_sticks("mem://hub") as one, serve_sticks("mem://hub") as other:
        assert one[0].url != other[0].url
        assert one.medium is not other.medium


async def test_profiles_give_a_network_that_is_there_at_once(tmp_path: Path) -> None:
    pcap = tmp_path / "air.pcapng"
    options = [
        StickOptions("mem://meter", profile="router"),  # before its coordinator
        StickOptions("mem://hub", profile="coordinator", eui64=HUB_EUI64),
        StickOptions("mem://sleeper", profile="end-device"),
        StickOptions("mem://stranger"),
    ]
    async with serve_sticks(*options, pcap=pcap) as sticks:
        states = [StackState.from_json(stick.ncp.stored) for stick in sticks]
        meter, hub, sleeper, stranger = states
        assert hub.network is not None
        assert meter.network is not None
        assert sleeper.network is not None
        assert stranger.network is None
        assert hub.devices == {1: meter.eui64, 2: sleeper.eui64}
        assert meter.network.key == sleeper.network.key == hub.network.key
        assert meter.network.trust_center_eui64 == HUB_EUI64
        assert meter.preconfigured_key != sleeper.preconfigured_key
        async with host(sticks[0].url) as at_meter, host(sticks[1].url) as at_hub:
            for ezsp in (at_hub, at_meter):
                status = await ezsp.initialize_network()
                assert status == bellows.types.sl_Status.OK
            await asyncio.sleep(0.1)
            (address,) = await at_meter.getNodeId()
            assert address == 1
            await at_hub.startScan(scanType=1, channelMask=1 << 15, duration=1)
    frames = list(read_pcapng(pcap.read_bytes()))
    assert frames
    assert frames[0][0] >= 1_767_225_600_000_000  # virtual time begins with 2026


async def test_a_stick_goes_on_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.json"
    hub = StickOptions("mem://hub", state=path, profile="coordinator")
    async with serve_sticks(hub) as sticks:
        eui64 = sticks[0].eui64
        assert json.loads(path.read_text())["network"]["node_type"] == "coordinator"
        sticks[0].ncp.stack.learn(0x1234, 7)
        assert json.loads(path.read_text())["devices"] == {"4660": "0000000000000007"}
        with pytest.raises(BenchBroke, match="another stick's memory"):
            async with serve_sticks(hub):
                pass
    # the file wins over seed and profile
    async with serve_sticks(StickOptions("mem://hub", state=path), seed=2) as sticks:
        assert sticks[0].eui64 == eui64
        assert sticks[0].ncp.stack.state.devices == {0x1234: 7}
    with pytest.raises(RequestError, match="is the memory of"):
        async with serve_sticks(StickOptions("mem://hub", state=path, eui64=eui64 + 1)):
            pass


async def test_what_is_known_last_is_kept_at_a_clean_stop(tmp_path: Path) -> None:
    path = tmp_path / "hub.json"
    async with serve_sticks(StickOptions("mem://hub", state=path)) as sticks:
        sticks[0].ncp.stack.state.security_bitmask = 0x1234  # as changes that can wait do
    assert json.loads(path.read_text())["security_bitmask"] == 0x1234


async def test_a_stick_that_cannot_remember_says_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    hub = StickOptions("mem://hub", state=folder / "hub.json", profile="coordinator")
    async with serve_sticks(hub, "mem://other", pcap=tmp_path / "air.pcapng") as sticks:
        stack = sticks[0].ncp.stack
        assert stack.resume()
        await asyncio.sleep(1)
        (folder / "hub.json").rename(tmp_path / "moved.json")
        folder.rmdir()
        stack.announce()  # takes a counter, which cannot be reserved
        broken = await sticks.broken()
        assert str(folder / "hub.json") in str(broken)
        with pytest.raises(TimeoutError):  # not even a reset wakes it
            async with host(sticks[0].url):
                pass
        assert not stack.is_up
    assert list(read_pcapng((tmp_path / "air.pcapng").read_bytes())) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sticks": ["tcp://127.0.0.1:0"]}, "real clock"),
        ({"sticks": ["http://127.0.0.1"]}, "not how to listen"),
        ({"sticks": ["mem://two words"]}, "a name is of letters"),
        ({"sticks": ["mem://a", "mem://a"]}, "has a line named a already"),
        ({"sticks": ["mem://a"], "faults": ["loss 10 % on stick-2"]}, "on nothing here"),
        ({"sticks": ["mem://a"], "faults": ["rain"]}, "names no fault"),
        ({"sticks": ["mem://a"], "zep": ("192.0.2.1", 17754)}, "not this machine"),
        ({"sticks": ["mem://a"], "pcap": Path("/nowhere/air.pcapng")}, "cannot be written"),
        (
            {"sticks": [StickOptions("mem://a", eui64=1), StickOptions("mem://b", eui64=1)]},
            "stick-2 and stick-1 are both 0000000000000001",
        ),
        ({"sticks": [StickOptions("mem://a", profile="router")]}, "needs a coordinator"),
    ],
)
async def test_what_cannot_be_is_said_in_one_sentence(
    options: dict[str, Any], sentence: str
) -> None:
    sticks = options.pop("sticks")
    with pytest.raises(RequestError, match=sentence) as refused:
        async with serve_sticks(*sticks, **options):
            pass
    assert "\n" not in str(refused.value)


async def test_a_request_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    hub = StickOptions("mem://a", state=tmp_path / "hub.json")
    with pytest.raises(RequestError):
        async with serve_sticks(hub, "tcp://nothing"):
            pass
    assert list(tmp_path.iterdir()) == []
