"""What users and hubs saw of a DSP that was killed again and again, and whether it adds up.

A client's log holds what was asked and answered, what reached the hub, what users were told. From
it and the database at the end follow the faults of `History.faults`: something acknowledged that is
not there, something done twice, a user not told.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from dsp_rig import EPOCH, NEW

from dsp_stub.desk import Desk
from dsp_stub.smi import DeviceStatus


@dataclass
class History:
    """The log of one test. A RequestID is `accepted` when it was answered I99, or E42 to its
    repetition after an answer that was lost."""

    announced: dict[str, int] = field(default_factory=dict)  # RequestID of a 12.2 -> device
    updated: dict[str, int] = field(default_factory=dict)  # RequestID of an 11.4 -> device
    accepted: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    offers: list[tuple[int, int]] = field(default_factory=list)  # device, reference
    told: Counter[tuple[str, int]] = field(default_factory=Counter)  # N39, N60 -> device
    kills: int = 0
    lost_answers: int = 0

    def faults(self, desk: Desk, originator: int) -> list[str]:
        """Sentences, one for each thing that does not add up."""
        return [
            *self._of_announcements(desk),
            *self._of_updates(desk),
            *self._of_hand_over(desk),
            *self._of_alerts(desk),
            *self._of_volume(desk, originator),
        ]

    def _of_announcements(self, desk: Desk) -> list[str]:
        faults = []
        for request_id, device in self.announced.items():
            lives = desk.inventory.lives(device)
            expected = 1 if request_id in self.accepted else 0
            if len(lives) != expected:
                faults.append(f"12.2 {request_id}: {len(lives)} lives of {device:X}")
            elif lives and lives[0].status is not DeviceStatus.PENDING:
                faults.append(f"12.2 {request_id}: {device:X} is {lives[0].status}")
        return faults

    def _of_updates(self, desk: Desk) -> list[str]:
        faults = []
        attempts = desk.store.connection.execute(
            "SELECT request_id, event, COUNT(*) FROM attempts WHERE device IS NOT NULL "
            "GROUP BY request_id, event"
        ).fetchall()
        events = {(request_id, event): count for request_id, event, count in attempts}
        for request_id, device in self.updated.items():
            rows = desk.updates.of_request(request_id)
            if request_id not in self.accepted:
                if rows:
                    faults.append(f"11.4 {request_id} was refused and has {len(rows)} updates")
                continue
            states = [str(row.state) for row in rows]
            if states != ["activated"]:
                faults.append(f"11.4 {request_id} of {device:X}: {states}")
            for event in ("requested", "stored", "activated"):
                count = events.get((request_id, event), 0)
                if count != 1:
                    faults.append(f"11.4 {request_id}: {event} is on record {count} times")
            row = desk.inventory.get(device)
            if row is None or row.firmware_version != f"{NEW:08X}":
                faults.append(f"11.4 {request_id}: the inventory stayed behind")
        return faults

    def _of_hand_over(self, desk: Desk) -> list[str]:
        references: dict[int, set[int]] = {}
        for device, reference in self.offers:
            references.setdefault(device, set()).add(reference)
        wanted = {self.updated[one] for one in self.accepted if one in self.updated}
        faults = [f"{device:X} was never offered" for device in wanted - references.keys()]
        faults += [f"{device:X} was offered unasked" for device in references.keys() - wanted]
        faults += [
            f"{device:X} was offered as {len(found)} updates"
            for device, found in references.items()
            if len(found) > 1
        ]
        (left,) = desk.store.connection.execute("SELECT COUNT(*) FROM outbox").fetchone()
        return [*faults, *([f"{left} entries are left in the outbox"] if left else [])]

    def _of_alerts(self, desk: Desk) -> list[str]:
        wanted = {self.updated[one] for one in self.accepted if one in self.updated}
        faults = []
        for code in ("N39", "N60"):
            told = {device for known, device in self.told if known == code}
            if told != wanted:
                faults.append(
                    f"{code}: {len(wanted - told)} not told, {len(told - wanted)} unasked"
                )
        (logged,) = desk.store.connection.execute(
            "SELECT COUNT(*) FROM security_log WHERE reason NOT IN ('REPLAY')"
        ).fetchone()
        return [*faults, *([f"{logged} security events"] if logged else [])]

    def _of_volume(self, desk: Desk, originator: int) -> list[str]:
        counted = desk.campaigns.volume(originator, "11.4", EPOCH - timedelta(days=1))
        wanted = sum(one in self.accepted for one in self.updated)
        return [] if counted == wanted else [f"the volume is {counted}, not {wanted}"]
