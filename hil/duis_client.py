"""A DUIS user: signs requests, posts them, and takes responses and alerts that are called back.

Source: DUIS, "Non-Device", "Send Command" and "Receive Response" services; the paths are those of
DCC Boxed. What comes from the DSP counts only if its signature verifies; a request that is refused
may be answered without one, as DCC Boxed does, but only at once and on the same connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from dsp_stub import xml_signature
from dsp_stub.errors import DspValueError, DuisError, SignatureError, SignatureReason
from dsp_stub.requests import Request, build_request, variant_path
from dsp_stub.responses import Response, parse_response
from dsp_stub.safe_xml import MAX_DOCUMENT_BYTES, child, parse_xml, shorten, token
from gbcs.certificates import Certificate
from gbcs.protection import PrivateKey
from hil.errors import BenchBroke, RequestError

XML = "application/xml"
REPLY_TIMEOUT_S = 60.0
SHUTDOWN_TIMEOUT_S = 2.0

Find = Callable[[int], Certificate | None]
"""The DSP's certificates by serial number."""


@dataclass(frozen=True, slots=True)
class DuisUser:
    """One user: its XML signing key and certificate, and how it knows the DSP's certificates."""

    eui64: int
    key: PrivateKey = field(repr=False)
    certificate: Certificate
    find: Find = field(repr=False)

    def sign(self, request: Request | bytes) -> bytes:
        """The request, or one that is XML already, with this user's signature."""
        try:
            octets = request if isinstance(request, bytes) else build_request(request)
            return xml_signature.sign(octets, self.key, self.certificate)
        except (DuisError, DspValueError) as error:
            raise RequestError(f"the request cannot be signed: {error}") from None

    def open_reply(self, octets: bytes) -> Response:
        """What the DSP answered at once. Raises BenchBroke for what is no answer of the DSP's."""
        try:
            return read_reply(octets, self.find)
        except DuisError as error:
            raise BenchBroke(f"the DSP's answer does not count: {error}") from None


def read_reply(octets: bytes, find: Find) -> Response:
    """A synchronous answer: signed, or unsigned and a refusal. Raises DuisError."""
    root = parse_xml(octets, "DUIS answer")
    response = parse_response(root)
    try:
        xml_signature.verify(root, find)
    except SignatureError as error:
        is_unsigned = error.reason is SignatureReason.NO_SIGNATURE
        if not is_unsigned or not response.response_code.startswith("E"):
            raise
    return response


def read_callback(octets: bytes, find: Find) -> Response:
    """A response or alert that was called back, which is always signed. Raises DuisError."""
    root = parse_xml(octets, "DUIS callback")
    xml_signature.verify(root, find)
    return parse_response(root)


# -- requests ----------------------------------------------------------------------------------


def new_session() -> aiohttp.ClientSession:
    """A session for `send`. Each request has a connection of its own: one that is kept would have
    to outlive hours of virtual time."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        timeout=aiohttp.ClientTimeout(total=REPLY_TIMEOUT_S),
    )


def request_path(octets: bytes) -> str:
    """The web service a request goes to, by its command variant, whatever else is wrong with it."""
    try:
        root = parse_xml(octets, "DUIS request")
    except DuisError as error:
        raise RequestError(str(error)) from None
    header = child(root, "Header")
    element = None if header is None else child(header, "CommandVariant")
    text = "" if element is None else token(element)
    if text not in tuple("12345678"):
        said = "has no CommandVariant" if element is None else f"has {shorten(text)!r} as one"
        raise RequestError(
            f"the request {said}: a CommandVariant from 1 to 8 says which service it goes to"
        )
    return variant_path(int(text))


async def send(
    session: aiohttp.ClientSession, base_url: str, signed: bytes, *, path: str | None = None
) -> bytes:
    """Post a request; the octets of the answer. `path` is that of its command variant unless said.

    Raises RequestError when the request cannot be posted, BenchBroke when no answer came.
    """
    url = base_url.rstrip("/") + (request_path(signed) if path is None else path)
    try:
        async with session.post(
            url, data=signed, headers={"Content-Type": XML}, allow_redirects=False
        ) as answer:
            octets = await _read(answer, url)
            if answer.status != 200:
                raise BenchBroke(f"{url} answered HTTP {answer.status}, no DUIS response")
            return octets
    except aiohttp.InvalidURL:
        raise RequestError(f"{base_url!r} is no URL: say http://HOST:PORT") from None
    except TimeoutError:
        raise BenchBroke(f"{url} did not answer within {REPLY_TIMEOUT_S:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        why = shorten(" ".join(str(error).split()), 200) or type(error).__name__
        raise BenchBroke(f"{url} cannot be reached: {why}") from None


async def _read(answer: aiohttp.ClientResponse, url: str) -> bytes:
    octets = bytearray()
    async for chunk in answer.content.iter_chunked(64 * 1024):
        octets += chunk
        if len(octets) > MAX_DOCUMENT_BYTES:
            raise BenchBroke(f"{url} answered with more than {MAX_DOCUMENT_BYTES} octets")
    return bytes(octets)


# -- callbacks ---------------------------------------------------------------------------------


class CallbackListener:
    """The port responses and alerts are posted to.

    `on_message` is given the octets and what they say, of each that verifies, before it is
    acknowledged; `on_refused` a sentence about each that does not. What `on_message` raises goes to
    the loop's exception handler, and the DSP is told that its message was not taken.
    """

    def __init__(
        self,
        user: DuisUser | Find,
        on_message: Callable[[bytes, Response], object],
        on_refused: Callable[[str], object],
    ) -> None:
        self._find = user.find if isinstance(user, DuisUser) else user
        self._on_message = on_message
        self._on_refused = on_refused
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; the URL for the DSP. Port 0 takes any that is free."""
        application = web.Application(client_max_size=MAX_DOCUMENT_BYTES)
        application.router.add_post("/{path:.*}", self._handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            reason = error.strerror or str(error)
            raise BenchBroke(f"{host}:{port} cannot be listened on: {reason}") from None
        self._runner = runner
        bound_host, bound_port = runner.addresses[0][:2]
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        return f"http://{shown}:{bound_port}/"

    async def stop(self) -> None:
        """Close the port. Nothing to do if it was never opened."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            octets = await request.read()
        except web.HTTPRequestEntityTooLarge:
            self._on_refused(f"DUIS callback: it has more than {MAX_DOCUMENT_BYTES} octets")
            raise
        try:
            response = read_callback(octets, self._find)
        except DuisError as error:
            self._on_refused(str(error))
            return web.Response(status=400, text=f"{error}\n")
        try:
            self._on_message(octets, response)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a DUIS callback was not taken", "exception": error}
            )
            return web.Response(status=500)
        return web.Response()
