"""A node straight on a stack says on the air what a stick and its host say, frame for frame; and
blocks of a firmware file are as large as the way to the device lets them be.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from bench_support import (
    HUB_EUI64,
    NETWORK_KEY,
    NEW,
    OLD,
    SETTINGS,
    STACK,
    Bench,
    House,
    HubNode,
    bench,
    device_node,
    house,
    hub_node,
    join,
    link_key,
    make_image,
    of_kind,
)
from test_hub_and_device import ready, updated
from wan_rig import premises

from emulator.devices import models
from emulator.devices.node import KEY_TABLE_SIZE, Frame, NetworkDown, NodeError, Role, Sent
from emulator.devices.ota_server import ResponseCode, TransferOutcome
from emulator.zigbee import aps, nwk, ota, zcl
from emulator.zigbee.security import FrameKey
from gbcs.firmware import FIRMWARE_TRANSFER_SUCCEEDED, FirmwareTransfer

EUI64 = 0x02484E4200000010
SMART_ENERGY = 0x0109


class Said(NamedTuple):
    """What a node said to another in profile 0x0109, as far as both kinds of node must agree."""

    source: int
    destination: int
    cluster: int
    payload: bytes


class Opened(NamedTuple):
    """A data frame of profile 0x0109 on the air, decrypted."""

    psdu: bytes
    said: Said
    number: tuple[int, int]  # APS counter and block: what is sent again has the same


def opened(made: Bench) -> list[Opened]:
    """Those frames in their order, each as often as it was sent."""
    eui64_of = {
        stick.stack.short_address: stick.stack.state.eui64 for stick in made.sticks.values()
    }
    network_key, key = FrameKey(NETWORK_KEY), FrameKey(link_key(EUI64))
    found = []
    for psdu in made.frames:
        if psdu[0] & 0x07 != 1:  # MAC data
            continue
        body = psdu[9:-2]
        header = nwk.parse(body)
        if not header.secured or header.frame_type != nwk.TYPE_DATA:
            continue
        _, from_eui64, _ = nwk.parse_auxiliary(body, header.header_octets)
        octets = nwk.open_sealed(network_key, body, header.header_octets, from_eui64)
        frame = aps.parse(octets)
        if frame.profile != SMART_ENERGY or frame.control & 0x03 == aps.TYPE_ACK:
            continue
        assert frame.control & aps.SECURITY, "Smart Energy without link-key security"
        source, destination = eui64_of[header.source], eui64_of[header.destination]
        source_octets = source.to_bytes(8, "little")
        payload = aps.open_sealed(key, octets, frame.header_octets, source_octets)
        said = Said(source, destination, frame.cluster, payload)
        found.append(Opened(psdu, said, (frame.counter, frame.block)))
    return found


def said(made: Bench) -> list[Said]:
    """What was said, and what was sent again only once."""
    last: dict[int, tuple[int, int]] = {}
    found = []
    for one in opened(made):
        if last.get(one.said.source) != one.number:
            last[one.said.source] = one.number
            found.append(one.said)
    return found


def up_to_upgrade_end(frames: list[Said]) -> list[Said]:
    """As far as the answer to Upgrade End."""
    for number, one in enumerate(frames):
        if one.cluster == models.OTA_UPGRADE:
            frame = zcl.parse(one.payload)
            if frame.frame_control == zcl.RESPONSE and frame.command == ota.UPGRADE_END_RESPONSE:
                return frames[: number + 1]
    raise AssertionError("nobody answered an Upgrade End")


def blocks_of(made: Bench) -> list[tuple[bytes, bytes]]:
    """Every Image Block Response on the air: its frame, and the octets of the file in it."""
    found = []
    for psdu, said, _ in opened(made):
        frame = zcl.parse(said.payload)
        kind = said.cluster, frame.frame_control, frame.command
        if kind == (models.OTA_UPGRADE, zcl.RESPONSE, ota.IMAGE_BLOCK_RESPONSE):
            response = ota.parse_image_block_response(frame.payload)
            assert isinstance(response, ota.ImageBlockResponse)
            found.append((psdu, response.data))
    return found


async def an_update(ezsp: Any) -> list[Said]:
    """What is said while a device joins, answers CS08 and is updated, all by its DSP's orders."""
    async with bench(ezsp=ezsp) as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        assert (await there.version(EUI64)).firmware_version == OLD
        await there.updated(EUI64, NEW)
        (alert, *_) = there.alerts(HUB_EUI64)
        assert isinstance(alert, FirmwareTransfer)
        assert alert.alert_code == FIRMWARE_TRANSFER_SUCCEEDED
        return up_to_upgrade_end(said(made))


