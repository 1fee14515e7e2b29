"""The DCC of a run: a test SMKI, a DSP over HTTP, the premises as found, and the supplier.

Source: DESIGN, "There and back": CHF, GPF and an ESME stand in the inventory as Commissioned rows
without radios; 12.2 and 8.11 run for the devices. Between DSP and hub only serialised messages
pass, and each is kept in the evidence. The database lies in a folder that goes with the run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from dsp_stub import credential_commands
from dsp_stub.campaigns import CampaignState
from dsp_stub.cpl import CplEntry, HashScope, image_hash
from dsp_stub.desk import CredentialsTold, Desk, DspEvent
from dsp_stub.http import DspServer
from dsp_stub.options import DATABASE_FILE
from dsp_stub.responses import Response
from dsp_stub.service import Dsp
from dsp_stub.smi import DeviceStatus, DeviceType, PpmidVariant, Premises, SmiDevice
from dsp_stub.store import Store
from dsp_stub.users import User, UserRole, Users
from emulator.devices.gbcs_half import GbcsIdentity
from firmware_images.image import FirmwareImage
from firmware_images.samples import PRODUCTS, ProductIdentity
from gbcs.certificates import Certificate, CertificateStore, Role
from gbcs.certification_requests import CertificationRequest
from gbcs.endpoint import DeviceKeys, TrustCells
from gbcs.protection import KeyStore, KeyUse, private_key_from
from gbcs.smki import (
    ACB_EUI64,
    BENCH_ORGANISATIONS,
    NETWORK_OPERATOR_EUI64,
    RECOVERY_EUI64,
    SUPPLIER_2_EUI64,
    SUPPLIER_EUI64,
    Credential,
    Smki,
    issue_store,
    key_id,
)
from gbcs.wan import DeviceLogEntry, Wan
from hil.bench_file import Bench, DeviceKind
from hil.duis_client import DuisUser
from hil.images import DeviceImage
from hil.records import Records, SeenFrame
from hil.seeds import Seeds
from hil.supplier import Supplier

LOOPBACK = "127.0.0.1"
GBCS_VERSION = "4.1"
PPMID_VERSION = "PPMIDTS V4.4"
VARIANTS: dict[DeviceKind, PpmidVariant] = {
    "ppmid": PpmidVariant.PPMID,
    "bridge-1": PpmidVariant.BRIDGE_1,
    "bridge-2": PpmidVariant.BRIDGE_2,
    "bridge-3": PpmidVariant.BRIDGE_3,
    "bridge-4": PpmidVariant.BRIDGE_4,
}
# Known to the DSP, and responsible for nothing here; without callbacks.
OTHER_USERS = {
    SUPPLIER_2_EUI64: UserRole.IMPORT_SUPPLIER,
    NETWORK_OPERATOR_EUI64: UserRole.ELECTRICITY_DISTRIBUTOR,
}
# Nobody's: the manufacturer of the hub and of the meter that are there on paper.
_FOUND_MANUFACTURER = "FFF0"
_PREMISES = 1

OnFrame = Callable[[SeenFrame], object]
# A device that is there before the first request: id, type, model, version, what else its row has.
_Found = tuple[int, DeviceType, str, str, dict[str, Any]]


class Dcc:
    """The DCC of one run; `records` is told of everything that crosses its interfaces."""

    def __init__(
        self,
        bench: Bench,
        seeds: Seeds,
        *,
        utc_now: Callable[[], datetime],
        hold: Callable[[], AbstractContextManager[None]],
        on_callback: Callable[[Response, int], object],
        on_refused: Callable[[str], object],
        on_event: Callable[[DspEvent], object],
        on_frame: OnFrame,
        on_log_entry: Callable[[DeviceLogEntry, str], object],
    ) -> None:
        self._bench = bench
        self._seeds = seeds
        self._utc_now = utc_now
        self._hold = hold
        self._on_callback = on_callback
        self._on_refused = on_refused
        self._on_event = on_event
        self._on_frame = on_frame
        self._on_log_entry = on_log_entry
        epoch = bench.epoch.replace(microsecond=0)
        self._smki = Smki(lambda name: seeds.stream(name).getrandbits, epoch)
        self._organisations = issue_store(self._smki, BENCH_ORGANISATIONS, ())
        self.keys = self._dsp_keys()
        self._folder = tempfile.TemporaryDirectory(prefix="hanbench-dsp-")
        self._store = Store(Path(self._folder.name) / DATABASE_FILE)
        self._server: DspServer | None = None
        self._desk: Desk | None = None
        self._renewals = 0
        self._records: Records | None = None

    # -- keys ----------------------------------------------------------------------------------

    def identity(self, eui64: int) -> GbcsIdentity:
        """A device's or the hub's GBCS keys and trust cells; its certificates become known."""
        keys, certificates = [], []
        for use in (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT):
            credential = self._smki.device(eui64, use)
            self.keys.add(credential.certificate)
            if self._records is not None:
                self._records.certificate(credential.certificate)
            keys.append(credential.private_key)
            certificates.append(credential.certificate)
        trust = TrustCells(
            self._certificate(ACB_EUI64, KeyUse.DIGITAL_SIGNATURE),
            self._certificate(ACB_EUI64, KeyUse.KEY_AGREEMENT),
            self._certificate(RECOVERY_EUI64, KeyUse.DIGITAL_SIGNATURE),
            self._smki.root.certificate,
        )
        random_bits = self._seeds.stream(f"device keys {eui64:016X}").getrandbits
        return GbcsIdentity(DeviceKeys(*keys), trust, tuple(certificates), random_bits)

    def _dsp_keys(self) -> CertificateStore:
        """Everybody's certificates, and the private keys of the ACB alone."""
        keys = CertificateStore()
        for organisation in BENCH_ORGANISATIONS:
            for use in organisation.uses:
                mine = organisation.eui64 == ACB_EUI64
                key = self._organisations.private_key(organisation.eui64, use) if mine else None
                keys.add(self._certificate(organisation.eui64, use), key, use=use)
        return keys

    def _certificate(self, eui64: int, use: KeyUse) -> Certificate:
        certificate = self._organisations.certificate(eui64, use)
        assert certificate is not None
        return certificate

    # -- credentials of devices ----------------------------------------------------------------

    def keys_of(self, device: int) -> KeyStore:
        """The keys that hold between the DSP and a device: after a replacement, not the first."""
        return self.keys if self._desk is None else self._desk.key_ring.of(device)

    def held(self, device: int) -> Mapping[str, Certificate]:
        """The certificates that took the place of a device's first ones, by their use."""
        return {} if self._desk is None else self._desk.key_ring.held(device)

    def read_cells(self, device: int) -> None:
        """Whom does it trust?"""
        self._carry_out(credential_commands.read_cells, device)

    def replace_acb_cells(
        self, device: int, *, execution: datetime | None = None, smki: Smki | None = None
    ) -> None:
        """New key pairs of the ACB, certified by the SMKI, for the cells of a device; by another
        `smki` than the run's own, to see them refused."""
        smki = smki or self._smki
        self._renewals += 1
        pairs = {}
        for use in (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT):
            name = f"acb {use} {self._renewals}"
            key = private_key_from(self._seeds.stream(f"{name} key").getrandbits)
            certificate = smki.certify_organisation(
                ACB_EUI64, Role.ACCESS_CONTROL_BROKER, use, key.public_key(), name
            )
            pairs[use] = Credential(certificate, key, use)
        path = (smki.issuing_authority.certificate.der,)
        self._carry_out(
            credential_commands.replace_acb_cells, device, pairs, path, execution=execution
        )

    def renew_key(self, device: int, use: KeyUse) -> None:
        """A new key pair of the device's own."""
        self._carry_out(credential_commands.renew_key, device, use)

    def release(self, request_id: str) -> None:
        """An operator lets a quarantined request go."""
        self._carry_out(
            lambda desk, _now: desk.campaigns.ask_for(request_id, CampaignState.RELEASED)
        )

    def _carry_out(self, call: Callable[..., None], *arguments: object, **options: object) -> None:
        assert self._server is not None
        self._server.carry_out(call, *arguments, **options)

    def _certify(self, request: CertificationRequest) -> Certificate:
        assert request.eui64 is not None
        assert request.use is not None
        # A key of its own has a serial of its own, however often it is asked for.
        name = f"smki device key {key_id(request.public_key).hex()}"
        return self._smki.certify(request.eui64, request.use, request.public_key, name)

    def _hear(self, event: DspEvent) -> None:
        """The certificates of new keys are in the evidence before anything they verify."""
        if isinstance(event, CredentialsTold) and self._desk is not None:
            assert self._records is not None
            for certificate in self._desk.key_ring.held(event.device).values():
                if certificate.use is not None:
                    self._records.certificate(certificate)
        self._on_event(event)

    # -- start and stop ------------------------------------------------------------------------

    async def start(
        self, records: Records, images: Iterable[tuple[DeviceKind, DeviceImage]]
    ) -> None:
        """Open the supplier's port and the DSP's, with the CPL that the bench's products are on."""
        self._records = records
        signing_key = self._organisations.private_key(SUPPLIER_EUI64, KeyUse.DIGITAL_SIGNATURE)
        assert signing_key is not None
        xml = self._certificate(SUPPLIER_EUI64, KeyUse.XML_SIGNATURE)
        dsp_xml = self._certificate(ACB_EUI64, KeyUse.XML_SIGNATURE)
        for certificate in (
            xml,
            dsp_xml,
            self._certificate(ACB_EUI64, KeyUse.DIGITAL_SIGNATURE),
            self._certificate(ACB_EUI64, KeyUse.KEY_AGREEMENT),
        ):
            records.certificate(certificate)
        self.supplier = Supplier(
            self.user(SUPPLIER_EUI64),
            signing_key,
            ACB_EUI64,
            records,
            self._on_callback,
            self._on_refused,
            self._hold,
        )
        callback = await self.supplier.listen()
        users = [User(SUPPLIER_EUI64, UserRole.IMPORT_SUPPLIER, xml, callback)]
        for eui64, role in OTHER_USERS.items():
            users.append(User(eui64, role, self._certificate(eui64, KeyUse.XML_SIGNATURE), None))
        dsp = self._bench.dsp
        options = dsp.options(self._bench.limits)
        known = Users(users, self._smki.authorities())
        desk = Desk(self._store, known, self.keys, ACB_EUI64, options, dsp.codes, self._certify)
        self._desk = desk
        with self._store.transaction():
            self._list_products(desk, images)
        self._server = DspServer(Dsp(desk, self._hear), self._utc_now, hold=self._hold)
        self.supplier.reach(await self._server.start(LOOPBACK, 0))

    def user(self, eui64: int) -> DuisUser:
        """Who can sign requests as this user: the run's own supplier, or another."""
        key = self._organisations.private_key(eui64, KeyUse.XML_SIGNATURE)
        assert key is not None
        dsp = self._certificate(ACB_EUI64, KeyUse.XML_SIGNATURE)
        return DuisUser(
            eui64,
            key,
            self._certificate(eui64, KeyUse.XML_SIGNATURE),
            lambda serial: dsp if serial == dsp.serial else None,
        )

    @property
    def desk(self) -> Desk:
        """The DSP's records, for what the DCC does of its own accord."""
        assert self._desk is not None
        return self._desk

    def list_image(self, product: ProductIdentity, image: FirmwareImage) -> None:
        """One more file on the CPL, unless it is there already."""
        desk = self.desk
        entry = _entry(product, image.header.file_version, image, desk.options.cpl_hash)
        if desk.cpl.get(entry.identity) is None:
            desk.cpl.add(entry)

    def take_in(self, certificates: Iterable[Certificate]) -> None:
        """The certificates of a device that keeps its keys."""
        assert self._records is not None
        for certificate in certificates:
            self.keys.add(certificate)
            self._records.certificate(certificate)

    def connect_hub(self, eui64: int, hub: Wan) -> None:
        """The hub is up: the WAN reaches it, and the premises as found stand in the inventory. One
        that takes another's place is at the same premises."""
        assert self._server is not None
        assert self._desk is not None
        with self._store.transaction():
            self._find_premises(self._desk, eui64)
        self._server.connect_hub(eui64, _RecordedLink(self._note, hub))

    def deliver(self, message: bytes) -> None:
        """A hub's message for the DSP."""
        self._note("to-dsp", message)
        if self._server is not None:
            self._server.deliver(message)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
            await self.supplier.stop()
        self._store.close()
        self._folder.cleanup()

    def _note(self, direction: str, octets: bytes) -> None:
        assert self._records is not None
        message, pointer, seen = self._records.wan(direction, octets)
        if seen is not None:
            self._on_frame(seen)
        elif isinstance(message, DeviceLogEntry):
            self._on_log_entry(message, pointer)

    # -- what is there before the first request ------------------------------------------------

    def _list_products(self, desk: Desk, images: Iterable[tuple[DeviceKind, DeviceImage]]) -> None:
        """Put on the CPL what devices are delivered with, and what they are to be updated to."""
        files: dict[tuple[DeviceKind, int], FirmwareImage | None] = {}
        products: dict[str, ProductIdentity] = dict(PRODUCTS)
        for kind, image in images:
            products[kind] = image.product or products[kind]
            # What one device is delivered with may be what another is updated to.
            files.setdefault((kind, image.factory_version), None)
            files[kind, image.image.header.file_version] = image.image
        for (kind, version), file in files.items():
            desk.cpl.add(_entry(products[kind], version, file, desk.options.cpl_hash))

    def _find_premises(self, desk: Desk, hub: int) -> None:
        inventory = desk.inventory
        if inventory.all_premises():
            self._add_found(desk, self._hub_devices(hub, f"gpf of {hub:016X}"))
            return
        inventory.add_premises(
            Premises(
                id=_PREMISES,
                uprn="100000000001",
                post_code="ZZ99 9ZZ",
                address_identifier="1",
                import_mpxn="1200000000001",
                responsible=(SUPPLIER_EUI64,),
            )
        )
        # On paper only: it is in no device log, so no PPMID can have been joined to it.
        esme = (self._eui64("esme"), DeviceType.ESME, "0E5E0101", "ESMETS V5.1")
        meter: _Found = (*esme, {"esme_variant": "A"})
        self._add_found(desk, (*self._hub_devices(hub, "gpf"), meter))

    def _eui64(self, name: str) -> int:
        return int.from_bytes(self._seeds.derive(f"EUI-64 {name}", 8), "big")

    def _hub_devices(self, hub: int, gpf_name: str) -> tuple[_Found, ...]:
        gpf, rest = self._eui64(gpf_name), ("00CF0101", "CHTS V1.5")
        return (
            (hub, DeviceType.CHF, *rest, {"associated_gpf": gpf}),
            (gpf, DeviceType.GPF, *rest, {"chf": hub}),
        )

    def _add_found(self, desk: Desk, found: tuple[_Found, ...]) -> None:
        for device_id, device_type, model, version, further in found:
            device = SmiDevice(
                device_id=device_id,
                device_type=device_type,
                status=DeviceStatus.COMMISSIONED,
                manufacturer=_FOUND_MANUFACTURER,
                model=model,
                firmware_version="00010000",
                smets_chts_version=version,
                gbcs_version=GBCS_VERSION,
                premises=_PREMISES,
                date_commissioned=self._bench.epoch.date().isoformat(),
                csp_region="Central",
                **further,
            )
            desk.inventory.add(device)
            if device_type is DeviceType.GPF:
                continue  # the list has hubs, not their halves
            entry = _found_entry(device)
            if desk.cpl.get(entry.identity) is None:
                desk.cpl.add(entry)


class _RecordedLink:
    """The way to the hub: each message is kept before the hub has it."""

    def __init__(self, note: Callable[[str, bytes], None], hub: Wan) -> None:
        self._note = note
        self._hub = hub

    def deliver(self, message: bytes) -> None:
        self._note("to-hub", message)
        self._hub.deliver(message)


def _found_entry(device: SmiDevice) -> CplEntry:
    assert device.firmware_version is not None
    assert device.smets_chts_version is not None
    return CplEntry(
        device_type=device.device_type,
        manufacturer=device.manufacturer,
        model=device.model,
        firmware_version=device.firmware_version,
        smets_chts_version=device.smets_chts_version,
        gbcs_version=GBCS_VERSION,
    )


def _entry(
    product: ProductIdentity, version: int, file: FirmwareImage | None, hash_scope: HashScope
) -> CplEntry:
    return CplEntry(
        device_type=DeviceType.PPMID,
        manufacturer=f"{product.manufacturer_code:04X}",
        model=product.model,
        firmware_version=f"{version:08X}",
        smets_chts_version=PPMID_VERSION,
        gbcs_version=GBCS_VERSION,
        image_hash=None if file is None else image_hash(file, hash_scope),
    )
