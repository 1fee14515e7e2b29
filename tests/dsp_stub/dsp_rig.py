"""A DSP with a hub's end of the SM WAN, a user's port for callbacks, and devices that can sign.

Everything is the real part: the database is a file, requests and callbacks go over HTTP, frames are
built by the devices' own half of GBCS. The hub is a list of what was delivered to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from dsp_stub import xml_signature
from dsp_stub.cpl import CplEntry, image_hash
from dsp_stub.desk import Desk, DspEvent
from dsp_stub.http import DspServer
from dsp_stub.inventory import Inventory
from dsp_stub.options import Codes, Options
from dsp_stub.requests import (
    Body,
    Request,
    RequestId,
    build_request,
    service_path,
    service_reference,
)
from dsp_stub.responses import DccAlertMessage, Response, ResponseMessage, parse_response
from dsp_stub.safe_xml import parse_xml
from dsp_stub.service import Dsp
from dsp_stub.smi import DeviceStatus, DeviceType, PpmidVariant, Premises, SmiDevice
from dsp_stub.store import Store
from dsp_stub.users import User, UserRole, Users
from firmware_images.image import FirmwareImage
from firmware_images.samples import identity, maker_key, seeded_image
from gbcs.certificates import Certificate, CertificateStore, Role
from gbcs.device_log import AddDevice, AddDeviceResult, parse_add_device
from gbcs.endpoint import (
    DeviceKeys,
    Endpoint,
    EndpointState,
    Reply,
    TrustCells,
    UseCase,
    add_device,
    read_firmware_version,
)
from gbcs.firmware import (
    ActivateImageResult,
    FirmwareActivation,
    TransferResult,
    build_firmware_activation,
    build_firmware_transfer,
    transfer_alert,
)
from gbcs.protection import KeyUse, PrivateKey
from gbcs.smki import ACB_EUI64, BENCH_ORGANISATIONS, SUPPLIER_EUI64, Organisation, Smki
from gbcs.wan import (
    CommandForDevice,
    DeliveryOutcome,
    DeliveryResult,
    DeviceLogEntry,
    ImageOffer,
    MessageFromDevice,
    WanMessage,
    parse_message,
    serialise,
)
from hil.seeds import Seeds

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
HUB, OTHER_HUB = 0x00DB1234567890A2, 0x00DB1234567891A2
GPF, ESME = 0x00DB1234567890A3, 0x00DB1234567890A0
PPMID, BRIDGE = 0x00DB1234567890A4, 0x00DB1234567890B1
STRANGER = 0x00DB1234567890FF
DISTRIBUTOR_EUI64 = 0x90B3D51F30020000
OTHER_SUPPLIER_EUI64 = 0x90B3D51F30030000
OTHER_USER_EUI64 = 0x90B3D51F30040000
OLD, NEW = 0x00010100, 0x00010200
INSTALL_CODE = bytes.fromhex("83FED3407A939723A5C639B26916D505")
SIGN_AND_XML = (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT, KeyUse.XML_SIGNATURE)
ORGANISATIONS = (
    *BENCH_ORGANISATIONS,
    Organisation(DISTRIBUTOR_EUI64, Role.NETWORK_OPERATOR, SIGN_AND_XML),
    Organisation(OTHER_SUPPLIER_EUI64, Role.SUPPLIER, SIGN_AND_XML),
    Organisation(OTHER_USER_EUI64, Role.SUPPLIER, SIGN_AND_XML),
)
ROLES = {
    SUPPLIER_EUI64: UserRole.IMPORT_SUPPLIER,
    OTHER_SUPPLIER_EUI64: UserRole.IMPORT_SUPPLIER,
    DISTRIBUTOR_EUI64: UserRole.ELECTRICITY_DISTRIBUTOR,
}


@cache
def smki() -> Smki:
    seeds = Seeds(1)
    return Smki(lambda name: seeds.stream(name).getrandbits, EPOCH)


@cache
def organisation(eui64: int, use: KeyUse) -> tuple[Certificate, PrivateKey]:
    role = next(party.role for party in ORGANISATIONS if party.eui64 == eui64)
    credential = smki().organisation(eui64, role, use)
    return credential.certificate, credential.private_key


@cache
def device_keys(eui64: int) -> tuple[DeviceKeys, tuple[Certificate, Certificate]]:
    signing = smki().device(eui64, KeyUse.DIGITAL_SIGNATURE)
    agreement = smki().device(eui64, KeyUse.KEY_AGREEMENT)
    keys = DeviceKeys(signing.private_key, agreement.private_key)
    return keys, (signing.certificate, agreement.certificate)


def dsp_keys(devices: tuple[int, ...]) -> CertificateStore:
    keys = CertificateStore()
    for use in SIGN_AND_XML:
        certificate, key = organisation(ACB_EUI64, use)
        keys.add(certificate, key)
    for eui64 in devices:
        for certificate in device_keys(eui64)[1]:
            keys.add(certificate)
    return keys


class Device:
    """A device's GBCS half, or a hub's, with what it was asked to let in."""

    def __init__(self, eui64: int, version: int | None = OLD, counter: int = 5000) -> None:
        self.eui64 = eui64
        self.version = version
        self.log_result = AddDeviceResult
        signing = organisation(ACB_EUI64, KeyUse.DIGITAL_SIGNATURE)[0]
        agreement = organisation(ACB_EUI64, KeyUse.KEY_AGREEMENT)[0]
        self.endpoint = Endpoint(
            eui64,
            device_keys(eui64)[0],
            TrustCells(signing, agreement),
            EndpointState(counter),
            (read_firmware_version(lambda: self.version), add_device(self._register)),
        )

    def _register(self, command: AddDevice) -> AddDeviceResult:
        return self.log_result(command.invoke_id)

    def answer(self, frame: bytes) -> bytes:
        (reply,) = self.endpoint.receive(frame, EPOCH)
        assert isinstance(reply, Reply)
        return reply.frame

    def activated(self, version: int = NEW, result: int = 0, time: datetime = EPOCH) -> bytes:
        payload = build_firmware_activation(
            FirmwareActivation(time, version, ActivateImageResult(result))
        )
        return self.endpoint.alert(0x012B, payload)

    def transferred(self, device: int, result: TransferResult, version: int = NEW) -> bytes:
        payload = build_firmware_transfer(transfer_alert(device, version, result, EPOCH))
        return self.endpoint.alert(0x0128, payload)


class WanEnd:
    """What reached a hub."""

    def __init__(self) -> None:
        self.messages: list[WanMessage] = []

    def deliver(self, message: bytes) -> None:
        self.messages.append(parse_message(message))

    def take(self, kind: type[Any]) -> Any:
        """The only message of this kind, which is then gone."""
        (found,) = [one for one in self.messages if isinstance(one, kind)]
        self.messages.remove(found)
        return found


def made_image(kind: str = "ppmid", version: int = NEW, size_bytes: int = 2048) -> FirmwareImage:
    seeds = Seeds(1)
    return seeded_image(
        identity(kind),
        file_version=version,
        size_bytes=size_bytes,
        random_bits=seeds.stream(f"image {kind}").getrandbits,
        maker_key=maker_key(seeds.stream("maker").getrandbits),
    )


def smi_device(device_id: int, kind: str = "ppmid", **changes: Any) -> SmiDevice:
    product = identity(kind)
    variants = {"ppmid": PpmidVariant.PPMID, "bridge-1": PpmidVariant.BRIDGE_1}
    fields: dict[str, Any] = {
        "device_id": device_id,
        "device_type": DeviceType.PPMID,
        "status": DeviceStatus.WHITELISTED,
        "manufacturer": f"{product.manufacturer_code:04X}",
        "model": product.model,
        "firmware_version": f"{OLD:08X}",
        "smets_chts_version": "PPMIDTS V4.4",
        "gbcs_version": "4.1",
        "ppmid_variant": variants[kind],
        "chf": HUB,
        "premises": 1,
    }
    return SmiDevice(**(fields | changes))


def cpl_entry(kind: str, version: int, image: FirmwareImage | None = None) -> CplEntry:
    product = identity(kind)
    return CplEntry(
        device_type=DeviceType.PPMID,
        manufacturer=f"{product.manufacturer_code:04X}",
        model=product.model,
        firmware_version=f"{version:08X}",
        smets_chts_version="PPMIDTS V4.4",
        gbcs_version="4.1",
        image_hash=None if image is None else image_hash(image),
    )


def found_as(store: Store, device_id: int, **columns: str | int | None) -> None:
    """A device is found in some state, however it came there."""
    if columns.get("status") == DeviceStatus.COMMISSIONED:
        columns.setdefault("date_commissioned", "2026-01-01")
    settings = ", ".join(f"{column} = ?" for column in columns)
    with store.transaction() as connection:
        connection.execute(
            f"UPDATE devices SET {settings} WHERE device_id = ? AND life = "
            "(SELECT MAX(life) FROM devices AS lives WHERE lives.device_id = devices.device_id)",
            (*columns.values(), f"{device_id:016X}"),
        )


class Rig:
    """One DSP, its server, its users' callbacks and its hubs."""

    def __init__(self, folder: Path | None, options: Options, codes: Codes) -> None:
        self.folder = folder
        self.options = options
        self.codes = codes
        self.now = EPOCH + timedelta(seconds=1)
        self.events: list[DspEvent] = []
        self.told: list[tuple[int, Response]] = []
        self.refuse_callbacks = 0
        self.wan = {HUB: WanEnd(), OTHER_HUB: WanEnd()}
        self.counter = 0
        self.url = ""
        self._told = asyncio.Condition()

    def open(self, callback: str | None) -> None:
        self.store = Store(None if self.folder is None else self.folder / "dsp.sqlite")
        users = Users(
            User(
                eui64,
                role,
                organisation(eui64, KeyUse.XML_SIGNATURE)[0],
                None if callback is None else f"{callback}/{eui64:016X}",
            )
            for eui64, role in ROLES.items()
        )
        devices = (HUB, OTHER_HUB, PPMID, BRIDGE)
        self.desk = Desk(self.store, users, dsp_keys(devices), ACB_EUI64, self.options, self.codes)
        self.dsp = Dsp(self.desk, self.events.append)
        self.server = DspServer(self.dsp, lambda: self.now)

    def furnish(self) -> None:
        """The premises as found, two devices on the hub, and the CPL of their products."""
        inventory = self.desk.inventory
        inventory.add_premises(
            Premises(id=1, uprn="123", import_mpxn="1312345678111", responsible=(SUPPLIER_EUI64,))
        )
        commissioned = {
            "status": DeviceStatus.COMMISSIONED,
            "manufacturer": "FFF0",
            "model": "00CF0101",
            "firmware_version": "00010000",
            "smets_chts_version": "CHTS V1.5",
            "gbcs_version": "4.1",
            "date_commissioned": "2026-01-01",
        }
        for device_id, device_type, further in (
            (HUB, DeviceType.CHF, {"associated_gpf": GPF, "premises": 1}),
            (GPF, DeviceType.GPF, {"chf": HUB, "premises": 1}),
            (OTHER_HUB, DeviceType.CHF, {}),
        ):
            inventory.add(
                SmiDevice(device_id=device_id, device_type=device_type, **commissioned, **further)
            )
        inventory.add(smi_device(PPMID))
        inventory.add(smi_device(BRIDGE, "bridge-1"))
        for kind in ("ppmid", "bridge-1"):
            self.desk.cpl.add(cpl_entry(kind, OLD))
            self.desk.cpl.add(cpl_entry(kind, NEW, made_image(kind)))

    def smi(self) -> list[SmiDevice]:
        return list(Inventory(self.store).all_devices())

    # -- a user's side -------------------------------------------------------------------------

    def request(
        self, service: str, body: Body, *, user: int = SUPPLIER_EUI64, target: int | None = None,
        counter: int | None = None, variant: int | None = None,
    ) -> bytes:  # fmt: skip
        """A signed request with the next counter."""
        self.counter += 1
        request_id = RequestId(
            user, ACB_EUI64 if target is None else target, counter or self.counter
        )
        if variant is None:
            variant = 8 if target is None else 1
        reference = service_reference(service)
        octets = build_request(Request(request_id, variant, reference, service, body))
        return sign(octets, user)

    async def post(self, octets: bytes, path: str | None = None) -> Response:
        """Post a request; the answer, which must be signed by the DSP."""
        if path is None:
            variant = parse_xml(octets).findtext(".//{*}CommandVariant")
            path = "/api/v1/serviceD" if variant == "8" else "/api/v1/serviceS"
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                self.url + path, data=octets, headers={"Content-Type": "application/xml"}
            ) as answer,
        ):
            assert answer.status == 200
            root = parse_xml(await answer.read())
        xml_signature.verify(root, _dsp_certificate)
        return parse_response(root)

    async def ask(self, service: str, body: Body, **how: Any) -> Response:
        return await self.post(self.request(service, body, **how))

    async def alert(self, kind: type[Any], count: int = 1) -> Any:
        """The DCC alert of this kind that a user was told; the `count`th of them."""
        return (await self._wait(lambda: self._alerts(kind), count))[count - 1]

    async def response(self, request_id: str) -> Response:
        """The response to a command."""
        found = await self._wait(
            lambda: [
                one
                for _, one in self.told
                if isinstance(one.message, ResponseMessage) and str(one.request_id) == request_id
            ],
            1,
        )
        return found[0]

    def _alerts(self, kind: type[Any]) -> list[Any]:
        return [
            one.message.alert
            for _, one in self.told
            if isinstance(one.message, DccAlertMessage) and isinstance(one.message.alert, kind)
        ]

    async def _wait(self, found: Callable[[], list[Any]], count: int) -> list[Any]:
        async with self._told, asyncio.timeout(20):
            await self._told.wait_for(lambda: len(found()) >= count)
        return found()

    async def quiet(self) -> None:
        """Wait until the DSP has told everything it has to tell."""
        async with asyncio.timeout(20):
            while self.server._senders:
                await asyncio.gather(*self.server._senders.values())

    async def take_callback(self, request: web.Request) -> web.Response:
        root = parse_xml(await request.read())
        if self.refuse_callbacks:
            self.refuse_callbacks -= 1
            return web.Response(status=503)
        xml_signature.verify(root, _dsp_certificate)
        async with self._told:
            self.told.append((int(request.match_info["user"], 16), parse_response(root)))
            self._told.notify_all()
        return web.Response()

    # -- a hub's side --------------------------------------------------------------------------

    def from_device(self, device: int, frame: bytes, hub: int = HUB) -> None:
        self.server.deliver(serialise(MessageFromDevice(hub, device, frame)))

    def take_offer(self, hub: int = HUB) -> ImageOffer:
        """The hub takes the image it was offered, and says so."""
        offer: ImageOffer = self.wan[hub].take(ImageOffer)
        for device in offer.devices:
            self.outcome(device, offer.reference, DeliveryResult.DELIVERED, hub)
        return offer

    def outcome(self, device: int, reference: int, result: DeliveryResult, hub: int = HUB) -> None:
        self.server.deliver(serialise(DeliveryOutcome(hub, device, reference, result)))


