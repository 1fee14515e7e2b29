"""How numbers and times stand in the columns of the DSP's database.

Source: ours. SQLite's integers are signed, so EUI-64s and counters are text; each form is of one
width, so that text sorts as what it means.
"""

from __future__ import annotations

from datetime import UTC, datetime

_COUNTER_DIGITS = 20  # of 2**64 - 1


def eui64_text(eui64: int) -> str:
    return f"{eui64:016X}"


def eui64_of(text: str) -> int:
    return int(text, 16)


def counter_text(counter: int) -> str:
    return f"{counter:0{_COUNTER_DIGITS}d}"


def time_text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)
