"""What devices say of their credentials, and what follows: records, the next command, a question.

Source: GBCS use cases CS02a to CS02e; that nothing is taken over that is not verified is as in
`inbound`. Ours is what follows no answer: a device that was not heard may have taken what it was
sent, so it is asked by the keys it then has, and after that by those it had.

    verified                     effects
    ---------------------------  --------------------------------------------------------------
    CS02b response, 0x00CB       for each cell: held, or withdrawn
    CS02b response, for later    what was sent waits
    CS02a response               cells that hold a key we know are held, and what else was offered
                                 is withdrawn; a key we do not know is flagged
    CS02c response, a renewal    the SMKI certifies the key: CS02d
    CS02d response, success      the certificate is held; in a renewal it is read back: CS02e
    CS02d response, other        withdrawn
    CS02e response               held, and another that was offered withdrawn; or flagged
    a frame signed with the key  the certificate of that key is held, since only the device can
      of an offered certificate    have it
    no answer to CS02b, CS02d    CS02a or CS02e by the offered keys, then by the held ones
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from dsp_stub.credential_commands import ask, read_certificate, update_certificate
from dsp_stub.desk import CredentialsTold, Desk
from dsp_stub.errors import DspValueError
from dsp_stub.key_ring import OWN_USES, Standing, cell_place
from dsp_stub.orders import Order, Purpose
from gbcs.acb import AccessControlBroker, BrokerState, Outcome, Rejected, Rejection, Response
from gbcs.certificates import Role, parse_certificate
from gbcs.certification_requests import parse_certification_request
from gbcs.codes import (
    CS02A_PROVIDE_CREDENTIALS,
    CS02B_FUTURE_OUTCOME,
    CS02B_UPDATE_CREDENTIALS,
    CS02C_ISSUE_CREDENTIALS,
    CS02D_UPDATE_CERTIFICATE,
    CS02E_PROVIDE_CERTIFICATE,
    use_case,
)
from gbcs.credentials import (
    Cell,
    CredentialDetails,
    CredentialStatus,
    CredentialsUpdated,
    FutureCredentialsUpdate,
    UpdateOutcome,
)
from gbcs.device_certificates import (
    CertificateProvided,
    CertificateUpdated,
    CredentialsIssued,
    UpdateCertificateResult,
)
from gbcs.envelope import Cra, Frame
from gbcs.errors import GbcsError
from gbcs.protection import KeyUse

# -- judging -----------------------------------------------------------------------------------


def order_of(desk: Desk, frame: Frame) -> Order | None:
    """What a response answers, if it is an order."""
    if frame.cra is not Cra.RESPONSE:
        return None
    return desk.orders.find(frame.recipient, frame.originator, frame.originator_counter)


def is_relayed(desk: Desk, frame: Frame, order: Order | None) -> bool:
    """Whether a frame is for another party than the ACB that the DSP speaks for on the WAN: the
    answer to what it relayed, and recovery's alert about what that put off."""
    if frame.recipient == desk.acb or frame.cra is not Cra.ALERT:
        return frame.recipient != desk.acb and order is not None
    certificate = desk.keys.certificate(frame.recipient, KeyUse.DIGITAL_SIGNATURE)
    is_recovery = certificate is not None and certificate.role is Role.RECOVERY
    return is_recovery and frame.message_code == CS02B_FUTURE_OUTCOME


def judge(desk: Desk, frame: Frame, order: Order | None, octets: bytes) -> Outcome:
    """Judge a device's frame by the keys it is known to have, then by those it was sent."""
    broker = desk.broker
    if is_relayed(desk, frame, order):
        broker = AccessControlBroker(
            frame.recipient, desk.keys, _memory_of(desk, order), desk.key_ring.of
        )
    outcome = broker.receive(octets)
    if not isinstance(outcome, Rejected) or outcome.reason is not Rejection.PROTECTION:
        return outcome
    device = frame.originator
    offered = desk.key_ring.offered_to(device)
    if offered is None:
        return outcome
    recipient = frame.recipient if broker is not desk.broker else desk.acb
    again = AccessControlBroker(recipient, offered, broker.state).receive(octets)
    if isinstance(again, Rejected):
        return outcome if again.reason is Rejection.PROTECTION else again
    if frame.signature:
        prove(desk, device)
    return again


