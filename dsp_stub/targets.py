"""What is asked of the device a command is for, before its service looks closer.

Source: DUIS, common validation: target device types of each service (MP170, annex B, for 8.7.1 and
8.7.2; GBCS use cases for the rest).

    check                                               response code
    --------------------------------------------------  -------------
    in the inventory and not gone from it               E19
    of a type the service is for                        E11
    the user is responsible for it                      E4
    of a status in which it can be reached, on a hub    E5

A user whose request joins or parts a GPF and a GSME need only be responsible for some device of the
same hub (MP170, annex B, 3.8.110.1).
"""

from __future__ import annotations

from dsp_stub.columns import eui64_text
from dsp_stub.desk import Desk, Refusal
from dsp_stub.smi import DeviceStatus, DeviceType, SmiDevice
from dsp_stub.users import User

# Statuses in which a device can be reached over its hub.
REACHABLE = (
    DeviceStatus.WHITELISTED,
    DeviceStatus.INSTALLED_NOT_COMMISSIONED,
    DeviceStatus.COMMISSIONED,
)
_METERS = (DeviceType.ESME, DeviceType.GSME)
_WITH_USER_CELLS = (*_METERS, DeviceType.GPF, DeviceType.HCALCS)
TARGETS: dict[str, tuple[DeviceType, ...]] = {
    "6.15.1": _WITH_USER_CELLS,
    "6.15.2": _WITH_USER_CELLS,
    "6.17": _WITH_USER_CELLS,
    "6.24.1": (*_WITH_USER_CELLS, DeviceType.CHF, DeviceType.PPMID),
    "6.24.2": _WITH_USER_CELLS,
    "8.7.1": (*_METERS, DeviceType.HCALCS),
    "8.7.2": (*_METERS, DeviceType.GPF, DeviceType.PPMID),
    "8.8.1": (*_METERS, DeviceType.HCALCS),
    "8.8.2": (*_METERS, DeviceType.GPF, DeviceType.PPMID),
    "8.9": (*_WITH_USER_CELLS, DeviceType.CHF, DeviceType.PPMID),
    "8.11": (DeviceType.CHF,),
    "8.12.1": (DeviceType.CHF,),
    "11.2": (*_METERS, DeviceType.CHF, DeviceType.HCALCS, DeviceType.PPMID),
    "11.3": (*_METERS, DeviceType.HCALCS),
}
"""The types of device each service with a command is for."""


def require_target(
    desk: Desk, user: User, service: str, device_id: int, other: SmiDevice | None = None
) -> SmiDevice:
    """The device a request is for. `other` is the one that a join names beside it."""
    device = desk.device(device_id)
    if device.device_type not in TARGETS[service]:
        sentence = f"{service} is not for a {device.device_type} such as {eui64_text(device_id)}"
        raise Refusal("E11", sentence)
    if other is None or {device.device_type, other.device_type} != {
        DeviceType.GPF,
        DeviceType.GSME,
    }:
        desk.require_responsible(user, device)
    if device.status not in REACHABLE or hub_of(device) is None:
        raise Refusal("E5", f"the {device.device_type} is {device.status} or on no hub")
    return device


def hub_of(device: SmiDevice) -> int | None:
    """The hub a device is reached by; a CHF by itself."""
    return device.device_id if device.device_type is DeviceType.CHF else device.chf
