"""The NWK data service of one stack: frames out under the network key, frames in, and their ends.

Source: ZigBee specification 05-3474, 3.2.1 (NLDE), 3.6.2 (transmission and reception), 3.6.5
(broadcasts), 4.3 (NWK security). Where a frame goes is for routing.py to say; what is for others
goes to relaying.py.

    a unicast    event                                next       effect
    -----------  -----------------------------------  ---------  ----------------------------------
    (none)       its next hop is known                UNDER_WAY  sealed, handed to the MAC layer
    (none)       it is not                            SOUGHT     routing.py looks for a way
    SOUGHT       found                                UNDER_WAY
    SOUGHT       not found                            (gone)     done(NO_ACK)
    UNDER_WAY    acknowledged, or held too long       (gone)     done(OK), done(EXPIRED)
    UNDER_WAY    not, tries left                      UNDER_WAY  again after 50 ms, sealed anew
    UNDER_WAY    not, none left, a repair left        SOUGHT     the next hop is forgotten
    UNDER_WAY    not, nothing left                    (gone)     done(NO_ACK)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from emulator.medium.timing import RandomBits, Scheduler
from emulator.zigbee import nwk
from emulator.zigbee.key_switch import NetworkKey
from emulator.zigbee.mac import BROADCAST
from emulator.zigbee.mac_link import Done, MacLink, SendResult
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.nwk_commands import ROUTE_REQUEST
from emulator.zigbee.security import FrameKey, SecurityError
from emulator.zigbee.state import (
    COUNTER_LIMIT,
    CounterExhausted,
    Network,
    ReservedCounter,
    StackState,
)

if TYPE_CHECKING:
    from emulator.zigbee.aps_service import ApsService
    from emulator.zigbee.children import Children
    from emulator.zigbee.joining import Joining
    from emulator.zigbee.key_switch import KeySwitch
    from emulator.zigbee.neighbours import Neighbours
    from emulator.zigbee.newcomers import Newcomers
    from emulator.zigbee.rejoin import Rejoining
    from emulator.zigbee.relaying import Relaying
    from emulator.zigbee.routing import Routing

BROADCAST_MEMORY_US = 9_000_000  # nwkNetworkBroadcastDeliveryTime
MAX_BROADCASTS = 32
UNICAST_RETRIES = 3  # nwkcUnicastRetries
UNICAST_RETRY_DELAY_US = 50_000  # nwkcUnicastRetryDelay
UNICAST_REPAIRS = 1  # then another way is looked for, once

Again = Callable[[], bytes | None]
"""Makes an APS frame anew, None when its counter is used up."""
CommandHandler = Callable[[bytes, NwkFrame, int], object]
"""Takes a NWK command (identifier first), its NWK header and the short address of the last hop."""


_OK = SendResult.OK  # looked up for every frame
_Unicast = tuple[int, bytes, Done | None, Again | None, int, int, int]
"""What `send_nwk` was called with."""

_ROUTE_REQUEST = bytes((ROUTE_REQUEST,))


class NwkService:
    """Sends and receives NWK frames; the base of `Stack`, which owns the layers named here."""

    state: StackState
    clock: Scheduler
    random_bits: RandomBits
    eui64_octets: bytes
    is_up: bool
    replays_rejected: int
    undecodable: int
    nwk_counter: ReservedCounter
    mac: MacLink
    aps: ApsService
    neighbours: Neighbours
    routing: Routing
    relaying: Relaying
    children: Children
    joining: Joining
    newcomers: Newcomers
    rejoining: Rejoining
    key_switch: KeySwitch
    command_handlers: dict[int, CommandHandler]

    def __init__(self) -> None:
        self._heard = self.neighbours.heard
        self._broadcast_hop = BROADCAST
        self._lowest_broadcast = nwk.BROADCAST_ROUTERS
        self._key = FrameKey(bytes(16))
        self._key_sequence = 0
        self._nwk_sequence = self.random_bits(8)
        self._incoming_counters = self.no_counters()
        self._addresses: dict[int, bytes] = {}
        self._broadcasts: OrderedDict[tuple[int, int], int] = OrderedDict()

    # -- keys ----------------------------------------------------------------------------------

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
