"""How long updates take: from the 11.4 to the N39, in percentiles.

Source: MP170 (service level as for a PPMID); percentiles by the nearest rank. The target is an
option, since no public text gives a figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dsp_stub.columns import time_of, time_text
from dsp_stub.store import Store
from dsp_stub.updates import TOLD_BY_N39

PERCENTILES = (50, 90, 95, 99, 100)


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """Of so many `devices`, those `told` by an N39, and how long that took.

    `late` are those told after the target, and those still waited for when it has passed.
    """

    devices: int
    told: int
    late: int
    percentiles_s: dict[int, float]


def service_level(
    store: Store, target_s: float, now: datetime, request_id: str | None = None
) -> ServiceLevel:
    """The service level of one request, or of all."""
    rows = store.connection.execute(
        "SELECT started_at, ended_at, updates.state FROM updates JOIN campaigns USING (request_id) "
        "WHERE service = '11.4' AND (?1 IS NULL OR request_id = ?1)",
        (request_id,),
    ).fetchall()
    durations_s = sorted(
        _between_s(started, ended) for started, ended, state in rows if state in TOLD_BY_N39
    )
    waiting_s = [_between_s(started, time_text(now)) for started, ended, _ in rows if ended is None]
    return ServiceLevel(
        len(rows),
        len(durations_s),
        sum(age_s > target_s for age_s in (*durations_s, *waiting_s)),
        {rank: percentile(durations_s, rank) for rank in PERCENTILES} if durations_s else {},
    )


def _between_s(earlier: str, later: str) -> float:
    return (time_of(later) - time_of(earlier)).total_seconds()


def percentile(ascending: Sequence[float], rank: int) -> float:
    """The smallest value that `rank` per cent of them do not exceed."""
    return ascending[max(0, -(-rank * len(ascending) // 100) - 1)]
