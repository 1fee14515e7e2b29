"""tshark as a foreign reader of ZCL payloads: plain frames round them, its tree as text."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from emulator.zigbee.zcl import SMART_ENERGY_PROFILE_ID

_DLT_IEEE802_15_4_NOFCS = 230


def decode(cluster_id: int, zcl_frames: Iterable[bytes], folder: Path) -> list[str]:
    """One tree per frame; skips the test where tshark is missing."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    capture = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, _DLT_IEEE802_15_4_NOFCS)
    mac = struct.pack("<HBHHH", 0x8841, 1, 0x1234, 0, 1)
    nwk = struct.pack("<HHHBB", 0x0008, 0, 1, 30, 7)
    aps = struct.pack("<BBHHBB", 0, 1, cluster_id, SMART_ENERGY_PROFILE_ID, 1, 9)
    for zcl_frame in zcl_frames:
        frame = mac + nwk + aps + zcl_frame
        capture += struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
    path = folder / "zcl.pcap"
    path.write_bytes(capture)
    tree = subprocess.run(
        ["tshark", "-r", str(path), "-V"], capture_output=True, text=True, check=True
    ).stdout
    assert "Malformed" not in tree
    return tree.split("ZigBee Cluster Library Frame")[1:]
