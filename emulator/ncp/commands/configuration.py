"""Configuration, values, policies, tokens, tables, counters, and the odds and ends of a stick.

Source: Silicon Labs UG100, chapter 4 (configuration) and 5 (utilities).
"""

from __future__ import annotations

from emulator.ncp.commands import children
from emulator.ncp.commands.binding import CONFIG_BINDING_TABLE_SIZE, DEFAULT_BINDING_TABLE_SIZE
from emulator.ncp.commands.routing import configure as configure_routing
from emulator.ncp.commands.session import COUNTERS, Fields, Handler, Session
from emulator.ncp.commands.trust_center import set_key_request_policy
from emulator.zigbee.events import Status
from emulator.zigbee.joining import TrustCenterPolicy
from emulator.zigbee.transient_keys import TRANSIENT_KEY_TIMEOUT_S
from emulator.zigbee.zdo import Endpoint

MESH_STACK = 2  # stackType of a network co-processor; zigbee-herdsman insists on it
# A release of EmberZNet that speaks each version of EZSP, one digit an octet half.
_STACK_VERSIONS = {
    4: 0x5740,
    5: 0x5A00,
    6: 0x6000,
    7: 0x6630,
    8: 0x6A30,
    9: 0x7130,
    10: 0x7200,
    11: 0x7220,
    12: 0x7300,
    13: 0x7430,
    14: 0x8000,
    16: 0x8100,
    17: 0x8200,
    18: 0x8220,
    19: 0x9100,
}

CONFIG_PACKET_BUFFER_COUNT = 0x01
CONFIG_ADDRESS_TABLE_SIZE = 0x05
CONFIG_MULTICAST_TABLE_SIZE = 0x06
CONFIG_SECURITY_LEVEL = 0x0D
CONFIG_KEY_TABLE_SIZE = 0x1E
CONFIG_APPLICATION_ZDO_FLAGS = 0x2A
CONFIG_TRANSIENT_KEY_TIMEOUT_S = 0x36

# EmberZNet's defaults (UG100, 4.5); a host reads them before it sets its own.
_DEFAULTS = {
    CONFIG_PACKET_BUFFER_COUNT: 75,
    0x02: 16,  # neighbour table
    0x03: 10,  # APS unicast messages
    CONFIG_BINDING_TABLE_SIZE: DEFAULT_BINDING_TABLE_SIZE,
    CONFIG_ADDRESS_TABLE_SIZE: 8,
    CONFIG_MULTICAST_TABLE_SIZE: 8,
    0x07: 16,  # route table
    0x08: 8,  # discovery table
    0x0C: 0,  # stack profile
    CONFIG_SECURITY_LEVEL: 5,
    0x10: 15,  # maximum hops
    **children.DEFAULTS,
    0x17: 0,  # transmit power mode
    0x18: 0,  # disable relay
    0x19: 2,  # trust centre address cache
    0x1A: 2,  # source route table
    CONFIG_KEY_TABLE_SIZE: 4,
    0x22: 2,  # PAN id conflict threshold
    0x24: 0,  # request key timeout
    CONFIG_APPLICATION_ZDO_FLAGS: 0,
    0x2B: 15,  # broadcast table
    0x2D: 1,  # supported networks
    CONFIG_TRANSIENT_KEY_TIMEOUT_S: TRANSIENT_KEY_TIMEOUT_S,
    0x38: 90,
}
_MAX_KEY_TABLE = 126

_MAX_VALUE_OCTETS = 200  # with status and header they fit the frame that answers getValue
VALUE_FREE_BUFFERS = 0x03
VALUE_VERSION_INFO = 0x11
VALUE_NWK_FRAME_COUNTER = 0x23
VALUE_APS_FRAME_COUNTER = 0x24
EXTENDED_VALUE_ENDPOINT_FLAGS = 0x00

