"""Faults of a stick and its serial line, as data: hooks between the octets and the ASH link.

Source: Silicon Labs UG101 (what can go wrong on the line, and what each end does about it). Every
frame of the line, and every command on its way to EZSP, is shown to the hooks of its kind; the
first one that matches acts, and the others have not seen it. Without faults none of this is there:
`Ncp` leads its octets past it.

    shown                   to the hooks of
    ----------------------  ------------------------------------------------------------------------
    DATA of the host        lost host DATA, NAK, dead UART, ERROR frame, unsolicited RSTACK,
                            closed line, power cut
    ACK of the host         lost host ACK
    a command               no answer, invalidCommand, truncated payload
    a response (DATA)       lost response
    DATA of the stick       bad CRC, XOFF and CANCEL and SUBSTITUTE and garbage and FLAGs
"""

from __future__ import annotations

from binascii import crc_hqx
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from emulator.medium.timing import Cancellable, RandomBits, Scheduler
from emulator.ncp.ash import (
    CANCEL,
    FLAG,
    MAX_STUFFED_BYTES,
    SUBSTITUTE,
    XOFF,
    XON,
    ResetRequest,
    build_frame,
    randomise,
    stuff,
    unstuff,
)

if TYPE_CHECKING:
    from emulator.ncp.ncp import Ncp

RESET_POWER_ON: Final = 0x02  # UG101, table 10
RESET_WATCHDOG: Final = 0x03
ERROR_MAX_ACK_TIMEOUTS: Final = 0x51
MAX_GARBAGE_OCTETS: Final = 8

_CALLBACK: Final = 0x10  # in the frame control of EZSP


class LineFaultError(ValueError):
    """A fault was asked for that this stick cannot have."""


class LineFaultKind(Enum):
    """The words for each."""

    BAD_CRC = "bad CRC"
    LOST_RESPONSE = "lost response"
    LOST_HOST_DATA = "lost host DATA"
    LOST_HOST_ACK = "lost host ACK"
    NAK = "NAK"
    DEAD_UART = "dead UART"
    ERROR_FRAME = "ERROR frame"
    UNSOLICITED_RSTACK = "unsolicited RSTACK"
    NO_ANSWER = "no answer"
    INVALID_COMMAND = "invalidCommand"
    XOFF_BEFORE = "XOFF before a frame"
    XOFF_INSIDE = "XOFF inside a frame"
    CANCEL_BEFORE = "CANCEL before a frame"
    REPEATED_FLAGS = "repeated FLAGs"
    SUBSTITUTE_INSIDE = "SUBSTITUTE inside a frame"
    GARBAGE_BEFORE = "garbage before a frame"
    TRUNCATED_PAYLOAD = "truncated payload"
    CLOSED_LINE = "closed line"
    POWER_CUT = "power cut"


_K = LineFaultKind
_OF_COMMANDS = (_K.NO_ANSWER, _K.INVALID_COMMAND, _K.TRUNCATED_PAYLOAD)
_OF_HOST_ACKS = (_K.LOST_HOST_ACK,)
_OF_HOST_DATA = (
    _K.LOST_HOST_DATA,
    _K.NAK,
    _K.DEAD_UART,
    _K.ERROR_FRAME,
    _K.UNSOLICITED_RSTACK,
    _K.CLOSED_LINE,
    _K.POWER_CUT,
)
_OUTAGES = (_K.DEAD_UART, _K.POWER_CUT)


@dataclass(frozen=True, slots=True)
class LineFault:
    """What goes wrong, and with which frames: those named `frame` (None: all), of these the
    `number`th (from 1), or each with `probability`, or all, from `start_us` until before `end_us`.

    With `at_us` it happens by itself at that moment of the run. A dead UART and a power cut last
    `lasts_us` (None: for good), and begin at once where nothing else is said.
    """

    kind: LineFaultKind
    probability: float | None = None
    frame: str | None = None
    number: int | None = None
    start_us: int = 0
    end_us: int | None = None
    at_us: int | None = None
    lasts_us: int | None = None
    code: int | None = None

    @property
    def begins_us(self) -> int | None:
        """When it happens by itself, None for one that waits for a frame."""
        waits = (self.probability, self.frame, self.number) != (None, None, None)
        return 0 if self.at_us is None and self.kind in _OUTAGES and not waits else self.at_us


