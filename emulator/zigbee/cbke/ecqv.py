"""Implicit certificates: 48 or 74 octets from which anyone computes the public key they stand for.

Source: SEC 4 version 1.0 (ECQV); Smart Energy profile 07-5356, annex C (the certificates of both
suites, and those of the worked examples).

An implicit certificate holds no signature and no public key, only a point P. With e, the AES-MMO
hash of the whole certificate, and the authority's key pair d_CA, Q_CA:

    the authority  draws k; P = R + kG, s = ek + d_CA    R is the requester's point, or nothing
    the requester  d = er + s                            R = rG
    anyone         Q = eP + Q_CA                         which is dG

So any octets that hold a point give some public key. That it is the subject's shows only when the
subject proves that it has d, and under another authority's key the same octets give another Q.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from emulator.zigbee.cbke.binary_curve import GetRandBits, Point
from emulator.zigbee.cbke.errors import CbkeError, CbkeValueError
from emulator.zigbee.cbke.suites import SUITE_163K1, SUITE_283K1, KeyPair, Suite
from emulator.zigbee.security import mmo_hash

PROFILE_ATTRIBUTES = (0x0109).to_bytes(2, "big") + bytes(8)  # as the test certificates have them
NEVER = 0xFFFFFFFF  # a certificate valid for ever

# Key usage of a suite 2 certificate.
KEY_AGREEMENT = 0x08
DIGITAL_SIGNATURE = 0x80

_TYPE_IMPLICIT = 0x00
_CURVE_SECT283K1 = 0x0D
_HASH_AES_MMO = 0x08

_CERTIFICATE_163K1 = Struct(">22sQQ10s")
_CERTIFICATE_283K1 = Struct(">BQBBQ5sIQB37s")


@dataclass(frozen=True, slots=True)
class Certificate163k1:
    """A certificate of suite 1. `point` is P; EUI-64s are numbers; 10 octets are the profile's."""

    point: bytes
    subject: int
    issuer: int
    profile_attributes: bytes = PROFILE_ATTRIBUTES

    suite = SUITE_163K1

    def __post_init__(self) -> None:
        _require(self, "point", 22)
        _require(self, "profile_attributes", 10)
        _require_eui64s(self)

    @property
    def octets(self) -> bytes:
        return _CERTIFICATE_163K1.pack(
            self.point, self.subject, self.issuer, self.profile_attributes
        )


@dataclass(frozen=True, slots=True)
class Certificate283k1:
    """A certificate of suite 2. `valid_from_s` is Unix time; it is valid for `valid_for_s`."""

    point: bytes
    subject: int
    issuer: int
    serial: int
    valid_from_s: int
    valid_for_s: int = NEVER
    key_usage: int = KEY_AGREEMENT | DIGITAL_SIGNATURE

    suite = SUITE_283K1

    def __post_init__(self) -> None:
        _require(self, "point", 37)
        _require_eui64s(self)
        for name, octets in (("serial", 8), ("valid_from_s", 5), ("valid_for_s", 4)):
            _require_unsigned(name, getattr(self, name), octets)
        _require_unsigned("key_usage", self.key_usage, 1)

    @property
    def octets(self) -> bytes:
        return _CERTIFICATE_283K1.pack(
            _TYPE_IMPLICIT,
            self.serial,
            _CURVE_SECT283K1,
            _HASH_AES_MMO,
            self.issuer,
            self.valid_from_s.to_bytes(5, "big"),
            self.valid_for_s,
            self.subject,
            self.key_usage,
            self.point,
        )


Certificate = Certificate163k1 | Certificate283k1


def _require(certificate: Certificate, name: str, octets: int) -> None:
    if len(getattr(certificate, name)) != octets:
        raise CbkeValueError(f"{name} of a certificate has {octets} octets")


def _require_unsigned(name: str, value: int, octets: int) -> None:
    if not 0 <= value < 1 << 8 * octets:
        raise CbkeValueError(f"{name} {value:#x} does not fit in {octets} octet(s)")


