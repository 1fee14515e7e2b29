"""The hub's device log is changed: a device added (CCS01), removed (CCS02), all restored (CCS03).

Source: GBCS use cases CCS01 "Add Device to CHF Device Log", CCS02 "Remove Device from CHF Device
Log", CCS03 "Restore CHF Device Log"; DLMS access service on the CHF's object 0.0.30.3.0.255 of
class 104.

    command                                        response
    ---------------------------------------------  ------------------------------------------
    CCS01  action 1, register_device: structure    03 result of the action, 02 result of each
             { device, key type, key, a              set; null data
             constant }
           set 3, join_timeout: seconds
           set 2, enable_disable_joining: boolean
    CCS02  action 2, unregister_device: device     03 result
    CCS03  action 5, restore_PAN: structure {      03 result
             extended PAN id, array of structure
             { device, hashed link key } }

The low 24 bits of the originator counter make the invoke id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gbcs.axdr import (
    ACTION,
    SET,
    AccessRequest,
    AccessResponse,
    ArrayOf,
    Boolean,
    EntityId,
    Enum8,
    LongUnsigned,
    OctetString,
    Structure,
    requests,
)
from gbcs.axdr import DlmsResult as DlmsResult
from gbcs.errors import GbcsValueError, require_unsigned
from gbcs.fields import Definition, Fixed

# DUIS carries install codes of 6 to 16 octets; the public documents put one into CCS01 as it is.
KEY_OCTETS = range(6, 17)
HASHED_KEY_OCTETS = 16
CHF_OBJECT = bytes.fromhex("0068 00001E0300FF")

INSTALL_CODE = 1
"""The key type every published command carries: the key is the install code."""


# -- CCS01 -------------------------------------------------------------------------------------


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
    register_device: DlmsResult = DlmsResult.SUCCESS
    join_timeout: DlmsResult = DlmsResult.SUCCESS
    enable_joining: DlmsResult = DlmsResult.SUCCESS

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)
        for name in ("register_device", "join_timeout", "enable_joining"):
            require_unsigned(name, getattr(self, name), 1)

    @property
    def succeeded(self) -> bool:
        return not (self.register_device or self.join_timeout or self.enable_joining)


ADD_DEVICE = Definition(
    "CCS01 command",
    AddDevice,
    AccessRequest(
        AddDevice,
        requests((ACTION, CHF_OBJECT, 1), (SET, CHF_OBJECT, 3), (SET, CHF_OBJECT, 2)),
        _structure=Fixed(b"\x02\x04"),
        device=EntityId(),
        key_type=Enum8(),
        key=OctetString(*KEY_OCTETS),
        unspecified=Enum8(),
        join_timeout_s=LongUnsigned(),
        enable_joining=Boolean(),
    ),
)
ADD_DEVICE_RESULT = Definition(
    "CCS01 response",
    AddDeviceResult,
    AccessResponse(
        AddDeviceResult, {"register_device": ACTION, "join_timeout": SET, "enable_joining": SET}
    ),
)

# -- CCS02 -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RemoveDevice:
    """CCS02 command."""

    invoke_id: int
    device: int

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)
        require_unsigned("device", self.device, 8)


@dataclass(frozen=True, slots=True)
class RemoveDeviceResult:
    """CCS02 response."""

    invoke_id: int
    unregister_device: DlmsResult = DlmsResult.SUCCESS

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)


REMOVE_DEVICE = Definition(
    "CCS02 command",
    RemoveDevice,
    AccessRequest(RemoveDevice, requests((ACTION, CHF_OBJECT, 2)), device=EntityId()),
)
REMOVE_DEVICE_RESULT = Definition(
    "CCS02 response",
    RemoveDeviceResult,
    AccessResponse(RemoveDeviceResult, {"unregister_device": ACTION}),
)

# -- CCS03 -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkKeyHash:
    """A device of a network, and the hash of the link key it shares with the trust centre; empty
    where there is none yet."""

    device: int
    hashed_key: bytes

    def __post_init__(self) -> None:
        require_unsigned("device", self.device, 8)
        if len(self.hashed_key) not in (0, HASHED_KEY_OCTETS):
            raise GbcsValueError(f"hashed_key has {len(self.hashed_key)} octets, not 0 or 16")

    def __repr__(self) -> str:
        return f"LinkKeyHash(device={self.device:016X})"


def link_key_hashes() -> Any:
    """The array of devices and hashes that CCS03, CCS07 and CS14 share."""
    return ArrayOf(
        Structure(LinkKeyHash, device=EntityId(), hashed_key=OctetString(0, HASHED_KEY_OCTETS))
    )


@dataclass(frozen=True, slots=True)
class RestoreLog:
    """CCS03 command: form this network again, for these devices."""

    invoke_id: int
    extended_pan_id: int
    devices: tuple[LinkKeyHash, ...]

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)
        require_unsigned("extended_pan_id", self.extended_pan_id, 8)


@dataclass(frozen=True, slots=True)
class RestoreLogResult:
    """CCS03 response."""

    invoke_id: int
    restore_pan: DlmsResult = DlmsResult.SUCCESS

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)


RESTORE_LOG = Definition(
    "CCS03 command",
    RestoreLog,
    AccessRequest(
        RestoreLog,
        requests((ACTION, CHF_OBJECT, 5)),
        _structure=Fixed(b"\x02\x02"),
        extended_pan_id=EntityId(),
        devices=link_key_hashes(),
    ),
)
RESTORE_LOG_RESULT = Definition(
    "CCS03 response", RestoreLogResult, AccessResponse(RestoreLogResult, {"restore_pan": ACTION})
)

parse_add_device = ADD_DEVICE.parse
build_add_device = ADD_DEVICE.build
parse_add_device_result = ADD_DEVICE_RESULT.parse
build_add_device_result = ADD_DEVICE_RESULT.build
