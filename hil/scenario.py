"""One firmware update of every device on the bench, from an empty air to the last read-back.

Source: DESIGN, "There and back". The supplier pre-notifies each device (12.2) and has the hub let
it in (8.11); asks for one update per product (11.4), since the hub has one image slot; waits for
the activation alert (N39); reads the version from the device (11.2) and the inventory (8.2). Beside
them three requests that must be refused: an image nobody listed, one a byte too large, and a second
one for devices whose update is in progress.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from dsp_stub.requests import (
    DevicePrenotification,
    ReadFirmwareVersion,
    ReadInventory,
    UpdateHanDeviceLog,
    UpdatePpmidFirmware,
)
from dsp_stub.responses import (
    DspInventory,
    FirmwareWarning,
    GbcsPayload,
    InventoryDevice,
    Response,
    ResponseMessage,
)
from emulator.devices.node import NodeError, TakeOverRefused
from emulator.devices.ota_server import ResponseCode
from emulator.medium.timing import Scheduler
from firmware_images.image import FirmwareImage, build_image
from firmware_images.samples import identity, seeded_image
from gbcs.codes import Payload, parse_payload
from gbcs.device_log import AddDeviceResult
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError
from gbcs.firmware import FirmwareVersion, ReadResult
from hil.bench_file import HUB, Bench
from hil.clock import VirtualLoop
from hil.dcc import PPMID_VERSION, VARIANTS, Dcc
from hil.errors import BenchBroke, RequestError
from hil.evidence import Evidence
from hil.images import DeviceImage, maker_of
from hil.journal import Journal
from hil.judging import Probe, judge_device, verdict_of
from hil.live import Live
from hil.records import Records
from hil.seeds import Seeds
from hil.track import Track
from hil.verdict import Outcome, ReadBack, Verdict, version_text
from hil.wiring import CHANNEL, Wiring
from hil.witness import Witness

Ending = Literal["pass", "fail", "interrupted", "broke"]

JOIN_PERMIT_S = 3600
JOIN_TIMEOUT_S = 1800.0
NO_PROGRESS_TIMEOUT_S = 3600.0
ALERT_TIMEOUT_S = 3600.0  # from the hub's last word of a transfer to N39: restart, tunnel, retries
START_TIMEOUT_S = 7200.0  # Image Notify may have to be repeated
RETRY_S = 1.0  # what is asked of a hub that has no power
# Longer than the DSP waits for a device, which then says so itself.
RESPONSE_TIMEOUT_S = 7200.0


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
        loop = asyncio.get_running_loop()
        self._bench = bench
        self._clock = clock
        self._journal = Journal()
        self._seeds = Seeds(bench.seed)
        self._probes: list[Probe] = []
        self.tracks = {
            device.id: Track(device.id, device.kind, images[device.id]) for device in bench.devices
        }
        self.witness = Witness(self.tracks, self._journal, clock, evidence, live)
        self.dcc = Dcc(
            bench,
            self._seeds,
            utc_now=self.utc_now,
            hold=loop.hold if isinstance(loop, VirtualLoop) else contextlib.nullcontext,
            on_callback=self.witness.on_callback,
            on_refused=partial(self.witness.anomaly, None, "callback refused"),
            on_event=self.witness.on_dsp_event,
            on_frame=self.witness.on_frame,
            on_log_entry=self.witness.on_log_entry,
        )
        self._records = Records(evidence, self.witness.tell, self.witness.name_of, self.dcc.keys_of)
        self.wiring = Wiring(
            bench,
            images,
            clock,
            evidence,
            self.dcc,
            utc_now=self.utc_now,
            on_hub_event=self.witness.on_hub_event,
            on_device_event=self.witness.on_device_event,
            on_power=self.witness.on_power,
            take_over=take_over,
        )
        loop.set_exception_handler(self._on_loop_exception)

    def utc_now(self) -> datetime:
        """Civil time: the epoch of the bench file and the run's own clock."""
        return self._bench.epoch + timedelta(microseconds=self._clock.now_us())

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
            await self._form()
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
            await self.wiring.close()
            await self.dcc.stop()

    async def _form(self) -> None:
        wiring = self.wiring
        await self.dcc.start(
            self._records, [(track.kind, track.image) for track in self.tracks.values()]
        )
        await wiring.hub.start(wiring.settings)
        hub = wiring.hub.node.eui64
        self.witness.hub_is(hub)
        self.dcc.connect_hub(hub, wiring.grid.way_to(HUB, wiring.hub))
        wiring.hub_runs()
        self.witness.tell(
            "network-formed",
            pan_id=f"{wiring.settings.pan_id:04X}",
            extended_pan_id=f"{wiring.settings.extended_pan_id:016X}",
            channel=CHANNEL,
        )

    async def _admit(self) -> None:
        """Every device into the inventory, the hub's device log and the network."""
        for device_id, device in self.wiring.devices.items():
            track = self.tracks[device_id]
            await device.power_on()
            self.witness.device_is(track, device.eui64)
            self._records.hide(self.wiring.install_codes[device_id])
            if await self._prenotify(track) and await self._add_to_log(track):
                device.begin()
                self.wiring.device_runs(device_id)
        await self._journal.until(
            lambda: all(
                track.is_over or (track.joined and track.tunnel_up)
                for track in self.tracks.values()
            ),
            JOIN_TIMEOUT_S,
        )
        for track in self.tracks.values():
            if not track.is_over and not (track.joined and track.tunnel_up):
                self._end(track, "not-attempted", "it did not join, or has no tunnel")

    async def _prenotify(self, track: Track) -> bool:
        product = identity(track.kind)
        # Where the schema has no variant, a PPMID is what it always was; a bridge cannot be told.
        has_variant = self._bench.dsp.profile == "mp170" or track.kind != "ppmid"
        variant = str(VARIANTS[track.kind]) if has_variant else None
        body = DevicePrenotification(
            device_id=track.eui64,
            manufacturer=f"{product.manufacturer_code:04X}",
            model=product.model,
            device_type="PPMID",
            smets_chts_version=PPMID_VERSION,
            firmware_version=version_text(track.image.factory_version),
            ppmid_variant=variant,
        )
        answer, _, track.prenotified_event = await self.dcc.supplier.ask(
            "12.2", body, about=(track.eui64,)
        )
        return self._is_accepted(track, "12.2", answer)

    async def _add_to_log(self, track: Track) -> bool:
        body = UpdateHanDeviceLog(
            device_id=track.eui64,
            request_type="Add",
            join_time_period_s=JOIN_PERMIT_S,
            install_code=self.wiring.install_codes[track.device_id],
        )
        answer, request_id, _ = await self.dcc.supplier.ask(
            "8.11", body, target=self.wiring.hub.node.eui64, about=(track.eui64,)
        )
        if not self._is_accepted(track, "8.11", answer):
            return False
        response, track.added_event = await self._response(request_id)
        payload = None if response is None else _payload(response)
        if isinstance(payload, AddDeviceResult) and payload.succeeded:
            return True
        self._end(track, "not-attempted", "the hub did not take it into its device log")
        return False

    def _is_accepted(self, track: Track, service: str, answer: Response) -> bool:
        """Whether a request was; a device whose request is refused has no further part."""
        code = answer.response_code
        if code[0] in "IW":
            return True
        self._end(track, "refused", f"the DSP refused {service} with {code}")
        return False

    async def _response(self, request_id: str) -> tuple[Response | None, int]:
        """The response to a command, and its event; None when none came at all."""
        responses = self.dcc.supplier.responses
        await self._journal.until(lambda: request_id in responses, RESPONSE_TIMEOUT_S)
        return responses.get(request_id, (None, 0))

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
        await self._progress_until(lambda: all(map(_is_transferred, asked)), asked)
        await self._release(asked)
        await self._journal.until(lambda: all(map(_is_settled, asked)), ALERT_TIMEOUT_S)
        for track in asked:
            if track.upgrade is not None and track.lost is None:
                await self._read_back(track)
        for track in asked:
            self._end(track, *judge_device(track))

    async def _release(self, tracks: list[Track]) -> None:
        """The word to activate, where the bench has the devices wait for it."""
        after_s = self._bench.hub.release_after_s
        if after_s is None:
            return
        await asyncio.sleep(after_s)
        while not self.wiring.grid.is_on(HUB):
            await asyncio.sleep(RETRY_S)
        for track in tracks:
            transfer = track.transfer
            if transfer is not None and transfer.response_code is ResponseCode.SUCCESS:
                self.wiring.hub.release(track.eui64)

    async def _ask_update(self, tracks: list[Track], image: FirmwareImage) -> list[Track]:
        """11.4 for all of them; those whose update the DSP began."""
        devices = tuple(track.eui64 for track in tracks)
        answer, _, event_id = await self._ask_11_4(image, devices)
        refused = _refused(answer)
        asked = []
        for track in tracks:
            if answer.response_code[0] in "IW" and track.eui64 not in refused:
                track.accepted_event = event_id
                asked.append(track)
            else:
                lists = refused.get(track.eui64, "")
                detail = f"the DSP refused 11.4 with {answer.response_code} {lists}".rstrip()
                self._end(track, "refused", detail)
        return asked

    async def _ask_11_4(
        self, image: FirmwareImage, devices: tuple[int, ...], note: str = ""
    ) -> tuple[Response, str, int]:
        version = version_text(image.header.file_version)
        body = UpdatePpmidFirmware(image.data, version, devices)
        return await self.dcc.supplier.ask("11.4", body, about=devices, note=note)

    async def _progress_until(self, done: Callable[[], bool], tracks: list[Track]) -> None:
        """Wait as long as something moves: a slow transfer is no failure."""
        while not done():
            moved = partial(_has_moved, tracks, [track.steps for track in tracks])
            if not await self._journal.until(moved, NO_PROGRESS_TIMEOUT_S):
                return

    async def _read_back(self, track: Track) -> None:
        """11.2 to the device and 8.2 to the DSP: what each says it runs."""
        supplier = self.dcc.supplier
        about = (track.eui64,)
        answer, request_id, _ = await supplier.ask(
            "11.2", ReadFirmwareVersion(), target=track.eui64, about=about
        )
        payload = None
        if answer.response_code[0] in "IW":
            response, event_id = await self._response(request_id)
            track.read_back_events.append(event_id)
            payload = None if response is None else _payload(response)
        inventory, _, track.smi_event = await supplier.ask(
            "8.2", ReadInventory(device_id=track.eui64), about=about
        )
        for device in _devices(inventory):
            if device.device_id == track.eui64:
                track.smi_version = device.device_firmware_version
                track.smi_variant = device.ppmid_variant
        if isinstance(payload, FirmwareVersion):
            version = version_text(payload.firmware_version)
            read = payload.result is ReadResult.READ_SUCCESS
            equals_smi = read and version == track.smi_version
            track.read_back = ReadBack(version, int(payload.result), equals_smi)

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
            random_bits=self._seeds.stream("image one byte too large").getrandbits,
            maker_key=maker_of(self._seeds, product),
        )
        await self._probe("one-byte-too-large", "E110405", large, track)

    async def _probe(self, name: str, wanted: str, image: FirmwareImage, track: Track) -> None:
        note = f"{name.replace('-', ' ')}, to be refused"
        answer, _, event_id = await self._ask_11_4(image, (track.eui64,), note)
        code = answer.response_code
        self._probes.append(Probe(name, code == wanted, f"{code}, {wanted} wanted", event_id))

    async def _probe_busy(self, tracks: list[Track], image: FirmwareImage) -> None:
        """The same request again while the devices are in the midst of it."""
        await self._journal.until(
            lambda: all(track.started or _is_settled(track) for track in tracks),
            START_TIMEOUT_S,
        )
        busy = [track for track in tracks if track.started and not _is_transferred(track)]
        if not busy:
            return
        devices = tuple(track.eui64 for track in busy)
        answer, _, event_id = await self._ask_11_4(image, devices, "a second one, to be refused")
        code = answer.response_code
        lists = _refused(answer)
        listed = all(lists.get(track.eui64) == "OtherRequestInProgressList" for track in busy)
        detail = f"{code}, E110403 with OtherRequestInProgressList wanted"
        held = code == "E110403" and listed
        names = tuple(track.device_id for track in busy)
        self._probes.append(Probe("busy", held, detail, event_id, names))

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
        )

    def end(self, ending: Ending, *, wall_s: float) -> None:
        """Tell the end of the run, before the evidence is closed."""
        self.witness.tell(
            "run-ended",
            verdict=ending,
            wall_s=round(wall_s, 3),
            virtual_s=round(self.witness.time_s(), 6),
        )

    def _on_loop_exception(
        self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]
    ) -> None:
        error = context.get("exception")
        what = f"{type(error).__name__}: {error}" if error else str(context.get("message"))
        broke = BenchBroke(f"the bench made a mistake of its own: {what}")
        broke.__cause__ = error if isinstance(error, BaseException) else None
        self._journal.break_off(broke)


