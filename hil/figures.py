"""Numbers and durations as a reader of the bench sees them.

Source: ours; the same in every place where people read, never in files that programs read.
"""

from __future__ import annotations

THIN_GAP = "\N{THIN SPACE}"


def grouped(number: float, gap: str = THIN_GAP) -> str:
    """Digits in groups of three, parted by thin gaps: 768 000."""
    digits = f"{number:,}" if isinstance(number, int) else f"{number:,.0f}"  # a rate may be inf
    return digits.replace(",", gap)


def duration(seconds: float) -> str:
    """1.5 s, 4:05, 1:02:03, 7 d 1:02:03."""
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    days, hours, minutes, rest = _split(round(seconds))
    clock = f"{hours}:{minutes:02}" if hours or days else f"{minutes}"
    return (f"{days} d " if days else "") + f"{clock}:{rest:02}"


def moment(seconds: float) -> str:
    """A time of a run down to the millisecond: 0:01.500, 1:02:03.004."""
    millis = round(seconds * 1000)
    days, hours, minutes, rest = _split(millis // 1000)
    hours += 24 * days
    clock = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{clock}:{rest:02}.{millis % 1000:03}"


def _split(seconds: int) -> tuple[int, int, int, int]:
    """Days, hours, minutes and seconds."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return days, hours, minutes, rest
