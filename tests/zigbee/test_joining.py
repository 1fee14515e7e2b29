"""Getting in: with the right install code, the wrong one, none; through losses; two at once."""

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
)

from emulator.medium.air import Loss
from emulator.zigbee import aps, mac
from emulator.zigbee.events import (
    EnergyFound,
    JoinDecision,
    NetworkFound,
    NodeType,
    ScanDone,
    Status,
    TrustCenterJoin,
)
from emulator.zigbee.joining import (
    KEY_TIMEOUT_US,
    WILDCARD_EUI64,
    JoinRequest,
    TrustCenterPolicy,
)
from emulator.zigbee.security import FrameKey, install_code_key, key_transport_key
from emulator.zigbee.state import LinkKey, StackState

BRIDGE = 0x0011223344556677
PPMID = 0x8899AABBCCDDEEFF
CODE = bytes.fromhex("83FED3407A939723A5C639B26916D505")
REQUEST = JoinRequest(CHANNEL, EXTENDED_PAN_ID, NodeType.ROUTER)


class Premises:
    def __init__(self, seed: int = 1, losses: tuple[Loss, ...] = ()) -> None:
        self.air = Air(seed)
        self.hub = form(self.air)
        self.air.medium.set_faults(losses)
        self.hub.stack.joining.permit(255)

    def device(
        self, name: str = "bridge", eui64: int = BRIDGE, key: bytes | None = None
    ) -> StackHost:
        device = StackHost(self.air, name, eui64)
        device.stack.state.preconfigured_key = link_key(eui64) if key is None else key
        return device

    def expect(self, eui64: int, key: bytes | None = None) -> None:
        self.hub.stack.aps.transient_keys[eui64] = link_key(eui64) if key is None else key

    def join(self, device: StackHost, request: JoinRequest = REQUEST) -> Status:
        told = len(device.statuses())
        assert device.stack.joining.join(request) is Status.OK
        self.air.clock.run_until(lambda: len(device.statuses()) > told, 20)
        return device.statuses()[-1]

    def joins(self) -> list[TrustCenterJoin]:
        return [event for event in self.hub.events if isinstance(event, TrustCenterJoin)]


def test_with_the_right_install_code_a_device_gets_the_network_key_and_says_so() -> None:
    premises = Premises()
    device = premises.device(key=install_code_key(CODE))
    premises.expect(BRIDGE, install_code_key(CODE))
    assert premises.join(device) is Status.NETWORK_UP
    premises.air.clock.run_for(1)
    state = StackState.from_json(device.stored)
    assert state.network is not None
    assert state.network.key == NETWORK_KEY
    assert state.network.trust_center_eui64 == premises.hub.stack.state.eui64
    assert state.network.short_address == device.stack.short_address
    (told,) = premises.joins()
    assert told.eui64 == BRIDGE
    assert told.short_address == device.stack.short_address
    assert told.decision is JoinDecision.USE_PRECONFIGURED_KEY
    # Device_annce: sequence, address, EUI-64, capability of a router
    announce = premises.hub.received()[0]
    assert announce[1:3] == device.stack.short_address.to_bytes(2, "little")
    assert announce[3:] == BRIDGE.to_bytes(8, "little") + b"\x8e"
    assert NETWORK_KEY not in b"".join(psdu for _, psdu in premises.air.frames)


def test_with_a_wrong_install_code_a_device_waits_for_a_key_it_can_read_in_vain() -> None:
    premises = Premises()
    premises.expect(BRIDGE)
    device = premises.device(key=install_code_key(bytes(16)))
    begun_us = premises.air.clock.now_us()
    assert premises.join(device) is Status.NO_LINK_KEY_RECEIVED
    assert premises.air.clock.now_us() - begun_us > KEY_TIMEOUT_US
    assert not device.stack.is_up
    assert device.stack.state.network is None
    assert device.stack.mac.channel is None
    assert device.stack.undecodable == 1
    assert device.received() == []
    # with the code put right it gets in, at the address it had
    device.stack.state.preconfigured_key = link_key(BRIDGE)
    assert premises.join(device) is Status.NETWORK_UP
    assert {event.short_address for event in premises.joins()} == {device.stack.short_address}


