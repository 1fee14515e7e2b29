"""The events of a run as the steps of one device's update, from the DUIS request to N39.

Source: ours; the form of the events is that of schemas/events.schema.json. A step is what a person
would draw: a WAN message that only carries a GBCS frame is that frame, and all the blocks of a
transfer are one arrow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from hil.figures import grouped
from hil.report_charts import Lifeline, Step
from hil.report_plots import Point

MAX_STEPS = 120
"""Of more, the first half and the last half are drawn."""

HUB = "hub"
SERVICES = {
    "6.15.1": "Update Security Credentials (KRP)",
    "6.21": "Request Handover of DCC Controlled Device",
    "8.2": "Read Inventory",
    "8.3": "Decommission Device",
    "8.4": "Update Inventory",
    "8.7.2": "Join Service (Non-Critical)",
    "8.8.2": "Unjoin Service (Non-Critical)",
    "8.9": "Read Device Log",
    "8.11": "Update HAN Device Log",
    "8.12.1": "Restore HAN Device Log",
    "11.1": "Update Firmware",
    "11.2": "Read Firmware Version",
    "11.3": "Activate Firmware",
    "11.4": "Update PPMID Firmware",
    "12.2": "Device Pre-notification",
}
_WHERE: dict[str, Lifeline] = {"device": "device", "hub": "hub", "dsp": "DSP"}

Event = Mapping[str, Any]


def device_steps(
    events: Sequence[Event], device_id: str, about: Mapping[int, Collection[str]]
) -> list[Step]:
    """What concerned this device, in order. `about` says of events that name the hub alone, as its
    own GBCS frames and the answers it gives do, which devices they are about."""
    steps = []
    carried = {event["id"] - 1 for event in events if event["type"] == "gbcs"}
    for position, event in enumerate(events):
        if device_id not in _devices(event, about):
            continue
        if event["type"] == "transfer-started":
            steps.append(_transfer(events[position:], device_id))
        elif event["type"] != "wan" or event["id"] not in carried:
            step = _step(event)
            if step is not None:
                steps.append(step)
    return steps


def shorten(steps: Sequence[Step]) -> tuple[Sequence[Step], int]:
    """The steps to draw, and how many of the middle are left out."""
    left_out = len(steps) - MAX_STEPS
    if left_out <= 0:
        return steps, 0
    half = MAX_STEPS // 2
    return [*steps[:half], *steps[-half:]], left_out


def _devices(event: Event, about: Mapping[int, Collection[str]]) -> Collection[str]:
    named = about.get(event["id"])
    if named is not None:
        return named
    if "device_ids" in event:
        return list(event["device_ids"])
    return (event.get("device_id"),)  # type: ignore[return-value]


def _step(event: Event) -> Step | None:
    """An event other than a transfer's; None for one that is no step."""
    match event["type"]:
        case "duis":
            return _duis(event)
        case "wan":
            down = event["direction"] == "to-hub"
            label = f"{event['kind']} {event['detail']}".strip()
            return _arrow(event, "DSP" if down else "hub", "hub" if down else "DSP", label, "wan")
        case "gbcs":
            return _gbcs(event)
        case "gbcs-discarded":
            label = f"discarded, {event['reason']} {event['detail']}".strip()
            return _note(event, _WHERE[event["where"]], label, "bad")
        case "joined":
            return _arrow(event, "device", "hub", f"joined as {event['node_id']}", "han")
        case "tunnel":
            return _note(event, "device", _detailed(f"tunnel {event['state']}", event), "note")
        case "image-offered":
            size = grouped(event["size_bytes"])
            return _note(event, "hub", f"image {event['version']}, {size} octets, on offer", "note")
        case "restarted":
            return _note(event, "device", f"restarted, runs {event['version']}", "note")
        case "outcome":
            before, after = event["version_before"], event["version_after"]
            label = f"{event['outcome']}, {before or 'unknown'} → {after or 'unknown'}"
            return _note(
                event, "device", label, "good" if event["outcome"] == "activated" else "bad"
            )
        case "anomaly":
            return _note(event, "device", _detailed(event["kind"], event), "anomaly")
        case _:
            return None


