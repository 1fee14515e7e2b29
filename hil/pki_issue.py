"""`hanbench pki issue`: a real device, or one more organisation, is taken into a test SMKI.

Source: DESIGN, "What it promises to the outside" (`pki issue`); issue 5, "GBCS and SMKI, whole".

    given                    makes
    -----------------------  -------------------------------------------------------------------
    --csr, once or twice     certificates for the keys the device keeps; its EUI-64 and the use of
                             each key are those of the request, or --eui64 and --use
    --eui64 alone            keys and certificates for both uses, and identities for ZigBee key
                             establishment: those the device has in a run with the folder's seed
    --zse                    certificates for the points in the file; the device keeps its keys
    --role                   the same for an organisation, by one use or the uses it has

A certificate made is put into the folder too, where `dsp --data` and `frame decode --keys` find it.
The same key twice gets the same certificate; another key for the same use is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gbcs.certificates import Role
from gbcs.certification_requests import CertificationRequest, parse_certification_request
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.protection import KeyUse, PublicKey
from gbcs.smki import Credential
from hil.errors import RequestError
from hil.key_folder import make_folder, read_file, write_files
from hil.pki_bundle import Bundle, Issued
from hil.pki_folder import PkiFolder, open_pki
from hil.pki_zse import ZseIdentity, answer_request, make_identities, read_request

ROLES = {
    role.name.lower().replace("_", "-"): role
    for role in (
        Role.RECOVERY,
        Role.SUPPLIER,
        Role.NETWORK_OPERATOR,
        Role.ACCESS_CONTROL_BROKER,
        Role.TRANSITIONAL_COS,
        Role.WAN_PROVIDER,
        Role.LOAD_CONTROLLER,
    )
}
_DEVICE_USES = (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT)
_ORGANISATION_USES = (*_DEVICE_USES, KeyUse.XML_SIGNATURE)
# What a request cannot tell apart: XML is signed and top-ups agreed with the same two key usages.
_FITTING = {
    KeyUse.DIGITAL_SIGNATURE: (KeyUse.DIGITAL_SIGNATURE, KeyUse.XML_SIGNATURE),
    KeyUse.KEY_AGREEMENT: (KeyUse.KEY_AGREEMENT, KeyUse.TOP_UP_KEY_AGREEMENT),
}
_EUI64 = re.compile(r"[0-9A-Fa-f]{16}|[0-9A-Fa-f]{2}(?:[-:][0-9A-Fa-f]{2}){7}")


def _read_eui64(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> int | None:
    if text is None:
        return None
    if not _EUI64.fullmatch(text):
        raise click.BadParameter(f"{text!r} is no EUI-64 such as 00-DB-12-34-56-78-90-A4")
    return int(re.sub("[-:]", "", text), 16)


@click.command("issue")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--csr",
    "requests",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A certification request (PKCS #10, PEM or DER) of a key the device keeps; one per use.",
)
@click.option("--eui64", metavar="ID", callback=_read_eui64, help="Whom the certificates are for.")
@click.option(
    "--zse",
    "zse_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Points to certify for ZigBee key establishment, in hexadecimal.",
)
@click.option("--role", type=click.Choice(tuple(ROLES)), help="For an organisation, not a device.")
@click.option(
    "--use",
    "uses",
    type=click.Choice([str(use) for use in KeyUse]),
    multiple=True,
    help="What keys are for, where neither request nor role says it.",
)
@click.option("--all", "all_parties", is_flag=True, help="Also whom a PPMID has no cells for.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="A new or empty folder for all of it as files.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, nothing else.")
def issue_command(
    folder: Path,
    requests: tuple[Path, ...],
    eui64: int | None,
    zse_file: Path | None,
    role: str | None,
    uses: tuple[str, ...],
    all_parties: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Certify a device's keys in the test SMKI of DIR, and print whom it must trust.

    The bundle has the device's own certificates, the trust anchors of a PPMID's or a bridge's
    cells, and the authorities of ZigBee key establishment. With --role: an organisation's.
    """
    pki = open_pki(folder)
    wanted = tuple(KeyUse(use) for use in uses)
    party = None if role is None else ROLES[role]
    if party is not None and (zse_file is not None or all_parties):
        raise RequestError("--zse and --all are for devices, --role is for an organisation")
    try:
        if requests:
            found, issued = _certify(pki, requests, eui64, party, wanted)
        elif eui64 is not None:
            found, issued = eui64, _make(pki, eui64, party, wanted)
        else:
            raise RequestError("give --csr FILE, or --eui64 for keys that are made here")
    except GbcsValueError as error:
        raise RequestError(str(error)) from None
    zse = () if party is not None else _identities(pki, found, zse_file, is_made=not requests)
    bundle = Bundle(pki, found, issued, party, all_parties, tuple(zse))
    if out is not None:
        make_folder(out)
    pki.add(*bundle.own_files().items())
    if out is not None:
        write_files(out, bundle.files())
    _warn_of_the_end(pki)
    click.echo(json.dumps(bundle.document(), indent=2) if as_json else bundle.text())
    if out is not None and not as_json:
        click.echo(f"\nall of it is in {click.format_filename(out)}")


