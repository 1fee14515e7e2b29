"""The services with a command for a device that are neither joins nor about credentials: 8.9, 8.11,
8.12.1, 11.2, 11.3.

Source: DUIS 8.9 to 11.3; GBCS use cases CCS01, CCS02 (8.11), CCS03 (8.12.1), CCS05/CCS04, CCS06,
CCS07 and CS07 (8.9), CS08, ECS52 and GCS38 (11.2), CS06 (11.3). Which code says what is ours, where
only its name is public (dsp_stub.response_codes). Each function decides on a command; who gives it
and when is the business of `command_services`, what the device answers that of `inbound`.
"""

from __future__ import annotations

from typing import Any

from dsp_stub.columns import eui64_text
from dsp_stub.desk import Desk, Refusal
from dsp_stub.metering_points import suits, why_not_of
from dsp_stub.moments import execution_text, execution_time
from dsp_stub.plans import Plan, Voice, voice_for
from dsp_stub.requests import (
    ActivateFirmware,
    ReadDeviceLog,
    ReadFirmwareVersion,
    RestoreHanDeviceLog,
    UpdateHanDeviceLog,
)
from dsp_stub.smi import (
    MAX_AT_PREMISES,
    TYPE_2,
    DeviceStatus,
    DeviceType,
    MeteringPoints,
    SmiDevice,
    version_numbers,
)
from dsp_stub.targets import require_target
from dsp_stub.users import User
from dsp_stub.wan_types import WAN_TYPES
from gbcs import wan
from gbcs.axdr import invoke_id
from gbcs.codes import (
    CCS01_ADD_DEVICE,
    CCS02_REMOVE_DEVICE,
    CCS03_RESTORE_LOG,
    CCS05_CCS04_READ_LOG,
    CCS06_READ_LOG,
    CCS07_READ_LOGS,
    CS06_ACTIVATE_FIRMWARE,
    CS07_READ_JOIN_DETAILS,
    CS08_READ_FIRMWARE_VERSION,
    ECS52_READ_METER_VERSION,
    GCS38_READ_METER_VERSION,
)
from gbcs.device_log import (
    REMOVE_DEVICE,
    RESTORE_LOG,
    AddDevice,
    RemoveDevice,
    RestoreLog,
    build_add_device,
)
from gbcs.firmware import (
    ACTIVATE_FIRMWARE,
    READ_FIRMWARE_VERSION,
)
from gbcs.firmware import (
    ActivateFirmware as Cs06,
)
from gbcs.firmware import ReadFirmwareVersion as Cs08
from gbcs.hub_log import (
    DEVICE_LOG_CHANGED_ALERT,
    READ_DEVICE_LOGS,
    READ_HAN_STATUS,
    LogBackup,
    ReadDeviceLogs,
    ReadHanStatus,
)
from gbcs.joining import READ_JOIN_DETAILS, ReadJoinDetails
from gbcs.meter_versions import (
    READ_GAS_METER_VERSION,
    READ_METER_VERSION,
    ReadGasMeterVersion,
    ReadMeterVersion,
)

TYPE_1 = (DeviceType.PPMID, DeviceType.HCALCS)
MAX_TYPE_1 = 6  # MP170: PPMIDs, HCALCSs and bridges of one hub
MAX_LOG_ENTRIES = MAX_AT_PREMISES - 2  # less CHF and GPF
# Hubs of GBCS 2.0 and later answer CCS06 (docs/open-points.md, "8.9 of a CHF").
_LEAST_FOR_CCS06 = (2, 0)
# What a log can have: all but the hub's own two halves.
_IN_A_LOG = tuple(kind for kind in WAN_TYPES if kind not in (DeviceType.CHF, DeviceType.GPF))


def _refuse_later(execution_date_time: str | None) -> None:
    if execution_date_time is not None:
        raise Refusal("E12", "a later time of execution is not offered for this service")


# -- 8.11 --------------------------------------------------------------------------------------


def plan_update_log(
    desk: Desk, user: User, hub_id: int, body: UpdateHanDeviceLog
) -> tuple[SmiDevice, Plan]:
    """8.11: a hub is told to let a device in, or to strike it off."""
    hub = require_target(desk, user, "8.11", hub_id)
    _refuse_later(body.execution_date_time)
    if body.request_type != "Add":
        return hub, _plan_removal(desk, hub, body)
    if body.install_code is None or body.join_time_period_s is None:
        raise Refusal("E081105", "the details of the device to add are missing")
    device = _addable(desk, hub, body.device_id)
    _require_points(desk, user, hub, device, body.points)
    code, period_s = body.install_code, body.join_time_period_s

    def payload(counter: int) -> bytes:
        return build_add_device(AddDevice(invoke_id(counter), device.device_id, code, period_s))

    entry = wan.DeviceLogEntry(hub_id, device.device_id, WAN_TYPES[device.device_type])
    voice, points = Voice.ACB_FOR_USER, body.points
    return hub, Plan(CCS01_ADD_DEVICE, payload, voice, device.device_id, entry, points=points)


