"""Whom a device trusts: asked (CS02a), replaced (CS02b).

Source: GBCS use cases CS02a "Provide Security Credential Details", CS02b "Update Security
Credentials"; ASN.1 in DER.

    payload          octets
    ---------------  -----------------------------------------------------------------------
    cell             SEQUENCE { role INTEGER, keyUsage BIT STRING,
                                cellUsage INTEGER DEFAULT management }
    CS02a command    SEQUENCE { authorising cell, SEQUENCE OF role INTEGER }
    CS02a response   SEQUENCE OF SEQUENCE { role, status ENUMERATED, [ sequence number INTEGER,
                       SEQUENCE OF SEQUENCE { keyUsage, cellUsage, EUI-64, key id (8) } ] }
    CS02b command    SEQUENCE { control, SEQUENCE OF { Certificate, cell },
                       SEQUENCE OF Certificate, executionDateTime GeneralizedTime OPTIONAL }
    its control      SEQUENCE { mode INTEGER, [0] key OCTET STRING, [1] checks INTEGER, [2] cell,
                       [3] sequence number INTEGER, [4] new floor INTEGER,
                       [5] SEQUENCE OF { usage INTEGER, sequence number INTEGER },
                       [6] SEQUENCE OF floor }, all but mode and [3] OPTIONAL
    a floor          SEQUENCE { role, sequence number, SEQUENCE OF { usage, number } OPTIONAL }
    CS02b response   SEQUENCE { NULL, outcome OPTIONAL }; no outcome when it is for later
    its outcome      SEQUENCE { sequence number, mode, SEQUENCE OF floor, SEQUENCE OF {
                       cell, status ENUMERATED, EUI-64 and key id of the existing certificate,
                       EUI-64 and key id of the replacing one } }
    CS02b alert      SEQUENCE { alertCode INTEGER, executionDateTime GeneralizedTime, outcome }

An execution time of 99991231235959Z takes a replacement for later back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from gbcs.ber import (
    AlertCode,
    EnumeratedOf,
    IntegerOf,
    KeyUsage,
    KeyUsageBits,
    Null,
    Number,
    Octets,
    Record,
    RecordsOf,
    Time,
    Unsigned,
    WholeSequence,
    require_utc_second,
    require_whole_sequence,
)
from gbcs.errors import GbcsValueError, require_unsigned
from gbcs.fields import Definition, Fields, IfNext, Sized
from gbcs.firmware import FUTURE_DATED_FAILED, FUTURE_DATED_SUCCEEDED, require_future_dated

KEY_ID_OCTETS = 8
NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # as a time of execution: not any more


class RemotePartyRole(IntEnum):
    """Whose certificate a cell holds."""

    ROOT = 0
    RECOVERY = 1
    SUPPLIER = 2
    NETWORK_OPERATOR = 3
    ACCESS_CONTROL_BROKER = 4
    TRANSITIONAL_COS = 5
    WAN_PROVIDER = 6
    ISSUING_AUTHORITY = 7
    LOAD_CONTROLLER = 8
    OTHER = 127


class CellUsage(IntEnum):
    MANAGEMENT = 0
    PREPAYMENT_TOP_UP = 1


class ReplacementMode(IntEnum):
    """Whose credentials are replaced by whom; the message code of CS02b is 0x0100 above it."""

    ROOT_BY_SUPPLIER = 0
    ROOT_BY_WAN_PROVIDER = 1
    SUPPLIER_BY_SUPPLIER = 2
    NETWORK_OPERATOR_BY_NETWORK_OPERATOR = 3
    ACB_BY_ACB = 4
    WAN_PROVIDER_BY_WAN_PROVIDER = 5
    TRANSITIONAL_COS_BY_TRANSITIONAL_COS = 6
    SUPPLIER_BY_TRANSITIONAL_COS = 7
    ANY_EXCEPT_ABNORMAL_ROOT_BY_RECOVERY = 8
    ANY_BY_CONTINGENCY = 9


class CredentialStatus(IntEnum):
    """StatusCode of CS02a and CS02b."""

    SUCCESS = 0
    BAD_CERTIFICATE = 5
    NO_TRUST_ANCHOR = 10
    INSUFFICIENT_MEMORY = 17
    TRUST_ANCHOR_NOT_FOUND = 25
    RESOURCES_BUSY = 30
    OTHER = 127


class CpvChecks(IntEnum):
    """Whether certification paths are validated against the time."""

    APPLY = 0
    DISAPPLY = 1


class SequenceNumberUsage(IntEnum):
    PREPAYMENT_TOP_UP = 0


# -- parts -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """The name of one trust anchor cell."""

    role: RemotePartyRole
    key_usage: KeyUsage
    cell_usage: CellUsage = CellUsage.MANAGEMENT


ACB_DIGITAL_SIGNATURE = Cell(RemotePartyRole.ACCESS_CONTROL_BROKER, KeyUsage.DIGITAL_SIGNATURE)
ACB_KEY_AGREEMENT = Cell(RemotePartyRole.ACCESS_CONTROL_BROKER, KeyUsage.KEY_AGREEMENT)
RECOVERY_SIGNATURE = Cell(RemotePartyRole.RECOVERY, KeyUsage.DIGITAL_SIGNATURE)
ROOT = Cell(RemotePartyRole.ROOT, KeyUsage.KEY_CERT_SIGN)


@dataclass(frozen=True, slots=True)
class SpecialistFloor:
    usage: SequenceNumberUsage
    sequence_number: int

    def __post_init__(self) -> None:
        require_unsigned("sequence_number", self.sequence_number, 8)


@dataclass(frozen=True, slots=True)
class Floor:
    """The sequence number a party's messages must be above from now on."""

    role: RemotePartyRole
    sequence_number: int
    specialist: tuple[SpecialistFloor, ...] | None = None

    def __post_init__(self) -> None:
        require_unsigned("sequence_number", self.sequence_number, 8)


