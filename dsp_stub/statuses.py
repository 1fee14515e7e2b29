"""Which status of the inventory follows which, and by what.

Source: MP170, annex B, 3.8.106.4 (Update Inventory), 3.8.109.4 and 3.8.110.4 (joins), 3.8.128.3
(Device Pre-notification); SEC Section H for what the DCC does by itself (suspension, recovery). A
cell that is empty is refused, the diagonal too.

    from \\ to               Pend.  Whitel. InstNC Comm.  Decomm. Withdr. Susp.  Recov. Recovered
    -----------------------  -----  ------  -----  -----  ------  ------  -----  -----  ---------
    Pending                         8.11    8.4    8.4    8.3             DCC
    Whitelisted              8.4            DCC    join   8.3             DCC    DCC
    InstalledNotCommissioned                       8.4 *  8.3     8.4     DCC    DCC
    Commissioned                                          8.3     8.4 +   DCC    DCC
    Decommissioned           12.2
    Withdrawn                12.2
    Suspended                DCC    DCC     DCC    DCC    8.3
    Recovery                                              8.3                           DCC
    Recovered                as the status before Recovery; and DCC: Recovery

"join" is 8.7.1, 8.7.2 or a meter's commissioning. * of a CHF; by a join for others. + of a CHF and
its GPF; by 8.5 for others.
"""

from __future__ import annotations

from typing import Final

from dsp_stub.errors import DspValueError
from dsp_stub.smi import DeviceStatus, SmiDevice

_PENDING = DeviceStatus.PENDING
_WHITELISTED = DeviceStatus.WHITELISTED
_INSTALLED = DeviceStatus.INSTALLED_NOT_COMMISSIONED
_COMMISSIONED = DeviceStatus.COMMISSIONED
_DECOMMISSIONED = DeviceStatus.DECOMMISSIONED
_WITHDRAWN = DeviceStatus.WITHDRAWN
_SUSPENDED = DeviceStatus.SUSPENDED
_RECOVERY = DeviceStatus.RECOVERY
_RECOVERED = DeviceStatus.RECOVERED

_SUSPENSION = "SEC Section H: the device's model left the CPL"
_RESTORATION = "SEC Section H: restored after a suspension"
_RECOVERING = "SEC, SMKI Recovery Procedure"

TRANSITIONS: Final[dict[tuple[DeviceStatus, DeviceStatus], str]] = {
    (_PENDING, _WHITELISTED): "8.11 Add, confirmed by the hub",
    (_PENDING, _INSTALLED): "8.4, 3.8.106.4 (3.b.i.1) and (3.c.i.1)",
    (_PENDING, _COMMISSIONED): "8.4, 3.8.106.4 (3.c.i.3), of a CHF",
    (_PENDING, _DECOMMISSIONED): "8.3",
    (_PENDING, _SUSPENDED): _SUSPENSION,
    (_WHITELISTED, _PENDING): "8.4, 3.8.106.4 (3.b.i.2)",
    (_WHITELISTED, _INSTALLED): "SEC, Smart Metering Inventory: on the HAN, not commissioned",
    (_WHITELISTED, _COMMISSIONED): "8.7.1, 3.8.109.4; 8.7.2, 3.8.110.4; a meter's commissioning",
    (_WHITELISTED, _DECOMMISSIONED): "8.3",
    (_WHITELISTED, _SUSPENDED): _SUSPENSION,
    (_WHITELISTED, _RECOVERY): _RECOVERING,
    (_INSTALLED, _COMMISSIONED): "8.4, 3.8.106.4 (3.c.i.2), of a CHF; a join of others",
    (_INSTALLED, _DECOMMISSIONED): "8.3",
    (_INSTALLED, _WITHDRAWN): "8.4, 3.8.106.4 (3.c.ii), of a GPF with its CHF",
    (_INSTALLED, _SUSPENDED): _SUSPENSION,
    (_INSTALLED, _RECOVERY): _RECOVERING,
    (_COMMISSIONED, _DECOMMISSIONED): "8.3",
    (_COMMISSIONED, _WITHDRAWN): "8.4, 3.8.106.4 (3.c.ii); 8.5 of others than a CHF",
    (_COMMISSIONED, _SUSPENDED): _SUSPENSION,
    (_COMMISSIONED, _RECOVERY): _RECOVERING,
    (_DECOMMISSIONED, _PENDING): "12.2, 3.8.128.3: a new life",
    (_WITHDRAWN, _PENDING): "12.2, 3.8.128.3: a new life",
    (_SUSPENDED, _PENDING): _RESTORATION,
    (_SUSPENDED, _WHITELISTED): _RESTORATION,
    (_SUSPENDED, _INSTALLED): _RESTORATION,
    (_SUSPENDED, _COMMISSIONED): _RESTORATION,
    (_SUSPENDED, _DECOMMISSIONED): "8.3",
    (_RECOVERY, _DECOMMISSIONED): "8.3",
    (_RECOVERY, _RECOVERED): _RECOVERING,
    (_RECOVERED, _RECOVERY): _RECOVERING,
}

# What 8.4 may ask for: of devices other than CHF, GPF and Type 2, and of a CHF.
BY_UPDATE_EXCEPT_CH: Final = frozenset({(_PENDING, _INSTALLED), (_WHITELISTED, _PENDING)})
BY_UPDATE_CH: Final = frozenset(
    {
        (_PENDING, _INSTALLED),
        (_INSTALLED, _COMMISSIONED),
        (_PENDING, _COMMISSIONED),
        (_COMMISSIONED, _WITHDRAWN),
    }
)


def effective(device: SmiDevice) -> DeviceStatus | None:
    """The status that is used in validation: a device that is Recovered has the one before."""
    if device.status is _RECOVERED and device.before_recovery is not None:
        return device.before_recovery
    return device.status


def source(device: SmiDevice, status: DeviceStatus) -> str | None:
    """By what a device may come to a status from where it is; None for an empty cell."""
    if device.status is None:
        return None
    own = TRANSITIONS.get((device.status, status))
    held = effective(device)
    return own if own is not None or held is None else TRANSITIONS.get((held, status))


def require_transition(device: SmiDevice, status: DeviceStatus) -> None:
    if source(device, status) is None:
        raise DspValueError(
            f"{device.device_type} {device.device_id:016X} is {device.status or 'without a status'}"
            f" and cannot become {status}"
        )


def with_gpf(chf: DeviceStatus, gpf: DeviceStatus | None) -> DeviceStatus | None:
    """What a GPF becomes when 8.4 makes its CHF so (3.8.106.4, 3.c); None where it stays."""
    if chf is _WITHDRAWN:
        return chf if gpf in (_COMMISSIONED, _INSTALLED) else None
    return _INSTALLED if gpf is _PENDING else None
