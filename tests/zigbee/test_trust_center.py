"""Link keys on request, verified and confirmed; partners' keys; devices that are put out."""

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
    network,
)

from emulator.zigbee import nwk
from emulator.zigbee.aps_commands import (
    ConfirmKey,
    RemoveDevice,
    RequestKey,
    TransportApplicationKey,
    TransportTrustCenterKey,
    VerifyKey,
    build,
)
from emulator.zigbee.events import (
    DeviceUpdate,
    KeyStatus,
    LinkKeyNews,
    NodeType,
    StackStatus,
    Status,
    TrustCenterJoin,
)
from emulator.zigbee.joining import JoinRequest, TrustCenterPolicy
from emulator.zigbee.security import (
    KEY_ID_DATA,
    KEY_ID_KEY_LOAD,
    FrameKey,
    mmo_hash,
    verify_key_hash,
)
from emulator.zigbee.state import StackState
from emulator.zigbee.trust_center import ApplicationKeyPolicy, TrustCenterKeyPolicy

HUB = 0x00DB1234567890A2
BRIDGE = 0x0011223344556677
PPMID = 0x8899AABBCCDDEEFF
NEW_KEY = bytes(range(100, 116))


def house(air: Air) -> tuple[StackHost, StackHost, StackHost]:
    """A hub with two devices, whose keys its host has put into the table."""
    hub = form(air)
    devices = join(air, hub, "bridge", BRIDGE), join(air, hub, "ppmid", PPMID)
    for eui64 in (BRIDGE, PPMID):
        hub.stack.state.put_link_key(eui64, hub.stack.aps.transient_keys[eui64])
    hub.stack.aps.transient_keys.clear()
    hub.stack.aps.keys_changed()
    hub.stack.save()
    return hub, *devices


def news(host: StackHost) -> list[tuple[int, KeyStatus]]:
    return [tuple(event) for event in host.events if isinstance(event, LinkKeyNews)]


def key_at(host: StackHost, partner: int) -> bytes | None:
    """The key that `host` uses with `partner`."""
    entry = host.stack.aps.link_key(partner)
    return None if entry is None else entry.key


def exchange(air: Air, one: StackHost, other: StackHost) -> None:
    """A message each way under the link key."""
    for sender, receiver in ((one, other), (other, one)):
        heard = len(receiver.received())
        assert sender.send(receiver) is Status.OK
        air.clock.run_until(lambda r=receiver, h=heard: len(r.received()) > h, 20)  # type: ignore[misc]
        air.clock.run_for(0.5)
        assert sender.sent()[-1].status is Status.OK


# -- the key shared with the trust centre -----------------------------------------------------


def test_a_new_trust_centre_link_key_is_used_by_both_once_it_is_verified() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.trust_center.trust_center_key_policy = TrustCenterKeyPolicy.GENERATE_NEW
    exchange(air, hub, bridge)
    assert bridge.stack.trust_center_link.update_link_key(3) is Status.OK
    assert bridge.stack.trust_center_link.update_link_key(3) is Status.INVALID_CALL  # under way
    air.clock.run_for(2)
    assert news(bridge) == [
        (HUB, KeyStatus.TRUST_CENTER_LINK_KEY_ESTABLISHED),
        (HUB, KeyStatus.VERIFY_LINK_KEY_SUCCESS),
    ]
    assert news(hub) == [
        (BRIDGE, KeyStatus.TC_RESPONDED_TO_KEY_REQUEST),
        (BRIDGE, KeyStatus.TC_REQUESTER_VERIFY_KEY_SUCCESS),
    ]
    new = key_at(bridge, HUB)
    assert new == key_at(hub, BRIDGE) != link_key(BRIDGE)
    exchange(air, hub, bridge)
    # and after a power cut
    assert StackState.from_json(bridge.stored).preconfigured_key == new
    assert link_key(BRIDGE).hex() not in bridge.stored + hub.stored
    for host in (hub, bridge):
        host.power_cycle(resume=True)
    exchange(air, hub, bridge)
    assert hub.stack.replays_rejected == bridge.stack.replays_rejected == 0


