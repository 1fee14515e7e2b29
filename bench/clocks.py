"""`vtime_jump` and `pcapng_cost`: what virtual time costs, and what a capture of it.

Source: ours; looptime is the peer that DESIGN names for cross-checks.

`vtime_jump`: jumps of 1 ms, made by `asyncio.sleep` and, as the air makes them, by `call_at_us`.
The peers are `asyncio.sleep(0)` on a plain loop, which jumps nowhere, and the same sleeps on
looptime, whose cost does not fall with their number: it makes a tenth of them.

`pcapng_cost`: the transfer of `ota_bellows_pair` with 96 KiB, with and without what a run keeps
of its air: pcapng (into memory) and the trace hash.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine, Mapping
from time import perf_counter
from typing import Any, cast

import looptime

from bench.judge import Benchmark, BenchmarkError, Line, Measure
from bench.pair import TOY_IMAGE_BYTES, make_image, transfer
from emulator.medium.pcapng import PcapngWriter, TraceHash
from hil.clock import VirtualLoop, run_virtual

_JUMPS = 20_000
_TOY_JUMPS = 100
_STEP_S = 0.001
_STEP_US = 1000
_CAPTURE_IMAGE_BYTES = 96 * 1024


async def _sleep(times: int, delay_s: float) -> float:
    began_s = perf_counter()
    for _ in range(times):
        await asyncio.sleep(delay_s)
    return perf_counter() - began_s


async def _call(times: int) -> float:
    clock = cast(VirtualLoop, asyncio.get_running_loop())
    done = clock.create_future()

    def step(left: int) -> None:
        if left:
            clock.call_at_us(clock.now_us() + _STEP_US, step, left - 1)
        else:
            done.set_result(None)

    began_s = perf_counter()
    step(times)
    await done
    return perf_counter() - began_s


def _on(loop_factory: Callable[[], Any], run: Coroutine[Any, Any, float]) -> float:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(run)


def _prepare_jump(toy: bool) -> Measure:
    jumps = _TOY_JUMPS if toy else _JUMPS
    few = max(1, jumps // 10)

    def measure() -> Mapping[str, float]:
        timer_s = run_virtual(lambda: _sleep(jumps, _STEP_S)) / jumps
        call_s = run_virtual(lambda: _call(jumps)) / jumps
        turn_s = _on(asyncio.SelectorEventLoop, _sleep(jumps, 0)) / jumps
        looptime_s = _on(looptime.new_event_loop, _sleep(few, _STEP_S)) / few
        return {
            "timer": timer_s / turn_s,
            "call": call_s / turn_s,
            "looptime": looptime_s / timer_s,
            "timer us": 1e6 * timer_s,
            "call us": 1e6 * call_s,
            "turn us": 1e6 * turn_s,
        }

    return measure


VTIME_JUMP = Benchmark(
    "vtime_jump",
    "jumps of 1 ms",
    (
        Line("timer", "asyncio.sleep(1 ms) / sleep(0) of a plain loop", at_most=5),
        Line("call", "call_at_us / sleep(0) of a plain loop", at_most=5),
        Line("looptime", "looptime / asyncio.sleep(1 ms)", at_least=10),
        Line("timer us", "us: asyncio.sleep(1 ms)"),
        Line("call us", "us: call_at_us"),
        Line("turn us", "us: sleep(0) of a plain loop"),
    ),
    _prepare_jump,
)


class _Capture:
    """What a run keeps of its air, as `hil.wiring` does."""

    def __init__(self) -> None:
        self.file = io.BytesIO()
        self.frames = 0
        self._writer = PcapngWriter(self.file.write)
        self._trace = TraceHash()

    def __call__(self, start_us: int, channel: int, psdu: bytes, comment: str) -> None:
        self.frames += 1
        self._trace.update(start_us, psdu)
        self._writer.frame(start_us, psdu, channel=channel, rssi_dbm=-40, lqi=255, comment=comment)


def _prepare_capture(toy: bool) -> Measure:
    image = make_image(TOY_IMAGE_BYTES if toy else _CAPTURE_IMAGE_BYTES)

    def measure() -> Mapping[str, float]:
        without_s = transfer(image).wall_s
        capture = _Capture()
        with_s = transfer(image, capture).wall_s
        if not capture.frames:
            raise BenchmarkError("the capture is empty")
        return {
            "ratio": with_s / without_s,
            "frame": 1e6 * (with_s - without_s) / capture.frames,
        }

    return measure


PCAPNG_COST = Benchmark(
    "pcapng_cost",
    "a transfer of 96 KiB captured",
    (
        # No sheet sets this one: a capture that cost more would be switched off by people.
        Line("ratio", "with capture and trace hash / without", at_most=1.10),
        Line("frame", "us a frame"),
    ),
    _prepare_capture,
)
