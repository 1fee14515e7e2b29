"""DUIS requests: what the schema takes, what is read from it, and what we write."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from xml_rig import (
    DEVICE_TYPES,
    DIGITS,
    ESME_VARIANTS,
    EUI64S,
    MPXNS,
    PPMID,
    REQUEST_IDS,
    UPRNS,
    VARIANTS,
    VERSIONS,
    document,
    request,
    texts,
)

from dsp_stub.credential_requests import CREDENTIAL_TYPES, REMOTE_PARTY_ROLES
from dsp_stub.errors import DspValueError, DuisError, SchemaError
from dsp_stub.inventory_requests import (
    DeleteDevice,
    DeviceDetails,
    NewDeviceStatus,
    NewHubStatus,
    NewMpxn,
)
from dsp_stub.requests import (
    BODIES,
    MAX_DEVICES,
    ActivateFirmware,
    Body,
    DecommissionDevice,
    DevicePrenotification,
    IssueSecurityCredentials,
    JoinServiceCritical,
    JoinServiceNonCritical,
    ReadDeviceLog,
    ReadFirmwareVersion,
    ReadInventory,
    Request,
    RequestId,
    RestoreHanDeviceLog,
    RetrieveDeviceSecurityCredentialsDevice,
    RetrieveDeviceSecurityCredentialsKrp,
    SignedPreCommand,
    UnjoinServiceCritical,
    UnjoinServiceNonCritical,
    UpdateFirmware,
    UpdateHanDeviceLog,
    UpdateInventory,
    UpdatePpmidFirmware,
    UpdateSecurityCredentialsDevice,
    UpdateSecurityCredentialsKrp,
    build_request,
    parse_request,
    peek_header,
    service_path,
    service_reference,
)
from dsp_stub.safe_xml import DS, children, local_name, parse_xml
from dsp_stub.schema import FOLDER, SchemaProfile, validate, validator
from dsp_stub.xml_reader import require
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64

SUPPLIER_TO_DCC = RequestId(SUPPLIER_EUI64, ACB_EUI64, 1000)
INSTALL_CODE = bytes.fromhex("30313233343536373839414243444546")
PRENOTIFICATION = DevicePrenotification(
    device_id=PPMID,
    manufacturer="121D",
    model="00841111",
    device_type="PPMID",
    smets_chts_version="PPMIDTS V4.4",
    firmware_version="00010100",
    ppmid_variant="AltHAN Bridge 1",
)
ADD = UpdateHanDeviceLog(PPMID, "Add", 90, INSTALL_CODE)
COMMAND_VARIANTS = {UpdateHanDeviceLog: 1, ReadFirmwareVersion: 1}


def asking(body: Body, service: str = "11.3", **changes: Any) -> Request:
    """The request with this body; `service` is that of a signed pre-command."""
    service = BODIES[type(body)].variant or service
    variant = COMMAND_VARIANTS.get(type(body), 8)
    reference = service_reference(service)
    return replace(Request(SUPPLIER_TO_DCC, variant, reference, service, body), **changes)


def parse(octets: bytes, profile: SchemaProfile = SchemaProfile.MP170) -> Request:
    return parse_request(parse_xml(octets), profile)


def refused(
    octets: bytes, sentence: str, profile: SchemaProfile = SchemaProfile.MP170
) -> SchemaError:
    with pytest.raises(SchemaError, match=sentence) as caught:
        parse(octets, profile)
    return caught.value


def changed(old: str, new: str, octets: bytes) -> bytes:
    text = octets.decode()
    assert text.count(old) == 1
    return text.replace(old, new).encode()


# -- the published templates -------------------------------------------------------------------


@pytest.mark.parametrize("profile", SchemaProfile)
def test_a_published_template_is_read(templates: dict[str, bytes], profile: SchemaProfile) -> None:
    read = {name.partition("_REQUEST")[0]: octets for name, octets in templates.items()}
    assert parse(read["8.2_READ_INVENTORY"], profile) == asking(
        ReadInventory(device_id=0x00DB1234567890A2)
    )
    assert parse(read["12.2_DEVICE_PRE_NOTIFICATION"], profile) == asking(
        DevicePrenotification(
            device_id=0x00DB1234567890A0,
            manufacturer="AB01",
            model="010A030B",
            device_type="ESME",
            smets_chts_version="SMETS V1.58",
            firmware_version="0002012F",
            esme_variant="AD",
        )
    )
    hub = 0x00DB1234567890A2
    assert parse(read["CCS01_8.11_SUCCESS"], profile) == asking(
        UpdateHanDeviceLog(
            device_id=0x00DB1234567890A0,
            request_type="Add",
            join_time_period_s=90,
            install_code=INSTALL_CODE,
            import_mpxn="1312345678111",
            secondary_import_mpan="1312345678222",
        ),
        request_id=RequestId(SUPPLIER_EUI64, hub, 1002),
    )
    assert parse(read["CCS02_8.11_SUCCESS"], profile) == asking(
        UpdateHanDeviceLog(0x00DB1234567890A0, "Remove"),
        request_id=RequestId(SUPPLIER_EUI64, hub, 1002),
    )
    esme = 0x00DB1234567890A0
    assert parse(read["8.3_DECOMMISSION_DEVICE"], profile) == asking(DecommissionDevice(esme))
    assert parse(read["8.4_UPDATE_INVENTORY"], profile) == asking(
        UpdateInventory(esme, DeleteDevice())
    )
    assert parse(read["CS08_11.2_SUCCESS"], profile) == asking(
        ReadFirmwareVersion(), request_id=RequestId(ACB_EUI64, PPMID, 1000)
    )


def test_the_image_of_the_published_template_is_the_published_sample(
    templates: dict[str, bytes], vectors: Path
) -> None:
    update = parse(templates["11.4_UPDATE_PPMID_FIRMWARE_REQUEST_DUIS.XML"]).body
    sample = (vectors / "duis" / "11.4_UPDATE_PPMID_FIRMWARE_SAMPLE.ota").read_bytes()
    assert update == UpdatePpmidFirmware(sample, "00000000", (PPMID,))


def test_a_service_that_is_not_offered_is_refused_and_its_header_can_be_named(
    templates: dict[str, bytes],
) -> None:
    octets = templates["8.4_UPDATE_INVENTORY_REQUEST_DUIS.XML"]
    octets = octets.replace(b"UpdateInventory", b"ServiceOptOut").replace(b">8.4<", b">8.5<")
    refused(octets, r"Body/ServiceOptOut \(line 10\) is not expected here; expected: ReadInv")
    assert peek_header(parse_xml(octets)) == (str(SUPPLIER_TO_DCC), "8.5", "8.5")


def plain(octets: bytes) -> bytes:
    """The request alone: without signature, comments, white space and unused namespaces."""
    parser = etree.XMLParser(remove_blank_text=True, remove_comments=True)
    root = etree.fromstring(octets, parser)
    for signature in root.findall(f"{{{DS}}}Signature"):
        root.remove(signature)
    for element in root.iter():
        element.tail = None
        if len(element):
            element.text = None
    etree.cleanup_namespaces(root)
    canonical: bytes = etree.tostring(root, method="c14n", exclusive=True)
    return canonical


@pytest.mark.parametrize("profile", SchemaProfile)
def test_every_published_template_is_rebuilt_equal_under_canonicalisation(
    templates: dict[str, bytes], profile: SchemaProfile
) -> None:
    rebuilt = set()
    for name, octets in templates.items():
        element = local_name(next(children(require(parse_xml(octets), "Body"))))
        assert plain(build_request(parse(octets, profile))) == plain(octets), name
        rebuilt.add(element)
    assert len(rebuilt) >= 15


# -- profiles ----------------------------------------------------------------------------------


def test_a_variant_is_refused_in_duis_5_4_and_taken_in_mp170() -> None:
    octets = build_request(asking(PRENOTIFICATION))
    refused(octets, "PPMIDVariant .* is not expected here", SchemaProfile.DUIS_5_4)
    assert parse(octets).body == PRENOTIFICATION
    without = build_request(asking(replace(PRENOTIFICATION, ppmid_variant=None)))
    assert parse(without, SchemaProfile.DUIS_5_4) == parse(without)


@pytest.mark.parametrize(
    "variant", ["AltHAN Bridge 5", "AltHAN Bridge", "AltHANBridge1", "ppmid", ""]
)
def test_a_variant_outside_the_valid_set_is_refused(variant: str) -> None:
    octets = build_request(asking(PRENOTIFICATION))
    octets = changed(">AltHAN Bridge 1<", f">{variant}<", octets)
    refused(octets, "not PPMID or AltHAN Bridge 1 to 4")


def test_a_variant_comes_last() -> None:
    octets = build_request(asking(replace(PRENOTIFICATION, associated_gpf=1)))
    element = "<sr:PPMIDVariant>AltHAN Bridge 1</sr:PPMIDVariant>"
    moved = changed(element, "", octets)
    moved = changed("<sr:AssociatedGPF", f"{element}<sr:AssociatedGPF", moved)
    refused(moved, "AssociatedGPFDeviceID .* is not expected here")


def test_a_gpf_passes_the_schema() -> None:
    gpf = replace(PRENOTIFICATION, device_type="GPF", ppmid_variant=None)
    assert parse(build_request(asking(gpf))).body == gpf


def test_a_schema_of_the_users_takes_the_place_of_ours(tmp_path: Path) -> None:
    octets = build_request(asking(PRENOTIFICATION))
    theirs = FOLDER / "duis-5.4.xsd"
    with pytest.raises(SchemaError):
        parse_request(parse_xml(octets), SchemaProfile.MP170, theirs)
    lax = tmp_path / "lax.xsd"
    lax.write_text(LAX)
    assert parse_request(parse_xml(octets), SchemaProfile.DUIS_5_4, lax).body == PRENOTIFICATION


@pytest.mark.parametrize("content", [None, b"", b"<a/>", b"<xs:schema/>", b"\0"])
def test_a_file_that_is_no_schema_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "their.xsd"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DspValueError, match=r"their\.xsd is no XML schema"):
        validator(SchemaProfile.MP170, path)


LAX = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"
 targetNamespace="http://www.dccinterface.co.uk/ServiceUserGateway"><xs:element name="Request"/>
 <xs:element name="Response"/></xs:schema>"""


