"""A clock and nodes for tests of the air and the stack: no event loop, time runs as events need."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from emulator.medium.air import Medium
from emulator.medium.faults import AirFault
from emulator.medium.pcapng import PcapngWriter, TraceHash
from emulator.zigbee import nwk
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_RETRY,
    Aps,
    Event,
    MessageReceived,
    MessageSent,
    NodeType,
    StackStatus,
    Status,
)
from emulator.zigbee.joining import JoinRequest, TrustCenterPolicy
from emulator.zigbee.stack import Stack
from emulator.zigbee.state import Network, StackState
from emulator.zigbee.zdo import Endpoint

SMART_ENERGY = 0x0109
OTA = 0x0019
NETWORK_KEY = bytes(range(16))
EXTENDED_PAN_ID = 0x00DB1234567890A3
CHANNEL = 15


class Call(list):  # type: ignore[type-arg]
    def cancel(self) -> None:
        self[2] = None


class HeapClock:
    """A `Scheduler` driven by hand."""

    def __init__(self) -> None:
        self._now_us = 0
        self._sequence = 0
        self._calls: list[Call] = []

    def now_us(self) -> int:
        return self._now_us

    def call_at_us(self, when_us: int, call: Callable[..., object], *args: object) -> Call:
        self._sequence += 1
        entry = Call((max(when_us, self._now_us), self._sequence, call, args))
        heapq.heappush(self._calls, entry)
        return entry

    def run_until(self, done: Callable[[], bool], limit_s: float = 3600.0) -> None:
        """Run calls until `done()`; fails when `limit_s` more seconds were not enough."""
        end_us = self._now_us + round(limit_s * 1e6)
        while not done():
            assert self._calls, "nothing is scheduled and it has not happened"
            when_us, _, call, args = heapq.heappop(self._calls)
            assert when_us <= end_us, f"it has not happened within {limit_s} s"
            self._now_us = when_us
            if call is not None:
                call(*args)

    def run_for(self, seconds: float) -> None:
        """Run everything due within `seconds`."""
        end_us = self._now_us + round(seconds * 1e6)
        while self._calls and self._calls[0][0] <= end_us:
            when_us, _, call, args = heapq.heappop(self._calls)
            self._now_us = when_us
            if call is not None:
                call(*args)
        self._now_us = end_us


class Nonce(NamedTuple):
    """What must never come twice under one key, read off a frame on the air."""

    source_eui64: bytes
    counter: int


class Air:
    """A medium with every frame kept."""

    def __init__(self, seed: int = 1, faults: tuple[AirFault, ...] = ()) -> None:
        self.clock = HeapClock()
        self.random = random.Random(seed)
        self.frames: list[tuple[int, bytes]] = []
        self.comments: list[str] = []  # what faults did to each
        self.medium = Medium(
            self.clock, self.random.getrandbits, faults=faults, capture=self._capture
        )

    def _capture(self, start_us: int, _channel: int, psdu: bytes, comment: str) -> None:
        self.frames.append((start_us, psdu))
        self.comments.append(comment)

    def data_frames(self) -> list[bytes]:
        """The NWK frames in all MAC data frames with short addresses, in order."""
        return [psdu[9:-2] for _, psdu in self.frames if psdu[0] & 7 == 1]

    def nwk_nonces(self) -> list[Nonce]:
        """Nonces under the network key, of every secured frame, in order."""
        found = []
        for frame in self.data_frames():
            header = nwk.parse(frame)
            if header.secured:
                counter, eui64, _ = nwk.parse_auxiliary(frame, header.header_octets)
                found.append(Nonce(eui64, counter))
        return found

    def trace_hash(self) -> str:
        trace = TraceHash()
        for start_us, psdu in self.frames:
            trace.update(start_us, psdu)
        return trace.hexdigest()

    def write_pcapng(self, path: Path) -> None:
        with path.open("wb") as file:
            writer = PcapngWriter(file.write)
            for (start_us, psdu), comment in zip(self.frames, self.comments, strict=True):
                writer.frame(start_us, psdu, channel=CHANNEL, comment=comment)


class StackHost:
    """A stack and what it told its host."""

    def __init__(self, air: Air, name: str, eui64: int, state: StackState | None = None) -> None:
        self.events: list[Event] = []
        self.stored = (state or StackState(eui64, link_keys=[None] * 16)).to_json()
        self.air = air
        self.name = name
        self.stack = self._boot()

    def _boot(self) -> Stack:
        state = StackState.from_json(self.stored)

        def save() -> None:
            self.stored = state.to_json()

        stack = Stack(
            self.name,
            state,
            self.air.medium,
            self.air.clock,
            self.air.random.getrandbits,
            on_event=self.events.append,
            save=save,
        )
        stack.endpoints[1] = Endpoint(1, SMART_ENERGY, 0x0506, 0, (OTA,), (OTA,))
        return stack

    def power_cycle(self, *, resume: bool = False) -> None:
        self.stack.close()
        self.stack = self._boot()
        if resume:
            assert self.stack.resume() is Status.OK

    def send(
        self,
        other: StackHost,
        payload: bytes = b"payload",
        parameters: Aps | None = None,
        tag: int = 0,
    ) -> Status:
        """Send to `other` as Smart Energy, encrypted and acknowledged; what the call said."""
        if parameters is None:
            parameters = smart_energy()
        destination = other.stack.short_address
        return self.stack.aps.send_unicast(destination, parameters, payload, tag)[0]

    def received(self) -> list[bytes]:
        return [event.payload for event in self.events if isinstance(event, MessageReceived)]

    def statuses(self) -> list[Status]:
        return [event.status for event in self.events if isinstance(event, StackStatus)]

    def sent(self) -> list[MessageSent]:
        return [event for event in self.events if isinstance(event, MessageSent)]


def network() -> Network:
    return Network(0x1A62, EXTENDED_PAN_ID, CHANNEL, NodeType.COORDINATOR, 0, NETWORK_KEY)


def form(air: Air) -> StackHost:
    hub = StackHost(air, "hub", 0x00DB1234567890A2)
    hub.stack.joining.policy = (
        TrustCenterPolicy.ALLOW_JOINS | TrustCenterPolicy.JOINS_USE_INSTALL_CODE_KEY
    )
    assert hub.stack.form(network()) is Status.OK
    air.clock.run_until(lambda: hub.stack.is_up)
    return hub


def link_key(eui64: int) -> bytes:
    return eui64.to_bytes(8, "big") * 2


def join(
    air: Air,
    hub: StackHost,
    name: str,
    eui64: int,
    *,
    attempts: int = 10,
    node_type: NodeType = NodeType.ROUTER,
) -> StackHost:
    device = StackHost(air, name, eui64)
    device.stack.state.preconfigured_key = link_key(eui64)
    hub.stack.aps.transient_keys[eui64] = link_key(eui64)
    hub.stack.joining.permit(255)
    for _ in range(attempts):
        told = len(device.statuses())
        request = JoinRequest(CHANNEL, EXTENDED_PAN_ID, node_type)
        assert device.stack.joining.join(request) is Status.OK
        air.clock.run_until(lambda told=told: len(device.statuses()) > told)  # type: ignore[misc]
        if device.stack.is_up:
            break
    assert device.stack.is_up
    air.clock.run_for(0.1)
    return device


def smart_energy(options: int = OPTION_ENCRYPTION | OPTION_RETRY, group: int = 0) -> Aps:
    return Aps(SMART_ENERGY, OTA, 1, 1, options, group)
