"""A hub and a device and the 46 kinds of damaged image: each offered to one, and served to one.

The hub's is the real one, on its stick, told over the WAN; its device was seen and is switched off.
The device is the real client with its flash, on the wire of the sans-io pair, against a server
whose store looked at nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from bench_support import HUB_EUI64, bench
from damage_table import (
    BY_THE_MAKER,
    CASES,
    MAKER_KEY,
    NEW,
    RUNNING,
    damaged,
    fate,
    original,
)
from ota_rig import DEVICE, IDENTITY, frames_of
from test_ota_pair import Device, Home
from wan_rig import Premises, premises

from emulator.devices.flash import RunningImage, Slot
from emulator.devices.image_store import Image, ImageStore, StoredImage
from emulator.devices.ota_client import DownloadFailed, OtaClient
from emulator.devices.ota_server import OtaServer, OtaServerParameters, QuerySeen
from emulator.zigbee import ota
from emulator.zigbee.zcl import Status
from firmware_images.damage import damage_image
from firmware_images.errors import ImageError
from firmware_images.header import OtaHeader, parse_header
from firmware_images.image import FirmwareImage, build_image, join_elements
from firmware_images.samples import verify_maker
from gbcs.firmware import FirmwareTransfer, TransferResult
from gbcs.wan import DeliveryResult, ImageOffer
from hil.clock import run_virtual

cases = pytest.mark.parametrize(("name", "variant"), CASES)
EUI64 = 0x02484E4200000010


# -- hub -----------------------------------------------------------------------------------


async def hub_outcome(there: Premises, number: int, name: str, variant: str) -> str:
    """What the hub makes of one image; afterwards it knows nothing of the device's updates."""
    hub = there.home.hub
    if name == "newcomer":
        there.deliver(ImageOffer(HUB_EUI64, 10_000 + number, (EUI64,), original().data))
    alerts = len(there.alerts(HUB_EUI64))
    held = hub._store.slot
    data = damaged(name, variant) or b"\0"  # the WAN carries no empty file
    # What is damaged between head end and hub has the hash of what was sent.
    in_transit = name in ("flipped-bit", "other-body")
    sha256 = bytes.fromhex(original().sha256) if in_transit else b""
    there.deliver(ImageOffer(HUB_EUI64, number, (EUI64,), data, sha256))
    told: list[FirmwareTransfer] = there.alerts(HUB_EUI64)[alerts:]
    if there.results(number) == {EUI64: DeliveryResult.REFUSED}:
        assert (told, hub._store.slot) == ([], held)
        return "refused"
    assert there.results(number) == {EUI64: DeliveryResult.DELIVERED}
    outcome = "offered"
    if [one.result for one in told] == [TransferResult.HARDWARE_VERSION_MISMATCH]:
        outcome = "mismatch"
    elif [one.result for one in told] == [TransferResult.FIRMWARE_IMAGE_DISCARDED]:
        outcome = "discards"
    else:
        assert told == []
    slot = hub._store.slot
    assert (slot is not None and slot.data == data) == (outcome != "mismatch")
    return outcome


@cache
def at_hub() -> dict[tuple[str, str], str]:
    async def observe() -> dict[tuple[str, str], str]:
        async with bench() as made:
            there = await premises(made, EUI64)
            device = await there.add(EUI64)
            await made.until(lambda: there.home.told(QuerySeen))
            await device.power_off()
            fates = {}
            for number, case in enumerate(CASES, 10_000):
                fates[case] = await hub_outcome(there, number, *case)
                product = there.home.hub.ota._ledger.products[EUI64]
                there.home.hub.ota.remove_device(EUI64)
                there.home.hub.ota._ledger.products[EUI64] = product
            return fates

    return run_virtual(observe)


@pytest.mark.requirement("MP170-SIZE", "bad")
@cases
def test_a_hub_takes_or_refuses_a_damaged_image_as_the_table_says(name: str, variant: str) -> None:
    assert at_hub()[name, variant] == fate(name, variant).hub


# -- device --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Careless(StoredImage):
    """A file served under a name and a size that are not judged."""

    declared_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        return self.declared_bytes


