"""The power goes to a hub or a device that runs, at every operation on what it stores.

The eight courses of `test_power_cuts`, here with everything real: hub on zigpy, device on bellows,
sticks, air, GBCS. Whoever loses power loses its stick with it, and both are built anew from what
was stored. Checked after each run are the invariants of `mains_rig.RunningHome.check`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import cache

import pytest
from bench_support import bench
from mains_rig import OFF_S, RunningHome
from power_rig import SCENARIOS, Scenario
from reliability_table import SIZE, SIZES, Runs, Sweep

from emulator.devices.flash import PAGE_BYTES
from emulator.devices.nonvolatile import Cut, CutMode
from hil.clock import run_virtual
from hil.wiring import quiet_hosts

SMALL_BYTES = 4200
LARGE_BYTES = 48 * 1024
LARGEST_BYTES = 750 * 1024
SIDES = ("device", "hub")
# Operations by which hub and device get to know each other, before any update.
SET_UP = {
    "hub": ("device log", "offers", "device log", "gbcs: log alert", "gbcs: alert delivered"),
    "device": ("network: joined", "gbcs: tunnel up"),
}
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
# How often each side stores something in an update of 48 KiB; of two, in the second.
WRITES = {
    "clean": {"device": 21, "hub": 18},
    "lossy": {"device": 21, "hub": 18},
    "repeated": {"device": 21, "hub": 18},
    "queued": {"device": 21, "hub": 19},
    "rollback": {"device": 23, "hub": 18},
    "corrupt": {"device": 16, "hub": 18},
    "deferred": {"device": 21, "hub": 19},
    "cancelled": {"device": 8, "hub": 19},
}
SMALL_WRITES = {"device": 11, "hub": 8}  # in the clean course of 4 KiB
TEST_STEP = 3
SLICE_STEP = 6  # in matrix-quick, of the operations
DOUBLE_STEP = 3  # in the matrix, of first and of second cuts


def numbers(course: str, side: str, size: str) -> list[int]:
    """At which operations of an update of 48 KiB to cut, counted as in `WRITES`, from 1."""
    step = 1 if size in ("full", "soak") else SLICE_STEP
    return list(range(step, WRITES[course][side] + 1, step))


def pairs(writes: int, size: str) -> Iterator[tuple[int, int]]:
    """First and second cut in a course of so many operations, and one more for the boot."""
    step = 1 if size == "soak" else DOUBLE_STEP
    for first in range(1, writes + 1, step):
        for second in range(first + 1, writes + 2, step):
            yield first, second


def reliability() -> tuple[Sweep, ...]:
    ends = "no update lost, no mixed image, I1 to I8"
    modes = len(CutMode)
    single = [
        modes * sum(len(numbers(one, side, size)) for one in WRITES for side in SIDES)
        for size in SIZES[1:]
    ]
    pages = -(-LARGEST_BYTES // PAGE_BYTES) - LARGE_BYTES // PAGE_BYTES
    largest = single[-1] + modes * len(SIDES) * len(SCENARIOS) * pages
    double = [
        sum(len(list(pairs(count, size))) for count in counts.values()) * len(modes_of_two(size))
        for size, counts in zip(
            SIZES[1:], (SMALL_WRITES, SMALL_WRITES, WRITES["clean"]), strict=True
        )
    ]
    return (
        Sweep(
            "R1",
            "a running hub or device, with its stick, cut before, inside and after every write of "
            f"an update of 48 KiB, {len(SCENARIOS)} courses",
            Runs(sum(len(range(0, one, TEST_STEP)) for one in SMALL_WRITES.values()), *single),
            ends,
        ),
        Sweep("R2", "the same of 750 KiB", Runs(0, 0, 0, largest), ends),
        Sweep("R3", "a second cut of what runs, after the first", Runs(0, *double), ends),
    )


def modes_of_two(size: str) -> tuple[CutMode, ...]:
    return tuple(CutMode) if size == "soak" else (CutMode.TORN,)


def ended(
    scenario: Scenario, size_bytes: int, side: str = "", *cuts: Cut, seed: int = 1
) -> RunningHome:
    """The home after the update, every invariant checked, nothing left that runs."""

    async def on_loop() -> RunningHome:
        quiet_hosts()
        async with bench(seed=seed) as made:
            home = RunningHome(
                made,
                scenario,
                size_bytes,
                device_cuts=cuts if side == "device" else (),
                hub_cuts=cuts if side == "hub" else (),
            )
            await home.build()
            await home.run()
        home.check()
        assert asyncio.all_tasks() == {asyncio.current_task()}  # I7
        falls = [kind for name, kind, _ in home.told if name == side]
        assert falls == ["power cut", "power back"] * (len(falls) // 2)
        # The last life may be over before an operation of that number.
        assert max(len(cuts) - 1, min(len(cuts), 1)) <= len(falls) // 2 <= len(cuts)
        return home

    return run_virtual(on_loop)


@cache
def operations(scenario: Scenario, size_bytes: int, side: str) -> tuple[str, ...]:
    """What one side stores in the course of an update without a cut."""
    return tuple(ended(scenario, size_bytes).mains[side].all_operations())


def cuts_of(scenario: Scenario, size_bytes: int, side: str) -> Iterator[tuple[int, str]]:
    """Number and name of each operation of the update itself; of two, of the second alone, since
    the first is as the clean one."""
    named = operations(scenario, size_bytes, side)
    first = len(SET_UP[side])
    assert named[:first] == SET_UP[side]
    if len(scenario.versions) > 1:
        first = len(operations(BY_NAME["clean"], size_bytes, side))
    if size_bytes == LARGE_BYTES:
        assert len(named) - first == WRITES[scenario.name][side]
    elif size_bytes == SMALL_BYTES and scenario.name == "clean":
        assert len(named) - first == SMALL_WRITES[side]
    return iter(list(enumerate(named, 1))[first:])


def cut_at(scenario: Scenario, size_bytes: int, side: str, number: int, mode: CutMode) -> None:
    name = operations(scenario, size_bytes, side)[number - 1]
    try:
        ended(scenario, size_bytes, side, Cut(number, mode))
    except AssertionError as error:
        raise AssertionError(f"{side} cut {mode.name} {number} ({name}): {error}") from error


def test_what_runs_stores_in_this_order() -> None:
    clean = BY_NAME["clean"]
    assert [name for _, name in cuts_of(clean, SMALL_BYTES, "hub")] == [
        "image: page 0",
        "image: page 1",
        "image: keep",
        "offers",  # the offer
        "offers",  # the product asked for the image
        "offers",  # the outcome
        "gbcs: transfer alert",
        "gbcs: alert delivered",
    ]
    assert [name for _, name in cuts_of(clean, SMALL_BYTES, "device")] == [
        "spare: forget",
        "spare: begin",
        "spare: page 0",
        "spare: page 1",
        "gbcs: activating",
        "spare: mark",
        "boot: swap",
        "boot: confirm",
        "gbcs: activation alert",
        "gbcs: tunnel up",
        "gbcs: alert delivered",
    ]


@pytest.mark.parametrize("side", SIDES)
def test_a_torn_operation_of_what_runs_loses_nothing(side: str) -> None:
    """Some of them; the matrix has all."""
    clean = BY_NAME["clean"]
    for number, _ in list(cuts_of(clean, SMALL_BYTES, side))[::TEST_STEP]:
        cut_at(clean, SMALL_BYTES, side, number, CutMode.TORN)


def test_hub_and_device_that_fall_in_one_update_both_come_back() -> None:
    for name in ("lossy", "deferred"):
        cut = Cut(len(SET_UP["hub"]) + 4, CutMode.AFTER)

        async def on_loop(scenario: Scenario = BY_NAME[name], cut: Cut = cut) -> None:
            async with bench() as made:
                home = RunningHome(made, scenario, SMALL_BYTES, device_cuts=[cut], hub_cuts=[cut])
                await home.build()
                await home.run()
                home.check()
                assert len(home.told) == 4

        run_virtual(on_loop)


def test_a_device_that_was_away_for_every_request_for_a_tunnel_gets_one_when_it_asks() -> None:
    """Twice off for 30 s: the hub asks five times in 50 s, and gives up."""
    number = operations(BY_NAME["clean"], SMALL_BYTES, "device").index("gbcs: activation alert") + 2
    cuts = Cut(number, CutMode.TORN), Cut(number + 1, CutMode.TORN)
    home = ended(BY_NAME["clean"], SMALL_BYTES, "device", *cuts)
    assert len(home.told) == 4


def test_the_same_cut_and_seed_give_the_same_frames() -> None:
    lossy, cut = BY_NAME["lossy"], Cut(6, CutMode.TORN)
    frames = [
        ended(lossy, SMALL_BYTES, "device", cut, seed=seed).bench.frames for seed in (7, 7, 8)
    ]
    assert frames[0] == frames[1]  # I8
    assert frames[0] != frames[2]


def test_a_device_without_power_is_silent_until_it_is_back() -> None:
    home = ended(BY_NAME["clean"], SMALL_BYTES, "device", Cut(6, CutMode.BEFORE))
    assert home.told[0][2] == f"at operation 6, spare: page 1, off for {OFF_S:g} s"


# -- the matrix ------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("mode", CutMode, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_no_cut_of_what_runs_loses_or_mixes_an_update_of_48_kib(
    scenario: Scenario, side: str, mode: CutMode
) -> None:
    operations_of = list(cuts_of(scenario, LARGE_BYTES, side))
    for number in numbers(scenario.name, side, SIZE):
        cut_at(scenario, LARGE_BYTES, side, operations_of[number - 1][0], mode)


@pytest.mark.matrix
@pytest.mark.skipif(SIZE != "soak", reason="hours: make soak")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_no_cut_of_what_runs_loses_or_mixes_an_update_of_750_kib(
    scenario: Scenario, side: str
) -> None:
    for number, _ in cuts_of(scenario, LARGEST_BYTES, side):
        for mode in CutMode:
            cut_at(scenario, LARGEST_BYTES, side, number, mode)


@pytest.mark.matrix
@pytest.mark.parametrize("side", SIDES)
def test_no_second_cut_of_what_runs_loses_an_update(side: str) -> None:
    """The second one at every operation after the first; at its own life's first ones in full."""
    scenario = BY_NAME["clean"]
    size_bytes = LARGE_BYTES if SIZE == "soak" else SMALL_BYTES
    operations_of = list(cuts_of(scenario, size_bytes, side))
    before = len(SET_UP[side])
    for first, second in pairs(len(operations_of), SIZE):
        for mode in modes_of_two(SIZE):
            cuts = Cut(before + first, mode), Cut(before + second, mode)
            ended(scenario, size_bytes, side, *cuts)


if __name__ == "__main__":
    for sweep in reliability():
        print(f"{sweep.runs.soak} updates: {sweep.what}")
