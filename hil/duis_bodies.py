"""The bodies of DUIS requests as a person writes them: names of elements and plain values.

Source: DUIS XSD V5.4 (names and forms). A row is one element of one request:

    form      in JSON or behind `NAME=` of an option
    --------  ---------------------------------------------------------------------------
    text      as it is
    eui64     00-DB-12-34-56-78-90-A4, or without the hyphens
    eui64s    a list of them, or one text with commas
    texts     the same of texts
    number    a whole number
    boolean   true or false
    hex       hexadecimal digits
    change    an object such as {"UpdateDeviceStatusCH": "Withdrawn"}, of an UpdateInventory
    octets    base64, or @FILE: what is in the file, a certificate in PEM as its DER
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dsp_stub.errors import DuisError
from dsp_stub.fields import octets_from_hex, octets_from_xml
from dsp_stub.inventory_requests import (
    DETAIL_ELEMENTS,
    MPXN_ELEMENTS,
    Change,
    DeleteDevice,
    DeviceDetails,
    NewDeviceStatus,
    NewHubStatus,
    NewMpxn,
)
from dsp_stub.requests import (
    BODIES,
    ActivateFirmware,
    Body,
    DecommissionDevice,
    DevicePrenotification,
    IssueSecurityCredentials,
    JoinServiceCritical,
    JoinServiceNonCritical,
    ReadDeviceLog,
    ReadFirmwareVersion,
    ReadInventory,
    RestoreHanDeviceLog,
    RetrieveDeviceSecurityCredentialsDevice,
    RetrieveDeviceSecurityCredentialsKrp,
    SignedPreCommand,
    UnjoinServiceCritical,
    UnjoinServiceNonCritical,
    UpdateFirmware,
    UpdateHanDeviceLog,
    UpdateInventory,
    UpdatePpmidFirmware,
    UpdateSecurityCredentialsDevice,
    UpdateSecurityCredentialsKrp,
)
from dsp_stub.safe_xml import MAX_DOCUMENT_BYTES
from hil.errors import RequestError

_EUI64 = re.compile(r"[0-9A-Fa-f]{16}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){7}")
_PEM_MARK = b"-----BEGIN CERTIFICATE-----"


# -- forms -------------------------------------------------------------------------------------


def read_eui64(value: object) -> int:
    """An EUI-64 with hyphens or without. Raises ValueError."""
    if not isinstance(value, str) or not _EUI64.fullmatch(value):
        raise ValueError("is no EUI-64 such as 00-DB-12-34-56-78-90-A4")
    return int(value.replace("-", ""), 16)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    return value


def _list(value: object) -> list[object]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if not isinstance(value, list):
        raise ValueError("is no list")
    return value


def _eui64s(value: object) -> tuple[int, ...]:
    return tuple(map(read_eui64, _list(value)))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _number(value: object) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,20}", str(value), re.ASCII):
        raise ValueError("is no whole number")
    return int(str(value))


def _boolean(value: object) -> bool:
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise ValueError("is neither true nor false")


def _hex(value: object) -> bytes:
    return octets_from_hex(_text(value))


def _octets(value: object) -> bytes:
    text = _text(value)
    if not text.startswith("@"):
        return octets_from_xml(text)
    try:
        with Path(text[1:]).open("rb") as file:
            octets = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise ValueError(f"names {click.format_filename(text[1:])}: {error.strerror}") from None
    if _PEM_MARK in octets:
        return x509.load_pem_x509_certificate(octets).public_bytes(Encoding.DER)
    return octets


def _octets_list(value: object) -> tuple[bytes, ...]:
    return tuple(map(_octets, _list(value)))


def _change(value: object) -> Change:
    """The one change of an 8.4 by the name of its element."""
    try:
        found: Any = json.loads(value) if isinstance(value, str) else value
        ((name, content),) = found.items()
    except (ValueError, AttributeError):
        raise ValueError('is no change such as {"UpdateDeviceStatusCH": "Withdrawn"}') from None
    match name:
        case "UpdateDeviceStatusExceptCH":
            return NewDeviceStatus(_text(content))
        case "UpdateDeviceStatusCH":
            return NewHubStatus(_text(content))
        case "UpdateDeviceDetails":
            return DeviceDetails(**_named(content, DETAIL_ELEMENTS))
        case "UpdateMPxN":
            return NewMpxn(**_named(content, MPXN_ELEMENTS))
        case "DeleteDevice":
            return DeleteDevice()
    raise ValueError(f"has no {name}")


def _named(content: object, elements: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(content, dict):
        raise ValueError("has a change that is no object")
    fields = {element: field for field, element in elements.items()}
    unknown = [name for name in content if name not in fields]
    if unknown:
        raise ValueError(f"has no {unknown[0]}, only {', '.join(fields)}")
    return {fields[name]: _text(value) for name, value in content.items()}


# -- rows --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One element: its name, the field of the body it is, its form."""

    name: str
    field: str
    read: Callable[[object], Any]


