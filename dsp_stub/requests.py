"""DUIS requests: read from XML, written as XML.

Source: DUIS XSD V5.4, service requests 8.2, 8.11, 11.2, 11.4 and 12.2; MP170, annex B, for
PPMIDVariant.

    service   element                  class
    --------  -----------------------  ----------------------
    8.2       ReadInventory            ReadInventory
    8.11      UpdateHANDeviceLog       UpdateHanDeviceLog
    11.2      ReadFirmwareVersion      ReadFirmwareVersion
    11.4      UpdatePPMIDFirmware      UpdatePpmidFirmware
    12.2      DevicePrenotification    DevicePrenotification

The schema is asked first: what is read after that has the form the schema says, and only what a
schema cannot say is checked here. No `repr` shows an install code or an image.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from lxml import etree

from dsp_stub.errors import DspValueError, DuisError, SchemaError
from dsp_stub.fields import RequestId, eui64_from_xml, eui64_to_xml, octets_to_xml
from dsp_stub.safe_xml import SR, child, children, local_name, shorten, token
from dsp_stub.schema import SchemaProfile, validate
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

__all__ = [
    "Body",
    "DevicePrenotification",
    "ReadFirmwareVersion",
    "ReadInventory",
    "Request",
    "RequestId",
    "UpdateHanDeviceLog",
    "UpdatePpmidFirmware",
    "build_request",
    "parse_request",
    "peek_header",
    "service_path",
    "variant_path",
]

SCHEMA_VERSION = "5.4"
MAX_DEVICES = 50_000
TRANSFORM_VARIANT = 4
DCC_ONLY_VARIANT = 8
# Local delivery hands the command back and sends nothing.
_NON_DEVICE_VARIANTS = (2, 6, DCC_ONLY_VARIANT)

SEND_COMMAND_PATH = "/api/v1/serviceS"
NON_DEVICE_PATH = "/api/v1/serviceD"
TRANSFORM_PATH = "/api/v1/serviceT"

_SERVICE = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,2}){1,2}", re.ASCII)


# -- what a request asks for -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UpdatePpmidFirmware:
    """11.4: one image for PPMIDs; `firmware_version` as written, in 1 to 8 characters."""

    firmware_image: bytes = field(repr=False)
    firmware_version: str
    devices: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.devices) <= MAX_DEVICES:
            raise DspValueError(f"an 11.4 names 1 to {MAX_DEVICES} devices")
        if len(set(self.devices)) != len(self.devices):
            raise DspValueError("an 11.4 names each device once")


@dataclass(frozen=True, slots=True)
class ReadFirmwareVersion:
    """11.2: what does the target of the RequestID run."""

    execution_date_time: str | None = None


@dataclass(frozen=True, slots=True)
class DevicePrenotification:
    """12.2: a device is announced."""

    device_id: int
    manufacturer: str
    model: str
    device_type: str
    smets_chts_version: str | None = None
    firmware_version: str | None = None
    esme_variant: str | None = None
    associated_gpf: int | None = None
    ppmid_variant: str | None = None


@dataclass(frozen=True, slots=True)
class ReadInventory:
    """8.2: the devices of the premises that exactly one of these names; the address is two."""

    uprn: str | None = None
    device_id: int | None = None
    mpxn: str | None = None
    post_code: str | None = None
    address_identifier: str | None = None

    def __post_init__(self) -> None:
        if (self.post_code is None) is not (self.address_identifier is None):
            raise DspValueError("an 8.2 names post code and address identifier together")
        ways = (self.uprn, self.device_id, self.mpxn, self.post_code)
        if sum(way is not None for way in ways) != 1:
            raise DspValueError("an 8.2 names premises in exactly one way")


@dataclass(frozen=True, slots=True)
class UpdateHanDeviceLog:
    """8.11: the CHF that is the target is to let a device in, or to strike it off.

    `install_code` has 6 to 16 octets, without its CRC. It and `join_time_period_s` go together, and
    the metering points only with them.
    """

    device_id: int
    request_type: Literal["Add", "Remove"]
    join_time_period_s: int | None = None
    install_code: bytes | None = field(default=None, repr=False)
    import_mpxn: str | None = None
    secondary_import_mpan: str | None = None
    export_mpan: str | None = None
    execution_date_time: str | None = None

    def __post_init__(self) -> None:
        if (self.join_time_period_s is None) is not (self.install_code is None):
            raise DspValueError("an 8.11 has join time period and install code together")
        mpxns = (self.import_mpxn, self.secondary_import_mpan, self.export_mpan)
        if self.install_code is None and any(mpxn is not None for mpxn in mpxns):
            raise DspValueError("an 8.11 has metering points only beside an install code")


Body = (
    UpdatePpmidFirmware
    | ReadFirmwareVersion
    | DevicePrenotification
    | ReadInventory
    | UpdateHanDeviceLog
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. The last two fields are of requests that are to run one after the other."""

    request_id: RequestId
    command_variant: int
    service_reference: str
    service_reference_variant: str
    body: Body
    schema_version: str = SCHEMA_VERSION
    first_in_sequence: bool | None = None
    preceding_request_id: RequestId | None = None


