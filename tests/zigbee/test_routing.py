"""Several hops: lines, rings and grids of nodes; discovery, repair, broadcasts, what is bounded."""

from __future__ import annotations

import random

import pytest
from air_support import Air, StackHost, smart_energy
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_support import Mesh, commands, line, node_eui64, opened, ring, short_address
from test_stack import put_on_the_air

from emulator.medium.air import Loss
from emulator.zigbee import mac, nwk, nwk_commands
from emulator.zigbee.events import OPTION_RETRY, MessageReceived, NodeType, Status
from emulator.zigbee.nwk_commands import LINK_STATUS, NETWORK_STATUS, ROUTE_REPLY, ROUTE_REQUEST


def known_routes(host: StackHost) -> list[tuple[int, int]]:
    return [(route.destination, route.next_hop) for route in host.stack.routing.routes]


@pytest.mark.parametrize("nodes", range(2, 8))
def test_a_message_crosses_a_line_and_its_acknowledgement_comes_back(nodes: int) -> None:
    mesh = line(nodes)
    mesh.deliver(nodes - 1, 0)
    mesh.deliver(0, nodes - 1)
    asked = len(commands(mesh.air, ROUTE_REQUEST))
    assert (asked > 0) is (nodes > 2)
    frames = len(mesh.air.frames)
    mesh.deliver(nodes - 1, 0, b"the way is known now")
    assert len(commands(mesh.air, ROUTE_REQUEST)) == asked
    # the message, its acknowledgement, and a MAC acknowledgement of each, on every hop
    assert len(mesh.air.frames) - frames == 4 * (nodes - 1)
    assert [host.stack.replays_rejected for host in mesh.nodes] == [0] * nodes


def test_each_hop_has_one_less_to_go_and_secures_the_frame_itself() -> None:
    mesh = line(4)
    mesh.deliver(0, 3)
    frames = [
        (psdu, frame[0])
        for _, psdu in mesh.air.frames
        if (frame := opened(psdu)) and frame[0].frame_type == nwk.TYPE_DATA and frame[0].source == 0
    ]
    assert [header.radius for _, header in frames] == [30, 29, 28]
    assert len({header.sequence for _, header in frames}) == 1
    authors = [nwk.parse_auxiliary(psdu[9:-2], 8).source_eui64 for psdu, _ in frames]
    assert authors == [node_eui64(number).to_bytes(8, "little") for number in range(3)]


def test_one_hop_looks_as_it_did_before_there_were_routes() -> None:
    mesh = line(2, link_status=False)
    mesh.deliver(1, 0)
    mesh.deliver(0, 1)
    assert [len(psdu) for _, psdu in mesh.air.frames] == [68, 5, 54, 5] * 2


def test_through_losses_most_messages_cross_four_hops_and_none_comes_twice() -> None:
    mesh = line(5, air=Air(3, (Loss(0.05),)))
    first, last = mesh.nodes[0], mesh.nodes[4]
    payloads = [bytes((number,)) * 20 for number in range(40)]
    for tag, payload in enumerate(payloads):
        assert first.send(last, payload, tag=tag) is Status.OK
        mesh.air.clock.run_until(lambda tag=tag: len(first.sent()) > tag, 20)  # type: ignore[misc]
    delivered = [event.status for event in first.sent()].count(Status.OK)
    assert delivered >= 39
    assert len(last.received()) == len(set(last.received())) >= delivered


def test_a_relay_switched_off_is_gone_round() -> None:
    mesh = ring(6)  # from 0 to 2 by way of 1, or of 5, 4 and 3
    mesh.deliver(0, 2)
    mesh.nodes[1].stack.close()
    mesh.deliver(0, 2, b"the other way round")
    assert mesh.nodes[0].stack.routing.routes.get(short_address(2)).next_hop == short_address(5)  # type: ignore[union-attr]


def test_a_break_far_away_is_told_of_and_gone_round() -> None:
    mesh = Mesh(6, [(0, 1), (1, 2), (2, 3), (1, 4), (4, 5), (5, 3)])
    mesh.deliver(0, 3)
    mesh.nodes[2].stack.close()
    mesh.deliver(0, 3, b"by way of 4 and 5")
    told = commands(mesh.air, NETWORK_STATUS)
    assert [(header.destination, octets.hex()) for header, octets in told] == [
        (0, "0302" + short_address(3).to_bytes(2, "little").hex())
    ]


