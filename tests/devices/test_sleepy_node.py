"""A device that is an end device: how often it asks, what it does when its parent is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bench_support import (
    CHANNEL,
    EXTENDED_PAN_ID,
    HUB_EUI64,
    STACK,
    Bench,
    DeviceNode,
    HubNode,
    bench,
    device_node,
    hub_node,
    join,
    link_key,
    of_kind,
)

from emulator.devices.node import (
    Frame,
    Joined,
    NetworkDown,
    NetworkUp,
    NodeError,
    Received,
    Role,
    Sent,
    TakeOverRefused,
)
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS
from emulator.zigbee.events import NodeType
from emulator.zigbee.state import StackState

EUI64 = 0x02484E4200000010
NAME = f"device-{EUI64:X}"
kinds_of_node = pytest.mark.parametrize("ezsp", [14, STACK])
end_devices = pytest.mark.parametrize(
    "role", [Role.END_DEVICE, Role.SLEEPY], ids=lambda role: role.value
)


async def home(made: Bench, role: Role, *, take_over: bool = False) -> tuple[HubNode, DeviceNode]:
    hub = await hub_node(made, take_over=take_over)
    device = await device_node(made, EUI64, role=role, take_over=take_over)
    await join(hub, device)
    await made.until(lambda: of_kind(hub.events, Joined))
    return hub, device


async def exchange(made: Bench, hub: HubNode, device: DeviceNode) -> None:
    """One message each way, each delivered."""
    for sender, peer, receiver in (
        (hub, EUI64, device),
        (device, HUB_EUI64, hub),
    ):
        sent, received = len(of_kind(sender.events, Sent)), len(of_kind(receiver.events, Received))
        endpoints = (3, 1) if sender is hub else (1, 3)
        sender.node.send(Frame(peer, 0x0704, *endpoints, b"across"))
        await made.until(lambda s=sender, n=sent: len(of_kind(s.events, Sent)) > n, 120)  # type: ignore[misc]
        assert of_kind(sender.events, Sent)[-1].delivered
        assert len(of_kind(receiver.events, Received)) == received + 1


def data_requests(made: Bench) -> int:
    return sum(psdu[0] & 7 == 3 and psdu[-3] == 4 for psdu in made.frames)


@pytest.mark.parametrize(
    ("ezsp", "role"),
    [
        *((version, Role.SLEEPY) for version in SUPPORTED_VERSIONS),
        *((version, Role.END_DEVICE) for version in (4, 8, 14, STACK)),
        (STACK, Role.SLEEPY),
    ],
)
async def test_an_end_device_goes_on_after_its_stick_was_reset(ezsp: Any, role: Role) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await home(made, role)
        child = made.sticks["hub"].stack.children.of_eui64(EUI64)
        assert child is not None
        assert child.node_type.sleeps is (role is Role.SLEEPY)
        assert made.sticks[NAME].stack.mac.sleeps is (role is Role.SLEEPY)
        await exchange(made, hub, device)
        await device.node.close()
        await device.node.open()
        await device.node.resume()
        await exchange(made, hub, device)
        assert of_kind(device.events, NetworkUp) == [NetworkUp()] * 2
        assert of_kind(device.events, NetworkDown) == []


@kinds_of_node
async def test_a_sleeper_asks_seldom_while_nothing_happens_and_often_while_it_does(
    ezsp: Any,
) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await home(made, Role.SLEEPY)
        await asyncio.sleep(30)
        before = data_requests(made)
        await asyncio.sleep(60)
        assert data_requests(made) - before == 60
        device.node.send(Frame(HUB_EUI64, 0x0704, 1, 3, b"across"))
        before = data_requests(made)
        await asyncio.sleep(3)
        assert data_requests(made) - before >= 12
        await asyncio.sleep(10)
        before = data_requests(made)
        await asyncio.sleep(60)
        assert data_requests(made) - before == 60
        assert of_kind(hub.events, Received) != []


@end_devices
async def test_an_end_device_is_a_child_still_after_many_hours(role: Role) -> None:
    async with bench() as made:
        hub, device = await home(made, role)
        # Longer than the timeout of 256 minutes. A sleeper costs more: it polls every second.
        await asyncio.sleep((6 if role is Role.SLEEPY else 24) * 3600)
        assert made.sticks["hub"].stack.children.count == 1
        await exchange(made, hub, device)


@end_devices
async def test_a_hub_that_forgot_its_child_gets_it_back(role: Role) -> None:
    async with bench() as made:
        hub, device = await home(made, role)
        stack = made.sticks["hub"].stack
        child = stack.children.of_eui64(EUI64)
        assert child is not None
        stack.children.remove(child)
        await asyncio.sleep(120)  # both poll at least once a minute
        assert stack.children.count == 1
        await exchange(made, hub, device)
        assert of_kind(device.events, NetworkDown) == []


@kinds_of_node
async def test_a_sleeper_whose_parent_was_away_comes_back_by_itself(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await home(made, Role.SLEEPY)
        stack = made.sticks["hub"].stack
        stack.mac.channel = None  # its radio is silent
        await asyncio.sleep(40)
        assert not made.sticks[NAME].stack.is_up
        stack.mac.channel = CHANNEL
        await made.until(lambda: made.sticks[NAME].stack.is_up, 300)
        await asyncio.sleep(2)
        await exchange(made, hub, device)
        assert of_kind(device.events, NetworkDown) == []


@kinds_of_node
async def test_a_sleeper_whose_parent_stays_away_says_so_in_the_end(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        _, device = await home(made, Role.SLEEPY)
        made.sticks["hub"].stack.mac.channel = None
        await made.until(lambda: of_kind(device.events, NetworkDown), 1200)
        (down,) = of_kind(device.events, NetworkDown)
        assert "no other was found: NO_BEACONS" in down.reason
        await asyncio.sleep(60)
        assert len(of_kind(device.events, NetworkDown)) == 1


@kinds_of_node
async def test_a_sleeper_back_from_a_power_cut_waits_for_a_hub_that_is_not_there_yet(
    ezsp: Any,
) -> None:
    async with bench(ezsp=ezsp) as made:
        hub, device = await home(made, Role.SLEEPY)
        stack = made.sticks["hub"].stack
        stack.mac.channel = None
        await device.node.close()
        await device.node.open()
        resuming = asyncio.create_task(device.node.resume())
        await asyncio.sleep(10)
        assert not resuming.done()
        stack.mac.channel = CHANNEL
        await resuming
        await exchange(made, hub, device)


@pytest.mark.parametrize("take_over", [False, True])
async def test_a_stick_whose_parent_is_away_is_not_taken_over_unasked(take_over: bool) -> None:
    async with bench() as made:
        hub, device = await home(made, Role.SLEEPY, take_over=take_over)
        stack = made.sticks["hub"].stack
        stack.mac.channel = None
        await device.node.close()
        await device.node.open()
        if take_over:
            stack.mac.channel = CHANNEL
            await hub.node.permit(EUI64, link_key(EUI64), 60)
            await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
            await exchange(made, hub, device)
        else:
            with pytest.raises(TakeOverRefused):
                await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
            state = StackState.from_json(made.sticks[NAME].stored)
            assert state.network is not None
            assert state.network.node_type is NodeType.SLEEPY_END_DEVICE


@end_devices
async def test_an_end_device_without_a_network_has_none_to_resume(role: Role) -> None:
    async with bench() as made:
        device = await device_node(made, EUI64, role=role)
        with pytest.raises(NodeError, match="NOT_JOINED"):
            await device.node.resume()


@kinds_of_node
async def test_a_sleeper_that_leaves_is_no_child_any_more(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        _, device = await home(made, Role.SLEEPY)
        await device.node.leave()
        await asyncio.sleep(1)
        assert made.sticks["hub"].stack.children.count == 0
        assert made.sticks[NAME].stack.state.network is None