def service_path(request: Request) -> str:
    """The web service a request is posted to: commands for devices, or the DCC's own services."""
    return variant_path(request.command_variant)


def variant_path(command_variant: int) -> str:
    """The web service that requests of a command variant are posted to."""
    if command_variant in _NON_DEVICE_VARIANTS:
        return NON_DEVICE_PATH
    return TRANSFORM_PATH if command_variant == TRANSFORM_VARIANT else SEND_COMMAND_PATH


# -- reading -----------------------------------------------------------------------------------


def parse_request(root: etree._Element, profile: SchemaProfile, xsd: Path | None = None) -> Request:
    """Read one request that the schema allows. Raises SchemaError."""
    validate(root, profile, xsd)
    if root.tag != f"{{{SR}}}Request":
        raise refused(root, "is not a Request")
    try:
        return _read_request(root)
    except SchemaError:
        raise
    except (DuisError, ValueError) as error:
        # A form that a schema of the user's lets through, or a number of more than 64 bits.
        problem = f"cannot be read: {shorten(str(error), 200)}"
        raise refused(root, problem) from None


def _read_request(root: etree._Element) -> Request:
    header = require(root, "Header")
    element = next(children(require(root, "Body")), None)
    if element is None:
        raise refused(root, "has no body")
    service = _SERVICES.get(local_name(element))
    reference_element = require(header, "ServiceReference")
    reference = token(reference_element)
    variant_element = require(header, "ServiceReferenceVariant")
    if service is None:
        raise refused(element, "is no request this DSP knows")
    for each in (reference_element, variant_element):
        if token(each) != service.reference:
            problem = f"is {shorten(token(each))}, {local_name(element)} is {service.reference}"
            raise refused(each, problem)
    first = optional_text(header, "FirstInSequence")
    return Request(
        request_id=read_request_id(header, "RequestID"),
        command_variant=int(read_text(header, "CommandVariant")),
        service_reference=reference,
        service_reference_variant=token(variant_element),
        body=service.read(element),
        schema_version=(root.get("schemaVersion") or "").strip(" \t\r\n"),
        first_in_sequence=None if first is None else first in ("true", "1"),
        preceding_request_id=optional_field(header, "PrecedingServiceRequestID", RequestId.parse),
    )


def _read_update(element: etree._Element) -> UpdatePpmidFirmware:
    devices = read_field(element, "DeviceIDList", read_devices)
    if len(set(devices)) != len(devices):
        twice = next(device for device, times in Counter(devices).items() if times > 1)
        raise refused(require(element, "DeviceIDList"), f"has {eui64_to_xml(twice)} twice")
    return UpdatePpmidFirmware(
        read_octets(element, "FirmwareImage"), read_text(element, "FirmwareVersion"), devices
    )


def _read_read_version(element: etree._Element) -> ReadFirmwareVersion:
    return ReadFirmwareVersion(optional_text(element, "ExecutionDateTime"))


def _read_prenotification(element: etree._Element) -> DevicePrenotification:
    return DevicePrenotification(
        device_id=read_eui64(element, "DeviceID"),
        manufacturer=read_text(element, "DeviceManufacturer"),
        model=read_text(element, "DeviceModel"),
        device_type=read_text(element, "DeviceType"),
        smets_chts_version=optional_text(element, "SMETSCHTSVersion"),
        firmware_version=optional_text(element, "FirmwareVersion"),
        esme_variant=optional_text(element, "ESMEVariant"),
        associated_gpf=optional_field(element, "AssociatedGPFDeviceID", eui64_from_xml),
        ppmid_variant=optional_text(element, "PPMIDVariant"),
    )


def _read_read_inventory(element: etree._Element) -> ReadInventory:
    address = child(element, "PropertyFilter")
    return ReadInventory(
        uprn=optional_text(element, "UPRN"),
        device_id=optional_field(element, "DeviceID", eui64_from_xml),
        mpxn=optional_text(element, "MPxN"),
        post_code=optional_text(address, "PostCode"),
        address_identifier=optional_text(address, "AddressIdentifier"),
    )


def _read_device_log(element: etree._Element) -> UpdateHanDeviceLog:
    details = child(element, "AddDeviceToCHFWhitelist")
    period = optional_text(details, "JoinTimePeriod")
    code = optional_text(details, "InstallCode")
    return UpdateHanDeviceLog(
        device_id=read_eui64(element, "DeviceID"),
        request_type=cast(Literal["Add", "Remove"], read_text(element, "RequestType")),
        join_time_period_s=None if period is None else int(period),
        install_code=None if code is None else bytes.fromhex(code),
        import_mpxn=optional_text(details, "ImportMPxN"),
        secondary_import_mpan=optional_text(details, "SecondaryImportMPAN"),
        export_mpan=optional_text(details, "ExportMPAN"),
        execution_date_time=optional_text(element, "ExecutionDateTime"),
    )


