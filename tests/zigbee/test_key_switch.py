"""The network key is replaced: given out, switched to, missed, and never a counter used twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from air_support import (
    CHANNEL,
    NETWORK_KEY,
    Air,
    StackHost,
    form,
    join,
    network,
)

from emulator.zigbee import aps, mac, nwk
from emulator.zigbee.aps_commands import (
    SwitchKey,
    TransportKey,
    TransportTrustCenterKey,
    build,
)
from emulator.zigbee.events import NetworkKeySwitched, NodeType, Status
from emulator.zigbee.joining import JoinRequest
from emulator.zigbee.key_switch import COUNTER_RESET_THRESHOLD, is_newer
from emulator.zigbee.security import KEY_ID_KEY_TRANSPORT, FrameKey
from emulator.zigbee.state import StackState

BRIDGE = 0x0011223344556677
PPMID = 0x8899AABBCCDDEEFF
NEW_KEY = bytes(range(100, 116))


def house(air: Air) -> tuple[StackHost, StackHost, StackHost]:
    """A hub with two devices, whose keys its host has put into the table."""
    hub = form(air)
    devices = join(air, hub, "bridge", BRIDGE), join(air, hub, "ppmid", PPMID)
    for eui64 in (BRIDGE, PPMID):
        hub.stack.state.put_link_key(eui64, hub.stack.aps.transient_keys[eui64])
    hub.stack.save()
    return hub, *devices


def keys_of(host: StackHost) -> tuple[bytes, int, bytes | None]:
    """The key in use, its sequence and the next key, as stored."""
    stored = StackState.from_json(host.stored).network
    assert stored is not None
    return stored.key, stored.key_sequence, stored.next_key


def switched(host: StackHost) -> list[int]:
    return [event.sequence for event in host.events if isinstance(event, NetworkKeySwitched)]


def talk(air: Air, *hosts: StackHost) -> None:
    """Each sends to the first one and hears from it, under both keys."""
    hub, *others = hosts
    for other in others:
        for sender, receiver in ((hub, other), (other, hub)):
            heard = len(receiver.received())
            assert sender.send(receiver) is Status.OK
            air.clock.run_until(lambda r=receiver, h=heard: len(r.received()) > h)  # type: ignore[misc]


def sequences_on_the_air(air: Air, since: int = 0) -> list[int]:
    found = []
    for frame in air.data_frames()[since:]:
        header = nwk.parse(frame)
        if header.secured:
            found.append(nwk.parse_auxiliary(frame, header.header_octets).key_sequence)
    return found


def test_everybody_that_got_the_next_key_goes_on_under_it_after_the_switch() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    assert hub.stack.key_switch.broadcast_next(NEW_KEY) is Status.OK
    air.clock.run_for(1)
    for host in (hub, bridge, ppmid):
        assert keys_of(host) == (NETWORK_KEY, 0, NEW_KEY)
    talk(air, hub, bridge, ppmid)
    assert hub.stack.key_switch.broadcast_switch() is Status.TOO_SOON_FOR_SWITCH_KEY
    air.clock.run_for(9)
    assert switched(hub) == []
    assert hub.stack.key_switch.broadcast_switch() is Status.OK
    assert switched(hub) == []  # it is told after the call
    air.clock.run_for(1)
    for host in (hub, bridge, ppmid):
        assert keys_of(host) == (NEW_KEY, 1, None)
        assert switched(host) == [1]
    frames = len(air.data_frames())
    talk(air, hub, bridge, ppmid)
    assert set(sequences_on_the_air(air, frames)) == {1}
    assert hub.stack.undecodable == bridge.stack.undecodable == ppmid.stack.undecodable == 0
    assert hub.stack.key_switch.broadcast_switch() is Status.INVALID_CALL  # there is no next one


def test_a_key_given_to_each_by_itself_crosses_the_air_under_its_link_key() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    for host, eui64 in ((bridge, BRIDGE), (ppmid, PPMID)):
        short = host.stack.short_address
        assert hub.stack.key_switch.unicast_next(short, eui64, NEW_KEY) is Status.OK
        air.clock.run_for(0.1)
    assert keys_of(hub) == keys_of(bridge) == keys_of(ppmid) == (NETWORK_KEY, 0, NEW_KEY)
    under_network_key = FrameKey(NETWORK_KEY)
    for frame in air.data_frames():
        header = nwk.parse(frame)
        if header.secured:
            at = header.header_octets
            eui64 = nwk.parse_auxiliary(frame, at).source_eui64  # type: ignore[assignment]
            assert NEW_KEY not in nwk.open_sealed(under_network_key, frame, at, eui64)  # type: ignore[arg-type]
    assert hub.stack.key_switch.broadcast_switch() is Status.OK  # no broadcast to wait for
    air.clock.run_for(1)
    talk(air, hub, bridge, ppmid)


def test_devices_that_are_given_any_key_one_by_one_are_given_the_same() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    for host, eui64 in ((bridge, BRIDGE), (ppmid, PPMID)):
        hub.stack.key_switch.unicast_next(host.stack.short_address, eui64, bytes(16))
        air.clock.run_for(0.1)
    assert keys_of(hub) == keys_of(bridge) == keys_of(ppmid)
    assert keys_of(hub)[2] not in (None, bytes(16))


def test_who_missed_the_switch_switches_by_the_first_frame_under_the_new_key() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    hub.stack.key_switch.broadcast_next(NEW_KEY)
    air.clock.run_for(10)
    channel, bridge.stack.mac.channel = bridge.stack.mac.channel, None  # deaf for a moment
    hub.stack.key_switch.broadcast_switch()
    air.clock.run_for(1)
    bridge.stack.mac.channel = channel
    assert keys_of(bridge)[0] == NETWORK_KEY
    # what it sends until then is under the old key, and still taken
    assert bridge.send(hub, b"late") is Status.OK
    air.clock.run_for(1)
    assert hub.received()[-1] == b"late"
    # the acknowledgement was under the new one
    assert keys_of(bridge) == (NEW_KEY, 1, None)
    assert switched(bridge) == [1]
    talk(air, hub, bridge, ppmid)


def test_who_missed_the_next_key_hears_nothing_after_the_switch() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    bridge.stack.close()
    hub.stack.key_switch.broadcast_next(NEW_KEY)
    air.clock.run_for(10)
    hub.stack.key_switch.broadcast_switch()
    air.clock.run_for(1)
    bridge.power_cycle(resume=True)
    air.clock.run_for(1)
    before = len(bridge.received())
    hub.send(bridge)
    air.clock.run_for(20)
    assert len(bridge.received()) == before
    assert bridge.stack.undecodable > 0
    assert keys_of(bridge) == (NETWORK_KEY, 0, None)
    talk(air, hub, ppmid)


def test_a_switch_under_way_survives_a_power_cut_of_everybody() -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    hub.stack.key_switch.broadcast_next(NEW_KEY)
    air.clock.run_for(1)
    for host in (hub, bridge, ppmid):
        host.power_cycle(resume=True)
    air.clock.run_for(10)
    assert hub.stack.key_switch.broadcast_switch() is Status.OK
    air.clock.run_for(1)
    for host in (hub, bridge, ppmid):
        host.power_cycle(resume=True)
        assert keys_of(host) == (NEW_KEY, 1, None)
    air.clock.run_for(1)
    talk(air, hub, bridge, ppmid)


def test_only_the_trust_centre_gives_keys_out_and_only_new_ones() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    switch = bridge.stack.key_switch
    assert switch.broadcast_next(NEW_KEY) is Status.INVALID_CALL
    assert switch.unicast_next(0, hub.stack.state.eui64, NEW_KEY) is Status.INVALID_CALL
    assert switch.broadcast_switch() is Status.INVALID_CALL
    assert hub.stack.key_switch.broadcast_next(NETWORK_KEY) is Status.INVALID_PARAMETER
    assert StackHost(air, "blank", 0xB1).stack.key_switch.broadcast_next(NEW_KEY) is (
        Status.INVALID_CALL
    )
    hub.stack.key_switch.broadcast_next(NEW_KEY)
    air.clock.run_for(10)
    hub.stack.key_switch.broadcast_switch()
    # back to the key before: its counters were used
    assert hub.stack.key_switch.broadcast_next(NETWORK_KEY) is Status.INVALID_PARAMETER
    # sixteen zeros: any key
    assert hub.stack.key_switch.broadcast_next(bytes(16)) is Status.OK
    drawn = keys_of(hub)[2]
    assert drawn not in (None, bytes(16), NEW_KEY, NETWORK_KEY)


def as_the_hub(
    air: Air, hub: StackHost, command: bytes, *, counter: int, destination: int = 0xFFFF
) -> None:
    """A frame in the trust centre's name, under the network key, as an insider could send one."""
    eui64 = hub.stack.eui64_octets
    payload = aps.build_command(command, 77)
    key, sequence = FrameKey(NETWORK_KEY), counter + 50 & 0xFF
    frame = nwk.seal_data(key, destination, 0, 30, sequence, counter, eui64, 0, payload)
    header = mac.DATA_HEADER.pack(0x8841, counter & 0xFF, network().pan_id, destination, 0)
    stranger = air.medium.attach("stranger", lambda _: None)
    stranger.channel = CHANNEL
    mpdu = header + frame
    stranger.transmit(mpdu + mac.fcs(mpdu), air.clock.now_us())
    air.clock.run_for(0.1)
    air.medium.detach(stranger)


