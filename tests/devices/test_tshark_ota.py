"""tshark as a foreign reader of every OTA command that hub and device send, optional fields too."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from air_support import NETWORK_KEY, Air, form, join, link_key
from ota_rig import DEVICE, KIND, MAKER, NEW, ServerRig, make_image
from test_ota_pair import Home
from tshark_support import read_by_tshark

from emulator.devices.ota_personalities import EMBER_PAGES, PERSONALITIES
from emulator.devices.ota_server import OtaServerParameters
from emulator.zigbee import ota, zcl

pytestmark = [
    pytest.mark.real_clock,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
BRIDGE = 0x0011223344556677
OTA_FIELDS = "zbee_zcl_general.ota"
FIELDS = {
    "to_server": f"{OTA_FIELDS}.cmd.srv_rx.id",
    "to_client": f"{OTA_FIELDS}.cmd.srv_tx.id",
    "status": f"{OTA_FIELDS}.status",
    "page_size": f"{OTA_FIELDS}.page.size",
    "spacing": f"{OTA_FIELDS}.rsp_spacing",
    "period": f"{OTA_FIELDS}.min_block_period",
    "node": f"{OTA_FIELDS}.ieee_addr",
    "wait": f"{OTA_FIELDS}.request_time",
    "upgrade": f"{OTA_FIELDS}.upgrade_time",
    "size": f"{OTA_FIELDS}.image.size",
    "malformed": "_ws.malformed",
    "expert": "_ws.expert.severity",
}


def updates() -> list[tuple[bool, bytes]]:
    """What hub and devices of several makes say in whole updates: to the server or not, octets."""
    said: list[tuple[bool, bytes]] = []
    for make, parameters in (
        ("ember-pages", OtaServerParameters(serve_pages=True)),
        ("ember-pages", OtaServerParameters()),
        ("ti", OtaServerParameters(minimum_block_period_ms=150)),
        ("telink", OtaServerParameters(upgrade_time_s=60)),
    ):
        home = Home(server=parameters)
        home.add(parameters=PERSONALITIES[make])
        home.offer(make_image(300))
        home.run_until_seen(NEW)
        said += [(to_server, frame) for _, to_server, frame in home.log]
    return said + specials()


def specials() -> list[tuple[bool, bytes]]:
    """Commands that no client here sends, or that are said when something is wrong."""
    rig = ServerRig(make_image(upgrade_file_destination=DEVICE))
    said: list[tuple[bool, bytes]] = []

    def ask(number: int, command: Any) -> None:
        rig.receive(number, command)
        body = ota.build(command)
        said.append((True, bytes((zcl.REQUEST, rig.tsn, number)) + body))
        said.extend((False, octets(answer)) for answer in rig.answers)

    rig.offer()
    rig.server.suspend(100.0)
    query = ota.QueryDeviceSpecificFileRequest(DEVICE, MAKER, KIND, NEW, 2)
    ask(ota.QUERY_DEVICE_SPECIFIC_FILE_REQUEST, query)
    ask(ota.QUERY_DEVICE_SPECIFIC_FILE_REQUEST, query._replace(image_type=9))
    ask(ota.IMAGE_BLOCK_REQUEST, ota.ImageBlockRequest(MAKER, KIND, NEW, 0, 56, DEVICE, 20))
    rig.store.clear()
    ask(ota.IMAGE_BLOCK_REQUEST, ota.ImageBlockRequest(MAKER, KIND, NEW, 0, 56))
    ask(ota.UPGRADE_END_REQUEST, ota.UpgradeEndRequest(0x96, MAKER, KIND, NEW))
    return said


def octets(frame: zcl.ZclFrame) -> bytes:
    return bytes((frame.frame_control, frame.tsn, frame.command)) + frame.payload


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every frame of those updates, on an air under both keys, as tshark reads it."""
    air = Air(1)
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    for to_server, frame in updates():
        sender, other = (bridge, hub) if to_server else (hub, bridge)
        sender.send(other, frame)
        air.clock.run_for(0.1)
    path = tmp_path_factory.mktemp("ota") / "air.pcapng"
    air.write_pcapng(path)
    frames = read_by_tshark(path, FIELDS, NETWORK_KEY, link_key(BRIDGE))
    return [{name: values[0] for name, values in frame.items()} for frame in frames]


def test_no_ota_frame_is_malformed_to_a_foreign_reader(read: list[dict[str, Any]]) -> None:
    assert [frame for frame in read if "malformed" in frame or "expert" in frame] == []


def test_all_ten_commands_are_what_they_should_be_to_a_foreign_reader(
    read: list[dict[str, Any]],
) -> None:
    to_server = {int(frame["to_server"], 16) for frame in read if "to_server" in frame}
    to_client = {int(frame["to_client"], 16) for frame in read if "to_client" in frame}
    assert to_server == {1, 3, 4, 6, 8}
    assert to_client == {0, 2, 5, 7, 9}


def test_optional_fields_are_read_as_they_were_meant(read: list[dict[str, Any]]) -> None:
    pages = [frame for frame in read if "page_size" in frame]
    assert {(int(one["page_size"], 0), int(one["spacing"], 0)) for one in pages} == {
        (300, EMBER_PAGES.page_spacing_ms)
    }
    asked = [one for one in read if "period" in one and "to_server" in one]
    assert {int(one["period"], 0) for one in asked} == {0, 150, 20}
    # tshark 4.0 does not read the period in an answer; that it is there it does not complain of.
    assert {int(one["wait"], 0) for one in read if "wait" in one} >= {0, 100}
    statuses = {int(one["status"], 16) for one in read if one.get("to_client") == "0x05"}
    assert statuses == {0x00, 0x95, 0x97}
    assert {int(one["node"], 0) for one in read if "node" in one} == {DEVICE}
