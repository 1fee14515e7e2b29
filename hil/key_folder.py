"""Folders of certificates and keys: how their files are called, read and written.

Source: DESIGN, "What it promises to the outside"; the file names are those of published RTDS key
folders.

    file                                holds
    ----------------------------------  ------------------------------------------------------
    <EUI-64>-<use>.pem                  certificate of an organisation or a device; use is ds,
                                        ka, pp-ka (top-up) or xml-ds (DUIS)
    <EUI-64>-<use>.key                  its private key, PKCS #8
    root, issuing, device-issuing       authorities: .pem and .key; of the first two also .crl, the
                                        certificates they took back

Names count in whatever case they are written, and folders inside are looked into, as an RTDS
download has them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_der_x509_certificate, load_der_x509_crl, load_pem_x509_crl

from gbcs.certificates import Certificate, CertificateStore, parse_pem_certificate
from gbcs.chain import Authorities, RevocationList, parse_revocation_list
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.protection import KeyUse, PrivateKey
from hil.errors import RequestError

MAX_KEY_FILE_BYTES = 64 * 1024
MAX_FILES = 100_000
TEST_ONLY = b"TEST ONLY\n"
ROOT, ISSUING, DEVICE_ISSUING = "root", "issuing", "device-issuing"
_KEY_FILE = re.compile(r"([0-9a-f]{16})-(ds|ka|pp-ka|xml-ds)\.(pem|key)", re.IGNORECASE)
_CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"

Place = tuple[int, KeyUse]


def key_name(eui64: int | None, use: KeyUse | None) -> str:
    """What the files of one certificate and key are called, without their suffixes."""
    return f"{eui64 or 0:016x}-{use}"


# -- reading -----------------------------------------------------------------------------------


def load_keys(folder: Path) -> CertificateStore:
    """The certificates of a folder by their file names, and the private keys of the same names.

    A file that is not what its name says is left out and named on standard error: what it would
    have verified is then judged `no-key`. Other files are nobody's keys.
    """
    certificates: dict[Place, list[Path]] = {}
    private_keys: dict[Place, list[Path]] = {}
    for path, place, suffix in _key_files(_files(folder)):
        kind = certificates if suffix == "pem" else private_keys
        kind.setdefault(place, []).append(path)
    store = CertificateStore()
    for place, paths in certificates.items():
        for path in paths:
            try:
                _load(store, path, place, private_keys.get(place, []))
            except (GbcsError, GbcsValueError, OSError) as error:
                _leave_out(path, error.strerror if isinstance(error, OSError) else error)
    return store


def _files(folder: Path) -> list[Path]:
    shown = click.format_filename(folder)
    try:
        next(folder.iterdir(), None)  # rglob tells nobody of a folder that is not there
        found = list(islice(folder.rglob("*"), MAX_FILES + 1))
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    if len(found) > MAX_FILES:
        raise RequestError(f"{shown} holds more than {MAX_FILES} files: no folder of keys")
    return sorted(path for path in found if path.is_file())


def _key_files(paths: Iterable[Path]) -> Iterator[tuple[Path, Place, str]]:
    for path in paths:
        if (match := _KEY_FILE.fullmatch(path.name)) is not None:
            yield path, (int(match[1], 16), KeyUse(match[2].lower())), match[3].lower()


def _load(store: CertificateStore, path: Path, place: Place, key_paths: list[Path]) -> None:
    pem = read_file(path)
    if _CERTIFICATE_MARK not in pem:
        return  # RTDS folders hold a bare public key too, which no certificate vouches for
    eui64, use = place
    certificate = parse_pem_certificate(pem)
    kind = KeyUse.KEY_AGREEMENT if use is KeyUse.TOP_UP_KEY_AGREEMENT else use
    if certificate.eui64 != eui64 or certificate.use is not kind:
        raise GbcsValueError("the certificate in it is for another EUI-64 or another use")
    held = store.certificate(eui64, use)
    if held is not None:
        if held != certificate:
            raise GbcsValueError("another certificate of this name was read before it")
        return
    store.add(certificate, use=use)
    beside = [each for each in key_paths if each.parent == path.parent]
    for key_path in (beside or key_paths)[:1]:
        store.add(certificate, read_private_key(read_file(key_path)), use=use)


def _leave_out(path: Path, reason: object) -> None:
    click.echo(f"hanbench: {click.format_filename(path)} left out: {reason}", err=True)


def read_file(path: Path) -> bytes:
    """The octets of a file, no more than a key has."""
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


def load_certificate(path: Path) -> Certificate:
    """The certificate of one file. Raises RequestError."""
    shown = click.format_filename(path)
    try:
        return parse_pem_certificate(read_file(path))
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    except GbcsError as error:
        raise RequestError(f"{shown}: {error}") from None


def load_authorities(folder: Path) -> Authorities | None:
    """The authorities of a folder with their revocation lists, None where there is no root.

    A list that cannot be believed is an error: without it what was taken back would count again.
    """
    if not (folder / f"{ROOT}.pem").exists():
        return None
    held = {
        name: load_certificate(folder / f"{name}.pem")
        for name in (ROOT, ISSUING, DEVICE_ISSUING)
        if any((folder / f"{name}.{suffix}").exists() for suffix in ("pem", "crl"))
    }
    lists = tuple(
        load_revocation_list(folder / f"{name}.crl", certificate)
        for name, certificate in held.items()
        if (folder / f"{name}.crl").exists()
    )
    root = held.pop(ROOT)
    return Authorities(root, tuple(held.values()), lists)


def load_revocation_list(path: Path, issuer: Certificate) -> RevocationList:
    """The list of one file, which `issuer` must have signed. Raises RequestError."""
    shown = click.format_filename(path)
    try:
        with path.open("rb") as file:
            pem = file.read()
        der = load_pem_x509_crl(pem).public_bytes(Encoding.DER)
        return parse_revocation_list(der, issuer)
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    except ValueError:
        raise RequestError(f"{shown} is no revocation list in PEM") from None
    except GbcsError as error:
        raise RequestError(f"{shown}: {error}") from None


# -- writing -----------------------------------------------------------------------------------


def make_folder(folder: Path) -> None:
    """Make a folder that nobody else can look into; one that is there must be empty."""
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


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files only their owner can read. One that is there already stays if it is the same;
    another is an error before anything is written."""
    shown = click.format_filename(folder)
    try:
        there = {name for name, data in files.items() if _is_there(folder / name, data)}
        for name, data in files.items():
            if name not in there:
                descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
    except OSError as error:
        raise RequestError(f"{shown} cannot be written: {error.strerror}") from None


def _is_there(path: Path, data: bytes) -> bool:
    if not path.exists():
        return False
    if path.read_bytes() != data:
        shown = click.format_filename(path)
        raise RequestError(f"{shown} is there and says something else; move it away first")
    return True


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in the place of another, all of it or nothing."""
    beside = path.with_name(f"{path.name}.new")
    shown = click.format_filename(path)
    try:
        beside.unlink(missing_ok=True)  # what a run that was cut short left
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        beside.replace(path)
    except OSError as error:
        raise RequestError(f"{shown} cannot be written: {error.strerror}") from None


def certificate_pem(certificate: Certificate) -> bytes:
    """A certificate in PEM, marked for what it is."""
    loaded = load_der_x509_certificate(certificate.der)
    return TEST_ONLY + loaded.public_bytes(Encoding.PEM)


def key_pem(key: PrivateKey) -> bytes:
    return TEST_ONLY + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def revocation_list_pem(der: bytes) -> bytes:
    return TEST_ONLY + load_der_x509_crl(der).public_bytes(Encoding.PEM)
