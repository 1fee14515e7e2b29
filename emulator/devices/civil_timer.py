"""Wakes whoever waits for a civil time, which somebody may set meanwhile.

Source: ours; `wakeup` is the same for a core that goes by the loop's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from emulator.devices.nonvolatile import PowerCut

LOOK_AGAIN_S = 24 * 3600.0


class CivilTimer:
    """Calls `execute_due` when `next_due` has come; the civil clock is asked each time, and at
    least once a day."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        next_due: Callable[[], datetime | None],
        execute_due: Callable[[], object],
        utc_now: Callable[[], datetime],
    ) -> None:
        self._loop = loop
        self._next_due = next_due
        self._execute_due = execute_due
        self._utc_now = utc_now
        self._timer: asyncio.TimerHandle | None = None

    def settle(self) -> None:
        """Something may be due now, or sooner than before."""
        self._execute_due()
        self.stop()
        due = self._next_due()
        if due is not None:
            wait_s = min((due - self._utc_now()).total_seconds(), LOOK_AGAIN_S)
            self._timer = self._loop.call_later(max(wait_s, 0.0), self._wake)

    def _wake(self) -> None:
        try:
            self.settle()
        except PowerCut:
            return  # whoever has the power knows

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
