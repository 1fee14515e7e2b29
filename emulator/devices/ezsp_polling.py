"""How often an end device's stick asks its parent for messages, as its host tells it.

Source: Silicon Labs UG100, `pollForData`. A sleeper polls fast while something is under way, so
that acknowledgements come within their time and a transfer goes on; a device whose receiver is
always on polls only so that its parent does not forget it. The stick polls by itself once it has
been told; how often is told again only when that changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from emulator.devices.node import Role

POLL_INTERVAL_S = 1.0  # of a sleeper to whom nothing happens
FAST_POLL_S = 0.25
MAX_MISSED_POLLS = 3  # then its parent is lost
LINGER_S = 3.0  # after the last message there may be an answer to it
KEEP_ALIVE_POLL_S = 60.0
RETRY_S = 1.0  # a stick that looks for a parent cannot be told to poll

PollEvery = Callable[[float], Awaitable[bool]]
"""Tells the stick how often to poll, in seconds; whether it will."""


class Polls:
    """The polls of one stick, from `begin` to `stop`; everything else says what is going on."""

    def __init__(self, poll_every: PollEvery, role: Role, poll_interval_s: float) -> None:
        self._poll_every = poll_every
        self._sleeps = role is Role.SLEEPY
        self._idle_s = poll_interval_s if self._sleeps else KEEP_ALIVE_POLL_S
        self._loop = asyncio.get_running_loop()
        self._outstanding: set[int] = set()
        self._busy_until = 0.0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self, on_failure: Callable[[str], object]) -> None:
        """Poll from now on, until `stop`."""
        self.stop()
        self._task = self._loop.create_task(self._keep(on_failure), name="polls of a device")

    def stop(self) -> None:
        """Tell the stick nothing any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def sent(self, tag: int) -> None:
        """A message is under way."""
        self._outstanding.add(tag)
        self.busy()

    def ended(self, tag: int) -> None:
        """A message is not under way any more."""
        self._outstanding.discard(tag)
        self.busy()

    def busy(self) -> None:
        """Something is going on; more may come soon."""
        now = self._loop.time()
        if now >= self._busy_until:
            self._changed.set()
        self._busy_until = now + LINGER_S

    @property
    def _is_busy(self) -> bool:
        return self._sleeps and (bool(self._outstanding) or self._loop.time() < self._busy_until)

    async def _keep(self, on_failure: Callable[[str], object]) -> None:
        try:
            while True:
                self._changed.clear()
                fast = self._is_busy
                if not await self._poll_every(FAST_POLL_S if fast else self._idle_s):
                    await asyncio.sleep(RETRY_S)
                elif not fast:
                    await self._changed.wait()
                else:
                    while self._is_busy:
                        await asyncio.sleep(LINGER_S)
        except Exception as error:
            on_failure(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
