"""What crosses the SM WAN between the DSP and a hub, and the octets it crosses as.

Source: ours: the interface between DSP and Communications Service Provider is not public. What it
may carry is: GBCS frames, images, delivery outcomes, and of a device its EUI-64 and device type
(DUIS, GBCS); nothing that tells a bridge from a PPMID, and no key but the one inside a CCS01 frame.

Version 1, integers big-endian: `HBWM`, version, kind, then the fields in the order of the class.

    field            octets
    ---------------  -----------------------------------------
    hub, device      EUI-64
    reference        8, chosen by the DSP, returned as it was
    frame            2 of length, then the frame
    devices          1 of count, then 8 each
    image            4 of length, then the file
    sha256           32, of the file as the DSP has it
    outcome, type    1
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Protocol

from gbcs.envelope import MAX_FRAME_OCTETS
from gbcs.errors import GbcsError, GbcsValueError, require_unsigned

THING = "WAN message"
MAGIC = b"HBWM"
VERSION = 1
# The DUIS schema lets FirmwareImage have so many octets; smaller limits are the DSP's to set.
MAX_IMAGE_BYTES = 10_240_000
MAX_DEVICES = 0xFF
_HEADER_OCTETS = len(MAGIC) + 2
_SHA256_OCTETS = 32


class DeliveryResult(IntEnum):
    """How far a command or an image came."""

    DELIVERED = 0
    UNKNOWN_DEVICE = 1  # not in the hub's device log
    UNREACHABLE = 2
    REFUSED = 3  # the hub could not take it


class DeviceType(IntEnum):
    """Type of a device in a device log, as GBCS numbers them."""

    GSME = 0
    ESME = 1
    CHF = 2
    GPF = 3
    HCALCS = 4
    PPMID = 5
    TYPE_2 = 6


@dataclass(frozen=True, slots=True)
class CommandForDevice:
    """DSP to hub: give this frame to the device; it may be the hub itself."""

    hub: int
    device: int
    reference: int
    frame: bytes

    def __post_init__(self) -> None:
        _require_numbers(self, "hub", "device", "reference")
        _require_length("frame", self.frame, MAX_FRAME_OCTETS)


@dataclass(frozen=True, slots=True)
class MessageFromDevice:
    """Hub to DSP: a frame the device sent; the device may be the hub itself."""

    hub: int
    device: int
    frame: bytes

    def __post_init__(self) -> None:
        _require_numbers(self, "hub", "device")
        _require_length("frame", self.frame, MAX_FRAME_OCTETS)


@dataclass(frozen=True, slots=True)
class ImageOffer:
    """DSP to hub: hold this image and offer it to these devices.

    `sha256` is that of the file the DSP accepted; left out, it is that of `image`. The hub sees by
    it whether the file came as it was sent.
    """

    hub: int
    reference: int
    devices: tuple[int, ...]
    image: bytes
    sha256: bytes = b""

    def __post_init__(self) -> None:
        if not self.sha256:
            object.__setattr__(self, "sha256", hashlib.sha256(self.image).digest())
        _require_length("sha256", self.sha256, _SHA256_OCTETS, least=_SHA256_OCTETS)
        _require_numbers(self, "hub", "reference")
        for device in self.devices:
            require_unsigned("device", device, 8)
        if not 1 <= len(self.devices) <= MAX_DEVICES:
            raise GbcsValueError(f"an offer is for 1 to {MAX_DEVICES} devices")
        if len(set(self.devices)) != len(self.devices):
            raise GbcsValueError("an offer names a device twice")
        _require_length("image", self.image, MAX_IMAGE_BYTES)

    @property
    def is_whole(self) -> bool:
        """Whether the file is the one that was sent."""
        return hashlib.sha256(self.image).digest() == self.sha256

    def __repr__(self) -> str:
        devices = ", ".join(f"{device:016X}" for device in self.devices)
        return f"ImageOffer(hub={self.hub:016X}, devices=[{devices}], {len(self.image)} bytes)"


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """Hub to DSP: what became of the command or the offer with this reference."""

    hub: int
    device: int
    reference: int
    result: DeliveryResult

    def __post_init__(self) -> None:
        _require_numbers(self, "hub", "device", "reference")


@dataclass(frozen=True, slots=True)
class DeviceLogEntry:
    """DSP to hub: which type the device has that a CCS01 command lets in, as CCS01 does not say.

    A bridge is a PPMID here, as it is to the hub (MP170).
    """

    hub: int
    device: int
    device_type: DeviceType

    def __post_init__(self) -> None:
        _require_numbers(self, "hub", "device")


WanMessage = CommandForDevice | MessageFromDevice | ImageOffer | DeliveryOutcome | DeviceLogEntry


class Wan(Protocol):
    """One end of the SM WAN, to whoever has something to send."""

    def deliver(self, message: bytes) -> None:
        """Take one serialised message. It may be lost; it never comes back as an error."""


def _require_numbers(message: object, *names: str) -> None:
    for name in names:
        require_unsigned(name, getattr(message, name), 8)


def _require_length(name: str, octets: bytes, most: int, least: int = 1) -> None:
    if not least <= len(octets) <= most:
        raise GbcsValueError(f"{name} has {len(octets)} octets, not {least} to {most}")


_KINDS: dict[int, type[WanMessage]] = {
    1: CommandForDevice,
    2: MessageFromDevice,
    3: ImageOffer,
    4: DeliveryOutcome,
    5: DeviceLogEntry,
}
_KIND_OF = {message_type: kind for kind, message_type in _KINDS.items()}


def serialise(message: WanMessage) -> bytes:
    """The octets of a message."""
    parts = [MAGIC, bytes([VERSION, _KIND_OF[type(message)]])]
    for field in fields(message):
        value = getattr(message, field.name)
        match field.name:
            case "frame":
                parts += [struct.pack(">H", len(value)), value]
            case "image":
                parts += [struct.pack(">I", len(value)), value]
            case "sha256":
                parts.append(value)
            case "devices":
                parts.append(struct.pack(f">B{len(value)}Q", len(value), *value))
            case "result" | "device_type":
                parts.append(struct.pack(">B", value))
            case _:
                parts.append(struct.pack(">Q", value))
    return b"".join(parts)


def parse_message(octets: bytes) -> WanMessage:
    """Read one message. Raises GbcsError with the field and its offset."""
    if octets[: len(MAGIC)] != MAGIC or len(octets) < _HEADER_OCTETS:
        raise GbcsError(THING, "mark", 0, f"is {octets[:4].hex().upper() or 'missing'}, not HBWM")
    version, kind = octets[4], octets[5]
    if version != VERSION:
        raise GbcsError(THING, "version", 4, f"is {version}, only {VERSION} is read")
    message_type = _KINDS.get(kind)
    if message_type is None:
        raise GbcsError(THING, "kind", 5, f"is {kind}, not 1 to {len(_KINDS)}")
    reader = _Reader(octets, _HEADER_OCTETS)
    values = {field.name: reader.field(field.name) for field in fields(message_type)}
    reader.end()
    try:
        return message_type(**values)
    except GbcsValueError as error:
        raise GbcsError(THING, "fields", _HEADER_OCTETS, f"do not fit: {error}") from None


class _Reader:
    """Takes fields off the front of a message."""

    def __init__(self, octets: bytes, at: int) -> None:
        self._octets = octets
        self._at = at

    def field(self, name: str) -> Any:
        match name:
            case "frame":
                return self._octets_of(name, 2)
            case "image":
                return self._octets_of(name, 4)
            case "sha256":
                return self._take(name, _SHA256_OCTETS)
            case "devices":
                return tuple(self._number(name, 8) for _ in range(self._number(name, 1)))
            case "result":
                return self._one_of(name, DeliveryResult)
            case "device_type":
                return self._one_of(name, DeviceType)
            case _:
                return self._number(name, 8)

    def end(self) -> None:
        if rest := len(self._octets) - self._at:
            raise GbcsError(THING, "end", self._at, f"has {rest} octet(s) too many")

    def _take(self, name: str, count: int) -> bytes:
        taken = self._octets[self._at : self._at + count]
        if len(taken) != count:
            problem = f"is cut off: {count} octets expected, {len(taken)} left"
            raise GbcsError(THING, name, self._at, problem)
        self._at += count
        return bytes(taken)

    def _number(self, name: str, octets: int) -> int:
        return int.from_bytes(self._take(name, octets), "big")

    def _octets_of(self, name: str, length_octets: int) -> bytes:
        return self._take(name, self._number(name, length_octets))

    def _one_of(self, name: str, values: type[IntEnum]) -> IntEnum:
        at = self._at
        number = self._number(name, 1)
        try:
            return values(number)
        except ValueError:
            raise GbcsError(THING, name, at, f"is {number}, not one of those known") from None
