"""APS frames: data between endpoints, acknowledgements, and the commands that carry keys.

Source: ZigBee specification 05-3474, 2.2.5 (frames, extended header), 2.2.8.4 (acknowledgement),
4.4.1 (security), 4.4.10 (commands).
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from emulator.zigbee.security import (
    EXTENDED_NONCE,
    KEY_ID_DATA,
    KEY_ID_KEY_LOAD,
    KEY_ID_KEY_TRANSPORT,
    MIC_OCTETS,
    SECURITY_LEVEL,
    FrameKey,
)

TYPE_DATA = 0
TYPE_COMMAND = 1
TYPE_ACK = 2
_TYPE_MASK = 0x03
DELIVERY_UNICAST = 0 << 2
DELIVERY_BROADCAST = 2 << 2
DELIVERY_GROUP = 3 << 2
_DELIVERY_MASK = 0x0C
ACK_FORMAT = 1 << 4  # an acknowledgement of a command, without endpoints
SECURITY = 1 << 5
ACK_REQUEST = 1 << 6
EXTENDED_HEADER = 1 << 7

# None of these in nearly every frame: a unicast, data or acknowledgement (types 0 and 2).
_RARE = TYPE_COMMAND | _DELIVERY_MASK | EXTENDED_HEADER | ACK_FORMAT

FRAGMENT_NONE = 0
FRAGMENT_FIRST = 1
FRAGMENT_PART = 2

COMMAND_TRANSPORT_KEY = 0x05
KEY_TYPE_NETWORK = 0x01

HEADER = Struct("<BBHHBB")  # control, destination ep, cluster, profile, source ep, counter
HEADER_OCTETS = 8
AUXILIARY_OCTETS = 5
COMMAND_HEADER_OCTETS = 2  # control, counter
SECURITY_OCTETS = AUXILIARY_OCTETS + MIC_OCTETS

MAX_PAYLOAD_OCTETS = 82
"""Payload of an unfragmented frame under NWK security: 127 - 11 MAC - 26 NWK - 8 APS."""

_AUXILIARY = Struct("<BI")
_LINK_CONTROL = b"\x00"  # data key, the nonce's EUI-64 is known from the NWK header
_LINK_AUTHENTICATED = bytes((SECURITY_LEVEL,))


class ApsError(Exception):
    """A received frame that breaks the APS layer's rules, with the octet at which it does."""

    def __init__(self, sentence: str, offset: int) -> None:
        super().__init__(f"{sentence} (octet {offset})")
        self.offset = offset


class ApsFrame(NamedTuple):
    """The header of a data frame or acknowledgement. `block` is the count in the first fragment,
    the index in the others; `ack_bits` stands in acknowledgements of fragments only.
    """

    control: int
    destination_endpoint: int
    group: int
    cluster: int
    profile: int
    source_endpoint: int
    counter: int
    fragmentation: int
    block: int
    ack_bits: int
    header_octets: int

    @property
    def frame_type(self) -> int:
        return self.control & _TYPE_MASK

    @property
    def delivery(self) -> int:
        return self.control & _DELIVERY_MASK


def parse(frame: bytes) -> ApsFrame:
    """Parse the header of a data frame or acknowledgement. Raises ApsError."""
    if not frame:
        raise ApsError("an empty APS frame", 0)
    control = frame[0]
    if not control & _RARE:
        if len(frame) < HEADER_OCTETS:
            raise ApsError(f"an APS header has 8 octets, this frame {len(frame)}", len(frame))
        _, destination, cluster, profile, source, counter = HEADER.unpack_from(frame)
        # Past its own constructor, as NamedTuples are made where every frame passes: half the cost.
        return tuple.__new__(
            ApsFrame,
            (control, destination, 0, cluster, profile, source, counter, 0, 0, 0, HEADER_OCTETS),
        )
    return _parse_rare(frame, control)


