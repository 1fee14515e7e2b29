"""One update of one device, from 11.4 to the inventory, as everybody sees it.

Source: MP170, requirements 2, 5, 6 and 7 and annex A 3.3.1; ZigBee OTA Upgrade cluster 095264r23.
"""

from __future__ import annotations

from typing import Any

from dsp_stub.reports import Reports
from dsp_stub.updates import UpdateState
from emulator.zigbee import ota
from gbcs.envelope import Cra
from gbcs.firmware import FirmwareActivation
from gbcs.protection import Verdict
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.verdict import version_text

MOST_BLOCK_OCTETS = 64  # no frame under APS security has room for more
LONG_AFTER_S = 20.0


@conformance(
    "MP170-R2",
    title="one 11.4 deploys an image over the smart metering system",
    needs=("device",),
    steps=(
        "the device joins with its install code, has a tunnel, and asks for an image",
        "its query names its own manufacturer, image type and running version",
        "11.4 is accepted, and the device asks for blocks",
        "it asks for the whole file, in order, under its link key, and ends with SUCCESS, once",
        "the hub has served every octet before the end",
        "the outcome is told: activated",
    ),
)
async def test_an_image_is_deployed(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    with step(1):
        await device.admit()
    with step(2):
        product = device.track.product
        bench.forget()
        device.notify()
        await bench.until(lambda: device.sent(ota.QueryNextImageRequest), "it asks for an image")
        query = device.sent(ota.QueryNextImageRequest)[-1]
        said = f"{query.manufacturer_code:04X}-{query.image_type:04X}"
        assert said == f"{product.manufacturer_code:04X}-{product.image_type:04X}"
        assert query.current_file_version == device.running
    with step(3):
        await device.ask_update()
        await bench.until(
            lambda: device.sent(ota.ImageBlockRequest) or device.sent(ota.UpgradeEndRequest),
            "the device asks for a block",
        )
    with step(4):
        await bench.until(
            lambda: device.sent(ota.UpgradeEndRequest),
            "the device ends the upgrade",
            moving=device,
        )
        wanted = device.sent(ota.ImageBlockRequest)
        most = max((one.maximum_data_size for one in wanted), default=0)
        assert most <= MOST_BLOCK_OCTETS, f"it asks for {most} octets at a time"
        bare = [one for one in device.heard if not one.encrypted]
        assert not bare, f"{len(bare)} commands are not under its link key"
        offsets = [one.file_offset for one in wanted]
        assert offsets == sorted(offsets), "blocks are asked for out of order"
        assert [one.status for one in device.sent(ota.UpgradeEndRequest)] == [0]
    with step(5):
        served = bench.served(device)
        assert served == len(device.image.data), f"{served} octets were served"
    with step(6):
        await device.settled()
        assert [one.succeeded for one in device.activations[-1:]] == [True], "no N39 of a success"


@conformance(
    "MP170-R6",
    "MP170-N39",
    "MP170-REPORTING",
    title="an activation is confirmed by one signed alert of the device itself",
    needs=("device",),
    steps=(
        "the device is updated",
        "its alert 0x8F8B was signed by its own key, with result 0 and the version as sent",
        "the user got the notices of DSP, CSP and hub, and N39 with the same",
        "it comes once, and nothing else is held against the device",
    ),
)
async def test_the_activation_is_confirmed(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    with step(1):
        await device.updated()
    with step(2):
        alerts = device.frames(Cra.ALERT)
        assert alerts, "no alert came"
        assert alerts[0].verdicts.signature is Verdict.VALID, "its signature does not hold"
        activation = alerts[0].payload
        assert isinstance(activation, FirmwareActivation)
        assert int(activation.result) == 0, "it calls the success a failure"
        version = version_text(activation.firmware_version)
        assert version == version_text(device.image.header.file_version)
    with step(3):
        track = device.track
        assert track.delivered_event, "no word of the CSP"
        assert track.transferred_event, "no word of the hub"
        assert [one.succeeded for one in device.activations] == [True]
    with step(4):
        await bench.never(
            lambda: len(device.frames(Cra.ALERT)) > 1, "a second alert", bench.brief_s
        )
        assert not device.complaints, ", ".join(device.complaints)


@conformance(
    "MP170-R5",
    "MP170-R7",
    title="device, inventory and alert tell the same version",
    needs=("device",),
    steps=(
        "the device is updated",
        "it answers 11.2 with the version that was sent, under a MAC that holds",
        "8.2 tells the same, and so does the DCC's report",
        "after its restart its queries name it too",
        "the log of attempts has the update, from its request to its end",
    ),
)
async def test_every_interface_tells_the_version(
    bench: BenchUp, device: BenchDevice, step: Any
) -> None:
    with step(1):
        await device.updated()
    wanted = version_text(device.image.header.file_version)
    reports, eui64 = Reports(bench.session.dcc.desk.store), f"{device.eui64:016X}"
    with step(2):
        assert await device.read_version() == wanted
    with step(3):
        assert await device.read_inventory() == wanted
        (told,) = [one for one in reports.devices(every=True) if one["device_id"] == eui64]
        assert told["firmware_version"] == wanted, "the report has another version"
    with step(4):
        bench.forget()
        device.notify()
        await bench.until(lambda: device.sent(ota.QueryNextImageRequest), "it asks for an image")
        named = {one.current_file_version for one in device.sent(ota.QueryNextImageRequest)}
        assert set(map(version_text, named)) == {wanted}
    with step(5):
        logged = [one["event"] for one in reports.log(device.eui64) if one["request_id"]]
        assert logged[0] == "requested", logged
        assert UpdateState.ACTIVATED in logged, logged


@conformance(
    "MP170-R6",
    title="a restart repeats no alert, and counters go on",
    needs=("device", "power"),
    steps=(
        "the device is updated",
        "its power is cut, and it is back with a tunnel",
        "no alert comes a second time, and nothing is held against it",
    ),
)
async def test_a_restart_repeats_no_alert(bench: BenchUp, device: BenchDevice, step: Any) -> None:
    with step(1):
        await device.updated()
    with step(2):
        before = len(device.frames(Cra.ALERT))
        await device.cut_power()
        await bench.until(lambda: device.track.tunnel_up, "it has a tunnel again")
    with step(3):
        await bench.never(
            lambda: len(device.frames(Cra.ALERT)) > before, "another alert", bench.brief_s
        )
        assert not device.complaints, ", ".join(device.complaints)


@conformance(
    "MP170-R6",
    "MP170-R5",
    title="the next update is confirmed like the first",
    needs=("device", "image-back"),
    steps=(
        "the device is updated",
        "it is updated to the image that leads back",
        "the second alert has a higher counter than the first",
        "device and inventory tell the second version",
    ),
)
async def test_the_next_update_is_confirmed_too(
    bench: BenchUp,  # noqa: ARG001 - it is what the test runs on
    device: BenchDevice,
    step: Any,
) -> None:
    with step(1):
        await device.updated()
    back = device.image_back
    assert back is not None
    first = len(device.frames(Cra.ALERT))
    with step(2):
        assert await device.update(back) == "activated", device.track.detail
    with step(3):
        counters = [one.received.frame.originator_counter for one in device.frames(Cra.ALERT)]
        assert counters[first:], "no second alert"
        assert counters[-1] > counters[0], f"counters of the alerts: {counters}"
        assert not device.complaints, ", ".join(device.complaints)
    with step(4):
        wanted = version_text(back.header.file_version)
        assert await device.read_version() == wanted
        assert await device.read_inventory() == wanted
