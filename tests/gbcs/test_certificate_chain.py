"""Chains of certificates and revocation lists."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from gbcs_rig import EPOCH, smki, trust_cells

from gbcs.certificates import Certificate
from gbcs.chain import ChainVerdict, judge_chain, parse_revocation_list
from gbcs.errors import GbcsError
from gbcs.protection import KeyUse
from gbcs.smki import PPMID_EUI64


def test_a_chain_is_judged_from_the_certificate_up() -> None:
    own, other = smki(), smki(seed=7)
    acb = trust_cells().acb_digital_signature
    authorities = [own.issuing_authority.certificate]
    root = own.root.certificate

    def judged(certificate: Certificate = acb, **changes: Any) -> ChainVerdict:
        given: dict[str, Any] = {"authorities": authorities, "root": root} | changes
        return judge_chain(certificate, **given)

    assert judged() is ChainVerdict.VALID
    assert judged(own.device(PPMID_EUI64, KeyUse.KEY_AGREEMENT).certificate,
                  authorities=[own.device_authority.certificate]) is ChainVerdict.VALID  # fmt: skip
    assert judged(authorities=[]) is ChainVerdict.NO_ISSUER
    assert judged(root=other.root.certificate) is ChainVerdict.NO_ISSUER
    assert judged(now_utc=EPOCH) is ChainVerdict.VALID
    assert judged(now_utc=EPOCH - timedelta(days=1)) is ChainVerdict.NOT_VALID_NOW
    assert judged(now_utc=EPOCH + timedelta(days=31)) is ChainVerdict.NOT_VALID_NOW
    forged = replace(other.issuing_authority.certificate, subject_key_id=acb.authority_key_id)
    assert judged(authorities=[forged]) is ChainVerdict.BAD_SIGNATURE
    no_authority = replace(acb, subject_key_id=acb.authority_key_id)
    assert judged(authorities=[no_authority]) is ChainVerdict.NOT_AN_AUTHORITY


def test_a_revoked_certificate_is_refused_by_the_list_of_its_own_authority() -> None:
    own = smki()
    acb = trust_cells().acb_digital_signature
    issuer = own.issuing_authority
    later = EPOCH + timedelta(days=2)
    der = own.revocation_list(issuer, {acb.serial: EPOCH, 5: later}, later)
    listed = parse_revocation_list(der, issuer.certificate)
    assert listed.revoked == {acb.serial: EPOCH, 5: later}
    assert (listed.this_update, listed.next_update) == (later, later + timedelta(days=30))
    chain = (acb, [issuer.certificate], own.root.certificate)
    assert judge_chain(*chain, revoked=[listed]) is ChainVerdict.REVOKED
    unlisted = parse_revocation_list(
        own.revocation_list(issuer, {5: EPOCH}, EPOCH), issuer.certificate
    )
    assert judge_chain(*chain, revoked=[unlisted]) is ChainVerdict.VALID
    # The same serial, taken back by somebody else.
    others = parse_revocation_list(
        own.revocation_list(own.root, {acb.serial: EPOCH}, EPOCH), own.root.certificate
    )
    assert judge_chain(*chain, revoked=[others]) is ChainVerdict.VALID
    authority = parse_revocation_list(
        own.revocation_list(own.root, {issuer.certificate.serial: EPOCH}, EPOCH),
        own.root.certificate,
    )
    assert judge_chain(*chain, revoked=[authority]) is ChainVerdict.REVOKED
    assert replace(own.authorities(), revoked=(authority,)).judge(acb) is ChainVerdict.REVOKED
    assert own.authorities().judge(acb, EPOCH) is ChainVerdict.VALID


def test_a_revocation_list_nobody_signed_revokes_nobody() -> None:
    own = smki()
    issuer = own.issuing_authority
    der = own.revocation_list(issuer, {5: EPOCH}, EPOCH)
    with pytest.raises(GbcsError, match="authority it should come from"):
        parse_revocation_list(der, own.root.certificate)
    for broken in (der[:-1], b"", bytes([der[0]]) + b"\xff" + der[2:], der[:-1] + b"\0"):
        with pytest.raises(GbcsError):
            parse_revocation_list(broken, issuer.certificate)
