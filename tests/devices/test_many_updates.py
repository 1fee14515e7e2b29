"""Many updates at once on one hub, and the same one asked for, or taken back, at any moment.

Source: performance-and-reliability sheet, R9. The cores of hub and devices, over a channel that
loses a tenth of what they say.
"""

from __future__ import annotations

import pytest
from ota_rig import DEVICE, NEW, OLD, make_image
from reliability_table import Runs, Sweep
from test_ota_pair import Home, codes

from emulator.devices.device_log import MAX_DEVICES
from emulator.devices.flash import Slot
from emulator.devices.ota_server import ResponseCode

SIZE_BYTES = 3000
PHASES = range(20)
COUNTS = range(1, MAX_DEVICES + 1)
IN_EVERY_TEST = (1, MAX_DEVICES)


def reliability() -> tuple[Sweep, ...]:
    return (
        Sweep(
            "R9",
            f"1 to {MAX_DEVICES} devices load one image at once, a tenth of the messages lost",
            Runs(len(IN_EVERY_TEST), *[len(COUNTS)] * 3),
            "each runs it, one success each",
        ),
        Sweep(
            "R9",
            f"the same request again at {len(PHASES)} phases of an update",
            Runs(*[len(PHASES)] * 4),
            "it goes on undisturbed, one success",
        ),
        Sweep(
            "R9",
            f"an update taken back at {len(PHASES)} phases",
            Runs(*[len(PHASES)] * 4),
            "discarded once, the old image runs, the next offer is taken",
        ),
    )


def at_phase(phase: int) -> tuple[Home, int]:
    """A home in which so many twentieths of the image are stored; blocks asked for so far."""
    home = Home(loss=0.1, seed=phase)
    device = home.add()
    home.act(home.server.offer(DEVICE, make_image(SIZE_BYTES), home.now, 1))
    home.run_until(lambda: phase * SIZE_BYTES <= device.flash.written_bytes * len(PHASES))
    return home, len(device.offsets)


@pytest.mark.parametrize(
    "count",
    [
        count if count in IN_EVERY_TEST else pytest.param(count, marks=pytest.mark.matrix)
        for count in COUNTS
    ],
)
def test_as_many_devices_as_a_hub_knows_update_at_once(count: int) -> None:
    image = make_image(SIZE_BYTES)
    home = Home(loss=0.1, seed=count)
    for number in range(count):
        home.add(number + 1)
    for number in range(count):
        home.offer(image, number + 1)
    home.run_until_seen(NEW)
    home.run_until(lambda: len(home.outcomes) == count)
    assert codes(home) == [ResponseCode.SUCCESS] * count
    for device in home.devices.values():
        assert device.flash.read(Slot.RUNNING) == image.data


@pytest.mark.parametrize("phase", PHASES)
def test_a_request_repeated_in_an_update_does_not_disturb_it(phase: int) -> None:
    home, blocks = at_phase(phase)
    home.act(home.server.offer(DEVICE, make_image(SIZE_BYTES), home.now, 1))
    home.run_until_seen(NEW)
    device = home.devices[DEVICE]
    assert min(device.offsets[blocks:], default=SIZE_BYTES) >= phase * SIZE_BYTES // 20 - 56
    assert device.flash.read(Slot.RUNNING) == make_image(SIZE_BYTES).data
    assert codes(home) == [ResponseCode.SUCCESS]


@pytest.mark.parametrize("phase", PHASES)
def test_an_update_taken_back_ends_once_and_the_next_one_is_taken(phase: int) -> None:
    home, _ = at_phase(phase)
    device = home.devices[DEVICE]
    home.act(home.server.remove_device(DEVICE))
    home.run_until(lambda: not device.flash.is_filling)
    assert codes(home) == [ResponseCode.IMAGE_DISCARDED]
    assert device.flash.running.file_version == OLD
    home.act(home.server.offer(DEVICE, make_image(SIZE_BYTES), home.now, 2))
    home.run_until_seen(NEW)
    assert codes(home) == [ResponseCode.IMAGE_DISCARDED, ResponseCode.SUCCESS]
