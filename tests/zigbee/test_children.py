"""End devices and their parent: who gets what when, who is forgotten, who is sent away."""

from __future__ import annotations

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
    smart_energy,
)

from emulator.medium.air import Loss
from emulator.zigbee import mac, nwk, rejoin_commands, zdo
from emulator.zigbee.aps_service import ACK_WAIT_US
from emulator.zigbee.children import PROOF_US
from emulator.zigbee.events import (
    OPTION_RETRY,
    Aps,
    ChildJoined,
    ChildPolled,
    DeviceUpdate,
    NodeType,
    PollComplete,
    Status,
    TrustCenterJoin,
)
from emulator.zigbee.held_frames import MAX_HELD_PER_CHILD, TRANSACTION_PERSISTENCE_US
from emulator.zigbee.joining import JoinRequest
from emulator.zigbee.rejoin_commands import TIMEOUTS_S
from emulator.zigbee.security import FrameKey
from emulator.zigbee.state import StackState

SLEEPER = 0x0011223344556677
OTHER = 0x8899AABBCCDDEEFF
ROUTER = 0x0102030405060708
SLEEPY = NodeType.SLEEPY_END_DEVICE


def home(node_type: NodeType = SLEEPY, seed: int = 1) -> tuple[Air, StackHost, StackHost]:
    """A hub and one end device that has just joined it."""
    air = Air(seed)
    hub = form(air)
    device = join(air, hub, "sleeper", SLEEPER, node_type=node_type)
    # A power cut takes the key of a permit with it; what follows is not about that.
    hub.stack.aps.transient_keys[OTHER] = link_key(OTHER)
    return air, hub, device


def poll(host: StackHost, interval_s: float = 0.0, failure_limit: int = 0) -> None:
    assert host.stack.polling.start(round(interval_s * 1e6), failure_limit) is Status.OK


def polls(host: StackHost) -> list[Status]:
    return [event.status for event in host.events if isinstance(event, PollComplete)]


def comings(host: StackHost) -> list[tuple[bool, int]]:
    return [(e.joining, e.eui64) for e in host.events if isinstance(e, ChildJoined)]


def data_requests(air: Air) -> int:
    return sum(psdu[0] & 7 == mac.TYPE_COMMAND and psdu[-3] == 4 for _, psdu in air.frames)


def commands(air: Air, number: int) -> list[bytes]:
    """NWK commands with this identifier on the air, opened."""
    found = []
    for frame in air.data_frames():
        header = nwk.parse(frame)
        if header.frame_type != nwk.TYPE_COMMAND or not header.secured:
            continue
        _, eui64, _ = nwk.parse_auxiliary(frame, header.header_octets)
        command = nwk.open_sealed(FrameKey(NETWORK_KEY), frame, header.header_octets, eui64)
        if command[0] == number:
            found.append(command)
    return found


@pytest.mark.parametrize("node_type", [NodeType.END_DEVICE, SLEEPY, NodeType.MOBILE_END_DEVICE])
def test_an_end_device_joins_and_its_parent_knows_it(node_type: NodeType) -> None:
    air, hub, device = home(node_type)
    poll(device)
    air.clock.run_for(0.1)
    assert device.stack.is_up
    assert device.stack.state.network is not None
    assert device.stack.state.network.parent == 0
    child = hub.stack.children.of_eui64(SLEEPER)
    assert child is not None
    assert child.short_address == device.stack.short_address
    assert child.node_type.sleeps is node_type.sleeps
    assert comings(hub) == [(True, SLEEPER)]
    stored = StackState.from_json(hub.stored)
    assert stored.children == [child]
    assert hub.received()[0][11:] == bytes((zdo.capability(node_type),))  # its Device Announce
    assert device.stack.polling.parent_information == 3


def test_a_sleeping_child_gets_its_frame_when_it_polls() -> None:
    air, hub, device = home()
    assert hub.send(device, b"while it sleeps") is Status.OK
    air.clock.run_for(1)
    assert device.received() == []
    poll(device)
    air.clock.run_for(0.1)
    assert device.received() == [b"while it sleeps"]
    assert polls(device) == [Status.OK, Status.OK]  # the answer to its timeout, the message
    air.clock.run_for(10)
    assert [sent.status for sent in hub.sent()] == [Status.OK]