def _addable(desk: Desk, hub: SmiDevice, device_id: int) -> SmiDevice:
    device = desk.inventory.get(device_id)
    if device is not None and device.device_type not in _IN_A_LOG:
        raise Refusal("E081104", f"a {device.device_type} is in no device log")
    if device is None or not _may_be_added(device):
        status = "unknown" if device is None else device.status
        raise Refusal("E081101", f"device {device_id:016X} is {status}, not Pending")
    # Those the hub was told of and has not confirmed yet count too.
    expected = desk.commands.open_subjects(hub.device_id, "8.11") - {device_id}
    there = {
        one.device_id: one.device_type
        for one in (
            *desk.inventory.devices_on(hub.device_id),
            *filter(None, map(desk.inventory.get, sorted(expected))),
        )
        if one.device_type in _IN_A_LOG and one.device_id != device_id
    }
    if len(there) >= MAX_LOG_ENTRIES:
        raise Refusal("E081111", f"the device log of the CHF holds {MAX_LOG_ENTRIES} devices")
    if hub.premises is not None:
        at_home = {device_id, *there}
        for one in desk.inventory.devices_at(hub.premises):
            at_home.add(one.device_id)
            if one.device_type is DeviceType.CHF:
                at_home |= desk.commands.open_subjects(one.device_id, "8.11")
        if len(at_home) > MAX_AT_PREMISES:
            raise Refusal("E081111", f"the premises have {MAX_AT_PREMISES} devices already")
    type_1 = sum(device_type in TYPE_1 for device_type in there.values())
    if device.device_type in TYPE_1 and type_1 >= MAX_TYPE_1:
        raise Refusal("E081111", f"the CHF serves {MAX_TYPE_1} PPMIDs and HCALCSs already")
    return device


def _may_be_added(device: SmiDevice) -> bool:
    """Pending, of a type without a status, or struck off its hub's log with the status it had."""
    if device.status is DeviceStatus.PENDING or device.device_type in TYPE_2:
        return True
    kept = (DeviceStatus.INSTALLED_NOT_COMMISSIONED, DeviceStatus.COMMISSIONED)
    return device.status in kept and device.chf is None


def _require_points(
    desk: Desk, user: User, hub: SmiDevice, device: SmiDevice, points: MeteringPoints
) -> None:
    """The metering points of an Add: a meter's, and those the home of the hub has or may get."""
    for item, mpxn in points:
        if not suits(device, item, mpxn):
            raise Refusal("E081106", f"{item} {mpxn} is not one of this {device.device_type}")
        if hub.premises is None:
            continue
        home = desk.inventory.premises(hub.premises)
        why_not = why_not_of(desk, user, device, home, item, mpxn)
        if why_not is not None:
            raise Refusal("E081107", why_not)


def _plan_removal(desk: Desk, hub: SmiDevice, body: UpdateHanDeviceLog) -> Plan:
    if body.install_code is not None:
        raise Refusal("E081105", "the details of a device to add do not belong to its removal")
    device = desk.inventory.get(body.device_id)
    if device is not None and device.device_type not in _IN_A_LOG:
        raise Refusal("E081104", f"a {device.device_type} is in no device log")
    if device is None or device.chf != hub.device_id:
        sentence = f"device {eui64_text(body.device_id)} is not in the device log of this hub"
        raise Refusal("E081102", sentence)

    def payload(counter: int) -> bytes:
        return REMOVE_DEVICE.build(RemoveDevice(invoke_id(counter), body.device_id))

    return Plan(CCS02_REMOVE_DEVICE, payload, Voice.ACB_FOR_USER, body.device_id)


# -- 8.12.1 ------------------------------------------------------------------------------------


