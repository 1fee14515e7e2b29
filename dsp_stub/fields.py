"""How values are written in DUIS XML: EUI-64s, RequestIDs, times, octets.

Source: DUIS XSD V5.4 (simple types). EUI-64s are written in capitals and read in either case; times
are UTC, written with milliseconds as the DCC writes them.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from dsp_stub.errors import DspValueError, DuisError
from dsp_stub.safe_xml import has_white_space, shorten

MAX_COUNTER = 2**64 - 1
_EUI64 = re.compile(r"[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){7}")
_COUNTER = re.compile(r"0|[1-9][0-9]{0,19}")
_HEX_16_BITS = re.compile(r"(?:0x)?([0-9A-Fa-f]{4})")
_DATE_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})?", re.ASCII
)
_NOT_BASE64 = re.compile(r"[ \t\r\n]+")

THING = "DUIS field"


def eui64_to_xml(eui64: int) -> str:
    """00-DB-12-34-56-78-90-A4"""
    if not 0 <= eui64 < 1 << 64:
        raise DspValueError(f"{eui64:#x} is no EUI-64")
    return eui64.to_bytes(8, "big").hex("-").upper()


def eui64_from_xml(text: str, place: str = "EUI-64") -> int:
    if not _EUI64.fullmatch(text):
        problem = f"is {shorten(text)!r}, not an EUI-64 such as 00-DB-12-34-56-78-90-A4"
        raise DuisError(THING, place, problem)
    return int(text.replace("-", ""), 16)


@dataclass(frozen=True, slots=True)
class RequestId:
    """A RequestID or ResponseID: who sends, to whom, and the sender's counter."""

    originator: int
    target: int
    counter: int

    def __post_init__(self) -> None:
        for name, eui64 in (("originator", self.originator), ("target", self.target)):
            if not 0 <= eui64 < 1 << 64:
                raise DspValueError(f"{name} {eui64:#x} of a RequestID is no EUI-64")
        if not 0 <= self.counter <= MAX_COUNTER:
            raise DspValueError(f"counter {self.counter} of a RequestID is not one of 64 bits")

    @classmethod
    def parse(cls, text: str, place: str = "RequestID") -> RequestId:
        parts = text.split(":")
        if len(parts) != 3 or not _COUNTER.fullmatch(parts[2]) or int(parts[2]) > MAX_COUNTER:
            problem = f"is {shorten(text)!r}, not originator:target:counter"
            raise DuisError(THING, place, problem)
        originator, target = (eui64_from_xml(part, place) for part in parts[:2])
        return cls(originator, target, int(parts[2]))

    def __str__(self) -> str:
        return f"{eui64_to_xml(self.originator)}:{eui64_to_xml(self.target)}:{self.counter}"


def time_to_xml(moment: datetime) -> str:
    """2025-12-28T16:51:01.185Z"""
    if moment.tzinfo is None:
        raise DspValueError(f"time {moment.isoformat()} has no zone")
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds") + "Z"


def time_from_xml(text: str, place: str = "time") -> datetime:
    """A time with the zone it says; one that says none is UTC."""
    try:
        if not _DATE_TIME.fullmatch(text):
            raise ValueError(text)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise DuisError(THING, place, f"is {shorten(text)!r}, which is no time") from None


def octets_to_xml(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def octets_from_xml(text: str, place: str = "base64") -> bytes:
    try:
        digits = _NOT_BASE64.sub("", text) if has_white_space(text) else text
        return base64.b64decode(digits, validate=True)
    except (binascii.Error, ValueError):
        raise DuisError(THING, place, "is not base64") from None


def number_from_xml(text: str, place: str = "number") -> int:
    if not _COUNTER.fullmatch(text):
        raise DuisError(THING, place, f"is {shorten(text)!r}, which is no number")
    return int(text)


def octets_from_hex(text: str, place: str = "hexadecimal") -> bytes:
    try:
        # The function takes white space between octets, which xs:hexBinary does not.
        if not text.isalnum():
            raise ValueError(text)
        return bytes.fromhex(text)
    except ValueError:
        raise DuisError(THING, place, "is not hexadecimal") from None


def code_to_xml(code: int) -> str:
    """An alert code: 8F8B"""
    if not 0 <= code <= 0xFFFF:
        raise DspValueError(f"alert code {code:#x} does not fit in 16 bits")
    return f"{code:04X}"


def code_from_xml(text: str, place: str = "alert code") -> int:
    match = _HEX_16_BITS.fullmatch(text)
    if match is None:
        raise DuisError(THING, place, f"is {shorten(text)!r}, not four hexadecimal digits")
    return int(match[1], 16)
