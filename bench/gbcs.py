"""`gbcs_frames`: what a GBCS frame costs beside the cryptography in it.

Source: ours. Octets and verdicts are compared before anything is measured.

A CS08 command built from its fields and MACed, with the key agreement and with Z at hand; a CS09
alert read, its payload too, and its signature verified. The peers are the bare operations of the
library: ECDH, SHA-256 and one AES-GCM tag; one ECDSA verification; one AES-GCM tag with a fresh
key object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from time import perf_counter

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

from bench.judge import Benchmark, BenchmarkError, Line, Measure
from gbcs.codes import (
    CS08_READ_FIRMWARE_VERSION,
    CS09_FIRMWARE_ACTIVATION,
    build_payload,
    parse_payload,
)
from gbcs.envelope import Cra, Frame, OtherInformation, parse_frame
from gbcs.firmware import ActivateImageResult, FirmwareActivation, ReadFirmwareVersion
from gbcs.protection import KeyUse, is_signed, protected_octets, shared_secret
from gbcs.smki import ACB_EUI64, PPMID_EUI64, SUPPLIER_EUI64, Smki
from hil.seeds import Seeds

_TURNS = 10
_CALLS = 200
_TOY_CALLS = 2
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def _prepare(toy: bool) -> Measure:
    calls = _TOY_CALLS if toy else _CALLS
    seeds = Seeds(1)
    smki = Smki(lambda name: seeds.stream(name).getrandbits, _EPOCH)
    ppmid = smki.device(PPMID_EUI64, KeyUse.KEY_AGREEMENT).certificate.public_key
    signing = smki.device(PPMID_EUI64, KeyUse.DIGITAL_SIGNATURE)
    own = ec.generate_private_key(ec.SECP256R1())
    secret = shared_secret(own, ppmid)

    def build(agreed: bytes) -> bytes:
        frame = Frame(
            cra=Cra.COMMAND,
            originator_counter=1300,
            originator=ACB_EUI64,
            recipient=PPMID_EUI64,
            other_information=OtherInformation(CS08_READ_FIRMWARE_VERSION, SUPPLIER_EUI64, 1000),
            payload=build_payload(ReadFirmwareVersion()),
        )
        return protected_octets(frame, secret=agreed)

    success = ActivateImageResult.ACTIVATION_SUCCESS
    alert = protected_octets(
        Frame(
            cra=Cra.ALERT,
            originator_counter=5000,
            originator=PPMID_EUI64,
            recipient=ACB_EUI64,
            other_information=OtherInformation(CS09_FIRMWARE_ACTIVATION),
            payload=build_payload(FirmwareActivation(_EPOCH, 0x0123ABCD, success)),
        ),
        signing_key=signing.private_key,
    )
    key = signing.certificate.public_key

    def decode() -> bool:
        received = parse_frame(alert)
        frame = received.frame
        payload = parse_payload(frame.message_code, frame.cra, frame.payload)
        signed = is_signed(frame.signature or b"", received.signature_input, key)
        return signed and payload is not None

    received = parse_frame(alert)
    if not decode() or parse_frame(build(secret)).frame.originator_counter != 1300:
        raise BenchmarkError("a frame of ours is not what it should be")
    signature = received.frame.signature or b""
    numbers = [int.from_bytes(half, "big") for half in (signature[:32], signature[32:])]

    def verify() -> None:
        der = encode_dss_signature(*numbers)
        key.verify(der, received.signature_input, ec.ECDSA(SHA256()))

    iv, aad, material = bytes(12), build(secret)[13:-12], bytes(69)

    def tag() -> bytes:
        return AESGCM(material[:16]).encrypt(iv, b"", aad)

    def agree() -> bytes:
        agreed = own.exchange(ec.ECDH(), ppmid)
        derived = sha256(agreed + material).digest()[:16]
        return AESGCM(derived).encrypt(iv, b"", aad)

    def measure() -> Mapping[str, float]:
        build_s = _time(lambda: build(shared_secret(own, ppmid)), calls)
        agree_s = _time(agree, calls)
        decode_s = _time(decode, calls)
        verify_s = _time(verify, calls)
        cached_s = _time(lambda: build(secret), calls)
        tag_s = _time(tag, calls)
        return {
            "build": build_s / agree_s,
            "decode": decode_s / verify_s,
            "cached": cached_s / tag_s,
            "build us": 1e6 * build_s,
            "decode us": 1e6 * decode_s,
            "cached us": 1e6 * cached_s,
        }

    return measure


def _time(call: Callable[[], object], calls: int) -> float:
    """What a call costs when nothing else runs: the best of some turns, on a busy machine too."""
    turns = []
    for _ in range(_TURNS):
        began_s = perf_counter()
        for _ in range(calls):
            call()
        turns.append((perf_counter() - began_s) / calls)
    return min(turns)


GBCS_FRAMES = Benchmark(
    "gbcs_frames",
    "a GBCS frame beside the cryptography in it",
    (
        Line("build", "CS08 command, key agreement too / ECDH, SHA-256, a tag", at_most=3.0),
        Line("decode", "CS09 alert read and verified / ECDSA verification", at_most=3.0),
        Line("cached", "CS08 command, Z at hand / AES-GCM tag, fresh key", at_most=45.0),
        Line("build us", "CS08 command with key agreement, us"),
        Line("decode us", "CS09 alert, us"),
        Line("cached us", "CS08 command with Z at hand, us"),
    ),
    _prepare,
)
