"""Frames of the air as ZEP datagrams, which Wireshark shows live from UDP port 17754.

Source: the ZigBee Encapsulation Protocol, version 2, as Wireshark's packet-zep.c documents it.

    octets  field                     here
    ------  ------------------------  ----------------------------------------------------
    2       preamble "EX"
    1       version                   2
    1       type                      1, data
    1       channel                   11 to 26
    2       device                    which sniffer: 0
    1       CRC or LQI mode           1: the last two octets of the frame are its FCS
    1       LQI                       of the receiver: 0, the air itself has none
    8       time                      NTP: seconds since 1900 and their 2^32nd parts
    4       sequence                  counts datagrams
    10      reserved                  0
    1       length                    of the frame
    n       frame                     FCS included
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from emulator.medium.timing import MAX_PSDU_OCTETS

PORT: Final = 17754
_NTP_EPOCH_S: Final = 2_208_988_800  # from 1900 to 1970
_DATA: Final = 1
_VERSION: Final = 2
_FCS_MODE: Final = 1
_HEADER: Final = struct.Struct(">2sBBBHBBIII10sB")


class ZepError(ValueError):
    """Octets are no ZEP datagram, or a frame fits none; says which field."""


class ZepFrame(NamedTuple):
    """One frame of the air with its place in time and in the stream."""

    time_us: int  # Unix time
    channel: int
    sequence: int
    psdu: bytes


def build(frame: ZepFrame) -> bytes:
    """The datagram of a frame. Raises ZepError."""
    if not 1 <= len(frame.psdu) <= MAX_PSDU_OCTETS:
        raise ZepError(f"psdu: 1 to {MAX_PSDU_OCTETS} octets, not {len(frame.psdu)}")
    seconds, rest_us = divmod(frame.time_us, 1_000_000)
    # Rounded up: a reader that rounds down gets the same microsecond.
    fraction = -(-(rest_us << 32) // 1_000_000)
    try:
        header = _HEADER.pack(
            b"EX",
            _VERSION,
            _DATA,
            frame.channel,
            0,
            _FCS_MODE,
            0,
            seconds + _NTP_EPOCH_S,
            fraction,
            frame.sequence,
            bytes(10),
            len(frame.psdu),
        )
    except struct.error as error:
        raise ZepError(f"time_us, channel, sequence: {frame[:3]} do not fit: {error}") from error
    return header + frame.psdu


def parse(datagram: bytes) -> ZepFrame:
    """The frame of a version 2 data datagram. Raises ZepError."""
    if len(datagram) < _HEADER.size:
        raise ZepError(f"datagram: {len(datagram)} octets are no header of {_HEADER.size}")
    preamble, version, kind, channel, _, _, _, seconds, fraction, sequence, _, length = (
        _HEADER.unpack_from(datagram)
    )
    if (preamble, version, kind) != (b"EX", _VERSION, _DATA):
        raise ZepError("datagram: no data of ZEP version 2")
    psdu = datagram[_HEADER.size :]
    if len(psdu) != length or not 1 <= length <= MAX_PSDU_OCTETS:
        raise ZepError(f"length: says {length}, and {len(psdu)} octets follow")
    time_us = (seconds - _NTP_EPOCH_S) * 1_000_000 + (fraction * 1_000_000 >> 32)
    return ZepFrame(time_us, channel, sequence, psdu)
