"""What is handed over when a device or an organisation is taken in, on paper and as files.

Source: GBCS trust anchor cells of a PPMID, as `gbcs.trust` has them; DESIGN, "What it promises to
the outside" (`pki issue`). No private key is printed: those made here are in files of their own.

    key of the document  what
    -------------------  -----------------------------------------------------------------
    eui64, role          whom it is for; `role` is null for a device
    certificates         its own: role, key usage, serial, key id, times, file, PEM
    trust_anchors        a device's cells, each with what it must hold
    other_parties        of whom a PPMID has no cells: for a hub or a meter (`--all`)
    authorities          root, and who issued the certificates above
    zse                  for each suite of key establishment: the authority's public key, and the
                         device's certificate where it has one
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from cryptography.x509 import load_der_x509_certificate

from gbcs.certificates import Certificate, Role
from gbcs.credentials import Cell
from gbcs.protection import KeyUse, PrivateKey
from gbcs.smki import (
    ACB_EUI64,
    BENCH_ORGANISATIONS,
    RECOVERY_EUI64,
    Credential,
    Smki,
)
from gbcs.trust import TrustCells
from hil.key_folder import (
    DEVICE_ISSUING,
    ISSUING,
    ROOT,
    TEST_ONLY,
    certificate_pem,
    key_name,
    key_pem,
)
from hil.pki_folder import NOTICE_FILE, PkiFolder
from hil.pki_zse import ZseIdentity

BUNDLE_FILE = "bundle.json"
_NOTICE = """\
TEST ONLY

What {eui64:016X} must hold to take part in the test SMKI of hanbench with seed {seed}. Nothing
real may trust any of it. `bundle.json` says which file is for what.
"""

Document = dict[str, Any]


class Issued(NamedTuple):
    """A certificate of whom the bundle is for; its key if it was made here."""

    use: KeyUse
    certificate: Certificate
    private_key: PrivateKey | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything for one device, or for one organisation (which has a role)."""

    pki: PkiFolder
    eui64: int
    issued: tuple[Issued, ...]
    role: Role | None = None
    with_all_parties: bool = False
    zse: tuple[ZseIdentity, ...] = ()

    # -- what is in it -------------------------------------------------------------------------

    def cells(self) -> list[tuple[Cell, Certificate]]:
        """The cells of a PPMID, or of a bridge, and what each must hold."""
        if self.role is not None:
            return []
        smki = self.pki.smki
        return list(
            TrustCells(
                _of(smki, ACB_EUI64, KeyUse.DIGITAL_SIGNATURE),
                _of(smki, ACB_EUI64, KeyUse.KEY_AGREEMENT),
                _of(smki, RECOVERY_EUI64, KeyUse.DIGITAL_SIGNATURE),
                smki.root.certificate,
            ).cells()
        )

    def other_parties(self) -> list[tuple[KeyUse, Certificate]]:
        """Everybody else's certificates for frames."""
        if not self.with_all_parties:
            return []
        held = [certificate for _, certificate in self.cells()]
        return [
            (use, certificate)
            for party in BENCH_ORGANISATIONS
            for use in party.uses
            if use is not KeyUse.XML_SIGNATURE
            and (certificate := _of(self.pki.smki, party.eui64, use)) not in held
        ]

    def authorities(self) -> dict[str, Credential]:
        """Root and, as files are called, who issued what is in the bundle."""
        names = [ROOT, ISSUING] if self.role is not None else [ROOT, ISSUING, DEVICE_ISSUING]
        return {name: self.pki.authorities[name] for name in names}

    # -- as files ------------------------------------------------------------------------------

    def own_files(self) -> dict[str, bytes]:
        """What is new because of this bundle: certificates, and keys that were made for it."""
        files = {}
        for use, certificate, key in self.issued:
            name = key_name(self.eui64, use)
            files[f"{name}.pem"] = certificate_pem(certificate)
            if key is not None:
                files[f"{name}.key"] = key_pem(key)
        return files | {_zse_file(self.eui64, each): each.text() for each in self.zse}

    def files(self) -> dict[str, bytes]:
        """All of it, as a folder to be handed over."""
        notice = _NOTICE.format(eui64=self.eui64, seed=self.pki.settings.seed)
        files = self.own_files() | {NOTICE_FILE: notice.encode()}
        for name, authority in self.authorities().items():
            files[f"{name}.pem"] = certificate_pem(authority.certificate)
        for _, certificate in self.cells():
            files[_file(certificate, certificate.use)] = certificate_pem(certificate)
        for use, certificate in self.other_parties():
            files[_file(certificate, use)] = certificate_pem(certificate)
        files[BUNDLE_FILE] = json.dumps(self.document(), indent=2).encode() + b"\n"
        return files

    # -- on paper ------------------------------------------------------------------------------

    def document(self) -> Document:
        return {
            "notice": TEST_ONLY.decode().strip(),
            "eui64": f"{self.eui64:016X}",
            "role": self.role and _word(self.role.name),
            "certificates": [
                _certificate(each.certificate, each.use)
                | {"key": f"{key_name(self.eui64, each.use)}.key" if each.private_key else None}
                for each in self.issued
            ],
            "trust_anchors": [
                {"cell": _cell_name(cell)} | _certificate(held, held.use)
                for cell, held in self.cells()
            ],
            "other_parties": [_certificate(held, use) for use, held in self.other_parties()],
            "authorities": [
                _certificate(each.certificate, None) for each in self.authorities().values()
            ],
            "zse": [] if self.role is not None else self._zse_documents(),
        }

    def _zse_documents(self) -> list[Document]:
        held = {each.curve: each for each in self.zse}
        documents: list[Document] = []
        for curve, authority in self.pki.zse.items():
            document: Document = {
                "curve": curve,
                "issuer": f"{authority.issuer:016X}",
                "ca_public_key": authority.public_key.hex(),
                "certificate": None,
            }
            if (identity := held.get(curve)) is not None:
                data = identity.reconstruction_data
                document |= {
                    "certificate": identity.certificate.hex(),
                    "public_key": identity.public_key.hex(),
                    "reconstruction_data": data and data.hex(),
                    "file": _zse_file(self.eui64, identity),
                }
            documents.append(document)
        return documents

    def text(self) -> str:
        """For people, PEM and all."""
        document = self.document()
        whom = "device" if self.role is None else document["role"]
        lines = [f"TEST ONLY: {whom} {document['eui64']}"]
        for key, title in (
            ("certificates", "its certificates"),
            ("trust_anchors", "trust anchors it must hold, those of a PPMID or a bridge"),
            ("other_parties", "of whom a PPMID has no cells"),
            ("authorities", "authorities"),
        ):
            if document[key]:
                lines += ["", title]
                for each in document[key]:
                    lines += _certificate_lines(each)
        if document["zse"]:
            lines += ["", "ZigBee key establishment"]
            for each in document["zse"]:
                shown = {name: value for name, value in each.items() if value is not None}
                lines += [f"  {name.replace('_', ' ')}: {shown[name]}" for name in shown]
        return "\n".join(lines)


