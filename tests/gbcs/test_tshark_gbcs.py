"""tshark as a witness: its GBCS dissector reads every message this package builds as the same.

Its own table of message codes, its own reading of the envelope, of block transfer, of GBZ; of ASN.1
it tells whether the encoding is sound. The frames come in a capture of the link type for users.
"""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from payload_strategies import payloads_of

from gbcs.block_transfer import split
from gbcs.codes import MESSAGES, Message, build_payload
from gbcs.credentials import ReplacementMode
from gbcs.envelope import Frame, OtherInformation, build_frame
from gbcs.smki import ACB_EUI64, PPMID_EUI64, SUPPLIER_EUI64

pytestmark = pytest.mark.real_clock

LINK_TYPE_USER_0 = 147
# What tshark calls otherwise than GBCS does; CCS07, CCS08, CS08 and CS09 are younger than it.
OTHERWISE = {
    0x00CA: "Futured Dated Firmware Activation Alert",
    0x00CB: "Futured Dated Updated Security Credentials Alert",
    0x00CE: "Firmware Distribution Receipt Alert (ESME or Comms Hub)",
    0x00CF: "Firmware Distribution Receipt Alert (GSME)",
    0x1000: "Generic Critical Alert",
    0x1001: "Generic Non Critical Alert",
}
YOUNGER = {0x00FE, 0x0128, 0x0129, 0x012B}


def tshark(*arguments: str) -> str:
    done = subprocess.run(["tshark", *arguments], capture_output=True, check=True, timeout=120)
    return done.stdout.decode("utf-8", "replace")


def dissected(frames: list[bytes], folder: Path) -> list[dict[str, Any]]:
    capture = folder / "frames.pcap"
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, LINK_TYPE_USER_0)
    records = [struct.pack("<IIII", 0, 0, len(each), len(each)) + each for each in frames]
    capture.write_bytes(header + b"".join(records))
    preference = f'uat:user_dlts:"User 0 (DLT={LINK_TYPE_USER_0})","gbcs_message","0","","0",""'
    text = tshark("-r", str(capture), "-o", preference, "-T", "json", "--no-duplicate-keys")
    packets: list[dict[str, Any]] = json.loads(text)
    assert len(packets) == len(frames)
    return [packet["_source"]["layers"] for packet in packets]


def sample(message: Message, kind: type[Any]) -> bytes:
    """A frame of this message with every optional field as the simplest example has it."""
    payload = find(
        payloads_of(kind),
        lambda _: True,
        settings=settings(
            database=None,
            derandomize=True,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
    is_acb = message.cra.name == "COMMAND"
    return build_frame(
        Frame(
            cra=message.cra,
            originator_counter=1300,
            originator=ACB_EUI64 if is_acb else PPMID_EUI64,
            recipient=PPMID_EUI64 if is_acb else ACB_EUI64,
            other_information=OtherInformation(message.message_code, SUPPLIER_EUI64, 1000),
            payload=build_payload(payload),
            signature=bytes(range(64)) if message.protection.signature else b"",
            mac=bytes(range(12)) if message.protection.mac else None,
        )
    )


def numbers(eui64: str) -> int:
    return int(eui64.replace(":", ""), 16)


def test_tshark_calls_every_message_code_what_we_call_it() -> None:
    names = {}
    for line in tshark("-G", "values").splitlines():
        parts = line.split("\t")
        if parts[:2] == ["V", "gbcs_gbz.message_code"]:
            names[int(parts[2], 0)] = parts[3]
    assert len(names) > 200
    for message in MESSAGES.values():
        code = message.message_code
        if code in OTHERWISE:
            assert names[code] == OTHERWISE[code]
        elif code in YOUNGER:
            assert code not in names
        else:
            ours = message.use_case.replace("CCS05CCS04", "CCS05/CCS04")
            assert names[code].split()[0].lower() == ours.lower(), hex(code)
            if ours == "CS02b":
                theirs = names[code].split(" - ")[1].lower().replace("accesscontrolbroker", "acb")
                mode = ReplacementMode(code - 0x0100).name.lower().replace("_", "")
                assert mode.replace("transitionalcos", "transcos") == theirs


def test_tshark_reads_every_message_as_the_same(tmp_path: Path) -> None:
    rows = [(row, kind) for row in MESSAGES.values() for kind in row.definition.kinds]
    frames = [sample(*row) for row in rows]
    for (message, _), octets, layers in zip(rows, frames, dissected(frames, tmp_path), strict=True):
        text = json.dumps(layers)
        assert "malformed" not in text.lower(), (message, octets.hex())
        layer = layers["gbcs_message"]["Grouping Header"]
        flat = json.dumps(layer)
        assert f'"0x{message.message_code:04x}"' in flat
        assert '"gbcs_message.grouping_header.originator_counter": "1300"' in flat
        assert f'"gbcs_message.grouping_header.cra_flag": "0x{message.cra:02x}"' in flat
        assert numbers(_find(layer, "supplementary_remote_party_id")) == SUPPLIER_EUI64
        assert _find(layer, "supplementary_remote_party_counter") == "1000"
        assert ("gbcs_message.mac" in layers["gbcs_message"]) == message.protection.mac


def _find(layer: Any, name: str) -> str:
    if isinstance(layer, dict):
        for key, value in layer.items():
            if key == f"gbcs_message.grouping_header.{name}":
                return str(value)
            if found := _find(value, name):
                return found
    return ""


def test_tshark_puts_our_blocks_together_to_the_same_frame(tmp_path: Path) -> None:
    message = next(row for row in MESSAGES.values() if row.message_code == 0x0104)
    frame = sample(message, message.definition.kinds[0])
    blocks = split(frame, 40)
    assert len(blocks) > 1
    layers = dissected(blocks, tmp_path)
    assert "malformed" not in json.dumps(layers).lower()
    whole = json.dumps(layers[-1])
    assert "gbcs_message.gbt.reassembled.length" in whole
    assert f'"{len(frame)}"' in whole
    assert "gbcs_message.grouping_header.supplementary_remote_party_counter" in whole


def test_tshark_reads_the_frames_others_published(
    published: dict[str, bytes], tmp_path: Path
) -> None:
    """The witness itself: what it says of RTDS is what we rely on."""
    layers = dissected(list(published.values()), tmp_path)
    assert "malformed" not in json.dumps(layers).lower()
