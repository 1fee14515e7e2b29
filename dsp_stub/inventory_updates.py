"""The services that change the inventory: Decommission Device (8.3), Update Inventory (8.4).

Source: MP170, annex B, 3.8.106 (legal text of 8.4, its codes and its four functions); of 8.3 only
the name, the codes' names and that it makes a device Decommissioned are public.

    8.4, in this order                                     code
    -----------------------------------------------------  ---------------------------------------
    the device exists                                      E19; of details and deletion E080407
    it is no GPF, which follows its CHF                    E080405
    status: one of the device's type                       E080405, of UpdateDeviceStatusCH E080411
            the user is its Responsible Supplier           E080410
            a transition of `statuses`                     E080406, of UpdateDeviceStatusCH E080412
    details, deletion:
            it is Pending, or a Type 2 device              E080407
            the user pre-notified it                       E080410
            there are details                              E080408
            each is one of the type, the CPL has them all  E080409
    MPxN:   one of the device's type, at premises          E080413
            Whitelisted, InstalledNotCommissioned or       E080414
              Commissioned
            the user is a supplier                         E080410
            it is registered for the old and the new one   E080415

    8.3                                                    code
    -----------------------------------------------------  ---------------------------------------
    the device exists; the user is responsible for it      E19, E4
    it has a status, and is no GPF                         E080301
    its status may become Decommissioned                   E080302
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from dsp_stub.columns import eui64_text
from dsp_stub.cpl import approved_entry
from dsp_stub.desk import ACCEPTED, Desk, Refusal
from dsp_stub.errors import DspValueError
from dsp_stub.inventory import mpxns_of
from dsp_stub.inventory_alerts import CommandFailure, DeviceStatusChangeEvent, DspScheduleRemoval
from dsp_stub.inventory_requests import (
    DecommissionDevice,
    DeleteDevice,
    DeviceDetails,
    NewDeviceStatus,
    NewHubStatus,
    NewMpxn,
    UpdateInventory,
)
from dsp_stub.metering_points import field_of, suits
from dsp_stub.smi import (
    TYPE_2,
    DeviceStatus,
    DeviceType,
    PpmidVariant,
    Premises,
    SmiDevice,
    needs_gbcs_4,
    version_numbers,
)
from dsp_stub.statuses import (
    BY_UPDATE_CH,
    BY_UPDATE_EXCEPT_CH,
    effective,
    source,
    with_gpf,
)
from dsp_stub.updates import UpdateState
from dsp_stub.users import SUPPLIERS, User, UserRole

SUPPLIER_PARTIES = SUPPLIERS | {UserRole.EXPORT_SUPPLIER}
_TAKES_MPXN = (
    DeviceStatus.WHITELISTED,
    DeviceStatus.INSTALLED_NOT_COMMISSIONED,
    DeviceStatus.COMMISSIONED,
)


# -- 8.3 ---------------------------------------------------------------------------------------


def decommission(
    desk: Desk, user: User, body: DecommissionDevice, now: datetime
) -> tuple[str, None]:
    """8.3: the device is out of use; 12.2 may announce it anew. A CHF takes its GPF with it."""
    device = _existing(desk, body.device_id, "E19")
    desk.require_responsible(user, device)
    if device.status is None or device.device_type is DeviceType.GPF:
        raise Refusal("E080301", f"a {device.device_type} is not decommissioned by 8.3")
    if source(device, DeviceStatus.DECOMMISSIONED) is None:
        raise Refusal("E080302", f"a device that is {device.status} is not decommissioned")
    gone = [device.device_id]
    desk.inventory.set_status(device.device_id, DeviceStatus.DECOMMISSIONED)
    gpf = _gpf_of(desk, device)
    if gpf is not None and source(gpf, DeviceStatus.DECOMMISSIONED) is not None:
        desk.inventory.set_status(gpf.device_id, DeviceStatus.DECOMMISSIONED)
        gone.append(gpf.device_id)
    for device_id in gone:
        desk.updates.record(now, None, device_id, "decommissioned", "8.3")
    update = desk.updates.open_update(device.device_id)
    if update is not None:
        desk.updates.move(update, UpdateState.CANCELLED, now, "the device was decommissioned")
    _cancel_what_waits(desk, gone, now)
    return ACCEPTED, None


def _cancel_what_waits(desk: Desk, devices: Iterable[int], now: datetime) -> None:
    """N37 for each schedule that goes, N36 for each future-dated request."""
    devices = tuple(devices)
    for schedule in desk.future_dated.delete_schedules(devices):
        removal = DspScheduleRemoval(schedule.device, schedule.id)
        desk.alert((schedule.owner,), desk.codes.schedule_removed, removal, now)
    for request in desk.future_dated.cancel(devices):
        failure = CommandFailure(request.request_id, request.device)
        sender = (request.request_id.originator,)
        desk.alert(sender, desk.codes.future_dated_cancelled, failure, now)


# -- 8.4 ---------------------------------------------------------------------------------------


def update(desk: Desk, user: User, body: UpdateInventory, now: datetime) -> tuple[str, None]:
    """8.4: one of its four functions."""
    change = body.change
    of_pending = isinstance(change, DeviceDetails | DeleteDevice)
    device = _existing(desk, body.device_id, "E080407" if of_pending else "E19")
    if device.device_type is DeviceType.GPF:
        raise Refusal("E080405", "a GPF is updated with its CHF")
    match change:
        case NewDeviceStatus():
            _set_status(desk, user, device, DeviceStatus(change.status))
        case NewHubStatus():
            _set_hub_status(desk, user, device, DeviceStatus(change.status), now)
        case DeviceDetails():
            _require_announced_by(desk, user, device)
            _set_details(desk, device, change)
        case DeleteDevice():
            _require_announced_by(desk, user, device)
            _delete(desk, device, now)
        case NewMpxn():
            _set_mpxn(desk, user, device, change, now)
    return ACCEPTED, None


def _existing(desk: Desk, device_id: int, code: str) -> SmiDevice:
    device = desk.inventory.get(device_id)
    if device is None:
        raise Refusal(code, f"device {eui64_text(device_id)} is not in the inventory")
    return device


def _gpf_of(desk: Desk, chf: SmiDevice) -> SmiDevice | None:
    if chf.device_type is not DeviceType.CHF or chf.associated_gpf is None:
        return None
    return desk.inventory.get(chf.associated_gpf)


# -- status ------------------------------------------------------------------------------------


def _set_status(desk: Desk, user: User, device: SmiDevice, status: DeviceStatus) -> None:
    if device.device_type is DeviceType.CHF or device.device_type in TYPE_2:
        raise Refusal("E080405", f"UpdateDeviceStatusExceptCH is not for a {device.device_type}")
    _require_responsible_supplier(desk, user, device)
    if (effective(device), status) not in BY_UPDATE_EXCEPT_CH:
        raise Refusal("E080406", f"8.4 makes no {device.status} device {status}")
    desk.inventory.set_status(device.device_id, status)


def _set_hub_status(
    desk: Desk, user: User, device: SmiDevice, status: DeviceStatus, now: datetime
) -> None:
    if device.device_type is not DeviceType.CHF:
        raise Refusal("E080411", f"UpdateDeviceStatusCH is not for a {device.device_type}")
    _require_responsible_supplier(desk, user, device)
    if (effective(device), status) not in BY_UPDATE_CH:
        raise Refusal("E080412", f"8.4 makes no {device.status} CHF {status}")
    commissioned = status is DeviceStatus.COMMISSIONED
    today = now.date().isoformat() if commissioned else None
    desk.inventory.set_status(device.device_id, status, date_commissioned=today)
    gpf = _gpf_of(desk, device)
    if gpf is not None and (follows := with_gpf(status, effective(gpf))) is not None:
        desk.inventory.set_status(gpf.device_id, follows)
    if status is DeviceStatus.WITHDRAWN:
        on_hub = desk.inventory.devices_on(device.device_id)
        _cancel_what_waits(desk, (device.device_id, *(one.device_id for one in on_hub)), now)


def _require_responsible_supplier(desk: Desk, user: User, device: SmiDevice) -> None:
    responsible = desk.responsible(device)
    if user.role not in SUPPLIERS or (responsible and user.eui64 not in responsible):
        sentence = f"user {eui64_text(user.eui64)} is not the Responsible Supplier"
        raise Refusal("E080410", sentence)


# -- details, deletion -------------------------------------------------------------------------


def _require_announced_by(desk: Desk, user: User, device: SmiDevice) -> None:
    if device.device_type not in TYPE_2 and effective(device) is not DeviceStatus.PENDING:
        raise Refusal("E080407", f"the device is {device.status}, not Pending")
    owners = (device.prenotified_by,) if device.prenotified_by else desk.responsible(device)
    if user.eui64 not in owners:
        sentence = f"user {eui64_text(user.eui64)} did not pre-notify the device"
        raise Refusal("E080410", sentence)


def _set_details(desk: Desk, device: SmiDevice, details: DeviceDetails) -> None:
    given: dict[str, object] = dict(details.given())
    if not given:
        raise Refusal("E080408", "there is nothing to be updated")
    _require_applicable(device.device_type, details)
    if details.ppmid_variant is not None:
        given["ppmid_variant"] = PpmidVariant(details.ppmid_variant)
    try:
        changed = replace(device, **given)  # type: ignore[arg-type]
    except DspValueError as error:
        raise Refusal("E080409", str(error)) from None
    if device.device_type not in TYPE_2:
        gbcs_version = _approved(desk, changed)
        if needs_gbcs_4(changed.esme_variant) and version_numbers(gbcs_version) < (4, 0):
            variant = changed.esme_variant
            raise Refusal("E080409", f"ESMEVariant {variant} is not for GBCS {gbcs_version}")
        given["gbcs_version"] = gbcs_version
    desk.inventory.set_details(device.device_id, **given)
    gpf = _gpf_of(desk, device)
    if gpf is not None:
        desk.inventory.set_details(gpf.device_id, **given)


def _require_applicable(device_type: DeviceType, details: DeviceDetails) -> None:
    applicable = {
        "SMETSCHTSVersion": (details.smets_chts_version, device_type is not DeviceType.CAD),
        "FirmwareVersion": (details.firmware_version, device_type not in TYPE_2),
        "ESMEVariant": (details.esme_variant, device_type is DeviceType.ESME),
        "PPMIDVariant": (details.ppmid_variant, device_type is DeviceType.PPMID),
    }
    for item, (value, belongs) in applicable.items():
        if value is not None and not belongs:
            raise Refusal("E080409", f"{item} does not belong to a {device_type}")


def _approved(desk: Desk, device: SmiDevice) -> str:
    """The GBCS version the CPL has for what a device would then be."""
    entry = approved_entry(
        desk.cpl,
        device.device_type,
        device.manufacturer,
        device.model,
        device.firmware_version,
        device.smets_chts_version,
    )
    if entry is None:
        sentence = (
            f"{device.device_type} {device.manufacturer} {device.model} with firmware "
            f"{device.firmware_version} and {device.smets_chts_version} is not on the Central "
            "Products List as Current"
        )
        raise Refusal("E080409", sentence)
    return entry.gbcs_version


def _delete(desk: Desk, device: SmiDevice, now: datetime) -> None:
    gpf = _gpf_of(desk, device)
    for one in filter(None, (device, gpf)):
        desk.inventory.delete(one.device_id)
        desk.updates.record(now, None, one.device_id, "deleted", "8.4")


# -- metering points ---------------------------------------------------------------------------


def _set_mpxn(desk: Desk, user: User, device: SmiDevice, change: NewMpxn, now: datetime) -> None:
    item, new = next(
        (item, value)
        for item, value in (
            ("ImportMPxN", change.import_mpxn),
            ("SecondaryImportMPAN", change.secondary_import_mpan),
            ("ExportMPAN", change.export_mpan),
        )
        if value is not None
    )
    if not suits(device, item, new):
        raise Refusal("E080413", f"{item} {new} is not one of this {device.device_type}")
    if device.premises is None:
        raise Refusal("E080413", "the device is at no premises")
    if effective(device) not in _TAKES_MPXN:
        raise Refusal("E080414", f"the device is {device.status}")
    if user.role not in SUPPLIER_PARTIES:
        raise Refusal("E080410", f"a user in role {user.role} is no supplier")
    premises = desk.inventory.premises(device.premises)
    old = mpxns_of(device, premises)[item]
    for mpxn in filter(None, (old, new)):
        registration = desk.registrations.get(mpxn)
        suppliers = premises.responsible if mpxn == old else ()
        if registration is not None:
            suppliers = (registration.supplier,)
        if suppliers and user.eui64 not in suppliers:
            sentence = f"user {eui64_text(user.eui64)} is not the Registered Supplier of {mpxn}"
            raise Refusal("E080415", sentence)
    premises = desk.inventory.set_mpxn(premises.id, field_of(device, item, premises), new)
    _tell_network_operator(desk, device, premises, new, now)


def _tell_network_operator(
    desk: Desk, device: SmiDevice, premises: Premises, mpxn: str, now: datetime
) -> None:
    """N16, where a meter has the import metering point that the alert must name."""
    points = mpxns_of(device, premises)
    registration = desk.registrations.get(mpxn)
    operator = None if registration is None else registration.network_operator
    if operator is None or points["ImportMPxN"] is None:
        return
    event = DeviceStatusChangeEvent(
        device.device_id,
        points["ImportMPxN"],
        points["SecondaryImportMPAN"],
        points["ExportMPAN"],
        device.esme_variant if device.device_type is DeviceType.ESME else None,
    )
    desk.alert((operator,), desk.codes.mpxn_updated, event, now)
