"""One timer for a core: it is woken in time, not too often, and never after its end."""

from __future__ import annotations

import asyncio

from emulator.devices.wakeup import Wakeup


class Core:
    """A core that wants to be woken at `due`, and notes when it was."""

    def __init__(self) -> None:
        self.due: float | None = None
        self.woken: list[float] = []
        self.again_s: float | None = None

    def next_timeout(self) -> float | None:
        return self.due

    def handle_timeout(self, now: float) -> list[str]:
        self.woken.append(now)
        if self.due is None or now < self.due:
            return []
        self.due = None if self.again_s is None else now + self.again_s
        return ["output"]


def make() -> tuple[Core, Wakeup, list[str]]:
    core, outputs = Core(), []  # type: ignore[var-annotated]
    return core, Wakeup(asyncio.get_running_loop(), core, outputs.extend), outputs


async def test_a_core_is_woken_when_it_wants_to_be_and_what_it_returns_is_acted_on() -> None:
    core, wakeup, outputs = make()
    core.due = 10.0
    wakeup.settle()
    await asyncio.sleep(9.9)
    assert core.woken == []
    await asyncio.sleep(0.2)
    assert core.woken == [10.0]
    assert outputs == ["output"]
    await asyncio.sleep(100)
    assert core.woken == [10.0]


async def test_a_core_that_wants_it_sooner_is_not_left_waiting() -> None:
    core, wakeup, outputs = make()
    core.due = 100.0
    wakeup.settle()
    core.due = 5.0
    wakeup.settle()
    await asyncio.sleep(6)
    assert core.woken == [5.0]
    assert outputs == ["output"]


async def test_a_time_that_moves_on_with_every_frame_costs_one_timer_not_one_a_frame() -> None:
    core, wakeup, outputs = make()
    core.due = 3.0
    wakeup.settle()
    for _ in range(100):
        await asyncio.sleep(0.1)
        core.due = asyncio.get_running_loop().time() + 3.0
        wakeup.settle()
    assert outputs == []
    assert len(core.woken) < 10
    await asyncio.sleep(4)
    assert outputs == ["output"]
    assert abs(core.woken[-1] - 13.0) < 0.001


async def test_a_core_that_goes_on_is_woken_again() -> None:
    core, wakeup, outputs = make()
    core.due, core.again_s = 1.0, 2.0
    wakeup.settle()
    await asyncio.sleep(6)
    assert core.woken == [1.0, 3.0, 5.0]
    wakeup.stop()
    await asyncio.sleep(10)
    assert len(outputs) == 3


async def test_nothing_wakes_a_core_after_its_end() -> None:
    core, wakeup, outputs = make()
    core.due = 1.0
    wakeup.settle()
    wakeup.stop()
    wakeup.settle()
    await asyncio.sleep(10)
    assert core.woken == []
    assert outputs == []


async def test_a_core_that_is_stopped_by_what_it_returned_stays_stopped() -> None:
    core = Core()
    wakeup = Wakeup(asyncio.get_running_loop(), core, lambda _outputs: wakeup.stop())
    core.due, core.again_s = 1.0, 1.0
    wakeup.settle()
    await asyncio.sleep(10)
    assert core.woken == [1.0]
