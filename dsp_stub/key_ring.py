"""Which keys hold between the Access Control Broker and each device.

Source: DESIGN, "Sentences that keep it real" (keys are looked up by EUI-64 and use); GBCS use cases
CS02b and CS02d, after which two devices may know two different key pairs of one ACB, and a device
another one of itself than it was made with.

A certificate stands in one of three ways, in a place of a device: one of its trust anchor cells, or
one of its own two uses.

    event                                            held         offered       waiting
    -----------------------------------------------  -----------  ------------  ------------
    sent to the device in CS02b or CS02d             as it was    what was sent as it was
    the device keeps it for later                    as it was    none          what was sent
    the device says it has it, or signs with it      that one     none          none
    the device refuses it, or says it has another    as it was    none          none
    no answer                                        as it was    as it was     as it was

What was offered and got no answer may be in force or not, so the device is asked; until it is
settled nothing else is changed in it.

What is not here is as the certificate store has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from dsp_stub.columns import eui64_text
from dsp_stub.errors import DspValueError
from dsp_stub.store import Store
from gbcs.ber import KeyUsage
from gbcs.certificates import Certificate, CertificateStore, parse_certificate
from gbcs.credentials import ACB_DIGITAL_SIGNATURE, ACB_KEY_AGREEMENT, Cell
from gbcs.protection import KeyStore, KeyUse, PrivateKey, PublicKey
from gbcs.smki import Credential

ACB_CELLS = {
    KeyUse.DIGITAL_SIGNATURE: ACB_DIGITAL_SIGNATURE,
    KeyUse.KEY_AGREEMENT: ACB_KEY_AGREEMENT,
}
OWN_USES = (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT)
KEY_USAGES = {
    KeyUse.DIGITAL_SIGNATURE: KeyUsage.DIGITAL_SIGNATURE,
    KeyUse.KEY_AGREEMENT: KeyUsage.KEY_AGREEMENT,
}


def cell_place(cell: Cell) -> str:
    """A trust anchor cell as the place of a certificate; a device's own places are its uses."""
    return f"{cell.role.name} {cell.key_usage.name}"


class Standing(StrEnum):
    OFFERED = "offered"
    WAITING = "waiting"
    HELD = "held"