def test_when_there_is_no_way_the_sender_is_told() -> None:
    mesh = line(4)
    mesh.deliver(0, 3)
    mesh.nodes[2].stack.close()
    assert mesh.nodes[0].send(mesh.nodes[3]) is Status.OK
    assert mesh.nodes[0].send(mesh.nodes[3], b"unacknowledged", smart_energy(0), 9) is Status.OK
    mesh.run(20)
    assert {event.tag: event.status for event in mesh.nodes[0].sent()[1:]} == {
        0: Status.DELIVERY_FAILED,
        9: Status.OK,  # it left, which is all that is known without an acknowledgement
    }
    assert mesh.nodes[0].send(mesh.nodes[3], b"unacknowledged", smart_energy(0), 10) is Status.OK
    mesh.run(20)
    assert mesh.nodes[0].sent()[-1].status is Status.DELIVERY_FAILED
    mesh.nodes[2].power_cycle(resume=True)
    mesh.deliver(0, 3, b"back again")


def test_a_neighbour_that_is_moved_out_of_hearing_is_found_behind_another() -> None:
    mesh = Mesh(3, [(0, 1), (1, 2), (0, 2)])
    mesh.deliver(0, 2)
    mesh.air.medium.separate("node-0", "node-2")
    mesh.deliver(0, 2, b"by way of 1")
    mesh.deliver(2, 0, b"and back")


@pytest.mark.parametrize("shape", ["line", "ring", "grid"])
def test_a_broadcast_reaches_everybody_once_and_is_repeated_once_by_each(shape: str) -> None:
    grid = [(at, at + 1) for at in range(8) if at % 3 != 2] + [(at, at + 3) for at in range(6)]
    mesh = {"line": lambda: line(7), "ring": lambda: ring(7), "grid": lambda: Mesh(9, grid)}[
        shape
    ]()
    sender = mesh.nodes[2]
    sender.stack.aps.send_broadcast(nwk.BROADCAST_RX_ON, smart_energy(0), b"to all", 4)
    mesh.run(2)
    others = [host for host in mesh.nodes if host is not sender]
    assert [host.received() for host in others] == [[b"to all"]] * len(others)
    assert sender.received() == []
    assert len(mesh.air.frames) == len(mesh.nodes)


def test_a_broadcast_goes_no_farther_than_its_radius() -> None:
    mesh = line(6)
    mesh.nodes[0].stack.aps.send_broadcast(0xFFFD, smart_energy(0), b"two hops", 4, 2)
    mesh.run(2)
    assert [len(host.received()) for host in mesh.nodes] == [0, 1, 1, 0, 0, 0]
    radii = [frame[0].radius for _, psdu in mesh.air.frames if (frame := opened(psdu))]
    assert radii == [2, 1]


def test_a_discovery_in_a_crowd_does_not_become_a_storm() -> None:
    crowd = [(one, other) for one in range(1, 13) for other in range(one)][:-1]
    mesh = Mesh(13, crowd, link_status=False)  # all hear all, but for the last two
    mesh.deliver(12, 11)
    # at most three requests, each said once more by each of eleven routers that hear it
    assert len(commands(mesh.air, ROUTE_REQUEST)) <= 3 * 12
    assert len(commands(mesh.air, ROUTE_REPLY)) <= 3 * 2


def test_many_frames_for_a_node_that_cannot_be_found_wait_in_a_bounded_queue() -> None:
    mesh = line(2, link_status=False)
    stack = mesh.nodes[0].stack
    for number in range(40):
        stack.aps.send_zdo(0x4000 + number % 12, 0x8000, b"\x00")
    mesh.run(0.1)
    assert len(commands(mesh.air, ROUTE_REQUEST)) <= 8 * 2  # and their repetition by node 1
    mesh.run(10)
    assert stack.routing._discoveries == {}
    mesh.deliver(0, 1)


