"""APS commands of a join through a router: Update Device and Tunnel.

Source: ZigBee specification 05-3474, 4.4.10.4 (Update Device), 4.4.10.8 (Tunnel).
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from emulator.zigbee.aps import ApsError
from emulator.zigbee.events import DeviceUpdate

COMMAND_UPDATE_DEVICE = 0x06
COMMAND_TUNNEL = 0x0E

_UPDATE_DEVICE = Struct("<BQHB")
_EUI64_COMMAND = Struct("<BQ")


class UpdateDevice(NamedTuple):
    """A router tells the trust centre what became of a node next to it."""

    eui64: int
    short_address: int
    update: DeviceUpdate


class Tunnel(NamedTuple):
    """A secured APS command that a router is to pass on, as it stands, to a joiner."""

    destination_eui64: int
    frame: bytes


def build_update_device(command: UpdateDevice) -> bytes:
    """An Update Device, its identifier first."""
    return _UPDATE_DEVICE.pack(
        COMMAND_UPDATE_DEVICE, command.eui64, command.short_address, command.update.value
    )


def parse_update_device(command: bytes) -> UpdateDevice:
    """The fields of an Update Device. Raises ApsError."""
    try:
        _, eui64, short_address, status = _UPDATE_DEVICE.unpack(command)
        return UpdateDevice(eui64, short_address, DeviceUpdate(status))
    except StructError:
        raise ApsError(f"Update Device has {_UPDATE_DEVICE.size} octets", len(command)) from None
    except ValueError:
        raise ApsError(f"status {status} of Update Device is reserved", 11) from None


def build_tunnel(command: Tunnel) -> bytes:
    """A Tunnel, its identifier first."""
    return _EUI64_COMMAND.pack(COMMAND_TUNNEL, command.destination_eui64) + command.frame


def parse_tunnel(command: bytes) -> Tunnel:
    """The fields of a Tunnel. Raises ApsError."""
    if len(command) <= _EUI64_COMMAND.size:
        raise ApsError("a Tunnel has an address and a frame", len(command))
    _, eui64 = _EUI64_COMMAND.unpack_from(command)
    return Tunnel(eui64, command[_EUI64_COMMAND.size :])
