"""Concentrators: many-to-one requests, route records, source routes, and what fits beside them."""

from __future__ import annotations

import pytest
from air_support import NETWORK_KEY, Air, StackHost, smart_energy
from hypothesis import given
from hypothesis import strategies as st
from mesh_support import Mesh, commands, line, node_eui64, opened, pair_key, short_address
from test_stack import put_on_the_air

from emulator.medium.air import Loss
from emulator.zigbee import mac, nwk, nwk_commands
from emulator.zigbee.concentrator import NO_REQUEST_MS, ConcentratorParameters
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_FRAGMENT,
    OPTION_RETRY,
    ManyToOneRequest,
    NetworkStatusHeard,
    RouteRecordHeard,
    Status,
)
from emulator.zigbee.nwk_commands import (
    NETWORK_STATUS,
    ROUTE_RECORD,
    ROUTE_REQUEST,
    ManyToOne,
    NetworkStatusCode,
)
from emulator.zigbee.routing_tables import Routes, SourceRoutes
from emulator.zigbee.security import FrameKey

HIGH_RAM = ConcentratorParameters(True, 10, 60, 3, 3)
LOW_RAM = ConcentratorParameters(False, 10, 60, 3, 3)


def concentrator(mesh: Mesh, parameters: ConcentratorParameters = HIGH_RAM) -> StackHost:
    hub = mesh.nodes[0]
    hub.stack.routing.source_routes.size = 32
    hub.stack.routing.concentrator.set_up(parameters)
    mesh.run(2)  # the first request goes out after a second, and crosses the network
    return hub


def relays_of(mesh: Mesh, source: int) -> list[tuple[int, ...]]:
    """The source routes of every data frame that `source` sent, hop by hop."""
    frames = [frame for _, psdu in mesh.air.frames if (frame := opened(psdu))]
    return [
        header.relays
        for header, _ in frames
        if header.frame_type == nwk.TYPE_DATA and header.source == source
    ]


def test_a_concentrator_gets_one_record_and_sends_by_it() -> None:
    mesh = line(5)
    hub = concentrator(mesh)
    heard = [e for host in mesh.nodes for e in host.events if isinstance(e, ManyToOneRequest)]
    assert [(event.source, event.cost) for event in heard] == [(0, 1), (0, 2), (0, 3), (0, 4)]
    mesh.deliver(4, 0)
    way = (short_address(3), short_address(2), short_address(1))
    (told,) = [event for event in hub.events if isinstance(event, RouteRecordHeard)]
    assert told == RouteRecordHeard(short_address(4), node_eui64(4), way)
    records = [
        nwk_commands.parse_route_record(octets).relays
        for _, octets in commands(mesh.air, ROUTE_RECORD)
    ]
    assert records == [way[:length] for length in range(4)]  # each relay puts itself behind
    mesh.air.frames.clear()
    mesh.deliver(0, 4, b"by source route")
    mesh.deliver(4, 0, b"no further record")
    assert relays_of(mesh, 0)[:4] == [way] * 4
    frames = [
        frame[0] for _, psdu in mesh.air.frames if (frame := opened(psdu)) and frame[0].relays
    ]
    assert [header.relay_index for header in frames[:4]] == [2, 1, 0, 0]
    assert commands(mesh.air, ROUTE_RECORD) == commands(mesh.air, ROUTE_REQUEST) == []


def test_a_concentrator_without_memory_is_told_the_way_before_every_message() -> None:
    mesh = line(3)
    concentrator(mesh, LOW_RAM)
    for _ in range(3):
        mesh.deliver(2, 0)
    assert len(commands(mesh.air, ROUTE_RECORD)) == 3 * 2
    assert mesh.nodes[0].stack.routing.source_routes.get(short_address(2)) is None
    assert relays_of(mesh, 0) == [()] * 6  # the acknowledgements went by the routing table


