"""A report made again from the evidence alone: of a run that ended, that was interrupted, of tests
and sticks; and what the frames of a transfer amount to."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import lxml.html
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from report_support import KEYS, REPEAT, failed_run, passed_run

from hil.air_log import AirFrame, Block
from hil.cli import cli
from hil.environment import ENVIRONMENT
from hil.errors import RequestError
from hil.report import render, render_again, write_report
from hil.report_plots import MAX_DRAWN, Point, thinned
from hil.report_transfer import (
    MAX_PLACED,
    MAX_POINTS,
    MAX_SLICES,
    Slices,
    TransferReader,
)

RADIO = {
    "name": "hub", "url": "/dev/ttyUSB0", "ezsp": 13, "firmware": "7.4.3", "board": "<b>Dongle</b>",
    "key_table_size": 12, "library_status": "secure", "eui64": "00DB1234567890A2", "channel": 15,
    "rssi_dbm": -47, "lqi": 255,
}  # fmt: skip
SUITE = {
    "id": "hil/suites/test_alerts.py::test_n39", "title": "the alert comes once",
    "requirements": ["MP170-R6"], "claims": ["ota"], "outcome": "failed", "detail": "two came",
    "repeat": "hanbench verify -k test_n39",
    "steps": [
        {"text": "ask for the update", "outcome": "passed", "time_s": 1.5,
         "evidence": ["events.jsonl#3", "air.pcapng#4"]},
        {"text": "await one alert", "outcome": "failed", "time_s": 9, "evidence": []},
        {"text": "read the version", "outcome": "not-run", "time_s": None, "evidence": []},
    ],
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The evidence of a run that failed, whole, but for its keys."""
    folder = tmp_path / "run"
    bench, verdict = failed_run(folder)
    (folder / ENVIRONMENT).write_text(json.dumps({"repeat": REPEAT, "python": "CPython 3"}))
    write_report(folder, verdict, KEYS, repeat=REPEAT)
    (folder / "verdict.json").write_text(verdict.to_json())
    assert bench.folder == folder
    return folder


def amend(folder: Path, **keys: Any) -> None:
    path = folder / "verdict.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def page_of(folder: Path) -> Any:
    """The page taken apart by a parser that is not ours; each pointer inside it leads somewhere."""
    octets = render_again(folder)
    document = lxml.html.document_fromstring(octets.decode())
    ids = document.xpath("//@id")
    assert len(ids) == len(set(ids))
    inside = {href[1:] for href in document.xpath("//a/@href") if href.startswith("#")}
    assert inside <= set(ids)
    return document


def words(element: Any) -> str:
    return " ".join(" ".join(element.itertext()).split())


def test_without_keys_it_says_what_it_said_with_them(run: Path) -> None:
    first = (run / "report.html").read_bytes()
    assert not (run / "air.keys").exists()
    result = CliRunner().invoke(cli, ["report", str(run)])
    assert (result.exit_code, result.output.strip()) == (0, str(run / "report.html"))
    assert b"ImageBlockRequest" in first
    assert (run / "report.html").read_bytes() == first


def test_every_table_has_scopes_and_every_drawing_a_name(run: Path) -> None:
    document = page_of(run)
    assert document.xpath("//thead//th[not(@scope)]") == []
    assert document.xpath("//table[not(.//th)]") == []
    drawings = document.xpath("//svg")
    assert len(drawings) >= 6
    assert all(each.get("role") in ("img", "group") for each in drawings)
    assert all(each.get("aria-label") for each in drawings)
    levels = [int(each.tag[1]) for each in document.iter("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_tests_of_the_suites_show_their_steps_and_how_to_repeat_them(run: Path) -> None:
    amend(run, suites=[SUITE])
    document = page_of(run)
    test = words(document.get_element_by_id("t1"))
    assert "the alert comes once failed" in test
    assert "1 ask for the update passed 1.5 s events.jsonl#3" in test
    assert "2 await one alert failed 9.0 s" in test
    assert "3 read the version not run" in test
    assert "hanbench verify -k test_n39" in test
    assert "the alert comes once failed" in words(document.get_element_by_id("r-MP170-R6"))
    assert "test failed, the alert comes once: two came" in words(document)


def test_sticks_are_named_with_their_firmware_and_nothing_they_say_is_markup(run: Path) -> None:
    amend(run, radios=[RADIO])
    text = words(page_of(run))
    assert "hub /dev/ttyUSB0 7.4.3 13 <b>Dongle</b> 00DB1234567890A2 12 secure 15" in text
    assert "-47 dBm, 255" in text


def test_a_run_without_a_verdict_is_told_as_far_as_it_came(run: Path) -> None:
    (run / "verdict.json").unlink()
    lines = (run / "events.jsonl").read_text().splitlines()
    started = json.loads(lines[0])
    if started["type"] != "run-started":
        lines[0] = json.dumps(
            started
            | {"type": "run-started", "seed": 7, "clock": "real", "faults": ["loss 5 %"]}
            | {"devices": [{"device_id": "ppmid", "kind": "ppmid"}]}
        )
    cut = next(at for at, line in enumerate(lines) if '"progress"' in line) + 5
    (run / "events.jsonl").write_text("\n".join(lines[:cut]) + '\n{"id": 99, "ty')
    document = page_of(run)
    assert document.xpath("//h1")[0].text == "UNFINISHED"
    text = words(document)
    assert "the run has no end: it was stopped before its verdict was written" in text
    assert "ppmid: timed out" in text


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        (b"{", "is no verdict"),
        (b"[]", "is no verdict"),
        (b'{"verdict": "pass"}', "'seed' is missing"),
        (b'{"verdict": "perhaps"}', "verdict is 'perhaps'"),
    ],
)
def test_what_is_no_verdict_is_refused_in_a_sentence(
    run: Path, octets: bytes, sentence: str
) -> None:
    (run / "verdict.json").write_bytes(octets)
    with pytest.raises(RequestError, match=sentence):
        render_again(run)


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["report", str(tmp_path)])
    assert isinstance(result.exception, RequestError)


