"""The hub's node: zigpy's coordinator on bellows, with Smart Energy beside it.

Source: DESIGN, "Hub on zigpy" and "Install codes". zigpy runs the network's life (forming,
resuming, watching the stick); what it would do to joiners of a home automation network it must not
do here, so devices are never interviewed and joining is opened for one EUI-64 at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import bellows.types as t
import zigpy.config
import zigpy.device
import zigpy.state
import zigpy.types
import zigpy.zdo.types as zdo_t
from bellows.zigbee.application import ControllerApplication
from zigpy.backups import NetworkBackup
from zigpy.exceptions import NetworkNotFormed

from emulator.devices.host_messages import OnHostMessage
from emulator.devices.node import (
    IN_A_NETWORK,
    KEY_TABLE_SIZE,
    MAX_PERMIT_S,
    SMART_ENERGY_PROFILE,
    Frame,
    HeldNetwork,
    Joined,
    Left,
    NetworkDown,
    NetworkSettings,
    NetworkUp,
    NodeError,
    OnEvent,
    SmartEnergyEndpoint,
    TakeOverRefused,
    radio_errors,
)
from emulator.devices.signal_counts import Heard, Signal
from emulator.devices.smart_energy_ezsp import SmartEnergyEzsp
from emulator.devices.tapped_ezsp import TappedEzsp

# Of the network key, when a network is put back: as many frames as its stick sends in no night.
COUNTER_MARGIN = 10_000
_PERMIT_MAX_S = 254  # permitJoining takes no more; 255 would be for ever
_PERMIT_STEP_S = 240
_NOBODY = (0xFFFE, 0xFFFF)  # a node id that stands for none
_POLICY = t.EzspDecisionBitmask.ALLOW_JOINS | t.EzspDecisionBitmask.JOINS_USE_INSTALL_CODE_KEY
_REJOINS = t.EzspDecisionBitmask.ALLOW_UNSECURED_REJOINS
_FIRST_WITH_TRANSIENT_KEYS = 5
_FIRST_WITH_POLICY_BITS = 8


class _QuietDevice(zigpy.device.Device):
    """A device that zigpy knows and never interviews: its questions would be no part of a HAN."""

    def schedule_initialize(self) -> None:
        return None


class HubApplication(ControllerApplication):
    """zigpy's coordinator application, told what a Communications Hub does otherwise."""

    _ezsp: SmartEnergyEzsp | None

    def __init__(self, config: dict[str, Any], node: ZigpyNode) -> None:
        super().__init__(config)
        self._node = node

    async def connect(self) -> None:
        """As bellows does, with the Smart Energy port in the place of its EZSP."""
        node = self._node
        make: Callable[..., SmartEnergyEzsp] = SmartEnergyEzsp
        if node.on_host_message is not None:
            make = partial(TappedEzsp, on_host_message=node.on_host_message)
        self._ezsp = make(
            self.config[zigpy.config.CONF_DEVICE],
            self,
            peer_of=node.peer_of,
            on_event=node.on_event,
            on_lost=node.lost,
        )
        try:
            await self._ezsp.connect(use_thread=False)
            await self._ezsp.write_config(self.config["ezsp_config"])
            self._created_device_endpoints.clear()
            await self.register_endpoints()
        except BaseException:
            await self._ezsp.disconnect()
            self._ezsp = None
            raise

    async def register_endpoints(self) -> None:
        """The hub's endpoints, all of the Smart Energy profile."""
        for endpoint in self._node.endpoints:
            await self.add_endpoint(
                zdo_t.SimpleDescriptor(
                    endpoint=endpoint.endpoint,
                    profile=SMART_ENERGY_PROFILE,
                    device_type=endpoint.device_id,
                    device_version=0,
                    input_clusters=list(endpoint.server_clusters),
                    output_clusters=list(endpoint.client_clusters),
                )
            )

    def add_device(self, ieee: zigpy.types.EUI64, nwk: zigpy.types.NWK) -> _QuietDevice:
        device = _QuietDevice(self, ieee, nwk)
        self.devices[ieee] = device
        return device

    def handle_join(self, nwk: Any, ieee: Any, parent_nwk: Any, **options: Any) -> None:
        super().handle_join(nwk, ieee, parent_nwk, **options)
        self._node.heard_of(int(nwk), _integer(ieee), joined=parent_nwk is not None)

    def handle_leave(self, nwk: Any, ieee: Any) -> None:
        super().handle_leave(nwk, ieee)
        self._node.left(_integer(ieee))

    async def permit(self, time_s: int = 60, node: Any = None) -> None:  # noqa: ARG002
        """Only closing is left to zigpy: it would broadcast Mgmt_Permit and open Green Power."""
        if time_s:
            raise NodeError("joining is opened for one device at a time, by ZigpyNode.permit")
        await self._node.ezsp.permitJoining(0)

    async def cleanup_tc_link_key(self, ieee: Any) -> None:
        """The joiner's key goes into the key table in the place of whatever stood there."""
        await self._node.keep_key(_integer(ieee))


