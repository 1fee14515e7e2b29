"""What the folder of a DSP holds beside its database: users, codes and options, as `dsp.toml`.

Source: DESIGN, "What it promises to the outside" (`hanbench dsp --data DIR`); the codes are those
of DUIS where the public text gives them (docs/open-points.md, "DUIS codes").

    dsp.toml        this file; without it, no users and every default
    dsp.sqlite      the database
    pki/            certificates, and the private keys of the DSP

    [[user]]        eui64 = "90-B3-D5-1F-30-01-00-00", role = "IS",
                    certificate = "pki/90b3d51f30010000-xml-ds.pem",
                    callback = "http://127.0.0.1:8081/", suspended = false
    [[premises]]    id = 1, uprn = "1234", import_mpxn = "1312345678111",
                    responsible = ["90-B3-D5-1F-30-01-00-00"]
    [[premises.device]]
                    eui64 = "00-DB-12-34-56-78-90-A2", type = "CHF", status = "Commissioned",
                    manufacturer = "121D", model = "00CF0101", firmware_version = "00010000"
    [[registration]]
                    mpxn = "1312345678111", supplier = "90-B3-D5-1F-30-01-00-00",
                    network_operator = "90-B3-D5-1F-30-02-00-00"
    [[schedule]]    id = 1, owner = "90-B3-...", device = "00-DB-..."
    [codes]         replay = "E42", ppmid_alert = "N39", ...
    [options]       profile = "mp170", commissioned = "relaxed", ...
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, Strict, ValidationInfo

from dsp_stub.cpl import HASH_SCOPE, HashScope
from dsp_stub.errors import DspValueError
from dsp_stub.future_dated import MAX_SCHEDULE_ID, FutureDated, Schedule
from dsp_stub.inventory import Inventory
from dsp_stub.registrations import Registration, Registrations
from dsp_stub.smi import (
    MAX_AT_PREMISES,
    TYPE_2,
    DeviceStatus,
    DeviceType,
    PpmidVariant,
    Premises,
    SmiDevice,
)
from firmware_images.checks import MAX_LIMIT_KB, SizeLimit

OPTIONS_FILE = "dsp.toml"
DATABASE_FILE = "dsp.sqlite"
PKI_FOLDER = "pki"

RoleName = Literal["IS", "GS", "ES", "RSA", "ED", "GT", "OU"]

_EUI64 = re.compile(r"[0-9A-Fa-f]{16}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){7}")
_RESPONSE_CODE = r"^E[0-9]{1,6}$"
# N32 is missing in the schema's list.
_DCC_ALERT_CODE = r"^(N([1-9]|[12][0-9]|3[013-9]|[45][0-9]|6[0-5]|999)|AD1)$"
_SAYS_RESPONSE_CODE = 'a response code such as "E40"'
_SAYS_DCC_ALERT_CODE = 'a DCC alert code, "N1" to "N65" without "N32", "N999" or "AD1"'
LONGEST_S = 366 * 24 * 3600
MAX_THRESHOLD = 2**31


# -- what single values may be -----------------------------------------------------------------


def _read_eui64(value: object) -> int:
    if not isinstance(value, str) or not _EUI64.fullmatch(value):
        raise ValueError
    return int(value.replace("-", ""), 16)


def _read_file_name(value: object) -> Path:
    """A relative path that stays in the folder."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    path = Path(value)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError
    return path


def _read_path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return Path((info.context or {}).get("folder", "."), value)


def _read_callback(value: object) -> str:
    if not isinstance(value, str) or not is_loopback_url(value):
        raise ValueError
    return value


def is_loopback_url(text: str) -> bool:
    """Whether a http URL leads to this machine and to nothing else."""
    if not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if parts.scheme != "http" or not host or port == 0 or parts.username is not None:
        return False
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


Whole = Annotated[int, Strict()]
Text = Annotated[str, Strict()]
YesOrNo = Annotated[bool, Strict()]
Eui64 = Annotated[int, PlainValidator(_read_eui64)]
FileName = Annotated[Path, PlainValidator(_read_file_name)]
FilePath = Annotated[Path, PlainValidator(_read_path)]
Callback = Annotated[str, PlainValidator(_read_callback)]


