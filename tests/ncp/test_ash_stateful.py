"""ASH between a stick and a host on a line that loses, repeats, reorders and spoils frames.

Whatever the line does, payloads arrive in order and once, both ways, or an end says that the link
has failed; on a line that is clean again nothing stays behind.
"""

from __future__ import annotations

import asyncio
import os
import random
from types import SimpleNamespace

import pytest
from ash_rig import HOST_WINDOW, Direction, ModelHost, bodies
from bellows.ash import AshProtocol
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from emulator.ncp.ash import AshNcp, ResetRequest, State, build_frame
from hil.clock import VirtualLoop

NCP_WINDOW = 5
BOOT_S = 0.02
EXAMPLES = 1_000 if os.environ.get("HANBENCH_MATRIX") == "full" else 100
ways = st.sampled_from(["to stick", "to host"])


class BadLine(RuleBasedStateMachine):
    """A stick and a host, the two wires between them, and what each side said and heard."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ncp = AshNcp(window=NCP_WINDOW)
        self.host = ModelHost()
        self.wires = {"to stick": Direction(HOST_WINDOW), "to host": Direction(NCP_WINDOW)}
        self.booted_at: float | None = None
        self.numbers = 0
        # Of every session, the last one at the end: an end may learn late that another began.
        self.said_by_host: list[list[bytes]] = [[]]
        self.said_by_stick: list[list[bytes]] = [[]]
        self.heard_by_stick: list[bytes] = []
        self.reset()

    # -- the two ends --------------------------------------------------------------------------

    def payload(self) -> bytes:
        """Unlike any before it, and with octets that must be stuffed."""
        self.numbers += 1
        return bytes((0x7E, 0x11, 0x7D)) + self.numbers.to_bytes(2, "big")

    def write(self) -> None:
        out, self.host.out = self.host.out, b""
        self.wires["to stick"].put(out)
        self.wires["to host"].put(self.ncp.data_to_send())

    def arrive(self, way: str, octets: bytes) -> None:
        if way == "to host":
            self.host.receive(octets, self.now)
        else:
            for item in self.ncp.receive_data(octets, self.now):
                if isinstance(item, ResetRequest):
                    self.booted_at = self.now + BOOT_S
                else:
                    self.heard_by_stick.append(item)
        self.write()

    @rule()
    def reset(self) -> None:
        self.host.reset(self.now)
        self.said_by_host.append([])
        self.wires["to stick"].frames.clear()
        self.write()

    @rule()
    def host_speaks(self) -> None:
        if self.host.is_connected and len(self.host.queue) < 20:
            payload = self.payload()
            self.said_by_host[-1].append(payload)
            self.host.send(payload, self.now)
            self.write()

    @rule()
    def stick_speaks(self) -> None:
        if self.ncp.state is State.CONNECTED and self.ncp.room > 100:
            payload = self.payload()
            self.said_by_stick[-1].append(payload)
            self.ncp.send(payload, self.now)
            self.write()

    @rule(seconds=st.sampled_from([0.001, 0.03, 0.4, 1.7, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.booted_at is not None and self.now >= self.booted_at:
            self.booted_at = None
            self.said_by_stick.append([])
            self.heard_by_stick.clear()
            self.ncp.reset(0x0B, self.now)
        self.ncp.handle_timeout(self.now)
        self.host.tick(self.now)
        self.write()

    # -- the line ------------------------------------------------------------------------------

    @rule(way=ways, ahead=st.integers(0, 4), pieces=st.integers(1, 3))
    def a_frame_arrives(self, way: str, ahead: int, pieces: int) -> None:
        wire = self.wires[way]
        if wire.frames:
            octets = wire.take(ahead)
            size = -(-len(octets) // pieces)
            for at in range(0, len(octets), size):
                self.arrive(way, octets[at : at + size])

    @rule(count=st.integers(2, 12))
    def all_is_well_for_a_while(self, count: int) -> None:
        for _ in range(count):
            for way, wire in self.wires.items():
                if wire.frames:
                    self.arrive(way, wire.take())
            self.time_passes(0.03)

    @precondition(lambda self: any(wire.frames for wire in self.wires.values()))
    @rule(
        way=ways,
        kind=st.sampled_from(["lose", "repeat", "spoil"]),
        at=st.integers(0, 300),
        octets=st.binary(max_size=4),
        cut=st.integers(0, 4),
    )
    def the_line_interferes(self, way: str, kind: str, at: int, octets: bytes, cut: int) -> None:
        wire = self.wires[way]
        if not wire.frames:
            return
        if kind == "lose":
            wire.lose()
        elif kind == "repeat":
            wire.repeat()
        else:
            wire.spoil(at, octets, cut)

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def what_arrived_is_in_order_and_once(self) -> None:
        for heard, sessions in (
            (self.host.heard, self.said_by_stick),
            (self.heard_by_stick, self.said_by_host),
        ):
            assert any(heard == said[: len(heard)] for said in sessions), (heard, sessions)

    def teardown(self) -> None:
        """A clean line again: what was said arrives, or it is known that it will not."""
        for _ in range(200):
            self.all_is_well_for_a_while(2)
            if self.host.failure is not None:
                return
        assert self.host.is_connected
        assert self.heard_by_stick == self.said_by_host[-1]
        assert self.host.heard == self.said_by_stick[-1]
        assert not self.ncp.queued
        assert not self.host.queue


BadLine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestBadLine = BadLine.TestCase


# -- bellows at the other end ----------------------------------------------------------------


class BellowsOnABadLine:
    """bellows' own half of ASH, and our stick's, on the same two wires; chance does the rest."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.loop = asyncio.get_running_loop()
        self.ncp = AshNcp(window=1 + seed % NCP_WINDOW)
        self.to_stick, self.to_host = Direction(1), Direction(NCP_WINDOW)
        self.is_bad = False
        self.calm = 0
        self.interfered = 0
        self.said: list[bytes] = []
        self.heard_by_host: list[bytes] = []
        self.heard_by_stick: list[bytes] = []
        self.failures: list[object] = []
        self.was_reset = asyncio.Event()
        self.host = AshProtocol(self)
        self.host.connection_made(self)

    # What bellows calls: its transport, and what stands above it.

    def connection_made(self, protocol: object) -> None: ...

    def write(self, octets: bytes) -> None:
        self.to_stick.put(bytes(octets).lstrip(b"\x1a"))

    def is_closing(self) -> bool:
        return False

    def data_received(self, payload: bytes) -> None:
        self.heard_by_host.append(payload)

    def reset_received(self, _code: int) -> None:
        self.was_reset.set()

    def error_received(self, code: object) -> None:
        self.failures.append(code)

    # The line and the stick, a turn every millisecond.

    async def turn(self) -> None:
        await asyncio.sleep(0.001)
        for wire in (self.to_stick, self.to_host):
            if not wire.frames or self.random.random() < 0.3:
                continue
            if self.is_bad:
                self._interfere(wire)
            if wire.frames:
                octets = wire.take(self.random.randrange(3) if self.is_bad else 0)
                if wire is self.to_host:
                    self.host.data_received(octets)
                else:
                    self._stick_hears(octets)
        self.ncp.handle_timeout(self.loop.time())
        self.to_host.put(self.ncp.data_to_send())

    def _interfere(self, wire: Direction) -> None:
        # An end gives up after five times, so some frames pass after each that did not.
        self.calm -= 1
        if self.calm >= 0 or self.random.random() < 0.6:
            return
        self.calm = 8
        self.interfered += 1
        kind = self.random.randrange(4)
        if kind == 0:
            wire.lose()
        elif kind == 1:
            wire.repeat()
        else:
            octets = self.random.randbytes(self.random.randrange(4))
            wire.spoil(self.random.randrange(300), octets, self.random.randrange(4))

    def _stick_hears(self, octets: bytes) -> None:
        for item in self.ncp.receive_data(octets, self.loop.time()):
            if isinstance(item, ResetRequest):
                self.ncp.reset(0x0B, self.loop.time())
                continue
            self.heard_by_stick.append(item)
            for number in range(self.random.randrange(4)):
                payload = item[:2] + bytes((0x90, number)) + self.random.randbytes(9)
                self.said.append(payload)
                self.ncp.send(payload, self.loop.time())


