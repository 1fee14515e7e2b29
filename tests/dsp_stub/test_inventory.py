"""The inventory: devices and premises, and which item of sr:Device is there for which device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp_stub.cpl import Cpl, CplEntry, CplStatus
from dsp_stub.errors import DspValueError
from dsp_stub.inventory import Inventory, presence
from dsp_stub.responses import (
    DspInventory,
    InventoryDevice,
    Response,
    ResponseMessage,
    build_response,
    parse_response,
)
from dsp_stub.safe_xml import parse_xml
from dsp_stub.schema import SchemaProfile, validate
from dsp_stub.smi import (
    CSP_REGIONS,
    HAN_VARIANTS,
    TYPE_2,
    DeviceStatus,
    DeviceType,
    PpmidVariant,
    Premises,
    SmiDevice,
)
from dsp_stub.store import Store

CHF, GPF, ESME, GSME, PPMID, BRIDGE = range(0x00DB1234567890A2, 0x00DB1234567890A8)
SUPPLIER, OTHER_SUPPLIER = 0x90B3D51F30010000, 0x90B3D51F30030000
MPAN, SECOND_MPAN, EXPORT_MPAN = "1012345678901", "1012345678902", "1012345678903"
MPRN = "9876543210"

HOME = Premises(
    id=1,
    uprn="123456789012",
    post_code="AB1 2CD",
    address_identifier="12 High Street",
    import_mpxn=MPAN,
    secondary_import_mpan=SECOND_MPAN,
    export_mpan=EXPORT_MPAN,
    import_mprn=MPRN,
    responsible=(SUPPLIER, OTHER_SUPPLIER),
)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as opened:
        yield opened


@pytest.fixture
def inventory(store: Store) -> Inventory:
    return Inventory(store)


@pytest.fixture
def cpl(store: Store) -> Cpl:
    return Cpl(store)


def device(device_type: DeviceType = DeviceType.PPMID, **changes: Any) -> SmiDevice:
    """A device with everything any type may have, so that what is left out is left out by rule."""
    known: dict[str, Any] = {
        "device_id": PPMID,
        "device_type": device_type,
        "status": None if device_type in TYPE_2 else DeviceStatus.WHITELISTED,
        "manufacturer": "121D",
        "model": "00841111",
        "firmware_version": "00010200",
        "smets_chts_version": "PPMIDTS V4.4",
        "gbcs_version": "4.1",
        "esme_variant": "BDE",
        "ppmid_variant": PpmidVariant.PPMID,
        "associated_gpf": GPF,
        "date_commissioned": "2026-01-01",
        "han_variant": "Dual Band (868MHz and 2.4GHz)",
        "csp_region": "North",
    }
    return SmiDevice(**(known | changes))


# -- devices -----------------------------------------------------------------------------------


def eui64s() -> st.SearchStrategy[int]:
    return st.integers(0, 2**64 - 1)


def texts(least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=least, max_size=most)


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text("0123456789ABCDEF", min_size=count, max_size=count)


@st.composite
def devices(draw: st.DrawFn) -> SmiDevice:
    type_ = draw(st.sampled_from(DeviceType))
    is_type_2 = type_ in TYPE_2
    date = st.dates().map(str)
    status = None if is_type_2 else draw(st.sampled_from(DeviceStatus))
    dated = status is DeviceStatus.COMMISSIONED
    return SmiDevice(
        device_id=draw(eui64s()),
        device_type=type_,
        status=status,
        manufacturer=draw(texts(1, 30) if is_type_2 else digits(4)),
        model=draw(texts(1, 30) if is_type_2 else digits(8)),
        firmware_version=draw(st.none() | digits(8)),
        smets_chts_version=draw(st.none() | texts(0, 20)),
        gbcs_version=draw(st.none() | texts(0, 20)),
        esme_variant=draw(st.none() | texts(0, 8)),
        ppmid_variant=draw(st.none() | st.sampled_from(PpmidVariant)),
        associated_gpf=draw(st.none() | eui64s()),
        chf=draw(st.none() | eui64s()),
        date_commissioned=draw(date if dated else st.none() | date),
        han_variant=draw(st.none() | st.sampled_from(HAN_VARIANTS)),
        csp_region=draw(st.none() | st.sampled_from(CSP_REGIONS)),
        prenotified_by=draw(st.none() | eui64s()),
    )


@given(devices())
def test_a_device_is_read_as_it_was_added(one: SmiDevice) -> None:
    with Store(None) as store:
        inventory = Inventory(store)
        inventory.add(one)
        read = inventory.get(one.device_id)
        assert read == one
        assert inventory.all_devices() == (one,)
        for field in fields(SmiDevice):
            assert type(getattr(read, field.name)) is type(getattr(one, field.name))


def test_a_device_nobody_added_is_none(inventory: Inventory) -> None:
    assert inventory.get(PPMID) is None
    assert inventory.lives(PPMID) == ()
    changes: tuple[Callable[[], object], ...] = (
        lambda: inventory.set_status(PPMID, DeviceStatus.PENDING),
        lambda: inventory.set_firmware_version(PPMID, "00010200"),
        lambda: inventory.attach(PPMID, chf=CHF, premises=None),
    )
    for change in changes:
        with pytest.raises(DspValueError, match="device 00DB1234567890A6 is not in the inventory"):
            change()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device_id": 2**64}, "device_id 0x10000000000000000 is no EUI-64"),
        ({"chf": -1}, "chf -0x1 is no EUI-64"),
        ({"status": None}, "PPMID 00DB1234567890A6 has no status"),
        ({"manufacturer": "12:1D"}, "manufacturer '12:1D' is not 4 digits"),
        ({"model": "0084111g"}, "model '0084111g' is not 8 digits"),
        ({"model": "00841111\n"}, "is not 8 digits"),
        ({"firmware_version": "00aB0200"}, "firmware_version '00aB0200' is not 8 digits"),
        ({"date_commissioned": "2026-02-30"}, "date_commissioned '2026-02-30' is not a date"),
        ({"date_commissioned": "20260201"}, "date_commissioned '20260201' is not a date"),
        (
            {"status": DeviceStatus.COMMISSIONED, "date_commissioned": None},
            "PPMID 00DB1234567890A6 is Commissioned without a date",
        ),
        ({"han_variant": "Triple Band"}, "han_variant 'Triple Band' is none of Single Band"),
        ({"csp_region": "West"}, "csp_region 'West' is none of North"),
    ],
)
def test_a_device_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DspValueError) as caught:
        device(**changes)
    assert words in str(caught.value)


def test_a_type_2_device_has_no_status_and_free_texts() -> None:
    with pytest.raises(DspValueError, match="CAD 00DB1234567890A6 cannot be Pending"):
        device(DeviceType.CAD, status=DeviceStatus.PENDING)
    with pytest.raises(DspValueError, match="is not 1 to 30 characters"):
        device(DeviceType.IHD, manufacturer="a" * 31)
    assert device(DeviceType.CAD, manufacturer="GEO", model="Trio II").model == "Trio II"


def test_the_hardware_version_is_the_second_half_of_the_model() -> None:
    assert device(model="00841234").hardware_version == 0x1234


@pytest.mark.parametrize(
    "status", [one for one in DeviceStatus if one not in ("Decommissioned", "Withdrawn")]
)
def test_a_device_that_is_in_use_is_not_added_again(
    inventory: Inventory, status: DeviceStatus
) -> None:
    inventory.add(device(status=status))
    with pytest.raises(DspValueError, match="00DB1234567890A6 is in the inventory already"):
        inventory.add(device(model="00842222"))
    assert inventory.lives(PPMID) == (device(status=status),)


def test_a_type_2_device_is_not_added_again(inventory: Inventory) -> None:
    inventory.add(device(DeviceType.CAD))
    with pytest.raises(DspValueError, match=r"CAD 00DB1234567890A6 is in the inventory already$"):
        inventory.add(device(DeviceType.CAD))


@pytest.mark.requirement("MP170-REUSE", "good")
@pytest.mark.parametrize("ended", [DeviceStatus.DECOMMISSIONED, DeviceStatus.WITHDRAWN])
def test_a_device_that_comes_back_leaves_its_old_life_readable(
    inventory: Inventory, ended: DeviceStatus
) -> None:
    inventory.add_premises(HOME)
    inventory.add(device(chf=CHF, premises=1, status=DeviceStatus.COMMISSIONED))
    old = inventory.set_status(PPMID, ended)
    new = device(firmware_version="00010300", ppmid_variant=PpmidVariant.BRIDGE_1)
    inventory.add(new)
    assert inventory.get(PPMID) == new
    assert inventory.lives(PPMID) == (old, new)
    # The old life is on no hub and in no home any more.
    assert inventory.devices_on(CHF) == inventory.devices_at(1) == ()
    assert inventory.all_devices() == (new,)
    assert inventory.find_premises(device_id=PPMID) == []
    # What happens now happens to the new one.
    inventory.set_status(PPMID, DeviceStatus.SUSPENDED)
    assert inventory.lives(PPMID) == (old, replace(new, status=DeviceStatus.SUSPENDED))


def test_no_life_of_a_device_is_ever_deleted(store: Store, inventory: Inventory) -> None:
    inventory.add(device())
    with pytest.raises(Exception, match="a life of a device is never deleted"):
        store.connection.execute("DELETE FROM devices")
    assert inventory.get(PPMID) == device()


def test_a_status_changes_and_nothing_else(inventory: Inventory) -> None:
    inventory.add(device(date_commissioned=None))
    inventory.add(device(device_id=BRIDGE))
    assert inventory.set_status(PPMID, DeviceStatus.SUSPENDED) == device(
        status=DeviceStatus.SUSPENDED, date_commissioned=None
    )
    with pytest.raises(DspValueError, match="Commissioned without a date"):
        inventory.set_status(PPMID, DeviceStatus.COMMISSIONED)
    assert inventory.get(PPMID) == device(status=DeviceStatus.SUSPENDED, date_commissioned=None)
    inventory.set_status(PPMID, DeviceStatus.COMMISSIONED, date_commissioned="2026-03-01")
    assert inventory.get(PPMID) == device(
        status=DeviceStatus.COMMISSIONED, date_commissioned="2026-03-01"
    )
    # It stays commissioned on that day, whatever comes.
    inventory.set_status(PPMID, DeviceStatus.SUSPENDED)
    inventory.set_status(PPMID, DeviceStatus.COMMISSIONED)
    assert inventory.get(PPMID) == device(
        status=DeviceStatus.COMMISSIONED, date_commissioned="2026-03-01"
    )
    assert inventory.get(BRIDGE) == device(device_id=BRIDGE)


def test_a_firmware_version_changes_and_nothing_else(inventory: Inventory) -> None:
    inventory.add(device())
    inventory.set_firmware_version(PPMID, "00010300")
    assert inventory.get(PPMID) == device(firmware_version="00010300")
    inventory.set_firmware_version(PPMID, "00010400", gbcs_version="4.3")
    assert inventory.get(PPMID) == device(firmware_version="00010400", gbcs_version="4.3")
    with pytest.raises(DspValueError, match="firmware_version '1' is not 8 digits"):
        inventory.set_firmware_version(PPMID, "1")
    assert inventory.get(PPMID) == device(firmware_version="00010400", gbcs_version="4.3")


def test_a_hub_has_the_devices_attached_to_it(inventory: Inventory) -> None:
    inventory.add_premises(HOME)
    for device_id in (BRIDGE, PPMID):
        inventory.add(device(device_id=device_id))
        inventory.attach(device_id, chf=CHF, premises=1)
    inventory.add(device(DeviceType.CAD, device_id=1, chf=CHF + 1))
    on_hub = inventory.devices_on(CHF)
    assert on_hub == tuple(device(device_id=one, chf=CHF, premises=1) for one in (PPMID, BRIDGE))
    inventory.attach(PPMID, chf=None, premises=None)
    assert inventory.devices_on(CHF) == on_hub[1:]
    assert inventory.get(PPMID) == device()


def test_a_device_is_not_attached_to_premises_that_are_not_there(inventory: Inventory) -> None:
    inventory.add(device())
    with pytest.raises(DspValueError, match="premises 7 are not in the inventory"):
        inventory.attach(PPMID, chf=CHF, premises=7)
    assert inventory.get(PPMID) == device()


def test_the_devices_of_a_home_begin_with_the_hub(inventory: Inventory) -> None:
    inventory.add_premises(HOME)
    for number, type_ in enumerate(reversed(DeviceType)):
        inventory.add(device(type_, device_id=number, premises=1))
    inventory.add(device(device_id=99))
    types = [one.device_type for one in inventory.devices_at(1)]
    assert types == ["CHF", "GPF", "ESME", "GSME", "HCALCS", "PPMID", "IHD", "CAD"]
    assert [one.device_id for one in inventory.all_devices()] == [*range(8), 99]


def test_an_inventory_is_there_after_a_restart(tmp_path: Path) -> None:
    with Store(tmp_path / "dsp.sqlite") as store:
        Inventory(store).add_premises(HOME)
        Inventory(store).add(device(premises=1))
    with Store(tmp_path / "dsp.sqlite") as store:
        assert Inventory(store).devices_at(1) == (device(premises=1),)
        assert Inventory(store).all_premises() == (HOME,)


def test_what_a_failed_request_did_to_the_inventory_is_undone(
    store: Store, inventory: Inventory
) -> None:
    inventory.add(device())

    def request() -> None:
        with store.transaction():
            inventory.add(device(device_id=BRIDGE))
            inventory.set_status(PPMID, DeviceStatus.DECOMMISSIONED)
            inventory.add(device(firmware_version="00010300"))
            inventory.add(device())

    with pytest.raises(DspValueError, match="already"):
        request()
    assert inventory.all_devices() == (device(),)


# -- premises ----------------------------------------------------------------------------------


def test_premises_are_read_as_they_were_added(inventory: Inventory) -> None:
    bare = Premises(id=2)
    inventory.add_premises(HOME)
    inventory.add_premises(bare)
    assert inventory.premises(1) == HOME
    assert inventory.premises(2) == bare
    assert inventory.all_premises() == (HOME, bare)
    with pytest.raises(DspValueError, match="premises 1 are in the inventory already"):
        inventory.add_premises(Premises(id=1))
    with pytest.raises(DspValueError, match="premises 3 are not in the inventory"):
        inventory.premises(3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uprn": "0"}, "uprn '0' is not 1 to 12 digits"),
        ({"uprn": "1" * 13}, "is not 1 to 12 digits"),
        ({"post_code": None}, "post_code and address_identifier go together"),
        ({"post_code": "AB1 2"}, "post_code 'AB1 2' is not 6 to 8 characters"),
        ({"post_code": "AB1\n2CD"}, "is not 6 to 8 characters"),
        ({"address_identifier": ""}, "address_identifier '' is not 1 to 30 characters"),
        ({"address_identifier": "1" * 31}, "is not 1 to 30 characters"),
        ({"export_mpan": "123456789012"}, "'123456789012' is no MPAN of 13 digits"),
        ({"import_mpxn": "1" * 14}, "is no MPxN of 1 to 13 digits"),
        ({"export_mpan": "abc"}, "'abc' is no MPxN"),
        ({"responsible": (1, 2, 1)}, "one user is responsible twice"),
        ({"responsible": (2**64,)}, "is no EUI-64"),
    ],
)
def test_premises_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DspValueError) as caught:
        replace(HOME, **changes)
    assert words in str(caught.value)


@pytest.mark.requirement("MP170-SR82", "good")
@pytest.mark.parametrize(
    "wanted",
    [
        {"uprn": "123456789012"},
        {"uprn": "000123456789012"},
        {"device_id": PPMID},
        {"mpxn": MPAN},
        {"mpxn": SECOND_MPAN},
        {"mpxn": EXPORT_MPAN},
        {"mpxn": MPRN},
        {"post_code": "AB1 2CD", "address_identifier": "12 High Street"},
        {"post_code": "ab1 2cd", "address_identifier": "12 HIGH STREET"},
        {"post_code": " AB1  2CD", "address_identifier": "12 High  Street\n"},
    ],
)
def test_premises_are_found_by_whatever_names_them(
    inventory: Inventory, wanted: dict[str, Any]
) -> None:
    inventory.add_premises(HOME)
    inventory.add_premises(Premises(id=2, uprn="1", post_code="AB1 2CD", address_identifier="13"))
    inventory.add(device(premises=1))
    assert inventory.find_premises(**wanted) == [HOME]


@pytest.mark.parametrize(
    "wanted",
    [
        {"uprn": "1"},
        {"uprn": "0"},
        {"uprn": "%"},
        {"device_id": PPMID},
        {"device_id": BRIDGE},
        {"mpxn": ""},
        {"mpxn": MPAN[:-1]},
        {"post_code": "AB1 2CD", "address_identifier": "1"},
        {"post_code": "AB1", "address_identifier": "2CD\n12 High Street"},
        {"post_code": "", "address_identifier": ""},
    ],
)
def test_premises_nothing_names_are_not_found(inventory: Inventory, wanted: dict[str, Any]) -> None:
    inventory.add_premises(HOME)
    inventory.add_premises(Premises(id=2))
    inventory.add(device())
    assert inventory.find_premises(**wanted) == []


def test_letters_beyond_ascii_match_in_either_case(inventory: Inventory) -> None:
    home = Premises(id=1, post_code="LL1 1AA", address_identifier="TŶ GWYN")
    inventory.add_premises(home)
    assert inventory.find_premises(post_code="ll1 1aa", address_identifier="Tŷ Gwyn") == [home]


@pytest.mark.requirement("MP170-SR82", "good")
def test_two_homes_that_share_an_address_are_both_found(inventory: Inventory) -> None:
    second = replace(HOME, id=2, post_code="ab1 2cd")
    for home in (HOME, second):
        inventory.add_premises(home)
    found = inventory.find_premises(post_code="AB1 2CD", address_identifier="12 High Street")
    assert found == [HOME, second]
    assert inventory.find_premises(mpxn=MPAN) == [HOME, second]


@pytest.mark.parametrize(
    "wanted",
    [{}, {"uprn": "1", "mpxn": "1"}, {"post_code": "AB1 2CD"}, {"address_identifier": "1"}],
)
def test_premises_are_asked_for_in_one_way(inventory: Inventory, wanted: dict[str, Any]) -> None:
    with pytest.raises(DspValueError):
        inventory.find_premises(**wanted)


# -- presence ----------------------------------------------------------------------------------

ALL = frozenset(DeviceType)
WITH_FIRMWARE = ALL - set(TYPE_2)
RULES = {
    "DeviceID": ALL,
    "DeviceType": ALL,
    "DeviceStatus": WITH_FIRMWARE,
    "DeviceManufacturer": ALL,
    "DeviceModel": ALL,
    "SMETSCHTSVersion": ALL - {DeviceType.CAD},
    "DeviceFirmwareVersion": WITH_FIRMWARE,
    "DeviceFirmwareVersionStatus": WITH_FIRMWARE,
    "CPLStatus": WITH_FIRMWARE,
    "DateCommissioned": WITH_FIRMWARE,
    "ImportMPxN": {DeviceType.ESME, DeviceType.GSME},
    "SecondaryImportMPAN": {DeviceType.ESME},
    "ExportMPAN": {DeviceType.ESME},
    "ESMEVariant": {DeviceType.ESME},
    "PPMIDVariant": {DeviceType.PPMID},
    "UPRN": ALL,
    "PostCode": ALL,
    "AddressIdentifier": ALL,
    "CSPRegion": ALL,
    "DeviceGBCSVersion": WITH_FIRMWARE,
    "HANVariant": {DeviceType.CHF},
}


@pytest.mark.requirement("MP170-SR82", "good")
@pytest.mark.parametrize("item", RULES)
def test_an_item_is_there_for_exactly_the_types_that_have_it(cpl: Cpl, item: str) -> None:
    have = {type_ for type_ in DeviceType if presence(device(type_), HOME, cpl)[item] is not None}
    assert have == RULES[item]


def test_the_items_are_those_of_the_schema_in_its_order(cpl: Cpl) -> None:
    for type_ in DeviceType:
        assert list(presence(device(type_), HOME, cpl)) == list(RULES)


@pytest.mark.requirement("MP170-SR82", "good")
@pytest.mark.parametrize("profile", SchemaProfile)
@pytest.mark.parametrize("home", [HOME, Premises(id=2), None], ids=["home", "bare", "none"])
def test_what_is_said_of_any_device_fits_the_schema(
    cpl: Cpl, profile: SchemaProfile, home: Premises | None
) -> None:
    bare = {
        "firmware_version": None,
        "smets_chts_version": None,
        "gbcs_version": None,
        "esme_variant": None,
        "ppmid_variant": None,
        "date_commissioned": None,
        "han_variant": None,
        "csp_region": None,
    }
    said = tuple(
        InventoryDevice.from_items(presence(device(type_, **changes), home, cpl))
        for type_ in DeviceType
        for changes in ({}, bare)
    )
    message = ResponseMessage("8.2", "8.2", DspInventory(said))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    root = parse_xml(build_response(Response(None, None, "I0", now, message), profile))
    validate(root, profile)
    if profile is SchemaProfile.MP170:
        assert parse_response(root).message == message


def test_what_a_ppmid_says_of_itself(cpl: Cpl) -> None:
    one = device(ppmid_variant=PpmidVariant.BRIDGE_2)
    assert {k: v for k, v in presence(one, HOME, cpl).items() if v is not None} == {
        "DeviceID": "00-DB-12-34-56-78-90-A6",
        "DeviceType": "PPMID",
        "DeviceStatus": "Whitelisted",
        "DeviceManufacturer": "121D",
        "DeviceModel": "00841111",
        "SMETSCHTSVersion": "PPMIDTS V4.4",
        "DeviceFirmwareVersion": "00010200",
        "DeviceFirmwareVersionStatus": "Cancelled",
        "CPLStatus": "Cancelled",
        "DateCommissioned": "2026-01-01Z",
        "PPMIDVariant": "AltHAN Bridge 2",
        "UPRN": "123456789012",
        "PostCode": "AB1 2CD",
        "AddressIdentifier": "12 High Street",
        "CSPRegion": "North",
        "DeviceGBCSVersion": "4.1",
    }


def test_a_ppmid_from_before_there_were_variants_is_a_ppmid(cpl: Cpl) -> None:
    assert presence(device(ppmid_variant=None), HOME, cpl)["PPMIDVariant"] == "PPMID"


def test_a_device_that_was_never_commissioned_has_no_date(cpl: Cpl) -> None:
    assert presence(device(date_commissioned=None), HOME, cpl)["DateCommissioned"] is None


def test_a_device_keeps_its_date_after_it_was_decommissioned(cpl: Cpl) -> None:
    gone = device(status=DeviceStatus.DECOMMISSIONED)
    assert presence(gone, HOME, cpl)["DateCommissioned"] == "2026-01-01Z"


@pytest.mark.parametrize(
    ("variant", "second", "export"),
    [
        ("A", False, True),
        ("B", True, True),
        ("BDEF", True, True),
        ("CEF", False, True),
        ("AG", False, False),
        ("ADEG", False, False),
        ("A. BG", False, True),
        (None, False, True),
    ],
)
def test_which_metering_points_an_esme_has_depends_on_its_variant(
    cpl: Cpl, variant: str | None, second: bool, export: bool
) -> None:
    items = presence(device(DeviceType.ESME, esme_variant=variant), HOME, cpl)
    assert items["SecondaryImportMPAN"] == (SECOND_MPAN if second else None)
    assert items["ExportMPAN"] == (EXPORT_MPAN if export else None)
    assert items["ESMEVariant"] == variant


@pytest.mark.parametrize(
    ("points", "esme", "gsme"),
    [
        ({"import_mpxn": MPAN, "import_mprn": MPRN}, MPAN, MPRN),
        ({"import_mpxn": MPAN}, MPAN, None),
        ({"import_mpxn": MPRN}, None, MPRN),
        ({}, None, None),
    ],
)
def test_each_meter_has_the_metering_point_of_its_fuel(
    cpl: Cpl, points: dict[str, Any], esme: str | None, gsme: str | None
) -> None:
    home = Premises(id=1, **points)
    assert presence(device(DeviceType.ESME), home, cpl)["ImportMPxN"] == esme
    assert presence(device(DeviceType.GSME), home, cpl)["ImportMPxN"] == gsme


def test_a_hub_of_unknown_bands_says_so(cpl: Cpl) -> None:
    hub = device(DeviceType.CHF)
    assert presence(hub, HOME, cpl)["HANVariant"] == "Dual Band (868MHz and 2.4GHz)"
    unknown = replace(hub, han_variant=None)
    assert presence(unknown, HOME, cpl)["HANVariant"] == "Unknown HAN Variant"


def test_a_device_in_no_home_has_no_address_and_no_metering_point(cpl: Cpl) -> None:
    items = presence(device(DeviceType.ESME), None, cpl)
    for item in ("UPRN", "PostCode", "AddressIdentifier", "ImportMPxN", "ExportMPAN"):
        assert items[item] is None
    assert items["DeviceID"] == "00-DB-12-34-56-78-90-A6"


def entry(**changes: Any) -> CplEntry:
    known: dict[str, Any] = {
        "device_type": DeviceType.PPMID,
        "manufacturer": "121D",
        "model": "00841111",
        "firmware_version": "00010200",
        "smets_chts_version": "PPMIDTS V4.4",
        "gbcs_version": "4.1",
    }
    return CplEntry(**(known | changes))


def cpl_status(one: SmiDevice, cpl: Cpl) -> str | None:
    items = presence(one, HOME, cpl)
    assert items["CPLStatus"] == items["DeviceFirmwareVersionStatus"]
    return items["CPLStatus"]


def test_the_cpl_status_follows_the_entry_for_what_runs(cpl: Cpl) -> None:
    assert cpl_status(device(), cpl) == "Cancelled"
    cpl.add(entry())
    assert cpl_status(device(), cpl) == "Active"
    assert cpl_status(device(firmware_version="00010300"), cpl) == "Cancelled"
    assert cpl_status(device(model="00841112"), cpl) == "Cancelled"
    assert cpl_status(device(firmware_version=None), cpl) == "Cancelled"
    cpl.remove(entry().identity)
    assert cpl_status(device(), cpl) == "Cancelled"


def test_the_cpl_status_is_that_of_the_specification_the_device_is_tied_to(cpl: Cpl) -> None:
    old = entry(smets_chts_version="SMETS V1.2", gbcs_version="1.0", status=CplStatus.REMOVED)
    cpl.add(old)
    cpl.add(entry())
    assert cpl_status(device(), cpl) == "Active"
    tied = device(smets_chts_version="SMETS V1.2", gbcs_version="1.0")
    assert cpl_status(tied, cpl) == "Cancelled"
    # Not known which: one that is Current will do.
    assert cpl_status(device(smets_chts_version=None, gbcs_version=None), cpl) == "Active"


def test_the_cpl_status_of_a_gpf_is_that_of_its_hub(cpl: Cpl) -> None:
    cpl.add(entry(device_type=DeviceType.CHF, smets_chts_version="CHTS V1.5"))
    for type_ in (DeviceType.CHF, DeviceType.GPF):
        assert cpl_status(device(type_, smets_chts_version="CHTS V1.5"), cpl) == "Active"
