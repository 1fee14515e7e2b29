"""Which frames of a capture a report shows: what is out of the ordinary, and a taste of the rest.

Source: ours. Shown are every frame that is not regular, the first and the last three blocks of each
transfer, ten frames each side of each anomaly, and every frame that a requirement names. There is a
bound; what it cuts is the middle, since runs go wrong at their beginning or at their end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from emulator.medium.pcapng import PcapngError
from hil.air_log import AirFrame, Block

MAX_FRAMES = 5_000
EDGE_BLOCKS = 3
NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class Selection:
    """The frames to show, in order; of all frames how many there are and how many are regular;
    how many of those to show the bound left out; and why the reading ended early, if it did."""

    frames: Sequence[AirFrame]
    total: int
    regular: int
    left_out: int
    problem: str | None = None


class _Transfer:
    """The blocks of one transfer of one node as they come: the first are kept, and the last."""

    def __init__(self) -> None:
        self.offset = 0
        self._count = 1
        self._current: list[AirFrame] = []
        self._last: deque[list[AirFrame]] = deque(maxlen=EDGE_BLOCKS - 1)

    def take(self, frame: AirFrame, block: Block) -> bool:
        """One more frame; whether it belongs to the first blocks.

        An acknowledgement that comes late, and a block asked for again, begin no block.
        """
        if block.begins and block.offset > self.offset:
            self.offset = block.offset
            self._count += 1
            self._last.append(self._current)
            self._current = []
        if self._count <= EDGE_BLOCKS:
            return True
        if len(self._current) < MAX_FRAMES:
            self._current.append(frame)
        return False

    def last(self) -> Iterable[AirFrame]:
        for frames in (*self._last, self._current):
            yield from frames


class _Shown:
    """The frames to show: half the bound from the start, the other half up to the end.

    What a requirement names is shown in any case.
    """

    def __init__(self, most: int, wanted: Collection[int]) -> None:
        self._wanted = wanted
        self._first: list[AirFrame] = []
        self._first_most = most - most // 2
        self._rest: deque[AirFrame] = deque()
        self._rest_most = most // 2
        self._always: list[AirFrame] = []
        self._numbers: set[int] = set()
        self.left_out = 0

    def add(self, frame: AirFrame) -> None:
        """A frame that is shown already is not shown twice."""
        if frame.number in self._numbers:
            return
        self._numbers.add(frame.number)
        if frame.number in self._wanted:
            self._always.append(frame)
        elif len(self._first) < self._first_most:
            self._first.append(frame)
        else:
            self._rest.append(frame)
            if len(self._rest) > self._rest_most:
                self.left_out += 1
                self._numbers.discard(self._rest.popleft().number)

    def in_order(self) -> tuple[AirFrame, ...]:
        return tuple(sorted((*self._first, *self._rest, *self._always)))


class _Selector:
    """Takes every frame in order and decides which of them are shown."""

    def __init__(self, anomalies_us: Iterable[int], wanted: Collection[int], most: int) -> None:
        self.shown = _Shown(most, wanted)
        self.total = self.regular = 0
        self._wanted = wanted
        self._anomalies_us = deque(sorted(anomalies_us))
        self._before: deque[AirFrame] = deque(maxlen=NEIGHBOURS)
        self._after = 0
        self._transfers: dict[int, _Transfer] = {}

    def take(self, frame: AirFrame) -> None:
        self.total = frame.number
        if self._anomalies_us and frame.time_us > self._anomalies_us[0]:
            self._pass_anomalies(frame.time_us)
        block = frame.block
        if self._after or block is None or frame.number in self._wanted:
            self._after = max(0, self._after - 1)
            self.shown.add(frame)
        if block is not None:
            self.regular += 1
            transfer = self._transfers.get(block.node)
            if transfer is None or (block.begins and block.offset == 0 and transfer.offset):
                self._end(transfer)
                transfer = self._transfers[block.node] = _Transfer()
            if transfer.take(frame, block):
                self.shown.add(frame)
        self._before.append(frame)

    def _pass_anomalies(self, time_us: int) -> None:
        """What happened since the last frame has that one and its neighbours beside it."""
        while self._anomalies_us and time_us > self._anomalies_us[0]:
            self._anomalies_us.popleft()
        for earlier in self._before:
            self.shown.add(earlier)
        self._after = NEIGHBOURS

    def _end(self, transfer: _Transfer | None) -> None:
        for frame in () if transfer is None else transfer.last():
            self.shown.add(frame)

    def end(self) -> None:
        """No further frame comes."""
        for transfer in self._transfers.values():
            self._end(transfer)
        for frame in self._before if self._anomalies_us else ():
            self.shown.add(frame)


def select_frames(
    frames: Iterable[AirFrame],
    *,
    anomalies_us: Iterable[int] = (),
    wanted: Collection[int] = (),
    most: int = MAX_FRAMES,
) -> Selection:
    """Read all of `frames`, keep those to show. `anomalies_us` are on the clock of the frames.

    A capture that is damaged ends the reading, and the selection says so.
    """
    selector = _Selector(anomalies_us, frozenset(wanted), most)
    problem = None
    try:
        for frame in frames:
            selector.take(frame)
    except PcapngError as error:
        problem = f"the capture cannot be read behind frame {selector.total}: {error}"
    selector.end()
    shown = selector.shown
    return Selection(shown.in_order(), selector.total, selector.regular, shown.left_out, problem)
