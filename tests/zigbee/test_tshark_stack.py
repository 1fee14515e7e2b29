"""tshark as a foreign reader of what the stack puts on the air, from the beacon to the message."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from air_support import (
    CHANNEL,
    EXTENDED_PAN_ID,
    NETWORK_KEY,
    SMART_ENERGY,
    Air,
    StackHost,
    form,
    smart_energy,
)
from tshark_support import read_by_tshark

from emulator.zigbee import zdo
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_FRAGMENT,
    OPTION_RETRY,
    Aps,
    MessageReceived,
    NodeType,
)
from emulator.zigbee.fragments import split
from emulator.zigbee.joining import JoinRequest
from emulator.zigbee.security import install_code_key

pytestmark = [
    pytest.mark.real_clock,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

BRIDGE = 0x0011223344556677
LINK_KEY = install_code_key(bytes.fromhex("83FED3407A939723A5C639B26916D505"))
TUNNELLING = 0x0704
# ZCL, by hand: Query Next Image Request; Transfer Data to the server, tunnel 0, with a long text
QUERY = bytes.fromhex("01 05 01 00 1D 12 84 00 01 00 00 00")
TRANSFER = bytes.fromhex("11 06 02 00 00") + b"a message in fragments. " * 12

FIELDS = {
    "type": "wpan.frame_type",
    "fcs_ok": "wpan.fcs_ok",
    "length": "wpan.frame_length",
    "command": "wpan.cmd",
    "beacon_epid": "zbee_beacon.ext_panid",
    "nwk_type": "zbee_nwk.frame_type",
    "nwk_command": "zbee_nwk.cmd.id",
    "aps_type": "zbee_aps.type",
    "aps_command": "zbee_aps.cmd.id",
    "key": "zbee_aps.cmd.key",
    "profile": "zbee_aps.profile",
    "cluster": "zbee_aps.cluster",
    "zdp_cluster": "zbee_aps.zdp_cluster",
    "fragments": "zbee_aps.fragments",
    "reassembled": "zbee_aps.reassembled.length",
    "block": "zbee_aps.block",
    "ota": "zbee_zcl_general.ota.cmd.srv_rx.id",
    "tunnel": "zbee_zcl_se.tun.cmd.srv_rx.id",
    "malformed": "_ws.malformed",
    "expert": "_ws.expert.severity",
    "data": "data.len",
}


def everything_on_the_air(path: Path) -> tuple[Air, StackHost, StackHost]:
    """A device joins, both ask each other, messages go each way, one in fragments; it leaves."""
    air = Air(3)
    hub = form(air)
    bridge = StackHost(air, "bridge", BRIDGE)
    bridge.stack.state.preconfigured_key = LINK_KEY
    hub.stack.aps.transient_keys[BRIDGE] = LINK_KEY
    hub.stack.joining.permit(255)
    bridge.stack.joining.join(JoinRequest(CHANNEL, EXTENDED_PAN_ID, NodeType.ROUTER))
    air.clock.run_until(lambda: bridge.stack.is_up, 10)
    air.clock.run_for(0.5)
    short = bridge.stack.short_address.to_bytes(2, "little")
    eui64 = BRIDGE.to_bytes(8, "little")
    for cluster, payload in (
        (zdo.NWK_ADDRESS, eui64 + b"\x00\x00"),
        (zdo.IEEE_ADDRESS, short + b"\x00\x00"),
        (zdo.NODE_DESCRIPTOR, short),
        (zdo.POWER_DESCRIPTOR, short),
        (zdo.ACTIVE_ENDPOINTS, short),
        (zdo.SIMPLE_DESCRIPTOR, short + b"\x01"),
        (zdo.MATCH_DESCRIPTOR, short + bytes.fromhex("09 01 01 19 00 00")),
        (zdo.MGMT_PERMIT_JOINING, b"\x00\x00"),
    ):
        hub.send(bridge, b"\x11" + payload, Aps(zdo.PROFILE, cluster, 0, 0, OPTION_RETRY))
        air.clock.run_for(0.3)
    bridge.send(hub, QUERY)
    air.clock.run_for(0.3)
    hub.stack.aps.send_broadcast(0xFFFD, smart_energy(0), bytes.fromhex("09 07 00 00 64"), 0)
    air.clock.run_for(0.3)
    send_in_fragments(air, hub, bridge)
    bridge.stack.leave()
    air.clock.run_for(1)
    air.write_pcapng(path)
    return air, hub, bridge


def send_in_fragments(air: Air, hub: StackHost, bridge: StackHost) -> None:
    options = OPTION_ENCRYPTION | OPTION_RETRY | OPTION_FRAGMENT
    room = hub.stack.aps.max_payload_octets(options)
    blocks = split(TRANSFER, room)
    counter = 0
    for index, block in enumerate(blocks):
        address = Aps(SMART_ENERGY, TUNNELLING, 1, 1, options, len(blocks) << 8 | index, counter)
        to = bridge.stack.short_address
        _, counter = hub.stack.aps.send_unicast(to, address, block, index)
        air.clock.run_for(0.2)
        heard = bridge.events[-1]
        assert isinstance(heard, MessageReceived)
        reply = heard.aps._replace(group=0xFF << 8 | index)
        bridge.stack.aps.acknowledge_fragment(0, reply)
        air.clock.run_for(0.2)


def tshark(path: Path, *keys: bytes) -> list[dict[str, Any]]:
    return read_by_tshark(path, FIELDS, *keys)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Air]:
    path = tmp_path_factory.mktemp("stack") / "air.pcapng"
    air, _, _ = everything_on_the_air(path)
    return path, air


@pytest.fixture(scope="module")
def frames(capture: tuple[Path, Air]) -> list[dict[str, Any]]:
    """Read with the device's preconfigured key alone: the network key comes over the air."""
    return tshark(capture[0], LINK_KEY)


