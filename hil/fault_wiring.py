"""From faults in words to an air and sticks that have them.

Source: DESIGN, "Eight nouns" (Fault). Calling `apply_faults` again replaces what was there, so that
faults can be switched on and off in a running air.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf

from emulator.devices.mains import Fall
from emulator.devices.nonvolatile import Cut, CutMode
from emulator.medium.air import Medium
from emulator.medium.faults import (
    DEFAULT_REPEAT_US,
    AckLoss,
    AirFault,
    BurstLoss,
    Damage,
    Delay,
    Duplicate,
    Interference,
    LinkFault,
    Loss,
    RadioOff,
)
from emulator.ncp.ezsp_tables import Tables
from emulator.ncp.line_faults import LineFault, LineFaultKind
from emulator.ncp.ncp import Ncp
from hil.faults import DEFAULT_BURST_FRAMES, KINDS, Fault, FaultError

POWER_OFF_S = 30.0
_WRITES = {
    "power loss before a write": CutMode.BEFORE,
    "power loss inside a write": CutMode.TORN,
    "power loss after a write": CutMode.AFTER,
}
_LINKS: dict[str, type[LinkFault]] = {
    "loss": Loss,
    "loss of acknowledgements": AckLoss,
    "bursty loss": BurstLoss,
    "damage": Damage,
    "duplicate": Duplicate,
    "delay": Delay,
}


def apply_faults(faults: Iterable[Fault], medium: Medium, sticks: Mapping[str, Ncp]) -> None:
    """Let `faults`, and no others, hold on this air and on these sticks, by their names.

    Raises FaultError for one that names what is not there; then nothing has changed.
    """
    faults = tuple(faults)
    require_of_sticks(faults)
    for version in {stick.ezsp_version for stick in sticks.values()}:
        require_frames(faults, version)
    require_places(faults, sticks)
    medium.set_faults(tuple(air_fault(fault) for fault in faults if fault.subject == "air"))
    of_lines = [fault for fault in faults if fault.subject == "line"]
    for name, stick in sticks.items():
        here = [fault for fault in of_lines if fault.on in (None, name)]
        stick.set_faults(tuple(map(line_fault, here)))


def struck(faults: Iterable[Fault], medium: Medium, sticks: Mapping[str, Ncp]) -> dict[str, int]:
    """How often each fault of air and sticks has struck so far, by its words."""
    counts = {}
    for fault in faults:
        if fault.subject == "air":
            counts[str(fault)] = medium.struck[str(fault)]
        elif fault.subject == "line":
            one = line_fault(fault)
            here = [stick.line_faults for name, stick in sticks.items() if fault.on in (None, name)]
            counts[str(fault)] = sum(line.struck[one] for line in here if line is not None)
    return counts


def require_of_sticks(faults: Iterable[Fault]) -> None:
    """Raises FaultError for a fault of more than the air and its sticks."""
    for fault in faults:
        if fault.subject == "product":
            raise FaultError(f"'{fault}' is of a hub or a device, and here are sticks alone")


def require_places(faults: Iterable[Fault], names: Collection[str]) -> None:
    """Raises FaultError for a fault on somebody who is not among `names`."""
    for fault in faults:
        if not set(fault.places) <= set(names):
            raise FaultError(f"'{fault}' is on nothing here: there is {', '.join(names)}")


def require_frames(faults: Iterable[Fault], ezsp_version: int) -> None:
    """Raises FaultError for a fault that names a frame which this version of EZSP has not."""
    named = [fault for fault in faults if fault.frame is not None]
    known = Tables(ezsp_version).by_name if named else {}
    for fault in named:
        if fault.frame not in known:
            raise FaultError(f"'{fault}' is at no frame that EZSP {ezsp_version} has")


def air_fault(fault: Fault) -> AirFault:
    """A fault of the air as the medium takes it."""
    start_us, end_us, words = _us(fault.start_s), _end_us(fault), str(fault)
    if fault.kind == "interference":
        return Interference(fault.channel, start_us, end_us, words)
    if fault.kind == "radio off":
        assert fault.on is not None
        return RadioOff(fault.on, start_us, end_us, words)
    assert fault.percent is not None
    options: dict[str, float] = {}
    if fault.kind == "bursty loss":
        options["burst_frames"] = fault.burst_frames or DEFAULT_BURST_FRAMES
    if fault.kind in ("duplicate", "delay"):
        by_ms = fault.by_ms
        options["by_us"] = DEFAULT_REPEAT_US if by_ms is None else round(by_ms * 1000)
    return _LINKS[fault.kind](
        fault.percent / 100,
        fault.on,
        sender=fault.sender,
        listener=fault.listener,
        start_us=start_us,
        end_us=end_us,
        words=words,
        **options,
    )


def line_fault(fault: Fault) -> LineFault:
    """A fault of a serial line as a stick takes it."""
    has_window = "start_s" in KINDS[fault.kind].takes  # else it begins at a moment and lasts
    lasts_us = None if has_window or fault.duration_s is None else _us(fault.duration_s)
    return LineFault(
        LineFaultKind(fault.kind),
        probability=None if fault.percent is None else fault.percent / 100,
        frame=fault.frame,
        number=fault.number,
        start_us=_us(fault.start_s),
        end_us=_end_us(fault) if has_window else None,
        at_us=None if fault.at_s is None else _us(fault.at_s),
        lasts_us=lasts_us,
        code=fault.code,
    )


def falls(faults: Iterable[Fault], name: str) -> list[Fall]:
    """How often, when and for how long the power of this product goes."""
    found = []
    for fault in faults:
        if fault.on != name or not fault.kind.startswith("power loss"):
            continue
        off_s = POWER_OFF_S if fault.duration_s is None else fault.duration_s
        mode = _WRITES.get(fault.kind)
        if mode is None:
            found.append(Fall(off_s, at_s=fault.at_s))
        else:
            assert fault.number is not None
            found.append(Fall(off_s, Cut(fault.number, mode)))
    return found


def battery_lows(faults: Iterable[Fault], name: str) -> list[tuple[float, float]]:
    """From when until when the battery of this device is low, in seconds of the run."""
    lows = []
    for fault in faults:
        if fault.on == name and fault.kind == "low battery":
            start_s = fault.start_s or 0.0
            lows.append((start_s, inf if fault.duration_s is None else start_s + fault.duration_s))
    return lows


def _us(seconds: float | None) -> int:
    return 0 if seconds is None else round(seconds * 1e6)


def _end_us(fault: Fault) -> int | None:
    """The end of the time in which a fault can strike, None for never."""
    if fault.duration_s is None:
        return None
    return _us((fault.start_s or 0.0) + fault.duration_s)
