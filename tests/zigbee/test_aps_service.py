"""Messages between endpoints: acknowledged, retried, protected, once; and what is refused."""

from __future__ import annotations

import pytest
from air_support import CHANNEL, NETWORK_KEY, OTA, SMART_ENERGY, Air, form, join
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.medium.air import Loss
from emulator.zigbee import aps, mac, nwk
from emulator.zigbee.aps import ApsFrame
from emulator.zigbee.aps_service import MAX_UNICASTS
from emulator.zigbee.duplicates import MAX_REMEMBERED, REMEMBER_US
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_FRAGMENT,
    OPTION_RETRY,
    Aps,
    MessageKind,
    MessageReceived,
    MessageSent,
    Status,
)
from emulator.zigbee.security import FrameKey

BRIDGE = 0x0011223344556677
PPMID = 0x8899AABBCCDDEEFF
SECURE = OPTION_ENCRYPTION | OPTION_RETRY


def smart_energy(options: int = SECURE, group: int = 0, sequence: int = 0) -> Aps:
    return Aps(SMART_ENERGY, OTA, 1, 1, options, group, sequence)


class Pair:
    def __init__(self, seed: int = 1) -> None:
        self.air = Air(seed)
        self.hub = form(self.air)
        self.bridge = join(self.air, self.hub, "bridge", BRIDGE)
        self.air.frames.clear()
        for host in (self.hub, self.bridge):
            host.events.clear()

    def send(self, payload: bytes = b"payload", options: int = SECURE, tag: int = 0) -> Status:
        return self.bridge.send(self.hub, payload, smart_energy(options), tag)

    def run(self, seconds: float = 1.0) -> None:
        self.air.clock.run_for(seconds)

    def messages(self) -> list[tuple[ApsFrame, bytes, int]]:
        """Every APS frame on the air: header, frame, and NWK source."""
        found = []
        for frame in self.air.data_frames():
            header = nwk.parse(frame)
            if header.frame_type != nwk.TYPE_DATA:
                continue
            eui64 = nwk.parse_auxiliary(frame, 8).source_eui64
            message = nwk.open_sealed(FrameKey(NETWORK_KEY), frame, 8, eui64)
            found.append((aps.parse(message), message, header.source))
        return found

    def insider(self, message: bytes, *, source: int | None = None) -> None:
        """A node that holds the network key, but no link key, sends `message` to the bridge."""
        stranger = self.air.medium.attach("stranger", lambda _: None)
        stranger.channel = CHANNEL
        hub = self.hub.stack
        self.run(0.02)
        frame = nwk.seal_data(
            FrameKey(NETWORK_KEY),
            self.bridge.stack.short_address,
            hub.short_address if source is None else source,
            30,
            250,
            hub.nwk_counter.take(),
            hub.eui64_octets,
            0,
            message,
        )
        header = mac.DATA_HEADER.pack(
            mac.DATA_ACKED, 250, 0x1A62, self.bridge.stack.short_address, 0
        )
        psdu = header + frame + mac.fcs(header + frame)
        stranger.transmit(psdu, self.air.clock.now_us())
        self.run(0.02)
        self.air.medium.detach(stranger)


def test_a_message_is_delivered_once_with_its_address_and_its_sender_is_told() -> None:
    pair = Pair()
    assert pair.send(tag=7) is Status.OK
    assert pair.bridge.events == []  # nothing is told from inside the call
    pair.run()
    received = pair.hub.events
    assert len(received) == 1
    message = received[0]
    assert isinstance(message, MessageReceived)
    assert message.kind is MessageKind.UNICAST
    assert message.source == pair.bridge.stack.short_address
    assert message.source_eui64 == BRIDGE
    assert message.payload == b"payload"
    assert message.aps._replace(sequence=0) == smart_energy()
    (sent,) = pair.bridge.sent()
    assert (sent.status, sent.tag, sent.aps) == (Status.OK, 7, message.aps)
    assert [len(psdu) for _, psdu in pair.air.frames] == [61, 5, 54, 5]


