"""A stick at a pseudo-terminal, as hosts see it that come, go, and leave things behind."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import stat
import tempfile
import termios
import tty
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import bellows.uart
import pytest
import zigpy.config
from echo_stick import Stick

from emulator.ncp.ash import AshNcp
from emulator.ncp.pty import MAX_UNSENT_BYTES, PtyLine, PtyLineError, serve_pty

pytestmark = pytest.mark.real_clock

PATIENCE_S = 10.0


class Host:
    """Who has the terminal open."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def say(self, octets: bytes) -> None:
        assert os.write(self.file, octets) == len(octets)

    async def hear(self, octets: int) -> bytes:
        loop = asyncio.get_running_loop()
        heard = b""
        while len(heard) < octets:
            readable = loop.create_future()
            loop.add_reader(self.file, readable.set_result, None)
            await readable
            loop.remove_reader(self.file)
            heard += os.read(self.file, octets - len(heard))
        return heard

    def unread(self) -> bytes:
        try:
            return os.read(self.file, 4096)
        except BlockingIOError:
            return b""

    def go(self) -> None:
        os.close(self.file)


@pytest.fixture
async def stick() -> Stick:
    return Stick()


@pytest.fixture
async def line(stick: Stick, tmp_path: Path) -> AsyncIterator[PtyLine]:
    line = serve_pty(str(tmp_path / "stick"), stick)
    yield line
    await line.close()


