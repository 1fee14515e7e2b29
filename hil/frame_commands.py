"""`hanbench frame`: what is in a GBCS frame, and whether its signature and MAC hold.

Source: DESIGN, "What it promises to the outside" (`frame decode`, exit codes).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import fields
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import click

from gbcs.certificates import CertificateStore
from gbcs.codes import Payload, parse_payload, use_case
from gbcs.envelope import Frame, ReceivedFrame, parse_frame
from gbcs.errors import GbcsError
from gbcs.protection import Verdict, Verdicts, verify
from hil.errors import RequestError
from hil.pki_commands import load_keys

# Four times the octets of the longest frame leave room for any way of writing them.
MAX_FILE_BYTES = 4 * 0x10000
_FIRST_OCTETS = (0xDD, 0xDF)
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
# Hexadecimal digits of each number that is not shown in decimal.
_HEX_WIDTHS = {"firmware_version": 8, "device": 16, "alert_code": 4}


class Input(NamedTuple):
    """One argument: its file if it is one, its octets, or why it has none."""

    file: str | None
    octets: bytes
    error: str | None = None


class Decoded(NamedTuple):
    """All that can be said of one input."""

    input: Input
    received: ReceivedFrame | None
    payload: Payload | None
    verdicts: Verdicts | None
    error: str | None


@click.group("frame")
def frame_group() -> None:
    """GBCS frames: decode."""


@frame_group.command("decode")
@click.argument("frames", nargs=-1, required=True, metavar="HEX|FILE...")
@click.option(
    "--keys",
    "key_folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Certificates and keys, named as `pki create` and RTDS name them.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, nothing else.")
@click.pass_context
def decode_command(
    ctx: click.Context, frames: tuple[str, ...], key_folder: Path | None, as_json: bool
) -> None:
    """Say what is in each frame: hexadecimal, base64, or a file of either or of its octets.

    Exit code 1 when a frame does not decode, or a signature or MAC is invalid.
    """
    inputs = [_input(argument) for argument in frames]
    store = CertificateStore() if key_folder is None else load_keys(key_folder)
    decoded = [_decode(each, store) for each in inputs]
    if as_json:
        click.echo(json.dumps([_document(each) for each in decoded], indent=2))
    else:
        for number, each in enumerate(decoded):
            click.echo("\n" * bool(number) + "\n".join(_tree(each)))
    if any(_fails(each) for each in decoded):
        ctx.exit(1)


# -- input -------------------------------------------------------------------------------------


def _input(argument: str) -> Input:
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
        return _from_hex(None, text)
    octets = _from_base64(text)
    if octets is not None and octets[:1] and octets[0] in _FIRST_OCTETS:
        return Input(None, octets)
    shown = argument if len(argument) <= 60 else f"{argument[:60]}..."
    raise RequestError(f"{shown!r} is neither a file nor a frame in hexadecimal or base64")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than a name may be, as frames are; or a zero octet
        return False


def _from_file(name: str, data: bytes) -> Input:
    if data[:1] and data[0] in _FIRST_OCTETS:
        return Input(name, data)
    try:
        text = "".join(data.decode("utf-8-sig").split())
    except UnicodeDecodeError:
        return Input(name, b"", f"{name} holds octets, and none of a frame")
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
    try:
        received = parse_frame(given.octets)
    except GbcsError as error:
        return Decoded(given, None, None, None, str(error))
    verdicts = verify(received, store)
    frame = received.frame
    try:
        payload = parse_payload(
            frame.message_code, frame.cra, frame.payload, received.payload_offset
        )
    except GbcsError as error:
        return Decoded(given, received, None, verdicts, str(error))
    return Decoded(given, received, payload, verdicts, None)


def _fails(decoded: Decoded) -> bool:
    return decoded.error is not None or Verdict.INVALID in (decoded.verdicts or ())


# -- output ------------------------------------------------------------------------------------


def _document(decoded: Decoded) -> dict[str, object]:
    frame = None if decoded.received is None else decoded.received.frame
    verdicts = decoded.verdicts
    return {
        "file": decoded.input.file,
        "use_case": frame and use_case(frame.message_code),
        "message_code": frame and f"0x{frame.message_code:04X}",
        "cra": frame and frame.cra.name.lower(),
        "originator": frame and f"{frame.originator:016X}",
        "recipient": frame and f"{frame.recipient:016X}",
        "originator_counter": frame and frame.originator_counter,
        "payload": frame and _payload_document(frame, decoded.payload),
        "signature": verdicts and verdicts.signature.value,
        "mac": verdicts and verdicts.mac.value,
        "error": decoded.error,
    }


def _payload_document(frame: Frame, payload: Payload | None) -> dict[str, object]:
    return {"octets": frame.payload.hex().upper()} | _payload_fields(payload)


def _payload_fields(payload: Payload | None) -> dict[str, object]:
    if payload is None:
        return {}
    return {
        field.name: _field_value(field.name, getattr(payload, field.name))
        for field in fields(payload)
    }


def _field_value(name: str, value: object) -> object:
    match value:
        case IntEnum():
            return value.name.lower().replace("_", "-")
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case bytes():
            return value.hex().upper()
        case bool():
            return value
        case int() if name in _HEX_WIDTHS:
            return f"{value:0{_HEX_WIDTHS[name]}X}"
        case _:
            return value


def _tree(decoded: Decoded) -> list[str]:
    name = decoded.input.file or "frame"
    if decoded.received is None:
        return [f"{name}: {decoded.error}"]
    received, frame = decoded.received, decoded.received.frame
    title = use_case(frame.message_code) or f"message code {frame.message_code:04X}"
    lines = [f"{name}: {title} {frame.cra.name.lower()}, {len(received.octets)} octets"]
    for span in received.spans:
        octets = received.octets[span.offset : span.offset + span.length]
        lines.append(f"  {span.offset:>5} {span.length:>5}  {span.name:<22}{_shown(octets)}")
        if span.name == "other information":
            lines += _indented(_other_information(frame))
        elif span.name == "payload":
            lines += _indented(_payload_fields(decoded.payload))
    if decoded.verdicts is not None:
        for what, verdict in zip(("signature", "MAC"), decoded.verdicts, strict=True):
            lines.append(f"  {what}: {verdict}")
    if decoded.error is not None:
        lines.append(f"  error: {decoded.error}")
    return lines


def _other_information(frame: Frame) -> dict[str, object]:
    other = frame.other_information
    party = other.supplementary_remote_party_id
    return {
        name: value
        for name, value in (
            ("message_code", f"{other.message_code:04X}"),
            ("supplementary_remote_party_id", None if party is None else f"{party:016X}"),
            ("supplementary_remote_party_counter", other.supplementary_remote_party_counter),
            ("supplementary_originator_counter", other.supplementary_originator_counter),
        )
        if value is not None
    }


def _indented(rows: dict[str, object]) -> list[str]:
    return [f"{'':15}{name.replace('_', ' ')}: {value}" for name, value in rows.items()]


def _shown(octets: bytes) -> str:
    return octets[:32].hex().upper() + ("..." if len(octets) > 32 else "")
