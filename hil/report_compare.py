"""Two runs beside each other: what became worse, what became better, and their figures.

Source: DESIGN, "What it promises to the outside" (`hanbench report compare A B`). Worse is what
passed in A and does not in B: the verdict, a device's update, a requirement, a test. Figures are
shown and judge nothing: how fast is fast enough is for the reader to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hil.figures import duration, grouped
from hil.report import node_names, page_environment, read_keys, run_epoch_us
from hil.report_air import read_part
from hil.report_figures import Named, drawings, mean_rate
from hil.report_rows import printable, read_events
from hil.report_transfer import LISTS, Moment, Trace
from hil.report_verdict import Reported, read_reported
from hil.requirements import TITLES

SCHEMA = 1
MAX_DRAWN = 6
"""Devices that have their plots; the figures are of all."""

Direction = Literal["worse", "better", "other"]

_GOOD = frozenset({"pass", "passed", "activated", "not-applicable"})
_ABSENT = "not there"


class Change(NamedTuple):
    """Something that is not in B as it was in A."""

    what: str
    title: str
    a: str
    b: str
    direction: Direction


class Figure(NamedTuple):
    """A figure of both; None where a run has none."""

    device: str
    name: str
    a: float | None
    b: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs."""

    folder: Path
    told: Reported
    traces: Mapping[str, Trace]
    reconstructed: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    a: Side
    b: Side
    changes: Sequence[Change]
    figures: Sequence[Figure]

    @property
    def worse(self) -> bool:
        return any(change.direction == "worse" for change in self.changes)

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "schema": SCHEMA,
            "result": "worse" if self.worse else "same-or-better",
            "a": _side_document(self.a),
            "b": _side_document(self.b),
            "changes": [change._asdict() for change in self.changes],
            "figures": [figure._asdict() for figure in self.figures],
        }


def read_side(folder: Path) -> Side:
    """The run whose evidence is in `folder`. Raises RequestError."""
    events = read_events(folder)
    epoch_us = run_epoch_us(events)
    part = read_part(
        folder,
        read_keys(folder),
        node_names(events),
        epoch_us=epoch_us,
        anomalies_us=(),
        wanted=(),
        keep=False,
    )
    traces = () if part is None else part.traces
    by_device = {trace.device_id: trace for trace in traces}
    reconstructed = part is not None and part.reconstructed
    return Side(folder, read_reported(folder, events), by_device, reconstructed)


def compare(a: Side, b: Side) -> Comparison:
    changes = [
        *_changed("verdict", {"": a.told.ending}, {"": b.told.ending}),
        *_changed("device", _outcomes(a), _outcomes(b)),
        *_changed("requirement", _requirements(a), _requirements(b)),
        *_changed("test", _tests(a), _tests(b)),
    ]
    return Comparison(a, b, changes, list(_figures(a, b)))


def _outcomes(side: Side) -> dict[str, str]:
    return {device.device_id: device.outcome for device in side.told.verdict.devices}


def _requirements(side: Side) -> dict[str, str]:
    return {one.id: one.verdict for one in side.told.verdict.requirements}


def _tests(side: Side) -> dict[str, str]:
    return {test.id: test.outcome for test in side.told.suites}