def test_a_message_under_way_while_its_key_is_replaced_arrives() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    exchange(air, hub, bridge)
    hub.stack.state.put_link_key(BRIDGE, NEW_KEY)
    hub.stack.aps.keys_changed()
    assert bridge.send(hub, b"under the old key at first") is Status.OK
    air.clock.run_for(0.5)
    assert b"under the old key at first" not in hub.received()
    bridge.stack.trust_center_link.replace_link_key(NEW_KEY)
    air.clock.run_for(5)
    assert hub.received()[-1] == b"under the old key at first"
    assert bridge.sent()[-1].status is Status.OK


def test_a_trust_centre_that_sends_the_current_key_changes_none() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.trust_center.trust_center_key_policy = TrustCenterKeyPolicy.SEND_CURRENT
    assert bridge.stack.trust_center_link.request_link_key(HUB) is Status.OK
    air.clock.run_for(2)
    assert (HUB, KeyStatus.VERIFY_LINK_KEY_SUCCESS) in news(bridge)
    assert key_at(bridge, HUB) == key_at(hub, BRIDGE) == link_key(BRIDGE)
    # what is sent of its own accord ends the same way
    short = bridge.stack.short_address
    assert hub.stack.trust_center.send_link_key(short, BRIDGE) is Status.OK
    air.clock.run_for(2)
    assert len(news(bridge)) == 4
    assert hub.stack.trust_center.send_link_key(short, 0x1234) is Status.KEY_NOT_FOUND
    assert bridge.stack.trust_center.send_link_key(0, HUB) is Status.INVALID_CALL
    exchange(air, hub, bridge)


def requests(air: Air, sender: StackHost) -> list[bytes]:
    """What `sender` sent to its hub, not to all."""
    return [
        frame
        for frame in air.data_frames()
        if nwk.parse(frame)[1:3] == (0x0000, sender.stack.short_address)
    ]


def test_a_request_the_policy_denies_is_not_answered_and_ends_after_its_attempts() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    frames = len(requests(air, bridge))
    assert bridge.stack.trust_center_link.update_link_key(3) is Status.OK
    air.clock.run_for(14)
    assert news(bridge) == []
    air.clock.run_for(2)
    assert news(bridge) == [(HUB, KeyStatus.KEY_ESTABLISHMENT_TIMEOUT)]
    assert news(hub) == []
    assert len(requests(air, bridge)) == frames + 3
    assert bridge.stack.trust_center_link.update_link_key(0) is Status.INVALID_PARAMETER


def test_a_device_that_proves_another_key_keeps_the_old_one_and_both_are_told() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.trust_center.trust_center_key_policy = TrustCenterKeyPolicy.GENERATE_NEW
    del bridge.stack.aps.command_handlers[5]  # it takes no key
    bridge.stack.aps.commands.send(0, build(RequestKey(4)), key_id=KEY_ID_DATA)
    air.clock.run_for(1)
    for wrong in (
        VerifyKey(4, BRIDGE, bytes(16)),
        VerifyKey(4, BRIDGE, verify_key_hash(NEW_KEY)),
        VerifyKey(1, BRIDGE, verify_key_hash(link_key(BRIDGE))),
    ):
        bridge.stack.aps.commands.send(0, build(wrong))
        air.clock.run_for(1)
        assert news(hub)[-1] == (BRIDGE, KeyStatus.TC_REQUESTER_VERIFY_KEY_FAILURE)
    told = len(news(hub))
    # in another's name
    proof = VerifyKey(4, PPMID, verify_key_hash(link_key(PPMID)))
    bridge.stack.aps.commands.send(0, build(proof))
    air.clock.run_for(1)
    assert len(news(hub)) == told
    air.clock.run_for(10)
    assert news(hub)[-1] == (BRIDGE, KeyStatus.TC_REQUESTER_VERIFY_KEY_TIMEOUT)
    assert key_at(hub, BRIDGE) == link_key(BRIDGE)
    exchange(air, hub, bridge)


