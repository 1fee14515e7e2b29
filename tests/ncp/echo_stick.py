"""What is at the end of a line under test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Stick:
    """A stick that answers like an echo and can be waited for."""

    def __init__(self) -> None:
        self.write: Callable[[bytes], None] | None = None
        self.heard = b""
        self.connected = asyncio.Event()
        self.disconnected = asyncio.Event()

    def host_connected(self, write: Callable[[bytes], None], *_: object) -> None:
        self.write = write
        self.disconnected.clear()
        self.connected.set()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        assert self.write is not None
        self.write(data.upper())

    def host_disconnected(self) -> None:
        self.write = None
        self.connected.clear()
        self.disconnected.set()
