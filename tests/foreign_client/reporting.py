"""The activation alert: made with the new version, kept until it is acknowledged, then sent.

Source: MP170 annex A, 3.3.1 (the device reports for itself); GBCS use case CS09.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from foreign_client import gbcs
from foreign_client.stick import TUNNELLING, Stick
from foreign_client.storage import Storage
from foreign_client.tunnel import Tunnel

_AGAIN_S = 5.0


class Reporter:
    """Sends the alert that waits whenever a tunnel opens. `tunnel_open` is set by who opens it."""

    def __init__(
        self,
        storage: Storage,
        keys: gbcs.Keys,
        stick: Stick,
        tunnel: Tunnel,
        defects: frozenset[str],
        say: Callable[[str], None],
    ) -> None:
        self._memory = storage.memory
        self._save = storage.save
        self._keys = keys
        self._stick = stick
        self._tunnel = tunnel
        self._defects = defects
        self._say = say
        self.tunnel_open = asyncio.Event()
        if "counter-goes-back" in defects:
            self._memory.originator_counter = 0
        if "replays-alert" in defects:
            self._memory.alert = self._memory.alert or self._memory.sent_alert

    def note(self, version: int) -> None:
        """An alert that this version runs now; it is on the disk when the caller has saved."""
        self._memory.alert = self._alert(version).hex()

    async def run(self) -> None:
        while True:
            await self.tunnel_open.wait()
            if self._memory.alert and not await self.send():
                await asyncio.sleep(_AGAIN_S)
                continue
            self.tunnel_open.clear()

    async def send(self) -> bool:
        """Whether the alert that waits was acknowledged; then it waits no more."""
        memory, peer = self._memory, self._tunnel.peer
        if peer is None:
            return False
        self._say("sends the activation alert")
        if not await self._transfer(peer, bytes.fromhex(memory.alert)):
            return False
        if "alert-twice" in self._defects:
            await self._transfer(peer, self._alert(memory.version))
        memory.sent_alert, memory.alert = memory.alert, ""
        self._save()
        return True

    async def _transfer(self, peer: tuple[int, int], frame: bytes) -> bool:
        node, endpoint = peer
        octets = self._tunnel.transfer(frame).build()
        return await self._stick.send(node, TUNNELLING, octets, endpoint)

    def _alert(self, version: int) -> bytes:
        self._memory.originator_counter += 1
        return gbcs.activation_alert(
            self._keys,
            self._memory.originator_counter,
            version + ("alert-wrong-version" in self._defects),
            int("alert-result-inverted" in self._defects),
            datetime.now(UTC),
            spoil="alert-bad-signature" in self._defects,
        )
