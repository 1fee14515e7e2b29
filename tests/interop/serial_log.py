"""What went over the serial lines between hosts and sticks, kept, and played to sticks again.

Source: ours. A log is JSON lines: first what it was recorded with, then, in the order it happened,
`[us, line, what, hex]`: the microseconds since the one before, the stick's number, and one of

    o, c    a host opened the line of that stick, or let go of it
    h       octets that the host wrote
    s       octets that the stick wrote

Played again, sticks with the same seed hear the hosts' octets at the same times on a clock driven
by hand. The clock of the recording ran a little late now and then, so octets also wait until the
stick has written as many frames as it had written before them: what a host said in answer comes
after what it answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from air_support import HeapClock

from emulator.medium.air import Medium
from emulator.medium.timing import Scheduler
from emulator.ncp.ash import FLAG, randomise, unstuff
from emulator.ncp.ezsp_tables import Tables
from emulator.ncp.ncp import Ncp
from emulator.ncp.wire import SerialWire
from emulator.zigbee.state import StackState
from hil.seeds import Seeds

FOLDER = Path(__file__).parent / "logs"
EUI64S = (0x02484E42000000C0, 0x02484E42000000C1)
OPEN, CLOSE, HOST, STICK = "ochs"
_WAIT_S = 60.0
_CALLBACK = 0x10
_NAK = 0xA0
_ERROR = 0xC2


class SerialEvent(NamedTuple):
    time_us: int
    line: int
    what: str
    octets: bytes = b""


class SerialLog(NamedTuple):
    """One recording: of which hosts, on which sticks, and everything they said."""

    hosts: list[str]
    ezsp: int
    seed: int
    lines: int
    events: list[SerialEvent]

    def write(self, path: Path) -> None:
        rows: list[Any] = [
            {"hosts": self.hosts, "ezsp": self.ezsp, "seed": self.seed, "lines": self.lines}
        ]
        before_us = 0
        for time_us, line, what, octets in self.events:
            rows.append((time_us - before_us, line, what, octets.hex()))
            before_us = time_us
        path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))

    @classmethod
    def read(cls, path: Path) -> SerialLog:
        head, *rows = map(json.loads, path.read_text().splitlines())
        time_us = 0
        events = []
        for after_us, line, what, octets in rows:
            time_us += after_us
            events.append(SerialEvent(time_us, line, what, bytes.fromhex(octets)))
        return cls(**head, events=events)


def make_sticks(clock: Scheduler, count: int, ezsp: int, seed: int) -> list[Ncp]:
    """Blank sticks on one air; the same for the same seed."""
    seeds = Seeds(seed)
    medium = Medium(clock, seeds.stream("air").getrandbits)
    return [
        Ncp(
            f"stick-{number}",
            StackState(EUI64S[number]).to_json(),
            medium,
            clock,
            seeds.stream(f"stick-{number}").getrandbits,
            ezsp_version=ezsp,
        )
        for number in range(count)
    ]


class Tap:
    """Sits between a stick and its line, and writes down what passes."""

    def __init__(
        self,
        wire: SerialWire,
        line: int,
        clock: Scheduler,
        note: Callable[[SerialEvent], object],
    ) -> None:
        self._wire = wire
        self._line = line
        self._clock = clock
        self._note = note

    def _write_down(self, what: str, octets: bytes = b"") -> None:
        self._note(SerialEvent(self._clock.now_us(), self._line, what, octets))

    def host_connected(
        self, write: Callable[[bytes], None], hang_up: Callable[[], None] | None = None
    ) -> None:
        def written_down(octets: bytes) -> None:
            self._write_down(STICK, octets)
            write(octets)

        self._write_down(OPEN)
        self._wire.host_connected(written_down, hang_up)

    def data_received(self, octets: bytes) -> None:
        self._write_down(HOST, octets)
        self._wire.data_received(octets)

    def host_disconnected(self) -> None:
        self._write_down(CLOSE)
        self._wire.host_disconnected()


def replay(log: SerialLog) -> list[SerialEvent]:
    """Let new sticks hear what the hosts of `log` said; everything that was said then."""
    clock = HeapClock()
    said: list[SerialEvent] = []
    frames = [0] * log.lines
    expected = [0] * log.lines

    def note(event: SerialEvent) -> None:
        said.append(event)
        if event.what == STICK:
            frames[event.line] += len(_frames(event.octets))

    def is_said(line: int) -> bool:
        return frames[line] >= expected[line]

    def let_happen(line: int) -> None:
        clock.run_until(lambda: is_said(line), _WAIT_S)

    sticks = make_sticks(clock, log.lines, log.ezsp, log.seed)
    taps = [Tap(stick, line, clock, note) for line, stick in enumerate(sticks)]
    for event in log.events:
        tap = taps[event.line]
        if event.what == STICK:
            expected[event.line] += len(_frames(event.octets))
            continue
        clock.run_for(max(0, event.time_us - clock.now_us()) / 1e6)
        if event.what == OPEN:
            tap.host_connected(_nowhere)
            continue
        let_happen(event.line)
        if event.what == CLOSE:
            tap.host_disconnected()
        else:
            tap.data_received(event.octets)
    for line in range(log.lines):
        let_happen(line)
    return said


def _nowhere(_octets: bytes) -> None:
    """The host of a recording hears nothing any more."""


def _frames(octets: bytes) -> list[bytes]:
    """The RSTACK and DATA frames in what a stick wrote: it never writes half a frame."""
    frames = [unstuff(stuffed)[:-2] for stuffed in octets.lstrip(b"\x1a").split(FLAG) if stuffed]
    for frame in frames:
        assert frame[0] & 0xE0 != _NAK, "a clean line, and the stick asks for a frame again"
        assert frame[0] != _ERROR, "a clean line, and the stick gives up"
    return [frame for frame in frames if frame[0] < 0x80 or frame[0] >= 0xC0]


class Answers(NamedTuple):
    """What one stick said, by kind. A callback may come before or after a response that has
    nothing to do with it, and carries the sequence number of the last one: it is left out."""

    resets: int
    responses: list[bytes]
    callbacks: list[bytes]


def answers(events: Iterable[SerialEvent], line: int) -> Answers:
    resets = 0
    responses, callbacks = [], []
    for event in events:
        if event.line != line or event.what != STICK:
            continue
        for frame in _frames(event.octets):
            if frame[0] >= 0xC0:
                resets += 1
                continue
            assert not frame[0] & 0x08, "a clean line, and the stick repeats a frame"
            ezsp = randomise(frame[1:])
            if ezsp[1] & _CALLBACK:
                callbacks.append(ezsp[1:])
            else:
                responses.append(ezsp)
    return Answers(resets, responses, callbacks)


def requests(events: Iterable[SerialEvent], line: int) -> list[bytes]:
    """The EZSP frames that a host wrote, in the order of their sequence."""
    stream = b"".join(e.octets for e in events if e.line == line and e.what == HOST)
    found = []
    for stuffed in stream.split(FLAG):
        frame = unstuff(stuffed[stuffed.rfind(b"\x1a") + 1 :])
        if len(frame) > 3 and frame[0] < 0x80:
            found.append(randomise(frame[1:-2]))
    return found


def name_of(tables: Tables, frame: bytes) -> str:
    """The EZSP name of a frame in any of its three forms."""
    if frame[2:3] == b"\xff":
        number = frame[4]
    elif len(frame) >= 5 and frame[2] & 3 == 1 and tables.version >= 8:
        number = frame[3] | frame[4] << 8
    else:
        number = frame[2]
    return tables.by_id[number].name
