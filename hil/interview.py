"""The questions of `hanbench init`, in their order, and what counts as an answer.

Source: ours. An option is an answer too, and is judged the same; a path is given as seen from
where one is, and written as seen from the folder of the bench file.

    asked                     of whom           without an answer
    ------------------------  ----------------  --------------------------------
    who are you               all               ci
    which device(s)           all               ci, lab: PPMID and bridge 1
    the hub's stick           dut, lab          -
    each device's stick       lab               -
    channels, may they send   dut, lab          15, 20, 25; no
    image                     each device       ci, lab: made from the seed
    identity, claims, power   dut               claims: none; power: prompt
    seed                      all               1
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast, get_args

from pydantic import ValidationError

from emulator.devices.stick import StickInfo
from firmware_images.errors import ImageError
from firmware_images.image import read_image
from firmware_images.samples import identity
from hil.bench_file import EMULATED, MAX_DEVICES, Bench, Device, DeviceKind
from hil.bench_writing import BENCH_KINDS, Answers, BenchKind, DeviceAnswers, DutAnswers
from hil.check_command import ask_sticks
from hil.clock import run_real
from hil.dut_options import CLAIMS
from hil.errors import RequestError
from hil.images import with_images
from hil.questions import Questions
from hil.radio_options import RadioTable
from hil.seeds import ROOT_MAX
from hil.serial_ports import SerialPort, serial_ports
from hil.wiring import MODELS

CHANNELS = "15, 20, 25"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the options say; None and () are what nobody said."""

    kind: BenchKind | None = None
    devices: Sequence[str] = ()
    radios: Sequence[str] = ()
    images: Sequence[Path] = ()
    seed: int | None = None
    channels: str | None = None
    transmit: bool | None = None
    probe: bool | None = None
    eui64: str | None = None
    install_code: str | None = None
    version: str | None = None
    model: str | None = None
    certificates: Path | None = None
    image_back: Path | None = None
    claims: Sequence[str] = ()
    power: str | None = None


def interview(questions: Questions, given: Given, folder: Path) -> Answers:
    """Ask for what is not given. Raises RequestError for an answer that cannot be."""
    kind = questions.ask(
        "\n".join(f"  {at} {name:<4} {says}" for at, (name, says) in enumerate(_kinds(), 1))
        + "\nWhich of these are you",
        _read_kind,
        option="--kind",
        given=given.kind,
        default="ci",
    )
    kinds = _ask_devices(questions, given, kind)
    radios: list[str | None] = [None] * (1 + len(kinds))
    transmit = False
    channels: tuple[int, ...] = ()
    if kind != "ci":
        radios[: len(kinds) + 1 if kind == "lab" else 1] = _ask_radios(
            questions, given, kinds if kind == "lab" else []
        )
        channels = questions.ask(
            "Channels that may be used",
            _read_channels,
            option="--channels",
            given=given.channels,
            default=CHANNELS,
        )
        transmit = questions.confirm(
            "May the stick(s) send on them? It must disturb nobody's home",
            option="--transmit",
            given=given.transmit,
        )
    elif given.radios:
        raise RequestError("--radio is for --kind dut and lab: in ci every radio is emulated")
    ids = _ids(kinds)
    devices = tuple(
        DeviceAnswers(id_, each, radio)
        for id_, each, radio in zip(ids, kinds, radios[1:], strict=True)
    )
    dut = None
    if kind == "dut":
        devices, dut = _ask_dut(questions, given, devices[0], folder)
    seed = questions.ask(
        "Seed, from which all chance follows",
        _read_seed,
        option="--seed",
        given=None if given.seed is None else str(given.seed),
        default="1",
    )
    if kind != "dut":
        devices = _ask_images(questions, given, devices, seed, folder)
    return Answers(kind, seed, devices, radios[0], transmit, channels, dut)


def _kinds() -> list[tuple[BenchKind, str]]:
    return list(BENCH_KINDS.items())


def _read_kind(answer: str) -> BenchKind:
    names = list(BENCH_KINDS)
    if answer in names:
        return answer
    if answer.isdecimal() and 1 <= int(answer) <= len(names):
        return names[int(answer) - 1]
    raise ValueError(f"{answer!r} is none of {', '.join(names)}")


# -- devices and radios ------------------------------------------------------------------------