def of(frames: list[dict[str, Any]], name: str, value: str) -> list[dict[str, Any]]:
    return [frame for frame in frames if frame.get(name) == [value]]


def test_every_frame_reads_without_complaint(
    capture: tuple[Path, Air], frames: list[dict[str, Any]]
) -> None:
    assert len(frames) == len(capture[1].frames)
    assert {value for frame in frames for value in frame["fcs_ok"]} == {"1"}
    assert [frame for frame in frames if "malformed" in frame or "expert" in frame] == []


def test_a_join_reads_from_beacon_to_announcement(frames: list[dict[str, Any]]) -> None:
    rare = [frame for frame in frames if frame["type"] != ["0x0002"]]
    commands = [frame.get("command", frame["type"])[0] for frame in rare[:5]]
    # Beacon Request, beacon, Association Request, Data Request, Association Response
    assert commands == ["0x07", "0x0000", "0x01", "0x04", "0x02"]
    assert rare[1]["beacon_epid"] == ["00:db:12:34:56:78:90:a3"]
    # Transport Key opens with the plain preconfigured key and holds the network key
    assert rare[5]["aps_command"] == ["0x05"]
    assert rare[5]["key"] == [NETWORK_KEY.hex()]
    assert rare[6]["zdp_cluster"] == ["0x0013"]


def test_every_zdo_question_and_answer_reads(frames: list[dict[str, Any]]) -> None:
    asked = [0, 1, 2, 3, 5, 4, 6, 0x36]
    seen = [
        int(frame["zdp_cluster"][0], 16)
        for frame in of(frames, "aps_type", "0x00")
        if "zdp_cluster" in frame
    ]
    assert seen[:2] == [0x13, 0x13]  # the hub repeats what the device announces
    assert seen[1:] == [0x13, *(c for cluster in asked for c in (cluster, cluster | 0x8000))]
    acks = [frame for frame in of(frames, "aps_type", "0x02") if "zdp_cluster" in frame]
    assert [int(frame["zdp_cluster"][0], 16) for frame in acks] == asked


def test_a_message_under_the_link_key_reads_and_so_does_its_acknowledgement(
    frames: list[dict[str, Any]],
) -> None:
    (query,) = of(frames, "ota", "0x01")
    assert (query["profile"], query["cluster"]) == (["0x0109"], ["0x0019"])
    after = frames[frames.index(query) + 2]
    assert (after["aps_type"], after["cluster"], after["length"]) == (["0x02"], ["0x0019"], ["52"])


def test_a_message_in_fragments_is_put_together(frames: list[dict[str, Any]]) -> None:
    (whole,) = [frame for frame in frames if "reassembled" in frame]
    assert whole["reassembled"] == [str(len(TRANSFER))]
    assert whole["tunnel"] == ["0x02"]
    parts = [frame["block"][0] for frame in of(frames, "cluster", "0x0704") if "block" in frame]
    assert parts == ["5", "0", "1", "1", "2", "2", "3", "3", "4", "4"]  # each with its answer


def test_a_leave_reads_last(frames: list[dict[str, Any]]) -> None:
    (leave,) = of(frames, "nwk_type", "0x0001")
    assert leave["nwk_command"] == ["0x04"]
    assert leave is frames[-1]


def test_the_capture_holds_what_the_run_put_on_the_air(
    capture: tuple[Path, Air], frames: list[dict[str, Any]]
) -> None:
    # tshark counts a frame without its FCS
    assert [int(frame["length"][0]) + 2 for frame in frames] == [
        len(psdu) for _, psdu in capture[1].frames
    ]


def test_without_keys_nothing_reads_beyond_the_network_header(
    capture: tuple[Path, Air], frames: list[dict[str, Any]]
) -> None:
    blind = tshark(capture[0])
    layers = Counter(name for frame in blind for name in frame)
    for name in ("nwk_command", "profile", "cluster", "zdp_cluster", "key", "ota", "tunnel"):
        assert layers[name] == 0, name
    assert layers["nwk_type"] == sum("nwk_type" in frame for frame in frames)
    assert layers["fcs_ok"] == len(frames)


def test_with_the_network_key_alone_no_smart_energy_payload_reads(
    capture: tuple[Path, Air],
) -> None:
    member = tshark(capture[0], NETWORK_KEY)
    assert of(member, "cluster", "0x0019")
    assert [frame for frame in member if "ota" in frame or "tunnel" in frame] == []
    assert [frame for frame in member if "key" in frame] == []


def test_with_another_devices_key_the_network_key_stays_hidden(
    capture: tuple[Path, Air],
) -> None:
    stranger = tshark(capture[0], bytes(range(16, 32)))
    assert [frame for frame in stranger if "key" in frame or "profile" in frame] == []
