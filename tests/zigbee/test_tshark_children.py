"""tshark as a foreign reader of end devices: polls, held frames, rejoins, joins by a router."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from air_support import (
    CHANNEL,
    EXTENDED_PAN_ID,
    NETWORK_KEY,
    Air,
    StackHost,
    form,
    join,
    link_key,
)
from tshark_support import read_by_tshark

from emulator.zigbee.events import NodeType, Status
from emulator.zigbee.joining import JoinRequest, TrustCenterPolicy
from emulator.zigbee.state import LinkKey

pytestmark = [
    pytest.mark.real_clock,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

SLEEPER = 0x0011223344556677
ROUTER = 0x0102030405060708
SLEEPY = NodeType.SLEEPY_END_DEVICE

# ZCL, by hand: Query Next Image Request
QUERY = bytes.fromhex("01 05 01 00 1D 12 84 00 01 00 00 00")

FIELDS = {
    "type": "wpan.frame_type",
    "fcs_ok": "wpan.fcs_ok",
    "pending": "wpan.pending",
    "command": "wpan.cmd",
    "association_status": "wpan.assoc.status",
    "nwk_secured": "zbee_nwk.security",
    "nwk_command": "zbee_nwk.cmd.id",
    "rejoin_status": "zbee_nwk.cmd.rejoin_status",
    "rx_on": "zbee_nwk.cmd.cinfo.on_idle",
    "leave_rejoin": "zbee_nwk.cmd.leave.rejoin",
    "leave_request": "zbee_nwk.cmd.leave.request",
    "timeout": "zbee_nwk.cmd.ed_tmo_req",
    "timeout_status": "zbee_nwk.cmd.ed_tmo_rsp_status",
    "takes_polls": "zbee_nwk.cmd.ed_prnt_info.mac_data_poll_keepalive",
    "aps_secured": "zbee_aps.security",
    "aps_command": "zbee_aps.cmd.id",
    "device": "zbee_aps.cmd.device",
    "update": "zbee_aps.cmd.update_status",
    "key": "zbee_aps.cmd.key",
    "profile": "zbee_aps.profile",
    "malformed": "_ws.malformed",
    "expert": "_ws.expert.severity",
}


def everything_on_the_air(path: Path) -> Air:
    """A sleeper joins the hub and rejoins it three ways; then another joins through a router."""
    air = Air(5)
    hub = form(air)
    hub.stack.joining.policy = TrustCenterPolicy(0x13)
    sleeper = join(air, hub, "sleeper", SLEEPER, node_type=SLEEPY)
    router = join(air, hub, "router", ROUTER)
    hub.stack.state.link_keys[0] = LinkKey(SLEEPER, link_key(SLEEPER))
    hub.stack.state.link_keys[1] = LinkKey(ROUTER, link_key(ROUTER))
    hub.stack.aps.keys_changed()
    sleeper.stack.polling.start(500_000, 3)
    for number in (b"\x01", b"\x02"):
        hub.send(sleeper, QUERY[:1] + number + QUERY[2:])
    air.clock.run_for(2)
    sleeper.send(hub, QUERY)
    air.clock.run_for(2)
    for secured in (True, False):
        told = len(sleeper.statuses())
        sleeper.stack.rejoining.start([CHANNEL], secured=secured)
        air.clock.run_until(lambda told=told: len(sleeper.statuses()) > told, 10)  # type: ignore[misc]
        assert sleeper.statuses()[-1] is Status.NETWORK_UP
        air.clock.run_for(2)
    child = hub.stack.children.of_eui64(SLEEPER)
    assert child is not None
    hub.stack.children.remove(child)  # polls, is told to leave, and rejoins
    air.clock.run_for(3)
    hub.stack.joining.permit(0)
    router.stack.joining.permit(255)
    other = StackHost(air, "other", SLEEPER + 1)
    other.stack.state.preconfigured_key = link_key(SLEEPER + 1)
    hub.stack.state.link_keys[2] = LinkKey(SLEEPER + 1, link_key(SLEEPER + 1))
    air.medium.separate("hub", "other")
    other.stack.joining.join(JoinRequest(CHANNEL, EXTENDED_PAN_ID, SLEEPY))
    air.clock.run_until(lambda: other.stack.is_up, 10)
    other.stack.polling.start(500_000, 3)
    air.clock.run_for(2)
    remove = hub.stack.trust_center.remove_device
    remove(router.stack.short_address, router.stack.state.eui64, SLEEPER + 1)
    air.clock.run_for(2)
    assert not other.stack.is_up
    air.write_pcapng(path)
    return air


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("children") / "air.pcapng"
    air = everything_on_the_air(path)
    keys = (NETWORK_KEY, link_key(SLEEPER), link_key(SLEEPER + 1), link_key(ROUTER))
    read = read_by_tshark(path, FIELDS, *keys)
    assert len(read) == len(air.frames)
    return read


def of(frames: list[dict[str, Any]], **wanted: str) -> list[dict[str, Any]]:
    return [
        frame
        for frame in frames
        if all(frame.get(name) == [value] for name, value in wanted.items())
    ]


def test_every_frame_of_end_devices_reads_without_complaint(frames: list[dict[str, Any]]) -> None:
    assert {value for frame in frames for value in frame["fcs_ok"]} == {"1"}
    assert [frame for frame in frames if "malformed" in frame or "expert" in frame] == []


def test_polls_and_what_they_release_read(frames: list[dict[str, Any]]) -> None:
    at = [index for index, frame in enumerate(frames) if frame.get("command") == ["0x04"]]
    assert len(at) > 10
    acks = [frames[index + 1]["pending"] for index in at]
    assert ["1"] in acks
    assert ["0"] in acks
    held = of(frames, type="0x0001", pending="1")
    assert held  # a frame behind which another waits


def test_rejoins_read_with_and_without_security(frames: list[dict[str, Any]]) -> None:
    asked = of(frames, nwk_command="0x06")
    assert [frame["nwk_secured"] for frame in asked] == [["1"], ["0"], ["1"]]
    assert {frame["rx_on"][0] for frame in asked} == {"0"}
    answers = of(frames, nwk_command="0x07")
    assert [frame["nwk_secured"] for frame in answers] == [["1"], ["0"], ["1"]]
    assert {frame["rejoin_status"][0] for frame in answers} == {"0x00"}


def test_timeouts_read(frames: list[dict[str, Any]]) -> None:
    asked = of(frames, nwk_command="0x0b")
    assert {frame["timeout"][0] for frame in asked} == {"8"}
    answers = of(frames, nwk_command="0x0c")
    assert {(frame["timeout_status"][0], frame["takes_polls"][0]) for frame in answers} == {
        ("0", "1")
    }


def test_a_leave_that_asks_to_come_back_reads(frames: list[dict[str, Any]]) -> None:
    leaves = of(frames, nwk_command="0x04")
    assert [(frame["leave_request"], frame["leave_rejoin"]) for frame in leaves[:1]] == [
        (["1"], ["1"])
    ]


def test_a_join_through_a_router_reads(frames: list[dict[str, Any]]) -> None:
    updates = of(frames, aps_command="0x06")
    # joined; later it leaves, and its parent says so
    assert [frame["update"] for frame in updates] == [["0x01"], ["0x02"]]
    assert {frame["device"][0] for frame in updates} == {"00:11:22:33:44:55:66:78"}
    assert {frame["aps_secured"][0] for frame in updates} == {"1"}
    removed = of(frames, aps_command="0x07")[0]
    assert removed["device"] == ["00:11:22:33:44:55:66:78"]


def test_a_key_in_a_tunnel_reads_to_the_key(frames: list[dict[str, Any]]) -> None:
    tunnels = [frame for frame in frames if "0x0e" in frame.get("aps_command", [])]
    (tunnel,) = tunnels
    assert tunnel["aps_command"] == ["0x0e", "0x05"]
    assert tunnel["key"] == [NETWORK_KEY.hex()]
    # and on its last hop, to the joiner, as it is, without security of the network
    passed_on = of(frames, aps_command="0x05")[-1]
    assert passed_on["key"] == [NETWORK_KEY.hex()]
    assert passed_on["nwk_secured"] == ["0"]
