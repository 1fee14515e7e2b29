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
    gone while started  the start is waited for, then as above
    started in vain     `on_lost` is told; it stays off
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol

from emulator.devices.node import NodeError
from emulator.devices.nonvolatile import Cut, Supply

BOOT_S = 1.0  # from the radio's start to the product's: longer than a stick takes
GIVE_UP_S = 60.0  # longer than any host library waits for a radio that is silent


class Fall(NamedTuple):
    """The power goes for `off_s`: at an operation, counted since the first life began, or at a
    moment of the loop's time."""

    off_s: float
    cut: Cut | None = None
    at_s: float | None = None


class Product(Protocol):
    """What hub and device have in common."""

    async def power_up(self, power: Supply) -> None:
        """Start from what is stored. Raises NodeError, PowerCut."""


class Mains:
    """Of one product.

    `stop()` drops what runs, `switch(is_on)` is the radio's power, `on_event(kind, detail)` hears
    of the power going and coming back, `on_lost(reason)` of a product that does not come back.
    """

    def __init__(
        self,
        name: str,
        falls: Iterable[Fall] = (),
        *,
        switch: Callable[[bool], object],
        on_event: Callable[[str, str], object],
        on_lost: Callable[[str], object],
    ) -> None:
        self.name = name
        self.operations: list[str] = []  # of the lives that are over
        falls = list(falls)
        at_operation = [(fall.cut, fall.off_s) for fall in falls if fall.cut is not None]
        self._at_operation = sorted(at_operation, key=lambda fall: fall[0].operation)
        self._at_time = [fall for fall in falls if fall.at_s is not None]
        self._off_s = 0.0
        self._switch = switch
        self._on_event = on_event
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self.on_back: Callable[[], object] | None = None  # the product runs again
        self._is_started = True
        self._returning: asyncio.Task[None] | None = None
        self._start: Callable[[Supply], Awaitable[None]] | None = None
        self._stop: Callable[[], Awaitable[None]] | None = None
        self.supply = self._new_supply()

    def _new_supply(self) -> Supply:
        """Power for one life, which goes at the next operation it is to go at."""
        before, falls = len(self.operations), self._at_operation
        while falls and falls[0][0].operation <= before:
            falls.pop(0)
        if not falls:
            return Supply(None, self._gone)
        (operation, mode), self._off_s = falls.pop(0)
        return Supply(Cut(operation - before, mode), self._gone)

    def feed(self, product: Product, stop: Callable[[], Awaitable[None]]) -> None:
        """This is the product, made with the power of `supply`, and it runs."""
        self._start, self._stop = product.power_up, stop
        for fall in self._at_time:
            at_s = max(self._loop.time(), fall.at_s or 0.0)
            self._timers.append(self._loop.call_at(at_s, self.go, fall.off_s))

    @property
    def is_on(self) -> bool:
        """Whether it has power and runs."""
        return self._is_started and not self.supply.is_off

    def all_operations(self) -> list[str]:
        """The names of what was stored so far, in every life."""
        return self.operations + self.supply.operations

    def go(self, off_s: float) -> None:
        """The power goes now, if it is there."""
        if not self.supply.is_off:
            self._off_s = off_s
            self.supply.go("between two operations")

    def _gone(self, why: str) -> None:
        self._is_started = False
        self._on_event("power cut", f"{why}, off for {self._off_s:g} s")
        # Not from within what runs: the radio's own code may be what led here.
        self._loop.call_soon(self._go_dark)

    def _go_dark(self) -> None:
        self._switch(False)
        self._returning = self._loop.create_task(
            self._return(self._returning), name=f"power of {self.name}"
        )
        self._returning.add_done_callback(self._returned)

    def _returned(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            context = {"message": f"power of {self.name}", "exception": error}
            self._loop.call_exception_handler(context)

    async def _return(self, before: asyncio.Task[None] | None) -> None:
        assert self._start is not None
        assert self._stop is not None
        if before is not None:
            # It was starting: its host library lets go of a radio that answers no more, but not
            # when it is interrupted in opening it.
            await asyncio.wait([before], timeout=GIVE_UP_S)
            before.cancel()
        await self._stop()
        await asyncio.sleep(self._off_s)
        self._switch(True)
        await asyncio.sleep(BOOT_S)
        self.operations += self.supply.operations
        self.supply = supply = self._new_supply()
        self._on_event("power back", "started from what was stored")
        try:
            await self._start(supply)
        except Exception as error:
            if supply.is_off:
                return  # it went again, and will be back
            if not isinstance(error, NodeError):
                raise
            self._on_lost(str(error))
            return
        if supply.is_off:
            return
        self._is_started = True
        if self.on_back is not None:
            self.on_back()

    async def close(self) -> None:
        """Leave the product as it is."""
        for timer in self._timers:
            timer.cancel()
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.gather(self._returning, return_exceptions=True)  # told of already
