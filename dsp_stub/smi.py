"""What the inventory holds: devices and premises, their types, statuses and variants.

Source: MP170, annex B (sr:Device: valid sets and forms; Table 229a, PPMIDVariant); SEC, Smart
Metering Inventory.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from dsp_stub.columns import eui64_text
from dsp_stub.errors import DspValueError

MANUFACTURER_DIGITS = 4
MODEL_DIGITS = 8
FIRMWARE_VERSION_DIGITS = 8
MAX_FREE_CHARACTERS = 30  # of an IHD's or CAD's manufacturer and model
MAX_SMETS_CHTS_CHARACTERS = 20  # of sr:SMETSCHTSVersion
MAX_UPRN_DIGITS = 12
MPAN_DIGITS = 13  # an MPRN has fewer
MeteringPoints = tuple[tuple[str, str], ...]  # each with its item, such as ImportMPxN
MAX_AT_PREMISES = 17  # devices in the answer to an 8.2
POST_CODE_CHARACTERS = range(6, 9)
ADDRESS_IDENTIFIER_CHARACTERS = range(1, 31)

UNKNOWN_HAN_VARIANT = "Unknown HAN Variant"
HAN_VARIANTS = (
    "Single Band (2.4GHz only)",
    "Dual Band (868MHz and 2.4GHz)",
    UNKNOWN_HAN_VARIANT,
)
CSP_REGIONS = ("North", "Central", "South", "Unknown")


class DeviceType(StrEnum):
    ESME = "ESME"
    GSME = "GSME"
    GPF = "GPF"
    CHF = "CHF"
    HCALCS = "HCALCS"
    PPMID = "PPMID"
    IHD = "IHD"
    CAD = "CAD"


TYPE_2 = (DeviceType.IHD, DeviceType.CAD)
"""They have no firmware, no status, and free texts for manufacturer and model."""


class DeviceStatus(StrEnum):
    PENDING = "Pending"
    WHITELISTED = "Whitelisted"
    INSTALLED_NOT_COMMISSIONED = "InstalledNotCommissioned"
    COMMISSIONED = "Commissioned"
    DECOMMISSIONED = "Decommissioned"
    WITHDRAWN = "Withdrawn"
    SUSPENDED = "Suspended"
    RECOVERY = "Recovery"
    RECOVERED = "Recovered"


ENDED = (DeviceStatus.DECOMMISSIONED, DeviceStatus.WITHDRAWN)
"""After these the same device id may be pre-notified again."""


class PpmidVariant(StrEnum):
    PPMID = "PPMID"
    BRIDGE_1 = "AltHAN Bridge 1"
    BRIDGE_2 = "AltHAN Bridge 2"
    BRIDGE_3 = "AltHAN Bridge 3"
    BRIDGE_4 = "AltHAN Bridge 4"


MAX_GBCS_CHARACTERS = 20
_GBCS_VERSION = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}")
FIRST_SMETS2_VERSION = (1, 58)
_SMETS_VERSION = re.compile(r"(?:SMETS([12]?) ?)?V?([0-9]{1,5})\.([0-9]{1,5})(?:\.[0-9]{1,5})*")

EUI64_FIELDS = ("device_id", "associated_gpf", "chf", "prenotified_by")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiDevice:
    """One device as the inventory has it. `chf` is the hub it is on, `premises` the id of a
    Premises, `date_commissioned` a UTC date such as "2026-01-01"; only Type 2 devices have no
    status. `before_recovery` is the status a device in Recovery or Recovered had; `deleted` is one
    that 8.4 took out again before it was installed."""

    device_id: int
    device_type: DeviceType
    status: DeviceStatus | None
    manufacturer: str
    model: str
    firmware_version: str | None = None
    smets_chts_version: str | None = None
    gbcs_version: str | None = None
    esme_variant: str | None = None
    ppmid_variant: PpmidVariant | None = None
    associated_gpf: int | None = None
    chf: int | None = None
    premises: int | None = None
    date_commissioned: str | None = None
    han_variant: str | None = None
    csp_region: str | None = None
    prenotified_by: int | None = None
    before_recovery: DeviceStatus | None = None
    deleted: bool = False

    def __post_init__(self) -> None:
        for name in EUI64_FIELDS:
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1 << 64:
                raise DspValueError(f"{name} {value:#x} is no EUI-64")
        if (self.status is None) is not (self.device_type in TYPE_2):
            problem = "has no status" if self.status is None else f"cannot be {self.status}"
            raise DspValueError(f"{self.device_type} {eui64_text(self.device_id)} {problem}")
        if self.device_type in TYPE_2:
            for text in (self.manufacturer, self.model):
                if not 0 < len(text) <= MAX_FREE_CHARACTERS:
                    raise DspValueError(f"{text!r} is not 1 to {MAX_FREE_CHARACTERS} characters")
        else:
            require_digits("manufacturer", self.manufacturer, MANUFACTURER_DIGITS)
            require_digits("model", self.model, MODEL_DIGITS)
        if self.firmware_version is not None:
            require_digits("firmware_version", self.firmware_version, FIRMWARE_VERSION_DIGITS)
        if self.date_commissioned is not None:
            _require_date(self.date_commissioned)
        elif self.status is DeviceStatus.COMMISSIONED:
            raise DspValueError(
                f"{self.device_type} {eui64_text(self.device_id)} is Commissioned without a date"
            )
        _require_member("han_variant", self.han_variant, HAN_VARIANTS)
        _require_member("csp_region", self.csp_region, CSP_REGIONS)

    @property
    def hardware_version(self) -> int:
        """Version and revision as the hardware range of an image counts them; not of Type 2."""
        return int(self.model[4:], 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """One home: its address, its metering points, and the users responsible for it.

    `import_mpxn` is the electricity meter's MPAN, or the gas meter's MPRN in a home with gas only;
    with both, `import_mprn` is the gas meter's.
    """

    id: int
    uprn: str | None = None
    post_code: str | None = None
    address_identifier: str | None = None
    import_mpxn: str | None = None
    secondary_import_mpan: str | None = None
    export_mpan: str | None = None
    import_mprn: str | None = None
    responsible: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.uprn is not None and not re.fullmatch(
            f"[1-9][0-9]{{0,{MAX_UPRN_DIGITS - 1}}}", self.uprn
        ):
            raise DspValueError(f"uprn {self.uprn!r} is not 1 to {MAX_UPRN_DIGITS} digits")
        if (self.post_code is None) is not (self.address_identifier is None):
            raise DspValueError("post_code and address_identifier go together")
        if self.post_code is not None and self.address_identifier is not None:
            _require_line("post_code", self.post_code, POST_CODE_CHARACTERS)
            _require_line(
                "address_identifier", self.address_identifier, ADDRESS_IDENTIFIER_CHARACTERS
            )
        for mpxn in self.mpxns:
            if not re.fullmatch(f"[0-9]{{1,{MPAN_DIGITS}}}", mpxn):
                raise DspValueError(f"{mpxn!r} is no MPxN of 1 to {MPAN_DIGITS} digits")
        for mpan in (self.secondary_import_mpan, self.export_mpan):
            if mpan is not None and len(mpan) != MPAN_DIGITS:
                raise DspValueError(f"{mpan!r} is no MPAN of {MPAN_DIGITS} digits")
        for user in self.responsible:
            if not 0 <= user < 1 << 64:
                raise DspValueError(f"user {user:#x} is no EUI-64")
        if len(set(self.responsible)) != len(self.responsible):
            raise DspValueError("one user is responsible twice")

    @property
    def mpxns(self) -> tuple[str, ...]:
        points = (
            self.import_mpxn,
            self.secondary_import_mpan,
            self.export_mpan,
            self.import_mprn,
        )
        return tuple(point for point in points if point is not None)


# -- forms -------------------------------------------------------------------------------------


def is_smets1(smets_chts_version: str | None) -> bool:
    """Whether a version such as "SMETS V1.2" is one of SMETS1: SMETS2 began with 1.58."""
    match = _SMETS_VERSION.fullmatch(smets_chts_version or "")
    if match is None:
        return False
    return match[1] == "1" or (int(match[2]), int(match[3])) < FIRST_SMETS2_VERSION


def is_twin_element(esme_variant: str | None) -> bool:
    return "B" in elements_of(esme_variant)


def may_export(esme_variant: str | None) -> bool:
    """Every ESME but an SAPC, which meters nothing."""
    return "G" not in elements_of(esme_variant)


def needs_gbcs_4(esme_variant: str | None) -> bool:
    """Variants with APC or SAPC are not applicable before GBCS 4.0."""
    return not {"F", "G"}.isdisjoint(elements_of(esme_variant))


def elements_of(esme_variant: str | None) -> str:
    """The letters of an ESME variant, without a text behind them."""
    return (esme_variant or "").partition(".")[0]


def is_gbcs_version(text: str) -> bool:
    return len(text) <= MAX_GBCS_CHARACTERS and _GBCS_VERSION.fullmatch(text) is not None


def version_numbers(text: str) -> tuple[int, ...]:
    """4.1 is below 4.10."""
    return tuple(int(part) for part in text.split("."))


def require_digits(name: str, text: str, digits: int) -> None:
    """Refuse what is not so many hexadecimal digits, letters large."""
    if not re.fullmatch(f"[0-9A-F]{{{digits}}}", text):
        raise DspValueError(f"{name} {text!r} is not {digits} digits 0 to 9, A to F")


def _require_date(text: str) -> None:
    try:
        is_date = date.fromisoformat(text).isoformat() == text
    except ValueError:
        is_date = False
    if not is_date:
        raise DspValueError(f'date_commissioned {text!r} is not a date such as "2026-01-01"')


def _require_member(name: str, text: str | None, valid: Collection[str]) -> None:
    if text is not None and text not in valid:
        raise DspValueError(f"{name} {text!r} is none of {', '.join(valid)}")


def _require_line(name: str, text: str, lengths: range) -> None:
    if len(text) not in lengths or not text.isprintable():
        raise DspValueError(f"{name} {text!r} is not {lengths[0]} to {lengths[-1]} characters")
