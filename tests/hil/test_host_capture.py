"""`host.pcapng`: what the hub's host told and heard, as frames; beside it what was on the air."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bench_support import (
    CHANNEL,
    HUB_EUI64,
    NETWORK_KEY,
    PAN_ID,
    SETTINGS,
    DeviceNode,
    HubNode,
    bench,
    device_node,
    hub_node,
    join,
    link_key,
    of_kind,
)
from hypothesis import given
from hypothesis import strategies as st
from tshark_support import read_by_tshark

from emulator.devices.host_messages import HostMessage, HostMessages, HostRouteRecord
from emulator.devices.node import Frame, Received
from emulator.devices.smart_energy_ezsp import SmartEnergyEzsp
from emulator.devices.smart_energy_frames import SEND_UNICAST_V14
from emulator.devices.zigpy_node import ZigpyNode
from emulator.medium.pcapng import read_commented
from emulator.medium.timing import MAX_PSDU_OCTETS
from emulator.ncp.ezsp_tables import SUPPORTED_VERSIONS
from emulator.ncp.hot_frames import LQI, RSSI_DBM
from emulator.zigbee import aps, mac, nwk, ota, tunnelling, zcl
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_FRAGMENT,
    OPTION_RETRY,
    Aps,
    MessageKind,
)
from hil.air_log import AGAIN, AirFrame, AirKeys, AirReader, read_air
from hil.evidence import Evidence
from hil.host_capture import CAPTURE, HostCapture, comment_of, reconstructed

EUI64 = 0x02484E4200000010
NAMES = {EUI64: "ppmid", HUB_EUI64: "hub"}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = AirKeys(NETWORK_KEY, {"ppmid": link_key(EUI64)})
versions = pytest.mark.parametrize("ezsp", SUPPORTED_VERSIONS)


def transfer_data(size: int, *, to_hub: bool) -> bytes:
    """What goes through a tunnel, in as many fragments as that takes; the hub is its client."""
    control = zcl.RESPONSE if to_hub else zcl.CLUSTER_COMMAND
    number = tunnelling.TRANSFER_DATA_TO_CLIENT if to_hub else tunnelling.TRANSFER_DATA_TO_SERVER
    data = bytes(2) + random.Random(size).randbytes(size)  # behind the number of the tunnel
    return zcl.build(zcl.ZclFrame(control, 9, number, data))


async def talk(hub: HubNode, device: DeviceNode, made: Any) -> None:
    """Both ways: in a frame, in fragments, with and without the link key."""
    both = Frame(EUI64, tunnelling.CLUSTER_ID, 3, 1, b""), Frame(HUB_EUI64, 0x0704, 1, 3, b"")
    for sent, (size, encrypted) in enumerate(
        ((20, True), (200, True), (20, False), (100, False)), 1
    ):
        for node, frame in zip((hub.node, device.node), both, strict=True):
            node.send(
                frame._replace(
                    payload=transfer_data(size, to_hub=node is device.node), encrypted=encrypted
                )
            )
        for end in (hub, device):
            await made.until(lambda end=end, n=sent: len(of_kind(end.events, Received)) == n)


def on_the_air(frames: list[bytes]) -> list[AirFrame]:
    """What a sniffer would tell of data, and of fragments acknowledged by the hub."""
    reader = AirReader(KEYS, NAMES)
    read = [reader.read(number, 0, psdu) for number, psdu in enumerate(frames, 1)]
    return [
        one
        for one in read
        if not one.what.endswith(AGAIN)  # a retry, which no host hears of
        and (
            one.layer in ("Tunnelling", "ZDO")
            or (one.layer == "APS" and "fragment" in one.what and one.source == "hub")
        )
    ]


def said(frames: list[AirFrame]) -> Counter[tuple[str, str, str, str]]:
    return Counter((one.source, one.destination, one.layer, one.what) for one in frames)


@versions
async def test_a_host_tells_what_a_sniffer_would_of_every_message(
    ezsp: Any, tmp_path: Path
) -> None:
    with Evidence(tmp_path / "ev", epoch=EPOCH) as evidence:
        async with bench(ezsp=ezsp) as made:
            capture = HostCapture(evidence, made.loop, SETTINGS, epoch=EPOCH)
            made.make_hub = partial(ZigpyNode, on_host_message=capture.take)  # type: ignore[method-assign]
            hub = await hub_node(made)
            device = await device_node(made, EUI64)
            await join(hub, device)
            await talk(hub, device, made)
            await asyncio.sleep(1)
            told_in_the_end_us = made.loop.now_us()
    path = tmp_path / "ev" / CAPTURE
    told = list(read_air(path, None, NAMES, reconstructed=True))
    seen = said(on_the_air(made.frames))
    # Who answers by itself is the stick; its host does not know.
    by_the_stick = Counter({one: n for one, n in seen.items() if one[2] == "ZDO"})
    assert said([one for one in told if one.layer != "ZDO"]) == seen - by_the_stick
    assert said([one for one in told if one.layer == "ZDO"]) <= seen
    assert ("ppmid", "all awake", "ZDO", "Device_annce") in said(told)
    assert len([one for one in told if "without APS security" in one.what]) >= 2
    times = [one.time_us - round(EPOCH.timestamp() * 1e6) for one in told]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] <= told_in_the_end_us
    comments = [comment for _, _, comment in read_commented(path.read_bytes())]
    assert {comment.split(",")[0] for comment in comments} == {
        f"reconstructed at hub: {name}"
        for name in ("sendUnicast", "sendReply", "incomingMessageHandler")
    }


async def test_tshark_reads_it_to_the_last_fragment_without_a_key(tmp_path: Path) -> None:
    with Evidence(tmp_path / "ev", epoch=EPOCH) as evidence:
        async with bench() as made:
            capture = HostCapture(evidence, made.loop, SETTINGS, epoch=EPOCH)
            made.make_hub = partial(ZigpyNode, on_host_message=capture.take)  # type: ignore[method-assign]
            hub = await hub_node(made)
            device = await device_node(made, EUI64)
            await join(hub, device)
            await talk(hub, device, made)
        capture.take(HostRouteRecord("incomingRouteRecordHandler", 0x1234, EUI64, (7, 8), 9, -10))
    fields = {
        "malformed": "_ws.malformed",
        "source": "zbee_nwk.src",
        "eui64": "zbee_nwk.src64",
        "channel": "wpan-tap.ch_num",
        "rssi": "wpan-tap.rss",
        "lqi": "wpan-tap.lqi",
        "comment": "frame.comment",
        "fcs": "wpan.fcs_ok",
        "blocks": "zbee_aps.fragment.count",
        "command": "zbee_nwk.cmd.id",
        "relays": "zbee_nwk.cmd.relay_device",
        "sequence": "zbee_zcl.cmd.tsn",
    }
    frames = read_by_tshark(tmp_path / "ev" / CAPTURE, fields)
    assert not [one for one in frames if "malformed" in one or one["fcs"] != ["1"]]
    assert {one["channel"][0] for one in frames} == {str(CHANNEL)}
    for one in frames[:-1]:
        heard = "incomingMessageHandler" in one["comment"][0]
        assert ("rssi" in one, "lqi" in one, "eui64" in one) == (heard,) * 3
        if heard:
            assert (float(one["rssi"][0]), one["lqi"]) == (RSSI_DBM, [str(LQI)])
            assert one["eui64"] == ["02:48:4e:42:00:00:00:10"]
    # Two messages each way in a frame, two in fragments that are put together again.
    assert len([one for one in frames if "blocks" in one]) >= 4
    assert len([one for one in frames if one.get("sequence") == ["9"]]) == 8
    assert (frames[-1]["command"], frames[-1]["source"]) == (["0x05"], ["0x1234"])
    assert frames[-1]["relays"] == ["0x0007", "0x0008"]


async def test_a_hub_that_nobody_listens_to_has_the_plain_port() -> None:
    async with bench() as made:
        hub = await hub_node(made)
        assert type(hub.node.ezsp) is SmartEnergyEzsp


# -- single frames -------------------------------------------------------------------------


def message(**changes: Any) -> HostMessage:
    options = OPTION_RETRY | OPTION_ENCRYPTION
    told = Aps(zcl.SMART_ENERGY_PROFILE_ID, ota.CLUSTER_ID, 1, 2, options, 0, 0xAB)
    return HostMessage(
        "incomingMessageHandler",
        MessageKind.UNICAST,
        0x1234,
        EUI64,
        told,
        b"\x01\x02\x03",
        200,
        -70,
    )._replace(**changes)


def test_the_octets_of_a_frame() -> None:
    """By hand, after IEEE 802.15.4-2006, 7.2.2.2, and 05-3474, 3.3.1 and 2.2.5.1; tshark finds the
    FCS right."""
    heard = reconstructed(message(), 0x1A62)
    assert heard[:-2].hex(" ") == (
        "41 88 00 62 1a 00 00 34 12 "  # data, no acknowledgement asked, sequence 0, PAN, to, from
        "08 10 00 00 34 12 00 00 10 00 00 00 42 4e 48 02 "  # data, source EUI-64, to, from, 0, 0
        "40 02 19 00 09 01 01 ab 01 02 03"  # acknowledgement asked, to 2, OTA, SE, from 1, counter
    )
    sent = message(command="sendUnicast", lqi=None, rssi_dbm=None)
    assert reconstructed(sent, 0x1A62)[:-2].hex(" ") == (
        "41 88 00 62 1a 34 12 00 00 08 08 34 12 00 00 00 00 10 00 00 00 42 4e 48 02 "
        "40 02 19 00 09 01 01 ab 01 02 03"
    )
    assert comment_of(sent) == "reconstructed at hub: sendUnicast, under the link key"


def command(sequence: int, kind: int = 0, options: int = 0, group: int = 0) -> bytes:
    body = SEND_UNICAST_V14.pack(kind, 0x1234, 0x0109, 0x0019, 3, 1, options, group, 77, 5, 2)
    return bytes((sequence, 0, 1, 0x34, 0)) + body + b"ab"


def answer(sequence: int, status: int = 0, counter: int = 9) -> bytes:
    return bytes((sequence, 0x80, 1, 0x34, 0)) + status.to_bytes(4, "little") + bytes((counter,))


def test_what_the_stick_refuses_is_nothing_on_the_air() -> None:
    line = HostMessages(14)
    line.told(command(1))
    assert line.heard(answer(1, status=0x0C)) is None
    assert line.heard(answer(1)) is None  # answered already
    line.told(command(2))
    assert line.heard(answer(3)) is None  # of another command
    taken = line.heard(answer(2, counter=0x42))
    assert isinstance(taken, HostMessage)
    assert (taken.nwk, taken.aps.sequence, taken.payload) == (0x1234, 0x42, b"ab")
    line.told(command(4, kind=1))  # by the address table: where it goes is not told
    assert line.heard(answer(4)) is None


def test_a_later_fragment_has_the_counter_of_its_first() -> None:
    line = HostMessages(14)
    line.told(command(1, options=OPTION_FRAGMENT, group=0x0301))
    taken = line.heard(answer(1, counter=0x42))
    assert isinstance(taken, HostMessage)
    assert taken.aps.sequence == 77
    header = aps.parse(reconstructed(taken, PAN_ID)[17:-2])
    assert (header.fragmentation, header.block) == (aps.FRAGMENT_PART, 1)


@given(st.sampled_from(SUPPORTED_VERSIONS), st.lists(st.binary(max_size=60), max_size=6))
def test_no_octets_of_a_stick_are_too_wrong(version: int, frames: list[bytes]) -> None:
    line = HostMessages(version)
    for number, octets in enumerate(frames):
        for octet in (0x34, 0x39, 0x45, 0x59):  # a head that is taken for one
            mark = (
                bytes((1, octet, 0)) if version >= 8 else bytes((0xFF, 0, octet))
                if version >= 5 else bytes((octet,))
            )  # fmt: skip
            frame = bytes((number, 0x80)) + mark + octets
            line.told(frame)
            told = line.heard(frame)
            if told is not None:
                reconstructed(told, PAN_ID)


_OCTET, _WORD = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
_messages = st.builds(
    HostMessage,
    st.sampled_from(("sendUnicast", "sendReply", "incomingMessageHandler")),
    st.sampled_from(MessageKind),
    st.integers(1, 0xFFF7),
    st.none() | st.integers(0, (1 << 64) - 1),
    st.builds(Aps, _WORD, _WORD, _OCTET, _OCTET, _WORD, _WORD, _OCTET),
    st.binary(max_size=130),
    st.none() | _OCTET,
    st.none() | st.integers(-128, 127),
)


@given(_messages)
def test_what_is_reconstructed_reads_as_what_was_told(told: HostMessage) -> None:
    psdu = reconstructed(told, PAN_ID)
    frame = mac.parse(psdu)
    header = nwk.parse(frame.payload)
    read = aps.parse(frame.payload[header.header_octets :])
    payload = frame.payload[header.header_octets + read.header_octets :]
    parameters = told.aps
    assert (read.cluster, read.profile, read.counter) == (
        parameters.cluster,
        parameters.profile,
        parameters.sequence,
    )
    assert (read.source_endpoint, payload) == (parameters.source_endpoint, told.payload)
    ends = (header.source, header.destination)
    if told.is_sent:
        assert ends == (0, told.nwk)
        assert (header.source_ieee, header.destination_ieee) == (None, told.eui64)
    else:
        assert header.source == told.nwk
        assert header.source_ieee == told.eui64
    assert not header.secured
    assert not read.control & aps.SECURITY


def test_a_message_that_no_frame_can_hold_is_left_out(tmp_path: Path) -> None:
    with Evidence(tmp_path / "ev", epoch=EPOCH) as evidence:
        capture = HostCapture(evidence, _Still(), SETTINGS, epoch=EPOCH)
        capture.take(message(payload=bytes(200)))
        capture.take(message(payload=bytes(82)))
        capture.take(message(nwk=0))  # what the hub says to itself
        fragment = message().aps._replace(options=OPTION_FRAGMENT | OPTION_RETRY, group=0x0500)
        capture.take(message(aps=fragment, payload=bytes(82)))
    octets = (tmp_path / "ev" / CAPTURE).read_bytes()
    written = [len(psdu) for _, psdu, _ in read_commented(octets)]
    assert written == [117, 119]
    assert max(written) <= MAX_PSDU_OCTETS


class _Still:
    """A clock that stands."""

    def now_us(self) -> int:
        return 0

    def call_at_us(self, when_us: int, call: Callable[..., object], *args: object) -> Any:
        raise AssertionError((when_us, call, args))
