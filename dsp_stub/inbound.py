"""What hubs bring: responses, alerts and delivery outcomes, and what follows from each.

Source: MP170 and DUIS (N39, CommsHubAlert, CSPFirmwareDeliveryStatus), GBCS use cases CS08, CS09,
CCS01 and CCS08. Nothing is believed that the Access Control Broker has not verified, and nothing of
a device that is not on the hub it came from; what is refused becomes a security event, and no alert
is raised and no row changes for it.

    verified                    effects
    --------------------------  ---------------------------------------------------------------
    CCS01 response, success     the device is Whitelisted on the hub; the user gets it, and N24
    CCS01 response, failure     the user gets it, and N25
    CS08 response               the user gets it; the inventory follows a version of the CPL
    CCS08 alert                 the update is transferred or over; CommsHubAlert
    CS09 alert, result 0        the update is over; N39; the inventory follows a version of the CPL
    CS09 alert, result 1        the update is over; N39; the inventory stays
    another response, alert     the user gets it; a Device Alert
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dsp_stub.broker import Command
from dsp_stub.campaign_steps import end_undelivered, tell_delivery
from dsp_stub.desk import CANNOT_COMMUNICATE, SUCCESS, Desk
from dsp_stub.outbox import LONGEST_RETRY_S
from dsp_stub.requests import RequestId
from dsp_stub.responses import (
    CommsHubAlert,
    DeviceAlertMessage,
    FirmwareTransferAlert,
    FirmwareUpgradeAlert,
    FirmwareVersionMismatch,
    PpmidAlert,
    UpdateHanDeviceLogResult,
)
from dsp_stub.smi import DeviceStatus, SmiDevice
from dsp_stub.updates import TOLD_BY_N39, Update, UpdateState
from gbcs.acb import Alert, Outcome, Rejected, Response
from gbcs.device_log import AddDeviceResult
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError
from gbcs.firmware import (
    ActivateImageResult,
    FirmwareActivation,
    FirmwareTransfer,
    FirmwareVersion,
    ReadResult,
    TransferResult,
)
from gbcs.wan import DeliveryOutcome, DeliveryResult, MessageFromDevice

# What a mismatch says the inventory had where it had none.
NO_VERSION = "00000000"

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
        source = _source(desk, message)
        command = _command_of(desk, message)
    except _Foreign as error:
        desk.secure(message.device, "FOREIGN", str(error), now)
        return
    except GbcsError as error:
        desk.secure(message.device, "SYNTAX", str(error), now)
        return
    outcome: Outcome = desk.broker.receive(message.frame)
    match outcome:
        case Rejected():
            desk.secure(outcome.originator, outcome.reason.name, outcome.detail, now)
        case Response():
            if command is not None:
                _respond(desk, source, command, outcome, message.frame, now)
        case Alert(payload=FirmwareActivation() as activation):
            _activated(desk, source.device, activation, now)
        case Alert(payload=FirmwareTransfer() as transfer):
            _transferred(desk, source.hub, transfer, now)
        case Alert():
            alert = DeviceAlertMessage(outcome.message_code, message.frame)
            desk.tell(desk.responsible(source.device), alert, now)


def _source(desk: Desk, message: MessageFromDevice) -> _Source:
    originator = parse_frame(message.frame).frame.originator
    if originator != message.device:
        raise _Foreign(f"the frame is of {originator:016X}")
    hub, device = desk.inventory.get(message.hub), desk.inventory.get(message.device)
    if hub is None or device is None:
        missing = message.hub if hub is None else message.device
        raise _Foreign(f"{missing:016X} is not in the inventory")
    if message.device != message.hub and device.chf != message.hub:
        raise _Foreign(f"the device is not on the hub {message.hub:016X}")
    return _Source(hub, device)


def _command_of(desk: Desk, message: MessageFromDevice) -> Command | None:
    """Looked up before the broker takes the command off its list."""
    frame = parse_frame(message.frame).frame
    return desk.commands.find(frame.originator, frame.originator_counter)


def _respond(
    desk: Desk,
    source: _Source,
    command: Command,
    response: Response,
    frame: bytes,
    now: datetime,
) -> None:
    desk.respond(command, SUCCESS, frame, now)
    match response.payload:
        case AddDeviceResult() as result:
            _added(desk, source.hub, command, result, now)
        case FirmwareVersion(result=ReadResult.READ_SUCCESS) as version:
            _follow(desk, source.device, version.firmware_version, now)


def _added(
    desk: Desk, hub: SmiDevice, command: Command, result: AddDeviceResult, now: datetime
) -> None:
    codes = desk.codes
    request_id = RequestId.parse(command.request_id)
    if result.succeeded:
        device = desk.inventory.get(command.subject)
        if device is not None:
            desk.inventory.attach(command.subject, chf=hub.device_id, premises=hub.premises)
            if device.status is DeviceStatus.PENDING:
                desk.inventory.set_status(command.subject, DeviceStatus.WHITELISTED)
    code = codes.device_log_updated if result.succeeded else codes.device_log_not_updated
    alert = UpdateHanDeviceLogResult(request_id)
    desk.alert((request_id.originator,), code, alert, now)


def _follow(desk: Desk, device: SmiDevice, version: int, now: datetime) -> None:
    """The inventory follows what the device says it runs, if the CPL knows that of its model."""
    text = f"{version:08X}"
    if device.firmware_version == text:
        return
    known = desk.cpl.is_known(device.device_type, device.manufacturer, device.model, text)
    if known:
        desk.inventory.set_firmware_version(device.device_id, text)
    mismatch = FirmwareVersionMismatch(
        device.device_id, device.device_type, device.firmware_version or NO_VERSION, text
    )
    code = desk.codes.firmware_version_mismatch
    desk.alert(desk.responsible(device), code, mismatch, now)
    detail = f"the device says {text}, the inventory said {device.firmware_version}"
    desk.flag(device.device_id, "firmware-version-mismatch", detail, now)


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
        _follow(desk, device, activation.firmware_version, now)


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
    command = desk.commands.find(outcome.device, outcome.reference)
    if command is not None:
        give_up(desk, command, CANNOT_COMMUNICATE, now)


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
    desk.broker.forget(command.device, command.counter)
    desk.respond(command, code, None, now)
    if command.service == "8.11":
        request_id = RequestId.parse(command.request_id)
        failed = desk.codes.device_log_not_updated
        alert = UpdateHanDeviceLogResult(request_id)
        desk.alert((request_id.originator,), failed, alert, now)
