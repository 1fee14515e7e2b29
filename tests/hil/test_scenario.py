"""The course of a run, and what becomes of it when a part of the bench gives out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from bench_support import make_image
from run_support import (
    BRIDGE,
    NEW,
    OLD,
    PPMID,
    TWIN,
    Event,
    Told,
    bench,
    desk_of,
    device,
    judged,
    once,
    outcomes,
    row_of,
    unplug,
)

from emulator.devices.hub import Hub
from emulator.devices.hub_commands import HubCommands
from emulator.devices.hub_wan import HubWan
from emulator.medium.air import Loss
from firmware_images.image import build_image
from gbcs.wan import MessageFromDevice
from hil.bench_file import Bench
from hil.errors import BenchBroke
from hil.scenario import Scenario

# -- the course of things ------------------------------------------------------------------


async def test_products_are_updated_one_after_the_other_and_twins_together(told: Told) -> None:
    verdict = await told.run(bench(PPMID, BRIDGE, TWIN))
    assert verdict.verdict == "pass"
    offered = [event["device_id"] for event in told.events("image-offered")]
    assert offered == ["ppmid", "twin", "bridge-1"]
    last_of_first = max(
        event["id"] for event in told.events("outcome") if event["device_id"] != "bridge-1"
    )
    first_of_second = next(
        event["id"] for event in told.events("transfer-started", device_id="bridge-1")
    )
    assert last_of_first < first_of_second
    asked = [
        event["device_ids"]
        for event in told.events("duis", kind="acknowledgement", service="11.4", code="I99")
    ]
    assert asked == [["ppmid", "twin"], ["bridge-1"]]  # one request a product


@pytest.mark.requirement("MP170-R2", "good")
@pytest.mark.requirement("MP170-R6", "good")
@pytest.mark.requirement("MP170-R7", "good")
@pytest.mark.requirement("MP170-R12", "good")
@pytest.mark.requirement("MP170-N39", "good")
async def test_an_update_goes_from_12_2_over_the_air_to_n39_and_the_read_back(told: Told) -> None:
    await told.run(bench(PPMID))

    def first(kind: str, /, **wanted: object) -> int:
        event_id: int = told.events(kind, **wanted)[0]["id"]
        return event_id

    def said(kind: str, **wanted: object) -> int:
        return first("duis", kind=kind, **wanted)

    order = [
        said("acknowledgement", service="12.2", code="I99"),
        said("acknowledgement", service="8.11", code="I99"),
        said("response", service="8.11", code="I0"),
        said("alert", code="N24"),
        first("joined"),
        first("tunnel", state="open"),
        said("acknowledgement", service="11.4", code="I99"),
        said("alert", code="N60"),
        first("transfer-started"),
        first("transfer-done"),
        first("gbcs", use_case="CCS08"),
        said("alert", code="N62"),
        first("restarted"),
        first("gbcs", use_case="CS09"),
        said("alert", code="N39"),
        said("request", service="11.2"),
        first("gbcs", use_case="CS08", cra="command"),
        first("gbcs", use_case="CS08", cra="response"),
        said("response", service="11.2", code="I0"),
        said("acknowledgement", service="8.2", code="I0"),
        first("outcome"),
    ]
    assert order == sorted(order)
    (outcome,) = told.events("outcome")
    assert (outcome["version_before"], outcome["version_after"]) == (OLD, NEW)
    assert outcome["outcome"] == "activated"


async def test_hub_and_devices_sign_and_mac_what_they_say_with_keys_that_are_known(
    told: Told,
) -> None:
    await told.run(bench(PPMID, BRIDGE))
    frames = told.events("gbcs")
    for frame in frames:
        is_critical = frame["use_case"] in ("CCS08", "CS09") and frame["cra"] == "alert"
        wanted = ("valid", "absent") if is_critical else ("absent", "valid")
        assert (frame["signature"], frame["mac"]) == wanted, frame
    names = [(frame["use_case"], frame["cra"]) for frame in frames]
    each = [("CCS08", "alert"), ("CS09", "alert"), ("CS08", "command"), ("CS08", "response")]
    log_changed = ("CS14", "alert")  # when a device is entered, and when it is there
    assert names.count(log_changed) == 4
    others = [name for name in names if name != log_changed]
    assert others == 2 * [("CCS01", "command"), ("CCS01", "response")] + 2 * each
    assert told.events("gbcs-discarded") == told.events("anomaly") == []


@pytest.mark.requirement("MP170-R5", "good")
@pytest.mark.requirement("MP170-R6", "good")
async def test_the_inventory_tells_the_new_version_after_n39_and_not_before(told: Told) -> None:
    versions: dict[str, str | None] = {}

    def look(scenario: Scenario, event: Event) -> None:
        if scenario.tracks["ppmid"].prenotified_event and event["type"] != "run-ended":
            row = row_of(scenario, scenario.tracks["ppmid"])
            versions[event["type"] + str(event.get("code") or "")] = row.firmware_version

    await told.run(bench(PPMID), look)
    assert versions["transfer-done"] == versions["duisN62"] == versions["restarted"] == OLD
    assert versions["duisN39"] == versions["outcome"] == NEW


# -- devices that are refused, or fail -----------------------------------------------------


@pytest.mark.requirement("MP170-R6", "good")
async def test_a_failed_activation_is_told_as_one_and_the_inventory_stays(told: Told) -> None:
    def break_boot_loader(scenario: Scenario, _event: Event) -> None:
        scenario.wiring.devices["ppmid"].build.activation_fails = True

    verdict = await told.run(bench(PPMID, BRIDGE), once("run-started", break_boot_loader))
    assert outcomes(verdict) == {"ppmid": "activation-failed", "bridge-1": "activated"}
    assert verdict.exit_code == 1
    (failure, success) = told.alerts("N39")
    assert failure["detail"].startswith("ActivationFailure")
    assert success["detail"].startswith("ActivationSuccess")
    ppmid = device(verdict, "ppmid")
    assert [(one.code, one.result, one.verified) for one in ppmid.alerts] == [
        ("8F8A", 0, True),
        ("8F8B", 1, True),
    ]
    assert (ppmid.version_before, ppmid.version_after) == (OLD, OLD)
    assert ppmid.read_back is not None
    assert (ppmid.read_back.version, ppmid.read_back.equals_smi) == (OLD, True)
    # The failure was confirmed as one, and R6 asks for no more; that it failed is R2's.
    assert judged(verdict)["R6"] == judged(verdict)["N39"] == "pass"
    assert judged(verdict)["R2"] == "fail"


@pytest.mark.requirement("MP170-R12", "bad")
async def test_an_image_that_left_the_cpl_before_11_4_refuses_its_devices_alone(
    told: Told,
) -> None:
    def withdraw(scenario: Scenario, _event: Event) -> None:
        desk = desk_of(scenario)
        row = row_of(scenario, scenario.tracks["ppmid"])
        (entry,) = desk.cpl.find(model=row.model, firmware_version=NEW)
        desk.cpl.remove(entry.identity)

    verdict = await told.run(bench(PPMID, BRIDGE), once("tunnel", withdraw))
    assert outcomes(verdict) == {"ppmid": "refused", "bridge-1": "activated"}
    assert told.detail("ppmid") == "the DSP refused 11.4 with E110401"
    assert told.events("transfer-started", device_id="ppmid") == []
    assert device(verdict, "ppmid").version_after == OLD
    assert judged(verdict)["R2"] == "fail"
    assert verdict.exit_code == 1


@pytest.mark.requirement("MP170-STATUS", "bad")
async def test_a_strict_dsp_gives_no_firmware_to_who_is_only_whitelisted(told: Told) -> None:
    verdict = await told.run(bench(PPMID, BRIDGE, dsp={"commissioned": "strict"}))
    assert outcomes(verdict) == {"ppmid": "refused", "bridge-1": "refused"}
    assert verdict.exit_code == 1
    for name in ("ppmid", "bridge-1"):
        assert told.detail(name) == "the DSP refused 11.4 with E110403 NotCommissionedDeviceIDList"
    assert told.events("transfer-started") == []
    # Whether one file may be sent at all is judged before the devices are.
    shown = judged(verdict)
    assert (shown["R12"], shown["SIZE"]) == ("pass", "pass")
    assert (shown["R2"], shown["BUSY"], shown["R7"]) == ("fail", "not-run", "not-run")
    assert not [check for check in verdict.checks if check.name == "commissioned"]


async def test_a_schema_without_ppmid_variants_refuses_bridges_and_no_ppmid(told: Told) -> None:
    verdict = await told.run(bench(PPMID, BRIDGE, dsp={"profile": "duis-5.4"}))
    assert outcomes(verdict) == {"ppmid": "activated", "bridge-1": "refused"}
    assert told.answers("12.2") == ["I99", "E100"]
    assert told.detail("bridge-1") == "the DSP refused 12.2 with E100"
    assert verdict.exit_code == 1
    # No variant can be shown where the schema has none, which is no fault of the run.
    assert "R11" not in judged(verdict)
    of_dsp = [
        event["file"]
        for event in told.events("duis")
        if event["kind"] != "request" or "ppmid" in event["device_ids"]
    ]
    assert not [name for name in of_dsp if b"AltHAN" in (told.folder / name).read_bytes()]


async def test_a_ppmid_alone_passes_under_either_schema(told: Told) -> None:
    verdict = await told.run(bench(PPMID, dsp={"profile": "duis-5.4"}))
    assert verdict.verdict == "pass", judged(verdict)


async def test_a_device_of_the_hubs_log_that_no_cpl_knows_is_refused_at_12_2(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hil.dcc.Dcc._list_products", lambda *_arguments: None)
    verdict = await told.run(bench(PPMID))
    assert outcomes(verdict) == {"ppmid": "refused"}
    assert told.detail("ppmid") == "the DSP refused 12.2 with E120203"
    assert told.events("joined") == []


async def test_a_device_that_the_hub_does_not_let_in_is_not_attempted(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry that says its type is lost: the CCS01 gets a result other than success."""
    monkeypatch.setattr("emulator.devices.hub_wan.MAX_NAMED", 0)
    verdict = await told.run(bench(PPMID))
    assert outcomes(verdict) == {"ppmid": "not-attempted"}
    assert told.detail("ppmid") == "the hub did not take it into its device log"
    assert told.events("joined") == []


