"""The commands of the Key Establishment cluster, which carry certificates, points and MACs.

Source: Smart Energy profile 07-5356, annex C.3 (the cluster): the same four numbers and payloads
both ways.

`build` makes the payload behind the ZCL header, each `parse_*` takes one apart. What a certificate
or a point holds is not looked at here, only that its length is that of one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from emulator.zigbee.cbke.suites import SUITES
from emulator.zigbee.zcl import Layout, ZclError, ZclValueError

CLUSTER_ID = 0x0800
KEY_ESTABLISHMENT_SUITE_ATTRIBUTE = 0x0000  # bitmap16: the sum of the suites' bits

INITIATE_KEY_ESTABLISHMENT = 0x00
EPHEMERAL_DATA = 0x01
CONFIRM_KEY_DATA = 0x02
TERMINATE_KEY_ESTABLISHMENT = 0x03

NOT_VALID_S = 0xFF  # no generate time
SMAC_OCTETS = 16


class TerminateStatus(IntEnum):
    """Why a key establishment was ended."""

    UNKNOWN_ISSUER = 1
    BAD_KEY_CONFIRM = 2
    BAD_MESSAGE = 3
    NO_RESOURCES = 4
    UNSUPPORTED_SUITE = 5
    INVALID_KEY_USAGE = 6


class InitiateKeyEstablishment(NamedTuple):
    """Request and response: who one is, and how many seconds one takes for the next answers."""

    key_establishment_suite: int
    ephemeral_data_generate_time_s: int
    confirm_key_generate_time_s: int
    identity: bytes


class EphemeralData(NamedTuple):
    """Request and response: the ephemeral public key."""

    public_key: bytes


class ConfirmKeyData(NamedTuple):
    """Request (MACU) and response (MACV)."""

    smac: bytes


class TerminateKeyEstablishment(NamedTuple):
    """Either side ends it; `status` need not be one of TerminateStatus."""

    status: int
    wait_time_s: int
    key_establishment_suite: int


KeyEstablishmentCommand = (
    InitiateKeyEstablishment | EphemeralData | ConfirmKeyData | TerminateKeyEstablishment
)

COMMAND_IDS: dict[type[Any], int] = {
    InitiateKeyEstablishment: INITIATE_KEY_ESTABLISHMENT,
    EphemeralData: EPHEMERAL_DATA,
    ConfirmKeyData: CONFIRM_KEY_DATA,
    TerminateKeyEstablishment: TERMINATE_KEY_ESTABLISHMENT,
}

_INITIATE = Layout(
    "Initiate Key Establishment",
    key_establishment_suite="H",
    ephemeral_data_generate_time_s="B",
    confirm_key_generate_time_s="B",
)
_TERMINATE = Layout(
    "Terminate Key Establishment", status="B", wait_time_s="B", key_establishment_suite="H"
)
_CERTIFICATE_OCTETS = tuple(suite.certificate_octets for suite in SUITES.values())
_POINT_OCTETS = tuple(suite.point_octets for suite in SUITES.values())


def parse_initiate(payload: bytes) -> InitiateKeyEstablishment:
    """Raises ZclError; so do the others."""
    suite, ephemeral_time_s, confirm_time_s = _INITIATE.unpack(payload)
    identity = payload[_INITIATE.octets :]
    if len(identity) not in _CERTIFICATE_OCTETS:
        sentence = f"{_INITIATE.what}: no certificate has {len(identity)} octets"
        raise ZclError(sentence, _INITIATE.octets)
    return InitiateKeyEstablishment(suite, ephemeral_time_s, confirm_time_s, identity)


def parse_ephemeral_data(payload: bytes) -> EphemeralData:
    if len(payload) not in _POINT_OCTETS:
        raise ZclError(f"Ephemeral Data: no point has {len(payload)} octets", 0)
    return EphemeralData(payload)


def parse_confirm_key_data(payload: bytes) -> ConfirmKeyData:
    if len(payload) != SMAC_OCTETS:
        raise ZclError(f"Confirm Key Data: a MAC has 16 octets, not {len(payload)}", 0)
    return ConfirmKeyData(payload)


def parse_terminate(payload: bytes) -> TerminateKeyEstablishment:
    return TerminateKeyEstablishment(*_TERMINATE.unpack_all(payload))


def _build_initiate(command: InitiateKeyEstablishment) -> bytes:
    *fields, identity = command
    if len(identity) not in _CERTIFICATE_OCTETS:
        raise ZclValueError(f"{_INITIATE.what}: no certificate has {len(identity)} octets")
    return _INITIATE.pack(*fields) + identity


def _build_ephemeral_data(command: EphemeralData) -> bytes:
    if len(command.public_key) not in _POINT_OCTETS:
        raise ZclValueError(f"Ephemeral Data: no point has {len(command.public_key)} octets")
    return command.public_key


def _build_confirm_key_data(command: ConfirmKeyData) -> bytes:
    if len(command.smac) != SMAC_OCTETS:
        raise ZclValueError(f"Confirm Key Data: a MAC has 16 octets, not {len(command.smac)}")
    return command.smac


_BUILDERS: dict[type[Any], Callable[[Any], bytes]] = {
    InitiateKeyEstablishment: _build_initiate,
    EphemeralData: _build_ephemeral_data,
    ConfirmKeyData: _build_confirm_key_data,
    TerminateKeyEstablishment: lambda command: _TERMINATE.pack(*command),
}


def build(command: KeyEstablishmentCommand) -> bytes:
    """The payload of a command. Raises ZclValueError when a value does not fit its field."""
    return _BUILDERS[type(command)](command)
