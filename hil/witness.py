"""What hub, devices and DCC tell during a run: onto the tracks, into the evidence, to the reader.

Source: ours. Everybody's events come in here; the scenario waits for what they change, and
`hil.judging` says what it means.
"""

from __future__ import annotations

from collections import Counter, deque
from datetime import datetime

from dsp_stub.desk import CredentialsTold, DspEvent, Flagged, SecurityEvent
from dsp_stub.responses import (
    CommsHubAlert,
    CspFirmwareDeliveryStatus,
    DccAlertMessage,
    PpmidAlert,
    Response,
)
from emulator.devices import ota_client, tunnel
from emulator.devices.device import DeviceEvent, DeviceLeft, DeviceLost, DeviceUp
from emulator.devices.gbcs_half import FrameDiscarded
from emulator.devices.hub import DeviceClassified, DeviceJoined, DeviceTunnel, HubEvent, HubLost
from emulator.devices.hub import FrameDiscarded as HubDiscarded
from emulator.devices.ota_server import (
    Anomaly,
    QuerySeen,
    ResponseCode,
    TransferOutcome,
    TransferProgress,
    TransferStarted,
)
from emulator.medium.timing import Scheduler
from gbcs.firmware import FirmwareActivation, FirmwareTransfer
from gbcs.protection import Verdict as Protection
from gbcs.wan import DeviceLogEntry, DeviceType
from hil.errors import BenchBroke
from hil.evidence import Evidence
from hil.journal import Journal
from hil.live import Watcher
from hil.records import SeenFrame
from hil.track import Track, Upgrade
from hil.verdict import Alert, version_text

HUB = "hub"
MAX_OF_A_KIND = 500  # anomalies of one device that are recorded one by one
MAX_KEPT = 5000  # of each kind; a device that floods the bench pushes out its own oldest


