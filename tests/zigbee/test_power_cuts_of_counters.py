"""Frame counters over power cuts at any save: never used twice, and what was heard stays heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from air_support import (
    CHANNEL,
    Air,
    StackHost,
    form,
    join,
    link_key,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from emulator.zigbee import aps, mac, nwk
from emulator.zigbee.events import Status
from emulator.zigbee.key_switch import COUNTER_RESET_THRESHOLD
from emulator.zigbee.security import (
    KEY_ID_DATA,
    KEY_ID_KEY_LOAD,
    KEY_ID_KEY_TRANSPORT,
    FrameKey,
    SecurityError,
    key_load_key,
    key_transport_key,
)
from emulator.zigbee.stack import Stack
from emulator.zigbee.state import COUNTER_LIMIT, COUNTER_STEP, StackState
from emulator.zigbee.trust_center import TrustCenterKeyPolicy

BRIDGE = 0x0011223344556677


class PowerCut(Exception):
    """The node that was just saving is dark."""


class CutHost(StackHost):
    """A node whose power can be cut at a save: before the octets are there, or right after."""

    saves_left = -1
    cut_before = True

    def _boot(self) -> Stack:
        stack = super()._boot()
        store = stack.save

        def save() -> None:
            if self.saves_left == 0 and self.cut_before:
                self.saves_left = -1
                raise PowerCut
            store()
            if self.saves_left == 0:
                self.saves_left = -1
                raise PowerCut
            self.saves_left -= self.saves_left > 0

        stack.save = save
        return stack


class FramesUnderKeys:
    """Reads every frame of an air that it can, and remembers which counter each key saw."""

    def __init__(self, air: Air) -> None:
        self._air = air
        self._read = 0
        self.network_keys: dict[bytes, FrameKey] = {}
        self.link_keys: set[bytes] = set()
        self.used: dict[tuple[object, ...], bytes] = {}

    def add_keys_of(self, *hosts: StackHost) -> None:
        for host in hosts:
            state = host.stack.state
            if state.network is not None:
                for key in (state.network.key, state.network.next_key):
                    if key is not None:
                        self.network_keys[key] = FrameKey(key)
            self.link_keys |= {entry.key for entry in state.link_keys if entry is not None}
            if state.preconfigured_key is not None:
                self.link_keys.add(state.preconfigured_key)

    def check(self) -> None:
        """No key has seen the same counter of the same source in two different frames."""
        for _, psdu in self._air.frames[self._read :]:
            if psdu[0] & 7 == 1:
                self._frame(psdu[9:-2])
        self._read = len(self._air.frames)

    def _frame(self, frame: bytes) -> None:
        header = nwk.parse(frame)
        at = header.header_octets
        if not header.secured:
            self._aps(frame[at:], None)
            return
        counter, eui64, _ = nwk.parse_auxiliary(frame, at)
        for octets, key in self.network_keys.items():
            try:
                payload = nwk.open_sealed(key, frame, at, eui64)
            except SecurityError:
                continue
            self._once(("nwk", octets, eui64, counter), frame)
            if header.frame_type == nwk.TYPE_DATA:
                self._aps(payload, eui64)
            return
        raise AssertionError("a frame under a key that nobody has")

    def _aps(self, frame: bytes, source: bytes | None) -> None:
        if not frame[0] & aps.SECURITY:
            return
        if frame[0] & 3 == aps.TYPE_COMMAND:
            command = aps.parse_command(frame)
            eui64 = command.source_eui64 or source
            derive: dict[int | None, Callable[[bytes], bytes]] = {
                KEY_ID_DATA: lambda key: key,
                KEY_ID_KEY_TRANSPORT: key_transport_key,
                KEY_ID_KEY_LOAD: key_load_key,
            }
            for key in self.link_keys:
                try:
                    frame_key = FrameKey(derive[command.key_id](key))
                    aps.open_command(frame_key, frame, command, eui64 or b"")
                except SecurityError:
                    continue
                self._once(("aps", key, eui64, command.counter), frame)
            return
        at = aps.parse(frame).header_octets
        assert source is not None
        for key in self.link_keys:
            try:
                aps.open_sealed(FrameKey(key), frame, at, source)
            except SecurityError:
                continue
            self._once(("aps", key, source, aps.counter_of(frame, at)), frame)

    def _once(self, nonce: tuple[object, ...], frame: bytes) -> None:
        # The MAC layer may send the same octets again: that tells nobody anything new.
        assert self.used.setdefault(nonce, frame) == frame, f"{nonce[0]} counter used twice"


class PowerCuts(RuleBasedStateMachine):
    """Two nodes talk, change keys and lose power; every frame is looked at."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.air = Air(seed)
        hub = form(self.air)
        self.reader = FramesUnderKeys(self.air)
        bridge = join(self.air, hub, "bridge", BRIDGE)
        hub.stack.state.put_link_key(BRIDGE, link_key(BRIDGE))
        hub.stack.save()
        self.hosts: list[CutHost] = []
        self.armed: CutHost | None = None
        for host in (hub, bridge):
            host.stack.close()
            again = CutHost(self.air, host.name, 0, StackState.from_json(host.stored))
            assert again.stack.resume() is Status.OK
            again.stack.trust_center.trust_center_key_policy = TrustCenterKeyPolicy.GENERATE_NEW
            self.hosts.append(again)
        self.guarded(self.air.clock.run_for, 0.5)

    def guarded(self, call: Callable[..., Any], *args: Any) -> None:
        """`call(*args)`; whoever's power is cut in it starts again from what it stored."""
        self.reader.add_keys_of(*self.hosts)
        try:
            call(*args)
        except PowerCut:
            host, self.armed = self.armed, None
            assert host is not None
            host.power_cycle(resume=True)
            host.stack.trust_center.trust_center_key_policy = TrustCenterKeyPolicy.GENERATE_NEW
        self.reader.add_keys_of(*self.hosts)

    @rule(who=st.integers(0, 1), saves=st.integers(0, 3), before=st.booleans())
    def arm(self, who: int, saves: int, before: bool) -> None:
        if self.armed is None:
            self.armed = self.hosts[who]
            self.armed.saves_left, self.armed.cut_before = saves, before

    @rule(who=st.integers(0, 1), times=st.integers(1, 8))
    def talk(self, who: int, times: int) -> None:
        for _ in range(times):
            self.guarded(lambda: self.hosts[who].send(self.hosts[1 - who]))
            self.guarded(self.air.clock.run_for, 0.2)

    @rule(who=st.integers(0, 1), ahead=st.sampled_from([COUNTER_STEP, COUNTER_STEP - 3, 1]))
    def count_on(self, who: int, ahead: int) -> None:
        """As after many frames."""
        stack = self.hosts[who].stack
        for counter in (stack.nwk_counter, stack.aps_counter):
            self.guarded(lambda c=counter: [c.take() for _ in range(ahead)])  # type: ignore[misc]

    @rule()
    def next_key(self) -> None:
        self.guarded(self.hosts[0].stack.key_switch.broadcast_next, bytes(16))
        self.guarded(self.air.clock.run_for, 10)

    @rule(who=st.integers(0, 1), far=st.booleans(), saves=st.integers(-1, 1), before=st.booleans())
    def switch(self, who: int, far: bool, saves: int, before: bool) -> None:
        """With a counter that begins anew or not, and with a power cut in it or not."""
        host = self.hosts[who]
        if host.stack.state.network is not None and host.stack.state.network.next_key is None:
            self.next_key()
        if far and host.stack.nwk_counter.next_value < COUNTER_RESET_THRESHOLD:
            self.guarded(host.stack.nwk_counter.restart, COUNTER_RESET_THRESHOLD)
        if saves >= 0:
            self.arm(who, saves, before)
        self.guarded(self.hosts[0].stack.key_switch.broadcast_switch)
        self.guarded(self.air.clock.run_for, 0.5)
        self.talk(who, 2)

    @rule()
    def new_link_key(self) -> None:
        self.guarded(self.hosts[1].stack.trust_center_link.update_link_key, 1)
        for _ in range(20):
            self.guarded(self.air.clock.run_for, 0.1)

    @rule(who=st.integers(0, 1))
    def power_cycle(self, who: int) -> None:
        self.guarded(self.hosts[who].power_cycle)
        self.guarded(self.hosts[who].stack.resume)

    @invariant()
    def no_counter_was_used_twice(self) -> None:
        if hasattr(self, "reader"):
            self.reader.check()

    def teardown(self) -> None:
        for host in getattr(self, "hosts", []):
            host.stack.close()


