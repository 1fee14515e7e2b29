"""The rows of a report's tables, out of the files of an evidence folder.

Source: ours. What a device or a peer wrote is shown with what cannot be printed replaced; values of
fields that hold keys are never shown, whatever the evidence holds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from gbcs.codes import Payload, parse_payload
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError
from hil.errors import RequestError
from hil.evidence import EVENTS, KEYS, VERDICT
from hil.figures import THIN_GAP, grouped, moment
from hil.frame_documents import document_of
from hil.pointers import CAPTURE_SUFFIX, Resolver, split_pointer
from hil.verdict import Requirement

REPORT = "report.html"
JUNIT = "junit.xml"
MAX_EVENTS = 5_000
MAX_FILES = 2_000
MAX_GBCS_FRAMES = 1_000

Event = Mapping[str, Any]

_PROBLEMS = frozenset({"anomaly", "gbcs-discarded"})
_COMMON = frozenset({"id", "time_s", "utc", "type", "device_id", "device_ids", "detail"})
_GROUPED = frozenset({"octets", "bytes", "blocks", "offset_bytes", "size_bytes"})
_SECRET = frozenset({"key"})
_HEX_DIGITS = {"firmware_version": 8, "device": 16, "alert_code": 4}
_FRAME_FILE_BYTES = 4 * 0x10000


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
    """An evidence pointer, where in the report it leads, and why it dangles if it does."""

    text: str
    href: str
    problem: str | None = None


class Linker:
    """Makes links of evidence pointers; `frames` are those that the report shows."""

    def __init__(self, folder: Path, frames: Collection[int]) -> None:
        self._resolver = Resolver(folder)
        self._frames = frames

    def link(self, pointer: str) -> Link:
        file, at = split_pointer(pointer)
        href = f"#file-{file}"
        if at is not None and at.isdecimal():
            if file == EVENTS:
                href = f"#e{at}"
            elif file.endswith(CAPTURE_SUFFIX) and int(at) in self._frames:
                href = f"#f{at}"
        problem = self._resolver.resolve(pointer)
        reason = None if problem is None else problem.removeprefix(f"{pointer}: ")
        return Link(printable(pointer), href, reason)


def named_frames(requirements: Iterable[Requirement]) -> set[int]:
    """The numbers of the frames that requirements name as evidence."""
    numbers = set()
    for requirement in requirements:
        for pointer in requirement.evidence:
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
class GbcsRow:
    """A GBCS frame; `fields` are its payload's, `problem` is why it has none."""

    event_id: int
    time: str
    title: str
    message_code: str
    originator: str
    recipient: str
    counter: str
    signature: str
    mac: str
    device_id: str
    file: str
    octets: str
    fields: Mapping[str, str]
    problem: str | None
    about: int | None


def gbcs_rows(folder: Path, events: Iterable[Event]) -> tuple[list[GbcsRow], int]:
    """The GBCS frames of a run, and how many beyond the bound are left out."""
    frames = [event for event in events if event["type"] == "gbcs"]
    rows = [_gbcs_row(folder, event) for event in frames[:MAX_GBCS_FRAMES]]
    return rows, len(frames) - len(rows)


def _gbcs_row(folder: Path, event: Event) -> GbcsRow:
    payload, problem = _payload(folder, event["file"])
    values = (
        {}
        if payload is None
        else {
            field.name: _value(field.name, getattr(payload, field.name))
            for field in fields(payload)
        }
    )
    return GbcsRow(
        event["id"],
        moment(event["time_s"]),
        f"{event['use_case']} {event['cra']}",
        event["message_code"],
        event["originator"],
        event["recipient"],
        grouped(event["originator_counter"]),
        event["signature"],
        event["mac"],
        event["device_id"],
        event["file"],
        grouped(event["octets"]),
        {name.replace("_", " "): value for name, value in values.items()},
        problem,
        getattr(payload, "device", None),
    )


def _payload(folder: Path, file: str) -> tuple[Payload | None, str | None]:
    try:
        with (folder / file).open("rb") as octets:
            received = parse_frame(bytes.fromhex(octets.read(_FRAME_FILE_BYTES).decode("ascii")))
        frame = received.frame
        base = received.payload_offset
        return parse_payload(frame.message_code, frame.cra, frame.payload, base), None
    except OSError as error:
        return None, f"{file} cannot be read: {error.strerror}"
    except ValueError as error:  # what is no hexadecimal
        return None, f"{file}: {error}"
    except GbcsError as error:
        return None, str(error)


def _value(name: str, value: object) -> str:
    if name in _SECRET:
        return "not shown"
    match value:
        case IntEnum() | datetime() | bytes():
            return str(document_of(value))
        case bool():
            return "yes" if value else "no"
        case int() if name in _HEX_DIGITS:
            return f"{value:0{_HEX_DIGITS[name]}X}"
        case _:
            return str(value)


def devices_concerned(
    rows: Iterable[GbcsRow], events: Sequence[Event], names: Mapping[int, str]
) -> dict[int, Sequence[str]]:
    """Of events that name the hub, which devices they are about, by event id: what a frame's
    payload names, and for an answer what was asked about. It goes for the WAN message round it."""
    asked: dict[tuple[str, str], str] = {}
    about: dict[int, Sequence[str]] = {}
    for row in rows:
        key = (row.message_code, row.counter)
        if row.about is not None and row.about in names:
            asked[key] = names[row.about]
        name = asked.get(key)
        if name is not None and name != row.device_id:
            about[row.event_id] = [name]
    requests: dict[str, Sequence[str]] = {}
    for event in events:
        if event["type"] == "wan" and event["id"] + 1 in about:
            about[event["id"]] = about[event["id"] + 1]
        elif event["type"] == "duis" and event["request_id"] is not None:
            if event["kind"] == "request":
                requests[event["request_id"]] = event["device_ids"]
            elif event["request_id"] in requests:
                about[event["id"]] = requests[event["request_id"]]
    return about


@dataclass(frozen=True, slots=True)
class FileRow:
    name: str
    size: str
    what: str


_FILES = {
    VERDICT: "the verdict, for programs",
    JUNIT: "the verdict, for CI servers",
    EVENTS: "what happened, an event a line",
    "air.pcapng": "every frame on the air, for Wireshark",
    "host.pcapng": "frames as the hosts of the radios saw them",
    KEYS: "keys of the air, for Wireshark: do not pass on",
}
_FOLDERS = {
    "duis": "DUIS message, as it was signed",
    "wan": "message between DSP and hub",
    "gbcs": "GBCS frame in hexadecimal",
}


def file_rows(folder: Path) -> tuple[list[FileRow], int]:
    """The files of the evidence, and how many beyond the bound are left out. The verdicts are
    written after the report, and so have no size yet."""
    found = {JUNIT: "", VERDICT: ""}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != REPORT and not name.endswith(".part"):
            found[name] = grouped(path.stat().st_size)
    rows = [
        FileRow(name, size, _FILES.get(name) or _FOLDERS.get(name.split("/")[0], ""))
        for name, size in sorted(found.items(), key=lambda item: ("/" in item[0], item[0]))
    ]
    return rows[:MAX_FILES], len(rows) - len(rows[:MAX_FILES])
