"""A hub's device log, and what the hub knows of each device in it while it runs.

Source: GBCS, CHF device log and historic log (CCS01 to CCS03, CCS07); its size is that of a
premises (17 devices) less CHF and GPF, and so is the historic log's. Smart Energy profile 07-5356,
5.4.2.2.3: of a device another hub gets the hash of its link key, and nothing else.

    event            the log                                   the historic log
    ---------------  ----------------------------------------  ---------------------------------
    enter            one more, no hash                         -
    joined under a   its hash is that key's                    -
    key
    remove           one less                                  one more, with the hash it had;
                                                               the oldest goes from 15
    restore          the devices of another hub, their hashes  -
                     for keys, all Type 2 until their
                     clusters say more
    reclassify       its type                                  -

Each is one write of the record, and all but the last are numbered in `changes`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from emulator.devices.node import NodeError
from emulator.devices.nonvolatile import STEADY, Power, Record
from emulator.devices.tunnel import TunnelClient
from emulator.devices.wakeup import Wakeup
from gbcs.device_log import LinkKeyHash
from gbcs.wan import DeviceType

MAX_DEVICES = 15
MAX_HISTORIC = 15


class DeviceLogFull(NodeError):
    """The hub knows as many devices as it can; one has to be removed first."""


class Peer:
    """One device. Its key is the one it was entered with, and `hashed_key` the hash of the one the
    radio had for it when it was last seen to be there."""

    __slots__ = (
        "client",
        "device_type",
        "endpoint",
        "finding",
        "has_new_tunnel",
        "hashed_key",
        "heard_s",
        "hops",
        "link_key",
        "ota_endpoint",
        "sent",
        "timer",
        "unsent",
        "version",
    )

    def __init__(
        self,
        client: TunnelClient,
        timer: Wakeup,
        link_key: bytes,
        device_type: DeviceType,
        hashed_key: bytes = b"",
    ) -> None:
        self.client = client
        self.timer = timer
        self.link_key = link_key
        self.device_type = device_type
        self.hashed_key = hashed_key
        self.heard_s: float | None = None  # loop time of what it said last
        self.hops = 1
        self.sent = 0  # frames it acknowledged
        self.unsent = 0  # and did not
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
    wants done. What of it outlives a restart is in `record` before it counts.

    `network` is the extended PAN id that was restored with the log of another hub, None for a hub
    that took nobody's place.
    """

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
        held = json.loads(self._record.read() or b"{}")
        for eui64, key, device_type, hashed_key in held.get("devices", ()):
            device = DeviceType(device_type), bytes.fromhex(hashed_key)
            self._add(eui64, bytes.fromhex(key), *device)
        self.historic = [
            LinkKeyHash(eui64, bytes.fromhex(hashed_key))
            for eui64, hashed_key in held.get("historic", ())
        ]
        self.network: int | None = held.get("network")
        self.changes: int = held.get("changes", 0)

    @property
    def is_full(self) -> bool:
        return len(self) >= MAX_DEVICES

    def hashes(self) -> tuple[LinkKeyHash, ...]:
        """What another hub would need of each device."""
        return tuple(LinkKeyHash(eui64, peer.hashed_key) for eui64, peer in self.items())

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
        self._keep([*self._entries(), _entry(eui64, link_key, device_type)])
        self._add(eui64, link_key, device_type)

    def remove(self, eui64: int) -> None:
        """Take a device out, if it is there."""
        if eui64 not in self:
            return
        left = [one for one in self.historic if one.device != eui64]
        left.append(LinkKeyHash(eui64, self[eui64].hashed_key))
        historic = left[-MAX_HISTORIC:]
        entries = [entry for entry in self._entries() if entry[0] != eui64]
        self._keep(entries, historic=historic)
        self.historic = historic
        self.pop(eui64).stop()

    def joined_under(self, eui64: int, hashed_key: bytes) -> bool:
        """A device is there under the key with this hash; whether that is news."""
        if self[eui64].hashed_key == hashed_key:
            return False
        self._keep(self._entries(eui64, hashed_key=hashed_key))
        self[eui64].hashed_key = hashed_key
        return True

    def reclassify(self, eui64: int, device_type: DeviceType) -> None:
        """Its clusters say what it is. That is in no message of GBCS, so it is no change."""
        self._keep(self._entries(eui64, device_type=device_type), counts=False)
        self[eui64].device_type = device_type

    def can_restore(self, extended_pan_id: int, devices: Iterable[LinkKeyHash]) -> bool:
        """Whether the log of that network may take the place of this one: no device of this one
        would be lost, and it is not that of a network taken over from yet another hub."""
        wanted = [one.device for one in devices]
        return (
            len(wanted) <= MAX_DEVICES
            and len(set(wanted)) == len(wanted)
            and self.keys() <= set(wanted)
            and (not self or self.network == extended_pan_id)
        )

    def restore(self, extended_pan_id: int, devices: Iterable[LinkKeyHash]) -> None:
        """Take the log of another hub over; who is in this one stays as it is.

        One whose key that hub did not know can be let in by CCS01 alone: it is left out.
        """
        new = [one for one in devices if one.device not in self and one.hashed_key]
        kind = DeviceType.TYPE_2
        added = [_entry(one.device, one.hashed_key, kind, one.hashed_key) for one in new]
        self._keep([*self._entries(), *added], network=extended_pan_id)
        self.network = extended_pan_id
        for one in new:
            self._add(one.device, one.hashed_key, kind, one.hashed_key)

    def _entries(
        self,
        changing: int | None = None,
        *,
        device_type: DeviceType | None = None,
        hashed_key: bytes | None = None,
    ) -> list[_Entry]:
        """All entries, one with another type or hash."""
        entries = []
        for eui64, peer in self.items():
            kind, hashed = peer.device_type, peer.hashed_key
            if eui64 == changing:
                kind = kind if device_type is None else device_type
                hashed = hashed if hashed_key is None else hashed_key
            entries.append(_entry(eui64, peer.link_key, kind, hashed))
        return entries

    def _keep(
        self,
        entries: list[_Entry],
        *,
        historic: list[LinkKeyHash] | None = None,
        network: int | None = None,
        counts: bool = True,
    ) -> None:
        listed = self.historic if historic is None else historic
        changes = self.changes + counts
        fields = {
            "devices": entries,
            "historic": [(one.device, one.hashed_key.hex()) for one in listed],
            "network": self.network if network is None else network,
            "changes": changes,
        }
        self._record.write(self._power, "device log", json.dumps(fields).encode())
        self.changes = changes

    def _add(
        self, eui64: int, link_key: bytes, device_type: DeviceType, hashed_key: bytes = b""
    ) -> None:
        client = TunnelClient()
        timer = Wakeup(self._loop, client, lambda outputs: self._act(eui64, outputs))
        self[eui64] = Peer(client, timer, link_key, device_type, hashed_key)

    def stop(self) -> None:
        """Nobody is woken or looked for any more."""
        for peer in self.values():
            peer.stop()


_Entry = tuple[int, str, int, str]


def _entry(eui64: int, link_key: bytes, device_type: DeviceType, hashed_key: bytes = b"") -> _Entry:
    return eui64, link_key.hex(), device_type.value, hashed_key.hex()
