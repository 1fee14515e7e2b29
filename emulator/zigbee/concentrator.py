"""A node that many others report to: it asks for routes to itself, and keeps the ways back.

Source: ZigBee specification 05-3474, 3.6.3.5.1 (many-to-one Route Requests), 3.6.3.4 (route
records); Silicon Labs UG100, 7 (`setConcentrator`, `setSourceRouteDiscoveryMode`).

    state    event                                     next     effect
    -------  ----------------------------------------  -------  ------------------------------
    OFF      set up by the host, network up            WAITING  first request after a second
    WAITING  the time is up                            WAITING  many-to-one Route Request
    WAITING  enough routes or deliveries failed        WAITING  the time is up at the earliest
                                                                that the host allows
    WAITING  told to be off, network down              OFF
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emulator.medium.timing import Cancellable
from emulator.zigbee import nwk
from emulator.zigbee.nwk_commands import ManyToOne

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

FIRST_REQUEST_US = 1_000_000
NO_REQUEST_MS = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True)
class ConcentratorParameters:
    """What a host sets; times are the least and the most between two requests."""

    keeps_records: bool  # high RAM: one Route Record of every node is enough
    min_time_s: int
    max_time_s: int
    route_error_threshold: int
    delivery_failure_threshold: int
    max_hops: int = 0  # 0 for as far as a frame goes


class Concentrator:
    """Whether one stack is a concentrator, and when it asks for routes."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._parameters: ConcentratorParameters | None = None
        self._is_periodic = True
        self._timer: Cancellable | None = None
        self._due_us = 0
        self._asked_us = 0
        self._route_errors = 0
        self._delivery_failures = 0

    @property
    def keeps_records(self) -> bool:
        """Whether the ways that Route Records tell are remembered."""
        return self._parameters is not None and self._parameters.keeps_records

    def set_up(self, parameters: ConcentratorParameters | None) -> None:
        """Become a concentrator with these parameters, or none any more."""
        self._parameters = parameters
        self.come_up()

    def set_periodic(self, is_on: bool) -> None:
        """Whether requests are sent by themselves; a host may send each one itself instead."""
        self._is_periodic = is_on
        self.come_up()

    def come_up(self) -> None:
        self.stop()
        if self._parameters is not None and self._is_periodic and self._stack.is_up:
            self._ask_at(self._stack.clock.now_us() + FIRST_REQUEST_US)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reschedule(self) -> None:
        """Forget when the next request is due, and count from now."""
        if self._timer is not None and self._parameters is not None:
            self._ask_at(self._stack.clock.now_us() + self._parameters.max_time_s * 1_000_000)

    def remaining_ms(self) -> int:
        """How long until the next request, NO_REQUEST_MS when none is due."""
        if self._timer is None:
            return NO_REQUEST_MS
        return max(0, self._due_us - self._stack.clock.now_us()) // 1000

    def ask(self, keeps_records: bool, max_hops: int) -> None:
        """Send one many-to-one Route Request now."""
        kind = ManyToOne.WITH_ROUTE_RECORDS if keeps_records else ManyToOne.WITHOUT_ROUTE_RECORDS
        radius = min(max_hops, nwk.MAX_RADIUS) or nwk.MAX_RADIUS
        self._stack.routing.send_request(nwk.BROADCAST_ROUTERS, kind, radius)

    def route_failed(self) -> None:
        """A router told that a way is broken."""
        self._route_errors += 1
        self._look_at_failures()

    def delivery_failed(self) -> None:
        """A message was not acknowledged by its destination."""
        self._delivery_failures += 1
        self._look_at_failures()

    def _look_at_failures(self) -> None:
        parameters = self._parameters
        if parameters is None or self._timer is None:
            return
        if (
            self._route_errors >= parameters.route_error_threshold
            or self._delivery_failures >= parameters.delivery_failure_threshold
        ):
            earliest_us = self._asked_us + parameters.min_time_s * 1_000_000
            now_us = self._stack.clock.now_us()
            self._ask_at(min(self._due_us, max(earliest_us, now_us)))

    def _ask_at(self, due_us: int) -> None:
        self.stop()
        self._due_us = due_us
        self._timer = self._stack.clock.call_at_us(due_us, self._ask)

    def _ask(self) -> None:
        parameters = self._parameters
        if parameters is None or not self._stack.is_up:
            return
        self._asked_us = now_us = self._stack.clock.now_us()
        self._route_errors = self._delivery_failures = 0
        self.ask(parameters.keeps_records, parameters.max_hops)
        self._ask_at(now_us + max(parameters.max_time_s, 1) * 1_000_000)
