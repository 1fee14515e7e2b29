"""`hanbench frame`: what is in a GBCS frame, and whether its signature and MAC hold; and back.

Source: DESIGN, "What it promises to the outside" (`frame decode`, exit codes).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from gbcs.attributes import Attribute, encrypted_attributes
from gbcs.block_transfer import ROUTED, join_stream
from gbcs.certificates import CertificateStore
from gbcs.codes import (
    Protection,
    read_payload,
    required_protections,
    use_case,
)
from gbcs.envelope import (
    Frame,
    ReceivedFrame,
    parse_frame,
)
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.fields import Reading
from gbcs.protection import Verdict, Verdicts, verify
from hil.errors import RequestError
from hil.frame_building import NAMED, frame_octets
from hil.frame_documents import (
    Document,
    document_of,
    envelope_document,
    fields_document,
    payload_document,
)
from hil.key_folder import load_keys

# Four times the octets of the longest frame leave room for any way of writing them.
MAX_FILE_BYTES = 4 * 0x10000
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_FIRST_OCTETS = (b"\xdd", b"\xdf")
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
# What a folder is searched for: RTDS downloads hold requests in XML beside their frames.
_TEXT_SUFFIX, _OCTETS_SUFFIX = ".hex", ".bin"

_KEYS_OPTION = click.option(
    "--keys",
    "key_folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Certificates and keys, named as `pki create` and RTDS name them.",
)


class Input(NamedTuple):
    """One argument: its file if it is one, its octets, or why it has none."""

    file: str | None
    octets: bytes
    error: str | None = None


class Decoded(NamedTuple):
    """All that can be said of one input."""

    input: Input
    received: ReceivedFrame | None
    reading: Reading[Any] | None
    verdicts: Verdicts | None
    error: str | None
    attributes: tuple[Attribute, ...] = ()


@click.group("frame")
def frame_group() -> None:
    """GBCS frames: decode, build."""


@frame_group.command("decode")
@click.argument("frames", nargs=-1, required=True, metavar="HEX|FILE|DIR...")
@_KEYS_OPTION
@click.option("--json", "as_json", is_flag=True, help="One JSON document, nothing else.")
@click.pass_context
def decode_command(
    ctx: click.Context, frames: tuple[str, ...], key_folder: Path | None, as_json: bool
) -> None:
    """Say what is in each frame: hexadecimal, base64, a file of either or of its octets, or every
    .hex and .bin file of a folder and the folders in it. A text file may hold one frame in several
    lines, or a frame in each line.

    Exit code 1 when a frame does not decode, or a signature or MAC is invalid.
    """
    inputs = [given for argument in frames for given in _inputs(argument)]
    store = CertificateStore() if key_folder is None else load_keys(key_folder)
    decoded = [_decode(each, store) for each in inputs]
    if as_json:
        click.echo(json.dumps([_document(each) for each in decoded], indent=2))
    else:
        for number, each in enumerate(decoded):
            click.echo("\n" * bool(number) + "\n".join(_tree(each)))
    if any(_fails(each) for each in decoded):
        ctx.exit(1)


@frame_group.command("build")
@click.argument("documents", nargs=-1, required=True, metavar="FILE|-...")
@_KEYS_OPTION
@click.option("--json", "as_json", is_flag=True, help="One JSON document, nothing else.")
def build_command(documents: tuple[str, ...], key_folder: Path | None, as_json: bool) -> None:
    """Make frames from what `decode --json` prints: a document, or a list of them.

    Signature and MAC are those of the document. With --keys a MAC is made anew, and a signature
    that does not hold is made anew if the private key is there.
    """
    store = None if key_folder is None else load_keys(key_folder)
    built = [
        _build(document, f"{name}[{at}]", store)
        for name in documents
        for at, document in enumerate(_documents(name))
    ]
    if as_json:
        click.echo(json.dumps([{"octets": octets.hex().upper()} for octets in built], indent=2))
    else:
        for octets in built:
            click.echo(octets.hex().upper())


# -- input -------------------------------------------------------------------------------------


def _inputs(argument: str) -> Iterator[Input]:
    path = Path(argument)
    if not (_exists(path) and path.is_dir()):
        yield from _input(argument)
        return
    shown = click.format_filename(path)
    found = [each for each in sorted(path.rglob("*")) if _may_hold_frames(each)]
    if not found:
        raise RequestError(f"{shown} holds no .hex file, and no .bin file of a frame")
    for each in found:
        yield from _input(str(each))


def _may_hold_frames(path: Path) -> bool:
    """Whether a file of a folder counts: not what archives hide beside it, nor firmware."""
    suffix = path.suffix.lower()
    if path.name.startswith(".") or not path.is_file():
        return False
    if suffix != _OCTETS_SUFFIX:
        return suffix == _TEXT_SUFFIX
    try:
        with path.open("rb") as file:
            return file.read(1) in _FIRST_OCTETS
    except OSError:
        return True  # whoever reads it says why it cannot be read


def _input(argument: str) -> list[Input]:
    path = Path(argument)
    if _exists(path):
        shown = click.format_filename(path)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
        if len(data) > MAX_FILE_BYTES:
            raise RequestError(f"{shown} is no frame, it has more than {MAX_FILE_BYTES} bytes")
        return _from_file(shown, data)
    text = "".join(argument.split())
    if text and set(text) <= _HEX_DIGITS:
        return [_from_hex(None, text)]
    octets = _from_base64(text)
    if octets is not None and octets[:1] in _FIRST_OCTETS:
        return [Input(None, octets)]
    shown = argument if len(argument) <= 60 else f"{argument[:60]}..."
    raise RequestError(f"{shown!r} is neither a file nor a frame in hexadecimal or base64")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than a name may be, as frames are; or a zero octet
        return False


def _from_file(name: str, data: bytes) -> list[Input]:
    if data[:1] in _FIRST_OCTETS:
        return [Input(name, data)]
    try:
        lines = ["".join(line.split()) for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        return [Input(name, b"", f"{name} holds octets, and none of a frame")]
    lines = [line for line in lines if line]
    if len(lines) > 1 and _is_frame(_from_text(name, lines[0])):
        return [_from_text(name, line) for line in lines]
    return [_from_text(name, "".join(lines))]


def _is_frame(given: Input) -> bool:
    """A frame says its length, so that a part of one, which was broken into lines, is none."""
    try:
        parse_frame(given.octets)
    except GbcsError:
        return False
    return True


def _from_text(name: str, text: str) -> Input:
    if not text:
        return Input(name, b"", f"{name} is empty")
    if set(text) <= _HEX_DIGITS:
        return _from_hex(name, text)
    octets = _from_base64(text)
    if octets is None:
        return Input(name, b"", f"{name} holds neither hexadecimal nor base64 nor a frame")
    return Input(name, octets)


def _from_hex(name: str | None, text: str) -> Input:
    if len(text) % 2:
        return Input(name, b"", f"{name or 'the frame'} has an odd number of hexadecimal digits")
    return Input(name, bytes.fromhex(text))


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


# -- judgement ---------------------------------------------------------------------------------


def _decode(given: Input, store: CertificateStore) -> Decoded:
    if given.error is not None:
        return Decoded(given, None, None, None, given.error)
    octets = given.octets
    try:
        if octets.startswith(ROUTED):
            octets = join_stream(octets)
        received = parse_frame(octets)
    except GbcsError as error:
        return Decoded(given, None, None, None, str(error))
    verdicts = verify(received, store)
    attributes = encrypted_attributes(received, store)
    frame = received.frame
    try:
        reading = read_payload(
            frame.message_code, frame.cra, frame.payload, received.payload_offset
        )
    except GbcsError as error:
        return Decoded(given, received, None, verdicts, str(error), attributes)
    return Decoded(given, received, reading, verdicts, None, attributes)


def _fails(decoded: Decoded) -> bool:
    return decoded.error is not None or Verdict.INVALID in (decoded.verdicts or ())


def _note(frame: Frame) -> str | None:
    """What is odd about how a frame is protected; None for what it should be, or not known."""
    permitted = required_protections(frame.message_code, frame.cra)
    found = Protection(bool(frame.signature), frame.mac is not None)
    if frame.signature is None:
        return "a pre-command, not signed yet"
    if not permitted or found in permitted:
        return None
    return f"it has {NAMED[found]}, the message needs {NAMED[permitted[0]]}"


# -- output ------------------------------------------------------------------------------------


def _document(decoded: Decoded) -> Document:
    received, verdicts, reading = decoded.received, decoded.verdicts, decoded.reading
    frame = None if received is None else received.frame
    return {
        "file": decoded.input.file,
        "use_case": frame and use_case(frame.message_code),
        "message_code": frame and f"0x{frame.message_code:04X}",
        "cra": frame and frame.cra.name.lower(),
        "originator": frame and f"{frame.originator:016X}",
        "recipient": frame and f"{frame.recipient:016X}",
        "originator_counter": frame and frame.originator_counter,
        "payload": frame and payload_document(frame, reading),
        "signature": verdicts and verdicts.signature.value,
        "mac": verdicts and verdicts.mac.value,
        "note": frame and _note(frame),
        "error": decoded.error,
        "envelope": received and envelope_document(received),
        "fields": received and fields_document(received, reading),
        "attributes": received and [document_of(each._asdict()) for each in decoded.attributes],
    }


def _tree(decoded: Decoded) -> list[str]:
    name = decoded.input.file or "frame"
    if decoded.received is None:
        return [f"{name}: {decoded.error}"]
    received, frame = decoded.received, decoded.received.frame
    title = use_case(frame.message_code) or f"message code {frame.message_code:04X}"
    lines = [f"{name}: {title} {frame.cra.name.lower()}, {len(received.octets)} octets"]
    for span in received.spans:
        lines.append(_line(span.name, span.offset, span.length, received.octets, 0))
        if span.name == "other_information":
            lines += [f"{'':15}{key}: {value}" for key, value in _other_information(frame).items()]
        elif span.name == "payload" and decoded.reading is not None:
            lines += _payload_lines(decoded.reading, received.octets)
    for attribute in decoded.attributes:
        plain = "" if attribute.octets is None else f", {_shown(attribute.octets)}"
        where = f"{attribute.length} octets at offset {attribute.offset}"
        lines.append(f"  encrypted attribute: {where}: {attribute.verdict}{plain}")
    if decoded.verdicts is not None:
        for what, verdict in zip(("signature", "MAC"), decoded.verdicts, strict=True):
            lines.append(f"  {what}: {verdict}")
    if (note := _note(frame)) is not None:
        lines.append(f"  note: {note}")
    if decoded.error is not None:
        lines.append(f"  error: {decoded.error}")
    return lines


def _payload_lines(reading: Reading[Any], octets: bytes) -> Iterable[str]:
    values = dict(_leaves(document_of(reading.value), ""))
    for span in reading.spans:
        depth = 1 + span.name.count(".")
        name = span.name.rsplit(".", 1)[-1]
        line = _line(name, span.offset, span.length, octets, depth)
        value = values.get(span.name)
        yield line if value is None else f"{line}  = {value}"


def _leaves(document: object, name: str) -> Iterator[tuple[str, object]]:
    """Every value of a document that has no parts, by the name its span has."""
    match document:
        case dict():
            for key, value in document.items():
                yield from _leaves(value, f"{name}.{key}" if name else key)
        case list():
            for at, value in enumerate(document):
                yield from _leaves(value, f"{name}[{at}]")
        case str() if len(document) > 64:
            return
        case _:
            yield name, document


def _line(name: str, offset: int, length: int, octets: bytes, depth: int) -> str:
    shown = "  " * depth + name.replace("_", " ")
    return f"  {offset:>5} {length:>5}  {shown:<21} {_shown(octets[offset : offset + length])}"


def _other_information(frame: Frame) -> dict[str, object]:
    other = frame.other_information
    party = other.supplementary_remote_party_id
    return {
        name: value
        for name, value in (
            ("message code", f"{other.message_code:04X}"),
            ("supplementary remote party id", None if party is None else f"{party:016X}"),
            ("supplementary remote party counter", other.supplementary_remote_party_counter),
            ("supplementary originator counter", other.supplementary_originator_counter),
        )
        if value is not None
    }


def _shown(octets: bytes) -> str:
    return octets[:32].hex().upper() + ("..." if len(octets) > 32 else "")


# -- building ----------------------------------------------------------------------------------


def _documents(name: str) -> list[object]:
    try:
        with click.open_file(name, "rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{name} cannot be read: {error.strerror}") from None
    if len(data) > MAX_DOCUMENT_BYTES:
        raise RequestError(f"{name} has more than {MAX_DOCUMENT_BYTES} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise RequestError(f"{name} is not JSON") from None
    return document if isinstance(document, list) else [document]


def _build(document: object, where: str, store: CertificateStore | None) -> bytes:
    try:
        return frame_octets(document, store)
    except GbcsValueError as error:
        raise RequestError(f"{where}: {error}") from None