def _role() -> Any:
    return IntegerOf(RemotePartyRole)


def _cell(**tag: int) -> Sized:
    return Record(Cell, **tag, role=_role(), key_usage=KeyUsageBits(), cell_usage=_cell_usage())


def _cell_usage() -> IfNext:
    return IfNext(IntegerOf(CellUsage), absent=CellUsage.MANAGEMENT)


def _specialist_floors(**tag: int) -> Sized:
    usage = IntegerOf(SequenceNumberUsage)
    return RecordsOf(Record(SpecialistFloor, usage=usage, sequence_number=Unsigned()), **tag)


def _floors(**tag: int) -> Sized:
    return RecordsOf(
        Record(
            Floor,
            role=_role(),
            sequence_number=Unsigned(),
            specialist=IfNext(_specialist_floors()),
        ),
        **tag,
    )


# -- CS02a -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProvideCredentials:
    """CS02a command: whose certificates does the device hold, for these roles?"""

    authorising_cell: Cell
    roles: tuple[RemotePartyRole, ...]


@dataclass(frozen=True, slots=True)
class CellContents:
    """What one cell of a role holds."""

    key_usage: KeyUsage
    subject: int
    subject_key_id: bytes
    cell_usage: CellUsage = CellUsage.MANAGEMENT

    def __post_init__(self) -> None:
        require_unsigned("subject", self.subject, 8)
        _require_key_id(self.subject_key_id)


@dataclass(frozen=True, slots=True)
class PartyDetails:
    """What a device holds of one role. With a failure there is neither number nor cell."""

    role: RemotePartyRole
    status: CredentialStatus
    sequence_number: int | None = None
    cells: tuple[CellContents, ...] | None = None

    def __post_init__(self) -> None:
        if (self.sequence_number is None) != (self.cells is None):
            raise GbcsValueError("a sequence number and cells stand together")
        if self.sequence_number is not None:
            require_unsigned("sequence_number", self.sequence_number, 8)


@dataclass(frozen=True, slots=True)
class CredentialDetails:
    """CS02a response."""

    parties: tuple[PartyDetails, ...]


def _require_key_id(key_id: bytes) -> None:
    if len(key_id) != KEY_ID_OCTETS:
        raise GbcsValueError(f"a key identifier has {KEY_ID_OCTETS} octets, not {len(key_id)}")


PROVIDE_CREDENTIALS = Definition(
    "CS02a command",
    ProvideCredentials,
    Record(ProvideCredentials, authorising_cell=_cell(), roles=RecordsOf(_role())),
)
CREDENTIAL_DETAILS = Definition(
    "CS02a response",
    CredentialDetails,
    Fields(
        CredentialDetails,
        parties=RecordsOf(
            Record(
                PartyDetails,
                role=_role(),
                status=EnumeratedOf(CredentialStatus),
                sequence_number=IfNext(Unsigned()),
                cells=IfNext(
                    RecordsOf(
                        Record(
                            CellContents,
                            key_usage=KeyUsageBits(),
                            cell_usage=_cell_usage(),
                            subject=Number(8),
                            subject_key_id=Octets(KEY_ID_OCTETS),
                        )
                    )
                ),
            )
        ),
    ),
)