def test_a_neighbour_of_the_concentrator_sends_no_record() -> None:
    mesh = line(2)
    concentrator(mesh)
    mesh.deliver(1, 0)
    mesh.deliver(0, 1)
    assert commands(mesh.air, ROUTE_RECORD) == []
    assert set(relays_of(mesh, 0)) == {()}


def test_requests_come_as_often_as_the_host_says_and_sooner_after_failures() -> None:
    mesh = line(4, link_status=False)
    hub = concentrator(mesh, ConcentratorParameters(True, 10, 60, 1, 3))
    routing = hub.stack.routing.concentrator
    assert 58_000 < routing.remaining_ms() <= 59_000

    def asked() -> int:
        return sum(
            header.source == 0 and header.radius == 30
            for header, _ in commands(mesh.air, ROUTE_REQUEST)
        )

    assert asked() == 1
    mesh.run(60)
    assert asked() == 2
    mesh.deliver(3, 0)
    mesh.nodes[2].stack.close()
    hub.send(mesh.nodes[3])
    mesh.run(2)
    assert 0 < routing.remaining_ms() < 10_000
    assert [octets[1] for _, octets in commands(mesh.air, NETWORK_STATUS)] == [0x0B]
    assert hub.events[-1] == NetworkStatusHeard(0x0B, short_address(3))
    routing.reschedule()
    assert routing.remaining_ms() == 60_000
    routing.set_periodic(False)
    assert routing.remaining_ms() == NO_REQUEST_MS
    sent = asked()
    mesh.run(200)
    assert asked() - sent <= 9  # of the message that could not be delivered
    routing.ask(True, 2)
    mesh.run(1)
    (last,) = [
        octets
        for header, octets in commands(mesh.air, ROUTE_REQUEST)
        if header.source == 0 and header.radius == 2
    ]
    assert nwk_commands.parse_route_request(last).many_to_one is ManyToOne.WITH_ROUTE_RECORDS
    routing.set_up(None)
    assert routing.remaining_ms() == NO_REQUEST_MS


def test_the_record_after_a_repair_names_the_new_way() -> None:
    mesh = Mesh(5, [(0, 1), (1, 2), (0, 3), (3, 4), (4, 2)])
    hub = concentrator(mesh)
    mesh.deliver(2, 0)
    assert hub.stack.routing.source_routes.get(short_address(2)) == (short_address(1),)
    mesh.nodes[1].stack.close()
    mesh.run(60)  # the next request comes by the other way
    mesh.deliver(2, 0, b"round")
    way = (short_address(4), short_address(3))
    assert hub.stack.routing.source_routes.get(short_address(2)) == way
    mesh.deliver(0, 2, b"and back")
    assert relays_of(mesh, 0)[-1] == way


def test_a_broken_source_route_falls_back_to_a_route_that_is_looked_for() -> None:
    mesh = Mesh(5, [(0, 1), (1, 2), (0, 3), (3, 4), (4, 2)])
    hub = concentrator(mesh)
    mesh.deliver(2, 0)
    mesh.nodes[1].stack.close()
    mesh.deliver(0, 2, b"all the same")
    assert hub.stack.routing.source_routes.get(short_address(2)) is None


def test_through_losses_source_routed_messages_arrive() -> None:
    mesh = line(4, air=Air(5, (Loss(0.05),)))
    hub = concentrator(mesh)
    for tag in range(30):
        assert hub.send(mesh.nodes[3], bytes((tag,)) * 30, tag=tag) is Status.OK
        mesh.air.clock.run_until(lambda tag=tag: len(hub.sent()) > tag, 20)  # type: ignore[misc]
    assert [event.status for event in hub.sent()].count(Status.OK) >= 29


# The sheet, section 3.1: what is left for an image block, and for any payload, by relays.
BLOCKS = {0: (56, 65), 1: (52, 61), 2: (50, 59), 3: (48, 57), 4: (46, 55), 5: (44, 53), 6: (42, 51)}
ZCL_AND_BLOCK_HEADER = 17


