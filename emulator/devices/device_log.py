"""A hub's device log, and what the hub knows of each device in it while it runs.

Source: GBCS, CHF device log; its size is that of a premises (17 devices) less CHF and GPF.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from emulator.devices.node import NodeError
from emulator.devices.nonvolatile import STEADY, Power, Record
from emulator.devices.tunnel import TunnelClient
from emulator.devices.wakeup import Wakeup
from gbcs.wan import DeviceType

MAX_DEVICES = 15


class DeviceLogFull(NodeError):
    """The hub knows as many devices as it can; one has to be removed first."""


class Peer:
    """One device. Its type and its key are those it was entered with."""

    __slots__ = (
        "client",
        "device_type",
        "endpoint",
        "finding",
        "has_new_tunnel",
        "link_key",
        "ota_endpoint",
        "timer",
        "version",
    )

    def __init__(
        self, client: TunnelClient, timer: Wakeup, link_key: bytes, device_type: DeviceType
    ) -> None:
        self.client = client
        self.timer = timer
        self.link_key = link_key
        self.device_type = device_type
        self.endpoint: int | None = None  # of its tunnelling server
        self.ota_endpoint: int | None = None
        self.finding: asyncio.Task[None] | None = None
        self.version: int | None = None
        self.has_new_tunnel = False  # asked for after the device gave the old one up

    def stop(self) -> None:
        """It is not woken or looked for any more."""
        self.timer.stop()
        if self.finding is not None:
            self.finding.cancel()


class DeviceLog(dict[int, Peer]):
    """The devices by EUI-64. `act(eui64, outputs)` is called with what the tunnel to one of them
    wants done. Who is entered, with which key and type, is in `record` before it counts."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        act: Callable[[int, Any], object],
        record: Record | None = None,
        power: Power = STEADY,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._act = act
        self._record = Record() if record is None else record
        self._power = power
        for eui64, key, device_type in json.loads(self._record.read() or b"[]"):
            self._add(eui64, bytes.fromhex(key), DeviceType(device_type))

    @property
    def is_full(self) -> bool:
        return len(self) >= MAX_DEVICES

    def enter(self, eui64: int, link_key: bytes, device_type: DeviceType) -> None:
        """Enter a device; one that is there keeps its key and its type.

        Raises DeviceLogFull for one device too many; nothing changes then.
        """
        if eui64 in self:
            return
        if self.is_full:
            raise DeviceLogFull(
                f"the device log of the hub holds {MAX_DEVICES} devices, "
                f"{eui64:016X} would be one more"
            )
        self._keep([*self._entries(), (eui64, link_key.hex(), device_type.value)])
        self._add(eui64, link_key, device_type)

    def remove(self, eui64: int) -> None:
        """Take a device out, if it is there."""
        if eui64 in self:
            self._keep([entry for entry in self._entries() if entry[0] != eui64])
            self.pop(eui64).stop()

    def _entries(self) -> list[tuple[int, str, int]]:
        return [(at, peer.link_key.hex(), peer.device_type.value) for at, peer in self.items()]

    def _keep(self, entries: list[tuple[int, str, int]]) -> None:
        self._record.write(self._power, "device log", json.dumps(entries).encode())

    def _add(self, eui64: int, link_key: bytes, device_type: DeviceType) -> None:
        client = TunnelClient()
        timer = Wakeup(self._loop, client, lambda outputs: self._act(eui64, outputs))
        self[eui64] = Peer(client, timer, link_key, device_type)

    def stop(self) -> None:
        """Nobody is woken or looked for any more."""
        for peer in self.values():
            peer.stop()
