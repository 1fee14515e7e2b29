"""Routes, neighbours, bindings and groups as bellows asks for them, in every version of EZSP."""

from __future__ import annotations

from typing import Any

import bellows.types as t
import pytest
from air_support import OTA, SMART_ENERGY
from bellows.ezsp import EZSP
from mesh_support import Mesh, commands, line, node_eui64, short_address

from emulator.ncp.ezsp import Ezsp
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS, Tables
from emulator.zigbee import nwk_commands
from emulator.zigbee.concentrator import NO_REQUEST_MS
from emulator.zigbee.events import (
    AddressConflict,
    Aps,
    Event,
    MessageKind,
    MessageReceived,
    NetworkStatusHeard,
    Status,
)
from emulator.zigbee.nwk_commands import ROUTE_REQUEST

TABLES = {version: Tables(version) for version in SUPPORTED_VERSIONS}
versions = pytest.mark.parametrize("version", SUPPORTED_VERSIONS)

ONE, TWO = short_address(1), short_address(2)
LOW_RAM, HIGH_RAM = 0xFFF8, 0xFFF9
DEFAULTS: dict[str, Any] = {
    "alias": 0,
    "sequence": 0,
    "nonmemberRadius": 0,
    "broadcast_addr": t.BroadcastAddress.RX_ON_WHEN_IDLE,
}


class Hub:
    """The first node of a line, driven by bellows' protocol of one version."""

    def __init__(self, version: int, mesh: Mesh | None = None) -> None:
        self.version = version
        self.mesh = mesh or line(3)
        self.stack = self.mesh.nodes[0].stack
        self.ezsp = Ezsp(TABLES[version], self.stack)
        self.stack.on_event = self.tell
        self.protocol = EZSP._BY_VERSION[version](lambda *_: None, None)

    def tell(self, event: Event) -> None:
        frame = self.ezsp.callback(event)
        if frame is not None:
            self.ezsp.keep_callback(frame)

    def has(self, name: str) -> bool:
        return name in self.protocol.COMMANDS

    def ask(self, name: str, **fields: Any) -> dict[str, Any]:
        response = self.ezsp.receive(self.protocol._ezsp_frame(name, **fields))
        assert response is not None
        _, frame_id, body = self.protocol._ezsp_frame_rx(response)
        assert frame_id == self.protocol.COMMANDS[name][0], f"{name} was not answered"
        got, rest = t.deserialize_dict(body, self.protocol.COMMANDS[name][2])
        assert rest == b""
        return dict(got)

    def status(self, name: str, **fields: Any) -> t.sl_Status:
        return t.sl_Status.from_ember_status(self.ask(name, **fields)["status"])

    def good(self, name: str, **fields: Any) -> dict[str, Any]:
        got = self.ask(name, **fields)
        assert not got.get("status"), f"{name}: {got}"
        return got

    def callbacks(self) -> list[tuple[str, dict[str, Any]]]:
        told = []
        for frame in self.ezsp.take_callbacks(64):
            _, frame_id, body = self.protocol._ezsp_frame_rx(frame)
            name, _, schema = self.protocol.COMMANDS_BY_ID[frame_id]
            fields, rest = t.deserialize_dict(body, schema)
            assert rest == b""
            told.append((name, dict(fields)))
        return told

    def told(self, name: str) -> list[dict[str, Any]]:
        return [fields for callback, fields in self.callbacks() if callback == name]

    def configure(self, number: int, value: int) -> None:
        self.good("setConfigurationValue", configId=t.EzspConfigId(number), value=value)

    def concentrator(
        self, kind: int = HIGH_RAM, on: bool = True, max_time: int = 60
    ) -> t.sl_Status:
        return self.status(
            "setConcentrator",
            on=t.Bool(on),
            concentratorType=kind,
            minTime=10,
            maxTime=max_time,
            routeErrorThreshold=3,
            deliveryFailureThreshold=3,
            maxHops=0,
        )

    def send(
        self, name: str, message: bytes, aps: t.EmberApsFrame, **fields: Any
    ) -> dict[str, Any]:
        """sendUnicast or sendMulticast, whatever its fields are called in this version."""
        known = {**DEFAULTS, **fields}
        known |= {"aps_frame": aps, "apsFrame": aps}
        known |= {"message": message, "messageContents": message, "message_tag": 5, "messageTag": 5}
        if "kind" in fields:
            known |= {"type": fields["kind"], "message_type": fields["kind"]}
            known |= {"nwk": fields["to"], "indexOrDestination": fields["to"]}
        schema = self.protocol.COMMANDS[name][1]
        return self.ask(name, **{field: known[field] for field in schema})


