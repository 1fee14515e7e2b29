"""What follows from a response that is verified: in the inventory, and who is told.

Source: MP170, annex B (3.8.109.4: who becomes Commissioned by a join); DUIS alerts
UpdateHANDeviceLogResult, PPMIDRemoval, DeviceLogRestored, SecurityCredentialsUpdated and
FirmwareVersionMismatch; GBCS use cases. The user who asked has the response already.

    verified response                effects
    -------------------------------  ------------------------------------------------------------
    CCS01, success                   the device is Whitelisted on the hub, and of its SMETS; a meter
                                     brings its home metering points; N24
    CCS02, success                   the device is on no hub, Pending if it was Whitelisted; N24;
                                     PPMIDRemoval
    CCS01, CCS02, failure            N25
    CCS03, success                   the devices of the old hub are on the new one, and what that
                                     one has not transferred to them is discarded;
                                     DeviceLogRestored
    CS08, ECS52, GCS38               the inventory follows a version of the CPL
    CS06, success                    the same; an 11.1 in progress is over
    CS03 of an 8.7.1, success        an HCALCS or PPMID is Commissioned, where hub and meter are
    CS02b by a user, a cell changed  SecurityCredentialsUpdated
    CS02d, success                   the certificate is in use
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha1
from typing import Any

from dsp_stub import metering_points
from dsp_stub.broker import Command
from dsp_stub.columns import eui64_text
from dsp_stub.credential_services import ROLE_NAMES
from dsp_stub.desk import Desk
from dsp_stub.dual_mode import let_in
from dsp_stub.known_parties import UserCommand
from dsp_stub.requests import RequestId
from dsp_stub.responses import (
    CertificateChange,
    DeviceLogRestored,
    FirmwareVersionMismatch,
    PpmidRemoval,
    SecurityCredentialsUpdated,
    UpdateHanDeviceLogResult,
)
from dsp_stub.smi import DeviceStatus, DeviceType, SmiDevice
from dsp_stub.updates import UpdateState
from gbcs.ber import KeyUsage
from gbcs.certificates import parse_certificate
from gbcs.credentials import (
    UPDATE_CREDENTIALS,
    Cell,
    CellUsage,
    CredentialStatus,
    CredentialsUpdated,
    UpdateOutcome,
)
from gbcs.device_certificates import (
    UPDATE_CERTIFICATE,
    CertificateUpdated,
    UpdateCertificateResult,
)
from gbcs.device_log import AddDeviceResult, DlmsResult, RemoveDeviceResult, RestoreLogResult
from gbcs.firmware import (
    ActivationOutcome,
    ActivationResult,
    FirmwareActivated,
    FirmwareVersion,
    ReadResult,
)
from gbcs.joining import DeviceJoined, JoinResult
from gbcs.meter_versions import GasMeterVersion, MeterVersion

# What a mismatch says the inventory had where it had none.
NO_VERSION = "00000000"
_METERS = (DeviceType.ESME, DeviceType.GSME)
_JOINED_TO_METERS = (DeviceType.HCALCS, DeviceType.PPMID)
_CERTIFICATE_TYPES = {
    (KeyUsage.DIGITAL_SIGNATURE, CellUsage.MANAGEMENT): "DigitalSigning",
    (KeyUsage.KEY_AGREEMENT, CellUsage.MANAGEMENT): "KeyAgreement",
    (KeyUsage.KEY_AGREEMENT, CellUsage.PREPAYMENT_TOP_UP): "KeyAgreementTopUp",
}


def take_response(
    desk: Desk, device: SmiDevice, command: Command, payload: Any, now: datetime
) -> None:
    """The effects of a verified response of `device` to `command`."""
    match payload:
        case AddDeviceResult() as result:
            if result.succeeded:
                let_in(desk, device, command.subject)
                metering_points.record(desk, command.subject, command.points, now)
            _tell_log_result(desk, command, result.succeeded, now)
        case RemoveDeviceResult() as result:
            succeeded = result.unregister_device is DlmsResult.SUCCESS
            _tell_log_result(desk, command, succeeded, now)
            if succeeded:
                _removed(desk, device, command, now)
        case RestoreLogResult(restore_pan=DlmsResult.SUCCESS):
            _restored(desk, device, command, now)
        case FirmwareVersion(result=ReadResult.READ_SUCCESS) as version:
            follow(desk, device, version.firmware_version, now)
        case MeterVersion(firmware_version=int() as number):
            follow(desk, device, number, now)
        case GasMeterVersion() as gas if gas.attribute.firmware_version is not None:
            follow(desk, device, gas.attribute.firmware_version, now)
        case FirmwareActivated(outcome=ActivationOutcome() as outcome):
            take_outcome(desk, device, outcome, now)
        case DeviceJoined(result=JoinResult.SUCCESS) if command.service == "8.7.1":
            _joined(desk, device, command, now)
        case CredentialsUpdated(outcome=UpdateOutcome() as outcome):
            _tell_credentials(desk, device, command, outcome, now)
        case CertificateUpdated(result=result):
            _take_certificate(desk, device, command, result is UpdateCertificateResult.SUCCESS)


def take_outcome(
    desk: Desk, device: SmiDevice, outcome: ActivationOutcome | UpdateOutcome, now: datetime
) -> None:
    """The effects of a command that was carried out, at once or when its time came."""
    if isinstance(outcome, UpdateOutcome):
        _tell_credentials(desk, device, None, outcome, now)
        return
    if outcome.result is not ActivationResult.SUCCESS:
        return
    update = desk.updates.open_update(device.device_id)
    if update is not None and update.firmware_version == outcome.firmware_version:
        desk.updates.move(update, UpdateState.ACTIVATED, now, "CS06 result 0")
    follow(desk, device, outcome.firmware_version, now)


# -- firmware ----------------------------------------------------------------------------------


def follow(desk: Desk, device: SmiDevice, version: int, now: datetime) -> None:
    """The inventory follows what the device says it runs, if the CPL knows that of its model."""
    text = f"{version:08X}"
    if device.firmware_version == text:
        return
    known = desk.cpl.is_known(device.device_type, device.manufacturer, device.model, text)
    if known:
        desk.inventory.set_firmware_version(device.device_id, text)
    mismatch = FirmwareVersionMismatch(
        device.device_id, device.device_type, device.firmware_version or NO_VERSION, text
    )
    code = desk.codes.firmware_version_mismatch
    desk.alert(desk.responsible(device), code, mismatch, now)
    detail = f"the device says {text}, the inventory said {device.firmware_version}"
    desk.flag(device.device_id, "firmware-version-mismatch", detail, now)


# -- device logs -------------------------------------------------------------------------------


def _tell_log_result(desk: Desk, command: Command, succeeded: bool, now: datetime) -> None:
    codes = desk.codes
    request_id = RequestId.parse(command.request_id)
    code = codes.device_log_updated if succeeded else codes.device_log_not_updated
    desk.alert((request_id.originator,), code, UpdateHanDeviceLogResult(request_id), now)


def _removed(desk: Desk, hub: SmiDevice, command: Command, now: datetime) -> None:
    device = desk.inventory.get(command.subject)
    if device is None or device.chf != hub.device_id:
        return
    users = desk.responsible(device)
    desk.inventory.attach(command.subject, chf=None, premises=None)
    if device.status is DeviceStatus.WHITELISTED:
        desk.inventory.set_status(command.subject, DeviceStatus.PENDING)
    if device.device_type is DeviceType.PPMID:
        alert = PpmidRemoval(device.device_id, hub.device_id)
        desk.alert(users, desk.codes.ppmid_removal, alert, now)


def _restored(desk: Desk, hub: SmiDevice, command: Command, now: datetime) -> None:
    """The new hub has the old one's devices, which go to the premises it is at."""
    old = desk.inventory.get(command.subject)
    if old is None:
        return
    for device in desk.inventory.devices_on(old.device_id):
        if device.device_type is not DeviceType.GPF:
            premises = device.premises if hub.premises is None else hub.premises
            desk.inventory.attach(device.device_id, chf=hub.device_id, premises=premises)
            update = desk.updates.open_update(device.device_id)
            if update is not None and update.state is not UpdateState.TRANSFERRED:
                detail = f"hub {eui64_text(old.device_id)} was swapped for another"
                desk.updates.move(update, UpdateState.DISCARDED, now, detail)
    if old.associated_gpf is None or hub.associated_gpf is None:
        return
    alert = DeviceLogRestored(
        f"{now.date().isoformat()}Z",
        old.device_id,
        hub.device_id,
        old.associated_gpf,
        hub.associated_gpf,
    )
    users = (RequestId.parse(command.request_id).originator, *desk.responsible(hub))
    desk.alert(users, desk.codes.device_log_restored, alert, now)


