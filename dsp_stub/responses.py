"""DUIS responses and alerts: written as XML, read from XML.

Source: DUIS XSD V5.4, `Response`; MP170, annex B: PPMIDAlert under N39, PPMIDVariant in sr:Device.
Writing keeps to the schema of a profile; reading asks for what is needed and no more, since what
other implementations send differs from the schema in places.

    element of the body    class                 holds
    ---------------------  --------------------  ------------------------------------------------
    ResponseMessage        ResponseMessage       nothing, DspInventory, FirmwareWarning, GbcsPayload
    DeviceAlertMessage     DeviceAlertMessage    the alert of a device as it sent it
    DCCAlertMessage        DccAlertMessage       an alert of the DCC, one of six

A content or an alert that is none of these is read as `Unread`, and is never written.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from lxml import etree

from dsp_stub.errors import DspValueError
from dsp_stub.fields import (
    RequestId,
    code_from_xml,
    code_to_xml,
    eui64_to_xml,
    octets_from_xml,
    octets_to_xml,
    time_from_xml,
    time_to_xml,
)
from dsp_stub.response_messages import (
    ADDRESS_ITEMS,
    DEVICE_FIELDS,
    DEVICE_ITEMS,
    WARNING_LISTS,
    CommsHubAlert,
    Content,
    CspFirmwareDeliveryStatus,
    DccAlert,
    DccAlertMessage,
    DeviceAlertMessage,
    DspInventory,
    FirmwareTransferAlert,
    FirmwareUpgradeAlert,
    FirmwareVersionMismatch,
    FirmwareWarning,
    GbcsPayload,
    InventoryDevice,
    Message,
    PpmidAlert,
    QuarantinedRequest,
    Response,
    ResponseMessage,
    Unread,
    UpdateHanDeviceLogResult,
)
from dsp_stub.safe_xml import SR, child, children, local_name, token
from dsp_stub.schema import SchemaProfile
from dsp_stub.xml_reader import (
    optional_field,
    optional_text,
    read_as,
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

__all__ = [
    "CommsHubAlert",
    "Content",
    "CspFirmwareDeliveryStatus",
    "DccAlert",
    "DccAlertMessage",
    "DeviceAlertMessage",
    "DspInventory",
    "FirmwareTransferAlert",
    "FirmwareUpgradeAlert",
    "FirmwareVersionMismatch",
    "FirmwareWarning",
    "GbcsPayload",
    "InventoryDevice",
    "Message",
    "PpmidAlert",
    "QuarantinedRequest",
    "Response",
    "ResponseMessage",
    "Unread",
    "UpdateHanDeviceLogResult",
    "build_response",
    "parse_response",
]

# -- writing -----------------------------------------------------------------------------------


def build_response(response: Response, profile: SchemaProfile) -> bytes:
    """The response as XML without a signature. Raises DspValueError for what no schema allows.

    Under duis-5.4 the PPMIDVariant of a device is left out, for that profile has none.
    """
    writer = XmlWriter("Response", response.schema_version)
    with writer.inside("Header"):
        _write_request_id(writer, "RequestID", response.request_id)
        _write_request_id(writer, "ResponseID", response.response_id)
        writer.leaf("ResponseCode", response.response_code)
        writer.leaf("ResponseDateTime", time_to_xml(response.response_date_time))
    with writer.inside("Body"):
        match response.message:
            case ResponseMessage() as message:
                with writer.inside("ResponseMessage"):
                    writer.leaf("ServiceReference", message.service_reference)
                    writer.leaf("ServiceReferenceVariant", message.service_reference_variant)
                    _write_content(writer, message.content, profile)
            case DeviceAlertMessage() as message:
                with writer.inside("DeviceAlertMessage"):
                    writer.leaf("AlertCode", code_to_xml(message.alert_code))
                    writer.leaf("GBCSPayload", octets_to_xml(message.gbcs_payload))
            case DccAlertMessage() as message:
                with writer.inside("DCCAlertMessage"):
                    writer.leaf("DCCAlertCode", message.dcc_alert_code)
                    with writer.inside("DCCAlert"):
                        _write_alert(writer, message.alert)
    return writer.octets(profile)


def _write_request_id(writer: XmlWriter, name: str, request_id: RequestId | None) -> None:
    writer.optional(name, None if request_id is None else str(request_id))


def _write_time(writer: XmlWriter, name: str, moment: datetime | None) -> None:
    writer.optional(name, None if moment is None else time_to_xml(moment))


def _write_content(writer: XmlWriter, content: Content | None, profile: SchemaProfile) -> None:
    match content:
        case None:
            return
        case DspInventory():
            with writer.inside("DSPInventory"):
                for device in content.devices:
                    _write_device(writer, device, profile)
        case FirmwareWarning():
            with writer.inside("DSPUpdatePPMIDFirmwareWarning"):
                for name, devices in content.lists().items():
                    writer.leaf(name, ",".join(map(eui64_to_xml, devices)))
        case GbcsPayload():
            writer.leaf("GBCSPayload", octets_to_xml(content.octets))
        case Unread():
            raise DspValueError(f"a {content.element} is not written")


def _write_device(writer: XmlWriter, device: InventoryDevice, profile: SchemaProfile) -> None:
    with writer.inside("Device"):
        writer.leaf("DeviceID", eui64_to_xml(device.device_id))
        for name in DEVICE_ITEMS[1:]:
            if name == ADDRESS_ITEMS[0]:
                writer.address(device.post_code, device.address_identifier)
            elif name != ADDRESS_ITEMS[1] and (
                name != "PPMIDVariant" or profile is not SchemaProfile.DUIS_5_4
            ):
                writer.optional(name, getattr(device, DEVICE_FIELDS[name]))


def _write_alert(writer: XmlWriter, alert: DccAlert) -> None:
    match alert:
        case PpmidAlert():
            with writer.inside("PPMIDAlert"):
                writer.leaf("DeviceID", eui64_to_xml(alert.device_id))
                writer.leaf("DeviceAlertCode", code_to_xml(alert.device_alert_code))
                _write_time(writer, "Timestamp", alert.timestamp)
                if alert.firmware_upgrade is not None:
                    with writer.inside("PPMIDFirmwareUpgradeAlert"):
                        writer.leaf("FirmwareVersion", alert.firmware_upgrade.firmware_version)
                        succeeded = alert.firmware_upgrade.succeeded
                        result = "ActivationSuccess" if succeeded else "ActivationFailure"
                        writer.leaf("ActivateImageResultCode", result)
        case CspFirmwareDeliveryStatus():
            with writer.inside("CSPFirmwareDeliveryStatus"):
                writer.leaf("UpdateFirmwareRequestID", str(alert.update_firmware_request_id))
                writer.leaf("CommsHubDeviceID", eui64_to_xml(alert.comms_hub_device_id))
                writer.leaf("TargetDeviceID", eui64_to_xml(alert.target_device_id))
                writer.leaf("FirmwareVersion", alert.firmware_version)
                _write_time(writer, "TimeStamp", alert.time_stamp)
                status = "Success" if alert.succeeded else "Failure"
                writer.leaf("CommsHubTransferStatus", status)
        case CommsHubAlert():
            with writer.inside("CommsHubAlert"):
                writer.leaf("CommsHubDeviceID", eui64_to_xml(alert.comms_hub_device_id))
                writer.leaf("AlertCode", code_to_xml(alert.alert_code))
                _write_time(writer, "TimeStamp", alert.time_stamp)
                if alert.firmware_transfer is not None:
                    _write_transfer(writer, alert.firmware_transfer)
        case FirmwareVersionMismatch():
            with writer.inside("FirmwareVersionMismatch"):
                writer.leaf("DeviceID", eui64_to_xml(alert.device_id))
                writer.leaf("DeviceType", alert.device_type)
                writer.leaf("FirmwareVersionSMI", alert.firmware_version_smi)
                writer.leaf("FirmwareVersionDevice", alert.firmware_version_device)
        case UpdateHanDeviceLogResult():
            with writer.inside("UpdateHANDeviceLogResult"):
                writer.leaf("UpdateHANDeviceLogServiceRequestID", str(alert.request_id))
        case QuarantinedRequest():
            with writer.inside("QuarantinedRequest"), writer.inside("ADUser"):
                writer.leaf("QuarantinedRequestID", str(alert.request_id))
        case Unread():
            raise DspValueError(f"a {alert.element} is not written")


def _write_transfer(writer: XmlWriter, transfer: FirmwareTransferAlert) -> None:
    with writer.inside("FirmwareTransferAlert"):
        request_id = transfer.update_firmware_request_id
        _write_request_id(writer, "UpdateFirmwareRequestID", request_id)
        writer.leaf("OtherDeviceID", eui64_to_xml(transfer.device_id))
        writer.leaf("FirmwareVersion", transfer.firmware_version)
        writer.leaf("TransferResponseCode", transfer.response_code)


# -- reading -----------------------------------------------------------------------------------


def parse_response(root: etree._Element) -> Response:
    """Read one response or alert, its signature apart. Raises DuisError."""
    if root.tag != f"{{{SR}}}Response":
        raise refused(root, "is not a Response")
    header = require(root, "Header")
    body = require(root, "Body")
    return Response(
        request_id=optional_field(header, "RequestID", RequestId.parse),
        response_id=optional_field(header, "ResponseID", RequestId.parse),
        response_code=_code(header),
        response_date_time=read_field(header, "ResponseDateTime", time_from_xml),
        message=_read_message(body),
        schema_version=(root.get("schemaVersion") or "").strip(" \t\r\n"),
    )


def _code(header: etree._Element) -> str:
    element = require(header, "ResponseCode")
    code = token(element)
    if code[:1] not in ("I", "W", "E") or not code[1:].isdecimal():
        raise refused(element, "is no response code such as I99")
    return code


def _read_message(body: etree._Element) -> Message:
    element = next(children(body), None)
    name = None if element is None else local_name(element)
    match name:
        case "ResponseMessage":
            return ResponseMessage(
                read_text(element, "ServiceReference"),
                read_text(element, "ServiceReferenceVariant"),
                _read_content(element),
            )
        case "DeviceAlertMessage":
            return DeviceAlertMessage(
                read_field(element, "AlertCode", code_from_xml), read_octets(element, "GBCSPayload")
            )
        case "DCCAlertMessage":
            alerts = list(children(require(element, "DCCAlert")))
            if len(alerts) != 1:
                raise refused(element, f"has {len(alerts)} alerts, not one")
            reader = _ALERTS.get(local_name(alerts[0]))
            alert = Unread(local_name(alerts[0])) if reader is None else reader(alerts[0])
            return DccAlertMessage(read_text(element, "DCCAlertCode"), alert)
        case None:
            raise refused(body, "is empty")
        case _:
            raise refused(element, "is no message that is read here")


def _read_content(message: etree._Element) -> Content | None:
    contents = [
        element
        for element in children(message)
        if local_name(element) not in ("ServiceReference", "ServiceReferenceVariant")
    ]
    if not contents:
        return None
    element = contents[0]
    match local_name(element):
        case "DSPInventory":
            devices = (one for one in children(element) if local_name(one) == "Device")
            return DspInventory(tuple(map(_read_device, devices)))
        case "DSPUpdatePPMIDFirmwareWarning":
            return FirmwareWarning(
                **{field: _devices(element, name) for name, field in WARNING_LISTS.items()}
            )
        case "GBCSPayload":
            return GbcsPayload(read_as(element, octets_from_xml))
        case name:
            return Unread(name)


def _read_device(element: etree._Element) -> InventoryDevice:
    values: dict[str, object] = {"device_id": read_eui64(element, "DeviceID")}
    for name in ("DeviceType", "DeviceManufacturer", "DeviceModel"):
        values[DEVICE_FIELDS[name]] = read_text(element, name)
    address = child(element, "PropertyFilter")
    for name, field in DEVICE_FIELDS.items():
        if field not in values:
            values[field] = optional_text(address if name in ADDRESS_ITEMS else element, name)
    return InventoryDevice(**values)  # type: ignore[arg-type]


def _devices(element: etree._Element, name: str) -> tuple[int, ...]:
    return () if not optional_text(element, name) else read_field(element, name, read_devices)


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


def _read_delivery_status(element: etree._Element) -> CspFirmwareDeliveryStatus:
    return CspFirmwareDeliveryStatus(
        read_request_id(element, "UpdateFirmwareRequestID"),
        read_eui64(element, "CommsHubDeviceID"),
        read_eui64(element, "TargetDeviceID"),
        read_text(element, "FirmwareVersion"),
        read_field(element, "TimeStamp", time_from_xml),
        _either(element, "CommsHubTransferStatus", "Success", "Failure"),
    )


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


def _read_mismatch(element: etree._Element) -> FirmwareVersionMismatch:
    return FirmwareVersionMismatch(
        read_eui64(element, "DeviceID"),
        read_text(element, "DeviceType"),
        read_text(element, "FirmwareVersionSMI"),
        read_text(element, "FirmwareVersionDevice"),
    )


def _read_log_result(element: etree._Element) -> UpdateHanDeviceLogResult:
    name = "UpdateHANDeviceLogServiceRequestID"
    return UpdateHanDeviceLogResult(read_request_id(element, name))


def _read_quarantined(element: etree._Element) -> QuarantinedRequest:
    breach = require(element, "ADUser")
    return QuarantinedRequest(read_request_id(breach, "QuarantinedRequestID"))


_ALERTS: dict[str, Callable[[etree._Element], DccAlert]] = {
    "PPMIDAlert": _read_ppmid_alert,
    "CSPFirmwareDeliveryStatus": _read_delivery_status,
    "CommsHubAlert": _read_comms_hub_alert,
    "FirmwareVersionMismatch": _read_mismatch,
    "UpdateHANDeviceLogResult": _read_log_result,
    "QuarantinedRequest": _read_quarantined,
}


def _either(parent: etree._Element, name: str, yes: str, no: str) -> bool:
    element = require(parent, name)
    if (text := token(element)) not in (yes, no):
        raise refused(element, f"is neither {yes} nor {no}")
    return text == yes
