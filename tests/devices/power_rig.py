"""A hub, a device and a DSP's end whose power may go at any operation on what they store.

Everything of hub and device is the real core: server, slot, alerts; client, flash, activation. A
process is built from its stored octets alone, at its start and after every power cut. Time jumps
from one event to the next; chance comes from a seed.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from ota_rig import DEVICE, IDENTITY, NEW, OLD, make_image
from wan_rig import EPOCH, HUB_EUI64, broker, identity

from emulator.devices import gbcs_half, ota_client, ota_server
from emulator.devices.flash import Flash, FlashContents, PagePool, RunningImage, Slot
from emulator.devices.gbcs_half import DeviceHalf, GbcsMemory, HubHalf
from emulator.devices.image_store import ImageStore, StoreContents
from emulator.devices.nonvolatile import Cut, PowerCut, Record, Supply
from emulator.devices.ota_client import OtaClient, OtaClientParameters
from emulator.devices.ota_server import OtaServer, OtaServerParameters, TransferOutcome
from emulator.zigbee import ota
from firmware_images.image import FirmwareImage
from gbcs.acb import Alert, Rejected, Rejection
from gbcs.envelope import parse_frame
from gbcs.firmware import FirmwareActivation, FirmwareTransfer, TransferResult
from gbcs.hub_log import DeviceLogChanged

LATENCY_S = 0.021
REBOOT_S = 30.0
RESEND_S = 90.0  # of an offer that the hub did not acknowledge
PATIENCE_S = 3 * 3600.0  # after the last thing expected: nothing more may come
LIMIT_STEPS = 300_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens besides the power cut, and what must have become of it in the end."""

    name: str
    loss: float = 0.0
    repeat: float = 0.0
    versions: tuple[int, ...] = (NEW,)
    is_bad: bool = False  # the device finds the image wrong
    hangs: bool = False  # the new image does not come up
    is_deferred: bool = False
    is_cancelled: bool = False

    @property
    def transfers(self) -> list[tuple[int, int]]:
        """Version and result of every CCS08 that the DSP is to get."""
        result = TransferResult.FILE_TRANSFER_SUCCESS
        if self.is_bad:
            result = TransferResult.FILE_TRANSFER_FAILURE
        elif self.is_cancelled:
            result = TransferResult.FIRMWARE_IMAGE_DISCARDED
        return [(version, int(result)) for version in self.versions]

    @property
    def activations(self) -> list[tuple[int, int]]:
        """Version and result of every CS09 that the DSP is to get."""
        if self.is_bad or self.is_cancelled:
            return []
        return [(version, int(self.hangs)) for version in self.versions]

    @property
    def runs(self) -> int:
        return OLD if self.is_bad or self.is_cancelled or self.hangs else self.versions[-1]


SCENARIOS = (
    Scenario("clean"),
    Scenario("lossy", loss=0.2),
    Scenario("repeated", repeat=0.5),
    Scenario("queued", versions=(NEW, NEW + 1)),
    Scenario("rollback", hangs=True),
    Scenario("corrupt", is_bad=True),
    Scenario("deferred", is_deferred=True),
    Scenario("cancelled", is_cancelled=True),
)


@dataclass(slots=True)
class Stored:
    """All that a power cut leaves."""

    flash: FlashContents = field(default_factory=lambda: FlashContents.factory(OLD))
    device: Record = field(default_factory=Record)
    image: StoreContents = field(default_factory=StoreContents)
    offers: Record = field(default_factory=Record)
    hub: Record = field(default_factory=Record)


