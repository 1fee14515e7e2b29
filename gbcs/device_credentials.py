"""A device's credentials are asked for and made anew: CS02a and CS02c to CS02e as a PPMID has them.

Source: GBCS use cases CS02a, CS02c, CS02d and CS02e; which status says what where the public
documents leave it open is one default each (docs/open-points.md, "GBCS and test SMKI"). How its
trust anchors are replaced, CS02b, is in `gbcs.credential_replacement`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from gbcs.certificates import HARDWARE_MODULE_NAME
from gbcs.codes import (
    CS02A_PROVIDE_CREDENTIALS,
    CS02C_ISSUE_CREDENTIALS,
    CS02D_UPDATE_CERTIFICATE,
    CS02E_PROVIDE_CERTIFICATE,
)
from gbcs.credential_replacement import PARTIES, read_certificate, update_credentials
from gbcs.credentials import (
    CREDENTIAL_DETAILS,
    PROVIDE_CREDENTIALS,
    CellContents,
    CredentialDetails,
    CredentialStatus,
    PartyDetails,
    RemotePartyRole,
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
from gbcs.protection import KeyUse, PrivateKey, RandomBits, private_key_from
from gbcs.smki import hardware_module_name, key_usage_extension
from gbcs.trust import Credentials, TrustCells, key_id_octets, key_use
from gbcs.use_cases import CredentialUseCase, Executed


def credential_use_cases(random_bits: RandomBits) -> tuple[CredentialUseCase, ...]:
    """All that a PPMID or a bridge does about credentials; `random_bits` makes its new keys."""
    return (
        CredentialUseCase(CS02A_PROVIDE_CREDENTIALS, provide_credentials),
        *map(update_credentials, PARTIES),
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
        CellContents(
            cell.key_usage, certificate.eui64 or 0, key_id_octets(certificate), cell.cell_usage
        )
        for cell, certificate in held
    )
    number = frame.originator_counter if is_theirs else 0
    return PartyDetails(role, CredentialStatus.SUCCESS, number, contents)


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
    certificate = read_certificate(der)
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
