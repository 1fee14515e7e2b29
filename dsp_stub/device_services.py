"""The services that send a device a command: Update HAN Device Log (8.11), Read Firmware Version
(11.2).

Source: DUIS 8.11 and 11.2; GBCS use cases CCS01 (to the hub) and CS08 (to a PPMID or HCALCS). The
Access Control Broker speaks for the user; what the device answers is the business of `inbound`.
"""

from __future__ import annotations

from datetime import datetime

from dsp_stub import s1sp
from dsp_stub.broker import Command
from dsp_stub.desk import ACCEPTED, Desk, Refusal
from dsp_stub.dual_mode import entry_on
from dsp_stub.errors import DspValueError
from dsp_stub.future_dated import FutureDatedRequest, due_time
from dsp_stub.requests import ReadFirmwareVersion, RequestId, UpdateHanDeviceLog
from dsp_stub.smi import MAX_AT_PREMISES, DeviceStatus, DeviceType, SmiDevice
from dsp_stub.users import User
from gbcs import acb, wan

# Statuses in which a device can be reached over its hub.
REACHABLE = (
    DeviceStatus.WHITELISTED,
    DeviceStatus.INSTALLED_NOT_COMMISSIONED,
    DeviceStatus.COMMISSIONED,
)
TYPE_1 = (DeviceType.PPMID, DeviceType.HCALCS)
MAX_TYPE_1 = 6  # MP170: PPMIDs, HCALCSs and bridges of one hub
MAX_LOG_ENTRIES = MAX_AT_PREMISES - 2  # less CHF and GPF
_WAN_TYPES = {
    DeviceType.GSME: wan.DeviceType.GSME,
    DeviceType.ESME: wan.DeviceType.ESME,
    DeviceType.HCALCS: wan.DeviceType.HCALCS,
    DeviceType.PPMID: wan.DeviceType.PPMID,
    DeviceType.IHD: wan.DeviceType.TYPE_2,
    DeviceType.CAD: wan.DeviceType.TYPE_2,
}


def update_han_device_log(
    desk: Desk, user: User, request_id: RequestId, body: UpdateHanDeviceLog, now: datetime
) -> str:
    """8.11: a hub is told to let a device in."""
    hub = desk.device(request_id.target)
    if hub.device_type is not DeviceType.CHF:
        raise Refusal("E11", f"8.11 goes to a CHF, and {hub.device_id:016X} is a {hub.device_type}")
    if hub.status not in REACHABLE:
        raise Refusal("E5", f"the CHF is {hub.status}")
    desk.require_responsible(user, hub)
    if body.execution_date_time is not None:
        raise Refusal("E12", "a later time of execution is not offered")
    if body.request_type != "Add":
        raise Refusal("E12", "removing a device is not offered")
    if body.install_code is None or body.join_time_period_s is None:
        raise Refusal("E081105", "the details of the device to add are missing")
    device = _addable(desk, hub, body.device_id, now)
    if s1sp.takes(hub):
        s1sp.add_device(desk, hub, device.device_id, request_id, now)
        return ACCEPTED
    party = acb.User(request_id.originator, request_id.counter)
    with desk.building_command(hub.device_id):
        frame = desk.broker.add_device(
            hub.device_id, device.device_id, body.install_code, body.join_time_period_s, party
        )
    entry = wan.DeviceLogEntry(hub.device_id, device.device_id, _WAN_TYPES[device.device_type])
    desk.outbox.add_message(entry, now)
    desk.send_command(
        hub.device_id, hub.device_id, frame, request_id, "8.11", device.device_id, now
    )
    return ACCEPTED


def _addable(desk: Desk, hub: SmiDevice, device_id: int, now: datetime) -> SmiDevice:
    device = desk.inventory.get(device_id)
    if device is not None and device.device_type not in _WAN_TYPES:
        raise Refusal("E081104", f"a {device.device_type} is in no device log")
    if device is None or device.status not in (DeviceStatus.PENDING, None):
        status = "unknown" if device is None else device.status
        raise Refusal("E081101", f"device {device_id:016X} is {status}, not Pending")
    if device.device_type is DeviceType.PPMID:
        entry = entry_on(desk, device, hub)
        _require_installable(desk, entry.smets_chts_version, entry.gbcs_version, now)
    elif device.gbcs_version is not None:
        _require_installable(desk, device.smets_chts_version, device.gbcs_version, now)
    # Those the hub was told of and has not confirmed yet count too.
    expected = desk.commands.open_subjects(hub.device_id, "8.11") - {device_id}
    there = {
        one.device_id: one.device_type
        for one in (
            *desk.inventory.devices_on(hub.device_id),
            *filter(None, map(desk.inventory.get, sorted(expected))),
        )
        if one.device_type in _WAN_TYPES and one.device_id != device_id
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


def _require_installable(
    desk: Desk, smets_chts_version: str | None, gbcs_version: str, now: datetime
) -> None:
    """In the installation validity period, with a version of GBCS that is applicable."""
    today = now.date()
    why_not = desk.applicability.why_not_installed(smets_chts_version, gbcs_version, today)
    if why_not is not None:
        raise Refusal("E081109", why_not)


def read_firmware_version(
    desk: Desk, user: User, request_id: RequestId, body: ReadFirmwareVersion, now: datetime
) -> str:
    """11.2: a PPMID, a bridge or an HCALCS is asked what it runs."""
    device = desk.device(request_id.target)
    if device.device_type not in TYPE_1:
        sentence = f"11.2 to a {device.device_type} is not offered, only to {', '.join(TYPE_1)}"
        raise Refusal("E11", sentence)
    desk.require_responsible(user, device)
    _require_reachable(device)
    try:
        due = due_time(body.execution_date_time, now)
        if due is not None:
            later = FutureDatedRequest(request_id, "11.2", device.device_id, due)
            desk.future_dated.hold(later)
            return ACCEPTED
    except DspValueError as error:
        raise Refusal("E12", str(error)) from None
    _ask_version(desk, device, request_id, now)
    return ACCEPTED


def carry_out(desk: Desk, request: FutureDatedRequest, now: datetime) -> None:
    """An 11.2 whose time has come. Its user is told when it cannot be sent any more."""
    try:
        with desk.store.transaction():
            device = desk.device(request.device)
            _require_reachable(device)
            _ask_version(desk, device, request.request_id, now)
    except Refusal as refusal:
        command = Command(
            request.device, 0, str(request.request_id), request.service, request.device, now
        )
        desk.respond(command, refusal.code, None, now)


def _require_reachable(device: SmiDevice) -> None:
    if device.status not in REACHABLE or device.chf is None:
        raise Refusal("E5", f"the device is {device.status} and on no hub that could be asked")


def _ask_version(desk: Desk, device: SmiDevice, request_id: RequestId, now: datetime) -> None:
    assert device.chf is not None
    if s1sp.takes(device):
        s1sp.read_firmware_version(desk, device, request_id, now)
        return
    party = acb.User(request_id.originator, request_id.counter)
    with desk.building_command(device.device_id):
        frame = desk.broker.read_firmware_version(device.device_id, party)
    desk.send_command(
        device.chf, device.device_id, frame, request_id, "11.2", device.device_id, now
    )
