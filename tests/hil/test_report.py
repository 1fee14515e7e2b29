"""report.html: whoever opens it sees the verdict and why, and it asks nothing of the network."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from air_support import NETWORK_KEY
from browser_support import browser, show
from hypothesis import given
from hypothesis import strategies as st
from report_support import DEVICES, INSTALL_CODE, KEYS, REPEAT, failed_run, passed_run

from hil.errors import RequestError
from hil.evidence import Evidence
from hil.figures import THIN_GAP, duration, grouped, moment
from hil.report import render, write_report
from hil.report_charts import Step, sequence_chart
from hil.report_plots import Mark, Point, Series, plot
from hil.report_rows import MAX_EVENTS, event_rows, read_events
from hil.report_sequence import MAX_STEPS, device_steps, offsets, rates, shorten
from hil.verdict import Requirement, Verdict

VOID = {"meta", "link", "input", "br"}
TITLE = "Test report: over-the-air firmware update on the GB smart-metering HAN "


class Page(HTMLParser):
    """The page taken apart: its text by section, its identifiers, its links."""

    def __init__(self, octets: bytes) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.hrefs: list[str] = []
        self.loads: list[str] = []
        self.open_details: list[str] = []
        self.text: dict[str, str] = {}
        self._section = "verdict"
        self._stack: list[str] = []
        self._opened = False
        self.feed(octets.decode())
        assert self._stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self._stack.append(tag)
        if "id" in found:
            self.ids.append(str(found["id"]))
        if tag == "h2":
            self._section = str(found["id"])
        if tag == "a":
            self.hrefs.append(str(found["href"]))
        if tag == "details":
            self._opened = "open" in found
        for name in ("src", "srcset", "data", "poster", "action"):
            if name in found:
                self.loads.append(str(found[name]))
        if tag == "link":
            self.loads.append(str(found["href"]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # of a drawing

    def handle_endtag(self, tag: str) -> None:
        assert self._stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if "summary" in self._stack and self._opened and data.strip():
            self.open_details.append(data.strip())
        if not {"style", "script"} & set(self._stack):
            self.text[self._section] = f"{self.text.get(self._section, '')} {data}"


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Verdict]:
    folder = tmp_path_factory.mktemp("passed") / "run"
    return folder, passed_run(folder)[1]


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Verdict]:
    folder = tmp_path_factory.mktemp("failed") / "run"
    return folder, failed_run(folder)[1]


def page(run: tuple[Path, Verdict], verdict: Verdict | None = None) -> Page:
    return Page(render(run[0], verdict or run[1], KEYS, repeat=REPEAT))


def squeezed(text: str) -> str:
    return " ".join(text.split())


# -- at a glance ---------------------------------------------------------------------------


def test_a_passed_run_says_so_first_and_how_to_repeat_it(passed: tuple[Path, Verdict]) -> None:
    text = squeezed(page(passed).text["verdict"])
    after_title = text.split(TITLE, 1)[1]
    assert after_title.startswith("PASS All 2 devices were updated and confirmed it, and every")
    assert "2 of 2 devices updated and confirmed · 2 of 2 requirements of the scope shown" in text
    assert REPEAT in text
    assert passed[1].trace_hash is not None
    assert passed[1].trace_hash in text
    assert "Began (UTC of the run) 2026-01-01 00:00:00" in text


def test_a_failed_run_says_why_before_anything_else(failed: tuple[Path, Verdict]) -> None:
    text = squeezed(page(failed).text["verdict"]).split(TITLE, 1)[1]
    assert text.startswith(
        "FAIL bridge-1: timed out MP170-R6 failed: an alert confirms success or failure"
    )


def test_a_requirement_of_the_scope_that_was_not_run_is_a_reason(
    passed: tuple[Path, Verdict],
) -> None:
    not_run = replace(passed[1], requirements=(Requirement("MP170-R6", "not-run"),))
    assert "FAIL MP170-R6 was not shown" in squeezed(page(passed, not_run).text["verdict"])


def test_a_run_without_devices_says_that_nothing_was_updated(tmp_path: Path) -> None:
    Evidence(tmp_path / "run", epoch=datetime(2026, 1, 1, tzinfo=UTC)).close()
    verdict = Verdict(1, "real", None, 1, 1, ())
    found = Page(render(tmp_path / "run", verdict, None, repeat=REPEAT))
    assert "FAIL no device was updated" in squeezed(found.text["verdict"])
    assert "no capture of the air" in found.text["frames"]
    assert "Nothing was transferred" in found.text["transfer"]
    assert "None crossed the WAN" in found.text["gbcs"]


def test_every_device_shows_versions_alerts_and_what_was_read_back(
    passed: tuple[Path, Verdict],
) -> None:
    text = squeezed(page(passed).text["devices"])
    for name, eui64 in DEVICES.items():
        assert f"{name} {name} {eui64:016X} activated 00010100 → 00010200 maker-signed" in text
    assert "8F8B CS09, result 0 → N39 valid" in text
    assert "00010200 as in the inventory" in text


def test_the_sections_come_in_the_order_of_a_reader_s_questions(
    passed: tuple[Path, Verdict],
) -> None:
    assert list(page(passed).text) == [
        "verdict", "devices", "requirements", "environment", "sequence", "transfer", "events",
        "frames", "gbcs", "files",
    ]  # fmt: skip


# -- evidence ------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["passed", "failed"])
def test_every_link_leads_somewhere(run: str, request: pytest.FixtureRequest) -> None:
    folder, verdict = request.getfixturevalue(run)
    found = page((folder, verdict))
    assert len(found.ids) == len(set(found.ids))
    inside = {href for href in found.hrefs if href.startswith("#")}
    assert {href for href in inside if href[1:] not in found.ids} == set()
    later = {"junit.xml", "verdict.json"}
    for href in set(found.hrefs) - inside - later:
        assert (folder / href).is_file(), href


def test_a_pointer_that_dangles_says_what_is_missing(failed: tuple[Path, Verdict]) -> None:
    text = squeezed(page(failed).text["requirements"])
    assert re.search(r"events\.jsonl#9999 not there: there are \d+ events, from 1", text)


def test_a_frame_that_a_requirement_names_is_in_the_table(passed: tuple[Path, Verdict]) -> None:
    assert "f150" in page(passed).ids


def test_what_was_not_run_is_folded_away(passed: tuple[Path, Verdict]) -> None:
    found = page(passed)
    assert "2 requirements that this run does not touch" in found.text["requirements"]
    assert found.open_details[:2] == ["ppmid", "activated"]
    assert "requirements that this run" not in " ".join(found.open_details)


def test_the_drawing_of_the_device_that_failed_is_the_one_that_is_open(
    failed: tuple[Path, Verdict],
) -> None:
    assert page(failed).open_details[:2] == ["bridge-1", "timed out"]


def test_an_anomaly_stands_out_in_every_place(failed: tuple[Path, Verdict]) -> None:
    octets = render(*failed, KEYS, repeat=REPEAT).decode()
    (anomaly,) = [event for event in read_events(failed[0]) if event["type"] == "anomaly"]
    row = re.search(rf'<tr id="e{anomaly["id"]}"( class="problem")?>', octets)
    assert row is not None
    assert row[1]
    # its step in the sequence, its mark in each of the four plots
    assert octets.count(f'<a href="#e{anomaly["id"]}">') == 5


def test_the_frames_and_their_gaps_add_up(passed: tuple[Path, Verdict]) -> None:
    octets = render(*passed, KEYS, repeat=REPEAT).decode().replace(THIN_GAP, "")
    rows = len(re.findall(r'<tr id="f\d+"', octets))
    gaps = sum(map(int, re.findall(r'<td colspan="7">(\d+) not shown', octets)))
    total = re.search(r"(\d+) frames, \d+ of them the regular course", octets)
    assert total is not None
    last = int(re.findall(r'<tr id="f(\d+)"', octets)[-1])
    assert rows + gaps == last == int(total[1])


def test_gbcs_frames_show_their_fields_and_verdicts(passed: tuple[Path, Verdict]) -> None:
    text = squeezed(page(passed).text["gbcs"])
    assert "CS09 alert 012B, ppmid 00DB1234567890A4 → 90B3D51F30000002" in text
    assert "firmware version 00010200 result activation-success" in text
    assert "device 00DB1234567890B1 firmware version 00010200 result file-transfer" in text


def test_a_frame_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    verdict = passed_run(tmp_path / "run")[1]
    (tmp_path / "run/gbcs/0001-CCS01-command.HEX").write_text("DF09")
    (tmp_path / "run/gbcs/0002-CCS01-response.HEX").write_text("no digits")
    (tmp_path / "run/gbcs/0003-CCS01-command.HEX").unlink()
    text = page((tmp_path / "run", verdict)).text["gbcs"]
    assert "GBCS frame:" in text
    assert "0002-CCS01-response.HEX: non-hexadecimal" in text
    assert "0003-CCS01-command.HEX cannot be read: No such file" in text


# -- nothing gets out, nothing gets in -----------------------------------------------------


def test_the_page_loads_nothing(failed: tuple[Path, Verdict]) -> None:
    octets = render(*failed, KEYS, repeat=REPEAT)
    found = Page(octets)
    assert found.loads == ["data:,"]
    assert not [href for href in found.hrefs if ":" in href]
    assert b"default-src 'none'" in octets
    assert not re.search(rb"url\(|@import|https?://", octets)


def test_no_key_is_on_the_page(passed: tuple[Path, Verdict]) -> None:
    text = render(*passed, KEYS, repeat=REPEAT).decode().lower()
    for key in (NETWORK_KEY, INSTALL_CODE, *KEYS.link_keys.values()):
        assert key.hex() not in text


def test_what_a_device_says_is_text_and_never_markup(failed: tuple[Path, Verdict]) -> None:
    octets = render(*failed, KEYS, repeat="<i>repeat</i>")
    assert b"<b>0x1F8</b>" not in octets
    assert octets.count(b"&lt;b&gt;0x1F8&lt;/b&gt; again") >= 2
    assert b"<i>repeat" not in octets


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_no_words_break_a_drawing(text: str) -> None:
    words = "".join(char if char.isprintable() else "\ufffd" for char in text)
    steps = [
        Step(1.5, "user", "DSP", words, 1),
        Step(2, "device", "device", words, 2, "anomaly"),
        Step(3, "hub", "device", words, 3, "transfer", 9.5),
        Step(4, "device", "DSP", words, 4, "gbcs"),
    ]
    drawing = sequence_chart(steps, words)
    lines = [Series(words, [Point(0, 0), Point(1, 5)], 7)]
    curves = plot(lines, [Mark(0.5, words, 2)], title=words, unit=words)
    for svg in (drawing, curves):
        root = ElementTree.fromstring(svg)
        titles = [title.text or "" for title in root.iter("title")]
        assert titles
        assert all(title.endswith(words) for title in titles)


def test_a_folder_without_events_is_refused_in_a_sentence(tmp_path: Path) -> None:
    verdict = Verdict(1, "real", None, 1, 1, ())
    with pytest.raises(RequestError, match=r"events\.jsonl cannot be read: No such file"):
        render(tmp_path, verdict, None, repeat="")
    (tmp_path / "events.jsonl").write_text('{"id": 1, "type": "joined"}\n[]\n{}\n')
    with pytest.raises(RequestError, match="line 2: not event 2 of a run"):
        render(tmp_path, verdict, None, repeat="")


def test_a_report_replaces_the_one_before_and_lists_not_itself(tmp_path: Path) -> None:
    verdict = passed_run(tmp_path / "run")[1]
    first = write_report(tmp_path / "run", verdict, KEYS, repeat="one")
    second = write_report(tmp_path / "run", verdict, KEYS, repeat="two")
    assert first == second == tmp_path / "run" / "report.html"
    assert b"<pre>two</pre>" in second.read_bytes()
    assert b'id="file-report' not in second.read_bytes()
    assert list((tmp_path / "run").glob("*.part")) == []


def test_a_capture_that_ends_early_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    verdict = passed_run(tmp_path / "run")[1]
    capture = tmp_path / "run" / "air.pcapng"
    capture.write_bytes(capture.read_bytes()[:-5])
    found = page((tmp_path / "run", verdict))
    assert "The capture cannot be read behind frame" in found.text["frames"]
    assert "f1" in found.ids


# -- steps and figures ---------------------------------------------------------------------


def test_the_sequence_is_the_story_from_request_to_n39(passed: tuple[Path, Verdict]) -> None:
    events = read_events(passed[0])
    steps = device_steps(events, "ppmid", {})
    story = [(step.source, step.target, step.label) for step in steps]
    start = story.index(("user", "DSP", "11.4 Update PPMID Firmware"))
    assert story[start : start + 6] == [
        ("user", "DSP", "11.4 Update PPMID Firmware"),
        ("DSP", "user", "I99"),
        ("DSP", "hub", "ImageOffer image for 1 device(s)"),
        ("DSP", "user", "N999 CSPFirmwareDeliveryStatus"),
        ("hub", "hub", f"image 00010200, {grouped(1024)} octets, on offer"),
        ("hub", "device", f"19 blocks, {grouped(1024)} octets"),
    ]
    assert ("DSP", "user", "N39 ActivationSuccess") in story
    assert story[-1] == ("device", "device", "activated, 00010100 → 00010200")
    # the messages that only carry a frame are that frame
    assert [label for _, _, label in story if "Command" in label or "Message" in label] == []


def test_what_the_hub_says_is_drawn_with_the_device_it_is_about(
    passed: tuple[Path, Verdict],
) -> None:
    octets = render(*passed, KEYS, repeat=REPEAT).decode()
    for name in DEVICES:
        drawing = octets.split(f'aria-label="sequence of the update of {name}"')[1]
        drawing = drawing.split("</svg>")[0]
        labels = ("CCS01 command", "CCS01 response", "8.11 response I0", "CCS08 alert")
        for label in (*labels, "CS09 alert"):
            assert drawing.count(f">{label}</text>") == 1, (name, label)


def test_a_refusal_stands_out_and_is_no_alarm() -> None:
    answer = {
        "id": 1, "type": "duis", "kind": "acknowledgement", "time_s": 1.0, "service": "11.4",
        "code": "E110401", "request_id": "1", "element": None, "device_ids": ["ppmid"],
        "file": "duis/1", "detail": "wanted", "utc": "",
    }  # fmt: skip
    (step,) = device_steps([answer], "ppmid", {})
    assert (step.label, step.style) == ("E110401: wanted", "refused")


def test_a_transfer_that_stopped_says_how_far_it_came() -> None:
    base = {"utc": "", "device_id": "ppmid"}
    events = [
        {"id": 1, "type": "transfer-started", "time_s": 1.0, "size_bytes": 1000, **base},
        {"id": 2, "type": "progress", "time_s": 3.0, "offset_bytes": 400, "blocks": 8, **base},
    ]
    (step,) = device_steps(events, "ppmid", {})
    assert step.label == f"400 of {grouped(1000)} octets, then no more"
    assert (step.style, step.time_s, step.end_s) == ("bad", 1.0, 3.0)


def test_a_long_story_loses_its_middle_and_says_so() -> None:
    steps = [Step(n, "user", "DSP", str(n), n) for n in range(MAX_STEPS + 30)]
    kept, left_out = shorten(steps)
    assert left_out == 30
    assert kept == [*steps[: MAX_STEPS // 2], *steps[-(MAX_STEPS // 2) :]]


def test_many_events_lose_their_progress_first() -> None:
    def event(number: int, kind: str) -> dict[str, object]:
        return {"id": number, "type": kind, "time_s": 1, "utc": "", "device_id": "ppmid"}

    events = [event(n, "progress") for n in range(MAX_EVENTS)] + [
        event(MAX_EVENTS + n, "restarted") for n in range(5)
    ]
    rows, left_out = event_rows(events)
    assert ([row.type for row in rows], left_out) == (["restarted"] * 5, MAX_EVENTS)


@given(st.lists(st.tuples(st.floats(0.001, 1e6), st.integers(0, 10**9)), min_size=2, max_size=20))
def test_rates_are_octets_over_time_and_never_less_than_nothing(
    moves: list[tuple[float, int]],
) -> None:
    time_s = 0.0
    points = []
    for step_s, octets in moves:
        time_s += step_s
        points.append(Point(time_s, octets))
    found = rates(points)
    assert all(rate.value >= 0 for rate in found)
    assert found[-1].time_s == points[-1].time_s
    whole = [Point(float(n), 100.0 * n) for n in range(5)]
    assert {rate.value for rate in rates(whole)} == {100.0}


def test_progress_is_a_line_from_nothing_to_the_whole(passed: tuple[Path, Verdict]) -> None:
    points = offsets(read_events(passed[0]), "ppmid")
    assert (points[0].value, points[-1].value) == (0, 1024)
    assert points == sorted(points)


@pytest.mark.parametrize(
    ("seconds", "short", "exact"),
    [
        (0, "0.0 s", "0:00.000"),
        (9.94, "9.9 s", "0:09.940"),
        (9.96, "0:10", "0:09.960"),
        (245.0004, "4:05", "4:05.000"),
        (3723.5, "1:02:04", "1:02:03.500"),
        (7 * 86_400 + 3723, "7 d 1:02:03", "169:02:03.000"),
    ],
)
def test_times_read_as_people_write_them(seconds: float, short: str, exact: str) -> None:
    assert (duration(seconds), moment(seconds)) == (short, exact)


@given(st.integers(0, 2**64))
def test_digits_are_grouped_and_none_is_lost(number: int) -> None:
    text = grouped(number)
    assert text.replace(THIN_GAP, "") == str(number)
    assert all(len(part) == 3 for part in text.split(THIN_GAP)[1:])


# -- a browser -----------------------------------------------------------------------------


@pytest.mark.real_clock
@browser
@pytest.mark.parametrize(("run", "width"), [("passed", 1280), ("failed", 400)])
def test_a_browser_shows_it_without_a_complaint_or_a_request(
    run: str, width: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder, verdict = request.getfixturevalue(run)
    seen = show(write_report(folder, verdict, KEYS, repeat=REPEAT), tmp_path, width)
    assert seen.console == []
    assert seen.requests == set()
    assert len(seen.rows) > 100


@pytest.mark.real_clock
@browser
def test_a_page_that_complains_and_asks_is_seen_to(tmp_path: Path) -> None:
    """Without this one, the test above could not fail."""
    url = "http://127.0.0.1:9/picture.png"
    page_file = tmp_path / "page.html"
    page_file.write_text(f"<!doctype html><img src='{url}' hidden><script>missing()</script>")
    seen = show(page_file, tmp_path)
    assert any("missing is not defined" in line for line in seen.console)
    assert seen.requests == {url}
    assert len(seen.rows) <= 2
