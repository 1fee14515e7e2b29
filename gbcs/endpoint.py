"""A device's half of GBCS: which frames it acts on, what it answers, how it raises alerts.

Source: GBCS, processing of remote party messages by a device; ACB acting for an unknown remote
party, which is the only way a user reaches a PPMID, a bridge or, here, a hub.

A frame is checked in this order, and the first that fails ends it. Nothing is then answered and
nothing has changed; the event says which it was.

    check                                                           reason
    --------------------------------------------------------------  ----------------
    one whole frame                                                 SYNTAX
    recipient is this device                                        RECIPIENT
    CRA flag is command                                             CRA
    the message code has a use case here, and its other
      information is a form that case knows                         MESSAGE_CODE
    a trust cell of a role the use case allows names the originator ORIGINATOR
    signed if the use case is critical, not signed if not           SIGNATURE
    MACed with the key this device shares with the ACB              MAC
    counter above the last accepted from this originator            COUNTER
    payload as the use case has it                                  PAYLOAD

What must outlive a restart is `Endpoint.state`: store it before a reply or an alert leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto

from gbcs.certificates import Certificate, Role
from gbcs.codes import (
    CCS01_ADD_DEVICE,
    CS08_READ_FIRMWARE_VERSION,
    protection_for,
)
from gbcs.device_log import (
    AddDevice,
    AddDeviceResult,
    build_add_device_result,
    parse_add_device,
)
from gbcs.envelope import (
    MAX_COUNTER,
    Cra,
    Frame,
    OtherInformation,
    ReceivedFrame,
    build_frame,
    parse_frame,
)
from gbcs.errors import GbcsError, GbcsValueError, require_unsigned
from gbcs.firmware import (
    FirmwareVersion,
    ReadResult,
    build_firmware_version,
    parse_read_firmware_version,
)
from gbcs.protection import KeyUse, PrivateKey, has_mac, is_signed, protect, shared_secret


class Reason(Enum):
    """The check a frame failed, in the order of the checks."""

    SYNTAX = auto()
    RECIPIENT = auto()
    CRA = auto()
    MESSAGE_CODE = auto()
    ORIGINATOR = auto()
    SIGNATURE = auto()
    MAC = auto()
    COUNTER = auto()
    PAYLOAD = auto()


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this frame back the way the command came."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Discarded:
    """A frame was not acted on; for the security log."""

    reason: Reason
    detail: str


Output = Reply | Discarded

Answer = Callable[[bytes, datetime], bytes]
"""From a command's payload and civil time to the response's payload. Raises GbcsError, before it
has changed anything, when the payload is not one."""


@dataclass(frozen=True, slots=True)
class UseCase:
    """What a device does with the commands of one message code."""

    message_code: int
    answer: Answer
    critical: bool = False
    roles: tuple[Role, ...] = (Role.ACCESS_CONTROL_BROKER,)


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """A device's own private keys."""

    digital_signature: PrivateKey
    key_agreement: PrivateKey


@dataclass(frozen=True, slots=True)
class TrustCells:
    """Whom a PPMID or a bridge trusts: the ACB for everything, recovery and root for
    credentials."""

    acb_digital_signature: Certificate
    acb_key_agreement: Certificate
    recovery: Certificate | None = None
    root: Certificate | None = None

    def __post_init__(self) -> None:
        acb, recovery = Role.ACCESS_CONTROL_BROKER, Role.RECOVERY
        _require_cell(self.acb_digital_signature, acb, KeyUse.DIGITAL_SIGNATURE)
        _require_cell(self.acb_key_agreement, acb, KeyUse.KEY_AGREEMENT)
        if self.acb_digital_signature.eui64 != self.acb_key_agreement.eui64:
            raise GbcsValueError("the two ACB cells name two different ACBs")
        if self.recovery is not None:
            _require_cell(self.recovery, recovery, KeyUse.DIGITAL_SIGNATURE)
        if self.root is not None:
            _require_cell(self.root, Role.ROOT, None)

    @property
    def acb(self) -> int:
        assert self.acb_key_agreement.eui64 is not None  # a cell with a use has one
        return self.acb_key_agreement.eui64

    def signer(self, eui64: int) -> Certificate | None:
        """The certificate whose key this originator signs with, None for a stranger."""
        for certificate in (self.acb_digital_signature, self.recovery):
            if certificate is not None and certificate.eui64 == eui64:
                return certificate
        return None


def _require_cell(certificate: Certificate, role: Role, use: KeyUse | None) -> None:
    if certificate.role is not role or certificate.use is not use:
        raise GbcsValueError(f"the cell for {role.name}, {use} holds another kind of certificate")


@dataclass(frozen=True, slots=True)
class EndpointState:
    """All that an endpoint must not forget: its own counter, and the last one accepted of each
    originator as (EUI-64, counter)."""

    originator_counter: int = 0
    accepted: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        require_unsigned("originator_counter", self.originator_counter, 8)
        for eui64, counter in self.accepted:
            require_unsigned("originator", eui64, 8)
            require_unsigned("accepted counter", counter, 8)

    def last_accepted(self, eui64: int) -> int:
        """0 for an originator nothing was accepted from: a first command counts from 1."""
        return dict(self.accepted).get(eui64, 0)

    def accepting(self, eui64: int, counter: int) -> EndpointState:
        accepted = dict(self.accepted) | {eui64: counter}
        return replace(self, accepted=tuple(sorted(accepted.items())))