def test_a_device_whose_code_is_not_known_is_denied_and_hears_no_key() -> None:
    premises = Premises()
    device = premises.device()
    assert premises.join(device) is Status.NO_LINK_KEY_RECEIVED
    (told,) = premises.joins()
    assert (told.eui64, told.decision) == (BRIDGE, JoinDecision.DENY_JOIN)
    assert premises.hub.stack.state.devices == {}
    assert device.stack.undecodable == 0


def test_a_key_common_to_all_is_used_only_with_the_hosts_leave() -> None:
    premises = Premises()
    premises.expect(WILDCARD_EUI64, link_key(BRIDGE))
    device = premises.device()
    assert premises.join(device) is Status.NO_LINK_KEY_RECEIVED
    premises.hub.stack.joining.policy = TrustCenterPolicy.ALLOW_JOINS
    assert premises.join(device) is Status.NETWORK_UP


def test_a_trust_centre_told_to_allow_nobody_lets_nobody_in() -> None:
    premises = Premises()
    premises.expect(BRIDGE)
    premises.hub.stack.joining.policy = TrustCenterPolicy.JOINS_USE_INSTALL_CODE_KEY
    assert premises.join(premises.device()) is Status.NO_LINK_KEY_RECEIVED
    assert premises.joins()[0].decision is JoinDecision.DENY_JOIN


def test_a_key_in_the_key_table_lets_its_device_in_again() -> None:
    premises = Premises()
    premises.hub.stack.state.link_keys[3] = LinkKey(BRIDGE, link_key(BRIDGE))
    assert premises.join(premises.device()) is Status.NETWORK_UP


def test_a_device_without_any_key_takes_none() -> None:
    premises = Premises()
    premises.expect(BRIDGE)
    device = premises.device()
    device.stack.state.preconfigured_key = None
    assert premises.join(device) is Status.NO_LINK_KEY_RECEIVED


def test_while_joining_is_closed_no_device_finds_a_network() -> None:
    premises = Premises()
    premises.expect(BRIDGE)
    premises.hub.stack.joining.permit(0)
    device = premises.device()
    assert premises.join(device) is Status.NO_BEACONS
    premises.hub.stack.joining.permit(2)
    assert premises.hub.stack.joining.permits
    premises.air.clock.run_for(2)
    assert not premises.hub.stack.joining.permits
    assert premises.join(device) is Status.NO_BEACONS
    assert premises.joins() == []
    premises.hub.stack.joining.permit(2)
    assert premises.join(device) is Status.NETWORK_UP


def test_a_door_that_closes_between_beacon_and_request_stays_closed() -> None:
    premises = Premises()
    premises.expect(BRIDGE)
    device = premises.device()
    assert device.stack.joining.join(REQUEST) is Status.OK
    premises.air.clock.run_for(0.1)  # the beacon has been heard
    premises.hub.stack.joining.permit(0)
    premises.air.clock.run_until(lambda: bool(device.statuses()), 20)
    assert device.statuses() == [Status.JOIN_FAILED]
    assert premises.joins() == []


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (JoinRequest(CHANNEL + 1, EXTENDED_PAN_ID, NodeType.ROUTER), Status.NO_BEACONS),
        (JoinRequest(CHANNEL, EXTENDED_PAN_ID + 1, NodeType.ROUTER), Status.NO_BEACONS),
    ],
)
def test_another_channel_or_another_network_is_not_joined(
    request_: JoinRequest, expected: Status
) -> None:
    premises = Premises()
    premises.expect(BRIDGE)
    assert premises.join(premises.device(), request_) is expected


