"""The verdict as a report reads it: out of `verdict.json`, or out of the events of a run without.

Source: DESIGN, "What it promises to the outside" (`verdict.json`). Three keys are not of every run:

    key     what                                        keys of each
    ------  ------------------------------------------  ----------------------------------------
    radios  the sticks, as asked before anything is     name, url, ezsp, firmware, board,
            sent                                        key_table_size, library_status, eui64,
                                                        channel, rssi_dbm, lqi
    suites  the tests of the conformance suites         id, title, requirements, claims, steps
                                                        (text, outcome, time_s, evidence),
                                                        outcome, detail, repeat, device, folder
    under_  the devices they were run on                device_id, kind, eui64, dut, claims,
    test                                                version, image_version, image_policy,
                                                        bytes, sha256

A run that was interrupted, or broke, has no `verdict.json`: what its events tell is a verdict too,
and it is never a pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from hil.errors import RequestError
from hil.evidence import VERDICT
from hil.verdict import (
    Alert,
    Check,
    Clock,
    DeviceVerdict,
    Kind,
    Outcome,
    ReadBack,
    Requirement,
    UnderTest,
    Verdict,
)

Ending = Literal["pass", "fail", "interrupted", "broke", "unfinished"]
Event = Mapping[str, Any]

_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class Radio:
    """One stick; None is what nobody learnt."""

    name: str
    url: str | None = None
    ezsp: int | None = None
    firmware: str | None = None
    board: str | None = None
    key_table_size: int | None = None
    library_status: str | None = None
    eui64: str | None = None
    channel: int | None = None
    rssi_dbm: float | None = None
    lqi: float | None = None


@dataclass(frozen=True, slots=True)
class SuiteStep:
    text: str
    outcome: str
    time_s: float | None = None
    evidence: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SuiteTest:
    id: str
    title: str
    outcome: str
    requirements: Sequence[str] = ()
    claims: Sequence[str] = ()
    steps: Sequence[SuiteStep] = ()
    detail: str = ""
    repeat: str = ""
    device: str | None = None
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Reported:
    """A verdict with whatever else its document holds; `ending` is how the run ended."""

    verdict: Verdict
    ending: Ending
    detail: str = ""
    radios: Sequence[Radio] = ()
    suites: Sequence[SuiteTest] = ()
    under_test: Sequence[UnderTest] = ()


def reported(verdict: Verdict) -> Reported:
    """What `verdict.json` will say of this verdict."""
    return _reported(json.loads(verdict.to_json()), VERDICT)


def read_reported(folder: Path, events: Sequence[Event]) -> Reported:
    """What the evidence in `folder` says. Raises RequestError for a file that is no verdict."""
    path = folder / VERDICT
    if not path.is_file():
        return _unfinished(events)
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is no verdict: {error}") from None
    return _reported(document, str(path))


def _reported(document: Any, where: str) -> Reported:
    try:
        ending = document["verdict"]
        if ending not in ("pass", "fail"):
            raise ValueError(f"verdict is {ending!r}")
        verdict = Verdict(
            seed=int(document["seed"]),
            clock=document["clock"],
            trace_hash=document["trace_hash"],
            wall_s=float(document["wall_s"]),
            virtual_s=float(document["virtual_s"]),
            devices=[_device(device) for device in document["devices"]],
            unwitnessed=_texts(document["unwitnessed"]),
            checks=[_part(Check, check) for check in document["checks"]],
            scope=_texts(document["scope"]),
            requirements=[_part(Requirement, one) for one in document["requirements"]],
        )
        return Reported(
            verdict,
            ending,
            radios=[_part(Radio, radio) for radio in document.get("radios") or ()],
            suites=[_suite_test(test) for test in document.get("suites") or ()],
            under_test=[_part(UnderTest, one) for one in document.get("under_test") or ()],
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise RequestError(f"{where} is no verdict: {what}") from None


def _part(kind: type[_Part], document: Any) -> _Part:
    """An object as the dataclass of it; what that does not know is for later readers."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in document.items() if name in known})


def _device(document: Any) -> DeviceVerdict:
    read_back = document["read_back"]
    return _part(
        DeviceVerdict,
        {
            **document,
            "alerts": [_part(Alert, alert) for alert in document["alerts"]],
            "read_back": None if read_back is None else _part(ReadBack, read_back),
        },
    )


def _suite_test(document: Any) -> SuiteTest:
    steps = [_part(SuiteStep, step) for step in document.get("steps") or ()]
    return _part(SuiteTest, {**document, "steps": steps})


def _texts(values: Any) -> list[str]:
    return [str(value) for value in values]


def _unfinished(events: Sequence[Event]) -> Reported:
    """The verdict of a run that wrote none, device by device as far as it came."""
    if not events or events[0]["type"] != "run-started":
        raise RequestError(f"there is no {VERDICT}, and the events are not those of a run")
    started, last = events[0], events[-1]
    ended = last["type"] == "run-ended"
    devices = [
        _so_far(one["device_id"], cast(Kind, one["kind"]), events) for one in started["devices"]
    ]
    verdict = Verdict(
        seed=started["seed"],
        clock=cast(Clock, started["clock"]),
        trace_hash=None,
        wall_s=last["wall_s"] if ended else 0.0,
        virtual_s=last["time_s"],
        devices=devices,
    )
    ending = cast(Ending, last["verdict"]) if ended else "unfinished"
    if ending in ("pass", "fail"):
        ending = "unfinished"  # it came to an end, and was stopped before it wrote that down
    return Reported(verdict, ending, str(last.get("detail") or "") if ended else "")


def _so_far(device_id: str, kind: Kind, events: Sequence[Event]) -> DeviceVerdict:
    outcome: Outcome = "not-attempted"
    before = after = sha256 = None
    blocks = octets = 0
    for event in events:
        if event.get("device_id") != device_id:
            continue
        match event["type"]:
            case "image-offered":
                sha256 = event["sha256"]
            case "transfer-started":
                outcome = "timed-out"
            case "progress":
                blocks, octets = event["blocks"], event["offset_bytes"]
            case "transfer-done":
                blocks, octets = event["blocks"], event["bytes"]
                outcome = "transferred-unconfirmed"
            case "outcome":
                outcome = event["outcome"]
                before, after = event["version_before"], event["version_after"]
    return DeviceVerdict(
        device_id, kind, outcome, before, after, "maker-signed", blocks, octets, sha256
    )
