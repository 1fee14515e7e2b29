"""docs/emulated-stick.md does what it says: its examples are run as they stand."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bench_support import REPOSITORY

from emulator.zigbee.state import StackState

pytestmark = pytest.mark.real_clock

DOCUMENT = (REPOSITORY / "docs" / "emulated-stick.md").read_text()


def example(language: str) -> str:
    """The first code block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    scripts = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):  # what a failed example left running
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_the_ten_lines_of_pytest_pass_in_a_folder_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(example("python"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    done = run(tmp_path, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_shell_example_reads_a_stick_and_ends_cleanly(tmp_path: Path) -> None:
    done = run(tmp_path, "sh", "-ec", example("sh"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Board name: emulated stick" in done.stdout
    assert [one.name for one in tmp_path.iterdir()] == ["sticks.jsonl"]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_node_example_finds_its_stick(tmp_path: Path) -> None:
    (tmp_path / "example.js").write_text(example("js"))
    done = run(tmp_path, "node", "example.js")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("a stick at tcp://127.0.0.1:")


def test_the_memory_in_the_document_can_be_used_as_it_stands() -> None:
    state = StackState.from_json(example("json"))
    assert state.network is not None
    assert state.devices == {0x1234: 0x0011223344556677}
