"""Whoever puts frames of his own on the WAN of a running bench gets no answer and changes nothing.

The frames are put in where the WAN ends: at the hub, as the DSP's, and at the DSP, as the hub's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from bench_support import finished_run
from run_support import (
    BRIDGE,
    NEW,
    OLD,
    PPMID,
    Event,
    Told,
    bench,
    device,
    judged,
    once,
    outcomes,
    row_of,
)

from gbcs.acb import AccessControlBroker, BrokerState, User
from gbcs.codes import CS08_READ_FIRMWARE_VERSION, CS09_FIRMWARE_ACTIVATION
from gbcs.envelope import Cra, Frame, OtherInformation, build_frame, parse_frame
from gbcs.firmware import (
    ActivateImageResult,
    FirmwareActivation,
    ReadFirmwareVersion,
    build_firmware_activation,
    build_read_firmware_version,
)
from gbcs.protection import KeyUse, protect, shared_secret
from gbcs.smki import ACB_EUI64, RECOVERY_EUI64, SUPPLIER_EUI64
from gbcs.wan import (
    CommandForDevice,
    DeliveryOutcome,
    DeliveryResult,
    MessageFromDevice,
    WanMessage,
    serialise,
)
from hil.scenario import Scenario

USER = User(SUPPLIER_EUI64, 1)
SIGN, AGREE = KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT
LATER = 10**6  # above every counter of the run
Made = Callable[[Scenario], bytes]


def acb(scenario: Scenario) -> AccessControlBroker:
    """The ACB itself, with counters that nobody has seen yet."""
    return AccessControlBroker(ACB_EUI64, scenario.dcc.keys, BrokerState(LATER))


def cs08(scenario: Scenario, originator: int, key: Any, counter: int = LATER) -> bytes:
    """A CS08 command to the PPMID in somebody's name, MACed with a key of anybody."""
    eui64 = scenario.tracks["ppmid"].eui64
    public = scenario.dcc.keys.public_key(eui64, AGREE)
    assert public is not None
    other = OtherInformation(CS08_READ_FIRMWARE_VERSION, USER.eui64, USER.counter)
    payload = build_read_firmware_version(ReadFirmwareVersion())
    frame = Frame(
        cra=Cra.COMMAND,
        originator_counter=counter,
        originator=originator,
        recipient=eui64,
        other_information=other,
        payload=payload,
    )
    return build_frame(protect(frame, secret=shared_secret(key, public)))


def recorded(scenario: Scenario, name: str) -> bytes:
    """The first frame of the run so far whose copy has this name."""
    folder = scenario.session.records._evidence.folder / "gbcs"
    return bytes.fromhex(next(iter(sorted(folder.glob(f"*-{name}.HEX")))).read_text())


def flipped(frame: bytes, at: int) -> bytes:
    octets = bytearray(frame)
    octets[at] ^= 1
    return bytes(octets)


def key_of(scenario: Scenario, eui64: int, use: KeyUse = AGREE) -> Any:
    return scenario.dcc._organisations.private_key(eui64, use)


# -- at the hub ----------------------------------------------------------------------------

TO_DEVICE: dict[str, tuple[Made, str]] = {
    "for another device": (
        lambda run: acb(run).read_firmware_version(run.tracks["bridge-1"].eui64, USER),
        "RECIPIENT",
    ),
    "of an originator no trust cell knows": (
        lambda run: cs08(run, SUPPLIER_EUI64, key_of(run, SUPPLIER_EUI64)),
        "ORIGINATOR",
    ),
    "of an originator for credentials alone": (
        lambda run: cs08(run, RECOVERY_EUI64, key_of(run, SUPPLIER_EUI64)),
        "ORIGINATOR",
    ),
    "in the ACB's name with another's key": (
        lambda run: cs08(run, ACB_EUI64, key_of(run, SUPPLIER_EUI64)),
        "MAC",
    ),
    "replayed": (lambda run: recorded(run, "CS08-command"), "COUNTER"),
    "with a MAC that has a bit flipped": (
        lambda run: flipped(acb(run).read_firmware_version(run.tracks["ppmid"].eui64, USER), -1),
        "MAC",
    ),
    "replayed with a counter that has a bit flipped": (
        lambda run: flipped(recorded(run, "CS08-command"), 18),
        "MAC",
    ),
    "a response": (lambda run: recorded(run, "CS08-response"), "RECIPIENT"),
    "with a use case it has not": (
        lambda run: acb(run).command(0x0128, run.tracks["ppmid"].eui64, b"", USER),
        "MESSAGE_CODE",
    ),
    "with a payload that is none": (
        lambda run: acb(run).command(0x0129, run.tracks["ppmid"].eui64, b"\x00", USER),
        "PAYLOAD",
    ),
    "cut off": (lambda run: recorded(run, "CS08-command")[:-1], "SYNTAX"),
    "no frame": (lambda _run: b"hello", "SYNTAX"),
}