class CarelessStore(ImageStore):
    def hold(self, data: bytes, header: OtaHeader, declared_bytes: int) -> None:
        """Serve no more than is declared, and no less than there is."""
        if declared_bytes:
            data = data[:declared_bytes]
        digest = hashlib.sha256(data).hexdigest()
        self._slot = Careless(data, header, digest, declared_bytes)

    def put(self, _image: Image) -> StoredImage | None:
        """What is in it is in it."""
        return self._slot


# Offered under the header of the file itself; the others under the one that the device expects.
UNDER_ITS_OWN_NAME = ("version-running", "version-older", "version-wildcard")
SIZE_BY_HEADER = (
    "size-less",
    "size-more",
    "size-zero",
    "size-huge",
    "size-without-header",
)


class Served:
    """One file served to one device, and what the device made of it."""

    def __init__(self, data: bytes, name: str = "", verify: Any = None, **parameters: Any) -> None:
        header = original().header
        declared_bytes = len(data)
        try:
            own = parse_header(data)
        except ImageError:
            pass
        else:
            if name in UNDER_ITS_OWN_NAME:
                header = replace(header, file_version=own.file_version)
            if name in SIZE_BY_HEADER:
                declared_bytes = own.total_image_size_bytes
        self.data = data
        self.home = Home(**({"max_errors": 10} | parameters))
        store = CarelessStore()
        store.hold(data, header, declared_bytes)
        self.home.server = OtaServer(store, OtaServerParameters(max_data_size=56))
        identity = replace(IDENTITY, file_version=RUNNING)
        self.device = Judging(self.home, identity, verify)
        self.home.devices[DEVICE] = self.device
        self.device.start()
        self.home.offer(original())  # the store holds what it holds

    def outcome(self) -> str:
        """As the table of `damage_table` has it. The running image is looked at all the way."""
        device, home = self.device, self.home
        for _ in range(40_000):
            home.step()
            if device.flash.running.file_version != RUNNING or device.is_restarted:
                assert device.flash.read(Slot.RUNNING) == self.data[: len(self.expected)]
                return "activated"
            assert device.flash.running == RunningImage(RUNNING)
            assert device.flash.read(Slot.RUNNING) == b""
            if device.ends:
                assert device.ends[0] in (Status.INVALID_IMAGE, Status.ABORT)
                is_invalid = device.ends[0] == Status.INVALID_IMAGE
                if not device.offsets:
                    return "not loaded"
                return "invalid" if is_invalid else "abort"
            if any(isinstance(event, DownloadFailed) for event in device.events):
                return "aborted" if device.offsets else "not loaded"
            if home.now > 3600:
                return "waits" if device.offsets else "not loaded"
        raise AssertionError(f"nothing became of it: {device.events}")

    @property
    def expected(self) -> bytes:
        """What of the file a device that takes it has."""
        size_bytes = parse_header(self.data).total_image_size_bytes
        return self.data[:size_bytes]


class Judging(Device):
    """A device that knows its maker, and notes how it ended updates."""

    def __init__(self, home: Home, identity: Any, verify: Any) -> None:
        self.verify = verify or (lambda flash: verify_maker(flash.read(Slot.SPARE), KEY))
        self.ends: list[int] = []
        self.is_restarted = False
        super().__init__(home, DEVICE, identity)

    def _new_client(self) -> OtaClient:
        return OtaClient(self.identity, self.flash, self.home.parameters, verify=self.verify)

    def act(self, outputs: list[Any]) -> None:
        for frame in frames_of(outputs):
            if frame.command == ota.UPGRADE_END_REQUEST and frame.is_cluster_command:
                end = ota.parse_upgrade_end_request(frame.payload)
                if end.status != Status.SUCCESS:
                    self.ends.append(end.status)
        super().act(outputs)

    def restart(self) -> None:
        super().restart()
        self.is_restarted = True


KEY = MAKER_KEY.public_key()


def at_device(name: str, variant: str) -> str:
    if name == "newcomer":
        return displaced(name, variant)
    served = Served(damaged(name, variant), name)
    if name == "cut-short":
        # What is not all there is not served: the device is told to wait.
        served.home.server.suspend(4000.0)
    return served.outcome()