def test_end_devices_pass_nothing_on_and_send_everything_to_their_parent() -> None:
    mesh = line(3, types={1: NodeType.END_DEVICE})
    mesh.nodes[0].send(mesh.nodes[2])
    mesh.nodes[0].stack.aps.send_broadcast(nwk.BROADCAST_ALL, smart_energy(0), b"to all", 4)
    mesh.run(20)
    assert mesh.nodes[2].received() == []
    assert mesh.nodes[1].received() == [b"to all"]

    mesh = Mesh(3, [(0, 1), (0, 2), (1, 2)], types={2: NodeType.END_DEVICE})
    mesh.air.frames.clear()
    mesh.deliver(2, 0)
    hops = [
        psdu[5:7]
        for _, psdu in mesh.air.frames
        if psdu[7:9] == short_address(2).to_bytes(2, "little")
    ]
    assert hops[0] == short_address(1).to_bytes(2, "little")  # past a hub that it hears
    mesh.air.frames.clear()
    mesh.nodes[2].stack.aps.send_broadcast(nwk.BROADCAST_RX_ON, smart_energy(0), b"to all", 4)
    mesh.run(1)
    assert mesh.air.frames[0][1][5:7] == short_address(1).to_bytes(2, "little")
    assert mesh.nodes[0].received()[-1] == mesh.nodes[1].received()[-1] == b"to all"


def test_a_parent_answers_for_its_end_device() -> None:
    mesh = line(4, types={3: NodeType.END_DEVICE})
    mesh.deliver(0, 3)
    replies = [
        header.source
        for header, octets in commands(mesh.air, ROUTE_REPLY)
        if nwk_commands.parse_route_reply(octets).responder == short_address(3)
    ]
    assert replies[0] == short_address(2)
    mesh.deliver(3, 0)


def test_an_end_device_that_does_not_answer_does_not_keep_others_waiting() -> None:
    mesh = Mesh(4, [(0, 1), (1, 2), (1, 3)], types={3: NodeType.END_DEVICE})
    mesh.deliver(0, 3)
    mesh.deliver(0, 2)
    mesh.nodes[3].stack.close()
    for _ in range(10):
        mesh.nodes[0].stack.aps.send_zdo(short_address(3), 0x8000, b"\x00")
    mesh.deliver(0, 2, b"at once all the same")
    mesh.run(5)
    assert mesh.nodes[1].stack.relaying._under_way == 0


def test_a_router_that_may_not_relay_does_not() -> None:
    mesh = line(3)
    mesh.nodes[1].stack.relaying.is_enabled = False
    mesh.nodes[0].send(mesh.nodes[2])
    mesh.nodes[0].stack.aps.send_broadcast(nwk.BROADCAST_ALL, smart_energy(0), b"to all", 4)
    mesh.run(20)
    assert mesh.nodes[2].received() == []
    assert mesh.nodes[1].received() == [b"to all"]


def test_neighbours_tell_each_other_whom_they_hear() -> None:
    mesh = line(3)
    mesh.run(60)
    sent = [
        (header.source, nwk_commands.parse_link_status(octets))
        for header, octets in commands(mesh.air, LINK_STATUS)
    ]
    assert all(header.radius == 1 for header, _ in commands(mesh.air, LINK_STATUS))
    per_node = [sum(source == short_address(at) for source, _ in sent) for at in range(3)]
    assert all(count in (3, 4) for count in per_node)  # every 15 s, give or take an eighth
    last = dict(sent)
    assert [link.address for link in last[short_address(1)].links] == [0, short_address(2)]
    assert {
        (link.incoming_cost, link.outgoing_cost)
        for status in last.values()
        for link in status.links
    } == {(1, 1)}
    mesh.nodes[2].stack.close()
    mesh.run(100)
    assert [address for address, _ in mesh.nodes[1].stack.neighbours.routers()] == [0]


