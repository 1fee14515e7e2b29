"""MAC frames: data, acknowledgement, beacon, and the commands of association.

Source: IEEE 802.15.4-2006, 7.2 (frames), 7.3 (commands), 7.2.1.9 (FCS). Security at this layer is
not used by ZigBee. Addresses are integers: 16 bits short, 64 bits extended.
"""

from __future__ import annotations

from binascii import crc_hqx
from struct import Struct, error
from typing import NamedTuple

TYPE_BEACON = 0
TYPE_DATA = 1
TYPE_ACK = 2
TYPE_COMMAND = 3

ACK_REQUEST = 0x0020
FRAME_PENDING = 0x0010
PAN_ID_COMPRESSION = 0x0040
_SECURITY = 0x0008
_TYPE_MASK = 0x0007
_MODE_NONE, _MODE_SHORT, _MODE_EXTENDED = 0, 2, 3

BROADCAST = 0xFFFF
NO_SHORT_ADDRESS = 0xFFFE

COMMAND_ASSOCIATION_REQUEST = 0x01
COMMAND_ASSOCIATION_RESPONSE = 0x02
COMMAND_DATA_REQUEST = 0x04
COMMAND_BEACON_REQUEST = 0x07

ASSOCIATION_SUCCESSFUL = 0x00
ASSOCIATION_PAN_AT_CAPACITY = 0x01
ASSOCIATION_PAN_ACCESS_DENIED = 0x02

DATA_HEADER = Struct("<HBHHH")  # frame control, sequence, PAN, destination, source
DATA_UNACKED = 0x8841  # type data, short addresses, PAN compressed, version 2003
DATA_ACKED = DATA_UNACKED | ACK_REQUEST
DATA_HEADER_OCTETS = 9
FCS_OCTETS = 2

_ACK = Struct("<HB")
REVERSED_BITS = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
_FCS = Struct("<H")


class MacError(Exception):
    """A received frame that breaks 802.15.4, with the octet at which it does."""

    def __init__(self, sentence: str, offset: int) -> None:
        super().__init__(f"{sentence} (octet {offset})")
        self.offset = offset


def fcs(frame: bytes) -> bytes:
    """The FCS of `frame` (CRC-16, reflected, initial value 0), as it goes on the air.

    `crc_hqx` computes the same polynomial most significant bit first; reversing the bits of what
    goes in and of what comes out turns one into the other at C speed.
    """
    crc = crc_hqx(frame.translate(REVERSED_BITS), 0)
    return bytes((REVERSED_BITS[crc >> 8], REVERSED_BITS[crc & 0xFF]))


class MacFrame(NamedTuple):
    """A parsed frame. A missing address is None; `payload` excludes the FCS."""

    frame_type: int
    ack_request: bool
    frame_pending: bool
    sequence: int
    destination_pan: int | None
    destination: int | None
    destination_extended: bool
    source_pan: int | None
    source: int | None
    source_extended: bool
    payload: bytes


def build(frame: MacFrame) -> bytes:
    """The octets of `frame` with its FCS. The PAN is compressed when both are the same."""
    control = frame.frame_type
    if frame.ack_request:
        control |= ACK_REQUEST
    if frame.frame_pending:
        control |= FRAME_PENDING
    parts = [b"\x00\x00\x00"]
    compressed = (
        frame.destination is not None
        and frame.source is not None
        and frame.destination_pan == frame.source_pan
    )
    if compressed:
        control |= PAN_ID_COMPRESSION
    control |= (
        _address(parts, frame.destination_pan, frame.destination, frame.destination_extended) << 10
    )
    source_pan = None if compressed else frame.source_pan
    control |= _address(parts, source_pan, frame.source, frame.source_extended) << 14
    parts[0] = _ACK.pack(control, frame.sequence)
    octets = b"".join((*parts, frame.payload))
    return octets + fcs(octets)


def _address(parts: list[bytes], pan: int | None, address: int | None, extended: bool) -> int:
    if address is None:
        return _MODE_NONE
    if pan is not None:
        parts.append(pan.to_bytes(2, "little"))
    parts.append(address.to_bytes(8 if extended else 2, "little"))
    return _MODE_EXTENDED if extended else _MODE_SHORT


