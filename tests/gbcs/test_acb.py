"""The DSP's half: only what a known device really said, once, becomes an outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gbcs_rig import EPOCH, VERSION, activation, broker, device, dsp_keys, issued, own_key
from hypothesis import given, settings
from hypothesis import strategies as st

from gbcs import acb
from gbcs.acb import (
    AccessControlBroker,
    Alert,
    BrokerState,
    Rejected,
    Rejection,
    Response,
    User,
)
from gbcs.endpoint import EndpointState, Reply
from gbcs.envelope import Cra, OtherInformation, build_frame, parse_frame
from gbcs.errors import GbcsValueError
from gbcs.firmware import (
    ActivateImageResult,
    FirmwareActivation,
    FirmwareTransfer,
    FirmwareVersion,
    TransferResult,
    build_firmware_transfer,
    transfer_alert,
)
from gbcs.protection import P256_ORDER, KeyUse, protect, shared_secret
from gbcs.smki import ACB_EUI64, CHF_EUI64, PPMID_EUI64, SUPPLIER_EUI64

USER = User(SUPPLIER_EUI64, 1000)
STRANGER = 0x00DB1234567890A9


def answer_to(command: bytes) -> bytes:
    (reply,) = device().receive(command, EPOCH)
    assert isinstance(reply, Reply)
    return reply.frame


def alert(counter: int = 5000) -> bytes:
    return device(EndpointState(counter - 1)).alert(0x012B, activation())


def copy_of(state: BrokerState) -> BrokerState:
    return BrokerState(state.originator_counter, dict(state.outstanding), dict(state.accepted))


def expect_rejected(acb_: AccessControlBroker, octets: bytes, reason: Rejection) -> None:
    before = copy_of(acb_.state)
    outcome = acb_.receive(octets)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is reason, outcome.detail
    assert outcome.detail
    assert acb_.state == before


def test_a_version_read_comes_back_to_the_user_who_asked() -> None:
    dsp = broker()
    response = answer_to(dsp.read_firmware_version(PPMID_EUI64, USER))
    assert dsp.receive(response) == Response(
        PPMID_EUI64, 0x0129, 1300, USER, FirmwareVersion(VERSION)
    )
    assert dsp.state == BrokerState(1300)


def test_a_command_is_built_as_published(published: dict[str, bytes]) -> None:
    """Same fields as RTDS CS08_11.2_SUCCESS_COMMAND; only the MAC is of our own keys."""
    ours = parse_frame(broker().read_firmware_version(PPMID_EUI64, USER)).frame
    theirs = parse_frame(published["CS08_11.2_SUCCESS_COMMAND_GBCS.HEX"]).frame
    assert replace(ours, mac=theirs.mac) == theirs


def test_each_command_has_a_counter_of_its_own() -> None:
    dsp = broker()
    octets = [dsp.read_firmware_version(PPMID_EUI64, USER) for _ in range(3)]
    counters = [parse_frame(each).frame.originator_counter for each in octets]
    assert counters == [1300, 1301, 1302]


def test_an_answer_is_taken_once() -> None:
    dsp = broker()
    response = answer_to(dsp.read_firmware_version(PPMID_EUI64, USER))
    assert isinstance(dsp.receive(response), Response)
    expect_rejected(dsp, response, Rejection.UNEXPECTED)


def test_an_answer_to_a_command_given_up_on_is_unexpected() -> None:
    dsp = broker()
    response = answer_to(dsp.read_firmware_version(PPMID_EUI64, USER))
    dsp.forget(PPMID_EUI64, 1300)
    expect_rejected(dsp, response, Rejection.UNEXPECTED)


def test_an_answer_for_another_user_is_unexpected() -> None:
    dsp = broker()
    command = parse_frame(dsp.read_firmware_version(PPMID_EUI64, USER)).frame
    public = issued().public_key(PPMID_EUI64, KeyUse.KEY_AGREEMENT)
    assert public is not None
    secret = shared_secret(own_key(ACB_EUI64, KeyUse.KEY_AGREEMENT), public)
    for_another = replace(command, other_information=OtherInformation(0x0129, 1, 1000))
    response = answer_to(build_frame(protect(for_another, secret=secret)))
    expect_rejected(dsp, response, Rejection.UNEXPECTED)


def test_an_activation_alert_is_taken_once() -> None:
    dsp = broker()
    octets = alert()
    success = ActivateImageResult.ACTIVATION_SUCCESS
    assert dsp.receive(octets) == Alert(
        PPMID_EUI64, 0x012B, 5000, FirmwareActivation(EPOCH, VERSION, success)
    )
    expect_rejected(dsp, octets, Rejection.REPLAY)
    expect_rejected(dsp, alert(4999), Rejection.REPLAY)
    assert isinstance(dsp.receive(alert(5001)), Alert)


def test_an_alert_with_the_other_form_of_its_signature_is_the_same_alert() -> None:
    dsp = broker()
    octets = alert()
    frame = parse_frame(octets).frame
    assert frame.signature
    s = P256_ORDER - int.from_bytes(frame.signature[32:], "big")
    other = build_frame(replace(frame, signature=frame.signature[:32] + s.to_bytes(32, "big")))
    assert isinstance(broker().receive(other), Alert)
    assert isinstance(dsp.receive(octets), Alert)
    expect_rejected(dsp, other, Rejection.REPLAY)


def test_an_alert_is_not_taken_again_after_a_restart() -> None:
    dsp = broker()
    octets = alert()
    dsp.receive(octets)
    expect_rejected(broker(copy_of(dsp.state)), octets, Rejection.REPLAY)


def test_counters_of_two_devices_have_nothing_to_do_with_each_other() -> None:
    dsp = broker()
    assert isinstance(dsp.receive(alert(5000)), Alert)
    discarded = TransferResult.FIRMWARE_IMAGE_DISCARDED
    transfer = transfer_alert(PPMID_EUI64, VERSION, discarded, EPOCH)
    hub = device(EndpointState(3999), eui64=CHF_EUI64)
    outcome = dsp.receive(hub.alert(0x0128, build_firmware_transfer(transfer)))
    assert isinstance(outcome, Alert)
    assert isinstance(outcome.payload, FirmwareTransfer)
    assert (outcome.device, outcome.counter) == (CHF_EUI64, 4000)
    assert outcome.payload.alert_code == 0x8F89


def test_a_forged_alert_is_rejected_wherever_it_is_changed() -> None:
    dsp = broker()
    octets = alert()
    for at in range(len(octets)):
        forged = bytearray(octets)
        forged[at] ^= 1
        outcome = dsp.receive(bytes(forged))
        assert isinstance(outcome, Rejected), at
        assert dsp.state == BrokerState(1299)
    assert isinstance(dsp.receive(octets), Alert)


def test_an_alert_signed_by_another_device_is_rejected() -> None:
    frame = parse_frame(alert()).frame
    foreign = protect(frame, signing_key=own_key(CHF_EUI64, KeyUse.DIGITAL_SIGNATURE))
    expect_rejected(broker(), build_frame(foreign), Rejection.PROTECTION)


def test_an_alert_of_a_device_nobody_knows_is_rejected() -> None:
    frame = replace(parse_frame(alert()).frame, originator=STRANGER)
    expect_rejected(broker(), build_frame(frame), Rejection.UNKNOWN_ORIGINATOR)


def test_an_organisation_raises_no_alerts() -> None:
    frame = replace(parse_frame(alert()).frame, originator=ACB_EUI64)
    signed = protect(frame, signing_key=own_key(ACB_EUI64, KeyUse.DIGITAL_SIGNATURE))
    expect_rejected(broker(), build_frame(signed), Rejection.UNKNOWN_ORIGINATOR)


def test_an_alert_for_another_acb_is_rejected() -> None:
    frame = replace(parse_frame(alert()).frame, recipient=SUPPLIER_EUI64)
    expect_rejected(broker(), build_frame(frame), Rejection.RECIPIENT)


def test_a_command_sent_to_the_dsp_is_rejected() -> None:
    frame = replace(parse_frame(alert()).frame, cra=Cra.COMMAND)
    expect_rejected(broker(), build_frame(frame), Rejection.CRA)


def test_an_activation_alert_with_a_mac_alone_proves_nothing() -> None:
    octets = device(EndpointState(4999)).alert(0x012B, activation(), critical=False)
    expect_rejected(broker(), octets, Rejection.PROTECTION)


def test_an_activation_alert_without_any_protection_is_rejected() -> None:
    frame = replace(parse_frame(alert()).frame, signature=b"")
    expect_rejected(broker(), build_frame(frame), Rejection.PROTECTION)
    frame = replace(frame, other_information=OtherInformation(0x0018))
    expect_rejected(broker(), build_frame(frame), Rejection.PROTECTION)


def test_without_the_device_certificate_an_alert_is_judged_no_key() -> None:
    keys = dsp_keys()
    keys.remove(PPMID_EUI64, KeyUse.DIGITAL_SIGNATURE)
    dsp = AccessControlBroker(ACB_EUI64, keys, BrokerState())
    outcome = dsp.receive(alert())
    assert isinstance(outcome, Rejected)
    assert "no-key" in outcome.detail


def test_a_signed_alert_with_a_broken_payload_does_not_use_up_its_counter() -> None:
    dsp = broker()
    broken = device(EndpointState(4999)).alert(0x012B, activation() + b"\0")
    expect_rejected(dsp, broken, Rejection.PAYLOAD)
    assert isinstance(dsp.receive(alert()), Alert)


def test_an_alert_whose_code_is_not_read_keeps_its_octets() -> None:
    octets = device(EndpointState(4999)).alert(0x0061, b"\x0f", critical=False)
    assert broker().receive(octets) == Alert(PPMID_EUI64, 0x0061, 5000, b"\x0f")


@settings(deadline=None)
@given(st.binary(max_size=150))
def test_hostile_octets_from_the_wan_are_an_outcome_not_an_error(octets: bytes) -> None:
    outcome = broker().receive(octets)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Rejection.SYNTAX


def test_a_command_that_cannot_be_built_uses_up_no_counter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dsp = broker()
    with pytest.raises(GbcsValueError, match="certificate"):
        dsp.read_firmware_version(STRANGER, USER)
    assert dsp.state == BrokerState(1299)
    keyless = AccessControlBroker(SUPPLIER_EUI64, dsp_keys(), BrokerState())
    with pytest.raises(GbcsValueError, match="private key"):
        keyless.read_firmware_version(PPMID_EUI64, USER)
    last = broker(BrokerState(2**64 - 1))
    with pytest.raises(GbcsValueError, match="counter"):
        last.read_firmware_version(PPMID_EUI64, USER)
    monkeypatch.setattr(acb, "MAX_OUTSTANDING", 1)
    dsp.read_firmware_version(PPMID_EUI64, USER)
    with pytest.raises(GbcsValueError, match="wait"):
        dsp.read_firmware_version(PPMID_EUI64, USER)
    assert dsp.state.originator_counter == 1300
