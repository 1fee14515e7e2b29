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

from collections.abc import Callable

from emulator.medium.air import Medium
from emulator.medium.timing import RandomBits, Scheduler
from emulator.zigbee import nwk, rejoin_commands, zdo
from emulator.zigbee.admission import Admission
from emulator.zigbee.aps_service import ApsService
from emulator.zigbee.children import Children
from emulator.zigbee.events import Event, NodeType, StackStatus, Status
from emulator.zigbee.joining import Joining
from emulator.zigbee.key_switch import KeySwitch
from emulator.zigbee.mac import BROADCAST, MacFrame
from emulator.zigbee.mac_link import MacLink, SendResult
from emulator.zigbee.neighbours import Neighbours
from emulator.zigbee.newcomers import Newcomers
from emulator.zigbee.nwk import NwkError, NwkFrame
from emulator.zigbee.nwk_service import CommandHandler, NwkService
from emulator.zigbee.polling import Polling
from emulator.zigbee.rejoin import Rejoining
from emulator.zigbee.relaying import Relaying
from emulator.zigbee.routing import Routing
from emulator.zigbee.state import (
    Network,
    ReservedCounter,
    StackState,
)
from emulator.zigbee.trust_center import TrustCenter
from emulator.zigbee.trust_center_link import TrustCenterLink
from emulator.zigbee.zdo import Endpoint

MAX_LEARNED_ADDRESSES = 256  # beyond these nobody is believed as to a third node's address
COORDINATOR = 0x0000

# Whom a broadcast address reaches (3.6.5, table 3.54); a sleeper hears only what is for all.
_LOWEST_BROADCASTS = {
    NodeType.COORDINATOR: nwk.BROADCAST_ROUTERS,
    NodeType.ROUTER: nwk.BROADCAST_ROUTERS,
    NodeType.END_DEVICE: nwk.BROADCAST_RX_ON,
}


class Stack(NwkService):
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
        self._leaving = False
        super().__init__()  # last, for it works on what stands above

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

    # -- leaving, and being told of others -----------------------------------------------------

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


def _nobody(_event: Event) -> None:
    """Who listens to a stack without power."""


def _nothing() -> None:
    """What a stack without power stores."""
