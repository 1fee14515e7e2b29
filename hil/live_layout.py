"""Rows of a run as lines of a terminal, so many columns wide and so many lines high.

Source: ours. Columns that do not fit are left out, the least wanted first; what a device's line has
no room for goes into a second one while there is room for lines. Devices that do not fit are
folded into one line, those whose update is over first; what remains is for the last events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from hil.figures import duration
from hil.live_state import DeviceRow, RunState
from hil.live_words import grouped

BAR_COLUMNS = 8
MAX_BAR_COLUMNS = 20
_GAP = " "
_PERCENT_COLUMNS = 6
_WIDTHS = {  # in the order in which they are given room
    "progress": BAR_COLUMNS + _PERCENT_COLUMNS,
    "left": 8,
    "octets/s": 8,
    "blocks/s": 8,
    "left here": 9,
    "version": 20,
    "alerts": 18,
    "kind": 8,
}
_ORDER = (
    *("kind", "doing", "progress", "left", "left here"),
    *("octets/s", "blocks/s", "version", "alerts"),
)
_RIGHT = ("left", "left here", "octets/s", "blocks/s")
_MIN_EVENTS = 3
_MIN_LINES = 8  # below it there are devices alone


def run_lines(state: RunState, wall_s: float, width: int, height: int) -> list[Text]:
    """The whole screen of a run, `height` lines at the most."""
    head = head_lines(state, wall_s, width)
    foot = [fitted(foot_words(state), width, "dim")]
    if height < _MIN_LINES:
        head, foot = head[:1], []
    room = height - len(head) - len(foot)
    if room < 1:
        return head[: max(height, 0)]
    return [*head, *body_lines(state, width, room), *foot]


def head_lines(state: RunState, wall_s: float, width: int) -> list[Text]:
    """Which bench, which seed, which time it is, which network."""
    here = duration(state.here_s(wall_s))
    times = f"{duration(state.time_s)} virtual, {here} here"
    if state.clock == "real":
        times = f"{here}, real time"
    name = f"hanbench  {state.bench}, seed {state.seed}"
    network = state.network or "no network yet"
    if state.verdict:
        network += f", {state.verdict.upper()}"
    if cell_len(name) + 2 + cell_len(times) <= width:
        first, rest = spread(name, times, width), [network]
    else:
        first, rest = fitted(name, width), [network, times]
    first.stylize("bold")
    return [first, *(fitted(words, width) for words in rest)]


def foot_words(state: RunState) -> str:
    where = f", evidence in {state.folder}" if state.folder else ""
    return f"{'ended' if state.verdict else 'Ctrl-C stops'}{where}"


def body_lines(state: RunState, width: int, room: int) -> list[Text]:
    """Devices, faults and the last events, in exactly so many lines or fewer."""
    faults = _fault_lines(state, width, max(1, room // 4)) if room >= 8 else []
    events = min(_MIN_EVENTS + 1, len(state.lines) + 1) if room - len(faults) >= 10 else 0
    lines = device_lines(state, width, room - len(faults) - events)
    lines += faults
    left = room - len(lines)
    if left >= 2 and state.lines:
        lines.append(title("last events", width))
        for line in list(state.lines)[1 - left :]:
            words = f"{duration(line.time_s):>8}  {line.device_id or 'run':<10} {line.words}"
            lines.append(fitted(words, width, "yellow" if line.is_bad else ""))
    return lines


def device_lines(state: RunState, width: int, room: int) -> list[Text]:
    """The hub and every device; what does not fit in `room` lines is folded into one of them."""
    rows = list(state.devices.values())
    names = max([10, *(cell_len(row.device_id) for row in rows)])
    names = min(names, max(10, width // 6))
    unwanted = {"left here"} if state.clock == "real" else set()
    if all(row.kind == row.device_id for row in rows):
        unwanted.add("kind")
    columns = _columns(width, names, unwanted)
    hub_words = ", ".join(part for part in (state.serving, state.hub.alert_words) if part)
    lines = [_header(columns, names, width)] if room > len(rows) + 1 else []
    lines.append(fitted(f"{set_cell_size('hub', names)} {hub_words}", width))
    room -= len(lines)
    rest = [name for name in ("kind", "version", "alerts") if name not in columns]
    in_two = bool(rest) and 2 * len(rows) <= room
    shown, folded = _fold(rows, room)
    for row in shown:
        lines.append(_device_line(row, columns, names, width))
        if in_two:
            cells = _cells(row)
            words = "  ".join(cells[name] for name in rest if cells[name])
            if words:
                lines.append(fitted(f"{' ' * names} {words}", width, "dim"))
    if folded and room > 0:
        counts = Counter(row.doing if row.is_over else "not over" for row in folded)
        words = ", ".join(f"{count} {doing}" for doing, count in counts.items())
        lines.append(fitted(f"and {len(folded)} more: {words}", width, "dim"))
    return lines


def fitted(words: str, width: int, style: str = "") -> Text:
    """One line that is no wider than the terminal."""
    if cell_len(words) > width:
        words = set_cell_size(words, max(0, width - 1)) + "…" if width > 0 else ""
    return Text(words, style, no_wrap=True, end="")


def bar(percent: int, columns: int = BAR_COLUMNS) -> str:
    """How much of it, in whole columns: the last one is filled when all of it is there."""
    full = columns * max(0, min(percent, 100)) // 100
    return "━" * full + "─" * (columns - full)


def _fold(rows: Sequence[DeviceRow], room: int) -> tuple[list[DeviceRow], list[DeviceRow]]:
    if len(rows) <= room:
        return list(rows), []
    wanted = sorted(rows, key=lambda row: row.is_over)[: max(0, room - 1)]
    names = {row.device_id for row in wanted}
    shown = [row for row in rows if row.device_id in names]
    return shown, [row for row in rows if row.device_id not in names]


def _columns(width: int, names: int, unwanted: Container[str] = ()) -> dict[str, int]:
    """Which columns there are, and how wide."""
    doing = 20 if width >= 60 else 12
    left = width - names - 1 - doing
    found = {"doing": doing}
    for name, columns in _WIDTHS.items():
        if name in unwanted:
            continue
        if left < columns + 1:
            break
        found[name] = columns
        left -= columns + 1
    found["doing"] += (more := min(left, 8))
    if "progress" in found:
        found["progress"] += min(left - more, MAX_BAR_COLUMNS - BAR_COLUMNS)
    return {name: found[name] for name in _ORDER if name in found}


def _header(columns: dict[str, int], names: int, width: int) -> Text:
    cells = [set_cell_size("device", names)]
    for name, size in columns.items():
        cells.append(name.rjust(size) if name in _RIGHT else name.ljust(size))
    return fitted(_GAP.join(cells).rstrip(), width, "dim")


def _cells(row: DeviceRow, bar_columns: int = BAR_COLUMNS) -> dict[str, str]:
    cells = {
        "kind": row.kind if row.kind != row.device_id else "",
        "doing": row.doing,
        "version": row.version_words,
        "alerts": row.alert_words,
        **dict.fromkeys(("progress", *_RIGHT), ""),
    }
    transfer = row.transfer
    if transfer.size_bytes:
        cells["progress"] = f"{bar(transfer.percent, bar_columns)}{transfer.percent:>4} %"
    rates = transfer.rates() if row.doing == "loading" else None
    if rates is not None:
        cells["octets/s"] = grouped(rates.octets)
        cells["blocks/s"] = f"{rates.blocks:.1f}"
        cells["left"] = duration(rates.left_s)
        cells["left here"] = duration(rates.left_here_s)
    return cells


def _device_line(row: DeviceRow, columns: dict[str, int], names: int, width: int) -> Text:
    cells = _cells(row, columns.get("progress", 0) - _PERCENT_COLUMNS)
    words = [set_cell_size(row.device_id, names)]
    for name, size in columns.items():
        text = cells[name]
        words.append(text.rjust(size) if name in _RIGHT else set_cell_size(text, size))
    style = "" if not row.is_over else "green" if row.is_good else "red"
    return fitted(_GAP.join(words).rstrip(), width, style)


def _fault_lines(state: RunState, width: int, most: int) -> list[Text]:
    faults = state.faults
    if not faults:
        return []
    lines = [title("faults", width)]
    shown = faults if len(faults) <= most else faults[: most - 1]
    lines += [spread(f"  {fault.words}", fault.struck, width) for fault in shown]
    if len(shown) < len(faults):
        lines.append(fitted(f"  and {len(faults) - len(shown)} more", width))
    return lines


def title(words: str, width: int) -> Text:
    return fitted(f"── {words} ".ljust(width, "─"), width, "dim")


def spread(left: str, right: str, width: int) -> Text:
    """Two texts at the two edges; the left one gives way."""
    room = width - cell_len(right) - 2
    if room < 10:
        return fitted(left, width)
    first = fitted(left, room)
    return Text(set_cell_size(first.plain, room) + "  " + right, no_wrap=True, end="")