POLICY_TRUST_CENTER = 0x00
_FIRST_WITH_POLICY_BITS = 8
# EZSP 4 to 7 choose the trust centre's policy from a list (EzspDecisionId). What would send the
# network key in the clear sends it under the joiner's key here: no smart-metering HAN does else.
_TRUST_CENTER_DECISIONS = {
    0x00: TrustCenterPolicy.ALLOW_JOINS | TrustCenterPolicy.ALLOW_UNSECURED_REJOINS,
    0x01: TrustCenterPolicy.ALLOW_JOINS | TrustCenterPolicy.ALLOW_UNSECURED_REJOINS,
    0x02: TrustCenterPolicy.ALLOW_UNSECURED_REJOINS,
    0x03: TrustCenterPolicy(0),
    0x04: TrustCenterPolicy.ALLOW_JOINS | TrustCenterPolicy.ALLOW_UNSECURED_REJOINS,
    0x05: TrustCenterPolicy.ALLOW_JOINS,  # and no rejoins
    0x06: TrustCenterPolicy.ALLOW_JOINS | TrustCenterPolicy.JOINS_USE_INSTALL_CODE_KEY,
    0x07: TrustCenterPolicy(0),  # the key is sent when the host says so, which none here does
}

# What a policy is before a host sets it (EzspDecisionId): nothing asked of the host, nothing given.
_DEFAULT_DECISIONS = {
    POLICY_TRUST_CENTER: 0x01,
    0x01: 0x10,  # binding modification: not allowed
    0x02: 0x20,  # unicast replies: without the host
    0x03: 0x30,  # polls: not told
    0x04: 0x40,  # what was sent: its tag only
    0x05: 0x50,  # trust centre key requests: denied
    0x06: 0x60,  # application key requests: denied
}

# EmberCounterType: those that the messages to and from the host make up
COUNTER_APS_RX_BROADCAST = 6
COUNTER_APS_TX_BROADCAST = 7
COUNTER_APS_RX_UNICAST = 8
COUNTER_APS_TX_UNICAST_SUCCESS = 9
COUNTER_APS_TX_UNICAST_FAILED = 11
COUNTER_JOIN_INDICATION = 16


def version(session: Session, request: Fields) -> Fields:
    session.version_set = request["desiredProtocolVersion"] == session.version
    return {
        "protocolVersion": session.version,
        "stackType": MESH_STACK,
        "stackVersion": _STACK_VERSIONS[session.version],
    }


def nothing(_session: Session, _request: Fields) -> Fields:
    """Taken note of; nothing here depends on it."""
    return {"status": Status.OK}


def echo(_session: Session, request: Fields) -> Fields:
    return {"echo": request["data"]}


def get_configuration(session: Session, request: Fields) -> Fields:
    number = request["configId"]
    if number not in _DEFAULTS and number not in session.configuration:
        return {"status": Status.NOT_FOUND}
    return {"status": Status.OK, "value": configured(session, number)}


def set_configuration(session: Session, request: Fields) -> Fields:
    number, value = request["configId"], request["value"]
    if number == CONFIG_KEY_TABLE_SIZE:
        if value > _MAX_KEY_TABLE:
            return {"status": Status.TABLE_FULL}
        if not size_key_table(session, value):
            return {"status": Status.INVALID_PARAMETER}  # it holds a key beyond that
    elif number == CONFIG_TRANSIENT_KEY_TIMEOUT_S:
        session.stack.aps.transient_keys.timeout_s = value
    elif number in children.DEFAULTS:
        status = children.configure(session, number, value)
        if status is not Status.OK:
            return {"status": status}
    elif number == CONFIG_APPLICATION_ZDO_FLAGS:
        session.stack.passes_zdo_requests = bool(value & 1)
    configure_routing(session.stack, number, value)
    session.configuration[number] = value
    return {"status": Status.OK}


def configured(session: Session, number: int) -> int:
    """A configuration value: what the host has set, else what it is by itself."""
    return session.configuration.get(number, _DEFAULTS.get(number, 0))


def key_table_size(session: Session) -> int:
    """How many link keys the host wants the key table to hold."""
    return configured(session, CONFIG_KEY_TABLE_SIZE)


