"""A fault: a deviation from a kind world, as data, in words that mean the same everywhere.

Source: DESIGN, "Eight nouns" (Fault). The words, in a bench file and after `--fault` alike:

    loss N % [on NAME]     each frame is lost with this chance, where any or this radio hears it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from hil.errors import RequestError

FaultKind = Literal["loss"]

WORDS = '"loss N %" or "loss N % on NAME"'
_LOSS = re.compile(r"loss\s+(\d{1,3}(?:\.\d{1,12})?)\s*%(?:\s+on\s+([A-Za-z0-9][A-Za-z0-9-]*))?")


class FaultError(RequestError, ValueError):
    """The words name no fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`percent` is the chance of the loss; `on` names one radio, None means every one."""

    kind: FaultKind
    percent: float
    on: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= 100:
            raise FaultError(f"a loss of {self.percent:g} % cannot be: it is 0 to 100 %")

    @property
    def probability(self) -> float:
        return self.percent / 100

    def __str__(self) -> str:
        number = format(Decimal(repr(self.percent)), "f").removesuffix(".0")
        return f"{self.kind} {number} %" + (f" on {self.on}" if self.on else "")


def parse_fault(words: str) -> Fault:
    """The fault these words mean."""
    text = words.strip()
    if match := _LOSS.fullmatch(text):
        return Fault("loss", float(match[1]), match[2])
    first = text.split(maxsplit=1)[0] if text else ""
    if first != "loss":
        raise FaultError(f"{_short(words)} names no fault: {_short(first)} is none; say {WORDS}")
    raise FaultError(f"{_short(words)} is not how a loss is said; say {WORDS}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
