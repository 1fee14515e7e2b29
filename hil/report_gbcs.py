"""The GBCS frames of a run as trees: envelope and payload, field by field.

Source: ours; fields and their names are those of `gbcs`. Values of fields that hold keys are never
shown, whatever the evidence holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from gbcs.codes import Payload, parse_payload
from gbcs.envelope import ReceivedFrame, parse_frame
from gbcs.errors import GbcsError
from hil.figures import grouped, moment
from hil.frame_documents import document_of, envelope_document
from hil.report_rows import printable

MAX_FRAMES = 1_000
MAX_TREES = 300
"""Frames beyond are in the table without their trees."""
MAX_NODES = 400

_SECRET = frozenset({"key", "hashed_key"})
_MAX_VALUE = 160
_FRAME_FILE_OCTETS = 4 * 0x10000

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GbcsRow:
    """A GBCS frame; `problem` is why there is no payload. A key frame is one to see at once: an
    alert, what a device answers, and whatever does not verify."""

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
    tree: Markup | None
    problem: str | None
    about: int | None
    is_key: bool


def gbcs_rows(folder: Path, events: Iterable[Event]) -> tuple[list[GbcsRow], int]:
    """The GBCS frames of a run, and how many beyond the bound are left out."""
    frames = [event for event in events if event["type"] == "gbcs"]
    rows = [
        _row(folder, event, with_tree=number < MAX_TREES)
        for number, event in enumerate(frames[:MAX_FRAMES])
    ]
    return rows, len(frames) - len(rows)


def _row(folder: Path, event: Event, *, with_tree: bool) -> GbcsRow:
    received, payload, problem = _read(folder, event["file"])
    tree = None if received is None or not with_tree else _tree(received, payload)
    is_bad = "invalid" in (event["signature"], event["mac"]) or problem is not None
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
        tree,
        problem,
        getattr(payload, "device", None),
        is_bad or event["cra"] == "alert" or (event["use_case"], event["cra"]) == _READ_BACK,
    )


_READ_BACK = ("CS08", "response")


def _read(folder: Path, file: str) -> tuple[ReceivedFrame | None, Payload | None, str | None]:
    received = None
    try:
        with (folder / file).open("rb") as octets:
            received = parse_frame(bytes.fromhex(octets.read(_FRAME_FILE_OCTETS).decode("ascii")))
        frame = received.frame
        base = received.payload_offset
        return received, parse_payload(frame.message_code, frame.cra, frame.payload, base), None
    except OSError as error:
        return None, None, f"{file} cannot be read: {error.strerror}"
    except ValueError as error:  # what is no hexadecimal
        return None, None, f"{file}: {error}"
    except GbcsError as error:
        return received, None, str(error)


def _tree(received: ReceivedFrame, payload: Payload | None) -> Markup:
    frame = received.frame
    document = {
        "envelope": {
            "cra": frame.cra.name.lower(),
            "message_code": f"{frame.message_code:04X}",
            "originator": f"{frame.originator:016X}",
            "recipient": f"{frame.recipient:016X}",
            "originator_counter": frame.originator_counter,
            **envelope_document(received),
        },
        # what cannot be read may hold a key all the same
        "payload": f"{len(frame.payload)} octets" if payload is None else document_of(payload),
    }
    budget = [MAX_NODES]
    return Markup("").join(("", *(_node(name, value, budget) for name, value in document.items())))


def _node(name: str, value: Any, budget: list[int]) -> Markup:
    """One field, with what it holds below it; `budget` bounds how many are drawn in all."""
    budget[0] -= 1
    if budget[0] < 0:
        return Markup("<li>…</li>") if budget[0] == -1 else Markup("")
    label = escape(name.replace("_", " "))
    if name in _SECRET:
        return Markup("<li><b>{}</b> not shown</li>").format(label)
    parts: Sequence[tuple[str, Any]]
    match value:
        case dict():
            parts = list(value.items())
        case list():
            parts = [(f"{at}", each) for at, each in enumerate(value, 1)]
        case _:
            return Markup("<li><b>{}</b> <span>{}</span></li>").format(label, _words(name, value))
    inner = Markup("").join(_node(key, each, budget) for key, each in parts)
    return Markup("<li><b>{}</b><ul>{}</ul></li>").format(label, inner or "none")


def _words(name: str, value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith("counter"):
            return grouped(value)
        case _:
            text = printable(str(value))
            if not text:
                return "empty"
            return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}… ({len(text)} in all)"


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
