"""Who gets the network key: the trust centre's decision on a newcomer, and the way there and back.

Source: ZigBee specification 05-3474, 4.6.3.2 (authentication), 4.4.4 (Update Device), 4.4.5 (Remove
Device), 4.4.10.8 (Tunnel). A node that is let in next to a router is told of by Update Device; its
key comes back to that router in a Tunnel, which is opened there and goes on as it is.

    newcomer            next to      event           effect
    ------------------  -----------  --------------  ----------------------------------------------
    joined, rejoined    the centre   arrived         decision, TrustCenterJoin
    joined, rejoined    a router     arrived         Update Device to the centre
    (any)               a router     Update Device   decision, TrustCenterJoin
    let in              the centre   decision        Transport Key
    let in              a router     decision        Transport Key in a Tunnel
    rejoined with key   (any)        decision        nothing: it has the key
    denied              the centre   decision        it is no child any more
    denied              a router     decision        Remove Device
    let in              a router     Tunnel          Transport Key goes on to the newcomer
    denied              a router     Remove Device   a child leaves, a newcomer waits in vain
"""

from __future__ import annotations

from collections import OrderedDict
from enum import IntFlag
from typing import TYPE_CHECKING

from emulator.zigbee import aps, joining_commands
from emulator.zigbee.aps import ApsError, TransportKey
from emulator.zigbee.aps_commands import COMMAND_REMOVE_DEVICE, RemoveDevice, build, parse
from emulator.zigbee.events import DeviceUpdate, JoinDecision, TrustCenterJoin
from emulator.zigbee.joining_commands import Tunnel, UpdateDevice
from emulator.zigbee.security import KEY_ID_DATA, key_transport_key
from emulator.zigbee.state import UNKNOWN_EUI64, CounterExhausted

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

WILDCARD_EUI64 = UNKNOWN_EUI64
TRUST_CENTER = 0x0000
MAX_NEWCOMERS = 32
_GLOBAL_LINK_KEY = 0x0004  # EmberInitialSecurityBitmask, as the host of a trust centre set it
_HASHED_LINK_KEY = 0x0084


class TrustCenterPolicy(IntFlag):
    """What the host lets a trust centre do; values are EZSP's EzspDecisionBitmask."""

    ALLOW_JOINS = 0x01
    ALLOW_UNSECURED_REJOINS = 0x02
    JOINS_USE_INSTALL_CODE_KEY = 0x10


