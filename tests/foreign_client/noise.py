"""What no device should say, said again and again beside everything else: the hostile defects.

Source: ours; which octets are right is said by ZigBee Cluster Library 07-5123, 2.4, the OTA Upgrade
cluster 095264, 6.10, Smart Energy 1.4, annex D.6, GBCS 7.2 and ZigBee 05-3474, 2.4.3.1.11.

| defect | says |
|---|---|
| `sends-broken-frames` | ZCL that is cut short, of no command, or a server's; 100 octets of 0xFF |
| `asks-for-absurd-blocks` | offsets behind the end, none or 255 octets, another image, cut short |
| `abuses-tunnel` | data for tunnels nobody opened, oversized, cut short; answers nobody asked for |
| `sends-broken-gbcs` | through the open tunnel: no frame, half an alert, one of somebody else |
| `floods-queries` | queries for an image, one behind the other |
| `babbles-beside` | other profiles, clusters and endpoints, ZDO nonsense, announcements of itself |
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from foreign_client import gbcs, ota, zcl
from foreign_client.image import Identity
from foreign_client.server import NODE
from foreign_client.stick import BASIC, OTA, SMART_ENERGY, TUNNELLING, ZDO, Stick
from foreign_client.tunnel import CLOSE, CLOSURE, ERROR, RESPONSE, TRANSFER_FROM_SERVER, Tunnel

_BETWEEN_S = 0.3
_LOOKS_AGAIN_S = 0.2
_HOME_AUTOMATION, _NOBODYS_ENDPOINT = 0x0104, 77
_ANNOUNCE, _MATCH_REQUEST, _NODE_DESCRIPTOR, _NO_ZDO = 0x0013, 0x0006, 0x0002, 0x7FFF
_FAR = 0xFFFFFFFF


class Said(NamedTuple):
    """One message for the hub. Without an endpoint it goes to that of its tunnel's client."""

    cluster: int
    payload: bytes
    endpoint: int | None = None
    profile: int = SMART_ENERGY
    protected: bool = True