async def test_a_host_talks_to_the_stick_through_eight_clean_bits(
    line: PtyLine, stick: Stick
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        host = Host(line.url)
        octets = bytes(
            byte for byte in range(256) if not 0x61 <= byte <= 0x7A
        )  # echoed as they are
        host.say(octets)
        assert await host.hear(len(octets)) == octets
        assert stick.heard == octets
        host.go()
        await stick.disconnected.wait()


async def test_hosts_come_and_go_and_the_stick_is_told_of_each(line: PtyLine, stick: Stick) -> None:
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            host = Host(line.url)
            host.say(b"x")
            assert await host.hear(1) == b"X"
            assert stick.connected.is_set()
            host.go()
            await stick.disconnected.wait()


async def test_last_words_of_a_host_that_leaves_at_once_are_heard(
    line: PtyLine, stick: Stick
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        host = Host(line.url)
        host.say(b"last words")
        host.go()
        await stick.disconnected.wait()
        assert stick.heard == b"last words"


async def test_what_one_host_left_unread_is_not_told_to_the_next(
    line: PtyLine, stick: Stick
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        host = Host(line.url)
        host.say(b"secrets of the first")
        await stick.connected.wait()
        host.go()
        await stick.disconnected.wait()
        host = Host(line.url)
        assert host.unread() == b""
        host.say(b"x")
        assert await host.hear(1) == b"X"
        host.go()


async def test_settings_one_host_left_do_not_garble_the_next(line: PtyLine, stick: Stick) -> None:
    async with asyncio.timeout(PATIENCE_S):
        host = Host(line.url)
        settings = termios.tcgetattr(host.file)
        settings[tty.LFLAG] |= termios.ECHO | termios.ICANON
        settings[tty.OFLAG] |= termios.OPOST | termios.ONLCR
        termios.tcsetattr(host.file, termios.TCSANOW, settings)
        host.say(b"x\n")
        await stick.connected.wait()
        host.go()
        await stick.disconnected.wait()
        host = Host(line.url)
        stick.heard = b""
        host.say(b"\x01\n\x7e")
        assert await host.hear(3) == b"\x01\n\x7e"
        assert stick.heard == b"\x01\n\x7e"
        host.go()


async def test_a_host_that_claimed_the_terminal_for_itself_does_not_lock_out_the_next(
    stick: Stick,
) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    user = os.geteuid()
    if user == 0:  # whom no claim keeps out
        os.seteuid(65534)
    try:
        async with asyncio.timeout(PATIENCE_S):
            line = serve_pty(str(folder / "stick"), stick)
            for _ in range(2):
                host = Host(line.url)
                fcntl.ioctl(host.file, termios.TIOCEXCL)
                host.say(b"x")
                assert await host.hear(1) == b"X"
                host.go()
                await stick.disconnected.wait()
            await line.close()
    finally:
        os.seteuid(user)
        folder.rmdir()


async def test_a_stick_without_a_host_costs_nothing(
    line: PtyLine, stick: Stick, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        host = Host(line.url)
        host.say(b"x")
        await stick.connected.wait()
        host.go()
        await stick.disconnected.wait()
        looks = 0
        changed = PtyLine._changed

        def count(line: PtyLine) -> None:
            nonlocal looks
            looks += 1
            changed(line)

        monkeypatch.setattr(PtyLine, "_changed", count)
        loop: Any = asyncio.get_running_loop()
        for _ in range(100):
            loop._selector.select(0)
            await asyncio.sleep(0)
        assert looks < 5  # the hang-up of its own cleaning, and no more


async def test_more_than_the_kernel_holds_arrives_when_the_host_reads(
    line: PtyLine, stick: Stick
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        host = Host(line.url)
        host.say(b"x")
        await stick.connected.wait()
        assert await host.hear(1) == b"X"
        assert stick.write is not None
        sent = bytes(range(256)) * (MAX_UNSENT_BYTES // 256)
        stick.write(sent)
        assert await host.hear(len(sent)) == sent
        host.go()


async def test_a_host_that_never_reads_fills_no_memory(line: PtyLine, stick: Stick) -> None:
    async with asyncio.timeout(PATIENCE_S):
        host = Host(line.url)
        host.say(b"x")
        await stick.connected.wait()
        assert stick.write is not None
        for _ in range(10):
            stick.write(bytes(MAX_UNSENT_BYTES // 2))
        assert len(line._unsent) <= MAX_UNSENT_BYTES
        assert line.octets_lost > 0
        host.go()
        await stick.disconnected.wait()
        assert line._unsent == b""


async def test_nobody_else_can_open_the_terminal(line: PtyLine) -> None:
    mode = line.path.stat().st_mode
    assert stat.S_ISCHR(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_closing_takes_the_name_away_and_hangs_up_on_the_host(
    line: PtyLine, stick: Stick
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        host = Host(line.url)
        host.say(b"x")
        await stick.connected.wait()
        await host.hear(1)
        await line.close()
        assert stick.disconnected.is_set()
        assert not line.path.is_symlink()
        with pytest.raises(OSError, match="Input/output"):
            host.say(b"y")
        host.go()
        await line.close()


async def test_the_name_a_killed_stick_left_behind_is_taken_over(
    stick: Stick, tmp_path: Path
) -> None:
    path = tmp_path / "stick"
    path.symlink_to("/dev/pts/4000000")
    line = serve_pty(str(path), stick)
    assert stat.S_ISCHR(path.stat().st_mode)
    await line.close()
    assert list(tmp_path.iterdir()) == []


async def test_what_is_not_a_stick_s_is_left_alone(stick: Stick, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    before = sorted((path.name, path.lstat().st_mtime_ns) for path in tmp_path.iterdir())
    for name in ("file", "link", "dangling", "folder"):
        with pytest.raises(PtyLineError, match="there already"):
            serve_pty(str(tmp_path / name), stick)
    assert before == sorted((path.name, path.lstat().st_mtime_ns) for path in tmp_path.iterdir())


async def test_the_name_of_a_stick_that_was_killed_is_free_though_its_number_is_given_again(
    stick: Stick, tmp_path: Path
) -> None:
    """The kernel gives the lowest free number to whoever comes next."""
    path = tmp_path / "stick"
    killed, terminal = pty.openpty()
    path.symlink_to(os.ttyname(terminal))
    os.close(terminal)
    os.close(killed)
    probe = tmp_path / "probe"
    probe.touch()
    while probe.stat().st_ctime_ns <= path.lstat().st_ctime_ns:  # the file system's clock is coarse
        probe.touch()
    others: list[int] = []
    try:
        while not path.exists():
            assert len(others) < 64, "nobody is given that number again"
            others += pty.openpty()
        line = serve_pty(str(path), stick)
        await line.close()
    finally:
        for descriptor in others:
            os.close(descriptor)


async def test_a_name_another_stick_has_is_refused(
    line: PtyLine, stick: Stick, tmp_path: Path
) -> None:
    with pytest.raises(PtyLineError, match="in use"):
        serve_pty(str(line.path), stick)
    assert [path.name for path in tmp_path.iterdir()] == ["stick"]


async def test_a_line_does_not_take_away_a_name_that_is_another_s_by_now(
    line: PtyLine,
) -> None:
    line.path.unlink()
    line.path.write_text("mine")
    await line.close()
    assert line.path.read_text() == "mine"


@pytest.mark.parametrize("name", ["", ".", "..", "folder/", "/nowhere/at all/stick"])
async def test_a_name_that_is_none_is_refused(name: str, stick: Stick) -> None:
    with pytest.raises(PtyLineError):
        serve_pty(name, stick)


async def test_a_bare_name_is_in_a_folder_of_one_s_own(
    stick: Stick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    line = serve_pty("meter", stick)
    assert line.url == str(tmp_path / "hanbench" / "meter")
    assert stat.S_IMODE((tmp_path / "hanbench").stat().st_mode) == 0o700
    await line.close()
    (tmp_path / "hanbench").chmod(0o777)
    with pytest.raises(PtyLineError, match="alone"):
        serve_pty("meter", stick)


async def test_bellows_resets_a_stick_at_a_terminal(tmp_path: Path) -> None:
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
    line = serve_pty(str(tmp_path / "stick"), AshStick())
    async with asyncio.timeout(PATIENCE_S):
        config = zigpy.config.SCHEMA_DEVICE({"path": line.url})
        for _ in range(2):
            gateway = await bellows.uart.connect(config, Application(), use_thread=False)
            assert await gateway.reset()
            await gateway.disconnect()
    await line.close()
