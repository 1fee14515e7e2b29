"""Hub and device updating over a channel that loses, repeats and delays what they say."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ota_rig import DEVICE, IDENTITY, KIND, NEW, OLD, events_of, frames_of, make_image

from emulator.devices import ota_client, ota_server
from emulator.devices.flash import Flash, FlashContents, PagePool, Slot
from emulator.devices.image_store import ImageStore
from emulator.devices.ota_client import (
    Activate,
    DownloadFailed,
    OtaClient,
    OtaClientIdentity,
    OtaClientParameters,
)
from emulator.devices.ota_server import (
    OtaServer,
    OtaServerParameters,
    QuerySeen,
    ResponseCode,
    TransferOutcome,
)
from emulator.zigbee import ota
from firmware_images.image import FirmwareImage

LATENCY_S = 0.021


class Home:
    """A hub and its devices; time jumps from one event to the next, chance comes from a seed."""

    def __init__(
        self,
        *,
        seed: int = 1,
        loss: float = 0.0,
        repeat: float = 0.0,
        delay_s: float = 0.0,
        server: OtaServerParameters | None = None,
        **parameters: Any,
    ) -> None:
        self.now = 0.0
        self.server = OtaServer(ImageStore(), server)
        self.parameters = OtaClientParameters(**({"max_errors": 1000} | parameters))
        self.pool = PagePool()
        self.devices: dict[int, Device] = {}
        self.outcomes: list[TransferOutcome] = []
        self.versions_seen: dict[int, list[int]] = {}
        self.drop: Callable[[bool, bytes], bool] = lambda _to_server, _frame: False
        self.log: list[tuple[float, bool, bytes]] = []  # time, to server, ZCL frame
        self._random = random.Random(seed)
        self.loss, self._repeat, self._delay_s = loss, repeat, delay_s
        self._queue: list[tuple[float, int, int, bool, bytes]] = []
        self._count = 0

    def add(
        self,
        eui64: int = DEVICE,
        identity: OtaClientIdentity = IDENTITY,
        parameters: OtaClientParameters | None = None,
    ) -> Device:
        device = Device(self, eui64, replace(identity, eui64=eui64), parameters)
        self.devices[eui64] = device
        device.start()
        return device

    def offer(self, image: FirmwareImage, eui64: int = DEVICE) -> None:
        self.act(self.server.offer(eui64, image, self.now))

    def put(self, eui64: int, to_server: bool, payload: bytes) -> None:
        self.log.append((self.now, to_server, payload))
        if self.drop(to_server, payload):
            return
        copies = 2 if self._random.random() < self._repeat else 1
        for _ in range(copies):
            if self._random.random() < self.loss:
                continue
            due = self.now + LATENCY_S + self._random.random() * self._delay_s
            self._count += 1
            heapq.heappush(self._queue, (due, self._count, eui64, to_server, payload))

    def act(self, outputs: list[ota_server.Output]) -> None:
        for output in outputs:
            if isinstance(output, ota_server.SendZcl):
                self.put(output.eui64, False, output.payload)
            elif isinstance(output, TransferOutcome):
                self.outcomes.append(output)
            elif isinstance(output, QuerySeen):
                seen = self.versions_seen.setdefault(output.eui64, [])
                seen.append(output.current_version)

    def random_bits(self, bits: int) -> int:
        return self._random.getrandbits(bits)

    def step(self) -> None:
        dues = [device.client.next_timeout() for device in self.devices.values()]
        dues += [self.server.next_timeout(), self._queue[0][0] if self._queue else None]
        self.now = max(self.now, min(due for due in dues if due is not None))
        while self._queue and self._queue[0][0] <= self.now:
            _, _, eui64, to_server, payload = heapq.heappop(self._queue)
            if to_server:
                self.act(self.server.receive(eui64, payload, self.now))
            elif eui64 in self.devices:  # others are switched off
                self.devices[eui64].act(self.devices[eui64].client.receive(payload, self.now))
        for device in self.devices.values():
            device.act(device.client.handle_timeout(self.now))
        self.act(self.server.handle_timeout(self.now))

    def run_until(self, done: Callable[[], Any], limit: int = 200_000) -> None:
        for _ in range(limit):
            if done():
                return
            self.step()
        raise AssertionError(f"it has not happened: {self.outcomes}")

    def run_until_seen(self, version: int, limit: int = 200_000) -> None:
        """Until the hub was asked by every device with this version as its own."""
        for _ in range(limit):
            seen = self.versions_seen
            if all(version in seen.get(eui64, ()) for eui64 in self.devices):
                return
            self.step()
        raise AssertionError(f"version {version} does not run everywhere, {self.outcomes}")


class Device:
    def __init__(
        self,
        home: Home,
        eui64: int,
        identity: OtaClientIdentity,
        parameters: OtaClientParameters | None = None,
    ) -> None:
        self.home = home
        self.eui64 = eui64
        self.identity = identity
        self.parameters = parameters or home.parameters
        self.is_battery_low = False
        self.flash = Flash(FlashContents.factory(identity.file_version), home.pool)
        self.offsets: list[int] = []
        self.events: list[Any] = []
        self.client = self._new_client()

    def _new_client(self) -> OtaClient:
        return OtaClient(
            self.identity,
            self.flash,
            self.parameters,
            verify=lambda _: None,
            random_bits=self.home.random_bits,
            is_battery_low=lambda: self.is_battery_low,
        )

    def start(self) -> None:
        self.act(self.client.start(self.home.now, 1.0))

    def restart(self) -> None:
        """What the process held is gone; what the flash holds is not."""
        self.flash = Flash(self.flash.contents, self.home.pool)
        self.identity = replace(self.identity, file_version=self.flash.boot().file_version)
        self.client = self._new_client()
        self.start()

    def act(self, outputs: list[ota_client.Output]) -> None:
        for output in outputs:
            if isinstance(output, ota_client.SendZcl):
                self.home.put(self.eui64, True, output.payload)
        for frame in frames_of(outputs):
            if frame.is_cluster_command and frame.command == ota.IMAGE_BLOCK_REQUEST:
                request = ota.parse_image_block_request(frame.payload)
                self.offsets.append(request.file_offset)
        events = events_of(outputs)
        self.events += events
        if any(isinstance(event, Activate) for event in events):
            self.flash.mark_bootable()
            self.restart()


def codes(home: Home) -> list[ResponseCode]:
    return [outcome.response_code for outcome in home.outcomes]


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.2, 0.3, 0.4])
@pytest.mark.parametrize("size", [60, 57 * 56, 3 * 4096, 20_001])
def test_the_image_that_runs_is_the_image_offered_whatever_gets_lost(
    loss: float, size: int
) -> None:
    image = make_image(size)
    home = Home(loss=loss, seed=size)
    device = home.add()
    home.offer(image)
    home.run_until_seen(NEW)
    assert device.flash.running.sha256 == hashlib.sha256(image.data).hexdigest()
    assert sorted(set(device.offsets)) == list(range(0, size, 56))
    assert codes(home) == [ResponseCode.SUCCESS]
    if not loss:
        assert len(device.offsets) == -(-size // 56)


@pytest.mark.parametrize("seed", range(5))
def test_repeated_and_late_messages_do_no_harm(seed: int) -> None:
    image = make_image(6000)
    home = Home(seed=seed, loss=0.1, repeat=0.3, delay_s=4.0)
    device = home.add()
    home.offer(image)
    home.run_until_seen(NEW)
    assert device.flash.read(Slot.RUNNING) == image.data
    assert codes(home) == [ResponseCode.SUCCESS]


@pytest.mark.parametrize("after_blocks", range(0, 60, 10))
@pytest.mark.parametrize("same_name", [False, True])
def test_an_image_overwritten_during_its_transfer_is_never_mixed(
    after_blocks: int, same_name: bool
) -> None:
    first = make_image(60 * 56)
    second = make_image(59 * 56, version=NEW if same_name else NEW + 1)
    home = Home()
    device = home.add()
    home.offer(first)
    while len(device.offsets) <= after_blocks:
        home.step()
    home.offer(second)
    home.run_until_seen(second.header.file_version)
    assert device.flash.read(Slot.RUNNING) == second.data
    assert codes(home) == [ResponseCode.IMAGE_DISCARDED, ResponseCode.SUCCESS]
    (failed,) = [event for event in device.events if isinstance(event, DownloadFailed)]
    assert failed.status in (0x95, 0x98)


@pytest.mark.parametrize("after_blocks", [1, 2, 73, 74, 100, 146, 219])
def test_a_device_restarted_in_the_middle_loads_the_rest_and_no_more(after_blocks: int) -> None:
    image = make_image(3 * 4096)
    home = Home()
    device = home.add()
    home.offer(image)
    while len(device.offsets) < after_blocks:
        home.step()
    before = len(device.offsets)
    device.restart()
    home.run_until_seen(NEW)
    kept = (before - 1) * 56 // 4096 * 4096
    assert min(device.offsets[before:]) == kept
    assert device.flash.read(Slot.RUNNING) == image.data
    assert codes(home) == [ResponseCode.SUCCESS]


def test_a_hub_restarted_in_the_middle_goes_on_without_a_query() -> None:
    image = make_image(6000)
    home = Home()
    device = home.add()
    home.offer(image)
    while len(device.offsets) < 50:
        home.step()
    home.server = OtaServer(ImageStore())
    home.versions_seen.clear()
    home.offer(image)
    home.run_until_seen(NEW)
    assert home.versions_seen == {DEVICE: [NEW]}
    assert device.flash.read(Slot.RUNNING) == image.data
    assert codes(home) == [ResponseCode.SUCCESS]


def test_ten_devices_load_one_image_and_store_one_copy_of_its_pages() -> None:
    image = make_image(8 * 4096)
    home = Home(loss=0.05)
    for number in range(10):
        home.add(number)
    for number in range(10):
        home.offer(image, number)
    home.run_until_seen(NEW)
    running = {device.flash.running.sha256 for device in home.devices.values()}
    assert running == {hashlib.sha256(image.data).hexdigest()}
    assert codes(home) == [ResponseCode.SUCCESS] * 10
    assert len(home.pool) == 8


def test_two_products_share_the_slot_and_each_gets_its_own_image() -> None:
    home = Home()
    other = replace(IDENTITY, image_type=KIND + 1)
    first, second = home.add(1), home.add(2, other)
    images = [make_image(5000), make_image(4000, image_type=KIND + 1)]
    home.offer(images[0], 1)
    while len(first.offsets) < 30:
        home.step()
    home.offer(images[1], 2)
    while len(home.outcomes) < 2:
        home.step()
    home.offer(images[0], 1)
    home.run_until_seen(NEW)
    assert first.flash.read(Slot.RUNNING) == images[0].data
    assert second.flash.read(Slot.RUNNING) == images[1].data
    assert codes(home) == [
        ResponseCode.IMAGE_DISCARDED,
        ResponseCode.SUCCESS,
        ResponseCode.SUCCESS,
    ]


def test_an_image_for_another_product_never_moves_and_is_a_mismatch() -> None:
    home = Home()
    device = home.add()
    home.offer(make_image(image_type=KIND + 2))
    while not home.outcomes:
        home.step()
    assert codes(home) == [ResponseCode.HARDWARE_VERSION_MISMATCH]
    assert device.offsets == []
    assert device.flash.running.file_version == OLD


def test_a_device_out_of_reach_gives_up_says_so_and_takes_the_next_offer() -> None:
    image = make_image(6000)
    home = Home(max_errors=10)
    device = home.add()
    home.offer(image)
    while len(device.offsets) < 50:
        home.step()
    home.loss = 1.0
    while not any(isinstance(event, DownloadFailed) for event in device.events):
        home.step()
    home.loss = 0.0
    while not home.outcomes:
        home.step()
    assert codes(home) == [ResponseCode.FILE_TRANSFER_FAILURE]
    home.offer(image)
    home.run_until_seen(NEW)
    assert device.flash.read(Slot.RUNNING) == image.data
    assert codes(home) == [ResponseCode.FILE_TRANSFER_FAILURE, ResponseCode.SUCCESS]