# -- CS02b -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplacementControl:
    """Who orders a replacement, in which mode, and which floors it sets."""

    mode: ReplacementMode
    sequence_number: int
    plaintext_symmetric_key: bytes | None = None
    cpv_checks: CpvChecks | None = None
    authorising_cell: Cell | None = None
    new_floor: int | None = None
    new_specialist_floors: tuple[SpecialistFloor, ...] | None = None
    other_floors: tuple[Floor, ...] | None = None

    def __post_init__(self) -> None:
        require_unsigned("sequence_number", self.sequence_number, 8)
        if self.new_floor is not None:
            require_unsigned("new_floor", self.new_floor, 8)

    def __repr__(self) -> str:
        # The key of the contingency mode must not reach a log.
        return f"ReplacementControl(mode={self.mode.name}, number={self.sequence_number})"


@dataclass(frozen=True, slots=True)
class Replacement:
    """Put this certificate into that cell."""

    certificate: bytes
    cell: Cell

    def __post_init__(self) -> None:
        require_whole_sequence("certificate", self.certificate)


@dataclass(frozen=True, slots=True)
class UpdateCredentials:
    """CS02b command."""

    control: ReplacementControl
    replacements: tuple[Replacement, ...]
    certification_path: tuple[bytes, ...] = ()
    execution_date_time: datetime | None = None

    def __post_init__(self) -> None:
        for certificate in self.certification_path:
            require_whole_sequence("a certificate of the path", certificate)
        if self.execution_date_time is not None:
            require_utc_second("execution_date_time", self.execution_date_time)


@dataclass(frozen=True, slots=True)
class ReplacementOutcome:
    """What became of one cell; the replacing certificate is the existing one after a failure."""

    cell: Cell
    status: CredentialStatus
    existing_subject: int
    existing_key_id: bytes
    replacing_subject: int
    replacing_key_id: bytes

    def __post_init__(self) -> None:
        require_unsigned("existing_subject", self.existing_subject, 8)
        require_unsigned("replacing_subject", self.replacing_subject, 8)
        _require_key_id(self.existing_key_id)
        _require_key_id(self.replacing_key_id)


@dataclass(frozen=True, slots=True)
class UpdateOutcome:
    sequence_number: int
    mode: ReplacementMode
    floors: tuple[Floor, ...]
    replacements: tuple[ReplacementOutcome, ...]

    def __post_init__(self) -> None:
        require_unsigned("sequence_number", self.sequence_number, 8)


@dataclass(frozen=True, slots=True)
class CredentialsUpdated:
    """CS02b response; no outcome when the command is for later, or takes one back."""

    outcome: UpdateOutcome | None = None


@dataclass(frozen=True, slots=True)
class FutureCredentialsUpdate:
    """CS02b alert: what became of a replacement when its time came."""

    alert_code: int
    execution_date_time: datetime
    outcome: UpdateOutcome

    def __post_init__(self) -> None:
        require_future_dated(self.alert_code)
        require_utc_second("execution_date_time", self.execution_date_time)


def _outcome() -> Sized:
    return Record(
        UpdateOutcome,
        sequence_number=Unsigned(),
        mode=IntegerOf(ReplacementMode),
        floors=_floors(),
        replacements=RecordsOf(
            Record(
                ReplacementOutcome,
                cell=_cell(),
                status=EnumeratedOf(CredentialStatus),
                existing_subject=Number(8),
                existing_key_id=Octets(KEY_ID_OCTETS),
                replacing_subject=Number(8),
                replacing_key_id=Octets(KEY_ID_OCTETS),
            )
        ),
    )


UPDATE_CREDENTIALS = Definition(
    "CS02b command",
    UpdateCredentials,
    Record(
        UpdateCredentials,
        control=Record(
            ReplacementControl,
            mode=IntegerOf(ReplacementMode),
            plaintext_symmetric_key=IfNext(Octets(tag=0x80)),
            cpv_checks=IfNext(IntegerOf(CpvChecks, tag=0x81)),
            authorising_cell=IfNext(_cell(tag=0xA2)),
            sequence_number=Unsigned(tag=0x83),
            new_floor=IfNext(Unsigned(tag=0x84)),
            new_specialist_floors=IfNext(_specialist_floors(tag=0xA5)),
            other_floors=IfNext(_floors(tag=0xA6)),
        ),
        replacements=RecordsOf(Record(Replacement, certificate=WholeSequence(), cell=_cell())),
        certification_path=RecordsOf(WholeSequence()),
        execution_date_time=IfNext(Time()),
    ),
)
CREDENTIALS_UPDATED = Definition(
    "CS02b response",
    CredentialsUpdated,
    Record(CredentialsUpdated, _command_accepted=Null(), outcome=IfNext(_outcome())),
)
FUTURE_CREDENTIALS_UPDATE = Definition(
    "CS02b alert",
    FutureCredentialsUpdate,
    Record(
        FutureCredentialsUpdate,
        alert_code=AlertCode(FUTURE_DATED_SUCCEEDED, FUTURE_DATED_FAILED),
        execution_date_time=Time(),
        outcome=_outcome(),
    ),
)
