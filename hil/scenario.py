"""One firmware update of every device on the bench, from an empty air to the last read-back.

Source: DESIGN, "There and back". The supplier pre-notifies each device (12.2) and has the hub let
it in (8.11); asks for one update per product (11.4), since the hub has one image slot; waits for
the activation alert (N39); reads the version from the device (11.2) and the inventory (8.2). Beside
them three requests that must be refused: an image nobody listed, one a byte too large, and a second
one for devices whose update is in progress.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from emulator.devices.node import NodeError, TakeOverRefused
from emulator.devices.signal_counts import Signal
from emulator.medium.timing import Scheduler
from firmware_images.image import FirmwareImage, build_image
from firmware_images.samples import identity, seeded_image
from hil.bench_file import Bench
from hil.errors import BenchBroke, RequestError
from hil.evidence import Evidence
from hil.images import DeviceImage, maker_of
from hil.judging import Probe, judge_device, verdict_of
from hil.live import Watcher
from hil.radio_options import CHANNEL
from hil.session import (
    NO_PROGRESS_TIMEOUT_S,
    RESPONSE_TIMEOUT_S,
    Session,
    is_settled,
    is_transferred,
    refused_devices,
)
from hil.track import Track
from hil.verdict import Outcome, RadioVerdict, Verdict, version_text

Ending = Literal["pass", "fail", "interrupted", "broke"]

JOIN_TIMEOUT_S = 1800.0
ALERT_TIMEOUT_S = 3600.0  # from the hub's last word of a transfer to N39: restart, tunnel, retries
START_TIMEOUT_S = 7200.0  # Image Notify may have to be repeated


class Scenario:
    """Runs the update and keeps the evidence of it."""

    def __init__(
        self,
        bench: Bench,
        images: dict[str, DeviceImage],
        clock: Scheduler,
        evidence: Evidence,
        live: Watcher,
        *,
        take_over: bool = False,
        channel: int = CHANNEL,
        radios: Sequence[RadioVerdict] = (),
        patience_s: float | None = None,
    ) -> None:
        self.session = Session(
            bench, images, clock, evidence, live, take_over=take_over, channel=channel
        )
        self._radios = list(radios)
        self._patience_s = patience_s
        self.tracks = self.session.tracks
        self.witness = self.session.witness
        self.dcc = self.session.dcc
        self.wiring = self.session.wiring
        self._bench = bench
        self._probes: list[Probe] = []

    def _limit_s(self, usual_s: float) -> float:
        """How long what must come is awaited."""
        return usual_s if self._patience_s is None else self._patience_s

    # -- the course of things ------------------------------------------------------------------

    async def run(self) -> None:
        """Everything, in order. Raises BenchBroke when the bench itself gives out."""
        self.witness.tell(
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
            await self.session.form()
            await self._admit()
            products = self._products()
            if products:
                await self._probe_images(products[0][0])
            for product in products:
                there = [track for track in product if not track.is_over]
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
            heard = self.wiring.signals()
            self._radios = [_as_heard(radio, heard.get(radio.name)) for radio in self._radios]
            await self.session.close()

    async def _admit(self) -> None:
        """Every device into the inventory, the hub's device log and the network."""
        for track in self.tracks.values():
            await self.session.switch_on(track)
            if await self._prenotify(track) and await self._add_to_log(track):
                self.session.let_join(track)
        await self.session.until(
            lambda: all(
                track.is_over or (track.joined and track.tunnel_up)
                for track in self.tracks.values()
            ),
            self._limit_s(JOIN_TIMEOUT_S),
        )
        for track in self.tracks.values():
            if not track.is_over and not (track.joined and track.tunnel_up):
                self._end(track, "not-attempted", "it did not join, or has no tunnel")

    async def _prenotify(self, track: Track) -> bool:
        answer = await self.session.prenotify(track)
        if not answer.is_accepted:
            self._end(track, "refused", f"the DSP refused 12.2 with {answer.code}")
        return answer.is_accepted

    async def _add_to_log(self, track: Track) -> bool:
        limit_s = self._limit_s(RESPONSE_TIMEOUT_S)
        answer, is_in = await self.session.add_to_log(track, limit_s)
        if not answer.is_accepted:
            self._end(track, "refused", f"the DSP refused 8.11 with {answer.code}")
        elif not is_in:
            self._end(track, "not-attempted", "the hub did not take it into its device log")
        return is_in

    def _products(self) -> list[list[Track]]:
        """The devices in the order of the bench, those with one image together."""
        products: dict[int, list[Track]] = {}
        for track in self.tracks.values():
            if not track.is_over:
                products.setdefault(id(track.image.image), []).append(track)
        return list(products.values())

    # -- updates -------------------------------------------------------------------------------

    async def _update(self, tracks: list[Track]) -> None:
        image = tracks[0].image.image
        asked = await self._ask_update(tracks, image)
        if not asked:
            return
        for track in asked:
            self.witness.tell(
                "image-offered",
                device_id=track.device_id,
                version=version_text(image.header.file_version),
                size_bytes=len(image.data),
                sha256=image.sha256,
            )
        if not any(probe.name == "busy" for probe in self._probes):
            await self._probe_busy(asked, image)
        limit_s = self._limit_s(NO_PROGRESS_TIMEOUT_S)
        await self.session.progress_until(lambda: all(map(is_transferred, asked)), asked, limit_s)
        await self.session.release(asked)
        limit_s = self._limit_s(ALERT_TIMEOUT_S)
        await self.session.until(lambda: all(map(is_settled, asked)), limit_s)
        for track in asked:
            if track.upgrade is not None and track.lost is None:
                await self.session.read_back(track, self._limit_s(RESPONSE_TIMEOUT_S))
        for track in asked:
            self._end(track, *judge_device(track))

    async def _ask_update(self, tracks: list[Track], image: FirmwareImage) -> list[Track]:
        """11.4 for all of them; those whose update the DSP began."""
        devices = tuple(track.eui64 for track in tracks)
        answer = await self.session.ask_update(image, devices)
        refused = refused_devices(answer.response)
        asked = []
        for track in tracks:
            if answer.is_accepted and track.eui64 not in refused:
                track.accepted_event = answer.event_id
                asked.append(track)
            else:
                lists = refused.get(track.eui64, "")
                detail = f"the DSP refused 11.4 with {answer.code} {lists}".rstrip()
                self._end(track, "refused", detail)
        return asked

    # -- requests that must be refused ---------------------------------------------------------

    async def _probe_images(self, track: Track) -> None:
        """An image nobody listed, and one a byte over the limit."""
        image = track.image.image
        body = bytearray(image.data[image.header.header_length :] or bytes(1))
        body[0] ^= 1
        await self._probe("unknown-hash", "E110401", build_image(image.header, bytes(body)), track)
        limit = self._bench.limits.size_limit()
        product = identity(track.kind)
        header_octets = image.header.header_length if limit.scope == "body" else 0
        large = seeded_image(
            product,
            file_version=image.header.file_version,
            size_bytes=limit.limit_bytes + header_octets + 1,
            random_bits=self.session.seeds.stream("image one byte too large").getrandbits,
            maker_key=maker_of(self.session.seeds, product),
        )
        await self._probe("one-byte-too-large", "E110405", large, track)

    async def _probe(self, name: str, wanted: str, image: FirmwareImage, track: Track) -> None:
        note = f"{name.replace('-', ' ')}, to be refused"
        answer = await self.session.ask_update(image, (track.eui64,), note)
        held, detail = answer.code == wanted, f"{answer.code}, {wanted} wanted"
        self._probes.append(Probe(name, held, detail, answer.event_id))

    async def _probe_busy(self, tracks: list[Track], image: FirmwareImage) -> None:
        """The same request again while the devices are in the midst of it."""
        await self.session.until(
            lambda: all(track.started or is_settled(track) for track in tracks),
            self._limit_s(START_TIMEOUT_S),
        )
        busy = [track for track in tracks if track.started and not is_transferred(track)]
        if not busy:
            return
        devices = tuple(track.eui64 for track in busy)
        answer = await self.session.ask_update(image, devices, "a second one, to be refused")
        lists = refused_devices(answer.response)
        listed = all(lists.get(track.eui64) == "OtherRequestInProgressList" for track in busy)
        detail = f"{answer.code}, E110403 with OtherRequestInProgressList wanted"
        held = answer.code == "E110403" and listed
        names = tuple(track.device_id for track in busy)
        self._probes.append(Probe("busy", held, detail, answer.event_id, names))

    # -- the end -------------------------------------------------------------------------------

    def _end(self, track: Track, outcome: Outcome, detail: str) -> None:
        after = track.version_after
        track.outcome = outcome
        track.detail = detail
        track.outcome_event = self.witness.tell(
            "outcome",
            device_id=track.device_id,
            outcome=outcome,
            version_before=version_text(track.image.factory_version),
            version_after=after,
            detail=detail,
        )

    def verdict(self, *, wall_s: float, leaks: Sequence[str] = ()) -> Verdict:
        """What the run has shown; `leaks` are pointers to variants where none may be seen."""
        air = self.wiring.air
        clock = self._bench.resolve_clock()
        virtual = clock == "virtual" and air is not None
        return verdict_of(
            self._bench,
            list(self.tracks.values()),
            self._probes,
            leaks,
            trace_hash=air.trace.hexdigest() if air is not None and virtual else None,
            wall_s=round(wall_s, 3),
            virtual_s=round(self.witness.time_s(), 6),
            radios=self._radios,
        )

    def end(self, ending: Ending, *, wall_s: float) -> None:
        """Tell the end of the run, before the evidence is closed."""
        self.witness.tell(
            "run-ended",
            verdict=ending,
            wall_s=round(wall_s, 3),
            virtual_s=round(self.witness.time_s(), 6),
        )


def _as_heard(radio: RadioVerdict, signal: Signal | None) -> RadioVerdict:
    if signal is None:
        return radio
    return replace(radio, rssi_dbm=signal.rssi_dbm, lqi=signal.lqi)
