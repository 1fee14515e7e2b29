"""What the report says of frames: as Wireshark reads them, in the words of the field, no key."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from air_support import NETWORK_KEY
from hypothesis import given
from hypothesis import strategies as st
from report_support import (
    BLOCK_OCTETS,
    DEVICES,
    EPOCH,
    HUB,
    IMAGE,
    KEYS,
    Bench,
    failed_run,
    passed_run,
)

from emulator.medium.pcapng import PcapngError
from emulator.zigbee import mac, ota, zcl
from hil.air_log import AirFrame, AirKeys, AirReader, Block, read_air
from hil.air_selection import EDGE_BLOCKS, NEIGHBOURS, Selection, select_frames
from hil.air_words import zcl_words
from hil.pcapng_file import count_frames, read_capture

NAMES = {eui64: name for name, eui64 in DEVICES.items()}
EPOCH_US = round(EPOCH.timestamp() * 1e6)
BLOCKS = -(-len(IMAGE) // BLOCK_OCTETS)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("air") / "run"
    passed_run(folder)
    return folder / "air.pcapng"


@pytest.fixture(scope="module")
def frames(capture: Path) -> list[AirFrame]:
    return list(read_air(capture, KEYS, NAMES))


def said(frames: list[AirFrame], layer: str) -> list[str]:
    return [frame.what for frame in frames if frame.layer == layer]


# -- the file ------------------------------------------------------------------------------


def test_frames_are_numbered_as_wireshark_numbers_them(
    capture: Path, frames: list[AirFrame]
) -> None:
    read = list(read_capture(capture))
    assert [frame.number for frame in frames] == list(range(1, len(read) + 1))
    assert [(frame.time_us, frame.octets) for frame in frames] == [
        (time_us, len(psdu)) for time_us, psdu in read
    ]
    assert count_frames(capture) == len(read)


def test_a_capture_that_was_cut_reads_up_to_the_cut(capture: Path, tmp_path: Path) -> None:
    cut = tmp_path / "air.pcapng"
    cut.write_bytes(capture.read_bytes()[:-3])
    whole = count_frames(capture)
    found: list[tuple[int, bytes]] = []
    with pytest.raises(PcapngError, match="octet"):
        found.extend(read_capture(cut))
    selection = select_frames(read_air(cut, KEYS, NAMES))
    assert selection.total == whole - 1
    assert selection.problem is not None
    assert f"cannot be read behind frame {whole - 1}: octet" in selection.problem


def test_an_empty_file_holds_no_frame(tmp_path: Path) -> None:
    empty = tmp_path / "air.pcapng"
    empty.write_bytes(b"")
    assert count_frames(empty) == 0


# -- words ---------------------------------------------------------------------------------


def test_a_join_reads_from_the_beacon_to_the_announcement(frames: list[AirFrame]) -> None:
    join = [
        str(frame) for frame in frames[: [f.what for f in frames].index("Device_annce") + 1]
        if frame.what != "ack"
    ]  # fmt: skip
    assert join == [
        " -> all: MAC Beacon Request",
        "hub -> all: MAC Beacon, extended PAN id 00DB1234567890A3, joining permitted",
        "ppmid -> hub: MAC Association Request",
        "ppmid -> hub: MAC Data Request",
        "hub -> ppmid: MAC ack, frame pending",
        f"hub -> ppmid: MAC Association Response {short_of(frames):04X}",
        "hub -> ppmid: APS Transport Key, the network key for ppmid",
        "ppmid -> all awake: ZDO Device_annce",
    ]


def short_of(frames: list[AirFrame]) -> int:
    """The short address of the device whose transfer comes first."""
    return next(frame.block.node & 0xFFFF for frame in frames if frame.block is not None)


def test_an_update_reads_from_the_notify_to_the_end(frames: list[AirFrame]) -> None:
    words = [what for what in said(frames, "OTA") if not what.startswith("ImageBlock")]
    file = "manufacturer 121D type 0084 version 00010200"
    once = [
        f"ImageNotify {file} jitter 100",
        "QueryNextImageRequest manufacturer 121D type 0084 version 00010100 hardware 1111",
        f"QueryNextImageResponse SUCCESS {file}, {len(IMAGE)} octets",
        f"UpgradeEndRequest SUCCESS {file}",
        f"UpgradeEndResponse {file}, upgrade in 0 s",
    ]
    assert words == once * len(DEVICES)


def test_each_block_is_asked_for_and_answered_at_its_offset(frames: list[AirFrame]) -> None:
    blocks = [what for what in said(frames, "OTA") if what.startswith("ImageBlock")]
    wanted = []
    for offset in range(0, len(IMAGE), BLOCK_OCTETS):
        octets = min(BLOCK_OCTETS, len(IMAGE) - offset)
        wanted.append(f"ImageBlockRequest {offset:08X} {BLOCK_OCTETS} octets")
        wanted.append(f"ImageBlockResponse {offset:08X} {octets} octets")
    assert blocks == wanted * len(DEVICES)


def test_a_message_in_the_tunnel_is_named_when_its_last_fragment_is_there(
    frames: list[AirFrame],
) -> None:
    words = said(frames, "Tunnelling")
    counter = [1300, 1301]
    wanted = []
    for number in range(len(DEVICES)):
        wanted += [
            "TransferData tunnel 0, fragment 1 of 2, 71 octets",
            "TransferData tunnel 0, fragment 2 of 2, 66 octets; 137 in all: "
            f"GBCS CS09 alert, counter {counter[number]}",
            "TransferData tunnel 0, fragment 1 of 1, 67 octets; 67 in all: "
            f"GBCS CS08 command, counter {counter[number]}",
        ]
    assert words == wanted


def test_regular_is_what_belongs_to_blocks_and_nothing_else(frames: list[AirFrame]) -> None:
    # request, response, an APS acknowledgement of each, a MAC acknowledgement of all four
    assert sum(frame.regular for frame in frames) == len(DEVICES) * BLOCKS * 8
    for frame in frames:
        if frame.regular:
            assert frame.what in ("ack", "ack, OTA") or frame.what.startswith("ImageBlock")
        else:
            assert not frame.what.startswith("ImageBlock")


def test_without_keys_an_encrypted_frame_says_so_and_no_more(capture: Path) -> None:
    blind = list(read_air(capture, None, NAMES))
    assert {frame.layer for frame in blind} == {"MAC", "NWK", "APS"}
    assert {frame.what for frame in blind if frame.layer == "NWK"} == {"data, encrypted"}
    assert {frame.what for frame in blind if frame.layer == "APS"} == {"command, encrypted"}
    assert not any(frame.regular for frame in blind)


def test_with_a_wrong_key_nothing_opens(capture: Path) -> None:
    wrong = replace(KEYS, network_key=bytes(16))
    words = said(list(read_air(capture, wrong, NAMES)), "NWK")
    assert set(words) == {"data, does not open with the network key"}


def test_without_its_link_key_a_message_stays_closed(capture: Path) -> None:
    wrong = replace(KEYS, link_keys={name: bytes(16) for name in KEYS.link_keys})
    found = list(read_air(capture, wrong, NAMES))
    assert "data, OTA, does not open with a link key" in said(found, "APS")
    assert said(found, "OTA") == []
    assert "ack, OTA" in said(found, "APS")


def test_a_link_key_is_found_when_nobody_names_the_device(capture: Path) -> None:
    found = list(read_air(capture, KEYS, {}))
    assert len(said(found, "OTA")) == len(DEVICES) * (2 * BLOCKS + 5)
    assert {frame.source for frame in found if frame.layer == "OTA"} >= {"hub"}


def test_a_frame_sent_again_is_said_to_be(capture: Path) -> None:
    (time_us, psdu), *_ = list(read_capture(capture))
    reader = AirReader(KEYS, NAMES)
    told = [reader.read(number, time_us, psdu).what for number in (1, 2, 3)]
    assert told == ["Beacon Request", "Beacon Request, again", "Beacon Request, again"]


def test_a_message_that_ought_to_be_secured_and_is_not_is_told() -> None:
    words = zcl_words(ota.CLUSTER_ID, bytes((zcl.REQUEST, 1, ota.IMAGE_BLOCK_REQUEST, 0)))
    assert words.what.startswith("ImageBlockRequest, malformed: Image Block Request ends at octet")


def test_no_key_is_in_any_word(frames: list[AirFrame]) -> None:
    text = "\n".join(map(str, frames)).lower()
    for key in (NETWORK_KEY, *KEYS.link_keys.values()):
        assert key.hex() not in text
    assert "0" * 16 not in repr(KEYS)
    assert repr(KEYS) == "AirKeys(…)"


def test_keys_come_back_from_wireshark_s_table() -> None:
    text = '"00112233445566778899aabbccddeeff","Normal","network"\n' + (
        '"ffeeddccbbaa99887766554433221100","Normal","link bridge-1"\n'
    )
    keys = AirKeys.from_wireshark(text)
    assert keys.network_key.hex() == "00112233445566778899aabbccddeeff"
    assert keys.link_keys == {"bridge-1": bytes.fromhex("ffeeddccbbaa99887766554433221100")}
    with pytest.raises(ValueError, match="no key is called 'network'"):
        AirKeys.from_wireshark("")


# -- hostile frames ------------------------------------------------------------------------


@cache
def real_frames() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "run")
        bench.start()
        bench.admit("ppmid")
        bench.update("ppmid")
        bench.evidence.close()
        return tuple(psdu for _, psdu in bench.air.frames)


@given(st.lists(st.binary(max_size=127), max_size=8))
def test_no_octets_stop_the_reading(psdus: list[bytes]) -> None:
    reader = AirReader(KEYS, NAMES)
    for number, psdu in enumerate(psdus, 1):
        frame = reader.read(number, 0, psdu)
        assert (frame.number, frame.octets) == (number, len(psdu))
        assert frame.layer
        assert frame.what


@given(st.data())
def test_no_change_of_a_real_frame_stops_the_reading(data: st.DataObject) -> None:
    """With the FCS made right again, so that the change is seen further up."""
    reader = AirReader(KEYS, NAMES)
    for number, psdu in enumerate(real_frames()[:60], 1):
        reader.read(number, number, psdu)
    for number in range(61, 71):
        frame = bytearray(data.draw(st.sampled_from(real_frames()))[:-2])
        at = data.draw(st.integers(0, len(frame) - 1))
        frame[at] ^= data.draw(st.integers(1, 255))
        octets = bytes(frame[: data.draw(st.integers(1, len(frame)))])
        assert reader.read(number, number, octets + mac.fcs(octets)).what


@given(st.sampled_from([0x0000, ota.CLUSTER_ID, 0x0704, 0x1234]), st.binary(max_size=80))
def test_no_payload_has_no_words(cluster: int, payload: bytes) -> None:
    words = zcl_words(cluster, payload)
    assert words.layer
    assert words.what


# -- which frames are shown ----------------------------------------------------------------


def shown(selection: Selection) -> set[int]:
    numbers = [frame.number for frame in selection.frames]
    assert numbers == sorted(set(numbers))
    return set(numbers)


def test_every_irregular_frame_and_the_edges_of_each_transfer_are_shown(
    frames: list[AirFrame],
) -> None:
    selection = select_frames(frames)
    assert (selection.total, selection.left_out, selection.problem) == (len(frames), 0, None)
    assert selection.regular == len(DEVICES) * BLOCKS * 8
    assert shown(selection) >= {frame.number for frame in frames if not frame.regular}
    offsets = range(0, len(IMAGE), BLOCK_OCTETS)
    edges = {*offsets[:EDGE_BLOCKS], *offsets[-EDGE_BLOCKS:]}
    for node in {frame.block.node for frame in frames if frame.block is not None}:
        kept = [f.block for f in selection.frames if f.block is not None and f.block.node == node]
        assert {block.offset for block in kept} == edges
        assert len(kept) == 8 * len(edges)


def test_what_lies_round_an_anomaly_is_shown(frames: list[AirFrame]) -> None:
    middle = next(f for f in frames if f.block is not None and f.block.offset == 9 * BLOCK_OCTETS)
    plain = shown(select_frames(frames))
    selection = select_frames(frames, anomalies_us=[middle.time_us])
    more = shown(selection) - plain
    wanted = range(middle.number - NEIGHBOURS + 1, middle.number + NEIGHBOURS + 1)
    assert more == set(wanted)


def test_an_anomaly_behind_the_last_frame_has_what_came_before_it() -> None:
    regular = [
        AirFrame(number, number, 5, "hub", "ppmid", "MAC", "ack", Block(1, 56 * number, True))
        for number in range(1, 101)
    ]
    assert shown(select_frames(regular, anomalies_us=[1000])) >= set(range(91, 101))


def test_a_frame_that_a_requirement_names_is_always_shown(frames: list[AirFrame]) -> None:
    plain = shown(select_frames(frames))
    hidden = next(frame.number for frame in frames if frame.number not in plain)
    assert hidden in shown(select_frames(frames, wanted=[hidden]))
    assert shown(select_frames(frames, wanted=[hidden], most=0)) == {hidden}


@given(st.integers(1, 300), st.integers(0, 50))
def test_a_bound_leaves_out_the_middle_and_counts_it(count: int, most: int) -> None:
    made = [AirFrame(n, n, 5, "hub", "all", "MAC", "ack") for n in range(1, count + 1)]
    selection = select_frames(made, most=most)
    kept = [frame.number for frame in selection.frames]
    assert len(kept) + selection.left_out == count
    assert len(kept) == min(count, most)
    first = min(count, most - most // 2)
    assert kept[:first] == list(range(1, first + 1))
    assert kept[first:] == list(range(count - len(kept) + first + 1, count + 1))


def test_a_second_transfer_of_a_device_has_edges_of_its_own() -> None:
    def transfer(start: int) -> list[AirFrame]:
        return [
            AirFrame(start + n, n, 71, "ppmid", "hub", "OTA", "request", Block(1, 56 * n, True))
            for n in range(20)
        ]

    kept = shown(select_frames([*transfer(1), *transfer(21)]))
    assert kept == {1, 2, 3, 18, 19, 20, 21, 22, 23, 38, 39, 40}


def test_a_late_acknowledgement_of_the_first_block_begins_no_transfer() -> None:
    ask = [
        AirFrame(n + 1, n, 71, "ppmid", "hub", "OTA", "request", Block(1, 56 * n, True))
        for n in range(20)
    ]
    late = AirFrame(21, 21, 54, "hub", "ppmid", "APS", "ack, OTA", Block(1, 0))
    assert shown(select_frames([*ask, late])) == {1, 2, 3, 18, 19, 20, 21}


# -- a foreign reader ----------------------------------------------------------------------

FIELDS = {
    "zdp": "zbee_aps.zdp_cluster",
    "aps": "zbee_aps.type",
    "ota": "zbee_zcl_general.ota.cmd.srv_rx.id",
    "ota_rsp": "zbee_zcl_general.ota.cmd.srv_tx.id",
    "offset": "zbee_zcl_general.ota.file.offset",
    "block": "zbee_aps.block",
    "wpan": "wpan.frame_type",
    "command": "wpan.cmd",
}
MAKE: dict[str, Callable[[Path], object]] = {"passed": passed_run, "failed": failed_run}


@pytest.mark.real_clock
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("name", sorted(MAKE))
def test_what_is_said_of_each_frame_is_what_wireshark_says(name: str, tmp_path: Path) -> None:
    MAKE[name](tmp_path / "run")
    path = tmp_path / "run" / "air.pcapng"
    keys = [NETWORK_KEY, *KEYS.link_keys.values()]
    options = [
        part for key in keys for part in ("-o", f'uat:zigbee_pc_keys:"{key.hex()}","Normal","k"')
    ]
    fields = [part for each in FIELDS.values() for part in ("-e", each)]
    command = ["tshark", "-r", str(path), "-n", "-T", "json", *fields, *options]
    done = subprocess.run(command, capture_output=True, check=True)
    layers = [packet["_source"]["layers"] for packet in json.loads(done.stdout)]
    frames = list(read_air(path, KEYS, {**NAMES, HUB: "hub"}))
    assert len(layers) == len(frames)
    for layer, frame in zip(layers, frames, strict=True):
        seen = {short: int(layer[full][0], 0) for short, full in FIELDS.items() if full in layer}
        assert (frame.layer == "MAC") == (seen["wpan"] != mac.TYPE_DATA), frame
        if frame.layer == "ZDO":
            assert "zdp" in seen
        elif frame.layer == "OTA":
            client, server = seen.get("ota"), seen.get("ota_rsp")
            by_id = {
                "ImageNotify": (None, 0),
                "QueryNextImageRequest": (1, None),
                "QueryNextImageResponse": (None, 2),
                "ImageBlockRequest": (3, None),
                "ImageBlockResponse": (None, 5),
                "UpgradeEndRequest": (6, None),
                "UpgradeEndResponse": (None, 7),
            }
            words = frame.what.split()
            assert by_id[words[0]] == (client, server), frame
            if "offset" in seen:
                assert int(words[1], 16) == seen["offset"], frame
        elif frame.layer == "Tunnelling":
            index = 1 if "fragment 1 of" in frame.what else seen["block"] + 1
            assert f"fragment {index} of" in frame.what
        elif frame.layer == "APS":
            assert (seen["aps"] == 2) == frame.what.startswith("ack"), frame
