"""A whole stick behind its line: what a host sees that resets it, floods it, or goes away."""

from __future__ import annotations

from typing import Any

import pytest
from air_support import CHANNEL, Air
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.ncp.ash import MAX_PAYLOAD_BYTES, PSEUDO_RANDOM, build_data, build_frame, unstuff
from emulator.ncp.ncp import Ncp
from emulator.zigbee.events import NodeType, StackStatus, Status
from emulator.zigbee.state import Network, StackState

EUI64 = 0x02484E4200000001
RST = build_frame(b"\xc0")
NOP = bytes.fromhex("00 01 05 00")
versions = pytest.mark.parametrize("version", [13, 14])


class Host:
    """A serial port with a stick on it; it acknowledges what it reads unless told otherwise."""

    def __init__(self, version: int = 14, state: StackState | None = None) -> None:
        self.air = Air()
        self.stored: list[str] = []
        self.stick = Ncp(
            "stick",
            (state or StackState(EUI64)).to_json(),
            self.air.medium,
            self.air.clock,
            self.air.random.getrandbits,
            ezsp_version=version,
            on_store=self.stored.append,
        )
        self.wire = b""
        self.heard: list[bytes] = []  # EZSP frames
        self.resets = 0
        self.acknowledges = True
        self._sequence = 0
        self._expected = 0
        self.stick.host_connected(self.write)

    def write(self, data: bytes) -> None:
        self.wire += data

    def pump(self) -> None:
        """Read what came; acknowledge it."""
        *frames, self.wire = self.wire.split(b"\x7e")
        for frame in frames:
            plain = unstuff(frame[frame.rfind(b"\x1a") + 1 :])
            if plain[0] == 0xC1:
                self.resets += 1
                self._sequence = self._expected = 0
            elif plain[0] < 0x80 and plain[0] >> 4 == self._expected:
                body = bytes(a ^ b for a, b in zip(plain[1:-2], PSEUDO_RANDOM, strict=False))
                self.heard.append(body)
                self._expected = self._expected + 1 & 7
        if frames and self.acknowledges:
            self.stick.data_received(build_frame(bytes((0x80 | self._expected,))))

    def reset(self) -> None:
        resets = self.resets
        self.stick.data_received(b"\x1a" + RST)
        self.air.clock.run_for(1)
        self.pump()
        assert self.resets == resets + 1

    def send(self, frame: bytes) -> None:
        self.stick.data_received(build_data(self._sequence << 4 | self._expected, frame))
        self._sequence = self._sequence + 1 & 7

    def run(self, seconds: float = 1.0) -> None:
        for _ in range(round(seconds * 10)):
            self.pump()
            self.air.clock.run_for(0.1)
        self.pump()


def network() -> Network:
    return Network(0x1A62, 0x1234, CHANNEL, NodeType.COORDINATOR, 0, bytes(range(16)))


def test_a_stick_says_nothing_before_it_is_reset() -> None:
    host = Host()
    host.send(b"\1" + NOP)
    host.run()
    assert host.heard == []
    host.reset()
    host.send(b"\1" + NOP)
    host.run()
    assert host.heard == [bytes.fromhex("01 80 01 05 00")]


def test_a_host_never_gets_a_callback_while_it_waits_for_an_answer() -> None:
    # energy scan: each channel is a callback; the answer to startScan comes before any of them
    host = Host()
    host.reset()
    host.send(bytes.fromhex("09 00 01 1A 00 00 00 80 00 00 00"))
    host.run(1)
    assert [frame[1] for frame in host.heard] == [0x80, 0x90, 0x90]
    assert {frame[0] for frame in host.heard} == {9}


def test_a_callback_from_inside_a_command_waits_for_its_answer() -> None:
    host = Host(state=StackState(EUI64, network=network()))
    host.reset()
    receive = host.stick._answer

    def tell_first(frame: bytes) -> bytes | None:
        host.stick.stack.on_event(StackStatus(Status.NETWORK_UP))
        return receive(frame)

    host.stick._answer = tell_first
    host.send(b"\x21" + NOP)
    host.run()
    assert [frame[1] for frame in host.heard] == [0x80, 0x90]


