"""The power goes at every operation on what hub and device store: no update lost, no mixed image.

Eight courses of an update, each cut at each operation before it is done, halfway, and after it; the
invariants are those of `power_rig.World.check`. The same with an image of 48 KiB, and with a second
cut in the recovery from the first, belong to the matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product

import pytest
from ota_rig import NEW
from power_rig import SCENARIOS, Scenario, World
from reliability_table import SIZE, SIZES, Runs, Sweep

from emulator.devices.nonvolatile import Cut, CutMode

SMALL_BYTES = 4200
LARGE_BYTES = 48 * 1024
IS_FULL = SIZE in ("full", "soak")
A_SLICE = ("clean", "lossy")  # of the courses, in matrix-quick
scenarios = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
sides = pytest.mark.parametrize("side", ["device", "hub"])


def ended(scenario: Scenario, size_bytes: int, side: str = "", *cuts: Cut, seed: int = 1) -> World:
    """The world after the update, every invariant checked."""
    device_cuts = cuts if side == "device" else ()
    hub_cuts = cuts if side == "hub" else ()
    world = World(scenario, size_bytes, device_cuts=device_cuts, hub_cuts=hub_cuts, seed=seed)
    world.run()
    world.check()
    return world


@cache
def operations(scenario: Scenario, size_bytes: int, side: str) -> tuple[str, ...]:
    """What one side stores in the course of an update without a cut."""
    world = ended(scenario, size_bytes)
    process = world.device if side == "device" else world.hub
    return tuple(process.all_operations())


def cut_everywhere(
    scenario: Scenario, size_bytes: int, side: str, modes: Iterable[CutMode] = CutMode
) -> int:
    """Cut at every operation in every mode; how many operations those were."""
    named = operations(scenario, size_bytes, side)
    for number, name in enumerate(named, 1):
        for mode in modes:
            try:
                ended(scenario, size_bytes, side, Cut(number, mode))
            except AssertionError as error:
                raise AssertionError(
                    f"{side} cut {mode.name} {number} ({name}): {error}"
                ) from error
    return len(named)


def modes_of(scenario: Scenario) -> tuple[CutMode, ...]:
    """A torn operation leaves the least behind; the matrix has all modes for every course."""
    return tuple(CutMode) if scenario.name == "clean" else (CutMode.TORN,)


def pairs(writes: int, size: str) -> Iterator[tuple[Cut, Cut]]:
    """A cut in a course of so many operations, and one in the life that follows."""
    for first in range(1, writes + 1):
        seconds = range(1, writes + 4 - first if size in ("full", "soak") else 3)
        for mode, second, again in product(CutMode, seconds, (CutMode.TORN, CutMode.AFTER)):
            yield Cut(first, mode), Cut(second, again)


def reliability() -> tuple[Sweep, ...]:
    def writes(scenario: Scenario, size_bytes: int) -> int:
        return sum(len(operations(scenario, size_bytes, side)) for side in ("device", "hub"))

    small = sum(writes(one, SMALL_BYTES) * len(modes_of(one)) for one in SCENARIOS)
    large = {one.name: writes(one, LARGE_BYTES) * len(CutMode) for one in SCENARIOS}
    full = sum(large.values())
    clean = [len(operations(SCENARIOS[0], SMALL_BYTES, side)) for side in ("device", "hub")]
    double = [sum(len(list(pairs(one, size))) for one in clean) for size in SIZES[1:]]
    return (
        Sweep(
            "R1",
            f"the cores of hub and device cut before, inside and after every write of an update, "
            f"{len(SCENARIOS)} courses",
            Runs(small, sum(large[name] for name in A_SLICE), full, full),
            "no update lost, no mixed image, I1 to I6",
        ),
        Sweep(
            "R3",
            "a second cut of the cores, after the first, 4 KiB",
            Runs(0, *double),
            "no update lost, no mixed image, I1 to I6",
        ),
    )


@scenarios
def test_an_update_ends_as_it_should_when_no_power_goes(scenario: Scenario) -> None:
    world = ended(scenario, SMALL_BYTES)
    assert world.hub.all_operations()
    assert world.device.all_operations()


@sides
@scenarios
def test_no_power_cut_loses_or_mixes_an_update(scenario: Scenario, side: str) -> None:
    assert cut_everywhere(scenario, SMALL_BYTES, side, modes_of(scenario)) >= 3


def test_what_is_stored_is_stored_in_this_order() -> None:
    clean = SCENARIOS[0]
    assert operations(clean, SMALL_BYTES, "hub") == (
        "image: page 0",
        "image: page 1",
        "image: keep",
        "offers",  # the offer
        "offers",  # which product asked
        "offers",  # the outcome
        "gbcs: transfer alert",
        "gbcs: alert delivered",
    )
    assert operations(clean, SMALL_BYTES, "device") == (
        "spare: forget",
        "spare: begin",
        "spare: page 0",
        "spare: page 1",
        "gbcs: activating",
        "spare: mark",
        "boot: swap",
        "boot: confirm",
        "gbcs: activation alert",
        "gbcs: alert delivered",
    )


def test_the_same_seed_gives_the_same_frames_power_cut_or_not() -> None:
    lossy = SCENARIOS[1]
    cuts = [Cut(4, CutMode.TORN)]
    traces = [ended(lossy, SMALL_BYTES, "device", *cuts, seed=7).trace.digest() for _ in range(2)]
    assert traces[0] == traces[1]
    assert traces[0] != ended(lossy, SMALL_BYTES, "device", *cuts, seed=8).trace.digest()


def test_a_hub_and_a_device_cut_in_one_update_lose_nothing() -> None:
    for scenario in SCENARIOS:
        for number in (4, 6):
            cut = Cut(number, CutMode.TORN)
            world = World(scenario, SMALL_BYTES, device_cuts=[cut], hub_cuts=[cut])
            world.run()
            world.check()


def test_a_device_cut_in_every_trial_of_a_good_image_still_ends_with_a_word() -> None:
    """Three starts without confirmation are the limit; the next one takes the image back."""
    swap = operations(SCENARIOS[0], SMALL_BYTES, "device").index("boot: swap") + 1
    cuts = [Cut(swap, CutMode.AFTER), Cut(1, CutMode.AFTER)]
    ended(SCENARIOS[0], SMALL_BYTES, "device", *cuts)
    world = World(SCENARIOS[0], SMALL_BYTES, device_cuts=[*cuts, Cut(1, CutMode.AFTER)])
    world.run()
    assert world.dsp.transfers == [(NEW, 0)]
    assert world.dsp.activations == [(NEW, 1)]


@pytest.mark.matrix
@sides
@scenarios
def test_no_power_cut_loses_or_mixes_an_update_of_48_kib(scenario: Scenario, side: str) -> None:
    if not IS_FULL and scenario.name not in A_SLICE:
        pytest.skip("a slice of the sweep: two courses")
    assert cut_everywhere(scenario, LARGE_BYTES, side) >= 10


@pytest.mark.matrix
@sides
def test_no_second_cut_in_the_recovery_from_the_first_loses_an_update(side: str) -> None:
    clean = SCENARIOS[0]
    for first, second in pairs(len(operations(clean, SMALL_BYTES, side)), SIZE):
        ended(clean, SMALL_BYTES, side, first, second)
