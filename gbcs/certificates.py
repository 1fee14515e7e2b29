"""SMKI certificates and the store they are looked up in, by EUI-64 and use.

Source: SMKI certificate profiles (organisation and device), after the published test certificates;
RFC 5280 (X.509), RFC 4108 5 (hardwareModuleName).

A private key counts only beside its certificate: take the certificate away and nothing is verified
or protected with that key any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gbcs.errors import GbcsError, GbcsValueError
from gbcs.protection import KeyUse, PrivateKey, PublicKey

HARDWARE_MODULE_NAME = ObjectIdentifier("1.3.6.1.5.5.7.8.4")
EUI64_OCTETS = 8
_SERIAL_OCTETS = 2 + EUI64_OCTETS  # with tag and length
THING = "certificate"


class Role(IntEnum):
    """Remote party role: two hexadecimal digits in the OU of an organisation's certificate."""

    ROOT = 0x00
    RECOVERY = 0x01
    SUPPLIER = 0x02
    NETWORK_OPERATOR = 0x03
    ACCESS_CONTROL_BROKER = 0x04
    TRANSITIONAL_COS = 0x05
    WAN_PROVIDER = 0x06
    ISSUING_AUTHORITY = 0x07
    LOAD_CONTROLLER = 0x08
    XML_SIGN = 0x87
    DSP_XML_SIGN = 0x89


XML_ROLES = (Role.XML_SIGN, Role.DSP_XML_SIGN)
# Older published certificates write the OU of these roles in decimal. They must not pass for ones
# that sign frames.
_DECIMAL_XML_ROLES = {str(int(role)): role for role in XML_ROLES}


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate. `eui64` is None for authorities; `role` is None for devices, for device
    authorities, and for a role that is not in the table. `use` is None for authorities."""

    der: bytes
    eui64: int | None
    role: Role | None
    use: KeyUse | None
    is_device: bool
    subject_key_id: bytes
    authority_key_id: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    public_key: PublicKey = field(compare=False, repr=False)

    def is_valid_at(self, now_utc: datetime) -> bool:
        return self.not_before <= now_utc <= self.not_after

    def is_issued_by(self, issuer: Certificate) -> bool:
        """Whether `issuer` names and signed this certificate."""
        ours = x509.load_der_x509_certificate(self.der)
        theirs = x509.load_der_x509_certificate(issuer.der)
        try:
            ours.verify_directly_issued_by(theirs)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return self.authority_key_id == issuer.subject_key_id


def parse_certificate(der: bytes) -> Certificate:
    """Read one certificate. Raises GbcsError when it is none of the SMKI profile."""
    try:
        loaded = x509.load_der_x509_certificate(der)
        return _read(loaded)
    except GbcsError:
        raise
    except Exception as error:  # the parser says what is wrong with X.509 in many types
        raise _refused("encoding", f"is not X.509: {error}") from None


def parse_pem_certificate(pem: bytes) -> Certificate:
    """The first certificate of a PEM file, whatever stands before it."""
    try:
        loaded = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise _refused("encoding", "holds no certificate in PEM") from None
    return parse_certificate(loaded.public_bytes(Encoding.DER))


def _refused(field_name: str, problem: str) -> GbcsError:
    return GbcsError(THING, field_name, 0, problem)


def _read(loaded: x509.Certificate) -> Certificate:
    public_key = loaded.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != (
        ec.SECP256R1.name
    ):
        raise _refused("public key", "is not on P-256")
    extensions = loaded.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    name = module_name(extensions)
    device_eui64 = None if name is None else module_name_eui64(name)
    party_eui64 = organisation_eui64(loaded.subject)
    role = _role(loaded.subject)
    return Certificate(
        der=loaded.public_bytes(Encoding.DER),
        eui64=party_eui64 if device_eui64 is None else device_eui64,
        role=role,
        use=_use(usage, role),
        is_device=device_eui64 is not None,
        subject_key_id=_subject_key_id(extensions),
        authority_key_id=_authority_key_id(extensions),
        serial=loaded.serial_number,
        not_before=loaded.not_valid_before_utc,
        not_after=loaded.not_valid_after_utc,
        public_key=public_key,
    )


def _use(usage: x509.KeyUsage, role: Role | None) -> KeyUse | None:
    if usage.key_cert_sign:
        return None
    if usage.digital_signature == usage.key_agreement:
        raise _refused("key usage", "is not exactly one of digitalSignature and keyAgreement")
    if usage.key_agreement:
        return KeyUse.KEY_AGREEMENT
    # Told apart by role: an organisation's XML signing key must never verify a frame.
    return KeyUse.XML_SIGNATURE if role in XML_ROLES else KeyUse.DIGITAL_SIGNATURE


def _subject_key_id(extensions: x509.Extensions) -> bytes:
    return extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _authority_key_id(extensions: x509.Extensions) -> bytes:
    try:
        value = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return b""  # two published load controllers' certificates have none
    return value.key_identifier or b""


def _role(subject: x509.Name) -> Role | None:
    units = subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    if not units:
        return None
    text = str(units[0].value)
    if text in _DECIMAL_XML_ROLES:
        return _DECIMAL_XML_ROLES[text]
    try:
        return Role(int(text, 16))
    except ValueError:
        return None


def organisation_eui64(subject: x509.Name) -> int | None:
    """The EUI-64 in an organisation's name, None where there is none."""
    attributes = subject.get_attributes_for_oid(NameOID.X500_UNIQUE_IDENTIFIER)
    if not attributes:
        return None
    value = attributes[0].value
    # A BIT STRING: the first octet counts the unused bits of the last one.
    if not isinstance(value, bytes) or len(value) != 1 + EUI64_OCTETS or value[0]:
        raise _refused("subject", "names an X500UniqueIdentifier that is not 8 octets")
    return int.from_bytes(value[1:], "big")