def test_a_host_that_never_acknowledges_does_not_break_the_stick() -> None:
    host = Host()
    host.reset()
    host.acknowledges = False
    for number in range(300):
        host.send(bytes((number & 0xFF,)) + NOP)
    host.run(20)
    host.acknowledges = True
    host.reset()
    host.heard.clear()
    host.send(b"\1" + NOP)
    host.run()
    assert host.heard == [bytes.fromhex("01 80 01 05 00")]


@versions
def test_the_longest_value_a_host_sets_can_be_read_without_breaking_the_link(version: int) -> None:
    host = Host(version)
    host.reset()
    for length in range(MAX_PAYLOAD_BYTES - 12, MAX_PAYLOAD_BYTES - 6):
        value = bytes((length,)) + bytes(length)
        host.send(bytes.fromhex("01 00 01 AB 00 15") + value)
        host.run(0.2)
        host.send(bytes.fromhex("02 00 01 AA 00 15"))
        host.run(0.2)
    assert len(host.heard) == 12
    assert all(frame[1] == 0x80 for frame in host.heard)


def test_the_network_outlives_a_reset_and_the_endpoints_do_not() -> None:
    host = Host(state=StackState(EUI64, network=network()))
    host.reset()
    host.send(bytes.fromhex("01 00 01 17 00 00 00"))  # networkInit
    host.run()
    assert host.heard[-1] == bytes.fromhex("01 90 01 19 00 15 00 00 00")
    host.send(bytes.fromhex("02 00 01 02 00 01 09 01 00 05 00 00 00"))  # addEndpoint
    host.run()
    assert list(host.stick.stack.endpoints) == [1]
    host.reset()
    assert host.stick.stack.endpoints == {}
    host.send(bytes.fromhex("03 00 01 18 00"))
    host.run()
    assert host.heard[-1] == bytes.fromhex("03 80 01 18 00 00")
    host.send(bytes.fromhex("04 00 01 17 00 00 00"))
    host.run()
    assert host.heard[-1] == bytes.fromhex("04 90 01 19 00 15 00 00 00")


def test_what_the_stick_stores_is_told_before_anything_goes_on_the_air() -> None:
    host = Host(state=StackState(EUI64, network=network()))
    host.reset()
    host.send(bytes.fromhex("01 00 01 17 00 00 00"))
    host.run()
    frames = len(host.air.frames)
    stored = len(host.stored)
    host.stick.stack.aps.send_device_announce(b"x")
    assert len(host.stored) == stored + 1  # the counters are reserved
    assert len(host.air.frames) == frames  # the radio has not begun
    assert StackState.from_json(host.stored[-1]).nwk_counter > 0


def test_a_host_that_goes_and_comes_back_finds_the_stick_as_it_left_it() -> None:
    host = Host(state=StackState(EUI64, network=network()))
    host.reset()
    host.send(bytes.fromhex("01 00 01 17 00 00 00"))
    host.run()
    host.stick.host_disconnected()
    host.air.clock.run_for(5)
    assert host.stick.stack.is_up
    host.stick.host_connected(host.write)
    host.reset()
    assert not host.stick.stack.is_up


def test_a_second_rst_during_the_start_is_answered_once() -> None:
    host = Host()
    host.stick.data_received(RST)
    host.stick.data_received(RST)
    host.run()
    assert host.resets == 1


@settings(max_examples=200, deadline=None)
@given(chunks=st.lists(st.binary(max_size=300), max_size=10))
def test_noise_on_the_line_never_raises(chunks: list[bytes]) -> None:
    host = Host()
    host.reset()
    for chunk in chunks:
        host.stick.data_received(chunk)
    host.stick.data_received(b"\x7e")
    host.reset()
    host.heard.clear()
    host.send(b"\1" + NOP)
    host.run()
    assert host.heard == [bytes.fromhex("01 80 01 05 00")]


_frames = st.lists(
    st.builds(
        lambda frame_id, body: bytes((1, 0, 1, frame_id, 0)) + body,
        st.integers(0, 255),
        st.binary(max_size=200),
    ),
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(version=st.sampled_from([13, 14]), frames=_frames)
def test_no_frame_a_host_can_send_breaks_the_line(version: int, frames: list[bytes]) -> None:
    host: Any = Host(version)
    host.reset()
    for frame in frames:
        host.send(frame)
        host.run(0.2)
    host.send(b"\1" + NOP)
    host.run(0.3)
    assert bytes.fromhex("01 80 01 05 00") in host.heard
