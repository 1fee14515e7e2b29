"""ECDSA on both curves: published signatures, openssl's, and forgeries."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random

import openssl_witness
import pytest
from cbke_vectors import CA_163K1
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.zigbee.cbke.ecdsa import sign, verify
from emulator.zigbee.cbke.ecqv import reconstruct_public_key
from emulator.zigbee.cbke.errors import CbkeError
from emulator.zigbee.cbke.suites import (
    SUITE_163K1,
    SUITE_283K1,
    SUITES,
    KeyPair,
    Suite,
    generate_key_pair,
)
from emulator.zigbee.security import mmo_hash

both_suites = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.curve.name)
DIGEST = mmo_hash(b"message")

# RFC 6979, A.2.8 and A.2.10: the message "sample" under SHA-256. Private key, Ux, Uy, r, s.
RFC_6979 = [
    (
        SUITE_163K1,
        "09A4D6792295A7F730FC3F2B49CBC0F62E862272F",
        "79AEE090DB05EC252D5CB4452F356BE198A4FF96F",
        "782E29634DDC9A31EF40386E896BAA18B53AFA5A3",
        "113A63990598A3828C407C0F4D2438D990DF99A7F",
        "1313A2E03F5412DDB296A22E2C455335545672D9F",
    ),
    (
        SUITE_283K1,
        "06A0777356E87B89BA1ED3A3D845357BE332173C8F7A65BDC7DB4FAB3C4CC79ACC8194E",
        "25330D0A651D5A20DC6389BC02345117725640AEC3C126612CE444EDD19649BDECC03D6",
        "505BD60A4B67182474EC4D1C668A73140F70504A68F39EFCD972487E9530E0508A76193",
        "19E90AA3DE5FB20AED22879F92C6FED278D9C9B9293CC5E94922CD952C9DBF20DF1753A",
        "135AA7443B6A25D11BB64AC482E04D47902D017752882BD72527114F46CF8BB56C5A8C3",
    ),
]

# Of the signed sample image that Ember's image-builder 1.0 made in 2010: its signer's certificate,
# the AES-MMO digest it states, and the signature.
EMBER_CERTIFICATE = bytes.fromhex(
    "0307792947B3850A9585BF8E25C19D8E8678434F5836 000D6F0000198B36 5445535453454341"
    "01090000000000000000"
)
EMBER_DIGEST = bytes.fromhex("E26A886E8030458DA084586F2DCB08A2")
EMBER_SIGNATURE = bytes.fromhex(
    "01C2C31CB8C40064EABB3189AD8969EAC25893183A023BD28D5FB2134D3E07B92E06A258E478D20C7ACC"
)


def keys(suite: Suite, seed: int = 1) -> KeyPair:
    return generate_key_pair(suite, Random(seed).getrandbits)


@pytest.mark.parametrize(("suite", "private", "ux", "uy", "r", "s"), RFC_6979)
def test_the_signatures_of_rfc_6979_are_made_octet_for_octet(
    suite: Suite, private: str, ux: str, uy: str, r: str, s: str
) -> None:
    curve = suite.curve
    private_key = curve.scalar_bytes(int(private, 16))
    digest = hashlib.sha256(b"sample").digest()
    signature = sign(suite, private_key, digest)
    octets = suite.private_key_octets
    assert signature == int(r, 16).to_bytes(octets, "big") + int(s, 16).to_bytes(octets, "big")
    public = curve.point(int(ux, 16), int(uy, 16))
    assert curve.multiply_generator(curve.scalar(private_key)) == public
    assert verify(suite, curve.compress(public), digest, signature)


def test_the_signature_of_an_image_signed_by_embers_tool_verifies() -> None:
    public_key = reconstruct_public_key(SUITE_163K1, EMBER_CERTIFICATE, CA_163K1)
    assert verify(SUITE_163K1, public_key, EMBER_DIGEST, EMBER_SIGNATURE)
    assert not verify(SUITE_163K1, public_key, EMBER_DIGEST[::-1], EMBER_SIGNATURE)


@both_suites
@given(digest=st.binary(max_size=64), seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_a_signature_verifies_and_is_the_same_each_time(
    suite: Suite, digest: bytes, seed: int
) -> None:
    pair = keys(suite, seed)
    signature = sign(suite, pair.private_key, digest)
    assert len(signature) == suite.signature_octets
    assert signature == sign(suite, pair.private_key, digest)
    assert verify(suite, pair.public_key, digest, signature)


@both_suites
@given(data=st.data())
@settings(max_examples=25)
def test_a_signature_or_digest_changed_in_one_bit_does_not_verify(
    suite: Suite, data: st.DataObject
) -> None:
    pair = keys(suite)
    whole = bytearray(DIGEST + sign(suite, pair.private_key, DIGEST))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    assert not verify(suite, pair.public_key, bytes(whole[:16]), bytes(whole[16:]))


@both_suites
def test_a_signature_of_another_key_does_not_verify(suite: Suite) -> None:
    signature = sign(suite, keys(suite, 1).private_key, DIGEST)
    assert not verify(suite, keys(suite, 2).public_key, DIGEST, signature)


@both_suites
def test_numbers_out_of_range_are_no_signature(suite: Suite) -> None:
    pair = keys(suite)
    signature = sign(suite, pair.private_key, DIGEST)
    octets, n = suite.private_key_octets, suite.curve.order
    r, s = signature[:octets], signature[octets:]
    zero, order = bytes(octets), n.to_bytes(octets, "big")
    full = b"\xff" * octets
    for forged in (
        zero + s,
        r + zero,
        zero + zero,
        order + s,
        r + order,
        full + full,
        s + r,
    ):
        assert not verify(suite, pair.public_key, DIGEST, forged)
    # r + n and s + n would be the same numbers, had anyone reduced them.
    again = (int.from_bytes(r, "big") + n).to_bytes(octets, "big")
    assert not verify(suite, pair.public_key, DIGEST, again + s)
    again = (int.from_bytes(s, "big") + n).to_bytes(octets, "big")
    assert not verify(suite, pair.public_key, DIGEST, r + again)


@both_suites
def test_a_signature_of_another_length_or_a_key_that_is_none_is_refused(suite: Suite) -> None:
    pair = keys(suite)
    signature = sign(suite, pair.private_key, DIGEST)
    for wrong in (b"", signature[:-1], signature + b"\x00"):
        with pytest.raises(CbkeError, match="signature: length"):
            verify(suite, pair.public_key, DIGEST, wrong)
    for public_key in (b"", bytes(suite.point_octets), pair.public_key[:-1]):
        with pytest.raises(CbkeError, match="signer's public key"):
            verify(suite, public_key, DIGEST, signature)
    for private_key in (b"", bytes(suite.private_key_octets), pair.private_key + b"\x00"):
        with pytest.raises(CbkeError, match="private key"):
            sign(suite, private_key, DIGEST)


@both_suites
def test_the_infinity_that_a_forged_pair_leads_to_is_no_signature(suite: Suite) -> None:
    # u1 G + u2 Q is infinity for Q = dG where z + r d is 0.
    pair = keys(suite)
    n, octets = suite.curve.order, suite.private_key_octets
    secret = int.from_bytes(pair.private_key, "big")
    z = int.from_bytes(DIGEST, "big")
    r = -z * pow(secret, -1, n) % n
    forged = r.to_bytes(octets, "big") + (1).to_bytes(octets, "big")
    assert not verify(suite, pair.public_key, DIGEST, forged)


@both_suites
def test_openssl_verifies_what_is_signed_here_and_the_other_way(
    suite: Suite, tmp_path: Path
) -> None:
    openssl_witness.require(suite.curve)
    key, digest, signature = (tmp_path / name for name in ("key.pem", "digest", "signature"))
    pair = openssl_witness.generate(suite.curve, key)
    digest.write_bytes(DIGEST)
    arguments = ("-inkey", key, "-in", digest)
    octets = suite.private_key_octets

    theirs = openssl_witness.run("pkeyutl", "-sign", *arguments)
    r, s = decode_dss_signature(theirs)
    plain = r.to_bytes(octets, "big") + s.to_bytes(octets, "big")
    assert verify(suite, pair.public_key, DIGEST, plain)

    ours = sign(suite, pair.private_key, DIGEST)
    r, s = (int.from_bytes(part, "big") for part in (ours[:octets], ours[octets:]))
    signature.write_bytes(encode_dss_signature(r, s))
    said = openssl_witness.run("pkeyutl", "-verify", *arguments, "-sigfile", signature)
    assert b"Signature Verified Successfully" in said
