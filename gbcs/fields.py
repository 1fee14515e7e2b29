"""What the definitions of this package are made of: Construct pieces that note where they stand.

Source: ours. The published formats are Construct declarations; a reader holds them against GBCS.
Beside what Construct does by itself, these pieces say of every field where it stands in the frame,
name field and offset in every refusal, and remember which lengths were not in their shortest form:
published device frames write 128 to 255 as 82 00 xx, and such a frame is built again as it was.

    piece         reads and builds
    ------------  ----------------------------------------------------------------------------
    Fields        named fields, one behind the other, as a dataclass or a dict
    Fixed         octets that can only be these; no field of the dataclass
    Value         octets behind a tag and their length, decoded in one step
    Sized         octets behind a tag and their length, as the piece inside reads them
    Tagged        a piece of fixed length behind its tag
    Component     a ZCL frame behind two octets of length
    Length        a length that stands alone
    Many          the same piece until the octets end, as a tuple
    IfNext        a piece that is there when the next octet is its tag
    OrNull        a piece, or the octets that say there is nothing
    Forms         one of several pieces, told apart by the first octet

Names are joined by dots: `control.mode`, `replacements[0].certificate`. The pieces serve the
modules of this package only; none hands them on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from construct import Construct, ConstructError, ValidationError

from gbcs.errors import GbcsValueError
from gbcs.streams import Lengths, Notes, Sink, Source, Span, length_octets, problem_of, shown

T = TypeVar("T")


# -- pieces ------------------------------------------------------------------------------------


def parse_named(piece: Any, stream: Source, name: str) -> Any:
    """The value of one named field; its span is noted, before those of its parts."""
    spans, start = stream.notes.spans, stream.tell()
    place = len(spans)
    spans.append(Span(name, 0, 0))
    try:
        value = piece._parse(stream, None, name)
    except ConstructError as error:
        problem = problem_of(error, stream.getvalue()[start:])
        raise stream.notes.refusal(name, stream.base + start, problem) from None
    length = stream.tell() - start
    if length:
        spans[place] = Span(name, stream.base + start, length)
    else:
        del spans[place]
    return value


class Fields(Construct):
    """Named fields. Those whose names begin with an underscore are fixed, and no part of what
    `make` makes."""

    def __init__(self, make: Callable[..., Any], **fields: Any) -> None:
        super().__init__()
        self._make = make
        self._as_mapping = make is dict
        self._fields = [(name.lstrip("_"), name[0] != "_", piece) for name, piece in fields.items()]

    def _parse(self, stream: Source, _context: Any, path: str) -> Any:
        values: dict[str, Any] = {}
        begin = stream.tell()
        for name, is_kept, piece in self._fields:
            value = parse_named(piece, stream, f"{path}.{name}" if path else name)
            if is_kept:
                values[name] = value
        if self._as_mapping:
            return values
        try:
            return self._make(**values)
        except GbcsValueError as error:
            raise stream.notes.refusal(path, stream.base + begin, f"cannot be: {error}") from None

    def _build(self, obj: Any, stream: Sink, _context: Any, path: str) -> Any:
        for name, is_kept, piece in self._fields:
            if not is_kept:
                value = None
            elif self._as_mapping:
                value = obj[name]
            else:
                value = getattr(obj, name)
            piece._build(value, stream, None, path)
        return obj


class Fixed(Construct):
    """Octets that can only be these."""

    def __init__(self, octets: bytes) -> None:
        super().__init__()
        self._octets = octets

    def _parse(self, stream: Source, _context: Any, _path: str) -> None:
        stream.expect(self._octets)

    def _build(self, obj: Any, stream: Sink, _context: Any, _path: str) -> Any:
        stream.write(self._octets)
        return obj


class Length(Construct):
    """A length that stands alone; with `only`, the one it can be, and no field."""

    def __init__(self, only: int | None = None) -> None:
        super().__init__()
        self._only = only

    def _parse(self, stream: Source, _context: Any, _path: str) -> int:
        length = stream.take_length()
        if self._only is not None and length != self._only:
            raise ValidationError(f"is {length}, it can only be {self._only}")
        return length

    def _build(self, obj: Any, stream: Sink, _context: Any, _path: str) -> Any:
        length = obj if self._only is None else self._only
        stream.write(length_octets(length, next(stream.forms, 0)))
        return obj


Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]


class Value(Construct):
    """Octets behind a tag and their length, decoded in one step. `decode` raises ValidationError
    with a clause that fits behind the name of the field."""

    def __init__(self, tag: int | None, decode: Decode = bytes, encode: Encode = bytes) -> None:
        super().__init__()
        self.tag = tag
        self._decode = decode
        self._encode = encode

    def _parse(self, stream: Source, _context: Any, _path: str) -> Any:
        take_tag(stream, self.tag)
        return self._decode(stream.take_sized())

    def _build(self, obj: Any, stream: Sink, _context: Any, _path: str) -> Any:
        put_tag(stream, self.tag)
        form = next(stream.forms, 0)
        stream.put_sized(self._encode(obj), form)
        return obj


class Sized(Construct):
    """A piece behind a tag and the length of its octets, all of which it must read."""

    def __init__(self, tag: int | None, piece: Any) -> None:
        super().__init__()
        self.tag = tag
        self._piece = piece

    def _parse(self, stream: Source, _context: Any, path: str) -> Any:
        take_tag(stream, self.tag)
        octets = stream.take_sized()
        if not path and (left := stream.end - stream.tell()):
            problem = f"is {len(octets)}, and {len(octets) + left} octets follow"
            raise stream.notes.refusal("length", stream.base + 1, problem)
        inside = stream.inside(octets)
        value = self._piece._parse(inside, None, path)
        require_end(inside, path)
        return value

    def _build(self, obj: Any, stream: Sink, _context: Any, path: str) -> Any:
        put_tag(stream, self.tag)
        form = next(stream.forms, 0)
        inside = Sink(stream.forms)
        self._piece._build(obj, inside, None, path)
        stream.put_sized(inside.getvalue(), form)
        return obj


class Tagged(Construct):
    """A piece of fixed length behind its tag."""

    def __init__(self, tag: int, piece: Any) -> None:
        super().__init__()
        self.tag = tag
        self._piece = piece

    def _parse(self, stream: Source, _context: Any, path: str) -> Any:
        take_tag(stream, self.tag)
        return self._piece._parse(stream, None, path)

    def _build(self, obj: Any, stream: Sink, _context: Any, path: str) -> Any:
        put_tag(stream, self.tag)
        self._piece._build(obj, stream, None, path)
        return obj


class Component(Construct):
    """A ZCL frame behind the two octets of its length, as GBZ has it."""

    def __init__(self, piece: Any) -> None:
        super().__init__()
        self._piece = piece

    def _parse(self, stream: Source, _context: Any, path: str) -> Any:
        length = int.from_bytes(stream.take(2), "big")
        inside = stream.inside(stream.take(length))
        value = self._piece._parse(inside, None, path)
        require_end(inside, path)
        return value

    def _build(self, obj: Any, stream: Sink, _context: Any, path: str) -> Any:
        inside = Sink(stream.forms)
        self._piece._build(obj, inside, None, path)
        stream.write(len(inside.getvalue()).to_bytes(2, "big"))
        stream.write(inside.getvalue())
        return obj


class Many(Construct):
    """The same piece until the octets end. With `counted` a count stands before them instead."""

    def __init__(self, piece: Any, *, counted: bool = False) -> None:
        super().__init__()
        self._counted = counted
        self._piece = piece

    def _parse(self, stream: Source, _context: Any, path: str) -> tuple[Any, ...]:
        items: list[Any] = []
        count = stream.take_length() if self._counted else None
        while stream.tell() < stream.end if count is None else len(items) < count:
            items.append(parse_named(self._piece, stream, f"{path}[{len(items)}]"))
        return tuple(items)

    def _build(self, obj: Any, stream: Sink, _context: Any, path: str) -> Any:
        if self._counted:
            stream.write(length_octets(len(obj), next(stream.forms, 0)))
        for item in obj:
            self._piece._build(item, stream, None, path)
        return obj


class IfNext(Construct):
    """A piece that is there when its tag comes next; `absent` is what its absence means."""

    def __init__(self, piece: Any, absent: Any = None) -> None:
        super().__init__()
        self._piece = piece
        self._absent = absent

    def _parse(self, stream: Source, _context: Any, path: str) -> Any:
        if stream.peek() != self._piece.tag:
            return self._absent
        value = self._piece._parse(stream, None, path)
        if value == self._absent:
            raise ValidationError("is written out, and it is what its absence means")
        return value

    def _build(self, obj: Any, stream: Sink, _context: Any, path: str) -> Any:
        if obj != self._absent:
            self._piece._build(obj, stream, None, path)
        return obj


class OrNull(Construct):
    """A piece, or for None the octets that say there is nothing."""

    def __init__(self, piece: Any, null: bytes) -> None:
        super().__init__()
        self._piece = piece
        self._null = null

    def _parse(self, stream: Source, _context: Any, path: str) -> Any:
        if stream.peek() != self._null[0]:
            return self._piece._parse(stream, None, path)
        stream.expect(self._null)
        return None

    def _build(self, obj: Any, stream: Sink, _context: Any, path: str) -> Any:
        if obj is None:
            stream.write(self._null)
        else:
            self._piece._build(obj, stream, None, path)
        return obj


class Forms(Construct):
    """One of several things, told apart by their first octet and by what is made of them."""

    def __init__(self, forms: dict[int, tuple[type[Any], Any]]) -> None:
        super().__init__()
        self._by_octet = {octet: piece for octet, (_, piece) in forms.items()}
        self._by_kind = dict(forms.values())

    def _parse(self, stream: Source, _context: Any, path: str) -> Any:
        piece = self._by_octet.get(-1 if (octet := stream.peek()) is None else octet)
        if piece is None:
            known = ", ".join(f"{first:02X}" for first in self._by_octet)
            problem = f"begins with {shown(stream.read(1))}, not with one of {known}"
            raise ValidationError(problem)
        return piece._parse(stream, None, path)

    def _build(self, obj: Any, stream: Sink, _context: Any, path: str) -> Any:
        self._by_kind[type(obj)]._build(obj, stream, None, path)
        return obj


class Mapped(Construct):
    """A piece of Construct's own whose value is taken for another."""

    def __init__(self, piece: Any, decode: Callable[[Any], Any], encode: Callable[[Any], Any]):
        super().__init__()
        self._piece = piece
        self._decode = decode
        self._encode = encode

    def _parse(self, stream: Source, _context: Any, path: str) -> Any:
        return self._decode(self._piece._parse(stream, None, path))

    def _build(self, obj: Any, stream: Sink, _context: Any, path: str) -> Any:
        self._piece._build(self._encode(obj), stream, None, path)
        return obj


