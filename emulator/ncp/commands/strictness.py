"""What a strict stick refuses and a lenient one lets pass: the order of things, ids, ranges, room.

Source: the EZSP reference (UG100 and its successor on docs.silabs.com), chapter 4: endpoints and
configuration values are fixed once the network is up; which EZSP error each of its commands gives.
ember.h, stack-info.h and security.h of EmberZNet, as their public texts have it: EMBER_NETWORK_DOWN
for messages without a network, EMBER_SECURITY_STATE_NOT_SET, the scan errors. EmberZNet 7.3 and
later refuse CONFIG_PACKET_BUFFER_COUNT (home-assistant/core#97967). Sizes of memory are nobody's
publication: docs/open-points.md.

A lenient stick is the default, since a host that is only being tried out need not be perfect; what
both refuse is refused by the commands themselves.
"""

from __future__ import annotations

from collections.abc import Callable

from emulator.ncp.commands import configuration as conf
from emulator.ncp.commands.session import Fields, Session
from emulator.ncp.ezsp_tables import Refusal

_FIRST_WITHOUT_BUFFER_COUNT = 12  # EmberZNet 7.3
MAX_ENDPOINTS = 16
MEMORY_OCTETS = 16 * 1024  # what the tables below may take together

# Of each table: octets of memory an entry takes, and the size it has by itself.
_ENTRY_OCTETS = {
    0x02: 24,  # neighbours
    0x03: 32,  # APS unicasts under way
    0x04: 16,  # bindings
    conf.CONFIG_ADDRESS_TABLE_SIZE: 12,
    conf.CONFIG_MULTICAST_TABLE_SIZE: 4,
    0x07: 8,  # routes
    0x08: 10,  # route discoveries
    0x11: 32,  # children
    0x19: 12,  # trust centre address cache
    0x1A: 6,  # source routes
    conf.CONFIG_KEY_TABLE_SIZE: 32,
    0x2B: 8,  # broadcasts
}
# What a value may be, where the reference or the name of the value bounds it.
_RANGES: dict[int, range | tuple[int, ...]] = {
    0x0C: (0, 2),  # stack profile: none of the alliance's, or ZigBee PRO
    conf.CONFIG_SECURITY_LEVEL: (0, 5),
    0x10: range(1, 31),  # hops
    0x11: range(65),  # children
    0x12: range(30_001),  # ms of indirect transmission
    0x17: range(4),  # transmit power mode, two bits
    conf.CONFIG_KEY_TABLE_SIZE: range(128),
    conf.CONFIG_APPLICATION_ZDO_FLAGS: range(256),
}
_READ_ONLY_CONFIGURATION = (0x29, 0x41, 0x42)  # certificates, Green Power tables
_CONFIGURATION = {*range(0x01, 0x09), 0x0C, 0x0D, *range(0x10, 0x14), 0x17, 0x18, 0x19, 0x1A} | {
    *range(0x1C, 0x23), 0x24, *range(0x29, 0x3A), 0x40, 0x41, 0x42
}  # fmt: skip
_ONLY_BEFORE_EZSP_7 = {0x14, 0x15, 0x1B}

_VALUES = {*range(0x2A), *range(0x30, 0x41)}
_READ_ONLY_VALUES = {0x00, conf.VALUE_FREE_BUFFERS, 0x08, 0x0B, conf.VALUE_VERSION_INFO, 0x13}
_VALUE_OCTETS = {conf.VALUE_NWK_FRAME_COUNTER: 4, conf.VALUE_APS_FRAME_COUNTER: 4}
_POLICIES = range(0x0A)

_SCAN_TYPES = (0, 1)  # energy, active
_ALL_CHANNELS = 0x07FFF800
_DISTRIBUTED = 0x0002  # EmberInitialSecurityBitmask
_HASHED = 0x0080

Rule = Callable[[Session, Fields], Refusal | None]


def refuse(session: Session, name: str, request: Fields) -> Refusal | None:
    """Why real firmware would not do this command now; None when it would try."""
    if name == "version":
        return None
    if not session.version_set:
        return Refusal.VERSION_NOT_SET
    rule = _RULES.get(name)
    return None if rule is None else rule(session, request)


# -- configuration ---------------------------------------------------------------------------------


def _known_configuration(session: Session, number: int) -> bool:
    if number == conf.CONFIG_PACKET_BUFFER_COUNT:
        return session.version < _FIRST_WITHOUT_BUFFER_COUNT
    return number in _CONFIGURATION or (session.version < 7 and number in _ONLY_BEFORE_EZSP_7)


def _get_configuration(session: Session, request: Fields) -> Refusal | None:
    return None if _known_configuration(session, request["configId"]) else Refusal.INVALID_ID


