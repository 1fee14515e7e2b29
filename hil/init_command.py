"""`hanbench init`: a few questions, and a bench file with comments that `hanbench check` accepts.

Source: DESIGN, "What it promises to the outside" (command line, exit codes). The file is written
beside its place, read by the same review as `check`, and renamed: what is interrupted leaves
nothing behind. The questions are in hil/interview.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from hil.bench_review import review_bench
from hil.bench_writing import BENCH_KINDS, bench_text
from hil.dut_options import CLAIMS
from hil.errors import RequestError
from hil.interview import Given, interview
from hil.questions import Questions
from hil.seeds import ROOT_MAX

DEFAULT_FILE = "bench.toml"
_PATH = click.Path(path_type=Path)


@click.command("init", short_help="Write a bench file by asking a few questions.")
@click.argument("file", default=DEFAULT_FILE, metavar="[FILE]", type=_PATH)
@click.option(
    "--kind",
    type=click.Choice(list(BENCH_KINDS)),
    help="; ".join(f"{name}: {says}" for name, says in BENCH_KINDS.items()) + ".",
)
@click.option("--device", "devices", multiple=True, metavar="KIND", help="May be given again.")
@click.option(
    "--radio",
    "radios",
    multiple=True,
    metavar="URL",
    help="A serial port or URL: the hub's first, then the devices' in their order.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    type=_PATH,
    help="An OTA file for the device it fits; may be given again.",
)
@click.option("--seed", type=click.IntRange(0, ROOT_MAX), help="All chance follows from it.")
@click.option("--channels", metavar="LIST", help="Where real radios may send, such as 15,20,25.")
@click.option("--transmit/--no-transmit", default=None, help="Whether real radios may send.")
@click.option("--probe/--no-probe", default=None, help="Ask the sticks at the ports who they are.")
@click.option("--eui64", help="Of the device under test, as the next ones.")
@click.option("--install-code", metavar="HEX", help="16 octets, or 18 with their CRC.")
@click.option("--version", metavar="HEX", help="What it runs when it comes to the bench.")
@click.option("--model", metavar="HEX", help="Its model, as the Central Products List has it.")
@click.option("--certificates", type=_PATH, help="The folder that hanbench pki issue wrote.")
@click.option("--image-back", type=_PATH, help="An OTA file that leads back.")
@click.option("--claim", "claims", multiple=True, type=click.Choice(list(CLAIMS)))
@click.option("--power", metavar="HOW", help="prompt, or labgrid:PLACE.")
@click.option("--yes", is_flag=True, help="Ask nothing: the defaults for what no option says.")
@click.option("--force", is_flag=True, help="Overwrite FILE if it is there.")
@click.option("--unchecked", is_flag=True, help="Write it even where something is in its way.")
def init_command(file: Path, yes: bool, force: bool, unchecked: bool, **options: object) -> None:
    """Ask who you are and what is on the table, and write a bench file (bench.toml) that says it.
    Every answer can be an option too; answers may come through a pipe, a line each."""
    questions = Questions(assume_defaults=yes)
    _require_free(file, force, questions)
    given = Given(**options)  # type: ignore[arg-type]
    answers = interview(questions, given, file.parent)
    _write(file, bench_text(answers, click.format_filename(file)), questions, unchecked)
    name = click.format_filename(file)
    verb = "run" if answers.dut is None else "verify"
    click.echo(
        f"{name} is written. hanbench check {name} explains it, hanbench {verb} {name} runs it."
    )


def _require_free(file: Path, force: bool, questions: Questions) -> None:
    name = click.format_filename(file)
    if file.is_dir():
        raise RequestError(f"{name} is a folder; name a file")
    if not file.parent.is_dir():
        raise RequestError(f"there is no folder {click.format_filename(file.parent)} to write into")
    if not file.exists() or force:
        return
    if not questions.confirm(f"{name} is there already: overwrite it", option="--force"):
        raise RequestError(f"{name} is there already and stays as it is; --force overwrites it")


def _write(file: Path, text: str, questions: Questions, unchecked: bool) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as output:  # an install code is nobody else's business
                output.write(text)
            _require_good(beside, questions, unchecked)
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        name = click.format_filename(file)
        raise RequestError(f"{name} cannot be written: {error.strerror}") from None


def _require_good(path: Path, questions: Questions, unchecked: bool) -> None:
    """Raises RequestError where something is in the way and nobody wants the file all the same."""
    review = review_bench(path)
    for finding in review.findings:
        questions.say(f"  {finding.severity}: {finding.sentence}")
    errors = [finding.sentence for finding in review.findings if finding.severity == "error"]
    if not errors or unchecked:
        return
    if not questions.confirm("Write it all the same", option="--unchecked", given=None):
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise RequestError(f"{errors[0]}{more}; --unchecked writes the file all the same")
