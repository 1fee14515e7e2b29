"""What happened so far, and waiting for what has not happened yet.

Source: ours. A scenario never sleeps: it waits for a fact, and a deadline is the run's own clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Journal:
    """Wakes whoever waits for a condition, each time something was told."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._broken: Exception | None = None

    def tell(self) -> None:
        """Something changed: conditions are looked at again."""
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)

    def break_off(self, error: Exception) -> None:
        """Nothing more will come: every wait, now and later, ends with `error`."""
        if self._broken is None:
            self._broken = error
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(error)

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `condition()`; False when `timeout_s` went by instead."""
        if self._broken is not None:
            raise self._broken
        if condition():
            return True
        entry = (condition, self._loop.create_future())
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                await entry[1]
                return True
        except TimeoutError:
            return False
        finally:
            self._waiting.remove(entry)
