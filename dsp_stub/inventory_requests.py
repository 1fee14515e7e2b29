"""The requests that change the inventory: Decommission Device (8.3), Update Inventory (8.4).

Source: DUIS XSD V5.4; MP170, annex B, Tables 231 to 233 (UpdateInventory, with PPMIDVariant).

    service   element              class                holds
    --------  -------------------  -------------------  ------------------------------------------
    8.3       DecommissionDevice   DecommissionDevice   a device
    8.4       UpdateInventory      UpdateInventory      a device, and one change of five:

    UpdateDeviceStatusExceptCH   NewDeviceStatus   Pending, InstalledNotCommissioned
    UpdateDeviceStatusCH         NewHubStatus      InstalledNotCommissioned, Commissioned, Withdrawn
    UpdateDeviceDetails          DeviceDetails     up to six details; that none is there is the
                                                   DSP's to say
    DeleteDevice                 DeleteDevice      nothing
    UpdateMPxN                   NewMpxn           one of three metering points
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Final

from lxml import etree

from dsp_stub.body_xml import BodyXml
from dsp_stub.errors import DspValueError
from dsp_stub.fields import eui64_to_xml
from dsp_stub.safe_xml import children, local_name, token
from dsp_stub.smi import PpmidVariant
from dsp_stub.xml_reader import optional_text, read_eui64, refused
from dsp_stub.xml_writer import XmlWriter

DEVICE_STATUSES: Final = ("Pending", "InstalledNotCommissioned")
HUB_STATUSES: Final = ("Commissioned", "InstalledNotCommissioned", "Withdrawn")


@dataclass(frozen=True, slots=True)
class DecommissionDevice:
    """8.3: a device is taken out of use."""

    device_id: int


@dataclass(frozen=True, slots=True)
class NewDeviceStatus:
    """The status of a device that is no CHF, GPF or Type 2 device."""

    status: str

    def __post_init__(self) -> None:
        _require_one_of("a device's new status", self.status, DEVICE_STATUSES)


@dataclass(frozen=True, slots=True)
class NewHubStatus:
    """The status of a CHF, which its GPF follows."""

    status: str

    def __post_init__(self) -> None:
        _require_one_of("a CHF's new status", self.status, HUB_STATUSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDetails:
    """What a pre-notification said, corrected."""

    manufacturer: str | None = None
    model: str | None = None
    smets_chts_version: str | None = None
    firmware_version: str | None = None
    esme_variant: str | None = None
    ppmid_variant: str | None = None

    def __post_init__(self) -> None:
        if self.ppmid_variant is not None:
            _require_one_of("PPMIDVariant", self.ppmid_variant, tuple(PpmidVariant))

    def given(self) -> dict[str, str]:
        """The details that are there, by the names of their fields."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class DeleteDevice:
    """The device was announced by mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMpxn:
    """The metering point of one kind that is associated with a device."""

    import_mpxn: str | None = None
    secondary_import_mpan: str | None = None
    export_mpan: str | None = None

    def __post_init__(self) -> None:
        points = [getattr(self, field.name) for field in fields(self)]
        given = [point for point in points if point is not None]
        if len(given) != 1:
            raise DspValueError("an UpdateMPxN has exactly one metering point")
        if not re.fullmatch("[0-9]{1,13}", given[0]):
            raise DspValueError(f"{given[0]!r} is no MPxN of 1 to 13 digits")


Change = NewDeviceStatus | NewHubStatus | DeviceDetails | DeleteDevice | NewMpxn


@dataclass(frozen=True, slots=True)
class UpdateInventory:
    """8.4: one thing about a device is changed, or the device is taken out."""

    device_id: int
    change: Change


DETAIL_ELEMENTS: Final = {
    "manufacturer": "DeviceManufacturer",
    "model": "DeviceModel",
    "smets_chts_version": "SMETSCHTSVersion",
    "firmware_version": "FirmwareVersion",
    "esme_variant": "ESMEVariant",
    "ppmid_variant": "PPMIDVariant",
}
MPXN_ELEMENTS: Final = {
    "import_mpxn": "ImportMPxN",
    "secondary_import_mpan": "SecondaryImportMPAN",
    "export_mpan": "ExportMPAN",
}


def _require_one_of(name: str, value: str, valid: Collection[str]) -> None:
    if value not in valid:
        raise DspValueError(f"{name} {value!r} is none of {', '.join(valid)}")


def _read_decommission(element: etree._Element) -> DecommissionDevice:
    return DecommissionDevice(read_eui64(element, "DeviceID"))


def _read_update(element: etree._Element) -> UpdateInventory:
    changes = [one for one in children(element) if local_name(one) != "DeviceID"]
    if len(changes) != 1:
        raise refused(element, f"has {len(changes)} changes, not one")
    return UpdateInventory(read_eui64(element, "DeviceID"), _read_change(changes[0]))


def _read_change(element: etree._Element) -> Change:
    match local_name(element):
        case "UpdateDeviceStatusExceptCH":
            return NewDeviceStatus(token(element))
        case "UpdateDeviceStatusCH":
            return NewHubStatus(token(element))
        case "UpdateDeviceDetails":
            return DeviceDetails(
                **{field: optional_text(element, name) for field, name in DETAIL_ELEMENTS.items()}
            )
        case "DeleteDevice":
            return DeleteDevice()
        case "UpdateMPxN":
            return NewMpxn(
                **{field: optional_text(element, name) for field, name in MPXN_ELEMENTS.items()}
            )
        case name:
            raise refused(element, f"{name} is no change of an inventory")


def _write_decommission(writer: XmlWriter, body: DecommissionDevice) -> None:
    writer.leaf("DeviceID", eui64_to_xml(body.device_id))


def _write_update(writer: XmlWriter, body: UpdateInventory) -> None:
    writer.leaf("DeviceID", eui64_to_xml(body.device_id))
    _write_change(writer, body.change)


def _write_change(writer: XmlWriter, change: Change) -> None:
    match change:
        case NewDeviceStatus():
            writer.leaf("UpdateDeviceStatusExceptCH", change.status)
        case NewHubStatus():
            writer.leaf("UpdateDeviceStatusCH", change.status)
        case DeviceDetails():
            with writer.inside("UpdateDeviceDetails"):
                for field, name in DETAIL_ELEMENTS.items():
                    writer.optional(name, getattr(change, field))
        case DeleteDevice():
            with writer.inside("DeleteDevice"):
                pass
        case NewMpxn():
            with writer.inside("UpdateMPxN"):
                for field, name in MPXN_ELEMENTS.items():
                    writer.optional(name, getattr(change, field))


INVENTORY_BODIES = (
    BodyXml(
        "DecommissionDevice", "8.3", DecommissionDevice, _read_decommission, _write_decommission
    ),
    BodyXml("UpdateInventory", "8.4", UpdateInventory, _read_update, _write_update),
)
