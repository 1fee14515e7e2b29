"""A hub and a device that run on emulated sticks, and power that goes and comes back to each.

Everything is the real part: `Hub` on zigpy, `Device` on bellows, their sticks, the air, GBCS; the
DSP's end is an ACB that repeats an offer until the hub has said that it was stored. What is checked
in the end are the invariants I1 to I8 of the reliability sheet, as far as one home has them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from bench_support import HUB_EUI64, Bench, House, house, of_kind
from ota_rig import OLD, make_image
from power_rig import Alerts, Scenario
from wan_rig import EPOCH, identity

from emulator.devices.device import DeviceLost, DeviceUp
from emulator.devices.flash import Flash, FlashContents, Slot
from emulator.devices.gbcs_half import GbcsMemory
from emulator.devices.hub import DeviceTunnel, HubLost
from emulator.devices.mains import Fall, Mains
from emulator.devices.nonvolatile import Cut
from emulator.devices.ota_rules import OtaClientParameters
from emulator.devices.ota_server import OtaServerParameters, TransferOutcome
from emulator.devices.tunnel import TunnelUp
from emulator.medium.faults import AirFault, Duplicate, Loss
from emulator.ncp.line_faults import RESET_POWER_ON
from emulator.ncp.ncp import Ncp
from emulator.zigbee import nwk
from emulator.zigbee.ota import WAIT_FOR_UPGRADE_COMMAND
from gbcs.firmware import FirmwareActivation, FirmwareTransfer
from gbcs.wan import (
    DeliveryOutcome,
    DeliveryResult,
    ImageOffer,
    MessageFromDevice,
    parse_message,
    serialise,
)

EUI64 = 0x02484E4200000010
OFF_S = 30.0
RESEND_S = 90.0  # of an offer that the hub did not acknowledge
RELEASE_S = 400.0
PATIENCE_S = 700.0  # after the last thing expected: twice a device's query interval
LIMIT_S = 4 * 3600.0


def switch(stick: Ncp, is_on: bool) -> None:
    """The power of a stick."""
    if is_on:
        stick.restart(RESET_POWER_ON)
    else:
        stick.restart(RESET_POWER_ON, None)


class RunningHome:
    """One update, or two, of one device; cuts are counted from when hub and device were new."""

    def __init__(
        self,
        bench: Bench,
        scenario: Scenario,
        size_bytes: int,
        *,
        device_cuts: Sequence[Cut] = (),
        hub_cuts: Sequence[Cut] = (),
    ) -> None:
        self.bench = bench
        self.scenario = scenario
        self.images = {one: make_image(size_bytes, version=one) for one in scenario.versions}
        self.known = {image.sha256: image for image in self.images.values()}
        self.alerts = Alerts(HUB_EUI64, EUI64)
        self.home: House
        self.told: list[tuple[str, str, str]] = []
        self.lost: list[str] = []
        self.problems: list[dict[str, Any]] = []
        self.mains = {
            "hub": self._mains("hub", hub_cuts),
            "device": self._mains("device", device_cuts),
        }
        self._asked = 0
        self._stored: set[int] = set()
        self._is_released = False
        bench.loop.set_exception_handler(lambda _loop, context: self.problems.append(context))

    def _mains(self, name: str, cuts: Sequence[Cut]) -> Mains:
        stick = "hub" if name == "hub" else f"device-{EUI64:X}"
        return Mains(
            name,
            [Fall(OFF_S, cut) for cut in cuts],
            switch=lambda is_on: switch(self.bench.sticks[stick], is_on),
            on_event=lambda kind, detail: self.told.append((name, kind, detail)),
            on_lost=self.lost.append,
        )

    # -- a home as an update finds it ----------------------------------------------------------

    async def build(self) -> None:
        scenario, bench = self.scenario, self.bench
        wait = WAIT_FOR_UPGRADE_COMMAND if scenario.is_deferred else 0
        supply = self.mains["hub"].supply
        self.home = await house(
            bench,
            parameters=OtaServerParameters(upgrade_time_s=wait),
            identity=identity,
            memory=GbcsMemory(power=supply),
            wan=self.hear,
            utc_now=self.utc_now,
            power=supply,
        )
        self.mains["hub"].feed(self.home.hub, self.home.hub.stop)
        supply = self.mains["device"].supply
        device = await self.home.add(
            EUI64,
            contents=FlashContents.factory(OLD),
            parameters=OtaClientParameters(max_errors=1000, hold_retry_s=300.0),
            verify=self._verify,
            identity=identity,
            memory=GbcsMemory(power=supply),
            utc_now=self.utc_now,
            new_image_hangs=scenario.hangs,
            power=supply,
        )
        self.mains["device"].feed(device, device.power_off)
        for mains in self.mains.values():
            bench.closing(mains.close)
        await bench.until(lambda: of_kind(self._tunnel_outputs(), TunnelUp), 600)

    def _tunnel_outputs(self) -> list[object]:
        return [one.output for one in self.home.told(DeviceTunnel)]

    def utc_now(self) -> Any:
        return EPOCH + timedelta(seconds=self.bench.loop.time())

    def _verify(self, flash: Flash) -> str | None:
        data = flash.read(Slot.SPARE)
        if hashlib.sha256(data).hexdigest() not in self.known:
            self.alerts.oddities.append("a mixed image was complete")
        return "the maker did not sign it" if self.scenario.is_bad else None

    # -- the DSP's end -------------------------------------------------------------------------

    def hear(self, octets: bytes) -> None:
        """What the hub sends."""
        match parse_message(octets):
            case DeliveryOutcome(result=DeliveryResult.DELIVERED) as outcome:
                self._stored.add(outcome.reference)
            case MessageFromDevice() as message:
                match self.alerts.take(message.frame):
                    case FirmwareTransfer() if self.scenario.is_deferred:
                        self.bench.loop.call_later(RELEASE_S, self._release)
                    case FirmwareActivation():
                        if len(self.alerts.activations) < len(self.scenario.versions):
                            self._asked = len(self.alerts.activations)
                            self.bench.loop.call_later(10.0, self.ask)

    def ask(self) -> None:
        """The next update; the same request until the hub says that it has stored the image."""
        reference = self._asked + 1
        if reference in self._stored:
            return
        image = self.images[self.scenario.versions[self._asked]]
        self.home.hub.deliver(serialise(ImageOffer(HUB_EUI64, reference, (EUI64,), image.data)))
        self.bench.loop.call_later(RESEND_S, self.ask)

    def _release(self) -> None:
        if self._is_released:
            return
        if self.mains["hub"].is_on and EUI64 in self.home.hub.device_log:
            self.home.hub.release(EUI64)
            self._is_released = self.mains["hub"].is_on
        self.bench.loop.call_later(RESEND_S, self._release)

    def _cancel(self) -> None:
        """Half of the image is there, and the update is taken back; again until that is done."""
        firmware = self.home.devices[EUI64]._firmware
        hub, mains = self.home.hub, self.mains["hub"]
        is_half = firmware is not None and 2 * firmware.flash.written_bytes > self.size_bytes
        self._is_half = getattr(self, "_is_half", False) or is_half
        if self._is_half and mains.is_on:
            hub.remove(EUI64)
            if mains.is_on:
                return
        self.bench.loop.call_later(0.5, self._cancel)

    @property
    def size_bytes(self) -> int:
        return len(next(iter(self.images.values())).data)

    # -- from the offer to the end -------------------------------------------------------------

    @property
    def has_all(self) -> bool:
        heard = len(self.alerts.transfers), len(self.alerts.activations)
        wanted = len(self.scenario.transfers), len(self.scenario.activations)
        if heard < wanted or not all(mains.is_on for mains in self.mains.values()):
            return False
        firmware = self.home.devices[EUI64]._firmware
        if firmware is None or firmware.flash.is_on_trial:
            return False
        memories = self.home.hub.memory, self.home.devices[EUI64].build.memory
        return not any(memory.outbox for memory in memories)

    async def run(self) -> None:
        """Until everything expected is there, and for a while after it."""
        scenario = self.scenario
        faults: tuple[AirFault, ...] = ()
        if scenario.loss:
            faults = (Loss(scenario.loss),)
        elif scenario.repeat:
            faults = (Duplicate(scenario.repeat),)
        self.bench.medium.set_faults(faults)
        self.ask()
        if scenario.is_cancelled:
            self._cancel()
        end_s = self.bench.loop.time() + LIMIT_S
        while not self.has_all:
            assert self.bench.loop.time() < end_s, f"{scenario.name}: {self.alerts} {self.told}"
            await asyncio.sleep(0.5)
        await asyncio.sleep(PATIENCE_S)

    def check(self) -> None:
        """I1 to I7, of all that was seen."""
        self.alerts.check(self.scenario)  # I1, I3, I4, and of I5 and I6 what GBCS has
        for up in self.home.told_by(EUI64, DeviceUp):  # I2
            if up.file_version == OLD:
                assert up.sha256 is None
            else:
                assert self.known[up.sha256].header.file_version == up.file_version
        build = self.home.devices[EUI64].build
        flash = Flash(build.contents)
        assert flash.running.file_version == self.scenario.runs
        if flash.running.sha256 is not None:
            assert flash.read(Slot.RUNNING) == self.known[flash.running.sha256].data
        outcomes = {one.number: one for one in self.home.told(TransferOutcome)}
        assert len(outcomes) == len(self.scenario.transfers)
        self.check_counters()
        assert self.problems == []  # I7
        assert self.lost == []
        assert self.home.told(HubLost) == self.home.told_by(EUI64, DeviceLost) == []

    def check_counters(self) -> None:
        """I5, I6: the NWK counters of each node only grow, and each is for one frame."""
        last: dict[int, tuple[int, bytes]] = {}
        for psdu in self.bench.frames:
            if psdu[0] & 0x07 != 1:  # MAC data
                continue
            body = psdu[9:-2]
            header = nwk.parse(body)
            if not header.secured:
                continue
            counter, source, _ = nwk.parse_auxiliary(body, header.header_octets)
            before, frame = last.get(source, (-1, b""))
            # The MAC sends a frame again as it is; anything else has a counter of its own.
            assert counter > before or (counter == before and frame == psdu[3:]), f"{source:016X}"
            last[source] = counter, psdu[3:]
