"""One node's MAC: back-offs, acknowledgements, retries, duplicates, indirect frames, spacing."""

from __future__ import annotations

import random

import pytest
from air_support import HeapClock

from emulator.medium.air import Loss, Medium
from emulator.medium.timing import (
    ACK_WAIT_US,
    CCA_US,
    LIFS_US,
    SIFS_US,
    TURNAROUND_US,
    UNIT_BACKOFF_US,
    air_us,
)
from emulator.zigbee import mac
from emulator.zigbee.mac import MacFrame
from emulator.zigbee.mac_link import (
    DUPLICATE_MEMORY_US,
    MAX_INDIRECT_FRAMES,
    MAX_QUEUED_FRAMES,
    TRANSACTION_PERSISTENCE_US,
    MacLink,
    SendResult,
)

PAN = 0x1A62
HUB, BRIDGE, PPMID = 0x0000, 0x1234, 0x5678
EUI64 = {HUB: 0xA000, BRIDGE: 0xB000, PPMID: 0xC000}


class Fixed:
    """Chance that is always the same, so that times can be told."""

    def __init__(self, *draws: int) -> None:
        self.draws = list(draws)
        self.asked: list[int] = []

    def __call__(self, bits: int) -> int:
        self.asked.append(bits)
        return self.draws.pop(0) if self.draws else 0


class Link:
    def __init__(self, air: LinkedAir, address: int, bits: Fixed | None = None) -> None:
        self.received: list[tuple[bytes, int, int]] = []
        self.others: list[MacFrame] = []
        self.results: list[SendResult] = []
        self.bits = bits or Fixed()
        self.link = MacLink(
            f"{address:04x}",
            EUI64.get(address, address),
            air.medium,
            air.clock,
            self.bits,
            receive_data=lambda *data: self.received.append(data),
            receive_other=self.others.append,
        )
        self.bits.asked.clear()
        self.link.channel = 15
        self.link.pan_id = PAN
        self.link.short_address = address

    def send(self, destination: int, payload: bytes = b"payload") -> None:
        self.link.send_data(destination, payload, self.results.append)


class LinkedAir:
    def __init__(self, losses: tuple[Loss, ...] = ()) -> None:
        self.clock = HeapClock()
        self.frames: list[tuple[int, bytes]] = []
        self.medium = Medium(
            self.clock,
            random.Random(1).getrandbits,
            faults=losses,
            capture=lambda start_us, _, psdu, _comment: self.frames.append((start_us, psdu)),
        )

    def lose(self, probability: float, node: str | None = None) -> None:
        self.medium.set_faults((Loss(probability, node),))

    def inject(self, psdu: bytes) -> None:
        """Put a frame on the air as a stranger would."""
        stranger = self.medium.attach("stranger", lambda _: None)
        stranger.channel = 15
        stranger.transmit(psdu, self.clock.now_us())
        self.clock.run_for(0.01)
        self.medium.detach(stranger)

    def pair(self) -> tuple[Link, Link]:
        return Link(self, HUB), Link(self, BRIDGE)


def test_a_frame_arrives_once_and_its_sender_knows() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    hub.send(BRIDGE)
    air.clock.run_for(1)
    assert bridge.received == [(b"payload", HUB, BRIDGE)]
    assert hub.results == [SendResult.OK]
    (_, frame), (_, ack) = air.frames
    # 802.15.4, 7.2.2.2: data, acknowledgement asked, PAN compressed, short addresses
    assert frame[:9] == bytes.fromhex("61 88 01 62 1A 34 12 00 00")
    assert ack == mac.build_ack(1)


def test_a_broadcast_is_heard_by_all_and_acknowledged_by_none() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    ppmid = Link(air, PPMID)
    hub.send(mac.BROADCAST)
    air.clock.run_for(1)
    assert bridge.received == ppmid.received == [(b"payload", HUB, mac.BROADCAST)]
    assert hub.results == [SendResult.OK]
    assert len(air.frames) == 1


def test_a_broadcast_that_wrongly_asks_for_acknowledgement_gets_none() -> None:
    air = LinkedAir()
    _, bridge = air.pair()
    octets = bytes.fromhex("61 88 01 62 1A FF FF 00 00") + b"payload"
    air.inject(octets + mac.fcs(octets))
    assert len(air.frames) == 1
    assert len(bridge.received) == 1