def prove(desk: Desk, device: int) -> None:
    """A device signed with the key of the certificate it was offered: only it can have that key."""
    certificate = desk.key_ring.offered(device).get(KeyUse.DIGITAL_SIGNATURE)
    if certificate is not None:
        desk.key_ring.hold(device, KeyUse.DIGITAL_SIGNATURE, certificate)


def _memory_of(desk: Desk, order: Order | None) -> BrokerState:
    """What a party that is spoken for remembers of a device: the order, and its last alert."""
    state = BrokerState(accepted=desk.commands.accepted)
    if order is not None:
        state.outstanding[order.device, order.counter] = order.other_information
    return state


# -- what was said -----------------------------------------------------------------------------


def follow(desk: Desk, order: Order | None, response: Response, now: datetime) -> None:
    """A verified response. `order` is what it answers, None when a DUIS request asked."""
    if order is not None:
        desk.orders.done(order)
    device = response.device
    match response.payload:
        case CredentialsUpdated(outcome=UpdateOutcome() as outcome):
            _replaced(desk, device, outcome, Standing.OFFERED, now)
        case CredentialsUpdated():
            for place in desk.key_ring.offered(device):
                desk.key_ring.wait(device, place)
            _tell(desk, device, response.message_code, True, "accepted for later", now)
        case CredentialDetails() as details:
            _detailed(desk, device, details, now)
        case CredentialsIssued() as issued:
            _issued(desk, device, order, issued, now)
        case CertificateUpdated() as updated:
            _updated(desk, device, order, updated, now)
        case CertificateProvided() as provided:
            _provided(desk, device, provided, now)


def follow_alert(desk: Desk, device: int, alert: FutureCredentialsUpdate, now: datetime) -> None:
    """A verified 0x00CB alert: what was for later has been carried out."""
    _replaced(desk, device, alert.outcome, Standing.WAITING, now)


def _replaced(
    desk: Desk, device: int, outcome: UpdateOutcome, standing: Standing, now: datetime
) -> None:
    lines = []
    for each in outcome.replacements:
        place = cell_place(each.cell)
        lines.append(f"{place} {each.status.name}")
        if each.status is not CredentialStatus.SUCCESS:
            desk.key_ring.withdraw(device, place, standing)
            continue
        certificate = desk.key_ring.known(device, place, each.replacing_key_id)
        if certificate is None:
            _strange(desk, device, place, each.replacing_key_id, now)
        else:
            desk.key_ring.hold(device, place, certificate)
    succeeded = all(each.status is CredentialStatus.SUCCESS for each in outcome.replacements)
    _tell(desk, device, CS02B_UPDATE_CREDENTIALS + outcome.mode, succeeded, ", ".join(lines), now)


def _detailed(desk: Desk, device: int, details: CredentialDetails, now: datetime) -> None:
    lines = []
    for party in details.parties:
        if party.cells is None:
            lines.append(f"{party.role.name} {party.status.name}")
        for each in party.cells or ():
            place = cell_place(Cell(party.role, each.key_usage, each.cell_usage))
            lines.append(f"{place} {each.subject_key_id.hex().upper()}")
            certificate = desk.key_ring.known(device, place, each.subject_key_id)
            desk.key_ring.withdraw(device, place)
            if certificate is not None:
                desk.key_ring.hold(device, place, certificate)
            elif each.subject == desk.acb:
                _strange(desk, device, place, each.subject_key_id, now)
    _tell(desk, device, CS02A_PROVIDE_CREDENTIALS, True, ", ".join(lines), now)