class World:
    """One update, or two; each side is cut once in each of its first lives."""

    def __init__(
        self,
        scenario: Scenario,
        size_bytes: int,
        *,
        device_cuts: Sequence[Cut] = (),
        hub_cuts: Sequence[Cut] = (),
        seed: int = 1,
    ) -> None:
        self.scenario = scenario
        self.images = {one: make_image(size_bytes, version=one) for one in scenario.versions}
        self.known = {image.sha256: image for image in self.images.values()}
        self.now = 0.0
        self.trace = hashlib.sha256()
        self.stored = Stored()
        self.random = random.Random(seed)
        self.pool = PagePool()
        self._count = itertools.count()
        self._calls: list[tuple[float, int, Callable[[], object]]] = []
        self.dsp = DspEnd(self)
        self.hub = HubProcess(self, hub_cuts)
        self.device = DeviceProcess(self, device_cuts)
        self.hub.power_up()
        self.device.power_up()
        self.dsp.ask()
        if scenario.is_cancelled:
            self.dsp.cancel()

    def later(self, delay_s: float, call: Callable[[], object]) -> None:
        heapq.heappush(self._calls, (self.now + delay_s, next(self._count), call))

    def carry(self, octets: bytes, deliver: Callable[[bytes], object]) -> None:
        """Over the air: lost, or there once, or twice."""
        self.trace.update(repr((self.now, octets)).encode())
        scenario = self.scenario
        for _ in range(2 if self.random.random() < scenario.repeat else 1):
            if self.random.random() >= scenario.loss:
                self.later(LATENCY_S, lambda: deliver(octets))

    def step(self) -> None:
        dues = [self.hub.next_timeout(), self.device.next_timeout()]
        dues.append(self._calls[0][0] if self._calls else None)
        self.now = max(self.now, min(due for due in dues if due is not None))
        while self._calls and self._calls[0][0] <= self.now:
            heapq.heappop(self._calls)[2]()
        self.hub.run(self.hub.handle_timeouts)
        self.device.run(self.device.handle_timeouts)

    def run(self) -> None:
        """Until everything expected is there, and for a while after it."""
        for _ in range(LIMIT_STEPS):
            if self.dsp.has_all:
                break
            self.step()
        else:
            raise AssertionError(f"{self.scenario.name}: {self.dsp}")
        end_s = self.now + PATIENCE_S
        while self.now < end_s:
            self.step()

    def check(self) -> None:
        """The invariants, of all that was seen from the begin to the end."""
        self.dsp.check(self.scenario)
        running = Flash(self.stored.flash).running
        assert running.file_version == self.scenario.runs
        assert not self.hub.half.memory.outbox
        assert not self.device.half.memory.outbox


class Alerts:
    """What the DSP heard of hub and device, each word once; and what it should not have heard."""

    def __init__(self, *eui64s: int) -> None:
        self.acb = broker(*eui64s)
        self.transfers: list[tuple[int, int]] = []
        self.activations: list[tuple[int, int]] = []
        self.counters: dict[int, dict[int, bytes]] = {}
        self.oddities: list[object] = []

    def __repr__(self) -> str:
        return f"CCS08 {self.transfers}, CS09 {self.activations}, odd {self.oddities}"

    def take(self, frame: bytes) -> FirmwareTransfer | FirmwareActivation | None:
        """A frame of hub or device; what it says, if it says anything new."""
        header = parse_frame(frame).frame
        seen = self.counters.setdefault(header.originator, {})
        if seen.setdefault(header.originator_counter, frame) != frame:
            self.oddities.append(f"two frames with counter {header.originator_counter}")
        match self.acb.receive(frame):
            case Rejected(reason=Rejection.REPLAY):
                return None  # the same octets again
            case Alert(payload=FirmwareTransfer() as transfer):
                self.transfers.append((transfer.firmware_version, int(transfer.result)))
                return transfer
            case Alert(payload=FirmwareActivation() as activation):
                self.activations.append((activation.firmware_version, int(activation.result)))
                return activation
            case Alert(payload=DeviceLogChanged()):
                return None  # a sign of life of the set-up
            case odd:
                self.oddities.append(odd)
                return None

    def check(self, scenario: Scenario) -> None:
        """The invariants, as far as a DSP can tell."""
        assert self.transfers == scenario.transfers  # I1, I4
        assert self.activations == scenario.activations  # I3
        for counters in self.counters.values():  # I5, I6: one frame a counter, and none goes back
            assert [*counters] == sorted(counters)
        assert self.oddities == []


