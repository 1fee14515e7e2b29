"""The frames a parent holds for children that sleep, until they ask for them.

Source: IEEE 802.15.4-2006, 7.5.6.3 and 7.5.6.4.3 (indirect transmission); the persistence time is
the one ZigBee sets.

    state       event                      next        effect
    ----------  -------------------------  ----------  ------------------------------------------
    HELD        its child's Data Request   UNDER_WAY   sent once, never repeated by itself
    HELD        time is up                 (gone)      done(EXPIRED)
    HELD        a sixth for its child      (gone)      the oldest: done(QUEUE_FULL)
    UNDER_WAY   acknowledged               (gone)      done(OK)
    UNDER_WAY   not acknowledged           HELD        waits for the next Data Request
    UNDER_WAY   the same, time was up      (gone)      done(EXPIRED)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from emulator.medium.timing import Cancellable, Scheduler

TRANSACTION_PERSISTENCE_US = 7_680_000  # macTransactionPersistenceTime as ZigBee sets it
MAX_HELD_PER_CHILD = 5


class SendResult(Enum):
    """How a transmission ended, as 802.15.4 names it."""

    OK = auto()
    NO_ACK = auto()
    CHANNEL_ACCESS_FAILURE = auto()
    QUEUE_FULL = auto()
    EXPIRED = auto()
    COUNTER_ERROR = auto()  # the outgoing frame counter is used up


Done = Callable[[SendResult], object]


class HeldFrame:
    """A frame that waits; `octets` is the MAC frame without its FCS, nothing said to be pending."""

    __slots__ = (
        "address",
        "done",
        "expired",
        "is_renewed",
        "octets",
        "sequence",
        "timer",
        "under_way",
    )

    def __init__(self, address: int, octets: bytes, sequence: int, done: Done | None) -> None:
        self.address = address
        self.octets = octets
        self.sequence = sequence
        self.done = done
        self.timer: Cancellable | None = None
        self.under_way = False
        self.expired = False
        self.is_renewed = False

    def end(self, result: SendResult) -> None:
        """It waits no more."""
        if self.timer is not None:
            self.timer.cancel()
        if self.done is not None:
            self.done(result)


class HeldFrames:
    """What one parent holds, in the order it came, for each child apart."""

    def __init__(self, clock: Scheduler) -> None:
        self._clock = clock
        self._waiting: dict[int, deque[HeldFrame]] = {}
        self.persistence_us = TRANSACTION_PERSISTENCE_US

    def hold(self, frame: HeldFrame) -> None:
        """Keep `frame` for its child; the oldest of too many gives way."""
        waiting = self._waiting.setdefault(frame.address, deque())
        if len(waiting) >= MAX_HELD_PER_CHILD:
            oldest = next((one for one in waiting if not one.under_way), None)
            if oldest is not None:
                self._remove(oldest)
                # Later: who sends must not hear of frames while its call runs.
                self._clock.call_at_us(self._clock.now_us(), oldest.end, SendResult.QUEUE_FULL)
        waiting.append(frame)
        due_us = self._clock.now_us() + self.persistence_us
        frame.timer = self._clock.call_at_us(due_us, self._expire, frame)

    def take(self, address: int) -> tuple[HeldFrame, bool] | None:
        """The oldest frame for a child, under way from now on, and whether more wait."""
        waiting = self._waiting.get(address)
        if not waiting or waiting[0].under_way:
            return None
        frame = waiting[0]
        frame.under_way = True
        return frame, len(waiting) > 1

    def sent(self, frame: HeldFrame, result: SendResult) -> None:
        """How the transmission of a frame that was taken ended."""
        frame.under_way = False
        if frame not in self._waiting.get(frame.address, ()):
            return  # dropped meanwhile
        if result is SendResult.OK or frame.expired:
            self._remove(frame)
            frame.end(SendResult.OK if result is SendResult.OK else SendResult.EXPIRED)

    def drop(self, address: int) -> None:
        """The child is none any more: what waits for it expires now."""
        for frame in self._waiting.pop(address, ()):
            frame.end(SendResult.EXPIRED)

    def clear(self) -> None:
        """Power off: nobody is told."""
        for waiting in self._waiting.values():
            for frame in waiting:
                if frame.timer is not None:
                    frame.timer.cancel()
        self._waiting.clear()

    def count(self, address: int) -> int:
        """How many frames wait for a child."""
        return len(self._waiting.get(address, ()))

    def _expire(self, frame: HeldFrame) -> None:
        if frame.under_way:
            frame.expired = True
            return
        self._remove(frame)
        frame.end(SendResult.EXPIRED)

    def _remove(self, frame: HeldFrame) -> None:
        waiting = self._waiting[frame.address]
        waiting.remove(frame)
        if not waiting:
            del self._waiting[frame.address]
