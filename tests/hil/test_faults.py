"""Faults in words: every fault has words, they mean it, and what is wrong in others is told."""

from __future__ import annotations

import random
from math import ceil, inf
from typing import Any

import pytest
from air_support import HeapClock
from hypothesis import given
from hypothesis import strategies as st

from emulator.devices.mains import Fall
from emulator.devices.nonvolatile import Cut, CutMode
from emulator.medium.air import Medium
from emulator.medium.faults import Delay, Interference, Loss, RadioOff
from emulator.ncp.line_faults import LineFault, LineFaultKind
from emulator.ncp.ncp import Ncp
from emulator.zigbee.state import StackState
from hil.fault_wiring import (
    air_fault,
    apply_faults,
    battery_lows,
    falls,
    line_fault,
    require_frames,
)
from hil.faults import KINDS, Fault, FaultError, parse_fault

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)
times_s = st.decimals(0, 10_000, places=6).map(float)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "percent": st.decimals(0, 100, places=4).map(float),
    "on": names,
    "sender": names,
    "listener": names,
    "frame": st.sampled_from(["sendUnicast", "nop", "incomingMessageHandler"]),
    "number": st.integers(1, 9999),
    "start_s": times_s,
    "duration_s": times_s.filter(bool),
    "at_s": times_s,
    "by_ms": st.decimals(1, 60_000, places=3).map(float),
    "burst_frames": st.integers(1, 1000).map(float),
    "channel": st.integers(11, 26),
    "code": st.integers(0, 255),
}


@st.composite
def any_fault(draw: st.DrawFn) -> Fault:
    kind = draw(st.sampled_from(sorted(KINDS)))
    takes = KINDS[kind].takes
    values = {
        name: draw(value)
        for name, value in VALUES.items()
        if name in takes and (name in KINDS[kind].needs or draw(st.booleans()))
    }
    if "sender" in values and "listener" in values:
        values.pop("on", None)
    else:
        values.pop("sender", None)
        values.pop("listener", None)
    if "number" in values:
        values.pop("percent", None)
    if "at_s" in values:
        gone = ["percent", "frame", "number", "start_s"]
        gone += ["duration_s"] if "start_s" in takes else []
        for name in gone:
            values.pop(name, None)
    if kind == "bursty loss":
        values["burst_frames"] = max(values.get("burst_frames", 8.0), 1.0 + ceil(values["percent"]))
        values["percent"] = min(values["percent"], 99.0)
    return Fault(kind, **values)


@given(any_fault())
def test_a_fault_reads_back_as_it_is_written(fault: Fault) -> None:
    assert parse_fault(str(fault)) == fault
    match fault.subject:
        case "air":
            assert air_fault(fault)
        case "line":
            assert line_fault(fault)
        case "product":
            assert falls([fault], fault.on or "") or battery_lows([fault], fault.on or "")


@given(any_fault(), st.randoms(use_true_random=False))
def test_clauses_may_come_in_any_order(fault: Fault, order: random.Random) -> None:
    clauses = list(fault._clauses())
    order.shuffle(clauses)
    assert parse_fault(" ".join((fault.kind, *clauses))) == fault


