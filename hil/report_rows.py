"""The rows of a report's tables, out of the files of an evidence folder.

Source: ours. What a device or a peer wrote is shown with what cannot be printed replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hil.environment import ENVIRONMENT
from hil.errors import RequestError
from hil.evidence import EVENTS, KEYS, VERDICT
from hil.figures import THIN_GAP, grouped, moment
from hil.pointers import CAPTURE_SUFFIX, Resolver, split_pointer
from hil.report_air import AIR

REPORT = "report.html"
JUNIT = "junit.xml"
REDACTED = "redacted.json"
MAX_EVENTS = 5_000
MAX_FILES = 2_000
_MAX_DIGITS = 19  # of what may be the number of a frame or an event
_LINK_WORDS = 72

Event = Mapping[str, Any]

_PROBLEMS = frozenset({"anomaly", "gbcs-discarded"})
_COMMON = frozenset({"id", "time_s", "utc", "type", "device_id", "device_ids", "detail"})
_GROUPED = frozenset({"octets", "bytes", "blocks", "offset_bytes", "size_bytes"})


def read_events(folder: Path) -> list[Event]:
    """The events of a run. Raises RequestError."""
    path = folder / EVENTS
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None
    events: list[Event] = []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
        except ValueError:
            if number == len(lines):
                break  # the run was interrupted while it wrote this one
            event = None
        if not isinstance(event, dict) or event.get("id") != number or "type" not in event:
            raise RequestError(f"{path}, line {number}: not event {number} of a run")
        events.append(event)
    return events


def printable(text: str) -> str:
    """A text in which nothing moves the words round it: no control characters, no directions."""
    return "".join(char if char.isprintable() or char == THIN_GAP else "\ufffd" for char in text)


class Link(NamedTuple):
    """An evidence pointer, where in the report it leads, what stands there in a few words, and why
    it dangles if it does."""

    text: str
    href: str
    words: str = ""
    problem: str | None = None


class Linker:
    """Makes links of evidence pointers. `frames` and `events` are those that the report shows, in
    words by their numbers."""

    def __init__(
        self, folder: Path, frames: Mapping[int, str], events: Mapping[int, str], files: set[str]
    ) -> None:
        self._resolver = Resolver(folder)
        self._frames = frames
        self._events = events
        self._files = files

    def link(self, pointer: str) -> Link:
        file, at = split_pointer(pointer)
        href = f"#file-{file}" if file in self._files else "#files"
        words = ""
        if at is not None and at.isdecimal() and len(at) < _MAX_DIGITS:
            if file == EVENTS and int(at) in self._events:
                href, words = f"#e{at}", self._events[int(at)]
            elif file.endswith(CAPTURE_SUFFIX) and int(at) in self._frames:
                href, words = f"#f{at}", self._frames[int(at)]
        problem = self._resolver.resolve(pointer)
        reason = None if problem is None else problem.removeprefix(f"{pointer}: ")
        return Link(printable(pointer), href, _cut(words), reason)


def _cut(words: str) -> str:
    return words if len(words) <= _LINK_WORDS else f"{words[: _LINK_WORDS - 1]}…"


def named_frames(pointers: Iterable[str]) -> set[int]:
    """The numbers of the frames that are named as evidence."""
    numbers = set()
    for pointer in pointers:
        file, at = split_pointer(pointer)
        if file.endswith(CAPTURE_SUFFIX) and at is not None and at.isdecimal():
            numbers.add(int(at[:19]))
    return numbers


@dataclass(frozen=True, slots=True)
class EventRow:
    id: int
    time: str
    utc: str
    type: str
    devices: str
    words: str
    file: str | None
    is_problem: bool


def event_rows(events: Sequence[Event]) -> tuple[list[EventRow], int]:
    """The events to show, and how many of the middle are left out: progress goes first."""
    shown = list(events)
    if len(shown) > MAX_EVENTS:
        shown = [event for event in shown if event["type"] != "progress"]
    if len(shown) > MAX_EVENTS:
        shown = [*shown[: MAX_EVENTS // 2], *shown[-MAX_EVENTS // 2 :]]
    return [_event_row(event) for event in shown], len(events) - len(shown)


def _event_row(event: Event) -> EventRow:
    kind = event["type"]
    devices = event.get("device_ids") or [event.get("device_id") or ""]
    is_problem = kind in _PROBLEMS or (kind == "outcome" and event.get("outcome") != "activated")
    is_problem = is_problem or "invalid" in (event.get("signature"), event.get("mac"))
    return EventRow(
        event["id"],
        moment(event["time_s"]),
        event["utc"],
        kind,
        printable(", ".join(map(str, devices))),
        printable(_event_words(event)),
        event.get("file"),
        is_problem,
    )


def _event_words(event: Event) -> str:
    """What an event says beside its time and its devices."""
    detail = event.get("detail") or ""
    match event["type"]:
        case "run-started":
            faults = ", ".join(map(str, event["faults"])) or "none"
            return f"seed {event['seed']}, {event['clock']} clock, faults: {faults}"
        case "duis":
            parts = (event["service"], event["kind"], event["code"], event["element"])
            words = " ".join(filter(None, parts))
        case "wan":
            words = f"{event['kind']} {event['direction']}, {grouped(event['octets'])} octets"
        case "gbcs":
            words = (
                f"{event['use_case']} {event['cra']} {event['direction']}, counter "
                + ", ".join(
                    (
                        grouped(event["originator_counter"]),
                        f"signature {event['signature']}",
                        f"MAC {event['mac']}",
                    )
                )
            )
        case "gbcs-discarded":
            words = f"by the {event['where']}, {event['reason']}"
        case "anomaly":
            words = str(event["kind"])
        case "step":
            words = f"step {event['number']} {event['outcome']}, {event['text']}"
        case _:
            words = _fields(event)
    return ", ".join(filter(None, (words, str(detail))))


def _fields(event: Event) -> str:
    """The fields of an event that need no words of their own."""
    words = []
    for name, value in event.items():
        if name in _COMMON or value is None or value == "":
            continue
        if name in _GROUPED and isinstance(value, int):
            value = grouped(value)
        words.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(words)


@dataclass(frozen=True, slots=True)
class FileRow:
    name: str
    size: str
    sha256: str
    what: str


_FILES = {
    VERDICT: "the verdict, for programs",
    JUNIT: "the verdict, for CI servers",
    EVENTS: "what happened, an event a line",
    ENVIRONMENT: "on what the run was made",
    AIR: "the frames of this report in words, and how the images went across",
    "air.pcapng": "every frame on the air, for Wireshark",
    "host.pcapng": "messages on the air, reconstructed from what the hosts heard, for Wireshark",
    REDACTED: "what was left out of this copy",
    KEYS: "keys of the air, for Wireshark: do not pass on",
}
_FOLDERS = {
    "duis": "DUIS message, as it was signed",
    "wan": "message between DSP and hub",
    "gbcs": "GBCS frame in hexadecimal",
    "certificates": "certificate that signatures of the evidence are by",
}
_LATER = frozenset({JUNIT, VERDICT})


def file_rows(folder: Path) -> tuple[list[FileRow], int]:
    """The files of the evidence, and how many beyond the bound are left out. The verdicts are
    written after the report of a run, and then have no size yet; their digest stands in no report,
    so that it is the same whenever it is made. Of a folder that has a report of its own there is
    that report alone, which has the digests of the others."""
    found = {name: (folder / name) for name in _LATER}
    pages = {path.parent for path in folder.rglob(REPORT)} - {folder}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name == REPORT or name.endswith(".part"):
            continue
        if path.name == REPORT or pages.isdisjoint(path.parents):
            found[name] = path
    names = sorted(found, key=lambda name: ("/" in name, name))
    rows = [_file_row(name, found[name]) for name in names[:MAX_FILES]]
    return rows, len(names) - len(rows)


def _file_row(name: str, path: Path) -> FileRow:
    what = _FILES.get(name) or _FOLDERS.get(name.split("/")[0], "")
    if path.name == REPORT:
        what = "report of a test's bench"
    if name in _LATER:
        return FileRow(name, "", "written after this page", what)
    if name == KEYS:
        return FileRow(name, grouped(path.stat().st_size), "not told", what)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRow(name, grouped(path.stat().st_size), digest, what)
    except OSError as error:
        return FileRow(name, "", "", f"cannot be read: {error.strerror}")
