"""Which DUIS documents are well formed: two profiles of one schema, and a sentence for what is not.

Source: DUIS XSD V5.4 (its facts; schemas/ is our own text); MP170, annex B: PPMIDVariant.

    profile     PPMIDVariant
    ----------  -----------------------------------
    duis-5.4    refused: no public schema has it
    mp170       in 12.2, 8.4 and 8.2

An XSD of the user's may take the place of ours.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from pathlib import Path

from lxml import etree

from dsp_stub.errors import DspValueError, SchemaError
from dsp_stub.safe_xml import THING, local_name, place_of, shorten, token

FOLDER = Path(__file__).parent / "schemas"


class SchemaProfile(StrEnum):
    """What a DSP takes for well formed."""

    DUIS_5_4 = "duis-5.4"
    MP170 = "mp170"


# What is never repeated in a sentence: a secret, and what is long and says nothing.
_NOT_SHOWN = (
    "InstallCode",
    "FirmwareImage",
    "GBCSPayload",
    "Certificate",
    "DeviceCertificate",
    "DigitalSigningCertificate",
    "KeyAgreementCertificate",
    "KeyAgreementTopUpCertificate",
)
_SAYS: dict[str, str] = {
    **dict.fromkeys(
        (
            "DeviceID",
            "AssociatedGPFDeviceID",
            "CommsHubDeviceID",
            "TargetDeviceID",
            "OtherDeviceID",
            "OldCHFID",
        ),
        "an EUI-64 such as 00-DB-12-34-56-78-90-A4",
    ),
    **dict.fromkeys(
        ("RequestID", "ResponseID", "PrecedingServiceRequestID", "UpdateFirmwareRequestID"),
        "originator:target:counter such as 90-B3-D5-1F-30-01-00-00:00-DB-12-34-56-78-90-A4:1000",
    ),
    **dict.fromkeys(("ImportMPxN", "SecondaryImportMPAN", "ExportMPAN", "MPxN"), "1 to 13 digits"),
    **dict.fromkeys(("FirmwareVersion", "DeviceFirmwareVersion"), "1 to 8 characters"),
    **dict.fromkeys(("ServiceReference", "ServiceReferenceVariant"), "a service such as 11.4"),
    "CommandVariant": "a number from 1 to 8",
    "DeviceIDList": "1 to 50000 EUI-64s with commas between them and no spaces",
    "FirmwareImage": "base64 of at most 10240000 octets",
    "InstallCode": "6 to 16 octets in hexadecimal",
    "JoinTimePeriod": "a number of seconds from 1 to 3600",
    "RequestType": "Add or Remove",
    "UpdateDeviceStatusExceptCH": "Pending or InstalledNotCommissioned",
    "UpdateDeviceStatusCH": "Commissioned, InstalledNotCommissioned or Withdrawn",
    "FirmwareHash": "32 octets in hexadecimal",
    "CredentialType": "Digital Signature or Key Agreement",
    "RemotePartyRole": (
        "ACB, NetworkOperator, Recovery, Root, Supplier, TransCoS or LoadController"
    ),
    "ApplyTimeBasedCPVChecks": "true or false",
    "UPRN": "1 to 12 digits without leading zeros",
    "PostCode": "6 to 8 characters",
    "AddressIdentifier": "1 to 30 characters",
    "PPMIDVariant": "PPMID or AltHAN Bridge 1 to 4",
    "ExecutionDateTime": "a time such as 2026-01-01T00:00:00Z",
}
_NAMESPACE = re.compile(r"\{[^{}]*\}")
_EXPECTED = re.compile(r"Expected is (?:one of )?\( (.*?) \)")
_ATTRIBUTE = re.compile(r"attribute '(?:\{[^{}]*\})?([^']{1,60})'", re.IGNORECASE)


@cache
def validator(profile: SchemaProfile, xsd: Path | None = None) -> etree.XMLSchema:
    """The compiled schema of a profile, or that of a user's file in its place."""
    path = FOLDER / f"{profile}.xsd" if xsd is None else xsd
    try:
        return etree.XMLSchema(etree.parse(str(path), etree.XMLParser(no_network=True)))
    except (OSError, etree.LxmlError) as error:
        why = shorten(" ".join(str(error).split()), 200)
        raise DspValueError(f"{path} is no XML schema that can be used: {why}") from None


def validate(root: etree._Element, profile: SchemaProfile, xsd: Path | None = None) -> None:
    """Raise SchemaError for the first thing in a document that the schema does not allow."""
    schema = validator(profile, xsd)
    if not schema.validate(root):
        # Further errors are often only what follows from the first.
        raise _explain(root, schema.error_log[0])


def _explain(root: etree._Element, error: etree._LogEntry) -> SchemaError:
    element = _find(root, error.path)
    if element is None:
        return SchemaError(THING, f"line {error.line}", f"is refused: {_plain(error.message)}")
    return SchemaError(THING, place_of(element), _problem(element, error))


def _find(root: etree._Element, path: str | None) -> etree._Element | None:
    """The element a path of libxml2 leads to. Its prefixes may be declared anywhere below."""
    namespaces = {prefix: uri for prefix, uri in root.nsmap.items() if prefix}
    try:
        found = root.getroottree().xpath(path or "", namespaces=namespaces)
    except etree.XPathError:
        return None
    if not isinstance(found, list) or not found:
        return None
    # A path that ends at an attribute gives its value, which knows its element.
    return found[0] if etree.iselement(found[0]) else found[0].getparent()


def _problem(element: etree._Element, error: etree._LogEntry) -> str:
    message = error.message
    match error.type_name:
        case "SCHEMAV_CVC_ELT_1":
            return "is neither a DUIS Request nor a Response"
        case "SCHEMAV_ELEMENT_CONTENT":
            expected = _EXPECTED.search(message)
            names = "" if expected is None else _plain(expected[1]).replace(" ,", ",")
            if "Missing child" in message:
                return f"lacks {names.replace(', ', ' or ')}"
            return f"is not expected here; expected: {names or 'nothing'}"
        case "SCHEMAV_CVC_COMPLEX_TYPE_4":
            return f"lacks the attribute {_attribute(message)}"
        case (
            "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1"
            | "SCHEMAV_CVC_COMPLEX_TYPE_3_2_2"
            | "SCHEMAV_CVC_TYPE_3_1_1"
        ):
            return f"may not have the attribute {_attribute(message)}"
        case "SCHEMAV_CVC_COMPLEX_TYPE_2_3" | "SCHEMAV_CVC_COMPLEX_TYPE_2_1":
            return "may have no text of its own"
        case "SCHEMAV_CVC_TYPE_3_1_2":
            return "may have no elements in it"
    if (about := _plain(message)).startswith("Element ") and ", attribute " in about:
        return f"has an attribute {_attribute(message)} that is no such value"
    name = local_name(element)
    says = _SAYS.get(name, "one the schema allows")
    if name in _NOT_SHOWN:
        return f"is not {says}"
    return f"is {shorten(token(element))!r}, not {says}"


def _attribute(message: str) -> str:
    found = _ATTRIBUTE.search(message)
    return "that is there" if found is None else found[1]


def _plain(message: str) -> str:
    """libxml2's words without its namespaces."""
    return shorten(" ".join(_NAMESPACE.sub("", message).split()), 200)