def _require_eui64s(certificate: Certificate) -> None:
    _require_unsigned("subject", certificate.subject, 8)
    _require_unsigned("issuer", certificate.issuer, 8)


def parse_certificate(suite: Suite, octets: bytes, thing: str = "certificate") -> Certificate:
    """A certificate's fields; its point is not looked at. Raises CbkeError for other octets."""
    if len(octets) != suite.certificate_octets:
        raise CbkeError(
            thing,
            "length",
            f"is {len(octets)}, one of {suite.name} has {suite.certificate_octets} octets",
        )
    if suite is SUITE_163K1:
        return Certificate163k1(*_CERTIFICATE_163K1.unpack(octets))
    kind, serial, curve, hash_id, issuer, valid_from, valid_for, subject, key_usage, point = (
        _CERTIFICATE_283K1.unpack(octets)
    )
    for field, value, known in (
        ("type", kind, _TYPE_IMPLICIT),
        ("curve", curve, _CURVE_SECT283K1),
        ("hash", hash_id, _HASH_AES_MMO),
    ):
        if value != known:
            raise CbkeError(thing, field, f"is {value:02X}, {suite.name} has {known:02X}")
    return Certificate283k1(
        point, subject, issuer, serial, int.from_bytes(valid_from, "big"), valid_for, key_usage
    )


def _hash(certificate: bytes) -> int:
    return int.from_bytes(mmo_hash(certificate), "big")


def reconstruct_point(
    suite: Suite, certificate: bytes, ca_public_key: bytes, thing: str = "certificate"
) -> Point:
    """The public key of a certificate issued under `ca_public_key`, as a point.

    Raises CbkeError for octets that are no certificate, or no authority's key.
    """
    fields = parse_certificate(suite, certificate, thing)
    curve = suite.curve
    point = curve.decompress(fields.point, thing)
    ca = curve.decompress(ca_public_key, "CA public key")
    public = curve.add(curve.multiply(_hash(certificate), point), ca)
    if public is None:
        raise CbkeError(thing, "point", "gives no public key under this authority")
    return public


def reconstruct_public_key(suite: Suite, certificate: bytes, ca_public_key: bytes) -> bytes:
    """The public key of a certificate issued under `ca_public_key`. Raises CbkeError, as above."""
    return suite.curve.compress(reconstruct_point(suite, certificate, ca_public_key))


def reconstruct_private_key(
    suite: Suite, certificate: bytes, requester_private_key: bytes, reconstruction_data: bytes
) -> bytes:
    """The private key of a certificate issued upon a request, from what the requester kept secret
    and what the authority sent with the certificate.

    Raises CbkeError for octets that are no certificate, and where no private key comes of it.
    """
    parse_certificate(suite, certificate)
    curve = suite.curve
    kept = curve.scalar(requester_private_key, "requester's private key")
    sent = curve.scalar(reconstruction_data, "reconstruction data")
    private = (_hash(certificate) * kept + sent) % curve.order
    if not private:
        raise CbkeError("reconstruction data", "value", "gives no private key")
    return curve.scalar_bytes(private)


