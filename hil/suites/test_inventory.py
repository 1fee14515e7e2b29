"""The inventory as a user meets it: announced, read, corrected, taken out, used again.

Source: MP170, annex B: 12.2, 8.2, 8.3, 8.4 with PPMIDVariant; the codes are those of its tables.
"""

from __future__ import annotations

from typing import Any

from dsp_stub.inventory_requests import DeleteDevice, DeviceDetails, NewDeviceStatus
from dsp_stub.requests import (
    DecommissionDevice,
    DevicePrenotification,
    ReadInventory,
    UpdateHanDeviceLog,
    UpdateInventory,
)
from dsp_stub.responses import InventoryDevice
from dsp_stub.smi import PpmidVariant
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.dcc import PPMID_VERSION
from hil.session import Session, inventory_of
from hil.verdict import version_text

STRANGER = 0x00DB1234567890F0
BRIDGE_1, BRIDGE_2, PPMID = PpmidVariant.BRIDGE_1, PpmidVariant.BRIDGE_2, PpmidVariant.PPMID
CODE = bytes(range(16))


def announced(bench: BenchUp, device_id: int, **changes: Any) -> DevicePrenotification:
    """A 12.2 for one more device of the bench's first product."""
    track = bench.device.track
    given: dict[str, Any] = {
        "device_id": device_id,
        "manufacturer": f"{track.product.manufacturer_code:04X}",
        "model": track.product.model,
        "device_type": "PPMID",
        "smets_chts_version": PPMID_VERSION,
        "firmware_version": version_text(track.image.factory_version),
        "ppmid_variant": str(BRIDGE_1),
    }
    return DevicePrenotification(**(given | changes))


async def announce(bench: BenchUp, dsp: Session, device_id: int, **changes: Any) -> str:
    body = announced(bench, device_id, **changes)
    return (await dsp.ask("12.2", body, about=(device_id,))).code


async def row(dsp: Session, device_id: int) -> InventoryDevice | None:
    """What 8.2 says of a device."""
    answer = await dsp.ask("8.2", ReadInventory(device_id=device_id), about=(device_id,))
    rows = inventory_of(answer.response)
    return next((one for one in rows if one.device_id == device_id), None)


async def change(dsp: Session, device_id: int, what: Any) -> str:
    body = UpdateInventory(device_id, what)
    return (await dsp.ask("8.4", body, about=(device_id,))).code


async def whitelist(dsp: Session, device_id: int) -> None:
    """8.11 for a device that never comes."""
    body = UpdateHanDeviceLog(device_id, "Add", 60, CODE)
    hub = dsp.wiring.hub.node.eui64
    answer = await dsp.ask("8.11", body, target=hub, about=(device_id,))
    assert answer.code == "I99"
    response, _ = await dsp.response(answer.request_id)
    assert response is not None, "the hub did not answer"


@conformance(
    "MP170-SR122",
    "MP170-R11",
    title="12.2 takes a PPMID with its variant, and 8.2 tells it",
    steps=(
        "12.2 with each of the variants is accepted",
        "8.2 tells the variant, and that the device is Pending",
    ),
)
async def test_a_variant_is_announced_and_read(bench: BenchUp, dsp: Session, step: Any) -> None:
    with step(1):
        for number, variant in enumerate(PpmidVariant):
            code = await announce(bench, dsp, STRANGER + number, ppmid_variant=str(variant))
            assert code == "I99", f"{variant}: {code}"
    with step(2):
        for number, variant in enumerate(PpmidVariant):
            found = await row(dsp, STRANGER + number)
            assert found is not None
            assert (found.ppmid_variant, found.device_status) == (str(variant), "Pending")


@conformance(
    "MP170-SR122",
    "MP170-R11",
    "MP202-R4",
    "CPL-ENTRY",
    title="12.2 refuses what does not belong together, by its code",
    steps=(
        "without a variant: E120204",
        "a variant on a device that is no PPMID: E120204",
        "a model, or a version, that is not on the CPL: E120203",
        "a device that is in the inventory already: E120201",
        "a GPF: E120207",
    ),
)
async def test_a_wrong_announcement_is_refused(bench: BenchUp, dsp: Session, step: Any) -> None:
    other = STRANGER + 0x20
    with step(1):
        assert await announce(bench, dsp, other, ppmid_variant=None) == "E120204"
    with step(2):
        wrong = {"device_type": "HCALCS", "ppmid_variant": str(PPMID)}
        assert await announce(bench, dsp, other, **wrong) == "E120204"
    with step(3):
        assert await announce(bench, dsp, other, model="FFFF0101") == "E120203"
        assert await announce(bench, dsp, other, smets_chts_version="PPMIDTS V9.9") == "E120203"
        assert await row(dsp, other) is None
    with step(4):
        assert await announce(bench, dsp, other) == "I99"
        assert await announce(bench, dsp, other) == "E120201"
    with step(5):
        gpf = {"device_type": "GPF", "ppmid_variant": None}
        assert await announce(bench, dsp, other + 1, **gpf) == "E120207"


