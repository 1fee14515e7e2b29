"""Captures of the air: pcapng files that Wireshark reads, and the trace hash of a run.

Source: pcapng, draft-ietf-opsawg-pcapng, 4.1 to 4.3; IEEE 802.15.4 TAP link type (DLT 283),
specification 1.0; DESIGN, "Time and chance" (trace hash).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from emulator.medium.timing import MAX_PSDU_OCTETS

LINKTYPE_IEEE802_15_4_TAP: Final = 283

_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE_DESCRIPTION: Final = 1
_ENHANCED_PACKET: Final = 6
_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_LENGTH_UNKNOWN: Final = -1
_OPTION_COMMENT: Final = 1  # opt_comment, of any block
_OPTION_USER_APPLICATION: Final = 4  # shb_userappl
_OPTION_NAME: Final = 2  # if_name
_OPTION_RESOLUTION: Final = 9  # if_tsresol
_MICROSECONDS: Final = 6  # a negative power of ten

_TLV_FCS_TYPE: Final = 0
_TLV_RSS: Final = 1
_TLV_CHANNEL_ASSIGNMENT: Final = 3
_TLV_LQI: Final = 10
_FCS_16_BITS: Final = b"\x01"
_CHANNEL_PAGE: Final = 0  # 2.4 GHz O-QPSK

_BLOCK: Final = struct.Struct("<II")
_LENGTH: Final = struct.Struct("<I")
_PACKET: Final = struct.Struct("<IIIIIII")  # type, length, interface, time high and low, lengths
_PACKET_BODY: Final = struct.Struct("<IIIII")
_TAP: Final = struct.Struct("<BBH")  # version, reserved, length of header and TLVs
_TYPE_LENGTH: Final = struct.Struct("<HH")
_TRACE: Final = struct.Struct("<QH")
_PADDING: Final = (b"", b"\0", b"\0\0", b"\0\0\0")

_MAX_TAP_HEADERS: Final = 1024


class CaptureUsageError(ValueError):
    """What was to be captured is no frame, or cannot be written down."""


class PcapngError(ValueError):
    """A file is not a capture of the air; says at which octet."""


class PcapngWriter:
    """Writes frames of the air as they happen: one call of `write` for the head, one per frame.

    `interfaces` are the names of the airs in the file; a frame says by its index where it was.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        *,
        application: str = "hanbench",
        interfaces: Sequence[str] = ("han",),
    ) -> None:
        self._write = write
        self._interfaces = len(interfaces)
        self._taps: dict[tuple[int, int | None, int | None], bytes] = {}
        head = _section_header(application)
        for name in interfaces:
            head += _interface_description(name)
        write(head)

    def frame(
        self,
        time_us: int,
        psdu: bytes,
        *,
        channel: int,
        rssi_dbm: int | None = None,
        lqi: int | None = None,
        epoch_us: int = 0,
        interface: int = 0,
        comment: str = "",
    ) -> None:
        """Write one frame, FCS included, that began `time_us` after `epoch_us` (Unix time).

        `comment` is what Wireshark shows beside it. Signal strength and quality belong to a
        receiver: a capture of the air itself has none.
        """
        tap = self._taps.get((channel, rssi_dbm, lqi)) or self._tap(channel, rssi_dbm, lqi)
        if not 1 <= len(psdu) <= MAX_PSDU_OCTETS:
            raise CaptureUsageError(f"psdu: 1 to {MAX_PSDU_OCTETS} octets, not {len(psdu)}")
        if not 0 <= interface < self._interfaces:
            raise CaptureUsageError(f"interface: this file has {self._interfaces}, not {interface}")
        captured = len(tap) + len(psdu)
        padding = -captured & 3
        options = _option(_OPTION_COMMENT, comment) if comment else b""
        length = captured + padding + len(options) + 32
        stamp_us = epoch_us + time_us
        try:
            block = _PACKET.pack(
                _ENHANCED_PACKET,
                length,
                interface,
                stamp_us >> 32,
                stamp_us & 0xFFFFFFFF,
                captured,
                captured,
            )
        except struct.error as error:
            raise CaptureUsageError(f"time_us: {stamp_us} does not fit 64 bits") from error
        self._write(block + tap + psdu + _PADDING[padding] + options + _LENGTH.pack(length))

    def _tap(self, channel: int, rssi_dbm: int | None, lqi: int | None) -> bytes:
        """The TAP header of a reception, kept for the next one like it."""
        if not 0 <= channel <= 0xFFFF:
            raise CaptureUsageError(f"channel: 16 bits, not {channel}")
        if rssi_dbm is not None and not -128 <= rssi_dbm <= 127:
            raise CaptureUsageError(f"rssi_dbm: one signed octet, not {rssi_dbm}")
        if lqi is not None and not 0 <= lqi <= 0xFF:
            raise CaptureUsageError(f"lqi: one octet, not {lqi}")
        tlvs = _tlv(_TLV_FCS_TYPE, _FCS_16_BITS)
        tlvs += _tlv(_TLV_CHANNEL_ASSIGNMENT, struct.pack("<HB", channel, _CHANNEL_PAGE))
        if rssi_dbm is not None:
            tlvs += _tlv(_TLV_RSS, struct.pack("<f", rssi_dbm))
        if lqi is not None:
            tlvs += _tlv(_TLV_LQI, bytes((lqi,)))
        tap = _TAP.pack(0, 0, _TAP.size + len(tlvs)) + tlvs
        if len(self._taps) >= _MAX_TAP_HEADERS:
            self._taps.clear()
        self._taps[channel, rssi_dbm, lqi] = tap
        return tap


