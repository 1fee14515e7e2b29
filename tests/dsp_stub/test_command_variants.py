"""One command, seven ways: sent, handed back, both, and of a critical one the pre-command first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_rig import (
    CAD,
    ESME,
    GPF,
    GSME,
    HCALCS,
    HUB,
    OTHER_HUB,
    PPMID,
    Bench,
    answer,
    content_of,
    endpoint,
    meter,
    payload_of,
)
from dsp_rig import (
    BRIDGE,
    NEW,
    OTHER_SUPPLIER_EUI64,
    OTHER_USER_EUI64,
    STRANGER,
    organisation,
    sign,
)

from dsp_stub.options import Codes, Options
from dsp_stub.requests import (
    BODIES,
    ActivateFirmware,
    Body,
    IssueSecurityCredentials,
    JoinServiceCritical,
    JoinServiceNonCritical,
    ReadDeviceLog,
    ReadFirmwareVersion,
    RestoreHanDeviceLog,
    RetrieveDeviceSecurityCredentialsDevice,
    RetrieveDeviceSecurityCredentialsKrp,
    SignedPreCommand,
    UnjoinServiceCritical,
    UnjoinServiceNonCritical,
    UpdateHanDeviceLog,
    build_request,
    parse_request,
)
from dsp_stub.responses import GbcsPayload, LocalCommand, PreCommand, ResponseMessage
from dsp_stub.safe_xml import parse_xml
from dsp_stub.schema import SchemaProfile
from dsp_stub.store import Store
from dsp_stub.users import UserRole
from gbcs.codes import CS06_ACTIVATE_FIRMWARE, MESSAGES, parse_payload
from gbcs.envelope import Cra, Frame, OtherInformation, build_frame, parse_frame
from gbcs.firmware import (
    ACTIVATE_FIRMWARE,
    ActivationOutcome,
    ActivationResult,
    FirmwareActivated,
)
from gbcs.firmware import ActivateFirmware as Cs06
from gbcs.joining import JOIN_DEVICE, DeviceJoined, JoinDevice, JoinMethod, JoinResult
from gbcs.meter_versions import MeterVersion
from gbcs.protection import KeyUse, Verdict, protect, verify
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64
from gbcs.use_cases import answering, read_firmware_version
from gbcs.wan import CommandForDevice, DeliveryOutcome, DeliveryResult, DeviceType, serialise

HASH = bytes(range(32))
NON_CRITICAL: list[tuple[Body, int]] = [
    (RetrieveDeviceSecurityCredentialsKrp(("Supplier",)), ESME),
    (JoinServiceNonCritical(ESME), PPMID),
    (UnjoinServiceNonCritical(ESME), PPMID),
    (ReadDeviceLog(), GSME),
    (ReadDeviceLog(True), HUB),
    (UpdateHanDeviceLog(PPMID, "Remove"), HUB),
    (ReadFirmwareVersion(), PPMID),
    (ReadFirmwareVersion(), ESME),
]
CRITICAL: list[tuple[Body, int]] = [
    (IssueSecurityCredentials("Digital Signature"), ESME),
    (RetrieveDeviceSecurityCredentialsDevice("Key Agreement"), GSME),
    (JoinServiceCritical(PPMID), ESME),
    (JoinServiceCritical(PPMID), GSME),
    (JoinServiceCritical(ESME), HCALCS),
    (UnjoinServiceCritical(PPMID), GSME),
    (ActivateFirmware(HASH), ESME),
    (ActivateFirmware(HASH, "2030-01-15T09:00:00.00Z"), GSME),
    (ActivateFirmware(HASH, "3000-12-31T00:00:00.00Z"), HCALCS),
]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def verified(bench: Bench, frame: bytes) -> Frame:
    """A command whose protections hold for who has the ACB's keys."""
    received = parse_frame(frame)
    verdicts = verify(received, bench.keys)
    required = MESSAGES[received.frame.message_code, Cra.COMMAND].protection
    assert (verdicts.signature is Verdict.VALID) is required.signature
    assert verdicts.mac is Verdict.VALID
    return received.frame


