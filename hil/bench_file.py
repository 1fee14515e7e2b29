"""The bench file: which radios, devices, images and faults a run has.

Source: DESIGN, "What it promises to the outside" (`BENCH.toml`); without a file, the built-in
bench: hub, PPMID, bridges 1 and 2, the image of bridge 1 exactly 768 000 bytes, the others 64 KiB.

    seed = 1                         epoch = "2026-01-01T00:00:00Z"
    ezsp = 14                        clock = "virtual"
    faults = ["loss 10 %", "loss 30 % on bridge-1"]

    [hub]                            radio = "emulated", minimum_block_period_ms = 200, ...
                                     (how it serves images: hil/ota_options.py)
    [radios]                         transmit = true, channels = [15, 20] (for real radios)
    [limits]                         image_kb = 750, unit = "kib", scope = "file"
    [dsp]                            profile = "mp170", commissioned = "relaxed"
    [dsp.codes]                      replay = "E42"
    [[device]]                       id = "bridge-1", kind = "bridge-1", radio = "emulated",
                                     role = "router", "end-device" or "sleepy",
                                     image = "bridge.ota" or image_size_bytes = 768000, ...
                                     personality = "ember", "ti", "nxp" ... (the makes of client)
                                     dut = true, eui64 = "…" ... (hil/dut_options.py)
    [device.ota]                     block_timeout_s = 5.0, resume = false, ... (of that device)
    [[fault]]                        kind = "loss", percent = 10, on = "bridge-1"
                                     (the kinds of faults and their keys: hil/faults.py)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PlainValidator, ValidationInfo, model_validator

from dsp_stub.options import LONGEST_S, MAX_THRESHOLD, Codes, Options
from emulator.devices.ota_rules import OtaClientParameters
from emulator.zigbee.ota import WAIT_FOR_UPGRADE_COMMAND
from firmware_images.checks import MAX_LIMIT_KB, SizeLimit
from firmware_images.image import MAX_FILE_BYTES
from hil.dut_options import DutTable, dut_problems
from hil.faults import Fault, parse_fault
from hil.labgrid_place import SCHEME as LABGRID
from hil.labgrid_place import serial_url
from hil.ota_options import (
    MAX_DATA_OCTETS,
    ClientTable,
    HubTable,
    Personality,
    client_contradictions,
    client_parameters,
)
from hil.radio_options import RadioTable
from hil.seeds import ROOT_MAX
from hil.toml_file import (
    BenchFileError,
    Located,
    Number,
    Problem,
    Table,
    Text,
    Whole,
    dotted,
    inspect_toml,
    load_toml,
)
from hil.toml_lines import KeyPath

ClockName = Literal["virtual", "real"]
DeviceKind = Literal["ppmid", "bridge-1", "bridge-2", "bridge-3", "bridge-4"]
ImagePolicy = Literal["maker-signed", "opaque"]
DeviceRole = Literal["router", "end-device", "sleepy"]
EzspVersion = Literal[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19]
EZSP_VERSIONS: tuple[EzspVersion, ...] = get_args(EzspVersion)
EZSP_GAP = "there is no EZSP 15"

HUB = "hub"
EMULATED = "emulated"
FIRST_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # ZigBee time counts from here
LAST_EPOCH = datetime(2100, 1, 1, tzinfo=UTC)
MAX_DEVICES = 6  # Type 1 devices a hub holds (MP170); every kind here is one

IMAGE_BYTES = 64 * 1024
BRIDGE_1_IMAGE_BYTES = 768_000  # 750 KiB, the most an image may have (MP170)
LEAST_IMAGE_BYTES = 256  # a header, some body, the maker's trailer
MAX_RELEASE_S = 3600  # a device that waits asks again by then, whatever make it is of

# mem: names belong to a run, which makes them: nobody else can know one.
_RADIO = re.compile(r"/[^\s]+|(?!mem:)[a-z][a-z0-9+.-]*://[^\s]+")


# -- what single values may be -------------------------------------------------------------


def _read_epoch(value: object) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError
    if not FIRST_EPOCH <= moment < LAST_EPOCH:
        raise ValueError
    return moment.astimezone(UTC)


def _read_radio(value: object) -> str:
    if not isinstance(value, str) or (value != EMULATED and not _RADIO.fullmatch(value)):
        raise ValueError
    return value


def _read_image(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return Path((info.context or {}).get("folder", "."), value)


def _read_fault(value: object) -> Fault:
    if not isinstance(value, str):
        raise ValueError
    return parse_fault(value)


Epoch = Annotated[datetime, PlainValidator(_read_epoch)]
Radio = Annotated[str, PlainValidator(_read_radio)]
Image = Annotated[Path, PlainValidator(_read_image)]
FaultWords = Annotated[Fault, PlainValidator(_read_fault)]

_RADIO_SAYS = '"emulated", the path of a serial port or a URL such as "tcp://lab3:4001"'


# -- the tables ----------------------------------------------------------------------------


class Hub(HubTable):
    radio: Radio = Field(default=EMULATED, description=_RADIO_SAYS)
    release_after_s: Number | None = Field(
        default=None,
        ge=0,
        le=MAX_RELEASE_S,
        allow_inf_nan=False,
        description=f"a number of seconds from 0 to {MAX_RELEASE_S}",
    )


class Device(DutTable):
    id: Text = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="1 to 32 small letters, digits and hyphens",
    )
    kind: DeviceKind = Field(description='"ppmid" or "bridge-1" to "bridge-4"')
    radio: Radio = Field(default=EMULATED, description=_RADIO_SAYS)
    role: DeviceRole = Field(default="router", description='"router", "end-device" or "sleepy"')
    image: Image | None = Field(
        default=None, description="the path of an OTA file, seen from the folder of the bench file"
    )
    image_size_bytes: Whole = Field(
        default=IMAGE_BYTES,
        ge=LEAST_IMAGE_BYTES,
        le=MAX_FILE_BYTES,
        description=f"a whole number from {LEAST_IMAGE_BYTES} to {MAX_FILE_BYTES}",
    )
    image_policy: ImagePolicy = Field(
        default="maker-signed", description='"maker-signed" or "opaque"'
    )
    personality: Personality | None = Field(
        default=None, description=" or ".join(f'"{name}"' for name in get_args(Personality))
    )
    max_data_size: Whole | None = Field(
        default=None,
        ge=1,
        le=MAX_DATA_OCTETS,
        description=f"a whole number of octets from 1 to {MAX_DATA_OCTETS}",
    )
    tunnel: bool = Field(default=True, strict=True, description="true or false")
    ota: ClientTable = Field(default=ClientTable(), description="a table, [device.ota]")

    def client_parameters(self) -> OtaClientParameters:
        """How its OTA client behaves."""
        return client_parameters(self.personality, self.max_data_size, self.ota)


def _fault_key(says: str, *, alias: str | None = None) -> Any:
    return Field(default=None, alias=alias, allow_inf_nan=False, description=says)


def _fault_name(says: str, *, alias: str | None = None) -> Any:
    return Field(default=None, alias=alias, description=says)


class FaultTable(Table):
    """The words of a fault, one key each."""

    kind: Text = Field(description='a kind of fault, such as "loss" or "bad CRC"')
    percent: Number | None = _fault_key("a number from 0 to 100")
    on: Text | None = _fault_name('the id of a device, or "hub"')
    sender: Text | None = _fault_name('the id of a device, or "hub"', alias="from")
    listener: Text | None = _fault_name('the id of a device, or "hub"', alias="to")
    frame: Text | None = _fault_name('the name of an EZSP frame, such as "sendUnicast"')
    number: Whole | None = _fault_name("a whole number, 1 for the first such frame")
    start_s: Number | None = _fault_key("a number of seconds")
    duration_s: Number | None = _fault_key("a number of seconds")
    at_s: Number | None = _fault_key("a number of seconds")
    by_ms: Number | None = _fault_key("a number of milliseconds")
    burst_frames: Number | None = _fault_key("a number of frames")
    channel: Whole | None = _fault_name("a whole number from 11 to 26")
    code: Whole | None = _fault_name("a whole number from 0 to 255")

    @model_validator(mode="after")
    def _is_a_fault(self) -> FaultTable:
        self.fault()
        return self

    def fault(self) -> Fault:
        """The same as words would say it. Raises FaultError."""
        return Fault(**{name: getattr(self, name) for name in type(self).model_fields})


class Limits(Table):
    image_kb: Whole = Field(
        default=750, ge=1, le=MAX_LIMIT_KB, description=f"a whole number from 1 to {MAX_LIMIT_KB}"
    )
    unit: Literal["kib", "kb"] = Field(default="kib", description='"kib" (1024) or "kb" (1000)')
    scope: Literal["file", "body"] = Field(default="file", description='"file" or "body"')

    def size_limit(self) -> SizeLimit:
        return SizeLimit(self.image_kb, self.unit, self.scope)


class Dsp(Table):
    """What the DSP of the run does where the texts allow more than one thing."""

    profile: Literal["mp170", "duis-5.4"] = Field(
        default="mp170", description='"mp170" or "duis-5.4"'
    )
    commissioned: Literal["relaxed", "strict"] = Field(
        default="relaxed", description='"relaxed" or "strict"'
    )
    bridge_as_other_device: Literal["intent", "literal"] = Field(
        default="intent", description='"intent" or "literal"'
    )
    anomaly_threshold: Whole = Field(
        default=0,
        ge=0,
        le=MAX_THRESHOLD,
        description="a whole number of devices, 0 for no threshold",
    )
    service_level_s: Whole = Field(
        default=Options().service_level_s,
        ge=1,
        le=LONGEST_S,
        description=f"a whole number of seconds from 1 to {LONGEST_S}",
    )
    codes: Codes = Field(default=Codes(), description="a table, [dsp.codes]")

    def options(self, limits: Limits) -> Options:
        """The options of the DSP, whose limit of images is that of the bench."""
        return Options(
            profile=self.profile,
            commissioned=self.commissioned,
            bridge_as_other_device=self.bridge_as_other_device,
            anomaly_threshold=self.anomaly_threshold,
            service_level_s=self.service_level_s,
            image_limit_kb=limits.image_kb,
            unit=limits.unit,
            scope=limits.scope,
        )


class Bench(Table):
    """A bench that has been checked: make one with `load_bench`."""

    seed: Whole = Field(
        default=1, ge=0, le=ROOT_MAX, description=f"a whole number from 0 to {ROOT_MAX}"
    )
    epoch: Epoch = Field(
        default=datetime(2026, 1, 1, tzinfo=UTC),
        description='a time from 2000 to 2099 with its zone, such as "2026-01-01T00:00:00Z"',
    )
    ezsp: EzspVersion = Field(
        default=14, description=f"a whole number from 4 to 14 or from 16 to 19: {EZSP_GAP}"
    )
    clock: ClockName | None = Field(default=None, description='"virtual" or "real"')
    hub: Hub = Field(default=Hub(), description="a table, [hub]")
    devices: tuple[Device, ...] = Field(
        alias="device",
        min_length=1,
        max_length=MAX_DEVICES,
        description=f"1 to {MAX_DEVICES} tables, [[device]]",
    )
    fault_words: tuple[FaultWords, ...] = Field(
        default=(), alias="faults", description='a list of texts such as "loss 10 % on bridge-1"'
    )
    fault_tables: tuple[FaultTable, ...] = Field(
        default=(), alias="fault", description="tables, [[fault]]"
    )
    limits: Limits = Field(default=Limits(), description="a table, [limits]")
    real_radios: RadioTable = Field(
        default=RadioTable(), alias="radios", description="a table, [radios]"
    )
    dsp: Dsp = Field(default=Dsp(), description="a table, [dsp]")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Every fault, in whichever form the file has it."""
        return (*self.fault_words, *(table.fault() for table in self.fault_tables))

    @property
    def radios(self) -> dict[str, str]:
        """Which radio everybody is on, the hub first."""
        ours = {device.id: device.radio for device in self.devices if not device.dut}
        return {HUB: self.hub.radio} | ours

    def resolve_clock(self) -> ClockName:
        """The clock of a run: virtual where every radio is emulated, unless real is asked for."""
        real = [radio for radio in self.radios.values() if radio != EMULATED]
        if self.clock == "virtual" and real:
            raise BenchFileError(
                f"clock is 'virtual', but nobody can hurry {real[0]}: "
                'say clock = "real", or radio = "emulated" throughout',
                key="clock",
            )
        return self.clock or ("real" if real else "virtual")

    def with_options(
        self,
        *,
        seed: int | None = None,
        clock: ClockName | None = None,
        ezsp: EzspVersion | None = None,
        faults: Sequence[str] = (),
    ) -> Bench:
        """This bench as the command line wants it; its faults are added to those of the file."""
        if seed is not None and not 0 <= seed <= ROOT_MAX:
            raise BenchFileError(f"seed {seed} is not a number from 0 to {ROOT_MAX}", key="seed")
        asked = {"seed": seed, "clock": clock, "ezsp": ezsp}
        changes: dict[str, object] = {k: v for k, v in asked.items() if v is not None}
        changes["fault_words"] = (*self.fault_words, *map(parse_fault, faults))
        return self._changed(changes)

    def with_serial_urls(self) -> Bench:
        """This bench with the serial port of each labgrid place it names. Raises RequestError."""
        sniffer = self.real_radios.sniffer
        every = (*self.radios.values(), sniffer or "")
        if not any(radio.startswith(LABGRID) for radio in every):
            return self
        hub = self.hub.model_copy(update={"radio": serial_url(self.hub.radio)})
        devices = tuple(
            one if one.dut else one.model_copy(update={"radio": serial_url(one.radio)})
            for one in self.devices
        )
        changes: dict[str, object] = {"hub": hub, "devices": devices}
        if sniffer is not None:
            update = {"sniffer": serial_url(sniffer)}
            changes["real_radios"] = self.real_radios.model_copy(update=update)
        return self._changed(changes)

    def with_image(self, device_id: str, image: Path, policy: ImagePolicy) -> Bench:
        """This bench with another image for one device; the path is taken as it is."""
        devices = []
        for device in self.devices:
            if device.id == device_id:
                device = device.model_copy(update={"image": image, "image_policy": policy})
                device.model_fields_set.discard("image_size_bytes")
            devices.append(device)
        return self._changed({"devices": tuple(devices)})

    def _changed(self, changes: Mapping[str, object]) -> Bench:
        bench = self.model_copy(update=changes)
        for path, sentence in _contradictions(bench):
            raise BenchFileError(sentence, key=dotted(path))
        return bench


