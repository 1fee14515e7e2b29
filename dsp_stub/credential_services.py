"""The services about credentials: 6.15.1, 6.15.2, 6.17, 6.24.1, 6.24.2.

Source: GBCS use cases CS02a to CS02e; DUIS 6.15.1 to 6.24.2. Which code says what is ours, where
only its name is public (dsp_stub.response_codes):

    check of a 6.15.1                                          code
    ---------------------------------------------------------  -------
    RemotePartyRole is the one the user has towards a device   E061501
    there is a certificate; top-up only of a supplier          E061507
    each is of the SMKI profile, for that role and use         E061504
    each is of the user itself                                 E061505
    the certification path begins with who issued them         E061506

    check of a 6.15.2                                          code
    ---------------------------------------------------------  -------
    the certificate is one of a device, and of one use         E061508
    it is of this device                                       E061509

A 6.24.1 that names a role twice gets E062401.
"""

from __future__ import annotations

from typing import Any

from dsp_stub.columns import eui64_text
from dsp_stub.desk import Desk, Refusal
from dsp_stub.moments import execution_text, execution_time
from dsp_stub.plans import Plan, Voice
from dsp_stub.requests import (
    IssueSecurityCredentials,
    RetrieveDeviceSecurityCredentialsDevice,
    RetrieveDeviceSecurityCredentialsKrp,
    UpdateSecurityCredentialsDevice,
    UpdateSecurityCredentialsKrp,
)
from dsp_stub.smi import SmiDevice
from dsp_stub.targets import require_target
from dsp_stub.users import SUPPLIERS, User
from gbcs.ber import KeyUsage
from gbcs.certificates import Certificate, parse_certificate
from gbcs.codes import (
    CS02A_PROVIDE_CREDENTIALS,
    CS02B_UPDATE_CREDENTIALS,
    CS02C_ISSUE_CREDENTIALS,
    CS02D_UPDATE_CERTIFICATE,
    CS02E_PROVIDE_CERTIFICATE,
)
from gbcs.credentials import (
    PROVIDE_CREDENTIALS,
    UPDATE_CREDENTIALS,
    Cell,
    CellUsage,
    CpvChecks,
    ProvideCredentials,
    RemotePartyRole,
    Replacement,
    ReplacementControl,
    ReplacementMode,
    SequenceNumberUsage,
    SpecialistFloor,
    UpdateCredentials,
)
from gbcs.device_certificates import (
    ISSUE_CREDENTIALS,
    PROVIDE_CERTIFICATE,
    UPDATE_CERTIFICATE,
    IssueCredentials,
    ProvideCertificate,
    UpdateCertificate,
)
from gbcs.errors import GbcsError
from gbcs.trust import fits_cell

ROLE_NAMES = {
    "ACB": RemotePartyRole.ACCESS_CONTROL_BROKER,
    "NetworkOperator": RemotePartyRole.NETWORK_OPERATOR,
    "Recovery": RemotePartyRole.RECOVERY,
    "Root": RemotePartyRole.ROOT,
    "Supplier": RemotePartyRole.SUPPLIER,
    "TransCoS": RemotePartyRole.TRANSITIONAL_COS,
    "LoadController": RemotePartyRole.LOAD_CONTROLLER,
}
_KEY_USAGES = {
    "Digital Signature": KeyUsage.DIGITAL_SIGNATURE,
    "Key Agreement": KeyUsage.KEY_AGREEMENT,
}
_CREDENTIAL_TYPES = {usage: name for name, usage in _KEY_USAGES.items()}
_MODES = {
    RemotePartyRole.SUPPLIER: ReplacementMode.SUPPLIER_BY_SUPPLIER,
    RemotePartyRole.NETWORK_OPERATOR: ReplacementMode.NETWORK_OPERATOR_BY_NETWORK_OPERATOR,
}
REPLACEMENT_CODES = tuple(CS02B_UPDATE_CREDENTIALS + mode for mode in _MODES.values())


# -- 6.15.1 ------------------------------------------------------------------------------------


