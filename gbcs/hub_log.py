"""The hub says what it knows: its network (CCS05/CCS04, CCS06), its device logs (CCS07, CS14).

Source: GBCS use cases CCS05/CCS04 "Read CHF Device Log and Check HAN Communications", CCS06, CCS07
"Read CHF Device Logs", CS14 "Device Log Changed"; DLMS access service on objects 0.0.30.3.0.255
(the log) and 0.0.30.3.1.255 (the historic log) of class 104, whose attribute 4 is active_devices
and whose method 4 is backup_PAN.

    payload              octets behind invoke id and counts
    -------------------  --------------------------------------------------------------------
    CCS04/CCS06 command  get 4 of the log; null data
    CCS04/CCS06 response array of structure (14) { device, status bits, RSSI greatest, average,
                           least, LQI greatest, average, least, last communication date-time,
                           hops, transmission failures, successes, application version, stack
                           version }, or null; 01 result
    CCS07 command        action 4 of the log, action 4 of the historic log; two null data
    CCS07 response       for each a backup, or null; for each 03 result
    a backup             structure { date-time, extended PAN id, array of { device, hashed key } }
    CS14 alert           structure { alert code, date-time, backup }
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gbcs.axdr import (
    ACTION,
    DATE_TIME_OCTETS,
    GET,
    NULL_DATA,
    AccessRequest,
    AccessResponse,
    ArrayOf,
    Bits8,
    DateTime,
    DlmsResult,
    EntityId,
    Integer8,
    LongUnsigned,
    Notification,
    Structure,
    Unsigned8,
    requests,
)
from gbcs.device_log import CHF_OBJECT, LinkKeyHash, link_key_hashes
from gbcs.errors import GbcsValueError, require_unsigned
from gbcs.fields import Definition, Fixed, OrNull

HISTORIC_LOG_OBJECT = bytes.fromhex("0068 00001E0301FF")
DEVICE_LOG_CHANGED = 0x8F12
_ACTIVE_DEVICES = 4
_BACKUP_PAN = 4
_SIGNED_OCTET = range(-128, 128)


# -- CCS05/CCS04 and CCS06 ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadHanStatus:
    """CCS05/CCS04 and CCS06 command."""

    invoke_id: int

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)


@dataclass(frozen=True, slots=True)
class ActiveDevice:
    """One device of the network as the hub hears it."""

    device: int
    status: int
    greatest_rssi: int
    average_rssi: int
    least_rssi: int
    greatest_lqi: int
    average_lqi: int
    least_lqi: int
    last_communication: bytes
    hops: int
    transmission_failures: int
    transmission_successes: int
    application_version: int
    stack_version: int

    def __post_init__(self) -> None:
        require_unsigned("device", self.device, 8)
        for name in ("greatest_rssi", "average_rssi", "least_rssi"):
            if getattr(self, name) not in _SIGNED_OCTET:
                raise GbcsValueError(f"{name} does not fit in a signed octet")
        for name in (
            "status",
            "greatest_lqi",
            "average_lqi",
            "least_lqi",
            "hops",
            "transmission_failures",
            "transmission_successes",
            "application_version",
            "stack_version",
        ):
            require_unsigned(name, getattr(self, name), 1)
        require_date_time(self.last_communication)


@dataclass(frozen=True, slots=True)
class HanStatus:
    """CCS05/CCS04 and CCS06 response; no devices after a failure."""

    invoke_id: int
    devices: tuple[ActiveDevice, ...] | None = None
    result: DlmsResult = DlmsResult.SUCCESS

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)


def require_date_time(octets: bytes) -> None:
    if len(octets) != DATE_TIME_OCTETS:
        raise GbcsValueError(f"a date-time has 12 octets, not {len(octets)}")


READ_HAN_STATUS = Definition(
    "CCS04 command",
    ReadHanStatus,
    AccessRequest(
        ReadHanStatus, requests((GET, CHF_OBJECT, _ACTIVE_DEVICES)), _data=Fixed(NULL_DATA)
    ),
)
HAN_STATUS = Definition(
    "CCS04 response",
    HanStatus,
    AccessResponse(
        HanStatus,
        {"result": GET},
        {
            "devices": OrNull(
                ArrayOf(
                    Structure(
                        ActiveDevice,
                        device=EntityId(),
                        status=Bits8(),
                        greatest_rssi=Integer8(),
                        average_rssi=Integer8(),
                        least_rssi=Integer8(),
                        greatest_lqi=Unsigned8(),
                        average_lqi=Unsigned8(),
                        least_lqi=Unsigned8(),
                        last_communication=DateTime(),
                        hops=Unsigned8(),
                        transmission_failures=Unsigned8(),
                        transmission_successes=Unsigned8(),
                        application_version=Unsigned8(),
                        stack_version=Unsigned8(),
                    )
                ),
                NULL_DATA,
            )
        },
    ),
)

# -- CCS07 and CS14 ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadDeviceLogs:
    """CCS07 command."""

    invoke_id: int

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)


@dataclass(frozen=True, slots=True)
class LogBackup:
    """What another hub needs to take the network over."""

    date_time: bytes
    extended_pan_id: int
    devices: tuple[LinkKeyHash, ...]

    def __post_init__(self) -> None:
        require_date_time(self.date_time)
        require_unsigned("extended_pan_id", self.extended_pan_id, 8)


@dataclass(frozen=True, slots=True)
class DeviceLogs:
    """CCS07 response: the log and the historic log, each unless it could not be read."""

    invoke_id: int
    log: LogBackup | None = None
    historic_log: LogBackup | None = None
    log_result: DlmsResult = DlmsResult.SUCCESS
    historic_log_result: DlmsResult = DlmsResult.SUCCESS

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)


@dataclass(frozen=True, slots=True)
class DeviceLogChanged:
    """CS14, alert 0x8F12: the log as it is now."""

    invoke_id: int
    alert_code: int
    date_time: bytes
    backup: LogBackup

    def __post_init__(self) -> None:
        require_unsigned("invoke_id", self.invoke_id, 3)
        require_unsigned("alert_code", self.alert_code, 2)
        require_date_time(self.date_time)


def _backup() -> Any:
    return Structure(
        LogBackup, date_time=DateTime(), extended_pan_id=EntityId(), devices=link_key_hashes()
    )


READ_DEVICE_LOGS = Definition(
    "CCS07 command",
    ReadDeviceLogs,
    AccessRequest(
        ReadDeviceLogs,
        requests((ACTION, CHF_OBJECT, _BACKUP_PAN), (ACTION, HISTORIC_LOG_OBJECT, _BACKUP_PAN)),
        _data=Fixed(2 * NULL_DATA),
    ),
)
DEVICE_LOGS = Definition(
    "CCS07 response",
    DeviceLogs,
    AccessResponse(
        DeviceLogs,
        {"log_result": ACTION, "historic_log_result": ACTION},
        {
            "log": OrNull(_backup(), NULL_DATA),
            "historic_log": OrNull(_backup(), NULL_DATA),
        },
    ),
)
DEVICE_LOG_CHANGED_ALERT = Definition(
    "CS14 alert",
    DeviceLogChanged,
    Notification(
        DeviceLogChanged, 3, alert_code=LongUnsigned(), date_time=DateTime(), backup=_backup()
    ),
)