@given(data=st.data())
@settings(max_examples=200)
def test_with_a_schema_that_asks_nothing_only_our_errors_are_raised(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    xsd = tmp_path_factory.getbasetemp() / "asks-nothing.xsd"
    if not xsd.exists():
        xsd.write_text(LAX)
    octets = build_request(asking(data.draw(st.sampled_from(EXAMPLES)))).decode()
    leaves = re.findall(r">([^<>]+)<", octets)
    leaf = data.draw(st.sampled_from(leaves))
    text = data.draw(texts(0, 8)).replace("&", "").replace("<", "")
    octets = octets.replace(f">{leaf}<", f">{text}<", 1)
    element = data.draw(st.sampled_from(re.findall(r"<sr:\w+>[^<>]*</sr:\w+>", octets)))
    if data.draw(st.booleans()):
        octets = octets.replace(element, "", 1)
    with suppress(DuisError):
        parse_request(parse_xml(octets.encode()), SchemaProfile.MP170, xsd)


# -- what is refused, and in which words -------------------------------------------------------

EXAMPLES: tuple[Body, ...] = (
    PRENOTIFICATION,
    ADD,
    ReadFirmwareVersion(),
    UpdatePpmidFirmware(b"image", "00010200", (PPMID, PPMID + 1)),
    ReadInventory(post_code="ZZ99 9ZZ", address_identifier="1"),
    DecommissionDevice(PPMID),
    UpdateInventory(PPMID, NewDeviceStatus("Pending")),
    UpdateInventory(PPMID, NewHubStatus("Withdrawn")),
    UpdateInventory(PPMID, DeviceDetails(model="00841111", ppmid_variant="AltHAN Bridge 2")),
    UpdateInventory(PPMID, DeleteDevice()),
    UpdateInventory(PPMID, NewMpxn(export_mpan="1312345678111")),
    ActivateFirmware(bytes(32), "2027-01-01T00:00:00Z"),
    SignedPreCommand(b"\xdf"),
    JoinServiceCritical(PPMID),
    ReadDeviceLog(True),
    UpdateSecurityCredentialsKrp("Supplier", b"0\0", certification_path=(b"0\0",), floor=1),
    RetrieveDeviceSecurityCredentialsKrp(("Supplier", "Root")),
)
UPDATE = asking(EXAMPLES[3])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (' schemaVersion="5.4"', "", r"Request \(line 2\) lacks the attribute schemaVersion"),
        ('"5.4"', '"five"', "has an attribute schemaVersion that is no such value"),
        ("<sr:CommandVariant>8", "<sr:CommandVariant>9", "is '9', not a number from 1 to 8"),
        ("<sr:CommandVariant>8", "<sr:CommandVariant>0", "is '0', not a number from 1 to 8"),
        ("<sr:ServiceReference>11.4", "<sr:ServiceReference>11.1", "is 11.1, Update.* is 11.4"),
        ("Variant>11.4", "Variant>11.1", "ServiceReferenceVariant .* is 11.1, Update"),
        (":1000<", ":01000<", "not originator:target:counter"),
        (":1000<", ":<", "not originator:target:counter"),
        (":1000<", ":18446744073709551616<", r"RequestID \(line 2\) .*not originator:target"),
        ("90-B3-D5-1F-30-01", "90-B3-D5-1F-30-0", "not originator:target:counter"),
        (">00010200<", "><", "FirmwareVersion .* is '', not 1 to 8 characters"),
        (">00010200<", ">000102000<", "is '000102000', not 1 to 8 characters"),
        ("-A5<", "-A4<", r"DeviceIDList \(line 2\) has 00-DB-12-34-56-78-90-A4 twice"),
        ("-A5<", "-a4<", r"DeviceIDList \(line 2\) has 00-DB-12-34-56-78-90-A4 twice"),
        ("-A5<", "-A5,<", "not 1 to 50000 EUI-64s with commas"),
        (",00", ", 00", "not 1 to 50000 EUI-64s with commas"),
        ("<sr:DeviceIDList>", "<sr:More/><sr:DeviceIDList>", "More .* is not expected here"),
        ("</sr:Request>", "<sr:More/></sr:Request>", "More .* is not expected here"),
        ("</sr:Header>", "</sr:Header>text", "may have no text of its own"),
        ("<sr:Header>", '<sr:Header a="">', "Header .* may not have the attribute a"),
        ("<sr:FirmwareVersion>", '<sr:FirmwareVersion a="">', "may not have the attribute a"),
        (">00010200<", "><sr:a/>00010200<", "may have no elements in it"),
        (">aW1hZ2U=<", ">aW1hZ2U<", "FirmwareImage .* is not base64"),
        (">aW1hZ2U=<", ">aW1hZ2U=!!!!<", "FirmwareImage .* is not base64"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_with_its_place(
    old: str, new: str, sentence: str
) -> None:
    refused(changed(old, new, build_request(UPDATE)), sentence)


@pytest.mark.parametrize("name", ["Header", "Body", "RequestID", "CommandVariant", "DeviceIDList"])
def test_a_request_without_a_part_is_refused(name: str) -> None:
    text = build_request(UPDATE).decode()
    pattern = re.compile(f"<sr:{name}>.*?</sr:{name}>")
    assert len(pattern.findall(text)) == 1
    refused(pattern.sub("", text).encode(), "lacks|is not expected here")


def test_a_response_is_no_request(samples: dict[str, bytes]) -> None:
    refused(samples["acknowledgement-error.xml"], r"Response \(line 4\) is not a Request")
    refused(b"<a/>", r"a \(line 1\) is neither a DUIS Request nor a Response")


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("123456789012", True),
        ("1", True),
        ("0", False),
        ("012", False),
        ("1234567890123", False),
        ("-1", False),
        ("", False),
    ],
)
def test_a_uprn_has_at_most_twelve_digits(text: str, taken: bool) -> None:
    octets = build_request(asking(ReadInventory(uprn="77")))
    octets = changed(">77<", f">{text}<", octets)
    if taken:
        assert parse(octets).body == ReadInventory(uprn=text)
    else:
        refused(octets, "UPRN .* not 1 to 12 digits")