@pytest.mark.parametrize("words", ["loss 10 %", "loss 10%", "  loss   10.0  % ", "LOSS 010 %"])
def test_ten_percent_is_ten_percent_however_it_is_spaced(words: str) -> None:
    assert parse_fault(words) == Fault("loss", 10.0)
    assert str(parse_fault(words)) == "loss 10 %"


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("loss 2.5% on bridge-1", Fault("loss", 2.5, "bridge-1")),
        ("loss 10 % from hub to b", Fault("loss", 10, sender="hub", listener="b")),
        ("loss 10 % from 5s to b", Fault("loss", 10, sender="5s", listener="b")),
        ("loss 10 % from 5s", Fault("loss", 10, start_s=5)),
        ("loss 10 % on channel", Fault("loss", 10, "channel")),
        ("interference on channel 15", Fault("interference", channel=15)),
        ("delay 5 % by 20ms", Fault("delay", 5, by_ms=20)),
        ("bad crc at the 22nd frame", Fault("bad CRC", number=22)),
        ("NAK at the 1st sendUnicast", Fault("NAK", frame="sendUnicast", number=1)),
        ("NAK at sendUnicast 5 %", Fault("NAK", 5, frame="sendUnicast")),
        ("ERROR frame with code 81 at 2 s", Fault("ERROR frame", code=0x51, at_s=2)),
        ("dead UART at nop for 5 s", Fault("dead UART", frame="nop", duration_s=5)),
    ],
)
def test_words_mean_what_they_say(words: str, fault: Fault) -> None:
    assert parse_fault(words) == fault


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("jitter 5 ms", "'jitter 5 ms' names no fault: 'jitter' is none; say \"loss\", "),
        ("", "'' is none"),
        ("los 10 %", 'perhaps "loss" is meant'),
        ("bad CRD", 'perhaps "bad CRC" is meant'),
        ("loss", "'loss' needs a percentage (10 %)"),
        ("loss 10", "something is missing after 'loss 10': say \"%\""),
        ("loss 10 percent", "'percent' is not expected after 'loss 10'"),
        ("loss 10 % at hub", "'loss' takes no frame name (at NAME)"),
        ("loss -1 %", "'-1' is not expected after 'loss'"),
        ("loss 101 %", "it is 0 to 100 %"),
        ("loss 10 % 20 %", "says its percentage (10 %) twice"),
        ("loss 1 % on " + "x" * 100 + "!", "…"),
        ("loss 10 % on a from b to c", "both a node (on NAME) and a direction"),
        ("loss 10 % from hub", "'hub' is not expected after 'loss 10 % from'"),
        ("delay 5 %", "'delay' needs a time (by 20 ms)"),
        ("delay 5 % by 20 s", "'s' is not expected after 'delay 5 % by 20': say \"ms\""),
        ("delay 5 % by 20s", "'20s' is not expected after 'delay 5 % by'"),
        ("delay 5 % by 0.5 ms", "it is 1 to 60000 ms"),
        ("bursty loss 99 %", "needs longer bursts than of 8 frames"),
        ("interference on hub", "'interference' takes no node"),
        ("interference on channel 9", "it is 11 to 26"),
        ("radio off", "'radio off' needs a node"),
        ("bad CRC at the fifth frame", "'fifth' is not expected after 'bad CRC at the': say a num"),
        ("bad CRC at the 0th frame", "it is 1 to"),
        ("bad CRC at 5 s", "'bad CRC' takes no moment"),
        ("bad CRC 5 % at the 5th frame", "both a frame number (at the 5th frame) and a perc"),
        ("lost host ACK at nop", "'lost host ACK' takes no frame name"),
        ("dead UART from 3 s", "'dead UART' takes no beginning"),
        ("ERROR frame at 3 s for 5 s", "both a moment (at 10 s) and a duration"),
        ("ERROR frame with code 300", "it is 0 to 255"),
        ("ERROR frame with 81", "'81' is not expected after 'ERROR frame with': say \"code\""),
        ("loss 10 % for 0 s", "it is 1e-06 to"),
    ],
)
def test_words_that_name_no_fault_are_refused_by_the_word(words: str, says: str) -> None:
    with pytest.raises(FaultError) as caught:
        parse_fault(words)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


@given(st.text(max_size=40))
def test_any_other_words_are_refused_in_one_sentence(words: str) -> None:
    with pytest.raises(FaultError):
        parse_fault("gloss " + words)


FRAGMENTS = (
    "loss bad CRC NAK radio off 10 % 5 s ms of by at the 5th 1st on from to for with code hub"
)


@given(st.lists(st.sampled_from(FRAGMENTS.split()), max_size=10))
def test_any_order_of_known_words_is_a_fault_or_refused(words: list[str]) -> None:
    try:
        fault = parse_fault(" ".join(words))
    except FaultError:
        return
    assert parse_fault(str(fault)) == fault


# -- from words to things ----------------------------------------------------------------------


def test_words_become_what_the_air_and_a_line_take() -> None:
    words = "loss 10 % on hub from 1 s for 2 s"
    assert air_fault(parse_fault(words)) == Loss(
        0.1, "hub", start_us=1_000_000, end_us=3_000_000, words=words
    )
    words = "delay 5 % by 20.5 ms from a to b"
    expected = Delay(0.05, sender="a", listener="b", by_us=20_500, words=words)
    assert air_fault(parse_fault(words)) == expected
    words = "interference on channel 15 from 2 s"
    assert air_fault(parse_fault(words)) == Interference(15, 2_000_000, None, words)
    words = "radio off on hub for 2 s"
    assert air_fault(parse_fault(words)) == RadioOff("hub", 0, 2_000_000, words)
    assert line_fault(parse_fault("bad CRC at the 3rd nop from 1 s for 1 s")) == LineFault(
        LineFaultKind.BAD_CRC, frame="nop", number=3, start_us=1_000_000, end_us=2_000_000
    )
    assert line_fault(parse_fault("power cut on hub at 3 s for 5 s")) == LineFault(
        LineFaultKind.POWER_CUT, at_us=3_000_000, lasts_us=5_000_000
    )


