"""The premises of a run, up and running, and what somebody at the bench does with them.

Source: DESIGN, "There and back". A DSP, a hub with its network and the devices of a bench; the
verbs are those of a supplier (12.2, 8.11, 11.4, 11.2, 8.2, or any request as it stands), of the
bench (switch on, wait) and nobody else's. A verb returns when what it asked for was answered; what
comes of it is awaited as a condition on the tracks, never as a time. A course of things that uses
them is `hil.scenario`; the tests of `hil/suites` are others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from dsp_stub.requests import (
    Body,
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
from emulator.devices.ota_server import ResponseCode
from emulator.medium.timing import Scheduler
from firmware_images.image import FirmwareImage
from gbcs.codes import Payload, parse_payload
from gbcs.device_log import AddDeviceResult
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError
from gbcs.firmware import FirmwareVersion, ReadResult
from hil.bench_file import HUB, Bench
from hil.clock import VirtualLoop
from hil.dcc import PPMID_VERSION, VARIANTS, Dcc
from hil.duis_client import DuisUser
from hil.errors import BenchBroke
from hil.evidence import Evidence
from hil.images import DeviceImage
from hil.journal import Journal
from hil.live import Watcher
from hil.ota_tap import Tap
from hil.radio_options import CHANNEL
from hil.records import Records
from hil.seeds import Seeds
from hil.track import SWAPPED, Track
from hil.verdict import ReadBack, version_text
from hil.wiring import Wiring
from hil.witness import Witness

JOIN_PERMIT_S = 3600
NO_PROGRESS_TIMEOUT_S = 3600.0
RETRY_S = 1.0  # what is asked of a hub that has no power
# Longer than the DSP waits for a device, which then says so itself.
RESPONSE_TIMEOUT_S = 7200.0


class Answer(NamedTuple):
    """What the DSP said to a request at once, the request's id, and the event that has it."""

    response: Response
    request_id: str
    event_id: int

    @property
    def code(self) -> str:
        return self.response.response_code

    @property
    def is_accepted(self) -> bool:
        """Taken, with or without a warning."""
        return self.code[0] in "IW"


