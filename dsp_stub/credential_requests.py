"""The requests about credentials: of the parties a device trusts (6.15.1, 6.24.1), of the device
itself (6.15.2, 6.17, 6.24.2).

Source: DUIS XSD V5.4, service requests 6.15.1 to 6.24.2. Certificates are DER.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lxml import etree

from dsp_stub.body_xml import BodyXml
from dsp_stub.errors import DspValueError
from dsp_stub.fields import octets_from_xml, octets_to_xml
from dsp_stub.safe_xml import children, token
from dsp_stub.xml_reader import (
    optional_field,
    optional_text,
    read_as,
    read_octets,
    read_text,
    require,
)
from dsp_stub.xml_writer import XmlWriter

REMOTE_PARTY_ROLES = (
    "ACB",
    "NetworkOperator",
    "Recovery",
    "Root",
    "Supplier",
    "TransCoS",
    "LoadController",
)
CREDENTIAL_TYPES = ("Digital Signature", "Key Agreement")
MAX_PATH_CERTIFICATES = 3


@dataclass(frozen=True, slots=True)
class UpdateSecurityCredentialsKrp:
    """6.15.1: a party that a device knows puts other certificates of its own there."""

    remote_party_role: str
    digital_signing: bytes | None = None
    key_agreement: bytes | None = None
    key_agreement_top_up: bytes | None = None
    certification_path: tuple[bytes, ...] = ()
    apply_time_based_cpv_checks: bool = True
    floor: int | None = None
    top_up_floor: int | None = None
    execution_date_time: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.certification_path) <= MAX_PATH_CERTIFICATES:
            raise DspValueError(f"a certification path has 1 to {MAX_PATH_CERTIFICATES} parts")


@dataclass(frozen=True, slots=True)
class UpdateSecurityCredentialsDevice:
    """6.15.2: a device is to speak with the key pair of this certificate."""

    device_certificate: bytes


@dataclass(frozen=True, slots=True)
class _OfCredentialType:
    credential_type: str

    def __post_init__(self) -> None:
        if self.credential_type not in CREDENTIAL_TYPES:
            raise DspValueError(f"CredentialType is one of {', '.join(CREDENTIAL_TYPES)}")


@dataclass(frozen=True, slots=True)
class IssueSecurityCredentials(_OfCredentialType):
    """6.17: a device is to make a new key pair."""


@dataclass(frozen=True, slots=True)
class RetrieveDeviceSecurityCredentialsDevice(_OfCredentialType):
    """6.24.2: with which certificate does a device speak."""


@dataclass(frozen=True, slots=True)
class RetrieveDeviceSecurityCredentialsKrp:
    """6.24.1: whose certificates does a device hold, for each of these roles."""

    remote_party_roles: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.remote_party_roles) <= len(REMOTE_PARTY_ROLES):
            raise DspValueError(f"a 6.24.1 names 1 to {len(REMOTE_PARTY_ROLES)} roles")


def _optional_octets(parent: etree._Element, name: str) -> bytes | None:
    return optional_field(parent, name, octets_from_xml)


def _optional_number(parent: etree._Element, name: str) -> int | None:
    text = optional_text(parent, name)
    return None if text is None else int(text)


def _read_update(element: etree._Element) -> UpdateSecurityCredentialsKrp:
    certificates = require(
        require(element, "ReplacementCertificates"), "SupplierOrNetworkOperatorCertificates"
    )
    path = require(element, "CertificationPathCertificates")
    return UpdateSecurityCredentialsKrp(
        remote_party_role=read_text(element, "RemotePartyRole"),
        digital_signing=_optional_octets(certificates, "DigitalSigningCertificate"),
        key_agreement=_optional_octets(certificates, "KeyAgreementCertificate"),
        key_agreement_top_up=_optional_octets(certificates, "KeyAgreementTopUpCertificate"),
        certification_path=tuple(read_as(one, octets_from_xml) for one in children(path)),
        apply_time_based_cpv_checks=read_text(element, "ApplyTimeBasedCPVChecks") in ("true", "1"),
        floor=_optional_number(element, "RemotePartyFloorSeqNumber"),
        top_up_floor=_optional_number(element, "RemotePartyPrepaymentTopUpFloorSeqNumber"),
        execution_date_time=optional_text(element, "ExecutionDateTime"),
    )


def _write_update(writer: XmlWriter, body: UpdateSecurityCredentialsKrp) -> None:
    writer.optional("ExecutionDateTime", body.execution_date_time)
    writer.leaf("RemotePartyRole", body.remote_party_role)
    for name, number in (
        ("RemotePartyFloorSeqNumber", body.floor),
        ("RemotePartyPrepaymentTopUpFloorSeqNumber", body.top_up_floor),
    ):
        writer.optional(name, None if number is None else str(number))
    with (
        writer.inside("ReplacementCertificates"),
        writer.inside("SupplierOrNetworkOperatorCertificates"),
    ):
        for name, certificate in (
            ("DigitalSigningCertificate", body.digital_signing),
            ("KeyAgreementCertificate", body.key_agreement),
            ("KeyAgreementTopUpCertificate", body.key_agreement_top_up),
        ):
            writer.optional(name, None if certificate is None else octets_to_xml(certificate))
    with writer.inside("CertificationPathCertificates"):
        for certificate in body.certification_path:
            writer.leaf("Certificate", octets_to_xml(certificate))
    writer.leaf("ApplyTimeBasedCPVChecks", str(body.apply_time_based_cpv_checks).lower())


def _write_device_certificate(writer: XmlWriter, body: UpdateSecurityCredentialsDevice) -> None:
    writer.leaf("DeviceCertificate", octets_to_xml(body.device_certificate))


def _write_roles(writer: XmlWriter, body: RetrieveDeviceSecurityCredentialsKrp) -> None:
    for role in body.remote_party_roles:
        writer.leaf("RemotePartyRole", role)


def _of_type(element: str, variant: str, kind: type[Any]) -> BodyXml:
    return BodyXml(
        element,
        variant,
        kind,
        lambda read: kind(read_text(read, "CredentialType")),
        lambda writer, body: writer.leaf("CredentialType", body.credential_type),
    )


CREDENTIAL_BODIES = (
    BodyXml(
        "UpdateSecurityCredentialsKRP",
        "6.15.1",
        UpdateSecurityCredentialsKrp,
        _read_update,
        _write_update,
    ),
    BodyXml(
        "UpdateSecurityCredentialsDevice",
        "6.15.2",
        UpdateSecurityCredentialsDevice,
        lambda element: UpdateSecurityCredentialsDevice(read_octets(element, "DeviceCertificate")),
        _write_device_certificate,
    ),
    _of_type("IssueSecurityCredentials", "6.17", IssueSecurityCredentials),
    BodyXml(
        "RetrieveDeviceSecurityCredentialsKRP",
        "6.24.1",
        RetrieveDeviceSecurityCredentialsKrp,
        lambda element: RetrieveDeviceSecurityCredentialsKrp(tuple(map(token, children(element)))),
        _write_roles,
    ),
    _of_type(
        "RetrieveDeviceSecurityCredentialsDevice",
        "6.24.2",
        RetrieveDeviceSecurityCredentialsDevice,
    ),
)
