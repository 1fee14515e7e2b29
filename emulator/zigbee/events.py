"""What a network stack tells whoever drives it, and the words both use.

Source: ZigBee specification 05-3474, 2.2.4 (APSDE), 3.2 (NLME); the options are those of EZSP's
EmberApsOption, because a stack is driven through EZSP or by an application that could be.
"""

from __future__ import annotations

from enum import Enum, auto
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
    NO_LINK_KEY_RECEIVED = auto()
    DELIVERY_FAILED = auto()
    MESSAGE_TOO_LONG = auto()
    MAX_MESSAGE_LIMIT_REACHED = auto()
    KEY_NOT_FOUND = auto()
    TABLE_FULL = auto()
    NOT_FOUND = auto()
    INVALID_INDEX = auto()
    ENTRY_ERASED = auto()
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


class MessageKind(Enum):
    """How a message was addressed; the values are EZSP's incoming message types."""

    UNICAST = 0
    BROADCAST = 4


OPTION_ENCRYPTION = 0x0020
OPTION_RETRY = 0x0040
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


class EnergyFound(NamedTuple):
    channel: int
    rssi_dbm: int


class ScanDone(NamedTuple):
    status: Status


class DeviceUpdate(Enum):
    """What the trust centre learns of a device; values are EZSP's EmberDeviceUpdate."""

    STANDARD_SECURITY_UNSECURED_JOIN = 1
    DEVICE_LEFT = 2


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
    | EnergyFound
    | ScanDone
    | TrustCenterJoin
    | LinkKeyNews
    | NetworkKeySwitched
    | CbkeKeys
    | CbkeSmacs
    | MessageSigned
    | SignatureVerified
)
