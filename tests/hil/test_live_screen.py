"""What a person sees on a terminal: whole screens as they are drawn, a terminal left in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_support import SMALL_BENCH
from screen_support import Paper, Terminal

from hil import live_screen
from hil.asking import asking
from hil.live import Live
from hil.live_state import Premises

SIZE = 768_000
VERSIONS = dict.fromkeys(("twin", "bridge-1", "bridge-2"), "00010100")
PREMISES = Premises(
    "virtual",
    "lab.toml",
    7,
    "evidence/1",
    ["loss 5 %", "power loss at 100 s on bridge-1"],
    VERSIONS,
)


class Wall:
    """The clock of the machine, by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def course() -> Iterator[dict[str, Any]]:
    """A run with a finished device, one that loads, and one that waits."""
    kinds = {"twin": "ppmid", "bridge-1": "bridge-1", "bridge-2": "bridge-2"}
    devices = [{"device_id": name, "kind": kind} for name, kind in kinds.items()]
    yield {"type": "run-started", "time_s": 0, "seed": 7, "devices": devices}
    yield {"type": "network-formed", "time_s": 1, "pan_id": "B18B", "channel": 11}
    for number, name in enumerate(kinds):
        yield {"type": "joined", "time_s": 2, "node_id": f"1A2{number}", "device_id": name}
    duis = {"type": "duis", "service": None, "device_ids": ["twin"], "request_id": None}
    yield {**duis, "time_s": 20, "kind": "alert", "code": "N39", "detail": "ActivationSuccess"}
    over = {"version_before": "00010100", "version_after": "00010200", "outcome": "activated"}
    yield {"type": "outcome", "time_s": 20, "device_id": "twin", **over}
    mine = {"device_id": "bridge-1"}
    offered = {"version": "00010200", "size_bytes": SIZE}
    yield {"type": "image-offered", "time_s": 21, **mine, **offered}
    yield {"type": "transfer-started", "time_s": 22, **mine, **offered}
    for percent in range(1, 51):
        offset = SIZE * percent // 100
        told = {"offset_bytes": offset, "size_bytes": SIZE, "blocks": offset // 56}
        yield {"type": "progress", "time_s": 22 + 3.2 * percent, "percent": percent, **told, **mine}
    bad = {"where": "device", "reason": "MAC", "detail": "\x1b[31mnot that of the ACB"}
    yield {"type": "gbcs-discarded", "time_s": 183, "device_id": "bridge-1", **bad}


@contextlib.contextmanager
def drawn(paper: Paper, wall: Wall, *, premises: Premises = PREMISES) -> Iterator[Live]:
    """A run in its middle, twelve seconds after it began."""
    with Live(premises.clock, console=paper.console(), premises=premises, wall=wall) as live:
        live.ask_struck(lambda: {"loss 5 %": 1234})
        for event in course():
            if event.get("percent", 0) > 40:  # what the time left here is told from
                wall.now_s += 0.2
            live.show(event)
        wall.now_s = 112.0
        live.show({"type": "wan", "time_s": 183})
        yield live


# -- whole screens --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 15), (20, 5)])
def test_a_whole_screen_fits_its_terminal_and_says_what_it_said(size: tuple[int, int]) -> None:
    columns, lines = size
    paper = Paper(columns, lines)
    with drawn(paper, Wall()):
        golden = (Path(__file__).parent / "screens" / f"run-{columns}x{lines}.txt").read_text()
        assert paper.text + "\n" == golden
        assert not paper.screen.history.top  # nothing has gone over the upper edge


def test_what_is_drawn_again_is_in_the_place_of_what_was_there() -> None:
    paper = Paper()
    with drawn(paper, Wall()):
        pass
    whole = "\n".join(["".join(c.data for c in row.values()) for row in paper.screen.history.top])
    assert (whole + paper.text).count("hanbench  lab.toml") == 1
    assert not paper.screen.cursor.hidden


def test_devices_that_do_not_fit_are_folded_the_finished_ones_first() -> None:
    paper = Paper(80, 16)
    with Live("virtual", console=paper.console(), premises=PREMISES) as live:
        for number in range(20):
            name = f"ppmid-{number}"
            live.show({"type": "joined", "time_s": 1, "device_id": name, "node_id": "1A2B"})
            if number < 15:
                over = {"device_id": name, "outcome": "activated"}
                live.show({"type": "outcome", "time_s": 2, **over})
        live.show({"type": "run-ended", "time_s": 3, "verdict": "pass"})
        assert "and 13 more: 13 activated" in paper.text
        assert "ppmid-19   joined as 1A2B" in paper.text


def test_on_the_clock_of_the_machine_there_is_one_time() -> None:
    paper = Paper()
    with drawn(paper, Wall(), premises=PREMISES._replace(clock="real")):
        pass
    assert paper.text.splitlines()[0].endswith("0:12, real time")
    assert "virtual" not in paper.text


# -- when it is drawn -----------------------------------------------------------------------------


def test_a_fast_run_is_not_drawn_more_than_ten_times_a_second() -> None:
    drawings = []
    for step_s in (0.001, 0.06):
        paper, wall = Paper(), Wall()
        with Live("virtual", console=paper.console(), premises=PREMISES, wall=wall) as live:
            for event in course():
                wall.now_s += step_s
                live.show(event)
        drawings.append(paper.getvalue().count("hanbench  lab.toml"))
    begun_first_event_and_end = 3
    assert drawings[0] == begun_first_event_and_end
    assert 20 < drawings[1] <= len(list(course())) * 0.06 / 0.1 + begun_first_event_and_end


@pytest.mark.real_clock
def test_on_a_real_clock_time_goes_by_when_nothing_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_screen, "TICK_S", 0.01)

    async def nothing(live: Live, paper: Paper) -> None:
        with live.each_second(asyncio.get_running_loop()):
            while "1.2 s, real time" not in paper.text:
                wall.now_s += 0.2
                await asyncio.sleep(0.05)

    paper, wall = Paper(), Wall()
    premises = PREMISES._replace(clock="real")
    live = Live("real", console=paper.console(), premises=premises, wall=wall)
    with live:
        asyncio.run(asyncio.wait_for(nothing(live, paper), 30))


