"""An end device's half of indirect delivery: when it asks its parent, and what it makes of that.

Source: Silicon Labs UG100, `pollForData` and `pollCompleteHandler`; IEEE 802.15.4-2006, 7.5.6.3;
ZigBee specification 05-3474, 3.6.10 (the timeout it asks for). The host decides how often its stick
polls; the stick by itself polls only while it joins or rejoins. What is said to be pending is
fetched at once.

    state    event                            next     effect
    -------  -------------------------------  -------  ----------------------------------------
    IDLE     start, interval 0                IDLE     one Data Request
    IDLE     start                            POLLING  Data Request now and every interval
    POLLING  it brought a frame, more wait    POLLING  Data Request
    POLLING  no acknowledgement               POLLING  counted; above the limit: PollComplete
    POLLING  stop, or the network is down     IDLE
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.medium.timing import MAX_FRAME_TOTAL_WAIT_US, Cancellable
from emulator.zigbee import rejoin_commands
from emulator.zigbee.events import PollComplete, Status
from emulator.zigbee.mac_link import SendResult
from emulator.zigbee.nwk import NwkError, NwkFrame

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

_STATUS = {
    SendResult.OK: Status.OK,
    SendResult.EXPIRED: Status.MAC_NO_DATA,
    SendResult.NO_ACK: Status.MAC_NO_ACK,
}


class Polling:
    """The polls of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._interval_us = 0
        self._failure_limit = 0
        self._failures = 0
        self._timer: Cancellable | None = None
        self._is_postponed = False
        self.parent_lost = False
        self.parent_information = 0  # how the parent lets its children keep themselves alive
        stack.command_handlers[rejoin_commands.COMMAND_TIMEOUT_RESPONSE] = self._timeout_given

    def ask_for_timeout(self) -> None:
        """An end device that has just come in says how long it may keep silent."""
        stack = self._stack
        network = stack.state.network
        self.parent_information = 0
        if network is not None and network.node_type.is_end_device:
            request = rejoin_commands.timeout_request(stack.children.timeout)
            stack.send_command(network.parent, request)

    def _timeout_given(self, command: bytes, header: NwkFrame, _mac_source: int) -> None:
        network = self._stack.state.network
        if network is None or header.source != network.parent:
            return
        try:
            response = rejoin_commands.parse_timeout_response(command)
        except NwkError:
            self._stack.undecodable += 1
            return
        self.parent_information = response.parent_information

    def start(self, interval_us: int, failure_limit: int) -> Status:
        """Poll now, and every `interval_us` from now on unless that is 0. PollComplete is told of
        every poll, with a `failure_limit` only when more than that many failed in a row.
        """
        stack = self._stack
        network = stack.state.network
        if not stack.is_up or network is None or not network.node_type.is_end_device:
            return Status.INVALID_CALL
        self.stop()
        self._interval_us = interval_us
        self._failure_limit = failure_limit
        self._failures = 0
        self._tick(stack.clock.now_us())
        return Status.OK

    def stop(self) -> None:
        """Poll no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self, now_us: int) -> None:
        stack = self._stack
        if self._interval_us:
            next_us = now_us + self._interval_us
            self._timer = stack.clock.call_at_us(next_us, self._tick, next_us)
        self._poll()

    def _poll(self) -> None:
        stack = self._stack
        network = stack.state.network
        if not stack.is_up or network is None:
            return
        if not stack.mac.is_polling:
            stack.mac.poll(network.parent, self._ended)
        elif not self._is_postponed:  # the last poll of a join may not have ended yet
            self._is_postponed = True
            clock = stack.clock
            clock.call_at_us(clock.now_us() + MAX_FRAME_TOTAL_WAIT_US, self._poll_postponed)

    def _poll_postponed(self) -> None:
        self._is_postponed = False
        self._poll()

    def _ended(self, result: SendResult, more: bool) -> None:
        stack = self._stack
        if not stack.is_up:
            return
        status = _STATUS.get(result, Status.DELIVERY_FAILED)
        if result in (SendResult.OK, SendResult.EXPIRED):
            self._failures = 0
            self.parent_lost = False
        else:
            self._failures += 1
            if self._failures > self._failure_limit:
                self.parent_lost = True
        if not self._failure_limit or self._failures > self._failure_limit:
            self._failures = 0
            stack.on_event(PollComplete(status))
        if more:
            self._poll()
