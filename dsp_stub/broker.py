"""What the Access Control Broker must not forget, and whose command each one is.

Source: DESIGN, "There and back": durable state is committed before it is acknowledged. The broker
of `gbcs.acb` keeps its counter, its open commands and the alert counters of devices in the database
through `StoredBroker`; a command's row also says for which DUIS request it went out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime

from dsp_stub.columns import counter_text, eui64_of, eui64_text, time_of, time_text
from dsp_stub.smi import MeteringPoints
from dsp_stub.store import Store
from gbcs.envelope import OtherInformation, build_other_information, parse_other_information


@dataclass(frozen=True, slots=True)
class Command:
    """A command that waits for its response. `subject` is the device it is about, which CCS01
    tells a hub of another device; `points` are the metering points it is added with."""

    device: int
    counter: int
    request_id: str
    service: str
    subject: int
    deadline: datetime
    points: MeteringPoints = field(default=(), kw_only=True)


class StoredBroker:
    """`gbcs.acb.BrokerMemory` in the database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.outstanding: MutableMapping[tuple[int, int], OtherInformation] = _Outstanding(store)
        self.accepted: MutableMapping[int, int] = _Accepted(store)

    @property
    def originator_counter(self) -> int:
        row = self._store.connection.execute("SELECT originator_counter FROM broker").fetchone()
        return 0 if row is None else int(row[0])

    @originator_counter.setter
    def originator_counter(self, counter: int) -> None:
        self._store.connection.execute(
            "INSERT INTO broker VALUES (1, ?) "
            "ON CONFLICT (only) DO UPDATE SET originator_counter = excluded.originator_counter",
            (counter_text(counter),),
        )

    def note(self, command: Command) -> None:
        """Say whose the command is that was just built."""
        self._store.connection.execute(
            "UPDATE commands SET request_id = ?, service = ?, subject = ?, deadline = ?, "
            "points = ? WHERE device = ? AND counter = ?",
            (
                command.request_id,
                command.service,
                eui64_text(command.subject),
                time_text(command.deadline),
                json.dumps(command.points),
                eui64_text(command.device),
                counter_text(command.counter),
            ),
        )

    def find(self, device: int, counter: int) -> Command | None:
        """The command to `device` with this counter, if it waits for its response."""
        row = self._store.connection.execute(
            f"{_SELECT} AND device = ? AND counter = ?", (eui64_text(device), counter_text(counter))
        ).fetchone()
        return None if row is None else _command(row)

    def open_subjects(self, device: int, service: str) -> set[int]:
        """Whom the commands of a service to `device` are about that still wait for an answer."""
        rows = self._store.connection.execute(
            f"{_SELECT} AND device = ? AND service = ?", (eui64_text(device), service)
        )
        return {_command(row).subject for row in rows}

    def overdue(self, now: datetime) -> list[Command]:
        rows = self._store.connection.execute(
            f"{_SELECT} AND deadline <= ? ORDER BY deadline, counter", (time_text(now),)
        )
        return [_command(row) for row in rows]

    def next_deadline(self) -> datetime | None:
        (text,) = self._store.connection.execute("SELECT MIN(deadline) FROM commands").fetchone()
        return None if text is None else time_of(text)


_SELECT = (
    "SELECT device, counter, request_id, service, subject, deadline, points FROM commands "
    "WHERE request_id IS NOT NULL"
)


def _command(row: tuple[str, str, str, str, str, str, str]) -> Command:
    device, counter, request_id, service, subject, deadline, points = row
    return Command(
        eui64_of(device),
        int(counter),
        request_id,
        service,
        eui64_of(subject),
        time_of(deadline),
        points=tuple((item, mpxn) for item, mpxn in json.loads(points)),
    )


class _Outstanding(MutableMapping[tuple[int, int], OtherInformation]):
    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, key: tuple[int, int]) -> OtherInformation:
        row = self._store.connection.execute(
            "SELECT other_information FROM commands WHERE device = ? AND counter = ?", _key(key)
        ).fetchone()
        if row is None:
            raise KeyError(key)
        return parse_other_information(row[0])

    def __setitem__(self, key: tuple[int, int], other: OtherInformation) -> None:
        self._store.connection.execute(
            "INSERT OR REPLACE INTO commands (device, counter, other_information) VALUES (?, ?, ?)",
            (*_key(key), build_other_information(other)),
        )

    def __delitem__(self, key: tuple[int, int]) -> None:
        deleted = self._store.connection.execute(
            "DELETE FROM commands WHERE device = ? AND counter = ?", _key(key)
        )
        if not deleted.rowcount:
            raise KeyError(key)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rows = self._store.connection.execute("SELECT device, counter FROM commands").fetchall()
        return iter([(eui64_of(device), int(counter)) for device, counter in rows])

    def __len__(self) -> int:
        (count,) = self._store.connection.execute("SELECT COUNT(*) FROM commands").fetchone()
        return int(count)


class _Accepted(MutableMapping[int, int]):
    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, device: int) -> int:
        row = self._store.connection.execute(
            "SELECT counter FROM accepted WHERE device = ?", (eui64_text(device),)
        ).fetchone()
        if row is None:
            raise KeyError(device)
        return int(row[0])

    def __setitem__(self, device: int, counter: int) -> None:
        self._store.connection.execute(
            "INSERT OR REPLACE INTO accepted VALUES (?, ?)",
            (eui64_text(device), counter_text(counter)),
        )

    def __delitem__(self, device: int) -> None:
        deleted = self._store.connection.execute(
            "DELETE FROM accepted WHERE device = ?", (eui64_text(device),)
        )
        if not deleted.rowcount:
            raise KeyError(device)

    def __iter__(self) -> Iterator[int]:
        rows = self._store.connection.execute("SELECT device FROM accepted").fetchall()
        return iter([eui64_of(device) for (device,) in rows])

    def __len__(self) -> int:
        (count,) = self._store.connection.execute("SELECT COUNT(*) FROM accepted").fetchone()
        return int(count)


def _key(key: tuple[int, int]) -> tuple[str, str]:
    device, counter = key
    return eui64_text(device), counter_text(counter)
