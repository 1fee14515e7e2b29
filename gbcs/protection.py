"""Signatures and MACs of frames: made with private keys, checked with what a key store holds.

Source: GBCS, "Cryptographic Protections": ECDSA on P-256 with SHA-256 as r || s (FIPS 186-5, made
with the nonces of RFC 6979), ECDH and the single-step KDF (SP 800-56A, 800-56C), AES-128-GMAC
(SP 800-38D). GBCS puts its own octets in where the KDF and the MAC allow parties and data:

    Z     = x coordinate of ECDH: the ACB and the device for a command whoever sends it,
            originator and recipient for a response or an alert
    K     = first 16 octets of SHA-256( 00000001 | Z | algorithm id | originator | 09 | mode
            | originator counter | recipient )
    IV    = originator | 00000000
    AAD   = 11 | five zero octets | grouping structure
    MAC   = first 12 octets of the GCM tag over AAD and nothing else

ECDSA is malleable: (r, n - s) verifies where (r, s) does. So a signature never tells two messages
apart; originator and counter do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import IntEnum, StrEnum
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

from gbcs.envelope import (
    MAC_OCTETS,
    SECURITY_CONTROL,
    SIGNATURE_OCTETS,
    Cra,
    Frame,
    ReceivedFrame,
    build_grouping,
    build_unsigned,
    maced_octets,
    signature_input,
    signed_octets,
)
from gbcs.errors import GbcsValueError

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey
RandomBits = Callable[[int], int]
"""`getrandbits` of a seeded generator."""

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SP 800-186
PRIVATE_KEY_BITS = 256 + 64  # FIPS 186-5, A.2.1: the extra bits take the bias out of the remainder

_ALGORITHM_ID = bytes.fromhex("60857406080300")  # the DLMS name of AES-GCM-128
_TRANSACTION_ID_OCTETS = b"\x09"
_KDF_COUNTER = (1).to_bytes(4, "big")
_MAC_AAD_HEADER = bytes([SECURITY_CONTROL]) + bytes(5)


class KeyUse(StrEnum):
    """What a key pair of an entity is for; each has a certificate of its own."""

    DIGITAL_SIGNATURE = "ds"
    KEY_AGREEMENT = "ka"
    TOP_UP_KEY_AGREEMENT = "pp-ka"
    XML_SIGNATURE = "xml-ds"  # DUIS, never a frame


class Mode(IntEnum):
    """The mode octet of the key derivation."""

    COMMAND = 1
    RESPONSE = 2
    ALERT = 3
    ATTRIBUTE_ENCRYPTION = 4


class Verdict(StrEnum):
    """What can be said of one protection of one frame."""

    VALID = "valid"
    INVALID = "invalid"
    NO_KEY = "no-key"
    ABSENT = "absent"


class Verdicts(NamedTuple):
    signature: Verdict
    mac: Verdict


class KeyStore(Protocol):
    """Where keys come from: by EUI-64 and use, and by nothing else."""

    def public_key(self, eui64: int, use: KeyUse) -> PublicKey | None: ...

    def private_key(self, eui64: int, use: KeyUse) -> PrivateKey | None: ...

    def is_device(self, eui64: int) -> bool:
        """Whether a device's certificate, not an organisation's, is held for this EUI-64."""

    def access_control_brokers(self) -> tuple[int, ...]:
        """EUI-64s of the organisations whose certificates say they are the ACB."""


def private_key_from(random_bits: RandomBits) -> PrivateKey:
    """A P-256 key drawn from a seeded `getrandbits`."""
    scalar = random_bits(PRIVATE_KEY_BITS) % (P256_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


# -- signatures --------------------------------------------------------------------------------


def sign(octets: bytes, key: PrivateKey) -> bytes:
    """r || s; the same key and octets give the same signature."""
    der = key.sign(octets, ec.ECDSA(SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def is_signed(signature: bytes, octets: bytes, key: PublicKey) -> bool:
    if len(signature) != SIGNATURE_OCTETS:
        return False
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    try:
        key.verify(encode_dss_signature(r, s), octets, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


# -- MACs --------------------------------------------------------------------------------------


def shared_secret(private: PrivateKey, public: PublicKey) -> bytes:
    """Z, the x coordinate of the point both sides can compute."""
    return private.exchange(ec.ECDH(), public)


def derive_key(
    secret: bytes, *, originator: int, recipient: int, originator_counter: int, mode: Mode
) -> bytes:
    """K, the AES-128 key of one message."""
    other_info = (
        _ALGORITHM_ID
        + originator.to_bytes(8, "big")
        + _TRANSACTION_ID_OCTETS
        + bytes([mode])
        + originator_counter.to_bytes(8, "big")
        + recipient.to_bytes(8, "big")
    )
    return sha256(_KDF_COUNTER + secret + other_info).digest()[:16]


def compute_mac(key: bytes, originator: int, grouping: bytes) -> bytes:
    """The MAC over a whole grouping structure."""
    iv = originator.to_bytes(8, "big") + bytes(4)
    return AESGCM(key).encrypt(iv, b"", _MAC_AAD_HEADER + grouping)[:MAC_OCTETS]


def frame_mac(secret: bytes, frame: Frame, grouping: bytes) -> bytes:
    """The MAC a frame should carry, from Z and the octets of its grouping structure."""
    key = derive_key(
        secret,
        originator=frame.originator,
        recipient=frame.recipient,
        originator_counter=frame.originator_counter,
        mode=Mode(frame.cra),
    )
    return compute_mac(key, frame.originator, grouping)


def has_mac(received: ReceivedFrame, secret: bytes) -> bool:
    mac = received.frame.mac
    expected = frame_mac(secret, received.frame, received.grouping)
    return mac is not None and compare_digest(mac, expected)


# -- whole frames ------------------------------------------------------------------------------


def protect(
    frame: Frame, *, signing_key: PrivateKey | None = None, secret: bytes | None = None
) -> Frame:
    """The frame signed if a key is given, then MACed if Z is."""
    if signing_key is None and secret is None:
        raise GbcsValueError("a frame is protected by a signature, a MAC or both")
    signature = b"" if signing_key is None else sign(signature_input(frame), signing_key)
    frame = replace(frame, signature=signature, mac=None)
    if secret is None:
        return frame
    return replace(frame, mac=frame_mac(secret, frame, build_grouping(frame)))


def protected_octets(
    frame: Frame, *, signing_key: PrivateKey | None = None, secret: bytes | None = None
) -> bytes:
    """The octets of the frame that `protect` makes, built once."""
    if signing_key is None and secret is None:
        raise GbcsValueError("a frame is protected by a signature, a MAC or both")
    unsigned = build_unsigned(frame)
    signature = b"" if signing_key is None else sign(unsigned[1:], signing_key)
    octets = signed_octets(unsigned, signature)
    if secret is None:
        return octets
    return maced_octets(octets, frame_mac(secret, frame, octets))


def complete_pre_command(pre_command: ReceivedFrame, signing_key: PrivateKey) -> bytes:
    """The signed command a user makes of a pre-command; the ACB adds its MAC."""
    if pre_command.frame.signature is not None:
        raise GbcsValueError("it is no pre-command: it has a signature or the length of none")
    return signed_octets(pre_command.octets, sign(pre_command.signature_input, signing_key))


def add_mac(grouping: bytes, frame: Frame, secret: bytes) -> bytes:
    """A signed command in the MAC header of the ACB."""
    return maced_octets(grouping, frame_mac(secret, frame, grouping))


def verify(received: ReceivedFrame, keys: KeyStore) -> Verdicts:
    """What the keys say of a frame's signature and MAC."""
    return Verdicts(_verify_signature(received, keys), _verify_mac(received, keys))