def test_a_child_that_does_not_sleep_gets_its_frame_at_once() -> None:
    air, hub, device = home(NodeType.END_DEVICE)
    hub.send(device, b"at once")
    air.clock.run_for(0.1)
    assert device.received() == [b"at once"]
    assert data_requests(air) == 1  # for the association


def test_a_sleeper_hears_nothing_between_its_polls() -> None:
    air, hub, device = home()
    hub.stack.aps.send_broadcast(nwk.BROADCAST_RX_ON, smart_energy(0), b"for those awake", 0)
    air.clock.run_for(1)
    poll(device, 0.5)
    air.clock.run_for(5)
    assert device.received() == []


def test_what_a_sleeper_hears_meanwhile_does_not_make_its_frames_replays() -> None:
    air, hub, device = home()
    poll(device)
    air.clock.run_for(0.1)
    hub.send(device, b"sealed first")
    air.clock.run_for(0.1)
    device.stack.mac.sleeps = False  # awake for something of its own
    hub.stack.aps.send_broadcast(nwk.BROADCAST_RX_ON, smart_energy(0), b"sealed later", 0)
    air.clock.run_for(0.1)
    device.stack.mac.sleeps = True
    poll(device)
    air.clock.run_for(1)
    assert device.received()[-1] == b"sealed first"
    assert device.stack.replays_rejected == 0
    assert hub.sent()[-1].status is Status.OK
    nonces = air.nwk_nonces()
    assert len(nonces) == len(set(nonces))


def test_a_broadcast_for_all_reaches_the_sleepers_when_they_poll() -> None:
    air, hub, device = home()
    other = join(air, hub, "other", OTHER, node_type=SLEEPY)
    hub.stack.aps.send_broadcast(nwk.BROADCAST_ALL, smart_energy(0), b"for all", 0)
    air.clock.run_for(1)
    assert device.received() == other.received() == []
    for host in (device, other):
        poll(host)
    air.clock.run_for(1)
    assert device.received() == other.received() == [b"for all"]


def test_a_frame_nobody_asks_for_expires_and_its_sender_hears() -> None:
    air, hub, device = home()
    begun_us = air.clock.now_us()
    assert hub.send(device, parameters=smart_energy(0x20)) is Status.OK  # unacknowledged
    air.clock.run_until(lambda: bool(hub.sent()), 20)
    assert hub.sent()[-1].status is Status.DELIVERY_FAILED
    assert air.clock.now_us() - begun_us == TRANSACTION_PERSISTENCE_US
    frames = len(air.frames)
    poll(device)
    air.clock.run_for(1)
    assert device.received() == []
    assert len(air.frames) == frames + 2  # a Data Request and the ACK that says: nothing


def test_two_frames_wait_and_the_pending_bit_says_so() -> None:
    air, hub, device = home()
    poll(device)
    air.clock.run_for(0.1)  # the answer to the timeout it asked for
    for payload in (b"one", b"two"):
        hub.send(device, payload, smart_energy(0x20))
    air.frames.clear()
    device.events.clear()
    poll(device)
    air.clock.run_for(0.2)
    assert device.received() == [b"one", b"two"]
    flags = [
        (psdu[0] & 7, bool(psdu[0] & mac.FRAME_PENDING))
        for _, psdu in air.frames
        if psdu[0] & 7 != mac.TYPE_COMMAND
    ]
    # ACK of a poll, frame, its ACK; and once more for the second
    assert flags == [(2, True), (1, True), (2, False), (2, True), (1, False), (2, False)]
    assert data_requests(air) == 2  # what is said to wait is fetched at once
    assert polls(device) == [Status.OK, Status.OK]


def test_so_many_frames_are_held_for_a_child_and_the_oldest_gives_way() -> None:
    air, hub, device = home()
    poll(device)
    air.clock.run_for(0.1)
    for number in range(MAX_HELD_PER_CHILD + 1):
        hub.send(device, bytes((number,)), smart_energy(0x20), tag=number)
    assert hub.sent() == []
    air.clock.run_for(0)
    # The NWK layer tries the refused one again, later: it waits behind the others then.
    assert hub.stack.mac.held.count(device.stack.short_address) == MAX_HELD_PER_CHILD
    poll(device, 0.1)
    air.clock.run_for(2)
    assert sorted(device.received()) == [bytes((n,)) for n in range(MAX_HELD_PER_CHILD + 1)]
    assert device.received()[0] == b"\x01"


