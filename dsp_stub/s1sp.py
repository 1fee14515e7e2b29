"""A stand-in for a SMETS1 Service Provider: what is of SMETS1 goes to it, and nothing to the air.

Source: MP202, requirement 5 (a request for a device of SMETS1 is not built as a GBCS command). What
a real provider sends back is not public but for its envelope: this one answers I0 without content,
or E20 where the option `s1sp` says "fails".
"""

from __future__ import annotations

from datetime import datetime

from dsp_stub.broker import Command
from dsp_stub.desk import CANNOT_COMMUNICATE, SUCCESS, Desk
from dsp_stub.dual_mode import let_in
from dsp_stub.requests import RequestId
from dsp_stub.responses import UpdateHanDeviceLogResult
from dsp_stub.smi import SmiDevice, is_smets1


def takes(device: SmiDevice) -> bool:
    """Whether requests for a device, or by a hub, are the provider's."""
    return is_smets1(device.smets_chts_version)


def add_device(
    desk: Desk, hub: SmiDevice, device_id: int, request_id: RequestId, now: datetime
) -> None:
    """8.11 Add at a hub of SMETS1."""
    succeeded = _answer(desk, hub.device_id, device_id, request_id, "8.11", now)
    if succeeded:
        let_in(desk, hub, device_id)
    codes = desk.codes
    code = codes.device_log_updated if succeeded else codes.device_log_not_updated
    desk.alert((request_id.originator,), code, UpdateHanDeviceLogResult(request_id), now)


def read_firmware_version(
    desk: Desk, device: SmiDevice, request_id: RequestId, now: datetime
) -> None:
    """11.2 to a device of SMETS1."""
    _answer(desk, device.device_id, device.device_id, request_id, "11.2", now)


def _answer(
    desk: Desk, target: int, subject: int, request_id: RequestId, service: str, now: datetime
) -> bool:
    succeeds = desk.options.s1sp == "succeeds"
    detail = f"{service} {'carried out' if succeeds else 'failed'} by the stand-in"
    desk.updates.record(now, str(request_id), subject, "s1sp", detail)
    command = Command(target, 0, str(request_id), service, subject, now)
    desk.respond(command, SUCCESS if succeeds else CANNOT_COMMUNICATE, None, now)
    return succeeds
