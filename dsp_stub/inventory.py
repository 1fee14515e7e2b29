"""The Smart Metering Inventory: which devices there are, where, and what is known of each.

Source: MP170, annex B (sr:Device of 8.2: forms, valid sets, which item a type has); SEC, Smart
Metering Inventory. `presence` is that table as a function:

    item                            there for
    ------------------------------  ----------------------------------------------------------
    DeviceStatus                    all but IHD, CAD
    SMETSCHTSVersion                all but CAD
    DeviceFirmwareVersion, its      all but IHD, CAD
      status, CPLStatus,
      DeviceGBCSVersion
    DateCommissioned                a device that was commissioned, never IHD, CAD
    ImportMPxN                      ESME (an MPAN), GSME (an MPRN)
    SecondaryImportMPAN             ESME of a variant with B (twin element)
    ExportMPAN                      ESME but for those with G (SAPC, which meters nothing)
    ESMEVariant                     ESME
    PPMIDVariant                    PPMID, always: one without is "PPMID"
    HANVariant                      CHF, always: one without is "Unknown HAN Variant"
    UPRN, PropertyFilter            a device at premises that have it
    CSPRegion                       a device that has it
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from dsp_stub.columns import eui64_of, eui64_text
from dsp_stub.cpl import Cpl
from dsp_stub.errors import DspValueError
from dsp_stub.smi import (
    ENDED,
    EUI64_FIELDS,
    MAX_AT_PREMISES,
    MPAN_DIGITS,
    TYPE_2,
    UNKNOWN_HAN_VARIANT,
    DeviceStatus,
    DeviceType,
    PpmidVariant,
    Premises,
    SmiDevice,
    is_twin_element,
    may_export,
)
from dsp_stub.statuses import effective, require_transition
from dsp_stub.store import Store

_COLUMNS = tuple(field.name for field in fields(SmiDevice))
_PREMISES_COLUMNS = tuple(field.name for field in fields(Premises) if field.name != "responsible")
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM devices"
_IS_LAST_LIFE = (
    "life = (SELECT MAX(life) FROM devices AS lives WHERE lives.device_id = devices.device_id)"
)
# What hubs and homes have: a device that was decommissioned is gone from there, its row is not.
_IS_THERE = f"{_IS_LAST_LIFE} AND NOT deleted AND status IS NOT '{DeviceStatus.DECOMMISSIONED}'"
# CHF and GPF first, then the meters, as an answer to 8.2 is read.
_ORDER = (
    DeviceType.CHF,
    DeviceType.GPF,
    DeviceType.ESME,
    DeviceType.GSME,
    DeviceType.HCALCS,
    DeviceType.PPMID,
    *TYPE_2,
)


class Inventory:
    """The inventory of one DSP."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # -- devices ---------------------------------------------------------------------------

    def add(self, device: SmiDevice) -> None:
        """A new device, or a new life of one that is Decommissioned, Withdrawn or deleted."""
        with self._store.transaction() as connection:
            lives = self.lives(device.device_id)
            if lives and lives[-1].status not in ENDED and not lives[-1].deleted:
                held = lives[-1]
                status = "" if held.status is None else f", {held.status}"
                raise DspValueError(
                    f"{held.device_type} {eui64_text(device.device_id)} is in the inventory "
                    f"already{status}"
                )
            if device.premises is not None:
                self._require_room(device.premises)
            marks = ", ".join("?" * (1 + len(_COLUMNS)))
            connection.execute(
                f"INSERT INTO devices (life, {', '.join(_COLUMNS)}) VALUES ({marks})",
                (len(lives) + 1, *_values(device)),
            )

    def get(self, device_id: int) -> SmiDevice | None:
        """The device in its present life."""
        row = self._store.connection.execute(
            f"{_SELECT} WHERE device_id = ? ORDER BY life DESC LIMIT 1", (eui64_text(device_id),)
        ).fetchone()
        device = None if row is None else _device(row)
        return None if device is None or device.deleted else device

    def lives(self, device_id: int) -> tuple[SmiDevice, ...]:
        """Every life of a device as it was last known, the present one last."""
        return self._devices("device_id = ? ORDER BY life", eui64_text(device_id))

    def set_status(
        self, device_id: int, status: DeviceStatus, *, date_commissioned: str | None = None
    ) -> SmiDevice:
        """To Commissioned a date belongs, unless the device has one. Raises DspValueError for an
        empty cell of the table of statuses; a new life is added, not set."""
        changes: dict[str, Any] = {"status": status}
        if date_commissioned is not None:
            changes["date_commissioned"] = date_commissioned
        with self._store.transaction():
            held = self._held(device_id)
            if held.status in ENDED:
                raise DspValueError(f"device {eui64_text(device_id)} is {held.status} for good")
            require_transition(held, status)
            if status is DeviceStatus.RECOVERY:
                changes["before_recovery"] = effective(held)
            return self._change(device_id, **changes)

    def set_details(self, device_id: int, **details: Any) -> SmiDevice:
        """What was announced and is now known better; which may change is the service's to say."""
        return self._change(device_id, **details)

    def delete(self, device_id: int) -> None:
        """Take a device out that was never installed; its row stays, as a life that is over."""
        self._change(device_id, deleted=True)

    def set_firmware_version(
        self, device_id: int, firmware_version: str, *, gbcs_version: str | None = None
    ) -> SmiDevice:
        """What the device runs now; with it, where that changed, the GBCS version it has."""
        changes: dict[str, Any] = {"firmware_version": firmware_version}
        if gbcs_version is not None:
            changes["gbcs_version"] = gbcs_version
        return self._change(device_id, **changes)

    def attach(self, device_id: int, chf: int | None, premises: int | None) -> SmiDevice:
        """Which hub a device is on, and at which premises; None takes it off."""
        with self._store.transaction():
            held = self._held(device_id)
            if premises is not None:
                self.premises(premises)
                if held.premises != premises:
                    self._require_room(premises)
            return self._change(device_id, chf=chf, premises=premises)

    def devices_on(self, chf: int) -> tuple[SmiDevice, ...]:
        """The devices of one hub, without the hub."""
        return _sorted(self._devices(f"chf = ? AND {_IS_THERE}", eui64_text(chf)))

    def devices_at(self, premises_id: int) -> tuple[SmiDevice, ...]:
        """The devices of one home, the hub first."""
        return _sorted(self._devices(f"premises = ? AND {_IS_THERE}", premises_id))

    def all_devices(self) -> tuple[SmiDevice, ...]:
        """Every device in its present life, by id."""
        return self._devices(f"{_IS_LAST_LIFE} AND NOT deleted ORDER BY device_id")

    def _change(self, device_id: int, **changes: Any) -> SmiDevice:
        with self._store.transaction() as connection:
            device = replace(self._held(device_id), **changes)
            settings = ", ".join(f"{column} = ?" for column in _COLUMNS)
            connection.execute(
                f"UPDATE devices SET {settings} WHERE device_id = ? AND {_IS_LAST_LIFE}",
                (*_values(device), eui64_text(device_id)),
            )
            return device

    def _held(self, device_id: int) -> SmiDevice:
        held = self.get(device_id)
        if held is None:
            raise DspValueError(f"device {eui64_text(device_id)} is not in the inventory")
        return held

    def _require_room(self, premises_id: int) -> None:
        if len(self.devices_at(premises_id)) >= MAX_AT_PREMISES:
            raise DspValueError(
                f"premises {premises_id} have {MAX_AT_PREMISES} devices, which is all they can have"
            )

    def _devices(self, condition: str, *values: str | int) -> tuple[SmiDevice, ...]:
        rows = self._store.connection.execute(f"{_SELECT} WHERE {condition}", values)
        return tuple(map(_device, rows))

    # -- premises --------------------------------------------------------------------------

    def add_premises(self, premises: Premises) -> None:
        with self._store.transaction() as connection:
            if self._premises("id = ?", premises.id):
                raise DspValueError(f"premises {premises.id} are in the inventory already")
            columns = (*_PREMISES_COLUMNS, "address_key")
            values = [getattr(premises, column) for column in _PREMISES_COLUMNS]
            values.append(_address_key(premises.post_code, premises.address_identifier))
            connection.execute(
                f"INSERT INTO premises ({', '.join(columns)}) "
                f"VALUES ({', '.join('?' * len(columns))})",
                values,
            )
            connection.executemany(
                "INSERT INTO responsible VALUES (?, ?, ?)",
                [
                    (premises.id, place, eui64_text(user))
                    for place, user in enumerate(premises.responsible)
                ],
            )

    def premises(self, premises_id: int) -> Premises:
        """The premises with this id, which must be there."""
        found = self._premises("id = ?", premises_id)
        if not found:
            raise DspValueError(f"premises {premises_id} are not in the inventory")
        return found[0]

    def all_premises(self) -> tuple[Premises, ...]:
        return tuple(self._premises("TRUE"))

    def find_premises(
        self,
        *,
        uprn: str | None = None,
        device_id: int | None = None,
        mpxn: str | None = None,
        post_code: str | None = None,
        address_identifier: str | None = None,
    ) -> list[Premises]:
        """The premises one of UPRN, device, MPxN or address (in letters of either case) names:
        none, one, or more where homes share it."""
        if (post_code is None) is not (address_identifier is None):
            raise DspValueError("post_code and address_identifier go together")
        if sum(one is not None for one in (uprn, device_id, mpxn, post_code)) != 1:
            raise DspValueError("premises are found by one of UPRN, device, MPxN and address")
        if uprn is not None:
            # A number to XML, which may begin with zeros.
            return self._premises("uprn = ?", uprn.lstrip("0"))
        if device_id is not None:
            device = self.get(device_id)
            return [] if device is None else self._premises("id = ?", device.premises)
        if mpxn is not None:
            return self._premises(
                "? IN (import_mpxn, secondary_import_mpan, export_mpan, import_mprn)", mpxn
            )
        return self._premises("address_key = ?", _address_key(post_code, address_identifier))

    def set_mpxn(self, premises_id: int, point: str, mpxn: str) -> Premises:
        """Associate another metering point; `point` is the field of Premises."""
        with self._store.transaction() as connection:
            changes: dict[str, Any] = {point: mpxn}
            premises = replace(self.premises(premises_id), **changes)
            columns = ("import_mpxn", "secondary_import_mpan", "export_mpan", "import_mprn")
            connection.execute(
                f"UPDATE premises SET {', '.join(f'{one} = ?' for one in columns)} WHERE id = ?",
                (*(getattr(premises, one) for one in columns), premises_id),
            )
            return premises

    def _premises(self, condition: str, *values: object) -> list[Premises]:
        rows = self._store.connection.execute(
            f"SELECT {', '.join(_PREMISES_COLUMNS)} FROM premises WHERE {condition} ORDER BY id",
            values,
        ).fetchall()
        known = [dict(zip(_PREMISES_COLUMNS, row, strict=True)) for row in rows]
        return [Premises(**one, responsible=self._responsible(one["id"])) for one in known]

    def _responsible(self, premises_id: int) -> tuple[int, ...]:
        rows = self._store.connection.execute(
            "SELECT user FROM responsible WHERE premises = ? ORDER BY place", (premises_id,)
        )
        return tuple(eui64_of(user) for (user,) in rows)