def test_a_key_that_is_never_confirmed_is_not_used() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.trust_center.trust_center_key_policy = TrustCenterKeyPolicy.GENERATE_NEW
    del hub.stack.aps.command_handlers[0x0F]  # it hears no proof
    assert bridge.stack.trust_center_link.update_link_key(1) is Status.OK
    air.clock.run_for(7)
    assert news(bridge) == [(HUB, KeyStatus.VERIFY_LINK_KEY_FAILURE)]
    assert bridge.stack.aps.unconfirmed is None
    air.clock.run_for(10)
    exchange(air, hub, bridge)
    assert key_at(bridge, HUB) == link_key(BRIDGE)


@pytest.mark.parametrize(
    "confirm",
    [
        ConfirmKey(0xAD, 4, BRIDGE),  # it says no
        ConfirmKey(0, 4, PPMID),  # to another
    ],
)
def test_a_confirmation_that_is_none_stores_nothing(confirm: ConfirmKey) -> None:
    air = Air()
    hub, bridge, _ = house(air)
    del hub.stack.aps.command_handlers[0x0F]
    short = bridge.stack.short_address
    send = hub.stack.aps.commands.send
    send(short, build(TransportTrustCenterKey(NEW_KEY, BRIDGE, HUB)), key_id=KEY_ID_KEY_LOAD)
    air.clock.run_for(0.5)
    send(short, build(confirm), key_id=KEY_ID_DATA)
    send(short, build(ConfirmKey(0, 4, BRIDGE)))  # under no key
    air.clock.run_for(10)
    assert (HUB, KeyStatus.VERIFY_LINK_KEY_FAILURE) in news(bridge)
    assert key_at(bridge, HUB) == link_key(BRIDGE)
    assert NEW_KEY.hex() not in bridge.stored


def test_keys_from_anybody_but_the_trust_centre_are_not_taken() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    for host, partner in ((bridge, PPMID), (ppmid, BRIDGE)):  # they share a key
        host.stack.state.put_link_key(partner, NEW_KEY)
        host.stack.aps.keys_changed()
    exchange(air, bridge, ppmid)
    short = bridge.stack.short_address
    for command in (
        TransportTrustCenterKey(bytes(16), BRIDGE, HUB),
        TransportApplicationKey(bytes(16), HUB, True),
        TransportApplicationKey(bytes(16), 0x77, True),
        RemoveDevice(BRIDGE),
    ):
        ppmid.stack.aps.commands.send(short, build(command), key_id=KEY_ID_KEY_LOAD)
        hub.stack.aps.commands.send(short, build(command))  # in the hub's name, under no key
        air.clock.run_for(0.5)
    assert bridge.stack.is_up
    assert news(bridge) == []
    assert bytes(16).hex() not in bridge.stored
    exchange(air, hub, bridge)


# -- keys of two devices ----------------------------------------------------------------------


def test_both_partners_get_a_key_of_their_own_when_one_asks() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    hub.stack.trust_center.application_key_policy = ApplicationKeyPolicy.ALLOW
    assert bridge.send(ppmid) is Status.KEY_NOT_FOUND
    assert bridge.stack.trust_center_link.request_link_key(PPMID) is Status.OK
    air.clock.run_for(2)
    assert news(bridge) == [(PPMID, KeyStatus.APP_LINK_KEY_ESTABLISHED)]
    assert news(ppmid) == [(BRIDGE, KeyStatus.APP_LINK_KEY_ESTABLISHED)]
    assert news(hub) == [(BRIDGE, KeyStatus.TC_APP_KEY_SENT_TO_REQUESTER)]
    key = key_at(bridge, PPMID)
    assert key == key_at(ppmid, BRIDGE) is not None
    assert key.hex() not in hub.stored
    exchange(air, bridge, ppmid)
    bridge.power_cycle(resume=True)
    ppmid.power_cycle(resume=True)
    exchange(air, bridge, ppmid)
    exchange(air, hub, bridge)
    # nobody else can read it: not even under the network key is it in the clear
    for frame in air.data_frames():
        header = nwk.parse(frame)
        if header.secured:
            at = header.header_octets
            _, eui64, _ = nwk.parse_auxiliary(frame, at)
            assert key not in nwk.open_sealed(FrameKey(NETWORK_KEY), frame, at, eui64)


