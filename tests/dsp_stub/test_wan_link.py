"""The SM WAN over WebSockets: what is not taken comes again, what was taken is acted on once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from dsp_rig import HUB, NEW, OTHER_HUB, PPMID, Device, Rig, made_image, running
from hypothesis import given
from hypothesis import strategies as st

from dsp_stub.desk import SecurityEvent
from dsp_stub.requests import ReadFirmwareVersion, UpdatePpmidFirmware
from dsp_stub.responses import CspFirmwareDeliveryStatus, PpmidAlert
from gbcs.errors import GbcsError
from gbcs.wan import (
    CommandForDevice,
    DeliveryOutcome,
    DeliveryResult,
    ImageOffer,
    MessageFromDevice,
    WanMessage,
    parse_message,
    serialise,
)
from gbcs.wan_link import Numbered, Receiver, Taken, build_link_frame, parse_link_frame
from hil.wan_client import MAX_QUEUED, WanClient

pytestmark = pytest.mark.real_clock

numbers = st.integers(0, 2**64 - 1)


@given(st.one_of(st.builds(Numbered, numbers, st.binary()), st.builds(Taken, numbers)))
def test_a_link_frame_reads_as_it_was_built(frame: Numbered | Taken) -> None:
    assert parse_link_frame(build_link_frame(frame)) == frame


@given(st.binary(max_size=40))
def test_octets_from_anybody_are_a_frame_or_a_gbcs_error(octets: bytes) -> None:
    with suppress(GbcsError):
        assert build_link_frame(parse_link_frame(octets)) == octets


def test_a_receiver_knows_the_last_message_of_a_session_only() -> None:
    receiver = Receiver()
    assert receiver.is_new("a", 1)
    receiver.took("a", 1)
    assert not receiver.is_new("a", 1)
    assert receiver.is_new("a", 2)
    assert receiver.is_new("b", 1), "another session begins its own numbers"


class HubProcess:
    """The WAN's end of a hub: what reached it, and whether it answers for images at once."""

    def __init__(self, rig: Rig, hub: int = HUB) -> None:
        self.rig = rig
        self.messages: list[WanMessage] = []
        self.said: list[str] = []
        self.hub = hub
        self._heard = asyncio.Condition()
        self.client = WanClient(rig.url, self.take, self.hear)
        self.task: asyncio.Task[None] | None = None

    def take(self, octets: bytes) -> None:
        message = parse_message(octets)
        self.messages.append(message)
        if isinstance(message, ImageOffer):
            for device in message.devices:
                outcome = DeliveryOutcome(
                    self.hub, device, message.reference, DeliveryResult.DELIVERED
                )
                self.client.send(serialise(outcome))
        self.hear("")

    def hear(self, what: str) -> None:
        self.said.append(what)
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self._heard:
            self._heard.notify_all()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with self._heard, asyncio.timeout(20):
            await self._heard.wait_for(holds)

    async def drained(self) -> None:
        """Wait until the DSP took everything."""
        async with asyncio.timeout(20):
            while self.client.waiting:
                await asyncio.sleep(0.01)

    async def connect(self) -> None:
        before = self.said.count("connected")
        if self.task is None:
            self.task = asyncio.create_task(self.client.run(self.hub))
        await self.until(lambda: self.said.count("connected") > before)

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        rig.server._hubs.clear()  # no hub in this process
        yield rig


@pytest.fixture
async def hub(rig: Rig) -> AsyncIterator[HubProcess]:
    hub = HubProcess(rig)
    yield hub
    await hub.stop()


async def test_an_update_goes_there_and_back_over_the_link(rig: Rig, hub: HubProcess) -> None:
    await hub.connect()
    image = made_image()
    answer = await rig.ask("11.4", UpdatePpmidFirmware(image.data, f"{NEW:08X}", (PPMID,)))
    assert answer.response_code == "I99"
    assert (await rig.alert(CspFirmwareDeliveryStatus)).succeeded
    (offer,) = hub.messages
    assert isinstance(offer, ImageOffer)
    assert offer.image == image.data
    hub.client.send(serialise(MessageFromDevice(HUB, PPMID, Device(PPMID).activated())))
    assert (await rig.alert(PpmidAlert)).device_id == PPMID


async def test_what_was_asked_before_the_hub_came_waits_for_it_in_order(
    rig: Rig, hub: HubProcess
) -> None:
    for _ in range(3):
        await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
    await hub.connect()
    await hub.until(lambda: len(hub.messages) == 3)
    references = [one.reference for one in hub.messages if isinstance(one, CommandForDevice)]
    assert references == sorted(references)