def _response_code(default: str) -> str:
    code: str = Field(
        default=default, pattern=_RESPONSE_CODE, strict=True, description=_SAYS_RESPONSE_CODE
    )
    return code


def _alert_code(default: str) -> str:
    code: str = Field(
        default=default, pattern=_DCC_ALERT_CODE, strict=True, description=_SAYS_DCC_ALERT_CODE
    )
    return code


# -- the tables --------------------------------------------------------------------------------


class Table(BaseModel):
    """One table of the file; a field's description says what would be right."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class UserTable(Table):
    """One DUIS user. Without `callback` nothing is posted to it."""

    eui64: Eui64 = Field(
        description='an EUI-64 such as "90-B3-D5-1F-30-01-00-00" or "90B3D51F30010000"'
    )
    role: RoleName = Field(description='"IS", "GS", "ES", "RSA", "ED", "GT" or "OU"')
    certificate: FileName | None = Field(
        default=None, description="the name of a PEM file in the folder of dsp.toml"
    )
    callback: Callback | None = Field(
        default=None, description='an http URL of this machine, such as "http://127.0.0.1:8081/"'
    )

    suspended: YesOrNo = Field(default=False, description="true or false")

    @property
    def certificate_file(self) -> Path:
        """Where its XML signing certificate is, seen from the folder of the DSP."""
        return self.certificate or Path(PKI_FOLDER, f"{self.eui64:016x}-xml-ds.pem")


class FoundDevice(Table):
    """A device that stands in the inventory before the first request."""

    eui64: Eui64 = Field(description='an EUI-64 such as "00-DB-12-34-56-78-90-A4"')
    type: Literal["ESME", "GSME", "GPF", "CHF", "HCALCS", "PPMID", "IHD", "CAD"] = Field(
        description='"ESME", "GSME", "GPF", "CHF", "HCALCS", "PPMID", "IHD" or "CAD"'
    )
    status: Literal["Pending", "Whitelisted", "InstalledNotCommissioned", "Commissioned"] = Field(
        default="Commissioned",
        description='"Pending", "Whitelisted", "InstalledNotCommissioned" or "Commissioned"',
    )
    manufacturer: Text = Field(description="4 hexadecimal digits")
    model: Text = Field(description="8 hexadecimal digits: model, hardware version and revision")
    firmware_version: Text | None = Field(default=None, description="8 hexadecimal digits")
    smets_chts_version: Text | None = Field(
        default=None, description='a text such as "PPMIDTS V4.4"'
    )
    gbcs_version: Text | None = Field(default="4.1", description='a version such as "4.1"')
    esme_variant: Text | None = Field(default=None, description="an ESME variant")
    ppmid_variant: Text | None = Field(
        default=None, description='"PPMID" or "AltHAN Bridge 1" to "AltHAN Bridge 4"'
    )
    associated_gpf: Eui64 | None = Field(default=None, description="an EUI-64")
    chf: Eui64 | None = Field(default=None, description="the EUI-64 of the hub it is on")

    def smi_device(self, premises: int, today: str) -> SmiDevice:
        """The row of the inventory. Raises DspValueError for what cannot stand in it."""
        is_type_2 = self.type in TYPE_2
        commissioned = self.status == "Commissioned" and not is_type_2
        variant = self.ppmid_variant
        if variant is not None and variant not in tuple(PpmidVariant):
            raise DspValueError(
                f"ppmid_variant {variant!r} is not one of {', '.join(PpmidVariant)}"
            )
        return SmiDevice(
            device_id=self.eui64,
            device_type=DeviceType(self.type),
            status=None if is_type_2 else DeviceStatus(self.status),
            manufacturer=self.manufacturer,
            model=self.model,
            firmware_version=self.firmware_version,
            smets_chts_version=self.smets_chts_version or _SMETS_CHTS_VERSIONS.get(self.type),
            gbcs_version=None if is_type_2 else self.gbcs_version,
            esme_variant=self.esme_variant,
            ppmid_variant=None if variant is None else PpmidVariant(variant),
            associated_gpf=self.associated_gpf,
            chf=self.chf,
            premises=premises,
            date_commissioned=today if commissioned else None,
        )


# The first that take firmware for PPMIDs over the air (SECMP0007).
_SMETS_CHTS_VERSIONS = {
    "ESME": "ESMETS V5.1",
    "CHF": "CHTS V1.5",
    "GPF": "CHTS V1.5",
    "HCALCS": "HCALCSTS V5.1",
    "PPMID": "PPMIDTS V4.4",
}


class FoundPremises(Table):
    """A home as the DSP finds it."""

    id: Whole = Field(ge=1, le=2**31, description="a whole number from 1")
    uprn: Text | None = Field(default=None, description="1 to 12 digits")
    post_code: Text | None = Field(default=None, description="6 to 8 characters")
    address_identifier: Text | None = Field(default=None, description="at most 30 characters")
    import_mpxn: Text | None = Field(default=None, description="an MPAN or MPRN")
    secondary_import_mpan: Text | None = Field(default=None, description="an MPAN of 13 digits")
    export_mpan: Text | None = Field(default=None, description="an MPAN of 13 digits")
    import_mprn: Text | None = Field(
        default=None, description="the MPRN of a home that has an MPAN as import_mpxn"
    )
    responsible: tuple[Eui64, ...] = Field(default=(), description="a list of users' EUI-64s")
    devices: tuple[FoundDevice, ...] = Field(
        default=(),
        alias="device",
        max_length=MAX_AT_PREMISES,
        description=f"at most {MAX_AT_PREMISES} tables, [[premises.device]]",
    )


class FoundRegistration(Table):
    """Whose a metering point is."""

    mpxn: Text = Field(description="1 to 13 digits, an MPAN or MPRN")
    supplier: Eui64 = Field(description="the EUI-64 of a user")
    network_operator: Eui64 | None = Field(default=None, description="the EUI-64 of a user")


class FoundSchedule(Table):
    """A schedule of the DSP's that stands before the first request."""

    id: Whole = Field(
        ge=0, le=MAX_SCHEDULE_ID, description=f"a whole number from 0 to {MAX_SCHEDULE_ID}"
    )
    owner: Eui64 = Field(description="the EUI-64 of a user")
    device: Eui64 = Field(description="the EUI-64 of a device")


