"""A device's credentials are asked, replaced and made anew: CS02a to CS02e as a PPMID has them.

Source: GBCS use cases CS02a to CS02e; which status says what where the public documents leave it
open is one default each (docs/open-points.md, "GBCS and test SMKI").

CS02b, for each replacement in its turn:

    check                                                        status
    -----------------------------------------------------------  -----------------------
    the device has this cell, and it is filled                   trustAnchorNotFound
    the mode may replace it; a cell is replaced once             other
    one certificate of the SMKI profile, with the cell's role    badCertificate
      and usage, and a key identifier of 8 octets
    its chain ends at the root that is held                      noTrustAnchor
    what that chain holds is signed, in time, not revoked        badCertificate

A root is replaced by one that the root held before has signed. Replacements that pass are made
together: two ACB cells that would name two ACBs are both refused with `other`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from gbcs.certificates import HARDWARE_MODULE_NAME, Certificate, Role, parse_certificate
from gbcs.chain import ChainVerdict, judge_chain
from gbcs.codes import (
    CS02A_PROVIDE_CREDENTIALS,
    CS02B_UPDATE_CREDENTIALS,
    CS02C_ISSUE_CREDENTIALS,
    CS02D_UPDATE_CERTIFICATE,
    CS02E_PROVIDE_CERTIFICATE,
)
from gbcs.credentials import (
    CREDENTIAL_DETAILS,
    CREDENTIALS_UPDATED,
    KEY_ID_OCTETS,
    PROVIDE_CREDENTIALS,
    UPDATE_CREDENTIALS,
    Cell,
    CellContents,
    CpvChecks,
    CredentialDetails,
    CredentialStatus,
    CredentialsUpdated,
    Floor,
    PartyDetails,
    RemotePartyRole,
    Replacement,
    ReplacementMode,
    ReplacementOutcome,
    UpdateCredentials,
    UpdateOutcome,
)
from gbcs.device_certificates import (
    CERTIFICATE_PROVIDED,
    CERTIFICATE_UPDATED,
    CREDENTIALS_ISSUED,
    ISSUE_CREDENTIALS,
    PROVIDE_CERTIFICATE,
    UPDATE_CERTIFICATE,
    CertificateProvided,
    CertificateUpdated,
    CredentialsIssued,
    IssueError,
    ProvideCertificateError,
    UpdateCertificateResult,
)
from gbcs.envelope import Frame
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.protection import KeyUse, PrivateKey, RandomBits, private_key_from
from gbcs.smki import hardware_module_name, key_usage_extension
from gbcs.trust import Credentials, TrustCells, fits_cell, key_use
from gbcs.use_cases import CredentialUseCase, Executed

_PARTIES = {
    ReplacementMode.ACB_BY_ACB: Role.ACCESS_CONTROL_BROKER,
    ReplacementMode.ANY_EXCEPT_ABNORMAL_ROOT_BY_RECOVERY: Role.RECOVERY,
}
_NO_KEY_ID = bytes(KEY_ID_OCTETS)


def credential_use_cases(random_bits: RandomBits) -> tuple[CredentialUseCase, ...]:
    """All that a PPMID or a bridge does about credentials; new keys are drawn from `random_bits`.

    A contingency key is in no cell here, so mode 9 finds no originator it may come from.
    """
    return (
        CredentialUseCase(CS02A_PROVIDE_CREDENTIALS, provide_credentials),
        *(update_credentials(mode) for mode in _PARTIES),
        issue_credentials(random_bits),
        CredentialUseCase(CS02D_UPDATE_CERTIFICATE, update_certificate),
        CredentialUseCase(CS02E_PROVIDE_CERTIFICATE, provide_certificate),
    )


# -- CS02a -------------------------------------------------------------------------------------


def provide_credentials(
    _eui64: int, frame: Frame, credentials: Credentials, _now_utc: datetime
) -> Executed:
    """CS02a: what the cells of each role hold."""
    command = PROVIDE_CREDENTIALS.parse(frame.payload)
    parties = tuple(_details(role, credentials.trust, frame) for role in command.roles)
    return Executed(CREDENTIAL_DETAILS.build(CredentialDetails(parties)), credentials)


def _details(role: RemotePartyRole, trust: TrustCells, frame: Frame) -> PartyDetails:
    held = [(cell, certificate) for cell, certificate in trust.cells() if cell.role is role]
    if not held:
        return PartyDetails(role, CredentialStatus.TRUST_ANCHOR_NOT_FOUND)
    is_theirs = any(certificate.eui64 == frame.originator for _, certificate in held)
    contents = tuple(
        CellContents(cell.key_usage, certificate.eui64 or 0, _key_id(certificate), cell.cell_usage)
        for cell, certificate in held
    )
    number = frame.originator_counter if is_theirs else 0
    return PartyDetails(role, CredentialStatus.SUCCESS, number, contents)


def _key_id(certificate: Certificate) -> bytes:
    """Eight octets, whatever the certificate has."""
    return certificate.subject_key_id[:KEY_ID_OCTETS].rjust(KEY_ID_OCTETS, b"\0")


# -- CS02b -------------------------------------------------------------------------------------


def update_credentials(mode: ReplacementMode) -> CredentialUseCase:
    """CS02b in one mode, of those a PPMID takes."""
    party = _PARTIES[mode]

    def execute(_eui64: int, frame: Frame, credentials: Credentials, now_utc: datetime) -> Executed:
        command = UPDATE_CREDENTIALS.parse(frame.payload)
        _require_possible(command, mode, frame)
        trust, outcomes = _replace(command, mode, credentials.trust, now_utc)
        control = command.control
        floors, counters = _floors(command, party, trust)
        outcome = UpdateOutcome(control.sequence_number, mode, floors, outcomes)
        return Executed(
            CREDENTIALS_UPDATED.build(CredentialsUpdated(outcome)),
            credentials if trust is credentials.trust else replace(credentials, trust=trust),
            counters,
            is_timed=True,
        )

    return CredentialUseCase(CS02B_UPDATE_CREDENTIALS + mode, execute, (party,))


def _require_possible(command: UpdateCredentials, mode: ReplacementMode, frame: Frame) -> None:
    thing = UPDATE_CREDENTIALS.thing
    if command.control.mode is not mode:
        problem = f"is {command.control.mode.name}, and the code is that of {mode.name}"
        raise GbcsError(thing, "control mode", 0, problem)
    if command.control.sequence_number != frame.originator_counter:
        problem = f"is {command.control.sequence_number}, not the originator's counter"
        raise GbcsError(thing, "control sequence number", 0, problem)
    if command.control.other_floors and mode is ReplacementMode.ACB_BY_ACB:
        problem = "are there: the ACB could shut recovery out"
        raise GbcsError(thing, "control other floors", 0, problem)
    if command.execution_date_time is not None:
        raise GbcsError(thing, "execution date time", 0, "is there: nothing is kept for later here")


def _replace(
    command: UpdateCredentials, mode: ReplacementMode, trust: TrustCells, now_utc: datetime
) -> tuple[TrustCells, tuple[ReplacementOutcome, ...]]:
    path = [held for der in command.certification_path if (held := _read(der)) is not None]
    at = None if command.control.cpv_checks is CpvChecks.DISAPPLY else now_utc
    statuses: list[CredentialStatus] = []
    accepted: dict[Cell, Certificate] = {}
    for replacement in command.replacements:
        cell, certificate = replacement.cell, _read(replacement.certificate)
        if cell in accepted:
            status = CredentialStatus.OTHER
        else:
            status = _judge(cell, certificate, mode, trust, path, at)
        if status is CredentialStatus.SUCCESS and certificate is not None:
            accepted[cell] = certificate
        statuses.append(status)
    try:
        replaced = trust.replacing(accepted) if accepted else trust
    except GbcsValueError:
        replaced, accepted = _without_acb(trust, accepted)
        statuses = [_after(status, each, accepted) for status, each in _each(statuses, command)]
    outcomes = tuple(
        _outcome(each.cell, status, trust, replaced) for status, each in _each(statuses, command)
    )
    return replaced, outcomes


def _each(
    statuses: list[CredentialStatus], command: UpdateCredentials
) -> Iterable[tuple[CredentialStatus, Replacement]]:
    return zip(statuses, command.replacements, strict=True)


def _without_acb(
    trust: TrustCells, accepted: dict[Cell, Certificate]
) -> tuple[TrustCells, dict[Cell, Certificate]]:
    broker = RemotePartyRole.ACCESS_CONTROL_BROKER
    left = {cell: held for cell, held in accepted.items() if cell.role is not broker}
    return (trust.replacing(left) if left else trust), left


def _after(
    status: CredentialStatus, replacement: Replacement, accepted: dict[Cell, Certificate]
) -> CredentialStatus:
    is_refused = status is CredentialStatus.SUCCESS and replacement.cell not in accepted
    return CredentialStatus.OTHER if is_refused else status


def _judge(
    cell: Cell,
    certificate: Certificate | None,
    mode: ReplacementMode,
    trust: TrustCells,
    path: list[Certificate],
    now_utc: datetime | None,
) -> CredentialStatus:
    if trust.certificate(cell) is None:
        return CredentialStatus.TRUST_ANCHOR_NOT_FOUND
    if mode is ReplacementMode.ACB_BY_ACB and (
        cell.role is not RemotePartyRole.ACCESS_CONTROL_BROKER
    ):
        return CredentialStatus.OTHER
    if (
        certificate is None
        or not fits_cell(certificate, cell)
        or len(certificate.subject_key_id) != KEY_ID_OCTETS
    ):
        return CredentialStatus.BAD_CERTIFICATE
    if trust.root is None:
        return CredentialStatus.NO_TRUST_ANCHOR
    verdict = judge_chain(certificate, path, trust.root, now_utc=now_utc)
    if verdict is ChainVerdict.VALID:
        return CredentialStatus.SUCCESS
    if verdict is ChainVerdict.NO_ISSUER:
        return CredentialStatus.NO_TRUST_ANCHOR
    return CredentialStatus.BAD_CERTIFICATE


def _read(der: bytes) -> Certificate | None:
    try:
        return parse_certificate(der)
    except GbcsError:
        return None


def _outcome(
    cell: Cell, status: CredentialStatus, before: TrustCells, after: TrustCells
) -> ReplacementOutcome:
    old, new = before.certificate(cell), after.certificate(cell)
    if status is not CredentialStatus.SUCCESS:
        new = old
    names = [
        (0, _NO_KEY_ID) if held is None else (held.eui64 or 0, _key_id(held)) for held in (old, new)
    ]
    return ReplacementOutcome(cell, status, *names[0], *names[1])


def _floors(
    command: UpdateCredentials, party: Role, trust: TrustCells
) -> tuple[tuple[Floor, ...], tuple[tuple[int, int], ...]]:
    """The floors that are set, as the outcome tells them, and the counters they set. A floor never
    lowers the counter of a party that stays the same, or its old messages could be replayed."""
    control = command.control
    floors = list(control.other_floors or ())
    if control.new_floor is not None:
        role = RemotePartyRole(int(party))
        floors.insert(0, Floor(role, control.new_floor, control.new_specialist_floors))
    counters = []
    for floor in floors:
        for cell, certificate in trust.cells():
            if cell.role is floor.role and certificate.eui64 is not None:
                counters.append((certificate.eui64, floor.sequence_number))
    return tuple(floors), tuple(dict.fromkeys(counters))


# -- CS02c, CS02d, CS02e -----------------------------------------------------------------------


def issue_credentials(random_bits: RandomBits) -> CredentialUseCase:
    """CS02c: a new key pair, which waits for its certificate, and a request for that."""

    def execute(eui64: int, frame: Frame, credentials: Credentials, _now_utc: datetime) -> Executed:
        use = key_use(ISSUE_CREDENTIALS.parse(frame.payload).key_usage)
        if use is None:
            refused = CredentialsIssued(error=IssueError.INVALID_KEY_USAGE)
            return Executed(CREDENTIALS_ISSUED.build(refused), credentials)
        key = private_key_from(random_bits)
        pending = dict(credentials.pending) | {use: key}
        issued = CredentialsIssued(certification_request(eui64, use, key))
        return Executed(
            CREDENTIALS_ISSUED.build(issued),
            replace(credentials, pending=tuple(sorted(pending.items(), key=lambda each: each[0]))),
        )

    return CredentialUseCase(CS02C_ISSUE_CREDENTIALS, execute)


def certification_request(eui64: int, use: KeyUse, key: PrivateKey) -> bytes:
    """A PKCS #10 request as published devices make it: no subject, key usage and the device's name
    as extensions asked for."""
    name = x509.OtherName(HARDWARE_MODULE_NAME, hardware_module_name(eui64))
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(key_usage_extension(use), critical=True)
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
    )
    request = builder.sign(key, SHA256(), ecdsa_deterministic=True)
    return request.public_bytes(Encoding.DER)


def update_certificate(
    eui64: int, frame: Frame, credentials: Credentials, _now_utc: datetime
) -> Executed:
    """CS02d: the key pair that waits for this certificate is the device's from now on. A device
    holds no authority of devices, so who issued it is for the DCC to see."""
    result, updated = _update(
        eui64, UPDATE_CERTIFICATE.parse(frame.payload).certificate, credentials
    )
    return Executed(CERTIFICATE_UPDATED.build(CertificateUpdated(result)), updated)


def _update(
    eui64: int, der: bytes, credentials: Credentials
) -> tuple[UpdateCertificateResult, Credentials]:
    certificate = _read(der)
    if certificate is None or not certificate.is_device:
        return UpdateCertificateResult.INVALID_CERTIFICATE, credentials
    if certificate.eui64 != eui64:
        return UpdateCertificateResult.WRONG_DEVICE_IDENTITY, credentials
    use = certificate.use
    if use is None:
        return UpdateCertificateResult.INVALID_KEY_USAGE, credentials
    key = credentials.pending_key(use)
    if key is None:
        return UpdateCertificateResult.NO_CORRESPONDING_KEY_PAIR_GENERATED, credentials
    if key.public_key().public_numbers() != certificate.public_key.public_numbers():
        return UpdateCertificateResult.WRONG_PUBLIC_KEY, credentials
    return UpdateCertificateResult.SUCCESS, credentials.speaking_with(use, certificate)


def provide_certificate(
    _eui64: int, frame: Frame, credentials: Credentials, _now_utc: datetime
) -> Executed:
    """CS02e: the certificate of the key in use."""
    use = key_use(PROVIDE_CERTIFICATE.parse(frame.payload).key_usage)
    certificate = None if use is None else credentials.certificate(use)
    if use is None:
        provided = CertificateProvided(error=ProvideCertificateError.INVALID_KEY_USAGE)
    elif certificate is None:
        provided = CertificateProvided(error=ProvideCertificateError.NO_CERTIFICATE_HELD)
    else:
        provided = CertificateProvided(certificate.der)
    return Executed(CERTIFICATE_PROVIDED.build(provided), credentials)
