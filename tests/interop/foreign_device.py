"""A home-automation device on plain bellows: joins, answers reads of Basic, reports a temperature.

Source: ZigBee Cluster Library 07-5123, 2.5.1 and 2.5.11 (read, report attributes), 3.2 (Basic).
Nothing of `emulator.devices` is in it: it is a stranger to hub and stick alike.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import bellows.types as t
from bellows.ezsp import EZSP

PROFILE, ENDPOINT = 0x0104, 1
TEMPERATURE_SENSOR = 0x0302
BASIC, TEMPERATURE = 0x0000, 0x0402
MANUFACTURER, MODEL = "hanbench", "thermometer"
WELL_KNOWN_KEY = b"ZigBeeAlliance09"
JOIN_TIMEOUT_S = 120.0
_READ, _READ_RESPONSE, _REPORT = 0x00, 0x01, 0x0A
_UINT8, _ENUM8, _STRING, _INT16 = 0x20, 0x30, 0x42, 0x29
_UNSUPPORTED = 0x86
_ATTRIBUTES = {
    0x0000: bytes((_UINT8, 3)),  # ZCL version
    0x0004: bytes((_STRING, len(MANUFACTURER))) + MANUFACTURER.encode(),
    0x0005: bytes((_STRING, len(MODEL))) + MODEL.encode(),
    0x0007: bytes((_ENUM8, 3)),  # power source: battery
}


class ForeignDevice:
    """One stick and what runs on it."""

    def __init__(self, ezsp: EZSP) -> None:
        self.ezsp = ezsp
        self._outcome: asyncio.Future[t.sl_Status] | None = None
        self._answers: set[asyncio.Task[Any]] = set()
        self.reads = 0
        ezsp.add_callback(self._callback)

    async def register(self) -> None:
        """Tell the stick of endpoint 1."""
        for number, value in (
            (t.EzspConfigId.CONFIG_STACK_PROFILE, 2),
            (t.EzspConfigId.CONFIG_SECURITY_LEVEL, 5),
        ):
            await self.ezsp.setConfigurationValue(configId=number, value=value)
        await self.ezsp.addEndpoint(
            endpoint=ENDPOINT,
            profileId=PROFILE,
            deviceId=TEMPERATURE_SENSOR,
            deviceVersion=0,
            inputClusterCount=2,
            outputClusterCount=0,
            inputClusterList=[BASIC, TEMPERATURE],
            outputClusterList=[],
        )

    async def join(
        self, channel: int, extended_pan_id: int, link_key: bytes = WELL_KNOWN_KEY
    ) -> None:
        """Join with a link key, the one everybody knows or its own, as soon as it is let in."""
        mask = t.EmberInitialSecurityBitmask
        await self.ezsp.setInitialSecurityState(
            state=t.EmberInitialSecurityState(
                bitmask=mask.HAVE_PRECONFIGURED_KEY | mask.REQUIRE_ENCRYPTED_KEY,
                preconfiguredKey=t.KeyData(link_key),
                networkKey=t.KeyData(bytes(16)),
                networkKeySequenceNumber=0,
                preconfiguredTrustCenterEui64=t.EUI64(bytes(8)),
            )
        )
        parameters = t.EmberNetworkParameters(
            extendedPanId=t.ExtendedPanId(extended_pan_id.to_bytes(8, "little")),
            panId=0xFFFF,
            radioTxPower=8,
            radioChannel=channel,
            joinMethod=t.EmberJoinMethod.USE_MAC_ASSOCIATION,
            nwkManagerId=0,
            nwkUpdateId=0,
            channels=t.Channels.from_channel_list([channel]),
        )
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            while True:
                self._outcome = asyncio.get_running_loop().create_future()
                (status,) = await self.ezsp.joinNetwork(
                    nodeType=t.EmberNodeType.ROUTER, parameters=parameters
                )
                assert t.sl_Status.from_ember_status(status) == t.sl_Status.OK
                outcome = await self._outcome
                if outcome == t.sl_Status.NETWORK_UP:
                    return
                assert outcome == t.sl_Status.NO_BEACONS  # nobody lets it in yet

    async def report(self, hundredths_of_a_degree: int) -> None:
        """Report the temperature to the coordinator."""
        body = struct.pack("<HBh", 0, _INT16, hundredths_of_a_degree)
        await self._send(0, TEMPERATURE, b"\x18\x01" + bytes((_REPORT,)) + body, ENDPOINT)

    async def _send(self, node: int, cluster: int, message: bytes, endpoint: int) -> None:
        status, _ = await self.ezsp.send_unicast(
            nwk=t.EmberNodeId(node),
            aps_frame=t.EmberApsFrame(
                profileId=PROFILE,
                clusterId=cluster,
                sourceEndpoint=ENDPOINT,
                destinationEndpoint=endpoint,
                options=t.EmberApsOption.APS_OPTION_RETRY,
                groupId=0,
                sequence=0,
            ),
            message_tag=t.uint8_t(1),
            data=message,
        )
        assert status == t.sl_Status.OK

    def _callback(self, name: str, arguments: list[Any]) -> None:
        if name == "stackStatusHandler" and self._outcome is not None:
            if not self._outcome.done():
                self._outcome.set_result(t.sl_Status.from_ember_status(arguments[0]))
        elif name == "incomingMessageHandler":
            message = bytes(arguments[-1])
            # The sender stands before binding and address index up to EZSP 13, early after it.
            sender = arguments[4] if self.ezsp.ezsp_version < 14 else arguments[2]
            frame = arguments[1]
            if frame.profileId == PROFILE and message[2:3] == bytes((_READ,)):
                self._answer(int(sender), frame, message)

    def _answer(self, node: int, frame: t.EmberApsFrame, message: bytes) -> None:
        body = b""
        for (number,) in struct.iter_unpack("<H", message[3:]):
            value = _ATTRIBUTES.get(number) if frame.clusterId == BASIC else None
            found = b"\0" + value if value is not None else bytes((_UNSUPPORTED,))
            body += struct.pack("<H", number) + found
        self.reads += 1
        answer = b"\x18" + message[1:2] + bytes((_READ_RESPONSE,)) + body
        task = asyncio.create_task(self._send(node, frame.clusterId, answer, frame.sourceEndpoint))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    def connection_lost(self, error: Exception | None) -> None:
        """bellows tells its application; the test that closes the port knows."""


@asynccontextmanager
async def foreign_device(url: str) -> AsyncIterator[ForeignDevice]:
    ezsp = EZSP({"path": url, "baudrate": 115200, "flow_control": None})
    await ezsp.connect(use_thread=False)
    try:
        device = ForeignDevice(ezsp)
        await device.register()
        yield device
    finally:
        await ezsp.disconnect()
