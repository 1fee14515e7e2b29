"""The link key that an install code stands for.

Source: ZigBee Smart Energy 1.4, 5.4.8.1 (install codes); ZigBee 05-3474, B.6 (Matyas-Meyer-Oseas).
"""

from __future__ import annotations

import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def link_key(code: bytes) -> bytes:
    """The hash of the code and its CRC-16/X-25."""
    crc = 0xFFFF
    for octet in code:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    text = code + struct.pack("<H", crc ^ 0xFFFF)
    padded = text + b"\x80"
    padded += bytes(-(len(padded) + 2) % 16) + struct.pack(">H", len(text) * 8)
    key = bytes(16)
    for at in range(0, len(padded), 16):
        block = padded[at : at + 16]
        sealed = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)
        key = bytes(a ^ b for a, b in zip(sealed, block, strict=True))
    return key
