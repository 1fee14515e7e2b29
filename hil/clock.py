"""The clock: an event loop that jumps to the next thing to do, and the same face on a real loop.

Source: DESIGN, "Time and chance"; asyncio's `BaseEventLoop._run_once` of CPython 3.11 to 3.13.

`VirtualLoop` keeps two agendas: asyncio's own timers (seconds, float) and the air's calls
(microseconds, int). When nothing is ready it passes time inside the selector call:

    ready or stopping     file descriptors   next due          then
    --------------------  -----------------  ----------------  --------------------------------
    yes                   polled if any      -                 nothing: asyncio runs what is ready
    no                    one is ready       -                 nothing: asyncio serves it
    no, held              waited for         not after now     run; time stands still
    no                    none ready         microsecond call  time := its time, call it, again
    no                    none ready         asyncio timer     time := exactly its `_when`
    no                    none ready         nothing           VirtualDeadlock
"""

from __future__ import annotations

import asyncio
import contextlib
import linecache
import math
import re
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from heapq import heapify, heappop, heappush
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, TypeVarTuple

from hil.errors import BenchBroke, VirtualDeadlock

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_SECOND_US = 1_000_000
# asyncio timers carry float noise far below a microsecond; it must not push `now_us()` one up.
_FLOAT_NOISE_US = 0.001
# Signals reach a loop through its self-pipe, so even a busy loop looks there now and then.
_CALLS_BETWEEN_POLLS = 256
_COMPACT_AT = 1024
_HOLD_LIMIT_S = 60.0
_TASKS_NAMED = 10

_PRIVATE_NAMES = (
    "_ready",
    "_scheduled",
    "_stopping",
    "_clock_resolution",
    "_selector",
    "_timer_cancelled_count",
)


class MicrosecondCall(list[Any]):
    """One entry of an agenda, `[when_us, order asked, call, args]`; a list compares quickly."""

    __slots__ = ()

    def cancel(self) -> None:
        self[2] = self[3] = None


class _VirtualSelector(selectors.DefaultSelector):
    """The selector through which asyncio waits; waiting is where virtual time passes."""

    loop: VirtualLoop

    def __init__(self) -> None:
        super().__init__()
        self.watched = 0

    def register(self, *args: Any, **kwargs: Any) -> selectors.SelectorKey:
        key = super().register(*args, **kwargs)
        self.watched += 1
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        self.watched -= 1
        return key

    def poll(self, timeout_s: float) -> _Events:
        return super().select(timeout_s)

    def select(self, timeout: float | None = None) -> _Events:  # noqa: ARG002 - time is ours
        return self.loop.pass_time()


