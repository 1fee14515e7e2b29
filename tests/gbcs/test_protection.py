"""Signatures and MACs against published keys and known answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from gbcs_rig import broker, device, dsp_keys, issued

from gbcs.certificates import CertificateStore
from gbcs.envelope import Cra, build_frame, parse_frame
from gbcs.errors import GbcsValueError
from gbcs.protection import (
    P256_ORDER,
    KeyUse,
    Mode,
    Verdict,
    Verdicts,
    add_mac,
    complete_pre_command,
    compute_mac,
    derive_key,
    is_signed,
    protect,
    shared_secret,
    sign,
    verify,
)
from gbcs.smki import ACB_EUI64, PPMID_EUI64
from hil.key_folder import load_keys

ACB = 0x90B3D51F30000002
SUPPLIER = 0x90B3D51F30010000
ESME = 0x00DB1234567890A0
PPMID = 0x00DB1234567890A4

# RFC 6979 A.2.5: P-256, SHA-256, message "sample".
RFC_6979_KEY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC_6979_SIGNATURE = (
    "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
)


@pytest.fixture(scope="module")
def published_keys(key_folder: Path) -> CertificateStore:
    return load_keys(key_folder)


def test_a_signature_is_the_one_of_rfc_6979() -> None:
    key = ec.derive_private_key(RFC_6979_KEY, ec.SECP256R1())
    assert sign(b"sample", key).hex().upper() == RFC_6979_SIGNATURE


def test_every_published_protection_holds(
    published: dict[str, bytes],
    published_index: list[dict[str, str]],
    published_keys: CertificateStore,
) -> None:
    for row in published_index:
        verdicts = verify(parse_frame(published[row["file"]]), published_keys)
        signature = Verdict.VALID if row["signature_verified"] == "True" else Verdict.ABSENT
        mac = Verdict.VALID if row["mac_verified"] == "True" else Verdict.ABSENT
        assert verdicts == Verdicts(signature, mac), row["file"]


# Known answers of the published parser's tests: command and response with counter 2^32, alert with
# 0x7D1, of supplier 1 and ESME A0; and Z of the published CS08 exchange.
def test_derived_keys_are_the_known_ones(published_keys: CertificateStore) -> None:
    acb = published_keys.private_key(ACB, KeyUse.KEY_AGREEMENT)
    supplier = published_keys.private_key(SUPPLIER, KeyUse.KEY_AGREEMENT)
    esme = published_keys.public_key(ESME, KeyUse.KEY_AGREEMENT)
    ppmid = published_keys.public_key(PPMID, KeyUse.KEY_AGREEMENT)
    assert acb is not None
    assert supplier is not None
    assert esme is not None
    assert ppmid is not None
    counter = 1 << 32
    key = derive_key(
        shared_secret(acb, esme),
        originator=SUPPLIER,
        recipient=ESME,
        originator_counter=counter,
        mode=Mode.COMMAND,
    )
    assert key.hex().upper() == "6A93E360717394015DF93E031218C9A6"
    key = derive_key(
        shared_secret(supplier, esme),
        originator=ESME,
        recipient=SUPPLIER,
        originator_counter=counter,
        mode=Mode.RESPONSE,
    )
    assert key.hex().upper() == "03FD30815577C49EB7E3834B63EF8302"
    key = derive_key(
        shared_secret(supplier, esme),
        originator=ESME,
        recipient=SUPPLIER,
        originator_counter=0x7D1,
        mode=Mode.ALERT,
    )
    assert key.hex().upper() == "558FB1FA6660AF0D9E8365C47804B8FA"
    secret = shared_secret(acb, ppmid)
    assert secret.hex() == "9ccfe012cc5df79fe5b98e286d3d4e6a938a35c0536554c60d6b70efc6489114"


def test_the_mac_of_the_published_cs08_exchange_follows_from_its_shared_secret() -> None:
    # RTDS 4.5.0, CS08_11.2_SUCCESS, as far as the fact sheet of this project quotes it.
    secret = bytes.fromhex("9ccfe012cc5df79fe5b98e286d3d4e6a938a35c0536554c60d6b70efc6489114")
    command = derive_key(
        secret, originator=ACB, recipient=PPMID, originator_counter=1300, mode=Mode.COMMAND
    )
    assert command.hex() == "d87c9e7c836010dc3ed75d0c1e1252a0"
    response = derive_key(
        secret, originator=PPMID, recipient=ACB, originator_counter=1300, mode=Mode.RESPONSE
    )
    assert response.hex() == "cfbafadb1d03cc0b4e2d06535aeabb71"
    grouping = bytes.fromhex(
        "DF090100000000000005140890B3D51F300000020800DB1234567890A40012012990B3D51F30010000"
        "00000000000003E802050000"
    )
    assert compute_mac(command, ACB, grouping).hex().upper() == "BDC5E70406017D96EE0F9759"


def test_published_frames_are_macced_again_octet_for_octet(
    published: dict[str, bytes], published_keys: CertificateStore
) -> None:
    """Fields to octets, with the MAC computed anew and the signature carried over."""
    rebuilt = 0
    for name, octets in published.items():
        received = parse_frame(octets)
        frame = received.frame
        if frame.cra is not Cra.COMMAND or frame.originator != ACB or frame.signature:
            continue
        private = published_keys.private_key(ACB, KeyUse.KEY_AGREEMENT)
        public = published_keys.public_key(frame.recipient, KeyUse.KEY_AGREEMENT)
        assert private is not None
        assert public is not None
        bare = replace(frame, mac=None)
        assert build_frame(protect(bare, secret=shared_secret(private, public))) == octets, name
        rebuilt += 1
    assert rebuilt >= 5


@pytest.mark.parametrize(
    ("eui64", "use", "name"),
    [
        (PPMID, KeyUse.DIGITAL_SIGNATURE, "CS09_NA_8F8B_ALERT_GBCS.HEX"),
        (PPMID, KeyUse.KEY_AGREEMENT, "CS08_11.2_SUCCESS_RESPONSE_GBCS.HEX"),
        (ACB, KeyUse.KEY_AGREEMENT, "CS08_11.2_SUCCESS_RESPONSE_GBCS.HEX"),
        (ACB, KeyUse.KEY_AGREEMENT, "CS08_11.2_SUCCESS_COMMAND_GBCS.HEX"),
    ],
)
def test_without_its_certificate_nothing_is_verified(
    published: dict[str, bytes], key_folder: Path, eui64: int, use: KeyUse, name: str
) -> None:
    store = load_keys(key_folder)
    received = parse_frame(published[name])
    assert Verdict.VALID in verify(received, store)
    store.remove(eui64, use)
    assert Verdict.NO_KEY in verify(received, store)
    assert Verdict.VALID not in verify(received, store)


def test_a_device_that_commands_a_device_is_not_taken_for_the_acb() -> None:
    """The MAC between two devices needs a private key of one of them (RTDS PCS01, PCS02)."""
    frame = parse_frame(broker().command(0x0129, PPMID_EUI64, b"\x05\x00", None)).frame
    between_devices = replace(frame, originator=0x00DB1234567890A2)
    received = parse_frame(build_frame(between_devices))
    assert verify(received, dsp_keys()).mac is Verdict.NO_KEY


def test_a_changed_bit_is_never_judged_valid() -> None:
    command = broker().command(0x00AB, PPMID_EUI64, b"\x05\x00", None, critical=True)
    keys = dsp_keys()
    assert verify(parse_frame(command), keys) == Verdicts(Verdict.VALID, Verdict.VALID)
    signature_at = len(command) - 12 - 64
    payload_at = signature_at - 1 - 2
    for at in (payload_at, signature_at, len(command) - 1):
        changed = bytearray(command)
        changed[at] ^= 1
        verdicts = verify(parse_frame(bytes(changed)), keys)
        assert verdicts.mac is Verdict.INVALID
        in_mac = at == len(command) - 1
        assert verdicts.signature is (Verdict.VALID if in_mac else Verdict.INVALID)


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(63), b""])
def test_a_signature_out_of_range_is_invalid_and_no_error(signature: bytes) -> None:
    key = issued().public_key(ACB_EUI64, KeyUse.DIGITAL_SIGNATURE)
    assert key is not None
    assert not is_signed(signature, b"sample", key)


def test_the_other_form_of_a_signature_verifies_too() -> None:
    """Why no one may tell two alerts apart by their signatures."""
    octets = device().alert(0x012B, b"")
    received = parse_frame(octets)
    signature = received.frame.signature
    assert signature
    s = P256_ORDER - int.from_bytes(signature[32:], "big")
    other = replace(received.frame, signature=signature[:32] + s.to_bytes(32, "big"))
    assert verify(parse_frame(build_frame(other)), issued()).signature is Verdict.VALID


def test_a_frame_without_protection_is_not_made() -> None:
    frame = parse_frame(device().alert(0x012B, b"")).frame
    with pytest.raises(GbcsValueError, match="protected"):
        protect(frame)


# -- pre-commands ------------------------------------------------------------------------------


def test_a_pre_command_becomes_the_published_command_but_for_its_random_signature(
    published: dict[str, bytes], published_keys: CertificateStore
) -> None:
    octets = published["CS06_11.3_IMMEDIATE_SUCCESS_COMMAND_GBCS.HEX"]
    theirs = parse_frame(octets)
    pre_command = build_frame(replace(theirs.frame, signature=None, mac=None))
    key = published_keys.private_key(SUPPLIER, KeyUse.DIGITAL_SIGNATURE)
    acb = published_keys.private_key(ACB, KeyUse.KEY_AGREEMENT)
    esme = published_keys.public_key(ESME, KeyUse.KEY_AGREEMENT)
    assert key is not None
    assert acb is not None
    assert esme is not None
    signed = complete_pre_command(parse_frame(pre_command), key)
    frame = parse_frame(signed).frame
    complete = add_mac(signed, frame, shared_secret(acb, esme))
    received = parse_frame(complete)
    assert verify(received, published_keys) == Verdicts(Verdict.VALID, Verdict.VALID)
    same = replace(received.frame, signature=theirs.frame.signature, mac=theirs.frame.mac)
    assert same == theirs.frame
    with pytest.raises(GbcsValueError, match="pre-command"):
        complete_pre_command(parse_frame(signed), key)