def _has_moved(tracks: list[Track], before: list[int]) -> bool:
    return before != [track.steps for track in tracks]


def _is_transferred(track: Track) -> bool:
    """The hub has said what became of its transfer, or nothing more will be heard of it."""
    return bool(track.transferred_event or track.upgrade) or _is_settled(track)


def _is_settled(track: Track) -> bool:
    """Nothing more will be heard of its update."""
    return track.is_over or track.upgrade is not None or track.transfer_failed is not None


def _payload(response: Response) -> Payload | None:
    """What the device's frame in a response says, as a user reads it."""
    message = response.message
    if not isinstance(message, ResponseMessage) or not isinstance(message.content, GbcsPayload):
        return None
    try:
        frame = parse_frame(message.content.octets).frame
        return parse_payload(frame.message_code, frame.cra, frame.payload)
    except GbcsError:
        return None


def _devices(response: Response) -> tuple[InventoryDevice, ...]:
    message = response.message
    if isinstance(message, ResponseMessage) and isinstance(message.content, DspInventory):
        return message.content.devices
    return ()


def _refused(answer: Response) -> dict[int, str]:
    """Which list of a warning each refused device is in, by its element's name."""
    message = answer.message
    if not isinstance(message, ResponseMessage) or not isinstance(message.content, FirmwareWarning):
        return {}
    return {device: name for name, devices in message.content.lists().items() for device in devices}
