"""One firmware update of every device on the bench, from an empty air to the last restart.

Source: DESIGN, "There and back", as far as it goes without a DSP: the update is started by a call
on the hub. `activated` means: Upgrade End with success, the restarted device's next query carries
the new version, and the SHA-256 of what it runs is that of the file.

The hub has one image slot, so products are updated one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from emulator.devices import ota_client, tunnel
from emulator.devices.device import DeviceEvent, DeviceLost, DeviceUp
from emulator.devices.hub import DeviceJoined, DeviceTunnel, HubEvent, HubLost
from emulator.devices.node import NodeError, TakeOverRefused
from emulator.devices.ota_server import (
    Anomaly,
    QuerySeen,
    ResponseCode,
    TransferOutcome,
    TransferProgress,
    TransferStarted,
)
from emulator.medium.timing import Scheduler
from firmware_images.image import FirmwareImage
from hil.bench_file import Bench, DeviceKind
from hil.errors import BenchBroke, RequestError
from hil.evidence import Evidence
from hil.images import DeviceImage
from hil.journal import Journal
from hil.live import Live
from hil.seeds import Seeds
from hil.verdict import Check, DeviceVerdict, Outcome, Verdict, version_text
from hil.wiring import CHANNEL, Wiring

Ending = Literal["pass", "fail", "interrupted", "broke"]

JOIN_PERMIT_S = 3600
JOIN_TIMEOUT_S = 1800.0
TUNNEL_TIMEOUT_S = 900.0
NO_PROGRESS_TIMEOUT_S = 3600.0
RETURN_TIMEOUT_S = 1800.0  # from Upgrade End to the restarted device's query

_OUTCOMES: dict[ResponseCode, Outcome] = {
    ResponseCode.IMAGE_DISCARDED: "discarded",
    ResponseCode.HARDWARE_VERSION_MISMATCH: "hardware-mismatch",
    ResponseCode.FILE_TRANSFER_FAILURE: "transfer-failed",
}


@dataclass(slots=True)
class Track:
    """What is known of one device of the run."""

    device_id: str
    kind: DeviceKind
    image: DeviceImage
    eui64: int = 0
    joined: bool = False
    lost: str | None = None
    tunnel_up: bool = False
    at_hub: list[bytes] = field(default_factory=list)  # messages out of its tunnel
    at_device: list[bytes] = field(default_factory=list)
    version: int | None = None  # of its last query
    steps: int = 0  # whatever shows that it goes on
    blocks: int = 0
    offset_bytes: int = 0
    transfer: TransferOutcome | None = None
    restarted: DeviceUp | None = None
    outcome: Outcome = "not-attempted"
    detail: str = ""


class Scenario:
    """Runs the update and keeps the evidence of it."""

    def __init__(
        self,
        bench: Bench,
        images: dict[str, DeviceImage],
        clock: Scheduler,
        evidence: Evidence,
        live: Live,
        *,
        take_over: bool = False,
    ) -> None:
        self._bench = bench
        self._clock = clock
        self._evidence = evidence
        self._live = live
        self._journal = Journal()
        self._checks: list[Check] = []
        self._seeds = Seeds(bench.seed)
        self.tracks = {
            device.id: Track(device.id, device.kind, images[device.id]) for device in bench.devices
        }
        self._by_eui64: dict[int, Track] = {}
        self.wiring = Wiring(
            bench,
            images,
            clock,
            evidence,
            on_hub_event=self._on_hub_event,
            on_device_event=self._on_device_event,
            take_over=take_over,
        )
        asyncio.get_running_loop().set_exception_handler(self._on_loop_exception)

    # -- the course of things ------------------------------------------------------------------

    async def run(self) -> None:
        """Everything, in order. Raises BenchBroke when the bench itself gives out."""
        self._tell(
            "run-started",
            seed=self._bench.seed,
            clock=self._bench.resolve_clock(),
            ezsp=self._bench.ezsp,
            faults=[str(fault) for fault in self._bench.faults],
            devices=[
                {
                    "device_id": track.device_id,
                    "kind": track.kind,
                    "size_bytes": len(track.image.image.data),
                }
                for track in self.tracks.values()
            ],
        )
        try:
            await self._form_and_join()
            await self._try_tunnels(self.tracks.values(), self._bench.tunnel.octets)
            for product in self._products():
                there = [track for track in product if track.lost is None]
                if there:
                    await self._update(there)
            for track in self.tracks.values():
                if not track.detail:
                    self._end(track, "not-attempted", track.lost or "its turn never came")
        except TakeOverRefused as error:
            raise RequestError(str(error)) from None
        except NodeError as error:
            raise BenchBroke(str(error)) from error
        finally:
            await self.wiring.close()

    async def _form_and_join(self) -> None:
        wiring = self.wiring
        await wiring.hub.start(wiring.settings)
        self._tell(
            "network-formed",
            pan_id=f"{wiring.settings.pan_id:04X}",
            extended_pan_id=f"{wiring.settings.extended_pan_id:016X}",
            channel=CHANNEL,
        )
        for device_id, device in wiring.devices.items():
            track = self.tracks[device_id]
            await device.power_on()
            track.eui64 = device.eui64
            self._by_eui64[device.eui64] = track
            await wiring.hub.admit(device.eui64, device.build.link_key, JOIN_PERMIT_S)
            device.begin()
        await self._until(lambda track: track.joined and track.tunnel_up, JOIN_TIMEOUT_S)
        for track in self.tracks.values():
            if track.lost is None and not (track.joined and track.tunnel_up):
                self._end(track, "not-attempted", "it did not join, or has no tunnel")

    async def _until(self, done: Callable[[Track], bool], timeout_s: float) -> None:
        """Wait until `done` of every device that is not lost, or out of the run already."""
        await self._journal.until(
            lambda: all(
                track.lost is not None or track.detail or done(track)
                for track in self.tracks.values()
            ),
            timeout_s,
        )

    async def _try_tunnels(self, tracks: Iterable[Track], sizes: Iterable[int]) -> None:
        for track in tracks:
            if track.lost is None and not track.detail:
                for octets in sizes:
                    await self._try_tunnel(track, octets)

    async def _try_tunnel(self, track: Track, octets: int) -> None:
        """Send a seeded message there and another back; both must arrive once and unchanged."""
        when = "after restart" if track.restarted else "after join"
        name = f"tunnel {track.device_id} {when} {octets}"
        there, back = (
            self._seeds.derive(f"{name} {direction}", octets) for direction in ("there", "back")
        )
        track.at_device.clear()
        track.at_hub.clear()
        self.wiring.hub.send_through_tunnel(track.eui64, there)
        await self._journal.until(lambda: there in track.at_device, TUNNEL_TIMEOUT_S)
        self.wiring.devices[track.device_id].send_through_tunnel(back)
        await self._journal.until(lambda: back in track.at_hub, TUNNEL_TIMEOUT_S)
        good = track.at_device == [there] and track.at_hub == [back]
        detail = (
            f"{octets} octets each way" if good else "not every message arrived once, unchanged"
        )
        self._checks.append(Check(name, "pass" if good else "fail", detail))
        self._tell(
            "tunnel",
            device_id=track.device_id,
            state="message",
            octets=octets,
            detail=f"there and back {when}" if good else detail,
        )

    def _products(self) -> list[list[Track]]:
        """The devices in the order of the bench, those with one image together."""
        products: dict[int, list[Track]] = {}
        for track in self.tracks.values():
            if track.lost is None and not track.detail:
                products.setdefault(id(track.image.image), []).append(track)
        return list(products.values())

    async def _update(self, tracks: list[Track]) -> None:
        image: FirmwareImage = tracks[0].image.image
        for track in tracks:
            self._tell(
                "image-offered",
                device_id=track.device_id,
                version=version_text(image.header.file_version),
                size_bytes=len(image.data),
                sha256=image.sha256,
            )
        self.wiring.hub.update(image, [track.eui64 for track in tracks])
        await self._progress_until(lambda: all(t.transfer or t.lost for t in tracks), tracks)
        succeeded = []
        for track in tracks:
            if self._judge_transfer(track):
                succeeded.append(track)
        await self._journal.until(
            lambda: all(t.lost or _is_back(t) for t in succeeded), RETURN_TIMEOUT_S
        )
        back = [track for track in succeeded if _is_back(track)]
        await self._journal.until(
            lambda: all(t.lost or t.tunnel_up for t in back), TUNNEL_TIMEOUT_S
        )
        await self._try_tunnels(back, self._bench.tunnel.octets[:1])
        for track in succeeded:
            self._judge_activation(track)

    async def _progress_until(self, done: Callable[[], bool], tracks: list[Track]) -> None:
        """Wait as long as something moves: a slow transfer is no failure."""
        while not done():
            moved = partial(_has_moved, tracks, [track.steps for track in tracks])
            if not await self._journal.until(moved, NO_PROGRESS_TIMEOUT_S):
                return

    # -- judging -------------------------------------------------------------------------------

    def _judge_transfer(self, track: Track) -> bool:
        """Whether the image was transferred; what became of the device otherwise."""
        transfer = track.transfer
        if track.lost is not None:
            self._end(track, "timed-out", track.lost)
        elif transfer is None:
            self._end(track, "timed-out", "nothing moved any more")
        elif transfer.response_code is not ResponseCode.SUCCESS:
            self._end(track, _OUTCOMES[transfer.response_code], transfer.reason)
        else:
            return True
        return False

    def _judge_activation(self, track: Track) -> None:
        image = track.image.image
        wanted = image.header.file_version
        restarted = track.restarted
        if restarted is None or track.version is None:
            self._end(track, "transferred-unconfirmed", "the device did not come back")
        elif track.version != wanted:
            self._end(track, "activation-failed", f"it runs {version_text(track.version)}")
        elif restarted.sha256 != image.sha256:
            self._end(track, "activation-failed", "what it runs is not what was sent")
        else:
            self._end(track, "activated", "the file it runs is the file sent")

    def _end(self, track: Track, outcome: Outcome, detail: str) -> None:
        track.outcome = outcome
        track.detail = detail
        after = track.version
        self._tell(
            "outcome",
            device_id=track.device_id,
            outcome=outcome,
            version_before=version_text(track.image.factory_version),
            version_after=None if after is None else version_text(after),
            detail=detail,
        )

    def verdict(self, *, wall_s: float) -> Verdict:
        """What the run has shown."""
        air = self.wiring.air
        clock = self._bench.resolve_clock()
        virtual = clock == "virtual" and air is not None
        return Verdict(
            seed=self._bench.seed,
            clock=clock,
            trace_hash=air.trace.hexdigest() if air is not None and virtual else None,
            wall_s=round(wall_s, 3),
            virtual_s=round(self._time_s(), 6),
            devices=[_device_verdict(track) for track in self.tracks.values()],
            checks=self._checks,
        )

    # -- what is told --------------------------------------------------------------------------

    def _time_s(self) -> float:
        return self._clock.now_us() / 1e6

    def _tell(self, event_type: str, /, **fields: object) -> None:
        event = {"type": event_type, "time_s": self._time_s(), **fields}
        self._evidence.record(event)
        self._live.show(event)

    def end(self, ending: Ending, *, wall_s: float) -> None:
        """Tell the end of the run, before the evidence is closed."""
        self._tell(
            "run-ended",
            verdict=ending,
            wall_s=round(wall_s, 3),
            virtual_s=round(self._time_s(), 6),
        )

    def _anomaly(self, track: Track | None, kind: str, detail: str) -> None:
        device = {} if track is None else {"device_id": track.device_id}
        self._tell("anomaly", kind=kind, detail=detail, **device)

    def _on_loop_exception(
        self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]
    ) -> None:
        error = context.get("exception")
        what = f"{type(error).__name__}: {error}" if error else str(context.get("message"))
        broke = BenchBroke(f"the bench made a mistake of its own: {what}")
        broke.__cause__ = error if isinstance(error, BaseException) else None
        self._journal.break_off(broke)

    def _on_hub_event(self, event: HubEvent) -> None:
        if isinstance(event, HubLost):
            self._journal.break_off(BenchBroke(f"the hub lost its radio: {event.reason}"))
            return
        track = self._by_eui64.get(event.eui64)
        if track is None:
            return
        match event:
            case TransferProgress():
                track.steps += 1
                track.offset_bytes = event.offset_bytes
                track.blocks = event.blocks
                self._tell(
                    "progress",
                    device_id=track.device_id,
                    offset_bytes=event.offset_bytes,
                    size_bytes=event.size_bytes,
                    percent=100 * event.offset_bytes // event.size_bytes,
                    blocks=event.blocks,
                )
            case DeviceJoined():
                if not track.joined:
                    track.joined = True
                    self._tell(
                        "joined",
                        device_id=track.device_id,
                        eui64=f"{event.eui64:016X}",
                        node_id=f"{event.node_id:04X}",
                    )
            case DeviceTunnel():
                self._on_tunnel_output(track, event.output)
            case QuerySeen():
                track.version = event.current_version
                track.steps += 1
            case TransferStarted():
                self._tell(
                    "transfer-started",
                    device_id=track.device_id,
                    version=version_text(event.file_version),
                    size_bytes=event.size_bytes,
                )
            case TransferOutcome():
                self._on_transfer_outcome(track, event)
            case Anomaly():
                self._anomaly(track, event.kind, event.detail)
        self._journal.tell()

    def _on_tunnel_output(self, track: Track, output: tunnel.Output) -> None:
        match output:
            case tunnel.TunnelUp():
                track.tunnel_up = True
                self._tell("tunnel", device_id=track.device_id, state="open")
            case tunnel.TunnelDown():
                track.tunnel_up = False
                detail = output.reason
                self._tell("tunnel", device_id=track.device_id, state="closed", detail=detail)
            case tunnel.MessageReceived():
                track.at_hub.append(output.data)
            case tunnel.MessageRefused():
                self._anomaly(track, "message refused", output.reason)
            case tunnel.Anomaly():
                self._anomaly(track, output.kind, output.detail)

    def _on_transfer_outcome(self, track: Track, outcome: TransferOutcome) -> None:
        track.transfer = outcome
        track.steps += 1
        if outcome.response_code is ResponseCode.SUCCESS:
            # The restart ends both: what is seen of them from here on is of the new firmware.
            track.version = None
            track.tunnel_up = False
            image = track.image.image
            self._tell(
                "transfer-done",
                device_id=track.device_id,
                blocks=track.blocks,
                bytes=track.offset_bytes,
                sha256=image.sha256,
            )

    def _on_device_event(self, device_id: str, event: DeviceEvent) -> None:
        track = self.tracks[device_id]
        match event:
            case DeviceUp():
                if event.restarted:
                    track.restarted = event
                    version = version_text(event.file_version)
                    self._tell("restarted", device_id=device_id, version=version)
            case DeviceLost():
                track.lost = event.reason
                track.steps += 1
                self._anomaly(track, "device lost", event.reason)
            case tunnel.MessageReceived():
                track.at_device.append(event.data)
            case ota_client.Anomaly() | tunnel.Anomaly():
                self._anomaly(track, event.kind, event.detail)
            case ota_client.DownloadFailed():
                self._anomaly(track, "download failed", event.reason)
        self._journal.tell()


def _has_moved(tracks: list[Track], before: list[int]) -> bool:
    return before != [track.steps for track in tracks]


def _is_back(track: Track) -> bool:
    return track.restarted is not None and track.version is not None


def _device_verdict(track: Track) -> DeviceVerdict:
    image = track.image.image
    after: int | None = track.version
    if track.restarted is None and after is None and track.transfer is None:
        after = track.image.factory_version
    return DeviceVerdict(
        device_id=track.device_id,
        kind=track.kind,
        outcome=track.outcome,
        version_before=version_text(track.image.factory_version),
        version_after=None if after is None else version_text(after),
        image_policy=track.image.policy,
        blocks=track.blocks,
        bytes=track.offset_bytes,
        sha256=image.sha256,
    )
