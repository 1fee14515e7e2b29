"""DUIS responses and alerts: what we write keeps to the schema, what others send is read."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xml_rig import (
    DEVICE_TYPES,
    EPOCH,
    ESME_VARIANTS,
    EUI64S,
    MPXNS,
    PPMID,
    REQUEST_IDS,
    SERVICES,
    UPRNS,
    VARIANTS,
    VERSIONS,
    document,
    texts,
)

from dsp_stub.errors import DspValueError, DuisError, SchemaError
from dsp_stub.requests import RequestId
from dsp_stub.responses import (
    CertificateChange,
    CommandFailure,
    CommsHubAlert,
    Content,
    CspFirmwareDeliveryStatus,
    DccAlert,
    DccAlertMessage,
    DeviceAlertMessage,
    DeviceLogRestored,
    DeviceStatusChangeEvent,
    DspInventory,
    DspScheduleRemoval,
    FirmwareDistributionFailure,
    FirmwareTransferAlert,
    FirmwareUpgradeAlert,
    FirmwareVersionMismatch,
    FirmwareWarning,
    FutureDatedDeviceAlert,
    GbcsPayload,
    InventoryDevice,
    LocalCommand,
    Message,
    MeterFirmwareWarning,
    PpmidAlert,
    PpmidRemoval,
    PreCommand,
    Response,
    ResponseMessage,
    SecurityCredentialsUpdated,
    Unread,
    UpdateHanDeviceLogResult,
    build_response,
    parse_response,
)
from dsp_stub.safe_xml import parse_xml
from dsp_stub.schema import SchemaProfile, validate
from gbcs.envelope import parse_frame
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64

MP170, DUIS_5_4 = SchemaProfile.MP170, SchemaProfile.DUIS_5_4
REQUEST_ID = RequestId(SUPPLIER_EUI64, ACB_EUI64, 1000)
DEVICE = InventoryDevice(
    device_id=PPMID,
    device_type="PPMID",
    device_status="Commissioned",
    device_manufacturer="121D",
    device_model="00841111",
    ppmid_variant="AltHAN Bridge 1",
)
N39 = DccAlertMessage(
    "N39", PpmidAlert(PPMID, 0x8F8B, EPOCH, FirmwareUpgradeAlert("00010200", True))
)


def saying(message: Message, **changes: object) -> Response:
    response = Response(None, None, "I0", EPOCH, message)
    return replace(response, **changes)  # type: ignore[arg-type]


def answering(content: Content | None, code: str = "I0") -> Response:
    return Response(REQUEST_ID, None, code, EPOCH, ResponseMessage("8.2", "8.2", content))


def parse(octets: bytes) -> Response:
    return parse_response(parse_xml(octets))


# -- what we write -----------------------------------------------------------------------------

MILLISECONDS = st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
DEVICE_IDS = st.lists(EUI64S, max_size=4, unique=True).map(tuple)
OPTIONAL = {
    "device_status": st.sampled_from(("Pending", "Whitelisted", "Commissioned", "Recovered")),
    "smets_chts_version": texts(1, 20),
    "device_firmware_version": VERSIONS,
    "device_firmware_version_status": st.sampled_from(("Active", "Cancelled")),
    "cpl_status": st.sampled_from(("Active", "Expired", "Withdrawn")),
    "date_commissioned": st.sampled_from(("2026-01-01Z", "2025-12-28Z")),
    "import_mpxn": MPXNS,
    "secondary_import_mpan": MPXNS,
    "export_mpan": MPXNS,
    "esme_variant": ESME_VARIANTS,
    "ppmid_variant": VARIANTS,
    "uprn": UPRNS,
    "csp_region": st.sampled_from(("North", "4G Central")),
    "device_gbcs_version": st.sampled_from(("4.1", "4.2")),
    "han_variant": st.sampled_from(("Single Band (2.4GHz only)", "Unknown HAN Variant")),
    "s1sp": texts(1, 30),
    "connectivity": st.sampled_from(("Cellular", "Virtual")),
}


@st.composite
def devices(draw: st.DrawFn) -> InventoryDevice:
    items = {name: draw(st.none() | values) for name, values in OPTIONAL.items()}
    if draw(st.booleans()):
        items |= {"post_code": draw(texts(6, 8)), "address_identifier": draw(texts(1, 30))}
    return InventoryDevice(
        device_id=draw(EUI64S),
        device_type=draw(DEVICE_TYPES),
        device_manufacturer=draw(texts(1, 30)),
        device_model=draw(texts(1, 30)),
        **items,
    )


CONTENTS: st.SearchStrategy[Content | None] = st.one_of(
    st.none(),
    st.builds(DspInventory, st.lists(devices(), min_size=1, max_size=3).map(tuple)),
    st.builds(GbcsPayload, st.binary(min_size=1, max_size=200)),
    st.builds(
        FirmwareWarning,
        **{field.name: DEVICE_IDS for field in fields(FirmwareWarning)},
    ),
    st.builds(
        MeterFirmwareWarning,
        **{field.name: DEVICE_IDS for field in fields(FirmwareWarning)},
    ),
    st.builds(LocalCommand, st.binary(min_size=1, max_size=200)),
    st.builds(PreCommand, st.sampled_from(("4.1", "4.3")), st.binary(min_size=1, max_size=200)),
    st.builds(
        FutureDatedDeviceAlert,
        st.sampled_from((0x8F66, 0x8F67)),
        st.binary(min_size=1, max_size=200),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFF),
    ),
)
CODES = st.integers(0, 0xFFFF)
RESULTS = st.sampled_from(
    (
        "FileTransferSuccess",
        "FirmwareImageDiscarded",
        "HardwareVersionMismatch",
        "FileTransferFailure",
    )
)
UPGRADES = st.builds(FirmwareUpgradeAlert, VERSIONS, st.booleans())
TRANSFERS = st.builds(FirmwareTransferAlert, st.none() | REQUEST_IDS, EUI64S, VERSIONS, RESULTS)
MPANS = st.text("0123456789", min_size=13, max_size=13)
CHANGES = (
    CertificateChange("DigitalSigning", bytes(20)),
    CertificateChange("KeyAgreementTopUp", b"\xff" * 20),
)
FLOORS = st.integers(0, 2**63 - 1).map(str)


def credentials_updated(*floors: str) -> SecurityCredentialsUpdated:
    return SecurityCredentialsUpdated(PPMID, "Supplier", CHANGES, *floors)


ALERTS: st.SearchStrategy[DccAlert] = st.one_of(
    st.builds(PpmidAlert, EUI64S, CODES, st.none() | MILLISECONDS, st.none() | UPGRADES),
    st.builds(
        CspFirmwareDeliveryStatus,
        REQUEST_IDS,
        EUI64S,
        EUI64S,
        VERSIONS,
        MILLISECONDS,
        st.booleans(),
    ),
    st.builds(CommsHubAlert, EUI64S, CODES, st.none() | MILLISECONDS, st.none() | TRANSFERS),
    st.builds(FirmwareVersionMismatch, EUI64S, DEVICE_TYPES, VERSIONS, VERSIONS),
    st.builds(UpdateHanDeviceLogResult, REQUEST_IDS),
    st.builds(
        FirmwareDistributionFailure,
        REQUEST_IDS,
        st.lists(EUI64S, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(PpmidRemoval, EUI64S, EUI64S),
    st.builds(
        DeviceStatusChangeEvent,
        EUI64S,
        st.text("0123456789", min_size=1, max_size=13),
        st.none() | MPANS,
        st.none() | MPANS,
        st.none() | ESME_VARIANTS,
    ),
    st.builds(CommandFailure, REQUEST_IDS, EUI64S),
    st.builds(DspScheduleRemoval, EUI64S, st.integers(0, 10**12)),
    st.builds(DeviceLogRestored, st.just("2026-01-01Z"), EUI64S, EUI64S, EUI64S, EUI64S),
    st.builds(credentials_updated, FLOORS),
    st.builds(credentials_updated, FLOORS, FLOORS),
    st.builds(credentials_updated),
)
DCC_CODES = st.sampled_from(("N1", "N24", "N39", "N60", "N65", "N999", "AD1"))
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        ResponseMessage,
        st.sampled_from((*SERVICES, "6.15.1", "")),
        st.sampled_from((*SERVICES, "")),
        CONTENTS,
    ),
    st.builds(DeviceAlertMessage, CODES, st.binary(min_size=1, max_size=200)),
    st.builds(DccAlertMessage, DCC_CODES, ALERTS),
)
RESPONSES = st.builds(
    Response,
    st.none() | REQUEST_IDS,
    st.none() | REQUEST_IDS,
    st.sampled_from(("I0", "I99", "W110401", "E4", "E110403")),
    MILLISECONDS,
    MESSAGES,
    st.sampled_from(("5.4", "5.1")),
)


@given(RESPONSES)
def test_a_response_is_read_as_it_was_written(response: Response) -> None:
    octets = build_response(response, MP170)
    validate(parse_xml(octets), MP170)
    assert parse(octets) == response
    assert build_response(parse(octets), MP170) == octets


@given(RESPONSES)
def test_in_duis_5_4_a_response_has_no_variant_and_everything_else(response: Response) -> None:
    octets = build_response(response, DUIS_5_4)
    assert b"PPMIDVariant" not in octets
    validate(parse_xml(octets), DUIS_5_4)
    message = response.message
    if isinstance(message, ResponseMessage) and isinstance(message.content, DspInventory):
        without = tuple(replace(one, ppmid_variant=None) for one in message.content.devices)
        response = replace(response, message=replace(message, content=DspInventory(without)))
    assert parse(octets) == response


def test_the_golden_octets_of_an_n39() -> None:
    assert build_response(saying(N39), MP170) == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b'<sr:Response xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway" '
        b'schemaVersion="5.4"><sr:Header><sr:ResponseCode>I0</sr:ResponseCode>'
        b"<sr:ResponseDateTime>2026-01-01T00:00:00.000Z</sr:ResponseDateTime></sr:Header><sr:Body>"
        b"<sr:DCCAlertMessage><sr:DCCAlertCode>N39</sr:DCCAlertCode><sr:DCCAlert><sr:PPMIDAlert>"
        b"<sr:DeviceID>00-DB-12-34-56-78-90-A4</sr:DeviceID>"
        b"<sr:DeviceAlertCode>8F8B</sr:DeviceAlertCode>"
        b"<sr:Timestamp>2026-01-01T00:00:00.000Z</sr:Timestamp><sr:PPMIDFirmwareUpgradeAlert>"
        b"<sr:FirmwareVersion>00010200</sr:FirmwareVersion>"
        b"<sr:ActivateImageResultCode>ActivationSuccess</sr:ActivateImageResultCode>"
        b"</sr:PPMIDFirmwareUpgradeAlert></sr:PPMIDAlert></sr:DCCAlert></sr:DCCAlertMessage>"
        b"</sr:Body></sr:Response>"
    )


def test_a_variant_stands_between_the_esme_variant_and_the_uprn() -> None:
    device = replace(DEVICE, esme_variant="A", uprn="1")
    octets = build_response(answering(DspInventory((device,))), MP170)
    order = [octets.index(b"<sr:%s>" % name) for name in (b"ESMEVariant", b"PPMIDVariant", b"UPRN")]
    assert order == sorted(order)


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    moment = datetime(2026, 7, 1, 1, 30, 0, 123999, timezone(timedelta(hours=1)))
    octets = build_response(saying(N39, response_date_time=moment), MP170)
    assert b"<sr:ResponseDateTime>2026-07-01T00:30:00.123Z<" in octets


def test_an_inventory_has_at_most_seventeen_devices() -> None:
    build_response(answering(DspInventory((DEVICE,) * 17)), MP170)
    for devices in ((), (DEVICE,) * 18):
        with pytest.raises(DspValueError, match=r"DSPInventory|Device"):
            build_response(answering(DspInventory(devices)), MP170)


def test_the_lists_of_a_warning_are_named_by_their_elements() -> None:
    warning = FirmwareWarning(other_request_in_progress=(2, 1), invalid_device_ids=(3,))
    assert warning.lists() == {
        "InvalidDeviceIDList": (3,),
        "OtherRequestInProgressList": (2, 1),
    }
    octets = build_response(answering(warning, "W110401"), MP170)
    assert octets.count(b"List>") == 4
    assert parse(octets) == answering(warning, "W110401")


@pytest.mark.parametrize(
    ("response", "sentence"),
    [
        (saying(N39, response_code="X1"), "ResponseCode is 'X1'"),
        (saying(replace(N39, dcc_alert_code="N32")), "DCCAlertCode is 'N32'"),
        (saying(replace(N39, dcc_alert_code="N66")), "DCCAlertCode is 'N66'"),
        (saying(N39, response_date_time=datetime(2026, 1, 1)), "has no zone"),
        (saying(DeviceAlertMessage(0x10000, b"\xdf")), "does not fit in 16 bits"),
        (saying(DeviceAlertMessage(0x8F12, b"")), "GBCSPayload"),
        (saying(DccAlertMessage("N1", Unread("Other"))), "Other is not written"),
        (answering(Unread("CINMessage")), "CINMessage is not written"),
        (answering(DspInventory((replace(DEVICE, device_status="Lost"),))), "DeviceStatus is"),
        (
            answering(DspInventory((replace(DEVICE, post_code="ZZ99 9ZZ"),))),
            "PropertyFilter lacks AddressIdentifier",
        ),
    ],
)
def test_a_response_no_schema_allows_is_not_written(response: Response, sentence: str) -> None:
    with pytest.raises(DspValueError, match=sentence):
        build_response(response, MP170)


def test_a_request_that_could_not_be_read_is_answered_all_the_same() -> None:
    response = Response(None, None, "E100", EPOCH, ResponseMessage("", ""))
    assert parse(build_response(response, MP170)) == response


# -- devices from their items ------------------------------------------------------------------


def test_a_device_is_made_from_items_by_the_names_of_their_elements() -> None:
    items = {
        "DeviceID": "00-DB-12-34-56-78-90-A4",
        "DeviceType": "PPMID",
        "DeviceStatus": "Commissioned",
        "DeviceManufacturer": "121D",
        "DeviceModel": "00841111",
        "PPMIDVariant": "AltHAN Bridge 1",
        "UPRN": None,
    }
    assert InventoryDevice.from_items(items) == DEVICE
    with pytest.raises(DspValueError, match="no item Colour"):
        InventoryDevice.from_items(items | {"Colour": "red"})
    with pytest.raises(DspValueError, match="lacks DeviceModel"):
        InventoryDevice.from_items(items | {"DeviceModel": None})


# -- what others send --------------------------------------------------------------------------


def test_the_published_inventory_is_read(samples: dict[str, bytes]) -> None:
    response = parse(samples["read-inventory-response-5.4.xml"])
    assert response.request_id == RequestId(SUPPLIER_EUI64, ACB_EUI64, 1766940660265)
    assert response.response_code == "I0"
    assert response.response_date_time == datetime(2025, 12, 28, 16, 51, 1, 185000, UTC)
    message = response.message
    assert isinstance(message, ResponseMessage)
    assert isinstance(message.content, DspInventory)
    hub, cad, gpf = message.content.devices
    assert hub == InventoryDevice(
        device_id=0x887384906A1002DB,
        device_type="CHF",
        device_status="Commissioned",
        device_manufacturer="106C",
        device_model="433100AC",
        smets_chts_version="CHTS V1.4",
        device_firmware_version="9001",
        device_firmware_version_status="Active",
        cpl_status="Active",
        date_commissioned="2025-12-28Z",
        uprn="123456789012",
        post_code="1111-111",
        address_identifier="12334",
        csp_region="4G Central",
        device_gbcs_version="4.2",
        han_variant="Single Band",
        connectivity="Virtual",
    )
    assert (cad.device_type, cad.device_status) == ("CAD", None)
    assert gpf.device_status == "InstalledNotCommissioned"


def test_the_published_read_of_a_version_carries_a_frame(samples: dict[str, bytes]) -> None:
    response = parse(samples["readfw-response.xml"])
    device = 0x88738457002F961E
    assert response.request_id == RequestId(SUPPLIER_EUI64, device, 1660751141087)
    assert response.response_id == RequestId(device, SUPPLIER_EUI64, 1660751141087)
    message = response.message
    assert isinstance(message, ResponseMessage)
    assert isinstance(message.content, GbcsPayload)
    frame = parse_frame(message.content.octets).frame
    assert (frame.originator, frame.recipient) == (device, ACB_EUI64)


def test_the_published_rejection_is_read(samples: dict[str, bytes]) -> None:
    response = parse(samples["acknowledgement-error.xml"])
    assert response == Response(
        RequestId(SUPPLIER_EUI64, 0x88738457002F966C, 1658482675800),
        None,
        "E65",
        datetime(2022, 7, 22, 9, 37, 56, 134000, UTC),
        ResponseMessage("11.2", "11.2"),
        "5.1",
    )


def test_what_is_not_known_is_read_as_unread() -> None:
    octets = build_response(saying(N39), MP170).replace(b"PPMIDAlert>", b"ECoSAlert>")
    assert parse(octets).message == DccAlertMessage("N39", Unread("ECoSAlert"))
    octets = build_response(answering(GbcsPayload(b"\xdf")), MP170)
    octets = octets.replace(b"GBCSPayload>", b"CINMessage>")
    assert parse(octets) == answering(Unread("CINMessage"))


def test_a_throttled_alert_is_read_and_allowed() -> None:
    octets = build_response(saying(N39), MP170).replace(
        b"</sr:DCCAlertCode>",
        b"</sr:DCCAlertCode><sr:ThrottledAlertSequenceId>1</sr:ThrottledAlertSequenceId>"
        b"<sr:ThrottledAlertCount>2</sr:ThrottledAlertCount>",
    )
    validate(parse_xml(octets), DUIS_5_4)
    assert parse(octets) == saying(N39)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01T00:00:00", EPOCH),
        ("2026-01-01T01:00:00+01:00", EPOCH),
        ("2026-01-01T00:00:00.000000000Z", EPOCH),
        ("2026-01-01T00:00:00.5Z", EPOCH + timedelta(milliseconds=500)),
    ],
)
def test_a_time_in_any_form_of_the_schema_is_read(text: str, moment: datetime) -> None:
    octets = build_response(answering(None), MP170)
    assert parse(octets.replace(b"2026-01-01T00:00:00.000Z", text.encode())) == replace(
        answering(None), response_date_time=moment
    )


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"2026-01-01T00:00:00.000Z</sr:R", b"now</sr:R", "ResponseDateTime .* which is no time"),
        (b"2026-01-01T00:00:00.000Z</sr:R", b"2026-02-30T00:00:00Z</sr:R", "which is no time"),
        (b"2026-01-01T00:00:00.000Z</sr:R", b"0001-01-01T00:00:00+14:00</sr:R", "no time"),
        (b"<sr:ResponseCode>I0<", b"<sr:ResponseCode>OK<", "is no response code"),
        (b"<sr:ResponseCode>I0</sr:ResponseCode>", b"", "Header .* lacks ResponseCode"),
        (b">8F8B<", b">8F8<", "DeviceAlertCode .* not four hexadecimal digits"),
        (b"-A4<", b"-G4<", "DeviceID .* not an EUI-64"),
        (b"ActivationSuccess<", b"Perhaps<", "is neither ActivationSuccess nor ActivationFailure"),
        (b"<sr:Header>", b"<sr:Header><sr:RequestID>x</sr:RequestID>", "RequestID .* is 'x'"),
        (b"DCCAlertMessage>", b"SMETS1ResponseMessage>", "no message that is read here"),
        (b"sr:Response ", b"sr:Request ", "is not a Response|is not XML"),
    ],
)
def test_a_response_that_cannot_be_read_is_refused_with_its_place(
    old: bytes, new: bytes, sentence: str
) -> None:
    octets = build_response(saying(N39), MP170)
    assert old in octets
    with pytest.raises(DuisError, match=sentence):
        parse(octets.replace(old, new))


def test_a_request_is_no_response() -> None:
    with pytest.raises(SchemaError, match=r"Request .* is not a Response"):
        parse(document())


@given(RESPONSES, st.data())
@settings(max_examples=200)
def test_a_damaged_response_raises_nothing_but_our_errors(
    response: Response, data: st.DataObject
) -> None:
    octets = bytearray(build_response(response, MP170))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=3))
    with suppress(DuisError):
        parse(bytes(octets))
