"""What a bench file would do, and all that is in its way: `hanbench check` without the printing.

Source: DESIGN, "What it promises to the outside" (`hanbench check`). Nothing is opened or sent.

    looked at              an error                               a warning
    ---------------------  -------------------------------------  ------------------------------
    the file               what its values or their meeting say
    kinds, faults          what is not emulated, unknown frames
    radios                 no such port, one port twice, no word  a scheme nobody here knows
                           that they may send, no labgrid-client
    images                 what `image check` calls an error,     what it calls a warning; a
                           another maker's signature, two of one  version that runs already
                           product and version
    a device under test    no certificate of it in its folder, a  an older image with no claim
                           switch whose program is not there      that it takes one
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from firmware_images.checks import check_image
from firmware_images.header import OtaHeader
from firmware_images.image import MAX_FILE_BYTES, FirmwareImage, read_image
from hil.bench_file import EMULATED, HUB, Bench, Device, inspect_bench
from hil.dut import DeviceUnderTest
from hil.dut_options import PowerCommands
from hil.errors import RequestError
from hil.estimate import Estimate, Transfer, block_count, estimate_run
from hil.fault_wiring import require_frames
from hil.images import DeviceImage, device_images
from hil.labgrid_place import CLIENT
from hil.radio_guard import SNIFFER, real_radios, require_permission
from hil.wiring import require_buildable

Severity = Literal["error", "warning"]

LABGRID = "labgrid"
SNIFFER_KEY = "radios.sniffer"
_WITH_PORT = ("tcp", "socket", "rfc2217")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say; an error is in the way of a run. `key` and `line` where they are known."""

    severity: Severity
    sentence: str
    key: str = ""
    line: int | None = None


class ImagePlan(NamedTuple):
    """What a device is sent. `file` is None for an image made from the seed."""

    file: str | None
    version: str
    size_octets: int
    sha256: str
    policy: str
    version_before: str
    blocks: int


class DevicePlan(NamedTuple):
    """One device, in the order of the file; without `image` it could not be read."""

    entry: Device
    image: ImagePlan | None


@dataclass(frozen=True, slots=True)
class Review:
    """Of one file. Without `bench` its values could not be read."""

    path: Path
    findings: tuple[Finding, ...]
    bench: Bench | None = None
    devices: tuple[DevicePlan, ...] = ()
    estimate: Estimate | None = None

    @property
    def is_good(self) -> bool:
        return all(finding.severity != "error" for finding in self.findings)


def review_bench(path: Path) -> Review:
    """Raises BenchFileError for what is no TOML file."""
    bench, located = inspect_bench(path)
    findings = [Finding("error", one.sentence, one.key, one.line) for one in located]
    if bench is None:
        return Review(path, tuple(findings))
    findings += _buildable(bench)
    findings += _radios(bench)
    images: dict[str, DeviceImage] = {}
    for number, device in enumerate(bench.devices):
        key = f"device[{number}]"
        findings += _image_findings(bench, device, key, images)
        if device.dut:
            findings += _dut_findings(device, key)
    if len(images) == len(bench.devices):
        findings += _refusals("device", lambda: device_images(bench))
    transfers = [_transfer(one, images[one.id]) for one in bench.devices if one.id in images]
    estimate = None
    if transfers and len(transfers) == len(bench.devices):
        with suppress(RequestError):  # a clock that cannot be is among the findings
            estimate = estimate_run(bench, transfers)
    plans = (DevicePlan(one, _plan(bench, one, images.get(one.id))) for one in bench.devices)
    return Review(path, _without_twins(findings), bench, tuple(plans), estimate)


def _without_twins(findings: list[Finding]) -> tuple[Finding, ...]:
    """What two looks have found is said once, at the place that is better known."""
    found: dict[str, Finding] = {}
    for finding in findings:
        found.setdefault(finding.sentence, finding)
    return tuple(found.values())


def _refusals(key: str, look: Callable[[], object]) -> Iterator[Finding]:
    try:
        look()
    except RequestError as error:
        yield Finding("error", str(error), key)


# -- what can be built, and what can be reached ------------------------------------------------


def _buildable(bench: Bench) -> Iterator[Finding]:
    for number, device in enumerate(bench.devices):
        alone = bench.model_copy(
            update={"devices": (device,), "fault_words": (), "fault_tables": ()}
        )
        yield from _refusals(f"device[{number}].kind", partial(require_buildable, alone))
    for fault in bench.faults:
        yield from _refusals("faults", partial(require_frames, (fault,), bench.ezsp))


def radio_keys(bench: Bench) -> dict[str, str]:
    """Which key of the file names the radio of whom."""
    numbered = enumerate(bench.devices)
    of_devices = {one.id: f"device[{at}].radio" for at, one in numbered}
    return {HUB: "hub.radio", SNIFFER: SNIFFER_KEY} | of_devices


def _radios(bench: Bench) -> Iterator[Finding]:
    yield from _refusals("radios", lambda: require_permission(bench))
    ports: dict[Path, str] = {}
    sniffer = bench.real_radios.sniffer
    if sniffer is not None and not real_radios(bench):
        sentence = f"{sniffer} is not used: an emulated air is captured without a sniffer"
        yield Finding("warning", sentence, SNIFFER_KEY)
    for key, url in _urls(bench):
        yield from _radio(key, url)
        if url.startswith("/"):
            port = Path(url).resolve()
            if port in ports and ports[port] != url:
                yield Finding("error", f"{ports[port]} and {url} are one port, {port}", key)
            ports.setdefault(port, url)
        if key == SNIFFER_KEY and url in bench.radios.values():
            yield Finding("error", f"{url} is the sniffer, and somebody else's radio too", key)