@pytest.mark.parametrize(
    ("digits", "taken"),
    [(10, False), (11, False), (12, True), (32, True), (33, False), (34, False)],
)
def test_an_install_code_has_6_to_16_octets_and_is_never_in_an_error(
    digits: int, taken: bool
) -> None:
    code = "C0DE" * 9
    octets = changed(INSTALL_CODE.hex().upper(), code[:digits], build_request(asking(ADD)))
    if taken:
        body = parse(octets).body
        assert isinstance(body, UpdateHanDeviceLog)
        assert body.install_code == bytes.fromhex(code[:digits])
    else:
        assert "C0DE" not in str(refused(octets, "InstallCode .* is not 6 to 16 octets"))


@pytest.mark.parametrize(("period", "taken"), [(0, False), (1, True), (3600, True), (3601, False)])
def test_a_join_time_period_is_an_hour_at_most(period: int, taken: bool) -> None:
    octets = changed(">90<", f">{period}<", build_request(asking(ADD)))
    if taken:
        assert parse(octets).body == replace(ADD, join_time_period_s=period)
    else:
        refused(octets, "not a number of seconds from 1 to 3600")


@pytest.mark.parametrize(("octets", "taken"), [(10_240_000, True), (10_240_001, False)])
def test_an_image_is_refused_by_its_octets_not_by_its_base64(octets: int, taken: bool) -> None:
    text = base64.b64encode(bytes(octets)).decode()
    document = changed(">aW1hZ2U=<", f">{text}<", build_request(UPDATE))
    if taken:
        body = parse(document).body
        assert isinstance(body, UpdatePpmidFirmware)
        assert body.firmware_image == bytes(octets)
    else:
        refused(document, "FirmwareImage .* is not base64 of at most 10240000 octets")