def _verify_signature(received: ReceivedFrame, keys: KeyStore) -> Verdict:
    frame = received.frame
    if not frame.signature:
        return Verdict.ABSENT
    key = keys.public_key(frame.originator, KeyUse.DIGITAL_SIGNATURE)
    if key is None:
        return Verdict.NO_KEY
    signed = is_signed(frame.signature, received.signature_input, key)
    return Verdict.VALID if signed else Verdict.INVALID


def _verify_mac(received: ReceivedFrame, keys: KeyStore) -> Verdict:
    frame = received.frame
    if frame.mac is None:
        return Verdict.ABSENT
    verdict = Verdict.NO_KEY
    for secret in agreed_secrets(frame, keys):
        if has_mac(received, secret):
            return Verdict.VALID
        verdict = Verdict.INVALID
    return verdict


def agreed_secrets(frame: Frame, keys: KeyStore) -> Iterator[bytes]:
    """Z of each pair of parties that may have MACed a frame, as far as their keys are held."""
    for party in _mac_parties(frame, keys):
        secret = agreed_secret(keys, party, frame.recipient)
        if secret is not None:
            yield secret


def _mac_parties(frame: Frame, keys: KeyStore) -> tuple[int, ...]:
    """Who, with the recipient, can know Z."""
    # A device that commands another device (a PPMID a gas meter) speaks for itself.
    if frame.cra is not Cra.COMMAND or keys.is_device(frame.originator):
        return (frame.originator,)
    brokers = keys.access_control_brokers()
    return (frame.originator,) if frame.originator in brokers else brokers


def agreed_secret(keys: KeyStore, one: int, other: int) -> bytes | None:
    """Z of two parties if the private key of either is held."""
    for private_of, public_of in ((one, other), (other, one)):
        private = keys.private_key(private_of, KeyUse.KEY_AGREEMENT)
        public = keys.public_key(public_of, KeyUse.KEY_AGREEMENT)
        if private is not None and public is not None:
            return shared_secret(private, public)
    return None
