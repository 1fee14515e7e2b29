"""A device that speaks GBCS through its tunnel: what it answers, what it tells of an activation,
and what it does not let itself be told."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from bench_support import HUB_EUI64, NEW, OLD, bench, make_image, of_kind
from hypothesis import given
from hypothesis import strategies as st
from wan_rig import EPOCH, USER, Premises, broker, identity, premises

from emulator.devices import models, tunnel
from emulator.devices.bridge import BRIDGE_1
from emulator.devices.device import DeviceEvent, DeviceUp
from emulator.devices.flash import FlashContents
from emulator.devices.gbcs_half import (
    RESEND_S,
    DeviceHalf,
    DisownTunnel,
    FrameDiscarded,
    GbcsMemory,
    HubHalf,
    KnownTunnel,
    SendMessage,
)
from emulator.devices.models import DeviceModel
from emulator.devices.node import Frame, Node, QueueFull, Received
from emulator.devices.ota_client import Anomaly
from emulator.devices.ppmid import PPMID
from emulator.devices.tunnel import TunnelClient
from emulator.medium.air import Loss
from gbcs.acb import Alert, Rejection, Response
from gbcs.endpoint import EndpointState, Reason
from gbcs.firmware import (
    FIRMWARE_TRANSFER_SUCCEEDED,
    PPMID_FIRMWARE_ACTIVATION,
    ActivateImageResult,
    FirmwareVersion,
    TransferResult,
)
from gbcs.smki import SUPPLIER_EUI64
from gbcs.wan import DeliveryResult

EUI64 = 0x02484E4200000010
SECOND = EUI64 + 1
# Where things lie in the CS08 command, as its published example shows them.
CRA, COUNTER, ORIGINATOR, RECIPIENT = 15, 16, 25, 34
CODE, NULL_TAG, SIGNATURE_LENGTH, MAC = 44, 63, 65, 66
versions = pytest.mark.parametrize("ezsp", [13, 14])


# -- reading the version -------------------------------------------------------------------


@versions
@pytest.mark.parametrize("model", [PPMID, BRIDGE_1])
async def test_the_version_that_runs_is_read_over_wan_tunnel_and_back(
    ezsp: int, model: DeviceModel
) -> None:
    async with bench(ezsp=ezsp) as made:
        there = await premises(made, EUI64)
        await there.add(EUI64, model=model)
        reference = there.cs08(EUI64)
        response = await there.answer(EUI64, 0)
        assert response == Response(EUI64, 0x0129, 1301, USER, FirmwareVersion(OLD))
        assert there.result(reference) is DeliveryResult.DELIVERED
        (received,) = there.home.told_by(EUI64, tunnel.MessageReceived)
        assert received.data[MAC - 1 : MAC] == b"\0"  # MAC only, as the published command
        assert there.rejected() == []


async def test_each_device_answers_for_itself() -> None:
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        await there.add(SECOND, contents=FlashContents.factory(NEW))
        assert await there.version(EUI64) == FirmwareVersion(OLD)
        assert await there.version(SECOND) == FirmwareVersion(NEW)


async def test_a_device_without_identity_answers_nothing() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64, identity=None)
        reference = there.cs08(EUI64)
        await made.until(lambda: there.result(reference) is DeliveryResult.DELIVERED)
        await made.until(lambda: there.home.told_by(EUI64, tunnel.MessageReceived))
        await made.until(lambda: made.loop.time() > 300)
        assert there.frames(EUI64) == []
        assert there.home.told_by(EUI64, FrameDiscarded) == []


# -- activation ----------------------------------------------------------------------------


@versions
async def test_an_update_ends_in_a_signed_alert_and_the_new_version_is_read(ezsp: int) -> None:
    async with bench(ezsp=ezsp) as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        before = there.utc_now()
        await there.updated(EUI64, NEW)
        (transfer,) = there.alerts(HUB_EUI64)
        assert transfer.alert_code == FIRMWARE_TRANSFER_SUCCEEDED
        assert (transfer.device, transfer.firmware_version) == (EUI64, NEW)
        assert transfer.result is TransferResult.FILE_TRANSFER_SUCCESS
        (activation,) = there.alerts(EUI64)
        assert activation.alert_code == PPMID_FIRMWARE_ACTIVATION
        assert activation.firmware_version == NEW
        assert activation.result is ActivateImageResult.ACTIVATION_SUCCESS
        assert activation.execution_date_time.microsecond == 0
        assert before < transfer.execution_date_time < activation.execution_date_time
        assert activation.execution_date_time <= there.utc_now()
        told = [one.payload for one in of_kind(there.judged, Alert)]
        assert told[-2:] == [transfer, activation]
        assert await there.version(EUI64) == FirmwareVersion(NEW)
        await made.until(lambda: there.memories[EUI64].outbox == ())
        assert there.rejected() == []


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("fails", [False, True])
async def test_an_activation_is_told_over_an_air_that_loses_every_fifth_frame(
    seed: int, fails: bool
) -> None:
    async with bench(losses=(Loss(0.2),), seed=seed) as made:
        there = await premises(made, EUI64)
        await there.add(EUI64, activation_fails=fails)
        await there.updated(EUI64, NEW)
        await made.until(lambda: not there.memories[EUI64].outbox, 1200)
        (activation,) = there.alerts(EUI64)
        assert int(activation.result) == fails
        assert {one.reason for one in there.rejected()} <= {Rejection.REPLAY}


@versions
async def test_a_boot_loader_that_refuses_the_image_is_told_as_a_failed_activation(
    ezsp: int,
) -> None:
    async with bench(ezsp=ezsp) as made:
        there = await premises(made, EUI64)
        await there.add(EUI64, activation_fails=True)
        await there.updated(EUI64, NEW)
        (activation,) = there.alerts(EUI64)
        assert activation.result is ActivateImageResult.ACTIVATION_FAILURE
        assert activation.firmware_version == NEW
        (transfer,) = there.alerts(HUB_EUI64)
        assert transfer.result is TransferResult.FILE_TRANSFER_SUCCESS
        up = there.home.told_by(EUI64, DeviceUp)
        assert [(one.file_version, one.restarted) for one in up] == [(OLD, False), (OLD, True)]
        assert await there.version(EUI64) == FirmwareVersion(OLD)


async def test_a_file_that_is_refused_before_activation_raises_no_activation_alert() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64, verify=lambda _flash: "not the maker's")
        there.offer(make_image(4096), EUI64)
        await made.until(lambda: there.alerts(HUB_EUI64), 7200)
        (transfer,) = there.alerts(HUB_EUI64)
        assert transfer.result is TransferResult.FILE_TRANSFER_FAILURE
        end_s = made.loop.time() + 600
        await made.until(lambda: made.loop.time() > end_s, 700)
        assert there.alerts(EUI64) == []
        assert there.memories[EUI64] == GbcsMemory(tunnel=there.memories[EUI64].tunnel)


async def test_two_updates_are_told_with_two_counters() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        await there.updated(EUI64, NEW)
        there.offer(make_image(4096, version=NEW + 1), EUI64)
        await made.until(lambda: len(there.alerts(EUI64)) == 2, 7200)
        assert [one.firmware_version for one in there.alerts(EUI64)] == [NEW, NEW + 1]
        counters = [one.counter for one in of_kind(there.judged, Alert) if one.device == EUI64]
        assert counters == [1, 2]
        assert there.rejected() == []


# -- alerts that do not get through --------------------------------------------------------


async def restarting(there: Premises) -> bytes:
    """An update up to the moment its alert is signed, from which on nothing gets through."""
    made = there.bench
    there.offer(make_image(4096), EUI64)
    await made.until(lambda: there.memories[EUI64].activating == NEW, 7200)
    made.medium.set_faults((Loss(1.0),))
    await made.until(lambda: there.memories[EUI64].outbox, 120)
    (alert,) = there.memories[EUI64].outbox
    assert there.frames(EUI64) == []
    return alert


async def power_cycle(there: Premises) -> None:
    device = there.home.devices[EUI64]
    await device.power_off()
    await device.power_on()
    device.begin()


async def test_an_alert_not_delivered_is_the_same_octets_after_a_power_cut() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        alert = await restarting(there)
        counter = there.memories[EUI64].endpoint.originator_counter
        await made.until(lambda: made.loop.time() > 1000, 1000)
        assert there.frames(EUI64) == []
        await there.home.devices[EUI64].power_off()
        made.medium.set_faults(())
        await power_cycle(there)
        await made.until(lambda: there.alerts(EUI64), 600)
        assert there.frames(EUI64) == [alert]
        assert there.memories[EUI64].endpoint.originator_counter == counter
        await made.until(lambda: there.memories[EUI64].outbox == ())
        # and once it was delivered, no later restart brings it up again
        await power_cycle(there)
        assert await there.version(EUI64) == FirmwareVersion(NEW)
        assert there.frames(EUI64)[1:] == there.frames(EUI64)[-1:]
        assert there.rejected() == []


async def test_a_power_cut_when_the_hub_has_a_tunnel_already_does_not_strand_the_alert() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        there.offer(make_image(4096), EUI64)
        await made.until(lambda: there.memories[EUI64].activating == NEW, 7200)
        while there.tunnels(EUI64) == 1:
            await asyncio.sleep(0.001)
        made.medium.set_faults((Loss(1.0),))
        (alert,) = there.memories[EUI64].outbox
        await there.home.devices[EUI64].power_off()
        made.medium.set_faults(())
        assert there.frames(EUI64) == []
        await power_cycle(there)
        await made.until(lambda: there.frames(EUI64), 60)  # sooner than the next query
        assert there.frames(EUI64) == [alert]
        assert there.tunnels(EUI64) == 3
        assert there.rejected() == []


async def test_a_delivery_nobody_acknowledged_is_repeated_and_the_broker_knows_it_again() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        there.offer(make_image(4096), EUI64)

        def fall_silent() -> None:
            if there.alerts(EUI64):
                made.medium.set_faults((Loss(1.0),))  # the acknowledgement is not on the air yet

        there.on_message = fall_silent
        await made.until(lambda: there.alerts(EUI64), 7200)
        there.on_message = None
        heard_s = made.loop.time()
        await made.until(lambda: made.loop.time() > heard_s + 40)
        made.medium.set_faults(())
        await made.until(lambda: len(there.frames(EUI64)) > 1, 120)
        first, second = there.frames(EUI64)
        assert first == second
        assert made.loop.time() > heard_s + RESEND_S
        (rejected,) = there.rejected()
        assert rejected.reason is Rejection.REPLAY
        assert len(there.alerts(EUI64)) == 1
        await made.until(lambda: there.memories[EUI64].outbox == ())


async def test_an_alert_the_tunnel_has_no_room_for_is_sent_when_it_has() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        device = await there.add(EUI64)
        await device.power_off()
        there.memories[EUI64].activating = NEW
        made.medium.set_faults((Loss(1.0),))
        await device.power_on()
        for number in range(5):
            device.send_through_tunnel(b"message %d" % number)
        device.begin()
        await made.until(lambda: there.home.told_by(EUI64, tunnel.MessageRefused))
        (alert,) = there.memories[EUI64].outbox
        made.medium.set_faults(())
        await made.until(lambda: there.alerts(EUI64), 300)
        assert there.frames(EUI64)[-1] == alert
        assert len(there.frames(EUI64)) == 6


def fill(node: Node) -> None:
    """Leave no place in a radio's queue."""
    frame = Frame(HUB_EUI64, models.METERING, 1, 1, b"\x09\0\0")
    with contextlib.suppress(QueueFull):
        while True:
            node.send(frame)


