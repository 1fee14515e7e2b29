"""One hub and one bridge on an emulated air, on virtual time: what the transfer benchmarks run.

Source: DESIGN, "The one seam"; `hil.wiring` joins the same parts, from a bench file and with
evidence. The transfer is what lies between two moments:

    begin   the hub was asked for the first block, and everybody has done what follows at once
    end     the device has stored the last block and its SHA-256
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from time import perf_counter
from typing import NamedTuple, cast

from bench.judge import BenchmarkError
from emulator.devices.bridge import BRIDGE_1
from emulator.devices.device import (
    Device,
    DeviceBuild,
    DeviceEvent,
    DeviceLost,
    HanToJoin,
    MakeNode,
)
from emulator.devices.ezsp_node import EzspNode
from emulator.devices.flash import FlashContents, PagePool
from emulator.devices.hub import DeviceJoined, DeviceTunnel, Hub, HubEvent, HubLost
from emulator.devices.node import NetworkSettings
from emulator.devices.ota_client import DownloadDone
from emulator.devices.ota_server import TransferStarted
from emulator.devices.tunnel import TunnelUp
from emulator.devices.zigpy_node import ZigpyNode
from emulator.medium.air import Capture, Medium
from emulator.medium.timing import Scheduler
from emulator.ncp.memory import MemoryLines
from emulator.ncp.ncp import Ncp
from emulator.ncp.wire import SerialWire
from emulator.zigbee.security import install_code_key
from emulator.zigbee.state import StackState
from firmware_images.image import FirmwareImage
from firmware_images.samples import identity, maker_key, seeded_image
from hil.clock import VirtualLoop, run_virtual
from hil.journal import Journal
from hil.wiring import quiet_hosts

IMAGE_BYTES = 768_000
TOY_IMAGE_BYTES = 4096
BLOCK_BYTES = 56
EZSP_VERSION = 14
HUB, BRIDGE = 0, 1

_KIND = "bridge-1"
NAMES = ("hub", _KIND)
EUI64S = (0x02484E42_000000A2, 0x02484E42_000000A4)
_CHANNEL = 15
_EXTENDED_PAN_ID = 0x02484E42_000000A3
_JOIN_TIMEOUT_S = 600.0
_TRANSFER_TIMEOUT_S = 7 * 24 * 3600.0
_SETTLE_S = 30.0  # the device's query after joining is over before the image is offered


class Transfer(NamedTuple):
    """One transfer: what it took here, and in virtual time."""

    wall_s: float
    virtual_s: float
    blocks: int


def make_image(size_bytes: int, seed: int = 1) -> FirmwareImage:
    """A seeded image for the bridge, of exactly this size."""
    stream = random.Random(seed)
    return seeded_image(
        identity(_KIND),
        file_version=2,
        size_bytes=size_bytes,
        random_bits=stream.getrandbits,
        maker_key=maker_key(stream.getrandbits),
    )


def make_sticks(clock: Scheduler, capture: Capture | None = None, seed: int = 1) -> list[Ncp]:
    """The sticks of one home, on an air of their own."""
    stream = random.Random(seed)
    medium = Medium(clock, stream.getrandbits, capture=capture)
    return [
        Ncp(
            name,
            StackState(eui64).to_json(),
            medium,
            clock,
            stream.getrandbits,
            ezsp_version=EZSP_VERSION,
        )
        for name, eui64 in zip(NAMES, EUI64S, strict=True)
    ]


BY_STICKS: tuple[MakeNode, MakeNode] = (
    partial(ZigpyNode, take_over=True),
    partial(EzspNode, take_over=True),
)


class Hosts:
    """A hub and a bridge on radios that somebody else provides, on whatever loop is running;
    `make_nodes` says what is before each radio."""

    def __init__(
        self,
        urls: Sequence[str],
        image: FirmwareImage,
        make_nodes: tuple[MakeNode, MakeNode] = BY_STICKS,
    ) -> None:
        self.image = image
        limit = len(image.data)
        self.hub = Hub(urls[HUB], make_nodes[HUB], self._on_hub, image_limit_bytes=limit)
        self.device = self._make_device(urls[BRIDGE], make_nodes[BRIDGE])
        self._journal = Journal()
        self._joined = self._tunnel_up = self.is_under_way = self.has_ended = False

    def _make_device(self, url: str, make_node: MakeNode) -> Device:
        product = identity(_KIND)
        build = DeviceBuild(
            _KIND,
            BRIDGE_1,
            url,
            install_code_key(bytes(range(16))),
            product.manufacturer_code,
            product.image_type,
            product.hardware_version,
            lambda _: None,  # judging a signature is no part of a transfer
            FlashContents.factory(1),
            slot_size_bytes=len(self.image.data),
        )
        han = HanToJoin(_CHANNEL, _EXTENDED_PAN_ID)
        return Device(build, han, PagePool(), make_node, self._on_device)

    async def join(self) -> None:
        """Form the network, and join; raises BenchmarkError when that takes too long."""
        hub, device = self.hub, self.device
        await hub.start(NetworkSettings(_CHANNEL, 0x1A62, _EXTENDED_PAN_ID, bytes(16), bytes(16)))
        await device.power_on()
        await hub.admit(device.eui64, device.build.link_key, 3600)
        device.begin()
        await self.require(lambda: self._joined and self._tunnel_up, _JOIN_TIMEOUT_S, "join")

    async def require(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait until `done()`; raises BenchmarkError when it takes too long or cannot be."""
        if not await self._journal.until(done, timeout_s):
            raise BenchmarkError(f"the bridge did not {what} within {timeout_s:g} s")

    async def stop(self) -> None:
        """Let go of the sticks."""
        await self.device.power_off()
        await self.hub.stop()

    def _on_hub(self, event: HubEvent) -> None:
        match event:
            case DeviceJoined():
                self._joined = True
            case DeviceTunnel(output=TunnelUp()):
                self._tunnel_up = True
            case TransferStarted():
                self._transfer_started()
            case HubLost():
                self._journal.break_off(BenchmarkError(f"the hub was lost: {event.reason}"))
        self._journal.tell()

    def _on_device(self, event: DeviceEvent) -> None:
        if isinstance(event, DownloadDone):
            if event.sha256 != self.image.sha256:
                self._journal.break_off(BenchmarkError("the image did not arrive as it was sent"))
            self._transfer_ended()
        elif isinstance(event, DeviceLost):
            self._journal.break_off(BenchmarkError(f"the bridge was lost: {event.reason}"))
        self._journal.tell()

    def _transfer_started(self) -> None:
        self.is_under_way = True

    def _transfer_ended(self) -> None:
        self.has_ended = True


