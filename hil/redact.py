"""`hanbench report --redact DIR --out DIR2`: the evidence to pass on, and nobody named in it.

Source: DESIGN, "What it promises to the outside" (command line).

    what                                becomes
    ----------------------------------  --------------------------------------------------------
    an EUI-64, a URL, a host name, the  a pseudonym, the same in every file
    path of a serial port
    signatures, digests, MACs, keys     zeros: they would confirm a guess
    firmware images                     zeros, of the same length
    air.pcapng                          its addresses replaced, its FCS made anew; what is
                                        encrypted stays, and no key is passed on
    certificates/, air.keys             left out: they name who they are of
    report.html                         made again, of the redacted evidence

The trace hash stays: it is that of the frames as they were, so the redacted capture does not have
it. In the end every file is searched for every original; where one is found, there is no evidence.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from emulator.medium.pcapng import PcapngError, read_pcapng
from emulator.zigbee import mac, nwk
from gbcs.codes import parse_payload
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError
from gbcs.wan import ImageOffer, parse_message, serialise
from hil.environment import ENVIRONMENT
from hil.errors import BenchBroke, RequestError
from hil.evidence import KEYS
from hil.frame_documents import document_of
from hil.redact_table import Table, sixteen_digits
from hil.report import read_keys, render_again, write_page
from hil.report_rows import REDACTED, REPORT, read_events

LEFT_OUT = (KEYS, "certificates/")

_XML_SECRETS = re.compile(
    rb"(<(?:\w+:)?(DigestValue|SignatureValue|X509Certificate|X509SerialNumber|X509IssuerName"
    rb"|X509SKI|InstallCode)>)([^<]*)(</)"
)
_LONG_BASE64 = re.compile(rb"[A-Za-z0-9+/]{1024,}={0,2}")
_FOLDERS_OF_A_PATH = re.compile(rb"(?<![\w:.])/(?:[^\s\"'/]+/)+")
_EPID = slice(7, 15)  # of a beacon: behind superframe, GTS, pending addresses, protocol, stack
_EUI64_KEYS = frozenset({"eui64", "originator", "recipient", "extended_pan_id"})


def redact(folder: Path, out: Path) -> Path:
    """The redacted copy of `folder` in `out`, which must not be there or be empty; the path of its
    report. Raises RequestError, and BenchBroke where an original would have remained."""
    events = read_events(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"{out} is there already and not empty: name another folder")
    if out.resolve().is_relative_to(folder.resolve()):
        raise RequestError(f"{out} is inside the evidence it is to be a copy of: name another")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    passed_on = [path for path in files if not _is_left_out(path.relative_to(folder).as_posix())]
    table = _learn(folder, events, files)
    try:
        for path in passed_on:
            name = path.relative_to(folder).as_posix()
            target = out / table.text(name.encode()).decode()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_redacted(name, path.read_bytes(), table))
        note = {"schema": 1, "left_out": list(LEFT_OUT), "names_replaced": table.count}
        (out / REDACTED).write_text(json.dumps(note) + "\n")
    except OSError as error:
        raise BenchBroke(f"redacted evidence cannot be written: {error}") from error
    page = write_page(out / REPORT, render_again(out))
    for path in sorted(out.rglob("*")):
        if path.is_file() and _remains(path, table):
            shutil.rmtree(out)
            raise BenchBroke(f"{path.name} would still have named somebody: nothing was written")
    return page


def _is_left_out(name: str) -> bool:
    return name in (REPORT, KEYS) or name.startswith("certificates/")


# -- what there is to hide ---------------------------------------------------------------------


def _learn(folder: Path, events: Iterable[Mapping[str, Any]], files: Iterable[Path]) -> Table:
    """Everybody, in the order of the events, then of the files."""
    table = Table()
    for event in events:
        for value in sixteen_digits(event.get(key) for key in sorted(_EUI64_KEYS)):
            table.eui64(value)
    keys = read_keys(folder)
    for key in () if keys is None else (keys.network_key, *keys.link_keys.values()):
        table.blank(key)
    for path in files:
        octets = path.read_bytes()
        match path.suffix.lower():
            case ".hex":
                _learn_frame(octets, table)
            case ".bin":
                _learn_message(octets, table)
            case ".pcapng":
                for eui64 in _addresses(octets):
                    table.eui64(eui64)
            case ".pem" | ".keys":
                pass
            case _ if path.name != REPORT:
                table.learn(octets)
    return table


def _learn_frame(text: bytes, table: Table) -> None:
    try:
        received = parse_frame(_octets_of(text) or b"")
    except GbcsError:
        return
    frame = received.frame
    for eui64 in (frame.originator, frame.recipient):
        table.eui64(eui64)
    for secret in (frame.signature, frame.mac):
        table.blank(secret or b"")
    try:
        payload = parse_payload(frame.message_code, frame.cra, frame.payload)
    except GbcsError:
        return
    for eui64 in sixteen_digits(_leaves(document_of(payload))):
        table.eui64(eui64)
    table.blank(getattr(payload, "key", b""))


def _learn_message(octets: bytes, table: Table) -> None:
    try:
        message = parse_message(octets)
    except GbcsError:
        return
    fields = asdict(message)
    for value in _leaves([fields.get(name) for name in ("hub", "device", "devices")]):
        if isinstance(value, int):
            table.eui64(value)


def _leaves(value: Any) -> Iterator[Any]:
    match value:
        case dict():
            for each in value.values():
                yield from _leaves(each)
        case list() | tuple():
            for each in value:
                yield from _leaves(each)
        case _:
            yield value


def _addresses(capture: bytes) -> Iterator[int]:
    """Every EUI-64 that a header on the air shows."""
    try:
        for _, psdu in read_pcapng(capture):
            try:
                frame = mac.parse(psdu)
                if frame.source_extended and frame.source is not None:
                    yield frame.source
                if frame.destination_extended and frame.destination is not None:
                    yield frame.destination
                if frame.frame_type == mac.TYPE_BEACON and len(frame.payload) >= _EPID.stop:
                    yield int.from_bytes(frame.payload[_EPID], "little")
                if frame.frame_type != mac.TYPE_DATA:
                    continue
                header = nwk.parse(frame.payload)
                yield from (
                    each
                    for each in (header.source_ieee, header.destination_ieee)
                    if each is not None
                )
                if header.secured:
                    auxiliary = nwk.parse_auxiliary(frame.payload, header.header_octets)
                    yield int.from_bytes(auxiliary.source_eui64, "little")
            except (mac.MacError, nwk.NwkError):
                continue
    except PcapngError:
        return


# -- hiding it ---------------------------------------------------------------------------------


def _redacted(name: str, octets: bytes, table: Table) -> bytes:
    suffix = Path(name).suffix.lower()
    if suffix == ".pcapng":
        return _capture(octets, table)
    if suffix == ".bin":
        return table.binary(_without_image(octets))
    if suffix == ".hex" and (frame := _octets_of(octets)) is not None:
        return table.binary(frame).hex().upper().encode() + b"\n"
    if suffix == ".xml":
        octets = _XML_SECRETS.sub(_blank_text, octets)
        octets = _LONG_BASE64.sub(lambda match: b"A" * len(match[0]), octets)
    if name == ENVIRONMENT:
        octets = _FOLDERS_OF_A_PATH.sub(b"", octets)
    return table.text(octets)


def _octets_of(text: bytes) -> bytes | None:
    """What is in hexadecimal as octets: no half of one is taken for another."""
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return None


def _blank_text(match: re.Match[bytes]) -> bytes:
    return match[1] + re.sub(rb"[^=\s]", b"0", match[3]) + match[4]


def _without_image(octets: bytes) -> bytes:
    try:
        message = parse_message(octets)
    except GbcsError:
        return octets
    if isinstance(message, ImageOffer):
        return serialise(replace(message, image=bytes(len(message.image))))
    return octets


def _capture(octets: bytes, table: Table) -> bytes:
    """The capture with other addresses; nothing else of it moves."""
    found = bytearray(table.binary(octets))
    at = 0
    try:
        for _, psdu in read_pcapng(octets):
            at = octets.index(psdu, at)
            new = bytes(found[at : at + len(psdu)])
            if new != psdu and mac.fcs(psdu[:-2]) == psdu[-2:]:
                found[at : at + len(psdu)] = new[:-2] + mac.fcs(new[:-2])
            at += len(psdu)
    except PcapngError:
        pass  # a capture that ends early is redacted as far as it goes, and beyond as octets
    return bytes(found)


def _remains(path: Path, table: Table) -> bool:
    octets = path.read_bytes()
    if path.suffix in (".pcapng", ".bin"):
        return table.binary(octets) != octets
    if path.suffix == ".HEX" and (frame := _octets_of(octets)) is not None:
        return table.binary(frame) != frame
    return table.remains(octets)
