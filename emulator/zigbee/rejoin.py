"""How a node comes back into its network: to its old parent or another, with the key or without.

Source: ZigBee specification 05-3474, 3.6.1.4.2 (rejoining), 4.6.3.3 (authentication); the parent's
half is in newcomers.py. Without security the network key comes as it does in a join, under the link
key; with it, nothing that is not under the network key is taken for an answer.

    state     event                              next      effect
    --------  ---------------------------------  --------  --------------------------------------
    IDLE      start                              SEEKING   down without a word, Beacon Requests
    SEEKING   nobody of this network has room    SEEKING   again; a beacon is easily lost
    SEEKING   the same, third time               IDLE      StackStatus(NO_BEACONS)
    SEEKING   somebody has                       ASKING    Rejoin Request; the old parent first
    ASKING    every 250 ms, if it sleeps         ASKING    Data Request
    ASKING    refused, or no answer for 1 s      ASKING    Rejoin Request to the next
    ASKING    the same, nobody left              IDLE      StackStatus(MOVE_FAILED)
    ASKING    response, with security            IDLE      up, Device Announce
    ASKING    response, without                  KEYLESS   see joining.py
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emulator.zigbee import rejoin_commands, zdo
from emulator.zigbee.events import NetworkFound, NodeType, Status
from emulator.zigbee.joining import Heard
from emulator.zigbee.mac_link import SendResult
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.rejoin_commands import RejoinStatus

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

RESPONSE_TIMEOUT_US = 1_000_000
RESPONSE_POLL_US = 250_000
MAX_PARENTS = 4  # tried one after the other
MAX_SEARCHES = 3


class Rejoining:
    """Rejoins of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._secured = True
        self._channels: list[int] = []
        self._searches = 0
        self._parents: list[NetworkFound] = []
        self._parent: NetworkFound | None = None
        stack.command_handlers[rejoin_commands.COMMAND_REJOIN_RESPONSE] = self._answered

    @property
    def awaits_answer(self) -> bool:
        """Whether a Rejoin Request is out: the one frame a node that is down may be sent."""
        return self._parent is not None

    def clear(self) -> None:
        """Power off."""
        self._parent = None

    def start(self, channels: list[int], *, secured: bool) -> Status:
        """Look for a parent in the stored network and ask it; StackStatus tells the end."""
        stack = self._stack
        network = stack.state.network
        if network is None or network.node_type is NodeType.COORDINATOR or stack.joining.is_busy:
            return Status.INVALID_CALL
        self._secured = secured
        self._channels = channels
        self._searches = 0
        stack.suspend()
        stack.polling.parent_lost = True  # until it has come up again
        self._search()
        return Status.OK

    def _search(self) -> None:
        self._searches += 1
        self._stack.joining.search(self._channels, self._choose)

    def _choose(self, heard: list[Heard]) -> None:
        network = self._stack.state.network
        assert network is not None
        own_parent = network.parent
        fitting = [
            (found.source != own_parent, beacon.device_depth, found.source, found)
            for found, beacon in heard
            if found.extended_pan_id == network.extended_pan_id
            and (beacon.end_device_capacity or not network.node_type.is_end_device)
        ]
        if not fitting and self._searches < MAX_SEARCHES:
            self._search()
            return
        if not fitting:
            self._stack.joining.give_up(Status.NO_BEACONS)
            return
        self._parents = [found for *_, found in sorted(fitting)[:MAX_PARENTS]]
        self._ask_next()

    def _ask_next(self) -> None:
        stack = self._stack
        network = stack.state.network
        assert network is not None
        if not self._parents:
            self._parent = None
            stack.joining.give_up(Status.MOVE_FAILED)
            return
        self._parent = parent = self._parents.pop(0)
        stack.mac.channel = parent.channel
        stack.mac.pan_id = parent.pan_id
        stack.mac.short_address = network.short_address
        capability = zdo.capability(network.node_type)
        stack.send_command(
            parent.source, rejoin_commands.rejoin_request(capability), secured=self._secured
        )
        stack.joining.begin(RESPONSE_TIMEOUT_US, self._ask_next)
        if network.node_type.sleeps:
            self._poll(parent)

    def _poll(self, parent: NetworkFound) -> None:
        if self._parent is not parent:
            return
        mac_link = self._stack.mac
        if not mac_link.is_polling:
            mac_link.poll(parent.source, _ignore_poll)
        clock = self._stack.clock
        clock.call_at_us(clock.now_us() + RESPONSE_POLL_US, self._poll, parent)

    def _answered(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        if self._secured:
            self._take(command, header, mac_source)

    def receive_unsecured(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        """A NWK command without security came in while this node is down."""
        response = bytes((rejoin_commands.COMMAND_REJOIN_RESPONSE,))
        if not self._secured and command[:1] == response:
            self._take(command, header, mac_source)

    def _take(self, command: bytes, header: NwkFrame, mac_source: int) -> None:
        stack = self._stack
        parent = self._parent
        network = stack.state.network
        if (
            parent is None
            or network is None
            or header.source != parent.source
            or mac_source != parent.source
            or header.destination != stack.mac.short_address
            or header.destination_ieee not in (None, stack.state.eui64)
        ):
            return
        try:
            response = rejoin_commands.parse_rejoin_response(command)
        except NwkError:
            stack.undecodable += 1
            return
        if response.status is not RejoinStatus.OK:
            self._ask_next()
            return
        self._parent = None
        moved = replace(
            network,
            pan_id=parent.pan_id,
            channel=parent.channel,
            parent=parent.source,
            short_address=response.short_address,
            update_id=parent.update_id,
        )
        stack.mac.short_address = response.short_address
        if self._secured:
            stack.joining.finish(moved)
        else:
            stack.joining.await_key(moved, network)


def _ignore_poll(_result: SendResult, _more: bool) -> None:
    """The answer comes as a frame, or does not."""
