"""A test SMKI: a root and the authorities below it, which certify organisations and devices.

Source: SMKI certificate profiles after the published test certificates: order of extensions, key
identifiers of 8 octets (RFC 5280 4.2.1.2, method 2), EUI-64 as X500UniqueIdentifier (organisations)
or hardwareModuleName (devices), devices valid until 99991231235959Z (RFC 5280 4.1.2.5).

Everything here is TEST ONLY and says so: authorities are called TEST, in the four octets an
issuer's name may have at most, organisations carry TEST ONLY in their names. One seed gives one
set of certificates, octet for octet: an entity's keys and serials come from a stream of its own,
so that one more device changes nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha1

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gbcs.certificates import (
    HARDWARE_MODULE_NAME,
    XML_ROLES,
    Certificate,
    CertificateStore,
    Role,
    parse_certificate,
)
from gbcs.chain import Authorities
from gbcs.errors import GbcsValueError, require_unsigned
from gbcs.protection import KeyUse, PrivateKey, PublicKey, RandomBits, private_key_from

Stream = Callable[[str], RandomBits]
"""`getrandbits` of the random stream with this name, from its start."""

TEST_ONLY = "TEST ONLY"
AUTHORITY_NAME = "TEST"
DEFAULT_VALIDITY = timedelta(days=30)
SERIAL_BITS = 127  # 16 octets, and never a negative INTEGER

ORGANISATION_POLICY = ObjectIdentifier("1.2.826.0.1.8641679.1.2.1.4")
DEVICE_POLICY = ObjectIdentifier("1.2.826.0.1.1800000.1.2.1.4")
# The maker of every device of the published test certificates: 1.2.826.0.1.8641679.1.2.2.1.
_TEST_MAKER_DER = bytes.fromhex("060D2A863A0001848FB90F01020201")
_FOR_EVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

# The published test organisations have these, and every other tool's fixtures know them.
ACB_EUI64 = 0x90B3D51F30000002
RECOVERY_EUI64 = 0x90B3D51F30000001
TRANSITIONAL_COS_EUI64 = 0x90B3D51F30000004
WAN_PROVIDER_EUI64 = 0x90B3D51F30000007
SUPPLIER_EUI64 = 0x90B3D51F30010000
SUPPLIER_2_EUI64 = 0x90B3D51F30030000
NETWORK_OPERATOR_EUI64 = 0x90B3D51F30020000
CHF_EUI64 = 0x00DB1234567890A2
PPMID_EUI64 = 0x00DB1234567890A4

_SIGN_AND_AGREE = (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT)
_SUPPLIERS_USES = (*_SIGN_AND_AGREE, KeyUse.TOP_UP_KEY_AGREEMENT, KeyUse.XML_SIGNATURE)


@dataclass(frozen=True, slots=True)
class Organisation:
    """Who gets certificates as an organisation, and for which uses."""

    eui64: int
    role: Role
    uses: tuple[KeyUse, ...] = _SIGN_AND_AGREE


BENCH_ORGANISATIONS = (
    Organisation(ACB_EUI64, Role.ACCESS_CONTROL_BROKER, (*_SIGN_AND_AGREE, KeyUse.XML_SIGNATURE)),
    Organisation(RECOVERY_EUI64, Role.RECOVERY, (KeyUse.DIGITAL_SIGNATURE,)),
    Organisation(TRANSITIONAL_COS_EUI64, Role.TRANSITIONAL_COS, (KeyUse.DIGITAL_SIGNATURE,)),
    Organisation(WAN_PROVIDER_EUI64, Role.WAN_PROVIDER, (KeyUse.DIGITAL_SIGNATURE,)),
    Organisation(SUPPLIER_EUI64, Role.SUPPLIER, _SUPPLIERS_USES),
    Organisation(SUPPLIER_2_EUI64, Role.SUPPLIER, _SUPPLIERS_USES),
    Organisation(
        NETWORK_OPERATOR_EUI64, Role.NETWORK_OPERATOR, (*_SIGN_AND_AGREE, KeyUse.XML_SIGNATURE)
    ),
)
BENCH_DEVICES = (CHF_EUI64, PPMID_EUI64)


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and the private key it is for."""

    certificate: Certificate
    private_key: PrivateKey
    use: KeyUse | None