class Codes(Table):
    """Which code says what, where the public documents leave it open."""

    bad_signature: str = _response_code("E40")
    replay: str = _response_code("E42")
    pre_command: str = _response_code("E48")
    pre_command_signature: str = _response_code("E49")
    doctype: str = _response_code("E100")
    schema_: str = Field(
        default="E100",
        alias="schema",
        pattern=_RESPONSE_CODE,
        strict=True,
        description=_SAYS_RESPONSE_CODE,
    )
    ppmid_alert: str = _alert_code("N39")
    firmware_delivered: str = _alert_code("N60")
    firmware_not_delivered: str = _alert_code("N61")
    comms_hub_alert: str = _alert_code("N62")
    firmware_upgrade_requested: str = _alert_code("N59")
    firmware_distribution_failure: str = _alert_code("N22")
    firmware_version_mismatch: str = _alert_code("N49")
    quarantined_request: str = _alert_code("N3")
    device_log_updated: str = _alert_code("N24")
    device_log_not_updated: str = _alert_code("N25")
    device_log_restored: str = _alert_code("N26")
    ppmid_removal: str = _alert_code("N43")
    security_credentials_updated: str = _alert_code("N42")
    mpxn_updated: str = _alert_code("N16")
    future_dated_cancelled: str = _alert_code("N36")
    schedule_removed: str = _alert_code("N37")


