"""Every benchmark runs and has a figure for each of its lines; how large it is, is not asked here.

What the judge says of figures is pinned with figures made up for it.
"""

from __future__ import annotations

import math

import pytest

from bench import judge
from bench.__main__ import BENCHMARKS
from bench.__main__ import judge as measure_and_print
from bench.judge import Benchmark, BenchmarkError, Figure, Line

AT_MOST_2 = Line("a", "a / b", at_most=2.0)
AT_LEAST_2 = Line("a", "a / b", at_least=2.0)


# What each of these starts takes long even as a toy.
LONG = ("real_time_homes", "run_wall")


@pytest.mark.real_clock
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.matrix] if name in LONG else [])
        for name in sorted(BENCHMARKS)
    ],
)
def test_a_benchmark_that_no_longer_runs_is_noticed(name: str) -> None:
    benchmark = BENCHMARKS[name]
    figures = judge.run(benchmark, 1, toy=True)
    assert [figure.line for figure in figures] == list(benchmark.lines)
    for figure in figures:
        assert all(math.isfinite(value) for value in figure.values), figure.line.says
    assert any(figure.line.target for figure in figures)
    assert all(line.says in judge.table(benchmark, figures) for line in benchmark.lines)


@pytest.mark.parametrize(
    ("line", "values", "said"),
    [
        (AT_MOST_2, (2.0,) * 7, "pass"),
        (AT_MOST_2, (2.01,) * 7, "MISSED"),
        (AT_LEAST_2, (2.0,) * 7, "pass"),
        (AT_LEAST_2, (1.99,) * 7, "MISSED"),
        (AT_MOST_2, (1.9, 1.9, 1.9, 1.9, 2.1, 2.1, 2.1), "pass"),
        (AT_MOST_2, (1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0), "cannot judge"),
        (AT_MOST_2, (1.0,) * 6, "cannot judge"),
        (Line("a", "us"), (9.0,) * 7, ""),
    ],
)
def test_a_missed_target_is_not_called_a_pass(
    line: Line, values: tuple[float, ...], said: str
) -> None:
    assert Figure(line, values).judgement == said


def _made_up(value: float) -> Benchmark:
    return Benchmark("made-up", "nothing", (AT_MOST_2,), lambda _toy: lambda: {"a": value})


def test_the_exit_code_is_1_when_a_median_misses(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_and_print([_made_up(1.0)], 7) == 0
    assert "1 passed, 0 MISSED, 0 could not" in capsys.readouterr().out
    assert measure_and_print([_made_up(1.0), _made_up(3.0)], 7) == 1
    assert "1 passed, 1 MISSED, 0 could not" in capsys.readouterr().out
    assert measure_and_print([_made_up(3.0)], 1) == 0
    assert "0 passed, 0 MISSED, 1 could not" in capsys.readouterr().out


def test_what_could_not_be_measured_is_told_and_not_passed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def prepare(_toy: bool) -> judge.Measure:
        raise BenchmarkError("the image did not arrive")

    broken = Benchmark("broken", "nothing", (AT_MOST_2,), prepare)
    assert measure_and_print([broken, _made_up(1.0)], 7) == 3
    said = capsys.readouterr().out
    assert "broken: not measured: the image did not arrive" in said
    assert "1 passed" in said