def displaced(name: str, variant: str) -> str:
    """The device is in the middle of the original when the newcomer takes its place."""
    served = Served(original().data)
    served.home.server = OtaServer(ImageStore())
    served.home.offer(original())
    while len(served.device.offsets) < 10:
        served.home.step()
    served.home.add(DEVICE + 1, replace(IDENTITY, file_version=RUNNING))
    newcomer = FirmwareImage(damaged(name, variant), parse_header(damaged(name, variant)), "")
    served.home.offer(newcomer, DEVICE + 1)
    return served.outcome()


@pytest.mark.requirement("MP170-R1", "bad")
@pytest.mark.requirement("MP170-SIZE", "bad")
@cases
def test_a_device_loads_or_refuses_a_damaged_image_as_the_table_says(
    name: str, variant: str
) -> None:
    assert at_device(name, variant) == fate(name, variant).device


def test_a_trailing_octet_is_never_asked_for() -> None:
    served = Served(damaged("size-less", "plain"), "size-less")
    served.outcome()
    assert max(served.device.offsets) < len(original().data)


@pytest.mark.parametrize("name", ["magic", "header-version", "header-length-short", "container"])
def test_a_file_that_cannot_be_one_is_given_up_after_its_header(name: str) -> None:
    served = Served(damaged(name, next(v for n, v in CASES if n == name)), name)
    assert served.outcome() == "invalid"
    assert served.device.offsets == [0]


# -- options -------------------------------------------------------------------------------

# Rows of the sheet that leave to the client what it makes of sub-elements and signatures.
OPEN = {name for name, _ in CASES if name.startswith(("element-", "signature-"))}
ELEMENTS = [case for case in CASES if case[0] in OPEN and case[1] != "maker"]


def body_judged(name: str, variant: str, *, strict: bool, signed: bool = False) -> str:
    """An opaque device's fate; with `strict` it holds the body to the sub-element format."""
    return Served(
        damage_image(
            original().data, name, variant, random_bits=lambda bits: 1 << bits - 1, running=RUNNING
        ),
        verify=lambda _flash: None,
        strict_elements=strict,
        requires_signature=signed,
    ).outcome()


@pytest.mark.parametrize(("name", "variant"), ELEMENTS)
def test_sub_elements_are_judged_by_a_strict_device_and_by_no_other(
    name: str, variant: str
) -> None:
    assert body_judged(name, variant, strict=False) == "activated"
    is_fine = name in (
        "element-reserved",
        "element-manufacturer",
        "signature-missing",
        "signature-foreign",
    )
    assert body_judged(name, variant, strict=True) == ("activated" if is_fine else "invalid")
    if name == "signature-missing":
        assert body_judged(name, variant, strict=True, signed=True) == "invalid"


def test_no_option_of_a_device_moves_a_row_that_the_sheet_does_not_leave_open() -> None:
    options: list[dict[str, Any]] = [
        {"allow_downgrade": True},
        {"resume": False},
        {"max_data_size": 32},
        {"announce_block_period": True},
        {"page_bytes": 500},
    ]
    moved: dict[str, set[str]] = {}
    for option in options:
        for name, variant in CASES:
            if name in ("size-cap", "newcomer", "cut-short", "beyond-64-kib"):
                continue  # the same rules, for longer
            outcome = Served(damaged(name, variant), name, **option).outcome()
            if outcome != fate(name, variant).device:
                moved.setdefault(name, set()).add(next(iter(option)))
    assert moved == {"version-older": {"allow_downgrade"}}


def test_a_file_of_sub_elements_that_is_right_is_taken_by_a_strict_device() -> None:
    image = build_image(original().header, join_elements([(0, bytes(500))]))
    served = Served(image.data, verify=lambda _flash: None, strict_elements=True)
    assert served.outcome() == "activated"
    raw = Served(original().data, strict_elements=True)
    assert raw.outcome() == "invalid"


def test_what_the_maker_made_is_told_apart_from_what_was_damaged_later() -> None:
    for name, variant in CASES:
        data = damaged(name, variant)
        if name in BY_THE_MAKER and (name, variant) != ("tail", "small"):
            assert verify_maker(data, KEY) is None, name
        else:
            assert verify_maker(data, KEY) is not None, name
    assert verify_maker(original().data, KEY) is None
    assert original().header.file_version == NEW
