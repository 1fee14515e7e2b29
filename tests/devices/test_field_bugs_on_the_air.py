"""Field bugs and the bench's own cases that need a network: keys, addresses and hubs that change.

Source: section 9 of this bench's ZigBee sheet, cases 33 to 39; `test_field_bugs` has the others.
Everything through real hosts, in the middle of a transfer.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import bellows.types as t
import pytest
from bench_support import (
    CHANNEL,
    EXTENDED_PAN_ID,
    IMAGE_LIMIT_BYTES,
    NEW,
    OLD,
    PAN_ID,
    Bench,
    House,
    bench,
    house,
    link_key,
    make_image,
)

from emulator.devices.device import DeviceLost, DeviceUp
from emulator.devices.hub import DeviceTunnel, Hub, HubLost
from emulator.devices.node import NetworkSettings, Role
from emulator.devices.ota_outputs import DownloadFailed
from emulator.devices.ota_personalities import PERSONALITIES
from emulator.devices.ota_server import QuerySeen, ResponseCode, TransferOutcome
from emulator.devices.tunnel import TunnelUp
from emulator.devices.zigpy_node import ZigpyNode
from emulator.zigbee import nwk, nwk_commands
from emulator.zigbee.cbke.identities import TestAuthorities, install_identity
from emulator.zigbee.cbke.suites import SUITE_283K1
from emulator.zigbee.nwk_commands import NetworkStatus, NetworkStatusCode
from emulator.zigbee.security import mmo_hash
from firmware_images.image import FirmwareImage
from hil.seeds import Seeds

EUI64 = 0x02484E4200000010
OTHER_HUB = 0x02484E4200000002
SIZE = 12_000
AUTHORITIES = TestAuthorities(lambda name: Seeds(1).stream(name).getrandbits)
each = pytest.mark.parametrize(
    "make",
    [
        make if make == "ember" else pytest.param(make, marks=pytest.mark.matrix)
        for make in PERSONALITIES
    ],
)


async def under_way(
    made: Bench, make: str, role: Role = Role.ROUTER, **changes: Any
) -> tuple[House, FirmwareImage]:
    """A home in the middle of a transfer."""
    home = await updatable(made, make, role, **changes)
    return home, await begun(made, home)


async def updatable(made: Bench, make: str, role: Role = Role.ROUTER, **changes: Any) -> House:
    """A home with one device, its tunnel up."""
    home = await house(made)
    await home.add(EUI64, role=role, parameters=PERSONALITIES[make], **changes)
    await made.until(lambda: home.told(QuerySeen), 1800)
    await made.until(
        lambda: any(isinstance(one.output, TunnelUp) for one in home.told(DeviceTunnel)), 600
    )
    return home


async def begun(made: Bench, home: House) -> FirmwareImage:
    """A quarter of an image is there."""
    image = make_image(SIZE)
    home.hub.update(image, [EUI64])
    await made.until(lambda: written(home) > SIZE // 4, 24 * 3600)
    return image


def written(home: House) -> int:
    firmware = home.devices[EUI64]._firmware
    return 0 if firmware is None else firmware.flash.written_bytes


async def finished(made: Bench, home: House, image: FirmwareImage) -> None:
    """The file runs, the hub counts one success, and nobody was lost."""
    await made.until(lambda: any(up.restarted for up in home.told_by(EUI64, DeviceUp)), 48 * 3600)
    up = home.told_by(EUI64, DeviceUp)[-1]
    assert (up.file_version, up.sha256) == (NEW, image.sha256)
    assert [one.response_code for one in home.told(TransferOutcome)] == [ResponseCode.SUCCESS]
    assert home.told(HubLost) == home.told_by(EUI64, DeviceLost) == []
    assert home.told_by(EUI64, DownloadFailed) == []


@each
async def test_a_network_key_that_is_switched_does_not_cost_a_block(make: str) -> None:
    """33"""
    async with bench() as made:
        home = await updatable(made, make)
        ezsp = home.hub.node.ezsp  # type: ignore[attr-defined]
        (status,) = await ezsp.broadcastNextNetworkKey(key=t.KeyData(bytes(range(16))))
        assert status == t.sl_Status.OK
        await asyncio.sleep(9.5)
        image = await begun(made, home)
        (status,) = await ezsp.broadcastNetworkKeySwitch()
        assert status == t.sl_Status.OK
        switched = len(made.frames)
        await finished(made, home, image)
        sequences = [key_sequence(psdu) for psdu in made.frames[switched:]]
        assert sequences.count(1) > 300
        assert set(sequences[100:]) <= {1, None}


def key_sequence(psdu: bytes) -> int | None:
    """The number of the network key of a frame; None for one without."""
    if psdu[0] & 0x07 != 1:
        return None
    header = nwk.parse(psdu[9:-2])
    if not header.secured:
        return None
    return nwk.parse_auxiliary(psdu[9:-2], header.header_octets).key_sequence


class StickHost:
    """Key establishment as a host asks its stick for it, among whatever else goes on there."""

    def __init__(self, ezsp: Any) -> None:
        self._ezsp = ezsp
        self._told: dict[str, list[Any]] = {}
        ezsp.add_callback(lambda name, args: self._told.update({name: list(args)}))

    async def _operate(self, name: str, **fields: Any) -> list[Any]:
        (status,) = await getattr(self._ezsp, f"{name}283k1")(**fields)
        assert t.sl_Status.from_ember_status(status) == t.sl_Status.IN_PROGRESS
        while f"{name}Handler283k1" not in self._told:
            await asyncio.sleep(0.01)
        return self._told[f"{name}Handler283k1"]

    async def generate(self) -> Any:
        return (await self._operate("generateCbkeKeys"))[1]

    async def certificate(self) -> Any:
        return (await self._ezsp.getCertificate283k1())[1]

    async def macs(self, certificate: Any, point: Any, *, am_initiator: bool) -> list[Any]:
        return await self._operate(
            "calculateSmacs",
            amInitiator=t.Bool(am_initiator),
            partnerCertificate=certificate,
            partnerEphemeralPublicKey=point,
        )

    async def store(self) -> None:
        await self._ezsp.clearTemporaryDataMaybeStoreLinkKey283k1(storeLinkKey=t.Bool(True))


@each
async def test_a_link_key_that_is_established_anew_does_not_end_a_transfer(make: str) -> None:
    """34: hosts ask their sticks here; hub and devices do not ask by themselves yet"""
    async with bench() as made:
        home, image = await under_way(made, make)
        device = home.devices[EUI64]._firmware
        assert device is not None
        nodes: Any = (device.node, home.hub.node)
        sides = [StickHost(node.ezsp) for node in nodes]
        stacks = [made.sticks[name].stack for name in (f"device-{EUI64:X}", "hub")]
        for stack, node in zip(stacks, nodes, strict=True):
            install_identity(stack.state, AUTHORITIES.issue(SUITE_283K1, node.eui64))
        points = [await side.generate() for side in sides]
        certificates = [await side.certificate() for side in sides]
        macs = [
            await sides[0].macs(certificates[1], points[1], am_initiator=True),
            await sides[1].macs(certificates[0], points[0], am_initiator=False),
        ]
        assert macs[0] == macs[1]
        before = written(home)
        assert 0 < before < SIZE
        await sides[0].store()
        await asyncio.sleep(0.5)  # the device has the new key, its hub the old one
        await sides[1].store()
        at_hub = stacks[1].state.link_key_of(EUI64)
        assert at_hub is not None
        assert at_hub.key == stacks[0].state.preconfigured_key != link_key(EUI64)
        await finished(made, home, image)


@each
async def test_a_device_removed_from_the_log_hears_and_says_nothing_more(make: str) -> None:
    """38: where it did not hear that it has to leave; see test_removal_from_the_log too"""
    async with bench() as made:
        home, _ = await under_way(made, make)
        home.hub.remove(EUI64)
        before, told = written(home), len(home.hub_events)
        await asyncio.sleep(2 * 3600)
        codes = [one.response_code for one in home.told(TransferOutcome)]
        assert codes == [ResponseCode.IMAGE_DISCARDED]
        # A page or block that was on its way may still be stored; then it gives up and asks anew.
        assert written(home) in (0, *range(before, before + 1100))
        assert len(home.hub_events) == told
        assert [up.file_version for up in home.told_by(EUI64, DeviceUp)] == [OLD]


@each
async def test_a_device_with_another_short_address_goes_on_where_it_was(make: str) -> None:
    """39"""
    async with bench() as made:
        home, image = await under_way(made, make)
        stick = made.sticks[f"device-{EUI64:X}"].stack
        address, before = stick.short_address, written(home)
        status = NetworkStatus(NetworkStatusCode.ADDRESS_CONFLICT, address)
        command = nwk_commands.build_network_status(status)
        # A broadcast is not acknowledged: one that met a block request on the air is told again.
        for _ in range(3):
            hub = made.sticks["hub"].stack
            hub.send_command(nwk.BROADCAST_RX_ON, command, radius=nwk.MAX_RADIUS)
            await asyncio.sleep(2)
            if stick.short_address != address:
                break
        assert stick.short_address != address
        await finished(made, home, image)
        assert 0 < before < SIZE


@each
async def test_a_device_whose_hub_was_swapped_is_not_served_by_the_new_one_until_it_is_asked_to(
    make: str,
) -> None:
    """37"""
    async with bench() as made:
        home, image = await under_way(made, make, Role.END_DEVICE)
        await home.hub.stop()
        made.sticks["hub"].close()
        swapped = await another_hub(made, home)
        await made.until(lambda: any(one.eui64 == EUI64 for one in home.told(QuerySeen)), 7200)
        assert swapped.node.eui64 == OTHER_HUB
        assert home.told(TransferOutcome) == []
        assert [up.file_version for up in home.told_by(EUI64, DeviceUp)] == [OLD]
        home.device_events[EUI64].clear()
        swapped.update(image, [EUI64])
        await finished(made, home, image)


async def another_hub(made: Bench, home: House) -> Hub:
    """A hub in the place of one that broke: its devices' keys are the hashes of those before."""
    home.hub_events.clear()
    hub = Hub(
        made.stick("another-hub", OTHER_HUB),
        partial(ZigpyNode, take_over=True),
        home.hub_events.append,
        image_limit_bytes=IMAGE_LIMIT_BYTES,
    )
    home.hub = hub
    made.closing(hub.stop)
    settings = NetworkSettings(
        CHANNEL, PAN_ID + 1, EXTENDED_PAN_ID, bytes(range(90, 106)), bytes(16)
    )
    await hub.start(settings)
    node: Any = hub.node
    policy = t.EzspDecisionBitmask.ALLOW_JOINS | t.EzspDecisionBitmask.ALLOW_UNSECURED_REJOINS
    await node.ezsp.setPolicy(
        policyId=t.EzspPolicyId.TRUST_CENTER_POLICY, decisionId=t.EzspDecisionId(int(policy))
    )
    await hub.admit(EUI64, mmo_hash(link_key(EUI64)), 3600)
    assert await node._write_key(EUI64, mmo_hash(link_key(EUI64)))
    return hub