@pytest.mark.parametrize("ezsp", [8, 14])
async def test_both_kinds_of_node_say_the_same_from_the_first_frame_to_upgrade_end(
    ezsp: int,
) -> None:
    by_sticks, by_stacks = await an_update(ezsp), await an_update(STACK)
    assert {one.cluster for one in by_stacks} == {models.TUNNELLING, models.OTA_UPGRADE}
    assert len(by_stacks) > 2 * 4096 // 56
    assert by_stacks == by_sticks


# -- how large a block may be ------------------------------------------------------------------

# The sheet's frame budget: 127 octets, less what MAC, NWK, APS and ZCL take, less the source route.
BLOCK_OCTETS = {0: 56, 1: 52, 2: 50, 3: 48, 4: 46, 5: 44, 6: 42}
WITHOUT_LINK_KEY_OCTETS = {0: 65, 1: 61, 2: 59, 3: 57, 4: 55, 5: 53, 6: 51}
MPDU_OCTETS = 127


class FarDevice:
    """A hub that keeps source routes, and a device that it reaches by so many relays."""

    def __init__(self, home: House, names: list[str]) -> None:
        self.home = home
        self._stacks = [home.bench.sticks[name].stack for name in names]

    async def way_known(self) -> None:
        """Wait until the hub knows the way by all relays (again: it forgets one that fails)."""
        far, *relays = (stack.short_address for stack in reversed(self._stacks[1:]))
        routes = self._stacks[0].routing.source_routes
        for _ in range(1000):
            if not relays or routes.get(far) == tuple(relays):
                return
            await asyncio.sleep(10)
        raise AssertionError("the hub never heard by which way the device is reached")

    async def frames_for(self, octets: int, *, encrypted: bool) -> int:
        """How many frames the hub makes of a message as long as a block response with `octets`."""
        await self.way_known()
        made = self.home.bench
        made.frames.clear()
        payload = bytes(3 + 14 + octets)  # to a cluster on which no device answers
        self.home.hub.node.send(Frame(EUI64, models.PRICE, 1, 1, payload, encrypted))
        await asyncio.sleep(5)
        assert max(map(len, made.frames)) == MPDU_OCTETS
        return len(
            {
                (one.frame.counter, one.frame.block)
                for one in made.opened()
                if one.frame.cluster == models.PRICE and not one.is_acknowledgement
            }
        )


async def far_device(made: Bench, relays: int) -> FarDevice:
    home = await house(made)
    hub = HubNode(home.hub.node)
    names = ["hub"]
    for number in range(relays):
        relay = EUI64 + 1 + number
        await join(hub, await device_node(made, relay))
        names.append(f"device-{relay:X}")
    await home.add(EUI64)
    await ready(home, EUI64)
    names.append(f"device-{EUI64:X}")
    for at, name in enumerate(names):
        for other in names[at + 2 :]:
            made.medium.separate(name, other)
    hub.node.set_source_routing(True)
    far = FarDevice(home, names)
    await far.way_known()
    return far


@pytest.mark.parametrize("relays", range(7))
async def test_blocks_fill_the_frame_that_the_way_to_the_device_leaves(relays: int) -> None:
    async with bench(ezsp=STACK) as made:
        far = await far_device(made, relays)
        whole = BLOCK_OCTETS[relays]
        # One octet more would be two frames, with link-key security and without.
        for encrypted, octets in ((True, whole), (False, WITHOUT_LINK_KEY_OCTETS[relays])):
            assert await far.frames_for(octets, encrypted=encrypted) == 1
            assert await far.frames_for(octets + 1, encrypted=encrypted) == 2
        await far.way_known()
        made.frames.clear()
        image = make_image(2048)
        far.home.hub.update(image, [EUI64])
        assert (await updated(far.home, EUI64)).sha256 == image.sha256
        blocks = blocks_of(made)
        assert {len(data) for _, data in blocks} == {whole, 2048 % whole or whole}
        assert max(len(psdu) for psdu, data in blocks if len(data) == whole) == MPDU_OCTETS


