"""Requests of somebody who may not, for something that does not fit, or of a device that is silent.

Source: MP170, requirements 1, 2, 7 and 12, annex B (11.4, 8.4); CPL guidance (a version that is not
the inventory's). The DSP knows two users more: another supplier, and a network operator.
"""

from __future__ import annotations

from typing import Any

from dsp_stub.cpl import CplEntry
from dsp_stub.inventory_requests import DeleteDevice, DeviceDetails
from dsp_stub.requests import ReadFirmwareVersion, UpdateInventory, UpdatePpmidFirmware
from dsp_stub.responses import FirmwareVersionMismatch
from dsp_stub.smi import DeviceType
from emulator.devices.mains import BOOT_S
from gbcs.smki import NETWORK_OPERATOR_EUI64, SUPPLIER_2_EUI64
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.dcc import GBCS_VERSION
from hil.session import Session, refused_devices
from hil.suites.test_home import emulated
from hil.suites.test_inventory import (
    BRIDGE_1,
    BRIDGE_2,
    STRANGER,
    announce,
    announced,
    row,
)
from hil.suites.test_requests import offers
from hil.verdict import version_text

SIZE_AT = 52  # of the file's size in an OTA header, 095264r23 6.3.2


def update_of(device: BenchDevice, data: bytes | None = None) -> UpdatePpmidFirmware:
    image = device.image
    version = version_text(image.header.file_version)
    return UpdatePpmidFirmware(image.data if data is None else data, version, (device.eui64,))


