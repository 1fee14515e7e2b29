"""Coming back: to the old parent or another, with the network key and without; never with a wrong
one; and coming in next to a router.
"""

from __future__ import annotations

import random

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
    network,
    smart_energy,
)

from emulator.medium.air import Loss
from emulator.zigbee import aps, mac, nwk, rejoin_commands, zdo
from emulator.zigbee.aps_commands import RemoveDevice, build
from emulator.zigbee.events import (
    OPTION_RETRY,
    DeviceUpdate,
    JoinDecision,
    NodeType,
    Status,
    TrustCenterJoin,
)
from emulator.zigbee.joining import JoinRequest, TrustCenterPolicy
from emulator.zigbee.rejoin_commands import RejoinResponse, RejoinStatus
from emulator.zigbee.security import KEY_ID_DATA, FrameKey, mmo_hash
from emulator.zigbee.state import LinkKey, StackState

DEVICE = 0x0011223344556677
ROUTER = 0x0102030405060708
STRANGER = 0x8899AABBCCDDEEFF
SLEEPY = NodeType.SLEEPY_END_DEVICE
kinds = pytest.mark.parametrize("node_type", [NodeType.ROUTER, NodeType.END_DEVICE, SLEEPY])
REJOINS = (
    TrustCenterPolicy.ALLOW_JOINS
    | TrustCenterPolicy.ALLOW_UNSECURED_REJOINS
    | TrustCenterPolicy.JOINS_USE_INSTALL_CODE_KEY
)


def home(node_type: NodeType, seed: int = 1) -> tuple[Air, StackHost, StackHost]:
    air = Air(seed)
    hub = form(air)
    device = join(air, hub, "device", DEVICE, node_type=node_type)
    hub.stack.state.link_keys[0] = LinkKey(DEVICE, link_key(DEVICE))
    hub.stack.save()
    hub.stack.joining.permit(0)
    settle(air, device)
    return air, hub, device


def settle(air: Air, device: StackHost) -> None:
    """An end device begins to poll, so that it hears what is for it."""
    known = device.stack.state.network
    if known is not None and known.node_type.is_end_device and device.stack.is_up:
        assert device.stack.polling.start(500_000, 3) is Status.OK
    air.clock.run_for(0.3)


def rejoin(
    air: Air, device: StackHost, *, secured: bool = True, channels: list[int] | None = None
) -> Status:
    told = len(device.statuses())
    assert device.stack.rejoining.start(channels or [CHANNEL], secured=secured) is Status.OK
    air.clock.run_until(lambda: len(device.statuses()) > told, 30)
    settle(air, device)
    return device.statuses()[-1]


def joins(hub: StackHost) -> list[TrustCenterJoin]:
    return [event for event in hub.events if isinstance(event, TrustCenterJoin)]


def talk(air: Air, one: StackHost, other: StackHost) -> None:
    """Both ends still reach each other, under the link key."""
    for sender, receiver in ((one, other), (other, one)):
        told = len(sender.sent())
        assert sender.send(receiver, b"as ever") is Status.OK
        air.clock.run_until(lambda s=sender, t=told: len(s.sent()) > t, 20)  # type: ignore[misc]
        assert sender.sent()[-1].status is Status.OK
        assert receiver.received()[-1] == b"as ever"


@kinds
def test_a_device_with_the_network_key_comes_back_to_its_parent(node_type: NodeType) -> None:
    air, hub, device = home(node_type)
    address = device.stack.short_address
    assert rejoin(air, device) is Status.NETWORK_UP
    assert device.stack.short_address == address
    told = joins(hub)[-1]
    assert (told.eui64, told.short_address) == (DEVICE, address)
    assert told.update is DeviceUpdate.STANDARD_SECURITY_SECURED_REJOIN
    assert told.decision is JoinDecision.NO_ACTION
    talk(air, hub, device)


