"""Pairs of devices that may speak to each other: joined (CS03), parted (CS04), listed (CS07).

Source: GBCS use cases CS03A1, CS03A2, CS03B, CS03C "Join Device", CS04AC, CS04B "Unjoin Device",
CS07 "Read Device Join Details"; ASN.1 in DER.

    payload           octets
    ----------------  ----------------------------------------------------------------------
    CS03 command      SEQUENCE { joinMethodAndRole INTEGER, otherDevice OCTET STRING (8),
                        otherDeviceType INTEGER, Certificate OPTIONAL (method C) }
    CS03 response     INTEGER
    CS04 command      OCTET STRING (8), the other device
    CS04 response     INTEGER
    CS07 command      NULL
    CS07 response     SEQUENCE { result INTEGER, SEQUENCE OF SEQUENCE {
                        device OCTET STRING (8), deviceType INTEGER } OPTIONAL }
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gbcs.ber import (
    IntegerOf,
    Null,
    Number,
    Record,
    RecordsOf,
    WholeSequence,
    require_whole_sequence,
)
from gbcs.errors import GbcsValueError, require_unsigned
from gbcs.fields import Definition, Fields, IfNext
from gbcs.wan import DeviceType


class JoinMethod(IntEnum):
    """How two devices come to share a key, and which of them begins."""

    A_INITIATOR = 0
    A_RESPONDER = 1
    B = 2
    C = 3


class JoinResult(IntEnum):
    SUCCESS = 0
    INVALID_MESSAGE_CODE_FOR_JOIN_METHOD_AND_ROLE = 1
    INVALID_JOIN_METHOD_AND_ROLE = 2
    INCOMPATIBLE_WITH_EXISTING_ENTRY = 3
    DEVICE_LOG_FULL = 4
    WRITE_FAILURE = 5
    KEY_AGREEMENT_NO_RESOURCES = 6
    KEY_AGREEMENT_UNKNOWN_ISSUER = 7
    KEY_AGREEMENT_UNSUPPORTED_SUITE = 8
    KEY_AGREEMENT_BAD_MESSAGE = 9
    KEY_AGREEMENT_BAD_KEY_CONFIRM = 10
    INVALID_OR_MISSING_CERTIFICATE = 11
    NO_PARTNER_LINK_KEY_RECEIVED = 12
    NO_CBKE_RESPONSE = 13


class UnjoinResult(IntEnum):
    SUCCESS = 0
    NOT_IN_DEVICE_LOG = 1
    OTHER_FAILURE = 2


class JoinDetailsResult(IntEnum):
    SUCCESS = 0
    READ_FAILURE = 1


@dataclass(frozen=True, slots=True)
class JoinDevice:
    """CS03 command: pair with this device."""

    join_method_and_role: JoinMethod
    other_device: int
    other_device_type: DeviceType
    certificate: bytes | None = None

    def __post_init__(self) -> None:
        require_unsigned("other_device", self.other_device, 8)
        if self.certificate is not None:
            require_whole_sequence("certificate", self.certificate)


@dataclass(frozen=True, slots=True)
class DeviceJoined:
    """CS03 response."""

    result: JoinResult


@dataclass(frozen=True, slots=True)
class UnjoinDevice:
    """CS04 command: part from this device."""

    other_device: int

    def __post_init__(self) -> None:
        require_unsigned("other_device", self.other_device, 8)


@dataclass(frozen=True, slots=True)
class DeviceUnjoined:
    """CS04 response."""

    result: UnjoinResult


@dataclass(frozen=True, slots=True)
class ReadJoinDetails:
    """CS07 command."""


@dataclass(frozen=True, slots=True)
class JoinedDevice:
    device: int
    device_type: DeviceType

    def __post_init__(self) -> None:
        require_unsigned("device", self.device, 8)


@dataclass(frozen=True, slots=True)
class JoinDetails:
    """CS07 response; no list after a failure."""

    result: JoinDetailsResult
    devices: tuple[JoinedDevice, ...] | None = None

    def __post_init__(self) -> None:
        if (self.result is JoinDetailsResult.SUCCESS) != (self.devices is not None):
            raise GbcsValueError("a list of devices stands with success, and only with it")


JOIN_DEVICE = Definition(
    "CS03 command",
    JoinDevice,
    Record(
        JoinDevice,
        join_method_and_role=IntegerOf(JoinMethod),
        other_device=Number(8),
        other_device_type=IntegerOf(DeviceType),
        certificate=IfNext(WholeSequence()),
    ),
)
DEVICE_JOINED = Definition(
    "CS03 response", DeviceJoined, Fields(DeviceJoined, result=IntegerOf(JoinResult))
)
UNJOIN_DEVICE = Definition(
    "CS04 command", UnjoinDevice, Fields(UnjoinDevice, other_device=Number(8))
)
DEVICE_UNJOINED = Definition(
    "CS04 response", DeviceUnjoined, Fields(DeviceUnjoined, result=IntegerOf(UnjoinResult))
)
READ_JOIN_DETAILS = Definition(
    "CS07 command", ReadJoinDetails, Fields(ReadJoinDetails, _null=Null())
)
JOIN_DETAILS = Definition(
    "CS07 response",
    JoinDetails,
    Record(
        JoinDetails,
        result=IntegerOf(JoinDetailsResult),
        devices=IfNext(
            RecordsOf(Record(JoinedDevice, device=Number(8), device_type=IntegerOf(DeviceType)))
        ),
    ),
)
