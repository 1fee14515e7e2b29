"""`hanbench duis` as a user at a terminal, or a script, sees it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree

from dsp_stub import xml_signature
from dsp_stub.errors import SignatureError
from dsp_stub.mmc import parsed_view
from dsp_stub.requests import (
    DevicePrenotification,
    ReadInventory,
    Request,
    RequestId,
    build_request,
    parse_request,
)
from dsp_stub.responses import (
    CommsHubAlert,
    CspFirmwareDeliveryStatus,
    DccAlert,
    DccAlertMessage,
    DeviceAlertMessage,
    DspInventory,
    FirmwareUpgradeAlert,
    FirmwareVersionMismatch,
    FirmwareWarning,
    GbcsPayload,
    InventoryDevice,
    Message,
    PpmidAlert,
    Response,
    ResponseMessage,
    Unread,
    UpdateHanDeviceLogResult,
    build_response,
)
from dsp_stub.safe_xml import parse_xml
from dsp_stub.schema import SchemaProfile
from gbcs.smki import ACB_EUI64, CHF_EUI64, PPMID_EUI64, SUPPLIER_EUI64
from hil.alert_words import alert_words
from hil.duis_commands import duis_group
from hil.duis_lines import (
    alert_element,
    message_devices,
    message_title,
    message_words,
    one_line,
    response_document,
    response_lines,
)
from hil.errors import BenchBroke, HanbenchError, RequestError
from hil.pki_commands import pki_group
from hil.xml_keys import load_xml_keys

REPOSITORY = Path(__file__).parents[2]
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST_ID = RequestId(SUPPLIER_EUI64, ACB_EUI64, 1000)
FRAME = bytes.fromhex(
    "DD000000000000461100000000DF090100000000000005140890B3D51F300000020800DB1234567890A400"
    "12012990B3D51F3001000000000000000003E802050000000102030405060708090A0B"
)
N39 = DccAlertMessage(
    "N39", PpmidAlert(PPMID_EUI64, 0x8F8B, EPOCH, FirmwareUpgradeAlert("00010200", True))
)


def run(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(duis_group, [str(each) for each in arguments], input=stdin)


def done(*arguments: object, stdin: bytes = b"", exit_code: int = 0) -> Result:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result


def wrong(*arguments: object, stdin: bytes = b"") -> str:
    """The sentence of a request that is wrong."""
    result = run(*arguments, stdin=stdin)
    assert isinstance(result.exception, RequestError), (result.output, result.exception)
    assert result.stdout == ""
    return str(result.exception)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("duis") / "pki"
    assert CliRunner().invoke(pki_group, ["create", str(folder)]).exit_code == 0
    return folder


def plain(counter: int = 1000) -> bytes:
    request_id = RequestId(SUPPLIER_EUI64, ACB_EUI64, counter)
    return build_request(Request(request_id, 8, "8.2", "8.2", ReadInventory(uprn="1")))


def signed(pki: Path, octets: bytes | None = None, *options: object) -> bytes:
    arguments = ("sign", "-", "--keys", pki, *options)
    return done(*arguments, stdin=plain() if octets is None else octets).stdout_bytes


def from_dsp(pki: Path, message: Message, code: str = "I0", signer: int = ACB_EUI64) -> bytes:
    response_id = None
    request_id = REQUEST_ID if isinstance(message, ResponseMessage) else None
    response = Response(request_id, response_id, code, EPOCH, message)
    octets = build_response(response, SchemaProfile.MP170)
    return load_xml_keys(pki).user(signer).sign(octets)


# -- sign --------------------------------------------------------------------------------------


def test_a_request_is_signed_by_its_originator(pki: Path) -> None:
    octets = signed(pki)
    certificate = xml_signature.verify(parse_xml(octets), load_xml_keys(pki).find)
    assert certificate.eui64 == SUPPLIER_EUI64
    assert parse_request(parse_xml(octets), SchemaProfile.MP170).request_id == REQUEST_ID


def test_the_signature_of_a_template_is_replaced(vectors: Path, pki: Path, tmp_path: Path) -> None:
    out = tmp_path / "signed.xml"
    for path in sorted((vectors / "duis").glob("*.XML")):
        signer = () if b"RequestID>90-B3-D5-1F-30-01-00" in path.read_bytes() else ("--as", ACB)
        result = done("sign", path, "--keys", pki, "--out", out, *signer)
        assert result.output == ""
        root = parse_xml(out.read_bytes())
        xml_signature.verify(root, load_xml_keys(pki).find)
        assert b"ZGVmYXVsdA==" not in out.read_bytes()


ACB = "90-B3-D5-1F-30-00-00-02"


def test_another_may_sign_if_that_is_said(pki: Path) -> None:
    for text in (ACB, ACB.lower(), "90b3d51f30000002"):
        octets = signed(pki, None, "--as", text)
        certificate = xml_signature.verify(parse_xml(octets), load_xml_keys(pki).find)
        assert certificate.eui64 == ACB_EUI64


def test_a_request_id_is_set_before_signing(pki: Path) -> None:
    other = RequestId(ACB_EUI64, PPMID_EUI64, 7)
    commented = plain().replace(b":1000<", b":10<!-- -->00<")
    for options, expected in (
        (("--counter", "2000"), RequestId(SUPPLIER_EUI64, ACB_EUI64, 2000)),
        (("--request-id", other), other),
        (("--request-id", other, "--counter", 2**64 - 1), RequestId(*other_of(other))),
    ):
        octets = signed(pki, commented, *options)
        root = parse_xml(octets)
        signer = xml_signature.verify(root, load_xml_keys(pki).find)
        assert parse_request(root, SchemaProfile.MP170).request_id == expected
        assert signer.eui64 == expected.originator


def other_of(request_id: RequestId) -> tuple[int, int, int]:
    return request_id.originator, request_id.target, 2**64 - 1


def test_what_cannot_be_signed_is_one_sentence(pki: Path, tmp_path: Path) -> None:
    stranger = plain().replace(b"RequestID>90-B3", b"RequestID>00-B3")
    keys = ("--keys", pki)
    assert "no XML signing certificate of 00B3D51F30010000" in wrong("sign", *keys, stdin=stranger)
    assert "standard input: line 1, column" in wrong("sign", *keys, stdin=b"<a>")
    assert "document type" in wrong("sign", *keys, stdin=b"<!DOCTYPE a><a/>")
    assert "has no RequestID: say with --as" in wrong("sign", *keys, stdin=b"<a/>")
    assert "has no RequestID that" in wrong("sign", *keys, "--counter", 1, stdin=b"<a/>")
    broken = plain().replace(b":1000<", b":x<")
    assert "its RequestID is '90-B3" in wrong("sign", *keys, stdin=broken)
    assert "missing.xml cannot be read" in wrong("sign", tmp_path / "missing.xml", *keys)
    assert "cannot be read" in wrong("sign", tmp_path, *keys)
    assert "cannot be written" in wrong("sign", *keys, "--out", tmp_path, stdin=plain())
    assert "missing cannot be read" in wrong("sign", "--keys", tmp_path / "missing", stdin=plain())
    (tmp_path / "none").mkdir()
    empty = wrong("sign", "--keys", tmp_path / "none", stdin=plain())
    assert empty.endswith("none has no certificate that signs XML")


@pytest.mark.parametrize(
    "options",
    [("--as", "90-B3"), ("--request-id", "x"), ("--counter", "-1"), ("--counter", str(2**64))],
)
def test_a_wrong_option_is_a_wrong_request(pki: Path, options: tuple[str, str]) -> None:
    done("sign", "--keys", pki, *options, stdin=plain(), exit_code=2)


def test_a_response_is_signed_only_if_it_is_said_by_whom(pki: Path) -> None:
    octets = from_dsp(pki, ResponseMessage("8.2", "8.2"))
    assert "is no Request: say with --as" in wrong("sign", "--keys", pki, stdin=octets)
    assert signed(pki, octets, "--as", ACB) == octets


# -- keys --------------------------------------------------------------------------------------


def test_a_folder_of_published_certificates_is_read(vectors: Path) -> None:
    keys = load_xml_keys(vectors / "keys")
    assert [f"{one.eui64:016X}" for one in keys.certificates].count("90B3D51F30000002") == 3
    assert len(keys.certificates) == 4
    with pytest.raises(RequestError, match="with its key"):
        keys.user(SUPPLIER_EUI64)
    user = next(one for one in keys.certificates if one.eui64 == SUPPLIER_EUI64)
    assert keys.find(user.serial) is user
    assert keys.find_dsp(user.serial) is None


def test_a_key_named_as_published_ones_are_signs(pki: Path, tmp_path: Path) -> None:
    for suffix in (".pem", ".key"):
        octets = (pki / f"90b3d51f30010000-xml-ds{suffix}").read_bytes()
        (tmp_path / f"xml-sign-90B3D51F30010000-ds{suffix}").write_bytes(octets)
    assert signed(tmp_path) == signed(pki)


def test_a_key_that_is_not_that_of_its_certificate_is_named_and_not_used(
    pki: Path, tmp_path: Path
) -> None:
    pem = tmp_path / "mine.pem"
    pem.write_bytes((pki / "90b3d51f30010000-xml-ds.pem").read_bytes())
    other = ec.generate_private_key(ec.SECP256R1())
    octets = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for key, why in ((octets, "not that of the certificate"), (b"none", "not one in PEM")):
        (tmp_path / "mine.key").write_bytes(key)
        result = run("sign", "--keys", tmp_path, stdin=plain())
        assert isinstance(result.exception, RequestError)
        assert f"mine.pem left out: the private key beside it is {why}" in result.stderr


# -- verify ------------------------------------------------------------------------------------


def test_a_signed_request_is_named_with_its_signer(pki: Path) -> None:
    result = done("verify", "--keys", pki, stdin=signed(pki))
    first, second = result.stdout.splitlines()
    assert first == f"standard input: request 8.2 {REQUEST_ID}"
    assert second.startswith("  signed by 90B3D51F30010000, a user, serial ")


def test_the_published_responses_verify_and_are_named(vectors: Path) -> None:
    keys = ("--keys", vectors / "keys")
    inventory = vectors / "duis" / "read-inventory-response-5.4.xml"
    result = done("verify", inventory, *keys)
    assert f"{inventory}: response 8.2 90-B3-D5-1F-30-01-00-00:" in result.stdout
    assert "3 device(s)" in result.stdout
    assert "signed by 90B3D51F30000002, the DSP, serial" in result.stdout
    result = done("verify", vectors / "duis" / "readfw-response.xml", *keys)
    assert "response of 88738457002F961E" in result.stdout


def test_what_does_not_verify_fails_with_its_reason(vectors: Path, pki: Path) -> None:
    keys = ("verify", "--keys", pki)
    for octets, reason in (
        (signed(pki).replace(b":1000<", b":1001<"), "is not the digest of the document"),
        (plain(), "has no signature"),
        (signed(pki, None, "--as", ACB), "it is from 90B3D51F30010000, and signed by 90B3D51F3000"),
        (from_dsp(pki, N39, signer=SUPPLIER_EUI64), "signed by the DSP, not a user"),
        (signed(pki, b"<a/>", "--as", ACB), "neither a response nor a request"),
    ):
        result = done(*keys, stdin=octets, exit_code=1)
        assert result.stdout.startswith("standard input: not verified: ")
        assert reason in result.stdout
    rejection = vectors / "duis" / "acknowledgement-error.xml"
    assert "has no signature" in done("verify", rejection, "--keys", pki, exit_code=1).stdout


def test_what_is_no_xml_is_a_wrong_request(pki: Path) -> None:
    assert "is not XML" in wrong("verify", "--keys", pki, stdin=b"{}")


def test_a_message_without_words_here_is_named_all_the_same(pki: Path) -> None:
    octets = signed(pki, plain().replace(b"ReadInventory", b"Other").replace(b">8.2<", b">9.9<"))
    assert f"request 9.9 {REQUEST_ID}" in done("verify", "--keys", pki, stdin=octets).stdout
    other = from_dsp(pki, N39).replace(b"DCCAlertMessage", b"SMETS1ResponseMessage")
    other = signed(pki, other, "--as", ACB)
    result = done("verify", "--keys", pki, stdin=other)
    assert "response in a form that is not read here" in result.stdout


# -- send --------------------------------------------------------------------------------------


class Dsp:
    """An HTTP server that answers every post alike."""

    def __init__(self) -> None:
        self.answer = b""
        self.posted: list[tuple[str, bytes]] = []
        dsp = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                dsp.posted.append((self.path, self.rfile.read(length)))
                self.send_response(200)
                self.send_header("Content-Length", str(len(dsp.answer)))
                self.end_headers()
                self.wfile.write(dsp.answer)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def dsp() -> Iterator[Dsp]:
    made = Dsp()
    thread = Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.mark.real_clock
def test_an_accepted_request_is_exit_code_0(pki: Path, dsp: Dsp) -> None:
    octets = signed(pki)
    warned = ["  some devices of the list cannot be updated"]
    for code, reason in (("I0", []), ("I99", []), ("W110401", warned)):
        dsp.answer = from_dsp(pki, ResponseMessage("8.2", "8.2"), code)
        result = done("send", "--url", dsp.url, "--keys", pki, stdin=octets)
        expected = [code, "  response 8.2", *reason, f"  request {REQUEST_ID}"]
        assert result.stdout.splitlines() == expected
        assert result.stderr == ""
    assert dsp.posted == [("/api/v1/serviceD", octets)] * 3


@pytest.mark.real_clock
def test_a_refused_request_is_exit_code_1_signed_or_not(pki: Path, dsp: Dsp) -> None:
    warning = FirmwareWarning(invalid_device_ids=(PPMID_EUI64,))
    dsp.answer = from_dsp(pki, ResponseMessage("11.4", "11.4", warning), "E110403")
    send = ("send", "--url", dsp.url, "--keys", pki)
    result = done(*send, stdin=signed(pki), exit_code=1)
    assert result.stdout.splitlines()[0] == "E110403"
    assert "  InvalidDeviceIDList 00DB1234567890A4" in result.stdout.splitlines()
    refusal = Response(REQUEST_ID, None, "E40", EPOCH, ResponseMessage("8.2", "8.2"))
    dsp.answer = build_response(refusal, SchemaProfile.MP170)
    assert done(*send, stdin=signed(pki), exit_code=1).stdout.splitlines()[0] == "E40"


@pytest.mark.real_clock
def test_an_answer_that_does_not_verify_is_exit_code_1(pki: Path, dsp: Dsp) -> None:
    dsp.answer = from_dsp(pki, ResponseMessage("8.2", "8.2"), signer=SUPPLIER_EUI64)
    send = ("send", "--url", dsp.url)
    result = done(*send, "--keys", pki, stdin=signed(pki), exit_code=1)
    assert result.stdout.startswith("the answer does not verify: ")
    unchecked = done(*send, stdin=signed(pki))
    assert unchecked.stdout.startswith("I0\n")
    assert "signature of the answer is not checked" in unchecked.stderr


@pytest.mark.real_clock
def test_the_answer_is_printed_as_it_came_if_that_is_wanted(pki: Path, dsp: Dsp) -> None:
    devices = (
        InventoryDevice(
            device_id=PPMID_EUI64,
            device_type="PPMID",
            device_status="Commissioned",
            device_manufacturer="121D",
            device_model="00841111",
            ppmid_variant="AltHAN Bridge 1",
        ),
    )
    dsp.answer = from_dsp(pki, ResponseMessage("8.2", "8.2", DspInventory(devices)))
    send = ("send", "--url", dsp.url, "--keys", pki)
    assert done(*send, "--xml", stdin=signed(pki)).stdout_bytes == dsp.answer
    lines = done(*send, stdin=signed(pki)).stdout.splitlines()
    assert "  PPMID 00DB1234567890A4" in lines
    assert "    ppmid variant: AltHAN Bridge 1" in lines
    assert not any("esme variant" in line for line in lines)


@pytest.mark.real_clock
def test_an_answer_that_is_no_duis_breaks_off_with_a_sentence(pki: Path, dsp: Dsp) -> None:
    dsp.answer = b"<html/>"
    result = run("send", "--url", dsp.url, "--keys", pki, stdin=signed(pki))
    assert isinstance(result.exception, BenchBroke)
    assert "answered with what is no DUIS response" in str(result.exception)


@pytest.mark.parametrize(
    "url",
    ["http://192.0.2.1:8079", "http://dsp.example/", "https://127.0.0.1", "127.0.0.1:1", "x"],
)
def test_nothing_is_sent_beyond_this_machine_unless_it_is_meant(pki: Path, url: str) -> None:
    assert "say --anywhere" in wrong("send", "--url", url, stdin=signed(pki))


@pytest.mark.real_clock
def test_a_dsp_that_is_not_there_is_exit_code_3(pki: Path, dsp: Dsp) -> None:
    dsp.server.server_close()
    result = run("send", "--url", dsp.url, stdin=signed(pki))
    assert isinstance(result.exception, HanbenchError)
    assert result.exception.exit_code == 3
    assert "cannot be reached" in str(result.exception)


# -- listen ------------------------------------------------------------------------------------

Listen = Callable[..., "tuple[subprocess.Popen[str], str]"]


@pytest.fixture
def listen(pki: Path) -> Iterator[Listen]:
    processes: list[subprocess.Popen[str]] = []

    def start(*options: object) -> tuple[subprocess.Popen[str], str]:
        arguments = ["duis", "listen", "--listen", "127.0.0.1:0", "--keys", pki, *options]
        process = subprocess.Popen(
            [sys.executable, "-m", "hil.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        processes.append(process)
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found is not None
        return process, found[0]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def call_back(url: str, octets: bytes) -> int:
    request = urllib.request.Request(url, octets, {"Content-Type": "application/xml"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out, err


@pytest.mark.real_clock
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_it_ends_cleanly_when_told_to(listen: Listen, number: int) -> None:
    process, _ = listen()
    assert ended(process, number) == ("", "")


@pytest.mark.real_clock
def test_each_callback_is_a_line_and_a_file(pki: Path, listen: Listen, tmp_path: Path) -> None:
    out = tmp_path / "callbacks"
    process, url = listen("--out", out)
    response = from_dsp(pki, ResponseMessage("11.2", "11.2", GbcsPayload(FRAME)))
    assert [call_back(url, octets) for octets in (from_dsp(pki, N39), response)] == [200, 200]
    lines, err = ended(process)
    one, two = lines.splitlines()
    assert one.split(maxsplit=1)[1] == (f"I0  N39 PPMIDAlert  {alert_words(N39)}")
    assert two.split(maxsplit=1)[1] == (
        f"I0  response 11.2 {REQUEST_ID}  CS08 command of 90B3D51F30000002, 78 octets"
    )
    assert err == ""
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert files == {
        "0001-N39-PPMIDAlert.xml": from_dsp(pki, N39),
        "0002-response-11.2.xml": response,
    }
    process, url = listen("--out", out)
    assert call_back(url, response) == 200
    ended(process)
    assert (out / "0003-response-11.2.xml").read_bytes() == response


@pytest.mark.real_clock
def test_with_json_each_callback_is_an_object(pki: Path, listen: Listen) -> None:
    process, url = listen("--json")
    assert call_back(url, from_dsp(pki, N39)) == 200
    lines, _ = ended(process)
    assert json.loads(lines) == {
        "kind": "dcc-alert",
        "response_code": "I0",
        "request_id": None,
        "response_id": None,
        "time": "2026-01-01T00:00:00.000Z",
        "service": None,
        "alert_code": "N39",
        "element": "PPMIDAlert",
        "device_ids": ["00DB1234567890A4"],
        "detail": alert_words(N39),
        "payload": None,
        "parsed": None,
        "file": None,
    }


@pytest.mark.real_clock
def test_what_does_not_verify_is_refused_and_named(pki: Path, listen: Listen) -> None:
    process, url = listen()
    for octets in (
        from_dsp(pki, N39).replace(b"Success", b"Failure"),
        from_dsp(pki, N39, signer=SUPPLIER_EUI64),
        signed(pki),
        b"<!DOCTYPE a><a/>",
    ):
        assert call_back(url, octets) == 400
    lines, err = ended(process)
    assert lines == ""
    refused = err.splitlines()
    assert [line.startswith("hanbench: refused: ") for line in refused] == [True] * 4
    assert "is not the digest" in refused[0]
    assert "no certificate that is known" in refused[1]


@pytest.mark.real_clock
def test_a_callback_that_cannot_be_kept_ends_it_with_a_sentence(
    pki: Path, listen: Listen, tmp_path: Path
) -> None:
    out = tmp_path / "callbacks"
    process, url = listen("--out", out)
    out.rmdir()
    assert call_back(url, from_dsp(pki, N39)) == 500
    _, err = process.communicate(timeout=30)
    assert process.returncode == 3
    (sentence,) = err.splitlines()
    assert "0001-N39-PPMIDAlert.xml cannot be written: " in sentence


def test_it_listens_on_this_machine_unless_it_is_said(pki: Path) -> None:
    said = wrong("listen", "--listen", "0.0.0.0:0", "--keys", pki)
    assert "say --allow-remote" in said
    assert "is not how to listen" in wrong("listen", "--listen", "nowhere", "--keys", pki)


def rtds_vector(vectors: Path, name: str) -> bytes:
    return bytes.fromhex((vectors / "rtds" / name).read_text(encoding="ascii"))


# -- words -------------------------------------------------------------------------------------

STATUS = CspFirmwareDeliveryStatus(REQUEST_ID, CHF_EUI64, PPMID_EUI64, "00010200", EPOCH, True)
MISMATCH = FirmwareVersionMismatch(PPMID_EUI64, "PPMID", "00010100", "00010200")


@pytest.mark.parametrize(
    "alert",
    [
        N39.alert,
        STATUS,
        CommsHubAlert(CHF_EUI64, 0x8F12),
        MISMATCH,
        UpdateHanDeviceLogResult(REQUEST_ID),
    ],
)
def test_an_alert_is_named_by_the_element_it_is_written_as(alert: DccAlert) -> None:
    message = DccAlertMessage("N1", alert)
    response = Response(None, None, "I0", EPOCH, message)
    written = build_response(response, SchemaProfile.MP170).decode()
    assert f"<sr:DCCAlert><sr:{alert_element(alert)}>" in written
    assert message_title(message) == f"N1 {alert_element(alert)}"
    assert one_line(response).startswith(f"N1 {alert_element(alert)}  ")


def test_an_alert_nobody_has_words_for_is_named_by_its_element() -> None:
    assert alert_element(Unread("DeviceLogRestored")) == "DeviceLogRestored"


def test_a_frame_is_named_by_its_use_case() -> None:
    alert = DeviceAlertMessage(0x8F12, FRAME)
    response = Response(None, None, "I0", EPOCH, alert)
    assert message_title(alert) == "device alert 8F12"
    assert message_words(alert) == "CS08 command of 90B3D51F30000002, 78 octets"
    assert message_devices(response) == (ACB_EUI64,)
    assert response_document(response)["alert_code"] == "8F12"
    broken = DeviceAlertMessage(0x8F12, b"\xdf")
    assert message_words(broken) == "GBCS payload of 1 octets that is no frame"
    assert message_devices(Response(None, None, "I0", EPOCH, broken)) == ()


def test_a_version_read_is_shown_parsed_beside_its_octets(vectors: Path) -> None:
    octets = rtds_vector(vectors, "CS08_11.2_SUCCESS_RESPONSE_GBCS.HEX")
    message = ResponseMessage("11.2", "11.2", GbcsPayload(octets))
    response = Response(REQUEST_ID, REQUEST_ID, "I0", EPOCH, message)
    assert response_lines(response)[-3:] == [
        f"  {octets.hex().upper()}",
        "  ReadFirmwareVersionRsp@MessageSuccess: true",
        "  FirmwareVersion: 0123ABCD",
    ]
    document = response_document(response)
    assert document["payload"] == octets.hex().upper()
    parsed = parsed_view(octets)
    assert parsed is not None
    assert document["parsed"] == etree.tostring(parsed, encoding="unicode")


def test_a_device_alert_is_shown_parsed_beside_its_octets(vectors: Path) -> None:
    octets = rtds_vector(vectors, "CS09_NA_8F8B_ALERT_GBCS.HEX")
    response = Response(None, None, "I0", EPOCH, DeviceAlertMessage(0x8F8B, octets))
    assert response_lines(response)[-4:] == [
        f"  {octets.hex().upper()}",
        "  GBCSHexAlertCode: 8F8B",
        "  AlertDescription: Firmware 1234ABCD activated",
        "  Timestamp: 2015-01-01T00:00:00.000Z",
    ]


def test_a_prenotification_that_a_profile_has_not_can_be_signed(pki: Path) -> None:
    """What is wrong with a request is the DSP's to say: the signer signs what it is given."""
    body = DevicePrenotification(PPMID_EUI64, "121D", "00841111", "PPMID", ppmid_variant="PPMID")
    octets = build_request(Request(REQUEST_ID, 8, "12.2", "12.2", body))
    octets = signed(pki, octets.replace(b">PPMID</sr:PPMIDV", b">Other</sr:PPMIDV"))
    assert xml_signature.verify(parse_xml(octets), load_xml_keys(pki).find)
    with pytest.raises(SignatureError):
        xml_signature.verify(parse_xml(octets.replace(b"Other", b"PPMID")), load_xml_keys(pki).find)
