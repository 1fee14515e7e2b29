"""How a parent takes nodes in: it says that it is there, gives addresses, answers rejoins.

Source: ZigBee specification 05-3474, 3.6.1.4 (joining, rejoining), 3.6.7 (beacons); IEEE
802.15.4-2006, 7.5.3.1 (association). End devices go into the child table (children.py), whoever
came in is told to the trust centre (admission.py).

    newcomer asks                 condition              answer
    ----------------------------  ---------------------  -----------------------------------------
    Beacon Request                a router               beacon: open or not, room or not
    Association Request           not open               nothing
    Association Request           end device, no room    response: PAN at capacity
    Association Request           otherwise              response with an address, held for it
    Rejoin Request                end device, no room    Rejoin Response: PAN at capacity
    Rejoin Request under the key  otherwise              Rejoin Response under the key
    Rejoin Request without        otherwise              Rejoin Response without; a child that has
                                                         proven itself stays as it is
"""

from __future__ import annotations

from functools import partial
from struct import Struct
from typing import TYPE_CHECKING

from emulator.zigbee import mac, rejoin_commands
from emulator.zigbee.events import DeviceUpdate, NodeType
from emulator.zigbee.mac import Beacon, MacFrame
from emulator.zigbee.mac_link import SendResult
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.rejoin_commands import RejoinResponse, RejoinStatus

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

_ASSOCIATION_RESPONSE = Struct("<BHB")
_LOWEST_ADDRESS, _HIGHEST_ADDRESS = 0x0001, 0xFFF7


def node_type_of(capability: int) -> NodeType:
    """The role of a node with this MAC capability."""
    if capability & rejoin_commands.CAPABILITY_ROUTER:
        return NodeType.ROUTER
    if capability & rejoin_commands.CAPABILITY_RX_ON:
        return NodeType.END_DEVICE
    return NodeType.SLEEPY_END_DEVICE