def test_what_an_application_sends_is_not_readable_with_the_network_key() -> None:
    pair = Pair()
    pair.send(b"this is between the two of us")
    pair.send(b"this is for everyone here", OPTION_RETRY)
    pair.run()
    on_the_air = b"".join(message for _, message, _ in pair.messages())
    assert b"between the two" not in on_the_air
    assert b"for everyone" in on_the_air
    assert b"for everyone" not in b"".join(psdu for _, psdu in pair.air.frames)


def test_without_acknowledgement_the_radio_link_is_all_a_sender_hears_of() -> None:
    pair = Pair()
    pair.send(options=OPTION_ENCRYPTION, tag=3)
    pair.run()
    assert [len(psdu) for _, psdu in pair.air.frames] == [61, 5]
    assert [(event.status, event.tag) for event in pair.bridge.sent()] == [(Status.OK, 3)]
    pair.air.medium.set_faults((Loss(1.0),))
    pair.send(options=OPTION_ENCRYPTION, tag=4)
    pair.run(3)  # the last thing tried is another way
    assert pair.bridge.sent()[-1].status is Status.DELIVERY_FAILED


def test_a_message_nobody_acknowledges_fails_after_6_4_seconds_and_four_tries() -> None:
    pair = Pair()
    pair.hub.stack.close()
    begun_us = pair.air.clock.now_us()
    pair.send()
    pair.air.clock.run_until(lambda: bool(pair.bridge.sent()))
    assert pair.bridge.sent()[0].status is Status.DELIVERY_FAILED
    assert (pair.air.clock.now_us() - begun_us) / 1e6 == pytest.approx(6.4)
    sealed = [message for _, message, _ in pair.messages()]
    assert len({aps.parse(message).counter for message in sealed}) == 1
    # the first try is sealed anew for each of its four NWK tries; then another way is looked for
    assert len({aps.counter_of(message, 8) for message in sealed}) == 4
    pair.run(30)
    assert len(pair.bridge.sent()) == 1


def test_messages_to_a_dead_node_each_fail_6_4_seconds_after_they_were_sent() -> None:
    pair = Pair()
    pair.hub.stack.close()
    begun_us: list[int] = []
    ended_us: dict[int, int] = {}

    def note(event: object) -> None:
        if isinstance(event, MessageSent):
            ended_us[event.tag] = pair.air.clock.now_us()

    pair.bridge.stack.on_event = note
    for tag, wait_s in enumerate((0.5, 0.9, 0.05, 3.0, 0.3)):
        begun_us.append(pair.air.clock.now_us())
        pair.send(tag=tag)
        pair.run(wait_s)
    pair.run(10)
    took_s = [(ended_us[tag] - begun) / 1e6 for tag, begun in enumerate(begun_us)]
    assert took_s == pytest.approx([6.4] * 5)


def test_a_lost_acknowledgement_costs_a_retry_but_delivers_no_second_copy() -> None:
    pair = Pair()
    real = pair.hub.stack.aps._send_ack
    dropped: list[object] = []
    pair.hub.stack.aps._send_ack = lambda *ack: dropped.append(ack)  # type: ignore[method-assign]
    pair.send()
    pair.run(1.0)
    pair.hub.stack.aps._send_ack = real  # type: ignore[method-assign]
    pair.run(3)
    assert len(dropped) == 1
    assert pair.hub.received() == [b"payload"]
    assert [event.status for event in pair.bridge.sent()] == [Status.OK]


@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_through_losses_every_message_is_told_of_once_and_none_comes_twice(loss: float) -> None:
    pair = Pair(seed=4)
    pair.air.medium.set_faults((Loss(loss),))
    payloads = [bytes((number,)) * 20 for number in range(60)]
    for tag, payload in enumerate(payloads):
        assert pair.send(payload, tag=tag) is Status.OK
        pair.air.clock.run_until(lambda tag=tag: len(pair.bridge.sent()) > tag)  # type: ignore[misc]
    assert [event.tag for event in pair.bridge.sent()] == list(range(60))
    failed = {e.tag for e in pair.bridge.sent() if e.status is not Status.OK}
    heard = pair.hub.received()
    assert len(heard) == len(set(heard))
    assert {payloads.index(payload) for payload in heard} >= set(range(60)) - failed
    assert len(failed) <= 6


