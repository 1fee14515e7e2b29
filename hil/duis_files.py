"""The files `hanbench duis` reads and writes: `-` is standard input, and standard output
carries the result alone.

Source: DESIGN, "What it promises to the outside".
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from lxml import etree

from dsp_stub.errors import DuisError
from dsp_stub.safe_xml import MAX_DOCUMENT_BYTES, parse_xml
from hil.errors import RequestError

STANDARD_STREAM = "-"


def shown_name(file: str) -> str:
    return "standard input" if file == STANDARD_STREAM else click.format_filename(file)


def read_octets(file: str) -> bytes:
    shown = shown_name(file)
    try:
        if file == STANDARD_STREAM:
            octets = sys.stdin.buffer.read(MAX_DOCUMENT_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                octets = stream.read(MAX_DOCUMENT_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RequestError(f"{shown} cannot be read: {reason}") from None
    return octets


def parse_document(octets: bytes, shown: str) -> etree._Element:
    try:
        return parse_xml(octets, shown)
    except DuisError as error:
        raise RequestError(str(error)) from None


def write_octets(out: Path | None, octets: bytes) -> None:
    """The octets and nothing else, so that a signature in them still holds."""
    if out is None:
        click.echo(octets, nl=False)
        return
    try:
        out.write_bytes(octets)
    except OSError as error:
        shown = click.format_filename(out)
        raise RequestError(f"{shown} cannot be written: {error.strerror}") from None
