"""Whether a certificate hangs on a root: its chain of authorities, their times, who was revoked.

Source: RFC 5280 6.1 (path validation) as far as SMKI needs it: names, signatures and key
identifiers, authorities that may sign certificates, validity, RFC 5280 5 (revocation lists).
The published test certificates ended in 2025, so times are looked at only when a time is given.

A chain is judged from the certificate upwards; the first thing wrong with it is the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from gbcs.certificates import Certificate
from gbcs.errors import GbcsError

# A root, an issuing authority below it, what that certifies; one more for a cross-certified root.
MAX_AUTHORITIES = 3
THING = "revocation list"


class ChainVerdict(StrEnum):
    """What can be said of a chain."""

    VALID = "valid"
    NO_ISSUER = "its issuer is not among the certificates that are held"
    NOT_AN_AUTHORITY = "its issuer may not certify anybody"
    BAD_SIGNATURE = "its issuer did not sign it"
    NOT_VALID_NOW = "it is not valid at this time"
    REVOKED = "it is revoked"
    TOO_LONG = "the chain does not end"


@dataclass(frozen=True, slots=True)
class RevocationList:
    """The certificates one authority takes back: their serials, and since when."""

    issuer_key_id: bytes
    revoked: Mapping[int, datetime]
    this_update: datetime
    next_update: datetime | None

    def revokes(self, certificate: Certificate) -> bool:
        return (
            certificate.authority_key_id == self.issuer_key_id
            and certificate.serial in self.revoked
        )


@dataclass(frozen=True, slots=True)
class Authorities:
    """A root, the authorities it certified, and what they took back."""

    root: Certificate
    below: tuple[Certificate, ...]
    revoked: tuple[RevocationList, ...] = ()

    def judge(self, certificate: Certificate, now_utc: datetime | None = None) -> ChainVerdict:
        """As `judge_chain` does it with these."""
        return judge_chain(
            certificate, self.below, self.root, now_utc=now_utc, revoked=self.revoked
        )


def parse_revocation_list(der: bytes, issuer: Certificate) -> RevocationList:
    """Read a revocation list that `issuer` signed. Raises GbcsError when it is none, or another's:
    what cannot be believed revokes nobody."""
    try:
        loaded = x509.load_der_x509_crl(der)
        is_theirs = loaded.is_signature_valid(issuer.public_key)
        key_id = loaded.extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
        named = key_id.value.key_identifier  # type: ignore[attr-defined]
        revoked = {entry.serial_number: entry.revocation_date_utc for entry in loaded}
        begin, end = loaded.last_update_utc, loaded.next_update_utc
    except Exception as error:  # the parser says what is wrong with X.509 in many types
        raise GbcsError(THING, "encoding", 0, f"is not X.509: {error}") from None
    if named != issuer.subject_key_id or not is_theirs:
        raise GbcsError(THING, "signature", 0, "is not that of the authority it should come from")
    return RevocationList(issuer.subject_key_id, revoked, begin, end)


def judge_chain(
    certificate: Certificate,
    authorities: Iterable[Certificate],
    root: Certificate,
    *,
    now_utc: datetime | None = None,
    revoked: Iterable[RevocationList] = (),
) -> ChainVerdict:
    """Follow the issuers from a certificate to `root`, which is trusted and not judged itself. No
    `now_utc`, no judgement of times."""
    known = {authority.subject_key_id: authority for authority in authorities}
    known[root.subject_key_id] = root
    lists = tuple(revoked)
    current = certificate
    for _ in range(MAX_AUTHORITIES):
        if now_utc is not None and not current.is_valid_at(now_utc):
            return ChainVerdict.NOT_VALID_NOW
        if any(each.revokes(current) for each in lists):
            return ChainVerdict.REVOKED
        issuer = known.get(current.authority_key_id)
        if issuer is None:
            return ChainVerdict.NO_ISSUER
        if issuer.use is not None:
            return ChainVerdict.NOT_AN_AUTHORITY
        if not current.is_issued_by(issuer):
            return ChainVerdict.BAD_SIGNATURE
        if issuer is root:
            return ChainVerdict.VALID
        current = issuer
    return ChainVerdict.TOO_LONG
