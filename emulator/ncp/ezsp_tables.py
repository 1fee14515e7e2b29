"""EZSP's frame tables for one version: names, numbers, and how their fields go on the wire.

Source: bellows' own tables (`bellows.ezsp.vN.commands`), used in the other direction: what a host
serialises is parsed here, what a host parses is serialised here. Only plain values leave this
module (integers, octets, dicts of structs' fields); bellows' types stay inside.
"""

from __future__ import annotations

from collections.abc import Mapping
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
_STATUS: dict[Status, tuple[int, int]] = {
    Status.OK: (_EMBER.SUCCESS, _SL.OK),
    Status.NETWORK_UP: (_EMBER.NETWORK_UP, _SL.NETWORK_UP),
    Status.NETWORK_DOWN: (_EMBER.NETWORK_DOWN, _SL.NETWORK_DOWN),
    Status.NOT_JOINED: (_EMBER.NOT_JOINED, _SL.NOT_JOINED),
    Status.INVALID_CALL: (_EMBER.INVALID_CALL, _SL.INVALID_STATE),
    Status.INVALID_PARAMETER: (_EMBER.BAD_ARGUMENT, _SL.INVALID_PARAMETER),
    Status.NO_BEACONS: (_EMBER.NO_BEACONS, _SL.NO_BEACONS),
    Status.JOIN_FAILED: (_EMBER.JOIN_FAILED, _SL.FAIL),
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
    Status.ENTRY_ERASED: (_EMBER.TABLE_ENTRY_ERASED, _SL.NOT_FOUND),
}
_EZSP_ERROR = {
    Status.INVALID_PARAMETER: t.EzspStatus.ERROR_INVALID_VALUE,
    Status.NOT_FOUND: t.EzspStatus.ERROR_INVALID_ID,
    Status.TABLE_FULL: t.EzspStatus.ERROR_OUT_OF_MEMORY,
    Status.INVALID_CALL: t.EzspStatus.ERROR_INVALID_CALL,
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
        return b"".join(
            _serialise(kind, values.get(name)) for name, kind in command.response.items()
        )

    def status_number(self, status: Status, *, ember: bool) -> int:
        """The number of `status` as EmberStatus or as sl_Status."""
        numbers = _STATUS[status]
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
    if isinstance(value, Status):
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


def _status_of(kind: Any, status: Status) -> int:
    if status is Status.OK:
        return 0
    if issubclass(kind, t.EzspStatus):
        return int(_EZSP_ERROR.get(status, t.EzspStatus.ERROR_INVALID_CALL))
    return int(_STATUS[status][0 if issubclass(kind, t.EmberStatus) else 1])
