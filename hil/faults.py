"""A fault: a deviation from a kind world, as data, in words that mean the same everywhere.

Source: DESIGN, "Eight nouns" (Fault). The words, in a bench file and after `--fault` alike; the
keys of a `[[fault]]` table stand beside their clause, and `kind` is its first words:

    a fault of the air            loss 10 %                  loss of acknowledgements 30 %
                                  bursty loss 20 % of 50 frames                    burst_frames
                                  damage 1 %                 duplicate 5 % by 20 ms       by_ms
                                  delay 5 % by 20 ms         interference on channel 15 channel
                                  radio off on bridge-1
    of a stick's serial line      bad CRC                    lost response
                                  lost host DATA             lost host ACK
                                  NAK                        dead UART
                                  ERROR frame with code 0x51 unsolicited RSTACK            code
                                  no answer                  invalidCommand
                                  XOFF before a frame        XOFF inside a frame
                                  CANCEL before a frame      repeated FLAGs
                                  SUBSTITUTE inside a frame  garbage before a frame
                                  truncated payload          closed line
                                  power cut
    of a hub or a device          power loss at 100 s on hub
                                  power loss before a write at the 5th write on bridge-1
                                  power loss inside a write  power loss after a write
                                  low battery on bridge-1
    where                         on hub: at this node, either way                           on
                                  from hub to bridge-1: one way, on the air only       from, to
    which frames of a line        10 %: each with this chance                           percent
                                  at sendUnicast: those of this name                      frame
                                  at the 5th frame, at the 2nd sendUnicast: one only     number
    which write of a product      at the 5th write of its memory, since the run began    number
    when, since the run began     from 10 s for 5 s: only meanwhile         start_s, duration_s
                                  at 10 s: by itself, once                                 at_s

Clauses follow the kind in any order. What says neither where, which nor when is everywhere, always.
A dead UART and a power cut begin at a frame or a time and last `for 5 s`, or for good. A power loss
takes a hub or a device and its stick away for 30 s, or `for 5 s`; they start from what they stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from hil.errors import RequestError

FIRST_CHANNEL, LAST_CHANNEL = 11, 26
MAX_MS = 60_000
DEFAULT_BURST_FRAMES = 8

_LINK = {"percent", "on", "sender", "listener", "start_s", "duration_s"}
_LINE = {"percent", "on", "frame", "number", "start_s", "duration_s"}
_PERCENT = frozenset({"percent"})
_EVENT = _LINE | {"at_s", "code"}
_OUTAGE = (_LINE | {"at_s"}) - {"start_s"}


Subject = Literal["air", "line", "product"]


class _Kind(NamedTuple):
    takes: set[str]
    needs: frozenset[str] = frozenset()
    subject: Subject = "line"


_AIR = {
    "loss": _Kind(_LINK, _PERCENT, "air"),
    "loss of acknowledgements": _Kind(_LINK, _PERCENT, "air"),
    "bursty loss": _Kind(_LINK | {"burst_frames"}, _PERCENT, "air"),
    "damage": _Kind(_LINK, _PERCENT, "air"),
    "duplicate": _Kind(_LINK | {"by_ms"}, _PERCENT, "air"),
    "delay": _Kind(_LINK | {"by_ms"}, frozenset({"percent", "by_ms"}), "air"),
    "interference": _Kind({"channel", "start_s", "duration_s"}, frozenset(), "air"),
    "radio off": _Kind({"on", "start_s", "duration_s"}, frozenset({"on"}), "air"),
}
_OF_A_LINE = {
    "bad CRC": _Kind(_LINE),
    "lost response": _Kind(_LINE),
    "lost host DATA": _Kind(_LINE),
    "lost host ACK": _Kind(_LINE - {"frame"}),
    "NAK": _Kind(_LINE),
    "dead UART": _Kind(_OUTAGE),
    "ERROR frame": _Kind(_EVENT),
    "unsolicited RSTACK": _Kind(_EVENT),
    "no answer": _Kind(_LINE),
    "invalidCommand": _Kind(_LINE),
    "XOFF before a frame": _Kind(_LINE),
    "XOFF inside a frame": _Kind(_LINE),
    "CANCEL before a frame": _Kind(_LINE),
    "repeated FLAGs": _Kind(_LINE),
    "SUBSTITUTE inside a frame": _Kind(_LINE),
    "garbage before a frame": _Kind(_LINE),
    "truncated payload": _Kind(_LINE),
    "closed line": _Kind(_EVENT - {"code"}),
    "power cut": _Kind(_OUTAGE),
}
_WRITE = _Kind({"on", "number", "duration_s"}, frozenset({"on", "number"}), "product")
_OF_A_PRODUCT = {
    "power loss": _Kind({"on", "at_s", "duration_s"}, frozenset({"on", "at_s"}), "product"),
    "power loss before a write": _WRITE,
    "power loss inside a write": _WRITE,
    "power loss after a write": _WRITE,
    "low battery": _Kind({"on", "start_s", "duration_s"}, frozenset({"on"}), "product"),
}
KINDS = _AIR | _OF_A_LINE | _OF_A_PRODUCT

# How a field is called, its least and its largest value.
_CLAUSES: dict[str, tuple[str, float, float]] = {
    "percent": ("percentage (10 %)", 0, 100),
    "on": ("node (on NAME)", 0, 0),
    "sender": ("direction (from NAME to NAME)", 0, 0),
    "listener": ("direction (from NAME to NAME)", 0, 0),
    "frame": ("frame name (at NAME)", 0, 0),
    "number": ("number", 1, 999_999_999),
    "start_s": ("beginning (from 10 s)", 0, 999_999_999),
    "duration_s": ("duration (for 5 s)", 0.000_001, 999_999_999),
    "at_s": ("moment (at 10 s)", 0, 999_999_999),
    "by_ms": ("time (by 20 ms)", 1, MAX_MS),
    "burst_frames": ("burst length (of 50 frames)", 1, 1_000_000),
    "channel": ("channel (on channel 15)", FIRST_CHANNEL, LAST_CHANNEL),
    "code": ("code (with code 0x51)", 0, 0xFF),
}
# What is counted where it is told which one.
_COUNTED: dict[Subject, str] = {"air": "frame", "line": "frame", "product": "write"}
_NAMES = ("on", "sender", "listener", "frame")
_WHOLE = ("number", "channel", "code")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FRAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,12})?")
_QUANTITY = re.compile(rf"({_NUMBER.pattern})(%|ms|s)?")
_ORDINAL = re.compile(r"(\d{1,9})(?:st|nd|rd|th)")
_CODE = re.compile(r"0[xX][0-9A-Fa-f]{1,2}|\d{1,3}")


class FaultError(RequestError, ValueError):
    """The words name no fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of words; None is what they do not say. `number` counts from 1."""

    kind: str
    percent: float | None = None
    on: str | None = None
    sender: str | None = None
    listener: str | None = None
    frame: str | None = None
    number: int | None = None
    start_s: float | None = None
    duration_s: float | None = None
    at_s: float | None = None
    by_ms: float | None = None
    burst_frames: float | None = None
    channel: int | None = None
    code: int | None = None

    def __post_init__(self) -> None:
        kind = KINDS.get(self.kind)
        if kind is None:
            raise FaultError(f"{_short(self.kind)} is no kind of fault: {_suggest(self.kind)}")
        for field in fields(self)[1:]:
            self._check(field.name, getattr(self, field.name), kind)
        if (self.sender is None) is not (self.listener is None):
            raise self._wrong("goes one way from somebody to somebody: both have names")
        self._exclude("on", "sender")
        for other in ("percent", "frame", "number", "start_s"):
            self._exclude("at_s", other)
        self._exclude("number", "percent")
        if {"start_s", "at_s"} <= kind.takes:  # else it begins at a moment and lasts
            self._exclude("at_s", "duration_s")
        if self.kind == "bursty loss":
            self._check_bursts()

    def _check(self, name: str, value: Any, kind: _Kind) -> None:
        _, least, most = _CLAUSES[name]
        called = self._called(name)
        if value is None:
            if name in kind.needs:
                raise self._wrong(f"needs a {called}")
            return
        if name not in kind.takes:
            raise self._wrong(f"takes no {called}")
        if name in _NAMES:
            if not (_FRAME if name == "frame" else _NAME).fullmatch(value):
                raise self._wrong(f"is at {_short(value)}, which is no name")
            return
        if not least <= value <= most:
            unit = {"percent": " %", "by_ms": " ms"}.get(name, "")
            raise self._wrong(
                f"of {value:.12g}{unit} cannot be: it is {least:.12g} to {most:.12g}{unit}"
            )
        if (name in _WHOLE and value != int(value)) or not _NUMBER.fullmatch(_text(value)):
            raise self._wrong(f"has a {called} with too many digits: {value}")

    def _exclude(self, one: str, other: str) -> None:
        if getattr(self, one) is not None and getattr(self, other) is not None:
            raise self._wrong(f"has both a {self._called(one)} and a {self._called(other)}")

    def _called(self, name: str) -> str:
        """What a clause is called."""
        if name != "number":
            return _CLAUSES[name][0]
        counted = _COUNTED[self.subject]
        return f"{counted} number (at the 5th {counted})"

    def _check_bursts(self) -> None:
        assert self.percent is not None
        burst = DEFAULT_BURST_FRAMES if self.burst_frames is None else self.burst_frames
        if self.percent < 100 and self.percent > burst * (100 - self.percent):
            raise self._wrong(f"of {self.percent:g} % needs longer bursts than of {burst:g} frames")

    def _wrong(self, what: str) -> FaultError:
        return FaultError(f"{self.kind!r} {what}")

    @property
    def subject(self) -> Subject:
        """Whose it is: the air's, a stick's and its serial line's, or a hub's or a device's."""
        return KINDS[self.kind].subject

    @property
    def places(self) -> tuple[str, ...]:
        """The nodes it names."""
        return tuple(name for name in (self.on, self.sender, self.listener) if name is not None)

    def __str__(self) -> str:
        return " ".join((self.kind, *self._clauses()))

    def _clauses(self) -> Iterator[str]:
        if self.percent is not None:
            yield f"{_text(self.percent)} %"
        if self.burst_frames is not None:
            yield f"of {_text(self.burst_frames)} frames"
        if self.by_ms is not None:
            yield f"by {_text(self.by_ms)} ms"
        if self.code is not None:
            yield f"with code 0x{self.code:02X}"
        if self.number is not None:
            yield f"at the {_ordinal(self.number)} {self.frame or _COUNTED[self.subject]}"
        elif self.frame is not None:
            yield f"at {self.frame}"
        if self.at_s is not None:
            yield f"at {_text(self.at_s)} s"
        if self.on is not None:
            yield f"on {self.on}"
        if self.sender is not None:
            yield f"from {self.sender} to {self.listener}"
        if self.channel is not None:
            yield f"on channel {self.channel}"
        if self.start_s is not None:
            yield f"from {_text(self.start_s)} s"
        if self.duration_s is not None:
            yield f"for {_text(self.duration_s)} s"


