"""One loop timer for a core that says when it wants to be woken.

Source: ours; the shell's half of "Sans-io cores, thin shells" (DESIGN). A core's next time moves
with every frame it handles; a timer is set only when there is none or a sooner one is needed, and
one that comes too soon just looks again. A transfer sets a few timers a minute, not two a block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from emulator.devices.nonvolatile import PowerCut


class Core(Protocol):
    """A sans-io core; times are loop time in seconds."""

    def next_timeout(self) -> float | None: ...

    def handle_timeout(self, now: float) -> Sequence[Any]: ...


class Wakeup:
    """Wakes `core` in time and gives what it returns to `act`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        core: Core,
        act: Callable[[Sequence[Any]], object],
    ) -> None:
        self._loop = loop
        self._core = core
        self._act = act
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def settle(self) -> None:
        """The core may want to be woken sooner than before: call after each call to it."""
        due = self._core.next_timeout()
        if due is None or self._stopped:
            return
        timer = self._timer
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timer = self._loop.call_at(due, self._wake)

    def _wake(self) -> None:
        self._timer = None
        try:
            outputs = self._core.handle_timeout(self._loop.time())
            if outputs:
                self._act(outputs)
        except PowerCut:
            return  # whoever has the power knows, and nothing wakes what has none
        self.settle()

    def stop(self) -> None:
        """The core is not woken any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
