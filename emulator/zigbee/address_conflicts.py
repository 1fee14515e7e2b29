"""Two nodes with one short address: who notices it says so, and who has it takes another.

Source: ZigBee specification 05-3474, 3.6.1.9 (address conflicts), 3.4.3.3.1 (Network Status 0x0D).

    who                              event                         effect
    -------------------------------  ----------------------------  ------------------------------
    the node whose address it is     another announces it          a new address, announced
    any other                        a known address is announced  Network Status 0x0D, broadcast;
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


class AddressConflicts:
    """Notices and ends conflicts for one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def announced(self, short_address: int, eui64: int) -> None:
        """A node announced itself with an address; called before it is learned."""
        stack = self._stack
        known = stack.eui64_of(short_address)
        if known is None or known == eui64.to_bytes(8, "little"):
            return
        if short_address == stack.short_address:
            self._take_another()
            return
        stack.on_event(AddressConflict(short_address))
        status = NetworkStatus(NetworkStatusCode.ADDRESS_CONFLICT, short_address)
        command = nwk_commands.build_network_status(status)
        stack.send_command(nwk.BROADCAST_RX_ON, command, radius=nwk.MAX_RADIUS)

    def told(self, short_address: int) -> None:
        """A Network Status told of a conflict about `short_address`."""
        if short_address == self._stack.short_address:
            self._take_another()
        else:
            self._stack.on_event(AddressConflict(short_address))

    def _take_another(self) -> None:
        stack = self._stack
        network = stack.state.network
        if network is None or network.node_type is NodeType.COORDINATOR:
            return
        while True:
            address = stack.random_bits(16)
            if 0x0001 <= address < nwk.LOWEST_BROADCAST and stack.eui64_of(address) is None:
                break
        network.short_address = stack.mac.short_address = address
        stack.save()
        stack.announce()
        stack.on_event(StackStatus(Status.NODE_ID_CHANGED))
