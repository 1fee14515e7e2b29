"""Implicit certificates: Certicom's, and those of our own authorities."""

from __future__ import annotations

from random import Random

import pytest
from cbke_vectors import CA_163K1, CA_283K1, CERTIFICATES
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.zigbee.cbke.ecqv import (
    DIGITAL_SIGNATURE,
    KEY_AGREEMENT,
    Certificate163k1,
    Certificate283k1,
    CertificateAuthority,
    Identity,
    create_authority,
    key_pair,
    parse_certificate,
    private_key_matches,
    reconstruct_private_key,
    reconstruct_public_key,
)
from emulator.zigbee.cbke.errors import CbkeError, CbkeValueError
from emulator.zigbee.cbke.suites import (
    SUITE_163K1,
    SUITE_283K1,
    SUITES,
    KeyPair,
    Suite,
    generate_key_pair,
)
from emulator.zigbee.security import mmo_hash

ISSUER = 0x5445535453454341
EUI64S = st.integers(0, 2**64 - 1)
both_suites = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.curve.name)
published = pytest.mark.parametrize(("suite", "ca", "certificate", "pair"), CERTIFICATES)


def authority(suite: Suite, seed: int = 1, issuer: int = ISSUER) -> CertificateAuthority:
    return create_authority(suite, issuer, Random(seed).getrandbits)


@published
def test_a_published_certificate_gives_the_public_key_published_with_it(
    suite: Suite, ca: bytes, certificate: bytes, pair: KeyPair
) -> None:
    assert reconstruct_public_key(suite, certificate, ca) == pair.public_key
    assert private_key_matches(suite, certificate, ca, pair.private_key)
    assert key_pair(Identity(suite, certificate, pair.private_key, ca)) == pair


