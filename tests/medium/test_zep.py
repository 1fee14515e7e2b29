"""ZEP datagrams: golden octets, there and back, hostile ones, and tshark's own view of them."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.medium.zep import PORT, ZepError, ZepFrame, build, parse
from emulator.zigbee.mac import fcs

# 2026-01-01T00:00:00.5Z; an acknowledgement with sequence 0x42, whose FCS is 802.15.4's.
FRAME = ZepFrame(1_767_225_600_500_000, 15, 7, bytes.fromhex("020042") + fcs(b"\x02\x00\x42"))
# By the layout in Wireshark's packet-zep.c, written down by hand: 1 767 225 600 + 2 208 988 800 =
# 0xED003780 seconds since 1900, and half of 2^32.
DATAGRAM = (
    bytes.fromhex("4558 02 01 0F 0000 01 00 ED003780 80000000 00000007 00000000000000000000 05")
    + FRAME.psdu
)


def test_a_frame_looks_as_wireshark_wants_it() -> None:
    assert build(FRAME) == DATAGRAM
    assert parse(DATAGRAM) == FRAME


@given(
    frame=st.builds(
        ZepFrame,
        st.integers(0, 2_000_000_000_000_000),
        st.integers(0, 255),
        st.integers(0, 2**32 - 1),
        st.binary(min_size=1, max_size=127),
    )
)
def test_what_is_built_is_parsed_back_to_the_microsecond(frame: ZepFrame) -> None:
    assert parse(build(frame)) == frame


@given(
    datagram=st.binary(max_size=200) | st.binary(max_size=180).map(lambda rest: DATAGRAM[:8] + rest)
)
def test_hostile_octets_raise_only_the_error_of_this_module(datagram: bytes) -> None:
    try:
        frame = parse(datagram)
    except ZepError:
        return
    assert parse(build(frame)) == frame


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (FRAME._replace(psdu=b""), "psdu"),
        (FRAME._replace(psdu=bytes(128)), "psdu"),
        (FRAME._replace(channel=256), "channel"),
        (FRAME._replace(sequence=-1), "sequence"),
        (FRAME._replace(time_us=-(2**62)), "time_us"),
    ],
)
def test_what_fits_no_datagram_is_refused_by_name(frame: ZepFrame, field: str) -> None:
    with pytest.raises(ZepError, match=field):
        build(frame)


def _captured(datagrams: list[bytes]) -> bytes:
    """A pcap file (raw IP) of UDP datagrams to the port of ZEP."""
    octets = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, 101)
    for datagram in datagrams:
        udp = struct.pack(">HHHH", 40000, PORT, 8 + len(datagram), 0) + datagram
        loopback = bytes((127, 0, 0, 1))
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + loopback * 2
        octets += struct.pack("<IIII", 0, 0, 20 + len(udp), 20 + len(udp)) + ip + udp
    return octets


@pytest.mark.real_clock
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_reads_the_datagrams_as_802_15_4(tmp_path: Path) -> None:
    beacon_request = bytes.fromhex("0308 42 FFFF FFFF 07")
    frames = [FRAME, FRAME._replace(channel=26, psdu=beacon_request + fcs(beacon_request))]
    (tmp_path / "zep.pcap").write_bytes(_captured([build(frame) for frame in frames]))
    fields = "zep.version zep.channel_id zep.seqno zep.time wpan.frame_type wpan.fcs_ok wpan.cmd"
    shown = subprocess.run(
        ["tshark", "-r", tmp_path / "zep.pcap", "-T", "fields", "-E", "separator=/t"]
        + [part for field in [*fields.split(), "_ws.malformed"] for part in ("-e", field)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TZ": "UTC"},
    ).stdout.splitlines()
    when = "Jan  1, 2026 00:00:00.500000000 UTC"
    assert [line.split("\t") for line in shown] == [
        ["2", "15", "7", when, "0x0002", "1", "", ""],
        ["2", "26", "7", when, "0x0003", "1", "0x07", ""],
    ]