def size_key_table(session: Session, size: int) -> bool:
    """Make the key table as long as `size`, if no key stands beyond it; whether it is now."""
    table = session.stack.state.link_keys
    if any(entry is not None for entry in table[size:]):
        return False
    del table[size:]
    table.extend([None] * (size - len(table)))
    return True


def get_value(session: Session, request: Fields) -> Fields:
    number = request["valueId"]
    stack = session.stack
    if number == VALUE_FREE_BUFFERS:
        return {"status": Status.OK, "value": b"\xff\x00"}
    if number == VALUE_VERSION_INFO:
        # build, major, minor, patch, special, type 0xAA (general availability)
        release = _STACK_VERSIONS[session.version]
        numbers = bytes((release >> 12, release >> 8 & 15, release >> 4 & 15, release & 15))
        return {"status": Status.OK, "value": b"\x00\x00" + numbers + b"\xaa"}
    if number == VALUE_NWK_FRAME_COUNTER:
        return {"status": Status.OK, "value": _u32(stack.nwk_counter.next_value)}
    if number == VALUE_APS_FRAME_COUNTER:
        return {"status": Status.OK, "value": _u32(stack.aps_counter.next_value)}
    if number == children.VALUE_KEEP_ALIVE_SUPPORT_MODE:
        return {"status": Status.OK, "value": bytes((stack.polling.parent_information,))}
    if number in session.values:
        return {"status": Status.OK, "value": session.values[number]}
    return {"status": Status.NOT_FOUND}


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def set_value(session: Session, request: Fields) -> Fields:
    number, value = request["valueId"], request["value"]
    if number in (VALUE_NWK_FRAME_COUNTER, VALUE_APS_FRAME_COUNTER):
        if session.stack.is_up:
            return {"status": Status.INVALID_CALL}  # a counter in use is never set back
        if len(value) != 4:
            return {"status": Status.INVALID_PARAMETER}
        is_nwk = number == VALUE_NWK_FRAME_COUNTER
        counter = session.stack.nwk_counter if is_nwk else session.stack.aps_counter
        counter.restart(int.from_bytes(value, "little"))
    elif len(value) > _MAX_VALUE_OCTETS:
        return {"status": Status.INVALID_PARAMETER}
    else:
        session.values[number] = value
    return {"status": Status.OK}


def get_extended_value(session: Session, request: Fields) -> Fields:
    if request["valueId"] != EXTENDED_VALUE_ENDPOINT_FLAGS:
        return {"status": Status.NOT_FOUND}
    # zigbee-herdsman registers an endpoint only when its flags are refused, and reads two octets
    # of them all the same.
    if request["characteristics"] in session.stack.endpoints:
        return {"status": Status.OK, "value": b"\x01\x00"}
    return {"status": Status.NOT_FOUND, "value": b"\x00\x00"}


def add_endpoint(session: Session, request: Fields) -> Fields:
    number = request["endpoint"]
    if not 1 <= number <= 254:
        return {"status": Status.INVALID_PARAMETER}
    session.stack.endpoints[number] = Endpoint(
        number,
        request["profileId"],
        request["deviceId"],
        request["deviceVersion"],
        tuple(request["inputClusterList"]),
        tuple(request["outputClusterList"]),
    )
    return {"status": Status.OK}


def set_policy(session: Session, request: Fields) -> Fields:
    number, decision = request["policyId"], request["decisionId"]
    if number == POLICY_TRUST_CENTER:
        if session.version >= _FIRST_WITH_POLICY_BITS:
            policy = TrustCenterPolicy(decision)
        elif decision in _TRUST_CENTER_DECISIONS:
            policy = _TRUST_CENTER_DECISIONS[decision]
        else:
            return {"status": Status.INVALID_PARAMETER}
        session.stack.joining.policy = policy
    elif number == children.POLICY_POLL_HANDLER:
        session.stack.children.tells_of_polls = decision == children.POLL_HANDLER_CALLBACK
    elif (status := set_key_request_policy(session, number, decision)) is not Status.OK:
        return {"status": status}
    session.policies[number] = decision
    return {"status": Status.OK}


