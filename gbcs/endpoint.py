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
    signed, or not, as the message code demands                     SIGNATURE
    MACed with the key this device shares with the ACB, or not      MAC
    counter above the last accepted from this originator            COUNTER
    payload as the use case has it                                  PAYLOAD

What must outlive a restart is `Endpoint.state`: store it before a reply or an alert leaves. A use
case that changes credentials answers with those in force when the command came.

A command may be for later: `next_due` says when, `execute_due` carries it out. One a message code
waits; another takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto

from gbcs.axdr import build_date_time
from gbcs.certificates import Certificate, Role
from gbcs.codes import (
    CS02B_FUTURE_OUTCOME,
    MACED,
    SIGNED,
    Protection,
    required_protection,
    required_protections,
)
from gbcs.credentials import NEVER
from gbcs.envelope import (
    MAX_COUNTER,
    Cra,
    Frame,
    OtherInformation,
    ReceivedFrame,
    parse_frame,
)
from gbcs.errors import GbcsError, GbcsValueError, require_unsigned
from gbcs.protection import PublicKey, has_mac, is_signed, protected_octets, shared_secret
from gbcs.trust import Credentials, DeviceKeys, TrustCells
from gbcs.use_cases import (
    CredentialUseCase,
    Executed,
    Postponed,
    UseCase,
    add_device,
    answering,
    join_device,
    read_firmware_version,
    read_join_details,
    remove_device,
    unjoin_device,
)

__all__ = [
    "DeviceKeys",
    "Discarded",
    "Endpoint",
    "EndpointState",
    "Output",
    "Reason",
    "Reply",
    "TrustCells",
    "UseCase",
    "add_device",
    "answering",
    "join_device",
    "read_firmware_version",
    "read_join_details",
    "remove_device",
    "unjoin_device",
]


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


@dataclass(frozen=True, slots=True)
class EndpointState:
    """All that an endpoint must not forget: its own counter, the last one accepted of each
    originator as (EUI-64, counter), credentials once they are not those it began with, and the
    commands that wait for their time."""

    originator_counter: int = 0
    accepted: tuple[tuple[int, int], ...] = ()
    credentials: Credentials | None = None
    postponed: tuple[Postponed, ...] = ()

    def __post_init__(self) -> None:
        require_unsigned("originator_counter", self.originator_counter, 8)
        for eui64, counter in self.accepted:
            require_unsigned("originator", eui64, 8)
            require_unsigned("accepted counter", counter, 8)

    def last_accepted(self, eui64: int) -> int:
        """0 for an originator nothing was accepted from: a first command counts from 1."""
        return dict(self.accepted).get(eui64, 0)

    def accepting(self, eui64: int, counter: int) -> EndpointState:
        """Never less than was accepted before."""
        accepted = dict(self.accepted)
        accepted[eui64] = max(counter, accepted.get(eui64, 0))
        return replace(self, accepted=tuple(sorted(accepted.items())))

    def without(self, message_code: int) -> EndpointState:
        """No command of this code waits any more."""
        left = tuple(one for one in self.postponed if one.message_code != message_code)
        return self if left == self.postponed else replace(self, postponed=left)

    def postponing(self, command: Postponed) -> EndpointState:
        """In the place of one of the same code; one for NEVER only takes that back."""
        state = self.without(command.message_code)
        if command.due == NEVER:
            return state
        return replace(state, postponed=(*state.postponed, command))


