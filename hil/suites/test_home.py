"""Several devices of one home: in which order, beside one another, and at each other's cost.

Source: MP170, requirements 9, 10 and 11, and its single image slot. The devices are emulated: the
tests need more than one, and to look at all of them.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from emulator.zigbee import ota
from gbcs.protection import KeyUse
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.closing import variant_leaks
from hil.conformance import conformance
from hil.verdict import version_text

SOME_READS = 5
SOLUTIONS = (("bridge-1", "bridge-2"), ("ppmid", "bridge-1"), ("ppmid", "bridge-1", "bridge-2"))
ORDERS = [order for solution in SOLUTIONS for order in permutations(solution)]


def emulated(bench: BenchUp) -> dict[str, BenchDevice]:
    if len(bench.devices) < 2:
        pytest.skip("it takes two devices")
    return bench.devices


@pytest.mark.parametrize("order", ORDERS, ids="-then-".join)
@conformance(
    "MP170-R9",
    title="devices are updated in any order, and every mix of versions answers",
    needs=("device", "emulated"),
    steps=(
        "all are in the network",
        "after each update every device answers 11.2 with the version it ought to run",
    ),
)
async def test_any_order_will_do(bench: BenchUp, order: tuple[str, ...], step: Any) -> None:
    devices = emulated(bench)
    if not set(order) <= set(devices):
        pytest.skip(f"the bench has no {', '.join(set(order) - set(devices))}")
    chosen = [devices[name] for name in order]
    with step(1):
        for one in chosen:
            await one.admit()
    with step(2):
        wanted = {one.id: one.running for one in chosen}
        for one in chosen:
            assert await one.update() == "activated", f"{one.id}: {one.track.detail}"
            wanted[one.id] = one.image.header.file_version
            for each in chosen:
                assert await each.read_version() == version_text(wanted[each.id]), each.id


@conformance(
    "MP170-R10",
    title="while one device loads, the others are read as before",
    needs=("device", "emulated"),
    steps=(
        "a device is read a few times on a quiet air",
        "another one loads its image, and the first is read as often: no answer is missing",
        "no answer took more than twice as long as before and 2 s",
    ),
)
async def test_an_update_disturbs_nobody(bench: BenchUp, step: Any) -> None:
    loading, read = list(emulated(bench).values())[:2]
    await read.admit()
    await loading.admit()

    async def reads() -> list[float]:
        took = []
        for _ in range(SOME_READS):
            began = bench.session.witness.time_s()
            assert await read.read_version() is not None, "an answer is missing"
            took.append(bench.session.witness.time_s() - began)
        return took

    with step(1):
        quiet = await reads()
    with step(2):
        await loading.ask_update()
        await bench.until(lambda: loading.sent(ota.ImageBlockRequest), "it loads")
        busy = await reads()
        assert not loading.sent(ota.UpgradeEndRequest), "it was all over before"
    with step(3):
        assert max(busy) <= 2 * max(quiet) + 2, f"{max(quiet):.3f} s before, then {max(busy):.3f} s"


@conformance(
    "MP170-SLOT",
    title="a newer image has the slot, and the loser is told so once",
    needs=("device", "emulated"),
    steps=(
        "one device is in mid-transfer, and the image of another product comes",
        "the first is told ABORT or that there is no image, and the user 0x8F89, once",
        "the other is activated; what the first runs is what it ran before",
    ),
)
async def test_the_newer_image_has_the_slot(bench: BenchUp, step: Any) -> None:
    loser, winner = list(emulated(bench).values())[:2]
    await loser.admit()
    await winner.admit()
    with step(1):
        await loser.ask_update()
        await bench.until(
            lambda: len(loser.sent(ota.ImageBlockRequest)) > SOME_READS, "it loads blocks"
        )
        await winner.ask_update()
    with step(2):
        await loser.settled()
        assert loser.track.transfer_failed == "FirmwareImageDiscarded"
        codes = [alert.code for alert in loser.track.alerts]
        assert codes == ["8F89"], codes
    with step(3):
        await winner.settled()
        assert [one.succeeded for one in winner.activations] == [True]
        assert await loser.read_version() == version_text(loser.track.image.factory_version)


@conformance(
    "MP170-R11",
    title="hub and WAN never see which PPMID is a bridge",
    needs=("device", "emulated"),
    steps=(
        "every device is updated",
        "to the hub each is a PPMID; the inventory tells the variants apart",
        "no variant is in what crossed the WAN, the tunnels or the air",
    ),
)
async def test_nobody_else_sees_the_variant(bench: BenchUp, step: Any) -> None:
    devices = list(emulated(bench).values())
    with step(1):
        for one in devices:
            assert await one.update() == "activated", one.track.detail
    with step(2):
        assert {one.track.type_at_hub for one in devices} == {"PPMID"}
        assert len({one.track.smi_variant for one in devices}) == len({o.kind for o in devices})
    with step(3):
        assert variant_leaks(bench.folder) == []


@conformance(
    "MP170-R8",
    title="a device's own signing key is renewed, and its alerts verify with the new one alone",
    needs=("device", "emulated"),
    steps=(
        "CS02c, CS02d and CS02e renew the key",
        "the alert of the next activation is signed with it, and believed",
    ),
)
async def test_a_key_is_renewed(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    dcc = bench.session.dcc
    await device.admit()
    with step(1):
        before = dcc.held(device.eui64).get(KeyUse.DIGITAL_SIGNATURE)
        dcc.renew_key(device.eui64, KeyUse.DIGITAL_SIGNATURE)
        await bench.until(
            lambda: dcc.held(device.eui64).get(KeyUse.DIGITAL_SIGNATURE) != before,
            "the DSP holds another certificate",
        )
    with step(2):
        assert await device.update() == "activated", device.track.detail
        assert not device.complaints, ", ".join(device.complaints)