def test_a_list_has_at_most_fifty_thousand_devices() -> None:
    devices = tuple(range(MAX_DEVICES))
    update = UpdatePpmidFirmware(b"image", "1", devices)
    octets = build_request(asking(update))
    assert parse(octets).body == update
    more = changed("</sr:DeviceIDList>", ",00-00-00-00-00-00-FF-FF</sr:DeviceIDList>", octets)
    error = refused(more, "not 1 to 50000 EUI-64s")
    assert len(str(error)) < 400


def test_wrapped_base64_and_lower_case_are_read() -> None:
    octets = changed(">aW1hZ2U=<", ">\r\n aW1h\r\n Z2U=\r\n<", build_request(UPDATE))
    assert parse(octets.replace(b"-DB-", b"-db-")) == UPDATE


def test_white_space_round_a_value_is_none_of_it() -> None:
    assert parse(changed(">00010200<", ">\n  00010200 <", build_request(UPDATE))) == UPDATE


def test_a_default_namespace_is_as_good_as_a_prefix() -> None:
    text = build_request(UPDATE).decode()
    plain = re.sub(r"<(/?)sr:", r"<\1", text).replace("xmlns:sr=", "xmlns=")
    assert parse(plain.encode()) == UPDATE
    refused(plain.replace(">00010200<", "><").encode(), r"FirmwareVersion \(line 2\) is ''")
    refused(text.replace("xmlns:sr", "xmlns:q").replace("sr:", "q:").replace(">11.4<", ">11<", 1)
            .encode(), "ServiceReference .* is '11', not a service such as 11.4")  # fmt: skip