@pytest.mark.parametrize(
    ("command", "taken"),
    [
        (lambda hub: TransportKey(NEW_KEY, 1, 0, hub), True),
        (lambda hub: TransportKey(NEW_KEY, 200, 0, hub), False),  # older: the sequence wraps
        (lambda hub: TransportKey(NEW_KEY, 0, 0, hub), False),
        (lambda hub: TransportKey(NETWORK_KEY, 1, 0, hub), False),
        (lambda _: TransportKey(NEW_KEY, 1, 0, 0xBAD), False),  # of another trust centre
        (lambda hub: TransportKey(NEW_KEY, 1, BRIDGE, hub), False),  # to one, not under its key
        (lambda hub: TransportTrustCenterKey(NEW_KEY, BRIDGE, hub), False),
    ],
)
def test_a_next_key_is_taken_only_as_the_trust_centre_sends_it(
    command: Callable[[int], TransportKey], taken: bool
) -> None:
    air = Air()
    hub, bridge, _ = house(air)
    octets = build(command(hub.stack.state.eui64))
    as_the_hub(air, hub, octets, counter=900_000)
    assert (keys_of(bridge)[2] == NEW_KEY) is taken
    assert keys_of(hub)[2] is None  # whatever is sent in its name
    as_the_hub(air, hub, build(SwitchKey(1)), counter=900_001)
    assert (keys_of(bridge)[0] == NEW_KEY) is taken
    assert keys_of(hub)[0] == NETWORK_KEY


