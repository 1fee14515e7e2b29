"""A device: what it answers, and what it does not react to at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from gbcs_rig import (
    EPOCH,
    VERSION,
    activation,
    broker,
    device,
    issued,
    own_key,
    smki,
    trust_cells,
)

from gbcs.acb import Response, User
from gbcs.axdr import build_date_time
from gbcs.codes import CCS02_REMOVE_DEVICE, build_payload
from gbcs.device_log import (
    AddDevice,
    AddDeviceResult,
    DlmsResult,
    LinkKeyHash,
    RemoveDevice,
    RemoveDeviceResult,
    parse_add_device_result,
)
from gbcs.endpoint import (
    Discarded,
    Endpoint,
    EndpointState,
    Reason,
    Reply,
    TrustCells,
    UseCase,
    add_device,
    answering,
)
from gbcs.envelope import Cra, Frame, OtherInformation, build_frame, parse_frame
from gbcs.errors import GbcsValueError
from gbcs.firmware import FirmwareVersion, ReadResult, parse_firmware_version
from gbcs.hub_log import (
    DeviceLogs,
    HanStatus,
    LogBackup,
    ReadDeviceLogs,
    ReadHanStatus,
)
from gbcs.meter_versions import MeterVersion, ReadMeterVersion
from gbcs.protection import (
    KeyUse,
    Verdict,
    Verdicts,
    compute_mac,
    derive_key,
    protect,
    shared_secret,
    verify,
)
from gbcs.protection import Mode as KdfMode
from gbcs.smki import ACB_EUI64, CHF_EUI64, PPMID_EUI64, RECOVERY_EUI64, SUPPLIER_EUI64

USER = User(SUPPLIER_EUI64, 1000)
JOIN = 0x00AB


def cs08() -> bytes:
    return broker().read_firmware_version(PPMID_EUI64, USER)


def secret() -> bytes:
    """Z of ACB and PPMID."""
    public = issued().public_key(PPMID_EUI64, KeyUse.KEY_AGREEMENT)
    assert public is not None
    return shared_secret(own_key(ACB_EUI64, KeyUse.KEY_AGREEMENT), public)


def only(outputs: list[Reply | Discarded]) -> Reply | Discarded:
    assert len(outputs) == 1
    return outputs[0]


def expect_discarded(octets: bytes, reason: Reason, endpoint: Endpoint | None = None) -> None:
    endpoint = endpoint or device()
    before = endpoint.state
    output = only(endpoint.receive(octets, EPOCH))
    assert isinstance(output, Discarded)
    assert output.reason is reason, output.detail
    assert output.detail
    assert endpoint.state is before


def changed(**changes: object) -> bytes:
    """A CS08 command with other fields, MACed as they then demand."""
    frame = replace(parse_frame(cs08()).frame, **changes)  # type: ignore[arg-type]
    return build_frame(protect(frame, secret=secret()))


def test_a_device_asked_for_its_version_answers_with_counter_and_user_of_the_command() -> None:
    endpoint = device()
    reply = only(endpoint.receive(cs08(), EPOCH))
    assert isinstance(reply, Reply)
    received = parse_frame(reply.frame)
    frame = received.frame
    assert (frame.cra, frame.originator_counter) == (Cra.RESPONSE, 1300)
    assert (frame.originator, frame.recipient) == (PPMID_EUI64, ACB_EUI64)
    assert frame.other_information == OtherInformation(0x0129, SUPPLIER_EUI64, 1000)
    assert parse_firmware_version(frame.payload) == FirmwareVersion(VERSION)
    assert verify(received, issued()) == Verdicts(Verdict.ABSENT, Verdict.VALID)
    assert endpoint.state == EndpointState(5000, ((ACB_EUI64, 1300),))


def test_a_device_that_cannot_read_its_version_says_so() -> None:
    reply = only(device(version=None).receive(cs08(), EPOCH))
    assert isinstance(reply, Reply)
    payload = parse_frame(reply.frame).frame.payload
    assert parse_firmware_version(payload) == FirmwareVersion(0, ReadResult.READ_FAILURE)


def test_a_command_of_the_acb_itself_is_answered() -> None:
    octets = broker().command(0x0129, PPMID_EUI64, b"\x05\x00", None)
    assert isinstance(only(device().receive(octets, EPOCH)), Reply)


def test_a_flipped_bit_anywhere_gets_no_answer_and_changes_nothing() -> None:
    endpoint = device()
    before = endpoint.state
    command = cs08()
    seen = set()
    for bit in range(8 * len(command)):
        octets = bytearray(command)
        octets[bit // 8] ^= 1 << bit % 8
        output = only(endpoint.receive(bytes(octets), EPOCH))
        assert isinstance(output, Discarded), bit
        seen.add(output.reason)
        assert endpoint.state is before
    assert {Reason.SYNTAX, Reason.RECIPIENT, Reason.MAC, Reason.ORIGINATOR} <= seen
    assert isinstance(only(endpoint.receive(command, EPOCH)), Reply)


def test_a_command_for_another_device_is_left_alone() -> None:
    expect_discarded(changed(recipient=CHF_EUI64), Reason.RECIPIENT)


@pytest.mark.parametrize("cra", [Cra.RESPONSE, Cra.ALERT])
def test_a_response_or_alert_sent_to_a_device_is_left_alone(cra: Cra) -> None:
    expect_discarded(changed(cra=cra), Reason.CRA)


def test_a_code_without_a_use_case_is_left_alone() -> None:
    octets = broker().command(0x0012, PPMID_EUI64, b"\x05\x00", USER)
    expect_discarded(octets, Reason.MESSAGE_CODE)


def test_a_request_for_encrypted_answers_is_left_alone() -> None:
    expect_discarded(
        changed(other_information=OtherInformation(0x0129, 1, 2, 3)), Reason.MESSAGE_CODE
    )
    expect_discarded(changed(other_information=OtherInformation(0x0129, 1)), Reason.MESSAGE_CODE)


def test_a_supplier_with_the_right_mac_is_still_a_stranger() -> None:
    expect_discarded(changed(originator=SUPPLIER_EUI64), Reason.ORIGINATOR)


def test_recovery_is_trusted_for_credentials_only() -> None:
    expect_discarded(changed(originator=RECOVERY_EUI64), Reason.ORIGINATOR)


def test_a_command_played_again_is_answered_once() -> None:
    endpoint = device()
    command = cs08()
    assert isinstance(only(endpoint.receive(command, EPOCH)), Reply)
    expect_discarded(command, Reason.COUNTER, endpoint)
    expect_discarded(changed(originator_counter=1299), Reason.COUNTER, endpoint)
    assert isinstance(only(endpoint.receive(changed(originator_counter=1301), EPOCH)), Reply)


def test_a_command_played_again_after_a_restart_is_not_answered() -> None:
    endpoint = device()
    command = cs08()
    endpoint.receive(command, EPOCH)
    expect_discarded(command, Reason.COUNTER, device(endpoint.state))


def test_a_broken_payload_under_a_good_mac_does_not_use_up_its_counter() -> None:
    endpoint = device()
    expect_discarded(changed(payload=b"\x05\x01\x00"), Reason.PAYLOAD, endpoint)
    assert isinstance(only(endpoint.receive(cs08(), EPOCH)), Reply)


def _other_mode(frame: Frame, grouping: bytes) -> bytes:
    key = derive_key(
        secret(),
        originator=frame.originator,
        recipient=frame.recipient,
        originator_counter=frame.originator_counter,
        mode=KdfMode.RESPONSE,
    )
    return compute_mac(key, frame.originator, grouping)


@pytest.mark.parametrize("forge", [_other_mode, lambda *_: bytes(12)])
def test_a_mac_made_in_another_way_is_refused(forge: Callable[[Frame, bytes], bytes]) -> None:
    received = parse_frame(cs08())
    mac = forge(received.frame, received.grouping)
    expect_discarded(build_frame(replace(received.frame, mac=mac)), Reason.MAC)


def test_a_command_without_a_mac_is_refused() -> None:
    received = parse_frame(cs08())
    expect_discarded(build_frame(replace(received.frame, mac=None)), Reason.MAC)


def join_case() -> tuple[UseCase, list[bytes]]:
    """A critical use case that remembers what it was asked."""
    asked: list[bytes] = []

    def answer(payload: bytes, _now_utc: object) -> bytes:
        asked.append(payload)
        return b"\x02\x01\x00"

    return UseCase(JOIN, answer), asked


def test_a_critical_command_needs_signature_and_mac_and_its_answer_is_signed_only() -> None:
    use_case, asked = join_case()
    endpoint = device(None, use_case)
    octets = broker().command(JOIN, PPMID_EUI64, b"\x30\x00", USER, critical=True)
    frame = parse_frame(octets).frame
    unsigned = build_frame(protect(frame, secret=secret()))
    expect_discarded(unsigned, Reason.SIGNATURE, endpoint)
    foreign = protect(
        frame, signing_key=own_key(PPMID_EUI64, KeyUse.DIGITAL_SIGNATURE), secret=secret()
    )
    expect_discarded(build_frame(foreign), Reason.SIGNATURE, endpoint)
    expect_discarded(build_frame(replace(frame, mac=None)), Reason.MAC, endpoint)
    assert asked == []
    reply = only(endpoint.receive(octets, EPOCH))
    assert isinstance(reply, Reply)
    assert asked == [b"\x30\x00"]
    assert verify(parse_frame(reply.frame), issued()) == Verdicts(Verdict.VALID, Verdict.ABSENT)


def test_a_signature_where_none_belongs_is_refused() -> None:
    octets = broker().command(0x0129, PPMID_EUI64, b"\x05\x00", USER, critical=True)
    expect_discarded(octets, Reason.SIGNATURE)


def test_an_alert_is_signed_and_its_counter_is_never_used_twice() -> None:
    endpoint = device(EndpointState(4999))
    first = parse_frame(endpoint.alert(0x012B, activation()))
    assert (first.frame.cra, first.frame.originator_counter) == (Cra.ALERT, 5000)
    assert first.frame.other_information == OtherInformation(0x012B)
    assert first.frame.recipient == ACB_EUI64
    assert verify(first, issued()) == Verdicts(Verdict.VALID, Verdict.ABSENT)
    restarted = device(endpoint.state)
    second = parse_frame(restarted.alert(0x0018, b"", critical=False))
    assert second.frame.originator_counter == 5001
    assert verify(second, issued()) == Verdicts(Verdict.ABSENT, Verdict.VALID)


def test_a_device_out_of_counters_raises_no_alert() -> None:
    endpoint = device(EndpointState(2**64 - 1))
    with pytest.raises(GbcsValueError, match="counter"):
        endpoint.alert(0x012B, activation())
    assert endpoint.state.originator_counter == 2**64 - 1


def test_a_hub_is_told_to_let_a_device_in_and_says_what_came_of_it() -> None:
    told: list[AddDevice] = []

    def register(command: AddDevice) -> AddDeviceResult:
        told.append(command)
        return AddDeviceResult(command.invoke_id, join_timeout=DlmsResult.HARDWARE_FAULT)

    hub = device(None, add_device(register), eui64=CHF_EUI64)
    octets = broker().add_device(CHF_EUI64, PPMID_EUI64, b"0123456789ABCDEF", 90, USER)
    reply = only(hub.receive(octets, EPOCH))
    assert isinstance(reply, Reply)
    assert told == [AddDevice(1300, PPMID_EUI64, b"0123456789ABCDEF", 90)]
    result = parse_add_device_result(parse_frame(reply.frame).frame.payload)
    assert result == AddDeviceResult(1300, 0, 1, 0)
    assert not result.succeeded


def test_cells_take_only_the_certificates_they_are_for() -> None:
    cells = trust_cells()
    wrong = cells.acb_key_agreement
    with pytest.raises(GbcsValueError):
        TrustCells(wrong, wrong)
    with pytest.raises(GbcsValueError):
        replace(cells, recovery=cells.acb_digital_signature)
    with pytest.raises(GbcsValueError):
        replace(cells, root=smki().issuing_authority.certificate)


@pytest.mark.parametrize("octets", [b"", b"\xdf", bytes(1500)])
def test_octets_that_are_no_frame_are_an_event(octets: bytes) -> None:
    expect_discarded(octets, Reason.SYNTAX)


def test_a_hub_answers_what_its_log_is_asked_for() -> None:
    """CCS02, CCS05/CCS04, CCS07 and ECS52: whatever function it was given, in the right layout."""
    backup = LogBackup(build_date_time(EPOCH), 0x140, (LinkKeyHash(PPMID_EUI64, b""),))
    answers: dict[int, tuple[Any, Any]] = {
        CCS02_REMOVE_DEVICE: (RemoveDevice(1300, PPMID_EUI64), RemoveDeviceResult(1300)),
        0x0004: (ReadHanStatus(1300), HanStatus(1300, ())),
        0x00FE: (ReadDeviceLogs(1300), DeviceLogs(1300, backup, None)),
        0x0059: (ReadMeterVersion(1300), MeterVersion(1300, VERSION)),
    }
    for code, (command, response) in answers.items():
        asked: list[object] = []

        def answer(given: object, response: object = response, asked: Any = asked) -> object:
            asked.append(given)
            return response

        hub = device(None, answering(code, answer), eui64=CHF_EUI64)
        dsp = broker()
        octets = dsp.command(code, CHF_EUI64, build_payload(command), USER)
        reply = only(hub.receive(octets, EPOCH))
        assert isinstance(reply, Reply)
        assert asked == [command]
        outcome = dsp.receive(reply.frame)
        assert isinstance(outcome, Response)
        assert outcome.payload == response
