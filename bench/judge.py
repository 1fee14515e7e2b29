"""A measured figure against its target: repeats, spread, verdict, and the table that says so.

Source: ours. Two things that are compared are measured in turn within each repeat, so a machine
that is busy for a while slows both; what the spread of the repeats leaves open is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pstdev
from typing import Literal

MIN_REPEATS = 7
MAX_CV = 0.10

Judgement = Literal["pass", "MISSED", "cannot judge", ""]
Measure = Callable[[], Mapping[str, float]]
"""One repeat: every figure of a benchmark by the name of its line."""


class BenchmarkError(Exception):
    """What was measured is not what was to be measured, so there is no figure."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of a benchmark. Without a target it is told and not judged."""

    key: str
    says: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"

    def is_met_by(self, value: float) -> bool:
        if self.at_most is not None and value > self.at_most:
            return False
        return self.at_least is None or value >= self.at_least


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`prepare(toy)` does what need not be repeated and returns what is."""

    name: str
    says: str
    lines: tuple[Line, ...]
    prepare: Callable[[bool], Measure]


@dataclass(frozen=True, slots=True)
class Figure:
    """All repeats of one line."""

    line: Line
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def cv(self) -> float:
        """Standard deviation over mean."""
        mean = fmean(self.values)
        return pstdev(self.values) / abs(mean) if mean else 0.0

    @property
    def judgement(self) -> Judgement:
        if not self.line.target:
            return ""
        if len(self.values) < MIN_REPEATS:
            return "cannot judge"
        met = {self.line.is_met_by(value) for value in self.values}
        if len(met) > 1 and self.cv > MAX_CV:
            return "cannot judge"  # the repeats disagree, and spread too far for their median
        return "pass" if self.line.is_met_by(self.median) else "MISSED"


def run(benchmark: Benchmark, repeats: int, *, toy: bool = False) -> list[Figure]:
    """Measure `repeats` times."""
    measure = benchmark.prepare(toy)
    taken = [measure() for _ in range(repeats)]
    return [Figure(line, tuple(figures[line.key] for figures in taken)) for line in benchmark.lines]


_HEADINGS = ("", "min", "median", "max", "cv", "target", "")


def table(benchmark: Benchmark, figures: Sequence[Figure]) -> str:
    """The figures of one benchmark as people read them."""
    rows = [_HEADINGS, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    repeats = len(figures[0].values) if figures else 0
    head = f"{benchmark.name}: {benchmark.says} ({repeats} repeats)"
    return "\n".join([head, *("  " + _aligned(row, widths) for row in rows)])


def _row(figure: Figure) -> tuple[str, ...]:
    numbers = (min(figure.values), figure.median, max(figure.values))
    return (
        figure.line.says,
        *(f"{number:.4g}" for number in numbers),
        f"{100 * figure.cv:.1f} %",
        figure.line.target,
        figure.judgement,
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *numbers, last = (
        text.ljust(width) if column in (0, len(widths) - 1) else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join((first, *numbers, last)).rstrip()


def summary(figures: Iterable[Figure]) -> str:
    """How many lines passed, missed, or could not be judged."""
    judgements = [figure.judgement for figure in figures]
    words = {"pass": "passed", "MISSED": "MISSED", "cannot judge": "could not be judged"}
    counts = [f"{judgements.count(key)} {word}" for key, word in words.items()]  # type: ignore[arg-type]
    return ", ".join(counts)
