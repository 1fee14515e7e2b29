"""A recorded transfer played to the hosts again: by themselves, and to plain bellows.

Source: ours; bellows' `AshProtocol`, `Gateway` and `EZSP` are put together as `bellows.uart` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, cast

from bellows.ash import AshProtocol
from bellows.ezsp import EZSP
from bellows.uart import Gateway

from bench.judge import BenchmarkError
from bench.pair import EZSP_VERSION, Chunk, Pair, Tape
from emulator.ncp.ash import FLAG, unstuff
from firmware_images.image import FirmwareImage
from hil.clock import VirtualLoop, run_real, run_virtual
from hil.wiring import quiet_hosts

Play = Callable[[bytes], object]

_MOST_WAITS = 100_000  # a tenth of a virtual second over a whole transfer


class DiscardingTransport(asyncio.Transport):
    """Takes whatever a host writes, and answers nothing."""

    def __init__(self, on_write: Callable[[bytes], object]) -> None:
        super().__init__()
        self._on_write = on_write

    def write(self, data: Any) -> None:
        self._on_write(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """There is nothing to let go of."""


def _no_callback(_name: str, _arguments: list[Any]) -> None:
    """What plain bellows hands every callback frame to."""


def _discard(_data: bytes) -> None:
    """Where plain bellows' acknowledgements go."""


# -- plain bellows -------------------------------------------------------------------------


def _first_frame_number(chunks: Sequence[Chunk], line: int) -> int:
    """The number of the first DATA frame on a line: the one a host has to expect."""
    for chunk in chunks:
        if chunk.line == line:
            for stuffed in chunk.data.split(FLAG):
                frame = unstuff(stuffed)
                if frame and frame[0] < 0x80:
                    return frame[0] >> 4
    raise BenchmarkError(f"no DATA frame was recorded on line {line}")


def _plain_bellows(rx_sequence: int) -> AshProtocol:
    ezsp = EZSP({"path": "replay"})
    gateway = Gateway(ezsp)
    ash = AshProtocol(gateway)
    ash.connection_made(DiscardingTransport(_discard))
    ash._rx_seq = rx_sequence
    ezsp._gw = gateway
    ezsp._switch_protocol_version(EZSP_VERSION)
    ezsp.start_ezsp()
    ezsp.add_callback(_no_callback)
    return ash


def floor_s(tape: Tape) -> float:
    """How long two plain bellows take to receive what was recorded, one chunk per loop turn."""

    async def run() -> float:
        loop = asyncio.get_running_loop()
        play = [_plain_bellows(_first_frame_number(tape.chunks, line)) for line in (0, 1)]
        done = loop.create_future()
        chunks = iter(tape.chunks)

        def feed() -> None:
            chunk = next(chunks, None)
            if chunk is None:
                done.set_result(None)
                return
            play[chunk.line].data_received(chunk.data)
            loop.call_soon(feed)

        began_s = perf_counter()
        loop.call_soon(feed)
        await done
        wall_s = perf_counter() - began_s
        _check_floor(play)
        return wall_s

    quiet_hosts()
    return run_real(run)


def _check_floor(play: Sequence[AshProtocol]) -> None:
    """A host that rejected a frame would not have parsed what follows it either."""
    for line, ash in enumerate(play):
        if ash._in_reject_condition:
            raise BenchmarkError(f"plain bellows rejected a frame of line {line}")


# -- the hosts themselves ------------------------------------------------------------------


def _feed_at_their_times(
    clock: VirtualLoop,
    tape: Tape,
    host_octets: Sequence[int],
    play: Sequence[Play],
    then: Callable[[], object],
) -> None:
    """Play every chunk at the time it was recorded, then call `then`, at rest.

    A host's own timers run between microseconds and may come later than a chunk that answers
    them; a chunk waits until its host has written all it had written before it.
    """
    chunks = tape.chunks
    number, last, waits = 0, len(chunks) - 1, 0

    def feed() -> None:
        nonlocal number, waits
        chunk = chunks[number]
        if host_octets[chunk.line] < chunk.host_octets:
            waits += 1
            if waits > _MOST_WAITS:
                raise BenchmarkError(f"the host of line {chunk.line} did not write what it wrote")
            clock.call_at_us(clock.now_us() + 1, feed)
            return
        play[chunk.line](chunk.data)
        if number < last:
            number += 1
            clock.call_at_us(chunks[number].time_us, feed)
        else:
            clock.call_at_us(clock.now_us(), then)

    clock.call_at_us(chunks[0].time_us, feed)


def hosts_s(image: FirmwareImage, tape: Tape) -> float:
    """How long hub and bridge take without sticks, air and serial lines.

    They run as always up to the first block; then both find themselves on transports that discard
    what they write, and the recorded chunks come at the recorded times. Raises BenchmarkError
    unless both wrote exactly the octets they wrote in the recorded transfer.
    """
    again = Tape()

    async def run() -> float:
        clock = cast(VirtualLoop, asyncio.get_running_loop())
        ended = clock.create_future()

        def cut_over() -> None:
            pair.switch_sticks_off()
            play = []
            for line, node in enumerate((pair.hub.node, pair.device._firmware.node)):  # type: ignore[union-attr]
                ash = _ash_of(node)
                ash._transport = DiscardingTransport(partial(again.note_host, line))
                play.append(ash.data_received)
            _feed_at_their_times(
                clock, tape, again.host_octets, play, lambda: ended.set_result(None)
            )

        pair = Pair(image, on_begin=cut_over)
        try:
            wall_s = (await pair.transfer()).wall_s
            await ended
            return wall_s
        finally:
            pair.pull_out()

    quiet_hosts()
    wall_s = run_virtual(run)
    for line, (wrote, before) in enumerate(
        zip(again.hosts_wrote(), tape.hosts_wrote(), strict=True)
    ):
        if wrote != before:
            raise BenchmarkError(f"the host of line {line} wrote {wrote}, before it wrote {before}")
    return wall_s


def _ash_of(node: Any) -> AshProtocol:
    gateway = node.ezsp._gw
    return getattr(gateway, "_obj", gateway)._transport


def feeding_s(tape: Tape) -> float:
    """How long the feeding of `hosts_s` takes where nobody listens."""

    async def run() -> float:
        clock = cast(VirtualLoop, asyncio.get_running_loop())
        ended = clock.create_future()
        began_s = perf_counter()
        _feed_at_their_times(
            clock,
            tape,
            tape.host_octets,
            (_discard, _discard),
            lambda: ended.set_result(None),
        )
        await ended
        return perf_counter() - began_s

    return run_virtual(run)
