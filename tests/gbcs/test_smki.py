"""Test certificates: to the profile, from the seed, found by EUI-64 and use."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from gbcs_rig import EPOCH, issued, own_key, smki
from hypothesis import given, settings
from hypothesis import strategies as st

from gbcs.certificates import (
    Certificate,
    CertificateStore,
    Role,
    parse_certificate,
    parse_pem_certificate,
)
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, PPMID_EUI64, SUPPLIER_EUI64, Smki, key_id
from hil.seeds import Seeds

SIGNING, AGREEMENT = KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT


def held(eui64: int, use: KeyUse) -> Certificate:
    certificate = issued().certificate(eui64, use)
    assert certificate is not None
    return certificate


def extension_oids(certificate: Certificate) -> list[tuple[str, bool]]:
    loaded = x509.load_der_x509_certificate(certificate.der)
    return [(extension.oid.dotted_string, extension.critical) for extension in loaded.extensions]


def test_published_keys_are_named_by_our_rule(vectors: Path) -> None:
    """SKI is 4 and the low 60 bits of a SHA-1: RFC 5280 method 2, in the published test PKI."""
    count = 0
    for path in sorted((vectors / "keys").glob("[09]*.pem")):
        certificate = parse_pem_certificate(path.read_bytes())
        assert key_id(certificate.public_key) == certificate.subject_key_id, path.name
        eui64, use = path.stem.split("-", 1)
        assert certificate.eui64 == int(eui64, 16)
        assert certificate.use == KeyUse(use.removeprefix("pp-"))
        count += 1
    assert count > 15


@pytest.mark.parametrize(
    ("published", "eui64", "use"),
    [
        ("90b3d51f30000002-ka.pem", ACB_EUI64, AGREEMENT),
        ("90b3d51f30010000-ds.pem", SUPPLIER_EUI64, SIGNING),
        ("00db1234567890a4-ds.pem", PPMID_EUI64, SIGNING),
    ],
)
def test_a_certificate_has_what_a_published_one_has(
    vectors: Path, published: str, eui64: int, use: KeyUse
) -> None:
    theirs = parse_pem_certificate((vectors / "keys" / published).read_bytes())
    ours = held(eui64, use)
    assert extension_oids(ours) == extension_oids(theirs)
    assert (ours.eui64, ours.role, ours.use, ours.is_device) == (
        theirs.eui64,
        theirs.role,
        theirs.use,
        theirs.is_device,
    )
    their_x509, our_x509 = (x509.load_der_x509_certificate(each.der) for each in (theirs, ours))
    for kind in (x509.CertificatePolicies, x509.KeyUsage):
        their_value = their_x509.extensions.get_extension_for_class(kind).value
        assert our_x509.extensions.get_extension_for_class(kind).value == their_value
    if theirs.is_device:
        assert our_x509.subject == their_x509.subject == x509.Name([])
        assert ours.not_after == theirs.not_after
        alternative = x509.SubjectAlternativeName
        their_name = their_x509.extensions.get_extension_for_class(alternative).value
        assert our_x509.extensions.get_extension_for_class(alternative).value == their_name


def test_the_same_seed_gives_the_same_certificates_octet_for_octet() -> None:
    again = Seeds(1)
    other = Smki(lambda name: again.stream(name).getrandbits, EPOCH)
    ours = held(PPMID_EUI64, AGREEMENT)
    assert other.device(PPMID_EUI64, AGREEMENT).certificate == ours
    assert other.root.certificate.der == smki().root.certificate.der
    assert smki(2).device(PPMID_EUI64, AGREEMENT).certificate.der != ours.der


def test_no_two_keys_and_no_two_serials_are_the_same() -> None:
    store = issued()
    certificates = [
        certificate
        for eui64 in (ACB_EUI64, SUPPLIER_EUI64, PPMID_EUI64)
        for use in KeyUse
        if (certificate := store.certificate(eui64, use)) is not None
    ]
    assert len(certificates) == 3 + 4 + 2
    assert len({certificate.subject_key_id for certificate in certificates}) == len(certificates)
    assert len({certificate.serial for certificate in certificates}) == len(certificates)
    for certificate in certificates:
        assert certificate.serial.bit_length() == 127  # 16 octets, positive


def test_organisations_end_after_30_days_and_devices_never() -> None:
    assert held(ACB_EUI64, SIGNING).not_after == EPOCH + timedelta(days=30, seconds=-1)
    assert smki().root.certificate.not_after == EPOCH + timedelta(days=30, seconds=-1)
    assert held(PPMID_EUI64, SIGNING).not_after == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert held(ACB_EUI64, SIGNING).is_valid_at(EPOCH)
    assert not held(ACB_EUI64, SIGNING).is_valid_at(EPOCH + timedelta(days=30))
    assert not held(ACB_EUI64, SIGNING).is_valid_at(EPOCH - timedelta(seconds=1))


def test_every_organisation_and_authority_says_that_it_is_a_test() -> None:
    authority = smki()
    for certificate in (
        held(ACB_EUI64, SIGNING),
        authority.root.certificate,
        authority.issuing_authority.certificate,
        authority.device_authority.certificate,
    ):
        assert "TEST" in x509.load_der_x509_certificate(certificate.der).subject.rfc4514_string()


def test_certificates_chain_up_to_the_root_and_to_nothing_else() -> None:
    authority = smki()
    root = authority.root.certificate
    issuing, devices = authority.issuing_authority.certificate, authority.device_authority
    assert issuing.is_issued_by(root)
    assert held(ACB_EUI64, SIGNING).is_issued_by(issuing)
    assert held(PPMID_EUI64, SIGNING).is_issued_by(devices.certificate)
    assert not held(PPMID_EUI64, SIGNING).is_issued_by(issuing)
    assert not held(ACB_EUI64, SIGNING).is_issued_by(smki(2).issuing_authority.certificate)


def test_an_xml_signing_key_is_never_a_frame_signing_key() -> None:
    xml = held(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)
    assert xml.role is Role.XML_SIGN
    assert held(ACB_EUI64, KeyUse.XML_SIGNATURE).role is Role.DSP_XML_SIGN
    store = CertificateStore([xml])
    assert store.public_key(SUPPLIER_EUI64, SIGNING) is None


def test_a_store_forgets_key_and_certificate_together() -> None:
    store = CertificateStore()
    store.add(held(ACB_EUI64, AGREEMENT), own_key(ACB_EUI64, AGREEMENT))
    assert store.access_control_brokers() == (ACB_EUI64,)
    store.remove(ACB_EUI64, AGREEMENT)
    assert store.private_key(ACB_EUI64, AGREEMENT) is None
    assert store.public_key(ACB_EUI64, AGREEMENT) is None
    assert store.access_control_brokers() == ()


def test_a_new_certificate_does_not_inherit_the_old_private_key() -> None:
    store = CertificateStore()
    store.add(held(ACB_EUI64, AGREEMENT), own_key(ACB_EUI64, AGREEMENT))
    store.add(held(ACB_EUI64, AGREEMENT))
    assert store.private_key(ACB_EUI64, AGREEMENT) is None


def test_a_private_key_of_another_certificate_is_refused() -> None:
    store = CertificateStore()
    with pytest.raises(GbcsValueError, match="private key"):
        store.add(held(ACB_EUI64, AGREEMENT), own_key(ACB_EUI64, SIGNING))
    assert len(store) == 0
    with pytest.raises(GbcsValueError, match="authority"):
        store.add(smki().root.certificate)


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 300), st.integers(0, 255))
def test_hostile_certificates_are_refused_with_our_error_only(
    octets: bytes, at: int, octet: int
) -> None:
    altered = bytearray(held(PPMID_EUI64, AGREEMENT).der)
    altered[at] = octet
    for hostile in (octets, bytes(altered)):
        with contextlib.suppress(GbcsError):
            parse_certificate(hostile)
        with contextlib.suppress(GbcsError):
            parse_pem_certificate(hostile)


def test_certificates_that_cannot_be_issued_are_refused() -> None:
    authority = smki()
    with pytest.raises(GbcsValueError):
        authority.device(PPMID_EUI64, KeyUse.XML_SIGNATURE)
    with pytest.raises(GbcsValueError):
        authority.device(2**64, SIGNING)
    with pytest.raises(GbcsValueError):
        authority.organisation(1, Role.ROOT, SIGNING)
    for epoch, validity in (
        (datetime(2026, 1, 1), timedelta(days=1)),
        (EPOCH, timedelta(0)),
        (EPOCH, timedelta(days=9_999_999 // 3)),
    ):
        with pytest.raises(GbcsValueError):
            Smki(lambda name: Seeds(1).stream(name).getrandbits, epoch, validity)
