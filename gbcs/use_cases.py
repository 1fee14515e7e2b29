"""What a device does with commands: one use case a message code.

Source: GBCS use cases as a PPMID, a bridge, a hub and a meter have them. Whoever holds what a
command is about hands a function in: from the command's payload to the response's. Use cases about
credentials change what the endpoint itself holds, and are in `gbcs.device_credentials`.

The code of a join command says which method and role it may carry; another is refused (result 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gbcs.certificates import Role
from gbcs.codes import (
    CCS01_ADD_DEVICE,
    CCS02_REMOVE_DEVICE,
    CS03A1_JOIN,
    CS03A2_JOIN,
    CS03B_JOIN,
    CS03C_JOIN,
    CS07_READ_JOIN_DETAILS,
    CS08_READ_FIRMWARE_VERSION,
    MESSAGES,
    Payload,
)
from gbcs.device_log import AddDevice, AddDeviceResult, RemoveDevice, RemoveDeviceResult
from gbcs.envelope import Cra, Frame
from gbcs.firmware import FirmwareVersion, ReadFirmwareVersion, ReadResult
from gbcs.joining import (
    DeviceJoined,
    DeviceUnjoined,
    JoinDetails,
    JoinDevice,
    JoinMethod,
    JoinResult,
    ReadJoinDetails,
    UnjoinDevice,
    UnjoinResult,
)
from gbcs.protection import PublicKey
from gbcs.trust import Credentials, TrustCells

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
    those in force from now on, `floors` counters that must be exceeded, as (EUI-64, counter).
    With `due` it waits for that time instead; with NEVER the one that waited does so no more."""

    payload: bytes
    credentials: Credentials
    floors: tuple[tuple[int, int], ...] = ()
    is_timed: bool = False
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Postponed:
    """A command that waits for its time: of its frame, what counts then."""

    due: datetime
    message_code: int
    originator: int
    payload: bytes


Execute = Callable[[int, Frame, Credentials, datetime], Executed]
"""From the device's EUI-64, the command, the credentials in force and civil time. Raises GbcsError,
when the payload is not one."""
ExecuteLater = Callable[[Postponed, Credentials, datetime], Executed]
"""The same when the time has come; its payload is the alert's."""
SigningKey = Callable[[Frame, TrustCells], PublicKey | None]
"""Who must have signed the command, where that is not its originator."""


@dataclass(frozen=True, slots=True)
class CredentialUseCase:
    """What a device does with the commands of one message code that is about credentials."""

    message_code: int
    execute: Execute
    roles: tuple[Role, ...] = _ACB_ALONE
    execute_later: ExecuteLater | None = None
    signing_key: SigningKey | None = None


def answering(message_code: int, answer: Callable[[Payload], Payload]) -> UseCase:
    """The use case of any code in the table: `answer` makes the response of the command."""
    command = MESSAGES[message_code, Cra.COMMAND].definition
    response = MESSAGES[message_code, Cra.RESPONSE].definition

    def answer_octets(payload: bytes, _now_utc: datetime) -> bytes:
        return response.build(answer(command.parse(payload)))

    return UseCase(message_code, answer_octets)


def read_firmware_version(version: Callable[[], int | None]) -> UseCase:
    """CS08: `version` says what runs, None when it cannot be read."""

    def answer(_command: ReadFirmwareVersion) -> FirmwareVersion:
        running = version()
        if running is None:
            return FirmwareVersion(0, ReadResult.READ_FAILURE)
        return FirmwareVersion(running)

    return answering(CS08_READ_FIRMWARE_VERSION, answer)


def add_device(register: Callable[[AddDevice], AddDeviceResult]) -> UseCase:
    """CCS01: `register` opens the hub's network to the device."""
    return answering(CCS01_ADD_DEVICE, register)


def remove_device(unregister: Callable[[RemoveDevice], RemoveDeviceResult]) -> UseCase:
    """CCS02: `unregister` strikes the device off the hub's log."""
    return answering(CCS02_REMOVE_DEVICE, unregister)


_METHODS = {
    CS03A1_JOIN: JoinMethod.A_INITIATOR,
    CS03A2_JOIN: JoinMethod.A_RESPONDER,
    CS03B_JOIN: JoinMethod.B,
    CS03C_JOIN: JoinMethod.C,
}


def join_device(message_code: int, join: Callable[[JoinDevice], JoinResult]) -> UseCase:
    """CS03A1, CS03A2, CS03B or CS03C: `join` pairs with the other device, or says why not."""
    method = _METHODS[message_code]

    def answer(command: JoinDevice) -> DeviceJoined:
        if command.join_method_and_role is not method:
            return DeviceJoined(JoinResult.INVALID_MESSAGE_CODE_FOR_JOIN_METHOD_AND_ROLE)
        if (command.certificate is not None) != (method is JoinMethod.C):
            return DeviceJoined(JoinResult.INVALID_OR_MISSING_CERTIFICATE)
        return DeviceJoined(join(command))

    return answering(message_code, answer)


def refuse_join(_command: JoinDevice) -> JoinResult:
    """What an Alt HAN bridge answers: it is paired with no other device."""
    return JoinResult.INVALID_JOIN_METHOD_AND_ROLE


def unjoin_device(message_code: int, unjoin: Callable[[int], UnjoinResult]) -> UseCase:
    """CS04AC or CS04B: `unjoin` parts from the device with this EUI-64."""

    def answer(command: UnjoinDevice) -> DeviceUnjoined:
        return DeviceUnjoined(unjoin(command.other_device))

    return answering(message_code, answer)


def read_join_details(details: Callable[[], JoinDetails]) -> UseCase:
    """CS07: `details` lists the devices this one is paired with."""

    def answer(_command: ReadJoinDetails) -> JoinDetails:
        return details()

    return answering(CS07_READ_JOIN_DETAILS, answer)
