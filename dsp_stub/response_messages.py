"""What DUIS responses and alerts say.

Source: DUIS XSD V5.4, `Response`; MP170, annex B: PPMIDAlert under N39, PPMIDVariant in sr:Device.
EUI-64s and alert codes are numbers, times have zones; everything else is the text of its element.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import ClassVar

from dsp_stub.errors import DspValueError
from dsp_stub.fields import RequestId, eui64_from_xml
from dsp_stub.inventory_alerts import InventoryAlert

SCHEMA_VERSION = "5.4"


# -- what a response message holds -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unread:
    """Something this stub has no words for: the name of its element."""

    element: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryDevice:
    """One sr:Device of the answer to an 8.2, in the order of the schema."""

    device_id: int
    device_type: str
    device_status: str | None = None
    device_manufacturer: str
    device_model: str
    smets_chts_version: str | None = None
    device_firmware_version: str | None = None
    device_firmware_version_status: str | None = None
    cpl_status: str | None = None
    date_commissioned: str | None = None
    import_mpxn: str | None = None
    secondary_import_mpan: str | None = None
    export_mpan: str | None = None
    esme_variant: str | None = None
    ppmid_variant: str | None = None
    uprn: str | None = None
    post_code: str | None = None
    address_identifier: str | None = None
    csp_region: str | None = None
    device_gbcs_version: str | None = None
    han_variant: str | None = None
    s1sp: str | None = None
    connectivity: str | None = None

    @classmethod
    def from_items(cls, items: Mapping[str, str | None]) -> InventoryDevice:
        """From the items by the names of their elements; None is one that is not there."""
        unknown = [name for name in items if name not in DEVICE_FIELDS]
        if unknown:
            raise DspValueError(f"sr:Device has no item {unknown[0]}")
        values: dict[str, object] = {DEVICE_FIELDS[name]: text for name, text in items.items()}
        for name in ("DeviceID", "DeviceType", "DeviceManufacturer", "DeviceModel"):
            if items.get(name) is None:
                raise DspValueError(f"sr:Device lacks {name}")
        values["device_id"] = eui64_from_xml(str(items["DeviceID"]), "DeviceID")
        return cls(**values)  # type: ignore[arg-type]


# The items of sr:Device in the order of the schema; DeviceID is read and written apart.
DEVICE_ITEMS = (
    "DeviceID",
    "DeviceType",
    "DeviceStatus",
    "DeviceManufacturer",
    "DeviceModel",
    "SMETSCHTSVersion",
    "DeviceFirmwareVersion",
    "DeviceFirmwareVersionStatus",
    "CPLStatus",
    "DateCommissioned",
    "ImportMPxN",
    "SecondaryImportMPAN",
    "ExportMPAN",
    "ESMEVariant",
    "PPMIDVariant",
    "UPRN",
    "PostCode",
    "AddressIdentifier",
    "CSPRegion",
    "DeviceGBCSVersion",
    "HANVariant",
    "S1SP",
    "Connectivity",
)
DEVICE_FIELDS = dict(
    zip(DEVICE_ITEMS, (field.name for field in fields(InventoryDevice)), strict=True)
)
ADDRESS_ITEMS = ("PostCode", "AddressIdentifier")


@dataclass(frozen=True, slots=True)
class DspInventory:
    """The answer to an 8.2: 1 to 17 devices."""

    devices: tuple[InventoryDevice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareWarning:
    """The answer to an 11.4 that leaves devices of its list out: which, and why."""

    element: ClassVar[str] = "DSPUpdatePPMIDFirmwareWarning"

    invalid_device_ids: tuple[int, ...] = ()
    not_commissioned_device_ids: tuple[int, ...] = ()
    not_applicable_firmware_device_ids: tuple[int, ...] = ()
    other_request_in_progress: tuple[int, ...] = ()
    invalid_gbcs_version: tuple[int, ...] = ()

    def lists(self) -> dict[str, tuple[int, ...]]:
        """The lists that are not empty, by the names of their elements, in the schema's order."""
        lists = {name: getattr(self, field) for name, field in WARNING_LISTS.items()}
        return {name: devices for name, devices in lists.items() if devices}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFirmwareWarning(FirmwareWarning):
    """The same of an 11.1."""

    element: ClassVar[str] = "DSPUpdateFirmwareWarning"


WARNING_LISTS = {
    "InvalidDeviceIDList": "invalid_device_ids",
    "NotCommissionedDeviceIDList": "not_commissioned_device_ids",
    "NotApplicableFirmwareDeviceIDList": "not_applicable_firmware_device_ids",
    "OtherRequestInProgressList": "other_request_in_progress",
    "InvalidGBCSVersionList": "invalid_gbcs_version",
}


