"""`air.json`: the frames a report shows, in words, and how the images went across.

Source: ours. It is made from the capture while the keys are at hand, and holds none: so a report
can be made again from the evidence alone, and says of a capture nobody can open what it said first.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hil.air_log import AirFrame, AirKeys, Block, read_air
from hil.air_selection import Selection, select_frames
from hil.errors import BenchBroke, RequestError
from hil.host_capture import CAPTURE as HOST_CAPTURE
from hil.report_transfer import Trace, TransferReader

AIR = "air.json"
CAPTURES = ("air.pcapng", HOST_CAPTURE)
"""What a sniffer or the air itself saw; and what the host of the hub's radio saw."""
RECONSTRUCTED = "reconstructed from what the hosts heard"
"""In every heading over what comes of the second."""
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class AirPart:
    """What the air, or the host of a real radio, has to say in a report."""

    capture: str
    opened: bool
    selection: Selection
    traces: Sequence[Trace] = ()

    @property
    def reconstructed(self) -> bool:
        return self.capture == HOST_CAPTURE


def read_part(
    folder: Path,
    keys: AirKeys | None,
    names: Mapping[int, str],
    *,
    epoch_us: int,
    anomalies_us: Iterable[int],
    wanted: Collection[int],
    keep: bool = True,
) -> AirPart | None:
    """With keys the capture itself, and `air.json` is written where it is to be kept; without them
    what `air.json` says, or else the capture as it is, encrypted. None for a run with neither."""
    capture = next((name for name in CAPTURES if (folder / name).is_file()), None)
    if keys is None and (folder / AIR).is_file():
        return _load(folder / AIR)
    if capture is None:
        return None
    reconstructed = capture == HOST_CAPTURE
    reader = TransferReader(epoch_us, reconstructed=reconstructed)

    def seen(frames: Iterator[AirFrame]) -> Iterator[AirFrame]:
        for frame in frames:
            reader.take(frame)
            yield frame

    frames = read_air(folder / capture, keys, names, reconstructed=reconstructed)
    selection = select_frames(seen(frames), anomalies_us=anomalies_us, wanted=wanted)
    opened = keys is not None or reconstructed
    part = AirPart(capture, opened, selection, reader.traces())
    if keys is not None and keep:
        _store(folder / AIR, part)
    return part


def _store(path: Path, part: AirPart) -> None:
    chosen = part.selection
    document = {
        "schema": SCHEMA,
        "capture": part.capture,
        "total": chosen.total,
        "regular": chosen.regular,
        "left_out": chosen.left_out,
        "problem": chosen.problem,
        "traces": [asdict(trace) for trace in part.traces],
        "frames": [[*frame[:7], frame.regular] for frame in chosen.frames],
    }
    draft = path.with_name(f"{path.name}.part")
    try:
        draft.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise BenchBroke(f"{path} cannot be written: {error.strerror}") from error


def _load(path: Path) -> AirPart:
    try:
        document = json.loads(path.read_bytes())
        return AirPart(
            str(document["capture"]),
            True,
            Selection(
                [_frame(row) for row in document["frames"]],
                int(document["total"]),
                int(document["regular"]),
                int(document["left_out"]),
                document["problem"],
            ),
            [Trace.from_document(trace) for trace in document["traces"]],
        )
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise RequestError(f"{path} is not what a report leaves there: {what}") from None


def _frame(row: Any) -> AirFrame:
    number, time_us, octets, source, destination, layer, what, regular = row
    return AirFrame(
        int(number),
        int(time_us),
        int(octets),
        str(source),
        str(destination),
        str(layer),
        str(what),
        Block(0, 0) if regular else None,
    )
