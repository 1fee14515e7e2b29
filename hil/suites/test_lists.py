"""The lists that the DCC keeps, and what a request is answered that they do not allow.

Source: CPL guidance (entries, validity periods); MP202 (dual-mode PPMIDs); SECMP0007, consequential
changes (GBCS versions). The lists are written as the DCC does it; what they allow is asked by DUIS.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from dsp_stub.applicability import BUILT_IN, Period, Specification
from dsp_stub.assurance import AssuranceCertificate, Scheme, notices
from dsp_stub.cpl import CplEntry
from dsp_stub.cpl_admission import Epcl, Panel
from dsp_stub.desk import Desk
from dsp_stub.errors import DspValueError
from dsp_stub.reports import Reports
from dsp_stub.requests import UpdateHanDeviceLog
from dsp_stub.smi import DeviceType
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.dcc import GBCS_VERSION, PPMID_VERSION
from hil.session import Session, refused_devices
from hil.suites.test_inventory import CODE, STRANGER, announce, row, whitelist
from hil.suites.test_requests import on_the_wan
from hil.verdict import version_text

SMETS1 = "SMETS V1.2"
OLDER, OLDER_GBCS = "PPMIDTS V4.3", "4.0"


def entry_of(bench: BenchUp, **changes: Any) -> CplEntry:
    """The entry of what the bench's first device was delivered with, or one beside it."""
    track = bench.device.track
    entry = CplEntry(
        device_type=DeviceType.PPMID,
        manufacturer=f"{track.product.manufacturer_code:04X}",
        model=track.product.model,
        firmware_version=version_text(track.image.factory_version),
        smets_chts_version=PPMID_VERSION,
        gbcs_version=GBCS_VERSION,
    )
    return replace(entry, **changes)


def desk_of(bench: BenchUp) -> Desk:
    """The DSP's records; on a bench that lives on, a test puts back what it changes."""
    return bench.session.dcc.desk


async def add(dsp: Session, device_id: int) -> str:
    """8.11 Add."""
    body = UpdateHanDeviceLog(device_id, "Add", 60, CODE)
    hub = dsp.wiring.hub.node.eui64
    answer = await dsp.ask("8.11", body, target=hub, about=(device_id,))
    if answer.is_accepted:
        await dsp.response(answer.request_id)
    return answer.code


def valid_until_yesterday(bench: BenchUp, which: str) -> Specification:
    """The specification of a PPMID, one of whose periods is over."""
    today = bench.session.utc_now().date()
    over = Period(today - timedelta(days=900), today - timedelta(days=1))
    open_ = Period(today - timedelta(days=900))
    return Specification(
        PPMID_VERSION,
        over if which == "installation" else open_,
        over if which == "maintenance" else open_,
        ((GBCS_VERSION, over if which == "gbcs" else open_),),
    )


@conformance(
    "CPL-ENTRY",
    "MP202-R1",
    "MP202-R2",
    "MP202-R4",
    title="a dual-mode model has an entry for each SMETS, with the same firmware version",
    needs=("emulated",),
    steps=(
        "an entry equal but for the technical specification is taken",
        "one that is equal in all seven parameters is refused",
        "12.2 is accepted with either version, and refused with E120203 with a third",
    ),
)
async def test_one_model_serves_both(bench: BenchUp, dsp: Session, step: Any) -> None:
    cpl = desk_of(bench).cpl
    with step(1):
        cpl.add(entry_of(bench, smets_chts_version=SMETS1))
    with step(2):
        for entry in (entry_of(bench), entry_of(bench, smets_chts_version=SMETS1)):
            with pytest.raises(DspValueError):
                cpl.add(entry)
    with step(3):
        for number, version in enumerate((SMETS1, PPMID_VERSION)):
            code = await announce(bench, dsp, STRANGER + number, smets_chts_version=version)
            assert code == "I99", version
        other = {"smets_chts_version": "PPMIDTS V9.9"}
        assert await announce(bench, dsp, STRANGER + 2, **other) == "E120203"