class DspEnd(Alerts):
    """What the DSP asks for, and the alerts that it takes."""

    def __init__(self, world: World) -> None:
        super().__init__(HUB_EUI64, DEVICE)
        self.world = world
        self._asked = 0
        self._is_stored = False
        self._is_cancelled = False

    @property
    def has_all(self) -> bool:
        scenario = self.world.scenario
        heard = len(self.transfers), len(self.activations)
        wanted = len(scenario.transfers), len(scenario.activations)
        return heard >= wanted and self.world.device.is_settled

    def ask(self) -> None:
        """The next update; the same request until the hub says that it has stored the image."""
        reference = self._asked + 1
        image = self.world.images[self.world.scenario.versions[self._asked]]
        self.world.hub.run(lambda: self.world.hub.take_offer(reference, image))
        if not self._is_stored:
            self.world.later(RESEND_S, self.ask)

    def delivered(self) -> None:
        self._is_stored = True

    def cancel(self) -> None:
        """Half of the image is there, and the update is taken back; again until that is done."""
        world = self.world
        if self._is_cancelled:
            return
        written, size = world.device.flash.written_bytes, len(world.images[NEW].data)
        if 2 * written > size and world.device.flash.is_filling:
            world.hub.run(world.hub.cancel)
        world.later(0.5, self.cancel)

    def cancelled(self) -> None:
        self._is_cancelled = True

    def hear(self, frame: bytes) -> None:
        match self.take(frame):
            case FirmwareTransfer() if self.world.scenario.is_deferred:
                self.world.later(7200.0, self.release)
            case FirmwareActivation():
                self._next()

    def release(self) -> None:
        self.world.hub.run(self.world.hub.release)
        if not self.world.hub.is_released:
            self.world.later(RESEND_S, self.release)

    def _next(self) -> None:
        if len(self.activations) < len(self.world.scenario.versions):
            self._asked, self._is_stored = len(self.activations), False
            self.world.later(10.0, self.ask)


class Process:
    """Something that runs until its power goes, and is started again from what it stored."""

    def __init__(self, world: World, cuts: Sequence[Cut]) -> None:
        self.world = world
        self.is_up = False
        self.operations: list[str] = []
        self._cuts = list(cuts)
        self._power = Supply()
        self._lives = 0

    def power_up(self) -> None:
        self._power = Supply(self._cuts.pop(0) if self._cuts else None)
        self._lives += 1
        self.is_up = True
        self.run(self.boot)

    def run(self, work: Callable[[], object]) -> None:
        """Let it do something, if it has power; when that goes, it starts again a little later."""
        if not self.is_up:
            return
        try:
            work()
        except PowerCut:
            self.is_up = False
            self.operations += self._power.operations
            self.world.later(REBOOT_S, self.power_up)

    def in_this_life(self, work: Callable[[], object]) -> Callable[[], None]:
        """`work`, unless it has been started again by then."""
        life = self._lives

        def later() -> None:
            if life == self._lives:
                self.run(work)

        return later

    def restart(self) -> None:
        """Start anew of its own accord, with the same power."""
        self._lives += 1
        self.run(self.boot)

    def all_operations(self) -> list[str]:
        return self.operations + self._power.operations

    def boot(self) -> None:
        raise NotImplementedError


class HubProcess(Process):
    server: OtaServer
    half: HubHalf
    is_released = False

    def boot(self) -> None:
        stored, power, scenario = self.world.stored, self._power, self.world.scenario
        wait = ota.WAIT_FOR_UPGRADE_COMMAND if scenario.is_deferred else 0
        memory = GbcsMemory.restarted(stored.hub, power)
        self.half = HubHalf(HUB_EUI64, identity(HUB_EUI64), memory, ())
        self.server = OtaServer(
            ImageStore(contents=stored.image, power=power),
            OtaServerParameters(upgrade_time_s=wait),
            record=stored.offers,
            power=power,
        )
        for frame in memory.outbox:
            self._tell(frame)
        self.act(self.server.start(self.world.now))

    def take_offer(self, reference: int, image: FirmwareImage) -> None:
        outputs = self.server.offer_to((DEVICE,), image, self.world.now, reference)
        self.world.dsp.delivered()
        self.act(outputs)

    def cancel(self) -> None:
        outputs = self.server.remove_device(DEVICE)
        self.world.dsp.cancelled()
        self.act(outputs)

    def release(self) -> None:
        outputs = self.server.release(DEVICE)
        self.is_released = True
        self.act(outputs)

    def receive(self, payload: bytes) -> None:
        self.run(lambda: self.act(self.server.receive(DEVICE, payload, self.world.now)))

    def next_timeout(self) -> float | None:
        return self.server.next_timeout() if self.is_up else None

    def handle_timeouts(self) -> None:
        self.act(self.server.handle_timeout(self.world.now))

    def act(self, outputs: Sequence[Any]) -> None:
        """In the order in which the hub's shell does it."""
        world = self.world
        for output in outputs:
            if isinstance(output, ota_server.SendZcl):
                world.carry(output.payload, world.device.receive)
            elif isinstance(output, TransferOutcome):
                result = TransferResult(output.response_code)
                now_utc = EPOCH + timedelta(seconds=world.now)
                version, number = output.file_version, output.number
                frame = self.half.transfer_ended(number, output.eui64, version, result, now_utc)
                if frame is not None:
                    self._tell(frame)
                self.server.reported(number)

    def _tell(self, frame: bytes) -> None:
        self.world.dsp.hear(frame)
        self.half.taken(frame)


