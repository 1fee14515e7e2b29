"""The foreign device's own GBCS, ZCL and keys against published octets: a second witness is worth
something only if it is right by itself."""

from __future__ import annotations

import contextlib
import csv
import random
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from foreign_client import gbcs, zcl
from foreign_client.image import HEADER_OCTETS, Identity, fault_in_file
from foreign_client.install_code import link_key
from hypothesis import given
from hypothesis import strategies as st

PPMID, ACB = 0x00DB1234567890A4, 0x90B3D51F30000002
SUCCESS_VERSION = 0x0123ABCD


@pytest.fixture(scope="module")
def acb_side(vectors: Path) -> gbcs.Keys:
    """The shared secret of PPMID and ACB, from the side whose private key is published."""
    with (vectors / "keys" / "organisation-test-scalars.csv").open(newline="") as file:
        scalars = {row["name"]: row["p256_scalar_hex"] for row in csv.DictReader(file)}
    pem = (vectors / "keys" / f"{PPMID:016x}-ka.pem").read_bytes()
    ppmid = x509.load_pem_x509_certificate(pem).public_key()
    assert isinstance(ppmid, ec.EllipticCurvePublicKey)
    signing = ec.generate_private_key(ec.SECP256R1())  # no published device has its own
    agreement = ec.derive_private_key(int(scalars[f"{ACB:016x}-ka"], 16), ec.SECP256R1())
    return gbcs.Keys(PPMID, ACB, signing, agreement, ppmid)


def published(vectors: Path, name: str) -> bytes:
    return bytes.fromhex((vectors / "rtds" / name).read_text().strip())


def responder(keys: gbcs.Keys, taken: list[int]) -> gbcs.Responder:
    return gbcs.Responder(
        keys,
        frozenset(),
        lambda: SUCCESS_VERSION,
        lambda: max(taken, default=0),
        taken.append,
    )


def test_the_published_command_is_answered_with_the_published_response(
    vectors: Path, acb_side: gbcs.Keys
) -> None:
    command = published(vectors, "CS08_11.2_SUCCESS_COMMAND_GBCS.HEX")
    taken: list[int] = []
    answer = responder(acb_side, taken).answer(command)
    assert answer == published(vectors, "CS08_11.2_SUCCESS_RESPONSE_GBCS.HEX")
    assert taken == [1300]


def test_no_bit_of_the_published_command_can_be_another(vectors: Path, acb_side: gbcs.Keys) -> None:
    command = published(vectors, "CS08_11.2_SUCCESS_COMMAND_GBCS.HEX")
    taken: list[int] = []
    device = responder(acb_side, taken)
    for at in range(len(command)):
        for bit in range(8):
            forged = bytearray(command)
            forged[at] ^= 1 << bit
            with pytest.raises(gbcs.GbcsError):
                device.answer(bytes(forged))
    assert not taken
    device.answer(command)
    with pytest.raises(gbcs.GbcsError, match="1300 has been used"):
        device.answer(command)


def test_an_alert_is_the_published_one_but_for_who_signs_it(
    vectors: Path, acb_side: gbcs.Keys
) -> None:
    known = published(vectors, "CS09_NA_8F8B_ALERT_GBCS.HEX")
    when = datetime(2015, 1, 1, tzinfo=UTC)
    alert = gbcs.activation_alert(acb_side, 5000, 0x1234ABCD, 0, when)
    assert alert[:-64] == known[:-64]
    r, s = int.from_bytes(alert[-64:-32], "big"), int.from_bytes(alert[-32:], "big")
    public = acb_side.signing.public_key()
    public.verify(encode_dss_signature(r, s), alert[1:-65], ec.ECDSA(hashes.SHA256()))


def test_a_derived_key_is_the_published_one() -> None:
    secret = bytes.fromhex("9ccfe012cc5df79fe5b98e286d3d4e6a938a35c0536554c60d6b70efc6489114")
    command = gbcs.Message(gbcs.COMMAND, 1300, ACB, PPMID, gbcs.READ_VERSION, b"", b"")
    response = command._replace(cra=gbcs.RESPONSE, originator=PPMID, recipient=ACB)
    assert gbcs.derive_key(secret, command).hex() == "d87c9e7c836010dc3ed75d0c1e1252a0"
    assert gbcs.derive_key(secret, response).hex() == "cfbafadb1d03cc0b4e2d06535aeabb71"


def test_the_key_of_the_published_install_code() -> None:
    code = bytes.fromhex("83FED3407A939723A5C639B26916D505")
    assert link_key(code).hex() == "66b6900981e1ee3ca4206b6b861c02bb"


@given(st.binary(max_size=200))
def test_hostile_octets_raise_only_its_own_errors(octets: bytes) -> None:
    for parse, error in ((gbcs.parse_command, gbcs.GbcsError), (zcl.parse, zcl.ZclError)):
        with contextlib.suppress(error):
            parse(octets)


@given(
    st.integers(0, 255), st.binary(max_size=90), st.integers(0, 255), st.booleans(), st.booleans()
)
def test_a_zcl_frame_reads_as_it_was_built(
    command: int, payload: bytes, sequence: int, general: bool, from_server: bool
) -> None:
    frame = zcl.Zcl(command, payload, sequence, general, from_server)
    assert zcl.parse(frame.build()) == frame


def test_an_image_is_refused_for_every_octet_that_is_another() -> None:
    identity = Identity(0x121D, 0x0084, 0x1111, PPMID)
    body = random.Random(1).randbytes(100)
    head = struct.pack("<IHHHHHIH32sI", 0x0BEEF11E, 0x0100, 60, 4, 0x121D, 0x0084, 7, 2, b"", 192)
    file = head + struct.pack("<HH", 0x1111, 0x1111) + body
    assert len(head) == HEADER_OCTETS
    file += hashes_of(file)
    assert fault_in_file(file, identity, 7, len(file)) is None
    for at in range(len(file)):
        damaged = bytearray(file)
        damaged[at] ^= 0x20
        assert fault_in_file(bytes(damaged), identity, 7, len(file)) is not None, at
    assert fault_in_file(file, identity._replace(hardware=0x1112), 7, len(file)) is not None
    assert fault_in_file(file[:-1], identity, 7, len(file)) is not None


def hashes_of(octets: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(octets)
    return digest.finalize()