@conformance(
    "MP202-R3",
    title="who may list a SMETS1 model is as it was",
    needs=("emulated",),
    steps=(
        "a party's SMETS1 entry is refused",
        "the DCC's, of a product that is not on the EPCL, too",
    ),
)
async def test_who_may_list_what(bench: BenchUp, step: Any) -> None:
    desk = desk_of(bench)
    panel = Panel(desk.cpl, Epcl(desk.store), desk.applicability)
    today = bench.session.utc_now().date()
    entry = entry_of(bench, smets_chts_version=SMETS1, firmware_version="00DD0000")
    with step(1), pytest.raises(DspValueError):
        panel.admit(entry, "party", today)
    with step(2), pytest.raises(DspValueError):
        panel.admit(entry, "dcc", today)


@conformance(
    "MP202-R5",
    "MP202-R6",
    title="8.11 ties a PPMID to the SMETS of its hub, if the CPL has it for that",
    needs=("emulated",),
    steps=(
        "announced as SMETS1, with no entry for SMETS2+: 8.11 is refused with E081110",
        "with one it is let in, and 8.2 tells SMETS2+",
    ),
)
async def test_a_hub_ties_a_ppmid(bench: BenchUp, dsp: Session, step: Any) -> None:
    cpl = desk_of(bench).cpl
    alone = {"smets_chts_version": SMETS1, "firmware_version": "00EE0000"}
    cpl.add(entry_of(bench, **alone))
    cpl.add(entry_of(bench, smets_chts_version=SMETS1))
    with step(1):
        assert await announce(bench, dsp, STRANGER, **alone) == "I99"
        assert await add(dsp, STRANGER) == "E081110"
        found = await row(dsp, STRANGER)
        assert found is not None
        assert (found.device_status, found.smets_chts_version) == ("Pending", SMETS1)
    with step(2):
        other = STRANGER + 1
        assert await announce(bench, dsp, other, smets_chts_version=SMETS1) == "I99"
        assert await add(dsp, other) == "I99"
        found = await row(dsp, other)
        assert found is not None
        assert (found.device_status, found.smets_chts_version) == ("Whitelisted", PPMID_VERSION)


@conformance(
    "CPL-IVP",
    "CPL-APPL",
    title="a device is installed in its installation validity period alone",
    needs=("emulated",),
    steps=(
        "the period was over yesterday: 8.11 Add is refused with E081109",
        "so it is where the applicability of its GBCS was over",
        "in the period it is let in",
    ),
)
async def test_the_installation_period_is_kept(bench: BenchUp, dsp: Session, step: Any) -> None:
    tables = desk_of(bench).applicability
    assert await announce(bench, dsp, STRANGER) == "I99"
    for number, which in enumerate(("installation", "gbcs"), 1):
        with step(number):
            tables.replace([valid_until_yesterday(bench, which)])
            assert await add(dsp, STRANGER) == "E081109", which
    with step(3):
        tables.replace(BUILT_IN)
        assert await add(dsp, STRANGER) == "I99"


