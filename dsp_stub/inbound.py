"""What hubs bring: responses, alerts and delivery outcomes, and what follows from each.

Source: MP170 and DUIS (N39, CommsHubAlert, CSPFirmwareDeliveryStatus), GBCS use cases CS08, CS09,
CCS01 and CCS08. Nothing is believed that the Access Control Broker has not verified, and nothing of
a device that is not on the hub it came from; what is refused becomes a security event, and no alert
is raised and no row changes for it.

    verified                    effects
    --------------------------  ---------------------------------------------------------------
    CCS08 alert                 the update is transferred or over; CommsHubAlert
    CS09 alert, result 0        the update is over; N39; the inventory follows a version of the CPL
    CS09 alert, result 1        the update is over; N39; the inventory stays
    a firmware receipt          the 11.1 is over; a Device Alert; FirmwareDistributionFailure
    CS06, CS02b, when it was    FutureDatedDeviceAlertMessage to whose command it was; the effects
      for later                 of the response
    CS14 alert                  the device log of the hub is kept, for 8.12.1
    another alert               a Device Alert
    a response                  the user gets it; `inbound_responses` has the effects
    about credentials           besides: as in `credential_outcomes`

A frame to a user is signed, and so verified, or MACed with a key that only the user has: then it is
a response a command waits for, which goes to the user, and nothing follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dsp_stub import credential_outcomes
from dsp_stub.broker import Command
from dsp_stub.campaign_steps import end_undelivered, tell_delivery
from dsp_stub.desk import CANNOT_COMMUNICATE, SUCCESS, Desk
from dsp_stub.firmware_service import METER_CODES
from dsp_stub.inbound_responses import follow, take_outcome, take_response
from dsp_stub.outbox import LONGEST_RETRY_S
from dsp_stub.requests import RequestId
from dsp_stub.responses import (
    CommsHubAlert,
    DeviceAlertMessage,
    FirmwareDistributionFailure,
    FirmwareTransferAlert,
    FirmwareUpgradeAlert,
    FutureDatedDeviceAlert,
    GbcsPayload,
    PpmidAlert,
    UpdateHanDeviceLogResult,
)
from dsp_stub.smi import SmiDevice
from dsp_stub.updates import TOLD_BY_N39, Update, UpdateState
from dsp_stub.users import User
from gbcs.acb import Alert, Outcome, Rejected, Response
from gbcs.alerts import FIRMWARE_VERIFIED, FirmwareReceipt, GasFirmwareReceipt
from gbcs.codes import parse_payload
from gbcs.credentials import FutureCredentialsUpdate, UpdateOutcome
from gbcs.envelope import Cra, Frame, ReceivedFrame, parse_frame
from gbcs.errors import GbcsError
from gbcs.firmware import (
    ActivateImageResult,
    FirmwareActivation,
    FirmwareTransfer,
    FutureFirmwareActivation,
    TransferResult,
)
from gbcs.hub_log import DeviceLogChanged
from gbcs.user_commands import Proof, judge
from gbcs.wan import DeliveryOutcome, DeliveryResult, MessageFromDevice

_ENDED: dict[TransferResult, UpdateState] = {
    TransferResult.FIRMWARE_IMAGE_DISCARDED: UpdateState.DISCARDED,
    TransferResult.HARDWARE_VERSION_MISMATCH: UpdateState.HARDWARE_MISMATCH,
    TransferResult.FILE_TRANSFER_FAILURE: UpdateState.TRANSFER_FAILED,
}
_RESPONSE_NAMES = {
    TransferResult.FILE_TRANSFER_SUCCESS: "FileTransferSuccess",
    TransferResult.FIRMWARE_IMAGE_DISCARDED: "FirmwareImageDiscarded",
    TransferResult.HARDWARE_VERSION_MISMATCH: "HardwareVersionMismatch",
    TransferResult.FILE_TRANSFER_FAILURE: "FileTransferFailure",
}


class _Foreign(Exception):
    """The frame did not come from where its originator is."""


@dataclass(frozen=True, slots=True)
class _Source:
    hub: SmiDevice
    device: SmiDevice


# -- frames ------------------------------------------------------------------------------------


def receive_frame(desk: Desk, message: MessageFromDevice, now: datetime) -> None:
    """A frame a hub says a device sent."""
    try:
        received = parse_frame(message.frame)
        frame = received.frame
        source = _source(desk, message, frame)
    except _Foreign as error:
        desk.secure(message.device, "FOREIGN", str(error), now)
        return
    except GbcsError as error:
        desk.secure(message.device, "SYNTAX", str(error), now)
        return
    user = desk.users.get(frame.recipient)
    if user is not None:
        _receive_for_user(desk, source.device, user, received, now)
        return
    # Looked up before the broker takes the command off its list.
    device, counter = frame.originator, frame.originator_counter
    command = desk.commands.find(device, counter) if frame.recipient == desk.acb else None
    order = credential_outcomes.order_of(desk, frame)
    outcome: Outcome = credential_outcomes.judge(desk, frame, order, message.frame)
    match outcome:
        case Rejected():
            desk.secure(outcome.originator, outcome.reason.name, outcome.detail, now)
        case Response():
            if command is not None:
                desk.respond(command, SUCCESS, GbcsPayload(message.frame), now)
                take_response(desk, source.device, command, outcome.payload, now)
            credential_outcomes.follow(desk, order, outcome, now)
        case Alert(payload=FirmwareActivation() as activation):
            _activated(desk, source.device, activation, now)
        case Alert(payload=FirmwareTransfer() as transfer):
            _transferred(desk, source.hub, transfer, now)
        case Alert(payload=DeviceLogChanged()):
            # Its hashes of keys are for another hub, and for nobody else.
            desk.device_logs.keep(source.hub.device_id, parse_frame(message.frame).frame.payload)
        case Alert():
            if isinstance(outcome.payload, FutureCredentialsUpdate):
                credential_outcomes.follow_alert(desk, device, outcome.payload, now)
            code = getattr(outcome.payload, "alert_code", outcome.message_code)
            alert = DeviceAlertMessage(code, message.frame)
            desk.tell(desk.responsible(source.device), alert, now)


def _source(desk: Desk, message: MessageFromDevice, frame: Frame) -> _Source:
    if frame.originator != message.device:
        raise _Foreign(f"the frame is of {frame.originator:016X}")
    hub, device = desk.inventory.get(message.hub), desk.inventory.get(message.device)
    if hub is None or device is None:
        missing = message.hub if hub is None else message.device
        raise _Foreign(f"{missing:016X} is not in the inventory")
    if message.device != message.hub and device.chf != message.hub:
        raise _Foreign(f"the device is not on the hub {message.hub:016X}")
    return _Source(hub, device)


# -- frames to users ---------------------------------------------------------------------------


def _receive_for_user(
    desk: Desk, device: SmiDevice, user: User, received: ReceivedFrame, now: datetime
) -> None:
    frame = received.frame
    proof = judge(received, desk.keys_of(device.device_id))
    if not isinstance(proof, Proof):
        proof = _judged_by_offered(desk, device.device_id, received, proof)
    if not isinstance(proof, Proof):
        desk.secure(device.device_id, "PROTECTION", proof, now)
        return
    try:
        payload = parse_payload(
            frame.message_code, frame.cra, frame.payload, received.payload_offset
        )
    except GbcsError as error:
        desk.secure(device.device_id, "PAYLOAD", str(error), now)
        return
    if frame.cra is Cra.RESPONSE:
        _respond_to_user(desk, device, user, received, proof, payload, now)
    elif proof is Proof.UNPROVEN:
        desk.secure(device.device_id, "UNPROVEN", "an alert that only the user can verify", now)
    else:
        _alert_user(desk, device, user, received, payload, now)


def _judged_by_offered(
    desk: Desk, device: int, received: ReceivedFrame, problem: str
) -> Proof | str:
    """A frame under a key the device was certified for, and has not answered about: it has it."""
    offered = desk.key_ring.offered_to(device)
    proof = problem if offered is None else judge(received, offered)
    if proof is Proof.PROVEN and received.frame.signature:
        credential_outcomes.prove(desk, device)
    return proof if isinstance(proof, Proof) else problem


def _respond_to_user(
    desk: Desk,
    device: SmiDevice,
    user: User,
    received: ReceivedFrame,
    proof: Proof,
    payload: Any,
    now: datetime,
) -> None:
    frame = received.frame
    command = desk.user_commands.find(device.device_id, user.eui64, frame.originator_counter)
    if command is None or command.message_code != frame.message_code:
        detail = f"no command {frame.originator_counter} of {user.eui64:016X} waits for it"
        desk.secure(device.device_id, "UNEXPECTED", detail, now)
        return
    desk.forget(command)
    desk.respond(command, SUCCESS, GbcsPayload(received.octets), now)
    if proof is Proof.PROVEN:
        take_response(desk, device, command, payload, now)


def _alert_user(
    desk: Desk,
    device: SmiDevice,
    user: User,
    received: ReceivedFrame,
    payload: Any,
    now: datetime,
) -> None:
    frame = received.frame
    last = desk.commands.accepted.get(device.device_id, 0)
    if frame.originator_counter <= last:
        detail = f"counter {frame.originator_counter} after {last} was accepted"
        desk.secure(device.device_id, "REPLAY", detail, now)
        return
    desk.commands.accepted[device.device_id] = frame.originator_counter
    match payload:
        case (
            FutureFirmwareActivation(originator_counter=counter)
            | FutureCredentialsUpdate(outcome=UpdateOutcome(sequence_number=counter))
        ):
            is_firmware = isinstance(payload, FutureFirmwareActivation)
            service = "11.3" if is_firmware else "6.15.1"
            request_id = RequestId(user.eui64, device.device_id, counter)
            alert = FutureDatedDeviceAlert(payload.alert_code, received.octets)
            desk.respond_to(request_id, service, SUCCESS, alert, now)
            take_outcome(desk, device, payload.outcome, now)
        case FirmwareReceipt() | GasFirmwareReceipt():
            message = DeviceAlertMessage(payload.alert_code, received.octets)
            desk.tell((user.eui64,), message, now)
            _received_image(desk, device, payload.alert_code == FIRMWARE_VERIFIED, now)
        case _:
            code = getattr(payload, "alert_code", frame.message_code)
            desk.tell((user.eui64,), DeviceAlertMessage(code, received.octets), now)


def _received_image(desk: Desk, device: SmiDevice, verified: bool, now: datetime) -> None:
    """The receipt of an 11.1: the device verified the image, or would not have it."""
    update = desk.updates.open_update(device.device_id)
    if update is None or device.device_type not in METER_CODES.types:
        detail = "a firmware receipt, and no update is in progress"
        desk.flag(device.device_id, "alert-out-of-turn", detail, now)
        return
    if verified:
        desk.updates.move(update, UpdateState.DISTRIBUTED, now, "0x8F72")
        return
    desk.updates.move(update, UpdateState.VERIFICATION_FAILED, now, "0x8F1C")
    failure = FirmwareDistributionFailure(RequestId.parse(update.request_id), (device.device_id,))
    code = desk.codes.firmware_distribution_failure
    desk.alert(desk.audience(device, update), code, failure, now)


# -- alerts about updates ----------------------------------------------------------------------


def _activated(
    desk: Desk, device: SmiDevice, activation: FirmwareActivation, now: datetime
) -> None:
    """CS09: the end of an update, as the device tells it."""
    update = desk.updates.open_update(device.device_id)
    last = desk.updates.last(device.device_id)
    if update is None and last is not None and last.state in TOLD_BY_N39:
        detail = f"0x8F8B with version {activation.firmware_version:08X}, no update is in progress"
        desk.flag(device.device_id, "alert-out-of-turn", detail, now)
        return
    succeeded = activation.result is ActivateImageResult.ACTIVATION_SUCCESS
    _flag_order(desk, device, update, activation, now)
    upgrade = FirmwareUpgradeAlert(f"{activation.firmware_version:08X}", succeeded)
    n39 = PpmidAlert(
        device.device_id, activation.alert_code, activation.execution_date_time, upgrade
    )
    desk.alert(desk.audience(device, update), desk.codes.ppmid_alert, n39, now)
    if update is not None:
        state = UpdateState.ACTIVATED if succeeded else UpdateState.ACTIVATION_FAILED
        desk.updates.move(update, state, now, f"0x8F8B result {int(activation.result)}")
    if not succeeded:
        return
    if update is not None and activation.firmware_version == update.firmware_version:
        desk.inventory.set_firmware_version(device.device_id, f"{update.firmware_version:08X}")
    else:
        follow(desk, device, activation.firmware_version, now)


def _flag_order(
    desk: Desk,
    device: SmiDevice,
    update: Update | None,
    activation: FirmwareActivation,
    now: datetime,
) -> None:
    version = activation.firmware_version
    if update is None:
        detail = "0x8F8B, and no update is in progress"
        desk.flag(device.device_id, "alert-out-of-turn", detail, now)
    elif version != update.firmware_version:
        detail = f"0x8F8B with version {version:08X}, {update.firmware_version:08X} was sent"
        desk.flag(device.device_id, "alert-of-another-version", detail, now)
    elif update.state is not UpdateState.TRANSFERRED:
        detail = f"0x8F8B while the update is {update.state}"
        desk.flag(device.device_id, "alert-out-of-turn", detail, now)


def _transferred(desk: Desk, hub: SmiDevice, transfer: FirmwareTransfer, now: datetime) -> None:
    """CCS08: the hub says what became of handing the image over."""
    device = desk.inventory.get(transfer.device)
    if device is None or device.chf != hub.device_id:
        detail = f"CCS08 for {transfer.device:016X}, which is not on the hub"
        desk.secure(hub.device_id, "FOREIGN", detail, now)
        return
    update = desk.updates.open_update(transfer.device)
    if update is not None and update.firmware_version != transfer.firmware_version:
        update = None
    if not transfer.code_fits_result:
        detail = f"alert {transfer.alert_code:04X} with result {int(transfer.result)}"
        desk.flag(transfer.device, "code-and-result-differ", detail, now)
    if update is None:
        detail = f"CCS08 for version {transfer.firmware_version:08X}, which is not in progress"
        desk.flag(transfer.device, "alert-out-of-turn", detail, now)
    else:
        state = _ENDED.get(transfer.result, UpdateState.TRANSFERRED)
        desk.updates.move(update, state, now, f"0x{transfer.alert_code:04X}")
    alert = CommsHubAlert(
        hub.device_id,
        transfer.alert_code,
        transfer.execution_date_time,
        FirmwareTransferAlert(
            None if update is None else RequestId.parse(update.request_id),
            transfer.device,
            f"{transfer.firmware_version:08X}",
            _RESPONSE_NAMES[transfer.result],
        ),
    )
    desk.alert(desk.audience(device, update), desk.codes.comms_hub_alert, alert, now)


# -- outcomes of deliveries --------------------------------------------------------------------


def receive_outcome(desk: Desk, outcome: DeliveryOutcome, now: datetime) -> None:
    """What a hub says became of a command or an offer."""
    update = desk.updates.by_reference(outcome.reference, outcome.device)
    if update is not None:
        if update.hub == outcome.hub and update.state is UpdateState.REQUESTED:
            _offered(desk, update, outcome, now)
        return
    if outcome.result is DeliveryResult.DELIVERED:
        return
    command: Command | None = desk.user_commands.by_reference(outcome.reference, outcome.device)
    if command is None:
        command = desk.commands.find(outcome.device, outcome.reference)
    if command is not None:
        give_up(desk, command, CANNOT_COMMUNICATE, now)
        return
    order = desk.orders.by_reference(outcome.reference, outcome.device, desk.acb)
    if order is not None:
        credential_outcomes.unanswered(desk, order, now)


def _offered(desk: Desk, update: Update, outcome: DeliveryOutcome, now: datetime) -> None:
    if outcome.result is DeliveryResult.UNREACHABLE:
        # There is time until the deadline; users hear of the end, not of every try.
        desk.updates.record(now, update.request_id, update.device, "unreachable", "")
        desk.outbox.add_offer(
            update.hub,
            update.reference,
            (update.device,),
            update.image_sha256,
            update.request_id,
            now + timedelta(seconds=LONGEST_RETRY_S),
            update.deadline,
        )
    elif outcome.result is DeliveryResult.DELIVERED:
        desk.updates.move(update, UpdateState.STORED, now, outcome.result.name.lower())
        tell_delivery(desk, update, now, delivered=True)
    else:
        detail = outcome.result.name.lower()
        end_undelivered(desk, update, UpdateState.NOT_DELIVERED, now, detail)


def give_up(desk: Desk, command: Command, code: str, now: datetime) -> None:
    """Tell the user that no response came, and expect none any more."""
    desk.forget(command)
    desk.respond(command, code, None, now)
    if command.service == "8.11":
        request_id = RequestId.parse(command.request_id)
        failed = desk.codes.device_log_not_updated
        alert = UpdateHanDeviceLogResult(request_id)
        desk.alert((request_id.originator,), failed, alert, now)
