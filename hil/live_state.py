"""What the screen of a run shows, as its events tell it: events in, rows out.

Source: ours; the events are those of schemas/events.schema.json. Nothing is drawn here, and no text
leaves that could move a cursor. What a device does just now is the last of

    doing                 when
    --------------------  ------------------------------------------------------------------
    pre-notified          12.2 is taken
    in the log, joining   8.11 is answered: the hub has it in its device log
    joined as XXXX        it is in the network; "tunnel up" when it has one
    offered               the hub has an image for it
    loading               it asks for blocks
    verifying             it has the last one
    activating            it has told the hub that the transfer is over
    restarted             it runs something, whatever it is
    activation told       N39 is with the supplier
    no power              its power is cut; "power is back" afterwards
    an outcome            nothing more comes of it
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hil.evidence import Event
from hil.faults import FaultError, parse_fault
from hil.live_words import Transfer, device_of, grouped, is_news, number, printable, words_of
from hil.verdict import Clock

HUB = "hub"
MAX_ROWS = 200  # devices and faults; more are no bench
MAX_LINES = 100
_MAX_REQUESTS = 1000
_MAX_ALERTS = 12  # different ones a device
_TOLD = frozenset(
    {"anomaly", "gbcs-discarded", "radio", "action", "outcome", "channel-chosen", "run-ended"}
)
_BAD = frozenset({"anomaly", "gbcs-discarded"})
_ALERT_CODES = {"CS09": "8F8B"}  # of the use cases that have one alone
_HUB_ALERT = re.compile(r"\bhub alert ([0-9A-F]{4})\b")


class Premises(NamedTuple):
    """What is known before the first event."""

    clock: Clock
    bench: str = "the built-in bench"
    seed: int = 0
    folder: str = ""
    faults: Sequence[str] = ()
    versions: Mapping[str, str] = {}  # what each device runs


class FaultRow(NamedTuple):
    """A fault of the bench in its words, and what it has done so far, as far as it is counted."""

    words: str
    struck: str


class Line(NamedTuple):
    """Something that happened."""

    time_s: float
    device_id: str
    words: str
    is_bad: bool


@dataclass(slots=True)
class DeviceRow:
    """One device, the hub included."""

    device_id: str
    kind: str
    doing: str = "not yet on"
    version: str = ""  # runs
    target: str = ""  # is to run
    is_over: bool = False
    is_good: bool = True
    transfer: Transfer = field(default_factory=Transfer)
    alerts: Counter[str] = field(default_factory=Counter)

    def alert(self, code: str) -> None:
        if code in self.alerts or len(self.alerts) < _MAX_ALERTS:
            self.alerts[code] += 1

    @property
    def alert_words(self) -> str:
        """The alerts in the order in which the first of each came."""
        return " ".join(f"{code}x{n}" if n > 1 else code for code, n in self.alerts.items())

    @property
    def version_words(self) -> str:
        """Runs, and is to run or has come to run."""
        return f"{self.version} -> {self.target}".lstrip() if self.target else self.version


class RunState:
    """Everything a screen shows of one run."""

    def __init__(self, premises: Premises, began_s: float) -> None:
        self.clock = premises.clock
        self.bench = printable(premises.bench)
        self.folder = printable(premises.folder)
        self.seed = str(premises.seed)
        self.began_s = began_s  # by the clock of the machine
        self.took_s: float | None = None  # by the same clock, once it is over
        self.time_s = 0.0
        self.network = ""
        self.verdict = ""
        self.slot = ""
        self.devices: dict[str, DeviceRow] = {}
        self.hub = DeviceRow(HUB, HUB, "no network yet")
        self.lines: deque[Line] = deque(maxlen=MAX_LINES)
        self._versions = premises.versions
        self._faults = list(premises.faults)[:MAX_ROWS]
        self._struck: Mapping[str, int] = {}
        self._cuts: Counter[str] = Counter()
        self._requests: dict[str, list[str]] = {}  # whom a request is about

    @property
    def serving(self) -> str:
        """What the hub does for whom."""
        served = [row.device_id for row in self.devices.values() if row.doing == "loading"]
        if served:
            return f"serves {self.slot} to {', '.join(served)}"
        return f"{self.slot} in its slot" if self.slot else self.hub.doing

    @property
    def faults(self) -> list[FaultRow]:
        return [FaultRow(printable(words), self._done_by(words)) for words in self._faults]

    def here_s(self, wall_s: float) -> float:
        """How long it has taken at this time of the machine."""
        return max(0.0, wall_s - self.began_s) if self.took_s is None else self.took_s

    def struck(self, counts: Mapping[str, int]) -> None:
        """How often faults of air and sticks have struck so far, by their words."""
        self._struck = counts

    def _done_by(self, words: str) -> str:
        if words in self._struck:
            return _times("struck", self._struck[words])
        try:
            fault = parse_fault(words)
        except FaultError:
            return ""
        if fault.kind.startswith("power loss"):  # several of one product are counted together
            return _times("power cut", self._cuts[str(fault.on)])
        return ""

    # -- events --------------------------------------------------------------------------------

    def take(self, event: Event, wall_s: float) -> None:
        """One event, at this time of the machine."""
        self.time_s = max(self.time_s, number(event, "time_s"))
        names = _names(event)
        rows = [row for name in names if (row := self._row(name)) is not None]
        match event.get("type"):
            case "run-started":
                self._begin(event)
            case "network-formed":
                pan_id, channel = _text(event, "pan_id"), _text(event, "channel")
                self.network = f"PAN id {pan_id}, channel {channel}"
                self.hub.doing = "its slot is empty"
            case "duis":
                self._on_duis(event, names, rows)
            case "gbcs" if event.get("cra") == "alert":
                for row in rows:
                    use_case = _text(event, "use_case")
                    row.alert(_ALERT_CODES.get(use_case, use_case))
            case "anomaly":
                self._on_anomaly(event, rows)
            case "image-offered":
                self.slot = _text(event, "version")
                for row in rows:
                    row.target, row.is_over = self.slot, False
                    row.doing = f"offered {self.slot}"
            case "transfer-started":
                self.slot = _text(event, "version")
                for row in rows:
                    _on_device(row, event, wall_s)
            case "run-ended":
                self.verdict, self.took_s = _text(event, "verdict"), number(event, "wall_s")
            case _:
                for row in rows:
                    _on_device(row, event, wall_s)
        if self._is_told(event):
            device_id = ", ".join(printable(name) for name in names)
            transfer = rows[0].transfer if rows else Transfer()
            words = words_of(event, transfer, self.clock)
            is_bad = event.get("type") in _BAD or _is_refused(event)
            self.lines.append(Line(number(event, "time_s"), device_id, words, is_bad))

    def _row(self, name: str) -> DeviceRow | None:
        if name == HUB:
            return self.hub
        row = self.devices.get(name)
        if row is None and len(self.devices) < MAX_ROWS:
            version = printable(self._versions.get(name, ""))
            row = self.devices[name] = DeviceRow(printable(name), "", version=version)
        return row

    def _begin(self, event: Event) -> None:
        self.seed = _text(event, "seed")
        faults = event.get("faults")
        if not self._faults and isinstance(faults, list):
            self._faults = [str(words) for words in faults[:MAX_ROWS]]
        devices = event.get("devices")
        for device in devices if isinstance(devices, list) else ():
            if isinstance(device, dict) and (row := self._row(str(device.get("device_id")))):
                row.kind = printable(str(device.get("kind")))

    def _on_duis(self, event: Event, names: list[str], rows: list[DeviceRow]) -> None:
        kind, service, code = event.get("kind"), event.get("service"), _text(event, "code")
        request_id = str(event.get("request_id"))
        if kind == "request":
            if len(self._requests) >= _MAX_REQUESTS:
                del self._requests[next(iter(self._requests))]
            self._requests[request_id] = names
        elif kind == "alert":
            told = _HUB_ALERT.search(_text(event, "detail"))
            for row in rows:
                row.alert(code)
                if told is not None:
                    row.alert(told[1])
                if code == "N39" and not row.is_over:
                    row.doing = "activation told"
        elif kind == "acknowledgement" and service == "12.2" and not _is_refused(event):
            for row in rows:
                row.doing = "pre-notified"
        elif kind == "response" and service == "8.11":
            for name in self._requests.pop(request_id, ()):
                asked = self._row(name)
                if asked is not None and asked.doing in ("pre-notified", "not yet on"):
                    asked.doing = "in the log, joining"

    def _on_anomaly(self, event: Event, rows: list[DeviceRow]) -> None:
        kind, detail = _text(event, "kind"), str(event.get("detail"))
        if kind in ("power cut", "power back") and not rows and detail.startswith("hub: "):
            rows = [self.hub]
        for row in rows:
            match kind:
                case "power cut":
                    self._cuts[row.device_id] += 1
                    row.doing = "no power"
                case "power back":
                    row.doing = "power is back"
                case "device lost" | "device left":
                    row.doing = kind.removeprefix("device ")

    def _is_told(self, event: Event) -> bool:
        kind = event.get("type")
        if kind == "duis":
            return event.get("kind") == "alert" or _is_refused(event)
        return is_news(event) and (
            kind in _TOLD or (kind == "tunnel" and event.get("state") == "refused")
        )


def _on_device(row: DeviceRow, event: Event, wall_s: float) -> None:
    """What an event that only concerns one device makes of it."""
    row.transfer.take(event, wall_s)
    match event.get("type"):
        case "joined":
            row.doing = f"joined as {_text(event, 'node_id')}"
        case "tunnel" if event.get("state") == "open" and row.doing.startswith("joined"):
            row.doing = "joined, tunnel up"
        case "transfer-started":
            row.target = _text(event, "version")
            row.doing = "loading"
        case "progress":
            row.doing = "verifying" if row.transfer.percent >= 100 else "loading"
        case "transfer-done":
            row.doing = "activating"
        case "restarted":
            row.doing = f"restarted, {_text(event, 'version')}"
        case "outcome":
            row.is_over = True
            row.doing = _text(event, "outcome")
            row.is_good = row.doing == "activated"
            row.version = _version(event, "version_before")
            row.target = _version(event, "version_after")


def _names(event: Event) -> list[str]:
    """The devices an event is about."""
    devices = event.get("device_ids")
    if isinstance(devices, list):
        return [str(name) for name in devices[:MAX_ROWS]]
    name = device_of(event)
    return [name] if name else []


def _is_refused(event: Event) -> bool:
    return event.get("kind") == "acknowledgement" and str(event.get("code"))[:1] == "E"


def _text(event: Event, name: str) -> str:
    value = event.get(name)
    return "" if value is None else printable(str(value))


def _version(event: Event, name: str) -> str:
    return _text(event, name) or "unknown"


def _times(what: str, count: int) -> str:
    if count == 0:
        return "not yet"
    return f"{what} once" if count == 1 else f"{what} {grouped(count)} times"