class Witness:
    """Hears everybody, and keeps the tracks of the devices."""

    def __init__(
        self,
        tracks: dict[str, Track],
        journal: Journal,
        clock: Scheduler,
        evidence: Evidence,
        live: Watcher,
    ) -> None:
        self.tracks = tracks
        self._by_eui64: dict[int, Track] = {}
        self._hub_eui64: int | None = None
        self._journal = journal
        self._clock = clock
        self._evidence = evidence
        self._live = live
        # What suites judge: frames on the WAN, what users were told, what is held against whom.
        self.frames: deque[SeenFrame] = deque(maxlen=MAX_KEPT)
        self.activations: deque[tuple[int, Upgrade]] = deque(maxlen=MAX_KEPT)
        self.complaints: deque[tuple[int | None, str]] = deque(maxlen=MAX_KEPT)
        self.anomalies: Counter[tuple[str | None, str]] = Counter()  # of a device, of a kind
        self.alerts: deque[DccAlertMessage] = deque(maxlen=MAX_KEPT)
        self.credentials: deque[CredentialsTold] = deque(maxlen=MAX_KEPT)

    # -- who is who ----------------------------------------------------------------------------

    def hub_is(self, eui64: int) -> None:
        self._hub_eui64 = eui64

    def device_is(self, track: Track, eui64: int) -> None:
        track.eui64 = eui64
        self._by_eui64[eui64] = track

    def name_of(self, eui64: int) -> str:
        """The bench's id for an EUI-64, its digits for one that is none of the bench's."""
        if eui64 == self._hub_eui64:
            return HUB
        track = self._by_eui64.get(eui64)
        return f"{eui64:016X}" if track is None else track.device_id

    # -- telling -------------------------------------------------------------------------------

    def time_s(self) -> float:
        return self._clock.now_us() / 1e6

    def tell(self, event_type: str, /, **fields: object) -> int:
        """Record an event and show it; its id."""
        event = {"type": event_type, "time_s": self.time_s(), **fields}
        event_id = self._evidence.record(event)
        self._live.show(event)
        return event_id

    def anomaly(self, track: Track | None, kind: str, detail: str) -> None:
        """Keep the first of a kind of one device: who says what is wrong may say it for ever."""
        key = None if track is None else track.device_id, kind
        self.anomalies[key] += 1
        if self.anomalies[key] > MAX_OF_A_KIND:
            return
        if self.anomalies[key] == MAX_OF_A_KIND:
            detail += "; from here on those of this kind are counted alone"
        device = {} if track is None else {"device_id": track.device_id}
        self.tell("anomaly", kind=kind, detail=detail, **device)

    def _discarded(self, where: str, device_id: str | None, reason: str, detail: str) -> None:
        self.tell("gbcs-discarded", where=where, device_id=device_id, reason=reason, detail=detail)

    # -- the hub -------------------------------------------------------------------------------

    def on_hub_event(self, event: HubEvent) -> None:
        if isinstance(event, HubLost):
            self._journal.break_off(BenchBroke(f"the hub lost its radio: {event.reason}"))
            return
        if isinstance(event, HubDiscarded):
            self._discarded("hub", HUB, event.reason.name, event.detail)
            return
        track = self._by_eui64.get(event.eui64)
        if track is None:
            return
        match event:
            case TransferProgress():
                track.steps += 1
                track.offset_bytes = event.offset_bytes
                track.blocks = event.blocks
                self.tell(
                    "progress",
                    device_id=track.device_id,
                    offset_bytes=event.offset_bytes,
                    size_bytes=event.size_bytes,
                    percent=100 * event.offset_bytes // event.size_bytes,
                    blocks=event.blocks,
                )
            case DeviceJoined():
                self._joined(track, event)
            case DeviceClassified():
                track.type_at_hub = event.device_type.name
                if event.device_type is DeviceType.TYPE_2:
                    self.anomaly(track, "type 2", "it serves no tunnel: no firmware from this hub")
            case DeviceTunnel():
                self._on_tunnel_output(track, event.output)
            case QuerySeen():
                # A device asks for ever; only one that runs something else has gone on.
                if event.current_version != track.version:
                    track.version = event.current_version
                    track.steps += 1
            case TransferStarted():
                track.started = True
                self.tell(
                    "transfer-started",
                    device_id=track.device_id,
                    version=version_text(event.file_version),
                    size_bytes=event.size_bytes,
                )
            case TransferOutcome():
                self._on_transfer_outcome(track, event)
            case Anomaly():
                self.anomaly(track, event.kind, event.detail)
        self._journal.tell()

    def _joined(self, track: Track, event: DeviceJoined) -> None:
        if track.joined:
            return
        track.joined = True
        self.tell(
            "joined",
            device_id=track.device_id,
            eui64=f"{event.eui64:016X}",
            node_id=f"{event.node_id:04X}",
        )

    def _on_tunnel_output(self, track: Track, output: tunnel.Output) -> None:
        match output:
            case tunnel.TunnelUp():
                track.tunnel_up = True
                self.tell("tunnel", device_id=track.device_id, state="open")
            case tunnel.TunnelDown():
                track.tunnel_up = False
                detail = output.reason
                self.tell("tunnel", device_id=track.device_id, state="closed", detail=detail)
            case tunnel.MessageRefused():
                self.anomaly(track, "message refused", output.reason)
            case tunnel.Anomaly():
                self.anomaly(track, output.kind, output.detail)

    def _on_transfer_outcome(self, track: Track, outcome: TransferOutcome) -> None:
        track.transfer = outcome
        track.steps += 1
        if outcome.response_code is ResponseCode.SUCCESS:
            # The restart ends both: what is seen of them from here on is of the new firmware.
            track.version = None
            track.tunnel_up = False
            image = track.image.image
            self.tell(
                "transfer-done",
                device_id=track.device_id,
                blocks=track.blocks,
                bytes=track.offset_bytes,
                sha256=image.sha256,
            )

    # -- the devices ---------------------------------------------------------------------------

    def on_device_event(self, device_id: str, event: DeviceEvent) -> None:
        track = self.tracks[device_id]
        match event:
            case DeviceUp():
                if event.restarted:
                    track.restarted = event
                    version = version_text(event.file_version)
                    self.tell("restarted", device_id=device_id, version=version)
            case DeviceLost():
                track.lost = event.reason
                track.steps += 1
                self.anomaly(track, "device lost", event.reason)
            case DeviceLeft():
                self.anomaly(track, "device left", "it was told to leave the network")
            case FrameDiscarded():
                self._discarded("device", device_id, event.reason.name, event.detail)
            case ota_client.Anomaly() | tunnel.Anomaly():
                self.anomaly(track, event.kind, event.detail)
            case ota_client.DownloadFailed():
                self.anomaly(track, "download failed", event.reason)
        self._journal.tell()

    def on_power(self, name: str, kind: str, detail: str) -> None:
        """The power of the hub or of a device went, or came back."""
        track = self.tracks.get(name)
        self.anomaly(track, kind, detail if track is not None else f"{name}: {detail}")

    def on_action(self, device_id: str, what: str, answer: str) -> None:
        """Something was done at the table, and what came of it."""
        self.tell("action", device_id=device_id, what=what, answer=answer)

    # -- the DCC -------------------------------------------------------------------------------

    def on_dsp_event(self, event: DspEvent) -> None:
        match event:
            case SecurityEvent():
                name = None if event.device is None else self.name_of(event.device)
                self._discarded("dsp", name, event.reason, event.detail)
                self.complaints.append((event.device, event.reason))
            case CredentialsTold():
                self.credentials.append(event)
            case Flagged():
                self.complaints.append((event.device, event.reason))
                track = self._by_eui64.get(event.device)
                if track is not None:
                    track.flagged.append(f"{event.reason}: {event.detail}")
                self.anomaly(track, event.reason, event.detail)
        self._journal.tell()

    def on_frame(self, seen: SeenFrame) -> None:
        """A GBCS frame crossed the WAN; the alerts among them are part of the verdict."""
        self.frames.append(seen)
        self._journal.tell()
        frame = seen.received.frame
        match seen.payload:
            case FirmwareActivation() as activation:
                track, code, use_case = self._by_eui64.get(frame.originator), 0x8F8B, "CS09"
            case FirmwareTransfer() as activation:
                track, use_case = self._by_eui64.get(activation.device), "CCS08"
                code = activation.alert_code
            case _:
                return
        if track is None:
            return
        verified = seen.verdicts.signature is Protection.VALID
        time = _time_text(activation.execution_date_time)
        result = int(activation.result)
        track.alerts.append(Alert(f"{code:04X}", use_case, time, result, verified))
        if verified:
            track.alert_frames.append(seen.pointer)

    def on_log_entry(self, entry: DeviceLogEntry, pointer: str) -> None:
        """The hub is told of which type a device is that it is about to let in."""
        track = self._by_eui64.get(entry.device)
        if track is not None:
            track.log_entry = pointer
            track.type_at_hub = entry.device_type.name

    def on_callback(self, response: Response, event_id: int) -> None:
        """A verified response or alert of the DSP."""
        message = response.message
        if isinstance(message, DccAlertMessage):
            self.alerts.append(message)
            self._on_dcc_alert(message, event_id)
        self._journal.tell()

    def _on_dcc_alert(self, message: DccAlertMessage, event_id: int) -> None:
        alert = message.alert
        match alert:
            case PpmidAlert():
                track = self._by_eui64.get(alert.device_id)
                upgrade = alert.firmware_upgrade
                if track is not None and upgrade is not None:
                    track.steps += 1
                    told = Upgrade(upgrade.firmware_version, upgrade.succeeded, event_id)
                    track.upgrade = track.upgrade or told
                    self.activations.append((alert.device_id, told))
                    _name_alert(track, "8F8B", alert.timestamp, message.dcc_alert_code)
            case CommsHubAlert():
                transfer = alert.firmware_transfer
                track = None if transfer is None else self._by_eui64.get(transfer.device_id)
                if track is not None and transfer is not None:
                    track.steps += 1
                    track.transferred_event = event_id
                    if transfer.response_code != "FileTransferSuccess":
                        track.transfer_failed = transfer.response_code
                    code = f"{alert.alert_code:04X}"
                    _name_alert(track, code, alert.time_stamp, message.dcc_alert_code)
            case CspFirmwareDeliveryStatus():
                track = self._by_eui64.get(alert.target_device_id)
                if track is not None:
                    track.delivered_event = event_id
                    if not alert.succeeded:
                        track.transfer_failed = "not delivered to the hub"


def _name_alert(track: Track, code: str, time: datetime | None, dcc_alert: str) -> None:
    """Write beside a device's alert what the DCC made of it, which tells of the alert's time."""
    for number, alert in enumerate(track.alerts):
        is_meant = alert.code == code and time in (None, datetime.fromisoformat(alert.time))
        if is_meant and alert.verified and alert.dcc_alert is None:
            track.alerts[number] = Alert(
                alert.code, alert.use_case, alert.time, alert.result, alert.verified, dcc_alert
            )
            return


def _time_text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
