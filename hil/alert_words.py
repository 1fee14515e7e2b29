"""What a DUIS response or alert says, in one line, and which devices it is about.

Source: ours, for the reader of a run, of `duis listen` and of the evidence.
"""

from __future__ import annotations

from dsp_stub.responses import (
    CommandFailure,
    CommsHubAlert,
    CspFirmwareDeliveryStatus,
    DccAlertMessage,
    DeviceLogRestored,
    DeviceStatusChangeEvent,
    DspScheduleRemoval,
    FirmwareDistributionFailure,
    FirmwareVersionMismatch,
    FirmwareWarning,
    PpmidAlert,
    PpmidRemoval,
    QuarantinedRequest,
    Response,
    ResponseMessage,
    SecurityCredentialsUpdated,
    Unread,
    UpdateHanDeviceLogResult,
)


def alert_devices(message: DccAlertMessage) -> tuple[int, ...]:
    """The devices of the HAN an alert is about, none where it names none."""
    match message.alert:
        case (
            PpmidAlert()
            | FirmwareVersionMismatch()
            | DeviceStatusChangeEvent()
            | CommandFailure()
            | DspScheduleRemoval()
        ) as alert:
            return (alert.device_id,)
        case CspFirmwareDeliveryStatus() as alert:
            return (alert.target_device_id,)
        case CommsHubAlert() as alert:
            transfer = alert.firmware_transfer
            return (alert.comms_hub_device_id if transfer is None else transfer.device_id,)
        case FirmwareDistributionFailure() as alert:
            return alert.meters
        case PpmidRemoval() as alert:
            return (alert.ppmid,)
        case SecurityCredentialsUpdated() as alert:
            return (alert.device_id,)
        case _:
            return ()


def alert_words(message: DccAlertMessage) -> str:
    """What an alert says beside its code."""
    match message.alert:
        case PpmidAlert(firmware_upgrade=upgrade) if upgrade is not None:
            result = "ActivationSuccess" if upgrade.succeeded else "ActivationFailure"
            return f"{result} of {upgrade.firmware_version}"
        case PpmidAlert() as alert:
            return f"device alert {alert.device_alert_code:04X}"
        case CspFirmwareDeliveryStatus() as alert:
            at_hub = "is at the hub" if alert.succeeded else "did not reach the hub"
            return f"image {alert.firmware_version} {at_hub}"
        case CommsHubAlert(firmware_transfer=transfer) as alert:
            said = f"hub alert {alert.alert_code:04X}"
            return said if transfer is None else f"{said}, {transfer.response_code}"
        case FirmwareVersionMismatch() as alert:
            device, smi = alert.firmware_version_device, alert.firmware_version_smi
            return f"the device runs {device}, the inventory said {smi or 'nothing'}"
        case UpdateHanDeviceLogResult() as alert:
            return f"result of {alert.request_id}"
        case DeviceStatusChangeEvent() as alert:
            return f"the meter's MPxN is {alert.import_mpxn}"
        case CommandFailure() as alert:
            return f"{alert.request_id} will not be carried out"
        case DspScheduleRemoval() as alert:
            return f"schedule {alert.schedule_id} is deleted"
        case FirmwareDistributionFailure() as alert:
            meters = ", ".join(f"{meter:016X}" for meter in alert.meters)
            return f"the image of {alert.update_firmware_request_id} was not taken by {meters}"
        case PpmidRemoval() as alert:
            return f"the PPMID is not in the log of {alert.chf:016X} any more"
        case DeviceLogRestored() as alert:
            return f"hub {alert.new_chf:016X} has the log of {alert.old_chf:016X}"
        case SecurityCredentialsUpdated() as alert:
            kinds = ", ".join(change.certificate_type for change in alert.certificates)
            return f"the device holds other certificates of {alert.remote_party_role}: {kinds}"
        case QuarantinedRequest() as alert:
            return f"{alert.request_id} waits: its volume is above the threshold"
        case Unread() as alert:
            return alert.element


def warning_words(response: Response) -> str:
    """The lists of a firmware warning with how many devices each has; empty without one."""
    message = response.message
    if not isinstance(message, ResponseMessage) or not isinstance(message.content, FirmwareWarning):
        return ""
    lists = message.content.lists()
    return ", ".join(f"{name}: {len(devices)}" for name, devices in lists.items())
