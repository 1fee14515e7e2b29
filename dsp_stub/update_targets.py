"""What an 11.4 or an 11.1 asks of a device, read from the inventory for many devices at once.

Source: MP170 (legal text of 11.4), SECMP0007 (GBCS versions). Devices that are alike in all of it
share one `Target`, so that a list of 50 000 is judged a few times. What was read is kept until a
row it came from changes: triggers of this connection tell which do, and whatever another process
writes makes everything be read anew. Inside a transaction nothing is kept.

    of each device                                         list
    -----------------------------------------------------  --------------------------
    in the inventory, of a type the service is for, the    InvalidDeviceID
      user's to update
    of a status that takes firmware, on a hub              NotCommissionedDeviceID
    of the model on the CPL, hardware in the header's      NotApplicableFirmwareDeviceID
      range, SMETS2 or later
    a PPMID or HCALCS: GBCS version of it and of its CHF   InvalidGBCSVersion
      is high enough

A meter takes firmware when it is Commissioned; a PPMID or a bridge's end may before, where the
option `commissioned` is not "strict".
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dsp_stub.columns import eui64_of, eui64_text
from dsp_stub.cpl import CplEntry
from dsp_stub.options import Options
from dsp_stub.smi import (
    ENDED,
    DeviceStatus,
    DeviceType,
    PpmidVariant,
    is_smets1,
    version_numbers,
)
from dsp_stub.store import Store
from firmware_images.image import FirmwareImage

MAX_KEPT = 1_000_000
# Devices read in one step: between two of them others have their turn.
SLICE = 1_000
# What waits to be joined to a meter: never a bridge's end (MP170), and a PPMID's only where there
# is no meter.
_UNCOMMISSIONED = (DeviceStatus.WHITELISTED, DeviceStatus.INSTALLED_NOT_COMMISSIONED)
# Their firmware over the HAN came with a version of GBCS; that of meters was always there.
_OF_SECMP0007 = (DeviceType.PPMID, DeviceType.HCALCS)

# A meter that stands in the inventory alone, without a hub's device log, is none of the HAN.
_SELECT = """
SELECT listed.value, d.device_type, d.status, d.manufacturer, d.model, d.smets_chts_version,
    d.gbcs_version, d.ppmid_variant, d.chf, h.gbcs_version,
    CASE WHEN d.premises IS NULL THEN d.prenotified_by ELSE
        (SELECT group_concat(user) FROM responsible WHERE premises = d.premises) END,
    d.status IN ('Whitelisted', 'InstalledNotCommissioned') AND EXISTS (
        SELECT 1 FROM devices AS meter WHERE meter.chf = d.chf
        AND meter.device_type IN ('ESME', 'GSME') AND NOT meter.deleted
        AND meter.status != 'Decommissioned' AND meter.life =
        (SELECT MAX(life) FROM devices AS lives WHERE lives.device_id = meter.device_id))
FROM json_each(?) AS listed
JOIN devices AS d ON d.rowid = (SELECT rowid FROM devices WHERE device_id = listed.value
    ORDER BY life DESC LIMIT 1) AND NOT d.deleted
LEFT JOIN devices AS h ON h.rowid = (SELECT rowid FROM devices WHERE device_id = d.chf
    ORDER BY life DESC LIMIT 1) AND NOT h.deleted
"""

# Of this connection only, and in memory.
_WATCH = (
    "PRAGMA temp_store = MEMORY",
    "CREATE TEMP TABLE IF NOT EXISTS changed_devices (device_id TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TEMP TRIGGER IF NOT EXISTS device_added AFTER INSERT ON main.devices BEGIN "
    "INSERT OR IGNORE INTO changed_devices VALUES (NEW.device_id); "
    "INSERT OR IGNORE INTO changed_devices SELECT NEW.chf WHERE NEW.chf IS NOT NULL; END",
    "CREATE TEMP TRIGGER IF NOT EXISTS device_changed AFTER UPDATE ON main.devices BEGIN "
    "INSERT OR IGNORE INTO changed_devices VALUES (NEW.device_id); "
    "INSERT OR IGNORE INTO changed_devices SELECT NEW.chf WHERE NEW.chf IS NOT NULL; "
    "INSERT OR IGNORE INTO changed_devices SELECT OLD.chf WHERE OLD.chf IS NOT NULL; END",
    *(
        f"CREATE TEMP TRIGGER IF NOT EXISTS responsible_{verb} "
        f"AFTER {verb} ON main.responsible BEGIN "
        f"INSERT OR IGNORE INTO changed_devices SELECT device_id FROM main.devices "
        f"WHERE premises = {row}.premises; END"
        for verb, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
    ),
)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What devices that are judged alike have in common. Equal ones are one object."""

    device_type: DeviceType
    status: DeviceStatus | None
    manufacturer: str
    model: str
    smets_chts_version: str | None
    gbcs_version: str | None
    ppmid_variant: PpmidVariant | None
    is_on_hub: bool
    hub_gbcs_version: str | None
    responsible: tuple[int, ...]
    has_joined_meter: bool

    @property
    def is_there(self) -> bool:
        """Whether it can be reached at all."""
        return self.status not in ENDED and self.is_on_hub


