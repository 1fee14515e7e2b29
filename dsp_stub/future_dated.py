"""What the DSP is to do later: future-dated requests, and the schedules of users.

Source: DUIS, "Future Dated Response Pattern (DSP)"; MP170, annex B, 3.8.106.4 (withdrawing a CHF
deletes its devices' schedules, and cancels what has not been sent).

A request whose ExecutionDateTime lies ahead is answered I99, waits here, and is carried out when it
is due. Schedules stand in the inventory as found: the services that make them are not offered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from dsp_stub.columns import eui64_of, eui64_text, time_of, time_text
from dsp_stub.errors import DspValueError, DuisError
from dsp_stub.fields import RequestId, time_from_xml
from dsp_stub.store import Store

MAX_AHEAD = timedelta(days=30)
MAX_WAITING = 10_000
MAX_SCHEDULE_ID = 10**12


@dataclass(frozen=True, slots=True)
class FutureDatedRequest:
    """A request that waits for its time."""

    request_id: RequestId
    service: str
    device: int
    due: datetime


@dataclass(frozen=True, slots=True)
class Schedule:
    """Something a user has the DSP do at a device again and again."""

    id: int
    owner: int
    device: int

    def __post_init__(self) -> None:
        if not 0 <= self.id <= MAX_SCHEDULE_ID:
            raise DspValueError(f"schedule {self.id} is not one from 0 to {MAX_SCHEDULE_ID}")


def due_time(text: str | None, now: datetime) -> datetime | None:
    """When a request is to be carried out, None for at once. Raises DspValueError."""
    if text is None:
        return None
    try:
        due = time_from_xml(text, "ExecutionDateTime")
    except DuisError as error:
        raise DspValueError(str(error)) from None
    if due > now + MAX_AHEAD:
        raise DspValueError(f"ExecutionDateTime is more than {MAX_AHEAD.days} days ahead")
    return due if due > now else None


class FutureDated:
    """What waits at one DSP."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def hold(self, request: FutureDatedRequest) -> None:
        """Raises DspValueError when as many wait as may."""
        with self._store.transaction() as connection:
            (waiting,) = connection.execute("SELECT COUNT(*) FROM future_dated").fetchone()
            if waiting >= MAX_WAITING:
                raise DspValueError(f"{MAX_WAITING} requests wait for their time already")
            connection.execute(
                "INSERT INTO future_dated VALUES (?, ?, ?, ?)",
                (
                    str(request.request_id),
                    request.service,
                    eui64_text(request.device),
                    time_text(request.due),
                ),
            )

    def due(self, now: datetime) -> list[FutureDatedRequest]:
        return self._select("due <= ? ORDER BY due, request_id", time_text(now))

    def next_due(self) -> datetime | None:
        row = self._store.connection.execute("SELECT MIN(due) FROM future_dated").fetchone()
        return None if row[0] is None else time_of(row[0])

    def done(self, request: FutureDatedRequest) -> None:
        self._store.connection.execute(
            "DELETE FROM future_dated WHERE request_id = ?", (str(request.request_id),)
        )

    def cancel(self, devices: Iterable[int]) -> list[FutureDatedRequest]:
        """Forget what waits for these devices; what that was."""
        cancelled = [
            request
            for device in devices
            for request in self._select("device = ? ORDER BY due, request_id", eui64_text(device))
        ]
        for request in cancelled:
            self.done(request)
        return cancelled

    def _select(self, condition: str, value: str) -> list[FutureDatedRequest]:
        rows = self._store.connection.execute(
            f"SELECT request_id, service, device, due FROM future_dated WHERE {condition}", (value,)
        ).fetchall()
        return [
            FutureDatedRequest(RequestId.parse(request_id), service, eui64_of(device), time_of(due))
            for request_id, service, device, due in rows
        ]

    # -- schedules -------------------------------------------------------------------------

    def add_schedule(self, schedule: Schedule) -> None:
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO schedules VALUES (?, ?, ?)",
                (schedule.id, eui64_text(schedule.owner), eui64_text(schedule.device)),
            )

    def delete_schedules(self, devices: Iterable[int]) -> list[Schedule]:
        """Delete the schedules on these devices; which those were."""
        deleted = []
        for device in devices:
            rows = self._store.connection.execute(
                "DELETE FROM schedules WHERE device = ? RETURNING id, owner", (eui64_text(device),)
            ).fetchall()
            deleted += [Schedule(number, eui64_of(owner), device) for number, owner in sorted(rows)]
        return deleted
