"""What the DSP has yet to hand over: WAN messages to hubs, responses and alerts to users.

Source: DESIGN, "There and back". An entry is written in the transaction of what caused it, and
goes when it was handed over; a DSP that is killed in between sends it again, and the counters
inside tell the receiver. Entries for one destination leave in the order they were written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from dsp_stub.columns import eui64_of, eui64_text, time_of, time_text
from dsp_stub.store import Store
from dsp_stub.updates import Updates
from gbcs.wan import ImageOffer, WanMessage, parse_message, serialise

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0
# An offer is stored without its image, of which the database holds one for all.
_NO_IMAGE = b"\0"


class Kind(StrEnum):
    WAN = "wan"
    OFFER = "offer"
    CALLBACK = "callback"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry. `destination` is a hub or a user, `body` a serialised WAN message or signed
    XML."""

    id: int
    kind: Kind
    destination: int
    body: bytes


class Outbox:
    """The entries of one DSP."""

    def __init__(self, store: Store, updates: Updates) -> None:
        self._store = store
        self._updates = updates

    def add_message(self, message: WanMessage, now: datetime) -> None:
        """A message for a hub."""
        self._add(Kind.WAN, message.hub, serialise(message), None, now)

    def add_offer(
        self, hub: int, reference: int, devices: tuple[int, ...], image_sha256: str, now: datetime
    ) -> None:
        """An offer of an image that `Updates.keep_image` holds."""
        body = serialise(ImageOffer(hub, reference, devices, _NO_IMAGE))
        self._add(Kind.OFFER, hub, body, image_sha256, now)

    def add_callback(self, user: int, body: bytes, now: datetime) -> None:
        """A signed response or alert for a user."""
        self._add(Kind.CALLBACK, user, body, None, now)

    def _add(
        self, kind: Kind, destination: int, body: bytes, sha256: str | None, now: datetime
    ) -> None:
        self._store.connection.execute(
            "INSERT INTO outbox (kind, destination, body, image_sha256, attempts, next_at) "
            "VALUES (?, ?, ?, ?, 0, ?)",
            (kind, eui64_text(destination), body, sha256, time_text(now)),
        )

    def first(self, destination: int, *, callbacks: bool) -> Delivery | None:
        """The oldest entry for a user, or else for a hub."""
        row = self._store.connection.execute(
            "SELECT id, kind, destination, body, image_sha256 FROM outbox "
            "WHERE destination = ? AND (kind = 'callback') = ? ORDER BY id LIMIT 1",
            (eui64_text(destination), callbacks),
        ).fetchone()
        return None if row is None else self._delivery(row)

    def destinations(self, now: datetime, *, callbacks: bool) -> list[int]:
        """The users, or else the hubs, whose oldest entry is due, oldest first."""
        rows = self._store.connection.execute(
            "SELECT destination, MIN(id), next_at FROM outbox WHERE (kind = 'callback') = ? "
            "GROUP BY destination HAVING next_at <= ? ORDER BY MIN(id)",
            (callbacks, time_text(now)),
        ).fetchall()
        return [eui64_of(destination) for destination, _, _ in rows]

    def done(self, delivery_id: int) -> None:
        self._store.connection.execute("DELETE FROM outbox WHERE id = ?", (delivery_id,))

    def failed(self, delivery_id: int, now: datetime) -> None:
        """Try again later, and later still each time."""
        row = self._store.connection.execute(
            "SELECT attempts FROM outbox WHERE id = ?", (delivery_id,)
        ).fetchone()
        if row is None:
            return
        (attempts,) = row
        wait_s = min(FIRST_RETRY_S * 2 ** min(attempts, 16), LONGEST_RETRY_S)
        self._store.connection.execute(
            "UPDATE outbox SET attempts = ?, next_at = ? WHERE id = ?",
            (attempts + 1, time_text(now + timedelta(seconds=wait_s)), delivery_id),
        )

    def next_at(self, now: datetime) -> datetime | None:
        """When the next entry that waits after a failure is due."""
        (text,) = self._store.connection.execute(
            "SELECT MIN(next_at) FROM outbox WHERE next_at > ?", (time_text(now),)
        ).fetchone()
        return None if text is None else time_of(text)

    def _delivery(self, row: tuple[int, str, str, bytes, str | None]) -> Delivery:
        number, kind, destination, body, sha256 = row
        if sha256 is not None:
            offer = parse_message(body)
            assert isinstance(offer, ImageOffer)
            image = self._updates.image(sha256)
            body = serialise(ImageOffer(offer.hub, offer.reference, offer.devices, image))
        return Delivery(number, Kind(kind), eui64_of(destination), body)