# -- other people on the terminal -----------------------------------------------------------------


def test_while_somebody_is_asked_something_the_screen_is_gone_and_stays_away() -> None:
    paper, wall = Paper(), Wall()
    with drawn(paper, wall) as live, asking():
        assert paper.text == ""
        paper.write("[ ] switch twin on, then Enter ")
        wall.now_s += 10
        live.show({"type": "joined", "time_s": 300, "device_id": "twin", "node_id": "1A2B"})
        assert paper.text == "[ ] switch twin on, then Enter"
        assert not paper.screen.cursor.hidden
        paper.write("\n")
    assert paper.text.splitlines()[0] == "[ ] switch twin on, then Enter"
    assert "hanbench  lab.toml" in paper.text.splitlines()[1]


@pytest.mark.parametrize("terminal", ["dumb", "xterm"])
def test_a_terminal_that_cannot_go_back_gets_lines(
    terminal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = Paper()
    console = paper.console()
    monkeypatch.setattr(console, "_environ", {"TERM": terminal})
    with Live("virtual", console=console, premises=PREMISES) as live:
        for event in course():
            live.show(event)
    assert ("50 %, 384 000 of 768 000 octets" in paper.getvalue()) is (terminal == "dumb")
    assert ("\x1b[" in paper.getvalue()) is (terminal == "xterm")


def test_a_terminal_without_the_signs_gets_others() -> None:
    class Old(Paper):
        encoding = "ascii"

    paper = Old()
    with drawn(paper, Wall()):
        pass
    assert "####----  50 %" in paper.text
    assert paper.getvalue().isascii()


# -- a terminal in order --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_a_run_the_cursor_is_there_and_the_last_state_stays(
    error: type[BaseException],
) -> None:
    paper = Paper()

    def broken_off() -> None:
        with Live("virtual", console=paper.console(), premises=PREMISES) as live:
            live.show({"type": "joined", "time_s": 1, "device_id": "twin", "node_id": "1A2B"})
            raise error

    with pytest.raises(error):
        broken_off()
    assert not paper.screen.cursor.hidden
    assert "joined as 1A2B" in paper.text