# -- commands nobody signs ---------------------------------------------------------------------


@pytest.mark.parametrize(("body", "target"), NON_CRITICAL)
def test_a_command_is_sent_handed_back_or_both(bench: Bench, body: Body, target: int) -> None:
    sent = bench.ask(body, target, 1)
    assert (sent.response_code, content_of(sent)) == ("I99", None)
    command = bench.command()
    assert command.device == target
    verified(bench, command.frame)

    back = bench.ask(body, target, 2)
    assert back.response_code == "I0"
    assert isinstance(content_of(back), LocalCommand)
    assert bench.is_quiet()
    verified(bench, payload_of(back))

    both = bench.ask(body, target, 3)
    assert both.response_code == "I0"
    assert payload_of(both) == bench.command().frame
    assert isinstance(sent.message, ResponseMessage)
    assert sent.message.service_reference_variant == BODIES[type(body)].variant


def test_a_command_handed_back_is_one_the_device_takes_and_nothing_waits_for_it(
    bench: Bench,
) -> None:
    ppmid = endpoint(PPMID, read_firmware_version(lambda: NEW))
    frame = payload_of(bench.ask(ReadFirmwareVersion(), PPMID, 2))
    response = answer(ppmid, frame)
    assert not bench.desk.commands.outstanding
    bench.receive(PPMID, response)
    assert bench.reasons() == ["UNEXPECTED"]
    assert not bench.told()


def test_a_user_whom_the_device_knows_is_its_originator_and_the_acb_elsewhere(
    bench: Bench,
) -> None:
    for target, originator, length in ((ESME, SUPPLIER_EUI64, 2), (PPMID, ACB_EUI64, 18)):
        bench.ask(ReadFirmwareVersion(), target, 1)
        frame = parse_frame(bench.command().frame).frame
        assert frame.originator == originator
        assert frame.other_information.octet_count() == length
        if originator == SUPPLIER_EUI64:
            assert frame.originator_counter == bench.counter


@pytest.mark.parametrize(
    ("body", "target", "voice"),
    [
        (ReadDeviceLog(), HCALCS, ACB_EUI64),
        (ReadDeviceLog(), PPMID, ACB_EUI64),
        (ReadDeviceLog(), BRIDGE, ACB_EUI64),
        (ReadDeviceLog(), HUB, ACB_EUI64),
        (ReadDeviceLog(), ESME, SUPPLIER_EUI64),
        (ReadDeviceLog(), GPF, SUPPLIER_EUI64),
        (ReadFirmwareVersion(), HCALCS, ACB_EUI64),
        (ReadFirmwareVersion(), HUB, ACB_EUI64),
        (ReadFirmwareVersion(), GSME, SUPPLIER_EUI64),
        (RetrieveDeviceSecurityCredentialsKrp(("ACB",)), BRIDGE, ACB_EUI64),
        (RetrieveDeviceSecurityCredentialsKrp(("ACB",)), ESME, ACB_EUI64),
    ],
)
def test_in_whose_name_each_device_is_spoken_to(
    bench: Bench, body: Body, target: int, voice: int
) -> None:
    assert bench.code(body, target, 1) == "I99"
    assert parse_frame(bench.command().frame).frame.originator == voice


def test_the_response_to_a_users_own_command_is_handed_on_and_nothing_follows_from_it(
    bench: Bench,
) -> None:
    esme = meter(ESME, answering(0x0059, lambda command: _meter_version(command.invoke_id)))
    request = bench.ask(ReadFirmwareVersion(), ESME, 1)
    frame = answer(esme, bench.command().frame)
    bench.receive(ESME, frame)
    told = bench.response()
    assert told.request_id == request.request_id
    assert content_of(told) == GbcsPayload(frame)
    assert bench.device(ESME).firmware_version == "00010000", "nobody here can verify its MAC"
    bench.receive(ESME, frame)
    assert bench.reasons() == ["UNEXPECTED"]


