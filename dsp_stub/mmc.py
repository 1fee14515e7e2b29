"""The parsed form in which a user's own software hands on a GBCS response or alert: its ra:Body.

Source: MMC XSD V5.4, `GBCSResponse`: `ReadFirmwareVersionRsp`, `DeviceAlertContent`. The schema has
no form of its own for what 0x8F8B carries, so that the version stands in the description. Only the
body is made: what the header holds is an open point (docs/open-points.md, "MMC header").

    payload                        inside ra:Body
    -----------------------------  -----------------------------------------------------------------
    CS08, ECS52, GCS38 response    ResponseMessage/SMETSData/ReadFirmwareVersionRsp
    CS09 alert 0x8F8B              DeviceAlertMessage/DeviceAlertContent
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from dsp_stub.fields import code_to_xml, time_to_xml
from dsp_stub.safe_xml import RA, local_name
from gbcs.axdr import DlmsResult
from gbcs.codes import parse_payload
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError
from gbcs.firmware import ActivateImageResult, FirmwareActivation, FirmwareVersion, ReadResult
from gbcs.meter_versions import GasMeterVersion, MeterVersion


def parsed_view(octets: bytes) -> etree._Element | None:
    """The ra:Body of a GBCS message; None where it has no parsed form here."""
    try:
        frame = parse_frame(octets).frame
        payload = parse_payload(frame.message_code, frame.cra, frame.payload)
    except GbcsError:
        return None
    match payload:
        case FirmwareVersion(firmware_version=number, result=result):
            return _version(number if result is ReadResult.READ_SUCCESS else None)
        case MeterVersion(firmware_version=number, result=result):
            return _version(number if result is DlmsResult.SUCCESS else None)
        case GasMeterVersion(attribute=attribute):
            return _version(attribute.firmware_version)
        case FirmwareActivation() as activation:
            return _activation(activation)
    return None


def parsed_items(body: etree._Element) -> Iterator[tuple[str, str]]:
    """What a parsed form says, by the names of its attributes and elements."""
    for element in body.iter("*"):
        for name, text in element.attrib.items():
            yield f"{local_name(element)}@{name}", str(text)
        if len(element) == 0 and element.text is not None:
            yield local_name(element), element.text


def _version(number: int | None) -> etree._Element:
    body, smets_data = _body("ResponseMessage", "SMETSData")
    response = etree.SubElement(smets_data, f"{{{RA}}}ReadFirmwareVersionRsp")
    response.set("MessageSuccess", "false" if number is None else "true")
    if number is not None:
        _leaf(response, "FirmwareVersion", f"{number:08X}")
    return body


def _activation(activation: FirmwareActivation) -> etree._Element:
    body, content = _body("DeviceAlertMessage", "DeviceAlertContent")
    succeeded = activation.result is ActivateImageResult.ACTIVATION_SUCCESS
    outcome = "activated" if succeeded else "not activated"
    _leaf(content, "GBCSHexAlertCode", code_to_xml(activation.alert_code))
    description = f"Firmware {activation.firmware_version:08X} {outcome}"
    _leaf(content, "AlertDescription", description)
    _leaf(content, "Timestamp", time_to_xml(activation.execution_date_time))
    return body


def _body(outer: str, inner: str) -> tuple[etree._Element, etree._Element]:
    """A body with two elements one in the other, and the inner one."""
    body = etree.Element(f"{{{RA}}}Body", nsmap={"ra": RA})
    return body, etree.SubElement(etree.SubElement(body, f"{{{RA}}}{outer}"), f"{{{RA}}}{inner}")


def _leaf(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, f"{{{RA}}}{name}").text = text