def plan_update_krp(
    desk: Desk, user: User, device_id: int, body: UpdateSecurityCredentialsKrp
) -> tuple[SmiDevice, Plan]:
    """CS02b by the user: its own certificates in a device."""
    device = require_target(desk, user, "6.15.1", device_id)
    role = ROLE_NAMES[body.remote_party_role]
    mine = RemotePartyRole.SUPPLIER if user.role in SUPPLIERS else RemotePartyRole.NETWORK_OPERATOR
    if role is not mine:
        sentence = f"a user in role {user.role} is no {body.remote_party_role} of a device"
        raise Refusal("E061501", sentence)
    replacements = _replacements(body, role)
    if not replacements:
        raise Refusal("E061507", "there is no certificate to put into the device")
    if body.key_agreement_top_up is not None and role is not RemotePartyRole.SUPPLIER:
        raise Refusal("E061507", "only a supplier has a certificate for top-ups")
    path = _path(body.certification_path)
    for replacement in replacements:
        _require_own(user, replacement, path[0])
    time = execution_time(body.execution_date_time)

    def payload(counter: int) -> bytes:
        floor = body.top_up_floor
        control = ReplacementControl(
            _MODES[role],
            counter,
            cpv_checks=None if body.apply_time_based_cpv_checks else CpvChecks.DISAPPLY,
            authorising_cell=Cell(role, KeyUsage.DIGITAL_SIGNATURE),
            new_floor=body.floor,
            new_specialist_floors=None
            if floor is None
            else (SpecialistFloor(SequenceNumberUsage.PREPAYMENT_TOP_UP, floor),),
        )
        command = UpdateCredentials(control, replacements, body.certification_path, time)
        return UPDATE_CREDENTIALS.build(command)

    code = CS02B_UPDATE_CREDENTIALS + _MODES[role]
    return device, Plan(code, payload, Voice.USER, device_id)


def _replacements(
    body: UpdateSecurityCredentialsKrp, role: RemotePartyRole
) -> tuple[Replacement, ...]:
    cells = (
        (body.digital_signing, Cell(role, KeyUsage.DIGITAL_SIGNATURE)),
        (body.key_agreement, Cell(role, KeyUsage.KEY_AGREEMENT)),
        (
            body.key_agreement_top_up,
            Cell(role, KeyUsage.KEY_AGREEMENT, CellUsage.PREPAYMENT_TOP_UP),
        ),
    )
    try:
        return tuple(Replacement(der, cell) for der, cell in cells if der is not None)
    except ValueError as error:
        raise Refusal("E061504", str(error)) from None


def _path(path: tuple[bytes, ...]) -> list[Certificate]:
    try:
        return [parse_certificate(der) for der in path]
    except GbcsError as error:
        raise Refusal("E061506", f"the certification path: {error}") from None


def _require_own(user: User, replacement: Replacement, issuer: Certificate) -> None:
    try:
        certificate = parse_certificate(replacement.certificate)
    except GbcsError as error:
        raise Refusal("E061504", str(error)) from None
    if not fits_cell(certificate, replacement.cell):
        sentence = "a certificate is not of the role and use it is to be put in for"
        raise Refusal("E061504", sentence)
    if certificate.eui64 != user.eui64:
        sentence = f"a certificate is of {eui64_text(certificate.eui64 or 0)}, not of the user"
        raise Refusal("E061505", sentence)
    if not certificate.is_issued_by(issuer):
        raise Refusal("E061506", "the certification path does not begin with who issued them")


def update_krp_of(command: UpdateCredentials) -> UpdateSecurityCredentialsKrp:
    """The request that this command is the answer to."""
    by_cell = {
        (one.cell.key_usage, one.cell.cell_usage): one.certificate for one in command.replacements
    }
    control = command.control
    names = {role: name for name, role in ROLE_NAMES.items()}
    role = next((role for role, mode in _MODES.items() if mode is control.mode), None)
    floors = control.new_specialist_floors
    return UpdateSecurityCredentialsKrp(
        names[RemotePartyRole.SUPPLIER if role is None else role],
        by_cell.get((KeyUsage.DIGITAL_SIGNATURE, CellUsage.MANAGEMENT)),
        by_cell.get((KeyUsage.KEY_AGREEMENT, CellUsage.MANAGEMENT)),
        by_cell.get((KeyUsage.KEY_AGREEMENT, CellUsage.PREPAYMENT_TOP_UP)),
        command.certification_path,
        control.cpv_checks is None,
        control.new_floor,
        floors[0].sequence_number if floors else None,
        execution_text(command.execution_date_time),
    )


