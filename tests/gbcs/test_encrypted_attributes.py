"""Attributes only one party can read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gbcs_rig import device, issued, own_key

from gbcs.attributes import decrypt_attribute, encrypt_attribute, encrypted_attributes
from gbcs.certificates import CertificateStore
from gbcs.envelope import build_frame, parse_frame
from gbcs.errors import GbcsError
from gbcs.protection import KeyUse, Verdict, shared_secret
from gbcs.smki import ACB_EUI64, PPMID_EUI64
from hil.key_folder import load_keys

ACB, SUPPLIER, ESME = 0x90B3D51F30000002, 0x90B3D51F30010000, 0x00DB1234567890A0


@pytest.fixture(scope="module")
def published_keys(key_folder: Path) -> CertificateStore:
    return load_keys(key_folder)


def test_a_published_attribute_is_decrypted_for_the_user_it_is_for(
    published: dict[str, bytes], published_keys: CertificateStore
) -> None:
    frame = parse_frame(published["ECS21b_4.14_URP_SUCCESS_RESPONSE_GBCS.HEX"]).frame
    supplier = published_keys.private_key(SUPPLIER, KeyUse.KEY_AGREEMENT)
    acb = published_keys.private_key(ACB, KeyUse.KEY_AGREEMENT)
    esme = published_keys.public_key(ESME, KeyUse.KEY_AGREEMENT)
    assert supplier is not None
    assert acb is not None
    assert esme is not None
    at = frame.payload.index(bytes.fromhex("0981E331")) + 3
    sealed = frame.payload[at : at + 0xE3]
    secret = shared_secret(supplier, esme)
    plain = decrypt_attribute(sealed, secret, frame)
    assert len(plain) == 0xE3 - 5 - 12
    assert plain[0] in (0x01, 0x02)  # an array or a structure of DLMS
    assert encrypt_attribute(plain, secret, frame) == sealed
    with pytest.raises(GbcsError, match="does not hold"):
        decrypt_attribute(sealed, shared_secret(acb, esme), frame)


def test_an_altered_attribute_is_not_decrypted() -> None:
    frame = parse_frame(device().alert(0x012B, b"")).frame
    secret = bytes(range(32))
    sealed = encrypt_attribute(b"sixteen and more octets", secret, frame)
    assert decrypt_attribute(sealed, secret, frame) == b"sixteen and more octets"
    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(GbcsError):
            decrypt_attribute(bytes(altered), secret, frame)
    for end in range(len(sealed)):
        with pytest.raises(GbcsError):
            decrypt_attribute(sealed[:end], secret, frame)


def test_attributes_are_found_where_they_stand(
    published: dict[str, bytes], published_keys: CertificateStore
) -> None:
    octets = published["ECS21b_4.14_URP_SUCCESS_RESPONSE_GBCS.HEX"]
    received = parse_frame(octets)
    (attribute,) = encrypted_attributes(received, published_keys)
    assert octets[attribute.offset : attribute.offset + 5].hex() == "3100000000"
    assert (attribute.length, attribute.verdict) == (0xE3, Verdict.VALID)
    (unread,) = encrypted_attributes(received, CertificateStore())
    assert (unread.verdict, unread.octets) == (Verdict.NO_KEY, None)
    altered = bytearray(octets)
    altered[attribute.offset + 20] ^= 1
    (broken,) = encrypted_attributes(parse_frame(bytes(altered)), published_keys)
    assert (broken.verdict, broken.octets) == (Verdict.INVALID, None)
    for name, other in published.items():
        if not name.startswith("ECS21b"):
            assert encrypted_attributes(parse_frame(other), published_keys) == ()


@pytest.mark.parametrize("before", ["09{0:02X}", "0981{0:02X}", "0982{0:04X}", "{0:04X}"], ids=str)
def test_every_form_of_its_length_is_known(before: str) -> None:
    frame = parse_frame(device().alert(0x0061, b"")).frame
    public = issued().public_key(PPMID_EUI64, KeyUse.KEY_AGREEMENT)
    assert public is not None
    secret = shared_secret(own_key(ACB_EUI64, KeyUse.KEY_AGREEMENT), public)
    sealed = encrypt_attribute(b"x" * 40, secret, frame)
    head = bytes.fromhex("0202" + before.format(len(sealed)))
    payload = head + sealed + b"\x31" + bytes(8)
    received = parse_frame(build_frame(replace(frame, payload=payload)))
    (attribute,) = encrypted_attributes(received, issued())
    assert attribute.octets == b"x" * 40
    assert attribute.offset == received.payload_offset + len(head)
