"""An ear on what hub and devices say to each other, and a hand on the hub's part of it.

Source: ZigBee OTA Upgrade cluster 095264r23, 6.10 (commands). It is at the hub's node: what a
device sends is heard as the hub's stick has opened it, what the hub sends as it is before it is
sealed. So it works on any radio, and nothing is read from a device.

    hand        does
    ----------  ----------------------------------------------------------------------------
    `tamper`    the hub says something else than it was about to
    `stand_in`  what a device asks of the OTA server is answered in the hub's place
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from emulator.devices.host_messages import OnHostMessage
from emulator.devices.models import OTA_UPGRADE
from emulator.devices.node import (
    SMART_ENERGY_PROFILE,
    Frame,
    NetworkSettings,
    NodeError,
    NodeEvent,
    OnEvent,
    QueueFull,
    Received,
    SmartEnergyEndpoint,
)
from emulator.devices.zigpy_node import ZigpyNode
from emulator.zigbee import ota, zcl

MAX_HEARD = 200_000  # a few whole images; then the older half goes
MAX_LAST = 60
ZDO_PROFILE = 0x0000

Said = ota.OtaCommand | zcl.DefaultResponse


class Heard(NamedTuple):
    """One command of the OTA cluster."""

    time_s: float
    from_device: bool
    body: Said
    encrypted: bool
    eui64: int = 0  # the device's, whoever speaks


class Message(NamedTuple):
    """One message of any cluster, as it was."""

    time_s: float
    eui64: int
    from_device: bool
    cluster: int
    payload: bytes
    encrypted: bool


Tamper = Callable[[ota.OtaCommand], ota.OtaCommand | None]
"""What the hub says instead of this command of its own; None for the same."""

StandIn = Callable[[int, ota.OtaCommand], ota.OtaCommand | None]
"""What a device is told that asks for this; None leaves the question to the hub."""


class Tap:
    """`heard` grows as they speak; `tamper` and `stand_in` change what the hub says. `on_stray` is
    told of what a device says to nobody that is there."""

    def __init__(
        self,
        on_heard: Callable[[], object],
        on_stray: Callable[[int, str], object] = lambda _eui64, _what: None,
    ) -> None:
        self.heard: list[Heard] = []
        self.last: deque[Message] = deque(maxlen=MAX_LAST)
        self.unreadable: list[bytes] = []  # of devices
        self.tamper: Tamper = lambda _command: None
        self.stand_in: StandIn = lambda _eui64, _command: None
        self.on_stray = on_stray
        self._on_heard = on_heard
        self._loop = asyncio.get_running_loop()

    def device_says(self, event: Received) -> bytes | None:
        """Take it down; the payload of an answer when the hub is not to hear it."""
        self._keep(event.peer, event.cluster, event.payload, event.encrypted, from_device=True)
        if event.cluster != OTA_UPGRADE:
            return None
        try:
            frame = zcl.parse(event.payload)
            body = _said(frame)
        except zcl.ZclError:
            if len(self.unreadable) < MAX_LAST:
                self.unreadable.append(event.payload)
            return None
        self._note(body, event.peer, event.encrypted, from_device=True)
        if body is None or isinstance(body, zcl.DefaultResponse) or not event.encrypted:
            return None
        other = self.stand_in(event.peer, body)
        if other is None:
            return None
        answer = zcl.ZclFrame(zcl.RESPONSE, frame.tsn, _ANSWERS[type(body)], ota.build(other))
        return zcl.build(answer)

    def hub_says(self, frame: Frame) -> Frame:
        """The frame that leaves in the place of this one."""
        if frame.cluster == OTA_UPGRADE:
            read = zcl.parse(frame.payload)
            body = _said(read)
            if body is not None and not isinstance(body, zcl.DefaultResponse):
                other = self.tamper(body)
                if other is not None:
                    body = other
                    payload = zcl.build(read._replace(payload=ota.build(other)))
                    frame = frame._replace(payload=payload)
            self._note(body, frame.peer, frame.encrypted, from_device=False)
        self._keep(frame.peer, frame.cluster, frame.payload, frame.encrypted, from_device=False)
        return frame

    def _keep(
        self, eui64: int, cluster: int, payload: bytes, encrypted: bool, *, from_device: bool
    ) -> None:
        now = self._loop.time()
        self.last.append(Message(now, eui64, from_device, cluster, payload, encrypted))

    def _note(self, body: Said | None, eui64: int, encrypted: bool, *, from_device: bool) -> None:
        if body is None:
            return
        if len(self.heard) >= MAX_HEARD:
            del self.heard[: MAX_HEARD // 2]
        self.heard.append(Heard(self._loop.time(), from_device, body, encrypted, eui64))
        self._on_heard()


class TappedNode(ZigpyNode):
    """The hub's node with a tap on it."""

    def __init__(
        self,
        url: str,
        endpoints: tuple[SmartEnergyEndpoint, ...],
        on_event: OnEvent,
        *,
        tap: Tap,
        take_over: bool = False,
        on_host_message: OnHostMessage | None = None,
    ) -> None:
        super().__init__(
            url, endpoints, self._event, take_over=take_over, on_host_message=on_host_message
        )
        self._upwards = on_event
        self._tap = tap

    async def form(self, settings: NetworkSettings, *, anew: bool = False) -> None:
        await super().form(settings, anew=anew)
        self.ezsp.add_callback(self._aside)

    def _aside(self, name: str, arguments: list[Any]) -> None:
        """What is of another profile than the hub's is zigpy's, who has no use for it either."""
        if name != "incomingMessageHandler":
            return
        header, sender = arguments[1], arguments[4 if self.ezsp.ezsp_version < 14 else 2]
        nwk = int(getattr(sender, "sender_short_id", sender))
        eui64 = self._eui64_of.get(nwk)
        if eui64 is not None and header.profileId not in (ZDO_PROFILE, SMART_ENERGY_PROFILE):
            what = f"cluster {header.clusterId:04X} of profile {header.profileId:04X}"
            self._tap.on_stray(eui64, what)

    def _event(self, event: NodeEvent) -> None:
        if type(event) is Received:
            answer = self._tap.device_says(event)
            if answer is not None:
                ends = event.destination_endpoint, event.source_endpoint
                try:
                    self.send(Frame(event.peer, event.cluster, *ends, answer))
                except (NodeError, QueueFull):
                    return  # a device that heard nothing asks again
                return
        self._upwards(event)

    def send(self, frame: Frame) -> int:
        return super().send(self._tap.hub_says(frame))


