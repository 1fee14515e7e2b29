"""A bench on radios that it reaches as real ones: through terminals by socat, through ser2net."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bench_support import start_hanbench
from serial_lines import LINES, Line, lines
from sticks import Stick, ask, sticks, tool
from tshark_support import read_by_tshark

from emulator.ncp.hot_frames import LQI, RSSI_DBM
from hil.pointers import Resolver

pytestmark = pytest.mark.real_clock
EACH = pytest.mark.parametrize("kind", LINES)
PULLED = [(kind, whose) for kind in LINES for whose in ("hub", "ppmid")]
QUICK = os.environ.get("HANBENCH_MATRIX") == "quick"
if QUICK:
    PULLED = PULLED[-1:]
LONG = pytest.mark.skipif(QUICK, reason="two runs on the real clock and more")
ALLOWED = "transmit = true\nchannels = [20, 25]\n"
SIZE_BYTES = 2048
LONG_BYTES = 32 * 1024
VERIFIED = "an_image_is_deployed"
PICTURES = ("Block timeline", "Loss", "Block latency")


class Setup(NamedTuple):
    bench: Path
    lines: list[Line]
    sticks: list[Stick]

    def run(self, *words: object) -> subprocess.Popen[str]:
        evidence = self.bench.parent / "evidence"
        return start_hanbench("run", self.bench, "--evidence", evidence, *words)

    def events(self) -> list[dict[str, Any]]:
        path = self.bench.parent / "evidence" / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


def bench_file(folder: Path, hub: str, device: str, radios: str, size_bytes: int) -> Path:
    path = folder / "bench.toml"
    path.write_text(
        f'[hub]\nradio = "{hub}"\n\n[radios]\n{radios}\n[[device]]\nid = "ppmid"\nkind = "ppmid"\n'
        f'radio = "{device}"\nimage_size_bytes = {size_bytes}\n'
    )
    return path


@contextmanager
def setup(kind: str, folder: Path, size_bytes: int = SIZE_BYTES) -> Iterator[Setup]:
    """Two sticks, a line to each, and a bench file that may send."""
    with (
        sticks(2, 14, "tcp" if kind == "socat" else "pty") as served,
        lines(kind, folder, [one.url for one in served]) as made,
    ):
        hub, device = (line.url for line in made)
        path = bench_file(folder, hub, device, ALLOWED, size_bytes)
        yield Setup(path, made, served)


def ended(process: subprocess.Popen[str], timeout_s: float = 240) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout_s)
    assert "Traceback" not in err
    return process.returncode, out, err


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read what it says up to this."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"it never said {text!r}: {process.communicate()[1]}")


# -- whole updates -------------------------------------------------------------------------


@EACH
@pytest.mark.matrix
def test_an_update_on_the_real_clock_passes_and_names_the_sticks(kind: str, tmp_path: Path) -> None:
    with setup(kind, tmp_path) as made:
        code, out, err = ended(made.run("--json"))
        assert (code, err) == (0, "")
        verdict = json.loads(out)
        assert verdict["verdict"] == "pass"
        assert verdict["trace_hash"] is None
        told = {one["name"]: one for one in verdict["radios"]}
        for name, stick, line in zip(("hub", "ppmid"), made.sticks, made.lines, strict=True):
            radio = told[name]
            assert (radio["url"], int(radio["eui64"], 16)) == (line.url, stick.eui64)
            assert (radio["ezsp"], radio["channel"]) == (14, 20)  # of equals the lowest
            assert radio["library_status"] == "163k1 and 283k1"
            assert (radio["rssi_dbm"], radio["lqi"]) == (RSSI_DBM, LQI)
        (formed,) = [one for one in made.events() if one["type"] == "network-formed"]
        assert formed["channel"] == 20
        shows_every_block(made.bench.parent / "evidence")
        says_reconstructed(made.bench.parent / "evidence", *PICTURES, "Frames on the air")
        # Before anything was sent.
        types = [one["type"] for one in made.events()]
        assert types[:4] == ["radio", "radio", "channel-chosen", "run-started"]


def shows_every_block(evidence: Path) -> None:
    """Nobody sniffed, and the host of the hub tells what it told its stick and heard from it."""
    assert not (evidence / "air.pcapng").exists()
    fields = {
        "number": "frame.number",
        "asked": "zbee_zcl_general.ota.cmd.srv_rx.id",
        "given": "zbee_zcl_general.ota.cmd.srv_tx.id",
        "offset": "zbee_zcl_general.ota.file.offset",
        "bad": "_ws.malformed",
        "comment": "frame.comment",
    }
    frames = read_by_tshark(evidence / "host.pcapng", fields)
    assert not any("bad" in one for one in frames)
    assert all(one["comment"][0].startswith("reconstructed at hub: ") for one in frames)
    asked = [one["offset"] for one in frames if one.get("asked") == ["0x03"]]
    given = [one["offset"] for one in frames if one.get("given") == ["0x05"] and "offset" in one]
    assert len(given) >= SIZE_BYTES // 56
    assert asked == given
    resolver = Resolver(evidence)
    assert resolver.resolve(f"host.pcapng#{frames[-1]['number'][0]}") is None
    assert resolver.resolve(f"host.pcapng#{len(frames) + 1}") is not None


def says_reconstructed(evidence: Path, *headings: str) -> None:
    page = (evidence / "report.html").read_text()
    for heading in headings:
        assert f"{heading}, reconstructed from what the hosts heard" in page


@pytest.mark.matrix
@LONG
def test_a_verify_on_real_radios_shows_what_the_host_of_the_hub_heard(tmp_path: Path) -> None:
    with setup("socat", tmp_path) as made:
        evidence = made.bench.parent / "evidence"
        words = ("verify", made.bench, "--evidence", evidence, "-k", VERIFIED, "--json")
        code, out, err = ended(start_hanbench(*words))
        assert (code, err) == (0, "")
        assert json.loads(out)["verdict"] == "pass"
        (capture,) = evidence.rglob("host.pcapng")
        shows_every_block(capture.parent)
        says_reconstructed(evidence, *PICTURES)


@pytest.mark.matrix
@pytest.mark.parametrize(("kind", "whose"), PULLED)
def test_a_line_pulled_in_mid_transfer_is_named_and_ends_the_run(
    kind: str, whose: str, tmp_path: Path
) -> None:
    with setup(kind, tmp_path, LONG_BYTES) as made:
        process = made.run()
        wait_for(process, " 10 %")
        line = made.lines[("hub", "ppmid").index(whose)]
        line.pull()
        code, out, err = ended(process)
        if whose == "hub":
            assert code == 3
            assert f"the hub lost its radio: the radio {line.url} was lost" in err
            assert len(err.splitlines()) == 1
        else:
            assert code == 1
            assert f"the radio {line.url} was lost" in out
            assert "timed-out" in out
        told = made.events()
        assert [one for one in told if one["type"] == "run-ended"]
        assert f"left as it is: the radio {line.url}" in str(told)


@pytest.mark.matrix
def test_a_run_that_is_interrupted_keeps_its_evidence(tmp_path: Path) -> None:
    with setup("socat", tmp_path, LONG_BYTES) as made:
        process = made.run()
        wait_for(process, " 10 %")
        process.send_signal(signal.SIGINT)
        code, _, err = ended(process)
        assert code == 130
        assert "interrupted; the evidence so far is in" in err
        (end,) = [one for one in made.events() if one["type"] == "run-ended"]
        assert end["verdict"] == "interrupted"


@pytest.mark.matrix
def test_a_third_stick_makes_a_capture_that_tshark_reads_down_to_the_blocks(
    tmp_path: Path,
) -> None:
    with sticks(3, 14) as served:
        hub, device, sniffer = (one.url for one in served)
        radios = f'{ALLOWED}sniffer = "{sniffer}"\n'
        path = bench_file(tmp_path, hub, device, radios, SIZE_BYTES)
        words = ("run", path, "--evidence", tmp_path / "evidence", "--json", "--with-keys")
        code, out, err = ended(start_hanbench(*words))
        assert (code, err) == (0, "")
        told = [one["name"] for one in json.loads(out)["radios"]]
        assert told == ["hub", "ppmid", "sniffer"]
        lines = (tmp_path / "evidence" / "air.keys").read_text().splitlines()
        keys = [bytes.fromhex(line.split(",")[0].strip('"')) for line in lines]
        fields = {"command": "zbee_zcl_general.ota.cmd.srv_tx.id", "bad": "_ws.malformed"}
        frames = read_by_tshark(tmp_path / "evidence" / "air.pcapng", fields, *keys)
        assert not any("bad" in one for one in frames)
        assert not (tmp_path / "evidence" / "host.pcapng").exists()
        blocks = [one for one in frames if one.get("command") == ["0x05"]]
        assert len(blocks) >= SIZE_BYTES // 56


# -- what may not be -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("radios", "wanted"),
    [
        ("", "[radios] transmit = true"),
        ("transmit = false\nchannels = [20]\n", "may not send"),
        ("transmit = true\n", "on which channels"),
        ("transmit = true\nchannels = [10]\n", "from 11 to 26"),
        ("transmit = true\nchannels = [20, 20]\n", "different channels"),
        ('transmit = "yes"\n', "true or false"),
    ],
)
def test_without_leave_nothing_is_opened(radios: str, wanted: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        port.settimeout(0)
        url = f"tcp://127.0.0.1:{port.getsockname()[1]}"
        path = bench_file(tmp_path, url, url.replace("127.0.0.1", "localhost"), radios, 2048)
        code, out, err = ended(start_hanbench("run", path, "--evidence", tmp_path / "evidence"))
        assert (code, out) == (2, "")
        assert wanted in err
        assert len(err.splitlines()) == 1
        assert not (tmp_path / "evidence").exists()
        with pytest.raises(BlockingIOError):
            port.accept()


def test_two_lines_to_one_stick_are_noticed(tmp_path: Path) -> None:
    with sticks(1, 14) as (stick,):
        other = stick.url.replace("127.0.0.1", "localhost")
        path = bench_file(tmp_path, stick.url, other, ALLOWED, SIZE_BYTES)
        code, _, err = ended(start_hanbench("run", path, "--evidence", tmp_path / "evidence"))
        assert code == 2
        assert "are one stick" in err
        assert f"{stick.eui64:016X}" in err


@pytest.mark.matrix
def test_a_port_with_no_stick_behind_it_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        url = f"tcp://127.0.0.1:{port.getsockname()[1]}"
        path = bench_file(tmp_path, url, "/dev/null", ALLOWED, SIZE_BYTES)
        code, _, err = ended(start_hanbench("run", path, "--evidence", tmp_path / "evidence"))
        assert code == 3
        assert f"the radio {url} does not answer like an EZSP stick" in err
        assert len(err.splitlines()) == 1


# -- networks that sticks are in -----------------------------------------------------------


@pytest.mark.matrix
@LONG
def test_sticks_are_blank_again_and_serve_the_next_run(tmp_path: Path) -> None:
    with setup("socat", tmp_path) as made:
        assert ended(made.run("--json"))[0] == 0
        for line in made.lines:
            assert "not part of a network" in said_of(line)
        shutil.rmtree(tmp_path / "evidence")
        assert ended(made.run("--json"))[0] == 0


@pytest.mark.matrix
def test_a_network_of_somebody_elses_is_left_alone_or_borrowed_and_put_back(
    tmp_path: Path,
) -> None:
    with setup("socat", tmp_path) as made:
        line = made.lines[0]
        ask(tool("zigpy"), "radio", "ezsp", line.url, "form", is_tidy=False)
        before = backup_of(line, tmp_path)
        code, _, err = ended(made.run())
        assert code == 2
        assert "is in a network that this bench did not form" in err
        assert "--take-over" in err
        assert backup_of(line, tmp_path)["network_key"]["key"] == before["network_key"]["key"]
        shutil.rmtree(tmp_path / "evidence")
        code, out, err = ended(made.run("--take-over"))
        assert (code, err) == (0, "")
        assert "put back" in out
        after = backup_of(line, tmp_path)
        for name in ("channel", "pan_id", "extended_pan_id", "coordinator_ieee"):
            assert after[name] == before[name]
        assert after["network_key"]["key"] == before["network_key"]["key"]
        used = after["network_key"]["frame_counter"]
        assert used >= before["network_key"]["frame_counter"] + 10_000
        assert list(tmp_path.glob("*network.json")) == []


@pytest.mark.matrix
@LONG
def test_a_run_that_was_killed_leaves_the_backup_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with setup("socat", tmp_path, LONG_BYTES) as made:
        ask(tool("zigpy"), "radio", "ezsp", made.lines[0].url, "form", is_tidy=False)
        before = backup_of(made.lines[0], tmp_path)
        process = made.run("--take-over")
        wait_for(process, " 10 %")
        process.kill()
        process.communicate()
        (kept,) = tmp_path.glob("*network.json")
        assert kept.stat().st_mode & 0o777 == 0o600
        shutil.rmtree(tmp_path / "evidence")
        made.bench.write_text(made.bench.read_text().replace(str(LONG_BYTES), str(SIZE_BYTES)))
        # The network the sticks are in now is the bench's own.
        assert ended(made.run("--json"))[0] == 0
        restore = ("radio", "ezsp", made.lines[0].url, "restore", str(kept))
        ask(tool("zigpy"), *restore, is_tidy=False)
        assert backup_of(made.lines[0], tmp_path)["pan_id"] == before["pan_id"]


def said_of(line: Line) -> str:
    """What zigpy's own command says of a stick that it is asked to describe."""
    words = [tool("zigpy"), "radio", "ezsp", line.url, "info"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def backup_of(line: Line, folder: Path) -> dict[str, Any]:
    """A stick's network as zigpy's own command writes it."""
    path = folder / "seen.json"
    ask(tool("zigpy"), "radio", "ezsp", line.url, "backup", str(path), is_tidy=False)
    found: dict[str, Any] = json.loads(path.read_text())
    path.unlink()
    return found
