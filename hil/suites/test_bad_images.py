"""What a device must not load, or not run: the bench offers it in the hub's place.

Source: MP170, requirement 1 (an image for another bridge, a wrong hash: the device refuses it and
keeps running the old one); ZigBee OTA Upgrade cluster 095264r23, 6.10.5 and 6.10.10.
"""

from __future__ import annotations

from typing import Any

from emulator.zigbee import ota
from gbcs.envelope import Cra
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.verdict import version_text


@conformance(
    "MP170-R1",
    title="an image for another product is not loaded",
    needs=("device",),
    steps=(
        "the device is in the network",
        "offered an image of another image type, it asks for no block of it",
        "it answers 11.2 with the version it ran before",
    ),
)
async def test_a_foreign_image_is_not_loaded(
    bench: BenchUp, device: BenchDevice, step: Any
) -> None:
    with step(1):
        await device.admit()
    with step(2):
        bench.forget()
        await device.offered(image_type=device.track.product.image_type ^ 1)
        await bench.until(lambda: device.sent(ota.QueryNextImageRequest), "it asks for an image")
        await bench.never(
            lambda: device.sent(ota.ImageBlockRequest), "it loads it all the same", bench.brief_s
        )
    with step(3):
        assert await device.read_version() == version_text(device.running)


@conformance(
    "MP170-SIZE",
    title="an image over the limit is not loaded",
    needs=("device",),
    steps=(
        "the device is in the network",
        "offered a file one octet over the limit, it asks for no block of it",
    ),
)
async def test_a_large_image_is_not_loaded(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    with step(1):
        await device.admit()
    with step(2):
        bench.forget()
        limit = bench.file.limits.size_limit()
        skipped = device.image.header.header_length if limit.scope == "body" else 0
        await device.offered(size_bytes=limit.limit_bytes + skipped + 1)
        await bench.until(lambda: device.sent(ota.QueryNextImageRequest), "it asks for an image")
        await bench.never(
            lambda: device.sent(ota.ImageBlockRequest), "it loads it all the same", bench.brief_s
        )


@conformance(
    "MP170-R1",
    title="an older image is not loaded by a device that claims no downgrade",
    needs=("device",),
    steps=(
        "the device is in the network",
        "offered a lower version than it runs, it asks for no block of it",
    ),
)
async def test_an_older_image_is_not_loaded(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    if "downgrade" in device.claims:
        bench.skip(f"{device.id} claims downgrade")
    with step(1):
        await device.admit()
    with step(2):
        bench.forget()
        await device.offered(version=device.running - 1)
        await bench.until(lambda: device.sent(ota.QueryNextImageRequest), "it asks for an image")
        await bench.never(
            lambda: device.sent(ota.ImageBlockRequest), "it loads it all the same", bench.brief_s
        )


@conformance(
    "MP170-R1",
    title="an image whose hash or signature does not hold is not activated",
    needs=("device",),
    claims=("verifies-images",),
    steps=(
        "the device is in the network",
        "it loads a file with a changed header, and ends with another status than SUCCESS",
        "it raises no alert, and runs what it ran before",
    ),
)
async def test_a_damaged_image_is_not_activated(
    bench: BenchUp, device: BenchDevice, step: Any
) -> None:
    with step(1):
        await device.admit()
    running = device.running
    with step(2):
        bench.forget()
        before = len(device.frames(Cra.ALERT))
        server = await device.offered()
        await bench.until(
            lambda: device.sent(ota.UpgradeEndRequest), "it ends the upgrade", moving=device
        )
        server.over = True
        statuses = [one.status for one in device.sent(ota.UpgradeEndRequest)]
        assert 0 not in statuses, "it ends the upgrade with SUCCESS"
    with step(3):
        assert len(device.frames(Cra.ALERT)) == before
        assert await device.read_version() == version_text(running)
