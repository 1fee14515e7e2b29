"""Who may put what on the CPL, which certificates and versions go with it, and its files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from dsp_rig import (
    HUB,
    INSTALL_CODE,
    NEW,
    OLD,
    PPMID,
    STRANGER,
    Device,
    Rig,
    made_image,
    running,
    smi_device,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp_stub.applicability import BUILT_IN, Applicability, Period, Specification
from dsp_stub.assurance import (
    AssuranceCertificate,
    Scheme,
    certificates_from_text,
    certificates_to_text,
    months_before,
    needed,
    notices,
)
from dsp_stub.cpl import Cpl, CplEntry, CplStatus, approved_entry
from dsp_stub.cpl_admission import EligibleProduct, Epcl, Panel, remove_entry
from dsp_stub.cpl_files import (
    export_cpl,
    export_tables,
    read_cpl,
    read_tables,
)
from dsp_stub.errors import DspValueError
from dsp_stub.options import Options
from dsp_stub.requests import DevicePrenotification, UpdateHanDeviceLog, UpdatePpmidFirmware
from dsp_stub.responses import FirmwareVersionMismatch
from dsp_stub.smi import DeviceType, is_smets1
from dsp_stub.store import Store
from dsp_stub.updates import UpdateState

TODAY = date(2026, 1, 1)
ZIGBEE = AssuranceCertificate(Scheme.ZIGBEE, date(2030, 12, 31), "ZIG-1")
EVERY = (
    ZIGBEE,
    AssuranceCertificate(Scheme.CPA, date(2030, 12, 31)),
    AssuranceCertificate(Scheme.DLMS, date(2030, 12, 31)),
)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as opened:
        yield opened


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(None, Options(check_certificate_times=False)) as rig:
        yield rig


def panel(store: Store, *, requires: bool = False) -> Panel:
    return Panel(Cpl(store), Epcl(store), Applicability(store), requires)


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


SMETS1 = entry(smets_chts_version="SMETS V1.2", gbcs_version="1.0")


# -- who adds what -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "smets1"),
    [
        ("SMETS V1.2", True),
        ("SMETS V1.1", True),
        ("SMETS1 V1.2", True),
        ("V1.2", True),
        ("SMETS V1.58", False),
        ("SMETS V2.0", False),
        ("V1.58", False),
        ("SMETS2 V4.2", False),
        ("PPMIDTS V4.4", False),
        ("CHTS V1.0", False),
        ("", False),
        (None, False),
    ],
)
def test_which_versions_are_of_smets1(version: str | None, smets1: bool) -> None:
    assert is_smets1(version) is smets1


@pytest.mark.requirement("MP202-R1", "good", "bad")
@pytest.mark.requirement("MP202-R2", "good", "bad")
def test_one_model_with_one_firmware_stands_there_twice(store: Store) -> None:
    keeper = panel(store)
    keeper.epcl.add(EligibleProduct("121D", "00841111", "00010200"))
    keeper.admit(entry(), "party", TODAY)
    keeper.admit(SMETS1, "dcc", TODAY)
    assert keeper.cpl.find() == (entry(), SMETS1)
    with pytest.raises(DspValueError, match="already, Current, and no entry is amended"):
        keeper.admit(SMETS1, "dcc", TODAY)


@pytest.mark.requirement("MP202-R2", "good")
def test_a_fictitious_version_for_smets1_still_loads(store: Store) -> None:
    keeper = panel(store)
    keeper.epcl.add(EligibleProduct("121D", "00841111", "FFFF0200"))
    keeper.admit(entry(), "party", TODAY)
    keeper.admit(replace(SMETS1, firmware_version="FFFF0200"), "dcc", TODAY)
    assert len(keeper.cpl.find()) == 2


@pytest.mark.requirement("MP202-R3", "good", "bad")
def test_only_the_dcc_adds_a_smets1_model_and_only_from_the_epcl(store: Store) -> None:
    keeper = panel(store)
    with pytest.raises(DspValueError, match="which only the DCC puts on the CPL"):
        keeper.admit(SMETS1, "party", TODAY)
    with pytest.raises(DspValueError, match="not on the EPCL"):
        keeper.admit(SMETS1, "dcc", TODAY)
    for near in (("121E", "00841111", "00010200"), ("121D", "00841112", "00010200")):
        keeper.epcl.add(EligibleProduct(*near))
    with pytest.raises(DspValueError, match="not on the EPCL"):
        keeper.admit(SMETS1, "dcc", TODAY)
    assert keeper.cpl.find() == ()
    keeper.epcl.add(EligibleProduct("121D", "00841111", "00010200"))
    with pytest.raises(DspValueError, match="only the DCC"):
        keeper.admit(SMETS1, "party", TODAY)
    keeper.admit(SMETS1, "dcc", TODAY)
    assert keeper.cpl.find() == (SMETS1,)


@pytest.mark.requirement("MP202-R3", "good")
def test_anybody_adds_a_smets2_model(store: Store) -> None:
    panel(store).admit(entry(), "party", TODAY)
    panel(store).admit(entry(gbcs_version="4.1", model="00842222"), "dcc", TODAY)


@pytest.mark.requirement("MP0007-VERSIONS", "bad")
def test_versions_that_do_not_go_together_are_refused_by_name(store: Store) -> None:
    keeper = panel(store)
    for version in ("ESMETS V5.1", "PPMIDTS V4.4", "HCALCSTS V5.1", "CHTS V1.5", "DUIS V5.0"):
        keeper.applicability.require_fit(version, "4.1")
        with pytest.raises(DspValueError, match=rf"{version} does not go with GBCS 3\.2, .* 4\.1"):
            keeper.applicability.require_fit(version, "3.2")
    with pytest.raises(DspValueError, match=r"PPMIDTS V4\.4 does not go with GBCS 4\.0"):
        keeper.admit(entry(gbcs_version="4.0"), "party", TODAY)
    assert keeper.cpl.find() == ()
    keeper.admit(entry(smets_chts_version="PPMIDTS V9.9", gbcs_version="4.0"), "party", TODAY)


def test_of_entries_that_differ_in_gbcs_the_latest_counts(store: Store) -> None:
    cpl = Cpl(store)
    for version in ("4.2", "4.10", "4.9"):
        cpl.add(entry(gbcs_version=version))
    cpl.add(entry(gbcs_version="5.0", status=CplStatus.REMOVED))
    wanted = ("121D", "00841111", "00010200", "PPMIDTS V4.4")
    found = approved_entry(cpl, DeviceType.PPMID, *wanted)
    assert found is not None
    assert found.gbcs_version == "4.10"
    assert approved_entry(cpl, DeviceType.PPMID, *wanted[:3], None) is None


# -- certificates ------------------------------------------------------------------------------


@pytest.mark.requirement("CPL-CERT", "good")
def test_which_certificates_a_type_needs() -> None:
    assert {kind: set(needed(kind, "ANY V9")) for kind in DeviceType} == {
        DeviceType.ESME: {"ZigBee", "CPA", "DLMS"},
        DeviceType.GSME: {"ZigBee", "CPA"},
        DeviceType.GPF: {"ZigBee", "CPA"},
        DeviceType.CHF: {"ZigBee", "CPA"},
        DeviceType.HCALCS: {"ZigBee", "CPA"},
        DeviceType.PPMID: {"ZigBee"},
        DeviceType.IHD: {"ZigBee"},
        DeviceType.CAD: {"ZigBee"},
    }
    assert needed(DeviceType.ESME, "SMETS V1.2") == ()


@pytest.mark.requirement("CPL-CERT", "bad")
@pytest.mark.parametrize("lacks", Scheme)
def test_a_model_without_a_certificate_is_refused_where_they_are_required(
    store: Store, lacks: Scheme
) -> None:
    meter = entry(device_type=DeviceType.ESME, smets_chts_version="ESMETS V5.1")
    some = tuple(one for one in EVERY if one.scheme is not lacks)
    with pytest.raises(DspValueError, match=f"lacks a valid certificate of {lacks}"):
        panel(store, requires=True).admit(replace(meter, certificates=some), "party", TODAY)
    over = (*some, AssuranceCertificate(lacks, TODAY - timedelta(days=1)))
    with pytest.raises(DspValueError, match=f"lacks a valid certificate of {lacks}"):
        panel(store, requires=True).admit(replace(meter, certificates=over), "party", TODAY)
    last_day = (*some, AssuranceCertificate(lacks, TODAY))
    panel(store, requires=True).admit(replace(meter, certificates=last_day), "party", TODAY)


@pytest.mark.requirement("CPL-CERT", "good")
def test_a_smets1_model_needs_no_certificate(store: Store) -> None:
    keeper = panel(store, requires=True)
    keeper.epcl.add(EligibleProduct("121D", "00841111", "00010200"))
    keeper.admit(SMETS1, "dcc", TODAY)


@pytest.mark.requirement("CPL-CERT", "good")
@pytest.mark.parametrize(
    ("today", "months"),
    [
        (date(2025, 8, 30), None),
        (date(2025, 8, 31), 12),
        (date(2026, 2, 27), 12),
        (date(2026, 2, 28), 6),
        (date(2026, 8, 31), 6),
        (date(2026, 9, 1), 0),
    ],
)
def test_the_panel_tells_twelve_and_six_months_ahead(today: date, months: int | None) -> None:
    expires = AssuranceCertificate(Scheme.ZIGBEE, date(2026, 8, 31))
    one = entry(certificates=(expires,))
    removed = entry(certificates=(expires,), status=CplStatus.REMOVED, model="00842222")
    old = replace(SMETS1, certificates=(expires,))
    found = notices((one, removed, old), today)
    assert found == ([] if months is None else [(one, expires, months)])


@pytest.mark.requirement("CPL-CERT", "good")
def test_an_expired_certificate_removes_nothing(store: Store) -> None:
    cpl = Cpl(store)
    over = entry(certificates=(AssuranceCertificate(Scheme.ZIGBEE, date(2020, 1, 1)),))
    cpl.add(over)
    assert [one.months for one in notices(cpl.find(), TODAY)] == [0]
    assert cpl.find() == (over,)


@given(st.dates(date(1900, 1, 1)), st.integers(0, 24))
def test_months_before_a_day_are_calendar_months(day: date, months: int) -> None:
    before = months_before(day, months)
    assert (day.year - before.year) * 12 + day.month - before.month == months
    assert before.day == day.day or (before.day < day.day and (before + timedelta(1)).day == 1)


CERTIFICATES = st.builds(
    AssuranceCertificate,
    st.sampled_from(Scheme),
    st.dates(),
    st.text("ABC123-/.", max_size=12),
)


@given(st.lists(CERTIFICATES, max_size=4).map(tuple))
def test_certificates_are_read_as_they_were_written(
    certificates: tuple[AssuranceCertificate, ...],
) -> None:
    assert certificates_from_text(certificates_to_text(certificates)) == certificates


@pytest.mark.parametrize(
    "text", ["ZigBee", "ZigBee 2030-02-30", "ISO 2030-01-01", "CPA 20300101", "CPA 2030-01-01 a b"]
)
def test_a_text_that_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(DspValueError, match="is no certificate such as"):
        certificates_from_text(text)


@pytest.mark.requirement("CPL-ENTRY", "bad")
def test_the_certificates_of_an_entry_are_not_amended(store: Store) -> None:
    Cpl(store).add(entry(certificates=(ZIGBEE,)))
    with pytest.raises(Exception, match="an entry of the CPL goes from Current to Removed only"):
        store.connection.execute("UPDATE cpl SET certificates = '', status = 'Removed'")
    assert Cpl(store).find() == (entry(certificates=(ZIGBEE,)),)


# -- periods -----------------------------------------------------------------------------------

START, END = date(2026, 3, 1), date(2026, 5, 31)
ALWAYS = Period(date(2021, 11, 4))


def specification(**changes: Any) -> Specification:
    fields: dict[str, Any] = {
        "version": "PPMIDTS V4.4",
        "installation": ALWAYS,
        "maintenance": ALWAYS,
        "gbcs": (("4.1", ALWAYS),),
    }
    return Specification(**(fields | changes))


BOUNDARIES = [
    (START - timedelta(days=1), False),
    (START, True),
    (END, True),
    (END + timedelta(days=1), False),
]


def prenotification() -> DevicePrenotification:
    return DevicePrenotification(
        device_id=STRANGER,
        manufacturer="121D",
        model="00841111",
        device_type="PPMID",
        smets_chts_version="PPMIDTS V4.4",
        firmware_version=f"{OLD:08X}",
        ppmid_variant="PPMID",
    )


async def installed(rig: Rig, day: date, tables: Specification) -> str:
    """The code of an 8.11 Add on a day."""
    rig.desk.applicability.replace([tables])
    await rig.ask("12.2", prenotification())
    rig.now = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=12)
    body = UpdateHanDeviceLog(STRANGER, "Add", 90, INSTALL_CODE)
    return (await rig.ask("8.11", body, target=HUB)).response_code


@pytest.mark.real_clock
@pytest.mark.requirement("CPL-IVP", "good", "bad")
@pytest.mark.parametrize(("day", "within"), BOUNDARIES)
async def test_a_device_is_installed_in_its_installation_validity_period_only(
    rig: Rig, day: date, within: bool
) -> None:
    tables = specification(installation=Period(START, END))
    assert await installed(rig, day, tables) == ("I99" if within else "E081109")
    assert len(rig.wan[HUB].messages) == (2 if within else 0)


@pytest.mark.real_clock
@pytest.mark.requirement("CPL-APPL", "good", "bad")
@pytest.mark.parametrize(("day", "within"), BOUNDARIES)
async def test_a_device_is_installed_while_its_gbcs_is_applicable_only(
    rig: Rig, day: date, within: bool
) -> None:
    tables = specification(gbcs=(("4.1", Period(START, END)),))
    assert await installed(rig, day, tables) == ("I99" if within else "E081109")


async def sent(rig: Rig, day: date, tables: Specification) -> str:
    rig.desk.applicability.replace([tables])
    rig.now = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=12)
    body = UpdatePpmidFirmware(made_image().data, f"{NEW:08X}", (PPMID,))
    return (await rig.ask("11.4", body)).response_code


@pytest.mark.real_clock
@pytest.mark.requirement("CPL-MVP", "good", "bad")
@pytest.mark.parametrize(("day", "within"), BOUNDARIES)
async def test_firmware_is_sent_in_its_maintenance_validity_period_only(
    rig: Rig, day: date, within: bool
) -> None:
    tables = specification(maintenance=Period(START, END), installation=Period(date(2000, 1, 1)))
    assert await sent(rig, day, tables) == ("I99" if within else "E110401")
    assert len(rig.wan[HUB].messages) == within


@pytest.mark.real_clock
@pytest.mark.requirement("CPL-APPL", "good", "bad")
@pytest.mark.parametrize(("day", "within"), BOUNDARIES)
async def test_firmware_is_sent_while_its_gbcs_is_applicable_only(
    rig: Rig, day: date, within: bool
) -> None:
    tables = specification(gbcs=(("4.1", Period(START, END)),))
    assert await sent(rig, day, tables) == ("I99" if within else "E110401")


@pytest.mark.real_clock
@pytest.mark.requirement("CPL-MVP", "good")
async def test_an_open_period_has_no_last_day_and_an_ended_installation_stops_no_update(
    rig: Rig,
) -> None:
    ended = specification(installation=Period(date(2021, 11, 4), date(2025, 12, 31)))
    assert await sent(rig, date(2999, 12, 31), ended) == "I99"


def test_a_period_says_why_in_words(store: Store) -> None:
    tables = Applicability(store)
    tables.replace([specification(maintenance=Period(START, END))])
    assert tables.why_not_maintained("PPMIDTS V4.4", "4.1", TODAY) == (
        "the maintenance validity period of PPMIDTS V4.4 is 2026-03-01 to 2026-05-31, not "
        "2026-01-01"
    )
    assert tables.why_not_maintained("PPMIDTS V4.4", "4.2", START) == (
        "PPMIDTS V4.4 does not go with GBCS 4.2"
    )
    assert tables.why_not_installed("PPMIDTS V4.4", "4.1", TODAY) is None
    assert tables.why_not_installed("PPMIDTS V9.9", "4.1", TODAY) is None
    assert tables.why_not_installed(None, None, TODAY) is None


@pytest.mark.requirement("MP0007-VERSIONS", "good")
def test_without_tables_of_its_own_a_dsp_has_the_line_of_secmp0007(store: Store) -> None:
    tables = Applicability(store)
    assert tables.all() == BUILT_IN
    day_before, first_day = date(2021, 11, 3), date(2021, 11, 4)
    assert tables.why_not_installed("CHTS V1.5", "4.1", day_before) is not None
    assert tables.why_not_installed("CHTS V1.5", "4.1", first_day) is None
    tables.replace([specification(version="OTHER V1")])
    assert tables.get("CHTS V1.5") is None
    assert [one.version for one in tables.all()] == ["OTHER V1"]


# -- removal in flight -------------------------------------------------------------------------


@pytest.mark.real_clock
@pytest.mark.requirement("CPL-CERT", "bad")
async def test_removal_lets_an_update_in_flight_finish_and_flags_it(rig: Rig) -> None:
    rig.desk.inventory.add(smi_device(STRANGER))
    body = UpdatePpmidFirmware(made_image().data, f"{NEW:08X}", (PPMID,))
    assert (await rig.ask("11.4", body)).response_code == "I99"
    (held,) = rig.desk.cpl.find(manufacturer="121D", firmware_version=f"{NEW:08X}")
    in_flight = remove_entry(
        rig.desk.cpl,
        rig.desk.updates,
        rig.desk.campaigns,
        rig.desk.inventory,
        held.identity,
        rig.now,
    )
    assert in_flight == [PPMID]
    rig.take_offer()
    rig.from_device(PPMID, Device(PPMID).activated())
    update = rig.desk.updates.last(PPMID)
    assert update is not None
    assert update.state is UpdateState.ACTIVATED
    device = rig.desk.inventory.get(PPMID)
    assert device is not None
    assert device.firmware_version == f"{NEW:08X}"
    flags = rig.store.connection.execute(
        "SELECT device FROM attempts WHERE event = 'cpl-entry-removed'"
    ).fetchall()
    assert flags == [(f"{PPMID:016X}",)]
    assert (await rig.ask("11.4", body)).response_code == "E110401", "none begins any more"


@pytest.mark.real_clock
@pytest.mark.requirement("CPL-MISMATCH", "good")
async def test_a_version_that_differs_from_the_inventory_is_told(rig: Rig) -> None:
    rig.from_device(PPMID, Device(PPMID).activated(0x00019999))
    mismatch = await rig.alert(FirmwareVersionMismatch)
    assert mismatch == FirmwareVersionMismatch(PPMID, "PPMID", f"{OLD:08X}", "00019999")
    device = rig.desk.inventory.get(PPMID)
    assert device is not None
    assert device.firmware_version == f"{OLD:08X}"


# -- files -------------------------------------------------------------------------------------


def digits(count: int, letters: str = "0123456789ABCDEF") -> st.SearchStrategy[str]:
    return st.text(letters, min_size=count, max_size=count)


ENTRIES = st.builds(
    CplEntry,
    device_type=st.sampled_from(["ESME", "GSME", "CHF", "HCALCS", "PPMID"]).map(DeviceType),
    manufacturer=digits(4),
    model=digits(8),
    firmware_version=digits(8),
    smets_chts_version=st.text("PMIDTSV1.2 ,\"'", min_size=1, max_size=20).filter(
        lambda text: text == text.strip()
    ),
    gbcs_version=st.sampled_from(["1.0", "4.1", "4.10.2"]),
    image_hash=st.none() | digits(64, "0123456789abcdef"),
    status=st.sampled_from(CplStatus),
    certificates=st.lists(CERTIFICATES, max_size=3).map(tuple),
)


@pytest.mark.requirement("CPL-ENTRY", "good")
@given(st.lists(ENTRIES, unique_by=lambda one: one.identity, max_size=5), st.booleans())
def test_a_list_is_read_as_it_was_exported(entries: list[CplEntry], as_json: bool) -> None:
    text = export_cpl(entries, as_json=as_json)
    assert [one for _, one in read_cpl(text, as_json=as_json)] == entries


@pytest.mark.requirement("CPL-ENTRY", "good")
def test_the_octets_of_a_file_have_colons() -> None:
    text = export_cpl([entry(certificates=(ZIGBEE,))], as_json=False)
    assert text.splitlines()[1] == (
        "PPMID,12:1D,00:84,11,11,00:01:02:00,PPMIDTS V4.4,4.1,Current,,ZigBee 2030-12-31 ZIG-1"
    )
    (row,) = json.loads(export_cpl([entry()], as_json=True))
    assert (row["manufacturer"], row["firmware_version"]) == ("12:1D", "00:01:02:00")


GOOD = export_cpl([entry()], as_json=False)


@pytest.mark.requirement("CPL-ENTRY", "bad")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + GOOD.splitlines()[1], "line 3: .* is on line 2 too"),
        (GOOD.replace("12:1D", "121D"), "line 2: '121D' is not octets with colons"),
        (GOOD.replace("12:1D", "12:1D:00"), "line 2: manufacturer '121D00' is not 4 digits"),
        (GOOD.replace("00:84,", "84,"), "line 2: model '841111' is not 8 digits"),
        (GOOD.replace("PPMID,", "TOASTER,"), "line 2: 'TOASTER' is not a valid DeviceType"),
        (GOOD.replace("PPMID,", "IHD,"), "line 2: a IHD has no entry in the CPL"),
        (GOOD.replace("Current", "Maybe"), "line 2: 'Maybe' is not a valid CplStatus"),
        (GOOD.replace(",4.1,", ",,"), "line 2: gbcs_version is missing"),
        (GOOD.replace("4.1,Current,,", "4.1,Current,"), "line 2: has 10 columns, not 11"),
        (GOOD.replace("gbcs_version", "gbcs"), "line 1: the heading is not of the columns"),
        (GOOD.replace("PPMID,", '"PPMID,'), "line 2: unexpected end of data"),
        (GOOD.replace("Current,,", "Current,00,"), "line 2: image_hash '00' is not 64 digits"),
        (GOOD.replace("Current,,", "Current,,CPA"), "line 2: 'CPA' is no certificate"),
    ],
)
def test_a_line_that_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(DspValueError, match=words):
        read_cpl(text, as_json=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "is no list of objects"),
        ("[1]", "item 1: is no object"),
        ('[{"device_type": 1}]', "item 1: device_type is no text"),
        ('[{"device_type": "PPMID"}]', "item 1: manufacturer is missing"),
        ('[{"colour": "red"}]', "item 1: 'colour' is none of"),
        ("[", "line 1: is no JSON"),
        ("[" * 100_000, "line 1: is no JSON"),
    ],
)
def test_json_that_is_no_list_of_entries_is_refused(text: str, words: str) -> None:
    with pytest.raises(DspValueError, match=words):
        read_cpl(text, as_json=True)


@given(st.text(max_size=200), st.booleans())
def test_any_text_is_read_or_refused(text: str, as_json: bool) -> None:
    for read in (read_cpl, read_tables):
        try:
            read(text, as_json=as_json)
        except DspValueError:
            continue


PERIODS = st.tuples(st.dates(), st.none() | st.dates()).map(
    lambda days: Period(*((min(days), max(days)) if days[1] else days))  # type: ignore[type-var]
)
SPECIFICATIONS = st.builds(
    Specification,
    version=st.sampled_from(["PPMIDTS V4.4", "SMETS V1.58", "CHTS V1.5"]),
    installation=PERIODS,
    maintenance=PERIODS,
    gbcs=st.lists(
        st.tuples(st.sampled_from(["4.1", "4.2", "5.0"]), PERIODS),
        min_size=1,
        max_size=3,
        unique_by=lambda one: one[0],
    ).map(tuple),
)


@pytest.mark.requirement("CPL-APPL", "good")
@settings(max_examples=30)
@given(
    st.lists(SPECIFICATIONS, min_size=1, max_size=3, unique_by=lambda one: one.version),
    st.booleans(),
)
def test_tables_are_read_as_they_were_exported_and_kept_as_they_were_read(
    specifications: list[Specification], as_json: bool
) -> None:
    text = export_tables(specifications, as_json=as_json)
    assert read_tables(text, as_json=as_json) == specifications
    with Store(None) as store:
        tables = Applicability(store)
        tables.replace(specifications)
        tables.replace(specifications)
        assert list(tables.all()) == specifications
        assert tables.get(specifications[0].version) == specifications[0]


TABLES = export_tables([specification(gbcs=(("4.1", ALWAYS), ("4.2", ALWAYS)))], as_json=False)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("2021-11-04,,2021", "2021-11-05,,2021", "line 2: .*|line 3: .* other periods"),
        (",4.2,", ",4.1,", "line 3: PPMIDTS V4.4 has a version of GBCS twice"),
        (",4.2,", ",four,", "line 3: gbcs_version 'four' is not one such"),
        ("2021-11-04", "2021-13-04", "line 2: '2021-13-04' is no day"),
        ("2021-11-04,,2", "2021-11-04,2020-01-01,2", "line 2: a period cannot end on 2020-01-01"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(old: str, new: str, words: str) -> None:
    with pytest.raises(DspValueError, match=words):
        read_tables(TABLES.replace(old, new, 1), as_json=False)


def test_tables_are_replaced_whole_or_not_at_all(store: Store) -> None:
    tables = Applicability(store)
    tables.replace([specification()])
    for wrong in ([], [specification(version="A"), specification(version="A")]):
        with pytest.raises(DspValueError):
            tables.replace(wrong)
        assert tables.all() == (specification(),)
