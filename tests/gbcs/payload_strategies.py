"""Any payload of any message, drawn after the types of its fields."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import IntEnum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from gbcs_rig import TIMES
from hypothesis import assume
from hypothesis import strategies as st

from gbcs.codes import MESSAGES
from gbcs.errors import GbcsValueError
from gbcs.streams import length_octets

KINDS = tuple(dict.fromkeys(kind for row in MESSAGES.values() for kind in row.definition.kinds))

_BITS = {
    "invoke_id": 24,
    "alert_code": 16,
    "firmware_version": 32,
    "seconds_since_2000": 32,
    "join_timeout_s": 16,
    "device": 64,
    "other_device": 64,
    "subject": 64,
    "existing_subject": 64,
    "replacing_subject": 64,
    "extended_pan_id": 64,
    "originator_counter": 64,
    "sequence_number": 64,
    "new_floor": 64,
}
_OCTETS = {
    "manufacturer_image_hash": (32,),
    "subject_key_id": (8,),
    "existing_key_id": (8,),
    "replacing_key_id": (8,),
    "date_time": (12,),
    "last_communication": (12,),
    "key": tuple(range(6, 17)),
    "hashed_key": (0, 16),
}
_CODES = {
    "FirmwareActivation": [0x8F8B],
    "FirmwareTransfer": [0x8F8A, 0x8F89],
    "FutureFirmwareActivation": [0x8F66, 0x8F67],
    "FutureCredentialsUpdate": [0x8F66, 0x8F67],
    "FirmwareReceipt": [0x8F72, 0x8F1C],
    "GasFirmwareReceipt": [0x8F72, 0x8F1C],
}


def _sequence(content: bytes) -> bytes:
    return b"\x30" + length_octets(len(content)) + content


DER = st.binary(max_size=300).map(_sequence)


def payloads() -> st.SearchStrategy[Any]:
    return st.sampled_from(KINDS).flatmap(payloads_of)


@st.composite
def payloads_of(draw: st.DrawFn, kind: type[Any]) -> Any:
    hints = get_type_hints(kind)
    values = {each.name: draw(_value(kind, each.name, hints[each.name])) for each in fields(kind)}
    try:
        return kind(**values)
    except GbcsValueError:
        assume(False)


def _value(kind: type[Any], name: str, hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) in (Union, UnionType):
        (inner,) = [each for each in get_args(hint) if each is not NoneType]
        return st.none() | _value(kind, name, inner)
    if get_origin(hint) is tuple:
        return st.lists(_value(kind, name, get_args(hint)[0]), max_size=3).map(tuple)
    if is_dataclass(hint):
        return payloads_of(hint)
    if hint is datetime:
        return TIMES
    if hint is bool:
        return st.booleans()
    if hint is bytes:
        if name in ("further", "plaintext_symmetric_key"):
            return st.binary(max_size=40)
        lengths = _OCTETS.get(name)
        if lengths is None:
            return DER
        return st.sampled_from(lengths).flatmap(lambda n: st.binary(min_size=n, max_size=n))
    if issubclass(hint, IntEnum):
        return st.sampled_from(hint)
    if name == "alert_code" and kind.__name__ in _CODES:
        return st.sampled_from(_CODES[kind.__name__])
    if name.endswith("_rssi"):
        return st.integers(-128, 127)
    if kind.__name__ == "VersionAttribute":
        return st.sampled_from([0, 0xC0, 0xFF]) if name == "status" else st.integers(0, 2**32 - 1)
    return st.integers(0, 2 ** _BITS.get(name, 8) - 1)