def aps_frame(options: int = 0x40, group: int = 0) -> t.EmberApsFrame:
    return t.EmberApsFrame(
        profileId=SMART_ENERGY,
        clusterId=OTA,
        sourceEndpoint=1,
        destinationEndpoint=1,
        options=t.EmberApsOption(options),
        groupId=group,
        sequence=0,
    )


@versions
def test_a_host_makes_its_stick_a_concentrator_and_sees_the_ways(version: int) -> None:
    hub = Hub(version)
    hub.configure(0x1A, 16)
    assert hub.concentrator() == t.sl_Status.OK
    hub.mesh.run(2)
    assert len(commands(hub.mesh.air, ROUTE_REQUEST)) == 3
    hub.mesh.nodes[2].send(hub.mesh.nodes[0], b"here I am")
    hub.mesh.run(1)
    (record,) = hub.told("incomingRouteRecordHandler")
    assert (record["source"], list(record["relayList"])) == (TWO, [ONE])
    assert record["sourceEui"].serialize() == node_eui64(2).to_bytes(8, "little")
    if version >= 6:
        assert hub.ask("getSourceRouteTableFilledSize")["sourceRouteTableFilledSize"] == 2
        assert hub.ask("getSourceRouteTableTotalSize")["sourceRouteTableTotalSize"] == 16
        first = hub.good("getSourceRouteTableEntry", index=0)
        assert (first["destination"], first["closerIndex"]) == (TWO, 1)
        last = hub.good("getSourceRouteTableEntry", index=1)
        assert (last["destination"], last["closerIndex"]) == (ONE, 0xFF)
        assert hub.ask("getSourceRouteTableEntry", index=2)["status"]
    assert hub.concentrator(kind=0x1234) == t.sl_Status.INVALID_PARAMETER
    assert hub.concentrator(max_time=5) == t.sl_Status.INVALID_PARAMETER
    asked = len(commands(hub.mesh.air, ROUTE_REQUEST))
    assert hub.concentrator(on=False) == t.sl_Status.OK
    hub.mesh.run(200)
    assert len(commands(hub.mesh.air, ROUTE_REQUEST)) == asked
    hub.good("sendManyToOneRouteRequest", concentratorType=LOW_RAM, radius=1)
    hub.mesh.run(1)
    (sent,) = commands(hub.mesh.air, ROUTE_REQUEST)[asked:]
    assert nwk_commands.parse_route_request(sent[1]).many_to_one == 2
    assert hub.status("sendManyToOneRouteRequest", concentratorType=1, radius=1)


@pytest.mark.parametrize("version", [version for version in SUPPORTED_VERSIONS if version >= 8])
def test_a_host_turns_the_requests_off_and_learns_when_the_next_is_due(version: int) -> None:
    hub = Hub(version)
    hub.concentrator()
    mode = t.SourceRouteDiscoveryMode

    def set_mode(number: int) -> int:
        return int(hub.ask("setSourceRouteDiscoveryMode", mode=number)["remainingTime"])

    assert set_mode(mode.OFF) == NO_REQUEST_MS
    hub.mesh.run(5)
    assert commands(hub.mesh.air, ROUTE_REQUEST) == []
    assert set_mode(mode.ON) == 1000
    hub.mesh.run(5)
    assert set_mode(mode.RESCHEDULE) == 60_000


@versions
def test_a_router_tells_its_host_of_a_concentrator(version: int) -> None:
    mesh = line(3)
    hub = Hub(version, mesh)
    mesh.nodes[2].stack.routing.concentrator.ask(True, 0)
    mesh.run(1)
    (told,) = hub.told("incomingManyToOneRouteRequestHandler")
    assert (told["source"], told["cost"]) == (TWO, 2)
    assert told["longId"].serialize() == node_eui64(2).to_bytes(8, "little")


@versions
def test_a_host_gives_a_source_route_itself(version: int) -> None:
    hub = Hub(version)
    assert hub.status("setSourceRoute", destination=TWO, relayList=[ONE]) == t.sl_Status.OK
    for relays in ([TWO], [ONE, ONE], [0], [0xFFFD]):
        status = hub.status("setSourceRoute", destination=TWO, relayList=relays)
        assert status == t.sl_Status.INVALID_PARAMETER
    assert hub.status("setSourceRoute", destination=7, relayList=[ONE, 8]) == t.sl_Status.FULL
    sent = hub.send(
        "sendUnicast", b"by relay 1", aps_frame(), kind=t.EmberOutgoingMessageType(0), to=TWO
    )
    assert not sent["status"]
    hub.mesh.run(1)
    assert hub.mesh.nodes[2].received() == [b"by relay 1"]
    assert commands(hub.mesh.air, ROUTE_REQUEST) != []  # of the acknowledgement's way back
    too_long = hub.send(
        "sendUnicast", bytes(79), aps_frame(), kind=t.EmberOutgoingMessageType(0), to=TWO
    )
    assert t.sl_Status.from_ember_status(too_long["status"]) == t.sl_Status.MESSAGE_TOO_LONG


