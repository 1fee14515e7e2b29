"""`ota_stack_node`: a whole image from a hub to a bridge, each straight on its stack.

Source: ours. The same hub, bridge, stacks and air as in `ota_bellows_pair`, without what stands
between them there: serial lines, sticks, ASH, EZSP, bellows and zigpy. A repeat sends 768 000
octets once, and a quarter of that once through sticks, from the first block request to the last
block; SHA-256 checked, no loss.

    real       the seconds a real air would have taken, 21.06 ms a block / transfer
    by sticks  a block through sticks and their hosts / a block here
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from functools import partial
from typing import cast

from bench.judge import Benchmark, Line, Measure
from bench.ota_pair import REAL_BLOCK_S
from bench.pair import (
    BRIDGE,
    EUI64S,
    HUB,
    IMAGE_BYTES,
    NAMES,
    TOY_IMAGE_BYTES,
    Transfer,
    VirtualPair,
    make_image,
)
from bench.pair import transfer as transfer_by_sticks
from emulator.devices.stack_node import StackNode
from emulator.devices.stack_radio import StackRadio
from emulator.medium.air import Medium
from emulator.zigbee.state import StackState
from firmware_images.image import FirmwareImage
from hil.clock import VirtualLoop, run_virtual


class StackPair(VirtualPair):
    """A hub and a bridge straight on the stacks of two radios."""

    def __init__(self, image: FirmwareImage, seed: int = 1) -> None:
        clock = cast(VirtualLoop, asyncio.get_running_loop())
        stream = random.Random(seed)
        medium = Medium(clock, stream.getrandbits)
        self._radios = [
            StackRadio(name, StackState(eui64).to_json(), medium, clock, stream.getrandbits)
            for name, eui64 in zip(NAMES, EUI64S, strict=True)
        ]
        urls = [f"stack://{name}" for name in NAMES]
        make_hub, make_bridge = (
            partial(StackNode, radio=self._radios[radio], take_over=True) for radio in (HUB, BRIDGE)
        )
        super().__init__(urls, image, (make_hub, make_bridge))

    async def close(self) -> None:
        """Switch everything off."""
        await self.stop()
        for radio in self._radios:
            radio.close()


def transfer(image: FirmwareImage) -> Transfer:
    """One transfer from a standing start, on a loop of its own."""

    async def run() -> Transfer:
        pair = StackPair(image)
        try:
            return await pair.transfer()
        finally:
            await pair.close()

    return run_virtual(run)


def _prepare(toy: bool) -> Measure:
    image = make_image(TOY_IMAGE_BYTES if toy else IMAGE_BYTES)
    quarter = make_image(TOY_IMAGE_BYTES if toy else IMAGE_BYTES // 4)

    def measure() -> Mapping[str, float]:
        done, by_sticks = transfer(image), transfer_by_sticks(quarter)
        block_s = done.wall_s / done.blocks
        return {
            "real": REAL_BLOCK_S / block_s,
            "by sticks": by_sticks.wall_s / by_sticks.blocks / block_s,
            "block": 1e6 * block_s,
        }

    return measure


OTA_STACK_NODE = Benchmark(
    "ota_stack_node",
    "768 000 octets, hub and bridge straight on their stacks",
    (
        Line("real", "21.06 ms a block / transfer", at_least=200),
        Line("by sticks", "a block through sticks and their hosts / here"),
        Line("block", "us a block: transfer"),
    ),
    _prepare,
)
