"""A node's life: forming, resuming, leaving, power cuts; replays, broadcasts, foreign frames."""

from __future__ import annotations

import random

import pytest
from air_support import (
    CHANNEL,
    EXTENDED_PAN_ID,
    NETWORK_KEY,
    OTA,
    SMART_ENERGY,
    Air,
    StackHost,
    form,
    join,
    network,
    smart_energy,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from emulator.medium.faults import AckLoss, AirFault, Delay, Duplicate, Loss
from emulator.zigbee import aps, mac, nwk
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_RETRY,
    DeviceUpdate,
    MessageSent,
    NodeType,
    Status,
    TrustCenterJoin,
)
from emulator.zigbee.joining import JoinRequest
from emulator.zigbee.security import FrameKey
from emulator.zigbee.state import COUNTER_LIMIT, LinkKey, StackState

BRIDGE = 0x0011223344556677
PPMID = 0x8899AABBCCDDEEFF


def put_on_the_air(air: Air, mpdu: bytes, name: str = "stranger") -> None:
    """A stranger sends `mpdu`, its FCS made right."""
    stranger = air.medium.attach(name, lambda _: None)
    stranger.channel = CHANNEL
    air.clock.run_for(0.05)
    stranger.transmit(mpdu + mac.fcs(mpdu), air.clock.now_us())
    air.clock.run_for(0.05)
    air.medium.detach(stranger)


def test_forming_says_that_the_network_is_up_after_the_call() -> None:
    air = Air()
    hub = StackHost(air, "hub", 0xA2)
    assert hub.stack.form(network()) is Status.OK
    assert hub.statuses() == []
    air.clock.run_for(0.1)
    assert hub.statuses() == [Status.NETWORK_UP]
    assert hub.stack.short_address == 0
    assert hub.stack.form(network()) is Status.INVALID_CALL
    assert hub.stack.resume() is Status.INVALID_CALL


def test_a_stick_without_a_network_has_nothing_to_resume_leave_or_send_in() -> None:
    air = Air()
    hub = StackHost(air, "hub", 0xA2)
    assert hub.stack.resume() is Status.NOT_JOINED
    assert hub.stack.leave() is Status.INVALID_CALL
    assert hub.stack.aps.send_unicast(1, smart_energy(), b"x", 0)[0] is Status.NOT_JOINED
    assert hub.stack.aps.send_broadcast(0xFFFD, smart_energy(), b"x", 0)[0] is Status.NOT_JOINED
    assert hub.stack.aps.acknowledge_fragment(1, smart_energy()) is Status.NOT_JOINED
    air.clock.run_for(1)
    assert air.frames == []


def test_after_a_power_cut_both_ends_go_on_talking() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    hub.stack.state.link_keys[0] = LinkKey(BRIDGE, hub.stack.aps.transient_keys[BRIDGE])
    hub.stack.save()
    for host in (hub, bridge, hub):
        host.power_cycle(resume=True)
        for sender, receiver in ((hub, bridge), (bridge, hub)):
            told = len(sender.sent())
            assert sender.send(receiver) is Status.OK
            air.clock.run_until(lambda s=sender, t=told: len(s.sent()) > t)  # type: ignore[misc]
            assert sender.sent()[-1].status is Status.OK
    assert hub.received()[-1] == bridge.received()[-1] == b"payload"
    assert hub.stack.replays_rejected == bridge.stack.replays_rejected == 0


def test_a_stick_without_power_says_and_hears_nothing() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    bridge.send(hub)
    frames, events = len(air.frames), len(bridge.events)
    short = bridge.stack.short_address.to_bytes(2, "little")
    bridge.stack.close()
    bridge.stack.close()
    air.clock.run_for(20)
    assert [psdu for _, psdu in air.frames[frames:] if psdu[7:9] == short] == []
    assert len(bridge.events) == events
    hub.send(bridge)
    air.clock.run_for(20)
    assert hub.sent()[-1].status is Status.DELIVERY_FAILED
    assert len(bridge.events) == events


