"""The network key and the one that takes its place: given out first, switched to later.

Source: ZigBee specification 05-3474 (R21), 4.6.3.4 (network key update), 4.3.1.2 (incoming frames:
a frame under a newer key switches), 4.4.10.6 (Switch Key), 3.5.2 (frame counters per key).

    keys here          event                                  keys then          effect
    -----------------  -------------------------------------  -----------------  ----------------
    active             Transport Key, of a newer sequence     active, next       stored
    active, next       Transport Key, of a newer sequence     active, next       the later replaces
    active, next       Switch Key of next's sequence          active, previous   switched
    active, next       a frame under next's that opens        active, previous   switched
    active, previous   a frame under previous's that opens    the same           taken
    any                Switch Key or frame of another         the same           nothing; counted

The trust centre gives keys out (to all, or one by one) and switches. Whoever missed the next key
hears nothing after the switch, and has to rejoin. The previous key is not stored: it is for those
that switch a little later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from emulator.zigbee import nwk
from emulator.zigbee.aps import ApsError, TransportKey
from emulator.zigbee.aps_commands import COMMAND_SWITCH_KEY, SwitchKey, build, parse
from emulator.zigbee.events import NetworkKeySwitched, Status
from emulator.zigbee.security import KEY_ID_KEY_TRANSPORT, KEY_OCTETS, FrameKey
from emulator.zigbee.state import Network

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

BROADCAST_DELIVERY_US = 9_000_000  # nwkNetworkBroadcastDeliveryTime: before it, no Switch Key
COUNTER_RESET_THRESHOLD = 0x80000000
"""A counter at or above it begins anew with a new key; one below it goes on (R21, 4.3.1.1)."""

_TRUST_CENTER = 0x0000


class NetworkKey(NamedTuple):
    """A key by its sequence, and per source the next counter that is no replay."""

    sequence: int
    frame_key: FrameKey
    incoming_counters: dict[bytes, int]


def is_newer(sequence: int, than: int) -> bool:
    """Whether a key's sequence comes after another's; it wraps at 256."""
    return 0 < (sequence - than) & 0xFF < 0x80


class KeySwitch:
    """The network keys of one stack beside the one in use."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._next: NetworkKey | None = None
        self._previous: NetworkKey | None = None
        self._switch_from_us = 0
        stack.aps.command_handlers[COMMAND_SWITCH_KEY] = self._switch_key_heard

    def come_up(self) -> None:
        """The network is the stored one."""
        network = self._network
        self._previous = self._next = None
        if network.next_key is not None:
            self._next = self._key(network.next_key_sequence, network.next_key)

    def _key(self, sequence: int, octets: bytes) -> NetworkKey:
        return NetworkKey(sequence, FrameKey(octets), self._stack.no_counters())

    @property
    def _network(self) -> Network:
        network = self._stack.state.network
        assert network is not None
        return network

    # -- frames under another key than the active one ------------------------------------------

    def other(self, sequence: int) -> NetworkKey | None:
        """The next or previous key, if it has this sequence."""
        for key in (self._next, self._previous):
            if key is not None and key.sequence == sequence:
                return key
        return None

    def heard_under(self, key: NetworkKey) -> None:
        """A frame under `key` opened: who has it in use has been told to switch."""
        if key is self._next:
            self._switch(key)

    # -- as trust centre -----------------------------------------------------------------------

    def broadcast_next(self, key: bytes) -> Status:
        """Give the next key to all that hear it; 16 zeros let this stack choose one."""
        status = self._choose(key)
        if status is Status.OK:
            network = self._network
            assert network.next_key is not None
            command = self._transport_key(network, 0)
            status = self._stack.aps.commands.send(nwk.BROADCAST_ALL, build(command))
            clock = self._stack.clock
            self._switch_from_us = clock.now_us() + BROADCAST_DELIVERY_US
        return status

    def unicast_next(self, destination: int, eui64: int, key: bytes) -> Status:
        """Give the next key to one device, under the key shared with it. The first time, and with
        another key than before, it becomes the next one here too; 16 zeros are the one there is.
        """
        network = self._stack.state.network
        known = None if network is None else network.next_key
        if known is None or key not in (known, bytes(KEY_OCTETS)):
            status = self._choose(key)
            if status is not Status.OK:
                return status
        command = self._transport_key(self._network, eui64)
        send = self._stack.aps.commands.send
        return send(destination, build(command), key_id=KEY_ID_KEY_TRANSPORT)

    def broadcast_switch(self) -> Status:
        """Tell all to use the next key, and do so."""
        stack = self._stack
        key = self._next
        if not stack.is_trust_center or key is None:
            return Status.INVALID_CALL
        if stack.clock.now_us() < self._switch_from_us:
            return Status.TOO_SOON_FOR_SWITCH_KEY
        # Still under the old key: nobody has been told yet.
        status = stack.aps.commands.send(nwk.BROADCAST_ALL, build(SwitchKey(key.sequence)))
        self._switch(key)
        return status

    def _choose(self, key: bytes) -> Status:
        stack = self._stack
        if not stack.is_trust_center:
            return Status.INVALID_CALL
        network = self._network
        if key == bytes(KEY_OCTETS):
            key = stack.random_bits(8 * KEY_OCTETS).to_bytes(KEY_OCTETS, "big")
        if key == network.key or (self._previous and key == self._previous.frame_key.octets):
            return Status.INVALID_PARAMETER  # its counters were used already
        self._keep_next(key, network.key_sequence + 1 & 0xFF)
        return Status.OK

    def _transport_key(self, network: Network, destination_eui64: int) -> TransportKey:
        key = network.next_key
        assert key is not None
        own = self._stack.state.eui64
        return TransportKey(key, network.next_key_sequence, destination_eui64, own)

    # -- as one of the others ------------------------------------------------------------------

    def receive(self, command: TransportKey, source: int, secured: bool) -> None:
        """Transport Key of a network key came in; a broadcast one is for all (destination 0)."""
        stack = self._stack
        network = self._network
        for_me = command.destination_eui64 == (stack.state.eui64 if secured else 0)
        if stack.is_trust_center or source != _TRUST_CENTER or not for_me:
            return
        if command.source_eui64 != network.trust_center_eui64 or command.key == network.key:
            return
        if is_newer(command.key_sequence, network.key_sequence):
            self._keep_next(command.key, command.key_sequence)

    def _switch_key_heard(self, command: bytes, source: int, _secured: bool) -> None:
        switch = parse(command)
        if not isinstance(switch, SwitchKey):
            raise ApsError("not a Switch Key", 0)
        key = self._next
        if source != _TRUST_CENTER or self._stack.is_trust_center or key is None:
            return
        if switch.key_sequence == key.sequence:
            self._switch(key)

    # -- both ----------------------------------------------------------------------------------

    def _keep_next(self, key: bytes, sequence: int) -> None:
        network = self._network
        if (network.next_key, network.next_key_sequence) == (key, sequence):
            return  # once more the same: what was heard under it stays heard
        network.next_key, network.next_key_sequence = key, sequence
        self._stack.save()
        self._next = self._key(sequence, key)

    def _switch(self, key: NetworkKey) -> None:
        stack = self._stack
        network = self._network
        network.key, network.key_sequence = key.frame_key.octets, key.sequence
        network.next_key, network.next_key_sequence = None, 0
        # One save for the key and its counter: after a power cut there are both or neither.
        if stack.nwk_counter.next_value >= COUNTER_RESET_THRESHOLD:
            stack.nwk_counter.restart(0)
        else:
            stack.save()
        self._next = None
        self._previous = stack.use_network_key(key)
        stack.tell_later(NetworkKeySwitched(key.sequence))
