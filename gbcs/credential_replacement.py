"""A device's trust anchor cells are replaced, at once or later: CS02b as a PPMID carries it out.

Source: GBCS use case CS02b "Update Security Credentials"; which status says what where the public
documents leave it open is one default each (docs/open-points.md, "GBCS and test SMKI").

For each replacement in its turn:

    check                                                        status
    -----------------------------------------------------------  -----------------------
    the device has this cell, and it is filled                   trustAnchorNotFound
    the mode may replace it; a cell is replaced once             other
    one certificate of the SMKI profile, with the cell's role    badCertificate
      and usage, and a key identifier of 8 octets
    its chain ends at the root that is held                      noTrustAnchor
    what that chain holds is signed, in time, not revoked        badCertificate

A root is replaced by one that the root held before has signed; by contingency also by one that has
signed itself, and then the other certificates must lead to that. Replacements that pass are made
together: two ACB cells that would name two ACBs are both refused with `other`.

    mode  ordered by     signed with                                              MAC
    ----  -------------  -------------------------------------------------------  ---
    4     the ACB        nothing                                                  yes
    8     recovery       recovery's key                                           no
    9     recovery       the contingency key, which the root's certificate holds  no
                         wrapped and the command's symmetric key shows

With an execution time:

    time                  effect
    --------------------  ------------------------------------------------------------------
    99991231235959Z       what was kept for this mode is not carried out
    later than now        kept, in the place of what was kept for this mode; no outcome yet
    any other             carried out at once
    it comes              carried out by the cells and the time of then; alert 0x00CB. From one
                          whom no cell names any more: `other` for each cell
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from gbcs.certificates import Certificate, Role, parse_certificate
from gbcs.chain import ChainVerdict, judge_chain
from gbcs.codes import CS02B_UPDATE_CREDENTIALS
from gbcs.contingency import contingency_key
from gbcs.credentials import (
    CREDENTIALS_UPDATED,
    FUTURE_CREDENTIALS_UPDATE,
    KEY_ID_OCTETS,
    ROOT,
    UPDATE_CREDENTIALS,
    Cell,
    CpvChecks,
    CredentialStatus,
    CredentialsUpdated,
    Floor,
    FutureCredentialsUpdate,
    RemotePartyRole,
    Replacement,
    ReplacementMode,
    ReplacementOutcome,
    UpdateCredentials,
    UpdateOutcome,
)
from gbcs.envelope import Frame
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.firmware import FUTURE_DATED_FAILED, FUTURE_DATED_SUCCEEDED
from gbcs.protection import PublicKey
from gbcs.trust import Credentials, TrustCells, fits_cell, key_id_octets
from gbcs.use_cases import CredentialUseCase, Executed, Postponed

# Who orders each mode that a PPMID takes.
PARTIES = {
    ReplacementMode.ACB_BY_ACB: Role.ACCESS_CONTROL_BROKER,
    ReplacementMode.ANY_EXCEPT_ABNORMAL_ROOT_BY_RECOVERY: Role.RECOVERY,
    ReplacementMode.ANY_BY_CONTINGENCY: Role.RECOVERY,
}
_NO_KEY_ID = bytes(KEY_ID_OCTETS)


def update_credentials(mode: ReplacementMode) -> CredentialUseCase:
    """CS02b in one mode, of those a PPMID takes."""
    party = PARTIES[mode]

    def execute(_eui64: int, frame: Frame, credentials: Credentials, now_utc: datetime) -> Executed:
        command = UPDATE_CREDENTIALS.parse(frame.payload)
        _require_possible(command, mode, frame)
        due = command.execution_date_time
        if due is not None and due > now_utc:
            accepted = CREDENTIALS_UPDATED.build(CredentialsUpdated())
            return Executed(accepted, credentials, is_timed=True, due=due)
        done = _carry_out(command, party, credentials.trust, now_utc)
        payload = CREDENTIALS_UPDATED.build(CredentialsUpdated(done.outcome))
        return Executed(payload, _with(credentials, done.trust), done.counters, is_timed=True)

    def execute_later(kept: Postponed, credentials: Credentials, now_utc: datetime) -> Executed:
        command = UPDATE_CREDENTIALS.parse(kept.payload)
        trust = credentials.trust
        signer = trust.signer(kept.originator)
        if signer is not None and signer.role is party:
            done = _carry_out(command, party, trust, now_utc)
        else:
            done = _refuse(command, trust)
        statuses = {each.status for each in done.outcome.replacements}
        alert = FutureCredentialsUpdate(
            FUTURE_DATED_SUCCEEDED
            if statuses <= {CredentialStatus.SUCCESS}
            else FUTURE_DATED_FAILED,
            now_utc.replace(microsecond=0),
            done.outcome,
        )
        payload = FUTURE_CREDENTIALS_UPDATE.build(alert)
        return Executed(payload, _with(credentials, done.trust), done.counters)

    by_contingency = mode is ReplacementMode.ANY_BY_CONTINGENCY
    return CredentialUseCase(
        CS02B_UPDATE_CREDENTIALS + mode,
        execute,
        (party,),
        execute_later,
        _contingency_key if by_contingency else None,
    )


def _contingency_key(frame: Frame, trust: TrustCells) -> PublicKey | None:
    try:
        control = UPDATE_CREDENTIALS.parse(frame.payload).control
    except GbcsError:
        return None
    if trust.root is None or control.plaintext_symmetric_key is None:
        return None
    return contingency_key(trust.root, control.plaintext_symmetric_key)


class _Done(NamedTuple):
    outcome: UpdateOutcome
    trust: TrustCells
    counters: tuple[tuple[int, int], ...] = ()


def _with(credentials: Credentials, trust: TrustCells) -> Credentials:
    return credentials if trust is credentials.trust else replace(credentials, trust=trust)


def _carry_out(
    command: UpdateCredentials, party: Role, trust: TrustCells, now_utc: datetime
) -> _Done:
    control = command.control
    replaced, outcomes = _replace(command, control.mode, trust, now_utc)
    floors, counters = _floors(command, party, replaced)
    outcome = UpdateOutcome(control.sequence_number, control.mode, floors, outcomes)
    return _Done(outcome, replaced, counters)


def _refuse(command: UpdateCredentials, trust: TrustCells) -> _Done:
    """Its originator has been replaced in the meantime."""
    outcomes = tuple(
        _outcome(each.cell, CredentialStatus.OTHER, trust, trust) for each in command.replacements
    )
    control = command.control
    return _Done(UpdateOutcome(control.sequence_number, control.mode, (), outcomes), trust)


def _require_possible(command: UpdateCredentials, mode: ReplacementMode, frame: Frame) -> None:
    thing = UPDATE_CREDENTIALS.thing
    if command.control.mode is not mode:
        problem = f"is {command.control.mode.name}, and the code is that of {mode.name}"
        raise GbcsError(thing, "control mode", 0, problem)
    if command.control.sequence_number != frame.originator_counter:
        problem = f"is {command.control.sequence_number}, not the originator's counter"
        raise GbcsError(thing, "control sequence number", 0, problem)
    if command.control.other_floors and mode is ReplacementMode.ACB_BY_ACB:
        problem = "are there: the ACB could shut recovery out"
        raise GbcsError(thing, "control other floors", 0, problem)


def _replace(
    command: UpdateCredentials, mode: ReplacementMode, trust: TrustCells, now_utc: datetime
) -> tuple[TrustCells, tuple[ReplacementOutcome, ...]]:
    path = [
        held for der in command.certification_path if (held := read_certificate(der)) is not None
    ]
    at = None if command.control.cpv_checks is CpvChecks.DISAPPLY else now_utc
    statuses = [CredentialStatus.OTHER] * len(command.replacements)
    accepted: dict[Cell, Certificate] = {}
    root = trust.root
    for number in _order(command):
        cell = command.replacements[number].cell
        certificate = read_certificate(command.replacements[number].certificate)
        if cell in accepted:
            continue
        statuses[number] = _judge(cell, certificate, mode, trust, root, path, at)
        if statuses[number] is CredentialStatus.SUCCESS and certificate is not None:
            accepted[cell] = certificate
            if cell == ROOT and mode is ReplacementMode.ANY_BY_CONTINGENCY:
                root = certificate
    try:
        replaced = trust.replacing(accepted) if accepted else trust
    except GbcsValueError:
        replaced, accepted = _without_acb(trust, accepted)
        statuses = [_after(status, each, accepted) for status, each in _each(statuses, command)]
    outcomes = tuple(
        _outcome(each.cell, status, trust, replaced) for status, each in _each(statuses, command)
    )
    return replaced, outcomes


def _order(command: UpdateCredentials) -> list[int]:
    """As they come; by contingency the root first, since the others hang on that."""
    numbers = list(range(len(command.replacements)))
    if command.control.mode is ReplacementMode.ANY_BY_CONTINGENCY:
        numbers.sort(key=lambda number: command.replacements[number].cell != ROOT)
    return numbers


def _each(
    statuses: list[CredentialStatus], command: UpdateCredentials
) -> Iterable[tuple[CredentialStatus, Replacement]]:
    return zip(statuses, command.replacements, strict=True)


def _without_acb(
    trust: TrustCells, accepted: dict[Cell, Certificate]
) -> tuple[TrustCells, dict[Cell, Certificate]]:
    broker = RemotePartyRole.ACCESS_CONTROL_BROKER
    left = {cell: held for cell, held in accepted.items() if cell.role is not broker}
    return (trust.replacing(left) if left else trust), left


def _after(
    status: CredentialStatus, replacement: Replacement, accepted: dict[Cell, Certificate]
) -> CredentialStatus:
    is_refused = status is CredentialStatus.SUCCESS and replacement.cell not in accepted
    return CredentialStatus.OTHER if is_refused else status


def _judge(
    cell: Cell,
    certificate: Certificate | None,
    mode: ReplacementMode,
    trust: TrustCells,
    root: Certificate | None,
    path: list[Certificate],
    now_utc: datetime | None,
) -> CredentialStatus:
    if trust.certificate(cell) is None:
        return CredentialStatus.TRUST_ANCHOR_NOT_FOUND
    if mode is ReplacementMode.ACB_BY_ACB and (
        cell.role is not RemotePartyRole.ACCESS_CONTROL_BROKER
    ):
        return CredentialStatus.OTHER
    if (
        certificate is None
        or not fits_cell(certificate, cell)
        or len(certificate.subject_key_id) != KEY_ID_OCTETS
    ):
        return CredentialStatus.BAD_CERTIFICATE
    if root is None:
        return CredentialStatus.NO_TRUST_ANCHOR
    verdict = judge_chain(certificate, path, root, now_utc=now_utc)
    if verdict is ChainVerdict.VALID:
        return CredentialStatus.SUCCESS
    if mode is ReplacementMode.ANY_BY_CONTINGENCY and cell == ROOT:
        in_time = now_utc is None or certificate.is_valid_at(now_utc)
        if in_time and _is_self_signed(certificate):
            return CredentialStatus.SUCCESS
    if verdict is ChainVerdict.NO_ISSUER:
        return CredentialStatus.NO_TRUST_ANCHOR
    return CredentialStatus.BAD_CERTIFICATE


def _is_self_signed(certificate: Certificate) -> bool:
    loaded = x509.load_der_x509_certificate(certificate.der)
    try:
        loaded.verify_directly_issued_by(loaded)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def read_certificate(der: bytes) -> Certificate | None:
    try:
        return parse_certificate(der)
    except GbcsError:
        return None


def _outcome(
    cell: Cell, status: CredentialStatus, before: TrustCells, after: TrustCells
) -> ReplacementOutcome:
    old, new = before.certificate(cell), after.certificate(cell)
    if status is not CredentialStatus.SUCCESS:
        new = old
    names = [
        (0, _NO_KEY_ID) if held is None else (held.eui64 or 0, key_id_octets(held))
        for held in (old, new)
    ]
    return ReplacementOutcome(cell, status, *names[0], *names[1])


def _floors(
    command: UpdateCredentials, party: Role, trust: TrustCells
) -> tuple[tuple[Floor, ...], tuple[tuple[int, int], ...]]:
    """The floors that are set, as the outcome tells them, and the counters they set. A floor never
    lowers the counter of a party that stays the same, or its old messages could be replayed."""
    control = command.control
    floors = list(control.other_floors or ())
    if control.new_floor is not None:
        role = RemotePartyRole(int(party))
        floors.insert(0, Floor(role, control.new_floor, control.new_specialist_floors))
    counters = []
    for floor in floors:
        for cell, certificate in trust.cells():
            if cell.role is floor.role and certificate.eui64 is not None:
                counters.append((certificate.eui64, floor.sequence_number))
    return tuple(floors), tuple(dict.fromkeys(counters))
