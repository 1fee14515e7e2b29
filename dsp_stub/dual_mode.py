"""Which SMETS a PPMID is of: decided by the communications hub it is let in by.

Source: MP202, requirements 5 and 6 (business requirements v0.1, 2.6 and 2.7):

    pre-notified as   the hub is of   the inventory then says
    ----------------  --------------  -----------------------
    SMETS1            SMETS1          SMETS1
    SMETS1            SMETS2+         SMETS2+
    SMETS2+           SMETS1          SMETS1
    SMETS2+           SMETS2+         SMETS2+

The model must be on the CPL for what it then is, Current, and equal in everything but technical
specification and GBCS version; that is asked before 8.11 is carried out. The inventory changes when
the hub has said that it let the device in; a device that is installed stays what it is.
"""

from __future__ import annotations

from datetime import datetime

from dsp_stub.cpl import CplEntry
from dsp_stub.desk import Desk, Refusal
from dsp_stub.errors import DspValueError
from dsp_stub.smi import DeviceStatus, DeviceType, SmiDevice, is_smets1, version_numbers


def entry_on(desk: Desk, device: SmiDevice, hub: SmiDevice) -> CplEntry:
    """The Current CPL entry a PPMID would have on a hub. Raises Refusal, naming the cause."""
    entries = _entries_on(desk, device, hub)
    smets = "SMETS1" if is_smets1(hub.smets_chts_version) else "SMETS2+"
    model = f"model {device.manufacturer} {device.model}, firmware {device.firmware_version}"
    if not entries:
        is_other = is_smets1(device.smets_chts_version) is not is_smets1(hub.smets_chts_version)
        why = " is not dual mode:" if is_other else " too, but"
        raise Refusal(
            "E081110",
            f"the hub is of {smets}, the PPMID{why} the CPL has no entry of {smets} for {model}",
        )
    current = [entry for entry in entries if entry.is_current]
    if not current:
        raise Refusal("E081110", f"every entry of {smets} for {model} is Removed from the CPL")
    return _best(device, current)


def require_installable(desk: Desk, hub: SmiDevice, device_id: int, now: datetime) -> None:
    """A new device is of a model on the CPL for the hub's SMETS, within the installation validity
    period, and of a GBCS that is applicable. Raises Refusal."""
    device = desk.inventory.get(device_id)
    if device is None or device.status is not DeviceStatus.PENDING:
        return
    versions = device.smets_chts_version, device.gbcs_version
    if device.device_type is DeviceType.PPMID:
        entry = entry_on(desk, device, hub)
        versions = entry.smets_chts_version, entry.gbcs_version
    why_not = desk.applicability.why_not_installed(*versions, now.date())
    if why_not is not None:
        raise Refusal("E081109", why_not)


def let_in(desk: Desk, hub: SmiDevice, device_id: int) -> None:
    """A hub has a device in its log: a new one is Whitelisted, and of the hub's SMETS."""
    device = desk.inventory.get(device_id)
    if device is None:
        return
    try:
        desk.inventory.attach(device_id, chf=hub.device_id, premises=hub.premises)
    except DspValueError:
        # Another hub of the premises was quicker; the device is on this one all the same.
        desk.inventory.attach(device_id, chf=hub.device_id, premises=None)
    if device.status is not DeviceStatus.PENDING:
        return
    if device.device_type is DeviceType.PPMID and (entries := _entries_on(desk, device, hub)):
        entry = _best(device, [one for one in entries if one.is_current] or entries)
        desk.inventory.set_details(
            device_id,
            smets_chts_version=entry.smets_chts_version,
            gbcs_version=entry.gbcs_version,
        )
    desk.inventory.set_status(device_id, DeviceStatus.WHITELISTED)


def _entries_on(desk: Desk, device: SmiDevice, hub: SmiDevice) -> list[CplEntry]:
    """The entries of a PPMID's model and firmware for the SMETS of a hub, of either status."""
    of_smets1 = is_smets1(hub.smets_chts_version)
    return [
        entry
        for entry in desk.cpl.find(
            device_type=device.device_type,
            manufacturer=device.manufacturer,
            model=device.model,
            firmware_version=device.firmware_version or "",
        )
        if is_smets1(entry.smets_chts_version) is of_smets1
    ]


def _best(device: SmiDevice, entries: list[CplEntry]) -> CplEntry:
    """The entry for what the device was announced as, else the one of the latest GBCS."""
    return max(
        entries,
        key=lambda entry: (
            (entry.smets_chts_version, entry.gbcs_version)
            == (device.smets_chts_version, device.gbcs_version),
            entry.smets_chts_version == device.smets_chts_version,
            version_numbers(entry.gbcs_version),
        ),
    )