@kinds
def test_a_device_without_the_network_key_gets_it_under_its_link_key(node_type: NodeType) -> None:
    air, hub, device = home(node_type)
    hub.stack.joining.policy = REJOINS
    # the network key was switched while the device was away
    assert hub.stack.state.network is not None
    hub.stack.state.network.key = bytes(range(50, 66))
    hub.stack.state.network.key_sequence = 1
    hub.stack.save()
    hub.power_cycle(resume=True)
    hub.stack.joining.policy = REJOINS
    air.clock.run_for(0.1)
    assert rejoin(air, device) is Status.MOVE_FAILED
    assert rejoin(air, device, secured=False) is Status.NETWORK_UP
    told = joins(hub)[-1]
    assert told.update is DeviceUpdate.STANDARD_SECURITY_UNSECURED_REJOIN
    assert told.decision is JoinDecision.USE_PRECONFIGURED_KEY
    stored = StackState.from_json(device.stored)
    assert stored.network is not None
    assert (stored.network.key, stored.network.key_sequence) == (bytes(range(50, 66)), 1)
    talk(air, hub, device)
    assert bytes(range(50, 66)) not in b"".join(psdu for _, psdu in air.frames)


@kinds
def test_without_the_trust_centres_leave_no_key_is_sent_to_who_comes_back(
    node_type: NodeType,
) -> None:
    air, hub, device = home(node_type)
    assert rejoin(air, device, secured=False) is Status.NO_LINK_KEY_RECEIVED
    told = joins(hub)[-1]
    assert told.update is DeviceUpdate.STANDARD_SECURITY_UNSECURED_REJOIN
    assert told.decision is JoinDecision.DENY_JOIN
    assert not device.stack.is_up
    # it knows its network as before, and with the key it holds comes back
    assert rejoin(air, device) is Status.NETWORK_UP
    talk(air, hub, device)


@pytest.mark.parametrize("node_type", [NodeType.END_DEVICE, SLEEPY])
def test_a_stranger_that_uses_a_devices_name_does_not_put_it_out(node_type: NodeType) -> None:
    air, hub, device = home(node_type)
    stranger = StackHost(air, "stranger", DEVICE)
    foreign = network()
    foreign.node_type, foreign.short_address, foreign.parent = node_type, 0x4711, 0
    foreign.key = bytes(16)
    stranger.stack.state.network = foreign
    stranger.stack.state.preconfigured_key = bytes(16)
    for policy, secured in ((REJOINS, True), (REJOINS, False), (TrustCenterPolicy(0), False)):
        hub.stack.joining.policy = policy
        told = len(stranger.statuses())
        stranger.stack.rejoining.start([CHANNEL], secured=secured)
        air.clock.run_until(lambda told=told: len(stranger.statuses()) > told, 30)  # type: ignore[misc]
        assert stranger.statuses()[-1] in (Status.MOVE_FAILED, Status.NO_LINK_KEY_RECEIVED)
        assert not stranger.stack.is_up
    stranger.stack.close()
    child = hub.stack.children.of_eui64(DEVICE)
    assert child is not None
    assert child.short_address == device.stack.short_address
    air.clock.run_for(20)
    assert device.statuses() == [Status.NETWORK_UP]
    device.send(hub, b"still here")
    air.clock.run_for(3)
    assert hub.received()[-1] == b"still here"


@pytest.mark.parametrize("secured", [True, False])
def test_a_captured_rejoin_sent_again_changes_nothing(secured: bool) -> None:
    air, hub, device = home(SLEEPY)
    hub.stack.joining.policy = REJOINS
    assert rejoin(air, device, secured=secured) is Status.NETWORK_UP
    air.clock.run_for(10)
    asked = next(
        psdu for _, psdu in air.frames if psdu[0] & 7 == 1 and is_rejoin_request(psdu[9:-2])
    )
    children = StackState.from_json(hub.stored).children
    told = len(joins(hub))
    replays = hub.stack.replays_rejected
    put_on_the_air(air, asked)
    air.clock.run_for(30)
    assert StackState.from_json(hub.stored).children == children
    if secured:
        assert hub.stack.replays_rejected == replays + 1
        assert len(joins(hub)) == told
    assert device.stack.is_up
    talk(air, hub, device)


def is_rejoin_request(frame: bytes) -> bool:
    header = nwk.parse(frame)
    if header.frame_type != nwk.TYPE_COMMAND:
        return False
    at = header.header_octets
    if not header.secured:
        return frame[at] == rejoin_commands.COMMAND_REJOIN_REQUEST
    _, eui64, _ = nwk.parse_auxiliary(frame, at)
    command = nwk.open_sealed(FrameKey(NETWORK_KEY), frame, at, eui64)
    return command[0] == rejoin_commands.COMMAND_REJOIN_REQUEST


