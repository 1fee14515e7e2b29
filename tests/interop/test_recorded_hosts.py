"""What a stick once answered a real host, it answers again.

The logs are of real programs (record.py). One that no longer fits because the stick is meant to
answer otherwise is recorded anew: `python tests/interop/record.py NAME`.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import pytest
from record import RECORDINGS
from serial_log import FOLDER, SerialLog, answers, name_of, replay, requests

from emulator.ncp.ezsp_tables import Tables

LOGS = sorted(FOLDER.glob("*.jsonl"))


def told(tables: Tables, frame: bytes | None, *, is_callback: bool = False) -> str:
    """A frame for people, in a message of this test."""
    if frame is None:
        return "nothing"
    return f"{name_of(tables, b'?' + frame if is_callback else frame)} {frame.hex()}"


def is_same(tables: Tables, one: bytes | None, other: bytes | None) -> bool:
    """Whether two responses agree; of the time to the next many-to-one request, which the stick
    tells in ms, to 5 ms: the log is of a real clock.
    """
    if one is None or other is None or name_of(tables, one) != "setSourceRouteDiscoveryMode":
        return one == other
    times_ms = [int.from_bytes(frame[-4:], "little") for frame in (one, other)]
    return one[:-4] == other[:-4] and abs(times_ms[0] - times_ms[1]) <= 5


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_a_recorded_host_gets_the_answers_it_got(path: Path) -> None:
    log = SerialLog.read(path)
    tables = Tables(log.ezsp)
    again = replay(log)
    for line in range(log.lines):
        before, now = answers(log.events, line), answers(again, line)
        assert now.resets == before.resets
        for was, is_ in zip_longest(before.responses, now.responses):
            assert is_same(tables, is_, was), f"{told(tables, is_)}, and it was {told(tables, was)}"
        for was, is_ in zip_longest(before.callbacks, now.callbacks):
            one, other = (told(tables, frame, is_callback=True) for frame in (is_, was))
            assert is_ == was, f"{one}, and it was {other}"


def test_every_recording_is_there_and_has_something_in_it() -> None:
    assert [path.stem for path in LOGS] == sorted(RECORDINGS)
    for path in LOGS:
        log = SerialLog.read(path)
        for line in range(log.lines):
            assert len(requests(log.events, line)) >= 4
            assert answers(log.events, line).responses
            assert answers(log.events, line).resets


def test_herdsman_asks_for_more_than_bellows_does() -> None:
    """Two hosts that share no code: what only one of them sends is covered by its log."""
    names = {
        host: {
            name_of(Tables(log.ezsp), frame)
            for log in (SerialLog.read(FOLDER / f"{host}.jsonl"),)
            for frame in requests(log.events, 0)
        }
        for host in ("herdsman-14", "zigpy-permit-14")
    }
    assert names["herdsman-14"] - names["zigpy-permit-14"] >= {
        "getExtendedValue",
        "setManufacturerCode",
        "setMulticastTableEntry",
        "clearTransientLinkKeys",
    }