@dataclass(frozen=True, slots=True)
class _Service:
    reference: str
    read: Callable[[etree._Element], Body]


_SERVICES: dict[str, _Service] = {
    "ReadInventory": _Service("8.2", _read_read_inventory),
    "UpdateHANDeviceLog": _Service("8.11", _read_device_log),
    "ReadFirmwareVersion": _Service("11.2", _read_read_version),
    "UpdatePPMIDFirmware": _Service("11.4", _read_update),
    "DevicePrenotification": _Service("12.2", _read_prenotification),
}


def peek_header(root: etree._Element) -> tuple[str | None, str, str]:
    """RequestID, service reference and variant of whatever this is, as far as they can be read.

    For the answer to a request that is refused: what has not the form it must have is left out.
    """
    header = child(root, "Header")
    request_id = optional_text(header, "RequestID")
    try:
        named = None if request_id is None else str(RequestId.parse(request_id))
    except DuisError:
        named = None
    reference, variant = (
        text if text is not None and _SERVICE.fullmatch(text) else ""
        for text in (
            optional_text(header, name) for name in ("ServiceReference", "ServiceReferenceVariant")
        )
    )
    return named, reference, variant


# -- writing -----------------------------------------------------------------------------------


def build_request(request: Request) -> bytes:
    """The request as XML without a signature. Raises DspValueError for what no schema allows.

    A PPMIDVariant is written for whoever asks for one: a DSP of profile duis-5.4 refuses it.
    """
    writer = XmlWriter("Request", request.schema_version)
    with writer.inside("Header"):
        writer.leaf("RequestID", str(request.request_id))
        if request.first_in_sequence is not None:
            writer.leaf("FirstInSequence", "true" if request.first_in_sequence else "false")
        if request.preceding_request_id is not None:
            writer.leaf("PrecedingServiceRequestID", str(request.preceding_request_id))
        writer.leaf("CommandVariant", str(request.command_variant))
        writer.leaf("ServiceReference", request.service_reference)
        writer.leaf("ServiceReferenceVariant", request.service_reference_variant)
    with writer.inside("Body"):
        _write_body(writer, request.body)
    return writer.octets(SchemaProfile.MP170)


def _write_body(writer: XmlWriter, body: Body) -> None:
    match body:
        case UpdatePpmidFirmware():
            with writer.inside("UpdatePPMIDFirmware"):
                writer.leaf("FirmwareImage", octets_to_xml(body.firmware_image))
                writer.leaf("FirmwareVersion", body.firmware_version)
                writer.leaf("DeviceIDList", ",".join(map(eui64_to_xml, body.devices)))
        case ReadFirmwareVersion():
            with writer.inside("ReadFirmwareVersion"):
                writer.optional("ExecutionDateTime", body.execution_date_time)
        case DevicePrenotification():
            with writer.inside("DevicePrenotification"):
                writer.leaf("DeviceID", eui64_to_xml(body.device_id))
                writer.leaf("DeviceManufacturer", body.manufacturer)
                writer.leaf("DeviceModel", body.model)
                writer.leaf("DeviceType", body.device_type)
                writer.optional("SMETSCHTSVersion", body.smets_chts_version)
                writer.optional("FirmwareVersion", body.firmware_version)
                writer.optional("ESMEVariant", body.esme_variant)
                writer.optional_eui64("AssociatedGPFDeviceID", body.associated_gpf)
                writer.optional("PPMIDVariant", body.ppmid_variant)
        case ReadInventory():
            with writer.inside("ReadInventory"):
                writer.optional("UPRN", body.uprn)
                writer.optional_eui64("DeviceID", body.device_id)
                writer.optional("MPxN", body.mpxn)
                writer.address(body.post_code, body.address_identifier)
        case UpdateHanDeviceLog():
            with writer.inside("UpdateHANDeviceLog"):
                _write_device_log(writer, body)


def _write_device_log(writer: XmlWriter, body: UpdateHanDeviceLog) -> None:
    writer.optional("ExecutionDateTime", body.execution_date_time)
    writer.leaf("DeviceID", eui64_to_xml(body.device_id))
    writer.leaf("RequestType", body.request_type)
    if body.install_code is not None:
        with writer.inside("AddDeviceToCHFWhitelist"):
            writer.leaf("JoinTimePeriod", str(body.join_time_period_s))
            writer.leaf("InstallCode", body.install_code.hex().upper())
            writer.optional("ImportMPxN", body.import_mpxn)
            writer.optional("SecondaryImportMPAN", body.secondary_import_mpan)
            writer.optional("ExportMPAN", body.export_mpan)