# -- rows --------------------------------------------------------------------------------------


def _values(device: SmiDevice) -> list[str | int | None]:
    return [
        eui64_text(value) if name in EUI64_FIELDS and value is not None else value
        for name, value in ((name, getattr(device, name)) for name in _COLUMNS)
    ]


def _device(row: tuple[Any, ...]) -> SmiDevice:
    known: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    for name in EUI64_FIELDS:
        if known[name] is not None:
            known[name] = eui64_of(known[name])
    known["device_type"] = DeviceType(known["device_type"])
    for name in ("status", "before_recovery"):
        if known[name] is not None:
            known[name] = DeviceStatus(known[name])
    known["deleted"] = bool(known["deleted"])
    if known["ppmid_variant"] is not None:
        known["ppmid_variant"] = PpmidVariant(known["ppmid_variant"])
    return SmiDevice(**known)


def _sorted(devices: tuple[SmiDevice, ...]) -> tuple[SmiDevice, ...]:
    return tuple(sorted(devices, key=lambda one: (_ORDER.index(one.device_type), one.device_id)))


def _address_key(post_code: str | None, address_identifier: str | None) -> str | None:
    if post_code is None or address_identifier is None:
        return None
    # Spaces as XML reads a token.
    lines = (" ".join(line.split()) for line in (post_code, address_identifier))
    return "\n".join(lines).casefold()


