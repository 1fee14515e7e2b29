"""The firmware updates of devices: one at a time each, and the record of everything tried.

Source: MP170 (an update blocks a further one until it ended; every attempt is on record). One row
is one device of one accepted 11.4 or 11.1:

    state              event                                      next
    -----------------  -----------------------------------------  ---------------------------------
    requested          the hub stored the image                   stored
    requested          the hub did not take it                    not-delivered
    requested, stored  CCS08 0x8F8A                               transferred
    open               CCS08 0x8F89                               discarded, hardware-mismatch,
                                                                  transfer-failed
    open               CS09 0x8F8B, result 0                      activated
    open               CS09 0x8F8B, result 1                      activation-failed
    open, of an 11.1   receipt 0x8F72                             distributed
    open, of an 11.1   receipt 0x8F1C                             verification-failed
    open, of an 11.1   CS06, result 0                             activated
    open               its time is up                             timed-out
    open               the device was decommissioned              cancelled

"open" is requested, stored or transferred. An alert is believed in any open state: that it came
out of turn is flagged, not lost.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dsp_stub.columns import eui64_of, eui64_text, time_of, time_text
from dsp_stub.store import Store

_COLUMNS = (
    "id, request_id, device, hub, image_sha256, firmware_version, state, started_at, deadline"
)
# References of offers have the top bit, so that none is also the counter of a command.
_OFFER = 1 << 63


class UpdateState(StrEnum):
    REQUESTED = "requested"
    STORED = "stored"
    TRANSFERRED = "transferred"
    ACTIVATED = "activated"
    ACTIVATION_FAILED = "activation-failed"
    DISTRIBUTED = "distributed"
    VERIFICATION_FAILED = "verification-failed"
    TRANSFER_FAILED = "transfer-failed"
    DISCARDED = "discarded"
    HARDWARE_MISMATCH = "hardware-mismatch"
    NOT_DELIVERED = "not-delivered"
    TIMED_OUT = "timed-out"
    CANCELLED = "cancelled"


OPEN_STATES = (UpdateState.REQUESTED, UpdateState.STORED, UpdateState.TRANSFERRED)
_IS_OPEN = f"state IN ({', '.join(repr(str(state)) for state in OPEN_STATES)})"


@dataclass(frozen=True, slots=True)
class Update:
    """One device's update, as far as it has come. `request_id` is that of the request."""

    id: int
    request_id: str
    device: int
    hub: int
    image_sha256: str
    firmware_version: int
    state: UpdateState
    started_at: datetime
    deadline: datetime

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES


class Updates:
    """All updates there ever were."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._store.connection

    def keep_image(self, sha256: str, data: bytes) -> None:
        """Store a file once, however many devices are to have it."""
        self._connection.execute("INSERT OR IGNORE INTO images VALUES (?, ?)", (sha256, data))

    def image(self, sha256: str) -> bytes:
        row = self._connection.execute(
            "SELECT data FROM images WHERE sha256 = ?", (sha256,)
        ).fetchone()
        data: bytes = row[0]
        return data

    def start(
        self,
        request_id: str,
        device: int,
        hub: int,
        image_sha256: str,
        firmware_version: int,
        now: datetime,
        deadline: datetime,
    ) -> int:
        """A new update; its reference, by which the hub's outcome names it."""
        row = self._connection.execute(
            "INSERT INTO updates (request_id, device, hub, image_sha256, firmware_version, state, "
            "started_at, deadline) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                request_id,
                eui64_text(device),
                eui64_text(hub),
                image_sha256,
                f"{firmware_version:08X}",
                UpdateState.REQUESTED,
                time_text(now),
                time_text(deadline),
            ),
        )
        self.record(now, request_id, device, UpdateState.REQUESTED, "")
        assert row.lastrowid is not None
        return row.lastrowid | _OFFER

    def open_update(self, device: int) -> Update | None:
        return self._one(f"device = ? AND {_IS_OPEN}", eui64_text(device))

    def last(self, device: int) -> Update | None:
        return self._one("device = ?", eui64_text(device))

    def by_reference(self, reference: int, device: int) -> Update | None:
        """The update of `device` that went out in the offer with this reference."""
        if not reference & _OFFER:
            return None
        first = self._one("id = ?", reference & ~_OFFER)
        if first is None:
            return None
        return self._one("request_id = ? AND device = ?", first.request_id, eui64_text(device))

    def move(self, update: Update, state: UpdateState, now: datetime, detail: str = "") -> None:
        ended = None if state in OPEN_STATES else time_text(now)
        self._connection.execute(
            "UPDATE updates SET state = ?, ended_at = ? WHERE id = ?", (state, ended, update.id)
        )
        self.record(now, update.request_id, update.device, state, detail)

    def overdue(self, now: datetime) -> list[Update]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM updates WHERE {_IS_OPEN} AND deadline <= ? ORDER BY id",
            (time_text(now),),
        )
        return [_update(row) for row in rows]

    def all_open(self) -> list[Update]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM updates WHERE {_IS_OPEN} ORDER BY id"
        )
        return [_update(row) for row in rows]

    def next_deadline(self) -> datetime | None:
        (text,) = self._connection.execute(
            f"SELECT MIN(deadline) FROM updates WHERE {_IS_OPEN}"
        ).fetchone()
        return None if text is None else time_of(text)

    def record(
        self, now: datetime, request_id: str | None, device: int | None, event: str, detail: str
    ) -> None:
        """Add a line to the log of attempts, from which nothing is ever taken."""
        device_text = None if device is None else eui64_text(device)
        self._connection.execute(
            "INSERT INTO attempts (at, request_id, device, event, detail, life) VALUES "
            "(?, ?, ?, ?, ?, (SELECT MAX(life) FROM devices WHERE device_id = ?))",
            (time_text(now), request_id, device_text, event, detail, device_text),
        )

    def _one(self, condition: str, *values: object) -> Update | None:
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM updates WHERE {condition} ORDER BY id DESC LIMIT 1", values
        ).fetchone()
        return None if row is None else _update(row)


def _update(row: tuple[int, str, str, str, str, str, str, str, str]) -> Update:
    number, request_id, device, hub, sha256, version, state, started_at, deadline = row
    return Update(
        number,
        request_id,
        eui64_of(device),
        eui64_of(hub),
        sha256,
        int(version, 16),
        UpdateState(state),
        time_of(started_at),
        time_of(deadline),
    )
