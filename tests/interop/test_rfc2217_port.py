"""A port behind ser2net, as bellows is given it."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from pathlib import Path

import pytest
from serial_lines import lines
from serialx import create_serial_connection

from emulator.devices import rfc2217

pytestmark = pytest.mark.real_clock
CHUNK = bytes(64)


class Host(asyncio.Protocol):
    """It says something once it has heard something, closes, and notes what comes then."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.heard = asyncio.Event()
        self.gone = asyncio.Event()
        self.heard_later = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        if self.transport.is_closing():
            self.heard_later += len(data)
        self.heard.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.gone.set()


async def test_a_port_that_is_closed_hands_on_nothing_of_a_stick_that_talks_on(
    tmp_path: Path,
) -> None:
    """bellows would answer it, and fail with a traceback in the middle of an orderly end."""
    rfc2217.register()
    loop = asyncio.get_running_loop()
    stick, terminal = pty.openpty()
    tty.setraw(terminal)
    os.set_blocking(stick, False)
    said = 0

    def talk() -> None:
        nonlocal said
        said += os.write(stick, CHUNK)

    try:
        with lines("ser2net", tmp_path, [os.ttyname(terminal)]) as (line,):
            transport, host = await create_serial_connection(loop, Host, line.url, baudrate=115200)
            loop.add_writer(stick, talk)
            async with asyncio.timeout(20):
                await host.heard.wait()
                transport.write(b"the last words")
                before = said
                transport.close()
                await host.gone.wait()
            assert said > before, "the stick was silent by then"
            assert host.heard_later == 0
    finally:
        loop.remove_writer(stick)
        os.close(stick)
        os.close(terminal)
