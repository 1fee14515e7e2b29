"""Requests for firmware, and requests for a bridge, that must be refused: by which code, and where.

Source: MP170, annex B: 11.4 (checks before anything is sent), 8.7.1, 8.7.2, 8.8.1, 8.8.2.
"""

from __future__ import annotations

from typing import Any

from dsp_stub.requests import (
    TRANSFORM_VARIANT,
    JoinServiceCritical,
    JoinServiceNonCritical,
    ReadInventory,
    UnjoinServiceCritical,
    UnjoinServiceNonCritical,
    UpdatePpmidFirmware,
)
from dsp_stub.responses import PreCommand, ResponseMessage
from dsp_stub.smi import DeviceType, PpmidVariant
from firmware_images.image import build_image
from gbcs.codes import CS03A1_JOIN, CS04AC_UNJOIN
from gbcs.joining import JOIN_DEVICE, UNJOIN_DEVICE, JoinDevice, JoinMethod, UnjoinDevice
from gbcs.wan import DeviceType as WanType
from gbcs.wan import ImageOffer
from hil.bench_device import BenchDevice
from hil.bench_up import BenchUp
from hil.conformance import conformance
from hil.session import Session, inventory_of, refused_devices
from hil.suites.test_inventory import STRANGER, announce, whitelist

SIGNED_VARIANT = 5
STRICT = {"dsp": {"commissioned": "strict"}}


def offers(bench: BenchUp) -> int:
    """How often an image has left the DSP."""
    return len(list((bench.folder / "wan").glob(f"*{ImageOffer.__name__}*")))


def on_the_wan(bench: BenchUp) -> int:
    """How many messages have crossed the WAN, either way."""
    return len(list((bench.folder / "wan").iterdir()))


