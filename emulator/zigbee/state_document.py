"""A dataclass as a JSON document and back, by its annotations: what a stick remembers, as data.

Source: ours. Octets are hex digits, enumerations their names in lower case. Numbers of 64 bits are
hex digits too: JSON readers that know doubles only, such as JavaScript's, damage larger ones than
2^53. A missing key takes the field's default, so that a document of an older build still reads; a
key that is no field is refused, because it is a slip of the pen. Whatever is wrong is said with its
place: `network.key: 15 octets, not 16`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

MAX_DOCUMENT_CHARACTERS = 1 << 20  # a stick has some 100 keys and some 100 neighbours

_T = TypeVar("_T")


class DocumentError(ValueError):
    """A value does not fit its place: where, and why."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}" if place else problem)


class Bits(NamedTuple):
    """Annotates an integer: unsigned, of so many bits; of 64, it is written in hex digits."""

    bits: int


class Octets(NamedTuple):
    """Annotates octets: so many."""

    octets: int


U8 = Annotated[int, Bits(8)]
U16 = Annotated[int, Bits(16)]
U32 = Annotated[int, Bits(32)]
U64 = Annotated[int, Bits(64)]
Key = Annotated[bytes, Octets(16)]


class _Codec(NamedTuple):
    build: Callable[[Any], Any]  # from the field's value to what JSON has
    parse: Callable[[Any, str], Any]  # and back; the place is for DocumentError


def build_document(value: object, schema: str) -> str:
    """The JSON document of a dataclass, which begins with the name of its form."""
    kind: Any = type(value)
    return json.dumps({"schema": schema} | _codec(kind).build(value))


def parse_document(kind: type[_T], text: str, schema: str) -> _T:
    """The dataclass that `build_document` wrote down. Raises DocumentError."""
    if len(text) > MAX_DOCUMENT_CHARACTERS:
        raise DocumentError("", f"longer than {MAX_DOCUMENT_CHARACTERS} characters")
    try:
        document = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise DocumentError("", f"no JSON: {error}") from error
    if not isinstance(document, dict):
        raise DocumentError("", "no JSON object")
    if document.pop("schema", None) != schema:
        raise DocumentError("schema", f"is not {schema!r}")
    any_kind: Any = kind
    value = _codec(any_kind).parse(document, "")
    assert isinstance(value, kind)
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} twice")
    return values


@cache
def _codec(kind: Any) -> _Codec:
    """How values of one annotation are written and read."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        base, mark = arguments
        return _octets(mark.octets) if base is bytes else _number(mark.bits)
    if origin in (Union, UnionType):
        (inner,) = (one for one in arguments if one is not NoneType)
        return _optional(_codec(inner))
    if origin is list:
        return _list(_codec(arguments[0]))
    if origin is dict:
        return _dict(_codec(arguments[0]), _codec(arguments[1]))
    if kind is bytes:
        return _octets(None)
    if is_dataclass(kind):
        return _dataclass(kind)
    if issubclass(kind, Enum):
        return _enum(kind)
    return _plain(kind)


def _plain(kind: type) -> _Codec:
    """An integer of any size, a truth, a text."""

    def parse(value: Any, place: str) -> Any:
        if type(value) is not kind:  # True is no number here
            raise DocumentError(place, f"{_short(value)} is no {kind.__name__}")
        return value

    return _Codec(kind, parse)


def _number(bits: int) -> _Codec:
    digits = bits // 4

    def parse(value: Any, place: str) -> int:
        if type(value) is not int or not 0 <= value < 1 << bits:
            raise DocumentError(place, f"{_short(value)} is no number in 0..{(1 << bits) - 1}")
        return value

    if bits <= 53:
        return _Codec(int, parse)

    def parse_hex(value: Any, place: str) -> int:
        octets = _from_hex(value)
        if octets is None or len(octets) * 2 != digits:
            raise DocumentError(place, f"{_short(value)} is not {digits} hex digits")
        return int.from_bytes(octets, "big")

    return _Codec(lambda value: f"{value:0{digits}X}", parse_hex)


def _octets(count: int | None) -> _Codec:
    def parse(value: Any, place: str) -> bytes:
        octets = _from_hex(value)
        if octets is None:
            raise DocumentError(place, f"{_short(value)} is not hex digits")
        if count is not None and len(octets) != count:
            raise DocumentError(place, f"{len(octets)} octets, not {count}")
        return octets

    return _Codec(bytes.hex, parse)


def _from_hex(value: Any) -> bytes | None:
    if not isinstance(value, str) or not value.isalnum():
        return b"" if value == "" else None
    try:
        return bytes.fromhex(value)
    except ValueError:
        return None


def _enum(kind: type[Enum]) -> _Codec:
    members = {member.name.lower(): member for member in kind}

    def parse(value: Any, place: str) -> Enum:
        if not isinstance(value, str) or value not in members:
            raise DocumentError(place, f"{_short(value)} is none of {', '.join(members)}")
        return members[value]

    return _Codec(lambda member: member.name.lower(), parse)


def _optional(inner: _Codec) -> _Codec:
    return _Codec(
        lambda value: None if value is None else inner.build(value),
        lambda value, place: None if value is None else inner.parse(value, place),
    )


def _list(inner: _Codec) -> _Codec:
    def parse(value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            raise DocumentError(place, f"{_short(value)} is no list")
        return [inner.parse(item, f"{place}[{index}]") for index, item in enumerate(value)]

    return _Codec(lambda value: [inner.build(item) for item in value], parse)


def _dict(key: _Codec, inner: _Codec) -> _Codec:
    def parse_key(text: str, place: str) -> Any:
        try:
            return key.parse(text, place)  # hex digits
        except DocumentError:
            if not text.isdecimal() or not text.isascii():
                raise
            return key.parse(int(text[:20]), place)

    def parse(value: Any, place: str) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise DocumentError(place, f"{_short(value)} is no object")
        return {
            parse_key(name, place): inner.parse(item, f"{place}.{name}")
            for name, item in value.items()
        }

    return _Codec(
        lambda value: {str(key.build(name)): inner.build(item) for name, item in value.items()},
        parse,
    )


def _dataclass(kind: Any) -> _Codec:
    hints = get_type_hints(kind, include_extras=True)
    codecs = {field.name: _codec(hints[field.name]) for field in fields(kind)}
    required = [
        field.name
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    ]

    def parse(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise DocumentError(place, f"{_short(value)} is no object")
        prefix = f"{place}." if place else ""
        for name in value:
            if name not in codecs:
                raise DocumentError(prefix + _short(name).strip("'"), "there is no such key")
        for name in required:
            if name not in value:
                raise DocumentError(prefix + name, "is missing")
        return kind(
            **{name: codecs[name].parse(item, prefix + name) for name, item in value.items()}
        )

    return _Codec(
        lambda value: {name: codec.build(getattr(value, name)) for name, codec in codecs.items()},
        parse,
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
