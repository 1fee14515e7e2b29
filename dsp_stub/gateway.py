"""What is asked of every request before a service sees it, in this order.

Source: DUIS, common validation; the order is that of the pipeline in the legal text (schema,
signature, role). A request of somebody who is no user is refused before its signature is looked at:
there is no certificate to look at it with. A certificate is valid while it is in time, which is
looked at unless an option says otherwise, and while no authority took it or its issuer back.

    check                                               response code
    --------------------------------------------------  ---------------------------------------
    XML without a document type declaration             codes.doctype
    the schema of the profile                           codes.schema
    the originator of the RequestID is a user           E1
    signed with that user's certificate, which is valid codes.bad_signature
    the user is not suspended                           E3
    command variant, body and URL fit the service       E12, E17, E13
    the user's role may ask for the service             E2
    the RequestID was not accepted before               codes.replay

A refused request leaves nothing behind but a line among the last refusals, and so does not use up
its RequestID. A Transform and the signed pre-command that follows it have one RequestID, which
counts once for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from dsp_stub import xml_signature
from dsp_stub.columns import eui64_text
from dsp_stub.desk import Desk, Refusal
from dsp_stub.errors import DuisError
from dsp_stub.requests import (
    DCC_ONLY_VARIANT,
    NON_DEVICE_PATH,
    SEND_COMMAND_PATH,
    TRANSFORM_PATH,
    TRANSFORM_VARIANT,
    Request,
    SignedPreCommand,
    service_path,
)
from dsp_stub.users import EVERYBODY, SUPPLIERS, User, UserRole

PATHS = (SEND_COMMAND_PATH, NON_DEVICE_PATH, TRANSFORM_PATH)

DCC_ONLY = (DCC_ONLY_VARIANT,)
NON_CRITICAL = (1, 2, 3)
CRITICAL = (4, 5, 6, 7)
SIGNED_PRE_COMMAND = (5, 6, 7)
LOCAL_DELIVERY = (2, 3, 6, 7)


@dataclass(frozen=True, slots=True)
class ServiceRule:
    """Who may ask for a service, and how."""

    variants: tuple[int, ...]
    roles: frozenset[UserRole]


_SUPPLIERS_AND_OTHERS = SUPPLIERS | {UserRole.OTHER_USER}
_WITH_NETWORK_OPERATORS = SUPPLIERS | {
    UserRole.ELECTRICITY_DISTRIBUTOR,
    UserRole.GAS_TRANSPORTER,
}
RULES = {
    "6.15.1": ServiceRule(CRITICAL, _WITH_NETWORK_OPERATORS),
    "6.15.2": ServiceRule(CRITICAL, SUPPLIERS),
    "6.17": ServiceRule(CRITICAL, SUPPLIERS),
    "6.24.1": ServiceRule(NON_CRITICAL, _WITH_NETWORK_OPERATORS),
    "6.24.2": ServiceRule(CRITICAL, SUPPLIERS),
    "8.2": ServiceRule(DCC_ONLY, EVERYBODY),
    # Of 8.3 no public text says who may; MP170 has the user who re-uses a device.
    "8.3": ServiceRule(DCC_ONLY, SUPPLIERS),
    "8.4": ServiceRule(DCC_ONLY, EVERYBODY),
    "8.7.1": ServiceRule(CRITICAL, SUPPLIERS),
    "8.7.2": ServiceRule(NON_CRITICAL, _SUPPLIERS_AND_OTHERS),
    "8.8.1": ServiceRule(CRITICAL, SUPPLIERS),
    "8.8.2": ServiceRule(NON_CRITICAL, _SUPPLIERS_AND_OTHERS),
    "8.9": ServiceRule(NON_CRITICAL, _SUPPLIERS_AND_OTHERS),
    "8.11": ServiceRule(NON_CRITICAL, _SUPPLIERS_AND_OTHERS),
    "8.12.1": ServiceRule(NON_CRITICAL, SUPPLIERS),
    "11.1": ServiceRule(DCC_ONLY, SUPPLIERS),
    "11.2": ServiceRule(NON_CRITICAL, EVERYBODY),
    "11.3": ServiceRule(CRITICAL, SUPPLIERS),
    "11.4": ServiceRule(DCC_ONLY, SUPPLIERS),
    "12.2": ServiceRule(DCC_ONLY, EVERYBODY),
}


def admit(desk: Desk, path: str, request: Request, root: etree._Element, now: datetime) -> User:
    """The user a request is from, when every check holds. Raises Refusal."""
    originator = request.request_id.originator
    user = desk.users.get(originator)
    if user is None:
        raise Refusal("E1", f"{originator:016X} is no user")
    _require_signature(desk, user, root, now)
    require_active(user)
    rule = _rule(request)
    _require_path(desk, path, request)
    if user.role not in rule.roles:
        sentence = f"a user in role {user.role} may not send {request.service_reference_variant}"
        raise Refusal("E2", sentence)
    require_new(desk, request)
    return user


def _require_signature(desk: Desk, user: User, root: etree._Element, now: datetime) -> None:
    try:
        certificate = xml_signature.verify(root, desk.users.certificate)
    except DuisError as error:
        raise Refusal(desk.codes.bad_signature, str(error)) from None
    if certificate.eui64 != user.eui64:
        sentence = f"signed by {certificate.eui64 or 0:016X}, not by the originator"
        raise Refusal(desk.codes.bad_signature, sentence)
    at = now if desk.options.check_certificate_times else None
    problem = desk.users.problem(certificate, at)
    if problem is not None:
        sentence = f"the certificate of {user.eui64:016X} does not count: {problem}"
        raise Refusal(desk.codes.bad_signature, sentence)


def _rule(request: Request) -> ServiceRule:
    service, variant = request.service_reference_variant, request.command_variant
    rule = RULES.get(service)
    if rule is None:
        # What is signed is of any service; the schema knows them by their form alone.
        raise Refusal("E12", f"{service} has no command that could be signed")
    if variant not in rule.variants and rule.variants == DCC_ONLY and variant in LOCAL_DELIVERY:
        raise Refusal("E17", f"{service} is the DCC's own and has no command to hand back")
    is_signed = isinstance(request.body, SignedPreCommand)
    if variant not in rule.variants or is_signed is not (variant in SIGNED_PRE_COMMAND):
        sentence = f"command variant {variant} is not one of {service} with this body"
        raise Refusal("E12", sentence)
    return rule


def _require_path(desk: Desk, path: str, request: Request) -> None:
    wanted = service_path(request)
    if path != wanted:
        service = request.service_reference_variant
        sentence = f"variant {request.command_variant} of {service} goes to {wanted}, not to {path}"
        raise Refusal("E13", sentence)
    if request.command_variant == DCC_ONLY_VARIANT and request.request_id.target != desk.acb:
        service = request.service_reference_variant
        sentence = f"the target of {service} is the DCC, {desk.acb:016X}"
        raise Refusal("E12", sentence)


def require_active(user: User) -> None:
    """Refuse whoever may send nothing at present."""
    if user.is_suspended:
        raise Refusal("E3", f"user {eui64_text(user.eui64)} is suspended")


def require_new(desk: Desk, request: Request) -> None:
    """Refuse a RequestID that was accepted before."""
    row = desk.store.connection.execute(
        "SELECT 1 FROM requests WHERE request_id = ? AND is_transform = ?",
        (str(request.request_id), request.command_variant == TRANSFORM_VARIANT),
    ).fetchone()
    if row is not None:
        raise Refusal(desk.codes.replay, f"RequestID {request.request_id} was accepted before")