def _issued(
    desk: Desk, device: int, order: Order | None, issued: CredentialsIssued, now: datetime
) -> None:
    code = CS02C_ISSUE_CREDENTIALS
    if issued.certification_request is None:
        assert issued.error is not None
        _tell(desk, device, code, False, issued.error.name, now)
        return
    _tell(desk, device, code, True, "a new key waits for its certificate", now)
    if order is None or order.purpose is not Purpose.RENEWAL or desk.certify is None:
        return
    try:
        request = parse_certification_request(issued.certification_request)
    except GbcsError as error:
        desk.flag(device, "bad-certification-request", str(error), now)
        return
    if request.eui64 != device or request.use != order.place:
        name = "nobody" if request.eui64 is None else f"{request.eui64:016X}"
        detail = f"{order.place} was asked for, the request is of {name} for {request.use}"
        desk.flag(device, "bad-certification-request", detail, now)
        return
    use, certificate = KeyUse(order.place), desk.certify(request)
    _go_on(
        desk, device, code, now,
        lambda: update_certificate(desk, device, use, certificate, now, Purpose.RENEWAL),
    )  # fmt: skip


def _updated(
    desk: Desk, device: int, order: Order | None, updated: CertificateUpdated, now: datetime
) -> None:
    offered = desk.key_ring.offered(device)
    place = next((use for use in OWN_USES if use in offered), None)
    if order is not None:
        place = KeyUse(order.place)
    succeeded = updated.result is UpdateCertificateResult.SUCCESS
    if place is not None and place in offered:
        if succeeded:
            desk.key_ring.hold(device, place, offered[place])
        else:
            desk.key_ring.withdraw(device, place)
    _tell(desk, device, CS02D_UPDATE_CERTIFICATE, succeeded, updated.result.name, now)
    if succeeded and order is not None and order.purpose is Purpose.RENEWAL:
        use = KeyUse(order.place)
        _go_on(
            desk,
            device,
            CS02E_PROVIDE_CERTIFICATE,
            now,
            lambda: read_certificate(desk, device, use, now),
        )


def _provided(desk: Desk, device: int, provided: CertificateProvided, now: datetime) -> None:
    code = CS02E_PROVIDE_CERTIFICATE
    if provided.certificate is None:
        assert provided.error is not None
        _tell(desk, device, code, False, provided.error.name, now)
        return
    try:
        certificate = parse_certificate(provided.certificate)
    except GbcsError as error:
        desk.flag(device, "bad-certificate", str(error), now)
        return
    use = certificate.use
    key_id = certificate.subject_key_id
    if use is None or desk.key_ring.known(device, use, key_id) != certificate:
        _strange(desk, device, str(use), key_id, now)
        return
    desk.key_ring.withdraw(device, use)
    desk.key_ring.hold(device, use, certificate)
    _tell(desk, device, code, True, f"{use} {key_id.hex().upper()}", now)


def _strange(desk: Desk, device: int, place: str, key_id: bytes, now: datetime) -> None:
    detail = f"{place} holds the key {key_id.hex().upper()}, which is not known"
    desk.flag(device, "credentials-not-known", detail, now)


# -- no answer ---------------------------------------------------------------------------------


def unanswered(desk: Desk, order: Order, now: datetime) -> None:
    """An order has come to its deadline, or could not be delivered."""
    if order.party == desk.acb:
        desk.broker.forget(order.device, order.counter)
    desk.orders.done(order)
    device, code = order.device, order.message_code
    _tell(desk, device, code, False, "no answer", now)
    is_open = bool(desk.key_ring.offered(device))
    if order.purpose is Purpose.ASK_OFFERED:
        _go_on(desk, device, code, now, lambda: ask(desk, order, Purpose.ASK_HELD, now))
    elif order.purpose is not Purpose.ASK_HELD and is_open:
        _go_on(desk, device, code, now, lambda: ask(desk, order, Purpose.ASK_OFFERED, now))


def _go_on(desk: Desk, device: int, code: int, now: datetime, send: Callable[[], None]) -> None:
    """Send what follows; that it cannot be sent is told, since nobody waits to hear it."""
    try:
        with desk.store.transaction():
            send()
    except DspValueError as error:
        _tell(desk, device, code, False, str(error), now)


def _tell(desk: Desk, device: int, code: int, succeeded: bool, detail: str, now: datetime) -> None:
    name = use_case(code) or f"{code:04X}"
    desk.updates.record(now, None, device, "credentials", f"{name}: {detail}")
    desk.events.append(CredentialsTold(device, name, succeeded, detail))