def _ask_devices(questions: Questions, given: Given, kind: BenchKind) -> list[DeviceKind]:
    dut = kind == "dut"
    known = get_args(DeviceKind) if dut else tuple(MODELS)

    def read(answer: str) -> list[DeviceKind]:
        kinds = answer.replace(",", " ").split()
        for one in kinds:
            if one not in known:
                raise ValueError(f"{one!r} is none of {', '.join(known)}")
        most = 1 if dut else MAX_DEVICES
        if not 1 <= len(kinds) <= most:
            raise ValueError(f"there may be 1 to {most}" if most > 1 else "it is one device")
        return [cast(DeviceKind, one) for one in kinds]

    return questions.ask(
        f"Which device is it ({', '.join(known)})"
        if dut
        else f"Which devices ({', '.join(known)}; several with commas)",
        read,
        option="--device",
        given=" ".join(given.devices) or None,
        default=None if dut else "ppmid, bridge-1",
    )


def _ids(kinds: Sequence[str]) -> list[str]:
    """`ppmid`, `ppmid-2`: the kind, numbered from the second of it."""
    ids = []
    for at, kind in enumerate(kinds):
        before = kinds[:at].count(kind)
        ids.append(f"{kind}-{before + 1}" if before else kind)
    return ids


def _ask_radios(questions: Questions, given: Given, kinds: Sequence[str]) -> list[str | None]:
    """The hub's, and one for each of `kinds`."""
    names = ["the hub", *kinds]
    if len(given.radios) > len(names):
        raise RequestError(f"--radio is given {len(given.radios)} times, {len(names)} are needed")
    ports = [] if len(given.radios) == len(names) else _show_ports(questions, given)
    chosen: list[str | None] = []
    for at, name in enumerate(names):
        chosen.append(
            questions.ask(
                f"Stick of {name} (its number, a path or a URL)",
                lambda answer: _read_radio(answer, ports),
                option="--radio",
                given=given.radios[at] if at < len(given.radios) else None,
            )
        )
    return chosen


def _show_ports(questions: Questions, given: Given) -> list[SerialPort]:
    ports = serial_ports()
    if not ports:
        questions.say("No serial port is to be seen here.")
        return []
    questions.say("Serial ports:")
    for number, port in enumerate(ports, 1):
        questions.say(f"  {number} {port.path}: {port.what}")
    if questions.confirm(
        "Ask each of them who it is? It is reset, and sends nothing",
        option="--probe",
        given=given.probe,
    ):
        for line in probed([port.path for port in ports]):
            questions.say(f"  {line}")
    return ports


def probed(urls: Sequence[str]) -> list[str]:
    """A line for each: the stick, or why it is none."""
    asked = {url: url for url in urls}
    sticks, findings = run_real(lambda: ask_sticks(asked, asked))
    told: dict[str, StickInfo | str] = {one.key: one.sentence for one in findings} | sticks
    return [f"{url}: {told[url]}" for url in urls]


def _read_radio(answer: str, ports: Sequence[SerialPort]) -> str:
    if answer.isdecimal() and 1 <= int(answer) <= len(ports):
        return ports[int(answer) - 1].path
    if answer == EMULATED:
        raise ValueError("only with --kind ci are radios emulated")
    return _of_device("radio")(answer)


def _read_channels(answer: str) -> tuple[int, ...]:
    try:
        numbers = [int(word) for word in answer.replace(",", " ").split()]
        return RadioTable(channels=tuple(numbers)).channels
    except ValueError:  # pydantic's error is one
        says = RadioTable.model_fields["channels"].description
        raise ValueError(f"{answer!r} is not {says}") from None


def _read_seed(answer: str) -> int:
    if not answer.isdecimal() or int(answer) > ROOT_MAX:
        raise ValueError(f"{answer!r} is no number from 0 to {ROOT_MAX}")
    return int(answer)


# -- images ------------------------------------------------------------------------------------


def _ask_images(
    questions: Questions,
    given: Given,
    devices: tuple[DeviceAnswers, ...],
    seed: int,
    folder: Path,
) -> tuple[DeviceAnswers, ...]:
    bench = Bench.model_validate(
        {"seed": seed, "device": [{"id": one.id, "kind": one.kind} for one in devices]}
    )
    bench = with_images(bench, given.images)
    chosen = []
    for entry, device in zip(bench.devices, devices, strict=True):
        if entry.image is None and not given.images:
            alone = bench.model_copy(update={"devices": (entry,)})
            entry = questions.ask(
                f"Image for {entry.id} (an OTA file; nothing: one is made)",
                partial(_with_image, alone),
                option="--image",
                default="",
            )
        if entry.image is not None:
            policy = entry.image_policy
            image = seen_from(folder, entry.image)
            device = replace(device, image=image, image_policy=policy)
        chosen.append(device)
    return tuple(chosen)


