"""Serial lines inside one process: what a host and a stick see of them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from typing import Any

import bellows.uart
import pytest
import serialx
import zigpy.config
from zigpy.serial import create_serial_connection

from emulator.ncp.ash import AshNcp
from emulator.ncp.memory import MAX_UNDELIVERED_BYTES, MemoryLineError, MemoryLines


class Stick:
    """A stick that keeps a diary, shared with its host so that their order shows."""

    def __init__(self, diary: list[object]) -> None:
        self.diary = diary
        self.write: Callable[[bytes], None] | None = None
        self.answers: list[bytes] = []  # said while the host's own write is still going on

    def host_connected(self, write: Callable[[bytes], None], *_: object) -> None:
        self.write = write
        self.diary.append("host connected")

    def data_received(self, data: bytes) -> None:
        self.diary.append(("to stick", data))
        for answer in self.answers:
            self.say(answer)

    def host_disconnected(self) -> None:
        self.write = None
        self.diary.append("host disconnected")

    def say(self, data: bytes) -> None:
        assert self.write is not None
        self.write(data)


class Host(asyncio.Protocol):
    def __init__(self, diary: list[object]) -> None:
        self.diary = diary
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, _transport: asyncio.BaseTransport) -> None:
        self.diary.append("connected")

    def data_received(self, data: bytes) -> None:
        self.diary.append(("to host", data))

    def connection_lost(self, error: Exception | None) -> None:
        self.diary.append("connection lost")
        self.lost.set_result(error)


@pytest.fixture
def lines() -> Iterator[MemoryLines]:
    lines = MemoryLines("r")
    yield lines
    lines.close()


@pytest.fixture
def diary() -> list[object]:
    return []


@pytest.fixture
def stick(diary: list[object]) -> Stick:
    return Stick(diary)


async def open_url(url: str, diary: list[object]) -> tuple[Any, Host]:
    transport, host = await create_serial_connection(
        asyncio.get_running_loop(),
        lambda: Host(diary),
        url=url,
        baudrate=115200,
        xonxoff=True,
        rtscts=False,
    )
    assert isinstance(host, Host)
    return transport, host


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_every_write_arrives_alone_in_order_and_never_inside_the_write(
    lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    url = lines.add("hub", stick)
    assert url == "mem://r/hub"
    transport, _ = await open_url(url, diary)
    assert diary == ["host connected", "connected"]
    diary.clear()
    stick.answers = [b"A", b"B"]
    transport.write(b"a")
    transport.write(b"")
    assert diary == [("to stick", b"a")]  # the answers wait until the host has left its write
    stick.answers = []
    stick.say(b"C")  # of its own accord, but what was said before comes before
    stick.say(b"")
    await settle()
    assert diary[1:] == [("to host", b"A"), ("to host", b"B"), ("to host", b"C")]
    stick.say(b"D")
    assert diary[-1] == ("to host", b"D")  # nobody is in the host: it hears at once


async def test_a_buffer_the_host_uses_again_does_not_change_what_it_wrote(
    lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    transport, _ = await open_url(lines.add("hub", stick), diary)
    buffer = bytearray(b"first")
    transport.write(buffer)
    buffer[:] = b"later"
    transport.write(memoryview(b"view"))
    await settle()
    assert diary[2:] == [("to stick", b"first"), ("to stick", b"view")]
    assert all(type(entry[1]) is bytes for entry in diary[2:] if isinstance(entry, tuple))


async def test_bellows_resets_a_stick_through_a_memory_line(lines: MemoryLines) -> None:
    class AshStick:
        def __init__(self) -> None:
            self.link = AshNcp()

        def host_connected(self, write: Callable[[bytes], None], *_: object) -> None:
            self.write = write

        def data_received(self, data: bytes) -> None:
            for event in self.link.receive_data(data, 0.0):
                assert not isinstance(event, bytes)
                self.link.reset(0x0B, 0.0)
            self.write(self.link.data_to_send())

        def host_disconnected(self) -> None:
            del self.write

    class Application:
        def connection_lost(self, error: Exception | None) -> None:
            assert error is None

    config = zigpy.config.SCHEMA_DEVICE({"path": lines.add("hub", AshStick())})
    gateway = await bellows.uart.connect(config, Application(), use_thread=False)
    assert await gateway.reset()
    await gateway.disconnect()


async def test_a_line_in_use_is_refused_like_a_locked_serial_port(
    lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    url = lines.add("hub", stick)
    transport, _ = await open_url(url, diary)
    with pytest.raises(PermissionError, match="locked by another application") as refusal:
        await open_url(url, diary)
    assert isinstance(refusal.value.__cause__, OSError)
    assert refusal.value.__cause__.errno == errno.EBUSY
    transport.write(b"still mine")
    await settle()
    assert diary == ["host connected", "connected", ("to stick", b"still mine")]


@pytest.mark.parametrize("url", ["mem://r/bridge", "mem://other/hub", "mem://r", "mem://"])
async def test_an_unknown_name_is_a_missing_file_that_names_the_url(
    url: str, lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    lines.add("hub", stick)
    with pytest.raises(FileNotFoundError) as refusal:
        await open_url(url, diary)
    assert refusal.value.filename == url
    assert diary == []


async def test_what_was_written_before_closing_still_arrives(
    lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    transport, host = await open_url(lines.add("hub", stick), diary)
    diary.clear()
    transport.write(b"last words")
    transport.close()
    stick.say(b"too late")
    transport.close()
    transport.write(b"after the end")
    assert transport.is_closing()
    assert await host.lost is None
    assert diary == [("to stick", b"last words"), "host disconnected", "connection lost"]


async def test_a_line_can_be_opened_again_at_once(
    lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    url = lines.add("hub", stick)
    transport, _ = await open_url(url, diary)
    transport.close()
    transport, _ = await open_url(url, diary)
    transport.write(b"again")
    await settle()
    assert diary == [
        "host connected",
        "connected",
        "host disconnected",
        "connection lost",
        "host connected",
        "connected",
        ("to stick", b"again"),
    ]


async def test_an_aborted_connection_delivers_nothing_more(
    lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    transport, host = await open_url(lines.add("hub", stick), diary)
    stick.answers = [b"lost"]
    transport.write(b"ask")
    diary.clear()
    transport.abort()
    stick.say(b"lost as well")
    assert await host.lost is None
    assert diary == ["host disconnected", "connection lost"]


async def test_pulling_a_stick_out_is_an_error_for_its_host_and_frees_the_name(
    lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    url = lines.add("hub", stick)
    _, host = await open_url(url, diary)
    lines.unplug("hub")
    error = await host.lost
    assert isinstance(error, OSError)
    assert error.errno == errno.EIO
    assert "mem://r/hub was unplugged" in str(error)
    assert diary[2:] == ["host disconnected", "connection lost"]
    with pytest.raises(FileNotFoundError):
        await open_url(url, diary)
    lines.add("hub", stick)
    await open_url(url, diary)


async def test_a_stick_that_never_lets_the_host_run_loses_the_line(
    lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    transport, host = await open_url(lines.add("hub", stick), diary)
    stick.answers = [bytes(1024)] * (MAX_UNDELIVERED_BYTES // 1024)
    transport.write(b"ask")
    assert not transport.is_closing()
    stick.answers = [b"x"]
    transport.write(b"ask")
    error = await host.lost
    assert isinstance(error, OSError)
    assert "the stick writes faster" in str(error)
    assert diary[-2:] == ["host disconnected", "connection lost"]


async def test_a_mistake_in_the_stick_does_not_end_in_the_hosts_own_handlers(
    lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    transport, _ = await open_url(lines.add("hub", stick), diary)
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    stick.answers = [b"said with a broken voice"]
    stick.say = [].index  # type: ignore[method-assign]
    transport.write(b"ask")
    assert [type(context["exception"]) for context in told] == [ValueError]


async def test_any_amount_passes_as_long_as_both_ends_run(
    lines: MemoryLines, stick: Stick, diary: list[object]
) -> None:
    transport, _ = await open_url(lines.add("hub", stick), diary)
    for _ in range(5):
        transport.write(bytes(MAX_UNDELIVERED_BYTES))
        stick.say(bytes(MAX_UNDELIVERED_BYTES))
        await settle()
        assert transport.get_write_buffer_size() == 0
        await transport.flush()
    assert len(diary) == 2 + 2 * 5


async def test_the_end_of_a_run_unplugs_its_sticks_and_frees_its_names(
    stick: Stick, diary: list[object]
) -> None:
    lines = MemoryLines("short")
    url = lines.add("hub", stick)
    _, host = await open_url(url, diary)
    lines.close()
    lines.close()
    assert isinstance(await host.lost, OSError)
    with pytest.raises(FileNotFoundError):
        await open_url(url, diary)
    again = MemoryLines("short")
    again.add("hub", stick)
    lines.close()
    transport, _ = await open_url(url, diary)
    transport.close()
    again.close()


def test_a_run_whose_loop_is_gone_can_still_be_closed(stick: Stick, diary: list[object]) -> None:
    lines = MemoryLines("short")
    url = lines.add("hub", stick)
    asyncio.run(open_url(url, diary))
    lines.close()
    MemoryLines("short").close()


def test_names_that_would_not_survive_a_url_or_stand_for_two_sticks_are_refused(
    lines: MemoryLines, stick: Stick
) -> None:
    lines.add("hub", stick)
    with pytest.raises(MemoryLineError, match="has a line named hub already"):
        lines.add("hub", stick)
    with pytest.raises(MemoryLineError, match="'a/b'"):
        lines.add("a/b", stick)
    with pytest.raises(MemoryLineError, match="''"):
        MemoryLines("")
    with pytest.raises(MemoryLineError, match="run named r"):
        MemoryLines("r")
    with pytest.raises(MemoryLineError, match="no line named bridge"):
        lines.unplug("bridge")


def test_a_blocking_program_is_told_that_memory_lines_need_a_loop(lines: MemoryLines) -> None:
    with pytest.raises(serialx.SerialException, match="asyncio"):
        serialx.serial_for_url(f"mem://{lines.run}/hub")
