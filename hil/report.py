"""`report.html`: what a run showed, for people; one file that needs nothing beside it.

Source: DESIGN, "What it promises to the outside" (evidence folder). What is on it and in which
order is ours: the verdict first, and why; then what carries it, down to the frame on the air; a
page to sign when it is printed.

The report is made of the evidence folder when its events are complete, before `verdict.json` is
there, or again at any time later. It loads nothing, and its few lines of script only filter tables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hil.air_log import AirKeys
from hil.environment import read_environment
from hil.errors import BenchBroke, RequestError
from hil.evidence import KEYS
from hil.figures import duration, grouped
from hil.report_air import RECONSTRUCTED, AirPart, read_part
from hil.report_charts import sequence_chart
from hil.report_figures import (
    Drawing,
    FigureRow,
    Named,
    anomaly_marks,
    drawings,
    event_drawings,
    figure_rows,
)
from hil.report_frames import frame_rows, key_frames
from hil.report_gbcs import devices_concerned, gbcs_rows
from hil.report_rows import (
    REDACTED,
    REPORT,
    Event,
    EventRow,
    Link,
    Linker,
    event_rows,
    file_rows,
    named_frames,
    printable,
    read_events,
)
from hil.report_sequence import HUB, device_steps, shorten
from hil.report_tests import (
    MAX_TESTS,
    TestGroup,
    device_rows,
    drawn_benches,
    grouped_tests,
    test_rows,
)
from hil.report_verdict import Reported, read_reported, reported
from hil.requirements import TITLES
from hil.verdict import Verdict, all_skipped

MAX_DEVICES = 12
"""Of more, the others have no drawing; they are in every table."""
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class SequenceChart:
    """A device's drawing, and how many of its steps are left out; whether it is seen at once. In a
    report of tests it has no outcome; `page` is the report of the bench it was drawn on."""

    device_id: str
    outcome: str | None
    chart: Markup
    left_out: int
    is_open: bool
    page: str | None = None


@dataclass(frozen=True, slots=True)
class RequirementRow:
    """`tests` are those of the suites that show it."""

    id: str
    title: str
    verdict: str
    detail: str
    evidence: Sequence[Link]
    tests: Sequence[TestGroup]


def render(folder: Path, verdict: Verdict, keys: AirKeys | None, *, repeat: str) -> bytes:
    """The report of the evidence in `folder`, with the verdict that is not written yet. `repeat` is
    the command that repeats the run; without `keys` the frames of the air stay encrypted, unless an
    earlier report left their words. Raises RequestError for what is no evidence."""
    return _page(folder, reported(verdict), read_events(folder), keys, repeat)


def render_again(folder: Path) -> bytes:
    """The report of the evidence alone. Raises RequestError for what is no evidence."""
    events = read_events(folder)
    repeat = read_environment(folder).repeat or "not in the evidence"
    return _page(folder, read_reported(folder, events), events, read_keys(folder), repeat)


def read_keys(folder: Path) -> AirKeys | None:
    """The keys of the air, where they are beside the evidence."""
    path = folder / KEYS
    if not path.is_file():
        return None
    try:
        return AirKeys.from_wireshark(path.read_text())
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RequestError(f"{path} holds no keys of a run: {error}") from None


def _page(
    folder: Path, told: Reported, events: Sequence[Event], keys: AirKeys | None, repeat: str
) -> bytes:
    verdict = told.verdict
    names = node_names(events)
    gbcs, gbcs_left = gbcs_rows(folder, events)
    about = devices_concerned(gbcs, events, names)
    epoch_us = run_epoch_us(events)
    air = _air(folder, told, keys, names, events, epoch_us)
    frames = [] if air is None else frame_rows(air.selection.frames, epoch_us)
    story, story_left = key_frames(air.selection.frames if air and air.opened else (), epoch_us)
    rows, events_left = event_rows(events)
    files, files_left = file_rows(folder)
    linker = Linker(
        folder,
        {row.number: f"{row.source} → {row.destination}: {row.what}" for row in frames},
        {row.id: _event_in_brief(row) for row in rows},
        {row.name for row in files},
    )
    in_scope, others = _requirements(told, linker)
    outcomes = _outcomes(told, events)
    drawn = list(outcomes)[:MAX_DEVICES]
    plots, figures = _transfer(air, events, drawn)
    sequences = _sequences(events, outcomes, drawn, about)
    if told.suites and not drawn:
        sequences, named, reconstructed = _of_benches(folder, told)
        plots = drawings(named, (), reconstructed=reconstructed) if named else []
        figures = figure_rows(named, reconstructed=reconstructed)
    text = (
        page_environment()
        .get_template("report.html.j2")
        .render(
            verdict=verdict,
            ending=told.ending,
            reasons=reasons(told),
            counts=_counts(told),
            started=events[0]["utc"][:19].replace("T", " ") if events else None,
            repeat=repeat,
            environment=read_environment(folder),
            redacted=(folder / REDACTED).is_file(),
            faults=_faults(events),
            eui64s={name: f"{eui64:016X}" for eui64, name in names.items()},
            radios=told.radios,
            in_scope=in_scope,
            others=others,
            under_test=device_rows(told.under_test, told.suites),
            groups=grouped_tests(told.suites),
            tests=test_rows(folder, told.suites, linker),
            tests_left=max(0, len(told.suites) - MAX_TESTS),
            has_run=not told.suites or is_run(events),
            sequences=sequences,
            plots=plots,
            figures=figures,
            undrawn=max(0, len(outcomes) - MAX_DEVICES),
            events=rows,
            events_left=events_left,
            air=air,
            reconstructed=RECONSTRUCTED,
            frames=frames,
            story=story,
            story_left=story_left,
            gbcs=gbcs,
            gbcs_left=gbcs_left,
            files=files,
            files_left=files_left,
        )
    )
    return text.encode()


def page_environment() -> Environment:
    """How every page of the bench's reports is made."""
    made = Environment(
        loader=PackageLoader("hil"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"grouped": grouped, "duration": duration, "printable": printable}
    return made


def write_report(folder: Path, verdict: Verdict, keys: AirKeys | None, *, repeat: str) -> Path:
    """Render the report into its folder, over one that is there; the file is whole or not there."""
    return write_page(folder / REPORT, render(folder, verdict, keys, repeat=repeat))


def write_page(path: Path, octets: bytes) -> Path:
    draft = path.with_name(f"{path.name}.part")
    try:
        draft.write_bytes(octets)
        draft.replace(path)
    except OSError as error:
        raise BenchBroke(f"report {path} cannot be written: {error.strerror}") from error
    return path


def reasons(told: Reported) -> list[str]:
    """Why a run failed, in a reader's words; nothing when it passed."""
    verdict = told.verdict
    found = [
        f"{device.device_id}: {device.outcome.replace('-', ' ')}"
        for device in verdict.devices
        if device.outcome != "activated"
    ]
    if told.ending in _ENDINGS:
        found.insert(0, ": ".join(filter(None, (_ENDINGS[told.ending], told.detail))))
    elif not verdict.devices and not told.suites:
        found.append("no device was updated")
    if skipped := all_skipped([(test.outcome, test.detail) for test in told.suites]):
        found.append(skipped)
    for requirement in verdict.requirements:
        if requirement.id in verdict.scope and requirement.verdict in ("fail", "not-run"):
            what = "failed" if requirement.verdict == "fail" else "was not shown"
            title = TITLES.get(requirement.id, "")
            found.append(f"{requirement.id} {what}" + (f": {title}" if title else ""))
    found += [
        f"test failed, {test.title or test.id}: {test.detail}"
        for test in told.suites
        if test.outcome == "failed"
    ]
    found += [
        f"check failed, {check.name}: {check.detail}"
        for check in verdict.checks
        if check.verdict == "fail"
    ]
    return [printable(reason) for reason in found]


_ENDINGS = {
    "interrupted": "the run was interrupted",
    "broke": "the bench itself gave out",
    "unfinished": "the run has no end: it was stopped before its verdict was written",
}


def _counts(told: Reported) -> list[str]:
    """The result in numbers."""
    verdict = told.verdict
    scope = [one for one in verdict.requirements if one.id in verdict.scope]
    shown = sum(one.verdict == "pass" for one in scope)
    activated = sum(device.outcome == "activated" for device in verdict.devices)
    found = []
    if verdict.devices:
        found.append(f"{activated} of {len(verdict.devices)} devices updated and confirmed")
    if scope:
        found.append(f"{shown} of {len(scope)} requirements of the scope shown")
    if told.suites:
        passed = sum(test.outcome == "passed" for test in told.suites)
        skipped = sum(test.outcome == "skipped" for test in told.suites)
        words = f"{passed} of {len(told.suites)} tests passed"
        found.append(f"{words}, {skipped} skipped" if skipped else words)
    if verdict.checks:
        passed = sum(check.verdict == "pass" for check in verdict.checks)
        found.append(f"{passed} of {len(verdict.checks)} checks of the bench's own passed")
    return found


def _faults(events: Sequence[Event]) -> str:
    """The faults that were asked for, as they were written."""
    if not events:
        return "none"
    return printable("; ".join(map(str, events[0].get("faults") or ()))) or "none"


def node_names(events: Sequence[Event]) -> dict[int, str]:
    """Names of nodes by EUI-64, as far as the events tell them."""
    names = {}
    for event in events:
        if event["type"] == "joined":
            names[int(event["eui64"], 16)] = event["device_id"]
        elif event["type"] == "gbcs" and event["device_id"] == HUB:
            end = "recipient" if event["direction"] == "to-device" else "originator"
            names[int(event[end], 16)] = HUB
    return names


def run_epoch_us(events: Sequence[Event]) -> int:
    """Unix time of the start of the run: civil time and loop time of an event tell it."""
    if not events:
        return 0
    utc = datetime.fromisoformat(events[0]["utc"])
    since_epoch = utc - _EPOCH - timedelta(seconds=events[0]["time_s"])
    return since_epoch // timedelta(microseconds=1)


def _air(
    folder: Path,
    told: Reported,
    keys: AirKeys | None,
    names: Mapping[int, str],
    events: Sequence[Event],
    epoch_us: int,
) -> AirPart | None:
    """The frames to show; None for a run without a capture."""
    anomalies_us = [
        epoch_us + round(event["time_s"] * 1e6)
        for event in events
        if event["type"] in ("anomaly", "gbcs-discarded")
    ]
    pointers = [pointer for one in told.verdict.requirements for pointer in one.evidence]
    for test in told.suites:
        pointers += [pointer for step in test.steps for pointer in step.evidence]
    return read_part(
        folder, keys, names, epoch_us=epoch_us, anomalies_us=anomalies_us,
        wanted=named_frames(pointers),
    )  # fmt: skip


def _transfer(
    air: AirPart | None, events: Sequence[Event], drawn: Sequence[str]
) -> tuple[list[Drawing], list[FigureRow]]:
    """The plots and their figures: of the frames, or else of the progress events."""
    named = [
        Named(trace.device_id, trace)
        for trace in (() if air is None else air.traces)
        if trace.device_id in drawn
    ]
    if not named:
        return event_drawings(events, drawn), []
    named.sort(key=lambda one: drawn.index(one.name))
    reconstructed = air is not None and air.reconstructed
    return (
        drawings(named, anomaly_marks(events), reconstructed=reconstructed),
        figure_rows(named, reconstructed=reconstructed),
    )


def _event_in_brief(row: EventRow) -> str:
    return ", ".join(filter(None, (f"{row.type} {row.devices}".strip(), row.words)))


def _requirements(
    told: Reported, linker: Linker
) -> tuple[list[RequirementRow], list[RequirementRow]]:
    """The rows of the scope and of whatever else was judged, and those that were not run."""
    groups = grouped_tests(told.suites)
    judged: list[RequirementRow] = []
    others: list[RequirementRow] = []
    for one in told.verdict.requirements:
        row = RequirementRow(
            one.id,
            TITLES.get(one.id, ""),
            one.verdict,
            one.detail,
            [linker.link(pointer) for pointer in one.evidence],
            [group for group in groups if one.id in group.requirements],
        )
        in_scope = one.id in told.verdict.scope or one.verdict != "not-run"
        (judged if in_scope else others).append(row)
    return judged, others


def is_run(events: Sequence[Event]) -> bool:
    """Whether devices were on the air: the folder of several tests has only their outcomes."""
    return bool(events) and events[0]["type"] == "run-started"


def _outcomes(told: Reported, events: Sequence[Event]) -> dict[str, str | None]:
    """The devices that have a story to tell, and how it ended."""
    if not told.suites or not is_run(events):
        return {device.device_id: device.outcome for device in told.verdict.devices}
    loaded = {event["device_id"] for event in events if event["type"] == "transfer-started"}
    return {one["device_id"]: None for one in events[0]["devices"] if one["device_id"] in loaded}


def _sequences(
    events: Sequence[Event],
    outcomes: Mapping[str, str | None],
    drawn: Sequence[str],
    about: Mapping[int, Collection[str]],
    page: str | None = None,
) -> list[SequenceChart]:
    failed = [name for name in drawn if outcomes[name] not in ("activated", None)]
    seen = (failed or list(drawn))[:1]
    found = []
    for device_id in drawn:
        steps, left_out = shorten(device_steps(events, device_id, about))
        chart = sequence_chart(steps, printable(device_id))
        outcome = outcomes[device_id]
        found.append(SequenceChart(device_id, outcome, chart, left_out, device_id in seen, page))
    return found


def _of_benches(folder: Path, told: Reported) -> tuple[list[SequenceChart], list[Named], bool]:
    """One update of each device, out of the folder of a test, and whether what is known of the
    transfers is reconstructed."""
    charts: list[SequenceChart] = []
    named: list[Named] = []
    reconstructed = False
    devices = told.under_test[:MAX_DEVICES]
    for device_id, bench in drawn_benches(folder, told.suites, devices).items():
        events = read_events(bench)
        names = node_names(events)
        about = devices_concerned(gbcs_rows(bench, events)[0], events, names)
        page = f"{bench.relative_to(folder).as_posix()}/{REPORT}"
        charts += _sequences(events, {device_id: None}, [device_id], about, page)
        air = read_part(
            bench, None, names, epoch_us=run_epoch_us(events), anomalies_us=(), wanted=()
        )
        traces = () if air is None else air.traces
        named += [Named(device_id, one) for one in traces if one.device_id == device_id]
        reconstructed = reconstructed or (air is not None and air.reconstructed)
    return [replace(one, is_open=one is charts[0]) for one in charts], named, reconstructed
