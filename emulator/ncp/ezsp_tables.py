"""EZSP's frame tables for one version: names, numbers, and how their fields go on the wire.

Source: bellows' own tables (`bellows.ezsp.vN.commands`), used in the other direction: what a host
serialises is parsed here, what a host parses is serialised here. Only plain values leave this
module (integers, octets, dicts of structs' fields); bellows' types stay inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

import bellows.types as t
from bellows.ezsp import EZSP
from bellows.types.struct import EzspStruct

from emulator.zigbee.events import Status

SUPPORTED_VERSIONS = (*range(4, 15), *range(16, 20))

Fields = dict[str, Any]

_ZEROS = bytes(256)  # longer than any field of fixed length


class EzspError(Exception):
    """A request that does not parse: the field, and what is wrong with it."""


class Command(NamedTuple):
    """One frame of the tables. `request` is what a host sends, `response` what it receives."""

    name: str
    frame_id: int
    request: Any
    response: Any


# Failures have other numbers in each of the three status families, success is 0 in all of them.
# Which one a field has follows from its type, not from the version.
_EMBER = t.EmberStatus
_SL = t.sl_Status
_EZSP = t.EzspStatus
_STATUS: dict[Status, tuple[int, int]] = {
    Status.OK: (_EMBER.SUCCESS, _SL.OK),
    Status.NETWORK_UP: (_EMBER.NETWORK_UP, _SL.NETWORK_UP),
    Status.NETWORK_DOWN: (_EMBER.NETWORK_DOWN, _SL.NETWORK_DOWN),
    Status.NOT_JOINED: (_EMBER.NOT_JOINED, _SL.NOT_JOINED),
    Status.INVALID_CALL: (_EMBER.INVALID_CALL, _SL.INVALID_STATE),
    Status.INVALID_PARAMETER: (_EMBER.BAD_ARGUMENT, _SL.INVALID_PARAMETER),
    Status.NO_BEACONS: (_EMBER.NO_BEACONS, _SL.NO_BEACONS),
    Status.JOIN_FAILED: (_EMBER.JOIN_FAILED, _SL.FAIL),
    Status.MOVE_FAILED: (_EMBER.MOVE_FAILED, _SL.ZIGBEE_MOVE_FAILED),
    Status.MAC_NO_DATA: (_EMBER.MAC_NO_DATA, _SL.MAC_NO_DATA),
    Status.MAC_NO_ACK: (_EMBER.MAC_NO_ACK_RECEIVED, _SL.MAC_NO_ACK_RECEIVED),
    Status.NO_LINK_KEY_RECEIVED: (
        _EMBER.NO_LINK_KEY_RECEIVED,
        _SL.ZIGBEE_NO_LINK_KEY_RECEIVED,
    ),
    Status.DELIVERY_FAILED: (_EMBER.DELIVERY_FAILED, _SL.ZIGBEE_DELIVERY_FAILED),
    Status.MESSAGE_TOO_LONG: (_EMBER.MESSAGE_TOO_LONG, _SL.MESSAGE_TOO_LONG),
    Status.MAX_MESSAGE_LIMIT_REACHED: (
        _EMBER.MAX_MESSAGE_LIMIT_REACHED,
        _SL.ZIGBEE_MAX_MESSAGE_LIMIT_REACHED,
    ),
    Status.KEY_NOT_FOUND: (_EMBER.KEY_NOT_AUTHORIZED, _SL.ZIGBEE_KEY_NOT_AUTHORIZED),
    Status.TABLE_FULL: (_EMBER.TABLE_FULL, _SL.FULL),
    Status.NOT_FOUND: (_EMBER.NOT_FOUND, _SL.NOT_FOUND),
    Status.INVALID_INDEX: (_EMBER.INDEX_OUT_OF_RANGE, _SL.INVALID_INDEX),
    Status.NODE_ID_CHANGED: (_EMBER.NODE_ID_CHANGED, _SL.ZIGBEE_NODE_ID_CHANGED),
    Status.SOURCE_ROUTE_FAILURE: (_EMBER.SOURCE_ROUTE_FAILURE, _SL.ZIGBEE_SOURCE_ROUTE_FAILURE),
    Status.MANY_TO_ONE_ROUTE_FAILURE: (
        _EMBER.MANY_TO_ONE_ROUTE_FAILURE,
        _SL.ZIGBEE_MANY_TO_ONE_ROUTE_FAILURE,
    ),
    Status.ENTRY_ERASED: (_EMBER.TABLE_ENTRY_ERASED, _SL.NOT_FOUND),
    Status.FATAL: (_EMBER.ERR_FATAL, _SL.FAIL),
    Status.OPERATION_IN_PROGRESS: (_EMBER.OPERATION_IN_PROGRESS, _SL.IN_PROGRESS),
    Status.LIBRARY_NOT_PRESENT: (_EMBER.LIBRARY_NOT_PRESENT, _SL.NOT_AVAILABLE),
    Status.SECURITY_DATA_INVALID: (_EMBER.SECURITY_DATA_INVALID, _SL.INVALID_CONFIGURATION),
    Status.SIGNATURE_VERIFY_FAILURE: (
        _EMBER.SIGNATURE_VERIFY_FAILURE,
        _SL.ZIGBEE_SIGNATURE_VERIFY_FAILURE,
    ),
    Status.TOO_SOON_FOR_SWITCH_KEY: (
        _EMBER.TOO_SOON_FOR_SWITCH_KEY,
        _SL.ZIGBEE_TOO_SOON_FOR_SWITCH_KEY,
    ),
    Status.TRUST_CENTER_EUI_HAS_CHANGED: (
        _EMBER.TRUST_CENTER_EUI_HAS_CHANGED,
        _SL.ZIGBEE_TRUST_CENTER_SWAP_EUI_HAS_CHANGED,
    ),
}
_EZSP_ERROR = {
    Status.INVALID_PARAMETER: _EZSP.ERROR_INVALID_VALUE,
    Status.NOT_FOUND: _EZSP.ERROR_INVALID_ID,
    Status.TABLE_FULL: _EZSP.ERROR_OUT_OF_MEMORY,
    Status.INVALID_CALL: _EZSP.ERROR_INVALID_CALL,
}


class Refusal(Enum):
    """Why a command is not done, in words the network stack does not have: the numbers are of
    EzspStatus, EmberStatus and sl_Status, as UG100 and ember-types.h define them.
    """

    VERSION_NOT_SET = (_EZSP.ERROR_VERSION_NOT_SET, _EMBER.INVALID_CALL, _SL.ZIGBEE_EZSP_ERROR)
    INVALID_FRAME_ID = (_EZSP.ERROR_INVALID_FRAME_ID, _EMBER.INVALID_CALL, _SL.ZIGBEE_EZSP_ERROR)
    OUT_OF_MEMORY = (_EZSP.ERROR_OUT_OF_MEMORY, _EMBER.NO_BUFFERS, _SL.ZIGBEE_EZSP_ERROR)
    INVALID_VALUE = (_EZSP.ERROR_INVALID_VALUE, _EMBER.BAD_ARGUMENT, _SL.ZIGBEE_EZSP_ERROR)
    INVALID_ID = (_EZSP.ERROR_INVALID_ID, _EMBER.BAD_ARGUMENT, _SL.ZIGBEE_EZSP_ERROR)
    INVALID_CALL = (_EZSP.ERROR_INVALID_CALL, _EMBER.INVALID_CALL, _SL.INVALID_STATE)
    INVALID_ENDPOINT = (_EZSP.ERROR_INVALID_CALL, _EMBER.INVALID_ENDPOINT, _SL.INVALID_PARAMETER)
    SECURITY_STATE_NOT_SET = (
        _EZSP.ERROR_INVALID_CALL,
        _EMBER.SECURITY_STATE_NOT_SET,
        _SL.ZIGBEE_SECURITY_STATE_NOT_SET,
    )
    SECURITY_CONFIGURATION_INVALID = (
        _EZSP.ERROR_INVALID_VALUE,
        _EMBER.SECURITY_CONFIGURATION_INVALID,
        _SL.INVALID_CONFIGURATION,
    )
    INDEX_OUT_OF_RANGE = (
        _EZSP.ERROR_INVALID_VALUE,
        _EMBER.INDEX_OUT_OF_RANGE,
        _SL.INVALID_INDEX,
    )
    ADDRESS_TABLE_INDEX_OUT_OF_RANGE = (
        _EZSP.ERROR_INVALID_VALUE,
        _EMBER.ADDRESS_TABLE_INDEX_OUT_OF_RANGE,
        _SL.INVALID_INDEX,
    )
    SCANNING = (_EZSP.ERROR_INVALID_CALL, _EMBER.MAC_SCANNING, _SL.MAC_SCANNING)
    INCORRECT_SCAN_TYPE = (
        _EZSP.ERROR_INVALID_VALUE,
        _EMBER.MAC_INCORRECT_SCAN_TYPE,
        _SL.MAC_INCORRECT_SCAN_TYPE,
    )
    BAD_SCAN_DURATION = (
        _EZSP.ERROR_INVALID_VALUE,
        _EMBER.MAC_BAD_SCAN_DURATION,
        _SL.BAD_SCAN_DURATION,
    )
    INVALID_CHANNEL_MASK = (
        _EZSP.ERROR_INVALID_VALUE,
        _EMBER.MAC_INVALID_CHANNEL_MASK,
        _SL.INVALID_CHANNEL_MASK,
    )
    NETWORK_DOWN = (_EZSP.ERROR_INVALID_CALL, _EMBER.NETWORK_DOWN, _SL.NETWORK_DOWN)


_STATUSES = (Status, Refusal)

# From EZSP 14 on what was an EzspStatus says only that there was one (EZSP reference, chapter 4).
_LAST_WITH_EZSP_STATUS = 13
_HAD_EZSP_STATUS = {
    name
    for name, (_, _, response) in EZSP._BY_VERSION[_LAST_WITH_EZSP_STATUS].COMMANDS.items()
    if isinstance(response, dict) and response.get("status") is _EZSP
}


class Tables:
    """The tables of one EZSP version. Raises ValueError for one that is not supported."""

    def __init__(self, version: int) -> None:
        if version not in SUPPORTED_VERSIONS:
            raise ValueError(
                f"EZSP version {version} is not emulated, only 4 to 14 and 16 to 19 are"
                + (": there is no EZSP 15" if version == 15 else "")
            )
        self.version = version
        self.by_name: dict[str, Command] = {}
        self.by_id: dict[int, Command] = {}
        for name, (frame_id, request, response) in EZSP._BY_VERSION[version].COMMANDS.items():
            # An empty schema is a tuple in one place of bellows' tables.
            command = Command(name, frame_id, request or {}, response or {})
            self.by_name[name] = command
            self.by_id[frame_id] = command

    def parse_request(self, command: Command, octets: bytes) -> Fields:
        """The fields of a request. Missing fields at the end read as zero, missing lists as empty,
        octets left over are ignored: hosts other than bellows leave out what they do not use.

        Raises EzspError for a field that is cut off.
        """
        fields: Fields = {}
        rest = octets
        for name, kind in command.request.items():
            if not rest:
                zero, _ = kind.deserialize(_ZEROS)
                fields[name] = [] if _is_unbounded(zero) else _plain(zero)
                continue
            try:
                value, rest = kind.deserialize(rest)
            except (ValueError, IndexError) as error:
                raise EzspError(f"{command.name}: {name}: {error}") from error
            fields[name] = _plain(value)
        if command.name == "addEndpoint":
            _split_clusters(fields)
        return fields

    def build_response(self, command: Command, values: Mapping[str, Any]) -> bytes:
        """The fields of a response or callback; those not given are zero."""
        if not isinstance(command.response, dict):
            return _build_token_data(command, values)
        if self.version > _LAST_WITH_EZSP_STATUS and command.name in _HAD_EZSP_STATUS:
            status = values.get("status")
            if status is not None and status is not Status.OK:
                values = {**values, "status": Refusal.INVALID_ID}
        return b"".join(
            _serialise(kind, values.get(name)) for name, kind in command.response.items()
        )

    def status_number(self, status: Status | Refusal, *, ember: bool) -> int:
        """The number of `status` as EmberStatus or as sl_Status."""
        numbers = status.value[1:] if isinstance(status, Refusal) else _STATUS[status]
        return int(numbers[0] if ember else numbers[1])


def _split_clusters(fields: Fields) -> None:
    """Both cluster lists are unbounded in the tables, so the first takes all: count them out."""
    clusters = [*fields["inputClusterList"], *fields["outputClusterList"]]
    inputs = fields["inputClusterCount"]
    fields["inputClusterList"] = clusters[:inputs]
    fields["outputClusterList"] = clusters[inputs : inputs + fields["outputClusterCount"]]


def _build_token_data(command: Command, values: Mapping[str, Any]) -> bytes:
    # getTokenData answers with a struct whose value is there only on success; this stick has no
    # such tokens, so the status is all there is.
    for field in command.response.fields:
        return _serialise(field.type, values.get("status"))
    raise AssertionError("the struct has a status")


def _is_unbounded(value: Any) -> bool:
    """Whether `value` is a list that takes all octets there are."""
    return isinstance(value, list) and not isinstance(value, t.FixedList | t.LVList)


def _plain(value: Any) -> Any:
    if isinstance(value, t.EUI64 | t.ExtendedPanId):
        return int.from_bytes(value.serialize(), "little")
    if isinstance(value, t.KeyData):
        return value.serialize()
    if isinstance(value, EzspStruct):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in value.fields
            if getattr(value, field.name) is not None
        }
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _serialise(kind: Any, value: Any) -> bytes:
    if isinstance(value, _STATUSES):
        return bytes(kind(_status_of(kind, value)).serialize())
    if value is None:
        zero, _ = kind.deserialize(_ZEROS)
        return b"" if _is_unbounded(zero) else bytes(zero.serialize())
    if isinstance(value, dict):
        return b"".join(_serialise(field.type, value.get(field.name)) for field in kind.fields)
    if issubclass(kind, t.EUI64 | t.ExtendedPanId):
        return int(value).to_bytes(8, "little")
    if issubclass(kind, t.KeyData):
        return bytes(value)
    return bytes(kind(value).serialize())


def _status_of(kind: Any, status: Status | Refusal) -> int:
    if status is Status.OK:
        return 0
    if isinstance(status, Refusal):
        ezsp, ember, sl = status.value
        return int(ezsp if issubclass(kind, _EZSP) else ember if issubclass(kind, _EMBER) else sl)
    if issubclass(kind, _EZSP):
        return int(_EZSP_ERROR.get(status, _EZSP.ERROR_INVALID_CALL))
    return int(_STATUS[status][0 if issubclass(kind, _EMBER) else 1])
