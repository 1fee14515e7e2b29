"""ZigBee's cryptography against published vectors, and against hands that change one bit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.zigbee.security import (
    FrameKey,
    InstallCodeError,
    SecurityError,
    hmac_mmo,
    install_code_crc,
    install_code_key,
    key_load_key,
    key_transport_key,
    mmo_hash,
    printed_install_code_key,
)

# code, CRC as printed, link key. The last is ZigBee's public example (07-5356, 5.4.8.1.1.1.1);
# the others are codes of the other lengths that other stacks' public tests use.
INSTALL_CODES = [
    ("83FED3407A93", "2B70", "CD4FA064773F46941EC986C09963D1A8"),
    ("83FED3407A932B70", "470F", "161B6A79BF3DFEAED82ED6163C8C5EE8"),
    ("83FED3407A939723A5C639FF", "4C12", "58C1828CF7F1C3FE29E7B1024AD84BFA"),
    ("83FED3407A939738C552B0F5CB1B2C2B", "4EBA", "9C172583F0F45C2B36D6130AB6E4A12D"),
    ("83FED3407A939723A5C639B26916D505", "C3B5", "66B6900981E1EE3CA4206B6B861C02BB"),
]


@pytest.mark.parametrize(("code", "crc", "key"), INSTALL_CODES)
def test_a_printed_code_gives_the_key_its_label_stands_for(code: str, crc: str, key: str) -> None:
    octets = bytes.fromhex(code)
    assert install_code_crc(octets).hex().upper() == crc
    assert install_code_key(octets).hex().upper() == key
    assert printed_install_code_key(octets + bytes.fromhex(crc)).hex().upper() == key


@pytest.mark.parametrize(("code", "crc", "key"), INSTALL_CODES)
def test_a_code_with_a_wrong_crc_is_refused(code: str, crc: str, key: str) -> None:  # noqa: ARG001
    octets, right = bytes.fromhex(code), bytes.fromhex(crc)
    for wrong in (right[::-1], bytes((right[0] ^ 1, right[1])), bytes((right[0], right[1] ^ 0x80))):
        with pytest.raises(InstallCodeError, match="CRC"):
            printed_install_code_key(octets + wrong)


@pytest.mark.parametrize("octets", [0, 1, 5, 7, 10, 15, 17, 18, 32])
def test_a_code_of_a_length_no_label_has_is_refused(octets: int) -> None:
    with pytest.raises(InstallCodeError, match=f"not {octets}"):
        install_code_key(bytes(octets))
    with pytest.raises(InstallCodeError):
        printed_install_code_key(bytes(octets) + install_code_crc(bytes(octets)))


def test_nothing_and_one_octet_are_no_printed_code() -> None:
    for printed in (b"", b"\x00", b"\x00\x00"):
        with pytest.raises(InstallCodeError):
            printed_install_code_key(printed)


@given(
    code=st.sampled_from([6, 8, 12, 16]).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
    data=st.data(),
)
def test_a_misread_digit_of_a_label_never_gives_a_key(code: bytes, data: st.DataObject) -> None:
    printed = bytearray(code + install_code_crc(code))
    at = data.draw(st.integers(0, len(printed) - 1))
    printed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InstallCodeError):
        printed_install_code_key(bytes(printed))


def test_the_crc_of_a_code_with_its_crc_is_the_residue_of_x25() -> None:
    code = bytes.fromhex("83FED3407A939723A5C639B26916D505")
    whole = install_code_crc(code + install_code_crc(code))
    assert int.from_bytes(whole, "little") ^ 0xFFFF == 0xF0B8


def counting(octets: int) -> bytes:
    return bytes(at & 0xFF for at in range(octets))


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        # ZigBee 05-3474, C.5.1 and C.5.2
        (b"\xc0", "AE3A102A28D43EE0D4A09E22788B206C"),
        (bytes(range(0xC0, 0xD0)), "A7977E88BC0B61E8210827109A228F2D"),
        # C.5.3 and C.5.4: the last of the short form, the first of the long
        (counting(8191), "24EC2FE75BBFFCB34789BC0610E7F165"),
        (counting(8192), "DC6B0687F09F8607131C170B3BD31591"),
        # C.5.5 and C.5.6: the padding fits the last block, and no longer does
        (counting(8201), "72C9B15E178AA843E4A16C58E33643A3"),
        (counting(8202), "BC9828D59B2AA323DAF20BE5F2E66511"),
    ],
)
def test_the_hash_is_that_of_the_published_vectors(message: bytes, digest: str) -> None:
    assert mmo_hash(message).hex().upper() == digest


def test_the_keyed_hash_is_that_of_the_published_vector() -> None:
    # ZigBee 05-3474, C.6.1
    assert hmac_mmo(bytes(range(0x40, 0x50)), b"\xc0").hex().upper() == (
        "4512807BF94CB3400F0E2C25FB76E999"
    )


def test_the_derived_keys_of_the_well_known_key_are_those_other_stacks_hold() -> None:
    well_known = b"ZigBeeAlliance09"
    assert key_transport_key(well_known).hex().upper() == "4BAB0F173E1434A2D572E1C1EF478782"
    assert key_load_key(well_known).hex().upper() == "C5A47035C332CCBF251571D8BADED188"


def test_ccm_is_that_of_the_standard() -> None:
    # IEEE 802.15.4-2006, C.2.2, a MAC command under ENC-MIC-64: what is encrypted does not depend
    # on the length of the MIC, which is 4 octets here.
    key = FrameKey(bytes.fromhex("C0C1C2C3C4C5C6C7C8C9CACBCCCDCECF"))
    nonce = bytes.fromhex("ACDE48000000000100000005 06")
    authenticated = bytes.fromhex("2BDC842143020000000048DEACFFFF010000000048DEAC06050000 0001")
    sealed = key.seal(nonce, b"\xce", authenticated)
    assert sealed[:1] == b"\xd8"
    assert len(sealed) == 5
    assert key.open(nonce, sealed, authenticated) == b"\xce"


@settings(max_examples=50)
@given(
    octets=st.binary(min_size=16, max_size=16),
    nonce=st.binary(min_size=13, max_size=13),
    payload=st.binary(max_size=90),
    authenticated=st.binary(max_size=40),
    data=st.data(),
)
def test_a_frame_changed_by_one_bit_does_not_open(
    octets: bytes, nonce: bytes, payload: bytes, authenticated: bytes, data: st.DataObject
) -> None:
    key = FrameKey(octets)
    sealed = key.seal(nonce, payload, authenticated)
    assert len(sealed) == len(payload) + 4
    assert key.open(nonce, sealed, authenticated) == payload
    parts = [nonce, sealed, authenticated]
    which = data.draw(st.sampled_from([at for at, part in enumerate(parts) if part]))
    bit = data.draw(st.integers(0, 8 * len(parts[which]) - 1))
    changed = bytearray(parts[which])
    changed[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(changed)
    with pytest.raises(SecurityError):
        key.open(*parts)


@pytest.mark.parametrize("octets", [0, 15, 17, 32])
def test_a_key_of_another_length_is_refused(octets: int) -> None:
    with pytest.raises(ValueError, match=f"not {octets}"):
        FrameKey(bytes(octets))


def test_a_key_does_not_show_in_a_log() -> None:
    key = FrameKey(b"secret secret 16")
    assert "secret" not in repr(key) + str(key) + f"{key}"
