"""What a person sees of `hanbench verify`: which test goes on, how far it is, why one failed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bench_support import SMALL_BENCH
from event_strategies import EVENTS, HOSTILE
from foreign_verify import write_bench
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from screen_support import Paper, Terminal

from hil.live_screen import TICK_S
from hil.live_state import Premises
from hil.live_suite import LiveSuite, failures
from hil.live_suite_layout import counted, suite_lines
from hil.live_suite_state import Planned, SuiteState
from hil.sticks import serve_sticks
from hil.verdict import SuiteTest

PREMISES = Premises("virtual", "lab.toml", 7, "evidence/1")
STEPS = ("11.4 is accepted", "the device asks for the whole file", "it restarts", "N39 comes")
TESTS = [
    Planned("test_update.py::test_deployed[twin]", "one 11.4 updates it", ("MP170-R2",), STEPS),
    Planned("test_update.py::test_told[twin]", "its version is told", ("MP170-R5",), STEPS[:1]),
    Planned("test_home.py::test_old[twin]", "SMETS1 takes none", ("MP202-R1", "MP170-R2"), ()),
]


def ended(test: Planned, outcome: Any, detail: str = "") -> SuiteTest:
    return SuiteTest(
        test.id, test.title, list(test.requirements), [], [], outcome, detail, "", device="twin"
    )


def step(number: int, outcome: str = "passed") -> dict[str, Any]:
    event = {"type": "step", "time_s": 20, "test": "test_deployed[twin]", "number": number}
    return {**event, "text": STEPS[number - 1], "outcome": outcome, "detail": ""}


def suite(began_s: float = 100.0) -> SuiteState:
    state = SuiteState(PREMISES, began_s)
    state.plan(TESTS)
    return state


# -- the state ------------------------------------------------------------------------------------


def test_the_first_step_that_is_not_gone_through_is_the_one_that_goes_on() -> None:
    state = suite()
    running = state.begin(TESTS[0].id, 101.0)
    state.take(step(1), 102.0)
    assert [mark for mark, _ in running.marked()] == ["passed", "now", "waiting", "waiting"]
    state.take(step(2, "failed"), 103.0)
    assert [mark for mark, _ in running.marked()] == ["passed", "failed", "now", "waiting"]


def test_a_requirement_is_shown_when_a_test_of_it_passed_and_none_failed() -> None:
    state = suite()
    assert counted(state) == "0 of 3 tests; requirements: 0 shown"
    for test, outcome in zip(TESTS, ("passed", "skipped", "failed"), strict=True):
        state.begin(test.id, 101.0)
        state.end(ended(test, outcome))
        if test is TESTS[1]:
            words = "2 of 3 tests: 1 passed, 1 skipped; requirements: 1 shown"
            assert counted(state) == words
    words = "3 of 3 tests: 1 passed, 1 failed, 1 skipped; requirements: 0 shown, 2 failed"
    assert counted(state) == words
    assert state.running == {}


def test_a_bench_of_its_own_begins_with_none_of_the_devices_before() -> None:
    state = suite()
    for name in ("twin", "bridge-1"):
        devices = [{"device_id": name, "kind": "ppmid"}]
        state.take({"type": "run-started", "time_s": 0, "seed": 7, "devices": devices}, 1.0)
        assert list(state.run.devices) == [name]


@given(
    st.lists(st.one_of(EVENTS, HOSTILE), max_size=8),
    st.integers(0, 160),
    st.integers(0, 40),
)
def test_no_test_and_no_event_breaks_the_screen_or_sends_it_a_control_character(
    course: list[Any], width: int, height: int
) -> None:
    state = suite()
    for number, one in enumerate(course):
        if isinstance(one, str):
            state.plan([Planned(one, one, (one,), (one, one))])
            state.begin(one, float(number))
            if number % 2:
                state.end(ended(Planned(one, one, (one,)), "failed", one))
        else:
            state.take(one, float(number))
    lines = suite_lines(state, 9.0, width, height)
    assert len(lines) <= height
    for line in lines:
        assert line.plain.isprintable()
        assert cell_len(line.plain) <= width


# -- whole screens --------------------------------------------------------------------------------


@contextlib.contextmanager
def drawn(paper: Paper) -> Iterator[LiveSuite]:
    """Two tests are over, and the third is in its midst, twelve seconds after it all began."""
    now = [100.0]
    with LiveSuite(PREMISES, console=paper.console(), wall=lambda: now[0]) as live:
        live.state.plan(TESTS)
        for test, outcome, detail in ((TESTS[1], "passed", ""), (TESTS[2], "failed", "it has\nno")):
            live.pytest_runtest_logstart(test.id)
            live.state.end(ended(test, outcome, detail))
        live.pytest_runtest_logstart(TESTS[0].id)
        devices = [{"device_id": "twin", "kind": "ppmid"}]
        live.show({"type": "run-started", "time_s": 0, "seed": 7, "devices": devices})
        live.show(step(1))
        mine = {"device_id": "twin", "size_bytes": 1000}
        live.show({"type": "transfer-started", "time_s": 20, "version": "00010200", **mine})
        for number in (1, 2):
            told = {"offset_bytes": 250 * number, "blocks": 5 * number}
            live.show({"type": "progress", "time_s": 20 + number, **told, **mine})
        now[0] = 112.0
        live.show({"type": "wan", "time_s": 22})
        yield live


@pytest.mark.parametrize("size", [(80, 24), (40, 15)])
def test_a_whole_screen_fits_its_terminal_and_says_what_it_said(size: tuple[int, int]) -> None:
    columns, lines = size
    paper = Paper(columns, lines)
    with drawn(paper):
        golden = (Path(__file__).parent / "screens" / f"verify-{columns}x{lines}.txt").read_text()
        assert paper.text + "\n" == golden
        assert not paper.screen.history.top


def test_tests_that_others_run_are_a_line_each() -> None:
    paper = Paper(60, 24)
    with LiveSuite(PREMISES, console=paper.console(), wall=lambda: 0.0) as live:
        live.pytest_xdist_node_collection_finished(None, [f"a/{test.id}" for test in TESTS])
        for test in TESTS[:2]:
            live.pytest_runtest_logstart(f"a/{test.id}")
    lines = paper.text.splitlines()
    assert lines[1] == "0 of 3 tests; requirements: 0 shown"
    assert [line.split()[0] for line in lines[3:5]] == [test.id for test in TESTS[:2]]


def test_what_pytest_says_of_failures_is_kept_and_its_dots_are_not() -> None:
    said = "..F  [100%]\n== FAILURES ==\n__ test_x __\nE  no\n== short test summary info ==\n"
    assert failures(said) == said.partition("\n")[2]
    assert failures("...  [100%]\n3 passed in 1 s\n") == ""


# -- a program on a real terminal -----------------------------------------------------------------

QUICK = os.environ.get("HANBENCH_MATRIX") == "quick"
LONG = pytest.mark.skipif(QUICK, reason="a run of its own on a terminal")
NOT_IN_TIME = ("--patience", "0.01", "-k", "test_an_image_is_deployed and ppmid")


@pytest.mark.matrix
@pytest.mark.real_clock
def test_why_a_test_failed_stands_below_the_last_screen(tmp_path: Path) -> None:
    words = ("verify", *NOT_IN_TIME, "--evidence", tmp_path / "ev")
    with Terminal.hanbench(*words, columns=120, lines=200) as terminal:
        assert terminal.read() == 1
        text = terminal.text
        assert text.count("hanbench verify  the built-in bench, seed ") == 1
        assert "1 of 1 tests: 1 failed; requirements: 0 shown, 1 failed" in text
        assert text.index("ended, evidence in") < text.index("= FAILURES =")
        assert "AssertionError: awaited for 0.01 s, and it has not come: ppmid joins" in text
        assert text.splitlines()[-1] == "FAIL"
        assert not terminal.screen.cursor.hidden


@pytest.mark.matrix
@pytest.mark.real_clock
def test_ctrl_c_ends_the_tests_and_leaves_the_terminal_in_order(tmp_path: Path) -> None:
    words = ("verify", "-k", "test_update", "--evidence", tmp_path / "ev")
    with Terminal.hanbench(*words, lines=60) as terminal:
        assert terminal.read(lambda one: "loading" in one.text) == -1
        terminal.type(b"\x03")
        assert terminal.read() == 130
        assert not terminal.screen.cursor.hidden
        assert "interrupted; the evidence so far is in" in terminal.text


@LONG
@pytest.mark.matrix
@pytest.mark.real_clock
def test_a_document_on_a_terminal_is_a_document_alone(tmp_path: Path) -> None:
    words = ("verify", *NOT_IN_TIME, "--evidence", tmp_path / "ev", "--json")
    with Terminal.hanbench(*words) as terminal:
        assert terminal.read() == 1
        assert terminal.octets.startswith(b"{")
        assert b"\x1b" not in terminal.octets


@pytest.mark.matrix
@pytest.mark.real_clock
def test_off_a_terminal_a_real_clock_tells_each_step(tmp_path: Path) -> None:
    bench = tmp_path / "bench.toml"
    bench.write_text('clock = "real"\n' + SMALL_BENCH)
    words = ("verify", bench, *NOT_IN_TIME, "--evidence", tmp_path / "ev")
    told = subprocess.run(
        [sys.executable, "-m", "hil.cli", *map(str, words)], capture_output=True, text=True
    )
    lines = told.stdout.splitlines()
    assert lines[0].startswith("test_update.py::test_an_image_is_deployed[ppmid]: one 11.4 deploys")
    assert "step 1 failed: the device joins with its install code" in lines[1]
    assert lines[2].endswith("; 1 of 1 tests: 1 failed; requirements: 0 shown, 1 failed")
    assert "= FAILURES =" in lines[3]


def with_prompt(path: Path) -> dict[str, str]:
    """Have the bench file ask somebody; the commands that were in it."""
    text = path.read_text()
    power: dict[str, str] = tomllib.loads(text)["device"][0]["power"]
    lines = [line for line in text.splitlines() if not line.startswith("power")]
    path.write_text("\n".join([*lines, 'power = "prompt"']))
    return power


@pytest.mark.matrix
@pytest.mark.real_clock
async def test_nothing_is_drawn_over_a_question_to_who_is_at_the_table(tmp_path: Path) -> None:
    async with serve_sticks(*("tcp://127.0.0.1:0",) * 2, ezsp=14) as sticks:
        path = write_bench(tmp_path, sticks, "ember", [], [])
        power = with_prompt(path)
        words = ("verify", path, "-k", "test_an_image_is_deployed", "--evidence", tmp_path / "ev")
        with Terminal.hanbench(*words, lines=60) as terminal:

            async def seen(words: str) -> bool:
                return await asyncio.to_thread(terminal.read, lambda one: words in one.text) == -1

            assert await seen("[ ] switch dut on, then Enter")
            more_than_a_tick_s = 1.5 * TICK_S
            assert await asyncio.to_thread(terminal.is_quiet, more_than_a_tick_s)
            assert "hanbench verify" not in terminal.text
            subprocess.run(power["on"], shell=True, check=True)
            try:
                terminal.type(b"\r")
                assert await seen("loading")
                assert await seen("[ ] switch dut off, then Enter")
                terminal.type(b"\r")
                assert await asyncio.to_thread(terminal.read) == 0
            finally:
                subprocess.run(power["off"], shell=True, check=True)
            assert "1 of 1 tests: 1 passed; requirements: 1 shown" in terminal.scrollback


@pytest.mark.matrix
@pytest.mark.real_clock
@pytest.mark.parametrize("command", [("run",), ("verify", "-k", "test_an_image_is_deployed")])
async def test_ctrl_c_is_an_answer_to_any_question(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    async with serve_sticks(*("tcp://127.0.0.1:0",) * 2, ezsp=14) as sticks:
        path = write_bench(tmp_path, sticks, "ember", [], [])
        with_prompt(path)
        with Terminal.hanbench(*command, path, "--evidence", tmp_path / "ev") as terminal:
            is_asked = partial(terminal.read, lambda one: "[ ] switch dut on" in one.text)
            assert await asyncio.to_thread(is_asked) == -1
            terminal.type(b"\x03")
            assert await asyncio.to_thread(terminal.read, limit_s=20) == 130
            assert not terminal.screen.cursor.hidden
