"""ZigBee's cryptography: AES-MMO, install codes, derived keys, AES-CCM* on NWK and APS frames.

Source: ZigBee specification 05-3474, annex A (CCM*), annex B.6 (AES-MMO), 4.5.1 (auxiliary
header), 4.5.3 (derived keys); Smart Energy profile 07-5356, 5.4.8.1.1.1 (install codes).

Frames are protected at level 5 (encryption, 32-bit MIC). The level is cleared on the air and put
back for the nonce and for what is authenticated (4.3.1.1).
"""

from __future__ import annotations

import hmac
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

KEY_OCTETS = 16
MIC_OCTETS = 4
SECURITY_LEVEL = 5

# Key identifiers of the security control field (4.5.1.1.2), shifted into place.
KEY_ID_DATA = 0 << 3
KEY_ID_NETWORK = 1 << 3
KEY_ID_KEY_TRANSPORT = 2 << 3
KEY_ID_KEY_LOAD = 3 << 3
EXTENDED_NONCE = 1 << 5

_KEY_TRANSPORT_INPUT = b"\x00"  # 4.5.3.2
_KEY_LOAD_INPUT = b"\x02"
_VERIFY_KEY_INPUT = b"\x03"  # 4.4.10.7.2.3
_INSTALL_CODE_OCTETS = (6, 8, 12, 16)

_COUNTER = Struct("<I")


SecurityError = InvalidTag
"""A received frame that does not open: wrong key, or changed on its way. It is what AESCCM raises,
by its own name here, because every frame of the air passes this way twice.
"""


class InstallCodeError(ValueError):
    """An install code that no label can carry."""


def mmo_blocks(digest: bytes, blocks: bytes) -> bytes:
    """AES-MMO's digest after whole blocks of 16 octets more; 16 zeros to begin with."""
    for at in range(0, len(blocks), 16):
        block = blocks[at : at + 16]
        encryptor = Cipher(algorithms.AES(digest), modes.ECB()).encryptor()
        digest = bytes(a ^ b for a, b in zip(encryptor.update(block), block, strict=True))
    return digest


def mmo_padding(octets: int) -> bytes:
    """What AES-MMO hashes behind a message of so many octets (annex B.6)."""
    bit_length = 8 * octets
    if bit_length < 2**16:
        tail = bit_length.to_bytes(2, "big")
    else:
        tail = bit_length.to_bytes(4, "big") + b"\x00\x00"
    return b"\x80" + bytes(-(octets + 1 + len(tail)) % 16) + tail


def mmo_hash(message: bytes) -> bytes:
    """AES-MMO of `message` (annex B.6), 16 octets."""
    return mmo_blocks(bytes(16), message + mmo_padding(len(message)))


def hmac_mmo(key: bytes, message: bytes) -> bytes:
    """HMAC over AES-MMO with a block of 16 octets (annex B.1.4)."""
    inner = bytes(octet ^ 0x36 for octet in key)
    outer = bytes(octet ^ 0x5C for octet in key)
    return mmo_hash(outer + mmo_hash(inner + message))


def key_transport_key(link_key: bytes) -> bytes:
    """The key that protects Transport Key of a network key (4.5.3.2)."""
    return hmac_mmo(link_key, _KEY_TRANSPORT_INPUT)


def key_load_key(link_key: bytes) -> bytes:
    """The key that protects Transport Key of a link key (4.5.3.2)."""
    return hmac_mmo(link_key, _KEY_LOAD_INPUT)


def verify_key_hash(link_key: bytes) -> bytes:
    """What Verify Key proves the knowledge of a link key with."""
    return hmac_mmo(link_key, _VERIFY_KEY_INPUT)


def install_code_crc(code: bytes) -> bytes:
    """CRC-16/X-25 of an install code's octets, low octet first, as printed on the label."""
    crc = 0xFFFF
    for octet in code:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ 0x8408 if crc & 1 else crc >> 1
    return (crc ^ 0xFFFF).to_bytes(2, "little")


def install_code_key(code: bytes) -> bytes:
    """The preconfigured link key of an install code given without its CRC.

    Raises InstallCodeError for a length no install code has.
    """
    if len(code) not in _INSTALL_CODE_OCTETS:
        raise InstallCodeError(
            f"an install code has 6, 8, 12 or 16 octets before its CRC, not {len(code)}"
        )
    return mmo_hash(code + install_code_crc(code))


def printed_install_code_key(printed: bytes) -> bytes:
    """The preconfigured link key of an install code as printed, its CRC included.

    Raises InstallCodeError for a wrong length or a CRC that does not match.
    """
    code, crc = printed[:-2], printed[-2:]
    key = install_code_key(code)
    if not hmac.compare_digest(crc, install_code_crc(code)):
        raise InstallCodeError("the install code does not match the CRC printed with it")
    return key


class FrameKey:
    """One AES key ready to protect frames.

    `seal(nonce, payload, authenticated)` is the payload encrypted, with the MIC behind it;
    `open(nonce, sealed, authenticated)` the payload again, or SecurityError when the MIC does not
    match. `nonce` is source EUI-64 (8, little-endian), frame counter (4), security control (1).
    """

    __slots__ = ("octets", "open", "seal")

    def __init__(self, octets: bytes) -> None:
        if len(octets) != KEY_OCTETS:
            raise ValueError(f"a key has {KEY_OCTETS} octets, not {len(octets)}")
        self.octets = octets
        aead = AESCCM(octets, tag_length=MIC_OCTETS)
        self.seal = aead.encrypt
        self.open = aead.decrypt

    def __repr__(self) -> str:  # keys never reach a log
        return "FrameKey(…)"


def counter_octets(counter: int) -> bytes:
    """A frame counter as it stands in an auxiliary header and in a nonce."""
    return _COUNTER.pack(counter)
