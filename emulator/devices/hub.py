"""The Communications Hub on the HAN: it forms, lets devices in, opens tunnels, serves firmware.

Source: GBCS 10.2.2 (tunnels), 11.2 (firmware on the HAN); MP170 (one image block, newer wins); the
cores are `ota_server`, `image_store` and `tunnel`, this is the shell that gives them a radio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from emulator.devices import models, ota_server, tunnel
from emulator.devices.device import MakeNode
from emulator.devices.image_store import Image, ImageStore
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
)
from emulator.devices.ota_server import OtaServer, OtaServerParameters, QuerySeen
from emulator.devices.tunnel import TunnelClient
from emulator.devices.wakeup import Wakeup

FIND_RETRY_S = 3.0
MAX_DEVICES = 15  # entries of a device log: 17 devices a premises less CHF and GPF


class DeviceLogFull(NodeError):
    """The hub knows as many devices as it can; one has to be removed first."""


@dataclass(frozen=True, slots=True)
class HubLost:
    """The hub cannot go on, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeviceJoined:
    eui64: int
    node_id: int


@dataclass(frozen=True, slots=True)
class DeviceTunnel:
    """Something happened in the tunnel to one device."""

    eui64: int
    output: tunnel.Output


HubEvent = ota_server.Output | HubLost | DeviceJoined | DeviceTunnel


class _Peer:
    """One device of the device log, as the hub knows it while it runs."""

    __slots__ = ("client", "endpoint", "finding", "ota_endpoint", "timer", "version")

    def __init__(self, client: TunnelClient, timer: Wakeup) -> None:
        self.client = client
        self.timer = timer
        self.endpoint: int | None = None  # of its tunnelling server
        self.ota_endpoint: int | None = None
        self.finding: asyncio.Task[None] | None = None
        self.version: int | None = None