TestPowerCuts = PowerCuts.TestCase
TestPowerCuts.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


# -- what was heard ---------------------------------------------------------------------------


def recorded_by(air: Air, since: int) -> list[bytes]:
    return [psdu[:-2] for _, psdu in air.frames[since:] if len(psdu) > 54]


def say_again(air: Air, recorded: list[bytes]) -> None:
    stranger = air.medium.attach("stranger", lambda _: None)
    stranger.channel = CHANNEL
    for number, mpdu in enumerate(recorded):
        fresh = mpdu[:2] + bytes((number + 100 & 0xFF,)) + mpdu[3:]
        stranger.transmit(fresh + mac.fcs(fresh), air.clock.now_us())
        air.clock.run_for(0.05)
    air.medium.detach(stranger)


@pytest.mark.parametrize("who", ["hub", "bridge"])
def test_after_a_power_cut_frames_from_before_the_stored_step_are_still_replays(who: str) -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    hub.stack.state.put_link_key(BRIDGE, link_key(BRIDGE))
    hub.stack.aps.keys_changed()
    hub.stack.save()
    sender, receiver = (bridge, hub) if who == "hub" else (hub, bridge)
    for _ in range(3):
        sender.send(receiver, b"long ago")
        air.clock.run_for(0.2)
    recorded = recorded_by(air, len(air.frames) - 20)
    for _ in range(COUNTER_STEP):
        sender.stack.aps_counter.take()
    sender.send(receiver, b"much later")
    air.clock.run_for(10)
    receiver.power_cycle(resume=True)
    say_again(air, recorded)
    assert receiver.received().count(b"long ago") == 3
    assert receiver.stack.replays_rejected > 0
    sender.send(receiver, b"now")
    air.clock.run_for(1)
    assert receiver.received()[-1] == b"now"


