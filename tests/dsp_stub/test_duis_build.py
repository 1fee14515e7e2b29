"""`hanbench duis build`: every request from options and from JSON, and what follows a Transform."""

from __future__ import annotations

import base64
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from command_rig import ESME, HUB, PPMID, Bench, content_of
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import load_der_x509_certificate
from dsp_rig import organisation, sign
from hypothesis import given, settings
from hypothesis import strategies as st
from test_credential_services import ISSUER, KRP, SUPPLIER_DS, SUPPLIER_KA
from test_duis_requests import ANY_BODY, asking

from dsp_stub.errors import DspValueError
from dsp_stub.fields import eui64_to_xml
from dsp_stub.inventory_requests import (
    DETAIL_ELEMENTS,
    MPXN_ELEMENTS,
    Change,
    DeleteDevice,
    DeviceDetails,
    NewDeviceStatus,
    NewHubStatus,
    NewMpxn,
    UpdateInventory,
)
from dsp_stub.requests import (
    BODIES,
    ActivateFirmware,
    Request,
    RequestId,
    SignedPreCommand,
    build_request,
    parse_request,
    service_path,
)
from dsp_stub.responses import PreCommand, parse_response
from dsp_stub.safe_xml import parse_xml
from dsp_stub.schema import SchemaProfile
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64
from hil.duis_bodies import ITEMS, SERVICES
from hil.duis_commands import duis_group
from hil.errors import RequestError

SUPPLIER = eui64_to_xml(SUPPLIER_EUI64)