class TraceHash:
    """What makes two runs the same: SHA-256 over time, length and octets of every frame in order.

    Times count from the start of the run, so the epoch does not enter.
    """

    def __init__(self) -> None:
        self._sha256 = sha256()

    def update(self, time_us: int, psdu: bytes) -> None:
        try:
            self._sha256.update(_TRACE.pack(time_us, len(psdu)) + psdu)
        except struct.error as error:
            raise CaptureUsageError(
                f"time_us, psdu: {time_us} and {len(psdu)} octets do not fit 64 and 16 bits"
            ) from error

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def read_pcapng(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every frame of a capture that `PcapngWriter` could have made: (Unix time in us, PSDU)."""
    for body, at, interfaces in _packets(data):
        yield _read_packet(body, at, interfaces)


def read_commented(data: bytes) -> Iterator[tuple[int, bytes, str]]:
    """The same, and the comment beside each frame: empty for none."""
    for body, at, interfaces in _packets(data):
        yield (*_read_packet(body, at, interfaces), _read_comment(body))


def _packets(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The packet blocks: what is in each, where it begins, how many interfaces there are then."""
    at = 0
    interfaces = 0
    while at < len(data):
        kind, body = _block(data, at)
        if at == 0 and kind != _SECTION_HEADER:
            raise PcapngError("octet 0: no section header block")
        if kind == _SECTION_HEADER:
            if body[:4] != _LENGTH.pack(_BYTE_ORDER_MAGIC):
                raise PcapngError(f"octet {at + 8}: not a little-endian section")
            interfaces = 0
        elif kind == _INTERFACE_DESCRIPTION:
            _check_interface(body, at)
            interfaces += 1
        elif kind == _ENHANCED_PACKET:
            yield body, at, interfaces
        at += len(body) + 12


def _block(data: bytes, at: int) -> tuple[int, bytes]:
    if len(data) - at < 12:
        raise PcapngError(f"octet {at}: cut short inside a block")
    kind, length = _BLOCK.unpack_from(data, at)
    if length < 12 or length & 3 or length > len(data) - at:
        raise PcapngError(f"octet {at + 4}: a block of {length} octets does not fit")
    if data[at + length - 4 : at + length] != data[at + 4 : at + 8]:
        raise PcapngError(f"octet {at + length - 4}: the lengths of a block differ")
    return kind, data[at + 8 : at + length - 4]


def _check_interface(body: bytes, at: int) -> None:
    if len(body) < 8:
        raise PcapngError(f"octet {at + 8}: interface description cut short")
    link_type = int.from_bytes(body[:2], "little")
    if link_type != LINKTYPE_IEEE802_15_4_TAP:
        raise PcapngError(f"octet {at + 8}: link type {link_type} is not 802.15.4 TAP")
    option = 8
    while option + 4 <= len(body):
        code, length = _TYPE_LENGTH.unpack_from(body, option)
        if code == _OPTION_RESOLUTION and body[option + 4 : option + 5] != bytes((_MICROSECONDS,)):
            raise PcapngError(f"octet {at + 8 + option}: times are not in microseconds")
        option += 4 + length + (-length & 3)


def _read_packet(body: bytes, at: int, interfaces: int) -> tuple[int, bytes]:
    if len(body) < _PACKET_BODY.size:
        raise PcapngError(f"octet {at + 8}: packet block cut short")
    interface, high, low, captured, _ = _PACKET_BODY.unpack_from(body)
    if interface >= interfaces:
        raise PcapngError(f"octet {at + 8}: interface {interface} is not described")
    packet = body[_PACKET_BODY.size : _PACKET_BODY.size + captured]
    if len(packet) < captured or captured < _TAP.size:
        raise PcapngError(f"octet {at + 20}: {captured} captured octets are not there")
    version, _, tap_length = _TAP.unpack_from(packet)
    if version != 0 or not _TAP.size <= tap_length <= captured:
        raise PcapngError(f"octet {at + 28}: no TAP header")
    return high << 32 | low, packet[tap_length:]


def _read_comment(body: bytes) -> str:
    """Of a packet block that has been read."""
    captured: int = _PACKET_BODY.unpack_from(body)[3]
    option = _PACKET_BODY.size + captured + (-captured & 3)
    while option + _TYPE_LENGTH.size <= len(body):
        code, length = _TYPE_LENGTH.unpack_from(body, option)
        option += _TYPE_LENGTH.size
        if code == _OPTION_COMMENT:
            return body[option : option + length].decode(errors="replace")
        option += length + (-length & 3)
    return ""


def _section_header(application: str) -> bytes:
    body = struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, _LENGTH_UNKNOWN)
    return _build_block(_SECTION_HEADER, body + _option(_OPTION_USER_APPLICATION, application))


def _interface_description(name: str) -> bytes:
    body = struct.pack("<HHI", LINKTYPE_IEEE802_15_4_TAP, 0, 0)
    resolution = _tlv(_OPTION_RESOLUTION, bytes((_MICROSECONDS,)))
    return _build_block(_INTERFACE_DESCRIPTION, body + resolution + _option(_OPTION_NAME, name))


def _option(code: int, text: str) -> bytes:
    """The last option of a block, and the end of options."""
    value = text.encode()
    if len(value) > 0xFFFF:
        raise CaptureUsageError(f"a text of {len(value)} octets does not fit a capture")
    return _tlv(code, value) + _TYPE_LENGTH.pack(0, 0)


def _tlv(kind: int, value: bytes) -> bytes:
    return _TYPE_LENGTH.pack(kind, len(value)) + value + _PADDING[-len(value) & 3]


def _build_block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return _BLOCK.pack(kind, length) + body + _LENGTH.pack(length)