def module_name(extensions: x509.Extensions) -> bytes | None:
    """The hardwareModuleName among the alternative names, None where there is none."""
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    others = names.get_values_for_type(x509.OtherName)
    return next((name.value for name in others if name.type_id == HARDWARE_MODULE_NAME), None)


def module_name_eui64(name: bytes) -> int:
    """The EUI-64 in a hardwareModuleName: SEQUENCE { OID of the maker, OCTET STRING of 8 }."""
    tag, length, oid_tag, oid_length = name[:4] if len(name) > 4 else bytes(4)
    oid, serial = name[4:-_SERIAL_OCTETS], name[-_SERIAL_OCTETS:]
    lengths = (len(name) - 2, len(oid))
    is_whole = bool(oid) and (length, oid_length) == lengths
    if not is_whole or (tag, oid_tag, serial[:2]) != (0x30, 0x06, b"\x04\x08"):
        raise _refused("subject alternative name", "is not an OID and 8 octets of EUI-64")
    return int.from_bytes(serial[2:], "big")


class CertificateStore:
    """Certificates in use and, of those that are ours, their private keys.

    One certificate for each EUI-64 and use: putting another there replaces the first.
    """

    def __init__(self, certificates: Iterable[Certificate] = ()) -> None:
        self._certificates: dict[tuple[int, KeyUse], Certificate] = {}
        self._private_keys: dict[tuple[int, KeyUse], PrivateKey] = {}
        for certificate in certificates:
            self.add(certificate)

    def __len__(self) -> int:
        return len(self._certificates)

    def add(
        self,
        certificate: Certificate,
        private_key: PrivateKey | None = None,
        *,
        use: KeyUse | None = None,
    ) -> None:
        """Hold a certificate. `use` is said where the certificate cannot: top-up key agreement."""
        if certificate.eui64 is None or certificate.use is None:
            raise GbcsValueError("an authority's certificate has no place in the store")
        place = (certificate.eui64, certificate.use if use is None else use)
        if private_key is not None:
            theirs, ours = certificate.public_key, private_key.public_key()
            if theirs.public_numbers() != ours.public_numbers():
                name = f"{place[0]:016X}-{place[1]}"
                raise GbcsValueError(f"the private key of {name} is not that of its certificate")
        self.remove(*place)
        self._certificates[place] = certificate
        if private_key is not None:
            self._private_keys[place] = private_key

    def remove(self, eui64: int, use: KeyUse) -> None:
        """Forget a certificate and the private key beside it; none there is no error."""
        self._certificates.pop((eui64, use), None)
        self._private_keys.pop((eui64, use), None)

    def certificate(self, eui64: int, use: KeyUse) -> Certificate | None:
        return self._certificates.get((eui64, use))

    def public_key(self, eui64: int, use: KeyUse) -> PublicKey | None:
        certificate = self._certificates.get((eui64, use))
        return None if certificate is None else certificate.public_key

    def private_key(self, eui64: int, use: KeyUse) -> PrivateKey | None:
        return self._private_keys.get((eui64, use))

    def is_device(self, eui64: int) -> bool:
        held = (self._certificates.get((eui64, use)) for use in KeyUse)
        return any(certificate is not None and certificate.is_device for certificate in held)

    def access_control_brokers(self) -> tuple[int, ...]:
        return tuple(
            eui64
            for (eui64, use), certificate in self._certificates.items()
            if use is KeyUse.KEY_AGREEMENT and certificate.role is Role.ACCESS_CONTROL_BROKER
        )