class KeyRing:
    """The pairs of the ACB, and the certificates of devices, that came after the first ones."""

    def __init__(self, store: Store, keys: CertificateStore, acb: int) -> None:
        self._store = store
        self._keys = keys
        self._acb = acb

    # -- places --------------------------------------------------------------------------------

    def add_own(self, credential: Credential) -> None:
        """A key pair of the ACB that devices may be told of."""
        octets = credential.private_key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        )
        self._store.connection.execute(
            "INSERT OR REPLACE INTO acb_keys VALUES (?, ?, ?)",
            (credential.certificate.subject_key_id.hex(), credential.certificate.der, octets),
        )

    def offer(self, device: int, place: str, certificate: Certificate) -> None:
        """It was sent to the device, which has not said yet whether it took it."""
        self._put(device, place, certificate, Standing.OFFERED)

    def wait(self, device: int, place: str) -> None:
        """The device takes what it was offered when its time comes."""
        certificate = self.offered(device).get(place)
        if certificate is not None:
            self._put(device, place, certificate, Standing.WAITING)
            self.withdraw(device, place)

    def hold(self, device: int, place: str, certificate: Certificate) -> None:
        """The device has it, as it says itself."""
        self._put(device, place, certificate, Standing.HELD)
        for standing in (Standing.OFFERED, Standing.WAITING):
            if self._rows(device, standing).get(place) == certificate:
                self.withdraw(device, place, standing)

    def withdraw(self, device: int, place: str, standing: Standing = Standing.OFFERED) -> None:
        """The device has not taken it, and will not."""
        self._store.connection.execute(
            "DELETE FROM credentials WHERE device = ? AND place = ? AND standing = ?",
            (eui64_text(device), place, standing),
        )

    def held(self, device: int) -> dict[str, Certificate]:
        return self._rows(device, Standing.HELD)

    def offered(self, device: int) -> dict[str, Certificate]:
        return self._rows(device, Standing.OFFERED)

    def certificate(self, device: int, use: KeyUse) -> Certificate | None:
        """The one a device uses now."""
        return self.held(device).get(use) or self._keys.certificate(device, use)

    def require_settled(self, device: int, change: Mapping[str, Certificate]) -> None:
        """Raises DspValueError while it is not known what a device made of an earlier change; the
        same one again may be sent."""
        open_places = [
            place
            for place, certificate in self.offered(device).items()
            if change.get(place) != certificate
        ]
        if open_places:
            raise DspValueError(
                f"device {eui64_text(device)} has not said whether it took {open_places[0]}: "
                "read its cells or its certificate first"
            )

    def known(self, device: int, place: str, key_id: bytes) -> Certificate | None:
        """The certificate with this key identifier that can be in this place of a device."""
        row = self._store.connection.execute(
            "SELECT certificate FROM acb_keys WHERE key_id = ?", (key_id.hex(),)
        ).fetchone()
        candidates = [self._rows(device, standing).get(place) for standing in Standing]
        candidates += [] if row is None else [parse_certificate(row[0])]
        candidates += [self._first(device, place)]
        for certificate in candidates:
            if certificate is not None and certificate.subject_key_id == key_id:
                return certificate
        return None

    def _first(self, device: int, place: str) -> Certificate | None:
        """What is in a place that was never changed."""
        for use in OWN_USES:
            if place == use:
                return self._keys.certificate(device, use)
            if place == cell_place(ACB_CELLS[use]):
                return self._keys.certificate(self._acb, use)
        return None

    def _put(self, device: int, place: str, certificate: Certificate, standing: Standing) -> None:
        self._store.connection.execute(
            "INSERT OR REPLACE INTO credentials VALUES (?, ?, ?, ?)",
            (eui64_text(device), place, standing, certificate.der),
        )

    def _rows(self, device: int, standing: Standing) -> dict[str, Certificate]:
        rows = self._store.connection.execute(
            "SELECT place, certificate FROM credentials WHERE device = ? AND standing = ? "
            "ORDER BY place",
            (eui64_text(device), standing),
        )
        return {place: parse_certificate(der) for place, der in rows}

    # -- keys ----------------------------------------------------------------------------------

    def of(self, device: int) -> KeyStore:
        """The keys that hold between the ACB and this device."""
        return self._with(device, self.held(device))

    def offered_to(self, device: int) -> KeyStore | None:
        """Those that hold if it has taken everything it was sent; None when nothing is open."""
        offered = self.offered(device)
        return self._with(device, self.held(device) | offered) if offered else None

    def _with(self, device: int, places: Mapping[str, Certificate]) -> KeyStore:
        if not places:
            return self._keys
        certificates: dict[tuple[int, KeyUse], Certificate] = {}
        private: dict[tuple[int, KeyUse], PrivateKey | None] = {}
        for use in OWN_USES:
            if use in places:
                certificates[device, use] = places[use]
            ours = places.get(cell_place(ACB_CELLS[use]))
            if ours is not None:
                certificates[self._acb, use] = ours
                private[self._acb, use] = self._private_key(use, ours)
        return _KeysOfOne(self._keys, certificates, private)

    def _private_key(self, use: KeyUse, certificate: Certificate) -> PrivateKey | None:
        row = self._store.connection.execute(
            "SELECT private_key FROM acb_keys WHERE key_id = ?",
            (certificate.subject_key_id.hex(),),
        ).fetchone()
        if row is not None:
            key: PrivateKey = load_der_private_key(row[0], None)  # type: ignore[assignment]
            return key
        if self._keys.certificate(self._acb, use) == certificate:
            return self._keys.private_key(self._acb, use)
        return None  # recovery has put somebody else's there


@dataclass(frozen=True, slots=True)
class _KeysOfOne:
    """`gbcs.protection.KeyStore`: the store's keys, but for those of one device that differ."""

    keys: CertificateStore
    certificates: Mapping[tuple[int, KeyUse], Certificate]
    private: Mapping[tuple[int, KeyUse], PrivateKey | None]

    def public_key(self, eui64: int, use: KeyUse) -> PublicKey | None:
        certificate = self.certificates.get((eui64, use))
        return self.keys.public_key(eui64, use) if certificate is None else certificate.public_key

    def private_key(self, eui64: int, use: KeyUse) -> PrivateKey | None:
        if (eui64, use) in self.private:
            return self.private[eui64, use]
        return self.keys.private_key(eui64, use)

    def is_device(self, eui64: int) -> bool:
        return self.keys.is_device(eui64)

    def access_control_brokers(self) -> tuple[int, ...]:
        return self.keys.access_control_brokers()
