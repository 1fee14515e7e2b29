"""Fuzz subjects that take frames off a line or off the air: ASH, EZSP, MAC, NWK, APS.

Source: ours; the hosts' commands are those of bellows and zigpy in a recorded transfer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import cast

from air_support import CHANNEL, Air, HeapClock, form, join, smart_energy
from fuzz_codecs import ezsp_requests
from fuzz_mutation import Wrap

from bench.pair import EZSP_VERSION, Pair, make_image
from emulator.medium.air import Medium
from emulator.ncp.ash import FLAG, AshNcp, ResetRequest, build_data, build_frame, randomise, unstuff
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS
from emulator.ncp.ncp import Ncp
from emulator.ncp.wire import SerialWire
from emulator.zigbee import aps, mac, nwk, zdo
from emulator.zigbee.events import NodeType, Status
from emulator.zigbee.nwk import NwkFrame
from emulator.zigbee.state import Network, StackState
from hil.clock import run_virtual
from hil.wiring import quiet_hosts


class AshSubject:
    """The link of an NCP: not reset yet, restarting, connected (idle or with frames under way),
    failed."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.now = rng, 0.0
        self.ash = AshNcp()
        state = rng.randrange(5)
        if state:
            self.ash.reset(0x0B, 0.0)
        if state == 1:
            self.ash.receive_data(b"\xc0\x38\xbc\x7e", 0.0)
        elif state == 2:
            self.ash.error(0x51)
        elif state == 3:
            for _ in range(rng.randint(1, 20)):
                self.ash.send(b"\x00\x90\x01\x45\x00", 0.0)
        self.ash.data_to_send()

    def pick(self) -> tuple[bytes, Wrap]:
        rng = self.rng
        expected = self.ash._expected << 4 | rng.getrandbits(4)  # mostly what is let through
        controls = (expected, expected, rng.randrange(0x80), 0x80 | rng.randrange(0x40))
        control = rng.choice((*controls, 0xC0 | rng.randrange(3)))
        payload = rng.randbytes(rng.randint(3, 40)) if control < 0x80 else b""
        return bytes((control,)) + payload, self._wrap

    @staticmethod
    def _wrap(body: bytes) -> bytes:
        if not body or body[0] >= 0x80:
            return build_frame(body)
        return build_data(body[0], body[1:221])

    def feed(self, octets: bytes) -> None:
        ash, rng = self.ash, self.rng
        cut = rng.randint(0, len(octets))
        for part in (octets[:cut], octets[cut:]):
            for item in ash.receive_data(part, self.now):
                if isinstance(item, ResetRequest):
                    if rng.getrandbits(3):  # else it stays deaf
                        ash.reset(0x0B, self.now)
                elif ash.room:
                    ash.send(item, self.now)
            assert len(ash.data_to_send()) < 16 * 512
        self.now += rng.choice((0.0, 0.0, 0.01, 1.7))
        ash.handle_timeout(self.now)

    def check(self) -> None:
        ash = self.ash
        ash.receive_data(b"\x1a\xc0\x38\xbc\x7e", self.now)
        ash.reset(0x0B, self.now)
        assert ash.data_to_send().endswith(build_frame(b"\xc1\x02\x0b"))
        assert ash.receive_data(build_data(0, b"nop"), self.now) == [b"nop"]
        assert ash.data_to_send() == build_frame(b"\x81")


def _ezsp_frames(octets: bytes) -> Iterator[bytes]:
    for stuffed in octets.split(FLAG):
        frame = unstuff(stuffed[stuffed.rfind(b"\x1a") + 1 :])
        if len(frame) > 3 and frame[0] < 0x80:
            yield randomise(frame[1:-2])


@cache
def host_sessions() -> tuple[tuple[bytes, ...], ...]:
    """Every EZSP frame that a hub and a bridge send to their sticks, from reset to a transfer."""
    written: tuple[list[bytes], list[bytes]] = ([], [])

    class Listener:
        def __init__(self, line: int, ncp: Ncp) -> None:
            self.line, self.ncp = line, ncp
            self.host_connected = ncp.host_connected
            self.host_disconnected = ncp.host_disconnected

        def data_received(self, data: bytes) -> None:
            written[self.line].extend(_ezsp_frames(data))
            self.ncp.data_received(data)

    async def run() -> None:
        pair = Pair(make_image(1000), tap=lambda line, ncp: cast(SerialWire, Listener(line, ncp)))
        try:
            await pair.transfer()
        finally:
            await pair.close()

    quiet_hosts()
    run_virtual(run)
    return tuple(tuple(frames) for frames in written)


@cache
def every_request(version: int) -> tuple[bytes, ...]:
    """Every command of an EZSP version with all its fields, in the header it has there."""
    frames = []
    for request in ezsp_requests(version):
        number, body = request[:2], request[2:]
        if version >= 8:
            frames.append(b"\x07\x00\x01" + number + body)
        elif version >= 5:
            frames.append(b"\x07\x00\xff\x00" + number[:1] + body)
        else:
            frames.append(b"\x07\x00" + number[:1] + body)
    return tuple(frame[:220] for frame in frames)