def test_a_lost_acknowledgement_of_a_held_frame_does_not_bring_it_twice() -> None:
    air, hub, device = home()
    poll(device, 0.25)
    air.medium.set_faults((Loss(0.4),))
    for number in range(20):
        hub.send(device, bytes((number,)))
        told = len(hub.sent())
        air.clock.run_until(lambda told=told: len(hub.sent()) > told, 120)  # type: ignore[misc]
    got = device.received()
    assert len(got) == len(set(got))
    sent = {event.tag for event in hub.sent()}
    assert sent
    delivered = sum(event.status is Status.OK for event in hub.sent())
    assert delivered >= 18
    assert len(got) >= delivered


@pytest.mark.parametrize("seed", range(5))
def test_lost_data_requests_delay_frames_and_lose_none(seed: int) -> None:
    air, hub, device = home(seed=seed)
    poll(device, 1.0, 255)
    air.medium.set_faults((Loss(0.2),))
    for number in range(10):
        assert hub.send(device, bytes((number,))) is Status.OK
        told = len(hub.sent())
        air.clock.run_until(lambda told=told: len(hub.sent()) > told, 60)  # type: ignore[misc]
    assert [event.status for event in hub.sent()] == [Status.OK] * 10
    assert sorted(device.received()) == [bytes((number,)) for number in range(10)]


def test_a_sleeper_sends_whenever_it_likes_and_fetches_the_acknowledgement() -> None:
    air, hub, device = home()
    poll(device, 1.0, 3)
    air.clock.run_for(0.2)
    device.send(hub, b"from the sleeper")
    air.clock.run_for(0.1)
    assert hub.received()[-1] == b"from the sleeper"
    assert device.sent() == []
    air.clock.run_for(1)
    assert [event.status for event in device.sent()] == [Status.OK]


def test_a_message_to_a_sleeper_waits_longer_for_its_acknowledgement() -> None:
    air, hub, device = home()
    hub.send(device, b"patience")
    air.clock.run_for(ACK_WAIT_US / 1e6 + 5)
    assert hub.stack.mac.held.count(device.stack.short_address) == 2  # timeout response, message
    poll(device)
    air.clock.run_for(1)
    assert device.received() == [b"patience"]
    assert hub.sent()[-1].status is Status.OK


def test_the_host_may_say_that_somebody_sleeps_behind_another_parent() -> None:
    air = Air()
    hub = form(air)
    device = join(air, hub, "device", SLEEPER)
    hub.stack.aps.extended_timeouts.add(SLEEPER.to_bytes(8, "little"))
    device.stack.close()
    begun_us = air.clock.now_us()
    hub.send(device)
    air.clock.run_until(lambda: bool(hub.sent()), 60)
    assert air.clock.now_us() - begun_us == 4 * (ACK_WAIT_US + TRANSACTION_PERSISTENCE_US)


def test_each_poll_is_told_of_with_limit_zero_and_only_failures_with_another() -> None:
    air, hub, device = home()
    poll(device, 1.0)
    air.clock.run_for(3.5)
    assert polls(device) == [Status.OK, *[Status.MAC_NO_DATA] * 3]
    device.events.clear()
    poll(device, 1.0, 2)
    air.clock.run_for(10.5)
    assert polls(device) == []
    hub.stack.close()
    air.clock.run_for(2)
    assert polls(device) == []
    air.clock.run_for(1)
    assert polls(device) == [Status.MAC_NO_ACK]
    assert device.stack.polling.parent_lost
    air.clock.run_for(3)
    assert polls(device) == [Status.MAC_NO_ACK] * 2


def test_who_is_no_end_device_does_not_poll() -> None:
    air, hub, _ = home()
    router = join(air, hub, "router", ROUTER)
    assert hub.stack.polling.start(0, 0) is Status.INVALID_CALL
    assert router.stack.polling.start(0, 0) is Status.INVALID_CALL
    assert StackHost(air, "blank", OTHER).stack.polling.start(0, 0) is Status.INVALID_CALL