async def test_twins_with_files_of_two_versions_are_each_updated_to_their_own(
    told: Told, tmp_path: Path
) -> None:
    """One's new version is the other's old one: the CPL has it with the hash of the file."""
    devices = []
    for number, version in enumerate((0x00010100, 0x00010200)):
        file = tmp_path / f"{number}.ota"
        file.write_bytes(make_image(2048, version=version).data)
        devices.append({"id": f"ppmid-{number}", "kind": "ppmid"} | opaque(file))
    for ordered in (devices, devices[::-1]):
        made = Bench.model_validate({"device": ordered})
        verdict = await Told(told.folder / ordered[0]["id"]).run(made)
        assert set(outcomes(verdict).values()) == {"activated"}
        assert verdict.verdict == "pass"


@pytest.mark.parametrize("body", [b"", b"x"], ids=["no body", "one octet"])
async def test_a_file_that_is_hardly_more_than_a_header_is_sent_like_any_other(
    told: Told, tmp_path: Path, body: bytes
) -> None:
    file = tmp_path / "tiny.ota"
    file.write_bytes(build_image(make_image(600).header, body).data)
    verdict = await told.run(Bench.model_validate({"device": [PPMID | opaque(file)]}))
    assert judged(verdict)["R12"] == judged(verdict)["SIZE"] == "pass"
    assert outcomes(verdict) == {"ppmid": "activated"}


