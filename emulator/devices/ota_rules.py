"""What a device is to an OTA client, how its make behaves, and which files it takes.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade): query response, file header;
timers after the Ember client where the library leaves them open (docs/open-points.md, "OTA
client").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from emulator.zigbee.ota import ANY_FILE_VERSION, QueryNextImageResponse
from emulator.zigbee.zcl import Status
from firmware_images.checks import (
    MAX_LIMIT_KB,
    SIGNATURE_SUITE_1,
    SIGNATURE_SUITE_2,
    SizeLimit,
    check_image,
)
from firmware_images.header import OtaHeader
from firmware_images.image import read_image

# SE 1.0, SE 1.1, SE 2.0 and SE 1.2; a client has no credentials to judge any other by.
_HIGHEST_CREDENTIAL_VERSION = 3


@dataclass(frozen=True, slots=True)
class OtaClientIdentity:
    """What a device says it is and runs. Without `eui64` it takes no file for one device only."""

    manufacturer_code: int
    image_type: int
    hardware_version: int
    file_version: int
    eui64: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtaClientParameters:
    """How one make of client behaves. The defaults are those of the Ember client."""

    # The most that fits one frame under NWK and APS security without a source route.
    max_data_size: int = 56
    # Also for queries and for reports of a failed upgrade.
    block_timeout_s: float = 3.0
    retry_backoff_s: float = 2.0
    max_errors: int = 10  # in a row
    query_interval_s: float = 300.0
    # In `block_period_unit_s`: the unit was seconds in one cluster revision.
    min_block_period: int = 0
    block_period_unit_s: float = 0.001
    announce_block_period: bool = False
    announce_eui64: bool = False
    # The longest pause a server may ask for between blocks, in the same unit; None for any.
    max_block_period: int | None = None
    # A pause of its own between blocks, drawn from this range.
    pace_minimum_s: float = 0.0
    pace_maximum_s: float = 0.0
    # Octets to ask for at once by Image Page Request; 0 for none. A server may refuse pages.
    page_bytes: int = 0
    page_spacing_ms: int = 50
    page_timeout_s: float = 5.0  # since the last block of a page
    honours_wait: bool = True  # else WAIT_FOR_DATA counts as an error
    wait_maximum_s: float = 3600.0
    wait_without_sense_s: float = 300.0  # the time to ask again lies before the current time
    # A server that says "ask again at once" and gives no block period would be asked without end.
    wait_minimum_s: float = 1.0
    verify_s: float = 0.0
    end_request_retry_s: float = 600.0
    max_end_requests: int = 10
    activate_without_answer: bool = True  # UpgradeTimeoutPolicy 0
    activate_by_server: bool = True  # UpgradeActivationPolicy 0
    hold_retry_s: float = 3600.0
    countdown_minimum_s: float = 3.0
    countdown_maximum_s: float = 3600.0
    countdown_without_sense_s: float = 3600.0
    allow_downgrade: bool = False
    resume: bool = True
    # Erasing flash holds a device up: before the first block, and again for every sector filled.
    erase_s: float = 0.0
    sector_bytes: int = 4096
    # With a low battery it does not ask, and what is under way ends with ABORT; else it goes on.
    spares_battery: bool = True
    # The body has to be sub-elements, one of them an upgrade image; and a signature among them.
    strict_elements: bool = False
    requires_signature: bool = False
    cluster_revision: int = 3


class Refusal(NamedTuple):
    """Why an offered image is not loaded. `reported` with an Upgrade End, else a default response;
    with status SUCCESS nothing is wrong and nothing is said: the device already runs it.
    """

    status: Status
    reason: str
    reported: bool = False


def offer_refusal(
    offer: QueryNextImageResponse,
    identity: OtaClientIdentity,
    *,
    slot_size_bytes: int,
    allow_downgrade: bool,
) -> Refusal | None:
    """Judge a Query Next Image Response with status SUCCESS; None when the image is wanted."""
    version, size_bytes = offer.file_version or 0, offer.image_size_bytes or 0
    if (offer.manufacturer_code, offer.image_type) != (
        identity.manufacturer_code,
        identity.image_type,
    ):
        reason = (
            f"image offered is for manufacturer 0x{offer.manufacturer_code:04X} type "
            f"0x{offer.image_type:04X}, this device is 0x{identity.manufacturer_code:04X} "
            f"0x{identity.image_type:04X}"
        )
        return Refusal(Status.INVALID_FIELD, reason)
    if size_bytes == 0:
        return Refusal(Status.INVALID_FIELD, "image offered has size 0")
    if version in (0, ANY_FILE_VERSION):
        return Refusal(Status.INVALID_FIELD, f"image offered has version {version:08X}")
    if size_bytes > slot_size_bytes:
        reason = f"image offered has {size_bytes} bytes, the slot {slot_size_bytes}"
        return Refusal(Status.INSUFFICIENT_SPACE, reason)
    if version == identity.file_version:
        return Refusal(Status.SUCCESS, f"version {version:08X} already runs")
    if version < identity.file_version and not allow_downgrade:
        reason = f"version {version:08X} is older than {identity.file_version:08X}, which runs"
        return Refusal(Status.INVALID_IMAGE, reason, reported=True)
    return None


def header_problem(
    header: OtaHeader, identity: OtaClientIdentity, file_version: int, size_bytes: int
) -> str | None:
    """Judge the header of a file offered with this version and size: None when good."""
    told = {
        "manufacturer code": (header.manufacturer_code, identity.manufacturer_code, "04X"),
        "image type": (header.image_type, identity.image_type, "04X"),
        "file version": (header.file_version, file_version, "08X"),
        "total image size": (header.total_image_size_bytes, size_bytes, "d"),
    }
    for field, (found, wanted, form) in told.items():
        if found != wanted:
            return f"{field} in the file header is {found:{form}}, offered was {wanted:{form}}"
    if not header.fits_hardware(identity.hardware_version):
        low, high = header.minimum_hardware_version, header.maximum_hardware_version
        return (
            f"the file is for hardware {low:04X} to {high:04X}, "
            f"this device is {identity.hardware_version:04X}"
        )
    destination = header.upgrade_file_destination
    if destination is not None and destination != identity.eui64:
        return f"the file is for the device {destination:016X} only"
    if (header.security_credential_version or 0) > _HIGHEST_CREDENTIAL_VERSION:
        return f"security credential version {header.security_credential_version} is unknown"
    return None


def body_problem(data: bytes, parameters: OtaClientParameters) -> str | None:
    """Judge the body of a complete file as sub-elements, where its device does: None when good."""
    if not parameters.strict_elements:
        return None
    # How large a file may be was judged when it was offered.
    for finding in check_image(data, limit=SizeLimit(MAX_LIMIT_KB), strict=True, name="file"):
        if finding.severity == "error":
            return finding.sentence
    tags = {element.tag for element in read_image(data).elements()}
    if parameters.requires_signature and not tags & {SIGNATURE_SUITE_1, SIGNATURE_SUITE_2}:
        return "the file has no signature"
    return None
