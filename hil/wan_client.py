"""A hub's end of the SM WAN: a WebSocket to a DSP, made anew whenever it breaks.

Source: ours; the frames are those of `gbcs.wan_link`. What the hub has to say waits in a queue of a
bounded length until the DSP took it; a message too many is dropped, and said so. What the DSP has
to say is told to be taken when the hub has stored what follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aiohttp import (
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    WSMsgType,
    WSServerHandshakeError,
)

from emulator.devices.nonvolatile import PowerCut
from gbcs.errors import GbcsError
from gbcs.wan_link import (
    MAX_LINK_OCTETS,
    Numbered,
    Receiver,
    Taken,
    build_link_frame,
    parse_link_frame,
)
from hil.kept import Kept
from hil.wan_queue import MAX_QUEUED, WanQueue

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
HEARTBEAT_S = 20.0


class WanClient:
    """The link of one hub. `deliver` takes what the DSP sends, `on_change` hears of the link; what
    waits is kept with `power`."""

    def __init__(
        self,
        url: str,
        deliver: Callable[[bytes], object],
        on_change: Callable[[str], object],
        *,
        power: Kept | None = None,
        first_retry_s: float = FIRST_RETRY_S,
    ) -> None:
        self._url = url
        self._deliver = deliver
        self._on_change = on_change
        self._first_retry_s = first_retry_s
        self._power = Kept(None, on_change) if power is None else power
        self._queue = WanQueue(self._power)
        self._receiver = Receiver()
        self._changed = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many messages the DSP has not taken yet."""
        return len(self._queue)

    def send(self, message: bytes) -> None:
        """Queue one serialised message for the DSP."""
        with suppress(PowerCut):  # whoever has the power knows
            if not self._queue.put(message):
                self._on_change(f"dropped a message: {MAX_QUEUED} wait already")
            self._changed.set()

    async def run(self, eui64: int) -> None:
        """Keep a link to the DSP until cancelled."""
        url = f"{self._url.rstrip('/')}/wan/{eui64:016X}?session={self._queue.session}"
        wait_s = self._first_retry_s
        said = ""
        async with ClientSession() as session:
            while True:
                try:
                    async with session.ws_connect(
                        url, heartbeat=HEARTBEAT_S, max_msg_size=MAX_LINK_OCTETS
                    ) as socket:
                        self._on_change("connected")
                        wait_s, said = self._first_retry_s, ""
                        await self._serve(socket)
                    self._on_change("connection lost")
                except WSServerHandshakeError as error:
                    why = f"the DSP refuses the link: {error.status} {error.message}"
                    if error.status == 404:
                        why = f"the DSP has no CHF {eui64:016X} in its inventory"
                    said = self._say_once(why, said)
                except (ClientError, OSError, TimeoutError) as error:
                    said = self._say_once(f"the DSP cannot be reached: {error}", said)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_RETRY_S)

    def _say_once(self, why: str, said: str) -> str:
        if why != said:
            self._on_change(why)
        return why

    async def _serve(self, socket: ClientWebSocketResponse) -> None:
        sender = asyncio.create_task(self._send(socket), name="hub sends to the DSP")
        try:
            async for message in socket:
                if message.type is not WSMsgType.BINARY:
                    return
                try:
                    frame = parse_link_frame(message.data)
                except GbcsError as error:
                    self._on_change(str(error))
                    return
                match frame:
                    case Taken():
                        if self._queue.taken(frame.number):
                            self._changed.set()
                    case Numbered():
                        # A message twice in a row is one whose "taken" was lost on the way.
                        if self._receiver.is_new("", frame.number):
                            self._receiver.took("", frame.number)
                            self._deliver(frame.message)
                        if self._power.is_off:
                            return
                        await socket.send_bytes(build_link_frame(Taken(frame.number)))
        finally:
            sender.cancel()
            with suppress(asyncio.CancelledError, ConnectionError, ClientError):
                await sender

    async def _send(self, socket: ClientWebSocketResponse) -> None:
        """The oldest message, and the next when that one was taken."""
        sent = 0
        while True:
            self._changed.clear()
            oldest = self._queue.oldest
            if oldest is not None and oldest.number != sent:
                await socket.send_bytes(build_link_frame(oldest))
                sent = oldest.number
            await self._changed.wait()
