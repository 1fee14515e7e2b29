"""GBCS messages as a PPMID needs them: one command understood, its response, and one alert.

Source: GBCS 4, 7.2 (message structure), 6.2 (signature, key derivation, MAC), use cases CS08 (read
firmware version, 0x0129) and CS09 (activation alert, 0x012B); NIST SP 800-56A for the derivation.

A command is taken when, in this order: it is a frame; for this device; a command; CS08; from the
ACB; its MAC holds; its counter is above the last one taken. Otherwise nothing is answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

COMMAND, RESPONSE, ALERT = 1, 2, 3
READ_VERSION, ACTIVATION_ALERT = 0x0129, 0x012B
ACTIVATION_RESULT = 0x8F8B
MAC_OCTETS = 12
_MAC_HEAD = bytes.fromhex("DD000000000000")
_SECURITY = bytes.fromhex("1100000000")
_ALGORITHM = bytes.fromhex("60857406080300")
_NULL = bytes.fromhex("0500")


class GbcsError(Exception):
    """Why a message is discarded."""


class Message(NamedTuple):
    """One message without its protection. `other` is other information after the message code."""

    cra: int
    counter: int
    originator: int
    recipient: int
    code: int
    other: bytes
    content: bytes


@dataclass(frozen=True)
class Keys:
    """The device's two private keys, and the ACB it trusts."""

    eui64: int
    acb: int
    signing: ec.EllipticCurvePrivateKey = field(repr=False)
    agreement: ec.EllipticCurvePrivateKey = field(repr=False)
    acb_agreement: ec.EllipticCurvePublicKey = field(repr=False)


def load_keys(folder: Path, eui64: int, acb: int) -> Keys:
    """`EUI64-ds.key`, `EUI64-ka.key` and `ACB-ka.pem` of a folder."""

    def private(use: str) -> ec.EllipticCurvePrivateKey:
        pem = (folder / f"{eui64:016x}-{use}.key").read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    certificate = x509.load_pem_x509_certificate((folder / f"{acb:016x}-ka.pem").read_bytes())
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return Keys(eui64, acb, private("ds"), private("ka"), public)


# -- octets ----------------------------------------------------------------------------------


def _sized(octets: bytes) -> bytes:
    """A length as BER has it, and what is that long."""
    count = len(octets)
    if count < 0x80:
        return bytes((count,)) + octets
    if count < 0x100:
        return bytes((0x81, count)) + octets
    return b"\x82" + count.to_bytes(2, "big") + octets


class _Reader:
    def __init__(self, octets: bytes) -> None:
        self._rest = octets

    def take(self, count: int) -> bytes:
        if count > len(self._rest):
            raise GbcsError("the message ends too early")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def sized(self) -> bytes:
        count = self.take(1)[0]
        if count in (0x81, 0x82):
            count = int.from_bytes(self.take(count & 0x0F), "big")
        elif count > 0x7F:
            raise GbcsError(f"a length beginning with {count:02X}")
        return self.take(count)

    def expect(self, octets: bytes) -> None:
        if self.take(len(octets)) != octets:
            raise GbcsError(f"not {octets.hex()} where it belongs")

    def end(self) -> None:
        if self._rest:
            raise GbcsError("octets behind the message")


def _body(message: Message) -> bytes:
    """From the length of the transaction id to the end of the content: what a signature is over."""
    return (
        b"\x09"
        + bytes((message.cra,))
        + message.counter.to_bytes(8, "big")
        + _sized(message.originator.to_bytes(8, "big"))
        + _sized(message.recipient.to_bytes(8, "big"))
        + b"\0"  # no date and time
        + _sized(message.code.to_bytes(2, "big") + message.other)
        + _sized(message.content)
    )


def parse_command(frame: bytes) -> tuple[Message, bytes, bytes]:
    """A message with a MAC and no signature; what the MAC is over, and the MAC."""
    outer = _Reader(frame)
    outer.expect(_MAC_HEAD)
    inside = outer.sized()
    outer.end()
    if len(inside) <= MAC_OCTETS + len(_SECURITY):
        raise GbcsError("too short for a MAC")
    signed, mac = inside[:-MAC_OCTETS], inside[-MAC_OCTETS:]
    reader = _Reader(signed)
    reader.expect(_SECURITY + b"\xdf\x09")
    cra, counter = reader.take(1)[0], int.from_bytes(reader.take(8), "big")
    titles = reader.sized(), reader.sized()
    if any(len(title) != 8 for title in titles) or reader.sized():
        raise GbcsError("titles or a date and time that do not belong there")
    other, content = reader.sized(), reader.sized()
    reader.expect(b"\0")
    reader.end()
    if len(other) < 2:
        raise GbcsError("no message code")
    originator, recipient = (int.from_bytes(title, "big") for title in titles)
    code = int.from_bytes(other[:2], "big")
    message = Message(cra, counter, originator, recipient, code, other[2:], content)
    return message, signed[len(_SECURITY) :], mac


