"""Connects a device's GBCS application to its tunnel, its radio and the loop's time.

Source: ours; the shell round `gbcs_half.DeviceHalf`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from emulator.devices import gbcs_half, tunnel
from emulator.devices.civil_timer import CivilTimer
from emulator.devices.gbcs_half import (
    AlertDelivered,
    DeviceHalf,
    FrameDiscarded,
    KnownTunnel,
    UtcNow,
)
from emulator.devices.wakeup import Wakeup


class Carrier(Protocol):
    """The way to the hub."""

    def send_through_tunnel(self, message: bytes, handle: int | None = None) -> None:
        """Send a message; the frame that carries it is told to `carried`."""

    def disown_tunnel(self, known: KnownTunnel) -> None:
        """Tell the hub that a tunnel is no more."""


class GbcsShell:
    """One between two restarts. `on_event` hears what was discarded or delivered."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        half: DeviceHalf,
        carrier: Carrier,
        utc_now: UtcNow,
        on_event: Callable[[FrameDiscarded | AlertDelivered], object],
    ) -> None:
        self._loop = loop
        self._half = half
        self._carrier = carrier
        self._utc_now = utc_now
        self._on_event = on_event
        self._timer = Wakeup(loop, half, self._act)
        self._calendar = CivilTimer(loop, half.next_due, self._execute_due, utc_now)
        self._carries: dict[int, int] = {}  # tag of a frame -> handle of the alert in it

    def start(self, was_tried: bool) -> None:
        """The firmware runs, in the network."""
        now, now_utc = self._loop.time(), self._utc_now()
        self._act(self._half.start(now, now_utc, was_tried=was_tried))
        self._calendar.settle()

    def stop(self) -> None:
        """It runs no more."""
        self._timer.stop()
        self._calendar.stop()

    def activating(self, version: int) -> None:
        """The boot loader is about to be left with this version."""
        self._half.activating(version)

    def hear(self, output: tunnel.Output, hub_endpoint: int) -> None:
        """Something happened in the tunnel, which the hub uses on this endpoint."""
        match output:
            case tunnel.MessageReceived():
                self._act(self._half.receive(output.data, self._utc_now()))
                self._calendar.settle()
            case tunnel.MessageRefused():
                self.failed(output.handle)
            case tunnel.TunnelUp():
                self._half.tunnel_up(KnownTunnel(output.tunnel_id, hub_endpoint))
            case tunnel.TunnelDown():
                self._half.tunnel_down()

    def carried(self, tag: int, handle: int) -> None:
        """The radio has taken the frame `tag`, which carries an alert."""
        self._carries[tag] = handle

    def sent(self, tag: int, delivered: bool) -> None:
        """What became of any frame at the radio."""
        if tag in self._carries:
            self._end(self._carries.pop(tag), delivered)

    def failed(self, handle: int | None) -> None:
        """A message will not reach the hub; one without a handle is nobody's concern."""
        if handle is not None:
            self._end(handle, delivered=False)

    def _end(self, handle: int, delivered: bool) -> None:
        told = self._half.sent(handle, delivered, self._loop.time())
        self._timer.settle()
        if told is not None:
            self._on_event(told)

    def _execute_due(self) -> None:
        self._act(self._half.execute_due(self._loop.time(), self._utc_now()))

    def _act(self, outputs: Sequence[gbcs_half.Output]) -> None:
        for output in outputs:
            match output:
                case gbcs_half.SendMessage():
                    self._carrier.send_through_tunnel(output.frame, output.handle)
                case gbcs_half.DisownTunnel():
                    self._carrier.disown_tunnel(output.tunnel)
                case FrameDiscarded():
                    self._on_event(output)
        self._timer.settle()