@pytest.mark.parametrize("secured", [True, False])
@pytest.mark.parametrize("relays", BLOCKS)
def test_a_block_beside_its_source_route_fills_the_frame_to_the_octet(
    relays: int, secured: bool
) -> None:
    mesh = line(relays + 2)
    hub = concentrator(mesh)
    far = mesh.nodes[-1]
    mesh.deliver(relays + 1, 0)
    options = OPTION_RETRY | (OPTION_ENCRYPTION if secured else 0)
    room = BLOCKS[relays][0 if secured else 1] + ZCL_AND_BLOCK_HEADER
    destination = far.stack.short_address
    assert hub.stack.aps.max_payload_octets(options, destination) == room
    assert hub.stack.aps.max_payload_octets(options | OPTION_FRAGMENT, destination) == room - 2
    assert hub.stack.aps.max_payload_octets(options) == (73 if secured else 82)
    mesh.air.frames.clear()
    assert hub.send(far, bytes(room + 1), smart_energy(options)) is Status.MESSAGE_TOO_LONG
    mesh.run(1)
    assert [frame for _, frame in mesh.air.frames if len(frame) > 60] == []
    assert hub.send(far, bytes(room), smart_energy(options)) is Status.OK
    mesh.air.clock.run_until(lambda: bytes(room) in far.received(), 10)
    sizes = [len(psdu) for _, psdu in mesh.air.frames if len(psdu) > 60]
    assert sizes == [127] * (relays + 1)


def test_what_the_stack_answers_itself_takes_the_routing_table_when_it_is_too_long() -> None:
    mesh = line(4)
    hub = concentrator(mesh)
    mesh.deliver(3, 0)
    hub.stack.aps.send_zdo(short_address(3), 0x8005, bytes(82))
    mesh.run(2)
    long = [psdu for _, psdu in mesh.air.frames if len(psdu) == 127]
    assert len(long) == 3
    assert {opened(psdu)[0].relays for psdu in long} == {()}  # type: ignore[index]


def sealed(header: nwk.NwkFrame, payload: bytes, author: int, counter: int) -> bytes:
    eui64 = node_eui64(author).to_bytes(8, "little")
    return nwk.seal(FrameKey(NETWORK_KEY), nwk.build_header(header), counter, eui64, 0, payload)


ONE, TWO, THREE = (short_address(number) for number in (1, 2, 3))
HOSTILE = {
    "the relay itself twice": ((TWO, ONE, ONE), 1),
    "not its turn": ((TWO, ONE), 0),
    "an index beyond the count": ((TWO, ONE), 2),
    "an index far beyond": ((TWO, ONE), 255),
    "the destination among them": ((THREE, ONE), 1),
    "the sender among them": ((0x0000, ONE), 1),
    "a broadcast address": ((0xFFFD, ONE), 1),
    "others only": ((TWO, 0x7777), 1),
}


