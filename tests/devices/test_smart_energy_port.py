"""Smart Energy messages of every size between two sticks, through bellows and over a lossy air."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import bench_support
import pytest
from bench_support import STACK, DeviceNode, HubNode, bench, device_node, hub_node, join, of_kind

from emulator.devices.node import (
    MAX_QUEUED_FRAMES,
    Frame,
    NetworkDown,
    QueueFull,
    Received,
    Sent,
)
from emulator.medium.air import Loss
from emulator.zigbee.fragments import FragmentError

EUI64 = 0x02484E4200000010
TUNNELLING = 0x0704
OTA = 0x0019
SIZES = (0, 1, 40, 73, 74, 82, 132, 1500)
versions = pytest.mark.parametrize("ezsp", [13, 14])
kinds_of_node = pytest.mark.parametrize("ezsp", [13, 14, STACK])


def octets(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def to_device(payload: bytes, *, encrypted: bool = True) -> Frame:
    return Frame(EUI64, TUNNELLING, 3, 1, payload, encrypted)


def to_hub(device: DeviceNode, payload: bytes, *, encrypted: bool = True) -> Frame:
    hub = device.node.hub_eui64
    assert hub is not None
    return Frame(hub, TUNNELLING, 1, 3, payload, encrypted)


async def pair(made: bench_support.Bench) -> tuple[HubNode, DeviceNode]:
    hub = await hub_node(made)
    device = await device_node(made, EUI64)
    await join(hub, device)
    return hub, device


@kinds_of_node
@pytest.mark.parametrize("loss", [0.0, 0.1])
async def test_every_size_arrives_whole_and_once_both_ways(ezsp: Any, loss: float) -> None:
    losses = (Loss(loss),) if loss else ()
    async with bench(ezsp=ezsp, losses=losses) as made:
        hub, device = await pair(made)
        sent_by_hub = {hub.node.send(to_device(octets(size))): size for size in SIZES}
        sent_by_device = {device.node.send(to_hub(device, octets(size))): size for size in SIZES}
        assert len(sent_by_hub) == len(sent_by_device) == len(SIZES)
        await made.until(
            lambda: all(len(of_kind(end.events, Sent)) == len(SIZES) for end in (hub, device))
        )
        await asyncio.sleep(30)
        for sender, tags, receiver, peer in (
            (hub, sent_by_hub, device, device.node.hub_eui64),
            (device, sent_by_device, hub, EUI64),
        ):
            ends = {event.tag: event.delivered for event in of_kind(sender.events, Sent)}
            assert ends == dict.fromkeys(tags, True)
            received = of_kind(receiver.events, Received)
            assert sorted(len(event.payload) for event in received) == sorted(SIZES)
            assert {event.payload for event in received} == {octets(size) for size in SIZES}
            assert {event.peer for event in received} == {peer}
            assert all(event.encrypted and event.cluster == TUNNELLING for event in received)


@kinds_of_node
async def test_a_message_without_link_key_says_so_where_it_arrives(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await pair(made)
        for size in (40, 82, 83, 200):
            hub.node.send(to_device(octets(size), encrypted=False))
            device.node.send(to_hub(device, octets(size), encrypted=False))
        await made.until(lambda: len(of_kind(hub.events, Received)) == 4)
        await made.until(lambda: len(of_kind(device.events, Received)) == 4)
        for end in (hub, device):
            assert [event.encrypted for event in of_kind(end.events, Received)] == [False] * 4


@kinds_of_node
async def test_the_queue_takes_so_many_and_then_says_that_it_is_full(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await pair(made)
        tags = [hub.node.send(to_device(octets(73))) for _ in range(MAX_QUEUED_FRAMES)]
        assert len(set(tags)) == MAX_QUEUED_FRAMES
        with pytest.raises(QueueFull, match=f"{MAX_QUEUED_FRAMES} messages wait"):
            hub.node.send(to_device(b"one more"))
        await made.until(lambda: len(of_kind(hub.events, Sent)) == MAX_QUEUED_FRAMES)
        assert all(event.delivered for event in of_kind(hub.events, Sent))
        assert len(of_kind(device.events, Received)) == MAX_QUEUED_FRAMES
        hub.node.send(to_device(b"room again"))
        await made.until(lambda: len(of_kind(hub.events, Sent)) == MAX_QUEUED_FRAMES + 1)


async def test_a_message_that_no_fragments_can_hold_is_refused_and_takes_no_place() -> None:
    async with bench() as made:
        hub, device = await pair(made)
        for _ in range(MAX_QUEUED_FRAMES + 1):
            with pytest.raises(FragmentError):
                hub.node.send(to_device(bytes(255 * 71 + 1)))
        hub.node.send(to_device(bytes(255 * 71)))
        await made.until(lambda: of_kind(device.events, Received))
        assert of_kind(device.events, Received)[0].payload == bytes(255 * 71)


@kinds_of_node
async def test_messages_to_a_device_that_is_gone_fail_and_the_next_ones_go(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await pair(made)
        made.sticks[f"device-{EUI64:X}"].stack.mac.channel = None  # deaf and dumb
        tags = [hub.node.send(to_device(octets(size))) for size in (40, 200, 40)]
        await made.until(lambda: len(of_kind(hub.events, Sent)) == 3)
        assert of_kind(hub.events, Sent) == [Sent(tag, False) for tag in tags]
        made.sticks[f"device-{EUI64:X}"].stack.mac.channel = bench_support.CHANNEL
        tag = hub.node.send(to_device(octets(200)))
        await made.until(lambda: Sent(tag, True) in hub.events)
        assert [event.payload for event in of_kind(device.events, Received)] == [octets(200)]


@versions
@pytest.mark.parametrize("end", ["hub", "device"])
@pytest.mark.parametrize("idle", [True, False], ids=["all under way", "queued too"])
async def test_a_stick_that_is_pulled_out_ends_every_message_and_is_told(
    ezsp: Any, end: str, idle: bool
) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await pair(made)
        made.medium.set_faults((Loss(1.0),))  # nothing is acknowledged any more
        count = 5 if idle else 30
        if end == "hub":
            side, name = hub, "hub"
            tags = [hub.node.send(to_device(octets(40))) for _ in range(count)]
        else:
            side, name = device, f"device-{EUI64:X}"  # type: ignore[assignment]
            tags = [device.node.send(to_hub(device, octets(40))) for _ in range(count)]
        await asyncio.sleep(1.0)
        assert of_kind(side.events, Sent) == []
        made.lines.unplug(name)
        await asyncio.sleep(60)
        assert sorted(of_kind(side.events, Sent)) == sorted(Sent(tag, False) for tag in tags)
        downs = of_kind(side.events, NetworkDown)
        assert downs
        assert name in downs[0].reason


def deaf(data: bytes) -> None:  # noqa: ARG001 - a stick that hears nothing any more
    return None


@versions
async def test_a_stick_that_falls_silent_ends_every_message_and_is_told(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await pair(made)
        device.node.send(to_hub(device, b"before"))
        await made.until(lambda: of_kind(hub.events, Received))
        line = made.lines.line(f"device-{EUI64:X}")
        assert line is not None
        assert line.transport is not None
        line.transport._stick_receives = deaf
        tags = [device.node.send(to_hub(device, octets(40))) for _ in range(3)]
        await asyncio.sleep(120)
        ends = of_kind(device.events, Sent)[1:]
        assert sorted(ends) == sorted(Sent(tag, False) for tag in tags)
        assert of_kind(device.events, NetworkDown)


@versions
async def test_zigpy_goes_on_while_the_port_is_busy(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await pair(made)
        for _ in range(40):
            hub.node.send(to_device(octets(132)))
        answers = [(await hub.node.ezsp.getEui64())[0] for _ in range(20)]
        assert len(answers) == 20
        await made.until(lambda: len(of_kind(device.events, Received)) == 40)


@kinds_of_node
async def test_an_end_point_is_found_where_it_is_and_none_where_it_is_not(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await pair(made)
        peer = device.node.hub_eui64
        assert peer == bench_support.HUB_EUI64
        assert await hub.node.find_endpoint(EUI64, TUNNELLING, is_server=True) == 1
        assert await hub.node.find_endpoint(EUI64, TUNNELLING, is_server=False) is None
        assert await hub.node.find_endpoint(EUI64, OTA, is_server=False) == 1
        assert await device.node.find_endpoint(peer, OTA, is_server=True) == 1
        assert await device.node.find_endpoint(peer, TUNNELLING, is_server=False) == 3
        assert await device.node.find_endpoint(1234, OTA, is_server=True) is None
        made.sticks[f"device-{EUI64:X}"].stack.mac.channel = None
        before_s = made.loop.time()
        assert await hub.node.find_endpoint(EUI64, TUNNELLING, is_server=True) is None
        assert made.loop.time() - before_s < 5
