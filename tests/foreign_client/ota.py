"""The client of the OTA Upgrade cluster: asks, loads, verifies, ends, and says when to restart.

Source: ZigBee OTA Upgrade cluster 095264, 6.10 (commands) and 6.9 (process); what stacks do where
it leaves room is in personality.py.

| in | what happens | then |
|---|---|---|
| idle | notified, or a period is over: Query Next Image | SUCCESS, for it and newer: loading |
| loading | Image Block Request at the length of the file so far | last octet: verifying |
| loading | a block for another place, length or image | dropped; the request times out |
| loading | WAIT_FOR_DATA: wait that long, keep the period it sets; no error | loading |
| loading | ABORT, NO_IMAGE or another refusal | the file is dropped; idle |
| loading | no answer, as often as the stack tries | Upgrade End ABORT; idle |
| loading | a header that was not what was offered | Upgrade End INVALID_IMAGE; idle |
| verifying | good: Upgrade End SUCCESS, answered | activating, when the answer says |
| verifying | bad: Upgrade End INVALID_IMAGE | the file is dropped; idle |
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from foreign_client import image, zcl
from foreign_client.image import Identity
from foreign_client.personality import Personality
from foreign_client.storage import Storage

IMAGE_NOTIFY, QUERY, QUERY_RESPONSE = 0x00, 0x01, 0x02
BLOCK, BLOCK_RESPONSE, END, END_RESPONSE = 0x03, 0x05, 0x06, 0x07

ABORT, INVALID_IMAGE, WAIT_FOR_DATA = 0x95, 0x96, 0x97
_HARDWARE_PRESENT, _PERIOD_PRESENT = 0x01, 0x02
_NEVER = 0xFFFFFFFF
_LONGEST_WAIT_S = 3600.0
_MOST_OCTETS = 750 * 1024  # of a file, MP170
_STORAGE_OCTETS = 1 << 20
_OFFSET_AT, _LENGTH_AT, _DATA_AT = 9, 13, 14


class Offer(NamedTuple):
    """What the server has for this device."""

    manufacturer: int
    image_type: int
    version: int
    size: int

    @property
    def ids(self) -> bytes:
        return struct.pack("<HHI", self.manufacturer, self.image_type, self.version)


class Link(Protocol):
    """How the client reaches its server; see server.py."""

    async def ask(
        self, request: zcl.Zcl, accept: Callable[[zcl.Zcl], bool], timeout_s: float
    ) -> zcl.Zcl | None: ...


class OtaClient:
    """One client. `run` comes back when the loaded image is to be activated."""

    def __init__(
        self,
        link: Link,
        storage: Storage,
        identity: Identity,
        personality: Personality,
        defects: frozenset[str],
        say: Callable[[str], None],
        *,
        before_end: Callable[[Offer], Awaitable[None]],
        query_period_s: float,
        pace_s: float = 0.0,
    ) -> None:
        self._link = link
        self._storage = storage
        self._identity = identity
        self._stack = personality
        self._defects = defects
        self._say = say
        self._before_end = before_end
        self._query_period_s = query_period_s
        self._pace_s = pace_s
        self._period = 0  # MinimumBlockPeriod, in the unit of the stack
        self._notified = asyncio.Event()
        self.is_loading = False

    def notified(self) -> bool:
        """An Image Notify is here; False in the midst of a download, which goes on."""
        if self.is_loading and "restarts-on-notify" in self._defects:
            self._storage.image_file.unlink(missing_ok=True)
        if not self.is_loading:
            self._notified.set()
        return not self.is_loading

    async def run(self) -> Offer:
        while True:
            offer = await self._find_offer()
            if offer is not None:
                self.is_loading = True
                try:
                    if await self._load(offer) and await self._finish(offer):
                        return offer
                finally:
                    self.is_loading = False
            try:
                async with asyncio.timeout(self._query_period_s):
                    await self._notified.wait()
            except TimeoutError:
                pass

    # -- what to load ------------------------------------------------------------------------

    async def _find_offer(self) -> Offer | None:
        kept = self._storage.memory.download
        if kept and self._stack.resumes and "resumes-at-zero" not in self._defects:
            self._say(f"goes on at {self._storage.loaded_octets}")
            return Offer(*kept)
        self._notified.clear()
        offer = await self._query()
        if offer is None or "never-downloads" in self._defects:
            return None
        self._storage.begin_download(*offer)
        return offer

    async def _query(self) -> Offer | None:
        mine, running = self._identity, self._storage.memory.version
        manufacturer = mine.manufacturer ^ ("wrong-manufacturer-in-query" in self._defects)
        payload = struct.pack(
            "<BHHIH", _HARDWARE_PRESENT, manufacturer, mine.image_type, running, mine.hardware
        )
        answer = await self._ask(QUERY, payload, QUERY_RESPONSE, 13)
        if answer is None or answer.payload[0] != zcl.SUCCESS:
            return None
        offer = Offer(*struct.unpack_from("<HHII", answer.payload, 1))
        is_mine = (offer.manufacturer, offer.image_type) == (mine.manufacturer, mine.image_type)
        if not is_mine and "takes-foreign-image" not in self._defects:
            self._say(f"{offer.manufacturer:04X}-{offer.image_type:04X} is not for this device")
            return None
        if offer.version <= running and "takes-older-image" not in self._defects:
            if offer.version < running:
                await self._end(offer, INVALID_IMAGE)
            return None
        is_lax = "takes-large-image" in self._defects
        return offer if 0 < offer.size <= (_STORAGE_OCTETS if is_lax else _MOST_OCTETS) else None

    # -- loading -----------------------------------------------------------------------------

    async def _load(self, offer: Offer) -> bool:
        """Whether the whole file is here."""
        if "upgrade-end-without-image" in self._defects:
            return True
        errors = 0
        while self._storage.loaded_octets < self._last_octet(offer):
            await asyncio.sleep(max(self._pace_s, self._period * self._stack.period_unit_s))
            answer = await self._ask_block(offer)
            if answer is None:
                errors += 1
                if errors >= self._stack.tries:
                    self._say("no block comes")
                    return await self._give_up(offer, ABORT)
                await asyncio.sleep(self._stack.back_off_s)
                continue
            status = answer.payload[1] if answer.general else answer.payload[0]
            if status == WAIT_FOR_DATA:
                await self._wait(answer.payload)
            elif status != zcl.SUCCESS:
                if "spins-on-abort" in self._defects:
                    continue
                self._say(f"the server refuses with {status:02X}")
                self._storage.drop_download()
                return False
            else:
                errors = 0
                self._storage.append(answer.payload[_DATA_AT:])
                if not self._header_fits(offer):
                    return await self._give_up(offer, INVALID_IMAGE)
        self._say(f"{offer.size} octets loaded")
        return True

    async def _ask_block(self, offer: Offer) -> zcl.Zcl | None:
        asked = 255 if "oversize-block-request" in self._defects else self._stack.max_data
        at = self._storage.loaded_octets
        with_period = self._stack.sends_period
        payload = bytes((_PERIOD_PRESENT if with_period else 0,)) + offer.ids
        payload += struct.pack("<IB", at, asked)
        payload += struct.pack("<H", self._period) if with_period else b""

        def is_it(answer: zcl.Zcl) -> bool:
            """Not a refusal, nor an order to wait: then a block must be the one asked for."""
            body = answer.payload
            if answer.general or body[0] != zcl.SUCCESS:
                return answer.general or body[0] != WAIT_FOR_DATA or len(body) >= 9
            if len(body) < _DATA_AT or body[1:_OFFSET_AT] != offer.ids:
                return False
            (offset,) = struct.unpack_from("<I", body, _OFFSET_AT)
            if offset != at and "wrong-offset-accepted" not in self._defects:
                return False
            count = body[_LENGTH_AT]
            return 0 < count == len(body) - _DATA_AT <= min(asked, offer.size - at)

        request = zcl.Zcl(BLOCK, payload)
        return await self._link.ask(
            request,
            lambda answer: _answers(answer, BLOCK, BLOCK_RESPONSE, 1) and is_it(answer),
            self._stack.reply_timeout_s,
        )

    async def _wait(self, payload: bytes) -> None:
        now, then = struct.unpack_from("<II", payload, 1)
        if len(payload) >= 11 and "ignores-block-period" not in self._defects:
            (self._period,) = struct.unpack_from("<H", payload, 9)
        if "ignores-wait-for-data" in self._defects:
            return
        wait_s = then - now if then >= now else 300.0
        self._say(f"waits {wait_s} s")
        await asyncio.sleep(min(wait_s, _LONGEST_WAIT_S))

    def _header_fits(self, offer: Offer) -> bool:
        loaded = self._storage.loaded_octets
        if not image.HEADER_OCTETS <= loaded < image.HEADER_OCTETS + self._stack.max_data:
            return True  # not all of it here, or looked at already
        head = self._storage.read_image()
        fault = image.fault_in_header(head, self._identity, offer.version, offer.size)
        if fault is None or "takes-foreign-image" in self._defects:
            return True
        self._say(f"refused: {fault}")
        return False

    def _last_octet(self, offer: Offer) -> int:
        return offer.size - (self._stack.max_data if "skips-last-block" in self._defects else 0)

    # -- the end -----------------------------------------------------------------------------

    async def _finish(self, offer: Offer) -> bool:
        """Verify and end; whether the image is to be activated now."""
        if "never-ends-upgrade" in self._defects:
            await asyncio.Event().wait()
        fault = image.fault_in_file(
            self._storage.read_image(), self._identity, offer.version, offer.size
        )
        unverified = {
            "activates-before-verification",
            "upgrade-end-without-image",
            "skips-last-block",
            "takes-foreign-image",
            "takes-older-image",
        }
        if fault is not None and not unverified & self._defects:
            self._say(f"refused: {fault}")
            return await self._give_up(offer, INVALID_IMAGE)
        await self._before_end(offer)
        for _ in range(self._stack.end_tries):
            answer = await self._end(offer, zcl.SUCCESS)
            if answer is None:
                await asyncio.sleep(self._stack.end_interval_s)
                continue
            if answer.general:
                self._say(f"the server refuses the end with {answer.payload[1]:02X}")
                self._storage.drop_download()
                return False
            now, then = struct.unpack_from("<II", answer.payload, 8)
            if then != _NEVER:
                await asyncio.sleep(min(max(then - now, 0), _LONGEST_WAIT_S))
                break
            await asyncio.sleep(_LONGEST_WAIT_S)
        return True

    async def _give_up(self, offer: Offer, status: int) -> bool:
        await self._end(offer, status)
        self._storage.drop_download()
        return False

    async def _end(self, offer: Offer, status: int) -> zcl.Zcl | None:
        return await self._ask(END, bytes((status,)) + offer.ids, END_RESPONSE, 16)

    async def _ask(
        self, command: int, payload: bytes, wanted: int, least_octets: int
    ) -> zcl.Zcl | None:
        def accept(answer: zcl.Zcl) -> bool:
            least = 1 if wanted == QUERY_RESPONSE and answer.payload[:1] != b"\0" else least_octets
            return _answers(answer, command, wanted, least)

        return await self._link.ask(zcl.Zcl(command, payload), accept, self._stack.reply_timeout_s)


def _answers(answer: zcl.Zcl, command: int, wanted: int, least_octets: int) -> bool:
    """Whether this answers that command: with its response, or with a Default Response."""
    if answer.general:
        is_default = answer.command == zcl.DEFAULT_RESPONSE and len(answer.payload) >= 2
        return is_default and answer.payload[0] == command
    return answer.command == wanted and len(answer.payload) >= least_octets