class Hub:
    """One hub. `on_event` is called with everything that happens in it."""

    def __init__(
        self,
        radio_url: str,
        make_node: MakeNode,
        on_event: Callable[[HubEvent], object],
        *,
        image_limit_bytes: int,
        parameters: OtaServerParameters | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_event = on_event
        self.node = make_node(radio_url, models.HUB_ENDPOINTS, self._on_node_event)
        self.ota = OtaServer(ImageStore(image_limit_bytes), parameters)
        self._ota_timer = Wakeup(self._loop, self.ota, self._act_on_ota)
        self._peers: dict[int, _Peer] = {}

    async def start(self, settings: NetworkSettings) -> None:
        """Reach the radio and form the network."""
        await self.node.open()
        await self.node.form(settings)

    async def stop(self) -> None:
        """Let go of the radio."""
        self._ota_timer.stop()
        for peer in self._peers.values():
            peer.timer.stop()
            if peer.finding is not None:
                peer.finding.cancel()
        await self.node.close()

    async def admit(self, eui64: int, link_key: bytes, duration_s: int) -> None:
        """Enter a device into the device log and let it join for `duration_s`.

        Raises DeviceLogFull for one device too many; nothing changes then.
        """
        if eui64 not in self._peers:
            if len(self._peers) >= MAX_DEVICES:
                raise DeviceLogFull(
                    f"the device log of the hub holds {MAX_DEVICES} devices, "
                    f"{eui64:016X} would be one more"
                )
            client = TunnelClient()
            act = partial(self._act_on_tunnel, eui64)
            self._peers[eui64] = _Peer(client, Wakeup(self._loop, client, act))
        await self.node.permit(eui64, link_key, duration_s)

    def update(self, image: Image, devices: Sequence[int]) -> None:
        """Put `image` into the one slot and offer it to `devices` (EUI-64s).

        Raises ImageStoreError for an image over the limit; nothing is stored or offered then.
        """
        for eui64 in devices:
            self._act_on_ota(self.ota.offer(eui64, image, self._loop.time()))
        self._ota_timer.settle()

    def send_through_tunnel(self, eui64: int, message: bytes) -> None:
        """Send `message` to a device, opening the tunnel first if need be."""
        peer = self._peers[eui64]
        self._act_on_tunnel(eui64, peer.client.send(message, self._loop.time()))
        peer.timer.settle()

    # -- what the radio brings -----------------------------------------------------------------

    def _on_node_event(self, event: NodeEvent) -> None:
        if type(event) is Received:
            if event.cluster == models.OTA_UPGRADE:
                peer = self._peers.get(event.peer)
                if peer is None:
                    return
                peer.ota_endpoint = event.source_endpoint
                now = self._loop.time()
                outputs = self.ota.receive(event.peer, event.payload, now, event.encrypted)
                if outputs:
                    self._act_on_ota(outputs)
                self._ota_timer.settle()
            elif event.cluster == models.TUNNELLING:
                self._receive_tunnelled(event)
        elif isinstance(event, Joined):
            self._joined(event)
        elif isinstance(event, Left):
            self._act_on_ota(self.ota.remove_device(event.eui64))
        elif isinstance(event, NetworkDown):
            self._on_event(HubLost(event.reason))

    def _receive_tunnelled(self, event: Received) -> None:
        peer = self._peers.get(event.peer)
        if peer is None or event.source_endpoint != peer.endpoint:
            return
        now = self._loop.time()
        self._act_on_tunnel(event.peer, peer.client.receive(event.payload, now, event.encrypted))
        peer.timer.settle()

    def _joined(self, joined: Joined) -> None:
        eui64 = joined.eui64
        peer = self._peers.get(eui64)
        if peer is None:
            return  # not in the device log: it is on the network, and that is all
        self._on_event(DeviceJoined(eui64, joined.node_id))
        if peer.finding is None:
            peer.finding = self._loop.create_task(
                self._find_endpoints(eui64, peer), name=f"hub looks at {eui64:016X}"
            )

    async def _find_endpoints(self, eui64: int, peer: _Peer) -> None:
        """Ask a device for its endpoints until it tells them, then open its tunnel."""
        node = self.node
        while peer.endpoint is None or peer.ota_endpoint is None:
            try:
                if peer.endpoint is None:
                    peer.endpoint = await node.find_endpoint(
                        eui64, models.TUNNELLING, is_server=True
                    )
                if peer.ota_endpoint is None:
                    peer.ota_endpoint = await node.find_endpoint(
                        eui64, models.OTA_UPGRADE, is_server=False
                    )
            except NodeError:
                return  # the radio is gone, which is told elsewhere
            if peer.endpoint is None or peer.ota_endpoint is None:
                await asyncio.sleep(FIND_RETRY_S)
        self._open_tunnel(eui64, peer)

    def _open_tunnel(self, eui64: int, peer: _Peer) -> None:
        self._act_on_tunnel(eui64, peer.client.open(self._loop.time()))
        peer.timer.settle()

    # -- what the cores want done --------------------------------------------------------------

    def _act_on_ota(self, outputs: Sequence[Any]) -> None:
        for output in outputs:
            if type(output) is ota_server.SendZcl:
                peer = self._peers[output.eui64]
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

    def _look_at_version(self, seen: QuerySeen) -> None:
        """A device that runs another version has restarted: its tunnel went with the old one."""
        peer = self._peers[seen.eui64]
        if peer.version is not None and peer.version != seen.current_version:
            self._open_tunnel(seen.eui64, peer)
        peer.version = seen.current_version

    def _act_on_tunnel(self, eui64: int, outputs: Sequence[Any]) -> None:
        for output in outputs:
            if type(output) is tunnel.SendZcl:
                endpoint = self._peers[eui64].endpoint
                if endpoint is not None:
                    self._send(
                        eui64,
                        models.TUNNELLING,
                        models.HUB_TUNNEL_ENDPOINT,
                        endpoint,
                        output.payload,
                    )
            else:
                self._on_event(DeviceTunnel(eui64, output))

    def _send(
        self, eui64: int, cluster: int, source_endpoint: int, endpoint: int, payload: bytes
    ) -> None:
        try:
            self.node.send(Frame(eui64, cluster, source_endpoint, endpoint, payload))
        except (NodeError, QueueFull) as error:
            # The device asks again, or the core's own timer does; that it had to is told.
            self._on_event(ota_server.Anomaly(eui64, "not sent", str(error)))