# -- 6.15.2, 6.17, 6.24.2 ----------------------------------------------------------------------


def plan_update_device(
    desk: Desk, user: User, device_id: int, body: UpdateSecurityCredentialsDevice
) -> tuple[SmiDevice, Plan]:
    """CS02d: the device is to speak with the key pair it made for this certificate."""
    device = require_target(desk, user, "6.15.2", device_id)
    try:
        certificate = parse_certificate(body.device_certificate)
    except GbcsError as error:
        raise Refusal("E061508", str(error)) from None
    if not certificate.is_device or certificate.use is None:
        raise Refusal("E061508", "the certificate is not one of a device")
    if certificate.eui64 != device_id:
        sentence = f"the certificate is of {eui64_text(certificate.eui64 or 0)}"
        raise Refusal("E061509", sentence)
    payload = UPDATE_CERTIFICATE.build(UpdateCertificate(body.device_certificate))
    plan = Plan(
        CS02D_UPDATE_CERTIFICATE, lambda _: payload, Voice.USER, device_id, offers=certificate
    )
    return device, plan


def plan_issue(
    desk: Desk, user: User, device_id: int, body: IssueSecurityCredentials
) -> tuple[SmiDevice, Plan]:
    """CS02c: the device is to make a key pair."""
    device = require_target(desk, user, "6.17", device_id)
    payload = ISSUE_CREDENTIALS.build(IssueCredentials(_KEY_USAGES[body.credential_type]))
    return device, Plan(CS02C_ISSUE_CREDENTIALS, lambda _: payload, Voice.USER, device_id)


def plan_retrieve_device(
    desk: Desk, user: User, device_id: int, body: RetrieveDeviceSecurityCredentialsDevice
) -> tuple[SmiDevice, Plan]:
    """CS02e: which certificate does the device have."""
    device = require_target(desk, user, "6.24.2", device_id)
    payload = PROVIDE_CERTIFICATE.build(ProvideCertificate(_KEY_USAGES[body.credential_type]))
    return device, Plan(CS02E_PROVIDE_CERTIFICATE, lambda _: payload, Voice.USER, device_id)


def credential_type_of(command: IssueCredentials | ProvideCertificate) -> str:
    """As DUIS says it. Raises KeyError for a usage DUIS has no name for."""
    return _CREDENTIAL_TYPES[command.key_usage]


# -- 6.24.1 ------------------------------------------------------------------------------------


def plan_retrieve_krp(
    desk: Desk, user: User, device_id: int, body: RetrieveDeviceSecurityCredentialsKrp
) -> tuple[SmiDevice, Plan]:
    """CS02a: the ACB asks in its own name, as the published command does."""
    device = require_target(desk, user, "6.24.1", device_id)
    if len(set(body.remote_party_roles)) != len(body.remote_party_roles):
        raise Refusal("E062401", "a role is asked for twice")
    cell = Cell(RemotePartyRole.ACCESS_CONTROL_BROKER, KeyUsage.KEY_AGREEMENT)
    roles = tuple(ROLE_NAMES[name] for name in body.remote_party_roles)
    payload = PROVIDE_CREDENTIALS.build(ProvideCredentials(cell, roles))
    return device, Plan(CS02A_PROVIDE_CREDENTIALS, lambda _: payload, Voice.ACB, device_id)


CREDENTIAL_PLANS: dict[type[Any], Any] = {
    UpdateSecurityCredentialsKrp: plan_update_krp,
    UpdateSecurityCredentialsDevice: plan_update_device,
    IssueSecurityCredentials: plan_issue,
    RetrieveDeviceSecurityCredentialsDevice: plan_retrieve_device,
    RetrieveDeviceSecurityCredentialsKrp: plan_retrieve_krp,
}
