"""Over all orders of requests, deliveries, alerts, responses, timeouts, repetitions and forgeries
the version in the inventory changes only after a verified 0x8F8B or CS08, and every update has one
end."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from dsp_rig import (
    BRIDGE,
    EPOCH,
    GPF,
    HUB,
    NEW,
    OLD,
    ORGANISATIONS,
    OTHER_HUB,
    PPMID,
    ROLES,
    Device,
    cpl_entry,
    dsp_keys,
    made_image,
    organisation,
    sign,
    smi_device,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dsp_stub.campaigns import CampaignState
from dsp_stub.desk import Desk
from dsp_stub.errors import DspValueError
from dsp_stub.options import Options
from dsp_stub.requests import (
    ReadFirmwareVersion,
    Request,
    RequestId,
    UpdatePpmidFirmware,
    build_request,
)
from dsp_stub.service import Dsp
from dsp_stub.smi import DeviceStatus, DeviceType, Premises
from dsp_stub.store import Store
from dsp_stub.updates import OPEN_STATES, TOLD_BY_N39
from dsp_stub.users import User, Users
from firmware_images.image import FirmwareImage
from gbcs.firmware import TransferResult
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64
from gbcs.wan import (
    CommandForDevice,
    DeliveryOutcome,
    DeliveryResult,
    ImageOffer,
    MessageFromDevice,
    WanMessage,
    parse_message,
    serialise,
)

EXAMPLES, STEPS = (1_000, 50) if os.environ.get("HANBENCH_MATRIX") == "full" else (40, 40)
KINDS = {PPMID: "ppmid", BRIDGE: "bridge-1"}
LISTED, UNLISTED = 0x00010300, 0x00010400  # versions that nobody sends
HOUR_S = 3600

devices = st.sampled_from(list(KINDS))
versions = st.sampled_from([OLD, NEW, LISTED, UNLISTED])


class LifeCycle(RuleBasedStateMachine):
    """One DSP, one hub, a PPMID and a bridge, and whoever forges."""

    octets: Any = Bundle("octets")  # what devices and hubs ever sent

    def __init__(self) -> None:
        super().__init__()
        self.now = EPOCH + timedelta(seconds=1)
        self.images: dict[int, FirmwareImage] = {
            device: made_image(kind) for device, kind in KINDS.items()
        }
        users = Users(
            User(eui64, role, organisation(eui64, KeyUse.XML_SIGNATURE)[0], "http://nobody/")
            for eui64, role in ROLES.items()
        )
        assert ORGANISATIONS
        options = Options(in_progress_timeout_s=4 * HOUR_S, response_timeout_s=HOUR_S)
        self.store = Store(None)
        self.desk = Desk(self.store, users, dsp_keys((HUB, *KINDS)), ACB_EUI64, options)
        self.dsp = Dsp(self.desk)
        self.devices = {device: Device(device) for device in KINDS}
        self.hub = Device(HUB, counter=4000)
        self.offers: list[ImageOffer] = []
        self.commands: list[CommandForDevice] = []
        self.counter = 0
        self.ended: dict[tuple[str, int], str] = {}
        # What the last message proved: a device, and the version it runs.
        self.proven: tuple[int, int] | None = None
        self._furnish()
        self.known = {device: self._version(device) for device in KINDS}

    def _furnish(self) -> None:
        inventory = self.desk.inventory
        with self.store.transaction():
            inventory.add_premises(Premises(id=1, uprn="1", responsible=(SUPPLIER_EUI64,)))
            for hub in (HUB, OTHER_HUB):
                inventory.add(
                    smi_device(
                        hub,
                        device_type=DeviceType.CHF,
                        status=DeviceStatus.COMMISSIONED,
                        ppmid_variant=None,
                        associated_gpf=GPF,
                        date_commissioned="2026-01-01",
                        chf=None,
                    )
                )
            for device, kind in KINDS.items():
                inventory.add(smi_device(device, kind))
                for version, image in ((OLD, None), (LISTED, None), (NEW, self.images[device])):
                    self.desk.cpl.add(cpl_entry(kind, version, image))

    def _version(self, device: int) -> str | None:
        found = self.desk.inventory.get(device)
        assert found is not None
        return found.firmware_version

    def _alerts(self) -> int:
        """How many N39 wait for users, who take none."""
        (count,) = self.store.connection.execute(
            "SELECT COUNT(*) FROM outbox WHERE kind = 'callback' AND instr(body, ?)",
            (b"<sr:PPMIDAlert>",),
        ).fetchone()
        return int(count)

    def _receive(self, message: WanMessage | bytes, proven: tuple[int, int] | None = None) -> bytes:
        octets = message if isinstance(message, bytes) else serialise(message)
        self.proven = proven
        self.dsp.receive(octets, self.now)
        return octets

    def _ask(self, service: str, body: Any, target: int) -> str:
        self.counter += 1
        request_id = RequestId(SUPPLIER_EUI64, target, self.counter)
        variant, path = (8, "/api/v1/serviceD") if target == ACB_EUI64 else (1, "/api/v1/serviceS")
        octets = sign(build_request(Request(request_id, variant, service, service, body)))
        self.proven = None
        self.dsp.answer(path, octets, self.now)
        self._hand_over()
        return str(request_id)

    def _hand_over(self) -> None:
        while (delivery := self.dsp.next_for_hub(HUB, self.now)) is not None:
            match parse_message(delivery.body):
                case ImageOffer() as offer:
                    self.offers.append(offer)
                case CommandForDevice() as command:
                    self.commands.append(command)
            self.dsp.delivered(delivery)

    # -- the supplier and time -------------------------------------------------------------------

    @rule(device=devices)
    def ask_for_an_update(self, device: int) -> None:
        self.update(device)

    def update(self, device: int) -> None:
        body = UpdatePpmidFirmware(self.images[device].data, f"{NEW:08X}", (device,))
        busy = self.desk.updates.open_update(device) is not None
        request_id = self._ask("11.4", body, ACB_EUI64)
        assert bool(self.desk.updates.of_request(request_id)) is not busy

    @rule(target=octets, device=devices, version=versions, result=st.integers(0, 1))
    def update_to_its_end(self, device: int, version: int, result: int) -> bytes:
        """The long way in one step, so that what comes after an end is met often enough."""
        self.update(device)
        return self.cs09(device, version, result)

    @rule(device=devices)
    def read(self, device: int) -> None:
        self._ask("11.2", ReadFirmwareVersion(), device)

    @rule(hours=st.sampled_from([0.1, 0.6, 2, 5]))
    def wait(self, hours: float) -> None:
        self.proven = None
        self.now += timedelta(hours=hours)
        for _ in range(20):
            self.dsp.handle_timeout(self.now)
        self._hand_over()

    @precondition(lambda self: self.desk.campaigns.all())
    @rule()
    def cancel(self) -> None:
        self.proven = None
        newest = self.desk.campaigns.all()[-1]
        try:
            self.desk.campaigns.ask_for(newest.request_id, CampaignState.CANCELLING)
        except DspValueError:
            return
        while self.desk.campaigns.unfinished() is not None:
            self.dsp.handle_timeout(self.now)

    # -- the hub ---------------------------------------------------------------------------------

    @precondition(lambda self: self.offers)
    @rule(target=octets, result=st.sampled_from(DeliveryResult), keeps=st.booleans())
    def outcome(self, result: DeliveryResult, keeps: bool) -> Any:
        offer = self.offers[-1] if keeps else self.offers.pop()
        sent = [
            self._receive(DeliveryOutcome(HUB, device, offer.reference, result))
            for device in offer.devices
        ]
        self._hand_over()
        return multiple(*sent)

    @rule(target=octets, device=devices, result=st.sampled_from(TransferResult), version=versions)
    def ccs08(self, device: int, result: TransferResult, version: int) -> bytes:
        frame = self.hub.transferred(device, result, version)
        return self._receive(MessageFromDevice(HUB, HUB, frame))

    # -- devices ---------------------------------------------------------------------------------

    @rule(target=octets, device=devices, version=versions, result=st.integers(0, 1))
    def activate(self, device: int, version: int, result: int) -> bytes:
        return self.cs09(device, version, result)

    def cs09(self, device: int, version: int, result: int) -> bytes:
        frame = self.devices[device].activated(version, result)
        open_update = self.desk.updates.open_update(device)
        last, told = self.desk.updates.last(device), self._alerts()
        sent = self._receive(
            MessageFromDevice(HUB, device, frame), (device, version) if result == 0 else None
        )
        is_second = last is not None and last.state in TOLD_BY_N39
        assert self._alerts() == told + (not is_second), "one N39 for an update"
        if open_update is not None and (version, result) == (NEW, 0):
            assert self._version(device) == f"{NEW:08X}", "a true success is believed at once"
        return sent

    @precondition(lambda self: self.commands)
    @rule(target=octets, version=st.one_of(st.none(), versions), keeps=st.booleans())
    def cs08(self, version: int | None, keeps: bool) -> bytes:
        command = self.commands[-1] if keeps else self.commands.pop()
        device = self.devices[command.device]
        device.version = version
        waits = self.desk.commands.find(command.device, command.reference) is not None
        try:
            frame = device.answer(command.frame)
        except AssertionError:  # it has answered this one
            return b"HBWM"
        proven = (command.device, version) if waits and version is not None else None
        return self._receive(MessageFromDevice(HUB, command.device, frame), proven)

    # -- whoever repeats and forges --------------------------------------------------------------

    @rule(message=octets)
    def repeat(self, message: bytes) -> None:
        self._receive(message)

    @rule(device=devices, version=versions, bit=st.integers(0, 8 * 64 - 1))
    def forge_signature(self, device: int, version: int, bit: int) -> None:
        frame = bytearray(Device(device, counter=9_000_000).activated(version))
        frame[-1 - bit // 8] ^= 1 << bit % 8
        self._receive(MessageFromDevice(HUB, device, bytes(frame)))

    @rule(device=devices, version=versions)
    def pretend_to_be_another(self, device: int, version: int) -> None:
        other = BRIDGE if device == PPMID else PPMID
        impostor = Device(other, counter=9_000_000)
        impostor.endpoint._eui64 = device
        self._receive(MessageFromDevice(HUB, device, impostor.activated(version)))

    @rule(device=devices, version=versions)
    def come_by_another_hub(self, device: int, version: int) -> None:
        frame = Device(device, counter=9_000_000).activated(version)
        self._receive(MessageFromDevice(OTHER_HUB, device, frame))

    @precondition(lambda self: self.commands)
    @rule(bit=st.integers(0, 8 * 12 - 1), version=versions)
    def forge_mac(self, bit: int, version: int) -> None:
        command = self.commands[-1]
        forger = Device(command.device, version=version, counter=9_000_000)
        frame = bytearray(forger.answer(command.frame))
        frame[-1 - bit // 8] ^= 1 << bit % 8
        self._receive(MessageFromDevice(HUB, command.device, bytes(frame)))

    # -- what always holds -----------------------------------------------------------------------

    @invariant()
    def only_what_is_proven_is_in_the_inventory(self) -> None:
        for device in KINDS:
            version = self._version(device)
            if version != self.known[device]:
                assert self.proven == (device, int(version or "0", 16))
                self.known[device] = version
            assert version != f"{UNLISTED:08X}", "not on the CPL"

    @invariant()
    def every_update_ends_once_and_one_is_open_at_a_time(self) -> None:
        rows = self.store.connection.execute(
            "SELECT request_id, device, state, ended_at FROM updates"
        ).fetchall()
        keys = [(request_id, int(device, 16)) for request_id, device, _, _ in rows]
        assert len(set(keys)) == len(keys)
        for key, (_, _, state, ended_at) in zip(keys, rows, strict=True):
            is_open = state in OPEN_STATES
            assert (ended_at is None) is is_open
            assert self.ended.get(key, state) == state
            if not is_open:
                self.ended[key] = state
        for device in KINDS:
            assert sum(key[1] == device and key not in self.ended for key in keys) <= 1

    def teardown(self) -> None:
        self.store.close()


@pytest.mark.requirement("MP170-R6", "good", "bad")
@pytest.mark.requirement("MP170-R7", "good", "bad")
@pytest.mark.requirement("MP170-BUSY", "good")
def test_the_inventory_follows_nothing_but_what_a_device_proved() -> None:
    run_state_machine_as_test(
        LifeCycle,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None),
    )
