"""Hosts on sticks as strict as firmware: ours keep the order, and bellows' own slips are known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import zigpy.types
from bellows.zigbee.application import ControllerApplication
from bench_support import (
    CHANNEL,
    EXTENDED_PAN_ID,
    HUB_EUI64,
    NEW,
    bench,
    device_node,
    house,
    link_key,
    make_image,
)

import emulator.ncp.ezsp
from emulator.devices.device import DeviceUp
from emulator.devices.node import JoinError, NetworkUp
from emulator.devices.ota_server import QuerySeen
from emulator.ncp.commands.session import Fields, Session
from emulator.ncp.commands.strictness import refuse
from emulator.ncp.ezsp_tables import Refusal

EUI64 = 0x02484E4200000010
WELL_KNOWN_KEY = b"ZigBeeAlliance09"
versions = pytest.mark.parametrize("ezsp", [8, 13, 14, 18])

Refused = list[tuple[str, Refusal]]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Refused:
    """What the sticks of a test refuse by their strictness."""
    kept: Refused = []

    def watched(session: Session, name: str, request: Fields) -> Refusal | None:
        refusal = refuse(session, name, request)
        if refusal is not None:
            kept.append((name, refusal))
        return refusal

    monkeypatch.setattr(emulator.ncp.ezsp, "refuse", watched)
    return kept


# What bellows asks for, is refused, and goes on without: packet buffers of EmberZNet 7.3 and later,
# and from EZSP 14 on a hundred entries behind the address table's end.
BUFFERS = {
    ("getConfigurationValue", Refusal.INVALID_ID),
    ("setConfigurationValue", Refusal.INVALID_ID),
}
ADDRESSES = {("getAddressTableInfo", Refusal.ADDRESS_TABLE_INDEX_OUT_OF_RANGE)}


@versions
async def test_a_device_on_strict_sticks_is_updated(ezsp: int, refused: Refused) -> None:
    async with bench(ezsp=ezsp, strict=True) as made:
        home = await house(made)
        await home.add(EUI64)
        await made.until(lambda: home.told(QuerySeen), limit_s=1800)
        image = make_image(4096)
        home.hub.update(image, [EUI64])
        await made.until(
            lambda: any(one.restarted for one in home.told_by(EUI64, DeviceUp)), limit_s=7200
        )
        up = home.told_by(EUI64, DeviceUp)[-1]
        assert (up.file_version, up.sha256) == (NEW, image.sha256)
        assert set(refused) - ADDRESSES == (BUFFERS if ezsp >= 12 else set())


@asynccontextmanager
async def application(url: str) -> AsyncIterator[Any]:
    app = ControllerApplication(
        {
            "device": {"path": url},
            "use_thread": False,
            "backup_enabled": False,
            "topology_scan_enabled": False,
            "startup_energy_scan": False,
            "network": {
                "channel": CHANNEL,
                "extended_pan_id": EXTENDED_PAN_ID.to_bytes(8, "big").hex(":"),
            },
            "ota": {"enabled": False},
        }
    )
    await app.connect()
    try:
        yield app
    finally:
        await app.shutdown(db=False)


@versions
async def test_zigpy_forms_restarts_and_lets_in_on_a_strict_stick(
    ezsp: int, refused: Refused
) -> None:
    async with bench(ezsp=ezsp, strict=True) as made:
        url = made.stick("stick", HUB_EUI64)
        async with application(url) as app:
            await app.form_network()
        async with application(url) as app:
            await app.start_network()
            device = await device_node(made, EUI64)
            with pytest.raises(JoinError, match="NO_BEACONS"):
                await device.node.join(CHANNEL, EXTENDED_PAN_ID, WELL_KNOWN_KEY)
            await app.permit_with_link_key(
                zigpy.types.EUI64(EUI64.to_bytes(8, "little")),
                zigpy.types.KeyData(link_key(EUI64)),
                time_s=60,
            )
            await device.node.join(CHANNEL, EXTENDED_PAN_ID, link_key(EUI64))
            assert device.events == [NetworkUp()]
        assert set(refused) - ADDRESSES == (BUFFERS if ezsp >= 12 else set())