@pytest.mark.parametrize("role", [Role.END_DEVICE, Role.SLEEPY], ids=lambda role: role.value)
async def test_an_end_device_is_updated_too_asleep_or_awake(role: Role) -> None:
    async with bench(ezsp=STACK) as made:
        home = await house(made)
        await home.add(EUI64, role=role)
        await ready(home, EUI64)
        assert made.sticks["hub"].stack.children.count == 1
        image = make_image(4096)
        home.hub.update(image, [EUI64])
        assert (await updated(home, EUI64)).sha256 == image.sha256
        (outcome,) = home.told(TransferOutcome)
        assert outcome.response_code is ResponseCode.SUCCESS


async def test_two_devices_at_once_get_the_file_each_under_its_own_key() -> None:
    async with bench(ezsp=STACK) as made:
        home = await house(made)
        for eui64 in (EUI64, EUI64 + 1):
            await home.add(eui64)
        await ready(home, EUI64, EUI64 + 1)
        image = make_image(4096)
        home.hub.update(image, [EUI64, EUI64 + 1])
        for eui64 in (EUI64, EUI64 + 1):
            assert (await updated(home, eui64)).sha256 == image.sha256
        assert len({entry.key for entry in made.sticks["hub"].stack.state.link_keys if entry}) == 2


# -- what it refuses -----------------------------------------------------------------------------


async def test_a_node_that_is_not_open_says_so() -> None:
    async with bench(ezsp=STACK) as made:
        url = made.stick("hub", HUB_EUI64)
        node = made.make_hub(url, models.HUB_ENDPOINTS, lambda _: None)
        for work in (node.leave(), node.resume(), node.form(SETTINGS)):
            with pytest.raises(NodeError, match="stack://hub is not open"):
                await work
        with pytest.raises(NodeError, match="stack://hub is not open"):
            node.send(Frame(EUI64, models.PRICE, 1, 1, b""))
        await node.close()


async def test_a_device_lets_nobody_in_and_talks_to_its_hub_alone() -> None:
    async with bench(ezsp=STACK) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        with pytest.raises(NodeError, match=f"no hub's: it cannot let {EUI64 + 1:016X} in"):
            await device.node.permit(EUI64 + 1, link_key(EUI64 + 1), 60)
        with pytest.raises(NodeError, match=f"{EUI64 + 1:016X} is not the hub of this network"):
            device.node.send(Frame(EUI64 + 1, models.PRICE, 1, 1, b""))
        assert (
            await device.node.find_endpoint(EUI64 + 1, models.OTA_UPGRADE, is_server=True) is None
        )


async def test_a_hub_has_so_many_link_keys_and_then_says_that_there_is_no_room() -> None:
    async with bench(ezsp=STACK) as made:
        hub = await hub_node(made)
        for number in range(KEY_TABLE_SIZE):
            await hub.node.permit(EUI64 + number, link_key(EUI64 + number), 60)
        with pytest.raises(NodeError, match="has no room for a link key"):
            await hub.node.permit(EUI64 + KEY_TABLE_SIZE, link_key(EUI64), 60)
        await hub.node.permit(EUI64, link_key(EUI64 + 1), 60)  # another key in the place of one
        table = made.sticks["hub"].stack.state.link_keys
        assert len(table) == KEY_TABLE_SIZE


async def test_messages_under_way_end_with_the_network() -> None:
    async with bench(ezsp=STACK) as made:
        hub = await hub_node(made)
        device = await device_node(made, EUI64)
        await join(hub, device)
        made.medium.separate("hub", f"device-{EUI64:X}")
        tags = [
            device.node.send(Frame(HUB_EUI64, models.TUNNELLING, 1, 3, bytes(octets)))
            for octets in [10] * 6 + [400] * 6
        ]
        await device.node.leave()
        assert {one.tag: one.delivered for one in of_kind(device.events, Sent)} == dict.fromkeys(
            tags, False
        )
        assert of_kind(device.events, NetworkDown) != []
        await asyncio.sleep(60)
        assert len(of_kind(device.events, Sent)) == len(tags)
