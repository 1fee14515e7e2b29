"""Campaigns: what was accepted of an 11.4 or 11.1, up to 50 000 devices, and how far it has come.

Source: MP170 (11.4 with a list of devices, anomaly detection), DESIGN ("bulk requests are validated
in slices and written in one step"). Accepting writes the list as it is; each device gets its row in
`updates` and its hub an offer a slice at a time, the first one in the transaction of the request.

    state        event                                      next
    -----------  -----------------------------------------  -----------------------------------
    none         a request below the anomaly threshold      starting
    none         one above it                               quarantined
    quarantined  the operator lets it go                    released
    quarantined  its time is up                             cancelling
    starting,    every device has its row                   started
    released
    all but      the operator cancels it                    cancelling
    cancelled
    cancelling   every device has its row, and those that   cancelled
                 no hub has are cancelled

What a hub has cannot be called back: those devices go on to an end of their own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dsp_stub.columns import eui64_text, time_of, time_text
from dsp_stub.errors import DspValueError
from dsp_stub.store import Store

# Devices that get their rows in one step.
SLICE = 200
_OCTETS = 8


class CampaignState(StrEnum):
    QUARANTINED = "quarantined"
    RELEASED = "released"
    STARTING = "starting"
    STARTED = "started"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


# In these, devices wait for their rows.
_BUSY = (CampaignState.STARTING, CampaignState.RELEASED, CampaignState.CANCELLING)
# What an operator may do: to which state, from which.
_ALLOWED = {
    CampaignState.RELEASED: (CampaignState.QUARANTINED,),
    CampaignState.CANCELLING: (
        CampaignState.QUARANTINED,
        CampaignState.RELEASED,
        CampaignState.STARTING,
        CampaignState.STARTED,
    ),
}
_COLUMNS = (
    "id, request_id, originator, service, image_sha256, image_hash, firmware_version, state, "
    "device_count, placed, accepted_at, deadline"
)


@dataclass(frozen=True, slots=True)
class Campaign:
    """One accepted request. `placed` of its devices have their row in `updates`; `image_hash` is
    what the Central Products List has of the image, `image_sha256` is that of the file."""

    id: int
    request_id: str
    originator: int
    service: str
    image_sha256: str
    image_hash: str
    firmware_version: int
    state: CampaignState
    device_count: int
    placed: int
    accepted_at: datetime
    deadline: datetime


class Campaigns:
    """All campaigns of one DSP. Changes belong into a transaction of the caller's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def accept(
        self,
        request_id: str,
        originator: int,
        service: str,
        image_sha256: str,
        image_hash: str,
        firmware_version: int,
        devices: Sequence[int],
        hubs: Sequence[int],
        state: CampaignState,
        now: datetime,
        deadline: datetime,
        due_at: datetime | None,
    ) -> None:
        """Keep the list of a request; devices of one hub stand together."""
        devices, hubs = _by_hub(devices, hubs)
        connection = self._store.connection
        row = connection.execute(
            "INSERT INTO campaigns (request_id, originator, service, image_sha256, image_hash, "
            "firmware_version, state, device_count, placed, accepted_at, deadline, due_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
            (
                request_id,
                eui64_text(originator),
                service,
                image_sha256,
                image_hash,
                f"{firmware_version:08X}",
                state,
                len(devices),
                time_text(now),
                time_text(deadline),
                None if due_at is None else time_text(due_at),
            ),
        )
        connection.execute(
            "INSERT INTO campaign_devices VALUES (?, ?, ?)",
            (row.lastrowid, _packed(devices), _packed(hubs)),
        )

    def unfinished(self) -> Campaign | None:
        """The oldest campaign with something to do."""
        return self._one(f"state IN ({_listed(_BUSY)}) ORDER BY id LIMIT 1")

    def find(self, request_id: str) -> Campaign | None:
        return self._one("request_id = ?", request_id)

    def all(self) -> list[Campaign]:
        return self._all("TRUE ORDER BY id")

    def next_devices(self, campaign: Campaign) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The devices whose turn it is to get their rows, and the hub of each; none of a hub is
        left behind."""
        # One hub has fewer devices than a slice, so what is cut off is in the second half.
        row = self._store.connection.execute(
            "SELECT substr(devices, ?1, ?2), substr(hubs, ?1, ?2) FROM campaign_devices "
            "WHERE campaign = ?3",
            (campaign.placed * _OCTETS + 1, 2 * SLICE * _OCTETS, campaign.id),
        ).fetchone()
        if row is None:
            return (), ()
        devices, hubs = _unpacked(row[0]), _unpacked(row[1])
        end = min(SLICE, len(devices))
        while end < len(devices) and hubs[end] == hubs[end - 1]:
            end += 1
        return devices[:end], hubs[:end]

    def waiting_devices(self, *, apart_from: int | None = None) -> set[int]:
        """Devices of accepted campaigns that have no row in `updates` yet: they are as busy as
        those that have."""
        rows = self._store.connection.execute(
            "SELECT substr(devices, placed * ? + 1) FROM campaigns "
            "JOIN campaign_devices ON campaign = id WHERE state IN ('starting', 'released') "
            "AND id IS NOT ?",
            (_OCTETS, apart_from),
        )
        return {device for (octets,) in rows for device in _unpacked(octets)}

    def waiting_for(self, firmware_version: int) -> set[int]:
        """Devices without a row yet that get this version, whatever becomes of the Central Products
        List: those of a campaign that was let go are judged again."""
        rows = self._store.connection.execute(
            "SELECT substr(devices, placed * ? + 1) FROM campaigns "
            "JOIN campaign_devices ON campaign = id WHERE state = 'starting' "
            "AND firmware_version = ?",
            (_OCTETS, f"{firmware_version:08X}"),
        )
        return {device for (octets,) in rows for device in _unpacked(octets)}

    def placed(self, campaign: Campaign, count: int) -> bool:
        """So many more have their rows; whether that was the last of them."""
        total = campaign.placed + count
        connection = self._store.connection
        connection.execute("UPDATE campaigns SET placed = ? WHERE id = ?", (total, campaign.id))
        if total < campaign.device_count:
            return False
        connection.execute("DELETE FROM campaign_devices WHERE campaign = ?", (campaign.id,))
        return True

    def set_state(self, campaign: Campaign, state: CampaignState) -> None:
        self._store.connection.execute(
            "UPDATE campaigns SET state = ? WHERE id = ?", (state, campaign.id)
        )

    def ask_for(self, request_id: str, state: CampaignState) -> Campaign:
        """What an operator decides: RELEASED or CANCELLING. The DSP does it when it next looks.

        Raises DspValueError for a campaign that is not there, or not in a state for that.
        """
        with self._store.transaction():
            campaign = self.find(request_id)
            if campaign is None:
                raise DspValueError(f"there is no campaign of request {request_id}")
            if campaign.state not in _ALLOWED[state]:
                raise DspValueError(
                    f"the campaign of request {request_id} is {campaign.state}: only one that is "
                    f"{' or '.join(_ALLOWED[state])} can be {_DONE[state]}"
                )
            self.set_state(campaign, state)
        return campaign

    # -- what is counted -------------------------------------------------------------------------

    def volume(self, originator: int, service: str, since: datetime) -> int:
        """For how many devices a user's requests of a service were let through since then."""
        (count,) = self._store.connection.execute(
            "SELECT SUM(device_count) FROM campaigns WHERE originator = ? AND service = ? "
            "AND accepted_at > ? AND state != 'quarantined' AND (placed > 0 OR state NOT IN "
            "('cancelling', 'cancelled'))",
            (eui64_text(originator), service, time_text(since)),
        ).fetchone()
        return count or 0

    # -- time ------------------------------------------------------------------------------------

    def overdue_quarantine(self, now: datetime) -> list[Campaign]:
        return self._all("state = 'quarantined' AND deadline <= ?", time_text(now))

    def past_target(self, now: datetime) -> Campaign | None:
        """The first campaign whose service level is to be looked at."""
        return self._one("due_at <= ? ORDER BY due_at LIMIT 1", time_text(now))

    def looked_at(self, campaign: Campaign) -> None:
        self._store.connection.execute(
            "UPDATE campaigns SET due_at = NULL WHERE id = ?", (campaign.id,)
        )

    def next_deadline(self) -> datetime | None:
        """When the next service level is to be looked at, or a quarantine ends."""
        texts = self._store.connection.execute(
            "SELECT MIN(due_at) FROM campaigns WHERE due_at IS NOT NULL UNION ALL "
            "SELECT MIN(deadline) FROM campaigns WHERE state = 'quarantined'"
        ).fetchall()
        return min((time_of(text) for (text,) in texts if text is not None), default=None)

    def _one(self, condition: str, *values: object) -> Campaign | None:
        found = self._all(condition, *values)
        return found[0] if found else None

    def _all(self, condition: str, *values: object) -> list[Campaign]:
        rows = self._store.connection.execute(
            f"SELECT {_COLUMNS} FROM campaigns WHERE {condition}", values
        )
        return [_campaign(*row) for row in rows]


