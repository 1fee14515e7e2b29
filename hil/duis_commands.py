"""`hanbench duis`: DUIS messages from the command line, without Java.

Source: DESIGN, "What it promises to the outside" (`duis`, exit codes). A FILE of `-` is standard
input; standard output carries the result alone, so that the commands fit into a pipe:

    hanbench duis sign request.xml --keys pki | hanbench duis send - --url http://127.0.0.1:8079
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
from lxml import etree

from dsp_stub.errors import DuisError, SignatureError
from dsp_stub.fields import MAX_COUNTER, RequestId
from dsp_stub.options import is_loopback_url
from dsp_stub.requests import peek_header
from dsp_stub.responses import Response, parse_response
from dsp_stub.safe_xml import SR, child, local_name, parse_xml, token
from dsp_stub.xml_signature import verify, xml_role
from gbcs.certificates import Certificate, Role
from hil.clock import run_real
from hil.duis_build import build_command, eui64_option, request_id_option
from hil.duis_client import CallbackListener, new_session, read_reply, send
from hil.duis_files import (
    STANDARD_STREAM,
    parse_document,
    read_octets,
    shown_name,
    write_octets,
)
from hil.duis_lines import message_title, one_line, response_document, response_lines
from hil.errors import BenchBroke, RequestError
from hil.serving import host_and_port, interruption, require_loopback
from hil.xml_keys import XmlKeys, load_xml_keys

DEFAULT_URL = "http://127.0.0.1:8079"  # the port of DCC Boxed
DEFAULT_LISTEN = "127.0.0.1:8081"
_SIGNERS = {Role.XML_SIGN: "a user", Role.DSP_XML_SIGN: "the DSP"}


@click.group("duis")
def duis_group() -> None:
    """DUIS messages: build, sign, verify, send, listen."""


duis_group.add_command(build_command)


_file_argument = click.argument("file", default=STANDARD_STREAM, metavar="[FILE|-]")
_FOLDER = click.Path(path_type=Path)


# -- sign --------------------------------------------------------------------------------------


@duis_group.command("sign")
@_file_argument
@click.option(
    "--keys", "folder", metavar="DIR", type=_FOLDER, required=True, help="Certificates and keys."
)
@click.option(
    "--as",
    "signer",
    metavar="EUI64",
    callback=eui64_option,
    help="Who signs, if not the originator in the RequestID.",
)
@click.option("--out", metavar="FILE", type=_FOLDER, help="Write here, not to standard output.")
@click.option(
    "--request-id",
    metavar="TEXT",
    callback=request_id_option,
    help="Put this RequestID in first: originator:target:counter.",
)
@click.option(
    "--counter",
    type=click.IntRange(0, MAX_COUNTER),
    help="Put this counter into the RequestID first.",
)
def sign_command(
    file: str,
    folder: Path,
    signer: int | None,
    out: Path | None,
    request_id: RequestId | None,
    counter: int | None,
) -> None:
    """Sign a DUIS message; what else is in it stays as it was written.

    A signature that is there, such as that of a template, is replaced.
    """
    octets = read_octets(file)
    shown = shown_name(file)
    root = parse_document(octets, shown)
    if request_id is not None or counter is not None:
        octets = _with_request_id(root, shown, request_id, counter)
    if signer is None:
        signer = _originator(root, shown)
    keys = load_xml_keys(folder)
    write_octets(out, keys.user(signer).sign(octets))


def _with_request_id(
    root: etree._Element, shown: str, request_id: RequestId | None, counter: int | None
) -> bytes:
    """The document with another RequestID."""
    element = _request_id_element(root)
    if element is None:
        raise RequestError(f"{shown} has no RequestID that could be set")
    if request_id is None:
        request_id = _request_id(element, shown)
    if counter is not None:
        request_id = replace(request_id, counter=counter)
    for inner in list(element):
        element.remove(inner)
    element.text = str(request_id)
    tree = root.getroottree()
    octets: bytes = etree.tostring(tree, encoding="UTF-8", xml_declaration=True)
    return octets


def _originator(root: etree._Element, shown: str) -> int:
    """Who the RequestID says the message is from."""
    element = _request_id_element(root)
    if element is None:
        raise RequestError(f"{shown} has no RequestID: say with --as who signs")
    if root.tag != f"{{{SR}}}Request":
        raise RequestError(f"{shown} is no Request: say with --as who signs")
    return _request_id(element, shown).originator


def _request_id_element(root: etree._Element) -> etree._Element | None:
    header = child(root, "Header")
    return None if header is None else child(header, "RequestID")


def _request_id(element: etree._Element, shown: str) -> RequestId:
    try:
        return RequestId.parse(token(element))
    except DuisError as error:
        raise RequestError(f"{shown}: its RequestID {error.problem}") from None


# -- verify ------------------------------------------------------------------------------------


@duis_group.command("verify")
@_file_argument
@click.option("--keys", "folder", metavar="DIR", type=_FOLDER, required=True, help="Certificates.")
@click.pass_context
def verify_command(ctx: click.Context, file: str, folder: Path) -> None:
    """Say who signed a DUIS message, and what it is.

    Exit code 1, with the reason, when the signature does not hold or is not that of the one the
    message is from.
    """
    shown = shown_name(file)
    root = parse_document(read_octets(file), shown)
    keys = load_xml_keys(folder)
    try:
        certificate = verify(root, keys.find)
    except SignatureError as error:
        click.echo(f"{shown}: not verified: {error}")
        ctx.exit(1)
    reason = _why_not_its(root, certificate)
    if reason is not None:
        click.echo(f"{shown}: not verified: {reason}")
        ctx.exit(1)
    signer = _SIGNERS.get(xml_role(certificate) or Role.ROOT, "somebody")
    click.echo(f"{shown}: {_what(root)}")
    click.echo(f"  signed by {certificate.eui64:016X}, {signer}, serial {certificate.serial}")


def _why_not_its(root: etree._Element, certificate: Certificate) -> str | None:
    """Why the signer, whose signature holds, is not who may sign this message."""
    role = xml_role(certificate)
    if root.tag == f"{{{SR}}}Response":
        return None if role is Role.DSP_XML_SIGN else "a response is signed by the DSP, not a user"
    text = peek_header(root)[0]
    if root.tag != f"{{{SR}}}Request" or text is None:
        return "it is neither a response nor a request with a RequestID"
    originator = RequestId.parse(text).originator
    if certificate.eui64 != originator:
        return f"it is from {originator:016X}, and signed by {certificate.eui64:016X}"
    return None


def _what(root: etree._Element) -> str:
    """What a message is, whether its schema is ours or not."""
    if root.tag == f"{{{SR}}}Response":
        try:
            return one_line(parse_response(root))
        except DuisError:
            return "response in a form that is not read here"
    request_id, reference, _ = peek_header(root)
    return f"{local_name(root).lower()} {reference} {request_id}"


# -- send --------------------------------------------------------------------------------------


@duis_group.command("send")
@_file_argument
@click.option("--url", default=DEFAULT_URL, show_default=True, help="Where the DSP listens.")
@click.option(
    "--keys", "folder", metavar="DIR", type=_FOLDER, help="Certificates the answer must verify by."
)
@click.option("--xml", "as_xml", is_flag=True, help="Print the answer as it came.")
@click.option("--anywhere", is_flag=True, help="Send beyond this machine.")
@click.pass_context
def send_command(
    ctx: click.Context, file: str, url: str, folder: Path | None, as_xml: bool, anywhere: bool
) -> None:
    """Post a signed request to the service of its command variant, and say what the answer is.

    Exit code 0 when the request is accepted (I, W), 1 when it is refused (E) or the answer does not
    verify.
    """
    if not anywhere and not is_loopback_url(url):
        raise RequestError(f"{url!r} is no http URL of this machine: say --anywhere if it is meant")
    octets = read_octets(file)
    keys = None if folder is None else load_xml_keys(folder)

    async def post() -> bytes:
        async with new_session() as session:
            return await send(session, url, octets)

    answer = run_real(post)
    try:
        response = _answer(answer, keys)
    except SignatureError as error:
        click.echo(f"the answer does not verify: {error}")
        ctx.exit(1)
    except DuisError as error:
        raise BenchBroke(f"{url} answered with what is no DUIS response: {error}") from None
    if as_xml:
        write_octets(None, answer)
    else:
        click.echo("\n".join(response_lines(response)))
    if response.response_code.startswith("E"):
        ctx.exit(1)


def _answer(octets: bytes, keys: XmlKeys | None) -> Response:
    if keys is not None:
        return read_reply(octets, keys.find_dsp)
    click.echo("hanbench: without --keys the signature of the answer is not checked", err=True)
    return parse_response(parse_xml(octets, "DUIS answer"))


# -- listen ------------------------------------------------------------------------------------


@duis_group.command("listen")
@click.option("--listen", "address", metavar="HOST:PORT", default=DEFAULT_LISTEN, show_default=True)
@click.option(
    "--keys",
    "folder",
    metavar="DIR",
    type=_FOLDER,
    required=True,
    help="Certificates callbacks must verify by.",
)
@click.option("--out", metavar="DIR", type=_FOLDER, help="Keep each callback as a file in here.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object per callback and line.")
@click.option("--allow-remote", is_flag=True, help="Listen beyond this machine.")
def listen_command(
    address: str, folder: Path, out: Path | None, as_json: bool, allow_remote: bool
) -> None:
    """Take responses and alerts until interrupted; one line for each.

    What does not verify is refused with HTTP 400, and named on standard error.
    """
    host, port = host_and_port(address)
    require_loopback(host, allow_remote)
    keys = load_xml_keys(folder)
    desk = _Taken(out, as_json)

    async def serve() -> None:
        interrupted = interruption()
        broke: list[BenchBroke] = []

        def end(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
            """What was not taken the DSP keeps: better to stop than to have it try for ever."""
            error = context.get("exception") or context.get("message")
            broke.append(error if isinstance(error, BenchBroke) else BenchBroke(str(error)))
            interrupted.set()

        asyncio.get_running_loop().set_exception_handler(end)
        listener = CallbackListener(keys.find_dsp, desk.take, desk.refuse)
        url = await listener.start(host, port)
        try:
            if as_json:
                click.echo(json.dumps({"listening": url}))
            else:
                click.echo(f"listening  {url}")
            await interrupted.wait()
        finally:
            await listener.stop()
        if broke:
            raise broke[0]

    run_real(serve)


class _Taken:
    """Shows and keeps what is called back."""

    def __init__(self, folder: Path | None, as_json: bool) -> None:
        self._folder = folder
        self._as_json = as_json
        self._number = 0
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                shown = click.format_filename(folder)
                raise RequestError(f"{shown} cannot be made: {error.strerror}") from None
            taken = (re.match(r"\d{4,}(?=-)", path.name) for path in folder.glob("*.xml"))
            self._number = max((int(found[0]) for found in taken if found), default=0)

    def take(self, octets: bytes, response: Response) -> None:
        self._number += 1
        file = None if self._folder is None else self._keep(self._folder, octets, response)
        if self._as_json:
            click.echo(json.dumps(response_document(response) | {"file": file}))
            return
        now = datetime.now(UTC).strftime("%H:%M:%S")
        click.echo(f"{now}  {response.response_code}  {one_line(response)}")

    def refuse(self, sentence: str) -> None:
        click.echo(f"hanbench: refused: {sentence}", err=True)

    def _keep(self, folder: Path, octets: bytes, response: Response) -> str:
        title = re.sub(r"[^A-Za-z0-9.]+", "-", message_title(response.message))[:60]
        path = folder / f"{self._number:04d}-{title}.xml"
        shown = click.format_filename(path)
        try:
            path.write_bytes(octets)
        except OSError as error:
            raise BenchBroke(f"{shown} cannot be written: {error.strerror}") from None
        return shown
