"""The requests about firmware: send it (11.1, 11.4), ask for it (11.2), activate it (11.3).

Source: DUIS XSD V5.4, service requests 11.1 to 11.4. No `repr` shows an image.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lxml import etree

from dsp_stub.body_xml import BodyXml
from dsp_stub.errors import DspValueError
from dsp_stub.fields import eui64_to_xml, octets_to_xml
from dsp_stub.xml_reader import (
    optional_text,
    read_devices,
    read_field,
    read_hex,
    read_octets,
    read_text,
    refused,
    require,
)
from dsp_stub.xml_writer import XmlWriter

MAX_DEVICES = 50_000
HASH_OCTETS = 32


@dataclass(frozen=True, slots=True)
class _FirmwareForDevices:
    """One image for a list of devices; `firmware_version` as written, in 1 to 8 characters."""

    firmware_image: bytes = field(repr=False)
    firmware_version: str
    devices: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.devices) <= MAX_DEVICES:
            raise DspValueError(f"an image is for 1 to {MAX_DEVICES} devices")
        if len(set(self.devices)) != len(self.devices):
            raise DspValueError("an image is for each device once")


@dataclass(frozen=True, slots=True)
class UpdateFirmware(_FirmwareForDevices):
    """11.1: an image for meters or HCALCSs, with the supplier's authorisation at its end."""


@dataclass(frozen=True, slots=True)
class UpdatePpmidFirmware(_FirmwareForDevices):
    """11.4: an image for PPMIDs."""


@dataclass(frozen=True, slots=True)
class ReadFirmwareVersion:
    """11.2: what does the target of the RequestID run."""

    execution_date_time: str | None = None


@dataclass(frozen=True, slots=True)
class ActivateFirmware:
    """11.3: run the image whose manufacturer image has this SHA-256."""

    firmware_hash: bytes
    execution_date_time: str | None = None

    def __post_init__(self) -> None:
        if len(self.firmware_hash) != HASH_OCTETS:
            raise DspValueError(f"FirmwareHash has {HASH_OCTETS} octets")


def _read_firmware(element: etree._Element) -> tuple[bytes, str, tuple[int, ...]]:
    devices = read_field(element, "DeviceIDList", read_devices)
    if len(set(devices)) != len(devices):
        twice = next(device for device, times in Counter(devices).items() if times > 1)
        raise refused(require(element, "DeviceIDList"), f"has {eui64_to_xml(twice)} twice")
    return read_octets(element, "FirmwareImage"), read_text(element, "FirmwareVersion"), devices


def _write_firmware(writer: XmlWriter, body: _FirmwareForDevices) -> None:
    writer.leaf("FirmwareImage", octets_to_xml(body.firmware_image))
    writer.leaf("FirmwareVersion", body.firmware_version)
    writer.leaf("DeviceIDList", ",".join(map(eui64_to_xml, body.devices)))


def _write_read_version(writer: XmlWriter, body: ReadFirmwareVersion) -> None:
    writer.optional("ExecutionDateTime", body.execution_date_time)


def _write_activate(writer: XmlWriter, body: ActivateFirmware) -> None:
    writer.optional("ExecutionDateTime", body.execution_date_time)
    writer.leaf("FirmwareHash", body.firmware_hash.hex().upper())


FIRMWARE_BODIES = (
    BodyXml(
        "UpdateFirmware",
        "11.1",
        UpdateFirmware,
        lambda element: UpdateFirmware(*_read_firmware(element)),
        _write_firmware,
    ),
    BodyXml(
        "ReadFirmwareVersion",
        "11.2",
        ReadFirmwareVersion,
        lambda element: ReadFirmwareVersion(optional_text(element, "ExecutionDateTime")),
        _write_read_version,
    ),
    BodyXml(
        "ActivateFirmware",
        "11.3",
        ActivateFirmware,
        lambda element: ActivateFirmware(
            read_hex(element, "FirmwareHash"), optional_text(element, "ExecutionDateTime")
        ),
        _write_activate,
    ),
    BodyXml(
        "UpdatePPMIDFirmware",
        "11.4",
        UpdatePpmidFirmware,
        lambda element: UpdatePpmidFirmware(*_read_firmware(element)),
        _write_firmware,
    ),
)
