"""One update of one device, from 11.4 to the inventory, as everybody sees it.

Source: MP170, requirements 2, 5, 6 and 7 and annex A 3.3.1; ZigBee OTA Upgrade cluster 095264r23.
"""

from __future__ import annotations

from typing import Any

from emulator.zigbee import ota
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance

MOST_BLOCK_OCTETS = 64  # no frame under APS security has room for more


@conformance(
    "MP170-R2",
    title="one 11.4 deploys an image over the smart metering system",
    needs=("device",),
    steps=(
        "the device joins with its install code, has a tunnel, and asks for an image",
        "its query names its own manufacturer, image type and running version",
        "11.4 is accepted, and the device asks for blocks",
        "the hub has served the whole file, in order, under the link key",
        "the device ends the upgrade with SUCCESS, once",
        "N39 tells the user of it",
    ),
)
async def test_an_image_is_deployed(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    with step(1):
        await device.admit()
    with step(2):
        product = device.track.product
        query = device.sent(ota.QueryNextImageRequest)[-1]
        assert query.manufacturer_code == product.manufacturer_code, "another manufacturer"
        assert query.image_type == product.image_type, "another image type"
    with step(3):
        await device.ask_update()
        await bench.until(lambda: device.sent(ota.ImageBlockRequest), "a block is asked for")
    with step(4):
        await bench.until(lambda: device.sent(ota.UpgradeEndRequest), "the upgrade is ended")
        size = len(device.image.data)
        wanted = device.sent(ota.ImageBlockRequest)
        assert all(one.maximum_data_size <= MOST_BLOCK_OCTETS for one in wanted)
        assert all(one.encrypted for one in device.heard), "OTA commands without the link key"
        blocks = [h.body for h in bench.tap.heard if isinstance(h.body, ota.ImageBlockResponse)]
        assert max(one.file_offset + len(one.data) for one in blocks) == size
        offsets = [one.file_offset for one in wanted]
        assert offsets == sorted(offsets), "blocks were asked for out of order"
    with step(5):
        assert [one.status for one in device.sent(ota.UpgradeEndRequest)] == [0]
    with step(6):
        await device.settled()
        assert [one.succeeded for one in device.activations] == [True]
