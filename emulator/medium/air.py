"""The air of one place: who transmits when, who hears it, and what gets lost.

Source: IEEE 802.15.4-2006, 6.9.9 (clear channel assessment) and 7.5.1 (one frame at a time on a
channel). Faults are drawn for every pair of frame and listener, so that one listener may hear what
another misses. A frame is octets here; nobody looks inside.

Without faults a frame is captured as it is sent. With faults it is captured when it has been heard
or not, still in the order of the starts, and a comment says what happened to it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from emulator.medium.faults import (
    AirFault,
    Interference,
    LinkFault,
    RadioOff,
    Strikes,
    is_active,
)
from emulator.medium.faults import Loss as Loss
from emulator.medium.timing import (
    CCA_US,
    MAX_PSDU_OCTETS,
    TURNAROUND_US,
    Cancellable,
    RandomBits,
    Scheduler,
    air_us,
)

# A frame is asked for at most a turnaround before it starts, and CCA looks back from that moment.
_REMEMBER_US = TURNAROUND_US + CCA_US

Capture = Callable[[int, int, bytes, str], object]
"""Called as (start_us, channel, psdu, comment) for every frame put on the air, heard or not; the
comment names what faults did to it, and is empty nearly always."""

FIRST_CHANNEL: Final = 11
LAST_CHANNEL: Final = 26
MAX_LATE_FRAMES: Final = 1024  # on their way to listeners that will hear them late
_FOR_EVER_US: Final = 1 << 62

_AIR_US = tuple(air_us(octets) for octets in range(MAX_PSDU_OCTETS + 1))
_MAX_RECENT = 8  # frames looked at before those that ended are forgotten


class _Transmission:
    __slots__ = ("channel", "comment", "disturbed_by", "end_us", "psdu", "source", "start_us")

    comment: str | None  # set while a capture waits for it, see `Medium._held`

    def __init__(
        self, source: Transceiver, channel: int, start_us: int, end_us: int, psdu: bytes
    ) -> None:
        self.source = source
        self.channel = channel
        self.start_us = start_us
        self.end_us = end_us
        self.psdu = psdu
        self.disturbed_by: list[Transceiver] | None = None


class _Link:
    """What faults do between one sender and one listener."""

    __slots__ = ("hooks", "listener", "loss_words", "losses", "lost_below")

    def __init__(
        self, listener: Transceiver, losses: list[LinkFault], hooks: list[tuple[Strikes, LinkFault]]
    ) -> None:
        self.listener = listener
        heard = 1.0
        self.lost_below = 0  # a draw of 32 bits below this loses a frame
        self.losses: list[tuple[int, str]] = []  # likewise, by the first so many of them
        for loss in losses:
            heard *= 1.0 - loss.probability
            self.lost_below = round((1.0 - heard) * 2**32)
            self.losses.append((self.lost_below, str(loss)))
        self.loss_words = " and ".join(words for _, words in self.losses)
        self.hooks = hooks


class Medium:
    """A shared radio space. Time and chance are handed in; frames are handed out."""

    def __init__(
        self,
        clock: Scheduler,
        random_bits: RandomBits,
        *,
        faults: tuple[AirFault, ...] = (),
        capture: Capture | None = None,
    ) -> None:
        self._clock = clock
        self._call_at_us = clock.call_at_us
        self._random_bits = random_bits
        self._capture = capture
        self._transceivers: list[Transceiver] = []
        self._separated: set[tuple[str, str]] = set()
        self._recent: list[_Transmission] = []  # in the order of their starts
        self._latest_end_us = 0
        self._faults: tuple[AirFault, ...] = ()
        self._held: deque[_Transmission] | None = None  # not captured yet; None while all are
        self._strikes: dict[tuple[LinkFault, str, str], Strikes] = {}
        self._off: dict[str, RadioOff] = {}
        self._edges: list[Cancellable] = []
        self._interferer = Transceiver(self, "interference", lambda _: None)
        self._late_frames = 0
        # How often each fault struck, by its words.
        self.struck: Counter[str] = Counter()
        if faults:
            self.set_faults(faults)

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

    def set_faults(self, faults: tuple[AirFault, ...]) -> None:
        """Replace the faults, from the next frame that is heard on."""
        for edge in self._edges:
            edge.cancel()
        self._edges.clear()
        self._strikes.clear()
        self._stop_interference()
        self._faults = faults
        if faults and self._held is None:
            self._held = deque()
        now_us = self._clock.now_us()
        for fault in faults:
            if fault.start_us > now_us:
                self._edges.append(self._call_at_us(fault.start_us, self._begin, fault))
            else:
                self._begin(fault, settle=False)
            if fault.end_us is not None and fault.end_us > now_us:
                self._edges.append(self._call_at_us(fault.end_us, self._settle))
        self._settle()

    def close(self) -> None:
        """Nothing more is sent: what was not heard to its end is captured as it is."""
        for transmission in self._held or ():
            if transmission.comment is None:
                transmission.comment = ""
        self._capture_held()
        for edge in self._edges:
            edge.cancel()

    def _begin(self, fault: AirFault, *, settle: bool = True) -> None:
        if isinstance(fault, Interference) and is_active(fault, self._clock.now_us()):
            self._interfere(fault)
        if settle:
            self._settle()

    def _interfere(self, fault: Interference) -> None:
        """Occupy the air with something that is no frame, so that nobody hears anything else."""
        start_us = self._clock.now_us()
        end_us = _FOR_EVER_US if fault.end_us is None else fault.end_us
        channels = range(FIRST_CHANNEL, LAST_CHANNEL + 1)
        for channel in channels if fault.channel is None else (fault.channel,):
            noise = _Transmission(self._interferer, channel, start_us, end_us, b"")
            noise.comment = str(fault)
            for other in self._recent:
                if other.end_us > start_us and other.channel == channel:
                    _disturb(other, self._interferer)
            self._recent.append(noise)
        self._latest_end_us = max(self._latest_end_us, end_us)

    def _stop_interference(self) -> None:
        self._recent = [one for one in self._recent if one.source is not self._interferer]
        self._latest_end_us = max((one.end_us for one in self._recent), default=0)

    def _settle(self) -> None:
        """Work out who hears whom, and through which faults."""
        now_us = self._clock.now_us()
        faults = [fault for fault in self._faults if is_active(fault, now_us)]
        self._off = {fault.node: fault for fault in faults if isinstance(fault, RadioOff)}
        link_faults = [fault for fault in faults if isinstance(fault, LinkFault)]
        for source in self._transceivers:
            source._listeners = [
                listener
                for listener in self._transceivers
                if listener is not source and (source.name, listener.name) not in self._separated
            ]
            if self._held is not None:
                source._links = [
                    self._link(source.name, listener, link_faults) for listener in source._listeners
                ]

    def _link(self, sender: str, listener: Transceiver, faults: list[LinkFault]) -> _Link:
        here = [fault for fault in faults if fault.concerns(sender, listener.name)]
        hooks = []
        for fault in here:
            if not isinstance(fault, Loss):
                key = (fault, sender, listener.name)
                if key not in self._strikes:  # a spell of a link goes on when a node restarts
                    self._strikes[key] = fault.on_link()
                hooks.append((self._strikes[key], fault))
        return _Link(listener, [fault for fault in here if isinstance(fault, Loss)], hooks)

    def _hears(self, listener: Transceiver, other: Transceiver) -> bool:
        return (
            listener is other
            or other is self._interferer
            or (other.name, listener.name) not in self._separated
        )

    # -- delivery through faults ---------------------------------------------------------------

    def _deliver(self, transmission: _Transmission) -> None:
        """The last octet has been sent: what each listener hears of it, and what is told of it."""
        channel = transmission.channel
        psdu = transmission.psdu
        disturbed_by = transmission.disturbed_by
        random_bits = self._random_bits
        notes: list[str] = []
        for link in transmission.source._links:
            listener = link.listener
            if listener.channel != channel:
                continue
            if off := self._off.get(listener.name):
                self.struck[str(off)] += 1
                notes.append(f"not heard by {listener.name}: {off}")
                continue
            if link.lost_below and (drawn := random_bits(32)) < link.lost_below:
                self.struck[next(words for below, words in link.losses if drawn < below)] += 1
                notes.append(f"lost at {listener.name}: {link.loss_words}")
                continue
            if disturbed_by and any(self._hears(listener, other) for other in disturbed_by):
                if self._interferer in disturbed_by:
                    noise = self._noise(transmission)
                    self.struck[noise] += 1
                    notes.append(f"lost at {listener.name}: {noise}")
                continue
            for strikes, fault in link.hooks:
                if strikes(psdu, random_bits):
                    self.struck[str(fault)] += 1
                    notes.append(f"{fault.SAYS} at {listener.name}: {fault}")
                    for late_us, octets in fault.heard(psdu, random_bits):
                        self._hand_over(listener, channel, octets, late_us)
                    break
            else:
                listener.receive(psdu)
        transmission.comment = "; ".join(notes)
        self._capture_held()

    def _hand_over(self, listener: Transceiver, channel: int, psdu: bytes, late_us: int) -> None:
        if not late_us:
            listener.receive(psdu)
        elif self._late_frames < MAX_LATE_FRAMES:
            self._late_frames += 1
            self._call_at_us(
                self._clock.now_us() + late_us, self._hear_late, listener, channel, psdu
            )

    def _hear_late(self, listener: Transceiver, channel: int, psdu: bytes) -> None:
        self._late_frames -= 1
        if listener.channel == channel and listener.name not in self._off:
            listener.receive(psdu)

    def _noise(self, transmission: _Transmission) -> str:
        """Which interference a frame fell into."""
        for other in self._recent:
            if other.source is self._interferer and other.channel == transmission.channel:
                return str(other.comment)
        return self._interferer.name

    def _capture_held(self) -> None:
        """Capture what is known to its end, in the order of the starts."""
        held = self._held
        if held is None:
            return
        while held and (comment := held[0].comment) is not None:
            one = held.popleft()
            if self._capture is not None:
                self._capture(one.start_us, one.channel, one.psdu, comment)
        if not held and not self._faults:
            self._held = None


def _disturb(transmission: _Transmission, source: Transceiver) -> None:
    if not transmission.psdu:  # interference: nobody listens to it
        return
    if transmission.disturbed_by is None:
        transmission.disturbed_by = []
    transmission.disturbed_by.append(source)


class Transceiver:
    """One radio on the air: it sends octets, hears octets, and can tell whether anyone sends."""

    __slots__ = ("_links", "_listeners", "_medium", "channel", "name", "receive")

    def __init__(self, medium: Medium, name: str, receive: Callable[[bytes], object]) -> None:
        self._medium = medium
        self._listeners: list[Transceiver] = []
        self._links: list[_Link] = []  # the same with their faults, while there are any
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
        held = medium._held
        if held is not None:
            transmission.comment = None
            held.append(transmission)
            if off := medium._off.get(self.name):
                transmission.comment = f"not sent: {off}"
                medium._capture_held()
                return end_us
        elif medium._capture is not None:
            medium._capture(start_us, channel, psdu, "")
        recent = medium._recent
        latest_end_us = medium._latest_end_us
        if start_us - _REMEMBER_US >= latest_end_us:
            recent.clear()
            medium._latest_end_us = end_us
        elif start_us >= latest_end_us:
            medium._latest_end_us = end_us
        else:
            if len(recent) > _MAX_RECENT:
                past_us = start_us - _REMEMBER_US
                recent[:] = [other for other in recent if other.end_us > past_us]
            medium._latest_end_us = max(end_us, latest_end_us)
            for other in recent:
                if other.end_us > start_us and other.channel == channel:
                    _disturb(transmission, other.source)
                    _disturb(other, self)
        recent.append(transmission)
        medium._call_at_us(end_us, self._deliver, transmission)
        return end_us

    def _deliver(self, transmission: _Transmission) -> None:
        """The last octet has been sent: whoever hears it hears the frame now."""
        medium = self._medium
        if medium._held is not None:
            medium._deliver(transmission)
            return
        channel = transmission.channel
        disturbed_by = transmission.disturbed_by
        for listener in self._listeners:
            if listener.channel != channel:
                continue
            if disturbed_by and any(medium._hears(listener, other) for other in disturbed_by):
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