def _meter_version(invoke_id: int) -> MeterVersion:
    return MeterVersion(invoke_id, NEW)


def test_with_the_users_key_the_mac_is_verified_and_a_forged_one_refused(bench: Bench) -> None:
    bench.keys.add(*organisation(SUPPLIER_EUI64, KeyUse.KEY_AGREEMENT))
    esme = meter(ESME, answering(0x0059, lambda command: _meter_version(command.invoke_id)))
    bench.ask(ReadFirmwareVersion(), ESME, 1)
    frame = answer(esme, bench.command().frame)
    bench.receive(ESME, frame[:-1] + bytes([frame[-1] ^ 1]))
    assert bench.reasons() == ["PROTECTION"]
    assert not bench.told()
    bench.receive(ESME, frame)
    assert content_of(bench.response()) == GbcsPayload(frame)


def test_a_users_command_nobody_answers_or_delivers_is_told(bench: Bench) -> None:
    bench.ask(ReadFirmwareVersion(), ESME, 1)
    reference = bench.command().reference
    bench.dsp.receive(
        serialise(DeliveryOutcome(HUB, ESME, reference, DeliveryResult.UNREACHABLE)), bench.now
    )
    assert bench.response().response_code == "E20"
    bench.ask(ReadFirmwareVersion(), ESME, 1)
    due = bench.dsp.next_timeout(bench.now)
    assert due is not None
    bench.now = due
    bench.dsp.handle_timeout(due)
    assert bench.response().response_code == "E21"
    assert bench.desk.user_commands.next_deadline() is None


# -- critical commands -------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "target"), CRITICAL)
def test_a_critical_command_from_its_transform_to_the_hub(
    bench: Bench, body: Body, target: int
) -> None:
    answered, octets = bench.transformed(body, target)
    assert answered.response_code == "I0"
    content = content_of(answered)
    assert isinstance(content, PreCommand)
    assert content.gbcs_version == "4.1"
    assert parse_frame(content.octets).frame.signature is None
    assert bench.is_quiet()
    assert answered.request_id is not None

    sent = bench.send_signed(answered, octets)
    assert (sent.response_code, content_of(sent)) == ("I99", None)
    command = bench.command()
    frame = verified(bench, command.frame)
    assert (frame.originator, frame.originator_counter) == (
        SUPPLIER_EUI64,
        answered.request_id.counter,
    )
    # The user's own signature, octet for octet.
    assert parse_frame(command.frame).grouping == octets


@pytest.mark.parametrize(("variant", "sends"), [(6, False), (7, True)])
def test_a_signed_pre_command_for_local_delivery_is_handed_back_with_its_mac(
    bench: Bench, variant: int, sends: bool
) -> None:
    answered, octets = bench.transformed(JoinServiceCritical(PPMID), ESME)
    back = bench.send_signed(answered, octets, variant)
    assert back.response_code == "I0"
    verified(bench, payload_of(back))
    commands = [one for one in bench.messages() if isinstance(one, CommandForDevice)]
    assert [one.frame for one in commands] == ([payload_of(back)] if sends else [])
    waits = bench.desk.user_commands.find(ESME, SUPPLIER_EUI64, bench.counter)
    assert (waits is not None) is sends


def test_a_transform_and_what_is_signed_after_it_count_once_each(bench: Bench) -> None:
    answered, octets = bench.transformed(ActivateFirmware(HASH), ESME)
    assert answered.request_id is not None
    again = bench.request(ActivateFirmware(HASH), ESME, 4, counter=answered.request_id.counter)
    assert bench.post(again).response_code == "E42"
    assert bench.send_signed(answered, octets).response_code == "I99"
    assert bench.send_signed(answered, octets).response_code == "E42"
    assert bench.send_signed(answered, octets, 7).response_code == "E42"
    bench.command()