def test_no_repr_shows_an_install_code_or_an_image() -> None:
    shown = repr(asking(ADD)) + repr(asking(UpdatePpmidFirmware(INSTALL_CODE, "1", (1,))))
    assert "0123456789" not in shown
    assert INSTALL_CODE.hex() not in shown
    assert "install_code" not in shown
    assert "firmware_image" not in shown


# -- the header of what is refused -------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "header"),
    [
        (b"<a/>", (None, "", "")),
        (document(), (str(SUPPLIER_TO_DCC), "8.2", "8.2")),
        (document().replace(b":1000<", b":x<"), (None, "8.2", "8.2")),
        (document().replace(b">8.2<", b">&lt;b&gt;<"), (str(SUPPLIER_TO_DCC), "", "")),
        (document().replace(b">8.2<", b">" + b"8" * 9000 + b"<"), (str(SUPPLIER_TO_DCC), "", "")),
        (document().replace(b"ReadInventory", b"Other"), (str(SUPPLIER_TO_DCC), "8.2", "8.2")),
    ],
)
def test_of_a_header_only_what_has_its_form_is_repeated(
    octets: bytes, header: tuple[str | None, str, str]
) -> None:
    assert peek_header(parse_xml(octets)) == header


def test_requests_go_to_the_service_of_their_command_variant() -> None:
    paths = {
        variant: service_path(replace(request(), command_variant=variant))
        for variant in range(1, 9)
    }
    assert paths == {
        **dict.fromkeys((1, 3, 5, 7), "/api/v1/serviceS"),
        **dict.fromkeys((2, 6, 8), "/api/v1/serviceD"),
        4: "/api/v1/serviceT",
    }


