"""Another hub for the house of `wan_rig`: its own stick, address and network, and the same ACB."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from bench_support import IMAGE_LIMIT_BYTES, SETTINGS, of_kind
from mains_rig import switch
from wan_rig import USER, Premises, broker, identity

from emulator.devices import tunnel
from emulator.devices.gbcs_half import GbcsMemory
from emulator.devices.hub import DeviceTunnel, Hub, HubEvent, HubStored
from emulator.devices.nonvolatile import STEADY, Power
from emulator.ncp.ncp import Ncp
from gbcs.acb import Alert, BrokerState, Outcome, Response
from gbcs.axdr import invoke_id
from gbcs.codes import CCS03_RESTORE_LOG
from gbcs.device_log import RESTORE_LOG, DlmsResult, LinkKeyHash, RestoreLog
from gbcs.firmware import FirmwareTransfer, TransferResult
from gbcs.hub_log import LogBackup
from gbcs.wan import (
    CommandForDevice,
    DeliveryOutcome,
    ImageOffer,
    MessageFromDevice,
    WanMessage,
    parse_message,
    serialise,
)

NEW_HUB = 0x02484E4200000002
OWN_NETWORK = 0x0222222222222222
NEW_SETTINGS = replace(
    SETTINGS, pan_id=0x2B73, extended_pan_id=OWN_NETWORK, network_key=bytes(range(0x90, 0xA0))
)


class Successor:
    """A hub out of its box, and a DSP's end of its WAN."""

    def __init__(self, there: Premises, *devices: int, power: Power = STEADY) -> None:
        self.bench = there.bench
        self.acb = broker(NEW_HUB, *devices)
        self.acb.state = BrokerState(9000)
        self.events: list[HubEvent] = []
        self.from_hub: list[WanMessage] = []
        self.judged: list[Outcome] = []
        self.memory, self.stored = GbcsMemory(power=power), HubStored()
        self._references = 100
        self.hub = Hub(
            self.bench.stick("hub-2", NEW_HUB),
            partial(self.bench.make_hub, take_over=False),
            self.events.append,
            image_limit_bytes=IMAGE_LIMIT_BYTES,
            identity=identity,
            memory=self.memory,
            stored=self.stored,
            wan=self.take,
            utc_now=there.utc_now,
            power=power,
        )
        self.bench.closing(self.hub.stop)

    def take(self, octets: bytes) -> None:
        message = parse_message(octets)
        self.from_hub.append(message)
        if isinstance(message, MessageFromDevice):
            self.judged.append(self.acb.receive(message.frame))

    def send(self, device: int, code: int, payload: bytes) -> None:
        frame = self.acb.command(code, device, payload, USER)
        self._references += 1
        message = CommandForDevice(NEW_HUB, device, self._references, frame)
        self.hub.deliver(serialise(message))

    async def ask(self, device: int, code: int, payload: bytes) -> Any:
        """A command, and what it is answered."""
        before = len(self.responses())
        self.send(device, code, payload)
        await self.bench.until(lambda: len(self.responses()) > before, 120)
        return self.responses()[before].payload

    def restoring(
        self, backup: LogBackup, network: int | None = None, more: tuple[LinkKeyHash, ...] = ()
    ) -> bytes:
        """The payload of CCS03."""
        number = invoke_id(self.acb.state.originator_counter + 1)
        wanted = backup.extended_pan_id if network is None else network
        return RESTORE_LOG.build(RestoreLog(number, wanted, backup.devices + more))

    async def restored(self, backup: LogBackup, **changes: Any) -> DlmsResult:
        """What CCS03 answers."""
        payload = self.restoring(backup, **changes)
        result: DlmsResult = (await self.ask(NEW_HUB, CCS03_RESTORE_LOG, payload)).restore_pan
        return result

    def offer(self, image: bytes, *devices: int, again: int | None = None) -> int:
        """An offer, or one with this reference once more."""
        self._references += again is None
        reference = self._references if again is None else again
        self.hub.deliver(serialise(ImageOffer(NEW_HUB, reference, devices, image)))
        return reference

    def results(self, reference: int) -> list[Any]:
        told = of_kind(self.from_hub, DeliveryOutcome)
        return [one.result for one in told if one.reference == reference]

    def transfers(self, device: int) -> list[TransferResult]:
        """What CCS08 said of a device."""
        told = [one.payload for one in of_kind(self.judged, Alert)]
        return [one.result for one in of_kind(told, FirmwareTransfer) if one.device == device]

    def responses(self) -> list[Response]:
        return of_kind(self.judged, Response)

    def told(self, *kinds: type) -> list[Any]:
        return of_kind(self.events, *kinds)

    def tunnels(self, device: int) -> int:
        told = [one.output for one in self.told(DeviceTunnel) if one.eui64 == device]
        return len(of_kind(told, tunnel.TunnelUp))


async def taken_away(there: Premises) -> None:
    """The old hub is switched off for good, and its stick with it."""
    await there.home.hub.stop()
    stick = there.bench.sticks["hub"]
    if isinstance(stick, Ncp):
        switch(stick, is_on=False)
    else:
        stick.close()