@conformance(
    "MP170-R1",
    "MP170-R12",
    title="a file that is not whole never leaves the DSP",
    needs=("device",),
    steps=(
        "11.4 with the last octet missing: E110402",
        "with an octet behind its end: E110402",
        "with a header that says another size: E110402",
        "nothing has left for the hub",
    ),
)
async def test_a_file_that_is_not_whole_is_refused(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    await device.admit()
    data = device.image.data
    before = offers(bench)
    size = (len(data) + 1).to_bytes(4, "little")
    files = (data[:-1], data + b"\0", data[:SIZE_AT] + size + data[SIZE_AT + 4 :])
    for number, file in enumerate(files, 1):
        with step(number):
            answer = await dsp.ask("11.4", update_of(device, file), about=(device.eui64,))
            assert answer.code == "E110402"
    with step(4):
        assert offers(bench) == before


@conformance(
    "MP170-R2",
    title="11.4 is for the responsible supplier, and for devices of the image's model",
    needs=("device", "emulated"),
    steps=(
        "of a network operator: E2",
        "of a supplier who is not responsible: the device is in InvalidDeviceIDList",
        "with a device of another model in the list: that one is listed, the other goes ahead",
    ),
)
async def test_who_may_update_what(bench: BenchUp, dsp: Session, step: Any) -> None:
    device, other = list(emulated(bench).values())[:2]
    await device.admit()
    await other.admit()
    about = (device.eui64,)
    with step(1):
        user = dsp.dcc.user(NETWORK_OPERATOR_EUI64)
        assert (await dsp.ask("11.4", update_of(device), about=about, user=user)).code == "E2"
    with step(2):
        user = dsp.dcc.user(SUPPLIER_2_EUI64)
        answer = await dsp.ask("11.4", update_of(device), about=about, user=user)
        assert refused_devices(answer.response) == {device.eui64: "InvalidDeviceIDList"}
        assert answer.code == "E110403"
    with step(3):
        answer = await dsp.ask_update(device.image, (device.eui64, other.eui64))
        listed = refused_devices(answer.response)
        assert listed == {other.eui64: "NotApplicableFirmwareDeviceIDList"}
        await device.settled()
        assert [one.succeeded for one in device.activations] == [True]
        assert other.activations == []


@conformance(
    "MP170-EARLY",
    "MP170-SR84",
    "MP170-R11",
    title="a variant is corrected by who announced it, and on a PPMID alone",
    needs=("emulated",),
    steps=(
        "another supplier's 8.4 of a Pending bridge: E080410, its deletion too",
        "the variant is what it was",
        "a variant for an HCALCS: E080409",
    ),
)
async def test_nobody_else_corrects_a_variant(bench: BenchUp, dsp: Session, step: Any) -> None:
    user = dsp.dcc.user(SUPPLIER_2_EUI64)
    wrong = DeviceDetails(ppmid_variant=str(BRIDGE_2))
    assert await announce(bench, dsp, STRANGER) == "I99"
    with step(1):
        for what in (wrong, DeleteDevice()):
            body = UpdateInventory(STRANGER, what)
            answer = await dsp.ask("8.4", body, about=(STRANGER,), user=user)
            assert answer.code == "E080410"
    with step(2):
        found = await row(dsp, STRANGER)
        assert found is not None
        assert found.ppmid_variant == str(BRIDGE_1)
    with step(3):
        hcalcs = STRANGER + 1
        known = announced(
            *(bench, hcalcs),
            device_type="HCALCS",
            smets_chts_version="HCALCSTS V5.1",
            ppmid_variant=None,
        )
        entry = CplEntry(
            device_type=DeviceType.HCALCS,
            manufacturer=known.manufacturer,
            model=known.model,
            firmware_version=str(known.firmware_version),
            smets_chts_version="HCALCSTS V5.1",
            gbcs_version=GBCS_VERSION,
        )
        dsp.dcc.desk.cpl.add(entry)
        assert (await dsp.ask("12.2", known, about=(hcalcs,))).code == "I99"
        answer = await dsp.ask("8.4", UpdateInventory(hcalcs, wrong), about=(hcalcs,))
        assert answer.code == "E080409"


@conformance(
    "CPL-MISMATCH",
    "MP170-R7",
    title="a version read that is not the inventory's is told, and set where the CPL has it",
    needs=("device", "emulated"),
    steps=(
        "the inventory has another version of the device than it runs",
        "11.2 is answered with the one it runs",
        "the user is told of both, and the inventory follows the device",
        "where the CPL does not have what it runs, it is told too, and the inventory stays",
    ),
)
async def test_a_mismatch_is_told(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    await device.admit()
    desk = dsp.dcc.desk
    runs, listed = version_text(device.running), version_text(device.image.header.file_version)

    def told() -> list[tuple[str, str]]:
        alerts = [one.alert for one in dsp.witness.alerts]
        return [
            (one.firmware_version_smi, one.firmware_version_device)
            for one in alerts
            if isinstance(one, FirmwareVersionMismatch) and one.device_id == device.eui64
        ]

    with step(1):
        desk.inventory.set_firmware_version(device.eui64, listed)
        assert await device.read_inventory() == listed
    with step(2):
        assert await device.read_version() == runs
    with step(3):
        await bench.until(lambda: told() == [(listed, runs)], "the user is told of it")
        assert await device.read_inventory() == runs
    with step(4):
        product = device.track.product
        desk.inventory.set_firmware_version(device.eui64, listed)
        desk.inventory.set_details(device.eui64, model="FFFF0101")  # of which the CPL has nothing
        assert await device.read_version() == runs
        await bench.until(lambda: len(told()) == 2, "the user is told of it")
        assert await device.read_inventory() == listed
        desk.inventory.set_details(device.eui64, model=product.model)


@conformance(
    "MP170-R7",
    title="of a device that does not answer the user is told, and the inventory stays",
    needs=("device", "power", "emulated"),
    steps=(
        "the device has no power",
        "11.2 is answered to the user, without a version: E20 or E21",
        "8.2 tells what it told before",
        "with power again it answers",
    ),
)
async def test_silence_is_told(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    await device.admit()
    before = await device.read_inventory()
    wiring = dsp.wiring
    model = wiring.devices[device.id]
    with step(1):
        wiring.grid.switch(device.id, False)
        await model.power_off()
    with step(2):
        about = (device.eui64,)
        body = ReadFirmwareVersion()
        answer = await dsp.ask("11.2", body, target=device.eui64, about=about)
        assert answer.is_accepted
        response, _ = await dsp.response(answer.request_id)
        assert response is not None, "the user is told nothing"
        assert response.response_code in ("E20", "E21"), response.response_code
    with step(3):
        assert await device.read_inventory() == before
    with step(4):
        device.track.tunnel_up = False
        wiring.grid.switch(device.id, True)
        await bench.quiet(BOOT_S)
        await model.power_up()
        await bench.until(lambda: device.track.tunnel_up, "it has a tunnel again")
        assert await device.read_version() == before
