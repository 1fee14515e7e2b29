"""Faults of the air: as frequent as asked, on the links asked, and told of in the capture."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import sqrt

import pytest
from air_support import HeapClock

from emulator.medium.air import MAX_LATE_FRAMES, Medium, Transceiver
from emulator.medium.faults import (
    AckLoss,
    AirFault,
    AirFaultError,
    BurstLoss,
    Damage,
    Delay,
    Duplicate,
    Interference,
    Loss,
    RadioOff,
)
from emulator.medium.timing import air_us
from emulator.zigbee import mac

FRAME = bytes(range(100))
ACK = mac.ACKS[7]
GAP_US = 10_000


class Place:
    """Three radios that note what they hear, and when."""

    def __init__(self, *faults: AirFault, seed: int = 1) -> None:
        self.clock = HeapClock()
        self.random = random.Random(seed)
        self.captured: list[tuple[int, bytes, str]] = []
        self.medium = Medium(
            self.clock, self.random.getrandbits, faults=faults, capture=self._capture
        )
        self.heard: dict[str, list[tuple[int, bytes]]] = {}
        self.radios = {name: self.add(name) for name in ("hub", "bridge", "ppmid")}

    def add(self, name: str) -> Transceiver:
        heard = self.heard[name] = []
        radio = self.medium.attach(name, lambda psdu: heard.append((self.clock.now_us(), psdu)))
        radio.channel = 15
        return radio

    def _capture(self, start_us: int, _channel: int, psdu: bytes, comment: str) -> None:
        self.captured.append((start_us, psdu, comment))

    def send(self, name: str = "hub", psdu: bytes = FRAME) -> int:
        return self.radios[name].transmit(psdu, self.clock.now_us())

    def send_many(self, count: int, name: str = "hub", psdu: bytes = FRAME) -> None:
        begin_us = self.clock.now_us()
        for number in range(count):
            self.clock.call_at_us(begin_us + number * GAP_US, self.send, name, psdu)
        self.clock.run_for(count * GAP_US / 1e6 + 1)

    def count(self, name: str) -> int:
        return len(self.heard[name])

    def comments(self) -> list[str]:
        return [comment for _, _, comment in self.captured]


def near(count: int, frames: int, probability: float) -> bool:
    """Within 4.5 standard deviations of a binomial: one seed in 150 000 would fail by itself."""
    return abs(count - frames * probability) <= 4.5 * sqrt(frames * probability * (1 - probability))


# -- how often ---------------------------------------------------------------------------------

FRAMES = 4000


@pytest.mark.parametrize(
    "fault",
    [
        Loss(0.5, words="this"),
        BurstLoss(0.5, words="this"),
        Damage(0.5, words="this"),
        Duplicate(0.5, words="this"),
        Delay(0.5, words="this"),
        Interference(15, 0, 3_000_000, words="this"),
        RadioOff("bridge", 0, 3_000_000, words="this"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_fault_is_counted_each_time_it_is_told_of_in_the_capture(fault: AirFault) -> None:
    place = Place(fault)
    place.send_many(200)
    place.clock.run_for(3)
    told = sum(comment.count(": this") for comment in place.comments())
    assert place.medium.struck == {"this": told}
    assert told > 50


def test_losses_on_one_link_are_one_draw_and_each_is_counted_for_its_own_share() -> None:
    place = Place(Loss(0.2, words="this"), Loss(0.5, words="another"), Loss(0.0, words="none"))
    place.send_many(FRAMES)
    struck = place.medium.struck
    assert near(struck["this"], 2 * FRAMES, 0.2)
    assert near(struck["another"], 2 * FRAMES, 0.8 * 0.5)
    assert struck["none"] == 0
    assert struck.total() == 2 * FRAMES - place.count("bridge") - place.count("ppmid")


@pytest.mark.parametrize("probability", [0.01, 0.2, 0.6])
def test_a_one_way_loss_spares_the_way_back_and_everybody_else(probability: float) -> None:
    place = Place(Loss(probability, sender="hub", listener="bridge"))
    place.send_many(FRAMES)
    place.send_many(FRAMES, "bridge")
    assert near(place.count("bridge"), FRAMES, 1 - probability)
    assert place.count("hub") == FRAMES
    assert place.count("ppmid") == 2 * FRAMES


def test_only_acknowledgements_are_lost_where_only_they_shall_be() -> None:
    place = Place(AckLoss(0.3))
    place.send_many(FRAMES, psdu=ACK)
    assert near(place.count("bridge"), FRAMES, 0.7)
    place.heard["bridge"].clear()
    place.send_many(FRAMES)
    assert place.count("bridge") == FRAMES


@pytest.mark.parametrize(("probability", "burst"), [(0.2, 8), (0.2, 50), (0.5, 3), (0.05, 1)])
def test_bursts_are_as_long_and_as_frequent_as_asked(probability: float, burst: float) -> None:
    frames = 15_000
    place = Place(BurstLoss(probability, listener="bridge", burst_frames=burst))
    place.send_many(frames)
    lost = ["lost" in comment for comment in place.comments()]
    lengths = []
    run = 0
    for one in [*lost, False]:
        if one:
            run += 1
        elif run:
            lengths.append(run)
            run = 0
    # Bursts are geometric: their deviation is sqrt(B(B-1)), and that of their mean a root less.
    mean = sum(lengths) / len(lengths)
    assert abs(mean - burst) <= 4.5 * sqrt(burst * (burst - 1) / len(lengths))
    # The losses of a chain are correlated: their variance is (1 + c) / (1 - c) of independent ones.
    correlation = 1 - 1 / burst - probability / (burst * (1 - probability))
    spread = sqrt(frames * probability * (1 - probability) * (1 + correlation) / (1 - correlation))
    assert abs(sum(lost) - frames * probability) <= 4.5 * spread
    assert place.count("bridge") == frames - sum(lost)
    assert place.count("ppmid") == frames


def test_every_link_has_bursts_of_its_own_and_they_outlive_a_restart() -> None:
    place = Place(BurstLoss(0.5, burst_frames=1_000))
    place.send_many(2_000)
    assert place.count("bridge") != place.count("ppmid")
    place = Place(BurstLoss(1.0))
    place.medium.detach(place.radios["bridge"])
    place.radios["bridge"] = place.add("bridge")
    place.send_many(10)
    assert place.count("bridge") == 0


def test_a_damaged_frame_has_one_bit_wrong_and_fails_its_fcs() -> None:
    place = Place(Damage(0.25, "bridge"))
    frame = mac.build(mac.parse(beacon_request()))
    place.send_many(FRAMES, psdu=frame)
    wrong = [psdu for _, psdu in place.heard["bridge"] if psdu != frame]
    assert near(len(wrong), FRAMES, 0.25)
    assert place.count("bridge") == FRAMES
    for psdu in wrong:
        difference = int.from_bytes(psdu, "big") ^ int.from_bytes(frame, "big")
        assert difference.bit_count() == 1
        with pytest.raises(mac.MacError):
            mac.parse(psdu)
    assert len(set(wrong)) == 8 * len(frame)  # every bit had its turn


def beacon_request() -> bytes:
    return bytes.fromhex("03 08 01 FF FF FF FF 07") + mac.fcs(
        bytes.fromhex("03 08 01 FF FF FF FF 07")
    )


def test_a_duplicate_comes_later_and_a_delayed_frame_only_then() -> None:
    place = Place(Duplicate(1.0, listener="bridge", by_us=7_000), Delay(1.0, by_us=20_000))
    end_us = place.send()
    place.clock.run_for(1)
    assert place.heard["bridge"] == [(end_us, FRAME), (end_us + 7_000, FRAME)]
    assert place.heard["ppmid"] == [(end_us + 20_000, FRAME)]
    assert place.comments() == ["heard twice at bridge: duplicate; heard late at ppmid: delay"]


@pytest.mark.parametrize("kind", [Duplicate, Delay])
def test_duplicates_and_delays_are_as_frequent_as_asked(kind: Callable[..., AirFault]) -> None:
    place = Place(kind(0.1, "bridge", by_us=1_000))
    place.send_many(FRAMES)
    assert near(sum(map(bool, place.comments())), FRAMES, 0.1)
    assert place.count("ppmid") == FRAMES


def test_late_frames_do_not_pile_up_without_end() -> None:
    place = Place(Delay(1.0, listener="bridge", by_us=60_000_000))
    place.send_many(2 * MAX_LATE_FRAMES)
    assert place.medium._late_frames == MAX_LATE_FRAMES
    place.clock.run_for(120)
    assert place.count("bridge") == MAX_LATE_FRAMES
    assert place.medium._late_frames == 0


def test_the_first_fault_that_strikes_is_the_only_one() -> None:
    place = Place(Damage(1.0), Duplicate(1.0))
    place.send()
    place.clock.run_for(1)
    assert place.count("bridge") == 1
    assert place.comments() == ["damaged at bridge: damage; damaged at ppmid: damage"]


# -- when --------------------------------------------------------------------------------------


def test_a_fault_holds_only_in_its_time() -> None:
    place = Place(Loss(1.0, start_us=2 * GAP_US, end_us=5 * GAP_US))
    place.send_many(8)
    assert [bool(comment) for comment in place.comments()] == [False] * 2 + [True] * 3 + [False] * 3
    assert place.count("bridge") == 5


def test_a_radio_that_is_off_neither_sends_nor_hears_and_is_back_afterwards() -> None:
    place = Place(RadioOff("bridge", start_us=GAP_US, end_us=2 * GAP_US))
    place.clock.call_at_us(GAP_US, place.send, "bridge")
    place.clock.call_at_us(GAP_US + 100, lambda: busy.append(place.radios["ppmid"].channel_busy()))
    busy: list[bool] = []
    place.send_many(1)
    assert place.count("hub") == 0
    assert busy == [False]
    assert place.comments() == ["", "not sent: radio off on bridge"]
    place = Place(RadioOff("bridge", start_us=GAP_US, end_us=2 * GAP_US))
    place.send_many(3)
    assert place.comments() == ["", "not heard by bridge: radio off on bridge", ""]
    assert (place.count("bridge"), place.count("ppmid")) == (2, 3)


def test_interference_keeps_the_channel_busy_and_nothing_gets_through() -> None:
    place = Place(Interference(15, GAP_US, 2 * GAP_US, "interference here"))
    busy: dict[int, bool] = {}

    def look(at_us: int) -> None:
        busy[at_us] = place.radios["ppmid"].channel_busy()

    for at_us in (GAP_US - 1, GAP_US + 1, 2 * GAP_US, 2 * GAP_US + 200):
        place.clock.call_at_us(at_us, look, at_us)
    for start_us in (0, GAP_US - 100, GAP_US + 500, 2 * GAP_US + 4000):
        place.clock.call_at_us(start_us, place.send)
    place.clock.run_for(1)
    assert busy == {GAP_US - 1: True, GAP_US + 1: True, 2 * GAP_US: True, 2 * GAP_US + 200: False}
    lost = "lost at bridge: interference here; lost at ppmid: interference here"
    assert place.comments() == ["", lost, lost, ""]


def test_interference_on_one_channel_leaves_another_alone() -> None:
    place = Place(Interference(15))
    for radio in place.radios.values():
        radio.channel = 20
    place.send_many(3)
    assert place.count("bridge") == 3
    everywhere = Place(Interference())
    for radio in everywhere.radios.values():
        radio.channel = 20
    everywhere.send_many(3)
    assert everywhere.count("bridge") == 0


def test_endless_interference_costs_no_memory_and_ends_when_it_is_taken_away() -> None:
    place = Place(Interference(15))
    place.send_many(1000)
    assert place.count("bridge") == 0
    assert len(place.medium._recent) <= 16
    assert all(not one.disturbed_by for one in place.medium._recent if not one.psdu)
    place.medium.set_faults(())
    place.send_many(3)
    assert place.count("bridge") == 3
    assert not place.radios["ppmid"].channel_busy()


def test_faults_taken_away_leave_an_air_as_if_there_had_never_been_one() -> None:
    place = Place(Loss(1.0))
    place.send()
    place.medium.set_faults(())
    place.clock.run_for(GAP_US / 1e6)
    place.send_many(3)
    assert place.medium._held is None
    assert place.count("bridge") == 4  # the first one was not over yet
    assert place.comments() == ["", "", "", ""]


# -- what is told ------------------------------------------------------------------------------


def test_a_capture_is_in_the_order_of_the_starts_whatever_ends_first() -> None:
    place = Place(Loss(0.0))
    long_end_us = place.send()
    place.clock.call_at_us(100, place.send, "bridge", ACK)
    place.clock.run_for((long_end_us - 1) / 1e6)
    assert place.captured == []
    place.clock.run_for(1)
    assert [(start_us, psdu) for start_us, psdu, _ in place.captured] == [(0, FRAME), (100, ACK)]


def test_what_is_under_way_at_the_end_is_in_the_capture() -> None:
    place = Place(Loss(1.0))
    place.send()
    place.medium.close()
    assert place.captured == [(0, FRAME, "")]


def test_equal_seeds_lose_and_damage_the_same_frames() -> None:
    def run(seed: int) -> list[tuple[int, bytes, str]]:
        place = Place(Loss(0.1), Damage(0.1), Duplicate(0.1), BurstLoss(0.1), seed=seed)
        place.send_many(300)
        return place.captured

    assert run(3) == run(3)
    assert run(3) != run(4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Loss(1.5),
        lambda: Damage(float("nan")),
        lambda: BurstLoss(0.99, burst_frames=8),
        lambda: BurstLoss(0.1, burst_frames=0.5),
        lambda: Delay(0.1, by_us=10),
        lambda: Duplicate(0.1, by_us=61_000_000),
    ],
)
def test_a_fault_that_cannot_be_is_refused(make: Callable[[], AirFault]) -> None:
    with pytest.raises(AirFaultError):
        make()


def test_a_frame_on_the_air_takes_its_time_with_faults_as_without() -> None:
    place = Place(Loss(0.0))
    assert place.send() == air_us(len(FRAME))
