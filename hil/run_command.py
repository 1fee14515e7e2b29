"""`hanbench run`: one firmware update of every device on a bench, with evidence.

Source: DESIGN, "What it promises to the outside" (command line, exit codes, evidence folder).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

import click

from hil.bench_file import EZSP_GAP, EZSP_VERSIONS, Bench, EzspVersion, load_bench
from hil.clock import RealClock, VirtualLoop, run_real, run_virtual
from hil.closing import close_run
from hil.dut import patience_of, with_civil_time
from hil.environment import write_environment
from hil.errors import BenchBroke
from hil.evidence import VERDICT, Evidence
from hil.images import DeviceImage, device_images, with_images
from hil.live import Live
from hil.live_state import Premises
from hil.radio_guard import borrowed_radios, require_permission
from hil.report_rows import REPORT
from hil.requirements import TITLES
from hil.scenario import Ending, Scenario
from hil.verdict import Verdict, version_text
from hil.wiring import quiet_hosts, require_buildable

EVIDENCE_ROOT = Path("evidence")


class EzspChoice(click.Choice[str]):
    """The versions of EZSP an emulated stick speaks."""

    def __init__(self) -> None:
        super().__init__([str(version) for version in EZSP_VERSIONS])

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        return "VERSION"

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        message = super().get_invalid_choice_message(value, ctx)
        return f"{message} {EZSP_GAP[0].upper()}{EZSP_GAP[1:]}." if value == "15" else message


@click.command("run", short_help="One firmware update of every device on a bench.")
@click.argument(
    "bench_file", metavar="[BENCH.toml]", required=False, type=click.Path(path_type=Path)
)
@click.option("--seed", type=int, help="All chance of the run follows from this number.")
@click.option(
    "--clock",
    type=click.Choice(["virtual", "real"]),
    help="Virtual time jumps; real time is for real radios.  [default: virtual where possible]",
)
@click.option(
    "--ezsp", type=EzspChoice(), help="EZSP version of emulated sticks: 4 to 14, 16 to 19."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="TEXT",
    help='Such as "loss 10 %" or "bad CRC at the 5th frame on hub"; may be given again.',
)
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path),
    help="An OTA file for the device it fits; may be given again.",
)
@click.option(
    "--evidence",
    "folder",
    type=click.Path(path_type=Path),
    help="A new or empty folder.  [default: one below evidence/, named by time and seed]",
)
@click.option("--patience", type=float, metavar="S", help="How long what must come is awaited.")
@click.option("--with-keys", is_flag=True, help="Write the keys beside the capture (air.keys).")
@click.option("--take-over", is_flag=True, help="Let real radios forget the network they know.")
@click.option(
    "--log", is_flag=True, help="Debug log of zigpy and bellows on stderr, keys included."
)
@click.option("--json", "as_json", is_flag=True, help="Print verdict.json, nothing else.")
def run_command(
    bench_file: Path | None,
    seed: int | None,
    clock: str | None,
    ezsp: str | None,
    faults: tuple[str, ...],
    images: tuple[Path, ...],
    folder: Path | None,
    patience: float | None,
    with_keys: bool,
    take_over: bool,
    log: bool,
    as_json: bool,
) -> None:
    """Update the firmware of every device on the bench; without a file, the built-in one:
    hub, PPMID, bridges 1 and 2 on emulated radios."""
    bench = with_civil_time(load_bench(bench_file)).with_options(
        seed=seed,
        clock=cast(Literal["virtual", "real"] | None, clock),
        ezsp=cast(EzspVersion | None, None if ezsp is None else int(ezsp)),
        faults=faults,
    )
    require_buildable(bench)
    require_permission(bench)
    bench = bench.with_serial_urls()
    bench = with_images(bench, images)
    chosen = device_images(bench)
    if log:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    else:
        quiet_hosts()
    evidence = Evidence(folder or new_folder(bench.seed), epoch=bench.epoch)
    live = Live(
        bench.resolve_clock(),
        silent=as_json,
        plain=log,
        premises=_premises(bench_file, bench, chosen, evidence.folder),
    )
    try:
        with evidence, live:
            repeat = _repeat(bench_file, bench, faults, images, patience)
            write_environment(evidence, repeat)
            verdict = _run(
                bench,
                chosen,
                evidence,
                live,
                patience_s=patience_of(bench, patience),
                with_keys=with_keys,
                take_over=take_over,
                repeat=repeat,
            )
            path = evidence.write_verdict(verdict)
    except OSError as error:
        raise BenchBroke(f"evidence {evidence.folder} cannot be written: {error}") from error
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # who closed the window reads nothing any more
            click.echo(f"interrupted; the evidence so far is in {evidence.folder}", err=True)
        sys.exit(130)
    if as_json:
        click.echo(path.read_text(), nl=False)
    else:
        _summarise(verdict, evidence.folder, repeat)
    sys.exit(verdict.exit_code)


def _run(
    bench: Bench,
    images: dict[str, DeviceImage],
    evidence: Evidence,
    live: Live,
    *,
    patience_s: float | None,
    with_keys: bool,
    take_over: bool,
    repeat: str,
) -> Verdict:
    """The run itself, on the clock of the bench."""
    began = time.perf_counter()

    def tell(event_type: str, /, **fields: object) -> None:
        event = {"type": event_type, "time_s": 0.0, **fields}
        evidence.record(event)
        live.show(event)

    async def on(clock: VirtualLoop | RealClock) -> Verdict:
        async with borrowed_radios(bench, evidence, tell, take_over=take_over) as (channel, radios):
            scenario = Scenario(
                bench,
                images,
                clock,
                evidence,
                live,
                take_over=bool(radios),
                channel=channel,
                radios=radios,
                patience_s=patience_s,
            )
            live.ask_struck(scenario.wiring.struck)
            if with_keys:
                evidence.write_keys(scenario.wiring.keys.wireshark())
            try:
                await scenario.run()
            except BaseException as error:
                interrupted = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
                outcome: Ending = "interrupted" if interrupted else "broke"
                scenario.end(outcome, wall_s=time.perf_counter() - began)
                raise
        return close_run(evidence, scenario, wall_s=time.perf_counter() - began, repeat=repeat)

    with ended_as_by_ctrl_c(signal.SIGTERM, signal.SIGHUP):
        if bench.resolve_clock() == "virtual":
            return run_virtual(lambda: _on_virtual_loop(on))
        return run_real(lambda: _on_real_loop(on, live))


@contextlib.contextmanager
def ended_as_by_ctrl_c(*numbers: int) -> Iterator[None]:
    """These signals end a run as Ctrl-C does, but for one that is ignored, as nohup has it."""
    previous = {number: signal.getsignal(number) for number in numbers}
    mine = [number for number in numbers if previous[number] is not signal.SIG_IGN]
    for number in mine:
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, previous[number])


def _premises(
    bench_file: Path | None, bench: Bench, images: dict[str, DeviceImage], folder: Path
) -> Premises:
    """What a screen says of the bench before anything has happened."""
    return Premises(
        bench.resolve_clock(),
        bench_words(bench_file),
        bench.seed,
        str(folder),
        [str(fault) for fault in bench.faults],
        {name: version_text(image.factory_version) for name, image in images.items()},
    )


def bench_words(bench_file: Path | None) -> str:
    return "the built-in bench" if bench_file is None else str(bench_file)


def new_folder(seed: int) -> Path:
    """The next evidence folder, where none was named."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = EVIDENCE_ROOT / f"{now}-seed-{seed}"
    number = 1
    while folder.exists():
        number += 1
        folder = EVIDENCE_ROOT / f"{now}-seed-{seed}-{number}"
    return folder


