"""What becomes of a command: sent, handed back for local delivery, or made a pre-command first.

Source: DUIS, "Command Variants", and the processing patterns of its schema:

    variant  comes in             the answer              over the SM WAN
    -------  -------------------  ----------------------  ---------------------------
    1        service request      I99                     command, then the response
    2        service request      I0 LocalCommand         nothing
    3        service request      I0 LocalCommand         command, then the response
    4        service request      I0 PreCommand           nothing
    5        signed pre-command   I99                     command, then the response
    6        signed pre-command   I0 LocalCommand         nothing
    7        signed pre-command   I0 LocalCommand         command, then the response

A signed pre-command is checked as the request it came from: read back from what was signed, it must
be allowed, and must lead to the very same payload. So a command the DSP would not have made cannot
be signed into being.

    check of a signed pre-command                                    response code
    ---------------------------------------------------------------  --------------------------
    a command with this RequestID's originator, target and counter,  codes.pre_command
      signed and without a MAC, of a message code of the service
    signed by the user                                               codes.pre_command_signature
    its service allows it                                            as its service has it
    its payload is that of the service; its times agree              codes.pre_command

Of a command for local delivery nothing is heard again: its answer is the user's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from dsp_stub import s1sp
from dsp_stub.credential_services import (
    CREDENTIAL_PLANS,
    REPLACEMENT_CODES,
    credential_type_of,
    update_krp_of,
)
from dsp_stub.desk import ACCEPTED, SUCCESS, Desk, Refusal
from dsp_stub.device_services import DEVICE_PLANS, activate_of
from dsp_stub.dual_mode import require_installable
from dsp_stub.errors import DspValueError, DuisError
from dsp_stub.future_dated import FutureDatedRequest, due_time
from dsp_stub.gateway import require_active
from dsp_stub.join_services import plan_join
from dsp_stub.moments import execution_time
from dsp_stub.plans import Plan, Voice
from dsp_stub.requests import (
    TRANSFORM_VARIANT,
    Body,
    IssueSecurityCredentials,
    JoinServiceCritical,
    JoinServiceNonCritical,
    ReadFirmwareVersion,
    Request,
    RequestId,
    RetrieveDeviceSecurityCredentialsDevice,
    SignedPreCommand,
    UnjoinServiceCritical,
    UnjoinServiceNonCritical,
    UpdateHanDeviceLog,
    UpdateSecurityCredentialsDevice,
    service_reference,
)
from dsp_stub.responses import Content, LocalCommand, PreCommand
from dsp_stub.smi import SmiDevice
from dsp_stub.targets import hub_of
from dsp_stub.users import User
from gbcs import acb
from gbcs.codes import (
    CS02C_ISSUE_CREDENTIALS,
    CS02D_UPDATE_CERTIFICATE,
    CS02E_PROVIDE_CERTIFICATE,
    CS03A1_JOIN,
    CS03A2_JOIN,
    CS03C_JOIN,
    CS04AC_UNJOIN,
    CS06_ACTIVATE_FIRMWARE,
    parse_payload,
)
from gbcs.envelope import Cra, ReceivedFrame, parse_frame
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.user_commands import complete_command, is_signed_by, maced_command, pre_command

SEND_VARIANT = 1
SENT = (SEND_VARIANT, 3, 5, 7)
HANDED_BACK = (2, 3, 6, 7)

PlanOf = Callable[[Desk, User, int, Any], tuple[SmiDevice, Plan]]
_PLANS: dict[type[Body], PlanOf] = {
    **DEVICE_PLANS,
    **CREDENTIAL_PLANS,
    JoinServiceCritical: plan_join,
    JoinServiceNonCritical: plan_join,
    UnjoinServiceCritical: plan_join,
    UnjoinServiceNonCritical: plan_join,
}

# Of each critical service: the message codes it has, and the request a payload is the answer to.
_SIGNED: dict[str, tuple[tuple[int, ...], Callable[[Any], Body]]] = {
    "6.15.1": (REPLACEMENT_CODES, update_krp_of),
    "6.15.2": (
        (CS02D_UPDATE_CERTIFICATE,),
        lambda command: UpdateSecurityCredentialsDevice(command.certificate),
    ),
    "6.17": (
        (CS02C_ISSUE_CREDENTIALS,),
        lambda command: IssueSecurityCredentials(credential_type_of(command)),
    ),
    "6.24.2": (
        (CS02E_PROVIDE_CERTIFICATE,),
        lambda command: RetrieveDeviceSecurityCredentialsDevice(credential_type_of(command)),
    ),
    "8.7.1": (
        (CS03A1_JOIN, CS03A2_JOIN, CS03C_JOIN),
        lambda command: JoinServiceCritical(command.other_device),
    ),
    "8.8.1": ((CS04AC_UNJOIN,), lambda command: UnjoinServiceCritical(command.other_device)),
    "11.3": ((CS06_ACTIVATE_FIRMWARE,), activate_of),
}


def serve(desk: Desk, user: User, request: Request, now: datetime) -> tuple[str, Content | None]:
    """A request for a command: its code, and what is handed back."""
    if isinstance(request.body, SignedPreCommand):
        return _serve_signed(desk, user, request, request.body, now)
    body, due = _later(request, now)
    device, plan = plan_of(desk, user, request.request_id.target, body)
    if isinstance(body, UpdateHanDeviceLog) and body.request_type == "Add":
        require_installable(desk, device, plan.subject, now)
    if s1sp.takes(device):
        if request.command_variant != SEND_VARIANT:
            raise Refusal("E12", "there is no GBCS command to a device of SMETS1")
        s1sp.take(desk, device, request, plan, now)
        return ACCEPTED, None
    if due is not None:
        return _hold(desk, request, due)
    if request.command_variant == TRANSFORM_VARIANT:
        return SUCCESS, _transform(desk, request.request_id, device, plan)
    with desk.building_command(device.device_id):
        frame, payload = _build(desk, request.request_id, device, plan)
    return _hand_out(desk, request, device, plan, frame, payload, now)


def _later(request: Request, now: datetime) -> tuple[Body, datetime | None]:
    """An 11.2 may be for later, when it is to be sent; other times are the device's to keep."""
    body = request.body
    if not isinstance(body, ReadFirmwareVersion) or request.command_variant != SEND_VARIANT:
        return body, None
    try:
        return ReadFirmwareVersion(), due_time(body.execution_date_time, now)
    except DspValueError as error:
        raise Refusal("E12", str(error)) from None