def parse_fault(words: str) -> Fault:
    """The fault these words mean. Raises FaultError, which names the word that is wrong."""
    tokens = words.split()
    for count in range(min(len(tokens), _LONGEST_KIND), 0, -1):
        kind = _BY_WORDS.get(" ".join(tokens[:count]).casefold())
        if kind is not None:
            break
    else:
        first = tokens[0] if tokens else ""
        raise FaultError(
            f"{_short(words)} names no fault: {_short(first)} is none; {_suggest(words)}"
        )
    return Fault(kind, **_Clauses(words, kind, tokens, count).read())


_BY_WORDS = {kind.casefold(): kind for kind in KINDS}
_LONGEST_KIND = max(len(kind.split()) for kind in KINDS)


class _Clauses:
    """Reads the clauses after the kind, word by word."""

    def __init__(self, words: str, kind: str, tokens: list[str], at: int) -> None:
        self._words = words
        self._takes = KINDS[kind].takes
        self._counted = _COUNTED[KINDS[kind].subject]
        self._tokens = tokens
        self._at = at
        self._values: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        while self._at < len(self._tokens):
            word = self._next()
            match word:
                case "of":
                    self._set("burst_frames", self._number())
                    self._expect("frames", "frame")
                case "by":
                    self._set("by_ms", self._quantity("ms"))
                case "with":
                    self._expect("code")
                    self._set("code", int(self._match(_CODE, "a code such as 0x51")[0], 0))
                case "at":
                    self._read_at()
                case "on":
                    self._read_on()
                case "from":
                    self._read_from()
                case "for":
                    self._set("duration_s", self._quantity("s"))
                case _:
                    self._at -= 1
                    if not _QUANTITY.fullmatch(word):
                        raise self._unexpected()
                    self._set("percent", self._quantity("%"))
        return self._values

    def _read_at(self) -> None:
        if self._peek() == "the":
            self._next()
            ordinal = self._match(_ORDINAL, "a number such as 5th")
            self._set("number", int(ordinal[1]))
            if self._counted == "write":
                self._expect("write")
                return
            name = self._match(_FRAME, '"frame" or the name of a frame')[0]
            if name != "frame":
                self._set("frame", name)
        elif _QUANTITY.fullmatch(self._peek()):
            self._set("at_s", self._quantity("s"))
        else:
            self._set("frame", self._match(_FRAME, "the name of a frame or a time")[0])

    def _read_on(self) -> None:
        if "channel" in self._takes and self._peek() == "channel":
            self._next()
            self._set("channel", int(self._match(re.compile(r"\d{1,3}"), "a channel")[0]))
        else:
            self._set("on", self._name())

    def _read_from(self) -> None:
        if self._peek(1) == "to":
            self._set("sender", self._name())
            self._next()
            self._set("listener", self._name())
        else:
            self._set("start_s", self._quantity("s"))

    # -- words ---------------------------------------------------------------------------------

    def _peek(self, further: int = 0) -> str:
        at = self._at + further
        return self._tokens[at] if at < len(self._tokens) else ""

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _match(self, pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        found = pattern.fullmatch(self._peek())
        if found is None:
            raise self._unexpected(wanted)
        self._at += 1
        return found

    def _name(self) -> str:
        return self._match(_NAME, "a name")[0]

    def _number(self) -> float:
        return float(self._match(_NUMBER, "a number")[0])

    def _quantity(self, unit: str) -> float:
        found = self._match(_QUANTITY, f"a number of {unit}")
        if found[2] is None:
            self._expect(unit)
        elif found[2] != unit:
            self._at -= 1
            raise self._unexpected(f"a number of {unit}")
        return float(found[1])

    def _expect(self, *words: str) -> None:
        if self._peek() not in words:
            raise self._unexpected(f'"{words[0]}"')
        self._at += 1

    def _set(self, name: str, value: Any) -> None:
        if name in self._values:
            raise FaultError(f"{_short(self._words)} says its {_CLAUSES[name][0]} twice")
        self._values[name] = value

    def _unexpected(self, wanted: str = "") -> FaultError:
        """The next word is not what could come there."""
        word = self._peek()
        what = f"{_short(word)} is not expected" if word else "something is missing"
        after = _short(" ".join(self._tokens[: self._at]))
        hint = f": say {wanted}" if wanted else ""
        return FaultError(f"{_short(self._words)} is no fault: {what} after {after}{hint}")


def _suggest(words: str) -> str:
    tokens = words.casefold().split()
    starts = [" ".join(tokens[:count]) for count in range(1, _LONGEST_KIND + 1)]
    for start in reversed(starts):
        near = get_close_matches(start, _BY_WORDS, 1, 0.75)
        if near:
            return f'perhaps "{_BY_WORDS[near[0]]}" is meant'
    return "say " + ", ".join(f'"{kind}"' for kind in KINDS)


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}" + {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _text(number: float) -> str:
    return format(Decimal(repr(number)), "f").removesuffix(".0")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
