"""Two nodes with one short address: who notices it says so, and who has it takes another.

Source: ZigBee specification 05-3474, 3.6.1.9 (address conflicts), 3.4.3.3.1 (Network Status 0x0D).

    who                              event                         effect
    -------------------------------  ----------------------------  ------------------------------
    the node whose address it is     another uses it               a new address, announced
    any other                        a known address is used       Network Status 0x0D, broadcast;
                                     by another EUI-64             the host is told
    the node whose address it is     Network Status 0x0D           a new address, announced
    a coordinator                    Network Status 0x0D           nothing: 0x0000 is its alone
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.zigbee import nwk, nwk_commands
from emulator.zigbee.events import AddressConflict, NodeType, StackStatus, Status
from emulator.zigbee.nwk_commands import NetworkStatus, NetworkStatusCode

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack


JITTER_UNIT_US = 1_000  # a new address is taken after 0 to 511 of them


TELL_AGAIN_US = 10_000_000
MAX_TOLD = 16


class AddressConflicts:
    """Notices and ends conflicts for one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._told_until_us: dict[int, int] = {}

    def claimed(self, short_address: int, eui64: bytes) -> None:
        """A node uses an address, or announces it; called before that is learned."""
        stack = self._stack
        known = stack.eui64_of(short_address)
        if known is None or known == eui64:
            return
        if short_address == stack.short_address:
            self._take_another_later()
            return
        now_us = stack.clock.now_us()
        if now_us < self._told_until_us.get(short_address, 0):
            return
        if len(self._told_until_us) >= MAX_TOLD:
            del self._told_until_us[next(iter(self._told_until_us))]
        self._told_until_us[short_address] = now_us + TELL_AGAIN_US
        stack.on_event(AddressConflict(short_address))
        status = NetworkStatus(NetworkStatusCode.ADDRESS_CONFLICT, short_address)
        command = nwk_commands.build_network_status(status)
        stack.send_command(nwk.BROADCAST_RX_ON, command, radius=nwk.MAX_RADIUS)

    def told(self, short_address: int) -> None:
        """A Network Status told of a conflict about `short_address`."""
        if short_address == self._stack.short_address:
            self._take_another_later()
        else:
            self._stack.on_event(AddressConflict(short_address))

    def _take_another_later(self) -> None:
        # Both nodes hear of it at once: two announcements at once would disturb each other.
        stack = self._stack
        when_us = stack.clock.now_us() + stack.random_bits(9) * JITTER_UNIT_US
        stack.clock.call_at_us(when_us, self._take_another, stack.short_address)

    def _take_another(self, contested: int) -> None:
        stack = self._stack
        network = stack.state.network
        if not stack.is_up or stack.short_address != contested or network is None:
            return
        if network.node_type is NodeType.COORDINATOR:
            return
        while True:
            address = stack.random_bits(16)
            if 0x0001 <= address < nwk.LOWEST_BROADCAST and stack.eui64_of(address) is None:
                break
        network.short_address = stack.mac.short_address = address
        stack.save()
        stack.announce()
        stack.on_event(StackStatus(Status.NODE_ID_CHANGED))