class Endpoint:
    """The GBCS application of one device."""

    def __init__(
        self,
        eui64: int,
        keys: DeviceKeys,
        trust: TrustCells,
        state: EndpointState,
        use_cases: Iterable[UseCase | CredentialUseCase],
        certificates: Iterable[Certificate] = (),
    ) -> None:
        require_unsigned("eui64", eui64, 8)
        self.state = state
        self._eui64 = eui64
        self._use_cases = {use_case.message_code: use_case for use_case in use_cases}
        self._take(state.credentials or Credentials(keys, trust, tuple(certificates)))

    @property
    def credentials(self) -> Credentials:
        """Those in force."""
        return self._credentials

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
            if isinstance(use_case, CredentialUseCase):
                return [self._execute(use_case, frame, now_utc)]
            answer = use_case.answer(frame.payload, now_utc)
        except GbcsError as error:
            return [Discarded(Reason.PAYLOAD, str(error))]
        reply = self._response(frame, answer)
        self.state = self.state.accepting(frame.originator, frame.originator_counter)
        return [Reply(reply)]

    def _execute(self, use_case: CredentialUseCase, frame: Frame, now_utc: datetime) -> Reply:
        try:
            done = use_case.execute(self._eui64, frame, self._credentials, now_utc)
            date_time = build_date_time(now_utc) if done.is_timed else b""
            reply = self._response(frame, done.payload, date_time)
        except GbcsValueError as error:
            # A command may ask for more than one frame can say.
            raise GbcsError("answer", "length", 0, f"cannot be: {error}") from None
        state = self.state.accepting(frame.originator, frame.originator_counter)
        if done.due is not None:
            kept = Postponed(done.due, frame.message_code, frame.originator, frame.payload)
            state = state.postponing(kept)
        self._settle(state, done)
        return Reply(reply)

    def _settle(self, state: EndpointState, done: Executed) -> None:
        for eui64, floor in done.floors:
            state = state.accepting(eui64, floor)
        if done.credentials is not self._credentials:
            state = replace(state, credentials=done.credentials)
            self._take(done.credentials)
        self.state = state

    @property
    def next_due(self) -> datetime | None:
        """When a command that waits is to be carried out."""
        return min((one.due for one in self.state.postponed), default=None)

    def execute_due(self, now_utc: datetime) -> list[bytes]:
        """Carry out what is due, the longest due first; the alerts about it, each to whoever gave
        the command."""
        due = [one for one in self.state.postponed if one.due <= now_utc]
        alerts = []
        for command in sorted(due, key=lambda one: one.due):
            use_case = self._use_cases.get(command.message_code)
            state = self.state.without(command.message_code)
            if not isinstance(use_case, CredentialUseCase) or use_case.execute_later is None:
                self.state = state  # another firmware, which has no such use case
                continue
            done = use_case.execute_later(command, self._credentials, now_utc)
            self._settle(state, done)
            alerts.append(
                self.alert(CS02B_FUTURE_OUTCOME, done.payload, recipient=command.originator)
            )
        return alerts

    def alert(
        self,
        message_code: int,
        payload: bytes,
        *,
        critical: bool | None = None,
        recipient: int | None = None,
    ) -> bytes:
        """The frame of an alert to the ACB unless it is for somebody else, protected as its code
        demands unless it is said; the next counter is used up."""
        if self.state.originator_counter == MAX_COUNTER:
            raise GbcsValueError(f"device {self._eui64:016X} has used its last counter")
        if critical is None:
            protection = required_protection(message_code, Cra.ALERT) or SIGNED
        else:
            protection = SIGNED if critical else MACED
        counter = self.state.originator_counter + 1
        frame = Frame(
            cra=Cra.ALERT,
            originator_counter=counter,
            originator=self._eui64,
            recipient=self._credentials.trust.acb if recipient is None else recipient,
            other_information=OtherInformation(message_code),
            payload=payload,
        )
        octets = self._protected(frame, protection)
        self.state = replace(self.state, originator_counter=counter)
        return octets

    def _take(self, credentials: Credentials) -> None:
        self._credentials = credentials
        # The same for every message to and from the ACB, so it is agreed once.
        acb = credentials.trust.acb_key_agreement.public_key
        self._secret = shared_secret(credentials.keys.key_agreement, acb)

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
        if self._signer(frame, use_case.roles) is None:
            problem = f"no trust cell for {frame.originator:016X} and {frame.message_code:04X}"
            return Discarded(Reason.ORIGINATOR, problem)
        return None

    def _signer(self, frame: Frame, roles: tuple[Role, ...]) -> Certificate | None:
        signer = self._credentials.trust.signer(frame.originator)
        return signer if signer is not None and signer.role in roles else None

    def _signing_key(self, frame: Frame) -> PublicKey | None:
        use_case = self._use_cases[frame.message_code]
        if isinstance(use_case, CredentialUseCase) and use_case.signing_key is not None:
            return use_case.signing_key(frame, self._credentials.trust)
        signer = self._signer(frame, use_case.roles)
        return None if signer is None else signer.public_key

    def _authenticity(self, received: ReceivedFrame) -> Discarded | None:
        frame = received.frame
        permitted = required_protections(frame.message_code, Cra.COMMAND) or (MACED,)
        if bool(frame.signature) not in [each.signature for each in permitted]:
            problem = "a signature where none belongs" if frame.signature else "no signature"
            return Discarded(Reason.SIGNATURE, problem)
        key = self._signing_key(frame) if frame.signature else None
        if frame.signature and not (
            key and is_signed(frame.signature, received.signature_input, key)
        ):
            return Discarded(Reason.SIGNATURE, f"not signed by {frame.originator:016X}")
        if Protection(bool(frame.signature), frame.mac is not None) not in permitted:
            problem = "no MAC" if frame.mac is None else "a MAC where none belongs"
            return Discarded(Reason.MAC, problem)
        if frame.mac is not None and not has_mac(received, self._secret):
            return Discarded(Reason.MAC, "the MAC is not that of the ACB")
        last = self.state.last_accepted(frame.originator)
        if frame.originator_counter <= last:
            problem = f"counter {frame.originator_counter} after {last} was accepted"
            return Discarded(Reason.COUNTER, problem)
        return None

    def _response(self, command: Frame, payload: bytes, date_time: bytes = b"") -> bytes:
        frame = Frame(
            cra=Cra.RESPONSE,
            originator_counter=command.originator_counter,
            originator=command.recipient,
            recipient=command.originator,
            other_information=command.other_information,
            payload=payload,
            date_time=date_time,
        )
        return self._protected(
            frame, required_protection(command.message_code, Cra.RESPONSE) or MACED
        )

    def _protected(self, frame: Frame, required: Protection) -> bytes:
        keys = self._credentials.keys
        signing_key = keys.digital_signature if required.signature else None
        secret = self._secret if required.mac else None
        return protected_octets(frame, signing_key=signing_key, secret=secret)


def _is_echoed(other: OtherInformation) -> bool:
    """Whether a response can carry the same: the code alone, or the ACB acting for a user. The
    other forms ask for encrypted attributes, which no use case here has."""
    return (
        (other.supplementary_remote_party_id is None)
        == (other.supplementary_remote_party_counter is None)
        and other.supplementary_originator_counter is None
        and not other.key_agreement_certificate
    )