def test_who_leaves_is_forgotten_and_may_join_again() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    address = bridge.stack.short_address
    assert bridge.stack.leave() is Status.OK
    assert bridge.stack.leave() is Status.INVALID_CALL  # it is leaving already
    air.clock.run_for(1)
    assert bridge.statuses()[-1] is Status.NETWORK_DOWN
    assert bridge.statuses().count(Status.NETWORK_DOWN) == 1
    left = hub.events[-1]
    assert isinstance(left, TrustCenterJoin)
    assert (left.short_address, left.eui64, left.update) == (
        address,
        BRIDGE,
        DeviceUpdate.DEVICE_LEFT,
    )
    assert hub.stack.short_of(BRIDGE) is None
    assert address not in hub.stack.state.devices
    assert StackState.from_json(hub.stored).devices == {}
    stored = StackState.from_json(bridge.stored)
    assert stored.network is None
    assert NETWORK_KEY.hex() not in bridge.stored
    bridge.power_cycle()
    assert bridge.stack.resume() is Status.NOT_JOINED


def test_a_network_formed_right_after_leaving_is_not_left_too() -> None:
    air = Air()
    hub = form(air)
    hub.stack.leave()
    hub.stack.leave()
    air.clock.run_until(lambda: not hub.stack.is_up)
    assert hub.stack.form(network()) is Status.OK
    air.clock.run_for(5)
    assert hub.stack.is_up
    assert hub.stack.state.network is not None


def test_a_scan_under_way_is_not_broken_by_leaving() -> None:
    air = Air()
    hub = form(air)
    assert hub.stack.joining.start_scan(1 << 20, 3, energy=False) is Status.OK
    assert hub.stack.leave() is Status.INVALID_CALL
    air.clock.run_for(1)
    assert hub.stack.mac.channel == CHANNEL
    assert hub.stack.leave() is Status.OK
    air.clock.run_for(1)
    assert hub.stack.mac.channel is None


def secured_message(air: Air) -> bytes:
    """The last MPDU on the air with an APS message, without its FCS."""
    return next(psdu[:-2] for _, psdu in reversed(air.frames) if len(psdu) > 54)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("options", [OPTION_RETRY, OPTION_RETRY | OPTION_ENCRYPTION])
def test_a_captured_frame_sent_again_is_rejected_by_its_counter(times: int, options: int) -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    bridge.send(hub, b"once only, whatever is replayed", smart_energy(options))
    air.clock.run_for(1)
    captured = secured_message(air)
    air.clock.run_for(30)  # longer than any duplicate is remembered
    for number in range(times):
        fresh = captured[:2] + bytes((captured[2] + 100 + number & 0xFF,)) + captured[3:]
        put_on_the_air(air, fresh)
    assert hub.received().count(b"once only, whatever is replayed") == 1
    assert hub.stack.replays_rejected == times
    # and what is rejected does not disturb what follows
    bridge.send(hub, b"next")
    air.clock.run_for(1)
    assert hub.received()[-1] == b"next"


def test_a_message_resealed_under_the_network_key_is_rejected_by_its_link_key_counter() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    bridge.send(hub, b"once only, whatever is replayed")
    air.clock.run_for(30)
    captured = secured_message(air)
    frame = captured[9:]
    counter, eui64, _ = nwk.parse_auxiliary(frame, 8)
    message = nwk.open_sealed(FrameKey(NETWORK_KEY), frame, 8, eui64)
    header = nwk.parse(frame)
    insider = nwk.seal_data(
        FrameKey(NETWORK_KEY), 0, header.source, 30, 99, counter + 5000, eui64, 0, message
    )
    fresh = captured[:2] + bytes((captured[2] + 100 & 0xFF,)) + captured[3:9]
    put_on_the_air(air, fresh + insider)
    assert hub.stack.replays_rejected == 1
    assert hub.received().count(b"once only, whatever is replayed") == 1


def mpdu(nwk_frame: bytes, *, source: int, destination: int = 0) -> bytes:
    pan_id = network().pan_id
    return mac.DATA_HEADER.pack(mac.DATA_ACKED, 200, pan_id, destination, source) + nwk_frame


def aps_message(payload: bytes) -> bytes:
    return aps.HEADER.pack(0, 1, OTA, SMART_ENERGY, 1, 77) + payload


