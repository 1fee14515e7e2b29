"""An update from 11.4 to N39 on the real clock, every part of it a process of its own: sticks, DSP,
supplier, hub, device. Whoever is killed in the middle goes on from what it kept."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from process_bench import QUICK, ProcessBench, event, events, finish, half_way

from hil.images import NEW_VERSION, OLD_VERSION

pytestmark = [pytest.mark.matrix, pytest.mark.real_clock]

LONG = pytest.mark.skipif(QUICK, reason="half a minute each")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ProcessBench]:
    with ExitStack() as stack:
        yield ProcessBench(tmp_path, stack)


@pytest.mark.requirement("MP170-R6", "good")
def test_whoever_is_killed_in_mid_transfer_the_update_is_completed(bench: ProcessBench) -> None:
    hub, device = bench.start_hub(), bench.start_device()
    bench.admit()
    event(device, "tunnel")
    bench.update()
    half_way(device)
    device.kill()
    device = bench.start_device()
    assert event(device, "resumed")["version"] == f"{OLD_VERSION:08X}"
    assert event(device, "download")["offset"] == 4096, "a whole page outlives a kill"
    hub.kill()
    assert not any(one["event"] == "downloaded" for one in events(device))
    hub = bench.start_hub()
    event(device, "downloaded")
    assert event(device, "restarted")["version"] == f"{NEW_VERSION:08X}"
    assert event(device, "alert-delivered")["use_case"] == "CS09"
    finish(bench, hub, device)


@LONG
@pytest.mark.parametrize("moment", ["download", "downloaded", "activating", "restarted"])
def test_a_device_killed_at_any_other_moment_goes_on(bench: ProcessBench, moment: str) -> None:
    hub, device = bench.start_hub(), bench.start_device()
    bench.admit()
    event(device, "tunnel")
    bench.update()
    event(device, moment)
    device.kill()
    device = bench.start_device()
    event(device, "alert-delivered")
    finish(bench, hub, device)


@LONG
@pytest.mark.parametrize("moment", ["joined", "begins", "told"])
def test_a_hub_killed_at_any_other_moment_goes_on(bench: ProcessBench, moment: str) -> None:
    hub, device = bench.start_hub(), bench.start_device()
    bench.admit()
    if moment == "joined":
        hub.line_with("joined  ")
        hub.kill()
        hub = bench.start_hub()
    event(device, "tunnel")
    bench.update()
    if moment == "begins":
        hub.line_with("begins")
    elif moment == "told":
        event(device, "activating")
    if moment != "joined":
        hub.kill()
        hub = bench.start_hub()
    event(device, "alert-delivered")
    finish(bench, hub, device)


@LONG
def test_a_dsp_killed_with_a_hub_that_has_something_to_say_hears_it(bench: ProcessBench) -> None:
    """What the hub has for it waits in the hub's state, over a kill of the hub as well."""
    hub, device = bench.start_hub(), bench.start_device()
    bench.admit()
    event(device, "tunnel")
    bench.update()
    event(device, "download")
    bench.dsp.kill()
    event(device, "activating")  # a hub that is killed in its last answer is asked in 10 min again
    hub.kill()
    bench.start_dsp()
    hub = bench.start_hub()
    bench.alert("N62")
    event(device, "alert-delivered")
    finish(bench, hub, device)


def test_who_loses_the_radio_says_so_and_breaks_and_who_is_interrupted_stops(
    bench: ProcessBench,
) -> None:
    hub, device = bench.start_hub(), bench.start_device()
    bench.admit()
    event(device, "tunnel")
    assert device.stop(signal.SIGINT) == 0
    device = bench.start_device()
    event(device, "resumed")
    bench.radio.kill()
    assert (hub.ended(), device.ended()) == (3, 3)
    for whose, process in (("hub", hub), ("device", device)):
        (sentence,) = process.errors.splitlines()
        assert re.match(f"hanbench: the {whose} cannot go on: the radio tcp://[0-9.:]+ ", sentence)