def test_the_bit_that_is_flipped_in_a_counter_is_one_of_the_counter() -> None:
    folder = finished_run().folder / "gbcs"
    frame = bytes.fromhex(next(iter(sorted(folder.glob("*-CS08-command.HEX")))).read_text())
    before, after = (parse_frame(octets).frame for octets in (frame, flipped(frame, 18)))
    assert before.originator_counter != after.originator_counter
    assert replace(after, originator_counter=before.originator_counter) == before


@pytest.mark.hostile
@pytest.mark.parametrize("what", TO_DEVICE)
async def test_a_command_is_not_obeyed(told: Told, what: str) -> None:
    make, reason = TO_DEVICE[what]
    before: list[Any] = []

    def state(scenario: Scenario) -> Any:
        build = scenario.wiring.devices["ppmid"].build
        return (build.memory.endpoint, build.memory.outbox, build.contents)

    def put_in(scenario: Scenario, _event: Event) -> None:
        before.append(state(scenario))
        hub = scenario.wiring.hub
        message = CommandForDevice(
            hub.node.eui64, scenario.tracks["ppmid"].eui64, LATER, make(scenario)
        )
        hub.deliver(serialise(message))

    after: list[Any] = []
    meddle = once("outcome", put_in, device_id="ppmid")

    def both(scenario: Scenario, event: Event) -> None:
        meddle(scenario, event)
        if event["type"] == "outcome":
            after[:] = [state(scenario)]

    verdict = await told.run(bench(PPMID, BRIDGE), both)
    assert told.discards("device") == [("ppmid", reason)]
    assert told.discards("dsp") == told.discards("hub") == []
    assert after == before
    assert verdict.verdict == "pass"
    answers = told.events("gbcs", use_case="CS08", cra="response")
    assert [event["device_id"] for event in answers] == ["ppmid", "bridge-1"]
    assert len(told.events("wan", kind="MessageFromDevice")) == len(told.events("gbcs")) - 4


