"""Alerts that many kinds of device raise: of something that happened (general), of firmware that
arrived (firmware distribution receipt).

Source: GBCS "Generic Critical Alert" (code 0x1000), "Generic Non-Critical Alert" (0x1001) and the
firmware distribution receipt alerts of ESME (0x00CE) and GSME (0x00CF). Meters and hubs on DLMS
send a data-notification, those on GBZ a GBZ payload without components; the form of a device whose
payloads are ASN.1 is not public, and the one here is that of CS09 (docs/open-points.md).

    form    octets
    ------  -------------------------------------------------------------------------------
    DLMS    0F, invoke id, no date-time, structure { alert code, date-time, what else there is }
    GBZ     0109, 00, alert code (2), seconds since 2000 (4), what else there is
    ASN.1   SEQUENCE { alertCode INTEGER, executionDateTime GeneralizedTime }

A receipt has the SHA-256 of the manufacturer image as an octet string behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from construct import GreedyBytes, Int8ub, Int16ub, Int24ub, Int32ub

from gbcs.axdr import (
    DATA_NOTIFICATION,
    NO_DATE_TIME,
    PRIORITY,
    DateTime,
    LongUnsigned,
    Notification,
    OctetString,
)
from gbcs.ber import SEQUENCE, AlertCode, Record, Time, require_utc_second
from gbcs.errors import GbcsValueError, require_unsigned
from gbcs.fields import Definition, Fields, Fixed, Forms
from gbcs.firmware import HASH_OCTETS
from gbcs.hub_log import require_date_time
from gbcs.meter_versions import GBZ_PROFILE

FIRMWARE_VERIFIED = 0x8F72
FIRMWARE_VERIFICATION_FAILED = 0x8F1C


@dataclass(frozen=True, slots=True)
class DlmsAlert:
    """A general alert of a device on DLMS; `members` counts code and time too, and `further` is
    what stands behind them, as it stands there."""

    invoke_id: int
    alert_code: int
    date_time: bytes
    members: int = 2
    further: bytes = b""

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)
        require_unsigned("alert_code", self.alert_code, 2)
        require_unsigned("members", self.members, 1)
        require_date_time(self.date_time)


@dataclass(frozen=True, slots=True)
class GbzAlert:
    """A general alert of a device on GBZ."""

    components: int
    alert_code: int
    seconds_since_2000: int
    further: bytes = b""

    def __post_init__(self) -> None:
        require_unsigned("components", self.components, 1)
        require_unsigned("alert_code", self.alert_code, 2)
        require_unsigned("seconds_since_2000", self.seconds_since_2000, 4)


@dataclass(frozen=True, slots=True)
class Asn1Alert:
    """A general alert of a device whose payloads are ASN.1."""

    alert_code: int
    execution_date_time: datetime

    def __post_init__(self) -> None:
        require_unsigned("alert_code", self.alert_code, 2)
        require_utc_second("execution_date_time", self.execution_date_time)


GeneralAlert = DlmsAlert | GbzAlert | Asn1Alert

_DLMS_ALERT = Fields(
    DlmsAlert,
    _data_notification=Fixed(DATA_NOTIFICATION),
    _priority=Fixed(PRIORITY),
    invoke_id=Int24ub,
    _date_time=Fixed(NO_DATE_TIME),
    _structure=Fixed(b"\x02"),
    members=Int8ub,
    alert_code=LongUnsigned(),
    date_time=DateTime(),
    further=GreedyBytes,
)
_GBZ_ALERT = Fields(
    GbzAlert,
    _profile=Fixed(GBZ_PROFILE),
    components=Int8ub,
    alert_code=Int16ub,
    seconds_since_2000=Int32ub,
    further=GreedyBytes,
)
_ASN1_ALERT = Record(Asn1Alert, alert_code=AlertCode(), execution_date_time=Time())

GENERAL_ALERT: Definition[Any] = Definition(
    "general alert",
    (DlmsAlert, GbzAlert, Asn1Alert),
    Forms(
        {
            DATA_NOTIFICATION[0]: (DlmsAlert, _DLMS_ALERT),
            GBZ_PROFILE[0]: (GbzAlert, _GBZ_ALERT),
            SEQUENCE: (Asn1Alert, _ASN1_ALERT),
        }
    ),
)


def _require_receipt(alert_code: int, image_hash: bytes) -> None:
    if alert_code not in (FIRMWARE_VERIFIED, FIRMWARE_VERIFICATION_FAILED):
        raise GbcsValueError(f"a receipt carries 8F72 or 8F1C, not {alert_code:04X}")
    if len(image_hash) != HASH_OCTETS:
        raise GbcsValueError(f"an image hash has {HASH_OCTETS} octets")


@dataclass(frozen=True, slots=True)
class FirmwareReceipt:
    """Receipt of an ESME: an image arrived, and was what it should be or not."""

    invoke_id: int
    alert_code: int
    date_time: bytes
    manufacturer_image_hash: bytes

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)
        require_date_time(self.date_time)
        _require_receipt(self.alert_code, self.manufacturer_image_hash)


@dataclass(frozen=True, slots=True)
class GasFirmwareReceipt:
    """Receipt of a GSME."""

    components: int
    alert_code: int
    seconds_since_2000: int
    manufacturer_image_hash: bytes

    def __post_init__(self) -> None:
        require_unsigned("components", self.components, 1)
        require_unsigned("seconds_since_2000", self.seconds_since_2000, 4)
        _require_receipt(self.alert_code, self.manufacturer_image_hash)


FIRMWARE_RECEIPT = Definition(
    "firmware receipt",
    FirmwareReceipt,
    Notification(
        FirmwareReceipt,
        3,
        alert_code=LongUnsigned(),
        date_time=DateTime(),
        manufacturer_image_hash=OctetString(HASH_OCTETS),
    ),
)
GAS_FIRMWARE_RECEIPT = Definition(
    "gas firmware receipt",
    GasFirmwareReceipt,
    Fields(
        GasFirmwareReceipt,
        _profile=Fixed(GBZ_PROFILE),
        components=Int8ub,
        alert_code=Int16ub,
        seconds_since_2000=Int32ub,
        manufacturer_image_hash=OctetString(HASH_OCTETS),
    ),
)