class DeviceProcess(Process):
    client: OtaClient
    flash: Flash
    half: DeviceHalf

    @property
    def is_settled(self) -> bool:
        """It runs, and has nothing left to tell."""
        return self.is_up and not self.half.memory.outbox and not self.flash.is_on_trial

    def boot(self) -> None:
        world, stored = self.world, self.world.stored
        self.flash = Flash(stored.flash, world.pool, power=self._power)
        memory = GbcsMemory.restarted(stored.device, self._power)
        running = self.flash.boot()
        self.judge(running)
        version = running.file_version
        self.half = DeviceHalf(DEVICE, identity(DEVICE), memory, lambda: version)
        parameters = OtaClientParameters(max_data_size=50, max_errors=1000)
        who = replace(IDENTITY, file_version=version)
        self.client = OtaClient(who, self.flash, parameters, verify=self.verify)
        if self.flash.is_on_trial and world.scenario.hangs:
            world.later(60.0, self.in_this_life(self.restart))
            return
        self.flash.confirm()
        now_utc = EPOCH + timedelta(seconds=world.now)
        was_tried = not self.flash.is_filling
        self.send(self.half.start(world.now, now_utc, was_tried=was_tried))
        self.act(self.client.start(world.now, 1.0))

    def judge(self, running: RunningImage) -> None:
        """I2: what runs is the factory's image, or one that was offered, whole."""
        if running.file_version == OLD:
            assert running == RunningImage(OLD)
            return
        assert running.sha256 is not None
        image = self.world.known[running.sha256]
        assert image.header.file_version == running.file_version
        assert self.flash.read(Slot.RUNNING) == image.data

    def verify(self, flash: Flash) -> str | None:
        data = flash.read(Slot.SPARE)
        if hashlib.sha256(data).hexdigest() not in self.world.known:
            self.world.dsp.oddities.append("a mixed image was complete")
        return "the maker did not sign it" if self.world.scenario.is_bad else None

    def receive(self, payload: bytes) -> None:
        self.run(lambda: self.act(self.client.receive(payload, self.world.now)))

    def next_timeout(self) -> float | None:
        if not self.is_up:
            return None
        dues = self.client.next_timeout(), self.half.next_timeout()
        return min((due for due in dues if due is not None), default=None)

    def handle_timeouts(self) -> None:
        self.send(self.half.handle_timeout(self.world.now))
        self.act(self.client.handle_timeout(self.world.now))

    def act(self, outputs: Sequence[Any]) -> None:
        """In the order in which the device's shell does it."""
        world = self.world
        for output in outputs:
            if isinstance(output, ota_client.SendZcl):
                world.carry(output.payload, world.hub.receive)
            elif isinstance(output, ota_client.Activate):
                self.half.activating(output.file_version)
                self.flash.mark_bootable()
                self.client.stop()
                world.later(10.0, self.in_this_life(self.restart))

    def send(self, outputs: Sequence[gbcs_half.Output]) -> None:
        """Through the tunnel: it arrives when the hub has power, and the radio says whether."""
        for output in outputs:
            if not isinstance(output, gbcs_half.SendMessage):
                continue
            frame, handle = output.frame, output.handle
            assert handle is not None
            is_heard = self.world.random.random() >= self.world.scenario.loss
            is_acknowledged = self.world.random.random() >= self.world.scenario.loss
            is_there = self.world.hub.is_up and is_heard
            if is_there:
                self.world.later(LATENCY_S, lambda frame=frame: self.world.dsp.hear(frame))
            delivered = is_there and is_acknowledged
            self.world.later(2 * LATENCY_S, self.in_this_life(self._told(handle, delivered)))

    def _told(self, handle: int, delivered: bool) -> Callable[[], None]:
        return lambda: self.half.sent(handle, delivered, self.world.now)