@dataclass(frozen=True, slots=True)
class GbcsPayload:
    """The frame of a device, as it sent it."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class LocalCommand:
    """A command that whoever stands beside the device is to give it."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class PreCommand:
    """The answer to a Transform: what the user is to sign, after which version of GBCS."""

    gbcs_version: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class FutureDatedDeviceAlert:
    """What became of a command when its time came, as the device says it."""

    alert_code: int
    octets: bytes
    instruction_number: int = 1
    total_instructions: int = 1


Content = (
    DspInventory
    | FirmwareWarning
    | GbcsPayload
    | LocalCommand
    | PreCommand
    | FutureDatedDeviceAlert
    | Unread
)


@dataclass(frozen=True, slots=True)
class ResponseMessage:
    """The answer to a request. The references are empty where the request could not be read."""

    service_reference: str
    service_reference_variant: str
    content: Content | None = None


# -- alerts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceAlertMessage:
    """A device's alert, handed on."""

    alert_code: int
    gbcs_payload: bytes


@dataclass(frozen=True, slots=True)
class FirmwareUpgradeAlert:
    """PPMIDFirmwareUpgradeAlert: which version, and whether it was activated."""

    firmware_version: str
    succeeded: bool


@dataclass(frozen=True, slots=True)
class PpmidAlert:
    """What a PPMID's alert said, N39."""

    device_id: int
    device_alert_code: int
    timestamp: datetime | None = None
    firmware_upgrade: FirmwareUpgradeAlert | None = None


@dataclass(frozen=True, slots=True)
class CspFirmwareDeliveryStatus:
    """Whether the image reached the communications hub."""

    update_firmware_request_id: RequestId
    comms_hub_device_id: int
    target_device_id: int
    firmware_version: str
    time_stamp: datetime
    succeeded: bool


@dataclass(frozen=True, slots=True)
class FirmwareTransferAlert:
    """What became of handing the image over to the device; `response_code` is one of four names."""

    update_firmware_request_id: RequestId | None
    device_id: int
    firmware_version: str
    response_code: str


@dataclass(frozen=True, slots=True)
class CommsHubAlert:
    """What a communications hub's alert said."""

    comms_hub_device_id: int
    alert_code: int
    time_stamp: datetime | None = None
    firmware_transfer: FirmwareTransferAlert | None = None


@dataclass(frozen=True, slots=True)
class FirmwareVersionMismatch:
    """A device runs another version than the inventory had."""

    device_id: int
    device_type: str
    firmware_version_smi: str
    firmware_version_device: str


@dataclass(frozen=True, slots=True)
class UpdateHanDeviceLogResult:
    """The communications hub did, or did not do, what an 8.11 asked; the code says which."""

    request_id: RequestId


@dataclass(frozen=True, slots=True)
class FirmwareDistributionFailure:
    """Meters that an image of an 11.1 reached and that would not have it."""

    update_firmware_request_id: RequestId
    meters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PpmidRemoval:
    """A PPMID is no longer in the device log of its hub."""

    ppmid: int
    chf: int


@dataclass(frozen=True, slots=True)
class DeviceLogRestored:
    """A communications hub has taken the place of another; the date is a UTC date."""

    restored_date: str
    old_chf: int
    new_chf: int
    old_gpf: int
    new_gpf: int


@dataclass(frozen=True, slots=True)
class CertificateChange:
    """One certificate that is in a device now; its type is one of three names."""

    certificate_type: str
    sha1: bytes


@dataclass(frozen=True, slots=True)
class SecurityCredentialsUpdated:
    """A device holds other certificates of a party; floors are the text of their elements."""

    device_id: int
    remote_party_role: str
    certificates: tuple[CertificateChange, ...]
    floor: str | None = None
    top_up_floor: str | None = None


@dataclass(frozen=True, slots=True)
class QuarantinedRequest:
    """A request waits for an operator: with it, a user's volume is above the threshold."""

    request_id: RequestId


DccAlert = (
    PpmidAlert
    | CspFirmwareDeliveryStatus
    | CommsHubAlert
    | FirmwareVersionMismatch
    | FirmwareDistributionFailure
    | UpdateHanDeviceLogResult
    | InventoryAlert
    | PpmidRemoval
    | DeviceLogRestored
    | SecurityCredentialsUpdated
    | QuarantinedRequest
    | Unread
)


@dataclass(frozen=True, slots=True)
class DccAlertMessage:
    """An alert of the DCC."""

    dcc_alert_code: str
    alert: DccAlert


Message = ResponseMessage | DeviceAlertMessage | DccAlertMessage


@dataclass(frozen=True, slots=True)
class Response:
    """One response or alert. Times are written in milliseconds: finer ones are cut off."""

    request_id: RequestId | None
    response_id: RequestId | None
    response_code: str
    response_date_time: datetime
    message: Message
    schema_version: str = SCHEMA_VERSION
