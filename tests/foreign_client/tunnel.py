"""The server of the Tunnelling cluster: the hub opens one tunnel, GBCS messages go both ways in it.

Source: ZigBee Smart Energy 1.4, annex D.6 (commands); GBCS 10.2.2 (protocol 6, no manufacturer, no
flow control, raw messages). The hub cannot know that the device has restarted, so the tunnel that
was open before is closed in its name, and the hub opens another.

| heard | answered |
|---|---|
| Request Tunnel, protocol 6 | a new id, status 0; a tunnel that was open gives way |
| Request Tunnel, another protocol, or with flow control | status 3, or 4 |
| Transfer Data for the open tunnel, from who opened it | the message goes to GBCS |
| Transfer Data for another | Transfer Data Error, no such tunnel |
| Close Tunnel | nothing |
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from foreign_client import zcl
from foreign_client.storage import Storage

REQUEST, CLOSE, TRANSFER, SUPPORTED = 0x00, 0x01, 0x02, 0x06
RESPONSE, TRANSFER_FROM_SERVER, ERROR, SUPPORTED_RESPONSE, CLOSURE = 0x00, 0x01, 0x02, 0x05, 0x06

GB_HRGP, NO_MANUFACTURER, MAX_TRANSFER_OCTETS = 6, 0xFFFF, 1500
_OK, _UNKNOWN_PROTOCOL, _NO_FLOW_CONTROL = 0, 3, 4


class Tunnel:
    """The device's end. Its open tunnel is kept, to be closed after a restart."""

    def __init__(self, storage: Storage, on_frame: Callable[[bytes], None]) -> None:
        self._storage = storage
        self._on_frame = on_frame
        self._next_id = 1
        self.peer: tuple[int, int] | None = None  # node and endpoint of who opened it
        self._id = 0

    def closure_after_restart(self) -> tuple[int, int, zcl.Zcl] | None:
        """Node, endpoint and what to send it, when a tunnel was open before the restart."""
        if not self._storage.memory.tunnel:
            return None
        node, endpoint, tunnel_id = self._storage.memory.tunnel
        self._next_id = tunnel_id % 0xFFFE + 1
        return node, endpoint, zcl.Zcl(CLOSURE, struct.pack("<H", tunnel_id), from_server=True)

    def transfer(self, frame: bytes) -> zcl.Zcl:
        """What carries a GBCS message to the hub."""
        payload = struct.pack("<H", self._id) + frame
        return zcl.Zcl(TRANSFER_FROM_SERVER, payload, from_server=True)

    def receive(self, node: int, endpoint: int, request: zcl.Zcl) -> zcl.Zcl | None:
        """A command of the hub's; what to answer it with."""
        if request.from_server:
            return None
        body, answer = request.payload, None
        if request.command == REQUEST and len(body) >= 6:
            answer = zcl.Zcl(RESPONSE, self._open(node, endpoint, body), from_server=True)
        elif request.command == CLOSE and len(body) >= 2:
            if self._is_open(node, body):
                self.peer = None
                self._keep([])
        elif request.command == TRANSFER and len(body) >= 2:
            if self._is_open(node, body):
                self._on_frame(body[2:])
            else:
                answer = zcl.Zcl(ERROR, body[:2] + b"\0", from_server=True)
        elif request.command == SUPPORTED:
            body = b"\x01\x01" + struct.pack("<HB", NO_MANUFACTURER, GB_HRGP)
            answer = zcl.Zcl(SUPPORTED_RESPONSE, body, from_server=True)
        else:
            return request.default_response(zcl.UNSUPPORTED_COMMAND)
        return None if answer is None else answer._replace(sequence=request.sequence)

    def _open(self, node: int, endpoint: int, body: bytes) -> bytes:
        protocol, manufacturer, flow_control, _ = struct.unpack_from("<BHBH", body)
        if (protocol, manufacturer) != (GB_HRGP, NO_MANUFACTURER):
            return struct.pack("<HBH", 0xFFFF, _UNKNOWN_PROTOCOL, MAX_TRANSFER_OCTETS)
        if flow_control:
            return struct.pack("<HBH", 0xFFFF, _NO_FLOW_CONTROL, MAX_TRANSFER_OCTETS)
        self.peer, self._id = (node, endpoint), self._next_id
        self._next_id = self._next_id % 0xFFFE + 1
        self._keep([node, endpoint, self._id])
        return struct.pack("<HBH", self._id, _OK, MAX_TRANSFER_OCTETS)

    def _is_open(self, node: int, body: bytes) -> bool:
        is_it = struct.unpack_from("<H", body)[0] == self._id
        return is_it and self.peer is not None and self.peer[0] == node

    def _keep(self, tunnel: list[int]) -> None:
        self._storage.memory.tunnel = tunnel
        self._storage.save()
