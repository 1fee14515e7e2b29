"""Whole runs with faults from the command line: images arrive whole, or the end has a word."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_support import Done, Run, finished_run, hanbench

from emulator.medium.pcapng import read_pcapng
from hil.bench_file import load_bench
from hil.images import device_images

ONE_DEVICE = """\
[[device]]
id = "ppmid"
kind = "ppmid"
image_size_bytes = 1024
"""

# The device joins within 0.5 s; its blocks go over the air in the second after that.
AIR = {
    "loss 20 %": "lost at ",
    "loss 40 % from hub to ppmid": "lost at ppmid: loss 40 % from hub to ppmid",
    "loss of acknowledgements 30 %": "lost at ",
    "bursty loss 20 % of 20 frames": "lost at ",
    "damage 10 %": "damaged at ",
    "duplicate 20 % by 300 ms": "heard twice at ",
    "delay 10 % by 20 ms": "heard late at ",
    "interference from 1 s for 3 s": "",
    "radio off on ppmid from 1 s for 4 s": "radio off on ppmid from 1 s for 4 s",
}


def run_with(*faults: str, seed: int = 7) -> Run:
    arguments = [part for words in faults for part in ("--fault", words)]
    return finished_run(ONE_DEVICE, "--seed", str(seed), *arguments)


def comments(run: Run, *fields: str) -> list[list[str]]:
    """What tshark shows of each frame: its comment and `fields`, decrypted."""
    keys = (run.folder / "air.keys").read_text().splitlines()
    options = [part for line in keys for part in ("-o", f"uat:zigbee_pc_keys:{line}")]
    wanted = [part for field in ("frame.comment", *fields) for part in ("-e", field)]
    command = ["tshark", "-r", str(run.folder / "air.pcapng"), "-T", "fields", *wanted, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("seed", [7, 8])
@pytest.mark.parametrize("words", AIR)
def test_an_image_arrives_whole_over_a_faulty_air(words: str, seed: int, tmp_path: Path) -> None:
    run = run_with(words, seed=seed)
    (device,) = run.document["devices"]
    (tmp_path / "bench.toml").write_text(f"seed = {seed}\n{ONE_DEVICE}")
    image = device_images(load_bench(tmp_path / "bench.toml"))["ppmid"].image
    assert (device["outcome"], device["sha256"]) == ("activated", image.sha256)
    assert run.document["verdict"] == "pass"
    capture = (run.folder / "air.pcapng").read_bytes()
    assert AIR[words].encode() in capture  # the fault was there, and is told of
    if words.startswith("interference"):  # told of only where somebody sends nevertheless
        times_us = [time_us for time_us, _ in read_pcapng(capture)]
        epoch_us = round(load_bench().epoch.timestamp() * 1e6)
        assert sum(1_010_000 < time_us - epoch_us < 4_000_000 for time_us in times_us) < 3


def test_one_seed_and_one_fault_give_one_trace_and_a_kind_world_none_of_it() -> None:
    first = run_with("damage 10 %", "duplicate 20 %")
    again = finished_run.__wrapped__(  # made anew
        ONE_DEVICE, "--seed", "7", "--fault", "damage 10 %", "--fault", "duplicate 20 %"
    )
    assert first.document["trace_hash"] == again.document["trace_hash"]
    clean = run_with()
    assert clean.document["trace_hash"] != first.document["trace_hash"]
    # A fault that never strikes draws nothing that others would miss.
    spared = run_with("loss 50 % from 9999 s", "radio off on hub from 9999 s", "NAK from 9999 s")
    assert spared.document["trace_hash"] == clean.document["trace_hash"]


@pytest.mark.real_clock
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_names_the_fault_and_finds_nothing_else_malformed() -> None:
    run = run_with("loss 10 %", "damage 10 %", "duplicate 10 %", "delay 5 % by 20 ms")
    frames = comments(run, "_ws.malformed", "wpan.fcs_ok")
    told = [frame[0] for frame in frames if frame[0]]
    for words in ("lost at", "damaged at", "heard twice at", "heard late at"):
        assert any(words in comment for comment in told), words
    assert 0 < len(told) < len(frames)
    assert [frame for frame in frames if frame[1] and not frame[0]] == []
    assert {frame[2] for frame in frames} == {"1"}  # what was sent was right when it was sent


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Done]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench.toml").write_text(ONE_DEVICE)
    return lambda *arguments: hanbench(capsys, monkeypatch, "run", "bench.toml", *arguments)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("NAK on hub", "/hub does not answer: NcpFailure"),
        ("dead UART at 1 s on hub", "the hub lost its radio"),
        ("closed line at the 20th sendUnicast on hub", "the hub lost its radio"),
        ("power cut at the 20th sendUnicast on hub for 1 s", "the hub lost its radio"),
    ],
)
def test_a_hub_that_loses_its_stick_breaks_the_run_with_a_word(
    run: Callable[..., Done], words: str, says: str
) -> None:
    done = run("--fault", words, "--evidence", "ev")
    assert done.exit_code == 3
    assert says in done.err
    events = [json.loads(line) for line in Path("ev/events.jsonl").read_text().splitlines()]
    assert events[-1]["type"] == "run-ended"
    assert events[-1]["verdict"] == "broke"
    assert events[0]["faults"] == [words]


def test_a_device_that_loses_its_stick_has_an_outcome(run: Callable[..., Done]) -> None:
    done = run("--fault", "dead UART on ppmid at the 20th sendUnicast", "--json")
    assert done.exit_code == 1
    (device,) = json.loads(done.out)["devices"]
    assert device["outcome"] in ("timed-out", "transfer-failed", "transferred-unconfirmed")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("bad CRC at sendUnicorn", "'bad CRC at sendUnicorn' is at no frame that EZSP 14 has"),
        ("loss 10 % from hub to moon", "is on nothing of this bench, which has hub, ppmid"),
        ("loss 10 % form hub", "'form' is not expected after 'loss 10 %'"),
    ],
)
def test_words_that_mean_nothing_here_are_refused_before_there_is_evidence(
    run: Callable[..., Done], words: str, says: str
) -> None:
    done = run("--fault", words, "--evidence", "ev")
    assert done.exit_code == 2
    assert says in done.err
    assert not Path("ev").exists()


def test_tables_of_a_bench_file_are_the_same_faults(tmp_path: Path) -> None:
    tables: list[tuple[dict[str, Any], str]] = [
        ({"kind": "loss", "percent": 10, "from": "hub", "to": "ppmid"},
         "loss 10 % from hub to ppmid"),
        ({"kind": "bursty loss", "percent": 20, "burst_frames": 9}, "bursty loss 20 % of 9 frames"),
        ({"kind": "delay", "percent": 5, "by_ms": 20.5}, "delay 5 % by 20.5 ms"),
        ({"kind": "interference", "channel": 15, "start_s": 1, "duration_s": 2},
         "interference on channel 15 from 1 s for 2 s"),
        ({"kind": "bad CRC", "frame": "sendUnicast", "number": 3, "on": "hub"},
         "bad CRC at the 3rd sendUnicast on hub"),
        ({"kind": "ERROR frame", "at_s": 2.5, "code": 6}, "ERROR frame with code 0x06 at 2.5 s"),
    ]  # fmt: skip
    text = ONE_DEVICE
    for table, _ in tables:
        text += "[[fault]]\n" + "".join(f"{key} = {json.dumps(v)}\n" for key, v in table.items())
    (tmp_path / "bench.toml").write_text(text)
    bench = load_bench(tmp_path / "bench.toml")
    assert [str(fault) for fault in bench.faults] == [words for _, words in tables]
    other = load_bench().with_options(faults=[words for _, words in tables])
    assert other.faults == bench.faults
