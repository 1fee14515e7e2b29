"""What an OTA client tells the device it works in.

Source: ours; the core in `ota_client` returns these, the shell acts on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class SendZcl(NamedTuple):
    """Send to the server: APS-encrypted unicast on the OTA Upgrade cluster."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class DownloadStarted:
    file_version: int
    size_bytes: int
    offset_bytes: int = 0  # other than 0 after a restart


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """Another whole percent is stored."""

    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DownloadDone:
    """The file is stored and verified."""

    sha256: str


@dataclass(frozen=True, slots=True)
class DownloadFailed:
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Activate:
    """Mark the spare slot, which holds this version, and restart now."""

    file_version: int


@dataclass(frozen=True, slots=True)
class FindServer:
    """Look for the server anew: the one that was found does not answer."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something came that should not have; nothing changed."""

    kind: str
    detail: str


Output = (
    SendZcl
    | DownloadStarted
    | DownloadProgress
    | DownloadDone
    | DownloadFailed
    | Activate
    | FindServer
    | Anomaly
)