# -- RequestID ---------------------------------------------------------------------------------


@given(REQUEST_IDS)
def test_a_request_id_is_read_as_it_was_written(request_id: RequestId) -> None:
    assert RequestId.parse(str(request_id)) == request_id
    assert RequestId.parse(str(request_id).lower()) == request_id


def test_a_request_id_is_written_in_capitals() -> None:
    text = "90-B3-D5-1F-30-01-00-00:00-DB-12-34-56-78-90-A4:18446744073709551615"
    assert str(RequestId(SUPPLIER_EUI64, PPMID, 2**64 - 1)) == text


@pytest.mark.parametrize(
    "change",
    [":00", ":-1", ":+1", ":1 ", ":1:1", ":\u0661", ":0x1", ":", "", ":18446744073709551616"],
)
def test_a_request_id_in_another_form_is_refused(change: str) -> None:
    with pytest.raises(DuisError, match="not originator:target:counter"):
        RequestId.parse("90-B3-D5-1F-30-01-00-00:00-DB-12-34-56-78-90-A4" + change)


def test_a_request_id_that_cannot_be_is_the_callers_mistake() -> None:
    for values in ((-1, 0, 0), (0, 1 << 64, 0), (0, 0, 1 << 64), (0, 0, -1)):
        with pytest.raises(DspValueError):
            RequestId(*values)


# -- what we write -----------------------------------------------------------------------------