class Smki:
    """Root, issuing authority for organisations and issuing authority for devices.

    `epoch` is when every certificate begins; those of organisations and authorities end after
    `validity`, those of devices never do, as the profile has it.
    """

    def __init__(
        self, stream: Stream, epoch: datetime, validity: timedelta = DEFAULT_VALIDITY
    ) -> None:
        if epoch.tzinfo is None or epoch.microsecond:
            raise GbcsValueError(f"epoch {epoch.isoformat()} is not a whole second with a zone")
        if validity < timedelta(seconds=1):
            raise GbcsValueError("certificates are valid for at least a second")
        self._stream = stream
        self._validity = validity
        self._not_before = epoch
        try:
            self._not_after = epoch + validity - timedelta(seconds=1)
        except OverflowError:
            raise GbcsValueError(f"{validity.days} days end after the year 9999") from None
        self.root = self._authority("root", Role.ROOT, None)
        self.issuing_authority = self._authority("issuing", Role.ISSUING_AUTHORITY, self.root)
        self.device_authority = self._authority("device issuing", None, self.root)

    def organisation(self, eui64: int, role: Role, use: KeyUse) -> Credential:
        """A key and its certificate, for one use of an organisation."""
        random_bits = self._stream(f"smki organisation {eui64:016X} {use}")
        key = private_key_from(random_bits)
        certificate = self._organisation_certificate(
            eui64, role, use, key.public_key(), random_bits
        )
        return Credential(certificate, key, use)

    def certify_organisation(
        self, eui64: int, role: Role, use: KeyUse, public_key: PublicKey, name: str
    ) -> Certificate:
        """An organisation's certificate for a key of its own; `name` as for `certify`."""
        return self._organisation_certificate(eui64, role, use, public_key, self._stream(name))

    def _organisation_certificate(
        self, eui64: int, role: Role, use: KeyUse, public_key: PublicKey, random_bits: RandomBits
    ) -> Certificate:
        require_unsigned("eui64", eui64, 8)
        if role in (Role.ROOT, Role.ISSUING_AUTHORITY, *XML_ROLES):
            raise GbcsValueError(f"role {role.name} is not one an organisation asks for")
        name = _organisation_name(eui64, _unit(role, use))
        issuer = self.issuing_authority
        builder = self._builder(name, issuer.certificate, public_key, random_bits)
        builder = (
            builder.not_valid_after(self._not_after)
            .add_extension(key_usage_extension(use), critical=True)
            .add_extension(x509.SubjectKeyIdentifier(key_id(public_key)), critical=False)
            .add_extension(_policies(ORGANISATION_POLICY), critical=True)
            .add_extension(_authority_key_id(issuer.certificate), critical=False)
        )
        return _signed(builder, issuer.private_key)

    def device(self, eui64: int, use: KeyUse) -> Credential:
        """A certificate for one use of a device: a hub, a PPMID, a bridge."""
        require_unsigned("eui64", eui64, 8)
        if use not in _SIGN_AND_AGREE:
            raise GbcsValueError(f"a device has no key for {use}")
        random_bits = self._stream(f"smki device {eui64:016X} {use}")
        key = private_key_from(random_bits)
        name = hardware_module_name(eui64)
        certificate = self._device_certificate(name, use, key.public_key(), random_bits)
        return Credential(certificate, key, use)

    def _device_certificate(
        self, module_name: bytes, use: KeyUse, public_key: PublicKey, random_bits: RandomBits
    ) -> Certificate:
        alternative = x509.OtherName(HARDWARE_MODULE_NAME, module_name)
        issuer = self.device_authority
        builder = self._builder(x509.Name([]), issuer.certificate, public_key, random_bits)
        builder = (
            builder.not_valid_after(_FOR_EVER)
            .add_extension(key_usage_extension(use), critical=True)
            .add_extension(x509.SubjectKeyIdentifier(key_id(public_key)), critical=False)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=True)
            .add_extension(_policies(DEVICE_POLICY), critical=True)
            .add_extension(_authority_key_id(issuer.certificate), critical=False)
        )
        return _signed(builder, issuer.private_key)

    def certify(
        self,
        eui64: int,
        use: KeyUse,
        public_key: PublicKey,
        name: str,
        module_name: bytes | None = None,
    ) -> Certificate:
        """A device's certificate for a key of its own; `name` is that of the stream its serial
        is drawn from, `module_name` the device's name as its maker writes it."""
        require_unsigned("eui64", eui64, 8)
        if use not in _SIGN_AND_AGREE:
            raise GbcsValueError(f"a device has no key for {use}")
        written = module_name or hardware_module_name(eui64)
        return self._device_certificate(written, use, public_key, self._stream(name))

    def authorities(self) -> Authorities:
        """All three, by whom chains of certificates are judged."""
        below = (self.issuing_authority.certificate, self.device_authority.certificate)
        return Authorities(self.root.certificate, below)

    def revocation_list(
        self, issuer: Credential, revoked: Mapping[int, datetime], this_update: datetime
    ) -> bytes:
        """The list by which an authority takes certificates back, in DER: serials, and since
        when. One that has more on it has a higher number (RFC 5280 5.2.3)."""
        name = x509.load_der_x509_certificate(issuer.certificate.der).subject
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name)
            .last_update(this_update)
            .next_update(this_update + self._validity)
            .add_extension(_authority_key_id(issuer.certificate), critical=False)
            .add_extension(x509.CRLNumber(1 + len(revoked)), critical=False)
        )
        for serial, since in revoked.items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since)
            builder = builder.add_revoked_certificate(entry.build())
        signed = builder.sign(issuer.private_key, SHA256(), ecdsa_deterministic=True)
        return signed.public_bytes(Encoding.DER)

    def _authority(self, name: str, role: Role | None, issuer: Credential | None) -> Credential:
        random_bits = self._stream(f"smki authority {name}")
        key = private_key_from(random_bits)
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, AUTHORITY_NAME)]
        if role is not None:
            unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"{role:02x}")
            attributes.insert(0, unit)
        subject = x509.Name(attributes)
        policy = DEVICE_POLICY if role is None else ORGANISATION_POLICY
        parent = None if issuer is None else issuer.certificate
        builder = self._builder(subject, parent, key.public_key(), random_bits)
        builder = (
            builder.not_valid_after(self._not_after)
            .add_extension(key_usage_extension(None), critical=True)
            .add_extension(x509.BasicConstraints(True, 1 if issuer is None else 0), critical=True)
            .add_extension(_policies(policy), critical=True)
            .add_extension(x509.SubjectKeyIdentifier(key_id(key.public_key())), critical=False)
        )
        if parent is not None:
            builder = builder.add_extension(_authority_key_id(parent), critical=False)
        signer = key if issuer is None else issuer.private_key
        return Credential(_signed(builder, signer), key, None)

    def _builder(
        self,
        subject: x509.Name,
        issuer: Certificate | None,
        public_key: PublicKey,
        random_bits: RandomBits,
    ) -> x509.CertificateBuilder:
        issuer_name = subject
        if issuer is not None:
            issuer_name = x509.load_der_x509_certificate(issuer.der).subject
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer_name)
            .public_key(public_key)
            .serial_number(_serial(random_bits))
            .not_valid_before(self._not_before)
        )


