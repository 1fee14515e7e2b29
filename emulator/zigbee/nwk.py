"""NWK frames: the header that carries a frame across the network, its security, its commands.

Source: ZigBee specification 05-3474, 3.3 (frames), 3.4 (commands), 4.3.1 (security). All frames of
a running network are protected with the network key; the key identifier is 1 and the source
EUI-64 of the last hop always stands in the auxiliary header.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from emulator.zigbee.security import (
    EXTENDED_NONCE,
    KEY_ID_NETWORK,
    MIC_OCTETS,
    SECURITY_LEVEL,
    FrameKey,
)

TYPE_DATA = 0
TYPE_COMMAND = 1
PROTOCOL_VERSION = 2 << 2
DISCOVER_ROUTE = 1 << 6
MULTICAST = 1 << 8
SECURITY = 1 << 9
SOURCE_ROUTE = 1 << 10
DESTINATION_IEEE = 1 << 11
SOURCE_IEEE = 1 << 12

DATA_CONTROL = TYPE_DATA | PROTOCOL_VERSION | DISCOVER_ROUTE | SECURITY  # 0x0248
UNSECURED_DATA_CONTROL = TYPE_DATA | PROTOCOL_VERSION
COMMAND_CONTROL = TYPE_COMMAND | PROTOCOL_VERSION | SECURITY | SOURCE_IEEE

BROADCAST_ALL = 0xFFFF
BROADCAST_RX_ON = 0xFFFD
BROADCAST_ROUTERS = 0xFFFC
LOWEST_BROADCAST = 0xFFF8

COMMAND_LEAVE = 0x04

MAX_RADIUS = 30  # nwkMaxDepth of the ZigBee PRO stack profile is 15

MAX_PAYLOAD_OCTETS = 90
"""What a secured frame without optional fields carries: 127 - 11 MAC - 8 header - 18 security."""

HEADER = Struct("<HHHBB")  # control, destination, source, radius, sequence
HEADER_OCTETS = 8
AUXILIARY_OCTETS = 14
_SECURED = Struct("<HHHBBBI8sB")  # header, security control, counter, source EUI-64, key sequence
_SECURED_OCTETS = HEADER_OCTETS + AUXILIARY_OCTETS

_ON_AIR_CONTROL = bytes((KEY_ID_NETWORK | EXTENDED_NONCE,))  # 0x28: the level is cleared
_AUTHENTICATED = KEY_ID_NETWORK | EXTENDED_NONCE | SECURITY_LEVEL  # 0x2D
_AUTHENTICATED_CONTROL = bytes((_AUTHENTICATED,))


class NwkError(Exception):
    """A received frame that breaks the NWK layer's rules, with the octet at which it does."""

    def __init__(self, sentence: str, offset: int) -> None:
        super().__init__(f"{sentence} (octet {offset})")
        self.offset = offset


class NwkFrame(NamedTuple):
    """A parsed frame; of a secured one `header_octets` ends before the auxiliary header.

    `relays` begins with the relay nearest to the destination (3.3.1.9); `relay_index` is the place
    in it of the relay whose turn it is.
    """

    control: int
    destination: int
    source: int
    radius: int
    sequence: int
    destination_ieee: int | None
    source_ieee: int | None
    relays: tuple[int, ...]
    header_octets: int
    relay_index: int = 0

    @property
    def frame_type(self) -> int:
        return self.control & 0x0003

    @property
    def secured(self) -> bool:
        return bool(self.control & SECURITY)


class Auxiliary(NamedTuple):
    """The auxiliary header of a secured frame."""

    counter: int
    source_eui64: bytes  # 8 octets, little-endian
    key_sequence: int


def parse(frame: bytes) -> NwkFrame:
    """Parse the header of `frame`. Raises NwkError."""
    if len(frame) < HEADER_OCTETS:
        raise NwkError(f"a NWK header has 8 octets, this frame {len(frame)}", len(frame))
    control, destination, source, radius, sequence = HEADER.unpack_from(frame)
    at = HEADER_OCTETS
    if control & ~SECURITY == DATA_CONTROL & ~SECURITY:
        return NwkFrame(control, destination, source, radius, sequence, None, None, (), at)
    if control & 0x3C != PROTOCOL_VERSION:
        raise NwkError(f"protocol version {control >> 2 & 0x0F} is not 2", 0)
    destination_ieee = source_ieee = None
    if control & DESTINATION_IEEE:
        destination_ieee, at = _eui64(frame, at)
    if control & SOURCE_IEEE:
        source_ieee, at = _eui64(frame, at)
    if control & MULTICAST:
        at += 1
    relays: tuple[int, ...] = ()
    relay_index = 0
    if control & SOURCE_ROUTE:
        count = frame[at] if at < len(frame) else 0
        end = at + 2 + 2 * count
        if at >= len(frame) or end > len(frame):
            raise NwkError("the source route runs past the end of the frame", at)
        relays = tuple(
            int.from_bytes(frame[relay : relay + 2], "little") for relay in range(at + 2, end, 2)
        )
        relay_index = frame[at + 1]
        if relay_index and relay_index >= count:
            raise NwkError(f"relay index {relay_index} of {count} relays", at + 1)
        at = end
    if at > len(frame):
        raise NwkError("the header runs past the end of the frame", at)
    return NwkFrame(
        control,
        destination,
        source,
        radius,
        sequence,
        destination_ieee,
        source_ieee,
        relays,
        at,
        relay_index,
    )