def _dsp_certificate(serial: int) -> Certificate | None:
    certificate = organisation(ACB_EUI64, KeyUse.XML_SIGNATURE)[0]
    return certificate if certificate.serial == serial else None


def sign(octets: bytes, user: int = SUPPLIER_EUI64) -> bytes:
    certificate, key = organisation(user, KeyUse.XML_SIGNATURE)
    return xml_signature.sign(octets, key, certificate)


@asynccontextmanager
async def running(
    folder: Path | None, options: Options | None = None, codes: Codes | None = None
) -> AsyncIterator[Rig]:
    """A furnished DSP on a port of its own; without a folder its database is in memory."""
    rig = Rig(folder, options or Options(), codes or Codes())
    application = web.Application()
    application.router.add_post("/{user}", rig.take_callback)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    rig.open(f"http://{host}:{port}")
    with rig.store.transaction():
        rig.furnish()
    rig.url = await rig.server.start("127.0.0.1", 0)
    for hub, end in rig.wan.items():
        rig.server.connect_hub(hub, end)
    try:
        yield rig
    finally:
        await rig.server.stop()
        await runner.cleanup()
        rig.store.close()


__all__ = [
    "CommandForDevice",
    "Device",
    "DeviceLogEntry",
    "Rig",
    "UseCase",
    "parse_add_device",
    "running",
    "service_path",
]
