"""`run_wall`: `hanbench run` as somebody runs it: a process of its own, the built-in bench.

Source: DESIGN, "What it promises to the outside"; `wall_s` is that of its verdict. The limit is
30 s, so the figure that is judged is `wall_s` over that.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from bench.judge import Benchmark, BenchmarkError, Line, Measure

LIMIT_S = 30.0
_TIMEOUT_S = 600.0
_TOY_BENCH = """\
[[device]]
id = "bridge-1"
kind = "bridge-1"
image_size_bytes = 2048
"""


def _run_once(toy: bool) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "hil.cli", "run", "--json"]
        command += ["--evidence", str(folder / "evidence")]
        if toy:
            bench_file = folder / "toy.toml"
            bench_file.write_text(_TOY_BENCH)
            command.append(str(bench_file))
        began_s = perf_counter()
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
        process_s = perf_counter() - began_s
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-300:]
        raise BenchmarkError(f"hanbench run ended with {done.returncode}: {said}")
    return float(json.loads(done.stdout)["wall_s"]), process_s


def _prepare(toy: bool) -> Measure:
    def measure() -> Mapping[str, float]:
        wall_s, process_s = _run_once(toy)
        return {"ratio": wall_s / LIMIT_S, "wall": wall_s, "process": process_s}

    return measure


RUN_WALL = Benchmark(
    "run_wall",
    "hanbench run, the built-in bench",
    (
        Line("ratio", f"wall_s of the verdict / {LIMIT_S:g} s", at_most=1.0),
        Line("wall", "s: wall_s of the verdict"),
        Line("process", "s: the whole process"),
    ),
    _prepare,
)