class Admission:
    """Decides as the trust centre, or asks the trust centre as a router."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._newcomers: OrderedDict[int, int] = OrderedDict()  # EUI-64: short address
        handlers = stack.aps.command_handlers
        handlers[joining_commands.COMMAND_UPDATE_DEVICE] = self._device_updated
        handlers[joining_commands.COMMAND_TUNNEL] = self._tunnelled
        handlers[COMMAND_REMOVE_DEVICE] = self._device_removed

    # -- next to a node --------------------------------------------------------------------------

    def arrived(self, short_address: int, eui64: int, update: DeviceUpdate) -> None:
        """A node joined or rejoined here."""
        stack = self._stack
        if not stack.is_up:
            return
        if self._stack.is_trust_center:
            self._decide(short_address, eui64, update, stack.short_address)
            return
        newcomers = self._newcomers
        newcomers[eui64] = short_address
        newcomers.move_to_end(eui64)
        if len(newcomers) > MAX_NEWCOMERS:
            newcomers.popitem(last=False)
        self._update(UpdateDevice(eui64, short_address, update))

    def _update(self, command: UpdateDevice) -> None:
        self._stack.aps.commands.send(
            TRUST_CENTER, joining_commands.build_update_device(command), key_id=KEY_ID_DATA
        )

    def left(self, short_address: int, eui64: int, *, was_child: bool) -> None:
        """A node said that it leaves: the trust centre frees its address and tells the host."""
        if was_child and not self._stack.is_trust_center:
            self._update(UpdateDevice(eui64, short_address, DeviceUpdate.DEVICE_LEFT))
        self._left(short_address, eui64, 0xFFFF)

    def _left(self, short_address: int, eui64: int, parent: int) -> None:
        stack = self._stack
        if stack.eui64_of(short_address) != eui64.to_bytes(8, "little"):
            return
        stack.forget_device(short_address)
        if self._stack.is_trust_center:
            update, decision = DeviceUpdate.DEVICE_LEFT, JoinDecision.NO_ACTION
            stack.on_event(TrustCenterJoin(short_address, eui64, update, decision, parent))

    def _tunnelled(self, command: bytes, source: int, _secured: bool) -> None:
        if source != TRUST_CENTER or self._stack.is_trust_center:
            return
        try:
            tunnel = joining_commands.parse_tunnel(command)
        except ApsError:
            self._stack.undecodable += 1
            return
        short_address = self._newcomers.get(tunnel.destination_eui64)
        if short_address is not None:
            self._stack.send_nwk_unsecured(short_address, tunnel.frame)

    def _device_removed(self, command: bytes, source: int, secured: bool) -> None:
        stack = self._stack
        if source != TRUST_CENTER or self._stack.is_trust_center or not secured:
            return
        remove = parse(command)
        if not isinstance(remove, RemoveDevice):
            raise ApsError("not a Remove Device", 0)
        self._newcomers.pop(remove.target_eui64, None)
        if remove.target_eui64 == stack.state.eui64:
            stack.leave()
        else:
            stack.children.remove_device(remove.target_eui64)

    # -- the trust centre ------------------------------------------------------------------------

    def _device_updated(self, command: bytes, source: int, secured: bool) -> None:
        stack = self._stack
        if not self._stack.is_trust_center:
            return
        if not secured and stack.aps.partner(source) is not None:
            stack.undecodable += 1  # who has a link key uses it
            return
        try:
            update = joining_commands.parse_update_device(command)
        except ApsError:
            stack.undecodable += 1
            return
        if update.update is DeviceUpdate.DEVICE_LEFT:
            self._left(update.short_address, update.eui64, source)
        else:
            self._decide(update.short_address, update.eui64, update.update, source)

    def _decide(self, short_address: int, eui64: int, update: DeviceUpdate, parent: int) -> None:
        stack = self._stack
        link_key = self._key_for(eui64, update)
        if update is DeviceUpdate.STANDARD_SECURITY_SECURED_REJOIN:
            decision = JoinDecision.NO_ACTION
        elif link_key is not None:
            decision = JoinDecision.USE_PRECONFIGURED_KEY
        else:
            decision = JoinDecision.DENY_JOIN
        if decision is not JoinDecision.DENY_JOIN:
            stack.learn(short_address, eui64)
        stack.on_event(TrustCenterJoin(short_address, eui64, update, decision, parent))
        if decision is JoinDecision.DENY_JOIN:
            self._deny(eui64, update, parent)
        elif decision is JoinDecision.USE_PRECONFIGURED_KEY and link_key is not None:
            self._send_key(short_address, eui64, link_key, parent)

    def _deny(self, eui64: int, update: DeviceUpdate, parent: int) -> None:
        stack = self._stack
        if parent == stack.short_address:
            stack.children.dismiss(eui64)
        elif (
            update is DeviceUpdate.STANDARD_SECURITY_UNSECURED_JOIN or stack.short_of(eui64) is None
        ):
            # Anybody may ask to rejoin in the name of a device that is in: that must not remove it.
            stack.aps.commands.send(parent, build(RemoveDevice(eui64)), key_id=KEY_ID_DATA)

    def _send_key(self, short_address: int, eui64: int, link_key: bytes, parent: int) -> None:
        stack = self._stack
        network = stack.state.network
        assert network is not None
        try:
            counter = stack.aps_counter.take()
        except CounterExhausted:
            return  # the joiner waits in vain, as for any key that is lost
        frame = aps.seal_transport_key(
            stack.aps.frame_key(key_transport_key(link_key)),
            TransportKey(network.key, network.key_sequence, eui64, stack.state.eui64),
            stack.random_bits(8),
            counter,
        )
        if parent == stack.short_address:
            stack.send_nwk_unsecured(short_address, frame)
        else:
            tunnel = joining_commands.build_tunnel(Tunnel(eui64, frame))
            stack.aps.commands.send(parent, tunnel)

    def _key_for(self, eui64: int, update: DeviceUpdate) -> bytes | None:
        """The link key under which a newcomer may have the network key, None to deny it."""
        policy = self._stack.joining.policy
        needed = TrustCenterPolicy.ALLOW_JOINS
        if update is DeviceUpdate.STANDARD_SECURITY_UNSECURED_REJOIN:
            needed = TrustCenterPolicy.ALLOW_UNSECURED_REJOINS
        return self._joiner_key(eui64) if policy & needed else None

    def _joiner_key(self, eui64: int) -> bytes | None:
        """The link key a joiner must share: its own, or with the host's leave a common one."""
        stack = self._stack
        entry = stack.state.link_key_of(eui64)
        transient = stack.aps.transient_keys
        if eui64 in transient:
            return transient[eui64]
        if entry is not None:
            return entry.key
        if stack.joining.policy & TrustCenterPolicy.JOINS_USE_INSTALL_CODE_KEY:
            return None
        if WILDCARD_EUI64 in transient:
            return transient[WILDCARD_EUI64]
        if stack.state.security_bitmask & _HASHED_LINK_KEY == _GLOBAL_LINK_KEY:
            return stack.state.preconfigured_key
        return None