def get_policy(session: Session, request: Fields) -> Fields:
    number = request["policyId"]
    if number not in session.policies and number not in _DEFAULT_DECISIONS:
        return {"status": Status.NOT_FOUND}
    decision = session.policies.get(number, _DEFAULT_DECISIONS.get(number))
    return {"status": Status.OK, "decisionId": decision}


def refuse(_session: Session, _request: Fields) -> Fields:
    """A feature this stick does not have."""
    return {"status": Status.NOT_FOUND}


def get_token_count(_session: Session, _request: Fields) -> Fields:
    return {"count": 0}


def _counters(session: Session) -> list[int]:
    """Every EmberCounterType since the stick started; what is not counted here is 0."""
    stack = session.stack
    mac = stack.mac.counters
    counts = {
        **dict(enumerate(session.aps_counters)),
        0: mac.received_broadcasts,
        1: mac.sent_broadcasts,
        2: mac.received_unicasts,
        3: mac.unicasts_acknowledged,
        4: mac.unicast_retries,
        5: mac.unicast_failures,
        21: stack.replays_rejected,  # NWK frame counter failure
        25: stack.undecodable,  # NWK decryption failure
        32: mac.cca_failures,
    }
    return [counts.get(number, 0) for number in range(COUNTERS)]


def read_counters(session: Session, _request: Fields) -> Fields:
    cleared = session.counters_cleared or [0] * COUNTERS
    pairs = zip(_counters(session), cleared, strict=True)
    return {"values": [(now - before) & 0xFFFF for now, before in pairs]}


def read_and_clear_counters(session: Session, request: Fields) -> Fields:
    values = read_counters(session, request)
    session.counters_cleared = _counters(session)
    return values


def set_manufacturer_code(session: Session, request: Fields) -> Fields:
    session.stack.manufacturer_code = request["code"]
    return {"status": Status.OK}


def get_random_number(session: Session, _request: Fields) -> Fields:
    return {"status": Status.OK, "value": session.stack.random_bits(16)}


def get_multicast_entry(session: Session, request: Fields) -> Fields:
    index = request["index"]
    if index >= configured(session, CONFIG_MULTICAST_TABLE_SIZE):
        return {"status": Status.INVALID_PARAMETER}
    empty = {"multicastId": 0, "endpoint": 0, "networkIndex": 0}
    return {"status": Status.OK, "value": session.multicasts.get(index, empty)}


def set_multicast_entry(session: Session, request: Fields) -> Fields:
    index = request["index"]
    if index >= configured(session, CONFIG_MULTICAST_TABLE_SIZE):
        return {"status": Status.INVALID_PARAMETER}
    session.multicasts[index] = {"networkIndex": 0, **request["value"]}
    groups: dict[int, list[int]] = {}
    for _, entry in sorted(session.multicasts.items()):
        if entry["endpoint"]:  # 0 marks an entry that is not used
            groups.setdefault(entry["multicastId"], []).append(entry["endpoint"])
    session.stack.groups = groups
    return {"status": Status.OK}


COMMANDS: dict[str, Handler] = {
    "version": version,
    "nop": nothing,
    "echo": echo,
    "getConfigurationValue": get_configuration,
    "setConfigurationValue": set_configuration,
    "getValue": get_value,
    "setValue": set_value,
    "getExtendedValue": get_extended_value,
    "addEndpoint": add_endpoint,
    "setPolicy": set_policy,
    "getPolicy": get_policy,
    "getTokenData": refuse,
    "setTokenData": refuse,
    "getTokenCount": get_token_count,
    "getTokenInfo": refuse,
    "customFrame": refuse,
    "readCounters": read_counters,
    "readAndClearCounters": read_and_clear_counters,
    "setManufacturerCode": set_manufacturer_code,
    "setPowerDescriptor": nothing,
    "setRadioPower": nothing,
    "getRandomNumber": get_random_number,
    "getMulticastTableEntry": get_multicast_entry,
    "setMulticastTableEntry": set_multicast_entry,
    "gpSinkTableClearAll": nothing,
    "gpSinkTableInit": nothing,
    "gpClearSinkTable": nothing,
    "gpClearProxyTable": nothing,
}
