"""How long things take on the air: the figures of IEEE 802.15.4, and a transfer at that pace."""

from __future__ import annotations

import pytest
from air_support import CHANNEL, Air, StackHost, form, join, smart_energy
from hypothesis import given
from hypothesis import strategies as st

from emulator.medium import timing
from emulator.medium.timing import air_us, hop_us
from emulator.zigbee.events import MessageReceived, MessageSent


def test_a_frame_takes_32_us_an_octet_and_six_octets_more() -> None:
    # IEEE 802.15.4-2006, 6.5: 250 kbit/s; preamble 4, start of frame 1, length 1
    assert air_us(127) == 4256
    assert air_us(5) == 352
    assert air_us(71) == 2464


def test_the_constants_are_those_of_the_standard() -> None:
    # IEEE 802.15.4-2006, tables 22, 85 and 86, in symbols of 16 us
    assert timing.TURNAROUND_US == 192
    assert timing.CCA_US == 128
    assert timing.UNIT_BACKOFF_US == 320
    assert timing.ACK_WAIT_US == 864
    assert (timing.SIFS_US, timing.LIFS_US) == (192, 640)
    assert (timing.MIN_BE, timing.MAX_BE) == (3, 5)
    assert (timing.MAX_CSMA_BACKOFFS, timing.MAX_FRAME_RETRIES) == (4, 3)


def test_an_acknowledged_hop_of_the_longest_frame_is_6_88_ms() -> None:
    # 1120 mean back-off + 128 CCA + 192 + 4256 frame + 192 + 352 acknowledgement + 640 LIFS
    assert hop_us(127) == 6880
    assert hop_us(127, mean_backoff=False) == 5760


def test_a_block_at_the_mean_costs_21_06_ms() -> None:
    # request 71, response 127, and an encrypted APS acknowledgement of 54 octets each way
    cycle_us = hop_us(71) + hop_us(127) + 2 * hop_us(54)
    assert cycle_us == pytest.approx(21_056)


@given(octets=st.integers(1, 126))
def test_a_longer_frame_never_takes_less_time(octets: int) -> None:
    assert air_us(octets + 1) - air_us(octets) == timing.OCTET_US
    assert hop_us(octets + 1) - hop_us(octets) == timing.OCTET_US


class Transfer:
    """Requests of 17 octets from a device, answers of 73 from a hub, as an image transfer has."""

    REQUEST = bytes(17)  # 3 ZCL + 14 Image Block Request: 71 octets on the air
    RESPONSE = bytes(73)  # 3 ZCL + 14 + 56 Image Block Response: 127 octets on the air

    def __init__(self, blocks: int, seed: int) -> None:
        self.air = Air(seed)
        self.hub = form(self.air)
        self.device = join(self.air, self.hub, "bridge", 0x0011223344556677)
        self.blocks = 0
        self.hub.stack.on_event = self._hub_heard
        self.device.stack.on_event = self._device_heard
        self.air.frames.clear()
        self.started_us = self.air.clock.now_us()
        self._ask()
        self.air.clock.run_until(lambda: self.blocks == blocks)
        self.took_us = self.air.clock.now_us() - self.started_us

    def _send(self, one: StackHost, other: StackHost, payload: bytes) -> None:
        one.send(other, payload, smart_energy())

    def _ask(self) -> None:
        self._send(self.device, self.hub, self.REQUEST)

    def _hub_heard(self, event: object) -> None:
        if isinstance(event, MessageReceived):
            self._send(self.hub, self.device, self.RESPONSE)

    def _device_heard(self, event: object) -> None:
        if isinstance(event, MessageReceived):
            self.blocks += 1
            self._ask()
        elif isinstance(event, MessageSent):
            assert event.status.name == "OK"


LINK_STATUS = (47, 50)  # octets, naming nobody and one neighbour: one in 15 s from each node


def test_a_transfer_without_host_costs_takes_the_physical_time_within_one_percent() -> None:
    blocks = 1500
    transfer = Transfer(blocks, seed=5)
    frames = [frame for frame in transfer.air.frames if len(frame[1]) not in LINK_STATUS]
    sizes = {len(psdu) for _, psdu in frames}
    assert sizes == {5, 54, 71, 127}
    # what the frames really sent cost by the formula, with the mean back-off
    cost_us = sum(hop_us(len(psdu)) for _, psdu in frames if len(psdu) > 5)
    assert cost_us / blocks == pytest.approx(21_056, rel=0.01)
    assert transfer.took_us / blocks == pytest.approx(21_060, rel=0.01)


def test_one_acknowledged_frame_takes_the_time_of_the_formula() -> None:
    air = Air(3)
    hub = form(air)
    device = join(air, hub, "bridge", 0x0011223344556677)
    air.frames.clear()
    begun_us = air.clock.now_us()
    hub.send(device, Transfer.RESPONSE)
    air.clock.run_until(lambda: len(air.frames) >= 2)
    (start_us, psdu), (ack_us, ack) = air.frames[:2]
    assert (len(psdu), len(ack)) == (127, 5)
    backoff_us = start_us - begun_us - timing.CCA_US - timing.TURNAROUND_US
    assert backoff_us in range(0, 8 * 320, 320)
    # from the end of the frame: turnaround, then the acknowledgement
    assert ack_us == start_us + air_us(127) + timing.TURNAROUND_US
    done_us = ack_us + air_us(5) + timing.LIFS_US
    assert done_us - begun_us == hop_us(127, mean_backoff=False) + backoff_us
    assert hub.stack.mac.channel == CHANNEL
