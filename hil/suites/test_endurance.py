"""Up and back, as often as one says, and no further than the first failure.

Source: ours: what a laboratory leaves running over night (`hanbench verify --repeat N`).
"""

from __future__ import annotations

from typing import Any

from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.verdict import version_text


@conformance(
    "MP170-R2",
    "MP170-R5",
    title="up and back, again and again",
    needs=("device", "image-back"),
    steps=(
        "the device is in the network",
        "every round goes up and back, and device and inventory tell the same after each half",
    ),
)
async def test_up_and_back(bench: BenchUp, device: BenchDevice, step: Any, rounds: int) -> None:
    with step(1):
        await device.admit()
    with step(2):
        up, back = device.image, device.image_back
        assert back is not None
        for number in range(1, rounds + 1):
            for image in (up, back):
                outcome = await device.update(image)
                wanted = version_text(image.header.file_version)
                assert outcome == "activated", f"round {number}: {wanted} {device.track.detail}"
                read = device.track.read_back
                assert read is not None, f"round {number}: it does not answer 11.2"
                assert read.equals_smi, f"round {number}: it runs {read.version}"
                bench.forget()
