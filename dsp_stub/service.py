"""The DSP: requests in, answers out; frames in, alerts out; and when it wants to be woken.

Source: DESIGN, "There and back". No I/O but the database: `http` is the shell. The effects of one
request, frame or timeout are one transaction; what leaves because of it waits in the outbox, which
is written in the same one.

    answer(path, body, now)       a DUIS request; the reply is signed
    answer_in_steps(...)          the same with pauses, for one of 50 000 devices
    carry_out(call, ...)          something the DCC does of its own accord
    receive(message, now)         a WAN message of a hub
    next_for_hub, next_callback   the oldest thing to hand over to a hub or a user
    delivered, not_delivered      what became of that
    handle_timeout(now)           commands nobody answered, updates that never ended, requests that
                                  were to wait till now, campaigns
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dsp_stub import (
    campaign_steps,
    command_services,
    credential_outcomes,
    firmware_service,
    gateway,
    inbound,
    inventory_services,
    inventory_updates,
    meter_firmware,
)
from dsp_stub.columns import eui64_text, time_text
from dsp_stub.desk import NO_RESPONSE, Answered, Desk, DspEvent, Refusal
from dsp_stub.errors import DoctypeError, DspValueError, DuisError
from dsp_stub.firmware_service import Judged
from dsp_stub.outbox import Delivery
from dsp_stub.requests import (
    TRANSFORM_VARIANT,
    DecommissionDevice,
    DevicePrenotification,
    ReadInventory,
    Request,
    RequestId,
    UpdateFirmware,
    UpdateInventory,
    UpdatePpmidFirmware,
    parse_request,
    peek_header,
)
from dsp_stub.responses import Content, FirmwareWarning, Response, ResponseMessage
from dsp_stub.safe_xml import parse_xml
from dsp_stub.users import User
from gbcs.errors import GbcsError
from gbcs.wan import DeliveryOutcome, MessageFromDevice, parse_message

# What is longer takes so long to read that others must have their turn in between.
LONG_REQUEST_BYTES = 128 * 1024
MAX_EXPIRED = 500


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back on the connection a request came on: signed XML."""

    body: bytes


