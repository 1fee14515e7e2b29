"""The commands in a user's name that wait for their responses, which go to the user.

Source: GBCS, known remote party: a command is known by device, originator and the originator's
counter; DESIGN, "There and back": durable state is committed before it is acknowledged.

A hub answers for a delivery by a number of 64 bits. The ACB's commands have their counters as such;
two users may have one counter, so that the number of a user's command is that of its row, with a
bit set which no counter of the ACB and no offer has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dsp_stub.broker import Command
from dsp_stub.columns import counter_text, eui64_of, eui64_text, time_of, time_text
from dsp_stub.store import Store
from gbcs.acb import MAX_OUTSTANDING
from gbcs.errors import GbcsValueError

_USER_COMMAND = 1 << 62
_MARKS = 3 << 62
_COLUMNS = (
    "device, counter, request_id, service, subject, deadline, originator, message_code, payload"
)


@dataclass(frozen=True, slots=True)
class UserCommand(Command):
    """A command in the name of `originator`; `payload` is what it asked of the device."""

    originator: int
    message_code: int
    payload: bytes


class UserCommands:
    """Those of one DSP."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def note(self, command: UserCommand) -> int:
        """Keep a command that leaves; the number a hub is to know it by."""
        (waiting,) = self._store.connection.execute("SELECT COUNT(*) FROM user_commands").fetchone()
        if waiting >= MAX_OUTSTANDING:
            raise GbcsValueError(f"{MAX_OUTSTANDING} commands wait for answers already")
        row = self._store.connection.execute(
            f"INSERT INTO user_commands ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                eui64_text(command.device),
                counter_text(command.counter),
                command.request_id,
                command.service,
                eui64_text(command.subject),
                time_text(command.deadline),
                eui64_text(command.originator),
                command.message_code,
                command.payload,
            ),
        )
        assert row.lastrowid is not None
        return row.lastrowid | _USER_COMMAND

    def find(self, device: int, originator: int, counter: int) -> UserCommand | None:
        """The command with these three, if it waits for its response."""
        return self._one(
            "device = ? AND originator = ? AND counter = ?",
            eui64_text(device),
            eui64_text(originator),
            counter_text(counter),
        )

    def by_reference(self, reference: int, device: int) -> UserCommand | None:
        """The command a hub names by this number."""
        if reference & _MARKS != _USER_COMMAND:
            return None
        return self._one("id = ? AND device = ?", reference & ~_MARKS, eui64_text(device))

    def forget(self, command: UserCommand) -> None:
        """Wait no longer for its response; a late one is then unexpected."""
        self._store.connection.execute(
            "DELETE FROM user_commands WHERE device = ? AND originator = ? AND counter = ?",
            (
                eui64_text(command.device),
                eui64_text(command.originator),
                counter_text(command.counter),
            ),
        )

    def overdue(self, now: datetime) -> list[UserCommand]:
        rows = self._store.connection.execute(
            f"SELECT {_COLUMNS} FROM user_commands WHERE deadline <= ? ORDER BY deadline, id",
            (time_text(now),),
        )
        return [_command(row) for row in rows]

    def next_deadline(self) -> datetime | None:
        (text,) = self._store.connection.execute(
            "SELECT MIN(deadline) FROM user_commands"
        ).fetchone()
        return None if text is None else time_of(text)

    def _one(self, condition: str, *values: object) -> UserCommand | None:
        row = self._store.connection.execute(
            f"SELECT {_COLUMNS} FROM user_commands WHERE {condition}", values
        ).fetchone()
        return None if row is None else _command(row)


def _command(row: tuple[str, str, str, str, str, str, str, int, bytes]) -> UserCommand:
    device, counter, request_id, service, subject, deadline, originator, code, payload = row
    return UserCommand(
        eui64_of(device),
        int(counter),
        request_id,
        service,
        eui64_of(subject),
        time_of(deadline),
        eui64_of(originator),
        code,
        payload,
    )


class DeviceLogs:
    """What each hub last told of its device log (CS14): another hub can take its place by that."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, chf: int, payload: bytes) -> None:
        self._store.connection.execute(
            "INSERT OR REPLACE INTO device_logs VALUES (?, ?)", (eui64_text(chf), payload)
        )

    def last(self, chf: int) -> bytes | None:
        """The payload of the alert, as the hub sent it."""
        row = self._store.connection.execute(
            "SELECT payload FROM device_logs WHERE chf = ?", (eui64_text(chf),)
        ).fetchone()
        return None if row is None else bytes(row[0])