def _with_image(alone: Bench, answer: str) -> Device:
    return with_images(alone, [Path(answer)] if answer else []).devices[0]


def seen_from(folder: Path, path: Path) -> str:
    """A path as a bench file in `folder` has it."""
    return str(path) if path.is_absolute() else os.path.relpath(path, folder)


# -- a device under test -----------------------------------------------------------------------


def _of_device(key: str) -> Callable[[str], str]:
    """Reads what the key of a device takes."""

    def read(answer: str) -> str:
        try:
            Device.model_validate({"id": "device", "kind": "ppmid", key: answer})
        except ValidationError:
            says = Device.model_fields[key].description
            raise ValueError(f"{answer!r} is not {says}") from None
        return answer

    return read


def _ask_dut(
    questions: Questions, given: Given, device: DeviceAnswers, folder: Path
) -> tuple[tuple[DeviceAnswers, ...], DutAnswers]:
    def ask(text: str, key: str, value: str | None, default: str | None = None) -> str:
        option = "--" + key.replace("_", "-")
        return questions.ask(text, _of_device(key), option=option, given=value, default=default)

    eui64 = ask("Its EUI-64", "eui64", given.eui64)
    install_code = ask("Its install code", "install_code", given.install_code)
    version = ask("The version it runs now (8 hexadecimal digits)", "version", given.version)
    if len(given.images) > 1:
        raise RequestError("--image is given more than once; --image-back is the way back")
    path, codes = questions.ask(
        "The image it shall be updated to (an OTA file)",
        _read_image,
        option="--image",
        given=str(given.images[0]) if given.images else None,
    )
    product = identity(device.kind)
    built_in = (product.manufacturer_code, product.image_type, product.hardware_version)
    hardware = product.hardware_version if codes[2] is None else codes[2]
    own = (codes[0], codes[1], hardware)
    model = given.model
    if own != built_in or model is not None:
        usual = f"{own[1]:04X}{own[2]:04X}"
        model = ask("Its model in the Central Products List", "model", model, usual)
    back = _ask_path(
        questions, "A file that leads back", "--image-back", given.image_back, Path.is_file
    )
    certificates = _ask_path(
        questions,
        "Its certificates (the folder hanbench pki issue wrote)",
        "--certificates",
        given.certificates,
        Path.is_dir,
    )
    claims = questions.ask(
        f"What it claims ({', '.join(CLAIMS)}; several with commas, or nothing)",
        _read_claims,
        option="--claim",
        given=" ".join(given.claims) or None,
        default="",
    )
    power = ask("Who switches its power (prompt, or labgrid:PLACE)", "power", given.power, "prompt")
    dut = DutAnswers(
        eui64,
        install_code,
        version,
        None if own == built_in else own,
        model,
        power,
        None if certificates is None else seen_from(folder, certificates),
        None if back is None else seen_from(folder, back),
        claims,
    )
    return (replace(device, image=seen_from(folder, path)),), dut


def _read_image(answer: str) -> tuple[Path, tuple[int, int, int | None]]:
    """The file, and for whom its header says it is."""
    path = Path(answer)
    try:
        header = read_image(path.read_bytes(), str(path)).header
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None
    except ImageError as error:
        raise RequestError(str(error)) from None
    return path, (header.manufacturer_code, header.image_type, header.minimum_hardware_version)


def _ask_path(
    questions: Questions,
    text: str,
    option: str,
    given: Path | None,
    is_there: Callable[[Path], bool],
) -> Path | None:
    def read(answer: str) -> Path | None:
        if answer and not is_there(Path(answer)):
            raise ValueError(f"there is no {answer}")
        return Path(answer) if answer else None

    said = None if given is None else str(given)
    return questions.ask(f"{text} (or nothing)", read, option=option, given=said, default="")


def _read_claims(answer: str) -> tuple[str, ...]:
    claims = answer.replace(",", " ").split()
    for one in claims:
        if one not in CLAIMS:
            raise ValueError(f"{one!r} is none of {', '.join(CLAIMS)}")
    return tuple(dict.fromkeys(claims))
