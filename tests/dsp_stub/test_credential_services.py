"""Credentials asked for, made, replaced: by the users of a meter, and never of a bridge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha1
from typing import Any

import pytest
from command_rig import ESME, GPF, HCALCS, HUB, PPMID, Bench, answer, endpoint, meter, payload_of
from dsp_rig import (
    BRIDGE,
    DISTRIBUTOR_EUI64,
    EPOCH,
    OTHER_SUPPLIER_EUI64,
    device_keys,
    organisation,
    smki,
)

from dsp_stub.requests import (
    IssueSecurityCredentials,
    RetrieveDeviceSecurityCredentialsDevice,
    RetrieveDeviceSecurityCredentialsKrp,
    UpdateSecurityCredentialsDevice,
    UpdateSecurityCredentialsKrp,
)
from dsp_stub.responses import (
    CertificateChange,
    FutureDatedDeviceAlert,
    ResponseMessage,
    SecurityCredentialsUpdated,
)
from dsp_stub.store import Store
from gbcs.ber import KeyUsage
from gbcs.certificates import Role
from gbcs.codes import parse_payload
from gbcs.credentials import (
    FUTURE_CREDENTIALS_UPDATE,
    UPDATE_CREDENTIALS,
    Cell,
    CellUsage,
    CpvChecks,
    CredentialStatus,
    CredentialsUpdated,
    Floor,
    FutureCredentialsUpdate,
    RemotePartyRole,
    ReplacementMode,
    ReplacementOutcome,
    SequenceNumberUsage,
    SpecialistFloor,
    UpdateCredentials,
    UpdateOutcome,
)
from gbcs.device_certificates import CertificateUpdated, UpdateCertificateResult
from gbcs.device_credentials import credential_use_cases
from gbcs.envelope import parse_frame
from gbcs.protection import KeyUse
from gbcs.smki import SUPPLIER_EUI64
from gbcs.use_cases import answering
from hil.seeds import Seeds

SUPPLIER_DS = organisation(SUPPLIER_EUI64, KeyUse.DIGITAL_SIGNATURE)[0].der
SUPPLIER_KA = organisation(SUPPLIER_EUI64, KeyUse.KEY_AGREEMENT)[0].der
ISSUER = smki().issuing_authority.certificate.der
KRP = UpdateSecurityCredentialsKrp(
    "Supplier",
    digital_signing=SUPPLIER_DS,
    key_agreement=SUPPLIER_KA,
    key_agreement_top_up=SUPPLIER_KA,
    certification_path=(ISSUER,),
    apply_time_based_cpv_checks=False,
    floor=3,
    top_up_floor=4,
)
DS_CELL = Cell(RemotePartyRole.SUPPLIER, KeyUsage.DIGITAL_SIGNATURE)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def random_bits() -> Callable[[int], int]:
    return Seeds(7).stream("device").getrandbits


# -- 6.15.1 ------------------------------------------------------------------------------------


def outcome(command: UpdateCredentials, status: CredentialStatus, *cells: Cell) -> UpdateOutcome:
    key_id = bytes(8)
    return UpdateOutcome(
        command.control.sequence_number,
        command.control.mode,
        (Floor(RemotePartyRole.SUPPLIER, 3, (SpecialistFloor(SequenceNumberUsage(0), 4),)),),
        tuple(
            ReplacementOutcome(
                one.cell,
                status if not cells or one.cell in cells else CredentialStatus.NO_TRUST_ANCHOR,
                SUPPLIER_EUI64,
                key_id,
                SUPPLIER_EUI64,
                key_id,
            )
            for one in command.replacements
        ),
    )


def test_a_supplier_replaces_its_certificates_in_a_meter(bench: Bench) -> None:
    command = bench.critical(KRP, ESME)
    frame = parse_frame(command.frame).frame
    asked = UPDATE_CREDENTIALS.parse(frame.payload)
    assert frame.message_code == 0x0102
    control = asked.control
    assert control.mode is ReplacementMode.SUPPLIER_BY_SUPPLIER
    assert control.sequence_number == frame.originator_counter == bench.counter
    assert control.cpv_checks is CpvChecks.DISAPPLY
    assert control.authorising_cell == DS_CELL
    assert control.new_floor == 3
    assert [one.certificate for one in asked.replacements] == [
        SUPPLIER_DS, SUPPLIER_KA, SUPPLIER_KA,
    ]  # fmt: skip
    assert asked.replacements[2].cell.cell_usage is CellUsage.PREPAYMENT_TOP_UP
    assert asked.certification_path == (ISSUER,)

    done = CredentialsUpdated(outcome(asked, CredentialStatus.SUCCESS, DS_CELL))
    esme = meter(ESME, answering(0x0102, lambda _: done))
    bench.receive(ESME, answer(esme, command.frame))
    assert bench.response().response_code == "I0"
    (told,) = bench.alerts()
    digest = sha1(SUPPLIER_DS).digest()
    assert told == SecurityCredentialsUpdated(
        ESME, "Supplier", (CertificateChange("DigitalSigning", digest),), "3", "4"
    )
    assert bench.alert_codes() == ["N42"]


def test_nothing_replaced_is_told_to_nobody(bench: Bench) -> None:
    command = bench.critical(KRP, ESME)
    asked = UPDATE_CREDENTIALS.parse(parse_frame(command.frame).frame.payload)
    done = CredentialsUpdated(outcome(asked, CredentialStatus.NO_TRUST_ANCHOR))
    bench.receive(ESME, answer(meter(ESME, answering(0x0102, lambda _: done)), command.frame))
    assert bench.response().response_code == "I0"
    assert not bench.alerts()


def test_a_replacement_for_later_is_told_when_it_was_carried_out(bench: Bench) -> None:
    later = replace(KRP, execution_date_time="2026-02-01T00:00:00.00Z")
    command = bench.critical(later, ESME)
    asked = UPDATE_CREDENTIALS.parse(parse_frame(command.frame).frame.payload)
    assert asked.execution_date_time == EPOCH + timedelta(days=31)
    esme = meter(ESME, answering(0x0102, lambda _: CredentialsUpdated()))
    bench.receive(ESME, answer(esme, command.frame))
    assert bench.response().response_code == "I0"
    payload = FUTURE_CREDENTIALS_UPDATE.build(
        FutureCredentialsUpdate(
            0x8F66, EPOCH + timedelta(days=31), outcome(asked, CredentialStatus.SUCCESS)
        )
    )
    frame = alert_to_supplier(esme, 0x00CB, payload)
    bench.receive(ESME, frame)
    told = bench.response()
    assert told.request_id is not None
    assert told.request_id.counter == asked.control.sequence_number
    assert isinstance(told.message, ResponseMessage)
    assert told.message.service_reference_variant == "6.15.1"
    assert told.message.content == FutureDatedDeviceAlert(0x8F66, frame)
    bench.receive(ESME, frame)
    assert bench.reasons() == ["REPLAY"]


def alert_to_supplier(device: Any, code: int, payload: bytes) -> bytes:
    """A meter's alert to the user it knows."""
    acb_only = device._credentials.trust

    class ToSupplier(type(acb_only)):  # type: ignore[misc]
        acb = SUPPLIER_EUI64

    trust = ToSupplier(acb_only.acb_digital_signature, acb_only.acb_key_agreement)
    device._credentials = replace(device._credentials, trust=trust)
    try:
        frame: bytes = device.alert(code, payload)
        return frame
    finally:
        device._credentials = replace(device._credentials, trust=acb_only)


