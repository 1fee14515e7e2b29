"""tshark as a foreign reader of a network of several hops: every command, every relayed frame."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from air_support import NETWORK_KEY, SMART_ENERGY, smart_energy
from mesh_support import Mesh, line, node_eui64, pair_key, short_address
from tshark_support import read_by_tshark

from emulator.zigbee import nwk, zdo, zdo_management
from emulator.zigbee.concentrator import ConcentratorParameters
from emulator.zigbee.events import OPTION_ENCRYPTION, OPTION_RETRY, Aps, MessageReceived

pytestmark = [
    pytest.mark.real_clock,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

# ZCL, by hand: Image Block Response of 48 octets at offset 0, which three relays leave room for
BLOCK = bytes.fromhex("19 21 05 00 1D 12 84 00 00 02 01 00 00 00 00 00 30") + bytes(range(48))

FIELDS = {
    "length": "wpan.frame_length",
    "fcs_ok": "wpan.fcs_ok",
    "mac_source": "wpan.src16",
    "mac_destination": "wpan.dst16",
    "source": "zbee_nwk.src",
    "radius": "zbee_nwk.radius",
    "relays": "zbee_nwk.relay",
    "relay_index": "zbee_nwk.relay.index",
    "command": "zbee_nwk.cmd.id",
    "asked": "zbee_nwk.cmd.route.dest",
    "cost": "zbee_nwk.cmd.route.cost",
    "responder": "zbee_nwk.cmd.route.resp",
    "responder_ieee": "zbee_nwk.cmd.route.resp_ext",
    "many_to_one": "zbee_nwk.cmd.route.opts.many2one",
    "status": "zbee_nwk.cmd.status",
    "recorded": "zbee_nwk.cmd.relay_device",
    "links": "zbee_nwk.cmd.link.address",
    "incoming_cost": "zbee_nwk.cmd.link.incoming_cost",
    "aps_type": "zbee_aps.type",
    "group": "zbee_aps.group",
    "zdp_cluster": "zbee_aps.zdp_cluster",
    "table_size": "zbee_zdp.table_size",
    "ota": "zbee_zcl_general.ota.cmd.srv_tx.id",
    "ota_octets": "zbee_zcl_general.ota.data_size",
    "malformed": "_ws.malformed",
    "expert": "_ws.expert.severity",
}


def a_busy_network(path: Path) -> Mesh:
    """Four hops: a concentrator, a block by source route, a break, tables asked for, a group."""
    mesh = line(5)
    hub, far = mesh.nodes[0], mesh.nodes[4]
    hub.stack.routing.source_routes.size = 16
    far.stack.groups = {0x4242: [1]}
    mesh.deliver(0, 4, b"\x01\x05\x02")  # by a route that is looked for
    hub.stack.routing.concentrator.set_up(ConcentratorParameters(True, 10, 60, 3, 3))
    mesh.run(2)
    mesh.deliver(4, 0, b"\x01\x06\x02")  # with a route record
    mesh.deliver(0, 4, BLOCK)
    group = Aps(SMART_ENERGY, 0x0019, 1, 0, 0, 0x4242)
    hub.stack.aps.send_multicast(nwk.BROADCAST_RX_ON, group, b"\x01\x07\x02", 0)
    mesh.run(31)  # two Link Status of everybody
    for cluster in (zdo_management.MGMT_LQI, zdo_management.MGMT_RTG):
        parameters = Aps(zdo.PROFILE, cluster, 0, 0, OPTION_RETRY)
        hub.send(mesh.nodes[2], b"\x21\x00", parameters)
        mesh.run(1)
    mesh.nodes[3].stack.close()
    hub.send(far, b"\x01\x08\x02", smart_energy(OPTION_RETRY | OPTION_ENCRYPTION))
    mesh.run(12)
    mesh.air.write_pcapng(path)
    return mesh


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mesh, list[dict[str, Any]]]:
    path = tmp_path_factory.mktemp("mesh") / "air.pcapng"
    made = a_busy_network(path)
    return made, read_by_tshark(path, FIELDS, NETWORK_KEY, pair_key(0, 4))


def of(frames: list[dict[str, Any]], name: str, value: str) -> list[dict[str, Any]]:
    return [frame for frame in frames if frame.get(name) == [value]]


def word(number: int) -> str:
    return f"0x{short_address(number):04x}"


Captured = tuple[Mesh, list[dict[str, Any]]]


def test_every_frame_reads_without_complaint(mesh: Captured) -> None:
    made, frames = mesh
    assert len(frames) == len(made.air.frames)
    assert {value for frame in frames for value in frame["fcs_ok"]} == {"1"}
    assert [frame for frame in frames if "malformed" in frame or "expert" in frame] == []


def test_every_kind_of_command_is_what_it_should_be(mesh: Captured) -> None:
    _, frames = mesh
    first = of(frames, "command", "0x01")[0]
    assert (first["asked"], first["cost"], first["many_to_one"]) == ([word(4)], ["0"], ["0x00"])
    many = next(f for f in of(frames, "command", "0x01") if f["many_to_one"] != ["0x00"])
    assert (many["asked"], many["many_to_one"]) == (["0xfffc"], ["0x01"])
    replies = of(frames, "command", "0x02")[:4]
    assert [frame["responder"] for frame in replies] == [[word(4)]] * 4
    assert [frame["cost"] for frame in replies] == [["0"], ["1"], ["2"], ["3"]]
    ieee = ":".join(f"{octet:02x}" for octet in node_eui64(4).to_bytes(8, "big"))
    assert replies[-1]["responder_ieee"] == [ieee]
    (failure, *_) = of(frames, "command", "0x03")
    assert failure["status"] == ["0x0b"]
    records = of(frames, "command", "0x05")
    assert max((frame.get("recorded", []) for frame in records), key=len) == [
        word(3),
        word(2),
        word(1),
    ]
    links = of(frames, "command", "0x08")
    assert [word(1), word(3)] in [frame.get("links") for frame in links]
    assert {cost for frame in links for cost in frame.get("incoming_cost", [])} == {"1"}


def test_a_block_of_the_most_octets_that_three_relays_allow_reads_on_every_hop(
    mesh: Captured,
) -> None:
    _, frames = mesh
    blocks = list({frame["mac_source"][0]: frame for frame in of(frames, "ota", "0x05")}.values())
    assert [frame["mac_source"] for frame in blocks] == [
        ["0x0000"],
        [word(1)],
        [word(2)],
        [word(3)],
    ]
    assert {frame["length"][0] for frame in blocks} == {"125"}  # without FCS: 127 on the air
    assert {frame["ota_octets"][0] for frame in blocks} == {"48"}
    relays = [str(short_address(number)) for number in (3, 2, 1)]
    assert [frame["relays"] for frame in blocks] == [relays] * 4
    assert [frame["relay_index"][0] for frame in blocks] == ["2", "1", "0", "0"]
    assert [frame["radius"][0] for frame in blocks] == ["30", "29", "28", "27"]


def test_a_group_message_and_the_tables_of_a_router_read(mesh: Captured) -> None:
    made, frames = mesh
    assert len(of(frames, "group", "0x4242")) == 5  # once from each node
    assert made.nodes[4].received()[-1] == b"\x01\x07\x02"
    (lqi,) = [
        frame
        for frame in of(frames, "zdp_cluster", "0x8031")
        if frame["mac_destination"] == ["0x0000"]
    ]
    (rtg,) = [
        frame
        for frame in of(frames, "zdp_cluster", "0x8032")
        if frame["mac_destination"] == ["0x0000"]
    ]
    assert lqi["table_size"] == ["2"]
    answers = [
        event.payload for event in made.nodes[0].events if isinstance(event, MessageReceived)
    ]
    by_cluster = [answer for answer in answers if answer[:2] == b"\x21\x00"]
    assert [answer[2] for answer in by_cluster] == [2, int(rtg["table_size"][0])]
