"""A DUIS user over HTTP: what it believes of the DSP, and what it does with what it does not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache

import pytest
from aiohttp import web

from dsp_stub import xml_signature
from dsp_stub.errors import DuisError, SignatureError
from dsp_stub.requests import ReadFirmwareVersion, ReadInventory, Request, RequestId, parse_request
from dsp_stub.responses import (
    DccAlertMessage,
    FirmwareUpgradeAlert,
    PpmidAlert,
    Response,
    ResponseMessage,
    build_response,
)
from dsp_stub.safe_xml import MAX_DOCUMENT_BYTES, parse_xml
from dsp_stub.schema import SchemaProfile
from gbcs.certificates import Certificate, Role
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, PPMID_EUI64, SUPPLIER_EUI64, Credential, Smki
from hil.clock import VirtualLoop, hold
from hil.duis_client import (
    CallbackListener,
    DuisUser,
    new_session,
    read_callback,
    read_reply,
    request_path,
    send,
)
from hil.errors import BenchBroke, RequestError
from hil.seeds import Seeds

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST_ID = RequestId(SUPPLIER_EUI64, ACB_EUI64, 1)
INVENTORY = Request(REQUEST_ID, 8, "8.2", "8.2", ReadInventory(device_id=PPMID_EUI64))
ACCEPTED = Response(REQUEST_ID, None, "I99", EPOCH, ResponseMessage("8.2", "8.2"))
N39 = Response(
    None,
    None,
    "I0",
    EPOCH,
    DccAlertMessage(
        "N39", PpmidAlert(PPMID_EUI64, 0x8F8B, EPOCH, FirmwareUpgradeAlert("00010200", True))
    ),
)


@cache
def credential(eui64: int) -> Credential:
    seeds = Seeds(1)
    smki = Smki(lambda name: seeds.stream(name).getrandbits, EPOCH)
    role = Role.SUPPLIER if eui64 == SUPPLIER_EUI64 else Role.ACCESS_CONTROL_BROKER
    return smki.organisation(eui64, role, KeyUse.XML_SIGNATURE)


def find_dsp(serial: int) -> Certificate | None:
    certificate = credential(ACB_EUI64).certificate
    return certificate if certificate.serial == serial else None


def supplier() -> DuisUser:
    mine = credential(SUPPLIER_EUI64)
    return DuisUser(SUPPLIER_EUI64, mine.private_key, mine.certificate, find_dsp)


def from_dsp(response: Response, signer: int = ACB_EUI64) -> bytes:
    by = credential(signer)
    octets = build_response(response, SchemaProfile.MP170)
    return xml_signature.sign(octets, by.private_key, by.certificate)


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def dsp(answer: Answer) -> AsyncIterator[str]:
    """A server that answers each post in one way; its URL."""
    application = web.Application(client_max_size=MAX_DOCUMENT_BYTES)
    application.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def post(octets: bytes, url: str, path: str = "") -> tuple[int, str]:
    async with new_session() as session, session.post(url + path, data=octets) as answer:
        return answer.status, await answer.text()


class Callbacks:
    """What a listener told."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, Response]] = []
        self.refused: list[str] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        listener = CallbackListener(
            supplier(), lambda *message: self.messages.append(message), self.refused.append
        )
        url = await listener.start()
        try:
            yield url
        finally:
            await listener.stop()


# -- requests ----------------------------------------------------------------------------------


def test_a_user_signs_as_itself() -> None:
    signed = supplier().sign(INVENTORY)
    root = parse_xml(signed)
    certificate = xml_signature.verify(root, lambda _: credential(SUPPLIER_EUI64).certificate)
    assert certificate.eui64 == SUPPLIER_EUI64
    assert parse_request(root, SchemaProfile.DUIS_5_4) == INVENTORY
    assert supplier().sign(signed) == signed


def test_what_cannot_be_signed_is_a_wrong_request() -> None:
    impossible = Request(REQUEST_ID, 9, "8.2", "8.2", ReadInventory(uprn="1"))
    for request in (b"<a>", b"<!DOCTYPE a><a/>", impossible):
        with pytest.raises(RequestError, match="the request cannot be signed: "):
            supplier().sign(request)


def test_a_user_does_not_show_its_key() -> None:
    assert "PrivateKey" not in repr(supplier())