def test_3000_takes_a_replacement_for_later_back(bench: Bench) -> None:
    command = bench.critical(replace(KRP, execution_date_time="3000-12-31T00:00:00.00Z"), ESME)
    assert b"\x18\x0f99991231235959Z" in command.frame


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("E061501", {"remote_party_role": "NetworkOperator"}),
        ("E061501", {"remote_party_role": "ACB"}),
        ("E061501", {"remote_party_role": "LoadController"}),
        (
            "E061507",
            {"digital_signing": None, "key_agreement": None, "key_agreement_top_up": None},
        ),
        ("E061504", {"digital_signing": b"0\0"}),
        ("E061504", {"digital_signing": b"none"}),
        ("E061504", {"digital_signing": SUPPLIER_KA}),
        ("E061504", {"digital_signing": device_keys(ESME)[1][0].der}),
        (
            "E061505",
            {"digital_signing": organisation(OTHER_SUPPLIER_EUI64, KeyUse("ds"))[0].der},
        ),
        ("E061506", {"certification_path": (smki().root.certificate.der,)}),
        ("E061506", {"certification_path": (b"0\0",)}),
    ],
)
def test_a_replacement_that_cannot_be_is_refused(
    bench: Bench, code: str, changes: dict[str, Any]
) -> None:
    assert bench.code(replace(KRP, **changes), ESME, 4) == code
    assert bench.is_quiet()


