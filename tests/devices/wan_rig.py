"""A house whose hub and devices have a GBCS half, and an ACB at the far end of its WAN."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from bench_support import HUB_EUI64, Bench, House, house, make_image, of_kind

from emulator.devices import tunnel
from emulator.devices.device import Device
from emulator.devices.gbcs_half import FrameDiscarded, GbcsIdentity, GbcsMemory
from emulator.devices.hub import DeviceJoined, DeviceTunnel
from firmware_images.image import FirmwareImage
from gbcs.acb import (
    AccessControlBroker,
    Alert,
    BrokerState,
    Outcome,
    Rejected,
    Response,
    User,
)
from gbcs.certificates import Certificate, CertificateStore, Role
from gbcs.codes import CS14_LOG_CHANGED
from gbcs.device_log import AddDeviceResult
from gbcs.endpoint import DeviceKeys, TrustCells
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError
from gbcs.firmware import FirmwareVersion
from gbcs.hub_log import DeviceLogChanged
from gbcs.protection import KeyUse, RandomBits
from gbcs.smki import (
    ACB_EUI64,
    BENCH_ORGANISATIONS,
    RECOVERY_EUI64,
    SUPPLIER_EUI64,
    Credential,
    Smki,
)
from gbcs.smki import issue_store as issue
from gbcs.wan import (
    CommandForDevice,
    DeliveryOutcome,
    DeliveryResult,
    DeviceLogEntry,
    DeviceType,
    ImageOffer,
    MessageFromDevice,
    WanMessage,
    parse_message,
    serialise,
)
from hil.seeds import Seeds

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
USER = User(SUPPLIER_EUI64, 1000)
SIGN, AGREE = KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT


def smki() -> Smki:
    return authorities(1)


@cache
def organisations() -> CertificateStore:
    """Certificates and keys of every organisation; not to be changed."""
    return issue(smki(), BENCH_ORGANISATIONS, ())


def identity(eui64: int) -> GbcsIdentity:
    """A device's or a hub's own keys and whom it trusts; new keys come from a stream of its own."""
    return GbcsIdentity(*_issued(eui64), Seeds(1).stream(f"device {eui64:016X}").getrandbits)


@cache
def _issued(eui64: int) -> tuple[DeviceKeys, TrustCells, tuple[Certificate, ...]]:
    mine = [smki().device(eui64, use) for use in (SIGN, AGREE)]
    keys = DeviceKeys(*(one.private_key for one in mine))
    held = organisations()
    cells = (held.certificate(ACB_EUI64, SIGN), held.certificate(ACB_EUI64, AGREE))
    assert cells[0] is not None
    assert cells[1] is not None
    recovery = held.certificate(RECOVERY_EUI64, SIGN)
    trust = TrustCells(cells[0], cells[1], recovery, smki().root.certificate)
    return keys, trust, tuple(one.certificate for one in mine)


def broker(*devices: int, eui64: int = ACB_EUI64) -> AccessControlBroker:
    """An organisation that knows these devices and acts as ACB."""
    keys = CertificateStore()
    for use in (SIGN, AGREE):
        certificate = organisations().certificate(eui64, use)
        assert certificate is not None
        keys.add(certificate, organisations().private_key(eui64, use))
        for device in devices:
            keys.add(smki().device(device, use).certificate)
    return AccessControlBroker(eui64, keys, BrokerState(1299))


class Premises:
    """A house with a DSP's end of the WAN: what came over it, and what the ACB made of it."""

    def __init__(self, bench: Bench, devices: tuple[int, ...]) -> None:
        self.bench = bench
        self.home: House
        self.acb = broker(HUB_EUI64, *devices)
        self.memories = {eui64: GbcsMemory() for eui64 in (HUB_EUI64, *devices)}
        self.from_hub: list[WanMessage] = []
        self.judged: list[Outcome] = []
        self.on_message: Callable[[], object] | None = None
        self._references = itertools.count(1)

    def utc_now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.bench.loop.time())

    def take(self, octets: bytes) -> None:
        """The DSP's end."""
        message = parse_message(octets)
        self.from_hub.append(message)
        if isinstance(message, MessageFromDevice):
            self.judged.append(self.acb.receive(message.frame))
        if self.on_message is not None:
            self.on_message()

    # -- from the DSP --------------------------------------------------------------------------

    def send(self, device: int, frame: bytes) -> int:
        """A command for a device or for the hub; its reference."""
        reference = next(self._references)
        self.deliver(CommandForDevice(HUB_EUI64, device, reference, frame))
        return reference

    def deliver(self, message: WanMessage) -> None:
        self.home.hub.deliver(serialise(message))

    def ccs01(self, device: int, code: bytes | None = None, timeout_s: int = 3600) -> int:
        code = install_code(device) if code is None else code
        return self.send(HUB_EUI64, self.acb.add_device(HUB_EUI64, device, code, timeout_s, USER))

    def name(self, device: int) -> None:
        self.deliver(DeviceLogEntry(HUB_EUI64, device, DeviceType.PPMID))

    def cs08(self, device: int) -> int:
        return self.send(device, self.acb.read_firmware_version(device, USER))

    def offer(self, image: FirmwareImage | bytes, *devices: int) -> int:
        reference = next(self._references)
        data = image if isinstance(image, bytes) else image.data
        self.deliver(ImageOffer(HUB_EUI64, reference, devices, data))
        return reference

    # -- what came back ------------------------------------------------------------------------

    def results(self, reference: int) -> dict[int, DeliveryResult]:
        return {
            one.device: one.result
            for one in of_kind(self.from_hub, DeliveryOutcome)
            if one.reference == reference
        }

    def result(self, reference: int) -> DeliveryResult | None:
        """Of a command: there is one at most."""
        told = [
            one for one in of_kind(self.from_hub, DeliveryOutcome) if one.reference == reference
        ]
        assert len(told) <= 1
        return told[0].result if told else None

    def frames(self, device: int) -> list[bytes]:
        """All but those about the device log."""
        messages = of_kind(self.from_hub, MessageFromDevice)
        return [
            one.frame for one in messages if one.device == device and not _is_log_alert(one.frame)
        ]

    def alerts(self, device: int) -> list[Any]:
        """Payloads of the verified alerts of a device or of the hub, but for the device log's."""
        told = [one.payload for one in of_kind(self.judged, Alert) if one.device == device]
        return [one for one in told if not isinstance(one, DeviceLogChanged)]

    def logs(self) -> list[DeviceLogChanged]:
        """What was told of the device log."""
        return of_kind([one.payload for one in of_kind(self.judged, Alert)], DeviceLogChanged)

    def rejected(self) -> list[Rejected]:
        return of_kind(self.judged, Rejected)

    def discarded(self, device: int) -> list[FrameDiscarded]:
        return self.home.told_by(device, FrameDiscarded)

    def tunnels(self, device: int) -> int:
        """How often a tunnel to the device came up."""
        told = [one.output for one in self.home.told(DeviceTunnel) if one.eui64 == device]
        return len(of_kind(told, tunnel.TunnelUp))

    async def answer(self, frame_of: int, before: int) -> Response:
        """The next verified response after `before` of them."""
        await self.bench.until(lambda: len(self.responses(frame_of)) > before, 60)
        response: Response = self.responses(frame_of)[before]
        return response

    def responses(self, device: int) -> list[Response]:
        return [one for one in of_kind(self.judged, Response) if one.device == device]

    async def version(self, device: int) -> FirmwareVersion:
        """What CS08 reads."""
        before = len(self.responses(device))
        self.cs08(device)
        payload = (await self.answer(device, before)).payload
        assert isinstance(payload, FirmwareVersion)
        return payload

    async def registered(
        self, device: int, code: bytes | None = None, timeout_s: int = 3600
    ) -> AddDeviceResult:
        """What CCS01 answers."""
        before = len(self.responses(HUB_EUI64))
        self.ccs01(device, code, timeout_s)
        payload = (await self.answer(HUB_EUI64, before)).payload
        assert isinstance(payload, AddDeviceResult)
        return payload

    # -- devices -------------------------------------------------------------------------------

    async def add(self, eui64: int, **changes: Any) -> Device:
        """A device, let in by the DSP, with its tunnel up."""
        self.name(eui64)
        assert (await self.registered(eui64)).succeeded
        device = await self.home.add(eui64, admit=False, **(self.gbcs_options(eui64) | changes))
        await self.bench.until(lambda: self.tunnels(eui64), 600)
        return device

    def gbcs_options(self, eui64: int) -> dict[str, Any]:
        return {
            "identity": identity,
            "memory": self.memories[eui64],
            "utc_now": self.utc_now,
        }

    async def updated(self, eui64: int, version: int) -> None:
        """Let the DSP update a device, until its CS09 is there."""
        image = make_image(4096, version=version)
        self.offer(image, eui64)
        await self.bench.until(lambda: self.alerts(eui64), 7200)


