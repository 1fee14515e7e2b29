"""The frames of the Smart Energy port as they stand on the line, in both body layouts of EZSP.

Source: Silicon Labs UG100, 8 (messaging frames): `sendUnicast`, `sendReply`,
`incomingMessageHandler` and `messageSentHandler` with the extended header of EZSP 8 and later;
fields changed their order with EZSP 14.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from emulator.devices.node import SMART_ENERGY_PROFILE

SEND_UNICAST = 0x0034
SEND_REPLY = 0x0039
INCOMING = 0x0045
SENT = 0x003F
DIRECT = 0
EXTENDED_CONTROL = 0x01
BODY_AT = 5  # octets of the extended header

HEADER = Struct("<BBBH")
# EmberApsFrame: profile, cluster, source endpoint, destination endpoint, options, group, sequence
SEND_UNICAST_V13 = Struct("<BHHHBBHHBBB")
SEND_UNICAST_V14 = Struct("<BHHHBBHHBHB")
SEND_REPLY_BODY = Struct("<HHHBBHHBB")
_INCOMING_V13 = Struct("<BHHBBHHBBbHBBB")
_INCOMING_V14 = Struct("<BHHBBHHBHQBBBbIB")
_SENT_V13 = Struct("<BHHHBBHHBBB")
_SENT_V14 = Struct("<IBHHHBBHHBH")
_PROFILE = SMART_ENERGY_PROFILE.to_bytes(2, "little")


class Block(NamedTuple):
    """What one `incomingMessageHandler` brings: a message, or one block of it."""

    nwk: int
    eui64: int | None
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    options: int
    group: int
    counter: int
    payload: bytes


class Layout:
    """The body layouts of one EZSP version."""

    def __init__(self, version: int) -> None:
        self.is_v14 = version >= 14
        self.send_unicast = SEND_UNICAST_V14 if self.is_v14 else SEND_UNICAST_V13
        self.status_octets = 4 if self.is_v14 else 1
        self._profile_of_sent = slice(12, 14) if self.is_v14 else slice(8, 10)

    def parse_incoming(self, frame: bytes) -> Block | None:
        """The fields of an `incomingMessageHandler`, None for one that is cut off."""
        try:
            if self.is_v14:
                (
                    _,
                    _,
                    cluster,
                    source,
                    destination,
                    options,
                    group,
                    counter,
                    nwk,
                    eui64,
                    _,
                    _,
                    _,
                    _,
                    _,
                    length,
                ) = _INCOMING_V14.unpack_from(frame, BODY_AT)
                payload = frame[BODY_AT + _INCOMING_V14.size :]
            else:
                (
                    _,
                    _,
                    cluster,
                    source,
                    destination,
                    options,
                    group,
                    counter,
                    _,
                    _,
                    nwk,
                    _,
                    _,
                    length,
                ) = _INCOMING_V13.unpack_from(frame, BODY_AT)
                eui64 = None
                payload = frame[BODY_AT + _INCOMING_V13.size :]
        except StructError:
            return None
        if len(payload) != length:
            return None
        return Block(nwk, eui64, cluster, source, destination, options, group, counter, payload)

    def parse_sent(self, frame: bytes) -> tuple[int, bool] | None:
        """Tag and success of a `messageSentHandler` of profile 0x0109, None for any other."""
        if frame[self._profile_of_sent] != _PROFILE:
            return None
        try:
            if self.is_v14:
                status, _, _, _, _, _, _, _, _, _, tag = _SENT_V14.unpack_from(frame, BODY_AT)
            else:
                _, _, _, _, _, _, _, _, _, tag, status = _SENT_V13.unpack_from(frame, BODY_AT)
        except StructError:
            return None
        return tag, not status
