"""zigbee-herdsman, a host in another language that shares no line with bellows or with us."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from foreign_device import ENDPOINT, MANUFACTURER, MODEL, PROFILE, foreign_device
from herdsman_host import CHANNEL, EXTENDED_PAN_ID, NETWORK, herdsman, node
from sticks import sticks, sweep, sweep_transports

from emulator.zigbee.security import install_code_crc, install_code_key

pytestmark = pytest.mark.real_clock

VERSIONS = (13, 14, 16, 18, 19)  # those of the sticks' that its ember adapter takes


@pytest.fixture(autouse=True)
def _installed() -> None:
    node()


@sweep(VERSIONS, quick=(13, 19))
async def test_it_forms_a_network_goes_on_in_it_and_takes_it_to_another_stick(
    version: int, tmp_path: Path
) -> None:
    with sticks(2, version) as [stick, spare]:
        async with herdsman(stick.url, tmp_path) as controller:
            assert await controller.do("start") == "reset"
            network = await controller.do("network")
            assert network["panID"] == NETWORK["panID"]
            assert network["channel"] == CHANNEL
            await controller.do("backup")
            await controller.do("stop")
            assert controller.logged() == []
        backup = json.loads((tmp_path / "backup.json").read_text())
        # Its ember adapter writes the address in the order of the wire.
        assert bytes.fromhex(backup["coordinator_ieee"]) == stick.eui64.to_bytes(8, "little")
        assert bytes.fromhex(backup["network_key"]["key"]) == bytes(NETWORK["networkKey"])
        async with herdsman(stick.url, tmp_path) as controller:
            assert await controller.do("start") == "resumed"
            await controller.do("stop")
            assert controller.logged() == []
        async with herdsman(spare.url, tmp_path) as controller:
            assert await controller.do("start") == "restored"
            assert (await controller.do("network"))["panID"] == NETWORK["panID"]
            await controller.do("stop")


@sweep_transports(VERSIONS, quick=[(14, "tcp"), (18, "pty")])
async def test_a_device_on_bellows_joins_its_network_is_interviewed_and_reports(
    version: int, transport: str, tmp_path: Path
) -> None:
    with sticks(2, version, transport) as [hub, other]:
        async with herdsman(hub.url, tmp_path) as controller, foreign_device(other.url) as device:
            await controller.do("start")
            await controller.do("permit", seconds=60)
            await device.join(CHANNEL, EXTENDED_PAN_ID)
            ieee = f"0x{other.eui64:016x}"
            await controller.until(event="deviceJoined", ieee=ieee)
            told = await controller.until(event="deviceInterview", ieee=ieee, status="successful")
            assert (told["manufacturer"], told["model"]) == (MANUFACTURER, MODEL)
            [endpoint] = told["endpoints"]
            assert (endpoint["id"], endpoint["profile"]) == (ENDPOINT, PROFILE)
            assert endpoint["inputs"] == [0x0000, 0x0402]
            await device.report(2150)
            message = await controller.until(event="message", type="attributeReport", ieee=ieee)
            assert message["data"] == {"measuredValue": 2150}
            read = await controller.do(
                "read", ieee=ieee, cluster="genBasic", attributes=["modelId"]
            )
            assert read == {"modelId": MODEL}
            await controller.do("stop")
            assert controller.logged() == []


@sweep(VERSIONS, quick=(14,))
async def test_a_device_that_has_an_install_code_alone_is_let_in(
    version: int, tmp_path: Path
) -> None:
    code = bytes(range(0x30, 0x40))
    with sticks(2, version) as [hub, other]:
        async with herdsman(hub.url, tmp_path) as controller, foreign_device(other.url) as device:
            await controller.do("start")
            printed = (code + install_code_crc(code)).hex().upper()
            await controller.do("installCode", code=f"{other.eui64:016X}|{printed}")
            await controller.do("permit", seconds=60)
            await device.join(CHANNEL, EXTENDED_PAN_ID, install_code_key(code))
            ieee = f"0x{other.eui64:016x}"
            await controller.until(event="deviceInterview", ieee=ieee, status="successful")
            await controller.do("stop")
            assert controller.logged() == []