async def test_an_alert_the_radio_does_not_take_is_sent_a_minute_later() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        device = await there.add(EUI64)
        await device.power_off()
        there.memories[EUI64].activating = NEW
        told = device._on_event
        filled_s: list[float] = []

        def fill_the_queue(event: DeviceEvent) -> None:
            told(event)
            if isinstance(event, tunnel.TunnelUp) and not filled_s:
                filled_s.append(made.loop.time())
                assert device._firmware is not None
                fill(device._firmware.node)

        device._on_event = fill_the_queue
        await device.power_on()
        device.begin()
        await made.until(lambda: there.alerts(EUI64), 300)
        assert made.loop.time() > filled_s[0] + RESEND_S
        assert len(there.frames(EUI64)) == 1
        await made.until(lambda: not there.memories[EUI64].outbox)


async def test_a_tunnel_the_hub_itself_has_forgotten_is_forgotten_here_too() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        device = await there.add(EUI64)
        known = there.memories[EUI64].tunnel
        assert known is not None
        there.home.hub.device_log[EUI64].client = TunnelClient()  # as after a restart of the hub
        device.send_through_tunnel(b"for nobody")
        await made.until(lambda: there.home.told_by(EUI64, tunnel.TunnelDown))
        assert there.memories[EUI64].tunnel is None
        assert await there.version(EUI64) == FirmwareVersion(OLD)
        assert there.memories[EUI64].tunnel == KnownTunnel(1, known.hub_endpoint)