def test_power_goes_as_often_as_the_words_say_and_at_those_they_name() -> None:
    words = [
        "power loss inside a write at the 9th write on hub",
        "power loss at 2.5 s on hub for 5 s",
        "power loss before a write at the 3rd write on ppmid",
        "power loss after a write at the 2nd write on hub for 1 s",
        "low battery on ppmid from 1 s for 2 s",
        "low battery on ppmid from 9 s",
        "loss 10 %",
    ]
    parsed = [parse_fault(one) for one in words]
    assert [str(one) for one in parsed] == words
    assert falls(parsed, "hub") == [
        Fall(30.0, Cut(9, CutMode.TORN)),
        Fall(5.0, at_s=2.5),
        Fall(1.0, Cut(2, CutMode.AFTER)),
    ]
    assert falls(parsed, "ppmid") == [Fall(30.0, Cut(3, CutMode.BEFORE))]
    assert battery_lows(parsed, "ppmid") == [(1.0, 3.0), (9.0, inf)]
    assert battery_lows(parsed, "hub") == []


def test_sticks_alone_have_no_product_whose_power_could_go() -> None:
    medium, sticks = sticks_on_one_air()
    with pytest.raises(FaultError, match="here are sticks alone"):
        apply_faults([parse_fault("power loss at 3 s on hub")], medium, sticks)


def test_every_kind_of_a_line_has_its_words() -> None:
    assert {kind.value for kind in LineFaultKind} == {
        kind for kind, takes in KINDS.items() if takes.subject == "line"
    }


def sticks_on_one_air() -> tuple[Medium, dict[str, Ncp]]:
    clock = HeapClock()
    medium = Medium(clock, random.Random(1).getrandbits)
    sticks = {
        name: Ncp(
            name,
            StackState(number).to_json(),
            medium,
            clock,
            random.Random(number).getrandbits,
            ezsp_version=13,
        )
        for number, name in enumerate(("hub", "bridge-1"), 1)
    }
    return medium, sticks


def test_faults_are_laid_on_whom_they_name_and_taken_off_again() -> None:
    medium, sticks = sticks_on_one_air()
    faults = [parse_fault(words) for words in ("bad CRC on hub", "NAK 5 %", "loss 10 %")]
    apply_faults(faults, medium, sticks)
    hub, bridge = sticks["hub"].line_faults, sticks["bridge-1"].line_faults
    assert hub is not None
    assert bridge is not None
    assert (len(hub._stick_data), len(bridge._stick_data)) == (1, 0)
    assert (len(hub._host_data), len(bridge._host_data)) == (1, 1)
    assert [str(fault) for fault in medium._faults] == ["loss 10 %"]
    apply_faults([], medium, sticks)
    assert medium._faults == ()
    assert [stick.line_faults for stick in sticks.values()] == [None, None]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("loss 1 % on moon", "is on nothing here: there is hub, bridge-1"),
        ("loss 1 % from hub to moon", "is on nothing here"),
        ("bad CRC at sendUnicorn", "is at no frame that EZSP 13 has"),
    ],
)
def test_what_names_nothing_here_is_refused_and_changes_nothing(words: str, says: str) -> None:
    medium, sticks = sticks_on_one_air()
    apply_faults([parse_fault("loss 1 %")], medium, sticks)
    with pytest.raises(FaultError, match=says):
        apply_faults([parse_fault("NAK"), parse_fault(words)], medium, sticks)
    assert [str(fault) for fault in medium._faults] == ["loss 1 %"]
    assert sticks["hub"].line_faults is None


def test_a_frame_belongs_to_a_version() -> None:
    fault = parse_fault("no answer at getKey")  # which EZSP 13 has no more
    require_frames([fault], 12)
    with pytest.raises(FaultError, match="EZSP 13"):
        require_frames([fault], 13)