@pytest.mark.real_clock
@pytest.mark.parametrize(
    ("variant", "path"),
    [(8, "/api/v1/serviceD"), (1, "/api/v1/serviceS"), (3, "/api/v1/serviceS")],
)
async def test_a_request_arrives_at_its_service_as_it_was_signed(variant: int, path: str) -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.path, request.content_type, await request.read()))
        return web.Response(body=from_dsp(ACCEPTED))

    body = ReadFirmwareVersion()
    signed = supplier().sign(Request(REQUEST_ID, variant, "11.2", "11.2", body))
    async with dsp(answer) as url, new_session() as session:
        octets = await send(session, url + "/", signed)
    assert seen == [(path, "application/xml", signed)]
    assert supplier().open_reply(octets) == ACCEPTED


async def test_a_virtual_clock_stands_still_while_a_request_is_on_its_way() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=from_dsp(ACCEPTED))

    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    woken: list[float] = []
    loop.call_later(3600, lambda: woken.append(loop.time()))
    async with dsp(answer) as url, new_session() as session:
        for _ in range(3):
            with hold():
                assert await send(session, url, supplier().sign(INVENTORY)) == from_dsp(ACCEPTED)
        assert loop.time() < 3600
        assert not woken


@pytest.mark.real_clock
async def test_an_image_of_the_largest_size_is_posted_whole() -> None:
    received: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        received.append(len(await request.read()))
        return web.Response(body=b"x" * 100_000)

    variant = b"<sr:CommandVariant>8</sr:CommandVariant>"
    start = b'<a xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway"><sr:Header>' + variant
    end = b"</sr:Header></a>"
    octets = start + b"x" * (MAX_DOCUMENT_BYTES - len(start) - len(end)) + end
    async with dsp(answer) as url, new_session() as session:
        assert len(await send(session, url, octets)) == 100_000
    assert received == [MAX_DOCUMENT_BYTES]


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("", "has no CommandVariant"),
        ("<sr:Header/>", "has no CommandVariant"),
        ("<sr:Header><sr:CommandVariant>9</sr:CommandVariant></sr:Header>", "has '9' as one"),
        ("<sr:Header><sr:CommandVariant/></sr:Header>", "has '' as one"),
        ("<", "is not XML"),
    ],
)
def test_a_request_that_goes_nowhere_is_refused_before_it_is_sent(
    header: str, sentence: str
) -> None:
    namespace = "http://www.dccinterface.co.uk/ServiceUserGateway"
    with pytest.raises(RequestError, match=sentence):
        request_path(f'<sr:Request xmlns:sr="{namespace}">{header}</sr:Request>'.encode())


@pytest.mark.real_clock
async def test_a_dsp_that_is_not_there_is_named_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    async with new_session() as session:
        with pytest.raises(BenchBroke, match=f"^{url}/api/v1/serviceD cannot be reached: "):
            await send(session, url, supplier().sign(INVENTORY))
        for wrong in ("127.0.0.1", "", "http://"):
            with pytest.raises((RequestError, BenchBroke), match=r"say http|cannot be reached"):
                await send(session, wrong, supplier().sign(INVENTORY))


@pytest.mark.real_clock
async def test_an_answer_that_is_not_http_200_is_none() -> None:
    async def missing(_request: web.Request) -> web.Response:
        return web.Response(status=404)

    async def moved(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})

    for answer, status in ((missing, 404), (moved, 307)):
        async with dsp(answer) as url, new_session() as session:
            with pytest.raises(BenchBroke, match=f"answered HTTP {status}"):
                await send(session, url, supplier().sign(INVENTORY))


