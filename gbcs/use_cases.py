"""What a device does with commands: one use case a message code.

Source: GBCS use cases CCS01, CS03, CS04, CS07, CS08 as a PPMID, a bridge and a hub have them; those
about credentials are in `gbcs.device_credentials`. The code of a join command says which method and
role it may carry; another is refused with result 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gbcs.certificates import Role
from gbcs.codes import (
    CCS01_ADD_DEVICE,
    CS03A1_JOIN,
    CS03A2_JOIN,
    CS03B_JOIN,
    CS03C_JOIN,
    CS07_READ_JOIN_DETAILS,
    CS08_READ_FIRMWARE_VERSION,
)
from gbcs.device_log import (
    AddDevice,
    AddDeviceResult,
    build_add_device_result,
    parse_add_device,
)
from gbcs.envelope import Frame
from gbcs.firmware import (
    FirmwareVersion,
    ReadResult,
    build_firmware_version,
    parse_read_firmware_version,
)
from gbcs.joining import (
    DEVICE_JOINED,
    DEVICE_UNJOINED,
    JOIN_DETAILS,
    JOIN_DEVICE,
    READ_JOIN_DETAILS,
    UNJOIN_DEVICE,
    DeviceJoined,
    DeviceUnjoined,
    JoinDetails,
    JoinDevice,
    JoinMethod,
    JoinResult,
    UnjoinResult,
)
from gbcs.trust import Credentials

Answer = Callable[[bytes, datetime], bytes]
"""From a command's payload and civil time to the response's payload. Raises GbcsError, before it
has changed anything, when the payload is not one."""

_ACB_ALONE = (Role.ACCESS_CONTROL_BROKER,)


@dataclass(frozen=True, slots=True)
class UseCase:
    """What a device does with the commands of one message code."""

    message_code: int
    answer: Answer
    roles: tuple[Role, ...] = _ACB_ALONE


@dataclass(frozen=True, slots=True)
class Executed:
    """A command about credentials was carried out, or refused in its answer: `credentials` are
    those in force from now on, `floors` counters that must be exceeded, as (EUI-64, counter)."""

    payload: bytes
    credentials: Credentials
    floors: tuple[tuple[int, int], ...] = ()
    is_timed: bool = False


Execute = Callable[[int, Frame, Credentials, datetime], Executed]
"""From the device's EUI-64, the command, the credentials in force and civil time. Raises GbcsError,
when the payload is not one."""


@dataclass(frozen=True, slots=True)
class CredentialUseCase:
    """What a device does with the commands of one message code that is about credentials."""

    message_code: int
    execute: Execute
    roles: tuple[Role, ...] = _ACB_ALONE


def read_firmware_version(version: Callable[[], int | None]) -> UseCase:
    """CS08: `version` says what runs, None when it cannot be read."""

    def answer(payload: bytes, _now_utc: datetime) -> bytes:
        parse_read_firmware_version(payload)
        running = version()
        if running is None:
            return build_firmware_version(FirmwareVersion(0, ReadResult.READ_FAILURE))
        return build_firmware_version(FirmwareVersion(running))

    return UseCase(CS08_READ_FIRMWARE_VERSION, answer)


def add_device(register: Callable[[AddDevice], AddDeviceResult]) -> UseCase:
    """CCS01: `register` opens the hub's network to the device."""

    def answer(payload: bytes, _now_utc: datetime) -> bytes:
        return build_add_device_result(register(parse_add_device(payload)))

    return UseCase(CCS01_ADD_DEVICE, answer)


_METHODS = {
    CS03A1_JOIN: JoinMethod.A_INITIATOR,
    CS03A2_JOIN: JoinMethod.A_RESPONDER,
    CS03B_JOIN: JoinMethod.B,
    CS03C_JOIN: JoinMethod.C,
}


def join_device(message_code: int, join: Callable[[JoinDevice], JoinResult]) -> UseCase:
    """CS03A1, CS03A2, CS03B or CS03C: `join` pairs with the other device, or says why not."""
    method = _METHODS[message_code]

    def answer(payload: bytes, _now_utc: datetime) -> bytes:
        command = JOIN_DEVICE.parse(payload)
        if command.join_method_and_role is not method:
            result = JoinResult.INVALID_MESSAGE_CODE_FOR_JOIN_METHOD_AND_ROLE
        elif (command.certificate is not None) != (method is JoinMethod.C):
            result = JoinResult.INVALID_OR_MISSING_CERTIFICATE
        else:
            result = join(command)
        return DEVICE_JOINED.build(DeviceJoined(result))

    return UseCase(message_code, answer)


def refuse_join(_command: JoinDevice) -> JoinResult:
    """What an Alt HAN bridge answers: it is paired with no other device."""
    return JoinResult.INVALID_JOIN_METHOD_AND_ROLE


def unjoin_device(message_code: int, unjoin: Callable[[int], UnjoinResult]) -> UseCase:
    """CS04AC or CS04B: `unjoin` parts from the device with this EUI-64."""

    def answer(payload: bytes, _now_utc: datetime) -> bytes:
        result = unjoin(UNJOIN_DEVICE.parse(payload).other_device)
        return DEVICE_UNJOINED.build(DeviceUnjoined(result))

    return UseCase(message_code, answer)


def read_join_details(details: Callable[[], JoinDetails]) -> UseCase:
    """CS07: `details` lists the devices this one is paired with."""

    def answer(payload: bytes, _now_utc: datetime) -> bytes:
        READ_JOIN_DETAILS.parse(payload)
        return JOIN_DETAILS.build(details())

    return UseCase(CS07_READ_JOIN_DETAILS, answer)
