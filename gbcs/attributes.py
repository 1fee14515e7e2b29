"""Attributes of a meter that only one party can read: found in a payload, encrypted, decrypted.

Source: GBCS, "Encrypted attributes": an octet string of DLMS, or the ciphered information of a GBZ
component, holds

    octets  what
    ------  -------------------------------------------------------------------------
    5       31 00000000, authentication and encryption, and a counter that is zero
    n       ciphertext, AES-128-GCM
    12      the first octets of its tag, with 31 as the only data beside it

The key is derived as for a MAC, in mode 4, of the device and the party it is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import GCM

from gbcs.envelope import MAC_OCTETS, Cra, Frame, ReceivedFrame
from gbcs.errors import GbcsError
from gbcs.protection import KeyStore, Mode, Verdict, agreed_secret, derive_key

_AAD = b"\x31"
_HEADER = _AAD + bytes(4)
_OCTET_STRING = 0x09
_THING = "encrypted attribute"


class Attribute(NamedTuple):
    """An encrypted attribute of a frame: where it stands, whether it could be decrypted, and what
    it says then."""

    offset: int
    length: int
    verdict: Verdict
    octets: bytes | None


def encrypted_attributes(received: ReceivedFrame, keys: KeyStore) -> tuple[Attribute, ...]:
    """Those of a response or an alert, with what the keys make of them. One whose tag does not
    hold may be octets that only look like one."""
    frame = received.frame
    if frame.cra is Cra.COMMAND:
        return ()
    party = frame.other_information.supplementary_remote_party_id
    secret = agreed_secret(keys, frame.originator, frame.recipient if party is None else party)
    return tuple(
        _judged(received.payload_offset + at, frame.payload[at : at + length], frame, secret)
        for at, length in _places(frame.payload)
    )


def _judged(offset: int, sealed: bytes, frame: Frame, secret: bytes | None) -> Attribute:
    if secret is None:
        return Attribute(offset, len(sealed), Verdict.NO_KEY, None)
    try:
        plain = decrypt_attribute(sealed, secret, frame)
    except GbcsError:
        return Attribute(offset, len(sealed), Verdict.INVALID, None)
    return Attribute(offset, len(sealed), Verdict.VALID, plain)


def _places(payload: bytes) -> Iterator[tuple[int, int]]:
    """Where octets begin that their length and header say are an encrypted attribute."""
    at = payload.find(_HEADER)
    while at >= 0:
        length = _length_before(payload, at)
        if len(_HEADER) + MAC_OCTETS <= length <= len(payload) - at:
            yield at, length
            at += length
        else:
            at += 1
        at = payload.find(_HEADER, at)


def _length_before(payload: bytes, at: int) -> int:
    before = payload[max(0, at - 4) : at].rjust(4, b"\0")
    if before[0] == _OCTET_STRING and before[1] == 0x82:
        return int.from_bytes(before[2:], "big")
    if before[1] == _OCTET_STRING and before[2] == 0x81:
        return before[3]
    if before[2] == _OCTET_STRING and before[3] < 0x80:
        return before[3]
    return int.from_bytes(before[2:], "big")


def attribute_key(secret: bytes, frame: Frame) -> bytes:
    """The key of the encrypted attributes in a response: the user it is for, and the counter that
    is the device's own, where the frame names them."""
    other = frame.other_information
    counter, party = other.supplementary_originator_counter, other.supplementary_remote_party_id
    return derive_key(
        secret,
        originator=frame.originator,
        recipient=frame.recipient if party is None else party,
        originator_counter=frame.originator_counter if counter is None else counter,
        mode=Mode.ATTRIBUTE_ENCRYPTION,
    )


def encrypt_attribute(octets: bytes, secret: bytes, frame: Frame) -> bytes:
    """The octets of an attribute that only the holder of Z can read."""
    sealed = AESGCM(attribute_key(secret, frame)).encrypt(_iv(frame), octets, _AAD)
    # The library makes tags of 16 octets; GBCS has the first 12.
    return _HEADER + sealed[: len(octets) + MAC_OCTETS]


def decrypt_attribute(octets: bytes, secret: bytes, frame: Frame) -> bytes:
    """What was encrypted. Raises GbcsError when it is not, or not for this key."""
    if octets[: len(_HEADER)] != _HEADER:
        shown = octets[: len(_HEADER)].hex().upper()
        problem = f"is {shown}, it can only be {_HEADER.hex().upper()}"
        raise GbcsError(_THING, "security header", 0, problem)
    tag_at = len(octets) - MAC_OCTETS
    if tag_at < len(_HEADER):
        raise GbcsError(_THING, "tag", len(_HEADER), "is cut off")
    mode = GCM(_iv(frame), octets[tag_at:], min_tag_length=MAC_OCTETS)
    decryptor = Cipher(AES128(attribute_key(secret, frame)), mode).decryptor()
    decryptor.authenticate_additional_data(_AAD)
    try:
        return decryptor.update(octets[len(_HEADER) : tag_at]) + decryptor.finalize()
    except InvalidTag:
        raise GbcsError(_THING, "tag", tag_at, "does not hold") from None


def _iv(frame: Frame) -> bytes:
    return frame.originator.to_bytes(8, "big") + bytes(4)
