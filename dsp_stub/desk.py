"""What every service of the DSP works with: its records, its keys, and how it says no.

Source: DESIGN, "There and back". One desk belongs to one DSP; a service changes records only inside
the transaction its caller opened, and says no by raising `Refusal`, which takes everything back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from dsp_stub import xml_signature
from dsp_stub.applicability import Applicability
from dsp_stub.broker import Command, StoredBroker
from dsp_stub.campaigns import Campaigns
from dsp_stub.columns import eui64_text, time_text
from dsp_stub.cpl import Cpl
from dsp_stub.errors import DspValueError
from dsp_stub.future_dated import FutureDated
from dsp_stub.inventory import Inventory
from dsp_stub.key_ring import KeyRing
from dsp_stub.known_parties import DeviceLogs, UserCommand, UserCommands
from dsp_stub.options import Codes, Options
from dsp_stub.orders import Orders
from dsp_stub.outbox import Outbox
from dsp_stub.registrations import Registrations
from dsp_stub.requests import RequestId, service_reference
from dsp_stub.responses import (
    Content,
    DccAlert,
    DccAlertMessage,
    FirmwareWarning,
    Message,
    Response,
    ResponseMessage,
    build_response,
)
from dsp_stub.schema import SchemaProfile
from dsp_stub.smi import ENDED, MeteringPoints, SmiDevice
from dsp_stub.store import Store
from dsp_stub.update_targets import UpdateTargets
from dsp_stub.updates import Update, Updates
from dsp_stub.users import User, Users
from gbcs.acb import AccessControlBroker
from gbcs.certificates import Certificate, CertificateStore
from gbcs.certification_requests import CertificationRequest
from gbcs.errors import GbcsValueError
from gbcs.protection import KeyStore, KeyUse
from gbcs.wan import CommandForDevice

SUCCESS = "I0"
CANNOT_COMMUNICATE = "E20"
NO_RESPONSE = "E21"
ACCEPTED = "I99"

MAX_REFUSALS = 10_000
MAX_SECURITY_EVENTS = 100_000
MAX_SENTENCE_CHARACTERS = 500


class Refusal(Exception):
    """A request is refused: its response code, and a sentence for the record."""

    def __init__(self, code: str, sentence: str, warning: FirmwareWarning | None = None) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.warning = warning


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """Something came over the SM WAN that proves nothing; nothing changed."""

    device: int | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Flagged:
    """Something valid came that does not fit what went before."""

    device: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A request was answered; `sentence` says why it was refused, where the code alone does not."""

    service: str
    request_id: str | None
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class CredentialsTold:
    """What became of a command about credentials, as the device told it, or that it did not."""

    device: int
    use_case: str
    succeeded: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A request waits for an operator, since its user asked for so much."""

    request_id: str
    detail: str


DspEvent = SecurityEvent | Flagged | Answered | CredentialsTold | Quarantined

Certify = Callable[[CertificationRequest], Certificate]
"""The SMKI: from a device's request, which holds, to its certificate."""


