"""DUIS requests: read from XML, written as XML.

Source: DUIS XSD V5.4, `Request`; MP170, annex B, for PPMIDVariant.

    bodies of                                     are in
    --------------------------------------------  -------------------------------
    8.2, 12.2, a signed pre-command               this module
    6.15.1, 6.15.2, 6.17, 6.24.1, 6.24.2          dsp_stub.credential_requests
    8.7.1, 8.7.2, 8.8.1, 8.8.2, 8.9, 8.11, 8.12.1 dsp_stub.han_requests
    11.1, 11.2, 11.3, 11.4                        dsp_stub.firmware_requests

The schema is asked first: what is read after that has the form the schema says, and only what a
schema cannot say is checked here. No `repr` shows an install code or an image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree

from dsp_stub.body_xml import BodyXml, service_reference
from dsp_stub.credential_requests import (
    CREDENTIAL_BODIES,
    IssueSecurityCredentials,
    RetrieveDeviceSecurityCredentialsDevice,
    RetrieveDeviceSecurityCredentialsKrp,
    UpdateSecurityCredentialsDevice,
    UpdateSecurityCredentialsKrp,
)
from dsp_stub.errors import DspValueError, DuisError, SchemaError
from dsp_stub.fields import RequestId, eui64_from_xml, eui64_to_xml, octets_to_xml
from dsp_stub.firmware_requests import (
    FIRMWARE_BODIES,
    MAX_DEVICES,
    ActivateFirmware,
    ReadFirmwareVersion,
    UpdateFirmware,
    UpdatePpmidFirmware,
)
from dsp_stub.han_requests import (
    HAN_BODIES,
    JoinServiceCritical,
    JoinServiceNonCritical,
    ReadDeviceLog,
    RestoreHanDeviceLog,
    UnjoinServiceCritical,
    UnjoinServiceNonCritical,
    UpdateHanDeviceLog,
)
from dsp_stub.inventory_requests import (
    INVENTORY_BODIES,
    DecommissionDevice,
    UpdateInventory,
)
from dsp_stub.safe_xml import SR, child, children, local_name, shorten, token
from dsp_stub.schema import SchemaProfile, validate
from dsp_stub.xml_reader import (
    optional_field,
    optional_text,
    read_eui64,
    read_octets,
    read_request_id,
    read_text,
    refused,
    require,
)
from dsp_stub.xml_writer import XmlWriter

__all__ = [
    "BODIES",
    "MAX_DEVICES",
    "ActivateFirmware",
    "Body",
    "DecommissionDevice",
    "DevicePrenotification",
    "IssueSecurityCredentials",
    "JoinServiceCritical",
    "JoinServiceNonCritical",
    "ReadDeviceLog",
    "ReadFirmwareVersion",
    "ReadInventory",
    "Request",
    "RequestId",
    "RestoreHanDeviceLog",
    "RetrieveDeviceSecurityCredentialsDevice",
    "RetrieveDeviceSecurityCredentialsKrp",
    "SignedPreCommand",
    "UnjoinServiceCritical",
    "UnjoinServiceNonCritical",
    "UpdateFirmware",
    "UpdateHanDeviceLog",
    "UpdateInventory",
    "UpdatePpmidFirmware",
    "UpdateSecurityCredentialsDevice",
    "UpdateSecurityCredentialsKrp",
    "build_request",
    "parse_request",
    "peek_header",
    "service_path",
    "service_reference",
    "variant_path",
]

SCHEMA_VERSION = "5.4"
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
class SignedPreCommand:
    """What a user signed after a Transform; which service it is of stands in the header."""

    gbcs_payload: bytes = field(repr=False)
    execution_date_time: str | None = None


Body = (
    UpdateFirmware
    | UpdatePpmidFirmware
    | ReadFirmwareVersion
    | ActivateFirmware
    | DevicePrenotification
    | ReadInventory
    | UpdateHanDeviceLog
    | RestoreHanDeviceLog
    | ReadDeviceLog
    | JoinServiceCritical
    | JoinServiceNonCritical
    | UnjoinServiceCritical
    | UnjoinServiceNonCritical
    | UpdateSecurityCredentialsKrp
    | UpdateSecurityCredentialsDevice
    | IssueSecurityCredentials
    | RetrieveDeviceSecurityCredentialsKrp
    | RetrieveDeviceSecurityCredentialsDevice
    | SignedPreCommand
    | DecommissionDevice
    | UpdateInventory
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
    name = local_name(element)
    xml = _ELEMENTS.get(name)
    reference_element = require(header, "ServiceReference")
    variant_element = require(header, "ServiceReferenceVariant")
    variant = token(variant_element)
    if xml is None:
        raise refused(element, "is no request this DSP knows")
    # A signed pre-command has one element for every service.
    wanted = xml.variant or variant
    for each, right in (
        (reference_element, service_reference(wanted)),
        (variant_element, wanted),
    ):
        if token(each) != right:
            raise refused(each, f"is {shorten(token(each))}, {name} is {right}")
    first = optional_text(header, "FirstInSequence")
    return Request(
        request_id=read_request_id(header, "RequestID"),
        command_variant=int(read_text(header, "CommandVariant")),
        service_reference=token(reference_element),
        service_reference_variant=variant,
        body=xml.read(element),
        schema_version=(root.get("schemaVersion") or "").strip(" \t\r\n"),
        first_in_sequence=None if first is None else first in ("true", "1"),
        preceding_request_id=optional_field(header, "PrecedingServiceRequestID", RequestId.parse),
    )


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


def _write_prenotification(writer: XmlWriter, body: DevicePrenotification) -> None:
    writer.leaf("DeviceID", eui64_to_xml(body.device_id))
    writer.leaf("DeviceManufacturer", body.manufacturer)
    writer.leaf("DeviceModel", body.model)
    writer.leaf("DeviceType", body.device_type)
    writer.optional("SMETSCHTSVersion", body.smets_chts_version)
    writer.optional("FirmwareVersion", body.firmware_version)
    writer.optional("ESMEVariant", body.esme_variant)
    writer.optional_eui64("AssociatedGPFDeviceID", body.associated_gpf)
    writer.optional("PPMIDVariant", body.ppmid_variant)


def _write_read_inventory(writer: XmlWriter, body: ReadInventory) -> None:
    writer.optional("UPRN", body.uprn)
    writer.optional_eui64("DeviceID", body.device_id)
    writer.optional("MPxN", body.mpxn)
    writer.address(body.post_code, body.address_identifier)


def _read_signed_pre_command(element: etree._Element) -> SignedPreCommand:
    payload = read_octets(element, "GBCSPayload")
    return SignedPreCommand(payload, optional_text(element, "ExecutionDateTime"))


def _write_signed_pre_command(writer: XmlWriter, body: SignedPreCommand) -> None:
    writer.optional("ExecutionDateTime", body.execution_date_time)
    writer.leaf("GBCSPayload", octets_to_xml(body.gbcs_payload))


BODIES: dict[type[Body], BodyXml] = {
    xml.kind: xml
    for xml in (
        BodyXml("ReadInventory", "8.2", ReadInventory, _read_read_inventory, _write_read_inventory),
        BodyXml(
            "DevicePrenotification",
            "12.2",
            DevicePrenotification,
            _read_prenotification,
            _write_prenotification,
        ),
        BodyXml(
            "SignedPreCommand",
            "",
            SignedPreCommand,
            _read_signed_pre_command,
            _write_signed_pre_command,
        ),
        *CREDENTIAL_BODIES,
        *HAN_BODIES,
        *INVENTORY_BODIES,
        *FIRMWARE_BODIES,
    )
}
"""Every body by its class; a signed pre-command is of no service of its own."""

_ELEMENTS = {xml.element: xml for xml in BODIES.values()}


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
    xml = BODIES[type(request.body)]
    with writer.inside("Body"), writer.inside(xml.element):
        xml.write(writer, request.body)
    return writer.octets(SchemaProfile.MP170)
