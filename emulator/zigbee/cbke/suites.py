"""The two cryptographic suites of key establishment: which curve, and how long everything is.

Source: Smart Energy profile 07-5356, annex C (KeyEstablishmentSuite; suites 1 and 2); EZSP's
structures of the same lengths (EmberCertificateData, EmberCertificate283k1Data, …).

    suite        bit     curve      certificate  point  private key  signature
    -----------  ------  ---------  -----------  -----  -----------  ---------
    SUITE_163K1  0x0001  sect163k1  48           22     21           42
    SUITE_283K1  0x0002  sect283k1  74           37     36           72

Great Britain uses the second alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from emulator.zigbee.cbke.binary_curve import SECT163K1, SECT283K1, GetRandBits, KoblitzCurve


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite. `bit` is its value in the attribute KeyEstablishmentSuite and in commands."""

    name: str
    bit: int
    curve: KoblitzCurve
    certificate_octets: int

    @property
    def point_octets(self) -> int:
        return self.curve.point_octets

    @property
    def private_key_octets(self) -> int:
        return self.curve.scalar_octets

    @property
    def signature_octets(self) -> int:
        return 2 * self.curve.scalar_octets


SUITE_163K1 = Suite("suite 1 (163k1)", 0x0001, SECT163K1, 48)
SUITE_283K1 = Suite("suite 2 (283k1)", 0x0002, SECT283K1, 74)
SUITES = {suite.bit: suite for suite in (SUITE_163K1, SUITE_283K1)}


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and its public one, as EZSP carries them."""

    private_key: bytes
    public_key: bytes

    def __repr__(self) -> str:  # private keys never reach a log
        return f"KeyPair({self.public_key.hex().upper()})"


def generate_key_pair(suite: Suite, getrandbits: GetRandBits) -> KeyPair:
    """A new pair from a stream of random bits: an ephemeral one, or a certificate authority's."""
    curve = suite.curve
    secret = curve.random_scalar(getrandbits)
    return KeyPair(curve.scalar_bytes(secret), curve.compress(curve.multiply_generator(secret)))
