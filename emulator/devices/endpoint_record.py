"""What an endpoint must not forget, as its device stores it: counters, credentials, what waits.

Source: ours; a device's own memory, which nobody else reads. Private keys lie in it as they lie in
a device's flash. JSON, since the record it is part of is that.

    field        form
    -----------  ---------------------------------------------------------------------------
    counters     the endpoint's own; [EUI-64, counter] of each originator
    credentials  null until one was replaced, then keys and pending as {use: scalar}, cells and
                 certificates as DER
    postponed    [time, message code, originator, payload] of each command that waits
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from gbcs.certificates import Certificate, parse_certificate
from gbcs.endpoint import EndpointState
from gbcs.protection import KeyUse, PrivateKey
from gbcs.trust import Credentials, DeviceKeys, TrustCells
from gbcs.use_cases import Postponed

_CELLS = ("acb_digital_signature", "acb_key_agreement", "recovery", "root")


def pack(state: EndpointState) -> list[Any]:
    """The state as JSON has it."""
    credentials = None if state.credentials is None else _pack(state.credentials)
    postponed = [
        [one.due.isoformat(), one.message_code, one.originator, one.payload.hex()]
        for one in state.postponed
    ]
    return [state.originator_counter, state.accepted, credentials, postponed]


def unpack(fields: list[Any]) -> EndpointState:
    """What `pack` made."""
    counter, accepted, credentials, postponed = fields
    return EndpointState(
        counter,
        tuple((eui64, last) for eui64, last in accepted),
        None if credentials is None else _unpack(credentials),
        tuple(
            Postponed(datetime.fromisoformat(due), code, originator, bytes.fromhex(payload))
            for due, code, originator, payload in postponed
        ),
    )


def _pack(credentials: Credentials) -> dict[str, Any]:
    trust = credentials.trust
    cells = {name: getattr(trust, name) for name in _CELLS}
    return {
        "keys": [
            _scalar(credentials.keys.digital_signature),
            _scalar(credentials.keys.key_agreement),
        ],
        "cells": {name: held.der.hex() for name, held in cells.items() if held is not None},
        "certificates": [held.der.hex() for held in credentials.certificates],
        "pending": {use: _scalar(key) for use, key in credentials.pending},
    }


def _unpack(fields: dict[str, Any]) -> Credentials:
    cells = {name: _certificate(der) for name, der in fields["cells"].items()}
    return Credentials(
        DeviceKeys(*map(_key, fields["keys"])),
        TrustCells(**cells),
        tuple(map(_certificate, fields["certificates"])),
        tuple((KeyUse(use), _key(scalar)) for use, scalar in fields["pending"].items()),
    )


def _certificate(der: str) -> Certificate:
    return parse_certificate(bytes.fromhex(der))


def _scalar(key: PrivateKey) -> str:
    return f"{key.private_numbers().private_value:064x}"


def _key(scalar: str) -> PrivateKey:
    return ec.derive_private_key(int(scalar, 16), ec.SECP256R1())
