"""From a bench file to things that run: air, sticks, hub, devices, and the capture of the air.

Source: DESIGN, "The one seam" and "Time and chance". This is the only place that knows both sides
of a serial URL: who emulates a stick, and who opens it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from emulator.devices.bridge import BRIDGE_1, BRIDGE_2
from emulator.devices.device import (
    Device,
    DeviceBuild,
    DeviceEvent,
    DeviceLost,
    HanToJoin,
    MakeNode,
)
from emulator.devices.ezsp_node import EzspNode
from emulator.devices.flash import Flash, FlashContents, PagePool, Slot
from emulator.devices.gbcs_half import GbcsMemory
from emulator.devices.hub import Hub, HubEvent, HubLost
from emulator.devices.models import DeviceModel, without_tunnel
from emulator.devices.node import NetworkSettings, Role
from emulator.devices.ppmid import PPMID
from emulator.devices.signal_counts import Signal
from emulator.devices.zigpy_node import ZigpyNode
from emulator.medium.air import Medium
from emulator.medium.pcapng import PcapngWriter, TraceHash
from emulator.medium.timing import Scheduler
from emulator.ncp.ezsp import LQI, RSSI_DBM
from emulator.ncp.memory import MemoryLines
from emulator.ncp.ncp import Ncp
from emulator.zigbee.security import install_code_key
from emulator.zigbee.state import StackState
from firmware_images.header import MAX_HEADER_OCTETS
from firmware_images.samples import identity, verify_maker
from hil.bench_file import EMULATED, HUB, Bench
from hil.bench_file import Device as DeviceEntry
from hil.dcc import Dcc
from hil.dut import DeviceUnderTest
from hil.errors import BenchBroke, RequestError
from hil.evidence import Evidence
from hil.fault_wiring import apply_faults, battery_lows, require_frames, struck
from hil.host_capture import HostCapture
from hil.images import DeviceImage
from hil.ota_options import server_parameters
from hil.ota_tap import Tap, TappedNode
from hil.power_wiring import Grid
from hil.radio_options import CHANNEL
from hil.seeds import Seeds

ANOTHER_HUB = "hub-2"
# Locally administered: no manufacturer's devices can have these addresses.
_EUI64_PREFIX = 0x02484E42 << 32

MODELS: dict[str, DeviceModel] = {model.kind: model for model in (PPMID, BRIDGE_1, BRIDGE_2)}


def require_buildable(bench: Bench) -> None:
    """Raises RequestError for a device that cannot be built, before a run has anything to close."""
    for entry in bench.devices:
        if entry.kind not in MODELS and not entry.dut:
            raise RequestError(
                f"{entry.id}: a {entry.kind} is not emulated yet, only {', '.join(MODELS)}"
            )
    require_frames(bench.faults, bench.ezsp)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a run, for whoever asks for them with `--with-keys`."""

    network_key: bytes
    link_keys: dict[str, bytes]

    def wireshark(self) -> str:
        """Wireshark's `zigbee_pc_keys` table."""
        rows = {"network": self.network_key} | {
            f"link {name}": key for name, key in self.link_keys.items()
        }
        return "".join(f'"{key.hex()}","Normal","{label}"\n' for label, key in rows.items())

    def __repr__(self) -> str:  # keys never reach a log
        return "Keys(…)"


class Air:
    """The emulated air of one run, its sticks, and what a sniffer beside them would capture."""

    def __init__(self, bench: Bench, seeds: Seeds, clock: Scheduler, evidence: Evidence) -> None:
        self._seeds = seeds
        self._clock = clock
        self._ezsp_version = bench.ezsp
        self.sticks: dict[str, Ncp] = {}
        self.trace = TraceHash()
        epoch_us = round(bench.epoch.timestamp() * 1e6)
        writer = PcapngWriter(evidence.open_binary("air.pcapng").write)

        def capture(start_us: int, channel: int, psdu: bytes, comment: str) -> None:
            self.trace.update(start_us, psdu)
            writer.frame(
                start_us,
                psdu,
                channel=channel,
                rssi_dbm=RSSI_DBM,
                lqi=LQI,
                epoch_us=epoch_us,
                comment=comment,
            )

        self.medium = Medium(clock, seeds.stream("air").getrandbits, capture=capture)
        self._lines = MemoryLines(f"run-{id(self):x}", clock)

    def stick(self, name: str) -> str:
        """Plug in an emulated stick; its URL."""
        eui64 = _EUI64_PREFIX | int.from_bytes(self._seeds.derive(f"EUI-64 {name}", 4), "big")
        ncp = Ncp(
            name,
            StackState(eui64).to_json(),
            self.medium,
            self._clock,
            self._seeds.stream(f"stick {name}").getrandbits,
            ezsp_version=self._ezsp_version,
        )
        self.sticks[name] = ncp
        return self._lines.add(name, ncp)

    def close(self) -> None:
        """Pull all sticks out."""
        self._lines.close()
        for stick in self.sticks.values():
            stick.close()
        self.medium.close()