def test_a_message_does_not_cost_a_write_but_a_thousand_do() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    bridge.send(hub)
    air.clock.run_for(1)
    writes = 0
    store = hub.stack.save

    def save() -> None:
        nonlocal writes
        writes += 1
        store()

    hub.stack.save = save
    hub.stack.nwk_counter.restart(0)  # its own reservations are not what is counted
    hub.stack.aps_counter.restart(0)
    for counter in (hub.stack.nwk_counter, hub.stack.aps_counter):
        counter.take()
    writes = 0
    for _ in range(50):
        bridge.send(hub)
        air.clock.run_for(0.1)
    assert writes == 0
    for _ in range(COUNTER_STEP):
        bridge.stack.aps_counter.take()
    bridge.send(hub)
    air.clock.run_for(0.1)
    assert writes == 1


def test_the_last_counter_there_is_goes_out_and_is_heard() -> None:
    air = Air()
    hub = form(air)
    bridge = join(air, hub, "bridge", BRIDGE)
    last = COUNTER_LIMIT - COUNTER_STEP
    bridge.stack.aps_counter.restart(last)
    bridge.send(hub, b"near the end")
    air.clock.run_for(1)
    assert hub.received()[-1] == b"near the end"
    hub.stack.save()
    assert StackState.from_json(hub.stored).eui64 == hub.stack.state.eui64
