"""An air on the virtual clock with sticks, nodes, a hub and devices; and the command line."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, cast
from unittest import mock

import pytest

from emulator.devices import models
from emulator.devices.device import Device, DeviceBuild, DeviceEvent, HanToJoin
from emulator.devices.ezsp_node import EzspNode
from emulator.devices.flash import FlashContents, PagePool
from emulator.devices.hub import Hub, HubEvent
from emulator.devices.models import HUB_ENDPOINTS
from emulator.devices.node import NetworkSettings, NodeEvent, Role
from emulator.devices.ota_server import OtaServerParameters
from emulator.devices.ppmid import PPMID
from emulator.devices.stack_node import StackNode
from emulator.devices.stack_radio import StackRadio
from emulator.devices.zigpy_node import ZigpyNode
from emulator.medium.air import Loss, Medium
from emulator.ncp.memory import MemoryLines
from emulator.ncp.ncp import Ncp
from emulator.zigbee import aps, nwk
from emulator.zigbee.security import FrameKey, install_code_key
from emulator.zigbee.state import StackState
from firmware_images.header import OtaHeader
from firmware_images.image import FirmwareImage, build_image
from hil.cli import main
from hil.clock import VirtualLoop

REPOSITORY = Path(__file__).parents[1]
CHANNEL = 15
PAN_ID = 0x1A62
EXTENDED_PAN_ID = 0x18262CD292AD61D7
NETWORK_KEY = bytes(range(0x10, 0x20))
SETTINGS = NetworkSettings(CHANNEL, PAN_ID, EXTENDED_PAN_ID, NETWORK_KEY, bytes(range(0x40, 0x50)))
HUB_EUI64 = 0x02484E4200000001
IMAGE_LIMIT_BYTES = 750 * 1024
MAKER, KIND, HARDWARE, OLD, NEW = 0x121D, 0x0084, 0x1111, 0x00010100, 0x00010200

_runs = itertools.count()


def link_key(eui64: int) -> bytes:
    """The key of the install code that a device with this address has."""
    return install_code_key(eui64.to_bytes(8, "big") * 2)


class Opened(NamedTuple):
    """A frame of the air, read with the network key: NWK and APS header, and what they carry."""

    source: int
    destination: int
    frame: aps.ApsFrame
    is_acknowledgement: bool


class Bench:
    """Sticks on one air, reached in memory; every frame of the air is kept."""

    def __init__(
        self,
        *,
        ezsp: Any = 14,
        losses: Sequence[Loss] = (),
        seed: int = 1,
        strict: bool = False,
        cbke: bool = True,
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.ezsp = ezsp
        self.strict = strict
        self.cbke = cbke
        self.random = random.Random(seed)
        self.frames: list[bytes] = []
        self.medium = Medium(
            loop,
            self.random.getrandbits,
            faults=tuple(losses),
            capture=lambda _time, _channel, psdu, _comment: self.frames.append(psdu),
        )
        self.lines = MemoryLines(f"test-{next(_runs)}")
        self.sticks: dict[str, Ncp] = {}
        self._to_close: list[Callable[[], Any]] = []

    def stick(self, name: str, eui64: int, stored: str | None = None) -> str:
        stick = Ncp(
            name,
            stored or StackState(eui64).to_json(),
            self.medium,
            self.loop,
            self.random.getrandbits,
            ezsp_version=self.ezsp,
            strict=self.strict,
            cbke=self.cbke,
        )
        self.sticks[name] = stick
        return self.lines.add(name, stick)

    def make_hub(self, url: str, *arguments: Any, **options: Any) -> Any:
        """A hub's node on the radio that `stick` gave this URL."""
        return ZigpyNode(url, *arguments, **options)

    def make_device(self, url: str, *arguments: Any, **options: Any) -> Any:
        """A device's node on the radio that `stick` gave this URL."""
        return EzspNode(url, *arguments, **options)

    def closing(self, close: Callable[[], Any]) -> None:
        """Await `close()` at the end, the last one first."""
        self._to_close.append(close)

    async def close(self) -> None:
        for close in reversed(self._to_close):
            await close()
        self.lines.close()
        for stick in self.sticks.values():
            stick.close()

    def opened(self) -> list[Opened]:
        """Every NWK data frame of the air, opened with the network key alone."""
        frames = []
        key = FrameKey(NETWORK_KEY)
        for psdu in self.frames:
            if psdu[0] & 0x07 != 1:  # MAC data
                continue
            # Frame control, sequence, PAN id, two short addresses: what all data of a HAN has.
            body = psdu[9:-2]
            header = nwk.parse(body)
            if not header.secured or header.frame_type != nwk.TYPE_DATA:
                continue
            _, eui64, _ = nwk.parse_auxiliary(body, header.header_octets)
            payload = nwk.open_sealed(key, body, header.header_octets, eui64)
            frame = aps.parse(payload)
            acknowledges = frame.control & 0x03 == aps.TYPE_ACK
            frames.append(Opened(header.source, header.destination, frame, acknowledges))
        return frames

    async def until(self, done: Callable[[], Any], limit_s: float = 600.0) -> None:
        """Let time pass until `done()`; fails when `limit_s` were not enough."""
        end_s = self.loop.time() + limit_s
        while not done():
            assert self.loop.time() < end_s, f"it has not happened within {limit_s} s"
            await asyncio.sleep(0.05)


