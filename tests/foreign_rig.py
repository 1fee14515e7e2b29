"""The hub and the DSP of the bench on the real clock, with a device that is not ours on their air.

The sticks of `hanbench radio` are reached over TCP; the device, `foreign_client`, is a process of
its own. What it sends is read where the hub hears it, opened by the hub's stick; what it says to
the DSP is read on the WAN; what a user learns of it comes by signed DUIS callbacks.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

from dsp_stub.desk import DspEvent, Flagged, SecurityEvent
from dsp_stub.requests import (
    Body,
    DevicePrenotification,
    ReadFirmwareVersion,
    ReadInventory,
    UpdateHanDeviceLog,
    UpdatePpmidFirmware,
)
from dsp_stub.responses import (
    DccAlertMessage,
    DspInventory,
    GbcsPayload,
    PpmidAlert,
    Response,
    ResponseMessage,
)
from emulator.devices.hub import DeviceTunnel, Hub, HubEvent
from emulator.devices.models import OTA_UPGRADE
from emulator.devices.node import Frame, NetworkSettings
from emulator.devices.ota_server import Anomaly as OtaAnomaly
from emulator.devices.tunnel import Anomaly as TunnelAnomaly
from emulator.devices.tunnel import TunnelUp
from emulator.zigbee import ota, zcl
from firmware_images.header import OtaHeader
from firmware_images.image import FirmwareImage, build_image, read_image
from firmware_images.samples import identity
from gbcs.codes import parse_payload
from gbcs.envelope import Cra, parse_frame
from gbcs.envelope import Frame as GbcsFrame
from gbcs.firmware import FirmwareActivation, FirmwareVersion
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64
from hil.bench_file import Bench, DeviceKind
from hil.dcc import PPMID_VERSION, VARIANTS, Dcc
from hil.evidence import Evidence
from hil.images import DeviceImage, maker_of
from hil.journal import Journal
from hil.key_folder import certificate_pem
from hil.ota_tap import Tap, TappedNode
from hil.records import Records, SeenFrame
from hil.seeds import Seeds
from hil.sticks import ServedStick, serve_sticks

TESTS = Path(__file__).parent
PATIENCE_S = 60.0  # a busy machine is no failure
# A device that is back sooner may draw APS counters that the hub's stick has just had from it, and
# what has them is dropped as a repetition (05-3474, 2.2.8.4.2), though acknowledged.
OFF_S = 5.2
OLD, NEW, NEWER = 0x00010100, 0x00010200, 0x00010300
SETTINGS = NetworkSettings(15, 0x1A62, 0x18262CD292AD61D7, bytes(range(16, 32)), bytes(16))
INSTALL_CODE = bytes(range(0xA0, 0xB0))
PERMIT_S = 600


def make_image(
    size_bytes: int, version: int = NEW, *, damaged: bool = False, kind: DeviceKind = "ppmid"
) -> FirmwareImage:
    """A file as the foreign maker makes them: its last 32 octets are the SHA-256 of the others."""
    product = identity(kind)
    ota_header = OtaHeader(
        manufacturer_code=product.manufacturer_code,
        image_type=product.image_type,
        file_version=version,
        minimum_hardware_version=product.hardware_version,
        maximum_hardware_version=product.hardware_version,
    )
    body = random.Random(f"{size_bytes} {version}").randbytes(size_bytes - ota_header.header_length)
    data = build_image(ota_header, body).data[:-32]
    trailer = hashlib.sha256(data).digest()
    return read_image(data + (bytes(32) if damaged else trailer))


class ForeignRig:
    """One hub, one DSP, one foreign device; and everything they told."""

    def __init__(
        self,
        folder: Path,
        sticks: Sequence[ServedStick],
        images: Sequence[FirmwareImage],
        kind: DeviceKind,
    ) -> None:
        self.folder = folder
        self.kind = kind
        self.product = identity(kind)
        self.eui64 = sticks[1].eui64
        self.personality = "ember"
        self.arguments: tuple[str, ...] = ()  # of the device, each time it is switched on
        self.radio = sticks[1].url
        self.images = images
        self.journal = Journal()
        self.hub_events: list[HubEvent] = []
        self.dsp_events: list[DspEvent] = []
        self.frames: list[SeenFrame] = []
        self.callbacks: list[Response] = []
        self.said: list[str] = []  # lines of the device's process
        self.strays: list[str] = []  # what it says to nobody
        self.tap = Tap(self.journal.tell, lambda _eui64, what: self._keep(self.strays, what))
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        now = self._utc_now()
        bench = Bench.model_validate(
            {"epoch": now.isoformat(), "device": [{"id": "dut", "kind": kind}]}
        )
        self._seeds = Seeds(bench.seed)
        self._evidence = Evidence(folder / "evidence", epoch=now)
        self.dcc = Dcc(
            bench,
            self._seeds,
            utc_now=self._utc_now,
            hold=nullcontext,
            on_callback=lambda response, _event: self._keep(self.callbacks, response),
            on_refused=lambda sentence: self.said.append(f"callback refused: {sentence}"),
            on_event=lambda event: self._keep(self.dsp_events, event),
            on_frame=lambda frame: self._keep(self.frames, frame),
            on_log_entry=lambda _entry, _pointer: None,
        )
        self._records = Records(
            self._evidence,
            lambda _type, /, **_fields: 0,
            lambda eui64: f"{eui64:X}",
            self.dcc.keys_of,
        )
        self.hub = Hub(
            sticks[0].url,
            partial(TappedNode, tap=self.tap, take_over=True),
            lambda event: self._keep(self.hub_events, event),
            image_limit_bytes=750 * 1024,
            identity=self.dcc.identity,
            wan=self.dcc.deliver,
            utc_now=self._utc_now,
        )

    @staticmethod
    def _utc_now() -> datetime:
        return datetime.now(UTC)

    def _keep(self, where: list[Any], what: Any) -> None:
        where.append(what)
        self.journal.tell()

    # -- the hub and the DSP ---------------------------------------------------------------------

    async def start(self) -> None:
        maker = maker_of(self._seeds, self.product).public_key()
        await self.dcc.start(
            self._records,
            [(self.kind, DeviceImage(one, "opaque", maker, OLD)) for one in self.images],
        )
        await self.hub.start(SETTINGS)
        self.dcc.connect_hub(self.hub.node.eui64, self.hub)
        own = self.dcc.identity(self.eui64).keys
        keys = self.folder / "keys"
        keys.mkdir()
        for use, key in zip(("ds", "ka"), (own.digital_signature, own.key_agreement), strict=True):
            pem = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            (keys / f"{self.eui64:016x}-{use}.key").write_bytes(pem)
        acb = self.dcc.keys.certificate(ACB_EUI64, KeyUse.KEY_AGREEMENT)
        assert acb is not None
        (keys / f"{ACB_EUI64:016x}-ka.pem").write_bytes(certificate_pem(acb))

    async def stop(self) -> None:
        await self.kill()
        await self.hub.stop()
        await self.dcc.stop()
        self._evidence.close()

    async def ask(
        self, service: str, body: Body, target: int | None = None
    ) -> tuple[str, Response]:
        """A request of the supplier's; its id and what was answered at once."""
        response, request_id, _ = await self.dcc.supplier.ask(
            service, body, target=target, about=(self.eui64,)
        )
        return request_id, response

    async def admit(self) -> None:
        """Pre-notify the device (12.2) and have the hub let it in (8.11)."""
        body = DevicePrenotification(
            device_id=self.eui64,
            manufacturer=f"{self.product.manufacturer_code:04X}",
            model=self.product.model,
            device_type="PPMID",
            smets_chts_version=PPMID_VERSION,
            firmware_version=f"{OLD:08X}",
            ppmid_variant=str(VARIANTS[self.kind]),
        )
        _, answer = await self.ask("12.2", body)
        assert answer.response_code == "I99"
        add = UpdateHanDeviceLog(
            device_id=self.eui64,
            request_type="Add",
            join_time_period_s=PERMIT_S,
            install_code=INSTALL_CODE,
        )
        request_id, _ = await self.ask("8.11", add, self.hub.node.eui64)
        await self.until(lambda: request_id in self.dcc.supplier.responses)

    async def update(self, image: FirmwareImage) -> None:
        """11.4."""
        version = f"{image.header.file_version:08X}"
        body = UpdatePpmidFirmware(image.data, version, (self.eui64,))
        _, answer = await self.ask("11.4", body)
        assert answer.response_code == "I99", answer

    async def request_version(self) -> str:
        """11.2 to the device; the request's id."""
        request_id, _ = await self.ask("11.2", ReadFirmwareVersion(), self.eui64)
        return request_id

    async def read_version(self) -> int:
        """11.2 to the device, and the version the user is told."""
        request_id = await self.request_version()
        responses = self.dcc.supplier.responses
        await self.until(lambda: request_id in responses)
        message = responses[request_id][0].message
        assert isinstance(message, ResponseMessage)
        assert isinstance(message.content, GbcsPayload)
        frame = parse_frame(message.content.octets).frame
        payload = parse_payload(frame.message_code, frame.cra, frame.payload)
        assert isinstance(payload, FirmwareVersion)
        return payload.firmware_version

    async def read_inventory(self) -> int:
        """8.2: the version the DSP has for the device."""
        _, answer = await self.ask("8.2", ReadInventory(device_id=self.eui64))
        assert isinstance(answer.message, ResponseMessage)
        assert isinstance(answer.message.content, DspInventory)
        (device,) = [d for d in answer.message.content.devices if d.device_id == self.eui64]
        return int(str(device.device_firmware_version), 16)

    def notify(self, *, encrypted: bool = True) -> None:
        """An Image Notify that the hub has no reason to send."""
        body = ota.build(ota.ImageNotify(100))
        payload = zcl.build(zcl.ZclFrame(zcl.NOTIFY, 0xEE, ota.IMAGE_NOTIFY, body))
        endpoint = self.hub.device_log[self.eui64].ota_endpoint
        assert endpoint is not None
        self.hub.node.send(Frame(self.eui64, OTA_UPGRADE, 1, endpoint, payload, encrypted))

    # -- the device ------------------------------------------------------------------------------

    async def power_on(self) -> None:
        """Start the device's process."""
        words = [
            *("--radio", self.radio),
            *("--data", self.folder / "device"),
            *("--keys", self.folder / "keys"),
            *("--eui64", f"{self.eui64:016X}"),
            *("--install-code", INSTALL_CODE.hex()),
            *("--channels", str(SETTINGS.channel)),
            *("--version", f"{OLD:08X}"),
            *("--manufacturer", f"{self.product.manufacturer_code:04X}"),
            *("--image-type", f"{self.product.image_type:04X}"),
            *("--hardware", f"{self.product.hardware_version:04X}"),
            *("--activation-s", str(OFF_S)),
            *("--personality", self.personality),
            *self.arguments,
        ]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "foreign_client", *map(str, words)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
        )
        self._reader = asyncio.create_task(self._read_lines(self._process))

    async def _read_lines(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._keep(self.said, line.decode(errors="replace").rstrip())

    async def cut_power(self) -> None:
        """Off and on again, with what the device has on its disk and the stick in its memory."""
        await self.kill()
        await asyncio.sleep(OFF_S)
        await self.power_on()

    async def kill(self) -> None:
        """Cut the device's power."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        assert self._reader is not None
        await self._reader
        self._process = None

    async def until(self, condition: Callable[[], Any], limit_s: float = PATIENCE_S) -> None:
        """Wait for a fact; fails with what the device said when it never comes."""
        if not await self.journal.until(lambda: bool(condition()), limit_s):
            lines = "\n".join(self.said[-30:])
            raise AssertionError(f"it has not happened within {limit_s:g} s; the device:\n{lines}")

    # -- what was heard --------------------------------------------------------------------------

    def sent(self, kind: type) -> list[Any]:
        """The device's commands of one kind, in order."""
        heard = self.tap.heard
        return [one.body for one in heard if one.from_device and type(one.body) is kind]

    @property
    def tunnel_openings(self) -> int:
        return sum(
            isinstance(event, DeviceTunnel) and isinstance(event.output, TunnelUp)
            for event in self.hub_events
        )

    def gbcs(self, cra: Cra) -> list[GbcsFrame]:
        """Frames of one kind that came from the device, verified or not."""
        frames = [seen.received.frame for seen in self.frames]
        return [one for one in frames if one.cra is cra and one.originator == self.eui64]

    @property
    def alerts(self) -> list[FirmwareActivation]:
        """Every CS09 that came from the device, believed or not."""
        payloads = [parse_payload(f.message_code, f.cra, f.payload) for f in self.gbcs(Cra.ALERT)]
        return [payload for payload in payloads if isinstance(payload, FirmwareActivation)]

    @property
    def succeeded(self) -> list[bool]:
        """What users were told of activations, one after the other."""
        upgrades = [alert.firmware_upgrade for alert in self.n39]
        return [upgrade.succeeded for upgrade in upgrades if upgrade is not None]

    @property
    def n39(self) -> list[PpmidAlert]:
        """What users were told of it."""
        messages = [response.message for response in self.callbacks]
        alerts = [one.alert for one in messages if isinstance(one, DccAlertMessage)]
        return [one for one in alerts if isinstance(one, PpmidAlert)]

    @property
    def anomalies(self) -> set[str]:
        """What the hub could not make anything of, by kind."""
        told = [one.output if isinstance(one, DeviceTunnel) else one for one in self.hub_events]
        return {one.kind for one in told if isinstance(one, OtaAnomaly | TunnelAnomaly)}

    @property
    def complaints(self) -> list[str]:
        """What the DSP holds against the device: security events and flags."""
        return [
            event.reason
            for event in self.dsp_events
            if isinstance(event, SecurityEvent | Flagged) and event.device == self.eui64
        ]


@asynccontextmanager
async def foreign_rig(
    folder: Path,
    *images: FirmwareImage,
    kind: DeviceKind = "ppmid",
    ezsp: int = 14,
    places: tuple[str, str] = ("tcp://127.0.0.1:0",) * 2,
    faults: Sequence[str] = (),
) -> AsyncIterator[ForeignRig]:
    """Hub and DSP, with the images on the CPL; the device is let in and switched on by the test."""
    async with serve_sticks(
        *places, ezsp=ezsp, faults=faults, pcap=folder / "air.pcapng"
    ) as sticks:
        rig = ForeignRig(folder, sticks, images, kind)
        try:
            await rig.start()
            yield rig
        finally:
            await rig.stop()