def _duis(event: Event) -> Step:
    service, code = event["service"] or "", event["code"] or ""
    # A refusal may be what was wanted, so it is no alarm.
    answer = "refused" if code.startswith("E") else "arrow"
    match event["kind"]:
        case "request":
            label = f"{service} {SERVICES.get(service, '')}".strip()
            return _arrow(event, "user", "DSP", label, "arrow")
        case "acknowledgement":
            return _arrow(event, "DSP", "user", _detailed(code, event), answer)
        case "response":
            return _arrow(event, "DSP", "user", f"{service} response {code}", answer)
        case _:
            label = f"{code} {event['detail'] or event['element'] or ''}".strip()
            return _arrow(event, "DSP", "user", label, "alert")


def _gbcs(event: Event) -> Step:
    end: Lifeline = "hub" if event["device_id"] == HUB else "device"
    label = f"{event['use_case']} {event['cra']}"
    bad = [what for what in ("signature", "mac") if event[what] == "invalid"]
    if bad:
        label += f", {' and '.join(bad)} invalid"
    style = "bad" if bad else "gbcs"
    if event["direction"] == "to-device":
        return _arrow(event, "DSP", end, label, style)
    return _arrow(event, end, "DSP", label, style)


def _transfer(events: Sequence[Event], device_id: str) -> Step:
    """The transfer that begins with the first of `events`, as far as it came."""
    start = events[0]
    last = start
    done = False
    for event in events[1:]:
        if event.get("device_id") != device_id:
            continue
        if event["type"] in ("transfer-started", "outcome"):
            break
        if event["type"] in ("progress", "transfer-done"):
            last, done = event, event["type"] == "transfer-done"
        if done:
            break
    octets, blocks = last.get("bytes", last.get("offset_bytes", 0)), last.get("blocks", 0)
    label = f"{grouped(blocks)} blocks, {grouped(octets)} octets"
    if not done:
        label = f"{grouped(octets)} of {grouped(start['size_bytes'])} octets, then no more"
    style = "transfer" if done else "bad"
    time_s, end_s = start["time_s"], last["time_s"]
    return Step(time_s, "hub", "device", label, start["id"], style, end_s)


def _arrow(event: Event, source: Lifeline, target: Lifeline, label: str, style: str) -> Step:
    return Step(event["time_s"], source, target, label, event["id"], style)


def _note(event: Event, at: Lifeline, label: str, style: str) -> Step:
    return Step(event["time_s"], at, at, label, event["id"], style)


def _detailed(words: str, event: Event) -> str:
    return f"{words}: {event['detail']}" if event.get("detail") else words


# -- how a transfer went on ----------------------------------------------------------------------


def offsets(events: Iterable[Event], device_id: str) -> list[Point]:
    """How much of the image had arrived when."""
    points = []
    for event in events:
        if event.get("device_id") != device_id:
            continue
        if event["type"] == "transfer-started":
            points.append(Point(event["time_s"], 0))
        elif event["type"] in ("progress", "transfer-done"):
            octets = event.get("bytes", event.get("offset_bytes", 0))
            if not points or points[-1].value != octets:  # the end of the transfer moves nothing
                points.append(Point(event["time_s"], octets))
    return points


def rates(points: Sequence[Point]) -> list[Point]:
    """Octets a second, each from one point up to the next; nothing while it began anew."""
    found = []
    for before, after in pairwise(points):
        took_s, octets = after.time_s - before.time_s, after.value - before.value
        if took_s > 0:
            found.append(Point(before.time_s, max(0.0, octets / took_s)))
    return [*found, found[-1]._replace(time_s=points[-1].time_s)] if found else []