def _integer(eui64: Any) -> int:
    return int.from_bytes(eui64.serialize(), "little")


def _eui64(value: int) -> Any:
    return t.EUI64.deserialize(value.to_bytes(8, "little"))[0]


class ZigpyNode:
    """The hub's radio: coordinator and trust centre of its HAN.

    `on_forming` is called when the stick knows no network, or may forget the one it knows;
    `on_host_message` with every message that the host gives its stick, or hears from it.
    """

    def __init__(
        self,
        url: str,
        endpoints: tuple[SmartEnergyEndpoint, ...],
        on_event: OnEvent,
        *,
        take_over: bool = False,
        on_forming: Callable[[], object] | None = None,
        on_host_message: OnHostMessage | None = None,
    ) -> None:
        self.url = url
        self.eui64 = 0
        self.extended_pan_id: int | None = None
        self.endpoints = endpoints
        self.on_event = on_event
        self.on_host_message = on_host_message
        self._take_over = take_over
        self._on_forming = on_forming
        self._app: HubApplication | None = None
        self._nwk_of: dict[int, int] = {}
        self._eui64_of: dict[int, int] = {}
        self._link_keys: dict[int, bytes] = {}  # permitted, and not yet in the key table
        self._key_index: dict[int, int] = {}
        self._permit: asyncio.Task[None] | None = None
        self._permit_until_s = 0.0
        self._forming = False
        self._takes_back = False

    def _config(self) -> dict[str, Any]:
        return {
            "device": {"path": self.url, "baudrate": 115200},
            "use_thread": False,
            "backup_enabled": False,
            "topology_scan_enabled": False,
            "startup_energy_scan": False,
            "ota": {"enabled": False},
            "ezsp_config": {"CONFIG_KEY_TABLE_SIZE": KEY_TABLE_SIZE},
        }

    @property
    def ezsp(self) -> SmartEnergyEzsp:
        """The open stick. Raises NodeError before `open` and after `close`."""
        if self._app is None or self._app._ezsp is None:
            raise NodeError(f"the radio {self.url} is not open")
        ezsp: SmartEnergyEzsp = self._app._ezsp
        return ezsp

    def signal(self) -> Signal | None:
        """How well it has heard since it was opened."""
        is_open = self._app is not None and self._app._ezsp is not None
        return self.ezsp.signal() if is_open else None

    def heard(self, eui64: int) -> Heard | None:
        """How it has heard a device."""
        nwk = self._nwk_of.get(eui64)
        is_open = self._app is not None and self._app._ezsp is not None
        return self.ezsp.heard(nwk) if is_open and nwk is not None else None

    async def open(self) -> None:
        """Reach the stick, reset it, register the endpoints."""
        app = HubApplication(self._config(), self)
        with radio_errors(self.url, "does not answer"):
            await app.connect()
            self._app = app
            (eui64,) = await self.ezsp.getEui64()
        self.eui64 = _integer(eui64)

    async def form(self, settings: NetworkSettings, *, anew: bool = False) -> None:
        """Form the network of `settings`, then start as after any power cycle."""
        app = self._application()
        if not anew:
            with radio_errors(self.url, "does not tell what it knows"):
                await self._refuse_to_replace()
            if self._on_forming is not None:
                self._on_forming()
        info = zigpy.state.NetworkInfo(
            extended_pan_id=zigpy.types.ExtendedPanId(
                settings.extended_pan_id.to_bytes(8, "little")
            ),
            pan_id=zigpy.types.PanId(settings.pan_id),
            nwk_update_id=zigpy.types.uint8_t(0),
            nwk_manager_id=zigpy.types.NWK(0x0000),
            channel=zigpy.types.uint8_t(settings.channel),
            channel_mask=zigpy.types.Channels.from_channel_list([settings.channel]),
            security_level=zigpy.types.uint8_t(5),
            network_key=zigpy.state.Key(key=zigpy.types.KeyData(settings.network_key), seq=0),
            tc_link_key=zigpy.state.Key(
                key=zigpy.types.KeyData(b"ZigBeeAlliance09"), partner_ieee=_eui64(self.eui64)
            ),
            # Left to itself bellows draws this one at random, and no two runs would be alike.
            stack_specific={"ezsp": {"hashed_tclk": settings.trust_center_seed.hex()}},
        )
        if self.ezsp.ezsp_version < _FIRST_WITH_TRANSIENT_KEYS:
            # Whoever has no entry in the key table is let in by this key there: nobody knows it.
            info.tc_link_key.key = zigpy.types.KeyData(settings.trust_center_seed)
        node = zigpy.state.NodeInfo(
            nwk=zigpy.types.NWK(0x0000),
            ieee=_eui64(self.eui64),
            logical_type=zdo_t.LogicalType.Coordinator,
        )
        self._forming = True
        try:
            with radio_errors(self.url, "formed no network"):
                await app.write_network_info(network_info=info, node_info=node)
                # Forming resets the stick, and with that it forgets its endpoints.
                await app.disconnect()
                await app.connect()
                await app.start_network()
                await self._started()
        finally:
            self._forming = False
        self._nwk_of.clear()
        self._eui64_of.clear()
        self.on_event(NetworkUp())

    async def held_network(self) -> HeldNetwork | None:
        """The network the stick is in, which it goes back into for that; None for a blank one."""
        app = self._application()
        with radio_errors(self.url, "does not tell what it knows"):
            try:
                await app._ensure_network_running()
            except NetworkNotFormed:
                return None
            _, node_type, parameters = await self.ezsp.getNetworkParameters()
            extended_pan_id = int.from_bytes(parameters.extendedPanId.serialize(), "little")
            if node_type != t.EmberNodeType.COORDINATOR:
                return HeldNetwork(extended_pan_id, None)
            await app.load_network_info(load_devices=True)
            backup = NetworkBackup(
                network_info=app.state.network_info, node_info=app.state.node_info
            )
            return HeldNetwork(extended_pan_id, json.dumps(backup.as_dict()))

    async def put_back(self, held: HeldNetwork | None) -> None:
        """Leave the bench's network; the one the stick coordinated before it is formed anew, with
        counters beyond all that were used. Raises NodeError."""
        app = self._application()
        with radio_errors(self.url, "does not take its own network back"):
            with contextlib.suppress(NetworkNotFormed):
                await app._ensure_network_running()
                await self.ezsp.leaveNetwork()
            if held is None or held.backup is None:
                return
            backup = NetworkBackup.from_dict(json.loads(held.backup))
            key = backup.network_info.network_key
            counter = key.tx_counter + COUNTER_MARGIN
            info = backup.network_info.replace(network_key=key.replace(tx_counter=counter))
            await app.write_network_info(network_info=info, node_info=backup.node_info)

    async def _refuse_to_replace(self) -> None:
        """A stick that knows a network may belong to a house: it is not made to forget it."""
        if self._take_over:
            return
        with contextlib.suppress(NetworkNotFormed):
            await self._application()._ensure_network_running()
            raise TakeOverRefused(f"the radio {self.url} {IN_A_NETWORK}")

    async def resume(self, link_keys: Mapping[int, bytes] | None = None) -> None:
        """Start the network the stick remembers, with the keys of those let in before."""
        app = self._application()
        with radio_errors(self.url, "gave up while resuming"):
            try:
                await app.start_network()
            except NetworkNotFormed:
                raise NodeError(f"the radio {self.url} knows no network to resume") from None
            await self._started()
            for eui64, key in (link_keys or {}).items():
                if eui64 not in self._key_index:
                    await self._write_key(eui64, key)
            await self._find_devices()
        self.on_event(NetworkUp())

    async def _started(self) -> None:
        await self.ezsp.setPolicy(
            policyId=t.EzspPolicyId.TRUST_CENTER_POLICY,
            decisionId=t.EzspDecisionId(self._policy()),
        )
        self.extended_pan_id = _integer(self._application().state.network_info.extended_pan_id)
        await self._read_key_table()

    async def take_back(self, link_keys: Mapping[int, bytes]) -> None:
        """Put the keys of another hub's devices into the key table, and let them rejoin."""
        self._takes_back = True
        with radio_errors(self.url, "does not take the devices of another hub"):
            for eui64, key in link_keys.items():
                if eui64 not in self._key_index and not await self._write_key(eui64, key):
                    raise NodeError(f"the radio {self.url} has no room for a link key")
            await self.ezsp.setPolicy(
                policyId=t.EzspPolicyId.TRUST_CENTER_POLICY,
                decisionId=t.EzspDecisionId(self._policy()),
            )

    async def link_key(self, eui64: int) -> bytes | None:
        """What stands in the key table for a device."""
        index = self._key_index.get(eui64)
        with radio_errors(self.url, "does not tell a link key"):
            entry = None if index is None else await self._key_at(index)
        return entry[1] if entry is not None and entry[0] == eui64 else None

    def _policy(self) -> int:
        """Joiners need a key of their own; each version of EZSP has its words for that."""
        version = self.ezsp.ezsp_version
        if version >= _FIRST_WITH_POLICY_BITS:
            return int(_POLICY | _REJOINS if self._takes_back else _POLICY)
        if self._takes_back:
            return int(t.EzspDecisionId.ALLOW_PRECONFIGURED_KEY_JOINS)
        if version >= _FIRST_WITH_TRANSIENT_KEYS:
            return int(t.EzspDecisionId.BDB_JOIN_USES_INSTALL_CODE_KEY)
        return int(t.EzspDecisionId.ALLOW_PRECONFIGURED_KEY_JOINS)

    async def _find_devices(self) -> None:
        """Devices do not announce themselves again when only their hub was restarted."""
        for eui64 in self._key_index:
            *_, nwk = await self.ezsp.lookupNodeIdByEui64(eui64=_eui64(eui64))
            if nwk not in _NOBODY:
                self._application().add_device(_eui64(eui64), nwk)
                self.heard_of(int(nwk), eui64, joined=False)

    async def _read_key_table(self) -> None:
        self._key_index.clear()
        for index in range(KEY_TABLE_SIZE):
            entry = await self._key_at(index)
            if entry is not None:
                self._key_index[entry[0]] = index

    async def _key_at(self, index: int) -> tuple[int, bytes] | None:
        """Whose key stands at `index` of the key table, and which; None for nobody's."""
        ezsp = self.ezsp
        new = self._has_command("exportLinkKeyByIndex")
        name = "exportLinkKeyByIndex" if new else "getKeyTableEntry"
        answer = await getattr(ezsp, name)(index=index)
        by_name = dict(zip(ezsp._protocol.COMMANDS[name][2], answer, strict=False))
        if t.sl_Status.from_ember_status(by_name["status"]) != t.sl_Status.OK:
            return None
        if not new:
            held = by_name["keyStruct"]
            return _integer(held.partnerEUI64), held.key.serialize()
        # EZSP 14 tells the partner in the context, 12 and 13 beside it.
        partner = by_name["eui64"] if "eui64" in by_name else by_name["context"].eui64
        return _integer(partner), by_name["plaintext_key"].serialize()

    def _has_command(self, name: str) -> bool:
        return name in self.ezsp._protocol.COMMANDS

    def _application(self) -> HubApplication:
        if self._app is None:
            raise NodeError(f"the radio {self.url} is not open")
        return self._app

    async def join(self, channel: int, extended_pan_id: int, _link_key: bytes) -> None:
        """Hubs form; devices join."""
        raise NodeError(
            f"the radio {self.url} is a hub's: it joins no network "
            f"({extended_pan_id:016X} on channel {channel})"
        )

    async def leave(self) -> None:
        """Give the network up; the stick forgets it."""
        with radio_errors(self.url, "does not leave its network"):
            await self.ezsp.leaveNetwork()

    async def look_for_hub(self) -> None:
        """Hubs are looked for."""
        raise NodeError(f"the radio {self.url} is a hub's")

    async def permit(self, eui64: int, link_key: bytes, duration_s: int) -> None:
        """Let one device join with its own key; joining stays open until the last permit ends."""
        if not 1 <= duration_s <= MAX_PERMIT_S:
            raise NodeError(f"joining is opened for 1 to {MAX_PERMIT_S} s, not {duration_s}")
        with radio_errors(self.url, "does not let a device in"):
            if self.ezsp.ezsp_version < _FIRST_WITH_TRANSIENT_KEYS:
                if not await self._write_key(eui64, link_key):
                    raise NodeError(f"the radio {self.url} has no room for a link key")
            else:
                await self._add_transient_key(eui64, link_key)
                self._link_keys[eui64] = link_key
        loop = asyncio.get_running_loop()
        self._permit_until_s = max(self._permit_until_s, loop.time() + duration_s)
        if self._permit is not None:
            self._permit.cancel()
        self._permit = loop.create_task(self._keep_open(loop), name=f"joining at {self.url}")

    async def dismiss(self, eui64: int) -> None:
        """Tell a device to leave, under its link key, and erase that; it may not be there."""
        self._link_keys.pop(eui64, None)
        nwk = self._nwk_of.get(eui64)
        address = _eui64(eui64)
        with radio_errors(self.url, "does not put a device out"):
            if nwk is not None:
                await self.ezsp.removeDevice(destShort=nwk, destLong=address, targetLong=address)
            index = self._key_index.pop(eui64, None)
            if index is not None:
                await self.ezsp.eraseKeyTableEntry(index=index)
            if self.ezsp.ezsp_version >= _FIRST_WITH_TRANSIENT_KEYS:
                # While joining is open it would be back at once. The stick erases all or none.
                await self.ezsp.clearTransientLinkKeys()
                for other, link_key in list(self._link_keys.items()):
                    await self._add_transient_key(other, link_key)

    async def _add_transient_key(self, eui64: int, link_key: bytes) -> None:
        status = await self.ezsp.add_transient_link_key(_eui64(eui64), t.KeyData(link_key))
        if status != t.sl_Status.OK:
            raise NodeError(f"the radio {self.url} does not take a link key: {status.name}")

    async def _keep_open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Joining and transient keys both expire in the stick; renew them until the time is up."""
        try:
            while (left_s := round(self._permit_until_s - loop.time())) > 0:
                await self.ezsp.permitJoining(min(left_s, _PERMIT_MAX_S))
                await asyncio.sleep(min(left_s, _PERMIT_STEP_S))
                for eui64, link_key in list(self._link_keys.items()):
                    await self._add_transient_key(eui64, link_key)
        except Exception as error:  # whatever bellows raises
            self.lost(f"it does not keep joining open: {error!r}")

    async def find_endpoint(self, peer: int, cluster: int, *, is_server: bool) -> int | None:
        """The endpoint on which a device serves `cluster`, or uses it."""
        nwk = self._nwk_of.get(peer)
        if nwk is None:
            return None
        with radio_errors(self.url, "gave up while looking for an endpoint"):
            return await self.ezsp.find_endpoint(nwk, cluster, is_server=is_server)

    def send(self, frame: Frame) -> int:
        """Queue a frame for a device of this network. Raises QueueFull, NodeError."""
        nwk = self._nwk_of.get(frame.peer)
        if nwk is None:
            raise NodeError(f"{frame.peer:016X} is not in this network")
        return self.ezsp.submit(nwk, frame)

    async def close(self) -> None:
        """Let go of the stick, which stays on."""
        if self._app is not None:
            app, self._app = self._app, None
            await app.shutdown(db=False)
        if self._permit is not None:
            self._permit.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._permit
            self._permit = None

    # -- what the stick and zigpy tell ---------------------------------------------------------

    def peer_of(self, nwk: int, eui64: int | None) -> int | None:
        """Which device of this network a message came from, None for a stranger."""
        if eui64 is not None and eui64 in self._nwk_of:
            if self._nwk_of[eui64] != nwk:  # it took another address, and that was not heard
                self.heard_of(nwk, eui64, joined=False)
            return eui64
        return self._eui64_of.get(nwk)

    def lost(self, reason: str) -> None:
        """The stick does not answer, or its line was closed (as forming does by itself)."""
        if self._app is not None and not self._forming:
            self.on_event(NetworkDown(f"the radio {self.url} was lost: {reason}"))

    def heard_of(self, nwk: int, eui64: int, *, joined: bool) -> None:
        """A device joined or announced itself."""
        old = self._nwk_of.get(eui64)
        if old is not None:
            self._eui64_of.pop(old, None)
        self._nwk_of[eui64] = nwk
        self._eui64_of[nwk] = eui64
        if joined:
            self.on_event(Joined(eui64, nwk))

    def left(self, eui64: int) -> None:
        """A device left."""
        nwk = self._nwk_of.pop(eui64, None)
        if nwk is not None:
            self._eui64_of.pop(nwk, None)
            self.on_event(Left(eui64))

    async def keep_key(self, eui64: int) -> None:
        """Put a joiner's install-code key into the key table: transient keys expire."""
        key = self._link_keys.get(eui64)
        # Without room the transient key serves for as long as joining stays open.
        if key is not None and await self._write_key(eui64, key):
            self._link_keys.pop(eui64, None)

    async def _write_key(self, eui64: int, key: bytes) -> bool:
        """Write a key to the key table, over the one the device had; whether it is there now."""
        index = self._key_index.get(eui64)
        if index is None:
            free = set(range(KEY_TABLE_SIZE)) - set(self._key_index.values())
            if not free:
                return False
            # Taken before anything is awaited: two devices may join at the same time.
            index = self._key_index[eui64] = min(free)
        address, data = _eui64(eui64), t.KeyData(key)
        if self._has_command("importLinkKey"):
            (status,) = await self.ezsp.importLinkKey(index=index, address=address, key=data)
        else:
            (status,) = await self.ezsp.setKeyTableEntry(
                index=index, address=address, linkKey=True, keyData=data
            )
        if t.sl_Status.from_ember_status(status) == t.sl_Status.OK:
            return True
        del self._key_index[eui64]
        return False