@conformance(
    "CPL-MVP",
    "CPL-APPL",
    title="firmware is sent in its maintenance validity period alone",
    needs=("device", "emulated"),
    steps=(
        "the period was over yesterday: 11.4 is refused with E110401",
        "so it is where the applicability of its GBCS was over",
        "the report names the device, to be replaced or updated, and when that was",
        "in the period it is accepted, and the report names nobody",
    ),
)
async def test_the_maintenance_period_is_kept(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    await device.admit()
    tables = desk_of(bench).applicability
    for number, which in enumerate(("maintenance", "gbcs"), 1):
        with step(number):
            tables.replace([valid_until_yesterday(bench, which)])
            answer = await dsp.ask_update(device.image, (device.eui64,))
            assert answer.code == "E110401", which
    today = dsp.utc_now().date()
    reports = Reports(desk_of(bench).store)
    with step(3):
        eui64 = f"{device.eui64:016X}"
        (told,) = [one for one in reports.replace(today) if one["device_id"] == eui64]
        assert told["maintained_until"] == (today - timedelta(days=1)).isoformat()
        assert told["action"]
    with step(4):
        tables.replace(BUILT_IN)
        assert list(reports.replace(today)) == []
        assert (await dsp.ask_update(device.image, (device.eui64,))).code == "I99"


@conformance(
    "MP170-R12",
    "CPL-ENTRY",
    title="an image whose entry was removed is refused",
    needs=("device", "emulated"),
    steps=(
        "11.4 of a removed image: E110401",
        "what was on the list is not added again",
    ),
)
async def test_a_removed_image_is_refused(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    await device.admit()
    cpl = desk_of(bench).cpl
    product = device.track.product
    identity = entry_of(
        bench,
        manufacturer=f"{product.manufacturer_code:04X}",
        model=product.model,
        firmware_version=version_text(device.image.header.file_version),
    ).identity
    with step(1):
        removed = cpl.remove(identity)
        assert (await dsp.ask_update(device.image, (device.eui64,))).code == "E110401"
    with step(2), pytest.raises(DspValueError):
        cpl.add(removed)


@conformance(
    "MP0007-GBCS",
    title="a device of an older GBCS takes no firmware by 11.4",
    needs=("emulated",),
    steps=(
        "it is announced with GBCS 4.0, and let in",
        "11.4 lists it in InvalidGBCSVersionList",
        "where the hub's GBCS is too low, so is a device in the list whose own is not",
        "when the hub has been upgraded, the same request is taken",
    ),
)
async def test_an_older_gbcs_is_listed(bench: BenchUp, dsp: Session, step: Any) -> None:
    older = {"smets_chts_version": OLDER, "gbcs_version": OLDER_GBCS}
    desk_of(bench).cpl.add(entry_of(bench, **older))
    with step(1):
        assert await announce(bench, dsp, STRANGER, smets_chts_version=OLDER) == "I99"
        await whitelist(dsp, STRANGER)
        found = await row(dsp, STRANGER)
        assert found is not None
        assert found.device_gbcs_version == OLDER_GBCS
    with step(2):
        answer = await dsp.ask_update(bench.device.image, (STRANGER,))
        assert refused_devices(answer.response) == {STRANGER: "InvalidGBCSVersionList"}
    other, hub = STRANGER + 1, dsp.wiring.hub.node.eui64
    inventory = desk_of(bench).inventory
    assert await announce(bench, dsp, other) == "I99"
    await whitelist(dsp, other)
    with step(3):
        inventory.set_details(hub, gbcs_version=OLDER_GBCS)
        answer = await dsp.ask_update(bench.device.image, (other,))
        assert refused_devices(answer.response) == {other: "InvalidGBCSVersionList"}
        assert answer.code == "E110403"
    with step(4):
        inventory.set_details(hub, gbcs_version=GBCS_VERSION)
        assert (await dsp.ask_update(bench.device.image, (other,))).code == "I99"


@conformance(
    "MP0007-VERSIONS",
    title="versions that do not go together are refused, and both are named",
    needs=("emulated",),
    steps=("an entry of PPMIDTS 4.4 with GBCS 3.2 is refused with both versions in the sentence",),
)
async def test_a_mix_of_versions_is_refused(bench: BenchUp, step: Any) -> None:
    desk = desk_of(bench)
    panel = Panel(desk.cpl, Epcl(desk.store), desk.applicability)
    today = bench.session.utc_now().date()
    mixed = entry_of(bench, gbcs_version="3.2", firmware_version="00CC0000")
    with step(1), pytest.raises(DspValueError, match=rf"{PPMID_VERSION}.*3\.2"):
        panel.admit(mixed, "dcc", today)


@conformance(
    "CPL-CERT",
    title="removal while an update is in flight lets it finish",
    needs=("device", "emulated"),
    steps=("in mid-transfer the entry is removed", "the device is activated all the same"),
)
async def test_a_removal_lets_an_update_finish(
    bench: BenchUp, device: BenchDevice, step: Any
) -> None:
    product = device.track.product
    with step(1):
        await device.ask_update()
        await bench.until(lambda: device.track.started, "the transfer begins")
        version = version_text(device.image.header.file_version)
        entry = entry_of(
            bench,
            manufacturer=f"{product.manufacturer_code:04X}",
            model=product.model,
            firmware_version=version,
        )
        desk_of(bench).cpl.remove(entry.identity)
    with step(2):
        await device.settled()
        assert [one.succeeded for one in device.activations] == [True]


@conformance(
    "MP202-R7",
    title="a PPMID takes firmware on a hub of SMETS2+, and on one of SMETS1 none",
    needs=("device", "emulated"),
    steps=(
        "on the hub, which is of SMETS2+, the device is updated by 11.4",
        "a dual-mode PPMID is tied to SMETS1 by a hub that stands as that in the inventory",
        "11.4 for it is refused: NotApplicableFirmwareDeviceIDList",
        "of neither request has anything left for the hub, so nothing is on the air",
        "in an 11.4 for both it alone is in the list",
    ),
)
async def test_on_smets1_it_takes_none(bench: BenchUp, dsp: Session, step: Any) -> None:
    device, hub = bench.device, dsp.wiring.hub.node.eui64
    desk = desk_of(bench)
    with step(1):
        assert await device.update() == "activated", device.track.detail
    desk.cpl.add(entry_of(bench, smets_chts_version=SMETS1))
    crossed = on_the_wan(bench)
    with step(2):
        assert await announce(bench, dsp, STRANGER) == "I99"
        smets2 = desk.inventory.get(hub)
        assert smets2 is not None
        desk.inventory.set_details(hub, smets_chts_version=SMETS1)
        assert await add(dsp, STRANGER) == "I99"
        desk.inventory.set_details(hub, smets_chts_version=smets2.smets_chts_version)
        found = await row(dsp, STRANGER)
        assert found is not None
        assert (found.device_status, found.smets_chts_version) == ("Whitelisted", SMETS1)
    tied = {STRANGER: "NotApplicableFirmwareDeviceIDList"}
    with step(3):
        answer = await dsp.ask_update(device.image, (STRANGER,))
        assert (answer.code, refused_devices(answer.response)) == ("E110403", tied)
    with step(4):
        await bench.quiet(bench.brief_s)
        assert on_the_wan(bench) == crossed
    with step(5):
        answer = await dsp.ask_update(device.image, (device.eui64, STRANGER))
        assert refused_devices(answer.response) == tied


@conformance(
    "CPL-CERT",
    title="which certificates a model needs is asked, and their expiry is told in time",
    needs=("emulated",),
    steps=(
        "a PPMID is listed with the certificate of ZigBee alone, and not without it",
        "a meter needs the CPA's too, an ESME DLMS's: each that is missing is named",
        "12 months before one expires a notice is due, and not the day before that",
        "6 months before, another; the day after, that it has expired",
        "what has expired is still on the list: removing it is an act of its own",
    ),
)
async def test_certificates_are_asked_for_and_expire(bench: BenchUp, step: Any) -> None:
    desk = desk_of(bench)
    panel = Panel(desk.cpl, Epcl(desk.store), desk.applicability, requires_certificates=True)
    today = bench.session.utc_now().date()
    expires = date(today.year + 2, 3, 30)
    year_before, half_before = date(today.year + 1, 3, 30), date(today.year + 1, 9, 30)
    zigbee = AssuranceCertificate(Scheme.ZIGBEE, expires, "ZIG-1")
    entry = entry_of(bench, firmware_version="00CC0000")
    with step(1):
        with pytest.raises(DspValueError, match="ZigBee"):
            panel.admit(entry, "party", today)
        panel.admit(replace(entry, certificates=(zigbee,)), "party", today)
    with step(2):
        meter = replace(
            entry,
            device_type=DeviceType.ESME,
            smets_chts_version="ESMETS V5.1",
            certificates=(zigbee,),
        )
        with pytest.raises(DspValueError, match="CPA, DLMS"):
            panel.admit(meter, "party", today)

    def due(day: date) -> list[int]:
        return [one.months for one in notices(desk.cpl.find(), day)]

    with step(3):
        assert due(year_before - timedelta(days=1)) == []
        assert due(year_before) == [12]
    with step(4):
        assert due(half_before - timedelta(days=1)) == [12]
        assert due(half_before) == due(expires) == [6]
        assert due(expires + timedelta(days=1)) == [0]
    with step(5):
        held = desk.cpl.get(entry.identity)
        assert held is not None
        assert held.is_current
