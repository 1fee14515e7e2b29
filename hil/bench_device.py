"""A device on the bench, as a test has it in its hands: ours or somebody else's, emulated or real.

Source: ours. What is asked of it goes the way a supplier's request goes; what is known of it is
what it sent. `await device.update()` is a whole update, from 11.4 to the last read-back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from emulator.devices.mains import BOOT_S
from emulator.devices.models import OTA_UPGRADE
from emulator.devices.node import Frame
from emulator.zigbee import ota, zcl
from firmware_images.image import FirmwareImage
from firmware_images.samples import image_stream, seeded_image
from gbcs.envelope import Cra
from hil.errors import BenchBroke
from hil.images import image_back, maker_of
from hil.judging import judge_device
from hil.ota_tap import Heard
from hil.records import SeenFrame
from hil.session import is_settled, is_transferred
from hil.stand_in import Answer, StandIn, relabelled
from hil.track import Track, Upgrade
from hil.verdict import Outcome, UnderTest, version_text

if TYPE_CHECKING:
    from hil.bench_up import BenchUp

OFF_S = 6.0  # longer than a stick remembers the APS counters of a device (05-3474, 2.2.8.4.2)
EMULATED_CLAIMS = ("resumes", "block-period")

_Command = TypeVar("_Command")


class BenchDevice:
    """One device of a bench that is up."""

    def __init__(self, bench: BenchUp, track: Track) -> None:
        self.bench = bench
        self.track = track
        self.id = track.device_id
        self.kind = track.kind
        self._session = bench.session
        self._entry = next(one for one in bench.file.devices if one.id == self.id)
        self._admitted = False
        self._updates = 0

    # -- what it is ------------------------------------------------------------------------------

    @property
    def eui64(self) -> int:
        return self.track.eui64

    @property
    def is_dut(self) -> bool:
        return self._entry.dut

    @property
    def claims(self) -> tuple[str, ...]:
        """What it says it can; of an emulated device, what it was made to."""
        if self.is_dut:
            return self._entry.claims
        signed = ("verifies-images",) if self._entry.image_policy == "maker-signed" else ()
        return (*EMULATED_CLAIMS, *signed)

    @property
    def image(self) -> FirmwareImage:
        """What it is to be updated to."""
        return self.track.image.image

    @property
    def image_back(self) -> FirmwareImage | None:
        """What leads it back."""
        return image_back(self.bench.file, self._entry)

    @property
    def running(self) -> int:
        """The version it last said it runs; what it came with, before it said anything."""
        version = self.track.version
        return self.track.image.factory_version if version is None else version

    def further_image(self, version: int) -> FirmwareImage:
        """One more image of an emulated device's maker."""
        seeds, product = self._session.seeds, self.track.product
        return seeded_image(
            product,
            file_version=version,
            size_bytes=len(self.image.data),
            random_bits=seeds.stream(f"{image_stream(self.kind)} {version:08X}").getrandbits,
            maker_key=maker_of(seeds, product),
        )

    def described(self) -> UnderTest:
        """It, as a verdict names it."""
        image = self.image
        return UnderTest(
            self.id,
            self.kind,
            f"{self.eui64:016X}",
            self.is_dut,
            self.claims,
            version_text(self.track.image.factory_version),
            version_text(image.header.file_version),
            self.track.image.policy,
            len(image.data),
            image.sha256,
        )

    # -- into the network ------------------------------------------------------------------------

    async def admit(self) -> None:
        """12.2, 8.11, power; it is in the network and has a tunnel. Once in a session."""
        if self._admitted:
            return
        session, track = self._session, self.track
        await session.switch_on(track)
        answer = await session.prenotify(track)
        assert answer.is_accepted, f"12.2 for {self.id} was answered with {answer.code}"
        answer, is_in = await session.add_to_log(track, self.bench.patience_s)
        assert answer.is_accepted, f"8.11 for {self.id} was answered with {answer.code}"
        assert is_in, f"the hub did not take {self.id} into its device log"
        session.let_join(track)
        await self.bench.until(lambda: track.joined, f"{self.id} joins the network")
        await self.bench.until(lambda: track.tunnel_up, f"{self.id} has a tunnel")
        await self.bench.until(
            lambda: self.sent(ota.QueryNextImageRequest), f"{self.id} asks for an image"
        )
        self._admitted = True

    # -- updates ---------------------------------------------------------------------------------

    async def update(self, image: FirmwareImage | None = None) -> Outcome:
        """A whole update: 11.4, transfer, N39, 11.2 and 8.2; what became of it."""
        await self.ask_update(image)
        await self.settled()
        if self.track.upgrade is not None:
            await self._session.read_back(self.track, self.bench.patience_s)
        track = self.track
        track.outcome, detail = judge_device(track)
        track.outcome_event = self._session.witness.tell(
            "outcome",
            device_id=self.id,
            outcome=track.outcome,
            version_before=version_text(track.image.factory_version),
            version_after=track.version_after,
            detail=detail,
        )
        return track.outcome

    async def updated(self) -> None:
        """It has been updated once: now, or by a test before this one on the same bench."""
        await self.admit()
        if not self._updates:
            outcome = await self.update()
            assert outcome == "activated", f"the update of {self.id} ended as {outcome}"

    async def ask_update(self, image: FirmwareImage | None = None) -> None:
        """11.4, which must be accepted."""
        await self.admit()
        image = image or self.image
        self._session.dcc.list_image(self.track.product, image)
        self.track.renew(image, self.running)
        answer = await self._session.ask_update(image, (self.eui64,))
        assert answer.code == "I99", f"11.4 for {self.id} was answered with {answer.code}"
        self.track.accepted_event = answer.event_id
        self._updates += 1

    async def settled(self) -> None:
        """Wait for N39, or for whatever else is the end."""
        session, track = self._session, self.track
        patience_s = self.bench.patience_s
        await session.progress_until(lambda: is_transferred(track), [track], patience_s)
        await session.release([track])
        await session.until(lambda: is_settled(track), patience_s)

    # -- other questions -------------------------------------------------------------------------

    async def read_version(self) -> str | None:
        """11.2: 8 hexadecimal digits; None when the user got no answer of the device."""
        read = await self._session.read_version(self.track, self.bench.patience_s)
        return None if read is None else version_text(read.firmware_version)

    async def read_inventory(self) -> str | None:
        """8.2: the version the DSP has of it."""
        row = await self._session.read_inventory(self.track)
        return None if row is None else row.device_firmware_version

    def notify(self, *, encrypted: bool = True) -> None:
        """An Image Notify that the hub has no reason to send."""
        hub = self._session.wiring.hub
        endpoint = hub.device_log[self.eui64].ota_endpoint
        assert endpoint is not None, f"nobody knows where {self.id} has its OTA client"
        body = ota.build(ota.ImageNotify(100))
        frame = zcl.ZclFrame(zcl.NOTIFY, self.bench.next_number(), ota.IMAGE_NOTIFY, body)
        hub.node.send(Frame(self.eui64, OTA_UPGRADE, 1, endpoint, zcl.build(frame), encrypted))

    async def offered(
        self,
        *,
        version: int | None = None,
        image_type: int | None = None,
        size_bytes: int = 0,
        **more: Answer,
    ) -> StandIn:
        """The bench offers its image in the hub's place, relabelled, with zeros behind it to a size
        where one is said, and the device is notified."""
        header = self.image.header
        wanted = max(self.running, header.file_version) + 1 if version is None else version
        kind = self.track.product.image_type if image_type is None else image_type
        stand_in = StandIn(
            self.eui64,
            relabelled(self.image.data, wanted).ljust(size_bytes, b"\0"),
            (header.manufacturer_code, kind, wanted),
            **more,
        )
        self.bench.tap.stand_in = stand_in
        self.notify()
        return stand_in

    # -- what it said ----------------------------------------------------------------------------

    @property
    def heard(self) -> list[Heard]:
        """Its commands on the OTA cluster, since the bench was last told to `forget`."""
        heard = self.bench.tap.heard
        return [one for one in heard if one.from_device and one.eui64 == self.eui64]

    def sent(self, kind: type[_Command]) -> list[_Command]:
        return [one.body for one in self.heard if isinstance(one.body, kind)]

    def frames(self, cra: Cra) -> list[SeenFrame]:
        """Its GBCS frames of a kind, verified or not."""
        frames = self._session.witness.frames
        mine = (seen for seen in frames if seen.received.frame.originator == self.eui64)
        return [seen for seen in mine if seen.received.frame.cra is cra]

    def commands(self) -> list[SeenFrame]:
        """What the DSP has sent it."""
        frames = self._session.witness.frames
        return [seen for seen in frames if seen.received.frame.recipient == self.eui64]

    @property
    def activations(self) -> list[Upgrade]:
        """What users were told of its activations."""
        told = self._session.witness.activations
        return [upgrade for eui64, upgrade in told if eui64 == self.eui64]

    @property
    def anomalies(self) -> dict[str, int]:
        """What was wrong with what it said, and how often."""
        told = self._session.witness.anomalies
        return {kind: count for (name, kind), count in told.items() if name == self.id}

    @property
    def complaints(self) -> list[str]:
        """What the DSP holds against it."""
        told = self._session.witness.complaints
        return [reason for eui64, reason in told if eui64 == self.eui64]

    # -- power -----------------------------------------------------------------------------------

    async def cut_power(self, off_s: float = OFF_S) -> None:
        """Off, and on again with what it has stored."""
        wiring = self._session.wiring
        self.track.tunnel_up = False
        dut = wiring.duts.get(self.id)
        if dut is not None:
            await dut.switch(False)
            await asyncio.sleep(off_s)
            await dut.switch(True)
            return
        if wiring.air is None:
            raise BenchBroke(f"nobody can cut the power of {self.id}: it is a stick's device")
        device = wiring.devices[self.id]
        wiring.grid.switch(self.id, False)
        await device.power_off()
        await asyncio.sleep(off_s)
        wiring.grid.switch(self.id, True)
        await asyncio.sleep(BOOT_S)
        await device.power_up()
