"""Whom a device trusts and with which keys it speaks; both can be replaced (CS02b, CS02d).

Source: GBCS trust anchor cells of a PPMID: the ACB's two, recovery and root. A PPMID, and an Alt
HAN bridge that joins as one, holds no supplier's credentials.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gbcs.ber import KeyUsage
from gbcs.certificates import Certificate, Role
from gbcs.credentials import (
    ACB_DIGITAL_SIGNATURE,
    ACB_KEY_AGREEMENT,
    KEY_ID_OCTETS,
    RECOVERY_SIGNATURE,
    ROOT,
    Cell,
    RemotePartyRole,
)
from gbcs.errors import GbcsValueError
from gbcs.protection import KeyUse, PrivateKey

_USES = {
    KeyUsage.DIGITAL_SIGNATURE: KeyUse.DIGITAL_SIGNATURE,
    KeyUsage.KEY_AGREEMENT: KeyUse.KEY_AGREEMENT,
    KeyUsage.KEY_CERT_SIGN: None,
}
_ROLES = {
    RemotePartyRole.ROOT: Role.ROOT,
    RemotePartyRole.RECOVERY: Role.RECOVERY,
    RemotePartyRole.SUPPLIER: Role.SUPPLIER,
    RemotePartyRole.NETWORK_OPERATOR: Role.NETWORK_OPERATOR,
    RemotePartyRole.ACCESS_CONTROL_BROKER: Role.ACCESS_CONTROL_BROKER,
    RemotePartyRole.TRANSITIONAL_COS: Role.TRANSITIONAL_COS,
    RemotePartyRole.WAN_PROVIDER: Role.WAN_PROVIDER,
    RemotePartyRole.ISSUING_AUTHORITY: Role.ISSUING_AUTHORITY,
    RemotePartyRole.LOAD_CONTROLLER: Role.LOAD_CONTROLLER,
}


def key_use(usage: KeyUsage) -> KeyUse | None:
    """The use of a key pair, None for one that certifies."""
    return _USES[usage]


def key_id_octets(certificate: Certificate) -> bytes:
    """The key identifier as CS02a and CS02b name it: eight octets, whatever the certificate has."""
    return certificate.subject_key_id[:KEY_ID_OCTETS].rjust(KEY_ID_OCTETS, b"\0")


def fits_cell(certificate: Certificate, cell: Cell) -> bool:
    """Whether a certificate is of the role and usage a cell is for."""
    is_party = not certificate.is_device and certificate.role is _ROLES.get(cell.role)
    return is_party and certificate.use is key_use(cell.key_usage)


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """A device's own private keys."""

    digital_signature: PrivateKey
    key_agreement: PrivateKey

    def replacing(self, use: KeyUse, key: PrivateKey) -> DeviceKeys:
        if use is KeyUse.DIGITAL_SIGNATURE:
            return replace(self, digital_signature=key)
        return replace(self, key_agreement=key)


_CELLS = {
    "acb_digital_signature": ACB_DIGITAL_SIGNATURE,
    "acb_key_agreement": ACB_KEY_AGREEMENT,
    "recovery": RECOVERY_SIGNATURE,
    "root": ROOT,
}
_NAMES = {cell: name for name, cell in _CELLS.items()}


@dataclass(frozen=True, slots=True)
class TrustCells:
    """Whom a PPMID or a bridge trusts: the ACB for everything, recovery and root for
    credentials."""

    acb_digital_signature: Certificate
    acb_key_agreement: Certificate
    recovery: Certificate | None = None
    root: Certificate | None = None

    def __post_init__(self) -> None:
        for cell, certificate in self.cells():
            if not fits_cell(certificate, cell):
                raise GbcsValueError(
                    f"the cell for {cell.role.name}, {key_use(cell.key_usage)} "
                    "holds another kind of certificate"
                )
        if self.acb_digital_signature.eui64 != self.acb_key_agreement.eui64:
            raise GbcsValueError("the two ACB cells name two different ACBs")

    def cells(self) -> Iterator[tuple[Cell, Certificate]]:
        """The cells that are filled."""
        for name, cell in _CELLS.items():
            certificate = getattr(self, name)
            if certificate is not None:
                yield cell, certificate

    def certificate(self, cell: Cell) -> Certificate | None:
        """What a cell holds; None for one that is empty, or that a PPMID has not."""
        name = _NAMES.get(cell)
        return None if name is None else getattr(self, name)

    def replacing(self, replacements: dict[Cell, Certificate]) -> TrustCells:
        """Other certificates in some cells. Raises GbcsValueError when they do not go together."""
        return replace(self, **{_NAMES[cell]: held for cell, held in replacements.items()})

    @property
    def acb(self) -> int:
        assert self.acb_key_agreement.eui64 is not None  # a cell with a use has one
        return self.acb_key_agreement.eui64

    def signer(self, eui64: int) -> Certificate | None:
        """The certificate whose key this originator signs with, None for a stranger."""
        for certificate in (self.acb_digital_signature, self.recovery):
            if certificate is not None and certificate.eui64 == eui64:
                return certificate
        return None


@dataclass(frozen=True, slots=True)
class Credentials:
    """All of it: what a device speaks with and its certificates for that, whom it trusts, and the
    key pairs that wait for their certificates, as (use, private key)."""

    keys: DeviceKeys
    trust: TrustCells
    certificates: tuple[Certificate, ...] = ()
    pending: tuple[tuple[KeyUse, PrivateKey], ...] = ()

    def certificate(self, use: KeyUse) -> Certificate | None:
        return next((held for held in self.certificates if held.use is use), None)

    def pending_key(self, use: KeyUse) -> PrivateKey | None:
        return dict(self.pending).get(use)

    def speaking_with(self, use: KeyUse, certificate: Certificate) -> Credentials:
        """With the key pair that waited for this certificate."""
        key = dict(self.pending)[use]
        kept = tuple(held for held in self.certificates if held.use is not use)
        return replace(
            self,
            keys=self.keys.replacing(use, key),
            certificates=(*kept, certificate),
            pending=tuple(each for each in self.pending if each[0] is not use),
        )
