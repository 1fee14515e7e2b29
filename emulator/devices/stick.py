"""What a stick tells of itself before anything is sent through it.

Source: Silicon Labs UG100, chapters 4 to 7 (version, getValue, getConfigurationValue, getMfgToken,
getLibraryStatus, startScan) and 12 (mfglib). Tokens are read and never written: many can be written
only once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from emulator.devices.node import NodeError, radio_errors
from emulator.devices.smart_energy_ezsp import SmartEnergyEzsp

ANSWER_TIMEOUT_S = 15.0  # a stick that is reset, asked its version, and asked the rest
SCAN_TIMEOUT_S = 30.0
_CONFIG_KEY_TABLE_SIZE = 0x1E
_CBKE_163K1, _CBKE_283K1 = 0x06, 0x0D  # EmberLibraryId
_LIBRARY_PRESENT = 0x80
_ENERGY_SCAN = 0
_SCAN_DURATION = 4  # 2^4 + 1 superframes, 0.26 s, a channel


Heard = Callable[[bytes, int, int], object]


@dataclass(frozen=True, slots=True)
class StickInfo:
    """One stick: `firmware` and `board` as it words them, None where it does not; `library` says
    which key establishment its firmware can do."""

    url: str
    eui64: int
    ezsp: int
    firmware: str | None
    manufacturer: str | None
    board: str | None
    key_table_size: int
    library: str

    def __str__(self) -> str:
        names = [name for name in (self.manufacturer, self.board) if name]
        return (
            f"{self.eui64:016X}, {' '.join(names) or 'no board name'}, EZSP {self.ezsp}, firmware "
            f"{self.firmware or 'not told'}, {self.key_table_size} link keys, CBKE {self.library}"
        )


async def ask_stick(url: str) -> StickInfo:
    """Reset a stick and ask it. Raises NodeError for one that does not answer like one."""
    async with _opened(url) as ezsp, asyncio.timeout(ANSWER_TIMEOUT_S):
        (eui64,) = await ezsp.getEui64()
        manufacturer, board, firmware = await ezsp.get_board_info()
        _, size = await ezsp.getConfigurationValue(configId=_CONFIG_KEY_TABLE_SIZE)
        return StickInfo(
            url,
            int.from_bytes(eui64.serialize(), "little"),
            ezsp.ezsp_version,
            firmware,
            manufacturer,
            board,
            int(size),
            await _library(ezsp),
        )


async def scan_energy(url: str, channels: Iterable[int]) -> dict[int, int]:
    """The greatest power heard on each channel, in dBm; nothing is sent. Raises NodeError."""
    mask = sum(1 << channel for channel in channels)
    async with _opened(url) as ezsp, asyncio.timeout(SCAN_TIMEOUT_S):
        heard = await ezsp.startScan(
            scanType=_ENERGY_SCAN, channelMask=mask, duration=_SCAN_DURATION
        )
        return {int(channel): int(rssi) for channel, rssi in heard}


@asynccontextmanager
async def sniffing(url: str, channel: int, heard: Heard) -> AsyncIterator[None]:
    """Listen on a channel, and send nothing: `heard(packet, rssi_dbm, lqi)` gets every frame, the
    last two octets of which are none of its FCS. Raises NodeError."""

    def callback(name: str, arguments: list[Any]) -> None:
        if name == "mfglibRxHandler":
            lqi, rssi_dbm, packet = arguments
            heard(bytes(packet), int(rssi_dbm), int(lqi))

    async with _opened(url) as ezsp:
        ezsp.add_callback(callback)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            for name, argument in (
                ("mfglibStart", {"rxCallback": True}),
                ("mfglibSetChannel", {"channel": channel}),
            ):
                (status,) = await getattr(ezsp, name)(**argument)
                if int(status):
                    raise NodeError(f"the radio {url} is no sniffer: {name} ends with {status!r}")
        yield
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await ezsp.mfglibEnd()


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Any]:
    lost: list[str] = []
    config = {"path": url, "baudrate": 115200, "flow_control": None}
    ezsp = SmartEnergyEzsp(
        config,
        _Nobody(),
        peer_of=lambda _nwk, _eui64: None,
        on_event=lambda _event: None,
        on_lost=lost.append,
    )
    with radio_errors(url, "does not answer like an EZSP stick"):
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await ezsp.connect(use_thread=False)
        try:
            yield ezsp
            if lost:
                raise NodeError(f"the radio {url} was lost: {lost[0]}")
        finally:
            await ezsp.disconnect()


class _Nobody:
    """The application of a stick that is only asked."""

    def connection_lost(self, error: Exception | None) -> None:
        """The command that waits says so."""


async def _library(ezsp: Any) -> str:
    curves = []
    for name, number in (("163k1", _CBKE_163K1), ("283k1", _CBKE_283K1)):
        (status,) = await ezsp.getLibraryStatus(libraryId=number)
        if _LIBRARY_PRESENT <= int(status) < 0xFF:
            curves.append(name)
    return " and ".join(curves) or "absent"