BUILT_IN = Bench.model_validate(
    {
        "device": [
            {"id": "ppmid", "kind": "ppmid"},
            {"id": "bridge-1", "kind": "bridge-1", "image_size_bytes": BRIDGE_1_IMAGE_BYTES},
            {"id": "bridge-2", "kind": "bridge-2"},
        ]
    }
)


def load_bench(path: Path | str | None = None) -> Bench:
    """The bench of a file, or the built-in one."""
    return BUILT_IN if path is None else load_toml(Path(path), Bench, _contradictions)


def inspect_bench(path: Path) -> tuple[Bench | None, list[Located]]:
    """The bench of a file, where its values can be read, and all that is wrong with the file."""
    return inspect_toml(path, Bench, _contradictions)


# -- what no single value shows ------------------------------------------------------------


def _contradictions(bench: Bench) -> Iterator[Problem]:
    try:
        bench.resolve_clock()
    except BenchFileError as error:
        yield ("clock",), str(error)
    ids = [HUB]
    for number, device in enumerate(bench.devices):
        path: KeyPath = ("device", number)
        if device.id in ids:
            yield (*path, "id"), f"{dotted(path)}.id is {device.id!r}, which is taken already"
        ids.append(device.id)
        yield from _image_problems(path, device)
        yield from dut_problems(path, device, hub_is_emulated=bench.hub.radio == EMULATED)
        for key, sentence in client_contradictions(device.client_parameters(), device.ota):
            yield (*path, "ota", key), f"{dotted(path)}.ota: {sentence}"
    yield from _hub_problems(bench.hub)
    yield from _radio_problems(bench)
    yield from _fault_problems(bench, ids)