def test_a_counter_that_came_round_is_remembered_as_long_as_a_new_one() -> None:
    pair = Pair()
    service = pair.hub.stack.aps

    def receive(counter: int) -> None:
        message = aps.HEADER.pack(0, 1, OTA, SMART_ENERGY, 1, counter) + bytes((counter,))
        service.receive(message, 0x4242, False)

    for counter in range(MAX_REMEMBERED):
        receive(counter)
    pair.run(REMEMBER_US / 1e6)
    receive(0)
    receive(200)  # one too many: the oldest is forgotten, which is no longer the first
    receive(0)
    assert pair.hub.received().count(b"\x00") == 2


OPTIONS = [0, OPTION_ENCRYPTION, OPTION_RETRY, SECURE]
ROOM = {0: 82, OPTION_ENCRYPTION: 73}


@pytest.mark.parametrize("fragment", [0, OPTION_FRAGMENT])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_longest_message_fills_a_frame_and_one_octet_more_is_refused(
    options: int, fragment: int
) -> None:
    pair = Pair()
    service = pair.bridge.stack.aps
    room = ROOM[options & OPTION_ENCRYPTION] - (2 if fragment else 0)
    assert service.max_payload_octets(options | fragment) == room
    parameters = smart_energy(options | fragment, group=2 << 8)
    hub = pair.hub.stack.short_address
    assert service.send_unicast(hub, parameters, bytes(room + 1), 0)[0] is Status.MESSAGE_TOO_LONG
    pair.run(0.5)
    assert pair.air.frames == []
    assert service.send_unicast(hub, parameters, bytes(room), 0)[0] is Status.OK
    pair.run(0.5)
    assert max(len(psdu) for _, psdu in pair.air.frames) == 127
    assert pair.hub.received() == [bytes(room)]


def test_the_longest_broadcast_fills_a_frame_and_one_octet_more_is_refused() -> None:
    pair = Pair()
    service = pair.bridge.stack.aps
    assert service.send_broadcast(0xFFFD, smart_energy(0), bytes(83), 0)[0] is (
        Status.MESSAGE_TOO_LONG
    )
    assert service.send_broadcast(0xFFFD, smart_energy(0), bytes(82), 0)[0] is Status.OK
    pair.run()
    assert [len(psdu) for _, psdu in pair.air.frames] == [127, 127]  # the hub repeats it
    (message,) = pair.hub.events
    assert isinstance(message, MessageReceived)
    assert message.kind is MessageKind.BROADCAST
    assert message.payload == bytes(82)


def test_a_broadcast_to_a_node_and_a_message_to_everyone_are_refused() -> None:
    pair = Pair()
    service = pair.bridge.stack.aps
    assert service.send_broadcast(0x0000, smart_energy(0), b"x", 0)[0] is Status.INVALID_PARAMETER
    for destination in (0xFFFD, 0xFFFF, 0xFFF8):
        status, _ = service.send_unicast(destination, smart_energy(OPTION_RETRY), b"x", 0)
        assert status is Status.INVALID_PARAMETER
    pair.run()
    assert pair.air.frames == []


def test_ten_messages_may_be_under_way_and_the_eleventh_is_refused() -> None:
    pair = Pair()
    for tag in range(MAX_UNICASTS):
        assert pair.send(bytes((tag,)), tag=tag) is Status.OK
    assert pair.send() is Status.MAX_MESSAGE_LIMIT_REACHED
    pair.run(7)
    assert sorted(event.tag for event in pair.bridge.sent()) == list(range(MAX_UNICASTS))
    assert {event.status for event in pair.bridge.sent()} == {Status.OK}
    assert pair.send() is Status.OK


def test_a_message_still_waiting_keeps_its_counter_however_many_others_are_sent() -> None:
    pair = Pair()
    ppmid = join(pair.air, pair.hub, "ppmid", PPMID)
    pair.hub.events.clear()
    ppmid.stack.close()
    assert pair.hub.send(ppmid, tag=999) is Status.OK
    for tag in range(255):  # the counter comes round while it waits
        pair.hub.send(pair.bridge, tag=tag)
        pair.air.clock.run_until(lambda tag=tag: len(pair.hub.sent()) > tag)  # type: ignore[misc]
    assert 999 not in [event.tag for event in pair.hub.sent()]
    assert pair.hub.send(ppmid, tag=1000) is Status.OK
    pair.run(20)
    ended = [event.tag for event in pair.hub.sent()]
    assert ended[-2:] == [999, 1000]


