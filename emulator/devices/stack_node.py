"""A node straight on a network stack: the hub's or a device's, without a stick and its host.

Source: DESIGN, "The one seam"; what a hub's and a device's host tell their sticks (`zigpy_node`,
`ezsp_node`) is told to the stack here. For fleets and sweeps: a block costs a third of what it
costs by way of bellows, and what goes over the air is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from emulator.devices.ezsp_polling import MAX_MISSED_POLLS, POLL_INTERVAL_S, Polls
from emulator.devices.node import (
    IN_A_NETWORK,
    KEY_TABLE_SIZE,
    MATCH_TIMEOUT_S,
    MAX_PERMIT_S,
    SMART_ENERGY_PROFILE,
    Frame,
    Joined,
    JoinError,
    Left,
    NetworkDown,
    NetworkSettings,
    NetworkUp,
    NodeError,
    NodeEvent,
    OnEvent,
    PutOut,
    Role,
    Routed,
    Sent,
    SmartEnergyEndpoint,
    TakeOverRefused,
)
from emulator.devices.parent_search import find_hub, find_parent
from emulator.devices.stack_messages import StackMessages
from emulator.devices.stack_radio import StackRadio
from emulator.zigbee import zdo
from emulator.zigbee.concentrator import ConcentratorParameters
from emulator.zigbee.events import (
    OPTION_RETRY,
    Aps,
    DeviceUpdate,
    Event,
    JoinDecision,
    MessageReceived,
    MessageSent,
    NodeType,
    PollComplete,
    RouteRecordHeard,
    StackStatus,
    Status,
    TrustCenterJoin,
)
from emulator.zigbee.joining import JoinRequest, TrustCenterPolicy
from emulator.zigbee.routing import source_route_octets
from emulator.zigbee.stack import COORDINATOR, Stack
from emulator.zigbee.state import Network
from emulator.zigbee.zdo import Endpoint

SOURCE_ROUTE_TABLE_SIZE = 200
# How a hub that keeps source routes asks for them: what zigpy's hosts tell their sticks.
CONCENTRATOR = ConcentratorParameters(True, 60, 3600, 3, 3)

_HASHED_LINK_KEY = 0x0084  # EmberInitialSecurityBitmask: nobody gets in by the key of all
_POLICY = TrustCenterPolicy.ALLOW_JOINS | TrustCenterPolicy.JOINS_USE_INSTALL_CODE_KEY
_MATCH_RESPONSE = zdo.RESPONSE | zdo.MATCH_DESCRIPTOR
_MATCH_TAG = 0  # never the tag of a message of ours: nobody waits for its end

_NODE_TYPES = {
    Role.ROUTER: NodeType.ROUTER,
    Role.END_DEVICE: NodeType.END_DEVICE,
    Role.SLEEPY: NodeType.SLEEPY_END_DEVICE,
}


class StackNode:
    """A hub's node once it forms a network or resumes its own, else a device's; `role` is that."""

    def __init__(
        self,
        url: str,
        endpoints: tuple[SmartEnergyEndpoint, ...],
        on_event: OnEvent,
        *,
        radio: StackRadio,
        take_over: bool = False,
        role: Role = Role.ROUTER,
        poll_interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        self.url = url
        self.role = role
        self.eui64 = 0
        self.extended_pan_id: int | None = None
        self.hub_eui64: int | None = None
        self._radio = radio
        self._endpoints = endpoints
        self._on_event = on_event
        self._take_over = take_over
        self._poll_interval_s = poll_interval_s
        self._stack: Stack | None = None
        self._messages: StackMessages | None = None
        self._polls: Polls | None = None
        self._returning: asyncio.Task[None] | None = None
        self._status: asyncio.Future[Status] | None = None
        self._matches: dict[int, asyncio.Future[int | None]] = {}
        self._sequence = 0

    @property
    def stack(self) -> Stack:
        """The stack of the open radio. Raises NodeError before `open` and after `close`."""
        if self._stack is None:
            raise NodeError(f"the radio {self.url} is not open")
        return self._stack

    def signal(self) -> None:
        """Nobody counts: a stack hears all as strong."""

    async def open(self) -> None:
        """Start the radio anew, register the endpoints."""
        self._stack = stack = self._radio.restart(self._hear)
        self.eui64 = stack.state.eui64
        for one in self._endpoints:
            stack.endpoints[one.endpoint] = Endpoint(
                one.endpoint,
                SMART_ENERGY_PROFILE,
                one.device_id,
                0,
                one.server_clusters,
                one.client_clusters,
            )
        table = stack.state.link_keys
        table.extend([None] * (KEY_TABLE_SIZE - len(table)))
        stack.routing.source_routes.size = SOURCE_ROUTE_TABLE_SIZE
        on_event = self._on_event
        if self.role is not Role.ROUTER:
            self._polls = Polls(self._poll_every, self.role, self._poll_interval_s)
            on_event = self._note_and_tell
        self._messages = StackMessages(stack, on_event)

    # -- a hub's network ---------------------------------------------------------------------------

    async def form(self, settings: NetworkSettings, *, anew: bool = False) -> None:
        """Form the network of `settings`, replacing what the radio knew if it may."""
        await self._forget_network(may=anew)
        stack = self.stack
        stack.state.preconfigured_key = settings.trust_center_seed
        stack.state.security_bitmask = _HASHED_LINK_KEY
        network = Network(
            settings.pan_id,
            settings.extended_pan_id,
            settings.channel,
            NodeType.COORDINATOR,
            COORDINATOR,
            settings.network_key,
        )
        outcome = await self._outcome_of(lambda: stack.form(network))
        if outcome is not Status.NETWORK_UP:
            raise NodeError(f"the radio {self.url} formed no network: {outcome.name}")
        self._came_up()

    async def permit(self, eui64: int, link_key: bytes, duration_s: int) -> None:
        """Let one device join with its own key; joining stays open until the last permit ends."""
        stack = self.stack
        if not stack.is_trust_center:
            raise NodeError(f"the radio {self.url} is no hub's: it cannot let {eui64:016X} in")
        if not 1 <= duration_s <= MAX_PERMIT_S:
            raise NodeError(f"joining is opened for 1 to {MAX_PERMIT_S} s, not {duration_s}")
        if not stack.state.put_link_key(eui64, link_key):
            raise NodeError(f"the radio {self.url} has no room for a link key")
        stack.aps.keys_changed()
        stack.save()
        stack.joining.permit_until(stack.clock.now_us() + duration_s * 1_000_000)

    async def take_back(self, link_keys: Mapping[int, bytes]) -> None:
        """Put the keys of another hub's devices into the key table, and let them rejoin."""
        stack = self.stack
        for eui64, key in link_keys.items():
            if stack.state.link_key_of(eui64) is None and not stack.state.put_link_key(eui64, key):
                raise NodeError(f"the radio {self.url} has no room for a link key")
        stack.aps.keys_changed()
        stack.save()
        stack.joining.policy = _POLICY | TrustCenterPolicy.ALLOW_UNSECURED_REJOINS

    async def link_key(self, eui64: int) -> bytes | None:
        """What stands in the key table for a device."""
        held = self.stack.state.link_key_of(eui64)
        return None if held is None else held.key

    def heard(self, _eui64: int) -> None:
        """Nobody counts."""

    def set_source_routing(self, is_on: bool) -> None:
        """Ask for Route Records from now on and send by the ways they tell, until a restart."""
        self.stack.routing.concentrator.set_up(CONCENTRATOR if is_on else None)

    # -- a device's network ------------------------------------------------------------------------

    async def join(self, channel: int, extended_pan_id: int, link_key: bytes) -> None:
        """Join the network with `extended_pan_id`. Raises JoinError."""
        await self._forget_network()
        stack = self.stack
        stack.state.preconfigured_key = link_key
        request = JoinRequest(channel, extended_pan_id, _NODE_TYPES[self.role])
        outcome = await self._outcome_of(lambda: stack.joining.join(request))
        if outcome is not Status.NETWORK_UP:
            raise JoinError(f"joining network {extended_pan_id:016X} ended with {outcome.name}")
        self._came_up()

    async def _rejoin(self, has_key: bool) -> Status:
        """Look for a parent once; how that ended."""
        stack = self.stack
        network = stack.state.network
        assert network is not None
        channels = [network.channel]
        return await self._outcome_of(lambda: stack.rejoining.start(channels, secured=has_key))

    async def _return(self) -> None:
        """The parent does not answer any more."""
        outcome = await find_parent(self._rejoin, Status.NETWORK_UP)
        if outcome is Status.NETWORK_UP:
            self._meet_hub_again()
        else:
            reason = f"its parent is lost, and no other was found: {outcome.name}"
            self._on_event(NetworkDown(reason))

    async def look_for_hub(self) -> None:
        """One search for a network of this extended PAN id, first for one of another hub."""
        if self._status is not None:
            return  # it is looking already
        if await find_hub(self._rejoin, Status.NETWORK_UP):
            self._meet_hub_again()

    def _meet_hub_again(self) -> None:
        before = self.hub_eui64
        self._meet_hub()
        if self.hub_eui64 != before:
            self._on_event(NetworkUp())

    async def _poll_every(self, interval_s: float) -> bool:
        polling = self.stack.polling
        return polling.start(round(interval_s * 1e6), MAX_MISSED_POLLS) is Status.OK

    # -- either's ----------------------------------------------------------------------------------

    async def _forget_network(self, *, may: bool = False) -> None:
        """Leave the network the radio knows, if it may be left."""
        stack = self.stack
        if stack.state.network is None:
            return
        if not (may or self._take_over):
            raise TakeOverRefused(f"the radio {self.url} {IN_A_NETWORK}")
        if not stack.is_up:
            await self._outcome_of(stack.resume)
        await self._outcome_of(stack.leave)

    async def resume(self, _link_keys: Mapping[int, bytes] | None = None) -> None:
        """Go on in the network the radio remembers."""
        stack = self.stack
        network = stack.state.network
        if network is None:
            raise NodeError(f"the radio {self.url} knows no network to resume")
        outcome = await self._outcome_of(stack.resume)
        if outcome is not Status.NETWORK_UP and self._polls is not None:
            outcome = await find_parent(self._rejoin, Status.NETWORK_UP)
        if outcome is not Status.NETWORK_UP:
            raise NodeError(f"the radio {self.url} does not resume its network: {outcome.name}")
        self._came_up()

    async def leave(self) -> None:
        """Leave the network; the radio forgets it."""
        outcome = await self._outcome_of(self.stack.leave)
        if outcome is not Status.NETWORK_DOWN:
            raise NodeError(f"the radio {self.url} does not leave its network: {outcome.name}")
        self._network_down()

    async def _outcome_of(self, call: Callable[[], Status]) -> Status:
        """Do what a StackStatus ends, and wait for that; or the status that refuses it."""
        self._status = asyncio.get_running_loop().create_future()
        try:
            status = call()
            if status is not Status.OK:
                return status
            return await self._status
        finally:
            self._status = None

    def _came_up(self) -> None:
        stack = self.stack
        if stack.is_trust_center:
            assert stack.state.network is not None
            self.extended_pan_id = stack.state.network.extended_pan_id
            stack.joining.policy = _POLICY
        else:
            self._meet_hub()
            if self._polls is not None:
                self._polls.begin(self._lost)
                self._polls.busy()
        self._on_event(NetworkUp())

    def _meet_hub(self) -> None:
        """Whose network this is; it may be another's after a swap of the trust centre."""
        network = self.stack.state.network
        assert network is not None
        self.hub_eui64 = network.trust_center_eui64

    async def dismiss(self, eui64: int) -> None:
        """Tell a device to leave, under its link key, and erase that; it may not be there."""
        stack = self.stack
        if not stack.is_trust_center:
            raise NodeError(f"the radio {self.url} is no hub's: it cannot put {eui64:016X} out")
        short_address = stack.short_of(eui64)
        if short_address is not None:
            stack.trust_center.remove_device(short_address, eui64, eui64)
        stack.state.drop_link_key(eui64)
        stack.aps.keys_changed()
        stack.save()

    async def find_endpoint(self, peer: int, cluster: int, *, is_server: bool) -> int | None:
        """The endpoint on which a peer serves `cluster`, or uses it."""
        stack = self.stack
        nwk = self._address_of(peer, stack)
        if nwk is None:
            return None
        if self._polls is not None:
            self._polls.busy()
        self._sequence = sequence = self._sequence % 255 + 1
        request = zdo.match_request(
            sequence, nwk, SMART_ENERGY_PROFILE, cluster, is_server=is_server
        )
        found: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._matches[sequence] = found
        try:
            message = Aps(zdo.PROFILE, zdo.MATCH_DESCRIPTOR, 0, 0, OPTION_RETRY)
            if stack.aps.send_unicast(nwk, message, request, _MATCH_TAG)[0] is not Status.OK:
                return None
            async with asyncio.timeout(MATCH_TIMEOUT_S):
                return await found
        except TimeoutError:
            return None
        finally:
            del self._matches[sequence]

    def _address_of(self, peer: int, stack: Stack) -> int | None:
        """The short address of a node this one may talk to: a device knows its hub only."""
        return stack.short_of(peer) if self.hub_eui64 in (None, peer) else None

    def send(self, frame: Frame) -> int:
        """Queue a frame; the tag by which `Sent` names it. Raises QueueFull, NodeError."""
        stack, messages = self._stack, self._messages
        if stack is None or messages is None:
            raise NodeError(f"the radio {self.url} is not open")
        nwk = self._address_of(frame.peer, stack)
        if nwk is None:
            place = "in" if self.hub_eui64 is None else "the hub of"
            raise NodeError(f"{frame.peer:016X} is not {place} this network")
        tag = messages.submit(nwk, frame)
        if self._polls is not None:
            self._polls.sent(tag)
        return tag

    async def close(self) -> None:
        """Let go of the radio, which stays on."""
        if self._polls is not None:
            self._polls.stop()
        if self._returning is not None:
            self._returning.cancel()
            self._returning = None
        if self._stack is not None:
            self._stack = self._messages = None
            self._radio.let_go()

    # -- what the stack tells ----------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        messages = self._messages
        if messages is None:
            return
        if type(event) is MessageReceived:
            profile = event.aps.profile
            peer = event.source_eui64
            if profile == SMART_ENERGY_PROFILE:
                if peer is not None and self.hub_eui64 in (None, peer):
                    messages.received(event, peer)
            elif profile == zdo.PROFILE and event.aps.cluster == _MATCH_RESPONSE:
                self._matched(event.payload)
        elif type(event) is MessageSent:
            messages.sent(event)
        else:
            self._hear_of_network(event)

    def _hear_of_network(self, event: Event) -> None:
        match event:
            case StackStatus():
                self._status_changed(event.status)
            case TrustCenterJoin(update=DeviceUpdate.DEVICE_LEFT):
                self._on_event(Left(event.eui64))
            case TrustCenterJoin() if event.decision is not JoinDecision.DENY_JOIN:
                self._on_event(Joined(event.eui64, event.short_address))
            case RouteRecordHeard(source_eui64=int(peer)):
                self._on_event(Routed(peer, source_route_octets(event.relays)))
            case PollComplete():
                self._polls_failed()

    def _matched(self, response: bytes) -> None:
        found = self._matches.get(response[0]) if response else None
        if found is not None and not found.done():
            found.set_result(zdo.first_match(response))

    def _status_changed(self, status: Status) -> None:
        if status is Status.TRUST_CENTER_EUI_HAS_CHANGED:
            status = Status.NETWORK_UP  # it says both
        if status is Status.NETWORK_DOWN and self._messages is not None:
            self._messages.fail()
        if self._status is not None:
            if not self._status.done():
                self._status.set_result(status)
        elif status is Status.NETWORK_DOWN:
            self._on_event(PutOut())

    def _network_down(self) -> None:
        self._on_event(NetworkDown("the network went down"))

    def _polls_failed(self) -> None:
        """The stack tells of polls only when too many failed: the parent is gone."""
        if self._status is None and (self._returning is None or self._returning.done()):
            self._returning = asyncio.get_running_loop().create_task(
                self._return(), name=f"{self.url} looks for a parent"
            )

    def _note_and_tell(self, event: NodeEvent) -> None:
        """What an end device hears and how its messages end tells how often to poll."""
        assert self._polls is not None
        if type(event) is Sent:
            self._polls.ended(event.tag)
        else:
            self._polls.busy()
        self._on_event(event)

    def _lost(self, reason: str) -> None:
        self._on_event(NetworkDown(f"the radio {self.url} was lost: {reason}"))