def test_a_network_operator_replaces_its_own_and_has_no_top_up() -> None:
    bench = Bench(responsible=(DISTRIBUTOR_EUI64,))
    certificate = smki().organisation(
        DISTRIBUTOR_EUI64, Role.NETWORK_OPERATOR, KeyUse.DIGITAL_SIGNATURE
    )
    body = UpdateSecurityCredentialsKrp(
        "NetworkOperator", certificate.certificate.der, certification_path=(ISSUER,)
    )
    how = {"user": DISTRIBUTOR_EUI64}
    frame = parse_frame(payload_of(bench.ask(body, ESME, 4, **how))).frame
    assert frame.message_code == 0x0103
    assert UPDATE_CREDENTIALS.parse(frame.payload).control.cpv_checks is None
    with_top_up = replace(body, key_agreement_top_up=SUPPLIER_KA)
    assert bench.code(with_top_up, ESME, 4, **how) == "E061507"


# -- 6.17, 6.15.2, 6.24.2 ----------------------------------------------------------------------


def test_a_meter_gets_a_new_key_pair_and_speaks_with_it(bench: Bench, tmp_path: Any) -> None:
    path = tmp_path / "dsp.sqlite"
    store = Store(path)
    bench = Bench(store=store)
    esme = meter(ESME, *credential_use_cases(random_bits()))
    command = bench.critical(IssueSecurityCredentials("Digital Signature"), ESME)
    bench.receive(ESME, answer(esme, command.frame))
    frame = parse_frame(payload_of(bench.response())).frame
    issued = parse_payload(frame.message_code, frame.cra, frame.payload)
    certificate = _certified(issued.certification_request)

    command = bench.critical(UpdateSecurityCredentialsDevice(certificate.der), ESME)
    old = bench.keys.certificate(ESME, KeyUse.DIGITAL_SIGNATURE)
    bench.receive(ESME, answer(esme, command.frame))
    frame = parse_frame(payload_of(bench.response())).frame
    assert parse_payload(frame.message_code, frame.cra, frame.payload) == CertificateUpdated(
        UpdateCertificateResult.SUCCESS
    )
    assert bench.desk.key_ring.certificate(ESME, KeyUse.DIGITAL_SIGNATURE) == certificate != old

    command = bench.critical(RetrieveDeviceSecurityCredentialsDevice("Digital Signature"), ESME)
    bench.receive(ESME, answer(esme, command.frame))
    frame = parse_frame(payload_of(bench.response())).frame
    told = parse_payload(frame.message_code, frame.cra, frame.payload)
    assert told.certificate == certificate.der, "signed with the new key, or it were refused"
    assert not bench.reasons()

    store.close()
    with Store(path) as store:
        again = Bench(store=store)
        assert again.desk.key_ring.certificate(ESME, KeyUse.DIGITAL_SIGNATURE) == certificate


