"""Every version of EZSP: a hub and a device on it, from a blank stick to an update and a tunnel."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import bench_support
import pytest
from bench_support import (
    CHANNEL,
    EXTENDED_PAN_ID,
    HUB_EUI64,
    NEW,
    PAN_ID,
    SETTINGS,
    bench,
    device_node,
    house,
    hub_node,
    join,
    link_key,
    make_image,
    of_kind,
)

from emulator.devices import tunnel
from emulator.devices.device import DeviceUp
from emulator.devices.hub import DeviceTunnel, HubLost
from emulator.devices.node import (
    Frame,
    Joined,
    JoinError,
    Left,
    NetworkUp,
    NodeError,
    Received,
    Role,
    Sent,
)
from emulator.devices.ota_server import QuerySeen, ResponseCode, TransferOutcome
from emulator.devices.zigpy_node import KEY_TABLE_SIZE
from emulator.medium.air import Loss
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS

EUI64 = 0x02484E4200000010
versions = pytest.mark.parametrize("ezsp", SUPPORTED_VERSIONS)
sizes = pytest.mark.parametrize(
    "kib", [4, pytest.param(48, marks=pytest.mark.matrix)], ids=lambda kib: f"{kib} KiB"
)


def octets(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@versions
@sizes
@pytest.mark.parametrize("role", [Role.ROUTER, Role.SLEEPY], ids=lambda role: role.value)
async def test_a_device_joins_is_updated_and_talks_through_its_tunnel(
    ezsp: int, kib: int, role: Role
) -> None:
    async with bench(ezsp=ezsp) as made:
        home = await house(made)
        device = await home.add(EUI64, role=role)
        assert home.hub.node.ezsp.ezsp_version == ezsp  # type: ignore[attr-defined]

        def at_hub() -> list[bytes]:
            told = [one.output for one in home.told(DeviceTunnel)]
            return [one.data for one in of_kind(told, tunnel.MessageReceived)]

        await made.until(lambda: home.told(QuerySeen), limit_s=1800)
        await made.until(
            lambda: of_kind([one.output for one in home.told(DeviceTunnel)], tunnel.TunnelUp),
            limit_s=1800,
        )
        home.hub.send_through_tunnel(EUI64, octets(1500))
        device.send_through_tunnel(octets(1499))
        await made.until(lambda: at_hub() == [octets(1499)])
        await made.until(lambda: home.told_by(EUI64, tunnel.MessageReceived))
        (received,) = home.told_by(EUI64, tunnel.MessageReceived)
        assert received.data == octets(1500)

        image = make_image(kib * 1024)
        home.hub.update(image, [EUI64])
        await made.until(
            lambda: any(one.restarted for one in home.told_by(EUI64, DeviceUp)), limit_s=7200
        )
        up = home.told_by(EUI64, DeviceUp)[-1]
        assert (up.file_version, up.sha256) == (NEW, image.sha256)
        await made.until(lambda: home.told(TransferOutcome), limit_s=7200)
        (outcome,) = home.told(TransferOutcome)
        assert outcome.response_code is ResponseCode.SUCCESS
        assert home.told(HubLost) == []
        child = made.sticks["hub"].stack.children.of_eui64(EUI64)
        assert (child is not None and child.node_type.sleeps) is (role is Role.SLEEPY)
        assert made.sticks[f"device-{EUI64:X}"].stack.mac.sleeps is (role is Role.SLEEPY)


# -- what comes before, between and after ----------------------------------------------------


@dataclass
class Ends:
    """A hub's node and a device's, and what they told."""

    hub: bench_support.HubNode
    device: bench_support.DeviceNode
    payloads: list[bytes] = field(default_factory=lambda: [octets(n) for n in (0, 73, 74, 1500)])

    async def exchange(self, made: bench_support.Bench) -> None:
        """Messages of one frame and of many, each way, each delivered once and as it was."""
        hub_eui64 = self.device.node.hub_eui64
        assert hub_eui64 == HUB_EUI64
        seen = {id(end): len(end.events) for end in (self.hub, self.device)}
        for payload in self.payloads:
            self.hub.node.send(Frame(EUI64, 0x0704, 3, 1, payload))
            self.device.node.send(Frame(hub_eui64, 0x0704, 1, 3, payload))

        def told(end: Any, kind: type) -> list[Any]:
            return of_kind(end.events[seen[id(end)] :], kind)

        await made.until(
            lambda: all(len(told(end, Sent)) == len(self.payloads) for end in self.both)
        )
        await asyncio.sleep(15)  # for what might come twice
        for end in self.both:
            assert all(event.delivered for event in told(end, Sent))
            received = told(end, Received)
            assert sorted(one.payload for one in received) == sorted(self.payloads)
            assert all(one.encrypted for one in received)

    @property
    def both(self) -> tuple[Any, Any]:
        return self.hub, self.device


@versions
@pytest.mark.parametrize("loss", [0.0, 0.1])
async def test_both_ends_go_on_after_their_sticks_were_reset(ezsp: int, loss: float) -> None:
    losses = (Loss(loss),) if loss else ()
    async with bench(ezsp=ezsp, losses=losses) as made:
        ends = Ends(await hub_node(made), await device_node(made, EUI64))
        await join(ends.hub, ends.device)
        await made.until(lambda: of_kind(ends.hub.events, Joined))
        await ends.exchange(made)
        network = made.sticks["hub"].stack.state.network
        assert network is not None
        assert (network.pan_id, network.extended_pan_id) == (PAN_ID, EXTENDED_PAN_ID)
        assert (network.channel, network.key) == (CHANNEL, SETTINGS.network_key)
        for end in ends.both:
            await end.node.close()
            await end.node.open()
            await end.node.resume()
            assert of_kind(end.events, NetworkUp) == [NetworkUp()] * 2
        # The keys stand in the table: nothing transient came over the reset.
        assert made.sticks["hub"].stack.aps.transient_keys == {}
        await ends.exchange(made)


@versions
async def test_nobody_gets_in_whose_install_code_the_hub_does_not_have(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        with pytest.raises(JoinError, match="NO_BEACONS"):  # before joining is open
            await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
        await hub.node.permit(EUI64 + 1, link_key(EUI64 + 1), 60)
        for key in (link_key(EUI64), link_key(EUI64 + 1), b"ZigBeeAlliance09", bytes(16)):
            with pytest.raises(JoinError, match="NO_LINK_KEY"):
                await device.node.join(CHANNEL, EXTENDED_PAN_ID, key)
        await hub.node.permit(EUI64, link_key(EUI64), 60)
        with pytest.raises(JoinError, match="NO_LINK_KEY"):
            await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64 + 1))
        assert device.events == []
        await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
        assert device.events == [NetworkUp()]


@versions
async def test_a_device_that_leaves_is_told_of_and_knows_no_network(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        ends = Ends(await hub_node(made), await device_node(made, EUI64))
        await join(ends.hub, ends.device)
        await made.until(lambda: of_kind(ends.hub.events, Joined))
        await ends.device.node.leave()
        await made.until(lambda: of_kind(ends.hub.events, Left))
        assert of_kind(ends.hub.events, Left) == [Left(EUI64)]
        await ends.device.node.close()
        await ends.device.node.open()
        with pytest.raises(NodeError, match="NOT_JOINED"):
            await ends.device.node.resume()


@versions
async def test_a_full_key_table_lets_nobody_in_by_a_lost_key(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        hub = await hub_node(made)
        for number in range(KEY_TABLE_SIZE):
            await hub.node.permit(EUI64 + number, link_key(EUI64 + number), 60)
        one_more = EUI64 + KEY_TABLE_SIZE
        if ezsp == 4:  # the table is all there is
            with pytest.raises(NodeError, match="no room for a link key"):
                await hub.node.permit(one_more, link_key(one_more), 60)
            table = made.sticks["hub"].stack.state.link_keys
            assert [entry.eui64 for entry in table if entry is not None] == [
                EUI64 + number for number in range(KEY_TABLE_SIZE)
            ]
        else:  # a key of a permit takes no place in it
            await hub.node.permit(one_more, link_key(one_more), 60)
            assert not any(made.sticks["hub"].stack.state.link_keys)