class Dsp:
    """One DSP. `on_event` is told of security events and of what does not fit, after the commit."""

    def __init__(self, desk: Desk, on_event: Callable[[DspEvent], object] | None = None) -> None:
        self.desk = desk
        self._on_event = on_event

    # -- requests ------------------------------------------------------------------------------

    def answer(self, path: str, body: bytes, now: datetime) -> Reply:
        """Take one request. Whatever the octets are, the answer is a DUIS response."""
        steps = self.answer_in_steps(path, body, now)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            reply: Reply = end.value
            return reply

    def answer_in_steps(
        self, path: str, body: bytes, now: datetime
    ) -> Generator[None, None, Reply]:
        """The same, with pauses in which others may have their turn: a long request is looked at
        in slices, and what it changes is one step."""
        desk = self.desk
        is_long = len(body) > LONG_REQUEST_BYTES
        header: tuple[str | None, str, str] = (None, "", "")
        try:
            root = parse_xml(body)
            header = peek_header(root)
            if is_long:
                yield
            request = parse_request(root, desk.profile, desk.options.xsd)
        except DoctypeError as error:
            return self._refuse(header, Refusal(desk.codes.doctype, str(error)), now)
        except DuisError as error:
            return self._refuse(header, Refusal(desk.codes.schema_, str(error)), now)
        if is_long:
            yield
        try:
            user = gateway.admit(desk, path, request, root, now)
            del root
            judged = yield from self._judge(user, request, now)
            with desk.store.transaction():
                gateway.require_new(desk, request)  # the same one may have come in a pause
                code, content = self._serve(user, request, judged, now)
                desk.store.connection.execute(
                    "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        str(request.request_id),
                        request.command_variant == TRANSFORM_VARIANT,
                        eui64_text(request.request_id.originator),
                        request.service_reference_variant,
                        time_text(now),
                        code,
                    ),
                )
                if judged is not None:
                    campaign_steps.step(desk, now)
        except Refusal as refusal:
            desk.events.clear()
            return self._refuse(header, refusal, now)
        desk.events.append(Answered(header[2], header[0], code, ""))
        self._tell()
        return self._reply(request.request_id, header, code, content, now)

    def _judge(
        self, user: User, request: Request, now: datetime
    ) -> Generator[None, None, Judged | None]:
        """What is to be done about a long list; None for a request without one."""
        match request.body:
            case UpdatePpmidFirmware() as body:
                return (yield from firmware_service.judge(self.desk, user, body, now))
            case UpdateFirmware() as body:
                return (yield from meter_firmware.judge(self.desk, user, body, now))
        return None

    def _serve(
        self, user: User, request: Request, judged: Judged | None, now: datetime
    ) -> tuple[str, Content | FirmwareWarning | None]:
        desk = self.desk
        request_id = request.request_id
        if judged is not None:
            return firmware_service.begin_campaign(desk, request_id, judged, now)
        match request.body:
            case DevicePrenotification() as body:
                return inventory_services.prenotify(desk, user, body, now)
            case ReadInventory() as body:
                return inventory_services.read(desk, user, body, now)
            case DecommissionDevice() as body:
                return inventory_updates.decommission(desk, user, body, now)
            case UpdateInventory() as body:
                return inventory_updates.update(desk, user, body, now)
            case _:
                return command_services.serve(desk, user, request, now)

    def _refuse(
        self, header: tuple[str | None, str, str], refusal: Refusal, now: datetime
    ) -> Reply:
        """A refused request changes nothing; that it was made is on record all the same."""
        desk = self.desk
        with desk.store.transaction():
            desk.refuse(header[0], header[2], refusal, now)
        desk.events.append(Answered(header[2], header[0], refusal.code, refusal.sentence))
        self._tell()
        return self._reply(_request_id(header[0]), header, refusal.code, refusal.warning, now)

    def _reply(
        self,
        request_id: RequestId | None,
        header: tuple[str | None, str, str],
        code: str,
        content: Content | FirmwareWarning | None,
        now: datetime,
    ) -> Reply:
        message = ResponseMessage(header[1], header[2], content)
        return Reply(self.desk.sign(Response(request_id, None, code, now, message)))

    # -- of its own accord ---------------------------------------------------------------------

    def carry_out(self, call: Callable[..., None], /, *arguments: Any, **options: Any) -> None:
        """A call of `credential_commands`: it happens whole, or raises DspValueError."""
        desk = self.desk
        try:
            with desk.store.transaction():
                call(desk, *arguments, **options)
        except DspValueError:
            desk.events.clear()
            raise
        self._tell()

    # -- the SM WAN ----------------------------------------------------------------------------

    def receive(self, message: bytes, now: datetime, hub: int | None = None) -> None:
        """A serialised WAN message of a hub, on the link of `hub` if that is known. Nothing in it
        raises."""
        desk = self.desk
        with desk.store.transaction():
            try:
                parsed = parse_message(message)
            except GbcsError as error:
                desk.secure(None, "WAN", str(error), now)
            else:
                match parsed:
                    case _ if hub not in (None, parsed.hub):
                        detail = f"a message of {parsed.hub:016X} on the link of another hub"
                        desk.secure(hub, "WAN", detail, now)
                    case MessageFromDevice():
                        inbound.receive_frame(desk, parsed, now)
                    case DeliveryOutcome():
                        inbound.receive_outcome(desk, parsed, now)
                    case _:
                        detail = f"a {type(parsed).__name__} is for hubs"
                        desk.secure(None, "WAN", detail, now)
        self._tell()

    def refuse_link(self, hub: int, why: str, now: datetime) -> None:
        """What came on the link of a hub is not even a frame."""
        with self.desk.store.transaction():
            self.desk.secure(hub, "WAN", why, now)
        self._tell()

    # -- deliveries ----------------------------------------------------------------------------

    def users_waiting(self, now: datetime) -> list[int]:
        """The users for whom a response or an alert is due."""
        return [user for user in self.desk.users.eui64s if self.next_callback(user, now)]

    def next_callback(self, user: int, now: datetime) -> Delivery | None:
        """What a user is told next, if it is due."""
        return self.desk.outbox.first(user, now, callbacks=True)

    def next_for_hub(self, hub: int, now: datetime) -> Delivery | None:
        """The oldest message for a hub that is due."""
        return self.desk.outbox.first(hub, now, callbacks=False)

    def delivered(self, delivery: Delivery) -> None:
        with self.desk.store.transaction():
            self.desk.outbox.done(delivery.id)

    def not_delivered(self, delivery: Delivery, now: datetime) -> None:
        with self.desk.store.transaction():
            self.desk.outbox.failed(delivery.id, now)

    # -- time ----------------------------------------------------------------------------------

    def next_timeout(self, now: datetime) -> datetime | None:
        """When `handle_timeout` or a delivery is due next."""
        desk = self.desk
        if desk.campaigns.unfinished() is not None:
            return now
        times = (
            desk.commands.next_deadline(),
            desk.orders.next_deadline(),
            desk.user_commands.next_deadline(),
            desk.updates.next_deadline(),
            desk.future_dated.next_due(),
            desk.campaigns.next_deadline(),
            desk.outbox.next_at(now),
        )
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: datetime) -> None:
        """End what is overdue: a command without a response, an update without an end. Begin what
        is due, and the next slice of a campaign. What is too much for one step is due again at
        once."""
        desk = self.desk
        due = self.next_timeout(now)
        if due is None or due > now:
            return
        with desk.store.transaction():
            for request in desk.future_dated.due(now):
                desk.future_dated.done(request)
                command_services.carry_out(desk, request, now)
            for command in (*desk.commands.overdue(now), *desk.user_commands.overdue(now)):
                inbound.give_up(desk, command, NO_RESPONSE, now)
            for order in desk.orders.overdue(now):
                credential_outcomes.unanswered(desk, order, now)
            campaign_steps.end_overdue(desk, now)
            campaign_steps.step(desk, now)
            campaign_steps.look_at_service_level(desk, now)
            desk.outbox.expire(now, MAX_EXPIRED)
        self._tell()

    def _tell(self) -> None:
        events, self.desk.events = self.desk.events, []
        if self._on_event is not None:
            for event in events:
                self._on_event(event)


def _request_id(text: str | None) -> RequestId | None:
    """The RequestID of a refused request, to be named in the answer if it is one at all."""
    if text is None:
        return None
    try:
        return RequestId.parse(text)
    except DuisError:
        return None