@pytest.mark.parametrize("code", [errno.EPIPE, errno.EIO])
def test_a_terminal_that_is_closed_does_not_end_the_run(code: int) -> None:
    class Gone(Paper):
        gone = False

        def write(self, text: str) -> int:
            if self.gone:
                raise OSError(code, "gone")
            return super().write(text)

    paper, wall = Gone(), Wall()
    with Live("virtual", console=paper.console(), premises=PREMISES, wall=wall) as live:
        for number, event in enumerate(course()):
            wall.now_s += 1
            paper.gone = number > 5
            live.show(event)
    assert "twin" in paper.text
    assert "50 %" not in paper.text


# -- a program on a real terminal -----------------------------------------------------------------


def bench_file(folder: Path, size_bytes: int = 2048) -> Path:
    path = folder / "bench.toml"
    path.write_text(SMALL_BENCH.replace("2048", str(size_bytes)))
    return path


@pytest.mark.real_clock
def test_a_run_on_a_terminal_ends_with_its_last_screen_once_and_the_summary(tmp_path: Path) -> None:
    arguments = ("run", bench_file(tmp_path), "--evidence", tmp_path / "ev", "--fault", "loss 2 %")
    with Terminal.hanbench(*arguments, columns=100, lines=40) as terminal:
        assert terminal.read() == 0
        lines = terminal.text.splitlines()
        assert [line for line in lines if line.startswith("hanbench ")] == lines[:1]
        assert any(line.startswith("PAN id ") and line.endswith(", PASS") for line in lines)
        for device in ("ppmid", "bridge-1"):
            assert any(line.startswith(f"{device:<10} activated ") for line in lines)
        assert any(line.startswith("  loss 2 %") and " struck " in line for line in lines)
        assert lines[-1] == "PASS"
        assert not terminal.screen.cursor.hidden


@pytest.mark.real_clock
def test_a_window_made_smaller_shows_a_whole_screen_and_ctrl_c_leaves_it_in_order(
    tmp_path: Path,
) -> None:
    path = bench_file(tmp_path, 700_000)
    with Terminal.hanbench("run", path, "--evidence", tmp_path / "ev", columns=120) as terminal:
        assert terminal.read(lambda one: "loading" in one.text) == -1
        assert terminal.screen.cursor.hidden
        terminal.resize(60, 12)
        # The screen before had its time at the right edge, which is gone.
        assert terminal.read(lambda one: " here\n" in one.text and "Ctrl-C" in one.text) == -1
        lines = terminal.text.splitlines()
        assert [line for line in lines if line.startswith("hanbench")] == lines[:1]
        assert any(line.startswith("ppmid      loading") for line in lines)
        # Where a terminal has wrapped the old lines anew nobody knows: all of it is cleared.
        assert b"\x1b[2J" in terminal.octets
        terminal.type(b"\x03")
        assert terminal.read() == 130
        assert not terminal.screen.cursor.hidden
        assert "loading" in terminal.text
        assert "interrupted; the evidence so far is in" in terminal.text


@pytest.mark.matrix
@pytest.mark.real_clock
@pytest.mark.skipif(
    os.environ.get("HANBENCH_MATRIX") == "quick", reason="a run of its own on a terminal"
)
def test_a_window_that_is_closed_ends_the_run_as_ctrl_c_does(tmp_path: Path) -> None:
    path = bench_file(tmp_path, 700_000)
    with Terminal.hanbench("run", path, "--evidence", tmp_path / "ev") as terminal:
        assert terminal.read(lambda one: "loading" in one.text) == -1
        terminal.close()
        assert terminal.process.wait(30) == 130
    told = (tmp_path / "ev" / "events.jsonl").read_text().splitlines()
    assert json.loads(told[-1])["verdict"] == "interrupted"
