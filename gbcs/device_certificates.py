"""With which keys a device speaks: made anew (CS02c), put into use (CS02d), asked for (CS02e).

Source: GBCS use cases CS02c "Issue Security Credentials", CS02d "Update Device Certificate on
Device", CS02e "Provide Device Certificate from Device"; ASN.1 in DER; RFC 2986 (PKCS #10).

    payload          octets
    ---------------  -----------------------------------------------------------------------
    CS02c command    SEQUENCE { keyUsage BIT STRING }
    CS02c response   CertificationRequest, or INTEGER
    CS02d command    Certificate
    CS02d response   INTEGER
    CS02e command    SEQUENCE { keyUsage BIT STRING }
    CS02e response   Certificate, or INTEGER
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gbcs.ber import (
    IntegerOf,
    KeyUsage,
    KeyUsageBits,
    Record,
    WholeSequence,
    require_whole_sequence,
)
from gbcs.errors import GbcsValueError
from gbcs.fields import Definition, Fields, IfNext


class IssueError(IntEnum):
    """Why a CS02c gave no certification request."""

    INVALID_KEY_USAGE = 1
    KEY_PAIR_GENERATION_FAILED = 2
    CR_PRODUCTION_FAILED = 3


class UpdateCertificateResult(IntEnum):
    """How a CS02d ended."""

    SUCCESS = 0
    INVALID_CERTIFICATE = 1
    WRONG_DEVICE_IDENTITY = 2
    INVALID_KEY_USAGE = 3
    NO_CORRESPONDING_KEY_PAIR_GENERATED = 4
    WRONG_PUBLIC_KEY = 5
    CERTIFICATE_STORAGE_FAILED = 6
    PRIVATE_KEY_CHANGE_FAILED = 7


class ProvideCertificateError(IntEnum):
    """Why a CS02e gave no certificate."""

    INVALID_KEY_USAGE = 1
    NO_CERTIFICATE_HELD = 2
    CERTIFICATE_RETRIEVAL_FAILURE = 3


@dataclass(frozen=True, slots=True)
class IssueCredentials:
    """CS02c command: make a key pair for this usage."""

    key_usage: KeyUsage


@dataclass(frozen=True, slots=True)
class CredentialsIssued:
    """CS02c response: a certification request for the new key, or why there is none."""

    certification_request: bytes | None = None
    error: IssueError | None = None

    def __post_init__(self) -> None:
        _require_one("certification_request", self.certification_request, self.error)


@dataclass(frozen=True, slots=True)
class UpdateCertificate:
    """CS02d command: speak with the key of this certificate from now on."""

    certificate: bytes

    def __post_init__(self) -> None:
        require_whole_sequence("certificate", self.certificate)


@dataclass(frozen=True, slots=True)
class CertificateUpdated:
    """CS02d response."""

    result: UpdateCertificateResult


@dataclass(frozen=True, slots=True)
class ProvideCertificate:
    """CS02e command: which certificate has the device for this usage?"""

    key_usage: KeyUsage


@dataclass(frozen=True, slots=True)
class CertificateProvided:
    """CS02e response: the device's certificate, or why there is none."""

    certificate: bytes | None = None
    error: ProvideCertificateError | None = None

    def __post_init__(self) -> None:
        _require_one("certificate", self.certificate, self.error)


def _require_one(name: str, octets: bytes | None, error: IntEnum | None) -> None:
    if (octets is None) == (error is None):
        raise GbcsValueError(f"there is either {name} or error")
    if octets is not None:
        require_whole_sequence(name, octets)


ISSUE_CREDENTIALS = Definition(
    "CS02c command", IssueCredentials, Record(IssueCredentials, key_usage=KeyUsageBits())
)
CREDENTIALS_ISSUED = Definition(
    "CS02c response",
    CredentialsIssued,
    Fields(
        CredentialsIssued,
        certification_request=IfNext(WholeSequence()),
        error=IfNext(IntegerOf(IssueError)),
    ),
)
UPDATE_CERTIFICATE = Definition(
    "CS02d command", UpdateCertificate, Fields(UpdateCertificate, certificate=WholeSequence())
)
CERTIFICATE_UPDATED = Definition(
    "CS02d response",
    CertificateUpdated,
    Fields(CertificateUpdated, result=IntegerOf(UpdateCertificateResult)),
)
PROVIDE_CERTIFICATE = Definition(
    "CS02e command", ProvideCertificate, Record(ProvideCertificate, key_usage=KeyUsageBits())
)
CERTIFICATE_PROVIDED = Definition(
    "CS02e response",
    CertificateProvided,
    Fields(
        CertificateProvided,
        certificate=IfNext(WholeSequence()),
        error=IfNext(IntegerOf(ProvideCertificateError)),
    ),
)