def pre_command(
    code: int = CS06_ACTIVATE_FIRMWARE,
    payload: bytes | None = None,
    counter: int = 7,
    user: int = SUPPLIER_EUI64,
    target: int = ESME,
    signer: int = SUPPLIER_EUI64,
    **changes: Any,
) -> bytes:
    frame = Frame(
        cra=Cra.COMMAND,
        originator_counter=counter,
        originator=user,
        recipient=target,
        other_information=OtherInformation(code),
        payload=ACTIVATE_FIRMWARE.build(Cs06(HASH, 7)) if payload is None else payload,
        **changes,
    )
    key = organisation(signer, KeyUse.DIGITAL_SIGNATURE)[1]
    return build_frame(protect(frame, signing_key=key))


CS03A1 = 0x000D


@pytest.mark.parametrize(
    ("code", "octets"),
    [
        ("E48", b"\xdf"),
        ("E48", pre_command(counter=8)),
        ("E48", pre_command(user=OTHER_SUPPLIER_EUI64)),
        ("E48", pre_command(target=GSME)),
        ("E48", pre_command(code=0x000A)),
        ("E48", pre_command(payload=b"\x05\x00")),
        ("E48", pre_command(payload=ACTIVATE_FIRMWARE.build(Cs06(HASH, 8)))),
        ("E49", pre_command(signer=OTHER_SUPPLIER_EUI64)),
        ("E49", pre_command()[:-1] + b"\x00"),
    ],
)
def test_a_signed_pre_command_that_is_not_the_services_is_refused(
    bench: Bench, code: str, octets: bytes
) -> None:
    request = bench.request(SignedPreCommand(octets), ESME, 5, service="11.3", counter=7)
    assert bench.post(request).response_code == code
    assert bench.is_quiet()
    assert bench.code(SignedPreCommand(pre_command()), ESME, 5, service="11.3", counter=7) == "I99"


def test_the_codes_of_signed_pre_commands_are_options() -> None:
    bench = Bench()
    bench.desk.codes = Codes(pre_command="E50", pre_command_signature="E51")
    for code, octets in (("E50", b"\xdf"), ("E51", pre_command(signer=OTHER_SUPPLIER_EUI64))):
        assert bench.code(SignedPreCommand(octets), ESME, 5, service="11.3", counter=7) == code


def test_one_with_a_mac_or_without_a_signature_is_no_signed_pre_command(bench: Bench) -> None:
    answered, octets = bench.transformed(ActivateFirmware(HASH), ESME)
    bench.send_signed(answered, octets)
    with_mac = bench.command().frame
    for octets in (with_mac, payload_of(answered), payload_of(answered) + b"\x00"):
        assert answered.request_id is not None
        counter = answered.request_id.counter
        how: dict[str, Any] = {"service": "11.3", "counter": counter}
        bench.store.connection.execute("DELETE FROM requests")
        assert bench.code(SignedPreCommand(octets), ESME, 5, **how) == "E48"


@pytest.mark.requirement("MP170-JOIN", "bad")
def test_a_join_with_a_bridge_cannot_be_signed_into_being(bench: Bench) -> None:
    """The DSP never made this pre-command: its user did."""

    def join(other: int, device_type: DeviceType = DeviceType.PPMID) -> bytes:
        command = JoinDevice(JoinMethod.A_INITIATOR, other, device_type)
        return pre_command(CS03A1, JOIN_DEVICE.build(command))

    how: dict[str, Any] = {"service": "8.7.1", "counter": 7}
    assert bench.code(SignedPreCommand(join(BRIDGE)), ESME, 5, **how) == "E080702"
    assert bench.code(SignedPreCommand(join(STRANGER)), ESME, 5, **how) == "E19"
    assert bench.code(SignedPreCommand(join(PPMID, DeviceType.HCALCS)), ESME, 5, **how) == "E48"
    assert bench.is_quiet()
    assert bench.code(SignedPreCommand(join(PPMID)), ESME, 5, **how) == "I99"


