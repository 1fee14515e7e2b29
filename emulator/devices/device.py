"""A device on the HAN: what is soldered in, and the firmware that runs on it until it restarts.

Source: DESIGN, "There and back" and sentence 5: after activation a device restarts from its flash.
`Device` is what a restart leaves: identity, link key, flash contents, the memory of GBCS, the
radio's URL. `Firmware` is what it does not: OTA client, tunnel, endpoint, the open radio; every
start makes a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from emulator.devices import models, ota_client, tunnel
from emulator.devices.flash import SLOT_SIZE_BYTES, Flash, FlashContents, PagePool
from emulator.devices.gbcs_half import (
    AlertDelivered,
    DeviceHalf,
    FrameDiscarded,
    GbcsIdentity,
    GbcsMemory,
    Identify,
    KnownTunnel,
    UtcNow,
    machine_utc,
)
from emulator.devices.gbcs_shell import GbcsShell
from emulator.devices.models import DeviceModel
from emulator.devices.node import (
    Frame,
    JoinError,
    NetworkDown,
    NetworkUp,
    Node,
    NodeError,
    NodeEvent,
    OnEvent,
    PutOut,
    QueueFull,
    Received,
    Sent,
    SmartEnergyEndpoint,
)
from emulator.devices.nonvolatile import STEADY, Power, PowerCut, Record
from emulator.devices.ota_client import OtaClient, OtaClientIdentity, OtaClientParameters
from emulator.devices.ota_download import RandomBits
from emulator.devices.signal_counts import Signal
from emulator.devices.tunnel import TunnelServer
from emulator.devices.wakeup import Wakeup

JOIN_RETRY_S = 5.0
FIND_RETRY_S = 5.0
FINDS_UNTIL_LOST = 20  # a hub that answers so many questions in a row with silence is looked for
WATCHDOG_S = 60.0  # until a firmware that hangs is started again
RESTART_S = 10.0  # a boot loader copies or swaps 750 KiB between two flash slots

MakeNode = Callable[[str, tuple[SmartEnergyEndpoint, ...], OnEvent], Node]
Verify = Callable[[Flash], str | None]


@dataclass(frozen=True, slots=True)
class DeviceUp:
    """The firmware runs and its radio is in the network."""

    file_version: int
    sha256: str | None
    restarted: bool


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """The device cannot go on, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeviceLeft:
    """The device was told to leave the network; it waits to be let in again."""


DeviceEvent = (
    ota_client.Output
    | tunnel.Output
    | FrameDiscarded
    | AlertDelivered
    | DeviceUp
    | DeviceLost
    | DeviceLeft
)


class _ToldToLeave(Exception):
    """Ends a firmware's part in a network."""


@dataclass(frozen=True, slots=True)
class HanToJoin:
    """The network a device is meant for, as its installer knows it."""

    channel: int
    extended_pan_id: int


@dataclass(slots=True)
class DeviceBuild:
    """How one device was made. `link_key` follows from its install code.

    Without `identity` it has no GBCS application: its tunnel carries octets, and that is all. With
    `activation_fails` its boot loader refuses every image it is left with, and keeps the old one;
    with `new_image_hangs` every new image starts and never comes up, until the old one is back.
    `random_bits` and `is_battery_low` are for the makes of client that need them. In `network` it
    is noted that the device has joined.
    """

    device_id: str
    model: DeviceModel
    radio_url: str
    link_key: bytes = field(repr=False)
    manufacturer_code: int
    image_type: int
    hardware_version: int
    verify: Verify
    contents: FlashContents
    parameters: OtaClientParameters = field(default_factory=OtaClientParameters)
    slot_size_bytes: int = SLOT_SIZE_BYTES
    identity: Identify | None = None
    memory: GbcsMemory = field(default_factory=GbcsMemory)
    utc_now: UtcNow = machine_utc
    activation_fails: bool = False
    new_image_hangs: bool = False
    random_bits: RandomBits | None = None
    is_battery_low: Callable[[], bool] | None = None
    network: Record = field(default_factory=Record)
    power: Power = STEADY


