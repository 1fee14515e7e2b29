"""Which firmware a meter runs: an ESME or a hub asked in DLMS (ECS52), a GSME in GBZ (GCS38).

Source: GBCS use cases ECS52 "Read ESME/Comms Hub Firmware Version", GCS38 "Read GSME Firmware
Version"; DLMS access service on object 0.0.0.2.1.255 of class 1;
GBCS "GBZ Payloads" round ZCL frames of the ZigBee Cluster Library.

    payload          octets
    ---------------  -----------------------------------------------------------------------
    ECS52 command    get 2; null data
    ECS52 response   octet string (4) version or null; 01 result
    GBZ payload      0109 profile, how many components, each: control (01 the last), cluster (2),
                     length (2) of the ZCL frame; most significant octet first
    GCS38 command    00 00 00, read attributes; attribute (2, least significant octet first)
    GCS38 response   08 00 01; attribute, status; where that is 0, type 41 and length and version
"""

from __future__ import annotations

from dataclasses import dataclass

from construct import Bytes, Int8ub, ValidationError

from gbcs.axdr import (
    GET,
    NULL_DATA,
    AccessRequest,
    AccessResponse,
    DlmsResult,
    requests,
)
from gbcs.ber import number_decoder, number_encoder
from gbcs.errors import GbcsValueError, require_unsigned
from gbcs.fields import (
    Component,
    Definition,
    Fields,
    Fixed,
    IfNext,
    Mapped,
    OrNull,
    Tagged,
    Value,
)

FIRMWARE_OBJECT = bytes.fromhex("0001 0000000201FF")
_VALUE = 2
GBZ_PROFILE = b"\x01\x09"
_METERING = b"\x07\x02"
_LAST_COMPONENT = b"\x01"
_FIRMWARE_ATTRIBUTE = b"\x06\x02"
_OCTET_STRING_TYPE = 0x41
ZCL_SUCCESS = 0


# -- ECS52 -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadMeterVersion:
    """ECS52 command."""

    invoke_id: int

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)


@dataclass(frozen=True, slots=True)
class MeterVersion:
    """ECS52 response; no version after a failure."""

    invoke_id: int
    firmware_version: int | None = None
    result: DlmsResult = DlmsResult.SUCCESS

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)
        if self.firmware_version is not None:
            require_unsigned("firmware_version", self.firmware_version, 4)


READ_METER_VERSION = Definition(
    "ECS52 command",
    ReadMeterVersion,
    AccessRequest(
        ReadMeterVersion, requests((GET, FIRMWARE_OBJECT, _VALUE)), _data=Fixed(NULL_DATA)
    ),
)
METER_VERSION = Definition(
    "ECS52 response",
    MeterVersion,
    AccessResponse(
        MeterVersion,
        {"result": GET},
        {"firmware_version": OrNull(Value(0x09, number_decoder(4), number_encoder(4)), NULL_DATA)},
    ),
)

# -- GCS38 -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadGasMeterVersion:
    """GCS38 command."""


@dataclass(frozen=True, slots=True)
class VersionAttribute:
    """The attribute as the meter answers: a ZCL status, and the version with success."""

    status: int
    firmware_version: int | None = None

    def __post_init__(self) -> None:
        require_unsigned("status", self.status, 1)
        if (self.status == ZCL_SUCCESS) != (self.firmware_version is not None):
            raise GbcsValueError("a version stands with status 0, and only with it")
        if self.firmware_version is not None:
            require_unsigned("firmware_version", self.firmware_version, 4)


@dataclass(frozen=True, slots=True)
class GasMeterVersion:
    """GCS38 response."""

    attribute: VersionAttribute


def _version_of_octet_string(octets: bytes) -> int:
    if octets[0] != 4:
        raise ValidationError(f"has {octets[0]} octets, not 4")
    return int.from_bytes(octets[1:], "big")


_ZCL_VERSION = Tagged(
    _OCTET_STRING_TYPE,
    Mapped(Bytes(5), _version_of_octet_string, lambda value: b"\x04" + value.to_bytes(4, "big")),
)
READ_GAS_METER_VERSION = Definition(
    "GCS38 command",
    ReadGasMeterVersion,
    Fields(
        ReadGasMeterVersion,
        _profile=Fixed(GBZ_PROFILE),
        _components=Fixed(b"\x01"),
        _control=Fixed(_LAST_COMPONENT),
        _cluster=Fixed(_METERING),
        _length=Fixed(b"\x00\x05"),
        _read_attributes=Fixed(b"\x00\x00\x00"),
        _attribute=Fixed(_FIRMWARE_ATTRIBUTE),
    ),
)
GAS_METER_VERSION = Definition(
    "GCS38 response",
    GasMeterVersion,
    Fields(
        GasMeterVersion,
        _profile=Fixed(GBZ_PROFILE),
        _components=Fixed(b"\x01"),
        _control=Fixed(_LAST_COMPONENT),
        _cluster=Fixed(_METERING),
        attribute=Component(
            Fields(
                VersionAttribute,
                _read_attributes_response=Fixed(b"\x08\x00\x01"),
                _attribute=Fixed(_FIRMWARE_ATTRIBUTE),
                status=Int8ub,
                firmware_version=IfNext(_ZCL_VERSION),
            )
        ),
    ),
)