ROLES = st.sampled_from(REMOTE_PARTY_ROLES)
CREDENTIAL_KINDS = st.sampled_from(CREDENTIAL_TYPES)
CERTIFICATES = st.binary(max_size=80)
TIMES = st.sampled_from(("2026-01-01T00:00:00Z", "2026-12-31T23:59:59.999Z"))
UPDATES = st.builds(
    UpdatePpmidFirmware,
    st.binary(max_size=300),
    VERSIONS,
    st.lists(EUI64S, min_size=1, max_size=5, unique=True).map(tuple),
)
PRENOTIFICATIONS = st.builds(
    DevicePrenotification,
    device_id=EUI64S,
    manufacturer=texts(1, 30),
    model=texts(1, 30),
    device_type=DEVICE_TYPES,
    smets_chts_version=st.none() | texts(1, 20),
    firmware_version=st.none() | VERSIONS,
    esme_variant=st.none() | ESME_VARIANTS,
    associated_gpf=st.none() | EUI64S,
    ppmid_variant=st.none() | VARIANTS,
)
INVENTORIES = (
    st.builds(ReadInventory, uprn=UPRNS)
    | st.builds(ReadInventory, device_id=EUI64S)
    | st.builds(ReadInventory, mpxn=MPXNS)
    | st.builds(ReadInventory, post_code=texts(6, 8), address_identifier=texts(1, 30))
)
DEVICE_LOGS = st.builds(
    UpdateHanDeviceLog,
    EUI64S,
    st.sampled_from(("Add", "Remove")),
    st.integers(1, 3600),
    st.binary(min_size=6, max_size=16),
    st.none() | MPXNS,
    st.none() | MPXNS,
    st.none() | MPXNS,
    st.none() | TIMES,
) | st.builds(UpdateHanDeviceLog, EUI64S, st.sampled_from(("Add", "Remove")))
MPANS = st.text(DIGITS, min_size=13, max_size=13)
CHANGES = st.one_of(
    st.sampled_from(("Pending", "InstalledNotCommissioned")).map(NewDeviceStatus),
    st.sampled_from(("Commissioned", "InstalledNotCommissioned", "Withdrawn")).map(NewHubStatus),
    st.builds(
        DeviceDetails,
        manufacturer=st.none() | texts(1, 30),
        model=st.none() | texts(1, 30),
        smets_chts_version=st.none() | texts(1, 20),
        firmware_version=st.none() | VERSIONS,
        esme_variant=st.none() | ESME_VARIANTS,
        ppmid_variant=st.none() | VARIANTS,
    ),
    st.just(DeleteDevice()),
    st.builds(NewMpxn, import_mpxn=MPXNS),
    st.builds(NewMpxn, secondary_import_mpan=MPANS),
    st.builds(NewMpxn, export_mpan=MPANS),
)
ANY_BODY = (
    UPDATES
    | PRENOTIFICATIONS
    | INVENTORIES
    | DEVICE_LOGS
    | st.builds(ReadFirmwareVersion, st.none() | TIMES)
    | st.builds(
        UpdateFirmware,
        st.binary(max_size=300),
        VERSIONS,
        st.lists(EUI64S, min_size=1, max_size=5, unique=True).map(tuple),
    )
    | st.builds(ActivateFirmware, st.binary(min_size=32, max_size=32), st.none() | TIMES)
    | st.builds(SignedPreCommand, st.binary(min_size=1, max_size=300), st.none() | TIMES)
    | st.one_of(
        *(
            st.builds(kind, EUI64S)
            for kind in (
                JoinServiceCritical,
                JoinServiceNonCritical,
                UnjoinServiceCritical,
                UnjoinServiceNonCritical,
                RestoreHanDeviceLog,
            )
        )
    )
    | st.builds(DecommissionDevice, EUI64S)
    | st.builds(UpdateInventory, EUI64S, CHANGES)
    | st.builds(ReadDeviceLog, st.booleans(), st.none() | TIMES)
    | st.builds(
        UpdateSecurityCredentialsKrp,
        remote_party_role=ROLES,
        digital_signing=st.none() | CERTIFICATES,
        key_agreement=st.none() | CERTIFICATES,
        key_agreement_top_up=st.none() | CERTIFICATES,
        certification_path=st.lists(CERTIFICATES, min_size=1, max_size=3).map(tuple),
        apply_time_based_cpv_checks=st.booleans(),
        floor=st.none() | st.integers(0, 2**63 - 1),
        top_up_floor=st.none() | st.integers(0, 2**63 - 1),
        execution_date_time=st.none() | TIMES,
    )
    | st.builds(UpdateSecurityCredentialsDevice, CERTIFICATES)
    | st.builds(IssueSecurityCredentials, CREDENTIAL_KINDS)
    | st.builds(RetrieveDeviceSecurityCredentialsDevice, CREDENTIAL_KINDS)
    | st.builds(
        RetrieveDeviceSecurityCredentialsKrp,
        st.lists(ROLES, min_size=1, max_size=7).map(tuple),
    )
)


@given(
    ANY_BODY,
    REQUEST_IDS,
    st.integers(1, 8),
    st.sampled_from(("5.4", "5.1", "10.25")),
    st.none() | st.booleans(),
    st.none() | REQUEST_IDS,
)
def test_a_request_is_read_as_it_was_written(
    body: Body,
    request_id: RequestId,
    variant: int,
    version: str,
    first: bool | None,
    preceding: RequestId | None,
) -> None:
    written = asking(
        body,
        request_id=request_id,
        command_variant=variant,
        schema_version=version,
        first_in_sequence=first,
        preceding_request_id=preceding,
    )
    octets = build_request(written)
    assert parse(octets) == written
    assert build_request(parse(octets)) == octets
    assert b"\n" not in octets.partition(b"?>\n")[2]