def warm_up() -> None:
    """Make once what every session needs."""
    host_sessions()
    for version in SUPPORTED_VERSIONS:
        every_request(version)


_NOP = b"\x00\x00\x01\x05\x00"
_NETWORK = Network(0x1A62, 0x00DB1234567890A3, 15, NodeType.COORDINATOR, 0, bytes(16))


class EzspSubject:
    """A booted NCP of any version, its host somewhere between the first command and the middle of
    a transfer, or one that has sent whatever commands there are."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.clock = HeapClock()
        medium = Medium(self.clock, rng.getrandbits)
        version = EZSP_VERSION if rng.getrandbits(1) else rng.choice(SUPPORTED_VERSIONS)
        network = _NETWORK if rng.getrandbits(1) and version != EZSP_VERSION else None
        stored = StackState(0x00DB1234567890A2, network).to_json()
        self.ncp = Ncp("stick", stored, medium, self.clock, rng.getrandbits, ezsp_version=version)
        self.output = bytearray()
        self.next_frame = self.next_expected = 0
        self.is_attentive = True
        self.ncp.host_connected(self._take)
        self._reset()
        if version == EZSP_VERSION:
            self.session = rng.choice(host_sessions())
            said = self.session[: rng.randint(0, len(self.session))]
        else:
            self.session = every_request(version)
            said = tuple(rng.choices(self.session, k=rng.randrange(30)))
        for frame in said:
            self._say(build_data(self._control(), frame))
        self.is_attentive = bool(rng.randrange(5))  # else a host that acknowledges nothing
        if not self.is_attentive and rng.getrandbits(1):
            for _ in range(200):  # more answers than a link keeps
                self.ncp.data_received(build_data(self._control(), _NOP))

    def _reset(self) -> None:
        self.ncp.data_received(b"\x1a\xc0\x38\xbc\x7e")
        self.clock.run_for(0.1)
        self.next_frame = self.next_expected = 0

    def _take(self, data: bytes) -> None:
        self.output += data
        for stuffed in data.split(FLAG):
            frame = unstuff(stuffed)
            if frame and frame[0] < 0xC0:
                self.next_frame = frame[0] & 7
                if frame[0] < 0x80 and self.is_attentive:
                    self.next_expected = (frame[0] >> 4) + 1 & 7

    def _control(self) -> int:
        return self.next_frame << 4 | self.next_expected

    def _say(self, octets: bytes) -> None:
        self.ncp.data_received(octets)
        if self.is_attentive:
            self.ncp.data_received(build_frame(bytes((0x80 | self.next_expected,))))
        self.clock.run_for(self.rng.choice((0.0005, 0.0005, 0.02, 2.0)))

    def pick(self) -> tuple[bytes, Wrap]:
        frame = self.rng.choice(self.session)
        return frame, lambda body: build_data(self._control(), body[:220])

    def feed(self, octets: bytes) -> None:
        self._say(octets)

    def check(self) -> None:
        self.is_attentive = True
        for _ in range(2):  # the second of two resets is heard even while the stick restarts
            self._reset()
        self.output.clear()
        self._say(build_data(self._control(), b"\x00\x00\x00\x0d"))  # version, legacy form
        answers = list(_ezsp_frames(bytes(self.output)))
        assert answers, "the stick does not answer"
        assert answers[0][:3] == b"\x00\x80\x00"


_DEVICE = 0x00DB1234567890A4


class StackSubject:
    """A hub and a device that joined it, and a third transceiver beside them that has all keys."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.air = Air(rng.getrandbits(32))
        self.hub = form(self.air)
        self.device = join(self.air, self.hub, "device", _DEVICE)
        self.successors = 0
        self.fuzzer = self.air.medium.attach("fuzzer", lambda _: None)
        self.fuzzer.channel = 15
        self._exchange(b"before")
        self.seen = [psdu for _, psdu in self.air.frames]
        self.source, self.target = self.device, self.hub

    def _exchange(self, text: bytes) -> None:
        for one, other in ((self.device, self.hub), (self.hub, self.device)):
            short = other.stack.short_address
            one.stack.aps.send_unicast(short, smart_energy(), text, 1)
            self.air.clock.run_for(0.2)

    def pick(self) -> tuple[bytes, Wrap]:
        rng = self.rng
        ends = [self.device, self.hub]
        rng.shuffle(ends)
        self.source, self.target = ends
        match rng.randrange(7):
            case 0:
                return rng.choice(self.seen)[:-2], lambda body: body + mac.fcs(body)
            case 1:
                return self._nwk_header(), self._with_nwk_header
            case 2:
                payload = bytes((nwk.COMMAND_LEAVE, 0))
                return payload, lambda body: self._with_nwk_header(self._nwk_header(), body)
            case 3:
                return self._aps_header() + rng.randbytes(20), self._in_nwk
            case 4:
                return self._zdo_request(), self._as_zdo
            case 5:
                return self._nwk_header(), self._in_mac  # secured by its word alone
            case _:
                return rng.randbytes(20), self._in_aps

    def _in_mac(self, frame: bytes) -> bytes:
        destination = self.rng.choice((self.target.stack.short_address, mac.BROADCAST))
        control = mac.DATA_UNACKED if destination == mac.BROADCAST else mac.DATA_ACKED
        short = self.source.stack.short_address
        pan, sequence = self.hub.stack.mac.pan_id, self.rng.getrandbits(8)
        octets = mac.DATA_HEADER.pack(control, sequence, pan, destination, short) + frame[:116]
        return octets + mac.fcs(octets)

    def _nwk_header(self) -> bytes:
        rng, stack = self.rng, self.source.stack
        control = rng.choice((nwk.DATA_CONTROL, nwk.COMMAND_CONTROL, nwk.UNSECURED_DATA_CONTROL))
        relays = tuple(range(rng.randrange(3)))
        ieee = rng.choice((None, stack.state.eui64))
        destination = rng.choice((self.target.stack.short_address, nwk.BROADCAST_RX_ON))
        return nwk.build_header(
            NwkFrame(
                control,
                destination,
                stack.short_address,
                1,
                rng.getrandbits(8),
                ieee,
                ieee,
                relays,
                0,
            )
        )

    def _with_nwk_header(self, header: bytes, payload: bytes = b"\x04\x00") -> bytes:
        stack, key = self.source.stack, self.source.stack._key
        counter = stack.nwk_counter.take()
        return self._in_mac(nwk.seal(key, header, counter, stack.eui64_octets, 0, payload))

    def _in_nwk(self, message: bytes) -> bytes:
        stack = self.source.stack
        destination = self.rng.choice((self.target.stack.short_address, nwk.BROADCAST_RX_ON))
        sequence, counter = self.rng.getrandbits(8), stack.nwk_counter.take()
        short, eui64 = stack.short_address, stack.eui64_octets
        return self._in_mac(
            nwk.seal_data(stack._key, destination, short, 30, sequence, counter, eui64, 0, message)
        )

    def _aps_header(self, control: int | None = None) -> bytes:
        if control is None:
            control = self.rng.choice((0x00, 0x02, 0x40, 0x80, 0xC0, 0x08, 0x0C, 0x82, 0x12, 0x01))
        fragmentation, block = self.rng.randrange(3), self.rng.randrange(4)
        counter = self.rng.getrandbits(8)
        return aps.build_header(
            aps.ApsFrame(control, 1, 0, 0x19, 0x0109, 1, counter, fragmentation, block, 1, 0)
        )

    def _in_aps(self, payload: bytes) -> bytes:
        stack = self.source.stack
        partner = stack.aps.partner(self.target.stack.short_address)
        if partner is None:
            return self._in_nwk(payload)
        key = stack.aps.frame_key(partner[1].key)
        header = self._aps_header(self.rng.choice((0x20, 0x60, 0xA0, 0xE0, 0x22, 0xA2)))
        counter = stack.aps_counter.take()
        return self._in_nwk(aps.seal(key, header, counter, stack.eui64_octets, payload[:60]))

    def _zdo_request(self) -> bytes:
        short = self.target.stack.short_address.to_bytes(2, "little")
        match = b"\x09\x01\x01\x19\x00\x01\x04\x07"
        announce = zdo.device_announce(self.source.stack)
        return self.rng.choice((b"\x01" + short + match, b"\x01" + short + b"\x01", announce))

    def _as_zdo(self, payload: bytes) -> bytes:
        cluster = self.rng.choice((*range(8), zdo.DEVICE_ANNOUNCE, zdo.MGMT_PERMIT_JOINING))
        header = aps.HEADER.pack(self.rng.choice((0, 0x40)), 0, cluster, 0, 0, 1)
        return self._in_nwk(header + payload)

    def feed(self, octets: bytes) -> None:
        clock = self.air.clock
        self.fuzzer.transmit(octets[:127] or b"\0", clock.now_us() + 200)
        clock.run_for(self.rng.choice((0.01, 0.01, 0.3)))
        if self.device.stack.state.network is None:  # told to leave with the right keys
            self.successors += 1
            self.device = join(
                self.air, self.hub, f"device-{self.successors}", _DEVICE + self.successors
            )

    def check(self) -> None:
        self.air.clock.run_for(10)  # whatever was begun has ended
        device = self.device.stack
        if not device.is_up:  # it was told to rejoin, and the answer went by: a host asks again
            assert self.device.statuses()[-1] is Status.MOVE_FAILED
            assert device.rejoining.start([CHANNEL], secured=True) is Status.OK
            self.air.clock.run_for(10)
        for node in (self.hub, self.device):
            # A Leave with the right keys is obeyed; whoever left is heard of again by this.
            node.stack.announce()
            self.air.clock.run_for(1)
        self._exchange(b"after")
        self.air.clock.run_for(10)
        assert b"after" in self.hub.received(), "the hub no longer hears its device"
        assert b"after" in self.device.received(), "the device no longer hears its hub"
