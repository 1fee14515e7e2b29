"""An ear on what hub and device say to each other on the OTA cluster, and a hand on the hub's part.

It is at the hub's node: what the device sends is heard as the hub's stick has opened it, what the
hub sends as it is before it is sealed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from emulator.devices.models import OTA_UPGRADE
from emulator.devices.node import Frame, NodeEvent, OnEvent, Received, SmartEnergyEndpoint
from emulator.devices.zigpy_node import ZigpyNode
from emulator.zigbee import ota, zcl

Said = ota.OtaCommand | zcl.DefaultResponse


class Heard(NamedTuple):
    """One command."""

    time_s: float
    from_device: bool
    body: Said
    encrypted: bool


Tamper = Callable[[ota.OtaCommand], ota.OtaCommand | None]
"""What the hub says instead of this command of its own; None for the same."""


class Tap:
    """`heard` grows as they speak; `tamper` changes what the hub says from then on."""

    def __init__(self, on_heard: Callable[[], object]) -> None:
        self.heard: list[Heard] = []
        self.unreadable: list[bytes] = []  # of the device's
        self.tamper: Tamper = lambda _command: None
        self._on_heard = on_heard
        self._loop = asyncio.get_running_loop()

    def device_says(self, event: Received) -> None:
        try:
            body = _said(zcl.parse(event.payload))
        except zcl.ZclError:
            self.unreadable.append(event.payload)
        else:
            self._note(body, event.encrypted, from_device=True)

    def hub_says(self, frame: Frame) -> Frame:
        """The frame that leaves in the place of this one."""
        read = zcl.parse(frame.payload)
        body = _said(read)
        if body is not None and not isinstance(body, zcl.DefaultResponse):
            other = self.tamper(body)
            if other is not None:
                body = other
                payload = zcl.build(read._replace(payload=ota.build(other)))
                frame = frame._replace(payload=payload)
        self._note(body, frame.encrypted, from_device=False)
        return frame

    def _note(self, body: Said | None, encrypted: bool, *, from_device: bool) -> None:
        if body is not None:
            self.heard.append(Heard(self._loop.time(), from_device, body, encrypted))
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
    ) -> None:
        super().__init__(url, endpoints, self._event, take_over=True)
        self._upwards = on_event
        self._tap = tap

    def _event(self, event: NodeEvent) -> None:
        if type(event) is Received and event.cluster == OTA_UPGRADE:
            self._tap.device_says(event)
        self._upwards(event)

    def send(self, frame: Frame) -> int:
        return super().send(self._tap.hub_says(frame) if frame.cluster == OTA_UPGRADE else frame)


_FROM_CLIENT: dict[int, Callable[[bytes], ota.OtaCommand]] = {
    1: ota.parse_query_next_image_request,
    3: ota.parse_image_block_request,
    6: ota.parse_upgrade_end_request,
}
_FROM_SERVER: dict[int, Callable[[bytes], ota.OtaCommand]] = {
    0: ota.parse_image_notify,
    2: ota.parse_query_next_image_response,
    5: ota.parse_image_block_response,
    7: ota.parse_upgrade_end_response,
}


def _said(frame: zcl.ZclFrame) -> Said | None:
    if frame.is_default_response:
        return zcl.parse_default_response(frame.payload)
    if not frame.is_cluster_command:
        return None
    parsers = _FROM_SERVER if frame.is_from_server else _FROM_CLIENT
    parse = parsers.get(frame.command)
    return None if parse is None else parse(frame.payload)