# -- protection ------------------------------------------------------------------------------


def derive_key(shared: bytes, message: Message) -> bytes:
    """The key of a message's MAC; each has one of its own."""
    information = (
        _ALGORITHM
        + message.originator.to_bytes(8, "big")
        + b"\x09"
        + bytes((message.cra,))
        + message.counter.to_bytes(8, "big")
        + message.recipient.to_bytes(8, "big")
    )
    return hashlib.sha256(b"\0\0\0\1" + shared + information).digest()[:16]


def _mac(keys: Keys, message: Message, grouped: bytes) -> bytes:
    shared = keys.agreement.exchange(ec.ECDH(), keys.acb_agreement)
    nonce = message.originator.to_bytes(8, "big") + bytes(4)
    covered = b"\x11" + bytes(5) + grouped
    return AESGCM(derive_key(shared, message)).encrypt(nonce, b"", covered)[:MAC_OCTETS]


def with_mac(keys: Keys, message: Message) -> bytes:
    grouped = b"\xdf" + _body(message) + b"\0"
    return _MAC_HEAD + _sized(_SECURITY + grouped + _mac(keys, message, grouped))


def signed(keys: Keys, message: Message) -> bytes:
    body = _body(message)
    r, s = decode_dss_signature(keys.signing.sign(body, ec.ECDSA(hashes.SHA256())))
    return b"\xdf" + body + _sized(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


# -- what a PPMID says -----------------------------------------------------------------------


def activation_alert(
    keys: Keys, counter: int, version: int, result: int, when: datetime, *, spoil: bool = False
) -> bytes:
    """CS09 under alert code 0x8F8B; result 0 is success. Spoilt, its signature does not hold."""
    content = (
        b"\x02\x03\0" + ACTIVATION_RESULT.to_bytes(2, "big")
        + b"\x18\x0f" + when.strftime("%Y%m%d%H%M%SZ").encode()
        + b"\x04\x04" + version.to_bytes(4, "big")
        + b"\x02\x01" + bytes((result,))
    )  # fmt: skip
    message = Message(
        ALERT, counter, keys.eui64, keys.acb, ACTIVATION_ALERT, b"", b"\x30" + _sized(content)
    )
    frame = signed(keys, message)
    return frame[:-1] + bytes((frame[-1] ^ 1,)) if spoil else frame


class Responder:
    """Answers commands. `counter` reads and `accept` keeps the counter of the last one taken."""

    def __init__(
        self,
        keys: Keys,
        defects: frozenset[str],
        version: Callable[[], int],
        counter: Callable[[], int],
        accept: Callable[[int], None],
    ) -> None:
        self._keys = keys
        self._defects = defects
        self._version = version
        self._counter = counter
        self._accept = accept

    def answer(self, frame: bytes) -> bytes:
        """The response to a command. Raises GbcsError for one that is not taken."""
        keys, defects = self._keys, self._defects
        message, grouped, mac = parse_command(frame)
        if message.recipient != keys.eui64:
            raise GbcsError(f"a message for {message.recipient:016X}")
        if message.cra != COMMAND or message.code != READ_VERSION or message.content != _NULL:
            raise GbcsError(f"kind {message.cra} with code {message.code:04X} is not understood")
        if message.originator != keys.acb:
            raise GbcsError(f"{message.originator:016X} has no authority here")
        if _mac(keys, message, grouped) != mac and "accepts-forged-cs08" not in defects:
            raise GbcsError("the MAC does not hold")
        if message.counter <= self._counter() and "accepts-replayed-cs08" not in defects:
            raise GbcsError(f"counter {message.counter} has been used")
        self._accept(message.counter)
        version = self._version() - ("wrong-version-in-cs08" in defects)
        reply = Message(
            RESPONSE,
            message.counter + ("answers-with-another-counter" in defects),
            message.recipient,
            message.originator,
            message.code,
            message.other,
            b"\x30\x09\x04\x04" + version.to_bytes(4, "big") + b"\x02\x01\0",
        )
        response = with_mac(keys, reply)
        if "answers-cs08-with-bad-mac" in defects:
            response = response[:-1] + bytes((response[-1] ^ 1,))
        return response
