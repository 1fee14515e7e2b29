"""The power of a hub or a device that runs: it goes, and some time later it comes back.

Source: DESIGN, sentence 10: a power cut drops the process with what was not stored, and rebuilds it
from stored bytes alone. It goes at an operation on what is stored (`nonvolatile.Supply`), or when
it is told to.

    event               effect
    ------------------  --------------------------------------------------------------------------
    the power goes      at once nothing more is stored or heard; as soon as whoever runs is done,
                        the radio is off too, and what ran is dropped
    `off_s` later       the radio starts
    `BOOT_S` after it   the product is started from what it stored, with power for a new life
    started in vain     `on_lost` is told; it stays off
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from emulator.devices.node import NodeError
from emulator.devices.nonvolatile import Cut, PowerCut, Supply

BOOT_S = 1.0  # from the radio's start to the product's: longer than a stick takes


class Product(Protocol):
    """What hub and device have in common."""

    async def power_up(self, power: Supply) -> None:
        """Start from what is stored. Raises NodeError, PowerCut."""


class Mains:
    """Of one product. `cuts` are for one life each, the first of them for the first.

    `stop()` drops what runs, `switch(is_on)` is the radio's power, `on_event(kind, detail)` hears
    of the power going and coming back, `on_lost(reason)` of a product that does not come back.
    """

    def __init__(
        self,
        name: str,
        cuts: Iterable[Cut] = (),
        *,
        off_s: float,
        switch: Callable[[bool], object],
        on_event: Callable[[str, str], object],
        on_lost: Callable[[str], object],
    ) -> None:
        self.name = name
        self.operations: list[str] = []  # of the lives that are over
        self._cuts = list(cuts)
        self._off_s = off_s
        self._switch = switch
        self._on_event = on_event
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._returning: asyncio.Task[None] | None = None
        self._start: Callable[[Supply], Awaitable[None]] | None = None
        self._stop: Callable[[], Awaitable[None]] | None = None
        self.supply = self._new_supply()

    def _new_supply(self) -> Supply:
        return Supply(self._cuts.pop(0) if self._cuts else None, self._gone)

    def feed(self, product: Product, stop: Callable[[], Awaitable[None]]) -> None:
        """This is the product, made with the power of `supply`."""
        self._start, self._stop = product.power_up, stop

    @property
    def is_on(self) -> bool:
        return not self.supply.is_off

    def all_operations(self) -> list[str]:
        """The names of what was stored so far, in every life."""
        return self.operations + self.supply.operations

    def go(self, off_s: float | None = None) -> None:
        """The power goes now, for `off_s` where that is another time than usual."""
        if self.is_on:
            self._off_s = self._off_s if off_s is None else off_s
            self.supply.go("between two operations")

    def _gone(self, why: str) -> None:
        self._on_event("power cut", f"{why}, off for {self._off_s:g} s")
        # Not from within what runs: the radio's own code may be what led here.
        self._loop.call_soon(self._go_dark)

    def _go_dark(self) -> None:
        self._switch(False)
        self._returning = self._loop.create_task(self._return(), name=f"power of {self.name}")

    async def _return(self) -> None:
        assert self._start is not None
        assert self._stop is not None
        await self._stop()
        await asyncio.sleep(self._off_s)
        self._switch(True)
        await asyncio.sleep(BOOT_S)
        self.operations += self.supply.operations
        self.supply = self._new_supply()
        self._on_event("power back", "started from what was stored")
        try:
            await self._start(self.supply)
        except PowerCut:
            return  # it went again, and will be back
        except NodeError as error:
            self._on_lost(str(error))

    async def close(self) -> None:
        """Leave the product as it is."""
        if self._returning is not None:
            self._returning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._returning
