"""The command a service decided on, before it is known what becomes of it.

Source: DUIS, "Command Variants": the same command is sent, handed back, or both, and of a critical
one the user gets the payload to sign first. GBCS: a device that knows the user is spoken to in the
user's name; to a PPMID, a CHF and, where nobody signs, an HCALCS, the ACB speaks for the user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from dsp_stub.smi import DeviceType, MeteringPoints, SmiDevice
from gbcs.certificates import Certificate
from gbcs.wan import DeviceLogEntry


class Voice(Enum):
    """In whose name a command is given."""

    USER = auto()
    ACB_FOR_USER = auto()
    ACB = auto()  # its own, whoever asked for it


@dataclass(frozen=True, slots=True)
class Plan:
    """One command. `payload` is made with the counter the command will have, which DLMS repeats;
    `subject` is the device it is about; `entry` is what the hub must know first; `offers` is the
    certificate it has the device use; `points` are the metering points it is added with."""

    message_code: int
    payload: Callable[[int], bytes]
    voice: Voice
    subject: int
    entry: DeviceLogEntry | None = None
    offers: Certificate | None = None
    points: MeteringPoints = ()


def voice_for(device: SmiDevice, *, critical: bool = False) -> Voice:
    """Who speaks to a device of this type for a user."""
    if device.device_type is DeviceType.HCALCS:
        return Voice.USER if critical else Voice.ACB_FOR_USER
    if device.device_type in (DeviceType.PPMID, DeviceType.CHF):
        return Voice.ACB_FOR_USER
    return Voice.USER