@pytest.mark.requirement("MP170-SIZE", "good", "bad")
@pytest.mark.parametrize(
    "limits", [{"image_kb": 9999}, {"unit": "kb"}, {"scope": "body"}, {"image_kb": 2}], ids=str
)
async def test_whatever_the_limit_one_octet_more_is_refused(
    told: Told, limits: dict[str, object]
) -> None:
    verdict = await told.run(bench(PPMID, limits=limits))
    assert verdict.verdict == "pass", judged(verdict)
    assert told.answers("11.4")[:2] == ["E110401", "E110405"]


def opaque(file: Path) -> Event:
    return {"image": str(file), "image_policy": "opaque"}


# -- what gives out ------------------------------------------------------------------------


async def test_a_device_that_loses_its_radio_is_lost_alone(told: Told) -> None:
    meddle = once("transfer-started", unplug("ppmid"), device_id="ppmid")
    verdict = await told.run(bench(PPMID, BRIDGE), meddle)
    assert outcomes(verdict) == {"ppmid": "timed-out", "bridge-1": "activated"}
    assert verdict.exit_code == 1
    assert "was lost" in told.detail("ppmid")
    assert told.events("anomaly")


async def test_a_device_lost_before_its_turn_has_an_outcome_too(told: Told) -> None:
    meddle = once("transfer-started", unplug("bridge-1"), device_id="ppmid")
    verdict = await told.run(bench(PPMID, BRIDGE), meddle)
    assert outcomes(verdict) == {"ppmid": "activated", "bridge-1": "not-attempted"}
    assert "was lost" in told.detail("bridge-1")