class UpdateTargets:
    """The devices of one inventory as targets of updates."""

    def __init__(self, store: Store) -> None:
        self._connection = store.connection
        self._shared: dict[tuple[Any, ...], Target] = {}
        self._targets: dict[int, Target] = {}
        self._hubs: dict[int, int] = {}
        self._data_version = -1
        for statement in _WATCH:
            self._connection.execute(statement)

    def of(self, devices: Sequence[int]) -> list[Target | None]:
        """One for each device, None for what is not in the inventory."""
        if self._connection.in_transaction:
            # What is written may still be taken back.
            found = {device: target for device, target, _ in self._read(devices)}
            return [found.get(device) for device in devices]
        self._forget_changed()
        missing = [device for device in devices if device not in self._targets]
        if missing:
            if len(self._targets) + len(missing) > MAX_KEPT:
                self._clear()
                missing = list(devices)
            for device, target, hub in self._read(missing):
                self._targets[device] = target
                self._hubs[device] = hub
        return list(map(self._targets.get, devices))

    def hubs_of(self, devices: Sequence[int]) -> list[int]:
        """The hub of each device, all of which are on one."""
        if not self._connection.in_transaction:
            self._forget_changed()
        hubs = list(map(self._hubs.get, devices))
        if None in hubs or (self._connection.in_transaction and self._has_changed()):
            found = {device: hub for device, _, hub in self._read(devices)}
            return [found[device] for device in devices]
        return hubs  # type: ignore[return-value]

    def warm(self) -> Iterator[None]:
        """Read every PPMID of the inventory, a slice a step."""
        rows = self._connection.execute(
            "SELECT device_id FROM devices WHERE device_type = 'PPMID' ORDER BY device_id"
        ).fetchall()
        devices = (eui64_of(text) for (text,) in rows[:MAX_KEPT])
        while part := list(islice(devices, SLICE)):
            self.of(part)
            yield

    def _read(self, devices: Sequence[int]) -> Iterator[tuple[int, Target, int]]:
        listed = json.dumps([eui64_text(device) for device in devices])
        for device, *row, chf, hub_gbcs, responsible, has_meter in self._connection.execute(
            _SELECT, (listed,)
        ):
            key = (*row, chf is None, hub_gbcs, responsible, has_meter)
            target = self._shared.get(key)
            if target is None:
                target = self._shared[key] = _target(row, chf, hub_gbcs, responsible, has_meter)
            yield eui64_of(device), target, 0 if chf is None else eui64_of(chf)

    def _has_changed(self) -> bool:
        return (
            self._connection.execute("SELECT 1 FROM changed_devices LIMIT 1").fetchone() is not None
        )

    def _forget_changed(self) -> None:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._data_version:
            self._data_version = version
            self._clear()
        if not self._has_changed():
            return
        for (text,) in self._connection.execute(
            "SELECT device_id FROM changed_devices UNION ALL SELECT device_id FROM devices "
            "WHERE chf IN (SELECT device_id FROM changed_devices)"
        ):
            self._targets.pop(eui64_of(text), None)
            self._hubs.pop(eui64_of(text), None)
        self._connection.execute("DELETE FROM changed_devices")

    def _clear(self) -> None:
        self._targets.clear()
        self._hubs.clear()
        self._shared.clear()


def _target(
    row: Sequence[Any], chf: str | None, hub_gbcs: str | None, responsible: str | None, meter: int
) -> Target:
    type_, status, manufacturer, model, smets, gbcs, variant = row
    return Target(
        DeviceType(type_),
        None if status is None else DeviceStatus(status),
        manufacturer,
        model,
        smets,
        gbcs,
        None if variant is None else PpmidVariant(variant),
        chf is not None,
        hub_gbcs,
        tuple(map(eui64_of, responsible.split(","))) if responsible else (),
        bool(meter),
    )


# -- judging -----------------------------------------------------------------------------------


def list_for(
    target: Target | None,
    user: int,
    image: FirmwareImage,
    entries: Sequence[CplEntry],
    types: Collection[DeviceType],
    options: Options,
) -> str | None:
    """The list such a device goes into, None when it can be updated."""
    if target is None or target.device_type not in types:
        return "invalid_device_ids"
    if target.responsible and user not in target.responsible:
        return "invalid_device_ids"
    if not _takes_firmware(target, options):
        return "not_commissioned_device_ids"
    if not _is_applicable(target, image, entries):
        return "not_applicable_firmware_device_ids"
    if target.device_type in _OF_SECMP0007 and not _has_gbcs_version(target, options):
        return "invalid_gbcs_version"
    return None


def _takes_firmware(target: Target, options: Options) -> bool:
    if not target.is_on_hub:
        return False
    if target.status is DeviceStatus.COMMISSIONED or target.device_type is not DeviceType.PPMID:
        return target.status is DeviceStatus.COMMISSIONED
    if options.commissioned == "strict" or target.status not in _UNCOMMISSIONED:
        return False
    return target.ppmid_variant is not PpmidVariant.PPMID or not target.has_joined_meter


def _is_applicable(target: Target, image: FirmwareImage, entries: Sequence[CplEntry]) -> bool:
    hardware_version = int(target.model[4:], 16)
    return (
        image.header.fits_hardware(hardware_version)
        and any(
            (entry.device_type, entry.manufacturer, entry.model)
            == (target.device_type, target.manufacturer, target.model)
            for entry in entries
        )
        and not is_smets1(target.smets_chts_version)
    )


def _has_gbcs_version(target: Target, options: Options) -> bool:
    """Whether the device and its hub are of a version that takes firmware so."""
    least = version_numbers(options.least_gbcs_version)
    versions = (target.gbcs_version, target.hub_gbcs_version)
    return all(version is not None and version_numbers(version) >= least for version in versions)
