"""A stick at a TCP port: a serial line without a UART, one host at a time.

Source: DESIGN, "The one seam"; the hosts' side is serialx `tcp://` and zigbee-herdsman's `tcp://`.

Nothing is sent when a host connects: a real stick that is powered already says nothing either, and
`socket://`, which waits for a spontaneous RSTACK, has `tcp://` beside it. ASH has no
authentication, so a line listens on this machine only unless it is told otherwise.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Final

from emulator.ncp.wire import SerialWire

# A host that closes and opens again at once may be met before its first connection has ended here.
SECOND_LOOK_S: Final = 0.1
MAX_UNSENT_BYTES: Final = 64 * 1024  # a host that lets this much pile up is not reading


MAX_PORT: Final = 0xFFFF


class TcpLineError(ValueError):
    """A line was asked for that cannot be."""


class RemoteHostRefused(TcpLineError):
    """A line was to listen where other machines can reach it, and nobody asked for that."""


class TcpLine:
    """One stick at one port; made by `serve_tcp`."""

    def __init__(self, wire: SerialWire) -> None:
        self.wire = wire
        self.url = ""
        self._server: asyncio.Server | None = None
        self._host: _HostConnection | None = None
        self.refused_connections = 0
        self._is_open = True

    async def listen(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _HostConnection(self), host, port)
        address, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}"

    def take(self, host: _HostConnection) -> bool:
        """Whether the line is free for `host`; then it holds the line."""
        if self._host is not None or not self._is_open:
            return False
        self._host = host
        return True

    def let_go(self) -> None:
        self._host = None

    async def close(self) -> None:
        """Stop listening and drop the host, if there is one."""
        if self._server is None:
            return
        self._server.close()
        self._is_open = False
        if self._host is not None:
            await self._host.drop()
        await self._server.wait_closed()


class _HostConnection(asyncio.Protocol):
    """One connection from a host. asyncio sets TCP_NODELAY on it."""

    _transport: asyncio.Transport

    def __init__(self, line: TcpLine) -> None:
        self._line = line
        self._wire = line.wire
        self._holds_line = False
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._take_line():
            transport.pause_reading()
            asyncio.get_running_loop().call_later(SECOND_LOOK_S, self._look_again)

    def _take_line(self) -> bool:
        self._holds_line = self._line.take(self)
        if self._holds_line:
            self._wire.host_connected(self.write, self._transport.close)
        return self._holds_line

    def _look_again(self) -> None:
        if self._transport.is_closing():
            return
        if self._take_line():
            self._transport.resume_reading()
        else:
            self._line.refused_connections += 1
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._wire.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any end is an end
        self._lost.set()
        if self._holds_line:
            self._line.let_go()
            self._wire.host_disconnected()

    def write(self, data: bytes) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            transport.abort()

    async def drop(self) -> None:
        self._transport.abort()
        await self._lost.wait()


async def serve_tcp(
    host: str, port: int, wire: SerialWire, *, allow_remote: bool = False
) -> TcpLine:
    """Serve `wire` at a port, 0 for any free one; a taken port is the OSError it is."""
    if not 0 <= port <= MAX_PORT:
        raise TcpLineError(f"a port is a number from 0 to {MAX_PORT}, not {port}")
    address = "127.0.0.1" if host == "localhost" else host
    if not allow_remote and not _is_loopback(address):
        raise RemoteHostRefused(
            f"{host!r} can be reached from other machines and ASH has no authentication: "
            "listen on 127.0.0.1, or allow remote hosts expressly"
        )
    line = TcpLine(wire)
    await line.listen(address, port)
    return line


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