@pytest.mark.parametrize(
    ("what", "make", "reason"),
    [
        ("no message", lambda _run: b"\xff" * 40, "SYNTAX"),
        (
            "for another hub",
            lambda run: serialise(CommandForDevice(1, 2, LATER, recorded(run, "CCS01-command"))),
            "RECIPIENT",
        ),
        (
            "replayed",
            lambda run: serialise(
                CommandForDevice(
                    run.wiring.hub.node.eui64,
                    run.wiring.hub.node.eui64,
                    LATER,
                    recorded(run, "CCS01-command"),
                )
            ),
            "MAC",  # what is recorded has its install code masked
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
async def test_a_hub_takes_no_orders_from_strangers(
    told: Told, what: str, make: Made, reason: str
) -> None:
    def put_in(scenario: Scenario, _event: Event) -> None:
        scenario.wiring.hub.deliver(make(scenario))

    verdict = await told.run(bench(PPMID), once("transfer-started", put_in))
    assert told.discards("hub") == [("hub", reason)], what
    assert verdict.verdict == "pass"
    assert len(told.events("gbcs", use_case="CCS01", cra="response")) == 1


# -- at the DSP ----------------------------------------------------------------------------


def activation(originator: int, key: Any, counter: int = LATER) -> bytes:
    """A 0x8F8B that tells of success, in somebody's name, signed with a key of anybody."""
    time = datetime(2026, 1, 1, tzinfo=UTC)
    alert = FirmwareActivation(time, int(NEW, 16), ActivateImageResult.ACTIVATION_SUCCESS)
    frame = Frame(
        cra=Cra.ALERT,
        originator_counter=counter,
        originator=originator,
        recipient=ACB_EUI64,
        other_information=OtherInformation(CS09_FIRMWARE_ACTIVATION),
        payload=build_firmware_activation(alert),
    )
    return build_frame(protect(frame, signing_key=key))


def own_key(scenario: Scenario, eui64: int) -> Any:
    """A device's own signing key, which nobody but the device has."""
    return scenario.dcc._smki.device(eui64, SIGN).private_key


def from_device(scenario: Scenario, frame: bytes, name: str = "ppmid") -> WanMessage:
    return MessageFromDevice(scenario.wiring.hub.node.eui64, scenario.tracks[name].eui64, frame)


STRANGER = 0x02484E4200000001
FORGED: dict[str, tuple[Callable[[Scenario], WanMessage], str]] = {
    "signed by another device": (
        lambda run: from_device(
            run,
            activation(run.tracks["ppmid"].eui64, own_key(run, run.tracks["bridge-1"].eui64)),
        ),
        "PROTECTION",
    ),
    "signed by a supplier": (
        lambda run: from_device(
            run,
            activation(run.tracks["ppmid"].eui64, key_of(run, SUPPLIER_EUI64, SIGN)),
        ),
        "PROTECTION",
    ),
    "with a bit flipped": (
        lambda run: from_device(
            run,
            flipped(
                activation(run.tracks["ppmid"].eui64, own_key(run, run.tracks["ppmid"].eui64)),
                -1,
            ),
        ),
        "PROTECTION",
    ),
    "genuine, of another device": (
        lambda run: from_device(
            run,
            activation(run.tracks["bridge-1"].eui64, own_key(run, run.tracks["bridge-1"].eui64)),
        ),
        "FOREIGN",
    ),
    "genuine, over another hub": (
        lambda run: MessageFromDevice(
            run.tracks["bridge-1"].eui64,
            run.tracks["ppmid"].eui64,
            activation(run.tracks["ppmid"].eui64, own_key(run, run.tracks["ppmid"].eui64)),
        ),
        "FOREIGN",
    ),
    "genuine, of a device in no inventory": (
        lambda run: MessageFromDevice(
            run.wiring.hub.node.eui64,
            STRANGER,
            activation(STRANGER, own_key(run, STRANGER)),
        ),
        "FOREIGN",
    ),
    "no frame": (lambda run: from_device(run, b"hello"), "SYNTAX"),
}


@pytest.mark.requirement("MP170-R6", "bad")
@pytest.mark.parametrize("what", FORGED)
async def test_a_forged_activation_alert_is_no_n39_and_changes_no_row(
    told: Told, what: str
) -> None:
    make, reason = FORGED[what]
    seen: list[Any] = []

    def put_in(scenario: Scenario, _event: Event) -> None:
        tracks = scenario.tracks.values()
        before = [row_of(scenario, track) for track in tracks]
        scenario.dcc.deliver(serialise(make(scenario)))
        assert [row_of(scenario, track) for track in tracks] == before
        assert {row.firmware_version for row in before} == {OLD}
        seen.append(len(told.alerts("N39")))

    verdict = await told.run(bench(PPMID, BRIDGE), once("transfer-started", put_in))
    assert seen == [0]
    assert [found for _, found in told.discards("dsp")] == [reason]
    assert [event["device_ids"] for event in told.alerts("N39")] == [["ppmid"], ["bridge-1"]]
    # The run goes on as if nothing had been, and its own alerts are those that count.
    assert verdict.verdict == "pass"
    for name in outcomes(verdict):
        genuine = [one for one in device(verdict, name).alerts if one.dcc_alert == "N39"]
        assert [one.verified for one in genuine] == [True]
        assert genuine[0].time != "2026-01-01T00:00:00Z"


@pytest.mark.requirement("MP170-R6", "bad")
@pytest.mark.parametrize("name", ["CS09-alert", "CCS08-alert"])
async def test_a_replayed_alert_is_told_to_nobody_a_second_time(told: Told, name: str) -> None:
    def put_in(scenario: Scenario, _event: Event) -> None:
        before = row_of(scenario, scenario.tracks["ppmid"])
        frame = recorded(scenario, name)
        hub = scenario.wiring.hub.node.eui64
        sender = parse_frame(frame).frame.originator
        scenario.dcc.deliver(serialise(MessageFromDevice(hub, sender, frame)))
        assert row_of(scenario, scenario.tracks["ppmid"]) == before

    verdict = await told.run(bench(PPMID, BRIDGE), once("outcome", put_in, device_id="ppmid"))
    assert [reason for _, reason in told.discards("dsp")] == ["REPLAY"]
    assert len(told.alerts("N39")) == len(told.alerts("N62")) == 2
    assert verdict.verdict == "pass"


@pytest.mark.requirement("MP170-R7", "bad")
async def test_a_response_nobody_asked_for_is_no_read_back(told: Told) -> None:
    def put_in(scenario: Scenario, _event: Event) -> None:
        scenario.dcc.deliver(serialise(from_device(scenario, recorded(scenario, "CS08-response"))))

    verdict = await told.run(bench(PPMID, BRIDGE), once("outcome", put_in, device_id="ppmid"))
    assert told.discards("dsp") == [("ppmid", "UNEXPECTED")]
    assert len(told.events("duis", kind="response", service="11.2")) == 2
    assert verdict.verdict == "pass"


async def test_a_device_whose_certificate_is_gone_proves_nothing(told: Told) -> None:
    """DESIGN, sentence 2: take the certificate away and the verdict is no-key."""

    def forget(scenario: Scenario, _event: Event) -> None:
        for use in (SIGN, AGREE):
            scenario.dcc.keys.remove(scenario.tracks["ppmid"].eui64, use)

    verdict = await told.run(bench(PPMID), once("transfer-started", forget))
    (frame,) = told.events("gbcs", use_case="CS09")
    assert frame["signature"] == "no-key"
    assert told.discards("dsp") == [("ppmid", "UNKNOWN_ORIGINATOR")]
    assert told.alerts("N39") == []
    assert outcomes(verdict) == {"ppmid": "transferred-unconfirmed"}


async def test_an_alert_of_the_device_itself_before_its_time_fails_the_run(told: Told) -> None:
    """Whoever has a device's key is believed, and found out: it still runs the old version."""

    def put_in(scenario: Scenario, _event: Event) -> None:
        eui64 = scenario.tracks["ppmid"].eui64
        frame = activation(eui64, own_key(scenario, eui64), counter=1)
        scenario.dcc.deliver(serialise(from_device(scenario, frame)))

    verdict = await told.run(bench(PPMID), once("transfer-started", put_in))
    assert judged(verdict)["R6"] == "fail"
    assert verdict.exit_code == 1
    assert [check.verdict for check in verdict.checks if "order of alerts" in check.name]
    assert told.events("anomaly", kind="alert-out-of-turn")


# -- what is no message at all -------------------------------------------------------------


@pytest.mark.parametrize("octets", [b"", b"hello", b"HBWM\x01\x09", b"HBWM\x02\x02" + bytes(40)])
async def test_octets_that_are_no_wan_message_are_kept_and_change_nothing(
    told: Told, octets: bytes
) -> None:
    def put_in(scenario: Scenario, _event: Event) -> None:
        scenario.dcc.deliver(octets)

    verdict = await told.run(bench(PPMID), once("transfer-started", put_in))
    assert told.discards("dsp") == [(None, "WAN")]
    assert verdict.verdict == "pass"
    copies = [path.read_bytes() for path in (told.folder / "wan").iterdir()]
    assert copies.count(octets) == 1


async def test_an_outcome_of_a_delivery_that_nobody_made_changes_nothing(told: Told) -> None:
    def put_in(scenario: Scenario, _event: Event) -> None:
        hub = scenario.wiring.hub.node.eui64
        for reference in (0, 1, LATER, 1 << 63, (1 << 64) - 1):
            for result in DeliveryResult:
                outcome = DeliveryOutcome(hub, scenario.tracks["ppmid"].eui64, reference, result)
                scenario.dcc.deliver(serialise(outcome))

    verdict = await told.run(bench(PPMID), once("transfer-started", put_in))
    assert verdict.verdict == "pass"
    assert told.alerts("N61") == []


async def test_the_dsp_of_a_run_holds_no_private_key_but_the_acbs(told: Told) -> None:
    held: list[tuple[int, KeyUse]] = []

    def look(scenario: Scenario, _event: Event) -> None:
        keys = scenario.dcc.keys
        devices = [scenario.wiring.hub.node.eui64, scenario.tracks["ppmid"].eui64]
        for eui64 in (ACB_EUI64, RECOVERY_EUI64, SUPPLIER_EUI64, *devices):
            assert keys.public_key(eui64, SIGN) is not None
            held.extend((eui64, use) for use in KeyUse if keys.private_key(eui64, use))

    await told.run(bench(PPMID), once("outcome", look))
    assert held == [(ACB_EUI64, SIGN), (ACB_EUI64, AGREE), (ACB_EUI64, KeyUse.XML_SIGNATURE)]