class Wiring:
    """Everything of one run that has to be switched off at its end."""

    def __init__(
        self,
        bench: Bench,
        images: dict[str, DeviceImage],
        clock: Scheduler,
        evidence: Evidence,
        dcc: Dcc,
        *,
        utc_now: Callable[[], datetime],
        on_hub_event: Callable[[HubEvent], object],
        on_device_event: Callable[[str, DeviceEvent], object],
        on_power: Callable[[str, str, str], object],
        on_action: Callable[[str, str, str], object],
        take_over: bool = False,
        channel: int = CHANNEL,
        tap: Tap | None = None,
    ) -> None:
        seeds = Seeds(bench.seed)
        emulated = bench.hub.radio == EMULATED
        self.air = Air(bench, seeds, clock, evidence) if emulated else None
        self._faults = bench.faults
        self._clock = clock
        sticks = {} if self.air is None else self.air.sticks
        self.grid = Grid(bench.faults, sticks, on_power, partial(self._lost, on_hub_event))
        self._on_device_event = on_device_event
        self._seeds = seeds
        self.settings = NetworkSettings(
            channel,
            seeds.pan_id(),
            int.from_bytes(seeds.extended_pan_id(), "big"),
            seeds.network_key(),
            seeds.derive("trust centre seed", 16),
        )
        host = None
        if not emulated and bench.real_radios.sniffer is None:
            host = HostCapture(evidence, clock, self.settings, epoch=bench.epoch)
        self._make_hub = partial(
            Hub,
            make_node=self._make_hub_node(tap, host, take_over=take_over or emulated),
            on_event=on_hub_event,
            image_limit_bytes=_slot_bytes(bench),
            parameters=server_parameters(bench.hub),
            identity=dcc.identity,
            wan=dcc.deliver,
            utc_now=utc_now,
        )
        power = self.grid.power(HUB)
        self.hub = self._make_hub(
            self._radio(HUB, bench.hub.radio), memory=GbcsMemory(power=power), power=power
        )
        self.install_codes = {
            entry.id: entry.install_code or seeds.derive(f"install code {entry.id}", 16)
            for entry in bench.devices
        }
        pool = PagePool()
        han = HanToJoin(channel, self.settings.extended_pan_id)
        self.devices: dict[str, Device] = {}
        self.duts = {
            entry.id: DeviceUnderTest(entry, partial(on_action, entry.id))
            for entry in bench.devices
            if entry.dut
        }
        for entry in bench.devices:
            if entry.dut:
                continue
            build = self._build(entry, images[entry.id], _slot_bytes(bench), seeds)
            build.identity, build.utc_now = dcc.identity, utc_now
            self.devices[entry.id] = Device(
                build,
                han,
                pool,
                partial(EzspNode, take_over=take_over or emulated, role=Role(entry.role)),
                partial(on_device_event, entry.id),
            )
        if self.air is not None:
            of_sticks = [fault for fault in bench.faults if fault.subject != "product"]
            apply_faults(of_sticks, self.air.medium, self.air.sticks)
        self.keys = Keys(
            self.settings.network_key,
            {name: install_code_key(code) for name, code in self.install_codes.items()},
        )

    @staticmethod
    def _make_hub_node(tap: Tap | None, host: HostCapture | None, *, take_over: bool) -> MakeNode:
        node = ZigpyNode if tap is None else partial(TappedNode, tap=tap)
        return partial(
            node, take_over=take_over, on_host_message=None if host is None else host.take
        )

    def signals(self) -> dict[str, Signal | None]:
        """How well the radios have heard."""
        devices = {name: device.signal() for name, device in self.devices.items()}
        return {HUB: self.hub.node.signal(), **devices}

    def struck(self) -> dict[str, int]:
        """How often the faults of air and sticks have struck, by their words."""
        if self.air is None:
            return {}
        return struck(self._faults, self.air.medium, self.air.sticks)

    async def swap_hub(self) -> None:
        """Take the hub and its stick away for good. Another is there then, out of its box: with a
        stick, a network and keys of its own. Raises RequestError where that cannot be."""
        if self.air is None or any(fault.on == HUB for fault in self._faults):
            raise RequestError("only an emulated hub whose power stays on is swapped for another")
        await self.hub.stop()
        self.grid.switch(HUB, False)
        self.settings = replace(
            self.settings,
            pan_id=self._seeds.pan_id(ANOTHER_HUB),
            extended_pan_id=int.from_bytes(self._seeds.extended_pan_id(ANOTHER_HUB), "big"),
            network_key=self._seeds.network_key(ANOTHER_HUB),
            trust_center_seed=self._seeds.derive(f"trust centre seed {ANOTHER_HUB}", 16),
        )
        self.hub = self._make_hub(self.air.stick(ANOTHER_HUB))

    def hub_runs(self) -> None:
        """The hub has formed its network."""
        self.grid.begun(HUB, self.hub, self.hub.stop)

    def device_runs(self, device_id: str) -> None:
        """A device has begun to join."""
        device = self.devices[device_id]
        self.grid.begun(device_id, device, device.power_off)

    def _lost(self, on_hub_event: Callable[[HubEvent], object], name: str, reason: str) -> None:
        """Somebody whose power is back does not start."""
        if name == HUB:
            on_hub_event(HubLost(reason))
        else:
            self._on_device_event(name, DeviceLost(reason))

    def _is_battery_low(self, device_id: str) -> Callable[[], bool] | None:
        lows = battery_lows(self._faults, device_id)
        if not lows:
            return None
        clock = self._clock
        return lambda: any(start <= clock.now_us() / 1e6 < end for start, end in lows)

    def _radio(self, name: str, radio: str) -> str:
        return self.air.stick(name) if self.air is not None else radio

    def _build(
        self, entry: DeviceEntry, image: DeviceImage, slot_bytes: int, seeds: Seeds
    ) -> DeviceBuild:
        model = MODELS[entry.kind] if entry.tunnel else without_tunnel(MODELS[entry.kind])
        product = identity(entry.kind)

        def verify(flash: Flash) -> str | None:
            if image.policy == "opaque":
                return None
            return verify_maker(flash.read(Slot.SPARE), image.maker)

        return DeviceBuild(
            entry.id,
            model,
            self._radio(entry.id, entry.radio),
            install_code_key(self.install_codes[entry.id]),
            product.manufacturer_code,
            product.image_type,
            product.hardware_version,
            verify,
            FlashContents.factory(image.factory_version),
            entry.client_parameters(),
            slot_size_bytes=slot_bytes,
            memory=GbcsMemory(power=self.grid.power(entry.id)),
            is_battery_low=self._is_battery_low(entry.id),
            power=self.grid.power(entry.id),
            random_bits=seeds.stream(f"device {entry.id}").getrandbits,
        )

    async def close(self) -> None:
        """Switch everything off."""
        for dut in self.duts.values():
            with contextlib.suppress(BenchBroke):  # its answer is in the evidence
                await dut.switch(False)
        await self.grid.close()
        for device in self.devices.values():
            await device.power_off()
        await self.hub.stop()
        if self.air is not None:
            self.air.close()


def _slot_bytes(bench: Bench) -> int:
    """How large a file a hub and a device have room for: what the limit allows, by itself."""
    limit = bench.limits.size_limit()
    return limit.limit_bytes + (MAX_HEADER_OCTETS if limit.scope == "body" else 0)


def quiet_hosts() -> None:
    """zigpy and bellows are not heard: what goes wrong is told in our own words, where theirs are
    a traceback for a line that was pulled out, and keys at their debug level."""
    for name in ("zigpy", "bellows"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