STACK = "stack"  # in the place of a version of EZSP: no stick at all


class StackBench(Bench):
    """The same without sticks: every node straight on a stack."""

    sticks: dict[str, StackRadio]  # type: ignore[assignment]

    def stick(self, name: str, eui64: int, stored: str | None = None) -> str:
        self.sticks[name] = StackRadio(
            name,
            stored or StackState(eui64).to_json(),
            self.medium,
            self.loop,
            self.random.getrandbits,
        )
        return f"stack://{name}"

    def make_hub(self, url: str, *arguments: Any, **options: Any) -> StackNode:
        radio = self.sticks[url.removeprefix("stack://")]
        return StackNode(url, *arguments, radio=radio, **options)

    make_device = make_hub


@asynccontextmanager
async def bench(**options: Any) -> AsyncIterator[Bench]:
    """`ezsp` is a version, or STACK."""
    made = StackBench(**options) if options.get("ezsp") == STACK else Bench(**options)
    try:
        yield made
    finally:
        await made.close()


def of_kind(events: Sequence[Any], *kinds: type) -> list[Any]:
    return [event for event in events if isinstance(event, kinds)]


@dataclass
class HubNode:
    node: Any  # ZigpyNode or StackNode
    events: list[NodeEvent] = field(default_factory=list)


@dataclass
class DeviceNode:
    node: Any  # EzspNode or StackNode
    events: list[NodeEvent] = field(default_factory=list)


async def hub_node(bench: Bench, *, form: bool = True, take_over: bool = False) -> HubNode:
    """A hub's node on a stick of its own, its network formed."""
    events: list[NodeEvent] = []
    url = bench.stick("hub", HUB_EUI64)
    node = bench.make_hub(url, HUB_ENDPOINTS, events.append, take_over=take_over)
    bench.closing(node.close)
    await node.open()
    if form:
        await node.form(SETTINGS)
    return HubNode(node, events)


async def device_node(
    bench: Bench,
    eui64: int,
    *,
    name: str | None = None,
    take_over: bool = False,
    role: Role = Role.ROUTER,
) -> DeviceNode:
    """A device's node, its stick reset and idle."""
    events: list[NodeEvent] = []
    url = bench.stick(name or f"device-{eui64:X}", eui64)
    node = bench.make_device(url, PPMID.endpoints, events.append, take_over=take_over, role=role)
    bench.closing(node.close)
    await node.open()
    return DeviceNode(node, events)


async def join(hub: HubNode, device: DeviceNode, *, attempts: int = 10) -> None:
    """Let a device in and join it, as often as a lossy air makes it necessary."""
    from emulator.devices.node import JoinError

    await hub.node.permit(device.node.eui64, link_key(device.node.eui64), 3600)
    for attempt in range(attempts):
        try:
            await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(device.node.eui64))
            return
        except JoinError:
            assert attempt < attempts - 1


# -- hub and devices -----------------------------------------------------------------------


def make_image(size_bytes: int, *, version: int = NEW, salt: int = 0) -> FirmwareImage:
    header = OtaHeader(
        manufacturer_code=MAKER,
        image_type=KIND,
        file_version=version,
        minimum_hardware_version=HARDWARE,
        maximum_hardware_version=HARDWARE,
    )
    body = random.Random(f"{size_bytes} {version} {salt}").randbytes(
        size_bytes - header.header_length
    )
    return build_image(header, body)


