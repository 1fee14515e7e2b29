"""`hanbench pki`: a test SMKI in a folder, and how such a folder is read.

Source: DESIGN, "What it promises to the outside" (command line, exit codes); the file names are
those of published RTDS key folders.

    file                                holds
    ----------------------------------  ------------------------------------------------------
    <EUI-64>-<use>.pem                  certificate of an organisation or a device; use is ds,
                                        ka, pp-ka (top-up) or xml-ds (DUIS)
    <EUI-64>-<use>.key                  its private key, PKCS #8
    root, issuing, device-issuing       authorities: .pem and .key
    zse-ca-163k1, zse-ca-283k1          authorities of ZigBee key establishment: .pub, a compressed
                                        point, and .key, both in hexadecimal
    TEST-ONLY.txt                       what this is
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_der_x509_certificate

from emulator.zigbee.cbke.ecqv import CertificateAuthority
from emulator.zigbee.cbke.identities import TestAuthorities
from gbcs.certificates import Certificate, CertificateStore, parse_pem_certificate
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.protection import KeyUse, PrivateKey
from gbcs.smki import (
    BENCH_DEVICES,
    BENCH_ORGANISATIONS,
    DEFAULT_VALIDITY,
    Credential,
    Smki,
    issue_credentials,
)
from hil.bench_file import FIRST_EPOCH, LAST_EPOCH
from hil.errors import RequestError
from hil.seeds import ROOT_MAX, Seeds

DEFAULT_EPOCH = "2026-01-01T00:00:00Z"
MAX_KEY_FILE_BYTES = 64 * 1024
_KEY_FILE = re.compile(r"([0-9a-fA-F]{16})-(ds|ka|pp-ka|xml-ds)\.pem")
_CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"

NOTICE = """\
TEST ONLY

