"""What a run knows of one device, from whoever tells it: the hub, the device, the DCC.

Source: ours. A track only remembers; what becomes of it is for `hil.judging` to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from emulator.devices.device import DeviceUp
from emulator.devices.ota_server import TransferOutcome
from firmware_images.image import FirmwareImage
from firmware_images.samples import ProductIdentity, identity
from hil.bench_file import DeviceKind
from hil.images import DeviceImage
from hil.verdict import Alert, Outcome, ReadBack, version_text

SWAPPED = "the hub that had the image was swapped for another"


@dataclass(slots=True)
class Upgrade:
    """What N39 said, and the event that recorded it."""

    firmware_version: str
    succeeded: bool
    event_id: int


@dataclass(slots=True)
class Track:
    """One device. Event ids are those of `events.jsonl`, 0 for what has not happened."""

    device_id: str
    kind: DeviceKind
    image: DeviceImage
    eui64: int = 0
    # what the HAN shows
    joined: bool = False
    lost: str | None = None
    tunnel_up: bool = False
    version: int | None = None  # of its last query
    steps: int = 0  # whatever shows that it goes on
    blocks: int = 0
    offset_bytes: int = 0
    started: bool = False
    transfer: TransferOutcome | None = None
    restarted: DeviceUp | None = None
    # what the DCC says
    prenotified_event: int = 0  # the acknowledgement of its 12.2
    log_entry: str = ""  # pointer to what the hub was told of its type
    type_at_hub: str = ""
    added_event: int = 0  # the response to its 8.11
    accepted_event: int = 0  # the acknowledgement of its 11.4
    delivered_event: int = 0  # CSPFirmwareDeliveryStatus
    transferred_event: int = 0  # CommsHubAlert
    transfer_failed: str | None = None  # its transfer response code if no success, or SWAPPED
    upgrade: Upgrade | None = None
    flagged: list[str] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    alert_frames: list[str] = field(default_factory=list)  # pointers to its GBCS alerts
    # what was read at the end
    read_back: ReadBack | None = None
    read_back_events: list[int] = field(default_factory=list)
    smi_version: str | None = None
    smi_variant: str | None = None
    smi_event: int = 0
    outcome: Outcome = "not-attempted"
    detail: str = ""
    outcome_event: int = 0

    @property
    def product(self) -> ProductIdentity:
        """Whose images it takes."""
        return self.image.product or identity(self.kind)

    def renew(self, image: FirmwareImage, running: int) -> None:
        """Another update begins, of a device that runs this version."""
        self.image = replace(self.image, image=image, factory_version=running)
        self.started = False
        self.transfer = self.restarted = self.upgrade = None
        self.transfer_failed = self.read_back = None
        self.accepted_event = self.delivered_event = self.transferred_event = 0
        self.blocks = self.offset_bytes = 0
        self.outcome, self.detail, self.outcome_event = "not-attempted", "", 0
        for told in (self.flagged, self.alerts, self.alert_frames, self.read_back_events):
            told.clear()

    @property
    def is_over(self) -> bool:
        """Whether its part in the run has ended already."""
        return bool(self.detail) or self.lost is not None

    @property
    def version_after(self) -> str | None:
        """What it runs at the end, from the best that is known; None when nobody ever learnt."""
        if self.read_back is not None and self.read_back.result == 0:
            return self.read_back.version
        if self.version is not None:
            return version_text(self.version)
        if self.transfer is None and self.restarted is None:
            return version_text(self.image.factory_version)
        return None
