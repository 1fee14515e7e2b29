"""NWK commands between a child and its parent: Leave, Rejoin, End Device Timeout.

Source: ZigBee specification 05-3474, 3.4.4 (Leave), 3.4.6 and 3.4.7 (Rejoin Request and Response),
3.4.11 and 3.4.12 (End Device Timeout Request and Response, revision 21).
"""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import NamedTuple

from emulator.zigbee.nwk import COMMAND_LEAVE, NwkError

COMMAND_REJOIN_REQUEST = 0x06
COMMAND_REJOIN_RESPONSE = 0x07
COMMAND_TIMEOUT_REQUEST = 0x0B
COMMAND_TIMEOUT_RESPONSE = 0x0C

LEAVE_REQUEST = 0x40
LEAVE_REJOIN = 0x20

CAPABILITY_ROUTER = 0x02  # a full-function device
CAPABILITY_RX_ON = 0x08

TIMEOUTS_S = (10, *(60 << power for power in range(1, 15)))
"""What a requested timeout of 0 to 14 means: 10 s, then 2 minutes, doubled each time."""

PARENT_TAKES_POLLS = 0x01  # parent information: a MAC Data Request keeps the child alive
PARENT_TAKES_REQUESTS = 0x02  # and so does an End Device Timeout Request


class RejoinStatus(Enum):
    """Status of a Rejoin Response: those of an association."""

    OK = 0x00
    PAN_AT_CAPACITY = 0x01
    PAN_ACCESS_DENIED = 0x02


class TimeoutStatus(Enum):
    """Status of an End Device Timeout Response."""

    OK = 0x00
    INCORRECT_VALUE = 0x01


class RejoinResponse(NamedTuple):
    """The address a node is to use from now on, and whether it may."""

    short_address: int
    status: RejoinStatus


class TimeoutResponse(NamedTuple):
    """What a parent says to a requested timeout, and how its children keep themselves alive."""

    status: TimeoutStatus
    parent_information: int


_RESPONSE = Struct("<BHB")


def leave(options: int) -> bytes:
    """A Leave with the options above."""
    return bytes((COMMAND_LEAVE, options))


def parse_leave(command: bytes) -> int:
    """The options of a Leave. Raises NwkError."""
    _check(command, 2)
    return command[1]


def rejoin_request(capability: int) -> bytes:
    """A Rejoin Request of a node with this MAC capability."""
    return bytes((COMMAND_REJOIN_REQUEST, capability))


def parse_rejoin_request(command: bytes) -> int:
    """The capability of who wants to rejoin. Raises NwkError."""
    _check(command, 2)
    return command[1]


def rejoin_response(response: RejoinResponse) -> bytes:
    """A Rejoin Response."""
    return _RESPONSE.pack(COMMAND_REJOIN_RESPONSE, response.short_address, response.status.value)


def parse_rejoin_response(command: bytes) -> RejoinResponse:
    """The fields of a Rejoin Response. Raises NwkError."""
    _check(command, _RESPONSE.size)
    _, short_address, status = _RESPONSE.unpack(command)
    try:
        return RejoinResponse(short_address, RejoinStatus(status))
    except ValueError:
        raise NwkError(f"rejoin status 0x{status:02X} is reserved", 3) from None


def timeout_request(timeout: int) -> bytes:
    """An End Device Timeout Request; `timeout` is an index of TIMEOUTS_S."""
    return bytes((COMMAND_TIMEOUT_REQUEST, timeout, 0))


def parse_timeout_request(command: bytes) -> int:
    """The timeout asked for, whatever it is. Raises NwkError."""
    _check(command, 3)
    return command[1]


def timeout_response(response: TimeoutResponse) -> bytes:
    """An End Device Timeout Response."""
    return bytes((COMMAND_TIMEOUT_RESPONSE, response.status.value, response.parent_information))


def parse_timeout_response(command: bytes) -> TimeoutResponse:
    """The fields of an End Device Timeout Response. Raises NwkError."""
    _check(command, 3)
    try:
        return TimeoutResponse(TimeoutStatus(command[1]), command[2])
    except ValueError:
        raise NwkError(f"timeout status 0x{command[1]:02X} is reserved", 1) from None


def _check(command: bytes, octets: int) -> None:
    if len(command) != octets:
        raise NwkError(f"this command has {octets} octets, not {len(command)}", len(command))
