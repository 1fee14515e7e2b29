"""For every requirement a run shows there is a mutant of the system that it does not show it of.

A mutant is a part of the real system with one behaviour changed; all else runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from bench_support import finished_run
from run_support import (
    BRIDGE,
    OLD,
    PPMID,
    Event,
    Told,
    bench,
    judged,
    once,
    outcomes,
)

from dsp_stub import firmware_service, inbound, inbound_responses
from dsp_stub.cpl import Cpl
from dsp_stub.desk import Desk, Refusal
from dsp_stub.inventory import Inventory
from dsp_stub.options import Options
from dsp_stub.responses import FirmwareWarning
from dsp_stub.smi import DeviceType, PpmidVariant
from dsp_stub.updates import Updates
from emulator.devices import gbcs_half
from firmware_images.checks import SizeLimit
from gbcs.acb import AccessControlBroker
from gbcs.endpoint import Endpoint
from gbcs.wan import DeviceLogEntry
from gbcs.wan import DeviceType as WanDeviceType
from hil.closing import with_evidence
from hil.judging import SCOPE, Probe, requirements
from hil.scenario import Scenario
from hil.verdict import Requirement, Verdict

Patch = pytest.MonkeyPatch


def test_a_clean_run_shows_its_whole_scope_with_evidence_for_each() -> None:
    document = finished_run().document
    shown = {one["id"]: one for one in document["requirements"]}
    assert tuple(document["scope"]) == SCOPE
    for name in SCOPE:
        assert shown[name]["verdict"] == "pass"
        assert shown[name]["evidence"]
    others = {one["verdict"] for name, one in shown.items() if name not in SCOPE}
    assert others == {"not-run"}
    assert [check["verdict"] for check in document["checks"]] == ["pass"] * 4


async def fails(told: Told, *names: str, meddle: object = None) -> Verdict:
    """A run of two products in which these requirements fail, and so does the run."""
    verdict = await told.run(bench(PPMID, BRIDGE), meddle)  # type: ignore[arg-type]
    assert {name: judged(verdict)[name] for name in names} == dict.fromkeys(names, "fail")
    assert verdict.exit_code == 1
    return verdict


# -- R12, SIZE, BUSY: what must be refused -------------------------------------------------


async def test_a_dsp_that_sends_unknown_images_does_not_show_r12(
    told: Told, monkeypatch: Patch
) -> None:
    def any_entry(desk: Desk, *_arguments: object) -> object:
        return [one for one in desk.cpl.find(device_type=DeviceType.PPMID) if one.is_current]

    monkeypatch.setattr(firmware_service, "current_entries", any_entry)
    await fails(told, "R12")
    assert told.answers("11.4")[0] == "I99"


async def test_a_dsp_that_does_not_measure_does_not_show_size(
    told: Told, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(Options, "size_limit", lambda _self: SizeLimit(10_000, "kib", "file"))
    verdict = await fails(told, "SIZE")
    assert told.answers("11.4")[1] == "E110401"  # refused, and for another reason
    assert judged(verdict)["R12"] == "pass"


async def test_a_dsp_with_another_unit_does_not_show_size(told: Told, monkeypatch: Patch) -> None:
    """768 001 octets are refused by either: the test of the limit is the octet before."""
    size_limit = Options.size_limit
    monkeypatch.setattr(Options, "size_limit", lambda self: replace(size_limit(self), limit_kb=751))
    await fails(told, "SIZE")


async def test_a_dsp_that_takes_a_second_update_does_not_show_busy(
    told: Told, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(Updates, "open_devices", lambda _self, _devices: set())
    verdict = await fails(told, "BUSY")
    assert told.answers("11.4")[3] == "I99"
    assert {check.name: check.verdict for check in verdict.checks}["11.4 refused: busy"] == "fail"


async def test_a_refusal_for_another_reason_does_not_show_busy(
    told: Told, monkeypatch: Patch
) -> None:
    begin_campaign = firmware_service.begin_campaign

    def mixed_up(*arguments: object) -> object:
        try:
            return begin_campaign(*arguments)  # type: ignore[arg-type]
        except Refusal as refusal:
            busy = refusal.warning.other_request_in_progress  # type: ignore[union-attr]
            warning = FirmwareWarning(invalid_device_ids=busy)
            raise Refusal(refusal.code, refusal.sentence, warning) from None

    monkeypatch.setattr(firmware_service, "begin_campaign", mixed_up)
    await fails(told, "BUSY")
    assert told.answers("11.4")[3] == "E110403"


async def test_a_first_update_that_the_second_request_harms_does_not_show_busy(
    told: Told,
) -> None:
    def harm(scenario: Scenario, _event: Event) -> None:
        scenario.wiring.devices["ppmid"].build.activation_fails = True

    meddle = once("duis", harm, service="11.4", code="E110403")
    await fails(told, "BUSY", "R2", meddle=meddle)


async def test_without_a_second_request_in_the_midst_busy_was_not_run(
    told: Told, monkeypatch: Patch
) -> None:
    async def nothing(*_arguments: object) -> None:
        return None

    monkeypatch.setattr(Scenario, "_probe_busy", nothing)
    verdict = await told.run(bench(PPMID))
    assert judged(verdict)["BUSY"] == "not-run"
    assert verdict.verdict == "fail"


@pytest.mark.parametrize(("name", "other"), [("R12", "SIZE"), ("SIZE", "R12")])
async def test_a_request_that_was_not_made_shows_nothing(
    told: Told, monkeypatch: Patch, name: str, other: str
) -> None:
    probe = Scenario._probe
    left_out = {"R12": "unknown-hash", "SIZE": "one-byte-too-large"}[name]

    async def some(self: Scenario, which: str, *rest: object) -> None:
        if which != left_out:
            await probe(self, which, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Scenario, "_probe", some)
    verdict = await told.run(bench(PPMID))
    assert (judged(verdict)[name], judged(verdict)[other]) == ("not-run", "pass")
    assert verdict.verdict == "fail"


# -- R2, R6, N39: an update arrives, and is confirmed --------------------------------------


async def test_an_offer_that_never_leaves_the_dsp_deploys_nothing(
    told: Told, monkeypatch: Patch
) -> None:
    monkeypatch.setattr("dsp_stub.outbox.Outbox.add_offer", lambda *_arguments: None)
    verdict = await fails(told, "R2", "R6", "N39")
    assert set(outcomes(verdict).values()) == {"timed-out"}
    assert judged(verdict)["R7"] == judged(verdict)["BUSY"] == "not-run"


async def test_an_inventory_that_stays_behind_confirms_nothing(
    told: Told, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(Inventory, "set_firmware_version", lambda *_arguments, **_more: None)
    verdict = await fails(told, "R6", "R7")
    assert set(outcomes(verdict).values()) == {"activated"}
    assert judged(verdict)["N39"] == "pass"


async def test_an_inventory_that_follows_a_failure_confirms_nothing(
    told: Told, monkeypatch: Patch
) -> None:
    activated = inbound._activated

    def credulous(desk: Desk, row: object, activation: object, now: object) -> None:
        activated(desk, row, activation, now)  # type: ignore[arg-type]
        desk.inventory.set_firmware_version(row.device_id, "00010200")  # type: ignore[attr-defined]

    # The read-back would put it right, and is another matter.
    monkeypatch.setattr(inbound, "_activated", credulous)
    monkeypatch.setattr(inbound_responses, "follow", lambda *_arguments: None)

    def break_boot_loader(scenario: Scenario, _event: Event) -> None:
        scenario.wiring.devices["ppmid"].build.activation_fails = True

    await fails(told, "R6", "R7", meddle=once("run-started", break_boot_loader))


async def test_an_n39_for_an_alert_that_nobody_verified_confirms_nothing(
    told: Told, monkeypatch: Patch
) -> None:
    """The broker believes everything; the bench looks for itself."""
    alert = Endpoint.alert

    def unsigned(self: Endpoint, message_code: int, payload: bytes) -> bytes:
        frame = alert(self, message_code, payload)
        return frame[:-1] + bytes((frame[-1] ^ 1,))

    monkeypatch.setattr(Endpoint, "alert", unsigned)
    monkeypatch.setattr(AccessControlBroker, "_protection_problem", lambda *_arguments: None)
    verdict = await fails(told, "R6")
    assert len(told.alerts("N39")) == 2
    assert set(outcomes(verdict).values()) == {"activated"}
    assert not any(alert.verified for device in verdict.devices for alert in device.alerts)


def _without(code: str) -> Callable[..., None]:
    alert = Desk.alert

    def some(self: Desk, users: object, which: str, *rest: object) -> None:
        if which != code:
            alert(self, users, which, *rest)  # type: ignore[arg-type]

    return some


@pytest.mark.parametrize("code", ["N60", "N62"])
async def test_an_outcome_without_the_notices_on_the_way_does_not_show_n39(
    told: Told, monkeypatch: Patch, code: str
) -> None:
    monkeypatch.setattr(Desk, "alert", _without(code))
    verdict = await fails(told, "N39")
    assert set(outcomes(verdict).values()) == {"activated"}


async def test_a_dsp_that_keeps_the_outcome_to_itself_does_not_show_n39(
    told: Told, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(Desk, "alert", _without("N39"))
    verdict = await fails(told, "N39", "R6", "R2")
    assert set(outcomes(verdict).values()) == {"transferred-unconfirmed"}


async def test_an_outcome_under_another_code_does_not_show_n39(
    told: Told, monkeypatch: Patch
) -> None:
    alert = Desk.alert

    def renamed(self: Desk, users: object, which: str, *rest: object) -> None:
        alert(self, users, "N40" if which == "N39" else which, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Desk, "alert", renamed)
    await fails(told, "N39")


async def test_a_bench_may_say_under_which_code_it_expects_the_outcome(told: Told) -> None:
    verdict = await told.run(bench(PPMID, dsp={"codes": {"ppmid_alert": "N40"}}))
    assert judged(verdict)["N39"] == "pass"
    assert [alert.dcc_alert for alert in verdict.devices[0].alerts] == ["N62", "N40"]


# -- R7, R11: what is read -----------------------------------------------------------------


async def test_a_device_that_tells_another_version_does_not_show_r7(
    told: Told, monkeypatch: Patch
) -> None:
    read = gbcs_half.read_firmware_version
    monkeypatch.setattr(
        gbcs_half, "read_firmware_version", lambda version: read(lambda: version() + 1)
    )
    verdict = await fails(told, "R7")
    assert {device.read_back.version for device in verdict.devices if device.read_back} == {
        "00010201"
    }
    assert len(told.alerts("N49")) == 2  # the DSP has seen it too


async def test_a_device_that_tells_its_old_version_does_not_show_r6(
    told: Told, monkeypatch: Patch
) -> None:
    """The inventory follows it there, and then is not what was confirmed."""
    read = gbcs_half.read_firmware_version
    monkeypatch.setattr(
        gbcs_half, "read_firmware_version", lambda _version: read(lambda: int(OLD, 16))
    )
    await fails(told, "R6")


async def test_a_device_that_cannot_read_its_version_does_not_show_r7(
    told: Told, monkeypatch: Patch
) -> None:
    read = gbcs_half.read_firmware_version
    monkeypatch.setattr(gbcs_half, "read_firmware_version", lambda _version: read(lambda: None))
    verdict = await fails(told, "R7")
    assert {device.read_back.result for device in verdict.devices if device.read_back} == {1}
    assert {device.version_after for device in verdict.devices} == {"00010200"}


async def test_an_inventory_that_calls_a_bridge_a_ppmid_does_not_show_r11(
    told: Told, monkeypatch: Patch
) -> None:
    add = Inventory.add

    def forgetful(self: Inventory, row: object) -> None:
        variant = PpmidVariant.PPMID
        if row.device_type is DeviceType.PPMID:  # type: ignore[attr-defined]
            row = replace(row, ppmid_variant=variant)  # type: ignore[type-var]
        add(self, row)  # type: ignore[arg-type]

    monkeypatch.setattr(Inventory, "add", forgetful)
    await fails(told, "R11")


async def test_a_hub_that_is_told_a_bridge_is_something_else_does_not_show_r11(
    told: Told, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(
        "dsp_stub.device_services.wan.DeviceLogEntry",
        lambda hub, device, _device_type: DeviceLogEntry(hub, device, WanDeviceType.HCALCS),
    )
    await fails(told, "R11")


@pytest.mark.requirement("MP170-R11", "bad")
@pytest.mark.parametrize(
    "text", [b"AltHAN Bridge 1", b"AltHAN Bridge 4", b"PPMIDVariant"], ids=bytes.decode
)
async def test_a_variant_that_crosses_the_wan_fails_r11_and_is_pointed_at(
    told: Told, text: bytes
) -> None:
    def tell(scenario: Scenario, _event: Event) -> None:
        scenario.wiring.devices["bridge-1"].send_through_tunnel(b"I am " + text)

    meddle = once("tunnel", tell, device_id="bridge-1")
    verdict = await fails(told, "R11", meddle=meddle)
    (row,) = [one for one in verdict.requirements if one.id == "MP170-R11"]
    (pointer,) = row.evidence
    file, offset = pointer.split("#")
    assert file.startswith("wan/")
    assert (told.folder / file).read_bytes()[int(offset, 16) :].startswith(text)


# -- evidence ------------------------------------------------------------------------------


def _verdict(*rows: Requirement) -> Verdict:
    scope = [row.id for row in rows]
    return Verdict(1, "virtual", None, 0.0, 0.0, devices=(), scope=scope, requirements=rows)


@pytest.mark.parametrize(
    "pointer",
    [
        "events.jsonl#999999",
        "events.jsonl#0",
        "air.pcapng#99999999",
        "gbcs/9999-CS09-alert.HEX",
        "wan/0001-DeviceLogEntry.bin#0xFFFF",
        "../verdict.json",
    ],
)
def test_a_pointer_that_dangles_makes_a_requirement_fail(pointer: str) -> None:
    folder = finished_run().folder
    rows = [
        Requirement("MP170-R6", "pass", ("events.jsonl#1", "air.pcapng#1")),
        Requirement("MP170-R7", "pass", ("events.jsonl#1", pointer)),
    ]
    verdict = with_evidence(_verdict(*rows), folder)
    assert [row.verdict for row in verdict.requirements] == ["pass", "fail"]


def test_a_pass_without_evidence_is_none_and_what_was_not_run_needs_none() -> None:
    rows = [Requirement("MP170-R6", "pass"), Requirement("MP170-R7", "not-run")]
    verdict = with_evidence(_verdict(*rows), finished_run().folder)
    assert [row.verdict for row in verdict.requirements] == ["fail", "not-run"]


async def test_a_run_whose_evidence_is_lost_fails(told: Told) -> None:
    def lose(_scenario: Scenario, _event: Event) -> None:
        for path in (told.folder / "gbcs").glob("*-CS09-alert.HEX"):
            path.unlink()

    verdict = await told.run(bench(PPMID), once("outcome", lose))
    assert outcomes(verdict) == {"ppmid": "activated"}
    assert [name for name, result in judged(verdict).items() if result != "pass"] == ["R6"]
    assert verdict.exit_code == 1


def test_nothing_is_shown_where_nothing_was_run() -> None:
    rows = requirements([], [], [])
    assert {row.verdict for row in rows} == {"not-run"}
    failed = Probe("busy", False, "I99, E110403 wanted", 7)
    (busy,) = [row for row in requirements([], [failed], []) if row.id == "MP170-BUSY"]
    assert (busy.verdict, busy.evidence) == ("fail", ("events.jsonl#7",))


@pytest.mark.requirement("MP170-R12", "bad")
async def test_the_central_products_list_gets_nothing_from_a_request(
    told: Told, monkeypatch: Patch
) -> None:
    """DESIGN, sentence 7: whoever adds an entry after the first request would be found out."""
    added: list[str] = []
    add = Cpl.add

    def noted(self: Cpl, entry: object) -> None:
        added.append(str(entry.identity))  # type: ignore[attr-defined]
        add(self, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(Cpl, "add", noted)
    before: list[int] = []
    await told.run(
        bench(PPMID, BRIDGE), once("network-formed", lambda *_arguments: before.append(len(added)))
    )
    assert before == [len(added)]