class Desk:
    """The records and keys of one DSP. `acb` is its EUI-64 as Access Control Broker; `certify` is
    where it has certificates made for devices' new keys, if anywhere."""

    def __init__(
        self,
        store: Store,
        users: Users,
        keys: CertificateStore,
        acb: int,
        options: Options | None = None,
        codes: Codes | None = None,
        certify: Certify | None = None,
    ) -> None:
        certificate = keys.certificate(acb, KeyUse.XML_SIGNATURE)
        key = keys.private_key(acb, KeyUse.XML_SIGNATURE)
        if certificate is None or key is None:
            raise DspValueError(f"the DSP has no key {eui64_text(acb)}-{KeyUse.XML_SIGNATURE}")
        self.store = store
        self.users = users
        self.keys = keys
        self.acb = acb
        self.options = options or Options()
        self.codes = codes or Codes()
        self.profile = SchemaProfile(self.options.profile)
        self.inventory = Inventory(store)
        self.cpl = Cpl(store)
        self.applicability = Applicability(store)
        self.registrations = Registrations(store)
        self.future_dated = FutureDated(store)
        self.targets = UpdateTargets(store)
        self.updates = Updates(store)
        self.campaigns = Campaigns(store)
        self.outbox = Outbox(store, self.updates)
        self.commands = StoredBroker(store)
        self.key_ring = KeyRing(store, keys, acb)
        self.orders = Orders(store)
        self.broker = AccessControlBroker(acb, keys, self.commands, self.key_ring.of)
        self.certify = certify
        self.user_commands = UserCommands(store)
        self.device_logs = DeviceLogs(store)
        self.events: list[DspEvent] = []
        self._certificate = certificate
        self._key = key

    # -- devices ---------------------------------------------------------------------------

    def device(self, device_id: int) -> SmiDevice:
        """The row of a device that is in the inventory and not gone from it."""
        device = self.inventory.get(device_id)
        if device is None or device.status in ENDED:
            raise Refusal("E19", f"device {eui64_text(device_id)} is not in the inventory")
        return device

    def responsible(self, device: SmiDevice) -> tuple[int, ...]:
        """The users responsible for a device: those of its premises, before that who
        pre-notified it."""
        if device.premises is not None:
            return self.inventory.premises(device.premises).responsible
        return () if device.prenotified_by is None else (device.prenotified_by,)

    def require_responsible(self, user: User, device: SmiDevice) -> None:
        responsible = self.responsible(device)
        if responsible and user.eui64 not in responsible:
            sentence = f"user {eui64_text(user.eui64)} is not responsible for the device"
            raise Refusal("E4", sentence)

    def keys_of(self, device: int) -> KeyStore:
        """The keys that hold between the DCC and a device."""
        return self.key_ring.of(device)

    # -- commands --------------------------------------------------------------------------

    @contextmanager
    def building_command(self, device: int) -> Iterator[None]:
        """A command that cannot be built is one that cannot be communicated: the device has no
        certificate in the repository, or the broker waits for as many answers as it can."""
        try:
            yield
        except GbcsValueError as error:
            sentence = f"no command to {eui64_text(device)} can be built: {error}"
            raise Refusal(CANNOT_COMMUNICATE, sentence) from None

    def send_command(
        self, hub: int, device: int, frame: bytes, request_id: RequestId, service: str,
        subject: int, points: MeteringPoints, now: datetime,
    ) -> None:  # fmt: skip
        """Put the frame the broker just built into the outbox, and note whose it is."""
        counter = self.commands.originator_counter
        deadline = now + timedelta(seconds=self.options.response_timeout_s)
        command = Command(
            device, counter, str(request_id), service, subject, deadline, points=points
        )
        self.commands.note(command)
        message = CommandForDevice(hub, device, counter, frame)
        self.outbox.add_message(message, now, expires_at=deadline)

    def send_user_command(
        self, hub: int, device: int, frame: bytes, request_id: RequestId, service: str,
        subject: int, message_code: int, payload: bytes, now: datetime,
    ) -> None:  # fmt: skip
        """Put a frame in the user's name into the outbox, and note that the user waits for it."""
        deadline = now + timedelta(seconds=self.options.response_timeout_s)
        reference = self.user_commands.note(
            UserCommand(
                device, request_id.counter, str(request_id), service, subject, deadline,
                request_id.originator, message_code, payload,
            )
        )  # fmt: skip
        message = CommandForDevice(hub, device, reference, frame)
        self.outbox.add_message(message, now, expires_at=deadline)

    def forget(self, command: Command) -> None:
        """Wait no longer for the response to a command."""
        if isinstance(command, UserCommand):
            self.user_commands.forget(command)
        else:
            self.broker.forget(command.device, command.counter)

    # -- what users are told ---------------------------------------------------------------

    def sign(self, response: Response) -> bytes:
        """The response as signed XML."""
        octets = build_response(response, self.profile)
        return xml_signature.sign(octets, self._key, self._certificate)

    def respond(self, command: Command, code: str, content: Content | None, now: datetime) -> None:
        """Tell a user what became of the command its request led to."""
        request_id = RequestId.parse(command.request_id)
        self.respond_to(request_id, command.service, code, content, now)

    def respond_to(
        self,
        request_id: RequestId,
        service: str,
        code: str,
        content: Content | None,
        now: datetime,
    ) -> None:
        """The same, of a request whose command is not waited for any more."""
        response_id = RequestId(request_id.target, request_id.originator, request_id.counter)
        message = ResponseMessage(service_reference(service), service, content)
        response = Response(request_id, response_id, code, now, message)
        self._post(request_id.originator, self.sign(response), now)

    def alert(self, users: tuple[int, ...], code: str, alert: DccAlert, now: datetime) -> None:
        """A DCC alert to each of these users."""
        self.tell(users, DccAlertMessage(code, alert), now)

    def tell(self, users: tuple[int, ...], message: Message, now: datetime) -> None:
        """A message nobody asked for, to each of these users, once."""
        body = self.sign(Response(None, None, SUCCESS, now, message))
        for user in dict.fromkeys(users):
            self._post(user, body, now)

    def _post(self, user: int, body: bytes, now: datetime) -> None:
        """Nothing is kept for one who has no callback: it would be kept for ever."""
        known = self.users.get(user)
        if known is not None and known.callback is not None:
            self.outbox.add_callback(user, body, now)

    def audience(self, device: SmiDevice, update: Update | None) -> tuple[int, ...]:
        """Who learns of a device's update: the user that asked for it, then those responsible."""
        asked = () if update is None else (RequestId.parse(update.request_id).originator,)
        return (*asked, *self.responsible(device))

    # -- what is kept ----------------------------------------------------------------------

    def refuse(self, request_id: str | None, service: str, refusal: Refusal, now: datetime) -> None:
        """Keep the last requests that were refused: who sends what is refused may send for ever."""
        row = self.store.connection.execute(
            "INSERT INTO refusals (at, request_id, service, code, detail) VALUES (?, ?, ?, ?, ?)",
            (
                time_text(now),
                request_id,
                service,
                refusal.code,
                refusal.sentence[:MAX_SENTENCE_CHARACTERS],
            ),
        )
        self._keep_last("refusals", row.lastrowid, MAX_REFUSALS)

    def _keep_last(self, table: str, last: int | None, rows: int) -> None:
        assert last is not None
        self.store.connection.execute(f"DELETE FROM {table} WHERE id <= ?", (last - rows,))

    def secure(self, device: int | None, reason: str, detail: str, now: datetime) -> None:
        """Note a security event, among the last in the database and for whoever watches."""
        row = self.store.connection.execute(
            "INSERT INTO security_log (at, device, reason, detail) VALUES (?, ?, ?, ?)",
            (time_text(now), None if device is None else eui64_text(device), reason, detail),
        )
        self._keep_last("security_log", row.lastrowid, MAX_SECURITY_EVENTS)
        self.events.append(SecurityEvent(device, reason, detail))

    def flag(self, device: int, reason: str, detail: str, now: datetime) -> None:
        """Note something valid that does not fit what went before."""
        self.updates.record(now, None, device, reason, detail)
        self.events.append(Flagged(device, reason, detail))