async def _on_virtual_loop(on: Callable[[VirtualLoop], Awaitable[Verdict]]) -> Verdict:
    return await on(cast(VirtualLoop, asyncio.get_running_loop()))


async def _on_real_loop(on: Callable[[RealClock], Awaitable[Verdict]], live: Live) -> Verdict:
    loop = asyncio.get_running_loop()
    with live.each_second(loop):
        return await on(RealClock(loop))


def _repeat(
    bench_file: Path | None,
    bench: Bench,
    faults: tuple[str, ...],
    images: tuple[Path, ...],
    patience_s: float | None,
) -> str:
    """The one command that repeats this run."""
    words: list[object] = ["hanbench", "run"]
    if bench_file is not None:
        words.append(bench_file)
    words += ["--seed", bench.seed, "--ezsp", bench.ezsp]
    if bench.clock is not None:
        words += ["--clock", bench.clock]
    for fault in faults:
        words += ["--fault", fault]
    for image in images:
        words += ["--image", image]
    if patience_s is not None:
        words += ["--patience", f"{patience_s:g}"]
    return shlex.join(map(str, words))


def _summarise(verdict: Verdict, folder: Path, repeat: str) -> None:
    click.echo()
    for device in verdict.devices:
        click.echo(
            f"  {device.device_id:<10} {device.outcome:<16} "
            f"{device.version_before} -> {device.version_after}  "
            f"{device.blocks} blocks, {device.bytes} bytes, {device.image_policy}"
        )
    for check in verdict.checks:
        if check.verdict == "fail":
            click.echo(f"  failed: {check.name}: {check.detail}")
    in_scope = [one for one in verdict.requirements if one.id in verdict.scope]
    for requirement in in_scope:
        if requirement.verdict not in ("pass", "not-applicable"):
            title = TITLES[requirement.id]
            click.echo(f"  {requirement.verdict + ':':<10} {requirement.id}, {title}")
    shown = sum(one.verdict == "pass" for one in in_scope)
    click.echo(f"  shown      {shown} of {len(in_scope)} requirements of this run's scope")
    click.echo(f"  report     {folder / REPORT}")
    click.echo(f"  evidence   {folder / VERDICT}")
    if verdict.trace_hash is not None:
        click.echo(f"  trace hash {verdict.trace_hash}")
    if verdict.verdict == "fail":
        click.echo(f"  repeat     {repeat}")
    click.echo(f"\n{verdict.verdict.upper()}")
