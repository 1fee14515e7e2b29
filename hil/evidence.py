"""The evidence folder of one run, written as things happen and never over anything.

Source: DESIGN, "What it promises to the outside" (evidence folder); the form of a line of
`events.jsonl` is pinned by schemas/events.schema.json.

An interrupted run keeps what is there: `verdict.json` alone is missing then, since it is written
last, by rename. Keys are in none of the files but `air.keys`, which exists only when asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, BinaryIO, Self

from hil.errors import BenchBroke, RequestError
from hil.verdict import Verdict

EVENTS = "events.jsonl"
VERDICT = "verdict.json"
KEYS = "air.keys"

Event = Mapping[str, object]
"""At least `type` and `time_s` (loop time); what else, the schema says."""

_BUFFER_BYTES = 64 * 1024


class EvidenceError(ValueError):
    """The caller's event or file name cannot be evidence."""


class Evidence:
    """A new folder and its files. As a context manager it closes them, whatever happened."""

    def __init__(self, folder: Path, *, epoch: datetime) -> None:
        self.folder = folder
        self._epoch = epoch.astimezone(UTC)
        self._files: list[IO[bytes]] = []
        self._last_id = 0
        self._closed = False
        _make(folder)
        self._events = self.open_binary(EVENTS)

    def record(self, event: Event) -> int:
        """Append an event to `events.jsonl`; its id, from 1, which evidence pointers name.

        The other open files are flushed as well, so that the capture is never behind the events.
        """
        self._check_open(EVENTS)
        kind, time_s = event.get("type"), event.get("time_s")
        if not isinstance(kind, str) or not isinstance(time_s, int | float):
            raise EvidenceError(f"an event needs a type and a time_s, not {kind!r} and {time_s!r}")
        utc = self.utc(time_s)
        line = {"id": self._last_id + 1, "time_s": time_s, "utc": utc, **event}
        try:
            text = json.dumps(line, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise EvidenceError(f"event {kind!r} is not JSON: {error}") from None
        with _told(self.folder / EVENTS):
            self._events.write(text.encode() + b"\n")
            for file in self._files:
                if not file.closed:
                    file.flush()
        self._last_id += 1
        return self._last_id

    def utc(self, time_s: float) -> str:
        """Civil time at a loop time: the epoch of the bench file plus that."""
        moment = self._epoch + timedelta(seconds=time_s)
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def open_binary(self, name: str) -> BinaryIO:
        """A new file for what arrives bit by bit; closed with the folder at the latest."""
        path = self._path(name)
        with _told(path):
            file = path.open("xb", buffering=_BUFFER_BYTES)
        self._files.append(file)
        return file

    def write(self, name: str, data: bytes) -> Path:
        """A new file, whole: `wan/0001.bin`, `duis/0001-request.xml`."""
        path = self._path(name)
        with _told(path), path.open("xb") as file:
            file.write(data)
        return path

    def write_keys(self, text: str) -> Path:
        """The keys of the air, for whoever runs this to read alone. Only when asked for."""
        path = self._path(KEYS)
        with _told(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode())
        return path

    def write_verdict(self, verdict: Verdict) -> Path:
        """The last file: when it is there, everything before it is on the disk, and whole."""
        path = self._path(VERDICT)
        self.close()
        draft = path.with_suffix(".json.part")
        with _told(path):
            with draft.open("xb") as file:
                file.write(verdict.to_json().encode())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return path

    def close(self) -> None:
        """Flush and close every file; harmless a second time."""
        self._closed = True
        for file in self._files:
            if not file.closed:
                with _told(Path(file.name)), file:
                    file.flush()
                    os.fsync(file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _path(self, name: str) -> Path:
        self._check_open(name)
        parts = PurePosixPath(name).parts
        if not parts or "\0" in name or name.startswith("/") or ".." in parts:
            raise EvidenceError(f"{name!r} is not the name of a file in an evidence folder")
        path = self.folder.joinpath(*parts)
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _check_open(self, name: str) -> None:
        if self._closed:
            raise EvidenceError(f"{name} comes too late: the evidence in {self.folder} is closed")


def _make(folder: Path) -> None:
    """Create the folder; one that is there must be empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = next(folder.iterdir(), None)
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise RequestError(f"evidence folder {folder} cannot be made: {reason}") from None
    if taken is not None:
        raise RequestError(f"evidence folder {folder} is not empty: empty it, or name another")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A disk that fails breaks the bench; say which file it was."""
    try:
        yield
    except OSError as error:
        raise BenchBroke(f"evidence {path} cannot be written: {error.strerror}") from error
