"""ZigBee Cluster Library frames, as far as this device needs them.

Source: ZigBee Cluster Library 07-5123, 2.4 (frame), 2.5 (general commands).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

SUCCESS, FAILURE = 0x00, 0x01
UNSUPPORTED_COMMAND = 0x81
UNSUPPORTED_ATTRIBUTE = 0x86

READ_ATTRIBUTES, READ_ATTRIBUTES_RESPONSE, DEFAULT_RESPONSE = 0x00, 0x01, 0x0B

_CLUSTER_SPECIFIC, _MANUFACTURER, _FROM_SERVER, _NO_DEFAULT = 0x01, 0x04, 0x08, 0x10


class ZclError(ValueError):
    """These octets are no frame for this device."""


class Zcl(NamedTuple):
    """One frame. `general` commands are those every cluster has."""

    command: int
    payload: bytes = b""
    sequence: int = 0
    general: bool = False
    from_server: bool = False
    no_default_response: bool = True

    def build(self) -> bytes:
        control = 0 if self.general else _CLUSTER_SPECIFIC
        control |= _FROM_SERVER if self.from_server else 0
        control |= _NO_DEFAULT if self.no_default_response else 0
        return bytes((control, self.sequence, self.command)) + self.payload

    def default_response(self, status: int) -> Zcl:
        """What this frame is answered with when it has no answer of its own."""
        payload = bytes((self.command, status))
        return Zcl(DEFAULT_RESPONSE, payload, self.sequence, True, not self.from_server)


def parse(octets: bytes) -> Zcl:
    """Raises ZclError. Manufacturers' own commands are nothing for this device."""
    if len(octets) < 3:
        raise ZclError(f"{len(octets)} octets are no ZCL frame")
    control, sequence, command = octets[:3]
    if control & 0x02 or control & _MANUFACTURER:
        raise ZclError(f"frame control {control:02X}")
    return Zcl(
        command,
        octets[3:],
        sequence,
        not control & _CLUSTER_SPECIFIC,
        bool(control & _FROM_SERVER),
        bool(control & _NO_DEFAULT),
    )


def read(octets: bytes) -> Zcl | None:
    """The same, None for what is no frame."""
    try:
        return parse(octets)
    except ZclError:
        return None


def answer_read(request: Zcl, attributes: Mapping[int, bytes]) -> Zcl:
    """The response to Read Attributes; values have their type in front."""
    body = b""
    for (number,) in struct.iter_unpack("<H", request.payload[: len(request.payload) // 2 * 2]):
        value = attributes.get(number)
        found = bytes((UNSUPPORTED_ATTRIBUTE,)) if value is None else bytes((SUCCESS,)) + value
        body += struct.pack("<H", number) + found
    return Zcl(READ_ATTRIBUTES_RESPONSE, body, request.sequence, True, not request.from_server)
