"""What devices say of their firmware: the version read (CS08), activated (CS09), delivered (CCS08).

Source: GBCS use cases CS08 "Read PPMID/HCALCS Firmware Version", CS09 "PPMID Firmware Activation
Alert", CCS08 "Firmware Transfer Alert"; ASN.1 in DER.

    payload         octets
    --------------  ------------------------------------------------------------------------
    CS08 command    NULL
    CS08 response   SEQUENCE { firmwareVersion OCTET STRING (4), result INTEGER }
    CS09 alert      SEQUENCE { alertCode INTEGER, executionDateTime GeneralizedTime,
                               firmwareVersion OCTET STRING (4), result INTEGER }
    CCS08 alert     SEQUENCE { alertCode INTEGER, executionDateTime GeneralizedTime,
                               device OCTET STRING (8), firmwareVersion OCTET STRING (4),
                               result INTEGER }

A version is the file version of the OTA header, most significant octet first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from construct import ExprAdapter, ValidationError

from gbcs.ber import (
    ASN1_INTEGER,
    ASN1_TIME,
    LENGTH,
    NULL,
    Layout,
    asn1_octets,
    build_sequence,
    marker,
    parse_sequence,
    require_utc_second,
)
from gbcs.errors import GbcsError, GbcsValueError, require_unsigned

PPMID_FIRMWARE_ACTIVATION = 0x8F8B
FIRMWARE_TRANSFER_SUCCEEDED = 0x8F8A
FIRMWARE_TRANSFER_FAILED = 0x8F89


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


def _result_of(results: type[IntEnum]) -> Any:
    def decode(value: int, _context: Any) -> IntEnum:
        try:
            return results(value)
        except ValueError:
            known = ", ".join(str(int(result)) for result in results)
            raise ValidationError(f"is {value}, not one of {known}") from None

    return ExprAdapter(ASN1_INTEGER, decode, lambda value, _context: int(value))


def _alert_code(*codes: int) -> Any:
    def decode(value: int, _context: Any) -> int:
        if value not in codes:
            known = " or ".join(f"{code:04X}" for code in codes)
            raise ValidationError(f"is {value:04X}, not {known}")
        return value

    return ExprAdapter(ASN1_INTEGER, decode, lambda value, _context: value)


_COMMAND = Layout("CS08 command", {"null": marker(bytes([NULL])), "length": LENGTH})
_RESPONSE = Layout(
    "CS08 response", {"firmware_version": asn1_octets(4), "result": _result_of(ReadResult)}
)
_ACTIVATION = Layout(
    "CS09 alert",
    {
        "alert_code": _alert_code(PPMID_FIRMWARE_ACTIVATION),
        "execution_date_time": ASN1_TIME,
        "firmware_version": asn1_octets(4),
        "result": _result_of(ActivateImageResult),
    },
)
_TRANSFER = Layout(
    "CCS08 alert",
    {
        "alert_code": _alert_code(FIRMWARE_TRANSFER_SUCCEEDED, FIRMWARE_TRANSFER_FAILED),
        "execution_date_time": ASN1_TIME,
        "device": asn1_octets(8),
        "firmware_version": asn1_octets(4),
        "result": _result_of(TransferResult),
    },
)


def parse_read_firmware_version(octets: bytes, base: int = 0) -> ReadFirmwareVersion:
    if (length := _COMMAND.parse(octets, base)["length"]) != 0:
        raise GbcsError(_COMMAND.thing, "length", base + 1, f"is {length}, a NULL has none")
    return ReadFirmwareVersion()


def build_read_firmware_version(_command: ReadFirmwareVersion) -> bytes:
    return _COMMAND.build({"length": 0})


def parse_firmware_version(octets: bytes, base: int = 0) -> FirmwareVersion:
    return FirmwareVersion(**parse_sequence(_RESPONSE, octets, base))


def build_firmware_version(response: FirmwareVersion) -> bytes:
    return build_sequence(_RESPONSE, asdict(response))


def parse_firmware_activation(octets: bytes, base: int = 0) -> FirmwareActivation:
    return FirmwareActivation(**parse_sequence(_ACTIVATION, octets, base))


def build_firmware_activation(alert: FirmwareActivation) -> bytes:
    return build_sequence(_ACTIVATION, asdict(alert))


def parse_firmware_transfer(octets: bytes, base: int = 0) -> FirmwareTransfer:
    return FirmwareTransfer(**parse_sequence(_TRANSFER, octets, base))


def build_firmware_transfer(alert: FirmwareTransfer) -> bytes:
    return build_sequence(_TRANSFER, asdict(alert))