_ANSWERS: dict[type[object], int] = {
    ota.QueryNextImageRequest: ota.QUERY_NEXT_IMAGE_RESPONSE,
    ota.ImageBlockRequest: ota.IMAGE_BLOCK_RESPONSE,
    ota.UpgradeEndRequest: ota.UPGRADE_END_RESPONSE,
}
_FROM_CLIENT: dict[int, Callable[[bytes], ota.OtaCommand]] = {
    ota.QUERY_NEXT_IMAGE_REQUEST: ota.parse_query_next_image_request,
    ota.IMAGE_BLOCK_REQUEST: ota.parse_image_block_request,
    ota.UPGRADE_END_REQUEST: ota.parse_upgrade_end_request,
}
_FROM_SERVER: dict[int, Callable[[bytes], ota.OtaCommand]] = {
    ota.IMAGE_NOTIFY: ota.parse_image_notify,
    ota.QUERY_NEXT_IMAGE_RESPONSE: ota.parse_query_next_image_response,
    ota.IMAGE_BLOCK_RESPONSE: ota.parse_image_block_response,
    ota.UPGRADE_END_RESPONSE: ota.parse_upgrade_end_response,
}


def _said(frame: zcl.ZclFrame) -> Said | None:
    if frame.is_default_response:
        return zcl.parse_default_response(frame.payload)
    if not frame.is_cluster_command:
        return None
    parsers = _FROM_SERVER if frame.is_from_server else _FROM_CLIENT
    parse = parsers.get(frame.command)
    return None if parse is None else parse(frame.payload)
