"""Evidence pointers: what a requirement names as its proof, and whether it is there.

Source: DESIGN, "What it promises to the outside" (evidence: frame number, file and offset, event
id; a dangling one is a fail).

    pointer                       names
    ----------------------------  ------------------------------------------
    events.jsonl#12               the event with this id
    air.pcapng#345                the frame with this number, from 1
    duis/0003-11.4-request.xml    the file
    wan/0004-ImageOffer.bin#0x10  the file, from this octet on
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from emulator.medium.pcapng import PcapngError
from hil.evidence import EVENTS
from hil.pcapng_file import count_frames

CAPTURE_SUFFIX = ".pcapng"

# Longer than any number here, shorter than what Python refuses to read.
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19}", re.ASCII)
_COUNTER = re.compile(r"[0-9]{1,19}", re.ASCII)


class Pointer(NamedTuple):
    """A pointer taken apart: the file, and the event id, frame number or offset behind the #."""

    file: str
    at: str | None


def split_pointer(text: str) -> Pointer:
    """The file and what stands behind the last #."""
    file, mark, at = text.rpartition("#")
    return Pointer(file, at) if mark else Pointer(text, None)


class Resolver:
    """Looks pointers up in one evidence folder; what it has counted once it does not count again.

    Made when the evidence is complete: what comes later is not seen.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts: dict[str, int | str] = {}

    def resolve(self, pointer: str) -> str | None:
        """None when what `pointer` names is there, else the sentence why it dangles."""
        file, at = split_pointer(pointer)
        size = self._size(file)
        if isinstance(size, str):
            return f"{pointer}: {size}"
        if at is None:
            return None
        if _is_events(file) or file.endswith(CAPTURE_SUFFIX):
            problem = self._count_problem(file, at)
        else:
            problem = _offset_problem(at, size)
        return None if problem is None else f"{pointer}: {problem}"

    def _size(self, file: str) -> int | str:
        """The octets of a file of the folder, or why it is none."""
        parts = PurePosixPath(file).parts
        if not parts or file.startswith("/") or ".." in parts or "\0" in file:
            return "not the name of a file in the evidence"
        path = self._folder.joinpath(*parts)
        try:
            if not path.is_file() or not path.resolve().is_relative_to(self._folder.resolve()):
                return "the evidence has no such file"
            size = path.stat().st_size
        except OSError as error:
            return f"the file cannot be read: {error.strerror}"
        return size or "the file is empty"

    def _count_problem(self, file: str, at: str) -> str | None:
        if not _COUNTER.fullmatch(at):
            return f"{at!r} is not a number"
        count = self._counts.get(file)
        if count is None:
            count = self._counts[file] = self._count(file)
        if isinstance(count, str):
            return count
        if not 1 <= int(at) <= count:
            return f"there are {count} {'events' if _is_events(file) else 'frames'}, from 1"
        return None

    def _count(self, file: str) -> int | str:
        path = self._folder / file
        try:
            if _is_events(file):
                with path.open("rb") as lines:
                    return sum(line.endswith(b"\n") for line in lines)
            return count_frames(path)
        except PcapngError as error:
            return f"the capture cannot be read: {error}"
        except OSError as error:
            return f"the file cannot be read: {error.strerror}"


def resolve(folder: Path, pointer: str) -> str | None:
    """None when what `pointer` names is there, else the sentence why it dangles."""
    return Resolver(folder).resolve(pointer)


def _is_events(file: str) -> bool:
    """The events of a run, or those of one test of a suite."""
    return PurePosixPath(file).name == EVENTS


def _offset_problem(at: str, size: int) -> str | None:
    if not _NUMBER.fullmatch(at):
        return f"{at!r} is not an offset"
    offset = int(at, 16) if at[:2].lower() == "0x" else int(at)
    return None if offset < size else f"the file has {size} octets"
