"""What a network stack tells whoever drives it, and the words both use.

Source: ZigBee specification 05-3474, 2.2.4 (APSDE), 3.2 (NLME); the options are those of EZSP's
EmberApsOption, because a stack is driven through EZSP or by an application that could be.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from typing import NamedTuple


class Status(Enum):
    """Outcome of a call or of a network event; each host protocol has numbers of its own."""

    OK = auto()
    NETWORK_UP = auto()
    NETWORK_DOWN = auto()
    NOT_JOINED = auto()
    INVALID_CALL = auto()
    INVALID_PARAMETER = auto()
    NO_BEACONS = auto()
    JOIN_FAILED = auto()
    MOVE_FAILED = auto()
    MAC_NO_DATA = auto()
    MAC_NO_ACK = auto()
    NO_LINK_KEY_RECEIVED = auto()
    DELIVERY_FAILED = auto()
    MESSAGE_TOO_LONG = auto()
    MAX_MESSAGE_LIMIT_REACHED = auto()
    KEY_NOT_FOUND = auto()
    TABLE_FULL = auto()
    NOT_FOUND = auto()
    INVALID_INDEX = auto()
    ENTRY_ERASED = auto()
    NODE_ID_CHANGED = auto()
    SOURCE_ROUTE_FAILURE = auto()
    MANY_TO_ONE_ROUTE_FAILURE = auto()
    FATAL = auto()
    OPERATION_IN_PROGRESS = auto()
    LIBRARY_NOT_PRESENT = auto()
    SECURITY_DATA_INVALID = auto()
    SIGNATURE_VERIFY_FAILURE = auto()
    TOO_SOON_FOR_SWITCH_KEY = auto()
    TRUST_CENTER_EUI_HAS_CHANGED = auto()


class NodeType(Enum):
    """The role a node plays in its network."""

    COORDINATOR = 1
    ROUTER = 2
    END_DEVICE = 3
    SLEEPY_END_DEVICE = 4
    MOBILE_END_DEVICE = 5

    @property
    def is_end_device(self) -> bool:
        """Whether the node speaks through a parent only."""
        return self.value >= 3

    @property
    def sleeps(self) -> bool:
        """Whether its receiver is off between polls."""
        return self.value >= 4


class MessageKind(IntEnum):
    """How a message was addressed; the values are EZSP's incoming message types."""

    UNICAST = 0
    MULTICAST = 2
    BROADCAST = 4


OPTION_ENCRYPTION = 0x0020
OPTION_RETRY = 0x0040
OPTION_FORCE_ROUTE_DISCOVERY = 0x0200
OPTION_FRAGMENT = 0x8000


class Aps(NamedTuple):
    """An APS address: profile, cluster, endpoints, options, group and sequence.

    Of a fragment, `group` is the number of blocks << 8 | the index of this one; only the first
    fragment on the air says the number.
    """

    profile: int
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    options: int
    group: int = 0
    sequence: int = 0


class MessageReceived(NamedTuple):
    kind: MessageKind
    aps: Aps
    source: int
    source_eui64: int | None
    payload: bytes


class MessageSent(NamedTuple):
    """The end of a message this node sent: acknowledged, or given up."""

    status: Status
    kind: MessageKind
    destination: int
    aps: Aps
    tag: int


class StackStatus(NamedTuple):
    status: Status


class NetworkFound(NamedTuple):
    channel: int
    pan_id: int
    extended_pan_id: int
    permit_joining: bool
    stack_profile: int
    update_id: int
    source: int


class PacketHeard(NamedTuple):
    """What a sniffer hears; two octets in the place of the FCS are none."""

    packet: bytes


class EnergyFound(NamedTuple):
    channel: int
    rssi_dbm: int


class ScanDone(NamedTuple):
    status: Status


class DeviceUpdate(Enum):
    """What the trust centre learns of a device; values are EZSP's EmberDeviceUpdate."""

    STANDARD_SECURITY_SECURED_REJOIN = 0
    STANDARD_SECURITY_UNSECURED_JOIN = 1
    DEVICE_LEFT = 2
    STANDARD_SECURITY_UNSECURED_REJOIN = 3


