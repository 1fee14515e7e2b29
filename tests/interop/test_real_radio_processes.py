"""Hub and device in processes of their own, on sticks behind socat and ser2net, on the real clock.

The line to a stick is pulled out in the middle of a transfer and put back: whoever was on it says
which radio was lost and ends, and goes on from what it kept when it is started again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from process_bench import QUICK, ProcessBench, event, finish, half_way
from process_support import Process
from serial_lines import LINES

from hil.images import NEW_VERSION

pytestmark = [pytest.mark.matrix, pytest.mark.real_clock]
HUB, DEVICE = 0, 1


@pytest.fixture(params=LINES[-1:] if QUICK else LINES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProcessBench]:
    with ExitStack() as stack:
        yield ProcessBench(tmp_path, stack, request.param)


def lost(process: Process, url: str) -> None:
    """It ends by itself, and says what it lost."""
    assert process.ended() == 3
    assert f"the radio {url} was lost" in process.errors
    assert len(process.errors.splitlines()) == 1


@pytest.mark.requirement("MP170-R2", "good")
def test_lines_that_are_pulled_and_killed_processes_do_not_cost_the_update(
    bench: ProcessBench,
) -> None:
    hub, device = bench.start_hub(), bench.start_device()
    bench.admit()
    event(device, "tunnel")
    bench.update()
    half_way(device)
    bench.lines[DEVICE].pull()
    lost(device, bench.lines[DEVICE].url)
    bench.lines[DEVICE].put_back()
    device = bench.start_device()
    event(device, "download")
    bench.lines[HUB].pull()
    lost(hub, bench.lines[HUB].url)
    bench.lines[HUB].put_back()
    hub = bench.start_hub()
    assert event(device, "restarted")["version"] == f"{NEW_VERSION:08X}"
    device.kill()
    device = bench.start_device()
    hub.kill()
    hub = bench.start_hub()
    finish(bench, hub, device)