def _hold(desk: Desk, request: Request, due: datetime) -> tuple[str, None]:
    request_id = request.request_id
    service = request.service_reference_variant
    try:
        desk.future_dated.hold(FutureDatedRequest(request_id, service, request_id.target, due))
    except DspValueError as error:
        raise Refusal("E12", str(error)) from None
    return ACCEPTED, None


def carry_out(desk: Desk, later: FutureDatedRequest, now: datetime) -> None:
    """An 11.2 whose time has come. Its user is told when it cannot be sent any more."""
    service = later.service
    user = desk.users.get(later.request_id.originator)
    request = Request(
        later.request_id, SEND_VARIANT, service_reference(service), service, ReadFirmwareVersion()
    )
    try:
        with desk.store.transaction():
            if user is None:
                raise Refusal("E1", f"{later.request_id.originator:016X} is no user")
            require_active(user)
            serve(desk, user, request, now)
    except Refusal as refusal:
        desk.respond_to(later.request_id, service, refusal.code, None, now)


def plan_of(desk: Desk, user: User, device_id: int, body: Body) -> tuple[SmiDevice, Plan]:
    """The command of a request, when its service allows it. Raises Refusal."""
    try:
        return _PLANS[type(body)](desk, user, device_id, body)
    except (DuisError, DspValueError) as error:
        # A time no calendar has: the schema knows its form alone.
        raise Refusal(desk.codes.schema_, str(error)) from None


def _transform(desk: Desk, request_id: RequestId, device: SmiDevice, plan: Plan) -> PreCommand:
    with desk.building_command(device.device_id):
        payload = plan.payload(request_id.counter)
        octets = pre_command(
            plan.message_code, request_id.originator, request_id.counter, device.device_id, payload
        )
    return PreCommand(device.gbcs_version or desk.options.least_gbcs_version, octets)


def _build(desk: Desk, request_id: RequestId, device: SmiDevice, plan: Plan) -> tuple[bytes, bytes]:
    """The frame of a command that nobody signs but the ACB, and its payload."""
    originator, counter = request_id.originator, request_id.counter
    if plan.voice is Voice.USER:
        payload = plan.payload(counter)
        keys = desk.keys_of(device.device_id)
        frame = maced_command(
            plan.message_code, originator, counter, device.device_id, payload, keys, desk.acb
        )
        return frame, payload
    party = acb.User(originator, counter) if plan.voice is Voice.ACB_FOR_USER else None
    payload = plan.payload(desk.commands.originator_counter + 1)
    return desk.broker.command(plan.message_code, device.device_id, payload, party), payload