def test_a_child_that_falls_silent_is_forgotten_after_its_timeout() -> None:
    air = Air()
    hub = form(air)
    device = StackHost(air, "sleeper", SLEEPER)
    device.stack.children.timeout = 1  # asks for 2 minutes
    device.stack.state.preconfigured_key = link_key(SLEEPER)
    hub.stack.aps.transient_keys[SLEEPER] = link_key(SLEEPER)
    hub.stack.joining.permit(255)
    device.stack.joining.join(JoinRequest(CHANNEL, EXTENDED_PAN_ID, SLEEPY))
    air.clock.run_until(lambda: device.stack.is_up, 10)
    poll(device, 30)
    air.clock.run_for(3600)
    child = hub.stack.children.of_eui64(SLEEPER)
    assert child is not None
    assert child.timeout_s == TIMEOUTS_S[1] == 120
    device.stack.polling.stop()
    air.clock.run_for(80)
    assert hub.stack.children.count == 1
    air.clock.run_for(41)
    assert hub.stack.children.count == 0
    assert comings(hub) == [(True, SLEEPER), (False, SLEEPER)]
    assert StackState.from_json(hub.stored).children == [None]
    # it is still a device of the network: its link key and address stay known
    assert hub.stack.short_of(SLEEPER) == device.stack.short_address


def test_children_with_different_timeouts_are_forgotten_each_in_its_time() -> None:
    air, hub, device = home()
    other = join(air, hub, "other", OTHER, node_type=SLEEPY)
    for host in (device, other):
        poll(host)
    air.clock.run_for(1)
    other.stack.send_command(0, rejoin_commands.timeout_request(0))  # 10 s
    air.clock.run_for(9)
    assert hub.stack.children.count == 2
    air.clock.run_for(2)
    assert hub.stack.children.of_eui64(OTHER) is None
    air.clock.run_for(TIMEOUTS_S[8] - 60)
    assert hub.stack.children.count == 1
    air.clock.run_for(60)
    assert hub.stack.children.count == 0


def test_a_poll_asked_for_while_another_is_under_way_is_made_after_it() -> None:
    _, hub, device = home()
    air = device.air
    device.stack.mac.poll(0, lambda *_: None)
    poll(device)
    hub.send(device, b"held")
    air.clock.run_for(1)
    assert polls(device) != []


def test_a_forgotten_child_that_polls_is_sent_away_and_comes_back_by_itself() -> None:
    air, hub, device = home()
    poll(device)
    air.clock.run_for(0.1)
    child = hub.stack.children.of_eui64(SLEEPER)
    assert child is not None
    hub.stack.children.remove(child)
    poll(device, 1.0, 3)
    air.clock.run_for(3)
    (leave,) = commands(air, nwk.COMMAND_LEAVE)
    assert leave[1] == rejoin_commands.LEAVE_REQUEST | rejoin_commands.LEAVE_REJOIN
    assert hub.stack.children.count == 1
    assert device.statuses() == [Status.NETWORK_UP, Status.NETWORK_UP]
    hub.send(device, b"again")
    air.clock.run_for(3)
    assert device.received() == [b"again"]


def test_a_parent_restarted_from_old_state_gets_its_child_back() -> None:
    air, hub, device = home()
    poll(device, 1.0, 3)
    stored = StackState.from_json(hub.stored)
    stored.children.clear()
    hub.stored = stored.to_json()
    hub.power_cycle(resume=True)
    assert hub.stack.children.count == 0
    air.clock.run_for(5)
    assert hub.stack.children.count == 1
    told = [event for event in hub.events if isinstance(event, TrustCenterJoin)][-1]
    assert told.update is DeviceUpdate.STANDARD_SECURITY_SECURED_REJOIN
    device.send(hub, b"as ever", smart_energy(OPTION_RETRY))
    air.clock.run_for(3)
    assert hub.received()[-1] == b"as ever"


def test_a_parent_knows_its_children_after_a_power_cut() -> None:
    air, hub, device = home()
    poll(device)
    air.clock.run_for(0.1)
    hub.power_cycle(resume=True)
    hub.send(device, b"held", smart_energy(OPTION_RETRY))
    air.clock.run_for(1)
    assert device.received() == []
    poll(device)
    air.clock.run_for(1)
    assert device.received() == [b"held"]
    assert commands(air, nwk.COMMAND_LEAVE) == []