def _parse_rare(frame: bytes, control: int) -> ApsFrame:
    if control & _TYPE_MASK not in (TYPE_DATA, TYPE_ACK):
        raise ApsError(f"frame type {control & _TYPE_MASK} has no endpoints", 0)
    delivery = control & _DELIVERY_MASK
    if delivery == 1 << 2:
        raise ApsError("delivery mode 1 is reserved", 0)
    at = 1
    destination = group = cluster = profile = source = 0
    endpoints = not (control & _TYPE_MASK == TYPE_ACK and control & ACK_FORMAT)
    try:
        if endpoints:
            if delivery == DELIVERY_GROUP:
                group = int.from_bytes(frame[at : at + 2], "little")
                at += 2
            else:
                destination = frame[at]
                at += 1
            cluster, profile, source = _ADDRESS.unpack_from(frame, at)
            at += _ADDRESS.size
        counter = frame[at]
        at += 1
        fragmentation = block = ack_bits = 0
        if control & EXTENDED_HEADER:
            fragmentation = frame[at] & 0x03
            at += 1
            if fragmentation:
                block = frame[at]
                at += 1
                if control & _TYPE_MASK == TYPE_ACK:
                    ack_bits = frame[at]
                    at += 1
    except (IndexError, StructError):
        raise ApsError("the header runs past the end of the frame", len(frame)) from None
    if at > len(frame):
        raise ApsError("the header runs past the end of the frame", len(frame))
    if fragmentation == 3:
        raise ApsError("fragmentation 3 is reserved", at)
    return ApsFrame(
        control,
        destination,
        group,
        cluster,
        profile,
        source,
        counter,
        fragmentation,
        block,
        ack_bits,
        at,
    )


_ADDRESS = Struct("<HHB")


def build_header(frame: ApsFrame) -> bytes:
    """The header of `frame`; `header_octets` is not used."""
    parts = [bytes((frame.control,))]
    if not (frame.control & _TYPE_MASK == TYPE_ACK and frame.control & ACK_FORMAT):
        if frame.control & _DELIVERY_MASK == DELIVERY_GROUP:
            parts.append(frame.group.to_bytes(2, "little"))
        else:
            parts.append(bytes((frame.destination_endpoint,)))
        parts.append(_ADDRESS.pack(frame.cluster, frame.profile, frame.source_endpoint))
    parts.append(bytes((frame.counter,)))
    if frame.control & EXTENDED_HEADER:
        parts.append(bytes((frame.fragmentation,)))
        if frame.fragmentation:
            parts.append(bytes((frame.block,)))
            if frame.control & _TYPE_MASK == TYPE_ACK:
                parts.append(bytes((frame.ack_bits,)))
    return b"".join(parts)


def seal(key: FrameKey, header: bytes, counter: int, source_eui64: bytes, payload: bytes) -> bytes:
    """`header` and `payload` under a link key; the security bit of `header` is already set."""
    auxiliary = _AUXILIARY.pack(SECURITY_LEVEL, counter)
    nonce = source_eui64 + auxiliary[1:] + _LINK_AUTHENTICATED
    sealed = key.seal(nonce, payload, header + auxiliary)
    return header + _LINK_CONTROL + auxiliary[1:] + sealed


def counter_of(frame: bytes, at: int) -> int:
    """The frame counter of the auxiliary header at octet `at`. Raises ApsError."""
    if at + SECURITY_OCTETS > len(frame):
        raise ApsError("too short for an auxiliary header and a MIC", at)
    control, counter = _AUXILIARY.unpack_from(frame, at)
    if control & ~0x07:
        raise ApsError(f"security control 0x{control:02X} is not a link key's", at)
    return int(counter)


def open_sealed(key: FrameKey, frame: bytes, at: int, source_eui64: bytes) -> bytes:
    """The payload of a frame under a link key, its auxiliary header at octet `at`.

    Raises SecurityError when the MIC does not match.
    """
    end = at + AUXILIARY_OCTETS
    authenticated = frame[:at] + _LINK_AUTHENTICATED + frame[at + 1 : end]
    nonce = source_eui64 + frame[at + 1 : end] + _LINK_AUTHENTICATED
    return key.open(nonce, frame[end:], authenticated)


class CommandHeader(NamedTuple):
    """What stands before a command. Of one without APS security `key_id` is None, and so is
    `source_eui64` where the nonce is not extended.
    """

    key_id: int | None
    counter: int
    source_eui64: bytes | None
    octets: int


_COMMAND_HEADER = Struct("<BB")
_COMMAND_AUXILIARY = Struct("<BI8s")
_COMMAND_KEYS = (KEY_ID_DATA, KEY_ID_KEY_TRANSPORT, KEY_ID_KEY_LOAD)


def build_command(command: bytes, aps_counter: int) -> bytes:
    """A command (its identifier first) without APS security."""
    return _COMMAND_HEADER.pack(TYPE_COMMAND, aps_counter) + command


