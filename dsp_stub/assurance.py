"""Assurance certificates of the Central Products List: which a model needs, and when they expire.

Source: CPL guidance, 4.1 (which certificates), 4.3 (the Panel tells 12 and 6 months ahead), 4.4 (an
expiry removes nothing by itself); a SMETS1 model needs none.

    certificate   needed by SMETS2+ models of
    ------------  ----------------------------------------
    ZigBee        every type
    CPA           every type but PPMID and Type 2 devices
    DLMS          ESME
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from dsp_stub.errors import DspValueError
from dsp_stub.smi import TYPE_2, DeviceType, is_smets1

if TYPE_CHECKING:
    from dsp_stub.cpl import CplEntry

NOTICE_MONTHS = (12, 6)
MAX_REFERENCE_CHARACTERS = 60


class Scheme(StrEnum):
    ZIGBEE = "ZigBee"
    CPA = "CPA"
    DLMS = "DLMS"


@dataclass(frozen=True, slots=True, order=True)
class AssuranceCertificate:
    """One certificate; it holds to the end of the day it expires on."""

    scheme: Scheme
    expires: date
    reference: str = ""

    def __post_init__(self) -> None:
        text = self.reference
        if len(text) > MAX_REFERENCE_CHARACTERS or not text.isprintable() or set(text) & {" ", ";"}:
            raise DspValueError(
                f"reference {text!r} is not up to {MAX_REFERENCE_CHARACTERS} characters without "
                "spaces and semicolons"
            )

    def __str__(self) -> str:
        return f"{self.scheme} {self.expires} {self.reference}".rstrip()

    @classmethod
    def parse(cls, text: str) -> AssuranceCertificate:
        """`ZigBee 2030-12-31 ZIG-123`; the reference may be missing."""
        parts = text.split()
        try:
            scheme, expires = Scheme(parts[0]), date.fromisoformat(parts[1])
            if len(parts) > 3 or expires.isoformat() != parts[1]:
                raise ValueError
        except (ValueError, IndexError):
            raise DspValueError(
                f'{text!r} is no certificate such as "ZigBee 2030-12-31 ZIG-123", of '
                f"{', '.join(Scheme)}"
            ) from None
        return cls(scheme, expires, parts[2] if len(parts) == 3 else "")


def certificates_to_text(certificates: Iterable[AssuranceCertificate]) -> str:
    return "; ".join(map(str, certificates))


def certificates_from_text(text: str) -> tuple[AssuranceCertificate, ...]:
    parts = (part.strip() for part in text.split(";"))
    return tuple(AssuranceCertificate.parse(part) for part in parts if part)


def needed(device_type: DeviceType, smets_chts_version: str | None) -> tuple[Scheme, ...]:
    """The certificates a model must have."""
    if is_smets1(smets_chts_version):
        return ()
    schemes = [Scheme.ZIGBEE]
    if device_type is not DeviceType.PPMID and device_type not in TYPE_2:
        schemes.append(Scheme.CPA)
    if device_type is DeviceType.ESME:
        schemes.append(Scheme.DLMS)
    return tuple(schemes)


def missing(entry: CplEntry, today: date) -> tuple[Scheme, ...]:
    """The certificates an entry must have and has not, or not any more."""
    held = {one.scheme for one in entry.certificates if one.expires >= today}
    schemes = needed(entry.device_type, entry.smets_chts_version)
    return tuple(scheme for scheme in schemes if scheme not in held)


class Notice(NamedTuple):
    """A certificate expires within so many months: 12, 6, or 0 when it has."""

    entry: CplEntry
    certificate: AssuranceCertificate
    months: int


def notices(entries: Iterable[CplEntry], today: date) -> list[Notice]:
    """What the Panel tells on a day of the Current SMETS2+ entries, the next to expire first."""
    found = []
    for entry in entries:
        if not entry.is_current or is_smets1(entry.smets_chts_version):
            continue
        for certificate in entry.certificates:
            if certificate.expires < today:
                found.append(Notice(entry, certificate, 0))
                continue
            reached = [
                months
                for months in NOTICE_MONTHS
                if today >= months_before(certificate.expires, months)
            ]
            if reached:
                found.append(Notice(entry, certificate, min(reached)))
    return sorted(found, key=lambda one: (one.certificate, one.entry.identity))


def months_before(day: date, months: int) -> date:
    """The same day of an earlier month, or that month's last."""
    number = day.year * 12 + day.month - 1 - months
    year, month = divmod(number, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