def test_more_end_devices_than_a_parent_has_room_for_stay_outside() -> None:
    air = Air()
    hub = form(air)
    hub.stack.children.max_children = 2
    for number in range(2):
        join(air, hub, f"child {number}", SLEEPER + number, node_type=SLEEPY)
    third = StackHost(air, "third", OTHER)
    third.stack.state.preconfigured_key = link_key(OTHER)
    hub.stack.aps.transient_keys[OTHER] = link_key(OTHER)
    request = JoinRequest(CHANNEL, EXTENDED_PAN_ID, SLEEPY)
    third.stack.joining.join(request)
    air.clock.run_until(lambda: bool(third.statuses()), 10)
    assert third.statuses() == [Status.NO_BEACONS]  # the beacon says that there is no room
    hub.stack.children.max_children = 3
    third.stack.joining.join(request)
    air.clock.run_for(0.1)  # the beacon has been heard
    hub.stack.children.max_children = 2
    air.clock.run_until(lambda: len(third.statuses()) == 2, 10)
    assert third.statuses()[-1] is Status.JOIN_FAILED
    response = next(
        mac.parse(psdu).payload
        for _, psdu in reversed(air.frames)
        if psdu[0] & 7 == mac.TYPE_COMMAND and mac.parse(psdu).payload[0] == 2
    )
    assert response == bytes((2, 0xFF, 0xFF, mac.ASSOCIATION_PAN_AT_CAPACITY))
    assert join(air, hub, "router", ROUTER).stack.is_up  # routers take no place


def test_a_child_without_the_network_key_loses_its_place() -> None:
    air = Air()
    hub = form(air)
    hub.stack.joining.permit(255)
    hub.stack.aps.transient_keys[SLEEPER] = link_key(SLEEPER)
    stranger = StackHost(air, "stranger", SLEEPER)
    stranger.stack.state.preconfigured_key = link_key(OTHER)
    stranger.stack.joining.join(JoinRequest(CHANNEL, EXTENDED_PAN_ID, SLEEPY))
    air.clock.run_until(lambda: hub.stack.children.count == 1, 5)
    air.clock.run_for(PROOF_US / 1e6 + 1)
    assert stranger.statuses() == [Status.NO_LINK_KEY_RECEIVED]
    assert hub.stack.children.count == 0
    denied = StackHost(air, "denied", OTHER)
    denied.stack.state.preconfigured_key = link_key(OTHER)
    denied.stack.joining.join(JoinRequest(CHANNEL, EXTENDED_PAN_ID, SLEEPY))
    air.clock.run_until(lambda: (False, OTHER) in comings(hub), 5)
    assert hub.stack.children.count == 0


def test_an_end_device_that_leaves_tells_its_parent_and_is_forgotten() -> None:
    air, hub, device = home()
    assert device.stack.leave() is Status.OK
    air.clock.run_for(1)
    assert device.statuses()[-1] is Status.NETWORK_DOWN
    assert hub.stack.children.count == 0
    assert hub.stack.short_of(SLEEPER) is None
    assert not device.stack.mac.sleeps
    assert join_again(air, hub, device)


def join_again(air: Air, hub: StackHost, device: StackHost) -> bool:
    hub.stack.joining.permit(255)
    assert device.stack.joining.join(JoinRequest(CHANNEL, EXTENDED_PAN_ID, SLEEPY)) is Status.OK
    air.clock.run_until(lambda: device.stack.is_up, 10)
    return device.stack.is_up


@pytest.mark.parametrize("rejoin", [False, True])
def test_a_child_told_to_leave_leaves_when_it_polls(rejoin: bool) -> None:
    air, hub, device = home()
    poll(device, 1.0, 3)
    air.clock.run_for(0.5)
    child = hub.stack.children.of_eui64(SLEEPER)
    assert child is not None
    hub.stack.children.request_leave(child, rejoin=rejoin)
    air.clock.run_for(3)
    assert device.stack.is_up is rejoin
    assert (hub.stack.children.count == 1) is rejoin
    if not rejoin:
        assert device.statuses()[-1] is Status.NETWORK_DOWN
        assert device.stack.state.network is None
        assert hub.stack.short_of(SLEEPER) is None