class _Hook:
    """One fault, and how many frames it has seen."""

    __slots__ = ("_below", "_seen", "fault")

    def __init__(self, fault: LineFault) -> None:
        self.fault = fault
        self._below = 0 if fault.probability is None else round(fault.probability * 2**32)
        self._seen = 0

    def matches(self, name: str, now_us: int, random_bits: RandomBits) -> bool:
        fault = self.fault
        if now_us < fault.start_us or (fault.end_us is not None and now_us >= fault.end_us):
            return False
        if fault.frame is not None and fault.frame != name:
            return False
        self._seen += 1
        if fault.number is not None:
            return self._seen == fault.number
        return fault.probability is None or random_bits(32) < self._below


class LineFaults:
    """The faults of one stick. `struck` counts what each of them did."""

    def __init__(
        self, faults: Sequence[LineFault], stick: Ncp, clock: Scheduler, random_bits: RandomBits
    ) -> None:
        for fault in faults:
            if fault.frame is not None and not stick.ezsp.has_frame(fault.frame):
                raise LineFaultError(f"{fault.frame!r} is no frame of this stick's EZSP")
        self.struck: Counter[LineFault] = Counter()
        self._stick = stick
        self._clock = clock
        self._random_bits = random_bits
        self._partial = b""
        self._dead_until_us: int | None = 0  # None: for good
        self._timers: list[Cancellable] = []
        hooks = [_Hook(fault) for fault in faults if fault.begins_us is None]
        self._host_data = [one for one in hooks if one.fault.kind in _OF_HOST_DATA]
        self._host_acks = [one for one in hooks if one.fault.kind in _OF_HOST_ACKS]
        self._commands = [one for one in hooks if one.fault.kind in _OF_COMMANDS]
        others = (*_OF_HOST_DATA, *_OF_HOST_ACKS, *_OF_COMMANDS)
        self._stick_data = [one for one in hooks if one.fault.kind not in others]
        self._by_themselves = [fault for fault in faults if fault.begins_us is not None]

    def begin(self) -> None:
        """The stick has these faults now: what is due by itself happens, now or in its time."""
        now_us = self._clock.now_us()
        for fault in self._by_themselves:
            begins_us = fault.begins_us
            assert begins_us is not None
            if begins_us > now_us:
                self._timers.append(self._clock.call_at_us(begins_us, self._happen, fault))
            else:
                self._happen(fault)

    def close(self) -> None:
        """These faults are over."""
        for timer in self._timers:
            timer.cancel()

    # -- host to stick -------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[bytes | ResetRequest]:
        """In the place of `AshNcp.receive_data`: frame by frame, as far as hooks let them pass."""
        if self._is_dead():
            self._partial = b""
            return []
        *frames, self._partial = (self._partial + data).split(FLAG)
        ash = self._stick.ash
        items: list[bytes | ResetRequest] = []
        for octets in frames:
            if self._passes(octets):
                items += ash.receive_data(octets + FLAG, now)
            elif self._is_dead():
                break
        if len(self._partial) > MAX_STUFFED_BYTES:  # the start of no frame
            items += ash.receive_data(self._partial, now)
            self._partial = b""
        return items

    def _passes(self, octets: bytes) -> bool:
        plain = _plain(octets)
        if plain is None:
            return True
        control = plain[0]
        if control < 0x80:
            hook = self._first(self._host_data, randomise(plain[1:-2]))
        elif control < 0xA0:
            hook = self._first(self._host_acks, b"")
        else:
            return True
        if hook is None:
            return True
        if hook.fault.kind is _K.NAK:
            self._stick.write_line(build_frame(bytes((0xA0 | control >> 4,))))
        else:
            self._act(hook.fault)
        return False

    def _happen(self, fault: LineFault) -> None:
        self.struck[fault] += 1
        self._act(fault)

    def _act(self, fault: LineFault) -> None:
        """What a fault does that is not done to a single frame."""
        stick = self._stick
        match fault.kind:
            case LineFaultKind.DEAD_UART:
                now_us = self._clock.now_us()
                self._dead_until_us = None if fault.lasts_us is None else now_us + fault.lasts_us
            case LineFaultKind.POWER_CUT:
                stick.restart(RESET_POWER_ON, fault.lasts_us)
            case LineFaultKind.UNSOLICITED_RSTACK:
                stick.restart(RESET_WATCHDOG if fault.code is None else fault.code)
            case LineFaultKind.ERROR_FRAME:
                stick.fail(ERROR_MAX_ACK_TIMEOUTS if fault.code is None else fault.code)
            case LineFaultKind.CLOSED_LINE:
                stick.hang_up()

    def _is_dead(self) -> bool:
        until_us = self._dead_until_us
        return until_us is None or (until_us > 0 and self._clock.now_us() < until_us)

    # -- commands ------------------------------------------------------------------------------

    def answer(self, frame: bytes) -> bytes | None:
        """In the place of `Ezsp.receive`."""
        ezsp = self._stick.ezsp
        hook = self._first(self._commands, frame)
        if hook is None:
            return ezsp.receive(frame)
        if hook.fault.kind is _K.INVALID_COMMAND:
            return ezsp.refuse(frame)
        response = ezsp.receive(frame)
        if response is None or hook.fault.kind is _K.NO_ANSWER:
            return None
        body_octets = len(response) - ezsp.header_octets(response)
        return response[: len(response) - (body_octets + 1) // 2]

    # -- stick to host -------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """In the place of the line: every octet the link sends."""
        if self._is_dead():
            return
        if self._stick_data:
            *frames, _ = data.split(FLAG)
            data = b"".join(map(self._spoil, frames))
        if data:
            self._stick.write_line(data)

    def _spoil(self, octets: bytes) -> bytes:
        """One frame of the stick as it goes on the line, its FLAG included."""
        plain = _plain(octets)
        if plain is None or plain[0] >= 0x80:
            return octets + FLAG
        payload = randomise(plain[1:-2])
        is_response = not payload[1] & _CALLBACK
        hooks = [
            one for one in self._stick_data if is_response or one.fault.kind is not _K.LOST_RESPONSE
        ]
        hook = self._first(hooks, payload)
        if hook is None:
            return octets + FLAG
        half = len(octets) // 2
        match hook.fault.kind:
            case LineFaultKind.BAD_CRC:
                return stuff(plain[:-1] + bytes((plain[-1] ^ 1,))) + FLAG
            case LineFaultKind.XOFF_BEFORE:
                return XOFF + octets + FLAG
            case LineFaultKind.XOFF_INSIDE:
                return octets[:half] + XOFF + XON + octets[half:] + FLAG
            case LineFaultKind.CANCEL_BEFORE:
                return CANCEL + octets + FLAG
            case LineFaultKind.REPEATED_FLAGS:
                return 3 * FLAG + octets + 3 * FLAG
            case LineFaultKind.SUBSTITUTE_INSIDE:
                return octets[:half] + SUBSTITUTE + octets[half:] + FLAG
            case LineFaultKind.GARBAGE_BEFORE:
                return self._garbage() + octets + FLAG
        return b""  # lost response

    def _garbage(self) -> bytes:
        octets = 1 + self._random_bits(32) % MAX_GARBAGE_OCTETS
        return self._random_bits(8 * octets).to_bytes(octets, "big")

    # -- hooks ---------------------------------------------------------------------------------

    def _first(self, hooks: Sequence[_Hook], payload: bytes) -> _Hook | None:
        """The first hook that matches the frame; an ACK has no payload."""
        if not hooks:
            return None
        name = self._stick.ezsp.frame_name(payload) if payload else ""
        now_us = self._clock.now_us()
        for hook in hooks:
            if hook.matches(name, now_us, self._random_bits):
                self.struck[hook.fault] += 1
                return hook
        return None


def _plain(octets: bytes) -> bytes | None:
    """Control byte, data field and CRC of what stood before a FLAG; None for no valid frame."""
    octets = octets[octets.rfind(CANCEL) + 1 :].translate(None, XON + XOFF)
    plain = unstuff(octets)
    if SUBSTITUTE in octets or not 3 <= len(plain) <= MAX_STUFFED_BYTES // 2:
        return None
    return None if crc_hqx(plain, 0xFFFF) else plain