def test_a_join_that_makes_no_sense_is_refused_at_once() -> None:
    premises = Premises()
    device = premises.device()
    for channel in (0, 10, 27):
        request = JoinRequest(channel, EXTENDED_PAN_ID, NodeType.ROUTER)
        assert device.stack.joining.join(request) is Status.INVALID_PARAMETER
    assert device.stack.joining.join(REQUEST) is Status.OK
    assert device.stack.joining.join(REQUEST) is Status.INVALID_CALL
    assert device.stack.form(network()) is Status.INVALID_CALL
    assert device.stack.resume() is Status.INVALID_CALL
    assert device.stack.joining.start_scan(1 << 15, 3, energy=False) is Status.INVALID_CALL
    assert premises.hub.stack.joining.join(REQUEST) is Status.INVALID_CALL


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_through_losses_devices_get_in_within_a_few_attempts(loss: float) -> None:
    attempts = []
    for seed in range(20):
        premises = Premises(seed, (Loss(loss),))
        premises.expect(BRIDGE)
        device = premises.device()
        tried = 1
        while premises.join(device) is not Status.NETWORK_UP:
            tried += 1
            assert tried < 30
        attempts.append(tried)
        assert {event.short_address for event in premises.joins()} == {device.stack.short_address}
    assert sum(attempts) / len(attempts) <= {0.0: 1.0, 0.1: 2.0, 0.3: 6.0}[loss]


def test_two_devices_that_join_at_once_both_get_in_at_different_addresses() -> None:
    for seed in range(10):
        premises = Premises(seed)
        devices = [premises.device("bridge", BRIDGE), premises.device("ppmid", PPMID)]
        for device in devices:
            premises.expect(device.stack.state.eui64)
        for _ in range(5):
            for device in devices:
                if not device.stack.is_up:
                    assert device.stack.joining.join(REQUEST) is Status.OK
            premises.air.clock.run_for(8)
            if all(device.stack.is_up for device in devices):
                break
        assert [device.stack.is_up for device in devices] == [True, True]
        addresses = {device.stack.short_address for device in devices}
        assert len(addresses) == 2
        assert set(premises.hub.stack.state.devices) == addresses


def test_a_device_that_joins_again_gets_its_old_address_also_after_the_hub_lost_power() -> None:
    premises = Premises()
    premises.expect(BRIDGE)
    device = premises.device()
    assert premises.join(device) is Status.NETWORK_UP
    address = device.stack.short_address
    premises.hub.power_cycle(resume=True)
    premises.expect(BRIDGE)
    premises.hub.stack.joining.permit(255)
    device.stack.close()
    again = premises.device()
    # what it remembers of counters it must keep: the hub does
    again.stack.nwk_counter.restart(10_000)
    assert premises.join(again) is Status.NETWORK_UP
    assert again.stack.short_address == address
    assert premises.hub.stack.state.devices == {address: BRIDGE}


def test_a_device_that_left_frees_its_address() -> None:
    premises = Premises()
    device = join(premises.air, premises.hub, "bridge", BRIDGE)
    address = device.stack.short_address
    device.stack.leave()
    premises.air.clock.run_for(1)
    assert premises.hub.stack.eui64_of(address) is None


def test_a_key_meant_for_another_device_is_not_taken() -> None:
    premises = Premises()
    device = premises.device()
    assert device.stack.joining.join(REQUEST) is Status.OK
    premises.air.clock.run_for(2)  # associated, and denied: it waits for a key
    key = FrameKey(key_transport_key(link_key(BRIDGE)))
    command = aps.TransportKey(bytes(16), 0, PPMID, 0xA2)
    frame = aps.seal_transport_key(key, command, 1, 1)
    device.stack.joining.receive_unsecured(frame)
    assert not device.stack.is_up
    device.stack.joining.receive_unsecured(
        aps.seal_transport_key(key, command._replace(destination_eui64=BRIDGE), 1, 2)
    )
    assert device.stack.is_up


def test_a_power_cut_at_any_moment_of_a_join_leaves_a_device_that_can_join() -> None:
    for at_ms in range(0, 1400, 50):
        premises = Premises()
        premises.expect(BRIDGE)
        device = premises.device()
        device.stack.save()
        assert device.stack.joining.join(REQUEST) is Status.OK
        premises.air.clock.run_for(at_ms / 1000)
        device.power_cycle()
        if device.stack.resume() is Status.OK:
            premises.air.clock.run_for(0.1)
        else:
            assert premises.join(device) is Status.NETWORK_UP
        device.send(premises.hub, b"here")
        premises.air.clock.run_for(7)
        assert premises.hub.received()[-1] == b"here"