# -- commands that are none ----------------------------------------------------------------


async def discards(there: Premises, frame: bytes) -> FrameDiscarded:
    """Send a frame to the device; what it says to it. Its memory is as before."""
    before = len(there.discarded(EUI64))
    endpoint = there.memories[EUI64].endpoint
    there.send(EUI64, frame)
    await there.bench.until(lambda: len(there.discarded(EUI64)) > before, 60)
    assert there.memories[EUI64].endpoint == endpoint
    found: FrameDiscarded = there.discarded(EUI64)[-1]
    return found


def flipped(frame: bytes, bit: int) -> bytes:
    changed = bytearray(frame)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


FORGERIES: dict[str, tuple[Callable[[Premises], bytes], Reason]] = {
    "for another device": (
        lambda there: there.acb.read_firmware_version(SECOND, USER),
        Reason.RECIPIENT,
    ),
    "from one it does not know": (
        lambda _: broker(EUI64, eui64=SUPPLIER_EUI64).read_firmware_version(EUI64, USER),
        Reason.ORIGINATOR,
    ),
    "a use case it has not": (
        lambda there: there.acb.command(0x0013, EUI64, b"\x05\0", USER),
        Reason.MESSAGE_CODE,
    ),
    "signed where no signature belongs": (
        lambda there: there.acb.command(0x0129, EUI64, b"\x05\0", USER, critical=True),
        Reason.SIGNATURE,
    ),
    "a payload that is no NULL": (
        lambda there: there.acb.command(0x0129, EUI64, b"\x05\x01\0", USER),
        Reason.PAYLOAD,
    ),
    "no frame": (lambda _: b"no frame", Reason.SYNTAX),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_command_that_is_none_is_not_answered_and_changes_nothing(name: str) -> None:
    make, reason = FORGERIES[name]
    async with bench() as made:
        there = await premises(made, EUI64, SECOND)
        await there.add(EUI64)
        assert (await discards(there, make(there))).reason is reason
        assert there.frames(EUI64) == []
        assert await there.version(EUI64) == FirmwareVersion(OLD)


async def test_a_command_sent_twice_is_answered_once() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        older = there.acb.read_firmware_version(EUI64, USER)
        frame = there.acb.read_firmware_version(EUI64, USER)
        there.send(EUI64, frame)
        await there.answer(EUI64, 0)
        for replayed in (frame, older):
            assert (await discards(there, replayed)).reason is Reason.COUNTER
        assert len(there.frames(EUI64)) == 1


async def test_counters_accepted_are_remembered_over_a_power_cut() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        frame = there.acb.read_firmware_version(EUI64, USER)
        there.send(EUI64, frame)
        await there.answer(EUI64, 0)
        tunnels = there.tunnels(EUI64)
        await power_cycle(there)
        await made.until(lambda: there.tunnels(EUI64) > tunnels, 60)
        assert (await discards(there, frame)).reason is Reason.COUNTER
        assert await there.version(EUI64) == FirmwareVersion(OLD)


async def test_no_bit_of_a_command_can_be_turned_round() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64)
        frame = there.acb.read_firmware_version(EUI64, USER)
        sample = random.Random(2026).sample(range(8 * len(frame)), 40)
        wanted = {
            8 * CRA + 1: Reason.CRA,
            8 * ORIGINATOR: Reason.ORIGINATOR,
            8 * RECIPIENT: Reason.RECIPIENT,
            8 * COUNTER + 63: Reason.MAC,
            8 * CODE: Reason.MESSAGE_CODE,
            8 * NULL_TAG: Reason.MAC,
            8 * SIGNATURE_LENGTH: Reason.SYNTAX,
            8 * MAC: Reason.MAC,
            8 * len(frame) - 1: Reason.MAC,
        }
        found = {}
        for bit in {**wanted, **dict.fromkeys(sample)}:
            found[bit] = (await discards(there, flipped(frame, bit))).reason
        assert {bit: found[bit] for bit in wanted} == wanted
        assert set(found.values()) <= set(Reason) - {Reason.COUNTER}
        assert there.frames(EUI64) == []
        there.send(EUI64, frame)
        assert (await there.answer(EUI64, 0)).payload == FirmwareVersion(OLD)