_TIME = Item("ExecutionDateTime", "execution_date_time", _text)
_FIRMWARE = (
    Item("FirmwareImage", "firmware_image", _octets),
    Item("FirmwareVersion", "firmware_version", _text),
    Item("DeviceIDList", "devices", _eui64s),
)
_OTHER = (Item("OtherDeviceID", "other_device", read_eui64),)
_CREDENTIAL_TYPE = (Item("CredentialType", "credential_type", _text),)
ITEMS: dict[type[Body], tuple[Item, ...]] = {
    UpdateSecurityCredentialsKrp: (
        _TIME,
        Item("RemotePartyRole", "remote_party_role", _text),
        Item("RemotePartyFloorSeqNumber", "floor", _number),
        Item("RemotePartyPrepaymentTopUpFloorSeqNumber", "top_up_floor", _number),
        Item("DigitalSigningCertificate", "digital_signing", _octets),
        Item("KeyAgreementCertificate", "key_agreement", _octets),
        Item("KeyAgreementTopUpCertificate", "key_agreement_top_up", _octets),
        Item("CertificationPathCertificates", "certification_path", _octets_list),
        Item("ApplyTimeBasedCPVChecks", "apply_time_based_cpv_checks", _boolean),
    ),
    UpdateSecurityCredentialsDevice: (Item("DeviceCertificate", "device_certificate", _octets),),
    IssueSecurityCredentials: _CREDENTIAL_TYPE,
    RetrieveDeviceSecurityCredentialsKrp: (Item("RemotePartyRole", "remote_party_roles", _texts),),
    RetrieveDeviceSecurityCredentialsDevice: _CREDENTIAL_TYPE,
    ReadInventory: (
        Item("UPRN", "uprn", _text),
        Item("DeviceID", "device_id", read_eui64),
        Item("MPxN", "mpxn", _text),
        Item("PostCode", "post_code", _text),
        Item("AddressIdentifier", "address_identifier", _text),
    ),
    DecommissionDevice: (Item("DeviceID", "device_id", read_eui64),),
    UpdateInventory: (
        Item("DeviceID", "device_id", read_eui64),
        Item("Change", "change", _change),
    ),
    JoinServiceCritical: _OTHER,
    JoinServiceNonCritical: _OTHER,
    UnjoinServiceCritical: _OTHER,
    UnjoinServiceNonCritical: _OTHER,
    ReadDeviceLog: (_TIME, Item("ReadSecurityDetails", "read_security_details", _boolean)),
    UpdateHanDeviceLog: (
        _TIME,
        Item("DeviceID", "device_id", read_eui64),
        Item("RequestType", "request_type", _text),
        Item("JoinTimePeriod", "join_time_period_s", _number),
        Item("InstallCode", "install_code", _hex),
        Item("ImportMPxN", "import_mpxn", _text),
        Item("SecondaryImportMPAN", "secondary_import_mpan", _text),
        Item("ExportMPAN", "export_mpan", _text),
    ),
    RestoreHanDeviceLog: (Item("OldCHFID", "old_chf", read_eui64),),
    UpdateFirmware: _FIRMWARE,
    ReadFirmwareVersion: (_TIME,),
    ActivateFirmware: (_TIME, Item("FirmwareHash", "firmware_hash", _hex)),
    UpdatePpmidFirmware: _FIRMWARE,
    DevicePrenotification: (
        Item("DeviceID", "device_id", read_eui64),
        Item("DeviceManufacturer", "manufacturer", _text),
        Item("DeviceModel", "model", _text),
        Item("DeviceType", "device_type", _text),
        Item("SMETSCHTSVersion", "smets_chts_version", _text),
        Item("FirmwareVersion", "firmware_version", _text),
        Item("ESMEVariant", "esme_variant", _text),
        Item("AssociatedGPFDeviceID", "associated_gpf", read_eui64),
        Item("PPMIDVariant", "ppmid_variant", _text),
    ),
    SignedPreCommand: (_TIME, Item("GBCSPayload", "gbcs_payload", _octets)),
}
SERVICES = {BODIES[kind].variant: kind for kind in ITEMS if BODIES[kind].variant}


def make_body(kind: type[Body], values: Mapping[str, object]) -> Body:
    """The body with these elements. Raises RequestError, naming the element."""
    items = {item.name: item for item in ITEMS[kind]}
    element = BODIES[kind].element
    fields: dict[str, Any] = {}
    for name, value in values.items():
        item = items.get(name)
        if item is None:
            raise RequestError(f"{element} has no {name}, it has {', '.join(items)}")
        try:
            fields[item.field] = item.read(value)
        except DuisError as error:
            raise RequestError(f"{name} {error.problem}") from None
        except ValueError as error:
            raise RequestError(f"{name} {error}") from None
    try:
        return kind(**fields)
    except ValueError as error:  # DspValueError is one
        raise RequestError(f"{element}: {error}") from None
    except TypeError:
        missing = [name for name, item in items.items() if item.field not in fields]
        raise RequestError(f"{element} lacks one of {', '.join(missing)}") from None
