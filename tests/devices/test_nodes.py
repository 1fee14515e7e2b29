"""A hub's node and devices' nodes: who gets in, who does not, and what a joiner is spared."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bench_support import (
    CHANNEL,
    EXTENDED_PAN_ID,
    HUB_EUI64,
    SETTINGS,
    STACK,
    bench,
    device_node,
    hub_node,
    join,
    link_key,
    of_kind,
)

from emulator.devices.ezsp_node import EzspNode
from emulator.devices.models import HUB_ENDPOINTS
from emulator.devices.node import (
    Frame,
    Joined,
    JoinError,
    Left,
    NetworkUp,
    Node,
    NodeError,
    PutOut,
    Received,
    Sent,
    TakeOverRefused,
)
from emulator.devices.ppmid import PPMID
from emulator.devices.zigpy_node import MAX_PERMIT_S, ZigpyNode
from emulator.zigbee import zdo
from emulator.zigbee.state import StackState

EUI64 = 0x02484E4200000010
versions = pytest.mark.parametrize("ezsp", [13, 14, STACK])
MGMT_PERMIT_JOINING = 0x0036
NODE_DESCRIPTOR = 0x0002


@versions
async def test_a_device_with_the_right_install_code_gets_in(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        assert hub.node.eui64 == HUB_EUI64
        assert hub.events == [NetworkUp()]
        device = await device_node(made, EUI64)
        await join(hub, device)
        assert device.events == [NetworkUp()]
        assert device.node.hub_eui64 == HUB_EUI64
        await made.until(lambda: of_kind(hub.events, Joined))
        (joined,) = of_kind(hub.events, Joined)
        stack = made.sticks[f"device-{EUI64:X}"].stack
        assert joined == Joined(EUI64, stack.short_address)
        assert stack.state.network is not None
        assert stack.state.network.key == SETTINGS.network_key


@versions
async def test_a_device_with_a_wrong_install_code_never_gets_in(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await hub.node.permit(EUI64, link_key(EUI64), 3600)
        for _ in range(3):
            with pytest.raises(JoinError, match="NO_LINK_KEY"):
                await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64 + 1))
        assert device.events == []
        assert made.sticks[f"device-{EUI64:X}"].stack.state.network is None


@versions
async def test_a_device_nobody_let_in_does_not_get_in_while_another_may(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        with pytest.raises(JoinError, match="NO_BEACONS"):
            await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
        await hub.node.permit(EUI64 + 1, link_key(EUI64 + 1), 60)
        with pytest.raises(JoinError):
            await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
        with pytest.raises(JoinError):  # nor with the key everybody knows
            await device.node.join(CHANNEL, EXTENDED_PAN_ID, b"ZigBeeAlliance09")
        assert device.events == []


async def test_a_device_that_failed_once_gets_in_the_next_time() -> None:
    async with bench() as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await hub.node.permit(EUI64, link_key(EUI64), 3600)
        made.medium.separate("hub", f"device-{EUI64:X}")
        with pytest.raises(JoinError, match="NO_BEACONS"):
            await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
        made.medium._separated.clear()
        made.medium.set_faults(())
        await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
        assert device.events == [NetworkUp()]


@versions
async def test_fifteen_devices_that_join_at_once_all_have_their_keys_kept(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        devices = [await device_node(made, EUI64 + number) for number in range(15)]
        await asyncio.gather(*(join(hub, device, attempts=30) for device in devices))
        await made.until(lambda: len(of_kind(hub.events, Joined)) >= 15)
        await asyncio.sleep(5)
        table = made.sticks["hub"].stack.state.link_keys
        kept = {entry.eui64: entry.key for entry in table if entry is not None}
        assert kept == {device.node.eui64: link_key(device.node.eui64) for device in devices}
        assert len(set(kept.values())) == 15
        # and it is these keys that carry messages once the transient ones are gone
        made.sticks["hub"].stack.aps.transient_keys.clear()
        made.sticks["hub"].stack.aps.keys_changed()
        for device in devices:
            hub.node.send(Frame(device.node.eui64, 0x0704, 3, 1, b"to each"))
        await made.until(lambda: len(of_kind(hub.events, Sent)) == 15)
        assert all(event.delivered for event in of_kind(hub.events, Sent))


async def test_joining_stays_open_longer_than_a_stick_can_be_told() -> None:
    async with bench() as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await hub.node.permit(EUI64, link_key(EUI64), 1000)
        joining = made.sticks["hub"].stack.joining
        for second in range(1, 1000):
            await asyncio.sleep(1)
            assert joining.permits or second > 995, f"closed after {second} s"
        await asyncio.sleep(10)
        assert not joining.permits
        with pytest.raises(JoinError, match="NO_BEACONS"):
            await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))


async def test_a_short_permit_does_not_end_a_long_one() -> None:
    async with bench() as made:
        hub = await hub_node(made)
        await hub.node.permit(EUI64, link_key(EUI64), 600)
        await hub.node.permit(EUI64 + 1, link_key(EUI64 + 1), 10)
        await asyncio.sleep(500)
        device = await device_node(made, EUI64)
        await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
        assert device.events == [NetworkUp()]


async def test_a_device_can_join_late_although_sticks_forget_transient_keys() -> None:
    # CONFIG_TRANSIENT_KEY_TIMEOUT is 300 s on a real stick; here it forgets by hand.
    async with bench() as made:
        hub = await hub_node(made)
        await hub.node.permit(EUI64, link_key(EUI64), 1000)
        made.sticks["hub"].stack.aps.transient_keys.clear()
        await asyncio.sleep(500)
        device = await device_node(made, EUI64)
        await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
        assert device.events == [NetworkUp()]


@pytest.mark.parametrize("duration_s", [0, -1, MAX_PERMIT_S + 1])
async def test_a_permit_of_no_or_endless_time_is_refused(duration_s: int) -> None:
    async with bench() as made:
        hub = await hub_node(made)
        with pytest.raises(NodeError, match=f"1 to 3600 s, not {duration_s}"):
            await hub.node.permit(EUI64, link_key(EUI64), duration_s)


@versions
async def test_nobody_interviews_a_joiner_or_opens_the_rest_of_the_network(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        await asyncio.sleep(300)
        frames = [one for one in made.opened() if not one.is_acknowledgement]
        assert any(one.frame.cluster == zdo.DEVICE_ANNOUNCE for one in frames)
        profiles = {one.frame.profile for one in frames}
        assert profiles == {0x0000}, f"profiles on the air: {profiles}"
        asked = {one.frame.cluster for one in frames}
        assert MGMT_PERMIT_JOINING not in asked
        assert NODE_DESCRIPTOR not in asked


@versions
@pytest.mark.parametrize("end", ["hub", "device"])
async def test_a_stick_that_knows_a_network_is_not_made_to_forget_it(ezsp: Any, end: str) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        if end == "hub":
            stored = made.sticks["hub"].stored
            await hub.node.close()
            again = made.make_hub(hub.node.url, HUB_ENDPOINTS, hub.events.append)
            made.closing(again.close)
            await again.open()
            with pytest.raises(TakeOverRefused, match=r"--take-over") as refusal:
                await again.form(SETTINGS)
            name = "hub"
        else:
            stored = made.sticks[f"device-{EUI64:X}"].stored
            await device.node.close()
            late = made.make_device(device.node.url, PPMID.endpoints, device.events.append)
            made.closing(late.close)
            await late.open()
            with pytest.raises(TakeOverRefused, match=r"--take-over") as refusal:
                await late.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
            name = f"device-{EUI64:X}"
        assert name in str(refusal.value)
        before, after = (StackState.from_json(text) for text in (stored, made.sticks[name].stored))
        assert after.network == before.network
        assert after.link_keys == before.link_keys


@versions
async def test_a_stick_that_may_be_taken_over_is(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        await device.node.close()
        again = made.make_device(
            device.node.url, PPMID.endpoints, device.events.append, take_over=True
        )
        made.closing(again.close)
        await again.open()
        for _ in range(2):
            await hub.node.permit(EUI64, link_key(EUI64), 60)
            await again.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
        assert again.hub_eui64 == HUB_EUI64
        assert of_kind(device.events, PutOut) == [], "it left of its own accord"
        await hub.node.close()
        other = made.make_hub(hub.node.url, HUB_ENDPOINTS, hub.events.append, take_over=True)
        made.closing(other.close)
        await other.open()
        await other.form(SETTINGS)
        assert hub.events[-1] == NetworkUp()


@versions
async def test_a_device_that_restarts_goes_on_without_joining_again(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        await device.node.close()
        again = made.make_device(device.node.url, PPMID.endpoints, device.events.append)
        made.closing(again.close)
        await again.open()
        frames = len(made.frames)
        await again.resume()
        assert len(made.frames) == frames
        assert again.hub_eui64 == HUB_EUI64
        hub.node.send(Frame(EUI64, 0x0704, 3, 1, b"still here"))
        await made.until(lambda: of_kind(device.events, Received))


@versions
async def test_a_hub_that_restarts_still_hears_and_reaches_its_devices(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        await made.until(lambda: made.sticks["hub"].stack.state.link_keys[0] is not None)
        await hub.node.close()
        hub.events.clear()
        again = made.make_hub(hub.node.url, HUB_ENDPOINTS, hub.events.append)
        made.closing(again.close)
        await again.open()
        await again.resume()
        again.send(Frame(EUI64, 0x0704, 3, 1, b"there"))
        await made.until(lambda: of_kind(device.events, Received))
        device.node.send(Frame(HUB_EUI64, 0x0704, 1, 3, b"back"))
        await made.until(lambda: of_kind(hub.events, Received))
        assert of_kind(hub.events, Received)[0].payload == b"back"


@pytest.mark.parametrize("ezsp", [13, 14])
async def test_a_hub_that_stopped_before_it_kept_a_joiners_key_keeps_it_when_it_is_back(
    ezsp: Any,
) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        await hub.node.close()
        stack = made.sticks["hub"].stack
        stack.state.drop_link_key(EUI64)  # as if the hub had stopped a moment sooner
        stack.save()
        again = made.make_hub(hub.node.url, HUB_ENDPOINTS, hub.events.append)
        made.closing(again.close)
        await again.open()
        await again.resume({EUI64: link_key(EUI64)})
        kept = made.sticks["hub"].stack.state.link_key_of(EUI64)
        assert kept is not None
        assert kept.key == link_key(EUI64)
        again.send(Frame(EUI64, 0x0704, 3, 1, b"there"))
        await made.until(lambda: of_kind(device.events, Received))


@versions
async def test_a_blank_stick_has_nothing_to_resume(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made, form=False)
        with pytest.raises(NodeError, match="knows no network to resume"):
            await hub.node.resume()
        device = await device_node(made, EUI64)
        with pytest.raises(NodeError, match=r"does not resume its network|knows no network"):
            await device.node.resume()


@versions
async def test_a_device_that_leaves_is_missed(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        await made.until(lambda: of_kind(hub.events, Joined))
        await device.node.leave()
        assert of_kind(device.events, PutOut) == []
        await made.until(lambda: of_kind(hub.events, Left))
        assert Left(EUI64) in hub.events
        with pytest.raises(NodeError, match="is not in this network"):
            hub.node.send(Frame(EUI64, 0x0704, 3, 1, b"gone"))


@versions
async def test_two_networks_with_equal_settings_are_equal_on_the_air(ezsp: Any) -> None:
    async def frames() -> list[bytes]:
        async with bench(ezsp=ezsp) as made:
            hub = await hub_node(made)
            device = await device_node(made, EUI64)
            await join(hub, device)
            await asyncio.sleep(5)
            return list(made.frames)

    assert await frames() == await frames()


@pytest.mark.parametrize("ezsp", [13, 14])
@pytest.mark.parametrize("kind", [EzspNode, ZigpyNode])
async def test_a_radio_that_is_not_there_is_one_error_that_names_it(
    ezsp: Any, kind: type[EzspNode] | type[ZigpyNode]
) -> None:
    async with bench(ezsp=ezsp):
        events: list[object] = []
        node: Node = kind("mem://nowhere/stick", PPMID.endpoints, events.append)
        with pytest.raises(NodeError, match="the radio mem://nowhere/stick does not answer"):
            await node.open()
        await node.close()
        with pytest.raises(NodeError, match="mem://nowhere/stick is not open"):
            await node.leave()
        assert events == []


def deaf(data: bytes) -> None:  # noqa: ARG001 - a stick that hears nothing any more
    return None


@pytest.mark.parametrize("silent", [False, True], ids=["unplugged", "silent"])
@pytest.mark.parametrize("work", ["join", "find", "resume", "permit", "form"])
async def test_only_node_errors_come_out_of_a_stick_that_dies(work: str, silent: bool) -> None:
    async with bench() as made:
        hub = await hub_node(made, form=work != "form", take_over=True)
        device = await device_node(made, EUI64)
        if work in ("find", "resume"):
            await join(hub, device)
        name = "hub" if work in ("permit", "form") else f"device-{EUI64:X}"
        if silent:
            line = made.lines.line(name)
            assert line is not None
            assert line.transport is not None
            line.transport._stick_receives = deaf
        else:
            made.loop.call_later(0.0, made.lines.unplug, name)
        works: dict[str, Callable[[], Awaitable[object]]] = {
            "join": lambda: device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64)),
            "find": lambda: device.node.find_endpoint(HUB_EUI64, 0x0019, is_server=True),
            "resume": lambda: device.node.resume(),
            "permit": lambda: hub.node.permit(EUI64, link_key(EUI64), 60),
            "form": lambda: hub.node.form(SETTINGS),
        }
        if work == "find":  # nobody answers in time, or the stick fails: both are said
            with contextlib.suppress(NodeError):
                assert await works[work]() is None
        else:
            with pytest.raises(NodeError, match=name):
                await works[work]()
        await asyncio.sleep(60)


@versions
async def test_a_node_that_left_its_network_says_so(ezsp: Any) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        made.sticks[f"device-{EUI64:X}"].stack.leave()
        await made.until(lambda: of_kind(device.events, PutOut))


async def test_roles_are_not_mixed_up() -> None:
    async with bench() as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        with pytest.raises(NodeError, match="a device's: it cannot form"):
            await device.node.form(SETTINGS)
        with pytest.raises(NodeError, match="a device's: it cannot let"):
            await device.node.permit(EUI64, link_key(EUI64), 1)
        with pytest.raises(NodeError, match="a hub's: it joins no network"):
            await hub.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
        with pytest.raises(NodeError, match="is not the hub of this network"):
            device.node.send(Frame(EUI64 + 1, 0x0704, 1, 3, b""))
        assert link_key(EUI64).hex() not in repr(SETTINGS)
        assert SETTINGS.network_key.hex() not in repr(SETTINGS)
