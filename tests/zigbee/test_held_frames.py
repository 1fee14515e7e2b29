"""Frames held for a sleeper, octet by octet, time by time; the sleeper's receiver and polls."""

from __future__ import annotations

from air_support import HeapClock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_mac_link import BRIDGE, HUB, PPMID, Link, LinkedAir

from emulator.medium.timing import MAX_FRAME_TOTAL_WAIT_US
from emulator.zigbee import mac
from emulator.zigbee.held_frames import (
    MAX_HELD_PER_CHILD,
    TRANSACTION_PERSISTENCE_US,
    HeldFrame,
    HeldFrames,
    SendResult,
)


class Home(LinkedAir):
    """A parent and its sleeper, each heard by the other."""

    def __init__(self) -> None:
        super().__init__()
        self.parent = Link(self, HUB)
        self.sleeper = Link(self, BRIDGE)
        self.parent.link.sleepers.add(BRIDGE)
        self.sleeper.link.sleeps = True
        self.polled: list[tuple[SendResult, bool]] = []

    def poll(self) -> None:
        self.sleeper.link.poll(HUB, lambda *told: self.polled.append(told))
        self.clock.run_for(0.2)

    def data(self) -> list[bytes]:
        return [psdu for _, psdu in self.frames if psdu[0] & 7 == mac.TYPE_DATA]


def test_a_held_frame_goes_out_once_for_each_poll_until_it_is_acknowledged() -> None:
    home = Home()
    home.parent.send(BRIDGE, b"held")
    home.poll()
    assert home.polled == [(SendResult.OK, False)]
    assert home.sleeper.received == [(b"held", HUB, BRIDGE)]
    assert home.parent.results == [SendResult.OK]
    # The next one's acknowledgement is lost: the sleeper asks, and is out of hearing at once.
    home.parent.send(BRIDGE, b"again")
    home.sleeper.link.poll(HUB, lambda *told: home.polled.append(told))
    home.clock.run_until(lambda: len(home.data()) == 2, 1)
    home.sleeper.link.channel = None
    home.clock.run_for(1)
    assert len(home.data()) == 2  # not sent again by itself
    assert home.parent.results == [SendResult.OK]
    home.sleeper.link.channel = 15
    home.poll()
    assert home.parent.results == [SendResult.OK, SendResult.OK]
    assert home.data()[1] == home.data()[2]  # with the same sequence number
    assert home.sleeper.received[-1] == (b"again", HUB, BRIDGE)


def test_a_frame_whose_time_is_up_while_it_is_sent_expires_when_it_is_not_acknowledged() -> None:
    home = Home()
    home.parent.send(BRIDGE, b"late")
    home.clock.run_for(TRANSACTION_PERSISTENCE_US / 1e6 - 0.0025)
    home.sleeper.link.poll(HUB, lambda *told: home.polled.append(told))
    home.clock.run_until(lambda: len(home.data()) == 1, 1)
    home.sleeper.link.channel = None
    home.clock.run_for(1)
    assert home.parent.results == [SendResult.EXPIRED]
    home.sleeper.link.channel = 15
    home.poll()
    assert home.sleeper.received == []


def test_a_sleeper_is_deaf_but_for_what_it_sends_and_asks_for() -> None:
    home = Home()
    other = Link(home, PPMID)
    other.send(BRIDGE, b"unasked")
    home.clock.run_for(1)
    assert other.results == [SendResult.NO_ACK]
    assert home.sleeper.received == []
    home.sleeper.send(HUB, b"awake for its acknowledgement")
    home.clock.run_for(1)
    assert home.sleeper.results == [SendResult.OK]
    home.sleeper.link.sleeps = False
    other.send(BRIDGE, b"always on")
    home.clock.run_for(1)
    assert home.sleeper.received == [(b"always on", PPMID, BRIDGE)]


