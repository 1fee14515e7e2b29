"""Two nodes with one short address."""

from __future__ import annotations

from mesh_support import Mesh, commands, line, node_eui64, short_address

from emulator.zigbee.events import AddressConflict, Status
from emulator.zigbee.nwk_commands import NETWORK_STATUS


def give(mesh: Mesh, number: int, address: int) -> None:
    stack = mesh.nodes[number].stack
    assert stack.state.network is not None
    stack.state.network.short_address = stack.mac.short_address = address


def test_a_node_whose_address_another_announces_takes_another() -> None:
    mesh = line(3)
    give(mesh, 2, short_address(1))
    mesh.nodes[2].stack.announce()
    mesh.run(1)
    one, two, hub = (mesh.nodes[at].stack for at in (1, 2, 0))
    assert one.short_address not in (short_address(1), short_address(2))
    assert mesh.nodes[1].statuses()[-1] is Status.NODE_ID_CHANGED
    assert one.state.network is not None
    assert one.state.network.short_address == one.short_address
    assert hub.short_of(node_eui64(1)) == one.short_address
    mesh.deliver(0, 1)
    assert two.short_address != one.short_address


def test_who_sees_a_conflict_tells_and_both_take_new_addresses() -> None:
    mesh = Mesh(4, [(0, 1), (0, 2), (0, 3)])
    give(mesh, 3, short_address(1))
    mesh.air.medium.separate("node-3", "node-1")
    # node 1 is out of hearing, and switched off while the other announces itself
    mesh.nodes[1].stack.mac.channel = None
    mesh.nodes[3].stack.announce()
    mesh.run(0.002)
    mesh.air.clock.run_until(lambda: bool(commands(mesh.air, NETWORK_STATUS)))
    mesh.nodes[1].stack.mac.channel = 15
    mesh.run(2)
    told = commands(mesh.air, NETWORK_STATUS)
    assert {octets.hex() for _, octets in told} == {"030d0110"}
    assert AddressConflict(short_address(1)) in mesh.nodes[0].events
    assert mesh.nodes[3].stack.short_address != short_address(1)
    addresses = [host.stack.short_address for host in mesh.nodes]
    assert len(set(addresses)) == 4
    mesh.deliver(0, 3)


def test_a_coordinator_keeps_its_address_whoever_claims_it() -> None:
    mesh = line(2)
    give(mesh, 1, 0x0000)
    mesh.nodes[1].stack.announce()
    mesh.run(1)
    assert mesh.nodes[0].stack.short_address == 0x0000
    assert commands(mesh.air, NETWORK_STATUS) == []
