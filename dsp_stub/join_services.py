"""Who is to be joined with whom, and parted: 8.7.1, 8.7.2, 8.8.1, 8.8.2.

Source: MP170, annex B, 3.8.109 and 3.8.110 (targets, other devices, GBCS use cases, codes); GBCS
use cases CS03 and CS04. "B" is an Alt HAN bridge, which is joined with nothing.

    target  other           8.7.1, 8.8.1         8.7.2, 8.8.2
    ------  --------------  -------------------  -----------------------------
    ESME    HCALCS, PPMID   CS03A1, CS04AC       refused
    ESME    IHD, CAD        refused              CS03B, CS04B
    HCALCS  ESME            CS03A2, CS04AC       not for an HCALCS
    GSME    PPMID           CS03C, CS04AC        refused
    GSME    GPF             refused              CS03B, CS04B
    GPF     GSME            not for a GPF        CS03B, CS04B
    GPF     PPMID, IHD, CAD not for a GPF        CS03B, CS04B
    PPMID   ESME            not for a PPMID      CS03A2, CS04AC
    PPMID   GSME            not for a PPMID      CS03C, CS04AC
    B       any             E11                  E080721, E080821
    any     B               E080702, E080801     E080721 by option, E080821

CS03C carries the Key Agreement certificate in use of the partner, which the DCC puts in.
"""

from __future__ import annotations

from typing import NamedTuple

from dsp_stub.bridge_services import is_bridge, srv_for_bridge
from dsp_stub.columns import eui64_text
from dsp_stub.desk import CANNOT_COMMUNICATE, Desk, Refusal
from dsp_stub.plans import Plan, voice_for
from dsp_stub.requests import (
    JoinServiceCritical,
    JoinServiceNonCritical,
    UnjoinServiceCritical,
    UnjoinServiceNonCritical,
)
from dsp_stub.smi import DeviceType, SmiDevice
from dsp_stub.targets import require_target
from dsp_stub.users import SUPPLIERS, User
from dsp_stub.wan_types import WAN_TYPES
from gbcs.codes import (
    CS03A1_JOIN,
    CS03A2_JOIN,
    CS03B_JOIN,
    CS03C_JOIN,
    CS04AC_UNJOIN,
    CS04B_UNJOIN,
)
from gbcs.joining import JOIN_DEVICE, UNJOIN_DEVICE, JoinDevice, JoinMethod, UnjoinDevice
from gbcs.protection import KeyUse

JoinBody = (
    JoinServiceCritical | JoinServiceNonCritical | UnjoinServiceCritical | UnjoinServiceNonCritical
)
_T = DeviceType


class Pairing(NamedTuple):
    """The message codes of one cell of the table: to join, to part."""

    join: int
    unjoin: int


_A1 = Pairing(CS03A1_JOIN, CS04AC_UNJOIN)
_A2 = Pairing(CS03A2_JOIN, CS04AC_UNJOIN)
_B = Pairing(CS03B_JOIN, CS04B_UNJOIN)
_C = Pairing(CS03C_JOIN, CS04AC_UNJOIN)
CRITICAL_PAIRS = {
    (_T.ESME, _T.HCALCS): _A1,
    (_T.ESME, _T.PPMID): _A1,
    (_T.HCALCS, _T.ESME): _A2,
    (_T.GSME, _T.PPMID): _C,
}
NON_CRITICAL_PAIRS = {
    (_T.ESME, _T.IHD): _B,
    (_T.ESME, _T.CAD): _B,
    (_T.GSME, _T.GPF): _B,
    (_T.GPF, _T.GSME): _B,
    (_T.GPF, _T.PPMID): _B,
    (_T.GPF, _T.IHD): _B,
    (_T.GPF, _T.CAD): _B,
    (_T.PPMID, _T.ESME): _A2,
    (_T.PPMID, _T.GSME): _C,
}


class _Service(NamedTuple):
    variant: str
    pairs: dict[tuple[DeviceType, DeviceType], Pairing]
    wrong_type: str
    wrong_role: str | None
    wrong_user: str | None


