"""What Wireshark sees of a run, with its keys and without them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from functools import cache
from math import ceil

import pytest
from bench_support import SMALL_BENCH, Run, finished_run

from hil.bench_file import load_bench
from hil.images import device_images
from hil.judging import variant_texts

pytestmark = [
    pytest.mark.real_clock,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

BLOCK_OCTETS = 56
IMAGE_OCTETS = 2048
DEVICES = 2
BLOCK_RESPONSE = 5
HEX_DIGITS = "0123456789abcdef"

FIELDS = {
    "malformed": "_ws.malformed",
    "fcs_bad": "wpan.fcs.bad",
    "fcs_ok": "wpan.fcs_ok",
    "destination": "zbee_nwk.dst",
    "profile": "zbee_aps.profile",
    "cluster": "zbee_aps.cluster",
    "ota": "zbee_zcl_general.ota",
    "ota_command": "zbee_zcl_general.ota.cmd.srv_tx.id",
    "offset": "zbee_zcl_general.ota.file.offset",
    "data": "zbee_zcl_general.ota.image.data",
    "fragment_error": "zbee_aps.fragment.error",
}


CLEAN, LOSSY = (), ("--fault", "loss 10 %")


def run(arguments: tuple[str, ...] = LOSSY) -> Run:
    return finished_run(SMALL_BENCH, *arguments)


def read(with_keys: bool, arguments: tuple[str, ...] = LOSSY) -> list[dict[str, str]]:
    folder = run(arguments).folder
    command = ["tshark", "-r", str(folder / "air.pcapng"), "-T", "json"]
    if with_keys:
        for line in (folder / "air.keys").read_text().splitlines():
            command += ["-o", f"uat:zigbee_pc_keys:{line}"]
    for field in FIELDS.values():
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    layers = [packet["_source"]["layers"] for packet in json.loads(done.stdout)]
    return [
        {name: layer[field][0] for name, field in FIELDS.items() if field in layer}
        for layer in layers
    ]


@cache
def opened(arguments: tuple[str, ...] = LOSSY) -> list[dict[str, str]]:
    return read(True, arguments)


def test_wireshark_has_nothing_to_complain_of() -> None:
    frames = opened()
    assert len(frames) > 500
    assert [frame for frame in frames if "malformed" in frame or "fcs_bad" in frame] == []
    assert {frame["fcs_ok"] for frame in frames} <= {"1", "True", "true"}
    assert [frame for frame in frames if "fragment_error" in frame] == []


def test_each_device_is_served_every_offset_of_its_file_and_nothing_else() -> None:
    blocks: dict[str, dict[int, str]] = {}
    for frame in opened():
        if "data" in frame:
            assert int(frame["ota_command"], 0) == BLOCK_RESPONSE
            octets = frame["data"]
            served = blocks.setdefault(frame["destination"], {})
            offset = int(frame["offset"], 0)
            assert served.setdefault(offset, octets) == octets
    assert len(blocks) == DEVICES
    files = []
    for served in blocks.values():
        assert sorted(served) == list(range(0, IMAGE_OCTETS, BLOCK_OCTETS))
        assert len(served) == ceil(IMAGE_OCTETS / BLOCK_OCTETS)
        text = "".join(served[offset].replace(":", "") for offset in sorted(served))
        files.append(bytes.fromhex(text))
    images = device_images(load_bench(run().folder.parent / "bench.toml"))
    assert sorted(files) == sorted(image.image.data for image in images.values())


def gbcs_on_the_air(arguments: tuple[str, ...]) -> Counter[str]:
    """The GBCS messages tshark's own dissector finds, reassembled, as hexadecimal digits.

    What comes with the APS counter of its sender once more is the same message: a last fragment
    that was not acknowledged is sent again, and tshark puts it together again.
    """
    folder = run(arguments).folder
    command = ["tshark", "-r", str(folder / "air.pcapng"), "-Y", "gbcs_message", "-T", "json", "-x"]
    for line in (folder / "air.keys").read_text().splitlines():
        command += ["-o", f"uat:zigbee_pc_keys:{line}"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    layers = [packet["_source"]["layers"] for packet in json.loads(done.stdout)]
    messages = {
        (
            layer["zbee_nwk"]["zbee_nwk.src"],
            layer["zbee_aps"]["zbee_aps.counter"],
            layer["gbcs_message_raw"][0].upper(),
        )
        for layer in layers
    }
    if arguments == CLEAN:
        assert len(messages) == len(layers)
    return Counter(text for _, _, text in messages)


@pytest.mark.parametrize("arguments", [CLEAN, LOSSY], ids=["clean", "lossy"])
def test_every_frame_to_or_from_a_device_is_on_the_air_and_none_of_the_hubs(
    arguments: tuple[str, ...],
) -> None:
    frames = {path.name: path.read_text().strip() for path in run(arguments).folder.glob("gbcs/*")}
    uses = Counter(name.split("-", 1)[1] for name in frames)
    assert uses == {
        "CCS01-command.HEX": DEVICES,
        "CCS01-response.HEX": DEVICES,
        "CS14-alert.HEX": 2 * DEVICES,  # in the log, and under which key
        "CCS08-alert.HEX": DEVICES,
        "CS09-alert.HEX": DEVICES,
        "CS08-command.HEX": DEVICES,
        "CS08-response.HEX": DEVICES,
    }
    seen = gbcs_on_the_air(arguments)
    of_hub = re.compile(r"-(CCS\d\d|CS14)-")
    assert seen == Counter(text for name, text in frames.items() if not of_hub.search(name))
    assert set(seen.values()) == {1}


def test_no_variant_is_to_be_seen_by_hub_or_wan() -> None:
    folder = run(CLEAN).folder
    command = ["tshark", "-r", str(folder / "air.pcapng"), "-x"]
    for line in (folder / "air.keys").read_text().splitlines():
        command += ["-o", f"uat:zigbee_pc_keys:{line}"]
    dump = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout
    rows = [row[6:53] for row in dump.decode().splitlines() if row[:4].strip(HEX_DIGITS) == ""]
    texts = "".join("".join(row.split()) for row in rows).upper()
    for text in variant_texts():
        assert text.hex().upper() not in texts
        for path in (*folder.glob("wan/*"), *folder.glob("gbcs/*"), folder / "air.pcapng"):
            octets = path.read_bytes()
            assert text not in octets, path.name
            assert text.hex().upper().encode() not in octets.upper(), path.name
    duis = b"".join(path.read_bytes() for path in folder.glob("duis/*12.2-request.xml"))
    assert b"AltHAN Bridge 1" in duis, "what was looked for is there where it belongs"


def test_without_keys_nothing_of_the_update_is_to_be_seen() -> None:
    frames = read(False)
    assert len(frames) == len(opened())
    assert [frame for frame in frames if "cluster" in frame or "ota" in frame] == []


def test_no_eight_octets_of_an_image_lie_open_in_the_capture() -> None:
    capture = (run().folder / "air.pcapng").read_bytes()
    images = device_images(load_bench(run().folder.parent / "bench.toml"))
    pieces = {capture[at : at + 8] for at in range(len(capture) - 7)}
    for image in images.values():
        body = image.image.data[image.image.header.header_length :]
        open_pieces = [at for at in range(len(body) - 7) if body[at : at + 8] in pieces]
        assert open_pieces == []