def _changed(kind: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterable[Change]:
    for name in dict.fromkeys((*a, *b)):
        before, after = a.get(name, _ABSENT), b.get(name, _ABSENT)
        if before == after:
            continue
        direction: Direction = "other"
        if before in _GOOD and after not in _GOOD:
            direction = "worse"
        elif after in _GOOD and before not in _GOOD:
            direction = "better"
        elif "fail" in (before, after):  # what failed, and what was not run, are not the same
            direction = "worse" if after == "fail" else "better"
        what = printable(f"{kind} {name}".strip())
        yield Change(what, TITLES.get(name, ""), before, after, direction)


def _figures(a: Side, b: Side) -> Iterable[Figure]:
    yield Figure("run", "time of the run, s", a.told.verdict.virtual_s, b.told.verdict.virtual_s)
    for name in dict.fromkeys((*a.traces, *b.traces)):
        first, second = _values(a, name), _values(b, name)
        for what in first | second:
            yield Figure(printable(name), what, first.get(what), second.get(what))


def _values(side: Side, device_id: str) -> dict[str, float]:
    trace = side.traces.get(device_id)
    if trace is None:
        return {}
    return {
        "octets/s": round(mean_rate(trace), 1),
        "blocks sent": trace.blocks,
        "asked for again": trace.repeats,
        "pauses": trace.pauses,
        **({} if side.reconstructed else {"retries": trace.retries}),
        **{
            f"latency {name}, ms": round(trace.latency_ms[name], 2)
            for name in ("p50", "p95", "max")
            if name in trace.latency_ms
        },
    }


def _side_document(side: Side) -> dict[str, Any]:
    verdict = side.told.verdict
    return {
        "folder": str(side.folder),
        "verdict": side.told.ending,
        "seed": verdict.seed,
        "clock": verdict.clock,
        "trace_hash": verdict.trace_hash,
        "devices": [
            {"device_id": device.device_id, "outcome": device.outcome} for device in verdict.devices
        ],
        "radios": [asdict(radio) for radio in side.told.radios],
    }


def text_lines(comparison: Comparison) -> Iterable[str]:
    """What a terminal shows."""
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        verdict = side.told.verdict
        took = duration(verdict.virtual_s)
        yield f"{letter}  {side.told.ending:<12} seed {verdict.seed}, {took}  {side.folder}"
    yield ""
    for change in comparison.changes:
        line = f"  {change.direction + ':':<8} {change.what}: {change.a} -> {change.b}"
        yield line + (f", {change.title}" if change.title else "")
    if not comparison.changes:
        yield "  the same verdicts in both"
    yield ""
    for figure in comparison.figures:
        before, after = figure_text(figure.a), figure_text(figure.b)
        yield f"  {figure.device:<12} {figure.name:<20} {before:>12} {after:>12}"
    yield ""
    yield "WORSE" if comparison.worse else "SAME OR BETTER"


def figure_text(value: float | None) -> str:
    if value is None:
        return "none"
    return grouped(int(value), " ") if value == int(value) else f"{value:.1f}"


def render_comparison(comparison: Comparison) -> bytes:
    """The page: the changes, the figures, the plots of both over each other."""
    reconstructed = comparison.a.reconstructed or comparison.b.reconstructed
    plots = [
        (name, drawings(named, (), reconstructed=reconstructed))
        for name, named in _both(comparison)
    ]
    text = (
        page_environment()
        .get_template("compare.html.j2")
        .render(
            sides=[("A", comparison.a), ("B", comparison.b)],
            result="worse" if comparison.worse else "same or better",
            changes=comparison.changes,
            figures=comparison.figures,
            figure_text=figure_text,
            plots=plots,
        )
    )
    return text.encode()


def _both(comparison: Comparison) -> Iterable[tuple[str, list[Named]]]:
    names = dict.fromkeys((*comparison.a.traces, *comparison.b.traces))
    for name in list(names)[:MAX_DRAWN]:
        both = [("A", comparison.a.traces.get(name)), ("B", comparison.b.traces.get(name))]
        yield name, [Named(letter, _from_its_start(trace)) for letter, trace in both if trace]


def _from_its_start(trace: Trace) -> Trace:
    """A trace whose transfer begins at 0, so that the two begin together."""
    start_s = trace.path[0].time_s if trace.path else 0.0
    document = asdict(trace)
    for name in LISTS:
        document[name] = _shifted(document[name], start_s)
    return Trace.from_document(document)


def _shifted(moments: Iterable[Moment], start_s: float) -> list[Moment]:
    return [Moment(max(0.0, at - start_s), value) for at, value in moments]
