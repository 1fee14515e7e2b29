"""The DSP's half of GBCS: the Access Control Broker, which speaks to devices for users.

Source: GBCS, ACB acting for an unknown remote party: originator is the ACB with a counter of its
own, the user and the user's counter stand in 18 octets of other information, and a response brings
both counters back.

A frame from a device is checked in this order; the first check that fails rejects it, and nothing
has changed.

    check                                                          reason
    -------------------------------------------------------------  ------------------
    one whole frame                                                SYNTAX
    recipient is this ACB                                          RECIPIENT
    CRA flag is response or alert                                  CRA
    certificates of the originator are held                        UNKNOWN_ORIGINATOR
    exactly the protection the message needs is there, and holds   PROTECTION
    response: to a command sent and not yet answered               UNEXPECTED
    alert: counter above the last accepted from this originator    REPLAY
    payload as the message code has it                             PAYLOAD

A replayed alert is known by originator and counter alone, since a signature can be altered and
still verify.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from gbcs.axdr import invoke_id
from gbcs.ber import KeyUsage
from gbcs.codes import (
    CCS01_ADD_DEVICE,
    CS02A_PROVIDE_CREDENTIALS,
    CS02B_UPDATE_CREDENTIALS,
    CS02C_ISSUE_CREDENTIALS,
    CS02D_UPDATE_CERTIFICATE,
    CS02E_PROVIDE_CERTIFICATE,
    CS08_READ_FIRMWARE_VERSION,
    MACED,
    SIGNED_AND_MACED,
    Payload,
    Protection,
    parse_payload,
    required_protection,
    required_protections,
)
from gbcs.contingency import Contingency
from gbcs.credentials import (
    ACB_KEY_AGREEMENT,
    PROVIDE_CREDENTIALS,
    RECOVERY_SIGNATURE,
    UPDATE_CREDENTIALS,
    ProvideCredentials,
    RemotePartyRole,
    Replacement,
    ReplacementControl,
    ReplacementMode,
    UpdateCredentials,
)
from gbcs.device_certificates import (
    ISSUE_CREDENTIALS,
    PROVIDE_CERTIFICATE,
    UPDATE_CERTIFICATE,
    IssueCredentials,
    ProvideCertificate,
    UpdateCertificate,
)
from gbcs.device_log import AddDevice, build_add_device
from gbcs.envelope import (
    MAX_COUNTER,
    Cra,
    Frame,
    OtherInformation,
    ReceivedFrame,
    parse_frame,
)
from gbcs.errors import GbcsError, GbcsValueError, require_unsigned
from gbcs.firmware import ReadFirmwareVersion, build_read_firmware_version
from gbcs.protection import (
    KeyStore,
    KeyUse,
    PrivateKey,
    Verdict,
    protected_octets,
    shared_secret,
    verify,
)

# Above the devices one DUIS request may name (50 000); a bound, so that devices which never answer
# cannot fill the memory.
MAX_OUTSTANDING = 65_536


@dataclass(frozen=True, slots=True)
class User:
    """Whom the ACB acts for: EUI-64 and counter of the user's RequestID."""

    eui64: int
    counter: int


class Rejection(Enum):
    """The check a frame failed, in the order of the checks."""

    SYNTAX = auto()
    RECIPIENT = auto()
    CRA = auto()
    UNKNOWN_ORIGINATOR = auto()
    PROTECTION = auto()
    UNEXPECTED = auto()
    REPLAY = auto()
    PAYLOAD = auto()


@dataclass(frozen=True, slots=True)
class Response:
    """A verified response to a command of ours. `payload` is octets when the code is not read."""

    device: int
    message_code: int
    counter: int
    user: User | None
    payload: Payload | bytes