def put_on_the_air(air: Air, psdu: bytes) -> None:
    """A stranger sends a captured frame, with a fresh MAC sequence number."""
    stranger = air.medium.attach("a stranger's radio", lambda _: None)
    stranger.channel = CHANNEL
    octets = psdu[:2] + bytes((psdu[2] + 111 & 0xFF,)) + psdu[3:-2]
    stranger.transmit(octets + mac.fcs(octets), air.clock.now_us())
    air.clock.run_for(0.05)
    air.medium.detach(stranger)


@kinds
def test_every_recorded_frame_sent_again_is_refused(node_type: NodeType) -> None:
    air, hub, device = home(node_type)
    hub.stack.joining.policy = REJOINS
    assert rejoin(air, device, secured=False) is Status.NETWORK_UP
    assert rejoin(air, device) is Status.NETWORK_UP
    talk(air, hub, device)
    device.stack.polling.stop()
    air.clock.run_for(20)
    recorded = [psdu for _, psdu in air.frames if psdu[0] & 7 == 1]
    before = (len(hub.received()), len(device.received()), len(device.statuses()))
    told = [event for event in joins(hub) if event.update.value == 0]
    hub.stack.joining.policy = TrustCenterPolicy(0)
    for psdu in recorded:
        put_on_the_air(air, psdu)
    air.clock.run_for(20)
    assert (len(hub.received()), len(device.received()), len(device.statuses())) == before
    assert [event for event in joins(hub) if event.update.value == 0] == told
    assert device.stack.state.network is not None
    assert device.stack.state.network.key == NETWORK_KEY
    settle(air, device)
    talk(air, hub, device)


def test_an_old_network_key_played_back_to_who_comes_back_is_refused() -> None:
    air, hub, device = home(NodeType.ROUTER)
    hub.stack.joining.policy = REJOINS
    assert rejoin(air, device, secured=False) is Status.NETWORK_UP
    old = [
        psdu
        for _, psdu in air.frames
        if psdu[0] & 7 == 1 and psdu[9:11] == nwk.UNSECURED_DATA_CONTROL.to_bytes(2, "little")
    ][-1]
    hub.stack.joining.policy = TrustCenterPolicy(0)
    assert device.stack.rejoining.start([CHANNEL], secured=False) is Status.OK
    air.clock.run_for(2)
    put_on_the_air(air, old)
    assert not device.stack.is_up
    assert device.stack.replays_rejected == 1


def through_a_router(
    node_type: NodeType, *, known: bool = True, seed: int = 1
) -> tuple[Air, StackHost, StackHost, StackHost]:
    """A hub, a router, and a device that hears the router alone and asks to be let in."""
    air = Air(seed)
    hub = form(air)
    router = join(air, hub, "router", ROUTER)
    hub.stack.state.link_keys[1] = LinkKey(ROUTER, link_key(ROUTER))
    hub.stack.aps.keys_changed()
    hub.stack.joining.permit(0)
    router.stack.joining.permit(255)
    air.medium.separate("hub", "device")
    device = StackHost(air, "device", DEVICE)
    device.stack.state.preconfigured_key = link_key(DEVICE)
    if known:
        hub.stack.state.link_keys[0] = LinkKey(DEVICE, link_key(DEVICE))
        hub.stack.aps.keys_changed()
    request = JoinRequest(CHANNEL, EXTENDED_PAN_ID, node_type)
    assert device.stack.joining.join(request) is Status.OK
    air.clock.run_until(lambda: bool(device.statuses()), 20)
    settle(air, device)
    return air, hub, router, device


@kinds
def test_a_device_that_hears_only_a_router_joins_through_it(node_type: NodeType) -> None:
    air, hub, router, device = through_a_router(node_type)
    assert device.statuses() == [Status.NETWORK_UP]
    told = joins(hub)[-1]
    assert told == TrustCenterJoin(
        device.stack.short_address,
        DEVICE,
        DeviceUpdate.STANDARD_SECURITY_UNSECURED_JOIN,
        JoinDecision.USE_PRECONFIGURED_KEY,
        router.stack.short_address,
    )
    assert hub.stack.short_of(DEVICE) == device.stack.short_address
    known = device.stack.state.network
    assert known is not None
    assert known.parent == router.stack.short_address
    assert known.trust_center_eui64 == hub.stack.state.eui64
    assert (router.stack.children.of_eui64(DEVICE) is not None) is node_type.is_end_device
    assert hub.stack.children.count == 0
    assert NETWORK_KEY not in b"".join(psdu for _, psdu in air.frames)


