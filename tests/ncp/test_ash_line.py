"""ASH on a bad line: any octets in any portions, and bellows' own half at the other end."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from types import SimpleNamespace

import pytest
from bellows.ash import AshProtocol, DataFrame, parse_frame
from hypothesis import example, given
from hypothesis import strategies as st

from emulator.ncp.ash import (
    CANCEL,
    FLAG,
    MAX_PAYLOAD_BYTES,
    MAX_STUFFED_BYTES,
    RESET_REQUEST,
    SUBSTITUTE,
    XOFF,
    XON,
    AshNcp,
    build_data,
    build_frame,
    randomise,
    stuff,
    unstuff,
)
from hil.clock import VirtualLoop

RST = build_frame(b"\xc0")
COMMAND = b"\x01\x00\x05"
RESPONSE = b"\x01\x80\x05\x00"
COMMAND_FRAME = build_data(0, COMMAND)


def link_up() -> AshNcp:
    link = AshNcp()
    link.receive_data(RST, 0.0)
    link.reset(0x0B, 0.0)
    link.data_to_send()
    return link


# -- codec: the same octets as bellows', and back ----------------------------------------------


@given(payload=st.binary(min_size=3, max_size=MAX_PAYLOAD_BYTES), control=st.integers(0, 0x7F))
def test_bellows_writes_and_reads_the_same_data_frames(payload: bytes, control: int) -> None:
    frame = DataFrame(
        frm_num=control >> 4, re_tx=control >> 3 & 1, ack_num=control & 7, ezsp_frame=payload
    )
    wire = build_data(control, payload)
    assert bytes(AshProtocol._stuff_bytes(frame.to_bytes())) + FLAG == wire
    assert parse_frame(AshProtocol._unstuff_bytes(wire[:-1])) == frame


@given(octets=st.binary(max_size=300))
def test_no_reserved_octet_reaches_the_line_and_none_is_lost(octets: bytes) -> None:
    stuffed = stuff(octets)
    assert not set(stuffed) & {0x7E, 0x11, 0x13, 0x18, 0x1A}
    assert unstuff(stuffed) == octets


@given(payload=st.binary(max_size=MAX_PAYLOAD_BYTES))
def test_randomising_twice_changes_nothing(payload: bytes) -> None:
    assert randomise(randomise(payload)) == payload


# -- line control and garbage ----------------------------------------------------------------


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(XOFF + COMMAND_FRAME, id="XOFF before a frame"),
        pytest.param(
            COMMAND_FRAME[:2] + XOFF + XON + COMMAND_FRAME[2:], id="XOFF and XON inside a frame"
        ),
        pytest.param(b"\x05\x7d" + CANCEL + COMMAND_FRAME, id="CANCEL after half a frame"),
        pytest.param(b"\x05" + SUBSTITUTE + CANCEL + COMMAND_FRAME, id="CANCEL after a line error"),
        pytest.param(FLAG + FLAG + COMMAND_FRAME + FLAG, id="repeated FLAGs"),
        pytest.param(XON + FLAG + COMMAND_FRAME, id="a frame of flow control only"),
    ],
)
def test_line_control_octets_do_not_disturb_a_command(wire: bytes) -> None:
    link = link_up()
    assert link.receive_data(wire, 0.0) == [COMMAND]
    assert link.data_to_send() == build_frame(b"\x81")


def test_endless_garbage_is_forgotten_and_the_next_frame_heard() -> None:
    link = link_up()
    for _ in range(1000):
        link.receive_data(b"\x99" * 1000, 0.0)
        assert len(link._partial) <= MAX_STUFFED_BYTES
    assert link.receive_data(FLAG + COMMAND_FRAME, 0.0) == [COMMAND]


# -- any octets, in any portions ---------------------------------------------------------------

frames = st.builds(
    build_data, st.integers(0, 0x7F), st.binary(min_size=2, max_size=MAX_PAYLOAD_BYTES)
)
short_frames = st.builds(lambda c: build_frame(bytes((c,))), st.integers(0x80, 0xFF))
noise = st.binary(max_size=40)
long_noise = st.builds(lambda o, n: bytes((o,)) * n, st.integers(0, 255), st.integers(440, 600))
control_octets = st.sampled_from([FLAG, CANCEL, SUBSTITUTE, XON, XOFF, b"\x7d"])
wires = st.lists(
    st.one_of(frames, short_frames, noise, long_noise, control_octets), max_size=12
).map(b"".join)


def busy_link() -> AshNcp:
    link = link_up()
    for _ in range(4):
        link.send(RESPONSE, 0.0)
    link.data_to_send()
    return link


@example(wire=600 * b"\x7d" + b"\xe0\x38\xbc" + FLAG, cuts=[300])
@example(wire=500 * XON + COMMAND_FRAME, cuts=[480])
@given(wire=wires, cuts=st.lists(st.integers(0, 2000), max_size=10))
def test_it_does_not_matter_how_the_octets_are_portioned(wire: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    whole, single, portioned = busy_link(), busy_link(), busy_link()
    expected = whole.receive_data(wire, 0.0)
    assert [e for i in range(len(wire)) for e in single.receive_data(wire[i : i + 1], 0.0)] == (
        expected
    )
    assert [
        event
        for start, end in pairwise(edges)
        for event in portioned.receive_data(wire[start:end], 0.0)
    ] == expected
    out = whole.data_to_send()
    assert (single.data_to_send(), single.state) == (out, whole.state)
    assert (portioned.data_to_send(), portioned.state) == (out, whole.state)


@given(portions=st.lists(st.binary(max_size=700), max_size=8))
def test_hostile_octets_raise_nothing_and_pile_up_nowhere(portions: list[bytes]) -> None:
    link = busy_link()
    for portion in portions:
        for event in link.receive_data(portion, 0.0):
            assert event is RESET_REQUEST or isinstance(event, bytes)
        link.data_to_send()
        assert len(link._partial) <= MAX_STUFFED_BYTES
    link.receive_data(b"\x7e" + RST, 0.0)
    link.reset(0x0B, 0.0)
    assert link.receive_data(COMMAND_FRAME, 0.0) == [COMMAND]


# -- against bellows ---------------------------------------------------------------------------


class BadLine:
    """bellows' AshProtocol and our link on two ends of a line that spoils octets at random.

    A chunk cut short spoils the next one, too; after that some pass, because an end gives up
    after five transmissions. It is bellows' transport, and the application above its ASH.
    """

    def __init__(self, seed: int, spoil_percent: int) -> None:
        self.random = random.Random(seed)
        self.spoil_percent = spoil_percent
        self.passes = 0
        self.spoilt = 0
        self.loop = asyncio.get_running_loop()
        self.link = AshNcp(window=1 + seed % 7)
        self.timer: asyncio.TimerHandle | None = None
        self.heard_by_stick: list[bytes] = []
        self.heard_by_host: list[bytes] = []
        self.sent_to_host: list[bytes] = []
        self.resets: list[int] = []
        self.failures: list[object] = []
        self.was_reset = asyncio.Event()
        self.host = AshProtocol(self)
        self.host.connection_made(self)

    # transport of bellows

    def write(self, octets: bytes) -> None:
        self.loop.call_soon(self.to_stick, self.spoil(octets))

    def is_closing(self) -> bool:
        return False

    # application above bellows' ASH

    def connection_made(self, protocol: object) -> None:
        pass

    def data_received(self, payload: bytes) -> None:
        self.heard_by_host.append(payload)

    def reset_received(self, code: int) -> None:
        self.resets.append(int(code))
        self.was_reset.set()

    def error_received(self, code: object) -> None:
        self.failures.append(code)

    # the stick

    def to_stick(self, octets: bytes) -> None:
        for event in self.link.receive_data(octets, self.loop.time()):
            if isinstance(event, bytes):
                self.heard_by_stick.append(event)
                for i in range(self.random.randrange(6)):
                    self.say(bytes((i, 0x90, 0x45)) + self.random.randbytes(20))
                self.say(event[:1] + b"\x80" + event[2:])
            else:
                self.link.reset(0x0B, self.loop.time())
        self.flush()

    def say(self, payload: bytes) -> None:
        self.sent_to_host.append(payload)
        self.link.send(payload, self.loop.time())

    def flush(self) -> None:
        if octets := self.link.data_to_send():
            self.loop.call_soon(self.host.data_received, self.spoil(octets))
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        due = self.link.next_timeout()
        if due is not None:
            self.timer = self.loop.call_at(due, self.timed_out)

    def timed_out(self) -> None:
        self.timer = None
        self.link.handle_timeout(self.loop.time())
        self.flush()

    def spoil(self, octets: bytes) -> bytes:
        self.passes -= 1
        if self.passes >= 0 or self.random.randrange(100) >= self.spoil_percent:
            return octets
        self.passes = 7
        self.spoilt += 1
        at = self.random.randrange(len(octets))
        kind = self.random.randrange(6)
        if kind == 0:
            return b""
        if kind == 1:
            return octets[:at]
        if kind == 2:
            return octets[:at] + self.random.randbytes(self.random.randrange(30)) + octets[at:]
        if kind == 3:
            return octets[:at] + SUBSTITUTE + octets[at + 1 :]
        if kind == 4:
            return octets + octets
        return octets[:at] + bytes((octets[at] ^ 1 << self.random.randrange(8),)) + octets[at + 1 :]


@pytest.mark.parametrize("spoil_percent", [0, 10, 40])
@pytest.mark.parametrize("seed", range(7))
def test_bellows_gets_every_frame_once_and_in_order_over_a_bad_line(
    seed: int, spoil_percent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr("bellows.ash.time", SimpleNamespace(monotonic=loop.time))
        line = BadLine(seed, 0)
        line.host.send_reset()
        await line.was_reset.wait()
        line.spoil_percent = spoil_percent
        commands = [bytes((i, 0, 5)) + line.random.randbytes(i % 60) for i in range(60)]
        for command in commands:
            await line.host.send_data(command)
            while line.link.room < 6:  # bellows asks on as soon as it has the acknowledgement
                await idle(loop)
        while line.link.next_timeout() is not None:
            await idle(loop)
        assert line.heard_by_stick == commands
        assert line.heard_by_host == line.sent_to_host
        assert (line.resets, line.failures) == ([0x0B], [])
        assert (line.spoilt > 0) == (spoil_percent > 0)
        if not spoil_percent:
            assert line.link.naks_sent == line.link.naks_received == 0
            assert line.link.retransmissions == line.link.duplicates == 0

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(talk())


async def idle(loop: asyncio.AbstractEventLoop) -> None:
    """Let the line's own timers run for a while of virtual time."""
    done = loop.create_future()
    loop.call_later(0.1, done.set_result, None)
    await done