_Events = list[tuple[selectors.SelectorKey, int]]
_NOTHING: _Events = []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a number. It is also the `Scheduler` of the air and the stacks.

    There are no threads: `run_in_executor` runs the function at once. A call made through
    `call_at_us` runs outside any task; what it raises ends the run.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[Any]
    _stopping: bool
    _clock_resolution: float
    _timer_cancelled_count: int
    _selector: _VirtualSelector

    def __init__(self) -> None:
        self._now_s = 0.0
        self._now_us = 0
        self._calls: list[MicrosecondCall] = []
        self._asked = count()
        self._compact_at = _COMPACT_AT
        self._unpolled = 0
        self._hold_limits_s: list[float] = []
        selector = _VirtualSelector()
        selector.loop = self
        super().__init__(selector)
        missing = [name for name in _PRIVATE_NAMES if not hasattr(self, name)]
        if missing:
            self.close()
            raise BenchBroke(
                f"this Python's asyncio has no {', '.join(missing)}: use the real clock"
            )
        self._clock_resolution = math.ulp(0.0)

    # -- time ------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now_s

    def now_us(self) -> int:
        """Microseconds since the loop was made; never less than `time()`, bar float noise."""
        return self._now_us

    def call_at_us(
        self, when_us: int, call: Callable[..., object], *args: object
    ) -> MicrosecondCall:
        """Call `call(*args)` at `when_us`, or now if that is past; equal times in order asked."""
        if when_us < self._now_us:
            when_us = self._now_us
        order = next(self._asked)
        entry = MicrosecondCall((when_us, order, call, args))
        calls = self._calls
        heappush(calls, entry)
        if not order % _COMPACT_AT and len(calls) > self._compact_at:
            self._compact_at = max(_COMPACT_AT, 2 * _compact(calls))
        return entry

    @contextlib.contextmanager
    def hold(self, limit_s: float = _HOLD_LIMIT_S) -> Iterator[None]:
        """Freeze time round a socket exchange; `limit_s` of silence, in real time, ends the run."""
        self._hold_limits_s.append(limit_s)
        try:
            yield
        finally:
            self._hold_limits_s.remove(limit_s)

    # -- waiting ---------------------------------------------------------------------------

    def pass_time(self) -> _Events:
        """What asyncio's `select` becomes: see the table at the top."""
        selector = self._selector
        if self._ready or self._stopping:
            self._unpolled += 1
            if selector.watched > 1 or self._unpolled > _CALLS_BETWEEN_POLLS:
                self._unpolled = 0
                return selector.poll(0)
            return _NOTHING
        if selector.watched > 1 and (events := selector.poll(0)):
            return events
        if self._hold_limits_s:
            return self._wait_held(selector)
        return self._jump(selector)

    def _jump(self, selector: _VirtualSelector) -> _Events:
        calls, ready, scheduled = self._calls, self._ready, self._scheduled
        budget = _CALLS_BETWEEN_POLLS
        while calls:
            when_us, _, call, args = calls[0]
            if call is None:
                heappop(calls)
                continue
            when_s = when_us / 1_000_000
            if scheduled and scheduled[0]._when < when_s:
                if not scheduled[0]._cancelled:
                    break
                self._drop_cancelled_timers()
                continue
            heappop(calls)
            self._now_us = when_us
            if when_s > self._now_s:
                self._now_s = when_s
            call(*args)
            budget -= 1
            if ready or self._stopping or not budget:
                self._clock_resolution = math.ulp(self._now_s)
                return _NOTHING if budget else selector.poll(0)
        if scheduled:
            timer = scheduled[0]
            # A timer that one of the calls cancelled must not move the clock; asyncio drops it.
            if not timer._cancelled:
                self._jump_to(timer._when)
            self._unpolled += 1
            if self._unpolled > _CALLS_BETWEEN_POLLS:
                self._unpolled = 0
                return selector.poll(0)
            return _NOTHING
        if (events := selector.poll(0)) or ready:
            return events
        hint = (
            ", file descriptors aside (clock.hold() waits for one)" if selector.watched > 1 else ""
        )
        raise _deadlock(self, f"nothing is scheduled any more{hint}")

    def _drop_cancelled_timers(self) -> None:
        """Drop what asyncio would drop in its next turn: a transfer cancels two timers a block."""
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            timer = heappop(scheduled)
            timer._scheduled = False
            self._timer_cancelled_count -= 1

    def _jump_to(self, when_s: float) -> None:
        if when_s > self._now_s:
            self._now_s = when_s
            now_us = math.ceil(when_s * _SECOND_US - _FLOAT_NOISE_US)
            if now_us > self._now_us:
                self._now_us = now_us
        # asyncio runs timers with `_when < time() + resolution`: exactly those not after now.
        self._clock_resolution = math.ulp(self._now_s)

    def _wait_held(self, selector: _VirtualSelector) -> _Events:
        calls, scheduled = self._calls, self._scheduled
        while calls and calls[0][0] <= self._now_us:
            _, _, call, args = heappop(calls)
            if call is not None:
                call(*args)
                if self._ready:
                    return _NOTHING
        if scheduled and scheduled[0]._when <= self._now_s:
            return _NOTHING
        limit_s = max(self._hold_limits_s)
        events = selector.poll(limit_s)
        if not events and not self._ready:
            raise _deadlock(self, f"time is held and nothing came for {limit_s:g} s of real time")
        return events

    # -- no threads ------------------------------------------------------------------------

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002 - asyncio's own signature
        func: Callable[[*_Ts], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """Run `func` at once: a thread would finish at a moment no seed decides."""
        future: asyncio.Future[_T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none. Python 3.12 and later pass a timeout."""

    def close(self) -> None:
        self._calls.clear()
        super().close()


def _compact(calls: list[MicrosecondCall]) -> int:
    """Drop cancelled entries in place; how many are left."""
    calls[:] = [entry for entry in calls if entry[2] is not None]
    heapify(calls)
    return len(calls)


# -- who waits for ever --------------------------------------------------------------------


def _deadlock(loop: asyncio.AbstractEventLoop, why: str) -> VirtualDeadlock:
    # Tasks nobody named are called Task-9, Task-10, …: numbers sort as numbers.
    tasks = sorted(
        asyncio.all_tasks(loop),
        key=lambda task: re.sub(r"\d+", lambda found: found[0].zfill(9), task.get_name()),
    )
    waiting = tuple(f"{task.get_name()} {_awaited_line(task.get_coro())}" for task in tasks)
    if not waiting:
        return VirtualDeadlock(f"{why}, and no task is left that could end the run")
    shown = "; ".join(waiting[:_TASKS_NAMED])
    more = f"; and {len(waiting) - _TASKS_NAMED} more" if len(waiting) > _TASKS_NAMED else ""
    return VirtualDeadlock(f"{why}, yet these tasks wait: {shown}{more}", waiting)


def _awaited_line(awaitable: Any) -> str:
    """Where a suspended coroutine stands: its innermost line outside asyncio."""
    asyncio_folder = Path(asyncio.__file__).parent
    place = "at an unknown line"
    for frame in _frames(awaitable):
        path = Path(frame.f_code.co_filename)
        if path.parent == asyncio_folder:
            break
        with contextlib.suppress(ValueError):
            path = path.relative_to(Path.cwd())
        source = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        place = f"at {path}:{frame.f_lineno}" + (f" ({source})" if source else "")
    return place


def _frames(awaitable: Any) -> Iterator[FrameType]:
    """The frames of a suspended coroutine and of what it awaits, outermost first."""
    while awaitable is not None:
        for kind, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaitable, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                awaitable = getattr(awaitable, inner)
                break
        else:
            return


# -- the real clock ------------------------------------------------------------------------


class RealClock:
    """The `Scheduler` on a normal loop; zero is the moment of construction.

    A late wake-up makes every call that is due, each at its own scheduled time, so that lateness
    never adds up. What comes due meanwhile waits for the next turn of the loop: sockets are served
    in between.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._zero_s = loop.time()
        self._calls: list[MicrosecondCall] = []
        self._asked = 0
        self._compact_at = _COMPACT_AT
        self._last_us = 0
        self._calling = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_us = 0

    def now_us(self) -> int:
        """Microseconds since construction; within a call, the time it was scheduled for."""
        if self._calling:
            return self._last_us
        return max(self._wall_us(), self._last_us)

    def call_at_us(
        self, when_us: int, call: Callable[..., object], *args: object
    ) -> MicrosecondCall:
        """Call `call(*args)` at `when_us` or soon after; equal times in the order asked."""
        if when_us < self._last_us:
            when_us = self._last_us
        self._asked += 1
        entry = MicrosecondCall((when_us, self._asked, call, args))
        heappush(self._calls, entry)
        if len(self._calls) > self._compact_at:
            self._compact_at = max(_COMPACT_AT, 2 * _compact(self._calls))
        if not self._calling:
            self._arm()
        return entry

    def close(self) -> None:
        """Forget every call."""
        self._calls.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wall_us(self) -> int:
        return int((self._loop.time() - self._zero_s) * _SECOND_US)

    def _arm(self) -> None:
        if not self._calls:
            return
        when_us = self._calls[0][0]
        if self._timer is not None:
            if self._timer_us <= when_us:
                return
            self._timer.cancel()
        self._timer_us = when_us
        self._timer = self._loop.call_at(self._zero_s + when_us / _SECOND_US, self._wake)

    def _wake(self) -> None:
        self._timer = None
        # The loop may wake a clock tick early: what the timer was set for is due all the same.
        due_us = max(self._wall_us(), self._timer_us)
        calls = self._calls
        self._calling = True
        try:
            while calls and calls[0][0] <= due_us:
                when_us, _, call, args = heappop(calls)
                if call is not None:
                    self._last_us = when_us
                    call(*args)
        finally:
            self._calling = False
            self._arm()


# -- running -------------------------------------------------------------------------------


def hold(limit_s: float = _HOLD_LIMIT_S) -> contextlib.AbstractContextManager[None]:
    """`VirtualLoop.hold` of the running loop; nothing on a real one, whose time nobody can hold."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualLoop):
        return loop.hold(limit_s)
    return contextlib.nullcontext()


def run_virtual(main: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run `main()` to its end on a fresh `VirtualLoop`. Ctrl-C cancels it, then interrupts."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def run_real(main: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run `main()` to its end on a normal loop of the same family."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(main())
