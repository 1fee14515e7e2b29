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
    """The entries of one DSP.

    `touched` are the hubs for which there is something new; whoever hands it over takes them off.
    After a restart it is empty: a hub that connects is looked at in any case.
    """

    def __init__(self, store: Store, updates: Updates) -> None:
        self._store = store
        self._updates = updates
        self.touched: set[int] = set()

    def add_message(
        self, message: WanMessage, now: datetime, *, expires_at: datetime | None = None
    ) -> None:
        """A message for a hub, which is worth nothing any more when it expires."""
        self._add(Kind.WAN, message.hub, serialise(message), now, expires_at=expires_at)

    def add_offer(
        self,
        hub: int,
        reference: int,
        devices: tuple[int, ...],
        image_sha256: str,
        request_id: str,
        due_at: datetime,
        expires_at: datetime,
    ) -> None:
        """An offer of an image that `Updates.keep_image` holds."""
        body = serialise(ImageOffer(hub, reference, devices, _NO_IMAGE))
        self._add(
            Kind.OFFER,
            hub,
            body,
            due_at,
            image_sha256=image_sha256,
            request_id=request_id,
            expires_at=expires_at,
        )

    def add_callback(self, user: int, body: bytes, now: datetime) -> None:
        """A signed response or alert for a user."""
        self._add(Kind.CALLBACK, user, body, now)

    def _add(
        self,
        kind: Kind,
        destination: int,
        body: bytes,
        due_at: datetime,
        *,
        image_sha256: str | None = None,
        request_id: str | None = None,
        expires_at: datetime | None = None,
    ) -> None:
        self._store.connection.execute(
            "INSERT INTO outbox (kind, destination, body, image_sha256, request_id, attempts, "
            "next_at, expires_at) VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
            (
                kind,
                eui64_text(destination),
                body,
                image_sha256,
                request_id,
                time_text(due_at),
                None if expires_at is None else time_text(expires_at),
            ),
        )
        if kind is not Kind.CALLBACK:
            self.touched.add(destination)

    # -- handing over --------------------------------------------------------------------------

    def first(self, destination: int, now: datetime, *, callbacks: bool) -> Delivery | None:
        """What a user, or else a hub, gets next: nothing overtakes a callback that is to be tried
        again, while what a hub could not be given waits by itself."""
        row = self._store.connection.execute(
            "SELECT id, kind, destination, body, image_sha256, next_at FROM outbox "
            "WHERE destination = ? AND (kind = 'callback') = ? AND (kind = 'callback' OR "
            "next_at <= ?) ORDER BY id LIMIT 1",
            (eui64_text(destination), callbacks, time_text(now)),
        ).fetchone()
        if row is None or row[-1] > time_text(now):
            return None
        return self._delivery(row[:-1])

    def hubs_due_again(self, since: datetime, now: datetime) -> list[int]:
        """The hubs for which something that had to wait became due after `since`."""
        rows = self._store.connection.execute(
            "SELECT DISTINCT destination FROM outbox "
            "WHERE next_at > ? AND next_at <= ? AND kind != 'callback'",
            (time_text(since), time_text(now)),
        )
        return [eui64_of(destination) for (destination,) in rows]

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
        self._store.connection.execute(
            "UPDATE outbox SET attempts = ?, next_at = ? WHERE id = ?",
            (attempts + 1, time_text(now + timedelta(seconds=retry_s(attempts))), delivery_id),
        )

    # -- what is not handed over any more --------------------------------------------------------

    def take_back_offers(self, request_id: str, most: int) -> list[tuple[int, ...]]:
        """The devices of the first offers of a request that still wait, which are then gone."""
        rows = self._store.connection.execute(
            "SELECT id, body FROM outbox WHERE request_id = ? LIMIT ?", (request_id, most)
        ).fetchall()
        self._store.connection.executemany(
            "DELETE FROM outbox WHERE id = ?", [(number,) for number, _ in rows]
        )
        offers = [parse_message(body) for _, body in rows]
        return [offer.devices for offer in offers if isinstance(offer, ImageOffer)]

    def expire(self, now: datetime, most: int) -> int:
        """Drop what is worth nothing any more; how many entries that were."""
        return self._store.connection.execute(
            "DELETE FROM outbox WHERE id IN "
            "(SELECT id FROM outbox WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
            (time_text(now), most),
        ).rowcount

    # -- time ----------------------------------------------------------------------------------

    def next_at(self, now: datetime) -> datetime | None:
        """When the next entry that waits is due, or expires."""
        texts = self._store.connection.execute(
            "SELECT MIN(next_at) FROM outbox WHERE next_at > ? UNION ALL "
            "SELECT MIN(expires_at) FROM outbox WHERE expires_at IS NOT NULL",
            (time_text(now),),
        ).fetchall()
        return min((time_of(text) for (text,) in texts if text is not None), default=None)

    def _delivery(self, row: tuple[int, str, str, bytes, str | None]) -> Delivery:
        number, kind, destination, body, sha256 = row
        if sha256 is not None:
            offer = parse_message(body)
            assert isinstance(offer, ImageOffer)
            image = self._updates.image(sha256)
            body = serialise(ImageOffer(offer.hub, offer.reference, offer.devices, image))
        return Delivery(number, Kind(kind), eui64_of(destination), body)


def retry_s(attempts: int) -> float:
    """How long to wait after so many failures and one more."""
    wait_s: float = min(FIRST_RETRY_S * 2 ** min(attempts, 16), LONGEST_RETRY_S)
    return wait_s