@dataclass(frozen=True, slots=True)
class Alert:
    """A verified alert of a device. `payload` is octets when the code is not read."""

    device: int
    message_code: int
    counter: int
    payload: Payload | bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A frame that proves nothing. `originator` is who it claims to be from, if it is a frame."""

    reason: Rejection
    detail: str
    originator: int | None


Outcome = Response | Alert | Rejected


class BrokerMemory(Protocol):
    """All that an ACB must not forget: its counter, the commands not yet answered as
    (device, counter) -> other information, and the last alert counter accepted of each device."""

    originator_counter: int

    @property
    def outstanding(self) -> MutableMapping[tuple[int, int], OtherInformation]: ...

    @property
    def accepted(self) -> MutableMapping[int, int]: ...


@dataclass(slots=True)
class BrokerState:
    """A memory that lasts as long as the process."""

    originator_counter: int = 0
    outstanding: MutableMapping[tuple[int, int], OtherInformation] = field(default_factory=dict)
    accepted: MutableMapping[int, int] = field(default_factory=dict)


KeysOf = Callable[[int], KeyStore]
"""The keys that hold between the ACB and a device: its cells may name older ones of the ACB than
another's do."""


class AccessControlBroker:
    """Builds commands to devices and judges what comes back. With the EUI-64 and the signing key of
    recovery it is that: recovery speaks to devices over the ACB's WAN, and for itself.

    `keys` holds the ACB's own keys and the certificates of devices; `keys_of` gives them where they
    are not the same for all devices. `state` is changed in place: it must be stored before a
    command leaves and before an outcome is acted on.
    """

    def __init__(
        self, eui64: int, keys: KeyStore, state: BrokerMemory, keys_of: KeysOf | None = None
    ) -> None:
        require_unsigned("eui64", eui64, 8)
        self.state = state
        self._eui64 = eui64
        self._keys_of = keys_of or (lambda _device: keys)

    def read_firmware_version(self, device: int, user: User) -> bytes:
        """The CS08 command to a PPMID or a bridge."""
        payload = build_read_firmware_version(ReadFirmwareVersion())
        return self.command(CS08_READ_FIRMWARE_VERSION, device, payload, user)

    def add_device(
        self, hub: int, device: int, install_code: bytes, join_timeout_s: int, user: User
    ) -> bytes:
        """The CCS01 command that lets `device` join the network of `hub`."""
        number = invoke_id(self.state.originator_counter + 1)
        command = AddDevice(number, device, install_code, join_timeout_s)
        return self.command(CCS01_ADD_DEVICE, hub, build_add_device(command), user)

    def read_credentials(self, device: int, roles: tuple[RemotePartyRole, ...]) -> bytes:
        """The CS02a command: whose certificates does the device hold, for these roles?"""
        payload = PROVIDE_CREDENTIALS.build(ProvideCredentials(ACB_KEY_AGREEMENT, roles))
        return self.command(CS02A_PROVIDE_CREDENTIALS, device, payload, None)

    def update_own_credentials(
        self,
        device: int,
        replacements: tuple[Replacement, ...],
        certification_path: tuple[bytes, ...],
        *,
        new_floor: int = 0,
        execution_date_time: datetime | None = None,
    ) -> bytes:
        """The CS02b command by which the ACB replaces its own certificates in a device, now or
        later."""
        control = ReplacementControl(
            ReplacementMode.ACB_BY_ACB, self.state.originator_counter + 1, new_floor=new_floor
        )
        command = UpdateCredentials(control, replacements, certification_path, execution_date_time)
        return self.replace_credentials(device, command)

    def recover_credentials(
        self,
        device: int,
        replacements: tuple[Replacement, ...],
        certification_path: tuple[bytes, ...],
        *,
        new_floor: int = 0,
        execution_date_time: datetime | None = None,
    ) -> bytes:
        """The CS02b command by which recovery, if that is who this is, replaces anybody's."""
        mode = ReplacementMode.ANY_EXCEPT_ABNORMAL_ROOT_BY_RECOVERY
        number = self.state.originator_counter + 1
        control = ReplacementControl(
            mode, number, authorising_cell=RECOVERY_SIGNATURE, new_floor=new_floor
        )
        command = UpdateCredentials(control, replacements, certification_path, execution_date_time)
        return self.replace_credentials(device, command)

    def replace_by_contingency(
        self,
        device: int,
        contingency: Contingency,
        replacements: tuple[Replacement, ...],
        certification_path: tuple[bytes, ...],
    ) -> bytes:
        """The CS02b command by which recovery, if that is who this is, sends what the contingency
        key has signed."""
        control = ReplacementControl(
            ReplacementMode.ANY_BY_CONTINGENCY,
            self.state.originator_counter + 1,
            contingency.symmetric_key,
            new_floor=0,
        )
        command = UpdateCredentials(control, replacements, certification_path)
        return self.replace_credentials(device, command, contingency.private_key)

    def replace_credentials(
        self, device: int, command: UpdateCredentials, signing_key: PrivateKey | None = None
    ) -> bytes:
        """Any CS02b command; where a signature belongs, by another key if one is given."""
        code = CS02B_UPDATE_CREDENTIALS + command.control.mode
        payload = UPDATE_CREDENTIALS.build(command)
        return self.command(code, device, payload, None, signing_key=signing_key)

    def issue_credentials(self, device: int, key_usage: KeyUsage) -> bytes:
        """The CS02c command that makes a device generate a key pair."""
        payload = ISSUE_CREDENTIALS.build(IssueCredentials(key_usage))
        return self.command(CS02C_ISSUE_CREDENTIALS, device, payload, None)

    def update_certificate(self, device: int, certificate: bytes) -> bytes:
        """The CS02d command that puts the generated key pair into use."""
        payload = UPDATE_CERTIFICATE.build(UpdateCertificate(certificate))
        return self.command(CS02D_UPDATE_CERTIFICATE, device, payload, None)

    def provide_certificate(self, device: int, key_usage: KeyUsage) -> bytes:
        """The CS02e command: with which certificate does the device speak?"""
        payload = PROVIDE_CERTIFICATE.build(ProvideCertificate(key_usage))
        return self.command(CS02E_PROVIDE_CERTIFICATE, device, payload, None)

    def command(
        self,
        message_code: int,
        device: int,
        payload: bytes,
        user: User | None,
        *,
        critical: bool | None = None,
        signing_key: PrivateKey | None = None,
    ) -> bytes:
        """The frame of a command with the next counter; for a user, or the ACB's own. It is
        protected as its code demands unless it is said."""
        state = self.state
        if state.originator_counter == MAX_COUNTER:
            raise GbcsValueError(f"ACB {self._eui64:016X} has used its last counter")
        if len(state.outstanding) >= MAX_OUTSTANDING:
            raise GbcsValueError(f"{MAX_OUTSTANDING} commands wait for answers already")
        party = (None, None) if user is None else (user.eui64, user.counter)
        frame = Frame(
            cra=Cra.COMMAND,
            originator_counter=state.originator_counter + 1,
            originator=self._eui64,
            recipient=device,
            other_information=OtherInformation(message_code, *party),
            payload=payload,
        )
        if critical is None:
            required = required_protection(message_code, Cra.COMMAND) or MACED
        else:
            required = SIGNED_AND_MACED if critical else MACED
        keys = self._keys_of(device)
        if required.signature and signing_key is None:
            signing_key = self._own(keys, KeyUse.DIGITAL_SIGNATURE)
        secret = self._secret_with(keys, device) if required.mac else None
        octets = protected_octets(frame, signing_key=signing_key, secret=secret)
        state.originator_counter += 1
        state.outstanding[device, frame.originator_counter] = frame.other_information
        return octets

    def forget(self, device: int, counter: int) -> None:
        """Wait no longer for the answer to a command; a late one is then unexpected."""
        self.state.outstanding.pop((device, counter), None)

    def receive(self, octets: bytes) -> Outcome:
        """Judge one frame that came over the SM WAN."""
        try:
            received = parse_frame(octets)
        except GbcsError as error:
            return Rejected(Rejection.SYNTAX, str(error), None)
        frame = received.frame
        rejected = self._refusal(received)
        if rejected is not None:
            return Rejected(*rejected, frame.originator)
        try:
            payload: Payload | bytes | None = parse_payload(
                frame.message_code, frame.cra, frame.payload, received.payload_offset
            )
        except GbcsError as error:
            return Rejected(Rejection.PAYLOAD, str(error), frame.originator)
        return self._accept(frame, frame.payload if payload is None else payload)

    def _refusal(self, received: ReceivedFrame) -> tuple[Rejection, str] | None:
        frame = received.frame
        if frame.recipient != self._eui64:
            return Rejection.RECIPIENT, f"it is for {frame.recipient:016X}"
        if frame.cra is Cra.COMMAND:
            return Rejection.CRA, "a device sends responses and alerts, not commands"
        if not self._keys_of(frame.originator).is_device(frame.originator):
            return Rejection.UNKNOWN_ORIGINATOR, f"no device {frame.originator:016X} is known"
        problem = self._protection_problem(received)
        if problem is not None:
            return Rejection.PROTECTION, problem
        if frame.cra is Cra.RESPONSE:
            sent = self.state.outstanding.get((frame.originator, frame.originator_counter))
            if sent != frame.other_information:
                return Rejection.UNEXPECTED, f"no command {frame.originator_counter} waits for it"
            return None
        last = self.state.accepted.get(frame.originator, 0)
        if frame.originator_counter <= last:
            return Rejection.REPLAY, f"counter {frame.originator_counter} after {last} was accepted"
        return None

    def _protection_problem(self, received: ReceivedFrame) -> str | None:
        frame = received.frame
        found = Protection(signature=bool(frame.signature), mac=frame.mac is not None)
        required = required_protections(frame.message_code, frame.cra)
        # For a code that is not read here either protection will do, as long as it holds.
        if not required and not any(found):
            return "it has neither signature nor MAC"
        if required and found not in required:
            return f"it has {_protections(found)}, the message needs {_protections(required[0])}"
        keys = self._keys_of(frame.originator)
        for name, verdict in zip(found._fields, verify(received, keys), strict=True):
            if verdict not in (Verdict.VALID, Verdict.ABSENT):
                return f"its {'MAC' if name == 'mac' else name} is judged {verdict}"
        return None

    def _accept(self, frame: Frame, payload: Payload | bytes) -> Outcome:
        device, counter, code = frame.originator, frame.originator_counter, frame.message_code
        if frame.cra is Cra.ALERT:
            self.state.accepted[device] = counter
            return Alert(device, code, counter, payload)
        del self.state.outstanding[device, counter]
        other = frame.other_information
        user = None
        if (
            other.supplementary_remote_party_id is not None
            and other.supplementary_remote_party_counter is not None
        ):
            user = User(
                other.supplementary_remote_party_id, other.supplementary_remote_party_counter
            )
        return Response(device, code, counter, user, payload)

    def _own(self, keys: KeyStore, use: KeyUse) -> PrivateKey:
        key = keys.private_key(self._eui64, use)
        if key is None:
            raise GbcsValueError(f"the store has no private key {self._eui64:016X}-{use}")
        return key

    def _secret_with(self, keys: KeyStore, device: int) -> bytes:
        public = keys.public_key(device, KeyUse.KEY_AGREEMENT)
        if public is None:
            raise GbcsValueError(f"the store has no certificate {device:016X}-ka")
        return shared_secret(self._own(keys, KeyUse.KEY_AGREEMENT), public)


def _protections(there: Protection) -> str:
    names = [name for name, yes in (("a signature", there.signature), ("a MAC", there.mac)) if yes]
    return " and ".join(names) or "nothing"
