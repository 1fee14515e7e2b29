"""What a reader sees during a run off a terminal: believable numbers, the clock named, nothing with
--json."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from screen_support import Paper

from hil.live import Live, LiveConsole
from hil.live_words import Transfer
from hil.verdict import Clock

SIZE = 768_000


def console(out: io.StringIO) -> LiveConsole:
    return LiveConsole(file=out, width=100, color_system=None)


def wall(step_s: float = 0.1) -> Iterator[float]:
    return itertools.count(0, step_s)


def progress(percent: int, time_s: float, size: int = SIZE) -> dict[str, Any]:
    offset = -(-size * percent // 100)
    return {
        "type": "progress",
        "time_s": time_s,
        "device_id": "bridge-1",
        "percent": percent,
        "offset_bytes": offset,
        "size_bytes": size,
        "blocks": offset // 56,
    }


def update() -> Iterator[dict[str, Any]]:
    """The events of one update at 2 400 octets a second."""
    device = {"device_id": "bridge-1"}
    yield {"type": "run-started", "time_s": 0, "seed": 7}
    yield {"type": "network-formed", "time_s": 1, "pan_id": "B18B", "channel": 11}
    yield {"type": "joined", "time_s": 2, "node_id": "1A2B", **device}
    yield {"type": "tunnel", "time_s": 2.5, "state": "open", **device}
    yield {"type": "image-offered", "time_s": 3, "version": "00000002", **device}
    yield {
        "type": "transfer-started",
        "time_s": 4,
        "size_bytes": SIZE,
        "version": "00000002",
        **device,
    }
    for percent in range(1, 101):
        yield progress(percent, 4 + 3.2 * percent)
    yield {"type": "transfer-done", "time_s": 324, "bytes": SIZE, "blocks": 13_715, **device}
    yield {"type": "restarted", "time_s": 330, "version": "00000002", **device}
    yield {
        "type": "outcome",
        "time_s": 331,
        "outcome": "activated",
        "version_before": "00000001",
        "version_after": None,
        **device,
    }
    yield {"type": "run-ended", "time_s": 331, "verdict": "pass", "virtual_s": 331, "wall_s": 9.5}


def shown(clock: Clock) -> str:
    out = io.StringIO()
    ticks = wall()
    with Live(clock, console=console(out), wall=lambda: next(ticks)) as live:
        for event in update():
            live.show(event)
    return out.getvalue()


# -- lines ---------------------------------------------------------------------------------


def test_a_log_gets_one_line_per_event_and_ten_percent() -> None:
    lines = shown("virtual").splitlines()
    assert [line.split(maxsplit=3)[0] for line in lines[6:9]] == ["0:36", "1:08", "1:40"]
    said = [line[19:].strip() for line in lines]
    assert said[:6] == [
        "started, seed 7, virtual time",
        "network formed, PAN id B18B, channel 11",
        "joined as 1A2B",
        "tunnel open",
        "image 00000002 offered",
        "asks for image 00000002",
    ]
    assert [words.split(",")[0] for words in said[6:15]] == [f"{n} %" for n in range(10, 100, 10)]
    assert said[15:] == [
        "768 000 octets transferred in 13715 blocks, not active yet",
        "restarted, runs 00000002",
        "activated, 00000001 -> unknown",
        "pass, after 5:31 of virtual time, 9.5 s here",
    ]


def test_rate_and_time_left_are_those_of_the_clock_that_is_named() -> None:
    (half,) = [line for line in shown("virtual").splitlines() if " 50 %" in line]
    assert half.endswith(
        "50 %, 384 000 of 768 000 octets, 2 400 octets/s, 42.9 blocks/s, "
        "2:40 left (virtual, 5.0 s here)"
    )
    (half,) = [line for line in shown("real").splitlines() if " 50 %" in line]
    assert half.endswith("2 400 octets/s, 42.9 blocks/s, 2:40 left (real)")


def test_an_anomaly_cannot_play_with_the_terminal() -> None:
    out = io.StringIO()
    live = Live("virtual", console=console(out))
    live.show({"type": "anomaly", "time_s": 1, "kind": "\x1b[2J", "detail": "[bold]a\nb\r"})
    assert "anomaly, \ufffd[2J: [bold]a\ufffdb\ufffd\n" in out.getvalue()


# -- the DCC -------------------------------------------------------------------------------


def of_the_dcc() -> Iterator[dict[str, Any]]:
    """What a run with two twins tells of the DCC, beside what no reader asked for."""
    devices = {"device_ids": ["ppmid", "twin"]}
    asked = {"type": "duis", "service": "11.4", **devices}
    yield {**asked, "time_s": 3, "kind": "request", "code": None, "detail": ""}
    yield {"type": "wan", "time_s": 3, "kind": "ImageOffer", "direction": "to-hub", **devices}
    yield {**asked, "time_s": 3, "kind": "acknowledgement", "code": "I99", "detail": ""}
    refused = {"code": "E110403", "detail": "a second one; OtherRequestInProgressList: 2"}
    yield {**asked, "time_s": 4, "kind": "acknowledgement", **refused}
    yield {"type": "gbcs", "time_s": 5, "use_case": "CS09", "device_id": "twin", "detail": ""}
    told = {"code": "N39", "device_ids": ["twin"], "detail": "ActivationSuccess of 00010200"}
    yield {"type": "duis", "time_s": 5, "kind": "alert", "service": None, **told}
    read = {"code": "I0", "device_ids": ["hub"], "detail": ""}
    yield {"type": "duis", "time_s": 6, "kind": "response", "service": "8.11", **read}
    bad = {"where": "device", "reason": "MAC", "detail": "the MAC is \x1b[31mnot that of the ACB"}
    yield {"type": "gbcs-discarded", "time_s": 7, "device_id": "twin", **bad}
    bad = {"where": "dsp", "reason": "WAN", "detail": ""}
    yield {"type": "gbcs-discarded", "time_s": 8, "device_id": None, **bad}


def test_requests_alerts_and_what_is_discarded_are_a_line_each_and_frames_are_none() -> None:
    out = io.StringIO()
    live = Live("virtual", console=console(out))
    for event in of_the_dcc():
        live.show(event)
    assert [line[10:].rstrip() for line in out.getvalue().splitlines()] == [
        "ppmid, twin 11.4 taken, I99",
        "ppmid, twin 11.4 refused, E110403: a second one; OtherRequestInProgressList: 2",
        "twin       alert N39: ActivationSuccess of 00010200",
        "hub        8.11 answered, I0",
        "twin       device discards a frame, MAC: the MAC is \ufffd[31mnot that of the ACB",
        "run        dsp discards a frame, WAN",
    ]


# -- silence -------------------------------------------------------------------------------


@pytest.mark.parametrize("out", [io.StringIO(), Paper()])
def test_nothing_is_shown_beside_a_json_document(out: io.StringIO) -> None:
    with Live("virtual", console=console(out), silent=True) as live:
        for event in update():
            live.show(event)
    assert out.getvalue() == ""


def test_a_log_of_ci_that_wants_colours_is_no_terminal() -> None:
    out = io.StringIO()
    with Live("virtual", console=LiveConsole(file=out, _environ={"FORCE_COLOR": "1"})) as live:
        for event in update():
            live.show(event)
    assert "50 %, 384 000 of 768 000 octets" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_reader_that_goes_away_does_not_end_the_run() -> None:
    class Gone(io.StringIO):
        gone = False

        def write(self, text: str) -> int:
            if self.gone:
                raise BrokenPipeError
            return super().write(text)

    out = Gone()
    with Live("virtual", console=console(out)) as live:
        for number, event in enumerate(update()):
            out.gone = number > 5
            live.show(event)
    assert "joined" in out.getvalue()
    assert "activated" not in out.getvalue()


# -- numbers -------------------------------------------------------------------------------


def test_a_hundred_percent_is_all_of_it_and_not_before() -> None:
    transfer = Transfer()
    transfer.move(SIZE - 1, SIZE, 13_714, 1.0, 1.0)
    assert transfer.percent == 99
    transfer.move(SIZE, SIZE, 13_715, 2.0, 2.0)
    assert transfer.percent == 100
    assert "left" not in transfer.pace("virtual")
    assert Transfer().percent == 0


def test_a_transfer_begun_anew_does_not_boast_with_the_old_pace() -> None:
    transfer = Transfer()
    transfer.start(1_000, 0.0, 0.0)
    transfer.move(900, 1_000, 18, 1.0, 1.0)
    assert transfer.pace("real") == "900 octets/s, 18.0 blocks/s, 0.1 s left (real)"
    transfer.move(10, 1_000, 1, 2.0, 2.0)
    assert transfer.pace("real") == ""
    transfer.move(20, 1_000, 2, 3.0, 3.0)
    assert transfer.pace("real") == "10 octets/s, 1.0 blocks/s, 1:38 left (real)"


def test_a_transfer_that_slows_down_is_seen_to_slow_down() -> None:
    transfer = Transfer()
    transfer.start(SIZE, 0.0, 0.0)
    for percent in range(1, 51):
        transfer.move(7_680 * percent, SIZE, 0, 3.2 * percent, 0.0)
    fast_s = 160.0
    for percent in range(51, 61):
        transfer.move(7_680 * percent, SIZE, 0, fast_s + 32.0 * (percent - 50), 0.0)
    assert transfer.pace("real") == "240 octets/s, 0.0 blocks/s, 21:20 left (real)"


@given(
    st.lists(
        st.tuples(st.integers(0, SIZE), st.floats(0, 1e7), st.floats(0, 1e5)),
        max_size=30,
    )
)
def test_no_history_of_a_transfer_breaks_the_display(
    moves: list[tuple[int, float, float]],
) -> None:
    out = io.StringIO()
    ticks = iter(sorted(wall_s for _, _, wall_s in moves))
    live = Live("virtual", console=console(out), wall=lambda: next(ticks))
    for offset, time_s, _ in moves:
        live.show({**progress(1, time_s), "offset_bytes": offset})
    assert "-" not in out.getvalue().replace("bridge-1", "")


def test_events_it_does_not_know_or_that_lack_fields_are_shown_as_they_are() -> None:
    out = io.StringIO()
    live = Live("virtual", console=console(out))
    live.show({"type": "sniffer", "time_s": 1, "detail": "found"})
    for kind in ("progress", "transfer-started", "transfer-done", "outcome", "run-ended", "joined"):
        live.show({"type": kind})
    assert "run        sniffer: found" in out.getvalue()