class Session:
    """One DSP, one hub, the devices of a bench, and everything they tell."""

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
        tap: Tap | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.bench = bench
        self.clock = clock
        self.journal = Journal()
        self.seeds = Seeds(bench.seed)
        self.tracks = {
            device.id: Track(device.id, device.kind, images[device.id]) for device in bench.devices
        }
        self.witness = Witness(self.tracks, self.journal, clock, evidence, live)
        self.dcc = Dcc(
            bench,
            self.seeds,
            utc_now=self.utc_now,
            hold=loop.hold if isinstance(loop, VirtualLoop) else contextlib.nullcontext,
            on_callback=self.witness.on_callback,
            on_refused=partial(self.witness.anomaly, None, "callback refused"),
            on_event=self.witness.on_dsp_event,
            on_frame=self.witness.on_frame,
            on_log_entry=self.witness.on_log_entry,
        )
        self.records = Records(evidence, self.witness.tell, self.witness.name_of, self.dcc.keys_of)
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
            on_action=self.witness.on_action,
            take_over=take_over,
            channel=channel,
            tap=tap,
        )
        loop.set_exception_handler(self._on_loop_exception)

    def utc_now(self) -> datetime:
        """Civil time: the epoch of the bench file and the run's own clock."""
        return self.bench.epoch + timedelta(microseconds=self.clock.now_us())

    # -- up and down ---------------------------------------------------------------------------

    async def form(self) -> None:
        """DSP and hub: the premises as found stand in the inventory, and the air has a network."""
        await self.dcc.start(
            self.records, [(track.kind, track.image) for track in self.tracks.values()]
        )
        await self._form_network()

    async def swap_hub(self) -> None:
        """The hub and its stick are gone for good, and another is where they were: it is on the
        WAN, and knows no device until 8.12.1. Raises RequestError where that cannot be."""
        await self.wiring.swap_hub()
        for track in self.tracks.values():
            track.joined = track.tunnel_up = False
            if track.delivered_event and not is_transferred(track):
                track.transfer_failed = SWAPPED
        await self._form_network()

    async def _form_network(self) -> None:
        wiring = self.wiring
        await wiring.hub.start(wiring.settings)
        hub = wiring.hub.node.eui64
        self.witness.hub_is(hub)
        self.dcc.connect_hub(hub, wiring.grid.way_to(HUB, wiring.hub))
        wiring.hub_runs()
        self.witness.tell(
            "network-formed",
            pan_id=f"{wiring.settings.pan_id:04X}",
            extended_pan_id=f"{wiring.settings.extended_pan_id:016X}",
            channel=wiring.settings.channel,
        )

    async def switch_on(self, track: Track) -> None:
        """Give a device power; one of ours does not join yet."""
        self.records.hide(self.wiring.install_codes[track.device_id])
        dut = self.wiring.duts.get(track.device_id)
        if dut is not None:
            self.witness.device_is(track, dut.eui64)
            certificates = dut.certificates()
            if certificates:
                self.dcc.take_in(certificates)
            else:
                self.dcc.identity(dut.eui64)
            await dut.switch(True)
            return
        device = self.wiring.devices[track.device_id]
        await device.power_on()
        self.witness.device_is(track, device.eui64)

    def let_join(self, track: Track) -> None:
        """It may look for the network from now on, as a device under test does of itself."""
        if track.device_id in self.wiring.duts:
            return
        self.wiring.devices[track.device_id].begin()
        self.wiring.device_runs(track.device_id)

    async def close(self) -> None:
        """Everything off."""
        await self.wiring.close()
        await self.dcc.stop()

    # -- waiting -------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for a fact; False when it has not come true in time."""
        return await self.journal.until(condition, timeout_s)

    async def progress_until(
        self,
        done: Callable[[], bool],
        tracks: Sequence[Track],
        timeout_s: float = NO_PROGRESS_TIMEOUT_S,
    ) -> bool:
        """Wait as long as something moves: a slow transfer is no failure."""
        while not done():
            moved = partial(_has_moved, tracks, [track.steps for track in tracks])
            if not await self.until(moved, timeout_s):
                return False
        return True

    # -- requests ------------------------------------------------------------------------------

    async def ask(
        self,
        service: str,
        body: Body,
        *,
        target: int | None = None,
        about: tuple[int, ...] = (),
        variant: int | None = None,
        user: DuisUser | None = None,
        note: str = "",
    ) -> Answer:
        """A request as it stands: to the DSP alone, or through it to `target`; of another `user`
        than the run's supplier where one is given."""
        supplier = self.dcc.supplier
        return Answer(
            *await supplier.ask(
                service, body, target=target, about=about, variant=variant, user=user, note=note
            )
        )

    async def response(
        self, request_id: str, timeout_s: float = RESPONSE_TIMEOUT_S
    ) -> tuple[Response | None, int]:
        """The response to a command, and its event; None when none came at all."""
        responses = self.dcc.supplier.responses
        await self.until(lambda: request_id in responses, timeout_s)
        return responses.get(request_id, (None, 0))

    async def prenotify(self, track: Track) -> Answer:
        """12.2."""
        product = track.product
        # Where the schema has no variant, a PPMID is what it always was; a bridge cannot be told.
        has_variant = self.bench.dsp.profile == "mp170" or track.kind != "ppmid"
        body = DevicePrenotification(
            device_id=track.eui64,
            manufacturer=f"{product.manufacturer_code:04X}",
            model=product.model,
            device_type="PPMID",
            smets_chts_version=PPMID_VERSION,
            firmware_version=version_text(track.image.factory_version),
            ppmid_variant=str(VARIANTS[track.kind]) if has_variant else None,
        )
        answer = await self.ask("12.2", body, about=(track.eui64,))
        track.prenotified_event = answer.event_id
        return answer

    async def add_to_log(
        self, track: Track, timeout_s: float = RESPONSE_TIMEOUT_S
    ) -> tuple[Answer, bool]:
        """8.11, and whether the hub said that it has let the device in."""
        body = UpdateHanDeviceLog(
            device_id=track.eui64,
            request_type="Add",
            join_time_period_s=JOIN_PERMIT_S,
            install_code=self.wiring.install_codes[track.device_id],
        )
        answer = await self.ask(
            "8.11", body, target=self.wiring.hub.node.eui64, about=(track.eui64,)
        )
        if not answer.is_accepted:
            return answer, False
        response, track.added_event = await self.response(answer.request_id, timeout_s)
        payload = None if response is None else payload_of(response)
        return answer, isinstance(payload, AddDeviceResult) and payload.succeeded

    async def ask_update(
        self, image: FirmwareImage, devices: tuple[int, ...], note: str = ""
    ) -> Answer:
        """11.4."""
        version = version_text(image.header.file_version)
        body = UpdatePpmidFirmware(image.data, version, devices)
        return await self.ask("11.4", body, about=devices, note=note)

    async def release(self, tracks: Sequence[Track]) -> None:
        """The word to activate, where the bench has the devices wait for it."""
        after_s = self.bench.hub.release_after_s
        if after_s is None:
            return
        await asyncio.sleep(after_s)
        while not self.wiring.grid.is_on(HUB):
            await asyncio.sleep(RETRY_S)
        for track in tracks:
            transfer = track.transfer
            if transfer is not None and transfer.response_code is ResponseCode.SUCCESS:
                self.wiring.hub.release(track.eui64)

    async def read_back(self, track: Track, timeout_s: float = RESPONSE_TIMEOUT_S) -> None:
        """11.2 to the device and 8.2 to the DSP: what each says it runs, onto its track."""
        version = await self.read_version(track, timeout_s)
        await self.read_inventory(track)
        if version is not None:
            text = version_text(version.firmware_version)
            read = version.result is ReadResult.READ_SUCCESS
            track.read_back = ReadBack(
                text, int(version.result), read and text == track.smi_version
            )

    async def read_version(
        self, track: Track, timeout_s: float = RESPONSE_TIMEOUT_S
    ) -> FirmwareVersion | None:
        """11.2, and what the device answered; None when the user got no such answer."""
        about = (track.eui64,)
        answer = await self.ask("11.2", ReadFirmwareVersion(), target=track.eui64, about=about)
        if not answer.is_accepted:
            return None
        response, event_id = await self.response(answer.request_id, timeout_s)
        track.read_back_events.append(event_id)
        payload = None if response is None else payload_of(response)
        return payload if isinstance(payload, FirmwareVersion) else None

    async def read_inventory(self, track: Track) -> InventoryDevice | None:
        """8.2, and the device's row in it."""
        answer = await self.ask("8.2", ReadInventory(device_id=track.eui64), about=(track.eui64,))
        track.smi_event = answer.event_id
        for device in inventory_of(answer.response):
            if device.device_id == track.eui64:
                track.smi_version = device.device_firmware_version
                track.smi_variant = device.ppmid_variant
                return device
        return None

    # -- mistakes of the bench's own -----------------------------------------------------------

    def _on_loop_exception(
        self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]
    ) -> None:
        error = context.get("exception")
        what = f"{type(error).__name__}: {error}" if error else str(context.get("message"))
        broke = BenchBroke(f"the bench made a mistake of its own: {what}")
        broke.__cause__ = error if isinstance(error, BaseException) else None
        self.journal.break_off(broke)