def test_a_frame_takes_back_off_cca_turnaround_frame_turnaround_acknowledgement() -> None:
    air = LinkedAir()
    hub = Link(air, HUB, Fixed(0, 5))
    Link(air, BRIDGE)
    done: list[int] = []
    hub.link.send_data(BRIDGE, b"payload", lambda _: done.append(air.clock.now_us()))
    air.clock.run_for(1)
    start_us = 5 * UNIT_BACKOFF_US + CCA_US + TURNAROUND_US
    ack_us = start_us + air_us(18) + TURNAROUND_US
    assert [time for time, _ in air.frames] == [start_us, ack_us]
    assert done == [ack_us + air_us(5)]


@pytest.mark.parametrize(("octets", "spacing_us"), [(7, SIFS_US), (8, LIFS_US)])
def test_the_next_frame_waits_for_the_spacing_its_predecessor_needs(
    octets: int, spacing_us: int
) -> None:
    air = LinkedAir()
    hub, _ = air.pair()
    hub.send(BRIDGE, bytes(octets))
    hub.send(BRIDGE, b"next")
    air.clock.run_for(1)
    ack_end_us = air.frames[1][0] + air_us(5)
    assert air.frames[2][0] == ack_end_us + spacing_us + CCA_US + TURNAROUND_US


def test_who_acknowledged_leaves_the_other_its_spacing_before_it_speaks() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    bridge.link._receive_data = lambda *_: bridge.send(HUB)  # an answer at once
    hub.send(BRIDGE, bytes(50))
    air.clock.run_for(1)
    ack_end_us = air.frames[1][0] + air_us(5)
    assert air.frames[2][0] >= ack_end_us + LIFS_US


def busy_channel(air: LinkedAir, seconds: float) -> None:
    jammer = air.medium.attach("jammer", lambda _: None)
    jammer.channel = 15

    def jam() -> None:
        if air.clock.now_us() < seconds * 1e6:
            end_us = jammer.transmit(bytes(127), air.clock.now_us())
            air.clock.call_at_us(end_us, jam)

    jam()


def test_a_busy_channel_is_given_up_after_five_looks_with_growing_patience() -> None:
    air = LinkedAir()
    hub, _ = air.pair()
    busy_channel(air, 1)
    hub.send(BRIDGE)
    air.clock.run_for(1)
    assert hub.results == [SendResult.CHANNEL_ACCESS_FAILURE]
    assert hub.bits.asked == [3, 4, 5, 5, 5]


def test_a_channel_that_clears_is_used_and_patience_starts_anew() -> None:
    air = LinkedAir()
    hub = Link(air, HUB, Fixed(0, 7, 15, 0))
    bridge = Link(air, BRIDGE)
    busy_channel(air, 0.004)
    hub.send(BRIDGE)
    hub.send(BRIDGE, b"next")
    air.clock.run_for(1)
    assert hub.results == [SendResult.OK] * 2
    assert len(bridge.received) == 2
    assert hub.bits.asked == [3, 4, 3]


def test_a_deaf_partner_is_tried_four_times_with_one_sequence_number() -> None:
    air = LinkedAir()
    hub, _ = air.pair()
    air.lose(1.0)
    hub.send(BRIDGE)
    air.clock.run_for(1)
    assert hub.results == [SendResult.NO_ACK]
    assert len(air.frames) == 4
    assert len({psdu for _, psdu in air.frames}) == 1
    for (one_us, psdu), (next_us, _) in zip(air.frames, air.frames[1:], strict=False):
        waited_us = next_us - one_us - air_us(len(psdu))
        assert waited_us == ACK_WAIT_US + CCA_US + TURNAROUND_US  # back-off 0
    hub.send(BRIDGE, b"other")
    air.lose(0.0)
    air.clock.run_for(1)
    assert hub.results[1:] == [SendResult.OK]


def test_a_frame_whose_acknowledgement_was_lost_is_acknowledged_again_but_handed_up_once() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    air.clock.call_at_us(1100, air.lose, 1.0)  # the frame ended at 1024, its answer at 1568
    air.clock.call_at_us(1600, air.lose, 0.0)
    hub.link.send_data(BRIDGE, bytes(5), hub.results.append)
    air.clock.run_for(1.1e-3)
    assert len(bridge.received) == 1
    air.clock.run_for(1)
    assert [len(psdu) for _, psdu in air.frames] == [16, 5, 16, 5]
    assert hub.results == [SendResult.OK]
    assert len(bridge.received) == 1


