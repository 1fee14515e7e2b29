"""Sticks made from a profile: what hosts leave in a stick, and a network that works at once."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from bench_support import (
    CHANNEL,
    EXTENDED_PAN_ID,
    HUB_EUI64,
    PAN_ID,
    SETTINGS,
    DeviceNode,
    HubNode,
    bench,
    device_node,
    hub_node,
    join,
    link_key,
    of_kind,
)

from emulator.devices.ezsp_node import EzspNode
from emulator.devices.models import HUB_ENDPOINTS
from emulator.devices.node import Frame, Joined, NetworkUp, Received
from emulator.devices.ppmid import PPMID
from emulator.devices.zigpy_node import ZigpyNode
from emulator.zigbee.events import NodeType
from emulator.zigbee.profiles import ProfileError, blank, formed_coordinator, joined
from emulator.zigbee.state import StackState

EUI64 = 0x02484E4200000010
ADDRESS = 0x1234


def coordinator() -> StackState:
    return formed_coordinator(
        HUB_EUI64,
        pan_id=PAN_ID,
        extended_pan_id=EXTENDED_PAN_ID,
        channel=CHANNEL,
        network_key=SETTINGS.network_key,
        trust_center_key=SETTINGS.trust_center_seed,
    )


async def test_a_profile_is_what_forming_and_joining_leave_behind() -> None:
    async with bench() as made:
        hub, device = await hub_node(made), await device_node(made, EUI64)
        formed = asdict(StackState.from_json(made.sticks["hub"].stored))
        profile = asdict(coordinator())
        for left in (formed, profile):  # counters go on, the table has places
            left["link_keys"] = []
            left["nwk_counter"] = left["aps_counter"] = 0
        # zigpy says which channels the network may move to; a profile leaves all of them.
        formed["network"]["channels"] = profile["network"]["channels"]
        assert profile == formed

        await join(hub, device)
        await made.until(lambda: of_kind(hub.events, Joined))
        name = f"device-{EUI64:X}"
        address = made.sticks[name].stack.short_address
        mine = coordinator()
        router = asdict(joined(EUI64, mine, link_key(EUI64), short_address=address))
        left = asdict(StackState.from_json(made.sticks[name].stored))
        for one in (router, left):
            one["link_keys"] = []
            one["nwk_counter"] = one["aps_counter"] = 0
            one["network"]["channels"] = 0
        assert router == left
        at_hub = StackState.from_json(made.sticks["hub"].stored)
        assert mine.devices == at_hub.devices
        (entry,) = [one for one in at_hub.link_keys if one is not None]
        assert [(one.eui64, one.key) for one in mine.link_keys if one] == [(entry.eui64, entry.key)]


@pytest.mark.parametrize("ezsp", [8, 13, 14, 18])
async def test_a_hub_and_a_device_made_from_profiles_talk_at_once(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        state = coordinator()
        device_state = joined(EUI64, state, link_key(EUI64), short_address=ADDRESS)
        hub_url = made.stick("hub", HUB_EUI64, state.to_json())
        hub = HubNode(ZigpyNode(hub_url, HUB_ENDPOINTS, lambda event: hub.events.append(event)))
        url = made.stick("device", EUI64, device_state.to_json())
        device = DeviceNode(EzspNode(url, PPMID.endpoints, lambda one: device.events.append(one)))
        for end in (hub, device):
            made.closing(end.node.close)
            await end.node.open()
            await end.node.resume()
            assert of_kind(end.events, NetworkUp) == [NetworkUp()]
        hub.node.send(Frame(EUI64, 0x0704, 3, 1, b"to the device"))
        device.node.send(Frame(HUB_EUI64, 0x0704, 1, 3, b"to the hub"))
        await made.until(lambda: all(of_kind(end.events, Received) for end in (hub, device)))
        heard = [of_kind(end.events, Received)[0] for end in (hub, device)]
        assert [one.payload for one in heard] == [b"to the hub", b"to the device"]
        assert all(one.encrypted for one in heard)


def test_addresses_are_given_in_order_and_places_of_the_key_table_are_used() -> None:
    state = coordinator()
    state.link_keys = [None] * 2
    first = joined(1, state, bytes(16))
    second = joined(2, state, bytes(16), short_address=7)
    third = joined(3, state, bytes(16), node_type=NodeType.SLEEPY_END_DEVICE)
    assert state.devices == {1: 1, 7: 2, 2: 3}
    assert [entry.eui64 for entry in state.link_keys if entry] == [1, 2, 3]
    networks = [one.network for one in (first, second, third)]
    assert [network.short_address for network in networks if network] == [1, 7, 2]
    assert third.network is not None
    assert third.network.node_type is NodeType.SLEEPY_END_DEVICE
    for one in (state, first, second, third):
        assert StackState.from_json(one.to_json()) == one


def test_nobody_is_put_where_he_cannot_be() -> None:
    state = coordinator()
    router = joined(1, state, bytes(16))
    for coordinator_, eui64, more in (
        (blank(9), 2, {}),
        (router, 2, {}),
        (state, 1, {}),
        (state, HUB_EUI64, {}),
        (state, 2, {"short_address": 0}),
        (state, 2, {"short_address": 1}),
        (state, 2, {"short_address": 0xFFF8}),
        (state, 2, {"node_type": NodeType.COORDINATOR}),
    ):
        before = coordinator_.to_json()
        with pytest.raises(ProfileError):
            joined(eui64, coordinator_, bytes(16), **more)
        assert coordinator_.to_json() == before