def _certified(request: bytes) -> Any:
    """What the SMKI makes of a device's request."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    from gbcs.certificates import parse_certificate

    asked = x509.load_der_x509_csr(request)
    authority = smki().device_authority
    old = x509.load_der_x509_certificate(device_keys(ESME)[1][0].der)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(asked.public_key())
        .serial_number(77)
        .not_valid_before(EPOCH)
        .not_valid_after(EPOCH + timedelta(days=30))
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    made = builder.sign(authority.private_key, SHA256())
    return parse_certificate(made.public_bytes(Encoding.DER))


def test_a_certificate_the_meter_would_not_have_is_not_used(bench: Bench) -> None:
    esme = meter(ESME, *credential_use_cases(random_bits()))
    old = bench.keys.certificate(ESME, KeyUse.DIGITAL_SIGNATURE)
    command = bench.critical(UpdateSecurityCredentialsDevice(device_keys(ESME)[1][0].der), ESME)
    bench.receive(ESME, answer(esme, command.frame))
    frame = parse_frame(payload_of(bench.response())).frame
    assert frame.payload == b"\x02\x01\x04", "no key pair waits for it"
    assert bench.keys.certificate(ESME, KeyUse.DIGITAL_SIGNATURE) == old
    ring = bench.desk.key_ring
    assert (ring.held(ESME), ring.offered(ESME)) == ({}, {})


@pytest.mark.parametrize(
    ("code", "certificate"),
    [
        ("E061508", b"0\0"),
        ("E061508", b"none"),
        ("E061508", SUPPLIER_DS),
        ("E061509", device_keys(HCALCS)[1][0].der),
    ],
)
def test_a_device_certificate_that_cannot_be_is_refused(
    bench: Bench, code: str, certificate: bytes
) -> None:
    assert bench.code(UpdateSecurityCredentialsDevice(certificate), ESME, 4) == code


# -- 6.24.1 ------------------------------------------------------------------------------------


@pytest.mark.requirement("MP170-R8", "good")
def test_a_bridge_tells_whom_it_trusts(bench: Bench) -> None:
    bridge = endpoint(BRIDGE, *credential_use_cases(random_bits()))
    body = RetrieveDeviceSecurityCredentialsKrp(("ACB", "Supplier"))
    assert bench.code(body, BRIDGE, 1) == "I99"
    command = bench.command()
    assert parse_frame(command.frame).frame.other_information.octet_count() == 2
    bench.receive(BRIDGE, answer(bridge, command.frame))
    told = bench.response()
    assert told.request_id is not None
    assert told.request_id.originator == SUPPLIER_EUI64
    frame = parse_frame(payload_of(told)).frame
    details = parse_payload(frame.message_code, frame.cra, frame.payload)
    assert [party.status for party in details.parties] == [
        CredentialStatus.SUCCESS,
        CredentialStatus.TRUST_ANCHOR_NOT_FOUND,
    ]


@pytest.mark.parametrize("device", [ESME, GPF, HUB, HCALCS, PPMID])
def test_every_device_with_cells_is_asked_and_a_role_once(bench: Bench, device: int) -> None:
    assert bench.code(RetrieveDeviceSecurityCredentialsKrp(("Root",)), device, 1) == "I99"
    bench.command()
    twice = RetrieveDeviceSecurityCredentialsKrp(("Root", "ACB", "Root"))
    assert bench.code(twice, device, 1) == "E062401"


@pytest.mark.requirement("MP170-R8", "bad")
@pytest.mark.parametrize("device", [BRIDGE, PPMID])
def test_no_user_replaces_the_credentials_of_a_bridge(bench: Bench, device: int) -> None:
    for body in (
        KRP,
        UpdateSecurityCredentialsDevice(device_keys(BRIDGE)[1][0].der),
        IssueSecurityCredentials("Digital Signature"),
        RetrieveDeviceSecurityCredentialsDevice("Digital Signature"),
    ):
        assert bench.code(body, device, 4) == "E11"
