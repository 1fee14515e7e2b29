"""A stick fails its host in the midst of a transfer: it completes, or somebody is told in time.

Each fault of the line, on the hub's stick and on the device's, while 4 KiB go over the air.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from bench_support import (
    HUB_EUI64,
    NEW,
    Bench,
    DeviceNode,
    HubNode,
    bench,
    device_node,
    hub_node,
    join,
    make_image,
    of_kind,
)
from fault_support import (
    EUI64,
    IMAGE_BYTES,
    WORD_WITHIN_S,
    has_struck,
    laid_on,
    told_of,
    transfer,
)

from emulator.devices.device import DeviceLost, DeviceUp
from emulator.devices.hub import HubLost
from emulator.devices.node import Frame, NetworkDown, NodeError, Received, Sent
from emulator.ncp.line_faults import LineFaultKind
from emulator.ncp.ncp import Ncp
from hil.faults import parse_fault

TUNNELLING = 0x0704

# What each fault comes to when it strikes at the 20th or so frame of 75 blocks.
COMPLETES = (
    "bad CRC at the 20th frame",
    "lost response at the 20th frame",
    "lost host DATA at the 20th frame",
    "lost host ACK at the 20th frame",
    "NAK at the 20th frame",
    "dead UART at the 20th frame for 1 s",
    "XOFF before a frame",
    "XOFF inside a frame",
    "CANCEL before a frame",
    "repeated FLAGs",
    "SUBSTITUTE inside a frame at the 20th frame",
    "garbage before a frame 10 %",
    "truncated payload at the 20th frame",
)
IS_TOLD = (
    "NAK",
    "dead UART at the 20th frame",
    "ERROR frame at the 20th frame",
    "unsolicited RSTACK at the 20th frame",
    "no answer at the 20th sendUnicast",
    "invalidCommand at the 20th sendUnicast",
    "closed line at the 20th frame",
    "power cut at the 20th frame for 1 s",
    "power cut at the 20th frame",
)


def test_every_fault_of_a_line_is_here() -> None:
    named = {parse_fault(words).kind for words in COMPLETES + IS_TOLD}
    assert named == {kind.value for kind in LineFaultKind}


@pytest.mark.parametrize("end", ["hub", "device"])
@pytest.mark.parametrize("words", COMPLETES)
async def test_a_transfer_survives(words: str, end: str) -> None:
    async with bench() as made:
        home, took_s = await transfer(made, words, end)
        (up,) = told_of(home)
        assert isinstance(up, DeviceUp)
        assert (up.file_version, up.sha256) == (NEW, make_image(IMAGE_BYTES).sha256)
        assert took_s < WORD_WITHIN_S


@pytest.mark.parametrize("end", ["hub", "device"])
@pytest.mark.parametrize("words", IS_TOLD)
async def test_a_lost_stick_is_told_in_time_and_by_whom(words: str, end: str) -> None:
    async with bench() as made:
        home, took_s = await transfer(made, words, end)
        (lost,) = told_of(home)
        assert isinstance(lost, HubLost if end == "hub" else DeviceLost)
        assert "mem://" in lost.reason
        assert took_s < WORD_WITHIN_S


class Ends(NamedTuple):
    """A hub and a device that know each other, and which of them is to lose its stick."""

    hub: HubNode
    device: DeviceNode
    failing: HubNode | DeviceNode
    stick: Ncp


async def two_ends(made: Bench, end: str) -> Ends:
    hub = await hub_node(made)
    device = await device_node(made, EUI64, name="device")
    await join(hub, device)
    await made.until(lambda: made.sticks["hub"].stack.state.link_keys[0] is not None)
    return Ends(hub, device, hub if end == "hub" else device, made.sticks[end])


def send(ends: Ends) -> int:
    """A message from the failing end to the other."""
    peer = EUI64 if ends.failing is ends.hub else HUB_EUI64
    return ends.failing.node.send(Frame(peer, TUNNELLING, 3, 1, b"there"))


def received(ends: Ends) -> list[bytes]:
    other = ends.device if ends.failing is ends.hub else ends.hub
    return [one.payload for one in of_kind(other.events, Received)]


@pytest.mark.parametrize("end", ["hub", "device"])
@pytest.mark.parametrize("words", [words.replace("20th", "1st") for words in IS_TOLD])
async def test_a_node_that_lost_its_stick_goes_on_after_a_new_start(words: str, end: str) -> None:
    async with bench() as made:
        ends = await two_ends(made, end)
        laid_on(ends.stick, words)
        tag = send(ends)
        await made.until(lambda: of_kind(ends.failing.events, NetworkDown), WORD_WITHIN_S)
        await made.until(lambda: of_kind(ends.failing.events, Sent), WORD_WITHIN_S)
        # A stick that only forgets to answer has sent the message, and tells of its delivery.
        delivered = words.startswith("no answer")
        assert of_kind(ends.failing.events, Sent) == [Sent(tag, delivered)]
        with pytest.raises(NodeError):  # and nothing is taken that nobody would send
            send(ends)
        ends.stick.set_faults(())
        if words == "power cut at the 1st frame":  # without an end: somebody plugs it in again
            ends.stick.restart(0x02)
        await ends.failing.node.close()
        await ends.failing.node.open()
        await ends.failing.node.resume()
        before = len(received(ends))
        send(ends)
        await made.until(lambda: received(ends)[before:] == [b"there"], WORD_WITHIN_S)


STARTS = (
    "NAK",
    "dead UART",
    "ERROR frame at the 5th frame",
    "unsolicited RSTACK at the 5th frame",
    "no answer at the 5th frame",
    "invalidCommand at the 5th frame",
    "truncated payload at the 5th frame",
    "closed line at the 5th frame",
    "power cut at the 5th frame for 1 s",
    "bad CRC",
    "lost response",
    "lost host DATA",
    "SUBSTITUTE inside a frame",
)


@pytest.mark.parametrize("end", ["hub", "device"])
@pytest.mark.parametrize("words", STARTS)
async def test_only_node_errors_come_out_of_a_start_on_a_bad_line(words: str, end: str) -> None:
    async with bench() as made:
        ends = await two_ends(made, end)
        await ends.failing.node.close()
        laid_on(ends.stick, words)
        began_s = made.loop.time()
        try:
            await ends.failing.node.open()
            await ends.failing.node.resume()
        except NodeError as error:
            assert f"/{end}" in str(error)  # noqa: PT017 - it may come up as well
        assert made.loop.time() - began_s < WORD_WITHIN_S
        assert has_struck(ends.stick)
        await ends.failing.node.close()
        ends.stick.set_faults(())
        await ends.failing.node.open()
        await ends.failing.node.resume()
