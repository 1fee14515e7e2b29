"""The hub as this device's OTA server: found by Match Descriptor, then asked one thing at a time.

Source: ZigBee 05-3474, 2.4.3.1.7 (Match_Desc_req); ZigBee OTA Upgrade cluster 095264, 6.7 (who may
answer, and under which key).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

from foreign_client import ota, zcl
from foreign_client.stick import OTA, SMART_ENERGY, ZDO, Message, Stick

NODE = 0x0000  # the hub is the coordinator
_MATCH_REQUEST, _MATCH_RESPONSE = 0x0006, 0x8006
_ZDO_TIMEOUT_S = 3.0


class Server:
    """`hears` is offered every message first; what answers a question goes no further."""

    def __init__(self, stick: Stick, defects: frozenset[str]) -> None:
        self._stick = stick
        self._protected = "unprotected-requests" not in defects
        self._endpoint = 0
        self._sequence = 0
        self._waiting: tuple[Callable[[Message], bool], asyncio.Future[Message]] | None = None

    async def find(self) -> None:
        """Ask until the hub has told which endpoint serves images."""
        answer: Message | None = None
        while answer is None:
            request = struct.pack("<BHHBHB", self._next(), NODE, SMART_ENERGY, 1, OTA, 0)

            def is_it(message: Message, asked: bytes = request) -> bool:
                body = message.payload
                about = (message.profile, message.cluster, message.node)
                if about != (ZDO, _MATCH_RESPONSE, NODE) or len(body) < 6:
                    return False
                return body[0] == asked[0] and body[1] == zcl.SUCCESS and body[4] > 0

            send = self._stick.send(NODE, _MATCH_REQUEST, request, profile=ZDO, protected=False)
            answer = await self._exchange(send, is_it, _ZDO_TIMEOUT_S)
        self._endpoint = answer.payload[5]

    async def ask(
        self, request: zcl.Zcl, accept: Callable[[zcl.Zcl], bool], timeout_s: float
    ) -> zcl.Zcl | None:
        """A command of the OTA cluster, and what answers it; None when nothing does in time."""
        sequence = self._next()

        def is_it(message: Message) -> bool:
            if (message.cluster, message.node, message.protected) != (OTA, NODE, True):
                return False
            answer = zcl.read(message.payload)
            if answer is None or not answer.from_server or not accept(answer):
                return False
            # The end of an upgrade may be ordered without having been asked for.
            return answer.sequence == sequence or answer.command == ota.END_RESPONSE

        octets = request._replace(sequence=sequence).build()
        send = self._stick.send(NODE, OTA, octets, self._endpoint, protected=self._protected)
        message = await self._exchange(send, is_it, timeout_s)
        return None if message is None else zcl.read(message.payload)

    def hears(self, message: Message) -> bool:
        """Whether this answers what was asked last."""
        if self._waiting is None:
            return False
        is_it, future = self._waiting
        if future.done() or not is_it(message):
            return False
        future.set_result(message)
        return True

    async def _exchange(
        self, send: Awaitable[bool], is_it: Callable[[Message], bool], timeout_s: float
    ) -> Message | None:
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting = (is_it, future)
        try:
            await send
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return None
        finally:
            self._waiting = None

    def _next(self) -> int:
        self._sequence = self._sequence % 255 + 1
        return self._sequence
