"""The network stack of one node: it joins the layers and keeps the network's life.

Source: ZigBee specification 05-3474, 3.2.2 (forming, starting, leaving), 3.6.1 (frames), 3.6.5
(broadcasts), 4.3 (NWK security). Every node of a bench hears its hub: frames go to their
destination in one hop, and a frame for somebody else is not passed on yet (docs/open-points.md).

    state   call or event             next     effect
    ------  ------------------------  -------  -------------------------------------------
    DOWN    form                      UP       new network, StackStatus(NETWORK_UP)
    DOWN    resume, network stored    UP       StackStatus(NETWORK_UP)
    DOWN    resume, none stored       DOWN     NOT_JOINED is returned
    DOWN    join                      JOINING  see joining.py
    JOINING network key received      UP       StackStatus(NETWORK_UP), Device Announce
    JOINING refused, or no answer     DOWN     StackStatus(NO_BEACONS, JOIN_FAILED, …)
    UP      leave                     DOWN     Leave on the air, StackStatus(NETWORK_DOWN)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from emulator.medium.air import Medium
from emulator.medium.timing import RandomBits, Scheduler
from emulator.zigbee import nwk, zdo
from emulator.zigbee.aps_service import ApsService
from emulator.zigbee.events import Event, NodeType, StackStatus, Status
from emulator.zigbee.joining import Joining
from emulator.zigbee.mac import BROADCAST, MacFrame
from emulator.zigbee.mac_link import Done, MacLink, SendResult
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.security import FrameKey, SecurityError
from emulator.zigbee.state import (
    COUNTER_LIMIT,
    CounterExhausted,
    Network,
    ReservedCounter,
    StackState,
)
from emulator.zigbee.zdo import Endpoint

BROADCAST_MEMORY_US = 9_000_000  # nwkNetworkBroadcastDeliveryTime
MAX_BROADCASTS = 32
UNICAST_RETRIES = 3  # nwkcUnicastRetries
UNICAST_RETRY_DELAY_US = 50_000  # nwkcUnicastRetryDelay
COORDINATOR = 0x0000

Again = Callable[[], bytes | None]
"""Makes an APS frame anew, None when its counter is used up."""
CommandHandler = Callable[[bytes, NwkFrame, int], object]
"""Takes a NWK command (identifier first), its NWK header and the short address of the last hop."""


class Stack:
    """One node's stack. `state` is what survives; `save()` is called whenever it changed.

    `on_event` receives every Event, never from inside a call made on the stack by the host except
    where the call's doc says so.
    """

    def __init__(
        self,
        name: str,
        state: StackState,
        medium: Medium,
        clock: Scheduler,
        random_bits: RandomBits,
        *,
        on_event: Callable[[Event], object],
        save: Callable[[], object],
    ) -> None:
        self.state = state
        self.clock = clock
        self.random_bits = random_bits
        self.on_event = on_event
        self.save = save
        self.eui64_octets = state.eui64.to_bytes(8, "little")
        self.endpoints: dict[int, Endpoint] = {}
        self.manufacturer_code = 0
        self.passes_zdo_requests = False
        self.is_up = False
        self.replays_rejected = 0
        self.undecodable = 0
        self.nwk_counter = ReservedCounter(state.nwk_counter, self._reserve_nwk)
        self.aps_counter = ReservedCounter(state.aps_counter, self._reserve_aps)
        self.mac = MacLink(
            name,
            state.eui64,
            medium,
            clock,
            random_bits,
            receive_data=self._receive_nwk,
            receive_other=self._receive_other,
        )
        self.aps = ApsService(self)
        self.joining = Joining(self)
        self._key = FrameKey(bytes(16))
        self._leaving = False
        self._key_sequence = 0
        self._nwk_sequence = random_bits(8)
        self._incoming_counters: dict[bytes, int] = {}
        self._addresses: dict[int, bytes] = {}
        self._broadcasts: OrderedDict[tuple[int, int], int] = OrderedDict()
        self.command_handlers: dict[int, CommandHandler] = {nwk.COMMAND_LEAVE: self._leave_heard}

    # -- life ----------------------------------------------------------------------------------

    def form(self, network: Network) -> Status:
        """Start a network as its coordinator and trust centre."""
        if self.is_up or self.joining.is_busy:
            return Status.INVALID_CALL
        network.node_type = NodeType.COORDINATOR
        network.short_address = COORDINATOR
        network.trust_center_eui64 = self.state.eui64
        self.state.network = network
        self.state.devices.clear()
        self.save()
        self.come_up()
        return Status.OK

    def resume(self) -> Status:
        """Go on in the stored network, as after a reset: no frame is needed for that."""
        if self.is_up or self.joining.is_busy:
            return Status.INVALID_CALL
        if self.state.network is None:
            return Status.NOT_JOINED
        self.come_up()
        return Status.OK

    def come_up(self) -> None:
        """The stored network is complete: tune in, and say so (later, as an event)."""
        network = self.state.network
        assert network is not None
        if self._key.octets != network.key:
            self._incoming_counters.clear()  # counters count per key
            self._key = FrameKey(network.key)
        # Its own frames are never new to it: a recorded broadcast of its own is a replay.
        self._incoming_counters[self.state.eui64.to_bytes(8, "little")] = COUNTER_LIMIT + 1
        self._key_sequence = network.key_sequence
        self.mac.pan_id = network.pan_id
        self.mac.short_address = network.short_address
        self.mac.channel = network.channel
        self._addresses = {
            short: eui64.to_bytes(8, "little") for short, eui64 in self.state.devices.items()
        }
        if network.node_type is not NodeType.COORDINATOR:
            self._addresses[COORDINATOR] = network.trust_center_eui64.to_bytes(8, "little")
        self.aps.keys_changed()
        self.is_up = True
        self._tell_later(StackStatus(Status.NETWORK_UP))

    def leave(self) -> Status:
        """Leave the network and forget it, its keys and its devices."""
        network = self.state.network
        if not self.is_up or network is None or self._leaving or self.joining.is_busy:
            return Status.INVALID_CALL
        self._leaving = True
        self.send_command(
            nwk.BROADCAST_RX_ON, bytes((nwk.COMMAND_LEAVE, 0)), lambda _: self.forget_network()
        )
        return Status.OK

    def forget_network(self) -> None:
        """Go down and know no network, no keys and no devices any more; nothing is sent."""
        self.state.network = None
        self.state.devices.clear()
        self.state.link_keys = [None] * len(self.state.link_keys)
        self.save()
        self._go_down()

    def _go_down(self) -> None:
        self.is_up = self._leaving = False
        self.mac.channel = None
        self.mac.pan_id = self.mac.short_address = BROADCAST
        self.aps.clear()
        self._tell_later(StackStatus(Status.NETWORK_DOWN))

    def close(self) -> None:
        """Power off, without a word on the air."""
        self.is_up = False
        self.on_event = _nobody
        self.save = _nothing
        self.mac.close()
        self.aps.clear()
        self.joining.clear()

    def _tell_later(self, event: Event) -> None:
        self.clock.call_at_us(self.clock.now_us(), self._tell, event)

    def _tell(self, event: Event) -> None:
        self.on_event(event)

    def _reserve_nwk(self, reserved: int) -> None:
        self.state.nwk_counter = reserved
        self.save()

    def _reserve_aps(self, reserved: int) -> None:
        self.state.aps_counter = reserved
        self.save()

    # -- addresses -----------------------------------------------------------------------------

    @property
    def short_address(self) -> int:
        return self.mac.short_address

    def eui64_of(self, short_address: int) -> bytes | None:
        """The EUI-64 (8 octets, little-endian) of a node of this network, None if unknown."""
        if short_address == self.mac.short_address:
            return self.eui64_octets
        return self._addresses.get(short_address)

    def short_of(self, eui64: int) -> int | None:
        """The short address of the node with `eui64`, None if unknown."""
        if eui64 == self.state.eui64:
            return self.mac.short_address
        octets = eui64.to_bytes(8, "little")
        for short, known in self._addresses.items():
            if known == octets:
                return short
        return None

    def learn(self, short_address: int, eui64: int) -> None:
        """A node announced itself, or joined here: its old address is forgotten, durably."""
        octets = eui64.to_bytes(8, "little")
        if (
            self.state.devices.get(short_address) == eui64
            and self._addresses.get(short_address) == octets
        ):
            return
        for short in [short for short, known in self._addresses.items() if known == octets]:
            del self._addresses[short]
            self.state.devices.pop(short, None)
        self._addresses[short_address] = octets
        self.aps.keys_changed()
        self.state.devices[short_address] = eui64
        self.save()

    # -- sending -------------------------------------------------------------------------------

    def send_nwk(
        self,
        destination: int,
        payload: bytes,
        done: Done | None = None,
        again: Again | None = None,
        retries: int = UNICAST_RETRIES,
    ) -> None:
        """Send `payload` (an APS frame) under the network key to a node or a broadcast address.

        A unicast that the MAC layer gives up is sent again; `done` hears the end of it. `again`
        makes a payload under a link key anew: its counter, too, may be overtaken until then.
        """
        try:
            counter = self.nwk_counter.take()
        except CounterExhausted:
            self._refuse(done)
            return
        self._nwk_sequence = sequence = (self._nwk_sequence + 1) & 0xFF
        mac = self.mac
        frame = nwk.seal_data(
            self._key,
            destination,
            mac.short_address,
            nwk.MAX_RADIUS,
            sequence,
            counter,
            self.eui64_octets,
            self._key_sequence,
            payload,
        )
        if destination >= nwk.LOWEST_BROADCAST:
            self._is_old_broadcast(mac.short_address, sequence)
            mac.send_data(BROADCAST, frame, done)
        else:
            ended = partial(self._unicast_ended, destination, payload, done, again, retries)
            mac.send_data(destination, frame, ended)

    def _refuse(self, done: Done | None) -> None:
        if done is not None:
            self.clock.call_at_us(self.clock.now_us(), done, SendResult.COUNTER_ERROR)

    def _unicast_ended(
        self,
        destination: int,
        payload: bytes,
        done: Done | None,
        again: Again | None,
        retries: int,
        result: SendResult,
    ) -> None:
        if result is not SendResult.OK and retries and self.is_up:
            # Sealed anew: a counter overtaken in the meantime would be taken for a replay.
            again_us = self.clock.now_us() + UNICAST_RETRY_DELAY_US
            self.clock.call_at_us(
                again_us, self._retry, destination, payload, done, again, retries - 1
            )
        elif done is not None:
            done(result)

    def _retry(
        self,
        destination: int,
        payload: bytes,
        done: Done | None,
        again: Again | None,
        retries: int,
    ) -> None:
        if not self.is_up:
            return
        anew = payload if again is None else again()
        if anew is None:
            self._refuse(done)
        else:
            self.send_nwk(destination, anew, done, again, retries)

    def send_nwk_unsecured(
        self, destination: int, payload: bytes, done: Done | None = None
    ) -> None:
        """Send to a joiner that has no network key yet: only Transport Key goes this way."""
        self._nwk_sequence = sequence = (self._nwk_sequence + 1) & 0xFF
        header = nwk.HEADER.pack(
            nwk.UNSECURED_DATA_CONTROL, destination, self.mac.short_address, 1, sequence
        )
        self.mac.send_data(destination, header + payload, done)

    def send_command(
        self,
        destination: int,
        command: bytes,
        done: Done | None = None,
        *,
        destination_eui64: int | None = None,
        radius: int = 1,
    ) -> None:
        """Send a NWK command (its identifier first) under the network key, in one hop."""
        network = self.state.network
        assert network is not None
        try:
            counter = self.nwk_counter.take()
        except CounterExhausted:
            self._refuse(done)
            return
        self._nwk_sequence = sequence = (self._nwk_sequence + 1) & 0xFF
        control = nwk.COMMAND_CONTROL
        if destination_eui64 is not None:
            control |= nwk.DESTINATION_IEEE
        header = nwk.build_header(
            NwkFrame(
                control,
                destination,
                self.mac.short_address,
                radius,
                sequence,
                destination_eui64,
                self.state.eui64,
                (),
                0,
            )
        )
        frame = nwk.seal(
            self._key, header, counter, self.eui64_octets, network.key_sequence, command
        )
        broadcast = destination >= nwk.LOWEST_BROADCAST
        if broadcast:
            self._is_old_broadcast(self.mac.short_address, sequence)
        self.mac.send_data(BROADCAST if broadcast else destination, frame, done)

    # -- receiving -----------------------------------------------------------------------------

    def _receive_nwk(self, frame: bytes, mac_source: int, _mac_destination: int) -> None:
        try:
            plain = nwk.split_plain_data(frame)
            if plain is not None:
                control, destination, source, _, sequence, _, counter, eui64, key_sequence = plain
                at = nwk.HEADER_OCTETS
            else:
                header = nwk.parse(frame)
                control, destination, source, _, sequence, _, _, _, at = header
                if not control & nwk.SECURITY:
                    if not self.is_up:
                        self.joining.receive_unsecured(frame[at:])
                    return  # a running network takes nothing unsecured
                counter, eui64, key_sequence = nwk.parse_auxiliary(frame, at)
            if not self.is_up:
                return
            if key_sequence != self._key_sequence:
                self.undecodable += 1
                return
            if counter < self._incoming_counters.get(eui64, 0):
                self.replays_rejected += 1
                return
            payload = nwk.open_sealed(self._key, frame, at, eui64)
        except (NwkError, SecurityError):
            self.undecodable += 1
            return
        self._incoming_counters[eui64] = counter + 1
        if mac_source == source and self._addresses.get(source) != eui64:
            self._addresses[source] = eui64
            self.aps.keys_changed()
        if destination == self.mac.short_address:
            if not control & 0x0003:
                self.aps.receive(payload, source, False)
            elif control & 0x0003 == nwk.TYPE_COMMAND:
                self._receive_command(payload, nwk.parse(frame), mac_source)
        elif destination >= nwk.BROADCAST_ROUTERS and not self._is_old_broadcast(source, sequence):
            if not control & 0x0003:
                self.aps.receive(payload, source, True)
            elif control & 0x0003 == nwk.TYPE_COMMAND:
                self._receive_command(payload, nwk.parse(frame), mac_source)

    def _is_old_broadcast(self, source: int, sequence: int) -> bool:
        now_us = self.clock.now_us()
        seen = self._broadcasts
        until_us = seen.get((source, sequence))
        if until_us is not None and now_us < until_us:
            return True
        seen[(source, sequence)] = now_us + BROADCAST_MEMORY_US
        seen.move_to_end((source, sequence))
        if len(seen) > MAX_BROADCASTS:
            seen.popitem(last=False)
        return False

    def _receive_command(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        handler = self.command_handlers.get(command[0]) if command else None
        if handler is not None:
            handler(command, header, mac_source)

    def _leave_heard(self, _command: bytes, header: NwkFrame, _mac_source: int) -> None:
        if header.source_ieee is not None:
            self.joining.device_left(header.source, header.source_ieee)

    def _receive_other(self, frame: MacFrame) -> None:
        self.joining.receive_mac(frame)

    def forget_device(self, short_address: int) -> None:
        """A device left: its address may be given to another."""
        self._addresses.pop(short_address, None)
        self.aps.keys_changed()
        self.state.devices.pop(short_address, None)
        self.save()

    def announce(self) -> None:
        """Broadcast Device Announce, as every node does that has just joined."""
        self.aps.send_device_announce(zdo.device_announce(self))


def _nobody(_event: Event) -> None:
    """Who listens to a stack without power."""


def _nothing() -> None:
    """What a stack without power stores."""
