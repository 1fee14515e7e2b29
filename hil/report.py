"""`report.html`: what a run showed, for people; one file that needs nothing beside it.

Source: DESIGN, "What it promises to the outside" (evidence folder). What is on it and in which
order is ours: the verdict first, and why; then what carries it, down to the frame on the air.

The report is made of the evidence folder when its events are complete, before `verdict.json` is
there. It loads nothing, and its few lines of script only filter tables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hil.air_log import AirFrame, AirKeys, read_air
from hil.air_selection import Selection, select_frames
from hil.errors import BenchBroke
from hil.figures import duration, grouped, moment
from hil.report_charts import Mark, Series, plot, sequence_chart
from hil.report_rows import (
    REPORT,
    Event,
    Link,
    Linker,
    devices_concerned,
    event_rows,
    file_rows,
    gbcs_rows,
    named_frames,
    printable,
    read_events,
)
from hil.report_sequence import HUB, device_steps, offsets, rates, shorten
from hil.requirements import TITLES
from hil.verdict import Requirement, Verdict

CAPTURE = "air.pcapng"
MAX_DEVICES = 12
"""Of more, the others have no drawing; they are in every table."""

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class SequenceChart:
    """A device's drawing, and how many of its steps are left out; whether it is seen at once."""

    device_id: str
    outcome: str
    chart: Markup
    left_out: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class RequirementRow:
    id: str
    title: str
    verdict: str
    evidence: Sequence[Link]


@dataclass(frozen=True, slots=True)
class FrameRow:
    number: int
    time: str
    octets: int
    source: str
    destination: str
    layer: str
    what: str
    is_regular: bool
    gap: int
    """How many frames between the row above and this one are not shown."""


