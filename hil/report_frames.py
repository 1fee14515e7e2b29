"""The frames of the air as rows of a report, and those that carry the story, as sentences.

Source: ours; the words of a frame are those of `air_log`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hil.air_log import AGAIN, AirFrame
from hil.figures import moment
from hil.report_rows import printable

MAX_KEY_FRAMES = 200


@dataclass(frozen=True, slots=True)
class FrameRow:
    number: int
    time: str
    octets: int
    source: str
    destination: str
    layer: str
    what: str
    is_regular: bool
    gap: int
    """How many frames between the row above and this one are not shown."""


class KeyFrame(NamedTuple):
    number: int
    time: str
    sentence: str


def frame_rows(frames: Sequence[AirFrame], epoch_us: int) -> list[FrameRow]:
    rows = []
    last = 0
    for frame in frames:
        rows.append(
            FrameRow(
                frame.number,
                moment((frame.time_us - epoch_us) / 1e6),
                frame.octets,
                printable(frame.source),
                printable(frame.destination),
                frame.layer,
                printable(frame.what),
                frame.regular,
                frame.number - last - 1,
            )
        )
        last = frame.number
    return rows


# What a frame says (a pattern of its words), and the sentence for it.
_SENTENCES = [
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (r"Association Request$", "{source} asks to join the network of {destination}"),
        (r"Association Response (?P<x>[0-9A-F]{4})$", "{source} lets {destination} in as {x}"),
        (
            r"Transport Key, the network key for (?P<x>.+)$",
            "{source} hands {destination} the network key, for {x}, under the key that its install "
            "code makes",
        ),
        (r"Device_annce", "{source} announces itself"),
        (r"RequestTunnel (?P<x>.+)$", "{source} asks {destination} for a tunnel: {x}"),
        (r"RequestTunnelResponse (?P<x>.+)$", "{source} answers on the tunnel: {x}"),
        (r"CloseTunnel|TunnelClosureNotification", "{source} closes the tunnel"),
        (r"ImageNotify (?P<x>.+)$", "{source} tells {destination} of an image: {x}"),
        (
            r"QueryNextImageRequest .*version (?P<x>[0-9A-F]{8})",
            "{source} asks for the next image, and runs {x}",
        ),
        (
            r"QueryNextImageResponse SUCCESS .*version (?P<x>[0-9A-F]{8}.*)$",
            "{source} has an image for {destination}: {x}",
        ),
        (
            r"QueryNextImageResponse (?P<x>[A-Z_]+)$",
            "{source} has no image for {destination}: {x}",
        ),
        (r"ImageBlockRequest 0{8} ", "{source} asks for the first block"),
        (r"ImageBlockResponse (?P<x>[A-Z][A-Z_]+.*)$", "{source} gives no block: {x}"),
        (r"UpgradeEndRequest SUCCESS", "{source} has the whole image, and takes it"),
        (r"UpgradeEndRequest (?P<x>[A-Z_]+)", "{source} does not take the image: {x}"),
        (r"UpgradeEndResponse .*, (?P<x>.+)$", "{source} answers: {x}"),
        (r"TransferData .*: (?P<x>.+)$", "{source} sends {destination} through the tunnel: {x}"),
        (r"Leave", "{source} leaves, or sends {destination} away"),
    )
]


def key_frames(frames: Iterable[AirFrame], epoch_us: int) -> tuple[list[KeyFrame], int]:
    """The frames that carry the story, and how many beyond the bound are left out."""
    found: list[KeyFrame] = []
    left_out = 0
    for frame in frames:
        if frame.layer == "NWK" or frame.what.endswith(AGAIN):
            continue
        what = frame.what.split(" (hop ")[0]
        for pattern, sentence in _SENTENCES:
            match = pattern.match(what)
            if match is None:
                continue
            if len(found) >= MAX_KEY_FRAMES:
                left_out += 1
                break
            words = sentence.format(
                source=frame.source or "somebody",
                destination=frame.destination or "all",
                **match.groupdict(),
            )
            at = moment((frame.time_us - epoch_us) / 1e6)
            found.append(KeyFrame(frame.number, at, printable(words)))
            break
    return found, left_out
