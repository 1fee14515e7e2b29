"""The requests about a HAN: who is joined with whom (8.7, 8.8), what logs say (8.9), whom a hub
lets in (8.11), a hub that takes another's place (8.12.1).

Source: DUIS XSD V5.4, service requests 8.7.1 to 8.12.1; MP170, annex B (8.7). No `repr` shows an
install code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

from lxml import etree

from dsp_stub.body_xml import BodyXml
from dsp_stub.errors import DspValueError
from dsp_stub.fields import eui64_to_xml
from dsp_stub.safe_xml import child
from dsp_stub.smi import MeteringPoints
from dsp_stub.xml_reader import optional_text, read_eui64, read_text
from dsp_stub.xml_writer import XmlWriter


@dataclass(frozen=True, slots=True)
class _WithOtherDevice:
    other_device: int


@dataclass(frozen=True, slots=True)
class JoinServiceCritical(_WithOtherDevice):
    """8.7.1: the target is to be joined with another device."""


@dataclass(frozen=True, slots=True)
class JoinServiceNonCritical(_WithOtherDevice):
    """8.7.2: the same, where no user signs."""


@dataclass(frozen=True, slots=True)
class UnjoinServiceCritical(_WithOtherDevice):
    """8.8.1: the target is to part from another device."""


@dataclass(frozen=True, slots=True)
class UnjoinServiceNonCritical(_WithOtherDevice):
    """8.8.2: the same, where no user signs."""


@dataclass(frozen=True, slots=True)
class ReadDeviceLog:
    """8.9: whom does the target know; of a CHF, on request, with the hashes of their keys."""

    read_security_details: bool = False
    execution_date_time: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateHanDeviceLog:
    """8.11: the CHF that is the target is to let a device in, or to strike it off.

    `install_code` has 6 to 16 octets, without its CRC. It and `join_time_period_s` go together, and
    the metering points only with them.
    """

    device_id: int
    request_type: Literal["Add", "Remove"]
    join_time_period_s: int | None = None
    install_code: bytes | None = field(default=None, repr=False)
    import_mpxn: str | None = None
    secondary_import_mpan: str | None = None
    export_mpan: str | None = None
    execution_date_time: str | None = None

    def __post_init__(self) -> None:
        if (self.join_time_period_s is None) is not (self.install_code is None):
            raise DspValueError("an 8.11 has join time period and install code together")
        if self.install_code is None and self.points:
            raise DspValueError("an 8.11 has metering points only beside an install code")

    @property
    def points(self) -> MeteringPoints:
        """The metering points that are there, each with its element."""
        points = (
            ("ImportMPxN", self.import_mpxn),
            ("SecondaryImportMPAN", self.secondary_import_mpan),
            ("ExportMPAN", self.export_mpan),
        )
        return tuple((item, mpxn) for item, mpxn in points if mpxn is not None)


@dataclass(frozen=True, slots=True)
class RestoreHanDeviceLog:
    """8.12.1: the CHF that is the target takes the place of this one."""

    old_chf: int


def _read_device_log(element: etree._Element) -> UpdateHanDeviceLog:
    details = child(element, "AddDeviceToCHFWhitelist")
    period = optional_text(details, "JoinTimePeriod")
    code = optional_text(details, "InstallCode")
    return UpdateHanDeviceLog(
        device_id=read_eui64(element, "DeviceID"),
        request_type=cast(Literal["Add", "Remove"], read_text(element, "RequestType")),
        join_time_period_s=None if period is None else int(period),
        install_code=None if code is None else bytes.fromhex(code),
        import_mpxn=optional_text(details, "ImportMPxN"),
        secondary_import_mpan=optional_text(details, "SecondaryImportMPAN"),
        export_mpan=optional_text(details, "ExportMPAN"),
        execution_date_time=optional_text(element, "ExecutionDateTime"),
    )


def _write_device_log(writer: XmlWriter, body: UpdateHanDeviceLog) -> None:
    writer.optional("ExecutionDateTime", body.execution_date_time)
    writer.leaf("DeviceID", eui64_to_xml(body.device_id))
    writer.leaf("RequestType", body.request_type)
    if body.install_code is not None:
        with writer.inside("AddDeviceToCHFWhitelist"):
            writer.leaf("JoinTimePeriod", str(body.join_time_period_s))
            writer.leaf("InstallCode", body.install_code.hex().upper())
            writer.optional("ImportMPxN", body.import_mpxn)
            writer.optional("SecondaryImportMPAN", body.secondary_import_mpan)
            writer.optional("ExportMPAN", body.export_mpan)


def _read_read_log(element: etree._Element) -> ReadDeviceLog:
    return ReadDeviceLog(
        child(element, "ReadSecurityDetails") is not None,
        optional_text(element, "ExecutionDateTime"),
    )


def _write_read_log(writer: XmlWriter, body: ReadDeviceLog) -> None:
    writer.optional("ExecutionDateTime", body.execution_date_time)
    if body.read_security_details:
        with writer.inside("ReadSecurityDetails"):
            pass


def _write_restore(writer: XmlWriter, body: RestoreHanDeviceLog) -> None:
    writer.leaf("OldCHFID", eui64_to_xml(body.old_chf))


def _with_other(element: str, variant: str, kind: type[_WithOtherDevice]) -> BodyXml:
    return BodyXml(
        element,
        variant,
        kind,
        lambda read: kind(read_eui64(read, "OtherDeviceID")),
        lambda writer, body: writer.leaf("OtherDeviceID", eui64_to_xml(body.other_device)),
    )


HAN_BODIES = (
    _with_other("JoinServiceCritical", "8.7.1", JoinServiceCritical),
    _with_other("JoinServiceNonCritical", "8.7.2", JoinServiceNonCritical),
    _with_other("UnjoinServiceCritical", "8.8.1", UnjoinServiceCritical),
    _with_other("UnjoinServiceNonCritical", "8.8.2", UnjoinServiceNonCritical),
    BodyXml("ReadDeviceLog", "8.9", ReadDeviceLog, _read_read_log, _write_read_log),
    BodyXml("UpdateHANDeviceLog", "8.11", UpdateHanDeviceLog, _read_device_log, _write_device_log),
    BodyXml(
        "RestoreHANDeviceLog",
        "8.12.1",
        RestoreHanDeviceLog,
        lambda element: RestoreHanDeviceLog(read_eui64(element, "OldCHFID")),
        _write_restore,
    ),
)
