"""`hanbench duis build`: any DUIS request, from options or JSON; and what is signed after a
Transform.

Source: DESIGN, "What it promises to the outside" (`duis`). The result is unsigned XML, for a pipe:

    hanbench duis build 11.2 --from 90B3D51F30010000 --to 00DB1234567890A4 |
        hanbench duis sign - --keys pki | hanbench duis send -

    hanbench duis build 11.3 --from 90B3D51F30010000 --to 00DB1234567890A0 --set FirmwareHash=AA.. |
        hanbench duis sign - --keys pki | hanbench duis send - --xml > answer.xml
    hanbench duis build --pre-command answer.xml --keys pki | hanbench duis sign - --keys pki | ...
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from dsp_stub.errors import DspValueError, DuisError
from dsp_stub.fields import MAX_COUNTER, RequestId, octets_to_xml
from dsp_stub.gateway import RULES
from dsp_stub.requests import (
    DCC_ONLY_VARIANT,
    SCHEMA_VERSION,
    Body,
    Request,
    SignedPreCommand,
    build_request,
    service_reference,
)
from dsp_stub.responses import PreCommand, ResponseMessage, parse_response
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.protection import KeyUse, PrivateKey, complete_pre_command
from gbcs.smki import ACB_EUI64
from hil.duis_bodies import SERVICES, make_body, read_eui64
from hil.duis_files import parse_document, read_octets, shown_name, write_octets
from hil.errors import RequestError
from hil.key_folder import MAX_KEY_FILE_BYTES, read_private_key

_FOLDER = click.Path(path_type=Path)
SIGNED_VARIANT = 5
_SIGNED_VARIANTS = (5, 6, 7)
_KEYS_OF_JSON = ("service", "request_id", "command_variant", "schema_version", "body")


# -- options that several commands have --------------------------------------------------------


def eui64_option(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> int | None:
    try:
        return None if text is None else read_eui64(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} {error}") from None


def request_id_option(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> RequestId | None:
    try:
        return None if text is None else RequestId.parse(text)
    except DuisError as error:
        raise click.BadParameter(f"it {error.problem}") from None


# -- build -------------------------------------------------------------------------------------


@click.command("build")
@click.argument("service", required=False)
@click.option("--from", "originator", metavar="EUI64", callback=eui64_option, help="The user.")
@click.option(
    "--to", "target", metavar="EUI64", callback=eui64_option, help="The device, if not the DCC."
)
@click.option(
    "--counter", type=click.IntRange(0, MAX_COUNTER), help="Of the RequestID; default: the time."
)
@click.option(
    "--request-id", metavar="TEXT", callback=request_id_option, help="In place of these three."
)
@click.option("--variant", type=click.IntRange(1, 8), help="Command variant; default: the usual.")
@click.option(
    "--set", "values", metavar="NAME=VALUE", multiple=True, help="An element; VALUE may be @FILE."
)
@click.option("--json", "file", metavar="FILE|-", help="The request as JSON; options go before.")
@click.option("--pre-command", "answer", metavar="FILE|-", help="Sign the answer to a Transform.")
@click.option("--keys", "folder", metavar="DIR", type=_FOLDER, help="The user's key, for that.")
@click.option("--out", metavar="FILE", type=_FOLDER, help="Write here, not to standard output.")
def build_command(
    service: str | None,
    originator: int | None,
    target: int | None,
    counter: int | None,
    request_id: RequestId | None,
    variant: int | None,
    values: tuple[str, ...],
    file: str | None,
    answer: str | None,
    folder: Path | None,
    out: Path | None,
) -> None:
    """Make a DUIS request, without its XML signature.

    SERVICE is a service reference such as 11.4; elements are set by their names in the DUIS schema.
    """
    given = {
        name: value
        for name, value in (
            ("service", service),
            ("request_id", None if request_id is None else str(request_id)),
            ("command_variant", variant),
        )
        if value is not None
    }
    document = _document(file) | given
    document["body"] = document.get("body", {}) | dict(map(_pair, values))
    if answer is not None:
        request = _signed_request(answer, folder, document)
    else:
        request = _request(document, originator, target, counter)
    try:
        octets = build_request(request)
    except DspValueError as error:
        raise RequestError(f"the request cannot be: {error}") from None
    write_octets(out, octets)


def _document(file: str | None) -> dict[str, Any]:
    if file is None:
        return {}
    shown = shown_name(file)
    try:
        document = json.loads(read_octets(file))
    except ValueError as error:
        raise RequestError(f"{shown} is no JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("body", {}), dict):
        raise RequestError(f"{shown} is no JSON object with an object as body")
    for name in document:
        if name not in _KEYS_OF_JSON:
            raise RequestError(f"{shown} has {name!r}, it may have {', '.join(_KEYS_OF_JSON)}")
    return document


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise RequestError(f"--set {text!r} is not NAME=VALUE")
    return name, value


def _request(
    document: dict[str, Any], originator: int | None, target: int | None, counter: int | None
) -> Request:
    service = document.get("service")
    if service not in SERVICES:
        known = ", ".join(sorted(SERVICES, key=lambda one: [int(n) for n in one.split(".")]))
        raise RequestError(f"{service or 'no SERVICE'} is not one of {known}")
    rule = RULES[service]
    variant = _variant(document, rule.variants[0])
    kind: type[Body] = SignedPreCommand if variant in _SIGNED_VARIANTS else SERVICES[service]
    request_id = _request_id(document, variant, originator, target, counter)
    body = make_body(kind, document["body"])
    version = document.get("schema_version", SCHEMA_VERSION)
    return Request(request_id, variant, service_reference(service), service, body, str(version))


def _variant(document: dict[str, Any], usual: int) -> int:
    variant = document.get("command_variant", usual)
    if isinstance(variant, bool) or variant not in range(1, 9):
        raise RequestError(f"command_variant is {variant!r}, not a number from 1 to 8")
    return int(variant)


def _request_id(
    document: dict[str, Any],
    variant: int,
    originator: int | None,
    target: int | None,
    counter: int | None,
) -> RequestId:
    said = document.get("request_id")
    try:
        parsed = None if said is None else RequestId.parse(str(said))
    except DuisError as error:
        raise RequestError(f"request_id {error.problem}") from None
    if parsed is not None:
        originator = parsed.originator if originator is None else originator
        target = parsed.target if target is None else target
        counter = parsed.counter if counter is None else counter
    if originator is None:
        raise RequestError("say with --from whose request it is, or give a --request-id")
    if target is None:
        if variant != DCC_ONLY_VARIANT:
            raise RequestError("say with --to which device it is for, or give a --request-id")
        target = ACB_EUI64
    if counter is None:
        # As other implementations do: later requests have higher ones.
        counter = time.time_ns() // 1_000_000
    return RequestId(originator, target, counter)


# -- what follows a Transform ------------------------------------------------------------------


def _signed_request(answer: str, folder: Path | None, document: dict[str, Any]) -> Request:
    """The signed pre-command of the answer to a Transform, under its RequestID."""
    if folder is None:
        raise RequestError("say with --keys where the key is that signs the pre-command")
    shown = shown_name(answer)
    try:
        response = parse_response(parse_document(read_octets(answer), shown))
    except DuisError as error:
        raise RequestError(str(error)) from None
    message, request_id = response.message, response.request_id
    if (
        request_id is None
        or not isinstance(message, ResponseMessage)
        or not isinstance(message.content, PreCommand)
    ):
        raise RequestError(
            f"{shown} is no answer with a pre-command, its code is {response.response_code}"
        )
    key = _signing_key(folder, request_id.originator)
    try:
        signed = complete_pre_command(parse_frame(message.content.octets), key)
    except (GbcsError, GbcsValueError) as error:
        raise RequestError(f"the pre-command of {shown} cannot be signed: {error}") from None
    variant = _variant(document, SIGNED_VARIANT)
    service = message.service_reference_variant
    given = document["body"] | {"GBCSPayload": octets_to_xml(signed)}
    body = make_body(SignedPreCommand, given)
    return Request(request_id, variant, service_reference(service), service, body)


def _signing_key(folder: Path, eui64: int) -> PrivateKey:
    path = folder / f"{eui64:016x}-{KeyUse.DIGITAL_SIGNATURE}.key"
    shown = click.format_filename(path)
    try:
        with path.open("rb") as file:
            return read_private_key(file.read(MAX_KEY_FILE_BYTES))
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    except GbcsValueError as error:
        raise RequestError(f"{shown}: {error}") from None