def test_a_poll_says_what_came_of_it() -> None:
    home = Home()
    home.poll()
    assert home.polled == [(SendResult.EXPIRED, False)]
    for payload in (b"one", b"two"):
        home.parent.send(BRIDGE, payload)
    home.poll()
    assert home.polled[-1] == (SendResult.OK, True)
    home.poll()
    assert home.polled[-1] == (SendResult.OK, False)
    home.parent.link.channel = None
    home.poll()
    assert home.polled[-1] == (SendResult.NO_ACK, False)
    assert not home.sleeper.link.is_polling


def test_what_was_said_to_follow_and_does_not_is_waited_for_so_long_and_no_longer() -> None:
    home = Home()
    home.parent.link.on_poll = lambda _: True
    home.sleeper.link.poll(HUB, lambda *told: home.polled.append(told))
    home.clock.run_until(lambda: len(home.frames) == 2, 1)  # its Data Request is acknowledged
    begun_us = home.clock.now_us()
    home.clock.run_until(lambda: bool(home.polled), 1)
    assert home.polled == [(SendResult.EXPIRED, False)]
    waited_us = home.clock.now_us() - begun_us
    assert MAX_FRAME_TOTAL_WAIT_US <= waited_us < MAX_FRAME_TOTAL_WAIT_US + 1000


def test_a_child_let_go_hears_nothing_of_what_was_held_for_it() -> None:
    home = Home()
    home.parent.send(BRIDGE, b"held")
    home.parent.link.forget_children()
    assert home.parent.results == [SendResult.EXPIRED]
    home.poll()
    assert home.sleeper.received == []
    home.parent.link.sleepers.add(BRIDGE)
    home.parent.send(BRIDGE, b"held")
    home.parent.link.close()
    home.clock.run_for(10)
    assert home.parent.results == [SendResult.EXPIRED]


class Holding(RuleBasedStateMachine):
    """Whatever happens to them, held frames are bounded, end once, and leave in order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HeapClock()
        self.held = HeldFrames(self.clock)
        self.ended: dict[int, SendResult] = {}
        self.under_way: dict[int, HeldFrame] = {}
        self.asked: list[int] = []
        self.taken: dict[int, list[int]] = {0: [], 1: []}

    @rule(child=st.integers(0, 1))
    def hold(self, child: int) -> None:
        number = len(self.asked)
        self.asked.append(child)

        def done(result: SendResult) -> None:
            assert number not in self.ended
            self.ended[number] = result

        self.held.hold(HeldFrame(child, number.to_bytes(2, "big"), 0, done))

    @rule(child=st.integers(0, 1))
    def take(self, child: int) -> None:
        taken = self.held.take(child)
        if child in self.under_way:
            assert taken is None
        elif taken is not None:
            self.under_way[child] = taken[0]
            number = int.from_bytes(taken[0].octets, "big")
            assert self.asked[number] == child
            if self.taken[child]:
                assert number >= self.taken[child][-1]
            self.taken[child].append(number)

    @rule(child=st.integers(0, 1), ok=st.booleans())
    def sent(self, child: int, ok: bool) -> None:
        frame = self.under_way.pop(child, None)
        if frame is not None:
            self.held.sent(frame, SendResult.OK if ok else SendResult.NO_ACK)

    @rule(child=st.integers(0, 1))
    def drop(self, child: int) -> None:
        frame = self.under_way.pop(child, None)
        self.held.drop(child)
        if frame is not None:
            self.held.sent(frame, SendResult.OK)  # which changes nothing any more

    @rule(seconds=st.sampled_from([0.0, 1.0, 8.0]))
    def wait(self, seconds: float) -> None:
        self.clock.run_for(seconds)

    @invariant()
    def bounded(self) -> None:
        for child in (0, 1):
            assert self.held.count(child) <= MAX_HELD_PER_CHILD

    def teardown(self) -> None:
        for child in (0, 1):
            self.sent(child, False)
        self.clock.run_for(20)
        assert len(self.ended) == len(self.asked)
        assert self.held.count(0) == self.held.count(1) == 0


TestHolding = Holding.TestCase
TestHolding.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