def test_hostile_frames_during_a_join_neither_raise_nor_keep_a_device_out() -> None:
    premises = Premises()
    premises.expect(BRIDGE)
    device = premises.device()
    stranger = premises.air.medium.attach("stranger", lambda _: None)
    stranger.channel = CHANNEL
    draws = random.Random(3)
    air = premises.air

    def disturb() -> None:
        kind = draws.choice([0x00, 0x01, 0x03])
        address = BRIDGE.to_bytes(8, "little")
        command = bytes((draws.randrange(0, 9),))
        rest = command + draws.randbytes(draws.randrange(0, 12))
        if kind == 0x03:  # a command to this device's EUI-64
            octets = bytes((0x43, 0x8C, draws.randrange(256), 0x62, 0x1A)) + address
            octets += draws.randbytes(2) + rest
        elif kind == 0x00:  # a beacon
            octets = b"\x00\x80" + draws.randbytes(5) + draws.randbytes(draws.randrange(0, 25))
        else:  # a NWK frame without security
            octets = b"\x41\x88\x01\x62\x1a\xff\xff\x00\x00\x08\x00" + draws.randbytes(40)
        stranger.transmit(octets + mac.fcs(octets), air.clock.now_us())
        air.clock.call_at_us(air.clock.now_us() + 30_000, disturb)

    disturb()
    for _ in range(30):
        if premises.join(device) is Status.NETWORK_UP:
            break
    assert device.stack.is_up


def test_a_scan_finds_the_network_on_its_channel_and_comes_back() -> None:
    premises = Premises()
    device = premises.device()
    assert device.stack.joining.start_scan(0x07FFF800, 2, energy=False) is Status.OK
    premises.air.clock.run_until(lambda: any(isinstance(e, ScanDone) for e in device.events))
    assert device.events == [
        NetworkFound(CHANNEL, 0x1A62, EXTENDED_PAN_ID, True, 2, 0, 0),
        ScanDone(Status.OK),
    ]
    assert device.stack.mac.channel is None
    assert not device.stack.joining.is_busy


def test_an_energy_scan_tells_of_every_channel() -> None:
    premises = Premises()
    device = premises.device()
    assert device.stack.joining.start_scan(0x07FFF800, 0, energy=True) is Status.OK
    premises.air.clock.run_for(2)
    found = [event.channel for event in device.events if isinstance(event, EnergyFound)]
    assert found == list(range(11, 27))
    assert isinstance(device.events[-1], ScanDone)


@pytest.mark.parametrize(("mask", "duration"), [(0, 3), (1 << 10, 3), (1 << 15, 15), (1 << 15, -1)])
def test_a_scan_of_nothing_or_for_ever_is_refused(mask: int, duration: int) -> None:
    device = Premises().device()
    assert device.stack.joining.start_scan(mask, duration, energy=False) is (
        Status.INVALID_PARAMETER
    )


def test_a_device_does_not_answer_for_the_network_but_a_beacon_of_it_says_router() -> None:
    premises = Premises()
    join(premises.air, premises.hub, "bridge", BRIDGE)
    premises.air.frames.clear()
    ppmid = premises.device("ppmid", PPMID)
    ppmid.stack.joining.start_scan(1 << CHANNEL, 3, energy=False)
    premises.air.clock.run_for(1)
    beacons = [
        mac.parse_beacon(mac.parse(psdu).payload)
        for _, psdu in premises.air.frames
        if psdu[0] & 7 == mac.TYPE_BEACON
    ]
    assert sorted(beacon.is_coordinator for beacon in beacons) == [False, True]
    assert sorted(beacon.permit_joining for beacon in beacons) == [False, True]
    assert {beacon.stack_profile for beacon in beacons} == {2}