def test_the_plots_are_those_of_the_frames(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    verdict = passed_run(folder)[1]
    document = lxml.html.document_fromstring(render(folder, verdict, KEYS, repeat="").decode())
    figures = [each.text for each in document.xpath("//figure/h3")]
    assert figures == ["Block timeline", "Throughput", "Loss", "Block latency"]
    assert "ppmid 19" in words(document.xpath("//div[@aria-label='Figures of the transfer']")[0])


# -- traces ------------------------------------------------------------------------------------


class Course:
    """Frames of a transfer, as the reader of the air has them."""

    def __init__(self) -> None:
        self.reader = TransferReader(0)
        self.number = 0

    def frame(self, time_s: float, ends: tuple[str, str], what: str, block: Block | None) -> None:
        self.number += 1
        self.reader.take(AirFrame(self.number, round(time_s * 1e6), 100, *ends, "OTA", what, block))

    def ask(self, time_s: float, offset: int, more: str = "") -> None:
        what = f"ImageBlockRequest {offset:08X} 50 octets{more}"
        self.frame(time_s, ("ppmid", "hub"), what, Block(1, offset, begins=True))

    def answer(self, time_s: float, offset: int) -> None:
        what = f"ImageBlockResponse {offset:08X} 50 octets"
        self.frame(time_s, ("hub", "ppmid"), what, Block(1, offset))


def test_repeats_retries_and_pauses_are_told_apart() -> None:
    course = Course()
    for number in range(20):
        at = number * 0.1 + (5 if number >= 10 else 0)
        course.ask(at, number * 50)
        if number == 3:
            course.ask(at + 0.01, number * 50, ", again")
            course.ask(at + 0.02, number * 50, " (hop bridge-1 -> hub)")
            course.ask(at + 0.03, number * 50)
        course.answer(at + 0.04, number * 50)
    (trace,) = course.reader.traces()
    assert (trace.blocks, trace.octets, trace.repeats, trace.retries) == (20, 1000, 1, 1)
    assert trace.pauses == 1
    assert trace.paused[0].value == pytest.approx(5.1)
    assert trace.latency_ms["p50"] == pytest.approx(40, rel=0.05)
    assert [moment.value for moment in trace.asked_again] == [150]


def test_an_image_begun_anew_is_no_repeat() -> None:
    course = Course()
    for offset in (0, 50, 100, 0, 50):
        course.ask(course.number, offset)
        course.answer(course.number + 0.5, offset)
    assert course.reader.traces()[0].repeats == 0


def test_a_long_run_stays_small_and_counts_all() -> None:
    course = Course()
    for number in range(9_000):
        course.ask(number * 2.0, number * 50)
        course.ask(number * 2.0 + 0.5, number * 50)
        course.answer(number * 2.0 + 1, number * 50)
    (trace,) = course.reader.traces()
    assert (trace.blocks, trace.repeats) == (9_000, 9_000)
    assert len(trace.path) <= MAX_POINTS
    assert len(trace.asked_again) == MAX_PLACED
    assert len(trace.throughput) <= MAX_SLICES


@given(st.lists(st.tuples(st.floats(0, 1e7), st.integers(0, 1000)), max_size=60))
def test_slices_lose_no_value(values: list[tuple[float, int]]) -> None:
    slices = Slices()
    for at, value in values:
        slices.add(at, value)
    rows = slices.rows()
    assert sum(row.values for row in rows) == len(values)
    assert sum(row.total for row in rows) == sum(value for _, value in values)
    assert len(rows) <= MAX_SLICES


def test_a_thinned_line_keeps_its_peaks() -> None:
    points = [Point(float(at), 0.0) for at in range(10 * MAX_DRAWN)]
    points[7_777] = Point(7_777.0, 99.0)
    kept = thinned(points)
    assert len(kept) <= MAX_DRAWN + 2
    assert points[7_777] in kept
