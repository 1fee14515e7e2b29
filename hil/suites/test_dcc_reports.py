"""What suppliers and the DCC report to AltHANCo of the updates that the bench has just made.

Source: MP170, annex A (R3: attempts and outcomes, an inventory that agrees; R4: deployed versions,
homes out of step). The rows are those of `hanbench dsp report`, made of what the DSP has committed.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from dsp_stub.althan_inventory import COLUMNS as ALTHAN_COLUMNS
from dsp_stub.althan_inventory import AltHanInventory, read_bridges
from dsp_stub.errors import DspValueError
from dsp_stub.reports import COLUMNS, Reports
from dsp_stub.row_files import write_rows
from dsp_stub.updates import UpdateState
from emulator.zigbee import ota
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.dcc import VARIANTS
from hil.session import Session
from hil.suites.test_inventory import STRANGER, row
from hil.verdict import version_text

SOME_BLOCKS = 5


def reports_of(bench: BenchUp) -> Reports:
    return Reports(bench.session.dcc.desk.store)


def eui64_text(device: BenchDevice) -> str:
    return f"{device.eui64:016X}"


def two_bridges(bench: BenchUp) -> tuple[BenchDevice, BenchDevice]:
    bridges = [one for one in bench.devices.values() if one.kind != "ppmid"]
    if len(bridges) < 2:
        pytest.skip("it takes two bridges")
    return bridges[0], bridges[1]


def last(rows: list[dict[str, str]], device: BenchDevice) -> dict[str, str]:
    return [one for one in rows if one["device_id"] == eui64_text(device)][-1]


@conformance(
    "MP170-R3",
    title="attempts go to AltHANCo, and its inventory is held against the DCC's",
    needs=("device", "emulated"),
    steps=(
        "one bridge is updated, and one in mid-transfer loses the hub's slot to another image",
        "the attempts with their outcomes are exported, as CSV and as JSON the same",
        "AltHANCo's inventory that agrees has no discrepancy",
        "one with another version, a bridge nobody knows and one that is missing: each is named",
        "a file with a bad line: the line is named, and nothing of it is taken over",
    ),
)
async def test_attempts_are_told_and_inventories_compared(
    bench: BenchUp, dsp: Session, step: Any
) -> None:
    good, loser = two_bridges(bench)
    with step(1):
        await loser.admit()
        await good.admit()
        await loser.ask_update()
        await bench.until(
            lambda: len(loser.sent(ota.ImageBlockRequest)) > SOME_BLOCKS, "it loads blocks"
        )
        assert await good.update() == "activated", good.track.detail
        await loser.settled()
    with step(2):
        rows = list(reports_of(bench).attempts())
        names = COLUMNS["attempts"]
        as_csv = write_rows(names, rows, as_json=False)
        as_json = write_rows(names, rows, as_json=True)
        assert list(csv.DictReader(io.StringIO(as_csv))) == json.loads(as_json) == rows
        assert [(one["device_id"], one["outcome"]) for one in rows] == [
            (eui64_text(loser), UpdateState.DISCARDED),
            (eui64_text(good), UpdateState.ACTIVATED),
        ]
        for device in (good, loser):
            attempt = last(rows, device)
            wanted = version_text(device.image.header.file_version)
            assert attempt["firmware_version"] == wanted
            assert attempt["variant"] == VARIANTS[device.kind]
            assert attempt["image_sha256"] == device.image.sha256
            assert attempt["started_at"] < attempt["ended_at"]
    althan = AltHanInventory(dsp.dcc.desk.store)
    lines = [",".join(ALTHAN_COLUMNS)]
    for device in (good, loser):
        found = await row(dsp, device.eui64)
        assert found is not None
        said = (VARIANTS[device.kind], found.device_manufacturer, found.device_model)
        version = found.device_firmware_version
        lines.append(",".join(map(str, (eui64_text(device), *said, version))))
    agreed = read_bridges("\n".join(lines), as_json=False)
    with step(3):
        althan.replace(agreed)
        assert list(althan.discrepancies()) == []
    with step(4):
        stranger = replace(agreed[1], device_id=STRANGER)
        althan.replace([replace(agreed[0], firmware_version="00DD0000"), stranger])
        told = {(one["device_id"], one["discrepancy"]) for one in althan.discrepancies()}
        assert told == {
            (eui64_text(good), "differs"),
            (eui64_text(loser), "not at AltHANCo"),
            (f"{STRANGER:016X}", "no bridge at the DCC"),
        }
    with step(5):
        before = althan.all()
        wrong = [*lines[:2], lines[2].replace("AltHAN Bridge", "Bridge")]
        with pytest.raises(DspValueError, match="line 3"):
            althan.replace(read_bridges("\n".join(wrong), as_json=False))
        assert althan.all() == before


@conformance(
    "MP170-R4",
    title="deployed versions, the month and homes out of step are reported as they are",
    needs=("device", "emulated"),
    steps=(
        "one bridge is updated, the other has missed it: out of step, with that cause",
        "the other loads: out of step, since its update is in progress",
        "another image takes the hub's slot: out of step, and the hub is the cause",
        "deployed versions have each bridge with its home, its hub and its last attempt",
        "the month counts three attempts and two successes, the month before none",
        "ESI-034 tells the variant of each, ESI-034i those that something happened to",
        "the other is updated: no home is out of step any more",
    ),
)
async def test_deployed_versions_are_reported(bench: BenchUp, dsp: Session, step: Any) -> None:
    first, other = two_bridges(bench)
    reports = reports_of(bench)

    def behind() -> list[tuple[str, str, str]]:
        names = ("device_id", "cause", "in_step_in_home")
        return [(one[names[0]], one[names[1]], one[names[2]]) for one in reports.out_of_step()]

    with step(1):
        await other.admit()
        assert await first.update() == "activated", first.track.detail
        assert behind() == [(eui64_text(other), "missed", "1")]
    with step(2):
        await other.ask_update()
        await bench.until(
            lambda: len(other.sent(ota.ImageBlockRequest)) > SOME_BLOCKS, "it loads blocks"
        )
        assert behind() == [(eui64_text(other), "in progress", "1")]
    with step(3):
        newer = first.further_image(first.running + 0x100)
        assert await first.update(newer) == "activated", first.track.detail
        await other.settled()
        assert behind() == [(eui64_text(other), "CH", "1")]
    with step(4):
        hub = f"{dsp.wiring.hub.node.eui64:016X}"
        rows = list(reports.devices())
        assert len(rows) == 2
        for device, outcome in ((first, UpdateState.ACTIVATED), (other, UpdateState.DISCARDED)):
            told = last(rows, device)
            number = device.kind.removeprefix("bridge-")
            assert told["variant"] == VARIANTS[device.kind]
            assert told["label"] == f"Alt HAN bridge {number}"
            assert told["model"] == device.track.product.model
            assert told["firmware_version"] == await device.read_inventory()
            assert (told["chf"], told["mpxn"]) == (hub, "1200000000001")
            assert told["last_attempt_outcome"] == outcome
    with step(5):
        now = dsp.utc_now()
        month = now.strftime("%Y-%m")
        total = list(reports.monthly(month))[-1]
        counted = (total["attempts"], total["activated"], total["failed"])
        assert counted == ("3", "2", "1")
        assert total["success_rate_percent"].startswith("66.")
        before = f"{now.year - 1}-{now.month:02}"
        assert list(reports.monthly(before))[-1]["attempts"] == "0"
        assert list(reports.attempts(before)) == []
    with step(6):
        for device in (first, other):
            told = last(list(reports.esi_034()), device)
            assert told["smets_variant_type"] == VARIANTS[device.kind]
        changed = {one["device_id"] for one in reports.esi_034(month, incremental=True)}
        assert changed >= {eui64_text(first), eui64_text(other)}
        assert list(reports.esi_034(before, incremental=True)) == []
    with step(7):
        assert await other.update() == "activated", other.track.detail
        assert behind() == []