class JoinDecision(Enum):
    """What the trust centre decides; values are EZSP's EmberJoinDecision."""

    USE_PRECONFIGURED_KEY = 0
    DENY_JOIN = 2
    NO_ACTION = 3


class TrustCenterJoin(NamedTuple):
    short_address: int
    eui64: int
    update: DeviceUpdate
    decision: JoinDecision
    parent: int


class RouteRecordHeard(NamedTuple):
    """By which relays a message will come, the one nearest to its sender first."""

    source: int
    source_eui64: int | None
    relays: tuple[int, ...]


class ManyToOneRequest(NamedTuple):
    """A concentrator asked for routes to itself."""

    source: int
    source_eui64: int | None
    cost: int


class NetworkStatusHeard(NamedTuple):
    """A router could not pass a message on to `address`; `status` as ZigBee numbers it."""

    status: int
    address: int


class AddressConflict(NamedTuple):
    """Two nodes have this address."""

    address: int


class ChildJoined(NamedTuple):
    """A child was taken in, or is a child here no more."""

    child_index: int
    joining: bool
    short_address: int
    eui64: int
    node_type: NodeType


class ChildPolled(NamedTuple):
    """A child asked for its frames; told only when the host wants to know."""

    short_address: int
    frame_follows: bool


class PollComplete(NamedTuple):
    """How asking the parent for frames ended."""

    status: Status


class KeyStatus(Enum):
    """What became of a link key that was asked for; values are EZSP's EmberKeyStatus."""

    APP_LINK_KEY_ESTABLISHED = 0x01
    TRUST_CENTER_LINK_KEY_ESTABLISHED = 0x03
    KEY_ESTABLISHMENT_TIMEOUT = 0x04
    KEY_TABLE_FULL = 0x05
    TC_RESPONDED_TO_KEY_REQUEST = 0x06
    TC_APP_KEY_SENT_TO_REQUESTER = 0x07
    TC_REQUEST_KEY_TYPE_NOT_SUPPORTED = 0x09
    TC_NO_LINK_KEY_FOR_REQUESTER = 0x0A
    TC_REJECTED_APP_KEY_REQUEST = 0x11
    TC_REQUESTER_VERIFY_KEY_TIMEOUT = 0x32
    TC_REQUESTER_VERIFY_KEY_FAILURE = 0x33
    TC_REQUESTER_VERIFY_KEY_SUCCESS = 0x34
    VERIFY_LINK_KEY_FAILURE = 0x64
    VERIFY_LINK_KEY_SUCCESS = 0x65


class LinkKeyNews(NamedTuple):
    """A step of an exchange about the link key with `partner`."""

    partner: int
    status: KeyStatus


class NetworkKeySwitched(NamedTuple):
    """From now on the network key of this sequence is in use here."""

    sequence: int


class CbkeKeys(NamedTuple):
    """An ephemeral key pair is there; `suite` is its bit (`cbke.suites`)."""

    suite: int
    status: Status
    public_key: bytes


class CbkeSmacs(NamedTuple):
    """Key and MACs of a key establishment are there."""

    suite: int
    status: Status
    initiator_smac: bytes
    responder_smac: bytes


class MessageSigned(NamedTuple):
    """The message with its signature behind it."""

    status: Status
    message: bytes


class SignatureVerified(NamedTuple):
    status: Status


Event = (
    MessageReceived
    | MessageSent
    | StackStatus
    | NetworkFound
    | PacketHeard
    | EnergyFound
    | ScanDone
    | TrustCenterJoin
    | RouteRecordHeard
    | ManyToOneRequest
    | NetworkStatusHeard
    | AddressConflict
    | ChildJoined
    | ChildPolled
    | PollComplete
    | LinkKeyNews
    | NetworkKeySwitched
    | CbkeKeys
    | CbkeSmacs
    | MessageSigned
    | SignatureVerified
)
