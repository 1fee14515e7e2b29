"""How a node finds a network and is let in: scans, MAC association, and the key it is given.

Source: ZigBee specification 05-3474, 3.6.1.4 (joining), 4.6.3.2 (authentication of a joiner), 4.4.3
(transport key); IEEE 802.15.4-2006, 7.5.3.1 (association); Smart Energy 07-5356, 5.4.8.1 (install
codes). A joiner's link key is known beforehand: the network key crosses the air under a key derived
from it, and nobody else can read it.

    joiner       event                        next         effect
    -----------  ---------------------------  -----------  ------------------------------------
    IDLE         join                         SEEKING      Beacon Request on the channel
    SEEKING      listening is over, none fits IDLE         StackStatus(NO_BEACONS)
    SEEKING      listening is over            ASSOCIATING  Association Request
    ASSOCIATING  request acknowledged         ASSOCIATING  Data Request after the response wait
    ASSOCIATING  response, address given      KEYLESS      wait for the network key
    ASSOCIATING  refused, or time is up       IDLE         StackStatus(JOIN_FAILED)
    KEYLESS      Transport Key opens          IDLE         network stored, up, Device Announce
    KEYLESS      time is up                   IDLE         StackStatus(NO_LINK_KEY_RECEIVED)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntFlag, auto
from struct import Struct
from typing import TYPE_CHECKING

from emulator.medium.timing import SYMBOL_US, Cancellable
from emulator.zigbee import aps, mac, zdo
from emulator.zigbee.aps import TransportKey
from emulator.zigbee.events import (
    DeviceUpdate,
    EnergyFound,
    JoinDecision,
    NetworkFound,
    NodeType,
    ScanDone,
    StackStatus,
    Status,
    TrustCenterJoin,
)
from emulator.zigbee.mac import Beacon, MacError, MacFrame
from emulator.zigbee.mac_link import SendResult
from emulator.zigbee.security import key_transport_key
from emulator.zigbee.state import UNKNOWN_EUI64, CounterExhausted, Network

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

SUPERFRAME_US = 960 * SYMBOL_US  # aBaseSuperframeDuration
RESPONSE_WAIT_US = 32 * SUPERFRAME_US  # macResponseWaitTime
ASSOCIATION_TIMEOUT_US = 3 * RESPONSE_WAIT_US
KEY_TIMEOUT_US = 6_000_000  # apsSecurityTimeOutPeriod, order of magnitude of EmberZNet's
JOIN_SCAN_DURATION = 3
PERMIT_FOREVER = 0xFF
WILDCARD_EUI64 = UNKNOWN_EUI64
QUIET_RSSI_DBM = -95  # what an energy scan hears of an air without foreign networks
WELL_KNOWN_KEY = b"ZigBeeAlliance09"
_GLOBAL_LINK_KEY = 0x0004  # EmberInitialSecurityBitmask, as the host of a trust centre set it
_HASHED_LINK_KEY = 0x0084

_ASSOCIATION_RESPONSE = Struct("<BHB")


class TrustCenterPolicy(IntFlag):
    """What the host lets a trust centre do; values are EZSP's EzspDecisionBitmask."""

    ALLOW_JOINS = 0x01
    ALLOW_UNSECURED_REJOINS = 0x02
    JOINS_USE_INSTALL_CODE_KEY = 0x10


class _State(Enum):
    IDLE = auto()
    SCANNING = auto()
    SEEKING = auto()
    ASSOCIATING = auto()
    KEYLESS = auto()


@dataclass(slots=True)
class JoinRequest:
    """What a host wants to join: any PAN with this extended PAN id, on this channel."""

    channel: int
    extended_pan_id: int
    node_type: NodeType
    tx_power_dbm: int = 8


@dataclass(slots=True)
class _Scan:
    channels: list[int]
    listen_us: int
    energy: bool
    previous_channel: int | None