@conformance(
    "MP170-R12",
    "MP170-R1",
    title="an image that is not on the CPL never leaves the DSP",
    needs=("device",),
    steps=(
        "11.4 with one octet of the image changed: E110401",
        "11.4 with a version that is not the header's: E110402",
        "nothing has left for the hub",
    ),
)
async def test_an_unknown_image_is_refused(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    await device.admit()
    image = device.image
    before = offers(bench)
    with step(1):
        body = bytearray(image.data[image.header.header_length :])
        body[0] ^= 1
        changed = build_image(image.header, bytes(body))
        answer = await dsp.ask_update(changed, (device.eui64,))
        assert answer.code == "E110401"
    with step(2):
        wrong = UpdatePpmidFirmware(image.data, "00FF00FF", (device.eui64,))
        assert (await dsp.ask("11.4", wrong, about=(device.eui64,))).code == "E110402"
    with step(3):
        assert offers(bench) == before


@conformance(
    "MP170-SIZE",
    title="an image one octet over the limit is refused by name",
    needs=("device",),
    steps=("11.4 with such an image: E110405", "nothing has left for the hub"),
)
async def test_a_large_image_is_refused(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    await device.admit()
    before = offers(bench)
    with step(1):
        header = device.image.header
        limit = bench.file.limits.size_limit()
        skipped = header.header_length if limit.scope == "body" else 0
        octets = limit.limit_bytes + skipped + 1 - header.header_length
        answer = await dsp.ask_update(build_image(header, bytes(octets)), (device.eui64,))
        assert answer.code == "E110405"
    with step(2):
        assert offers(bench) == before


@conformance(
    "MP170-SIZE",
    title="the largest image goes all the way",
    needs=("device", "emulated"),
    bench={
        "device": [{"id": "bridge-1", "kind": "bridge-1", "image_size_bytes": 768_000}],
    },
    steps=("an image of exactly 750 KiB is activated",),
)
async def test_the_largest_image_goes(
    bench: BenchUp,  # noqa: ARG001 - it is what the test runs on
    device: BenchDevice,
    step: Any,
) -> None:
    with step(1):
        assert len(device.image.data) == 768_000
        assert await device.update() == "activated", device.track.detail


@conformance(
    "MP170-R2",
    "MP170-STATUS",
    title="whom an 11.4 cannot reach is listed, and the others go ahead",
    needs=("device", "emulated"),  # a real one has an image for one update, which is another test's
    steps=(
        "a list of the device, one that is nobody's and one that is Pending: a warning",
        "the two are in the lists that the legal text names, and the device is in none",
        "the device is asked to load the image",
    ),
)
async def test_the_others_go_ahead(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    await device.admit()
    nobody, pending = STRANGER + 0x70, STRANGER + 0x71
    assert await announce(bench, dsp, pending) == "I99"
    dsp.dcc.list_image(device.track.product, device.image)
    device.track.renew(device.image, device.running)
    with step(1):
        answer = await dsp.ask_update(device.image, (device.eui64, nobody, pending))
        assert answer.code[0] == "W", answer.code
    with step(2):
        lists = refused_devices(answer.response)
        assert lists.get(nobody) == "InvalidDeviceIDList"
        assert pending in lists
        assert device.eui64 not in lists
    with step(3):
        await device.settled()
        assert device.activations, "no N39"


@conformance(
    "MP170-STATUS",
    title="read strictly, a bridge that is not Commissioned takes no firmware",
    needs=("device", "emulated"),
    bench=STRICT,
    steps=("11.4 lists the device as not commissioned",),
)
async def test_strictly_read_it_is_listed(
    bench: BenchUp,  # noqa: ARG001 - it is what the test runs on
    device: BenchDevice,
    dsp: Session,
    step: Any,
) -> None:
    await device.admit()
    with step(1):
        answer = await dsp.ask_update(device.image, (device.eui64,))
        lists = refused_devices(answer.response)
        assert lists == {device.eui64: "NotCommissionedDeviceIDList"}, answer.code


@conformance(
    "MP170-BUSY",
    title="a second update of a device is refused while the first is under way",
    needs=("device", "emulated"),
    steps=(
        "the first update is in mid-transfer",
        "a second 11.4: E110403, OtherRequestInProgressList",
        "the first ends as it would have",
        "then another request is judged by its own merits again",
    ),
)
async def test_a_second_update_is_refused(
    bench: BenchUp, device: BenchDevice, dsp: Session, step: Any
) -> None:
    with step(1):
        await device.ask_update()
        await bench.until(lambda: device.track.started, "the transfer begins")
    with step(2):
        answer = await dsp.ask_update(device.image, (device.eui64,))
        assert answer.code == "E110403"
        assert refused_devices(answer.response) == {device.eui64: "OtherRequestInProgressList"}
    with step(3):
        await device.settled()
        assert [one.succeeded for one in device.activations] == [True]
    with step(4):
        answer = await dsp.ask_update(device.image, (device.eui64,))
        assert refused_devices(answer.response).get(device.eui64) != "OtherRequestInProgressList"


@conformance(
    "MP170-JOIN",
    title="services that make no sense for a bridge are refused",
    needs=("emulated",),
    steps=(
        "a bridge as target of 8.7.2: E080721, of 8.8.2: E080821",
        "a bridge as the other device of the gas proxy function: the same",
    ),
)
async def test_a_bridge_joins_nobody(bench: BenchUp, dsp: Session, step: Any) -> None:
    bridge = STRANGER + 0x80
    assert await announce(bench, dsp, bridge) == "I99"
    await whitelist(dsp, bridge)
    hub = dsp.wiring.hub.node.eui64
    home = inventory_of((await dsp.ask("8.2", ReadInventory(device_id=hub))).response)
    gas_proxy = next(one.device_id for one in home if one.device_type == "GPF")
    cells = (
        ("8.7.2", JoinServiceNonCritical, "E080721"),
        ("8.8.2", UnjoinServiceNonCritical, "E080821"),
    )
    with step(1):
        for service, body, code in cells:
            answer = await dsp.ask(service, body(gas_proxy), target=bridge, about=(bridge,))
            assert answer.code == code, service
    with step(2):
        for service, body, code in cells:
            answer = await dsp.ask(service, body(bridge), target=gas_proxy, about=(bridge,))
            assert answer.code == code, service


def meter_of(bench: BenchUp) -> int:
    """The ESME of the premises, which stands on the hub from now on."""
    inventory = bench.session.dcc.desk.inventory
    meter = next(one for one in inventory.all_devices() if one.device_type is DeviceType.ESME)
    assert meter.premises is not None
    inventory.attach(
        meter.device_id, chf=bench.session.wiring.hub.node.eui64, premises=meter.premises
    )
    return meter.device_id


@conformance(
    "MP170-JOIN",
    title="a bridge is joined to no meter by what a user signs",
    needs=("emulated",),
    steps=(
        "a meter stands on the hub, a bridge and a PPMID are in its device log",
        "of 8.7.1 and 8.8.1 of meter and PPMID the user is given the command to sign",
        "of 8.7.1 of meter and bridge not: E080702; of 8.8.1: E080801",
        "signed by the user all the same, they are refused with the same codes",
        "a bridge as target of either: E11",
        "nothing of it has left for the hub",
    ),
)
async def test_no_meter_is_joined_with_a_bridge(bench: BenchUp, dsp: Session, step: Any) -> None:
    bridge, ppmid = STRANGER + 0x81, STRANGER + 0x82
    with step(1):
        meter = meter_of(bench)
        assert await announce(bench, dsp, bridge) == "I99"
        assert await announce(bench, dsp, ppmid, ppmid_variant=str(PpmidVariant.PPMID)) == "I99"
        await whitelist(dsp, bridge)
        await whitelist(dsp, ppmid)
    crossed = on_the_wan(bench)
    method, kind = JoinMethod.A_INITIATOR, WanType.PPMID
    cells = (
        ("8.7.1", JoinServiceCritical, "E080702", CS03A1_JOIN,
         JOIN_DEVICE.build(JoinDevice(method, bridge, kind))),
        ("8.8.1", UnjoinServiceCritical, "E080801", CS04AC_UNJOIN,
         UNJOIN_DEVICE.build(UnjoinDevice(bridge))),
    )  # fmt: skip
    how: dict[str, Any] = {"target": meter, "about": (bridge,)}
    with step(2):
        for service, body, *_ in cells:
            answer = await dsp.ask(service, body(ppmid), **how, variant=TRANSFORM_VARIANT)
            message = answer.response.message
            assert isinstance(message, ResponseMessage), f"{service}: {answer.code}"
            assert isinstance(message.content, PreCommand), f"{service}: {answer.code}"
    with step(3):
        for service, body, code, *_ in cells:
            answer = await dsp.ask(service, body(bridge), **how, variant=TRANSFORM_VARIANT)
            assert answer.code == code, service
    with step(4):
        for service, _, code, message_code, payload in cells:
            signed = dsp.dcc.supplier.signed_command(message_code, meter, payload)
            answer = await dsp.ask(service, signed, **how, variant=SIGNED_VARIANT)
            assert answer.code == code, service
    with step(5):
        for service, body, *_ in cells:
            answer = await dsp.ask(
                service, body(meter), target=bridge, about=(bridge,), variant=TRANSFORM_VARIANT
            )
            assert answer.code == "E11", service
    with step(6):
        assert on_the_wan(bench) == crossed


@conformance(
    "MP170-JOIN",
    title="read literally, a bridge may be the other device of 8.7.2, and of nothing else",
    needs=("emulated",),
    bench={"dsp": {"bridge_as_other_device": "literal"}},
    steps=(
        "a bridge as other device of 8.7.2 is accepted, and the command leaves for the hub",
        "as target of 8.7.2 it is refused as ever, and so is 8.8.2 either way",
    ),
)
async def test_read_literally_a_bridge_may_be_named(
    bench: BenchUp, dsp: Session, step: Any
) -> None:
    bridge = STRANGER + 0x83
    assert await announce(bench, dsp, bridge) == "I99"
    await whitelist(dsp, bridge)
    hub = dsp.wiring.hub.node.eui64
    home = inventory_of((await dsp.ask("8.2", ReadInventory(device_id=hub))).response)
    gas_proxy = next(one.device_id for one in home if one.device_type == "GPF")
    dsp.dcc.identity(gas_proxy)  # a command for it takes its certificate
    crossed = on_the_wan(bench)
    join, part = JoinServiceNonCritical, UnjoinServiceNonCritical
    with step(1):
        answer = await dsp.ask("8.7.2", join(bridge), target=gas_proxy, about=(bridge,))
        assert answer.code == "I99"
        assert on_the_wan(bench) > crossed
    with step(2):
        for service, body, target, code in (
            ("8.7.2", join(gas_proxy), bridge, "E080721"),
            ("8.8.2", part(gas_proxy), bridge, "E080821"),
            ("8.8.2", part(bridge), gas_proxy, "E080821"),
        ):
            answer = await dsp.ask(service, body, target=target, about=(bridge,))
            assert answer.code == code, service


@conformance(
    "MP170-CAD",
    title="a bridge that joined as CAD is not updated by 11.4",
    steps=("it is announced as CAD", "11.4 lists it, and nothing leaves for the hub"),
)
async def test_a_cad_is_not_updated(bench: BenchUp, dsp: Session, step: Any) -> None:
    cad = STRANGER + 0x90
    with step(1):
        code = await announce(
            *(bench, dsp, cad),
            device_type="CAD",
            firmware_version=None,
            smets_chts_version=None,
            ppmid_variant=None,
        )
        assert code == "I99"
    with step(2):
        before = offers(bench)
        answer = await dsp.ask_update(bench.device.image, (cad,))
        assert cad in refused_devices(answer.response), answer.code
        assert offers(bench) == before