@pytest.mark.parametrize("moment", ["network-formed", "joined", "transfer-started", "restarted"])
async def test_a_hub_that_loses_its_radio_breaks_the_bench_in_one_sentence(
    told: Told, moment: str
) -> None:
    with pytest.raises(BenchBroke, match=r"radio mem://run-[0-9a-f]+/hub") as broke:
        await told.run(bench(PPMID, BRIDGE), once(moment, unplug("hub")))
    assert "\n" not in str(broke.value)


async def test_a_mistake_of_the_benchs_own_ends_the_run_and_is_called_that(told: Told) -> None:
    def stumble(_scenario: Scenario, _event: Event) -> None:
        asyncio.get_running_loop().call_soon(lambda: dict[str, int]()["nothing"])

    with pytest.raises(BenchBroke, match="a mistake of its own: KeyError"):
        await told.run(bench(PPMID), once("transfer-started", stumble))


async def test_another_file_in_the_flash_than_the_one_sent_is_no_activation(told: Told) -> None:
    def exchange(scenario: Scenario, _event: Event) -> None:
        track = scenario.tracks["ppmid"]
        assert track.restarted is not None
        track.restarted = type(track.restarted)(track.restarted.file_version, "0" * 64, True)

    verdict = await told.run(bench(PPMID), once("restarted", exchange))
    assert outcomes(verdict) == {"ppmid": "activation-failed"}


async def test_silence_after_the_offer_is_a_time_out_and_not_for_ever(told: Told) -> None:
    def hush(scenario: Scenario, _event: Event) -> None:
        assert scenario.wiring.air is not None
        scenario.wiring.air.medium.set_faults((Loss(1.0),))

    verdict = await told.run(bench(PPMID), once("transfer-started", hush))
    assert outcomes(verdict)["ppmid"] in ("timed-out", "transfer-failed")
    assert verdict.virtual_s < 24 * 3600
    assert judged(verdict)["N39"] == judged(verdict)["R6"] == "fail"


