"""Benches whose devices are end devices: the same updates, by another way on the air."""

from __future__ import annotations

from bench_support import SMALL_BENCH, finished_run

from emulator.zigbee import mac
from hil.pcapng_file import read_capture

END_DEVICES = SMALL_BENCH.replace('kind = "ppmid"', 'kind = "ppmid"\nrole = "sleepy"').replace(
    'kind = "bridge-1"', 'kind = "bridge-1"\nrole = "end-device"'
)


def test_end_devices_are_updated_as_routers_are() -> None:
    run = finished_run(END_DEVICES)
    assert run.document["verdict"] == "pass"
    assert [device["outcome"] for device in run.document["devices"]] == ["activated"] * 2
    routers = finished_run(SMALL_BENCH).document["devices"]
    assert [device["sha256"] for device in run.document["devices"]] == [
        device["sha256"] for device in routers
    ]


def test_a_sleeper_asks_for_every_block_that_it_gets() -> None:
    run = finished_run(END_DEVICES)
    frames = [psdu for _, psdu in read_capture(run.folder / "air.pcapng")]
    polls = [psdu for psdu in frames if psdu[0] & 7 == mac.TYPE_COMMAND and psdu[-3] == 4]
    (sleeper, _) = run.document["devices"]
    assert len(polls) > sleeper["blocks"]
    # a router asks once, when it joins
    frames = [psdu for _, psdu in read_capture(finished_run(SMALL_BENCH).folder / "air.pcapng")]
    assert sum(psdu[0] & 7 == mac.TYPE_COMMAND and psdu[-3] == 4 for psdu in frames) < 10