def test_a_router_that_does_not_hear_us_is_not_asked_through() -> None:
    mesh = line(3, link_status=False)
    stack = mesh.nodes[1].stack
    mesh.deliver(0, 2)
    deaf = nwk_commands.build_link_status(nwk_commands.LinkStatus(()))
    for _ in range(2):
        mesh.nodes[2].stack.send_command(nwk.BROADCAST_ROUTERS, deaf)
        mesh.run(0.1)
    assert stack.neighbours.link_cost(short_address(2)) is None
    named = nwk_commands.LinkStatus((nwk_commands.Link(short_address(1), 1, 1),))
    mesh.nodes[2].stack.send_command(nwk.BROADCAST_ROUTERS, nwk_commands.build_link_status(named))
    mesh.run(0.1)
    assert stack.neighbours.link_cost(short_address(2)) == 1


def test_every_frame_of_a_recording_said_again_to_a_relay_is_rejected() -> None:
    mesh = line(4)
    mesh.deliver(0, 3)
    mesh.nodes[3].stack.aps.send_broadcast(0xFFFD, smart_energy(0), b"to all", 4)
    mesh.run(20)
    recorded = [psdu for _, psdu in mesh.air.frames if opened(psdu)]
    assert len(recorded) > 12
    said = [list(host.received()) for host in mesh.nodes]
    routes = [known_routes(host) for host in mesh.nodes]
    mesh.run(30)
    # A stranger beside each node: where a frame was not heard before, it would be no repetition.
    for one in range(4):
        for other in (at for at in range(4) if abs(at - one) != 1):
            mesh.air.medium.separate(f"stranger-{one}", f"node-{other}")
    for number, psdu in enumerate(recorded):
        author = psdu[8] >> 4  # of the MAC frame
        again = psdu[:2] + bytes((psdu[2] + 101 + number & 0xFF,)) + psdu[3:-2]
        frames = len(mesh.air.frames)
        put_on_the_air(mesh.air, again, f"stranger-{author}")
        after = [opened(psdu) for _, psdu in mesh.air.frames[frames + 1 :]]
        assert [frame for frame in after if frame and frame[1][0] != LINK_STATUS] == []
    mesh.run(5)
    assert [host.received() for host in mesh.nodes] == said
    assert [known_routes(host) for host in mesh.nodes] == routes
    assert all(host.stack.replays_rejected for host in mesh.nodes)


def test_commands_that_nobody_asked_for_and_commands_of_strangers_change_nothing() -> None:
    mesh = line(4, link_status=False)
    mesh.deliver(0, 3)
    hub = mesh.nodes[0].stack

    def known() -> object:
        return (
            [(r.destination, r.next_hop) for r in hub.routing.routes],
            sorted(hub.neighbours.heard),
            hub.routing.source_routes.entries(),
            hub.short_address,
        )

    before = known()
    draws = random.Random(4)
    unasked = [
        nwk_commands.build_route_reply(nwk_commands.RouteReply(7, 0, 0x7777, 1)),
        nwk_commands.build_route_reply(nwk_commands.RouteReply(7, 0x1111, 0x7777, 1)),
        nwk_commands.build_route_record(nwk_commands.RouteRecord((0x7777, 0x7777))),
        nwk_commands.build_route_record(nwk_commands.RouteRecord((0,))),
        nwk_commands.build_network_status(nwk_commands.NetworkStatus(2, 0x7777)),
        nwk_commands.build_network_status(nwk_commands.NetworkStatus(0x0D, 0)),
    ]
    unasked += [bytes((identifier,)) for identifier in range(1, 12)]
    unasked += [
        bytes((draws.choice((1, 2, 3, 5, 8)),)) + draws.randbytes(draws.randrange(5))
        for _ in range(60)
    ]
    for command in unasked:
        if command[:1] != b"\x03" or len(command) < 4 or command[1] in (2, 0x0D):
            mesh.nodes[1].stack.send_command(0, command, radius=30)
            mesh.run(0.02)
    assert known() == before
    stranger = nwk.seal(
        hub._key.__class__(bytes(range(1, 17))),
        nwk.build_header(nwk.NwkFrame(nwk.COMMAND_CONTROL, 0, 0x1001, 30, 3, None, 5, (), 0)),
        900_000,
        node_eui64(1).to_bytes(8, "little"),
        0,
        nwk_commands.build_network_status(nwk_commands.NetworkStatus(2, short_address(3))),
    )
    put_on_the_air(mesh.air, mac.DATA_HEADER.pack(mac.DATA_ACKED, 9, 0x1A62, 0, 0x1001) + stranger)
    assert known() == before
    mesh.deliver(0, 3, b"as before")