@pytest.mark.parametrize("seed", range(10))
def test_bellows_hears_all_of_it_in_order_on_a_line_that_reorders_too(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr("bellows.ash.time", SimpleNamespace(monotonic=loop.time))
        line = BellowsOnABadLine(seed)
        line.host.send_reset()
        while not line.was_reset.is_set():
            await line.turn()
        line.is_bad = True
        commands = [number.to_bytes(2, "big") + b"\x7e\x11\x18" for number in range(60)]
        for command in commands:
            sending = asyncio.ensure_future(line.host.send_data(command))
            while not sending.done() or line.ncp.room < 100:
                await line.turn()
            sending.result()
        while line.ncp.queued:
            await line.turn()
        assert line.heard_by_stick == commands
        assert line.heard_by_host == line.said
        assert line.failures == []
        assert line.interfered > 20

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(talk())


def test_a_spoilt_frame_never_becomes_another_good_one() -> None:
    """The rig's own promise, without which the machine would blame ASH for its CRC."""
    chance = random.Random(1)
    for _ in range(2_000):
        wire = Direction(1)
        frames = [build_frame(bytes((0x80 | chance.randrange(8),))) for _ in range(2)]
        wire.put(b"".join(frames))
        wire.spoil(chance.randrange(9), chance.randbytes(2), chance.randrange(3))
        good = [body for frame in frames for body in bodies(frame)]
        octets = b"".join(frame.octets for frame in wire.frames)
        assert all(body in good for body in bodies(octets))