A test SMKI made by hanbench from seed {seed}. Anybody who knows the seed has every private key in
this folder. Nothing real may trust it. Organisations' certificates end on {not_after:%Y-%m-%d}.
"""


@click.group("pki")
def pki_group() -> None:
    """Test certificates: a TEST ONLY SMKI."""


def _epoch(_context: click.Context, _parameter: click.Parameter, text: str) -> datetime:
    try:
        epoch = datetime.fromisoformat(text)
    except ValueError:
        epoch = None
    if epoch is None or epoch.tzinfo is None or not FIRST_EPOCH <= epoch < LAST_EPOCH:
        problem = f"{text!r} is not a time from 2000 to 2099 with its zone, such as {DEFAULT_EPOCH}"
        raise click.BadParameter(problem)
    return epoch.astimezone(UTC).replace(microsecond=0)


@pki_group.command("create")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(0, ROOT_MAX), default=1, show_default=True)
@click.option(
    "--epoch",
    metavar="TIME",
    default=DEFAULT_EPOCH,
    show_default=True,
    callback=_epoch,
    help="When the certificates begin.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=DEFAULT_VALIDITY.days,
    show_default=True,
    help="How long those of organisations are valid.",
)
def create_command(folder: Path, seed: int, epoch: datetime, days: int) -> None:
    """Fill DIR, new or empty, with a TEST ONLY SMKI: authorities, organisations, two devices; and
    with the authorities of ZigBee key establishment.

    The same seed, epoch and days give the same files.
    """
    seeds = Seeds(seed)
    smki = Smki(lambda name: seeds.stream(name).getrandbits, epoch, timedelta(days=days))
    authorities = {
        "root": smki.root,
        "issuing": smki.issuing_authority,
        "device-issuing": smki.device_authority,
    }
    credentials = issue_credentials(smki, BENCH_ORGANISATIONS, BENCH_DEVICES)
    named = authorities | {_file_name(credential): credential for credential in credentials}
    _make_folder(folder)
    shown = click.format_filename(folder)
    try:
        notice = NOTICE.format(seed=seed, not_after=smki.root.certificate.not_after)
        _write_private(folder / "TEST-ONLY.txt", notice.encode())
        for curve, authority in zse_authorities(seeds).items():
            _write_private(folder / f"zse-ca-{curve}.pub", _hex_lines(authority.public_key))
            _write_private(folder / f"zse-ca-{curve}.key", _hex_lines(authority.private_key))
        for name, credential in named.items():
            _write_private(folder / f"{name}.pem", certificate_pem(credential.certificate))
            _write_private(folder / f"{name}.key", _key_pem(credential.private_key))
    except OSError as error:
        raise RequestError(f"{shown} cannot be written: {error.strerror}") from None
    click.echo(f"{shown}: TEST ONLY, {len(named)} certificates and their keys from seed {seed}")


def zse_authorities(seeds: Seeds) -> dict[str, CertificateAuthority]:
    """The authorities of key establishment that a run with this seed has, by their curves."""
    by_suite = TestAuthorities(lambda name: seeds.stream(name).getrandbits).by_suite
    return {
        authority.suite.curve.name.removeprefix("sect"): authority
        for authority in by_suite.values()
    }


def _hex_lines(octets: bytes) -> bytes:
    return b"TEST ONLY\n" + octets.hex().upper().encode() + b"\n"


def _file_name(credential: Credential) -> str:
    eui64 = credential.certificate.eui64
    return f"{eui64:016x}-{credential.use}"


def _make_folder(folder: Path) -> None:
    shown = click.format_filename(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RequestError(f"{shown} is not empty; give a new or an empty folder")
        folder.chmod(0o700)  # it may have been there, and umask may have taken bits away
    except FileExistsError:
        raise RequestError(f"{shown} is a file; give a new or an empty folder") from None
    except OSError as error:
        raise RequestError(f"{shown} cannot be made: {error.strerror}") from None


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def certificate_pem(certificate: Certificate) -> bytes:
    """A certificate in PEM, marked for what it is."""
    return b"TEST ONLY\n" + load_der_x509_certificate(certificate.der).public_bytes(Encoding.PEM)


def _key_pem(key: PrivateKey) -> bytes:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return b"TEST ONLY\n" + pem


# -- reading -----------------------------------------------------------------------------------


def load_keys(folder: Path) -> CertificateStore:
    """The certificates of a folder by their file names, and the private keys beside them.

    A file that is not what its name says is left out and named on standard error: what it would
    have verified is then judged `no-key`. Other files are nobody's keys.
    """
    shown = click.format_filename(folder)
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    store = CertificateStore()
    for path, eui64, use in _key_files(paths):
        try:
            _load(store, path, eui64, use)
        except (GbcsError, GbcsValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            click.echo(f"hanbench: {click.format_filename(path)} left out: {reason}", err=True)
    return store


def _key_files(paths: list[Path]) -> Iterator[tuple[Path, int, KeyUse]]:
    for path in paths:
        if (match := _KEY_FILE.fullmatch(path.name)) is not None:
            yield path, int(match[1], 16), KeyUse(match[2])


def _load(store: CertificateStore, path: Path, eui64: int, use: KeyUse) -> None:
    pem = _read(path)
    if _CERTIFICATE_MARK not in pem:
        return  # RTDS folders hold a bare public key too, which no certificate vouches for
    certificate = parse_pem_certificate(pem)
    kind = KeyUse.KEY_AGREEMENT if use is KeyUse.TOP_UP_KEY_AGREEMENT else use
    if certificate.eui64 != eui64 or certificate.use is not kind:
        raise GbcsValueError("the certificate in it is for another EUI-64 or another use")
    store.add(certificate, use=use)
    key_path = path.with_suffix(".key")
    if key_path.exists():
        store.add(certificate, read_private_key(_read(key_path)), use=use)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_KEY_FILE_BYTES)


def read_private_key(pem: bytes) -> PrivateKey:
    """A private key in PEM. Raises GbcsValueError."""
    try:
        key = load_pem_private_key(pem, password=None)
    except Exception:  # which of its many errors says nothing about a test key
        raise GbcsValueError("the private key beside it is not one in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise GbcsValueError("the private key beside it is not on a curve")
    return key