def test_what_is_not_under_the_network_key_is_not_heard() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    source = bridge.stack.short_address
    eui64 = BRIDGE.to_bytes(8, "little")
    plain = nwk.HEADER.pack(nwk.UNSECURED_DATA_CONTROL, 0, source, 30, 1) + aps_message(b"plain")
    put_on_the_air(air, mpdu(plain, source=source))
    assert hub.stack.undecodable == 0
    wrong = FrameKey(b"another network!")
    other = nwk.seal_data(wrong, 0, source, 30, 1, 999_999, eui64, 0, aps_message(b"wrong"))
    put_on_the_air(air, mpdu(other, source=source)[:2] + b"\x01" + mpdu(other, source=source)[3:])
    assert hub.stack.undecodable == 1
    old = nwk.seal_data(
        FrameKey(NETWORK_KEY), 0, source, 30, 1, 999_999, eui64, 7, aps_message(b"key 7")
    )
    put_on_the_air(air, mpdu(old, source=source)[:2] + b"\x02" + mpdu(old, source=source)[3:])
    assert hub.stack.undecodable == 2
    assert len(hub.received()) == 1  # its Device Announce
    # none of it moved the counter that the true frames must beat
    bridge.send(hub, b"true")
    air.clock.run_for(1)
    assert hub.received()[-1] == b"true"


def test_hostile_frames_on_the_air_neither_raise_nor_arrive() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    bridge.send(hub, b"a message to damage, of some length")
    air.clock.run_for(1)
    heard = len(hub.received())
    draws = random.Random(9)
    captured = secured_message(air)
    stranger = air.medium.attach("stranger", lambda _: None)
    stranger.channel = CHANNEL
    for number in range(400):
        frame = bytearray(captured)
        frame[2] = number & 0xFF
        for _ in range(draws.randrange(1, 4)):
            frame[draws.randrange(9, len(frame))] ^= 1 << draws.randrange(8)
        octets = bytes(frame[: draws.choice([len(frame), draws.randrange(9, len(frame))])])
        stranger.transmit(octets + mac.fcs(octets), air.clock.now_us())
        air.clock.run_for(0.01)
    assert len(hub.received()) == heard
    assert hub.stack.is_up
    assert hub.stack.undecodable > 100


def test_a_broadcast_is_handed_up_once_however_often_it_is_relayed() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    ppmid = join(air, hub, "ppmid", PPMID)
    for host in (bridge, ppmid):
        host.events.clear()
    parameters = smart_energy(0)
    assert hub.stack.aps.send_broadcast(nwk.BROADCAST_RX_ON, parameters, b"all", 5)[0] is Status.OK
    air.clock.run_for(1)
    assert bridge.received() == ppmid.received() == [b"all"]
    sent = hub.sent()[-1]
    assert (sent.status, sent.tag) == (Status.OK, 5)
    # a router relays it: the same NWK source and sequence, under its own counter and EUI-64
    frame = next(psdu[9:-2] for _, psdu in reversed(air.frames) if psdu[7:9] == b"\x00\x00")
    header = nwk.parse(frame)
    payload = nwk.open_sealed(FrameKey(NETWORK_KEY), frame, 8, hub.stack.eui64_octets)
    relayed = nwk.seal_data(
        FrameKey(NETWORK_KEY),
        header.destination,
        header.source,
        29,
        header.sequence,
        900_000,
        PPMID.to_bytes(8, "little"),
        0,
        payload,
    )
    octets = mpdu(relayed, source=ppmid.stack.short_address, destination=0xFFFF)
    put_on_the_air(air, bytes((octets[0] & ~0x20,)) + octets[1:])
    assert bridge.received() == [b"all"]
    assert b"all" not in hub.received()  # its own words, come back to it
    assert bridge.stack.eui64_of(0) == hub.stack.eui64_octets  # the relay is not its author


@pytest.mark.parametrize(("frame_type", "left"), [(nwk.TYPE_COMMAND, True), (3, False), (2, False)])
def test_only_a_command_makes_a_node_leave(frame_type: int, left: bool) -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    source = bridge.stack.short_address
    control = nwk.COMMAND_CONTROL & ~0x0003 | frame_type
    header = nwk.build_header(
        nwk.NwkFrame(control, nwk.BROADCAST_RX_ON, source, 1, 9, None, BRIDGE, (), 0)
    )
    eui64 = BRIDGE.to_bytes(8, "little")
    leave = nwk.seal(FrameKey(NETWORK_KEY), header, 900_000, eui64, 0, b"\x04\x00")
    octets = mpdu(leave, source=source, destination=0xFFFF)
    put_on_the_air(air, bytes((octets[0] & ~0x20,)) + octets[1:])
    assert (hub.stack.short_of(BRIDGE) is None) is left