def test_a_new_frame_with_an_old_sequence_number_is_not_taken_for_a_duplicate() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    ppmid = Link(air, PPMID)
    hub.send(BRIDGE, b"first")
    air.clock.run_for(0.1)
    for _ in range(255):
        hub.send(PPMID)
        air.clock.run_for(0.01)
    hub.send(BRIDGE, b"256 later")
    air.clock.run_for(0.1)
    assert [payload for payload, _, _ in bridge.received] == [b"first", b"256 later"]
    assert len(ppmid.received) == 255


def test_a_retry_as_late_as_they_come_is_still_a_duplicate() -> None:
    # 4 tries, each 5 back-offs of at most 7, 15, 31, 31, 31 periods with a CCA, then the frame
    backoffs_us = (7 + 15 + 3 * 31) * UNIT_BACKOFF_US + 5 * CCA_US
    latest_us = 3 * (backoffs_us + TURNAROUND_US + air_us(127) + ACK_WAIT_US)
    assert latest_us < DUPLICATE_MEMORY_US


def test_frames_for_others_and_other_networks_are_neither_taken_nor_acknowledged() -> None:
    air = LinkedAir()
    _, bridge = air.pair()
    for address in ("63 1A 34 12 00 00", "62 1A 35 12 00 00"):
        octets = bytes.fromhex("61 88 01" + address) + b"payload"
        air.inject(octets + mac.fcs(octets))
    assert bridge.received == []
    assert len(air.frames) == 2


def test_a_frame_with_a_wrong_fcs_is_neither_taken_nor_acknowledged() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    octets = bytes.fromhex("61 88 01 62 1A 34 12 00 00") + b"payload"
    air.inject(octets + b"\x00\x00")
    request = bytes.fromhex("03 08 2A FF FF FF FF 07")
    air.inject(request + b"\x00\x00")
    assert bridge.received == hub.received == []
    assert bridge.others == hub.others == []
    assert len(air.frames) == 2


@pytest.mark.parametrize("forged", ["other sequence", "wrong fcs"])
def test_only_the_acknowledgement_of_this_frame_ends_the_wait(forged: str) -> None:
    air = LinkedAir()
    hub = Link(air, HUB)
    ack = mac.build_ack(2) if forged == "other sequence" else mac.build_ack(1)[:3] + b"\x00\x00"
    hub.send(BRIDGE)
    sent_us = CCA_US + TURNAROUND_US + air_us(18)
    air.clock.run_for((sent_us + TURNAROUND_US) / 1e6)
    air.inject(ack)
    air.clock.run_for(1)
    assert hub.results == [SendResult.NO_ACK]


def test_an_acknowledgement_that_says_more_is_pending_counts_too() -> None:
    air = LinkedAir()
    hub = Link(air, HUB)
    hub.send(BRIDGE)
    sent_us = CCA_US + TURNAROUND_US + air_us(18)
    air.clock.run_for((sent_us + TURNAROUND_US) / 1e6)
    air.inject(mac.build_ack(1, frame_pending=True))
    assert hub.results == [SendResult.OK]


def test_a_full_queue_refuses_the_next_frame_but_only_after_the_call() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    for number in range(MAX_QUEUED_FRAMES + 1):
        hub.send(BRIDGE, bytes((number,)))
    hub.send(BRIDGE, b"too much")
    assert hub.results == []
    air.clock.run_for(0)
    assert hub.results == [SendResult.QUEUE_FULL]
    air.clock.run_for(2)
    assert hub.results[1:] == [SendResult.OK] * (MAX_QUEUED_FRAMES + 1)
    expected = [bytes((number,)) for number in range(MAX_QUEUED_FRAMES + 1)]
    assert [payload for payload, _, _ in bridge.received] == expected


def command(destination: int, payload: bytes, source: int) -> MacFrame:
    return MacFrame(
        mac.TYPE_COMMAND, True, False, 0, PAN, destination, True, PAN, source, True, payload
    )