def plan_restore(
    desk: Desk, user: User, hub_id: int, body: RestoreHanDeviceLog
) -> tuple[SmiDevice, Plan]:
    """8.12.1: a hub takes the place of another, with the log that one last told."""
    hub = require_target(desk, user, "8.12.1", hub_id)
    old = desk.inventory.get(body.old_chf)
    if old is None or old.device_type is not DeviceType.CHF:
        raise Refusal("E081202", f"{eui64_text(body.old_chf)} is no CHF of the inventory")
    desk.require_responsible(user, old)
    taken = [one for one in desk.inventory.devices_on(hub_id) if one.device_type in _IN_A_LOG]
    if old.device_id == hub_id or taken:
        raise Refusal("E081205", "the new hub is the old one, or has devices of its own")
    backup = _backup(desk, old.device_id)
    if backup is None:
        raise Refusal("E081204", f"hub {eui64_text(old.device_id)} never told its device log")
    found = backup

    def payload(counter: int) -> bytes:
        log = RestoreLog(invoke_id(counter), found.extended_pan_id, found.devices)
        return RESTORE_LOG.build(log)

    return hub, Plan(CCS03_RESTORE_LOG, payload, Voice.ACB_FOR_USER, old.device_id)


def _backup(desk: Desk, hub: int) -> LogBackup | None:
    octets = desk.device_logs.last(hub)
    return None if octets is None else DEVICE_LOG_CHANGED_ALERT.parse(octets).backup


# -- 8.9 ---------------------------------------------------------------------------------------


def plan_read_log(
    desk: Desk, user: User, device_id: int, body: ReadDeviceLog
) -> tuple[SmiDevice, Plan]:
    """8.9: a hub is asked for its log, any other device whom it is joined with."""
    device = require_target(desk, user, "8.9", device_id)
    _refuse_later(body.execution_date_time)
    if device.device_type is DeviceType.CHF:
        return device, _plan_read_hub_log(device, body)
    if body.read_security_details:
        raise Refusal("E080901", "only a CHF tells the security details of its log")
    payload = READ_JOIN_DETAILS.build(ReadJoinDetails())
    return device, Plan(
        CS07_READ_JOIN_DETAILS, lambda _counter: payload, voice_for(device), device_id
    )


def _plan_read_hub_log(hub: SmiDevice, body: ReadDeviceLog) -> Plan:
    def read_logs(counter: int) -> bytes:
        return READ_DEVICE_LOGS.build(ReadDeviceLogs(invoke_id(counter)))

    def read_status(counter: int) -> bytes:
        return READ_HAN_STATUS.build(ReadHanStatus(invoke_id(counter)))

    if body.read_security_details:
        return Plan(CCS07_READ_LOGS, read_logs, Voice.ACB_FOR_USER, hub.device_id)
    version = version_numbers(hub.gbcs_version or "1.0")
    code = CCS06_READ_LOG if version >= _LEAST_FOR_CCS06 else CCS05_CCS04_READ_LOG
    return Plan(code, read_status, Voice.ACB_FOR_USER, hub.device_id)


# -- 11.2, 11.3 --------------------------------------------------------------------------------


def plan_read_version(
    desk: Desk, user: User, device_id: int, body: ReadFirmwareVersion
) -> tuple[SmiDevice, Plan]:
    """11.2: a device is asked what it runs."""
    device = require_target(desk, user, "11.2", device_id)
    _refuse_later(body.execution_date_time)
    voice = voice_for(device)
    if device.device_type in TYPE_1:
        cs08 = READ_FIRMWARE_VERSION.build(Cs08())
        return device, Plan(CS08_READ_FIRMWARE_VERSION, lambda _: cs08, voice, device_id)
    if device.device_type is DeviceType.GSME:
        gcs38 = READ_GAS_METER_VERSION.build(ReadGasMeterVersion())
        return device, Plan(GCS38_READ_METER_VERSION, lambda _: gcs38, voice, device_id)

    def payload(counter: int) -> bytes:
        return READ_METER_VERSION.build(ReadMeterVersion(invoke_id(counter)))

    return device, Plan(ECS52_READ_METER_VERSION, payload, voice, device_id)


def plan_activate(
    desk: Desk, user: User, device_id: int, body: ActivateFirmware
) -> tuple[SmiDevice, Plan]:
    """11.3: a meter or an HCALCS is to run the image it holds."""
    device = require_target(desk, user, "11.3", device_id)
    time = execution_time(body.execution_date_time)

    def payload(counter: int) -> bytes:
        return ACTIVATE_FIRMWARE.build(Cs06(body.firmware_hash, counter, time))

    return device, Plan(CS06_ACTIVATE_FIRMWARE, payload, Voice.USER, device_id)


def activate_of(command: Cs06) -> ActivateFirmware:
    """The request that this command is the answer to."""
    return ActivateFirmware(
        command.manufacturer_image_hash, execution_text(command.execution_date_time)
    )


DEVICE_PLANS: dict[type[Any], Any] = {
    UpdateHanDeviceLog: plan_update_log,
    RestoreHanDeviceLog: plan_restore,
    ReadDeviceLog: plan_read_log,
    ReadFirmwareVersion: plan_read_version,
    ActivateFirmware: plan_activate,
}
