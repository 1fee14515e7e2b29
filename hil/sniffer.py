"""A stick beside the others that hears the air of real radios: it makes `air.pcapng`.

Source: DESIGN, "What it promises to the outside": on real radios `air.pcapng` exists only with a
sniffer stick. A stick gives frames without their FCS, and without a time of its own: the FCS is
computed anew (a stick hands on no frame whose FCS was wrong), the time is that of arrival here.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from emulator.devices.stick import sniffing
from emulator.medium.pcapng import PcapngWriter
from emulator.zigbee.mac import FCS_OCTETS, fcs
from hil.evidence import Evidence

CAPTURE = "air.pcapng"


@asynccontextmanager
async def captured(url: str, channel: int, evidence: Evidence) -> AsyncIterator[None]:
    """Write what a stick hears for as long as this lasts. Raises NodeError."""
    writer = PcapngWriter(evidence.open_binary(CAPTURE).write)

    def heard(packet: bytes, rssi_dbm: int, lqi: int) -> None:
        mpdu = packet[:-FCS_OCTETS]
        writer.frame(
            time.time_ns() // 1000,
            mpdu + fcs(mpdu),
            channel=channel,
            rssi_dbm=rssi_dbm,
            lqi=lqi,
            epoch_us=0,
            comment="",
        )

    async with sniffing(url, channel, heard):
        yield
