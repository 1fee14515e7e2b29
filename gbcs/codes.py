"""Message codes: what each is called, how its messages are protected, what they carry.

Source: GBCS, "Message Codes" and the protection rules for critical and non-critical messages. A
code without a name here is not an error: its frame is read, its payload stays octets.

    message                  signature    MAC
    -----------------------  -----------  ---
    non-critical, any        none         yes
    critical command         originator   yes
    critical response        device       no
    critical alert           device       no
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gbcs.device_log import (
    AddDevice,
    AddDeviceResult,
    build_add_device,
    build_add_device_result,
    parse_add_device,
    parse_add_device_result,
)
from gbcs.envelope import Cra
from gbcs.firmware import (
    FirmwareActivation,
    FirmwareTransfer,
    FirmwareVersion,
    ReadFirmwareVersion,
    build_firmware_activation,
    build_firmware_transfer,
    build_firmware_version,
    build_read_firmware_version,
    parse_firmware_activation,
    parse_firmware_transfer,
    parse_firmware_version,
    parse_read_firmware_version,
)

CCS01_ADD_DEVICE = 0x0001
CCS08_FIRMWARE_TRANSFER = 0x0128
CS08_READ_FIRMWARE_VERSION = 0x0129
CS09_FIRMWARE_ACTIVATION = 0x012B

USE_CASES = {
    0x0001: "CCS01",
    0x0002: "CCS02",
    0x0003: "CCS03",
    0x0004: "CCS05CCS04",
    0x0008: "CS02a",
    0x000A: "CS02c",
    0x000B: "CS02d",
    0x000C: "CS02e",
    0x000D: "CS03A1",
    0x000E: "CS03B",
    0x000F: "CS04AC",
    0x0010: "CS04B",
    0x0012: "CS06",
    0x0013: "CS07",
    0x0018: "CS14",
    0x0034: "ECS21b",
    0x0059: "ECS52",
    0x0084: "GCS38",
    0x00AB: "CS03A2",
    0x00AF: "CS03C",
    0x00CA: "CS06",
    0x00CB: "CS02b",
    0x00CE: "FDRA",
    0x00CF: "FDRA",
    0x00FE: "CCS07",
    **dict.fromkeys(range(0x0100, 0x010A), "CS02b"),  # one code a credentials replacement mode
    0x010F: "CCS06",
    0x0128: "CCS08",
    0x0129: "CS08",
    0x012B: "CS09",
    0x1000: "GCA",
    0x1001: "GNCA",
}

Payload = (
    ReadFirmwareVersion
    | FirmwareVersion
    | FirmwareActivation
    | FirmwareTransfer
    | AddDevice
    | AddDeviceResult
)


class Protection(NamedTuple):
    """What must protect a message."""

    signature: bool
    mac: bool


_PARSERS: dict[tuple[int, Cra], Callable[[bytes, int], Payload]] = {
    (CCS01_ADD_DEVICE, Cra.COMMAND): parse_add_device,
    (CCS01_ADD_DEVICE, Cra.RESPONSE): parse_add_device_result,
    (CCS08_FIRMWARE_TRANSFER, Cra.ALERT): parse_firmware_transfer,
    (CS08_READ_FIRMWARE_VERSION, Cra.COMMAND): parse_read_firmware_version,
    (CS08_READ_FIRMWARE_VERSION, Cra.RESPONSE): parse_firmware_version,
    (CS09_FIRMWARE_ACTIVATION, Cra.ALERT): parse_firmware_activation,
}

_CRITICAL = {
    CCS01_ADD_DEVICE: False,
    CCS08_FIRMWARE_TRANSFER: True,
    CS08_READ_FIRMWARE_VERSION: False,
    CS09_FIRMWARE_ACTIVATION: True,
}


def use_case(message_code: int) -> str | None:
    """The name of the use case, None when this table has none."""
    return USE_CASES.get(message_code)


def protection_for(critical: bool, cra: Cra) -> Protection:
    """What protects a message of a critical or non-critical kind."""
    if not critical:
        return Protection(signature=False, mac=True)
    return Protection(signature=True, mac=cra is Cra.COMMAND)


def required_protection(message_code: int, cra: Cra) -> Protection | None:
    """What must protect this message, None when the code's payload is not read here."""
    critical = _CRITICAL.get(message_code)
    return None if critical is None else protection_for(critical, cra)


def parse_payload(message_code: int, cra: Cra, octets: bytes, base: int = 0) -> Payload | None:
    """The payload of a code that is read here, None for any other. `base` is where it stands in
    the frame, so that an error names the frame's offset."""
    parse = _PARSERS.get((message_code, cra))
    return None if parse is None else parse(octets, base)


def build_payload(payload: Payload) -> bytes:
    match payload:
        case ReadFirmwareVersion():
            return build_read_firmware_version(payload)
        case FirmwareVersion():
            return build_firmware_version(payload)
        case FirmwareActivation():
            return build_firmware_activation(payload)
        case FirmwareTransfer():
            return build_firmware_transfer(payload)
        case AddDevice():
            return build_add_device(payload)
        case AddDeviceResult():
            return build_add_device_result(payload)