@versions
def test_a_host_reads_the_neighbour_and_the_routing_table(version: int) -> None:
    hub = Hub(version)
    assert hub.ask("neighborCount")["value"] == 0
    hub.mesh.nodes[0].stack.on_event = hub.tell
    hub.send("sendUnicast", b"hello", aps_frame(), kind=t.EmberOutgoingMessageType(0), to=TWO)
    hub.mesh.run(60)
    assert hub.ask("neighborCount")["value"] == 1
    value = hub.good("getNeighbor", index=0)["value"]
    assert (value.shortId, value.inCost, value.outCost) == (ONE, 1, 1)
    assert value.longId.serialize() == node_eui64(1).to_bytes(8, "little")
    assert hub.ask("getNeighbor", index=1)["status"]
    if version >= 8:
        eui64 = t.EUI64.deserialize(node_eui64(1).to_bytes(8, "little"))[0]
        counter = hub.good("getNeighborFrameCounter", eui64=eui64)["frameCounter"]
        assert counter == hub.mesh.nodes[1].stack.nwk_counter.next_value
        assert hub.ask("getNeighborFrameCounter", eui64=t.EUI64([1] * 8))["status"]
    hub.configure(0x07, 3)
    entries = [hub.good("getRouteTableEntry", index=index)["value"] for index in range(3)]
    active = [(entry.destination, entry.nextHop) for entry in entries if entry.status == 0]
    assert active == [(TWO, ONE)]
    assert [entry.status for entry in entries[1:]] == [t.RouteRecordStatus.UNUSED] * 2
    assert hub.ask("getRouteTableEntry", index=3)["status"]
    hub.configure(0x02, 0)
    assert hub.ask("neighborCount")["value"] == 0


@versions
def test_failures_and_conflicts_are_told_in_the_callbacks_that_the_version_has(
    version: int,
) -> None:
    hub = Hub(version)
    hub.callbacks()
    for status in (0x0B, 0x0C, 0x02):
        hub.tell(NetworkStatusHeard(status, TWO))
    hub.tell(AddressConflict(ONE))
    told = hub.callbacks()
    errors = [fields for name, fields in told if name == "incomingRouteErrorHandler"]
    assert [t.sl_Status.from_ember_status(fields["status"]) for fields in errors] == [
        t.sl_Status.ZIGBEE_SOURCE_ROUTE_FAILURE,
        t.sl_Status.ZIGBEE_MANY_TO_ONE_ROUTE_FAILURE,
    ]
    assert {fields["target"] for fields in errors} == {TWO}
    others = [fields for name, fields in told if name == "incomingNetworkStatusHandler"]
    assert [(int(fields["errorCode"]), fields["target"]) for fields in others] == (
        [(2, TWO)] if version >= 8 else []
    )
    assert told[-1] == ("idConflictHandler", {"nodeId": ONE})


@versions
def test_a_message_goes_where_the_address_table_and_the_binding_table_say(version: int) -> None:
    hub = Hub(version)
    hub.configure(0x04, 4)
    eui64 = t.EUI64.deserialize(node_eui64(2).to_bytes(8, "little"))[0]
    hub.good(
        "replaceAddressTableEntry",
        addressTableIndex=3,
        newEui64=eui64,
        newId=TWO,
        newExtendedTimeout=False,
    )
    entry = t.EmberBindingTableEntry(
        type=t.EmberBindingType.UNICAST_BINDING,
        local=1,
        clusterId=OTA,
        remote=1,
        identifier=eui64,
        networkIndex=0,
    )
    hub.good("setBinding", index=2, value=entry)
    assert hub.good("getBinding", index=2)["value"] == entry
    assert hub.ask("getBindingRemoteNodeId", index=2)["nodeId"] == TWO
    hub.callbacks()
    for kind, index, payload in ((1, 3, b"by address table"), (2, 2, b"by binding")):
        outgoing = t.EmberOutgoingMessageType(kind)
        assert not hub.send("sendUnicast", payload, aps_frame(), kind=outgoing, to=index)["status"]
        hub.mesh.run(1)
        assert hub.mesh.nodes[2].received()[-1] == payload
        (sent,) = hub.told("messageSentHandler")
        assert not sent["status"]
        assert sent.get("message_type", sent.get("type")) == kind
        assert sent.get("nwk", sent.get("indexOrDestination")) == index
        unknown = hub.send("sendUnicast", payload, aps_frame(), kind=outgoing, to=index + 1)
        assert t.sl_Status.from_ember_status(unknown["status"]) == t.sl_Status.INVALID_PARAMETER
    # the device takes another address: both tables follow it
    moved = hub.mesh.nodes[2].stack
    assert moved.state.network is not None
    moved.state.network.short_address = moved.mac.short_address = 0x2222
    moved.announce()
    hub.mesh.run(1)
    assert hub.ask("getBindingRemoteNodeId", index=2)["nodeId"] == 0x2222
    hub.send("sendUnicast", b"moved", aps_frame(), kind=t.EmberOutgoingMessageType(1), to=3)
    hub.mesh.run(1)
    assert hub.mesh.nodes[2].received()[-1] == b"moved"
    if hub.has("getAddressTableRemoteNodeId"):
        assert hub.ask("getAddressTableRemoteNodeId", addressTableIndex=3)["nodeId"] == 0x2222
    else:
        assert hub.good("getAddressTableInfo", index=3)["nwk"] == 0x2222
    hub.good("deleteBinding", index=2)
    assert hub.good("getBinding", index=2)["value"].type == t.EmberBindingType.UNUSED_BINDING
    hub.good("setBinding", index=0, value=entry)
    hub.good("clearBindingTable")
    assert hub.ask("getBindingRemoteNodeId", index=0)["nodeId"] == 0xFFFF
    for name in ("getBinding", "deleteBinding"):
        assert hub.ask(name, index=4)["status"]
    assert hub.ask("setBinding", index=4, value=entry)["status"]


