"""Configuration, values, policies, tokens, tables, counters, and the odds and ends of a stick.

Source: Silicon Labs UG100, chapter 4 (configuration) and 5 (utilities).
"""

from __future__ import annotations

from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee.events import Status
from emulator.zigbee.joining import TrustCenterPolicy
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

# EmberZNet's defaults (UG100, 4.5); a host reads them before it sets its own.
_DEFAULTS = {
    CONFIG_PACKET_BUFFER_COUNT: 75,
    0x02: 16,  # neighbour table
    0x03: 10,  # APS unicast messages
    0x04: 0,  # binding table
    CONFIG_ADDRESS_TABLE_SIZE: 8,
    CONFIG_MULTICAST_TABLE_SIZE: 8,
    0x07: 16,  # route table
    0x08: 8,  # discovery table
    0x0C: 0,  # stack profile
    CONFIG_SECURITY_LEVEL: 5,
    0x10: 15,  # maximum hops
    0x11: 32,  # maximum end device children
    0x12: 3000,  # indirect transmission timeout
    0x13: 6,  # end device poll timeout
    0x17: 1,  # disable relay
    0x19: 2,  # trust centre address cache
    0x1A: 2,  # source route table
    CONFIG_KEY_TABLE_SIZE: 4,
    0x22: 2,  # PAN id conflict threshold
    0x26: 8,  # request key timeout
    CONFIG_APPLICATION_ZDO_FLAGS: 0,
    0x2D: 16,  # supported networks, broadcast table
    0x36: 300,  # transient key timeout
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
    0x01: TrustCenterPolicy.ALLOW_JOINS,
    0x02: TrustCenterPolicy(0),  # rejoins only
    0x03: TrustCenterPolicy(0),
    0x04: TrustCenterPolicy.ALLOW_JOINS,
    0x05: TrustCenterPolicy.ALLOW_JOINS,  # and no rejoins
    0x06: TrustCenterPolicy.ALLOW_JOINS | TrustCenterPolicy.JOINS_USE_INSTALL_CODE_KEY,
    0x07: TrustCenterPolicy(0),  # the key is sent when the host says so, which none here does
}

_COUNTERS = 40  # EMBER_COUNTER_TYPE_COUNT
_LIBRARY_IS_STUB = 0x80


def version(session: Session, _request: Fields) -> Fields:
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
    current = session.configuration.get(number, _DEFAULTS.get(number, 0))
    return {"status": Status.OK, "value": current}


def set_configuration(session: Session, request: Fields) -> Fields:
    number, value = request["configId"], request["value"]
    if number == CONFIG_KEY_TABLE_SIZE:
        if value > _MAX_KEY_TABLE:
            return {"status": Status.TABLE_FULL}
        table = session.stack.state.link_keys
        table.extend([None] * (value - len(table)))
    elif number == CONFIG_APPLICATION_ZDO_FLAGS:
        session.stack.passes_zdo_requests = bool(value & 1)
    session.configuration[number] = value
    return {"status": Status.OK}


def key_table_size(session: Session) -> int:
    """How many link keys the host wants the key table to hold."""
    return session.configuration.get(CONFIG_KEY_TABLE_SIZE, _DEFAULTS[CONFIG_KEY_TABLE_SIZE])


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
    session.policies[number] = decision
    return {"status": Status.OK}


def get_policy(session: Session, request: Fields) -> Fields:
    number = request["policyId"]
    if number not in session.policies:
        return {"status": Status.NOT_FOUND}
    return {"status": Status.OK, "decisionId": session.policies[number]}


def refuse(_session: Session, _request: Fields) -> Fields:
    """A feature this stick does not have."""
    return {"status": Status.NOT_FOUND}


def get_token_count(_session: Session, _request: Fields) -> Fields:
    return {"count": 0}


def read_counters(_session: Session, _request: Fields) -> Fields:
    return {"values": [0] * _COUNTERS}


def set_source_route_discovery_mode(_session: Session, _request: Fields) -> Fields:
    return {"remainingTime": 0}


def set_manufacturer_code(session: Session, request: Fields) -> Fields:
    session.stack.manufacturer_code = request["code"]
    return {"status": Status.OK}


def get_library_status(_session: Session, _request: Fields) -> Fields:
    return {"status": _LIBRARY_IS_STUB}


def get_random_number(session: Session, _request: Fields) -> Fields:
    return {"status": Status.OK, "value": session.stack.random_bits(16)}


def _multicast_entries(session: Session) -> int:
    number = CONFIG_MULTICAST_TABLE_SIZE
    return session.configuration.get(number, _DEFAULTS[number])


def get_multicast_entry(session: Session, request: Fields) -> Fields:
    index = request["index"]
    if index >= _multicast_entries(session):
        return {"status": Status.INVALID_PARAMETER}
    empty = {"multicastId": 0, "endpoint": 0, "networkIndex": 0}
    return {"status": Status.OK, "value": session.multicasts.get(index, empty)}


def set_multicast_entry(session: Session, request: Fields) -> Fields:
    index = request["index"]
    if index >= _multicast_entries(session):
        return {"status": Status.INVALID_PARAMETER}
    session.multicasts[index] = {"networkIndex": 0, **request["value"]}
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
    "readAndClearCounters": read_counters,
    "setConcentrator": nothing,
    "setSourceRouteDiscoveryMode": set_source_route_discovery_mode,
    "setManufacturerCode": set_manufacturer_code,
    "setPowerDescriptor": nothing,
    "setRadioPower": nothing,
    "getLibraryStatus": get_library_status,
    "getRandomNumber": get_random_number,
    "getMulticastTableEntry": get_multicast_entry,
    "setMulticastTableEntry": set_multicast_entry,
    "gpSinkTableClearAll": nothing,
    "gpSinkTableInit": nothing,
    "gpClearSinkTable": nothing,
    "gpClearProxyTable": nothing,
}
