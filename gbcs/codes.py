"""Message codes: what each is called, what its messages carry, who protects them and how.

Source: GBCS, "Message Codes" and the protection rules for critical and non-critical messages. A
code without a row in `MESSAGES` is not an error: its frame is read, its payload stays octets.

    message                  signature    MAC
    -----------------------  -----------  ---
    non-critical, any        none         yes
    critical command         originator   yes
    critical response        device       no
    critical alert           device       no
    recovery's CS02b, TransCoS's CS02a, contingency: the originator's signature, no MAC
    the ACB's own CS02b: MAC only; all CS02b are answered with a signature

A MAC on a command is the ACB's, whoever the originator is.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from gbcs import (
    alerts,
    credentials,
    device_certificates,
    device_log,
    firmware,
    hub_log,
    joining,
    meter_versions,
)
from gbcs.credentials import ReplacementMode
from gbcs.envelope import Cra
from gbcs.errors import GbcsValueError
from gbcs.fields import Definition, Reading

CCS01_ADD_DEVICE = 0x0001
CCS02_REMOVE_DEVICE = 0x0002
CCS03_RESTORE_LOG = 0x0003
CCS05_CCS04_READ_LOG = 0x0004
CS02A_PROVIDE_CREDENTIALS = 0x0008
CS02C_ISSUE_CREDENTIALS = 0x000A
CS02D_UPDATE_CERTIFICATE = 0x000B
CS02E_PROVIDE_CERTIFICATE = 0x000C
CS03A1_JOIN = 0x000D
CS03B_JOIN = 0x000E
CS04AC_UNJOIN = 0x000F
CS04B_UNJOIN = 0x0010
CS06_ACTIVATE_FIRMWARE = 0x0012
CS07_READ_JOIN_DETAILS = 0x0013
CS14_LOG_CHANGED = 0x0018
ECS52_READ_METER_VERSION = 0x0059
GCS38_READ_METER_VERSION = 0x0084
CS03A2_JOIN = 0x00AB
CS03C_JOIN = 0x00AF
CS02B_FUTURE_OUTCOME = 0x00CB
CCS07_READ_LOGS = 0x00FE
CS02B_UPDATE_CREDENTIALS = 0x0100
CCS06_READ_LOG = 0x010F
CCS08_FIRMWARE_TRANSFER = 0x0128
CS08_READ_FIRMWARE_VERSION = 0x0129
CS09_FIRMWARE_ACTIVATION = 0x012B

Payload = Any
"""A frozen dataclass of the payload modules: what `MESSAGES` names for the message."""


class Protection(NamedTuple):
    """What must protect a message."""

    signature: bool
    mac: bool


SIGNED = Protection(signature=True, mac=False)
MACED = Protection(signature=False, mac=True)
SIGNED_AND_MACED = Protection(signature=True, mac=True)


class Party(StrEnum):
    """Who answers for a message with its own keys."""

    USER = "user"
    ACB = "ACB"
    DEVICE = "device"
    RECOVERY = "recovery"
    CONTINGENCY = "contingency"
    TRANSITIONAL_COS = "TransCoS"
    WAN_PROVIDER = "WAN provider"


class Message(NamedTuple):
    """One kind of message: `protections` are those it may have, the usual one first."""

    use_case: str
    message_code: int
    cra: Cra
    definition: Definition[Any]
    protections: tuple[Protection, ...]
    originators: tuple[Party, ...]

    @property
    def protection(self) -> Protection:
        return self.protections[0]


def _exchange(
    name: str,
    code: int,
    command: Definition[Any],
    response: Definition[Any],
    critical: bool,
    *originators: Party,
) -> list[Message]:
    asked, answered = (SIGNED_AND_MACED, SIGNED) if critical else (MACED, MACED)
    return [
        Message(name, code, Cra.COMMAND, command, (asked,), originators),
        Message(name, code, Cra.RESPONSE, response, (answered,), (Party.DEVICE,)),
    ]


def _alert(name: str, code: int, alert: Definition[Any], critical: bool) -> Message:
    protection = SIGNED if critical else MACED
    return Message(name, code, Cra.ALERT, alert, (protection,), (Party.DEVICE,))


# Who orders each mode of CS02b, and with which protection.
_REPLACEMENTS = {
    ReplacementMode.ROOT_BY_SUPPLIER: (Party.USER, SIGNED_AND_MACED),
    ReplacementMode.ROOT_BY_WAN_PROVIDER: (Party.WAN_PROVIDER, SIGNED_AND_MACED),
    ReplacementMode.SUPPLIER_BY_SUPPLIER: (Party.USER, SIGNED_AND_MACED),
    ReplacementMode.NETWORK_OPERATOR_BY_NETWORK_OPERATOR: (Party.USER, SIGNED_AND_MACED),
    ReplacementMode.ACB_BY_ACB: (Party.ACB, MACED),
    ReplacementMode.WAN_PROVIDER_BY_WAN_PROVIDER: (Party.WAN_PROVIDER, SIGNED_AND_MACED),
    ReplacementMode.TRANSITIONAL_COS_BY_TRANSITIONAL_COS: (
        Party.TRANSITIONAL_COS,
        SIGNED_AND_MACED,
    ),
    ReplacementMode.SUPPLIER_BY_TRANSITIONAL_COS: (Party.TRANSITIONAL_COS, SIGNED_AND_MACED),
    ReplacementMode.ANY_EXCEPT_ABNORMAL_ROOT_BY_RECOVERY: (Party.RECOVERY, SIGNED),
    ReplacementMode.ANY_BY_CONTINGENCY: (Party.CONTINGENCY, SIGNED),
}


def _replacements() -> list[Message]:
    rows = []
    for mode, (party, protection) in _REPLACEMENTS.items():
        code = CS02B_UPDATE_CREDENTIALS + mode
        command, response = credentials.UPDATE_CREDENTIALS, credentials.CREDENTIALS_UPDATED
        rows += [
            Message("CS02b", code, Cra.COMMAND, command, (protection,), (party,)),
            Message("CS02b", code, Cra.RESPONSE, response, (SIGNED,), (Party.DEVICE,)),
        ]
    return rows


_ACB, _USER = Party.ACB, Party.USER
_ROWS: Sequence[Message] = [
    *_exchange(
        "CCS01", CCS01_ADD_DEVICE, device_log.ADD_DEVICE, device_log.ADD_DEVICE_RESULT, False, _ACB
    ),
    *_exchange(
        "CCS02",
        CCS02_REMOVE_DEVICE,
        device_log.REMOVE_DEVICE,
        device_log.REMOVE_DEVICE_RESULT,
        False,
        _ACB,
    ),
    *_exchange(
        "CCS03",
        CCS03_RESTORE_LOG,
        device_log.RESTORE_LOG,
        device_log.RESTORE_LOG_RESULT,
        False,
        _ACB,
    ),
    *_exchange(
        "CCS05CCS04", CCS05_CCS04_READ_LOG, hub_log.READ_HAN_STATUS, hub_log.HAN_STATUS, False, _ACB
    ),
    *_exchange("CCS06", CCS06_READ_LOG, hub_log.READ_HAN_STATUS, hub_log.HAN_STATUS, False, _ACB),
    *_exchange(
        "CCS07", CCS07_READ_LOGS, hub_log.READ_DEVICE_LOGS, hub_log.DEVICE_LOGS, False, _ACB
    ),
    _alert("CCS08", CCS08_FIRMWARE_TRANSFER, firmware.FIRMWARE_TRANSFER, True),
    _alert("CS14", CS14_LOG_CHANGED, hub_log.DEVICE_LOG_CHANGED_ALERT, False),
    Message(
        "CS02a",
        CS02A_PROVIDE_CREDENTIALS,
        Cra.COMMAND,
        credentials.PROVIDE_CREDENTIALS,
        (MACED, SIGNED),
        (_ACB, _USER, Party.TRANSITIONAL_COS),
    ),
    Message(
        "CS02a",
        CS02A_PROVIDE_CREDENTIALS,
        Cra.RESPONSE,
        credentials.CREDENTIAL_DETAILS,
        (MACED, SIGNED),
        (Party.DEVICE,),
    ),
    *_replacements(),
    _alert("CS02b", CS02B_FUTURE_OUTCOME, credentials.FUTURE_CREDENTIALS_UPDATE, True),
    *_exchange(
        "CS02c",
        CS02C_ISSUE_CREDENTIALS,
        device_certificates.ISSUE_CREDENTIALS,
        device_certificates.CREDENTIALS_ISSUED,
        True,
        _USER,
        _ACB,
    ),
    *_exchange(
        "CS02d",
        CS02D_UPDATE_CERTIFICATE,
        device_certificates.UPDATE_CERTIFICATE,
        device_certificates.CERTIFICATE_UPDATED,
        True,
        _USER,
        _ACB,
    ),
    *_exchange(
        "CS02e",
        CS02E_PROVIDE_CERTIFICATE,
        device_certificates.PROVIDE_CERTIFICATE,
        device_certificates.CERTIFICATE_PROVIDED,
        True,
        _USER,
        _ACB,
    ),
    *_exchange("CS03A1", CS03A1_JOIN, joining.JOIN_DEVICE, joining.DEVICE_JOINED, True, _USER),
    *_exchange(
        "CS03A2", CS03A2_JOIN, joining.JOIN_DEVICE, joining.DEVICE_JOINED, True, _USER, _ACB
    ),
    *_exchange("CS03B", CS03B_JOIN, joining.JOIN_DEVICE, joining.DEVICE_JOINED, False, _USER, _ACB),
    *_exchange("CS03C", CS03C_JOIN, joining.JOIN_DEVICE, joining.DEVICE_JOINED, True, _USER, _ACB),
    *_exchange(
        "CS04AC", CS04AC_UNJOIN, joining.UNJOIN_DEVICE, joining.DEVICE_UNJOINED, True, _USER, _ACB
    ),
    *_exchange(
        "CS04B", CS04B_UNJOIN, joining.UNJOIN_DEVICE, joining.DEVICE_UNJOINED, False, _USER, _ACB
    ),
    *_exchange(
        "CS06",
        CS06_ACTIVATE_FIRMWARE,
        firmware.ACTIVATE_FIRMWARE,
        firmware.FIRMWARE_ACTIVATED,
        True,
        _USER,
    ),
    _alert("CS06", 0x00CA, firmware.FUTURE_FIRMWARE_ACTIVATION, True),
    *_exchange(
        "CS07",
        CS07_READ_JOIN_DETAILS,
        joining.READ_JOIN_DETAILS,
        joining.JOIN_DETAILS,
        False,
        _USER,
        _ACB,
    ),
    *_exchange(
        "CS08",
        CS08_READ_FIRMWARE_VERSION,
        firmware.READ_FIRMWARE_VERSION,
        firmware.FIRMWARE_VERSION,
        False,
        _ACB,
    ),
    _alert("CS09", CS09_FIRMWARE_ACTIVATION, firmware.FIRMWARE_ACTIVATION, True),
    *_exchange(
        "ECS52",
        ECS52_READ_METER_VERSION,
        meter_versions.READ_METER_VERSION,
        meter_versions.METER_VERSION,
        False,
        _USER,
        _ACB,
    ),
    *_exchange(
        "GCS38",
        GCS38_READ_METER_VERSION,
        meter_versions.READ_GAS_METER_VERSION,
        meter_versions.GAS_METER_VERSION,
        False,
        _USER,
        _ACB,
    ),
    _alert("FDRA", 0x00CE, alerts.FIRMWARE_RECEIPT, True),
    _alert("FDRA", 0x00CF, alerts.GAS_FIRMWARE_RECEIPT, True),
    _alert("GCA", 0x1000, alerts.GENERAL_ALERT, True),
    _alert("GNCA", 0x1001, alerts.GENERAL_ALERT, False),
]

MESSAGES: dict[tuple[int, Cra], Message] = {(row.message_code, row.cra): row for row in _ROWS}
_NAMES = {row.message_code: row.use_case for row in _ROWS} | {0x0034: "ECS21b"}
_DEFINITIONS = {kind: row.definition for row in _ROWS for kind in row.definition.kinds}


def use_case(message_code: int) -> str | None:
    """The name of the use case, None when this table has none."""
    return _NAMES.get(message_code)


def required_protections(message_code: int, cra: Cra) -> tuple[Protection, ...]:
    """What may protect this message, the usual first; nothing when the code's payload is not read
    here."""
    message = MESSAGES.get((message_code, cra))
    return () if message is None else message.protections


def required_protection(message_code: int, cra: Cra) -> Protection | None:
    """What usually protects this message."""
    protections = required_protections(message_code, cra)
    return protections[0] if protections else None


def read_payload(message_code: int, cra: Cra, octets: bytes, base: int = 0) -> Reading[Any] | None:
    """The payload of a code that is read here with its spans, None for any other. `base` is where
    it stands in the frame, so that spans and errors name the frame's offset."""
    message = MESSAGES.get((message_code, cra))
    return None if message is None else message.definition.read(octets, base)


def parse_payload(message_code: int, cra: Cra, octets: bytes, base: int = 0) -> Payload | None:
    """The payload alone."""
    reading = read_payload(message_code, cra, octets, base)
    return None if reading is None else reading.value


def build_payload(payload: Payload, lengths: Sequence[int] = ()) -> bytes:
    """The octets of a payload; without `lengths` every length has its shortest form."""
    definition = _DEFINITIONS.get(type(payload))
    if definition is None:
        raise GbcsValueError(f"{type(payload).__name__} is no payload of GBCS")
    return definition.build(payload, lengths)