async def test_a_hub_that_comes_again_gets_what_it_had_not_taken_and_nothing_else(
    rig: Rig, hub: HubProcess
) -> None:
    await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{rig.url}/wan/{HUB:016X}") as socket,
    ):
        first = parse_link_frame((await socket.receive(20)).data)  # and never says it took it
    await hub.connect()
    await hub.until(lambda: len(hub.messages) == 1)
    assert isinstance(first, Numbered)
    assert hub.messages == [parse_message(first.message)]
    await rig.quiet()
    await hub.stop()
    again = HubProcess(rig)
    await again.connect()
    await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
    await again.until(lambda: len(again.messages) == 1)
    assert again.messages != hub.messages
    await again.stop()


async def test_a_message_whose_taking_was_lost_is_acted_on_once(rig: Rig) -> None:
    frame = Device(PPMID).activated()
    octets = build_link_frame(Numbered(7, serialise(MessageFromDevice(HUB, PPMID, frame))))
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            url = f"{rig.url}/wan/{HUB:016X}?session=one"
            async with session.ws_connect(url) as socket:
                await socket.send_bytes(octets)
                assert parse_link_frame((await socket.receive(20)).data) == Taken(7)
    await rig.alert(PpmidAlert)
    await rig.quiet()
    assert len(rig._alerts(PpmidAlert)) == 1
    assert not [one for one in rig.events if isinstance(one, SecurityEvent)], "no replay"


async def test_messages_of_a_hub_wait_while_the_dsp_is_away_and_come_in_order(
    rig: Rig, hub: HubProcess
) -> None:
    await hub.connect()
    callback = rig.desk.users.get(0x90B3D51F30010000).callback.rsplit("/", 1)[0]  # type: ignore[union-attr]
    await rig.server.stop()
    rig.store.close()
    await hub.until(lambda: "connection lost" in hub.said)
    ppmid = Device(PPMID)
    for _ in range(3):
        hub.client.send(serialise(MessageFromDevice(HUB, PPMID, ppmid.activated())))
    rig.open(callback)
    port = int(rig.url.rsplit(":", 1)[1])
    await rig.server.start("127.0.0.1", port)
    await hub.connect()
    await rig.alert(PpmidAlert, 1)
    await hub.drained()
    (counter,) = rig.store.connection.execute("SELECT counter FROM accepted").fetchone()
    assert int(counter) == ppmid.endpoint.state.originator_counter


async def test_a_hub_cannot_speak_in_the_name_of_another(rig: Rig) -> None:
    hub = HubProcess(rig, OTHER_HUB)
    await hub.connect()
    hub.client.send(serialise(MessageFromDevice(HUB, PPMID, Device(PPMID).activated())))
    await hub.drained()
    (event,) = [one for one in rig.events if isinstance(one, SecurityEvent)]
    assert (event.device, event.reason) == (OTHER_HUB, "WAN")
    assert not rig._alerts(PpmidAlert)
    await hub.stop()


@pytest.mark.parametrize("octets", [b"", b"\x03" + bytes(8), b"\x02" + bytes(9)])
async def test_what_is_no_frame_ends_the_link_and_is_a_security_event(
    rig: Rig, octets: bytes
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{rig.url}/wan/{HUB:016X}") as socket,
    ):
        await socket.send_bytes(octets)
        assert (await socket.receive(20)).type is aiohttp.WSMsgType.CLOSE
    (event,) = [one for one in rig.events if isinstance(one, SecurityEvent)]
    assert event.reason == "WAN"


@pytest.mark.parametrize("hub", [PPMID, 0x1234])
async def test_who_is_no_hub_of_the_inventory_gets_no_link(rig: Rig, hub: int) -> None:
    stranger = HubProcess(rig, hub)
    task = asyncio.create_task(stranger.client.run(hub))
    await stranger.until(lambda: any("no CHF" in what for what in stranger.said))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_newest_link_of_a_hub_counts(rig: Rig, hub: HubProcess) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{rig.url}/wan/{HUB:016X}") as older,
    ):
        await hub.connect()
        assert (await older.receive(20)).type is aiohttp.WSMsgType.CLOSE
    await rig.ask("11.2", ReadFirmwareVersion(), target=PPMID)
    await hub.until(lambda: len(hub.messages) == 1)


async def test_a_queue_at_its_bound_drops_what_is_new_and_says_so(
    rig: Rig, hub: HubProcess
) -> None:
    message = serialise(DeliveryOutcome(HUB, PPMID, 1, DeliveryResult.DELIVERED))
    for _ in range(MAX_QUEUED + 2):
        hub.client.send(message)
    assert hub.client.waiting == MAX_QUEUED
    assert [what for what in hub.said if what.startswith("dropped")] == [
        f"dropped a message: {MAX_QUEUED} wait already"
    ] * 2
    assert rig.url
