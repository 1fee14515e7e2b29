"""A stick at a pseudo-terminal: hosts open it by a path, as they open /dev/ttyUSB0.

Source: DESIGN, "The one seam"; pty(7), epoll(7), Linux' pty driver. The name a host opens is a
symbolic link to the terminal, because the kernel chooses the terminal's own name anew every time.

    state  event on the master side      next   effect
    -----  ----------------------------  -----  --------------------------------------------------
    ALONE  octets                        HOST   the stick is told, and gets them
    ALONE  hang-up                       ALONE  none
    HOST   octets                        HOST   the stick gets them
    HOST   hang-up (last host closed)    ALONE  the stick is told; what nobody read is thrown away

A host that has opened the path and said nothing is not noticed; no EZSP host waits to be spoken to.
While no host is there every look at the terminal says "hang-up", so it is watched for changes (an
edge-triggered epoll inside the loop's own selector), never for states.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pty
import select
import stat
import tempfile
import termios
import tty
from pathlib import Path
from typing import Final

from emulator.ncp.wire import SerialWire

MAX_UNSENT_BYTES: Final = 64 * 1024
_READ_BYTES: Final = 4096
_TERMINALS: Final = Path("/dev/pts")


class PtyLineError(ValueError):
    """A terminal was asked for at a place where none can be."""


class PtyLine:
    """One stick at one pseudo-terminal; made by `serve_pty`."""

    def __init__(self, wire: SerialWire, path: Path) -> None:
        self.wire = wire
        self.path = path
        self._terminal = ""
        self._master = -1
        self._watch: select.epoll | None = None
        self._loop = asyncio.get_running_loop()
        self._has_host = False
        self._unsent = bytearray()
        self.octets_lost = 0  # more than MAX_UNSENT_BYTES that a host did not read

    @property
    def url(self) -> str:
        """What a host opens: a path, which is a serial URL by itself."""
        return str(self.path)

    def open(self) -> None:
        """Make the terminal and its link. Raises PtyLineError, OSError."""
        _require_free(self.path)
        self._make_terminal()

    def _make_terminal(self) -> None:
        self._master, slave = pty.openpty()
        try:
            os.set_blocking(self._master, False)
            self._terminal = os.ttyname(slave)
            os.fchmod(slave, 0o600)
            tty.setraw(slave)
            link = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            link.symlink_to(self._terminal)
            link.rename(self.path)
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)  # so that the last host's close is the last: see the state table
        self._watch = select.epoll()
        self._watch.register(self._master, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        self._loop.add_reader(self._watch.fileno(), self._changed)

    def _drop_terminal(self, watch: select.epoll) -> None:
        self._loop.remove_reader(watch.fileno())
        watch.close()
        self._watch = None
        os.close(self._master)

    async def close(self) -> None:
        """Take the terminal and its link away; a host that has it open loses it."""
        if self._watch is None:
            return
        with contextlib.suppress(OSError):
            if str(self.path.readlink()) == self._terminal:
                self.path.unlink()
        self._drop_terminal(self._watch)
        self._host_gone()

    def _changed(self) -> None:
        if self._watch is None:
            return
        self._watch.poll(0)  # takes the changes; what they are, reading and writing tell
        self._send_unsent()
        try:
            data = os.read(self._master, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open
            if self._has_host:
                self._host_gone()
                self._clear_terminal(self._watch)
            return
        if not self._has_host:
            self._has_host = True
            self.wire.host_connected(self._write, self._hang_up)
        self.wire.data_received(data)
        self._loop.call_soon(self._changed)  # until nothing is left: a change is told once

    def _host_gone(self) -> None:
        self._unsent.clear()
        if self._has_host:
            self._has_host = False
            self.wire.host_disconnected()

    def _hang_up(self) -> None:
        """The stick is pulled out and put in again: its host loses the terminal, the next one gets
        another by the same name.
        """
        if self._watch is not None:
            self._host_gone()
            self._drop_terminal(self._watch)
            self._make_terminal()

    def _clear_terminal(self, watch: select.epoll) -> None:
        """Throw away what the last host left unread, and its settings, before the next host."""
        try:
            slave = os.open(self._terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            # EBUSY: the host claimed the terminal for itself (TIOCEXCL), and that outlives it.
            self._drop_terminal(watch)
            self._make_terminal()
            return
        try:
            tty.setraw(slave)
            # Both ends: octets wait on their way to an end, and at it.
            termios.tcflush(self._master, termios.TCIOFLUSH)
            termios.tcflush(slave, termios.TCIOFLUSH)
        finally:
            os.close(slave)

    def _write(self, data: bytes) -> None:
        if len(self._unsent) + len(data) > MAX_UNSENT_BYTES:
            self.octets_lost += len(data)  # as on a UART that nobody reads
            return
        self._unsent += data
        self._send_unsent()

    def _send_unsent(self) -> None:
        unsent = self._unsent
        while unsent:
            try:
                del unsent[: os.write(self._master, unsent)]
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    unsent.clear()
                return


def serve_pty(name: str, wire: SerialWire) -> PtyLine:
    """Serve `wire` at a terminal: `name` is a path, or a bare name in a folder of this user's own.

    Raises PtyLineError, OSError.
    """
    if not hasattr(select, "epoll"):
        raise PtyLineError("a stick at a pseudo-terminal needs Linux: listen on tcp:// instead")
    if not name or name.endswith("/") or "\0" in name or name in (".", ".."):
        raise PtyLineError(f"{name!r} is no name for a terminal")
    line = PtyLine(wire, Path(name) if "/" in name else _private_folder() / name)
    line.open()
    return line


def _private_folder() -> Path:
    """Where bare names live: nobody else can put anything there."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        folder = Path(runtime) / "hanbench"
    else:
        folder = Path(tempfile.gettempdir()) / f"hanbench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PtyLineError(f"{folder} is not this user's alone: give a path for the terminal")
    return folder


def _require_free(path: Path) -> None:
    """Whether a link may be put at `path`: nothing is there, or a link to a terminal long gone.

    Numbers of terminals are given again: one that was made after the link is somebody else's.
    """
    if not path.parent.is_dir():
        raise PtyLineError(f"{path.parent} is no folder to put a terminal's name into")
    if not path.is_symlink():
        if path.exists():
            raise PtyLineError(f"{path} is there already, and it is no terminal of a stick")
        return
    if path.readlink().parent != _TERMINALS:
        raise PtyLineError(f"{path} is there already, and it is no terminal of a stick")
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_ctime_ns <= path.lstat().st_ctime_ns:
            raise PtyLineError(f"{path} leads to a terminal in use: remove it if no stick is there")
