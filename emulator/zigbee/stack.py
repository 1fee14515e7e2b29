"""The network stack of one node: it joins the layers and keeps the network's life.

Source: ZigBee specification 05-3474, 3.2.2 (forming, starting, leaving), 3.6.1 (frames), 3.6.5
(broadcasts), 4.3 (NWK security). A frame for a node that is heard goes straight to it; for any
other, routing.py finds the next hop, and relaying.py passes on what others send.

    state   call or event             next     effect
    ------  ------------------------  -------  -------------------------------------------
    DOWN    form                      UP       new network, StackStatus(NETWORK_UP)
    DOWN    resume, network stored    UP       StackStatus(NETWORK_UP)
    DOWN    resume, none stored       DOWN     NOT_JOINED is returned
    DOWN    join                      JOINING  see joining.py
    JOINING network key received      UP       StackStatus(NETWORK_UP), Device Announce
    JOINING refused, or no answer     DOWN     StackStatus(NO_BEACONS, JOIN_FAILED, …)
    DOWN    resume, as an end device  JOINING  see rejoin.py
    any     rejoin, network stored    JOINING  see rejoin.py; nobody is told that it is down
    UP      leave                     DOWN     Leave on the air, StackStatus(NETWORK_DOWN)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from emulator.medium.air import Medium
from emulator.medium.timing import RandomBits, Scheduler
from emulator.zigbee import nwk, rejoin_commands, zdo
from emulator.zigbee.admission import Admission
from emulator.zigbee.aps_service import ApsService
from emulator.zigbee.children import Children
from emulator.zigbee.events import Event, NodeType, StackStatus, Status
from emulator.zigbee.joining import Joining
from emulator.zigbee.key_switch import KeySwitch, NetworkKey
from emulator.zigbee.mac import BROADCAST, MacFrame
from emulator.zigbee.mac_link import Done, MacLink, SendResult
from emulator.zigbee.neighbours import Neighbours
from emulator.zigbee.newcomers import Newcomers
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.nwk_commands import ROUTE_REQUEST
from emulator.zigbee.polling import Polling
from emulator.zigbee.rejoin import Rejoining
from emulator.zigbee.relaying import Relaying
from emulator.zigbee.routing import Routing
from emulator.zigbee.security import FrameKey, SecurityError
from emulator.zigbee.state import (
    COUNTER_LIMIT,
    CounterExhausted,
    Network,
    ReservedCounter,
    StackState,
)
from emulator.zigbee.trust_center import TrustCenter
from emulator.zigbee.trust_center_link import TrustCenterLink
from emulator.zigbee.zdo import Endpoint

BROADCAST_MEMORY_US = 9_000_000  # nwkNetworkBroadcastDeliveryTime
MAX_BROADCASTS = 32
MAX_LEARNED_ADDRESSES = 256  # beyond these nobody is believed as to a third node's address
UNICAST_RETRIES = 3  # nwkcUnicastRetries
UNICAST_RETRY_DELAY_US = 50_000  # nwkcUnicastRetryDelay
UNICAST_REPAIRS = 1  # then another way is looked for, once
COORDINATOR = 0x0000
Again = Callable[[], bytes | None]
"""Makes an APS frame anew, None when its counter is used up."""
CommandHandler = Callable[[bytes, NwkFrame, int], object]
"""Takes a NWK command (identifier first), its NWK header and the short address of the last hop."""


_OK = SendResult.OK  # looked up for every frame
_Unicast = tuple[int, bytes, Done | None, Again | None, int, int, int]
"""What `send_nwk` was called with."""

# Whom a broadcast address reaches (3.6.5, table 3.54); a sleeper hears only what is for all.
_LOWEST_BROADCASTS = {
    NodeType.COORDINATOR: nwk.BROADCAST_ROUTERS,
    NodeType.ROUTER: nwk.BROADCAST_ROUTERS,
    NodeType.END_DEVICE: nwk.BROADCAST_RX_ON,
}


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
        self.groups: dict[int, list[int]] = {}  # group: the endpoints that are in it
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
        self.mac.renew = self._renew
        self.command_handlers: dict[int, CommandHandler] = {nwk.COMMAND_LEAVE: self._leave_heard}
        self.neighbours = Neighbours(self)
        self.routing = Routing(self)
        self.relaying = Relaying(self)
        self._heard = self.neighbours.heard
        self._broadcast_hop = BROADCAST
        self._lowest_broadcast = nwk.BROADCAST_ROUTERS
        self.aps = ApsService(self)
        self.joining = Joining(self)
        self.children = Children(self)
        self.routing.end_devices = self.children.addresses
        self.newcomers = Newcomers(self)
        self.admission = Admission(self)
        self.rejoining = Rejoining(self)
        self.polling = Polling(self)
        self.key_switch = KeySwitch(self)
        self.trust_center = TrustCenter(self)
        self.trust_center_link = TrustCenterLink(self)
        self._key = FrameKey(bytes(16))
        self._leaving = False
        self._key_sequence = 0
        self._nwk_sequence = random_bits(8)
        self._incoming_counters = self.no_counters()
        self._addresses: dict[int, bytes] = {}
        self._broadcasts: OrderedDict[tuple[int, int], int] = OrderedDict()

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
        self.state.children.clear()
        self.save()
        self.come_up()
        return Status.OK

    def resume(self, *, rejoin: bool = True) -> Status:
        """Go on in the stored network, as after a reset. An end device asks its parent first, or
        another one, if it is to `rejoin`; for others no frame is needed.
        """
        network = self.state.network
        if self.is_up or self.joining.is_busy:
            return Status.INVALID_CALL
        if network is None:
            return Status.NOT_JOINED
        if rejoin and network.node_type.is_end_device:
            self._use_key(network)
            return self.rejoining.start([network.channel], secured=True)
        self.come_up()
        return Status.OK

    def come_up(self, status: Status = Status.NETWORK_UP) -> None:
        """The stored network is complete: tune in, and say so (later, as an event)."""
        network = self.state.network
        assert network is not None
        self._use_key(network)
        self.mac.sleeps = network.node_type.sleeps
        self.mac.pan_id = network.pan_id
        self.mac.short_address = network.short_address
        self.mac.channel = network.channel
        self._addresses = {
            short: eui64.to_bytes(8, "little") for short, eui64 in self.state.devices.items()
        }
        if network.node_type is not NodeType.COORDINATOR:
            self._addresses[COORDINATOR] = network.trust_center_eui64.to_bytes(8, "little")
        self.aps.keys_changed()
        self.polling.parent_lost = False
        self.children.load()
        self.is_up = True
        self._lowest_broadcast = _LOWEST_BROADCASTS.get(network.node_type, nwk.BROADCAST_ALL)
        self.neighbours.come_up()
        # A sleeper's broadcast would be missed by others that sleep: its parent says it for it.
        self._broadcast_hop = BROADCAST if self.neighbours.is_router else network.parent
        self.routing.come_up()
        self.tell_later(StackStatus(status))

    @property
    def is_trust_center(self) -> bool:
        """Whether this node decides who is let in, and gives keys out."""
        network = self.state.network
        return self.is_up and network is not None and network.trust_center_eui64 == self.state.eui64

    def no_counters(self) -> dict[bytes, int]:
        """The next frame counter accepted under a new key, per source: only of this node itself
        there is none, since what comes back to it is a replay."""
        return {self.eui64_octets: COUNTER_LIMIT + 1}

    def use_network_key(self, key: NetworkKey) -> NetworkKey:
        """Protect with `key` from now on; the one before it."""
        previous = NetworkKey(self._key_sequence, self._key, self._incoming_counters)
        self._key_sequence, self._key, self._incoming_counters = key
        return previous

    def _use_key(self, network: Network) -> None:
        if self._key.octets != network.key:
            self._incoming_counters = self.no_counters()  # counters count per key
            self._key = FrameKey(network.key)
        self._key_sequence = network.key_sequence
        self.key_switch.come_up()

    def suspend(self) -> None:
        """Down for a while, in order to rejoin: nobody is told, nothing is forgotten."""
        self.is_up = False
        self.mac.sleeps = False
        self.children.clear()
        self._clear_ways()

    def leave(self, *, rejoin: bool = False) -> Status:
        """Leave the network and forget it, its keys and its devices; or, to `rejoin`, say that one
        leaves and come back.
        """
        network = self.state.network
        if network is None or self._leaving or self.joining.is_busy:
            return Status.INVALID_CALL
        if not self.is_up:  # nobody is there who could be told
            self.forget_network()
            return Status.OK
        self._leaving = True
        options = rejoin_commands.LEAVE_REJOIN if rejoin else 0
        destination = nwk.BROADCAST_RX_ON if self.neighbours.is_router else network.parent

        def done(_result: SendResult) -> None:
            if not rejoin:
                self.forget_network()
            else:
                self._leaving = False
                self.rejoining.start([network.channel], secured=True)

        self.send_command(destination, rejoin_commands.leave(options), done)
        return Status.OK

    def forget_network(self) -> None:
        """Go down and know no network, no keys and no devices any more; nothing is sent."""
        self.state.network = None
        self.state.devices.clear()
        self.state.children.clear()
        self.state.link_keys = [None] * len(self.state.link_keys)
        self.save()
        self._go_down()

    def _go_down(self) -> None:
        self.suspend()
        self._leaving = False
        self.polling.stop()
        self.polling.parent_lost = False
        self.mac.channel = None
        self.mac.pan_id = self.mac.short_address = BROADCAST
        self.aps.clear()
        self.trust_center.clear()
        self.trust_center_link.clear()
        self.tell_later(StackStatus(Status.NETWORK_DOWN))

    def _clear_ways(self) -> None:
        self.neighbours.clear()
        self.routing.clear()
        self.relaying.clear()

    def close(self) -> None:
        """Power off, without a word on the air."""
        self.is_up = False
        self.on_event = _nobody
        self.save = _nothing
        self.children.clear()
        self.polling.stop()
        self.rejoining.clear()
        self.mac.close()
        self.aps.close()
        self.joining.clear()
        self._clear_ways()
        self.trust_center.clear()
        self.trust_center_link.clear()

    def tell_later(self, event: Event) -> None:
        """Tell the host once whoever calls now has returned."""
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

    def incoming_counter(self, eui64: int) -> int | None:
        """The next NWK frame counter accepted from a neighbour, None if it was never heard."""
        return self._incoming_counters.get(eui64.to_bytes(8, "little"))

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
            self.routing.forget(short)
        self._addresses[short_address] = octets
        self.aps.keys_changed()
        self.state.devices[short_address] = eui64
        self.save()

    def learn_address(self, short_address: int, eui64: int | None) -> None:
        """Another node told whose address this is: believed where nothing is known yet."""
        if (
            eui64 is not None
            and short_address not in self._addresses
            and len(self._addresses) < MAX_LEARNED_ADDRESSES
        ):
            self._addresses[short_address] = eui64.to_bytes(8, "little")
            self.aps.keys_changed()

    # -- sending -------------------------------------------------------------------------------

    def send_nwk(
        self,
        destination: int,
        payload: bytes,
        done: Done | None = None,
        again: Again | None = None,
        retries: int = UNICAST_RETRIES,
        repairs: int = UNICAST_REPAIRS,
        radius: int = nwk.MAX_RADIUS,
    ) -> None:
        """Send `payload` (an APS frame) under the network key to a node or a broadcast address.

        A unicast that the MAC layer gives up is sent again, then by another way; `done` hears the
        end of it. `again` makes a payload under a link key anew: its counter, too, may be
        overtaken until then.
        """
        next_hop = destination
        relays: tuple[int, ...] = ()
        if destination not in self._heard:
            if destination >= nwk.LOWEST_BROADCAST:
                next_hop = self._broadcast_hop
            else:
                way = self.routing.way_to(destination, len(payload))
                if way is None:
                    args = (destination, payload, done, again, retries, repairs, radius)
                    self.routing.discover(destination, partial(self._send_waiting, *args), done)
                    return
                next_hop, relays = way
        try:
            counter = self.nwk_counter.take()
        except CounterExhausted:
            self._refuse(done)
            return
        self._nwk_sequence = sequence = (self._nwk_sequence + 1) & 0xFF
        mac = self.mac
        if relays:
            header = nwk.build_header(
                NwkFrame(
                    nwk.DATA_CONTROL,
                    destination,
                    mac.short_address,
                    radius,
                    sequence,
                    None,
                    None,
                    relays,
                    0,
                    len(relays) - 1,
                )
            )
            frame = nwk.seal(
                self._key, header, counter, self.eui64_octets, self._key_sequence, payload
            )
        else:
            frame = nwk.seal_data(
                self._key,
                destination,
                mac.short_address,
                radius,
                sequence,
                counter,
                self.eui64_octets,
                self._key_sequence,
                payload,
            )
        if destination >= nwk.LOWEST_BROADCAST:
            self._is_old_broadcast(mac.short_address, sequence)
            mac.send_data(next_hop, frame, done)
            if destination == nwk.BROADCAST_ALL:
                self.children.hold_broadcast(frame)
        else:
            args = (destination, payload, done, again, retries, repairs, radius)
            mac.send_data(next_hop, frame, partial(self._unicast_ended, next_hop, args))

    def _refuse(self, done: Done | None) -> None:
        if done is not None:
            self.clock.call_at_us(self.clock.now_us(), done, SendResult.COUNTER_ERROR)

    def _send_waiting(self, *unicast: Any) -> None:
        """A way was found for a frame that waited for one."""
        if self.is_up:
            self.send_nwk(*unicast)

    def _unicast_ended(self, next_hop: int, unicast: _Unicast, result: SendResult) -> None:
        done = unicast[2]
        if result is _OK or result is SendResult.EXPIRED or not self.is_up:
            if done is not None:
                done(result)
            return
        retries, repairs = unicast[4:6]
        if retries:
            # Sealed anew: a counter overtaken in the meantime would be taken for a replay.
            again_us = self.clock.now_us() + UNICAST_RETRY_DELAY_US
            self.clock.call_at_us(again_us, self._retry, unicast, retries - 1, repairs)
        else:
            is_silent = result is SendResult.NO_ACK
            if is_silent:
                self.routing.hop_failed(next_hop)
            if is_silent and repairs and self.neighbours.is_router:
                self._retry(unicast, UNICAST_RETRIES, repairs - 1)
            elif done is not None:
                done(result)

    def _retry(self, unicast: _Unicast, retries: int, repairs: int) -> None:
        if not self.is_up:
            return
        destination, payload, done, again, _, _, radius = unicast
        anew = payload if again is None else again()
        if anew is None:
            self._refuse(done)
        else:
            self.send_nwk(destination, anew, done, again, retries, repairs, radius)

    def send_nwk_unsecured(
        self, destination: int, payload: bytes, done: Done | None = None
    ) -> None:
        """Send to a joiner that has no network key yet: only Transport Key goes this way."""
        self._nwk_sequence = sequence = (self._nwk_sequence + 1) & 0xFF
        header = nwk.HEADER.pack(
            nwk.UNSECURED_DATA_CONTROL, destination, self.mac.short_address, 1, sequence
        )
        self.mac.send_data(destination, header + payload, done)

    def _renew(self, frame: bytes) -> bytes:
        """A frame that waited for a sleeper, under a counter that nothing sent since overtook: who
        heard that would take it for a replay.
        """
        try:
            header = nwk.parse(frame)
            at = header.header_octets
            if not header.secured:
                return frame
            counter, eui64, _ = nwk.parse_auxiliary(frame, at)
            if counter + 1 == self.nwk_counter.next_value:
                return frame
            payload = nwk.open_sealed(self._key, frame, at, eui64)
            counter = self.nwk_counter.take()
        except (NwkError, SecurityError, CounterExhausted):
            return frame  # under an old key: whoever can read it may
        return nwk.seal(
            self._key, frame[:at], counter, self.eui64_octets, self._key_sequence, payload
        )

    def send_command(
        self,
        destination: int,
        command: bytes,
        done: Done | None = None,
        *,
        destination_eui64: int | None = None,
        radius: int = 1,
        secured: bool = True,
    ) -> None:
        """Send a NWK command (its identifier first) under the network key.

        With a radius of 1 to a neighbour, else also by a route that is known: none is looked for,
        since it is commands that look for routes. Without security: only to or from a node that
        has not got the network key and asks to rejoin.
        """
        self._nwk_sequence = sequence = (self._nwk_sequence + 1) & 0xFF
        control = nwk.COMMAND_CONTROL if secured else nwk.COMMAND_CONTROL & ~nwk.SECURITY
        if destination_eui64 is not None:
            control |= nwk.DESTINATION_IEEE
        header = NwkFrame(
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
        if not secured:
            self.mac.send_data(destination, nwk.build_header(header) + command, done)
        elif destination >= nwk.LOWEST_BROADCAST:
            self._is_old_broadcast(self.mac.short_address, sequence)
            self.forward(header, command, self._broadcast_hop, done)
        else:
            next_hop = self.routing.hop_to(destination) if radius > 1 else destination
            self.forward(header, command, destination if next_hop is None else next_hop, done)

    def forward(
        self, header: NwkFrame, payload: bytes, next_hop: int, done: Done | None = None
    ) -> None:
        """Hand a frame with any header, under this node's own counter, to the next hop."""
        try:
            counter = self.nwk_counter.take()
        except CounterExhausted:
            self._refuse(done)
            return
        frame = nwk.seal(
            self._key,
            nwk.build_header(header),
            counter,
            self.eui64_octets,
            self._key_sequence,
            payload,
        )
        self.mac.send_data(next_hop, frame, done)
        if header.destination == nwk.BROADCAST_ALL:
            self.children.hold_broadcast(frame)

    # -- receiving -----------------------------------------------------------------------------

    def _receive_nwk(self, frame: bytes, mac_source: int, mac_destination: int) -> None:
        try:
            plain = nwk.split_plain_data(frame)
            if plain is not None:
                control, destination, source, _, sequence, _, counter, eui64, key_sequence = plain
                at = nwk.HEADER_OCTETS
            else:
                header = nwk.parse(frame)
                control, destination, source, _, sequence = header[:5]
                at = header.header_octets
                if not control & nwk.SECURITY:
                    self._receive_unsecured(frame[at:], header, mac_source)
                    return
                counter, eui64, key_sequence = nwk.parse_auxiliary(frame, at)
            if not self.is_up and not self.rejoining.awaits_answer:
                return
            key, counters = self._key, self._incoming_counters
            other = None
            if key_sequence != self._key_sequence:
                other = self.key_switch.other(key_sequence)
                if other is None:
                    self.undecodable += 1
                    return
                _, key, counters = other
            if counter < counters.get(eui64, 0):
                self.replays_rejected += 1
                return
            payload = nwk.open_sealed(key, frame, at, eui64)
        except (NwkError, SecurityError):
            self.undecodable += 1
            return
        counters[eui64] = counter + 1
        if other is not None:
            self.key_switch.heard_under(other)
        if mac_source == source:
            if self._addresses.get(source) != eui64:
                self.routing.conflicts.claimed(source, eui64)
                self._addresses[source] = eui64
                self.aps.keys_changed()
        elif self.children.has(source):
            self._child_heard_by_relay(source, sequence, destination)
        if mac_source not in self._heard and self._addresses.get(mac_source) == eui64:
            self.neighbours.hear(mac_source)
        if destination == self.mac.short_address:
            if not control & 0x0003:
                self.aps.receive(payload, source, False)
            elif control & 0x0003 == nwk.TYPE_COMMAND:
                self._receive_command(payload, nwk.parse(frame), mac_source)
        elif destination >= nwk.BROADCAST_ROUTERS:
            self._receive_broadcast(nwk.parse(frame), payload, mac_source)
        elif mac_destination == self.mac.short_address:
            self.relaying.relay(nwk.parse(frame), payload, mac_source)

    def _receive_broadcast(self, header: NwkFrame, payload: bytes, mac_source: int) -> None:
        is_command = header.frame_type == nwk.TYPE_COMMAND
        if is_command and payload[:1] == _ROUTE_REQUEST:
            # A copy that came a cheaper way counts, though the frame was heard before.
            self.routing.receive_request(payload, header, mac_source)
            return
        if self._is_old_broadcast(header.source, header.sequence):
            return
        if header.destination >= self._lowest_broadcast:
            if header.frame_type == nwk.TYPE_DATA:
                self.aps.receive(payload, header.source, True)
            elif is_command:
                self._receive_command(payload, header, mac_source)
        self.relaying.repeat(header, payload)

    def _child_heard_by_relay(self, source: int, sequence: int, destination: int) -> None:
        """What a child says reaches its parent first: this one has another parent now. (What this
        node passed on for it may come by again, and is no sign of that.)
        """
        if destination == self.mac.short_address or (
            destination >= nwk.BROADCAST_ROUTERS and (source, sequence) not in self._broadcasts
        ):
            self.children.heard_behind_another(source)

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

    def _receive_unsecured(self, rest: bytes, header: NwkFrame, mac_source: int) -> None:
        """A running network takes nothing unsecured, but for who asks to rejoin."""
        if header.frame_type == nwk.TYPE_COMMAND:
            if self.is_up:
                self.newcomers.receive_unsecured(rest, header, mac_source)
            else:
                self.rejoining.receive_unsecured(rest, header, mac_source)
        elif not self.is_up:
            self.joining.receive_unsecured(rest)

    def _leave_heard(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        try:
            options = rejoin_commands.parse_leave(command)
        except NwkError:
            self.undecodable += 1
            return
        rejoins = bool(options & rejoin_commands.LEAVE_REJOIN)
        if options & rejoin_commands.LEAVE_REQUEST:
            if self._may_ask_to_leave(header, mac_source):
                self._leave_asked(rejoins)
        elif header.source_ieee is not None:
            self.children.left(header.source, header.source_ieee, rejoins=rejoins)

    def _may_ask_to_leave(self, header: NwkFrame, mac_source: int) -> bool:
        """Only its parent sends an end device away; nobody the coordinator."""
        network = self.state.network
        if not self.is_up or network is None or header.destination != self.mac.short_address:
            return False
        if network.node_type.is_end_device:
            return header.source == mac_source == network.parent
        return network.node_type is NodeType.ROUTER

    def _leave_asked(self, rejoins: bool) -> None:
        network = self.state.network
        assert network is not None
        if rejoins:
            self.rejoining.start([network.channel], secured=True)
        else:
            self.leave()

    def _receive_other(self, frame: MacFrame) -> None:
        self.joining.receive_mac(frame)

    def forget_device(self, short_address: int) -> None:
        """A device left: its address may be given to another."""
        self._addresses.pop(short_address, None)
        self.routing.forget(short_address)
        self.aps.keys_changed()
        self.state.devices.pop(short_address, None)
        self.save()

    def announce(self) -> None:
        """Broadcast Device Announce, as every node does that has just joined."""
        self.aps.send_device_announce(zdo.device_announce(self))


_ROUTE_REQUEST = bytes((ROUTE_REQUEST,))


def _nobody(_event: Event) -> None:
    """Who listens to a stack without power."""


def _nothing() -> None:
    """What a stack without power stores."""
