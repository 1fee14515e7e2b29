"""A bench file with comments, from the answers of whoever asked for one: `hanbench init`.

Source: DESIGN, "What it promises to the outside" (`BENCH.toml`). What is written is read again by
`hanbench check` before it stands under its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from hil.dut_options import CLAIMS

_GAP = "        # "
_COLUMN = 40

BenchKind = Literal["ci", "dut", "lab"]
BENCH_KINDS: dict[BenchKind, str] = {
    "ci": "everything is emulated, as in CI: no hardware",
    "dut": "a device under test on the table, and a stick for the hub",
    "lab": "sticks for the hub and for every device",
}
_TITLES: dict[BenchKind, str] = {
    "ci": "Emulated radios: no hardware, and the same frames for the same seed.",
    "dut": "A device under test: its own radio, and a stick on which hanbench is the hub.",
    "lab": "Real sticks: one for the hub, one for each device.",
}


@dataclass(frozen=True, slots=True)
class DeviceAnswers:
    """One device; paths as the bench file has them, seen from its folder."""

    id: str
    kind: str
    radio: str | None = None
    image: str | None = None
    image_policy: str | None = None


@dataclass(frozen=True, slots=True)
class DutAnswers:
    """What only a device under test has."""

    eui64: str
    install_code: str
    version: str
    codes: tuple[int, int, int] | None = None
    """Manufacturer, image type and hardware version, where they are not the built-in product's."""
    model: str | None = None
    power: str = "prompt"
    certificates: str | None = None
    image_back: str | None = None
    claims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """All of them."""

    kind: BenchKind
    seed: int
    devices: tuple[DeviceAnswers, ...]
    hub_radio: str | None = None
    transmit: bool = False
    channels: tuple[int, ...] = ()
    dut: DutAnswers | None = field(default=None, repr=False)  # an install code is a secret


def bench_text(answers: Answers, name: str) -> str:
    """The file; `name` is how it will be called."""
    return "".join(f"{_aligned(line)}\n" for line in _lines(answers, name))


def _aligned(line: str) -> str:
    """A line whose comment stands in one column with the others."""
    words, gap, comment = line.partition(_GAP)
    return f"{words:<{_COLUMN}}  # {comment}" if gap else line


def _lines(answers: Answers, name: str) -> Iterator[str]:
    verb = "verify" if answers.dut is not None else "run"
    does = {"run": "one update of every device", "verify": "the conformance tests, step by step"}
    yield f"# {_TITLES[answers.kind]}"
    yield "#"
    width = max(len(verb), len("check")) + len(name) + 1
    yield f"#   hanbench {f'check {name}':<{width}}   what it does, and what is missing"
    yield f"#   hanbench {f'{verb} {name}':<{width}}   {does[verb]}"
    yield ""
    yield f"seed = {answers.seed}        # keys, addresses and made images follow from it"
    if answers.kind == "ci":
        yield '# faults = ["loss 10 %"]        # what shall go wrong, in words: README, "Faults"'
    yield from _radios(answers)
    for device in answers.devices:
        yield ""
        yield "[[device]]"
        yield f"id = {_text(device.id)}"
        yield f"kind = {_text(device.kind)}"
        if device.radio is not None:
            yield f"radio = {_text(device.radio)}"
        if answers.dut is not None:
            yield from _dut(answers.dut)
        yield from _image(device)
    if answers.kind == "ci":
        yield ""
        yield "# [limits]"
        yield '# image_kb = 750        # unit = "kib" (1024) or "kb"; scope = "file" or "body"'


def _radios(answers: Answers) -> Iterator[str]:
    if answers.hub_radio is None:
        return
    may = str(answers.transmit).lower()
    yield ""
    yield "[radios]"
    yield f"transmit = {may}        # whether real radios may send at all"
    yield f"channels = {list(answers.channels)}        # and where: the quietest of them is taken"
    yield ""
    yield "[hub]"
    yield f"radio = {_text(answers.hub_radio)}"


def _dut(dut: DutAnswers) -> Iterator[str]:
    yield "dut = true"
    yield f"eui64 = {_text(dut.eui64)}"
    yield f"install_code = {_text(dut.install_code)}"
    yield f"version = {_text(dut.version)}        # what it runs when it comes to the bench"
    if dut.codes is not None:
        names = ("manufacturer_code", "image_type", "hardware_version")
        for key, code in zip(names, dut.codes, strict=True):
            yield f"{key} = 0x{code:04X}        # after its image"
    if dut.model is not None:
        yield f"model = {_text(dut.model)}        # as the Central Products List has it"
    if dut.certificates is None:
        yield '# certificates = "for-the-device"        # the folder hanbench pki issue wrote'
    else:
        yield f"certificates = {_text(dut.certificates)}"
    yield f"claims = {json.dumps(list(dut.claims))}        # what it can: {', '.join(CLAIMS)}"
    yield f'power = {_text(dut.power)}        # or "labgrid:PLACE", or {{ on = "…", off = "…" }}'
    if dut.image_back is None:
        yield '# image_back = "old.ota"        # a file that leads back, for --repeat'
    else:
        yield f"image_back = {_text(dut.image_back)}        # leads back, for --repeat"


def _image(device: DeviceAnswers) -> Iterator[str]:
    if device.image is None:
        yield '# image = "new.ota"        # without, an image is made from the seed:'
        yield "image_size_bytes = 65536"
        return
    yield f"image = {_text(device.image)}"
    if device.image_policy is not None:
        says = "its signature is its maker's affair" if device.image_policy == "opaque" else ""
        yield f"image_policy = {_text(device.image_policy)}" + (f"        # {says}" if says else "")


def _text(value: str) -> str:
    """A basic string of TOML, which JSON's escapes make too."""
    return json.dumps(value, ensure_ascii=False)