class Noise:
    """`run` speaks as long as the device lives, once the hub has opened a tunnel."""

    def __init__(
        self,
        stick: Stick,
        tunnel: Tunnel,
        identity: Identity,
        version: Callable[[], int],
        keys: gbcs.Keys,
        defects: frozenset[str],
    ) -> None:
        self._stick = stick
        self._tunnel = tunnel
        self._identity = identity
        self._version = version
        self._keys = keys
        self._say = {
            "sends-broken-frames": self._broken_frames,
            "asks-for-absurd-blocks": self._absurd_blocks,
            "abuses-tunnel": self._tunnel_abuse,
            "sends-broken-gbcs": self._broken_gbcs,
            "floods-queries": self._queries,
            "babbles-beside": self._babble,
        }
        self._wanted = [name for name in self._say if name in defects]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in self._wanted:
                tasks.create_task(self._repeat(name))

    async def _repeat(self, name: str) -> None:
        while True:
            for said in self._say[name]():
                await self._send(said)
                await asyncio.sleep(0 if name == "floods-queries" else _BETWEEN_S)

    async def _send(self, said: Said) -> None:
        while (peer := self._tunnel.peer) is None:
            await asyncio.sleep(_LOOKS_AGAIN_S)
        endpoint = peer[1] if said.endpoint is None else said.endpoint
        await self._stick.send(
            NODE,
            said.cluster,
            said.payload,
            endpoint,
            profile=said.profile,
            protected=said.protected,
            acknowledged=False,
        )

    # -- by the defect ---------------------------------------------------------------------------

    def _broken_frames(self) -> Iterator[Said]:
        for cluster in (OTA, TUNNELLING, BASIC, 0x0701):
            for octets in (
                b"",
                b"\x01",
                b"\x01\x00",
                b"\x01\x00\x7e",  # no command of any cluster
                b"\x05\x5f\x11\x00\x01",  # a manufacturer's, cut short
                b"\x03\x00\x00",  # a frame type that is reserved
                b"\x09\x00\x02\x00",  # a server's, which this is not
                b"\x18\x00\x01\x00",  # an answer to what nobody has read
                b"\xff" * 70,
            ):
                yield Said(cluster, octets)
        yield Said(OTA, _command(ota.QUERY, b"\x01\x1d"))
        yield Said(OTA, _command(ota.END, b"\x00\x1d"))
        yield Said(OTA, b"\xff" * 100)

    def _absurd_blocks(self) -> Iterator[Said]:
        mine, running = self._identity, self._version()
        for version in (running, running + 0x100, _FAR):
            ids = struct.pack("<HHI", mine.manufacturer, mine.image_type, version)
            for offset, asked in ((_FAR, 48), (0x00FFFFFF, 48), (0, 0), (0, 255), (_FAR, 255)):
                body = ids + struct.pack("<IB", offset, asked)
                yield Said(OTA, _command(ota.BLOCK, b"\0" + body))
                yield Said(OTA, _command(ota.BLOCK, b"\xff" + body))
        yield Said(OTA, _command(ota.BLOCK))
        yield Said(OTA, _command(ota.BLOCK, b"\0\x1d"))

    def _tunnel_abuse(self) -> Iterator[Said]:
        for number in (0, 0x4242, 0xFFFF):
            head = struct.pack("<H", number)
            for command, body in (
                (TRANSFER_FROM_SERVER, b"\xdf" * 8),
                (TRANSFER_FROM_SERVER, b"\xdf" * 1600),
                (ERROR, b"\0"),
                (CLOSURE, b""),
                (RESPONSE, struct.pack("<BH", 0, 1500)),
            ):
                yield Said(TUNNELLING, _answer(command, head + body))
            yield Said(TUNNELLING, _command(CLOSE, head))  # as if it were the client
        for octets in (b"", b"\1"):
            yield Said(TUNNELLING, _answer(TRANSFER_FROM_SERVER, octets))

    def _broken_gbcs(self) -> Iterator[Said]:
        keys = self._keys
        whole = gbcs.signed(
            keys,
            gbcs.Message(
                *(gbcs.ALERT, 1, keys.eui64 ^ 1, keys.acb, gbcs.ACTIVATION_ALERT),
                *(b"", b"\x30\0"),
            ),
        )
        for frame in (b"", b"\0", b"\xff" * 200, whole[:20], whole[:-1], whole):
            yield Said(TUNNELLING, self._tunnel.transfer(frame).build())

    def _queries(self) -> Iterator[Said]:
        mine = self._identity
        yield Said(
            OTA,
            _command(
                ota.QUERY,
                struct.pack("<BHHI", 0, mine.manufacturer, mine.image_type, self._version()),
            ),
        )

    def _babble(self) -> Iterator[Said]:
        announcement = struct.pack("<BHQB", 1, NODE, self._keys.eui64, 0x8E)  # at the hub's address
        yield Said(OTA, _command(ota.QUERY, b"\0" * 9), profile=_HOME_AUTOMATION)
        yield Said(OTA, _command(ota.QUERY, b"\0" * 9), profile=0xC105)
        yield Said(0xFC99, _command(0, b"\0" * 20))
        yield Said(OTA, b"\xff" * 60, _NOBODYS_ENDPOINT)
        for cluster in (_ANNOUNCE, _MATCH_REQUEST, _NODE_DESCRIPTOR, _NO_ZDO, 0x8000 | _ANNOUNCE):
            for octets in (b"", b"\1", announcement, b"\xff" * 60):
                yield Said(cluster, octets, 0, ZDO, protected=False)


def _command(command: int, payload: bytes = b"") -> bytes:
    """With a number that the device's own questions never have."""
    return zcl.Zcl(command, payload).build()


def _answer(command: int, payload: bytes) -> bytes:
    return zcl.Zcl(command, payload, from_server=True).build()
