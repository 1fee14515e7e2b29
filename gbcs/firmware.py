"""What is said of firmware in ASN.1: activated at a time (CS06), its version read (CS08), activated
by a PPMID (CS09), delivered by the hub (CCS08).

Source: GBCS use cases CS06 "Activate Firmware", CS08 "Read PPMID/HCALCS Firmware Version", CS09
"PPMID Firmware Activation Alert", CCS08 "Firmware Transfer Alert"; ASN.1 in DER.

    payload         octets
    --------------  ------------------------------------------------------------------------
    CS06 command    SEQUENCE { manufacturerImageHash OCTET STRING (32), originatorCounter INTEGER,
                               executionDateTime GeneralizedTime OPTIONAL }
    CS06 response   NULL when it is for later, else the outcome
    CS06 alert      SEQUENCE { alertCode INTEGER, executionDateTime GeneralizedTime,
                               originatorCounter INTEGER, outcome }
    its outcome     SEQUENCE { result INTEGER, firmwareVersion OCTET STRING (4) }
    CS08 command    NULL
    CS08 response   SEQUENCE { firmwareVersion OCTET STRING (4), result INTEGER }
    CS09 alert      SEQUENCE { alertCode INTEGER, executionDateTime GeneralizedTime,
                               firmwareVersion OCTET STRING (4), result INTEGER }
    CCS08 alert     SEQUENCE { alertCode INTEGER, executionDateTime GeneralizedTime,
                               device OCTET STRING (8), firmwareVersion OCTET STRING (4),
                               result INTEGER }

A version is the file version of the OTA header, most significant octet first. An execution time
of 99991231235959Z takes an activation for later back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from gbcs.ber import (
    NULL_OCTETS,
    AlertCode,
    IntegerOf,
    Null,
    Number,
    Octets,
    Record,
    Time,
    Unsigned,
    require_utc_second,
)
from gbcs.errors import GbcsValueError, require_unsigned
from gbcs.fields import Definition, Fields, IfNext, OrNull, Sized

PPMID_FIRMWARE_ACTIVATION = 0x8F8B
FIRMWARE_TRANSFER_SUCCEEDED = 0x8F8A
FIRMWARE_TRANSFER_FAILED = 0x8F89
FUTURE_DATED_SUCCEEDED = 0x8F66
FUTURE_DATED_FAILED = 0x8F67
HASH_OCTETS = 32


class ActivationResult(IntEnum):
    """How a CS06 ended."""

    SUCCESS = 0
    NO_IMAGE_HELD = 1
    HASH_MISMATCH = 2
    ACTIVATION_FAILURE = 3


class ReadResult(IntEnum):
    READ_SUCCESS = 0
    READ_FAILURE = 1


class ActivateImageResult(IntEnum):
    ACTIVATION_SUCCESS = 0
    ACTIVATION_FAILURE = 1


class TransferResult(IntEnum):
    FILE_TRANSFER_SUCCESS = 0
    FIRMWARE_IMAGE_DISCARDED = 1
    HARDWARE_VERSION_MISMATCH = 2
    FILE_TRANSFER_FAILURE = 3


# -- CS06 --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ActivateFirmware:
    """CS06 command: run the image with this hash, now or at a time."""

    manufacturer_image_hash: bytes
    originator_counter: int
    execution_date_time: datetime | None = None

    def __post_init__(self) -> None:
        if len(self.manufacturer_image_hash) != HASH_OCTETS:
            raise GbcsValueError(f"an image hash has {HASH_OCTETS} octets")
        require_unsigned("originator_counter", self.originator_counter, 8)
        if self.execution_date_time is not None:
            require_utc_second("execution_date_time", self.execution_date_time)


@dataclass(frozen=True, slots=True)
class ActivationOutcome:
    """How an activation ended, and the version that runs."""

    result: ActivationResult
    firmware_version: int

    def __post_init__(self) -> None:
        require_unsigned("firmware_version", self.firmware_version, 4)


@dataclass(frozen=True, slots=True)
class FirmwareActivated:
    """CS06 response; no outcome when the command is for later, or takes one back."""

    outcome: ActivationOutcome | None = None


@dataclass(frozen=True, slots=True)
class FutureFirmwareActivation:
    """CS06 alert: what became of the command with this counter when its time came."""

    alert_code: int
    execution_date_time: datetime
    originator_counter: int
    outcome: ActivationOutcome

    def __post_init__(self) -> None:
        require_future_dated(self.alert_code)
        require_utc_second("execution_date_time", self.execution_date_time)
        require_unsigned("originator_counter", self.originator_counter, 8)


def require_future_dated(alert_code: int) -> None:
    if alert_code not in (FUTURE_DATED_SUCCEEDED, FUTURE_DATED_FAILED):
        raise GbcsValueError(f"a future-dated outcome carries 8F66 or 8F67, not {alert_code:04X}")


def _outcome() -> Sized:
    return Record(ActivationOutcome, result=IntegerOf(ActivationResult), firmware_version=Number(4))


ACTIVATE_FIRMWARE = Definition(
    "CS06 command",
    ActivateFirmware,
    Record(
        ActivateFirmware,
        manufacturer_image_hash=Octets(HASH_OCTETS),
        originator_counter=Unsigned(),
        execution_date_time=IfNext(Time()),
    ),
)
FIRMWARE_ACTIVATED = Definition(
    "CS06 response",
    FirmwareActivated,
    Fields(FirmwareActivated, outcome=OrNull(_outcome(), NULL_OCTETS)),
)
FUTURE_FIRMWARE_ACTIVATION = Definition(
    "CS06 alert",
    FutureFirmwareActivation,
    Record(
        FutureFirmwareActivation,
        alert_code=AlertCode(FUTURE_DATED_SUCCEEDED, FUTURE_DATED_FAILED),
        execution_date_time=Time(),
        originator_counter=Unsigned(),
        outcome=_outcome(),
    ),
)

# -- CS08 --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadFirmwareVersion:
    """CS08 command: it says nothing but what it is."""


@dataclass(frozen=True, slots=True)
class FirmwareVersion:
    """CS08 response. Both fields are there even when the read failed; the version is then 0."""

    firmware_version: int
    result: ReadResult = ReadResult.READ_SUCCESS

    def __post_init__(self) -> None:
        require_unsigned("firmware_version", self.firmware_version, 4)


READ_FIRMWARE_VERSION = Definition(
    "CS08 command", ReadFirmwareVersion, Fields(ReadFirmwareVersion, _null=Null())
)
FIRMWARE_VERSION = Definition(
    "CS08 response",
    FirmwareVersion,
    Record(FirmwareVersion, firmware_version=Number(4), result=IntegerOf(ReadResult)),
)

# -- CS09 --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FirmwareActivation:
    """CS09, alert 0x8F8B: a PPMID or bridge activated an image, or could not."""

    execution_date_time: datetime
    firmware_version: int
    result: ActivateImageResult
    alert_code: int = PPMID_FIRMWARE_ACTIVATION

    def __post_init__(self) -> None:
        require_utc_second("execution_date_time", self.execution_date_time)
        require_unsigned("firmware_version", self.firmware_version, 4)
        if self.alert_code != PPMID_FIRMWARE_ACTIVATION:
            raise GbcsValueError(f"CS09 carries alert code 8F8B, not {self.alert_code:04X}")


FIRMWARE_ACTIVATION = Definition(
    "CS09 alert",
    FirmwareActivation,
    Record(
        FirmwareActivation,
        alert_code=AlertCode(PPMID_FIRMWARE_ACTIVATION),
        execution_date_time=Time(),
        firmware_version=Number(4),
        result=IntegerOf(ActivateImageResult),
    ),
)

# -- CCS08 -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FirmwareTransfer:
    """CCS08, alert 0x8F8A or 0x8F89: how the hub's transfer of an image to `device` ended."""

    alert_code: int
    execution_date_time: datetime
    device: int
    firmware_version: int
    result: TransferResult

    def __post_init__(self) -> None:
        require_utc_second("execution_date_time", self.execution_date_time)
        require_unsigned("device", self.device, 8)
        require_unsigned("firmware_version", self.firmware_version, 4)
        if self.alert_code not in (FIRMWARE_TRANSFER_SUCCEEDED, FIRMWARE_TRANSFER_FAILED):
            raise GbcsValueError(f"CCS08 carries 8F8A or 8F89, not {self.alert_code:04X}")

    @property
    def code_fits_result(self) -> bool:
        """Whether code and result say the same: nothing public forbids 8F8A with a failure, so
        one is read, and it is for the reader to flag (docs/open-points.md, "CCS08 codes")."""
        succeeded = self.alert_code == FIRMWARE_TRANSFER_SUCCEEDED
        return succeeded == (self.result is TransferResult.FILE_TRANSFER_SUCCESS)