def private_key_matches(
    suite: Suite, certificate: bytes, ca_public_key: bytes, private_key: bytes
) -> bool:
    """Whether `private_key` is that of the certificate under this authority.

    Raises CbkeError for octets that are no certificate or no key.
    """
    curve = suite.curve
    public = curve.multiply_generator(curve.scalar(private_key))
    return public == reconstruct_point(suite, certificate, ca_public_key)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device holds for one suite, as savePreinstalledCbkeData takes it.

    Raises CbkeError for parts of the wrong form. Whether they belong together it leaves to
    `private_key_matches`: a stick does not look either.
    """

    suite: Suite
    certificate: bytes
    private_key: bytes
    ca_public_key: bytes

    def __post_init__(self) -> None:
        curve = self.suite.curve
        curve.decompress(parse_certificate(self.suite, self.certificate).point, "certificate")
        curve.decompress(self.ca_public_key, "CA public key")
        curve.scalar(self.private_key)

    @property
    def fields(self) -> Certificate:
        return parse_certificate(self.suite, self.certificate)

    def __repr__(self) -> str:  # private keys never reach a log
        return f"Identity({self.suite.name}, {self.fields.subject:016X})"


class CertificateAuthority:
    """Issues the certificates of any number of devices, all under the name `issuer`."""

    def __init__(self, suite: Suite, issuer: int, private_key: bytes) -> None:
        _require_unsigned("issuer", issuer, 8)
        self.suite = suite
        self.issuer = issuer
        self._secret = suite.curve.scalar(private_key, "CA private key")
        public = suite.curve.multiply_generator(self._secret)
        self.public_key = suite.curve.compress(public)

    def __repr__(self) -> str:  # private keys never reach a log
        return f"CertificateAuthority({self.suite.name}, {self.issuer:016X})"

    @property
    def private_key(self) -> bytes:
        """What `private_key` of the constructor was."""
        return self.suite.curve.scalar_bytes(self._secret)

    def issue(
        self,
        subject: int,
        getrandbits: GetRandBits,
        *,
        valid_from_s: int = 0,
        valid_for_s: int = NEVER,
        key_usage: int = KEY_AGREEMENT | DIGITAL_SIGNATURE,
    ) -> Identity:
        """A certificate with its private key, all made here; the times and the usage are of suite 2
        alone."""
        certificate, private_key = self._issue(
            self._filler(subject, getrandbits, valid_from_s, valid_for_s, key_usage),
            None,
            getrandbits,
        )
        return Identity(self.suite, certificate, private_key, self.public_key)

    def issue_to_requester(
        self,
        subject: int,
        request: bytes,
        getrandbits: GetRandBits,
        *,
        valid_from_s: int = 0,
        valid_for_s: int = NEVER,
        key_usage: int = KEY_AGREEMENT | DIGITAL_SIGNATURE,
    ) -> tuple[bytes, bytes]:
        """A certificate, and the private key reconstruction data for whoever sent the public key
        `request` and kept its private one. Raises CbkeError for a request that is no point."""
        point = self.suite.curve.decompress(request, "certificate request")
        return self._issue(
            self._filler(subject, getrandbits, valid_from_s, valid_for_s, key_usage),
            point,
            getrandbits,
        )

    def _filler(
        self,
        subject: int,
        getrandbits: GetRandBits,
        valid_from_s: int,
        valid_for_s: int,
        key_usage: int,
    ) -> Callable[[bytes], Certificate]:
        """From the point to the certificate for it, which is the only thing not known yet."""
        if self.suite is SUITE_163K1:
            return lambda point: Certificate163k1(point, subject, self.issuer)
        serial = getrandbits(64)
        return lambda point: Certificate283k1(
            point, subject, self.issuer, serial, valid_from_s, valid_for_s, key_usage
        )

    def _issue(
        self,
        fill: Callable[[bytes], Certificate],
        request: Point | None,
        getrandbits: GetRandBits,
    ) -> tuple[bytes, bytes]:
        curve = self.suite.curve
        while True:
            secret = curve.random_scalar(getrandbits)
            point = curve.add(curve.multiply_generator(secret), request)
            if point is None:
                continue
            octets = fill(curve.compress(point)).octets
            private = (_hash(octets) * secret + self._secret) % curve.order
            if private:
                return octets, curve.scalar_bytes(private)


def create_authority(suite: Suite, issuer: int, getrandbits: GetRandBits) -> CertificateAuthority:
    """An authority with a key of its own, from a stream of random bits."""
    private_key = suite.curve.scalar_bytes(suite.curve.random_scalar(getrandbits))
    return CertificateAuthority(suite, issuer, private_key)


def key_pair(identity: Identity) -> KeyPair:
    """The static key pair of an identity, its public key from its private one."""
    curve = identity.suite.curve
    public = curve.multiply_generator(curve.scalar(identity.private_key))
    return KeyPair(identity.private_key, curve.compress(public))
