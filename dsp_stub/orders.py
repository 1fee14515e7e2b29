"""The commands about credentials that are under way, and what is to follow their answers.

Source: DESIGN, "There and back": durable state is committed before it is acknowledged. Beside
`broker.Command`, which says for which DUIS request a command went out: these the DCC gives itself,
and those of recovery, which the DSP carries to a device without being able to give them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dsp_stub.columns import counter_text, eui64_of, eui64_text, time_of, time_text
from dsp_stub.errors import DspValueError
from dsp_stub.store import Store
from gbcs.envelope import OtherInformation, build_other_information, parse_other_information

# Set in the reference of a command that has another party's counter; updates and commands of users
# have the bits above.
_RELAYED = 1 << 61


class Purpose(StrEnum):
    """What an order is part of."""

    ALONE = "alone"
    RENEWAL = "renewal"  # of a device's own key: CS02c, CS02d, CS02e
    ASK_OFFERED = "ask-offered"  # after no answer: has it what it was sent?
    ASK_HELD = "ask-held"  # or still what it had?


@dataclass(frozen=True, slots=True)
class Order:
    """A command of `party` that waits for its answer; `place` is the one of the device's own that
    it is about, empty when it is about others."""

    party: int
    device: int
    counter: int
    other_information: OtherInformation
    purpose: Purpose
    place: str
    deadline: datetime

    @property
    def message_code(self) -> int:
        return self.other_information.message_code

    def reference(self, acb: int) -> int:
        """By which the hub's outcome names it; that of the ACB's own is its counter."""
        return self.counter if self.party == acb else self.counter & _RELAYED - 1 | _RELAYED


class Orders:
    """Those under way."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, order: Order) -> None:
        """One at a time for a device: by which keys the next one goes depends on it."""
        name = eui64_text(order.device)
        busy = self._store.connection.execute("SELECT 1 FROM orders WHERE device = ?", (name,))
        if busy.fetchone() is not None:
            raise DspValueError(f"a command about the credentials of {name} is under way")
        self._store.connection.execute(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *_key(order.party, order.device, order.counter),
                build_other_information(order.other_information),
                order.purpose,
                order.place,
                time_text(order.deadline),
            ),
        )

    def find(self, party: int, device: int, counter: int) -> Order | None:
        row = self._store.connection.execute(
            f"{_SELECT} WHERE party = ? AND device = ? AND counter = ?",
            _key(party, device, counter),
        ).fetchone()
        return None if row is None else _order(row)

    def by_reference(self, reference: int, device: int, acb: int) -> Order | None:
        rows = self._store.connection.execute(
            f"{_SELECT} WHERE device = ? ORDER BY counter", (eui64_text(device),)
        )
        found = (order for order in map(_order, rows) if order.reference(acb) == reference)
        return next(found, None)

    def done(self, order: Order) -> None:
        self._store.connection.execute(
            "DELETE FROM orders WHERE party = ? AND device = ? AND counter = ?",
            _key(order.party, order.device, order.counter),
        )

    def overdue(self, now: datetime) -> list[Order]:
        rows = self._store.connection.execute(
            f"{_SELECT} WHERE deadline <= ? ORDER BY deadline, counter", (time_text(now),)
        )
        return [_order(row) for row in rows]

    def next_deadline(self) -> datetime | None:
        (text,) = self._store.connection.execute("SELECT MIN(deadline) FROM orders").fetchone()
        return None if text is None else time_of(text)


_SELECT = "SELECT party, device, counter, other_information, purpose, place, deadline FROM orders"


def _key(party: int, device: int, counter: int) -> tuple[str, str, str]:
    return eui64_text(party), eui64_text(device), counter_text(counter)


def _order(row: tuple[str, str, str, bytes, str, str, str]) -> Order:
    party, device, counter, other, purpose, place, deadline = row
    return Order(
        eui64_of(party),
        eui64_of(device),
        int(counter),
        parse_other_information(other),
        Purpose(purpose),
        place,
        time_of(deadline),
    )
