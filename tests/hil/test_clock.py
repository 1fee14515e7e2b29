"""The clock: virtual time passes only when nothing else can, and never wrongly."""

from __future__ import annotations

import asyncio
import inspect
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.medium.timing import Scheduler
from hil import clock
from hil.clock import MicrosecondCall, RealClock, VirtualLoop, run_real, run_virtual
from hil.errors import BenchBroke, VirtualDeadlock

WEEK_S = 7 * 86_400.0


def running_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


@pytest.fixture
def default_sigint() -> Iterator[None]:
    """asyncio.Runner takes Ctrl-C only where Python's own handler is in place."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread only")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# -- which loop a test gets ----------------------------------------------------------------


async def test_an_asynchronous_test_runs_on_virtual_time() -> None:
    assert running_loop().time() == 0.0


@pytest.mark.real_clock
async def test_a_test_marked_real_clock_runs_on_real_time() -> None:
    assert not isinstance(asyncio.get_running_loop(), VirtualLoop)


# -- asyncio's timers ----------------------------------------------------------------------


async def test_a_week_of_waiting_is_not_waited_for() -> None:
    await asyncio.sleep(WEEK_S)
    assert running_loop().time() == WEEK_S


async def test_a_timer_fires_exactly_when_it_was_asked_for() -> None:
    loop = running_loop()
    seen: list[float] = []
    for when_s in (0.1 + 0.2, 0.3, 1 / 3, 5e-324):
        loop.call_at(when_s, lambda: seen.append(loop.time()))
    await asyncio.sleep(1)
    assert seen == [5e-324, 0.3, 0.1 + 0.2, 1 / 3]


async def test_a_run_of_a_year_still_fires_its_timers() -> None:
    """The resolution of a float fails a loop that adds a fixed nanosecond after 194 days."""
    loop = running_loop()
    await asyncio.sleep(366 * 86_400)
    start_s = loop.time()
    for _ in range(3):
        await asyncio.sleep(0.25)
    assert loop.time() == start_s + 0.75


async def test_a_spinning_task_does_not_starve_a_timer_due_now() -> None:
    loop = running_loop()
    await asyncio.sleep(12_345.678)
    due = asyncio.Event()
    loop.call_later(0, due.set)
    for _ in range(3):
        await asyncio.sleep(0)
    assert due.is_set()


async def test_a_timeout_is_told_at_its_virtual_time() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3_600):
            await asyncio.sleep(WEEK_S)
    assert running_loop().time() == 3_600.0


async def test_a_cancelled_timer_does_not_move_the_clock() -> None:
    loop = running_loop()
    timer = loop.call_at(5.0, lambda: None)
    loop.call_at_us(1_000_000, timer.cancel)
    await asyncio.sleep(10)
    assert loop.now_us() == 10_000_000
    seen: list[float] = []
    late = loop.call_at(15.0, lambda: None)
    loop.call_at_us(12_000_000, late.cancel)
    loop.call_at_us(12_000_000, loop.call_at, 13.0, lambda: seen.append(loop.time()))
    await asyncio.sleep(2.5)
    assert loop.time() == 12.5
    await asyncio.sleep(7.5)
    assert seen == [13.0]


def test_a_run_that_hangs_hangs_at_the_time_of_its_last_event() -> None:
    loop = VirtualLoop()
    timer = loop.call_at(5.0, lambda: None)
    loop.call_at_us(1_000_000, timer.cancel)
    with pytest.raises(VirtualDeadlock):
        loop.run_forever()
    assert loop.time() == 1.0
    loop.close()


# -- calls by the microsecond --------------------------------------------------------------


async def test_calls_and_timers_are_made_in_the_order_of_their_times() -> None:
    loop = running_loop()
    seen: list[tuple[str, int]] = []

    def note(name: str) -> None:
        seen.append((name, loop.now_us()))

    loop.call_at(0.002, note, "timer 2000")
    loop.call_at_us(2_000, note, "call 2000")
    loop.call_at_us(2_001, note, "call 2001")
    loop.call_at_us(1_999, note, "call 1999")
    loop.call_at_us(1_999, note, "call 1999, asked later")
    loop.call_at(0.0005, note, "timer 500")
    await asyncio.sleep(1)
    assert seen == [
        ("timer 500", 500),
        ("call 1999", 1_999),
        ("call 1999, asked later", 1_999),
        ("call 2000", 2_000),
        ("timer 2000", 2_000),
        ("call 2001", 2_001),
    ]


async def test_what_a_call_makes_ready_runs_before_the_next_call() -> None:
    loop = running_loop()
    seen: list[str] = []
    loop.call_at_us(10, loop.call_soon, seen.append, "made ready at 10")
    loop.call_at_us(11, seen.append, "call at 11")
    await asyncio.sleep(1)
    assert seen == ["made ready at 10", "call at 11"]


async def test_a_call_for_the_past_is_made_now_and_time_stands() -> None:
    loop = running_loop()
    await asyncio.sleep(1)
    seen: list[int] = []
    loop.call_at_us(5, lambda: seen.append(loop.now_us()))
    await asyncio.sleep(0.5)
    assert seen == [1_000_000]


async def test_scheduling_now_after_an_uneven_timer_never_goes_back() -> None:
    loop = running_loop()
    await asyncio.sleep(0.123_456_7)
    assert loop.now_us() == 123_457
    seen: list[float] = []
    loop.call_at_us(loop.now_us(), lambda: seen.append(loop.time()))
    await asyncio.sleep(1)
    assert seen == [0.123_457]


async def test_a_call_for_now_does_not_undo_the_float_noise_of_a_timer() -> None:
    loop = running_loop()
    await asyncio.sleep(0.1 + 0.2)
    seen: list[tuple[int, float]] = []
    loop.call_at_us(loop.now_us(), lambda: seen.append((loop.now_us(), loop.time())))
    await asyncio.sleep(1)
    assert seen == [(300_000, 0.1 + 0.2)]


async def test_float_noise_of_timers_does_not_cost_a_microsecond_each() -> None:
    loop = running_loop()
    for n in range(1, 1_001):
        await asyncio.sleep(0.000_1)
        assert loop.now_us() == 100 * n


async def test_a_cancelled_call_is_not_made() -> None:
    loop = running_loop()
    seen: list[str] = []
    first = loop.call_at_us(10, seen.append, "cancelled")
    made = loop.call_at_us(20, seen.append, "made")
    first.cancel()
    first.cancel()
    await asyncio.sleep(1)
    made.cancel()
    assert seen == ["made"]


async def test_cancelled_calls_do_not_pile_up() -> None:
    loop = running_loop()
    seen: list[int] = []
    for n in range(100):
        loop.call_at_us(86_400_000_000 + n, seen.append, n)
    for n in range(50_000):
        loop.call_at_us(90_000_000_000 + n, seen.append, -1).cancel()
    assert len(loop._calls) < 2_500
    await asyncio.sleep(100_000)
    assert seen == list(range(100))


def test_an_error_in_a_call_ends_the_run() -> None:
    def broken() -> None:
        raise RuntimeError("the air broke")

    async def main() -> None:
        running_loop().call_at_us(10, broken)
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="the air broke"):
        run_virtual(main)


def test_a_loop_serves_as_the_clock_of_the_air() -> None:
    loop = VirtualLoop()
    scheduler: Scheduler = loop
    seen: list[int] = []
    scheduler.call_at_us(320, loop.stop)
    scheduler.call_at_us(320, seen.append, 1)
    loop.run_forever()
    assert (scheduler.now_us(), seen) == (320, [])
    loop.close()


Step = tuple[bool, int, int]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 50_000), st.integers(0, 3)), min_size=1, max_size=30
    )
)
def test_time_never_goes_back_whatever_is_scheduled(steps: list[Step]) -> None:
    """`(is a call, nanoseconds or microseconds ahead, how often it schedules itself again)`."""
    loop = VirtualLoop()
    seen: list[tuple[float, int, float]] = []

    def call(when_us: int, ahead: int, again: int) -> None:
        seen.append((loop.time(), loop.now_us(), max(when_us / 1e6, loop.time())))
        if again:
            timer(ahead, again - 1)

    def timer(ahead: int, again: int) -> None:
        when_s = loop.time() + ahead / 1e9
        loop.call_at(when_s, fire, when_s, ahead, again)

    def fire(when_s: float, ahead: int, again: int) -> None:
        seen.append((loop.time(), loop.now_us(), when_s))
        if again:
            when_us = loop.now_us() + ahead
            loop.call_at_us(when_us, call, when_us, ahead, again - 1)

    for is_call, ahead, again in steps:
        if is_call:
            loop.call_at_us(ahead, call, ahead, ahead, again)
        else:
            timer(ahead, again)
    with pytest.raises(VirtualDeadlock):
        loop.run_forever()
    loop.close()
    assert len(seen) == sum(1 + again for _, _, again in steps)
    assert seen == sorted(seen, key=lambda row: row[:2])
    assert all(time_s == due_s for time_s, _, due_s in seen)
    # A thousandth of a microsecond is no later time, nor is what a float rounds by.
    ahead_us = [now_us - time_s * 1e6 + 1e-3 for time_s, now_us, _ in seen]
    assert all(-1e-6 < one < 1.01 for one in ahead_us)


# -- sockets -------------------------------------------------------------------------------


async def test_octets_that_have_arrived_are_served_before_time_passes() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop = running_loop()
    served: asyncio.Queue[str] = asyncio.Queue()
    loop.call_later(1, served.put_nowait, "timer")
    loop.add_reader(ours, served.put_nowait, "octets")
    with ours, theirs:
        theirs.send(b"ready")
        assert await served.get() == "octets"
        loop.remove_reader(ours)
    assert loop.time() == 0.0


def test_a_silent_socket_is_no_reason_to_wait() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            await asyncio.get_running_loop().sock_recv(ours, 16)

    with pytest.raises(VirtualDeadlock, match=r"clock\.hold\(\)"):
        run_virtual(main)


async def test_a_held_exchange_over_loopback_takes_no_virtual_time() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        writer.close()

    loop = running_loop()
    seen: list[str] = []
    loop.call_later(1, seen.append, "timer")
    loop.call_at_us(1, seen.append, "call")
    with clock.hold():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
        assert (loop.time(), seen) == (0.0, [])
    await asyncio.sleep(2)
    assert seen == ["call", "timer"]


async def test_what_is_due_now_still_runs_while_time_is_held() -> None:
    loop = running_loop()
    done = asyncio.Event()
    with clock.hold():
        loop.call_at_us(0, loop.call_later, 0, done.set)
        await done.wait()
    assert loop.time() == 0.0


def test_silence_in_a_held_exchange_ends_the_run() -> None:
    async def main() -> None:
        with clock.hold(limit_s=0.01):
            await asyncio.Event().wait()

    with pytest.raises(VirtualDeadlock, match=r"nothing came for 0\.01 s"):
        run_virtual(main)


@pytest.mark.real_clock
async def test_holding_a_real_clock_changes_nothing() -> None:
    with clock.hold():
        await asyncio.sleep(0)


# -- threads -------------------------------------------------------------------------------


async def test_work_for_a_thread_is_done_at_once() -> None:
    thread, doubled = await asyncio.to_thread(lambda n: (threading.current_thread(), 2 * n), 21)
    assert (thread, doubled) == (threading.current_thread(), 42)
    assert running_loop().run_in_executor(None, int, "7").done()


async def test_an_error_in_work_for_a_thread_reaches_who_awaits_it() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await running_loop().run_in_executor(None, int, "seven")


async def test_shutting_down_the_threads_that_never_were_is_harmless() -> None:
    await running_loop().shutdown_default_executor()
    await running_loop().shutdown_default_executor(300)


# -- nothing left to do --------------------------------------------------------------------


def test_a_hang_names_the_tasks_and_the_lines_they_wait_at() -> None:
    async def wait_for_the_device() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_the_device(), name="bridge-1")

    with pytest.raises(VirtualDeadlock) as caught:
        run_virtual(main)
    first, second = caught.value.waiting
    assert "async with asyncio.TaskGroup() as group:" in first
    assert second.startswith("bridge-1 at ")
    assert "test_clock.py" in second
    assert second.endswith("(await asyncio.Event().wait())")
    assert first in str(caught.value)
    assert second in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_hang_of_many_tasks_is_still_one_short_sentence() -> None:
    async def main() -> None:
        never = asyncio.Event()
        await asyncio.gather(*(never.wait() for _ in range(50)))

    with pytest.raises(VirtualDeadlock, match=r"; and 41 more$") as caught:
        run_virtual(main)
    assert len(caught.value.waiting) == 51


def test_a_hang_without_tasks_says_so() -> None:
    loop = VirtualLoop()
    with pytest.raises(VirtualDeadlock, match="no task is left"):
        loop.run_until_complete(loop.create_future())
    loop.close()


# -- Ctrl-C --------------------------------------------------------------------------------


def busy_until_interrupted(interrupt: Callable[[], object]) -> tuple[list[str], int]:
    """A run of endless microsecond calls, the thousandth of which presses Ctrl-C."""
    seen: list[str] = []
    calls = 0

    async def main() -> None:
        loop = running_loop()

        def step() -> None:
            nonlocal calls
            calls += 1
            if calls == 1_000:
                interrupt()
            assert calls < 100_000, "the interruption never arrived"
            loop.call_at_us(loop.now_us() + 320, step)

        loop.call_at_us(0, step)
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        run_virtual(main)
    return seen, calls


@pytest.mark.usefixtures("default_sigint")
def test_ctrl_c_stops_a_busy_run_and_lets_it_clean_up() -> None:
    seen, calls = busy_until_interrupted(lambda: signal.raise_signal(signal.SIGINT))
    assert seen == ["cleaned up"]
    assert calls < 1_100


@pytest.mark.usefixtures("default_sigint")
def test_a_second_ctrl_c_stops_a_run_that_will_not_end() -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    assert busy_until_interrupted(twice)[0] == ["cleaned up"]


@pytest.mark.parametrize("busy_with", ["calls", "timers", "what is ready"])
@pytest.mark.usefixtures("default_sigint")
def test_a_signal_handler_of_the_loop_is_heard_in_a_busy_run(busy_with: str) -> None:
    async def main() -> int:
        loop = running_loop()
        heard = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, heard.set)
        count = 0

        def step() -> None:
            nonlocal count
            count += 1
            if count == 100:
                signal.raise_signal(signal.SIGUSR1)
            assert count < 10_000, "the signal never arrived"
            if busy_with == "calls":
                loop.call_at_us(loop.now_us() + 320, step)
            elif busy_with == "timers":
                loop.call_later(0.001, step)
            else:
                loop.call_soon(step)

        step()
        await heard.wait()
        return count

    assert run_virtual(main) < 2_000


# -- what asyncio keeps to itself ----------------------------------------------------------


def test_asyncio_still_works_the_way_this_loop_relies_on() -> None:
    source = inspect.getsource(asyncio.BaseEventLoop._run_once)  # type: ignore[attr-defined]
    for line in (
        "event_list = self._selector.select(timeout)",
        "end_time = self.time() + self._clock_resolution",
        "if handle._when >= end_time:",
        "self._ready.append(handle)",
        "while self._scheduled and self._scheduled[0]._cancelled:",
        "if self._ready or self._stopping:",
    ):
        assert line in source


def test_a_python_with_another_asyncio_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "_PRIVATE_NAMES", ("_ready", "_agenda"))
    with pytest.raises(BenchBroke, match="no _agenda: use the real clock"):
        VirtualLoop()


def test_another_virtual_loop_sees_the_same_run() -> None:
    looptime = pytest.importorskip("looptime")

    async def main(trace: list[tuple[str, float]]) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[int] = asyncio.Queue(2)

        async def produce() -> None:
            for n in range(20):
                await asyncio.sleep(0.25 * (n % 3))
                await queue.put(n)

        async def consume(name: str) -> None:
            while True:
                try:
                    n = await asyncio.wait_for(queue.get(), 1.5)
                except TimeoutError:
                    trace.append((f"{name} done", loop.time()))
                    return
                trace.append((f"{name} {n}", loop.time()))
                await asyncio.sleep(0.5)

        await asyncio.gather(produce(), consume("a"), consume("b"))

    ours: list[tuple[str, float]] = []
    theirs: list[tuple[str, float]] = []
    run_virtual(lambda: main(ours))
    other = looptime.new_event_loop(start=0)
    try:
        other.run_until_complete(main(theirs))
    finally:
        other.close()
    assert len(ours) == 22
    assert [what for what, _ in ours] == [what for what, _ in theirs]
    assert [time_s for _, time_s in ours] == pytest.approx([time_s for _, time_s in theirs])


# -- the real clock ------------------------------------------------------------------------


class ManualLoop:
    """Stands in for a loop, so that a late wake-up needs no waiting."""

    def __init__(self) -> None:
        self.now_s = 64.0
        self.asked = 0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, when_s: float, call: Callable[[], None]) -> ManualTimer:
        entry = (when_s, call)
        self.asked += 1
        self.timers.append(entry)
        return ManualTimer(self, entry)

    def wake(self, now_s: float) -> None:
        """The loop comes round, at `now_s`, to what is due."""
        self.now_s = now_s
        due = [entry for entry in self.timers if entry[0] <= now_s + 1e-6]
        self.timers = [entry for entry in self.timers if entry not in due]
        for _, call in due:
            call()


class ManualTimer:
    def __init__(self, loop: ManualLoop, entry: tuple[float, Callable[[], None]]) -> None:
        self._loop, self._entry = loop, entry

    def cancel(self) -> None:
        if self._entry in self._loop.timers:
            self._loop.timers.remove(self._entry)


def real_clock() -> tuple[ManualLoop, RealClock]:
    loop = ManualLoop()
    return loop, RealClock(cast(asyncio.AbstractEventLoop, loop))


def test_a_late_wake_up_runs_every_call_at_its_own_time() -> None:
    loop, real = real_clock()
    seen: list[int] = []

    def step() -> None:
        seen.append(real.now_us())
        real.call_at_us(real.now_us() + 320, step)

    real.call_at_us(0, step)
    loop.wake(64.001_1)
    assert seen == [0, 320, 640, 960]
    assert real.now_us() in (1_099, 1_100)
    loop.wake(64.001_3)
    assert seen[4:] == [1_280]
    assert len(loop.timers) == 1


def test_a_real_clock_starts_at_zero_and_asks_the_loop_for_one_timer() -> None:
    loop, real = real_clock()
    assert real.now_us() == 0
    seen: list[str] = []
    real.call_at_us(2_000, seen.append, "second")
    real.call_at_us(1_000, seen.append, "first")
    real.call_at_us(3_000, seen.append, "third")
    assert [round(when_s, 6) for when_s, _ in loop.timers] == [64.001]
    assert loop.asked == 2
    loop.wake(64.002_5)
    assert seen == ["first", "second"]
    assert [round(when_s, 6) for when_s, _ in loop.timers] == [64.003]


def test_a_clock_that_wakes_a_tick_early_does_not_go_back() -> None:
    loop, real = real_clock()
    seen: list[int] = []
    real.call_at_us(1_000, lambda: seen.append(real.now_us()))
    loop.wake(64.000_999_5)
    assert seen == [1_000]
    assert real.now_us() == 1_000


def test_a_real_call_for_the_past_keeps_its_place() -> None:
    loop, real = real_clock()
    seen: list[int] = []
    real.call_at_us(500, lambda: real.call_at_us(100, lambda: seen.append(real.now_us())))
    loop.wake(64.01)
    assert seen == [500]


def test_a_cancelled_real_call_is_not_made() -> None:
    loop, real = real_clock()
    seen: list[str] = []
    real.call_at_us(10, seen.append, "cancelled").cancel()
    real.call_at_us(20, seen.append, "made")
    loop.wake(64.1)
    assert seen == ["made"]
    for n in range(10_000):
        real.call_at_us(10**9 + n, seen.append, "never").cancel()
    assert len(real._calls) < 2_500
    real.close()
    assert loop.timers == []


def test_an_error_in_a_real_call_does_not_stop_the_others() -> None:
    loop, real = real_clock()
    seen: list[str] = []

    def broken() -> None:
        raise RuntimeError("one call broke")

    real.call_at_us(10, broken)
    real.call_at_us(20, seen.append, "made")
    with pytest.raises(RuntimeError, match="one call broke"):
        loop.wake(64.1)
    loop.wake(64.1)
    assert seen == ["made"]


@pytest.mark.real_clock
async def test_calls_are_made_on_a_real_loop_and_none_too_early() -> None:
    loop = asyncio.get_running_loop()
    real: Scheduler = RealClock(loop)
    done: asyncio.Future[tuple[int, float]] = loop.create_future()
    start_s = loop.time()
    real.call_at_us(1_500, lambda: done.set_result((real.now_us(), loop.time() - start_s)))
    scheduled_us, waited_s = await done
    assert scheduled_us == 1_500
    assert waited_s >= 0.001_4


def test_a_real_run_returns_what_its_coroutine_returns() -> None:
    async def main() -> Any:
        return asyncio.get_running_loop()

    assert not isinstance(run_real(main), VirtualLoop)


def test_an_entry_of_the_agenda_compares_by_time_then_order() -> None:
    early = MicrosecondCall((1, 2, print, ()))
    assert early < MicrosecondCall((2, 1, print, ()))
    assert early < MicrosecondCall((1, 3, repr, ()))