@dataclass
class House:
    """A hub with its devices, and everything they told."""

    bench: Bench
    hub: Hub
    hub_events: list[HubEvent]
    devices: dict[int, Device] = field(default_factory=dict)
    device_events: dict[int, list[DeviceEvent]] = field(default_factory=dict)
    pool: PagePool = field(default_factory=PagePool)

    async def add(
        self, eui64: int, *, admit: bool = True, role: Role = Role.ROUTER, **changes: Any
    ) -> Device:
        """One more device: built, let in (or left to somebody else to let in), and begun."""
        events: list[DeviceEvent] = []
        built: dict[str, Any] = {
            "device_id": f"device-{eui64:X}",
            "model": PPMID,
            "radio_url": self.bench.stick(f"device-{eui64:X}", eui64),
            "link_key": link_key(eui64),
            "manufacturer_code": MAKER,
            "image_type": KIND,
            "hardware_version": HARDWARE,
            "verify": lambda _flash: None,
            "contents": FlashContents.factory(OLD),
        }
        device = Device(
            DeviceBuild(**(built | changes)),
            HanToJoin(CHANNEL, EXTENDED_PAN_ID),
            self.pool,
            partial(self.bench.make_device, take_over=True, role=role),
            events.append,
        )
        self.devices[eui64] = device
        self.device_events[eui64] = events
        self.bench.closing(device.power_off)
        await device.power_on()
        if admit:
            await self.hub.admit(eui64, link_key(eui64), 3600)
        device.begin()
        return device

    def told(self, *kinds: type) -> list[Any]:
        return of_kind(self.hub_events, *kinds)

    def told_by(self, eui64: int, *kinds: type) -> list[Any]:
        return of_kind(self.device_events[eui64], *kinds)


async def house(
    bench: Bench,
    *,
    parameters: OtaServerParameters | None = None,
    limit: int = IMAGE_LIMIT_BYTES,
    **hub_options: Any,
) -> House:
    """A hub whose network is formed."""
    events: list[HubEvent] = []
    hub = Hub(
        bench.stick("hub", HUB_EUI64),
        partial(bench.make_hub, take_over=True),
        events.append,
        image_limit_bytes=limit,
        parameters=parameters,
        **hub_options,
    )
    bench.closing(hub.stop)
    await hub.start(SETTINGS)
    return House(bench, hub, events)


OTA = models.OTA_UPGRADE


# -- the command line ----------------------------------------------------------------------


class Done(NamedTuple):
    exit_code: int
    out: str
    err: str


def hanbench(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> Done:
    """`hanbench ARGUMENTS` in this process."""
    monkeypatch.setattr(sys, "argv", ["hanbench", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return Done(cast(int, ended.value.code or 0), out, err)


def start_hanbench(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`hanbench ARGUMENTS` as a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "hil.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Whoever runs the tests in the background has them ignore Ctrl-C, which is inherited.
        preexec_fn=_obey_ctrl_c,
        **options,
    )


def _obey_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


SMALL_BENCH = """\
seed = 7

[[device]]
id = "ppmid"
kind = "ppmid"
image_size_bytes = 2048

[[device]]
id = "bridge-1"
kind = "bridge-1"
image_size_bytes = 2048
"""


def published(name: str) -> Path:
    """A published sample file, read where it is; skips when it is not."""
    path = REPOSITORY / os.environ.get("RTDS_DIR", "../shared/vectors") / "duis" / name
    if not path.exists():
        pytest.skip(f"{name} is not there; RTDS_DIR names its folder")
    return path


class Run(NamedTuple):
    """One finished `hanbench run` and its folder."""

    folder: Path
    document: dict[str, Any]


@cache
def finished_run(bench: str = SMALL_BENCH, *arguments: str) -> Run:
    """The evidence of a run with `--with-keys --json`; made once for whoever asks for it."""
    folder = Path(tempfile.mkdtemp(prefix="hanbench-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "bench.toml").write_text(bench)
    evidence = folder / "evidence"
    out = io.StringIO()
    words = ["hanbench", "run", str(folder / "bench.toml"), "--evidence", str(evidence)]
    with (
        mock.patch.object(sys, "argv", [*words, "--with-keys", "--json", *arguments]),
        contextlib.redirect_stdout(out),
        pytest.raises(SystemExit),
    ):
        main()
    return Run(evidence, json.loads(out.getvalue()))