def test_the_golden_octets_of_a_request() -> None:
    assert document() == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b'<sr:Request xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway" '
        b'schemaVersion="5.4"><sr:Header>'
        b"<sr:RequestID>90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000</sr:RequestID>"
        b"<sr:CommandVariant>8</sr:CommandVariant><sr:ServiceReference>8.2</sr:ServiceReference>"
        b"<sr:ServiceReferenceVariant>8.2</sr:ServiceReferenceVariant></sr:Header><sr:Body>"
        b"<sr:ReadInventory><sr:DeviceID>00-DB-12-34-56-78-90-A4</sr:DeviceID>"
        b"</sr:ReadInventory></sr:Body></sr:Request>"
    )


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (replace(PRENOTIFICATION, device_type="TV"), "DeviceType is 'TV'"),
        (replace(PRENOTIFICATION, manufacturer=""), "DeviceManufacturer is ''"),
        (replace(PRENOTIFICATION, manufacturer="a\0"), "characters that XML cannot have"),
        (replace(PRENOTIFICATION, manufacturer=" a"), "DeviceManufacturer has white space"),
        (replace(PRENOTIFICATION, ppmid_variant="AltHAN Bridge 5"), "PPMIDVariant is"),
        (replace(PRENOTIFICATION, device_id=-1), "is no EUI-64"),
        (replace(ADD, join_time_period_s=3601), "JoinTimePeriod is '3601'"),
        (replace(ADD, install_code=b"12345"), "InstallCode is not 6 to 16 octets"),
        (replace(ADD, execution_date_time="tomorrow"), "ExecutionDateTime is 'tomorrow'"),
        (UpdatePpmidFirmware(b"", "000102000", (1,)), "FirmwareVersion is"),
        (ReadInventory(post_code="12345", address_identifier="1"), "PostCode is '12345'"),
        (ReadInventory(mpxn=DIGITS + DIGITS), "MPxN is"),
    ],
)
def test_a_request_no_schema_allows_is_not_written(body: Body, sentence: str) -> None:
    with pytest.raises(DspValueError, match=sentence):
        build_request(asking(body))


def test_a_body_that_contradicts_itself_cannot_be_made() -> None:
    for make in (
        lambda: ReadInventory(),
        lambda: ReadInventory(uprn="1", mpxn="1"),
        lambda: ReadInventory(post_code="ZZ99 9ZZ"),
        lambda: UpdateHanDeviceLog(1, "Add", 90),
        lambda: UpdateHanDeviceLog(1, "Add", import_mpxn="1"),
        lambda: UpdatePpmidFirmware(b"", "1", ()),
        lambda: ActivateFirmware(bytes(31)),
        lambda: IssueSecurityCredentials("Signature"),
        lambda: RetrieveDeviceSecurityCredentialsKrp(()),
        lambda: UpdateSecurityCredentialsKrp("Supplier"),
        lambda: UpdatePpmidFirmware(b"", "1", (1, 1)),
        lambda: UpdatePpmidFirmware(b"", "1", tuple(range(MAX_DEVICES + 1))),
    ):
        with pytest.raises(DspValueError):
            make()


@given(st.data())
@settings(max_examples=200)
def test_a_damaged_request_raises_nothing_but_our_errors(data: st.DataObject) -> None:
    octets = bytearray(build_request(asking(data.draw(st.sampled_from(EXAMPLES)))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=3))
    with suppress(DuisError):
        root = parse_xml(bytes(octets))
        peek_header(root)
        parse_request(root, SchemaProfile.DUIS_5_4)


def test_every_profile_has_its_schema() -> None:
    root = parse_xml(document())
    for profile in SchemaProfile:
        assert validator(profile) is validator(profile)
        validate(root, profile)
