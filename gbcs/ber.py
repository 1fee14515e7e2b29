"""Lengths, numbers, times and sequences as GBCS writes them in ASN.1.

Source: X.690 8.1.3 (lengths), 8.3 (INTEGER), 8.6 (BIT STRING); X.680 46 (GeneralizedTime, in its
DER form); GBCS frames use no length form longer than 82. Every length form up to 82 is read, all
else is read in its DER form only (X.690 10, 11).

    piece                     ASN.1
    ------------------------  ------------------------------------------------------------
    Null                      NULL
    Integer, Unsigned         INTEGER; one that is never negative, at most 64 bits
    IntegerOf, EnumeratedOf   INTEGER, ENUMERATED whose values have names
    Octets, Number            OCTET STRING of so many octets, as octets or as a number
    KeyUsageBits              BIT STRING of X.509 key usage
    Time                      GeneralizedTime, whole seconds of UTC
    Certificate               a whole SEQUENCE, left as octets
    Record, RecordsOf         SEQUENCE { ... }, SEQUENCE OF
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from construct import ValidationError

from gbcs.errors import GbcsValueError
from gbcs.fields import Fields, Many, Sized, Value, member_of, take_tag
from gbcs.streams import Source, shown

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
ENUMERATED = 0x0A
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
NULL_OCTETS = b"\x05\x00"

GENERALIZED_TIME_OCTETS = 15  # YYYYMMDDHHMMSSZ, no fraction
MAX_UNSIGNED = 2**64 - 1


class KeyUsage(IntEnum):
    """X.509 key usage, each with the two octets of its BIT STRING: unused bits, bits."""

    DIGITAL_SIGNATURE = 0x0780
    KEY_AGREEMENT = 0x0308
    KEY_CERT_SIGN = 0x0204


def _decode_null(octets: bytes) -> None:
    if octets:
        raise ValidationError(f"has {len(octets)} octet(s), a NULL has none")


def _decode_integer(octets: bytes) -> int:
    if not octets or len(octets) > 9:
        raise ValidationError(f"is an INTEGER of {len(octets)} octets, 1 to 9 are read")
    value = int.from_bytes(octets, "big", signed=True)
    if len(octets) != len(_encode_integer(value)):
        raise ValidationError(f"is {octets.hex().upper()}, not the shortest form of an INTEGER")
    return value


def _encode_integer(value: int) -> bytes:
    # One bit more than the magnitude, for the sign.
    bits = (value if value >= 0 else ~value).bit_length() + 1
    return value.to_bytes(-(-bits // 8), "big", signed=True)


def _decode_unsigned(octets: bytes) -> int:
    value = _decode_integer(octets)
    if not 0 <= value <= MAX_UNSIGNED:
        raise ValidationError(f"is {value}, not a number of 64 bits without a sign")
    return value


def _member_from_integer(members: type[IntEnum]) -> Callable[[bytes], Any]:
    member = member_of(members)
    return lambda octets: member(_decode_integer(octets))


def Null() -> Value:
    return Value(NULL, _decode_null, lambda _: b"")


def Unsigned(tag: int = INTEGER) -> Value:
    return Value(tag, _decode_unsigned, _encode_integer)


def IntegerOf(members: type[IntEnum], tag: int = INTEGER) -> Value:
    return Value(tag, _member_from_integer(members), _encode_integer)


def EnumeratedOf(members: type[IntEnum]) -> Value:
    return IntegerOf(members, ENUMERATED)


def AlertCode(*codes: int) -> Value:
    """An alert code as an INTEGER, only these where any are given."""

    def decode(octets: bytes) -> int:
        value = _decode_unsigned(octets)
        if (codes and value not in codes) or value > 0xFFFF:
            known = " or ".join(f"{code:04X}" for code in codes) or "an alert code"
            raise ValidationError(f"is {value:04X}, not {known}")
        return value

    return Value(INTEGER, decode, _encode_integer)


def octets_decoder(*lengths: int) -> Callable[[bytes], bytes]:
    def decode(octets: bytes) -> bytes:
        if len(octets) not in lengths:
            raise ValidationError(f"has {len(octets)} octets, not {_either(lengths)}")
        return octets

    return decode


def _either(lengths: tuple[int, ...]) -> str:
    if len(lengths) > 2:
        return f"{min(lengths)} to {max(lengths)}"
    return " or ".join(map(str, lengths))


def number_decoder(octets: int) -> Callable[[bytes], int]:
    def decode(found: bytes) -> int:
        if len(found) != octets:
            raise ValidationError(f"has {len(found)} octets, not {octets}")
        return int.from_bytes(found, "big")

    return decode


def number_encoder(octets: int) -> Callable[[int], bytes]:
    return lambda value: value.to_bytes(octets, "big")


def Octets(*lengths: int, tag: int = OCTET_STRING) -> Value:
    """An OCTET STRING of one of these lengths; of any where none is given."""
    return Value(tag, octets_decoder(*lengths) if lengths else bytes)


def Number(octets: int) -> Value:
    """An OCTET STRING of exactly so many octets, as an unsigned number."""
    return Value(OCTET_STRING, number_decoder(octets), number_encoder(octets))


def KeyUsageBits() -> Value:
    def decode(octets: bytes) -> KeyUsage:
        try:
            return KeyUsage(int.from_bytes(octets, "big"))
        except ValueError:
            problem = f"is {shown(octets)}, not one key usage: 0780, 0308 or 0204"
            raise ValidationError(problem) from None

    return Value(BIT_STRING, decode, number_encoder(2))


def _decode_time(octets: bytes) -> datetime:
    digits, zulu = octets[:-1], octets[-1:]
    if len(octets) == GENERALIZED_TIME_OCTETS and zulu == b"Z" and digits.isdigit():
        text = digits.decode("ascii")
        parts = [int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))]
        try:
            year, month, day, hour, minute, second = parts
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            pass
    text = octets[:GENERALIZED_TIME_OCTETS].decode("ascii", "backslashreplace")
    raise ValidationError(f"is {text!r}, not a time written YYYYMMDDHHMMSSZ")


def _encode_time(time: datetime) -> bytes:
    # strftime writes years below 1000 with three digits on some platforms.
    return f"{time.year:04}{time:%m%d%H%M%S}Z".encode()


def Time() -> Value:
    """A GeneralizedTime as an aware datetime in UTC, whole seconds."""
    return Value(GENERALIZED_TIME, _decode_time, _encode_time)


def require_utc_second(name: str, time: datetime) -> None:
    """Refuse a time a GeneralizedTime cannot say."""
    if time.tzinfo is not UTC or time.microsecond:
        raise GbcsValueError(f"{name} {time.isoformat()} is not a whole second of datetime.UTC")


class WholeSequence(Value):
    """A SEQUENCE with its tag and length, whatever is in it: a certificate, a request for one. Its
    own lengths are part of it, so they are not noted."""

    def __init__(self) -> None:
        super().__init__(SEQUENCE)

    def _parse(self, stream: Source, _context: Any, _path: str) -> bytes:
        start, forms = stream.tell(), len(stream.notes.forms)
        any_long = stream.notes.any_long
        take_tag(stream, SEQUENCE)
        stream.take_sized()
        del stream.notes.forms[forms:]
        stream.notes.any_long = any_long
        return stream.getvalue()[start : stream.tell()]

    def _build(self, obj: Any, stream: Any, _context: Any, _path: str) -> Any:
        stream.write(obj)
        return obj


def require_whole_sequence(name: str, octets: bytes) -> None:
    """Refuse octets that are not exactly one SEQUENCE."""
    if not is_whole_sequence(octets):
        raise GbcsValueError(f"{name} is not one DER value")


def is_whole_sequence(octets: bytes) -> bool:
    length, start = 0, 2
    if octets[:1] != bytes([SEQUENCE]) or len(octets) < 2:
        return False
    if octets[1] in (0x81, 0x82):
        start += octets[1] - 0x80
        length = int.from_bytes(octets[2:start], "big")
    elif octets[1] < 0x80:
        length = octets[1]
    else:
        return False
    return len(octets) == start + length


def Record(make: Callable[..., Any], *, tag: int = SEQUENCE, **fields: Any) -> Sized:
    """A SEQUENCE of named fields."""
    return Sized(tag, Fields(make, **fields))


def RecordsOf(piece: Any, *, tag: int = SEQUENCE) -> Sized:
    """A SEQUENCE OF one kind of thing."""
    return Sized(tag, Many(piece))
