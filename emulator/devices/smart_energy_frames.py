"""The frames of the Smart Energy port as they stand on the line, in every version of EZSP.

Source: Silicon Labs UG100, 3 (frame formats: the header of EZSP 4, of 5 to 7, of 8 and later) and
8 (messaging frames): `sendUnicast`, `sendReply`, `incomingMessageHandler` and `messageSentHandler`,
whose fields changed their order with EZSP 14.
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
# EmberApsFrame: profile, cluster, source endpoint, destination endpoint, options, group, sequence
SEND_UNICAST_V4 = Struct("<BHHHBBHHBBB")
SEND_UNICAST_V14 = Struct("<BHHHBBHHBHB")
SEND_REPLY_BODY = Struct("<HHHBBHHBB")
INCOMING_V4 = Struct("<BHHBBHHBBbHBBB")
INCOMING_V14 = Struct("<BHHBBHHBHQBBBbIB")
_SENT_V4 = Struct("<BHHHBBHHBBB")
_SENT_V14 = Struct("<IBHHHBBHHBH")
_PROFILE = SMART_ENERGY_PROFILE.to_bytes(2, "little")


_NUMBERS = (SEND_UNICAST, SEND_REPLY, INCOMING, SENT)


def _mark(version: int, number: int) -> bytes:
    """What stands between sequence and control, and the body."""
    if version >= 8:
        return b"\x01" + number.to_bytes(2, "little")
    if version >= 5:
        return b"\xff\x00" + bytes((number,))
    return bytes((number,))


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
    lqi: int
    rssi_dbm: int


class Layout:
    """The headers and body layouts of one EZSP version."""

    def __init__(self, version: int, numbers: tuple[int, ...] = _NUMBERS) -> None:
        marks = {number: _mark(version, number) for number in numbers}
        self._headers = {number: b"\0" + mark for number, mark in marks.items()}
        self._numbers = {mark: number for number, mark in marks.items()}
        self.body_at = at = 2 + len(marks[SENT])
        self._mark = slice(2, at)
        self.profile_of_incoming = slice(at + 1, at + 3)
        self.cluster_of_incoming = slice(at + 1, at + 5)  # the profile and the cluster
        self.is_v14 = version >= 14
        self.send_unicast = SEND_UNICAST_V14 if self.is_v14 else SEND_UNICAST_V4
        self.status_octets = 4 if self.is_v14 else 1
        profile_at = at + 7 if self.is_v14 else at + 3
        self._profile_of_sent = slice(profile_at, profile_at + 2)

    def frame_of(self, frame: bytes) -> int | None:
        """Which of the port's frames this is, None for any other."""
        if len(frame) <= self.body_at:
            return None
        return self._numbers.get(frame[self._mark])

    def command(self, sequence: int, frame_id: int, body: bytes) -> bytes:
        """A whole command of the port."""
        return bytes((sequence,)) + self._headers[frame_id] + body

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
                    lqi,
                    rssi,
                    _,
                    length,
                ) = INCOMING_V14.unpack_from(frame, self.body_at)
                payload = frame[self.body_at + INCOMING_V14.size :]
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
                    lqi,
                    rssi,
                    nwk,
                    _,
                    _,
                    length,
                ) = INCOMING_V4.unpack_from(frame, self.body_at)
                eui64 = None
                payload = frame[self.body_at + INCOMING_V4.size :]
        except StructError:
            return None
        if len(payload) != length:
            return None
        return Block(
            nwk, eui64, cluster, source, destination, options, group, counter, payload, lqi, rssi
        )

    def parse_sent(self, frame: bytes) -> tuple[int, bool] | None:
        """Tag and success of a `messageSentHandler` of profile 0x0109, None for any other."""
        if frame[self._profile_of_sent] != _PROFILE:
            return None
        try:
            if self.is_v14:
                status, _, _, _, _, _, _, _, _, _, tag = _SENT_V14.unpack_from(frame, self.body_at)
            else:
                _, _, _, _, _, _, _, _, _, tag, status = _SENT_V4.unpack_from(frame, self.body_at)
        except StructError:
            return None
        return tag, not status