def test_a_device_the_trust_centre_does_not_know_is_denied_through_a_router_too() -> None:
    _, hub, router, device = through_a_router(SLEEPY, known=False)
    assert device.statuses() == [Status.NO_LINK_KEY_RECEIVED]
    assert joins(hub)[-1].decision is JoinDecision.DENY_JOIN
    assert router.stack.children.of_eui64(DEVICE) is None
    assert hub.stack.short_of(DEVICE) is None


def test_a_router_tells_the_trust_centre_that_its_child_left() -> None:
    air, hub, router, device = through_a_router(SLEEPY)
    address = device.stack.short_address
    assert device.stack.leave() is Status.OK
    air.clock.run_for(1)
    told = joins(hub)[-1]
    assert (told.update, told.eui64, told.short_address, told.parent) == (
        DeviceUpdate.DEVICE_LEFT,
        DEVICE,
        address,
        router.stack.short_address,
    )
    assert hub.stack.short_of(DEVICE) is None
    assert router.stack.children.count == 0


def test_a_child_whose_device_is_removed_by_the_trust_centre_leaves() -> None:
    air, hub, router, device = through_a_router(SLEEPY)
    address = router.stack.short_address
    send = hub.stack.aps.commands.send
    command = build(RemoveDevice(DEVICE))
    send(address, command)
    air.clock.run_for(2)
    assert device.stack.is_up  # anybody with the network key could have said that
    assert send(address, command, key_id=KEY_ID_DATA) is Status.OK
    air.clock.run_for(2)
    assert not device.stack.is_up
    assert device.stack.state.network is None
    assert router.stack.children.count == 0
    send(address, build(RemoveDevice(ROUTER)), key_id=KEY_ID_DATA)
    air.clock.run_for(2)
    assert not router.stack.is_up


@pytest.mark.parametrize("node_type", [NodeType.END_DEVICE, SLEEPY])
def test_a_parent_switched_off_is_replaced_by_another(node_type: NodeType) -> None:
    air, hub, router, device = through_a_router(node_type)
    address = device.stack.short_address
    router.stack.close()
    told = len(device.events)
    air.clock.run_until(lambda: device.stack.polling.parent_lost, 20)
    assert len(device.events) > told
    join(air, opened(hub), "other router", STRANGER)
    assert rejoin(air, device, channels=list(range(11, 27))) is Status.NETWORK_UP
    known = device.stack.state.network
    assert known is not None
    assert known.parent not in (0, router.stack.short_address)
    assert device.stack.short_address == address
    told_hub = joins(hub)[-1]
    assert told_hub.update is DeviceUpdate.STANDARD_SECURITY_SECURED_REJOIN
    assert told_hub.parent == known.parent


def opened(hub: StackHost) -> StackHost:
    hub.stack.joining.permit(255)
    return hub


def test_a_parent_that_hears_its_child_behind_another_lets_it_go() -> None:
    air, hub, device = home(SLEEPY)
    router = join(air, hub, "router", ROUTER)
    device.stack.polling.stop()
    assert hub.stack.children.count == 1
    # the router passes a message of the device on: it has become its parent
    payload = aps.HEADER.pack(0, 1, 0x0019, 0x0109, 1, 9) + b"by another way"
    frame = nwk.seal_data(
        FrameKey(NETWORK_KEY),
        0,
        device.stack.short_address,
        29,
        77,
        900_000,
        ROUTER.to_bytes(8, "little"),
        0,
        payload,
    )
    router.stack.mac.send_data(0, frame)
    air.clock.run_for(1)
    assert hub.received()[-1] == b"by another way"
    assert hub.stack.children.count == 0
    assert device.stack.short_address not in hub.stack.mac.sleepers


@kinds
def test_a_device_back_from_a_power_cut_is_in_its_network_again(node_type: NodeType) -> None:
    air, hub, device = home(node_type)
    for _ in range(3):
        device.power_cycle(resume=True)
        assert (not device.stack.is_up) is node_type.is_end_device
        air.clock.run_until(lambda: device.stack.is_up, 5)
        settle(air, device)
        talk(air, hub, device)


@pytest.mark.parametrize("node_type", [NodeType.END_DEVICE, SLEEPY])
def test_an_end_device_that_trusts_what_it_remembers_is_up_at_once(node_type: NodeType) -> None:
    air, hub, device = home(node_type)
    device.power_cycle()
    frames = len(air.frames)
    assert device.stack.resume(rejoin=False) is Status.OK
    assert device.stack.is_up
    assert len(air.frames) == frames
    settle(air, device)
    talk(air, hub, device)