# -- the core ------------------------------------------------------------------------------


def half(memory: GbcsMemory, version: int = NEW) -> DeviceHalf:
    return DeviceHalf(EUI64, identity(EUI64), memory, lambda: version)


def alert_of(outputs: list[object]) -> SendMessage:
    (found,) = of_kind(outputs, SendMessage)
    message: SendMessage = found
    return message


def test_an_alert_is_sent_every_minute_until_it_is_delivered() -> None:
    memory = GbcsMemory(activating=NEW)
    device = half(memory)
    first = alert_of(list(device.start(10.0, EPOCH)))
    assert memory.outbox == (first.frame,)
    assert first.handle is not None
    assert device.next_timeout() == 10.0 + RESEND_S
    assert device.handle_timeout(70.0) == []  # it still is under way
    device.sent(first.handle, False, 75.0)
    assert device.next_timeout() == 75.0 + RESEND_S
    assert device.handle_timeout(134.9) == []
    second = alert_of(list(device.handle_timeout(135.0)))
    assert second.frame == first.frame
    assert second.handle not in (None, first.handle)
    device.sent(first.handle, True, 136.0)  # of what is no longer under way
    assert memory.outbox == (first.frame,)
    assert second.handle is not None
    device.sent(second.handle, True, 137.0)
    assert not memory.outbox
    assert device.next_timeout() is None