def run(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(duis_group, ["build", *map(str, arguments)], input=stdin)


def built(*arguments: object, stdin: bytes = b"") -> Request:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return parse_request(parse_xml(result.stdout_bytes), SchemaProfile.MP170)


def wrong(*arguments: object, stdin: bytes = b"") -> str:
    result = run(*arguments, stdin=stdin)
    assert isinstance(result.exception, RequestError), (result.output, result.exception)
    assert result.stdout == ""
    return str(result.exception)


def as_json(value: Any) -> Any:
    """A value of a body as JSON has it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, tuple):
        return [as_json(one) for one in value]
    return value


def change_document(change: Change) -> dict[str, Any]:
    match change:
        case NewDeviceStatus():
            return {"UpdateDeviceStatusExceptCH": change.status}
        case NewHubStatus():
            return {"UpdateDeviceStatusCH": change.status}
        case DeleteDevice():
            return {"DeleteDevice": True}
        case DeviceDetails():
            return {"UpdateDeviceDetails": named(change, DETAIL_ELEMENTS)}
        case NewMpxn():
            return {"UpdateMPxN": named(change, MPXN_ELEMENTS)}


def named(change: Any, elements: dict[str, str]) -> dict[str, str]:
    values = {name: getattr(change, field) for field, name in elements.items()}
    return {name: value for name, value in values.items() if value is not None}


def document(request: Request) -> bytes:
    """The request as the JSON `build` reads."""
    body = {}
    for item in ITEMS[type(request.body)]:
        value = getattr(request.body, item.field)
        if value is None or (value is False and item.name == "ReadSecurityDetails"):
            continue
        if item.name in ("DeviceID", "OtherDeviceID", "OldCHFID", "AssociatedGPFDeviceID"):
            body[item.name] = eui64_to_xml(value)
        elif item.name == "DeviceIDList":
            body[item.name] = [eui64_to_xml(one) for one in value]
        elif item.name == "Change":
            body[item.name] = change_document(value)
        elif item.name in ("InstallCode", "FirmwareHash"):
            body[item.name] = value.hex()
        else:
            body[item.name] = as_json(value)
    return json.dumps(
        {
            "service": request.service_reference_variant,
            "request_id": str(request.request_id),
            "command_variant": request.command_variant,
            "schema_version": request.schema_version,
            "body": body,
        }
    ).encode()


@given(ANY_BODY, st.integers(1, 8))
@settings(max_examples=60)
def test_every_request_is_built_from_json_as_it_would_be_written(body: Any, variant: int) -> None:
    is_signed = isinstance(body, SignedPreCommand)
    if is_signed is not (variant in (5, 6, 7)):
        variant = 5 if is_signed else 1
    request = asking(body, command_variant=variant)
    try:
        octets = build_request(request)
    except DspValueError:
        return
    result = run("--json", "-", stdin=document(request))
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stdout_bytes == octets


def test_every_body_and_every_field_can_be_built() -> None:
    assert set(ITEMS) == set(BODIES)
    for kind, items in ITEMS.items():
        assert {item.field for item in items} == {field.name for field in fields(kind)}
    assert set(SERVICES) == {xml.variant for xml in BODIES.values()} - {""}


@pytest.mark.requirement("MP170-SR84", "good")
def test_a_change_of_the_inventory_is_built_from_an_option() -> None:
    device = f"DeviceID={eui64_to_xml(PPMID)}"
    change = '{"UpdateDeviceDetails": {"PPMIDVariant": "AltHAN Bridge 2"}}'
    read = built("8.4", "--from", SUPPLIER, "--set", device, "--set", f"Change={change}")
    details = DeviceDetails(ppmid_variant="AltHAN Bridge 2")
    assert read.body == UpdateInventory(PPMID, details)
    for said, words in (
        ("Pending", "Change is no change such as"),
        ("{}", "Change is no change such as"),
        ('{"Delete": true}', "Change has no Delete"),
        ('{"UpdateMPxN": "1"}', "Change has a change that is no object"),
        ('{"UpdateMPxN": {"MPAN": "1"}}', "Change has no MPAN, only ImportMPxN"),
        ('{"UpdateMPxN": {}}', "exactly one metering point"),
        ('{"UpdateDeviceStatusCH": 1}', "Change is no text"),
    ):
        sentence = wrong("8.4", "--from", SUPPLIER, "--set", device, "--set", f"Change={said}")
        assert words in sentence


def test_a_request_from_options_has_what_is_usual_where_nothing_is_said() -> None:
    read = built("11.2", "--from", "90B3D51F30010000", "--to", eui64_to_xml(PPMID), "--counter", 7)
    assert read.request_id == RequestId(SUPPLIER_EUI64, PPMID, 7)
    assert (read.command_variant, read.schema_version) == (1, "5.4")
    dcc = built("8.2", "--from", SUPPLIER, "--set", "UPRN=123")
    assert dcc.request_id.target == ACB_EUI64
    assert dcc.command_variant == 8
    assert dcc.request_id.counter > 1_600_000_000_000
    critical = built(
        "8.7.1", "--from", SUPPLIER, "--to", eui64_to_xml(ESME),
        "--set", f"OtherDeviceID={eui64_to_xml(PPMID)}",
    )  # fmt: skip
    assert (critical.command_variant, critical.service_reference) == (4, "8.7")
    log = built(
        "8.11", "--request-id", f"{SUPPLIER}:{eui64_to_xml(HUB)}:9", "--variant", 3,
        "--set", f"DeviceID={PPMID:016X}", "--set", "RequestType=Add", "--set", "JoinTimePeriod=90",
        "--set", "InstallCode=83FED3407A939723A5C639B26916D505",
    )  # fmt: skip
    assert (log.command_variant, log.request_id.counter) == (3, 9)


def test_options_go_before_json(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(
        json.dumps(
            {"service": "8.2", "request_id": f"{SUPPLIER}:{SUPPLIER}:1", "body": {"UPRN": "1"}}
        )
    )
    request = built("--json", path, "--set", "UPRN=2", "--to", eui64_to_xml(ACB_EUI64))
    assert request.request_id == RequestId(SUPPLIER_EUI64, ACB_EUI64, 1)
    assert getattr(request.body, "uprn", None) == "2"


def test_files_are_named_with_an_at_and_a_certificate_in_pem_is_its_der(tmp_path: Path) -> None:
    image = tmp_path / "image.ota"
    image.write_bytes(b"image")
    update = built(
        "11.4", "--from", SUPPLIER, "--set", f"FirmwareImage=@{image}",
        "--set", "FirmwareVersion=00010200",
        "--set", f"DeviceIDList={eui64_to_xml(PPMID)},{ESME:016X}",
    )  # fmt: skip
    assert getattr(update.body, "firmware_image", None) == b"image"
    assert getattr(update.body, "devices", None) == (PPMID, ESME)
    paths = []
    for name, der in (("ds", SUPPLIER_DS), ("ka", SUPPLIER_KA), ("issuer", ISSUER)):
        path = tmp_path / f"{name}.pem"
        path.write_bytes(load_der_x509_certificate(der).public_bytes(Encoding.PEM))
        paths.append(path)
    krp = built(
        "6.15.1", "--from", SUPPLIER, "--to", eui64_to_xml(ESME),
        "--set", "RemotePartyRole=Supplier",
        "--set", f"DigitalSigningCertificate=@{paths[0]}",
        "--set", f"KeyAgreementCertificate=@{paths[1]}",
        "--set", f"KeyAgreementTopUpCertificate=@{paths[1]}",
        "--set", f"CertificationPathCertificates=@{paths[2]}",
        "--set", "ApplyTimeBasedCPVChecks=false", "--set", "RemotePartyFloorSeqNumber=3",
        "--set", "RemotePartyPrepaymentTopUpFloorSeqNumber=4",
    )  # fmt: skip
    assert krp.body == KRP


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("9.9",), "9.9 is not one of 6.15.1, 6.15.2, 6.17"),
        ((), "no SERVICE is not one of"),
        (("11.2",), "say with --from whose request it is"),
        (("11.2", "--from", SUPPLIER), "say with --to which device it is for"),
        (("8.2", "--from", SUPPLIER, "--set", "UPRN"), "--set 'UPRN' is not NAME=VALUE"),
        (("8.2", "--from", SUPPLIER, "--set", "Uprn=1"), "ReadInventory has no Uprn, it has UPRN,"),
        (("8.2", "--from", SUPPLIER), "ReadInventory: an 8.2 names premises in exactly one way"),
        (("8.2", "--from", SUPPLIER, "--set", "UPRN=x"), "UPRN is 'x', not 1 to 12 digits"),
        (("8.2", "--from", SUPPLIER, "--set", "DeviceID=x"), "DeviceID is no EUI-64 such as"),
        (
            ("8.7.1", "--from", SUPPLIER, "--to", SUPPLIER),
            "JoinServiceCritical lacks one of OtherDeviceID",
        ),
        (
            ("11.3", "--from", SUPPLIER, "--to", SUPPLIER, "--set", "FirmwareHash=AB"),
            "FirmwareHash has 32 octets",
        ),
        (
            ("11.3", "--from", SUPPLIER, "--to", SUPPLIER, "--set", "FirmwareHash=A B"),
            "FirmwareHash is not hexadecimal",
        ),
        (
            ("6.15.2", "--from", SUPPLIER, "--to", SUPPLIER, "--set", "DeviceCertificate=@no"),
            "DeviceCertificate names no: No such file",
        ),
        (
            ("8.9", "--from", SUPPLIER, "--to", SUPPLIER, "--set", "ReadSecurityDetails=maybe"),
            "ReadSecurityDetails is neither true nor false",
        ),
        (("--json", "/nowhere.json"), "/nowhere.json cannot be read: No such file"),
        (("--pre-command", "/nowhere.xml"), "say with --keys where the key is"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(
    arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in wrong(*arguments)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "standard input is no JSON"),
        ("[]", "standard input is no JSON object with an object as body"),
        ('{"body": 1}', "standard input is no JSON object with an object as body"),
        ('{"colour": 1}', "standard input has 'colour', it may have service,"),
        ('{"service": "8.2", "request_id": 1}', "request_id is '1', not originator:target:counter"),
        ('{"service": "8.2", "command_variant": 9}', "command_variant is 9, not a number"),
        ('{"service": "8.2", "command_variant": true}', "command_variant is True, not a number"),
        ('{"service": "8.2", "body": {"UPRN": 1}}', "UPRN is no text"),
        ('{"service": "11.4", "body": {"DeviceIDList": 1}}', "DeviceIDList is no list"),
        (
            '{"service": "8.11", "command_variant": 8, "body": {"JoinTimePeriod": 1.5}}',
            "JoinTimePeriod is no whole number",
        ),
    ],
)
def test_json_that_is_no_request_is_said_in_one_sentence(text: str, sentence: str) -> None:
    assert sentence in wrong("--json", "-", "--from", SUPPLIER, stdin=text.encode())


# -- a critical command from the command line --------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    private = organisation(SUPPLIER_EUI64, KeyUse.DIGITAL_SIGNATURE)[1]
    path = tmp_path / f"{SUPPLIER_EUI64:016x}-ds.key"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return tmp_path


def test_the_answer_to_a_transform_is_signed_and_accepted(keys: Path) -> None:
    bench = Bench()
    asked = run(
        "11.3", "--from", SUPPLIER, "--to", eui64_to_xml(ESME), "--counter", 12,
        "--set", "FirmwareHash=" + "AB" * 32,
    ).stdout_bytes  # fmt: skip
    answer = keys / "answer.xml"
    answer.write_bytes(bench.door.post("/api/v1/serviceT", sign(asked)))
    content = content_of(parse_response(parse_xml(answer.read_bytes())))
    assert isinstance(content, PreCommand)

    signed = built("--pre-command", answer, "--keys", keys)
    assert (signed.command_variant, signed.service_reference_variant) == (5, "11.3")
    assert signed.request_id == RequestId(SUPPLIER_EUI64, ESME, 12)
    reply = bench.door.post(service_path(signed), sign(build_request(signed)))
    assert parse_response(parse_xml(reply)).response_code == "I99"
    assert bench.command().device == ESME
    local = built("--pre-command", "-", "--keys", keys, "--variant", 6, stdin=answer.read_bytes())
    assert local.command_variant == 6


def test_what_is_no_answer_to_a_transform_is_not_signed(keys: Path) -> None:
    bench = Bench()
    answer = keys / "answer.xml"
    request = bench.request(ActivateFirmware(bytes(32)), PPMID, 4)
    octets = sign(build_request(request))
    answer.write_bytes(bench.door.post("/api/v1/serviceT", octets))
    sentence = wrong("--pre-command", answer, "--keys", keys)
    assert sentence == f"{answer} is no answer with a pre-command, its code is E11"
    assert "is not XML" in wrong("--pre-command", "-", "--keys", keys, stdin=b"<a")
    assert "is not a Response" in wrong("--pre-command", "-", "--keys", keys, stdin=octets)


def test_a_key_that_is_not_there_is_named(keys: Path) -> None:
    bench = Bench()
    answer = keys / "answer.xml"
    request = bench.request(ActivateFirmware(bytes(32)), ESME, 4)
    octets = sign(build_request(request))
    answer.write_bytes(bench.door.post("/api/v1/serviceT", octets))
    key = keys / f"{SUPPLIER_EUI64:016x}-ds.key"
    key.write_bytes(b"none")
    assert f"{key}: the private key" in wrong("--pre-command", answer, "--keys", keys)
    key.unlink()
    assert f"{key} cannot be read: No such file" in wrong("--pre-command", answer, "--keys", keys)
