"""Values and services of DLMS as the hub's and meters' payloads use them.

Source: IEC 62056-5-3 (DLMS): A-XDR data, access service, data-notification; IEC 62056-6-2 4.1.6.1
(date-time). In an access service a long-invoke-id-and-priority comes first, then requests or their
echo (none in every published response), then data, then results.

    piece                        octets
    ---------------------------  ---------------------------------------------------------
    Structure                    02, how many, the fields
    ArrayOf                      01, how many, the items
    OctetString, EntityId        09, length, octets; EUI-64s as a number
    Unsigned8, LongUnsigned      11 + 1, 12 + 2
    Integer8, Enum8, Boolean     0F + 1, 16 + 1, 03 + 1
    Bits8                        04, 08, 8 bits
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from construct import Bytes, Int8sb, Int8ub, Int16ub, Int24ub, ValidationError

from gbcs.ber import number_decoder, number_encoder, octets_decoder
from gbcs.errors import GbcsValueError
from gbcs.fields import (
    Fields,
    Fixed,
    Many,
    Mapped,
    Tagged,
    Value,
    member_of,
)

INVOKE_ID_BITS = 24
DATE_TIME_OCTETS = 12
ACCESS_REQUEST = b"\xd9"
ACCESS_RESPONSE = b"\xda"
DATA_NOTIFICATION = b"\x0f"
PRIORITY = (
    b"\x20"  # the octet of long-invoke-id-and-priority above the id, in every published frame
)
NO_DATE_TIME = b"\0"
NULL_DATA = b"\0"
GET, SET, ACTION = 1, 2, 3

_UNSPECIFIED_DEVIATION = 0x8000
_UNSPECIFIED = 0xFF


class DlmsResult(IntEnum):
    """Results of DLMS actions, gets and sets."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_GET_ABORTED = 15
    NO_LONG_GET_IN_PROGRESS = 16
    LONG_SET_ABORTED = 17
    NO_LONG_SET_IN_PROGRESS = 18
    DATA_BLOCK_NUMBER_INVALID = 19
    OTHER_REASON = 250


def invoke_id(originator_counter: int) -> int:
    """The invoke id of a command with this counter: its low 24 bits."""
    return originator_counter & ((1 << INVOKE_ID_BITS) - 1)


# -- values ------------------------------------------------------------------------------------


def Unsigned8() -> Tagged:
    return Tagged(0x11, Int8ub)


def LongUnsigned() -> Tagged:
    return Tagged(0x12, Int16ub)


def Integer8() -> Tagged:
    return Tagged(0x0F, Int8sb)


def Enum8() -> Tagged:
    return Tagged(0x16, Int8ub)


def Boolean() -> Tagged:
    # False is 00; true is FF in every published command, and any other octet by A-XDR.
    return Tagged(0x03, Mapped(Int8ub, lambda octet: octet != 0, lambda flag: 0xFF if flag else 0))


def Bits8() -> Tagged:
    def decode(octets: bytes) -> int:
        if octets[0] != 8:
            raise ValidationError(f"has {octets[0]} bits, not 8")
        return octets[1]

    return Tagged(0x04, Mapped(Bytes(2), decode, lambda bits: bytes([8, bits])))


def OctetString(*lengths: int) -> Value:
    return Value(0x09, octets_decoder(*lengths) if lengths else bytes)


def EntityId() -> Value:
    return Value(0x09, number_decoder(8), number_encoder(8))


def DateTime() -> Value:
    """The 12 octets of a date-time, as they are: parts of one may be left open."""
    return OctetString(DATE_TIME_OCTETS)


def Structure(make: Callable[..., Any], **fields: Any) -> Tagged:
    kept = sum(not name.startswith("_") for name in fields)
    return Tagged(0x02, Fields(make, _count=Fixed(bytes([kept])), **fields))


def ArrayOf(piece: Any) -> Tagged:
    return Tagged(0x01, Many(piece, counted=True))


# -- services ----------------------------------------------------------------------------------


def requests(*kinds: tuple[int, bytes, int]) -> bytes:
    """The list of requests of one command: kind, class and object, number of each."""
    listed = b"".join(bytes([kind]) + what + bytes([number]) for kind, what, number in kinds)
    return bytes([len(kinds)]) + listed


def AccessRequest(make: Callable[..., Any], listed: bytes, **data: Any) -> Fields:
    """A command: what is asked, and the data of each, as many as there are requests; `data` names
    the pieces."""
    return Fields(
        make,
        _access_request=Fixed(ACCESS_REQUEST),
        _priority=Fixed(PRIORITY),
        invoke_id=Int24ub,
        _date_time=Fixed(NO_DATE_TIME),
        _requests=Fixed(listed),
        _data_count=Fixed(listed[:1]),
        **data,
    )


def AccessResponse(
    make: Callable[..., Any], results: dict[str, int], data: dict[str, Any] | None = None
) -> Fields:
    """A response: no echo, one piece of data and one result a request. Without `data` there are
    null-data only; `results` names each result and says the kind of its request."""
    count = bytes([len(results)])
    middle: dict[str, Any] = {"_data": Fixed(count + bytes(len(results)))}
    if data is not None:
        middle = {"_data_count": Fixed(count), **data}
    return Fields(
        make,
        _access_response=Fixed(ACCESS_RESPONSE),
        _priority=Fixed(PRIORITY),
        invoke_id=Int24ub,
        _date_time=Fixed(NO_DATE_TIME),
        _requests=Fixed(b"\0"),
        **middle,
        _results=Fixed(count),
        **{name: Tagged(kind, _RESULT) for name, kind in results.items()},
    )


_RESULT = Mapped(Int8ub, member_of(DlmsResult), int)


def Notification(make: Callable[..., Any], members: int, **fields: Any) -> Fields:
    """An alert: a structure of so many members, whose fields follow."""
    return Fields(
        make,
        _data_notification=Fixed(DATA_NOTIFICATION),
        _priority=Fixed(PRIORITY),
        invoke_id=Int24ub,
        _date_time=Fixed(NO_DATE_TIME),
        _structure=Fixed(bytes([0x02, members])),
        **fields,
    )


# -- date-times --------------------------------------------------------------------------------


def build_date_time(time: datetime) -> bytes:
    """The 12 octets that say a whole second of UTC, as published frames write it: day of week and
    deviation left open, no status."""
    if time.tzinfo is not UTC or not 1 <= time.year <= 9999:
        raise GbcsValueError(f"{time.isoformat()} is not a time of datetime.UTC")
    date = time.year.to_bytes(2, "big") + bytes([time.month, time.day, _UNSPECIFIED])
    clock = bytes([time.hour, time.minute, time.second, 0])
    return date + clock + _UNSPECIFIED_DEVIATION.to_bytes(2, "big") + bytes([_UNSPECIFIED])


def read_date_time(octets: bytes) -> datetime | None:
    """The second these 12 octets say, None when they leave a part of it open or say no time."""
    if len(octets) != DATE_TIME_OCTETS:
        raise GbcsValueError(f"a date-time has 12 octets, not {len(octets)}")
    year, month, day = int.from_bytes(octets[:2], "big"), octets[2], octets[3]
    try:
        return datetime(year, month, day, octets[5], octets[6], octets[7], tzinfo=UTC)
    except ValueError:
        return None
