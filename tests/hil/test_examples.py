"""The benches in `examples/` do what their comments say, as far as nobody needs hardware."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hil.bench_review import review_bench

EXAMPLES = Path(__file__).parents[2] / "examples"
BENCHES = sorted(path.parent.name for path in EXAMPLES.glob("*/bench.toml"))
# What is in the way where neither the hardware nor the maker's files are.
MISSING = (
    "is not there: plug the stick in",
    "there is no such file",
    "which is not installed",
    "has no certificate",
    "there is no such folder",
    "No such file or directory",
)
JOBS = sorted((EXAMPLES / "ci").glob("*.yml"))


def commands(job: Path) -> list[str]:
    """The shell commands of a CI job, in order."""
    return re.findall(r"^\s*- (?:run: )?((?:pip|hanbench) .+)$", job.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", BENCHES)
def test_nothing_but_hardware_and_files_is_missing(name: str) -> None:
    review = review_bench(EXAMPLES / name / "bench.toml")
    assert review.bench is not None
    odd = [
        one.sentence
        for one in review.findings
        if not any(words in one.sentence for words in MISSING)
    ]
    assert odd == []
    if name in ("ci", "faulty-air"):
        assert review.findings == ()


def test_every_bench_is_in_the_list() -> None:
    page = (EXAMPLES / "README.md").read_text()
    assert [name for name in BENCHES if f"[{name}]({name})" not in page] == []


def test_both_jobs_run_the_same_commands() -> None:
    github, gitlab = map(commands, JOBS)
    assert github == gitlab
    assert [one.split()[0] for one in github] == ["pip", "hanbench", "hanbench"]


@pytest.mark.matrix
def test_the_commands_of_the_jobs_succeed(tmp_path: Path) -> None:
    for command in commands(JOBS[0])[1:]:
        words = shlex.split(command)
        words = [word.replace("evidence/", f"{tmp_path}/") for word in words[1:]]
        done = run("hil.cli", *words)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.matrix
def test_a_bad_evening_ends_well(tmp_path: Path) -> None:
    bench = EXAMPLES / "faulty-air" / "bench.toml"
    done = run("hil.cli", "run", bench, "--evidence", tmp_path / "evidence")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_test_of_ones_own_passes(tmp_path: Path) -> None:
    path = EXAMPLES / "manufacturer" / "test_my_bridge.py"
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 10
    bench = EXAMPLES / "ci" / "bench.toml"
    options = ("-q", "-p", "no:cacheprovider", f"--hanbench-bench={bench}", "--rootdir", tmp_path)
    done = run("pytest", *options, f"--hanbench-evidence={tmp_path / 'kept'}", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def run(module: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=EXAMPLES.parent,
    )