def take_tag(stream: Source, tag: int | None) -> None:
    if tag is not None and (found := stream.take(1)[0]) != tag:
        raise ValidationError(f"has tag {found:02X}, not {tag:02X}")


def put_tag(stream: Sink, tag: int | None) -> None:
    if tag is not None:
        stream.write(bytes([tag]))


def require_end(stream: Source, path: str) -> None:
    at = stream.tell()
    if at != stream.end:
        problem = f"has {stream.end - at} octet(s) too many"
        name = f"{path}.end" if path else "end"
        raise stream.notes.refusal(name, stream.base + at, problem)


def member_of(members: type[Any]) -> Callable[[int], Any]:
    """A decoder for a number that must be one of an enumeration."""

    def decode(value: int) -> Any:
        try:
            return members(value)
        except ValueError:
            known = ", ".join(str(int(member)) for member in members)
            raise ValidationError(f"is {value}, not one of {known}") from None

    return decode


# -- definitions -------------------------------------------------------------------------------


class Reading(NamedTuple, Generic[T]):
    """What was read, where each of its fields stands, and the form of its lengths."""

    value: T
    spans: tuple[Span, ...]
    lengths: Lengths


class Definition(Generic[T]):
    """One payload of GBCS: what it is called, what is made of it, how it is laid out."""

    def __init__(self, thing: str, kinds: type[T] | tuple[type[T], ...], piece: Any) -> None:
        self.thing = thing
        self.kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        self._piece = piece

    def read(self, octets: bytes, base: int = 0) -> Reading[T]:
        """Read all octets. `base` is where they stand in the frame, so that spans and refusals
        name the offset there. Raises GbcsError."""
        notes = Notes(self.thing)
        source = Source(octets, base, notes)
        try:
            value = self._piece._parse(source, None, "")
        except ConstructError as error:
            raise notes.refusal("", base, problem_of(error, octets)) from None
        require_end(source, "")
        return Reading(value, tuple(notes.spans), notes.lengths)

    def parse(self, octets: bytes, base: int = 0) -> T:
        return self.read(octets, base).value

    def build(self, value: T, lengths: Sequence[int] = ()) -> bytes:
        """Build; without `lengths` every length has its shortest form."""
        forms = iter(lengths)
        sink = Sink(forms)
        try:
            self._piece._build(value, sink, None, "")
        except ConstructError as error:
            raise GbcsValueError(f"{self.thing} cannot be built: {error}") from None
        if next(forms, None) is not None:
            raise GbcsValueError(f"{self.thing} has fewer lengths than are given")
        return sink.getvalue()