@pytest.mark.parametrize("rejoin", [False, True])
@pytest.mark.parametrize("node_type", [NodeType.ROUTER, SLEEPY])
def test_a_device_asked_over_zdo_to_leave_answers_and_leaves(
    node_type: NodeType, rejoin: bool
) -> None:
    air, hub, device = home(node_type)
    if node_type is SLEEPY:
        poll(device, 0.2, 3)
    address = Aps(zdo.PROFILE, zdo.MGMT_LEAVE, 0, 0, OPTION_RETRY)
    payload = b"\x55" + SLEEPER.to_bytes(8, "little") + bytes((0x80 if rejoin else 0,))
    hub.send(device, payload, address)
    air.clock.run_for(4)
    assert hub.received()[-1 if not rejoin else -2] == b"\x55\x00"
    assert device.stack.is_up is rejoin


def test_a_parent_asked_over_zdo_to_send_its_child_away_does() -> None:
    air, hub, device = home()
    poll(device, 0.2, 3)
    router = join(air, hub, "router", ROUTER)
    address = Aps(zdo.PROFILE, zdo.MGMT_LEAVE, 0, 0, OPTION_RETRY)
    for eui64, status in ((OTHER, zdo.DEVICE_NOT_FOUND), (0, zdo.NOT_SUPPORTED), (SLEEPER, 0)):
        router.send(hub, b"\x56" + eui64.to_bytes(8, "little") + b"\x00", address)
        air.clock.run_for(1)
        assert router.received()[-1] == bytes((0x56, status))
    air.clock.run_for(2)
    assert not device.stack.is_up
    assert hub.stack.is_up


@pytest.mark.parametrize("from_parent", [False, True])
def test_only_its_parent_sends_an_end_device_away(from_parent: bool) -> None:
    air, hub, device = home(NodeType.END_DEVICE)
    router = join(air, hub, "router", ROUTER)
    sender = hub if from_parent else router
    sender.stack.send_command(
        device.stack.short_address, rejoin_commands.leave(rejoin_commands.LEAVE_REQUEST)
    )
    air.clock.run_for(1)
    assert device.stack.is_up is not from_parent


def test_nobody_sends_the_coordinator_away() -> None:
    air, hub, _ = home()
    router = join(air, hub, "router", ROUTER)
    router.stack.send_command(0, rejoin_commands.leave(rejoin_commands.LEAVE_REQUEST))
    air.clock.run_for(1)
    assert hub.stack.is_up


def test_the_host_hears_of_polls_only_when_it_wants_to() -> None:
    air, hub, device = home()
    poll(device, 1.0, 3)
    air.clock.run_for(2)
    assert [event for event in hub.events if isinstance(event, ChildPolled)] == []
    hub.stack.children.tells_of_polls = True
    hub.send(device)
    air.clock.run_for(3)
    told = [event for event in hub.events if isinstance(event, ChildPolled)]
    assert told[0] == ChildPolled(device.stack.short_address, True)
    assert not told[-1].frame_follows


def test_who_asks_for_a_timeout_there_is_not_keeps_the_one_it_had() -> None:
    air, hub, device = home()
    poll(device, 0.2, 3)
    air.clock.run_for(1)
    device.stack.send_command(0, rejoin_commands.timeout_request(15))
    device.stack.send_command(0, bytes((rejoin_commands.COMMAND_TIMEOUT_REQUEST, 1)))
    air.clock.run_for(1)
    child = hub.stack.children.of_eui64(SLEEPER)
    assert child is not None
    assert child.timeout_s == TIMEOUTS_S[8]
    assert hub.stack.undecodable == 1
    assert commands(air, rejoin_commands.COMMAND_TIMEOUT_RESPONSE)[-1] == b"\x0c\x01\x03"


def test_a_router_in_whose_name_a_sleeper_associated_is_no_child_once_it_is_heard() -> None:
    air = Air()
    hub = form(air)
    router = join(air, hub, "router", ROUTER)
    hub.stack.children.add(ROUTER, router.stack.short_address, SLEEPY, proven=True)  # forged
    assert router.stack.short_address in hub.stack.mac.sleepers
    air.clock.run_for(20)  # a Link Status
    assert hub.stack.children.count == 0
    hub.send(router, b"at once")
    air.clock.run_for(1)
    assert router.received()[-1] == b"at once"