def test_nothing_noted_means_nothing_told() -> None:
    memory = GbcsMemory()
    device = half(memory)
    assert device.start(0.0, EPOCH) == []
    assert (memory, device.next_timeout()) == (GbcsMemory(), None)


def test_the_version_told_of_a_failed_activation_is_the_one_that_does_not_run() -> None:
    memory = GbcsMemory(activating=NEW)
    frame = alert_of(list(half(memory, OLD).start(0.0, EPOCH + timedelta(seconds=1.9)))).frame
    outcome = broker(EUI64).receive(frame)
    assert isinstance(outcome, Alert)
    activation = outcome.payload
    assert activation.result is ActivateImageResult.ACTIVATION_FAILURE  # type: ignore[union-attr]
    assert activation.firmware_version == NEW  # type: ignore[union-attr]
    second = EPOCH + timedelta(seconds=1)
    assert activation.execution_date_time == second  # type: ignore[union-attr]


def test_an_alert_is_in_the_memory_and_its_counter_used_before_it_leaves() -> None:
    memory = GbcsMemory(EndpointState(41), activating=NEW)
    outputs = half(memory).start(0.0, EPOCH)
    assert memory.endpoint.originator_counter == 42
    assert memory.activating is None
    # another start, as after a power cut at once: the same alert, no new counter
    again = half(memory).start(5.0, EPOCH + timedelta(days=1))
    assert alert_of(list(again)).frame == alert_of(list(outputs)).frame
    assert memory.endpoint.originator_counter == 42


def test_a_hub_that_believes_in_an_old_tunnel_is_told_until_it_has_opened_another() -> None:
    known = KnownTunnel(7, 3)
    memory = GbcsMemory(activating=NEW, tunnel=known)
    device = half(memory)
    assert of_kind(device.start(0.0, EPOCH), DisownTunnel) == [DisownTunnel(known)]
    assert device.handle_timeout(RESEND_S) == [DisownTunnel(known)]
    device.tunnel_up(KnownTunnel(0, 3))
    assert device.handle_timeout(2 * RESEND_S) == []
    assert memory.tunnel == KnownTunnel(0, 3)
    device.tunnel_down()
    assert memory.tunnel is None


def test_an_alert_already_counted_out_is_not_replaced_by_the_next() -> None:
    memory = GbcsMemory(activating=NEW)
    half(memory).start(0.0, EPOCH)
    memory.activating = NEW + 1
    device = half(memory, NEW + 1)
    sent = of_kind(device.start(0.0, EPOCH), SendMessage)
    assert tuple(one.frame for one in sent) == memory.outbox
    assert len(set(memory.outbox)) == 2
    device.sent(sent[0].handle, True, 1.0)
    assert memory.outbox == (sent[1].frame,)


