"""The DSP's end of the SM WAN for hubs that are processes of their own: a WebSocket for each.

Source: DESIGN, "There and back"; the frames are those of `gbcs.wan_link`. A hub connects to
`/wan/<its EUI-64>?session=<any word>`; it must stand in the inventory as a CHF. The newest link of
a hub counts, an older one is closed. What the hub has not taken after a while it gets again on the
next link; who the hub is, is asked by nobody: the port is for this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from aiohttp import WSCloseCode, WSMsgType, web

from dsp_stub.outbox import Delivery
from dsp_stub.service import Dsp
from dsp_stub.smi import ENDED, DeviceType
from gbcs.errors import GbcsError
from gbcs.wan_link import (
    MAX_LINK_OCTETS,
    Numbered,
    Receiver,
    Taken,
    build_link_frame,
    parse_link_frame,
)

PATH = r"/wan/{hub:[0-9A-Fa-f]{16}}"
TAKEN_TIMEOUT_S = 30.0
HEARTBEAT_S = 20.0
MAX_LINKS = 100_000
_MAX_SESSION_CHARACTERS = 64


class WanServer:
    """The links of one DSP."""

    def __init__(
        self, dsp: Dsp, utc_now: Callable[[], datetime], on_received: Callable[[], object]
    ) -> None:
        self._dsp = dsp
        self._utc_now = utc_now
        self._on_received = on_received
        self._links: dict[int, _Link] = {}
        # Outlives the links of a hub: that is what it is for.
        self._receivers: dict[int, Receiver] = {}

    def __contains__(self, hub: int) -> bool:
        return hub in self._links

    def wake(self, hub: int) -> None:
        """There is something new for a hub that is connected."""
        self._links[hub].wake.set()

    async def stop(self) -> None:
        for link in list(self._links.values()):
            await link.close(WSCloseCode.GOING_AWAY)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One link, as long as it lasts."""
        hub = int(request.match_info["hub"], 16)
        session = request.query.get("session", "")[:_MAX_SESSION_CHARACTERS]
        device = self._dsp.desk.inventory.get(hub)
        if device is None or device.device_type is not DeviceType.CHF or device.status in ENDED:
            return web.Response(status=404, text=f"{hub:016X} is no CHF of the inventory\n")
        if hub not in self._links and len(self._links) >= MAX_LINKS:
            return web.Response(status=503, text=f"there are {MAX_LINKS} links already\n")
        socket = web.WebSocketResponse(max_msg_size=MAX_LINK_OCTETS, heartbeat=HEARTBEAT_S)
        await socket.prepare(request)
        older = self._links.get(hub)
        link = self._links[hub] = _Link(socket)
        if older is not None:
            await older.close(WSCloseCode.POLICY_VIOLATION)
        sender = asyncio.create_task(self._send(hub, link), name=f"dsp sends to {hub:016X}")
        try:
            async for message in socket:
                if message.type is not WSMsgType.BINARY or not self._take(
                    hub, session, link, message.data
                ):
                    break
                await link.tell_taken()
        finally:
            sender.cancel()
            with suppress(asyncio.CancelledError):
                await sender
            if self._links.get(hub) is link:
                del self._links[hub]
            await link.close(WSCloseCode.OK)
        return socket

    def _take(self, hub: int, session: str, link: _Link, octets: bytes) -> bool:
        """What a hub sent; False for what is no frame, which ends the link."""
        try:
            frame = parse_link_frame(octets)
        except GbcsError as error:
            self._dsp.refuse_link(hub, str(error), self._utc_now())
            return False
        match frame:
            case Taken():
                link.taken(frame.number)
            case Numbered():
                receiver = self._receivers.setdefault(hub, Receiver())
                if receiver.is_new(session, frame.number):
                    self._dsp.receive(frame.message, self._utc_now(), hub)
                    receiver.took(session, frame.number)
                    self._on_received()
                link.to_tell.append(frame.number)
        return True

    async def _send(self, hub: int, link: _Link) -> None:
        """Hand over what is due, oldest first, each when the one before was taken."""
        while True:
            link.wake.clear()
            delivery = self._dsp.next_for_hub(hub, self._utc_now())
            if delivery is None:
                await link.wake.wait()
            elif await link.hand_over(delivery):
                self._dsp.delivered(delivery)
            else:
                self._dsp.not_delivered(delivery, self._utc_now())
                await link.close(WSCloseCode.GOING_AWAY)
                return


class _Link:
    """One connection of a hub."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self.wake = asyncio.Event()
        self.to_tell: list[int] = []
        self._waiting: tuple[int, asyncio.Future[None]] | None = None

    async def tell_taken(self) -> None:
        while self.to_tell:
            await self._write(build_link_frame(Taken(self.to_tell.pop(0))))

    async def hand_over(self, delivery: Delivery) -> bool:
        """Whether the hub took it."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = delivery.id, taken
        if not await self._write(build_link_frame(Numbered(delivery.id, delivery.body))):
            return False
        try:
            async with asyncio.timeout(TAKEN_TIMEOUT_S):
                await taken
        except TimeoutError:
            return False
        return True

    def taken(self, number: int) -> None:
        if self._waiting is not None and self._waiting[0] == number:
            if not self._waiting[1].done():
                self._waiting[1].set_result(None)
            self._waiting = None

    async def _write(self, octets: bytes) -> bool:
        try:
            await self._socket.send_bytes(octets)
        except (ConnectionError, RuntimeError):
            return False
        return True

    async def close(self, code: int) -> None:
        with suppress(ConnectionError, RuntimeError):
            await self._socket.close(code=code)
