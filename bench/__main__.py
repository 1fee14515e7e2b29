"""`python -m bench [NAME…] [--repeats N]`: measure, print, judge.

Exit code 1 when a median misses its target, 2 for a name that is none, 3 when something could not
be measured at all. A figure that spreads too far is not judged, and does not fail.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from bench.cbke import CBKE_AGREEMENT
from bench.clocks import PCAPNG_COST, VTIME_JUMP
from bench.codecs import CODEC_EZSP_ASH, FRAME_SECURE
from bench.dsp import DSP_CAMPAIGN
from bench.gbcs import GBCS_FRAMES
from bench.homes import REAL_TIME_HOMES
from bench.judge import MAX_CV, MIN_REPEATS, Benchmark, BenchmarkError, Figure, run, summary, table
from bench.ota_pair import OTA_BELLOWS_PAIR
from bench.run_wall import RUN_WALL
from bench.stack_node import OTA_STACK_NODE

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        CODEC_EZSP_ASH,
        FRAME_SECURE,
        GBCS_FRAMES,
        VTIME_JUMP,
        PCAPNG_COST,
        RUN_WALL,
        OTA_BELLOWS_PAIR,
        OTA_STACK_NODE,
        CBKE_AGREEMENT,
        REAL_TIME_HOMES,
        DSP_CAMPAIGN,
    )
}


@click.command("bench")
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option(
    "--repeats",
    default=MIN_REPEATS,
    show_default=True,
    type=click.IntRange(min=1),
    help=f"Fewer than {MIN_REPEATS} are not judged.",
)
@click.option("--toy", is_flag=True, help="The smallest sizes that run at all.")
def main(names: tuple[str, ...], repeats: int, toy: bool) -> None:
    """Measure what this bench promises of its speed, as ratios taken inside one process.

    A line cannot be judged when its repeats spread by more than a tenth. Without names everything
    is measured, which takes some minutes.
    """
    sys.exit(judge([BENCHMARKS[name] for name in names or BENCHMARKS], repeats, toy=toy))


def judge(benchmarks: Iterable[Benchmark], repeats: int, *, toy: bool = False) -> int:
    """Measure and print; the exit code."""
    taken: list[Figure] = []
    broken = False
    for benchmark in benchmarks:
        try:
            figures = run(benchmark, repeats, toy=toy)
        except BenchmarkError as error:
            click.echo(f"{benchmark.name}: not measured: {error}\n")
            broken = True
            continue
        click.echo(table(benchmark, figures) + "\n")
        taken += figures
    click.echo(f"{summary(taken)} (a spread over {100 * MAX_CV:g} % is not judged)")
    if any(figure.judgement == "MISSED" for figure in taken):
        return 1
    return 3 if broken else 0


if __name__ == "__main__":
    main()
