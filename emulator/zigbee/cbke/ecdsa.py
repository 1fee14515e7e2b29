"""Signatures over both curves, as dsaSign makes them and dsaVerify checks them.

Source: SEC 1 version 2.0, 4.1.3 and 4.1.4 (ECDSA); RFC 6979, 3.2 (the nonce, with HMAC-SHA-256);
EZSP's EmberSignatureData and EmberSignature283k1Data (r and s, one behind the other).

The digest is the caller's. Smart Energy signs the AES-MMO hash of 16 octets, shorter than either
order, and the arithmetic is the same for any other.
"""

from __future__ import annotations

import hashlib
import hmac

from emulator.zigbee.cbke.binary_curve import KoblitzCurve
from emulator.zigbee.cbke.errors import CbkeError
from emulator.zigbee.cbke.suites import Suite


def sign(suite: Suite, private_key: bytes, digest: bytes) -> bytes:
    """The signature of `digest`, always the same for the same key. Raises CbkeError for octets
    that are no private key."""
    curve = suite.curve
    n = curve.order
    secret = curve.scalar(private_key)
    number = _digest_number(curve, digest)
    nonces = _Nonces(curve, secret, number)
    while True:
        nonce = nonces.next()
        r = curve.multiply_generator(nonce).x % n
        s = pow(nonce, -1, n) * (number + r * secret) % n
        if r and s:
            return curve.scalar_bytes(r) + curve.scalar_bytes(s)


def verify(suite: Suite, public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of `digest` by the owner of `public_key`.

    Raises CbkeError for a key that is no point, or a signature of another length.
    """
    curve = suite.curve
    n = curve.order
    public = curve.decompress(public_key, "signer's public key")
    if len(signature) != suite.signature_octets:
        raise CbkeError(
            "signature",
            "length",
            f"is {len(signature)}, one of {suite.name} has {suite.signature_octets} octets",
        )
    r = int.from_bytes(signature[: curve.scalar_octets], "big")
    s = int.from_bytes(signature[curve.scalar_octets :], "big")
    if not (0 < r < n and 0 < s < n):
        return False
    inverse = pow(s, -1, n)
    number = _digest_number(curve, digest)
    point = curve.multiply_sum(((number * inverse % n, curve.generator), (r * inverse % n, public)))
    return point is not None and point.x % n == r


def _digest_number(curve: KoblitzCurve, digest: bytes) -> int:
    """The digest as a number, its first bits only where it has more than the order."""
    excess = max(8 * len(digest) - curve.order.bit_length(), 0)
    return int.from_bytes(digest, "big") >> excess


class _Nonces:
    """The nonces for one key and digest, in the order in which they are to be tried."""

    def __init__(self, curve: KoblitzCurve, secret: int, number: int) -> None:
        self._curve = curve
        octets = curve.scalar_octets
        seed = secret.to_bytes(octets, "big") + (number % curve.order).to_bytes(octets, "big")
        self._key, self._value = bytes(32), b"\x01" * 32
        for separator in (b"\x00", b"\x01"):
            self._key = self._hmac(self._value + separator + seed)
            self._value = self._hmac(self._value)

    def _hmac(self, message: bytes) -> bytes:
        return hmac.digest(self._key, message, hashlib.sha256)

    def next(self) -> int:
        order = self._curve.order
        bits = order.bit_length()
        while True:
            stream = b""
            while 8 * len(stream) < bits:
                self._value = self._hmac(self._value)
                stream += self._value
            nonce = int.from_bytes(stream, "big") >> 8 * len(stream) - bits
            self._key = self._hmac(self._value + b"\x00")
            self._value = self._hmac(self._value)
            if 0 < nonce < order:
                return nonce
