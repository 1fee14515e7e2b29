"""`hanbench init`: answers by a pipe or by options, and a bench file that `check` accepts."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hil.bench_file import load_bench
from hil.bench_review import review_bench
from hil.cli import cli

LAB = ("--kind", "lab", "--device", "ppmid", "--radio", "/dev/null", "--radio", "/dev/zero")


def init(path: Path, *words: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["init", str(path), *words], input=answers)


@pytest.mark.parametrize("devices", [["ppmid"], ["bridge-1", "bridge-2"]])
def test_what_options_say_stands_in_the_file(devices: list[str], tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    words = [word for one in devices for word in ("--device", one)]
    done = init(path, "--yes", "--kind", "ci", "--seed", "9", *words)
    assert done.exit_code == 0, done.output
    assert "is written" in done.output
    bench = load_bench(path)
    assert bench.seed == 9
    assert [one.kind for one in bench.devices] == devices
    assert review_bench(path).findings == ()


def test_answers_may_come_through_a_pipe_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    done = init(path, answers="ci\nppmid\n5\n\n")
    assert done.exit_code == 0, done.output
    assert load_bench(path).seed == 5


def test_real_sticks_send_only_when_somebody_said_so(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    done = init(path, "--yes", *LAB, "--channels", "15,20", "--transmit")
    assert done.exit_code == 0, done.output
    assert load_bench(path).real_radios.channels == (15, 20)
    assert load_bench(path).real_radios.transmit
    other = tmp_path / "other.toml"
    done = init(other, "--yes", *LAB, "--channels", "15", "--no-transmit", "--unchecked")
    assert done.exit_code == 0, done.output
    assert not load_bench(other).real_radios.transmit


def test_a_file_that_is_there_stays_unless_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text("mine\n")
    done = init(path, "--yes", "--kind", "ci")
    assert done.exit_code != 0
    assert "--force overwrites it" in str(done.exception)
    assert path.read_text() == "mine\n"
    assert init(path, "--yes", "--kind", "ci", "--force").exit_code == 0
    assert load_bench(path).devices


def test_what_is_in_the_way_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    words = ("--kind", "lab", "--device", "ppmid", "--radio", "/dev/no-stick", "--radio", "/dev/no")
    done = init(path, "--yes", *words, "--channels", "15", "--transmit")
    assert done.exit_code != 0
    assert "/dev/no-stick is not there" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_at_a_question_leaves_nothing(tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hil.cli", "init", str(tmp_path / "bench.toml")],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(terminal)
    said = b""
    while b"[ci]" not in said:
        said += os.read(master, 4096)
    # Between a prompt and the wait for its answer readline loses a signal: one presses again.
    for _ in range(15):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
            break
    assert process.poll() == 130
    os.close(master)
    assert list(tmp_path.iterdir()) == []
