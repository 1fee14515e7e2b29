"""Stacks on a faulty air: what gets through is right and comes once, what is forged never does."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from air_support import (
    CHANNEL,
    NETWORK_KEY,
    SMART_ENERGY,
    Air,
    StackHost,
    form,
    join,
    link_key,
    smart_energy,
)

from emulator.medium.faults import (
    AckLoss,
    AirFault,
    BurstLoss,
    Damage,
    Delay,
    Duplicate,
    Interference,
    Loss,
    RadioOff,
)
from emulator.zigbee import aps, mac, nwk, zdo
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_FRAGMENT,
    OPTION_RETRY,
    Aps,
    Event,
    MessageReceived,
    Status,
)
from emulator.zigbee.fragments import split
from emulator.zigbee.mac_link import SendResult
from emulator.zigbee.security import FrameKey
from emulator.zigbee.state import LinkKey

BRIDGE, PPMID = 0x0011223344556677, 0x0011223344556688


class Pair:
    """A hub and a bridge that joined before anything went wrong."""

    def __init__(self, *faults: AirFault, seed: int = 1) -> None:
        self.air = Air(seed)
        self.hub = form(self.air)
        self.bridge = join(self.air, self.hub, "bridge", BRIDGE)
        self.hub.stack.state.link_keys[0] = LinkKey(BRIDGE, link_key(BRIDGE))
        self.hub.stack.aps.keys_changed()
        self.air.clock.run_for(1)
        self.begun = len(self.air.frames)
        self.air.medium.set_faults(faults)

    def exchange(self, count: int, *, gap_s: float = 0.2) -> None:
        """Messages both ways, `gap_s` apart, and time for the last of them to end."""
        for number in range(count):
            self.hub.send(self.bridge, message(number), tag=number)
            self.bridge.send(self.hub, message(number), tag=number)
            self.air.clock.run_for(gap_s)
        self.air.clock.run_for(60)

    def struck(self) -> list[str]:
        return [comment for comment in self.air.comments[self.begun :] if comment]


def message(number: int) -> bytes:
    return number.to_bytes(2, "big") * 20


def smart_energy_payloads(host: StackHost) -> list[bytes]:
    """Without the announcements of a device that joined."""
    received = [event for event in host.events if isinstance(event, MessageReceived)]
    return [event.payload for event in received if event.aps.profile == SMART_ENERGY]


def ends(host: StackHost) -> Counter[Status]:
    return Counter(event.status for event in host.sent())


COUNT = 60
KINDS: dict[str, tuple[AirFault, ...]] = {
    "loss": (Loss(0.3),),
    "one-way loss": (Loss(0.4, sender="hub", listener="bridge"),),
    "loss of acknowledgements": (AckLoss(0.4),),
    "bursty loss": (BurstLoss(0.2, burst_frames=20),),
    "damage": (Damage(0.2),),
    "duplicates": (Duplicate(0.5),),
    "late duplicates": (Duplicate(0.5, by_us=700_000),),
    "delay": (Delay(0.2, by_us=20_000),),
    "long delay": (Delay(0.2, by_us=3_000_000),),
    "everything": (Loss(0.1), Damage(0.1), Duplicate(0.1), Delay(0.1), AckLoss(0.1)),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_delivered_over_a_bad_air_is_right_and_comes_once(kind: str, seed: int) -> None:
    pair = Pair(*KINDS[kind], seed=seed)
    pair.exchange(COUNT)
    assert len(pair.struck()) > 5
    wanted = [message(number) for number in range(COUNT)]
    for sender, receiver in ((pair.hub, pair.bridge), (pair.bridge, pair.hub)):
        heard = smart_energy_payloads(receiver)
        assert len(set(heard)) == len(heard), "a message came twice"
        assert set(heard) <= set(wanted)
        assert [end.tag for end in sorted(sender.sent(), key=lambda end: end.tag)] == [
            *range(COUNT)
        ]
        assert set(ends(sender)) <= {Status.OK, Status.DELIVERY_FAILED}
        delivered = {end.tag for end in sender.sent() if end.status is Status.OK}
        # What was acknowledged end to end was delivered; more may have been.
        assert {message(tag) for tag in delivered} <= set(heard)
        assert len(delivered) > COUNT // 2


def test_a_frame_heard_twice_is_taken_once_by_the_mac_and_later_by_nobody() -> None:
    for by_us in (5_000, 500_000):
        pair = Pair(Duplicate(1.0, by_us=by_us))
        pair.hub.send(pair.bridge, b"once")
        pair.air.clock.run_for(5)
        assert pair.bridge.received() == [b"once"]
        assert ends(pair.hub) == {Status.OK: 1}


def test_a_delayed_frame_that_was_overtaken_is_dropped_by_its_counter() -> None:
    pair = Pair()
    end_us = pair.air.clock.now_us() + 40_000
    # The first tries come 2 s late, the NWK layer's next ones in time and under newer counters.
    pair.air.medium.set_faults(
        (Delay(1.0, sender="hub", listener="bridge", by_us=2_000_000, end_us=end_us),)
    )
    pair.hub.send(pair.bridge, b"overtaken", smart_energy(OPTION_ENCRYPTION))
    pair.air.clock.run_for(1)
    assert pair.bridge.received() == [b"overtaken"]
    rejected = pair.bridge.stack.replays_rejected
    pair.air.clock.run_for(5)
    assert pair.bridge.stack.replays_rejected > rejected
    assert pair.bridge.received() == [b"overtaken"]


def test_interference_keeps_a_sender_off_the_channel_and_it_says_so() -> None:
    pair = Pair()
    now_us = pair.air.clock.now_us()
    pair.air.medium.set_faults((Interference(CHANNEL, now_us, now_us + 3_000_000),))
    results: list[SendResult] = []
    link = pair.hub.stack.mac
    link.send_data(pair.bridge.stack.short_address, b"\x48\x02" + bytes(20), results.append)
    pair.air.clock.run_for(1)
    assert results == [SendResult.CHANNEL_ACCESS_FAILURE]
    assert len(pair.air.frames) == pair.begun  # nothing was sent
    pair.hub.send(pair.bridge, b"after all")
    pair.air.clock.run_for(10)
    assert pair.bridge.received() == [b"after all"]
    assert ends(pair.hub) == {Status.OK: 1}


def test_a_node_without_its_radio_is_missed_and_is_there_again_afterwards() -> None:
    pair = Pair()
    now_us = pair.air.clock.now_us()
    pair.air.medium.set_faults((RadioOff("bridge", now_us, now_us + 20_000_000),))
    pair.hub.send(pair.bridge, b"lost")
    pair.bridge.send(pair.hub, b"lost too")
    pair.air.clock.run_for(15)
    assert (ends(pair.hub), ends(pair.bridge)) == (
        {Status.DELIVERY_FAILED: 1},
        {Status.DELIVERY_FAILED: 1},
    )
    assert pair.struck()[0].startswith(("not heard by bridge", "not sent"))
    pair.air.clock.run_for(6)
    pair.hub.send(pair.bridge, b"back")
    pair.bridge.send(pair.hub, b"back too")
    pair.air.clock.run_for(5)
    assert (pair.bridge.received(), smart_energy_payloads(pair.hub)) == ([b"back"], [b"back too"])


# -- forged and recorded frames ----------------------------------------------------------------


class Attacker:
    """A radio of nobody, that sends what it is told to."""

    def __init__(self, air: Air) -> None:
        self.air = air
        self._radio = air.medium.attach("attacker", lambda _: None)
        self._radio.channel = CHANNEL

    def send(self, psdu: bytes) -> None:
        self._radio.transmit(psdu, self.air.clock.now_us())
        self.air.clock.run_for(0.01)


def unheard(pair: Pair, send: Callable[[], object]) -> bytes:
    """The first frame that `send` puts on the air, which nobody hears."""
    begun = len(pair.air.frames)
    pair.air.medium.set_faults((Loss(1.0),))
    send()
    pair.air.clock.run_for(30)
    pair.air.medium.set_faults(())
    pair.air.clock.run_for(1)
    return pair.air.frames[begun][1]


def flips(octets: bytes, first: int, end: int) -> Iterator[bytes]:
    """`octets` with each single bit of octets first..end-1 turned over."""
    for bit in range(8 * first, 8 * end):
        changed = bytearray(octets)
        changed[bit >> 3] ^= 1 << (bit & 7)
        yield bytes(changed)


def with_fcs(mpdu: bytes) -> bytes:
    return mpdu + mac.fcs(mpdu)


MAC_OCTETS = 9


def test_no_bit_of_a_secured_frame_can_be_turned_over_and_the_frame_accepted() -> None:
    pair = Pair()
    attacker = Attacker(pair.air)
    psdu = unheard(pair, lambda: pair.hub.send(pair.bridge, b"genuine"))
    pair.air.medium.set_faults((RadioOff("hub"),))  # whose own frames would be newer
    before = pair.bridge.stack.state.to_json()
    told = list(pair.bridge.events)
    # A receiver puts its own security level in the place of the three bits (4.3.1.2, b).
    level_at = MAC_OCTETS + nwk.HEADER_OCTETS
    for mpdu in flips(psdu[:-2], MAC_OCTETS, len(psdu) - 2):
        if mpdu[level_at] & ~0x07 == psdu[level_at] & ~0x07 and mpdu[level_at] != psdu[level_at]:
            continue
        attacker.send(with_fcs(mpdu))
        pair.air.clock.run_for(0.25)  # longer than the MAC remembers: the next is a new frame
    assert pair.bridge.events == told
    assert pair.bridge.stack.state.to_json() == before
    attacker.send(psdu)  # and nothing but the flips was wrong with it
    assert pair.bridge.received() == [b"genuine"]


def reseal(frame: bytes, payload: bytes, counter: int, key: bytes = NETWORK_KEY) -> bytes:
    """A NWK frame with another payload under a network key, as an insider can make."""
    header = nwk.parse(frame)
    source_eui64 = nwk.parse_auxiliary(frame, header.header_octets).source_eui64
    head = frame[: header.header_octets]
    return nwk.seal(FrameKey(key), head, counter, source_eui64, 0, payload)


def opened(frame: bytes) -> bytes:
    header = nwk.parse(frame)
    source_eui64 = nwk.parse_auxiliary(frame, header.header_octets).source_eui64
    return nwk.open_sealed(FrameKey(NETWORK_KEY), frame, header.header_octets, source_eui64)


def test_nobody_in_the_network_can_turn_over_a_bit_under_the_link_key() -> None:
    pair = Pair()
    attacker = Attacker(pair.air)
    psdu = unheard(pair, lambda: pair.hub.send(pair.bridge, b"genuine"))
    frame, head = psdu[MAC_OCTETS:-2], psdu[:MAC_OCTETS]
    message_octets = opened(frame)
    counter = nwk.parse_auxiliary(frame, 8).counter
    level_at = aps.parse(message_octets).header_octets
    for changed in flips(message_octets, 0, len(message_octets)):
        counter += 1
        level = changed[level_at] ^ message_octets[level_at]
        if 0 < level < 8:  # a receiver puts its own in the place of these bits
            continue
        attacker.send(with_fcs(head + reseal(frame, changed, counter)))
        pair.air.clock.run_for(0.25)
    # Without its security bit a message is a plain one, and says so: no octet of it is `genuine`.
    secured = [
        event
        for event in pair.bridge.events
        if isinstance(event, MessageReceived) and event.aps.options & OPTION_ENCRYPTION
    ]
    assert secured == []
    assert b"genuine" not in pair.bridge.received()
    attacker.send(with_fcs(head + reseal(frame, message_octets, counter + 1)))
    assert b"genuine" in pair.bridge.received()


def test_a_frame_under_a_wrong_key_is_never_accepted() -> None:
    pair = Pair()
    attacker = Attacker(pair.air)
    psdu = unheard(pair, lambda: pair.hub.send(pair.bridge, b"genuine"))
    frame, head = psdu[MAC_OCTETS:-2], psdu[:MAC_OCTETS]
    told = list(pair.bridge.events)
    counter = nwk.parse_auxiliary(frame, 8).counter
    for bit in range(128):
        key = bytearray(NETWORK_KEY)
        key[bit >> 3] ^= 1 << (bit & 7)
        attacker.send(with_fcs(head + reseal(frame, opened(frame), counter + bit, bytes(key))))
        pair.air.clock.run_for(0.25)
    header = aps.parse(opened(frame))
    clear = opened(frame)[: header.header_octets]
    for wrong in (bytes(16), NETWORK_KEY, link_key(PPMID), link_key(BRIDGE)[::-1]):
        eui64 = pair.hub.stack.state.eui64.to_bytes(8, "little")
        sealed = aps.seal(FrameKey(wrong), clear, 1_000_000, eui64, b"forged")
        counter += 200
        attacker.send(with_fcs(head + reseal(frame, sealed, counter)))
        pair.air.clock.run_for(0.25)
    assert pair.bridge.events == told


def a_small_run() -> tuple[Air, list[StackHost]]:
    """Two devices join, everybody talks, plainly, under link keys and in fragments; one leaves."""
    air = Air(5)
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    ppmid = join(air, hub, "ppmid", PPMID)
    for index, device in enumerate((bridge, ppmid)):
        hub.send(device, b"to each")
        device.send(hub, b"from each")
        device.send(hub, b"plainly", smart_energy(OPTION_RETRY))
        hub.stack.state.link_keys[index] = LinkKey(
            device.stack.state.eui64, link_key(device.stack.state.eui64)
        )
        air.clock.run_for(1)
    hub.stack.aps.transient_keys.clear()
    hub.stack.aps.keys_changed()
    short = bridge.stack.short_address.to_bytes(2, "little")
    for cluster in (zdo.NODE_DESCRIPTOR, zdo.ACTIVE_ENDPOINTS):
        hub.send(bridge, b"\x11" + short, Aps(zdo.PROFILE, cluster, 0, 0, OPTION_RETRY))
        air.clock.run_for(0.5)
    hub.stack.aps.send_broadcast(0xFFFD, smart_energy(0), b"to all", 0)
    options = OPTION_ENCRYPTION | OPTION_RETRY | OPTION_FRAGMENT
    blocks = split(b"a long message. " * 12, hub.stack.aps.max_payload_octets(options))
    counter = 0
    for index, block in enumerate(blocks):
        address = Aps(SMART_ENERGY, 0x0704, 1, 1, options, len(blocks) << 8 | index, counter)
        to = bridge.stack.short_address
        _, counter = hub.stack.aps.send_unicast(to, address, block, index)
        air.clock.run_for(0.2)
        heard = bridge.events[-1]
        assert isinstance(heard, MessageReceived)
        bridge.stack.aps.acknowledge_fragment(0, heard.aps._replace(group=0xFF << 8 | index))
        air.clock.run_for(0.2)
    ppmid.stack.leave()
    air.clock.run_for(2)
    hub.stack.joining.permit(0)
    for host in (hub, bridge, ppmid):  # what they say by themselves is no answer
        host.stack.neighbours.period_us = 10**12
    air.clock.run_for(600)
    return air, [hub, bridge, ppmid]


def test_a_replay_of_any_recorded_frame_changes_nothing_at_any_node() -> None:
    air, hosts = a_small_run()
    attacker = Attacker(air)
    recorded = [psdu for _, psdu in air.frames]
    assert len(recorded) > 60
    kinds = Counter(psdu[0] & 7 for psdu in recorded)
    assert all(kinds[kind] for kind in (mac.TYPE_BEACON, mac.TYPE_DATA, mac.TYPE_ACK, 3))

    def everything() -> list[tuple[str, list[Event]]]:
        return [(host.stack.state.to_json(), list(host.events)) for host in hosts]

    before = copy.deepcopy(everything())
    for number, psdu in enumerate(recorded):
        begun = len(air.frames)
        attacker.send(psdu)
        air.clock.run_for(10)
        assert everything() == before, f"frame {number}: {psdu.hex()}"
        answers = [answer for _, answer in air.frames[begun + 1 :]]
        said = [answer for answer in answers if answer[0] & 7 == mac.TYPE_DATA]
        assert said == [], f"frame {number} is answered: {psdu.hex()}"
    hub, bridge, _ = hosts
    hub.send(bridge, b"and all is well")
    air.clock.run_for(1)
    assert bridge.received()[-1] == b"and all is well"