@pytest.mark.parametrize(
    ("policy", "partner", "status"),
    [
        (ApplicationKeyPolicy.DENY, PPMID, KeyStatus.TC_REJECTED_APP_KEY_REQUEST),
        (ApplicationKeyPolicy.ALLOW, 0x77, KeyStatus.TC_NO_LINK_KEY_FOR_REQUESTER),
        (ApplicationKeyPolicy.ALLOW, BRIDGE + 1, KeyStatus.TC_NO_LINK_KEY_FOR_REQUESTER),
    ],
)
def test_a_key_with_a_partner_that_is_not_known_is_given_to_nobody(
    policy: ApplicationKeyPolicy, partner: int, status: KeyStatus
) -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    # one that announced itself, whose link key the hub does not have
    hub.stack.learn(0x4444, BRIDGE + 1)
    hub.stack.trust_center.application_key_policy = policy
    assert bridge.stack.trust_center_link.request_link_key(partner) is Status.OK
    air.clock.run_for(10)
    assert news(hub) == [(BRIDGE, status)]
    assert news(bridge) == [(partner, KeyStatus.KEY_ESTABLISHMENT_TIMEOUT)]
    assert news(ppmid) == []


def test_a_full_key_table_at_a_partner_is_told_and_takes_nothing() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    hub.stack.trust_center.application_key_policy = ApplicationKeyPolicy.ALLOW
    del ppmid.stack.state.link_keys[:]
    assert bridge.stack.trust_center_link.request_link_key(PPMID) is Status.OK
    air.clock.run_for(2)
    assert news(ppmid) == [(BRIDGE, KeyStatus.KEY_TABLE_FULL)]
    assert ppmid.stack.state.link_keys == []


def test_who_may_not_ask_is_refused_before_anything_is_sent() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    frames = len(air.frames)
    link = bridge.stack.trust_center_link
    assert hub.stack.trust_center_link.request_link_key(BRIDGE) is Status.INVALID_CALL
    assert link.request_link_key(BRIDGE) is Status.INVALID_PARAMETER
    blank = StackHost(air, "blank", 0xB1)
    assert blank.stack.trust_center_link.request_link_key(HUB) is Status.NOT_JOINED
    assert blank.stack.trust_center_link.update_link_key(1) is Status.NOT_JOINED
    assert len(air.frames) == frames


def test_a_request_under_no_key_or_of_an_odd_type_gets_no_key() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.trust_center.trust_center_key_policy = TrustCenterKeyPolicy.SEND_CURRENT
    hub.stack.trust_center.application_key_policy = ApplicationKeyPolicy.ALLOW
    frames = len(air.data_frames())
    send = bridge.stack.aps.commands.send
    send(0, build(RequestKey(4)))
    send(0, build(RequestKey(2, PPMID)))
    send(0, build(RequestKey(1)), key_id=KEY_ID_DATA)
    send(0, b"\x08", key_id=KEY_ID_DATA)
    send(0, b"\x63\x00", key_id=KEY_ID_DATA)  # no command at all
    air.clock.run_for(3)
    assert news(hub) == [(BRIDGE, KeyStatus.TC_REQUEST_KEY_TYPE_NOT_SUPPORTED)]
    assert len(air.data_frames()) == frames + 5
    assert hub.stack.undecodable == 1  # the one that is cut off


def test_a_request_resealed_under_the_network_key_is_rejected_by_its_link_key_counter() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.trust_center.trust_center_key_policy = TrustCenterKeyPolicy.SEND_CURRENT
    frames = len(air.data_frames())
    bridge.stack.aps.commands.send(0, build(RequestKey(4)), key_id=KEY_ID_DATA)
    air.clock.run_for(0.02)
    frame = air.data_frames()[frames]
    _, eui64, _ = nwk.parse_auxiliary(frame, 8)
    command = nwk.open_sealed(FrameKey(NETWORK_KEY), frame, 8, eui64)
    air.clock.run_for(2)
    told = len(news(hub))
    hub.stack.aps.receive(command, bridge.stack.short_address, False)  # whatever carries it
    air.clock.run_for(2)
    assert len(news(hub)) == told == 2
    assert hub.stack.replays_rejected == 1


# -- Remove Device ----------------------------------------------------------------------------