@published
def test_a_published_certificate_changed_in_one_bit_is_of_another_key(
    suite: Suite, ca: bytes, certificate: bytes, pair: KeyPair
) -> None:
    for at in range(0, 8 * len(certificate), 37):
        changed = bytearray(certificate)
        changed[at // 8] ^= 1 << at % 8
        try:
            matches = private_key_matches(suite, bytes(changed), ca, pair.private_key)
        except CbkeError:
            matches = False
        assert not matches, f"bit {at}"


def test_the_fields_of_a_published_certificate_are_where_the_profile_has_them() -> None:
    of_suite_1 = parse_certificate(SUITE_163K1, CERTIFICATES[0][2])
    assert isinstance(of_suite_1, Certificate163k1)
    assert (of_suite_1.subject, of_suite_1.issuer) == (2, ISSUER)
    assert of_suite_1.profile_attributes.hex() == "01090006000000000000"
    of_suite_2 = parse_certificate(SUITE_283K1, CERTIFICATES[2][2])
    assert isinstance(of_suite_2, Certificate283k1)
    assert (of_suite_2.subject, of_suite_2.issuer) == (0x0A0B0C0D0E0F1011, 0x1112131415161718)
    assert of_suite_2.serial == 0x2622A505E8938F27
    assert (of_suite_2.valid_from_s, of_suite_2.valid_for_s) == (0x5292A35B, 0xFFFFFFFF)
    assert of_suite_2.key_usage == KEY_AGREEMENT | DIGITAL_SIGNATURE


@given(
    point=st.binary(min_size=22, max_size=22),
    subject=EUI64S,
    issuer=EUI64S,
    attributes=st.binary(min_size=10, max_size=10),
)
def test_a_certificate_of_suite_1_is_read_as_it_was_written(
    point: bytes, subject: int, issuer: int, attributes: bytes
) -> None:
    certificate = Certificate163k1(point, subject, issuer, attributes)
    assert len(certificate.octets) == 48
    assert parse_certificate(SUITE_163K1, certificate.octets) == certificate


@given(
    point=st.binary(min_size=37, max_size=37),
    subject=EUI64S,
    issuer=EUI64S,
    serial=EUI64S,
    valid_from_s=st.integers(0, 2**40 - 1),
    valid_for_s=st.integers(0, 2**32 - 1),
    key_usage=st.integers(0, 255),
)
def test_a_certificate_of_suite_2_is_read_as_it_was_written(
    point: bytes,
    subject: int,
    issuer: int,
    serial: int,
    valid_from_s: int,
    valid_for_s: int,
    key_usage: int,
) -> None:
    certificate = Certificate283k1(
        point, subject, issuer, serial, valid_from_s, valid_for_s, key_usage
    )
    assert len(certificate.octets) == 74
    assert parse_certificate(SUITE_283K1, certificate.octets) == certificate


@both_suites
@given(octets=st.binary(max_size=80))
def test_octets_that_are_no_certificate_raise_nothing_but_a_cbke_error(
    suite: Suite, octets: bytes
) -> None:
    with pytest.raises(CbkeError, match=r"length|point|type|curve|hash"):
        reconstruct_public_key(suite, octets, authority(suite).public_key)


@pytest.mark.parametrize(("at", "field"), [(0, "type"), (9, "curve"), (10, "hash")])
def test_a_certificate_of_another_kind_is_refused_by_name(at: int, field: str) -> None:
    changed = bytearray(CERTIFICATES[2][2])
    changed[at] ^= 1
    with pytest.raises(CbkeError, match=f"certificate: {field} is"):
        parse_certificate(SUITE_283K1, bytes(changed))


def test_a_certificate_of_the_other_suite_is_refused() -> None:
    with pytest.raises(CbkeError, match="length is 74"):
        parse_certificate(SUITE_163K1, CERTIFICATES[2][2])
    with pytest.raises(CbkeError, match="length is 48"):
        parse_certificate(SUITE_283K1, CERTIFICATES[0][2])


def test_a_certificate_that_cannot_be_is_not_made() -> None:
    for make in (
        lambda: Certificate163k1(bytes(21), 1, 2),
        lambda: Certificate163k1(bytes(22), -1, 2),
        lambda: Certificate163k1(bytes(22), 1, 2**64),
        lambda: Certificate163k1(bytes(22), 1, 2, bytes(9)),
        lambda: Certificate283k1(bytes(22), 1, 2, 3, 4),
        lambda: Certificate283k1(bytes(37), 1, 2, 2**64, 4),
        lambda: Certificate283k1(bytes(37), 1, 2, 3, 2**40),
        lambda: Certificate283k1(bytes(37), 1, 2, 3, 4, 2**32),
        lambda: Certificate283k1(bytes(37), 1, 2, 3, 4, 5, 256),
    ):
        with pytest.raises(CbkeValueError):
            make()
    with pytest.raises(CbkeValueError, match="issuer"):
        CertificateAuthority(SUITE_163K1, 2**64, bytes(20) + b"\x01")


@both_suites
@given(subject=EUI64S, seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_an_authority_issues_certificates_that_hold_under_it_and_under_no_other(
    suite: Suite, subject: int, seed: int
) -> None:
    own, other = authority(suite, 1), authority(suite, 2)
    identity = own.issue(subject, Random(seed).getrandbits)
    assert len(identity.certificate) == suite.certificate_octets
    assert len(identity.private_key) == suite.private_key_octets
    assert (identity.fields.subject, identity.fields.issuer) == (subject, ISSUER)
    certificate, private_key = identity.certificate, identity.private_key
    assert private_key_matches(suite, certificate, own.public_key, private_key)
    assert not private_key_matches(suite, certificate, other.public_key, private_key)
    assert reconstruct_public_key(suite, certificate, own.public_key) == (
        key_pair(identity).public_key
    )


@both_suites
def test_the_same_seed_gives_the_same_certificates_and_each_device_its_own(suite: Suite) -> None:
    def fleet() -> list[Identity]:
        random = Random(5)
        return [authority(suite).issue(eui64, random.getrandbits) for eui64 in range(20)]

    first = fleet()
    assert first == fleet()
    assert len({identity.certificate for identity in first}) == 20
    assert len({identity.private_key for identity in first}) == 20


@both_suites
@given(seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_a_requester_gets_a_certificate_whose_private_key_the_authority_does_not_know(
    suite: Suite, seed: int
) -> None:
    random = Random(seed)
    ca = authority(suite)
    requester = generate_key_pair(suite, random.getrandbits)
    certificate, data = ca.issue_to_requester(7, requester.public_key, random.getrandbits)
    private_key = reconstruct_private_key(suite, certificate, requester.private_key, data)
    assert private_key_matches(suite, certificate, ca.public_key, private_key)
    assert not private_key_matches(suite, certificate, ca.public_key, data)


@both_suites
def test_a_request_that_would_cancel_the_authoritys_draw_is_drawn_for_again(suite: Suite) -> None:
    curve = suite.curve
    first, second = 5, 11
    # P = R + kG is the point at infinity for R = -5G and k = 5
    request = curve.compress(curve.multiply_generator(curve.order - first))
    drawn = iter([first, second])

    def getrandbits(bits: int) -> int:
        return 1 if bits == 64 else next(drawn)  # 64 bits are the serial number

    certificate, data = authority(suite).issue_to_requester(7, request, getrandbits)
    private_key = reconstruct_private_key(
        suite, certificate, curve.scalar_bytes(curve.order - first), data
    )
    assert private_key_matches(suite, certificate, authority(suite).public_key, private_key)
    with pytest.raises(StopIteration):
        next(drawn)


@both_suites
def test_a_draw_that_would_leave_a_device_without_a_private_key_is_drawn_again(
    suite: Suite,
) -> None:
    # The certificate does not hold the authority's key, so that one can be made to fit: with
    # d_CA = -ek the private key ek + d_CA is 0.
    curve = suite.curve
    first, second = 5, 11
    drawn = iter([first, first, second])

    def getrandbits(bits: int) -> int:
        return 1 if bits == 64 else next(drawn)  # 64 bits are the serial number

    certificate = authority(suite).issue(7, getrandbits).certificate
    e = int.from_bytes(mmo_hash(certificate), "big")
    ca = CertificateAuthority(suite, ISSUER, curve.scalar_bytes(-e * first % curve.order))
    with pytest.raises(CbkeError, match="no public key under this authority"):
        reconstruct_public_key(suite, certificate, ca.public_key)
    identity = ca.issue(7, getrandbits)
    assert identity.certificate != certificate
    assert private_key_matches(
        suite, identity.certificate, identity.ca_public_key, identity.private_key
    )


@both_suites
def test_a_request_that_is_no_point_of_prime_order_is_refused(suite: Suite) -> None:
    point = suite.curve.generator
    off = bytes((2,)) + bytes(suite.curve.element_octets - 1) + b"\x01"
    for request in (b"", bytes(suite.point_octets), off, point.x.to_bytes(40, "big")):
        with pytest.raises(CbkeError, match="certificate request"):
            authority(suite).issue_to_requester(7, request, Random(1).getrandbits)


@both_suites
def test_parts_of_an_identity_that_have_the_wrong_form_are_refused(suite: Suite) -> None:
    good = authority(suite).issue(1, Random(1).getrandbits)
    n = suite.curve.order.to_bytes(suite.private_key_octets, "big")
    for certificate, private_key, ca in (
        (good.certificate[:-1], good.private_key, good.ca_public_key),
        (bytes(suite.certificate_octets), good.private_key, good.ca_public_key),
        (good.certificate, good.private_key[1:], good.ca_public_key),
        (good.certificate, bytes(suite.private_key_octets), good.ca_public_key),
        (good.certificate, n, good.ca_public_key),
        (good.certificate, good.private_key, good.ca_public_key[1:]),
        (good.certificate, good.private_key, bytes(suite.point_octets)),
    ):
        with pytest.raises(CbkeError):
            Identity(suite, certificate, private_key, ca)


@both_suites
def test_reconstruction_data_that_cancel_the_private_key_are_refused(suite: Suite) -> None:
    random = Random(1)
    ca = authority(suite)
    requester = generate_key_pair(suite, random.getrandbits)
    certificate, data = ca.issue_to_requester(7, requester.public_key, random.getrandbits)
    curve = suite.curve
    private = curve.scalar(reconstruct_private_key(suite, certificate, requester.private_key, data))
    cancelling = curve.scalar_bytes((curve.scalar(data) - private) % curve.order)
    with pytest.raises(CbkeError, match="no private key"):
        reconstruct_private_key(suite, certificate, requester.private_key, cancelling)


@both_suites
def test_no_private_key_shows_in_what_is_printed(suite: Suite) -> None:
    ca = authority(suite)
    identity = ca.issue(0x00DB1234567890A4, Random(1).getrandbits)
    secret = int.from_bytes(identity.private_key, "big")
    for shown in (repr(identity), repr(ca), repr(key_pair(identity))):
        assert identity.private_key.hex() not in shown.lower()
        assert str(secret) not in shown
    assert "00DB1234567890A4" in repr(identity)


def test_the_published_authorities_are_points_of_their_curves() -> None:
    for suite, ca in ((SUITE_163K1, CA_163K1), (SUITE_283K1, CA_283K1)):
        assert suite.curve.compress(suite.curve.decompress(ca)) == ca