def test_counters_of_another_network_do_not_make_frames_of_this_one_replays() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    bridge.stack.nwk_counter.restart(500_000)
    bridge.send(hub)
    air.clock.run_for(1)
    bridge.stack.leave()
    air.clock.run_for(1)
    hub.stack.leave()
    air.clock.run_for(1)
    fresh = network()
    fresh.key = bytes(16)[:15] + b"\x01"
    assert hub.stack.form(fresh) is Status.OK
    bridge.stack.nwk_counter.restart(0)  # a factory reset
    bridge.stack.aps_counter.restart(500_000)
    hub.stack.joining.permit(255)
    assert (
        bridge.stack.joining.join(JoinRequest(CHANNEL, EXTENDED_PAN_ID, NodeType.ROUTER))
        is Status.OK
    )
    air.clock.run_until(lambda: bridge.stack.is_up, 10)
    bridge.send(hub, b"in the new network")
    air.clock.run_for(1)
    assert hub.received()[-1] == b"in the new network"


def test_a_device_with_a_new_address_is_reached_there_also_after_a_power_cut() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    old = bridge.stack.short_address
    new = old ^ 1
    assert bridge.stack.state.network is not None
    bridge.stack.state.network.short_address = bridge.stack.mac.short_address = new
    bridge.stack.announce()
    air.clock.run_for(1)
    assert hub.stack.short_of(BRIDGE) == new
    assert hub.stack.eui64_of(old) is None
    assert StackState.from_json(hub.stored).devices == {new: BRIDGE}


def test_a_used_up_network_counter_stops_the_node_and_nothing_else() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    bridge.stack.nwk_counter.restart(COUNTER_LIMIT - 10)
    frames = len(air.data_frames())
    assert bridge.send(hub) is Status.OK
    hub.send(bridge)
    assert bridge.stack.aps.send_broadcast(0xFFFD, smart_energy(0), b"x", 0)[0] is Status.OK
    unacknowledged = smart_energy(0)
    assert bridge.send(hub, parameters=unacknowledged) is Status.OK
    air.clock.run_for(20)
    assert {event.status for event in bridge.sent()} == {Status.DELIVERY_FAILED}
    assert len(bridge.sent()) == 3
    assert all(frame[2:4] != b"\x00\x00" for frame in air.data_frames()[frames:])
    assert bridge.stack.leave() is Status.OK
    air.clock.run_for(1)
    assert bridge.statuses()[-1] is Status.NETWORK_DOWN


def test_a_used_up_link_key_counter_fails_messages_and_nothing_else() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    for host in (hub, bridge):
        host.stack.aps_counter.restart(COUNTER_LIMIT - 10)
    assert bridge.send(hub) is Status.OK
    assert bridge.send(hub, parameters=smart_energy(0x20)) is Status.OK  # unacknowledged
    air.clock.run_for(20)
    assert [event.status for event in bridge.sent()] == [Status.DELIVERY_FAILED] * 2
    assert bridge.send(hub, b"plain", smart_energy(0x40)) is Status.OK
    air.clock.run_for(1)
    assert hub.received()[-1] == b"plain"
    ppmid = StackHost(air, "ppmid", PPMID)
    ppmid.stack.state.preconfigured_key = bytes(16)
    hub.stack.aps.transient_keys[PPMID] = bytes(16)
    ppmid.stack.joining.join(JoinRequest(CHANNEL, EXTENDED_PAN_ID, NodeType.ROUTER))
    air.clock.run_for(20)
    assert ppmid.statuses() == [Status.NO_LINK_KEY_RECEIVED]