def test_a_device_that_is_removed_leaves_and_the_hub_is_told() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    short = bridge.stack.short_address
    assert hub.stack.trust_center.remove_device(short, BRIDGE, BRIDGE) is Status.OK
    air.clock.run_for(2)
    assert bridge.statuses()[-1] is Status.NETWORK_DOWN
    assert StackState.from_json(bridge.stored).network is None
    assert ppmid.stack.is_up
    left = [event for event in hub.events if isinstance(event, TrustCenterJoin)][-1]
    assert (left.eui64, left.update) == (BRIDGE, DeviceUpdate.DEVICE_LEFT)


def test_a_child_of_the_hub_is_told_to_leave_by_the_hub_itself() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    remove = hub.stack.trust_center.remove_device
    short_address = bridge.stack.short_address
    assert remove(0, HUB, BRIDGE) is Status.OK
    air.clock.run_for(0.5)
    assert not bridge.stack.is_up
    (frame,) = [one for one in air.data_frames() if nwk.parse(one).destination_ieee == BRIDGE]
    header = nwk.parse(frame)
    assert header.destination == short_address
    leave = nwk.open_sealed(
        FrameKey(NETWORK_KEY), frame, header.header_octets, hub.stack.eui64_octets
    )
    assert leave == b"\x04\x40"  # a request, without rejoin and without its children
    assert remove(0, HUB, 0x77) is Status.INVALID_PARAMETER
    assert remove(0, HUB, HUB) is Status.INVALID_PARAMETER
    assert remove(0x4444, 0x77, 0x77) is Status.KEY_NOT_FOUND
    assert ppmid.stack.trust_center.remove_device(0, HUB, HUB) is Status.INVALID_CALL


def test_a_router_tells_the_child_it_is_to_remove_to_leave() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    assert bridge.stack.short_of(PPMID) == ppmid.stack.short_address  # by its announcement
    short_address = ppmid.stack.short_address
    hub.stack.trust_center.remove_device(bridge.stack.short_address, BRIDGE, PPMID)
    air.clock.run_for(0.5)
    headers = [nwk.parse(frame) for frame in air.data_frames()]
    (header,) = [one for one in headers if one.destination_ieee == PPMID]
    assert (header.source, header.destination) == (bridge.stack.short_address, short_address)
    assert bridge.stack.is_up
    assert not ppmid.stack.is_up


# -- swap-out ---------------------------------------------------------------------------------


def second_hub(air: Air, *keys: tuple[int, bytes]) -> StackHost:
    """Another trust centre for the same homes: own EUI-64, PAN id and network key."""
    hub = StackHost(air, "hub B", 0x00DB1234567890B2)
    hub.stack.joining.policy = TrustCenterPolicy.ALLOW_JOINS
    for eui64, key in keys:
        hub.stack.state.put_link_key(eui64, key)
    swapped = network()
    swapped.pan_id, swapped.key = 0x2B62, NEW_KEY
    assert hub.stack.form(swapped) is Status.OK
    air.clock.run_for(0.1)
    hub.stack.joining.permit(255)
    return hub


def come_over(air: Air, device: StackHost) -> Status:
    """A device that was restarted looks for its network by the extended PAN id; what it hears."""
    device.power_cycle()
    told = len(device.events)
    request = JoinRequest(CHANNEL, EXTENDED_PAN_ID, NodeType.ROUTER)
    assert device.stack.joining.join(request) is Status.OK
    air.clock.run_until(lambda: any(isinstance(e, StackStatus) for e in device.events[told:]), 30)
    air.clock.run_for(0.5)
    return device.statuses()[-1]