# -- what an answer says of a device -----------------------------------------------------------


def presence(device: SmiDevice, premises: Premises | None, cpl: Cpl) -> dict[str, str | None]:
    """The items of sr:Device by their names, in the schema's order; None where there is none."""
    type_ = device.device_type
    has_firmware = type_ not in TYPE_2
    status = _cpl_status(device, cpl) if has_firmware else None
    home = premises or Premises(id=0)
    is_esme = type_ is DeviceType.ESME
    han_variant = device.han_variant or UNKNOWN_HAN_VARIANT
    return {
        "DeviceID": device.device_id.to_bytes(8, "big").hex("-").upper(),
        "DeviceType": type_,
        "DeviceStatus": device.status,
        "DeviceManufacturer": device.manufacturer,
        "DeviceModel": device.model,
        "SMETSCHTSVersion": None if type_ is DeviceType.CAD else device.smets_chts_version,
        "DeviceFirmwareVersion": device.firmware_version if has_firmware else None,
        "DeviceFirmwareVersionStatus": status,
        "CPLStatus": status,
        "DateCommissioned": _xml_date(device.date_commissioned) if has_firmware else None,
        **mpxns_of(device, home),
        "ESMEVariant": device.esme_variant if is_esme else None,
        "PPMIDVariant": (
            device.ppmid_variant or PpmidVariant.PPMID if type_ is DeviceType.PPMID else None
        ),
        "UPRN": home.uprn,
        "PostCode": home.post_code,
        "AddressIdentifier": home.address_identifier,
        "CSPRegion": device.csp_region,
        "DeviceGBCSVersion": device.gbcs_version if has_firmware else None,
        "HANVariant": han_variant if type_ is DeviceType.CHF else None,
    }


