"""The DCC alerts that follow a change of the inventory.

Source: DUIS XSD V5.4 (DeviceStatusChangeEvent, CommandFailure, DSPScheduleRemoval); MP170, annex B,
3.8.106.4 (N16, N36, N37 of Update Inventory).

    element                   class                     code   told to
    ------------------------  ------------------------  -----  --------------------------------
    DeviceStatusChangeEvent   DeviceStatusChangeEvent   N16    the meter's network operator
      with MeterIdentity
    CommandFailure            CommandFailure            N36    who sent the future-dated request
    DSPScheduleRemoval        DspScheduleRemoval        N37    whose schedule it was
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from dsp_stub.fields import RequestId, eui64_to_xml
from dsp_stub.xml_reader import (
    optional_text,
    read_eui64,
    read_request_id,
    read_text,
    refused,
    require,
)
from dsp_stub.xml_writer import XmlWriter


@dataclass(frozen=True, slots=True)
class DeviceStatusChangeEvent:
    """Which metering points a meter has now."""

    device_id: int
    import_mpxn: str
    secondary_import_mpan: str | None = None
    export_mpan: str | None = None
    esme_variant: str | None = None


@dataclass(frozen=True, slots=True)
class CommandFailure:
    """A request that was to be carried out later never will be."""

    request_id: RequestId
    device_id: int


@dataclass(frozen=True, slots=True)
class DspScheduleRemoval:
    """A schedule of the DSP's on a device was deleted."""

    device_id: int
    schedule_id: int


InventoryAlert = DeviceStatusChangeEvent | CommandFailure | DspScheduleRemoval


def write_status_change(writer: XmlWriter, alert: DeviceStatusChangeEvent) -> None:
    writer.leaf("DeviceID", eui64_to_xml(alert.device_id))
    with writer.inside("DeviceStatusChange"), writer.inside("MeterIdentity"):
        with writer.inside("MeterMPxNs"):
            writer.leaf("ImportMPxN", alert.import_mpxn)
            writer.optional("SecondaryImportMPAN", alert.secondary_import_mpan)
            writer.optional("ExportMPAN", alert.export_mpan)
        writer.optional("ESMEVariant", alert.esme_variant)


def write_command_failure(writer: XmlWriter, alert: CommandFailure) -> None:
    writer.leaf("CommandRequestID", str(alert.request_id))
    writer.leaf("DeviceID", eui64_to_xml(alert.device_id))


def write_schedule_removal(writer: XmlWriter, alert: DspScheduleRemoval) -> None:
    writer.leaf("DeviceID", eui64_to_xml(alert.device_id))
    writer.leaf("DSPScheduleID", str(alert.schedule_id))


def read_status_change(element: etree._Element) -> DeviceStatusChangeEvent:
    identity = require(require(element, "DeviceStatusChange"), "MeterIdentity")
    points = require(identity, "MeterMPxNs")
    return DeviceStatusChangeEvent(
        read_eui64(element, "DeviceID"),
        read_text(points, "ImportMPxN"),
        optional_text(points, "SecondaryImportMPAN"),
        optional_text(points, "ExportMPAN"),
        optional_text(identity, "ESMEVariant"),
    )


def read_command_failure(element: etree._Element) -> CommandFailure:
    return CommandFailure(
        read_request_id(element, "CommandRequestID"), read_eui64(element, "DeviceID")
    )


def read_schedule_removal(element: etree._Element) -> DspScheduleRemoval:
    schedule_id = read_text(element, "DSPScheduleID")
    if not schedule_id.isascii() or not schedule_id.isdecimal():
        raise refused(require(element, "DSPScheduleID"), "is no number")
    return DspScheduleRemoval(read_eui64(element, "DeviceID"), int(schedule_id))
