"""The certificates and keys of a folder that sign XML.

Source: DESIGN, "What it promises to the outside". A folder of `pki create` calls them
`<EUI-64>-xml-ds`, published ones `xml-sign-<EUI-64>-ds`, `dsp-xml-sign-<EUI-64>-ds` and otherwise:
so what counts is what a certificate says, not what its file is called. The private key is the
`.key` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import click

from dsp_stub.xml_signature import signs_xml, xml_role
from gbcs.certificates import Certificate, Role, parse_pem_certificate
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.protection import PrivateKey
from hil.duis_client import DuisUser
from hil.errors import RequestError
from hil.key_folder import read_file, read_private_key

_CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class XmlKeys:
    """Who can sign XML, and whose signatures are known. `folder` is for sentences."""

    folder: str
    certificates: tuple[Certificate, ...]
    private_keys: dict[int, PrivateKey] = field(repr=False)  # by serial number

    def find(self, serial: int) -> Certificate | None:
        for certificate in self.certificates:
            if certificate.serial == serial:
                return certificate
        return None

    def find_dsp(self, serial: int) -> Certificate | None:
        """A user that has a certificate of its own does not speak for the DSP with it."""
        certificate = self.find(serial)
        is_dsp = certificate is not None and xml_role(certificate) is Role.DSP_XML_SIGN
        return certificate if is_dsp else None

    def user(self, eui64: int) -> DuisUser:
        """Who signs for this EUI-64: of several certificates with a key, the last to begin."""
        mine = [
            certificate
            for certificate in self.certificates
            if certificate.eui64 == eui64 and certificate.serial in self.private_keys
        ]
        if not mine:
            raise RequestError(
                f"{self.folder} has no XML signing certificate of {eui64:016X} with its key"
            )
        newest = max(mine, key=lambda certificate: (certificate.not_before, certificate.serial))
        return DuisUser(eui64, self.private_keys[newest.serial], newest, self.find_dsp)


def load_xml_keys(folder: Path) -> XmlKeys:
    """Read a folder. A key that is not that of its certificate is left out and named."""
    shown = click.format_filename(folder)
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".pem")
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    certificates: dict[int, Certificate] = {}
    private_keys: dict[int, PrivateKey] = {}
    for path in paths:
        try:
            certificate = _certificate(path)
            if certificate is None:
                continue
            certificates[certificate.serial] = certificate
            key = _key(path.with_suffix(".key"), certificate)
            if key is not None:
                private_keys[certificate.serial] = key
        except (GbcsError, GbcsValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            click.echo(f"hanbench: {click.format_filename(path)} left out: {reason}", err=True)
    if not certificates:
        raise RequestError(f"{shown} has no certificate that signs XML")
    return XmlKeys(shown, tuple(certificates.values()), private_keys)


def _certificate(path: Path) -> Certificate | None:
    """The certificate of a file if it is one that signs XML; frames have others."""
    pem = read_file(path)
    if _CERTIFICATE_MARK not in pem:
        return None
    certificate = parse_pem_certificate(pem)
    return certificate if certificate.eui64 is not None and signs_xml(certificate) else None


def _key(path: Path, certificate: Certificate) -> PrivateKey | None:
    if not path.exists():
        return None
    key = read_private_key(read_file(path))
    if key.public_key().public_numbers() != certificate.public_key.public_numbers():
        raise GbcsValueError("the private key beside it is not that of the certificate")
    return key
