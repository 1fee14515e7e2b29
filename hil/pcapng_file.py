"""A capture as a file: its frames one after the other, without the file in memory.

Source: ours; the form of the file is `emulator.medium.pcapng`'s. The file is mapped, so a capture
of days takes no more memory than one of seconds.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from emulator.medium.pcapng import read_commented, read_pcapng


def read_capture(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every frame, FCS included: (Unix time in us, PSDU). The first of them is frame 1.

    Raises PcapngError at what is no frame any more, after the frames before it, and OSError.
    """
    with _mapped(path) as octets:
        yield from read_pcapng(octets)


def read_commented_capture(path: Path) -> Iterator[tuple[int, bytes, str]]:
    """The same, and the comment beside each frame: empty for none."""
    with _mapped(path) as octets:
        yield from read_commented(octets)


def count_frames(path: Path) -> int:
    """How many frames a capture has. Raises PcapngError and OSError."""
    return sum(1 for _ in read_capture(path))


@contextmanager
def _mapped(path: Path) -> Iterator[bytes]:
    """The octets of a file; an empty one cannot be mapped, and has none."""
    with path.open("rb") as file:
        if not file.seek(0, 2):
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            # What is read of it is slices and structs, and a map gives both as bytes do.
            yield cast(bytes, mapped)
