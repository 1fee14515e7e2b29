"""Lengths, numbers and times as GBCS writes them, and layouts that know where each field stands.

Source: X.690 8.1.3 (lengths), 8.3 (INTEGER); X.680 46 (GeneralizedTime, in its DER form); GBCS
frames use no length form longer than 82. Published device frames write short lengths in long form,
so every length form up to 82 is read; what is built has the shortest (X.690 10.1).

The Construct pieces here serve the modules of this package only; none hands them on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, NamedTuple

from construct import (
    Bytes,
    Const,
    ConstructError,
    Default,
    ExprAdapter,
    FocusedSeq,
    GreedyBytes,
    Int8ub,
    Prefixed,
    Struct,
    ValidationError,
)

from gbcs.errors import GbcsError, GbcsValueError

MAX_LENGTH = 0xFFFF

INTEGER = 0x02
OCTET_STRING = 0x04
NULL = 0x05
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30

GENERALIZED_TIME_OCTETS = 15  # YYYYMMDDHHMMSSZ, no fraction
_FURTHER_LENGTH_OCTETS = {0x81: 1, 0x82: 2}


class Span(NamedTuple):
    """Where one field of a layout stands, counted from the start of the frame."""

    name: str
    offset: int
    length: int


class Layout:
    """A sequence of named Construct fields that is read whole and built whole."""

    def __init__(self, thing: str, fields: Mapping[str, Any]) -> None:
        self.thing = thing
        self._fields = fields
        self._struct: Any = Struct(*(name / field for name, field in fields.items()))

    def parse_first(self, octets: bytes, base: int) -> tuple[dict[str, Any], list[Span], int]:
        """Values and spans of the fields, and the offset in `octets` behind the last one."""
        stream = BytesIO(octets)
        values: dict[str, Any] = {}
        spans: list[Span] = []
        for name, field in self._fields.items():
            start = stream.tell()
            try:
                values[name] = field.parse_stream(stream, **values)
            except ConstructError as error:
                problem = _problem(error, octets[start:])
                raise GbcsError(self.thing, _words(name), base + start, problem) from None
            spans.append(Span(_words(name), base + start, stream.tell() - start))
        return values, spans, stream.tell()

    def parse(self, octets: bytes, base: int = 0) -> dict[str, Any]:
        """Values of the fields; octets behind the last one are an error."""
        values, _, end = self.parse_first(octets, base)
        if end != len(octets):
            problem = f"has {len(octets) - end} octet(s) too many"
            raise GbcsError(self.thing, "end", base + end, problem)
        return values

    def build(self, values: Mapping[str, Any]) -> bytes:
        built: bytes = self._struct.build(dict(values))
        return built


def _words(name: str) -> str:
    return name.replace("_", " ")


def _problem(error: ConstructError, rest: bytes) -> str:
    """One clause that fits behind the field's name, from an error Construct words its own way."""
    if isinstance(error, ValidationError):
        return str(error.args[0]).splitlines()[0]
    shown = rest[:16].hex().upper() + ("..." if len(rest) > 16 else "")
    return f"cannot be read, it has {shown or 'no octets'}"


# -- lengths -----------------------------------------------------------------------------------


def _further_octets(context: Any) -> int:
    first: int = context.first
    if first < 0x80:
        return 0
    if first not in _FURTHER_LENGTH_OCTETS:
        raise ValidationError(f"has length form {first:02X}, only 81 and 82 are used")
    return _FURTHER_LENGTH_OCTETS[first]


def _decode_length(form: Any, _context: Any) -> int:
    return int.from_bytes(form.further, "big") if form.further else int(form.first)


def _encode_length(length: int, _context: Any) -> dict[str, Any]:
    octets = length_octets(length)
    return {"first": octets[0], "further": octets[1:]}


def length_octets(length: int) -> bytes:
    """The shortest form of a length."""
    if length < 0x80:
        return bytes([length])
    if length <= 0xFF:
        return bytes([0x81, length])
    if length <= MAX_LENGTH:
        return b"\x82" + length.to_bytes(2, "big")
    raise GbcsValueError(f"{length} octets are more than a GBCS length holds, {MAX_LENGTH}")


LENGTH: Any = ExprAdapter(
    Struct("first" / Int8ub, "further" / Bytes(_further_octets)), _decode_length, _encode_length
)
OCTETS: Any = Prefixed(LENGTH, GreedyBytes)
"""Octets behind their length."""


def octets_of(*lengths: int) -> Any:
    """Octets behind their length, which can only be one of these."""

    def decode(octets: bytes, _context: Any) -> bytes:
        if len(octets) not in lengths:
            raise ValidationError(f"has {len(octets)} octets, not {_either(lengths)}")
        return octets

    return ExprAdapter(OCTETS, decode, lambda octets, _context: octets)