def _set_configuration(session: Session, request: Fields) -> Refusal | None:
    number, value = request["configId"], request["value"]
    if not _known_configuration(session, number):
        return Refusal.INVALID_ID
    if session.stack.is_up or number in _READ_ONLY_CONFIGURATION:
        return Refusal.INVALID_CALL
    if number in _RANGES and value not in _RANGES[number]:
        return Refusal.INVALID_VALUE
    if number in _ENTRY_OCTETS:
        wanted = sum(
            octets * (value if table == number else conf.configured(session, table))
            for table, octets in _ENTRY_OCTETS.items()
        )
        if wanted > MEMORY_OCTETS:
            return Refusal.OUT_OF_MEMORY
    return None


def _add_endpoint(session: Session, request: Fields) -> Refusal | None:
    stack = session.stack
    if stack.is_up:
        return Refusal.INVALID_CALL
    if request["endpoint"] in stack.endpoints:
        return Refusal.INVALID_VALUE
    if len(stack.endpoints) >= MAX_ENDPOINTS:
        return Refusal.OUT_OF_MEMORY
    return None


def _get_value(_session: Session, request: Fields) -> Refusal | None:
    return None if request["valueId"] in _VALUES else Refusal.INVALID_ID


def _set_value(_session: Session, request: Fields) -> Refusal | None:
    number = request["valueId"]
    if number not in _VALUES:
        return Refusal.INVALID_ID
    if number in _READ_ONLY_VALUES:
        return Refusal.INVALID_CALL
    if len(request["value"]) != _VALUE_OCTETS.get(number, len(request["value"])):
        return Refusal.INVALID_VALUE
    return None


def _policy(_session: Session, request: Fields) -> Refusal | None:
    return None if request["policyId"] in _POLICIES else Refusal.INVALID_ID


# -- tables ----------------------------------------------------------------------------------------


def _multicast(session: Session, request: Fields) -> Refusal | None:
    size = conf.configured(session, conf.CONFIG_MULTICAST_TABLE_SIZE)
    return None if request["index"] < size else Refusal.INDEX_OUT_OF_RANGE


def _address(session: Session, request: Fields) -> Refusal | None:
    index = request["index"] if "index" in request else request["addressTableIndex"]
    size = conf.configured(session, conf.CONFIG_ADDRESS_TABLE_SIZE)
    return None if index < size else Refusal.ADDRESS_TABLE_INDEX_OUT_OF_RANGE


def _key(session: Session, request: Fields) -> Refusal | None:
    return None if request["index"] < conf.key_table_size(session) else Refusal.INDEX_OUT_OF_RANGE


# -- networking and messages -----------------------------------------------------------------------


def _begin_network(session: Session, _request: Fields) -> Refusal | None:
    if session.stack.is_up or session.stack.joining.is_busy:
        return Refusal.INVALID_CALL
    return Refusal.SECURITY_STATE_NOT_SET if session.security is None else None


def _initial_security(session: Session, request: Fields) -> Refusal | None:
    if session.stack.is_up or session.stack.joining.is_busy:
        return Refusal.INVALID_CALL
    bits = request["state"]["bitmask"]
    if bits & _DISTRIBUTED and bits & _HASHED:
        return Refusal.SECURITY_CONFIGURATION_INVALID
    return None


def _scan(session: Session, request: Fields) -> Refusal | None:
    if session.stack.joining.is_busy:
        return Refusal.SCANNING
    if request["scanType"] not in _SCAN_TYPES:
        return Refusal.INCORRECT_SCAN_TYPE
    if not 0 <= request["duration"] <= 14:
        return Refusal.BAD_SCAN_DURATION
    return None if request["channelMask"] & _ALL_CHANNELS else Refusal.INVALID_CHANNEL_MASK


def refuse_message(session: Session, source_endpoint: int) -> Refusal | None:
    """Why a message would not be sent; endpoint 0 is the device itself, which need not be added."""
    if not session.version_set:
        return Refusal.INVALID_CALL
    if not session.stack.is_up:
        return Refusal.NETWORK_DOWN
    if source_endpoint and source_endpoint not in session.stack.endpoints:
        return Refusal.INVALID_ENDPOINT
    return None


def _message(session: Session, request: Fields) -> Refusal | None:
    aps = request["aps_frame"] if "aps_frame" in request else request["apsFrame"]
    return refuse_message(session, aps["sourceEndpoint"])


_RULES: dict[str, Rule] = {
    "getConfigurationValue": _get_configuration,
    "setConfigurationValue": _set_configuration,
    "addEndpoint": _add_endpoint,
    "getValue": _get_value,
    "setValue": _set_value,
    "getPolicy": _policy,
    "setPolicy": _policy,
    "getMulticastTableEntry": _multicast,
    "setMulticastTableEntry": _multicast,
    "replaceAddressTableEntry": _address,
    "setAddressTableRemoteEui64": _address,
    "setAddressTableRemoteNodeId": _address,
    "setAddressTableInfo": _address,
    "getAddressTableInfo": _address,
    "importLinkKey": _key,
    "setKeyTableEntry": _key,
    "formNetwork": _begin_network,
    "joinNetwork": _begin_network,
    "setInitialSecurityState": _initial_security,
    "startScan": _scan,
    "sendBroadcast": _message,
    "sendMulticast": _message,
}