class Device:
    """One device. `on_event` is called with everything that happens in it."""

    def __init__(
        self,
        build: DeviceBuild,
        han: HanToJoin,
        pool: PagePool,
        make_node: MakeNode,
        on_event: Callable[[DeviceEvent], object],
    ) -> None:
        self.build = build
        self.eui64 = 0
        self._han = han
        self._pool = pool
        self._make_node = make_node
        self._on_event = on_event
        self._firmware: Firmware | None = None
        self._life: asyncio.Task[None] | None = None
        self._identity: GbcsIdentity | None = None

    async def power_on(self) -> None:
        """Start the firmware; `eui64` is known when the radio has answered."""
        await self._start()

    async def power_up(self, power: Power = STEADY) -> None:
        """After `power_off`: go on from what is stored."""
        build = self.build
        build.power, build.memory = power, GbcsMemory.restarted(build.memory.record, power)
        await self.power_on()
        self.begin()

    def signal(self) -> Signal | None:
        """How well its radio has heard since its last start."""
        return None if self._firmware is None else self._firmware.node.signal()

    def begin(self) -> None:
        """Join, and live from update to update; what happens is told to `on_event`."""
        if self._firmware is None:
            raise NodeError(f"{self.build.device_id} is switched off")
        self._life = asyncio.get_running_loop().create_task(
            self._live(self._firmware), name=f"device {self.build.device_id}"
        )

    async def power_off(self) -> None:
        """Stop; what is not in the flash is gone."""
        life, self._life = self._life, None
        firmware, self._firmware = self._firmware, None
        if firmware is not None:
            # First the radio: whoever waits for it hears that it is gone. The command of somebody
            # who is cancelled meanwhile is left by bellows with an error that nobody takes.
            await firmware.stop()
        if life is not None:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            if self._firmware is not None:  # it was starting another
                await self._firmware.stop()
                self._firmware = None

    def send_through_tunnel(self, message: bytes) -> None:
        """Send `message` to the hub, when there is a tunnel."""
        if self._firmware is None:
            raise NodeError(f"{self.build.device_id} is switched off")
        self._firmware.send_through_tunnel(message)

    async def _start(self) -> Firmware:
        build = self.build
        flash = Flash(
            build.contents, self._pool, slot_size_bytes=build.slot_size_bytes, power=build.power
        )
        flash.boot(_refuse if build.activation_fails else None)
        firmware = Firmware(build, flash, self._make_node, self._on_event)
        self._firmware = firmware
        await firmware.node.open()
        self.eui64 = firmware.node.eui64
        firmware.ota.know_eui64(self.eui64)
        if build.identity is not None:
            if self._identity is None:
                self._identity = build.identity(self.eui64)
            firmware.install(self._identity)
        return firmware

    async def _live(self, firmware: Firmware) -> None:
        """From start to start, until the power goes or the radio is lost."""
        try:
            while True:
                if firmware.flash.is_on_trial and self.build.new_image_hangs:
                    firmware = await self._restart(firmware, WATCHDOG_S)
                    continue
                await self._connect(firmware)
                firmware.flash.confirm()
                restarted = self._has_joined
                if not restarted:
                    self.build.network.write(self.build.power, "network: joined", b"joined")
                running = firmware.flash.running
                self._on_event(DeviceUp(running.file_version, running.sha256, restarted))
                try:
                    await firmware.run()
                    after_s = RESTART_S
                except _ToldToLeave:
                    self.build.network.write(self.build.power, "network: left", b"")
                    self._on_event(DeviceLeft())
                    after_s = 0.0
                firmware = await self._restart(firmware, after_s)
        except NodeError as error:
            if self._life is not None:  # else it was switched off
                self._on_event(DeviceLost(str(error)))
        except PowerCut:
            return  # whoever has the power knows

    @property
    def _has_joined(self) -> bool:
        return bool(self.build.network.read())

    async def _restart(self, firmware: Firmware, delay_s: float) -> Firmware:
        await firmware.stop()
        await asyncio.sleep(delay_s)
        return await self._start()

    async def _connect(self, firmware: Firmware) -> None:
        if self._has_joined:
            await firmware.node.resume()
            return
        while True:
            try:
                await firmware.node.join(
                    self._han.channel, self._han.extended_pan_id, self.build.link_key
                )
                return
            except JoinError as error:
                self._on_event(ota_client.Anomaly("join failed", str(error)))
                await asyncio.sleep(JOIN_RETRY_S)