def _hand_out(
    desk: Desk,
    request: Request,
    device: SmiDevice,
    plan: Plan,
    frame: bytes,
    payload: bytes,
    now: datetime,
) -> tuple[str, Content | None]:
    offered = plan.offers
    if offered is not None and offered.use is not None:
        desk.key_ring.offer(device.device_id, offered.use, offered)
    if request.command_variant in SENT:
        _send(desk, request, device, plan, frame, payload, now)
    elif plan.voice is not Voice.USER:
        desk.broker.forget(device.device_id, desk.commands.originator_counter)
    if request.command_variant in HANDED_BACK:
        return SUCCESS, LocalCommand(frame)
    return ACCEPTED, None


def _send(
    desk: Desk,
    request: Request,
    device: SmiDevice,
    plan: Plan,
    frame: bytes,
    payload: bytes,
    now: datetime,
) -> None:
    hub = hub_of(device)
    assert hub is not None  # the target is on one
    if plan.entry is not None:
        desk.outbox.add_message(plan.entry, now)
    service = request.service_reference_variant
    if plan.voice is Voice.USER:
        with desk.building_command(device.device_id):
            desk.send_user_command(
                hub, device.device_id, frame, request.request_id, service, plan.subject,
                plan.message_code, payload, now,
            )  # fmt: skip
    else:
        desk.send_command(
            hub, device.device_id, frame, request.request_id, service, plan.subject,
            plan.points, now,
        )  # fmt: skip


# -- signed pre-commands -----------------------------------------------------------------------


def _serve_signed(
    desk: Desk, user: User, request: Request, body: SignedPreCommand, now: datetime
) -> tuple[str, Content | None]:
    received = _signed_frame(desk, request, body)
    if not is_signed_by(received, user.eui64, desk.keys):
        sentence = "the pre-command is not signed with the key of the user"
        raise Refusal(desk.codes.pre_command_signature, sentence)
    original = _request_of(desk, request, received)
    device, plan = plan_of(desk, user, request.request_id.target, original)
    payload = received.frame.payload
    if plan.message_code != received.frame.message_code or _parsed(
        desk, received, plan.payload(request.request_id.counter)
    ) != _parsed(desk, received, payload):
        raise Refusal(desk.codes.pre_command, "it is not the command of this service")
    _require_same_time(desk, body, original)
    with desk.building_command(device.device_id):
        frame = complete_command(received, desk.keys_of(device.device_id), desk.acb)
    return _hand_out(desk, request, device, plan, frame, payload, now)


def _signed_frame(desk: Desk, request: Request, body: SignedPreCommand) -> ReceivedFrame:
    try:
        received = parse_frame(body.gbcs_payload)
    except GbcsError as error:
        raise Refusal(desk.codes.pre_command, str(error)) from None
    frame, request_id = received.frame, request.request_id
    problem = None
    if frame.cra is not Cra.COMMAND or frame.mac is not None or not frame.signature:
        problem = "it is no signed command without a MAC"
    elif (frame.originator, frame.recipient, frame.originator_counter) != (
        request_id.originator,
        request_id.target,
        request_id.counter,
    ):
        problem = "its originator, recipient and counter are not those of the RequestID"
    elif frame.message_code not in _SIGNED[request.service_reference_variant][0]:
        problem = f"its message code is {frame.message_code:04X}"
    if problem is not None:
        raise Refusal(desk.codes.pre_command, problem)
    return received


def _request_of(desk: Desk, request: Request, received: ReceivedFrame) -> Body:
    """The request a signed payload is the answer to."""
    _, read_back = _SIGNED[request.service_reference_variant]
    try:
        return read_back(_parsed(desk, received, received.frame.payload))
    except (DspValueError, KeyError) as error:
        raise Refusal(desk.codes.pre_command, f"no request leads to it: {error}") from None


def _parsed(desk: Desk, received: ReceivedFrame, payload: bytes) -> Any:
    """What a payload says, however its lengths are written."""
    try:
        return parse_payload(received.frame.message_code, Cra.COMMAND, payload)
    except (GbcsError, GbcsValueError) as error:
        raise Refusal(desk.codes.pre_command, str(error)) from None


def _require_same_time(desk: Desk, body: SignedPreCommand, original: Body) -> None:
    if body.execution_date_time is None:
        return
    try:
        said = execution_time(body.execution_date_time)
    except DuisError as error:
        raise Refusal(desk.codes.schema_, str(error)) from None
    if said != execution_time(getattr(original, "execution_date_time", None)):
        raise Refusal(desk.codes.pre_command, "ExecutionDateTime is not that of the command")
