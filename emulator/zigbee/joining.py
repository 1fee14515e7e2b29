"""How a node finds a network and is let in: scans, MAC association, and the key it is given.

Source: ZigBee specification 05-3474, 3.6.1.4 (joining), 4.6.3.2 (authentication of a joiner), 4.4.3
(transport key); IEEE 802.15.4-2006, 7.5.3.1 (association); Smart Energy 07-5356, 5.4.8.1 (install
codes). A joiner's link key is known beforehand: the network key crosses the air under a key derived
from it, and nobody else can read it. What a parent does is in newcomers.py, what the trust
centre does in admission.py; rejoin.py uses the search and the wait for the key of this module.

    joiner       event                        next         effect
    -----------  ---------------------------  -----------  ------------------------------------
    IDLE         join                         SEEKING      Beacon Request on the channel
    SEEKING      listening is over, none fits IDLE         StackStatus(NO_BEACONS)
    SEEKING      listening is over            ASSOCIATING  Association Request
    ASSOCIATING  request acknowledged         ASSOCIATING  Data Request after the response wait
    ASSOCIATING  response, address given      KEYLESS      wait for the network key
    ASSOCIATING  refused, or time is up       IDLE         StackStatus(JOIN_FAILED)
    KEYLESS      every 250 ms, if it sleeps   KEYLESS      Data Request
    KEYLESS      Transport Key opens          IDLE         network stored, up, Device Announce
    KEYLESS      time is up                   IDLE         StackStatus(NO_LINK_KEY_RECEIVED)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from emulator.medium.timing import SYMBOL_US, Cancellable
from emulator.zigbee import mac, zdo
from emulator.zigbee.admission import WILDCARD_EUI64, TrustCenterPolicy
from emulator.zigbee.events import (
    EnergyFound,
    NetworkFound,
    NodeType,
    ScanDone,
    StackStatus,
    Status,
)
from emulator.zigbee.mac import Beacon, MacError, MacFrame
from emulator.zigbee.mac_link import SendResult
from emulator.zigbee.state import Network

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

__all__ = ["WILDCARD_EUI64", "JoinRequest", "Joining", "TrustCenterPolicy"]

SUPERFRAME_US = 960 * SYMBOL_US  # aBaseSuperframeDuration
RESPONSE_WAIT_US = 32 * SUPERFRAME_US  # macResponseWaitTime
ASSOCIATION_TIMEOUT_US = 3 * RESPONSE_WAIT_US
KEY_TIMEOUT_US = 6_000_000  # apsSecurityTimeOutPeriod, order of magnitude of EmberZNet's
JOIN_SCAN_DURATION = 3
PERMIT_FOREVER = 0xFF
QUIET_RSSI_DBM = -95  # what an energy scan hears of an air without foreign networks
WELL_KNOWN_KEY = b"ZigBeeAlliance09"
KEY_POLL_US = 250_000  # how often a sleeper asks while it waits for the key
MAX_BEACONS = 16

_ASSOCIATION_RESPONSE = Struct("<BHB")


class _State(Enum):
    IDLE = auto()
    SCANNING = auto()
    SEEKING = auto()
    ASSOCIATING = auto()
    ENTERING = auto()  # what rejoin.py does
    KEYLESS = auto()


@dataclass(slots=True)
class JoinRequest:
    """What a host wants to join: any PAN with this extended PAN id, on this channel."""

    channel: int
    extended_pan_id: int
    node_type: NodeType
    tx_power_dbm: int = 8


class Heard(NamedTuple):
    """A beacon of a network that was searched for."""

    network: NetworkFound
    beacon: Beacon


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
        self._heard: list[Heard] = []
        self._search: list[int] = []
        self._found: Callable[[list[Heard]], object] = _nothing
        self._network: Network | None = None
        self._known: Network | None = None  # of who comes back
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

    def begin(self, wait_us: int, call: Callable[..., object], *args: object) -> None:
        """Entering a network goes on; `call` ends it if nothing else does within `wait_us`."""
        self._set_timer(wait_us, call, *args)

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
        self.search([request.channel], self._associate)
        return Status.OK

    def search(self, channels: list[int], found: Callable[[list[Heard]], object]) -> None:
        """Ask for beacons on each channel; `found(what was heard)` begins what comes next."""
        self._search = list(channels)
        self._found = found
        self._heard.clear()
        self._state = _State.SEEKING
        self._search_next()

    def _search_next(self) -> None:
        if not self._search:
            self._state = _State.ENTERING
            self._found(list(self._heard))
            return
        self._stack.mac.channel = self._search.pop(0)
        self._request_beacons()
        self._set_timer(((1 << JOIN_SCAN_DURATION) + 1) * SUPERFRAME_US, self._search_next)

    def _associate(self, heard: list[Heard]) -> None:
        request = self._request
        assert request is not None
        fitting = [
            network
            for network, beacon in heard
            if network.extended_pan_id == request.extended_pan_id
            and network.permit_joining
            and (beacon.end_device_capacity or not request.node_type.is_end_device)
        ]
        if not fitting:
            self.give_up(Status.NO_BEACONS)
            return
        parent = min(fitting, key=lambda network: network.source)  # the coordinator, if it answered
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
        self._set_timer(ASSOCIATION_TIMEOUT_US, self.give_up, Status.JOIN_FAILED)

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
            self.give_up(Status.JOIN_FAILED)
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
            self.give_up(Status.JOIN_FAILED)
            return
        network.short_address = short_address
        self._stack.mac.short_address = short_address
        self.await_key(network, None)

    def await_key(self, network: Network, known: Network | None) -> None:
        """The parent took this node in; `network` is complete but for its key. Who comes back has
        `known` it before.
        """
        self._network = network
        self._known = known
        self._state = _State.KEYLESS
        self._set_timer(KEY_TIMEOUT_US, self.give_up, Status.NO_LINK_KEY_RECEIVED)
        if network.node_type.sleeps:
            self._ask_for_key()

    def _ask_for_key(self) -> None:
        network = self._network
        if self._state is not _State.KEYLESS or network is None:
            return
        mac_link = self._stack.mac
        if not mac_link.is_polling:
            mac_link.poll(network.parent, _ignore_poll)
        clock = self._stack.clock
        clock.call_at_us(clock.now_us() + KEY_POLL_US, self._ask_for_key)

    def receive_unsecured(self, frame: bytes) -> None:
        """A NWK frame without security: for one without the network key, it may carry it."""
        stack = self._stack
        network = self._network
        if self._state is not _State.KEYLESS or network is None:
            return
            return
        opened = stack.trust_center_link.open_network_key(
            frame, network.extended_pan_id, is_rejoin=self._known is not None
        )
        if opened is None:
            return
            return
        command, status = opened
        network.key = command.key
        network.key_sequence = command.key_sequence
        network.trust_center_eui64 = command.source_eui64
        self.finish(network, status)

    def finish(self, network: Network, status: Status = Status.NETWORK_UP) -> None:
        """This node is in, with everything it needs."""
        stack = self._stack
        self._stop_timer()
        self._state = _State.IDLE
        self._network = None
        stack.state.network = network
        stack.save()
        stack.come_up(status)
        stack.announce()
        stack.polling.ask_for_timeout()

    def give_up(self, status: Status) -> None:
        """It did not work; a network known from before stays known."""
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

    def permit_until(self, when_us: int) -> None:
        """Let joiners associate here until then, and longer if they may already."""
        self._permit_until_us = max(self._permit_until_us, when_us)

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
                self._stack.newcomers.send_beacon()
            elif self._stack.is_up and command == mac.COMMAND_ASSOCIATION_REQUEST:
                self._stack.newcomers.associate(frame)

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
        elif self._state is _State.SEEKING and len(self._heard) < MAX_BEACONS:
            self._heard.append(Heard(found, beacon))


def _nothing(_heard: list[Heard]) -> None:
    """Nobody searches."""


def _ignore_poll(_result: SendResult, _more: bool) -> None:
    """The key comes as a frame, or does not."""