def _refuse(_flash: Flash) -> str:
    """The judgement of a boot loader that activates nothing."""
    return "refused"


class Firmware:
    """What runs between two restarts."""

    def __init__(
        self,
        build: DeviceBuild,
        flash: Flash,
        make_node: MakeNode,
        on_event: Callable[[DeviceEvent], object],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.flash = flash
        self.node = make_node(build.radio_url, build.model.endpoints, self._on_node_event)
        self._loop = loop
        self._build = build
        self._on_event = on_event
        identity = OtaClientIdentity(
            build.manufacturer_code,
            build.image_type,
            build.hardware_version,
            flash.running.file_version,
        )
        self.ota = OtaClient(
            identity,
            flash,
            build.parameters,
            verify=build.verify,
            random_bits=build.random_bits,
            is_battery_low=build.is_battery_low,
        )
        self.tunnel = TunnelServer()
        self._ota_timer = Wakeup(loop, self.ota, self._act_on_ota)
        self._tunnel_timer = Wakeup(loop, self.tunnel, self._act_on_tunnel)
        self._gbcs: GbcsShell | None = None
        self._ended: asyncio.Future[None] = loop.create_future()
        self._hub_eui64: int | None = None
        self._ota_endpoint = 0
        self._finding: asyncio.Task[None] | None = None
        self._tunnel_endpoint = 0

    def install(self, identity: GbcsIdentity) -> None:
        """Give it a GBCS application: the radio has told whose it is."""
        build = self._build
        half = DeviceHalf(
            self.node.eui64, identity, build.memory, lambda: self.flash.running.file_version
        )
        self._gbcs = GbcsShell(self._loop, half, self, build.utc_now, self._on_event)

    async def run(self) -> None:
        """Find the OTA server, serve the tunnel, until it is time to restart.

        Raises NodeError when the radio is lost.
        """
        self._hub_eui64 = hub = getattr(self.node, "hub_eui64", None)
        assert hub is not None
        if self._gbcs is not None:
            self._gbcs.start(was_tried=not self.flash.is_filling)
        await self._find_server()
        if self._ota_endpoint:
            self._act_on_ota(self.ota.start(self._loop.time()))
            self._ota_timer.settle()
        await self._ended

    async def _find_server(self) -> None:
        """Ask the hub where its OTA server is until it tells, or the firmware ends. A hub that has
        been swapped never tells: then the network is looked for, and its hub asked."""
        asked = 0
        while not self._ended.done():
            hub = self._hub_eui64
            assert hub is not None
            endpoint = await self.node.find_endpoint(hub, models.OTA_UPGRADE, is_server=True)
            if endpoint is not None:
                self._ota_endpoint = endpoint
                return
            asked += 1
            if asked % FINDS_UNTIL_LOST == 0:
                await self.node.look_for_hub()
            else:
                await asyncio.sleep(FIND_RETRY_S)

    def _find_server_again(self) -> None:
        """It does not answer where it was found."""
        hub = self._hub_eui64
        if hub is None or (self._finding is not None and not self._finding.done()):
            return

        async def find() -> None:
            with contextlib.suppress(NodeError):  # a radio that is lost is told elsewhere
                await self._find_server()

        self._finding = self._loop.create_task(find(), name=f"device looks for {hub:016X}")

    async def stop(self) -> None:
        """The power goes, or the firmware ends itself."""
        if self._finding is not None:
            self._finding.cancel()
        self.ota.stop()
        self._ota_timer.stop()
        self._tunnel_timer.stop()
        if self._gbcs is not None:
            self._gbcs.stop()
        if not self._ended.cancel() and not self._ended.cancelled():
            self._ended.exception()  # a radio lost that nobody waited for is no surprise any more
        await self.node.close()

    def send_through_tunnel(self, message: bytes, handle: int | None = None) -> None:
        """Send `message` to the hub, when there is a tunnel."""
        self._act_on_tunnel(self.tunnel.send(message, self._loop.time(), handle))
        self._tunnel_timer.settle()

    def disown_tunnel(self, known: KnownTunnel) -> None:
        """Tell the hub that a tunnel from before the restart is no more."""
        self._tunnel_endpoint = known.hub_endpoint
        self._act_on_tunnel(self.tunnel.disown(known.tunnel_id))

    # -- what the radio brings -----------------------------------------------------------------

    def _on_node_event(self, event: NodeEvent) -> None:
        if self._build.power.is_off:
            return
        try:
            self._hear(event)
        except PowerCut:
            return  # whoever has the power knows

    def _hear(self, event: NodeEvent) -> None:
        if type(event) is Received:
            if event.cluster == models.OTA_UPGRADE:
                if event.peer != self._hub_eui64:
                    self._on_event(ota_client.Anomaly("stranger", f"from {event.peer:016X}"))
                    return
                outputs = self.ota.receive(event.payload, self._loop.time(), event.encrypted)
                if outputs:
                    self._act_on_ota(outputs)
                self._ota_timer.settle()
            elif event.cluster == models.TUNNELLING:
                self._tunnel_endpoint = event.source_endpoint
                now = self._loop.time()
                self._act_on_tunnel(self.tunnel.receive(event.payload, now, event.encrypted))
                self._tunnel_timer.settle()
        elif type(event) is Sent:
            if self._gbcs is not None:
                self._gbcs.sent(event.tag, event.delivered)
        elif isinstance(event, NetworkUp):
            self._meet_hub()
        elif isinstance(event, NetworkDown) and not self._ended.done():
            self._ended.set_exception(NodeError(event.reason))
        elif isinstance(event, PutOut) and not self._ended.done():
            self._ended.set_exception(_ToldToLeave())

    def _meet_hub(self) -> None:
        """After a swap of the trust centre the network has another hub."""
        hub = getattr(self.node, "hub_eui64", None)
        if self._hub_eui64 is not None and hub != self._hub_eui64:
            self._hub_eui64 = hub
            self._find_server_again()

    def _act_on_ota(self, outputs: Sequence[Any]) -> None:
        for output in outputs:
            if type(output) is ota_client.SendZcl:
                self._send(models.OTA_UPGRADE, self._ota_endpoint, output.payload)
            else:
                self._on_event(output)
                if isinstance(output, ota_client.FindServer):
                    self._find_server_again()
                if isinstance(output, ota_client.Activate) and not self._ended.done():
                    # In this order: a version that was noted and not marked was not tried.
                    if self._gbcs is not None:
                        self._gbcs.activating(output.file_version)
                    self.flash.mark_bootable()
                    self._ended.set_result(None)

    def _act_on_tunnel(self, outputs: Sequence[Any]) -> None:
        for output in outputs:
            if type(output) is tunnel.SendZcl:
                endpoint = self._tunnel_endpoint
                self._send(models.TUNNELLING, endpoint, output.payload, output.handle)
            else:
                self._on_event(output)
                if self._gbcs is not None:
                    self._gbcs.hear(output, self._tunnel_endpoint)

    def _send(self, cluster: int, endpoint: int, payload: bytes, handle: int | None = None) -> None:
        if self._hub_eui64 is None:
            return
        frame = Frame(self._hub_eui64, cluster, models.DEVICE_ENDPOINT, endpoint, payload)
        try:
            tag = self.node.send(frame)
        except (NodeError, QueueFull) as error:
            # The core's own timer asks again; that it had to is told.
            self._on_event(ota_client.Anomaly("not sent", str(error)))
            if self._gbcs is not None:
                self._gbcs.failed(handle)
            return
        if handle is not None and self._gbcs is not None:
            self._gbcs.carried(tag, handle)