# -- keys that are made here -------------------------------------------------------------------


def _make(
    pki: PkiFolder, eui64: int, role: Role | None, uses: tuple[KeyUse, ...]
) -> tuple[Issued, ...]:
    credentials: Iterable[Credential]
    if role is None:
        credentials = [pki.smki.device(eui64, use) for use in uses or _DEVICE_USES]
    else:
        wanted = uses or _ORGANISATION_USES
        credentials = [pki.smki.organisation(eui64, role, use) for use in wanted]
    return tuple(
        Issued(each.use, each.certificate, each.private_key)
        for each in credentials
        if each.use is not None
    )


# -- keys a device keeps -----------------------------------------------------------------------


def _certify(
    pki: PkiFolder,
    paths: tuple[Path, ...],
    eui64: int | None,
    role: Role | None,
    uses: tuple[KeyUse, ...],
) -> tuple[int, tuple[Issued, ...]]:
    if uses and len(uses) != len(paths):
        raise RequestError(f"--use is given {len(uses)} times, --csr {len(paths)} times")
    issued: dict[KeyUse, Issued] = {}
    for at, path in enumerate(paths):
        shown = click.format_filename(path)
        request = _read_request(path, shown)
        eui64 = _require_same(eui64, request.eui64, shown)
        use = _use(request, uses[at] if uses else None, shown)
        if use in issued:
            raise RequestError(f"{shown} is a second request for {use}")
        key = request.public_key
        # The key names the stream: whoever asks for it again gets the same serial number.
        stream = f"smki request {eui64:016X} {use} {_point(key).hex()}"
        if role is None:
            if request.module_name is None and request.eui64 is not None:
                raise RequestError(f"{shown} is an organisation's: say which with --role")
            certificate = pki.smki.certify(eui64, use, key, stream, request.module_name)
        else:
            certificate = pki.smki.certify_organisation(eui64, role, use, key, stream)
        issued[use] = Issued(use, certificate)
    assert eui64 is not None  # there was a request, and it or the option said whose it is
    return eui64, tuple(issued.values())


def _point(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def _read_request(path: Path, shown: str) -> CertificationRequest:
    try:
        return parse_certification_request(read_file(path))
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    except GbcsError as error:
        raise RequestError(f"{shown}: {error}") from None


def _require_same(said: int | None, asked: int | None, shown: str) -> int:
    if said is None and asked is None:
        raise RequestError(f"{shown} does not say whose it is: give --eui64")
    if said is not None and asked is not None and said != asked:
        raise RequestError(f"{shown} is for {asked:016X}, not for {said:016X}")
    return said if said is not None else asked or 0


def _use(request: CertificationRequest, said: KeyUse | None, shown: str) -> KeyUse:
    if request.use is None:
        if said is None:
            raise RequestError(f"{shown} does not say what its key is for: give --use")
        return said
    if said is None:
        return request.use
    if said not in _FITTING[request.use]:
        raise RequestError(f"{shown} asks for {request.use}, not for {said}")
    return said


# -- key establishment -------------------------------------------------------------------------


def _identities(
    pki: PkiFolder, eui64: int, path: Path | None, *, is_made: bool
) -> list[ZseIdentity]:
    if path is not None:
        shown = click.format_filename(path)
        points = read_request(path)
        return answer_request(pki.seeds, pki.zse.values(), eui64, points, shown)
    return make_identities(pki.seeds, eui64) if is_made else []


def _warn_of_the_end(pki: PkiFolder) -> None:
    end = pki.smki.root.certificate.not_after
    if end < datetime.now(UTC):
        click.echo(
            f"hanbench: organisations' certificates of {pki.shown} ended on {end:%Y-%m-%d}; "
            "where times are checked, make another with `pki create --epoch`",
            err=True,
        )