@pytest.mark.real_clock
async def test_an_answer_without_end_is_cut_off() -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        for _ in range(MAX_DOCUMENT_BYTES // 2**20 + 8):
            await stream.write(bytes(2**20))
        return stream

    async with dsp(flood) as url, new_session() as session:
        with pytest.raises(BenchBroke, match=f"more than {MAX_DOCUMENT_BYTES} octets"):
            await send(session, url, supplier().sign(INVENTORY))


@pytest.mark.real_clock
async def test_a_connection_that_breaks_is_said_in_one_sentence() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, new_session() as session:
        with pytest.raises(BenchBroke, match="cannot be reached: "):
            await send(session, f"http://127.0.0.1:{port}", supplier().sign(INVENTORY))


# -- what is believed --------------------------------------------------------------------------


def unsigned(code: str) -> bytes:
    response = Response(REQUEST_ID, None, code, EPOCH, ResponseMessage("8.2", "8.2"))
    return build_response(response, SchemaProfile.MP170)


def test_only_a_refusal_may_come_unsigned() -> None:
    assert supplier().open_reply(unsigned("E40")).response_code == "E40"
    for code in ("I0", "I99", "W110401"):
        with pytest.raises(BenchBroke, match=r"^the DSP's answer does not count: .*no signature"):
            supplier().open_reply(unsigned(code))


def test_a_refusal_that_is_signed_wrongly_does_not_count_as_unsigned() -> None:
    refusal = Response(REQUEST_ID, None, "E40", EPOCH, ResponseMessage("8.2", "8.2"))
    for octets in (
        from_dsp(refusal).replace(b">E40<", b">E41<"),
        from_dsp(refusal, SUPPLIER_EUI64),
    ):
        with pytest.raises(SignatureError):
            read_reply(octets, find_dsp)


@pytest.mark.parametrize("octets", [b"", b"<html/>", b"<!DOCTYPE html><html/>", b"\xff"])
def test_an_answer_that_is_no_duis_response_is_said_to_be_none(octets: bytes) -> None:
    with pytest.raises(BenchBroke, match="the DSP's answer does not count"):
        supplier().open_reply(octets)


def test_a_callback_is_never_believed_unsigned() -> None:
    assert read_callback(from_dsp(N39), find_dsp) == N39
    for octets in (unsigned("E21"), unsigned("I0"), from_dsp(N39, SUPPLIER_EUI64), b"<a/>"):
        with pytest.raises(DuisError):
            read_callback(octets, find_dsp)


# -- callbacks ---------------------------------------------------------------------------------


@pytest.mark.real_clock
async def test_a_callback_that_verifies_is_told_and_acknowledged() -> None:
    callbacks = Callbacks()
    async with callbacks.listening() as url:
        for path in ("", "any/where?x=1"):
            assert (await post(from_dsp(N39), url, path))[0] == 200
    assert callbacks.messages == [(from_dsp(N39), N39)] * 2
    assert callbacks.refused == []


@pytest.mark.real_clock
async def test_a_callback_that_does_not_verify_is_refused_with_its_reason() -> None:
    callbacks = Callbacks()
    altered = from_dsp(N39).replace(b"ActivationSuccess", b"ActivationFailure")
    async with callbacks.listening() as url:
        for octets in (altered, unsigned("E21"), from_dsp(N39, SUPPLIER_EUI64), b"", b"\0"):
            status, text = await post(octets, url)
            assert status == 400
            assert text == callbacks.refused[-1] + "\n"
    assert callbacks.messages == []
    assert len(callbacks.refused) == 5
    assert "is not the digest of the document" in callbacks.refused[0]


@pytest.mark.real_clock
async def test_a_callback_too_large_is_refused() -> None:
    callbacks = Callbacks()
    async with callbacks.listening() as url:
        status, _ = await post(bytes(MAX_DOCUMENT_BYTES + 1), url)
    assert status == 413
    assert callbacks.messages == []
    assert callbacks.refused == [f"DUIS callback: it has more than {MAX_DOCUMENT_BYTES} octets"]


@pytest.mark.real_clock
async def test_what_a_receiver_raises_is_not_acknowledged_and_reaches_the_loop() -> None:
    def break_down(_octets: bytes, _response: Response) -> None:
        raise ZeroDivisionError("receiver")

    reported: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
    listener = CallbackListener(find_dsp, break_down, reported.append)
    url = await listener.start()
    try:
        assert (await post(from_dsp(N39), url))[0] == 500
    finally:
        await listener.stop()
        loop.set_exception_handler(None)
    (error,) = reported
    assert isinstance(error, ZeroDivisionError)


@pytest.mark.real_clock
async def test_only_a_post_is_a_callback() -> None:
    callbacks = Callbacks()
    async with (
        callbacks.listening() as url,
        new_session() as session,
        session.get(url) as answer,
    ):
        assert answer.status == 405
    assert callbacks.messages == []


@pytest.mark.real_clock
async def test_after_the_stop_the_port_is_free_again() -> None:
    callbacks = Callbacks()
    async with callbacks.listening() as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        other = CallbackListener(find_dsp, lambda *_: None, callbacks.refused.append)
        with pytest.raises(BenchBroke, match=f"127.0.0.1:{port} cannot be listened on: "):
            await other.start(port=port)
        await other.stop()
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_on_a_virtual_loop_a_callback_takes_no_time() -> None:
    callbacks = Callbacks()
    loop = asyncio.get_running_loop()
    before = loop.time()
    async with callbacks.listening() as url:
        with hold():
            assert (await post(from_dsp(N39), url))[0] == 200
        assert loop.time() == before
    assert [response for _, response in callbacks.messages] == [N39]
