"""`hanbench report --redact DIR --out DIR2`: the evidence to pass on, and nobody named in it.

Source: DESIGN, "What it promises to the outside" (command line).

    what                                becomes
    ----------------------------------  --------------------------------------------------------
    an EUI-64, a URL, a host, a user,   a pseudonym, the same in every file
    a serial port and its number
    signatures, digests, MACs, keys     zeros: they would confirm a guess
    firmware images                     zeros, of the same length
    what a message in the clear said    zeros (`hil.redact_capture`), the check of the frame anew
    the folders of a path               nothing; the name of the file stays
    certificates/, *.keys, *.pem        left out, in every folder: they name who they are of
    report.html                         made again, of the redacted evidence, in every folder

The trace hash stays: it is that of the frames as they were, so the redacted capture does not have
it. In the end every file is searched for every original; where one is found, there is no copy.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gbcs.codes import parse_payload
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError
from gbcs.wan import ImageOffer, parse_message, serialise
from hil.errors import BenchBroke, RequestError
from hil.evidence import EVENTS, KEYS
from hil.frame_documents import document_of
from hil.redact_capture import addresses, redacted_capture
from hil.redact_table import Table, sixteen_digits
from hil.report import read_keys, render_again, write_page
from hil.report_rows import JUNIT, REDACTED, REPORT, read_events

LEFT_OUT = (KEYS, "certificates/")

_XML_SECRETS = re.compile(
    rb"(<(?:\w+:)?(DigestValue|SignatureValue|X509Certificate|X509SerialNumber|X509IssuerName"
    rb"|X509SKI|InstallCode)>)([^<]*)(</)"
)
_LONG_BASE64 = re.compile(rb"[A-Za-z0-9+/]{1024,}={0,2}")
# Not what follows the name of a file or a URL's scheme, closes an element or is base64.
_FOLDERS_OF_A_PATH = re.compile(rb"(?<![\w:./<+])/(?:[^\s\"'/<>&]+/)+")
_FOLDERS_OF_WINDOWS = re.compile(rb"\b[A-Za-z]:(?:\\{1,2}[^\s\"'\\/<>&]+)+\\{1,2}")
_EUI64_KEYS = frozenset({"eui64", "originator", "recipient", "extended_pan_id"})
_SAID_BY_US = frozenset({"type", "device_id", "device_ids", "kind", "phase", "outcome", "verdict"})


def redact(folder: Path, out: Path) -> Path:
    """The redacted copy of `folder` in `out`, which must not be there or be empty; the path of its
    report. Raises RequestError, and BenchBroke where an original would have remained. Until the
    copy is whole, nothing is at `out`."""
    read_events(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"{out} is there already and not empty: name another folder")
    if out.resolve().is_relative_to(folder.resolve()):
        raise RequestError(f"{out} is inside the evidence it is to be a copy of: name another")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    table = _learn(folder, files)
    with _written(), contextlib.ExitStack() as left:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        left.callback(shutil.rmtree, work, ignore_errors=True)
        copy = work / out.name
        copy.mkdir()
        _copy(folder, copy, files, table)
        for path in sorted(copy.rglob("*")):
            if path.is_file() and _remains(path, table):
                name = path.relative_to(copy).as_posix()
                raise BenchBroke(f"{name} would still have named somebody: nothing was written")
        copy.replace(out)
    return out / REPORT


def _copy(folder: Path, copy: Path, files: Sequence[Path], table: Table) -> None:
    pages = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        target = copy / table.text(name.encode()).decode()
        if path.name == REPORT:
            pages.append(target)
        elif not _is_left_out(name):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_redacted(name, path.read_bytes(), table))
    note = {"schema": 1, "left_out": list(LEFT_OUT), "names_replaced": table.count}
    top = copy / REPORT
    # The page of a test is there before the one that leads to it.
    for page in [*(each for each in pages if each != top), top]:
        (page.parent / REDACTED).write_text(json.dumps(note) + "\n")
        write_page(page, render_again(page.parent))


@contextlib.contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BenchBroke(f"redacted evidence cannot be written: {error}") from error


def _is_left_out(name: str) -> bool:
    *folders, last = name.split("/")
    return last == KEYS or "certificates" in folders


# -- what there is to hide ---------------------------------------------------------------------


def _learn(folder: Path, files: Sequence[Path]) -> Table:
    """Everybody, in the order of the events, then of the files."""
    benches = [path.parent for path in files if path.name == EVENTS]
    benches.sort(key=lambda each: (each != folder, each))
    told = {each: read_events(each) for each in benches}
    table = Table(_own_words(told.values()))
    for bench, events in told.items():
        for event in events:
            for value in sixteen_digits(event.get(key) for key in sorted(_EUI64_KEYS)):
                table.eui64(value)
        keys = read_keys(bench)
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
                for eui64 in addresses(octets):
                    table.eui64(eui64)
            case ".pem" | ".keys":
                pass
            case _ if path.name != REPORT:
                table.learn(octets)
    return table


def _own_words(told: Iterable[Iterable[Mapping[str, Any]]]) -> set[str]:
    """The words of the events that the bench itself chose."""
    found: set[str] = set()
    for event in itertools.chain.from_iterable(told):
        found.update(event)
        said = _leaves([event.get(key) for key in _SAID_BY_US])
        found.update(each for each in said if isinstance(each, str))
    return found


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


# -- hiding it ---------------------------------------------------------------------------------


def _redacted(name: str, octets: bytes, table: Table) -> bytes:
    suffix = Path(name).suffix.lower()
    if suffix == ".pcapng":
        return redacted_capture(octets, table)
    if suffix == ".bin":
        return table.binary(_without_image(octets))
    if suffix == ".hex" and (frame := _octets_of(octets)) is not None:
        return table.binary(frame).hex().upper().encode() + b"\n"
    if suffix == ".xml":
        octets = _XML_SECRETS.sub(_blank_text, octets)
        octets = _LONG_BASE64.sub(lambda match: b"A" * len(match[0]), octets)
    octets = table.text(octets)
    return _without_folders(octets) if _may_name_folders(name) else octets


def _may_name_folders(name: str) -> bool:
    """What holds sentences and commands, and no base64."""
    return name.endswith((".json", ".jsonl", JUNIT))


def _without_folders(octets: bytes) -> bytes:
    return _FOLDERS_OF_WINDOWS.sub(b"", _FOLDERS_OF_A_PATH.sub(b"", octets))


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


def _remains(path: Path, table: Table) -> bool:
    octets = path.read_bytes()
    suffix = path.suffix.lower()
    if suffix in (".pcapng", ".bin"):
        return table.binary(octets) != octets
    if suffix == ".hex" and (frame := _octets_of(octets)) is not None:
        return table.binary(frame) != frame
    if _may_name_folders(path.name) and _without_folders(octets) != octets:
        return True
    return table.remains(octets)