def test_the_time_beside_a_signed_pre_command_is_that_inside(bench: Bench) -> None:
    body = ActivateFirmware(HASH, "2030-01-15T09:00:00Z")
    for time, code in (
        ("2030-01-15T09:00:01Z", "E48"),
        ("2030-01-15T10:00:00+01:00", "I99"),
    ):
        answered, octets = bench.transformed(body, ESME)
        assert bench.send_signed(answered, octets, 5, time).response_code == code
    answered, octets = bench.transformed(ActivateFirmware(HASH), ESME)
    assert bench.send_signed(answered, octets, 5, "2030-01-15T09:00:00Z").response_code == "E48"


def test_a_time_no_calendar_has_is_refused(bench: Bench) -> None:
    """The schema takes 24:00:00 and the year 0: no time of ours does."""
    body = ActivateFirmware(HASH, "2030-01-15T24:00:00Z")
    assert bench.code(body, ESME, 4) == "E100"


def test_an_activation_runs_from_the_transform_to_the_inventory(bench: Bench) -> None:
    outcome = ActivationOutcome(ActivationResult.SUCCESS, NEW)
    esme = meter(ESME, answering(CS06_ACTIVATE_FIRMWARE, lambda _: FirmwareActivated(outcome)))
    command = bench.critical(ActivateFirmware(HASH), ESME)
    asked = parse_payload(
        CS06_ACTIVATE_FIRMWARE, Cra.COMMAND, parse_frame(command.frame).frame.payload
    )
    assert asked == Cs06(HASH, bench.counter)
    bench.receive(ESME, answer(esme, command.frame))
    assert bench.response().response_code == "I0"
    # It is on no CPL: the user is told, the inventory stays.
    assert bench.alert_codes() == ["N49"]
    assert bench.device(ESME).firmware_version == "00010000"


# -- variants, roles, addresses ----------------------------------------------------------------

EVERY_BODY: dict[str, tuple[Body, int]] = {
    BODIES[type(body)].variant: (body, target)
    for body, target in (
        *NON_CRITICAL,
        *CRITICAL,
        (RestoreHanDeviceLog(HUB), OTHER_HUB),
    )
}
PATHS = {
    variant: path
    for path, variants in {
        "/api/v1/serviceS": (1, 3, 5, 7),
        "/api/v1/serviceD": (2, 6, 8),
        "/api/v1/serviceT": (4,),
    }.items()
    for variant in variants
}


@pytest.mark.parametrize("service", sorted(EVERY_BODY))
def test_a_request_comes_in_the_variants_of_its_service_and_no_other(
    bench: Bench, service: str
) -> None:
    body, target = EVERY_BODY[service]
    is_critical = service in ("6.15.1", "6.17", "6.24.2", "8.7.1", "8.8.1", "11.3")
    for variant in range(1, 9):
        code = bench.code(body, target, variant)
        if variant in ((4,) if is_critical else (1, 2, 3)):
            assert code not in ("E12", "E13", "E17"), variant
        else:
            assert code == "E12", variant


@pytest.mark.parametrize("service", ["11.4", "8.2", "8.7.2", "9.9"])
def test_what_is_signed_is_of_a_critical_service(bench: Bench, service: str) -> None:
    body = SignedPreCommand(pre_command())
    assert bench.code(body, ESME, 5, service=service) == "E12"
    assert bench.code(body, ESME, 4, service="11.3") == "E12"


@pytest.mark.parametrize("variant", range(1, 8))
def test_a_request_at_another_address_than_its_variants_is_refused(
    bench: Bench, variant: int
) -> None:
    body, target = EVERY_BODY["11.3" if variant > 3 else "11.2"]
    if variant > 4:
        body = SignedPreCommand(pre_command())
    for path in set(PATHS.values()) - {PATHS[variant]}:
        request = bench.request(body, target, variant, service="11.3")
        assert bench.post(request, path).response_code == "E13"