def _is_log_alert(octets: bytes) -> bool:
    try:
        return parse_frame(octets).frame.message_code == CS14_LOG_CHANGED
    except GbcsError:
        return False


async def premises(bench: Bench, *devices: int, **options: Any) -> Premises:
    made = Premises(bench, devices)
    made.home = await house(
        bench,
        identity=identity,
        wan=made.take,
        utc_now=made.utc_now,
        memory=made.memories[HUB_EUI64],
        **options,
    )
    return made


def install_code(eui64: int) -> bytes:
    """The code whose key `bench_support.link_key` is."""
    return eui64.to_bytes(8, "big") * 2


def joined(home: House) -> set[int]:
    return {one.eui64 for one in home.told(DeviceJoined)}


# -- newer credentials of the ACB ----------------------------------------------------------


@cache
def newer_acb(use: KeyUse, *, authorities: int = 1, **changes: Any) -> Credential:
    """Another key pair of the ACB, or of whoever `changes` name, by the authorities of a seed."""
    old, new = Seeds(authorities), Seeds(2)

    def stream(name: str) -> RandomBits:
        return (old if "authority" in name else new).stream(name).getrandbits

    who = {"eui64": ACB_EUI64, "role": Role.ACCESS_CONTROL_BROKER} | changes
    return Smki(stream, EPOCH).organisation(use=use, **who)


def path(seed: int = 1) -> tuple[bytes, ...]:
    """What leads from the certificates of organisations to the root of a seed's authorities."""
    return (authorities(seed).issuing_authority.certificate.der,)


@cache
def authorities(seed: int) -> Smki:
    """The authorities of one SMKI."""
    seeds = Seeds(seed)
    return Smki(lambda name: seeds.stream(name).getrandbits, EPOCH)
