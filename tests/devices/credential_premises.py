"""A house whose DSP is the real one, as far as the credentials of its bridge go: what the DCC does
of its own accord, over the air and back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from bench_support import HUB_EUI64, Bench, house
from wan_rig import AGREE, SIGN, Premises, identity, organisations, smki

from dsp_stub.desk import CredentialsTold, Desk, DspEvent, SecurityEvent
from dsp_stub.options import Options
from dsp_stub.service import Dsp
from dsp_stub.smi import DeviceStatus, DeviceType, PpmidVariant, SmiDevice
from dsp_stub.store import Store
from dsp_stub.users import Users
from emulator.devices.bridge import BRIDGE_1
from emulator.devices.device import Device
from emulator.devices.gbcs_half import GbcsMemory
from gbcs.certificates import Certificate, CertificateStore
from gbcs.certification_requests import CertificationRequest
from gbcs.envelope import parse_frame
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, RECOVERY_EUI64
from gbcs.trust import Credentials
from gbcs.wan import MessageFromDevice, parse_message

BRIDGE_EUI64 = 0x02484E4200000010


def dsp_keys(*devices: int) -> CertificateStore:
    """What a DSP begins with: everybody's certificates, and the private keys of the ACB."""
    keys = CertificateStore()
    for use in (SIGN, AGREE, KeyUse.XML_SIGNATURE):
        certificate = organisations().certificate(ACB_EUI64, use)
        assert certificate is not None
        keys.add(certificate, organisations().private_key(ACB_EUI64, use))
        for device in devices if use is not KeyUse.XML_SIGNATURE else ():
            keys.add(smki().device(device, use).certificate)
    recovery = organisations().certificate(RECOVERY_EUI64, SIGN)
    assert recovery is not None
    keys.add(recovery)
    return keys


def certify(request: CertificationRequest) -> Certificate:
    assert request.eui64 is not None
    assert request.use is not None
    name = f"smki device {request.eui64:016X} {request.use} again"
    return smki().certify(request.eui64, request.use, request.public_key, name)


def smi_rows() -> Iterator[SmiDevice]:
    common: dict[str, Any] = {
        "manufacturer": "121D",
        "firmware_version": "00010100",
        "gbcs_version": "4.1",
    }
    yield SmiDevice(
        device_id=HUB_EUI64, device_type=DeviceType.CHF, status=DeviceStatus.COMMISSIONED,
        model="00CF0101", smets_chts_version="CHTS V1.5",
        date_commissioned="2026-01-01", **common,
    )  # fmt: skip
    yield SmiDevice(
        device_id=BRIDGE_EUI64, device_type=DeviceType.PPMID, status=DeviceStatus.WHITELISTED,
        model="00840001", smets_chts_version="PPMIDTS V4.4", chf=HUB_EUI64,
        ppmid_variant=PpmidVariant.BRIDGE_1, **common,
    )  # fmt: skip


class CredentialPremises(Premises):
    """Messages of the bridge go to the DSP; those of the hub, which lets it in, to the rig."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, (BRIDGE_EUI64,))
        self.store = Store(None)
        self.events: list[DspEvent] = []
        self.lost: list[int] = []  # message codes of frames of the bridge that the WAN loses
        self.open_dsp()
        with self.store.transaction():
            for row in smi_rows():
                self.desk.inventory.add(row)

    def open_dsp(self) -> None:
        """A DSP that knows what its database tells it, and the certificates of the beginning."""
        self.desk = Desk(
            self.store,
            Users([]),
            dsp_keys(HUB_EUI64, BRIDGE_EUI64),
            ACB_EUI64,
            Options(response_timeout_s=120),
            certify=certify,
        )
        self.dsp = Dsp(self.desk, self.events.append)
        self.acb = self.desk.broker

    def take(self, octets: bytes) -> None:
        message = parse_message(octets)
        if message.device == HUB_EUI64:
            super().take(octets)
            return
        if isinstance(message, MessageFromDevice):
            code = parse_frame(message.frame).frame.message_code
            if code in self.lost:
                self.lost.remove(code)
                return
        self.from_hub.append(message)
        self.dsp.receive(octets, self.utc_now())
        self.pump()

    def pump(self) -> None:
        """Hand over what is due for the hub, and time out what is overdue."""
        now = self.utc_now()
        self.dsp.handle_timeout(now)
        while (delivery := self.dsp.next_for_hub(HUB_EUI64, now)) is not None:
            self.dsp.delivered(delivery)
            self.home.hub.deliver(delivery.body)

    def in_a_while(self, wait: timedelta) -> datetime:
        """A time of execution: a whole second."""
        return self.utc_now().replace(microsecond=0) + wait

    async def close(self) -> None:
        self.store.close()

    # -- what the DCC does ---------------------------------------------------------------------

    def order(self, call: Any, *arguments: Any, **options: Any) -> None:
        """`dsp.carry_out` for the bridge, now."""
        self.dsp.carry_out(call, BRIDGE_EUI64, *arguments, self.utc_now(), **options)
        self.pump()

    async def told(self, count: int, limit_s: float = 60.0) -> list[CredentialsTold]:
        """The first `count` things that became of orders; those asked for before are forgotten."""
        found: list[CredentialsTold] = []

        def there() -> bool:
            found[:] = [one for one in self.events if isinstance(one, CredentialsTold)]
            return len(found) >= count

        await self.bench.until(there, limit_s)
        self.events[:] = [one for one in self.events if not isinstance(one, CredentialsTold)]
        assert len(found) == count, found
        return found

    async def until_overdue(self) -> None:
        """Let the deadline of what is under way pass."""
        deadline = self.desk.orders.next_deadline()
        assert deadline is not None
        await self.bench.until(lambda: self.utc_now() > deadline, 100_000)
        self.pump()

    def refused(self) -> list[str]:
        """Why frames were refused by the DSP."""
        return [one.reason for one in self.events if isinstance(one, SecurityEvent)]

    # -- the bridge ----------------------------------------------------------------------------

    @property
    def bridge(self) -> Device:
        return self.home.devices[BRIDGE_EUI64]

    @property
    def credentials(self) -> Credentials:
        firmware = self.bridge._firmware
        assert firmware is not None
        assert firmware._gbcs is not None
        return firmware._gbcs._half._endpoint.credentials

    async def power_cycle(self) -> None:
        """The power goes; what comes back is built from the stored octets alone."""
        await self.bridge.power_off()
        memory = GbcsMemory.restarted(self.bridge.build.memory.record)
        self.bridge.build.memory = self.memories[BRIDGE_EUI64] = memory
        tunnels = self.tunnels(BRIDGE_EUI64)
        await self.bridge.power_on()
        self.bridge.begin()
        await self.bench.until(lambda: self.tunnels(BRIDGE_EUI64) > tunnels)


async def credential_premises(bench: Bench) -> CredentialPremises:
    """A hub, a bridge with its tunnel up, and the DSP."""
    made = CredentialPremises(bench)
    bench.closing(made.close)
    made.home = await house(
        bench,
        identity=identity,
        wan=made.take,
        utc_now=made.utc_now,
        memory=made.memories[HUB_EUI64],
    )
    await made.add(BRIDGE_EUI64, model=BRIDGE_1)
    return made
