"""A transfer's pace, and what an event says in one line.

Source: DESIGN, "What it promises to the outside" (long jobs show progress).

Percent, rate and time left are those of the octets the hub has served, in the time of the run's
clock, which is named beside them; nothing is smoothed to look better, and a bar that is full only
says that the transfer is over: the outcome is a word of its own.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from hil import figures
from hil.evidence import Event
from hil.figures import duration
from hil.verdict import Clock

_WINDOW = 11  # samples, one a percent: rates are those of the last tenth of an image

_MAX_NUMBER = 1e12

# In the evidence, and no news to who watches: their outcome is told.
_UNSHOWN = frozenset({"wan", "gbcs"})


def is_news(event: Event) -> bool:
    """Whether who watches is told of it."""
    return event.get("type") not in _UNSHOWN and event.get("kind") != "request"


class _Sample(NamedTuple):
    time_s: float
    wall_s: float
    offset_bytes: int
    blocks: int


class Rates(NamedTuple):
    """Octets and blocks a second of the run's clock, and what is left by it and by ours."""

    octets: float
    blocks: float
    left_s: float
    left_here_s: float


class Transfer:
    """One device's transfer as its progress events tell it."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.offset_bytes = 0
        self._samples: deque[_Sample] = deque(maxlen=_WINDOW)

    @property
    def percent(self) -> int:
        """Whole percents that have arrived: 100 is all of it, and not before."""
        return 100 * self.offset_bytes // self.size_bytes if self.size_bytes else 0

    def start(self, size_bytes: int, time_s: float, wall_s: float) -> None:
        self._samples.clear()
        self.move(0, size_bytes, 0, time_s, wall_s)

    def take(self, event: Event, wall_s: float) -> None:
        """One event of the transfer: where it begins, how far it is, that it is done."""
        time_s = number(event, "time_s")
        size = int(number(event, "size_bytes"))
        match event.get("type"):
            case "transfer-started":
                self.start(size, time_s, wall_s)
            case "progress" | "transfer-done" as kind:
                offset = int(number(event, "offset_bytes" if kind == "progress" else "bytes"))
                blocks = int(number(event, "blocks"))
                self.move(offset, size or self.size_bytes, blocks, time_s, wall_s)

    def move(
        self, offset_bytes: int, size_bytes: int, blocks: int, time_s: float, wall_s: float
    ) -> None:
        if self._samples and offset_bytes < self._samples[-1].offset_bytes:
            self._samples.clear()  # begun anew: what was before says nothing of what comes
        self.offset_bytes, self.size_bytes = offset_bytes, size_bytes
        self._samples.append(_Sample(time_s, wall_s, offset_bytes, blocks))

    def rates(self) -> Rates | None:
        """None as long as there is nothing to tell them from."""
        if len(self._samples) < 2:
            return None
        first, last = self._samples[0], self._samples[-1]
        took_s, octets = last.time_s - first.time_s, last.offset_bytes - first.offset_bytes
        if took_s <= 0 or octets <= 0:
            return None
        left = self.size_bytes - self.offset_bytes
        return Rates(
            octets / took_s,
            (last.blocks - first.blocks) / took_s,
            left * took_s / octets,
            left * (last.wall_s - first.wall_s) / octets,
        )

    def pace(self, clock: Clock) -> str:
        """Rate and time left, in words; empty as long as there are none."""
        rates = self.rates()
        if rates is None:
            return ""
        words = f"{grouped(rates.octets)} octets/s, {rates.blocks:.1f} blocks/s"
        if rates.left_s:
            words += f", {duration(rates.left_s)} left"
        words += f" ({clock}"
        if rates.left_s and clock == "virtual":
            words += f", {duration(rates.left_here_s)} here"
        return words + ")"


def device_of(event: Event) -> str:
    """The device an event is about, or the several."""
    devices = event.get("device_ids")
    if isinstance(devices, list):
        return ", ".join(map(str, devices))
    return str(event.get("device_id") or "")


def words_of(event: Event, transfer: Transfer, clock: Clock) -> str:
    """What an event says, in one line that no device can break with what it sends."""
    text = {
        name: "unknown" if value is None else printable(str(value)) for name, value in event.items()
    }
    detail = f": {text['detail']}" if text.get("detail") else ""
    match text.get("type"):
        case "run-started":
            return f"started, seed {text.get('seed')}, {clock} time"
        case "radio":
            return f"radio {text.get('url')}{detail}"
        case "channel-chosen":
            return f"channel {text.get('channel')} is the quietest of those allowed"
        case "network-formed":
            return f"network formed, PAN id {text.get('pan_id')}, channel {text.get('channel')}"
        case "joined":
            return f"joined as {text.get('node_id')}"
        case "tunnel":
            return f"tunnel {text.get('state')}{detail}"
        case "duis":
            return _duis_words(text, detail)
        case "gbcs-discarded":
            return f"{text.get('where')} discards a frame, {text.get('reason')}{detail}"
        case "image-offered":
            return f"image {text.get('version')} offered"
        case "transfer-started":
            return f"asks for image {text.get('version')}"
        case "progress":
            octets = f"{grouped(transfer.offset_bytes)} of {grouped(transfer.size_bytes)} octets"
            share = f"{transfer.percent} %, {octets}"
            return ", ".join(part for part in (share, transfer.pace(clock)) if part)
        case "transfer-done":
            octets = grouped(transfer.offset_bytes)
            return f"{octets} octets transferred in {text.get('blocks')} blocks, not active yet"
        case "restarted":
            return f"restarted, runs {text.get('version')}"
        case "outcome":
            before, after = text.get("version_before"), text.get("version_after")
            return f"{text.get('outcome')}, {before} -> {after}{detail}"
        case "anomaly":
            return f"anomaly, {text.get('kind')}{detail}"
        case "step":
            return f"step {text.get('number')} {text.get('outcome')}: {text.get('text')}{detail}"
        case "action":
            return f"{text.get('what')}: {text.get('answer')}"
        case "run-ended":
            took_s = duration(number(event, "virtual_s"))
            here_s = duration(number(event, "wall_s"))
            return f"{text.get('verdict')}, after {took_s} of {clock} time, {here_s} here{detail}"
        case kind:
            return f"{kind}{detail}"


def _duis_words(text: dict[str, str], detail: str) -> str:
    """One DUIS message: what was asked and answered, or what the DCC says."""
    code = text.get("code", "")
    match text.get("kind"):
        case "acknowledgement":
            return (
                f"{text.get('service')} {'refused' if code[:1] == 'E' else 'taken'}, {code}{detail}"
            )
        case "response":
            return f"{text.get('service')} answered, {code}{detail}"
        case _:
            return f"alert {code}{detail}"


def number(event: Event, name: str) -> float:
    """What an event counts; 0 for what is no number, or none that anything could count."""
    value = event.get(name)
    return value if isinstance(value, int | float) and abs(value) < _MAX_NUMBER else 0


def printable(text: str) -> str:
    """A text with nothing in it that moves a cursor or turns a line."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def grouped(number: float) -> str:
    """With a gap that every terminal and every grep knows."""
    return figures.grouped(number, " ")