def test_without_a_key_for_the_partner_nothing_is_sent_and_nothing_protected_is_heard() -> None:
    pair = Pair()
    ppmid = join(pair.air, pair.hub, "ppmid", PPMID)
    pair.air.frames.clear()
    assert pair.bridge.send(ppmid) is Status.KEY_NOT_FOUND
    assert pair.bridge.stack.aps.send_unicast(0x4242, smart_energy(), b"x", 0)[0] is (
        Status.KEY_NOT_FOUND
    )
    assert pair.air.frames == []
    pair.hub.stack.aps.transient_keys.clear()
    pair.hub.stack.aps.keys_changed()
    pair.hub.events.clear()
    pair.send()
    pair.run(10)
    assert pair.hub.events == []
    assert pair.hub.stack.undecodable == 4
    assert pair.bridge.sent()[-1].status is Status.DELIVERY_FAILED


def test_ends_with_different_link_keys_do_not_understand_each_other() -> None:
    pair = Pair()
    pair.hub.stack.aps.transient_keys[BRIDGE] = bytes(16)
    pair.hub.stack.aps.keys_changed()
    pair.send()
    pair.run(10)
    assert pair.hub.events == []
    assert pair.hub.stack.undecodable == 4
    assert pair.bridge.sent()[-1].status is Status.DELIVERY_FAILED


def test_a_forged_acknowledgement_without_the_link_key_does_not_end_a_protected_message() -> None:
    pair = Pair()
    pair.hub.stack.aps._send_ack = lambda *_: None  # type: ignore[method-assign]
    pair.send(tag=1)
    pair.run(0.3)
    header = pair.messages()[0][0]
    forged = aps.HEADER.pack(aps.TYPE_ACK, 1, OTA, SMART_ENERGY, 1, header.counter)
    pair.insider(forged)
    assert pair.bridge.sent() == []
    pair.run(10)
    assert [event.status for event in pair.bridge.sent()] == [Status.DELIVERY_FAILED]
    # the same octets do end a message that was not protected
    pair.send(options=OPTION_RETRY, tag=2)
    pair.run(0.3)
    pair.insider(forged[:-1] + bytes((header.counter + 1 & 0xFF,)))
    assert [event.status for event in pair.bridge.sent()[1:]] == [Status.OK]


def test_an_acknowledgement_of_something_else_ends_nothing() -> None:
    pair = Pair()
    pair.hub.stack.aps._send_ack = lambda *_: None  # type: ignore[method-assign]
    pair.send(options=OPTION_RETRY)
    pair.run(0.3)
    counter = pair.messages()[0][0].counter
    for cluster, acked in ((OTA + 1, counter), (OTA, counter + 1 & 0xFF)):
        pair.insider(aps.HEADER.pack(aps.TYPE_ACK, 1, cluster, SMART_ENERGY, 1, acked))
    assert pair.bridge.sent() == []


def test_a_message_for_an_endpoint_that_is_not_there_reaches_nobody() -> None:
    pair = Pair()
    pair.bridge.send(pair.hub, b"x", Aps(SMART_ENERGY, OTA, 1, 99, SECURE))
    pair.run()
    assert pair.hub.events == []


def test_a_message_to_oneself_comes_back_without_a_frame() -> None:
    pair = Pair()
    assert pair.bridge.send(pair.bridge, b"note to self", tag=5) is Status.OK
    assert pair.bridge.events == []
    pair.run()
    assert pair.bridge.received() == [b"note to self"]
    assert [(event.status, event.tag) for event in pair.bridge.sent()] == [(Status.OK, 5)]
    assert pair.air.frames == []


def test_a_message_to_oneself_under_way_when_the_network_goes_is_gone() -> None:
    pair = Pair()
    pair.bridge.send(pair.bridge, b"note to self")
    pair.bridge.stack.forget_network()
    pair.run()
    assert pair.bridge.received() == []


