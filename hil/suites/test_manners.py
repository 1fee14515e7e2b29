"""How a device behaves while it loads, so that others on its HAN are disturbed little.

Source: MP170, requirement 10; ZigBee OTA Upgrade cluster 095264r23, 6.10.6 to 6.10.10 (blocks, wait
for data, abort), 6.7 (security). The bench serves a file in the hub's place, and stops before its
end: nothing of it is ever activated.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from emulator.zigbee import ota
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.stand_in import StandIn

WAIT_S = 4
QUIET = 10  # commands of the OTA cluster
PERIOD_MS = 400
SOME_BLOCKS = 6


def offsets(device: BenchDevice) -> list[int]:
    return [one.file_offset for one in device.sent(ota.ImageBlockRequest)]


def gaps_s(device: BenchDevice) -> list[float]:
    """Between one block request and the next."""
    times = [one.time_s for one in device.heard if isinstance(one.body, ota.ImageBlockRequest)]
    return [after - before for before, after in pairwise(times)]


async def loads(bench: BenchUp, device: BenchDevice, **answer: Any) -> StandIn:
    """The bench offers a file, and the device has asked for a few blocks of it."""
    await device.admit()
    bench.forget()
    server = await device.offered(**answer)
    await bench.until(lambda: len(offsets(device)) >= SOME_BLOCKS, "it asks for blocks")
    return server


def at(number: int, instead: ota.OtaCommand) -> Any:
    """The nth block request is answered with this."""
    return lambda n, _request, _block: instead if n == number else None


async def stop(bench: BenchUp, device: BenchDevice, server: StandIn) -> None:
    """The bench has seen enough: ABORT, and the device leaves off."""
    server.over = True
    before = server.blocks
    ended = len(device.sent(ota.UpgradeEndRequest))
    await bench.until(
        lambda: server.blocks > before or len(device.sent(ota.UpgradeEndRequest)) > ended,
        "it is told ABORT",
    )


@conformance(
    "MP170-R2",
    title="a block of another offset is not taken for the one asked for",
    needs=("device",),
    steps=(
        "the third block request is answered with another part of the file",
        "the device asks for the same offset again",
    ),
)
async def test_a_wrong_block_is_not_taken(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    def wrong(number: int, request: ota.ImageBlockRequest, block: Any) -> Any:
        return block._replace(file_offset=request.file_offset + 48) if number == 3 else None

    with step(1):
        server = await loads(bench, device, answer=wrong)
    with step(2):
        asked = offsets(device)
        assert asked[3] == asked[2], f"offsets asked for: {asked[:5]}"
        await stop(bench, device, server)


@conformance(
    "MP170-R10",
    title="told to wait, a device waits",
    needs=("device",),
    steps=(
        f"the third block request is answered with WAIT_FOR_DATA for {WAIT_S} s",
        "the device asks again when the time has passed, and not before",
    ),
)
async def test_wait_for_data_is_kept(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    with step(1):
        server = await loads(bench, device, answer=at(3, ota.ImageBlockWait(0, WAIT_S)))
    with step(2):
        waited = gaps_s(device)[2]
        assert waited > WAIT_S - 1, f"it asked again after {waited:.1f} s"
        assert offsets(device)[3] == offsets(device)[2], "it did not ask for the same block"
        await stop(bench, device, server)


@conformance(
    "MP170-R10",
    title="the minimum block period it is given is kept",
    needs=("device",),
    claims=("block-period",),
    steps=(
        f"with WAIT_FOR_DATA it is given a period of {PERIOD_MS} ms",
        "no two block requests are closer than that from then on",
    ),
)
async def test_the_block_period_is_kept(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    with step(1):
        server = await loads(bench, device, answer=at(2, ota.ImageBlockWait(0, 0, PERIOD_MS)))
    with step(2):
        shortest = min(gaps_s(device)[2:])
        assert shortest > 0.75 * PERIOD_MS / 1000, f"{shortest:.3f} s between two requests"
        await stop(bench, device, server)


@conformance(
    "MP170-R10",
    "MP170-SLOT",
    title="told ABORT, a device leaves off",
    needs=("device",),
    steps=(
        "in mid-transfer every block is refused with ABORT",
        "the device does not ask for the same block again and again",
    ),
)
async def test_abort_ends_the_transfer(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    with step(1):
        server = await loads(bench, device)
        server.over = True
        at_least = server.blocks + 1
        await bench.until(lambda: server.blocks >= at_least, "a request that is refused")
    with step(2):
        refused_at = len(offsets(device)) - 1
        await bench.quiet(bench.brief_s)
        again = Counter(offsets(device)[refused_at:])
        assert max(again.values()) <= 4, f"{max(again.values())} requests for one refused block"


@conformance(
    "MP170-R10",
    title="an Image Notify in mid-transfer begins nothing anew",
    needs=("device",),
    steps=(
        "in mid-transfer the device is notified again",
        "it goes on where it was",
    ),
)
async def test_a_notify_begins_nothing_anew(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    waits = at(SOME_BLOCKS, ota.ImageBlockWait(0, WAIT_S))
    with step(1):
        server = await loads(bench, device, answer=waits)
        device.notify()
        reached = len(offsets(device))
    with step(2):
        await bench.until(lambda: len(offsets(device)) > reached + 2, "it asks for more blocks")
        assert offsets(device).count(0) == 1, "it began again at offset 0"
        await stop(bench, device, server)


@conformance(
    "MP170-R10",
    title="after a power cut in mid-transfer loading goes on where it was",
    needs=("device", "power"),
    claims=("resumes",),
    steps=(
        "in mid-transfer the power is cut",
        "the device is back, and asks for blocks",
        "it does not begin at offset 0 again",
    ),
)
async def test_a_transfer_is_resumed(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    half = len(device.image.data) // 2

    def slowly(_number: int, request: ota.ImageBlockRequest, _block: Any) -> Any:
        return ota.ImageBlockWait(0, WAIT_S) if request.file_offset >= half else None

    with step(1):
        server = await loads(bench, device, answer=slowly)
        await bench.until(lambda: max(offsets(device)) >= half, "half of the file", moving=device)
        server.answer = lambda _number, _request, _block: None
        await device.cut_power()
        reached = server.blocks
    with step(2):
        await bench.until(lambda: server.blocks > reached, "it asks for a block again")
    with step(3):
        begun = offsets(device).count(0)
        assert begun == 1, f"offset 0 was asked for {begun} times"
        await stop(bench, device, server)


@conformance(
    "MP170-R1",
    title="an Image Notify without the link key is not heeded",
    needs=("device",),
    steps=(
        "a notify that is not under the link key: the device asks for no image",
        "one that is: it asks",
    ),
)
async def test_an_unprotected_notify_is_not_heeded(
    bench: BenchUp, device: BenchDevice, step: Any
) -> None:
    await device.admit()
    with step(1):
        bench.forget()
        device.notify(encrypted=False)
        await bench.never(
            lambda: device.sent(ota.QueryNextImageRequest), "it asks all the same", bench.brief_s
        )
    with step(2):
        device.notify()
        await bench.until(lambda: device.sent(ota.QueryNextImageRequest), "it asks for an image")


@conformance(
    "MP170-R10",
    title="a device that has nothing to load is quiet, and what it says can be read",
    needs=("device",),
    steps=(
        "the device is in the network, and nobody asks anything of it",
        f"it sends no more than {QUIET} commands",
        "none of them is malformed, unknown, or for a tunnel that is not open",
    ),
)
async def test_with_nothing_to_do_it_is_quiet(
    bench: BenchUp, device: BenchDevice, step: Any
) -> None:
    with step(1):
        await device.admit()
        bench.forget()
        before = device.anomalies
        await bench.quiet(bench.brief_s)
    with step(2):
        said = len(device.heard)
        assert said <= QUIET, f"{said} commands in {bench.brief_s:g} s"
    with step(3):
        wrong = {
            kind: count - before.get(kind, 0)
            for kind, count in device.anomalies.items()
            if count > before.get(kind, 0)
        }
        assert not wrong, ", ".join(f"{count} x {kind}" for kind, count in wrong.items())