def test_a_switch_to_a_key_nobody_gave_out_changes_nothing() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.key_switch.broadcast_next(NEW_KEY)
    air.clock.run_for(1)
    for number, sequence in enumerate((0, 2, 255)):
        as_the_hub(air, hub, build(SwitchKey(sequence)), counter=900_000 + number)
    as_the_hub(air, hub, build(SwitchKey(1)) + b"\0", counter=900_010)
    assert keys_of(bridge) == (NETWORK_KEY, 0, NEW_KEY)
    assert bridge.stack.undecodable == 1  # the one that is too long


@pytest.mark.parametrize("sequence", [0, 1, 2])
def test_frames_recorded_before_the_switch_are_replays_after_it(sequence: int) -> None:
    air = Air()
    hub, bridge, _ = house(air)
    bridge.send(hub, b"recorded, then sent again")
    air.clock.run_for(1)
    recorded = [psdu[:-2] for _, psdu in air.frames if psdu[0] & 7 == 1]
    for number in range(sequence):
        hub.stack.key_switch.broadcast_next(bytes((number,)) * 16)
        air.clock.run_for(10)
        hub.stack.key_switch.broadcast_switch()
        air.clock.run_for(1)
    # The other device may take the bridge's announcement: it never heard of the bridge before.
    heard = [len(host.events) for host in (hub, bridge)]
    stranger = air.medium.attach("stranger", lambda _: None)
    stranger.channel = CHANNEL
    for number, mpdu in enumerate(recorded):
        fresh = mpdu[:2] + bytes((number + 100 & 0xFF,)) + mpdu[3:]
        stranger.transmit(fresh + mac.fcs(fresh), air.clock.now_us())
        air.clock.run_for(0.1)
    assert [len(host.events) for host in (hub, bridge)] == heard
    if sequence < 2:
        assert hub.stack.replays_rejected > 0
    else:
        assert hub.stack.undecodable > 0  # that key is forgotten altogether


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1000, range(1001, 3000)),  # it goes on: no need to begin anew
        (COUNTER_RESET_THRESHOLD, range(20)),
    ],
)
def test_a_high_frame_counter_begins_anew_with_the_new_key_and_only_then(
    before: int, after: range
) -> None:
    air = Air()
    hub, bridge, ppmid = house(air)
    bridge.stack.nwk_counter.restart(before)
    hub.stack.key_switch.broadcast_next(NEW_KEY)
    air.clock.run_for(10)
    assert bridge.stack.nwk_counter.next_value >= before
    hub.stack.key_switch.broadcast_switch()
    air.clock.run_for(1)
    talk(air, hub, bridge, ppmid)
    assert bridge.stack.nwk_counter.next_value in after
    assert StackState.from_json(bridge.stored).nwk_counter >= bridge.stack.nwk_counter.next_value


