"""One emulated EZSP stick: ASH, EZSP and a stack behind a serial line.

Source: Silicon Labs UG101 (what a reset does to the link), UG100 (what survives one). The stick is
built from its stored octets alone at every start: what a reset must not keep is not there to keep.
"""

from __future__ import annotations

from collections.abc import Callable

from emulator.medium.air import Medium
from emulator.medium.timing import Cancellable, RandomBits, Scheduler
from emulator.ncp.ash import NOTHING, AshNcp
from emulator.ncp.cbke_engine import CBKE_DELAY_US
from emulator.ncp.commands.configuration import key_table_size, size_key_table
from emulator.ncp.ezsp import Ezsp
from emulator.ncp.ezsp_tables import Tables
from emulator.ncp.line_faults import LineFault, LineFaults
from emulator.zigbee.events import Event
from emulator.zigbee.stack import Stack
from emulator.zigbee.state import StackState

RESET_SOFTWARE = 0x0B  # UG101, table 10: what the host's RST causes
BOOT_US = 20_000  # from RST to RSTACK; real sticks take longer, no host cares
_RESERVED_FOR_RESPONSES = 8  # ASH queue entries that callbacks leave free


class Ncp:
    """A stick on an air, with a serial line to a host. It is a `SerialWire`.

    `stored` is its non-volatile memory (`StackState.to_json`); `on_store(text)` is called with the
    new text whenever it changes, before anything depends on it. A `strict` stick refuses what real
    firmware refuses and hosts get away with here (commands/strictness.py). Without `cbke` it is as
    sticks are sold: key establishment and signatures are a stub.
    """

    def __init__(
        self,
        name: str,
        stored: str,
        medium: Medium,
        clock: Scheduler,
        random_bits: RandomBits,
        *,
        ezsp_version: int,
        strict: bool = False,
        on_store: Callable[[str], object] | None = None,
        cbke: bool = True,
        cbke_delay_us: int = CBKE_DELAY_US,
    ) -> None:
        self.name = name
        self.stored = stored
        self._medium = medium
        self._clock = clock
        self._random_bits = random_bits
        self.ezsp_version = ezsp_version
        self._tables = Tables(ezsp_version)
        self._strict = strict
        self._on_store = on_store
        self._cbke = cbke
        self._cbke_delay_us = cbke_delay_us
        self.ash = AshNcp()
        self._line: Callable[[bytes], None] | None = None
        self._hang_up: Callable[[], None] | None = None
        self.line_faults: LineFaults | None = None
        self._ash_timer: Cancellable | None = None
        self._booting: Cancellable | None = None
        self._answering = False
        self._closed = False
        self._boot()

    def _boot(self) -> None:
        state = StackState.from_json(self.stored)
        if state.custom_eui64 is not None:
            state.eui64 = state.custom_eui64

        def save() -> None:
            self.stored = state.to_json()
            if self._on_store is not None:
                self._on_store(self.stored)

        self.stack = Stack(
            self.name,
            state,
            self._medium,
            self._clock,
            self._random_bits,
            on_event=self._on_event,
            save=save,
        )
        self.ezsp = Ezsp(
            self._tables,
            self.stack,
            strict=self._strict,
            cbke=self._cbke,
            cbke_delay_us=self._cbke_delay_us,
        )
        size_key_table(self.ezsp.session, key_table_size(self.ezsp.session))
        self._lead()

    def _lead(self) -> None:
        """Lead octets and commands through the faults of the line, or past them."""
        faults = self.line_faults
        line = self._line
        self._receive = self.ash.receive_data if faults is None else faults.receive
        self._answer = self.ezsp.receive if faults is None else faults.answer
        self._write = line if faults is None or line is None else faults.write

    def close(self) -> None:
        """Pull the stick out: nothing a host sends wakes it any more."""
        self._closed = True
        self.set_faults(())
        self.stack.close()
        self._line = None
        self._lead()
        for timer in (self._ash_timer, self._booting):
            if timer is not None:
                timer.cancel()

    # -- the serial line -----------------------------------------------------------------------

    def host_connected(
        self, write: Callable[[bytes], None], hang_up: Callable[[], None] | None = None
    ) -> None:
        """A host opened the line; the stick goes on as it was until the host resets it."""
        self._line = write
        self._hang_up = hang_up
        self._lead()

    def host_disconnected(self) -> None:
        """The host closed the line. The radio stays on, as a stick's does."""
        self._line = self._hang_up = None
        self._lead()

    def data_received(self, data: bytes) -> None:
        """Octets from the host."""
        ash = self.ash
        now = self._clock.now_us() * 1e-6
        items = self._receive(data, now)
        if items is NOTHING and not ash.queued and not self.ezsp.has_callbacks:
            return
        for item in items:
            if not isinstance(item, bytes):
                self._reset()
                break
            self._answering = True
            response = self._answer(item)
            self._answering = False
            if response is not None and ash.room:  # a host that acknowledges nothing loses answers
                ash.send(response, now)
        self._pump()

    def _reset(self, code: int = RESET_SOFTWARE, off_us: int | None = BOOT_US) -> None:
        if self._closed:
            return
        self.stack.close()
        self._boot()
        if self._booting is not None:
            self._booting.cancel()
            self._booting = None
        if off_us is not None:
            when_us = self._clock.now_us() + off_us
            self._booting = self._clock.call_at_us(when_us, self._booted, code)

    def _booted(self, code: int) -> None:
        self._booting = None
        self.ash.reset(code, self._clock.now_us() * 1e-6)
        self._flush()

    # -- what goes wrong -----------------------------------------------------------------------

    def set_faults(self, faults: tuple[LineFault, ...]) -> None:
        """Replace the faults of the line. Raises LineFaultError and changes nothing."""
        new = LineFaults(faults, self, self._clock, self._random_bits) if faults else None
        if self.line_faults is not None:
            self.line_faults.close()
        self.line_faults = new
        self._lead()
        if new is not None:
            new.begin()

    def restart(self, code: int, off_us: int | None = BOOT_US) -> None:
        """The stick restarts unasked, and says so by RSTACK with `code`; None: it stays off."""
        self.ash.restart()
        self._reset(code, off_us)

    def fail(self, code: int) -> None:
        """The stick cannot go on: ERROR with `code`, and nothing but RST is heard."""
        self.ash.error(code)
        self._flush()

    def hang_up(self) -> None:
        """Close the line from the stick's end, where the line can be closed."""
        if self._hang_up is not None:
            self._hang_up()

    def write_line(self, data: bytes) -> None:
        """Octets to the host, past all faults."""
        if self._line is not None:
            self._line(data)

    # -- stick to host -------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        ezsp = self.ezsp
        frame = ezsp.callback(event)
        if frame is None:
            return
        ash = self.ash
        if self._answering or ezsp.has_callbacks or ash.room <= _RESERVED_FOR_RESPONSES:
            ezsp.keep_callback(frame)
            if not self._answering:
                self._pump()
        else:
            ash.send(frame, self._clock.now_us() * 1e-6)
            self._flush()

    def _pump(self) -> None:
        """Hand callbacks to ASH as far as it has room, and what ASH has ready to the line."""
        ash = self.ash
        ezsp = self.ezsp
        if ezsp.has_callbacks and ash.room > _RESERVED_FOR_RESPONSES:
            now = self._clock.now_us() * 1e-6
            for frame in ezsp.take_callbacks(ash.room - _RESERVED_FOR_RESPONSES):
                ash.send(frame, now)
        self._flush()

    def _flush(self) -> None:
        data = self.ash.data_to_send()
        if data and self._write is not None:
            self._write(data)
        if self._ash_timer is None:
            due = self.ash.next_timeout()
            if due is not None:
                self._ash_timer = self._clock.call_at_us(round(due * 1e6) + 1, self._ash_timeout)

    def _ash_timeout(self) -> None:
        # One timer is enough: when it comes too early it is set again, which is far cheaper than
        # setting and cancelling one for every frame.
        self._ash_timer = None
        self.ash.handle_timeout(self._clock.now_us() * 1e-6)
        self._flush()