def is_transferred(track: Track) -> bool:
    """The hub has said what became of its transfer, or nothing more will be heard of it."""
    return bool(track.transferred_event or track.upgrade) or is_settled(track)


def is_settled(track: Track) -> bool:
    """Nothing more will be heard of its update."""
    return track.is_over or track.upgrade is not None or track.transfer_failed is not None


def payload_of(response: Response) -> Payload | None:
    """What the device's frame in a response says, as a user reads it."""
    message = response.message
    if not isinstance(message, ResponseMessage) or not isinstance(message.content, GbcsPayload):
        return None
    try:
        frame = parse_frame(message.content.octets).frame
        return parse_payload(frame.message_code, frame.cra, frame.payload)
    except GbcsError:
        return None


def inventory_of(response: Response) -> tuple[InventoryDevice, ...]:
    """The rows of an answer to 8.2."""
    message = response.message
    if isinstance(message, ResponseMessage) and isinstance(message.content, DspInventory):
        return message.content.devices
    return ()


def refused_devices(response: Response) -> dict[int, str]:
    """Which list of a warning each refused device is in, by its element's name."""
    message = response.message
    if not isinstance(message, ResponseMessage) or not isinstance(message.content, FirmwareWarning):
        return {}
    return {device: name for name, devices in message.content.lists().items() for device in devices}


def _has_moved(tracks: Sequence[Track], before: list[int]) -> bool:
    return before != [track.steps for track in tracks]
