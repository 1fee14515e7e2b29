"""Serial lines inside one process: `mem://<run>/<name>` is the stick `name` of the run `run`.

Source: DESIGN, "The one seam"; serialx `register_uri_handler`, its extension point for transports.

A host's octets reach the stick within its write. A stick's reach the host at once when the stick
was woken by its air, and as soon as the host is left when it was woken by this host: so a host is
never entered from inside its own code, order is kept, and most turns of the event loop are saved.
A name lives as long as its run.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from serialx import (
    BaseSerial,
    BaseSerialTransport,
    ModemPins,
    SerialException,
    register_uri_handler,
)

from emulator.medium.timing import Scheduler
from emulator.ncp.wire import SerialWire

SCHEME: Final = "mem://"
MAX_UNDELIVERED_BYTES: Final = 64 * 1024  # each way; a second of the fastest UART is less

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")

_runs: dict[str, MemoryLines] = {}


class MemoryLineError(ValueError):
    """A run or a line was asked for that cannot be."""


class MemoryLines:
    """The serial lines of one run: which stick is at the end of which name."""

    def __init__(self, run: str, clock: Scheduler | None = None) -> None:
        """`clock` hands a stick's answers over; without one the event loop does, a turn later."""
        _check_name("run", run)
        if run in _runs:
            raise MemoryLineError(f"a run named {run} has its lines open already")
        _register()
        self.run = run
        self.clock = clock
        self._lines: dict[str, _Line] = {}
        _runs[run] = self

    def add(self, name: str, wire: SerialWire) -> str:
        """Plug a stick in; the URL a host opens it by."""
        _check_name("line", name)
        if name in self._lines:
            raise MemoryLineError(f"run {self.run} has a line named {name} already")
        self._lines[name] = _Line(wire, self.clock)
        return f"{SCHEME}{self.run}/{name}"

    def unplug(self, name: str) -> None:
        """Pull a stick out: its host loses the connection with an error, the name is gone."""
        line = self._lines.pop(name, None)
        if line is None:
            raise MemoryLineError(f"run {self.run} has no line named {name}")
        if line.transport is not None:
            line.transport.lose(OSError(errno.EIO, f"{SCHEME}{self.run}/{name} was unplugged"))

    def close(self) -> None:
        """End the run: every stick is unplugged, its names are free again."""
        if _runs.get(self.run) is self:
            del _runs[self.run]
        for name in list(self._lines):
            self.unplug(name)

    def line(self, name: str) -> _Line | None:
        return self._lines.get(name)


class _Line:
    """One stick and, while a host has it open, the transport of that host."""

    __slots__ = ("clock", "transport", "wire")

    def __init__(self, wire: SerialWire, clock: Scheduler | None) -> None:
        self.wire = wire
        self.clock = clock
        self.transport: MemoryTransport | None = None


def _check_name(noun: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise MemoryLineError(
            f"{noun} {name!r}: a name is of letters, digits, dot, dash, underline"
        )


def _find_line(url: str) -> _Line:
    run, _, name = url.removeprefix(SCHEME).partition("/")
    lines = _runs.get(run)
    line = lines.line(name) if lines is not None else None
    if line is None:
        raise FileNotFoundError(errno.ENOENT, "No emulated radio of this name in this process", url)
    return line


class MemoryTransport(BaseSerialTransport):
    """The host's end of a memory line, as asyncio and bellows see a serial port."""

    transport_name = "memory"
    _closing: bool

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__(loop, protocol)
        self._line: _Line | None = None
        self._clock: Scheduler | None = None
        self._inside_host = False
        self._to_host_bytes = 0

    async def _connect(self, *, path: str, **settings: Any) -> None:  # noqa: ARG002 - no UART here
        line = _find_line(path)
        while (holder := line.transport) is not None:
            if not holder.is_closing():
                raise OSError(errno.EBUSY, "The emulated radio is open already", path)
            await asyncio.sleep(0)  # its last octets are on their way, then it lets go
            line = _find_line(path)
        line.transport = self
        self._line = line
        self._stick_receives = line.wire.data_received
        self._clock = line.clock
        line.wire.host_connected(self._write_to_host, self._hang_up)
        self._call_protocol_connection_made()

    # Host to stick

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        if type(data) is not bytes:
            data = bytes(data)
        inside, self._inside_host = self._inside_host, True
        try:
            self._stick_receives(data)
        except Exception as error:
            # A mistake in the stick is not the host's: it must not end in bellows' own handlers.
            self._loop.call_exception_handler(
                {"message": "an emulated stick failed", "exception": error}
            )
        finally:
            self._inside_host = inside

    # Stick to host

    def _write_to_host(self, data: bytes) -> None:
        if self._closing or not data:
            return
        if not self._inside_host and not self._to_host_bytes:
            self._enter_host(data)
            return
        self._to_host_bytes += len(data)
        if self._to_host_bytes > MAX_UNDELIVERED_BYTES:
            self.lose(OSError(errno.ENOBUFS, "the stick writes faster than the host reads"))
            return
        clock = self._clock
        if clock is None:
            self._loop.call_soon(self._deliver_to_host, data)
        else:
            clock.call_at_us(clock.now_us(), self._deliver_to_host, data)

    def _deliver_to_host(self, data: bytes) -> None:
        self._to_host_bytes -= len(data)
        if not self._closing:
            self._enter_host(data)

    def _enter_host(self, data: bytes) -> None:
        self._inside_host = True
        try:
            self._protocol.data_received(data)
        finally:
            self._inside_host = False

    # The end

    def close(self) -> None:
        """Let go of the line; what was written has been delivered."""
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._let_go, None)

    def abort(self) -> None:
        """As `close`: nothing a host wrote is undelivered, and it hears nothing any more."""
        self.close()

    def _hang_up(self) -> None:
        """The stick's end closes the line; a host may open it again."""
        self.lose(None)

    def lose(self, error: OSError | None) -> None:
        """The line is gone: the host's `connection_lost` says why."""
        if not self._closing:
            self._closing = True
            if not self._loop.is_closed():  # else there is nobody left to tell
                self._loop.call_soon(self._let_go, error)

    def _let_go(self, error: OSError | None) -> None:
        line = self._line
        if line is not None and line.transport is self:
            line.transport = None
            line.wire.host_disconnected()
        self._call_protocol_connection_lost(error)

    # What a serial port has besides, and a memory line has not

    def get_write_buffer_size(self) -> int:
        return 0  # every write is delivered when it returns

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (0, MAX_UNDELIVERED_BYTES)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limit is fixed: a host that exceeds it is broken, not slow."""

    def can_write_eof(self) -> bool:
        return False

    async def reconfigure_port(self, **settings: Any) -> None:
        """There is no UART whose speed could be set."""

    async def _flush(self) -> None:
        """Nothing waits to be written."""

    async def _get_modem_pins(self) -> Any:
        return ModemPins()

    async def _set_modem_pins(self, modem_pins: Any) -> None:
        """There are no pins."""


class _NoBlockingSerial(BaseSerial):
    """What `serialx.serial_for_url` makes of the scheme: a refusal in one sentence."""

    def __new__(cls, *args: Any, **settings: Any) -> _NoBlockingSerial:  # noqa: ARG004
        raise SerialException(f"{SCHEME} radios live in an event loop: open them with asyncio")


@cache
def _register() -> Callable[[], None]:
    """Make serialx know the scheme, once per process."""
    unregister: Callable[[], None] = register_uri_handler(
        scheme=SCHEME,
        unique_scheme=SCHEME,
        sync_cls=_NoBlockingSerial,
        async_transport_cls=MemoryTransport,
    )
    return unregister