def life_of_a_run(seed: int) -> str:
    air = Air(seed, (Loss(0.1),))
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    for number in range(10):
        bridge.send(hub, bytes((number,)) * 40)
        hub.send(bridge, bytes((number,)) * 60)
        air.clock.run_for(0.3)
    bridge.power_cycle(resume=True)
    bridge.send(hub)
    air.clock.run_for(5)
    return air.trace_hash()


def test_one_seed_gives_the_same_frames_at_the_same_times_and_another_seed_others() -> None:
    assert life_of_a_run(7) == life_of_a_run(7)
    assert life_of_a_run(7) != life_of_a_run(8)


class PowerCuts(RuleBasedStateMachine):
    """Messages both ways, losses, power cuts at any microsecond: counters only ever grow."""

    @initialize(seed=st.integers(0, 2**32), start=st.integers(0, 3))
    def begin(self, seed: int, start: int) -> None:
        self.air = Air(seed)
        self.hub = form(self.air)
        self.bridge = join(self.air, self.hub, "bridge", BRIDGE)
        self.key = self.hub.stack.aps.transient_keys[BRIDGE]
        for host in (self.hub, self.bridge):
            # close to the end of a reserved step, so that steps end within a run
            host.stack.nwk_counter.restart(1024 * start + 1015)
            host.stack.aps_counter.restart(1024 * start + 1015)
        self.hub.stack.state.link_keys[0] = LinkKey(BRIDGE, self.key)
        self.hub.stack.save()
        self.begun = len(self.air.frames)

    @rule(messages=st.integers(1, 12), from_hub=st.booleans())
    def send(self, messages: int, from_hub: bool) -> None:
        pair = (self.hub, self.bridge) if from_hub else (self.bridge, self.hub)
        for _ in range(messages):
            pair[0].send(pair[1])

    @rule(us=st.integers(0, 60_000))
    def pass_time(self, us: int) -> None:
        self.air.clock.run_for(us / 1e6)

    @rule(hub=st.booleans())
    def cut_the_power(self, hub: bool) -> None:
        (self.hub if hub else self.bridge).power_cycle(resume=True)

    @rule(
        fault=st.sampled_from(
            [None, Loss(0.2), AckLoss(0.5), Duplicate(0.3, by_us=300_000), Delay(0.3, by_us=5_000)]
        )
    )
    def change_the_weather(self, fault: AirFault | None) -> None:
        self.air.medium.set_faults(() if fault is None else (fault,))

    @invariant()
    def no_counter_goes_back_and_no_nonce_comes_twice(self) -> None:
        last: dict[bytes, int] = {}
        last_aps: dict[bytes, int] = {}
        seen: dict[tuple[bytes, int], bytes] = {}
        for _, psdu in self.air.frames[self.begun :]:
            if psdu[0] & 7 != mac.TYPE_DATA:
                continue
            frame = psdu[9:-2]
            nwk_header = nwk.parse(frame)
            at = nwk_header.header_octets
            counter, eui64, _ = nwk.parse_auxiliary(frame, at)
            if seen.setdefault((eui64, counter), frame) == frame:  # a MAC retry is the same frame
                assert counter >= last.get(eui64, 0)
            else:
                raise AssertionError(f"nonce {eui64.hex()} {counter} protects two frames")
            last[eui64] = counter
            message = nwk.open_sealed(FrameKey(NETWORK_KEY), frame, at, eui64)
            if nwk_header.frame_type != nwk.TYPE_DATA:
                continue
            header = aps.parse(message)
            if header.control & aps.SECURITY:
                used = aps.counter_of(message, header.header_octets)
                aps.open_sealed(FrameKey(self.key), message, header.header_octets, eui64)
                last_aps[eui64] = max(used, last_aps.get(eui64, 0))
                again = seen.setdefault((b"aps" + eui64, used), message)
                assert again == message, "one nonce of the link key protects two messages"

    def teardown(self) -> None:
        if not hasattr(self, "air"):
            return
        self.air.medium.set_faults(())
        self.air.clock.run_for(10)
        self.no_counter_goes_back_and_no_nonce_comes_twice()
        for host in (self.hub, self.bridge):
            tags = [e for e in host.events if isinstance(e, MessageSent)]
            assert {event.status for event in tags} <= {Status.OK, Status.DELIVERY_FAILED}


PowerCuts.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
TestPowerCuts = PowerCuts.TestCase