# -- what is stored ------------------------------------------------------------------------


@given(
    counter=st.integers(0, 2**64 - 1),
    accepted=st.dictionaries(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), max_size=3),
    activating=st.none() | st.integers(0, 2**32 - 1),
    outbox=st.lists(st.binary(max_size=40), max_size=3).map(tuple),
    tunnel=st.none() | st.builds(KnownTunnel, st.integers(0, 0xFFFF), st.integers(1, 240)),
    reported=st.integers(0, 2**32),
)
def test_a_memory_is_after_a_restart_what_it_was_before(
    counter: int,
    accepted: dict[int, int],
    activating: int | None,
    outbox: tuple[bytes, ...],
    tunnel: KnownTunnel | None,
    reported: int,
) -> None:
    memory = GbcsMemory()
    memory.keep(
        "everything",
        endpoint=EndpointState(counter, tuple(sorted(accepted.items()))),
        activating=activating,
        outbox=outbox,
        tunnel=tunnel,
        reported=reported,
    )
    assert GbcsMemory.restarted(memory.record) == memory
    assert GbcsMemory.restarted(GbcsMemory().record) == GbcsMemory()


def test_an_activation_the_boot_loader_was_never_told_of_is_not_reported() -> None:
    memory = GbcsMemory(activating=NEW)
    device = half(memory, OLD)
    assert device.start(0.0, EPOCH, was_tried=False) == []
    assert memory == GbcsMemory()
    assert memory.outbox == ()


def test_a_hub_reports_an_outcome_once_and_keeps_it_until_the_wan_has_it() -> None:
    memory = GbcsMemory()
    hub = HubHalf(HUB_EUI64, identity(HUB_EUI64), memory, ())
    failure = TransferResult.FILE_TRANSFER_FAILURE
    frame = hub.transfer_ended(3, EUI64, NEW, failure, EPOCH)
    assert frame is not None
    assert memory.outbox == (frame,)
    again = GbcsMemory.restarted(memory.record)
    assert again.outbox == (frame,)
    hub = HubHalf(HUB_EUI64, identity(HUB_EUI64), again, ())
    assert hub.transfer_ended(3, EUI64, NEW, failure, EPOCH) is None
    assert hub.transfer_ended(2, EUI64, NEW, failure, EPOCH) is None
    hub.taken(frame)
    assert GbcsMemory.restarted(memory.record).outbox == ()
    second = hub.transfer_ended(4, EUI64, NEW, failure, EPOCH)
    assert second not in (None, frame)


# -- an image that does not come up ----------------------------------------------------------


async def test_a_new_image_that_hangs_makes_room_for_the_old_one_which_tells_of_it() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        await there.add(EUI64, new_image_hangs=True)
        there.offer(make_image(4096), EUI64)
        await made.until(lambda: there.alerts(EUI64), 7200)
        (activation,) = there.alerts(EUI64)
        assert activation.firmware_version == NEW
        assert activation.result is ActivateImageResult.ACTIVATION_FAILURE
        assert await there.version(EUI64) == FirmwareVersion(OLD)
        (transfer,) = there.alerts(HUB_EUI64)
        assert transfer.result is TransferResult.FILE_TRANSFER_SUCCESS
        # and it takes the next one
        there.home.devices[EUI64].build.new_image_hangs = False
        there.offer(make_image(4096, version=NEW + 1), EUI64)
        await made.until(lambda: len(there.alerts(EUI64)) == 2, 7200)
        assert await there.version(EUI64) == FirmwareVersion(NEW + 1)


async def test_an_update_frame_of_another_node_than_the_hub_is_not_taken() -> None:
    async with bench() as made:
        there = await premises(made, EUI64)
        device = await there.add(EUI64)
        firmware = device._firmware
        assert firmware is not None
        notify = bytes.fromhex("09 01 00 03 64 1D 12 84 00 00 02 01 00")
        stranger = EUI64 + 7
        firmware._on_node_event(Received(stranger, models.OTA_UPGRADE, 1, 1, notify, True))
        told = [one for one in there.home.told_by(EUI64, Anomaly) if one.kind == "stranger"]
        assert [one.detail for one in told] == [f"from {stranger:016X}"]
