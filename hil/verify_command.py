"""`hanbench verify`: the conformance suites against a bench, and a verdict per requirement.

Source: DESIGN, "What it promises to the outside". The suites are pytest tests (`hil/suites`); this
runs pytest on them, with a collector that makes `verdict.json` of what they told.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from hil.bench_file import Bench
from hil.closing import with_evidence
from hil.conformance import NEEDS
from hil.environment import write_environment
from hil.errors import BenchBroke, RequestError
from hil.evidence import VERDICT, Evidence
from hil.junit import render_junit
from hil.live_state import Premises
from hil.live_suite import LiveSuite, failures
from hil.pytest_plugin import declaration_of
from hil.report import write_report
from hil.report_rows import JUNIT, REPORT
from hil.requirements import TITLES
from hil.run_command import bench_words, ended_as_by_ctrl_c, new_folder
from hil.suite_bench import suite_bench
from hil.suite_results import Collector, requirements_of, scope_of, suites_folder
from hil.verdict import Verdict, all_skipped

KINDS = ("ppmid", "bridge-1", "bridge-2", "bridge-3", "bridge-4")


@click.command("verify", short_help="The conformance suites against a bench.")
@click.argument(
    "bench_file", metavar="[BENCH.toml]", required=False, type=click.Path(path_type=Path)
)
@click.option("-k", "expression", metavar="EXPR", help="Only tests whose names match, as pytest's.")
@click.option(
    "--requirement",
    "requirements",
    multiple=True,
    metavar="ID",
    help="Only tests of this requirement, such as MP170-R6; may be given again.",
)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only this device.")
@click.option(
    "--needs",
    multiple=True,
    type=click.Choice(NEEDS),
    help="Only tests that need nothing beyond this; may be given again.",
)
@click.option("--list", "only_list", is_flag=True, help="Say which tests there are, run none.")
@click.option("--repeat", type=click.IntRange(1), metavar="N", help="Up and back N times instead.")
@click.option("--seed", type=int, help="All chance of the run follows from this number.")
@click.option("-n", "workers", metavar="N", help="So many tests at a time (pytest-xdist).")
@click.option("--patience", type=float, metavar="S", help="How long what must come is awaited.")
@click.option("--take-over", is_flag=True, help="Let real radios forget the network they know.")
@click.option(
    "--evidence",
    "folder",
    type=click.Path(path_type=Path),
    help="A new or empty folder.  [default: one below evidence/, named by time and seed]",
)
@click.option("--json", "as_json", is_flag=True, help="Print verdict.json, nothing else.")
def verify_command(
    bench_file: Path | None,
    expression: str | None,
    requirements: tuple[str, ...],
    kinds: tuple[str, ...],
    needs: tuple[str, ...],
    only_list: bool,
    repeat: int | None,
    seed: int | None,
    workers: str | None,
    patience: float | None,
    take_over: bool,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Run the conformance tests of the wheel against the bench, or the built-in one, and say of
    each requirement whether it was shown. Every test can be run alone by the command it prints."""
    for name in requirements:
        if name not in TITLES:
            raise RequestError(f"there is no requirement {name}: {', '.join(TITLES)}")
    if workers is not None and importlib.util.find_spec("xdist") is None:
        raise RequestError("-n needs pytest-xdist: pip install pytest-xdist")
    bench = suite_bench(bench_file).with_options(seed=seed)
    if repeat is not None:
        _require_way_back(bench, repeat)
    repeated = ["hanbench", "verify", *([] if bench_file is None else [str(bench_file)])]
    repeated += ["--seed", str(bench.seed)]
    if repeat is not None:
        repeated += ["--repeat", str(repeat)]
    if patience is not None:
        repeated += ["--patience", f"{patience:g}"]
    again = shlex.join(repeated)
    options = [f"--hanbench-seed={bench.seed}", f"--hanbench-again={again}"]
    if bench_file is not None:
        options.append(f"--hanbench-bench={bench_file}")
    options += [f"--hanbench-requirement={name}" for name in requirements]
    options += [f"--hanbench-kind={name}" for name in kinds]
    options += [f"--hanbench-needs={name}" for name in needs]
    if repeat is not None:
        options.append(f"--hanbench-repeat={repeat}")
        expression = expression or "up_and_back"
    if expression is not None:
        options += ["-k", expression]
    if patience is not None:
        options.append(f"--hanbench-patience={patience}")
    if take_over:
        options.append("--hanbench-take-over")
    if only_list:
        _list(options, as_json=as_json)
        return
    if workers is not None:
        options += ["-n", workers]
    evidence = Evidence(folder or new_folder(bench.seed), epoch=bench.epoch)
    began = time.perf_counter()
    collector = Collector(evidence)
    premises = Premises(
        bench.resolve_clock(), bench_words(bench_file), bench.seed, str(evidence.folder)
    )
    with evidence, ended_as_by_ctrl_c(signal.SIGTERM, signal.SIGHUP):
        write_environment(evidence, again)
        options.append(f"--hanbench-evidence={evidence.folder}")
        code = _pytest(options, collector, silent=as_json, premises=premises)
        tests = sorted(collector.tests, key=lambda test: test.id)  # workers end in any order
        rows = requirements_of(tests)
        verdict = Verdict(
            seed=bench.seed,
            clock=bench.resolve_clock(),
            trace_hash=None,
            wall_s=round(time.perf_counter() - began, 3),
            virtual_s=round(sum(s.time_s for t in tests for s in t.steps), 6),
            devices=(),
            scope=scope_of(rows),
            requirements=rows,
            radios=list(collector.radios.values()),
            suites=tests,
            under_test=list(collector.under_test.values()),
        )
        verdict = with_evidence(verdict, evidence.folder)
        write_report(evidence.folder, verdict, None, repeat=again)
        evidence.write(JUNIT, render_junit(verdict))
        path = evidence.write_verdict(verdict)
    if code is pytest.ExitCode.INTERRUPTED:
        with contextlib.suppress(OSError):  # who closed the window reads nothing any more
            click.echo(f"interrupted; the evidence so far is in {evidence.folder}", err=True)
        sys.exit(130)
    if as_json:
        click.echo(path.read_text(), nl=False)
    else:
        _summarise(verdict, evidence.folder)
    if collector.broke:
        exit_code, sentence = collector.broke[0]
        click.echo(f"hanbench: {sentence}", err=True)
        sys.exit(exit_code)
    sys.exit(verdict.exit_code)