class Newcomers:
    """Takes nodes in next to one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        stack.command_handlers[rejoin_commands.COMMAND_REJOIN_REQUEST] = self._rejoin_asked

    def send_beacon(self) -> None:
        """Somebody looks for networks."""
        stack = self._stack
        network = stack.state.network
        if network is None or network.node_type.is_end_device:
            return
        coordinator = network.node_type is NodeType.COORDINATOR
        payload = mac.build_beacon(
            Beacon(
                coordinator,
                stack.joining.permits,
                2,  # ZigBee PRO
                True,
                0 if coordinator else 1,
                stack.children.has_room,
                network.extended_pan_id,
                network.update_id,
            )
        )
        stack.mac.send(
            MacFrame(
                mac.TYPE_BEACON,
                False,
                False,
                0,
                None,
                None,
                False,
                network.pan_id,
                network.short_address,
                False,
                payload,
            )
        )

    def associate(self, frame: MacFrame) -> None:
        """An Association Request came in."""
        stack = self._stack
        children = stack.children
        eui64 = frame.source
        if (
            not children.is_parent
            or not stack.joining.permits
            or eui64 is None
            or not frame.source_extended
        ):
            return
        node_type = node_type_of(frame.payload[1]) if len(frame.payload) == 2 else NodeType.ROUTER
        short_address = self.address_for(eui64)
        status = mac.ASSOCIATION_SUCCESSFUL
        if node_type.is_end_device:
            if children.has_room or children.of_eui64(eui64) is not None:
                children.add(eui64, short_address, node_type, proven=False)
            else:
                short_address, status = mac.BROADCAST, mac.ASSOCIATION_PAN_AT_CAPACITY
        response = _ASSOCIATION_RESPONSE.pack(
            mac.COMMAND_ASSOCIATION_RESPONSE, short_address, status
        )
        stack.mac.send_indirect(
            MacFrame(
                mac.TYPE_COMMAND,
                True,
                False,
                0,
                stack.mac.pan_id,
                eui64,
                True,
                stack.mac.pan_id,
                stack.state.eui64,
                True,
                response,
            ),
            partial(self._associated, short_address, eui64, status),
        )

    def _associated(self, short_address: int, eui64: int, status: int, result: SendResult) -> None:
        if result is SendResult.OK and status == mac.ASSOCIATION_SUCCESSFUL:
            update = DeviceUpdate.STANDARD_SECURITY_UNSECURED_JOIN
            self._stack.admission.arrived(short_address, eui64, update)

    def address_for(self, eui64: int) -> int:
        """The short address of a newcomer: the one it had, else a free one."""
        stack = self._stack
        children = stack.children
        known = stack.short_of(eui64)
        if known is not None and self._owner(known) in (None, eui64):
            return known
        while True:
            short_address = stack.random_bits(16)
            if (
                _LOWEST_ADDRESS <= short_address <= _HIGHEST_ADDRESS
                and stack.eui64_of(short_address) is None
                and not children.has(short_address)
            ):
                return short_address

    def _owner(self, short_address: int) -> int | None:
        """The EUI-64 of whoever was given this address, as far as is known here for sure."""
        child = self._stack.children.of_address(short_address)
        if child is not None:
            return child.eui64
        return self._stack.state.devices.get(short_address)

    def _rejoin_asked(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        eui64 = self._stack.eui64_of(mac_source)
        if (
            mac_source == header.source
            and eui64 is not None
            and header.source_ieee == int.from_bytes(eui64, "little")
        ):
            self._take_back(command, header, secured=True)

    def receive_unsecured(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        """A NWK command without security: one without the network key may ask to rejoin."""
        if (
            command[:1] == bytes((rejoin_commands.COMMAND_REJOIN_REQUEST,))
            and mac_source == header.source
            and header.destination == self._stack.short_address
        ):
            self._take_back(command, header, secured=False)

    def _take_back(self, command: bytes, header: NwkFrame, *, secured: bool) -> None:
        stack = self._stack
        children = stack.children
        asked = header.source
        eui64 = header.source_ieee
        if not stack.is_up or not children.is_parent or eui64 is None or eui64 == stack.state.eui64:
            return
        try:
            node_type = node_type_of(rejoin_commands.parse_rejoin_request(command))
        except NwkError:
            stack.undecodable += 1
            return
        known = children.of_eui64(eui64)
        owner = self._owner(asked)
        short_address = asked
        if owner not in (None, eui64):
            assert owner is not None
            stack.learn(asked, owner)  # which the frame that asks made believe to be another
        if owner not in (None, eui64) or not _LOWEST_ADDRESS <= asked <= _HIGHEST_ADDRESS:
            short_address = self.address_for(eui64)
        status = RejoinStatus.OK
        if node_type.is_end_device and known is None and not children.has_room:
            status = RejoinStatus.PAN_AT_CAPACITY
        elif not node_type.is_end_device:
            if secured and known is not None:
                children.remove(known)
        elif secured or known is None:
            children.add(eui64, short_address, node_type, proven=secured)
        else:
            short_address = known.short_address  # what nobody proved changes nothing
        asks_there = node_type.sleeps and asked not in stack.mac.sleepers
        if asks_there:
            stack.mac.sleepers.add(asked)

        def done(result: SendResult) -> None:
            if asks_there and not children.has(asked):
                stack.mac.sleepers.discard(asked)
            if result is SendResult.OK and status is RejoinStatus.OK:
                update = (
                    DeviceUpdate.STANDARD_SECURITY_SECURED_REJOIN
                    if secured
                    else DeviceUpdate.STANDARD_SECURITY_UNSECURED_REJOIN
                )
                stack.admission.arrived(short_address, eui64, update)

        stack.send_command(
            asked,
            rejoin_commands.rejoin_response(RejoinResponse(short_address, status)),
            done,
            destination_eui64=eui64,
            secured=secured,
        )
