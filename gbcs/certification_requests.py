"""Certification requests: a key, the proof that its sender holds it, and what it is to be for.

Source: RFC 2986 (PKCS #10); RFC 5280 4.2.1.3 and RFC 4108 5 for the extensions asked for; the form
is that of the requests published devices make (CS02c): no subject, key usage, hardwareModuleName.

    part                     what is read                        refused
    -----------------------  ----------------------------------  --------------------------------
    signature                is the proof of possession          does not verify
    public key               the key to certify                  not on P-256
    key usage                the one use; may be missing         none or both of digitalSignature
                                                                 and keyAgreement, keyCertSign
    hardwareModuleName       a device's EUI-64 and its maker's   not an OID and 8 octets
                             numbering; may be missing
    X500UniqueIdentifier     an organisation's EUI-64            not 8 octets

Everything else a request asks for is not granted: an authority writes certificates of its profile.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gbcs.certificates import module_name, module_name_eui64, organisation_eui64
from gbcs.errors import GbcsError
from gbcs.protection import KeyUse, PublicKey

THING = "certification request"


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """One request whose sender holds the private key. `module_name` is a device's name as its maker
    writes it, None for an organisation; `eui64` and `use` are None where it does not say."""

    der: bytes
    eui64: int | None
    module_name: bytes | None
    use: KeyUse | None
    public_key: PublicKey = field(compare=False, repr=False)


def parse_certification_request(octets: bytes) -> CertificationRequest:
    """Read one request in DER or PEM. Raises GbcsError when it proves or asks for nothing."""
    try:
        if octets.startswith(b"\x30"):
            loaded = x509.load_der_x509_csr(octets)
        else:
            loaded = x509.load_pem_x509_csr(octets)
        return _read(loaded)
    except GbcsError:
        raise
    except Exception as error:  # the parser says what is wrong with PKCS #10 in many types
        raise _refused("encoding", f"is not PKCS #10 in DER or PEM: {error}") from None


def _refused(field_name: str, problem: str) -> GbcsError:
    return GbcsError(THING, field_name, 0, problem)


def _read(loaded: x509.CertificateSigningRequest) -> CertificationRequest:
    public_key = loaded.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != (
        ec.SECP256R1.name
    ):
        raise _refused("public key", "is not on P-256")
    if not loaded.is_signature_valid:
        raise _refused("signature", "is not made with the private key: no proof of possession")
    extensions = loaded.extensions
    name = module_name(extensions)
    return CertificationRequest(
        der=loaded.public_bytes(Encoding.DER),
        eui64=organisation_eui64(loaded.subject) if name is None else module_name_eui64(name),
        module_name=name,
        use=_use(extensions),
        public_key=public_key,
    )


def _use(extensions: x509.Extensions) -> KeyUse | None:
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
    if usage.key_cert_sign:
        raise _refused("key usage", "is that of an authority")
    if usage.digital_signature == usage.key_agreement:
        raise _refused("key usage", "is not exactly one of digitalSignature and keyAgreement")
    return KeyUse.KEY_AGREEMENT if usage.key_agreement else KeyUse.DIGITAL_SIGNATURE