ROLES_OF = {
    "6.24.1": {"IS", "GS", "ED", "GT"},
    "6.17": {"IS", "GS"},
    "6.24.2": {"IS", "GS"},
    "8.7.1": {"IS", "GS"},
    "8.7.2": {"IS", "GS", "OU"},
    "8.8.1": {"IS", "GS"},
    "8.8.2": {"IS", "GS", "OU"},
    "8.9": {"IS", "GS", "OU"},
    "8.11": {"IS", "GS", "OU"},
    "8.12.1": {"IS", "GS"},
    "11.2": {"IS", "ES", "GS", "RSA", "ED", "GT", "OU"},
    "11.3": {"IS", "GS"},
}


@pytest.mark.parametrize("role", UserRole)
def test_who_may_send_what(role: UserRole) -> None:
    bench = Bench(roles={OTHER_USER_EUI64: role}, responsible=(OTHER_USER_EUI64,))
    for service, (body, target) in EVERY_BODY.items():
        variant = 4 if service in ("6.17", "6.24.2", "8.7.1", "8.8.1", "11.3") else 2
        code = bench.code(body, target, variant, user=OTHER_USER_EUI64)
        assert (code == "E2") is (role not in ROLES_OF[service]), (service, code)


@pytest.mark.parametrize("service", sorted(EVERY_BODY))
def test_the_device_of_a_request_is_known_fits_is_the_users_and_can_be_reached(
    bench: Bench, service: str
) -> None:
    body, target = EVERY_BODY[service]
    variant = 4 if service in ("6.17", "6.24.2", "8.7.1", "8.8.1", "11.3") else 1
    assert bench.code(body, STRANGER, variant) == "E19"
    assert bench.code(body, CAD, variant) == "E11"
    if service != "8.12.1":
        assert bench.code(body, target, variant, user=OTHER_SUPPLIER_EUI64) == "E4"
    settings = "status = 'Suspended'"
    bench.store.connection.execute(
        f"UPDATE devices SET {settings} WHERE device_id = ?", (f"{target:016X}",)
    )
    assert bench.code(body, target, variant) == "E5"


def test_a_device_without_a_certificate_cannot_be_spoken_to(bench: Bench) -> None:
    bench.keys.remove(PPMID, KeyUse.KEY_AGREEMENT)
    bench.keys.remove(ESME, KeyUse.KEY_AGREEMENT)
    assert bench.code(ReadFirmwareVersion(), PPMID, 1) == "E20"
    assert bench.code(ReadFirmwareVersion(), ESME, 1) == "E20"
    assert bench.code(JoinServiceCritical(PPMID), GSME, 4) == "E20", "CS03C carries it"


def test_a_restart_forgets_no_command_that_waits(tmp_path: Path) -> None:
    path = tmp_path / "dsp.sqlite"
    esme = meter(ESME, answering(0x0059, lambda command: _meter_version(command.invoke_id)))
    with Store(path) as store:
        first = Bench(store=store)
        first.ask(ReadFirmwareVersion(), ESME, 1)
        frame = answer(esme, first.command().frame)
    with Store(path) as store:
        second = Bench(store=store)
        second.receive(ESME, frame)
        assert second.response().response_code == "I0"


def test_a_request_is_read_in_both_profiles() -> None:
    for body, target in (*NON_CRITICAL, *CRITICAL):
        bench = Bench(Options(profile="duis-5.4"))
        request = bench.request(body, target, 4)
        octets = sign(build_request(request))
        for profile in SchemaProfile:
            assert parse_request(parse_xml(octets), profile) == request


def test_join_results_are_named(bench: Bench) -> None:
    ppmid = endpoint(PPMID, answering(0x00AB, lambda _: DeviceJoined(JoinResult.NO_CBKE_RESPONSE)))
    bench.ask(JoinServiceNonCritical(ESME), PPMID, 1)
    bench.receive(PPMID, answer(ppmid, bench.command().frame))
    frame = parse_frame(payload_of(bench.response())).frame
    assert parse_payload(frame.message_code, frame.cra, frame.payload) == DeviceJoined(
        JoinResult.NO_CBKE_RESPONSE
    )