def parse(psdu: bytes) -> MacFrame:
    """Parse a whole frame. Raises MacError, also for a wrong FCS."""
    if len(psdu) < 5:
        raise MacError(f"a frame has at least 5 octets, this one {len(psdu)}", len(psdu))
    if psdu[-2:] != fcs(psdu[:-2]):
        raise MacError("the FCS does not match", len(psdu) - 2)
    control, sequence = _ACK.unpack_from(psdu)
    if control & _TYPE_MASK > TYPE_COMMAND:
        raise MacError(f"frame type {control & _TYPE_MASK} is reserved", 0)
    if control & _SECURITY:
        raise MacError("MAC security is not used in ZigBee", 0)
    at = 3
    end = len(psdu) - FCS_OCTETS
    destination_pan, destination, at = _take_address(psdu, at, end, control >> 10 & 3, True)
    own_pan = not control & PAN_ID_COMPRESSION
    source_pan, source, at = _take_address(psdu, at, end, control >> 14 & 3, own_pan)
    if not own_pan:
        if destination is None or source is None:
            raise MacError("the PAN is compressed where an address is missing", 0)
        source_pan = destination_pan
    return MacFrame(
        control & _TYPE_MASK,
        bool(control & ACK_REQUEST),
        bool(control & FRAME_PENDING),
        sequence,
        destination_pan,
        destination,
        control >> 10 & 3 == _MODE_EXTENDED,
        source_pan,
        source,
        control >> 14 & 3 == _MODE_EXTENDED,
        psdu[at:end],
    )


def _take_address(
    psdu: bytes, at: int, end: int, mode: int, has_pan: bool
) -> tuple[int | None, int | None, int]:
    if mode == _MODE_NONE:
        return None, None, at
    if mode not in (_MODE_SHORT, _MODE_EXTENDED):
        raise MacError(f"address mode {mode} is reserved", 0)
    octets = (2 if has_pan else 0) + (8 if mode == _MODE_EXTENDED else 2)
    if at + octets > end:
        raise MacError("the address runs past the end of the frame", at)
    pan = None
    if has_pan:
        pan = _FCS.unpack_from(psdu, at)[0]
        at += 2
        octets -= 2
    return pan, int.from_bytes(psdu[at : at + octets], "little"), at + octets


def build_ack(sequence: int, *, frame_pending: bool = False) -> bytes:
    """An acknowledgement of the frame with `sequence`, with its FCS."""
    octets = _ACK.pack(TYPE_ACK | (FRAME_PENDING if frame_pending else 0), sequence)
    return octets + fcs(octets)


ACKS = tuple(build_ack(sequence) for sequence in range(256))
"""The plain acknowledgement of every sequence number, made once: it is sent for each frame."""


class Beacon(NamedTuple):
    """A ZigBee beacon's payload with what its superframe field says (05-3474, 3.6.7)."""

    is_coordinator: bool
    permit_joining: bool
    stack_profile: int
    router_capacity: bool
    device_depth: int
    end_device_capacity: bool
    extended_pan_id: int
    update_id: int


_BEACON = Struct("<HBBBBBQ3sB")
_BEACON_ORDERS = 0x0FFF  # no superframe: beacon order, superframe order, final CAP slot all 15
_PROTOCOL_VERSION = 2
_TX_OFFSET = b"\xff\xff\xff"  # not a beacon-enabled network


def build_beacon(beacon: Beacon) -> bytes:
    """The payload of a beacon frame, from the superframe specification on."""
    superframe = _BEACON_ORDERS | beacon.is_coordinator << 14 | beacon.permit_joining << 15
    return _BEACON.pack(
        superframe,
        0,  # no guaranteed time slots
        0,  # no pending addresses
        0,  # protocol identifier: ZigBee
        beacon.stack_profile | _PROTOCOL_VERSION << 4,
        beacon.router_capacity << 2 | beacon.device_depth << 3 | beacon.end_device_capacity << 7,
        beacon.extended_pan_id,
        _TX_OFFSET,
        beacon.update_id,
    )


def parse_beacon(payload: bytes) -> Beacon:
    """Parse the payload of a beacon frame. Raises MacError for what no ZigBee router sends."""
    try:
        superframe, slots, pending, protocol, stack, capacity, extended_pan_id, _, update_id = (
            _BEACON.unpack(payload)
        )
    except error:
        raise MacError(f"a ZigBee beacon has {_BEACON.size} octets here", 0) from None
    if slots or pending or protocol:
        raise MacError("not a ZigBee beacon without slots and pending addresses", 2)
    return Beacon(
        bool(superframe >> 14 & 1),
        bool(superframe >> 15 & 1),
        stack & 0x0F,
        bool(capacity & 0x04),
        capacity >> 3 & 0x0F,
        bool(capacity & 0x80),
        extended_pan_id,
        update_id,
    )
