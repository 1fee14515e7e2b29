"""What a host reads as counters is what happened."""

from __future__ import annotations

import asyncio
from typing import Any

import bellows.types as t
import pytest
from bench_support import bench, device_node, hub_node, join

from emulator.devices.node import Frame, Received, Sent
from emulator.medium.air import Loss

EUI64 = 0x02484E4200000010


async def read(node: Any, *, clear: bool = False) -> dict[str, int]:
    command = node.ezsp.readAndClearCounters if clear else node.ezsp.readCounters
    (values,) = await command()
    return {kind.name[8:]: value for kind, value in zip(t.EmberCounterType, values, strict=False)}


@pytest.mark.parametrize("ezsp", [8, 13, 14])
async def test_counters_tell_of_joins_messages_and_frames(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await hub_node(made), await device_node(made, EUI64)
        assert (await read(device.node))["MAC_TX_UNICAST_SUCCESS"] == 0
        await join(hub, device)
        await made.until(lambda: hub.events)
        assert (await read(hub.node))["JOIN_INDICATION"] == 1
        await asyncio.sleep(10)  # virtual: the last frame of the join is long over
        await read(hub.node, clear=True)
        await read(device.node, clear=True)
        for _ in range(3):
            hub.node.send(Frame(EUI64, 0x0704, 3, 1, b"three times"))
        await made.until(lambda: sum(isinstance(one, Sent) for one in hub.events) == 3)
        await made.until(lambda: sum(isinstance(one, Received) for one in device.events) == 3)
        counted = await read(hub.node)
        assert counted["APS_DATA_TX_UNICAST_SUCCESS"] == 3
        assert counted["MAC_TX_UNICAST_SUCCESS"] == 3
        assert counted["MAC_RX_UNICAST"] == 3  # acknowledgements of the device's APS
        assert counted["APS_DATA_TX_UNICAST_FAILED"] == counted["MAC_TX_UNICAST_FAILED"] == 0
        counted = await read(device.node, clear=True)
        assert counted["APS_DATA_RX_UNICAST"] == 3
        assert counted["MAC_RX_UNICAST"] == 3
        assert set((await read(device.node)).values()) == {0}


async def test_counters_tell_of_a_device_that_is_gone() -> None:
    async with bench() as made:
        hub, device = await hub_node(made), await device_node(made, EUI64)
        await join(hub, device)
        await made.until(lambda: hub.events)
        made.medium.set_faults((Loss(1.0),))
        await read(hub.node, clear=True)
        hub.node.send(Frame(EUI64, 0x0704, 3, 1, b"anybody there?"))
        await made.until(lambda: any(isinstance(one, Sent) for one in hub.events))
        counted = await read(hub.node)
        assert counted["APS_DATA_TX_UNICAST_FAILED"] == 1
        assert counted["MAC_TX_UNICAST_FAILED"] > 0
        assert counted["MAC_TX_UNICAST_RETRY"] == 3 * counted["MAC_TX_UNICAST_FAILED"]
