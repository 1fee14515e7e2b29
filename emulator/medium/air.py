"""The air of one place: who transmits when, who hears it, and what gets lost.

Source: IEEE 802.15.4-2006, 6.9.9 (clear channel assessment) and 7.5.1 (one frame at a time on a
channel). Loss is drawn for every pair of frame and listener, so that one listener may hear what
another misses. A frame is octets here; nobody looks inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from emulator.medium.timing import (
    CCA_US,
    MAX_PSDU_OCTETS,
    TURNAROUND_US,
    RandomBits,
    Scheduler,
    air_us,
)

# A frame is asked for at most a turnaround before it starts, and CCA looks back from that moment.
_REMEMBER_US = TURNAROUND_US + CCA_US

Capture = Callable[[int, int, bytes], object]
"""Called as (start_us, channel, psdu) for every frame put on the air, heard or not."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Frames that vanish: `probability` of each, at every listener, or where `node` takes part."""

    probability: float
    node: str | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"a loss probability lies in 0..1, not {self.probability}")


_AIR_US = tuple(air_us(octets) for octets in range(MAX_PSDU_OCTETS + 1))
_MAX_RECENT = 8  # frames looked at before those that ended are forgotten


class _Transmission:
    __slots__ = ("channel", "disturbed_by", "end_us", "psdu", "source", "start_us")

    def __init__(
        self, source: Transceiver, channel: int, start_us: int, end_us: int, psdu: bytes
    ) -> None:
        self.source = source
        self.channel = channel
        self.start_us = start_us
        self.end_us = end_us
        self.psdu = psdu
        self.disturbed_by: list[Transceiver] | None = None


class _Listener(NamedTuple):
    transceiver: Transceiver
    lost_below: int  # a draw of 32 bits below this loses the frame


class Medium:
    """A shared radio space. Time and chance are handed in; frames are handed out."""

    def __init__(
        self,
        clock: Scheduler,
        random_bits: RandomBits,
        *,
        losses: tuple[Loss, ...] = (),
        capture: Capture | None = None,
    ) -> None:
        self._clock = clock
        self._call_at_us = clock.call_at_us
        self._random_bits = random_bits
        self._losses = losses
        self._capture = capture
        self._transceivers: list[Transceiver] = []
        self._separated: set[tuple[str, str]] = set()
        self._recent: list[_Transmission] = []  # in the order of their starts
        self._latest_end_us = 0

    def attach(self, name: str, receive: Callable[[bytes], object]) -> Transceiver:
        """Put a transceiver named `name` on the air, switched off until it is tuned.

        `receive(psdu)` is called at the end of every frame it hears.
        """
        if any(other.name == name for other in self._transceivers):
            raise ValueError(f"there is a transceiver named {name!r} on this air already")
        transceiver = Transceiver(self, name, receive)
        self._transceivers.append(transceiver)
        self._settle()
        return transceiver

    def detach(self, transceiver: Transceiver) -> None:
        """Take a transceiver off the air; a frame it is sending is heard to its end."""
        self._transceivers.remove(transceiver)
        transceiver.channel = None
        self._settle()

    def separate(self, one: str, other: str) -> None:
        """From now on neither of the two named transceivers hears the other."""
        self._separated |= {(one, other), (other, one)}
        self._settle()

    def set_losses(self, losses: tuple[Loss, ...]) -> None:
        """Replace the losses, from the next frame on."""
        self._losses = losses
        self._settle()

    def _settle(self) -> None:
        for source in self._transceivers:
            source._listeners = [
                _Listener(listener, self._lost_below(source.name, listener.name))
                for listener in self._transceivers
                if listener is not source and (source.name, listener.name) not in self._separated
            ]

    def _lost_below(self, source: str, listener: str) -> int:
        heard = 1.0
        for loss in self._losses:
            if loss.node is None or loss.node in (source, listener):
                heard *= 1.0 - loss.probability
        return round((1.0 - heard) * 2**32)

    def _hears(self, listener: Transceiver, other: Transceiver) -> bool:
        return listener is other or (other.name, listener.name) not in self._separated


def _disturb(transmission: _Transmission, source: Transceiver) -> None:
    if transmission.disturbed_by is None:
        transmission.disturbed_by = []
    transmission.disturbed_by.append(source)


class Transceiver:
    """One radio on the air: it sends octets, hears octets, and can tell whether anyone sends."""

    __slots__ = ("_listeners", "_medium", "channel", "name", "receive")

    def __init__(self, medium: Medium, name: str, receive: Callable[[bytes], object]) -> None:
        self._medium = medium
        self._listeners: list[_Listener] = []
        self.name = name
        self.channel: int | None = None
        self.receive = receive

    def transmit(self, psdu: bytes, start_us: int) -> int:
        """Put `psdu` (FCS included) on the air at `start_us`; when its last octet ends.

        Raises ValueError when not tuned, or for a frame no radio can send.
        """
        medium = self._medium
        channel = self.channel
        if channel is None:
            raise ValueError(f"transceiver {self.name!r} is not tuned to a channel")
        octets = len(psdu)
        if not 1 <= octets <= MAX_PSDU_OCTETS:
            raise ValueError(f"a frame has 1 to {MAX_PSDU_OCTETS} octets, not {octets}")
        end_us = start_us + _AIR_US[octets]
        transmission = _Transmission(self, channel, start_us, end_us, psdu)
        recent = medium._recent
        if len(recent) > _MAX_RECENT:
            past_us = start_us - _REMEMBER_US
            recent[:] = [other for other in recent if other.end_us > past_us]
        if start_us >= medium._latest_end_us:
            medium._latest_end_us = end_us
        else:
            medium._latest_end_us = max(end_us, medium._latest_end_us)
            for other in recent:
                if other.end_us > start_us and other.channel == channel:
                    _disturb(transmission, other.source)
                    _disturb(other, self)
        recent.append(transmission)
        if medium._capture is not None:
            medium._capture(start_us, channel, psdu)
        medium._call_at_us(end_us, self._deliver, transmission)
        return end_us

    def _deliver(self, transmission: _Transmission) -> None:
        """The last octet has been sent: whoever hears it hears the frame now."""
        channel = transmission.channel
        disturbed_by = transmission.disturbed_by
        for listener, lost_below in self._listeners:
            if listener.channel != channel:
                continue
            if lost_below and self._medium._random_bits(32) < lost_below:
                continue
            if disturbed_by and any(self._medium._hears(listener, other) for other in disturbed_by):
                continue
            listener.receive(transmission.psdu)

    def channel_busy(self) -> bool:
        """Whether anyone in hearing sent, on this channel, within the last CCA period."""
        medium = self._medium
        now_us = medium._clock.now_us()
        since_us = now_us - CCA_US
        if medium._latest_end_us <= since_us:
            return False
        return any(
            other.end_us > since_us
            and other.start_us < now_us
            and other.channel == self.channel
            and medium._hears(self, other.source)
            for other in medium._recent
        )
