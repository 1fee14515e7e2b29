"""DCC alerts in XML: what each element holds, how it is read and written.

Source: DUIS XSD V5.4, `DCCAlert`; MP170, annex B: PPMIDAlert under N39.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lxml import etree

from dsp_stub.fields import (
    RequestId,
    code_from_xml,
    code_to_xml,
    eui64_to_xml,
    octets_to_xml,
    time_from_xml,
    time_to_xml,
)
from dsp_stub.inventory_alerts import (
    CommandFailure,
    DeviceStatusChangeEvent,
    DspScheduleRemoval,
    read_command_failure,
    read_schedule_removal,
    read_status_change,
    write_command_failure,
    write_schedule_removal,
    write_status_change,
)
from dsp_stub.response_messages import (
    CertificateChange,
    CommsHubAlert,
    CspFirmwareDeliveryStatus,
    DccAlert,
    DeviceLogRestored,
    FirmwareDistributionFailure,
    FirmwareTransferAlert,
    FirmwareUpgradeAlert,
    FirmwareVersionMismatch,
    PpmidAlert,
    PpmidRemoval,
    QuarantinedRequest,
    SecurityCredentialsUpdated,
    Unread,
    UpdateHanDeviceLogResult,
)
from dsp_stub.safe_xml import child, children, local_name, token
from dsp_stub.xml_reader import (
    optional_field,
    optional_text,
    read_devices,
    read_eui64,
    read_field,
    read_octets,
    read_request_id,
    read_text,
    refused,
    require,
)
from dsp_stub.xml_writer import XmlWriter


@dataclass(frozen=True, slots=True)
class AlertXml:
    """One kind of alert. `write` puts in what is inside the element."""

    element: str
    kind: type[Any]
    read: Callable[[etree._Element], Any]
    write: Callable[[XmlWriter, Any], None]


# -- firmware ----------------------------------------------------------------------------------


def _write_time(writer: XmlWriter, name: str, moment: datetime | None) -> None:
    writer.optional(name, None if moment is None else time_to_xml(moment))


def _either(parent: etree._Element, name: str, yes: str, no: str) -> bool:
    element = require(parent, name)
    if (text := token(element)) not in (yes, no):
        raise refused(element, f"is neither {yes} nor {no}")
    return text == yes


def _read_ppmid_alert(element: etree._Element) -> PpmidAlert:
    upgrade = child(element, "PPMIDFirmwareUpgradeAlert")
    return PpmidAlert(
        read_eui64(element, "DeviceID"),
        read_field(element, "DeviceAlertCode", code_from_xml),
        optional_field(element, "Timestamp", time_from_xml),
        None
        if upgrade is None
        else FirmwareUpgradeAlert(
            read_text(upgrade, "FirmwareVersion"),
            _either(upgrade, "ActivateImageResultCode", "ActivationSuccess", "ActivationFailure"),
        ),
    )


def _write_ppmid_alert(writer: XmlWriter, alert: PpmidAlert) -> None:
    writer.leaf("DeviceID", eui64_to_xml(alert.device_id))
    writer.leaf("DeviceAlertCode", code_to_xml(alert.device_alert_code))
    _write_time(writer, "Timestamp", alert.timestamp)
    if alert.firmware_upgrade is not None:
        with writer.inside("PPMIDFirmwareUpgradeAlert"):
            writer.leaf("FirmwareVersion", alert.firmware_upgrade.firmware_version)
            succeeded = alert.firmware_upgrade.succeeded
            result = "ActivationSuccess" if succeeded else "ActivationFailure"
            writer.leaf("ActivateImageResultCode", result)


def _read_delivery_status(element: etree._Element) -> CspFirmwareDeliveryStatus:
    return CspFirmwareDeliveryStatus(
        read_request_id(element, "UpdateFirmwareRequestID"),
        read_eui64(element, "CommsHubDeviceID"),
        read_eui64(element, "TargetDeviceID"),
        read_text(element, "FirmwareVersion"),
        read_field(element, "TimeStamp", time_from_xml),
        _either(element, "CommsHubTransferStatus", "Success", "Failure"),
    )


def _write_delivery_status(writer: XmlWriter, alert: CspFirmwareDeliveryStatus) -> None:
    writer.leaf("UpdateFirmwareRequestID", str(alert.update_firmware_request_id))
    writer.leaf("CommsHubDeviceID", eui64_to_xml(alert.comms_hub_device_id))
    writer.leaf("TargetDeviceID", eui64_to_xml(alert.target_device_id))
    writer.leaf("FirmwareVersion", alert.firmware_version)
    _write_time(writer, "TimeStamp", alert.time_stamp)
    writer.leaf("CommsHubTransferStatus", "Success" if alert.succeeded else "Failure")


def _read_comms_hub_alert(element: etree._Element) -> CommsHubAlert:
    transfer = child(element, "FirmwareTransferAlert")
    return CommsHubAlert(
        read_eui64(element, "CommsHubDeviceID"),
        read_field(element, "AlertCode", code_from_xml),
        optional_field(element, "TimeStamp", time_from_xml),
        None
        if transfer is None
        else FirmwareTransferAlert(
            optional_field(transfer, "UpdateFirmwareRequestID", RequestId.parse),
            read_eui64(transfer, "OtherDeviceID"),
            read_text(transfer, "FirmwareVersion"),
            read_text(transfer, "TransferResponseCode"),
        ),
    )


def _write_comms_hub_alert(writer: XmlWriter, alert: CommsHubAlert) -> None:
    writer.leaf("CommsHubDeviceID", eui64_to_xml(alert.comms_hub_device_id))
    writer.leaf("AlertCode", code_to_xml(alert.alert_code))
    _write_time(writer, "TimeStamp", alert.time_stamp)
    transfer = alert.firmware_transfer
    if transfer is None:
        return
    with writer.inside("FirmwareTransferAlert"):
        request_id = transfer.update_firmware_request_id
        writer.optional("UpdateFirmwareRequestID", None if request_id is None else str(request_id))
        writer.leaf("OtherDeviceID", eui64_to_xml(transfer.device_id))
        writer.leaf("FirmwareVersion", transfer.firmware_version)
        writer.leaf("TransferResponseCode", transfer.response_code)


def _read_mismatch(element: etree._Element) -> FirmwareVersionMismatch:
    return FirmwareVersionMismatch(
        read_eui64(element, "DeviceID"),
        read_text(element, "DeviceType"),
        read_text(element, "FirmwareVersionSMI"),
        read_text(element, "FirmwareVersionDevice"),
    )


def _write_mismatch(writer: XmlWriter, alert: FirmwareVersionMismatch) -> None:
    writer.leaf("DeviceID", eui64_to_xml(alert.device_id))
    writer.leaf("DeviceType", alert.device_type)
    writer.leaf("FirmwareVersionSMI", alert.firmware_version_smi)
    writer.leaf("FirmwareVersionDevice", alert.firmware_version_device)


def _read_distribution_failure(element: etree._Element) -> FirmwareDistributionFailure:
    return FirmwareDistributionFailure(
        read_request_id(element, "UpdateFirmwareRequestID"),
        read_field(element, "MeterIDs", read_devices),
    )


def _write_distribution_failure(writer: XmlWriter, alert: FirmwareDistributionFailure) -> None:
    writer.leaf("UpdateFirmwareRequestID", str(alert.update_firmware_request_id))
    writer.leaf("MeterIDs", ",".join(map(eui64_to_xml, alert.meters)))


# -- device logs -------------------------------------------------------------------------------


def _read_log_result(element: etree._Element) -> UpdateHanDeviceLogResult:
    name = "UpdateHANDeviceLogServiceRequestID"
    return UpdateHanDeviceLogResult(read_request_id(element, name))


def _write_log_result(writer: XmlWriter, alert: UpdateHanDeviceLogResult) -> None:
    writer.leaf("UpdateHANDeviceLogServiceRequestID", str(alert.request_id))


def _read_removal(element: etree._Element) -> PpmidRemoval:
    return PpmidRemoval(read_eui64(element, "PPMIDDeviceID"), read_eui64(element, "CHFDeviceID"))


def _write_removal(writer: XmlWriter, alert: PpmidRemoval) -> None:
    writer.leaf("PPMIDDeviceID", eui64_to_xml(alert.ppmid))
    writer.leaf("CHFDeviceID", eui64_to_xml(alert.chf))


_LOG_ITEMS = ("OldCHFDeviceID", "NewCHFDeviceID", "OldGPFDeviceID", "NewGPFDeviceID")


def _read_restored(element: etree._Element) -> DeviceLogRestored:
    log = require(element, "CHFDeviceLog")
    ids = [read_eui64(log, name) for name in _LOG_ITEMS]
    return DeviceLogRestored(read_text(element, "RestoredDate"), *ids)


def _write_restored(writer: XmlWriter, alert: DeviceLogRestored) -> None:
    writer.leaf("RestoredDate", alert.restored_date)
    ids = (alert.old_chf, alert.new_chf, alert.old_gpf, alert.new_gpf)
    with writer.inside("CHFDeviceLog"):
        for name, eui64 in zip(_LOG_ITEMS, ids, strict=True):
            writer.leaf(name, eui64_to_xml(eui64))


# -- credentials -------------------------------------------------------------------------------


def _read_credentials(element: etree._Element) -> SecurityCredentialsUpdated:
    change = child(element, "RemotePartySeqNumberChange")
    floors = [
        optional_text(change, name)
        for name in ("RemotePartyFloorSeqNumber", "RemotePartyPrepaymentTopUpFloorSeqNumber")
    ]
    return SecurityCredentialsUpdated(
        read_eui64(element, "DeviceID"),
        read_text(element, "RemotePartyRole"),
        tuple(
            CertificateChange(
                read_text(one, "CertificateType"), read_octets(one, "CertificateHash")
            )
            for one in children(element)
            if local_name(one) == "Certificates"
        ),
        *floors,
    )


def _write_credentials(writer: XmlWriter, alert: SecurityCredentialsUpdated) -> None:
    writer.leaf("DeviceID", eui64_to_xml(alert.device_id))
    writer.leaf("RemotePartyRole", alert.remote_party_role)
    if alert.floor is not None:
        with writer.inside("RemotePartySeqNumberChange"):
            writer.leaf("RemotePartyFloorSeqNumber", alert.floor)
            writer.optional("RemotePartyPrepaymentTopUpFloorSeqNumber", alert.top_up_floor)
    for change in alert.certificates:
        with writer.inside("Certificates"):
            writer.leaf("CertificateType", change.certificate_type)
            writer.leaf("CertificateHash", octets_to_xml(change.sha1))


# -- the inventory -----------------------------------------------------------------------------


def _read_status_change(element: etree._Element) -> DeviceStatusChangeEvent | Unread:
    """Only the change of a meter's metering points is ours; others have theirs."""
    change = child(element, "DeviceStatusChange")
    if change is None or child(change, "MeterIdentity") is None:
        return Unread("DeviceStatusChangeEvent")
    return read_status_change(element)


