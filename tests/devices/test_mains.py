"""The power of a product: when it goes, how often, and that nothing is stored meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from emulator.devices.mains import BOOT_S, Fall, Mains
from emulator.devices.node import NodeError
from emulator.devices.nonvolatile import Cut, CutMode, PowerCut, Record, Supply


class Product:
    """Stores a count every second."""

    def __init__(self, falls: Iterable[Fall], error: Exception | None = None) -> None:
        self.record = Record()
        self.told: list[tuple[float, str]] = []
        self.lost: list[str] = []
        self.error = error
        self.loop = asyncio.get_running_loop()
        self.began_s = self.loop.time()
        self.mains = Mains(
            "product",
            falls,
            switch=lambda is_on: self.tell("on" if is_on else "off"),
            on_event=lambda kind, _detail: self.tell(kind),
            on_lost=self.lost.append,
        )
        self.power = self.mains.supply
        self.task: asyncio.Task[None] | None = None
        self.begin()
        self.mains.feed(self, self.stop)

    def tell(self, what: str) -> None:
        self.told.append((self.loop.time() - self.began_s, what))

    def begin(self) -> None:
        self.task = self.loop.create_task(self.live())

    async def live(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                self.record.write(self.power, "count", b"%d" % (self.count + 1))
            except PowerCut:
                return

    @property
    def count(self) -> int:
        return int(self.record.read() or b"0")

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def power_up(self, power: Supply) -> None:
        if self.error is not None:
            raise self.error
        self.power = power
        self.begin()


async def test_power_goes_at_its_operations_of_all_lives_and_comes_back() -> None:
    product = Product([Fall(7, Cut(5, CutMode.AFTER)), Fall(2, Cut(3, CutMode.BEFORE))])
    await asyncio.sleep(30)
    back_s = 3 + 2 + BOOT_S
    assert product.told == [
        (3, "power cut"),
        (3, "off"),
        (5, "on"),
        (back_s, "power back"),
        (back_s + 2, "power cut"),
        (back_s + 2, "off"),
        (back_s + 9, "on"),
        (back_s + 9 + BOOT_S, "power back"),
    ]
    # Two, then one lost to the first cut, two more, and one a second from the last start on.
    assert product.count == 4 + int(30 - back_s - 9 - BOOT_S - 0.001)
    assert product.mains.is_on
    await product.mains.close()
    await product.stop()


async def test_power_that_goes_by_the_clock_is_not_missed_by_a_product_that_starts_late() -> None:
    await asyncio.sleep(5)
    now = asyncio.get_running_loop().time()
    product = Product([Fall(1, at_s=now - 4), Fall(1, at_s=now + 20)])
    await asyncio.sleep(30)
    assert [at for at, kind in product.told if kind == "power cut"] == [0, 20]
    await product.mains.close()
    await product.stop()


async def test_power_that_is_gone_does_not_go_again_and_closing_brings_nothing_back() -> None:
    product = Product([])
    product.mains.go(10)
    product.mains.go(10)
    assert not product.mains.is_on
    await asyncio.sleep(1)
    await product.mains.close()
    await asyncio.sleep(60)
    assert [kind for _, kind in product.told] == ["power cut", "off"]


async def test_a_product_that_does_not_come_back_is_lost_with_a_word() -> None:
    product = Product([Fall(1, at_s=2)], NodeError("no radio"))
    await asyncio.sleep(10)
    assert product.lost == ["no radio"]
    assert not product.mains.is_on
    await product.mains.close()


async def test_any_other_error_reaches_the_loop() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: told.append(context["exception"])
    )
    error = ValueError("a mistake")
    product = Product([Fall(1, at_s=2)], error)
    await asyncio.sleep(10)
    await product.mains.close()
    assert told == [error]


def test_without_power_nothing_is_stored() -> None:
    gone: list[str] = []
    supply, record = Supply(None, gone.append), Record()
    record.write(supply, "first", b"1")
    supply.go("now")
    supply.go("again")
    with pytest.raises(PowerCut):
        record.write(supply, "second", b"2")
    assert (record.read(), gone, supply.operations) == (b"1", ["now"], ["first"])