def test_a_device_that_finds_nobody_knows_its_network_still() -> None:
    air, hub, device = home(SLEEPY)
    hub.stack.close()
    assert rejoin(air, device) is Status.NO_BEACONS
    assert device.stack.state.network is not None
    hub.power_cycle(resume=True)
    assert rejoin(air, device) is Status.NETWORK_UP
    talk(air, hub, device)


def test_two_nodes_with_one_address_do_not_stay_so() -> None:
    air, hub, device = home(SLEEPY)
    other = join(air, opened(hub), "other", STRANGER, node_type=SLEEPY)
    hub.stack.state.link_keys[2] = LinkKey(STRANGER, link_key(STRANGER))
    for host in (device, other):
        settle(air, host)
    taken = device.stack.short_address
    assert other.stack.state.network is not None
    other.stack.state.network.short_address = taken
    assert rejoin(air, other) is Status.NETWORK_UP
    assert other.stack.short_address not in (taken, 0)
    assert hub.stack.short_of(STRANGER) == other.stack.short_address
    assert hub.stack.short_of(DEVICE) == taken
    talk(air, hub, other)
    talk(air, hub, device)


def test_a_full_parent_refuses_who_comes_back_and_the_next_is_asked() -> None:
    air, hub, router, device = through_a_router(SLEEPY)
    second = join(air, opened(hub), "second", STRANGER)
    hub.stack.joining.permit(0)
    child = router.stack.children.of_eui64(DEVICE)
    assert child is not None
    router.stack.children.remove(child)
    told = len(device.statuses())
    assert device.stack.rejoining.start([CHANNEL], secured=True) is Status.OK
    air.clock.run_for(0.1)  # the beacons have been heard
    router.stack.children.max_children = 0
    air.clock.run_until(lambda: len(device.statuses()) > told, 20)
    assert device.statuses()[-1] is Status.NETWORK_UP
    assert device.stack.state.network is not None
    assert device.stack.state.network.parent == second.stack.short_address


def test_who_is_in_no_network_or_made_it_does_not_rejoin() -> None:
    air, hub, device = home(NodeType.ROUTER)
    assert hub.stack.rejoining.start([CHANNEL], secured=True) is Status.INVALID_CALL
    blank = StackHost(air, "blank", STRANGER)
    assert blank.stack.rejoining.start([CHANNEL], secured=True) is Status.INVALID_CALL
    assert device.stack.rejoining.start([CHANNEL], secured=True) is Status.OK
    assert device.stack.rejoining.start([CHANNEL], secured=True) is Status.INVALID_CALL
    assert device.stack.resume() is Status.INVALID_CALL
    assert device.stack.leave() is Status.INVALID_CALL


@pytest.mark.parametrize("loss", [0.1, 0.3])
@kinds
def test_through_losses_devices_come_back_within_a_few_attempts(
    node_type: NodeType, loss: float
) -> None:
    for seed in range(8):
        air, hub, device = home(node_type, seed)
        air.medium.set_faults((Loss(loss),))
        tried = 1
        while rejoin(air, device) is not Status.NETWORK_UP:
            tried += 1
            assert tried < 15
        air.medium.set_faults(())
        settle(air, device)
        talk(air, hub, device)


def test_hostile_frames_during_a_rejoin_neither_raise_nor_keep_a_device_out() -> None:
    air, hub, device = home(SLEEPY)
    hub.stack.joining.policy = REJOINS
    stranger = air.medium.attach("stranger", lambda _: None)
    stranger.channel = CHANNEL
    draws = random.Random(5)

    def disturb() -> None:
        address = device.stack.mac.short_address.to_bytes(2, "little")
        command = bytes((draws.randrange(0, 16),)) + draws.randbytes(draws.randrange(0, 6))
        control = draws.choice((0x0009, 0x1009, 0x1809, 0x0209, 0x1209))
        nwk_header = control.to_bytes(2, "little") + address + draws.randbytes(2) + b"\x01\x07"
        to = draws.choice((address, b"\x00\x00", b"\xff\xff"))
        octets = b"\x41\x88" + draws.randbytes(1) + b"\x62\x1a" + to + b"\x00\x00" + nwk_header
        octets += draws.randbytes(draws.choice((0, 8, 16))) + command
        stranger.transmit(octets + mac.fcs(octets), air.clock.now_us())
        air.clock.call_at_us(air.clock.now_us() + 30_000, disturb)

    disturb()
    for secured in (True, False):
        for _ in range(20):
            if rejoin(air, device, secured=secured) is Status.NETWORK_UP:
                break
        assert device.stack.is_up


