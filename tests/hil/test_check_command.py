"""`hanbench check`: what it tells of a bench file, and that it names everything in the way."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path
from typing import Any

import pytest
from bench_support import SMALL_BENCH, Done, finished_run, hanbench, make_image

from hil.bench_file import BUILT_IN, load_bench
from hil.bench_review import review_bench
from hil.check_command import options_of
from hil.figures import duration

DUT = """\
[radios]
transmit = true
channels = [15]
[hub]
radio = "tcp://127.0.0.1:7000"
[[device]]
id = "ppmid"
kind = "ppmid"
dut = true
eui64 = "00-DB-12-34-56-78-90-B1"
install_code = "83FED3407A939723A5C639B26916D505"
version = "00010100"
image = "new.ota"
"""


@pytest.fixture
def check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(text: str, *arguments: object) -> Done:
        Path("bench.toml").write_text(text)
        return hanbench(capsys, monkeypatch, "check", "bench.toml", *arguments)

    return call


def findings(done: Done, severity: str = "error") -> list[str]:
    told = json.loads(done.out)["findings"]
    return [one["sentence"] for one in told if one["severity"] == severity]


def test_a_good_bench_is_explained_and_exits_with_0(check: Any) -> None:
    done = check(
        f'faults = ["loss 10 %"]\n{SMALL_BENCH}role = "sleepy"\n[dsp]\nprofile = "mp170"\n'
    )
    assert (done.exit_code, done.err) == (0, "")
    for words in (
        "bench.toml: virtual time, which jumps, seed 7, civil time from 2026-01-01T00:00:00Z",
        "hub          an emulated stick, EZSP 14",
        "1. ppmid: ppmid, emulated, router",
        "version 00010200 over 00010100, 2 048 octets in 37 blocks, maker-signed",
        "An image may have 768 000 octets, counting the whole file.",
        "Faults: loss 10 %.",
        'bridge-1.role = "sleepy" (without it "router")',
        "longer with these faults",
        "Nothing is in the way: hanbench run bench.toml",
    ):
        assert words in done.out
    assert "dsp.profile" not in done.out  # it says what holds anyway


def test_what_is_told_of_images_and_blocks_is_what_a_run_then_sends(check: Any) -> None:
    told = json.loads(check(SMALL_BENCH, "--json").out)
    ran = finished_run().document
    assert [
        (one["id"], one["image"]["sha256"], one["image"]["size_octets"], one["image"]["blocks"])
        for one in told["devices"]
    ] == [(one["device_id"], one["sha256"], one["bytes"], one["blocks"]) for one in ran["devices"]]
    assert told["clock"] == ran["clock"]
    assert told["estimate"]["air_s"] == pytest.approx(ran["virtual_s"], rel=0.25)


@pytest.mark.parametrize(
    "keys",
    [
        'role = "sleepy"\npersonality = "sleepy"\n',
        'personality = "telink"\n',
        'personality = "xbee"\n',
        'personality = "ti"\n[hub]\nminimum_block_period_ms = 100\n',
        '[[device]]\nid = "other"\nkind = "ppmid"\nimage_size_bytes = 16384\n',
    ],
)
@pytest.mark.matrix
def test_an_estimate_is_within_a_fifth_of_what_comes(tmp_path: Path, keys: str) -> None:
    text = f'[[device]]\nid = "p"\nkind = "ppmid"\nimage_size_bytes = 16384\n{keys}'
    (tmp_path / "bench.toml").write_text(text)
    estimate = review_bench(tmp_path / "bench.toml").estimate
    assert estimate is not None
    ran = finished_run(text).document
    assert estimate.air_s == pytest.approx(ran["virtual_s"], rel=0.2), duration(estimate.air_s)


def test_everything_in_the_way_is_named_at_once(check: Any, tmp_path: Path) -> None:
    (tmp_path / "cut.ota").write_bytes(make_image(600).data[:-1])
    (tmp_path / "large.ota").write_bytes(make_image(768_001).data)
    done = check(
        """\
