"""tshark as a foreign reader of the commands about keys."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from air_support import NETWORK_KEY, Air, form, join, link_key
from tshark_support import read_by_tshark

from emulator.zigbee.events import Status
from emulator.zigbee.trust_center import ApplicationKeyPolicy, TrustCenterKeyPolicy

pytestmark = [
    pytest.mark.real_clock,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

BRIDGE = 0x0011223344556677
PPMID = 0x8899AABBCCDDEEFF
NEW_KEY = bytes(range(100, 116))
LATER_KEY = bytes(range(50, 66))
FIELDS = (
    "wpan.src16",
    "zbee_nwk.src",
    "zbee_nwk.cmd.id",
    "zbee_aps.cmd.id",
    "zbee_aps.cmd.key",
    "zbee_aps.cmd.key_type",
    "zbee_aps.cmd.seqno",
    "zbee_aps.cmd.device",
    "zbee_aps.cmd.partner",
    "zbee_aps.cmd.status",
    "zbee.sec.key_id",
    "wpan.fcs_ok",
    "_ws.malformed",
    "_ws.expert.severity",
    "data.len",
)


def everything_about_keys(path: Path) -> tuple[Air, dict[str, bytes]]:
    air = Air(5)
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    join(air, hub, "ppmid", PPMID)
    hub.stack.trust_center.trust_center_key_policy = TrustCenterKeyPolicy.GENERATE_NEW
    hub.stack.trust_center.application_key_policy = ApplicationKeyPolicy.ALLOW
    assert bridge.stack.trust_center_link.request_link_key(PPMID) is Status.OK
    air.clock.run_for(2)
    assert bridge.stack.trust_center_link.update_link_key(1) is Status.OK
    air.clock.run_for(2)
    hub.stack.key_switch.broadcast_next(NEW_KEY)
    air.clock.run_for(10)
    hub.stack.key_switch.broadcast_switch()
    air.clock.run_for(1)
    bridge_short = bridge.stack.short_address
    hub.stack.key_switch.unicast_next(bridge_short, BRIDGE, LATER_KEY)
    air.clock.run_for(1)
    application_key = bridge.stack.state.link_key_of(PPMID)
    link = bridge.stack.state.preconfigured_key
    assert application_key is not None
    assert link is not None
    hub.stack.trust_center.remove_device(bridge_short, BRIDGE, BRIDGE)
    hub.stack.trust_center.remove_device(0, hub.stack.state.eui64, PPMID)
    air.clock.run_for(1)
    air.write_pcapng(path)
    return air, {"application": application_key.key, "link": link}


def tshark(path: Path, *keys: bytes) -> list[dict[str, Any]]:
    return read_by_tshark(path, {field: field for field in FIELDS}, *keys)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Air, dict[str, bytes]]:
    path = tmp_path_factory.mktemp("keys") / "air.pcapng"
    return path, *everything_about_keys(path)


@pytest.fixture(scope="module")
def frames(capture: tuple[Path, Air, dict[str, bytes]]) -> list[dict[str, list[str]]]:
    """Read with the keys of the labels: every other key comes over the air under these."""
    return tshark(capture[0], link_key(BRIDGE), link_key(PPMID), NETWORK_KEY)


def of_command(frames: list[dict[str, Any]], number: str) -> list[dict[str, Any]]:
    """What its sender said, not what routers repeated of it."""
    return [
        frame
        for frame in frames
        if frame.get("zbee_aps.cmd.id") == [number] and frame["wpan.src16"] == frame["zbee_nwk.src"]
    ]


def test_every_frame_about_keys_reads_without_complaint(
    capture: tuple[Path, Air, dict[str, bytes]], frames: list[dict[str, Any]]
) -> None:
    assert len(frames) == len(capture[1].frames)
    assert {value for frame in frames for value in frame["wpan.fcs_ok"]} == {"1"}
    complaints = [
        frame for frame in frames if "_ws.malformed" in frame or "_ws.expert.severity" in frame
    ]
    assert complaints == []
    assert [frame for frame in frames if "data.len" in frame] == []


def test_keys_cross_the_air_as_what_they_are(
    capture: tuple[Path, Air, dict[str, bytes]], frames: list[dict[str, Any]]
) -> None:
    _, _, keys = capture
    seen = [
        (frame["zbee_aps.cmd.key_type"][0], frame["zbee_aps.cmd.key"][0])
        for frame in of_command(frames, "0x05")
    ]
    application, link = keys["application"].hex(), keys["link"].hex()
    assert seen == [
        ("0x01", NETWORK_KEY.hex()),
        ("0x01", NETWORK_KEY.hex()),
        ("0x03", application),
        ("0x03", application),
        ("0x04", link),
        ("0x01", NEW_KEY.hex()),
        ("0x01", LATER_KEY.hex()),
    ]
    # key ids: network and key-transport, key-load
    ids = [frame["zbee.sec.key_id"] for frame in of_command(frames, "0x05")]
    assert ids == [
        ["0x02"],
        ["0x02"],
        ["0x01", "0x03"],
        ["0x01", "0x03"],
        ["0x01", "0x03"],
        ["0x01"],
        ["0x01", "0x02"],
    ]


def test_requests_proofs_and_orders_read(frames: list[dict[str, Any]]) -> None:
    assert [frame["zbee_aps.cmd.key_type"] for frame in of_command(frames, "0x08")] == [
        ["0x02"],
        ["0x04"],
    ]
    (switch,) = of_command(frames, "0x09")
    assert switch["zbee_aps.cmd.seqno"] == ["1"]
    (verify,) = of_command(frames, "0x0f")
    assert verify["zbee_aps.cmd.key_type"] == ["0x04"]
    (confirm,) = of_command(frames, "0x10")
    assert confirm["zbee.sec.key_id"] == ["0x01", "0x00"]
    (remove,) = of_command(frames, "0x07")
    assert remove["zbee_aps.cmd.device"] == ["00:11:22:33:44:55:66:77"]
    leaves = [frame for frame in frames if frame.get("zbee_nwk.cmd.id") == ["0x04"]]
    assert len(leaves) == 3  # one told to leave, two that left


def test_with_the_network_keys_alone_no_link_key_reads(
    capture: tuple[Path, Air, dict[str, bytes]],
) -> None:
    path, _, keys = capture
    member = tshark(path, NETWORK_KEY, NEW_KEY)
    read = {frame["zbee_aps.cmd.key"][0] for frame in member if "zbee_aps.cmd.key" in frame}
    assert read == {NEW_KEY.hex()}  # the broadcast is for every member
    assert not read & {key.hex() for key in keys.values()}
