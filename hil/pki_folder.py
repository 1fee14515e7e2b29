"""A test SMKI in a folder: made once from a seed, opened again to certify more and to take back.

Source: DESIGN, "What it promises to the outside" (`pki create|issue`) and "Time and chance": keys
come from the seed, so a folder needs to say no more than `smki.toml` does for all its authorities
to be there again, and a run with that seed and epoch has the same ones. Files: `key_folder`, and

    file                                holds
    ----------------------------------  ------------------------------------------------------
    smki.toml                           seed, epoch, days
    zse-ca-163k1, zse-ca-283k1          authorities of ZigBee key establishment: .pub, a compressed
                                        point, and .key, both in hexadecimal
    <EUI-64>-zse-<curve>.txt            a device's identity for key establishment
    TEST-ONLY.txt                       what this is
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from emulator.zigbee.cbke.ecqv import CertificateAuthority
from emulator.zigbee.cbke.identities import TestAuthorities
from gbcs.certificates import Certificate
from gbcs.smki import BENCH_DEVICES, BENCH_ORGANISATIONS, Credential, Smki, issue_credentials
from hil.bench_file import FIRST_EPOCH, LAST_EPOCH
from hil.errors import RequestError
from hil.key_folder import (
    DEVICE_ISSUING,
    ISSUING,
    ROOT,
    TEST_ONLY,
    certificate_pem,
    key_name,
    key_pem,
    load_certificate,
    load_revocation_list,
    make_folder,
    replace_file,
    revocation_list_pem,
    write_files,
)
from hil.seeds import ROOT_MAX, Seeds

SETTINGS_FILE = "smki.toml"
NOTICE_FILE = "TEST-ONLY.txt"
MAX_DAYS = 3650
# Whose certificates can be taken back. The profile has no list for those of devices.
_WITH_LISTS = (ROOT, ISSUING)

_SETTINGS = """\
# TEST ONLY
seed = {seed}
epoch = {epoch:%Y-%m-%dT%H:%M:%SZ}
days = {days}
"""
_NOTICE = """\
TEST ONLY

A test SMKI made by hanbench from seed {seed}. Anybody who knows the seed has every private key in
this folder. Nothing real may trust it. Organisations' certificates end on {not_after:%Y-%m-%d}.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a test SMKI follows from."""

    seed: int
    epoch: datetime
    days: int


class PkiFolder:
    """One test SMKI and the folder it is in."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.settings = settings
        self.seeds = Seeds(settings.seed)
        self.smki = Smki(
            lambda name: self.seeds.stream(name).getrandbits,
            settings.epoch,
            timedelta(days=settings.days),
        )
        self.zse = zse_authorities(self.seeds)

    @property
    def shown(self) -> str:
        return click.format_filename(self.path)

    @property
    def authorities(self) -> dict[str, Credential]:
        """By the names of their files."""
        return {
            ROOT: self.smki.root,
            ISSUING: self.smki.issuing_authority,
            DEVICE_ISSUING: self.smki.device_authority,
        }

    def add(self, *files: tuple[str, bytes]) -> None:
        """Put files into the folder; none that is there is changed."""
        write_files(self.path, dict(files))

    def revoke(self, certificate: Certificate, at: datetime) -> tuple[str, bool]:
        """Take a certificate back: the list it is on now, and whether it was not before.

        Raises RequestError for one that none of this folder's authorities can take back.
        """
        name = self.list_of(certificate)
        issuer = self.authorities[name]
        path = self.path / f"{name}.crl"
        revoked = dict(load_revocation_list(path, issuer.certificate).revoked)
        if certificate.serial in revoked:
            return path.name, False
        revoked[certificate.serial] = at
        der = self.smki.revocation_list(issuer, revoked, at)
        replace_file(path, revocation_list_pem(der))
        return path.name, True

    def list_of(self, certificate: Certificate) -> str:
        """The authority whose list a certificate is put on. Raises RequestError, as above."""
        for name, issuer in self.authorities.items():
            is_itself = certificate == issuer.certificate
            if not is_itself and certificate.is_issued_by(issuer.certificate):
                if name in _WITH_LISTS:
                    return name
                raise RequestError(
                    "a device's certificate is on no list: to take the device back, "
                    f"move its files out of {self.shown}"
                )
        raise RequestError(f"no authority of {self.shown} issued this certificate")


def create_pki(folder: Path, settings: Settings) -> tuple[PkiFolder, int]:
    """Fill a new or an empty folder; also how many certificates there are now."""
    pki = PkiFolder(folder, settings)
    credentials = issue_credentials(pki.smki, BENCH_ORGANISATIONS, BENCH_DEVICES)
    named = pki.authorities | {
        key_name(each.certificate.eui64, each.use): each for each in credentials
    }
    not_after = pki.smki.root.certificate.not_after
    files = {
        NOTICE_FILE: _NOTICE.format(seed=settings.seed, not_after=not_after).encode(),
        SETTINGS_FILE: _SETTINGS.format(
            seed=settings.seed, epoch=settings.epoch, days=settings.days
        ).encode(),
    }
    for curve, authority in pki.zse.items():
        files[f"zse-ca-{curve}.pub"] = _hex_line(authority.public_key)
        files[f"zse-ca-{curve}.key"] = _hex_line(authority.private_key)
    for name, credential in named.items():
        files[f"{name}.pem"] = certificate_pem(credential.certificate)
        files[f"{name}.key"] = key_pem(credential.private_key)
    for name in _WITH_LISTS:
        der = pki.smki.revocation_list(pki.authorities[name], {}, settings.epoch)
        files[f"{name}.crl"] = revocation_list_pem(der)
    make_folder(folder)
    write_files(folder, files)
    return pki, len(named)


def open_pki(folder: Path) -> PkiFolder:
    """A folder that `create_pki` filled. Raises RequestError for any other."""
    shown = click.format_filename(folder)
    pki = PkiFolder(folder, _read_settings(folder / SETTINGS_FILE, shown))
    for name, authority in pki.authorities.items():
        if load_certificate(folder / f"{name}.pem") != authority.certificate:
            raise RequestError(f"{name}.pem of {shown} is not that of its {SETTINGS_FILE}")
    return pki


def _read_settings(path: Path, shown: str) -> Settings:
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RequestError(
            f"{shown} is no test SMKI, its {SETTINGS_FILE} cannot be read ({error.strerror}): "
            f"make one with `hanbench pki create {shown}`"
        ) from None
    except ValueError:
        data = {}
    seed, epoch, days = (data.get(name) for name in ("seed", "epoch", "days"))
    if not (
        isinstance(seed, int)
        and isinstance(days, int)
        and isinstance(epoch, datetime)
        and epoch.tzinfo is not None
        and 0 <= seed <= ROOT_MAX
        and 1 <= days <= MAX_DAYS
        and FIRST_EPOCH <= epoch < LAST_EPOCH
        and not epoch.microsecond
    ):
        raise RequestError(f"{SETTINGS_FILE} of {shown} does not say seed, epoch and days")
    return Settings(seed, epoch.astimezone(UTC), days)


def zse_authorities(seeds: Seeds) -> dict[str, CertificateAuthority]:
    """The authorities of key establishment that a run with this seed has, by their curves."""
    by_suite = TestAuthorities(lambda name: seeds.stream(name).getrandbits).by_suite
    return {curve_of(authority): authority for authority in by_suite.values()}


def curve_of(authority: CertificateAuthority) -> str:
    return authority.suite.curve.name.removeprefix("sect")


def _hex_line(octets: bytes) -> bytes:
    return TEST_ONLY + octets.hex().upper().encode() + b"\n"