def test_who_joins_after_the_switch_gets_the_key_in_use() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.key_switch.broadcast_next(NEW_KEY)
    air.clock.run_for(10)
    hub.stack.key_switch.broadcast_switch()
    late = join(air, hub, "late", 0x5555)
    assert keys_of(late) == (NEW_KEY, 1, None)
    talk(air, hub, bridge, late)


def test_a_sequence_comes_after_another_also_where_it_wraps() -> None:
    assert is_newer(1, 0)
    assert is_newer(0, 255)
    assert is_newer(127, 0)
    assert not is_newer(0, 0)
    assert not is_newer(0, 1)
    assert not is_newer(128, 0)
    air = Air()
    hub, bridge, _ = house(air)
    for number in range(260):
        assert hub.stack.key_switch.broadcast_next(number.to_bytes(2, "big") * 8 or b"") in (
            Status.OK,
        )
        air.clock.run_for(10)
        assert hub.stack.key_switch.broadcast_switch() is Status.OK
        air.clock.run_for(0.5)
    assert keys_of(bridge)[1] == keys_of(hub)[1] == 260 & 0xFF
    talk(air, hub, bridge)


def test_a_key_under_a_foreign_link_key_is_not_taken() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    command = build(TransportKey(NEW_KEY, 1, BRIDGE, hub.stack.state.eui64))
    short = bridge.stack.short_address
    send = hub.stack.aps.commands.send
    send(short, command, key_id=KEY_ID_KEY_TRANSPORT, link_key=bytes(16))
    air.clock.run_for(1)
    assert keys_of(bridge)[2] is None
    assert bridge.stack.undecodable == 1
    send(short, command, key_id=KEY_ID_KEY_TRANSPORT)
    air.clock.run_for(1)
    assert keys_of(bridge)[2] == NEW_KEY


def test_leaving_forgets_the_next_key_too() -> None:
    air = Air()
    hub, bridge, _ = house(air)
    hub.stack.key_switch.broadcast_next(NEW_KEY)
    air.clock.run_for(1)
    bridge.stack.leave()
    air.clock.run_for(1)
    assert NEW_KEY.hex() not in bridge.stored
    request = JoinRequest(CHANNEL, network().extended_pan_id, NodeType.ROUTER)
    assert bridge.stack.joining.join(request) is Status.OK
    air.clock.run_for(10)
    assert keys_of(bridge) == (NETWORK_KEY, 0, None)