def transfer_alert(
    device: int, firmware_version: int, result: TransferResult, execution_date_time: datetime
) -> FirmwareTransfer:
    """The CCS08 alert for this result, with the code that goes with it."""
    succeeded = result is TransferResult.FILE_TRANSFER_SUCCESS
    code = FIRMWARE_TRANSFER_SUCCEEDED if succeeded else FIRMWARE_TRANSFER_FAILED
    return FirmwareTransfer(code, execution_date_time, device, firmware_version, result)


FIRMWARE_TRANSFER = Definition(
    "CCS08 alert",
    FirmwareTransfer,
    Record(
        FirmwareTransfer,
        alert_code=AlertCode(FIRMWARE_TRANSFER_SUCCEEDED, FIRMWARE_TRANSFER_FAILED),
        execution_date_time=Time(),
        device=Number(8),
        firmware_version=Number(4),
        result=IntegerOf(TransferResult),
    ),
)

parse_firmware_version = FIRMWARE_VERSION.parse
build_firmware_version = FIRMWARE_VERSION.build
parse_read_firmware_version = READ_FIRMWARE_VERSION.parse
build_read_firmware_version = READ_FIRMWARE_VERSION.build
parse_firmware_activation = FIRMWARE_ACTIVATION.parse
build_firmware_activation = FIRMWARE_ACTIVATION.build
parse_firmware_transfer = FIRMWARE_TRANSFER.parse
build_firmware_transfer = FIRMWARE_TRANSFER.build
