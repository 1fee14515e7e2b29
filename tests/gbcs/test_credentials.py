"""Credentials in a device: asked, replaced, made anew, and every way in which that is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from credential_rig import (
    ACB,
    ACB_AGREEMENT,
    ACB_SIGNING,
    RECOVERY_CELL,
    ROOT_CELL,
    answered,
    by_recovery,
    device,
    discarded,
    issue,
    newer,
    path,
    recovery_control,
    replaced,
    statuses,
    stranger,
)
from cryptography import x509
from gbcs_rig import EPOCH, activation, broker, dsp_keys, own_key, smki, trust_cells

from gbcs.acb import AccessControlBroker, Alert, BrokerState, Rejected, Rejection, Response
from gbcs.axdr import read_date_time
from gbcs.ber import KeyUsage
from gbcs.certificates import Role
from gbcs.codes import (
    CS02A_PROVIDE_CREDENTIALS,
    CS02B_UPDATE_CREDENTIALS,
    CS02E_PROVIDE_CERTIFICATE,
    build_payload,
    parse_payload,
)
from gbcs.credential_replacement import PARTIES
from gbcs.credentials import (
    Cell,
    CpvChecks,
    CredentialStatus,
    Floor,
    ProvideCredentials,
    RemotePartyRole,
    Replacement,
    ReplacementControl,
    ReplacementMode,
    UpdateCredentials,
)
from gbcs.device_certificates import (
    IssueError,
    ProvideCertificate,
    ProvideCertificateError,
    UpdateCertificateResult,
)
from gbcs.endpoint import Reason, Reply
from gbcs.envelope import OtherInformation, build_frame, parse_frame
from gbcs.protection import KeyUse, protect
from gbcs.smki import ACB_EUI64, CHF_EUI64, PPMID_EUI64, RECOVERY_EUI64, Credential

SUPPLIER_CELL = Cell(RemotePartyRole.SUPPLIER, KeyUsage.DIGITAL_SIGNATURE)


# -- CS02b -------------------------------------------------------------------------------------


def test_the_acb_replaces_its_own_cells_and_only_its_new_keys_are_obeyed() -> None:
    endpoint, dsp = device(), broker()
    signing, agreement = (
        newer(use=KeyUse.DIGITAL_SIGNATURE), newer(use=KeyUse.KEY_AGREEMENT),
    )  # fmt: skip
    pairs = (ACB_SIGNING, signing.certificate), (ACB_AGREEMENT, agreement.certificate)
    octets = dsp.update_own_credentials(PPMID_EUI64, replaced(*pairs), path())
    (reply,) = endpoint.receive(octets, EPOCH)
    assert isinstance(reply, Reply)
    frame = parse_frame(reply.frame).frame
    assert read_date_time(frame.date_time) == EPOCH
    assert frame.mac is None
    response = dsp.receive(reply.frame)
    assert isinstance(response, Response)
    outcome = response.payload.outcome
    assert statuses(outcome) == [CredentialStatus.SUCCESS] * 2
    old = trust_cells().acb_digital_signature
    assert outcome.replacements[0].existing_key_id == old.subject_key_id
    assert outcome.replacements[0].replacing_key_id == signing.certificate.subject_key_id
    assert [floor.role for floor in outcome.floors] == [ACB]
    # The old keys are nobody's any more, and the new ones are the ACB's.
    assert discarded(endpoint, dsp.command(0x0129, PPMID_EUI64, b"\5\0", None)) is Reason.MAC
    keys = dsp_keys()
    for credential in (signing, agreement):
        keys.add(credential.certificate, credential.private_key)
    renewed = AccessControlBroker(ACB_EUI64, keys, BrokerState(1400))
    asked = renewed.command(0x0129, PPMID_EUI64, b"\5\0", None)
    (again,) = endpoint.receive(asked, EPOCH)
    assert isinstance(again, Reply)
    assert isinstance(renewed.receive(again.frame), Response)
    # A restart from the stored state forgets none of it.
    restarted = device(endpoint.state)
    assert restarted.credentials.trust.acb_digital_signature == signing.certificate
    assert isinstance(renewed.receive(restarted.alert(0x012B, activation())), Alert)


def test_a_floor_of_zero_does_not_let_old_commands_in_again() -> None:
    endpoint, dsp = device(), broker()
    old = dsp.command(0x0129, PPMID_EUI64, b"\5\0", None)
    pair = (ACB_SIGNING, newer(use=KeyUse.DIGITAL_SIGNATURE).certificate)
    octets = dsp.update_own_credentials(PPMID_EUI64, replaced(pair), path())
    assert statuses(answered(endpoint, octets).outcome) == [CredentialStatus.SUCCESS]
    assert endpoint.state.last_accepted(ACB_EUI64) == 1301
    assert discarded(endpoint, old) is Reason.COUNTER
    higher = dsp.update_own_credentials(PPMID_EUI64, replaced(), path(), new_floor=9000)
    answered(endpoint, higher)
    assert endpoint.state.last_accepted(ACB_EUI64) == 9000


@pytest.mark.parametrize(
    ("cell", "certificate", "status"),
    [
        (ACB_SIGNING, lambda: newer(use=KeyUse.KEY_AGREEMENT), CredentialStatus.BAD_CERTIFICATE),
        (
            ACB_SIGNING,
            lambda: newer(role=Role.SUPPLIER, use=KeyUse.DIGITAL_SIGNATURE),
            CredentialStatus.BAD_CERTIFICATE,
        ),
        (
            ACB_SIGNING,
            lambda: smki().device(PPMID_EUI64, KeyUse.DIGITAL_SIGNATURE),
            CredentialStatus.BAD_CERTIFICATE,
        ),
        (
            ACB_SIGNING,
            lambda: newer(use=KeyUse.DIGITAL_SIGNATURE, authorities=7),
            CredentialStatus.NO_TRUST_ANCHOR,
        ),
        (
            ACB_SIGNING,
            lambda: newer(eui64=ACB_EUI64 + 8, use=KeyUse.DIGITAL_SIGNATURE),
            CredentialStatus.OTHER,  # the two cells would name two ACBs
        ),
        (
            RECOVERY_CELL,
            lambda: newer(eui64=RECOVERY_EUI64, role=Role.RECOVERY, use=KeyUse.DIGITAL_SIGNATURE),
            CredentialStatus.OTHER,  # not the ACB's to replace
        ),
        (
            SUPPLIER_CELL,
            lambda: newer(role=Role.SUPPLIER, use=KeyUse.DIGITAL_SIGNATURE),
            CredentialStatus.TRUST_ANCHOR_NOT_FOUND,  # a PPMID has no such cell
        ),
    ],
)
def test_a_replacement_that_may_not_be_is_refused_and_the_others_are_made(
    cell: Cell, certificate: Callable[[], Credential], status: CredentialStatus
) -> None:
    endpoint, dsp = device(), broker()
    good = newer(use=KeyUse.KEY_AGREEMENT).certificate
    pairs = (cell, certificate().certificate), (ACB_AGREEMENT, good)
    octets = dsp.update_own_credentials(PPMID_EUI64, replaced(*pairs), path())
    outcome = answered(endpoint, octets).outcome
    expected_other = status is CredentialStatus.OTHER and cell == ACB_SIGNING
    second = CredentialStatus.OTHER if expected_other else CredentialStatus.SUCCESS
    assert statuses(outcome) == [status, second]
    first = outcome.replacements[0]
    assert first.replacing_key_id == first.existing_key_id
    trust = endpoint.credentials.trust
    assert trust.acb_digital_signature == trust_cells().acb_digital_signature
    assert (trust.acb_key_agreement == good) == (second is CredentialStatus.SUCCESS)


def test_a_chain_without_its_authority_ends_nowhere() -> None:
    endpoint, dsp = device(), broker()
    pair = (ACB_SIGNING, newer(use=KeyUse.DIGITAL_SIGNATURE).certificate)
    octets = dsp.update_own_credentials(PPMID_EUI64, replaced(pair), ())
    assert statuses(answered(endpoint, octets).outcome) == [CredentialStatus.NO_TRUST_ANCHOR]
    assert endpoint.state.credentials is None


def test_what_is_no_certificate_is_a_bad_certificate() -> None:
    endpoint, dsp = device(), broker()
    octets = dsp.update_own_credentials(
        PPMID_EUI64, (Replacement(b"\x30\x03\x02\x01\x00", ACB_SIGNING),), path()
    )
    assert statuses(answered(endpoint, octets).outcome) == [CredentialStatus.BAD_CERTIFICATE]


def test_a_certificate_out_of_its_time_is_taken_only_when_times_are_not_looked_at() -> None:
    late = EPOCH + timedelta(days=40)
    pair = (ACB_SIGNING, newer(use=KeyUse.DIGITAL_SIGNATURE).certificate)
    for checks, status in (
        (None, CredentialStatus.BAD_CERTIFICATE),
        (CpvChecks.APPLY, CredentialStatus.BAD_CERTIFICATE),
        (CpvChecks.DISAPPLY, CredentialStatus.SUCCESS),
    ):
        control = ReplacementControl(ReplacementMode.ACB_BY_ACB, 1300, cpv_checks=checks)
        command = UpdateCredentials(control, replaced(pair), path())
        octets = broker().command(0x0104, PPMID_EUI64, build_payload(command), None)
        (reply,) = device().receive(octets, late)
        assert isinstance(reply, Reply)
        frame = parse_frame(reply.frame).frame
        payload: Any = parse_payload(frame.message_code, frame.cra, frame.payload)
        assert statuses(payload.outcome) == [status]


def test_recovery_replaces_the_acb_and_itself_with_its_signature_alone() -> None:
    endpoint = device()
    signing = newer(use=KeyUse.DIGITAL_SIGNATURE).certificate
    recovery = newer(
        eui64=RECOVERY_EUI64, role=Role.RECOVERY, use=KeyUse.DIGITAL_SIGNATURE
    ).certificate
    other_root = stranger().root.certificate
    command = UpdateCredentials(
        recovery_control(),
        replaced((ACB_SIGNING, signing), (RECOVERY_CELL, recovery), (ROOT_CELL, other_root)),
        path(),
    )
    outcome = answered(endpoint, by_recovery(command)).outcome
    # A root that the old one has not signed is an abnormal one: that is contingency's to replace.
    assert statuses(outcome) == [
        CredentialStatus.SUCCESS, CredentialStatus.SUCCESS, CredentialStatus.NO_TRUST_ANCHOR,
    ]  # fmt: skip
    trust = endpoint.credentials.trust
    assert (trust.acb_digital_signature, trust.recovery) == (signing, recovery)
    assert trust.root == trust_cells().root
    assert endpoint.state.last_accepted(RECOVERY_EUI64) == 7000
    assert discarded(endpoint, by_recovery(command, 7001)) is Reason.SIGNATURE


def test_who_may_not_order_a_replacement_changes_nothing() -> None:
    pair = (ACB_SIGNING, newer(use=KeyUse.DIGITAL_SIGNATURE).certificate)
    command = UpdateCredentials(recovery_control(), replaced(pair), path())
    endpoint = device()
    good = parse_frame(by_recovery(command)).frame
    own = own_key(ACB_EUI64, KeyUse.DIGITAL_SIGNATURE)
    assert discarded(endpoint, build_frame(protect(good, signing_key=own))) is Reason.SIGNATURE
    as_acb = replace(good, originator=ACB_EUI64)
    assert discarded(endpoint, build_frame(protect(as_acb, signing_key=own))) is Reason.ORIGINATOR
    assert discarded(endpoint, build_frame(replace(good, signature=b""))) is Reason.SIGNATURE
    maced = protect(good, signing_key=own_key(RECOVERY_EUI64, KeyUse.DIGITAL_SIGNATURE),
                    secret=bytes(32))  # fmt: skip
    assert discarded(endpoint, build_frame(maced)) is Reason.MAC
    for mode in ReplacementMode:
        if mode not in PARTIES:
            code = OtherInformation(CS02B_UPDATE_CREDENTIALS + mode)
            frame = replace(good, other_information=code)
            key = own_key(RECOVERY_EUI64, KeyUse.DIGITAL_SIGNATURE)
            octets = build_frame(protect(frame, signing_key=key))
            assert discarded(endpoint, octets) is Reason.MESSAGE_CODE


@pytest.mark.parametrize(
    "changes",
    [
        {"control": recovery_control(mode=ReplacementMode.ACB_BY_ACB)},
        {"control": recovery_control(sequence_number=7001)},
    ],
)
def test_a_replacement_at_odds_with_its_frame_is_discarded(changes: dict[str, Any]) -> None:
    pair = (ACB_SIGNING, newer(use=KeyUse.DIGITAL_SIGNATURE).certificate)
    command = UpdateCredentials(recovery_control(), replaced(pair), path())
    octets = by_recovery(replace(command, **changes))
    assert discarded(device(), octets) is Reason.PAYLOAD


def test_the_acb_does_not_set_the_floor_of_recovery() -> None:
    floor = Floor(RemotePartyRole.RECOVERY, 2**64 - 1)
    control = ReplacementControl(ReplacementMode.ACB_BY_ACB, 1300, other_floors=(floor,))
    command = UpdateCredentials(control, (), path())
    octets = broker().command(0x0104, PPMID_EUI64, build_payload(command), None)
    assert discarded(device(), octets) is Reason.PAYLOAD
    by_itself = UpdateCredentials(recovery_control(other_floors=(Floor(ACB, 9000),)), (), path())
    endpoint = device()
    outcome = answered(endpoint, by_recovery(by_itself)).outcome
    assert [(each.role, each.sequence_number) for each in outcome.floors] == [
        (RemotePartyRole.RECOVERY, 0), (ACB, 9000),
    ]  # fmt: skip
    assert endpoint.state.last_accepted(ACB_EUI64) == 9000


def test_a_question_whose_answer_fits_no_frame_is_discarded() -> None:
    asked = ProvideCredentials(ACB_AGREEMENT, (ACB,) * 2000)
    octets = broker().command(CS02A_PROVIDE_CREDENTIALS, PPMID_EUI64, build_payload(asked), None)
    assert discarded(device(), octets) is Reason.PAYLOAD


def test_a_cell_is_replaced_once_a_command() -> None:
    one, other = newer(use=KeyUse.DIGITAL_SIGNATURE), newer(use=KeyUse.DIGITAL_SIGNATURE)
    pairs = (ACB_SIGNING, one.certificate), (ACB_SIGNING, other.certificate)
    octets = broker().update_own_credentials(PPMID_EUI64, replaced(*pairs), path())
    outcome = answered(device(), octets).outcome
    assert statuses(outcome) == [CredentialStatus.SUCCESS, CredentialStatus.OTHER]


# -- CS02a -------------------------------------------------------------------------------------


def test_a_device_says_whom_it_trusts() -> None:
    asked = ProvideCredentials(
        ACB_AGREEMENT,
        (ACB, RemotePartyRole.RECOVERY, RemotePartyRole.ROOT, RemotePartyRole.SUPPLIER),
    )
    octets = broker().command(CS02A_PROVIDE_CREDENTIALS, PPMID_EUI64, build_payload(asked), None)
    parties = answered(device(), octets).parties
    assert [party.status for party in parties] == [
        CredentialStatus.SUCCESS, CredentialStatus.SUCCESS, CredentialStatus.SUCCESS,
        CredentialStatus.TRUST_ANCHOR_NOT_FOUND,
    ]  # fmt: skip
    assert [cell.subject for cell in parties[0].cells] == [ACB_EUI64, ACB_EUI64]
    assert parties[0].sequence_number == 1300
    root = trust_cells().root
    assert root is not None
    assert parties[2].cells[0].subject_key_id == root.subject_key_id
    assert parties[2].cells[0].subject == 0


# -- CS02c, CS02d, CS02e -----------------------------------------------------------------------


def test_a_device_makes_a_key_pair_and_speaks_with_it_once_its_certificate_is_there() -> None:
    endpoint, keys = device(), dsp_keys()
    dsp = AccessControlBroker(ACB_EUI64, keys, BrokerState(1299))
    request = x509.load_der_x509_csr(
        issue(endpoint, dsp, KeyUsage.DIGITAL_SIGNATURE).certification_request
    )
    assert request.is_signature_valid
    before = endpoint.alert(0x012B, activation())
    assert isinstance(dsp.receive(before), Alert)
    public = request.public_key()
    certificate = smki().certify(PPMID_EUI64, KeyUse.DIGITAL_SIGNATURE, public, "again")  # type: ignore[arg-type]
    (reply,) = endpoint.receive(dsp.update_certificate(PPMID_EUI64, certificate.der), EPOCH)
    assert isinstance(reply, Reply)
    # The answer is still signed with the key that was in force when the command came.
    response = dsp.receive(reply.frame)
    assert isinstance(response, Response)
    assert response.payload.result is UpdateCertificateResult.SUCCESS
    after = device(endpoint.state).alert(0x012B, activation())
    refused = dsp.receive(after)
    assert isinstance(refused, Rejected)
    assert refused.reason is Rejection.PROTECTION
    keys.add(certificate)
    assert isinstance(dsp.receive(after), Alert)
    assert endpoint.credentials.pending == ()
    provided = answered(
        endpoint,
        dsp.command(
            CS02E_PROVIDE_CERTIFICATE,
            PPMID_EUI64,
            build_payload(ProvideCertificate(KeyUsage.DIGITAL_SIGNATURE)),
            None,
        ),
    )
    assert provided.certificate == certificate.der


def test_a_new_agreement_key_makes_another_mac() -> None:
    endpoint, keys = device(), dsp_keys()
    dsp = AccessControlBroker(ACB_EUI64, keys, BrokerState(1299))
    request = x509.load_der_x509_csr(
        issue(endpoint, dsp, KeyUsage.KEY_AGREEMENT).certification_request
    )
    certificate = smki().certify(
        PPMID_EUI64, KeyUse.KEY_AGREEMENT, request.public_key(), "again"  # type: ignore[arg-type]
    )  # fmt: skip
    result = answered(endpoint, dsp.update_certificate(PPMID_EUI64, certificate.der))
    assert result.result is UpdateCertificateResult.SUCCESS
    assert discarded(endpoint, dsp.command(0x0129, PPMID_EUI64, b"\5\0", None)) is Reason.MAC
    keys.add(certificate)
    (reply,) = endpoint.receive(dsp.command(0x0129, PPMID_EUI64, b"\5\0", None), EPOCH)
    assert isinstance(reply, Reply)
    assert isinstance(dsp.receive(reply.frame), Response)


def test_a_request_has_the_layout_of_published_ones(published: dict[str, bytes]) -> None:
    frame = parse_frame(published["CS02c_6.17_SUCCESS_RESPONSE_GBCS.HEX"]).frame
    payload: Any = parse_payload(frame.message_code, frame.cra, frame.payload)
    theirs = x509.load_der_x509_csr(payload.certification_request)
    assert theirs.is_signature_valid
    endpoint = device()
    ours = x509.load_der_x509_csr(
        issue(endpoint, broker(), KeyUsage.DIGITAL_SIGNATURE).certification_request
    )
    assert ours.subject == theirs.subject
    assert [(each.oid, each.critical) for each in ours.extensions] == [
        (each.oid, each.critical) for each in theirs.extensions
    ]
    # All before the key is the same, octet for octet; so is the length of what follows it.
    assert ours.tbs_certrequest_bytes[:33] == theirs.tbs_certrequest_bytes[:33]
    assert len(ours.tbs_certrequest_bytes) == len(theirs.tbs_certrequest_bytes)


def other_device() -> bytes:
    return smki().device(CHF_EUI64, KeyUse.DIGITAL_SIGNATURE).certificate.der


@pytest.mark.parametrize(
    ("certificate", "result"),
    [
        (lambda: b"\x30\x00", UpdateCertificateResult.INVALID_CERTIFICATE),
        (lambda: path()[0], UpdateCertificateResult.INVALID_CERTIFICATE),
        (other_device, UpdateCertificateResult.WRONG_DEVICE_IDENTITY),
        (
            lambda: smki().device(PPMID_EUI64, KeyUse.KEY_AGREEMENT).certificate.der,
            UpdateCertificateResult.NO_CORRESPONDING_KEY_PAIR_GENERATED,
        ),
        (
            lambda: smki().device(PPMID_EUI64, KeyUse.DIGITAL_SIGNATURE).certificate.der,
            UpdateCertificateResult.WRONG_PUBLIC_KEY,
        ),
    ],
)
def test_a_certificate_that_is_not_for_the_waiting_key_changes_nothing(
    certificate: Callable[[], bytes], result: UpdateCertificateResult
) -> None:
    endpoint, dsp = device(), broker()
    issue(endpoint, dsp, KeyUsage.DIGITAL_SIGNATURE)
    before = endpoint.credentials
    answer = answered(endpoint, dsp.update_certificate(PPMID_EUI64, certificate()))
    assert answer.result is result
    assert endpoint.credentials is before


def test_a_usage_no_device_has_is_refused() -> None:
    endpoint, dsp = device(), broker()
    refused = issue(endpoint, dsp, KeyUsage.KEY_CERT_SIGN)
    assert refused.error is IssueError.INVALID_KEY_USAGE
    octets = dsp.command(
        CS02E_PROVIDE_CERTIFICATE,
        PPMID_EUI64,
        build_payload(ProvideCertificate(KeyUsage.KEY_CERT_SIGN)),
        None,
    )
    assert answered(endpoint, octets).error is ProvideCertificateError.INVALID_KEY_USAGE
