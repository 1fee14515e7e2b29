"""The air: who hears whom, what gets lost, and what two senders at once do to each other."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from air_support import HeapClock

from emulator.medium.air import Loss, Medium, Transceiver
from emulator.medium.faults import AirFault
from emulator.medium.timing import CCA_US, TURNAROUND_US, air_us

FRAME = bytes(range(100))
OTHER = bytes(100)


class Radio(NamedTuple):
    transceiver: Transceiver
    heard: list[bytes]


class Place:
    def __init__(self, *names: str, faults: tuple[AirFault, ...] = (), seed: int = 1) -> None:
        self.clock = HeapClock()
        self.captured: list[tuple[int, int, bytes, str]] = []
        self.medium = Medium(
            self.clock,
            random.Random(seed).getrandbits,
            faults=faults,
            capture=lambda *frame: self.captured.append(frame),
        )
        self.radios = {name: self.add(name) for name in names}

    def add(self, name: str, channel: int | None = 15) -> Radio:
        heard: list[bytes] = []
        transceiver = self.medium.attach(name, heard.append)
        transceiver.channel = channel
        return Radio(transceiver, heard)

    def send(self, name: str, psdu: bytes = FRAME, *, at_us: int | None = None) -> int:
        start_us = self.clock.now_us() if at_us is None else at_us
        return self.radios[name].transceiver.transmit(psdu, start_us)

    def heard(self, name: str) -> list[bytes]:
        return self.radios[name].heard

    def busy(self, name: str) -> bool:
        return self.radios[name].transceiver.channel_busy()

    def run(self, seconds: float = 1.0) -> None:
        self.clock.run_for(seconds)


def test_everyone_on_the_channel_hears_a_frame_at_its_last_octet_and_the_sender_does_not() -> None:
    place = Place("hub", "bridge", "ppmid")
    end_us = place.send("hub")
    assert end_us == air_us(100) == 3392
    place.run((end_us - 1) / 1e6)
    assert place.heard("bridge") == []
    place.run(1e-6)
    assert place.heard("bridge") == place.heard("ppmid") == [FRAME]
    assert place.heard("hub") == []
    assert place.captured == [(0, 15, FRAME, "")]


def test_two_frames_at_once_are_heard_by_nobody_but_both_are_in_the_capture() -> None:
    place = Place("hub", "bridge", "ppmid")
    end_us = place.send("hub")
    place.clock.call_at_us(end_us - 1, place.send, "bridge", OTHER)
    place.run()
    assert place.heard("ppmid") == place.heard("hub") == place.heard("bridge") == []
    assert [psdu for _, _, psdu, _ in place.captured] == [FRAME, OTHER]


def test_a_frame_that_starts_when_the_last_one_ends_is_heard() -> None:
    place = Place("hub", "bridge", "ppmid")
    end_us = place.send("hub")
    place.clock.call_at_us(end_us, place.send, "bridge", OTHER)
    place.run()
    assert place.heard("ppmid") == [FRAME, OTHER]


def test_a_third_frame_between_two_that_touch_destroys_both() -> None:
    place = Place("hub", "bridge", "ppmid", "cad")
    end_us = place.send("hub")
    place.clock.call_at_us(end_us, place.send, "bridge", OTHER)
    place.clock.call_at_us(end_us - 200, place.send, "cad", b"between" * 3)
    place.run()
    assert place.heard("ppmid") == []


def test_a_radio_that_sends_is_deaf_even_to_what_does_not_reach_anyone_else() -> None:
    place = Place("hub", "bridge", "ppmid")
    place.medium.separate("bridge", "ppmid")
    end_us = place.send("hub")
    place.clock.call_at_us(end_us // 2, place.send, "bridge", OTHER)
    place.run()
    assert place.heard("bridge") == []  # was sending itself
    assert place.heard("hub") == []
    assert place.heard("ppmid") == [FRAME]  # out of the disturber's reach


def test_a_hidden_node_destroys_a_frame_where_both_are_heard() -> None:
    place = Place("left", "middle", "right")
    place.medium.separate("left", "right")
    place.send("left")
    place.clock.call_at_us(1000, place.send, "right", OTHER)
    place.run(0.0015)
    assert not place.busy("left") or place.busy("middle")
    place.run()
    assert place.heard("middle") == []


def test_separated_nodes_hear_neither_frames_nor_carriers_of_each_other() -> None:
    place = Place("hub", "bridge", "ppmid")
    place.medium.separate("hub", "bridge")
    place.send("hub")
    place.run(0.001)
    assert not place.busy("bridge")
    assert place.busy("ppmid")
    place.run()
    assert place.heard("bridge") == []
    assert place.heard("ppmid") == [FRAME]
    place.send("bridge", OTHER)
    place.run()
    assert place.heard("hub") == []


def test_other_channels_neither_hear_nor_disturb_nor_look_busy() -> None:
    place = Place("hub", "bridge", "ppmid", "cad")
    for name in ("ppmid", "cad"):
        place.radios[name].transceiver.channel = 20
    place.send("hub")
    place.clock.call_at_us(500, place.send, "cad", OTHER)
    place.run(0.002)
    assert place.busy("bridge")
    assert place.busy("ppmid")  # with the other frame
    place.run()
    assert place.heard("bridge") == [FRAME]
    assert place.heard("ppmid") == [OTHER]
    assert {(channel, psdu) for _, channel, psdu, _ in place.captured} == {(15, FRAME), (20, OTHER)}


def test_a_radio_switched_off_hears_nothing_and_can_send_nothing() -> None:
    place = Place("hub", "bridge")
    place.radios["bridge"].transceiver.channel = None
    place.send("hub")
    place.run()
    assert place.heard("bridge") == []
    with pytest.raises(ValueError, match="bridge"):
        place.send("bridge")


@pytest.mark.parametrize("octets", [0, 128, 300])
def test_a_frame_no_radio_can_send_is_refused_and_not_captured(octets: int) -> None:
    place = Place("hub", "bridge")
    with pytest.raises(ValueError, match=str(octets)):
        place.send("hub", bytes(octets))
    place.run()
    assert place.captured == []
    assert place.heard("bridge") == []


def test_a_frame_is_sensed_from_its_start_to_one_cca_period_after_its_end() -> None:
    place = Place("hub", "bridge")
    end_us = place.send("hub", at_us=1000)
    seen = []
    for at_us in (999, 1000, 1001, end_us, end_us + CCA_US - 1, end_us + CCA_US):
        place.clock.call_at_us(at_us, lambda: seen.append(place.busy("bridge")))
    place.run()
    assert seen == [False, False, True, True, True, False]


@pytest.mark.parametrize("frames", range(1, 21))  # old ones are forgotten now and then
def test_a_frame_just_ended_is_sensed_though_another_is_about_to_start(frames: int) -> None:
    place = Place("hub", "bridge", "ppmid")
    for _ in range(frames):
        end_us = place.send("hub")
        place.run((end_us - place.clock.now_us()) / 1e6)
    place.run((CCA_US - 1) / 1e6)
    place.send("bridge", OTHER, at_us=place.clock.now_us() + TURNAROUND_US)
    assert place.busy("ppmid")


def test_a_frame_from_a_radio_taken_away_is_heard_to_its_end_and_no_more() -> None:
    place = Place("hub", "bridge")
    place.send("hub")
    place.run(0.001)
    transceiver = place.radios["hub"].transceiver
    place.medium.detach(transceiver)
    place.run()
    assert place.heard("bridge") == [FRAME]
    with pytest.raises(ValueError, match="hub"):
        place.send("hub")
    place.send("bridge", OTHER)
    place.run()
    assert place.heard("hub") == []


def test_a_radio_taken_away_in_the_middle_of_a_frame_does_not_hear_it() -> None:
    place = Place("hub", "bridge", "ppmid")
    place.send("hub")
    place.run(0.001)
    place.medium.detach(place.radios["bridge"].transceiver)
    place.run()
    assert place.heard("bridge") == []
    assert place.heard("ppmid") == [FRAME]


def test_a_name_is_free_again_only_when_its_radio_is_gone() -> None:
    place = Place("hub", "bridge")
    with pytest.raises(ValueError, match="'hub'"):
        place.add("hub")
    place.medium.detach(place.radios["hub"].transceiver)
    again = place.add("hub")
    place.send("bridge")
    place.run()
    assert again.heard == [FRAME]


def count_heard(losses: tuple[Loss, ...], frames: int = 4000, seed: int = 7) -> dict[str, int]:
    place = Place("hub", "bridge", "ppmid", faults=losses, seed=seed)
    for number in range(frames):
        place.clock.call_at_us(number * 10_000, place.send, "hub", FRAME)
    place.run(frames / 100 + 1)
    return {name: len(place.heard(name)) for name in ("bridge", "ppmid")}


def test_losses_are_as_frequent_as_asked_and_independent_at_each_listener() -> None:
    heard = count_heard((Loss(0.2),))
    deviation = (4000 * 0.2 * 0.8) ** 0.5
    for count in heard.values():
        assert abs(count - 3200) < 4 * deviation
    assert heard["bridge"] != heard["ppmid"]


def test_the_frames_lost_are_exactly_those_the_seed_says() -> None:
    place = Place("hub", "bridge", faults=(Loss(0.3),), seed=11)
    draws = random.Random(11)
    expected = []
    for number in range(200):
        psdu = bytes((number,)) * 10
        place.send("hub", psdu)
        place.run(0.01)
        if draws.getrandbits(32) >= round(0.3 * 2**32):
            expected.append(psdu)
    assert place.heard("bridge") == expected
    assert len(expected) < 200


def test_loss_on_one_node_spares_the_others_and_works_both_ways() -> None:
    heard = count_heard((Loss(1.0, node="bridge"),), frames=50)
    assert heard == {"bridge": 0, "ppmid": 50}
    place = Place("hub", "bridge", "ppmid", faults=(Loss(1.0, node="bridge"),))
    place.send("bridge")
    place.run()
    assert place.heard("hub") == place.heard("ppmid") == []


def test_losses_multiply_where_two_apply() -> None:
    heard = count_heard((Loss(0.5), Loss(0.5, node="bridge")))
    assert abs(heard["bridge"] - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5
    assert abs(heard["ppmid"] - 2000) < 4 * (4000 * 0.25) ** 0.5


def test_losses_set_later_count_from_the_next_frame_on() -> None:
    place = Place("hub", "bridge")
    place.medium.set_faults((Loss(1.0),))
    place.send("hub")
    place.run()
    assert place.heard("bridge") == []
    place.medium.set_faults(())
    place.send("hub")
    place.run()
    assert place.heard("bridge") == [FRAME]


def test_without_losses_no_chance_is_drawn() -> None:
    def forbidden(_bits: int) -> int:
        raise AssertionError("an air without losses has nothing to draw")

    clock = HeapClock()
    medium = Medium(clock, forbidden)
    heard: list[bytes] = []
    sender = medium.attach("hub", heard.append)
    listener = medium.attach("bridge", heard.append)
    sender.channel = listener.channel = 11
    sender.transmit(FRAME, 0)
    clock.run_for(1)
    assert heard == [FRAME]


@pytest.mark.parametrize("probability", [-0.01, 1.01, float("nan")])
def test_a_loss_that_is_no_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        Loss(probability)
