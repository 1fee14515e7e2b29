"""Requests for certificates: what they prove, what they ask for, and what they may not be."""

from __future__ import annotations

import contextlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from gbcs_rig import own_key, smki
from hypothesis import given
from hypothesis import strategies as st

from gbcs.certificates import HARDWARE_MODULE_NAME, Role, module_name_eui64, parse_certificate
from gbcs.certification_requests import parse_certification_request
from gbcs.device_credentials import certification_request
from gbcs.errors import GbcsError
from gbcs.protection import KeyUse
from gbcs.smki import PPMID_EUI64, SUPPLIER_EUI64, hardware_module_name, key_usage_extension

SIGNING, AGREEMENT = KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT
# 1.3.6.1.4.1.99999.1: of no maker
MAKER_NAME = bytes.fromhex("3015 0609 2B06010401868D1F01 0408 00DB1234567890A4")


def key() -> ec.EllipticCurvePrivateKey:
    return own_key(PPMID_EUI64, SIGNING)


def request(
    *extensions: x509.ExtensionType, subject: x509.Name | None = None, signer: object = None
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    signed = builder.sign(signer or key(), SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(Encoding.DER)


def module(name: bytes) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.OtherName(HARDWARE_MODULE_NAME, name)])


@pytest.mark.parametrize("use", [SIGNING, AGREEMENT])
def test_a_devices_request_says_who_and_what_for(use: KeyUse) -> None:
    der = certification_request(PPMID_EUI64, use, key())
    pem = x509.load_der_x509_csr(der).public_bytes(Encoding.PEM)
    for octets in (der, pem, b"of a maker's tool\n" + pem):
        read = parse_certification_request(octets)
        assert (read.der, read.eui64, read.use) == (der, PPMID_EUI64, use)
        assert read.module_name == hardware_module_name(PPMID_EUI64)
        assert read.public_key.public_numbers() == key().public_key().public_numbers()


def test_a_request_that_only_proves_its_key_leaves_the_rest_open() -> None:
    read = parse_certification_request(request())
    assert (read.eui64, read.module_name, read.use) == (None, None, None)


def test_an_organisation_is_known_by_its_unique_identifier() -> None:
    name = x509.load_der_x509_certificate(
        smki().organisation(SUPPLIER_EUI64, Role.SUPPLIER, SIGNING).certificate.der
    ).subject
    read = parse_certification_request(request(key_usage_extension(AGREEMENT), subject=name))
    assert (read.eui64, read.module_name, read.use) == (SUPPLIER_EUI64, None, AGREEMENT)


def test_the_makers_numbering_goes_from_the_request_into_the_certificate() -> None:
    read = parse_certification_request(request(module(MAKER_NAME)))
    assert read.eui64 == PPMID_EUI64
    certificate = smki().certify(
        PPMID_EUI64, SIGNING, read.public_key, "a request", read.module_name
    )
    names = x509.load_der_x509_certificate(certificate.der).extensions
    alternative = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternative.get_values_for_type(x509.OtherName)[0].value == MAKER_NAME
    assert parse_certificate(certificate.der).eui64 == PPMID_EUI64


def test_a_signature_of_another_key_proves_no_possession() -> None:
    der = request()
    forged = bytearray(der)
    forged[-1] ^= 1
    for octets in (bytes(forged), der.replace(b"\x03\x42\x00\x04", b"\x03\x42\x00\x05")):
        with pytest.raises(GbcsError):
            parse_certification_request(octets)
    point = key().public_key().public_numbers()
    other = own_key(PPMID_EUI64, AGREEMENT).public_key().public_numbers()
    mine, theirs = (n.x.to_bytes(32, "big") + n.y.to_bytes(32, "big") for n in (point, other))
    with pytest.raises(GbcsError, match="proof of possession"):
        parse_certification_request(der.replace(mine, theirs))


@pytest.mark.parametrize(
    "signer",
    [
        ec.derive_private_key(7, ec.SECP384R1()),
        ec.derive_private_key(7, ec.SECP256K1()),
        rsa.generate_private_key(65537, 1024),
    ],
    ids=["P-384", "secp256k1", "RSA"],
)
def test_a_key_that_is_not_on_p256_is_refused(signer: object) -> None:
    with pytest.raises(GbcsError, match="not on P-256"):
        parse_certification_request(request(signer=signer))


def usage(**bits: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "key_agreement", "key_cert_sign", "crl_sign", "content_commitment",
        "key_encipherment", "data_encipherment", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: bits.get(name, False) for name in names})


@pytest.mark.parametrize(
    ("bits", "problem"),
    [
        ({"digital_signature": True, "key_agreement": True}, "exactly one"),
        ({"key_encipherment": True}, "exactly one"),
        ({"key_cert_sign": True, "digital_signature": True}, "an authority"),
    ],
)
def test_a_usage_that_is_not_one_is_refused(bits: dict[str, bool], problem: str) -> None:
    with pytest.raises(GbcsError, match=problem):
        parse_certification_request(request(usage(**bits)))


@pytest.mark.parametrize(
    "name",
    [
        b"",
        MAKER_NAME[:-1],
        MAKER_NAME + b"\0",
        b"\x31" + MAKER_NAME[1:],
        MAKER_NAME[:1] + b"\x14" + MAKER_NAME[2:],
        MAKER_NAME[:2] + b"\x04" + MAKER_NAME[3:],
        MAKER_NAME[:3] + b"\x08" + MAKER_NAME[4:],
        MAKER_NAME.replace(b"\x04\x08", b"\x04\x07"),
        bytes.fromhex("300C0600040800DB1234567890A4"),
    ],
    ids=["empty", "short", "long", "no sequence", "length", "no OID", "OID length",
         "serial length", "empty OID"],
)  # fmt: skip
def test_a_device_name_of_another_form_is_refused(name: bytes) -> None:
    with pytest.raises(GbcsError):
        module_name_eui64(name)


@given(st.data())
def test_hostile_requests_are_refused_with_our_error_only(data: st.DataObject) -> None:
    der = certification_request(PPMID_EUI64, SIGNING, key())
    at = data.draw(st.integers(0, len(der) - 1))
    hostile = data.draw(
        st.one_of(
            st.binary(max_size=80),
            st.just(der[:at]),
            st.binary(min_size=1, max_size=4).map(lambda cut: der[:at] + cut + der[at + 1 :]),
        )
    )
    with contextlib.suppress(GbcsError):
        read = parse_certification_request(hostile)
        # what was not refused is what was signed
        assert read.eui64 == PPMID_EUI64
        assert read.use is SIGNING
