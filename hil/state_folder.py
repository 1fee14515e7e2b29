"""What a hub or a device that is a process of its own must not forget: named octets in a folder.

Source: SQLite, "PRAGMA synchronous" (FULL: what was committed outlives a power cut) and "PRAGMA
locking_mode" (EXCLUSIVE: one process at a time). Whose state it is stands in it too: counters that
two devices went on from would be used twice.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import click

from hil.errors import BenchBroke, RequestError

STATE_FILE = "state.sqlite"
_MODE = 0o600  # link keys and counters are in it
_APPLICATION = 0x48414E53
_KIND, _EUI64 = "kind", "eui64"


class StateFolder:
    """The state of one process of this `kind`, locked while this is open.

    Raises RequestError for a folder that is not that, BenchBroke for one in use.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.shown = click.format_filename(folder)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = folder / STATE_FILE
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE))
        except OSError as error:
            raise RequestError(f"{self.shown} cannot hold a state: {error.strerror}") from None
        self._connection = sqlite3.connect(file, timeout=0, isolation_level=None)
        try:
            self._open()
            self._require(kind)
        except sqlite3.OperationalError as error:
            self.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                message = f"{self.shown} is another process's state at this moment"
                raise BenchBroke(message) from None
            raise RequestError(f"{self.shown} cannot be read: {error}") from None
        except sqlite3.DatabaseError:
            self.close()
            raise RequestError(f"{self.shown}: {STATE_FILE} is no state of hanbench") from None
        except RequestError:
            self.close()
            raise

    def _open(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        (application,) = execute("PRAGMA application_id").fetchone()
        (tables,) = execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if application != _APPLICATION and tables:
            raise RequestError(f"{self.shown}: {STATE_FILE} is a database of something else")
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            execute(f"PRAGMA {pragma}").fetchall()
        execute("BEGIN IMMEDIATE")
        execute("CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, octets BLOB NOT NULL)")
        execute(f"PRAGMA application_id = {_APPLICATION}")
        execute("COMMIT")

    def _require(self, kind: str) -> None:
        held = self.read(_KIND)
        if held is None:
            self.write({_KIND: kind.encode()})
        elif held != kind.encode():
            raise RequestError(f"{self.shown} is the state of a {held.decode()}, not of a {kind}")

    def claim(self, eui64: int) -> None:
        """Whose state this is from now on. Raises RequestError when it is another's."""
        held = self.read(_EUI64)
        if held is None:
            self.write({_EUI64: eui64.to_bytes(8, "big")})
        elif held != eui64.to_bytes(8, "big"):
            raise RequestError(
                f"{self.shown} is the state of {held.hex().upper()}, and the radio is "
                f"{eui64:016X}: give that one's radio, or another folder"
            )

    def read(self, name: str) -> bytes | None:
        """The octets of this name, None when there are none."""
        row = self._connection.execute("SELECT octets FROM kept WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def read_all(self, prefix: str) -> list[tuple[str, bytes]]:
        """What is kept under names that begin with this, in the order of the names."""
        rows = self._connection.execute(
            "SELECT name, octets FROM kept WHERE substr(name, 1, ?) = ? ORDER BY name",
            (len(prefix), prefix),
        )
        return [(name, bytes(octets)) for name, octets in rows]

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Keep octets, or with None nothing, under each name: all of it or none, and durably.

        Raises BenchBroke when the folder does not take it.
        """
        if not changes:
            return
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for name, octets in changes.items():
                if octets is None:
                    connection.execute("DELETE FROM kept WHERE name = ?", (name,))
                else:
                    row = name, octets
                    connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", row)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise BenchBroke(f"{self.shown} cannot be written: {error}") from None

    def close(self) -> None:
        """Let another process have the folder."""
        self._connection.close()