@pytest.mark.parametrize(("relays", "index"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_relay_list_is_neither_followed_nor_remembered(
    relays: tuple[int, ...], index: int
) -> None:
    mesh = line(4, link_status=False)
    mesh.deliver(0, 3)
    frames = len(mesh.air.frames)
    routes = [(route.destination, route.next_hop) for route in mesh.nodes[1].stack.routing.routes]
    header = nwk.NwkFrame(nwk.DATA_CONTROL, THREE, 0, 30, 99, None, None, relays, 0, index)
    octets = sealed(header, b"\x00\x01\x19\x00\x09\x01\x01\x63hostile", 0, 900_000)
    mac_header = mac.DATA_HEADER.pack(mac.DATA_ACKED, 200, 0x1A62, ONE, 0)
    put_on_the_air(mesh.air, mac_header + octets)
    mesh.run(5)
    assert [psdu for _, psdu in mesh.air.frames[frames + 1 :] if opened(psdu)] == []
    assert b"hostile" not in mesh.nodes[3].received()
    assert routes == [(r.destination, r.next_hop) for r in mesh.nodes[1].stack.routing.routes]


@pytest.mark.parametrize(
    "relays",
    [(TWO, TWO), (TWO, THREE), (0x0000,), (0xFFFC, TWO), (TWO, 0x7777), ()],
    ids=[
        "twice",
        "its sender",
        "the concentrator",
        "a broadcast address",
        "not the last hop",
        "none",
    ],
)
def test_a_hostile_route_record_is_not_kept(relays: tuple[int, ...]) -> None:
    mesh = line(4)
    hub = concentrator(mesh)
    header = nwk.NwkFrame(nwk.COMMAND_CONTROL, 0, THREE, 28, 99, None, node_eui64(3), (), 0)
    record = nwk_commands.build_route_record(nwk_commands.RouteRecord(relays))
    octets = sealed(header, record, 1, 900_000)
    mac_header = mac.DATA_HEADER.pack(mac.DATA_ACKED, 200, 0x1A62, 0, ONE)
    put_on_the_air(mesh.air, mac_header + octets)
    assert hub.stack.routing.source_routes.entries() == []
    assert [event for event in hub.events if isinstance(event, RouteRecordHeard)] == []


def test_source_routes_are_a_tree_of_bounded_size() -> None:
    table = SourceRoutes()
    table.size = 4
    assert table.put(5, (4, 3))
    assert table.put(6, (4, 3))
    assert table.entries() == [(5, 2), (4, 3), (3, None), (6, 1)] or len(table) == 4
    assert table.get(6) == (4, 3)
    assert table.get(4) == (3,)
    assert table.get(3) == ()
    assert table.put(7, ())
    assert len(table) == 4
    assert table.get(5) is None  # the oldest made room
    assert table.get(6) == (4, 3)
    assert not table.put(9, (8, 7, 6, 5))
    table.forget(4)
    assert table.get(6) is None
    table.clear()
    table.put(1, (2,))
    table.put(2, (1,))
    assert (table.get(1), table.get(2)) == ((), (1,))  # the later record counts
    table.size = 0
    assert not table.put(3, ())


ways = st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True)


@given(size=st.integers(0, 8), puts=st.lists(ways, max_size=12), gone=st.integers(0, 9))
def test_whatever_records_come_in_no_way_leads_round_and_round(
    size: int, puts: list[list[int]], gone: int
) -> None:
    table = SourceRoutes()
    table.size = size
    for destination, *relays in puts:
        assert table.put(destination, tuple(relays)) is (len(relays) < size)
        if len(relays) < size:
            assert table.get(destination) == tuple(relays)
        assert len(table) <= size
    table.forget(gone)
    for node in range(10):
        way = table.get(node)
        assert way is None or len({node, *way}) == 1 + len(way)
        assert way is None or gone not in (node, *way)


def test_a_full_routing_table_forgets_the_route_longest_unused() -> None:
    routes = Routes()
    routes.size = 2
    routes.put(1, 10)
    routes.put(2, 20)
    assert routes.get(1) is not None
    routes.put(3, 30)
    assert [route.destination for route in routes] == [1, 3]
    routes.forget_through(30)
    assert [route.destination for route in routes] == [1]


def test_what_is_secured_for_a_far_node_opens_there_and_nowhere_before() -> None:
    mesh = line(3)
    concentrator(mesh)
    mesh.deliver(2, 0, b"between the two ends")
    payloads = [frame[1] for _, psdu in mesh.air.frames if (frame := opened(psdu))]
    assert not any(b"between the two ends" in payload for payload in payloads)
    assert pair_key(0, 2) != pair_key(0, 1)
    assert NetworkStatusCode.SOURCE_ROUTE_FAILURE == 0x0B
