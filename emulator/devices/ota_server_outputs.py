"""What an OTA server tells the hub it works in.

Source: GBCS use case CCS08 (`ResponseCode`), otherwise ours; the cores in `ota_server` and
`ota_offer` return these, the shell acts on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple


class ResponseCode(IntEnum):
    """What became of an offer, as CCS08 says it."""

    SUCCESS = 0
    IMAGE_DISCARDED = 1
    HARDWARE_VERSION_MISMATCH = 2
    FILE_TRANSFER_FAILURE = 3


class SendZcl(NamedTuple):
    """Send to this device: APS-encrypted unicast on the OTA Upgrade cluster."""

    eui64: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class QuerySeen:
    """A device asked for an image and said what it runs."""

    eui64: int
    current_version: int


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """The first block since a query was served."""

    eui64: int
    file_version: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """Another whole percent was served."""

    eui64: int
    offset_bytes: int
    size_bytes: int
    blocks: int  # those that brought it this far, repeats not counted


@dataclass(frozen=True, slots=True)
class TransferOutcome:
    """What became of one offer; there is one for every offer.

    `number` grows from each outcome of a hub to the next, restarts or not.
    """

    eui64: int
    file_version: int
    response_code: ResponseCode
    reason: str
    number: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something came that should not have, or did not come that should have."""

    eui64: int
    kind: str
    detail: str


Output = SendZcl | QuerySeen | TransferStarted | TransferProgress | TransferOutcome | Anomaly
