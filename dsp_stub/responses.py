"""DUIS responses and alerts: written as XML, read from XML.

Source: DUIS XSD V5.4, `Response`; MP170, annex B: PPMIDAlert under N39, PPMIDVariant in sr:Device.
Writing keeps to the schema of a profile; reading asks for what is needed and no more, since what
other implementations send differs from the schema in places.

    element of the body    class                 holds
    ---------------------  --------------------  ------------------------------------------------
    ResponseMessage        ResponseMessage       nothing, or one of the classes of `Content`
    DeviceAlertMessage     DeviceAlertMessage    the alert of a device as it sent it
    DCCAlertMessage        DccAlertMessage       an alert of the DCC (dsp_stub.dcc_alerts)

A content or an alert that is none of these is read as `Unread`, and is never written.
"""

from __future__ import annotations

from lxml import etree

from dsp_stub.dcc_alerts import ALERT_ELEMENTS, ALERTS
from dsp_stub.errors import DspValueError
from dsp_stub.fields import (
    RequestId,
    code_from_xml,
    code_to_xml,
    eui64_to_xml,
    number_from_xml,
    octets_from_xml,
    octets_to_xml,
    time_from_xml,
    time_to_xml,
)
from dsp_stub.inventory_alerts import (
    CommandFailure,
    DeviceStatusChangeEvent,
    DspScheduleRemoval,
)
from dsp_stub.response_messages import (
    ADDRESS_ITEMS,
    DEVICE_FIELDS,
    DEVICE_ITEMS,
    WARNING_LISTS,
    CertificateChange,
    CommsHubAlert,
    Content,
    CspFirmwareDeliveryStatus,
    DccAlert,
    DccAlertMessage,
    DeviceAlertMessage,
    DeviceLogRestored,
    DspInventory,
    FirmwareDistributionFailure,
    FirmwareTransferAlert,
    FirmwareUpgradeAlert,
    FirmwareVersionMismatch,
    FirmwareWarning,
    FutureDatedDeviceAlert,
    GbcsPayload,
    InventoryDevice,
    LocalCommand,
    Message,
    MeterFirmwareWarning,
    PpmidAlert,
    PpmidRemoval,
    PreCommand,
    QuarantinedRequest,
    Response,
    ResponseMessage,
    SecurityCredentialsUpdated,
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
    read_text,
    refused,
    require,
)
from dsp_stub.xml_writer import XmlWriter

__all__ = [
    "CertificateChange",
    "CommandFailure",
    "CommsHubAlert",
    "Content",
    "CspFirmwareDeliveryStatus",
    "DccAlert",
    "DccAlertMessage",
    "DeviceAlertMessage",
    "DeviceLogRestored",
    "DeviceStatusChangeEvent",
    "DspInventory",
    "DspScheduleRemoval",
    "FirmwareDistributionFailure",
    "FirmwareTransferAlert",
    "FirmwareUpgradeAlert",
    "FirmwareVersionMismatch",
    "FirmwareWarning",
    "FutureDatedDeviceAlert",
    "GbcsPayload",
    "InventoryDevice",
    "LocalCommand",
    "Message",
    "MeterFirmwareWarning",
    "PpmidAlert",
    "PpmidRemoval",
    "PreCommand",
    "QuarantinedRequest",
    "Response",
    "ResponseMessage",
    "SecurityCredentialsUpdated",
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


def _write_content(writer: XmlWriter, content: Content | None, profile: SchemaProfile) -> None:
    match content:
        case None:
            return
        case DspInventory():
            with writer.inside("DSPInventory"):
                for device in content.devices:
                    _write_device(writer, device, profile)
        case FirmwareWarning():
            with writer.inside(content.element):
                for name, devices in content.lists().items():
                    writer.leaf(name, ",".join(map(eui64_to_xml, devices)))
        case GbcsPayload():
            writer.leaf("GBCSPayload", octets_to_xml(content.octets))
        case LocalCommand():
            with writer.inside("LocalCommand"):
                writer.leaf("GBCSPayload", octets_to_xml(content.octets))
        case PreCommand():
            with writer.inside("PreCommand"):
                writer.leaf("GBCSVersion", content.gbcs_version)
                writer.leaf("GBCSPayload", octets_to_xml(content.octets))
        case FutureDatedDeviceAlert():
            with writer.inside("FutureDatedDeviceAlertMessage"):
                writer.leaf("FutureDatedAlertCode", code_to_xml(content.alert_code))
                writer.leaf("GBCSPayload", octets_to_xml(content.octets))
                writer.leaf("InstructionNumber", str(content.instruction_number))
                writer.leaf("TotalCommandInstructions", str(content.total_instructions))
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
    if isinstance(alert, Unread):
        raise DspValueError(f"a {alert.element} is not written")
    xml = ALERTS[type(alert)]
    with writer.inside(xml.element):
        xml.write(writer, alert)


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
            xml = ALERT_ELEMENTS.get(local_name(alerts[0]))
            alert = Unread(local_name(alerts[0])) if xml is None else xml.read(alerts[0])
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
        case "DSPUpdatePPMIDFirmwareWarning" | "DSPUpdateFirmwareWarning" as name:
            kind = FirmwareWarning if name == FirmwareWarning.element else MeterFirmwareWarning
            return kind(**{field: _devices(element, one) for one, field in WARNING_LISTS.items()})
        case "GBCSPayload":
            return GbcsPayload(read_as(element, octets_from_xml))
        case "LocalCommand":
            return LocalCommand(read_octets(element, "GBCSPayload"))
        case "PreCommand":
            octets = read_octets(element, "GBCSPayload")
            return PreCommand(read_text(element, "GBCSVersion"), octets)
        case "FutureDatedDeviceAlertMessage":
            return FutureDatedDeviceAlert(
                read_field(element, "FutureDatedAlertCode", code_from_xml),
                read_octets(element, "GBCSPayload"),
                read_field(element, "InstructionNumber", number_from_xml),
                read_field(element, "TotalCommandInstructions", number_from_xml),
            )
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
