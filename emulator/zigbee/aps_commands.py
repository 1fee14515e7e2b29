"""APS commands about keys: what a trust centre and its devices say to each other.

Source: ZigBee specification 05-3474 (R21), 4.4.10 (commands), 4.4.2 to 4.4.8 (what they are for).

    command                         identifier  type  octets  under
    ------------------------------  ----------  ----  ------  ----------------------------------
    TransportKey (network, aps.py)  05          01    35      key-transport key; broadcast: none
    TransportApplicationKey         05          03    27      key-load key
    TransportTrustCenterKey         05          04    34      key-load key
    RemoveDevice                    07                 9      link key
    RequestKey, of a partner        08          02    10      link key
    RequestKey, trust centre's      08          04     2      link key
    SwitchKey                       09                 2      none
    VerifyKey                       0F          04    26      none
    ConfirmKey                      10          04    11      the new link key

All are under the network key besides. Keys travel under keys derived from the link key (4.5.3).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

from emulator.zigbee import aps
from emulator.zigbee.aps import COMMAND_TRANSPORT_KEY, KEY_TYPE_NETWORK, ApsError, TransportKey

COMMAND_REMOVE_DEVICE = 0x07
COMMAND_REQUEST_KEY = 0x08
COMMAND_SWITCH_KEY = 0x09
COMMAND_VERIFY_KEY = 0x0F
COMMAND_CONFIRM_KEY = 0x10

REQUEST_APPLICATION_KEY = 0x02  # the key type of Request Key, not that of Transport Key
KEY_TYPE_APPLICATION = 0x03
KEY_TYPE_TRUST_CENTER = 0x04

CONFIRMED = 0x00
SECURITY_FAIL = 0xAD  # table 2.27, APS statuses


class TransportApplicationKey(NamedTuple):
    """A link key for two devices; `am_initiator` tells the one that asked for it."""

    key: bytes
    partner_eui64: int
    am_initiator: bool


class TransportTrustCenterKey(NamedTuple):
    """A new link key between a device and the trust centre."""

    key: bytes
    destination_eui64: int
    source_eui64: int


class RemoveDevice(NamedTuple):
    """To a router: make this child leave, or leave yourself."""

    target_eui64: int


class RequestKey(NamedTuple):
    """`partner_eui64` is there for an application's key only."""

    key_type: int
    partner_eui64: int | None = None


class SwitchKey(NamedTuple):
    key_sequence: int


class VerifyKey(NamedTuple):
    """A device proves that it has the key it was sent."""

    key_type: int
    source_eui64: int
    key_hash: bytes


class ConfirmKey(NamedTuple):
    status: int
    key_type: int
    destination_eui64: int


KeyCommand = (
    TransportKey
    | TransportApplicationKey
    | TransportTrustCenterKey
    | RemoveDevice
    | RequestKey
    | SwitchKey
    | VerifyKey
    | ConfirmKey
)

_APPLICATION_KEY = Struct("<BB16sQ?")
_TRUST_CENTER_KEY = Struct("<BB16sQQ")
_REMOVE_DEVICE = Struct("<BQ")
_REQUEST_KEY = Struct("<BB")
_REQUEST_APPLICATION_KEY = Struct("<BBQ")
_SWITCH_KEY = Struct("<BB")
_VERIFY_KEY = Struct("<BBQ16s")
_CONFIRM_KEY = Struct("<BBBQ")


def _unpack(what: str, layout: Struct, command: bytes) -> tuple[Any, ...]:
    if len(command) != layout.size:
        raise ApsError(f"{what} has {layout.size} octets, not {len(command)}", len(command))
    return layout.unpack(command)


def _parse_transport_key(command: bytes) -> KeyCommand:
    key_type = command[1] if len(command) > 1 else None
    if key_type == KEY_TYPE_NETWORK:
        return aps.parse_transport_key(command)
    if key_type == KEY_TYPE_APPLICATION:
        what = "Transport Key of an application link key"
        return TransportApplicationKey(*_unpack(what, _APPLICATION_KEY, command)[2:])
    if key_type == KEY_TYPE_TRUST_CENTER:
        what = "Transport Key of a trust centre link key"
        return TransportTrustCenterKey(*_unpack(what, _TRUST_CENTER_KEY, command)[2:])
    raise ApsError(f"Transport Key of a key of type {key_type}", 1)


def _parse_request_key(command: bytes) -> RequestKey:
    if command[1:2] == bytes((REQUEST_APPLICATION_KEY,)):
        return RequestKey(*_unpack("Request Key", _REQUEST_APPLICATION_KEY, command)[1:])
    return RequestKey(*_unpack("Request Key", _REQUEST_KEY, command)[1:])


_PARSERS: dict[int, Callable[[bytes], KeyCommand]] = {
    COMMAND_TRANSPORT_KEY: _parse_transport_key,
    COMMAND_REMOVE_DEVICE: lambda command: RemoveDevice(
        *_unpack("Remove Device", _REMOVE_DEVICE, command)[1:]
    ),
    COMMAND_REQUEST_KEY: _parse_request_key,
    COMMAND_SWITCH_KEY: lambda command: SwitchKey(*_unpack("Switch Key", _SWITCH_KEY, command)[1:]),
    COMMAND_VERIFY_KEY: lambda command: VerifyKey(*_unpack("Verify Key", _VERIFY_KEY, command)[1:]),
    COMMAND_CONFIRM_KEY: lambda command: ConfirmKey(
        *_unpack("Confirm Key", _CONFIRM_KEY, command)[1:]
    ),
}


def parse(command: bytes) -> KeyCommand:
    """A command from its octets, the identifier first. Raises ApsError."""
    parser = _PARSERS.get(command[0]) if command else None
    if parser is None:
        raise ApsError(f"no command about keys: {command[:1].hex().upper() or 'nothing'}", 0)
    return parser(command)


_BUILDERS: dict[type[Any], Callable[[Any], bytes]] = {
    TransportKey: aps.build_transport_key,
    TransportApplicationKey: lambda command: _APPLICATION_KEY.pack(
        COMMAND_TRANSPORT_KEY, KEY_TYPE_APPLICATION, *command
    ),
    TransportTrustCenterKey: lambda command: _TRUST_CENTER_KEY.pack(
        COMMAND_TRANSPORT_KEY, KEY_TYPE_TRUST_CENTER, *command
    ),
    RemoveDevice: lambda command: _REMOVE_DEVICE.pack(COMMAND_REMOVE_DEVICE, *command),
    RequestKey: lambda command: (
        _REQUEST_KEY.pack(COMMAND_REQUEST_KEY, command.key_type)
        if command.partner_eui64 is None
        else _REQUEST_APPLICATION_KEY.pack(COMMAND_REQUEST_KEY, *command)
    ),
    SwitchKey: lambda command: _SWITCH_KEY.pack(COMMAND_SWITCH_KEY, *command),
    VerifyKey: lambda command: _VERIFY_KEY.pack(COMMAND_VERIFY_KEY, *command),
    ConfirmKey: lambda command: _CONFIRM_KEY.pack(COMMAND_CONFIRM_KEY, *command),
}


def build(command: KeyCommand) -> bytes:
    """The octets of a command, its identifier first."""
    return _BUILDERS[type(command)](command)
