"""The NCP's half of ASH, the link layer between an EZSP stick and its host. No I/O.

Source: Silicon Labs UG101, "UART-EZSP Gateway Protocol Reference"; where its text is silent, what
the public NCP source of the Gecko SDK does (ash-ncp.c), told in our own words.

    state      event                      next       effect
    ---------  -------------------------  ---------  ---------------------------------------------
    WAITING    RST                        RESETTING  ResetRequest
    WAITING    any other frame            WAITING    none
    RESETTING  any frame                  RESETTING  none: a chip that restarts hears nothing
    CONNECTED  RST                        RESETTING  ResetRequest; what waits to be sent is dropped
    CONNECTED  DATA, the expected one     CONNECTED  payload delivered, acknowledgement owed
    CONNECTED  DATA, another, reTx        CONNECTED  acknowledgement owed, nothing delivered
    CONNECTED  DATA, another or damaged   CONNECTED  NAK, once until the expected DATA comes
    CONNECTED  ACK                        CONNECTED  DATA frames before ackNum are done
    CONNECTED  NAK                        CONNECTED  as ACK, then the others go again with reTx
    CONNECTED  timeout                    CONNECTED  DATA frames in flight go again with reTx
    CONNECTED  fifth time without answer  FAILED     ERROR(2, 0x51); what waits is dropped
    FAILED     RST                        RESETTING  ResetRequest
    FAILED     any other frame            FAILED     ERROR once more
    any        restart()                  RESETTING  what waits to be sent is dropped
    any        reset(code)                CONNECTED  everything zero, RSTACK(2, code)
    any        error(code)                FAILED     ERROR(2, code); what waits is dropped

ackNum is taken from every valid DATA, ACK and NAK. One that names a frame not in flight makes the
whole frame invalid, and an invalid frame is answered with NAK if its control byte says DATA.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections import deque
from enum import Enum, auto
from typing import Final

FLAG: Final = b"\x7e"
ESCAPE: Final = b"\x7d"
XON: Final = b"\x11"
XOFF: Final = b"\x13"
SUBSTITUTE: Final = b"\x18"
CANCEL: Final = b"\x1a"
ESCAPE_BIT: Final = 0x20

PROTOCOL_VERSION: Final = 2
MIN_PAYLOAD_BYTES: Final = 3  # the shortest EZSP frame: sequence, frame control, frame id
MAX_PAYLOAD_BYTES: Final = 220  # EZSP_MAX_FRAME_LENGTH since EZSP 9; hosts cap theirs there too
MAX_WINDOW: Final = 7  # frame numbers are modulo 8
ERROR_EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT: Final = 0x51

# Fixed at UG101's initial value. Firmware adapts it between 0.4 and 3.2 s to the line it measures;
# here nothing is lost on a clean line, and a busy host on the real clock must not look like loss.
ACK_TIMEOUT_S: Final = 1.6
MAX_TRANSMISSIONS: Final = 5

MAX_STUFFED_BYTES: Final = 2 * (1 + MAX_PAYLOAD_BYTES + 2)

_RETRANSMITTED: Final = 0x08
_CRC_INIT: Final = 0xFFFF


class AshUsageError(ValueError):
    """The owner of the link broke a rule of it."""


class AshQueueFull(AshUsageError):
    """The host does not acknowledge as fast as the owner sends; nothing was queued."""


class State(Enum):
    WAITING = auto()
    RESETTING = auto()
    CONNECTED = auto()
    FAILED = auto()


# Looking a member up in its class costs as much as a comparison.
_CONNECTED: Final = State.CONNECTED


class ResetRequest:
    """The host sent RST: restart, then call `reset`."""

    __slots__ = ()


RESET_REQUEST: Final = ResetRequest()

# What an ACK by itself brings, and nothing else does: its receiver need not look what to send.
NOTHING: Final[list[bytes | ResetRequest]] = []


def _pseudo_random(length: int) -> bytes:
    """The sequence DATA fields are XORed with, afresh for every frame."""
    octets = bytearray()
    register = 0x42
    for _ in range(length):
        octets.append(register)
        register = register >> 1 ^ (0xB8 if register & 1 else 0)
    return bytes(octets)


PSEUDO_RANDOM: Final = _pseudo_random(MAX_PAYLOAD_BYTES)
_MASKS: Final = [int.from_bytes(PSEUDO_RANDOM[:n], "little") for n in range(MAX_PAYLOAD_BYTES + 1)]
_OCTETS: Final = [bytes((value,)) for value in range(256)]
_FLIPPED: Final = [bytes((value ^ ESCAPE_BIT,)) for value in range(256)]


def randomise(field: bytes) -> bytes:
    """XOR with the pseudo-random sequence, at most MAX_PAYLOAD_BYTES; it undoes itself."""
    size = len(field)
    return (int.from_bytes(field, "little") ^ _MASKS[size]).to_bytes(size, "little")


def stuff(octets: bytes) -> bytes:
    """Escape the six reserved octets."""
    return (
        octets.replace(b"\x7d", b"\x7d\x5d")  # first: the others put this octet in
        .replace(b"\x7e", b"\x7d\x5e")
        .replace(b"\x11", b"\x7d\x31")
        .replace(b"\x13", b"\x7d\x33")
        .replace(b"\x18", b"\x7d\x38")
        .replace(b"\x1a", b"\x7d\x3a")
    )


def unstuff(octets: bytes) -> bytes:
    """Undo `stuff`. As in firmware an escape before a reserved octet or the end has no effect."""
    parts = octets.split(ESCAPE)
    plain = [parts[0]]
    for part in parts[1:]:
        if part:
            plain.append(_FLIPPED[part[0]])
            plain.append(part[1:])
    return b"".join(plain)


def build_frame(body: bytes) -> bytes:
    """Control byte and data field as they go on the wire: CRC, stuffing, FLAG."""
    return stuff(body + crc_hqx(body, _CRC_INIT).to_bytes(2, "big")) + FLAG


def build_data(control: int, payload: bytes) -> bytes:
    """A DATA frame as it goes on the wire."""
    return build_frame(_OCTETS[control] + randomise(payload))


_ACKS: Final = [build_frame(bytes((0x80 | number,))) for number in range(8)]
_NAKS: Final = [build_frame(bytes((0xA0 | number,))) for number in range(8)]
_RST: Final = b"\xc0\x38\xbc"

# The host's nRdy flag (0x08) and the reserved bit (0x10) change nothing here. With and without
# FLAG, because a chunk that is one ACK and nothing else is known without taking it apart.
_ACK_NUMBERS: Final = {
    wire[:end]: control & 7
    for control in range(0x80, 0xA0)
    for wire in (build_frame(bytes((control,))),)
    for end in (None, -1)
}


class AshNcp:
    """One ASH link, seen from the stick.

    `now` is loop time in seconds. After every call that may have changed something the owner
    writes `data_to_send()`; after `receive_data` only when it has handled the payloads, so that
    the response carries the acknowledgement of the command. Nothing the host sends raises.
    """

    __slots__ = (
        "_ack_owed",
        "_acked",
        "_deadline",
        "_expected",
        "_in_flight",
        "_now",
        "_partial",
        "_queue",
        "_queue_limit",
        "_rejecting",
        "_resend",
        "_short_frame",
        "_transmissions",
        "_window",
        "ack_timeouts",
        "bad_ack_nums",
        "cancelled",
        "data_received",
        "data_sent",
        "dropped",
        "duplicates",
        "error_code",
        "invalid_frames",
        "naks_received",
        "naks_sent",
        "out_of_sequence",
        "retransmissions",
        "state",
    )

    def __init__(self, *, window: int = 5, queue_limit: int = 128) -> None:
        if not 1 <= window <= MAX_WINDOW:
            raise AshUsageError(f"window must be 1 to {MAX_WINDOW} frames, not {window}")
        if queue_limit < window:
            raise AshUsageError(f"queue_limit must be at least the window {window}")
        self.state = State.WAITING
        self.error_code: int | None = None
        self._window = window
        self._queue_limit = queue_limit
        self._queue: deque[bytes] = deque()
        self._partial = b""
        self._now = 0.0
        self._clear()
        self.data_received = 0
        self.data_sent = 0
        self.retransmissions = 0
        self.ack_timeouts = 0
        self.naks_received = 0
        self.naks_sent = 0
        self.duplicates = 0
        self.out_of_sequence = 0
        self.bad_ack_nums = 0
        self.invalid_frames = 0  # CRC, length, control byte, substituted octet
        self.cancelled = 0
        self.dropped = 0  # payloads sent while the link was down

    def _clear(self) -> None:
        self._queue.clear()  # the first `_in_flight` of it are sent and not acknowledged
        self._in_flight = 0
        self._acked = 0  # frame number of the head of the queue
        self._expected = 0  # frame number of the next DATA from the host, our ackNum
        self._ack_owed = False
        self._rejecting = False
        self._resend = False
        self._transmissions = 0  # of the head of the queue
        self._deadline: float | None = None
        self._short_frame = b""

    # The owner's side

    @property
    def queued(self) -> int:
        """Payloads accepted and not yet acknowledged."""
        return len(self._queue)

    @property
    def room(self) -> int:
        """How many payloads `send` takes before it refuses one."""
        return self._queue_limit - len(self._queue)

    def restart(self) -> None:
        """The stick restarts: what waits is dropped, and nothing is heard until `reset`."""
        self._clear()
        self.state = State.RESETTING

    def reset(self, code: int, now: float) -> None:
        """The stick has restarted: RSTACK with the reason `code`, and numbering from zero."""
        self._now = now
        self._clear()
        # Firmware puts a CANCEL in front, in case the host holds half a frame.
        self._short_frame = CANCEL + build_frame(bytes((0xC1, PROTOCOL_VERSION, _code(code))))
        self.error_code = None
        self.state = _CONNECTED

    def error(self, code: int) -> None:
        """The stick cannot go on: ERROR, and nothing but RST is heard from now on."""
        error = CANCEL + build_frame(bytes((0xC2, PROTOCOL_VERSION, _code(code))))
        self._clear()
        self._short_frame = error
        self.error_code = code
        self.state = State.FAILED

    def send(self, payload: bytes, now: float) -> None:
        """Queue one EZSP frame. While the link is down it goes nowhere, as on a restarting chip."""
        if not MIN_PAYLOAD_BYTES <= len(payload) <= MAX_PAYLOAD_BYTES:
            raise AshUsageError(
                f"an EZSP frame has {MIN_PAYLOAD_BYTES} to {MAX_PAYLOAD_BYTES} octets, "
                f"not {len(payload)}"
            )
        if self.state is not _CONNECTED:
            self.dropped += 1
            return
        if len(self._queue) >= self._queue_limit:
            raise AshQueueFull(f"{self._queue_limit} EZSP frames wait for the host already")
        self._now = now
        self._queue.append(payload)

    def data_to_send(self) -> bytes:
        """Every octet that is ready for the wire; a second call at once has none."""
        out = self._short_frame
        if out:
            self._short_frame = b""
        in_flight = self._in_flight
        queue = self._queue
        if not self._resend and len(queue) == in_flight + 1 <= self._window:
            # One more frame, as nearly always: a response, or a callback by itself.
            frame = build_data((self._acked + in_flight & 7) << 4 | self._expected, queue[-1])
            self.data_sent += 1
            self._in_flight = in_flight + 1
            self._ack_owed = False
            if not in_flight:
                self._transmissions = 1
            if self._deadline is None:
                self._deadline = self._now + ACK_TIMEOUT_S
            return out + frame
        first = 0 if self._resend else in_flight
        last = min(len(queue), self._window)
        if first < last:
            return out + self._data_frames(first, last)
        if self._ack_owed:
            self._ack_owed = False
            return out + _ACKS[self._expected]
        return out

    def _data_frames(self, first: int, last: int) -> bytes:
        queue = self._queue
        in_flight = self._in_flight
        out = b""
        for index in range(first, last):
            control = (self._acked + index & 7) << 4 | self._expected
            if index < in_flight:
                control |= _RETRANSMITTED
                self.retransmissions += 1
            out += build_data(control, queue[index])
        self.data_sent += last - first
        self._ack_owed = False
        self._resend = False
        if not in_flight:
            self._transmissions = 1
        if self._deadline is None:
            self._deadline = self._now + ACK_TIMEOUT_S
        self._in_flight = last
        return out

    def next_timeout(self) -> float | None:
        """Loop time at which `handle_timeout` has something to do, None while all is answered."""
        return self._deadline

    def handle_timeout(self, now: float) -> None:
        if self._deadline is None or now < self._deadline:
            return
        self._now = now
        self.ack_timeouts += 1
        self._retransmit()

    def _retransmit(self) -> None:
        """Send what is in flight again, or give up.

        A NAK counts like a timeout: a host that answers everything with NAK would otherwise keep
        both ends busy for ever without the clock moving.
        """
        if self._resend or not self._in_flight:
            return
        if self._transmissions >= MAX_TRANSMISSIONS:
            self.error(ERROR_EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT)
            return
        self._transmissions += 1
        self._resend = True
        self._deadline = self._now + ACK_TIMEOUT_S

    # The host's side

    def receive_data(self, data: bytes, now: float) -> list[bytes | ResetRequest]:
        """Take octets off the wire, as many or few as come; the EZSP frames in them, in order."""
        self._now = now
        if self._partial:
            data = self._partial + data
        elif self.state is _CONNECTED:
            ack_num = _ACK_NUMBERS.get(data)
            if ack_num is not None and data[-1] == 0x7E:
                self._acknowledge(ack_num)
                return NOTHING
        events: list[bytes | ResetRequest] = []
        frames = data.split(FLAG)
        partial = frames.pop()
        self._partial = partial if len(partial) <= MAX_STUFFED_BYTES else _shortened(partial)
        for octets in frames:
            if octets:
                self._frame(octets, events)
        return events

    def _frame(self, octets: bytes, events: list[bytes | ResetRequest]) -> None:
        """Handle what stood between two FLAGs."""
        if self.state is _CONNECTED:
            ack_num = _ACK_NUMBERS.get(octets)
            if ack_num is not None:
                self._acknowledge(ack_num)
                return
        if 0x1A in octets:
            self.cancelled += 1
            octets = octets[octets.rfind(CANCEL) + 1 :]
        if 0x11 in octets or 0x13 in octets:
            octets = octets.translate(None, XON + XOFF)
        too_long = len(octets) > MAX_STUFFED_BYTES
        if not octets:
            return
        plain = unstuff(octets) if 0x7D in octets else octets
        if too_long or 0x18 in octets or len(plain) < 3 or crc_hqx(plain, _CRC_INIT):
            self._reject(octets[0])
        elif plain == _RST:
            self._reset_requested(events)
        elif self.state is _CONNECTED:
            self._valid_frame(plain, events)
        elif self.state is State.FAILED:
            assert self.error_code is not None
            self.error(self.error_code)

    def _valid_frame(self, plain: bytes, events: list[bytes | ResetRequest]) -> None:
        """Handle a frame whose CRC is right, on a connected link."""
        control = plain[0]
        size = len(plain) - 3
        if control < 0x80:
            if not MIN_PAYLOAD_BYTES <= size <= MAX_PAYLOAD_BYTES or not self._acknowledge(
                control & 7
            ):
                self._reject(control)
            elif control >> 4 == self._expected:
                self._expected = self._expected + 1 & 7
                self._ack_owed = True
                self._rejecting = False
                self.data_received += 1
                events.append(randomise(plain[1:-2]))
            elif control & _RETRANSMITTED:
                self.duplicates += 1
                self._ack_owed = True
            else:
                self.out_of_sequence += 1
                self._send_nak()
        elif control & 0xC0 == 0x80 and not size:
            acknowledged = self._acknowledge(control & 7)
            if control & 0x20:
                self.naks_received += 1
                if acknowledged:
                    self._retransmit()
        else:
            self.invalid_frames += 1

    def _acknowledge(self, ack_num: int) -> bool:
        """Forget the DATA frames before `ack_num`; False when it is out of the window."""
        count = ack_num - self._acked & 7
        if not count:
            return True
        in_flight = self._in_flight - count
        if in_flight < 0:
            self.bad_ack_nums += 1
            return False
        queue = self._queue
        for _ in range(count):
            queue.popleft()
        self._acked = ack_num
        self._in_flight = in_flight
        self._transmissions = 1
        self._deadline = self._now + ACK_TIMEOUT_S if in_flight else None
        return True

    def _reject(self, first_octet: int) -> None:
        """Count an invalid frame, and ask for it again if it looks like DATA."""
        self.invalid_frames += 1
        if first_octet < 0x80 and first_octet != 0x18:
            self._send_nak()

    def _send_nak(self) -> None:
        if self.state is _CONNECTED and not self._rejecting:
            self._rejecting = True
            self.naks_sent += 1
            self._short_frame += _NAKS[self._expected]

    def _reset_requested(self, events: list[bytes | ResetRequest]) -> None:
        if self.state is not State.RESETTING:
            self.restart()
            events.append(RESET_REQUEST)


def _code(code: int) -> int:
    if not 0 <= code <= 0xFF:
        raise AshUsageError(f"a reset or error code is one octet, not {code}")
    return code


def _shortened(partial: bytes) -> bytes:
    """The start of a frame that is too long already, in few octets that fare the same."""
    partial = partial[partial.rfind(CANCEL) + 1 :].translate(None, XON + XOFF)
    if len(partial) <= MAX_STUFFED_BYTES:
        return partial
    return partial[:1] + SUBSTITUTE
