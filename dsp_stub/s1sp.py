"""A stand-in for a SMETS1 Service Provider: what is of SMETS1 goes to it, and nothing to the air.

Source: MP202, requirement 5 (a request for a device of SMETS1 is not built as a GBCS command). What
a real provider sends back is not public but for its envelope: this one answers I0 without content,
or E20 where the option `s1sp` says "fails"; what follows is what would follow from a hub's answer.
"""

from __future__ import annotations

from datetime import datetime

from dsp_stub.broker import Command
from dsp_stub.desk import CANNOT_COMMUNICATE, SUCCESS, Desk
from dsp_stub.inbound_responses import take_response
from dsp_stub.plans import Plan
from dsp_stub.requests import Request, UpdateHanDeviceLog
from dsp_stub.smi import SmiDevice, is_smets1
from gbcs.device_log import AddDeviceResult, DlmsResult, RemoveDeviceResult


def takes(device: SmiDevice) -> bool:
    """Whether requests for a device are the provider's."""
    return is_smets1(device.smets_chts_version)


def take(desk: Desk, device: SmiDevice, request: Request, plan: Plan, now: datetime) -> None:
    """Carry a request out, or fail to."""
    succeeds = desk.options.s1sp == "succeeds"
    request_id, service = str(request.request_id), request.service_reference_variant
    detail = f"{service} {'carried out' if succeeds else 'failed'} by the stand-in"
    desk.updates.record(now, request_id, plan.subject, "s1sp", detail)
    command = Command(
        device.device_id, 0, request_id, service, plan.subject, now, points=plan.points
    )
    desk.respond(command, SUCCESS if succeeds else CANNOT_COMMUNICATE, None, now)
    if isinstance(request.body, UpdateHanDeviceLog):
        result = DlmsResult.SUCCESS if succeeds else DlmsResult.OTHER_REASON
        adds = request.body.request_type == "Add"
        answer = AddDeviceResult(0, result) if adds else RemoveDeviceResult(0, result)
        take_response(desk, device, command, answer, now)
