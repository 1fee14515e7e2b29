"""Octets that are read and built, with notes of what stands where.

Source: X.690 8.1.3 (lengths): GBCS frames use no form longer than 82. Published device frames write
lengths of 128 to 255 as 82 00 xx, so the form of every length that is read is noted, and can be
asked for when the same is built again.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

from construct import ConstructError, ValidationError

from gbcs.errors import GbcsError, GbcsValueError

MAX_LENGTH = 0xFFFF
_LONG_FORMS = {0x81: 2, 0x82: 3}

Lengths = tuple[int, ...]
"""How many octets each length takes, in the order in which they stand; empty when every one has
its shortest form."""


class Span(NamedTuple):
    """Where one field stands, counted from the start of the frame."""

    name: str
    offset: int
    length: int


class Notes:
    """What is noted while one thing is read."""

    def __init__(self, thing: str) -> None:
        self.thing = thing
        self.spans: list[Span] = []
        self.forms: list[int] = []
        self.any_long = False

    @property
    def lengths(self) -> Lengths:
        return tuple(self.forms) if self.any_long else ()

    def refusal(self, name: str, offset: int, problem: str) -> GbcsError:
        return GbcsError(self.thing, words(name) or "payload", offset, problem)


class Source(BytesIO):
    """Octets that are read, and where the first of them stands."""

    def __init__(self, octets: bytes, base: int, notes: Notes) -> None:
        super().__init__(octets)
        self.base = base
        self.end = len(octets)
        self.notes = notes

    @property
    def offset(self) -> int:
        return self.base + self.tell()

    def peek(self) -> int | None:
        """The next octet, which is still to be read."""
        at = self.tell()
        return self.getbuffer()[at] if at < self.end else None

    def take(self, octets: int) -> bytes:
        found = self.read(octets)
        if len(found) != octets:
            raise ValidationError(f"cannot be read, it has {shown(found)}")
        return found

    def expect(self, octets: bytes) -> None:
        found = self.take(len(octets))
        if found != octets:
            expected = octets.hex().upper()
            raise ValidationError(f"is {found.hex().upper()}, it can only be {expected}")

    def take_length(self) -> int:
        first = self.take(1)[0]
        if first < 0x80:
            self.notes.forms.append(1)
            return first
        form = _LONG_FORMS.get(first)
        if form is None:
            raise ValidationError(f"has length form {first:02X}, only 81 and 82 are used")
        length = int.from_bytes(self.take(form - 1), "big")
        self.notes.forms.append(form)
        if length < 0x80 or (form == 3 and length <= 0xFF):
            self.notes.any_long = True
        return length

    def take_sized(self) -> bytes:
        length = self.take_length()
        found = self.read(length)
        if len(found) != length:
            problem = f"cannot be read, its length is {length} and {len(found)} octet(s) follow"
            raise ValidationError(problem)
        return found

    def inside(self, octets: bytes) -> Source:
        """The octets just taken, to be read as something."""
        return Source(octets, self.offset - len(octets), self.notes)


class Sink(BytesIO):
    """Octets that are built."""

    def __init__(self, forms: Iterator[int]) -> None:
        super().__init__()
        self.forms = forms

    def put_sized(self, octets: bytes, form: int) -> None:
        self.write(length_octets(len(octets), form))
        self.write(octets)


def length_octets(length: int, form: int = 0) -> bytes:
    """A length in so many octets, or in its shortest form."""
    if length > MAX_LENGTH:
        raise GbcsValueError(f"{length} octets are more than a GBCS length holds, {MAX_LENGTH}")
    shortest = 1 if length < 0x80 else 2 if length <= 0xFF else 3
    form = form or shortest
    if form < shortest:
        raise GbcsValueError(f"a length of {length} does not fit in {form} octet(s)")
    if form == 1:
        return bytes([length])
    return bytes([0x7F + form]) + length.to_bytes(form - 1, "big")


def words(name: str) -> str:
    return name.lstrip("_").replace("_", " ").replace(".", " ")


def shown(octets: bytes) -> str:
    text = octets[:16].hex().upper() + ("..." if len(octets) > 16 else "")
    return text or "no octets"


def problem_of(error: ConstructError, rest: bytes) -> str:
    """One clause that fits behind the field's name."""
    if isinstance(error, ValidationError):
        return str(error.args[0]).splitlines()[0]
    return f"cannot be read, it has {shown(rest)}"
