"""The Communications Hub on the HAN: it forms, lets devices in, opens tunnels, serves firmware.

Source: GBCS 10.2.2 (tunnels), 11.2 (firmware on the HAN); MP170 (one image block, newer wins); the
cores are `ota_server`, `image_store` and `tunnel`, this is the shell that gives them a radio; its
other side, towards the DSP, is `hub_wan`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from emulator.devices import gbcs_half, models, ota_server, tunnel
from emulator.devices.device import MakeNode
from emulator.devices.device_log import DeviceLog, Peer
from emulator.devices.gbcs_half import GbcsIdentity, GbcsMemory, Identify, UtcNow, machine_utc
from emulator.devices.hub_wan import HubWan
from emulator.devices.image_store import Image, ImageStore, StoreContents
from emulator.devices.node import (
    Frame,
    Joined,
    Left,
    NetworkDown,
    NetworkSettings,
    NodeError,
    NodeEvent,
    QueueFull,
    Received,
    Routed,
    Sent,
)
from emulator.devices.nonvolatile import STEADY, Power, PowerCut, Record
from emulator.devices.ota_server import (
    OtaServer,
    OtaServerParameters,
    QuerySeen,
    TransferOutcome,
)
from emulator.devices.signal_counts import Heard
from emulator.devices.tunnel import MessageReceived, MessageRefused, TunnelDown
from emulator.devices.wakeup import Wakeup
from emulator.zigbee.routing import hops
from emulator.zigbee.security import mmo_hash
from gbcs.endpoint import Reason
from gbcs.wan import DeliveryResult, DeviceType

FIND_RETRY_S = 3.0
FINDS = 20  # after so many it is asked less often
FIND_LATER_S = 300.0
TUNNEL_ASKS = 5  # after which a device that is there is said to serve no tunnel
FIRMWARE_VERSION = 0x00010000
NETWORK_KEY_OCTETS = 16
TYPE_1 = (DeviceType.PPMID, DeviceType.HCALCS)
MOST_BLOCK_BYTES = 56  # of a block, in one frame under NWK and APS security


@dataclass(frozen=True, slots=True)
class HubLost:
    """The hub cannot go on, and why."""

    reason: str


@dataclass(slots=True)
class HubStored:
    """The image slot, the offers of what is in it, and the device log: what outlives a restart."""

    image: StoreContents = field(default_factory=StoreContents)
    offers: Record = field(default_factory=Record)
    log: Record = field(default_factory=Record, repr=False)


@dataclass(frozen=True, slots=True)
class DeviceJoined:
    eui64: int
    node_id: int


@dataclass(frozen=True, slots=True)
class DeviceClassified:
    """What a device that came with the log of another hub is, by its clusters."""

    eui64: int
    device_type: DeviceType


@dataclass(frozen=True, slots=True)
class DeviceTunnel:
    """Something happened in the tunnel to one device."""

    eui64: int
    output: tunnel.Output


@dataclass(frozen=True, slots=True)
class FrameDiscarded:
    """A message that the DSP sent the hub, or a device (`eui64`) the DSP, went no further."""

    eui64: int
    reason: Reason
    detail: str


HubEvent = (
    ota_server.Output | HubLost | DeviceJoined | DeviceClassified | DeviceTunnel | FrameDiscarded
)


class Hub:
    """One hub. `on_event` is called with everything that happens in it.

    `wan` takes what it has for the DSP, `deliver` what the DSP has for it. `memory` and `stored`
    are what a hub made again goes on from, or this one by `power_up`. Without `identity` it takes
    no commands and raises no alerts.
    """

    def __init__(
        self,
        radio_url: str,
        make_node: MakeNode,
        on_event: Callable[[HubEvent], object],
        *,
        image_limit_bytes: int,
        parameters: OtaServerParameters | None = None,
        identity: Identify | None = None,
        memory: GbcsMemory | None = None,
        stored: HubStored | None = None,
        wan: Callable[[bytes], object] | None = None,
        utc_now: UtcNow = machine_utc,
        power: Power = STEADY,
        firmware_version: int = FIRMWARE_VERSION,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._radio_url = radio_url
        self._make_node = make_node
        self._on_event = on_event
        self._image_limit_bytes = image_limit_bytes
        self._parameters = parameters or OtaServerParameters()
        self._identity = identity
        self._send_to_dsp = wan
        self._utc_now = utc_now
        self.memory = GbcsMemory(power=power) if memory is None else memory
        self.stored = HubStored() if stored is None else stored
        self._power = power
        self._firmware_version = firmware_version
        self._settings: NetworkSettings | None = None
        self._gbcs: GbcsIdentity | None = None
        self._boot()

    def _boot(self) -> None:
        """Everything that a restart makes anew, from what is stored."""
        stored, power = self.stored, self._power
        self.node = self._make_node(self._radio_url, models.HUB_ENDPOINTS, self._on_node_event)
        self._store = ImageStore(self._image_limit_bytes, stored.image, power)
        self.ota = OtaServer(self._store, self._parameters, record=stored.offers, power=power)
        self._ota_timer = Wakeup(self._loop, self.ota, self._act_on_ota)
        self.device_log = DeviceLog(self._loop, self._act_on_tunnel, stored.log, power)
        self._wan: HubWan | None = None
        self._carries: dict[int, int] = {}  # tag of a frame -> handle of the message in it
        self._sent_to: dict[int, int] = {}  # tag of a frame -> whom it is for

    async def start(self, settings: NetworkSettings) -> None:
        """Reach the radio and form the network."""
        self._settings = settings
        await self._open()
        await self.node.form(settings)
        self._begin()

    async def power_up(
        self, power: Power = STEADY, settings: NetworkSettings | None = None
    ) -> None:
        """After `stop`: go on in the network that the radio remembers, from what is stored.

        A hub made again is told its `settings` once more: it may have been stopped in the middle
        of taking over another's network.
        """
        self._power = power
        self._settings = settings or self._settings
        self.memory = GbcsMemory.restarted(self.memory.record, power)
        self._boot()
        await self._open()
        keys = {eui64: peer.link_key for eui64, peer in self.device_log.items()}
        if self.device_log.network is None:
            await self.node.resume(keys)
        else:
            # Without a network it was stopped while it formed one.
            with contextlib.suppress(NodeError):
                await self.node.resume(keys)
            await self.take_over()
        self._begin()
        for eui64, peer in self.device_log.items():
            self._look_at(eui64, peer)

    async def take_over(self) -> None:
        """Be the hub of the network whose log was restored: form one with its extended PAN id, and
        know its devices by the hashes of their keys. Raises NodeError."""
        node, wanted = self.node, self.device_log.network
        if wanted is None:
            return
        if node.extended_pan_id != wanted:
            if self._settings is None:
                raise NodeError("the hub was not told what to form a network from")
            # Never twice under one key: the frame counters begin anew.
            salt = wanted.to_bytes(8, "big") + self.device_log.changes.to_bytes(8, "big")
            key = hashlib.sha256(self._settings.network_key + salt).digest()[:NETWORK_KEY_OCTETS]
            settings = replace(self._settings, extended_pan_id=wanted, network_key=key)
            await node.form(settings, anew=True)
        await node.take_back({eui64: peer.link_key for eui64, peer in self.device_log.items()})

    @property
    def extended_pan_id(self) -> int:
        """Of the network it runs."""
        return self.node.extended_pan_id or 0

    def heard(self, eui64: int) -> Heard | None:
        """How a device was heard."""
        return self.node.heard(eui64)

    def without_tunnel(self) -> list[int]:
        """Those that are there, have firmware from this hub, and would have none from another: the
        log it is given names no types, and where no tunnel is served it takes them for Type 2."""
        return [
            eui64
            for eui64, peer in self.device_log.items()
            if peer.device_type in TYPE_1
            and peer.endpoint is None
            and peer.ota_endpoint is not None
        ]

    async def _open(self) -> None:
        await self.node.open()
        eui64 = self.node.eui64
        if self._gbcs is None and self._identity is not None:
            self._gbcs = self._identity(eui64)
        self._wan = HubWan(
            eui64,
            self._gbcs,
            self.memory,
            self.device_log,
            self,
            self._firmware_version,
            send=self._send_to_dsp,
            on_discarded=self._discarded,
            on_anomaly=self._on_event,
            utc_now=self._utc_now,
        )

    def _begin(self) -> None:
        """In the network: what a restart interrupted goes on."""
        if self._wan is not None:
            self._wan.start()
        self._act_on_ota(self.ota.start(self._loop.time()))
        self._ota_timer.settle()

    async def stop(self) -> None:
        """Let go of the radio."""
        self._ota_timer.stop()
        await self.node.close()  # first: see `Device.power_off`
        if self._wan is not None:
            self._wan.stop()
        self.device_log.stop()

    def deliver(self, message: bytes) -> None:
        """One serialised message of the DSP; lost on a hub that was never started."""
        if self._wan is not None and not self._power.is_off:
            with contextlib.suppress(PowerCut):
                self._wan.deliver(message)

    async def admit(self, eui64: int, link_key: bytes, duration_s: int) -> None:
        """Enter a PPMID or a bridge into the device log and let it join for `duration_s`.

        Raises DeviceLogFull for one device too many; nothing changes then.
        """
        self.device_log.enter(eui64, link_key, DeviceType.PPMID)
        await self.permit(eui64, duration_s)

    async def permit(self, eui64: int, duration_s: int) -> None:
        """Let a device of the log join for `duration_s`. Raises NodeError."""
        await self.node.permit(eui64, self.device_log[eui64].link_key, duration_s)

    async def dismiss(self, eui64: int) -> None:
        """Put a device out of the network, under the key it has had. Raises NodeError."""
        await self.node.dismiss(eui64)

    def takes(self, octets: int) -> bool:
        """Whether an image of this size fits the slot."""
        return self._store.takes(octets)

    def update(self, image: Image, devices: Sequence[int], request: int | None = None) -> None:
        """Put `image` into the one slot and offer it to `devices` (EUI-64s).

        A `request` that was taken before changes nothing. Raises ImageStoreError for an image over
        the limit; nothing is stored or offered then.
        """
        unfit = [
            eui64
            for eui64 in devices
            if eui64 in self.device_log and self.device_log[eui64].device_type is DeviceType.TYPE_2
        ]
        now = self._loop.time()
        self._act_on_ota(self.ota.offer_to(devices, image, now, request, unfit=unfit))
        self._ota_timer.settle()

    def release(self, eui64: int) -> None:
        """Tell a device that was left to wait to activate what it loaded.

        Raises OtaServerError for one that has loaded nothing.
        """
        with contextlib.suppress(PowerCut):
            self._act_on_ota(self.ota.release(eui64))

    def remove(self, eui64: int) -> None:
        """Take a device out of the device log: its update is discarded, and it is not heard any
        more. One that is not there is no error."""
        with contextlib.suppress(PowerCut):
            self._act_on_ota(self.ota.remove_device(eui64))
            self.device_log.remove(eui64)

    def send_through_tunnel(self, eui64: int, message: bytes) -> None:
        """Send `message` to a device, opening the tunnel first if need be."""
        self._send_message(eui64, message, None)

    def carry(self, eui64: int, message: bytes, handle: int) -> None:
        """The same for the DSP, which hears of `handle` what became of it."""
        self._send_message(eui64, message, handle)

    def _send_message(self, eui64: int, message: bytes, handle: int | None) -> None:
        peer = self.device_log[eui64]
        outputs = peer.client.send(message, self._loop.time(), handle)
        if any(type(output) is MessageRefused for output in outputs):
            # At once is for want of room; what is refused later found no tunnel.
            self._settle(handle, DeliveryResult.REFUSED)
        self._act_on_tunnel(eui64, outputs)
        peer.timer.settle()

    def _settle(self, handle: int | None, result: DeliveryResult) -> None:
        """What became of a message of the DSP's; others have no handle."""
        if handle is not None and self._wan is not None:
            self._wan.settle(handle, result)

    # -- what the radio brings -----------------------------------------------------------------

    def _on_node_event(self, event: NodeEvent) -> None:
        if self._power.is_off:
            return
        try:
            self._hear(event)
        except PowerCut:
            return  # whoever has the power knows

    def _hear(self, event: NodeEvent) -> None:
        if type(event) is Received:
            if event.cluster == models.OTA_UPGRADE:
                peer = self.device_log.get(event.peer)
                if peer is None:
                    return
                peer.ota_endpoint = event.source_endpoint
                peer.heard_s = now = self._loop.time()
                outputs = self.ota.receive(event.peer, event.payload, now, event.encrypted)
                if outputs:
                    self._act_on_ota(outputs)
                self._ota_timer.settle()
            elif event.cluster == models.TUNNELLING:
                self._receive_tunnelled(event)
        elif type(event) is Sent:
            delivered = event.delivered
            peer = self.device_log.get(self._sent_to.pop(event.tag, 0))
            if peer is not None and delivered:
                peer.sent += 1
            elif peer is not None:
                peer.unsent += 1
            if event.tag in self._carries:
                result = DeliveryResult.DELIVERED if delivered else DeliveryResult.UNREACHABLE
                self._settle(self._carries.pop(event.tag), result)
        elif isinstance(event, Routed):
            if event.peer in self.device_log:
                self.device_log[event.peer].hops = hops(event.overhead_bytes)
                # What its source route takes from every frame, its blocks have less (sheet, 3.1).
                octets = MOST_BLOCK_BYTES - event.overhead_bytes
                self.ota.set_max_data(event.peer, min(octets, self._parameters.max_data_size))
        elif isinstance(event, Joined):
            self._joined(event)
        elif isinstance(event, Left):
            self._act_on_ota(self.ota.remove_device(event.eui64))
        elif isinstance(event, NetworkDown):
            self._on_event(HubLost(event.reason))

    def _receive_tunnelled(self, event: Received) -> None:
        peer = self.device_log.get(event.peer)
        if peer is None or event.source_endpoint != peer.endpoint:
            return
        peer.heard_s = now = self._loop.time()
        self._act_on_tunnel(event.peer, peer.client.receive(event.payload, now, event.encrypted))
        peer.timer.settle()

    def _joined(self, joined: Joined) -> None:
        eui64 = joined.eui64
        peer = self.device_log.get(eui64)
        if peer is None:
            return  # not in the device log: it is on the network, and that is all
        self._on_event(DeviceJoined(eui64, joined.node_id))
        self._look_at(eui64, peer)

    def _look_at(self, eui64: int, peer: Peer) -> None:
        if peer.finding is None:
            peer.finding = self._loop.create_task(
                self._find_endpoints(eui64, peer), name=f"hub looks at {eui64:016X}"
            )

    async def _find_endpoints(self, eui64: int, peer: Peer) -> None:
        """Ask a device for its endpoints until it tells them, then open its tunnel. With the first
        of them it is known to be there, under the key that the radio has for it."""
        node = self.node
        asked = tunnelless = 0
        is_there = False
        try:
            while peer.endpoint is None or peer.ota_endpoint is None:
                if peer.endpoint is None:
                    peer.endpoint = await node.find_endpoint(
                        eui64, models.TUNNELLING, is_server=True
                    )
                if peer.ota_endpoint is None:
                    peer.ota_endpoint = await node.find_endpoint(
                        eui64, models.OTA_UPGRADE, is_server=False
                    )
                if not is_there and (peer.endpoint or peer.ota_endpoint):
                    is_there = True
                    await self._note_key(eui64)
                if peer.endpoint is None or peer.ota_endpoint is None:
                    asked += 1
                    tunnelless += is_there and peer.endpoint is None
                    if tunnelless == TUNNEL_ASKS and peer.device_type is DeviceType.TYPE_2:
                        self._on_event(DeviceClassified(eui64, DeviceType.TYPE_2))
                    await asyncio.sleep(FIND_RETRY_S if asked < FINDS else FIND_LATER_S)
            if not is_there:
                await self._note_key(eui64)
            if peer.device_type is DeviceType.TYPE_2:
                self.device_log.reclassify(eui64, DeviceType.PPMID)
                self._on_event(DeviceClassified(eui64, DeviceType.PPMID))
            self._open_tunnel(eui64, peer)
        except NodeError:
            return  # the radio is gone, which is told elsewhere
        except PowerCut:
            return  # whoever has the power knows

    async def _note_key(self, eui64: int) -> None:
        key = await self.node.link_key(eui64)
        if key is None or eui64 not in self.device_log:
            return
        if self.device_log.joined_under(eui64, mmo_hash(key)) and self._wan is not None:
            self._wan.log_changed()

    def _open_tunnel(self, eui64: int, peer: Peer) -> None:
        self._act_on_tunnel(eui64, peer.client.open(self._loop.time()))
        peer.timer.settle()

    # -- what the cores want done --------------------------------------------------------------

    def _act_on_ota(self, outputs: Sequence[Any]) -> None:
        for output in outputs:
            if type(output) is ota_server.SendZcl:
                peer = self.device_log.get(output.eui64)
                if peer is None:
                    continue  # it was in the log before a restart, and asks when it is in it again
                endpoint = peer.ota_endpoint or models.DEVICE_ENDPOINT
                self._send(
                    output.eui64,
                    models.OTA_UPGRADE,
                    models.HUB_ENDPOINT,
                    endpoint,
                    output.payload,
                )
            else:
                self._on_event(output)
                if isinstance(output, QuerySeen):
                    self._look_at_version(output)
                elif isinstance(output, TransferOutcome) and self._wan is not None:
                    self._wan.transfer_ended(output)
                    self.ota.reported(output.number)

    def _look_at_version(self, seen: QuerySeen) -> None:
        """A device that runs another version has restarted: its tunnel went with the old one. One
        that gave no answer when a tunnel was asked for is there again."""
        peer = self.device_log[seen.eui64]
        has_changed = peer.version is not None and peer.version != seen.current_version
        is_found = peer.finding is not None and peer.finding.done()
        is_given_up = is_found and peer.client.state is tunnel.State.CLOSED
        if is_given_up or (has_changed and not peer.has_new_tunnel):
            self._open_tunnel(seen.eui64, peer)
        peer.version = seen.current_version
        peer.has_new_tunnel = False

    def _act_on_tunnel(self, eui64: int, outputs: Sequence[Any]) -> None:
        peer = self.device_log[eui64]
        for output in outputs:
            if type(output) is tunnel.SendZcl:
                if peer.endpoint is not None:
                    self._send(
                        eui64,
                        models.TUNNELLING,
                        models.HUB_TUNNEL_ENDPOINT,
                        peer.endpoint,
                        output.payload,
                        output.handle,
                    )
                continue
            self._on_event(DeviceTunnel(eui64, output))
            match output:
                case MessageReceived() if self._wan is not None:
                    self._wan.forward(eui64, output.data)
                case MessageRefused():
                    self._settle(output.handle, DeliveryResult.UNREACHABLE)
                case TunnelDown(reason=tunnel.CLOSED_BY_DEVICE):
                    # It was restarted, or wants another: a device that is always on has a tunnel.
                    peer.has_new_tunnel = True
                    self._open_tunnel(eui64, peer)

    def _discarded(self, eui64: int, discarded: gbcs_half.FrameDiscarded) -> None:
        self._on_event(FrameDiscarded(eui64, discarded.reason, discarded.detail))

    def _send(
        self,
        eui64: int,
        cluster: int,
        source_endpoint: int,
        endpoint: int,
        payload: bytes,
        handle: int | None = None,
    ) -> None:
        try:
            tag = self.node.send(Frame(eui64, cluster, source_endpoint, endpoint, payload))
        except (NodeError, QueueFull) as error:
            # The device asks again, or the core's own timer does; that it had to is told.
            self._on_event(ota_server.Anomaly(eui64, "not sent", str(error)))
            full = isinstance(error, QueueFull)
            self._settle(handle, DeliveryResult.REFUSED if full else DeliveryResult.UNREACHABLE)
            return
        self._sent_to[tag] = eui64
        if handle is not None:
            self._carries[tag] = handle