def poll(link: Link, parent: int) -> None:
    link.link.send(
        MacFrame(3, True, False, 0, PAN, parent, False, PAN, link.link.eui64, True, b"\x04"),
        link.results.append,
    )


def test_an_indirect_frame_waits_until_it_is_asked_for_and_the_asker_is_told_it_is_there() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    hub.link.send_indirect(command(EUI64[BRIDGE], b"\x02held", EUI64[HUB]), hub.results.append)
    air.clock.run_for(1)
    assert air.frames == []
    poll(bridge, HUB)
    air.clock.run_for(1)
    assert hub.results == [SendResult.OK]
    assert [frame.payload for frame in bridge.others] == [b"\x02held"]
    acks = [psdu for _, psdu in air.frames if len(psdu) == 5]
    assert mac.parse(acks[0]).frame_pending
    assert not mac.parse(acks[1]).frame_pending
    poll(bridge, HUB)
    air.clock.run_for(1)
    assert not mac.parse(air.frames[-1][1]).frame_pending
    assert len(bridge.others) == 1


def test_an_indirect_frame_nobody_asks_for_expires_and_is_never_sent() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    hub.link.send_indirect(command(EUI64[BRIDGE], b"\x02held", EUI64[HUB]), hub.results.append)
    air.clock.run_for(TRANSACTION_PERSISTENCE_US / 1e6)
    assert hub.results == [SendResult.EXPIRED]
    poll(bridge, HUB)
    air.clock.run_for(1)
    assert bridge.others == []


def test_a_newer_indirect_frame_for_a_node_replaces_the_older() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    for payload in (b"\x02old", b"\x02new"):
        hub.link.send_indirect(command(EUI64[BRIDGE], payload, EUI64[HUB]))
        air.clock.run_for(4)
    poll(bridge, HUB)
    air.clock.run_for(1)
    assert [frame.payload for frame in bridge.others] == [b"\x02new"]


def test_indirect_frames_are_held_for_so_many_nodes_and_no_more() -> None:
    air = LinkedAir()
    hub = Link(air, HUB)
    for number in range(MAX_INDIRECT_FRAMES + 1):
        hub.link.send_indirect(command(number, b"\x02", EUI64[HUB]), hub.results.append)
    air.clock.run_for(0)
    assert hub.results == [SendResult.QUEUE_FULL]
    air.clock.run_for(8)
    assert hub.results[1:] == [SendResult.EXPIRED] * MAX_INDIRECT_FRAMES


def test_power_off_silences_everything() -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    hub.link.send_indirect(command(EUI64[BRIDGE], b"\x02", EUI64[HUB]), hub.results.append)
    for _ in range(MAX_QUEUED_FRAMES + 2):  # one refused, to be told later
        hub.send(BRIDGE)
    hub.link.close()
    hub.link.close()
    hub.send(BRIDGE)
    bridge.send(HUB)
    air.clock.run_for(10)
    assert hub.results == []
    assert hub.received == []
    assert {mac.parse(psdu).source for _, psdu in air.frames} == {BRIDGE}
    assert bridge.results == [SendResult.NO_ACK]


@pytest.mark.parametrize("at_us", [100, 400, 1200, 1700])
def test_power_off_in_the_middle_of_a_frame_leaves_no_timer_that_speaks(at_us: int) -> None:
    air = LinkedAir()
    hub, bridge = air.pair()
    hub.send(BRIDGE)
    hub.send(mac.BROADCAST)
    air.clock.run_for(at_us / 1e6)
    hub.link.close()
    sent = len([psdu for _, psdu in air.frames if len(psdu) > 5])
    told = len(hub.results)
    air.clock.run_for(1)
    assert len([psdu for _, psdu in air.frames if len(psdu) > 5]) == sent
    assert len(hub.results) == told
    again = Link(air, HUB)  # the name is free again
    again.send(BRIDGE, b"back")
    air.clock.run_for(1)
    assert again.results == [SendResult.OK]
    assert bridge.received[-1][0] == b"back"


def test_a_frame_on_a_radio_that_is_off_is_given_up() -> None:
    air = LinkedAir()
    hub, _ = air.pair()
    hub.link.channel = None
    hub.send(BRIDGE)
    air.clock.run_for(1)
    assert hub.results == [SendResult.CHANNEL_ACCESS_FAILURE]
    assert air.frames == []