def test_a_fragment_carries_number_and_index_and_its_acknowledgement_ends_it() -> None:
    pair = Pair()
    options = SECURE | OPTION_FRAGMENT
    blocks = [b"first block", b"second", b"last"]
    hub = pair.hub.stack.short_address
    counter = 0
    for index, block in enumerate(blocks):
        group = len(blocks) << 8 | index
        parameters = smart_energy(options, group, counter)
        status, counter = pair.bridge.stack.aps.send_unicast(hub, parameters, block, index)
        assert status is Status.OK
        pair.run(0.3)
        message = pair.hub.events[-1]
        assert isinstance(message, MessageReceived)
        assert message.payload == block
        # only the first says on the air how many there are
        assert message.aps.group == (3 << 8 if index == 0 else index)
        assert message.aps.sequence == counter
        assert message.aps.options == options
        assert len(pair.bridge.sent()) == index  # the host acknowledges, not the stack
        reply = message.aps._replace(
            group=0xFF << 8 | index,
            source_endpoint=message.aps.destination_endpoint,
            destination_endpoint=message.aps.source_endpoint,
        )
        assert pair.hub.stack.aps.acknowledge_fragment(message.source, reply) is Status.OK
        pair.run(0.3)
        assert pair.bridge.sent()[-1].status is Status.OK
    fragments = [header for header, _, source in pair.messages() if source]
    assert [(h.fragmentation, h.block) for h in fragments] == [(1, 3), (2, 1), (2, 2)]
    assert {h.counter for h in fragments} == {counter}
    acks = [header for header, _, source in pair.messages() if not source]
    assert [(h.frame_type, h.block, h.ack_bits) for h in acks] == [
        (aps.TYPE_ACK, index, 0xFF) for index in range(3)
    ]
    assert all(h.control & aps.SECURITY and h.control & aps.EXTENDED_HEADER for h in acks)


def test_a_fragment_repeated_is_handed_up_again_for_the_host_to_acknowledge() -> None:
    pair = Pair()
    parameters = smart_energy(SECURE | OPTION_FRAGMENT, 2 << 8)
    pair.bridge.stack.aps.send_unicast(0, parameters, b"block", 0)
    pair.run(10)
    assert pair.hub.received() == [b"block"] * 4
    assert pair.bridge.sent()[-1].status is Status.DELIVERY_FAILED


def test_an_acknowledgement_of_another_fragment_does_not_end_the_wait() -> None:
    pair = Pair()
    parameters = smart_energy(SECURE | OPTION_FRAGMENT, 2 << 8)
    _, counter = pair.bridge.stack.aps.send_unicast(0, parameters, b"block", 0)
    pair.run(0.3)
    reply = smart_energy(SECURE, 0xFF << 8 | 1, counter)
    pair.hub.stack.aps.acknowledge_fragment(pair.bridge.stack.short_address, reply)
    pair.run(0.3)
    assert pair.bridge.sent() == []


def test_a_broadcast_the_queue_has_no_room_for_fails_but_only_after_the_call() -> None:
    pair = Pair()
    service = pair.bridge.stack.aps
    for tag in range(40):
        assert service.send_broadcast(0xFFFD, smart_energy(0), b"x", tag)[0] is Status.OK
        assert pair.bridge.sent() == []
    pair.run(2)
    failed = [e.tag for e in pair.bridge.sent() if e.status is Status.DELIVERY_FAILED]
    assert failed == list(range(33, 40))  # one on its way, 32 queued
    assert len(pair.bridge.sent()) == 40


@settings(max_examples=60, deadline=None)
@given(messages=st.lists(st.binary(max_size=80), min_size=1, max_size=20))
def test_hostile_messages_of_an_insider_raise_nothing_and_change_no_key(
    messages: list[bytes],
) -> None:
    pair = Pair()
    for octets in messages:
        for message in (octets, aps.HEADER.pack(0x20, 1, OTA, SMART_ENERGY, 1, 1) + octets):
            pair.bridge.stack.aps.receive(message, 0, False)
            pair.bridge.stack.aps.receive(message, 0x4242, True)
    pair.hub.send(pair.bridge, b"afterwards")
    pair.run(2)
    assert pair.bridge.received()[-1] == b"afterwards"
