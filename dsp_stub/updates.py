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
    requested          the campaign is cancelled                  cancelled
    none               decommissioned before its update began     cancelled
    none               not to be updated any more when its        refused
                       quarantine ends

"open" is requested, stored or transferred. An alert is believed in any open state: that it came
out of turn is flagged, not lost.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dsp_stub.columns import eui64_of, eui64_text, time_of, time_text
from dsp_stub.store import Store

_COLUMNS = (
    "id, request_id, device, hub, image_sha256, firmware_version, state, started_at, deadline"
)
_RECORD = (
    "INSERT INTO attempts (at, request_id, device, event, detail, life) VALUES "
    "(?, ?, ?, ?, ?, (SELECT MAX(life) FROM devices WHERE device_id = ?))"
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
    REFUSED = "refused"


OPEN_STATES = (UpdateState.REQUESTED, UpdateState.STORED, UpdateState.TRANSFERRED)
# Ended by a 0x8F8B, of which users were told.
TOLD_BY_N39 = (UpdateState.ACTIVATED, UpdateState.ACTIVATION_FAILED)
# What never brought a file to a device: no download of the year's two (MP170-NF1).
NOT_DOWNLOADED = (
    UpdateState.NOT_DELIVERED,
    UpdateState.DISCARDED,
    UpdateState.TRANSFER_FAILED,
    UpdateState.HARDWARE_MISMATCH,
    UpdateState.CANCELLED,
    UpdateState.REFUSED,
)
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
    def reference(self) -> int:
        """By which an offer of its own names it."""
        return self.id | _OFFER

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
        devices: Sequence[int],
        hubs: Sequence[int],
        image_sha256: str,
        firmware_version: int,
        accepted_at: datetime,
        deadline: datetime,
        now: datetime,
    ) -> list[int]:
        """New updates; their references, by which the hubs' outcomes name them."""
        (last,) = self._connection.execute("SELECT MAX(id) FROM updates").fetchone()
        first = (last or 0) + 1
        common = (
            image_sha256,
            f"{firmware_version:08X}",
            UpdateState.REQUESTED,
            time_text(accepted_at),
            time_text(deadline),
        )
        self._connection.executemany(
            "INSERT INTO updates (id, request_id, device, hub, image_sha256, firmware_version, "
            "state, started_at, deadline) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (first + place, request_id, eui64_text(device), eui64_text(hub), *common)
                for place, (device, hub) in enumerate(zip(devices, hubs, strict=True))
            ],
        )
        at = time_text(now)
        self._connection.executemany(
            _RECORD,
            [
                (at, request_id, text, UpdateState.REQUESTED, "", text)
                for text in map(eui64_text, devices)
            ],
        )
        return [(first + place) | _OFFER for place in range(len(devices))]

    def end_unplaced(
        self,
        request_id: str,
        ended: Sequence[tuple[int, int, str]],
        image_sha256: str,
        firmware_version: int,
        accepted_at: datetime,
        state: UpdateState,
        now: datetime,
    ) -> None:
        """Updates that never begin: of each its device, its hub, and why."""
        at = time_text(now)
        self._connection.executemany(
            "INSERT INTO updates (request_id, device, hub, image_sha256, firmware_version, state, "
            "started_at, deadline, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    request_id,
                    eui64_text(device),
                    eui64_text(hub),
                    image_sha256,
                    f"{firmware_version:08X}",
                    state,
                    time_text(accepted_at),
                    at,
                    at,
                )
                for device, hub, _ in ended
            ],
        )
        for device, _, why in ended:
            self.record(now, request_id, device, state, why)

    def note_late(self, request_id: str, now: datetime) -> list[int]:
        """Put the devices of a request whose update has not ended on record as late."""
        late = [
            eui64_of(device)
            for (device,) in self._connection.execute(
                f"SELECT device FROM updates WHERE request_id = ? AND {_IS_OPEN} ORDER BY id",
                (request_id,),
            )
        ]
        at = time_text(now)
        self._connection.executemany(
            _RECORD,
            [
                (at, request_id, text, "service-level-missed", "", text)
                for text in map(eui64_text, late)
            ],
        )
        return late

    def open_devices(self, devices: Sequence[int]) -> set[int]:
        """Those of these devices that have an update in progress."""
        (count,) = self._connection.execute(
            f"SELECT COUNT(*) FROM (SELECT 1 FROM updates WHERE {_IS_OPEN} LIMIT ?)",
            (len(devices),),
        ).fetchone()
        if count < len(devices):  # there are fewer of them than were asked about
            rows = self._connection.execute(f"SELECT device FROM updates WHERE {_IS_OPEN}")
            return {eui64_of(device) for (device,) in rows}.intersection(devices)
        rows = self._connection.execute(
            "SELECT value FROM json_each(?) WHERE EXISTS "
            f"(SELECT 1 FROM updates WHERE device = value AND {_IS_OPEN})",
            (json.dumps([eui64_text(device) for device in devices]),),
        )
        return {eui64_of(device) for (device,) in rows}

    def downloads(self, devices: Sequence[int], since: datetime) -> dict[int, int]:
        """How often each of these devices got a file since then; those that got none are left
        out."""
        never = ", ".join(repr(str(state)) for state in NOT_DOWNLOADED)
        rows = self._connection.execute(
            "SELECT device, COUNT(*) FROM json_each(?) JOIN updates ON device = value "
            f"WHERE started_at > ? AND state NOT IN ({never}) GROUP BY device",
            (json.dumps([eui64_text(device) for device in devices]), time_text(since)),
        )
        return {eui64_of(device): count for device, count in rows}

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

    def overdue(self, now: datetime, most: int) -> list[Update]:
        """The first of the updates whose time is up."""
        return self._all(f"{_IS_OPEN} AND deadline <= ? ORDER BY id LIMIT ?", time_text(now), most)

    def in_state(self, request_id: str, state: UpdateState, most: int) -> list[Update]:
        """The first of a request's updates that are in this state."""
        condition = "request_id = ? AND state = ? ORDER BY id LIMIT ?"
        return self._all(condition, request_id, state, most)

    def of_request(self, request_id: str) -> list[Update]:
        """The updates a request led to, in the order they began."""
        return self._all("request_id = ? ORDER BY id", request_id)

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
            _RECORD, (time_text(now), request_id, device_text, event, detail, device_text)
        )

    def _all(self, condition: str, *values: object) -> list[Update]:
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM updates WHERE {condition}", values)
        return [_update(row) for row in rows]

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