class Endpoint:
    """The GBCS application of one device."""

    def __init__(
        self,
        eui64: int,
        keys: DeviceKeys,
        trust: TrustCells,
        state: EndpointState,
        use_cases: Iterable[UseCase],
    ) -> None:
        require_unsigned("eui64", eui64, 8)
        self.state = state
        self._eui64 = eui64
        self._keys = keys
        self._trust = trust
        self._use_cases = {use_case.message_code: use_case for use_case in use_cases}
        # The same for every message to and from the ACB, so it is agreed once.
        self._secret = shared_secret(keys.key_agreement, trust.acb_key_agreement.public_key)

    def receive(self, octets: bytes, now_utc: datetime) -> list[Output]:
        """Act on one frame from the tunnel, or say why not."""
        try:
            received = parse_frame(octets)
        except GbcsError as error:
            return [Discarded(Reason.SYNTAX, str(error))]
        refused = self._addressing(received.frame) or self._authenticity(received)
        if refused is not None:
            return [refused]
        frame = received.frame
        use_case = self._use_cases[frame.message_code]
        try:
            answer = use_case.answer(frame.payload, now_utc)
        except GbcsError as error:
            return [Discarded(Reason.PAYLOAD, str(error))]
        reply = self._protected(_response(frame, answer), use_case.critical)
        self.state = self.state.accepting(frame.originator, frame.originator_counter)
        return [Reply(reply)]

    def alert(self, message_code: int, payload: bytes, *, critical: bool = True) -> bytes:
        """The frame of an alert to the ACB; the next counter is used up."""
        if self.state.originator_counter == MAX_COUNTER:
            raise GbcsValueError(f"device {self._eui64:016X} has used its last counter")
        counter = self.state.originator_counter + 1
        frame = Frame(
            cra=Cra.ALERT,
            originator_counter=counter,
            originator=self._eui64,
            recipient=self._trust.acb,
            other_information=OtherInformation(message_code),
            payload=payload,
        )
        octets = self._protected(frame, critical)
        self.state = replace(self.state, originator_counter=counter)
        return octets

    def _addressing(self, frame: Frame) -> Discarded | None:
        if frame.recipient != self._eui64:
            return Discarded(Reason.RECIPIENT, f"it is for {frame.recipient:016X}")
        if frame.cra is not Cra.COMMAND:
            return Discarded(Reason.CRA, f"a device takes commands, not a {frame.cra.name.lower()}")
        use_case = self._use_cases.get(frame.message_code)
        if use_case is None:
            return Discarded(Reason.MESSAGE_CODE, f"{frame.message_code:04X} has no use case here")
        if not _is_echoed(frame.other_information):
            problem = f"{frame.message_code:04X} with other information of a form not taken here"
            return Discarded(Reason.MESSAGE_CODE, problem)
        signer = self._trust.signer(frame.originator)
        if signer is None or signer.role not in use_case.roles:
            problem = f"no trust cell for {frame.originator:016X} and {frame.message_code:04X}"
            return Discarded(Reason.ORIGINATOR, problem)
        return None

    def _authenticity(self, received: ReceivedFrame) -> Discarded | None:
        frame = received.frame
        required = protection_for(self._use_cases[frame.message_code].critical, frame.cra)
        if required.signature != bool(frame.signature):
            problem = "no signature" if required.signature else "a signature where none belongs"
            return Discarded(Reason.SIGNATURE, problem)
        signer = self._trust.signer(frame.originator)
        if frame.signature and not (
            signer and is_signed(frame.signature, received.signature_input, signer.public_key)
        ):
            return Discarded(Reason.SIGNATURE, f"not signed by {frame.originator:016X}")
        if not has_mac(received, self._secret):
            problem = "no MAC" if frame.mac is None else "the MAC is not that of the ACB"
            return Discarded(Reason.MAC, problem)
        last = self.state.last_accepted(frame.originator)
        if frame.originator_counter <= last:
            problem = f"counter {frame.originator_counter} after {last} was accepted"
            return Discarded(Reason.COUNTER, problem)
        return None

    def _protected(self, frame: Frame, critical: bool) -> bytes:
        required = protection_for(critical, frame.cra)
        signing_key = self._keys.digital_signature if required.signature else None
        secret = self._secret if required.mac else None
        return build_frame(protect(frame, signing_key=signing_key, secret=secret))


def _is_echoed(other: OtherInformation) -> bool:
    """Whether a response can carry the same: the code alone, or the ACB acting for a user. The
    other forms ask for encrypted attributes, which no use case here has."""
    return (
        (other.supplementary_remote_party_id is None)
        == (other.supplementary_remote_party_counter is None)
        and other.supplementary_originator_counter is None
        and not other.key_agreement_certificate
    )


def _response(command: Frame, payload: bytes) -> Frame:
    return Frame(
        cra=Cra.RESPONSE,
        originator_counter=command.originator_counter,
        originator=command.recipient,
        recipient=command.originator,
        other_information=command.other_information,
        payload=payload,
    )


# -- use cases ---------------------------------------------------------------------------------


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
