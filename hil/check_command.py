"""`hanbench check`: what a bench file would do, in plain words, and all that is missing.

Source: DESIGN, "What it promises to the outside" (command line, exit codes).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from pydantic import BaseModel

from emulator.devices.node import NodeError
from emulator.devices.ota_server import OtaServerParameters
from emulator.devices.stick import StickInfo, ask_stick
from hil.bench_file import Bench, Device
from hil.bench_review import DevicePlan, Finding, Review, radio_keys, radio_kind, review_bench
from hil.clock import run_real
from hil.dut_options import CLAIMS, PowerCommands
from hil.errors import RequestError
from hil.figures import duration, grouped
from hil.labgrid_place import serial_url
from hil.ota_options import ClientTable, client_parameters
from hil.radio_guard import SNIFFER, real_radios
from hil.toml_file import Table

_OF_DEVICES = ("role", "personality", "max_data_size", "image_policy", "tunnel")


class Option(NamedTuple):
    """A key that says something else than what holds without it."""

    key: str
    value: object
    default: object


@click.command("check", short_help="What a bench file would do, and what is missing.")
@click.argument("bench_file", metavar="BENCH.toml", type=click.Path(path_type=Path))
@click.option("--probe", is_flag=True, help="Reset each real stick and ask who it is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, nothing else.")
def check_command(bench_file: Path, probe: bool, as_json: bool) -> None:
    """Explain what a bench file would do and name everything that is in its way; exit code 2 when
    something is. Nothing is sent, and without --probe no radio is opened."""
    review = review_bench(bench_file)
    sticks: dict[str, StickInfo] = {}
    if probe and review.bench is not None:
        bench = review.bench
        radios = real_radios(bench)
        if radios and bench.real_radios.sniffer is not None:
            radios[SNIFFER] = bench.real_radios.sniffer
        sticks, found = run_real(lambda: ask_sticks(radios, radio_keys(bench)))
        review = Review(
            review.path,
            (*review.findings, *found),
            review.bench,
            review.devices,
            review.estimate,
        )
    if as_json:
        click.echo(json.dumps(document(review, sticks), indent=2, ensure_ascii=False))
    else:
        for line in explain(review, sticks):
            click.echo(line)
    sys.exit(0 if review.is_good else 2)


async def ask_sticks(
    radios: Mapping[str, str], keys: Mapping[str, str]
) -> tuple[dict[str, StickInfo], list[Finding]]:
    """Who each stick is, by whoever is on it; those that do not answer are findings."""
    sticks: dict[str, StickInfo] = {}
    findings = []
    for name, url in radios.items():
        try:
            stick = await ask_stick(serial_url(url))
        except (NodeError, RequestError) as error:  # or its labgrid place has no port
            findings.append(Finding("error", str(error), keys[name]))
            continue
        for other, one in sticks.items():
            if one.eui64 == stick.eui64:
                sentence = f"{one.url} ({other}) and {url} ({name}) are one stick, {one.eui64:016X}"
                findings.append(Finding("error", sentence, keys[name]))
        sticks[name] = stick
    return sticks, findings


# -- options -----------------------------------------------------------------------------------


def options_of(bench: Bench) -> list[Option]:
    """Every key that changes how things are done, with what would hold without it."""
    found = [*_changed("", bench, ("epoch", "ezsp"))]
    hub = OtaServerParameters()
    for key in sorted(bench.hub.model_fields_set - {"radio"}):
        found.append(Option(f"hub.{key}", getattr(bench.hub, key), getattr(hub, key, None)))
    found += _changed("dsp.", bench.dsp, ("profile", "commissioned"))
    found += _changed("dsp.codes.", bench.dsp.codes, tuple(type(bench.dsp.codes).model_fields))
    for device in bench.devices:
        found += _changed(f"{device.id}.", device, _OF_DEVICES)
        usual = client_parameters(device.personality, device.max_data_size, ClientTable())
        for key in sorted(device.ota.model_fields_set):
            value = getattr(device.ota, key)
            found.append(Option(f"{device.id}.ota.{key}", value, getattr(usual, key)))
    return [option for option in found if option.value not in (None, option.default)]


def _changed(prefix: str, table: BaseModel, keys: tuple[str, ...]) -> Iterator[Option]:
    for key in keys:
        field = type(table).model_fields[key]
        yield Option(prefix + (field.alias or key), getattr(table, key), field.default)


# -- in words ----------------------------------------------------------------------------------


def explain(review: Review, sticks: dict[str, StickInfo]) -> Iterator[str]:
    """The lines for people."""
    bench = review.bench
    if bench is not None:
        yield from _head(review.path, bench)
        yield from _radios(bench, sticks)
        yield "\nDevices, in the order of their updates:"
        for number, plan in enumerate(review.devices, 1):
            yield from _device(number, plan)
        yield from _circumstances(bench)
        if review.estimate is not None:
            yield from _duration(review, bench)
    errors = [one for one in review.findings if one.severity == "error"]
    warnings = [one for one in review.findings if one.severity == "warning"]
    for title, findings in (("To know", warnings), ("In the way", errors)):
        if findings:
            yield f"\n{title}:"
            yield from (f"  - {_at(finding)}{finding.sentence}" for finding in findings)
    yield ""
    if bench is None:
        yield "The file cannot be read further until this is mended."
    if not errors:
        command = "verify" if any(plan.entry.dut for plan in review.devices) else "run"
        yield f"Nothing is in the way: hanbench {command} {click.format_filename(review.path)}"
    else:
        things = "1 thing is" if len(errors) == 1 else f"{len(errors)} things are"
        yield f"{things} in the way of {click.format_filename(review.path)}"


def _at(finding: Finding) -> str:
    return f"line {finding.line}: " if finding.line else ""


def _head(path: Path, bench: Bench) -> Iterator[str]:
    virtual = bench.clock != "real" and not real_radios(bench)
    clock = "virtual time, which jumps" if virtual else "real time"
    civil = f"civil time from {bench.epoch:%Y-%m-%dT%H:%M:%SZ}"
    if any(device.dut for device in bench.devices) and "epoch" not in bench.model_fields_set:
        civil = "civil time of this machine"  # which is the device's too
    yield f"{click.format_filename(path)}: {clock}, seed {bench.seed}, {civil}"


def _radios(bench: Bench, sticks: dict[str, StickInfo]) -> Iterator[str]:
    yield "\nRadios:"
    for name, url in bench.radios.items():
        yield f"  {name:<12} {radio_kind(url, bench)}"
        if name in sticks:
            yield f"  {'':<12} {sticks[name]}"
    for device in bench.devices:
        if device.dut:
            yield f"  {device.id:<12} its own, which the hub's stick hears"
    sniffer = bench.real_radios.sniffer
    if sniffer is not None and real_radios(bench):
        yield f"  {SNIFFER:<12} {radio_kind(sniffer, bench)}: it listens, and makes air.pcapng"
        if SNIFFER in sticks:
            yield f"  {'':<12} {sticks[SNIFFER]}"
    if real_radios(bench):
        channels = ", ".join(map(str, bench.real_radios.channels)) or "none"
        may = "may send" if bench.real_radios.transmit else "may not send"
        yield f"  real radios {may}; channels: {channels}"


def _device(number: int, plan: DevicePlan) -> Iterator[str]:
    entry, image = plan.entry, plan.image
    what = "a device under test" if entry.dut else f"emulated, {entry.role}"
    make = f", as {entry.personality} does it" if entry.personality else ""
    yield f"  {number}. {entry.id}: {entry.kind}, {what}{make}"
    if entry.dut:
        yield from _dut(entry)
    if image is None:
        yield "     no image that could be sent"
        return
    yield (
        f"     {image.file or 'an image made from the seed'}: version {image.version} over "
        f"{image.version_before}, {grouped(image.size_octets, ' ')} octets in "
        f"{grouped(image.blocks, ' ')} blocks, {image.policy}"
    )
    yield f"     sha256 {image.sha256}"


def _dut(entry: Device) -> Iterator[str]:
    if entry.eui64 is not None:
        keys = entry.certificates or "the run's own, from its seed"
        yield f"     {entry.eui64:016X}, certificates: {keys}"
    claims = [f"{name} ({CLAIMS[name]})" for name in entry.claims]
    yield f"     claims: {'; '.join(claims) or 'none'}"
    if isinstance(entry.power, PowerCommands):
        yield f"     power: on by `{entry.power.on}`, off by `{entry.power.off}`"
    elif entry.power == "prompt":
        yield "     power: somebody at the table is asked to switch it"
    else:
        yield f"     power: {entry.power}"
    if entry.image_back is not None:
        yield f"     back by {entry.image_back}"


def _circumstances(bench: Bench) -> Iterator[str]:
    limit = bench.limits.size_limit()
    whose = "the whole file" if limit.scope == "file" else "the body"
    yield f"\nAn image may have {grouped(limit.limit_bytes, ' ')} octets, counting {whose}."
    faults = [str(fault) for fault in bench.faults]
    yield f"Faults: {'; '.join(faults) or 'none'}."
    options = options_of(bench)
    yield "Away from the defaults:" if options else "Every option has its default."
    for option in options:
        usual = "" if option.default is None else f" (without it {_shown(option.default)})"
        yield f"  {option.key} = {_shown(option.value)}{usual}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _duration(review: Review, bench: Bench) -> Iterator[str]:
    estimate = review.estimate
    assert estimate is not None
    longer = ", longer with these faults" if bench.faults else ""
    if bench.resolve_clock() == "virtual":
        here = f", about {duration(estimate.here_s)} of yours"
    else:
        here = ", and longer where the air is full" if real_radios(bench) else ""
    yield f"One update of all takes about {duration(estimate.air_s)} of its time{here}{longer}."


# -- as a document -----------------------------------------------------------------------------


def document(review: Review, sticks: dict[str, StickInfo]) -> dict[str, Any]:
    """The same for programs."""
    bench = review.bench
    told: dict[str, Any] = {
        "file": str(review.path),
        "verdict": "pass" if review.is_good else "fail",
        "findings": [
            {
                "severity": one.severity,
                "key": one.key,
                "line": one.line,
                "sentence": one.sentence,
            }
            for one in review.findings
        ],
    }
    if bench is None:
        return told
    limit = bench.limits.size_limit()
    return told | {
        "seed": bench.seed,
        "epoch": bench.epoch.isoformat(),
        "clock": "real" if real_radios(bench) else (bench.clock or "virtual"),
        "radios": [
            {"name": name, "url": url, "told": str(sticks[name]) if name in sticks else None}
            for name, url in bench.radios.items()
        ],
        "transmit": bench.real_radios.transmit,
        "channels": list(bench.real_radios.channels),
        "sniffer": bench.real_radios.sniffer,
        "devices": [_device_document(plan) for plan in review.devices],
        "faults": [str(fault) for fault in bench.faults],
        "limit_octets": limit.limit_bytes,
        "limit_of": limit.scope,
        "options": [
            {"key": one.key, "value": _plain(one.value), "default": _plain(one.default)}
            for one in options_of(bench)
        ],
        "estimate": None if review.estimate is None else review.estimate._asdict(),
    }


def _device_document(plan: DevicePlan) -> dict[str, Any]:
    entry = plan.entry
    told: dict[str, Any] = {"id": entry.id, "kind": entry.kind, "dut": entry.dut}
    if entry.dut:
        told |= {
            "eui64": None if entry.eui64 is None else f"{entry.eui64:016X}",
            "claims": list(entry.claims),
            "power": entry.power.model_dump() if isinstance(entry.power, Table) else entry.power,
        }
    else:
        told["role"] = entry.role
    told["image"] = None if plan.image is None else plan.image._asdict()
    return told


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str | None) else str(value)