# -- anomaly detection -------------------------------------------------------------------------


def _read_quarantined(element: etree._Element) -> QuarantinedRequest:
    breach = require(element, "ADUser")
    return QuarantinedRequest(read_request_id(breach, "QuarantinedRequestID"))


def _write_quarantined(writer: XmlWriter, alert: QuarantinedRequest) -> None:
    with writer.inside("ADUser"):
        writer.leaf("QuarantinedRequestID", str(alert.request_id))


# -- all of them -------------------------------------------------------------------------------

_ROWS = (
    AlertXml("PPMIDAlert", PpmidAlert, _read_ppmid_alert, _write_ppmid_alert),
    AlertXml(
        "CSPFirmwareDeliveryStatus",
        CspFirmwareDeliveryStatus,
        _read_delivery_status,
        _write_delivery_status,
    ),
    AlertXml("CommsHubAlert", CommsHubAlert, _read_comms_hub_alert, _write_comms_hub_alert),
    AlertXml("FirmwareVersionMismatch", FirmwareVersionMismatch, _read_mismatch, _write_mismatch),
    AlertXml(
        "FirmwareDistributionFailure",
        FirmwareDistributionFailure,
        _read_distribution_failure,
        _write_distribution_failure,
    ),
    AlertXml(
        "UpdateHANDeviceLogResult", UpdateHanDeviceLogResult, _read_log_result, _write_log_result
    ),
    AlertXml("PPMIDRemoval", PpmidRemoval, _read_removal, _write_removal),
    AlertXml("DeviceLogRestored", DeviceLogRestored, _read_restored, _write_restored),
    AlertXml(
        "SecurityCredentialsUpdated",
        SecurityCredentialsUpdated,
        _read_credentials,
        _write_credentials,
    ),
    AlertXml(
        "DeviceStatusChangeEvent",
        DeviceStatusChangeEvent,
        _read_status_change,
        write_status_change,
    ),
    AlertXml("CommandFailure", CommandFailure, read_command_failure, write_command_failure),
    AlertXml(
        "DSPScheduleRemoval", DspScheduleRemoval, read_schedule_removal, write_schedule_removal
    ),
    AlertXml("QuarantinedRequest", QuarantinedRequest, _read_quarantined, _write_quarantined),
)
ALERTS: dict[type[DccAlert], AlertXml] = {row.kind: row for row in _ROWS}
ALERT_ELEMENTS = {row.element: row for row in _ROWS}