@versions
def test_a_message_to_a_group_reaches_the_endpoints_that_are_in_it(version: int) -> None:
    hub = Hub(version)
    member = Hub(version, hub.mesh)
    member.stack = hub.mesh.nodes[2].stack
    member.ezsp = Ezsp(TABLES[version], member.stack)
    member.stack.on_event = member.tell
    hub.stack.on_event = hub.tell
    for index, endpoint in enumerate((1, 9)):
        row = t.EmberMulticastTableEntry(multicastId=0x4242, endpoint=endpoint, networkIndex=0)
        member.good("setMulticastTableEntry", index=index, value=row)
    sent = hub.send("sendMulticast", b"to the group", aps_frame(0, 0x4242), hops=0)
    assert not sent["status"]
    hub.send("sendMulticast", b"to another", aps_frame(0, 0x4343), hops=0)
    hub.send("sendMulticast", b"one hop", aps_frame(0, 0x4242), hops=1)
    hub.mesh.run(1)
    heard = member.told("incomingMessageHandler")
    assert [f.get("message", f.get("messageContents")) for f in heard] == [b"to the group"] * 2
    frames = [f.get("aps_frame", f.get("apsFrame")) for f in heard]
    assert [(frame.groupId, frame.destinationEndpoint) for frame in frames] == [
        (0x4242, 1),
        (0x4242, 9),
    ]
    assert {int(f.get("message_type", f.get("type"))) for f in heard} == {2}
    assert hub.mesh.nodes[1].received() == []  # in no group
    ends = hub.told("messageSentHandler")
    assert [int(f.get("message_type", f.get("type"))) for f in ends] == [3, 3, 3]
    too_long = hub.send("sendMulticast", bytes(82), aps_frame(0, 0x4242), hops=0)
    assert t.sl_Status.from_ember_status(too_long["status"]) == t.sl_Status.MESSAGE_TOO_LONG
    row = t.EmberMulticastTableEntry(multicastId=0x4242, endpoint=0, networkIndex=0)
    member.good("setMulticastTableEntry", index=0, value=row)
    hub.send("sendMulticast", b"one is left", aps_frame(0, 0x4242), hops=0)
    hub.mesh.run(1)
    assert len(member.told("incomingMessageHandler")) == 1


@versions
def test_sizes_that_a_host_sets_bound_the_tables(version: int) -> None:
    hub = Hub(version)
    for number, value in ((0x02, 5), (0x07, 6), (0x08, 7), (0x1A, 9)):
        hub.configure(number, value)
    hub.configure(0x18, 1)
    routing = hub.stack.routing
    assert hub.stack.neighbours.table_size == 5
    assert (routing.routes.size, routing.requests.size, routing.source_routes.size) == (6, 7, 9)
    assert not hub.stack.relaying.is_on


def test_the_host_hears_what_a_member_sent_to_a_group() -> None:
    mesh = line(2)
    mesh.nodes[0].stack.groups = {7: [1]}
    group = mesh.nodes[1].stack.aps
    status, counter = group.send_multicast(0xFFFD, Aps(SMART_ENERGY, OTA, 1, 0, 0, 7), b"group", 3)
    assert status is Status.OK
    mesh.run(1)
    (heard,) = [event for event in mesh.nodes[0].events if isinstance(event, MessageReceived)]
    assert heard.kind is MessageKind.MULTICAST
    assert heard.aps == Aps(SMART_ENERGY, OTA, 1, 1, 0, 7, counter)
