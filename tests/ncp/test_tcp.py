"""A stick at a TCP port, as hosts on the other side of a socket see it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator

import bellows.uart
import pytest
import zigpy.config
from echo_stick import Stick

from emulator.ncp.ash import AshNcp
from emulator.ncp.tcp import (
    MAX_UNSENT_BYTES,
    RemoteHostRefused,
    TcpLine,
    TcpLineError,
    serve_tcp,
)

pytestmark = pytest.mark.real_clock

PATIENCE_S = 10.0


@pytest.fixture
async def stick() -> Stick:
    return Stick()


@pytest.fixture
async def line(stick: Stick) -> AsyncIterator[TcpLine]:
    line = await serve_tcp("127.0.0.1", 0, stick)
    yield line
    await line.close()


async def connect(line: TcpLine) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = line.url.removeprefix("tcp://").rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def test_a_host_hears_nothing_until_it_says_something(line: TcpLine, stick: Stick) -> None:
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await connect(line)
        await stick.connected.wait()
        writer.write(b"rst")
        assert await reader.readexactly(3) == b"RST"
        assert stick.heard == b"rst"
        writer.close()
        await stick.disconnected.wait()


async def test_bellows_resets_a_stick_at_a_port() -> None:
    class AshStick(Stick):
        def data_received(self, data: bytes) -> None:
            loop = asyncio.get_running_loop()
            for event in link.receive_data(data, loop.time()):
                assert not isinstance(event, bytes)
                link.reset(0x0B, loop.time())
            assert self.write is not None
            self.write(link.data_to_send())

    class Application:
        def connection_lost(self, error: Exception | None) -> None:
            assert error is None

    link = AshNcp()
    line = await serve_tcp("localhost", 0, AshStick())
    async with asyncio.timeout(PATIENCE_S):
        config = zigpy.config.SCHEMA_DEVICE({"path": line.url})
        gateway = await bellows.uart.connect(config, Application(), use_thread=False)
        assert await gateway.reset()
        await gateway.disconnect()
        await line.close()


async def test_a_second_host_is_turned_away_and_the_first_not_disturbed(
    line: TcpLine, stick: Stick
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await connect(line)
        await stick.connected.wait()
        second, second_writer = await connect(line)
        with contextlib.suppress(ConnectionResetError):
            assert await second.read() == b""
        second_writer.close()
        assert line.refused_connections == 1
        assert not stick.disconnected.is_set()
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"STILL HERE"
        writer.close()


async def test_a_host_that_comes_back_at_once_is_let_in(line: TcpLine, stick: Stick) -> None:
    async with asyncio.timeout(PATIENCE_S):
        host, _, port = line.url.removeprefix("tcp://").rpartition(":")
        for _ in range(20):
            first = socket.create_connection((host, int(port)))
            await stick.connected.wait()
            stick.connected.clear()
            first.close()
            with socket.create_connection((host, int(port))) as second:
                second.setblocking(False)
                await asyncio.get_running_loop().sock_sendall(second, b"x")
                assert await asyncio.get_running_loop().sock_recv(second, 1) == b"X"
            stick.disconnected.clear()
            await stick.disconnected.wait()
            stick.connected.clear()


async def test_the_next_host_is_let_in_when_the_first_has_gone(line: TcpLine, stick: Stick) -> None:
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            reader, writer = await connect(line)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"X"
            writer.close()
            await stick.disconnected.wait()
            stick.disconnected.clear()
        assert line.refused_connections == 0


async def test_small_frames_are_not_held_back_to_be_sent_together(line: TcpLine) -> None:
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await connect(line)
        writer.write(b"x")
        await reader.readexactly(1)
        assert line._host is not None
        server_side = line._host._transport.get_extra_info("socket")
        assert server_side.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()


async def test_a_host_that_stops_reading_is_dropped_and_fills_no_memory(
    line: TcpLine, stick: Stick, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        _, writer = await connect(line)
        await stick.connected.wait()
        assert stick.write is not None
        assert line._host is not None
        transport = line._host._transport
        for _ in range(2000):  # the kernel's own buffers come first
            stick.write(bytes(MAX_UNSENT_BYTES))
            if transport.is_closing():
                break
        assert transport.is_closing()
        for _ in range(10):
            stick.write(b"into the void")
        assert caplog.records == []
        await stick.disconnected.wait()
        writer.close()


async def test_closing_the_line_drops_its_host_and_frees_the_port(
    line: TcpLine, stick: Stick
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        _, writer = await connect(line)
        await stick.connected.wait()
        await line.close()
        assert stick.disconnected.is_set()
        with pytest.raises(ConnectionRefusedError):
            await connect(line)
        await line.close()
        writer.close()


async def test_a_line_nobody_opened_can_be_closed(line: TcpLine) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await line.close()


async def test_a_taken_port_says_so(line: TcpLine) -> None:
    port = int(line.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use") as taken:
        await serve_tcp("127.0.0.1", port, Stick())
    assert taken.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "lab3.example"])
async def test_a_stick_is_not_shown_to_other_machines_unasked(host: str) -> None:
    with pytest.raises(RemoteHostRefused, match="no authentication"):
        await serve_tcp(host, 0, Stick())


async def test_a_stick_is_shown_to_other_machines_when_asked() -> None:
    line = await serve_tcp("0.0.0.0", 0, Stick(), allow_remote=True)
    assert line.url.startswith("tcp://0.0.0.0:")
    await line.close()


@pytest.mark.parametrize("port", [-1, 65536])
async def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(TcpLineError, match=str(port)):
        await serve_tcp("127.0.0.1", port, Stick())


async def test_an_ipv6_line_has_a_url_a_host_can_open(stick: Stick) -> None:
    try:
        line = await serve_tcp("::1", 0, stick)
    except OSError:
        pytest.skip("no IPv6 loopback here")
    async with asyncio.timeout(PATIENCE_S):
        assert line.url.startswith("tcp://[::1]:")
        _, writer = await connect(line)
        await stick.connected.wait()
        writer.close()
        await line.close()