def _hub_problems(hub: Hub) -> Iterator[Problem]:
    if hub.release_after_s is not None and hub.upgrade_time_s != WAIT_FOR_UPGRADE_COMMAND:
        sentence = (
            "hub.release_after_s is the word that devices are left to wait for by "
            f"upgrade_time_s = {WAIT_FOR_UPGRADE_COMMAND}, which is not there"
        )
        yield ("hub", "release_after_s"), sentence


def _image_problems(path: KeyPath, device: Device) -> Iterator[Problem]:
    if device.image is None:
        return
    name = dotted(path)
    if "image_size_bytes" in device.model_fields_set:
        sentence = f"{name} has an image already, whose size is its own: leave image_size_bytes out"
        yield (*path, "image_size_bytes"), sentence
    if not device.image.is_file():
        yield (*path, "image"), f"{name}.image is {str(device.image)!r}, and there is no such file"


def _radio_problems(bench: Bench) -> Iterator[Problem]:
    hub = bench.hub.radio
    used = {hub: HUB}
    for number, device in enumerate(bench.devices):
        if device.dut:
            continue
        path: KeyPath = ("device", number, "radio")
        where = f"{dotted(path)} is {device.radio!r}"
        if (device.radio == EMULATED) is not (hub == EMULATED):
            yield path, f"{where} and hub.radio is {hub!r}: emulated and real radios share no air"
        elif device.radio in used and hub != EMULATED:
            yield path, f"{where}, which {used[device.radio]} is on already"
        used.setdefault(device.radio, device.id)


def _fault_problems(bench: Bench, ids: Sequence[str]) -> Iterator[Problem]:
    paths: list[KeyPath] = [("faults", number) for number in range(len(bench.fault_words))]
    paths += [("fault", number) for number in range(len(bench.fault_tables))]
    for path, fault in zip(paths, bench.faults, strict=True):
        if not set(fault.places) <= set(ids):
            yield path, f"'{fault}' is on nothing of this bench, which has {', '.join(ids)}"
        elif fault.kind == "low battery" and fault.on == HUB:
            yield path, f"'{fault}' is a device's: a hub has no battery"
        elif bench.hub.radio != EMULATED:
            yield path, f"'{fault}' needs emulated radios: real air takes no orders"