def _require_way_back(bench: Bench, rounds: int) -> None:
    """Raises RequestError where `--repeat` could not do what it is asked for."""
    devices = [device for device in bench.devices if device.image_back is not None]
    if not devices:
        raise RequestError("--repeat takes a device with image_back, the image that leads it back")
    for device in devices:
        if rounds > 1 and "downgrade" not in device.claims:
            raise RequestError(
                f'--repeat {rounds}: {device.id} does not claim "downgrade", and from the second '
                "round on an image is older than what runs; --repeat 1, or claim it"
            )


def _pytest(
    options: Sequence[str],
    collector: Collector,
    *,
    silent: bool,
    premises: Premises | None = None,
) -> pytest.ExitCode:
    """Run pytest on the suites, shown by more than its own words where `premises` are given and it
    is worth it. Raises HanbenchError when it did not come to any test."""
    folder = suites_folder()
    arguments = [
        *("-c", str(folder / "pytest.ini"), "--rootdir", str(folder), str(folder)),
        # What a test prints is kept by its streams alone: a prompt goes to the terminal itself.
        *("-q", "--tb=short", "--strict-markers", "--capture=sys", *options),
        *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
    ]
    if importlib.util.find_spec("pytest_asyncio") is not None:  # it warns where nothing is said
        arguments += ["-o", "asyncio_default_fixture_loop_scope=function"]
    said = io.StringIO()
    plugins: list[object] = [collector]
    with contextlib.ExitStack() as stack:
        shown = not silent and premises is not None and LiveSuite.is_for(premises)
        if shown:
            assert premises is not None
            plugins.append(stack.enter_context(LiveSuite(premises)))
        if silent or shown:
            stack.enter_context(contextlib.redirect_stdout(said))
        code = pytest.ExitCode(pytest.main(arguments, plugins=plugins))
    if shown:
        click.echo(failures(said.getvalue()), nl=False)
    if code is pytest.ExitCode.NO_TESTS_COLLECTED:
        raise RequestError("no test is what was asked for: hanbench verify --list says which are")
    if code is pytest.ExitCode.USAGE_ERROR:
        raise RequestError("pytest does not take what was asked for")
    if code is pytest.ExitCode.INTERNAL_ERROR:
        raise BenchBroke(f"pytest gave out: {said.getvalue()[-300:]}")
    return code


def _list(options: Sequence[str], *, as_json: bool) -> None:
    collector = Collector(None)
    _pytest([*options, "--collect-only"], collector, silent=True)
    rows = []
    for item in collector.items:
        declared = declaration_of(item)
        if declared is not None:
            rows.append(
                {
                    "id": item.nodeid.rpartition("/")[2],
                    "title": declared.title,
                    "requirements": list(declared.requirements),
                    "needs": list(declared.needs),
                    "claims": list(declared.claims),
                    "steps": list(declared.steps),
                }
            )
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        click.echo(f"{row['id']}\n    {row['title']}")
        for name in ("requirements", "needs", "claims"):
            if row[name]:
                click.echo(f"    {name}: {', '.join(row[name])}")
    click.echo(f"\n{len(rows)} tests")


def _summarise(verdict: Verdict, folder: Path) -> None:
    click.echo()
    for test in verdict.suites or ():
        if test.outcome == "failed":
            click.echo(f"  failed     {test.id}: {test.title}")
            click.echo(f"             {', '.join(test.requirements)}: {test.detail}")
            at = next((n for n, one in enumerate(test.steps, 1) if one.outcome == "failed"), None)
            if at is not None:
                click.echo(f"             at step {at}: {test.steps[at - 1].text}")
            click.echo(f"             repeat: {test.repeat}")
    for row in verdict.requirements:
        detail = f" ({row.detail})" if row.detail else ""
        click.echo(f"  {row.verdict:<10} {row.id:<16} {TITLES[row.id]}{detail}")
    shown = sum(row.verdict == "pass" for row in verdict.requirements)
    click.echo(f"  shown      {shown} of {len(verdict.requirements)} requirements")
    click.echo(f"  report     {folder / REPORT}")
    click.echo(f"  evidence   {folder / VERDICT}")
    if skipped := all_skipped([(test.outcome, test.detail) for test in verdict.suites or ()]):
        click.echo(f"\n{skipped}")
    click.echo(f"\n{verdict.verdict.upper()}")