_DONE = {CampaignState.RELEASED: "released", CampaignState.CANCELLING: "cancelled"}


def _listed(states: Sequence[CampaignState]) -> str:
    return ", ".join(repr(str(state)) for state in states)


def _by_hub(devices: Sequence[int], hubs: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """The devices in their order, but those of one hub behind its first."""
    if len(set(hubs)) == len(hubs):
        return devices, hubs
    grouped: dict[int, list[int]] = {}
    for device, hub in zip(devices, hubs, strict=True):
        grouped.setdefault(hub, []).append(device)
    together = [device for each in grouped.values() for device in each]
    return together, [hub for hub, each in grouped.items() for _ in each]


def _packed(eui64s: Sequence[int]) -> bytes:
    return struct.pack(f">{len(eui64s)}Q", *eui64s)


def _unpacked(octets: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(octets) // _OCTETS}Q", octets)


def _campaign(
    number: int, request_id: str, originator: str, service: str, sha256: str, image_hash: str,
    version: str, state: str, device_count: int, placed: int, accepted_at: str, deadline: str,
) -> Campaign:  # fmt: skip
    return Campaign(
        number,
        request_id,
        int(originator, 16),
        service,
        sha256,
        image_hash,
        int(version, 16),
        CampaignState(state),
        device_count,
        placed,
        time_of(accepted_at),
        time_of(deadline),
    )