def _eui64(frame: bytes, at: int) -> tuple[int, int]:
    if at + 8 > len(frame):
        raise NwkError("the EUI-64 runs past the end of the frame", at)
    return int.from_bytes(frame[at : at + 8], "little"), at + 8


def build_header(frame: NwkFrame) -> bytes:
    """The header of `frame`; the flags of optional fields follow from the fields."""
    control = frame.control & ~(DESTINATION_IEEE | SOURCE_IEEE | SOURCE_ROUTE | MULTICAST)
    tail = b""
    if frame.destination_ieee is not None:
        control |= DESTINATION_IEEE
        tail += frame.destination_ieee.to_bytes(8, "little")
    if frame.source_ieee is not None:
        control |= SOURCE_IEEE
        tail += frame.source_ieee.to_bytes(8, "little")
    if frame.relays:
        control |= SOURCE_ROUTE
        tail += bytes((len(frame.relays), frame.relay_index))
        tail += b"".join(relay.to_bytes(2, "little") for relay in frame.relays)
    fixed = HEADER.pack(control, frame.destination, frame.source, frame.radius, frame.sequence)
    return fixed + tail


def seal_data(
    key: FrameKey,
    destination: int,
    source: int,
    radius: int,
    sequence: int,
    counter: int,
    source_eui64: bytes,
    key_sequence: int,
    payload: bytes,
) -> bytes:
    """A secured data frame without optional fields: what nearly every frame of a transfer is."""
    authenticated = _SECURED.pack(
        DATA_CONTROL,
        destination,
        source,
        radius,
        sequence,
        _AUTHENTICATED,
        counter,
        source_eui64,
        key_sequence,
    )
    nonce = source_eui64 + authenticated[9:13] + _AUTHENTICATED_CONTROL
    sealed = key.seal(nonce, payload, authenticated)
    return authenticated[:8] + _ON_AIR_CONTROL + authenticated[9:] + sealed


def seal(
    key: FrameKey,
    header: bytes,
    counter: int,
    source_eui64: bytes,
    key_sequence: int,
    payload: bytes,
) -> bytes:
    """A secured frame behind any `header` that `build_header` made."""
    counter_octets = counter.to_bytes(4, "little")
    rest = counter_octets + source_eui64 + bytes((key_sequence,))
    authenticated = header + _AUTHENTICATED_CONTROL + rest
    nonce = source_eui64 + counter_octets + _AUTHENTICATED_CONTROL
    return header + _ON_AIR_CONTROL + rest + key.seal(nonce, payload, authenticated)


_AUXILIARY = Struct("<BI8sB")


def parse_auxiliary(frame: bytes, at: int) -> Auxiliary:
    """The auxiliary header at octet `at`. Raises NwkError."""
    if at + AUXILIARY_OCTETS + MIC_OCTETS > len(frame):
        raise NwkError("too short for an auxiliary header and a MIC", at)
    control, counter, source_eui64, key_sequence = _AUXILIARY.unpack_from(frame, at)
    if control & ~0x07 != _ON_AIR_CONTROL[0]:
        raise NwkError(f"security control 0x{control:02X} is not the network key's", at)
    return Auxiliary(counter, source_eui64, key_sequence)


_PLAIN_CONTROL = DATA_CONTROL.to_bytes(2, "little")


_PlainData = tuple[int, int, int, int, int, int, int, bytes, int]


def split_plain_data(frame: bytes) -> _PlainData | None:
    """A secured data frame without optional fields, long enough for its MIC: control, destination,
    source, radius, sequence, security control, counter, source EUI-64, key sequence. None for
    any other frame.
    """
    if (
        frame[:2] != _PLAIN_CONTROL
        or len(frame) < _SECURED_OCTETS + MIC_OCTETS
        or frame[HEADER_OCTETS] & ~0x07 != _ON_AIR_CONTROL[0]
    ):
        return None
    return _SECURED.unpack_from(frame)


def open_sealed(key: FrameKey, frame: bytes, at: int, source_eui64: bytes) -> bytes:
    """The payload of a secured frame whose auxiliary header stands at octet `at`.

    Raises SecurityError when the MIC does not match.
    """
    end = at + AUXILIARY_OCTETS
    authenticated = frame[:at] + _AUTHENTICATED_CONTROL + frame[at + 1 : end]
    nonce = source_eui64 + frame[at + 1 : at + 5] + _AUTHENTICATED_CONTROL
    return key.open(nonce, frame[end:], authenticated)
