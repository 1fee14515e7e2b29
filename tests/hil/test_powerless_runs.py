"""Whole runs in which the power of the hub or of a device goes: every update has its outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench_support import Run, finished_run, hanbench

from hil.bench_file import load_bench
from hil.toml_file import BenchFileError

ONE_DEVICE = """\
[[device]]
id = "ppmid"
kind = "ppmid"
image_size_bytes = 6000
"""


def run_with(*faults: str, text: str = ONE_DEVICE) -> Run:
    return finished_run(text, *(part for words in faults for part in ("--fault", words)))


def anomalies(run: Run, *kinds: str) -> list[tuple[str, str]]:
    events = map(json.loads, (run.folder / "events.jsonl").read_text().splitlines())
    wrong = [event for event in events if event["type"] == "anomaly"]
    return [(one["kind"], one["detail"]) for one in wrong if one["kind"] in kinds]


def outcome(run: Run) -> dict[str, Any]:
    (device,) = run.document["devices"]
    assert isinstance(device, dict)
    return device


more = pytest.mark.matrix


@pytest.mark.parametrize(
    ("words", "where"),
    [
        pytest.param(
            "power loss at 1.5 s on ppmid for 7 s",
            "between two operations, off for 7 s",
            marks=more,
        ),
        ("power loss at 1.5 s on hub for 7 s", "hub: between two operations, off for 7 s"),
        ("power loss at 0.1 s on ppmid for 7 s", "between two operations, off for 7 s"),
        (
            "power loss inside a write at the 5th write on ppmid",
            "at operation 5, spare: page 0, off for 30 s",
        ),
        pytest.param(
            "power loss before a write at the 9th write on hub for 1 s",
            "hub: at operation 9, image: page 0, off for 1 s",
            marks=more,
        ),
        (
            "power loss after a write at the 11th write on hub for 2 s",
            "hub: at operation 11, image: keep, off for 2 s",
        ),
    ],
)
def test_an_update_is_done_when_the_power_is_back(words: str, where: str) -> None:
    run = run_with(words)
    device = outcome(run)
    assert (device["outcome"], run.document["verdict"]) == ("activated", "pass")
    told = anomalies(run, "power cut", "power back")
    assert told[0] == ("power cut", where)
    assert [kind for kind, _ in told] == ["power cut", "power back"]


@more
def test_power_that_goes_in_three_ways_in_one_run_is_no_failure() -> None:
    run = run_with(
        "power loss inside a write at the 9th write on hub for 3 s",
        "power loss inside a write at the 6th write on ppmid for 3 s",
        "power loss at 20 s on hub for 3 s",
        "loss 5 %",
    )
    assert outcome(run)["outcome"] == "activated"
    assert len(anomalies(run, "power cut")) == 3


def test_a_low_battery_puts_an_update_off_or_ends_it() -> None:
    late = run_with("low battery on ppmid for 200 s")
    assert outcome(late)["outcome"] == "activated"
    assert late.document["virtual_s"] > 300
    assert anomalies(late, "battery-low")
    ended = run_with("low battery on ppmid from 1.2 s for 100 s")
    assert outcome(ended)["outcome"] == "transfer-failed"
    mains = ONE_DEVICE + "[device.ota]\nspares_battery = false\n"
    spared = run_with("low battery on ppmid from 1.2 s for 100 s", text=mains)
    assert outcome(spared)["outcome"] == "activated"


@more
def test_one_seed_and_one_power_loss_give_one_trace() -> None:
    words = "--fault", "power loss inside a write at the 5th write on ppmid"
    first, again = (finished_run.__wrapped__(ONE_DEVICE, *words) for _ in range(2))
    assert first.document["trace_hash"] == again.document["trace_hash"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("power loss on ppmid", "'power loss' needs a moment (at 10 s)"),
        ("power loss at 3 s", "'power loss' needs a node (on NAME)"),
        ("power loss inside a write on hub", "needs a write number (at the 5th write)"),
        ("power loss inside a write at the 5th frame on hub", "is not expected"),
        ("power loss at 3 s on moon", "which has hub, ppmid"),
        ("power loss 10 % on hub", "'power loss' takes no percentage"),
        ("low battery on hub", "a hub has no battery"),
        ("power losses at 3 s on hub", "names no fault"),
    ],
)
def test_power_that_cannot_go_so_is_refused(words: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(f"faults = ['{words}']\n{ONE_DEVICE}")
    with pytest.raises(BenchFileError) as caught:
        load_bench(path)
    assert says in str(caught.value)
    assert caught.value.key == "faults[0]"


def test_a_table_says_the_same_as_words(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    tables = (
        'kind = "power loss inside a write"\nnumber = 5\non = "ppmid"\nduration_s = 2',
        'kind = "power loss"\nat_s = 3.5\non = "hub"',
        'kind = "low battery"\non = "ppmid"\nstart_s = 1',
    )
    path.write_text(ONE_DEVICE + "".join(f"[[fault]]\n{table}\n" for table in tables))
    assert [str(fault) for fault in load_bench(path).faults] == [
        "power loss inside a write at the 5th write on ppmid for 2 s",
        "power loss at 3.5 s on hub",
        "low battery on ppmid from 1 s",
    ]


def test_sticks_by_themselves_have_no_such_power(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = ("radio", "--listen", "tcp://127.0.0.1:0")
    done = hanbench(capsys, monkeypatch, *listen, "--fault", "power loss at 3 s on stick-1")
    assert done.exit_code == 2
    assert "is of a hub or a device, and here are sticks alone" in done.err


@more
@pytest.mark.parametrize("name", ["hub", "ppmid"])
@pytest.mark.parametrize("again_ms", [4000, 4001, 4005, 4019, 4020, 4021, 4025, 4050, 4100])
def test_power_that_goes_again_while_the_radio_is_being_opened_is_no_failure(
    name: str, again_ms: int
) -> None:
    run = run_with(
        f"power loss at 2 s on {name} for 1 s",
        f"power loss at {again_ms / 1000} s on {name} for 2 s",
    )
    assert (outcome(run)["outcome"], run.document["verdict"]) == ("activated", "pass")


@more
@pytest.mark.parametrize("name", ["hub", "ppmid"])
@pytest.mark.parametrize("tenths", range(8, 60, 4))
def test_power_that_goes_at_any_moment_of_an_update_is_no_failure(name: str, tenths: int) -> None:
    run = run_with(f"power loss at {tenths / 10:g} s on {name} for 5 s", "loss 10 %")
    assert (outcome(run)["outcome"], run.document["verdict"]) == ("activated", "pass")