def seal_command(
    key: FrameKey,
    key_id: int,
    command: bytes,
    aps_counter: int,
    frame_counter: int,
    source_eui64: bytes,
) -> bytes:
    """A command under `key`, which is a link key or derived from one as `key_id` says.

    The nonce is extended: a joiner cannot know the trust centre's EUI-64 yet.
    """
    control = key_id | EXTENDED_NONCE
    header = _COMMAND_HEADER.pack(TYPE_COMMAND | SECURITY, aps_counter)
    auxiliary = _COMMAND_AUXILIARY.pack(control | SECURITY_LEVEL, frame_counter, source_eui64)
    nonce = source_eui64 + auxiliary[1:5] + auxiliary[:1]
    sealed = key.seal(nonce, command, header + auxiliary)
    return header + bytes((control,)) + auxiliary[1:] + sealed


def parse_command(frame: bytes) -> CommandHeader:
    """The header of a command, which follows it, or lies sealed behind it. Raises ApsError."""
    if len(frame) < _COMMAND_HEADER.size:
        raise ApsError("too short for a command", len(frame))
    at = _COMMAND_HEADER.size
    if frame[0] & _TYPE_MASK != TYPE_COMMAND:
        raise ApsError(f"frame type {frame[0] & _TYPE_MASK} is not a command's", 0)
    if not frame[0] & SECURITY:
        return CommandHeader(None, 0, None, at)
    if at + AUXILIARY_OCTETS + MIC_OCTETS > len(frame):
        raise ApsError("too short for a secured command", len(frame))
    control, counter = _AUXILIARY.unpack_from(frame, at)
    key_id = control & ~0x07 & ~EXTENDED_NONCE
    if key_id not in _COMMAND_KEYS:
        raise ApsError(f"security control 0x{control:02X} is of no key of commands", at)
    at += AUXILIARY_OCTETS
    if not control & EXTENDED_NONCE:
        return CommandHeader(key_id, counter, None, at)
    if at + 8 + MIC_OCTETS > len(frame):
        raise ApsError("too short for an extended nonce", len(frame))
    return CommandHeader(key_id, counter, frame[at : at + 8], at + 8)


def open_command(key: FrameKey, frame: bytes, header: CommandHeader, source_eui64: bytes) -> bytes:
    """The command in a frame under `key`, its identifier first.

    Raises SecurityError when the MIC does not match.
    """
    control = bytes((frame[2] & ~0x07 | SECURITY_LEVEL,))
    authenticated = frame[:2] + control + frame[3 : header.octets]
    nonce = source_eui64 + frame[3:7] + control
    return key.open(nonce, frame[header.octets :], authenticated)


class TransportKey(NamedTuple):
    """Transport Key of a network key (4.4.10.1.3.2). Addresses are integers; that of the
    destination is 0 in a broadcast.
    """

    key: bytes
    key_sequence: int
    destination_eui64: int
    source_eui64: int


_TRANSPORT_KEY = Struct("<BB16sBQQ")


def build_transport_key(command: TransportKey) -> bytes:
    """The command's octets, its identifier first."""
    return _TRANSPORT_KEY.pack(COMMAND_TRANSPORT_KEY, KEY_TYPE_NETWORK, *command)


def parse_transport_key(command: bytes) -> TransportKey:
    """What `build_transport_key` built. Raises ApsError for another command or key type."""
    if command[:2] != bytes((COMMAND_TRANSPORT_KEY, KEY_TYPE_NETWORK)):
        raise ApsError("not a Transport Key of a network key", 0)
    if len(command) != _TRANSPORT_KEY.size:
        raise ApsError(
            f"Transport Key of a network key has {_TRANSPORT_KEY.size} octets, not {len(command)}",
            len(command),
        )
    return TransportKey(*_TRANSPORT_KEY.unpack(command)[2:])


def seal_transport_key(
    key: FrameKey, command: TransportKey, aps_counter: int, frame_counter: int
) -> bytes:
    """A Transport Key command under `key`, the key-transport key of the joiner's link key."""
    source = command.source_eui64.to_bytes(8, "little")
    octets = build_transport_key(command)
    return seal_command(key, KEY_ID_KEY_TRANSPORT, octets, aps_counter, frame_counter, source)


def open_transport_key(key: FrameKey, frame: bytes) -> tuple[TransportKey, int]:
    """The Transport Key in `frame` and its frame counter.

    Raises ApsError for another command or key type, SecurityError when the MIC does not match.
    """
    header = parse_command(frame)
    if header.key_id != KEY_ID_KEY_TRANSPORT or header.source_eui64 is None:
        raise ApsError("not under a key-transport key, with an extended nonce", 2)
    command = open_command(key, frame, header, header.source_eui64)
    return parse_transport_key(command), header.counter
