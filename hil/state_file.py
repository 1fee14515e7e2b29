"""A stick's non-volatile memory as a file: one JSON document, replaced whole and durably.

Source: DESIGN, "Eight nouns" (Radio); rename(2), flock(2). A file has one owner at a time: two
sticks that go on from one document would use the same frame counters twice. The lock lies on the
file itself and moves with every replacement to the new one before that has the name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from emulator.zigbee.state import StackState, StateError
from emulator.zigbee.state_document import MAX_DOCUMENT_CHARACTERS
from hil.errors import BenchBroke, RequestError

_MODE = 0o600  # keys are in it


class StateFile:
    """One stick's file, locked while this is open. `state` is None while there is no file."""

    def __init__(self, path: Path) -> None:
        """Raises RequestError for a file that does not read, BenchBroke for one in use."""
        self.path = path
        self._held = -1
        self.state: StackState | None = None
        try:
            self.path = path.resolve()
            if self._hold():
                self.state = self._read()
        except RequestError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise RequestError(f"{path} cannot be read: {error.strerror}") from None

    def _hold(self) -> bool:
        """Open and lock the file that has the name; False when there is none."""
        while True:
            try:
                held = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            self._lock(held)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(held), self.path.stat()):
                    self._held = held
                    return True
            os.close(held)  # replaced between the two calls

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise BenchBroke(f"{self.path} is another stick's memory at this moment") from None

    def _read(self) -> StackState:
        with open(self._held, "rb", closefd=False) as file:
            octets = file.read(4 * MAX_DOCUMENT_CHARACTERS + 1)
        try:
            return StackState.from_json(octets.decode())
        except UnicodeDecodeError:
            raise RequestError(f"{self.path}: this is no text, so no stick's state") from None
        except StateError as error:
            raise RequestError(f"{self.path}: {error}") from None

    def write(self, text: str) -> None:
        """Replace the document; when this returns it outlives a power cut. Raises OSError."""
        fresh = self.path.with_name(f".{self.path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(fresh, flags, _MODE)
        self._lock(file)
        try:
            os.fchmod(file, _MODE)
            os.ftruncate(file, 0)
            octets = text.encode()
            while octets:
                octets = octets[os.write(file, octets) :]
            os.fsync(file)
            if self._held < 0:
                # A link, not a rename: what appeared under the name meanwhile is somebody's.
                os.link(fresh, self.path)
                fresh.unlink()
            else:
                fresh.rename(self.path)
        except BaseException:
            os.close(file)
            raise
        self.close()
        self._held = file
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Let somebody else have the file."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
