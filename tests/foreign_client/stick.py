"""The radio: bellows' EZSP class, with messages read below it and fragments made beside it.

Source: Silicon Labs UG100 (EZSP: joinNetwork, sendUnicast, sendReply, incomingMessageHandler,
messageSentHandler) and, for fragments, its host library's rule: group id = count << 8 | number, one
at a time, the acknowledgement a sendReply. bellows makes no fragments, and on EZSP 14 and later
loses those that come in; so the two message callbacks are read here. EZSP 8 and later only.

A message is unprotected when it is not under the link key; who takes it, says `protected`.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import bellows.types as t
from bellows.ezsp import EZSP

SMART_ENERGY, ZDO = 0x0109, 0x0000
ENDPOINT = 9
PPMID_DEVICE = 0x0506
BASIC, OTA, TUNNELLING, TIME, KEEP_ALIVE = 0x0000, 0x0019, 0x0704, 0x000A, 0x0025
SERVED, USED = (BASIC, TUNNELLING), (OTA, TIME, KEEP_ALIVE)

_INCOMING, _SENT = 0x0045, 0x003F
_BROADCAST = 4
_ENCRYPTION, _RETRY, _ROUTE, _FRAGMENT = 0x0020, 0x0040, 0x0100, 0x8000
_WHOLE_OCTETS, _FRAGMENT_OCTETS = 73, 60  # what one frame holds under a link key; with a margin
_MAX_PARTIAL = 4
_SENT_TIMEOUT_S = 20.0
_JOIN_TIMEOUT_S = 30.0
_SCAN_EXPONENT = 3


class RadioError(Exception):
    """The radio does not do what it should; the sentence says what."""


class Message(NamedTuple):
    """What another node has sent, whole."""

    node: int
    profile: int
    cluster: int
    endpoint: int
    payload: bytes
    protected: bool
    broadcast: bool


class Stick(EZSP):  # type: ignore[misc]
    """One stick; `on_message` is called with each message."""

    def __init__(self, url: str, on_message: Callable[[Message], None]) -> None:
        super().__init__({"path": url, "baudrate": 115200, "flow_control": None})
        self._on_message = on_message
        self._tag = 0
        self._sending = asyncio.Lock()
        self._sent: dict[int, asyncio.Future[int]] = {}
        self._partial: dict[tuple[int, int], dict[int, bytes]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.lost = asyncio.get_running_loop().create_future()

    # -- the network -------------------------------------------------------------------------

    async def start(self, eui64: int) -> None:
        """Reset the stick, which must have this address, and tell it what this device is."""
        await self.connect(use_thread=False)
        if self.ezsp_version < 8:
            raise RadioError(f"the stick speaks EZSP {self.ezsp_version}; this device needs 8")
        (address,) = await self.getEui64()
        if int.from_bytes(address.serialize(), "little") != eui64:
            raise RadioError(f"the stick is {address}, not {eui64:016X}")
        for number, value in (
            (t.EzspConfigId.CONFIG_STACK_PROFILE, 2),
            (t.EzspConfigId.CONFIG_SECURITY_LEVEL, 5),
            (t.EzspConfigId.CONFIG_FRAGMENT_WINDOW_SIZE, 1),
        ):
            await self.setConfigurationValue(configId=number, value=value)
        await self.addEndpoint(
            endpoint=ENDPOINT,
            profileId=SMART_ENERGY,
            deviceId=PPMID_DEVICE,
            deviceVersion=0,
            inputClusterCount=len(SERVED),
            outputClusterCount=len(USED),
            inputClusterList=list(SERVED),
            outputClusterList=list(USED),
        )

    async def resume(self) -> bool:
        """Back into the network the stick remembers; whether there is one."""
        with self.wait_for_stack_status(t.sl_Status.NETWORK_UP) as up:
            if await self.initialize_network() != t.sl_Status.OK:
                return False
            async with asyncio.timeout(_JOIN_TIMEOUT_S):
                await up
        return True

    async def join(self, key: bytes, channels: list[int]) -> None:
        """Join whatever network lets it in under this key; come back when it has."""
        mask = t.EmberInitialSecurityBitmask
        await self.setInitialSecurityState(
            state=t.EmberInitialSecurityState(
                bitmask=mask.HAVE_PRECONFIGURED_KEY | mask.REQUIRE_ENCRYPTED_KEY,
                preconfiguredKey=t.KeyData(key),
                networkKey=t.KeyData(bytes(16)),
                networkKeySequenceNumber=0,
                preconfiguredTrustCenterEui64=t.EUI64(bytes(8)),
            )
        )
        while True:
            found = await self.startScan(
                scanType=t.EzspNetworkScanType.ACTIVE_SCAN,
                channelMask=t.Channels.from_channel_list(channels),
                duration=_SCAN_EXPONENT,
            )
            for network, *_ in found:
                if network.allowingJoin and await self._join(network):
                    return
            await asyncio.sleep(0.5)

    async def _join(self, network: Any) -> bool:
        outcome = asyncio.get_running_loop().create_future()

        def status(name: str, arguments: list[Any]) -> None:
            if name == "stackStatusHandler" and not outcome.done():
                outcome.set_result(t.sl_Status.from_ember_status(arguments[0]))

        callback = self.add_callback(status)
        try:
            await self.joinNetwork(
                nodeType=t.EmberNodeType.ROUTER,
                parameters=t.EmberNetworkParameters(
                    extendedPanId=network.extendedPanId,
                    panId=network.panId,
                    radioTxPower=8,
                    radioChannel=network.channel,
                    joinMethod=t.EmberJoinMethod.USE_MAC_ASSOCIATION,
                    nwkManagerId=0,
                    nwkUpdateId=0,
                    channels=t.Channels.from_channel_list([network.channel]),
                ),
            )
            async with asyncio.timeout(_JOIN_TIMEOUT_S):
                return bool(await outcome == t.sl_Status.NETWORK_UP)
        except TimeoutError:
            return False
        finally:
            self.remove_callback(callback)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(error)

    # -- out ---------------------------------------------------------------------------------

    async def send(
        self,
        node: int,
        cluster: int,
        payload: bytes,
        endpoint: int = 0,
        *,
        profile: int = SMART_ENERGY,
        protected: bool = True,
        acknowledged: bool = True,
    ) -> bool:
        """Send; whether the other node's stack has acknowledged all of it, if it is asked to."""
        options = _ROUTE | (_ENCRYPTION if protected else 0) | (_RETRY if acknowledged else 0)
        async with self._sending:
            if len(payload) <= _WHOLE_OCTETS:
                sent, _ = await self._send_one(
                    node, profile, cluster, endpoint, options, 0, 0, payload
                )
                return sent
            parts = [
                payload[at : at + _FRAGMENT_OCTETS]
                for at in range(0, len(payload), _FRAGMENT_OCTETS)
            ]
            sequence = 0
            for number, part in enumerate(parts):
                group = len(parts) << 8 | number
                sent, sequence = await self._send_one(
                    node, profile, cluster, endpoint, options | _FRAGMENT, group, sequence, part
                )
                if not sent:
                    return False
            return True

    async def _send_one(
        self,
        node: int,
        profile: int,
        cluster: int,
        endpoint: int,
        options: int,
        group: int,
        sequence: int,
        payload: bytes,
    ) -> tuple[bool, int]:
        self._tag = self._tag % 255 + 1
        tag = self._tag
        future = self._sent[tag] = asyncio.get_running_loop().create_future()
        try:
            status, sequence = await self.send_unicast(
                nwk=t.EmberNodeId(node),
                aps_frame=t.EmberApsFrame(
                    profileId=profile,
                    clusterId=cluster,
                    sourceEndpoint=0 if profile == ZDO else ENDPOINT,
                    destinationEndpoint=endpoint,
                    options=t.EmberApsOption(options),
                    groupId=group,
                    sequence=sequence,
                ),
                message_tag=t.uint8_t(tag),
                data=payload,
            )
            if status != t.sl_Status.OK:
                return False, sequence
            async with asyncio.timeout(_SENT_TIMEOUT_S):
                return await future == 0, sequence
        except TimeoutError:
            return False, sequence
        finally:
            del self._sent[tag]

    # -- in ----------------------------------------------------------------------------------

    def frame_received(self, data: bytes) -> None:
        """bellows' hook for every EZSP frame; the two message callbacks stop here."""
        number = int.from_bytes(data[3:5], "little") if len(data) > 5 and data[2] & 3 == 1 else -1
        try:
            if number == _INCOMING:
                self._incoming(data[5:])
            elif number == _SENT:
                self._message_sent(data[5:])
            else:
                super().frame_received(data)
        except (struct.error, IndexError):
            pass  # a callback cut short says nothing

    def _message_sent(self, body: bytes) -> None:
        if self.ezsp_version < 14:
            tag, status = struct.unpack_from("<BB", body, 14)
        else:
            (status,), (tag,) = struct.unpack_from("<I", body), struct.unpack_from("<H", body, 18)
        future = self._sent.get(tag)
        if future is not None and not future.done():
            future.set_result(status)

    def _incoming(self, body: bytes) -> None:
        kind, profile, cluster, source, target, options, group, sequence = struct.unpack_from(
            "<BHHBBHHB", body
        )
        node_at, length_at = (14, 18) if self.ezsp_version < 14 else (12, 30)
        (node,) = struct.unpack_from("<H", body, node_at)
        payload = body[length_at + 1 : length_at + 1 + body[length_at]]
        if options & _FRAGMENT:
            self._acknowledge(node, profile, cluster, target, source, options, group, sequence)
            whole = self._add_fragment(node, sequence, group, payload)
            if whole is None:
                return
            payload = whole
        protected = bool(options & _ENCRYPTION)
        message = Message(node, profile, cluster, source, payload, protected, kind >= _BROADCAST)
        self._on_message(message)

    def _acknowledge(
        self,
        node: int,
        profile: int,
        cluster: int,
        mine: int,
        theirs: int,
        options: int,
        group: int,
        sequence: int,
    ) -> None:
        frame = t.EmberApsFrame(
            profileId=profile,
            clusterId=cluster,
            sourceEndpoint=mine,
            destinationEndpoint=theirs,
            options=t.EmberApsOption(options),
            groupId=0xFF00 | group & 0xFF,
            sequence=sequence,
        )
        task = asyncio.create_task(self.sendReply(t.EmberNodeId(node), frame, b""))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _add_fragment(self, node: int, sequence: int, group: int, part: bytes) -> bytes | None:
        """The message, when this was the last fragment it lacked. The first says how many."""
        count, number = group >> 8, group & 0xFF
        key = (node, sequence)
        if number == 0:
            self._partial.pop(key, None)
            while len(self._partial) >= _MAX_PARTIAL:
                del self._partial[next(iter(self._partial))]
            self._partial[key] = {-1: bytes((count,))}
        parts = self._partial.get(key)
        if parts is None:
            return None
        parts[number] = part
        total = parts[-1][0]
        if len(parts) <= total:
            return None
        del self._partial[key]
        return b"".join(parts[number] for number in range(total))