def test_one_seed_gives_the_same_frames_in_a_mesh_too() -> None:
    def run(seed: int) -> str:
        mesh = ring(6, air=Air(seed, (Loss(0.05),)))
        for number in range(6):
            mesh.nodes[number].send(mesh.nodes[(number + 3) % 6], bytes((number,)))
        mesh.run(40)
        return mesh.air.trace_hash()

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_hidden_terminals_disturb_each_other_and_their_messages_arrive_all_the_same() -> None:
    mesh = line(3)
    one, middle, other = mesh.nodes
    for number in range(20):
        one.send(middle, b"1" + bytes((number,)), smart_energy(OPTION_RETRY), number)
        other.send(middle, b"2" + bytes((number,)), smart_energy(OPTION_RETRY), number)
        mesh.air.clock.run_until(lambda n=number: len(one.sent()) > n and len(other.sent()) > n, 20)  # type: ignore[misc]
    assert len(middle.received()) == len(set(middle.received())) == 40
    # neither end could tell that the other was sending: more frames than 40 were needed
    sent = [psdu for _, psdu in mesh.air.frames if psdu[0] & 7 == 1 and psdu[5:7] == b"\x01\x10"]
    assert len(sent) > 45


def test_a_routing_table_of_two_serves_more_destinations_than_two() -> None:
    star = [(0, 1)] + [(1, other) for other in range(2, 7)]
    mesh = Mesh(7, star)
    mesh.nodes[0].stack.routing.routes.size = 2
    for round_ in range(2):
        for other in range(2, 7):
            mesh.deliver(0, other, bytes((round_, other)))
            assert len(mesh.nodes[0].stack.routing.routes) <= 2


def test_a_message_reaches_a_node_at_its_new_address() -> None:
    mesh = line(3)
    mesh.deliver(0, 2)
    moved = mesh.nodes[2].stack
    assert moved.state.network is not None
    moved.state.network.short_address = moved.mac.short_address = 0x2222
    moved.announce()
    mesh.run(1)
    hub = mesh.nodes[0].stack
    assert hub.short_of(node_eui64(2)) == 0x2222
    assert hub.routing.routes.get(short_address(2)) is None
    mesh.deliver(0, 2, b"where it is now")


@settings(max_examples=40, deadline=None)
@given(data=st.data(), nodes=st.integers(3, 9), seed=st.integers(0, 99))
def test_in_any_network_that_hangs_together_everybody_reaches_everybody(
    data: st.DataObject, nodes: int, seed: int
) -> None:
    links = [(data.draw(st.integers(0, at - 1)), at) for at in range(1, nodes)]
    pairs = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1))
    links += [pair for pair in data.draw(st.lists(pairs, max_size=6)) if pair[0] != pair[1]]
    mesh = Mesh(nodes, links, air=Air(seed))
    for _ in range(4):
        source, destination = data.draw(pairs.filter(lambda pair: pair[0] != pair[1]))
        told = len(mesh.nodes[source].sent())
        mesh.nodes[source].send(mesh.nodes[destination], b"x" * 30, tag=told)
        mesh.air.clock.run_until(lambda s=source, t=told: len(mesh.nodes[s].sent()) > t, 10)  # type: ignore[misc]
        assert mesh.nodes[source].sent()[-1].status is Status.OK
    mesh.run(1)
    # nothing goes round and round: 4 messages, 4 acknowledgements, and what looked for routes
    assert len(mesh.air.frames) < 4 * (4 * nodes * 4 + 9 * nodes)
    assert all(host.stack.relaying._under_way == 0 for host in mesh.nodes)


def test_received_messages_name_their_author_not_the_relay() -> None:
    mesh = line(3)
    mesh.deliver(2, 0)
    (message,) = [event for event in mesh.nodes[0].events if isinstance(event, MessageReceived)]
    assert (message.source, message.source_eui64) == (short_address(2), node_eui64(2))