faults = ["loss 5 % on nobody"]
[hub]
radio = "/dev/no-such-stick"
[[device]]
id = "a"
kind = "ppmid"
radio = "/dev/null"
image = "none.ota"
[[device]]
id = "a"
kind = "bridge-3"
radio = "tcp://lab3"
[[device]]
id = "b"
kind = "ppmid"
radio = "labgrid://stick-3"
image = "cut.ota"
image_policy = "opaque"
[[device]]
id = "c"
kind = "bridge-1"
radio = "/dev/../dev/null"
image = "large.ota"
""",
        "--json",
    )
    assert done.exit_code == 2
    told = findings(done)
    for words in (
        "'loss 5 % on nobody' is on nothing of this bench",
        "device[0].image is 'none.ota', and there is no such file",
        "device[1].id is 'a', which is taken already",
        "a: a bridge-3 is not emulated yet",
        "/dev/no-such-stick is a real radio and may not send",
        "/dev/no-such-stick is not there",
        "/dev/null and /dev/../dev/null are one port, /dev/null",
        "tcp://lab3 names no host with a port",
        "labgrid://stick-3 needs labgrid-client, which is not installed",
        "cut.ota",
        "large.ota",
    ):
        assert any(words in sentence for sentence in told), (words, told)
    assert len(told) == len(set(told))


def test_every_wrong_value_has_its_line(check: Any) -> None:
    done = check("sed = 1\nezsp = 15\n[[device]]\nid = 'A'\nkind = 'ppmid'\n")
    assert done.exit_code == 2
    for words in ("line 1: sed is not a key here", "line 2: ezsp is 15", "line 4: device[0].id"):
        assert words in done.out
    assert "3 things are in the way" in done.out


def test_a_file_that_is_none_is_one_sentence(check: Any) -> None:
    done = check("[hub\n")
    assert done.exit_code == 2
    assert done.out == ""
    assert done.err.startswith("hanbench: bench.toml, line 1 is not TOML")


def test_a_serial_port_that_is_there_is_not_opened(check: Any) -> None:
    master, slave = pty.openpty()
    try:
        path = os.ttyname(slave)
        done = check(
            f'[radios]\ntransmit = true\nchannels = [15]\n[hub]\nradio = "{path}"\n'
            '[[device]]\nid = "p"\nkind = "ppmid"\nradio = "tcp://127.0.0.1:1"\n'
        )
        os.set_blocking(master, False)
        with pytest.raises(BlockingIOError):  # not one octet came
            os.read(master, 1)
    finally:
        os.close(master)
        os.close(slave)
    assert done.exit_code == 0, done
    assert f"a serial port, {path}" in done.out
    assert "real radios may send; channels: 15" in done.out


def test_a_stick_that_does_not_answer_a_probe_is_named(check: Any) -> None:
    text = DUT.replace("7000", "1")
    Path("new.ota").write_bytes(make_image(2048).data)
    done = check(text, "--probe", "--json")
    assert done.exit_code == 2
    (told,) = json.loads(done.out)["findings"]
    assert told["key"] == "hub.radio"
    assert "tcp://127.0.0.1:1 does not answer like an EZSP stick" in told["sentence"]


def test_a_sniffer_has_to_be_there_and_nobody_elses(check: Any) -> None:
    text = (
        '[radios]\ntransmit = true\nchannels = [15]\nsniffer = "{}"\n'
        '[hub]\nradio = "tcp://127.0.0.1:1"\n'
        '[[device]]\nid = "p"\nkind = "ppmid"\nradio = "tcp://127.0.0.1:2"\n'
    )
    gone = check(text.format("/dev/no-such-sniffer"), "--json")
    assert findings(gone) == [
        "/dev/no-such-sniffer is not there: plug the stick in, or name another"
    ]
    twice = check(text.format("tcp://127.0.0.1:2"), "--json")
    assert findings(twice) == ["tcp://127.0.0.1:2 is the sniffer, and somebody else's radio too"]
    assert check(text.format("tcp://127.0.0.1:3")).exit_code == 0
    asked = check(text.format("tcp://127.0.0.1:3"), "--probe", "--json")
    keys = [one["key"] for one in json.loads(asked.out)["findings"]]
    assert keys == ["hub.radio", "device[0].radio", "radios.sniffer"]
    unused = check(f'[radios]\nsniffer = "/dev/none"\n{SMALL_BENCH[9:]}', "--json")
    assert unused.exit_code == 0
    assert findings(unused, "warning") == [
        "/dev/none is not used: an emulated air is captured without a sniffer"
    ]


def test_a_probe_asks_the_port_that_a_labgrid_place_has(
    check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "labgrid-client"
    client.write_text("#!/bin/sh\necho no coordinator >&2\nexit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    Path("new.ota").write_bytes(make_image(2048).data)
    done = check(DUT.replace("tcp://127.0.0.1:7000", "labgrid://shelf"), "--probe", "--json")
    (sentence,) = findings(done)
    assert sentence.endswith("labgrid-client -p shelf show failed: no coordinator")


def test_a_device_under_test_is_explained(check: Any) -> None:
    Path("new.ota").write_bytes(make_image(2048).data)
    Path("old.ota").write_bytes(make_image(1024, version=0x00010000).data)
    Path("keys").mkdir()
    text = f'{DUT}image_back = "old.ota"\nclaims = ["resumes"]\n'
    done = check(text)
    assert done.exit_code == 0, done
    for words in (
        "real time, seed 1, civil time of this machine",
        "its own, which the hub's stick hears",
        "00DB1234567890B1, certificates: the run's own",
        "claims: resumes (after a power cut it goes on loading where it was)",
        "somebody at the table is asked",
        'image_back is 00010000, which is older than what it then runs, and it does not claim "do',
        "hanbench verify bench.toml",
    ):
        assert words in done.out
    assert "83FED3407A93" not in done.out  # an install code is nobody else's business
    done = check(f'{text}certificates = "keys"\npower = "labgrid:shelf"\n', "--json")
    assert done.exit_code == 2
    assert [sentence.partition(":")[0] for sentence in findings(done)] == [
        "keys has no certificate 00db1234567890b1-ds.pem of ppmid",
        "ppmid's power is switched by labgrid-client, which is not installed",
    ]


def test_options_of_every_table_are_told_with_what_holds_without_them(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(
        "ezsp = 13\n[hub]\nminimum_block_period_ms = 200\nserve_pages = false\n"
        '[dsp]\ncommissioned = "strict"\n[dsp.codes]\nreplay = "E43"\n'
        '[[device]]\nid = "p"\nkind = "ppmid"\npersonality = "ti"\n'
        "[device.ota]\nblock_timeout_s = 8.0\nresume = false\n"
    )
    told = {
        one.key: (one.value, one.default) for one in options_of(load_bench(tmp_path / "bench.toml"))
    }
    assert told["ezsp"] == (13, 14)
    assert told["hub.minimum_block_period_ms"] == (200, 0)
    assert told["dsp.commissioned"] == ("strict", "relaxed")
    assert told["dsp.codes.replay"] == ("E43", "E42")
    assert told["p.ota.block_timeout_s"] == (8.0, 5.0)  # a TI client's own
    assert "p.ota.resume" not in told  # a TI client does not anyway
    assert options_of(BUILT_IN) == []
