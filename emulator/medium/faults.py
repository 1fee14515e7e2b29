"""Faults of the air, as data: what becomes of frames between a sender and a listener, and when.

Source: DESIGN, "Eight nouns" (Fault); E. N. Gilbert, "Capacity of a Burst-Noise Channel", 1960, for
losses that come in bursts (good and bad spells of a link, nothing heard in a bad one).

A fault of a link is asked for each frame and listener it concerns, and draws once: whether it
strikes. The first one that strikes says what the listener hears. Nobody looks into a frame: an
acknowledgement is known by its 5 octets, which no other frame of 802.15.4 has so few of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from emulator.medium.timing import ACK_OCTETS, RandomBits

Heard = tuple[tuple[int, bytes], ...]
"""What a listener hears instead of a frame: (how late in us, octets) of each copy."""

Strikes = Callable[[bytes, RandomBits], bool]

DEFAULT_BURST_FRAMES = 8
DEFAULT_REPEAT_US = 5_000  # after the acknowledgement of the first copy
MAX_LATE_US = 60_000_000


class AirFaultError(ValueError):
    """A fault was asked for that cannot be."""


@dataclass(frozen=True, slots=True)
class LinkFault:
    """What happens by chance between senders and listeners.

    `node` takes part at either end, `sender` and `listener` at theirs; None is anybody. It holds
    from `start_us` until before `end_us` of the run. `words` name it in captures.
    """

    NAME: ClassVar[str] = "fault"
    SAYS: ClassVar[str] = "struck"

    probability: float
    node: str | None = None
    _: KW_ONLY
    sender: str | None = None
    listener: str | None = None
    start_us: int = 0
    end_us: int | None = None
    words: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise AirFaultError(f"a {self.NAME} probability lies in 0..1, not {self.probability}")

    def concerns(self, sender: str, listener: str) -> bool:
        """Whether frames of `sender` can be struck on their way to `listener`."""
        return (
            (self.node is None or self.node in (sender, listener))
            and (self.sender is None or self.sender == sender)
            and (self.listener is None or self.listener == listener)
        )

    def on_link(self) -> Strikes:
        """The fault on one link: whether it strikes the next frame there."""
        below = round(self.probability * 2**32)
        return lambda _, random_bits: random_bits(32) < below

    def heard(self, psdu: bytes, random_bits: RandomBits) -> Heard:  # noqa: ARG002
        """What is heard instead of `psdu`: nothing, unless a kind of fault has another answer."""
        return ()

    def __str__(self) -> str:
        return self.words or self.NAME


class Loss(LinkFault):
    """Frames that vanish, each by itself. All losses of a link together are one draw."""

    __slots__ = ()
    NAME = "loss"
    SAYS = "lost"


class AckLoss(LinkFault):
    """Acknowledgements of the MAC that vanish; those of APS are data to a radio."""

    __slots__ = ()
    NAME = "loss of acknowledgements"
    SAYS = "lost"

    def on_link(self) -> Strikes:
        below = round(self.probability * 2**32)
        return lambda psdu, random_bits: len(psdu) == ACK_OCTETS and random_bits(32) < below


@dataclass(frozen=True, slots=True)
class BurstLoss(LinkFault):
    """Frames that vanish in bursts, `burst_frames` of a link in the mean, never apart."""

    NAME: ClassVar[str] = "bursty loss"
    SAYS: ClassVar[str] = "lost"

    _: KW_ONLY
    burst_frames: float = DEFAULT_BURST_FRAMES

    def __post_init__(self) -> None:
        LinkFault.__post_init__(self)
        if not 1 <= self.burst_frames <= 1_000_000:
            raise AirFaultError(f"a burst has 1 to 1000000 frames, not {self.burst_frames:g}")
        if self.probability < 1 and self.probability > self.burst_frames * (1 - self.probability):
            raise AirFaultError(
                f"bursts of {self.burst_frames:g} frames are too short to lose "
                f"{self.probability * 100:g} % of all"
            )

    def on_link(self) -> Strikes:
        return _Spells(self.probability, self.burst_frames).strikes


class _Spells:
    """The good and bad spells of one link; one draw a frame moves it from one to the other."""

    __slots__ = ("_begins_below", "_ends_below", "_is_bad")

    def __init__(self, probability: float, burst_frames: float) -> None:
        ends = 1 / burst_frames if probability < 1 else 0.0
        begins = probability * ends / (1 - probability) if probability < 1 else 1.0
        self._begins_below = round(begins * 2**32)
        self._ends_below = round(ends * 2**32)
        self._is_bad = False

    def strikes(self, _psdu: bytes, random_bits: RandomBits) -> bool:
        draw = random_bits(32)
        self._is_bad = draw >= self._ends_below if self._is_bad else draw < self._begins_below
        return self._is_bad


class Damage(LinkFault):
    """Frames in which one bit is flipped: their FCS is wrong, and a radio drops them."""

    __slots__ = ()
    NAME = "damage"
    SAYS = "damaged"

    def heard(self, psdu: bytes, random_bits: RandomBits) -> Heard:
        at = random_bits(32) % (8 * len(psdu))
        octet = psdu[at >> 3] ^ 1 << (at & 7)
        return ((0, psdu[: at >> 3] + bytes((octet,)) + psdu[(at >> 3) + 1 :]),)


@dataclass(frozen=True, slots=True)
class Late(LinkFault):
    """What duplicates and delayed frames have in common: they are heard `by_us` late."""

    _: KW_ONLY
    by_us: int = DEFAULT_REPEAT_US

    def __post_init__(self) -> None:
        LinkFault.__post_init__(self)
        if not 1_000 <= self.by_us <= MAX_LATE_US:
            raise AirFaultError(f"a {self.NAME} is by 1 to {MAX_LATE_US // 1000} ms")


class Duplicate(Late):
    """Frames that are heard twice."""

    __slots__ = ()
    NAME = "duplicate"
    SAYS = "heard twice"

    def heard(self, psdu: bytes, random_bits: RandomBits) -> Heard:  # noqa: ARG002
        return ((0, psdu), (self.by_us, psdu))


class Delay(Late):
    """Frames that are heard late, so that later ones overtake them."""

    __slots__ = ()
    NAME = "delay"
    SAYS = "heard late"

    def heard(self, psdu: bytes, random_bits: RandomBits) -> Heard:  # noqa: ARG002
        return ((self.by_us, psdu),)


@dataclass(frozen=True, slots=True)
class Interference:
    """A transmitter that is no radio of ours: every channel (or one) is busy all the time, and
    what is sent nevertheless is lost."""

    channel: int | None = None
    start_us: int = 0
    end_us: int | None = None
    words: str = ""

    def __str__(self) -> str:
        return self.words or "interference"


@dataclass(frozen=True, slots=True)
class RadioOff:
    """A node whose radio neither sends nor hears; its stick and its host do not know."""

    node: str
    start_us: int = 0
    end_us: int | None = None
    words: str = ""

    def __str__(self) -> str:
        return self.words or f"radio off on {self.node}"


AirFault = LinkFault | Interference | RadioOff


def is_active(fault: AirFault, now_us: int) -> bool:
    """Whether the fault's time has come and not gone."""
    return fault.start_us <= now_us and (fault.end_us is None or now_us < fault.end_us)
