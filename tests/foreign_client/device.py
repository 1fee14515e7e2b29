"""The device: one life from power to restart, and which message of the hub's goes where in it.

Source: MP170 annex A, 3.3.1 (the device reports for itself); GBCS 10.2.2 and 11.6.

    power -> join with the install code, or resume -> close the tunnel of the life before
          -> find the OTA server -> load, verify, end
          -> new version and alert on the disk, at once -> restart
    beside it: whenever a tunnel is open, an alert that nobody has acknowledged goes through it
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from foreign_client import gbcs, ota, server, tunnel, zcl
from foreign_client.image import Identity
from foreign_client.install_code import link_key
from foreign_client.noise import Noise
from foreign_client.ota import Offer, OtaClient
from foreign_client.personality import Personality
from foreign_client.reporting import Reporter
from foreign_client.server import Server
from foreign_client.stick import BASIC, OTA, SMART_ENERGY, TUNNELLING, Message, Stick
from foreign_client.storage import Storage
from foreign_client.tunnel import Tunnel

_CLOSURES, _CLOSE_AGAIN_S = 12, 5.0
_QUEUED_FRAMES = 5


@dataclass(frozen=True)
class Settings:
    """What the device is given with its casing."""

    radio: str
    install_code: bytes = field(repr=False)
    channels: list[int]
    identity: Identity
    personality: Personality
    defects: frozenset[str]
    factory_version: int
    query_period_s: float
    pace_s: float
    activation_s: float


class Device:
    """One life. `live` comes back when the device is to restart."""

    def __init__(
        self, settings: Settings, storage: Storage, keys: gbcs.Keys, say: Callable[[str], None]
    ) -> None:
        defects = settings.defects
        self._settings = settings
        self._storage = storage
        self._say = say
        self._defects = defects
        self._stick = Stick(settings.radio, self._heard)
        self._tunnel = Tunnel(storage, self._gbcs_frame)
        self._reporter = Reporter(storage, keys, self._stick, self._tunnel, defects, say)
        self._responder = gbcs.Responder(
            keys,
            defects,
            lambda: storage.memory.version,
            lambda: storage.memory.acb_counter,
            self._accept,
        )
        self._server = Server(self._stick, defects)
        self._client = OtaClient(
            self._server,
            storage,
            settings.identity,
            settings.personality,
            defects,
            say,
            before_end=self._before_end,
            query_period_s=settings.query_period_s,
            pace_s=settings.pace_s,
        )
        self._noise = Noise(
            self._stick,
            self._tunnel,
            settings.identity,
            lambda: storage.memory.version,
            keys,
            defects,
        )
        self._out: asyncio.Queue[tuple[int, int, int, zcl.Zcl]] = asyncio.Queue(_QUEUED_FRAMES)
        if "forgets-version-on-restart" in defects:
            storage.memory.version = settings.factory_version

    async def live(self) -> None:
        try:
            await self._stick.start(self._settings.identity.eui64)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_line())
                tasks.create_task(self._answer())
                tasks.create_task(self._reporter.run())
                await self._enter_network()
                tasks.create_task(self._close_old_tunnel())
                tasks.create_task(self._noise.run())
                await self._server.find()
                offer = await self._client.run()
                await self._activate(offer)
                raise _Restart
        except* _Restart:
            pass
        finally:
            await self._stick.disconnect()

    async def _watch_line(self) -> None:
        error = await self._stick.lost
        raise ConnectionError(f"the stick is gone: {error}")

    async def _enter_network(self) -> None:
        settings = self._settings
        if await self._stick.resume():
            self._say("is back in its network")
        else:
            await self._stick.join(link_key(settings.install_code), settings.channels)
            self._say("joined")

    async def _close_old_tunnel(self) -> None:
        """Until the hub has opened another: it takes what it has just heard for a repetition when
        the stick's counter, drawn anew, is one of those of a moment ago."""
        closure = self._tunnel.closure_after_restart()
        for _ in range(_CLOSURES):
            if closure is None or self._tunnel.peer is not None:
                return
            node, endpoint, frame = closure
            self._answer_later(node, endpoint, TUNNELLING, frame)
            await asyncio.sleep(_CLOSE_AGAIN_S)

    # -- a new image -------------------------------------------------------------------------

    async def _before_end(self, offer: Offer) -> None:
        if "alert-before-upgrade-end" in self._defects:
            self._reporter.note(offer.version)
            await self._reporter.send()

    async def _activate(self, offer: Offer) -> None:
        """The loaded image is the one that runs, on the disk together with the alert of it."""
        await asyncio.sleep(self._settings.activation_s)
        if "never-activates" in self._defects:
            self._say("does not activate it")
            await asyncio.Event().wait()
        memory = self._storage.memory
        memory.version = offer.version
        memory.download = []
        if not {"no-alert", "alert-before-upgrade-end"} & self._defects:
            self._reporter.note(offer.version)
        self._storage.save()
        self._say(f"activates {offer.version:08X}")

    # -- what comes in, and answers to it ----------------------------------------------------

    def _answer_later(self, node: int, endpoint: int, cluster: int, frame: zcl.Zcl) -> None:
        if not self._out.full():  # whoever asks more than that asks again
            self._out.put_nowait((node, endpoint, cluster, frame))

    async def _answer(self) -> None:
        while True:
            node, endpoint, cluster, frame = await self._out.get()
            await self._stick.send(node, cluster, frame.build(), endpoint)
            if cluster == TUNNELLING and frame.command == tunnel.RESPONSE and self._tunnel.peer:
                # Not before: what overtakes the response is for a tunnel the hub does not know.
                self._say("has a tunnel")
                self._reporter.tunnel_open.set()

    def _heard(self, message: Message) -> None:
        if self._server.hears(message):
            return
        frame = zcl.read(message.payload) if message.profile == SMART_ENERGY else None
        if frame is None or message.broadcast:
            return
        if message.cluster == OTA and not frame.general:
            self._ota_command(message, frame)
        elif not message.protected:
            return
        elif frame.general:
            self._general_command(message, frame)
        elif message.cluster == TUNNELLING:
            answer = self._tunnel.receive(message.node, message.endpoint, frame)
            if answer is not None:
                self._answer_later(message.node, message.endpoint, TUNNELLING, answer)

    def _ota_command(self, message: Message, frame: zcl.Zcl) -> None:
        trusted = message.protected or "takes-unprotected-notify" in self._defects
        if message.node != server.NODE or not trusted or not frame.from_server:
            return
        if frame.command == ota.IMAGE_NOTIFY and len(frame.payload) >= 2:
            taken = self._client.notified()
            if not frame.no_default_response:
                status = zcl.SUCCESS if taken else zcl.FAILURE
                answer = frame.default_response(status)
                self._answer_later(message.node, message.endpoint, OTA, answer)

    def _general_command(self, message: Message, frame: zcl.Zcl) -> None:
        if frame.command == zcl.READ_ATTRIBUTES:
            attributes = self._attributes().get(message.cluster, {})
            answer = zcl.answer_read(frame, attributes)
            self._answer_later(message.node, message.endpoint, message.cluster, answer)

    def _attributes(self) -> dict[int, dict[int, bytes]]:
        version = self._storage.memory.version
        return {
            BASIC: {0x0000: b"\x20\x03", 0x0007: b"\x30\x01"},
            OTA: {
                0x0000: b"\xf0" + b"\xff" * 8,
                0x0002: b"\x23" + struct.pack("<I", version),
                0x0006: bytes((0x30, int(self._client.is_loading))),
            },
        }

    def _gbcs_frame(self, octets: bytes) -> None:
        try:
            response = self._responder.answer(octets)
        except gbcs.GbcsError as error:
            self._say(f"discards a command: {error}")
            return
        peer = self._tunnel.peer
        if peer is not None:
            self._answer_later(*peer, TUNNELLING, self._tunnel.transfer(response))

    def _accept(self, counter: int) -> None:
        self._storage.memory.acb_counter = counter
        self._storage.save()


class _Restart(Exception):
    pass