@conformance(
    "MP170-SR82",
    title="8.2 finds a home by whatever names it",
    steps=(
        "by a device of it, the hub",
        "by UPRN, by MPxN, and by the address in either case: the same devices",
        "an unknown UPRN: E080201",
    ),
)
async def test_a_home_is_found(dsp: Session, step: Any) -> None:
    hub = dsp.wiring.hub.node.eui64
    with step(1):
        answer = await dsp.ask("8.2", ReadInventory(device_id=hub))
        devices = inventory_of(answer.response)
        assert {"CHF", "GPF", "ESME"} <= {one.device_type for one in devices}
    with step(2):
        found = next(one for one in devices if one.device_type == "ESME")
        assert found.post_code is not None
        for filtered in (
            ReadInventory(uprn=found.uprn),
            ReadInventory(mpxn=found.import_mpxn),
            ReadInventory(
                post_code=found.post_code.lower(), address_identifier=found.address_identifier
            ),
        ):
            answer = await dsp.ask("8.2", filtered)
            same = {one.device_id for one in inventory_of(answer.response)}
            assert same == {one.device_id for one in devices}
    with step(3):
        assert (await dsp.ask("8.2", ReadInventory(uprn="999999999999"))).code == "E080201"


@conformance(
    "MP170-SR84",
    title="8.4 corrects what was announced, and refuses what cannot be",
    steps=(
        "the variant of a Pending device is corrected",
        "no details: E080408; a model that is not on the CPL: E080409",
        "a status that its status does not lead to: E080406",
        "a device that is deleted is gone: 8.2 answers E080201, 8.4 E080407",
    ),
)
async def test_an_announcement_is_corrected(bench: BenchUp, dsp: Session, step: Any) -> None:
    other = STRANGER + 0x30
    assert await announce(bench, dsp, other) == "I99"
    with step(1):
        assert await change(dsp, other, DeviceDetails(ppmid_variant=str(BRIDGE_2))) == "I99"
        found = await row(dsp, other)
        assert found is not None
        assert found.ppmid_variant == str(BRIDGE_2)
    with step(2):
        assert await change(dsp, other, DeviceDetails()) == "E080408"
        assert await change(dsp, other, DeviceDetails(model="FFFF0101")) == "E080409"
    with step(3):
        assert await change(dsp, other, NewDeviceStatus("Pending")) == "E080406"
    with step(4):
        assert await change(dsp, other, DeleteDevice()) == "I99"
        assert await row(dsp, other) is None
        assert await change(dsp, other, DeleteDevice()) == "E080407"


@conformance(
    "MP170-EARLY",
    "MP170-SR84",
    title="a bridge that was labelled PPMID is corrected",
    steps=(
        "Pending: 8.4 corrects the variant",
        "Whitelisted: E080407, until 8.4 has set it back to Pending",
        "8.11 lets it in again, and 8.2 tells the right variant",
    ),
)
async def test_a_wrong_label_is_corrected(bench: BenchUp, dsp: Session, step: Any) -> None:
    other = STRANGER + 0x40
    assert await announce(bench, dsp, other, ppmid_variant=str(PPMID)) == "I99"
    with step(1):
        assert await change(dsp, other, DeviceDetails(ppmid_variant=str(BRIDGE_2))) == "I99"
    with step(2):
        await whitelist(dsp, other)
        right = DeviceDetails(ppmid_variant=str(BRIDGE_1))
        assert await change(dsp, other, right) == "E080407"
        assert await change(dsp, other, NewDeviceStatus("Pending")) == "I99"
        assert await change(dsp, other, right) == "I99"
    with step(3):
        await whitelist(dsp, other)
        found = await row(dsp, other)
        assert found is not None
        assert (found.ppmid_variant, found.device_status) == (str(BRIDGE_1), "Whitelisted")


@conformance(
    "MP170-REUSE",
    title="a device is used again by 8.3 and then 12.2",
    steps=(
        "12.2 of a device that is Whitelisted: E120201",
        "8.3 decommissions it",
        "12.2 announces it with another variant, and 8.2 tells that it is Pending",
    ),
)
async def test_a_device_is_used_again(bench: BenchUp, dsp: Session, step: Any) -> None:
    other = STRANGER + 0x50
    assert await announce(bench, dsp, other) == "I99"
    await whitelist(dsp, other)
    with step(1):
        assert await announce(bench, dsp, other) == "E120201"
    with step(2):
        answer = await dsp.ask("8.3", DecommissionDevice(other), about=(other,))
        assert answer.code == "I99"
        found = await row(dsp, other)
        assert found is not None
        assert found.device_status == "Decommissioned"
    with step(3):
        assert await announce(bench, dsp, other, ppmid_variant=str(BRIDGE_2)) == "I99"
        found = await row(dsp, other)
        assert found is not None
        assert (found.device_status, found.ppmid_variant) == ("Pending", str(BRIDGE_2))


@conformance(
    "MP170-SIX",
    title="a hub holds six Type 1 devices, and refuses the seventh",
    needs=("emulated",),
    steps=("8.11 lets six in", "the seventh is refused, and says why"),
)
async def test_the_seventh_device_is_refused(bench: BenchUp, dsp: Session, step: Any) -> None:
    hub = dsp.wiring.hub.node.eui64
    codes = []
    for number in range(7):
        other = STRANGER + 0x60 + number
        assert await announce(bench, dsp, other) == "I99"
        body = UpdateHanDeviceLog(other, "Add", 60, CODE)
        answer = await dsp.ask("8.11", body, target=hub, about=(other,))
        if answer.is_accepted:
            await dsp.response(answer.request_id)
        codes.append(answer.code)
    with step(1):
        assert codes[:6] == ["I99"] * 6
    with step(2):
        found = await row(dsp, STRANGER + 0x66)
        assert found is not None
        assert (codes[6] != "I99") or found.device_status == "Pending", f"{codes[6]} {found}"
