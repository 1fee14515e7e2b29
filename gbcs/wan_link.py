"""How WAN messages cross a link that may break: numbered, one at a time, until they are taken.

Source: ours, as `gbcs.wan`. Each end numbers what it sends; the other says of each that it took it,
once what follows from it is stored. What was not taken is sent again on the next link, in the same
session with the same number, by which the receiver tells that it has it already.

    octets            frame
    ----------------  -------------------------------------------------
    01, number, rest  a serialised WAN message with its number, 8 octets
    02, number        the message with this number was taken
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gbcs.errors import GbcsError, require_unsigned
from gbcs.wan import MAX_IMAGE_BYTES

THING = "WAN link frame"
# An offer of the largest image to as many devices as it may name.
MAX_LINK_OCTETS = MAX_IMAGE_BYTES + 4096
_HEAD = struct.Struct(">BQ")
_MESSAGE, _TAKEN = 1, 2


@dataclass(frozen=True, slots=True)
class Numbered:
    """A message on its way."""

    number: int
    message: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """The other end has the message with this number."""

    number: int


LinkFrame = Numbered | Taken


def build_link_frame(frame: LinkFrame) -> bytes:
    require_unsigned("number", frame.number, 8)
    match frame:
        case Numbered():
            return _HEAD.pack(_MESSAGE, frame.number) + frame.message
        case Taken():
            return _HEAD.pack(_TAKEN, frame.number)


def parse_link_frame(octets: bytes) -> LinkFrame:
    """Read one frame; what the message in it says is for `gbcs.wan`. Raises GbcsError."""
    if len(octets) < _HEAD.size:
        raise GbcsError(THING, "head", 0, f"is cut off: {len(octets)} octets of {_HEAD.size}")
    kind, number = _HEAD.unpack_from(octets)
    rest = octets[_HEAD.size :]
    if kind == _MESSAGE:
        return Numbered(number, rest)
    if kind != _TAKEN:
        raise GbcsError(THING, "kind", 0, f"is {kind}, not {_MESSAGE} or {_TAKEN}")
    if rest:
        raise GbcsError(THING, "end", _HEAD.size, f"has {len(rest)} octet(s) too many")
    return Taken(number)


class Receiver:
    """One end's memory of what it took, so that nothing is acted on twice in one session."""

    def __init__(self) -> None:
        self._session: str | None = None
        self._last: int | None = None

    def is_new(self, session: str, number: int) -> bool:
        """Whether a message is not the one that was taken last. Call `took` when it was taken."""
        return (session, number) != (self._session, self._last)

    def took(self, session: str, number: int) -> None:
        self._session, self._last = session, number