def _either(lengths: tuple[int, ...]) -> str:
    if len(lengths) > 2:
        return f"{min(lengths)} to {max(lengths)}"
    return " or ".join(map(str, lengths))


def fixed_length(octets: int) -> Any:
    """A length that can only be this one."""

    def decode(length: int, _context: Any) -> int:
        if length != octets:
            raise ValidationError(f"is {length}, it can only be {octets}")
        return length

    return Default(ExprAdapter(LENGTH, decode, lambda length, _context: length), octets)


def marker(octets: bytes) -> Any:
    """Octets that can only be these."""

    def decode(found: bytes, _context: Any) -> bytes:
        if found != octets:
            raise ValidationError(
                f"is {found.hex().upper()}, it can only be {octets.hex().upper()}"
            )
        return found

    return Default(ExprAdapter(Bytes(len(octets)), decode, lambda value, _context: value), octets)


# -- tagged values -----------------------------------------------------------------------------


def tagged(tag: int, content: Any) -> Any:
    """One type-length-value; octets the content leaves over are its own to refuse."""
    return FocusedSeq("content", "tag" / Const(bytes([tag])), "content" / Prefixed(LENGTH, content))


def _decode_integer(octets: bytes, _context: Any) -> int:
    if not octets or len(octets) > 9:
        raise ValidationError(f"is an INTEGER of {len(octets)} octets, 1 to 9 are read")
    value = int.from_bytes(octets, "big", signed=True)
    if octets != _encode_integer(value, _context):
        raise ValidationError(f"is {octets.hex().upper()}, not the shortest form of an INTEGER")
    return value


def _encode_integer(value: int, _context: Any) -> bytes:
    # One bit more than the magnitude, for the sign.
    bits = (value if value >= 0 else ~value).bit_length() + 1
    return value.to_bytes(-(-bits // 8), "big", signed=True)


ASN1_INTEGER: Any = tagged(INTEGER, ExprAdapter(GreedyBytes, _decode_integer, _encode_integer))


def asn1_octets(octets: int) -> Any:
    """An OCTET STRING of exactly so many octets, as an unsigned number."""

    def decode(found: bytes, _context: Any) -> int:
        if len(found) != octets:
            raise ValidationError(f"has {len(found)} octets, not {octets}")
        return int.from_bytes(found, "big")

    def encode(value: int, _context: Any) -> bytes:
        return value.to_bytes(octets, "big")

    return tagged(OCTET_STRING, ExprAdapter(GreedyBytes, decode, encode))


def _decode_time(octets: bytes, _context: Any) -> datetime:
    digits, zulu = octets[:-1], octets[-1:]
    if len(octets) == GENERALIZED_TIME_OCTETS and zulu == b"Z" and digits.isdigit():
        text = digits.decode("ascii")
        parts = [int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))]
        try:
            year, month, day, hour, minute, second = parts
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            pass
    shown = octets[:GENERALIZED_TIME_OCTETS].decode("ascii", "backslashreplace")
    raise ValidationError(f"is {shown!r}, not a time written YYYYMMDDHHMMSSZ")


def _encode_time(time: datetime, _context: Any) -> bytes:
    # strftime writes years below 1000 with three digits on some platforms.
    return f"{time.year:04}{time:%m%d%H%M%S}Z".encode()


ASN1_TIME: Any = tagged(GENERALIZED_TIME, ExprAdapter(GreedyBytes, _decode_time, _encode_time))
"""A GeneralizedTime as an aware datetime in UTC, whole seconds."""


def require_utc_second(name: str, time: datetime) -> None:
    """Refuse a time a GeneralizedTime cannot say."""
    if time.tzinfo is not UTC or time.microsecond:
        raise GbcsValueError(f"{name} {time.isoformat()} is not a whole second of datetime.UTC")


_SEQUENCE_HEAD = {"tag": marker(bytes([SEQUENCE])), "length": LENGTH}


def parse_sequence(layout: Layout, octets: bytes, base: int = 0) -> dict[str, Any]:
    """The fields of a SEQUENCE that is all of `octets`."""
    head = Layout(layout.thing, _SEQUENCE_HEAD)
    values, _, start = head.parse_first(octets, base)
    if values["length"] != len(octets) - start:
        problem = f"is {values['length']}, and {len(octets) - start} octets follow"
        raise GbcsError(layout.thing, "length", base + 1, problem)
    return layout.parse(octets[start:], base + start)


def build_sequence(layout: Layout, values: Mapping[str, Any]) -> bytes:
    content = layout.build(values)
    return bytes([SEQUENCE]) + length_octets(len(content)) + content
