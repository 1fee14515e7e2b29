"""One Data Request and what it brings: how a sleeper fetches a frame from its parent.

Source: IEEE 802.15.4-2006, 7.5.6.3 (extracting pending data), 7.4.2 (macMaxFrameTotalWaitTime).

    state    event                                 next     effect
    -------  ------------------------------------  -------  -------------------------------------
    IDLE     start                                 ASKED    Data Request
    ASKED    not acknowledged                      IDLE     polled(NO_ACK)
    ASKED    acknowledged, nothing follows         IDLE     polled(EXPIRED)
    ASKED    acknowledged, a frame follows         WAITING  the receiver stays on
    ASKED    a frame came, its ACK was lost        ASKED    remembered until the request has ended
    WAITING  a frame for this node                 IDLE     polled(OK, whether more waits)
    WAITING  macMaxFrameTotalWaitTime              IDLE     polled(EXPIRED)
"""

from __future__ import annotations

from collections.abc import Callable

from emulator.medium.timing import MAX_FRAME_TOTAL_WAIT_US, Cancellable, Scheduler
from emulator.zigbee.held_frames import SendResult

Polled = Callable[[SendResult, bool], object]
"""Called with how a Data Request ended, EXPIRED when nothing came, and whether more waits."""


class DataPoll:
    """The one poll that may be under way. `awake_until_us`: the receiver has to be on till then."""

    def __init__(self, clock: Scheduler) -> None:
        self._clock = clock
        self._polled: Polled | None = None
        self._timer: Cancellable | None = None
        self._more: bool | None = None  # whether what came said that more waits
        self._frame_follows = False
        self.awake_until_us = 0
        self.is_under_way = False  # looked at for every frame that comes in

    def start(self, polled: Polled) -> None:
        """A Data Request is about to be sent; `request_ended` is to follow."""
        assert not self.is_under_way
        self.is_under_way = True
        self._polled = polled
        self._more = None
        self._frame_follows = False

    def frame_follows(self) -> None:
        """An acknowledgement said that something is pending."""
        self._frame_follows = True

    def request_ended(self, result: SendResult) -> None:
        """The Data Request was acknowledged, or given up."""
        if self._more is not None:
            self._end(SendResult.OK)
        elif result is not SendResult.OK:
            self._end(result)
        elif not self._frame_follows:
            self._end(SendResult.EXPIRED)
        else:
            self.awake_until_us = self._clock.now_us() + MAX_FRAME_TOTAL_WAIT_US
            self._timer = self._clock.call_at_us(self.awake_until_us, self._end, SendResult.EXPIRED)

    def heard(self, more: bool) -> None:
        """A frame for this node came in: that is what the poll was for."""
        self._more = more
        if self._timer is not None:
            self._end(SendResult.OK)

    def clear(self) -> None:
        """Power off."""
        self._polled = None
        self.is_under_way = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, result: SendResult) -> None:
        polled = self._polled
        self.clear()
        self.awake_until_us = 0
        if polled is not None:
            polled(result, bool(self._more))
