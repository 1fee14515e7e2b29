"""A device with everything about credentials, whoever may replace them, and newer certificates."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from gbcs_rig import EPOCH, issued, own_key, smki, trust_cells

from gbcs.acb import AccessControlBroker, Response
from gbcs.ber import KeyUsage
from gbcs.certificates import Certificate, Role
from gbcs.codes import (
    CS02B_UPDATE_CREDENTIALS,
    build_payload,
    parse_payload,
)
from gbcs.credentials import (
    Cell,
    CredentialStatus,
    RemotePartyRole,
    Replacement,
    ReplacementControl,
    ReplacementMode,
    UpdateCredentials,
)
from gbcs.device_credentials import credential_use_cases
from gbcs.endpoint import DeviceKeys, Discarded, Endpoint, EndpointState, Reason, Reply
from gbcs.envelope import Cra, Frame, OtherInformation, build_frame, parse_frame
from gbcs.protection import KeyUse, RandomBits, protect
from gbcs.smki import ACB_EUI64, PPMID_EUI64, RECOVERY_EUI64, Credential, Smki
from gbcs.use_cases import read_firmware_version
from hil.seeds import Seeds

ACB = RemotePartyRole.ACCESS_CONTROL_BROKER
ACB_SIGNING = Cell(ACB, KeyUsage.DIGITAL_SIGNATURE)
ACB_AGREEMENT = Cell(ACB, KeyUsage.KEY_AGREEMENT)
RECOVERY_CELL = Cell(RemotePartyRole.RECOVERY, KeyUsage.DIGITAL_SIGNATURE)
ROOT_CELL = Cell(RemotePartyRole.ROOT, KeyUsage.KEY_CERT_SIGN)


def device(state: EndpointState | None = None) -> Endpoint:
    uses = (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT)
    keys = DeviceKeys(*(own_key(PPMID_EUI64, use) for use in uses))
    held = [certificate for use in uses if (certificate := issued().certificate(PPMID_EUI64, use))]
    use_cases = (
        read_firmware_version(lambda: 1),
        *credential_use_cases(Seeds(9).stream("device").getrandbits),
    )
    return Endpoint(PPMID_EUI64, keys, trust_cells(), state or EndpointState(5000), use_cases, held)


@cache
def newer(
    *,
    eui64: int = ACB_EUI64,
    role: Role = Role.ACCESS_CONTROL_BROKER,
    use: KeyUse,
    authorities: int = 1,
) -> Credential:
    """Another certificate by the authorities of this seed."""
    old, new = Seeds(authorities), Seeds(2)

    def stream(name: str) -> RandomBits:
        return (old if "authority" in name else new).stream(name).getrandbits

    return Smki(stream, EPOCH).organisation(eui64, role, use)


@cache
def path() -> tuple[bytes, ...]:
    return (smki().issuing_authority.certificate.der,)


def replaced(*pairs: tuple[Cell, Certificate]) -> tuple[Replacement, ...]:
    return tuple(Replacement(certificate.der, cell) for cell, certificate in pairs)


def answered(endpoint: Endpoint, octets: bytes) -> Any:
    (output,) = endpoint.receive(octets, EPOCH)
    assert isinstance(output, Reply), output
    frame = parse_frame(output.frame).frame
    return parse_payload(frame.message_code, frame.cra, frame.payload)


def discarded(endpoint: Endpoint, octets: bytes) -> Reason:
    before = endpoint.state
    (output,) = endpoint.receive(octets, EPOCH)
    assert isinstance(output, Discarded)
    assert endpoint.state is before
    return output.reason


def statuses(outcome: Any) -> list[CredentialStatus]:
    return [each.status for each in outcome.replacements]


def by_recovery(command: UpdateCredentials, counter: int = 7000) -> bytes:
    mode = ReplacementMode.ANY_EXCEPT_ABNORMAL_ROOT_BY_RECOVERY
    frame = Frame(
        cra=Cra.COMMAND,
        originator_counter=counter,
        originator=RECOVERY_EUI64,
        recipient=PPMID_EUI64,
        other_information=OtherInformation(CS02B_UPDATE_CREDENTIALS + mode),
        payload=build_payload(command),
    )
    return build_frame(
        protect(frame, signing_key=own_key(RECOVERY_EUI64, KeyUse.DIGITAL_SIGNATURE))
    )


def recovery_control(**changes: Any) -> ReplacementControl:
    mode = ReplacementMode.ANY_EXCEPT_ABNORMAL_ROOT_BY_RECOVERY
    return replace(
        ReplacementControl(mode, 7000, authorising_cell=RECOVERY_CELL, new_floor=0), **changes
    )


def issue(endpoint: Endpoint, dsp: AccessControlBroker, usage: KeyUsage) -> Any:
    (reply,) = endpoint.receive(dsp.issue_credentials(PPMID_EUI64, usage), EPOCH)
    assert isinstance(reply, Reply)
    response = dsp.receive(reply.frame)
    assert isinstance(response, Response)
    return response.payload


def stranger() -> Smki:
    return smki(seed=7)
