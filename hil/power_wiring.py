"""Who has power on a bench whose faults take it away, and what waits for a hub meanwhile.

Source: ours. A product whose power never goes has steady power and none of this.

    on the way to the hub       the hub is
    --------------------------  ------------------------------------------------------------------
    a message                   on: handed over; kept when that is what its power went at
    a message                   off: kept, in order, up to `MAX_WAITING`; the next ones are lost
    the hub is back             what was kept is handed over
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from emulator.devices.mains import Mains, Product
from emulator.devices.nonvolatile import STEADY, Power
from emulator.ncp.line_faults import RESET_POWER_ON
from emulator.ncp.ncp import Ncp
from hil.fault_wiring import falls
from hil.faults import Fault

MAX_WAITING = 64


class Wan(Protocol):
    """What takes the DSP's messages for a hub."""

    def deliver(self, message: bytes) -> None: ...


class Grid:
    """The power of everybody on one bench.

    `on_event(name, kind, detail)` and `on_lost(name, reason)` hear what `Mains` tells.
    """

    def __init__(
        self,
        faults: Iterable[Fault],
        sticks: Mapping[str, Ncp],
        on_event: Callable[[str, str, str], object],
        on_lost: Callable[[str, str], object],
    ) -> None:
        self._sticks = sticks
        self._mains: dict[str, Mains] = {}
        faults = tuple(faults)
        for name in dict.fromkeys(fault.on for fault in faults if fault.on is not None):
            goes = falls(faults, name)
            if goes:
                self._mains[name] = Mains(
                    name,
                    goes,
                    switch=partial(self.switch, name),
                    on_event=partial(on_event, name),
                    on_lost=partial(on_lost, name),
                )

    def switch(self, name: str, is_on: bool) -> None:
        """Give an emulated stick its power, or take it away."""
        stick = self._sticks[name]
        if is_on:
            stick.restart(RESET_POWER_ON)
        else:
            stick.restart(RESET_POWER_ON, None)

    def power(self, name: str) -> Power:
        """What to make a product with."""
        mains = self._mains.get(name)
        return STEADY if mains is None else mains.supply

    def begun(self, name: str, product: Product, stop: Callable[[], Awaitable[None]]) -> None:
        """A product runs: from now on its power may go."""
        if name in self._mains:
            self._mains[name].feed(product, stop)

    def is_on(self, name: str) -> bool:
        mains = self._mains.get(name)
        return mains is None or mains.is_on

    def way_to(self, name: str, hub: Wan) -> Wan:
        """The WAN to the hub of this name."""
        mains = self._mains.get(name)
        return hub if mains is None else _KeepingLink(hub, mains)

    async def close(self) -> None:
        for mains in self._mains.values():
            await mains.close()


class _KeepingLink:
    """Keeps what a hub without power did not take."""

    def __init__(self, hub: Wan, mains: Mains) -> None:
        self._hub = hub
        self._mains = mains
        self._waiting: deque[bytes] = deque()
        self._is_handing_over = False
        mains.on_back = self._hand_over

    def deliver(self, message: bytes) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(message)
        self._hand_over()

    def _hand_over(self) -> None:
        if self._is_handing_over:
            return  # a message led to another: it is next
        self._is_handing_over = True
        while self._waiting and self._mains.is_on:
            message = self._waiting[0]
            self._hub.deliver(message)
            if self._mains.is_on:
                self._waiting.popleft()
        self._is_handing_over = False