async def test_a_device_that_is_silent_after_its_restart_is_unconfirmed(told: Told) -> None:
    def hush(scenario: Scenario, _event: Event) -> None:
        assert scenario.wiring.air is not None
        scenario.wiring.air.medium.separate("ppmid", "hub")

    verdict = await told.run(bench(PPMID), once("duis", hush, code="N62"))
    assert outcomes(verdict) == {"ppmid": "transferred-unconfirmed"}
    assert told.alerts("N39") == []
    assert verdict.virtual_s < 24 * 3600
    assert judged(verdict)["R2"] == judged(verdict)["R6"] == judged(verdict)["N39"] == "fail"


# -- what arrives changed, or twice --------------------------------------------------------

Carry = Callable[[Hub, int, bytes, int], None]


@pytest.mark.requirement("MP170-R7", "bad")
async def test_a_command_that_arrives_changed_is_not_answered_and_nothing_is_read(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry = Hub.carry
    monkeypatch.setattr(
        Hub,
        "carry",
        lambda self, eui64, message, handle: carry(
            self, eui64, message[:-1] + bytes((message[-1] ^ 1,)), handle
        ),
    )
    verdict = await told.run(bench(PPMID))
    assert outcomes(verdict) == {"ppmid": "activated"}
    assert told.discards("device") == [("ppmid", "MAC")]
    assert device(verdict, "ppmid").read_back is None
    assert [event["code"] for event in told.events("duis", kind="response", service="11.2")] == [
        "E21"
    ]
    assert judged(verdict)["R7"] == "fail"
    assert verdict.verdict == "fail"


async def test_a_command_that_arrives_twice_is_answered_once(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry = Hub.carry

    def twice(self: Hub, eui64: int, message: bytes, handle: int) -> None:
        carry(self, eui64, message, handle)
        self.send_through_tunnel(eui64, message)

    monkeypatch.setattr(Hub, "carry", twice)
    verdict = await told.run(bench(PPMID, BRIDGE))
    assert verdict.verdict == "pass"
    assert ("ppmid", "COUNTER") in told.discards("device")
    assert len(told.events("gbcs", use_case="CS08", cra="response")) == 2


@pytest.mark.requirement("MP170-R6", "bad")
async def test_an_alert_that_arrives_changed_is_no_n39(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = HubWan.forward
    monkeypatch.setattr(
        HubWan,
        "forward",
        lambda self, eui64, frame: forward(self, eui64, frame[:-1] + bytes((frame[-1] ^ 1,))),
    )
    monkeypatch.setattr(HubCommands, "_answer_after", _answer_unchanged)
    verdict = await told.run(bench(PPMID))
    assert outcomes(verdict) == {"ppmid": "timed-out"}
    assert {reason for _, reason in told.discards("dsp")} == {"PROTECTION"}
    assert told.alerts("N39") == told.alerts("N62") == []
    assert device(verdict, "ppmid").alerts
    assert not any(one.verified or one.dcc_alert for one in device(verdict, "ppmid").alerts)
    assert judged(verdict)["R6"] == judged(verdict)["N39"] == "fail"


async def _answer_unchanged(self: HubCommands, radio_part: Awaitable[None], reply: bytes) -> None:
    await radio_part
    wan = self._send.func.__self__  # type: ignore[attr-defined]
    wan._send(MessageFromDevice(self.half.eui64, self.half.eui64, reply))


@pytest.mark.requirement("MP170-R6", "bad")
async def test_an_alert_that_arrives_twice_is_one_n39(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = HubWan.forward

    def twice(self: HubWan, eui64: int, frame: bytes) -> None:
        forward(self, eui64, frame)
        forward(self, eui64, frame)

    monkeypatch.setattr(HubWan, "forward", twice)
    verdict = await told.run(bench(PPMID))
    assert verdict.verdict == "pass"
    assert len(told.alerts("N39")) == len(told.alerts("N62")) == 1
    reasons = {reason for _, reason in told.discards("dsp")}
    assert reasons == {"REPLAY", "UNEXPECTED"}