_SERVICES: dict[type[JoinBody], _Service] = {
    JoinServiceCritical: _Service("8.7.1", CRITICAL_PAIRS, "E080702", None, None),
    JoinServiceNonCritical: _Service("8.7.2", NON_CRITICAL_PAIRS, "E080721", "E080722", "E080723"),
    UnjoinServiceCritical: _Service("8.8.1", CRITICAL_PAIRS, "E080801", None, None),
    UnjoinServiceNonCritical: _Service("8.8.2", NON_CRITICAL_PAIRS, "E080821", "E080822", "E4"),
}
_METHODS = {
    CS03A1_JOIN: JoinMethod.A_INITIATOR,
    CS03A2_JOIN: JoinMethod.A_RESPONDER,
    CS03B_JOIN: JoinMethod.B,
    CS03C_JOIN: JoinMethod.C,
}


def plan_join(desk: Desk, user: User, device_id: int, body: JoinBody) -> tuple[SmiDevice, Plan]:
    """The command of a join or an unjoin, when every check holds. Raises Refusal."""
    service = _SERVICES[type(body)]
    # Whether this user may ask for it can depend on the other device.
    other = desk.inventory.get(body.other_device)
    device = require_target(desk, user, service.variant, device_id, other)
    if is_bridge(device):
        _refuse_bridge(service.variant, device, as_other=False, desk=desk)
    other = desk.device(body.other_device)
    if is_bridge(other):
        _refuse_bridge(service.variant, other, as_other=True, desk=desk)
    pairing = service.pairs.get((device.device_type, other.device_type))
    if pairing is None or other.chf != device.chf:
        where = "" if pairing is None else " of another HAN"
        sentence = (
            f"{service.variant} is not for a {device.device_type} and a {other.device_type}{where}"
        )
        raise Refusal(service.wrong_type, sentence)
    _require_role(desk, user, service, device, other)
    is_critical = service.pairs is CRITICAL_PAIRS
    is_join = isinstance(body, JoinServiceCritical | JoinServiceNonCritical)
    code = pairing.join if is_join else pairing.unjoin
    payload = _join(desk, code, other) if is_join else _unjoin(other)
    voice = voice_for(device, critical=is_critical)
    return device, Plan(code, lambda _counter: payload, voice, other.device_id)


def _refuse_bridge(service: str, bridge: SmiDevice, *, as_other: bool, desk: Desk) -> None:
    reading = desk.options.bridge_as_other_device
    code = srv_for_bridge(service, as_other=as_other, reading=reading)
    if code is not None:
        which = "other device" if as_other else "target"
        sentence = f"the {which} {eui64_text(bridge.device_id)} is an {bridge.ppmid_variant}"
        raise Refusal(code, sentence)


def _require_role(
    desk: Desk, user: User, service: _Service, device: SmiDevice, other: SmiDevice
) -> None:
    if (
        user.role not in SUPPLIERS
        and service.wrong_role is not None
        and other.device_type is not _T.CAD
    ):
        sentence = f"a user in role {user.role} joins and parts CADs alone"
        raise Refusal(service.wrong_role, sentence)
    if {device.device_type, other.device_type} != {_T.GPF, _T.GSME}:
        return
    there = desk.inventory.devices_on(device.chf) if device.chf is not None else ()
    users = {one for held in there for one in desk.responsible(held)}
    if users and user.eui64 not in users and service.wrong_user is not None:
        sentence = f"user {eui64_text(user.eui64)} is responsible for no device of this hub"
        raise Refusal(service.wrong_user, sentence)


def _join(desk: Desk, code: int, other: SmiDevice) -> bytes:
    certificate = None
    if code == CS03C_JOIN:
        held = desk.key_ring.certificate(other.device_id, KeyUse.KEY_AGREEMENT)
        if held is None:
            sentence = f"no Key Agreement certificate of {eui64_text(other.device_id)} is in use"
            raise Refusal(CANNOT_COMMUNICATE, sentence)
        certificate = held.der
    command = JoinDevice(_METHODS[code], other.device_id, WAN_TYPES[other.device_type], certificate)
    return JOIN_DEVICE.build(command)


def _unjoin(other: SmiDevice) -> bytes:
    return UNJOIN_DEVICE.build(UnjoinDevice(other.device_id))
