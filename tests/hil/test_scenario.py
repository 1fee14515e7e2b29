"""The course of a run, and what becomes of it when a part of the bench gives out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from emulator.devices.hub import Hub
from emulator.medium.air import Loss
from hil.bench_file import Bench
from hil.clock import VirtualLoop
from hil.errors import BenchBroke
from hil.evidence import Evidence
from hil.images import device_images
from hil.live import Live
from hil.scenario import Scenario
from hil.verdict import Verdict

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
Event = dict[str, Any]


def bench(*devices: Event, **changes: Any) -> Bench:
    small = [{"image_size_bytes": 2048} | device for device in devices]
    return Bench.model_validate({"tunnel": {"octets": [132]}, "device": small} | changes)


PPMID = {"id": "ppmid", "kind": "ppmid"}
TWIN = {"id": "twin", "kind": "ppmid"}
BRIDGE = {"id": "bridge-1", "kind": "bridge-1"}


class Told:
    """Runs a scenario; `meddle` is called with it for every event."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.verdict: Verdict | None = None

    async def run(
        self, made: Bench, meddle: Callable[[Scenario, Event], object] | None = None
    ) -> Verdict:
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
            verdict = scenario.verdict(wall_s=0.0)
            scenario.end(verdict.verdict, wall_s=0.0)
            return verdict

    def events(self, kind: str) -> list[Event]:
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["type"] == kind]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "ev")


async def test_products_are_updated_one_after_the_other_and_twins_together(told: Told) -> None:
    verdict = await told.run(bench(PPMID, BRIDGE, TWIN))
    assert verdict.verdict == "pass"
    offered = [event["device_id"] for event in told.events("image-offered")]
    assert offered == ["ppmid", "twin", "bridge-1"]
    last_of_first = max(
        event["id"] for event in told.events("outcome") if event["device_id"] != "bridge-1"
    )
    first_of_second = next(
        event["id"] for event in told.events("transfer-started") if event["device_id"] == "bridge-1"
    )
    assert last_of_first < first_of_second


async def test_activated_means_that_the_restarted_device_asked_with_the_new_version(
    told: Told,
) -> None:
    await told.run(bench(PPMID))
    order = [
        told.events(kind)[0]["id"]
        for kind in ("joined", "image-offered", "transfer-started", "transfer-done", "restarted")
    ]
    (outcome,) = told.events("outcome")
    assert [*order, outcome["id"]] == sorted([*order, outcome["id"]])
    assert (outcome["version_before"], outcome["version_after"]) == ("00010100", "00010200")
    assert outcome["outcome"] == "activated"


async def test_a_device_that_loses_its_radio_is_lost_alone(told: Told) -> None:
    def meddle(scenario: Scenario, event: Event) -> None:
        if event["type"] == "transfer-started" and event["device_id"] == "ppmid":
            assert scenario.wiring.air is not None
            scenario.wiring.air._lines.unplug("ppmid")

    verdict = await told.run(bench(PPMID, BRIDGE), meddle)
    assert [one.outcome for one in verdict.devices] == ["timed-out", "activated"]
    assert verdict.exit_code == 1
    (outcome,) = [one for one in told.events("outcome") if one["device_id"] == "ppmid"]
    assert "was lost" in outcome["detail"]
    assert told.events("anomaly")


async def test_a_device_lost_before_its_turn_has_an_outcome_too(told: Told) -> None:
    def meddle(scenario: Scenario, event: Event) -> None:
        if event["type"] == "transfer-started" and event["device_id"] == "ppmid":
            assert scenario.wiring.air is not None
            scenario.wiring.air._lines.unplug("bridge-1")

    verdict = await told.run(bench(PPMID, BRIDGE), meddle)
    assert [one.outcome for one in verdict.devices] == ["activated", "not-attempted"]
    (outcome,) = [one for one in told.events("outcome") if one["device_id"] == "bridge-1"]
    assert "was lost" in outcome["detail"]


@pytest.mark.parametrize("moment", ["network-formed", "joined", "transfer-started"])
async def test_a_hub_that_loses_its_radio_breaks_the_bench_in_one_sentence(
    told: Told, moment: str
) -> None:
    done: list[int] = []

    def meddle(scenario: Scenario, event: Event) -> None:
        if event["type"] == moment and not done:
            done.append(1)
            assert scenario.wiring.air is not None
            scenario.wiring.air._lines.unplug("hub")

    with pytest.raises(BenchBroke, match=r"radio mem://run-[0-9a-f]+/hub") as broke:
        await told.run(bench(PPMID, BRIDGE), meddle)
    assert "\n" not in str(broke.value)


async def test_a_mistake_of_the_benchs_own_ends_the_run_and_is_called_that(told: Told) -> None:
    def meddle(_scenario: Scenario, event: Event) -> None:
        if event["type"] == "transfer-started":
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: dict[str, int]()["nothing"])

    with pytest.raises(BenchBroke, match="a mistake of its own: KeyError"):
        await told.run(bench(PPMID), meddle)


async def test_a_message_that_arrives_changed_is_a_failed_check(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Hub.send_through_tunnel
    monkeypatch.setattr(
        Hub,
        "send_through_tunnel",
        lambda self, eui64, message: send(self, eui64, message[:-1] + b"!"),
    )
    verdict = await told.run(bench(PPMID))
    assert [one.outcome for one in verdict.devices] == ["activated"]
    assert {check.verdict for check in verdict.checks} == {"fail"}
    assert verdict.verdict == "fail"


async def test_a_message_that_arrives_twice_is_a_failed_check(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Hub.send_through_tunnel

    def twice(self: Hub, eui64: int, message: bytes) -> None:
        send(self, eui64, message)
        send(self, eui64, message)

    monkeypatch.setattr(Hub, "send_through_tunnel", twice)
    verdict = await told.run(bench(PPMID))
    assert {check.verdict for check in verdict.checks} == {"fail"}


async def test_another_file_in_the_flash_than_the_one_sent_is_no_activation(told: Told) -> None:
    def meddle(scenario: Scenario, event: Event) -> None:
        if event["type"] == "restarted":
            track = scenario.tracks["ppmid"]
            assert track.restarted is not None
            track.restarted = type(track.restarted)(track.restarted.file_version, "0" * 64, True)

    verdict = await told.run(bench(PPMID), meddle)
    (device,) = verdict.devices
    assert device.outcome == "activation-failed"


async def test_silence_after_the_offer_is_a_time_out_and_not_for_ever(told: Told) -> None:
    def meddle(scenario: Scenario, event: Event) -> None:
        if event["type"] == "transfer-started":
            assert scenario.wiring.air is not None
            scenario.wiring.air.medium.set_losses((Loss(1.0),))

    verdict = await told.run(bench(PPMID), meddle)
    (device,) = verdict.devices
    assert device.outcome in ("timed-out", "transfer-failed")
    assert verdict.virtual_s < 24 * 3600


async def test_without_tunnel_messages_none_are_tried(told: Told) -> None:
    verdict = await told.run(bench(PPMID, tunnel={"octets": []}))
    assert verdict.checks == []
    assert [event["state"] for event in told.events("tunnel")] == ["open", "open"]
