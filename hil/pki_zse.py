"""A device's identity for ZigBee key establishment, made here or upon its maker's request.

Source: SEC 4 version 1.0 (ECQV); Smart Energy profile 07-5356, annex C. The labels are those under
which the identities of the public test authority are handed out: makers' tools read them.

A request is a file of compressed points in hexadecimal, one a line and one for each suite, with or
without a label before a colon; lines that begin with # or say TEST ONLY do not count. The point is
the public half of a key pair whose private half the device keeps; what goes back is a certificate
and the private key reconstruction data, of which only that device makes the private key.

    suite            point      certificate  answer to a request
    ---------------  ---------  -----------  --------------------------------------------
    1, sect163k1     22 octets  48 octets    certificate, 21 octets of reconstruction data
    2, sect283k1     37 octets  74 octets    certificate, 36 octets of reconstruction data
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import click

from emulator.zigbee.cbke.ecqv import CertificateAuthority, reconstruct_public_key
from emulator.zigbee.cbke.errors import CbkeError
from emulator.zigbee.cbke.identities import TestAuthorities
from emulator.zigbee.cbke.suites import SUITES, Suite
from hil.errors import RequestError
from hil.key_folder import TEST_ONLY, read_file
from hil.seeds import Seeds

_BY_LENGTH = {suite.point_octets: suite for suite in SUITES.values()}


@dataclass(frozen=True, slots=True)
class ZseIdentity:
    """What a device holds for one suite: `private_key` when it was made here, else
    `reconstruction_data`."""

    suite: Suite
    certificate: bytes
    ca_public_key: bytes
    private_key: bytes | None = field(default=None, repr=False)
    reconstruction_data: bytes | None = None

    @property
    def curve(self) -> str:
        return self.suite.curve.name.removeprefix("sect")

    @property
    def public_key(self) -> bytes:
        return reconstruct_public_key(self.suite, self.certificate, self.ca_public_key)

    def text(self) -> bytes:
        """As a file, by the usual labels."""
        lines = [
            ("CA Public Key", self.ca_public_key),
            ("Device Implicit Cert", self.certificate),
            ("Device Private Key", self.private_key),
            ("Private Key Reconstruction Data", self.reconstruction_data),
            ("Device Public Key", self.public_key),
        ]
        shown = [f"{label}: {octets.hex()}\n" for label, octets in lines if octets is not None]
        return TEST_ONLY + "".join(shown).encode()


def make_identities(seeds: Seeds, eui64: int) -> list[ZseIdentity]:
    """Both suites' identities of a device, keys made here: those it has in a run with this seed."""
    authorities = TestAuthorities(lambda name: seeds.stream(name).getrandbits)
    made = [authorities.issue(suite, eui64) for suite in SUITES.values()]
    return [
        ZseIdentity(each.suite, each.certificate, each.ca_public_key, each.private_key)
        for each in made
    ]


def answer_request(
    seeds: Seeds,
    authorities: Iterable[CertificateAuthority],
    eui64: int,
    points: dict[Suite, bytes],
    shown: str,
) -> list[ZseIdentity]:
    """Certificates for whoever keeps the private halves of these points. Raises RequestError."""
    issued = []
    for authority in authorities:
        if (point := points.get(authority.suite)) is None:
            continue
        # One stream for each request: two answers from one secret would give the authority away.
        name = f"ZSE request {authority.suite.name} {eui64:016X} {point.hex()}"
        try:
            certificate, data = authority.issue_to_requester(
                eui64, point, seeds.stream(name).getrandbits
            )
        except CbkeError as error:
            raise RequestError(f"{shown}: {error}") from None
        issued.append(
            ZseIdentity(
                authority.suite, certificate, authority.public_key, reconstruction_data=data
            )
        )
    return issued


def read_request(path: Path) -> dict[Suite, bytes]:
    """The points a maker's file asks certificates for. Raises RequestError."""
    shown = click.format_filename(path)
    try:
        text = read_file(path).decode("utf-8-sig")
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RequestError(f"{shown} is no text: a request is points in hexadecimal") from None
    points: dict[Suite, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#") or line.strip() == TEST_ONLY.decode().strip():
            continue
        suite, point = _point(line, f"line {number} of {shown}")
        if suite in points:
            raise RequestError(f"line {number} of {shown} is a second point of {suite.name}")
        points[suite] = point
    if not points:
        raise RequestError(f"{shown} holds no point: a request is points in hexadecimal")
    return points


def _point(line: str, place: str) -> tuple[Suite, bytes]:
    """A line never shows in a sentence: it may be a private key."""
    label, _, value = line.rpartition(":")
    try:
        octets = bytes.fromhex(value)
    except ValueError:
        raise RequestError(f"{place} is not hexadecimal") from None
    suite = _BY_LENGTH.get(len(octets))
    if suite is None or label.strip().upper().startswith("CA "):
        raise RequestError(
            f"{place} is not a device's public key: of an identity made elsewhere nothing can be "
            "certified here, a request is a compressed point of 22 or 37 octets"
        )
    return suite, octets