class Options(Table):
    """What the DSP does where the texts allow more than one thing."""

    profile: Literal["mp170", "duis-5.4"] = Field(
        default="mp170", description='"mp170" or "duis-5.4"'
    )
    commissioned: Literal["relaxed", "strict"] = Field(
        default="relaxed", description='"relaxed" or "strict"'
    )
    bridge_as_other_device: Literal["intent", "literal"] = Field(
        default="intent", description='"intent" or "literal"'
    )
    image_limit_kb: Whole = Field(
        default=750, ge=1, le=MAX_LIMIT_KB, description=f"a whole number from 1 to {MAX_LIMIT_KB}"
    )
    unit: Literal["kib", "kb"] = Field(default="kib", description='"kib" (1024) or "kb" (1000)')
    scope: Literal["file", "body"] = Field(default="file", description='"file" or "body"')
    cpl_hash: HashScope = Field(
        default=HASH_SCOPE, description='"manufacturer-image" or "whole-file"'
    )
    in_progress_timeout_s: Whole = Field(
        default=7 * 24 * 3600,
        ge=1,
        le=LONGEST_S,
        description=f"a whole number of seconds from 1 to {LONGEST_S}",
    )
    response_timeout_s: Whole = Field(
        default=1800,
        ge=1,
        le=LONGEST_S,
        description=f"a whole number of seconds from 1 to {LONGEST_S}",
    )
    anomaly_threshold: Whole = Field(
        default=0,
        ge=0,
        le=MAX_THRESHOLD,
        description="a whole number of devices, 0 for no threshold",
    )
    anomaly_window_s: Whole = Field(
        default=24 * 3600,
        ge=1,
        le=LONGEST_S,
        description=f"a whole number of seconds from 1 to {LONGEST_S}",
    )
    service_level_s: Whole = Field(
        default=24 * 3600,
        ge=1,
        le=LONGEST_S,
        description=f"a whole number of seconds from 1 to {LONGEST_S}",
    )
    least_gbcs_version: Text = Field(
        default="4.1",
        pattern=r"^[0-9]{1,5}(\.[0-9]{1,5}){1,3}$",
        description='a version such as "4.1"',
    )
    s1sp: Literal["succeeds", "fails"] = Field(
        default="succeeds", description='"succeeds" or "fails"'
    )
    assurance: Literal["optional", "required"] = Field(
        default="optional", description='"optional" or "required"'
    )
    xsd: FilePath | None = Field(
        default=None, description="the path of an XSD, seen from the folder of dsp.toml"
    )
    check_certificate_times: YesOrNo = Field(default=True, description="true or false")

    def size_limit(self) -> SizeLimit:
        return SizeLimit(self.image_limit_kb, self.unit, self.scope)


class DspFile(Table):
    """A `dsp.toml` as a whole."""

    users: tuple[UserTable, ...] = Field(default=(), alias="user", description="tables, [[user]]")
    premises: tuple[FoundPremises, ...] = Field(default=(), description="tables, [[premises]]")
    registrations: tuple[FoundRegistration, ...] = Field(
        default=(), alias="registration", description="tables, [[registration]]"
    )
    schedules: tuple[FoundSchedule, ...] = Field(
        default=(), alias="schedule", description="tables, [[schedule]]"
    )
    codes: Codes = Field(default=Codes(), description="a table, [codes]")
    options: Options = Field(default=Options(), description="a table, [options]")


def contradictions(file: DspFile) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What no single value shows: the path of a key, and a sentence."""
    seen: set[int] = set()
    for number, user in enumerate(file.users):
        if user.eui64 in seen:
            sentence = f"user[{number}].eui64 is {user.eui64:016X}, which is a user already"
            yield ("user", number, "eui64"), sentence
        seen.add(user.eui64)


def furnish(inventory: Inventory, premises: Iterable[FoundPremises], today: str) -> int:
    """Put the premises as found into the inventory, and how many devices that added.

    What is there already stays as it is: what a device became since is not undone by a restart.
    Raises DspValueError for what cannot stand there.
    """
    there = {one.id for one in inventory.all_premises()}
    added = 0
    for home in premises:
        if home.id not in there:
            inventory.add_premises(
                Premises(
                    id=home.id,
                    uprn=home.uprn,
                    post_code=home.post_code,
                    address_identifier=home.address_identifier,
                    import_mpxn=home.import_mpxn,
                    secondary_import_mpan=home.secondary_import_mpan,
                    export_mpan=home.export_mpan,
                    import_mprn=home.import_mprn,
                    responsible=home.responsible,
                )
            )
        for device in home.devices:
            if inventory.get(device.eui64) is None:
                inventory.add(device.smi_device(home.id, today))
                added += 1
    return added


def furnish_registrations(
    registrations: Registrations, future_dated: FutureDated, file: DspFile
) -> None:
    """Registration Data as the file has it now, and the schedules as found."""
    for one in file.registrations:
        registrations.put(Registration(one.mpxn, one.supplier, one.network_operator))
    for schedule in file.schedules:
        future_dated.add_schedule(Schedule(schedule.id, schedule.owner, schedule.device))