class Joining:
    """Scanning and joining of one stack, and letting others in where it is the trust centre."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._state = _State.IDLE
        self._timer: Cancellable | None = None
        self._scan: _Scan | None = None
        self._request: JoinRequest | None = None
        self._beacons: list[NetworkFound] = []
        self._network: Network | None = None
        self._permit_until_us = 0
        self.policy = TrustCenterPolicy.ALLOW_JOINS

    @property
    def is_busy(self) -> bool:
        """Whether a scan or a join is under way."""
        return self._state is not _State.IDLE

    def clear(self) -> None:
        """Power off."""
        self._stop_timer()
        self._state = _State.IDLE

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, wait_us: int, call: Callable[..., object], *args: object) -> None:
        self._stop_timer()
        clock = self._stack.clock
        self._timer = clock.call_at_us(clock.now_us() + wait_us, call, *args)

    # -- scanning ------------------------------------------------------------------------------

    def start_scan(self, channel_mask: int, duration: int, *, energy: bool) -> Status:
        """Scan each channel for (2^duration + 1) superframes; ScanDone follows what was found."""
        channels = [channel for channel in range(11, 27) if channel_mask >> channel & 1]
        if self.is_busy:
            return Status.INVALID_CALL
        if not channels or not 0 <= duration <= 14:
            return Status.INVALID_PARAMETER
        listen_us = ((1 << duration) + 1) * SUPERFRAME_US
        self._scan = _Scan(channels, listen_us, energy, self._stack.mac.channel)
        self._state = _State.SCANNING
        self._scan_next()
        return Status.OK

    def _scan_next(self) -> None:
        scan = self._scan
        assert scan is not None
        stack = self._stack
        if not scan.channels:
            stack.mac.channel = scan.previous_channel
            self._scan = None
            self._state = _State.IDLE
            stack.on_event(ScanDone(Status.OK))
            return
        channel = scan.channels.pop(0)
        stack.mac.channel = channel
        if scan.energy:
            self._set_timer(scan.listen_us, self._energy_heard, channel)
        else:
            self._request_beacons()
            self._set_timer(scan.listen_us, self._scan_next)

    def _energy_heard(self, channel: int) -> None:
        self._stack.on_event(EnergyFound(channel, QUIET_RSSI_DBM))
        self._scan_next()

    def _request_beacons(self) -> None:
        payload = bytes((mac.COMMAND_BEACON_REQUEST,))
        self._stack.mac.send(
            MacFrame(
                mac.TYPE_COMMAND,
                False,
                False,
                0,
                mac.BROADCAST,
                mac.BROADCAST,
                False,
                None,
                None,
                False,
                payload,
            )
        )

    # -- joining -------------------------------------------------------------------------------

    def join(self, request: JoinRequest) -> Status:
        """Begin to join with the preconfigured link key; StackStatus tells the end."""
        stack = self._stack
        if self.is_busy or stack.is_up:
            return Status.INVALID_CALL
        if not 11 <= request.channel <= 26:
            return Status.INVALID_PARAMETER
        self._request = request
        self._beacons.clear()
        self._state = _State.SEEKING
        stack.mac.channel = request.channel
        self._request_beacons()
        self._set_timer(((1 << JOIN_SCAN_DURATION) + 1) * SUPERFRAME_US, self._associate)
        return Status.OK

    def _associate(self) -> None:
        request = self._request
        assert request is not None
        fitting = [
            beacon
            for beacon in self._beacons
            if beacon.extended_pan_id == request.extended_pan_id and beacon.permit_joining
        ]
        if not fitting:
            self._give_up(Status.NO_BEACONS)
            return
        parent = min(fitting, key=lambda beacon: beacon.source)  # the coordinator, if it answered
        stack = self._stack
        self._network = Network(
            parent.pan_id,
            parent.extended_pan_id,
            parent.channel,
            request.node_type,
            mac.BROADCAST,
            bytes(16),
            parent=parent.source,
            tx_power_dbm=request.tx_power_dbm,
            update_id=parent.update_id,
        )
        stack.mac.pan_id = parent.pan_id
        self._state = _State.ASSOCIATING
        payload = bytes((mac.COMMAND_ASSOCIATION_REQUEST, zdo.capability(request.node_type)))
        stack.mac.send(self._to_parent(payload, source_pan=mac.BROADCAST), self._association_sent)
        self._set_timer(ASSOCIATION_TIMEOUT_US, self._give_up, Status.JOIN_FAILED)

    def _to_parent(self, payload: bytes, *, source_pan: int) -> MacFrame:
        network = self._network
        assert network is not None
        eui64 = self._stack.state.eui64
        return MacFrame(
            mac.TYPE_COMMAND,
            True,
            False,
            0,
            network.pan_id,
            network.parent,
            False,
            source_pan,
            eui64,
            True,
            payload,
        )

    def _association_sent(self, result: SendResult) -> None:
        if self._state is not _State.ASSOCIATING:
            return
        if result is not SendResult.OK:
            self._give_up(Status.JOIN_FAILED)
            return
        clock = self._stack.clock
        clock.call_at_us(clock.now_us() + RESPONSE_WAIT_US, self._ask_for_response)

    def _ask_for_response(self) -> None:
        if self._state is _State.ASSOCIATING and self._network is not None:
            payload = bytes((mac.COMMAND_DATA_REQUEST,))
            frame = self._to_parent(payload, source_pan=self._network.pan_id)
            self._stack.mac.send(frame)

    def _associated(self, payload: bytes) -> None:
        network = self._network
        if (
            self._state is not _State.ASSOCIATING
            or network is None
            or len(payload) != _ASSOCIATION_RESPONSE.size
        ):
            return
        _, short_address, status = _ASSOCIATION_RESPONSE.unpack(payload)
        if status != mac.ASSOCIATION_SUCCESSFUL:
            self._give_up(Status.JOIN_FAILED)
            return
        network.short_address = short_address
        self._stack.mac.short_address = short_address
        self._state = _State.KEYLESS
        self._set_timer(KEY_TIMEOUT_US, self._give_up, Status.NO_LINK_KEY_RECEIVED)

    def receive_unsecured(self, frame: bytes) -> None:
        """A NWK frame without security: for a joiner without the network key, it may carry it."""
        stack = self._stack
        network = self._network
        if self._state is not _State.KEYLESS or network is None:
            return
        opened = stack.trust_center_link.open_network_key(frame, network.extended_pan_id)
        if opened is None:
            return
        command, status = opened
        network.key = command.key
        network.key_sequence = command.key_sequence
        network.trust_center_eui64 = command.source_eui64
        self._stop_timer()
        self._state = _State.IDLE
        stack.state.network = network
        stack.save()
        stack.come_up(status)
        stack.announce()

    def _give_up(self, status: Status) -> None:
        self._stop_timer()
        self._state = _State.IDLE
        self._network = None
        stack = self._stack
        stack.mac.channel = None
        stack.mac.pan_id = stack.mac.short_address = mac.BROADCAST
        stack.on_event(StackStatus(status))

    # -- letting others in ---------------------------------------------------------------------

    def permit(self, duration_s: int) -> None:
        """Let joiners associate here for `duration_s`; 0 closes, 255 stays open."""
        now_us = self._stack.clock.now_us()
        if duration_s == PERMIT_FOREVER:
            self._permit_until_us = 2**63
        else:
            self._permit_until_us = now_us + duration_s * 1_000_000

    @property
    def permits(self) -> bool:
        """Whether joiners may associate here now."""
        return self._stack.clock.now_us() < self._permit_until_us

    def receive_mac(self, frame: MacFrame) -> None:
        """A beacon or a command came in."""
        if frame.frame_type == mac.TYPE_BEACON:
            self._hear_beacon(frame)
        elif frame.frame_type == mac.TYPE_COMMAND and frame.payload:
            command = frame.payload[0]
            if command == mac.COMMAND_ASSOCIATION_RESPONSE:
                self._associated(frame.payload)
            elif self._stack.is_up and command == mac.COMMAND_BEACON_REQUEST:
                self._send_beacon()
            elif self._stack.is_up and command == mac.COMMAND_ASSOCIATION_REQUEST:
                self._take_in(frame)

    def _hear_beacon(self, frame: MacFrame) -> None:
        channel = self._stack.mac.channel
        if channel is None or frame.source is None or frame.source_pan is None:
            return
        try:
            beacon = mac.parse_beacon(frame.payload)
        except MacError:
            return
        found = NetworkFound(
            channel,
            frame.source_pan,
            beacon.extended_pan_id,
            beacon.permit_joining,
            beacon.stack_profile,
            beacon.update_id,
            frame.source,
        )
        if self._state is _State.SCANNING and self._scan is not None and not self._scan.energy:
            self._stack.on_event(found)
        elif self._state is _State.SEEKING and len(self._beacons) < 16:
            self._beacons.append(found)

    def _send_beacon(self) -> None:
        stack = self._stack
        network = stack.state.network
        assert network is not None
        if network.node_type not in (NodeType.COORDINATOR, NodeType.ROUTER):
            return
        coordinator = network.node_type is NodeType.COORDINATOR
        payload = mac.build_beacon(
            Beacon(
                coordinator,
                self.permits,
                2,  # ZigBee PRO
                True,
                0 if coordinator else 1,
                True,
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

    def _take_in(self, frame: MacFrame) -> None:
        stack = self._stack
        network = stack.state.network
        assert network is not None
        eui64 = frame.source
        if not self.permits or eui64 is None or not frame.source_extended:
            return
        if network.node_type is not NodeType.COORDINATOR:
            return  # routers take nobody in yet: every node of a bench hears its hub
        short_address = self._address_for(eui64)
        payload = _ASSOCIATION_RESPONSE.pack(
            mac.COMMAND_ASSOCIATION_RESPONSE, short_address, mac.ASSOCIATION_SUCCESSFUL
        )

        def done(result: SendResult) -> None:
            if result is SendResult.OK:
                self._authenticate(short_address, eui64)

        stack.mac.send_indirect(
            MacFrame(
                mac.TYPE_COMMAND,
                True,
                False,
                0,
                network.pan_id,
                eui64,
                True,
                network.pan_id,
                stack.state.eui64,
                True,
                payload,
            ),
            done,
        )

    def _address_for(self, eui64: int) -> int:
        stack = self._stack
        known = stack.short_of(eui64)
        if known is not None:
            return known
        while True:
            short_address = stack.random_bits(16)
            if 0x0001 <= short_address <= 0xFFF7 and stack.eui64_of(short_address) is None:
                return short_address

    def _joiner_key(self, eui64: int) -> bytes | None:
        """The link key a joiner must share: its own, or with the host's leave a common one."""
        stack = self._stack
        entry = stack.state.link_key_of(eui64)
        transient = stack.aps.transient_keys
        if eui64 in transient:
            return transient[eui64]
        if entry is not None:
            return entry.key
        if self.policy & TrustCenterPolicy.JOINS_USE_INSTALL_CODE_KEY:
            return None
        if WILDCARD_EUI64 in transient:
            return transient[WILDCARD_EUI64]
        if stack.state.security_bitmask & _HASHED_LINK_KEY == _GLOBAL_LINK_KEY:
            return stack.state.preconfigured_key
        return None

    def _authenticate(self, short_address: int, eui64: int) -> None:
        stack = self._stack
        network = stack.state.network
        if network is None or not stack.is_up:
            return
        link_key = self._joiner_key(eui64)
        allowed = self.policy & TrustCenterPolicy.ALLOW_JOINS and link_key is not None
        decision = JoinDecision.USE_PRECONFIGURED_KEY if allowed else JoinDecision.DENY_JOIN
        if allowed:
            stack.learn(short_address, eui64)
        stack.on_event(
            TrustCenterJoin(
                short_address,
                eui64,
                DeviceUpdate.STANDARD_SECURITY_UNSECURED_JOIN,
                decision,
                stack.short_address,
            )
        )
        if not allowed or link_key is None:
            return
        try:
            counter = stack.aps_counter.take()
        except CounterExhausted:
            return  # the joiner waits in vain, as for any key that is lost
        command = aps.seal_transport_key(
            stack.aps.frame_key(key_transport_key(link_key)),
            TransportKey(network.key, network.key_sequence, eui64, stack.state.eui64),
            stack.random_bits(8),
            counter,
        )
        stack.send_nwk_unsecured(short_address, command)

    def device_left(self, short_address: int, eui64: int) -> None:
        """A node said that it leaves: the trust centre frees its address and tells the host."""
        stack = self._stack
        network = stack.state.network
        if network is None or stack.eui64_of(short_address) != eui64.to_bytes(8, "little"):
            return
        stack.forget_device(short_address)
        if network.node_type is NodeType.COORDINATOR:
            update, decision = DeviceUpdate.DEVICE_LEFT, JoinDecision.NO_ACTION
            stack.on_event(TrustCenterJoin(short_address, eui64, update, decision, 0xFFFF))