def issue_credentials(
    smki: Smki, organisations: Iterable[Organisation], devices: Iterable[int]
) -> list[Credential]:
    """Certificates and keys of all of them, each for each of its uses."""
    credentials = [
        smki.organisation(party.eui64, party.role, use)
        for party in organisations
        for use in party.uses
    ]
    return credentials + [smki.device(eui64, use) for eui64 in devices for use in _SIGN_AND_AGREE]


def issue_store(
    smki: Smki,
    organisations: Iterable[Organisation] = BENCH_ORGANISATIONS,
    devices: Iterable[int] = BENCH_DEVICES,
) -> CertificateStore:
    """A store that holds all of them, private keys too."""
    store = CertificateStore()
    for credential in issue_credentials(smki, organisations, devices):
        store.add(credential.certificate, credential.private_key, use=credential.use)
    return store


def hardware_module_name(eui64: int) -> bytes:
    """The name of a device in its certificates, as the test maker numbers them."""
    module = _TEST_MAKER_DER + b"\x04\x08" + eui64.to_bytes(8, "big")
    return bytes([0x30, len(module)]) + module


def key_id(public_key: PublicKey) -> bytes:
    """The 8 octets that name a key: 4, then the low 60 bits of the SHA-1 of its point."""
    point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    digest = bytearray(sha1(point, usedforsecurity=False).digest()[-8:])
    digest[0] = 0x40 | digest[0] & 0x0F
    return bytes(digest)


def _unit(role: Role, use: KeyUse) -> Role:
    """What the OU says: the role, or that the key signs XML for one who has that role."""
    if use is not KeyUse.XML_SIGNATURE:
        return role
    return Role.DSP_XML_SIGN if role is Role.ACCESS_CONTROL_BROKER else Role.XML_SIGN


def _organisation_name(eui64: int, unit: Role) -> x509.Name:
    # A BIT STRING, with the count of unused bits before its octets. No public name says that type.
    identifier = b"\0" + eui64.to_bytes(8, "big")
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, TEST_ONLY),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"{unit:02x}"),
            x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, identifier, _ASN1Type.BitString),
        ]
    )


def _serial(random_bits: RandomBits) -> int:
    # The top bit set keeps it at 16 octets; zero is not allowed as a serial (RFC 5280 4.1.2.2).
    return random_bits(SERIAL_BITS) | 1 << (SERIAL_BITS - 1)


def key_usage_extension(use: KeyUse | None) -> x509.KeyUsage:
    """keyCertSign and cRLSign for an authority, else the one bit the use is for."""
    agreement = use in (KeyUse.KEY_AGREEMENT, KeyUse.TOP_UP_KEY_AGREEMENT)
    return x509.KeyUsage(
        digital_signature=use is not None and not agreement,
        key_agreement=agreement,
        key_cert_sign=use is None,
        crl_sign=use is None,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        encipher_only=False,
        decipher_only=False,
    )


def _policies(policy: ObjectIdentifier) -> x509.CertificatePolicies:
    return x509.CertificatePolicies([x509.PolicyInformation(policy, None)])


def _authority_key_id(issuer: Certificate) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(issuer.subject_key_id, None, None)


def _signed(builder: x509.CertificateBuilder, key: PrivateKey) -> Certificate:
    certificate = builder.sign(key, SHA256(), ecdsa_deterministic=True)
    return parse_certificate(certificate.public_bytes(Encoding.DER))