def _urls(bench: Bench) -> Iterator[tuple[str, str]]:
    """What has to be there, by its key: two devices may have one name until that is mended."""
    numbered = enumerate(bench.devices)
    radios = [(f"device[{at}].radio", one.radio) for at, one in numbered if not one.dut]
    yield from (each for each in (("hub.radio", bench.hub.radio), *radios) if each[1] != EMULATED)
    sniffer = bench.real_radios.sniffer
    if sniffer is not None and real_radios(bench):
        yield SNIFFER_KEY, sniffer


def _radio(key: str, url: str) -> Iterator[Finding]:
    if url.startswith("/"):
        yield from _serial_port(key, Path(url))
        return
    parts = urlsplit(url)
    if parts.scheme == LABGRID:
        if shutil.which(CLIENT) is None:
            yield Finding("error", f"{url} needs {CLIENT}, which is not installed", key)
    elif parts.scheme not in _WITH_PORT:
        known = ", ".join(f"{scheme}://" for scheme in (*_WITH_PORT, LABGRID))
        yield Finding("warning", f"{url} is of a kind not looked at here, known are {known}", key)
    else:
        try:
            there = bool(parts.hostname and parts.port)
        except ValueError:
            there = False
        if not there:
            yield Finding("error", f"{url} names no host with a port, as tcp://lab3:4001 does", key)


def _serial_port(key: str, path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding("error", f"{path} is not there: plug the stick in, or name another", key)
    elif not path.is_char_device():
        yield Finding("error", f"{path} is no serial port", key)
    elif not os.access(path, os.R_OK | os.W_OK):
        yield Finding(
            "error", f"{path} may not be opened: join the group that owns it, often dialout", key
        )


# -- images ------------------------------------------------------------------------------------


def _image_findings(
    bench: Bench, device: Device, key: str, images: dict[str, DeviceImage]
) -> Iterator[Finding]:
    """What is wrong with a device's image; one that may be sent is put into `images`."""
    files = [("image", device.image), ("image_back", device.image_back)]
    headers: dict[str, OtaHeader] = {}
    fits = True
    for name, path in files:
        if path is None:
            continue
        image, found = _file_findings(bench, device, path, f"{key}.{name}")
        yield from found
        fits = fits and image is not None
        if image is not None:
            headers[name] = image.header
    if not fits or (device.dut and (device.image is None or device.version is None)):
        return
    alone = bench.model_copy(update={"devices": (device,)})
    try:
        images.update(device_images(alone))
    except RequestError as error:
        yield Finding("error", str(error), f"{key}.image")
        return
    if device.dut:
        yield from _version_findings(device, key, headers)


def _file_findings(
    bench: Bench, device: Device, path: Path, key: str
) -> tuple[FirmwareImage | None, list[Finding]]:
    """The file, where it may be sent, and what `hanbench image check` says of it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None, []  # the bench file's own findings have it
    except OSError as error:
        return None, [Finding("error", f"{path} cannot be read: {error.strerror}", key)]
    findings = check_image(
        data,
        limit=bench.limits.size_limit(),
        identity=device.product(device.kind),
        device_eui64=device.eui64,
        name=str(path),
    )
    told = [Finding(one.severity, one.sentence, key) for one in findings if one.severity != "note"]
    bad = any(one.severity == "error" for one in findings)
    return None if bad else read_image(data, str(path)), told


def _version_findings(device: Device, key: str, headers: dict[str, OtaHeader]) -> Iterator[Finding]:
    runs = int(str(device.version), 16)
    new = headers["image"].file_version
    if new == runs:
        yield Finding("warning", f"{device.id} runs {new:08X} already, says its version", key)
    older = [
        (name, header.file_version)
        for name, header in headers.items()
        if header.file_version < (runs if name == "image" else new)
    ]
    for name, version in older:
        if "downgrade" not in device.claims:
            sentence = (
                f"{device.id}'s {name} is {version:08X}, which is older than what it then runs, "
                'and it does not claim "downgrade": it will hardly take it'
            )
            yield Finding("warning", sentence, f"{key}.{name}")


def _transfer(device: Device, image: DeviceImage) -> Transfer:
    return Transfer(device, len(image.image.data), image.image.sha256)


def _plan(bench: Bench, device: Device, image: DeviceImage | None) -> ImagePlan | None:
    if image is None:
        return None
    header = image.image.header
    return ImagePlan(
        None if device.image is None else str(device.image),
        f"{header.file_version:08X}",
        len(image.image.data),
        image.image.sha256,
        image.policy,
        f"{image.factory_version:08X}",
        block_count(bench, _transfer(device, image)),
    )


# -- devices under test ------------------------------------------------------------------------


def _dut_findings(device: Device, key: str) -> Iterator[Finding]:
    if device.eui64 is not None and device.certificates is not None:
        dut = DeviceUnderTest(device, lambda _what, _answer: None)
        yield from _refusals(f"{key}.certificates", dut.certificates)
    if isinstance(device.power, PowerCommands):
        return
    if device.power.startswith(f"{LABGRID}:") and shutil.which(CLIENT) is None:
        sentence = f"{device.id}'s power is switched by {CLIENT}, which is not installed"
        yield Finding("error", sentence, f"{key}.power")


def radio_kind(url: str, bench: Bench) -> str:
    """What a radio is, in words."""
    if url == EMULATED:
        return f"an emulated stick, EZSP {bench.ezsp}"
    scheme = urlsplit(url).scheme
    kinds = {"": "a serial port", "rfc2217": "a serial port of another machine", LABGRID: "a place"}
    return f"{kinds.get(scheme, 'a stick on the network')}, {url}"