def test_a_forged_answer_without_security_is_not_taken_by_who_has_the_key() -> None:
    air, hub, device = home(NodeType.ROUTER)
    air.medium.separate("hub", "device")
    stranger = air.medium.attach("stranger", lambda _: None)
    stranger.channel = CHANNEL
    device.stack.rejoining.start([CHANNEL], secured=True)
    air.clock.run_for(0.05)
    beacon = mac.build_beacon(mac.Beacon(True, False, 2, True, 0, True, EXTENDED_PAN_ID, 0))
    psdu = b"\x00\x80\x11\x62\x1a\x00\x00" + beacon
    stranger.transmit(psdu + mac.fcs(psdu), air.clock.now_us())
    air.clock.run_for(0.12)
    assert device.stack.rejoining.awaits_answer
    address = device.stack.mac.short_address
    header = nwk.build_header(
        nwk.NwkFrame(0x0009, address, 0, 1, 3, DEVICE, hub.stack.state.eui64, (), 0)
    )
    answer = rejoin_commands.rejoin_response(RejoinResponse(0x1234, RejoinStatus.OK))
    octets = mac.DATA_HEADER.pack(mac.DATA_UNACKED, 9, 0x1A62, address, 0) + header + answer
    stranger.transmit(octets + mac.fcs(octets), air.clock.now_us())
    air.clock.run_until(lambda: len(device.statuses()) > 1, 10)
    assert device.statuses()[-1] is Status.MOVE_FAILED


def test_a_trust_centre_that_was_swapped_takes_its_devices_back_by_the_hash_of_their_key() -> None:
    air, hub, device = home(SLEEPY)
    hub.stack.close()
    swapped = StackHost(air, "new hub", 0x00DB1234567890A9)
    swapped.stack.joining.policy = REJOINS
    fresh = network()
    fresh.pan_id, fresh.key = 0x2B73, bytes(range(90, 106))
    assert swapped.stack.form(fresh) is Status.OK
    hashed = mmo_hash(link_key(DEVICE))
    swapped.stack.state.link_keys[0] = LinkKey(DEVICE, hashed)
    air.clock.run_for(0.1)
    assert rejoin(air, device) is Status.MOVE_FAILED  # the new network has another key
    assert rejoin(air, device, secured=False) is Status.TRUST_CENTER_EUI_HAS_CHANGED
    state = StackState.from_json(device.stored)
    assert state.network is not None
    assert state.network.trust_center_eui64 == 0x00DB1234567890A9
    assert (state.network.pan_id, state.network.key) == (0x2B73, fresh.key)
    assert state.preconfigured_key == hashed
    talk(air, swapped, device)


def test_the_hash_of_a_key_is_not_taken_from_the_trust_centre_that_knows_the_key() -> None:
    air, hub, device = home(NodeType.ROUTER)
    hub.stack.joining.policy = REJOINS
    del hub.stack.aps.transient_keys[DEVICE]
    hub.stack.state.link_keys[0] = LinkKey(DEVICE, mmo_hash(link_key(DEVICE)))
    hub.stack.aps.keys_changed()
    assert rejoin(air, device, secured=False) is Status.NO_LINK_KEY_RECEIVED


def test_a_router_comes_back_with_the_children_it_had() -> None:
    air, _, router, device = through_a_router(SLEEPY)
    assert rejoin(air, router) is Status.NETWORK_UP
    assert router.stack.children.count == 1
    router.send(device, b"from its parent", smart_energy(OPTION_RETRY))
    air.clock.run_for(2)
    assert device.received() == [b"from its parent"]


def test_mgmt_permit_opens_a_router_for_joiners() -> None:
    air, hub, router, _ = through_a_router(NodeType.ROUTER)
    router.stack.joining.permit(0)
    hub.stack.aps.send_broadcast(
        nwk.BROADCAST_ROUTERS,
        smart_energy(0)._replace(
            profile=zdo.PROFILE,
            cluster=zdo.MGMT_PERMIT_JOINING,
            source_endpoint=0,
            destination_endpoint=0,
        ),
        b"\x01\x3c\x00",
        0,
    )
    air.clock.run_for(1)
    assert router.stack.joining.permits
    assert hub.stack.joining.permits
