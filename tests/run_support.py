"""A run on the virtual clock in this process, whoever meddles with it, and what it left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dsp_stub.desk import Desk
from dsp_stub.smi import SmiDevice
from hil.bench_file import Bench
from hil.clock import VirtualLoop
from hil.closing import variant_leaks, with_evidence
from hil.evidence import Evidence
from hil.images import device_images
from hil.live import Live
from hil.scenario import Scenario
from hil.session import Session
from hil.track import Track
from hil.verdict import DeviceVerdict, RequirementResult, Verdict

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = "00010100", "00010200"
Event = dict[str, Any]
Meddle = Callable[[Scenario, Event], object]

PPMID = {"id": "ppmid", "kind": "ppmid"}
TWIN = {"id": "twin", "kind": "ppmid"}
BRIDGE = {"id": "bridge-1", "kind": "bridge-1"}


def bench(*devices: Event, **changes: Any) -> Bench:
    small = [{"image_size_bytes": 2048} | device for device in devices]
    return Bench.model_validate({"device": small} | changes)


class Told:
    """Runs a scenario; `meddle` is called with it for every event."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(self, made: Bench, meddle: Meddle | None = None) -> Verdict:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with (
            Evidence(self.folder, epoch=EPOCH) as evidence,
            pytest.MonkeyPatch.context() as monkeypatch,
        ):
            live = Live("virtual", silent=True)
            scenario = Scenario(made, device_images(made), loop, evidence, live)
            if meddle is not None:
                monkeypatch.setattr(live, "show", lambda event: meddle(scenario, dict(event)))
            await scenario.run()
            judged = scenario.verdict(wall_s=0.0, leaks=variant_leaks(self.folder))
            verdict = with_evidence(judged, self.folder)
            scenario.end(verdict.verdict, wall_s=0.0)
            return verdict

    def events(self, event_type: str, /, **wanted: object) -> list[Event]:
        """The events of a type, those alone whose fields are as wanted."""
        return [
            event
            for event in self.all_events()
            if event["type"] == event_type
            and all(event.get(name) == value for name, value in wanted.items())
        ]

    def all_events(self) -> Iterator[Event]:
        return map(json.loads, (self.folder / "events.jsonl").read_text().splitlines())

    def answers(self, service: str) -> list[str]:
        """The codes of the answers to the requests of a service."""
        acknowledged = self.events("duis", kind="acknowledgement", service=service)
        return [event["code"] for event in acknowledged]

    def alerts(self, code: str) -> list[Event]:
        """The DCC alerts with this code that reached the supplier."""
        return self.events("duis", kind="alert", code=code)

    def discards(self, where: str) -> list[tuple[str | None, str]]:
        """Whose frames were discarded there, and why."""
        events = self.events("gbcs-discarded", where=where)
        return [(event["device_id"], event["reason"]) for event in events]

    def detail(self, device_id: str) -> str:
        """Why a device came to the outcome it has."""
        (outcome,) = self.events("outcome", device_id=device_id)
        detail: str = outcome["detail"]
        return detail


def once(moment: str, act: Callable[[Scenario, Event], object], **wanted: object) -> Meddle:
    """Meddle at the first event of a type, whose fields are as wanted."""
    done: list[Event] = []

    def meddle(scenario: Scenario, event: Event) -> None:
        fits = all(event.get(name) == value for name, value in wanted.items())
        if event["type"] == moment and fits and not done:
            done.append(event)
            act(scenario, event)

    return meddle


def unplug(name: str) -> Callable[[Scenario, Event], None]:
    """Pull this stick out."""

    def act(scenario: Scenario, _event: Event) -> None:
        assert scenario.wiring.air is not None
        scenario.wiring.air._lines.unplug(name)

    return act


def desk_of(scenario: Scenario) -> Desk:
    """The records of the run's DSP."""
    desk = scenario.dcc._desk
    assert desk is not None
    return desk


def row_of(scenario: Scenario, track: Track) -> SmiDevice:
    """The inventory's row of a device as it is now."""
    row = desk_of(scenario).inventory.get(track.eui64)
    assert row is not None
    return row


def outcomes(verdict: Verdict) -> dict[str, str]:
    return {device.device_id: device.outcome for device in verdict.devices}


def device(verdict: Verdict, device_id: str) -> DeviceVerdict:
    (found,) = [one for one in verdict.devices if one.device_id == device_id]
    return found


def judged(verdict: Verdict) -> dict[str, RequirementResult]:
    """What became of each requirement of the scope, without its prefix."""
    return {
        one.id.removeprefix("MP170-"): one.verdict
        for one in verdict.requirements
        if one.id in verdict.scope
    }


@asynccontextmanager
async def session(made: Bench, folder: Path) -> AsyncIterator[Session]:
    """DSP and hub are up."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    with Evidence(folder, epoch=EPOCH) as evidence:
        home = Session(made, device_images(made), loop, evidence, Live("virtual", silent=True))
        try:
            await home.form()
            yield home
        finally:
            await home.close()
