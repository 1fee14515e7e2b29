"""A serial line that does what it likes with frames, and a host's half of ASH to put at its end.

Source: Silicon Labs UG101: the host's half is written from it and shares nothing with
`emulator.ncp.ash` but the codec, which bellows' has been compared with (test_ash_line.py).

Frame numbers are modulo 8, so no line may be as bad as it likes: a frame that turns up again when
eight others have passed is a new one, and so is an acknowledgement. With `window` frames under way
a frame may be overtaken by 7 - window others. What a line spoils, the CRC finds: one in 65 536 it
would not, and those a line here leaves alone. A reset is a fence that nothing overtakes.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections import deque
from dataclasses import dataclass

from emulator.ncp.ash import CANCEL, FLAG, XOFF, XON, build_data, build_frame, randomise, unstuff

RST, RSTACK, ERROR = 0xC0, 0xC1, 0xC2
MAX_TRANSMISSIONS = 5
ACK_TIMEOUT_S = 1.6
RESET_TIMEOUT_S = 2.5
HOST_WINDOW = 3


def bodies(octets: bytes) -> list[bytes]:
    """What a receiver finds in octets: the frames whose CRC is right, without it."""
    found = []
    for stuffed in octets.split(FLAG):
        part = stuffed[stuffed.rfind(CANCEL) + 1 :].translate(None, XON + XOFF)
        frame = unstuff(part)
        if b"\x18" not in part and len(frame) >= 3 and not crc_hqx(frame, 0xFFFF):
            found.append(frame[:-2])
    return found


@dataclass
class InFlight:
    """One whole frame on its way, with the FLAG that ends it."""

    octets: bytes
    overtaken: int = 0

    @property
    def is_fence(self) -> bool:
        return any(body[0] >= RST for body in bodies(self.octets))


class Direction:
    """One of the two wires. Frames leave it in order unless somebody interferes."""

    def __init__(self, window: int) -> None:
        self.frames: deque[InFlight] = deque()
        self.most_overtakers = 7 - window

    def put(self, octets: bytes) -> None:
        *frames, rest = octets.split(FLAG)
        assert not rest, "half a frame was written"
        self.frames.extend(InFlight(frame + FLAG) for frame in frames)

    def take(self, ahead: int = 0) -> bytes:
        """The next octets; with `ahead`, a frame that overtakes as many as it may up to that."""
        at = 0
        while at < min(ahead, len(self.frames) - 1) and self._may_overtake(at):
            at += 1
        for overtaken in range(at):
            self.frames[overtaken].overtaken += 1
        frame = self.frames[at]
        del self.frames[at]
        return frame.octets

    def _may_overtake(self, at: int) -> bool:
        before, behind = self.frames[at], self.frames[at + 1]
        return before.overtaken < self.most_overtakers and not (before.is_fence or behind.is_fence)

    def lose(self) -> None:
        self.frames.popleft()

    def repeat(self) -> None:
        """The next frame comes twice, but for a reset: a late copy would be one of its own."""
        frame = self.frames[0]
        if frame.is_fence:
            return
        self.frames.appendleft(InFlight(frame.octets, frame.overtaken))

    def spoil(self, at: int, octets: bytes, cut: int) -> None:
        """Put `octets` into the next frame in place of `cut` of its own; its FLAG may go, too."""
        frame = self.frames[0]
        at %= len(frame.octets)
        spoilt = frame.octets[:at] + octets + frame.octets[at + cut :]
        rest = self.frames[1].octets if len(self.frames) > 1 else FLAG
        good = bodies(frame.octets) + bodies(rest)
        if [body for body in bodies(spoilt + rest) if body not in good]:
            return  # by chance it is another good frame
        frame.octets = spoilt


class ModelHost:
    """A host's half of ASH: a window of its own, an ACK for every DATA frame, go back n."""

    def __init__(self, window: int = HOST_WINDOW) -> None:
        self.window = window
        self.is_connected = False
        self.failure: str | None = None
        self.heard: list[bytes] = []
        self.out = b""
        self._partial = b""
        self._forget()
        self._deadline: float | None = None

    def _forget(self) -> None:
        self.queue: deque[bytes] = deque()
        self._in_flight = 0
        self._acked = 0
        self._expected = 0
        self._rejecting = False
        self._transmissions = 0

    def reset(self, now: float) -> None:
        self._forget()
        self.heard.clear()
        self.failure = None
        self.is_connected = False
        self.out += 32 * CANCEL + build_frame(bytes((RST,)))
        self._deadline = now + RESET_TIMEOUT_S

    def send(self, payload: bytes, now: float) -> None:
        self.queue.append(payload)
        self._fill(now)

    def _fill(self, now: float) -> None:
        while self.is_connected and self._in_flight < min(self.window, len(self.queue)):
            self._write(self._in_flight, is_again=False)
            self._in_flight += 1
            if self._deadline is None:
                self._deadline, self._transmissions = now + ACK_TIMEOUT_S, 1

    def _write(self, at: int, *, is_again: bool) -> None:
        control = (self._acked + at) % 8 << 4 | is_again << 3 | self._expected
        self.out += build_data(control, self.queue[at])

    def _again(self, now: float) -> None:
        if self._transmissions >= MAX_TRANSMISSIONS:
            self._fail("nobody acknowledges")
            return
        self._transmissions += 1
        self._deadline = now + ACK_TIMEOUT_S
        for at in range(self._in_flight):
            self._write(at, is_again=True)

    def _fail(self, why: str) -> None:
        self.failure = why
        self.is_connected = False
        self._deadline = None

    def tick(self, now: float) -> None:
        if self._deadline is None or now < self._deadline:
            return
        if not self.is_connected:
            self.out += build_frame(bytes((RST,)))
            self._deadline = now + RESET_TIMEOUT_S
        else:
            self._again(now)

    def receive(self, octets: bytes, now: float) -> None:
        whole, flag, self._partial = (self._partial + octets).rpartition(FLAG)
        for stuffed in whole.split(FLAG) if flag else ():
            found = bodies(stuffed)
            if found:
                self._frame(found[0], now)
            elif stuffed and stuffed[0] < 0x80:
                self._reject()

    def _reject(self) -> None:
        if self.is_connected and not self._rejecting:
            self._rejecting = True
            self.out += build_frame(bytes((0xA0 | self._expected,)))

    def _frame(self, body: bytes, now: float) -> None:
        control = body[0]
        if control == RSTACK:
            if self.is_connected:
                self._fail("the stick restarted")
            elif self.failure is None:
                self.is_connected, self._deadline = True, None
                self._fill(now)
        elif control == ERROR:
            self._fail("the stick gave up")
        elif self.is_connected and control < RST:
            if control < 0x80:
                self._data(control, body[1:])
            self._acknowledged(control & 7, now)
            if control & 0xE0 == 0xA0 and self._in_flight:
                self._again(now)

    def _data(self, control: int, field: bytes) -> None:
        if control >> 4 == self._expected:
            self._expected = (self._expected + 1) % 8
            self._rejecting = False
            self.heard.append(randomise(field))
        elif not control & 0x08:
            self._reject()
            return
        self.out += build_frame(bytes((0x80 | self._expected,)))

    def _acknowledged(self, number: int, now: float) -> None:
        done = (number - self._acked) % 8
        if not 0 < done <= self._in_flight:
            return
        for _ in range(done):
            self.queue.popleft()
        self._acked = number
        self._in_flight -= done
        self._transmissions = 1
        self._deadline = now + ACK_TIMEOUT_S if self._in_flight else None
        self._fill(now)
