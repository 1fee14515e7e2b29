"""Letting a device into a hub's device log (CCS01), and what the hub answers.

Source: GBCS use case CCS01 "Add Device to CHF Device Log"; DLMS access service (IEC 62056-5-3,
A-XDR) on the CHF's object 0.0.30.3.0.255 of class 104.

    command, three requests                        response, three results
    ---------------------------------------------  ------------------------------------------
    D9, long-invoke-id-and-priority, no date-time  DA, the same, no date-time
    action 1: register_device                      no echo of the requests, three null data
    set 3: join_timeout                            03 result of the action
    set 2: enable_disable_joining                  02 result of each set
    their data: structure { device, key type,
      key, a constant }, seconds, a boolean

The low 24 bits of the originator counter make the invoke id.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from construct import Const, ExprAdapter, FocusedSeq, Int8ub, Int16ub, Int24ub, Int64ub

from gbcs.ber import Layout, fixed_length, marker, octets_of
from gbcs.errors import GbcsValueError, require_unsigned

INVOKE_ID_BITS = 24
# DUIS carries install codes of 6 to 16 octets; the public documents put one into CCS01 as it is.
KEY_OCTETS = range(6, 17)
_PRIORITY = 0x20  # the octet of long-invoke-id-and-priority above the id, in every published frame
_NO_DATE_TIME = b"\x00"

# Length of a list, then per entry: kind of request (3 action, 2 set), class, object, number.
_OBJECT = bytes.fromhex("0068 00001E0300FF")
_REQUESTS = b"\x03" + b"\x03" + _OBJECT + b"\x01" + b"\x02" + _OBJECT + b"\x03"
_REQUESTS += b"\x02" + _OBJECT + b"\x02"

INSTALL_CODE = 1
"""The key type every published command carries: the key is the install code."""


class DlmsResult(IntEnum):
    """Results of DLMS actions and sets."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    OTHER_REASON = 250


@dataclass(frozen=True, slots=True)
class AddDevice:
    """CCS01 command. `key` is the install code of the DUIS request, without its CRC.

    `unspecified` is 0 in every published command; nothing public says what it means.
    """

    invoke_id: int
    device: int
    key: bytes
    join_timeout_s: int
    key_type: int = INSTALL_CODE
    unspecified: int = 0
    enable_joining: bool = True

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)
        require_unsigned("device", self.device, 8)
        require_unsigned("join_timeout_s", self.join_timeout_s, 2)
        require_unsigned("key_type", self.key_type, 1)
        require_unsigned("unspecified", self.unspecified, 1)
        if len(self.key) not in KEY_OCTETS:
            raise GbcsValueError(f"key has {len(self.key)} octets, not 6 to 16")

    def __repr__(self) -> str:
        # A key must not reach a log or an evidence file by way of a message about its frame.
        return f"AddDevice(device={self.device:016X}, join_timeout_s={self.join_timeout_s})"


@dataclass(frozen=True, slots=True)
class AddDeviceResult:
    """CCS01 response: one result for each of the three requests."""

    invoke_id: int
    register_device: int = DlmsResult.SUCCESS
    join_timeout: int = DlmsResult.SUCCESS
    enable_joining: int = DlmsResult.SUCCESS

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)
        for name in ("register_device", "join_timeout", "enable_joining"):
            require_unsigned(name, getattr(self, name), 1)

    @property
    def succeeded(self) -> bool:
        return not (self.register_device or self.join_timeout or self.enable_joining)


def invoke_id(originator_counter: int) -> int:
    """The invoke id of a command with this counter."""
    return originator_counter & ((1 << INVOKE_ID_BITS) - 1)


def _dlms(tag: int, content: Any) -> Any:
    """One A-XDR value whose length its tag settles."""
    return FocusedSeq("content", "tag" / Const(bytes([tag])), "content" / content)


_OCTET_STRING, _ENUM, _LONG_UNSIGNED, _BOOLEAN = 0x09, 0x16, 0x12, 0x03
_EUI64 = FocusedSeq("eui64", "length" / fixed_length(8), "eui64" / Int64ub)
# False is 00; true is FF in every published command, and any other octet by A-XDR.
_FLAG = ExprAdapter(Int8ub, lambda octet, _: octet != 0, lambda flag, _: 0xFF if flag else 0)

_COMMAND = Layout(
    "CCS01 command",
    {
        "access_request": marker(b"\xd9"),
        "priority": marker(bytes([_PRIORITY])),
        "invoke_id": Int24ub,
        "date_time": marker(_NO_DATE_TIME),
        "requests": marker(_REQUESTS),
        "data": marker(b"\x03"),
        "structure": marker(b"\x02\x04"),
        "device": _dlms(_OCTET_STRING, _EUI64),
        "key_type": _dlms(_ENUM, Int8ub),
        "key": _dlms(_OCTET_STRING, octets_of(*KEY_OCTETS)),
        "unspecified": _dlms(_ENUM, Int8ub),
        "join_timeout_s": _dlms(_LONG_UNSIGNED, Int16ub),
        "enable_joining": _dlms(_BOOLEAN, _FLAG),
    },
)
_RESPONSE = Layout(
    "CCS01 response",
    {
        "access_response": marker(b"\xda"),
        "priority": marker(bytes([_PRIORITY])),
        "invoke_id": Int24ub,
        "date_time": marker(_NO_DATE_TIME),
        "requests": marker(b"\x00"),
        "data": marker(b"\x03" + bytes(3)),
        "results": marker(b"\x03"),
        "register_device": _dlms(0x03, Int8ub),
        "join_timeout": _dlms(0x02, Int8ub),
        "enable_joining": _dlms(0x02, Int8ub),
    },
)


def parse_add_device(octets: bytes, base: int = 0) -> AddDevice:
    values = _COMMAND.parse(octets, base)
    return AddDevice(**{name: values[name] for name in AddDevice.__dataclass_fields__})


def build_add_device(command: AddDevice) -> bytes:
    return _COMMAND.build(asdict(command))


def parse_add_device_result(octets: bytes, base: int = 0) -> AddDeviceResult:
    values = _RESPONSE.parse(octets, base)
    return AddDeviceResult(**{name: values[name] for name in AddDeviceResult.__dataclass_fields__})


def build_add_device_result(response: AddDeviceResult) -> bytes:
    return _RESPONSE.build(asdict(response))
