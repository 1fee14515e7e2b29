"""The Central Products List: which firmware of which device model may be used.

Source: SEC Appendix Z and the CPL guidance (an entry is all of its seven parameters, is never
amended, and is Current or Removed); MP170, annex B (the forms of manufacturer, model and firmware
version in DUIS, which the list itself writes with colons between octets).

    "00841111"   the model of DUIS: model identifier 0084, hardware version 11, revision 11

A DSP begins with an empty list, and nothing a request says adds to it: that is done by hand, or by
`hanbench cpl add`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, NamedTuple

from dsp_stub.assurance import (
    AssuranceCertificate,
    certificates_from_text,
    certificates_to_text,
)
from dsp_stub.errors import DspValueError
from dsp_stub.smi import (
    FIRMWARE_VERSION_DIGITS,
    MANUFACTURER_DIGITS,
    MAX_SMETS_CHTS_CHARACTERS,
    MODEL_DIGITS,
    TYPE_2,
    DeviceType,
    is_gbcs_version,
    require_digits,
    version_numbers,
)
from dsp_stub.store import Store
from firmware_images.checks import AUTHORISATION_MARK, AUTHORISATION_OCTETS, METER_IMAGE_TYPES
from firmware_images.image import FirmwareImage

HashScope = Literal["manufacturer-image", "whole-file"]
# GBCS hashes the manufacturer image; of a PPMID's entry no public text says it
# (docs/open-points.md, "hash on the CPL").
HASH_SCOPE: HashScope = "manufacturer-image"

HASH_DIGITS = 64
_COLUMNS = (
    "device_type, manufacturer, model_id || hardware_version || hardware_revision, "
    "firmware_version, smets_chts_version, gbcs_version, image_hash, status, certificates"
)


class CplStatus(StrEnum):
    CURRENT = "Current"
    REMOVED = "Removed"


class CplIdentity(NamedTuple):
    """What makes two entries the same."""

    manufacturer: str
    model_id: str
    hardware_version: str
    hardware_revision: str
    firmware_version: str
    smets_chts_version: str
    gbcs_version: str

    def __str__(self) -> str:
        """As the list writes it: octets with colons."""
        octets = ", ".join(map(to_cpl_text, self[:5]))
        return f"{octets}, {self.smets_chts_version}, GBCS {self.gbcs_version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CplEntry:
    """One line of the list. `image_hash` is None for a version that is never sent over the air,
    such as one that devices are delivered with."""

    device_type: DeviceType
    manufacturer: str
    model: str
    firmware_version: str
    smets_chts_version: str
    gbcs_version: str
    image_hash: str | None = None
    status: CplStatus = CplStatus.CURRENT
    certificates: tuple[AssuranceCertificate, ...] = ()

    def __post_init__(self) -> None:
        if self.device_type in (*TYPE_2, DeviceType.GPF):
            raise DspValueError(
                f"a {self.device_type} has no entry in the CPL"
                + (", the CHF it is part of has" if self.device_type is DeviceType.GPF else "")
            )
        require_digits("manufacturer", self.manufacturer, MANUFACTURER_DIGITS)
        require_digits("model", self.model, MODEL_DIGITS)
        require_digits("firmware_version", self.firmware_version, FIRMWARE_VERSION_DIGITS)
        smets_chts = self.smets_chts_version
        if not 0 < len(smets_chts) <= MAX_SMETS_CHTS_CHARACTERS or not smets_chts.isprintable():
            raise DspValueError(
                f"smets_chts_version {smets_chts!r} is not 1 to {MAX_SMETS_CHTS_CHARACTERS} "
                'characters such as "PPMIDTS V4.4"'
            )
        if not is_gbcs_version(self.gbcs_version):
            raise DspValueError(f'gbcs_version {self.gbcs_version!r} is not one such as "4.1"')
        digest = self.image_hash
        if digest is not None and not re.fullmatch(f"[0-9a-f]{{{HASH_DIGITS}}}", digest):
            raise DspValueError(f"image_hash {digest!r} is not {HASH_DIGITS} digits 0 to 9, a to f")

    @property
    def model_id(self) -> str:
        return self.model[:4]

    @property
    def hardware_version(self) -> str:
        return self.model[4:6]

    @property
    def hardware_revision(self) -> str:
        return self.model[6:]

    @property
    def identity(self) -> CplIdentity:
        return CplIdentity(
            self.manufacturer,
            self.model_id,
            self.hardware_version,
            self.hardware_revision,
            self.firmware_version,
            self.smets_chts_version,
            self.gbcs_version,
        )

    @property
    def is_current(self) -> bool:
        return self.status is CplStatus.CURRENT


class Cpl:
    """The list of one DSP."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, entry: CplEntry) -> None:
        """Put a new entry on the list. What was on it once, Removed or not, is not added again."""
        with self._store.transaction() as connection:
            if (held := self.get(entry.identity)) is not None:
                raise DspValueError(
                    f"the CPL has {held.identity} already, {held.status}, and no entry is amended"
                )
            connection.execute(
                "INSERT INTO cpl (manufacturer, model_id, hardware_version, hardware_revision, "
                "firmware_version, smets_chts_version, gbcs_version, device_type, image_hash, "
                "status, certificates) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *entry.identity,
                    entry.device_type,
                    entry.image_hash,
                    entry.status,
                    certificates_to_text(entry.certificates),
                ),
            )

    def remove(self, identity: CplIdentity) -> CplEntry:
        """Set a Current entry to Removed; it stays on the list."""
        with self._store.transaction() as connection:
            held = self.get(identity)
            if held is None:
                raise DspValueError(f"the CPL has no {identity}")
            if not held.is_current:
                raise DspValueError(f"{identity} is Removed from the CPL already")
            connection.execute(
                f"UPDATE cpl SET status = ? WHERE {_IS_IDENTITY}", (CplStatus.REMOVED, *identity)
            )
            return replace(held, status=CplStatus.REMOVED)

    def get(self, identity: CplIdentity) -> CplEntry | None:
        found = self._select(_IS_IDENTITY, *identity)
        return found[0] if found else None

    def find(
        self,
        *,
        device_type: DeviceType | None = None,
        manufacturer: str | None = None,
        model: str | None = None,
        firmware_version: str | None = None,
        smets_chts_version: str | None = None,
        gbcs_version: str | None = None,
    ) -> tuple[CplEntry, ...]:
        """Every entry, of either status, that has what is given; texts of any form may be asked
        for."""
        wanted = {
            "device_type": device_type,
            "manufacturer": manufacturer,
            "model_id || hardware_version || hardware_revision": model,
            "firmware_version": firmware_version,
            "smets_chts_version": smets_chts_version,
            "gbcs_version": gbcs_version,
        }
        given = {column: value for column, value in wanted.items() if value is not None}
        condition = " AND ".join(f"{column} = ?" for column in given)
        return self._select(condition or "TRUE", *given.values())

    def with_hash(self, image_hash: str) -> tuple[CplEntry, ...]:
        """Every entry, of either status, with this hash; models may share an image."""
        return self._select("image_hash = ?", image_hash)

    def is_known(
        self, device_type: DeviceType, manufacturer: str, model: str, firmware_version: str
    ) -> bool:
        """Whether the list has this firmware of this model, Current or Removed."""
        return bool(
            self.find(
                device_type=device_type,
                manufacturer=manufacturer,
                model=model,
                firmware_version=firmware_version,
            )
        )

    def _select(self, condition: str, *values: str) -> tuple[CplEntry, ...]:
        rows = self._store.connection.execute(
            f"SELECT {_COLUMNS} FROM cpl WHERE {condition} ORDER BY rowid", values
        )
        return tuple(map(_entry, rows))