def test_devices_come_over_to_a_new_trust_centre_that_has_hashes_of_their_keys() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    exchange(air, hub, bridge)
    hub.stack.close()
    other = second_hub(
        air, (BRIDGE, mmo_hash(link_key(BRIDGE))), (PPMID, mmo_hash(link_key(PPMID)))
    )
    for device, eui64 in ((bridge, BRIDGE), (ppmid, PPMID)):
        assert come_over(air, device) is Status.TRUST_CENTER_EUI_HAS_CHANGED
        stored = StackState.from_json(device.stored)
        assert stored.network is not None
        assert stored.network.trust_center_eui64 == other.stack.state.eui64
        assert stored.network.key == NEW_KEY
        assert stored.preconfigured_key == mmo_hash(link_key(eui64))
        exchange(air, other, device)
        device.power_cycle(resume=True)
        exchange(air, other, device)
    # and once more to a third one, by the hash of that
    other.stack.close()
    third = second_hub(air, (BRIDGE, mmo_hash(mmo_hash(link_key(BRIDGE)))))
    third.stack.close()
    third = StackHost(air, "hub C", 0x00DB1234567890C2)
    third.stack.joining.policy = TrustCenterPolicy.ALLOW_JOINS
    third.stack.state.put_link_key(BRIDGE, mmo_hash(mmo_hash(link_key(BRIDGE))))
    third.stack.form(network())
    air.clock.run_for(0.1)
    third.stack.joining.permit(255)
    assert come_over(air, bridge) is Status.TRUST_CENTER_EUI_HAS_CHANGED
    exchange(air, third, bridge)


def test_a_key_established_since_then_is_the_one_whose_hash_counts() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.state.put_link_key(BRIDGE, NEW_KEY)
    hub.stack.aps.keys_changed()
    bridge.stack.trust_center_link.replace_link_key(NEW_KEY)
    exchange(air, hub, bridge)
    hub.stack.close()
    other = second_hub(air, (BRIDGE, mmo_hash(NEW_KEY)))
    assert come_over(air, bridge) is Status.TRUST_CENTER_EUI_HAS_CHANGED
    exchange(air, other, bridge)


@pytest.mark.parametrize(
    "key", [mmo_hash(link_key(PPMID)), mmo_hash(mmo_hash(link_key(BRIDGE))), bytes(16)]
)
def test_nobody_comes_over_to_a_trust_centre_with_another_key(key: bytes) -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    for gone in (hub, ppmid):
        gone.stack.close()
    second_hub(air, (BRIDGE, key))
    assert come_over(air, bridge) is Status.NO_LINK_KEY_RECEIVED
    stored = StackState.from_json(bridge.stored)
    assert stored.preconfigured_key == link_key(BRIDGE)
    assert stored.network is not None
    assert (stored.network.trust_center_eui64, stored.network.key) == (HUB, NETWORK_KEY)


def test_the_same_trust_centre_does_not_come_back_with_the_hash_alone() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.state.put_link_key(BRIDGE, mmo_hash(link_key(BRIDGE)))
    hub.stack.aps.keys_changed()
    assert come_over(air, bridge) is Status.NO_LINK_KEY_RECEIVED


def test_a_device_of_another_home_does_not_come_over_by_the_hash() -> None:
    air = Air()
    hub, _, _ = house(air)
    hub.stack.close()
    second_hub(air, (0x55, mmo_hash(link_key(0x55))))
    stranger = StackHost(air, "stranger", 0x55)
    stranger.stack.state.preconfigured_key = link_key(0x55)
    stranger.stack.save()
    assert come_over(air, stranger) is Status.NO_LINK_KEY_RECEIVED


def test_a_network_key_recorded_at_a_join_is_a_replay_at_a_rejoin() -> None:
    air = Air()
    _, bridge, _ = house(air)
    (recorded,) = [
        frame[8:]
        for frame in air.data_frames()
        if not nwk.parse(frame).secured
        and nwk.parse(frame).destination == bridge.stack.short_address
    ]
    bridge.power_cycle()
    link = bridge.stack.trust_center_link
    assert link.open_network_key(recorded, EXTENDED_PAN_ID, is_rejoin=True) is None
    assert bridge.stack.replays_rejected == 1
    # who joins anew has no counter to go by
    opened = link.open_network_key(recorded, EXTENDED_PAN_ID)
    assert opened is not None
    assert opened[0].key == NETWORK_KEY


def test_hostile_octets_are_no_network_key() -> None:
    air = Air()
    _, bridge, _ = house(air)
    stored = bridge.stored
    for frame in (b"", b"\x21", b"\x21\x00\x30" + bytes(8), b"\x21\x00\x30" + bytes(60), bytes(60)):
        link = bridge.stack.trust_center_link
        assert link.open_network_key(frame, EXTENDED_PAN_ID) is None
    assert bridge.stack.undecodable == 5
    assert bridge.stored == stored
