"""A stick that only listens, asked by bellows in every version: what it hears, when it may not."""

from __future__ import annotations

import asyncio
from typing import Any

import bellows.types as t
import pytest
from bench_support import CHANNEL, Bench, bench, device_node, hub_node, join

from emulator.devices.node import NodeError
from emulator.devices.stick import ask_stick, scan_energy, sniffing
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS
from emulator.ncp.hot_frames import LQI, RSSI_DBM

EUI64 = 0x02484E4200000010
SNIFFER = 0x02484E42000000FF


async def heard_of_a_join(made: Bench, channel: int) -> list[tuple[bytes, int, int]]:
    heard: list[tuple[bytes, int, int]] = []
    url = made.stick("sniffer", SNIFFER)
    async with sniffing(url, channel, lambda *one: heard.append(one)):
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        await asyncio.sleep(1)
    return heard


@pytest.mark.parametrize("ezsp", SUPPORTED_VERSIONS)
async def test_a_sniffer_hears_every_frame_of_its_channel_and_says_nothing(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        heard = await heard_of_a_join(made, CHANNEL)
        assert [packet[:-2] for packet, _, _ in heard] == [psdu[:-2] for psdu in made.frames]
        assert {one[1:] for one in heard} == {(RSSI_DBM, LQI)}
        assert len(heard) > 10


async def test_a_sniffer_on_another_channel_hears_nothing() -> None:
    async with bench() as made:
        assert await heard_of_a_join(made, CHANNEL + 5) == []


async def test_a_stick_in_a_network_is_no_sniffer_and_a_channel_needs_one() -> None:
    async with bench() as made:
        hub = await hub_node(made)
        ezsp: Any = hub.node.ezsp
        for name, fields in (
            ("mfglibStart", {"rxCallback": True}),
            ("mfglibSetChannel", {"channel": 15}),
            ("mfglibEnd", {}),
        ):
            (status,) = await getattr(ezsp, name)(**fields)
            assert status != t.sl_Status.OK, name


async def test_a_channel_that_is_none_is_told() -> None:
    async with bench() as made:
        url = made.stick("sniffer", SNIFFER)
        with pytest.raises(NodeError, match="is no sniffer: mfglibSetChannel"):
            async with sniffing(url, 27, lambda *_: None):
                raise AssertionError("it listens to nothing")


@pytest.mark.parametrize("ezsp", SUPPORTED_VERSIONS)
async def test_a_stick_tells_what_it_is_and_where_it_is_quiet(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        url = made.stick("sniffer", SNIFFER)
        before = len(made.frames)
        stick = await ask_stick(url)
        assert (stick.eui64, stick.ezsp) == (SNIFFER, ezsp)
        assert stick.library == "163k1 and 283k1"
        assert stick.key_table_size > 0
        assert f"EZSP {ezsp}" in str(stick)
        assert set(await scan_energy(url, [15, 20])) == {15, 20}
        assert len(made.frames) == before, "nothing was sent"