def _cpl_status(device: SmiDevice, cpl: Cpl) -> str:
    """Active if an entry for what runs is Current, else Cancelled: what is on no list is not
    approved either, and the item must be there."""
    # The list has communications hubs, not their two halves.
    is_gpf = device.device_type is DeviceType.GPF
    entries = cpl.find(
        device_type=DeviceType.CHF if is_gpf else device.device_type,
        manufacturer=device.manufacturer,
        model=device.model,
        firmware_version=device.firmware_version or "",
        smets_chts_version=device.smets_chts_version,
        gbcs_version=device.gbcs_version,
    )
    return "Active" if any(entry.is_current for entry in entries) else "Cancelled"


def mpxns_of(device: SmiDevice, premises: Premises) -> dict[str, str | None]:
    """The metering points of a home that are recorded against one of its devices."""
    is_esme = device.device_type is DeviceType.ESME
    variant = device.esme_variant
    return {
        "ImportMPxN": _import_mpxn(device.device_type, premises),
        "SecondaryImportMPAN": (
            premises.secondary_import_mpan if is_esme and is_twin_element(variant) else None
        ),
        "ExportMPAN": premises.export_mpan if is_esme and may_export(variant) else None,
    }


def _import_mpxn(device_type: DeviceType, premises: Premises) -> str | None:
    """Of an ESME its MPAN, of a GSME its MPRN, which is shorter."""
    if device_type not in (DeviceType.ESME, DeviceType.GSME):
        return None
    wants_mpan = device_type is DeviceType.ESME
    for mpxn in (premises.import_mpxn, premises.import_mprn):
        if mpxn is not None and (len(mpxn) == MPAN_DIGITS) is wants_mpan:
            return mpxn
    return None


def _xml_date(text: str | None) -> str | None:
    """A UTC date as xs:date."""
    return None if text is None else f"{text}Z"
