"""The device: one life from power to restart, with a stick, an OTA client, a tunnel and GBCS keys.

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
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from foreign_client import gbcs, ota, tunnel, zcl
from foreign_client.image import Identity
from foreign_client.ota import Offer, OtaClient
from foreign_client.personality import Personality
from foreign_client.stick import BASIC, OTA, SMART_ENERGY, TUNNELLING, ZDO, Message, Stick
from foreign_client.storage import Storage
from foreign_client.tunnel import Tunnel

_HUB = 0x0000
_MATCH_REQUEST, _MATCH_RESPONSE = 0x0006, 0x8006
_ZDO_TIMEOUT_S, _ALERT_AGAIN_S = 3.0, 5.0
_CLOSURES, _CLOSE_AGAIN_S = 12, 5.0
_QUEUED_FRAMES = 5


@dataclass(frozen=True)
class Settings:
    """What the device is given with its casing."""

    radio: str
    install_code: bytes
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
        self._settings = settings
        self._storage = storage
        self._keys = keys
        self._say = say
        self._defects = settings.defects
        self._stick = Stick(settings.radio, self._heard)
        self._tunnel = Tunnel(storage, self._gbcs_frame)
        self._responder = gbcs.Responder(
            keys,
            settings.defects,
            lambda: storage.memory.version,
            lambda: storage.memory.acb_counter,
            self._accept,
        )
        self._client = OtaClient(
            self,
            storage,
            settings.identity,
            settings.personality,
            settings.defects,
            say,
            query_period_s=settings.query_period_s,
            pace_s=settings.pace_s,
        )
        self._sequence = 0
        self._waiting: tuple[Callable[[Message], bool], asyncio.Future[Message]] | None = None
        self._server_endpoint = 0
        self._tunnel_open = asyncio.Event()
        self._out: asyncio.Queue[tuple[int, int, int, zcl.Zcl]] = asyncio.Queue(_QUEUED_FRAMES)
        if "forgets-version-on-restart" in self._defects:
            storage.memory.version = settings.factory_version
        if "counter-goes-back" in self._defects:
            storage.memory.originator_counter = 0
        if "replays-alert" in self._defects:
            storage.memory.alert = storage.memory.alert or storage.memory.sent_alert

    async def live(self) -> None:
        await self._stick.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_line())
                tasks.create_task(self._answer())
                tasks.create_task(self._report())
                await self._enter_network()
                tasks.create_task(self._close_old_tunnel())
                self._server_endpoint = await self._find_server()
                offer = await self._client.run()
                await self._activate(offer)
                raise _Restart
        except* _Restart:
            pass
        finally:
            await self._stick.disconnect()

    async def _enter_network(self) -> None:
        settings = self._settings
        if await self._stick.resume():
            self._say("is back in its network")
        else:
            await self._stick.join(install_code_key(settings.install_code), settings.channels)
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

    async def _find_server(self) -> int:
        """The endpoint of the hub's OTA server, by Match Descriptor."""
        while True:
            self._sequence = self._sequence % 255 + 1
            sequence = self._sequence
            request = struct.pack("<BHHBHB", sequence, _HUB, SMART_ENERGY, 1, OTA, 0)

            def is_it(message: Message, sequence: int = sequence) -> bool:
                body = message.payload
                about = message.cluster == _MATCH_RESPONSE and message.node == _HUB
                return about and len(body) >= 6 and body[:2] == bytes((sequence, 0)) and body[4] > 0

            answer = await self._exchange(
                lambda request=request: self._stick.send(
                    _HUB, _MATCH_REQUEST, request, profile=ZDO, protected=False
                ),
                is_it,
                _ZDO_TIMEOUT_S,
            )
            if answer is not None:
                return answer.payload[5]

    async def _activate(self, offer: Offer) -> None:
        """The loaded image is the one that runs, on the disk together with the alert of it."""
        await asyncio.sleep(self._settings.activation_s)
        if "never-activates" in self._defects:
            self._say("does not activate it")
            await asyncio.Event().wait()
        memory = self._storage.memory
        memory.version = offer.version
        if "no-alert" not in self._defects and "alert-before-upgrade-end" not in self._defects:
            memory.alert = self._alert(offer.version).hex()
        memory.download = []
        self._storage.save()
        self._say(f"activates {offer.version:08X}")

    def _alert(self, version: int) -> bytes:
        memory, defects = self._storage.memory, self._defects
        memory.originator_counter += 1
        return gbcs.activation_alert(
            self._keys,
            memory.originator_counter,
            version + ("alert-wrong-version" in defects),
            int("alert-result-inverted" in defects),
            datetime.now(UTC),
            spoil="alert-bad-signature" in defects,
        )

    # -- out ---------------------------------------------------------------------------------

    async def ask(
        self, request: zcl.Zcl, accept: Callable[[zcl.Zcl], bool], timeout_s: float
    ) -> zcl.Zcl | None:
        """An OTA command to the server and what it answers; None when nothing comes in time."""
        defects = self._defects
        if request.command == ota.END and "alert-before-upgrade-end" in defects:
            _, _, version = struct.unpack_from("<HHI", request.payload, 1)
            self._storage.memory.alert = self._alert(version).hex()
            await self._send_alert()
        self._sequence = self._sequence % 255 + 1
        request = request._replace(sequence=self._sequence)
        answers: list[zcl.Zcl] = []

        def is_it(message: Message) -> bool:
            if (message.cluster, message.node, message.protected) != (OTA, _HUB, True):
                return False
            answer = _parsed(message)
            if answer is None or not answer.from_server or not accept(answer):
                return False
            # The end of an upgrade may be ordered without having been asked for.
            if answer.sequence != request.sequence and answer.command != ota.END_RESPONSE:
                return False
            answers.append(answer)
            return True

        await self._exchange(
            lambda: self._stick.send(
                _HUB,
                OTA,
                request.build(),
                self._server_endpoint,
                protected="unprotected-requests" not in defects,
            ),
            is_it,
            timeout_s,
        )
        return answers[0] if answers else None

    async def _exchange(
        self,
        send: Callable[[], object],
        is_it: Callable[[Message], bool],
        timeout_s: float,
    ) -> Message | None:
        """Send, and wait for the one message this is the answer to; one exchange at a time."""
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting = (is_it, future)
        try:
            await send()  # type: ignore[misc] # a coroutine
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return None
        finally:
            self._waiting = None

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
                self._tunnel_open.set()

    async def _report(self) -> None:
        """Send the alert that nobody has acknowledged, whenever a tunnel is open."""
        while True:
            await self._tunnel_open.wait()
            if self._storage.memory.alert and not await self._send_alert():
                await asyncio.sleep(_ALERT_AGAIN_S)
                continue
            self._tunnel_open.clear()

    async def _send_alert(self) -> bool:
        memory, peer = self._storage.memory, self._tunnel.peer
        if peer is None:
            return False
        self._say("sends the activation alert")
        frame = self._tunnel.transfer(bytes.fromhex(memory.alert))
        if not await self._stick.send(peer[0], TUNNELLING, frame.build(), peer[1]):
            return False
        if "alert-twice" in self._defects:
            second = self._tunnel.transfer(self._alert(memory.version))
            await self._stick.send(peer[0], TUNNELLING, second.build(), peer[1])
        memory.sent_alert, memory.alert = memory.alert, ""
        self._storage.save()
        return True

    # -- in ----------------------------------------------------------------------------------

    def _heard(self, message: Message) -> None:
        if self._waiting is not None:
            is_it, future = self._waiting
            if not future.done() and is_it(message):
                future.set_result(message)
                return
        frame = _parsed(message) if message.profile == SMART_ENERGY else None
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
        if message.node != _HUB or not trusted or not frame.from_server:
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

    async def _watch_line(self) -> None:
        error = await self._stick.lost
        raise ConnectionError(f"the stick is gone: {error}")


class _Restart(Exception):
    pass


def _parsed(message: Message) -> zcl.Zcl | None:
    try:
        return zcl.parse(message.payload)
    except zcl.ZclError:
        return None


def install_code_key(code: bytes) -> bytes:
    """The link key of an install code: Matyas-Meyer-Oseas over the code and its CRC."""
    crc = 0xFFFF
    for octet in code:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    text = code + struct.pack("<H", crc ^ 0xFFFF)
    padded = text + b"\x80"
    padded += bytes(-(len(padded) + 2) % 16) + struct.pack(">H", len(text) * 8)
    key = bytes(16)
    for at in range(0, len(padded), 16):
        block = padded[at : at + 16]
        sealed = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)
        key = bytes(a ^ b for a, b in zip(sealed, block, strict=True))
    return key