def _of(smki: Smki, eui64: int, use: KeyUse) -> Certificate:
    role = next(party.role for party in BENCH_ORGANISATIONS if party.eui64 == eui64)
    return smki.organisation(eui64, role, use).certificate


def _word(name: str) -> str:
    return name.lower().replace("_", "-")


def _cell_name(cell: Cell) -> str:
    return f"{_word(cell.role.name)} {_word(cell.key_usage.name)}"


def _file(certificate: Certificate, use: KeyUse | None) -> str:
    """As a folder of `pki create` has it; authorities' files are called by what they are."""
    if certificate.use is None:
        names = {Role.ROOT: ROOT, Role.ISSUING_AUTHORITY: ISSUING, None: DEVICE_ISSUING}
        return f"{names[certificate.role]}.pem"
    return f"{key_name(certificate.eui64, use)}.pem"


def _zse_file(eui64: int, identity: ZseIdentity) -> str:
    return f"{eui64:016x}-zse-{identity.curve}.txt"


def _certificate(certificate: Certificate, use: KeyUse | None) -> Document:
    loaded = load_der_x509_certificate(certificate.der)
    usages = {KeyUse.KEY_AGREEMENT: "key-agreement", None: "key-cert-sign"}
    return {
        "eui64": None if certificate.eui64 is None else f"{certificate.eui64:016X}",
        "role": None if certificate.role is None else _word(certificate.role.name),
        "use": use,
        "key_usage": usages.get(certificate.use, "digital-signature"),
        "serial": f"{certificate.serial:X}",
        "key_id": certificate.subject_key_id.hex().upper(),
        "issuer": loaded.issuer.rfc4514_string(),
        "not_before": f"{certificate.not_before:%Y-%m-%dT%H:%M:%SZ}",
        "not_after": f"{certificate.not_after:%Y-%m-%dT%H:%M:%SZ}",
        "file": _file(certificate, use),
        "pem": certificate_pem(certificate).decode().removeprefix(TEST_ONLY.decode()),
    }


def _certificate_lines(each: Document) -> list[str]:
    role = each["role"] or ("device" if each["eui64"] else DEVICE_ISSUING)
    head = each.get("cell") or f"{role} {each['key_usage']}"
    if each["use"] == KeyUse.TOP_UP_KEY_AGREEMENT:
        head += " for top-up"
    names = ("eui64", "serial", "key_id", "issuer", "not_after", "file", "key")
    facts = [f"    {name.replace('_', ' ')}: {each[name]}" for name in names if each.get(name)]
    # From the first column: a tool takes PEM out of the middle of a text, but not indented.
    return [f"  {head}", *facts, *each["pem"].splitlines()]
