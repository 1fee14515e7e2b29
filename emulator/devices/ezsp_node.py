"""A device's node: a router or an end device joined through bellows' EZSP on any stick.

Source: Silicon Labs UG100, 6 (networking) and 9 (security). zigpy's application can only be a
coordinator, so devices sit on the layer below it. An end device whose parent is lost looks for
another one of its network, with the network key it has and, should that be an old one, without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import bellows.types as t

from emulator.devices.ezsp_polling import MAX_MISSED_POLLS, POLL_INTERVAL_S, Polls
from emulator.devices.node import (
    IN_A_NETWORK,
    Frame,
    JoinError,
    NetworkDown,
    NetworkSettings,
    NetworkUp,
    NodeError,
    NodeEvent,
    OnEvent,
    PutOut,
    Role,
    Sent,
    SmartEnergyEndpoint,
    TakeOverRefused,
    radio_errors,
)
from emulator.devices.node import SMART_ENERGY_PROFILE as PROFILE
from emulator.devices.parent_search import find_hub, find_parent
from emulator.devices.signal_counts import Signal
from emulator.devices.smart_energy_ezsp import SmartEnergyEzsp

HUB_NWK = 0x0000
STACK_PROFILE_PRO = 2
SECURITY_LEVEL = 5
JOIN_TIMEOUT_S = 30.0
RESUME_TIMEOUT_S = 10.0
REJOIN_TIMEOUT_S = 60.0
TX_POWER_DBM = 8
_FIRST_WITH_REJOIN_REASON = 14

_NODE_TYPES = {
    Role.ROUTER: t.EmberNodeType.ROUTER,
    Role.END_DEVICE: t.EmberNodeType.END_DEVICE,
    Role.SLEEPY: t.EmberNodeType.SLEEPY_END_DEVICE,
}
_CONFIGURATION = (
    (t.EzspConfigId.CONFIG_STACK_PROFILE, STACK_PROFILE_PRO),
    (t.EzspConfigId.CONFIG_SECURITY_LEVEL, SECURITY_LEVEL),
)


class EzspNode:
    """Joins a hub's network and exchanges Smart Energy messages with the hub.

    `on_joining` is called when the stick is in no network, and is about to be asked into one.
    """

    def __init__(
        self,
        url: str,
        endpoints: tuple[SmartEnergyEndpoint, ...],
        on_event: OnEvent,
        *,
        take_over: bool = False,
        role: Role = Role.ROUTER,
        poll_interval_s: float = POLL_INTERVAL_S,
        on_joining: Callable[[], object] | None = None,
    ) -> None:
        self.url = url
        self.role = role
        self.eui64 = 0
        self.extended_pan_id: int | None = None  # hubs tell theirs
        self.hub_eui64: int | None = None
        self._endpoints = endpoints
        self._on_event = on_event
        self._take_over = take_over
        self._on_joining = on_joining
        self._poll_interval_s = poll_interval_s
        self._polls: Polls | None = None
        self._returning: asyncio.Task[None] | None = None
        self._ezsp: SmartEnergyEzsp | None = None
        self._status: asyncio.Future[t.sl_Status] | None = None

    @property
    def ezsp(self) -> SmartEnergyEzsp:
        """The open stick. Raises NodeError before `open` and after `close`."""
        if self._ezsp is None:
            raise NodeError(f"the radio {self.url} is not open")
        return self._ezsp

    def signal(self) -> Signal | None:
        """How well it has heard since it was opened."""
        return None if self._ezsp is None else self._ezsp.signal()

    async def open(self) -> None:
        """Reach the stick, reset it, register the endpoints."""
        config = {"path": self.url, "baudrate": 115200, "flow_control": None}
        ezsp = SmartEnergyEzsp(
            config,
            self,
            peer_of=self._peer_of,
            on_event=self._on_event if self.role is Role.ROUTER else self._hear,
            on_lost=self._lost,
        )
        with radio_errors(self.url, "does not answer"):
            await ezsp.connect(use_thread=False)
            self._ezsp = ezsp
            if self.role is not Role.ROUTER:
                self._polls = Polls(self._poll_every, self.role, self._poll_interval_s)
            ezsp.add_callback(self._callback)
            await self._configure(ezsp)

    async def _configure(self, ezsp: SmartEnergyEzsp) -> None:
        for number, value in _CONFIGURATION:
            (status,) = await ezsp.setConfigurationValue(configId=number, value=value)
            self._require(status, f"setting {number.name}")
        for endpoint in self._endpoints:
            (status,) = await ezsp.addEndpoint(
                endpoint=endpoint.endpoint,
                profileId=PROFILE,
                deviceId=endpoint.device_id,
                deviceVersion=0,
                inputClusterCount=len(endpoint.server_clusters),
                outputClusterCount=len(endpoint.client_clusters),
                inputClusterList=list(endpoint.server_clusters),
                outputClusterList=list(endpoint.client_clusters),
            )
            self._require(status, f"adding endpoint {endpoint.endpoint}")
        (eui64,) = await ezsp.getEui64()
        self.eui64 = int.from_bytes(eui64.serialize(), "little")

    async def form(self, settings: NetworkSettings, *, anew: bool = False) -> None:  # noqa: ARG002
        """Devices join; hubs form."""
        raise NodeError(f"the radio {self.url} is a device's: it cannot form {settings!r}")

    async def permit(self, eui64: int, _link_key: bytes, _duration_s: int) -> None:
        """Devices are let in; hubs let in."""
        raise NodeError(f"the radio {self.url} is a device's: it cannot let {eui64:016X} in")

    async def take_back(self, _link_keys: Mapping[int, bytes]) -> None:
        """Devices come back; hubs take them."""
        raise NodeError(f"the radio {self.url} is a device's: it takes nobody back")

    async def link_key(self, eui64: int) -> bytes | None:
        """Devices know their hub alone."""
        raise NodeError(f"the radio {self.url} is a device's: it has no key of {eui64:016X}")

    def heard(self, _eui64: int) -> None:
        """Nobody asks a device."""

    async def dismiss(self, eui64: int) -> None:
        """Devices are put out; hubs put out."""
        raise NodeError(f"the radio {self.url} is a device's: it cannot put {eui64:016X} out")

    async def join(self, channel: int, extended_pan_id: int, link_key: bytes) -> None:
        """Join the network with `extended_pan_id`. Raises JoinError."""
        with radio_errors(self.url, "gave up while joining"):
            await self._forget_network()
            if self._on_joining is not None:
                self._on_joining()
            await self._join(channel, extended_pan_id, link_key)

    async def _join(self, channel: int, extended_pan_id: int, link_key: bytes) -> None:
        ezsp = self.ezsp
        state = t.EmberInitialSecurityState(
            bitmask=t.EmberInitialSecurityBitmask.HAVE_PRECONFIGURED_KEY
            | t.EmberInitialSecurityBitmask.REQUIRE_ENCRYPTED_KEY
            | t.EmberInitialSecurityBitmask.NO_FRAME_COUNTER_RESET,
            preconfiguredKey=t.KeyData(link_key),
            networkKey=t.KeyData(bytes(16)),
            networkKeySequenceNumber=0,
            preconfiguredTrustCenterEui64=t.EUI64(bytes(8)),
        )
        (status,) = await ezsp.setInitialSecurityState(state=state)
        self._require(status, "setting the link key")
        parameters = t.EmberNetworkParameters(
            extendedPanId=t.ExtendedPanId(extended_pan_id.to_bytes(8, "little")),
            panId=0xFFFF,
            radioTxPower=TX_POWER_DBM,
            radioChannel=channel,
            joinMethod=t.EmberJoinMethod.USE_MAC_ASSOCIATION,
            nwkManagerId=HUB_NWK,
            nwkUpdateId=0,
            channels=t.Channels.from_channel_list([channel]),
        )
        outcome = await self._await_status(
            ezsp.joinNetwork(nodeType=_NODE_TYPES[self.role], parameters=parameters),
            JOIN_TIMEOUT_S,
        )
        if outcome != t.sl_Status.NETWORK_UP:
            raise JoinError(f"joining network {extended_pan_id:016X} ended with {outcome.name}")
        await self._came_up()

    async def _forget_network(self) -> None:
        """Leave the network the stick knows, if it may be left: it may belong to a house."""
        (state,) = await self.ezsp.networkState()
        if state == t.EmberNetworkStatus.NO_NETWORK:  # so it is after every reset
            outcome = await self._await_status(self.ezsp.initialize_network(), RESUME_TIMEOUT_S)
            if outcome == t.sl_Status.NOT_JOINED:
                return
        if not self._take_over:
            raise TakeOverRefused(f"the radio {self.url} {IN_A_NETWORK}")
        await self._leave()

    async def _leave(self) -> None:
        """Of its own accord, which is no news to anybody."""
        self._status = asyncio.get_running_loop().create_future()
        try:
            await self.ezsp.leaveNetwork()  # and bellows waits until it is down
        finally:
            self._status = None

    async def resume(self, _link_keys: Mapping[int, bytes] | None = None) -> None:
        """Go on in the network the stick remembers."""
        with radio_errors(self.url, "gave up while resuming"):
            outcome = await self._await_status(self.ezsp.initialize_network(), RESUME_TIMEOUT_S)
            if outcome not in (t.sl_Status.NETWORK_UP, t.sl_Status.NOT_JOINED) and self._polls:
                outcome = await find_parent(self._rejoin, t.sl_Status.NETWORK_UP)
            if outcome != t.sl_Status.NETWORK_UP:
                raise NodeError(f"the radio {self.url} does not resume its network: {outcome.name}")
            await self._came_up()

    async def _await_status(self, command: Any, timeout_s: float) -> t.sl_Status:
        """Run `command` and wait for the stack status that ends what it began."""
        self._status = asyncio.get_running_loop().create_future()
        try:
            answer = await command
            status = answer[0] if isinstance(answer, list | tuple) else answer
            status = t.sl_Status.from_ember_status(status)
            if status != t.sl_Status.OK:
                return status
            async with asyncio.timeout(timeout_s):
                return await self._status
        except TimeoutError:
            return t.sl_Status.TIMEOUT
        finally:
            self._status = None

    async def _came_up(self) -> None:
        await self._meet_hub()
        if self._polls is not None:
            self._polls.begin(self._lost)
            self._polls.busy()
        self._on_event(NetworkUp())

    async def _meet_hub(self) -> None:
        """Whose network this is; it may be another's after a swap of the trust centre."""
        status, state = await self.ezsp.getCurrentSecurityState()
        self._require(status, "reading the trust centre's address")
        self.hub_eui64 = int.from_bytes(state.trustCenterLongAddress.serialize(), "little")

    async def _poll_every(self, interval_s: float) -> bool:
        # Not bellows' own `pollForData`: that waits for the first failure of a poll.
        (status,) = await self.ezsp._command(
            "pollForData",
            interval=max(1, round(interval_s * 4)),
            units=t.EmberEventUnits.EVENT_QS_TIME,  # in milliseconds a minute is too long for it
            failureLimit=MAX_MISSED_POLLS,
        )
        return t.sl_Status.from_ember_status(status) == t.sl_Status.OK

    async def _rejoin(self, has_key: bool) -> t.sl_Status:
        """Look for a parent once; how that ended."""
        ezsp = self.ezsp
        fields = {"haveCurrentNetworkKey": has_key, "channelMask": 0}
        if ezsp.ezsp_version >= _FIRST_WITH_REJOIN_REASON:
            fields |= {"reason": 0, "nodeType": _NODE_TYPES[self.role]}
        return await self._await_status(ezsp.findAndRejoinNetwork(**fields), REJOIN_TIMEOUT_S)

    async def _return(self) -> None:
        """The parent does not answer any more."""
        try:
            with radio_errors(self.url, "gave up while looking for a parent"):
                outcome = await find_parent(self._rejoin, t.sl_Status.NETWORK_UP)
                if outcome == t.sl_Status.NETWORK_UP:
                    await self._meet_hub_again()
            if outcome != t.sl_Status.NETWORK_UP:
                raise NodeError(f"its parent is lost, and no other was found: {outcome.name}")
        except NodeError as error:
            self._on_event(NetworkDown(str(error)))

    async def look_for_hub(self) -> None:
        """One search for a network of this extended PAN id, first for one of another hub."""
        if self._status is not None:
            return  # it is looking already
        with radio_errors(self.url, "gave up while looking for its hub"):
            if await find_hub(self._rejoin, t.sl_Status.NETWORK_UP):
                await self._meet_hub_again()

    async def _meet_hub_again(self) -> None:
        before = self.hub_eui64
        await self._meet_hub()
        if self.hub_eui64 != before:
            self._on_event(NetworkUp())

    async def leave(self) -> None:
        """Leave the network; the stick forgets it."""
        with radio_errors(self.url, "does not leave its network"):
            await self._leave()

    async def find_endpoint(self, peer: int, cluster: int, *, is_server: bool) -> int | None:
        """The endpoint on which the hub serves `cluster`, or uses it."""
        if peer != self.hub_eui64:
            return None
        if self._polls is not None:
            self._polls.busy()
        with radio_errors(self.url, "gave up while looking for an endpoint"):
            return await self.ezsp.find_endpoint(HUB_NWK, cluster, is_server=is_server)

    def send(self, frame: Frame) -> int:
        """Queue a frame for the hub, the only peer of a device. Raises QueueFull, NodeError."""
        if frame.peer != self.hub_eui64:
            raise NodeError(f"{frame.peer:016X} is not the hub of this network")
        tag = self.ezsp.submit(HUB_NWK, frame)
        if self._polls is not None:
            self._polls.sent(tag)
        return tag

    async def close(self) -> None:
        """Let go of the stick, which stays on."""
        if self._polls is not None:
            self._polls.stop()
        if self._returning is not None:
            self._returning.cancel()
            self._returning = None
        if self._ezsp is not None:
            ezsp, self._ezsp = self._ezsp, None
            await ezsp.disconnect()

    # -- what the stick tells ------------------------------------------------------------------

    def _peer_of(self, nwk: int, _eui64: int | None) -> int | None:
        """A device's only peer is its hub."""
        return self.hub_eui64 if nwk == HUB_NWK else None

    def _hear(self, event: NodeEvent) -> None:
        """What an end device hears and how its messages end tells how often to poll."""
        assert self._polls is not None
        if type(event) is Sent:
            self._polls.ended(event.tag)
        else:
            self._polls.busy()
        self._on_event(event)

    def _callback(self, name: str, arguments: list[Any]) -> None:
        if name == "pollCompleteHandler":
            self._polls_failed()
        if name != "stackStatusHandler":
            return
        status = t.sl_Status.from_ember_status(arguments[0])
        if status == t.sl_Status.ZIGBEE_TRUST_CENTER_SWAP_EUI_HAS_CHANGED:
            status = t.sl_Status.NETWORK_UP  # it says both
        if self._status is not None:
            if not self._status.done():
                self._status.set_result(status)
        elif status == t.sl_Status.NETWORK_DOWN:
            self._on_event(PutOut())

    def _polls_failed(self) -> None:
        """The stick tells of polls only when too many failed: the parent is gone."""
        if self._ezsp is None or self._status is not None:
            return
        if self._returning is None or self._returning.done():
            self._returning = asyncio.get_running_loop().create_task(
                self._return(), name=f"{self.url} looks for a parent"
            )

    def connection_lost(self, error: Exception | None) -> None:
        """bellows calls this when the port is closed under it; `_lost` has told already."""

    def _lost(self, reason: str) -> None:
        if self._ezsp is not None:
            self._on_event(NetworkDown(f"the radio {self.url} was lost: {reason}"))

    def _require(self, status: Any, what: str) -> None:
        status = t.sl_Status.from_ember_status(status)
        if status != t.sl_Status.OK:
            raise NodeError(f"the radio {self.url} refused {what}: {status.name}")