class VirtualPair(Hosts):
    """Hosts on virtual time, that tell how long a transfer took.

    `on_begin()` and `on_end()` are called at rest: nothing is on its way between host and radio.
    """

    def __init__(
        self,
        urls: Sequence[str],
        image: FirmwareImage,
        make_nodes: tuple[MakeNode, MakeNode] = BY_STICKS,
        *,
        on_begin: Callable[[], object] | None = None,
        on_end: Callable[[], object] | None = None,
    ) -> None:
        self.clock = cast(VirtualLoop, asyncio.get_running_loop())
        super().__init__(urls, image, make_nodes)
        self._on_begin = on_begin
        self._on_end = on_end
        self._began = self._ended = (0.0, 0.0)

    async def transfer(self) -> Transfer:
        """Form, join, and transfer the image; raises BenchmarkError when it does not arrive."""
        await self.join()
        await asyncio.sleep(_SETTLE_S)
        self.hub.update(self.image, [self.device.eui64])
        await self.require(lambda: self.has_ended, _TRANSFER_TIMEOUT_S, "finish its download")
        wall_s, virtual_s = (
            end - start for end, start in zip(self._ended, self._began, strict=True)
        )
        return Transfer(wall_s, virtual_s, -(-len(self.image.data) // BLOCK_BYTES))

    def _transfer_started(self) -> None:
        # The scheduler's calls are made only when nobody has anything left to do.
        self.clock.call_at_us(self.clock.now_us(), self._begin)

    def _transfer_ended(self) -> None:
        self._ended = (perf_counter(), self.clock.time())
        self.clock.call_at_us(self.clock.now_us(), self._end)

    def _begin(self) -> None:
        if self._on_begin is not None:
            self._on_begin()
        self._began = (perf_counter(), self.clock.time())

    def _end(self) -> None:
        if self._on_end is not None:
            self._on_end()
        self.has_ended = True
        self._journal.tell()


class Pair(VirtualPair):
    """Hosts with sticks of their own. `tap(line, ncp)` may put itself on a serial line."""

    def __init__(
        self,
        image: FirmwareImage,
        *,
        tap: Callable[[int, Ncp], SerialWire] | None = None,
        capture: Capture | None = None,
        on_begin: Callable[[], object] | None = None,
        on_end: Callable[[], object] | None = None,
    ) -> None:
        clock = cast(VirtualLoop, asyncio.get_running_loop())
        self.ncps = make_sticks(clock, capture)
        self._lines = MemoryLines(f"pair-{id(self):x}")
        urls = [
            self._lines.add(ncp.name, ncp if tap is None else tap(line, ncp))
            for line, ncp in enumerate(self.ncps)
        ]
        super().__init__(urls, image, on_begin=on_begin, on_end=on_end)

    async def close(self) -> None:
        """Switch everything off."""
        await self.stop()
        self.pull_out()

    def pull_out(self) -> None:
        """Take the sticks away; the hosts are not asked."""
        self._lines.close()
        self.switch_sticks_off()

    def switch_sticks_off(self) -> None:
        """From now on no stick says anything; its line stays."""
        for ncp in self.ncps:
            ncp.close()
        self.ncps.clear()


def transfer(image: FirmwareImage, capture: Capture | None = None) -> Transfer:
    """One transfer from a standing start, on a loop of its own."""

    async def run() -> Transfer:
        pair = Pair(image, capture=capture)
        try:
            return await pair.transfer()
        finally:
            await pair.close()

    quiet_hosts()
    return run_virtual(run)


class Chunk(NamedTuple):
    """Octets that a stick wrote at once, and how many its host had written before."""

    time_us: int
    line: int
    data: bytes
    host_octets: int


class Tape:
    """What went over both serial lines during a transfer: the sticks' words, and how many octets
    the hosts wrote, with their SHA-256."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.air: list[bytes] = []
        self.from_hosts = [sha256(), sha256()]
        self.host_octets = [0, 0]
        self.blocks = 0
        self.is_running = False

    def hosts_wrote(self) -> list[str]:
        """What to compare when somebody says that the hosts did the same again."""
        return [
            f"{octets} octets, SHA-256 {digest.hexdigest()}"
            for octets, digest in zip(self.host_octets, self.from_hosts, strict=True)
        ]

    def note_host(self, line: int, data: bytes) -> None:
        self.from_hosts[line].update(data)
        self.host_octets[line] += len(data)


class _Tap:
    """Sits between a stick and its line, and writes down what passes."""

    def __init__(self, tape: Tape, line: int, ncp: Ncp, now_us: Callable[[], int]) -> None:
        self._tape = tape
        self._line = line
        self._ncp = ncp
        self._now_us = now_us

    def host_connected(
        self, write: Callable[[bytes], None], hang_up: Callable[[], None] | None = None
    ) -> None:
        def written_down(data: bytes) -> None:
            tape, line = self._tape, self._line
            if tape.is_running:
                tape.chunks.append(Chunk(self._now_us(), line, data, tape.host_octets[line]))
            write(data)

        self._ncp.host_connected(written_down, hang_up)

    def data_received(self, data: bytes) -> None:
        if self._tape.is_running:
            self._tape.note_host(self._line, data)
        self._ncp.data_received(data)

    def host_disconnected(self) -> None:
        self._ncp.host_disconnected()


def record(image: FirmwareImage) -> Tape:
    """One transfer, written down."""
    tape = Tape()

    def running(is_running: bool) -> None:
        tape.is_running = is_running

    def capture(_start_us: int, _channel: int, psdu: bytes, _comment: str) -> None:
        if tape.is_running:
            tape.air.append(psdu)

    async def run() -> None:
        clock = cast(VirtualLoop, asyncio.get_running_loop())
        pair = Pair(
            image,
            tap=lambda line, ncp: _Tap(tape, line, ncp, clock.now_us),
            capture=capture,
            on_begin=partial(running, True),
            on_end=partial(running, False),
        )
        try:
            tape.blocks = (await pair.transfer()).blocks
        finally:
            await pair.close()

    quiet_hosts()
    run_virtual(run)
    return tape