def render(folder: Path, verdict: Verdict, keys: AirKeys | None, *, repeat: str) -> bytes:
    """The report of the evidence in `folder`. `repeat` is the command that repeats the run; without
    `keys` the frames of the air stay encrypted. Raises RequestError for what is no evidence."""
    events = read_events(folder)
    names = _names(events)
    frames, frames_left = gbcs_rows(folder, events)
    about = devices_concerned(frames, events, names)
    epoch_us = _epoch_us(events)
    air = _air(folder, verdict, keys, names, events, epoch_us)
    frame_rows = [] if air is None else _frame_rows(air.frames, epoch_us)
    linker = Linker(folder, frozenset(row.number for row in frame_rows))
    rows, events_left = event_rows(events)
    files, files_left = file_rows(folder)
    in_scope, others = _requirements(verdict, linker)
    drawn = [device.device_id for device in verdict.devices][:MAX_DEVICES]
    environment = Environment(
        loader=PackageLoader("hil"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"grouped": grouped, "duration": duration, "printable": printable}
    text = environment.get_template("report.html.j2").render(
        verdict=verdict,
        reasons=reasons(verdict),
        started=events[0]["utc"][:19].replace("T", " ") if events else None,
        repeat=repeat,
        in_scope=in_scope,
        others=others,
        sequences=_sequences(events, verdict, drawn, about),
        plots=_plots(events, drawn),
        undrawn=max(0, len(verdict.devices) - MAX_DEVICES),
        events=rows,
        events_left=events_left,
        air=air,
        with_keys=keys is not None,
        frames=frame_rows,
        gbcs=frames,
        gbcs_left=frames_left,
        files=files,
        files_left=files_left,
    )
    return text.encode()


def write_report(folder: Path, verdict: Verdict, keys: AirKeys | None, *, repeat: str) -> Path:
    """Render the report into its folder, over one that is there; the file is whole or not there."""
    path = folder / REPORT
    draft = path.with_name(f"{REPORT}.part")
    octets = render(folder, verdict, keys, repeat=repeat)
    try:
        draft.write_bytes(octets)
        draft.replace(path)
    except OSError as error:
        raise BenchBroke(f"report {path} cannot be written: {error.strerror}") from error
    return path


def reasons(verdict: Verdict) -> list[str]:
    """Why a run failed, in a reader's words; nothing when it passed."""
    found = [
        f"{device.device_id}: {device.outcome.replace('-', ' ')}"
        for device in verdict.devices
        if device.outcome != "activated"
    ]
    if not verdict.devices:
        found.append("no device was updated")
    for requirement in verdict.requirements:
        if requirement.id in verdict.scope and requirement.verdict in ("fail", "not-run"):
            what = "failed" if requirement.verdict == "fail" else "was not shown"
            title = TITLES.get(requirement.id, "")
            found.append(f"{requirement.id} {what}" + (f": {title}" if title else ""))
    found += [
        f"check failed, {check.name}: {check.detail}"
        for check in verdict.checks
        if check.verdict == "fail"
    ]
    return [printable(reason) for reason in found]


def _names(events: Sequence[Event]) -> dict[int, str]:
    """Names of nodes by EUI-64, as far as the events tell them."""
    names = {}
    for event in events:
        if event["type"] == "joined":
            names[int(event["eui64"], 16)] = event["device_id"]
        elif event["type"] == "gbcs" and event["device_id"] == HUB:
            end = "recipient" if event["direction"] == "to-device" else "originator"
            names[int(event[end], 16)] = HUB
    return names


def _epoch_us(events: Sequence[Event]) -> int:
    """Unix time of the start of the run: civil time and loop time of an event tell it."""
    if not events:
        return 0
    utc = datetime.fromisoformat(events[0]["utc"])
    since_epoch = utc - _EPOCH - timedelta(seconds=events[0]["time_s"])
    return since_epoch // timedelta(microseconds=1)


def _air(
    folder: Path,
    verdict: Verdict,
    keys: AirKeys | None,
    names: Mapping[int, str],
    events: Sequence[Event],
    epoch_us: int,
) -> Selection | None:
    """The frames to show; None for a run without a capture of the air."""
    path = folder / CAPTURE
    if not path.is_file():
        return None
    anomalies_us = (
        epoch_us + round(event["time_s"] * 1e6)
        for event in events
        if event["type"] in ("anomaly", "gbcs-discarded")
    )
    return select_frames(
        read_air(path, keys, names),
        anomalies_us=anomalies_us,
        wanted=named_frames(verdict.requirements),
    )


def _frame_rows(frames: Sequence[AirFrame], epoch_us: int) -> list[FrameRow]:
    rows = []
    last = 0
    for frame in frames:
        rows.append(
            FrameRow(
                frame.number,
                moment((frame.time_us - epoch_us) / 1e6),
                frame.octets,
                printable(frame.source),
                printable(frame.destination),
                frame.layer,
                printable(frame.what),
                frame.regular,
                frame.number - last - 1,
            )
        )
        last = frame.number
    return rows


def _requirements(
    verdict: Verdict, linker: Linker
) -> tuple[list[RequirementRow], list[RequirementRow]]:
    """The rows of the scope and of whatever else was judged, and those that were not run."""
    judged: list[RequirementRow] = []
    others: list[RequirementRow] = []
    for requirement in verdict.requirements:
        row = _requirement(requirement, linker)
        in_scope = requirement.id in verdict.scope or requirement.verdict != "not-run"
        (judged if in_scope else others).append(row)
    return judged, others


def _requirement(requirement: Requirement, linker: Linker) -> RequirementRow:
    return RequirementRow(
        requirement.id,
        TITLES.get(requirement.id, ""),
        requirement.verdict,
        [linker.link(pointer) for pointer in requirement.evidence],
    )


def _sequences(
    events: Sequence[Event],
    verdict: Verdict,
    drawn: Sequence[str],
    about: Mapping[int, Collection[str]],
) -> list[SequenceChart]:
    outcomes = {device.device_id: device.outcome for device in verdict.devices}
    failed = [name for name in drawn if outcomes[name] != "activated"]
    seen = (failed or list(drawn))[:1]
    found = []
    for device_id in drawn:
        steps, left_out = shorten(device_steps(events, device_id, about))
        chart = sequence_chart(steps, printable(device_id))
        found.append(
            SequenceChart(device_id, outcomes[device_id], chart, left_out, device_id in seen)
        )
    return found


def _plots(events: Sequence[Event], drawn: Sequence[str]) -> list[tuple[str, Markup]]:
    """Offset and rate over time; none at all when nothing was transferred."""
    points = {device_id: offsets(events, device_id) for device_id in drawn}
    if not any(points.values()):
        return []
    marks = [
        Mark(event["time_s"], f"{event['kind']} {event.get('device_id', '')}", event["id"])
        for event in events
        if event["type"] == "anomaly"
    ]
    moved = [Series(name, points[name], color) for color, name in enumerate(drawn)]
    speed = [Series(name, rates(points[name]), color) for color, name in enumerate(drawn)]
    return [
        ("Blocks", plot(moved, marks, title="file offset over time", unit="octets of the image")),
        (
            "Throughput",
            plot(speed, marks, title="throughput over time", unit="octets/s", steps=True),
        ),
    ]
