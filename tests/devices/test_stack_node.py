"""A node straight on a stack says on the air what a stick and its host say, frame for frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from bench_support import (
    HUB_EUI64,
    NETWORK_KEY,
    NEW,
    OLD,
    STACK,
    Bench,
    bench,
    link_key,
    make_image,
)
from wan_rig import premises

from emulator.devices import models
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


def said(made: Bench) -> list[Said]:
    """Every data frame of profile 0x0109 on the air, decrypted, what was sent again only once."""
    eui64_of = {
        stick.stack.short_address: stick.stack.state.eui64 for stick in made.sticks.values()
    }
    network_key, key = FrameKey(NETWORK_KEY), FrameKey(link_key(EUI64))
    found: list[Said] = []
    last: dict[int, tuple[int, int]] = {}
    for psdu in made.frames:
        if psdu[0] & 0x07 != 1:  # MAC data
            continue
        body = psdu[9:-2]
        header = nwk.parse(body)
        if not header.secured or header.frame_type != nwk.TYPE_DATA:
            continue
        _, source_eui64, _ = nwk.parse_auxiliary(body, header.header_octets)
        octets = nwk.open_sealed(network_key, body, header.header_octets, source_eui64)
        frame = aps.parse(octets)
        if frame.profile != SMART_ENERGY or frame.control & 0x03 == aps.TYPE_ACK:
            continue
        assert frame.control & aps.SECURITY, "Smart Energy without link-key security"
        number = (frame.counter, frame.block)
        if last.get(header.source) == number:
            continue
        last[header.source] = number
        payload = aps.open_sealed(key, octets, frame.header_octets, source_eui64)
        ends = eui64_of[header.source], eui64_of[header.destination]
        found.append(Said(*ends, frame.cluster, payload))
    return found


def up_to_upgrade_end(frames: list[Said]) -> list[Said]:
    """As far as the answer to Upgrade End."""
    for number, one in enumerate(frames):
        if one.cluster == models.OTA_UPGRADE:
            frame = zcl.parse(one.payload)
            if frame.frame_control == zcl.RESPONSE and frame.command == ota.UPGRADE_END_RESPONSE:
                return frames[: number + 1]
    raise AssertionError("nobody answered an Upgrade End")


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