def approved_entry(
    cpl: Cpl,
    device_type: DeviceType,
    manufacturer: str,
    model: str,
    firmware_version: str | None,
    smets_chts_version: str | None,
) -> CplEntry | None:
    """The Current entry for what a device is said to be; of several, that of the latest GBCS."""
    entries = [
        entry
        for entry in cpl.find(
            device_type=device_type,
            manufacturer=manufacturer,
            model=model,
            firmware_version=firmware_version or "",
            smets_chts_version=smets_chts_version or "",
        )
        if entry.is_current
    ]
    return max(entries, key=lambda one: version_numbers(one.gbcs_version), default=None)


_IS_IDENTITY = " AND ".join(f"{column} = ?" for column in CplIdentity._fields)


def _entry(row: tuple[str, str, str, str, str, str, str | None, str, str]) -> CplEntry:
    kind, manufacturer, model, firmware_version, smets_chts, gbcs, digest, status, held = row
    return CplEntry(
        device_type=DeviceType(kind),
        manufacturer=manufacturer,
        model=model,
        firmware_version=firmware_version,
        smets_chts_version=smets_chts,
        gbcs_version=gbcs,
        image_hash=digest,
        status=CplStatus(status),
        certificates=certificates_from_text(held),
    )


# -- forms -------------------------------------------------------------------------------------


def image_hash(image: FirmwareImage, scope: HashScope = HASH_SCOPE) -> str:
    """The hash an entry has for a file.

    The manufacturer image is what follows the header; the supplier's authorisation that ends the
    file of a meter is none of it. A trailer of the maker's own is.
    """
    if scope == "whole-file":
        return image.sha256
    body = image.body
    if image.header.image_type in METER_IMAGE_TYPES and _ends_authorised(body):
        body = body[:-AUTHORISATION_OCTETS]
    return hashlib.sha256(body).hexdigest()


def _ends_authorised(body: memoryview) -> bool:
    start = len(body) - AUTHORISATION_OCTETS
    return start >= 0 and body[start : start + len(AUTHORISATION_MARK)] == AUTHORISATION_MARK


def to_cpl_text(digits: str) -> str:
    """`121D` as the list writes it: `12:1D`."""
    if not digits or len(digits) % 2 or not re.fullmatch("[0-9A-F]*", digits):
        raise DspValueError(f"{digits!r} is not octets in digits 0 to 9, A to F")
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def from_cpl_text(text: str) -> str:
    """`12:1D` as DUIS writes it: `121D`; the list's digits may be small."""
    if not re.fullmatch("[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*", text):
        raise DspValueError(f'{text!r} is not octets with colons, such as "12:1D"')
    return text.replace(":", "").upper()