# -- joins -------------------------------------------------------------------------------------


def _joined(desk: Desk, device: SmiDevice, command: Command, now: datetime) -> None:
    """An HCALCS or PPMID that is joined to a meter is Commissioned, where the meter and its hub
    are."""
    other = desk.inventory.get(command.subject)
    if other is None or device.chf is None:
        return
    meter, joined = (device, other) if device.device_type in _METERS else (other, device)
    hub = desk.inventory.get(device.chf)
    if (
        meter.device_type in _METERS
        and joined.device_type in _JOINED_TO_METERS
        and joined.status in (DeviceStatus.WHITELISTED, DeviceStatus.INSTALLED_NOT_COMMISSIONED)
        and hub is not None
        and hub.status is meter.status is DeviceStatus.COMMISSIONED
    ):
        desk.inventory.set_status(
            joined.device_id,
            DeviceStatus.COMMISSIONED,
            date_commissioned=now.date().isoformat(),
        )


# -- credentials -------------------------------------------------------------------------------


def _tell_credentials(
    desk: Desk, device: SmiDevice, command: Command | None, outcome: UpdateOutcome, now: datetime
) -> None:
    """Who is responsible for a device learns whose certificates it holds now."""
    replaced = [one.cell for one in outcome.replacements if one.status is CredentialStatus.SUCCESS]
    hashes = _hashes(command)
    changes = tuple(
        CertificateChange(_CERTIFICATE_TYPES[cell.key_usage, cell.cell_usage], hashes[cell])
        for cell in replaced
        if cell in hashes
    )
    if not changes:
        return
    names = {role: name for name, role in ROLE_NAMES.items()}
    floor = next((one for one in outcome.floors if one.role is replaced[0].role), None)
    top_up = None if floor is None or not floor.specialist else floor.specialist[0]
    alert = SecurityCredentialsUpdated(
        device.device_id,
        names[replaced[0].role],
        changes,
        None if floor is None else str(floor.sequence_number),
        None if top_up is None else str(top_up.sequence_number),
    )
    desk.alert(desk.responsible(device), desk.codes.security_credentials_updated, alert, now)


def _hashes(command: Command | None) -> dict[Cell, bytes]:
    """SHA-1 of each certificate a command put into a device, which its outcome does not repeat."""
    if not isinstance(command, UserCommand):
        return {}
    asked = UPDATE_CREDENTIALS.parse(command.payload)
    return {
        one.cell: sha1(one.certificate, usedforsecurity=False).digest()
        for one in asked.replacements
    }


def _take_certificate(desk: Desk, device: SmiDevice, command: Command, succeeded: bool) -> None:
    """From now on the device speaks with the key of the certificate a user gave it, or does not."""
    if not isinstance(command, UserCommand):
        return
    certificate = parse_certificate(UPDATE_CERTIFICATE.parse(command.payload).certificate)
    assert certificate.use is not None  # its service asked
    if succeeded:
        desk.key_ring.hold(device.device_id, certificate.use, certificate)
    else:
        desk.key_ring.withdraw(device.device_id, certificate.use)
